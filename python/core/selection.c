/* Selection: an immutable list of samples, mapped from a file. */
#include <string.h>

#include "core.h"

struct selection {
    sterna_selection *s; /* NULL: closed */
    struct sterna_selection_info info;
    PyObject *where; /* a str: outlives the selection's */
};

static struct selection *selection_of(PyObject *self) { return CORE_DATA(self, struct selection); }

PyObject *core_selection_new(struct core_module *m, sterna_selection *taken) {
    PyObject *self = core_new(m->selection);
    if (!self) {
        sterna_selection_close(&taken);
        return NULL;
    }
    struct selection *s = selection_of(self);
    s->s = taken;
    sterna_selection_info(taken, &s->info);
    s->where = CORE_TEXT(s->info.where);
    if (!s->where) Py_CLEAR(self);
    return self;
}

sterna_selection *core_selection_get(struct core_module *m, PyObject *selection) {
    sterna_selection *s = selection_of(selection)->s;
    if (s) return sterna_selection_retain(s);
    core_raise_text(m, STERNA_EINVAL, "this selection is closed");
    return NULL;
}

static sterna_selection *get(PyObject *self) {
    return core_selection_get(core_module_of(self), self);
}

static PyObject *do_close(PyObject *self, PyObject *unused) {
    (void)unused;
    sterna_selection_close(&selection_of(self)->s);
    Py_RETURN_NONE;
}

static void dealloc(PyObject *self) {
    sterna_selection_close(&selection_of(self)->s);
    Py_XDECREF(selection_of(self)->where);
    core_delete(self);
}

/* ---- arrays in the file ---- */

static PyObject *array(PyObject *self, sterna_selection *taken, const void *at,
                       enum core_dtype dtype, size_t n_columns) {
    struct core_hold hold = core_hold_selection(taken);
    PyObject *made = core_array_new(core_module_of(self), &hold, at, dtype,
                                    (size_t)selection_of(self)->info.n, n_columns, 1);
    core_hold_release(&hold);
    return made;
}

static PyObject *ids(PyObject *self, PyObject *unused) {
    sterna_selection *s = get(self);
    (void)unused;
    return s ? array(self, s, sterna_selection_ids(s), CORE_UINT8, STERNA_ID_BYTES) : NULL;
}

static PyObject *labels(PyObject *self, PyObject *unused) {
    sterna_selection *s = get(self);
    (void)unused;
    return s ? array(self, s, sterna_selection_labels(s), CORE_INT64, 0) : NULL;
}

static PyObject *lengths(PyObject *self, PyObject *args) {
    struct core_module *m = core_module_of(self);
    uint32_t f = 0, n_fields = selection_of(self)->info.n_fields;
    core_keep keep = NULL;
    const struct core_argument table[] = {{"f", CORE_UNSIGNED, &f, CORE_REQUIRED, NULL, 0}};
    if (core_arguments(m, "lengths", args, NULL, table, 1, 1, &keep) < 0) return NULL;
    if (f >= n_fields)
        return core_raise_text(m, STERNA_EINVAL, "there is no field %u: the selection has %u", f,
                               n_fields);
    sterna_selection *s = get(self);
    return s ? array(self, s, sterna_selection_lengths(s, f), CORE_UINT32, 0) : NULL;
}

/* ---- columns ---- */

static uint32_t find_column(const sterna_selection *s, uint32_t n, const char *name) {
    uint32_t c = 0;
    while (c < n && strcmp(sterna_selection_column_name(s, c), name) != 0) c++;
    return c;
}

static PyObject *values_at(struct core_module *m, const sterna_selection *s, uint32_t c, uint64_t n,
                           const Py_buffer *index) {
    const int64_t *at = index->buf;
    Py_ssize_t count = at ? index->len / (Py_ssize_t)sizeof *at : (Py_ssize_t)n;
    PyObject *list = PyList_New(count);
    for (Py_ssize_t i = 0; list && i < count; i++) {
        struct sterna_value value;
        int64_t row = i;
        if (at) memcpy(&row, at + i, sizeof row);
        if (row < 0 || (uint64_t)row >= n) {
            core_raise_text(m, STERNA_EINVAL, "column(): index %lld of a selection of %llu samples",
                            (long long)row, (unsigned long long)n);
            Py_CLEAR(list);
            break;
        }
        sterna_selection_value(s, c, (uint64_t)row, &value);
        PyObject *o = core_value(&value);
        if (!o)
            Py_CLEAR(list);
        else
            PyList_SetItem(list, i, o);
    }
    return list;
}

static PyObject *column(PyObject *self, PyObject *args, PyObject *kwargs) {
    struct core_module *m = core_module_of(self);
    struct sterna_selection_info *info = &selection_of(self)->info;
    const char *name = NULL;
    Py_buffer index = {0};
    core_keep keep = NULL;
    const struct core_argument table[] = {
        {"name", CORE_TEXT_ARG, &name, CORE_REQUIRED, NULL, 0},
        {"index", CORE_BUFFER, &index, CORE_OR_NONE, NULL, sizeof(int64_t)},
    };
    PyObject *list = NULL;
    int rc = core_arguments(m, "column", args, kwargs, table, CORE_COUNT(table), 2, &keep);
    sterna_selection *s = rc < 0 ? NULL : get(self);
    if (s) {
        uint32_t c = find_column(s, info->n_columns, name);
        if (c < info->n_columns)
            list = values_at(m, s, c, info->n, &index);
        else
            core_raise_text(m, STERNA_ENOTFOUND, "the selection carries no column '%s'", name);
    }
    sterna_selection_close(&s);
    PyBuffer_Release(&index);
    Py_XDECREF(keep);
    return list;
}

static PyObject *get_columns(PyObject *self, void *closure) {
    (void)closure;
    sterna_selection *s = get(self);
    if (!s) return NULL;
    uint32_t n = selection_of(self)->info.n_columns;
    PyObject *names = PyTuple_New((Py_ssize_t)n);
    for (uint32_t c = 0; names && c < n; c++) {
        PyObject *name = CORE_TEXT(sterna_selection_column_name(s, c));
        if (!name)
            Py_CLEAR(names);
        else
            PyTuple_SetItem(names, (Py_ssize_t)c, name);
    }
    sterna_selection_close(&s);
    return names;
}

/* ---- saving ---- */

static PyObject *save(PyObject *self, PyObject *args) {
    struct core_module *m = core_module_of(self);
    struct sterna_error err = {0};
    const char *path = NULL;
    core_keep keep = NULL;
    const struct core_argument table[] = {{"path", CORE_TEXT_ARG, &path, CORE_REQUIRED, NULL, 0}};
    int rc = core_arguments(m, "save", args, NULL, table, 1, 1, &keep);
    sterna_selection *s = rc < 0 ? NULL : get(self);
    if (s) {
        PyThreadState *gil = PyEval_SaveThread();
        rc = sterna_selection_save(s, path, &err);
        PyEval_RestoreThread(gil);
        if (rc < 0) core_raise(m, rc, &err);
    } else {
        rc = -1;
    }
    sterna_selection_close(&s);
    Py_XDECREF(keep);
    return rc < 0 ? NULL : Py_NewRef(Py_None);
}

static PyObject *save_as(PyObject *self, PyObject *args, PyObject *kwargs) {
    struct core_module *m = core_module_of(self);
    struct sterna_error err = {0};
    struct core_store_use use = {0};
    PyObject *to = NULL, *done = NULL;
    const char *name = NULL;
    core_keep keep = NULL;
    const struct core_argument table[] = {
        {"store", CORE_STORE, &to, CORE_REQUIRED, NULL, 0},
        {"name", CORE_TEXT_ARG, &name, CORE_REQUIRED, NULL, 0},
    };
    int rc = core_arguments(m, "save_as", args, kwargs, table, CORE_COUNT(table), 2, &keep);
    sterna_selection *s = rc < 0 ? NULL : get(self);
    if (s && core_store_enter(m, to, &use) == 0) {
        PyThreadState *gil = PyEval_SaveThread();
        rc = sterna_selection_save_as(s, use.store, name, &err);
        PyEval_RestoreThread(gil);
        core_store_leave(&use);
        done = rc < 0 ? core_raise(m, rc, &err) : Py_NewRef(Py_None);
    }
    sterna_selection_close(&s);
    Py_XDECREF(keep);
    return done;
}

/* ---- facts: also of a closed one ---- */

static PyObject *get_n(PyObject *self, void *closure) {
    (void)closure;
    return PyLong_FromUnsignedLongLong(selection_of(self)->info.n);
}
static PyObject *get_n_bytes(PyObject *self, void *closure) {
    (void)closure;
    return PyLong_FromUnsignedLongLong(selection_of(self)->info.n_bytes);
}
static PyObject *get_run(PyObject *self, void *closure) {
    (void)closure;
    return PyLong_FromUnsignedLongLong(selection_of(self)->info.run);
}
static PyObject *get_max_bytes(PyObject *self, void *closure) {
    (void)closure;
    return PyLong_FromUnsignedLong(selection_of(self)->info.max_bytes);
}
static PyObject *get_where(PyObject *self, void *closure) {
    (void)closure;
    return Py_NewRef(selection_of(self)->where);
}
static PyObject *get_hash(PyObject *self, void *closure) {
    (void)closure;
    return PyBytes_FromStringAndSize((const char *)selection_of(self)->info.hash,
                                     STERNA_HASH_BYTES);
}
static PyObject *get_dataset_id(PyObject *self, void *closure) {
    (void)closure;
    return PyBytes_FromStringAndSize((const char *)selection_of(self)->info.dataset_id,
                                     STERNA_ID_BYTES);
}

static PyObject *repr(PyObject *self) {
    struct selection *s = selection_of(self);
    return PyUnicode_FromFormat("<sterna selection of %llu samples, %llu bytes>",
                                (unsigned long long)s->info.n, (unsigned long long)s->info.n_bytes);
}

#define WITH_KEYWORDS(f) (PyCFunction)(void (*)(void))(f), METH_VARARGS | METH_KEYWORDS
static PyMethodDef methods[] = {
    {"ids", ids, METH_NOARGS, "ids($self, /)\n--\n\nuint8[n, 16]: UUIDs, big-endian. Read-only."},
    {"lengths", lengths, METH_VARARGS,
     "lengths($self, f, /)\n--\n\n"
     "uint32[n]: bytes of field f of the store; 0xFFFFFFFF: none, 0xFFFFFFFE: not known yet.\n"
     "Read-only."},
    {"labels", labels, METH_NOARGS,
     "labels($self, /)\n--\n\nint64[n]; the smallest number where there is none. Read-only."},
    {"column", WITH_KEYWORDS(column),
     "column($self, name, /, index=None)\n--\n\n"
     "Values of a carried column: all, or those at int64 positions. NotFound: not carried."},
    {"save", save, METH_VARARGS,
     "save($self, path, /)\n--\n\nWrites it to a file, which is replaced atomically."},
    {"save_as", WITH_KEYWORDS(save_as),
     "save_as($self, store, name, /)\n--\n\nKeeps it in the store under a name."},
    {"close", do_close, METH_NOARGS,
     "close($self, /)\n--\n\nArrays and loaders that were made of it go on. Twice is fine."},
    {0},
};

static PyGetSetDef getters[] = {
    {"n", get_n, NULL, "Samples.", NULL},
    {"n_bytes", get_n_bytes, NULL, "Sum of the known lengths.", NULL},
    {"run", get_run, NULL, "It is as of this run.", NULL},
    {"max_bytes", get_max_bytes, NULL, "Bytes of the longest sample, all its fields.", NULL},
    {"where", get_where, NULL, "The SQL that made it, or \"\".", NULL},
    {"hash", get_hash, NULL, "SHA-256 over the ids in order.", NULL},
    {"dataset_id", get_dataset_id, NULL, "16 bytes.", NULL},
    {"columns", get_columns, NULL, "Names of the carried columns.", NULL},
    {0},
};

static PyType_Slot slots[] = {
    {Py_tp_doc, "An immutable ordered list of samples, mapped into memory from one file."},
    {Py_tp_dealloc, dealloc},
    {Py_tp_repr, repr},
    {Py_tp_methods, methods},
    {Py_tp_getset, getters},
    {0, NULL},
};

PyType_Spec core_selection_spec = {
    .name = "sterna._core.Selection",
    .basicsize = CORE_SIZE(struct selection),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = slots,
};
