/* The state record: which positions of an epoch one rank has delivered.
 *
 * File and wire form (version 1, little-endian): "STRNSTAT", u16 version, u16 plan version, u8
 * order, u8 uneven, u8 shuffle, u8 zero, u64 seed, epoch, n, selection hash [32], u32 batch size,
 * rank, world size, u64 base, base step, step, watermark, u32 hole words, u32 row words, the words,
 * and a CRC-32C over all before it. */
#ifndef STN_STATE_H
#define STN_STATE_H

#include "request/plan.h"

#define STN_STATE_VERSION 1
#define STN_WINDOW_ROWS 16384 /* rows above the watermark that may be delivered out of order */
#define STN_WINDOW_WORDS (STN_WINDOW_ROWS / 64)

/* Rows of a rank that were handed out: all below the watermark, and those whose bit is set. */
struct stn_delivered {
    uint64_t watermark;               /* rows */
    uint64_t words[STN_WINDOW_WORDS]; /* a ring: row r is bit r % 64 of word r / 64 % WORDS */
};

int stn_delivered_has(const struct stn_delivered *d, uint64_t row);
/* row must lie in [watermark, watermark + WINDOW_ROWS). Returns 0 if it was there already. */
int stn_delivered_add(struct stn_delivered *d, uint64_t row);

struct stn_state {
    uint64_t seed, epoch, n;
    uint8_t selection_hash[STERNA_HASH_BYTES];
    int shuffle;
    enum sterna_order order;
    enum sterna_uneven uneven;
    uint32_t batch_size, rank, world_size;
    uint64_t base, base_step; /* where this part of the epoch began */
    uint64_t step;            /* batches delivered in this part */
    struct stn_holes holes;   /* positions above base delivered before this part; owned */
    struct stn_delivered delivered;
};

void stn_state_fini(struct stn_state *s);

size_t stn_state_encode(const struct stn_state *s, void *buf, size_t cap); /* bytes it needs */
int stn_state_decode(struct stn_state *s, const void *buf, size_t bytes, struct sterna_error *err);

/* The plan that the state is about, and whether it has nothing left in its epoch. */
void stn_state_plan(const struct stn_state *s, struct stn_plan *plan);
int stn_state_finished(const struct stn_state *s);

/* Rewrites the states of all ranks (or, in strict order, of one of them, all being at the same
 * step) into one for a world of 1 whose base and holes say all; a finished epoch becomes the start
 * of the next. EMISMATCH says why they do not fit together. */
int stn_state_merge(struct stn_state *out, const struct stn_state *states, size_t n,
                    struct sterna_error *err);

/* So many batches of the epoch delivered, those of earlier parts included; strict order only. */
int stn_state_set_step(struct stn_state *s, uint64_t step, struct sterna_error *err);

#endif
