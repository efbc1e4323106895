/* Rows of values that the library gives one by one, gathered in C's memory without the GIL and
 * turned into lists now and then: to fetch the GIL for each row would cost more than the row. */
#include <stdlib.h>
#include <string.h>

#include "core.h"

enum { VALUES_AT_ONCE = 16384, TEXTS_AT_ONCE = 4 << 20 };

void core_rows_fini(struct core_rows *r) {
    for (size_t c = 0; r->columns && c < r->n_columns; c++) Py_XDECREF(r->columns[c]);
    free(r->columns);
    free(r->values);
    free(r->texts);
    *r = (struct core_rows){0};
}

static int make_columns(struct core_rows *r) {
    r->columns = calloc(r->n_columns + 1, sizeof *r->columns);
    if (!r->columns) PyErr_NoMemory();
    for (size_t c = 0; r->columns && c < r->n_columns; c++)
        if (!(r->columns[c] = PyList_New(0))) return -1;
    return r->columns ? 0 : -1;
}

int core_rows_flush(struct core_rows *r) {
    if (r->failed) PyErr_NoMemory();
    if (r->failed || (!r->columns && make_columns(r) < 0)) return -1;
    for (size_t i = 0; i < r->n_values; i++) {
        struct sterna_value *v = &r->values[i];
        if (v->type == STERNA_TEXT) v->text = r->texts + v->i; /* where add_text() put it */
        PyObject *value = core_value(v);
        int rc = value ? PyList_Append(r->columns[i % r->n_columns], value) : -1;
        Py_XDECREF(value);
        if (rc < 0) return -1;
    }
    r->n_values = r->n_texts = 0;
    return 0;
}

/* ---- without the GIL ---- */

static int grow(void **at, size_t *cap, size_t want, size_t size) {
    if (want <= *cap) return 0;
    size_t more = want + *cap;
    void *grown = realloc(*at, more * size);
    if (!grown) return -1;
    *at = grown;
    *cap = more;
    return 0;
}

static int add_text(struct core_rows *r, struct sterna_value *v) {
    if (grow((void **)&r->texts, &r->cap_texts, r->n_texts + v->text_bytes + 1, 1) < 0) return -1;
    if (v->text_bytes > 0) memcpy(r->texts + r->n_texts, v->text, v->text_bytes);
    v->i = (int64_t)r->n_texts; /* the texts may move */
    r->n_texts += v->text_bytes;
    return 0;
}

static int add_values(struct core_rows *r, const struct sterna_value *values) {
    size_t want = r->n_values + r->n_columns;
    if (grow((void **)&r->values, &r->cap_values, want, sizeof *r->values) < 0) return -1;
    for (size_t c = 0; c < r->n_columns; c++) {
        struct sterna_value *v = &r->values[r->n_values + c];
        *v = values[c];
        if (v->type == STERNA_TEXT && add_text(r, v) < 0) return -1;
    }
    r->n_values = want;
    return 0;
}

static int flush(void *rows) { return core_rows_flush(rows) < 0; }

int core_rows_add(struct core_rows *r, const struct sterna_value *values) {
    int full = r->n_values >= VALUES_AT_ONCE || r->n_texts >= TEXTS_AT_ONCE;
    if (full && core_job_ask(r->job, flush, r)) return 1;
    r->failed = add_values(r, values) < 0;
    return r->failed;
}

/* ---- as objects ---- */

static PyObject *tuple_of(struct core_rows *r, Py_ssize_t i) {
    PyObject *row = PyTuple_New((Py_ssize_t)r->n_columns);
    for (size_t c = 0; row && c < r->n_columns; c++)
        PyTuple_SetItem(row, (Py_ssize_t)c, Py_NewRef(PyList_GetItem(r->columns[c], i)));
    return row;
}

static PyObject *dict_of(struct core_rows *r, Py_ssize_t i, const char *const *names) {
    PyObject *row = PyDict_New();
    for (size_t c = 0; row && c < r->n_columns; c++)
        if (core_set(row, names[c], Py_NewRef(PyList_GetItem(r->columns[c], i))) < 0) Py_CLEAR(row);
    return row;
}

PyObject *core_rows_dicts(struct core_rows *r, const char *const *names) {
    PyObject *rows = core_rows_flush(r) < 0 ? NULL : PyList_New(0);
    for (Py_ssize_t i = 0; rows && i < PyList_Size(r->columns[0]); i++) {
        PyObject *row = names ? dict_of(r, i, names) : tuple_of(r, i);
        if (!row || PyList_Append(rows, row) < 0) Py_CLEAR(rows);
        Py_XDECREF(row);
    }
    return rows;
}

PyObject *core_rows_tuples(struct core_rows *r) { return core_rows_dicts(r, NULL); }
