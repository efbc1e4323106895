#include "catalog/groups.h"

#include <stdio.h>
#include <string.h>

/* ---- the index ---- */

typedef int (*same_fn)(const void *ctx, uint32_t number);

static uint32_t index_find(const struct stn_index *x, uint64_t hash, same_fn same,
                           const void *ctx) {
    uint32_t short_hash = (uint32_t)(hash >> 32) ^ (uint32_t)hash;
    if (x->n_slots == 0) return UINT32_MAX;
    for (size_t at = short_hash & (x->n_slots - 1);; at = (at + 1) & (x->n_slots - 1)) {
        const struct stn_index_slot *slot = &x->slots[at];
        if (slot->number == 0) return UINT32_MAX;
        if (slot->hash == short_hash && same(ctx, slot->number - 1)) return slot->number - 1;
    }
}

static void index_put(struct stn_index *x, struct stn_index_slot slot) {
    size_t at = slot.hash & (x->n_slots - 1);
    while (x->slots[at].number) at = (at + 1) & (x->n_slots - 1);
    x->slots[at] = slot;
}

static int index_grow(struct stn_index *x) {
    struct stn_index bigger = {.n_slots = x->n_slots ? 2 * x->n_slots : 64, .n = x->n};
    bigger.slots = stn_array(bigger.n_slots, sizeof *bigger.slots);
    if (!bigger.slots) return STERNA_ENOMEM;
    for (size_t i = 0; i < x->n_slots; i++)
        if (x->slots[i].number) index_put(&bigger, x->slots[i]);
    free(x->slots);
    *x = bigger;
    return STERNA_OK;
}

static int index_add(struct stn_index *x, uint64_t hash, size_t number) {
    if (number >= UINT32_MAX - 1) return STERNA_ENOMEM;
    int rc = 10 * (x->n + 1) > 7 * x->n_slots ? index_grow(x) : STERNA_OK;
    if (rc < 0) return rc;
    index_put(
        x, (struct stn_index_slot){(uint32_t)(hash >> 32) ^ (uint32_t)hash, (uint32_t)number + 1});
    x->n++;
    return STERNA_OK;
}

/* ---- groups ---- */

void stn_groups_fini(struct stn_groups *g) {
    free(g->all);
    free(g->index.slots);
    *g = (struct stn_groups){0};
}

struct group_key {
    const struct stn_groups *groups;
    const uint8_t *key;
};

static int same_group(const void *ctx, uint32_t number) {
    const struct group_key *k = ctx;
    return memcmp(k->groups->all[number].key, k->key, 16) == 0;
}

int stn_groups_meet(struct stn_groups *g, const uint8_t key[16], uint64_t hash, int find,
                    uint32_t *number) {
    const struct group_key wanted = {g, key};
    *number = find ? index_find(&g->index, hash, same_group, &wanted) : UINT32_MAX;
    if (*number != UINT32_MAX) return STERNA_OK;
    if (g->n >= UINT32_MAX - 1) return STERNA_ENOMEM;
    int rc = stn_grow((void **)&g->all, &g->cap, g->n + 1, sizeof *g->all);
    if (rc == STERNA_OK && find) rc = index_add(&g->index, hash, g->n);
    if (rc < 0) return rc;
    *number = (uint32_t)g->n;
    struct stn_group *group = &g->all[g->n++];
    *group = (struct stn_group){.hash = hash};
    memcpy(group->key, key, 16);
    return STERNA_OK;
}

/* ---- strata ---- */

void stn_strata_fini(struct stn_strata *s) {
    for (size_t i = 0; i < s->n; i++) free(s->all[i].text);
    free(s->all);
    free(s->index.slots);
    *s = (struct stn_strata){0};
}

const char *stn_value_text(const struct sterna_value *value, char buf[STN_VALUE_TEXT_BYTES],
                           size_t *bytes) {
    if (value->type == STERNA_TEXT) {
        *bytes = value->text_bytes;
        return value->text;
    }
    int n = value->type == STERNA_INT
                ? snprintf(buf, STN_VALUE_TEXT_BYTES, "%lld", (long long)value->i)
            : value->type == STERNA_REAL ? snprintf(buf, STN_VALUE_TEXT_BYTES, "%.17g", value->r)
                                         : snprintf(buf, STN_VALUE_TEXT_BYTES, "null");
    *bytes = (size_t)n;
    return buf;
}

struct stratum_key {
    const struct stn_strata *strata;
    const char *text;
    size_t bytes;
    int null;
};

static int same_stratum(const void *ctx, uint32_t number) {
    const struct stratum_key *k = ctx;
    const struct stn_stratum *s = &k->strata->all[number];
    return (s->type == STERNA_NULL) == k->null && s->text_bytes == k->bytes &&
           (k->bytes == 0 || memcmp(s->text, k->text, k->bytes) == 0);
}

static uint64_t hash_text(const char *text, size_t bytes) { /* FNV-1a */
    uint64_t hash = UINT64_C(14695981039346656037);
    for (size_t i = 0; i < bytes; i++)
        hash = (hash ^ (unsigned char)text[i]) * UINT64_C(1099511628211);
    return hash;
}

int stn_strata_meet(struct stn_strata *s, const struct sterna_value *value, uint32_t *number) {
    char buf[STN_VALUE_TEXT_BYTES];
    struct stratum_key wanted = {.strata = s, .null = value->type == STERNA_NULL};
    wanted.text = stn_value_text(value, buf, &wanted.bytes);
    uint64_t hash = hash_text(wanted.text, wanted.bytes);
    *number = index_find(&s->index, hash, same_stratum, &wanted);
    if (*number != UINT32_MAX) return STERNA_OK;
    char *text = calloc(1, wanted.bytes + 1);
    int rc = text ? stn_grow((void **)&s->all, &s->cap, s->n + 1, sizeof *s->all) : STERNA_ENOMEM;
    if (rc == STERNA_OK) rc = index_add(&s->index, hash, s->n);
    if (rc < 0) {
        free(text);
        return rc;
    }
    if (wanted.bytes) memcpy(text, wanted.text, wanted.bytes);
    *number = (uint32_t)s->n;
    s->all[s->n++] =
        (struct stn_stratum){.text = text,
                             .text_bytes = wanted.bytes,
                             .type = value->type,
                             .number = value->type == STERNA_INT ? (double)value->i : value->r};
    return STERNA_OK;
}

static int rank_of(enum sterna_type type) {
    return type == STERNA_NULL ? 0 : type == STERNA_TEXT ? 2 : 1;
}

static int compare_strata(const void *a, const void *b, void *ctx) {
    const struct stn_strata *s = ctx;
    const struct stn_stratum *one = &s->all[*(const uint32_t *)a];
    const struct stn_stratum *two = &s->all[*(const uint32_t *)b];
    int ranks = rank_of(one->type) - rank_of(two->type);
    if (ranks != 0) return ranks;
    if (rank_of(one->type) == 1 && one->number < two->number) return -1;
    if (rank_of(one->type) == 1 && one->number > two->number) return 1;
    size_t bytes = STN_MIN(one->text_bytes, two->text_bytes);
    int texts = memcmp(one->text, two->text, bytes);
    if (texts != 0) return texts;
    return (one->text_bytes > two->text_bytes) - (one->text_bytes < two->text_bytes);
}

uint32_t *stn_strata_sorted(const struct stn_strata *s) {
    uint32_t *sorted = stn_array(s->n, sizeof *sorted);
    for (uint32_t i = 0; sorted && i < s->n; i++) sorted[i] = i;
    if (sorted) qsort_r(sorted, s->n, sizeof *sorted, compare_strata, (void *)(uintptr_t)s);
    return sorted;
}

/* ---- strata of groups ---- */

void stn_tally_fini(struct stn_tally *t) {
    free(t->all);
    free(t->index.slots);
    *t = (struct stn_tally){0};
}

struct tally_key {
    const struct stn_tally *tally;
    uint32_t group, stratum;
};

static int same_row(const void *ctx, uint32_t number) {
    const struct tally_key *k = ctx;
    const struct stn_tally_row *row = &k->tally->all[number];
    return row->group == k->group && row->stratum == k->stratum;
}

int stn_tally_add(struct stn_tally *t, uint32_t group, uint32_t stratum) {
    const struct tally_key wanted = {t, group, stratum};
    const uint32_t words[] = {group, stratum};
    uint64_t hash = hash_text((const char *)words, sizeof words);
    uint32_t number = index_find(&t->index, hash, same_row, &wanted);
    if (number == UINT32_MAX) {
        int rc = stn_grow((void **)&t->all, &t->cap, t->n + 1, sizeof *t->all);
        if (rc == STERNA_OK) rc = index_add(&t->index, hash, t->n);
        if (rc < 0) return rc;
        number = (uint32_t)t->n++;
        t->all[number] = (struct stn_tally_row){group, stratum, 0};
    }
    t->all[number].n++;
    return STERNA_OK;
}

int stn_groups_take_majority(struct stn_groups *g, const struct stn_tally *t,
                             const struct stn_strata *s, const uint32_t *sorted) {
    uint64_t *most = stn_array(g->n, sizeof *most);
    uint32_t *rank = stn_array(s->n, sizeof *rank);
    for (uint32_t i = 0; rank && i < s->n; i++) rank[sorted[i]] = i;
    for (size_t i = 0; most && rank && i < t->n; i++) {
        const struct stn_tally_row *row = &t->all[i];
        struct stn_group *group = &g->all[row->group];
        int more = row->n > most[row->group];
        int tie = row->n == most[row->group] && rank[row->stratum] < rank[group->stratum];
        if (!more && !tie) continue;
        most[row->group] = row->n;
        group->stratum = row->stratum;
    }
    int rc = most && rank ? STERNA_OK : STERNA_ENOMEM;
    free(most);
    free(rank);
    return rc;
}
