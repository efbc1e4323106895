/* Buffers of Python's that a loader reads batches into. The library gives them back on any thread,
 * without the GIL, and maybe after the interpreter is gone: there they are only listed. Whoever has
 * the GIL next lets go of them. */
#include <stdatomic.h>
#include <stdlib.h>

#include "core.h"

struct given {
    Py_buffer view;
    struct given *next;
};

static _Atomic(struct given *) returned; /* a stack */

static void give_back(void *given) {
    struct given *g = given;
    g->next = atomic_load(&returned);
    while (!atomic_compare_exchange_weak(&returned, &g->next, g)) {}
}

void core_given_let_go(void) {
    if (!atomic_load_explicit(&returned, memory_order_relaxed)) return;
    for (struct given *g = atomic_exchange(&returned, NULL), *next; g; g = next) {
        next = g->next;
        PyBuffer_Release(&g->view);
        free(g);
    }
}

PyObject *core_loader_give_buffer(PyObject *self, PyObject *buffer) {
    struct core_module *m = core_module_of(self);
    struct core_handle *h = core_loader_handle(self);
    struct sterna_error err = {0};
    core_given_let_go();
    struct given *g = calloc(1, sizeof *g);
    if (!g) return PyErr_NoMemory();
    int rc = PyObject_GetBuffer(buffer, &g->view, PyBUF_WRITABLE | PyBUF_C_CONTIGUOUS);
    sterna_loader *l = rc < 0 ? NULL : core_handle_enter(m, h, "loader");
    if (l) {
        PyThreadState *gil = PyEval_SaveThread();
        rc = sterna_loader_give_buffer(l, g->view.buf, (uint64_t)g->view.len, give_back, g, &err);
        PyEval_RestoreThread(gil);
        core_handle_leave(h);
        if (rc == STERNA_OK) Py_RETURN_NONE;
        core_raise(m, rc, &err);
    }
    PyBuffer_Release(&g->view); /* fine if there is none */
    free(g);
    return NULL;
}

const char core_loader_give_buffer_doc[] =
    "give_buffer($self, buffer, /)\n--\n\n"
    "Lends writable memory (at a multiple of 64) for one batch: the oldest buffer is for the\n"
    "next batch that has no memory yet, whose fields then lie in it one after another; one\n"
    "that is too short is let go unused. Field.data tells by its address. The buffer is held\n"
    "until nothing can write to it and the batch is gone; let go by the next call from\n"
    "Python. InvalidError in arrival order, and where lengths are not known:\n"
    "Field.copy_into() is the way there.";
