/* A node: its connections in each lane, and how many bytes may be outstanding there. */
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "net/parts.h"

enum { LINKS_MAX = 1024, CONNECTING_MAX = 1024, LOGINS_MAX = 8 };

#define RECONNECT_FIRST_NS (250 * STN_NS_PER_MS)
#define RECONNECT_MAX_NS (30 * STN_NS_PER_S)
#define SHARD_PORT_PAUSE_NS (300 * STN_NS_PER_S)
#define SHARD_PORT_FIRST 49152
#define SHARD_PORT_TRIES 64

#define TELL_EVERY_NS (10 * STN_NS_PER_S)

#define SERVER_ERRORS_MAX 8
#define SERVER_ERRORS_NS (10 * STN_NS_PER_S)

void stn_node_server_error(struct stn_node *node, uint64_t now_ns) {
    if (now_ns - node->server_errors_ns > SERVER_ERRORS_NS) {
        node->server_errors_ns = now_ns;
        node->n_server_errors = 0;
    }
    if (++node->n_server_errors >= SERVER_ERRORS_MAX) node->session->tick_ns = 0;
}

/* ---- links ---- */

int stn_node_add_link(struct stn_node *node, enum stn_lane lane, uint32_t shard) {
    struct stn_link *link = calloc(1, sizeof *link);
    size_t n = node->n_links[lane];
    struct stn_link **grown = realloc(node->links[lane], (n + 1) * sizeof(struct stn_link *));
    if (grown) node->links[lane] = grown;
    if (!link || !grown) {
        free(link);
        return STERNA_ENOMEM;
    }
    *link = (struct stn_link){.node = node, .lane = lane, .shard = shard};
    grown[node->n_links[lane]++] = link;
    return STERNA_OK;
}

int stn_link_is_usable(const struct stn_link *link) {
    return link->conn && stn_conn_is_ready(link->conn);
}

void stn_node_drop_link(struct stn_node *node, enum stn_lane lane, unsigned at) {
    struct stn_link *link = node->links[lane][at];
    struct stn_session *s = node->session;
    struct stn_conn_stats last = {0};
    if (link->conn) stn_conn_stats(link->conn, &last);
    s->copied_bytes += last.copied_bytes;
    s->received_bytes += last.received_bytes;
    if (link->was_ready) atomic_fetch_sub(&s->n_connections, 1);
    stn_conn_close(&link->conn);
    free(link);
    node->n_links[lane]--;
    for (unsigned i = at; i < node->n_links[lane]; i++)
        node->links[lane][i] = node->links[lane][i + 1];
}

/* ---- what a connection tells ---- */

/* Whether some link of the lane goes to that shard, or will when it is connected again. */
static int is_covered(const struct stn_node *node, enum stn_lane lane, uint32_t shard) {
    for (unsigned i = 0; i < node->n_links[lane]; i++) {
        const struct stn_link *link = node->links[lane][i];
        if (link->shard == shard) return 1;
        if (stn_link_is_usable(link) && stn_conn_supported(link->conn)->shard == shard) return 1;
    }
    return 0;
}

/* A link that goes anywhere and is not connected now; or NULL. */
static struct stn_link *spare_link(const struct stn_node *node, enum stn_lane lane) {
    for (unsigned i = 0; i < node->n_links[lane]; i++)
        if (node->links[lane][i]->shard == UINT32_MAX && !node->links[lane][i]->conn)
            return node->links[lane][i];
    return NULL;
}

/* A server that was started anew may have fewer shards. */
static void forget_shards(const struct stn_node *node, enum stn_lane lane, uint32_t n_shards) {
    for (unsigned i = 0; i < node->n_links[lane]; i++)
        if (node->links[lane][i]->shard >= n_shards) node->links[lane][i]->shard = UINT32_MAX;
}

/* A connection for each shard, so that no request has to be handed over within the server. The
 * first ones go to any shards; those that are still missing are opened when this is known of all.
 */
static void learn_shards(struct stn_link *link, uint64_t now_ns) {
    struct stn_node *node = link->node;
    const struct stn_supported *told = stn_conn_supported(link->conn);
    if (told->n_shards == 0 || told->n_shards > LINKS_MAX) return;
    node->shards = *told;
    stn_lane_needs(node, link->lane, told->n_shards);
    forget_shards(node, link->lane, told->n_shards);
    if (link->shard != UINT32_MAX && link->shard != told->shard) /* something rewrites ports */
        node->shard_port_ns = now_ns + SHARD_PORT_PAUSE_NS;
    for (unsigned i = 0; i < node->n_links[link->lane]; i++) {
        struct stn_conn *conn = node->links[link->lane][i]->conn;
        if (conn && !stn_conn_is_ready(conn)) return;
    }
    for (uint32_t shard = 0; shard < told->n_shards; shard++) {
        if (is_covered(node, link->lane, shard)) continue;
        struct stn_link *spare = spare_link(node, link->lane);
        if (spare)
            spare->shard = shard;
        else if (stn_node_add_link(node, link->lane, shard) < 0)
            return;
    }
    node->session->tick_ns = 0;
}

/* One password is tried first, on the control connection; and then a few at a time: servers make
 * their checking slow on purpose. */
static int may_log_in(void *ctx, struct stn_conn *conn) {
    struct stn_link *link = ctx;
    struct stn_node *node = link->node;
    (void)conn;
    if (!node->session->control.let_in || node->n_logins >= LOGINS_MAX) return 0;
    node->n_logins++;
    return link->logs_in = 1;
}

static void login_ended(struct stn_link *link) {
    if (!link->logs_in) return;
    link->logs_in = 0;
    link->node->n_logins--;
    link->node->session->tick_ns = 0; /* the next one's turn */
}

static void on_ready(void *ctx, struct stn_conn *conn) {
    struct stn_link *link = ctx;
    struct stn_node *node = link->node;
    struct stn_session *s = node->session;
    (void)conn;
    login_ended(link);
    link->failures = 0;
    link->was_ready = 1;
    node->is_down = 0;
    atomic_fetch_add(&s->n_connections, 1);
    s->path_ns = 0; /* who has an answer can also know the way it came */
    if (node->was_told) stn_log(STERNA_LOG_INFO, "node %s is back", node->text);
    node->was_told = 0;
    stn_lane_ready(link, stn_session_now(s));
    learn_shards(link, stn_session_now(s));
}

/* Once for each time that it goes away, and not in bursts when it comes and goes. */
static void tell_down(struct stn_node *node, const char *why) {
    if (node->unnamed) return; /* the control connection tells what is wrong */
    node->is_down = 1;
    if (node->was_told || node->gone) return;
    if (!stn_log_every(&node->told, stn_session_now(node->session), TELL_EVERY_NS, NULL)) return;
    node->was_told = 1;
    stn_log(STERNA_LOG_WARNING, "node down: %s", why);
}

static int is_connecting(const struct stn_node *node) {
    for (int lane = 0; lane < STN_LANE_COUNT; lane++)
        for (unsigned i = 0; i < node->n_links[lane]; i++)
            if (node->links[lane][i]->conn) return 1;
    return 0;
}

/* Others work: there is a limit to their number, or something between ends some. */
static void tell_limited(struct stn_node *node, const char *why) {
    if (node->is_limited || !stn_node_is_ready(node)) return;
    node->is_limited = 1;
    stn_log(STERNA_LOG_WARNING,
            "not all connections that are wanted can be had, those that are there are used: %s",
            why);
}

static void plan_retry(struct stn_link *link, int code) {
    struct stn_session *s = link->node->session;
    unsigned doublings = STN_MIN(link->failures, 7U);
    uint64_t wait_ns = STN_MIN((uint64_t)RECONNECT_FIRST_NS << doublings, RECONNECT_MAX_NS);
    if (code == STERNA_EREFUSED) wait_ns = RECONNECT_MAX_NS;
    if (link->renewed) wait_ns = 0;
    wait_ns = wait_ns / 4 * 3 + stn_session_random(s, (uint32_t)(wait_ns / 2 / 1000)) * 1000ULL;
    link->retry_ns = stn_session_now(s) + wait_ns;
    link->failures += !link->renewed;
    s->tick_ns = 0;
}

static void on_closed(void *ctx, struct stn_conn *conn, const struct sterna_error *err) {
    struct stn_link *link = ctx;
    struct stn_node *node = link->node;
    struct stn_session *s = node->session;
    struct stn_conn_stats last;
    int was_ready = link->was_ready, is_first = !was_ready && link->failures == 0;
    login_ended(link);
    stn_conn_stats(conn, &last);
    s->copied_bytes += last.copied_bytes;
    s->received_bytes += last.received_bytes;
    node->owed_bytes -= last.outstanding_bytes; /* all its calls are done */
    stn_conn_close(&link->conn);
    stn_session_remember(s, err->message);
    if (was_ready) {
        atomic_fetch_sub(&s->n_connections, 1);
        atomic_fetch_add(&s->lost, 1);
    } else {
        tell_limited(node, err->message);
    }
    link->was_ready = 0;
    link->seen_bytes = link->round_bytes = 0;
    link->rate = 0;
    link->is_measured = 0;
    plan_retry(link, err->code);
    if (!stn_node_is_ready(node)) {
        /* One that is refused says nothing yet of those that are on their way with it. */
        if (!link->renewed && !(is_first && is_connecting(node))) tell_down(node, err->message);
        stn_statements_unpark(node);
    }
    link->renewed = 0;
}

static void on_tablets(void *ctx, struct stn_call *call, struct stn_cql_value payload) {
    struct stn_query_call *q = stn_query_of(call);
    (void)ctx;
    uint64_t now_ns = q ? stn_session_now(q->session) : 0;
    const struct stn_tablet_replica *replicas;
    if (!q || !q->statement) return;
    if (stn_tablets_learn(q->statement->tablets, payload, now_ns) < 0) return;
    size_t n = stn_tablets_find(q->statement->tablets, q->token, now_ns, &replicas);
    for (size_t i = 0; i < n; i++)
        if (!stn_route_host(q->session, replicas[i].host_id)) stn_control_look_soon(q->session);
}

static void on_stray(void *ctx, struct stn_conn *conn, int16_t stream, uint8_t opcode) {
    struct stn_link *link = ctx;
    (void)conn;
    atomic_fetch_add(&link->node->session->strays, 1);
    if (opcode == STN_CQL_ERROR) /* an overloaded server that forgot whom to tell */
        stn_lane_overloaded(link->node, link->lane, stn_session_now(link->node->session));
    (void)stream;
}

static void on_late(void *ctx, struct stn_conn *conn, uint64_t sent_ns, uint64_t answer_bytes) {
    struct stn_node *node = ((struct stn_link *)ctx)->node;
    (void)conn;
    node->owed_bytes -= answer_bytes;
    stn_node_waited(node, sent_ns, stn_session_now(node->session));
}

static const struct stn_conn_ops link_ops = {.ready = on_ready,
                                             .closed = on_closed,
                                             .tablets = on_tablets,
                                             .late = on_late,
                                             .stray = on_stray,
                                             .may_log_in = may_log_in};

/* ---- connecting ---- */

/* From a source port by which Scylla's shard-aware port knows the shard; 0: not now. */
static int connect_to_shard(struct stn_link *link, uint64_t now_ns, int *rc,
                            struct sterna_error *err) {
    struct stn_node *node = link->node;
    const struct stn_supported *told = &node->shards;
    uint16_t port = node->config.tls ? told->shard_port_tls : told->shard_port;
    if (link->shard == UINT32_MAX || port == 0 || now_ns < node->shard_port_ns) return 0;
    struct stn_address to = node->address;
    stn_address_set_port(&to, port);
    uint32_t n = told->n_shards, places = (65536 - SHARD_PORT_FIRST) / n - 1;
    uint32_t first = SHARD_PORT_FIRST + (n - SHARD_PORT_FIRST % n + link->shard) % n;
    for (int i = 0; i < SHARD_PORT_TRIES; i++) {
        uint16_t from = (uint16_t)(first + n * stn_session_random(node->session, places));
        stn_error_clear(err);
        *rc = stn_conn_open(&link->conn, node->session->poll, &to, from, &node->config, &link_ops,
                            link, now_ns, err);
        if (*rc != STERNA_EBUSY) return 1;
    }
    return 0;
}

static void connect_link(struct stn_link *link, uint64_t now_ns) {
    struct stn_node *node = link->node;
    struct sterna_error err = {0};
    int rc = STERNA_OK;
    link->tcp = (struct stn_tcp_look){0};
    node->config.ask_supported = node->session->is_scylla || node->unnamed;
    if (!connect_to_shard(link, now_ns, &rc, &err))
        rc = stn_conn_open(&link->conn, node->session->poll, &node->address, 0, &node->config,
                           &link_ops, link, now_ns, &err);
    if (rc == STERNA_OK) return;
    stn_session_remember(node->session, err.message);
    link->retry_ns = now_ns + RECONNECT_FIRST_NS;
}

static uint64_t tick_link(struct stn_link *link, unsigned *n_connecting, uint64_t now_ns) {
    struct stn_node *node = link->node;
    if (!link->conn && !node->gone && !link->surplus && now_ns >= link->retry_ns &&
        *n_connecting < CONNECTING_MAX)
        connect_link(link, now_ns);
    if (!link->conn)
        return node->gone ? UINT64_MAX : STN_MAX(link->retry_ns, now_ns + STN_NS_PER_MS);
    uint64_t at = stn_conn_tick(link->conn, now_ns);
    *n_connecting += link->conn && !stn_conn_is_ready(link->conn);
    return at;
}

/* A server that fails inside again and again may do better with new connections. */
static void renew(struct stn_node *node) {
    node->n_server_errors = 0;
    for (int lane = 0; lane < STN_LANE_COUNT; lane++)
        for (unsigned i = 0; i < node->n_links[lane]; i++)
            if (stn_link_is_usable(node->links[lane][i])) {
                node->links[lane][i]->renewed = 1;
                stn_conn_abort(node->links[lane][i]->conn, STERNA_EUNREACHABLE,
                               "too many server errors");
            }
}

uint64_t stn_node_tick(struct stn_node *node, uint64_t now_ns) {
    uint64_t at = UINT64_MAX;
    unsigned n_connecting = 0;
    if (node->n_server_errors >= SERVER_ERRORS_MAX) renew(node);
    for (int lane = 0; lane < STN_LANE_COUNT; lane++)
        for (unsigned i = 0; i < node->n_links[lane]; i++)
            at = STN_MIN(at, tick_link(node->links[lane][i], &n_connecting, now_ns));
    return at;
}

void stn_node_come_up(struct stn_node *node, uint64_t now_ns) {
    for (int lane = 0; lane < STN_LANE_COUNT; lane++)
        for (unsigned i = 0; i < node->n_links[lane]; i++) {
            node->links[lane][i]->retry_ns = now_ns;
            node->links[lane][i]->failures = 0;
        }
    node->session->tick_ns = 0;
}

void stn_node_flush(struct stn_node *node, uint64_t now_ns) {
    for (int lane = 0; lane < STN_LANE_COUNT; lane++)
        for (unsigned i = 0; i < node->n_links[lane]; i++) {
            struct stn_link *link = node->links[lane][i];
            if (link->dirty && link->conn) stn_conn_flush(link->conn, now_ns);
            link->dirty = 0;
        }
}

/* ---- the end ---- */

void stn_node_close(struct stn_node *node) {
    node->gone = 1;
    for (int lane = 0; lane < STN_LANE_COUNT; lane++)
        for (unsigned i = 0; i < node->n_links[lane]; i++) {
            struct stn_link *link = node->links[lane][i];
            if (link->was_ready) atomic_fetch_sub(&node->session->n_connections, 1);
            link->was_ready = 0;
            login_ended(link);
            stn_conn_close(&link->conn);
        }
    node->owed_bytes = 0;
    stn_statements_unpark(node);
}

void stn_node_cut(struct stn_node *node) {
    int gone = node->gone;
    stn_node_close(node);
    node->gone = gone;
    for (int lane = 0; lane < STN_LANE_COUNT; lane++) {
        for (unsigned i = 0; i < node->n_links[lane]; i++) free(node->links[lane][i]);
        free(node->links[lane]);
        node->links[lane] = NULL;
        node->n_links[lane] = 0;
    }
}

void stn_node_free(struct stn_node **out) {
    struct stn_node *node = *out;
    *out = NULL;
    if (!node) return;
    stn_node_cut(node);
    free(node->prepared);
    free(node->tokens);
    free(node->host);
    free(node);
}
