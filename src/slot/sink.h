/* Slots: one for each request that a source has, and the sink it answers to.
 *
 * A slot belongs to the source from stn_sink_open_slot() until its completion comes out of
 * stn_sink_drain(); the loader reads and changes it only before and after. Its ticket carries a
 * generation, so that an answer to a request of the past finds nothing to write to. */
#ifndef STN_SINK_H
#define STN_SINK_H

#include <pthread.h>
#include <stdatomic.h>

#include "slot/pool.h"
#include "source/source.h"
#include "sterna/selection.h"

struct stn_part {  /* where one field lands */
    uint8_t *data; /* NULL: null, or not there yet */
    uint64_t bytes;
    uint32_t crc;
    int placed;            /* the source announced it */
    int unchecked;         /* there is no checksum: any bytes will do */
    struct stn_block *own; /* memory of its own, if the prepared place did not fit */
    uint8_t *prepared;     /* place of exactly prepared_bytes; NULL: none, take a block */
    uint64_t prepared_bytes;
};

struct stn_slot {
    /* any thread, atomic: generation and state, changed by open, complete and drain */
    atomic_uint_least64_t tag;
    /* loader, before submitting */
    uint8_t id[16];
    uint64_t reserve_bytes; /* of the budget, which a place of its own must leave alone */
    void *owner;            /* the loader's item; NULL: given up, nobody waits */
    struct stn_block *held; /* given up: keeps the prepared place alive */
    uint64_t sent_ns, asked_bytes;
    struct stn_slot *newer, *older; /* loader: list of slots in the order of sending */
    /* source, until completed */
    struct stn_part *parts;
    int64_t label; /* that came with the bytes, or STERNA_LABEL_NONE */
    int code;
    uint64_t wanted_bytes; /* of the part for which there was no room */
    char *why;             /* malloc'ed, or NULL */
    struct stn_slot *next; /* free list or inbox */
};

struct stn_sink {
    /* set once */
    struct stn_slot *slots;
    struct stn_part *parts;
    uint32_t n_slots, n_parts; /* parts a slot */
    struct stn_pool *pool;
    void (*wake)(void *ctx);
    void *ctx;
    struct stn_clock *clock; /* or NULL */
    /* loader thread */
    struct stn_slot *free;
    /* any thread, guarded by lock */
    pthread_mutex_t lock;
    struct stn_slot *inbox, **inbox_end;
    /* any thread, atomic */
    atomic_uint_least64_t late, misrouted, corrupt, retries; /* retries: the source's own */
    atomic_uint_least64_t verify_ns; /* spent on checksums, by all threads; 0 without a clock */
};

int stn_sink_init(struct stn_sink *sink, uint32_t n_slots, uint32_t n_parts, struct stn_pool *pool,
                  void (*wake)(void *ctx), void *ctx);
void stn_sink_fini(struct stn_sink *sink); /* after the source was closed; safe twice */

/* A free slot with empty parts, its ticket in *ticket; NULL if all are in use. */
struct stn_slot *stn_sink_open_slot(struct stn_sink *sink, uint64_t *ticket);
uint64_t stn_sink_ticket(const struct stn_sink *sink, const struct stn_slot *slot);
/* All slots completed since the last call, in order, linked by `next`. */
struct stn_slot *stn_sink_drain(struct stn_sink *sink);
/* Releases what the slot still owns and makes it free. */
void stn_sink_close_slot(struct stn_sink *sink, struct stn_slot *slot);

#endif
