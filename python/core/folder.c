/* Ingest of a folder of images. */
#include "core.h"

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
    PyObject *tuple = core_tuple_of(o, -1, "", keep);
    if (!tuple) return -1;
    size_t n = (size_t)PyTuple_Size(tuple);
    struct sterna_ingest_field *fields = core_keep_memory(keep, n * sizeof *fields);
    for (size_t i = 0; fields && i < n; i++) {
        PyObject *parts = core_tuple_of(PyTuple_GetItem(tuple, (Py_ssize_t)i), 3,
                                        "a field (name, pattern, kind)", keep);
        enum sterna_kind kind = STERNA_KIND_BYTES;
        if (!parts) return -1;
        PyObject *word = PyTuple_GetItem(parts, 2);
        fields[i].name = core_name_of(m, PyTuple_GetItem(parts, 0), "a field's name", keep);
        fields[i].pattern = core_name_of(m, PyTuple_GetItem(parts, 1), "a field's pattern", keep);
        if (!fields[i].name || !fields[i].pattern) return -1;
        if (word != Py_None && core_kind_of(m, word, &kind) < 0) return -1;
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
    struct core_store_use use = {0};
    if (core_store_enter(m, store, &use) < 0) return NULL;
    o->progress = on_progress; /* also without a function to call: it looks for signals */
    o->report = call->report ? on_report : NULL;
    o->ctx = call;
    call->thread = PyEval_SaveThread();
    int rc = sterna_ingest_folder(use.store, directory, o, &r, &err);
    PyEval_RestoreThread(call->thread);
    core_store_leave(&use);
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
PyMethodDef core_ingest_methods[] = {
    {"ingest_folder", WITH_KEYWORDS(ingest_folder),
     "ingest_folder(store, directory, *, prefix=None, metadata=None, fields=(), max_bytes=0,\n"
     "              memory_bytes=0, threads=0, stop_on_error=False, replace=False,\n"
     "              progress=None, report=None)\n--\n\n"
     "Ingests the images below a directory, as one run. fields: (name, pattern, kind or None)\n"
     "of further files for each image. progress is called with a dict now and then, report\n"
     "with (outcome, path, why) for each input that was not simply added; an exception in them\n"
     "stops it. Returns run (0: nothing new), counts by outcome, bytes, metadata_unmatched,\n"
     "seconds."},
    {0},
};
