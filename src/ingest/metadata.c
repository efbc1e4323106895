/* Owns the temporary database: row(path, cells), where cells are the record's fields as the parser
 * packs them, one NUL-terminated text after another; types are known when all rows are in. */
#include "ingest/metadata.h"

#include <errno.h>
#include <locale.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>

#include "ingest/csv.h"

#define COLUMNS_MAX 1500 /* a SQLite table has 2000 at most, and the catalogue some of its own */

struct column {
    char *name;
    int any, all_integer, all_real;
};

struct stn_metadata {
    char *file;
    struct column *columns; /* as in the file, the path's too */
    size_t n_columns, key, n_rows;
    long class_at; /* in the file; -1: none */
    locale_t c_locale;
    pthread_mutex_t lock; /* guards what follows */
    sqlite3 *db;
    sqlite3_stmt *insert, *insert_class, *find;
};

static int fail_db(struct stn_metadata *m, struct sterna_error *err) {
    int code = sqlite3_errcode(m->db);
    if (code == SQLITE_NOMEM) return stn_fail_memory(err, m->file);
    errno = code == SQLITE_FULL ? ENOSPC : sqlite3_system_errno(m->db);
    return stn_fail_sys(err, STERNA_EIO, "the temporary database for %s failed (%s)", m->file,
                        sqlite3_errmsg(m->db));
}

/* ---- types ---- */

static const char *skip_digits(const char *s) {
    while (*s >= '0' && *s <= '9') s++;
    return s;
}

/* [-]digits[.digits][e[+-]digits] without a needless zero in front; *is_integer: digits only. */
static int is_number(const char *s, int *is_integer) {
    if (*s == '-') s++;
    const char *whole = s, *end = skip_digits(s);
    *is_integer = *end == '\0';
    if (whole[0] == '0' && end - whole > 1) return 0;
    int digits = end > whole;
    if (*end == '.') {
        s = end + 1;
        end = skip_digits(s);
        digits |= end > s;
    }
    if (!digits) return 0;
    if (*end == 'e' || *end == 'E') {
        s = end + 1 + (end[1] == '+' || end[1] == '-');
        end = skip_digits(s);
        if (end == s) return 0;
    }
    return *end == '\0';
}

/* What one value leaves of the types its column may have. */
static void narrow(struct column *column, const char *value) {
    int is_integer;
    if (!*value) return;
    column->any = 1;
    if (!is_number(value, &is_integer)) {
        column->all_integer = column->all_real = 0;
    } else if (is_integer) {
        errno = 0;
        (void)strtoll(value, NULL, 10);
        if (errno == ERANGE) column->all_integer = column->all_real = 0; /* keeps its digits */
        if (strcmp(value, "-0") == 0) column->all_integer = 0;
    } else {
        column->all_integer = 0;
    }
}

static enum sterna_type type_of(const struct column *c) {
    if (!c->any) return STERNA_NULL;
    return c->all_integer ? STERNA_INT : c->all_real ? STERNA_REAL : STERNA_TEXT;
}

static struct sterna_value value_of(const struct stn_metadata *m, const struct column *c,
                                    const char *text) {
    struct sterna_value v = {.type = *text ? type_of(c) : STERNA_NULL};
    if (v.type == STERNA_INT) v.i = strtoll(text, NULL, 10);
    if (v.type == STERNA_REAL) v.r = strtod_l(text, NULL, m->c_locale);
    if (v.type == STERNA_TEXT) v.text = text, v.text_bytes = strlen(text);
    return v;
}

/* ---- loading ---- */

static int open_database(struct stn_metadata *m, struct sterna_error *err) {
    static const char schema[] =
        "PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF; PRAGMA locking_mode=EXCLUSIVE;"
        "PRAGMA cache_size=-8192; CREATE TABLE row(path TEXT PRIMARY KEY, cells BLOB);"
        "CREATE TABLE class(name TEXT PRIMARY KEY) WITHOUT ROWID; BEGIN";
    /* An empty name: a private file in the temporary directory, gone when it is closed. */
    int rc = sqlite3_open_v2("", &m->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, NULL);
    if (!m->db) return stn_fail_memory(err, m->file);
    if (rc == SQLITE_OK) rc = sqlite3_exec(m->db, schema, NULL, NULL, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_prepare_v2(m->db, "INSERT INTO row VALUES(?1, ?2)", -1, &m->insert, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_prepare_v2(m->db, "INSERT OR IGNORE INTO class VALUES(?1)", -1,
                                &m->insert_class, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_prepare_v2(m->db, "SELECT cells FROM row WHERE path=?1", -1, &m->find, NULL);
    return rc == SQLITE_OK ? STERNA_OK : fail_db(m, err);
}

static size_t find_in_header(const struct stn_csv *csv, const char *name) {
    size_t i = 0;
    while (i < csv->n_fields && sqlite3_stricmp(csv->fields[i], name) != 0) i++;
    return i;
}

static int read_header(struct stn_metadata *m, struct stn_csv *csv, struct sterna_error *err) {
    static const char *const keys[] = {"path", "file_name", "filename", "file", "image"};
    int rc = stn_csv_next(csv, err);
    if (rc == STERNA_END)
        return stn_fail(err, STERNA_EINVAL, "%s: is empty; its first line must name the columns",
                        m->file);
    if (rc < 0) return rc;
    if (csv->n_fields > COLUMNS_MAX)
        return stn_fail(err, STERNA_EINVAL, "%s: has %zu columns; %d is the most", m->file,
                        csv->n_fields, COLUMNS_MAX);
    m->columns = stn_array(csv->n_fields, sizeof *m->columns);
    if (!m->columns) return stn_fail_memory(err, m->file);
    for (size_t i = 0; i < csv->n_fields; i++) {
        if (find_in_header(csv, csv->fields[i]) < i)
            return stn_fail(err, STERNA_EINVAL, "%s, line %llu: column \"%s\" is there twice",
                            m->file, (unsigned long long)csv->line, csv->fields[i]);
        m->columns[i] = (struct column){strdup(csv->fields[i]), 0, 1, 1};
        if (!m->columns[i].name) return stn_fail_memory(err, m->file);
        m->n_columns++;
    }
    for (size_t i = STN_COUNT(keys); i-- > 0;)
        if (find_in_header(csv, keys[i]) < m->n_columns) m->key = find_in_header(csv, keys[i]);
    size_t class_at = find_in_header(csv, "class");
    m->class_at = class_at < m->n_columns && class_at != m->key ? (long)class_at : -1;
    return STERNA_OK;
}

static int run_insert(sqlite3_stmt *insert, const char *text, const struct stn_csv *csv) {
    int rc = sqlite3_bind_text(insert, 1, text, -1, SQLITE_STATIC);
    if (rc == SQLITE_OK && csv)
        rc = sqlite3_bind_blob64(insert, 2, csv->text, csv->text_bytes, SQLITE_STATIC);
    if (rc == SQLITE_OK) sqlite3_step(insert);
    int stepped = sqlite3_reset(insert);
    sqlite3_clear_bindings(insert);
    return rc == SQLITE_OK ? stepped : rc;
}

static int add_row(struct stn_metadata *m, const struct stn_csv *csv, struct sterna_error *err) {
    unsigned long long line = csv->line;
    if (csv->n_fields != m->n_columns)
        return stn_fail(err, STERNA_EINVAL, "%s, line %llu: %zu values for %zu columns", m->file,
                        line, csv->n_fields, m->n_columns);
    for (size_t i = 0; i < m->n_columns; i++) narrow(&m->columns[i], csv->fields[i]);
    const char *path = csv->fields[m->key];
    while (strncmp(path, "./", 2) == 0) path += 2;
    if (!*path)
        return stn_fail(err, STERNA_EINVAL, "%s, line %llu: column \"%s\" is empty", m->file, line,
                        m->columns[m->key].name);
    int rc = run_insert(m->insert, path, csv);
    if (rc == SQLITE_CONSTRAINT)
        return stn_fail(err, STERNA_EINVAL, "%s, line %llu: \"%s\" is there twice", m->file, line,
                        path);
    const char *class_name = m->class_at < 0 ? "" : csv->fields[m->class_at];
    if (rc == SQLITE_OK && *class_name) rc = run_insert(m->insert_class, class_name, NULL);
    if (rc != SQLITE_OK) return fail_db(m, err);
    m->n_rows++;
    return STERNA_OK;
}

static int load(struct stn_metadata *m, struct sterna_error *err) {
    struct stn_csv csv;
    int rc = stn_csv_open(&csv, m->file, err);
    if (rc == STERNA_OK) rc = read_header(m, &csv, err);
    if (rc == STERNA_OK) rc = open_database(m, err);
    while (rc == STERNA_OK && (rc = stn_csv_next(&csv, err)) == STERNA_OK)
        rc = add_row(m, &csv, err);
    stn_csv_close(&csv);
    if (rc == STERNA_END)
        rc = sqlite3_exec(m->db, "COMMIT", NULL, NULL, NULL) ? fail_db(m, err) : STERNA_OK;
    return rc;
}

int stn_metadata_open(struct stn_metadata **out, const char *file, struct sterna_error *err) {
    struct stn_metadata *m = *out = calloc(1, sizeof *m);
    if (!m) return stn_fail_memory(err, file);
    pthread_mutex_init(&m->lock, NULL);
    m->file = strdup(file);
    m->c_locale = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    int rc = m->file && m->c_locale ? load(m, err) : stn_fail_memory(err, file);
    if (rc < 0) stn_metadata_close(out);
    return rc;
}

void stn_metadata_close(struct stn_metadata **out) {
    struct stn_metadata *m = *out;
    if (!m) return;
    sqlite3_finalize(m->insert);
    sqlite3_finalize(m->insert_class);
    sqlite3_finalize(m->find);
    sqlite3_close(m->db);
    for (size_t i = 0; i < m->n_columns; i++) free(m->columns[i].name);
    free(m->columns);
    if (m->c_locale) freelocale(m->c_locale);
    pthread_mutex_destroy(&m->lock);
    free(m->file);
    free(m);
    *out = NULL;
}

/* ---- asking ---- */

static size_t in_file(const struct stn_metadata *m, size_t i) { return i + (i >= m->key); }

size_t stn_metadata_n_columns(const struct stn_metadata *m) { return m->n_columns - 1; }

struct stn_metadata_column stn_metadata_column(const struct stn_metadata *m, size_t i) {
    const struct column *c = &m->columns[in_file(m, i)];
    return (struct stn_metadata_column){c->name, type_of(c)};
}

long stn_metadata_find_column(const struct stn_metadata *m, const char *name) {
    for (size_t i = 0; i < stn_metadata_n_columns(m); i++)
        if (sqlite3_stricmp(m->columns[in_file(m, i)].name, name) == 0) return (long)i;
    return -1;
}

uint64_t stn_metadata_n_rows(const struct stn_metadata *m) { return m->n_rows; }

/* Copies the row that `find` stands on. */
static int copy_row(struct stn_metadata *m, struct stn_metadata_row *row) {
    size_t bytes = (size_t)sqlite3_column_bytes(m->find, 0);
    const void *cells = sqlite3_column_blob(m->find, 0);
    if (!row->values) row->values = stn_array(m->n_columns, sizeof *row->values);
    if (!cells || !row->values || stn_grow((void **)&row->text, &row->text_cap, bytes, 1) < 0)
        return STERNA_ENOMEM;
    memcpy(row->text, cells, bytes);
    const char *at = row->text;
    for (size_t i = 0, column = 0; i < m->n_columns; i++, at += strlen(at) + 1)
        if (i != m->key) row->values[column++] = value_of(m, &m->columns[i], at);
    return 1;
}

int stn_metadata_find(struct stn_metadata *m, const char *path, size_t path_bytes,
                      struct stn_metadata_row *row, struct sterna_error *err) {
    pthread_mutex_lock(&m->lock);
    int rc = 0,
        step = sqlite3_bind_text64(m->find, 1, path, path_bytes, SQLITE_STATIC, SQLITE_UTF8);
    if (step == SQLITE_OK) step = sqlite3_step(m->find);
    if (step == SQLITE_ROW)
        rc = copy_row(m, row);
    else if (step != SQLITE_DONE)
        rc = fail_db(m, err);
    sqlite3_reset(m->find);
    sqlite3_clear_bindings(m->find);
    pthread_mutex_unlock(&m->lock);
    return rc == STERNA_ENOMEM ? stn_fail_memory(err, m->file) : rc;
}

void stn_metadata_row_fini(struct stn_metadata_row *row) {
    free(row->values);
    free(row->text);
    *row = (struct stn_metadata_row){0};
}

int stn_metadata_classes(struct stn_metadata *m, int (*each)(void *ctx, const char *name),
                         void *ctx, struct sterna_error *err) {
    sqlite3_stmt *all = NULL;
    pthread_mutex_lock(&m->lock);
    int rc = STERNA_OK, step = sqlite3_prepare_v2(m->db, "SELECT name FROM class", -1, &all, NULL);
    while (rc == STERNA_OK && (step == SQLITE_OK || step == SQLITE_ROW)) {
        step = sqlite3_step(all);
        if (step != SQLITE_ROW) break;
        const char *name = (const char *)sqlite3_column_text(all, 0);
        rc = name ? each(ctx, name) : stn_fail_memory(err, m->file);
    }
    if (rc == STERNA_OK && step != SQLITE_DONE) rc = fail_db(m, err);
    sqlite3_finalize(all);
    pthread_mutex_unlock(&m->lock);
    return rc;
}
