/* Field: one field of all rows of a batch. */
#include <string.h>

#include "core.h"

struct field {
    struct core_hold hold; /* of the batch */
    struct sterna_field_view view;
    struct sterna_batch_info info;
    uint32_t f;
};

static struct field *field_of(PyObject *self) { return CORE_DATA(self, struct field); }

PyObject *core_field_new(struct core_module *m, const struct core_hold *hold, uint32_t f) {
    PyObject *self = core_new(m->field);
    if (!self) return NULL;
    struct field *field = field_of(self);
    field->hold = core_hold_retain(hold);
    field->f = f;
    sterna_batch_info(hold->what.batch, &field->info);
    sterna_batch_field(hold->what.batch, f, &field->view);
    return self;
}

static void dealloc(PyObject *self) {
    core_hold_release(&field_of(self)->hold);
    core_delete(self);
}

/* ---- all rows ---- */

static PyObject *get_name(PyObject *self, void *closure) {
    (void)closure;
    return CORE_TEXT(field_of(self)->view.name);
}

static PyObject *get_kind(PyObject *self, void *closure) {
    (void)closure;
    return CORE_TEXT(sterna_kind_name(field_of(self)->view.kind));
}

static PyObject *get_data(PyObject *self, void *closure) {
    struct field *f = field_of(self);
    (void)closure;
    if (!f->view.base) Py_RETURN_NONE;
    return core_array_new(core_module_of(self), &f->hold, f->view.base, CORE_UINT8,
                          f->view.base_bytes, 0, 0);
}

/* Numbers of the batch as int64, which frameworks index with; in memory of their own. */
static PyObject *numbers(PyObject *self, const uint64_t *from) {
    void *to;
    uint32_t n = field_of(self)->info.n_rows;
    PyObject *array = core_array_fresh(core_module_of(self), CORE_INT64, n, &to);
    if (array) memcpy(to, from, n * sizeof *from);
    return array;
}

static PyObject *get_offsets(PyObject *self, void *closure) {
    struct field *f = field_of(self);
    (void)closure;
    if (!f->view.base) Py_RETURN_NONE;
    return numbers(self, f->view.offsets);
}

static PyObject *get_lengths(PyObject *self, void *closure) {
    (void)closure;
    return numbers(self, field_of(self)->view.bytes);
}

/* ---- one row ---- */

static Py_ssize_t length(PyObject *self) { return (Py_ssize_t)field_of(self)->info.n_rows; }

static PyObject *row(struct core_module *m, const struct field *f, size_t i) {
    if (!f->view.data[i]) Py_RETURN_NONE;
    return core_array_new(m, &f->hold, f->view.data[i], CORE_UINT8, f->view.bytes[i], 0, 0);
}

static PyObject *item(PyObject *self, Py_ssize_t i) {
    struct field *f = field_of(self);
    if (i >= 0 && i < length(self)) return row(core_module_of(self), f, (size_t)i);
    PyErr_Format(PyExc_IndexError, "row %zd of a batch of %u", i, f->info.n_rows);
    return NULL;
}

static PyObject *samples(PyObject *self, PyObject *unused) {
    struct core_module *m = core_module_of(self);
    struct field *f = field_of(self);
    PyObject *list = PyList_New(length(self));
    (void)unused;
    for (uint32_t i = 0; list && i < f->info.n_rows; i++) {
        PyObject *array = row(m, f, i);
        if (!array)
            Py_CLEAR(list);
        else
            PyList_SetItem(list, (Py_ssize_t)i, array);
    }
    return list;
}

/* ---- copies ---- */

static uint64_t bytes_needed(const struct field *f) {
    uint64_t need = 0;
    sterna_batch_copy(f->hold.what.batch, f->f, NULL, 0, NULL, &need);
    return need;
}

static PyObject *copy_bytes(PyObject *self, PyObject *unused) {
    (void)unused;
    return PyLong_FromUnsignedLongLong(bytes_needed(field_of(self)));
}

static PyObject *copy_into(PyObject *self, PyObject *to) {
    struct core_module *m = core_module_of(self);
    struct field *f = field_of(self);
    Py_buffer view;
    void *offsets;
    uint64_t need = bytes_needed(f);
    if (PyObject_GetBuffer(to, &view, PyBUF_WRITABLE | PyBUF_C_CONTIGUOUS) < 0) return NULL;
    PyObject *array = NULL;
    if ((uint64_t)view.len < need) {
        core_raise_text(m, STERNA_EINVAL, "copy_into() needs %llu bytes, and there are %zd",
                        (unsigned long long)need, view.len);
    } else {
        array = core_array_fresh(m, CORE_INT64, f->info.n_rows, &offsets);
    }
    if (array && need > 0) {
        PyThreadState *gil = PyEval_SaveThread();
        sterna_batch_copy(f->hold.what.batch, f->f, view.buf, (uint64_t)view.len, offsets, &need);
        PyEval_RestoreThread(gil);
    } else if (array) {
        memset(offsets, 0, f->info.n_rows * sizeof(uint64_t)); /* all rows are empty */
    }
    PyBuffer_Release(&view);
    return array;
}

static PyObject *repr(PyObject *self) {
    struct field *f = field_of(self);
    return PyUnicode_FromFormat("<sterna field '%s': %s, %u rows>", f->view.name,
                                sterna_kind_name(f->view.kind), f->info.n_rows);
}

static PyMethodDef methods[] = {
    {"samples", samples, METH_NOARGS,
     "samples($self, /)\n--\n\nA list with each row: uint8[bytes], or None if null or masked."},
    {"copy_into", copy_into, METH_O,
     "copy_into($self, to, /)\n--\n\n"
     "Copies all rows into writable contiguous memory, row i at the offset it returns (int64[n],\n"
     "multiples of 64). InvalidError: fewer than copy_bytes() bytes."},
    {"copy_bytes", copy_bytes, METH_NOARGS,
     "copy_bytes($self, /)\n--\n\nBytes that copy_into() needs."},
    {0},
};

static PyGetSetDef getters[] = {
    {"name", get_name, NULL, "Name of the field.", NULL},
    {"kind", get_kind, NULL, "\"image\", \"mask\", \"bytes\", \"text\", \"json\" or \"npy\".",
     NULL},
    {"data", get_data, NULL, "uint8: all rows one after another, if they lie so; else None.", NULL},
    {"offsets", get_offsets, NULL, "int64[n]: of each row in data; None where data is.", NULL},
    {"lengths", get_lengths, NULL, "int64[n]: bytes of each row; 0 where there are none.", NULL},
    {0},
};

static PyType_Slot slots[] = {
    {Py_tp_doc, "One field of all rows of a batch: pieces of bytes of different lengths."},
    {Py_tp_dealloc, dealloc},
    {Py_tp_repr, repr},
    {Py_tp_methods, methods},
    {Py_tp_getset, getters},
    {Py_sq_length, length},
    {Py_sq_item, item},
    {0, NULL},
};

PyType_Spec core_field_spec = {
    .name = "sterna._core.Field",
    .basicsize = CORE_SIZE(struct field),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = slots,
};
