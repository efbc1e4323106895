/* What a kind of store does for a store handle: a table of functions, beside the catalogue that
 * every kind has as a local SQLite file. */
#ifndef STN_BACKEND_H
#define STN_BACKEND_H

#include "catalog/catalog.h"
#include "source/source.h"
#include "source/values.h"

struct stn_backend;
struct stn_backend_ops {
    /* Opens the reading side. */
    int (*source_open)(struct stn_backend *b, struct stn_source **out, struct stn_sink *sink,
                       const struct stn_source_options *options, struct sterna_error *err);
    /* Begins a run: *catalog is where its rows go (a run is open in it), *values where its bytes
     * go. EBUSY; EREADONLY. Both NULL after a failure. */
    int (*run_open)(struct stn_backend *b, const char *source, struct stn_catalog **catalog,
                    struct stn_values **values, struct sterna_error *err);
    /* Makes all values durable, then lists the run: *run is its number, 0 if nothing is new. */
    int (*run_commit)(struct stn_backend *b, struct stn_catalog *catalog, struct stn_values *values,
                      uint64_t *run, struct sterna_error *err);
    /* Ends it; what was not committed is forgotten. Sets both to NULL. */
    void (*run_close)(struct stn_backend *b, struct stn_catalog **catalog,
                      struct stn_values **values);
    /* What copying looks up to see what need not be read: the store's values as they are, of which
     * only expect(), find() and close() are called, beside a source and on one thread. NULL as op
     * or as *out: there are no checksums to be had without the bytes. */
    int (*headers_open)(struct stn_backend *b, struct stn_values **out, struct sterna_error *err);
    /* Fills the catalogue of a store that lists its samples only when asked for them (another
     * tool's tables). NULL: it is always filled. */
    int (*list_samples)(struct stn_backend *b, struct sterna_error *err);
    int (*is_read_only)(struct stn_backend *b); /* this user cannot write it */
    void (*close)(struct stn_backend *b);
};

struct stn_backend {
    const struct stn_backend_ops *ops; /* implementers put this struct first in their own */
};

struct sterna_store;
struct sterna_store_options;

/* Each fills store->backend, store->dir (where selections and caches lie) and store->catalog; what
 * is there after a failure is closed by the caller. */
int stn_embedded_open(struct sterna_store *store, const char *dir,
                      const struct sterna_store_options *options, struct sterna_error *err);
int stn_cassandra_open(struct sterna_store *store, const char *url,
                       const struct sterna_store_options *options, struct sterna_error *err);

#endif
