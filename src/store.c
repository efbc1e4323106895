/* The store handle: finds the kind of store that a URL names, and hands every call to its table and
 * its catalogue. Knows no kind. */
#include "store.h"

#include <ctype.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

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
    *to = (struct sterna_store_options){.struct_size = sizeof *to, .mode = STERNA_OPEN_READ};
    if (from && from->struct_size != sizeof *to)
        return stn_fail(err, STERNA_EINVAL,
                        "store options: struct_size is %zu, not %zu: set it to sizeof, and build "
                        "with the headers of version %s",
                        from->struct_size, sizeof *to, sterna_version());
    if (from) *to = *from;
    if ((unsigned)to->mode <= STERNA_OPEN_CREATE) return STERNA_OK;
    return stn_fail(err, STERNA_EINVAL, "store options: there is no open mode %d", (int)to->mode);
}

/* ---- open and close ---- */

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
    s->shown = strdup(dir);
    rc = s->shown ? stn_embedded_open(s, dir, &o, err) : stn_fail_memory(err, dir);
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
    if (s->backend) s->backend->ops->close(s->backend);
    stn_catalog_close(&s->catalog);
    free(s->dir);
    free(s->shown);
    free(s);
}

int stn_store_check(const sterna_store *store, struct sterna_error *err) {
    if (store->pid == getpid()) return STERNA_OK;
    return stn_fail(err, STERNA_EFORKED,
                    "%s was opened before a fork: open it again in the child process",
                    store->shown);
}

int stn_store_source_open(struct stn_source **out, sterna_store *store, struct stn_sink *sink,
                          const struct stn_source_options *options, struct sterna_error *err) {
    *out = NULL;
    int rc = stn_store_check(store, err);
    if (rc < 0) return rc;
    return store->backend->ops->source_open(store->backend, out, sink, options, err);
}

/* ---- facts ---- */

int sterna_store_info(sterna_store *store, struct sterna_store_info *out,
                      struct sterna_error *err) {
    stn_error_clear(err);
    *out = (struct sterna_store_info){0};
    int rc = stn_store_check(store, err);
    if (rc < 0) return rc;
    out->read_only = store->backend->ops->is_read_only(store->backend);
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
