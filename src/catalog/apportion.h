/* Exact shares: whole samples handed out to parts, and groups cut accordingly. */
#ifndef STN_APPORTION_H
#define STN_APPORTION_H

#include "catalog/groups.h"

/* How many of the sizes[s] samples of each stratum each part shall have: got[s * n_parts + p], each
 * share_p * sizes[s] rounded up or down, so that also each part's total is its share of all rounded
 * to the nearest by largest remainder (if rounding allows both). Shares add up to 1. ENOMEM. */
int stn_apportion(const uint64_t *sizes, size_t n_strata, const double *shares, size_t n_parts,
                  uint64_t *got);

/* Sets `part` of each group: in each stratum they stand in the order of their hashes, and are cut
 * where the number of samples comes nearest to what stn_apportion() says. ENOMEM. */
int stn_groups_cut(struct stn_groups *g, size_t n_strata, const double *shares, size_t n_parts);

#endif
