/* A set of ids, to find those that are listed twice. */
#ifndef STN_ID_SET_H
#define STN_ID_SET_H

#include "base/base.h"

struct stn_id_set {
    uint8_t (*slots)[16]; /* open addressing; all zeros: empty */
    size_t n, cap;        /* cap: 0 or a power of two */
    int has_zero;         /* the id of zeros, which a slot cannot tell from an empty one */
};

/* *again: 1 if it was there already. ENOMEM. Start with {0}. */
int stn_id_set_add(struct stn_id_set *set, const uint8_t id[16], int *again);
void stn_id_set_fini(struct stn_id_set *set); /* safe twice */

#endif
