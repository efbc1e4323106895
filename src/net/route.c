/* Which node a call goes to: a replica of its token, the less loaded of two drawn ones. */
#include <string.h>

#include "net/parts.h"
#include "wire/token.h"

#define KEY_BYTES_MAX 1024

/* A composite partition key: each part as u16 length, bytes, a zero byte. */
static size_t join_key(const struct stn_query_call *q, uint8_t *to) {
    struct stn_writer w = {.to = to, .cap = KEY_BYTES_MAX};
    for (size_t i = 0; i < q->statement->n_key; i++) {
        const struct stn_cql_value *part = &q->values[q->statement->key[i]];
        if (part->bytes < 0) return 0;
        stn_put_be16(&w, (uint16_t)part->bytes);
        stn_put_bytes(&w, part->data, (size_t)part->bytes);
        stn_put_u8(&w, 0);
    }
    return w.used <= w.cap ? w.used : 0;
}

void stn_route_token(struct stn_query_call *q) {
    const struct stn_statement *t = q->statement;
    uint8_t joined[KEY_BYTES_MAX];
    q->has_token = t && q->has_near;
    q->token = q->near;
    if (!t || t->n_key == 0) return;
    for (size_t i = 0; i < t->n_key; i++)
        if (t->key[i] >= q->n_values) return;
    const struct stn_cql_value *only = &q->values[t->key[0]];
    size_t bytes = t->n_key == 1 ? 0 : join_key(q, joined);
    if (t->n_key == 1 && only->bytes >= 0)
        q->token = stn_token(only->data, (size_t)only->bytes);
    else if (bytes > 0)
        q->token = stn_token(joined, bytes);
    else
        return;
    q->has_token = 1;
}

struct choice {
    struct stn_node *nodes[STN_REPLICAS_MAX];
    size_t n;
};

static void add(struct choice *c, struct stn_node *node) {
    if (c->n < STN_REPLICAS_MAX) c->nodes[c->n++] = node;
}

struct stn_node *stn_route_host(const struct stn_session *s, const uint8_t host_id[16]) {
    for (unsigned i = 0; i < s->n_nodes; i++)
        if (memcmp(s->nodes[i]->host_id, host_id, 16) == 0) return s->nodes[i];
    return NULL;
}

/* The local replicas of the call's token, as far as they are known. */
static void find_replicas(struct stn_session *s, const struct stn_query_call *q, uint64_t now_ns,
                          struct choice *out) {
    const struct stn_tablet_replica *tablet;
    const uint16_t *numbers;
    size_t n = stn_tablets_find(q->statement->tablets, q->token, now_ns, &tablet);
    for (size_t i = 0; i < n; i++) {
        struct stn_node *node = stn_route_host(s, tablet[i].host_id);
        if (node && node->local) add(out, node);
    }
    if (n > 0 || !s->ring) return;
    n = stn_ring_replicas(s->ring, q->token, &numbers);
    for (size_t i = 0; i < n; i++)
        if (s->nodes[numbers[i]]->local) add(out, s->nodes[numbers[i]]);
}

static double load(const struct stn_node *node, enum stn_lane lane) {
    uint64_t bytes = node->control[lane].window.outstanding_bytes + node->owed_bytes + 1;
    return (double)bytes * (node->delay_ns + 1e5);
}

uint32_t stn_route_shard(const struct stn_node *node, const struct stn_query_call *q,
                         uint64_t now_ns) {
    const struct stn_tablet_replica *tablet;
    if (!q->has_token || node->shards.n_shards == 0) return UINT32_MAX;
    size_t n = stn_tablets_find(q->statement->tablets, q->token, now_ns, &tablet);
    for (size_t i = 0; i < n; i++)
        if (memcmp(tablet[i].host_id, node->host_id, 16) == 0) return tablet[i].shard;
    return stn_token_shard(q->token, node->shards.n_shards, node->shards.ignore_msb);
}

/* The less loaded of two random candidates ("power of two choices", Mitzenmacher 2001). */
static struct stn_node *less_loaded(struct stn_session *s, const struct choice *c,
                                    enum stn_lane lane) {
    uint32_t n = (uint32_t)c->n;
    if (n == 0) return NULL;
    uint32_t i = stn_session_random(s, n);
    struct stn_node *a = c->nodes[i];
    struct stn_node *b = n > 1 ? c->nodes[(i + 1 + stn_session_random(s, n - 1)) % n] : a;
    return load(b, lane) < load(a, lane) ? b : a;
}

static int was_tried(const struct stn_query_call *q, const struct stn_node *node) {
    return node->index < 32 ? (int)(q->tried >> node->index & 1) : q->node == node;
}

/* Of `all` those that are connected and have room; silent ones only if all are. *connected: how
 * many are at all, *untried: of these, how many have not failed this call yet. */
static void narrow(const struct stn_query_call *q, const struct choice *all, struct choice *out,
                   size_t *connected, size_t *untried) {
    struct choice silent = {.n = 0};
    size_t speaking = 0;
    *connected = *untried = out->n = 0;
    for (size_t i = 0; i < all->n; i++) {
        struct stn_node *node = all->nodes[i];
        if (!stn_node_is_ready(node)) continue;
        ++*connected;
        if (was_tried(q, node)) continue;
        ++*untried;
        speaking += !node->suspect_ns;
        if (stn_lane_has_room(node, q->lane, q->weight_bytes))
            add(node->suspect_ns ? &silent : out, node);
    }
    if (speaking == 0) *out = silent;
}

/* Any connected local node, beginning at a random one. */
static struct stn_node *any_node(struct stn_session *s, const struct stn_query_call *q,
                                 int *hopeless) {
    uint32_t first = s->n_nodes ? stn_session_random(s, s->n_nodes) : 0;
    struct stn_node *again = NULL;
    for (unsigned i = 0; i < s->n_nodes; i++) {
        struct stn_node *node = s->nodes[(first + i) % s->n_nodes];
        if (!node->local || !stn_node_is_ready(node)) continue;
        *hopeless = 0;
        if (!stn_lane_has_room(node, q->lane, q->weight_bytes)) continue;
        if (!was_tried(q, node) && !node->suspect_ns) return node;
        if (!again || again->suspect_ns) again = node;
    }
    return again; /* all have failed it once: the way is clear for a second round */
}

/* A text may change the schema. The node that does it knows at once, the others hear of it, and
 * whether all agree is asked on the control connection: a node that has not heard yet would say
 * yes. So it goes that way, too, and needs no other connection to be ready. NULL: it goes to any
 * node. */
static struct stn_node *node_of_text(struct stn_session *s, const struct stn_query_call *q) {
    const struct stn_address *at;
    if (q->statement || !stn_control_conn(s, &at)) return NULL;
    for (unsigned i = 0; i < s->n_nodes; i++) {
        struct stn_node *node = s->nodes[i];
        if (stn_address_equals(&node->address, at))
            return node->local && !was_tried(q, node) ? node : NULL;
    }
    return NULL;
}

struct stn_node *stn_route(struct stn_session *s, struct stn_query_call *q, uint64_t now_ns,
                           int *hopeless) {
    struct choice all = {.n = 0}, fit;
    size_t connected = 0, untried = 0;
    int none = 1;
    struct stn_node *only = node_of_text(s, q);
    if (only) {
        if (hopeless) *hopeless = 0;
        return only;
    }
    if (q->has_token) {
        find_replicas(s, q, now_ns, &all);
        q->n_replicas = (unsigned)all.n;
        narrow(q, &all, &fit, &connected, &untried);
        if (connected > 0 && untried == 0) { /* a second round over the replicas */
            q->tried = 0;
            narrow(q, &all, &fit, &connected, &untried);
        }
        none = connected == 0;
    }
    /* Only a key without a connected replica goes through another node, which doubles the way. */
    struct stn_node *found = connected > 0 ? less_loaded(s, &fit, q->lane) : any_node(s, q, &none);
    if (hopeless) *hopeless = none;
    return found;
}

struct stn_node *stn_route_second(struct stn_session *s, const struct stn_query_call *q,
                                  uint64_t now_ns) {
    struct choice all = {.n = 0}, fit = {.n = 0};
    if (!q->has_token) return NULL;
    find_replicas(s, q, now_ns, &all);
    for (size_t i = 0; i < all.n; i++)
        if (!was_tried(q, all.nodes[i]) && stn_hedge_may_go_to(q, all.nodes[i], now_ns))
            add(&fit, all.nodes[i]);
    return less_loaded(s, &fit, q->lane);
}
