#include "catalog/query.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "catalog/expression.h"

#define STEPS_PER_LOOK 20000 /* of SQLite's machine, between two looks at the clock */

/* ---- the fence ---- */

struct fence { /* while a statement is prepared */
    char denied[96];
};

static int deny(struct fence *fence, const char *what, const char *name) {
    if (!fence->denied[0]) snprintf(fence->denied, sizeof fence->denied, "%s%s", what, name);
    return SQLITE_DENY;
}

static int may_read(const char *table) {
    static const char *const tables[] = {"sample", "class", "json_each", "json_tree"};
    for (size_t i = 0; i < STN_COUNT(tables); i++)
        if (strcasecmp(tables[i], table) == 0) return 1;
    return 0;
}

/* Rows counted without a look at a column are reported by the name in the query, which may be that
 * of a table expression of the user's. */
static int may_count(const char *table) {
    static const char *const tables[] = {"info", "field", "user_column", "run", "dbstat"};
    for (size_t i = 0; i < STN_COUNT(tables); i++)
        if (strcasecmp(tables[i], table) == 0) return 0;
    return strncasecmp(table, "sqlite_", 7) != 0 && strncasecmp(table, "pragma_", 7) != 0;
}

static int authorize(void *ctx, int action, const char *one, const char *two, const char *database,
                     const char *trigger) {
    struct fence *fence = ctx;
    (void)database;
    (void)trigger;
    switch (action) {
    case SQLITE_SELECT:
    case SQLITE_RECURSIVE:
        return SQLITE_OK;
    case SQLITE_READ:
        if (one && (may_read(one) || (two && !two[0] && may_count(one)))) return SQLITE_OK;
        return deny(fence, "table ", one ? one : "");
    case SQLITE_FUNCTION:
        return two && stn_expression_may_call(two) ? SQLITE_OK
                                                   : deny(fence, "function ", two ? two : "");
    default:
        return deny(fence, "anything but reading", "");
    }
}

static int look_at_clock(void *ctx) {
    struct stn_query *q = ctx;
    uint64_t used = q->used_ns + stn_now(stn_clock_monotonic()) - q->began_ns;
    q->timed_out = used > (uint64_t)q->limit_ms * STN_NS_PER_MS;
    return q->timed_out;
}

/* What a single step of SQLite's machine may take in memory and time. */
static void limit_sizes(sqlite3 *db) {
    static const struct {
        int limit, value;
    } rows[] = {{SQLITE_LIMIT_LENGTH, 16 << 20},
                {SQLITE_LIMIT_SQL_LENGTH, 4 << 20},
                {SQLITE_LIMIT_LIKE_PATTERN_LENGTH, 4096}};
    for (size_t i = 0; i < STN_COUNT(rows); i++) sqlite3_limit(db, rows[i].limit, rows[i].value);
}

/* ---- the statement ---- */

/* sterna_id(blob): the text form of an id. */
static void id_text(sqlite3_context *context, int n, sqlite3_value **values) {
    (void)n;
    const void *id = sqlite3_value_blob(values[0]);
    if (!id || sqlite3_value_bytes(values[0]) != 16) return; /* null */
    char text[STERNA_ID_TEXT_BYTES];
    sterna_id_format(id, text);
    sqlite3_result_text(context, text, STERNA_ID_TEXT_BYTES - 1, SQLITE_TRANSIENT);
}

/* Before 3.35 a table expression that is used twice is never stored, later only if told so. */
static const char *not_stored(void) {
    return sqlite3_libversion_number() >= 3035000 ? "NOT MATERIALIZED" : "";
}

static char *write_statement(const struct stn_snapshot *s, const struct stn_query_spec *spec) {
    sqlite3_str *text = sqlite3_str_new(s->sql.db);
    sqlite3_str_appendf(text,
                        "WITH sample AS %s (SELECT id AS \"" STN_QUERY_ID
                        "\", rowid AS \"" STN_QUERY_ROW "\"",
                        not_stored());
    for (size_t i = 0; i < s->schema.n_columns; i++) {
        const char *name = s->schema.columns[i].name;
        if (strcmp(name, "id") == 0)
            sqlite3_str_appendall(text, ", sterna_id(id) AS id");
        else if (strcmp(name, "path") == 0)
            sqlite3_str_appendall(text, ", CAST(path AS TEXT) AS path");
        else
            sqlite3_str_appendf(text, ", \"%w\"", name);
    }
    sqlite3_str_appendf(text, " FROM main.sample WHERE run <= %lld) SELECT ",
                        (long long)spec->as_of_run);
    for (size_t i = 0; i < spec->n_columns; i++)
        sqlite3_str_appendf(text, "%s\"%w\"", i ? ", " : "", spec->columns[i]);
    sqlite3_str_appendall(text, " FROM sample");
    if (spec->by_id)
        sqlite3_str_appendall(text, " WHERE \"" STN_QUERY_ID "\" = ?1");
    else if (spec->where) /* the line break ends a comment */
        sqlite3_str_appendf(text, " WHERE (%s\n)", spec->where);
    if (!spec->by_id)
        sqlite3_str_appendall(text, " ORDER BY CAST(path AS BLOB), \"" STN_QUERY_ID "\"");
    return sqlite3_str_finish(text);
}

static int fail_timeout(const struct stn_query *q, struct sterna_error *err) {
    char what[160];
    snprintf(
        what, sizeof what,
        "the query took longer than %u ms and was stopped: simplify it, or raise time_limit_ms",
        q->limit_ms);
    return stn_expression_fail(q->where, STERNA_ETIMEOUT, what, err);
}

static int fail_prepare(const struct stn_query *q, int result, const struct fence *fence,
                        struct sterna_error *err) {
    char what[320];
    const char *why = sqlite3_errmsg(q->sql->db);
    int code = result & 0xFF;
    if (fence->denied[0])
        snprintf(what, sizeof what,
                 "%s is not allowed: only columns of samples and deterministic core, math and JSON "
                 "functions are (SQLite: %s)",
                 fence->denied, why);
    else if (code == SQLITE_TOOBIG)
        snprintf(what, sizeof what, "is too long: give a list of ids instead");
    else if (code == SQLITE_ERROR)
        snprintf(what, sizeof what, "%s%s", why,
                 strstr(why, "no such column") ? " (text goes between single quotes)" : "");
    else
        return q->timed_out ? fail_timeout(q, err) : stn_sql_fail(q->sql, result, err);
    return stn_expression_fail(q->where, STERNA_EQUERY, what, err);
}

/* A table function is declared by SQL of its own at its first use: not inside the fence. */
static void meet_table_functions(sqlite3 *db) {
    sqlite3_exec(db, "SELECT 1 FROM json_each('[]'), json_tree('[]')", NULL, NULL, NULL);
}

static int prepare(struct stn_query *q, char *text, struct sterna_error *err) {
    sqlite3 *db = q->sql->db;
    struct fence fence = {{0}};
    if (!q->where) return stn_sql_prepare_take(q->sql, &q->statement, text, err);
    if (!text) return stn_fail_memory(err, q->sql->path);
    meet_table_functions(db);
    limit_sizes(db);
    sqlite3_set_authorizer(db, authorize, &fence);
    sqlite3_progress_handler(db, STEPS_PER_LOOK, look_at_clock, q);
    q->began_ns = stn_now(stn_clock_monotonic());
    int result = sqlite3_prepare_v3(db, text, -1, 0, &q->statement, NULL);
    sqlite3_set_authorizer(db, NULL, NULL);
    sqlite3_free(text);
    return result == SQLITE_OK ? STERNA_OK : fail_prepare(q, result, &fence, err);
}

int stn_query_open(struct stn_query *q, const struct stn_snapshot *s,
                   const struct stn_query_spec *spec, struct sterna_error *err) {
    *q = (struct stn_query){.sql = &s->sql, .where = spec->by_id ? NULL : spec->where};
    q->limit_ms = spec->time_limit_ms ? spec->time_limit_ms : STN_QUERY_LIMIT_MS;
    int rc = q->where ? stn_expression_check(q->where, err) : STERNA_OK;
    if (rc < 0) return rc;
    int flags = SQLITE_UTF8 | SQLITE_DETERMINISTIC | SQLITE_INNOCUOUS;
    int result = sqlite3_create_function_v2(s->sql.db, "sterna_id", 1, flags, NULL, id_text, NULL,
                                            NULL, NULL);
    if (result != SQLITE_OK) return stn_sql_fail(&s->sql, result, err);
    return prepare(q, write_statement(s, spec), err);
}

void stn_query_close(struct stn_query *q) {
    if (q->sql && q->sql->db) sqlite3_progress_handler(q->sql->db, 0, NULL, NULL);
    sqlite3_finalize(q->statement);
    *q = (struct stn_query){0};
}

/* ---- rows ---- */

static int fail_step(const struct stn_query *q, int result, struct sterna_error *err) {
    if (q->timed_out) return fail_timeout(q, err);
    int code = result & 0xFF;
    if (q->where && (code == SQLITE_ERROR || code == SQLITE_TOOBIG || code == SQLITE_MISMATCH))
        return stn_expression_fail(q->where, STERNA_EQUERY, sqlite3_errmsg(q->sql->db), err);
    return stn_sql_fail(q->sql, result, err);
}

int stn_query_step(struct stn_query *q, struct sterna_error *err) {
    struct stn_clock *clock = stn_clock_monotonic();
    if (q->where) q->began_ns = stn_now(clock);
    int result = sqlite3_step(q->statement);
    if (q->where) q->used_ns += stn_now(clock) - q->began_ns;
    if (result == SQLITE_ROW) return 1;
    int rc = result == SQLITE_DONE ? 0 : fail_step(q, result, err);
    sqlite3_reset(q->statement);
    return rc;
}

void stn_query_seek(struct stn_query *q, const uint8_t id[16]) {
    sqlite3_reset(q->statement);
    sqlite3_bind_blob(q->statement, 1, id, 16, SQLITE_STATIC);
}

int stn_query_fail_unknown(const struct stn_query *q, const uint8_t id[16], uint64_t as_of_run,
                           struct sterna_error *err) {
    char text[STERNA_ID_TEXT_BYTES];
    sterna_id_format(id, text);
    return stn_fail(err, STERNA_ENOTFOUND, "%s: no sample %s as of run %llu", q->sql->path, text,
                    (unsigned long long)as_of_run);
}

/* ---- what callers ask for ---- */

int stn_query_as_of(const struct stn_snapshot *s, uint64_t wanted, uint64_t *run,
                    struct sterna_error *err) {
    *run = wanted ? wanted : s->schema.last_run;
    if (wanted <= s->schema.last_run) return STERNA_OK;
    return stn_fail(err, STERNA_EINVAL, "%s: as of run %llu, but the last run is %llu", s->sql.path,
                    (unsigned long long)wanted, (unsigned long long)s->schema.last_run);
}

int stn_query_check_column(const struct stn_snapshot *s, const char *name,
                           struct sterna_error *err) {
    if (name && stn_schema_column(&s->schema, name) >= 0) return STERNA_OK;
    char known[300] = "", shown[80];
    size_t used = 0;
    for (size_t i = 0; i < s->schema.n_columns && used < sizeof known; i++)
        used += (size_t)snprintf(known + used, sizeof known - used, "%s%s", i ? " " : "",
                                 s->schema.columns[i].name);
    return stn_fail(err, STERNA_EINVAL, "no column '%s'; there are: %s",
                    stn_printable(name ? name : "", shown, sizeof shown), known);
}

int stn_query_check_options(size_t struct_size, size_t size, const char *name,
                            struct sterna_error *err) {
    if (struct_size == size) return STERNA_OK;
    return stn_fail(err, STERNA_EINVAL, "%s options: struct_size is %zu, not %zu", name,
                    struct_size, size);
}
