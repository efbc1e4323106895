/* Arguments by name: a table says what a function takes, and where each goes. */
#include <stdint.h>
#include <string.h>

#include "core.h"

struct call { /* where an argument belongs, for messages */
    struct core_module *m;
    const char *function;
    core_keep *keep;
};

/* ---- what lives until the end of the call ---- */

int core_keep_object(core_keep *keep, PyObject *taken) {
    int rc = -1;
    if (taken && !*keep) *keep = PyList_New(0);
    if (taken && *keep) rc = PyList_Append(*keep, taken);
    Py_XDECREF(taken);
    return rc;
}

void *core_keep_memory(core_keep *keep, size_t bytes) {
    PyObject *memory = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)bytes + 1);
    char *at = memory ? PyBytes_AsString(memory) : NULL;
    if (core_keep_object(keep, memory) < 0) return NULL;
    return at; /* a bytes object is as aligned as Python's memory is: by 8 at least */
}

/* ---- kinds ---- */

static int wrong_type(const struct call *c, const struct core_argument *a, const char *want,
                      PyObject *got) {
    PyObject *type = PyObject_GetAttrString((PyObject *)Py_TYPE(got), "__name__");
    if (type)
        PyErr_Format(PyExc_TypeError, "%s(): %s must be %s%s, not %U", c->function, a->name, want,
                     (a->flags & CORE_OR_NONE) ? " or None" : "", type);
    Py_XDECREF(type);
    return -1;
}

static int wrong_value(const struct call *c, const struct core_argument *a, const char *want,
                       PyObject *got) {
    core_raise_text(c->m, STERNA_EINVAL, "%s(): %s must be %s, not %R", c->function, a->name, want,
                    got);
    return -1;
}

/* UTF-8, or, where there are surrogates in it, the bytes that they stand for. */
const char *core_text_of(struct core_module *m, PyObject *o, const char *what, core_keep *keep) {
    Py_ssize_t bytes = 0;
    const char *text = PyUnicode_AsUTF8AndSize(o, &bytes);
    if (!text && PyErr_ExceptionMatches(PyExc_UnicodeEncodeError)) {
        PyErr_Clear();
        PyObject *raw = PyUnicode_AsEncodedString(o, "utf-8", "surrogateescape");
        text = raw ? PyBytes_AsString(raw) : NULL;
        bytes = raw ? PyBytes_Size(raw) : 0;
        if (core_keep_object(keep, raw) < 0) return NULL;
    }
    if (text && strlen(text) != (size_t)bytes) {
        core_raise_text(m, STERNA_EINVAL, "%s must not have a NUL character in it", what);
        return NULL;
    }
    return text;
}

static int take_text(const struct call *c, const struct core_argument *a, PyObject *o) {
    char what[160];
    PyOS_snprintf(what, sizeof what, "%s(): %s", c->function, a->name);
    if (!PyUnicode_Check(o)) { /* a path, perhaps */
        PyObject *path = PyOS_FSPath(o);
        if (path && !PyUnicode_Check(path)) Py_CLEAR(path);
        if (!path) {
            PyErr_Clear();
            return wrong_type(c, a, "str", o);
        }
        o = path;
        if (core_keep_object(c->keep, path) < 0) return -1;
    }
    const char *text = core_text_of(c->m, o, what, c->keep);
    if (text) *(const char **)a->to = text;
    return text ? 0 : -1;
}

static int take_texts(const struct call *c, const struct core_argument *a, PyObject *o) {
    struct core_texts *texts = a->to;
    if (PyUnicode_Check(o) || PyBytes_Check(o)) /* sequences, but not what is meant */
        return wrong_type(c, a, "a sequence of str", o);
    PyObject *tuple = PySequence_Tuple(o);
    if (!tuple && PyErr_ExceptionMatches(PyExc_TypeError)) {
        PyErr_Clear();
        return wrong_type(c, a, "a sequence of str", o);
    }
    if (core_keep_object(c->keep, tuple) < 0) return -1;
    texts->n = (size_t)PyTuple_Size(tuple);
    texts->at = core_keep_memory(c->keep, texts->n * sizeof *texts->at);
    if (!texts->at) return -1;
    for (size_t i = 0; i < texts->n; i++) {
        PyObject *item = PyTuple_GetItem(tuple, (Py_ssize_t)i);
        if (!PyUnicode_Check(item)) return wrong_type(c, a, "a sequence of str, each of it", item);
        texts->at[i] = core_text_of(c->m, item, a->name, c->keep);
        if (!texts->at[i]) return -1;
    }
    return 0;
}

/* -1 with an exception; `most` is the largest value that fits. */
static int take_whole(const struct call *c, const struct core_argument *a, PyObject *o,
                      uint64_t most, uint64_t *out) {
    PyObject *index = PyNumber_Index(o);
    if (!index) {
        if (!PyErr_ExceptionMatches(PyExc_TypeError)) return -1;
        PyErr_Clear();
        return wrong_type(c, a, "int", o);
    }
    *out = PyLong_AsUnsignedLongLong(index);
    Py_DECREF(index);
    int failed = PyErr_Occurred() != NULL;
    if (failed && !PyErr_ExceptionMatches(PyExc_OverflowError)) return -1;
    PyErr_Clear();
    if (!failed && *out <= most) return 0;
    char want[64];
    PyOS_snprintf(want, sizeof want, "from 0 to %llu", (unsigned long long)most);
    return wrong_value(c, a, want, o);
}

static int take_int(const struct call *c, const struct core_argument *a, PyObject *o) {
    int overflow = 0;
    PyObject *index = PyNumber_Index(o);
    if (!index) {
        if (!PyErr_ExceptionMatches(PyExc_TypeError)) return -1;
        PyErr_Clear();
        return wrong_type(c, a, "int", o);
    }
    long value = PyLong_AsLongAndOverflow(index, &overflow);
    Py_DECREF(index);
    if (overflow || value > INT_MAX || value < INT_MIN)
        return wrong_value(c, a, "a number that fits into 32 bits", o);
    *(int *)a->to = (int)value;
    return 0;
}

static int take_real(const struct call *c, const struct core_argument *a, PyObject *o) {
    double value = PyFloat_AsDouble(o);
    if (value == -1.0 && PyErr_Occurred()) {
        PyErr_Clear();
        return wrong_type(c, a, "a number", o);
    }
    *(double *)a->to = value;
    return 0;
}

static int take_word(const struct call *c, const struct core_argument *a, PyObject *o) {
    char want[160] = "one of";
    if (!PyUnicode_Check(o)) return wrong_type(c, a, "str", o);
    for (int i = 0; a->words[i]; i++) {
        if (PyUnicode_CompareWithASCIIString(o, a->words[i]) == 0) {
            *(int *)a->to = i;
            return 0;
        }
        size_t used = strlen(want);
        PyOS_snprintf(want + used, sizeof want - used, "%s '%s'", i ? "," : "", a->words[i]);
    }
    return wrong_value(c, a, want, o);
}

static int take_buffer(const struct call *c, const struct core_argument *a, PyObject *o) {
    Py_buffer *view = a->to;
    if (!PyObject_CheckBuffer(o)) return wrong_type(c, a, "bytes-like", o);
    if (PyObject_GetBuffer(o, view, PyBUF_C_CONTIGUOUS) < 0) return -1;
    size_t bytes = (size_t)view->len;
    if (!a->bytes) return 0;
    if (a->flags & CORE_EXACT ? bytes == a->bytes : bytes % a->bytes == 0) return 0;
    core_raise_text(c->m, STERNA_EINVAL, "%s(): %s must have %s%zu bytes, not %zu", c->function,
                    a->name, (a->flags & CORE_EXACT) ? "" : "a multiple of ", a->bytes, bytes);
    return -1;
}

static int take_instance(const struct call *c, const struct core_argument *a, PyObject *o,
                         PyTypeObject *type, const char *name) {
    if (Py_TYPE(o) != type) return wrong_type(c, a, name, o);
    *(PyObject **)a->to = o;
    return 0;
}

static int take(const struct call *c, const struct core_argument *a, PyObject *o) {
    uint64_t whole = 0;
    int rc;
    if (o == Py_None && (a->flags & CORE_OR_NONE)) return 0;
    switch (a->kind) {
    case CORE_TEXT_ARG:
        return take_text(c, a, o);
    case CORE_TEXTS:
        return take_texts(c, a, o);
    case CORE_FLAG:
        rc = PyObject_IsTrue(o);
        if (rc >= 0) *(int *)a->to = rc;
        return rc < 0 ? -1 : 0;
    case CORE_INT:
        return take_int(c, a, o);
    case CORE_UNSIGNED:
        rc = take_whole(c, a, o, UINT32_MAX, &whole);
        if (rc == 0) *(uint32_t *)a->to = (uint32_t)whole;
        return rc;
    case CORE_U64:
        rc = take_whole(c, a, o, UINT64_MAX, &whole);
        if (rc == 0) *(uint64_t *)a->to = whole;
        return rc;
    case CORE_REAL:
        return take_real(c, a, o);
    case CORE_WORD:
        return take_word(c, a, o);
    case CORE_BUFFER:
        return take_buffer(c, a, o);
    case CORE_FUNCTION:
        if (!PyCallable_Check(o)) return wrong_type(c, a, "callable", o);
        break;
    case CORE_STORE:
        return take_instance(c, a, o, c->m->store, "Store");
    case CORE_SELECTION:
        return take_instance(c, a, o, c->m->selection, "Selection");
    case CORE_OBJECT:
        break;
    }
    *(PyObject **)a->to = o;
    return 0;
}

/* ---- parts of arguments ---- */

/* A tuple of n items, kept until the end; NULL with an exception. */
PyObject *core_tuple_of(PyObject *o, Py_ssize_t n, const char *what, core_keep *keep) {
    PyObject *tuple = PySequence_Tuple(o);
    if (core_keep_object(keep, tuple) < 0) return NULL;
    if (n < 0 || PyTuple_Size(tuple) == n) return tuple;
    PyErr_Format(PyExc_TypeError, "%s must be a tuple of %zd, not %R", what, n, o);
    return NULL;
}

const char *core_name_of(struct core_module *m, PyObject *o, const char *what, core_keep *keep) {
    if (PyUnicode_Check(o)) return core_text_of(m, o, what, keep);
    PyErr_Format(PyExc_TypeError, "%s must be str, not %R", what, o);
    return NULL;
}

/* The kinds as the library names them, for arguments: kinds[STERNA_KIND_BYTES] is "bytes". */
static const char *const kinds[] = {"bytes", "image", "mask", "text", "json", "npy", NULL};

int core_kind_of(struct core_module *m, PyObject *o, enum sterna_kind *kind) {
    for (int i = 0; PyUnicode_Check(o) && kinds[i]; i++)
        if (PyUnicode_CompareWithASCIIString(o, kinds[i]) == 0) {
            *kind = (enum sterna_kind)i;
            return 0;
        }
    core_raise_text(m, STERNA_EINVAL,
                    "a field's kind must be 'image', 'mask', 'bytes', 'text', 'json' or 'npy', "
                    "not %R",
                    o);
    return -1;
}

/* ---- the table ---- */

static int refuse_unknown(const struct call *c, PyObject *kwargs, const struct core_argument *table,
                          size_t n, size_t n_given) {
    Py_ssize_t at = 0;
    PyObject *key, *value;
    while (PyDict_Next(kwargs, &at, &key, &value)) {
        size_t i = 0;
        while (i < n && PyUnicode_CompareWithASCIIString(key, table[i].name) != 0) i++;
        if (i == n)
            PyErr_Format(PyExc_TypeError, "%s() has no argument '%U'", c->function, key);
        else if (i < n_given)
            PyErr_Format(PyExc_TypeError, "%s(): %U is given twice", c->function, key);
        if (PyErr_Occurred()) return -1;
    }
    return 0;
}

int core_arguments(struct core_module *m, const char *function, PyObject *args, PyObject *kwargs,
                   const struct core_argument *table, size_t n, size_t n_positional,
                   core_keep *keep) {
    const struct call c = {m, function, keep};
    size_t n_given = (size_t)PyTuple_Size(args);
    if (n_given > n_positional) {
        PyErr_Format(PyExc_TypeError, "%s() takes %zu arguments by position, not %zu", function,
                     n_positional, n_given);
        return -1;
    }
    if (kwargs && refuse_unknown(&c, kwargs, table, n, n_given) < 0) return -1;
    for (size_t i = 0; i < n; i++) {
        PyObject *o = i < n_given ? PyTuple_GetItem(args, (Py_ssize_t)i)
                      : kwargs    ? PyDict_GetItemString(kwargs, table[i].name)
                                  : NULL;
        if (o && take(&c, &table[i], o) < 0) return -1;
        if (!o && (table[i].flags & CORE_REQUIRED)) {
            PyErr_Format(PyExc_TypeError, "%s(): %s is missing", function, table[i].name);
            return -1;
        }
    }
    return 0;
}
