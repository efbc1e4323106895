/* Philox4x32-10: a counter-based random function, equal on every machine.
 * Source: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC'11. */
#ifndef STN_PHILOX_H
#define STN_PHILOX_H

#include <stdint.h>

struct stn_philox {
    uint32_t v[4];
};

static inline struct stn_philox stn_philox4x32(struct stn_philox ctr, uint32_t k0, uint32_t k1) {
    for (int round = 0; round < 10; round++) {
        uint64_t a = UINT64_C(0xD2511F53) * ctr.v[0], b = UINT64_C(0xCD9E8D57) * ctr.v[2];
        ctr = (struct stn_philox){{(uint32_t)(b >> 32) ^ ctr.v[1] ^ k0, (uint32_t)b,
                                   (uint32_t)(a >> 32) ^ ctr.v[3] ^ k1, (uint32_t)a}};
        k0 += 0x9E3779B9U;
        k1 += 0xBB67AE85U;
    }
    return ctr;
}

__extension__ typedef unsigned __int128 stn_u128;

/* A number in [0, n) from 64 random bits; the bias is below n / 2^64. */
static inline uint64_t stn_bounded(uint64_t random, uint64_t n) {
    return (uint64_t)(((stn_u128)random * n) >> 64);
}

#endif
