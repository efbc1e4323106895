/* What the files of the embedded store share, and nobody else may see: the environment, how a read
 * transaction is begun, and where a value lies in the file. */
#ifndef STN_LMDB_ENV_H
#define STN_LMDB_ENV_H

#include <lmdb.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/types.h>

#include "source/lmdb.h"

_Static_assert(sizeof(size_t) == 8, "the map is 1 TiB and LMDB's file format follows size_t");

#define STN_VALUE_VERSION 1
#define STN_LMDB_KEY_BYTES (16 + 1)
/* LMDB writes the pages of a value with one call, and takes it for a failure when the kernel writes
 * less. Linux writes at most 2 GiB less one of its own pages (at most 64 KiB) at once; 16 bytes of
 * that are the page's header. */
#define STN_LMDB_VALUE_MAX ((UINT64_C(2) << 30) - (64 << 10) - 16 - STN_VALUE_HEADER_BYTES)

/* Lets transactions through, and remaps the file only while there is none: LMDB moves the map
 * under everybody's feet. A thread that has a write transaction may also read. */
struct stn_lmdb_gate {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    unsigned readers, remappers; /* remappers: waiting for their turn, or having it */
    int writing, remapping, ready;
};

struct stn_lmdb {
    /* under the registry's mutex */
    struct stn_lmdb *next;
    unsigned refs;
    /* fixed once open, any thread */
    dev_t dev;
    ino_t ino;
    pid_t pid;  /* of the process that opened it; a child must not touch it */
    char *path; /* DIR/data.mdb */
    MDB_env *env;
    MDB_dbi dbi;
    int fd; /* our own, for pread */
    size_t page_bytes;
    int read_only;
    struct stn_lmdb_gate gate;
    int unmapped; /* a remap failed half-way; written by a remapper, read inside the gate */
    atomic_int has_writer; /* a stn_lmdb_writer is open in this process */
};

#define STN_LMDB_READERS_MAX 1024

/* First size of the map. A variable so that a test can start small. */
extern size_t stn_lmdb_map_bytes;

/* lmdb_check.c: looks at a data file before LMDB maps it. *empty: nothing was ever stored: it
 * has length 0, only zeros, or one meta page of the two: a creation was cut short. EFORMAT:
 * foreign, newer or truncated; EIO. */
int stn_lmdb_check_file(int fd, const char *path, int *empty, struct sterna_error *err);

int stn_lmdb_gate_init(struct stn_lmdb_gate *gate);
void stn_lmdb_gate_fini(struct stn_lmdb_gate *gate);

/* The size to map a file with at open: as much as the address space has, up to the above. */
size_t stn_lmdb_map_size_for(size_t file_bytes);

/* A message for an LMDB code or errno, and our code for it. */
int stn_lmdb_fail_at(const char *path, int lmdb_code, const char *what, struct sterna_error *err);
int stn_lmdb_fail(const struct stn_lmdb *db, int lmdb_code, const char *what,
                  struct sterna_error *err);

/* Begins a read transaction in *txn (or renews the one that is there). end resets it, keeping it
 * for the next begin; drop frees it. */
int stn_lmdb_read_begin(struct stn_lmdb *db, MDB_txn **txn, struct sterna_error *err);
void stn_lmdb_read_end(struct stn_lmdb *db, MDB_txn *txn);

/* The same for the one write transaction, without the transaction itself. */
void stn_lmdb_write_enter(struct stn_lmdb *db);
void stn_lmdb_write_leave(struct stn_lmdb *db);

/* Makes the map larger than `need` bytes and than the file's used pages, once no transaction of
 * this process is open; the caller must have none. */
int stn_lmdb_grow(struct stn_lmdb *db, size_t need, struct sterna_error *err);

/* Where a value lies in the file: its header, then the bytes. */
struct stn_lmdb_span {
    off_t offset;
    size_t bytes; /* header included */
    const uint8_t
        *in_leaf; /* a small value lies in the leaf page itself, which finding its key has
                     touched: here it is in the map, until the transaction ends. Or NULL */
};

/* ENOTFOUND (without a message) if the key is not there. Touches no page of the value itself, so
 * nothing is read from a cold disk but the B-tree. */
int stn_lmdb_locate(struct stn_lmdb *db, MDB_cursor *cursor, const uint8_t id[16], uint8_t field,
                    struct stn_lmdb_span *out, struct sterna_error *err);

/* OK if any field of the sample is stored; ENOTFOUND, naming it. */
int stn_lmdb_has_sample(struct stn_lmdb *db, MDB_cursor *cursor, const uint8_t id[16],
                        struct sterna_error *err);

/* Checks a value's header against the length that the B-tree knows. */
int stn_lmdb_header_parse(const struct stn_lmdb *db, const uint8_t id[16], uint8_t field,
                          const uint8_t header[STN_VALUE_HEADER_BYTES], size_t value_bytes,
                          struct stn_value_header *out, struct sterna_error *err);

/* Fails with `code`, naming file, sample and field. */
int stn_lmdb_fail_value(const struct stn_lmdb *db, int code, const uint8_t id[16], uint8_t field,
                        const char *what, struct sterna_error *err);

static inline void stn_lmdb_key(uint8_t key[STN_LMDB_KEY_BYTES], const uint8_t id[16],
                                uint8_t field) {
    for (int i = 0; i < 16; i++) key[i] = id[i];
    key[16] = field;
}

#endif
