/* Ingest: samples into a store, one by one. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "core.h"

struct ingest {
    struct core_handle handle;
    pthread_mutex_t alone; /* the library takes one call at a time; held without the GIL */
    int is_remote;
};

static struct ingest *ingest_of(PyObject *self) { return CORE_DATA(self, struct ingest); }

static void close_ingest(void *p) {
    sterna_ingest *in = p;
    sterna_ingest_close(&in);
}

/* ---- open and close ---- */

struct opening {
    struct core_job job;
    struct core_store_use use;
    core_keep keep;
    const char *source;
    int replace;
    sterna_ingest *made;
};

static int run_opening(struct core_job *job) {
    struct opening *o = (struct opening *)job;
    return sterna_ingest_open(&o->made, o->use.store, o->source, o->replace, &job->err);
}

static void drop_opening(struct core_job *job) {
    struct opening *o = (struct opening *)job;
    sterna_ingest_close(&o->made);
    core_store_leave(&o->use);
    Py_XDECREF(o->keep);
    free(o);
}

static int take_opening(struct core_module *m, struct opening *o, PyObject *args,
                        PyObject *kwargs) {
    PyObject *store = NULL;
    const struct core_argument table[] = {
        {"store", CORE_STORE, &store, CORE_REQUIRED, NULL, 0},
        {"source", CORE_TEXT_ARG, &o->source, CORE_REQUIRED, NULL, 0},
        {"replace", CORE_FLAG, &o->replace, 0, NULL, 0},
    };
    if (core_arguments(m, "Ingest", args, kwargs, table, CORE_COUNT(table), 3, &o->keep) < 0)
        return -1;
    return core_store_enter(m, store, &o->use);
}

static PyObject *make(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    struct core_module *m = PyType_GetModuleState(type);
    struct opening *o = core_job_new(sizeof *o, run_opening, drop_opening);
    PyObject *self = NULL;
    if (!o) return NULL;
    if (take_opening(m, o, args, kwargs) == 0 && core_job_run(m, &o->job) == STERNA_OK)
        self = core_new(type);
    if (self) {
        core_handle_init(&ingest_of(self)->handle, o->made, close_ingest);
        pthread_mutex_init(&ingest_of(self)->alone, NULL);
        ingest_of(self)->is_remote = core_store_is_remote(o->use.object);
        o->made = NULL;
    }
    core_job_end(&o->job);
    return self;
}

static PyObject *do_close(PyObject *self, PyObject *unused) {
    (void)unused;
    core_handle_close(&ingest_of(self)->handle);
    Py_RETURN_NONE;
}

static void dealloc(PyObject *self) {
    core_handle_close(&ingest_of(self)->handle);
    pthread_mutex_destroy(&ingest_of(self)->alone);
    core_delete(self);
}

/* ---- calls ---- */

struct calling {
    struct core_job job;
    PyObject *object; /* the Ingest, held */
    sterna_ingest *in;
    core_keep keep;
    /* add */
    Py_buffer id, *views; /* of its blobs */
    size_t n_views;
    struct sterna_sample sample;
    enum sterna_outcome outcome;
    /* declare_classes */
    struct core_texts names;
    int64_t *labels;
    /* commit */
    uint64_t run;
};

static void drop_calling(struct core_job *job) {
    struct calling *c = (struct calling *)job;
    if (c->in) core_handle_leave(&ingest_of(c->object)->handle);
    for (size_t i = 0; i < c->n_views; i++) PyBuffer_Release(&c->views[i]);
    PyBuffer_Release(&c->id);
    Py_XDECREF(c->keep);
    Py_DECREF(c->object);
    free(c);
}

static struct calling *new_call(PyObject *self, int (*run)(struct core_job *job)) {
    struct calling *c = core_job_new(sizeof *c, run, drop_calling);
    if (c) c->object = Py_NewRef(self);
    return c;
}

static int make_call(struct calling *c) {
    struct core_module *m = core_module_of(c->object);
    c->in = core_handle_enter(m, &ingest_of(c->object)->handle, "ingest");
    return c->in ? core_job_run(m, &c->job) : -1;
}

static void lock(struct calling *c) { pthread_mutex_lock(&ingest_of(c->object)->alone); }
static void unlock(struct calling *c) { pthread_mutex_unlock(&ingest_of(c->object)->alone); }

static int run_commit(struct core_job *job) {
    struct calling *c = (struct calling *)job;
    lock(c);
    int rc = sterna_ingest_commit(c->in, &c->run, &job->err);
    unlock(c);
    return rc;
}

static PyObject *commit(PyObject *self, PyObject *unused) {
    struct calling *c = new_call(self, run_commit);
    PyObject *run = NULL;
    (void)unused;
    if (!c) return NULL;
    if (make_call(c) == STERNA_OK) run = PyLong_FromUnsignedLongLong(c->run);
    core_job_end(&c->job);
    return run;
}

static int run_classes(struct core_job *job) {
    struct calling *c = (struct calling *)job;
    lock(c);
    int rc = sterna_ingest_classes(c->in, c->names.at, c->names.n, c->labels, &job->err);
    unlock(c);
    return rc;
}

static int take_classes(struct core_module *m, struct calling *c, PyObject *args,
                        PyObject *kwargs) {
    const struct core_argument table[] = {{"names", CORE_TEXTS, &c->names, CORE_REQUIRED, NULL, 0}};
    if (core_arguments(m, "declare_classes", args, kwargs, table, 1, 1, &c->keep) < 0) return -1;
    c->labels = core_keep_memory(&c->keep, c->names.n * sizeof *c->labels);
    return c->labels ? 0 : -1;
}

static PyObject *declare_classes(PyObject *self, PyObject *args, PyObject *kwargs) {
    struct calling *c = new_call(self, run_classes);
    PyObject *labels = NULL;
    if (!c) return NULL;
    if (take_classes(core_module_of(self), c, args, kwargs) == 0 && make_call(c) == STERNA_OK)
        labels = PyList_New((Py_ssize_t)c->names.n);
    for (size_t i = 0; labels && i < c->names.n; i++) {
        PyObject *label = PyLong_FromLongLong(c->labels[i]);
        if (!label)
            Py_CLEAR(labels);
        else
            PyList_SetItem(labels, (Py_ssize_t)i, label);
    }
    core_job_end(&c->job);
    return labels;
}

/* ---- add ---- */

static int run_add(struct core_job *job) {
    struct calling *c = (struct calling *)job;
    lock(c);
    int rc = sterna_ingest_add(c->in, &c->sample, &c->outcome, &job->err);
    unlock(c);
    return rc;
}

static int take_blob(struct core_module *m, PyObject *o, struct sterna_blob *blob, Py_buffer *view,
                     core_keep *keep) {
    PyObject *parts = core_tuple_of(o, 3, "a blob (field, kind, data)", keep);
    if (!parts) return -1;
    *blob =
        (struct sterna_blob){.field = core_name_of(m, PyTuple_GetItem(parts, 0), "a field", keep)};
    if (!blob->field || core_kind_of(m, PyTuple_GetItem(parts, 1), &blob->kind) < 0) return -1;
    PyObject *data = PyTuple_GetItem(parts, 2);
    if (data == Py_None) return 0;
    if (PyObject_GetBuffer(data, view, PyBUF_C_CONTIGUOUS) < 0) return -1;
    blob->data = view->buf ? view->buf : ""; /* empty is not null */
    blob->bytes = (size_t)view->len;
    return 0;
}

static int take_blobs(struct core_module *m, PyObject *o, struct calling *s) {
    PyObject *tuple = core_tuple_of(o, -1, "", &s->keep);
    if (!tuple) return -1;
    size_t n = (size_t)PyTuple_Size(tuple);
    struct sterna_blob *blobs = core_keep_memory(&s->keep, n * sizeof *blobs);
    s->views = core_keep_memory(&s->keep, n * sizeof *s->views);
    if (!blobs || !s->views) return -1;
    memset(s->views, 0, n * sizeof *s->views);
    s->n_views = n;
    for (size_t i = 0; i < n; i++) {
        PyObject *item = PyTuple_GetItem(tuple, (Py_ssize_t)i);
        if (take_blob(m, item, &blobs[i], &s->views[i], &s->keep) < 0) return -1;
    }
    s->sample.blobs = blobs;
    s->sample.n_blobs = n;
    return 0;
}

static int take_value(struct core_module *m, PyObject *o, const char *column,
                      struct sterna_value *value, core_keep *keep) {
    if (o == Py_None) return 0;
    if (PyUnicode_Check(o)) {
        value->type = STERNA_TEXT;
        value->text = core_text_of(m, o, "a text", keep);
        if (value->text) value->text_bytes = strlen(value->text);
        return value->text ? 0 : -1;
    }
    if (PyIndex_Check(o)) { /* int, and numpy's */
        int overflow = 0;
        PyObject *index = PyNumber_Index(o);
        value->type = STERNA_INT;
        value->i = index ? PyLong_AsLongLongAndOverflow(index, &overflow) : -1;
        Py_XDECREF(index);
        if (overflow)
            core_raise_text(m, STERNA_EINVAL, "%s: %R does not fit into 64 bits", column, o);
        return PyErr_Occurred() ? -1 : 0;
    }
    value->type = STERNA_REAL;
    value->r = PyFloat_AsDouble(o);
    if (!PyErr_Occurred()) return 0;
    PyErr_Format(PyExc_TypeError, "column %s takes int, float, str or None, not %R", column, o);
    return -1;
}

static int take_cells(struct core_module *m, PyObject *o, struct calling *s) {
    PyObject *tuple = core_tuple_of(o, -1, "", &s->keep);
    if (!tuple) return -1;
    size_t n = (size_t)PyTuple_Size(tuple);
    struct sterna_cell *cells = core_keep_memory(&s->keep, n * sizeof *cells);
    if (!cells) return -1;
    for (size_t i = 0; i < n; i++) {
        PyObject *pair = core_tuple_of(PyTuple_GetItem(tuple, (Py_ssize_t)i), 2,
                                       "a cell (column, value)", &s->keep);
        if (!pair) return -1;
        cells[i] = (struct sterna_cell){
            .column = core_name_of(m, PyTuple_GetItem(pair, 0), "a column", &s->keep)};
        if (!cells[i].column ||
            take_value(m, PyTuple_GetItem(pair, 1), cells[i].column, &cells[i].value, &s->keep) < 0)
            return -1;
    }
    s->sample.cells = cells;
    s->sample.n_cells = n;
    return 0;
}

static int take_sample(struct core_module *m, struct calling *c, PyObject *args, PyObject *kwargs) {
    PyObject *blobs = NULL, *cells = NULL;
    const struct core_argument table[] = {
        {"path", CORE_TEXT_ARG, &c->sample.path, CORE_REQUIRED, NULL, 0},
        {"blobs", CORE_OBJECT, &blobs, CORE_REQUIRED, NULL, 0},
        {"cells", CORE_OBJECT, &cells, CORE_REQUIRED, NULL, 0},
        {"id", CORE_BUFFER, &c->id, CORE_OR_NONE | CORE_EXACT, NULL, STERNA_ID_BYTES},
    };
    if (core_arguments(m, "add", args, kwargs, table, CORE_COUNT(table), 4, &c->keep) < 0)
        return -1;
    c->sample.id = c->id.buf;
    return take_blobs(m, blobs, c) < 0 ? -1 : take_cells(m, cells, c);
}

static PyObject *add(PyObject *self, PyObject *args, PyObject *kwargs) {
    struct calling *c = new_call(self, run_add);
    PyObject *outcome = NULL;
    if (!c) return NULL;
    c->job.is_short = !ingest_of(self)->is_remote; /* not worth a thread */
    if (take_sample(core_module_of(self), c, args, kwargs) == 0 && make_call(c) == STERNA_OK)
        outcome = PyUnicode_InternFromString(sterna_outcome_name(c->outcome));
    core_job_end(&c->job);
    return outcome;
}

#define WITH_KEYWORDS(f) (PyCFunction)(void (*)(void))(f), METH_VARARGS | METH_KEYWORDS
static PyMethodDef methods[] = {
    {"add", WITH_KEYWORDS(add),
     "add($self, /, path, blobs, cells, id=None)\n--\n\n"
     "One sample: blobs are (field, kind, bytes-like or None), cells (column, value). Its id\n"
     "is made of the path unless it is given (16 bytes). Returns \"added\", \"unchanged\",\n"
     "\"replaced\", \"conflict\" (other bytes under this id: left as they are) ..."},
    {"declare_classes", WITH_KEYWORDS(declare_classes),
     "declare_classes($self, /, names)\n--\n\n"
     "Gives new classes the next labels, in this order and before samples have them. Returns the\n"
     "label of each."},
    {"commit", commit, METH_NOARGS,
     "commit($self, /)\n--\n\n"
     "Makes all that was added visible, as one run; its number (0: none new)."},
    {"close", do_close, METH_NOARGS,
     "close($self, /)\n--\n\nForgets what was not committed. Twice is fine."},
    {0},
};

static PyType_Slot slots[] = {
    {Py_tp_doc,
     "Ingest(store, source, replace=False)\n--\n\n"
     "Samples from anywhere into a store that is open for writing: add each, commit. One\n"
     "at a time for a store (BusyError). source: where they come from, in words."},
    {Py_tp_new, make},
    {Py_tp_dealloc, dealloc},
    {Py_tp_methods, methods},
    {0, NULL},
};

PyType_Spec core_ingest_spec = {
    .name = "sterna._core.Ingest",
    .basicsize = CORE_SIZE(struct ingest),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = slots,
};
