#include "catalog/lookup.h"

#include <string.h>

#include "catalog/handle.h"

enum { AT_LABEL, AT_LENGTHS };

struct stn_lookup {
    struct stn_catalog *catalog;
    char *select;
    uint32_t n_fields;
    pthread_mutex_t lock;
    /* under the lock */
    int open;
    struct stn_snapshot snapshot;
    sqlite3_stmt *statement;
};

static char *write_select(const char *const *fields, uint32_t n_fields) {
    sqlite3_str *text = sqlite3_str_new(NULL);
    sqlite3_str_appendall(text, "SELECT label");
    for (uint32_t f = 0; f < n_fields; f++) sqlite3_str_appendf(text, ", \"%w_bytes\"", fields[f]);
    sqlite3_str_appendall(text, " FROM sample WHERE id = ?1");
    return sqlite3_str_finish(text);
}

int stn_lookup_open(struct stn_lookup **out, struct stn_catalog *c, const char *const *fields,
                    uint32_t n_fields, struct sterna_error *err) {
    struct stn_lookup *k = *out = stn_array(1, sizeof *k);
    if (!k) return stn_fail_memory(err, "a look-up");
    pthread_mutex_init(&k->lock, NULL);
    k->catalog = c;
    k->n_fields = n_fields;
    k->select = write_select(fields, n_fields);
    if (k->select) return STERNA_OK;
    stn_lookup_close(out);
    return stn_fail_memory(err, "a look-up");
}

static void close_snapshot(struct stn_lookup *k) {
    if (!k->open) return;
    sqlite3_finalize(k->statement);
    k->statement = NULL;
    stn_snapshot_close(&k->snapshot);
    k->open = 0;
}

void stn_lookup_close(struct stn_lookup **lookup) {
    struct stn_lookup *k = *lookup;
    *lookup = NULL;
    if (!k) return;
    close_snapshot(k);
    sqlite3_free(k->select);
    pthread_mutex_destroy(&k->lock);
    free(k);
}

/* Opened anew, or once more a moment of the file that has been open. */
static int begin(struct stn_lookup *k, struct sterna_error *err) {
    if (k->open) return stn_sql_exec(&k->snapshot.sql, "BEGIN", err);
    int rc = stn_catalog_snapshot(k->catalog, &k->snapshot, err);
    if (rc < 0) return rc;
    k->open = 1;
    return stn_sql_prepare(&k->snapshot.sql, &k->statement, k->select, err);
}

/* Only a file that nobody writes can stay open: a reader, though idle, keeps a writer from making
 * it a single file again. One that was taken for unchanging may have changed the next time. */
static void end(struct stn_lookup *k, int rc) {
    int keep = rc == STERNA_OK && !k->snapshot.unlocked && !stn_schema_is_wal(&k->snapshot.sql) &&
               stn_sql_exec(&k->snapshot.sql, "COMMIT", NULL) == STERNA_OK;
    if (!keep) close_snapshot(k);
}

static int take_row(struct stn_lookup *k, int64_t *label, uint32_t *lengths,
                    struct sterna_error *err) {
    sqlite3_stmt *row = k->statement;
    if (sqlite3_column_type(row, AT_LABEL) != SQLITE_NULL)
        *label = sqlite3_column_int64(row, AT_LABEL);
    for (uint32_t f = 0; f < k->n_fields; f++) {
        int at = AT_LENGTHS + (int)f, null = sqlite3_column_type(row, at) == SQLITE_NULL;
        sqlite3_int64 bytes = sqlite3_column_int64(row, at);
        if (bytes < 0 || bytes >= STERNA_LENGTH_UNKNOWN)
            return stn_fail(err, STERNA_EFORMAT,
                            "%s: damaged catalogue: a field's length is out of range",
                            k->snapshot.sql.path);
        if (!null)
            lengths[f] = (uint32_t)bytes;
        else if (!k->snapshot.lengths_unknown)
            lengths[f] = STERNA_LENGTH_NULL;
    }
    return STERNA_OK;
}

static int look_up(struct stn_lookup *k, const uint8_t (*ids)[16], size_t n, int64_t *labels,
                   uint32_t *lengths, struct sterna_error *err) {
    int rc = begin(k, err);
    for (size_t i = 0; i < n && rc == STERNA_OK; i++) {
        uint32_t *bytes = lengths + i * k->n_fields;
        labels[i] = STERNA_LABEL_NONE;
        for (uint32_t f = 0; f < k->n_fields; f++) bytes[f] = STERNA_LENGTH_UNKNOWN;
        sqlite3_bind_blob(k->statement, 1, ids[i], 16, SQLITE_STATIC);
        rc = stn_sql_step(&k->snapshot.sql, k->statement, err);
        if (rc > 0) rc = take_row(k, &labels[i], bytes, err);
        sqlite3_reset(k->statement);
    }
    end(k, rc);
    return rc;
}

int stn_lookup_ids(struct stn_lookup *k, const uint8_t (*ids)[16], size_t n, int64_t *labels,
                   uint32_t *lengths, struct sterna_error *err) {
    pthread_mutex_lock(&k->lock);
    /* What went wrong with a file that has been open a while may go well with the present one. */
    int rc = k->open ? look_up(k, ids, n, labels, lengths, NULL) : STERNA_AGAIN;
    if (rc != STERNA_OK) rc = look_up(k, ids, n, labels, lengths, err);
    pthread_mutex_unlock(&k->lock);
    return rc;
}
