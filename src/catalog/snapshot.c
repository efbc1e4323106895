#include "catalog/snapshot.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* A writer holds the exclusive lock for moments only: when WAL mode begins and when it ends. */
#define READER_WAIT_MS 10000

static int has_beside(const char *path, const char *suffix) {
    char name[PATH_MAX];
    struct stat st;
    int n = snprintf(name, sizeof name, "%s%s", path, suffix);
    return n > 0 && (size_t)n < sizeof name && stat(name, &st) == 0 && st.st_size > 0;
}

int stn_catalog_has_wal(const char *path) { return has_beside(path, "-wal"); }
int stn_catalog_has_shm(const char *path) { return has_beside(path, "-shm"); }

/* A reader that came just when WAL mode ended has made the index of a -wal file that is no more.
 * While we have the file to ourselves nobody can want it. */
static void remove_shm(const struct stn_sql *writer) {
    char name[PATH_MAX];
    int n = snprintf(name, sizeof name, "%s-shm", writer->path);
    if (n < 0 || (size_t)n >= sizeof name || stn_schema_is_wal(writer)) return;
    if (stn_sql_exec(writer, "BEGIN EXCLUSIVE", NULL) < 0) return;
    if (!stn_schema_is_wal(writer)) unlink(name);
    stn_sql_exec(writer, "ROLLBACK", NULL);
}

void stn_catalog_tidy(const struct stn_sql *writer) {
    stn_sql_exec(writer, "PRAGMA wal_checkpoint(TRUNCATE)", NULL);
    if (stn_sql_exec(writer, "PRAGMA journal_mode=DELETE", NULL) == STERNA_OK) return;
    /* It fails while others read. On a full disk, where there is no room for a journal, the file
     * must not stay in WAL mode: its readers would need room, too. Two bytes of a page change. */
    stn_sql_exec(writer, "PRAGMA journal_mode=MEMORY", NULL);
}

void stn_catalog_recover(const char *path) {
    struct stn_sql writer;
    if (stn_sql_open(&writer, path, STN_SQL_WRITE, 0, NULL) < 0) return;
    /* Alone with the file, which needs no -shm file, for which there may be no room. */
    stn_sql_exec(&writer, "PRAGMA locking_mode=EXCLUSIVE", NULL);
    int ours = sqlite3_db_readonly(writer.db, "main") == 0 &&
               stn_schema_check_file(&writer, NULL) == STERNA_OK;
    /* The run lock: whoever holds it needs the -wal file. */
    if (ours && stn_sql_exec(&writer, "BEGIN IMMEDIATE; ROLLBACK", NULL) == STERNA_OK)
        stn_catalog_tidy(&writer);
    if (ours && stn_catalog_has_shm(path)) remove_shm(&writer);
    stn_sql_close(&writer);
}

static int attempt(struct stn_snapshot *out, const char *path, enum stn_sql_mode mode,
                   struct sterna_error *err) {
    int rc = stn_sql_open(&out->sql, path, mode, READER_WAIT_MS, err);
    if (rc == STERNA_OK) rc = stn_schema_check_file(&out->sql, err);
    if (rc == STERNA_OK)
        rc = stn_sql_exec(&out->sql,
                          "PRAGMA temp_store=FILE; PRAGMA cache_size=-16384;"
                          "PRAGMA cell_size_check=ON; BEGIN",
                          err);
    if (rc == STERNA_OK) rc = stn_schema_load(&out->schema, &out->sql, err);
    if (rc == STERNA_OK) rc = stn_schema_check_size(&out->sql, err);
    if (rc < 0) stn_snapshot_close(out);
    return rc;
}

/* Reading needs to write sometimes: a killed writer's journal, a WAL file's index. */
static int needs_recovery(int rc) { return rc == STERNA_EREADONLY || rc == STERNA_EIO; }

static int retry(struct stn_snapshot *out, const char *path, enum stn_catalog_mode mode,
                 const struct sterna_error *first, struct sterna_error *err) {
    if (mode != STN_CATALOG_READ_IMMUTABLE) {
        stn_catalog_recover(path);
        return attempt(out, path, STN_SQL_READ, err);
    }
    if (stn_catalog_has_wal(path))
        return stn_fail(err, first->code,
                        "%s: was left in the middle of a write, and cannot be recovered where it "
                        "cannot be written: open the store once as a user who can write it",
                        path);
    int rc = attempt(out, path, STN_SQL_IMMUTABLE, err);
    out->unlocked = rc == STERNA_OK;
    return rc;
}

static int check_id(const struct stn_snapshot *s, const uint8_t *dataset_id,
                    struct sterna_error *err) {
    if (!dataset_id || memcmp(dataset_id, s->schema.dataset_id, 16) == 0) return STERNA_OK;
    char was[STERNA_ID_TEXT_BYTES], is[STERNA_ID_TEXT_BYTES];
    sterna_id_format(dataset_id, was);
    sterna_id_format(s->schema.dataset_id, is);
    return stn_fail(err, STERNA_EMISMATCH,
                    "%s: was data set %s when it was opened, and is %s now: open it again",
                    s->sql.path, was, is);
}

int stn_snapshot_open(struct stn_snapshot *out, const char *path, enum stn_catalog_mode mode,
                      const uint8_t *dataset_id, struct sterna_error *err) {
    *out = (struct stn_snapshot){0};
    struct sterna_error first = {0};
    uint64_t began_ns = 0;
    int rc;
    do {
        rc = attempt(out, path, STN_SQL_READ, &first);
    } while (rc < 0 && stn_sql_try_again(&began_ns, READER_WAIT_MS, &first));
    if (needs_recovery(rc))
        rc = retry(out, path, mode, &first, err);
    else if (rc < 0 && err && err->code >= 0)
        *err = first;
    if (rc == STERNA_OK) rc = check_id(out, dataset_id, err);
    if (rc < 0) stn_snapshot_close(out);
    return rc;
}

void stn_snapshot_close(struct stn_snapshot *s) {
    stn_schema_fini(&s->schema);
    stn_sql_close(&s->sql);
}
