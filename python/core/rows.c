/* Rows of values that the library gives one by one, gathered in C's memory without the GIL and
 * turned into lists now and then: to fetch the GIL for each row would cost more than the row. */
#include <stdlib.h>
#include <string.h>

#include "core.h"

enum { VALUES_AT_ONCE = 16384, TEXTS_AT_ONCE = 4 << 20 };

int core_rows_init(struct core_rows *r, size_t n_columns) {
    *r = (struct core_rows){.n_columns = n_columns};
    r->columns = calloc(n_columns + 1, sizeof *r->columns);
    if (!r->columns) {
        PyErr_NoMemory();
        return -1;
    }
    for (size_t c = 0; c < n_columns; c++)
        if (!(r->columns[c] = PyList_New(0))) return -1;
    return 0;
}

void core_rows_fini(struct core_rows *r) {
    for (size_t c = 0; r->columns && c < r->n_columns; c++) Py_XDECREF(r->columns[c]);
    free(r->columns);
    free(r->values);
    free(r->texts);
    *r = (struct core_rows){0};
}

int core_rows_flush(struct core_rows *r) {
    if (r->failed && !PyErr_Occurred()) PyErr_NoMemory();
    if (r->failed) return -1;
    for (size_t i = 0; i < r->n_values; i++) {
        struct sterna_value *v = &r->values[i];
        if (v->type == STERNA_TEXT)
            v->text = r->texts + v->i; /* where it was put: see add_text() */
        PyObject *value = core_value(v);
        int rc = value ? PyList_Append(r->columns[i % r->n_columns], value) : -1;
        Py_XDECREF(value);
        if (rc < 0) return -1;
    }
    r->n_values = r->n_texts = 0;
    return 0;
}

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

static int flush_with_gil(struct core_rows *r) {
    PyEval_RestoreThread(r->thread);
    r->failed = core_rows_flush(r) < 0 || PyErr_CheckSignals() < 0;
    r->thread = PyEval_SaveThread();
    return r->failed;
}

int core_rows_add(struct core_rows *r, const struct sterna_value *values) {
    if ((r->n_values >= VALUES_AT_ONCE || r->n_texts >= TEXTS_AT_ONCE) && flush_with_gil(r))
        return 1;
    r->failed = grow((void **)&r->values, &r->cap_values, r->n_values + r->n_columns,
                     sizeof *r->values) < 0;
    for (size_t c = 0; c < r->n_columns && !r->failed; c++) {
        struct sterna_value *v = &r->values[r->n_values + c];
        *v = values[c];
        if (v->type == STERNA_TEXT) r->failed = add_text(r, v) < 0;
    }
    if (!r->failed) r->n_values += r->n_columns;
    return r->failed;
}

PyObject *core_rows_tuples(struct core_rows *r) {
    if (core_rows_flush(r) < 0) return NULL;
    Py_ssize_t n = PyList_Size(r->columns[0]);
    PyObject *rows = PyList_New(n);
    for (Py_ssize_t i = 0; rows && i < n; i++) {
        PyObject *row = PyTuple_New((Py_ssize_t)r->n_columns);
        if (!row) {
            Py_DECREF(rows);
            return NULL;
        }
        for (size_t c = 0; c < r->n_columns; c++)
            PyTuple_SetItem(row, (Py_ssize_t)c, Py_NewRef(PyList_GetItem(r->columns[c], i)));
        PyList_SetItem(rows, i, row);
    }
    return rows;
}
