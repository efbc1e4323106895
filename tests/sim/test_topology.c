/* Which nodes there are, and what changes: the session follows what servers tell of themselves and
 * of each other. Time stands still in most tests, so that nothing happens but by what is told. */
#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "support/check.h"
#include "support/peer_inside.h"
#include "support/servers.h"
#include "wire/token.h"

static const struct peer_node plain_node, hidden_node = {.hidden = 1};

/* A test that waits for what never comes ends the program. */
static int watch(void **state) {
    (void)state;
    sterna_set_log(NULL, NULL);
    alarm(240);
    return 0;
}

static void open_frozen(struct servers *c, const struct peer_node *nodes, size_t n) {
    struct stn_host host;
    servers_start_with(c, (struct peer_options){.nodes = nodes, .n_nodes = n});
    struct stn_session_options o = servers_options(c, &host);
    servers_freeze(c, &o);
    servers_open_with(c, &o);
}

static void await_nodes(struct servers *c, unsigned n) {
    struct stn_session_info info = {0};
    while (info.n_nodes != n) {
        stn_session_info(c->session, &info);
        sched_yield();
    }
}

static void read_until_asked(struct servers *c, size_t node, unsigned n) {
    for (unsigned before = c->asked[node]; c->asked[node] < before + n;)
        servers_read(c, 20, STERNA_OK);
}

/* The look that an event leads to, a second later. Time passes, but no faster than servers answer.
 */
static void await_look(struct servers *c, unsigned n) {
    while (c->n_looks < n) {
        servers_later(c, STN_NS_PER_S / 4);
        servers_settle(c);
    }
}

/* Likewise, with calls that go on. */
static void read_until_look(struct servers *c, unsigned n) {
    while (c->n_looks < n) {
        servers_later(c, STN_NS_PER_S / 4);
        servers_read(c, 10, STERNA_OK);
        servers_settle(c);
    }
}

struct counting {
    struct servers *c;
    size_t node;
    unsigned n;
};

static void count(void *arg) {
    struct counting *a = arg;
    unsigned last = peer_accepted(a->c->peer, SIZE_MAX);
    a->n = 0;
    for (unsigned number = 1; number <= last; number++) {
        struct peer_conn *conn = peer_find(a->c->peer, number);
        a->n += conn && peer_node(conn) == a->node;
    }
}

/* Connections that are open at a node. */
static unsigned n_open(struct servers *c, size_t node) {
    struct counting a = {c, node, 0};
    peer_run(c->peer, count, &a);
    return a.n;
}

/* ---- nodes that come and go ---- */

static void test_a_new_node_is_used(void **state) {
    static const struct peer_node nodes[] = {{.hidden = 0}, {.hidden = 0}, {.hidden = 1}};
    struct servers c = {0};
    (void)state;
    open_frozen(&c, nodes, 3);
    servers_read(&c, 200, STERNA_OK);
    assert_int_equal(peer_accepted(c.peer, 2), 0);
    peer_set_node(c.peer, 2, &plain_node);
    servers_event(&c, "NEW_NODE", 2);
    await_look(&c, 2);
    await_nodes(&c, 3);
    read_until_asked(&c, 2, 20);
    servers_close(&c);
}

static struct peer_frame held; /* without its text */
static unsigned held_number;

static int hold_second_look(struct servers *c, struct peer_conn *conn, const struct peer_frame *f) {
    if (c->n_looks != 2 || !strstr(f->text, "system.peers") || held_number) return 0;
    held = *f;
    held_number = peer_number(conn);
    return 1;
}

static char peers_text[] = "SELECT * FROM system.peers_v2";

/* An event comes while the answer that does not know of it yet is on its way. */
static void release_look(void *arg) {
    struct servers *c = arg;
    struct peer_conn *conn = peer_find(c->peer, held_number);
    assert_non_null(conn);
    peer_send_event(conn, "NEW_NODE", 2);
    held.text = peers_text;
    peer_manners(conn, &held);
}

static void test_an_event_during_a_look_leads_to_another(void **state) {
    static const struct peer_node nodes[] = {{.hidden = 0}, {.hidden = 0}, {.hidden = 1}};
    struct servers c = {.first = hold_second_look};
    (void)state;
    held_number = 0;
    open_frozen(&c, nodes, 3);
    servers_event(&c, "NEW_NODE", 2);
    await_look(&c, 2);
    peer_await(c.peer, STN_CQL_QUERY, 6);
    peer_run(c.peer, release_look, &c);
    peer_set_node(c.peer, 2, &plain_node);
    for (unsigned i = 0; i < 12 && c.n_looks < 3; i++) {
        servers_later(&c, STN_NS_PER_S / 4); /* 3 s in all: it is not the look of each minute */
        servers_settle(&c);
    }
    assert_int_equal(c.n_looks, 3);
    await_nodes(&c, 3);
    servers_close(&c);
}

static int silent_at_node_2(struct servers *c, struct peer_conn *conn, const struct peer_frame *f,
                            unsigned k, size_t node) {
    (void)conn, (void)f, (void)k;
    return node == 2 && c->extra;
}

static void test_a_node_that_leaves_hands_over_its_calls(void **state) {
    static const struct peer_node nodes[3];
    struct servers c = {.script = silent_at_node_2};
    (void)state;
    open_frozen(&c, nodes, 3);
    read_until_asked(&c, 2, 20);
    c.extra = 1;
    unsigned before = c.asked[2];
    struct batch *b = batch_submit(&c, 300, 0);
    while (c.asked[2] < before + 10) sched_yield();
    peer_set_node(c.peer, 2, &hidden_node);
    servers_event(&c, "REMOVED_NODE", 2);
    await_look(&c, 2);
    batch_check(b, STERNA_OK);
    batch_free(b);
    await_nodes(&c, 2);
    while (n_open(&c, 2) > 0) sched_yield();
    before = peer_accepted(c.peer, 2);
    servers_later(&c, 40 * STN_NS_PER_S);
    servers_read(&c, 200, STERNA_OK);
    assert_int_equal(peer_accepted(c.peer, 2), before); /* it is left alone */
    servers_close(&c);
}

/* Its host id stays: it is the same node, connected at once, however long it was away. */
static void test_a_node_that_moves_is_found_again(void **state) {
    static const struct peer_node nodes[] = {{.hidden = 0}, {.hidden = 0}, {.hidden = 1}};
    static const struct peer_node moved = {
        .tokens = "0", .host_id = {2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 1}};
    struct servers c = {0};
    (void)state;
    open_frozen(&c, nodes, 3);
    read_until_asked(&c, 1, 20);
    peer_stop_node(c.peer, 1);
    for (unsigned i = 0; i < 100; i++) { /* it is tried less and less often */
        servers_later(&c, STN_NS_PER_S / 5);
        servers_read(&c, 5, STERNA_OK);
    }
    peer_set_node(c.peer, 1, &hidden_node);
    peer_set_node(c.peer, 2, &moved);
    servers_event(&c, "NEW_NODE", 2);
    await_look(&c, c.n_looks + 1);
    await_nodes(&c, 2);
    read_until_asked(&c, 2, 20);
    servers_close(&c);
}

static void test_a_node_that_is_up_is_connected_at_once(void **state) {
    static const struct peer_node nodes[2];
    struct servers c = {0};
    (void)state;
    open_frozen(&c, nodes, 2);
    read_until_asked(&c, 1, 20);
    peer_stop_node(c.peer, 1);
    servers_read(&c, 100, STERNA_OK);
    peer_start_node(c.peer, 1);
    servers_read(&c, 100, STERNA_OK);
    servers_event(&c, "UP", 1);
    read_until_asked(&c, 1, 20); /* no time has gone by */
    servers_close(&c);
}

static void test_another_node_becomes_the_control_connection(void **state) {
    static const struct peer_node nodes[] = {{.hidden = 0}, {.hidden = 0}, {.hidden = 1}};
    struct servers c = {0};
    (void)state;
    open_frozen(&c, nodes, 3);
    read_until_asked(&c, 1, 20);
    unsigned first = c.control;
    peer_stop_node(c.peer, 0);
    peer_set_node(c.peer, 2, &plain_node);
    read_until_look(&c, 2);
    assert_int_not_equal(c.control, first);
    await_nodes(&c, 3);
    peer_set_node(c.peer, 2, &hidden_node);
    servers_event(&c, "REMOVED_NODE", 2); /* it is told there now */
    read_until_look(&c, 3);
    await_nodes(&c, 2);
    servers_close(&c);
}

/* ---- data centres ---- */

static const struct peer_node two_centres[] = {{.dc = "near"}, {.dc = "near"}, {.dc = "far"}};

static void test_another_data_centre_is_never_asked(void **state) {
    struct servers c = {0};
    struct stn_session_info info;
    (void)state;
    open_frozen(&c, two_centres, 3);
    read_until_asked(&c, 0, 200);
    read_until_asked(&c, 1, 200);
    peer_stop_node(c.peer, 1); /* and not when a near one is away */
    servers_read(&c, 300, STERNA_OK);
    assert_int_equal(peer_accepted(c.peer, 2), 0);
    stn_session_info(c.session, &info);
    assert_int_equal(info.n_nodes, 2);
    assert_string_equal(info.dc, "near");
    servers_close(&c);
}

static void test_the_data_centre_can_be_chosen(void **state) {
    struct servers c = {0};
    struct stn_host host;
    struct stn_session_info info;
    (void)state;
    servers_start_with(&c, (struct peer_options){.nodes = two_centres, .n_nodes = 3});
    struct stn_session_options o = servers_options(&c, &host);
    o.dc = "far";
    servers_open_with(&c, &o);
    servers_read(&c, 300, STERNA_OK);
    assert_int_equal(c.asked[2], 300);
    stn_session_info(c.session, &info);
    assert_int_equal(info.n_nodes, 1);
    assert_string_equal(info.dc, "far");
    servers_close(&c);
}

/* ---- the schema ---- */

static int agree_at_the_second_look(struct servers *c, struct peer_conn *conn,
                                    const struct peer_frame *f) {
    (void)conn, (void)f;
    if (c->n_looks == 3) peer_set_node(c->peer, 1, &plain_node);
    return 0;
}

static const struct peer_node at_odds[] = {{.hidden = 0}, {.schema_version = {1}}};

static void test_the_schema_is_waited_for(void **state) {
    struct servers c = {.first = agree_at_the_second_look};
    struct sterna_error err = {0};
    (void)state;
    open_frozen(&c, at_odds, 2);
    CHECK_OK(stn_session_await_schema(c.session, &err), err);
    assert_int_equal(c.n_looks, 3);
    servers_close(&c);
}

static void test_a_schema_that_never_agrees_is_told(void **state) {
    struct servers c = {0};
    struct stn_host host;
    struct sterna_error err = {0};
    (void)state;
    servers_start_with(&c, (struct peer_options){.nodes = at_odds, .n_nodes = 2});
    struct stn_session_options o = servers_options(&c, &host);
    o.schema_timeout_ms = 500;
    servers_open_with(&c, &o);
    assert_int_equal(stn_session_await_schema(c.session, &err), STERNA_ETIMEOUT);
    assert_non_null(strstr(err.message, "schema"));
    assert_true(c.n_looks >= 2);
    servers_close(&c);
}

/* The connection is lost in the middle of the first of two looks that are waited for. */
static int lose_second_look(struct servers *c, struct peer_conn *conn, const struct peer_frame *f) {
    if (c->n_looks != 2 || !strstr(f->text, "system.peers")) return 0;
    peer_reset_after(conn, 0);
    return 1;
}

static void test_the_schema_is_waited_for_across_a_lost_connection(void **state) {
    struct servers c = {.first = lose_second_look};
    struct stn_host host;
    struct sterna_error err = {0};
    (void)state;
    servers_start(&c, 2);
    struct stn_session_options o = servers_options(&c, &host);
    servers_open_with(&c, &o);
    CHECK_OK(stn_session_await_schema(c.session, &err), err);
    assert_true(c.n_looks >= 3);
    servers_close(&c);
}

/* ---- Scylla's shards ---- */

enum { SHARDS = 6, IGNORE_MSB = 12, CONNS_MAX = 200 };

struct shards {                     /* what the peer's thread knows */
    char port[8];                   /* the shard-aware one */
    atomic_uint of_conn[CONNS_MAX]; /* by number: its shard */
    atomic_uint conns[SHARDS], reads[SHARDS], wrong;
    atomic_int by_source_port;
    uint8_t tablet[256];
    atomic_size_t tablet_bytes;
};

static int tell_shard(struct servers *c, struct peer_conn *conn, const struct peer_frame *f) {
    struct shards *s = c->own;
    unsigned number = peer_number(conn);
    char shard[8];
    if (f->opcode != STN_CQL_OPTIONS || peer_startup(conn, "CQL_VERSION")) return 0;
    assert_true(number < CONNS_MAX);
    uint32_t is = (s->by_source_port ? peer_client_port(conn) : number) % SHARDS;
    const struct peer_pair pairs[] = {{"SCYLLA_SHARD", shard},
                                      {"SCYLLA_NR_SHARDS", "6"},
                                      {"SCYLLA_SHARDING_IGNORE_MSB", "12"},
                                      {"SCYLLA_SHARDING_ALGORITHM", "biased-token-round-robin"},
                                      {"SCYLLA_SHARD_AWARE_PORT", s->port},
                                      {"TABLETS_ROUTING_V1", ""}};
    snprintf(shard, sizeof shard, "%" PRIu32, is);
    s->of_conn[number] = is;
    s->conns[is]++;
    peer_send_supported_as(conn, f->stream, pairs, STN_COUNT(pairs));
    return 1;
}

static int count_shard(struct servers *c, struct peer_conn *conn, const struct peer_frame *f,
                       unsigned k, size_t node) {
    struct shards *s = c->own;
    uint8_t id[16];
    (void)f, (void)node;
    sample_id(k, id);
    uint32_t shard = s->of_conn[peer_number(conn)];
    s->reads[shard]++;
    s->wrong += stn_token_shard(stn_token(id, sizeof id), SHARDS, IGNORE_MSB) != shard;
    return 0;
}

/* One node whose shard-aware port is `port_of`'s, or its own. */
static void open_scylla(struct servers *c, const struct servers *port_of) {
    struct stn_host host;
    struct shards *s = c->own;
    servers_start_with(c, (struct peer_options){.without_peers_v2 = 1});
    snprintf(s->port, sizeof s->port, "%u", peer_port(port_of ? port_of->peer : c->peer));
    struct stn_session_options o = servers_options(c, &host);
    servers_freeze(c, &o);
    servers_open_with(c, &o);
}

static int has_all_shards(struct servers *c) {
    const struct shards *s = c->own;
    struct stn_session_stats stats;
    stn_session_stats(c->session, &stats);
    for (size_t i = 0; i < SHARDS; i++)
        if (s->conns[i] == 0) return 0;
    return stats.connections >= SHARDS;
}

static void test_each_shard_is_read_over_its_own_connection(void **state) {
    struct shards s = {.by_source_port = 1};
    struct servers c = {.first = tell_shard, .script = count_shard, .own = &s};
    (void)state;
    for (unsigned i = 0; i < 3; i++) { /* which shards the first connections are for is chance */
        memset(&s, 0, sizeof s);
        s.by_source_port = 1;
        open_scylla(&c, NULL);
        while (!has_all_shards(&c)) servers_read(&c, 10, STERNA_OK);
        servers_read(&c, 10, STERNA_OK);
        while (n_open(&c, 0) != peer_accepted(c.peer, 0)) sched_yield();
        s.wrong = 0;
        servers_read(&c, 500, STERNA_OK);
        assert_int_equal(s.wrong, 0);
        assert_in_range(peer_accepted(c.peer, 0), 1 + SHARDS, 1 + 4 + SHARDS);
        servers_close(&c);
    }
}

static void await_none_connected(struct servers *c) {
    struct stn_session_stats stats = {.connections = 1};
    while (stats.connections > 0) stn_session_stats(c->session, &stats);
}

/* Something between changes source ports: connections are for any shards, and all works. */
static void test_a_shard_aware_port_that_misleads_is_left_alone(void **state) {
    struct shards s = {.by_source_port = 0}, t = {.by_source_port = 0};
    struct servers c = {.first = tell_shard, .script = count_shard, .own = &s},
                   port = {.first = tell_shard, .script = count_shard, .own = &t};
    (void)state;
    servers_start_with(&port, (struct peer_options){.without_peers_v2 = 1});
    open_scylla(&c, &port);
    snprintf(t.port, sizeof t.port, "%s", s.port);
    while (peer_accepted(port.peer, 0) == 0) servers_read(&c, 10, STERNA_OK);
    servers_read(&c, 300, STERNA_OK);
    for (unsigned i = 0; i < 3; i++) { /* connections are lost, and made again: without it */
        unsigned told = peer_accepted(port.peer, 0), before = peer_accepted(c.peer, 0);
        peer_stop_node(c.peer, 0);
        peer_stop_node(port.peer, 0);
        peer_start_node(c.peer, 0);
        peer_start_node(port.peer, 0);
        await_none_connected(&c); /* what is lost later is not tried again before time goes on */
        servers_later(&c, 20 * STN_NS_PER_S);
        servers_read(&c, 300, STERNA_OK);
        while (peer_accepted(c.peer, 0) < before + 4) servers_read(&c, 10, STERNA_OK);
        assert_int_equal(peer_accepted(port.peer, 0), told);
    }
    assert_true(peer_accepted(c.peer, SIZE_MAX) < 60); /* nor are there ever more of them */
    servers_close(&c);
    peer_close(&port.peer);
}

/* ---- Scylla's tablets ---- */

static void put_int(struct stn_writer *w, uint64_t v, uint32_t bytes) {
    stn_put_be32(w, bytes);
    if (bytes == 8)
        stn_put_be64(w, v);
    else
        stn_put_be32(w, (uint32_t)v);
}

/* Tokens in (first, last] are at that host's shard. */
static size_t put_tablet(uint8_t to[256], int64_t first, int64_t last, const uint8_t host[16],
                         uint32_t shard) {
    struct stn_writer w = {.to = to, .cap = 256};
    put_int(&w, (uint64_t)first, 8);
    put_int(&w, (uint64_t)last, 8);
    stn_put_be32(&w, 4 + 4 + 4 + 16 + 4 + 4);
    stn_put_be32(&w, 1);
    stn_put_be32(&w, 4 + 16 + 4 + 4);
    stn_put_be32(&w, 16);
    stn_put_bytes(&w, host, 16);
    put_int(&w, shard, 4);
    assert_true(w.used <= w.cap);
    return w.used;
}

static int with_tablet(struct servers *c, struct peer_conn *conn, const struct peer_frame *f,
                       unsigned k, size_t node) {
    const struct shards *s = c->own;
    (void)f, (void)k, (void)node;
    if (s->tablet_bytes > 0) peer_payload(conn, "tablets-routing-v1", s->tablet, s->tablet_bytes);
    return 0;
}

static void open_tablets(struct servers *c, const struct peer_node *nodes, size_t n_nodes) {
    static const struct peer_pair pairs[] = {
        {"SCYLLA_SHARD", "0"}, {"SCYLLA_NR_SHARDS", "1"}, {"TABLETS_ROUTING_V1", ""}};
    struct stn_host host;
    servers_start_with(c, (struct peer_options){.nodes = nodes,
                                                .n_nodes = n_nodes,
                                                .supported = pairs,
                                                .n_supported = STN_COUNT(pairs),
                                                .without_peers_v2 = 1});
    struct stn_session_options o = servers_options(c, &host);
    servers_freeze(c, &o);
    servers_open_with(c, &o);
}

static void host_of(size_t node, uint8_t id[16]) {
    memset(id, (int)node + 1, 15);
    id[15] = 1;
}

static void test_a_tablet_says_where_its_tokens_are(void **state) {
    static const struct peer_node nodes[3];
    struct shards s = {.wrong = 0};
    struct servers c = {.script = with_tablet, .own = &s};
    uint8_t host[16];
    (void)state;
    open_tablets(&c, nodes, 3);
    for (size_t i = 0; i < 3; i++) read_until_asked(&c, i, 20);
    for (size_t i = 0; i < 3; i++) { /* and it moves */
        host_of(i, host);
        s.tablet_bytes = put_tablet(s.tablet, INT64_MIN, INT64_MAX, host, 0);
        servers_read(&c, 1, STERNA_OK); /* a row with a blob, behind the payload */
        s.tablet_bytes = 0;
        unsigned before = c.asked[i];
        servers_read(&c, 300, STERNA_OK);
        assert_int_equal(c.asked[i], before + 300);
    }
    unsigned looks = c.n_looks;
    servers_event(&c, "NEW_NODE", 1); /* all that was known of tablets may be another's now */
    await_look(&c, looks + 1);
    read_until_asked(&c, 0, 20);
    read_until_asked(&c, 1, 20);
    servers_close(&c);
}

static void test_nonsense_about_tablets_is_ignored(void **state) {
    static const struct peer_node nodes[2];
    struct shards s = {.wrong = 0};
    struct servers c = {.script = with_tablet, .own = &s};
    uint8_t host[16];
    (void)state;
    open_tablets(&c, nodes, 2);
    read_until_asked(&c, 1, 20);
    host_of(0, host);
    const size_t whole = put_tablet(s.tablet, INT64_MIN, INT64_MAX, host, 0);
    for (s.tablet_bytes = 1; s.tablet_bytes < whole; s.tablet_bytes++)
        servers_read(&c, 3, STERNA_OK);
    s.tablet_bytes = put_tablet(s.tablet, 5, 5, host, 0);
    servers_read(&c, 50, STERNA_OK);
    s.tablet_bytes = put_tablet(s.tablet, 7, -7, host, 0);
    servers_read(&c, 50, STERNA_OK);
    s.tablet_bytes = put_tablet(s.tablet, INT64_MIN, INT64_MAX, host, UINT32_MAX);
    servers_read(&c, 50, STERNA_OK);
    read_until_asked(&c, 1, 100); /* not the first alone */
    servers_close(&c);
}

/* A tablet at a node that we do not know of: there must be a new one. */
static void test_a_tablet_at_an_unknown_node_leads_to_a_look(void **state) {
    static const struct peer_node nodes[] = {{.hidden = 0}, {.hidden = 0}, {.hidden = 1}};
    struct shards s = {.wrong = 0};
    struct servers c = {.script = with_tablet, .own = &s};
    uint8_t host[16];
    (void)state;
    open_tablets(&c, nodes, 3);
    unsigned looks = c.n_looks;
    peer_set_node(c.peer, 2, &plain_node);
    host_of(2, host);
    s.tablet_bytes = put_tablet(s.tablet, INT64_MIN, INT64_MAX, host, 0);
    servers_read(&c, 50, STERNA_OK);
    for (unsigned i = 0; i < 12 && c.n_looks == looks; i++) {
        servers_later(&c, STN_NS_PER_S / 4);
        servers_settle(&c);
    }
    await_nodes(&c, 3);
    read_until_asked(&c, 2, 20);
    servers_close(&c);
}

static int count_tablet_shard(struct servers *c, struct peer_conn *conn, const struct peer_frame *f,
                              unsigned k, size_t node) {
    struct shards *s = c->own;
    s->reads[s->of_conn[peer_number(conn)]]++;
    return with_tablet(c, conn, f, k, node);
}

/* The shard of a tablet is told with it, and is not the one that the token alone would give. */
static void test_a_tablet_is_read_over_its_shards_connection(void **state) {
    struct shards s = {.by_source_port = 1};
    struct servers c = {.first = tell_shard, .script = count_tablet_shard, .own = &s};
    uint8_t host[16];
    (void)state;
    open_scylla(&c, NULL);
    while (!has_all_shards(&c)) servers_read(&c, 10, STERNA_OK);
    servers_read(&c, 10, STERNA_OK);
    while (n_open(&c, 0) != peer_accepted(c.peer, 0)) sched_yield();
    host_of(0, host);
    s.tablet_bytes = put_tablet(s.tablet, INT64_MIN, INT64_MAX, host, 3);
    servers_read(&c, 1, STERNA_OK);
    unsigned before = s.reads[3];
    servers_read(&c, 300, STERNA_OK);
    assert_int_equal(s.reads[3], before + 300);
    servers_close(&c);
}

#define TEST(f) cmocka_unit_test_setup(f, watch)

int main(int argc, char **argv) {
    if (argc > 1) cmocka_set_test_filter(argv[1]);
    const struct CMUnitTest tests[] = {
        TEST(test_a_new_node_is_used),
        TEST(test_an_event_during_a_look_leads_to_another),
        TEST(test_a_node_that_leaves_hands_over_its_calls),
        TEST(test_a_node_that_moves_is_found_again),
        TEST(test_a_node_that_is_up_is_connected_at_once),
        TEST(test_another_node_becomes_the_control_connection),
        TEST(test_another_data_centre_is_never_asked),
        TEST(test_the_data_centre_can_be_chosen),
        TEST(test_the_schema_is_waited_for),
        TEST(test_a_schema_that_never_agrees_is_told),
        TEST(test_the_schema_is_waited_for_across_a_lost_connection),
        TEST(test_each_shard_is_read_over_its_own_connection),
        TEST(test_a_shard_aware_port_that_misleads_is_left_alone),
        TEST(test_a_tablet_says_where_its_tokens_are),
        TEST(test_nonsense_about_tablets_is_ignored),
        TEST(test_a_tablet_at_an_unknown_node_leads_to_a_look),
        TEST(test_a_tablet_is_read_over_its_shards_connection),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
