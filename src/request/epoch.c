#include "request/epoch.h"

#include "base/base.h"

void stn_epoch_init(struct stn_epoch *e, struct stn_state *state) {
    *e = (struct stn_epoch){.state = *state};
    state->holes = (struct stn_holes){0};
    stn_state_plan(&e->state, &e->plan);
    const struct stn_delivered *d = &e->state.delivered;
    uint64_t done = d->watermark;
    for (size_t i = 0; i < STN_WINDOW_WORDS; i++)
        done += (uint64_t)__builtin_popcountll(d->words[i]);
    e->n_undelivered = e->n_open = e->plan.n_rows > done ? e->plan.n_rows - done : 0;
    e->next_row = d->watermark;
}

void stn_epoch_fini(struct stn_epoch *e) { stn_state_fini(&e->state); }

uint64_t stn_epoch_steps_left(const struct stn_epoch *e) {
    return e->plan.n_steps > e->state.step ? e->plan.n_steps - e->state.step : 0;
}

uint32_t stn_epoch_own(const struct stn_epoch *e) {
    return (uint32_t)STN_MIN(e->n_undelivered, (uint64_t)e->plan.batch_size);
}

/* A rank whose last batch has no sample of its own still needs one to show in it. */
static int needs_filler(const struct stn_epoch *e) {
    uint64_t full = e->plan.n_steps * e->plan.batch_size;
    return e->plan.uneven == STERNA_UNEVEN_PAD && e->plan.n_steps > 0 &&
           full - e->plan.n_rows >= e->plan.batch_size;
}

int stn_epoch_ask(struct stn_epoch *e, uint64_t *row, uint64_t *index, int *own) {
    const struct stn_delivered *d = &e->state.delivered;
    if (stn_epoch_steps_left(e) == 0) return STERNA_END;
    while (e->next_row < e->plan.n_rows && stn_delivered_has(d, e->next_row))
        e->next_row++; /* delivered before the loader was resumed */
    *own = e->next_row < e->plan.n_rows;
    if (!*own && (e->next_row > e->plan.n_rows || !needs_filler(e))) return STERNA_END;
    if (e->state.order == STERNA_ORDER_ARRIVAL && e->next_row - d->watermark >= STN_WINDOW_ROWS)
        return STERNA_AGAIN;
    *row = e->next_row++;
    *index = stn_plan_sample(&e->plan, *row);
    e->n_open -= (uint64_t)*own;
    return STERNA_OK;
}

int stn_epoch_deliver(struct stn_epoch *e, uint64_t row) {
    int first = stn_delivered_add(&e->state.delivered, row);
    e->n_undelivered -= (uint64_t)first;
    return first;
}
