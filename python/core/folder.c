/* Ingest of a folder of images. */
#include <stdlib.h>

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

struct ingesting {
    struct core_job job;
    struct core_store_use use;
    core_keep keep;
    const char *directory;
    PyObject *progress, *report; /* functions, held; or NULL */
    struct sterna_ingest_options options;
    struct sterna_ingest_result result;
};

/* ---- callbacks ---- */

struct told {
    struct ingesting *ingesting;
    const struct sterna_progress *now;
};

static int tell_progress(void *arg) {
    struct told *t = arg;
    if (!t->ingesting->progress) return 0; /* asked all the same, to stop when it is left alone */
    PyObject *now = progress_of(t->now), *returned = NULL;
    if (now) returned = PyObject_CallFunctionObjArgs(t->ingesting->progress, now, NULL);
    Py_XDECREF(now);
    Py_XDECREF(returned);
    return returned ? 0 : 1;
}

static int on_progress(void *ctx, const struct sterna_progress *now) {
    struct told t = {ctx, now};
    return core_job_ask(&t.ingesting->job, tell_progress, &t);
}

struct reported {
    struct ingesting *ingesting;
    enum sterna_outcome outcome;
    const char *path, *why;
};

static int tell_report(void *arg) {
    struct reported *r = arg;
    PyObject *path = CORE_TEXT(r->path), *why = CORE_TEXT(r->why), *returned = NULL;
    if (path && why)
        returned = PyObject_CallFunction(r->ingesting->report, "sOO",
                                         sterna_outcome_name(r->outcome), path, why);
    Py_XDECREF(path);
    Py_XDECREF(why);
    Py_XDECREF(returned);
    return returned ? 0 : 1;
}

static int on_report(void *ctx, enum sterna_outcome outcome, const char *path, const char *why) {
    struct reported r = {ctx, outcome, path, why};
    return core_job_ask(&r.ingesting->job, tell_report, &r);
}

/* ---- the call ---- */

static int run_ingesting(struct core_job *job) {
    struct ingesting *i = (struct ingesting *)job;
    return sterna_ingest_folder(i->use.store, i->directory, &i->options, &i->result, &job->err);
}

static void drop_ingesting(struct core_job *job) {
    struct ingesting *i = (struct ingesting *)job;
    core_store_leave(&i->use);
    Py_XDECREF(i->progress);
    Py_XDECREF(i->report);
    Py_XDECREF(i->keep);
    free(i);
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

static int take_ingesting(struct core_module *m, struct ingesting *i, PyObject *args,
                          PyObject *kwargs) {
    struct sterna_ingest_options *o = &i->options;
    PyObject *store = NULL, *fields = NULL, *progress = NULL, *report = NULL;
    const struct core_argument table[] = {
        {"store", CORE_STORE, &store, CORE_REQUIRED, NULL, 0},
        {"directory", CORE_TEXT_ARG, &i->directory, CORE_REQUIRED, NULL, 0},
        {"prefix", CORE_TEXT_ARG, &o->prefix, CORE_OR_NONE, NULL, 0},
        {"metadata", CORE_TEXT_ARG, &o->metadata_file, CORE_OR_NONE, NULL, 0},
        {"fields", CORE_OBJECT, &fields, 0, NULL, 0},
        {"max_bytes", CORE_U64, &o->max_bytes, 0, NULL, 0},
        {"memory_bytes", CORE_U64, &o->memory_bytes, 0, NULL, 0},
        {"threads", CORE_UNSIGNED, &o->threads, 0, NULL, 0},
        {"stop_on_error", CORE_FLAG, &o->stop_on_error, 0, NULL, 0},
        {"replace", CORE_FLAG, &o->replace, 0, NULL, 0},
        {"progress", CORE_FUNCTION, &progress, CORE_OR_NONE, NULL, 0},
        {"report", CORE_FUNCTION, &report, CORE_OR_NONE, NULL, 0},
    };
    sterna_ingest_options_init(o);
    uint64_t max_bytes = o->max_bytes;
    if (core_arguments(m, "ingest_folder", args, kwargs, table, CORE_COUNT(table), 2, &i->keep) < 0)
        return -1;
    if (fields && take_fields(m, fields, o, &i->keep) < 0) return -1;
    if (o->max_bytes == 0) o->max_bytes = max_bytes; /* 0: the default */
    i->progress = Py_XNewRef(progress);
    i->report = Py_XNewRef(report);
    o->progress = on_progress;
    o->report = report ? on_report : NULL;
    o->ctx = i;
    return core_store_enter(m, store, &i->use);
}

static PyObject *result_of(const struct sterna_ingest_result *r) {
    PyObject *counts = core_outcome_counts(r->counts);
    if (!counts) return NULL;
    return Py_BuildValue("{sK sN sK sK sd}", "run", (unsigned long long)r->run, "counts", counts,
                         "bytes", (unsigned long long)r->bytes, "metadata_unmatched",
                         (unsigned long long)r->metadata_unmatched, "seconds", r->seconds);
}

static PyObject *ingest_folder(PyObject *module, PyObject *args, PyObject *kwargs) {
    struct core_module *m = PyModule_GetState(module);
    struct ingesting *i = core_job_new(sizeof *i, run_ingesting, drop_ingesting);
    PyObject *result = NULL;
    if (!i) return NULL;
    if (take_ingesting(m, i, args, kwargs) == 0 && core_job_run(m, &i->job) == STERNA_OK)
        result = result_of(&i->result);
    core_job_end(&i->job);
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
