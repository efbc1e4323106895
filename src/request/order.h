/* The order of an epoch: a permutation of [0, n) that is computed, not stored. */
#ifndef STN_ORDER_H
#define STN_ORDER_H

#include <stdint.h>

/* Version 1. For n <= 256 the permutation is Fisher-Yates; above, a Feistel network of 10 rounds
 * over the smallest 2^bits >= n, walked along its cycle until the value is below n (Black and
 * Rogaway, "Ciphers with arbitrary finite domains", CT-RSA 2002). All randomness is Philox4x32-10
 * with key = seed and the epoch in the counter, so that a value depends on nothing but (n, seed,
 * epoch, position). docs/design.md has a reference in 30 lines of Python. */
#define STN_PLAN_VERSION 1
#define STN_ORDER_TABLE 256
#define STN_ORDER_ROUNDS 10

struct stn_order {
    uint64_t n, seed, epoch;
    int shuffle;                    /* 0: identity */
    unsigned low_bits, high_bits;   /* halves of the Feistel network */
    uint8_t table[STN_ORDER_TABLE]; /* the whole permutation when n <= 256 */
};

void stn_order_init(struct stn_order *o, uint64_t n, uint64_t seed, uint64_t epoch, int shuffle);

/* Which sample stands at `position` < n. Pure; any thread. */
uint64_t stn_order_at(const struct stn_order *o, uint64_t position);

#endif
