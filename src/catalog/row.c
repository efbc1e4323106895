/* Samples of a run being written: looked up, inserted, updated. */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "catalog/catalog.h"
#include "catalog/run.h"

static int find_id(const struct stn_sql *s, sqlite3_stmt **has, const uint8_t id[16], int *found,
                   struct sterna_error *err) {
    int rc = STERNA_OK;
    if (!*has) rc = stn_sql_prepare(s, has, "SELECT 1 FROM sample WHERE id = ?1", err);
    if (rc < 0) return rc;
    sqlite3_bind_blob(*has, 1, id, 16, SQLITE_STATIC);
    rc = stn_sql_step(s, *has, err);
    if (rc > 0) sqlite3_reset(*has);
    *found = rc > 0;
    return rc < 0 ? rc : STERNA_OK;
}

int stn_catalog_has(struct stn_catalog *c, const uint8_t id[16], int *found,
                    struct sterna_error *err) {
    *found = 0;
    pthread_mutex_lock(&c->run_mutex);
    int writing = c->run != NULL;
    int rc = writing ? stn_run_check(c, err) : STERNA_OK;
    if (writing && rc == STERNA_OK) rc = find_id(&c->run->sql, &c->run->has, id, found, err);
    pthread_mutex_unlock(&c->run_mutex);
    if (writing) return rc;
    struct stn_snapshot s;
    sqlite3_stmt *has = NULL;
    rc = stn_catalog_snapshot(c, &s, err);
    if (rc < 0) return rc;
    rc = find_id(&s.sql, &has, id, found, err);
    sqlite3_finalize(has);
    stn_snapshot_close(&s);
    return rc;
}

static int check_value(const struct stn_column *column, const struct sterna_value *value,
                       struct sterna_error *err) {
    if (value->type == STERNA_NULL || column->kind == STN_COLUMN_USER) return STERNA_OK;
    if (value->type != column->type)
        return stn_fail(err, STERNA_EINVAL, "column '%s' holds %s values only", column->name,
                        stn_column_type(column));
    if (column->kind == STN_COLUMN_FIELD && (value->i < 0 || value->i >= STERNA_LENGTH_UNKNOWN))
        return stn_fail(err, STERNA_EINVAL, "column '%s': %lld is no length", column->name,
                        (long long)value->i);
    return STERNA_OK;
}

/* Finds the column of each cell, into run->hints. */
static int match_cells(struct stn_run *run, const struct stn_row *row, struct sterna_error *err) {
    size_t had = run->hints_cap;
    if (stn_grow((void **)&run->hints, &run->hints_cap, row->n_cells, sizeof *run->hints) < 0)
        return stn_fail_memory(err, run->sql.path);
    for (size_t i = had; i < run->hints_cap; i++) run->hints[i] = 0;
    for (size_t i = 0; i < row->n_cells; i++) {
        const char *name = row->cells[i].column;
        if (strcasecmp(run->schema.columns[run->hints[i]].name, name) != 0) {
            long found = stn_schema_column(&run->schema, name);
            if (found < 0)
                return stn_fail(err, STERNA_EINVAL, "%s: no column '%s': declare it before",
                                run->sql.path, name);
            run->hints[i] = (size_t)found;
        }
        struct stn_column *column = &run->schema.columns[run->hints[i]];
        if (strcmp(column->name, "id") == 0 || strcmp(column->name, "run") == 0)
            return stn_fail(err, STERNA_EINVAL, "column '%s' cannot be set", name);
        int rc = check_value(column, &row->cells[i].value, err);
        if (rc < 0) return rc;
    }
    return STERNA_OK;
}

static int fail_too_long(const struct stn_run *run, const struct stn_cell *cell, int result,
                         struct sterna_error *err) {
    if (result != SQLITE_TOOBIG) return stn_sql_fail(&run->sql, result, err);
    return stn_fail(err, STERNA_EINVAL, "column '%s': a value of %zu bytes is too long",
                    cell->column, cell->value.text_bytes);
}

/* All columns of the schema as a list, `format` for each; then `tail`. */
static char *column_list(const struct stn_run *run, const char *head, const char *format,
                         const char *tail) {
    sqlite3_str *text = sqlite3_str_new(run->sql.db);
    sqlite3_str_appendall(text, head);
    for (size_t i = 0; i < run->schema.n_columns; i++) {
        if (i > 0) sqlite3_str_appendall(text, ", ");
        sqlite3_str_appendf(text, format, run->schema.columns[i].name);
    }
    sqlite3_str_appendall(text, tail);
    return sqlite3_str_finish(text);
}

static int prepare_insert(struct stn_run *run, struct sterna_error *err) {
    char *head = column_list(run, "INSERT INTO sample (", "\"%w\"", ") VALUES (");
    char *text = head ? column_list(run, head, "?", ")") : NULL;
    sqlite3_free(head);
    return stn_sql_prepare_take(&run->sql, &run->insert, text, err);
}

static int is_null(const struct sterna_value *v) { /* SQLite keeps NaN as null */
    return v->type == STERNA_NULL || (v->type == STERNA_REAL && isnan(v->r));
}

/* What the row's values mean for the catalogue's totals and types. */
static void note_row(struct stn_run *run, const struct stn_row *row, int64_t more_bytes) {
    run->schema.n_bytes += (uint64_t)more_bytes;
    for (size_t i = 0; i < row->n_cells; i++) {
        struct stn_column *c = &run->schema.columns[run->hints[i]];
        const struct sterna_value *value = &row->cells[i].value;
        if (c->kind == STN_COLUMN_USER && !is_null(value)) c->types |= 1U << value->type;
    }
}

/* What a cell adds to the bytes of all samples. */
static int64_t length_in(const struct stn_run *run, size_t column,
                         const struct sterna_value *value) {
    int counts = run->schema.columns[column].kind == STN_COLUMN_FIELD && value->type == STERNA_INT;
    return counts ? value->i : 0;
}

static int insert_row(struct stn_run *run, const struct stn_row *row, struct sterna_error *err) {
    int rc = match_cells(run, row, err);
    if (rc == STERNA_OK && !run->insert) rc = prepare_insert(run, err);
    if (rc < 0) return rc;
    sqlite3_clear_bindings(run->insert);
    long number = stn_schema_column(&run->schema, "run");
    int result = sqlite3_bind_blob(run->insert, 1, row->id, 16, SQLITE_STATIC); /* id is first */
    if (result == SQLITE_OK)
        result = sqlite3_bind_int64(run->insert, (int)number + 1, (sqlite3_int64)run->number);
    if (result != SQLITE_OK) return stn_sql_fail(&run->sql, result, err);
    for (size_t i = 0; i < row->n_cells; i++) {
        result = stn_sql_bind(run->insert, (int)run->hints[i] + 1, &row->cells[i].value);
        if (result != SQLITE_OK) return fail_too_long(run, &row->cells[i], result, err);
    }
    result = sqlite3_step(run->insert);
    sqlite3_reset(run->insert);
    if (result == SQLITE_CONSTRAINT_PRIMARYKEY) {
        char id[STERNA_ID_TEXT_BYTES];
        sterna_id_format(row->id, id);
        return stn_fail(err, STERNA_ECONFLICT, "%s: sample %s is listed already", run->sql.path,
                        id);
    }
    if (result != SQLITE_DONE) return stn_sql_fail(&run->sql, result, err);
    int64_t more_bytes = 0;
    for (size_t i = 0; i < row->n_cells; i++)
        more_bytes += length_in(run, run->hints[i], &row->cells[i].value);
    note_row(run, row, more_bytes);
    run->schema.n_samples++;
    run->n_added++;
    return STERNA_OK;
}

int stn_catalog_insert(struct stn_catalog *c, const struct stn_row *row, struct sterna_error *err) {
    pthread_mutex_lock(&c->run_mutex);
    int rc = stn_run_check(c, err);
    if (rc == STERNA_OK) rc = insert_row(c->run, row, err);
    pthread_mutex_unlock(&c->run_mutex);
    return rc;
}

static int same_value(const struct sterna_value *a, const struct sterna_value *b) {
    if (is_null(a) || is_null(b)) return is_null(a) && is_null(b);
    if (a->type != b->type) return 0;
    if (a->type == STERNA_INT) return a->i == b->i;
    if (a->type == STERNA_REAL) return !(a->r < b->r) && !(a->r > b->r);
    return a->text_bytes == b->text_bytes &&
           (a->text_bytes == 0 || memcmp(a->text, b->text, a->text_bytes) == 0);
}

/* Steps run->find onto the sample, all columns in the schema's order. 1, 0: not listed; an error.
 * Whoever gets a 1 resets it. */
static int find_row(struct stn_run *run, const uint8_t id[16], struct sterna_error *err) {
    int rc = STERNA_OK;
    if (!run->find)
        rc = stn_sql_prepare_take(
            &run->sql, &run->find,
            column_list(run, "SELECT ", "\"%w\"", " FROM sample WHERE id = ?1"), err);
    if (rc < 0) return rc;
    sqlite3_bind_blob(run->find, 1, id, 16, SQLITE_STATIC);
    return stn_sql_step(&run->sql, run->find, err);
}

static int has_field(struct stn_run *run, const uint8_t id[16], const char *field, int *has,
                     struct sterna_error *err) {
    char column[STN_COLUMN_NAME_MAX + 8];
    snprintf(column, sizeof column, "%s_bytes", field);
    long at = stn_schema_column(&run->schema, column);
    if (at < 0) return STERNA_OK;
    int rc = find_row(run, id, err);
    if (rc <= 0) return rc;
    *has = sqlite3_column_type(run->find, (int)at) != SQLITE_NULL;
    sqlite3_reset(run->find);
    return STERNA_OK;
}

int stn_catalog_has_field(struct stn_catalog *c, const uint8_t id[16], const char *field, int *has,
                          struct sterna_error *err) {
    *has = 0;
    pthread_mutex_lock(&c->run_mutex);
    int rc = stn_run_check(c, err);
    if (rc == STERNA_OK) rc = has_field(c->run, id, field, has, err);
    pthread_mutex_unlock(&c->run_mutex);
    return rc;
}

/* Compares a listed sample with the cells: *differs, and what its fields gain in bytes. */
static int compare_row(struct stn_run *run, const struct stn_row *row, int *differs,
                       int64_t *more_bytes, struct sterna_error *err) {
    int rc = find_row(run, row->id, err);
    if (rc < 0) return rc;
    if (rc == 0) {
        char id[STERNA_ID_TEXT_BYTES];
        sterna_id_format(row->id, id);
        return stn_fail(err, STERNA_ENOTFOUND, "%s: no sample %s", run->sql.path, id);
    }
    rc = STERNA_OK;
    for (size_t i = 0; i < row->n_cells && rc == STERNA_OK; i++) {
        struct sterna_value old;
        const struct sterna_value *new = &row->cells[i].value;
        rc = stn_sql_value(run->find, (int)run->hints[i], &old);
        if (rc < 0) stn_fail_memory(err, run->sql.path);
        if (same_value(&old, new)) continue;
        *differs = 1;
        *more_bytes += length_in(run, run->hints[i], new) - length_in(run, run->hints[i], &old);
    }
    sqlite3_reset(run->find);
    return rc;
}

static int prepare_update(struct stn_run *run, const struct stn_row *row, int moves,
                          struct sterna_error *err) {
    if (run->update && run->n_updates == row->n_cells && run->update_moves == moves &&
        (row->n_cells == 0 ||
         memcmp(run->updates, run->hints, row->n_cells * sizeof *run->hints) == 0))
        return STERNA_OK;
    sqlite3_finalize(run->update);
    run->update = NULL;
    if (stn_grow((void **)&run->updates, &run->updates_cap, row->n_cells, sizeof *run->updates) < 0)
        return stn_fail_memory(err, run->sql.path);
    sqlite3_str *text = sqlite3_str_new(run->sql.db);
    sqlite3_str_appendall(text, "UPDATE sample SET ");
    for (size_t i = 0; i < row->n_cells; i++) {
        run->updates[i] = run->hints[i];
        sqlite3_str_appendf(text, "\"%w\" = ?%d, ", run->schema.columns[run->hints[i]].name,
                            (int)i + 3);
    }
    sqlite3_str_appendf(text, "run = %s WHERE id = ?1", moves ? "?2" : "run");
    run->n_updates = row->n_cells;
    run->update_moves = moves;
    return stn_sql_prepare_take(&run->sql, &run->update, sqlite3_str_finish(text), err);
}

static int update_row(struct stn_run *run, const struct stn_row *row, int moves, int *changed,
                      struct sterna_error *err) {
    int64_t more_bytes = 0;
    int differs = moves;
    int rc = match_cells(run, row, err);
    if (rc == STERNA_OK) rc = compare_row(run, row, &differs, &more_bytes, err);
    if (rc < 0 || !differs) return rc;
    rc = prepare_update(run, row, moves, err);
    if (rc < 0) return rc;
    int result = sqlite3_bind_blob(run->update, 1, row->id, 16, SQLITE_STATIC);
    if (result == SQLITE_OK && moves)
        result = sqlite3_bind_int64(run->update, 2, (sqlite3_int64)run->number);
    if (result != SQLITE_OK) return stn_sql_fail(&run->sql, result, err);
    for (size_t i = 0; i < row->n_cells; i++) {
        result = stn_sql_bind(run->update, (int)i + 3, &row->cells[i].value);
        if (result != SQLITE_OK) return fail_too_long(run, &row->cells[i], result, err);
    }
    rc = stn_sql_run(&run->sql, run->update, err);
    if (rc == STERNA_OK && run->first_rowid >= 0) rc = stn_run_touch(run, row->id, err);
    if (rc < 0) return rc;
    note_row(run, row, more_bytes);
    run->n_changed++;
    *changed = 1;
    return STERNA_OK;
}

int stn_catalog_update(struct stn_catalog *c, const struct stn_row *row, int new_run, int *changed,
                       struct sterna_error *err) {
    int unused;
    if (!changed) changed = &unused;
    *changed = 0;
    pthread_mutex_lock(&c->run_mutex);
    int rc = stn_run_check(c, err);
    if (rc == STERNA_OK) rc = update_row(c->run, row, new_run != 0, changed, err);
    pthread_mutex_unlock(&c->run_mutex);
    return rc;
}
