/* The embedded store's bytes: one LMDB environment (DIR/data.mdb).
 *
 * Key: 16-byte id, 1-byte field number. Value: 16-byte header, then the bytes:
 *   0 u8 version (1)   1 u8 flags (0)   2 u16 zero   4 u32 CRC-32C of the bytes   8 u64 length
 * all little-endian. It knows nothing of the catalogue. */
#ifndef STN_LMDB_H
#define STN_LMDB_H

#include "source/source.h"
#include "source/values.h"

#define STN_VALUE_HEADER_BYTES 16

struct stn_lmdb; /* one a file and process, shared: found again by device and inode */

enum stn_lmdb_mode { STN_LMDB_READ, STN_LMDB_WRITE, STN_LMDB_CREATE };

/* CREATE makes what is not there, or finishes what a creation that was cut short has left.
 * Opens DIR/data.mdb, or adds a reference to the environment this process already has of it.
 * Checks size and meta pages first: ENOTFOUND, EFORMAT (foreign, truncated, newer), EREADONLY.
 * READ in a directory that cannot be written opens without locks. */
int stn_lmdb_acquire(struct stn_lmdb **out, const char *dir, enum stn_lmdb_mode mode,
                     struct sterna_error *err);
void stn_lmdb_release(struct stn_lmdb **db); /* NULL is fine */

/* 1 if this user cannot write it. */
int stn_lmdb_read_only(const struct stn_lmdb *db);

/* One value's header; ENOTFOUND if there is none. A short read transaction of its own. */
int stn_lmdb_header(struct stn_lmdb *db, const uint8_t id[16], uint8_t field,
                    struct stn_value_header *out, struct sterna_error *err);

/* How many values there are, listed in a catalogue or not. */
int stn_lmdb_count(struct stn_lmdb *db, uint64_t *n_values, struct sterna_error *err);

/* Writing: values gather in a transaction that is committed (synced) whenever it has grown past
 * 64 MiB, and by commit. One writer a store in all processes; others wait in open. A transaction
 * belongs to the thread that opened it: all calls of one writer come from one thread. */
struct stn_lmdb_writer;
int stn_lmdb_writer_open(struct stn_lmdb_writer **out, struct stn_lmdb *db,
                         struct sterna_error *err);
/* Header of what is stored now, this writer's own puts included; ENOTFOUND. */
int stn_lmdb_writer_find(struct stn_lmdb_writer *w, const uint8_t id[16], uint8_t field,
                         struct stn_value_header *out, struct sterna_error *err);
/* Stores (or replaces). EIO with ENOSPC in err when the disk is full; EINVAL (and nothing else is
 * lost) for a value of nearly 2 GiB or more, which LMDB cannot write. */
int stn_lmdb_writer_put(struct stn_lmdb_writer *w, const uint8_t id[16], uint8_t field,
                        const void *data, size_t bytes, uint32_t crc, struct sterna_error *err);
int stn_lmdb_writer_remove(struct stn_lmdb_writer *w, const uint8_t id[16], uint8_t field,
                           struct sterna_error *err);
int stn_lmdb_writer_commit(struct stn_lmdb_writer *w, struct sterna_error *err); /* durable */
void stn_lmdb_writer_close(struct stn_lmdb_writer **w); /* forgets what is not committed */

/* The same as a table; put() has copied the bytes when it returns. */
int stn_lmdb_values_open(struct stn_values **out, struct stn_lmdb *db, struct sterna_error *err);

/* Only to be looked up, by readers too: find() and close(). */
int stn_lmdb_headers_open(struct stn_values **out, struct stn_lmdb *db, struct sterna_error *err);

/* The reading side: a pool of threads, each with a short read transaction a chunk of requests. */
int stn_lmdb_source_open(struct stn_source **out, struct stn_lmdb *db, struct stn_sink *sink,
                         const struct stn_source_options *options, struct sterna_error *err);

#endif
