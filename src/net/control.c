/* The control connection: one for the whole cluster, from which the session learns which nodes
 * there are, what they hold, and when that changes. When it is lost another node is asked. */
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "net/parts.h"

#define EVENT_PAUSE_NS STN_NS_PER_S /* events come in bursts, and before their cause */
#define REFRESH_NS (60 * STN_NS_PER_S)
#define RETRY_NS STN_NS_PER_S
#define RETRY_MAX_NS (30 * STN_NS_PER_S)

static struct stn_conn *control_conn(struct stn_session *s) {
    struct stn_attempt *a = s->control.active;
    return a && a->conn && stn_conn_is_ready(a->conn) ? a->conn : NULL;
}

struct stn_conn *stn_control_conn(struct stn_session *s, const struct stn_address **address) {
    struct stn_conn *conn = control_conn(s);
    if (conn && address) *address = &s->control.active->address;
    return conn;
}

static void plan_look(struct stn_session *s, uint64_t at_ns) {
    s->control.refresh_ns = STN_MIN(s->control.refresh_ns, at_ns);
    s->tick_ns = 0;
}

struct stn_conn *stn_control_conn_of(const struct stn_node *node) {
    const struct stn_address *at;
    struct stn_conn *conn = stn_control_conn(node->session, &at);
    return conn && stn_address_equals(&node->address, at) ? conn : NULL;
}

void stn_control_look_soon(struct stn_session *s) {
    plan_look(s, stn_session_now(s) + EVENT_PAUSE_NS);
}

unsigned stn_control_look(struct stn_session *s) {
    s->control.look_again = 1;
    plan_look(s, 0);
    return s->n_looks_ended + (s->control.looking ? 2 : 1);
}

/* ---- opening ends ---- */

static void opened(struct stn_session *s, int rc) {
    pthread_mutex_lock(&s->lock);
    if (s->opened == 0) s->opened = rc == STERNA_OK ? 1 : rc;
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->lock);
}

/* ---- nodes out of rows ---- */

static void translate(const struct stn_session *s, struct stn_address *a) {
    for (size_t i = 0; i < s->n_translations; i++)
        if (stn_address_equals(&s->translations[i].from, a)) {
            *a = s->translations[i].to;
            return;
        }
}

static struct stn_node *add_node(struct stn_session *s, const uint8_t host_id[16]) {
    struct stn_node *node = s->n_nodes < STN_NODES_MAX ? calloc(1, sizeof *node) : NULL;
    if (!node) return NULL;
    node->session = s;
    node->index = s->n_nodes;
    node->config = s->config;
    memcpy(node->host_id, host_id, 16);
    stn_lane_init(node, stn_session_now(s));
    s->nodes[s->n_nodes++] = node;
    return node;
}

static void name_host(struct stn_node *node, const char *host) {
    if (!host || node->host) return;
    node->host = strdup(host);
    node->config.host = node->host;
}

/* The contact point is a node that we do not know yet: what it is will be told by the first look,
 * and its connections are on their way meanwhile. */
static struct stn_node *unnamed_node(const struct stn_session *s) {
    return s->n_nodes > 0 && s->nodes[0]->unnamed ? s->nodes[0] : NULL;
}

static void open_unnamed(struct stn_session *s, const struct stn_attempt *a) {
    static const uint8_t nobody[16] = {0};
    struct stn_node *node = unnamed_node(s);
    if (!node && !(node = s->n_nodes == 0 ? add_node(s, nobody) : NULL)) return;
    if (node->unnamed && stn_address_equals(&node->address, &a->address)) return;
    stn_node_cut(node); /* those of another contact point, which was faster but is not ready */
    free(node->host);
    node->host = NULL;
    node->config.host = NULL;
    name_host(node, a->host);
    node->unnamed = node->local = 1;
    node->address = a->address;
    stn_address_text(&a->address, node->text);
    if (s->reads_soon) stn_lane_open(node, STN_LANE_READ);
}

/* host: the name by which it was reached, for its certificate; NULL: its address. */
static int take_node(struct stn_session *s, struct stn_peer *p, const struct stn_address *address,
                     const char *host) {
    struct stn_node *node = stn_route_host(s, p->host_id);
    if (!node && host && (node = unnamed_node(s))) memcpy(node->host_id, p->host_id, 16);
    if (!node && !(node = add_node(s, p->host_id))) return STERNA_ENOMEM;
    node->unnamed = 0;
    name_host(node, host);
    int moved = node->address.bytes && !stn_address_equals(&node->address, address);
    if (moved) stn_node_close(node);
    if (moved || node->gone) stn_node_come_up(node, stn_session_now(s));
    node->address = *address;
    stn_address_text(address, node->text);
    node->seen = 1;
    node->gone = 0;
    snprintf(node->dc, sizeof node->dc, "%s", p->dc);
    snprintf(node->rack, sizeof node->rack, "%s", p->rack);
    memcpy(node->schema_version, p->schema_version, 16);
    free(node->tokens);
    node->tokens = p->tokens;
    node->n_tokens = p->n_tokens;
    p->tokens = NULL;
    return STERNA_OK;
}

static int take_local(struct stn_session *s, struct stn_peer *p) {
    const struct stn_attempt *a = s->control.active;
    pthread_mutex_lock(&s->lock);
    snprintf(s->info.cluster_name, sizeof s->info.cluster_name, "%s", p->cluster);
    snprintf(s->info.release, sizeof s->info.release, "%s", p->release);
    s->info.release_major = (unsigned)atoi(p->release);
    s->info.murmur3 = p->murmur3;
    s->info.is_scylla = s->is_scylla;
    pthread_mutex_unlock(&s->lock);
    if (!s->dc[0]) {
        snprintf(s->dc, sizeof s->dc, "%s", s->wanted_dc ? s->wanted_dc : p->dc);
        if (!s->wanted_dc) stn_log(STERNA_LOG_INFO, "local data centre: %s", s->dc);
    }
    return take_node(s, p, &a->address, a->host);
}

static void tell_half_joined(const struct stn_session *s, size_t row, const char *why) {
    if (s->n_looks == 0)
        stn_log(STERNA_LOG_WARNING, "a node in system.peers (row %zu) is passed over: %s", row,
                why);
}

static int take_peers(struct stn_session *s) {
    const struct stn_look *look = &s->control.look;
    uint16_t port = stn_address_port(&s->control.active->address);
    for (size_t row = 0; row < look->peers.rows.n_rows; row++) {
        struct stn_peer peer;
        const char *why;
        int rc = stn_peer_parse(&peer, &look->peers, row, 0, port, &why);
        if (rc == STERNA_EPROTO) tell_half_joined(s, row, why);
        if (rc == STERNA_OK) {
            translate(s, &peer.address);
            struct stn_node *known = stn_route_host(s, peer.host_id);
            if (!known || !known->seen) rc = take_node(s, &peer, &peer.address, NULL);
            stn_peer_fini(&peer);
        }
        if (rc == STERNA_ENOMEM) return rc;
    }
    return STERNA_OK;
}

/* ---- the ring ---- */

static int make_ring(struct stn_session *s) {
    const struct stn_table *keyspace = &s->control.look.keyspace;
    struct stn_replication replication;
    stn_ring_free(&s->ring);
    if (!s->info.murmur3) {
        if (s->n_looks == 0)
            stn_log(STERNA_LOG_WARNING, "the cluster's partitioner is not Murmur3: requests go to "
                                        "any node");
        return STERNA_OK;
    }
    if (keyspace->rows.n_rows == 0 ||
        stn_replication_parse(stn_table_value(keyspace, 0, "replication"), &replication) < 0)
        return STERNA_OK; /* not there yet, or not to be seen by us: any node will do */
    struct stn_ring_node *nodes = stn_array(s->n_nodes, sizeof *nodes);
    if (!nodes) return STERNA_ENOMEM;
    for (unsigned i = 0; i < s->n_nodes; i++)
        nodes[i] = (struct stn_ring_node){s->nodes[i]->dc, s->nodes[i]->rack, s->nodes[i]->tokens,
                                          s->nodes[i]->gone ? 0 : s->nodes[i]->n_tokens};
    int rc = stn_ring_make(&s->ring, nodes, s->n_nodes, &replication);
    free(nodes);
    return rc;
}

static int agrees(const struct stn_session *s) {
    const struct stn_node *first = NULL;
    for (unsigned i = 0; i < s->n_nodes; i++) {
        const struct stn_node *node = s->nodes[i];
        if (node->gone || node->is_down) continue;
        if (!first) first = node;
        if (memcmp(first->schema_version, node->schema_version, 16) != 0) return 0;
    }
    return 1;
}

static void settle_nodes(struct stn_session *s) {
    unsigned n_nodes = 0, n_up = 0;
    for (unsigned i = 0; i < s->n_nodes; i++) {
        struct stn_node *node = s->nodes[i];
        node->local = strcmp(node->dc, s->dc) == 0;
        if (!node->seen && !node->gone) {
            stn_log(STERNA_LOG_INFO, "node %s has left the cluster", node->text);
            stn_node_close(node);
        }
        if (!node->local) stn_node_cut(node); /* opened before it was known where it is */
        n_nodes += node->local && !node->gone;
        n_up += node->local && !node->gone && !node->is_down;
    }
    pthread_mutex_lock(&s->lock);
    s->info.n_nodes = n_nodes;
    s->info.n_nodes_up = n_up;
    snprintf(s->info.dc, sizeof s->info.dc, "%s", s->dc);
    pthread_mutex_unlock(&s->lock);
}

static int check_dc(struct stn_session *s) {
    char known[256] = "";
    size_t used = 0;
    for (unsigned i = 0; i < s->n_nodes; i++) {
        if (s->nodes[i]->local) return STERNA_OK;
        if (used < sizeof known && !strstr(known, s->nodes[i]->dc))
            used += (size_t)snprintf(known + used, sizeof known - used, "%s%s", used ? ", " : "",
                                     s->nodes[i]->dc);
    }
    return stn_fail(&s->open_error, STERNA_EINVAL,
                    "the cluster has no data centre '%s' (dc=): there is %s", s->dc, known);
}

static int apply(struct stn_session *s) {
    struct stn_look *look = &s->control.look;
    struct stn_peer local;
    const char *why = "system.local has no row";
    for (unsigned i = 0; i < s->n_nodes; i++) s->nodes[i]->seen = 0;
    int rc = look->local.rows.n_rows == 1 ? stn_peer_parse(&local, &look->local, 0, 1, 0, &why)
                                          : STERNA_EPROTO;
    if (rc == STERNA_EPROTO)
        return stn_fail(&s->open_error, rc, "the server does not tell who it is: %s", why);
    if (rc == STERNA_OK) {
        rc = take_local(s, &local);
        stn_peer_fini(&local);
    }
    if (rc == STERNA_OK) rc = take_peers(s);
    if (rc == STERNA_OK) settle_nodes(s);
    if (rc == STERNA_OK) rc = make_ring(s);
    if (rc < 0) return stn_fail_memory(&s->open_error, "the nodes of a cluster");
    return s->n_looks == 0 ? check_dc(s) : STERNA_OK;
}

/* ---- looking ---- */

static void look_end(struct stn_session *s) {
    struct stn_control *c = &s->control;
    int rc = c->look.why.code;
    int lost = rc < 0 && !control_conn(s); /* closed() goes on from there */
    uint64_t now_ns = stn_session_now(s);
    if (rc == STERNA_OK)
        rc = apply(s);
    else if (s->n_looks == 0 && !lost)
        stn_fail(&s->open_error, rc, "%s", c->look.why.message);
    stn_table_free(&c->look.local);
    stn_table_free(&c->look.peers);
    stn_table_free(&c->look.keyspace);
    c->looking = 0;
    /* An event that came meanwhile has planned one already. */
    c->refresh_ns = STN_MIN(c->refresh_ns, now_ns + (rc == STERNA_OK ? REFRESH_NS : RETRY_NS));
    if (c->look_again) plan_look(s, now_ns);
    if (rc == STERNA_OK || (s->n_looks == 0 && !lost)) opened(s, rc);
    pthread_mutex_lock(&s->lock);
    if (rc == STERNA_OK) s->n_looks++;
    s->n_looks_ended++;
    s->schema_agrees = rc == STERNA_OK && agrees(s);
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->lock);
    s->tick_ns = 0;
}

struct look_answer {
    int code;
    const struct stn_cql_result_head *head;
    struct stn_cursor *body;
    const struct stn_cql_failure *failure;
    const char *why;
};

static void answer_came(struct stn_session *s, struct stn_table *into,
                        const struct look_answer *a) {
    struct stn_look *look = &s->control.look;
    int rc = a->failure ? stn_query_code_of(a->failure) : a->code;
    const char *why = a->why;
    if (rc == STERNA_OK && a->head) {
        rc = stn_table_copy(into, a->head, *a->body);
        why = "what a server tells of its nodes cannot be kept";
    }
    if (rc < 0) stn_fail(&look->why, rc, "%s", why && *why ? why : sterna_strerror(rc));
    if (--look->n_waiting == 0) look_end(s);
}

static void query(struct stn_session *s, struct stn_call *call, const char *text);

#define PEERS_NEW "SELECT * FROM system.peers_v2"
#define PEERS_OLD "SELECT * FROM system.peers"

static void local_done(struct stn_call *call, int code, const struct stn_cql_result_head *head,
                       struct stn_cursor *body, const struct stn_cql_failure *failure,
                       const char *why) {
    struct stn_look *look = STN_OUTER(call, struct stn_look, local_call);
    answer_came(look->session, &look->local, &(struct look_answer){code, head, body, failure, why});
}

/* Scylla and Cassandra before 4.0 have no peers_v2. */
static void peers_done(struct stn_call *call, int code, const struct stn_cql_result_head *head,
                       struct stn_cursor *body, const struct stn_cql_failure *failure,
                       const char *why) {
    struct stn_look *look = STN_OUTER(call, struct stn_look, peers_call);
    if (failure && !look->old_peers) {
        look->old_peers = 1;
        query(look->session, &look->peers_call, PEERS_OLD);
        return;
    }
    answer_came(look->session, &look->peers, &(struct look_answer){code, head, body, failure, why});
}

/* Without the right to see it there is no token awareness, and nothing else is lost. */
static void keyspace_done(struct stn_call *call, int code, const struct stn_cql_result_head *head,
                          struct stn_cursor *body, const struct stn_cql_failure *failure,
                          const char *why) {
    struct stn_look *look = STN_OUTER(call, struct stn_look, keyspace_call);
    answer_came(look->session, &look->keyspace,
                &(struct look_answer){failure ? STERNA_OK : code, head, body, NULL, why});
}

static void query(struct stn_session *s, struct stn_call *call, const char *text) {
    static const struct stn_call_ops local = {.done = local_done}, peers = {.done = peers_done},
                                     keyspace = {.done = keyspace_done};
    struct stn_look *look = &s->control.look;
    const struct stn_cql_query q = {.consistency = STN_CQL_ONE};
    uint8_t frame[512];
    struct stn_writer w = {.to = frame, .cap = sizeof frame};
    *call = (struct stn_call){.ops = call == &look->local_call   ? &local
                                     : call == &look->peers_call ? &peers
                                                                 : &keyspace};
    stn_cql_put_query(&w, 0, text, &q);
    struct stn_conn *conn = control_conn(s);
    uint64_t now_ns = stn_session_now(s);
    int rc = conn && w.used <= w.cap ? stn_conn_send(conn, call, frame, w.used, now_ns)
                                     : STERNA_EUNREACHABLE;
    if (rc == STERNA_AGAIN) rc = STERNA_EUNREACHABLE; /* it is over, closed() will say why */
    if (rc == STERNA_OK)
        stn_conn_flush(conn, now_ns);
    else
        call->ops->done(call, rc, NULL, NULL, NULL, sterna_strerror(rc));
}

static void look(struct stn_session *s) {
    struct stn_look *l = &s->control.look;
    char text[256];
    int old_peers = l->old_peers;
    *l = (struct stn_look){.session = s, .n_waiting = 3, .old_peers = old_peers};
    s->control.looking = 1;
    s->control.look_again = 0;
    s->control.refresh_ns = UINT64_MAX;
    snprintf(text, sizeof text,
             "SELECT keyspace_name, replication FROM system_schema.keyspaces WHERE keyspace_name = "
             "'%.64s'",
             s->keyspace ? s->keyspace : "");
    query(s, &l->local_call, "SELECT * FROM system.local WHERE key = 'local'");
    query(s, &l->peers_call, old_peers ? PEERS_OLD : PEERS_NEW);
    query(s, &l->keyspace_call, text);
}

static void registered(struct stn_call *call, int code, const struct stn_cql_result_head *head,
                       struct stn_cursor *body, const struct stn_cql_failure *failure,
                       const char *why) {
    (void)call, (void)code, (void)head, (void)body, (void)failure, (void)why;
    /* Without events the nodes are looked at every minute. */
}

static void ask_for_events(struct stn_session *s) {
    static const char *const events[] = {"TOPOLOGY_CHANGE", "STATUS_CHANGE"};
    static const struct stn_call_ops ops = {.done = registered};
    uint8_t frame[128];
    struct stn_writer w = {.to = frame, .cap = sizeof frame};
    stn_cql_put_register(&w, 0, events, STN_COUNT(events));
    s->control.registering = (struct stn_call){.ops = &ops};
    stn_conn_send(control_conn(s), &s->control.registering, frame, w.used, stn_session_now(s));
}

/* ---- the connection ---- */

/* How far away the cluster is, before there is a connection to read over. */
static void learn_round_trip(struct stn_session *s, const struct stn_conn *conn) {
    struct stn_conn_stats now;
    stn_conn_stats(conn, &now);
    if (now.min_rtt_ns > 0) s->rtt_ns = now.min_rtt_ns;
}

/* The first one that TCP connects will most likely be the first one that is ready. */
static void on_connected(void *ctx, struct stn_conn *conn) {
    struct stn_attempt *a = ctx;
    struct stn_session *s = a->session;
    if (!s->rtt_ns) learn_round_trip(s, conn);
    if (s->opened == 0 && s->n_nodes == 0) open_unnamed(s, a);
}

static void on_ready(void *ctx, struct stn_conn *conn) {
    struct stn_attempt *a = ctx;
    struct stn_session *s = a->session;
    if (s->control.active) return; /* another contact point was faster; the tick closes this one */
    s->control.active = a;
    s->control.failures = 0;
    s->control.let_in = 1;
    s->is_scylla = stn_conn_supported(conn)->n_shards > 0;
    if (s->is_scylla) s->control.look.old_peers = 1;
    if (unnamed_node(s)) open_unnamed(s, a);
    s->tick_ns = 0; /* others that want to log in wait for this one */
    ask_for_events(s);
    look(s);
}

static void fail_opening(struct stn_session *s) {
    struct stn_control *c = &s->control;
    size_t used = 0;
    int code = STERNA_EUNREACHABLE;
    char all[STERNA_MESSAGE_BYTES] = "";
    for (size_t i = 0; i < c->n_contacts; i++) {
        const struct stn_attempt *a = &c->contacts[i];
        if (a->why.code >= 0) return; /* still trying */
        if (a->why.code != STERNA_EUNREACHABLE && code == STERNA_EUNREACHABLE) code = a->why.code;
        if (used < sizeof all)
            used += (size_t)snprintf(all + used, sizeof all - used, "%s%s", i ? "; " : "",
                                     a->why.message);
    }
    stn_fail(&s->open_error, code, "%s", all);
    opened(s, code);
}

static void attempt(struct stn_attempt *a, uint64_t now_ns);

/* The one that was fastest is lost before it told of the others: those that were given up for it
 * are tried after all. */
static void try_others(struct stn_session *s) {
    struct stn_control *c = &s->control;
    for (size_t i = 0; i < c->n_contacts; i++)
        if (!c->contacts[i].conn && c->contacts[i].why.code >= 0)
            attempt(&c->contacts[i], stn_session_now(s));
}

static void on_closed(void *ctx, struct stn_conn *conn, const struct sterna_error *err) {
    struct stn_attempt *a = ctx;
    struct stn_session *s = a->session;
    (void)conn;
    stn_conn_close(&a->conn);
    if (a->why.code >= 0) a->why = *err;
    stn_session_remember(s, err->message);
    if (s->control.active == a) s->control.active = NULL;
    unsigned doublings = STN_MIN(s->control.failures++, 7U);
    s->control.retry_ns =
        stn_session_now(s) + STN_MIN((uint64_t)(RETRY_NS / 4) << doublings, RETRY_MAX_NS);
    s->tick_ns = 0;
    if (s->opened != 0 || s->control.active) return;
    try_others(s);
    fail_opening(s);
}

static void forget_tablets(struct stn_session *s) {
    pthread_mutex_lock(&s->lock);
    for (struct stn_statement *t = s->statements; t; t = t->next) stn_tablets_clear(t->tablets);
    pthread_mutex_unlock(&s->lock);
}

static void on_event(void *ctx, const struct stn_cql_event *event) {
    struct stn_session *s = ((struct stn_attempt *)ctx)->session;
    uint64_t now_ns = stn_session_now(s);
    struct stn_address at;
    if (stn_text_equals(event->type, "TOPOLOGY_CHANGE")) forget_tablets(s);
    if (stn_text_equals(event->type, "STATUS_CHANGE") &&
        stn_address_from_ip(&at, event->address, event->address_bytes, (uint16_t)event->port) ==
            STERNA_OK) {
        translate(s, &at);
        for (unsigned i = 0; i < s->n_nodes; i++) {
            if (!stn_address_equals(&s->nodes[i]->address, &at)) continue;
            if (stn_text_equals(event->change, "UP")) stn_node_come_up(s->nodes[i], now_ns);
            s->nodes[i]->is_down = stn_text_equals(event->change, "DOWN");
        }
    }
    stn_control_look_soon(s);
}

static void on_stray(void *ctx, struct stn_conn *conn, int16_t stream, uint8_t opcode) {
    (void)conn, (void)stream, (void)opcode;
    atomic_fetch_add(&((struct stn_attempt *)ctx)->session->strays, 1);
}

static const struct stn_conn_ops control_ops = {
    .ready = on_ready,
    .closed = on_closed,
    .event = on_event,
    .stray = on_stray,
    .connected = on_connected,
};

static void attempt(struct stn_attempt *a, uint64_t now_ns) {
    struct stn_session *s = a->session;
    a->why = (struct sterna_error){0};
    a->config = s->config;
    a->config.host = a->host;
    a->config.ask_supported = 1;
    int rc = stn_conn_open(&a->conn, s->poll, &a->address, 0, &a->config, &control_ops, a, now_ns,
                           &a->why);
    if (rc == STERNA_OK) return;
    stn_session_remember(s, a->why.message);
    if (s->opened == 0) fail_opening(s);
}

/* Nodes that were seen, then the contact points, in turn. */
static int next_address(struct stn_session *s, struct stn_attempt *a) {
    struct stn_control *c = &s->control;
    size_t n = s->n_nodes + c->n_contacts;
    for (size_t tried = 0; tried < n; tried++) {
        size_t i = c->next_address++ % n;
        const struct stn_node *node = i < s->n_nodes ? s->nodes[i] : NULL;
        if (node && (node->gone || !node->local)) continue;
        a->address = node ? node->address : c->contacts[i - s->n_nodes].address;
        a->host = node ? node->host : c->contacts[i - s->n_nodes].host;
        return 1;
    }
    return 0;
}

static void reconnect(struct stn_session *s, uint64_t now_ns) {
    struct stn_attempt *a = &s->control.again;
    if (a->conn || s->control.active || s->opened != 1 || now_ns < s->control.retry_ns) return;
    a->session = s;
    s->control.retry_ns = now_ns + RETRY_NS;
    if (next_address(s, a)) attempt(a, now_ns);
}

static uint64_t tick_attempt(struct stn_attempt *a, uint64_t now_ns) {
    struct stn_attempt *active = a->session ? a->session->control.active : NULL;
    if (!a->conn) return UINT64_MAX;
    if (active && active != a) { /* not needed any more */
        stn_conn_close(&a->conn);
        return UINT64_MAX;
    }
    return stn_conn_tick(a->conn, now_ns);
}

uint64_t stn_control_tick(struct stn_session *s, uint64_t now_ns) {
    struct stn_control *c = &s->control;
    uint64_t at = UINT64_MAX;
    for (size_t i = 0; i < c->n_contacts; i++)
        at = STN_MIN(at, tick_attempt(&c->contacts[i], now_ns));
    at = STN_MIN(at, tick_attempt(&c->again, now_ns));
    if (!c->active) {
        reconnect(s, now_ns);
        return STN_MIN(at, STN_MAX(c->retry_ns, now_ns + 10 * STN_NS_PER_MS));
    }
    if (!c->looking && control_conn(s) && now_ns >= c->refresh_ns) look(s);
    return c->looking ? at : STN_MIN(at, c->refresh_ns);
}

/* ---- begin and end ---- */

int stn_control_start(struct stn_session *s, struct sterna_error *err) {
    struct stn_control *c = &s->control;
    uint64_t now_ns = stn_session_now(s);
    c->refresh_ns = UINT64_MAX;
    for (size_t i = 0; i < c->n_contacts && s->opened == 0; i++) attempt(&c->contacts[i], now_ns);
    if (s->opened < 0 && err && err->code >= 0) *err = s->open_error;
    return s->opened < 0 ? s->opened : STERNA_OK;
}

void stn_control_close(struct stn_session *s) {
    struct stn_control *c = &s->control;
    for (size_t i = 0; c->contacts && i < c->n_contacts; i++) stn_conn_close(&c->contacts[i].conn);
    stn_conn_close(&c->again.conn);
    stn_table_free(&c->look.local);
    stn_table_free(&c->look.peers);
    stn_table_free(&c->look.keyspace);
    for (size_t i = 0; c->contacts && i < c->n_contacts; i++)
        free((char *)(uintptr_t)c->contacts[i].host);
    free(c->contacts);
    c->contacts = NULL;
}
