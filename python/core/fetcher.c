/* Fetcher: samples by id, any number of batches under way. */
#include <stdlib.h>

#include "core.h"

struct fetcher {
    struct core_handle handle;
};

static struct core_handle *handle_of(PyObject *self) {
    return &CORE_DATA(self, struct fetcher)->handle;
}
static sterna_fetcher *enter(PyObject *self) {
    return core_handle_enter(core_module_of(self), handle_of(self), "fetcher");
}
static void leave(PyObject *self) { core_handle_leave(handle_of(self)); }

static void close_fetcher(void *p) {
    sterna_fetcher *f = p;
    sterna_fetcher_close(&f);
}

/* ---- open and close ---- */

struct opening {
    struct core_job job;
    struct core_store_use use;
    core_keep keep;
    struct sterna_fetcher_options options;
    sterna_fetcher *made;
};

static int run_opening(struct core_job *job) {
    struct opening *o = (struct opening *)job;
    return sterna_fetcher_open(&o->made, o->use.store, &o->options, &job->err);
}

static void drop_opening(struct core_job *job) {
    struct opening *o = (struct opening *)job;
    sterna_fetcher_close(&o->made);
    core_store_leave(&o->use);
    Py_XDECREF(o->keep);
    free(o);
}

static int take_opening(struct core_module *m, struct opening *to, PyObject *args,
                        PyObject *kwargs) {
    struct sterna_fetcher_options *o = &to->options;
    struct core_texts fields = {0};
    PyObject *store = NULL;
    const struct core_argument table[] = {
        {"store", CORE_STORE, &store, CORE_REQUIRED, NULL, 0},
        {"fields", CORE_TEXTS, &fields, CORE_OR_NONE, NULL, 0},
        {"memory_bytes", CORE_U64, &o->memory_bytes, 0, NULL, 0},
        {"threads", CORE_UNSIGNED, &o->threads, 0, NULL, 0},
        {"max_rate", CORE_U64, &o->max_rate_bytes_s, 0, NULL, 0},
        {"request_timeout_ms", CORE_UNSIGNED, &o->request_timeout_ms, 0, NULL, 0},
        {"max_attempts", CORE_UNSIGNED, &o->max_attempts, 0, NULL, 0},
    };
    sterna_fetcher_options_init(o);
    if (core_arguments(m, "Fetcher", args, kwargs, table, CORE_COUNT(table), 1, &to->keep) < 0)
        return -1;
    o->fields = fields.at;
    o->n_fields = fields.n;
    return core_store_enter(m, store, &to->use);
}

static PyObject *make(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    struct core_module *m = PyType_GetModuleState(type);
    struct opening *o = core_job_new(sizeof *o, run_opening, drop_opening);
    PyObject *self = NULL;
    if (!o) return NULL;
    if (take_opening(m, o, args, kwargs) == 0 && core_job_run(m, &o->job) == STERNA_OK)
        self = core_new(type);
    if (self) {
        core_handle_init(handle_of(self), o->made, close_fetcher);
        o->made = NULL;
    }
    core_job_end(&o->job);
    return self;
}

/* Whoever waits in poll() sees it within a slice; the last one to leave closes it. */
static PyObject *do_close(PyObject *self, PyObject *unused) {
    (void)unused;
    core_handle_close(handle_of(self));
    Py_RETURN_NONE;
}

static void dealloc(PyObject *self) {
    core_handle_close(handle_of(self));
    core_delete(self);
}

/* ---- submit ---- */

static PyObject *submit(PyObject *self, PyObject *args) {
    struct core_module *m = core_module_of(self);
    struct sterna_error err = {0};
    Py_buffer ids = {0};
    uint64_t ticket = 0;
    core_keep keep = NULL;
    const struct core_argument table[] = {
        {"ids", CORE_BUFFER, &ids, CORE_REQUIRED, NULL, STERNA_ID_BYTES}};
    int rc = core_arguments(m, "submit", args, NULL, table, 1, 1, &keep);
    sterna_fetcher *f = rc < 0 ? NULL : enter(self);
    if (f) {
        PyThreadState *gil = PyEval_SaveThread();
        rc = sterna_submit(f, ids.buf, (size_t)ids.len / STERNA_ID_BYTES, &ticket, &err);
        PyEval_RestoreThread(gil);
        leave(self);
        if (rc < 0) core_raise(m, rc, &err);
    }
    PyBuffer_Release(&ids);
    return f && rc == STERNA_OK ? PyLong_FromUnsignedLongLong(ticket) : NULL;
}

/* ---- poll ---- */

struct answer {
    uint64_t ticket;
    sterna_batch *batch;
};

/* The library's code, or STERNA_AGAIN: with an exception, when the time is over, or closed. */
static int wait_poll(PyObject *self, sterna_fetcher *f, struct answer *a, int timeout_ms,
                     struct sterna_error *err) {
    int64_t until_ms = core_now_ms() + timeout_ms;
    for (;;) {
        int slice_ms = core_slice_ms(until_ms, timeout_ms);
        PyThreadState *gil = PyEval_SaveThread();
        int rc = sterna_poll(f, &a->ticket, &a->batch, slice_ms, err);
        PyEval_RestoreThread(gil);
        if (rc != STERNA_AGAIN || PyErr_CheckSignals() < 0) return rc;
        if (handle_of(self)->closed || (timeout_ms >= 0 && core_now_ms() >= until_ms)) return rc;
    }
}

static PyObject *poll(PyObject *self, PyObject *args) {
    struct core_module *m = core_module_of(self);
    struct sterna_error err = {0};
    struct answer a = {0};
    int timeout_ms = 0;
    core_keep keep = NULL;
    const struct core_argument table[] = {{"timeout_ms", CORE_INT, &timeout_ms, 0, NULL, 0}};
    if (core_arguments(m, "poll", args, NULL, table, 1, 1, &keep) < 0) return NULL;
    sterna_fetcher *f = enter(self);
    if (!f) return NULL;
    int rc = wait_poll(self, f, &a, timeout_ms, &err);
    int closed = handle_of(self)->closed;
    leave(self);
    if (rc == STERNA_OK) {
        PyObject *batch = core_batch_new(m, a.batch);
        return batch ? Py_BuildValue("(KN)", (unsigned long long)a.ticket, batch) : NULL;
    }
    if (rc < 0) return core_raise(m, rc, &err);
    if (PyErr_Occurred()) return NULL;
    if (closed) return core_raise_text(m, STERNA_ECANCELED, "this fetcher was closed");
    Py_RETURN_NONE;
}

static PyObject *file_number(PyObject *self, PyObject *unused) {
    sterna_fetcher *f = enter(self);
    (void)unused;
    if (!f) return NULL;
    int fd = sterna_fetcher_fd(f);
    leave(self);
    return PyLong_FromLong(fd);
}

static PyObject *cancel(PyObject *self, PyObject *args) {
    struct core_module *m = core_module_of(self);
    uint64_t ticket = 0;
    core_keep keep = NULL;
    const struct core_argument table[] = {{"ticket", CORE_U64, &ticket, CORE_REQUIRED, NULL, 0}};
    if (core_arguments(m, "cancel", args, NULL, table, 1, 1, &keep) < 0) return NULL;
    sterna_fetcher *f = enter(self);
    if (!f) return NULL;
    PyThreadState *gil = PyEval_SaveThread();
    sterna_fetcher_cancel(f, ticket);
    PyEval_RestoreThread(gil);
    leave(self);
    Py_RETURN_NONE;
}

/* ---- statistics ---- */

static PyObject *stats(PyObject *self, PyObject *unused) {
    struct sterna_stats s;
    sterna_fetcher *f = enter(self);
    (void)unused;
    if (!f) return NULL;
    PyThreadState *gil = PyEval_SaveThread();
    sterna_fetcher_stats(f, &s);
    PyEval_RestoreThread(gil);
    leave(self);
    return core_stats(&s);
}

static PyObject *path(PyObject *self, PyObject *unused) {
    struct sterna_path p;
    sterna_fetcher *f = enter(self);
    (void)unused;
    if (!f) return NULL;
    PyThreadState *gil = PyEval_SaveThread();
    sterna_fetcher_path(f, &p);
    PyEval_RestoreThread(gil);
    leave(self);
    return core_path(&p);
}

static PyMethodDef methods[] = {
    {"submit", submit, METH_VARARGS,
     "submit($self, ids, /)\n--\n\n"
     "Asks for one batch: samples by their ids (16 bytes each, one after another), as its rows\n"
     "in this order. Returns its ticket. Waits for no answer. BudgetError: more than "
     "memory_bytes."},
    {"poll", poll, METH_VARARGS,
     "poll($self, timeout_ms=0, /)\n--\n\n"
     "A ticket and its batch, the first that is complete, whenever it was submitted; None when\n"
     "the time is over (-1: no limit), or if nothing is under way. A row that cannot be had has\n"
     "valid = 0 and its code in errors. BudgetError if the batches that are held leave no room;\n"
     "CanceledError if it is closed meanwhile; ForkedError."},
    {"fileno", file_number, METH_NOARGS,
     "fileno($self, /)\n--\n\nA descriptor, readable while poll(0) has something. Only to poll."},
    {"cancel", cancel, METH_VARARGS,
     "cancel($self, ticket, /)\n--\n\nNobody wants this batch any more. One that is not under way "
     "is fine."},
    {"stats", stats, METH_NOARGS, "stats($self, /)\n--\n\nAs a loader's, of all batches so far."},
    {"path", path, METH_NOARGS, "path($self, /)\n--\n\nHow the way to the store is now."},
    {"close", do_close, METH_NOARGS,
     "close($self, /)\n--\n\nForgets what is under way. Batches still held stay valid."},
    {0},
};

static PyType_Slot slots[] = {
    {Py_tp_doc,
     "Fetcher(store, *, fields=None, memory_bytes=0, threads=0, max_rate=0,\n"
     "        request_timeout_ms=0, max_attempts=0)\n--\n\n"
     "Samples by id, any number of batches under way at once, within memory_bytes (0: chosen).\n"
     "Any thread; not usable in a forked child."},
    {Py_tp_new, make},
    {Py_tp_dealloc, dealloc},
    {Py_tp_methods, methods},
    {0, NULL},
};

PyType_Spec core_fetcher_spec = {
    .name = "sterna._core.Fetcher",
    .basicsize = CORE_SIZE(struct fetcher),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = slots,
};
