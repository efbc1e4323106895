/* Loader: batches read ahead. */
#include <stdlib.h>

#include "core.h"

struct loader {
    struct core_handle handle;
};

static struct core_handle *handle_of(PyObject *self) {
    return &CORE_DATA(self, struct loader)->handle;
}
struct core_handle *core_loader_handle(PyObject *loader) {
    return handle_of(loader);
}
static sterna_loader *enter(PyObject *self) {
    return core_handle_enter(core_module_of(self), handle_of(self), "loader");
}
static void leave(PyObject *self) { core_handle_leave(handle_of(self)); }

static void close_loader(void *p) {
    sterna_loader *l = p;
    sterna_loader_close(&l);
}

/* ---- open and close ---- */

struct opening {
    struct core_job job;
    struct core_store_use use;
    core_keep keep;
    Py_buffer state, expect;
    sterna_selection *selection;
    struct sterna_loader_options options;
    sterna_loader *made;
};

static int run_opening(struct core_job *job) {
    struct opening *o = (struct opening *)job;
    return sterna_loader_open(&o->made, o->use.store, o->selection, &o->options, &job->err);
}

static void drop_opening(struct core_job *job) {
    struct opening *o = (struct opening *)job;
    sterna_loader_close(&o->made);
    sterna_selection_close(&o->selection);
    core_store_leave(&o->use);
    PyBuffer_Release(&o->state);
    PyBuffer_Release(&o->expect);
    Py_XDECREF(o->keep);
    free(o);
}

static int take_opening(struct core_module *m, struct opening *to, PyObject *args,
                        PyObject *kwargs) {
    static const char *const orders[] = {"strict", "arrival", NULL};
    static const char *const unevens[] = {"pad", "drop", "exact", NULL};
    static const char *const on_errors[] = {"raise", "substitute", "mask", NULL};
    struct sterna_loader_options *o = &to->options;
    struct core_texts fields = {0};
    PyObject *store = NULL, *selection = NULL;
    int order = STERNA_ORDER_STRICT, uneven = STERNA_UNEVEN_PAD, on_error = STERNA_ON_ERROR_RAISE;
    const struct core_argument table[] = {
        {"store", CORE_STORE, &store, CORE_REQUIRED, NULL, 0},
        {"selection", CORE_SELECTION, &selection, CORE_REQUIRED, NULL, 0},
        {"batch_size", CORE_UNSIGNED, &o->batch_size, 0, NULL, 0},
        {"seed", CORE_U64, &o->seed, 0, NULL, 0},
        {"epoch", CORE_U64, &o->epoch, 0, NULL, 0},
        {"epochs", CORE_U64, &o->epochs, 0, NULL, 0},
        {"shuffle", CORE_FLAG, &o->shuffle, 0, NULL, 0},
        {"order", CORE_WORD, &order, 0, orders, 0},
        {"uneven", CORE_WORD, &uneven, 0, unevens, 0},
        {"rank", CORE_UNSIGNED, &o->rank, 0, NULL, 0},
        {"world_size", CORE_UNSIGNED, &o->world_size, 0, NULL, 0},
        {"memory_bytes", CORE_U64, &o->memory_bytes, 0, NULL, 0},
        {"on_error", CORE_WORD, &on_error, 0, on_errors, 0},
        {"max_errors", CORE_U64, &o->max_errors, CORE_OR_NONE, NULL, 0},
        {"fields", CORE_TEXTS, &fields, CORE_OR_NONE, NULL, 0},
        {"threads", CORE_UNSIGNED, &o->threads, 0, NULL, 0},
        {"max_rate", CORE_U64, &o->max_rate_bytes_s, 0, NULL, 0},
        {"request_timeout_ms", CORE_UNSIGNED, &o->request_timeout_ms, 0, NULL, 0},
        {"max_attempts", CORE_UNSIGNED, &o->max_attempts, 0, NULL, 0},
        {"state", CORE_BUFFER, &to->state, CORE_OR_NONE, NULL, 0},
        {"expect_selection", CORE_BUFFER, &to->expect, CORE_OR_NONE | CORE_EXACT, NULL,
         STERNA_HASH_BYTES},
    };
    sterna_loader_options_init(o);
    if (core_arguments(m, "Loader", args, kwargs, table, CORE_COUNT(table), 2, &to->keep) < 0)
        return -1;
    o->order = (enum sterna_order)order;
    o->uneven = (enum sterna_uneven)uneven;
    o->on_error = (enum sterna_on_error)on_error;
    o->fields = fields.at;
    o->n_fields = fields.n;
    o->state = to->state.buf;
    o->state_bytes = (size_t)to->state.len;
    o->expect_selection = to->expect.buf;
    to->selection = core_selection_get(m, selection);
    return to->selection ? core_store_enter(m, store, &to->use) : -1;
}

static PyObject *make(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    struct core_module *m = PyType_GetModuleState(type);
    struct opening *o = core_job_new(sizeof *o, run_opening, drop_opening);
    PyObject *self = NULL;
    if (!o) return NULL;
    if (take_opening(m, o, args, kwargs) == 0 && core_job_run(m, &o->job) == STERNA_OK)
        self = core_new(type);
    if (self) {
        core_handle_init(handle_of(self), o->made, close_loader);
        o->made = NULL;
    }
    core_job_end(&o->job);
    return self;
}

static PyObject *cancel(PyObject *self, PyObject *unused) {
    sterna_loader *l = enter(self);
    (void)unused;
    if (!l) return NULL;
    sterna_loader_cancel(l);
    leave(self);
    Py_RETURN_NONE;
}

/* Whoever waits in next() wakes up with CanceledError; the last one to leave closes it. */
static PyObject *do_close(PyObject *self, PyObject *unused) {
    struct core_handle *h = handle_of(self);
    (void)unused;
    if (h->users > 0 && h->p && h->forks == core_forks()) sterna_loader_cancel(h->p);
    core_handle_close(h);
    core_given_let_go();
    Py_RETURN_NONE;
}

static void dealloc(PyObject *self) {
    core_handle_close(handle_of(self));
    core_delete(self);
}

/* ---- next ---- */

/* Waits in slices, so that signal handlers run between them: an exception from one of them leaves
 * the loader as it is. Returns the library's code, or STERNA_AGAIN with an exception. */
static int wait_next(sterna_loader *l, sterna_batch **batch, int timeout_ms,
                     struct sterna_error *err) {
    int64_t until_ms = core_now_ms() + timeout_ms;
    for (;;) {
        int slice_ms = core_slice_ms(until_ms, timeout_ms);
        int rc;
        PyThreadState *gil = PyEval_SaveThread();
        rc = sterna_loader_next(l, batch, slice_ms, err);
        PyEval_RestoreThread(gil);
        if (rc != STERNA_AGAIN || PyErr_CheckSignals() < 0) return rc;
        if (timeout_ms >= 0 && core_now_ms() >= until_ms) return rc;
    }
}

static PyObject *next(PyObject *self, PyObject *args) {
    struct core_module *m = core_module_of(self);
    struct sterna_error err = {0};
    int timeout_ms = -1;
    core_keep keep = NULL;
    const struct core_argument table[] = {{"timeout_ms", CORE_INT, &timeout_ms, 0, NULL, 0}};
    if (core_arguments(m, "next", args, NULL, table, 1, 1, &keep) < 0) return NULL;
    sterna_loader *l = enter(self);
    if (!l) return NULL;
    sterna_batch *batch = NULL;
    int rc = wait_next(l, &batch, timeout_ms, &err);
    leave(self);
    if (rc == STERNA_OK) core_given_let_go();
    switch (rc) {
    case STERNA_OK:
        return core_batch_new(m, batch);
    case STERNA_END:
        Py_RETURN_NONE;
    case STERNA_AGAIN:
        if (PyErr_Occurred()) return NULL;
        return core_raise_text(m, STERNA_ETIMEOUT, "no batch was ready within %d ms", timeout_ms);
    default:
        return core_raise(m, rc, &err);
    }
}

static PyObject *file_number(PyObject *self, PyObject *unused) {
    sterna_loader *l = enter(self);
    (void)unused;
    if (!l) return NULL;
    int fd = sterna_loader_fd(l);
    leave(self);
    return PyLong_FromLong(fd);
}

/* ---- where it stands ---- */

static PyObject *state(PyObject *self, PyObject *unused) {
    struct core_module *m = core_module_of(self);
    sterna_loader *l = enter(self);
    PyObject *state = NULL;
    size_t bytes = 0, cap = 0;
    int rc;
    (void)unused;
    if (!l) return NULL;
    do { /* it may have grown: another thread has taken a batch */
        rc = sterna_loader_state(l, state ? PyBytes_AsString(state) : NULL, cap, &bytes);
        if (rc != STERNA_EINVAL || bytes <= cap) break;
        Py_XDECREF(state);
        state = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)bytes);
        cap = bytes;
    } while (state);
    leave(self);
    if (state && rc == STERNA_OK && bytes < cap) {
        PyObject *shorter = PyBytes_FromStringAndSize(PyBytes_AsString(state), (Py_ssize_t)bytes);
        Py_DECREF(state);
        state = shorter;
    }
    if (!state || rc == STERNA_OK) return state;
    Py_DECREF(state);
    return core_raise(m, rc, NULL);
}

static PyObject *get_steps(PyObject *self, void *closure) {
    sterna_loader *l = enter(self);
    (void)closure;
    if (!l) return NULL;
    uint64_t steps = sterna_loader_steps(l);
    leave(self);
    return PyLong_FromUnsignedLongLong(steps);
}

/* ---- statistics ---- */

static PyObject *stats(PyObject *self, PyObject *unused) {
    struct sterna_stats s;
    sterna_loader *l = enter(self);
    (void)unused;
    if (!l) return NULL;
    PyThreadState *gil = PyEval_SaveThread();
    sterna_loader_stats(l, &s);
    PyEval_RestoreThread(gil);
    leave(self);
    return core_stats(&s);
}

static PyObject *path(PyObject *self, PyObject *unused) {
    struct sterna_path p;
    sterna_loader *l = enter(self);
    (void)unused;
    if (!l) return NULL;
    PyThreadState *gil = PyEval_SaveThread();
    sterna_loader_path(l, &p);
    PyEval_RestoreThread(gil);
    leave(self);
    return core_path(&p);
}

static PyObject *exception_of(const struct sterna_exception *e) {
    PyObject *message = CORE_TEXT(e->message);
    if (!message) return NULL;
    return Py_BuildValue("{sy# sK sK si sN}", "id", (const char *)e->id,
                         (Py_ssize_t)STERNA_ID_BYTES, "epoch", (unsigned long long)e->epoch,
                         "index", (unsigned long long)e->index, "code", e->code, "message",
                         message);
}

static PyObject *exceptions(PyObject *self, PyObject *unused) {
    enum { KEPT = 1000 };
    struct sterna_exception *all = malloc(KEPT * sizeof *all);
    sterna_loader *l = all ? enter(self) : NULL;
    size_t n = 0;
    (void)unused;
    if (!all) return PyErr_NoMemory();
    PyObject *list = l ? PyList_New(0) : NULL;
    if (l) {
        PyThreadState *gil = PyEval_SaveThread();
        n = sterna_loader_exceptions(l, all, KEPT);
        PyEval_RestoreThread(gil);
        leave(self);
    }
    for (size_t i = 0; list && i < n; i++) {
        PyObject *e = exception_of(&all[i]);
        if (!e || PyList_Append(list, e) < 0) Py_CLEAR(list);
        Py_XDECREF(e);
    }
    free(all);
    return list;
}

static PyMethodDef methods[] = {
    {"next", next, METH_VARARGS,
     "next($self, timeout_ms=-1, /)\n--\n\n"
     "The next batch; None after the last epoch's last one. Any thread, one batch each.\n"
     "TimeoutError when the time is over; BudgetError if the batches that are held leave no\n"
     "room; CanceledError; ForkedError; what a sample failed with under on_error=\"raise\", and\n"
     "TooManyErrors. Signal handlers run while it waits, and what they raise leaves the loader\n"
     "usable."},
    {"fileno", file_number, METH_NOARGS,
     "fileno($self, /)\n--\n\n"
     "A descriptor, readable while next(0) would not time out. Only to poll."},
    {"state", state, METH_NOARGS,
     "state($self, /)\n--\n\nState of the last batch handed out (before the first: of the start)."},
    {"stats", stats, METH_NOARGS,
     "stats($self, /)\n--\n\n"
     "Counts since it was opened, as in struct sterna_stats; stall_ns by cause; verdict in words."},
    {"path", path, METH_NOARGS,
     "path($self, /)\n--\n\nHow the way to the store is now, as in struct sterna_path."},
    {"exceptions", exceptions, METH_NOARGS,
     "exceptions($self, /)\n--\n\n"
     "The newest 1000 of the samples given up, oldest first: id, epoch, index, code, message."},
    {"give_buffer", core_loader_give_buffer, METH_O, core_loader_give_buffer_doc},
    {"cancel", cancel, METH_NOARGS,
     "cancel($self, /)\n--\n\nA waiting and every later next() raises CanceledError. Any thread."},
    {"close", do_close, METH_NOARGS,
     "close($self, /)\n--\n\nStops all reading. Batches still held stay valid. Twice is fine."},
    {0},
};

static PyGetSetDef getters[] = {
    {"steps", get_steps, NULL, "Batches of a full epoch on this rank.", NULL},
    {0},
};

static PyType_Slot slots[] = {
    {Py_tp_doc,
     "Loader(store, selection, *, batch_size=256, seed=0, epoch=0, epochs=1, shuffle=True,\n"
     "       order='strict', uneven='pad', rank=0, world_size=1, memory_bytes=0,\n"
     "       on_error='raise', max_errors=None, fields=None, threads=0, max_rate=0,\n"
     "       request_timeout_ms=0, max_attempts=0, state=None, expect_selection=None)\n--\n\n"
     "Batches of a selection, read ahead within memory_bytes (0: chosen) as soon as it exists.\n"
     "epochs=0: endless. max_rate in bytes a second, 0: no bound. max_errors=None: 100. state:\n"
     "go on from there. expect_selection: the selection's hash, or MismatchError. BudgetError\n"
     "names the smallest memory that works."},
    {Py_tp_new, make},
    {Py_tp_dealloc, dealloc},
    {Py_tp_methods, methods},
    {Py_tp_getset, getters},
    {0, NULL},
};

PyType_Spec core_loader_spec = {
    .name = "sterna._core.Loader",
    .basicsize = CORE_SIZE(struct loader),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = slots,
};
