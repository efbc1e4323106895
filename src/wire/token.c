/* Owns the hash of a partition key. Servers compute the same one: a slip here costs a hop at every
 * read, and scans would miss rows. */
#include "wire/token.h"

#define C1 UINT64_C(0x87c37b91114253d5)
#define C2 UINT64_C(0x4cf5ad432745937f)

static uint64_t rotate(uint64_t v, unsigned bits) { return v << bits | v >> (64 - bits); }

static uint64_t load_le(const uint8_t *p) {
    uint64_t v = 0;
    for (unsigned i = 0; i < 8; i++) v |= (uint64_t)p[i] << (8 * i);
    return v;
}

/* Up to 8 bytes of the tail. Cassandra's are Java's signed bytes: a byte over 0x7f, widened, turns
 * over all bits above its own. */
static uint64_t load_tail(const uint8_t *p, size_t bytes) {
    uint64_t v = 0;
    for (size_t i = 0; i < bytes; i++) v ^= (uint64_t)(int64_t)(int8_t)p[i] << (8 * i);
    return v;
}

static uint64_t mix_low(uint64_t k) { return rotate(k * C1, 31) * C2; }
static uint64_t mix_high(uint64_t k) { return rotate(k * C2, 33) * C1; }

static uint64_t finish(uint64_t v) {
    v = (v ^ v >> 33) * UINT64_C(0xff51afd7ed558ccd);
    v = (v ^ v >> 33) * UINT64_C(0xc4ceb9fe1a85ec53);
    return v ^ v >> 33;
}

int64_t stn_token(const void *key, size_t bytes) {
    const uint8_t *p = key;
    uint64_t low = 0, high = 0;
    if (bytes == 0) return INT64_MIN; /* the minimum token, by definition and not by hash */
    size_t left = bytes;
    for (; left >= 16; p += 16, left -= 16) {
        low = (rotate(low ^ mix_low(load_le(p)), 27) + high) * 5 + 0x52dce729;
        high = (rotate(high ^ mix_high(load_le(p + 8)), 31) + low) * 5 + 0x38495ab5;
    }
    if (left > 8) high ^= mix_high(load_tail(p + 8, left - 8));
    if (left > 0) low ^= mix_low(load_tail(p, left > 8 ? 8 : left));
    low ^= bytes;
    high ^= bytes;
    low += high;
    high += low;
    int64_t token = (int64_t)(finish(low) + finish(high));
    return token == INT64_MIN ? INT64_MAX : token; /* the minimum is no key's */
}

uint32_t stn_token_shard(int64_t token, uint32_t n_shards, uint32_t ignore_msb) {
    uint64_t biased = (uint64_t)token + (UINT64_C(1) << 63);
    biased = ignore_msb < 64 ? biased << ignore_msb : 0;
    /* (biased * n_shards) >> 64, in halves: C11 has no 128 bits */
    uint64_t upper = (biased >> 32) * n_shards, lower = (biased & UINT32_MAX) * n_shards;
    return (uint32_t)((upper + (lower >> 32)) >> 32);
}
