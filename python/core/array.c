/* Array: memory of the library as Python and its frameworks take it, without a copy. */
#include <stdlib.h>
#include <string.h>

#include "core.h"

static const struct {
    const char *name, *format; /* as numpy and as the struct module name it */
    size_t bytes;
} dtypes[CORE_DTYPES] = {
    [CORE_UINT8] = {"uint8", "B", 1},
    [CORE_BOOL] = {"bool", "?", 1},
    [CORE_INT32] = {"int32", "i", 4},
    [CORE_UINT32] = {"uint32", "I", 4},
    /* int64's own type where there are two of 8 bytes: arrays of the other are converted often */
    [CORE_INT64] = {"int64", sizeof(long) == 8 ? "l" : "q", 8},
};

size_t core_dtype_bytes(enum core_dtype dtype) { return dtypes[dtype].bytes; }

size_t core_array_bytes(const struct core_array *a) {
    return (size_t)(a->shape[0] * a->strides[0]);
}

PyObject *core_array_new(struct core_module *m, const struct core_hold *hold, const void *address,
                         enum core_dtype dtype, size_t n, size_t n_columns, int readonly) {
    PyObject *self = core_new(m->array);
    if (!self) return NULL;
    struct core_array *a = CORE_DATA(self, struct core_array);
    Py_ssize_t bytes = (Py_ssize_t)dtypes[dtype].bytes;
    Py_ssize_t row = n_columns ? (Py_ssize_t)n_columns * bytes : bytes;
    *a = (struct core_array){
        .hold = core_hold_retain(hold),
        .address = (void *)(uintptr_t)address, /* `readonly` says what may not be written */
        .dtype = dtype,
        .readonly = readonly,
        .ndim = n_columns ? 2 : 1,
        .shape = {(Py_ssize_t)n, (Py_ssize_t)n_columns},
        .strides = {row, bytes},
    };
    return self;
}

PyObject *core_array_fresh(struct core_module *m, enum core_dtype dtype, size_t n, void **at) {
    struct core_hold hold = core_hold_memory(n * dtypes[dtype].bytes, at);
    if (hold.kind == CORE_HOLDS_NOTHING) return PyErr_NoMemory();
    PyObject *self = core_array_new(m, &hold, *at, dtype, n, 0, 0);
    core_hold_release(&hold);
    return self;
}

static void dealloc(PyObject *self) {
    core_hold_release(&CORE_DATA(self, struct core_array)->hold);
    core_delete(self);
}

/* ---- buffer protocol ---- */

static int refuse(Py_buffer *view, const char *why) {
    view->obj = NULL;
    PyErr_SetString(PyExc_BufferError, why);
    return -1;
}

static int get_buffer(PyObject *self, Py_buffer *view, int flags) {
    struct core_array *a = CORE_DATA(self, struct core_array);
    int fortran = (flags & PyBUF_F_CONTIGUOUS) == PyBUF_F_CONTIGUOUS;
    if (a->readonly && (flags & PyBUF_WRITABLE))
        return refuse(view, "this array is read-only: it lies in a selection's file");
    if (fortran && a->ndim > 1) return refuse(view, "this array is C-contiguous");
    *view = (Py_buffer){
        .buf = a->address,
        .obj = Py_NewRef(self),
        .len = (Py_ssize_t)core_array_bytes(a),
        .itemsize = (Py_ssize_t)dtypes[a->dtype].bytes,
        .readonly = a->readonly,
        .ndim = a->ndim,
        .format = (flags & PyBUF_FORMAT) ? (char *)(uintptr_t)dtypes[a->dtype].format : NULL,
        .shape = (flags & PyBUF_ND) ? a->shape : NULL,
        .strides = (flags & PyBUF_STRIDES) == PyBUF_STRIDES ? a->strides : NULL,
    };
    if (!(flags & PyBUF_ND)) view->ndim = 1; /* plain bytes */
    return 0;
}

/* ---- what it says of itself ---- */

static PyObject *get_shape(PyObject *self, void *closure) {
    struct core_array *a = CORE_DATA(self, struct core_array);
    (void)closure;
    return a->ndim == 1 ? Py_BuildValue("(n)", a->shape[0])
                        : Py_BuildValue("(nn)", a->shape[0], a->shape[1]);
}

static PyObject *get_dtype(PyObject *self, void *closure) {
    (void)closure;
    return PyUnicode_InternFromString(dtypes[CORE_DATA(self, struct core_array)->dtype].name);
}

static PyObject *get_nbytes(PyObject *self, void *closure) {
    (void)closure;
    return PyLong_FromSize_t(core_array_bytes(CORE_DATA(self, struct core_array)));
}

static PyObject *get_address(PyObject *self, void *closure) {
    (void)closure;
    return PyLong_FromVoidPtr(CORE_DATA(self, struct core_array)->address);
}

static PyObject *get_readonly(PyObject *self, void *closure) {
    (void)closure;
    return PyBool_FromLong(CORE_DATA(self, struct core_array)->readonly);
}

static Py_ssize_t length(PyObject *self) { return CORE_DATA(self, struct core_array)->shape[0]; }

/* One value, or one row of two dimensions. Python has made what counts from the end positive. */
static PyObject *item(PyObject *self, Py_ssize_t i) {
    struct core_array *a = CORE_DATA(self, struct core_array);
    if (i < 0 || i >= a->shape[0]) {
        PyErr_Format(PyExc_IndexError, "place %zd of %zd", i, a->shape[0]);
        return NULL;
    }
    const char *at = (const char *)a->address + i * a->strides[0];
    if (a->ndim == 2)
        return core_array_new(core_module_of(self), &a->hold, at, a->dtype, (size_t)a->shape[1], 0,
                              a->readonly);
    switch (a->dtype) {
    case CORE_BOOL:
        return PyBool_FromLong(*at != 0);
    case CORE_INT32: {
        int32_t value;
        memcpy(&value, at, sizeof value);
        return PyLong_FromLong(value);
    }
    case CORE_UINT32: {
        uint32_t value;
        memcpy(&value, at, sizeof value);
        return PyLong_FromUnsignedLong(value);
    }
    case CORE_INT64: {
        int64_t value;
        memcpy(&value, at, sizeof value);
        return PyLong_FromLongLong(value);
    }
    default:
        return PyLong_FromLong(*(const unsigned char *)at);
    }
}

static PyObject *repr(PyObject *self) {
    struct core_array *a = CORE_DATA(self, struct core_array);
    PyObject *shape = get_shape(self, NULL), *text = NULL;
    if (shape)
        text = PyUnicode_FromFormat("<sterna array %R of %s%s>", shape, dtypes[a->dtype].name,
                                    a->readonly ? ", read-only" : "");
    Py_XDECREF(shape);
    return text;
}

/* memoryview knows how to make lists; one of two dimensions, too. */
static PyObject *to_list(PyObject *self, PyObject *unused) {
    (void)unused;
    PyObject *view = PyMemoryView_FromObject(self);
    PyObject *list = view ? PyObject_CallMethod(view, "tolist", NULL) : NULL;
    Py_XDECREF(view);
    return list;
}

static PyMethodDef methods[] = {
    {"__dlpack__", (PyCFunction)(void (*)(void))core_array_dlpack, METH_VARARGS | METH_KEYWORDS,
     core_array_dlpack_doc},
    {"__dlpack_device__", core_array_dlpack_device, METH_NOARGS, core_array_dlpack_device_doc},
    {"tolist", to_list, METH_NOARGS, "tolist($self, /)\n--\n\nThe values, as (nested) lists."},
    {0},
};

static PyGetSetDef getters[] = {
    {"shape", get_shape, NULL, "Entries along each of one or two dimensions.", NULL},
    {"dtype", get_dtype, NULL, "As numpy names it: \"uint8\", \"int64\" ...", NULL},
    {"nbytes", get_nbytes, NULL, "Bytes in all.", NULL},
    {"address", get_address, NULL, "Of the first byte.", NULL},
    {"readonly", get_readonly, NULL, "Whether it may not be written.", NULL},
    {0},
};

static PyType_Slot slots[] = {
    {Py_tp_doc,
     "Memory of a batch or a selection: C-contiguous, no copy, alive as long as this.\n\n"
     "Offers the buffer protocol and DLPack (device CPU). a[i] is a value, or a row of two "
     "dimensions."},
    {Py_tp_dealloc, dealloc},
    {Py_tp_repr, repr},
    {Py_tp_methods, methods},
    {Py_tp_getset, getters},
    {Py_sq_length, length},
    {Py_sq_item, item},
    {Py_bf_getbuffer, get_buffer},
    {0, NULL},
};

PyType_Spec core_array_spec = {
    .name = "sterna._core.Array",
    .basicsize = CORE_SIZE(struct core_array),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = slots,
};
