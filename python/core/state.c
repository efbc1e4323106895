/* States, and ids as text. */
#include <stdlib.h>
#include <string.h>

#include "core.h"

static PyObject *state_info(PyObject *module, PyObject *args) {
    static const char *const orders[] = {"strict", "arrival"}, *const unevens[] = {"pad", "drop",
                                                                                   "exact"};
    struct core_module *m = PyModule_GetState(module);
    struct sterna_state_info i;
    struct sterna_error err = {0};
    Py_buffer state = {0};
    core_keep keep = NULL;
    const struct core_argument table[] = {{"state", CORE_BUFFER, &state, CORE_REQUIRED, NULL, 0}};
    int rc = core_arguments(m, "state_info", args, NULL, table, 1, 1, &keep);
    if (rc == 0) {
        rc = sterna_state_info(state.buf, (size_t)state.len, &i, &err);
        if (rc < 0) core_raise(m, rc, &err);
    }
    PyBuffer_Release(&state);
    if (rc < 0) return NULL;
    return Py_BuildValue(
        "{sI sK sK sK sy# sI sI sI ss ss sO sK sK sK sK sO}", "plan_version", i.plan_version,
        "seed", (unsigned long long)i.seed, "epoch", (unsigned long long)i.epoch, "n",
        (unsigned long long)i.n, "selection_hash", (const char *)i.selection_hash,
        (Py_ssize_t)STERNA_HASH_BYTES, "batch_size", i.batch_size, "rank", i.rank, "world_size",
        i.world_size, "order", orders[i.order], "uneven", unevens[i.uneven], "shuffle",
        i.shuffle ? Py_True : Py_False, "step", (unsigned long long)i.step, "base_step",
        (unsigned long long)i.base_step, "steps", (unsigned long long)i.steps, "delivered",
        (unsigned long long)i.delivered, "finished", i.finished ? Py_True : Py_False);
}

/* ---- merge ---- */

struct states {
    const void **at;
    size_t *bytes;
    size_t n;
    core_keep keep;
};

static int take_states(PyObject *o, struct states *s) {
    PyObject *tuple = PySequence_Tuple(o);
    if (core_keep_object(&s->keep, tuple) < 0) return -1;
    s->n = (size_t)PyTuple_Size(tuple);
    s->at = core_keep_memory(&s->keep, s->n * sizeof *s->at);
    s->bytes = core_keep_memory(&s->keep, s->n * sizeof *s->bytes);
    for (size_t i = 0; s->at && s->bytes && i < s->n; i++) {
        PyObject *item = PyTuple_GetItem(tuple, (Py_ssize_t)i);
        if (!PyBytes_Check(item)) {
            PyErr_Format(PyExc_TypeError, "merge_states(): states must be bytes, not %R", item);
            return -1;
        }
        s->at[i] = PyBytes_AsString(item);
        s->bytes[i] = (size_t)PyBytes_Size(item);
    }
    return s->at && s->bytes ? 0 : -1;
}

static PyObject *merge(struct core_module *m, const struct states *s) {
    struct sterna_error err = {0};
    size_t size = 0;
    int rc = sterna_states_merge(s->at, s->bytes, s->n, NULL, 0, &size, &err);
    if (rc < 0 && (rc != STERNA_EINVAL || size == 0)) return core_raise(m, rc, &err);
    PyObject *merged = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)size);
    if (!merged) return NULL;
    rc = sterna_states_merge(s->at, s->bytes, s->n, PyBytes_AsString(merged), size, &size, &err);
    if (rc == STERNA_OK) return merged;
    Py_DECREF(merged);
    return core_raise(m, rc, &err);
}

static PyObject *merge_states(PyObject *module, PyObject *o) {
    struct states s = {0};
    PyObject *merged = NULL;
    if (take_states(o, &s) == 0) merged = merge(PyModule_GetState(module), &s);
    Py_XDECREF(s.keep);
    return merged;
}

static PyObject *at_step(struct core_module *m, const Py_buffer *state, uint64_t step) {
    struct sterna_error err = {0};
    size_t size = 0, bytes = (size_t)state->len;
    int rc = sterna_state_at_step(state->buf, bytes, step, NULL, 0, &size, &err);
    PyObject *other = size ? PyBytes_FromStringAndSize(NULL, (Py_ssize_t)size) : NULL;
    if (other)
        rc = sterna_state_at_step(state->buf, bytes, step, PyBytes_AsString(other), size, &size,
                                  &err);
    if (rc == STERNA_OK || (size && !other)) return other;
    Py_XDECREF(other);
    return core_raise(m, rc, &err);
}

static PyObject *state_at_step(PyObject *module, PyObject *args) {
    struct core_module *m = PyModule_GetState(module);
    Py_buffer state = {0};
    uint64_t step = 0;
    core_keep keep = NULL;
    const struct core_argument table[] = {
        {"state", CORE_BUFFER, &state, CORE_REQUIRED, NULL, 0},
        {"step", CORE_U64, &step, CORE_REQUIRED, NULL, 0},
    };
    PyObject *other = NULL;
    if (core_arguments(m, "state_at_step", args, NULL, table, CORE_COUNT(table), 2, &keep) == 0)
        other = at_step(m, &state, step);
    PyBuffer_Release(&state);
    return other;
}

/* ---- files ---- */

static PyObject *save_state(PyObject *module, PyObject *args) {
    struct core_module *m = PyModule_GetState(module);
    struct sterna_error err = {0};
    Py_buffer state = {0};
    PyObject *selection = NULL, *done = NULL;
    const char *path = NULL;
    core_keep keep = NULL;
    const struct core_argument table[] = {
        {"state", CORE_BUFFER, &state, CORE_REQUIRED, NULL, 0},
        {"selection", CORE_SELECTION, &selection, CORE_REQUIRED, NULL, 0},
        {"path", CORE_TEXT_ARG, &path, CORE_REQUIRED, NULL, 0},
    };
    int rc = core_arguments(m, "save_state", args, NULL, table, CORE_COUNT(table), 3, &keep);
    sterna_selection *s = rc < 0 ? NULL : core_selection_get(m, selection);
    if (s) {
        PyThreadState *gil = PyEval_SaveThread();
        rc = sterna_state_save(state.buf, (size_t)state.len, s, path, &err);
        PyEval_RestoreThread(gil);
        done = rc < 0 ? core_raise(m, rc, &err) : Py_NewRef(Py_None);
    }
    sterna_selection_close(&s);
    PyBuffer_Release(&state);
    Py_XDECREF(keep);
    return done;
}

static PyObject *load_state(PyObject *module, PyObject *args) {
    struct core_module *m = PyModule_GetState(module);
    struct sterna_error err = {0};
    const char *path = NULL;
    core_keep keep = NULL;
    const struct core_argument table[] = {{"path", CORE_TEXT_ARG, &path, CORE_REQUIRED, NULL, 0}};
    void *state = NULL;
    size_t bytes = 0;
    sterna_selection *selection = NULL;
    int rc = core_arguments(m, "load_state", args, NULL, table, 1, 1, &keep);
    if (rc == 0) {
        PyThreadState *gil = PyEval_SaveThread();
        rc = sterna_state_load(path, &state, &bytes, &selection, &err);
        PyEval_RestoreThread(gil);
        if (rc < 0) core_raise(m, rc, &err);
    }
    Py_XDECREF(keep);
    if (rc < 0) return NULL;
    PyObject *first = PyBytes_FromStringAndSize(state, (Py_ssize_t)bytes);
    PyObject *second = selection ? core_selection_new(m, selection) : Py_NewRef(Py_None);
    free(state);
    if (first && second) return Py_BuildValue("(NN)", first, second);
    Py_XDECREF(first);
    Py_XDECREF(second);
    return NULL;
}

/* ---- ids ---- */

static PyObject *parse_id(PyObject *module, PyObject *args) {
    struct core_module *m = PyModule_GetState(module);
    uint8_t id[STERNA_ID_BYTES];
    const char *text = NULL;
    core_keep keep = NULL;
    const struct core_argument table[] = {{"text", CORE_TEXT_ARG, &text, CORE_REQUIRED, NULL, 0}};
    int rc = core_arguments(m, "parse_id", args, NULL, table, 1, 1, &keep);
    if (rc == 0) {
        rc = sterna_id_parse(text, id);
        if (rc < 0) core_raise_text(m, rc, "'%s' is no UUID (8-4-4-4-12 hexadecimal digits)", text);
    }
    Py_XDECREF(keep);
    return rc < 0 ? NULL : PyBytes_FromStringAndSize((const char *)id, sizeof id);
}

static PyObject *format_id(PyObject *module, PyObject *args) {
    struct core_module *m = PyModule_GetState(module);
    char text[STERNA_ID_TEXT_BYTES];
    Py_buffer id = {0};
    core_keep keep = NULL;
    const struct core_argument table[] = {
        {"id", CORE_BUFFER, &id, CORE_REQUIRED | CORE_EXACT, NULL, STERNA_ID_BYTES}};
    int rc = core_arguments(m, "format_id", args, NULL, table, 1, 1, &keep);
    if (rc == 0) sterna_id_format(id.buf, text);
    PyBuffer_Release(&id);
    return rc < 0 ? NULL : PyUnicode_FromString(text);
}

PyMethodDef core_state_methods[] = {
    {"state_info", state_info, METH_VARARGS,
     "state_info(state, /)\n--\n\nWhat is in a state: struct sterna_state_info. FormatError."},
    {"merge_states", merge_states, METH_O,
     "merge_states(states, /)\n--\n\n"
     "One state from those of all ranks, in any order. MismatchError: not of one run, or a\n"
     "rank is missing."},
    {"state_at_step", state_at_step, METH_VARARGS,
     "state_at_step(state, step, /)\n--\n\n"
     "The state with another number of batches of its epoch delivered, from its base_step to the\n"
     "epoch's last. InvalidError, also in arrival order."},
    {"save_state", save_state, METH_VARARGS,
     "save_state(state, selection, path, /)\n--\n\n"
     "Saves a state, replaced atomically, with its selection beside it as PATH.selection."},
    {"load_state", load_state, METH_VARARGS,
     "load_state(path, /)\n--\n\nThe state, and its selection or None. NotFound, FormatError."},
    {"parse_id", parse_id, METH_VARARGS, "parse_id(text, /)\n--\n\n16 bytes of a UUID's text."},
    {"format_id", format_id, METH_VARARGS, "format_id(id, /)\n--\n\nText of a UUID's 16 bytes."},
    {0},
};
