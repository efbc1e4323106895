/* The store handle: finds the kind of store that a URL names, and hands every call to its table and
 * its catalogue. Knows no kind. */
#include "store.h"

#include <ctype.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

/* ---- URL and options ---- */

/* What a URL says, before any store is looked for. */
struct target {
    int (*open)(struct sterna_store *store, const char *what,
                const struct sterna_store_options *options, struct sterna_error *err);
    const char *what;   /* a directory, or the whole URL: a part of the URL given */
    size_t shown_bytes; /* so much of `what` is shown in messages */
};

static int parse_directory(const char *url, const char *dir, struct target *out,
                           struct sterna_error *err) {
    *out = (struct target){stn_embedded_open, dir, strlen(dir)};
    return dir[0] ? STERNA_OK : stn_fail(err, STERNA_EINVAL, "%s: names no directory", url);
}

/* The URL's options are not shown: who needs them knows them, and they make messages long. */
static int parse_cluster(const char *url, struct target *out, struct sterna_error *err) {
    const char *hosts = strstr(url, "://") + 3, *at = NULL;
    size_t bytes = strcspn(url, "?");
    /* A password may hold slashes, so any @ before the options ends one. */
    for (const char *s = hosts; s < url + bytes; s++)
        if (*s == '@') at = s;
    if (at && memchr(hosts, ':', (size_t)(at - hosts)))
        return stn_fail(err, STERNA_EINVAL,
                        "cassandra://...: a password in the URL would be seen by others: give it "
                        "by ?password_file=FILE or the variable STERNA_PASSWORD");
    *out = (struct target){stn_cassandra_open, url, bytes};
    return STERNA_OK;
}

static int parse_url(const char *url, struct target *out, struct sterna_error *err) {
    if (!url || !url[0])
        return stn_fail(err, STERNA_EINVAL, "no store is named: give its directory");
    const char *s = url;
    while (isalnum((unsigned char)*s) || *s == '+' || *s == '-' || *s == '.') s++;
    int scheme_bytes = (int)(s - url);
    int has_scheme = isalpha((unsigned char)url[0]) && strncmp(s, "://", 3) == 0;
    if (has_scheme && strncmp(url, "lmdb:", 5) == 0)
        return stn_fail(err, STERNA_EINVAL, "%s: write lmdb:PATH, without //", url);
    if (has_scheme && strncmp(url, "cassandra:", 10) == 0) return parse_cluster(url, out, err);
    if (has_scheme) /* not the whole URL: it may hold a password */
        return stn_fail(err, STERNA_EINVAL,
                        "%.*s://...: there are no stores of that kind; give PATH, lmdb:PATH or "
                        "cassandra://HOST/KEYSPACE/DATASET",
                        scheme_bytes, url);
    return parse_directory(url, strncmp(url, "lmdb:", 5) == 0 ? url + 5 : url, out, err);
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
    struct target target = {0};
    struct sterna_store_options o = {0};
    stn_error_clear(err);
    *out = NULL;
    int rc = parse_url(url, &target, err);
    if (rc == STERNA_OK) rc = take_options(options, &o, err);
    if (rc < 0) return rc;
    struct sterna_store *s = stn_array(1, sizeof *s);
    if (!s) return stn_fail_memory(err, "a store");
    s->refs = 1;
    s->pid = getpid();
    s->read_only = o.mode == STERNA_OPEN_READ;
    pthread_mutex_init(&s->list_lock, NULL);
    s->shown = strndup(target.what, target.shown_bytes);
    rc = s->shown ? target.open(s, target.what, &o, err) : stn_fail_memory(err, "a store");
    if (rc < 0) {
        sterna_store_close(&s);
        return rc;
    }
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
    pthread_mutex_destroy(&s->list_lock);
    free(s);
}

int stn_store_check(const sterna_store *store, struct sterna_error *err) {
    if (store->pid == getpid()) return STERNA_OK;
    return stn_fail(err, STERNA_EFORKED,
                    "%s was opened before a fork: open it again in the child process",
                    store->shown);
}

int stn_store_source_open(void *handle, struct stn_source **out, struct stn_sink *sink,
                          const struct stn_source_options *options, struct sterna_error *err) {
    sterna_store *store = handle;
    *out = NULL;
    int rc = stn_store_check(store, err);
    if (rc < 0) return rc;
    return store->backend->ops->source_open(store->backend, out, sink, options, err);
}

/* ---- facts ---- */

int stn_store_list(sterna_store *store, struct sterna_error *err) {
    int rc = STERNA_OK;
    if (!store->backend->ops->list_samples) return rc;
    pthread_mutex_lock(&store->list_lock);
    if (!store->listed) rc = store->backend->ops->list_samples(store->backend, err);
    store->listed |= rc == STERNA_OK;
    pthread_mutex_unlock(&store->list_lock);
    return rc;
}

int stn_store_is_listed(sterna_store *store, int *listed, struct sterna_error *err) {
    struct sterna_store_info info;
    *listed = 1;
    if (!store->backend->ops->list_samples) return STERNA_OK;
    pthread_mutex_lock(&store->list_lock);
    *listed = store->listed;
    pthread_mutex_unlock(&store->list_lock);
    if (*listed) return STERNA_OK;
    int rc = stn_catalog_info(store->catalog, &info, err);
    *listed = rc == STERNA_OK && info.last_run > 0;
    return rc;
}

int stn_store_facts(sterna_store *store, struct sterna_store_info *out, struct sterna_error *err) {
    *out = (struct sterna_store_info){0};
    int rc = stn_store_check(store, err);
    if (rc < 0) return rc;
    out->read_only = store->backend->ops->is_read_only(store->backend);
    return stn_catalog_info(store->catalog, out, err);
}

/* For the calls that look into the catalogue. */
static int ready(sterna_store *store, struct sterna_error *err) {
    stn_error_clear(err);
    int rc = stn_store_check(store, err);
    return rc < 0 ? rc : stn_store_list(store, err);
}

int sterna_store_info(sterna_store *store, struct sterna_store_info *out,
                      struct sterna_error *err) {
    *out = (struct sterna_store_info){0};
    int rc = ready(store, err);
    return rc < 0 ? rc : stn_store_facts(store, out, err);
}

int sterna_store_field(sterna_store *store, uint32_t i, struct sterna_field *out) {
    int rc = stn_store_check(store, NULL);
    return rc < 0 ? rc : stn_catalog_field(store->catalog, i, out);
}

int sterna_store_classes(sterna_store *store,
                         int (*each)(void *ctx, int64_t label, const char *name,
                                     uint64_t n_samples),
                         void *ctx, struct sterna_error *err) {
    int rc = ready(store, err);
    return rc < 0 ? rc : stn_catalog_classes(store->catalog, each, ctx, err);
}

int sterna_store_columns(sterna_store *store,
                         int (*each)(void *ctx, const char *name, const char *type), void *ctx,
                         struct sterna_error *err) {
    int rc = ready(store, err);
    return rc < 0 ? rc : stn_catalog_columns(store->catalog, each, ctx, err);
}

int sterna_store_runs(sterna_store *store, int (*each)(void *ctx, const struct sterna_run *run),
                      void *ctx, struct sterna_error *err) {
    int rc = ready(store, err);
    return rc < 0 ? rc : stn_catalog_runs(store->catalog, each, ctx, err);
}
