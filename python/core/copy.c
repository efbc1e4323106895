/* Copying samples from one store to another. */
#include <stdlib.h>

#include "core.h"

struct copying {
    struct core_job job;
    struct core_store_use from, to;
    sterna_selection *selection; /* or NULL: all */
    core_keep keep;
    PyObject *progress, *report; /* functions, held; or NULL */
    struct sterna_copy_options options;
    struct sterna_copy_result result;
};

/* ---- callbacks ---- */

static PyObject *progress_of(const struct sterna_copy_progress *p) {
    return Py_BuildValue(
        "{sK sK sK sK sK sK sd}", "samples", (unsigned long long)p->samples, "compared",
        (unsigned long long)p->compared, "read", (unsigned long long)p->read, "bytes_read",
        (unsigned long long)p->bytes_read, "to_read", (unsigned long long)p->to_read,
        "bytes_to_read", (unsigned long long)p->bytes_to_read, "seconds", p->seconds);
}

struct told {
    struct copying *copying;
    const struct sterna_copy_progress *now;
};

static int tell_progress(void *arg) {
    struct told *t = arg;
    if (!t->copying->progress) return 0; /* asked all the same, to stop when it is left alone */
    PyObject *now = progress_of(t->now), *returned = NULL;
    if (now) returned = PyObject_CallFunctionObjArgs(t->copying->progress, now, NULL);
    Py_XDECREF(now);
    Py_XDECREF(returned);
    return returned ? 0 : 1;
}

static int on_progress(void *ctx, const struct sterna_copy_progress *now) {
    struct told t = {ctx, now};
    return core_job_ask(&t.copying->job, tell_progress, &t);
}

struct reported {
    struct copying *copying;
    enum sterna_outcome outcome;
    const uint8_t *id;
    const char *path, *why;
};

static int tell_report(void *arg) {
    struct reported *r = arg;
    PyObject *path = CORE_TEXT(r->path), *why = CORE_TEXT(r->why), *returned = NULL;
    if (path && why)
        returned =
            PyObject_CallFunction(r->copying->report, "sy#OO", sterna_outcome_name(r->outcome),
                                  (const char *)r->id, (Py_ssize_t)STERNA_ID_BYTES, path, why);
    Py_XDECREF(path);
    Py_XDECREF(why);
    Py_XDECREF(returned);
    return returned ? 0 : 1;
}

static int on_report(void *ctx, enum sterna_outcome outcome, const uint8_t id[STERNA_ID_BYTES],
                     const char *path, const char *why) {
    struct reported r = {ctx, outcome, id, path, why};
    return core_job_ask(&r.copying->job, tell_report, &r);
}

/* ---- the call ---- */

static int run_copying(struct core_job *job) {
    struct copying *c = (struct copying *)job;
    return sterna_copy(c->from.store, c->selection, c->to.store, &c->options, &c->result,
                       &job->err);
}

static void drop_copying(struct core_job *job) {
    struct copying *c = (struct copying *)job;
    sterna_selection_close(&c->selection);
    core_store_leave(&c->to);
    core_store_leave(&c->from);
    Py_XDECREF(c->progress);
    Py_XDECREF(c->report);
    Py_XDECREF(c->keep);
    free(c);
}

static int take_copying(struct core_module *m, struct copying *c, PyObject *args,
                        PyObject *kwargs) {
    struct sterna_copy_options *o = &c->options;
    PyObject *from = NULL, *to = NULL, *selection = NULL, *progress = NULL, *report = NULL;
    const struct core_argument table[] = {
        {"source", CORE_STORE, &from, CORE_REQUIRED, NULL, 0},
        {"to", CORE_STORE, &to, CORE_REQUIRED, NULL, 0},
        {"selection", CORE_SELECTION, &selection, CORE_OR_NONE, NULL, 0},
        {"memory_bytes", CORE_U64, &o->memory_bytes, 0, NULL, 0},
        {"threads", CORE_UNSIGNED, &o->threads, 0, NULL, 0},
        {"replace", CORE_FLAG, &o->replace, 0, NULL, 0},
        {"progress", CORE_FUNCTION, &progress, CORE_OR_NONE, NULL, 0},
        {"report", CORE_FUNCTION, &report, CORE_OR_NONE, NULL, 0},
    };
    sterna_copy_options_init(o);
    if (core_arguments(m, "copy", args, kwargs, table, CORE_COUNT(table), 3, &c->keep) < 0)
        return -1;
    c->progress = Py_XNewRef(progress);
    c->report = Py_XNewRef(report);
    o->progress = on_progress;
    o->report = report ? on_report : NULL;
    o->ctx = c;
    if (selection && !(c->selection = core_selection_get(m, selection))) return -1;
    return core_store_enter(m, from, &c->from) < 0 ? -1 : core_store_enter(m, to, &c->to);
}

static PyObject *result_of(const struct sterna_copy_result *r) {
    PyObject *counts = core_outcome_counts(r->counts);
    if (!counts) return NULL;
    return Py_BuildValue("{sK sK sN sK sK sd}", "run", (unsigned long long)r->run, "samples",
                         (unsigned long long)r->samples, "counts", counts, "read",
                         (unsigned long long)r->read, "bytes_read",
                         (unsigned long long)r->bytes_read, "seconds", r->seconds);
}

static PyObject *copy(PyObject *module, PyObject *args, PyObject *kwargs) {
    struct core_module *m = PyModule_GetState(module);
    struct copying *c = core_job_new(sizeof *c, run_copying, drop_copying);
    PyObject *result = NULL;
    if (!c) return NULL;
    if (take_copying(m, c, args, kwargs) == 0 && core_job_run(m, &c->job) == STERNA_OK)
        result = result_of(&c->result);
    core_job_end(&c->job);
    return result;
}

#define WITH_KEYWORDS(f) (PyCFunction)(void (*)(void))(f), METH_VARARGS | METH_KEYWORDS
PyMethodDef core_copy_methods[] = {
    {"copy", WITH_KEYWORDS(copy),
     "copy(source, to, selection=None, *, memory_bytes=0, threads=0, replace=False,\n"
     "     progress=None, report=None)\n--\n\n"
     "Copies the samples of a selection of `source` (None: all) into the store `to`, which is\n"
     "open for writing and of the same data set. progress is called with a dict now and then,\n"
     "report with (outcome, id, path, why) for conflicts and unreadable samples; an exception\n"
     "in them stops it. Returns run (0: nothing new), samples, counts by outcome, read,\n"
     "bytes_read, seconds."},
    {0},
};
