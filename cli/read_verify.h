/* The second opinion of `read --verify`: every sample exactly once, counted from what the batches
 * hold and from the plan, not from the loader's ledger. */
#ifndef CLI_READ_VERIFY_H
#define CLI_READ_VERIFY_H

#include "sterna/sterna.h"

struct cli_verify {
    uint64_t duplicates, missing; /* in all */
    uint64_t epoch_duplicates, epoch_missing;
    uint64_t misplaced;  /* rows that the plan puts elsewhere (strict order) */
    uint64_t mismatched; /* rows whose id or length is not that of the selection */
    uint64_t failed;     /* rows that carry an error code */
    char first[200];     /* the first finding, in words; "" if there is none */
    /* private */
    struct sterna_loader_options plan;
    sterna_selection *selection;
    sterna_store *store;
    uint64_t n, epoch;
    struct sterna_state_info start; /* where the loader began; its own plan for that epoch */
    int resumed;                    /* in the middle of an epoch */
    uint64_t *expected, *seen;      /* bitmaps over the selection */
    uint64_t n_expected, n_seen;    /* bits of expected that must come, and that came */
    uint64_t *index;                /* scratch: one batch of the plan */
    uint8_t *valid;
    int in_epoch;
};

/* `plan` as given to the loader; start[start_bytes]: its state before the first batch, which must
 * outlive v. All return 0 or an exit code (after a message). */
int cli_verify_open(struct cli_verify *v, sterna_store *store, sterna_selection *selection,
                    const struct sterna_loader_options *plan, const void *start,
                    size_t start_bytes);
int cli_verify_batch(struct cli_verify *v, const sterna_batch *batch,
                     const struct sterna_batch_info *info);
/* The epoch of the last batch is over: what has not come is missing. */
void cli_verify_end_epoch(struct cli_verify *v);
/* A whole epoch of which no batch came. */
int cli_verify_lost_epoch(struct cli_verify *v, uint64_t epoch);
void cli_verify_close(struct cli_verify *v);

int cli_verify_found(const struct cli_verify *v); /* 1: something is wrong */

#endif
