/* Owns the arithmetic of ranks, batches and what remains. Knows no memory, time or source. */
#include "request/plan.h"

#include <assert.h>

#include "base/base.h"

int stn_holes_init(struct stn_holes *h, uint64_t *words, uint64_t n_words) {
    *h = (struct stn_holes){.words = words, .n_words = n_words};
    h->rank = stn_array(n_words + 1, sizeof *h->rank);
    if (!h->rank) {
        stn_holes_fini(h);
        return STERNA_ENOMEM;
    }
    for (uint64_t i = 0; i < n_words; i++) {
        uint64_t set = (uint64_t)__builtin_popcountll(words[i]);
        h->n_set += set;
        h->rank[i + 1] = h->rank[i] + 64 - set;
    }
    return STERNA_OK;
}

void stn_holes_fini(struct stn_holes *h) {
    free(h->words);
    free(h->rank);
    *h = (struct stn_holes){0};
}

/* Index of zero bit number k; beyond the last word all bits are zero. */
static uint64_t select_zero(const struct stn_holes *h, uint64_t k) {
    if (k >= h->rank[h->n_words]) return h->n_words * 64 + (k - h->rank[h->n_words]);
    uint64_t low = 0, high = h->n_words; /* rank[low] <= k < rank[high] */
    while (high - low > 1) {
        uint64_t mid = low + (high - low) / 2;
        if (h->rank[mid] <= k)
            low = mid;
        else
            high = mid;
    }
    uint64_t zeros = ~h->words[low];
    for (uint64_t skip = k - h->rank[low]; skip > 0; skip--) zeros &= zeros - 1;
    return low * 64 + (uint64_t)__builtin_ctzll(zeros);
}

static uint64_t rows_of_rank(const struct stn_plan *p, uint64_t turns) {
    return turns > p->rank ? (turns - p->rank - 1) / p->world_size + 1 : 0;
}

void stn_plan_init(struct stn_plan *p, const struct stn_plan_spec *spec) {
    *p = (struct stn_plan){
        .base = spec->base,
        .holes = spec->holes && spec->holes->n_words ? spec->holes : NULL,
        .batch_size = spec->batch_size,
        .rank = spec->rank,
        .world_size = spec->world_size,
        .uneven = spec->uneven,
    };
    stn_order_init(&p->order, spec->n, spec->seed, spec->epoch, spec->shuffle);
    p->n_turns = spec->n - spec->base - (p->holes ? p->holes->n_set : 0);
    uint64_t width = (uint64_t)p->batch_size * p->world_size;
    switch (p->uneven) {
    case STERNA_UNEVEN_DROP:
        p->n_steps = p->n_turns / width;
        p->n_rows = p->n_steps * p->batch_size;
        break;
    case STERNA_UNEVEN_PAD:
        p->n_steps = (p->n_turns + width - 1) / width;
        p->n_rows = rows_of_rank(p, p->n_turns);
        break;
    case STERNA_UNEVEN_EXACT:
        p->n_rows = rows_of_rank(p, p->n_turns);
        p->n_steps = (p->n_rows + p->batch_size - 1) / p->batch_size;
        break;
    }
}

uint64_t stn_plan_position(const struct stn_plan *p, uint64_t turn) {
    return p->base + (p->holes ? select_zero(p->holes, turn) : turn);
}

uint64_t stn_plan_sample(const struct stn_plan *p, uint64_t row) {
    assert(p->n_turns > 0);
    uint64_t turn = row * p->world_size + p->rank;
    return stn_order_at(&p->order, stn_plan_position(p, turn % p->n_turns));
}

uint32_t stn_plan_own(const struct stn_plan *p, uint64_t done) {
    return (uint32_t)STN_MIN(p->n_rows - done, (uint64_t)p->batch_size);
}

uint32_t stn_plan_width(const struct stn_plan *p, uint32_t own) {
    return p->uneven == STERNA_UNEVEN_PAD ? p->batch_size : own;
}
