/* How many samples and groups of each stratum each part of a split got. */
#ifndef STN_SPLIT_REPORT_H
#define STN_SPLIT_REPORT_H

#include "catalog/groups.h"

struct stn_split_counts {
    struct stn_split_count {
        uint64_t n, n_groups;
    } * cells; /* [stratum][part], as many strata as were met */
    size_t n_cells, cap, n_parts;
};

/* The cell of a stratum and a part; NULL without memory. Moves the cells. */
struct stn_split_count *stn_split_count_at(struct stn_split_counts *c, uint32_t stratum,
                                           uint32_t part);
void stn_split_counts_fini(struct stn_split_counts *c);

/* All parts of all samples first; then, in the order of `sorted` (NULL: no strata), of each. */
void stn_split_report(const struct stn_split_counts *c, const struct sterna_part *parts,
                      const struct stn_strata *strata, const uint32_t *sorted,
                      void (*report)(void *, const struct sterna_split_row *), void *ctx);

#endif
