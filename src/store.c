/* The store handle: a directory's bytes (data.mdb) and catalogue (catalog.sqlite) opened together,
 * and the two checked against each other. Knows what each is for, not how it is kept. */
#include "store.h"

#include <ctype.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include "base/digest.h"
#include "base/file.h"

/* ---- URL and options ---- */

static int parse_url(const char *url, const char **dir, struct sterna_error *err) {
    if (!url || !url[0])
        return stn_fail(err, STERNA_EINVAL, "no store is named: give its directory");
    const char *s = url;
    while (isalnum((unsigned char)*s) || *s == '+' || *s == '-' || *s == '.') s++;
    int scheme_bytes = (int)(s - url);
    int has_scheme = isalpha((unsigned char)url[0]) && strncmp(s, "://", 3) == 0;
    if (has_scheme && strncmp(url, "lmdb:", 5) == 0)
        return stn_fail(err, STERNA_EINVAL, "%s: write lmdb:PATH, without //", url);
    if (has_scheme) /* not the whole URL: it may hold a password */
        return stn_fail(err, STERNA_EINVAL,
                        "%.*s://...: this build has no stores of that kind; give PATH or lmdb:PATH",
                        scheme_bytes, url);
    *dir = strncmp(url, "lmdb:", 5) == 0 ? url + 5 : url;
    if ((*dir)[0]) return STERNA_OK;
    return stn_fail(err, STERNA_EINVAL, "%s: names no directory", url);
}

static int take_options(const struct sterna_store_options *from, struct sterna_store_options *to,
                        struct sterna_error *err) {
    *to = (struct sterna_store_options){sizeof *to, STERNA_OPEN_READ, NULL};
    if (from && from->struct_size != sizeof *to)
        return stn_fail(err, STERNA_EINVAL,
                        "store options: struct_size is %zu, not %zu: set it to sizeof, and build "
                        "with the headers of version %s",
                        from->struct_size, sizeof *to, sterna_version());
    if (from) *to = *from;
    if ((unsigned)to->mode <= STERNA_OPEN_CREATE) return STERNA_OK;
    return stn_fail(err, STERNA_EINVAL, "store options: there is no open mode %d", (int)to->mode);
}

/* ---- the catalogue ---- */

/* A disk that cannot tell is not a file that is not there. */
static int look_for(const char *path, int *there, struct sterna_error *err) {
    int rc = stn_file_exists(path);
    *there = rc > 0;
    return rc < 0 ? stn_fail_sys(err, STERNA_EIO, "%s: cannot be opened", path) : STERNA_OK;
}

static int make_catalog(const struct sterna_store *s, const char *path,
                        const struct sterna_store_options *o, struct sterna_error *err) {
    uint64_t n_values = 0;
    int rc = stn_lmdb_count(s->lmdb, &n_values, err);
    if (rc == STERNA_OK && n_values > 0) /* it is made before the first value is */
        rc = stn_fail(err, STERNA_EFORMAT,
                      "%s is missing, but data.mdb beside it holds %llu values: restore it from a "
                      "copy of the store",
                      path, (unsigned long long)n_values);
    uint8_t id[STERNA_ID_BYTES];
    if (rc == STERNA_OK && o->dataset_id) memcpy(id, o->dataset_id, sizeof id);
    if (rc == STERNA_OK && !o->dataset_id) rc = stn_uuid4(id, err);
    return rc == STERNA_OK ? stn_catalog_create(path, id, err) : rc;
}

static int check_dataset(const struct sterna_store *s, const uint8_t *wanted,
                         struct sterna_error *err) {
    const uint8_t *id = stn_catalog_dataset_id(s->catalog);
    if (!wanted || memcmp(id, wanted, STERNA_ID_BYTES) == 0) return STERNA_OK;
    char has[STERNA_ID_TEXT_BYTES], asked[STERNA_ID_TEXT_BYTES];
    sterna_id_format(id, has);
    sterna_id_format(wanted, asked);
    return stn_fail(err, STERNA_EMISMATCH, "%s holds data set %s, not %s", s->dir, has, asked);
}

/* SQLite wants to write beside a file that it reads, unless it is told that nobody does. */
static enum stn_catalog_mode catalog_mode(const struct sterna_store *s, const char *path,
                                          enum sterna_open_mode mode) {
    if (mode != STERNA_OPEN_READ) return STN_CATALOG_WRITE;
    int writable = faccessat(AT_FDCWD, s->dir, W_OK | X_OK, AT_EACCESS) == 0 &&
                   faccessat(AT_FDCWD, path, W_OK, AT_EACCESS) == 0;
    return writable ? STN_CATALOG_READ : STN_CATALOG_READ_IMMUTABLE;
}

static int open_catalog(struct sterna_store *s, const char *path,
                        const struct sterna_store_options *o, struct sterna_error *err) {
    int there = 0, rc = look_for(path, &there, err);
    if (rc < 0) return rc;
    if (!there && o->mode == STERNA_OPEN_CREATE)
        rc = make_catalog(s, path, o, err);
    else if (!there)
        rc = stn_fail(err, STERNA_EFORMAT,
                      "%s is missing: if making the store was cut short, ingest into it again",
                      path);
    if (rc == STERNA_OK)
        rc = stn_catalog_open(&s->catalog, path, catalog_mode(s, path, o->mode), err);
    return rc == STERNA_OK ? check_dataset(s, o->dataset_id, err) : rc;
}

/* ---- open and close ---- */

static int open_parts(struct sterna_store *s, const struct sterna_store_options *o,
                      struct sterna_error *err) {
    static const enum stn_lmdb_mode modes[] = {[STERNA_OPEN_READ] = STN_LMDB_READ,
                                               [STERNA_OPEN_WRITE] = STN_LMDB_WRITE,
                                               [STERNA_OPEN_CREATE] = STN_LMDB_CREATE};
    int rc = STERNA_OK, has_catalog = 0, has_data = 0;
    char *catalog = stn_path_join(s->dir, "catalog.sqlite");
    char *data = stn_path_join(s->dir, "data.mdb");
    if (!catalog || !data) rc = stn_fail_memory(err, s->dir);
    if (rc == STERNA_OK) rc = look_for(catalog, &has_catalog, err);
    if (rc == STERNA_OK) rc = look_for(data, &has_data, err);
    if (rc == STERNA_OK && has_catalog && !has_data) /* never made in this order */
        rc = stn_fail(err, STERNA_EFORMAT,
                      "%s is missing, but catalog.sqlite is there: restore it from a copy of the "
                      "store",
                      data);
    /* The bytes' file is made before the catalogue: when both are there, nothing is to be made. */
    enum stn_lmdb_mode mode = modes[o->mode];
    if (has_catalog && mode == STN_LMDB_CREATE) mode = STN_LMDB_WRITE;
    if (rc == STERNA_OK) rc = stn_lmdb_acquire(&s->lmdb, s->dir, mode, err);
    if (rc == STERNA_OK) rc = open_catalog(s, catalog, o, err);
    free(catalog);
    free(data);
    return rc;
}

int sterna_store_open(sterna_store **out, const char *url,
                      const struct sterna_store_options *options, struct sterna_error *err) {
    const char *dir = NULL;
    struct sterna_store_options o = {0};
    stn_error_clear(err);
    *out = NULL;
    int rc = parse_url(url, &dir, err);
    if (rc == STERNA_OK) rc = take_options(options, &o, err);
    if (rc < 0) return rc;
    struct sterna_store *s = stn_array(1, sizeof *s);
    if (!s) return stn_fail_memory(err, "a store");
    s->refs = 1;
    s->pid = getpid();
    s->dir = strdup(dir);
    rc = s->dir ? open_parts(s, &o, err) : stn_fail_memory(err, dir);
    if (rc < 0) {
        sterna_store_close(&s);
        return rc;
    }
    s->read_only = o.mode == STERNA_OPEN_READ;
    *out = s;
    return STERNA_OK;
}

sterna_store *stn_store_retain(sterna_store *store) {
    atomic_fetch_add_explicit(&store->refs, 1, memory_order_relaxed);
    return store;
}

void sterna_store_close(sterna_store **store) {
    struct sterna_store *s = *store;
    *store = NULL;
    /* In a forked child the parts are the parent's, with its locks: they are left alone. */
    if (!s || s->pid != getpid()) return;
    if (atomic_fetch_sub_explicit(&s->refs, 1, memory_order_acq_rel) > 1) return;
    stn_catalog_close(&s->catalog);
    stn_lmdb_release(&s->lmdb);
    free(s->dir);
    free(s);
}

int stn_store_check(const sterna_store *store, struct sterna_error *err) {
    if (store->pid == getpid()) return STERNA_OK;
    return stn_fail(err, STERNA_EFORKED,
                    "%s was opened before a fork: open it again in the child process", store->dir);
}

int stn_store_source_open(struct stn_source **out, sterna_store *store, struct stn_sink *sink,
                          const struct stn_source_options *options, struct sterna_error *err) {
    *out = NULL;
    int rc = stn_store_check(store, err);
    return rc < 0 ? rc : stn_lmdb_source_open(out, store->lmdb, sink, options, err);
}

/* ---- facts ---- */

int sterna_store_info(sterna_store *store, struct sterna_store_info *out,
                      struct sterna_error *err) {
    stn_error_clear(err);
    *out = (struct sterna_store_info){0};
    int rc = stn_store_check(store, err);
    if (rc < 0) return rc;
    out->read_only = stn_lmdb_read_only(store->lmdb);
    return stn_catalog_info(store->catalog, out, err);
}

int sterna_store_field(sterna_store *store, uint32_t i, struct sterna_field *out) {
    int rc = stn_store_check(store, NULL);
    return rc < 0 ? rc : stn_catalog_field(store->catalog, i, out);
}

int sterna_store_classes(sterna_store *store,
                         int (*each)(void *ctx, int64_t label, const char *name,
                                     uint64_t n_samples),
                         void *ctx, struct sterna_error *err) {
    stn_error_clear(err);
    int rc = stn_store_check(store, err);
    return rc < 0 ? rc : stn_catalog_classes(store->catalog, each, ctx, err);
}

int sterna_store_columns(sterna_store *store,
                         int (*each)(void *ctx, const char *name, const char *type), void *ctx,
                         struct sterna_error *err) {
    stn_error_clear(err);
    int rc = stn_store_check(store, err);
    return rc < 0 ? rc : stn_catalog_columns(store->catalog, each, ctx, err);
}

int sterna_store_runs(sterna_store *store, int (*each)(void *ctx, const struct sterna_run *run),
                      void *ctx, struct sterna_error *err) {
    stn_error_clear(err);
    int rc = stn_store_check(store, err);
    return rc < 0 ? rc : stn_catalog_runs(store->catalog, each, ctx, err);
}
