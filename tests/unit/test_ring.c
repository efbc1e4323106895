#include "support/check.h"

#include <stdio.h>
#include <string.h>

#include "net/ring.h"

/* ---- replication ---- */

/* A map<text, text> of n strings: key, value, key, value ... */
static struct stn_cql_value make_map(uint8_t *buf, size_t cap, const char *const *texts) {
    size_t n = 0, used = 4;
    for (; texts[n]; n++) {
        size_t bytes = strlen(texts[n]);
        assert_true(used + 4 + bytes <= cap);
        memset(buf + used, 0, 3);
        buf[used + 3] = (uint8_t)bytes;
        memcpy(buf + used + 4, texts[n], bytes);
        used += 4 + bytes;
    }
    memcpy(buf, (uint8_t[4]){0, 0, 0, (uint8_t)(n / 2)}, 4);
    return (struct stn_cql_value){buf, (int32_t)used};
}

#define LOCATOR "org.apache.cassandra.locator."

static void test_replication_parse(void **state) {
    static const struct {
        const char *texts[12];
        int kind;
        size_t n;
        const char *dc[3];
        unsigned factor[3];
    } rows[] = {
        {{"class", LOCATOR "SimpleStrategy", "replication_factor", "3"},
         STN_REPLICATION_SIMPLE,
         1,
         {""},
         {3}},
        {{"replication_factor", "1", "class", "SimpleStrategy"},
         STN_REPLICATION_SIMPLE,
         1,
         {""},
         {1}},
        {{"class", LOCATOR "NetworkTopologyStrategy", "dc1", "3", "dc2", "2"},
         STN_REPLICATION_TOPOLOGY,
         2,
         {"dc1", "dc2"},
         {3, 2}},
        {{"dc1", "3/1", "class", LOCATOR "NetworkTopologyStrategy"},
         STN_REPLICATION_TOPOLOGY,
         1,
         {"dc1"},
         {3}},
        {{"class", "NetworkTopologyStrategy", "dc1", "99999999999999999999"},
         STN_REPLICATION_TOPOLOGY,
         1,
         {"dc1"},
         {65535}},
        {{"class", LOCATOR "LocalStrategy"}, STN_REPLICATION_LOCAL, 0, {NULL}, {0}},
        {{"class", LOCATOR "EverywhereStrategy"}, STN_REPLICATION_EVERYWHERE, 0, {NULL}, {0}},
        {{"class", LOCATOR "OldNetworkStrategy", "dc1", "3"},
         STN_REPLICATION_UNKNOWN,
         0,
         {NULL},
         {0}},
        {{"dc1", "3"}, STN_REPLICATION_UNKNOWN, 0, {NULL}, {0}},
        {{NULL}, STN_REPLICATION_UNKNOWN, 0, {NULL}, {0}},
        {{"class", "SimpleStrategy"}, STN_REPLICATION_UNKNOWN, 0, {NULL}, {0}},
        {{"class", "SimpleStrategy", "dc1", "3"}, STN_REPLICATION_UNKNOWN, 0, {NULL}, {0}},
        {{"class", "NetworkTopologyStrategy", "dc1", "[\"r1\",\"r2\"]"},
         STN_REPLICATION_UNKNOWN,
         0,
         {NULL},
         {0}},
        {{"class", "NetworkTopologyStrategy", "dc1", ""}, STN_REPLICATION_UNKNOWN, 0, {NULL}, {0}},
        {{"class", "NetworkTopologyStrategy",
          "a data centre whose name is longer than any that this client has memory for", "3"},
         STN_REPLICATION_UNKNOWN,
         0,
         {NULL},
         {0}},
    };
    (void)state;
    for (size_t i = 0; i < STN_COUNT(rows); i++) {
        uint8_t buf[512];
        struct stn_replication r;
        assert_ok(stn_replication_parse(make_map(buf, sizeof buf, rows[i].texts), &r));
        if ((int)r.kind != rows[i].kind || r.n_factors != rows[i].n)
            fail_msg("row %zu: kind %d, %zu factors", i, (int)r.kind, r.n_factors);
        for (size_t k = 0; k < r.n_factors; k++)
            if (strcmp(r.factors[k].dc, rows[i].dc[k]) != 0 || r.factors[k].n != rows[i].factor[k])
                fail_msg("row %zu: %s=%u", i, r.factors[k].dc, r.factors[k].n);
    }
}

static void test_replication_parse_cut_short(void **state) {
    static const char *const texts[] = {"class", "SimpleStrategy", "replication_factor", "3", NULL};
    uint8_t buf[128], *exact;
    struct stn_cql_value map = make_map(buf, sizeof buf, texts);
    struct stn_replication r;
    (void)state;
    for (int32_t n = 0; n < map.bytes; n++) { /* of its own, so that reading past it is seen */
        exact = malloc((size_t)n + 1);
        assert_non_null(exact);
        memcpy(exact, buf, (size_t)n);
        int rc = stn_replication_parse((struct stn_cql_value){exact, n}, &r);
        if (rc != STERNA_EPROTO || r.kind != STN_REPLICATION_UNKNOWN)
            fail_msg("%d bytes: %d, kind %d", n, rc, (int)r.kind);
        free(exact);
    }
    assert_int_equal(stn_replication_parse(stn_value_null(), &r), STERNA_EPROTO);
    memcpy(buf, (uint8_t[4]){0xff, 0xff, 0xff, 0xff}, 4); /* as many pairs as there can be */
    assert_int_equal(stn_replication_parse(map, &r), STERNA_EPROTO);
}

/* ---- rings ---- */

/* "dc/rack token,token ..." is a node; nodes stand apart by '|'. */
struct cluster {
    struct stn_ring_node nodes[16];
    int64_t tokens[16][16];
    char text[512];
    size_t n;
};

static void make_cluster(struct cluster *c, const char *text) {
    memset(c, 0, sizeof *c);
    snprintf(c->text, sizeof c->text, "%s", text);
    char *save = NULL;
    for (char *part = strtok_r(c->text, "|", &save); part; part = strtok_r(NULL, "|", &save)) {
        struct stn_ring_node *node = &c->nodes[c->n];
        char *inner = NULL, *tokens;
        node->dc = strtok_r(part, "/", &inner);
        node->rack = strtok_r(NULL, " ", &inner);
        node->tokens = c->tokens[c->n];
        while ((tokens = strtok_r(NULL, ",", &inner)) != NULL)
            c->tokens[c->n][node->n_tokens++] = strtoll(tokens, NULL, 10);
        c->n++;
    }
}

/* "simple 3", "everywhere", "local", "dc1=3 dc2=2". */
static void make_replication(struct stn_replication *r, const char *text) {
    char copy[128], *save = NULL;
    *r = (struct stn_replication){.kind = STN_REPLICATION_TOPOLOGY};
    snprintf(copy, sizeof copy, "%s", text);
    for (char *p = strtok_r(copy, " ", &save); p; p = strtok_r(NULL, " ", &save)) {
        if (strcmp(p, "simple") == 0) {
            r->kind = STN_REPLICATION_SIMPLE;
        } else if (strcmp(p, "everywhere") == 0) {
            r->kind = STN_REPLICATION_EVERYWHERE;
        } else if (strcmp(p, "local") == 0) {
            r->kind = STN_REPLICATION_LOCAL;
        } else {
            char *factor = strchr(p, '=');
            if (factor) {
                *factor = 0;
                snprintf(r->factors[r->n_factors].dc, sizeof r->factors[0].dc, "%s", p);
            }
            r->factors[r->n_factors++].n = (unsigned)strtoul(factor ? factor + 1 : p, NULL, 10);
        }
    }
}

static struct stn_ring *make_ring(const char *cluster, const char *replication) {
    struct cluster c;
    struct stn_replication r;
    struct stn_ring *ring;
    make_cluster(&c, cluster);
    make_replication(&r, replication);
    assert_ok(stn_ring_make(&ring, c.nodes, c.n, &r));
    return ring;
}

static void show(const struct stn_ring *ring, int64_t token, char *text, size_t bytes) {
    const uint16_t *nodes;
    size_t n = stn_ring_replicas(ring, token, &nodes), used = 0;
    text[0] = 0;
    for (size_t i = 0; i < n; i++)
        used += (size_t)snprintf(text + used, bytes - used, "%s%u", i ? " " : "", nodes[i]);
}

/* One rack, two, three: nodes 0 to 5 at 0, 100 ... 500. */
#define R1 "a/r 0|a/r 100|a/r 200|a/r 300|a/r 400|a/r 500"
#define R2 "a/r 0|a/r 100|a/r 200|a/s 300|a/s 400|a/s 500"
#define R3 "a/r 0|a/r 100|a/s 200|a/s 300|a/t 400|a/t 500"
#define TWO_DCS "a/r 0|b/r 1|a/s 100|b/s 101|a/r 200|b/r 201"
/* three nodes of four tokens each */
#define VNODES "a/r 0,40,50,90|a/s 10,20,60,100|a/t 30,70,80,110"

static void test_ring_replicas(void **state) {
    static const struct {
        const char *cluster, *replication;
        int64_t token;
        const char *want;
    } rows[] = {
        /* where a token belongs */
        {R1, "simple 1", 0, "0"}, /* equal to a token: that one's */
        {R1, "simple 1", 1, "1"},
        {R1, "simple 1", 99, "1"},
        {R1, "simple 1", 100, "1"},
        {R1, "simple 1", 101, "2"},
        {R1, "simple 1", 500, "5"},
        {R1, "simple 1", 501, "0"}, /* around */
        {R1, "simple 1", INT64_MAX, "0"},
        {R1, "simple 1", INT64_MIN, "0"},
        {R1, "simple 1", -1, "0"},
        {"a/r 7", "simple 1", 8, "0"},
        {"a/r -9223372036854775808|a/r 9223372036854775807", "simple 1", INT64_MIN, "0"},
        {"a/r -9223372036854775808|a/r 9223372036854775807", "simple 1", 0, "1"},
        {"a/r -9223372036854775808|a/r 9223372036854775807", "simple 1", INT64_MAX, "1"},
        /* SimpleStrategy: the next ones, whatever their rack */
        {R3, "simple 3", 50, "1 2 3"},
        {R3, "simple 3", 450, "5 0 1"},
        {R3, "simple 9", 250, "3 4 5 0 1 2"},
        {R3, "simple 0", 250, ""},
        {TWO_DCS, "simple 2", 50, "2 3"},
        /* NetworkTopologyStrategy */
        {R1, "a=3", 50, "1 2 3"},
        {R1, "a=3", 450, "5 0 1"},
        {R1, "a=9", 350, "4 5 0 1 2 3"},
        {R1, "a=1", 350, "4"},
        {R2, "a=2", 50, "1 3"},   /* 2 is of the same rack as 1 */
        {R2, "a=3", 50, "1 2 3"}, /* two racks for three: one repeats, the first that can */
        {R2, "a=3", 0, "0 1 3"},
        {R2, "a=3", 250, "3 4 0"},
        {R2, "a=4", 0, "0 1 2 3"},
        {R2, "a=5", 0, "0 1 2 3 4"},
        {R2, "a=6", 0, "0 1 2 3 4 5"},
        {R3, "a=3", 0, "0 2 4"},
        {R3, "a=3", 50, "1 2 4"},
        {R3, "a=3", 450, "5 0 2"},
        {R3, "a=2", 50, "1 2"},
        {R3, "a=2", 0, "0 2"},
        {R3, "a=4", 0, "0 1 2 4"},
        {R3, "a=4", 50, "1 2 3 4"},
        {R3, "a=7", 150, "2 3 4 5 0 1"},
        /* racks of one name in two data centres are two */
        {TWO_DCS, "a=2 b=2", 0, "0 1 2 3"},
        {TWO_DCS, "a=2 b=2", 50, "2 3 4 5"},
        {TWO_DCS, "a=2 b=1", 150, "4 5 2"},
        {TWO_DCS, "a=2", 1, "2 4"},
        {TWO_DCS, "b=3 c=3", 2, "3 5 1"},
        {TWO_DCS, "c=3", 2, ""},
        {TWO_DCS, "a=0 b=1", 2, "3"},
        /* vnodes: a node counts once */
        {VNODES, "a=2", 35, "0 1"},
        {VNODES, "a=2", 15, "1 2"},
        {VNODES, "a=3", 65, "2 0 1"},
        {VNODES, "simple 2", 65, "2 0"},
        {VNODES, "simple 3", 101, "2 0 1"},
        {VNODES, "simple 3", 111, "0 1 2"},
        /* one without tokens has nothing; nor does it make up a rack */
        {"a/r 0|a/s |a/r 100", "a=2", 0, "0 2"},
        {"a/r 0|a/s |a/r 100", "simple 3", 0, "0 2"},
        {"a/r 0|a/s |a/r 100", "everywhere", 5, "0 2"},
        {"a/r |a/s ", "a=2", 0, ""},
        {"", "a=2", 0, ""},
        /* one token claimed twice */
        {"a/r 0,100|a/s 100,200", "a=1", 50, "0"},
        {"a/r 0,100|a/s 100,200", "a=1", 150, "1"},
        {"a/r 0,100|a/s 100,200", "a=2", 50, "0 1"},
        {R3, "everywhere", 450, "0 1 2 3 4 5"},
        {R3, "local", 450, ""},
    };
    (void)state;
    for (size_t i = 0; i < STN_COUNT(rows); i++) {
        char got[128];
        struct stn_ring *ring = make_ring(rows[i].cluster, rows[i].replication);
        show(ring, rows[i].token, got, sizeof got);
        if (strcmp(got, rows[i].want) != 0)
            fail_msg("row %zu (%s, token %lld): '%s', not '%s'", i, rows[i].replication,
                     (long long)rows[i].token, got, rows[i].want);
        stn_ring_free(&ring);
        assert_null(ring);
    }
}

/* ---- against the rule as it is told ---- */

static uint64_t next_random(uint64_t *state) { /* splitmix64 */
    uint64_t z = *state += UINT64_C(0x9E3779B97F4A7C15);
    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return z ^ (z >> 31);
}

/* Node of the ring's i-th token at or behind `token`, by looking at all of them. */
static size_t nth_node(const struct cluster *c, int64_t token, size_t i) {
    int64_t at = token;
    int around = 0;
    for (;; i--) {
        size_t best = SIZE_MAX;
        int64_t best_token = 0;
        for (size_t n = 0; n < c->n; n++)
            for (size_t k = 0; k < c->nodes[n].n_tokens; k++) {
                int64_t t = c->nodes[n].tokens[k];
                if (t >= at && (best == SIZE_MAX || t < best_token)) best = n, best_token = t;
            }
        if (best == SIZE_MAX) {
            assert_false(around);
            around = 1;
            at = INT64_MIN;
            i++;
            continue;
        }
        if (i == 0) return best;
        at = best_token + 1;
    }
}

/* With a list of those skipped, as Cassandra's documentation tells it; a bit for each replica. */
static unsigned told(const struct cluster *c, int64_t token, const char *dc, unsigned factor) {
    unsigned chosen = 0, in_dc = 0, n = 0;
    size_t skipped[64], n_skipped = 0, n_tokens = 0, n_racks = 0, n_seen = 0;
    const char *racks[16], *seen[16];
    for (size_t i = 0; i < c->n; i++) {
        n_tokens += c->nodes[i].n_tokens;
        if (strcmp(c->nodes[i].dc, dc) != 0) continue;
        in_dc++;
        size_t k = 0;
        while (k < n_racks && strcmp(racks[k], c->nodes[i].rack) != 0) k++;
        if (k == n_racks) racks[n_racks++] = c->nodes[i].rack;
    }
    for (size_t i = 0; i < n_tokens && n < STN_MIN(factor, in_dc); i++) {
        size_t node = nth_node(c, token, i), k = 0;
        if (strcmp(c->nodes[node].dc, dc) != 0 || (chosen >> node & 1)) continue;
        while (k < n_seen && strcmp(seen[k], c->nodes[node].rack) != 0) k++;
        if (k < n_seen && n_seen < n_racks) {
            skipped[n_skipped++] = node;
            continue;
        }
        if (k == n_seen) seen[n_seen++] = c->nodes[node].rack;
        chosen |= 1u << node;
        n++;
        for (size_t s = 0; n_seen == n_racks && s < n_skipped && n < factor; s++) {
            if (chosen >> skipped[s] & 1) continue;
            chosen |= 1u << skipped[s];
            n++;
        }
    }
    return chosen;
}

static void random_cluster(struct cluster *c, uint64_t *seed) {
    static const char *const names[] = {"a", "b", "c", "d"};
    memset(c, 0, sizeof *c);
    c->n = 1 + next_random(seed) % 9;
    size_t racks = 1 + next_random(seed) % 4, vnodes = 1 + next_random(seed) % 5;
    for (size_t i = 0; i < c->n; i++) {
        c->nodes[i] = (struct stn_ring_node){
            names[next_random(seed) % 2], names[next_random(seed) % racks], c->tokens[i], vnodes};
        for (size_t k = 0; k < vnodes; k++) c->tokens[i][k] = (int64_t)next_random(seed);
    }
}

static void test_ring_is_the_rule_with_skipped_nodes(void **state) {
    uint64_t seed = 20;
    (void)state;
    for (int round = 0; round < 300; round++) {
        struct cluster c;
        struct stn_ring *ring;
        random_cluster(&c, &seed);
        struct stn_replication r = {
            STN_REPLICATION_TOPOLOGY,
            {{"a", (unsigned)(next_random(&seed) % 5)}, {"b", (unsigned)(next_random(&seed) % 5)}},
            2};
        assert_ok(stn_ring_make(&ring, c.nodes, c.n, &r));
        for (int t = 0; t < 20; t++) {
            int64_t token = (int64_t)next_random(&seed);
            if (t < 5) token = c.tokens[next_random(&seed) % c.n][0];
            const uint16_t *nodes;
            size_t n = stn_ring_replicas(ring, token, &nodes);
            unsigned got = 0, want = told(&c, token, "a", r.factors[0].n) |
                                     told(&c, token, "b", r.factors[1].n);
            for (size_t i = 0; i < n; i++) {
                assert_false(got >> nodes[i] & 1);
                got |= 1u << nodes[i];
            }
            if (got != want) fail_msg("round %d: nodes %x, not %x", round, got, want);
        }
        stn_ring_free(&ring);
    }
}

/* ---- pieces ---- */

struct cover {
    int64_t at; /* all up to here came */
    size_t n;
    const struct stn_ring *ring;
    int broken;
};

static void add_piece(void *ctx, int64_t after, int64_t to) {
    struct cover *c = ctx;
    c->broken |= after != c->at || to <= after;
    if (c->ring) { /* all keys of a piece are held by the same nodes */
        char first[128], last[128];
        show(c->ring, after + 1, first, sizeof first);
        show(c->ring, to, last, sizeof last);
        c->broken |= strcmp(first, last) != 0;
    }
    c->at = to;
    c->n++;
}

static void test_ring_pieces_cover_all_once(void **state) {
    static const char *const clusters[] = {
        "",
        R1,
        VNODES,
        "a/r 5",
        "a/r -9223372036854775808,9223372036854775807",
        "a/r -9223372036854775808,-9223372036854775807|a/r 9223372036854775806"};
    static const size_t wanted[] = {0, 1, 2, 3, 7, 100, 4099};
    (void)state;
    for (size_t i = 0; i < STN_COUNT(clusters); i++) {
        struct stn_ring *ring = make_ring(clusters[i], "a=2");
        for (size_t k = 0; k < STN_COUNT(wanted); k++) {
            struct cover c = {INT64_MIN, 0, ring, 0};
            stn_ring_pieces(ring, wanted[k], add_piece, &c);
            if (c.broken || c.at != INT64_MAX || c.n < wanted[k] || c.n > wanted[k] + 16)
                fail_msg("cluster %zu: %zu pieces for %zu, up to %lld%s", i, c.n, wanted[k],
                         (long long)c.at, c.broken ? ", broken" : "");
        }
        stn_ring_free(&ring);
    }
}

static void test_ring_pieces_of_random_rings(void **state) {
    uint64_t seed = 21;
    (void)state;
    for (int round = 0; round < 200; round++) {
        struct cluster c;
        struct stn_ring *ring;
        struct stn_replication r = {STN_REPLICATION_SIMPLE, {{"", 2}}, 1};
        random_cluster(&c, &seed);
        assert_ok(stn_ring_make(&ring, c.nodes, c.n, &r));
        struct cover cover = {INT64_MIN, 0, ring, 0};
        size_t wanted = next_random(&seed) % 200;
        stn_ring_pieces(ring, wanted, add_piece, &cover);
        if (cover.broken || cover.at != INT64_MAX || cover.n < wanted) fail_msg("round %d", round);
        stn_ring_free(&ring);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_replication_parse),
        cmocka_unit_test(test_replication_parse_cut_short),
        cmocka_unit_test(test_ring_replicas),
        cmocka_unit_test(test_ring_is_the_rule_with_skipped_nodes),
        cmocka_unit_test(test_ring_pieces_cover_all_once),
        cmocka_unit_test(test_ring_pieces_of_random_rings),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
