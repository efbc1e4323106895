/* One moment of a catalogue, being read: a connection of its own in a read transaction. So readers
 * neither wait for each other nor for a writer, and an idle catalogue holds no lock on its file. */
#ifndef STN_SNAPSHOT_H
#define STN_SNAPSHOT_H

#include "catalog/catalog.h"
#include "catalog/schema.h"

struct stn_snapshot {
    struct stn_sql sql;
    struct stn_schema schema;
    int lengths_unknown; /* the catalogue's */
    int unlocked;        /* the file was taken for unchanging */
};

/* dataset_id (may be NULL): EMISMATCH if the file is another data set's by now. `path` is borrowed.
 * IMMUTABLE takes locks where it can, and goes without where it cannot. */
int stn_snapshot_open(struct stn_snapshot *out, const char *path, enum stn_catalog_mode mode,
                      const uint8_t *dataset_id, struct sterna_error *err);
void stn_snapshot_close(struct stn_snapshot *s); /* safe twice */

/* Brings what a write has left in the -wal file back into the one file: best effort, at once. */
void stn_catalog_tidy(const struct stn_sql *writer);
/* The same for what a killed process left behind, unless somebody is writing now. */
void stn_catalog_recover(const char *path);
/* 1 if there is a -wal file with something in it. */
int stn_catalog_has_wal(const char *path);
int stn_catalog_has_shm(const char *path); /* the -wal file's index, which may outlive it */

#endif
