/* A data set in a cluster as a kind of store. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "backend.h"
#include "base/digest.h"
#include "base/file.h"
#include "cassandra/cache.h"
#include "cassandra/facts.h"
#include "cassandra/foreign.h"
#include "cassandra/runs.h"
#include "cassandra/sync.h"
#include "cassandra/tables.h"
#include "source/cql_select.h"
#include "store.h"

struct cluster_run { /* a run being written */
    struct stn_catalog *catalog;
    struct stn_cache_copy copy; /* where its catalogue is */
    char *source;
    int64_t timestamp_us;
    struct cluster_run *next;
};

struct cluster {
    struct stn_backend base;
    struct stn_cassandra c;
    struct stn_names names;
    char *dir; /* of the cache */
    int (*password)(void *ctx, const char *user, const char *host, char *buf, size_t cap);
    void *password_ctx;
    pthread_mutex_t runs_lock;
    struct cluster_run *runs;
};

/* ---- runs ---- */

static int64_t now_us(void) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static void free_run(struct cluster_run *run) {
    if (!run) return;
    stn_catalog_close(&run->catalog);
    stn_cache_copy_close(&run->copy);
    free(run->source);
    free(run);
}

static int begin_run(struct cluster *k, struct cluster_run *run, struct sterna_error *err) {
    uint64_t number;
    int rc = stn_sync(&k->names, k->dir, NULL, err);
    if (rc == STERNA_OK) rc = stn_cache_copy_open(&run->copy, k->dir, err);
    if (rc == STERNA_OK)
        rc = stn_catalog_open(&run->catalog, run->copy.catalog, STN_CATALOG_WRITE, err);
    if (rc < 0) return rc;
    stn_catalog_share_names(run->catalog, &k->names.base);
    return stn_catalog_begin(run->catalog, run->source, &number, err);
}

static int run_open(struct stn_backend *b, const char *source, struct stn_catalog **catalog,
                    struct stn_values **values, struct sterna_error *err) {
    struct cluster *k = (struct cluster *)b;
    *catalog = NULL;
    *values = NULL;
    if (k->c.foreign)
        return stn_fail(err, STERNA_EREADONLY,
                        "%s: tables of another tool are read only: copy them into a data set",
                        k->c.location.shown);
    struct cluster_run *run = calloc(1, sizeof *run);
    if (!run) return stn_fail_memory(err, "a run");
    run->copy.lock_fd = -1;
    run->timestamp_us = now_us();
    run->source = strdup(source ? source : "");
    int rc = run->source ? begin_run(k, run, err) : stn_fail_memory(err, "a run");
    if (rc == STERNA_OK) rc = stn_cql_values_open(values, &k->c, run->timestamp_us, err);
    if (rc < 0) {
        free_run(run);
        return rc;
    }
    *catalog = run->catalog;
    pthread_mutex_lock(&k->runs_lock);
    run->next = k->runs;
    k->runs = run;
    pthread_mutex_unlock(&k->runs_lock);
    return STERNA_OK;
}

static struct cluster_run *find_run(struct cluster *k, const struct stn_catalog *catalog) {
    pthread_mutex_lock(&k->runs_lock);
    struct cluster_run *run = k->runs;
    while (run && run->catalog != catalog) run = run->next;
    pthread_mutex_unlock(&k->runs_lock);
    return run;
}

/* Values, rows, and then the run, which makes them seen. What comes after that cannot undo it. */
static int run_commit(struct stn_backend *b, struct stn_catalog *catalog, struct stn_values *values,
                      uint64_t *run, struct sterna_error *err) {
    struct cluster *k = (struct cluster *)b;
    struct cluster_run *mine = find_run(k, catalog);
    *run = 0;
    int rc = values->ops->commit(values, err);
    if (rc == STERNA_OK)
        rc = stn_run_publish(&k->c, catalog, mine->source, mine->timestamp_us, run, err);
    stn_catalog_rollback(catalog);
    if (rc == STERNA_OK && *run > 0)
        stn_sync(&k->names, k->dir, NULL, NULL); /* else at the next open */
    return rc;
}

static void run_close(struct stn_backend *b, struct stn_catalog **catalog,
                      struct stn_values **values) {
    struct cluster *k = (struct cluster *)b;
    struct cluster_run *mine = NULL;
    if (*values) (*values)->ops->close(*values);
    pthread_mutex_lock(&k->runs_lock);
    for (struct cluster_run **at = &k->runs; *catalog && *at; at = &(*at)->next)
        if ((*at)->catalog == *catalog) {
            mine = *at;
            *at = mine->next;
            break;
        }
    pthread_mutex_unlock(&k->runs_lock);
    free_run(mine);
    *values = NULL;
    *catalog = NULL;
}

/* ---- the rest of the table ---- */

static int source_open(struct stn_backend *b, struct stn_source **out, struct stn_sink *sink,
                       const struct stn_source_options *options, struct sterna_error *err) {
    return stn_cql_source_open(out, &((struct cluster *)b)->c, sink, options, err);
}

/* Without a run: nothing is ever written through it. */
static int headers_open(struct stn_backend *b, struct stn_values **out, struct sterna_error *err) {
    return stn_cql_values_open(out, &((struct cluster *)b)->c, 0, err);
}

static int list_samples(struct stn_backend *b, struct sterna_error *err) {
    struct cluster *k = (struct cluster *)b;
    return stn_foreign_list(&k->c, k->dir, k->c.location.refresh, err);
}

static int is_read_only(struct stn_backend *b) { return ((struct cluster *)b)->c.foreign; }

static void close_cluster(struct stn_backend *b) {
    struct cluster *k = (struct cluster *)b;
    struct stn_cassandra *c = &k->c;
    stn_session_close(&c->session);
    stn_names_fini(&k->names);
    free(c->data_table);
    free(c->chunk_table);
    free(c->meta_table);
    free(c->run_table);
    free(c->info_table);
    stn_location_fini(&c->location);
    pthread_mutex_destroy(&c->lock);
    pthread_mutex_destroy(&k->runs_lock);
    free(k->dir);
    free(k);
}

/* ---- open ---- */

static int ask_password(void *ctx, const char *user, const char *host, char *buf, size_t cap,
                        struct sterna_error *err) {
    struct cluster *k = ctx;
    (void)err;
    return k->password(k->password_ctx, user, host, buf, cap);
}

static int start_session(struct cluster *k, int reads_soon, struct sterna_error *err) {
    const struct stn_location *l = &k->c.location;
    const struct stn_tls_options tls = {
        .verify = 1, .ca_file = l->ca, .cert_file = l->cert, .key_file = l->key};
    k->c.secret = (struct stn_secret){.location = l, .ask_ctx = k};
    if (k->password) k->c.secret.ask = ask_password;
    return stn_session_start(
        &k->c.session,
        &(struct stn_session_options){.hosts = l->hosts,
                                      .n_hosts = l->n_hosts,
                                      .keyspace = l->keyspace,
                                      .user = l->user,
                                      .password = stn_secret_password,
                                      .password_ctx = &k->c.secret,
                                      .tls = l->tls > 0 ? &tls : NULL,
                                      .dc = l->dc,
                                      .connections = l->connections,
                                      .reads_soon = reads_soon,
                                      .outage_timeout_ms = l->outage_timeout_ms,
                                      .translations = l->translations,
                                      .n_translations = l->n_translations},
        err);
}

static int check_partitioner(const struct cluster *k, const struct stn_session_info *info,
                             struct sterna_error *err) {
    if (info->murmur3) return STERNA_OK;
    return stn_fail(err, STERNA_EFORMAT,
                    "%s: the cluster does not use Murmur3Partitioner, the only one that sterna "
                    "knows",
                    k->c.location.shown);
}

static int find_cache(struct cluster *k, const char *cluster_name, struct sterna_error *err) {
    const struct stn_location *l = &k->c.location;
    if (k->c.foreign) return stn_cache_dir(&k->dir, cluster_name, NULL, k->c.dataset_id, err);
    char *tables = stn_text_make("%s.%s", l->keyspace, l->dataset);
    if (!tables) return stn_fail_memory(err, "the name of a directory");
    int rc = stn_cache_dir(&k->dir, cluster_name, tables, k->c.dataset_id, err);
    free(tables);
    return rc;
}

static int open_catalog(struct sterna_store *store, struct cluster *k, struct stn_asked *runs,
                        struct sterna_error *err) {
    struct stn_session_info info;
    stn_session_info(k->c.session, &info);
    int rc = check_partitioner(k, &info, err);
    if (rc == STERNA_OK) rc = find_cache(k, info.cluster_name, err);
    if (rc == STERNA_OK && !(store->dir = strdup(k->dir))) rc = stn_fail_memory(err, k->dir);
    if (rc == STERNA_OK)
        rc = k->c.foreign ? stn_foreign_catalog(&k->c, k->dir, err)
                          : stn_sync(&k->names, k->dir, runs, err);
    if (rc < 0) return rc;
    char *path = stn_path_join(k->dir, "catalog.sqlite");
    rc = path ? stn_catalog_open(&store->catalog, path, STN_CATALOG_READ, err)
              : stn_fail_memory(err, k->dir);
    if (rc == STERNA_OK && k->c.foreign) stn_catalog_lengths_are_unknown(store->catalog);
    free(path);
    return rc;
}

struct asked { /* while the session is being opened: all of it takes one round trip */
    struct stn_asked facts, runs;
};

/* What a loader of the field that every data set has will read by. */
static int prepare_ahead(struct stn_cassandra *c, struct sterna_error *err) {
    struct stn_cassandra_field image;
    struct stn_cql_select select;
    int rc = stn_tables_field(&image, "image", STERNA_KIND_IMAGE, 0, err);
    if (rc == STERNA_OK) rc = stn_cql_select_make(&select, c, &image, 1, 0, err);
    if (rc < 0) return rc;
    stn_session_prepare_ahead(c->session, select.text);
    free(select.text);
    char *chunk = stn_cql_select_chunk(c->chunk_table, err);
    if (!chunk) return STERNA_ENOMEM;
    stn_session_prepare_ahead(c->session, chunk);
    free(chunk);
    return STERNA_OK;
}

static int ask_all(struct cluster *k, int reads_soon, struct asked *asked,
                   struct sterna_error *err) {
    if (k->c.foreign) return stn_foreign_ask(&k->c, err);
    stn_facts_ask(&k->c, &asked->facts);
    stn_runs_ask(&k->c, &asked->runs);
    return reads_soon ? prepare_ahead(&k->c, err) : STERNA_OK;
}

static int open_cluster(struct sterna_store *store, struct cluster *k,
                        const struct sterna_store_options *options, struct sterna_error *err) {
    struct asked asked = {.facts = {.text = NULL}};
    int reads_soon = options->mode == STERNA_OPEN_READ;
    int rc = start_session(k, reads_soon, err);
    if (rc < 0) return rc;
    rc = ask_all(k, reads_soon, &asked, err);
    stn_digest_warm_up(); /* what takes time here takes none while answers are on their way */
    if (rc == STERNA_OK) rc = stn_session_await(k->c.session, err);
    if (rc == STERNA_OK)
        rc = k->c.foreign ? stn_foreign_open(&k->c, err)
                          : stn_facts_open(&k->names, options, &asked.facts, err);
    if (rc == STERNA_OK) rc = open_catalog(store, k, &asked.runs, err);
    stn_ask_drop(&asked.facts);
    stn_ask_drop(&asked.runs);
    return rc;
}

int stn_cassandra_open(struct sterna_store *store, const char *url,
                       const struct sterna_store_options *options, struct sterna_error *err) {
    static const struct stn_backend_ops ours = {.source_open = source_open,
                                                .run_open = run_open,
                                                .run_commit = run_commit,
                                                .run_close = run_close,
                                                .headers_open = headers_open,
                                                .is_read_only = is_read_only,
                                                .close = close_cluster};
    static const struct stn_backend_ops foreign = {.source_open = source_open,
                                                   .run_open = run_open,
                                                   .run_commit = run_commit,
                                                   .run_close = run_close,
                                                   .list_samples = list_samples,
                                                   .is_read_only = is_read_only,
                                                   .close = close_cluster};
    struct cluster *k = calloc(1, sizeof *k);
    if (!k) return stn_fail_memory(err, "a store");
    pthread_mutex_init(&k->c.lock, NULL);
    pthread_mutex_init(&k->runs_lock, NULL);
    k->base.ops = &ours;
    k->password = options->password;
    k->password_ctx = options->password_ctx;
    store->backend = &k->base;
    int rc = stn_location_parse(&k->c.location, url, err);
    if (rc < 0) return rc;
    k->c.foreign = k->c.location.map.table != NULL;
    if (k->c.foreign) k->base.ops = &foreign;
    if (stn_names_init(&k->names, &k->c) < 0) return stn_fail_memory(err, "a store");
    if (!k->c.foreign) rc = stn_tables_name(&k->c, err);
    return rc == STERNA_OK ? open_cluster(store, k, options, err) : rc;
}

/* ---- the statements as text ---- */

struct telling {
    void (*each)(void *ctx, const char *statement);
    void *ctx;
};

static int tell_statement(void *ctx, const char *statement) {
    const struct telling *t = ctx;
    t->each(t->ctx, statement);
    return STERNA_OK;
}

static int tell_all(struct stn_cassandra *c, const char *replication,
                    const struct sterna_field *fields, size_t n_fields, struct telling *telling,
                    struct sterna_error *err) {
    struct stn_cassandra_field columns[STN_COUNT(c->fields)];
    if (n_fields > STN_COUNT(columns))
        return stn_fail(err, STERNA_EINVAL, "a data set has at most %zu fields",
                        STN_COUNT(columns));
    int rc = stn_tables_name(c, err);
    for (size_t i = 0; i < n_fields && rc == STERNA_OK; i++)
        rc = stn_tables_field(&columns[i], fields[i].name, fields[i].kind, (uint8_t)i, err);
    const struct stn_tables_options o = {
        .replication = replication, .fields = columns, .n_fields = n_fields};
    return rc < 0 ? rc : stn_tables_create(c, &o, tell_statement, telling, err);
}

int sterna_store_ddl(const char *url, const char *replication, const struct sterna_field *fields,
                     size_t n_fields, void (*each)(void *ctx, const char *statement), void *ctx,
                     struct sterna_error *err) {
    static const struct sterna_field image = {.name = "image", .kind = STERNA_KIND_IMAGE};
    struct telling telling = {each, ctx};
    struct stn_cassandra c = {.n_fields = 0};
    stn_error_clear(err);
    int rc = stn_location_parse(&c.location, url, err);
    if (rc == STERNA_OK && c.location.map.table)
        rc = stn_fail(err, STERNA_EINVAL, "%s: tables of another tool are not made by sterna",
                      c.location.shown);
    if (rc == STERNA_OK)
        rc = tell_all(&c, replication, n_fields ? fields : &image, n_fields ? n_fields : 1,
                      &telling, err);
    free(c.data_table);
    free(c.chunk_table);
    free(c.meta_table);
    free(c.run_table);
    free(c.info_table);
    stn_location_fini(&c.location);
    return rc;
}
