/* Splitting a store's samples into named selections. */
#include <string.h>

#include "core.h"

/* The parts, [(name, share), ...]; NULL with an exception. */
static struct sterna_part *take_parts(struct core_module *m, PyObject *o, size_t *n,
                                      core_keep *keep) {
    PyObject *tuple = PySequence_Tuple(o);
    if (core_keep_object(keep, tuple) < 0) return NULL;
    *n = (size_t)PyTuple_Size(tuple);
    struct sterna_part *parts = core_keep_memory(keep, *n * sizeof *parts);
    for (size_t i = 0; parts && i < *n; i++) {
        PyObject *item = PySequence_Tuple(PyTuple_GetItem(tuple, (Py_ssize_t)i));
        if (core_keep_object(keep, item) < 0) return NULL;
        if (PyTuple_Size(item) != 2 || !PyUnicode_Check(PyTuple_GetItem(item, 0))) {
            PyErr_SetString(PyExc_TypeError, "split(): parts must be pairs of a name and a share");
            return NULL;
        }
        parts[i].name = core_text_of(m, PyTuple_GetItem(item, 0), "a part's name", keep);
        parts[i].share = PyFloat_AsDouble(PyTuple_GetItem(item, 1));
        if (!parts[i].name || PyErr_Occurred()) return NULL;
    }
    return parts;
}

static void add_line(void *ctx, const struct sterna_split_row *row) {
    const struct sterna_value values[] = {
        {.type = STERNA_TEXT, .text = row->part, .text_bytes = strlen(row->part)},
        {.type = row->stratum ? STERNA_TEXT : STERNA_NULL,
         .text = row->stratum,
         .text_bytes = row->stratum ? strlen(row->stratum) : 0},
        {.type = STERNA_INT, .i = (int64_t)row->n},
        {.type = STERNA_INT, .i = (int64_t)row->n_groups},
        {.type = STERNA_REAL, .r = row->share_wanted},
        {.type = STERNA_REAL, .r = row->share_got},
    };
    core_rows_add(ctx, values);
}

static PyObject *report_of(struct core_rows *rows) {
    static const char *const names[] = {"part",     "stratum",      "n",
                                        "n_groups", "share_wanted", "share_got"};
    if (core_rows_flush(rows) < 0) return NULL;
    PyObject *report = PyList_New(0);
    for (Py_ssize_t i = 0; report && i < PyList_Size(rows->columns[0]); i++) {
        PyObject *line = PyDict_New();
        for (size_t c = 0; line && c < CORE_COUNT(names); c++)
            if (core_set(line, names[c], Py_NewRef(PyList_GetItem(rows->columns[c], i))) < 0)
                Py_CLEAR(line);
        if (!line || PyList_Append(report, line) < 0) Py_CLEAR(report);
        Py_XDECREF(line);
    }
    return report;
}

static PyObject *open_parts(struct core_module *m, sterna_store *s,
                            const struct sterna_split_options *o) {
    PyObject *list = PyList_New(0);
    for (size_t i = 0; list && i < o->n_parts; i++) {
        const struct sterna_select_options of = {.struct_size = sizeof of,
                                                 .name = o->parts[i].name};
        struct sterna_error err = {0};
        sterna_selection *selection = NULL;
        int rc;
        Py_BEGIN_ALLOW_THREADS rc = sterna_select(&selection, s, &of, &err);
        Py_END_ALLOW_THREADS PyObject *made =
            rc < 0 ? core_raise(m, rc, &err) : core_selection_new(m, selection);
        if (!made || PyList_Append(list, made) < 0) Py_CLEAR(list);
        Py_XDECREF(made);
    }
    return list;
}

static PyObject *split(struct core_module *m, sterna_store *s,
                       const struct sterna_split_options *o) {
    struct sterna_error err = {0};
    struct core_rows rows = {0};
    PyObject *report = NULL, *selections = NULL;
    if (core_rows_init(&rows, 6) == 0) {
        rows.thread = PyEval_SaveThread();
        int rc = sterna_split(s, o, add_line, &rows, &err);
        PyEval_RestoreThread(rows.thread);
        report = rc < 0 ? core_raise(m, rc, &err) : report_of(&rows);
    }
    core_rows_fini(&rows);
    if (report) selections = open_parts(m, s, o);
    if (selections) return Py_BuildValue("(NN)", selections, report);
    Py_XDECREF(report);
    return NULL;
}

PyObject *core_store_split(PyObject *self, PyObject *args, PyObject *kwargs) {
    struct core_module *m = core_module_of(self);
    struct sterna_split_options o = {.struct_size = sizeof o};
    PyObject *parts = NULL, *selection = NULL, *both = NULL;
    int save = 0;
    core_keep keep = NULL;
    const struct core_argument table[] = {
        {"parts", CORE_OBJECT, &parts, CORE_REQUIRED, NULL, 0},
        {"by", CORE_TEXT_ARG, &o.by, CORE_OR_NONE, NULL, 0},
        {"stratify", CORE_TEXT_ARG, &o.stratify, CORE_OR_NONE, NULL, 0},
        {"where", CORE_TEXT_ARG, &o.where, CORE_OR_NONE, NULL, 0},
        {"selection", CORE_SELECTION, &selection, CORE_OR_NONE, NULL, 0},
        {"seed", CORE_U64, &o.seed, 0, NULL, 0},
        {"exact", CORE_FLAG, &o.exact, 0, NULL, 0},
        {"save", CORE_FLAG, &save, 0, NULL, 0},
    };
    int rc = core_arguments(m, "split", args, kwargs, table, CORE_COUNT(table), 1, &keep);
    if (rc == 0 && !(o.parts = take_parts(m, parts, &o.n_parts, &keep))) rc = -1;
    sterna_store *s = rc < 0 ? NULL : core_handle_enter(m, core_store_handle(self), "store");
    if (s) {
        both = split(m, s, &o);
        core_handle_leave(core_store_handle(self));
    }
    Py_XDECREF(keep);
    return both;
}

const char core_store_split_doc[] =
    "split($self, /, parts, *, by=None, stratify=None, where=None, selection=None, seed=0,\n"
    "      exact=False, save=False)\n--\n\n"
    "parts: [(name, share), ...], whose shares add up to 1. Samples with one value in the column\n"
    "`by` stay together; `exact` holds the shares for each value of `stratify`. Returns a "
    "selection\n"
    "for each part, and the report: part, stratum (None: in all), n, n_groups, share_wanted,\n"
    "share_got. With `save` they stay in the store under their names.";
