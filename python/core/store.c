/* Store: an open data set, and its facts. What is asked of it in SQL is in query.c and split.c. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "core.h"

struct store {
    struct core_handle handle;
    int is_remote;
};

static void close_store(void *p) {
    sterna_store *s = p;
    sterna_store_close(&s);
}

static struct core_handle *handle_of(PyObject *self) {
    return &CORE_DATA(self, struct store)->handle;
}

int core_store_enter(struct core_module *m, PyObject *store, struct core_store_use *use) {
    use->store = core_handle_enter(m, handle_of(store), "store");
    if (!use->store) return -1;
    use->object = Py_NewRef(store);
    return 0;
}

void core_store_leave(struct core_store_use *use) {
    if (use->store) core_handle_leave(handle_of(use->object));
    use->store = NULL;
    Py_CLEAR(use->object);
}

int core_store_is_remote(PyObject *store) { return CORE_DATA(store, struct store)->is_remote; }

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

struct opening {
    struct core_job job;
    core_keep keep;
    Py_buffer id;
    const char *url;
    struct sterna_store_options options;
    sterna_store *made;
};

static int run_opening(struct core_job *job) {
    struct opening *o = (struct opening *)job;
    return sterna_store_open(&o->made, o->url, &o->options, &job->err);
}

static void drop_opening(struct core_job *job) {
    struct opening *o = (struct opening *)job;
    sterna_store_close(&o->made);
    PyBuffer_Release(&o->id);
    Py_XDECREF(o->keep);
    free(o);
}

static int take_opening(struct core_module *m, struct opening *o, PyObject *args,
                        PyObject *kwargs) {
    static const char *const modes[] = {"read", "write", "create", NULL};
    const char *password = NULL;
    int mode = STERNA_OPEN_READ;
    const struct core_argument table[] = {
        {"url", CORE_TEXT_ARG, &o->url, CORE_REQUIRED, NULL, 0},
        {"mode", CORE_WORD, &mode, 0, modes, 0},
        {"dataset_id", CORE_BUFFER, &o->id, CORE_OR_NONE | CORE_EXACT, NULL, STERNA_ID_BYTES},
        {"replication", CORE_TEXT_ARG, &o->options.replication, CORE_OR_NONE, NULL, 0},
        {"password", CORE_TEXT_ARG, &password, CORE_OR_NONE, NULL, 0},
    };
    if (core_arguments(m, "Store", args, kwargs, table, CORE_COUNT(table), 2, &o->keep) < 0)
        return -1;
    o->options.struct_size = sizeof o->options;
    o->options.mode = (enum sterna_open_mode)mode;
    o->options.dataset_id = o->id.buf;
    if (!password) return 0;
    o->options.password = give_password;
    o->options.password_ctx = keep_password(password);
    if (!o->options.password_ctx) PyErr_NoMemory();
    return o->options.password_ctx ? 0 : -1;
}

static PyObject *make(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    struct core_module *m = PyType_GetModuleState(type);
    struct opening *o = core_job_new(sizeof *o, run_opening, drop_opening);
    PyObject *self = NULL;
    if (!o) return NULL;
    if (take_opening(m, o, args, kwargs) == 0 && core_job_run(m, &o->job) == STERNA_OK)
        self = core_new(type);
    if (self) {
        core_handle_init(handle_of(self), o->made, close_store);
        CORE_DATA(self, struct store)->is_remote = strncmp(o->url, "cassandra:", 10) == 0;
        o->made = NULL;
    }
    core_job_end(&o->job);
    return self;
}

static void dealloc(PyObject *self) {
    core_handle_close(handle_of(self));
    core_delete(self);
}

static PyObject *do_close(PyObject *self, PyObject *unused) {
    (void)unused;
    core_handle_close(handle_of(self));
    Py_RETURN_NONE;
}

/* ---- facts ---- */

struct asking { /* for facts, and for lists that the library gives line by line */
    struct core_job job;
    struct core_store_use use;
    struct core_rows rows;
    struct sterna_store_info info;
};

static void drop_asking(struct core_job *job) {
    struct asking *a = (struct asking *)job;
    core_store_leave(&a->use);
    core_rows_fini(&a->rows);
    free(a);
}

/* Has been answered, or NULL with an exception. To be ended. */
static struct asking *ask(PyObject *self, int (*run)(struct core_job *job), size_t n_columns) {
    struct core_module *m = core_module_of(self);
    struct asking *a = core_job_new(sizeof *a, run, drop_asking);
    if (!a) return NULL;
    a->rows = (struct core_rows){.job = &a->job, .n_columns = n_columns};
    if (core_store_enter(m, self, &a->use) == 0 && core_job_run(m, &a->job) == STERNA_OK) return a;
    core_job_end(&a->job);
    return NULL;
}

static int run_info(struct core_job *job) {
    struct asking *a = (struct asking *)job;
    return sterna_store_info(a->use.store, &a->info, &job->err);
}

static PyObject *info(PyObject *self, PyObject *unused) {
    struct asking *a = ask(self, run_info, 0);
    (void)unused;
    if (!a) return NULL;
    const struct sterna_store_info *i = &a->info;
    PyObject *d = Py_BuildValue(
        "{sI sy# sK sK sK sO}", "format_version", i->format_version, "dataset_id",
        (const char *)i->dataset_id, (Py_ssize_t)STERNA_ID_BYTES, "n_samples",
        (unsigned long long)i->n_samples, "n_bytes", (unsigned long long)i->n_bytes, "last_run",
        (unsigned long long)i->last_run, "read_only", i->read_only ? Py_True : Py_False);
    core_job_end(&a->job);
    return d;
}

static PyObject *list_fields(const struct asking *a) {
    PyObject *list = PyList_New(0);
    for (uint32_t f = 0; list && f < a->info.n_fields; f++) {
        struct sterna_field field;
        if (sterna_store_field(a->use.store, f, &field) < 0) break;
        PyObject *name = CORE_TEXT(field.name), *pair = NULL;
        if (name) pair = Py_BuildValue("(Ns)", name, sterna_kind_name(field.kind));
        if (!pair || PyList_Append(list, pair) < 0) Py_CLEAR(list);
        Py_XDECREF(pair);
    }
    return list;
}

static PyObject *fields(PyObject *self, PyObject *unused) {
    struct asking *a = ask(self, run_info, 0);
    (void)unused;
    if (!a) return NULL;
    PyObject *list = list_fields(a);
    core_job_end(&a->job);
    return list;
}

/* ---- lists ---- */

static struct sterna_value text_value(const char *text) {
    return (struct sterna_value){.type = STERNA_TEXT, .text = text, .text_bytes = strlen(text)};
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

static int run_columns(struct core_job *job) {
    struct asking *a = (struct asking *)job;
    return sterna_store_columns(a->use.store, add_column, &a->rows, &job->err);
}
static int run_classes(struct core_job *job) {
    struct asking *a = (struct asking *)job;
    return sterna_store_classes(a->use.store, add_class, &a->rows, &job->err);
}
static int run_runs(struct core_job *job) {
    struct asking *a = (struct asking *)job;
    return sterna_store_runs(a->use.store, add_run, &a->rows, &job->err);
}

static PyObject *lines(PyObject *self, int (*run)(struct core_job *job), size_t n_columns,
                       const char *const *names) {
    struct asking *a = ask(self, run, n_columns);
    if (!a) return NULL;
    PyObject *list = names ? core_rows_dicts(&a->rows, names) : core_rows_tuples(&a->rows);
    core_job_end(&a->job);
    return list;
}

static PyObject *columns(PyObject *self, PyObject *unused) {
    (void)unused;
    return lines(self, run_columns, 2, NULL);
}

static PyObject *classes(PyObject *self, PyObject *unused) {
    (void)unused;
    return lines(self, run_classes, 3, NULL);
}

static PyObject *runs(PyObject *self, PyObject *unused) {
    static const char *const names[] = {"run", "n_samples", "finished_s", "source"};
    (void)unused;
    return lines(self, run_runs, 4, names);
}

#define WITH_KEYWORDS(f) (PyCFunction)(void (*)(void))(f), METH_VARARGS | METH_KEYWORDS
static PyMethodDef methods[] = {
    {"info", info, METH_NOARGS,
     "info($self, /)\n--\n\n"
     "Facts as last committed: format_version, dataset_id (16 bytes), n_samples, n_bytes,\n"
     "last_run (0: nothing ingested yet), read_only."},
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
     "An open data set: PATH, lmdb:PATH or\n"
     "cassandra://[user@]host/KEYSPACE/DATASET[?option=value]. mode: \"read\", \"write\" (it must\n"
     "exist) or \"create\"; then dataset_id (16 bytes) and, for a keyspace that does not exist,\n"
     "replication (\"dc1=3,dc2=2\") say how. password: used where neither the URL's\n"
     "password_file nor STERNA_PASSWORD gives one. Not usable in a forked child."},
    {Py_tp_new, make},
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
