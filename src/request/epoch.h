/* One epoch under way: its plan, how far it was asked for, and how far it was composed. */
#ifndef STN_EPOCH_H
#define STN_EPOCH_H

#include "request/state.h"

struct stn_epoch {
    struct stn_state state; /* delivered and step: what was composed into batches so far */
    struct stn_plan plan;
    uint64_t next_row;      /* first row not asked for yet */
    uint64_t n_open;        /* own rows neither asked for nor delivered before */
    uint64_t n_undelivered; /* own rows not composed yet */
};

/* Begins where `state` stands (taken over: its holes move in). */
void stn_epoch_init(struct stn_epoch *e, struct stn_state *state);
void stn_epoch_fini(struct stn_epoch *e);

/* The next row to ask for; its sample's index in *index and 1 in *own if it is this rank's (else
 * it only fills a batch that has no row of its own). AGAIN: the window is full (arrival order);
 * END: all were asked for. */
int stn_epoch_ask(struct stn_epoch *e, uint64_t *row, uint64_t *index, int *own);

/* Rows of its own that the next batch to be composed / to be asked for takes. */
uint32_t stn_epoch_own(const struct stn_epoch *e);
/* Batches to come; after compose(): rows are marked as delivered one by one, then the step. */
uint64_t stn_epoch_steps_left(const struct stn_epoch *e);
int stn_epoch_deliver(struct stn_epoch *e, uint64_t row); /* 0: it was delivered before */

#endif
