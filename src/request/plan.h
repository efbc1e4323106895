/* The plan: a pure function from (selection size, seed, epoch, batch size, rank, world size) to
 * which sample stands in which row of which batch.
 *
 * Words: a *position* counts 0..n-1 through the epoch's order. What remains of an epoch is numbered
 * by *turn* 0..m-1 (all n positions at first; after a change of world size, those not yet
 * delivered). Rank r of W has every W-th turn; its own are counted by *row* 0, 1, 2 ...:
 * turn = row * W + r. Batch k of a rank takes the next B rows. */
#ifndef STN_PLAN_H
#define STN_PLAN_H

#include "request/order.h"
#include "sterna/state.h"

/* Positions from `base` on that were delivered before: bit i of word i / 64 is base + i. */
struct stn_holes {
    uint64_t *words; /* NULL: none */
    uint64_t *rank;  /* zeros before each word */
    uint64_t n_words;
    uint64_t n_set;
};

struct stn_plan {
    struct stn_order order;
    uint64_t base;                 /* all positions below were delivered before this part */
    const struct stn_holes *holes; /* borrowed; only the epoch that was resumed has them */
    uint64_t n_turns;              /* m: positions that remain */
    uint32_t batch_size, rank, world_size;
    enum sterna_uneven uneven;
    uint64_t n_rows;  /* this rank's rows that carry samples of its own */
    uint64_t n_steps; /* batches on this rank */
};

struct stn_plan_spec {
    uint64_t n, seed, epoch;
    int shuffle;
    uint32_t batch_size, rank, world_size;
    enum sterna_uneven uneven;
    uint64_t base;
    const struct stn_holes *holes;
};

void stn_plan_init(struct stn_plan *p, const struct stn_plan_spec *spec);

/* Position of `turn` < n_turns; sample of a row: rows past this rank's own wrap around, so that
 * padding repeats real samples (n_turns must not be 0). */
uint64_t stn_plan_position(const struct stn_plan *p, uint64_t turn);
uint64_t stn_plan_sample(const struct stn_plan *p, uint64_t row);

/* Rows of its own in a batch that starts after `done` rows, and rows in all (padding included). */
uint32_t stn_plan_own(const struct stn_plan *p, uint64_t done);
uint32_t stn_plan_width(const struct stn_plan *p, uint32_t own);

/* words[n_words] is taken over (freed by fini). ENOMEM. */
int stn_holes_init(struct stn_holes *h, uint64_t *words, uint64_t n_words);
void stn_holes_fini(struct stn_holes *h);

#endif
