/* A run being written: one SQLite transaction on a connection of its own. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "catalog/catalog.h"
#include "catalog/run.h"

/* Another ingest holds the lock for as long as it runs: waiting does not help. A reader holds its
 * lock for one query, and only before the file is in WAL mode. */
#define WRITER_WAIT_MS 2000
#define READER_WAIT_MS 20000

/* ---- begin and end ---- */

static void forget_statements(struct stn_run *run) {
    sqlite3_stmt **all[] = {&run->insert, &run->find, &run->update};
    for (size_t i = 0; i < STN_COUNT(all); i++) {
        sqlite3_finalize(*all[i]);
        *all[i] = NULL;
    }
}

static void run_close(struct stn_run *run) {
    if (!run) return;
    forget_statements(run);
    sqlite3_finalize(run->has);
    sqlite3_finalize(run->class_find);
    sqlite3_finalize(run->class_add);
    sqlite3_finalize(run->touch);
    stn_sql_close(&run->sql);
    stn_schema_fini(&run->schema);
    free(run->source);
    free(run->hints);
    free(run->updates);
    free(run);
}

static int enter_wal(const struct stn_sql *s, struct sterna_error *err) {
    uint64_t began_ns = 0;
    int rc;
    do {
        rc = stn_sql_exec(s, "PRAGMA journal_mode=WAL", err);
    } while (rc < 0 && stn_sql_try_again(&began_ns, READER_WAIT_MS, err));
    return rc;
}

static int lock_file(struct stn_run *run, struct sterna_error *err) {
    const struct stn_sql *s = &run->sql;
    struct sterna_error why = {0};
    int rc = stn_sql_exec(s,
                          "PRAGMA synchronous=FULL; PRAGMA cache_size=-65536;"
                          "PRAGMA temp_store=FILE; PRAGMA secure_delete=OFF;"
                          "PRAGMA wal_autocheckpoint=0",
                          &why);
    if (rc == STERNA_OK) rc = enter_wal(s, &why);
    if (rc == STERNA_EBUSY)
        return stn_fail(err, rc,
                        "%s: a long query of another process is reading it: try again when it has "
                        "ended",
                        s->path);
    if (rc == STERNA_OK) rc = stn_sql_exec(s, "BEGIN IMMEDIATE", &why);
    if (rc == STERNA_EBUSY)
        return stn_fail(err, rc, "another ingest is writing to %s: wait for it to end", s->path);
    if (rc < 0 && err && err->code >= 0) *err = why;
    return rc;
}

static int run_open(struct stn_run *run, struct stn_catalog *c, const char *source,
                    struct sterna_error *err) {
    run->source = strdup(source ? source : "");
    if (!run->source) return stn_fail_memory(err, c->path);
    int rc = stn_sql_open(&run->sql, c->path, STN_SQL_WRITE, WRITER_WAIT_MS, err);
    if (rc == STERNA_OK) rc = stn_schema_check_file(&run->sql, err);
    if (rc == STERNA_OK) rc = lock_file(run, err);
    if (rc == STERNA_OK) rc = stn_schema_load(&run->schema, &run->sql, err);
    if (rc < 0) return rc;
    if (memcmp(run->schema.dataset_id, c->dataset_id, 16) != 0)
        return stn_fail(err, STERNA_EMISMATCH, "%s: was replaced by another data set's", c->path);
    if (run->is_given && run->number > 0 && run->number <= run->schema.last_run)
        return stn_fail(err, STERNA_EINVAL, "%s: run %llu is listed already", c->path,
                        (unsigned long long)run->number);
    if (!run->is_given) run->number = run->schema.last_run + 1;
    run->first_rowid = -1;
    if (c->names) rc = stn_run_note_rows(run, err);
    return rc == STERNA_OK ? stn_catalog_learn(c, &run->schema, err) : rc;
}

static int begin(struct stn_catalog *c, const char *source, const struct stn_run *given,
                 uint64_t *run, struct sterna_error *err) {
    if (c->mode != STN_CATALOG_WRITE)
        return stn_fail(err, STERNA_EREADONLY, "%s: opened for reading only", c->path);
    pthread_mutex_lock(&c->run_mutex);
    struct stn_run *r = NULL;
    int rc = STERNA_OK;
    if (c->run)
        rc = stn_fail(err, STERNA_EBUSY, "%s: this process is writing to it already", c->path);
    else if (!(r = calloc(1, sizeof *r)))
        rc = stn_fail_memory(err, c->path);
    if (r) {
        *r = *given;
        rc = run_open(r, c, source, err);
    }
    if (rc < 0) {
        run_close(r);
    } else {
        c->run = r;
        *run = r->number;
    }
    pthread_mutex_unlock(&c->run_mutex);
    return rc;
}

int stn_catalog_begin(struct stn_catalog *c, const char *source, uint64_t *run,
                      struct sterna_error *err) {
    return begin(c, source, &(struct stn_run){.is_given = 0}, run, err);
}

int stn_catalog_begin_as(struct stn_catalog *c, const char *source, uint64_t run,
                         int64_t finished_s, struct sterna_error *err) {
    const struct stn_run given = {.is_given = 1, .number = run, .finished_s = finished_s};
    return begin(c, source, &given, &run, err);
}

void stn_catalog_share_names(struct stn_catalog *c, struct stn_shared_names *names) {
    c->names = names;
}

static void end_run(struct stn_catalog *c) {
    if (!c->run) return;
    forget_statements(c->run);
    if (!sqlite3_get_autocommit(c->run->sql.db)) stn_sql_exec(&c->run->sql, "ROLLBACK", NULL);
    stn_catalog_tidy(&c->run->sql);
    run_close(c->run);
    c->run = NULL;
}

void stn_catalog_rollback(struct stn_catalog *c) {
    pthread_mutex_lock(&c->run_mutex);
    end_run(c);
    pthread_mutex_unlock(&c->run_mutex);
}

/* After a full disk or the like SQLite has rolled back by itself: what came now would be committed
 * row by row. */
int stn_run_check(const struct stn_catalog *c, struct sterna_error *err) {
    if (!c->run) return stn_fail(err, STERNA_EINVAL, "%s: no run is open", c->path);
    if (!sqlite3_get_autocommit(c->run->sql.db)) return STERNA_OK;
    return stn_fail(err, STERNA_EIO, "%s: the run has failed before and was rolled back", c->path);
}

static int record_run(struct stn_run *run, struct sterna_error *err) {
    const struct stn_sql *s = &run->sql;
    sqlite3_stmt *add = NULL;
    int rc = stn_sql_prepare(s, &add, "INSERT INTO run VALUES (?1, ?2, ?3, ?4)", err);
    if (rc == STERNA_OK) {
        sqlite3_bind_int64(add, 1, (sqlite3_int64)run->number);
        sqlite3_bind_int64(add, 2, (sqlite3_int64)run->n_added);
        stn_sql_bind_text(add, 3, run->source);
        sqlite3_bind_int64(add, 4, run->is_given ? run->finished_s : (sqlite3_int64)time(NULL));
        rc = stn_sql_run(s, add, err);
    }
    sqlite3_finalize(add);
    return rc;
}

static int record_totals(struct stn_run *run, struct sterna_error *err) {
    char text[192];
    snprintf(text, sizeof text,
             "UPDATE info SET value = %llu WHERE key = 'n_samples';"
             "UPDATE info SET value = %llu WHERE key = 'n_bytes'",
             (unsigned long long)run->schema.n_samples, (unsigned long long)run->schema.n_bytes);
    int rc = stn_sql_exec(&run->sql, text, err);
    for (size_t i = 0; i < run->schema.n_columns && rc == STERNA_OK; i++) {
        const struct stn_column *column = &run->schema.columns[i];
        if (column->kind != STN_COLUMN_USER) continue;
        char *set = sqlite3_mprintf("UPDATE user_column SET types = %u WHERE name = %Q",
                                    column->types, column->name);
        rc = set ? stn_sql_exec(&run->sql, set, err) : stn_fail_memory(err, run->sql.path);
        sqlite3_free(set);
    }
    return rc;
}

int stn_catalog_commit(struct stn_catalog *c, uint64_t *run, struct sterna_error *err) {
    *run = 0;
    pthread_mutex_lock(&c->run_mutex);
    int rc = stn_run_check(c, err);
    struct stn_run *r = c->run;
    if (rc == STERNA_OK && (r->n_added + r->n_changed > 0 || r->is_given)) {
        if (r->number > 0) rc = record_run(r, err);
        if (rc == STERNA_OK) rc = record_totals(r, err);
        if (rc == STERNA_OK) rc = stn_sql_exec(&r->sql, "COMMIT", err);
        if (rc == STERNA_OK) {
            *run = r->number;
            stn_catalog_learn(c, &r->schema, NULL); /* without memory: at the next look */
        }
    }
    end_run(c);
    pthread_mutex_unlock(&c->run_mutex);
    return rc;
}

/* ---- declarations ---- */

static int add_field(struct stn_run *run, struct stn_shared_names *names, const char *name,
                     enum sterna_kind kind, uint32_t *number, struct sterna_error *err) {
    int rc = stn_schema_check_field_name(name, err); /* before others hear of it */
    *number = stn_schema_next_field(&run->schema);
    if (rc == STERNA_OK && names) rc = names->claim_field(names, name, kind, number, err);
    if (rc < 0) return rc;
    forget_statements(run);
    return stn_schema_add_field(&run->schema, &run->sql, name, kind, *number, err);
}

static int declare_field(struct stn_run *run, struct stn_shared_names *names, const char *name,
                         enum sterna_kind kind, uint32_t *number, struct sterna_error *err) {
    long known = stn_schema_field(&run->schema, name);
    if (known < 0) return add_field(run, names, name, kind, number, err);
    const struct stn_schema_field *field = &run->schema.fields[known];
    if (strcmp(field->name, name) != 0)
        return stn_fail(err, STERNA_EINVAL, "field '%s' is there already, written '%s'", name,
                        field->name);
    if (field->kind != kind)
        return stn_fail(err, STERNA_EMISMATCH, "%s: field '%s' holds %s, not %s", run->sql.path,
                        name, sterna_kind_name(field->kind), sterna_kind_name(kind));
    *number = field->number;
    return STERNA_OK;
}

int stn_catalog_declare_field(struct stn_catalog *c, const char *name, enum sterna_kind kind,
                              uint32_t *number, struct sterna_error *err) {
    pthread_mutex_lock(&c->run_mutex);
    int rc = stn_run_check(c, err);
    if (rc == STERNA_OK) rc = declare_field(c->run, c->names, name, kind, number, err);
    pthread_mutex_unlock(&c->run_mutex);
    return rc;
}

static int declare_column(struct stn_run *run, struct stn_shared_names *names, const char *name,
                          struct sterna_error *err) {
    long known = stn_schema_column(&run->schema, name);
    if (known < 0) {
        int rc = stn_schema_check_column_name(name, err);
        if (rc == STERNA_OK && names) rc = names->claim_column(names, name, err);
        if (rc < 0) return rc;
        forget_statements(run);
        return stn_schema_add_column(&run->schema, &run->sql, name, err);
    }
    const struct stn_column *column = &run->schema.columns[known];
    if (column->kind != STN_COLUMN_USER)
        return stn_fail(err, STERNA_EINVAL, "column name '%s' is reserved", name);
    if (strcmp(column->name, name) != 0)
        return stn_fail(err, STERNA_EINVAL, "column '%s' is there already, written '%s'", name,
                        column->name);
    return STERNA_OK;
}

int stn_catalog_declare_column(struct stn_catalog *c, const char *name, struct sterna_error *err) {
    pthread_mutex_lock(&c->run_mutex);
    int rc = stn_run_check(c, err);
    if (rc == STERNA_OK) rc = declare_column(c->run, c->names, name, err);
    pthread_mutex_unlock(&c->run_mutex);
    return rc;
}

/* 1 and its label, 0: not known; or an error. */
static int find_class(struct stn_run *run, const char *name, int64_t *label,
                      struct sterna_error *err) {
    const struct stn_sql *s = &run->sql;
    int rc = STERNA_OK;
    if (!run->class_find)
        rc = stn_sql_prepare(s, &run->class_find, "SELECT label FROM class WHERE name = ?1", err);
    if (rc < 0) return rc;
    stn_sql_bind_text(run->class_find, 1, name);
    rc = stn_sql_step(s, run->class_find, err);
    if (rc > 0) {
        *label = sqlite3_column_int64(run->class_find, 0);
        sqlite3_reset(run->class_find);
    }
    return rc;
}

/* With the label given, or (NULL) the next one. */
static int add_class(struct stn_run *run, const char *name, const int64_t *label,
                     struct sterna_error *err) {
    const struct stn_sql *s = &run->sql;
    int rc = STERNA_OK;
    if (!run->class_add)
        rc = stn_sql_prepare(s, &run->class_add,
                             "INSERT INTO class SELECT coalesce(?2, max(label) + 1, 0), ?1"
                             " FROM class",
                             err);
    if (rc < 0) return rc;
    stn_sql_bind_text(run->class_add, 1, name);
    if (label)
        sqlite3_bind_int64(run->class_add, 2, *label);
    else
        sqlite3_bind_null(run->class_add, 2);
    return stn_sql_run(s, run->class_add, err);
}

/* The names that the catalogue does not know are asked for together. */
static int claim_classes(struct stn_run *run, struct stn_shared_names *names,
                         const char *const *all, size_t n, struct sterna_error *err) {
    const char **unknown = stn_array(n, sizeof *unknown);
    int64_t *labels = stn_array(n, sizeof *labels), label;
    size_t n_unknown = 0;
    int rc = unknown && labels ? STERNA_OK : stn_fail_memory(err, "the names of classes");
    for (size_t i = 0; i < n && rc == STERNA_OK; i++) {
        rc = find_class(run, all[i], &label, err);
        if (rc == 0) unknown[n_unknown++] = all[i];
        if (rc > 0) rc = STERNA_OK;
    }
    if (rc == STERNA_OK && n_unknown > 0)
        rc = names->claim_classes(names, unknown, n_unknown, labels, err);
    for (size_t i = 0; i < n_unknown && rc == STERNA_OK; i++) {
        rc = find_class(run, unknown[i], &label, err); /* it may stand twice in the list */
        rc = rc == 0 ? add_class(run, unknown[i], &labels[i], err) : STN_MIN(rc, 0);
    }
    free(unknown);
    free(labels);
    return rc;
}

static int declare_class(struct stn_run *run, const char *name, int64_t *label,
                         struct sterna_error *err) {
    int rc = find_class(run, name, label, err);
    if (rc != 0) return STN_MIN(rc, 0);
    rc = add_class(run, name, NULL, err);
    *label = sqlite3_last_insert_rowid(run->sql.db);
    return rc;
}

int stn_catalog_declare_classes(struct stn_catalog *c, const char *const *names, size_t n,
                                int64_t *labels, struct sterna_error *err) {
    pthread_mutex_lock(&c->run_mutex);
    int rc = stn_run_check(c, err);
    if (rc == STERNA_OK && c->names && n > 0) rc = claim_classes(c->run, c->names, names, n, err);
    for (size_t i = 0; i < n && rc == STERNA_OK; i++)
        rc = declare_class(c->run, names[i], &labels[i], err);
    pthread_mutex_unlock(&c->run_mutex);
    return rc;
}

int stn_catalog_declare_class(struct stn_catalog *c, const char *name, int64_t *label,
                              struct sterna_error *err) {
    return stn_catalog_declare_classes(c, &name, 1, label, err);
}
