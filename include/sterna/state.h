/* States: where in its epochs a loader stands, in a few hundred bytes with a checksum.
 *
 * A state says which positions of the epoch were delivered. The states of all ranks merge into one
 * from which any number of ranks can go on; under order = strict, where all ranks are at the same
 * step, the state of any one rank is enough. */
#ifndef STERNA_STATE_H
#define STERNA_STATE_H

#include "sterna/selection.h"

#ifdef __cplusplus
extern "C" {
#endif

enum sterna_order { STERNA_ORDER_STRICT = 0, STERNA_ORDER_ARRIVAL = 1 };
enum sterna_uneven { STERNA_UNEVEN_PAD = 0, STERNA_UNEVEN_DROP = 1, STERNA_UNEVEN_EXACT = 2 };

struct sterna_state_info {
    uint32_t plan_version;
    uint64_t seed, epoch, n;
    uint8_t selection_hash[STERNA_HASH_BYTES];
    uint32_t batch_size, rank, world_size; /* merged: world_size 1 */
    enum sterna_order order;
    enum sterna_uneven uneven;
    int shuffle;
    uint64_t step;      /* next step of this epoch */
    uint64_t base_step; /* step at which the present world size took over, 0: at the start */
    uint64_t steps;     /* batches of this epoch on this rank, those before base_step included */
    uint64_t delivered; /* positions of the epoch delivered, as far as this state knows */
    int finished;       /* nothing of the epoch is left for this rank: the next epoch follows */
};

/* EFORMAT: no state, cut short, checksum wrong, or of a newer version (the message says which). */
STERNA_API int sterna_state_info(const void *state, size_t bytes, struct sterna_state_info *out,
                                 struct sterna_error *err);

/* Merges the states of all ranks 0..n-1 (any order) into out[cap]; *size is what it needs.
 * EMISMATCH if they are not of one run or a rank is missing, EINVAL if cap is too small. */
STERNA_API int sterna_states_merge(const void *const *states, const size_t *bytes, size_t n,
                                   void *out, size_t cap, size_t *size, struct sterna_error *err);

/* The state with `step` batches of its epoch delivered: what sterna_batch_state() gave, or will
 * give, of the batch before that step. For a consumer that counts steps, and not batches. Only in
 * strict order, and from the state's base_step to the epoch's last step (else EINVAL, as if cap is
 * too small for *size). `out` may be `state`. */
STERNA_API int sterna_state_at_step(const void *state, size_t bytes, uint64_t step, void *out,
                                    size_t cap, size_t *size, struct sterna_error *err);

/* Saves a state to `path`, replaced atomically, with its selection beside it as
 * PATH.selection; and reads both back (*state is malloc'ed: free() it; *selection may be NULL
 * in the call if not wanted). ENOTFOUND if there is no such file. */
STERNA_API int sterna_state_save(const void *state, size_t bytes, sterna_selection *selection,
                                 const char *path, struct sterna_error *err);
STERNA_API int sterna_state_load(const char *path, void **state, size_t *bytes,
                                 sterna_selection **selection, struct sterna_error *err);

#ifdef __cplusplus
}
#endif
#endif
