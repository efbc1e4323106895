/* What a store is asked in SQL: selections, and values of the catalogue. */
#include "core.h"

static const uint8_t (*ids_of(const Py_buffer *ids))[STERNA_ID_BYTES] { return ids->buf; }
static size_t n_ids_of(const Py_buffer *ids) { return (size_t)ids->len / STERNA_ID_BYTES; }

PyObject *core_store_select(PyObject *self, PyObject *args, PyObject *kwargs) {
    struct core_module *m = core_module_of(self);
    struct sterna_select_options o = {.struct_size = sizeof o};
    struct sterna_error err = {0};
    struct core_texts columns = {0};
    Py_buffer ids = {0};
    core_keep keep = NULL;
    const struct core_argument table[] = {
        {"where", CORE_TEXT_ARG, &o.where, CORE_OR_NONE, NULL, 0},
        {"name", CORE_TEXT_ARG, &o.name, CORE_OR_NONE, NULL, 0},
        {"file", CORE_TEXT_ARG, &o.file, CORE_OR_NONE, NULL, 0},
        {"ids_file", CORE_TEXT_ARG, &o.ids_file, CORE_OR_NONE, NULL, 0},
        {"ids", CORE_BUFFER, &ids, CORE_OR_NONE, NULL, STERNA_ID_BYTES},
        {"as_of_run", CORE_U64, &o.as_of_run, 0, NULL, 0},
        {"columns", CORE_TEXTS, &columns, 0, NULL, 0},
        {"time_limit_ms", CORE_UNSIGNED, &o.time_limit_ms, 0, NULL, 0},
    };
    sterna_selection *selection = NULL;
    PyObject *made = NULL;
    int rc = core_arguments(m, "select", args, kwargs, table, CORE_COUNT(table), 0, &keep);
    sterna_store *s = rc < 0 ? NULL : core_handle_enter(m, core_store_handle(self), "store");
    if (s) {
        o.columns = columns.at;
        o.n_columns = columns.n;
        o.ids = ids_of(&ids);
        o.n_ids = n_ids_of(&ids);
        Py_BEGIN_ALLOW_THREADS rc = sterna_select(&selection, s, &o, &err);
        Py_END_ALLOW_THREADS core_handle_leave(core_store_handle(self));
        made = rc < 0 ? core_raise(m, rc, &err) : core_selection_new(m, selection);
    }
    PyBuffer_Release(&ids);
    Py_XDECREF(keep);
    return made;
}

/* ---- query ---- */

struct query {
    struct core_rows rows;
    struct core_texts names; /* of the columns, when all are asked for */
    PyObject *columns;       /* their names, once they are known */
};

static int begin_rows(struct query *q, const char *const *names, size_t n) {
    PyThreadState *thread = q->rows.thread;
    PyEval_RestoreThread(thread);
    int rc = core_rows_init(&q->rows, n);
    q->columns = PyList_New(0);
    for (size_t i = 0; rc == 0 && q->columns && i < n; i++) {
        PyObject *name = CORE_TEXT(names[i]);
        rc = name ? PyList_Append(q->columns, name) : -1;
        Py_XDECREF(name);
    }
    q->rows.failed = rc < 0 || !q->columns;
    q->rows.thread = PyEval_SaveThread();
    return q->rows.failed;
}

static int add_row(void *ctx, const char *const *names, const struct sterna_value *values,
                   size_t n) {
    struct query *q = ctx;
    if (!q->columns && begin_rows(q, names, n)) return 1;
    return core_rows_add(&q->rows, values);
}

/* {name: values}; empty lists if there was no row to tell the names of all columns. */
static PyObject *by_column(struct query *q) {
    PyObject *d = core_rows_flush(&q->rows) < 0 ? NULL : PyDict_New();
    for (size_t c = 0; d && c < q->rows.n_columns; c++) {
        PyObject *name = PyList_GetItem(q->columns, (Py_ssize_t)c);
        if (PyDict_SetItem(d, name, q->rows.columns[c]) < 0) Py_CLEAR(d);
    }
    for (size_t c = 0; d && !q->columns && c < q->names.n; c++)
        if (core_set(d, q->names.at[c], PyList_New(0)) < 0) Py_CLEAR(d);
    return d;
}

PyObject *core_store_query(PyObject *self, PyObject *args, PyObject *kwargs) {
    struct core_module *m = core_module_of(self);
    struct sterna_query_options o = {.struct_size = sizeof o};
    struct sterna_error err = {0};
    struct query q = {0};
    Py_buffer ids = {0};
    core_keep keep = NULL;
    const struct core_argument table[] = {
        {"where", CORE_TEXT_ARG, &o.where, CORE_OR_NONE, NULL, 0},
        {"columns", CORE_TEXTS, &q.names, CORE_OR_NONE, NULL, 0},
        {"ids", CORE_BUFFER, &ids, CORE_OR_NONE, NULL, STERNA_ID_BYTES},
        {"as_of_run", CORE_U64, &o.as_of_run, 0, NULL, 0},
        {"time_limit_ms", CORE_UNSIGNED, &o.time_limit_ms, 0, NULL, 0},
    };
    PyObject *found = NULL;
    int rc = core_arguments(m, "query", args, kwargs, table, CORE_COUNT(table), 0, &keep);
    sterna_store *s = rc < 0 ? NULL : core_handle_enter(m, core_store_handle(self), "store");
    if (s) {
        o.columns = q.names.at;
        o.n_columns = q.names.n;
        o.ids = ids_of(&ids);
        o.n_ids = n_ids_of(&ids);
        q.rows.thread = PyEval_SaveThread();
        rc = sterna_query(s, &o, add_row, &q, &err);
        PyEval_RestoreThread(q.rows.thread);
        core_handle_leave(core_store_handle(self));
        if (PyErr_Occurred())
            found = NULL; /* in a callback, which stopped it */
        else
            found = rc < 0 ? core_raise(m, rc, &err) : by_column(&q);
    }
    core_rows_fini(&q.rows);
    Py_XDECREF(q.columns);
    PyBuffer_Release(&ids);
    Py_XDECREF(keep);
    return found;
}

const char core_store_select_doc[] =
    "select($self, /, *, where=None, name=None, file=None, ids_file=None, ids=None, as_of_run=0,\n"
    "       columns=(), time_limit_ms=0)\n--\n\n"
    "A selection by SQL, by the name it was saved under, from a file, or of ids (16 bytes each, "
    "one\n"
    "after another), in the order of their paths (of the ids, if given); of all samples without "
    "any.\n"
    "columns: to be carried along besides label. QueryError, TimeoutError, NotFound, FormatError,\n"
    "MismatchError (of another data set), InvalidError.";
const char core_store_query_doc[] =
    "query($self, /, *, where=None, columns=None, ids=None, as_of_run=0, time_limit_ms=0)\n--\n\n"
    "Values of the catalogue by column (None: all; \"id\" and \"path\" are columns too), rows in "
    "the\n"
    "order of path, or of the ids, if given. Errors as select().";
