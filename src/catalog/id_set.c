#include "catalog/id_set.h"

#include <string.h>

#define CAP_MIN ((size_t)1024)

static const uint8_t empty[16];

/* Ids need not be random: both halves go through a mixer (that of SplitMix64). */
static uint64_t mix(uint64_t x) {
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

/* The slot that holds the id, or the empty one where it belongs. */
static uint8_t *find(const struct stn_id_set *set, const uint8_t id[16]) {
    uint64_t halves[2];
    memcpy(halves, id, sizeof halves);
    size_t at = (size_t)mix(halves[0] + mix(halves[1] + UINT64_C(0x9e3779b97f4a7c15)));
    for (at &= set->cap - 1;; at = (at + 1) & (set->cap - 1)) {
        uint8_t *slot = set->slots[at];
        if (memcmp(slot, empty, 16) == 0 || memcmp(slot, id, 16) == 0) return slot;
    }
}

static int grow(struct stn_id_set *set) {
    struct stn_id_set larger = {.n = set->n, .cap = set->cap ? 2 * set->cap : CAP_MIN};
    larger.slots = stn_array(larger.cap, sizeof *larger.slots);
    if (!larger.slots) return STERNA_ENOMEM;
    for (size_t i = 0; i < set->cap; i++)
        if (memcmp(set->slots[i], empty, 16) != 0)
            memcpy(find(&larger, set->slots[i]), set->slots[i], 16);
    larger.has_zero = set->has_zero;
    free(set->slots);
    *set = larger;
    return STERNA_OK;
}

int stn_id_set_add(struct stn_id_set *set, const uint8_t id[16], int *again) {
    if (memcmp(id, empty, 16) == 0) {
        *again = set->has_zero;
        set->has_zero = 1;
        return STERNA_OK;
    }
    if (set->n >= set->cap / 4 * 3 && grow(set) < 0) return STERNA_ENOMEM;
    uint8_t *slot = find(set, id);
    *again = memcmp(slot, id, 16) == 0;
    set->n += !*again;
    memcpy(slot, id, 16);
    return STERNA_OK;
}

void stn_id_set_fini(struct stn_id_set *set) {
    free(set->slots);
    *set = (struct stn_id_set){0};
}
