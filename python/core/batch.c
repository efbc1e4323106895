/* Batch: a lease on a batch's memory, and its small columns. */
#include <string.h>

#include "core.h"

struct batch {
    struct core_hold hold;    /* the lease */
    struct core_hold columns; /* our copy of the small ones, so that a consumer may write to them */
    struct sterna_batch_info info;
    char *at; /* where they lie */
};

/* index and ids; labels; errors; valid: one after another, each aligned. */
enum column { INDEX, IDS, LABELS, ERRORS, VALID, COLUMNS };
static const struct {
    enum core_dtype dtype;
    size_t n_columns;
} columns[COLUMNS] = {
    [INDEX] = {CORE_INT64, 0},  [IDS] = {CORE_UINT8, STERNA_ID_BYTES},
    [LABELS] = {CORE_INT64, 0}, [ERRORS] = {CORE_INT32, 0},
    [VALID] = {CORE_BOOL, 0},
};

static size_t column_bytes(enum column c, size_t n_rows) {
    size_t entries = columns[c].n_columns ? columns[c].n_columns : 1;
    return n_rows * entries * core_dtype_bytes(columns[c].dtype);
}

static size_t column_offset(enum column c, size_t n_rows) {
    size_t offset = 0;
    for (int before = 0; before < (int)c; before++) {
        size_t bytes = column_bytes((enum column)before, n_rows);
        offset += (bytes + CORE_ALIGN - 1) & ~(size_t)(CORE_ALIGN - 1);
    }
    return offset;
}

static int copy_columns(struct batch *b) {
    const sterna_batch *from = b->hold.what.batch;
    const void *sources[COLUMNS] = {
        [INDEX] = sterna_batch_index(from),   [IDS] = sterna_batch_ids(from),
        [LABELS] = sterna_batch_labels(from), [ERRORS] = sterna_batch_errors(from),
        [VALID] = sterna_batch_valid(from),
    };
    void *at;
    size_t n = b->info.n_rows;
    b->columns = core_hold_memory(column_offset(COLUMNS, n), &at);
    if (b->columns.kind == CORE_HOLDS_NOTHING) return -1;
    b->at = at;
    for (int c = 0; c < COLUMNS; c++)
        memcpy(b->at + column_offset((enum column)c, n), sources[c],
               column_bytes((enum column)c, n));
    return 0;
}

PyObject *core_batch_new(struct core_module *m, sterna_batch *taken) {
    PyObject *self = core_new(m->batch);
    if (!self) {
        sterna_batch_release(&taken);
        return NULL;
    }
    struct batch *b = CORE_DATA(self, struct batch);
    b->hold = core_hold_batch(taken);
    sterna_batch_info(taken, &b->info);
    if (copy_columns(b) == 0) return self;
    Py_DECREF(self);
    return PyErr_NoMemory();
}

static void dealloc(PyObject *self) {
    struct batch *b = CORE_DATA(self, struct batch);
    core_hold_release(&b->hold);
    core_hold_release(&b->columns);
    core_delete(self);
}

/* ---- columns and facts ---- */

static PyObject *get_column(PyObject *self, void *closure) {
    struct batch *b = CORE_DATA(self, struct batch);
    enum column c = (enum column)(uintptr_t)closure;
    return core_array_new(core_module_of(self), &b->columns,
                          b->at + column_offset(c, b->info.n_rows), columns[c].dtype,
                          b->info.n_rows, columns[c].n_columns, 0);
}

static PyObject *get_epoch(PyObject *self, void *closure) {
    (void)closure;
    return PyLong_FromUnsignedLongLong(CORE_DATA(self, struct batch)->info.epoch);
}

static PyObject *get_step(PyObject *self, void *closure) {
    (void)closure;
    return PyLong_FromUnsignedLongLong(CORE_DATA(self, struct batch)->info.step);
}

static PyObject *get_n_rows(PyObject *self, void *closure) {
    (void)closure;
    return PyLong_FromUnsignedLong(CORE_DATA(self, struct batch)->info.n_rows);
}

static PyObject *get_n_valid(PyObject *self, void *closure) {
    (void)closure;
    return PyLong_FromUnsignedLong(CORE_DATA(self, struct batch)->info.n_valid);
}

static PyObject *get_n_bytes(PyObject *self, void *closure) {
    (void)closure;
    return PyLong_FromUnsignedLongLong(CORE_DATA(self, struct batch)->info.n_bytes);
}

static PyObject *get_last_in_epoch(PyObject *self, void *closure) {
    (void)closure;
    return PyBool_FromLong(CORE_DATA(self, struct batch)->info.last_in_epoch);
}

static PyObject *get_fields(PyObject *self, void *closure) {
    struct batch *b = CORE_DATA(self, struct batch);
    PyObject *names = PyTuple_New((Py_ssize_t)b->info.n_fields);
    (void)closure;
    for (uint32_t f = 0; names && f < b->info.n_fields; f++) {
        struct sterna_field_view view;
        sterna_batch_field(b->hold.what.batch, f, &view);
        PyObject *name = CORE_TEXT(view.name);
        if (!name)
            Py_CLEAR(names);
        else
            PyTuple_SetItem(names, (Py_ssize_t)f, name);
    }
    return names;
}

static Py_ssize_t length(PyObject *self) {
    return (Py_ssize_t)CORE_DATA(self, struct batch)->info.n_rows;
}

static PyObject *repr(PyObject *self) {
    struct batch *b = CORE_DATA(self, struct batch);
    return PyUnicode_FromFormat("<sterna batch %llu of epoch %llu: %u rows, %llu bytes>",
                                (unsigned long long)b->info.step, (unsigned long long)b->info.epoch,
                                b->info.n_rows, (unsigned long long)b->info.n_bytes);
}

/* ---- methods ---- */

static PyObject *field(PyObject *self, PyObject *args) {
    struct core_module *m = core_module_of(self);
    struct batch *b = CORE_DATA(self, struct batch);
    uint32_t f = 0;
    core_keep keep = NULL;
    const struct core_argument table[] = {{"f", CORE_UNSIGNED, &f, CORE_REQUIRED, NULL, 0}};
    if (core_arguments(m, "field", args, NULL, table, 1, 1, &keep) < 0) return NULL;
    if (f >= b->info.n_fields)
        return core_raise_text(m, STERNA_EINVAL, "there is no field %u: the batch has %u", f,
                               b->info.n_fields);
    return core_field_new(m, &b->hold, f);
}

static PyObject *state(PyObject *self, PyObject *unused) {
    const sterna_batch *b = CORE_DATA(self, struct batch)->hold.what.batch;
    size_t bytes = 0;
    (void)unused;
    sterna_batch_state(b, NULL, 0, &bytes);
    PyObject *state = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)bytes);
    if (state) sterna_batch_state(b, PyBytes_AsString(state), bytes, &bytes);
    return state;
}

static PyObject *reason(PyObject *self, PyObject *args) {
    struct core_module *m = core_module_of(self);
    struct batch *b = CORE_DATA(self, struct batch);
    uint32_t row = 0;
    core_keep keep = NULL;
    const struct core_argument table[] = {{"row", CORE_UNSIGNED, &row, CORE_REQUIRED, NULL, 0}};
    if (core_arguments(m, "reason", args, NULL, table, 1, 1, &keep) < 0) return NULL;
    if (row >= b->info.n_rows)
        return core_raise_text(m, STERNA_EINVAL, "there is no row %u: the batch has %u", row,
                               b->info.n_rows);
    return CORE_TEXT(sterna_batch_reason(b->hold.what.batch, row));
}

static PyMethodDef methods[] = {
    {"reason", reason, METH_VARARGS,
     "reason($self, row, /)\n--\n\n"
     "Why a row has an error: what failed, and where, in words; \"\" if it has none."},
    {"field", field, METH_VARARGS,
     "field($self, f, /)\n--\n\n"
     "Field number f, in the order that the loader was asked for. InvalidError past the end."},
    {"state", state, METH_NOARGS,
     "state($self, /)\n--\n\n"
     "The loader's state after this batch: to be saved when the batch has been used."},
    {0},
};

#define COLUMN(c) ((void *)(uintptr_t)(c))
static PyGetSetDef getters[] = {
    {"epoch", get_epoch, NULL, "Number of the epoch.", NULL},
    {"step", get_step, NULL, "Batches of this epoch before it.", NULL},
    {"n_rows", get_n_rows, NULL, "Rows, padding included.", NULL},
    {"n_valid", get_n_valid, NULL, "Rows that are neither padding nor masked.", NULL},
    {"n_bytes", get_n_bytes, NULL, "Bytes of the valid rows' fields.", NULL},
    {"last_in_epoch", get_last_in_epoch, NULL, "Whether the epoch ends with it.", NULL},
    {"fields", get_fields, NULL, "Names of the fields.", NULL},
    {"index", get_column, NULL, "int64[n_rows]: where in the selection each row is.",
     COLUMN(INDEX)},
    {"ids", get_column, NULL, "uint8[n_rows, 16]: UUIDs, big-endian.", COLUMN(IDS)},
    {"valid", get_column, NULL, "bool[n_rows]: 0 for padded and masked rows.", COLUMN(VALID)},
    {"errors", get_column, NULL, "int32[n_rows]: 0, or the code that the row's sample failed with.",
     COLUMN(ERRORS)},
    {"labels", get_column, NULL, "int64[n_rows]; the smallest number where there is none.",
     COLUMN(LABELS)},
    {0},
};

static PyType_Slot slots[] = {
    {Py_tp_doc, "A lease on a batch's memory: given back when the batch and its arrays are gone."},
    {Py_tp_dealloc, dealloc},
    {Py_tp_repr, repr},
    {Py_tp_methods, methods},
    {Py_tp_getset, getters},
    {Py_sq_length, length},
    {0, NULL},
};

PyType_Spec core_batch_spec = {
    .name = "sterna._core.Batch",
    .basicsize = CORE_SIZE(struct batch),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = slots,
};
