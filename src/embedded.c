/* The embedded store: a directory's bytes (data.mdb) and catalogue (catalog.sqlite) opened
 * together, and the two checked against each other. Knows what each is for, not how it is kept. */
#include <fcntl.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include "backend.h"
#include "base/digest.h"
#include "base/file.h"
#include "embedded.h"
#include "store.h"

struct embedded {
    struct stn_backend base;
    struct stn_lmdb *lmdb;
    struct stn_catalog *catalog; /* the store handle's, which closes it */
    /* Whose run is open in the catalogue. A run that was committed is closed after the next one may
     * have begun, which it must not end. */
    struct stn_values *_Atomic running;
};

struct opening {
    struct embedded *embedded;
    const char *dir;
    const struct sterna_store_options *options;
};

/* ---- the catalogue ---- */

/* A disk that cannot tell is not a file that is not there. */
static int look_for(const char *path, int *there, struct sterna_error *err) {
    int rc = stn_file_exists(path);
    *there = rc > 0;
    return rc < 0 ? stn_fail_sys(err, STERNA_EIO, "%s: cannot be opened", path) : STERNA_OK;
}

static int make_catalog(const struct opening *o, const char *path, struct sterna_error *err) {
    uint64_t n_values = 0;
    int rc = stn_lmdb_count(o->embedded->lmdb, &n_values, err);
    if (rc == STERNA_OK && n_values > 0) /* it is made before the first value is */
        rc = stn_fail(err, STERNA_EFORMAT,
                      "%s is missing, but data.mdb beside it holds %llu values: restore it from a "
                      "copy of the store",
                      path, (unsigned long long)n_values);
    uint8_t id[STERNA_ID_BYTES];
    if (rc == STERNA_OK && o->options->dataset_id) memcpy(id, o->options->dataset_id, sizeof id);
    if (rc == STERNA_OK && !o->options->dataset_id) rc = stn_uuid4(id, err);
    return rc == STERNA_OK ? stn_catalog_create(path, id, err) : rc;
}

static int check_dataset(const struct opening *o, struct sterna_error *err) {
    const uint8_t *wanted = o->options->dataset_id;
    const uint8_t *id = stn_catalog_dataset_id(o->embedded->catalog);
    if (!wanted || memcmp(id, wanted, STERNA_ID_BYTES) == 0) return STERNA_OK;
    char has[STERNA_ID_TEXT_BYTES], asked[STERNA_ID_TEXT_BYTES];
    sterna_id_format(id, has);
    sterna_id_format(wanted, asked);
    return stn_fail(err, STERNA_EMISMATCH, "%s holds data set %s, not %s", o->dir, has, asked);
}

/* SQLite wants to write beside a file that it reads, unless it is told that nobody does. */
static enum stn_catalog_mode catalog_mode(const struct opening *o, const char *path) {
    if (o->options->mode != STERNA_OPEN_READ) return STN_CATALOG_WRITE;
    int writable = faccessat(AT_FDCWD, o->dir, W_OK | X_OK, AT_EACCESS) == 0 &&
                   faccessat(AT_FDCWD, path, W_OK, AT_EACCESS) == 0;
    return writable ? STN_CATALOG_READ : STN_CATALOG_READ_IMMUTABLE;
}

static int open_catalog(const struct opening *o, const char *path, struct sterna_error *err) {
    int there = 0, rc = look_for(path, &there, err);
    if (rc < 0) return rc;
    if (!there && o->options->mode == STERNA_OPEN_CREATE)
        rc = make_catalog(o, path, err);
    else if (!there)
        rc = stn_fail(err, STERNA_EFORMAT,
                      "%s is missing: if making the store was cut short, ingest into it again",
                      path);
    if (rc == STERNA_OK)
        rc = stn_catalog_open(&o->embedded->catalog, path, catalog_mode(o, path), err);
    return rc == STERNA_OK ? check_dataset(o, err) : rc;
}

/* ---- both together ---- */

static int open_parts(const struct opening *o, struct sterna_error *err) {
    static const enum stn_lmdb_mode modes[] = {[STERNA_OPEN_READ] = STN_LMDB_READ,
                                               [STERNA_OPEN_WRITE] = STN_LMDB_WRITE,
                                               [STERNA_OPEN_CREATE] = STN_LMDB_CREATE};
    int rc = STERNA_OK, has_catalog = 0, has_data = 0;
    char *catalog = stn_path_join(o->dir, "catalog.sqlite");
    char *data = stn_path_join(o->dir, "data.mdb");
    if (!catalog || !data) rc = stn_fail_memory(err, o->dir);
    if (rc == STERNA_OK) rc = look_for(catalog, &has_catalog, err);
    if (rc == STERNA_OK) rc = look_for(data, &has_data, err);
    if (rc == STERNA_OK && has_catalog && !has_data) /* never made in this order */
        rc = stn_fail(err, STERNA_EFORMAT,
                      "%s is missing, but catalog.sqlite is there: restore it from a copy of the "
                      "store",
                      data);
    /* The bytes' file is made before the catalogue: when both are there, nothing is to be made. */
    enum stn_lmdb_mode mode = modes[o->options->mode];
    if (has_catalog && mode == STN_LMDB_CREATE) mode = STN_LMDB_WRITE;
    if (rc == STERNA_OK) rc = stn_lmdb_acquire(&o->embedded->lmdb, o->dir, mode, err);
    if (rc == STERNA_OK) rc = open_catalog(o, catalog, err);
    free(catalog);
    free(data);
    return rc;
}

/* ---- a run ---- */

static int run_open(struct stn_backend *b, const char *source, struct stn_catalog **catalog,
                    struct stn_values **values, struct sterna_error *err) {
    struct embedded *e = (struct embedded *)b;
    uint64_t run;
    *catalog = NULL;
    *values = NULL;
    int rc = stn_catalog_begin(e->catalog, source, &run, err);
    if (rc < 0) return rc;
    rc = stn_lmdb_values_open(values, e->lmdb, err);
    if (rc < 0) {
        stn_catalog_rollback(e->catalog);
        return rc;
    }
    atomic_store(&e->running, *values);
    *catalog = e->catalog;
    return STERNA_OK;
}

/* Values go first, and are synced before the run is listed: a listed sample always has its bytes.
 */
static int run_commit(struct stn_backend *b, struct stn_catalog *catalog, struct stn_values *values,
                      uint64_t *run, struct sterna_error *err) {
    struct embedded *e = (struct embedded *)b;
    *run = 0;
    int rc = values->ops->commit(values, err);
    if (rc < 0) return rc;
    atomic_store(&e->running, NULL); /* whatever comes of it, the run ends here */
    return stn_catalog_commit(catalog, run, err);
}

static void run_close(struct stn_backend *b, struct stn_catalog **catalog,
                      struct stn_values **values) {
    struct embedded *e = (struct embedded *)b;
    struct stn_values *mine = *values;
    *values = NULL;
    *catalog = NULL;
    if (!mine) return;
    if (atomic_compare_exchange_strong(&e->running, &(struct stn_values *){mine}, NULL))
        stn_catalog_rollback(e->catalog);
    mine->ops->close(mine);
}

/* ---- the rest of the table ---- */

struct stn_lmdb *stn_embedded_lmdb(const sterna_store *store) {
    return ((struct embedded *)store->backend)->lmdb;
}

static int source_open(struct stn_backend *b, struct stn_source **out, struct stn_sink *sink,
                       const struct stn_source_options *options, struct sterna_error *err) {
    return stn_lmdb_source_open(out, ((struct embedded *)b)->lmdb, sink, options, err);
}

static int headers_open(struct stn_backend *b, struct stn_values **out, struct sterna_error *err) {
    return stn_lmdb_headers_open(out, ((struct embedded *)b)->lmdb, err);
}

static int is_read_only(struct stn_backend *b) {
    return stn_lmdb_read_only(((struct embedded *)b)->lmdb);
}

static void close_embedded(struct stn_backend *b) {
    struct embedded *e = (struct embedded *)b;
    stn_lmdb_release(&e->lmdb);
    free(e);
}

int stn_embedded_open(struct sterna_store *store, const char *dir,
                      const struct sterna_store_options *options, struct sterna_error *err) {
    static const struct stn_backend_ops ops = {.source_open = source_open,
                                               .run_open = run_open,
                                               .run_commit = run_commit,
                                               .run_close = run_close,
                                               .headers_open = headers_open,
                                               .is_read_only = is_read_only,
                                               .close = close_embedded};
    struct embedded *e = stn_array(1, sizeof *e);
    if (!e) return stn_fail_memory(err, dir);
    e->base.ops = &ops;
    store->backend = &e->base;
    store->dir = strdup(dir);
    if (!store->dir) return stn_fail_memory(err, dir);
    if (options->replication)
        return stn_fail(err, STERNA_EINVAL,
                        "%s: a store in a directory has no replication: it is of clusters only",
                        dir);
    struct opening o = {e, dir, options};
    int rc = open_parts(&o, err);
    store->catalog = e->catalog;
    return rc;
}
