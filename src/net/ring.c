/* The ring: sorted tokens, and beside each the nodes that hold the range that ends with it.
 *
 * All rows of replicas are equally long, as a strategy's count depends on the nodes alone: one
 * array, indexed. Where all nodes hold everything there is one row. Knows no connection. */
#include "net/ring.h"

#include <string.h>

__extension__ typedef unsigned __int128 u128;

struct owned {
    int64_t token;
    uint16_t node;
};

struct stn_ring {
    struct owned *tokens; /* ascending, each once */
    size_t n_tokens;
    uint16_t *replicas; /* n_rows * per_row */
    size_t per_row;
    int one_row;
};

static int by_token(const void *a, const void *b) {
    const struct owned *x = a, *y = b;
    if (x->token != y->token) return x->token < y->token ? -1 : 1;
    return (x->node > y->node) - (x->node < y->node);
}

static int gather_tokens(struct stn_ring *ring, const struct stn_ring_node *nodes, size_t n_nodes) {
    size_t n = 0, kept = 0;
    for (size_t i = 0; i < n_nodes; i++) n += nodes[i].n_tokens;
    ring->tokens = stn_array(n, sizeof *ring->tokens);
    if (!ring->tokens) return STERNA_ENOMEM;
    for (size_t i = 0; i < n_nodes; i++)
        for (size_t k = 0; k < nodes[i].n_tokens; k++)
            ring->tokens[ring->n_tokens++] = (struct owned){nodes[i].tokens[k], (uint16_t)i};
    qsort(ring->tokens, n, sizeof *ring->tokens, by_token);
    for (size_t i = 0; i < n; i++) /* two nodes may claim one token while one replaces the other */
        if (kept == 0 || ring->tokens[kept - 1].token != ring->tokens[i].token)
            ring->tokens[kept++] = ring->tokens[i];
    ring->n_tokens = kept;
    return STERNA_OK;
}

/* ---- the walk around the ring ---- */

struct place {     /* of a node */
    uint16_t dc;   /* index into walk.dcs, or NOWHERE: no replicas there */
    uint16_t rack; /* numbered over all data centres */
    int has_tokens;
};
#define NOWHERE UINT16_MAX

struct dc {                /* one that has replicas */
    unsigned nodes, racks; /* that have tokens */
    unsigned factor;       /* no more than nodes */
    /* of the walk that is going on */
    unsigned left, repeats_left;
};

struct walk {
    struct place *places;
    struct dc dcs[STN_COUNT(((struct stn_replication *)NULL)->factors)];
    size_t n_dcs;
    uint32_t *node_seen, *rack_seen; /* in walk number ... */
    uint32_t number;
};

static void walk_fini(struct walk *w) {
    free(w->places);
    free(w->node_seen);
    free(w->rack_seen);
}

static uint16_t find_dc(const struct stn_replication *r, const char *name) {
    if (r->kind == STN_REPLICATION_SIMPLE) return 0; /* one place for all */
    for (size_t i = 0; i < r->n_factors; i++)
        if (strcmp(r->factors[i].dc, name) == 0) return (uint16_t)i;
    return NOWHERE;
}

/* The number of node i's rack: that of the first node in the same rack. */
static uint16_t find_rack(const struct walk *w, const struct stn_ring_node *nodes, size_t i) {
    for (size_t k = 0; k < i; k++)
        if (w->places[k].has_tokens && w->places[k].dc == w->places[i].dc &&
            strcmp(nodes[k].rack, nodes[i].rack) == 0)
            return w->places[k].rack;
    return (uint16_t)i;
}

static int walk_init(struct walk *w, const struct stn_ring_node *nodes, size_t n_nodes,
                     const struct stn_replication *r) {
    *w = (struct walk){.places = stn_array(n_nodes, sizeof *w->places),
                       .node_seen = stn_array(n_nodes, sizeof *w->node_seen),
                       .rack_seen = stn_array(n_nodes, sizeof *w->rack_seen)};
    if (!w->places || !w->node_seen || !w->rack_seen) return STERNA_ENOMEM;
    w->n_dcs = STN_MIN(r->n_factors, STN_COUNT(w->dcs));
    for (size_t i = 0; i < n_nodes; i++) {
        struct place *p = &w->places[i];
        *p = (struct place){find_dc(r, nodes[i].dc), (uint16_t)i, nodes[i].n_tokens > 0};
        if (p->dc == NOWHERE || !p->has_tokens) continue;
        /* SimpleStrategy knows no racks: each node is one */
        if (r->kind == STN_REPLICATION_TOPOLOGY) p->rack = find_rack(w, nodes, i);
        w->dcs[p->dc].nodes++;
        w->dcs[p->dc].racks += p->rack == i;
    }
    for (size_t i = 0; i < w->n_dcs; i++) {
        struct dc *d = &w->dcs[i];
        d->factor = STN_MIN(r->factors[i].n, d->nodes);
    }
    return STERNA_OK;
}

static size_t walk_begin(struct walk *w) {
    size_t wanted = 0;
    w->number++;
    for (size_t i = 0; i < w->n_dcs; i++) {
        struct dc *d = &w->dcs[i];
        d->left = d->factor;
        d->repeats_left = d->factor > d->racks ? d->factor - d->racks : 0;
        wanted += d->left;
    }
    return wanted;
}

/* Is the node a replica? One whose rack is new always is, while its data centre wants any; of the
 * others only as many as the racks fall short of the factor: those met first, which are the ones
 * that a walk with a list of skipped nodes would come back to. */
static int walk_takes(struct walk *w, uint16_t node) {
    const struct place *p = &w->places[node];
    if (p->dc == NOWHERE || w->node_seen[node] == w->number) return 0;
    w->node_seen[node] = w->number;
    struct dc *d = &w->dcs[p->dc];
    if (d->left == 0) return 0;
    if (w->rack_seen[p->rack] == w->number) {
        if (d->repeats_left == 0) return 0;
        d->repeats_left--;
    }
    w->rack_seen[p->rack] = w->number;
    d->left--;
    return 1;
}

static int place_by_walk(struct stn_ring *ring, const struct stn_ring_node *nodes, size_t n_nodes,
                         const struct stn_replication *r) {
    struct walk w;
    int rc = walk_init(&w, nodes, n_nodes, r);
    if (rc < 0) goto done;
    ring->per_row = walk_begin(&w);
    ring->replicas = ring->n_tokens && ring->per_row > SIZE_MAX / ring->n_tokens
                         ? NULL
                         : stn_array(ring->n_tokens * ring->per_row, sizeof *ring->replicas);
    rc = STERNA_ENOMEM;
    if (!ring->replicas) goto done;
    uint16_t *to = ring->replicas;
    for (size_t first = 0; first < ring->n_tokens; first++) {
        size_t wanted = walk_begin(&w);
        for (size_t i = 0; wanted > 0 && i < ring->n_tokens; i++) {
            size_t at = first + i < ring->n_tokens ? first + i : first + i - ring->n_tokens;
            if (!walk_takes(&w, ring->tokens[at].node)) continue;
            *to++ = ring->tokens[at].node;
            wanted--;
        }
    }
    rc = STERNA_OK;
done:
    walk_fini(&w);
    return rc;
}

static int place_everywhere(struct stn_ring *ring, const struct stn_ring_node *nodes,
                            size_t n_nodes) {
    ring->one_row = 1;
    ring->replicas = stn_array(n_nodes, sizeof *ring->replicas);
    if (!ring->replicas) return STERNA_ENOMEM;
    for (size_t i = 0; i < n_nodes; i++)
        if (nodes[i].n_tokens > 0) ring->replicas[ring->per_row++] = (uint16_t)i;
    return STERNA_OK;
}

static int place(struct stn_ring *ring, const struct stn_ring_node *nodes, size_t n_nodes,
                 const struct stn_replication *r) {
    switch (r->kind) {
    case STN_REPLICATION_SIMPLE:
    case STN_REPLICATION_TOPOLOGY:
        return place_by_walk(ring, nodes, n_nodes, r);
    case STN_REPLICATION_EVERYWHERE:
        return place_everywhere(ring, nodes, n_nodes);
    default: /* no telling, or each node its own: any node will do */
        return STERNA_OK;
    }
}

int stn_ring_make(struct stn_ring **out, const struct stn_ring_node *nodes, size_t n_nodes,
                  const struct stn_replication *replication) {
    *out = NULL;
    if (n_nodes >= NOWHERE) return STERNA_EINVAL;
    struct stn_ring *ring = stn_array(1, sizeof *ring);
    if (!ring) return STERNA_ENOMEM;
    int rc = gather_tokens(ring, nodes, n_nodes);
    if (rc == STERNA_OK) rc = place(ring, nodes, n_nodes, replication);
    if (rc < 0)
        stn_ring_free(&ring);
    else
        *out = ring;
    return rc;
}

void stn_ring_free(struct stn_ring **ring) {
    if (!*ring) return;
    free((*ring)->tokens);
    free((*ring)->replicas);
    free(*ring);
    *ring = NULL;
}

/* ---- what it is asked ---- */

static size_t owner(const struct stn_ring *ring, int64_t token) {
    size_t low = 0, high = ring->n_tokens; /* the first that is >= token lies in [low, high] */
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (ring->tokens[mid].token < token)
            low = mid + 1;
        else
            high = mid;
    }
    return low < ring->n_tokens ? low : 0;
}

size_t stn_ring_replicas(const struct stn_ring *ring, int64_t token, const uint16_t **nodes) {
    *nodes = NULL;
    if (ring->n_tokens == 0 || ring->per_row == 0) return 0;
    *nodes = ring->replicas + (ring->one_row ? 0 : owner(ring, token) * ring->per_row);
    return ring->per_row;
}

struct pieces {
    size_t wanted; /* in all */
    void (*each)(void *ctx, int64_t after, int64_t to);
    void *ctx;
};

/* Cuts (after, to] into as many as its share of the whole is, rounded up: then all together are
 * enough. A piece is never empty, as there are no more of them than tokens in it. */
static void cut(const struct pieces *p, int64_t after, int64_t to) {
    uint64_t width = (uint64_t)to - (uint64_t)after; /* 0: nothing there */
    if (width == 0) return;
    uint64_t n = (uint64_t)(((u128)width * p->wanted + UINT64_MAX - 1) / UINT64_MAX);
    n = STN_MAX(n, 1);
    int64_t from = after;
    for (uint64_t i = 1; i <= n; i++) {
        int64_t end = (int64_t)((uint64_t)after + (uint64_t)((u128)width * i / n));
        p->each(p->ctx, from, end);
        from = end;
    }
}

void stn_ring_pieces(const struct stn_ring *ring, size_t pieces,
                     void (*each)(void *ctx, int64_t after, int64_t to), void *ctx) {
    struct pieces p = {STN_MAX(pieces, (size_t)1), each, ctx};
    int64_t after = INT64_MIN; /* no key has this token */
    for (size_t i = 0; i < ring->n_tokens; i++) {
        cut(&p, after, ring->tokens[i].token);
        after = ring->tokens[i].token;
    }
    cut(&p, after, INT64_MAX);
}
