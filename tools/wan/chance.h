/* Random numbers of one direction of the link: the same seed gives the same ones. */
#ifndef WAN_CHANCE_H
#define WAN_CHANCE_H

#include <math.h>
#include <stdint.h>

struct wan_chance {
    uint64_t state;
};

/* SplitMix64: any seed will do, also neighbouring ones. */
static inline uint64_t wan_chance_next(struct wan_chance *c) {
    uint64_t x = c->state += UINT64_C(0x9e3779b97f4a7c15);
    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return x ^ x >> 31;
}

static inline double wan_chance_unit(struct wan_chance *c) { /* in (0, 1) */
    return ((double)(wan_chance_next(c) >> 12) + 0.5) * 0x1p-52;
}

/* How many events go by before the next one that has probability p: one draw an event that
 * happens instead of one for each that may. */
static inline uint64_t wan_chance_skip(struct wan_chance *c, double p) {
    if (p <= 0) return UINT64_MAX;
    double n = p < 1 ? log(wan_chance_unit(c)) / log1p(-p) : 0;
    return n < 0x1p62 ? (uint64_t)n : UINT64_C(1) << 62;
}

#endif
