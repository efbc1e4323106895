#include "catalog/split_report.h"

#include <string.h>

struct stn_split_count *stn_split_count_at(struct stn_split_counts *c, uint32_t stratum,
                                           uint32_t part) {
    size_t cell = (size_t)stratum * c->n_parts + part, need = ((size_t)stratum + 1) * c->n_parts;
    if (stn_grow((void **)&c->cells, &c->cap, need, sizeof *c->cells) < 0) return NULL;
    if (need > c->n_cells) {
        memset(c->cells + c->n_cells, 0, (need - c->n_cells) * sizeof *c->cells);
        c->n_cells = need;
    }
    return &c->cells[cell];
}

void stn_split_counts_fini(struct stn_split_counts *c) {
    free(c->cells);
    *c = (struct stn_split_counts){0};
}

/* The counts of `n_strata` strata from `first` on, added up for one part or (n_parts) for all. */
static struct stn_split_count add_up(const struct stn_split_counts *c, size_t first,
                                     size_t n_strata, size_t part) {
    struct stn_split_count sum = {0, 0};
    for (size_t i = first * c->n_parts; i < (first + n_strata) * c->n_parts; i++) {
        if (i >= c->n_cells || (part < c->n_parts && i % c->n_parts != part)) continue;
        sum.n += c->cells[i].n;
        sum.n_groups += c->cells[i].n_groups;
    }
    return sum;
}

void stn_split_report(const struct stn_split_counts *c, const struct sterna_part *parts,
                      const struct stn_strata *strata, const uint32_t *sorted,
                      void (*report)(void *, const struct sterna_split_row *), void *ctx) {
    size_t all = c->n_parts ? c->n_cells / c->n_parts : 0;
    size_t n_blocks = 1 + (sorted ? strata->n : 0);
    for (size_t block = 0; block < n_blocks; block++) {
        size_t first = block ? sorted[block - 1] : 0, n_strata = block ? 1 : all;
        uint64_t n = add_up(c, first, n_strata, c->n_parts).n;
        for (size_t p = 0; p < c->n_parts; p++) {
            struct stn_split_count sum = add_up(c, first, n_strata, p);
            const struct sterna_split_row row = {
                .part = parts[p].name,
                .stratum = block ? strata->all[sorted[block - 1]].text : NULL,
                .n = sum.n,
                .n_groups = sum.n_groups,
                .share_wanted = parts[p].share,
                .share_got = n ? (double)sum.n / (double)n : 0};
            report(ctx, &row);
        }
    }
}
