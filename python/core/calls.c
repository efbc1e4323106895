/* Calls of the library that tell how far they are: on their own thread, between giving the GIL away
 * and taking it again. */
#include "core.h"

void core_call_begin(struct core_call *c) { PyEval_RestoreThread(c->thread); }

int core_call_end(struct core_call *c, PyObject *returned) {
    int failed = PyErr_Occurred() != NULL || PyErr_CheckSignals() < 0;
    Py_XDECREF(returned);
    c->thread = PyEval_SaveThread();
    return failed;
}
