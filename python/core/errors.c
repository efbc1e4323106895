/* From the library's codes to the exceptions of sterna.errors. */
#include <stdarg.h>

#include "core.h"

static PyObject *kind_of(struct core_module *m, int code) { /* borrowed */
    PyObject *key = PyLong_FromLong(code);
    PyObject *kind = key ? PyDict_GetItemWithError(m->errors, key) : NULL;
    Py_XDECREF(key);
    return kind || PyErr_Occurred() ? kind : PyExc_RuntimeError;
}

static void raise_error(struct core_module *m, int code, int sys_errno, PyObject *message) {
    PyObject *kind = message ? kind_of(m, code) : NULL;
    PyObject *error = kind ? PyObject_CallFunctionObjArgs(kind, message, NULL) : NULL;
    if (!error) return;
    /* Not by the constructor, which would make "[Errno 5] ..." of the message. */
    if (sys_errno != 0 && PyObject_IsInstance(error, PyExc_OSError) == 1) {
        PyObject *number = PyLong_FromLong(sys_errno);
        if (!number || PyObject_SetAttrString(error, "errno", number) < 0) PyErr_Clear();
        Py_XDECREF(number);
    }
    PyErr_SetObject(kind, error);
    Py_DECREF(error);
}

PyObject *core_raise(struct core_module *m, int code, const struct sterna_error *err) {
    int known = err && err->code == code && err->message[0] != 0;
    const char *text = known ? err->message : sterna_strerror(code);
    PyObject *message = CORE_TEXT(text);
    raise_error(m, code, known ? err->sys_errno : 0, message);
    Py_XDECREF(message);
    return NULL;
}

PyObject *core_raise_text(struct core_module *m, int code, const char *format, ...) {
    va_list args;
    va_start(args, format);
    PyObject *message = PyUnicode_FromFormatV(format, args);
    va_end(args);
    raise_error(m, code, 0, message);
    Py_XDECREF(message);
    return NULL;
}
