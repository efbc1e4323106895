/* C values as Python's. */
#include <string.h>

#include "core.h"

PyObject *core_text(const char *text, size_t bytes) {
    return PyUnicode_DecodeUTF8(text, (Py_ssize_t)bytes, "surrogateescape");
}

PyObject *core_value(const struct sterna_value *value) {
    switch (value->type) {
    case STERNA_INT:
        return PyLong_FromLongLong(value->i);
    case STERNA_REAL:
        return PyFloat_FromDouble(value->r);
    case STERNA_TEXT:
        return core_text(value->text, value->text_bytes);
    case STERNA_NULL:
        break;
    }
    Py_RETURN_NONE;
}

int core_set(PyObject *d, const char *name, PyObject *taken) {
    int rc = taken ? PyDict_SetItemString(d, name, taken) : -1;
    Py_XDECREF(taken);
    return rc;
}

int core_set_u64(PyObject *d, const char *name, uint64_t value) {
    return core_set(d, name, PyLong_FromUnsignedLongLong(value));
}

int core_set_text(PyObject *d, const char *name, const char *text) {
    return core_set(d, name, CORE_TEXT(text));
}
