/* The local directory of one data set of one cluster, shared by this user's processes on this host:
 *
 *   BASE/CLUSTER-TABLES-DATASETID/
 *      catalog.sqlite         the catalogue, synced from the cluster
 *      lock                   held by who changes that, or makes or removes a copy
 *      copy-XXXXXX/           a catalogue of one run being written, and its own lock
 *      cache/ selections/     as in an embedded store
 *
 * TABLES is KEYSPACE.DATASET: a cluster may hold copies, which have the same data set id and other
 * runs. The id tells a data set from one that was dropped and made anew. Of another tool's tables,
 * whose id is made of their names, it is the id alone.
 *
 * BASE is $STERNA_CACHE, or sterna below $XDG_CACHE_HOME or ~/.cache. All of it can be removed at
 * any time that nothing uses it, except selections that somebody has named. */
#ifndef STN_CASSANDRA_CACHE_H
#define STN_CASSANDRA_CACHE_H

#include "base/base.h"

/* The directory, made if need be; *dir is malloc'ed. `tables` may be NULL. EINVAL: no home; EIO,
 * EREADONLY. */
int stn_cache_dir(char **dir, const char *cluster, const char *tables, const uint8_t dataset_id[16],
                  struct sterna_error *err);

/* Waits until no other process has it. *fd: close() ends it. */
int stn_cache_lock(const char *dir, int *fd, struct sterna_error *err);

struct stn_cache_copy {  /* empty: zeros */
    char *dir, *catalog; /* its directory, and where its catalogue lies */
    int lock_fd;
    int open;
};
/* A new directory with a copy of DIR/catalog.sqlite. Copies that killed processes have left are
 * removed. Takes the directory's lock meanwhile. */
int stn_cache_copy_open(struct stn_cache_copy *copy, const char *dir, struct sterna_error *err);
void stn_cache_copy_close(struct stn_cache_copy *copy); /* removes it; safe twice */

/* Removes a catalogue with the files that SQLite keeps beside it. */
void stn_cache_remove_catalog(const char *path);

#endif
