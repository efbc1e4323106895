/* What is behind a sterna_store handle. */
#ifndef STN_STORE_H
#define STN_STORE_H

#include <pthread.h>
#include <sys/types.h>

#include "backend.h"
#include "sterna/store.h"

struct sterna_store {
    _Atomic unsigned refs;
    pid_t pid;   /* of the process that opened it: a forked child is refused */
    char *shown; /* what messages call it: no secrets */
    char *dir;   /* where its selections/ and cache/ lie: of an embedded store, the store itself */
    int read_only; /* opened for reading, whatever this user may do */
    struct stn_backend *backend;
    struct stn_catalog *catalog; /* thread-safe */
    pthread_mutex_t list_lock;   /* guards what follows; held while samples are listed */
    int listed;                  /* by this handle */
};

sterna_store *stn_store_retain(sterna_store *store);

/* EFORKED (with a message) in a child of the process that opened it. */
int stn_store_check(const sterna_store *store, struct sterna_error *err);

/* sterna_store_info() of what the catalogue holds now. */
int stn_store_facts(sterna_store *store, struct sterna_store_info *out, struct sterna_error *err);

/* Before the catalogue's rows are used: fills it, once, if the store lists its samples only when
 * they are asked for. */
int stn_store_list(sterna_store *store, struct sterna_error *err);
/* *listed: 0 if such a store's catalogue was never filled, by this handle or an earlier one. */
int stn_store_is_listed(sterna_store *store, int *listed, struct sterna_error *err);

/* Opens the reading side of a store (a sterna_store: as a flight asks for it). */
int stn_store_source_open(void *store, struct stn_source **out, struct stn_sink *sink,
                          const struct stn_source_options *options, struct sterna_error *err);

#endif
