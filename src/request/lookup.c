/* Which samples are in a batch? The plan asked without any data. */
#include "base/base.h"
#include "request/state.h"
#include "sterna/loader.h"

/* The plan of `epoch`: in the epoch of a state, what remained when its world size took over. */
static int plan_of(const struct sterna_loader_options *o, struct stn_state *s, uint64_t n,
                   uint64_t epoch, struct sterna_error *err) {
    if (!o->state) {
        *s = (struct stn_state){.seed = o->seed,
                                .epoch = epoch,
                                .n = n,
                                .shuffle = o->shuffle,
                                .uneven = o->uneven,
                                .batch_size = o->batch_size,
                                .rank = o->rank,
                                .world_size = o->world_size};
    } else {
        int rc = stn_state_decode(s, o->state, o->state_bytes, err);
        if (rc < 0) return rc;
        if (s->n != n)
            return stn_fail(err, STERNA_EMISMATCH,
                            "the state is of %llu samples, the selection has %llu",
                            (unsigned long long)s->n, (unsigned long long)n);
        if (s->order != STERNA_ORDER_STRICT)
            return stn_fail(err, STERNA_EINVAL,
                            "the state is of arrival order, where no plan says what a batch holds");
        s->rank = o->rank;
        if (s->epoch != epoch) {
            s->base = s->base_step = 0;
            stn_holes_fini(&s->holes);
            s->epoch = epoch;
        }
    }
    if (s->batch_size == 0 || s->world_size == 0 || s->rank >= s->world_size)
        return stn_fail(err, STERNA_EINVAL, "rank %u of %u with batches of %u", s->rank,
                        s->world_size, s->batch_size);
    return STERNA_OK;
}

static void fill_rows(const struct stn_plan *plan, uint64_t step, uint64_t *index, uint8_t *valid,
                      uint32_t *n_rows) {
    uint64_t first = step * plan->batch_size;
    uint32_t own = first < plan->n_rows ? stn_plan_own(plan, first) : 0;
    uint32_t shown = own ? own : 1; /* a batch without rows of its own shows one filler */
    *n_rows = stn_plan_width(plan, own);
    for (uint32_t i = 0; i < *n_rows; i++) {
        index[i] = i < shown ? stn_plan_sample(plan, first + i) : index[i % shown];
        valid[i] = i < own;
    }
}

int sterna_plan_batch(const struct sterna_loader_options *options, uint64_t n, uint64_t epoch,
                      uint64_t step, uint64_t *index, uint8_t *valid, uint32_t *n_rows,
                      struct sterna_error *err) {
    struct stn_state s = {0};
    struct stn_plan plan;
    stn_error_clear(err);
    *n_rows = 0;
    int rc = plan_of(options, &s, n, epoch, err);
    if (rc == STERNA_OK) {
        stn_state_plan(&s, &plan);
        if (step < s.base_step)
            rc = stn_fail(
                err, STERNA_EINVAL,
                "step %llu lies before step %llu, where this state's world size took over: "
                "use the state before",
                (unsigned long long)step, (unsigned long long)s.base_step);
        else if (plan.n_steps == 0)
            rc = stn_fail(err, STERNA_EINVAL,
                          "epoch %llu has no batches on this rank: %llu samples fill none",
                          (unsigned long long)epoch, (unsigned long long)n);
        else if (step - s.base_step >= plan.n_steps)
            rc = stn_fail(
                err, STERNA_EINVAL, "epoch %llu has steps %llu to %llu on this rank, not %llu",
                (unsigned long long)epoch, (unsigned long long)s.base_step,
                (unsigned long long)(s.base_step + plan.n_steps) - 1, (unsigned long long)step);
        else
            fill_rows(&plan, step - s.base_step, index, valid, n_rows);
    }
    stn_state_fini(&s);
    return rc;
}
