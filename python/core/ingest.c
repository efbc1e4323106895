/* Ingest: samples into a store, from a folder or one by one. */
#include <pthread.h>
#include <string.h>

#include "core.h"

struct ingest {
    struct core_handle handle;
    pthread_mutex_t alone; /* the library takes one call at a time; held without the GIL */
};

static struct ingest *ingest_of(PyObject *self) { return CORE_DATA(self, struct ingest); }
static sterna_ingest *enter(PyObject *self) {
    return core_handle_enter(core_module_of(self), &ingest_of(self)->handle, "ingest");
}
static void leave(PyObject *self) { core_handle_leave(&ingest_of(self)->handle); }

static void close_ingest(void *p) {
    sterna_ingest *in = p;
    sterna_ingest_close(&in);
}

/* The kinds as the library names them, for arguments: kinds[STERNA_KIND_BYTES] is "bytes". */
static const char *const kinds[] = {"bytes", "image", "mask", "text", "json", "npy", NULL};

static int kind_of(struct core_module *m, PyObject *o, enum sterna_kind *kind) {
    for (int i = 0; PyUnicode_Check(o) && kinds[i]; i++)
        if (PyUnicode_CompareWithASCIIString(o, kinds[i]) == 0) {
            *kind = (enum sterna_kind)i;
            return 0;
        }
    core_raise_text(m, STERNA_EINVAL,
                    "a field's kind must be 'image', 'mask', 'bytes', 'text', 'json' or 'npy', "
                    "not %R",
                    o);
    return -1;
}

/* ---- open, commit, close ---- */

static PyObject *new (PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    struct core_module *m = PyType_GetModuleState(type);
    struct sterna_error err = {0};
    PyObject *store = NULL, *self = NULL;
    const char *source = NULL;
    int replace = 0;
    core_keep keep = NULL;
    const struct core_argument table[] = {
        {"store", CORE_STORE, &store, CORE_REQUIRED, NULL, 0},
        {"source", CORE_TEXT_ARG, &source, CORE_REQUIRED, NULL, 0},
        {"replace", CORE_FLAG, &replace, 0, NULL, 0},
    };
    int rc = core_arguments(m, "Ingest", args, kwargs, table, CORE_COUNT(table), 3, &keep);
    sterna_store *s = rc < 0 ? NULL : core_handle_enter(m, core_store_handle(store), "store");
    if (s) {
        sterna_ingest *in = NULL;
        Py_BEGIN_ALLOW_THREADS rc = sterna_ingest_open(&in, s, source, replace, &err);
        Py_END_ALLOW_THREADS core_handle_leave(core_store_handle(store));
        if (rc < 0)
            core_raise(m, rc, &err);
        else
            self = core_new(type);
        if (self) {
            core_handle_init(&ingest_of(self)->handle, in, close_ingest);
            pthread_mutex_init(&ingest_of(self)->alone, NULL);
        } else {
            sterna_ingest_close(&in);
        }
    }
    Py_XDECREF(keep);
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

static PyObject *commit(PyObject *self, PyObject *unused) {
    struct sterna_error err = {0};
    sterna_ingest *in = enter(self);
    uint64_t run = 0;
    int rc;
    (void)unused;
    if (!in) return NULL;
    Py_BEGIN_ALLOW_THREADS pthread_mutex_lock(&ingest_of(self)->alone);
    rc = sterna_ingest_commit(in, &run, &err);
    pthread_mutex_unlock(&ingest_of(self)->alone);
    Py_END_ALLOW_THREADS leave(self);
    return rc < 0 ? core_raise(core_module_of(self), rc, &err) : PyLong_FromUnsignedLongLong(run);
}

/* ---- add ---- */

struct sample {
    struct sterna_sample s;
    Py_buffer *views; /* of its blobs */
    size_t n_views;
    core_keep keep;
};

/* A tuple of n items, kept until the end; NULL with an exception. */
static PyObject *tuple_of(PyObject *o, Py_ssize_t n, const char *what, core_keep *keep) {
    PyObject *tuple = PySequence_Tuple(o);
    if (core_keep_object(keep, tuple) < 0) return NULL;
    if (n < 0 || PyTuple_Size(tuple) == n) return tuple;
    PyErr_Format(PyExc_TypeError, "%s must be a tuple of %zd, not %R", what, n, o);
    return NULL;
}

static const char *name_of(struct core_module *m, PyObject *o, const char *what, core_keep *keep) {
    if (PyUnicode_Check(o)) return core_text_of(m, o, what, keep);
    PyErr_Format(PyExc_TypeError, "%s must be str, not %R", what, o);
    return NULL;
}

static int take_blob(struct core_module *m, PyObject *o, struct sterna_blob *blob, Py_buffer *view,
                     core_keep *keep) {
    PyObject *parts = tuple_of(o, 3, "a blob (field, kind, data)", keep);
    if (!parts) return -1;
    *blob = (struct sterna_blob){.field = name_of(m, PyTuple_GetItem(parts, 0), "a field", keep)};
    if (!blob->field || kind_of(m, PyTuple_GetItem(parts, 1), &blob->kind) < 0) return -1;
    PyObject *data = PyTuple_GetItem(parts, 2);
    if (data == Py_None) return 0;
    if (PyObject_GetBuffer(data, view, PyBUF_C_CONTIGUOUS) < 0) return -1;
    blob->data = view->buf ? view->buf : ""; /* empty is not null */
    blob->bytes = (size_t)view->len;
    return 0;
}

static int take_blobs(struct core_module *m, PyObject *o, struct sample *s) {
    PyObject *tuple = tuple_of(o, -1, "", &s->keep);
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
    s->s.blobs = blobs;
    s->s.n_blobs = n;
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

static int take_cells(struct core_module *m, PyObject *o, struct sample *s) {
    PyObject *tuple = tuple_of(o, -1, "", &s->keep);
    if (!tuple) return -1;
    size_t n = (size_t)PyTuple_Size(tuple);
    struct sterna_cell *cells = core_keep_memory(&s->keep, n * sizeof *cells);
    if (!cells) return -1;
    for (size_t i = 0; i < n; i++) {
        PyObject *pair =
            tuple_of(PyTuple_GetItem(tuple, (Py_ssize_t)i), 2, "a cell (column, value)", &s->keep);
        if (!pair) return -1;
        cells[i] = (struct sterna_cell){
            .column = name_of(m, PyTuple_GetItem(pair, 0), "a column", &s->keep)};
        if (!cells[i].column ||
            take_value(m, PyTuple_GetItem(pair, 1), cells[i].column, &cells[i].value, &s->keep) < 0)
            return -1;
    }
    s->s.cells = cells;
    s->s.n_cells = n;
    return 0;
}

static PyObject *add_sample(PyObject *self, const struct sterna_sample *sample) {
    struct sterna_error err = {0};
    enum sterna_outcome outcome = STERNA_ADDED;
    sterna_ingest *in = enter(self);
    int rc;
    if (!in) return NULL;
    Py_BEGIN_ALLOW_THREADS pthread_mutex_lock(&ingest_of(self)->alone);
    rc = sterna_ingest_add(in, sample, &outcome, &err);
    pthread_mutex_unlock(&ingest_of(self)->alone);
    Py_END_ALLOW_THREADS leave(self);
    return rc < 0 ? core_raise(core_module_of(self), rc, &err)
                  : PyUnicode_InternFromString(sterna_outcome_name(outcome));
}

static PyObject *add(PyObject *self, PyObject *args, PyObject *kwargs) {
    struct core_module *m = core_module_of(self);
    struct sample s = {0};
    Py_buffer id = {0};
    PyObject *blobs = NULL, *cells = NULL, *outcome = NULL;
    const struct core_argument table[] = {
        {"path", CORE_TEXT_ARG, &s.s.path, CORE_REQUIRED, NULL, 0},
        {"blobs", CORE_OBJECT, &blobs, CORE_REQUIRED, NULL, 0},
        {"cells", CORE_OBJECT, &cells, CORE_REQUIRED, NULL, 0},
        {"id", CORE_BUFFER, &id, CORE_OR_NONE | CORE_EXACT, NULL, STERNA_ID_BYTES},
    };
    int rc = core_arguments(m, "add", args, kwargs, table, CORE_COUNT(table), 4, &s.keep);
    if (rc == 0 && take_blobs(m, blobs, &s) == 0 && take_cells(m, cells, &s) == 0) {
        s.s.id = id.buf;
        outcome = add_sample(self, &s.s);
    }
    for (size_t i = 0; i < s.n_views; i++) PyBuffer_Release(&s.views[i]);
    PyBuffer_Release(&id);
    Py_XDECREF(s.keep);
    return outcome;
}

/* ---- a folder ---- */

PyObject *core_outcome_counts(const uint64_t *counts) {
    PyObject *d = PyDict_New();
    for (int i = 0; d && i < STERNA_OUTCOME_COUNT; i++)
        if (core_set_u64(d, sterna_outcome_name((enum sterna_outcome)i), counts[i]) < 0)
            Py_CLEAR(d);
    return d;
}

static PyObject *progress_of(const struct sterna_progress *p) {
    PyObject *counts = core_outcome_counts(p->counts);
    if (!counts) return NULL;
    return Py_BuildValue(
        "{sK sK sK sK sK sd sN}", "files_seen", (unsigned long long)p->files_seen, "files_done",
        (unsigned long long)p->files_done, "bytes_done", (unsigned long long)p->bytes_done,
        "files_total", (unsigned long long)p->files_total, "bytes_total",
        (unsigned long long)p->bytes_total, "seconds", p->seconds, "counts", counts);
}

static int on_progress(void *ctx, const struct sterna_progress *now) {
    struct core_call *c = ctx;
    core_call_begin(c);
    PyObject *told = c->progress ? progress_of(now) : NULL, *returned = NULL;
    if (told) returned = PyObject_CallFunctionObjArgs(c->progress, told, NULL);
    Py_XDECREF(told);
    return core_call_end(c, returned);
}

static int on_report(void *ctx, enum sterna_outcome outcome, const char *path, const char *why) {
    struct core_call *c = ctx;
    core_call_begin(c);
    PyObject *where = CORE_TEXT(path), *words = CORE_TEXT(why), *returned = NULL;
    if (where && words)
        returned =
            PyObject_CallFunction(c->report, "sOO", sterna_outcome_name(outcome), where, words);
    Py_XDECREF(where);
    Py_XDECREF(words);
    return core_call_end(c, returned);
}

static int take_fields(struct core_module *m, PyObject *o, struct sterna_ingest_options *to,
                       core_keep *keep) {
    PyObject *tuple = tuple_of(o, -1, "", keep);
    if (!tuple) return -1;
    size_t n = (size_t)PyTuple_Size(tuple);
    struct sterna_ingest_field *fields = core_keep_memory(keep, n * sizeof *fields);
    for (size_t i = 0; fields && i < n; i++) {
        PyObject *parts = tuple_of(PyTuple_GetItem(tuple, (Py_ssize_t)i), 3,
                                   "a field (name, pattern, kind)", keep);
        enum sterna_kind kind = STERNA_KIND_BYTES;
        if (!parts) return -1;
        PyObject *word = PyTuple_GetItem(parts, 2);
        fields[i].name = name_of(m, PyTuple_GetItem(parts, 0), "a field's name", keep);
        fields[i].pattern = name_of(m, PyTuple_GetItem(parts, 1), "a field's pattern", keep);
        if (!fields[i].name || !fields[i].pattern) return -1;
        if (word != Py_None && kind_of(m, word, &kind) < 0) return -1;
        fields[i].kind = word == Py_None ? -1 : (int)kind;
    }
    to->fields = fields;
    to->n_fields = n;
    return fields ? 0 : -1;
}

static PyObject *ingest_into(struct core_module *m, PyObject *store, const char *directory,
                             struct sterna_ingest_options *o, struct core_call *call) {
    struct sterna_error err = {0};
    struct sterna_ingest_result r = {0};
    sterna_store *s = core_handle_enter(m, core_store_handle(store), "store");
    if (!s) return NULL;
    o->progress = on_progress; /* also without a function to call: it looks for signals */
    o->report = call->report ? on_report : NULL;
    o->ctx = call;
    call->thread = PyEval_SaveThread();
    int rc = sterna_ingest_folder(s, directory, o, &r, &err);
    PyEval_RestoreThread(call->thread);
    core_handle_leave(core_store_handle(store));
    if (PyErr_Occurred()) return NULL; /* raised by a callback, which stopped it */
    if (rc < 0) return core_raise(m, rc, &err);
    PyObject *counts = core_outcome_counts(r.counts);
    if (!counts) return NULL;
    return Py_BuildValue("{sK sN sK sK sd}", "run", (unsigned long long)r.run, "counts", counts,
                         "bytes", (unsigned long long)r.bytes, "metadata_unmatched",
                         (unsigned long long)r.metadata_unmatched, "seconds", r.seconds);
}

static PyObject *ingest_folder(PyObject *module, PyObject *args, PyObject *kwargs) {
    struct core_module *m = PyModule_GetState(module);
    struct core_call call = {.module = m};
    struct sterna_ingest_options o;
    PyObject *store = NULL, *fields = NULL, *result = NULL;
    const char *directory = NULL;
    core_keep keep = NULL;
    const struct core_argument table[] = {
        {"store", CORE_STORE, &store, CORE_REQUIRED, NULL, 0},
        {"directory", CORE_TEXT_ARG, &directory, CORE_REQUIRED, NULL, 0},
        {"prefix", CORE_TEXT_ARG, &o.prefix, CORE_OR_NONE, NULL, 0},
        {"metadata", CORE_TEXT_ARG, &o.metadata_file, CORE_OR_NONE, NULL, 0},
        {"fields", CORE_OBJECT, &fields, 0, NULL, 0},
        {"max_bytes", CORE_U64, &o.max_bytes, 0, NULL, 0},
        {"memory_bytes", CORE_U64, &o.memory_bytes, 0, NULL, 0},
        {"threads", CORE_UNSIGNED, &o.threads, 0, NULL, 0},
        {"stop_on_error", CORE_FLAG, &o.stop_on_error, 0, NULL, 0},
        {"replace", CORE_FLAG, &o.replace, 0, NULL, 0},
        {"progress", CORE_FUNCTION, &call.progress, CORE_OR_NONE, NULL, 0},
        {"report", CORE_FUNCTION, &call.report, CORE_OR_NONE, NULL, 0},
    };
    sterna_ingest_options_init(&o);
    uint64_t max_bytes = o.max_bytes;
    int rc = core_arguments(m, "ingest_folder", args, kwargs, table, CORE_COUNT(table), 2, &keep);
    if (rc == 0 && fields) rc = take_fields(m, fields, &o, &keep);
    if (o.max_bytes == 0) o.max_bytes = max_bytes; /* 0: the default */
    if (rc == 0) result = ingest_into(m, store, directory, &o, &call);
    Py_XDECREF(keep);
    return result;
}

#define WITH_KEYWORDS(f) (PyCFunction)(void (*)(void))(f), METH_VARARGS | METH_KEYWORDS
static PyMethodDef methods[] = {
    {"add", WITH_KEYWORDS(add),
     "add($self, /, path, blobs, cells, id=None)\n--\n\n"
     "One sample: blobs are (field, kind, bytes-like or None), cells (column, value). Its id is "
     "made\n"
     "of the path unless it is given (16 bytes). Returns \"added\", \"unchanged\", \"replaced\",\n"
     "\"conflict\" (other bytes under this id: left as they are) ..."},
    {"commit", commit, METH_NOARGS,
     "commit($self, /)\n--\n\nMakes all that was added visible, as one run; its number (0: none "
     "new)."},
    {"close", do_close, METH_NOARGS,
     "close($self, /)\n--\n\nForgets what was not committed. Twice is fine."},
    {0},
};

PyMethodDef core_ingest_methods[] = {
    {"ingest_folder", WITH_KEYWORDS(ingest_folder),
     "ingest_folder(store, directory, *, prefix=None, metadata=None, fields=(), max_bytes=0,\n"
     "              memory_bytes=0, threads=0, stop_on_error=False, replace=False, progress=None,\n"
     "              report=None)\n--\n\n"
     "Ingests the images below a directory, as one run. fields: (name, pattern, kind or None) of\n"
     "further files for each image. progress is called with a dict now and then, report with\n"
     "(outcome, path, why) for each input that was not simply added; an exception in them stops "
     "it.\n"
     "Returns run (0: nothing new), counts by outcome, bytes, metadata_unmatched, seconds."},
    {0},
};

static PyType_Slot slots[] = {
    {Py_tp_doc,
     "Ingest(store, source, replace=False)\n--\n\n"
     "Samples from anywhere into a store that is open for writing: add each, commit. One\n"
     "at a time for a store (BusyError). source: where they come from, in words."},
    {Py_tp_new, new},
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
