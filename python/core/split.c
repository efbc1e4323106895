/* Splitting a store's samples into named selections. */
#include <stdlib.h>
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

struct splitting {
    struct core_job job;
    struct core_store_use use;
    core_keep keep;
    struct sterna_split_options options;
    int save;
    sterna_selection **made; /* n_parts */
    struct core_rows report;
};

static void add_line(void *report, const struct sterna_split_row *row) {
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
    core_rows_add(report, values);
}

static int run_splitting(struct core_job *job) {
    struct splitting *s = (struct splitting *)job;
    int rc = sterna_split(s->use.store, &s->options, add_line, &s->report, &job->err);
    for (size_t i = 0; s->save && rc == STERNA_OK && i < s->options.n_parts; i++) {
        const struct sterna_select_options named = {.struct_size = sizeof named,
                                                    .name = s->options.parts[i].name};
        rc = sterna_select(&s->made[i], s->use.store, &named, &job->err);
    }
    return rc;
}

static void drop_splitting(struct core_job *job) {
    struct splitting *s = (struct splitting *)job;
    for (size_t i = 0; s->made && i < s->options.n_parts; i++) sterna_selection_close(&s->made[i]);
    sterna_selection_close(&s->options.selection);
    core_store_leave(&s->use);
    core_rows_fini(&s->report);
    Py_XDECREF(s->keep);
    free(s);
}

static int take_splitting(struct core_module *m, struct splitting *s, PyObject *args,
                          PyObject *kwargs) {
    struct sterna_split_options *o = &s->options;
    PyObject *parts = NULL, *selection = NULL;
    const struct core_argument table[] = {
        {"parts", CORE_OBJECT, &parts, CORE_REQUIRED, NULL, 0},
        {"by", CORE_TEXT_ARG, &o->by, CORE_OR_NONE, NULL, 0},
        {"stratify", CORE_TEXT_ARG, &o->stratify, CORE_OR_NONE, NULL, 0},
        {"where", CORE_TEXT_ARG, &o->where, CORE_OR_NONE, NULL, 0},
        {"selection", CORE_SELECTION, &selection, CORE_OR_NONE, NULL, 0},
        {"seed", CORE_U64, &o->seed, 0, NULL, 0},
        {"exact", CORE_FLAG, &o->exact, 0, NULL, 0},
        {"save", CORE_FLAG, &s->save, 0, NULL, 0},
    };
    o->struct_size = sizeof *o;
    s->report = (struct core_rows){.job = &s->job, .n_columns = 6};
    if (core_arguments(m, "split", args, kwargs, table, CORE_COUNT(table), 1, &s->keep) < 0)
        return -1;
    if (selection && !(o->selection = core_selection_get(m, selection))) return -1;
    o->parts = take_parts(m, parts, &o->n_parts, &s->keep);
    s->made = o->parts ? core_keep_memory(&s->keep, o->n_parts * sizeof(sterna_selection *)) : NULL;
    if (!s->made) return -1;
    for (size_t i = 0; i < o->n_parts; i++) s->made[i] = NULL;
    o->out = s->save ? NULL : s->made;
    return 0;
}

static PyObject *take_made(struct core_module *m, struct splitting *s) {
    PyObject *list = PyList_New(0);
    for (size_t i = 0; list && i < s->options.n_parts; i++) {
        PyObject *made = core_selection_new(m, s->made[i]);
        s->made[i] = NULL;
        if (!made || PyList_Append(list, made) < 0) Py_CLEAR(list);
        Py_XDECREF(made);
    }
    return list;
}

static PyObject *result_of(struct core_module *m, struct splitting *s) {
    static const char *const names[] = {"part",     "stratum",      "n",
                                        "n_groups", "share_wanted", "share_got"};
    PyObject *report = core_rows_dicts(&s->report, names);
    PyObject *selections = report ? take_made(m, s) : NULL;
    if (selections) return Py_BuildValue("(NN)", selections, report);
    Py_XDECREF(report);
    return NULL;
}

PyObject *core_store_split(PyObject *self, PyObject *args, PyObject *kwargs) {
    struct core_module *m = core_module_of(self);
    struct splitting *s = core_job_new(sizeof *s, run_splitting, drop_splitting);
    PyObject *both = NULL;
    if (!s) return NULL;
    if (take_splitting(m, s, args, kwargs) == 0 && core_store_enter(m, self, &s->use) == 0 &&
        core_job_run(m, &s->job) == STERNA_OK)
        both = result_of(m, s);
    core_job_end(&s->job);
    return both;
}

const char core_store_split_doc[] =
    "split($self, /, parts, *, by=None, stratify=None, where=None, selection=None, seed=0,\n"
    "      exact=False, save=False)\n--\n\n"
    "parts: [(name, share), ...], whose shares add up to 1. Samples with one value in the\n"
    "column `by` stay together; `exact` holds the shares for each value of `stratify`.\n"
    "Returns a selection for each part, and the report: part, stratum (None: in all), n,\n"
    "n_groups, share_wanted, share_got. With `save` they stay in the store under their names.";
