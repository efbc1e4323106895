/* The plan without any data. */
#include "core.h"

static PyObject *rows(const uint64_t *index, const uint8_t *valid, uint32_t n) {
    PyObject *indices = PyList_New((Py_ssize_t)n), *flags = PyList_New((Py_ssize_t)n);
    int failed = !indices || !flags;
    for (uint32_t i = 0; !failed && i < n; i++) {
        PyObject *number = PyLong_FromUnsignedLongLong(index[i]);
        failed = !number;
        if (number) PyList_SetItem(indices, (Py_ssize_t)i, number);
        PyList_SetItem(flags, (Py_ssize_t)i, PyBool_FromLong(valid[i]));
    }
    if (!failed) return Py_BuildValue("(NN)", indices, flags);
    Py_XDECREF(indices);
    Py_XDECREF(flags);
    return NULL;
}

static PyObject *plan_batch(PyObject *module, PyObject *args, PyObject *kwargs) {
    static const char *const unevens[] = {"pad", "drop", "exact", NULL};
    struct core_module *m = PyModule_GetState(module);
    struct sterna_loader_options o;
    struct sterna_error err = {0};
    struct sterna_state_info info;
    Py_buffer state = {0};
    PyObject *planned = NULL;
    uint64_t n = 0, epoch = 0, step = 0;
    uint32_t n_rows = 0;
    int uneven = STERNA_UNEVEN_PAD;
    core_keep keep = NULL;
    const struct core_argument table[] = {
        {"n", CORE_U64, &n, CORE_REQUIRED, NULL, 0},
        {"epoch", CORE_U64, &epoch, CORE_REQUIRED, NULL, 0},
        {"step", CORE_U64, &step, CORE_REQUIRED, NULL, 0},
        {"batch_size", CORE_UNSIGNED, &o.batch_size, 0, NULL, 0},
        {"seed", CORE_U64, &o.seed, 0, NULL, 0},
        {"shuffle", CORE_FLAG, &o.shuffle, 0, NULL, 0},
        {"uneven", CORE_WORD, &uneven, 0, unevens, 0},
        {"rank", CORE_UNSIGNED, &o.rank, 0, NULL, 0},
        {"world_size", CORE_UNSIGNED, &o.world_size, 0, NULL, 0},
        {"state", CORE_BUFFER, &state, CORE_OR_NONE, NULL, 0},
    };
    sterna_loader_options_init(&o);
    if (core_arguments(m, "plan_batch", args, kwargs, table, CORE_COUNT(table), 3, &keep) < 0)
        goto done;
    o.uneven = (enum sterna_uneven)uneven;
    o.state = state.buf;
    o.state_bytes = (size_t)state.len;
    size_t cap = o.batch_size;
    if (o.state && sterna_state_info(o.state, o.state_bytes, &info, NULL) == STERNA_OK &&
        info.batch_size > cap)
        cap = info.batch_size;
    if (cap > n) cap = n ? (size_t)n : 1; /* padding included, a batch has no more rows than that */
    if (cap < o.batch_size) cap = o.batch_size;
    uint64_t *index = core_keep_memory(&keep, cap * sizeof *index);
    uint8_t *valid = index ? core_keep_memory(&keep, cap) : NULL;
    if (!valid) goto done;
    int rc = sterna_plan_batch(&o, n, epoch, step, index, valid, &n_rows, &err);
    planned = rc < 0 ? core_raise(m, rc, &err) : rows(index, valid, n_rows);
done:
    PyBuffer_Release(&state);
    Py_XDECREF(keep);
    return planned;
}

PyMethodDef core_plan_methods[] = {
    {"plan_batch", (PyCFunction)(void (*)(void))plan_batch, METH_VARARGS | METH_KEYWORDS,
     "plan_batch(n, epoch, step, *, batch_size=256, seed=0, shuffle=True, uneven='pad',\n"
     "           rank=0, world_size=1, state=None)\n--\n\n"
     "Which of n samples are in a batch (strict order): their indices in the selection, and\n"
     "whether each row is valid (False: padding). InvalidError past the epoch's end."},
    {0},
};
