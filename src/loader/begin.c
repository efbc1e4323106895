/* Where a loader begins: the start of an epoch, or where a saved state stands, on this world. */
#include <stdio.h>
#include <string.h>

#include "loader/loader.h"

static void hash_text(const uint8_t *hash, char text[17]) {
    for (int i = 0; i < 8; i++) snprintf(text + 2 * i, 3, "%02x", hash[i]);
}

int stn_loader_check_hash(const uint8_t *want, const uint8_t *have, const char *whose,
                          struct sterna_error *err) {
    char wanted[17], found[17];
    if (memcmp(want, have, STERNA_HASH_BYTES) == 0) return STERNA_OK;
    hash_text(want, wanted);
    hash_text(have, found);
    return stn_fail(err, STERNA_EMISMATCH, "%s is of selection %s..., this is selection %s...",
                    whose, wanted, found);
}

static struct stn_state fresh_state(const sterna_loader *l, uint64_t epoch) {
    const struct sterna_loader_options *o = &l->options;
    struct stn_state s = {.seed = o->seed,
                          .epoch = epoch,
                          .n = l->info.n,
                          .shuffle = o->shuffle,
                          .order = o->order,
                          .uneven = o->uneven,
                          .batch_size = o->batch_size,
                          .rank = o->rank,
                          .world_size = o->world_size};
    memcpy(s.selection_hash, l->info.hash, sizeof s.selection_hash);
    return s;
}

static int same_part(const struct stn_state *s, const struct sterna_loader_options *o) {
    return s->world_size == o->world_size && s->rank == o->rank && s->batch_size == o->batch_size &&
           s->uneven == o->uneven;
}

/* The state to go on from, for this rank of this world. Seed and shuffle are the state's. */
static int resume(sterna_loader *l, const struct sterna_loader_options *o, struct stn_state *s,
                  struct sterna_error *err) {
    struct stn_state saved, merged;
    int rc = stn_state_decode(&saved, o->state, o->state_bytes, err);
    if (rc < 0) return rc;
    rc = stn_loader_check_hash(saved.selection_hash, l->info.hash, "the state", err);
    if (rc == STERNA_OK && saved.n != l->info.n)
        rc = stn_fail(err, STERNA_EMISMATCH, "the state is of %llu samples, the selection has %llu",
                      (unsigned long long)saved.n, (unsigned long long)l->info.n);
    l->options.seed = saved.seed;
    l->options.shuffle = saved.shuffle;
    *s = fresh_state(l, saved.epoch);
    if (rc < 0) {
        stn_state_fini(&saved);
    } else if (stn_state_finished(&saved)) {
        s->epoch++;
        stn_state_fini(&saved);
    } else if (same_part(&saved, o)) {
        *s = saved;
        s->order = o->order;
    } else { /* another world or batch size: what remains is numbered anew */
        rc = stn_state_merge(&merged, &saved, 1, err);
        s->epoch = merged.epoch;
        s->base = merged.base;
        s->base_step = merged.base_step;
        s->holes = merged.holes;
        stn_state_fini(&saved);
    }
    return rc;
}

int stn_loader_begin_epoch(sterna_loader *l) {
    uint64_t number = l->first_epoch + l->n_epochs;
    if (l->n_epochs == STN_EPOCHS_AHEAD || number >= l->end_epoch) return 0;
    if (l->steps_per_epoch == 0) { /* no epoch has a batch: that is the end */
        l->end_epoch = number;
        return 0;
    }
    struct stn_state state = fresh_state(l, number);
    stn_epoch_init(&l->epochs[number % STN_EPOCHS_AHEAD], &state);
    l->n_epochs++;
    return 1;
}

int stn_loader_begin(sterna_loader *l, const struct sterna_loader_options *o,
                     struct sterna_error *err) {
    struct stn_state state = fresh_state(l, o->epoch);
    struct stn_plan plan;
    stn_state_plan(&state, &plan);
    l->steps_per_epoch = plan.n_steps;
    int rc = o->state ? resume(l, o, &state, err) : STERNA_OK;
    if (rc < 0) return rc;
    l->state_bytes = stn_state_encode(&state, NULL, 0);
    l->state = malloc(l->state_bytes);
    if (!l->state) {
        stn_state_fini(&state);
        return stn_fail_memory(err, "a state");
    }
    stn_state_encode(&state, l->state, l->state_bytes);
    l->first_epoch = state.epoch;
    l->end_epoch = o->epochs == 0 || o->epochs > UINT64_MAX - state.epoch ? UINT64_MAX
                                                                          : state.epoch + o->epochs;
    if (l->steps_per_epoch > 0 && l->first_epoch < l->end_epoch) {
        stn_epoch_init(&l->epochs[state.epoch % STN_EPOCHS_AHEAD], &state);
        l->n_epochs = 1;
    }
    stn_state_fini(&state);
    return STERNA_OK;
}
