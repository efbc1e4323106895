/* Owns the permutation and nothing else: no ranks, no batches. */
#include "request/order.h"

#include <assert.h>

#include "base/philox.h"

static struct stn_philox draw(const struct stn_order *o, uint32_t a, uint32_t b) {
    struct stn_philox counter = {{a, b, (uint32_t)o->epoch, (uint32_t)(o->epoch >> 32)}};
    return stn_philox4x32(counter, (uint32_t)o->seed, (uint32_t)(o->seed >> 32));
}

static void fill_table(struct stn_order *o) {
    for (unsigned i = 0; i < o->n; i++) o->table[i] = (uint8_t)i;
    for (unsigned i = (unsigned)o->n; i-- > 1;) {
        struct stn_philox r = draw(o, i, 0xFFFFFFFFU); /* no Feistel round has that number */
        unsigned j = (unsigned)stn_bounded((uint64_t)r.v[1] << 32 | r.v[0], i + 1);
        uint8_t swap = o->table[i];
        o->table[i] = o->table[j];
        o->table[j] = swap;
    }
}

void stn_order_init(struct stn_order *o, uint64_t n, uint64_t seed, uint64_t epoch, int shuffle) {
    *o = (struct stn_order){.n = n, .seed = seed, .epoch = epoch, .shuffle = shuffle};
    if (n <= STN_ORDER_TABLE) {
        fill_table(o);
        return;
    }
    unsigned bits = 64 - (unsigned)__builtin_clzll(n - 1);
    o->low_bits = bits / 2;
    o->high_bits = bits - o->low_bits;
}

static uint32_t mask(unsigned bits) { return (uint32_t)((UINT64_C(1) << bits) - 1); }

/* An unbalanced Feistel network: each round exclusive-ors the round function of one half into the
 * other half, high and low in turn, so that the halves may differ in width. */
static uint64_t feistel(const struct stn_order *o, uint64_t x) {
    uint32_t low = (uint32_t)x & mask(o->low_bits), high = (uint32_t)(x >> o->low_bits);
    for (uint32_t round = 0; round < STN_ORDER_ROUNDS; round += 2) {
        low ^= draw(o, high, round).v[0] & mask(o->low_bits);
        high ^= draw(o, low, round + 1).v[0] & mask(o->high_bits);
    }
    return (uint64_t)high << o->low_bits | low;
}

uint64_t stn_order_at(const struct stn_order *o, uint64_t position) {
    assert(position < o->n);
    if (!o->shuffle) return position;
    if (o->n <= STN_ORDER_TABLE) return o->table[position];
    do position = feistel(o, position);
    while (position >= o->n); /* 2^bits < 2n: fewer than two turns on average */
    return position;
}
