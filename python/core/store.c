/* Store: an open data set, and its facts. What is asked of it in SQL is in query.c and split.c. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "core.h"

struct store {
    struct core_handle handle;
};

static void close_store(void *p) {
    sterna_store *s = p;
    sterna_store_close(&s);
}

struct core_handle *core_store_handle(PyObject *store) {
    return &CORE_DATA(store, struct store)->handle;
}

static sterna_store *enter(PyObject *self) {
    return core_handle_enter(core_module_of(self), core_store_handle(self), "store");
}
static void leave(PyObject *self) { core_handle_leave(core_store_handle(self)); }

/* ---- passwords ---- */

/* The library may ask again on any thread, as long as anything that was opened from the store is:
 * nobody tells us when that ends, so each different password is kept, once. */
struct password {
    struct password *next;
    char text[];
};
static pthread_mutex_t passwords_lock = PTHREAD_MUTEX_INITIALIZER;
static struct password *passwords;

static int give_password(void *ctx, const char *user, const char *host, char *buf, size_t cap) {
    const struct password *p = ctx;
    size_t bytes = strlen(p->text) + 1;
    (void)user;
    (void)host;
    if (bytes > cap) return STERNA_EINVAL;
    memcpy(buf, p->text, bytes);
    return STERNA_OK;
}

static struct password *keep_password(const char *text) {
    pthread_mutex_lock(&passwords_lock);
    struct password *p = passwords;
    while (p && strcmp(p->text, text) != 0) p = p->next;
    if (!p && (p = malloc(sizeof *p + strlen(text) + 1))) {
        memcpy(p->text, text, strlen(text) + 1);
        p->next = passwords;
        passwords = p;
    }
    pthread_mutex_unlock(&passwords_lock);
    return p;
}

/* ---- open and close ---- */

static int open_store(struct core_module *m, sterna_store **out, const char *url,
                      struct sterna_store_options *options, const char *password) {
    struct sterna_error err = {0};
    int rc;
    if (password) {
        options->password = give_password;
        options->password_ctx = keep_password(password);
        if (!options->password_ctx) {
            PyErr_NoMemory();
            return -1;
        }
    }
    Py_BEGIN_ALLOW_THREADS rc = sterna_store_open(out, url, options, &err);
    Py_END_ALLOW_THREADS if (rc < 0) core_raise(m, rc, &err);
    return rc;
}

static PyObject *new (PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    static const char *const modes[] = {"read", "write", "create", NULL};
    struct core_module *m = PyType_GetModuleState(type);
    struct sterna_store_options options = {.struct_size = sizeof options};
    const char *url = NULL, *password = NULL;
    int mode = STERNA_OPEN_READ;
    Py_buffer id = {0};
    core_keep keep = NULL;
    const struct core_argument table[] = {
        {"url", CORE_TEXT_ARG, &url, CORE_REQUIRED, NULL, 0},
        {"mode", CORE_WORD, &mode, 0, modes, 0},
        {"dataset_id", CORE_BUFFER, &id, CORE_OR_NONE | CORE_EXACT, NULL, STERNA_ID_BYTES},
        {"replication", CORE_TEXT_ARG, &options.replication, CORE_OR_NONE, NULL, 0},
        {"password", CORE_TEXT_ARG, &password, CORE_OR_NONE, NULL, 0},
    };
    sterna_store *store = NULL;
    PyObject *self = NULL;
    if (core_arguments(m, "Store", args, kwargs, table, CORE_COUNT(table), 2, &keep) < 0) goto done;
    options.mode = (enum sterna_open_mode)mode;
    options.dataset_id = id.buf;
    if (open_store(m, &store, url, &options, password) < 0) goto done;
    self = core_new(type);
    if (self)
        core_handle_init(core_store_handle(self), store, close_store);
    else
        sterna_store_close(&store);
done:
    PyBuffer_Release(&id);
    Py_XDECREF(keep);
    return self;
}

static void dealloc(PyObject *self) {
    core_handle_close(core_store_handle(self));
    core_delete(self);
}

static PyObject *do_close(PyObject *self, PyObject *unused) {
    (void)unused;
    core_handle_close(core_store_handle(self));
    Py_RETURN_NONE;
}

/* ---- facts ---- */

static int read_info(PyObject *self, struct sterna_store_info *info) {
    struct sterna_error err = {0};
    sterna_store *s = enter(self);
    int rc;
    if (!s) return -1;
    Py_BEGIN_ALLOW_THREADS rc = sterna_store_info(s, info, &err);
    Py_END_ALLOW_THREADS leave(self);
    if (rc < 0) core_raise(core_module_of(self), rc, &err);
    return rc;
}

static PyObject *info(PyObject *self, PyObject *unused) {
    struct sterna_store_info i;
    (void)unused;
    if (read_info(self, &i) < 0) return NULL;
    return Py_BuildValue("{sI sy# sK sK sK sO}", "format_version", i.format_version, "dataset_id",
                         (const char *)i.dataset_id, (Py_ssize_t)STERNA_ID_BYTES, "n_samples",
                         (unsigned long long)i.n_samples, "n_bytes", (unsigned long long)i.n_bytes,
                         "last_run", (unsigned long long)i.last_run, "read_only",
                         i.read_only ? Py_True : Py_False);
}

static PyObject *fields(PyObject *self, PyObject *unused) {
    struct sterna_store_info i;
    (void)unused;
    if (read_info(self, &i) < 0) return NULL;
    sterna_store *s = enter(self);
    PyObject *list = s ? PyList_New(0) : NULL;
    for (uint32_t f = 0; list && f < i.n_fields; f++) {
        struct sterna_field field;
        if (sterna_store_field(s, f, &field) < 0) break;
        PyObject *name = CORE_TEXT(field.name), *pair = NULL;
        if (name) pair = Py_BuildValue("(Ns)", name, sterna_kind_name(field.kind));
        if (!pair || PyList_Append(list, pair) < 0) Py_CLEAR(list);
        Py_XDECREF(pair);
    }
    if (s) leave(self);
    return list;
}

/* ---- lists, which the library gives line by line ---- */

static struct sterna_value text_value(const char *text) {
    return (struct sterna_value){.type = text ? STERNA_TEXT : STERNA_NULL,
                                 .text = text,
                                 .text_bytes = text ? strlen(text) : 0};
}
static struct sterna_value int_value(int64_t i) {
    return (struct sterna_value){.type = STERNA_INT, .i = i};
}

static int add_column(void *rows, const char *name, const char *type) {
    const struct sterna_value values[] = {text_value(name), text_value(type)};
    return core_rows_add(rows, values);
}

static int add_class(void *rows, int64_t label, const char *name, uint64_t n_samples) {
    const struct sterna_value values[] = {int_value(label), text_value(name),
                                          int_value((int64_t)n_samples)};
    return core_rows_add(rows, values);
}

static int add_run(void *rows, const struct sterna_run *run) {
    const struct sterna_value values[] = {int_value((int64_t)run->run),
                                          int_value((int64_t)run->n_samples),
                                          int_value(run->finished_s), text_value(run->source)};
    return core_rows_add(rows, values);
}

static int list_columns(sterna_store *s, struct core_rows *rows, struct sterna_error *err) {
    return sterna_store_columns(s, add_column, rows, err);
}
static int list_classes(sterna_store *s, struct core_rows *rows, struct sterna_error *err) {
    return sterna_store_classes(s, add_class, rows, err);
}
static int list_runs(sterna_store *s, struct core_rows *rows, struct sterna_error *err) {
    return sterna_store_runs(s, add_run, rows, err);
}

static PyObject *lines(PyObject *self, size_t n_columns,
                       int (*list)(sterna_store *, struct core_rows *, struct sterna_error *)) {
    struct sterna_error err = {0};
    struct core_rows rows = {0};
    PyObject *tuples = NULL;
    sterna_store *s = enter(self);
    if (!s) return NULL;
    if (core_rows_init(&rows, n_columns) == 0) {
        rows.thread = PyEval_SaveThread();
        int rc = list(s, &rows, &err);
        PyEval_RestoreThread(rows.thread);
        if (rc < 0)
            core_raise(core_module_of(self), rc, &err);
        else
            tuples = core_rows_tuples(&rows);
    }
    core_rows_fini(&rows);
    leave(self);
    return tuples;
}

static PyObject *columns(PyObject *self, PyObject *unused) {
    (void)unused;
    return lines(self, 2, list_columns);
}

static PyObject *classes(PyObject *self, PyObject *unused) {
    (void)unused;
    return lines(self, 3, list_classes);
}

static PyObject *runs(PyObject *self, PyObject *unused) {
    (void)unused;
    PyObject *tuples = lines(self, 4, list_runs);
    PyObject *list = tuples ? PyList_New(0) : NULL;
    for (Py_ssize_t i = 0; list && i < PyList_Size(tuples); i++) {
        PyObject *t = PyList_GetItem(tuples, i);
        PyObject *run = Py_BuildValue("{sO sO sO sO}", "run", PyTuple_GetItem(t, 0), "n_samples",
                                      PyTuple_GetItem(t, 1), "finished_s", PyTuple_GetItem(t, 2),
                                      "source", PyTuple_GetItem(t, 3));
        if (!run || PyList_Append(list, run) < 0) Py_CLEAR(list);
        Py_XDECREF(run);
    }
    Py_XDECREF(tuples);
    return list;
}

#define WITH_KEYWORDS(f) (PyCFunction)(void (*)(void))(f), METH_VARARGS | METH_KEYWORDS
static PyMethodDef methods[] = {
    {"info", info, METH_NOARGS,
     "info($self, /)\n--\n\n"
     "Facts as last committed: format_version, dataset_id (16 bytes), n_samples, n_bytes, "
     "last_run\n"
     "(0: nothing ingested yet), read_only."},
    {"fields", fields, METH_NOARGS,
     "fields($self, /)\n--\n\nName and kind of each field, in order."},
    {"columns", columns, METH_NOARGS, "columns($self, /)\n--\n\nName and type of each column."},
    {"classes", classes, METH_NOARGS,
     "classes($self, /)\n--\n\nLabel, name and number of samples of each class."},
    {"runs", runs, METH_NOARGS,
     "runs($self, /)\n--\n\nCommitted runs: run, n_samples, finished_s (since 1970), source."},
    {"select", WITH_KEYWORDS(core_store_select), core_store_select_doc},
    {"query", WITH_KEYWORDS(core_store_query), core_store_query_doc},
    {"split", WITH_KEYWORDS(core_store_split), core_store_split_doc},
    {"close", do_close, METH_NOARGS,
     "close($self, /)\n--\n\nLoaders and selections that were made of it go on. Twice is fine."},
    {0},
};

static PyType_Slot slots[] = {
    {Py_tp_doc,
     "Store(url, mode='read', *, dataset_id=None, replication=None, password=None)\n--\n\n"
     "An open data set: PATH, lmdb:PATH or "
     "cassandra://[user@]host/KEYSPACE/DATASET[?option=value].\n"
     "mode: \"read\", \"write\" (it must exist) or \"create\"; then dataset_id (16 bytes) and, for "
     "a\n"
     "keyspace that does not exist, replication (\"dc1=3,dc2=2\") say how. password: used where\n"
     "neither the URL's password_file nor STERNA_PASSWORD gives one. Not usable in a forked "
     "child."},
    {Py_tp_new, new},
    {Py_tp_dealloc, dealloc},
    {Py_tp_methods, methods},
    {0, NULL},
};

PyType_Spec core_store_spec = {
    .name = "sterna._core.Store",
    .basicsize = CORE_SIZE(struct store),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = slots,
};
