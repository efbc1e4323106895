/* What a split counts: groups of samples, strata, and how many samples of which stratum a group
 * has. All are numbered in the order in which they are met. */
#ifndef STN_GROUPS_H
#define STN_GROUPS_H

#include "base/base.h"
#include "sterna/selection.h"

/* Finds elements of an array that somebody else keeps. */
struct stn_index {
    struct stn_index_slot {
        uint32_t hash, number; /* number + 1; 0: empty */
    } * slots;
    size_t n_slots, n;
};

struct stn_group {
    uint8_t key[16];
    uint64_t hash; /* of key and seed: its place on a line from 0 to 2^64 */
    uint64_t n;    /* samples */
    uint32_t stratum, part;
};

struct stn_groups {
    struct stn_group *all;
    size_t n, cap;
    struct stn_index index;
};

struct stn_stratum {
    char *text; /* its value in words; ends with NUL */
    size_t text_bytes;
    enum sterna_type type;
    double number;
};

struct stn_strata {
    struct stn_stratum *all;
    size_t n, cap;
    struct stn_index index;
};

struct stn_tally { /* samples of a stratum in a group */
    struct stn_tally_row {
        uint32_t group, stratum;
        uint64_t n;
    } * all;
    size_t n, cap;
    struct stn_index index;
};

void stn_groups_fini(struct stn_groups *g);
void stn_strata_fini(struct stn_strata *s);
void stn_tally_fini(struct stn_tally *t);

/* Number of the group, made if it is new. Without `find` it is new for certain. ENOMEM. */
int stn_groups_meet(struct stn_groups *g, const uint8_t key[16], uint64_t hash, int find,
                    uint32_t *number);
int stn_strata_meet(struct stn_strata *s, const struct sterna_value *value, uint32_t *number);
int stn_tally_add(struct stn_tally *t, uint32_t group, uint32_t stratum);

/* Numbers of the strata: null, then numbers, then texts, each in their order. malloc'ed. */
uint32_t *stn_strata_sorted(const struct stn_strata *s);

/* Gives each group the stratum most of its samples have; of equals, the first in `sorted`. */
int stn_groups_take_majority(struct stn_groups *g, const struct stn_tally *t,
                             const struct stn_strata *s, const uint32_t *sorted);

/* A value in words, for keys and reports: into buf, or its own text. */
#define STN_VALUE_TEXT_BYTES 40
const char *stn_value_text(const struct sterna_value *value, char buf[STN_VALUE_TEXT_BYTES],
                           size_t *bytes);

#endif
