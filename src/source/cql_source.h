/* What the halves of a cluster's reading side share, and nobody else may see: rows (cql.c), values
 * that lie in chunks beside them (cql_chunks.c), records for both (cql_records.c). */
#ifndef STN_CQL_SOURCE_H
#define STN_CQL_SOURCE_H

#include <pthread.h>
#include <stdatomic.h>
#include <sys/types.h>

#include "base/log.h"
#include "cassandra/cassandra.h"
#include "slot/pool.h"
#include "source/cql_select.h"
#include "source/source.h"

struct stn_cql_source;

struct stn_cql_landing { /* one field of a read */
    uint64_t bytes;      /* as the row says, then as it is */
    uint32_t crc;
    uint8_t has_bytes, has_crc, placed;
};

/* One request of the loader: a row, then the chunks of what is longer. */
struct stn_cql_read {
    struct stn_query_call call;
    struct stn_cql_source *source;
    uint8_t id[16];
    struct stn_cql_value key; /* id */
    uint64_t ticket;          /* under the source's lock; 0: free */
    uint64_t expected_bytes;
    /* Between the loop thread and cancel(): a read that waits can be completed at once, one whose
     * bytes may be landing only by the loop thread. */
    atomic_int state;
    atomic_int canceled;
    /* loop thread */
    struct stn_cql_landing *fields;
    int asked_again;    /* at the stronger consistency */
    unsigned n_corrupt; /* answers so far */
    uint32_t from_bit;  /* of the node that gave the row */
    char from[64];
    int chunks_failed; /* and were asked for elsewhere already */
    int code;          /* the first failure */
    char why[200];     /* what we found wrong, or "" */
    uint32_t n_out;    /* chunks on their way */
    struct stn_cql_read *next;
};

struct stn_cql_chunk { /* one row of the chunk table; loop thread */
    struct stn_query_call call;
    struct stn_cql_read *read;
    uint32_t field, number, bytes, crc;
    uint8_t *to;
    struct stn_cql_value values[3]; /* id, field, n */
    uint8_t number_be[2];
    int asked_again, landed;
    unsigned n_corrupt;
    const char *what; /* we found wrong, or NULL */
    struct stn_cql_chunk *next;
};

struct stn_cql_slab;

struct stn_cql_source {
    struct stn_source base;
    struct stn_session *session;
    struct stn_sink *sink;
    pid_t pid;
    /* fixed once open */
    uint16_t consistency;
    int foreign;
    const char *table, *chunk_table;     /* the store's; the latter may be NULL */
    struct stn_statement *rows, *chunks; /* chunks NULL: values are never in chunks */
    struct stn_row_shape shape;
    uint16_t label_at; /* small column; 0: none */
    struct stn_cql_place places[STN_FIELDS_MAX];
    uint32_t n_fields;
    atomic_int was_asked; /* from then on there is a loader to be woken */
    /* any thread, under the lock */
    pthread_mutex_t lock;
    struct stn_cql_read *free_reads;
    size_t n_reads, n_free_reads;
    struct stn_cql_slab *slabs; /* of reads */
    /* loop thread */
    struct stn_turn_hook hook;       /* wakes the loader, once for many answers */
    size_t n_completed, n_under_way; /* since it was woken; and not yet */
    uint64_t completed_ns;           /* the first of them */
    struct stn_log_gate told;
    struct stn_cql_chunk *free_chunks;
    struct stn_cql_slab *chunk_slabs;
};

/* ---- records (cql_records.c) ---- */

/* Takes n reads, linked by next; NULL without memory for all of them. */
struct stn_cql_read *stn_cql_reads_take(struct stn_cql_source *s, size_t n);
size_t stn_cql_read_give(struct stn_cql_read *read); /* how many are in use still */
/* Calls each() for all reads in use, under the lock. */
void stn_cql_reads_visit(struct stn_cql_source *s,
                         void (*each)(struct stn_cql_read *read, void *ctx), void *ctx);
struct stn_cql_chunk *stn_cql_chunks_take(struct stn_cql_source *s, size_t n);
void stn_cql_chunk_give(struct stn_cql_chunk *chunk);
/* NULL behind the last one; for tests. */
const struct stn_cql_slab *stn_cql_slab_next(const struct stn_cql_slab *slab);
void stn_cql_records_free(struct stn_cql_source *s); /* nothing is on its way any more */

/* ---- rows (cql.c) ---- */

/* A place for a whole value. Codes of stn_sink_place(), and ECORRUPT. */
int stn_cql_read_place(struct stn_cql_read *read, uint32_t field, uint64_t bytes, uint8_t **to);
/* Counts an answer with another key than was asked for. Returns EPROTO. */
int stn_cql_read_misrouted(struct stn_cql_read *read);
/* Tries of a call beyond its first. */
void stn_cql_count_tries(struct stn_cql_source *s, const struct stn_query_call *q);
/* The first failure counts. `table` is the one that was asked. */
void stn_cql_read_fail(struct stn_cql_read *read, int code, const char *table,
                       const struct stn_query_answer *answer);
/* One that was on its way is back; the last one completes the ticket. */
void stn_cql_read_release(struct stn_cql_read *read);
/* Another replica may have it whole: asks there, with a line in the log, and returns 1; 0 after a
 * few times. `n_corrupt` counts them, `what` is the value in words. */
int stn_cql_ask_elsewhere(struct stn_cql_read *read, struct stn_query_call *q, unsigned *n_corrupt,
                          const char *from, uint32_t from_bit, const char *what);
/* 1: it was asked at a weak consistency: ask once more at a stronger one. */
int stn_cql_may_ask_again(uint16_t consistency, int *asked_again);

/* In how many nanoseconds the loader's thread is woken; 0: now. When some share of what is on its
 * way has come: that is a small part of a round trip, whatever the path. The last ones wait for
 * nothing, and none for long. */
uint64_t stn_cql_wake_in_ns(size_t n_completed, size_t n_under_way, uint64_t waited_ns);

/* ---- chunks (cql_chunks.c) ---- */

int stn_cql_chunks_prepare(struct stn_cql_source *s, const char *table, struct sterna_error *err);
/* Places field `field` and asks for its chunks; each holds the read (n_out). */
int stn_cql_chunks_ask(struct stn_cql_read *read, uint32_t field);

#endif
