/* Scylla's tablets of one table, as far as its answers told of them: ranges of tokens that do not
 * overlap, sorted. The server corrects only requests that reach no replica, so that an entry gone
 * stale in part would stay for ever: it is forgotten after ten minutes, and learnt anew. */
#include <string.h>

#include "net/ring.h"

#define EXPIRE_NS (600 * STN_NS_PER_S)
#define TABLETS_MAX ((size_t)1 << 17) /* more than any table has: a server that tells nonsense */

struct tablet { /* tokens in (first, last] */
    int64_t first, last;
    uint64_t learned_ns;
    size_t n_replicas;
    struct stn_tablet_replica replicas[];
};

struct stn_tablets {
    struct tablet **sorted; /* by first, hence by last too */
    size_t n, cap;
};

int stn_tablets_open(struct stn_tablets **out) {
    *out = stn_array(1, sizeof **out);
    return *out ? STERNA_OK : STERNA_ENOMEM;
}

void stn_tablets_clear(struct stn_tablets *t) {
    for (size_t i = 0; i < t->n; i++) free(t->sorted[i]);
    t->n = 0;
}

void stn_tablets_close(struct stn_tablets **t) {
    if (!*t) return;
    stn_tablets_clear(*t);
    free((*t)->sorted);
    free(*t);
    *t = NULL;
}

/* The first tablet that ends at `token` or behind it; t->n if none does. */
static size_t find_end(const struct stn_tablets *t, int64_t token) {
    size_t low = 0, high = t->n;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (t->sorted[mid]->last < token)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

size_t stn_tablets_find(const struct stn_tablets *t, int64_t token, uint64_t now_ns,
                        const struct stn_tablet_replica **replicas) {
    *replicas = NULL;
    size_t i = find_end(t, token);
    if (i == t->n || t->sorted[i]->first >= token) return 0;
    const struct tablet *found = t->sorted[i];
    if (now_ns > found->learned_ns && now_ns - found->learned_ns > EXPIRE_NS) return 0;
    *replicas = found->replicas;
    return found->n_replicas;
}

/* ---- learning ---- */

static struct stn_cursor inside(struct stn_cql_value v) {
    return stn_cursor(v.data, v.bytes > 0 ? (size_t)v.bytes : 0);
}

/* tuple<uuid host, int shard> */
static int parse_replica(struct stn_cql_value tuple, struct stn_tablet_replica *out) {
    struct stn_cursor c = inside(tuple);
    struct stn_cql_value host = stn_get_value(&c), shard = stn_get_value(&c);
    if (c.overrun || host.bytes != 16 || shard.bytes != 4 || stn_value_int(shard) < 0)
        return STERNA_EPROTO;
    memcpy(out->host_id, host.data, sizeof out->host_id);
    out->shard = (uint32_t)stn_value_int(shard);
    return STERNA_OK;
}

/* tuple<bigint first, bigint last, list<...>>; what a later version adds behind it is not read. */
static int parse(struct stn_cql_value payload, struct tablet **out) {
    struct stn_cursor c = inside(payload);
    struct stn_cql_value first = stn_get_value(&c), last = stn_get_value(&c);
    struct stn_cursor list = inside(stn_get_value(&c));
    uint32_t n = stn_get_be32(&list);
    *out = NULL;
    if (c.overrun || list.overrun || first.bytes != 8 || last.bytes != 8) return STERNA_EPROTO;
    if (n == 0 || n > STN_REPLICAS_MAX) return STERNA_EPROTO;
    struct tablet *t = calloc(1, sizeof *t + n * sizeof t->replicas[0]);
    if (!t) return STERNA_ENOMEM;
    t->first = stn_value_bigint(first);
    t->last = stn_value_bigint(last);
    int rc = t->first < t->last ? STERNA_OK : STERNA_EPROTO;
    for (; rc == STERNA_OK && t->n_replicas < n; t->n_replicas++)
        rc = parse_replica(stn_get_value(&list), &t->replicas[t->n_replicas]);
    if (rc == STERNA_OK)
        *out = t;
    else
        free(t);
    return rc;
}

/* Puts it in the place of all that it overlaps: sorted[at .. end). There is room. */
static void insert(struct stn_tablets *t, struct tablet *fresh) {
    size_t at = find_end(t, fresh->first + 1), end = at; /* first < last, so + 1 is no overflow */
    while (end < t->n && t->sorted[end]->first < fresh->last) free(t->sorted[end++]);
    memmove(t->sorted + at + 1, t->sorted + end, (t->n - end) * sizeof(struct tablet *));
    t->sorted[at] = fresh;
    t->n = t->n - (end - at) + 1;
}

int stn_tablets_learn(struct stn_tablets *t, struct stn_cql_value payload, uint64_t now_ns) {
    struct tablet *fresh;
    int rc = parse(payload, &fresh);
    if (rc < 0) return rc;
    if (t->n >= TABLETS_MAX) stn_tablets_clear(t);
    void *sorted = t->sorted;
    rc = stn_grow(&sorted, &t->cap, t->n + 1, sizeof(struct tablet *));
    if (rc < 0) {
        free(fresh);
        return rc;
    }
    t->sorted = sorted;
    fresh->learned_ns = now_ns;
    insert(t, fresh);
    return STERNA_OK;
}
