#include "catalog/schema.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <time.h>

static const struct {
    const char *name;
    enum sterna_type type;
} built_in[] = {
    {"id", STERNA_TEXT},    {"path", STERNA_TEXT},    {"label", STERNA_INT},
    {"class", STERNA_TEXT}, {"split", STERNA_TEXT},   {"width", STERNA_INT},
    {"height", STERNA_INT}, {"channels", STERNA_INT}, {"format", STERNA_TEXT},
    {"run", STERNA_INT},
};

int stn_schema_create(const struct stn_sql *s, const uint8_t dataset_id[16],
                      struct sterna_error *err) {
    static const char tables[] =
        "CREATE TABLE info (key TEXT PRIMARY KEY, value);"
        "CREATE TABLE field (number INTEGER PRIMARY KEY, name TEXT UNIQUE COLLATE NOCASE,"
        " kind TEXT);"
        "CREATE TABLE user_column (position INTEGER PRIMARY KEY,"
        " name TEXT UNIQUE COLLATE NOCASE, types INTEGER);"
        "CREATE TABLE class (label INTEGER PRIMARY KEY, name TEXT UNIQUE);"
        "CREATE TABLE run (run INTEGER PRIMARY KEY, n_samples INTEGER, source TEXT,"
        " finished_s INTEGER);"
        "CREATE TABLE sample (id BLOB PRIMARY KEY NOT NULL, run INTEGER NOT NULL, path TEXT,"
        " label INTEGER, class TEXT, split TEXT, width INTEGER, height INTEGER,"
        " channels INTEGER, format TEXT);";
    int rc = stn_sql_exec(s, tables, err);
    if (rc < 0) return rc;
    sqlite3_stmt *fill = NULL;
    rc = stn_sql_prepare(s, &fill,
                         "INSERT INTO info VALUES ('format', ?1), ('dataset_id', ?2),"
                         " ('created', ?3), ('n_samples', 0), ('n_bytes', 0)",
                         err);
    if (rc == STERNA_OK) {
        sqlite3_bind_int(fill, 1, STN_CATALOG_VERSION);
        sqlite3_bind_blob(fill, 2, dataset_id, 16, SQLITE_STATIC);
        sqlite3_bind_int64(fill, 3, (sqlite3_int64)time(NULL));
        rc = stn_sql_run(s, fill, err);
    }
    sqlite3_finalize(fill);
    if (rc < 0) return rc;
    char pragmas[96];
    snprintf(pragmas, sizeof pragmas, "PRAGMA application_id=%d; PRAGMA user_version=%d",
             STN_CATALOG_APPLICATION_ID, STN_CATALOG_VERSION);
    return stn_sql_exec(s, pragmas, err);
}

static int fail_version(const struct stn_sql *s, uint64_t version, struct sterna_error *err) {
    return stn_fail(err, STERNA_EFORMAT,
                    "%s: catalogue of format version %llu, this program reads version %d: use a "
                    "newer sterna",
                    s->path, (unsigned long long)version, STN_CATALOG_VERSION);
}

static uint32_t be32(const unsigned char *p) {
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

int stn_schema_check_file(const struct stn_sql *s, struct sterna_error *err) {
    unsigned char header[100] = {0};
    int rc = stn_sql_read_header(s, header, sizeof header, err);
    if (rc < 0) return rc;
    if (memcmp(header, "SQLite format 3", 16) != 0)
        return stn_fail(err, STERNA_EFORMAT, "%s: %s", s->path,
                        header[0] ? "no SQLite file" : "empty, or no SQLite file");
    if (be32(header + 68) != STN_CATALOG_APPLICATION_ID)
        return stn_fail(err, STERNA_EFORMAT,
                        "%s: a SQLite file, but no catalogue (or one that was cut short)", s->path);
    if (be32(header + 60) != STN_CATALOG_VERSION) return fail_version(s, be32(header + 60), err);
    return STERNA_OK;
}

int stn_schema_is_wal(const struct stn_sql *s) {
    unsigned char header[100] = {0};
    return stn_sql_read_header(s, header, sizeof header, NULL) == STERNA_OK && header[18] == 2;
}

int stn_schema_check_size(const struct stn_sql *s, struct sterna_error *err) {
    unsigned char header[100] = {0};
    uint64_t bytes = 0;
    int rc = stn_sql_read_header(s, header, sizeof header, err);
    if (rc == STERNA_OK) rc = stn_sql_file_bytes(s, &bytes, err);
    if (rc < 0 || header[18] != 1) return rc; /* 1: no WAL mode */
    uint64_t page_bytes = (uint64_t)header[16] << 8 | header[17];
    if (page_bytes == 1) page_bytes = 65536;
    uint64_t want = page_bytes * be32(header + 28);
    if (bytes >= want) return STERNA_OK;
    return stn_fail(err, STERNA_EFORMAT, "%s: cut short: %llu bytes of %llu", s->path,
                    (unsigned long long)bytes, (unsigned long long)want);
}

/* ---- loading ---- */

static int is_name(const char *name, size_t longest) {
    size_t n = strlen(name);
    int ok = n > 0 && n <= longest && !isdigit((unsigned char)name[0]);
    for (size_t i = 0; i < n; i++)
        ok = ok && (unsigned char)name[i] < 0x80 &&
             (isalnum((unsigned char)name[i]) || name[i] == '_');
    return ok;
}

static int add_column(struct stn_schema *schema, const char *name, const char *suffix,
                      enum stn_column_kind kind, enum sterna_type type) {
    int rc = stn_grow((void **)&schema->columns, &schema->columns_cap, schema->n_columns + 1,
                      sizeof *schema->columns);
    if (rc < 0) return rc;
    struct stn_column *c = &schema->columns[schema->n_columns++];
    *c = (struct stn_column){.kind = kind, .type = type};
    snprintf(c->name, sizeof c->name, "%s%s", name, suffix);
    return STERNA_OK;
}

static int add_field(struct stn_schema *schema, const char *name, enum sterna_kind kind,
                     uint32_t number) {
    int rc = stn_grow((void **)&schema->fields, &schema->fields_cap, schema->n_fields + 1,
                      sizeof *schema->fields);
    if (rc < 0) return rc;
    size_t at = schema->n_fields++;
    for (; at > 0 && schema->fields[at - 1].number > number; at--)
        schema->fields[at] = schema->fields[at - 1];
    struct stn_schema_field *f = &schema->fields[at];
    *f = (struct stn_schema_field){.kind = kind, .number = number};
    snprintf(f->name, sizeof f->name, "%s", name);
    return STERNA_OK;
}

static int fail_damaged(const struct stn_sql *s, const char *what, struct sterna_error *err) {
    return stn_fail(err, STERNA_EFORMAT, "%s: damaged catalogue: %s", s->path, what);
}

/* One row of `info`. */
static int take_info(struct stn_schema *out, const struct stn_sql *s, sqlite3_stmt *row,
                     unsigned *seen, struct sterna_error *err) {
    const char *key = stn_sql_text(row, 0);
    sqlite3_int64 number = sqlite3_column_int64(row, 1);
    if (strcmp(key, "format") == 0) {
        if (number != STN_CATALOG_VERSION) return fail_version(s, (uint64_t)number, err);
        *seen |= 1;
    } else if (strcmp(key, "dataset_id") == 0) {
        const void *id = sqlite3_column_blob(row, 1);
        if (!id || sqlite3_column_bytes(row, 1) != 16)
            return fail_damaged(s, "data set id is not 16 bytes", err);
        memcpy(out->dataset_id, id, 16);
        *seen |= 2;
    } else if (strcmp(key, "n_samples") == 0) {
        out->n_samples = (uint64_t)number;
    } else if (strcmp(key, "n_bytes") == 0) {
        out->n_bytes = (uint64_t)number;
    }
    return STERNA_OK;
}

static int take_run(struct stn_schema *out, const struct stn_sql *s, sqlite3_stmt *row,
                    unsigned *seen, struct sterna_error *err) {
    (void)seen;
    sqlite3_int64 run = sqlite3_column_int64(row, 0);
    if (run < 0 || run == INT64_MAX) return fail_damaged(s, "run number out of range", err);
    out->last_run = (uint64_t)run;
    return STERNA_OK;
}

static int take_field(struct stn_schema *out, const struct stn_sql *s, sqlite3_stmt *row,
                      unsigned *seen, struct sterna_error *err) {
    (void)seen;
    sqlite3_int64 number = sqlite3_column_int64(row, 0);
    const char *name = stn_sql_text(row, 1);
    enum sterna_kind kind;
    if (number < 0 || number > STN_FIELD_NUMBER_MAX || !is_name(name, STN_FIELD_NAME_MAX))
        return fail_damaged(s, "field number or name out of range", err);
    if (sterna_kind_parse(stn_sql_text(row, 2), &kind) < 0)
        return fail_damaged(s, "a field's kind is unknown", err);
    int rc = add_field(out, name, kind, (uint32_t)number);
    if (rc == STERNA_OK) rc = add_column(out, name, "_bytes", STN_COLUMN_FIELD, STERNA_INT);
    return rc < 0 ? stn_fail_memory(err, s->path) : STERNA_OK;
}

static int take_user_column(struct stn_schema *out, const struct stn_sql *s, sqlite3_stmt *row,
                            unsigned *seen, struct sterna_error *err) {
    (void)seen;
    const char *name = stn_sql_text(row, 0);
    if (!is_name(name, STN_COLUMN_NAME_MAX)) return fail_damaged(s, "a column's name is none", err);
    if (add_column(out, name, "", STN_COLUMN_USER, STERNA_NULL) < 0)
        return stn_fail_memory(err, s->path);
    out->columns[out->n_columns - 1].types = (unsigned)sqlite3_column_int(row, 1);
    return STERNA_OK;
}

typedef int (*take_row)(struct stn_schema *, const struct stn_sql *, sqlite3_stmt *, unsigned *,
                        struct sterna_error *);

static int take_rows(struct stn_schema *out, const struct stn_sql *s, const char *text,
                     take_row take, unsigned *seen, struct sterna_error *err) {
    sqlite3_stmt *row = NULL;
    int rc = stn_sql_prepare(s, &row, text, err);
    while (rc == STERNA_OK && (rc = stn_sql_step(s, row, err)) > 0)
        rc = take(out, s, row, seen, err);
    sqlite3_finalize(row);
    return rc;
}

int stn_schema_load(struct stn_schema *out, const struct stn_sql *s, struct sterna_error *err) {
    unsigned seen = 0;
    int rc = STERNA_OK;
    *out = (struct stn_schema){0};
    for (size_t i = 0; i < STN_COUNT(built_in) && rc == STERNA_OK; i++)
        rc = add_column(out, built_in[i].name, "", STN_COLUMN_BUILT_IN, built_in[i].type);
    if (rc < 0) stn_fail_memory(err, s->path);
    if (rc == STERNA_OK)
        rc = take_rows(out, s, "SELECT key, value FROM info", take_info, &seen, err);
    if (rc == STERNA_OK && seen != 3) rc = fail_damaged(s, "format or data set id is missing", err);
    if (rc == STERNA_OK)
        rc = take_rows(out, s, "SELECT coalesce(max(run), 0) FROM run", take_run, &seen, err);
    if (rc == STERNA_OK)
        rc = take_rows(out, s, "SELECT number, name, kind FROM field ORDER BY number", take_field,
                       &seen, err);
    if (rc == STERNA_OK)
        rc = take_rows(out, s, "SELECT name, types FROM user_column ORDER BY position",
                       take_user_column, &seen, err);
    if (rc < 0) stn_schema_fini(out);
    return rc;
}

void stn_schema_fini(struct stn_schema *schema) {
    free(schema->columns);
    free(schema->fields);
    *schema = (struct stn_schema){0};
}

/* ---- names ---- */

long stn_schema_column(const struct stn_schema *schema, const char *name) {
    for (size_t i = 0; i < schema->n_columns; i++)
        if (strcasecmp(schema->columns[i].name, name) == 0) return (long)i;
    return -1;
}

long stn_schema_field(const struct stn_schema *schema, const char *name) {
    for (size_t i = 0; i < schema->n_fields; i++)
        if (strcasecmp(schema->fields[i].name, name) == 0) return (long)i;
    return -1;
}

static int check_name(const char *name, size_t longest, const char *what,
                      struct sterna_error *err) {
    char shown[128];
    if (is_name(name, longest)) return STERNA_OK;
    return stn_fail(err, STERNA_EINVAL,
                    "'%s' is no %s name: letters, digits and _, no digit first, at most %zu",
                    stn_printable(name, shown, sizeof shown), what, longest);
}

static int alter_table(const struct stn_sql *s, const char *name, const char *type,
                       struct sterna_error *err) {
    char *text = sqlite3_mprintf("ALTER TABLE sample ADD COLUMN \"%w\" %s", name, type);
    int rc = text ? stn_sql_exec(s, text, err) : stn_fail_memory(err, s->path);
    sqlite3_free(text);
    return rc;
}

int stn_schema_check_field_name(const char *name, struct sterna_error *err) {
    return check_name(name, STN_FIELD_NAME_MAX, "field", err);
}

uint32_t stn_schema_next_field(const struct stn_schema *schema) {
    return schema->n_fields ? schema->fields[schema->n_fields - 1].number + 1 : 0;
}

int stn_schema_add_field(struct stn_schema *schema, const struct stn_sql *s, const char *name,
                         enum sterna_kind kind, uint32_t number, struct sterna_error *err) {
    int rc = stn_schema_check_field_name(name, err);
    if (rc < 0) return rc;
    char column[STN_COLUMN_NAME_MAX + 1];
    snprintf(column, sizeof column, "%s_bytes", name);
    if (stn_schema_column(schema, column) >= 0)
        return stn_fail(err, STERNA_EINVAL, "field '%s' needs a column '%s', but there is one",
                        name, column);
    if (number > STN_FIELD_NUMBER_MAX)
        return stn_fail(err, STERNA_EINVAL, "%s: no room for field '%s': a store has at most %d",
                        s->path, name, STN_FIELD_NUMBER_MAX + 1);
    rc = alter_table(s, column, "INTEGER", err);
    if (rc < 0) return rc;
    char *text = sqlite3_mprintf("INSERT INTO field VALUES (%u, %Q, %Q)", number, name,
                                 sterna_kind_name(kind));
    rc = text ? stn_sql_exec(s, text, err) : stn_fail_memory(err, s->path);
    sqlite3_free(text);
    if (rc < 0) return rc;
    rc = add_field(schema, name, kind, number);
    if (rc == STERNA_OK) rc = add_column(schema, column, "", STN_COLUMN_FIELD, STERNA_INT);
    return rc < 0 ? stn_fail_memory(err, s->path) : STERNA_OK;
}

int stn_schema_check_column_name(const char *name, struct sterna_error *err) {
    static const char *const reserved[] = {"rowid", "oid", "_rowid_"}; /* SQLite's own */
    int rc = check_name(name, STN_COLUMN_NAME_MAX, "column", err);
    for (size_t i = 0; i < STN_COUNT(reserved) && rc == STERNA_OK; i++)
        if (strcasecmp(reserved[i], name) == 0)
            rc = stn_fail(err, STERNA_EINVAL, "column name '%s' is reserved", name);
    return rc;
}

int stn_schema_add_column(struct stn_schema *schema, const struct stn_sql *s, const char *name,
                          struct sterna_error *err) {
    int rc = stn_schema_check_column_name(name, err);
    if (rc < 0) return rc;
    rc = alter_table(s, name, "", err);
    if (rc < 0) return rc;
    char *text = sqlite3_mprintf("INSERT INTO user_column (name, types) VALUES (%Q, 0)", name);
    rc = text ? stn_sql_exec(s, text, err) : stn_fail_memory(err, s->path);
    sqlite3_free(text);
    if (rc == STERNA_OK && add_column(schema, name, "", STN_COLUMN_USER, STERNA_NULL) < 0)
        rc = stn_fail_memory(err, s->path);
    return rc;
}

const char *stn_column_type(const struct stn_column *column) {
    static const char *const names[] = {"null", "integer", "real", "text"};
    if (column->kind != STN_COLUMN_USER) return names[column->type];
    switch (column->types >> STERNA_INT) { /* bits: 1 integer, 2 real, 4 text */
    case 0:
        return "null";
    case 1:
        return "integer";
    case 2:
    case 3: /* whole numbers among reals */
        return "real";
    case 4:
        return "text";
    default:
        return "mixed";
    }
}
