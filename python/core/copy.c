/* Copying samples from one store to another. */
#include "core.h"

static PyObject *progress_of(const struct sterna_copy_progress *p) {
    return Py_BuildValue(
        "{sK sK sK sK sK sK sd}", "samples", (unsigned long long)p->samples, "compared",
        (unsigned long long)p->compared, "read", (unsigned long long)p->read, "bytes_read",
        (unsigned long long)p->bytes_read, "to_read", (unsigned long long)p->to_read,
        "bytes_to_read", (unsigned long long)p->bytes_to_read, "seconds", p->seconds);
}

static int on_progress(void *ctx, const struct sterna_copy_progress *now) {
    struct core_call *c = ctx;
    core_call_begin(c);
    PyObject *told = c->progress ? progress_of(now) : NULL, *returned = NULL;
    if (told) returned = PyObject_CallFunctionObjArgs(c->progress, told, NULL);
    Py_XDECREF(told);
    return core_call_end(c, returned);
}

static int on_report(void *ctx, enum sterna_outcome outcome, const uint8_t id[STERNA_ID_BYTES],
                     const char *path, const char *why) {
    struct core_call *c = ctx;
    core_call_begin(c);
    PyObject *where = CORE_TEXT(path), *words = CORE_TEXT(why), *returned = NULL;
    if (where && words)
        returned =
            PyObject_CallFunction(c->report, "sy#OO", sterna_outcome_name(outcome),
                                  (const char *)id, (Py_ssize_t)STERNA_ID_BYTES, where, words);
    Py_XDECREF(where);
    Py_XDECREF(words);
    return core_call_end(c, returned);
}

static PyObject *result_of(const struct sterna_copy_result *r) {
    PyObject *counts = core_outcome_counts(r->counts);
    if (!counts) return NULL;
    return Py_BuildValue("{sK sK sN sK sK sd}", "run", (unsigned long long)r->run, "samples",
                         (unsigned long long)r->samples, "counts", counts, "read",
                         (unsigned long long)r->read, "bytes_read",
                         (unsigned long long)r->bytes_read, "seconds", r->seconds);
}

static PyObject *copy_between(struct core_module *m, sterna_store *from, sterna_store *to,
                              sterna_selection *selection, struct sterna_copy_options *o,
                              struct core_call *call) {
    struct sterna_error err = {0};
    struct sterna_copy_result r = {0};
    o->progress = on_progress; /* also without a function to call: it looks for signals */
    o->report = call->report ? on_report : NULL;
    o->ctx = call;
    call->thread = PyEval_SaveThread();
    int rc = sterna_copy(from, selection, to, o, &r, &err);
    PyEval_RestoreThread(call->thread);
    if (PyErr_Occurred()) return NULL; /* raised by a callback, which stopped it */
    return rc < 0 ? core_raise(m, rc, &err) : result_of(&r);
}

static PyObject *copy(PyObject *module, PyObject *args, PyObject *kwargs) {
    struct core_module *m = PyModule_GetState(module);
    struct core_call call = {.module = m};
    struct sterna_copy_options o;
    PyObject *source = NULL, *target = NULL, *selection = NULL, *result = NULL;
    core_keep keep = NULL;
    const struct core_argument table[] = {
        {"source", CORE_STORE, &source, CORE_REQUIRED, NULL, 0},
        {"to", CORE_STORE, &target, CORE_REQUIRED, NULL, 0},
        {"selection", CORE_SELECTION, &selection, CORE_OR_NONE, NULL, 0},
        {"memory_bytes", CORE_U64, &o.memory_bytes, 0, NULL, 0},
        {"threads", CORE_UNSIGNED, &o.threads, 0, NULL, 0},
        {"replace", CORE_FLAG, &o.replace, 0, NULL, 0},
        {"progress", CORE_FUNCTION, &call.progress, CORE_OR_NONE, NULL, 0},
        {"report", CORE_FUNCTION, &call.report, CORE_OR_NONE, NULL, 0},
    };
    struct core_store_use from = {0}, to = {0};
    sterna_selection *s = NULL;
    sterna_copy_options_init(&o);
    if (core_arguments(m, "copy", args, kwargs, table, CORE_COUNT(table), 3, &keep) < 0) goto done;
    if (selection && !(s = core_selection_get(m, selection))) goto done;
    if (core_store_enter(m, source, &from) == 0 && core_store_enter(m, target, &to) == 0)
        result = copy_between(m, from.store, to.store, s, &o, &call);
done:
    core_store_leave(&to);
    core_store_leave(&from);
    sterna_selection_close(&s);
    Py_XDECREF(keep);
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
