/* Which samples an open run has added or changed, and their rows: for a store that carries them on
 * to where all hosts see them. */
#include <string.h>

#include "catalog/catalog.h"
#include "catalog/run.h"

int stn_run_note_rows(struct stn_run *run, struct sterna_error *err) {
    sqlite3_stmt *last = NULL;
    int rc = stn_sql_exec(&run->sql,
                          "CREATE TEMP TABLE touched (id BLOB PRIMARY KEY) WITHOUT ROWID", err);
    /* Nothing is ever deleted, so that SQLite gives rising numbers to new rows. */
    if (rc == STERNA_OK)
        rc = stn_sql_prepare(&run->sql, &last, "SELECT coalesce(max(rowid), 0) FROM sample", err);
    if (rc == STERNA_OK) rc = stn_sql_step(&run->sql, last, err);
    if (rc > 0) run->first_rowid = sqlite3_column_int64(last, 0) + 1;
    sqlite3_finalize(last);
    return STN_MIN(rc, 0);
}

int stn_run_touch(struct stn_run *run, const uint8_t id[16], struct sterna_error *err) {
    int rc = STERNA_OK;
    if (!run->touch) /* what was added in this run is told as a whole */
        rc = stn_sql_prepare(&run->sql, &run->touch,
                             "INSERT OR IGNORE INTO temp.touched SELECT id FROM sample"
                             " WHERE id = ?1 AND rowid < ?2",
                             err);
    if (rc < 0) return rc;
    sqlite3_bind_blob(run->touch, 1, id, 16, SQLITE_STATIC);
    sqlite3_bind_int64(run->touch, 2, run->first_rowid);
    return stn_sql_run(&run->sql, run->touch, err);
}

struct reading {
    struct stn_run *run;
    sqlite3_stmt *rows;
    struct stn_cell *cells; /* one for each column that is told */
    size_t n_cells;
    struct sterna_error *err;
};

static int prepare_rows(struct reading *r) {
    const struct stn_schema *schema = &r->run->schema;
    r->cells = stn_array(schema->n_columns, sizeof *r->cells);
    sqlite3_str *text = sqlite3_str_new(r->run->sql.db);
    sqlite3_str_appendall(text, "SELECT id, run");
    for (size_t i = 0; i < schema->n_columns && r->cells; i++) {
        const char *name = schema->columns[i].name;
        if (strcmp(name, "id") == 0 || strcmp(name, "run") == 0) continue;
        sqlite3_str_appendf(text, ", \"%w\"", name);
        r->cells[r->n_cells++].column = name;
    }
    sqlite3_str_appendf(text,
                        " FROM sample WHERE rowid >= %lld OR"
                        " id IN (SELECT id FROM temp.touched)",
                        (long long)r->run->first_rowid);
    int rc = stn_sql_prepare_take(&r->run->sql, &r->rows, sqlite3_str_finish(text), r->err);
    return r->cells ? rc : stn_fail_memory(r->err, r->run->sql.path);
}

/* The row that `rows` stands on. */
static int read_row(struct reading *r, struct stn_row *row, int *belongs) {
    const void *id = sqlite3_column_blob(r->rows, 0);
    if (!id || sqlite3_column_bytes(r->rows, 0) != 16)
        return stn_fail(r->err, STERNA_EFORMAT, "%s: damaged catalogue: a sample's id is none",
                        r->run->sql.path);
    memcpy(row->id, id, 16);
    *belongs = (uint64_t)sqlite3_column_int64(r->rows, 1) == r->run->number;
    for (size_t i = 0; i < r->n_cells; i++)
        if (stn_sql_value(r->rows, (int)i + 2, &r->cells[i].value) < 0)
            return stn_fail_memory(r->err, r->run->sql.path);
    row->cells = r->cells;
    row->n_cells = r->n_cells;
    return STERNA_OK;
}

static int tell_rows(struct stn_run *run, int (*each)(void *, const struct stn_row *, int),
                     void *ctx, struct sterna_error *err) {
    struct reading r = {.run = run, .err = err};
    struct stn_row row;
    int belongs = 0;
    int rc = prepare_rows(&r);
    while (rc == STERNA_OK && (rc = stn_sql_step(&run->sql, r.rows, err)) > 0) {
        rc = read_row(&r, &row, &belongs);
        if (rc == STERNA_OK) rc = each(ctx, &row, belongs);
    }
    sqlite3_finalize(r.rows);
    free(r.cells);
    return STN_MIN(rc, 0);
}

int stn_catalog_run_rows(struct stn_catalog *c,
                         int (*each)(void *ctx, const struct stn_row *row, int belongs), void *ctx,
                         struct sterna_error *err) {
    pthread_mutex_lock(&c->run_mutex);
    int rc = stn_run_check(c, err);
    if (rc == STERNA_OK && c->run->first_rowid < 0)
        rc = stn_fail(err, STERNA_EINVAL, "%s: the run's rows were not noted", c->path);
    if (rc == STERNA_OK) rc = tell_rows(c->run, each, ctx, err);
    pthread_mutex_unlock(&c->run_mutex);
    return rc;
}
