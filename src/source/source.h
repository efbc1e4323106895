/* The table that every store's reading side is: requests go in, answers come out of it at any time,
 * in any order, on any thread.
 *
 * A *request* asks for some fields of one sample. It is named by a ticket, which is never used
 * again. For each field the source calls stn_sink_place() as soon as it knows key and length; it
 * gets the address where the bytes shall land, and puts them there. Then it calls
 * stn_sink_complete() once for the ticket. A source must not touch the address after that.
 *
 * The sink defends itself: a ticket that was already completed, or is unknown, is STALE, and
 * nothing lands. So a source (or the server behind it) may answer late, twice, wrongly or never. */
#ifndef STN_SOURCE_H
#define STN_SOURCE_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "base/base.h"
#include "sterna/path.h"

#define STN_FIELDS_MAX 32 /* fields of one request */

struct stn_request {
    uint64_t ticket;
    uint8_t id[16];
    const uint8_t *fields; /* numbers of the fields asked for; valid until completion */
    uint32_t n_fields;
    uint64_t expected_bytes; /* of all fields together; 0: not known */
};

struct stn_sink;

/* Field `part` (index into request.fields) of the sample with key `id` has `bytes` bytes with
 * CRC-32C `crc`. *to is where they shall land.
 *   OK         put `bytes` bytes at *to
 *   EPROTO     the key is not the one asked for: complete with this code
 *   EBUDGET    no room now: complete with this code; the loader asks again when there is room
 *   ENOMEM     the system has no memory: complete with this code
 *   ECANCELED  stale: nobody wants the answer; drop it (completing is allowed and ignored)
 * Any thread. */
int stn_sink_place(struct stn_sink *sink, uint64_t ticket, uint32_t part, const uint8_t id[16],
                   uint64_t bytes, uint32_t crc, uint8_t **to);

/* The checksum of a part that has been placed, if it came later than the place was needed. Before
 * completing. Any thread. */
void stn_sink_expect(struct stn_sink *sink, uint64_t ticket, uint32_t part, uint32_t crc);

/* A part that has been placed has no checksum: any bytes are taken. Before completing. Any thread.
 */
void stn_sink_unchecked(struct stn_sink *sink, uint64_t ticket, uint32_t part);

/* The sample's label, where the store has it beside the bytes: it counts when the selection knows
 * none. Before completing. Any thread. */
void stn_sink_label(struct stn_sink *sink, uint64_t ticket, int64_t label);

/* The answer broke off and begins anew (from another server): forgets what was told of the ticket,
 * as if nothing had been placed. Any thread. */
void stn_sink_restart(struct stn_sink *sink, uint64_t ticket);

/* Are all placed parts what was stored? OK or ECORRUPT; for a source that can ask another replica
 * before it completes, which then computes no checksum again. Counts what is corrupt. Any thread.
 */
int stn_sink_verify(struct stn_sink *sink, uint64_t ticket);

/* The answer is there: OK (fields never placed are null), ENOTFOUND (no such sample), or why not.
 * Checksums are verified here, on the calling thread, while the bytes are in its cache.
 * `why` (may be NULL) is copied: where and what, for the ledger. Any thread. */
void stn_sink_complete(struct stn_sink *sink, uint64_t ticket, int code, const char *why);

/* So many tries of requests beyond the first the source has made by itself. Any thread. */
void stn_sink_count_retries(struct stn_sink *sink, unsigned n);

/* Wakes the loader for all completions so far. Call it after each chunk of them. Any thread. */
void stn_sink_flush(struct stn_sink *sink);

struct stn_source;
struct stn_source_ops {
    /* Takes all n requests (copying the records); called by one thread at a time. ENOMEM or
     * another code if it took none. */
    int (*submit)(struct stn_source *source, const struct stn_request *requests, size_t n);
    /* The answer is no longer wanted: complete the ticket soon (ECANCELED, or as it comes). */
    void (*cancel)(struct stn_source *source, uint64_t ticket);
    /* Stops; after it returns nothing is called or written any more. Frees the source. */
    void (*close)(struct stn_source *source);
    /* How the way to the bytes is now. Any thread. NULL: there is none, as to a disk. */
    void (*path)(struct stn_source *source, struct sterna_path *out);
};

struct stn_source {
    const struct stn_source_ops *ops; /* implementers put this struct first in their own */
    /* Set by the source as it learns, read by the loader at any time: */
    _Atomic uint64_t ahead_bytes; /* it can use so many in flight: the loader asks for no more */
    _Atomic uint64_t slack_bytes; /* and so many landed ahead of one that is late */
    unsigned timeout_ms;          /* after which an unanswered request is asked again; 0: never */
    unsigned n_threads;           /* that complete requests at once; 0: one */
};

/* What a store gives a loader: opens a source that answers to `sink`. */
struct stn_source_options {
    unsigned threads; /* 0: chosen by the source */
    /* Numbers of the fields that every request will ask for, in this order; valid while the source
     * is open. */
    const uint8_t *fields;
    uint32_t n_fields;
};

#endif
