/* What a store is asked in SQL: selections, and values of the catalogue. */
#include <stdlib.h>

#include "core.h"

/* ---- select ---- */

struct selecting {
    struct core_job job;
    struct core_store_use use;
    core_keep keep;
    Py_buffer ids;
    struct sterna_select_options options;
    sterna_selection *made;
};

static int run_selecting(struct core_job *job) {
    struct selecting *s = (struct selecting *)job;
    return sterna_select(&s->made, s->use.store, &s->options, &job->err);
}

static void drop_selecting(struct core_job *job) {
    struct selecting *s = (struct selecting *)job;
    sterna_selection_close(&s->made);
    core_store_leave(&s->use);
    PyBuffer_Release(&s->ids);
    Py_XDECREF(s->keep);
    free(s);
}

static int take_selecting(struct core_module *m, struct selecting *s, PyObject *args,
                          PyObject *kwargs) {
    struct sterna_select_options *o = &s->options;
    struct core_texts columns = {0};
    const struct core_argument table[] = {
        {"where", CORE_TEXT_ARG, &o->where, CORE_OR_NONE, NULL, 0},
        {"name", CORE_TEXT_ARG, &o->name, CORE_OR_NONE, NULL, 0},
        {"file", CORE_TEXT_ARG, &o->file, CORE_OR_NONE, NULL, 0},
        {"ids_file", CORE_TEXT_ARG, &o->ids_file, CORE_OR_NONE, NULL, 0},
        {"ids", CORE_BUFFER, &s->ids, CORE_OR_NONE, NULL, STERNA_ID_BYTES},
        {"as_of_run", CORE_U64, &o->as_of_run, 0, NULL, 0},
        {"columns", CORE_TEXTS, &columns, 0, NULL, 0},
        {"time_limit_ms", CORE_UNSIGNED, &o->time_limit_ms, 0, NULL, 0},
    };
    o->struct_size = sizeof *o;
    int rc = core_arguments(m, "select", args, kwargs, table, CORE_COUNT(table), 0, &s->keep);
    o->columns = columns.at;
    o->n_columns = columns.n;
    o->ids = s->ids.buf;
    o->n_ids = (size_t)s->ids.len / STERNA_ID_BYTES;
    return rc;
}

PyObject *core_store_select(PyObject *self, PyObject *args, PyObject *kwargs) {
    struct core_module *m = core_module_of(self);
    struct selecting *s = core_job_new(sizeof *s, run_selecting, drop_selecting);
    PyObject *made = NULL;
    if (!s) return NULL;
    if (take_selecting(m, s, args, kwargs) == 0 && core_store_enter(m, self, &s->use) == 0 &&
        core_job_run(m, &s->job) == STERNA_OK) {
        made = core_selection_new(m, s->made);
        s->made = NULL;
    }
    core_job_end(&s->job);
    return made;
}

/* ---- query ---- */

struct querying {
    struct core_job job;
    struct core_store_use use;
    core_keep keep;
    Py_buffer ids;
    struct sterna_query_options options;
    struct core_rows rows;
    struct core_rows columns; /* names of all, if none are asked for */
};

static int add_name(void *columns, const char *name, const char *type) {
    const struct sterna_value value = {
        .type = STERNA_TEXT, .text = name, .text_bytes = strlen(name)};
    (void)type;
    return core_rows_add(columns, &value);
}

static int add_row(void *rows, const char *const *names, const struct sterna_value *values,
                   size_t n) {
    struct core_rows *r = rows;
    (void)names;
    r->n_columns = n;
    return core_rows_add(r, values);
}

static int run_querying(struct core_job *job) {
    struct querying *q = (struct querying *)job;
    int rc = STERNA_OK;
    if (!q->options.columns)
        rc = sterna_store_columns(q->use.store, add_name, &q->columns, &job->err);
    if (rc < 0 || q->columns.failed) return rc;
    rc = sterna_query(q->use.store, &q->options, add_row, &q->rows, &job->err);
    return rc < 0 ? rc : STERNA_OK; /* 1: the rows stopped it, who say why */
}

static void drop_querying(struct core_job *job) {
    struct querying *q = (struct querying *)job;
    core_store_leave(&q->use);
    core_rows_fini(&q->rows);
    core_rows_fini(&q->columns);
    PyBuffer_Release(&q->ids);
    Py_XDECREF(q->keep);
    free(q);
}

static int take_querying(struct core_module *m, struct querying *q, PyObject *args,
                         PyObject *kwargs) {
    struct sterna_query_options *o = &q->options;
    struct core_texts columns = {0};
    const struct core_argument table[] = {
        {"where", CORE_TEXT_ARG, &o->where, CORE_OR_NONE, NULL, 0},
        {"columns", CORE_TEXTS, &columns, CORE_OR_NONE, NULL, 0},
        {"ids", CORE_BUFFER, &q->ids, CORE_OR_NONE, NULL, STERNA_ID_BYTES},
        {"as_of_run", CORE_U64, &o->as_of_run, 0, NULL, 0},
        {"time_limit_ms", CORE_UNSIGNED, &o->time_limit_ms, 0, NULL, 0},
    };
    o->struct_size = sizeof *o;
    q->columns = (struct core_rows){.job = &q->job, .n_columns = 1};
    q->rows = (struct core_rows){.job = &q->job};
    int rc = core_arguments(m, "query", args, kwargs, table, CORE_COUNT(table), 0, &q->keep);
    o->columns = columns.at;
    o->n_columns = q->rows.n_columns = columns.n;
    o->ids = q->ids.buf;
    o->n_ids = (size_t)q->ids.len / STERNA_ID_BYTES;
    return rc;
}

static PyObject *name_of(struct querying *q, size_t c) {
    if (q->options.columns) return CORE_TEXT(q->options.columns[c]);
    return Py_NewRef(PyList_GetItem(q->columns.columns[0], (Py_ssize_t)c));
}

/* {name: values} */
static PyObject *by_column(struct querying *q) {
    if (core_rows_flush(&q->columns) < 0) return NULL;
    if (!q->options.columns) q->rows.n_columns = (size_t)PyList_Size(q->columns.columns[0]);
    PyObject *d = core_rows_flush(&q->rows) < 0 ? NULL : PyDict_New();
    for (size_t c = 0; d && c < q->rows.n_columns; c++) {
        PyObject *name = name_of(q, c);
        if (!name || PyDict_SetItem(d, name, q->rows.columns[c]) < 0) Py_CLEAR(d);
        Py_XDECREF(name);
    }
    return d;
}

PyObject *core_store_query(PyObject *self, PyObject *args, PyObject *kwargs) {
    struct core_module *m = core_module_of(self);
    struct querying *q = core_job_new(sizeof *q, run_querying, drop_querying);
    PyObject *found = NULL;
    if (!q) return NULL;
    if (take_querying(m, q, args, kwargs) == 0 && core_store_enter(m, self, &q->use) == 0 &&
        core_job_run(m, &q->job) == STERNA_OK)
        found = by_column(q);
    core_job_end(&q->job);
    return found;
}

const char core_store_select_doc[] =
    "select($self, /, *, where=None, name=None, file=None, ids_file=None, ids=None,\n"
    "       as_of_run=0, columns=(), time_limit_ms=0)\n--\n\n"
    "A selection by SQL, by the name it was saved under, from a file, or of ids (16 bytes\n"
    "each, one after another), in the order of their paths (of the ids, if given); of all\n"
    "samples without any. columns: to be carried along besides label. QueryError,\n"
    "TimeoutError, NotFound, FormatError, MismatchError (of another data set), InvalidError.";
const char core_store_query_doc[] =
    "query($self, /, *, where=None, columns=None, ids=None, as_of_run=0, time_limit_ms=0)\n--\n\n"
    "Values of the catalogue by column (None: all; \"id\" and \"path\" are columns too), rows in\n"
    "the order of path, or of the ids, if given. Errors as select().";
