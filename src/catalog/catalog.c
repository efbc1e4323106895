/* The catalogue file: made, opened, and asked for what it holds. */
#include "catalog/catalog.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "catalog/handle.h"

/* ---- making one ---- */

static int write_tables(const char *path, const uint8_t dataset_id[16], struct sterna_error *err) {
    struct stn_sql s;
    int rc = stn_sql_open(&s, path, STN_SQL_CREATE, 0, err);
    /* Nobody knows the file yet, so it needs no journal: half-made, it is removed. */
    if (rc == STERNA_OK)
        rc = stn_sql_exec(&s, "PRAGMA journal_mode=OFF; PRAGMA synchronous=FULL; BEGIN", err);
    if (rc == STERNA_OK) rc = stn_schema_create(&s, dataset_id, err);
    if (rc == STERNA_OK) rc = stn_sql_exec(&s, "COMMIT", err);
    stn_sql_close(&s);
    return rc;
}

/* The whole file gets its name at once, and never another one's. */
static int give_name(const char *temporary, const char *path, struct sterna_error *err) {
    int failed = link(temporary, path) < 0;
    if (failed && errno != EEXIST) /* a file system without links */
        failed = renameat2(AT_FDCWD, temporary, AT_FDCWD, path, RENAME_NOREPLACE) < 0;
    if (failed && errno == EEXIST) return STERNA_OK;
    if (failed) return stn_fail_sys(err, STERNA_EIO, "%s: cannot be made", path);
    return stn_sync_directory_of(path, err);
}

int stn_catalog_create(const char *path, const uint8_t dataset_id[16], struct sterna_error *err) {
    size_t bytes = strlen(path) + 16;
    char *temporary = malloc(bytes);
    if (!temporary) return stn_fail_memory(err, path);
    snprintf(temporary, bytes, "%s.tmp-XXXXXX", path);
    int rc, fd = mkostemp(temporary, O_CLOEXEC);
    if (fd < 0) {
        int code = errno == EACCES || errno == EROFS ? STERNA_EREADONLY : STERNA_EIO;
        rc = stn_fail_sys(err, code, "%s: cannot be made", path);
    } else {
        rc = fchmod(fd, 0644) < 0 ? stn_fail_sys(err, STERNA_EIO, "%s: cannot be made", path)
                                  : STERNA_OK;
        close(fd);
        if (rc == STERNA_OK) rc = write_tables(temporary, dataset_id, err);
        if (rc == STERNA_OK) rc = give_name(temporary, path, err);
        unlink(temporary);
    }
    free(temporary);
    return rc;
}

/* ---- opening ---- */

int stn_catalog_snapshot(struct stn_catalog *c, struct stn_snapshot *out,
                         struct sterna_error *err) {
    int rc = stn_snapshot_open(out, c->path, c->mode, c->dataset_id, err);
    if (rc == STERNA_OK) out->lengths_unknown = c->lengths_unknown;
    return rc;
}

void stn_catalog_lengths_are_unknown(struct stn_catalog *c) { c->lengths_unknown = 1; }

static int check_writable(const char *path, struct sterna_error *err) {
    char *dir = strdup(path);
    if (!dir) return stn_fail_memory(err, path);
    *strrchr(dir, '/') = '\0'; /* the path is absolute */
    int writable = access(path, W_OK) == 0 && access(dir[0] ? dir : "/", W_OK) == 0;
    free(dir);
    if (writable) return STERNA_OK;
    return stn_fail_sys(err, STERNA_EREADONLY, "%s: cannot be written by this user", path);
}

/* *is_wal: a writer is at work, or one has left before the file was single again. */
static int first_look(struct stn_catalog *c, int *is_wal, struct sterna_error *err) {
    struct stn_snapshot s;
    int rc = stn_snapshot_open(&s, c->path, c->mode, NULL, err);
    if (rc < 0) return rc;
    memcpy(c->dataset_id, s.schema.dataset_id, 16);
    rc = stn_catalog_learn(c, &s.schema, err);
    *is_wal = stn_schema_is_wal(&s.sql);
    stn_snapshot_close(&s);
    return rc;
}

int stn_catalog_open(struct stn_catalog **out, const char *path, enum stn_catalog_mode mode,
                     struct sterna_error *err) {
    *out = NULL;
    struct stn_catalog *c = calloc(1, sizeof *c);
    if (!c) return stn_fail_memory(err, path);
    pthread_mutex_init(&c->run_mutex, NULL);
    pthread_mutex_init(&c->fields_mutex, NULL);
    c->mode = mode;
    int rc = STERNA_OK, is_wal = 0;
    c->path = realpath(path, NULL);
    if (!c->path) {
        int missing = errno == ENOENT || errno == ENOTDIR;
        rc = errno == ENOMEM
                 ? stn_fail_memory(err, path)
                 : stn_fail_sys(err, missing ? STERNA_ENOTFOUND : STERNA_EIO, "%s", path);
    }
    if (rc == STERNA_OK) rc = first_look(c, &is_wal, err);
    if (rc == STERNA_OK && mode == STN_CATALOG_WRITE) rc = check_writable(c->path, err);
    if (rc < 0) {
        stn_catalog_close(&c);
        return rc;
    }
    if (mode != STN_CATALOG_READ_IMMUTABLE && (is_wal || stn_catalog_has_shm(c->path)))
        stn_catalog_recover(c->path);
    *out = c;
    return STERNA_OK;
}

void stn_catalog_close(struct stn_catalog **catalog) {
    struct stn_catalog *c = *catalog;
    if (!c) return;
    stn_catalog_rollback(c);
    for (size_t i = 0; i < c->n_fields; i++) free((char *)(uintptr_t)c->fields[i].name);
    free(c->fields);
    free(c->path);
    pthread_mutex_destroy(&c->run_mutex);
    pthread_mutex_destroy(&c->fields_mutex);
    free(c);
    *catalog = NULL;
}

/* ---- what it holds ---- */

const uint8_t *stn_catalog_dataset_id(const struct stn_catalog *c) { return c->dataset_id; }

static int learn_field(struct stn_catalog *c, const struct stn_schema_field *field) {
    char *name = strdup(field->name); /* stays where it is as long as the catalogue is open */
    int rc = name
                 ? stn_grow((void **)&c->fields, &c->fields_cap, c->n_fields + 1, sizeof *c->fields)
                 : STERNA_ENOMEM;
    if (rc < 0) {
        free(name);
        return rc;
    }
    c->fields[c->n_fields++] =
        (struct sterna_field){.name = name, .kind = field->kind, .number = field->number};
    return STERNA_OK;
}

int stn_catalog_learn(struct stn_catalog *c, const struct stn_schema *schema,
                      struct sterna_error *err) {
    int rc = STERNA_OK;
    pthread_mutex_lock(&c->fields_mutex);
    while (rc == STERNA_OK && c->n_fields < schema->n_fields)
        rc = learn_field(c, &schema->fields[c->n_fields]);
    pthread_mutex_unlock(&c->fields_mutex);
    return rc < 0 ? stn_fail_memory(err, c->path) : STERNA_OK;
}

static int count_rows(const struct stn_sql *s, const char *text, uint32_t *out,
                      struct sterna_error *err) {
    sqlite3_stmt *count = NULL;
    int rc = stn_sql_prepare(s, &count, text, err);
    if (rc == STERNA_OK) rc = stn_sql_step(s, count, err);
    if (rc > 0) *out = (uint32_t)sqlite3_column_int64(count, 0);
    sqlite3_finalize(count);
    return rc < 0 ? rc : STERNA_OK;
}

int stn_catalog_info(struct stn_catalog *c, struct sterna_store_info *out,
                     struct sterna_error *err) {
    struct stn_snapshot s;
    int rc = stn_catalog_snapshot(c, &s, err);
    if (rc < 0) return rc;
    out->format_version = STN_CATALOG_VERSION;
    memcpy(out->dataset_id, s.schema.dataset_id, 16);
    out->n_samples = s.schema.n_samples;
    out->n_bytes = s.schema.n_bytes;
    out->last_run = s.schema.last_run;
    out->n_fields = (uint32_t)s.schema.n_fields;
    out->n_columns = (uint32_t)s.schema.n_columns;
    rc = count_rows(&s.sql, "SELECT count(*) FROM class", &out->n_classes, err);
    if (rc == STERNA_OK) rc = stn_catalog_learn(c, &s.schema, err);
    stn_snapshot_close(&s);
    return rc;
}

int stn_catalog_field(struct stn_catalog *c, uint32_t i, struct sterna_field *out) {
    pthread_mutex_lock(&c->fields_mutex);
    int known = i < c->n_fields;
    if (known) *out = c->fields[i];
    pthread_mutex_unlock(&c->fields_mutex);
    return known ? STERNA_OK : STERNA_ENOTFOUND;
}

int stn_catalog_classes(struct stn_catalog *c, int (*each)(void *, int64_t, const char *, uint64_t),
                        void *ctx, struct sterna_error *err) {
    struct stn_snapshot s;
    sqlite3_stmt *row = NULL;
    int rc = stn_catalog_snapshot(c, &s, err);
    if (rc < 0) return rc;
    rc = stn_sql_prepare(&s.sql, &row,
                         "SELECT c.label, c.name, coalesce(n.n, 0) FROM class AS c LEFT JOIN"
                         " (SELECT label, count(*) AS n FROM sample GROUP BY label) AS n"
                         " ON n.label = c.label ORDER BY c.label",
                         err);
    while (rc == STERNA_OK && (rc = stn_sql_step(&s.sql, row, err)) > 0)
        rc = each(ctx, sqlite3_column_int64(row, 0), stn_sql_text(row, 1),
                  (uint64_t)sqlite3_column_int64(row, 2));
    sqlite3_finalize(row);
    stn_snapshot_close(&s);
    return rc;
}

int stn_catalog_columns(struct stn_catalog *c, int (*each)(void *, const char *, const char *),
                        void *ctx, struct sterna_error *err) {
    struct stn_snapshot s;
    int rc = stn_catalog_snapshot(c, &s, err);
    for (size_t i = 0; rc == STERNA_OK && i < s.schema.n_columns; i++)
        rc = each(ctx, s.schema.columns[i].name, stn_column_type(&s.schema.columns[i]));
    stn_snapshot_close(&s);
    return rc;
}

int stn_catalog_runs(struct stn_catalog *c, int (*each)(void *, const struct sterna_run *),
                     void *ctx, struct sterna_error *err) {
    struct stn_snapshot s;
    sqlite3_stmt *row = NULL;
    int rc = stn_catalog_snapshot(c, &s, err);
    if (rc < 0) return rc;
    rc = stn_sql_prepare(&s.sql, &row,
                         "SELECT run, n_samples, source, finished_s FROM run ORDER BY run", err);
    while (rc == STERNA_OK && (rc = stn_sql_step(&s.sql, row, err)) > 0) {
        const struct sterna_run run = {.run = (uint64_t)sqlite3_column_int64(row, 0),
                                       .n_samples = (uint64_t)sqlite3_column_int64(row, 1),
                                       .finished_s = sqlite3_column_int64(row, 3),
                                       .source = stn_sql_text(row, 2)};
        rc = each(ctx, &run);
    }
    sqlite3_finalize(row);
    stn_snapshot_close(&s);
    return rc;
}
