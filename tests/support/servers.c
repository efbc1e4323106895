#include "support/servers.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the servers ---- */

void sample_id(unsigned k, uint8_t id[16]) {
    for (unsigned i = 0; i < 16; i++) id[i] = (uint8_t)((k + 1) * 2654435761U >> (i % 4 * 8));
    memcpy(id, &k, sizeof k);
}

void sample_blob(unsigned k, uint8_t *blob) {
    for (unsigned i = 0; i < BLOB_BYTES; i++) blob[i] = (uint8_t)(k * 31 + i * 7 + (i >> 8));
}

void servers_answer(struct peer_conn *conn, const struct peer_frame *f, unsigned k) {
    uint8_t id[16], blob[BLOB_BYTES];
    sample_id(k, id);
    sample_blob(k, blob);
    peer_send_blob(conn, f, id, k, blob, sizeof blob);
}

static void prepared(struct peer_conn *conn, const struct peer_frame *f, size_t node) {
    static const struct peer_column all[] = {
        {"id", STN_CQL_UUID, {0, 0}}, {"crc", STN_CQL_INT, {0, 0}}, {"data", STN_CQL_BLOB, {0, 0}}};
    char id[16] = "statement node 0";
    id[15] = (char)('0' + node);
    id[0] = f->text[0];
    if (f->text[0] == 'S')
        peer_send_prepared(conn, f->stream, id, all, 1, 1, all, 3);
    else
        peer_send_prepared(conn, f->stream, id, all, 3, 1, NULL, 0);
}

static int servers_frame(void *ctx, struct peer_conn *conn, const struct peer_frame *f) {
    struct servers *c = ctx;
    size_t node = peer_node(conn);
    c->n_looks += f->opcode == STN_CQL_QUERY && strstr(f->text, "system.peers") != NULL;
    if (c->first && c->first(c, conn, f)) return 1;
    if (f->opcode == STN_CQL_REGISTER) c->control = peer_number(conn);
    if (f->opcode == STN_CQL_PREPARE) {
        c->n_prepares[node]++;
        if (strcmp(f->text, SELECT) != 0 && strcmp(f->text, INSERT) != 0) return 0;
        prepared(conn, f, node);
        return 1;
    }
    if (f->opcode == STN_CQL_QUERY && strncmp(f->text, "CREATE", 6) == 0) {
        c->asked[node]++;
        peer_send_void(conn, f->stream);
        return 1;
    }
    if (f->opcode != STN_CQL_EXECUTE) return 0;
    unsigned k;
    memcpy(&k, f->values[0].data, sizeof k);
    assert_true(k < CALLS_MAX);
    if (f->id.data[15] != (uint8_t)('0' + node)) { /* another node's */
        c->n_strange++;
        peer_send_unprepared(conn, f);
        return 1;
    }
    c->n_executes++;
    c->asked[node]++;
    c->attempts[k]++;
    c->by_consistency[f->consistency % 16]++;
    if (c->script && c->script(c, conn, f, k, node)) return 1;
    if (f->id.data[0] == 'S')
        servers_answer(conn, f, k);
    else
        peer_send_void(conn, f->stream);
    return 1;
}

static const struct peer_keyspace keyspaces[] = {
    {"ks", "class=org.apache.cassandra.locator.SimpleStrategy replication_factor=2"}};

void servers_start_with(struct servers *c, struct peer_options o) {
    o.keyspaces = keyspaces;
    o.n_keyspaces = STN_COUNT(keyspaces);
    o.frame = servers_frame;
    o.ctx = c;
    c->peer = peer_open(&o);
}

void servers_start(struct servers *c, size_t n_nodes) {
    static const struct peer_node nodes[SERVERS_MAX];
    servers_start_with(c, (struct peer_options){.nodes = nodes, .n_nodes = n_nodes});
}

struct stn_session_options servers_options(const struct servers *c, struct stn_host *host) {
    *host = (struct stn_host){"127.0.0.1", peer_port(c->peer)};
    return (struct stn_session_options){.hosts = host, .n_hosts = 1, .keyspace = "ks"};
}

static uint64_t frozen_now(struct stn_clock *clock) {
    return atomic_load(&STN_OUTER(clock, struct servers, clock)->now_ns);
}

void servers_freeze(struct servers *c, struct stn_session_options *o) {
    c->clock.now_ns = frozen_now;
    atomic_store(&c->now_ns, 1000 * STN_NS_PER_S);
    o->clock = &c->clock;
    o->connect_timeout_ms = 1000000;
}

void servers_later(struct servers *c, uint64_t ns) {
    struct stn_session_stats stats;
    atomic_fetch_add(&c->now_ns, ns);
    stn_session_stats(c->session, &stats); /* the session's thread looks at its clock */
}

/* The peer reads a question no sooner than what came before it, and may answer it sooner; the
 * second one is behind those answers, too. */
void servers_settle(struct servers *c) {
    for (int i = 0; i < 2; i++) {
        struct stn_question q = {.call = {.text = "SELECT key FROM system.local",
                                          .lane = STN_LANE_WRITE, /* not behind reads */
                                          .consistency = STN_CQL_LOCAL_ONE}};
        struct sterna_error err = {0};
        stn_session_ask(c->session, &q);
        CHECK_OK(stn_session_answer(&q, NULL, &err), err);
    }
}

struct event {
    struct servers *c;
    const char *change;
    size_t node;
};

static void send_event(void *arg) {
    const struct event *e = arg;
    struct peer_conn *conn = peer_find(e->c->peer, e->c->control);
    assert_non_null(conn);
    peer_send_event(conn, e->change, e->node);
}

void servers_event(struct servers *c, const char *change, size_t node) {
    peer_run(c->peer, send_event, &(struct event){c, change, node});
}

void servers_open_with(struct servers *c, const struct stn_session_options *o) {
    struct sterna_error err = {0};
    CHECK_OK(stn_session_open(&c->session, o, &err), err);
}

void servers_open(struct servers *c, size_t n_nodes) {
    struct stn_host host;
    servers_start(c, n_nodes);
    struct stn_session_options o = servers_options(c, &host);
    o.outage_timeout_ms = 60000;
    servers_open_with(c, &o);
}

void servers_close(struct servers *c) {
    stn_session_close(&c->session);
    peer_close(&c->peer);
}

/* ---- the calls ---- */

static int on_row(struct stn_query_call *q, const struct stn_cql_value *small) {
    struct read_call *r = STN_OUTER(q, struct read_call, q);
    if (!stn_value_equals(small[0], r->id, 16)) return STERNA_EPROTO;
    r->crc = (uint32_t)stn_value_int(small[1]);
    return STERNA_OK;
}

static int on_blob(struct stn_query_call *q, uint32_t i, uint32_t bytes, uint8_t **to) {
    struct read_call *r = STN_OUTER(q, struct read_call, q);
    assert_int_equal(i, 0);
    assert_int_equal(bytes, BLOB_BYTES);
    if (!r->blob) r->blob = malloc(BLOB_BYTES); /* of its own size, so that ASan guards its ends */
    *to = r->blob;
    return STERNA_OK;
}

static void on_done(struct stn_query_call *q, int code, const struct stn_query_answer *answer) {
    struct read_call *r = STN_OUTER(q, struct read_call, q);
    pthread_mutex_lock(&r->batch->lock);
    r->code = code;
    r->done++;
    snprintf(r->why, sizeof r->why, "%s", answer->why ? answer->why : "");
    r->batch->n_done++;
    pthread_cond_broadcast(&r->batch->changed);
    pthread_mutex_unlock(&r->batch->lock);
}

static const struct stn_query_call_ops read_ops = {.row = on_row, .blob = on_blob, .done = on_done};
static const struct stn_query_call_ops write_ops = {.done = on_done};

struct stn_statement *servers_statement(struct servers *c, const char *text) {
    struct stn_statement *t = NULL;
    struct sterna_error err = {0};
    CHECK_OK(stn_session_prepare(c->session, text, &t, &err), err);
    return t;
}

struct batch *batch_make(struct servers *c, size_t n, int writes) {
    struct batch *b = calloc(1, sizeof *b);
    struct stn_statement *t = servers_statement(c, writes ? INSERT : SELECT);
    pthread_mutex_init(&b->lock, NULL);
    pthread_cond_init(&b->changed, NULL);
    b->n = n;
    for (unsigned k = 0; k < n; k++) {
        struct read_call *r = &b->calls[k];
        r->batch = b;
        r->k = k;
        sample_id(k, r->id);
        r->value = stn_value_of(r->id, 16);
        r->q = (struct stn_query_call){.ops = writes ? &write_ops : &read_ops,
                                       .statement = t,
                                       .values = &r->value,
                                       .n_values = 1,
                                       .lane = writes ? STN_LANE_WRITE : STN_LANE_READ,
                                       .is_write = writes,
                                       .consistency = STN_CQL_LOCAL_ONE,
                                       .shape = {2, 1},
                                       .timestamp_us = writes ? WRITE_TIME_US + k : 0,
                                       .weight_bytes = BLOB_BYTES,
                                       .group = b};
    }
    return b;
}

void batch_send(struct servers *c, struct batch *b) {
    struct stn_query_call *list[CALLS_MAX];
    for (size_t k = 0; k < b->n; k++) list[k] = &b->calls[k].q;
    stn_session_submit(c->session, list, b->n);
}

struct batch *batch_submit(struct servers *c, size_t n, int writes) {
    struct batch *b = batch_make(c, n, writes);
    batch_send(c, b);
    return b;
}

void batch_await(struct batch *b) {
    pthread_mutex_lock(&b->lock);
    while (b->n_done < b->n) pthread_cond_wait(&b->changed, &b->lock);
    pthread_mutex_unlock(&b->lock);
}

size_t batch_done(struct batch *b) {
    pthread_mutex_lock(&b->lock);
    size_t n = b->n_done;
    pthread_mutex_unlock(&b->lock);
    return n;
}

void batch_pass(struct servers *c, struct batch *b) {
    while (batch_done(b) < b->n) {
        servers_later(c, STN_NS_PER_S / 10);
        servers_settle(c);
    }
}

void batch_free(struct batch *b) {
    for (size_t k = 0; k < b->n; k++) free(b->calls[k].blob);
    pthread_cond_destroy(&b->changed);
    pthread_mutex_destroy(&b->lock);
    free(b);
}

void batch_check(struct batch *b, int code) {
    uint8_t blob[BLOB_BYTES];
    batch_await(b);
    for (unsigned k = 0; k < b->n; k++) {
        struct read_call *r = &b->calls[k];
        assert_int_equal(r->done, 1);
        if (r->code != code) fail_msg("call %u: %d (%s), not %d", k, r->code, r->why, code);
        if (code != STERNA_OK || r->q.ops != &read_ops) continue;
        sample_blob(k, blob);
        assert_int_equal(r->crc, k);
        assert_memory_equal(r->blob, blob, sizeof blob);
    }
}

void servers_read(struct servers *c, size_t n, int code) {
    struct batch *b = batch_submit(c, n, 0);
    batch_check(b, code);
    batch_free(b);
}
