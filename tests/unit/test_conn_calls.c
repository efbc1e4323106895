/* Calls that are given up, answers that nobody asked for, servers that are slow, silent or deaf. */
#include "support/check.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "support/client.h"
#include "support/peer.h"

enum { BLOB_BYTES = 300000, HELD_MAX = 128 };

/* EXECUTEs are held back until the test lets them go. */
struct fixture {
    struct peer *peer;
    struct client client;
    uint8_t blob[BLOB_BYTES], landed[BLOB_BYTES];
    size_t blob_bytes;
    struct peer_frame held[HELD_MAX];
    uint8_t ids[HELD_MAX][16];
    unsigned n_held, number; /* of the connection */
    int silent_heartbeats;
    /* what release() sends */
    unsigned first, n;
    const void *raw;
    size_t raw_bytes;
};

static int frame(void *ctx, struct peer_conn *conn, const struct peer_frame *f) {
    struct fixture *x = ctx;
    x->number = peer_number(conn);
    if (f->opcode == STN_CQL_OPTIONS && f->stream == 1) return x->silent_heartbeats;
    if (f->opcode != STN_CQL_EXECUTE) return 0;
    if (x->n_held == HELD_MAX) abort();
    memcpy(x->ids[x->n_held], f->values[0].data, 16);
    x->held[x->n_held] = *f;
    x->held[x->n_held++].text = NULL;
    return 1;
}

static struct fixture *opened(void) {
    struct fixture *x = calloc(1, sizeof *x);
    assert_non_null(x);
    for (size_t i = 0; i < BLOB_BYTES; i++) x->blob[i] = (uint8_t)(i * 2654435761u >> 13);
    x->blob_bytes = 50000;
    x->peer = peer_open(&(struct peer_options){.frame = frame, .ctx = x});
    client_init(&x->client, "127.0.0.1", peer_port(x->peer));
    assert_ok(client_open(&x->client, NULL));
    client_until_ready(&x->client);
    assert_non_null(x->client.conn);
    return x;
}

static void closed(struct fixture *x) {
    client_fini(&x->client);
    peer_close(&x->peer);
    free(x);
}

static void assert_contains(const char *text, const char *part) {
    if (!strstr(text, part)) fail_msg("'%s' does not contain '%s'", text, part);
}

static struct stn_conn_stats stats_of(const struct fixture *x) {
    struct stn_conn_stats s;
    stn_conn_stats(x->client.conn, &s);
    return s;
}

static void ask(struct fixture *x, struct asked *a, uint8_t n) {
    unsigned before = peer_requests(x->peer, STN_CQL_EXECUTE);
    asked_blob(a, &x->client, x->landed, BLOB_BYTES);
    assert_ok(client_execute(&x->client, a, n));
    peer_await(x->peer, STN_CQL_EXECUTE, before + 1);
}

/* ---- on the peer's thread ---- */

static void send_held(void *arg) {
    struct fixture *x = arg;
    struct peer_conn *conn = peer_find(x->peer, x->number);
    for (unsigned i = x->first; conn && i < x->first + x->n; i++)
        peer_send_blob(conn, &x->held[i], x->ids[i], 7, x->blob, x->blob_bytes);
}

static void send_raw(void *arg) {
    struct fixture *x = arg;
    struct peer_conn *conn = peer_find(x->peer, x->number);
    if (conn) peer_send(conn, x->raw, x->raw_bytes);
}

static void silence(void *arg) { ((struct fixture *)arg)->silent_heartbeats = 1; }

static void release(struct fixture *x, unsigned first, unsigned n) {
    x->first = first;
    x->n = n;
    peer_run(x->peer, send_held, x);
}

static void say(struct fixture *x, const void *data, size_t bytes) {
    x->raw = data;
    x->raw_bytes = bytes;
    peer_run(x->peer, send_raw, x);
}

/* The frame that answers held request i: its bytes [from, to). */
static void say_part(struct fixture *x, unsigned i, size_t from, size_t to) {
    uint8_t all[57 + BLOB_BYTES];
    struct stn_writer w = {.to = all, .cap = sizeof all};
    stn_put_u8(&w, 0x84);
    stn_put_u8(&w, 0);
    stn_put_be16(&w, (uint16_t)x->held[i].stream);
    stn_put_u8(&w, STN_CQL_RESULT);
    stn_put_be32(&w, (uint32_t)(48 + x->blob_bytes));
    stn_put_be32(&w, STN_CQL_ROWS);
    stn_put_be32(&w, STN_CQL_NO_METADATA);
    stn_put_be32(&w, 3);
    stn_put_be32(&w, 1);
    stn_put_value(&w, stn_value_of(x->ids[i], 16));
    stn_put_value(&w, stn_value_of("\0\0\0\7", 4));
    stn_put_be32(&w, (uint32_t)x->blob_bytes);
    stn_put_bytes(&w, x->blob, x->blob_bytes);
    say(x, all + from, STN_MIN(to, w.used) - from);
}

static void until_received(struct fixture *x, uint64_t bytes) {
    while (stats_of(x).received_bytes < bytes) client_run(&x->client);
}

/* ---- given up ---- */

/* Its number is taken until the answer was dropped; the answer lands nowhere. */
static void test_calls_given_up_before_the_answer(void **state) {
    struct fixture *x = opened();
    struct asked a, b;
    (void)state;
    ask(x, &a, 1);
    ask(x, &b, 2);
    stn_conn_give_up(x->client.conn, &a.call);
    assert_null(a.call.conn);
    assert_int_equal(stats_of(x).calls, 1);
    assert_int_equal(stats_of(x).orphans, 1);
    assert_int_equal(stats_of(x).outstanding_bytes, 2 * BLOB_BYTES);
    assert_ptr_equal(stn_conn_oldest(x->client.conn), &b.call);
    a.memory = NULL;
    release(x, 0, 2);
    client_until_done(&x->client, &b);
    assert_int_equal(b.code, STERNA_OK);
    assert_int_equal(b.id[0], 2);
    assert_memory_equal(x->landed, x->blob, x->blob_bytes);
    assert_int_equal(a.n_done + a.n_rows + a.n_blobs, 0);
    assert_int_equal(stats_of(x).orphans, 0);
    assert_int_equal(stats_of(x).outstanding_bytes, 0);
    closed(x);
}

/* Wherever its answer stands, nothing is written to its memory any more. */
static void test_calls_given_up_within_the_answer(void **state) {
    static const size_t cuts[] = {1, 8, 9, 20, 25, 56, 57, 58, 4000, 40000};
    struct fixture *x = opened();
    uint64_t sent = stats_of(x).received_bytes;
    (void)state;
    for (unsigned i = 0; i < STN_COUNT(cuts); i++) {
        struct asked a, b;
        ask(x, &a, 1);
        say_part(x, 2 * i, 0, cuts[i]);
        sent += cuts[i];
        until_received(x, sent);
        stn_conn_give_up(x->client.conn, &a.call);
        memset(x->landed, 0xA5, sizeof x->landed);
        ask(x, &b, 2); /* may have the same number, if that is free */
        size_t whole = 57 + x->blob_bytes;
        say_part(x, 2 * i, cuts[i], whole);
        sent += whole - cuts[i];
        until_received(x, sent);
        assert_int_equal(x->landed[0], 0xA5);
        assert_int_equal(x->landed[x->blob_bytes - 1], 0xA5);
        assert_int_equal(stats_of(x).orphans, 0);
        release(x, 2 * i + 1, 1);
        client_until_done(&x->client, &b);
        sent += whole;
        assert_int_equal(a.n_done, 0);
        assert_int_equal(b.code, STERNA_OK);
        assert_int_equal(b.id[0], 2);
        assert_memory_equal(x->landed, x->blob, x->blob_bytes);
        assert_int_equal(stats_of(x).calls, 0);
        assert_int_equal(stats_of(x).outstanding_bytes, 0);
    }
    closed(x);
}

static void give_up(struct asked *a) { stn_conn_give_up(a->client->conn, &a->call); }

static void test_calls_given_up_within_a_callback(void **state) {
    struct fixture *x = opened();
    (void)state;
    for (unsigned in_blob = 0; in_blob < 2; in_blob++) {
        struct asked a, b;
        ask(x, &a, 1);
        if (in_blob)
            a.on_blob = give_up;
        else
            a.on_row = give_up;
        memset(x->landed, 0xA5, sizeof x->landed);
        release(x, 2 * in_blob, 1);
        ask(x, &b, 2);
        while (!a.n_rows) client_run(&x->client);
        release(x, 2 * in_blob + 1, 1);
        b.memory = NULL;
        client_until_done(&x->client, &b);
        assert_int_equal(b.code, STERNA_OK);
        assert_int_equal(a.n_done, 0);
        assert_int_equal(a.n_blobs, in_blob);
        assert_int_equal(x->landed[0], 0xA5);
        assert_int_equal(stats_of(x).calls + stats_of(x).orphans, 0);
    }
    closed(x);
}

static void test_calls_given_up_while_gathered(void **state) {
    struct fixture *x = opened();
    struct asked a, b;
    (void)state;
    asked_message(&a, &x->client);
    assert_ok(client_execute(&x->client, &a, 1));
    peer_await(x->peer, STN_CQL_EXECUTE, 1);
    say_part(x, 0, 0, 20000);
    until_received(x, 20000);
    stn_conn_give_up(x->client.conn, &a.call);
    assert_int_equal(stats_of(x).orphans, 1);
    say_part(x, 0, 20000, SIZE_MAX);
    ask(x, &b, 2);
    release(x, 1, 1);
    client_until_done(&x->client, &b);
    assert_int_equal(b.code, STERNA_OK);
    assert_int_equal(a.n_done, 0);
    assert_int_equal(stats_of(x).orphans, 0);
    closed(x);
}

/* ---- strays ---- */

static void test_calls_error_on_stream_0(void **state) {
    static const char error[] = "\x84\0\0\0\0\0\0\0\x0b\0\0\x10\x01\0\5tired";
    struct fixture *x = opened();
    struct asked a;
    (void)state;
    ask(x, &a, 1);
    say(x, error, sizeof error - 1);
    while (x->client.n_strays == 0) client_run(&x->client);
    assert_int_equal(x->client.stray_stream, 0);
    assert_int_equal(x->client.stray_opcode, STN_CQL_ERROR);
    assert_int_equal(a.n_done, 0);
    release(x, 0, 1);
    client_until_done(&x->client, &a);
    assert_int_equal(a.code, STERNA_OK);
    peer_stop_node(x->peer, 0);
    client_until_closed(&x->client);
    assert_contains(x->client.end.message, "tired"); /* it had said why */
    closed(x);
}

static void test_calls_too_many_strays(void **state) {
    static const char stray[] = "\x84\0\0\x55\x08\0\0\0\4\0\0\0\1"; /* VOID */
    struct fixture *x = opened();
    struct asked a;
    (void)state;
    ask(x, &a, 1);
    for (unsigned i = 0; i < 15; i++) say(x, stray, sizeof stray - 1);
    while (x->client.n_strays < 15) client_run(&x->client);
    assert_true(stn_conn_is_ready(x->client.conn));
    assert_int_equal(a.n_done, 0);
    say(x, stray, sizeof stray - 1);
    client_until_closed(&x->client);
    assert_int_equal(x->client.end.code, STERNA_EPROTO);
    assert_contains(x->client.end.message, "16 answers that nothing had been asked for");
    assert_int_equal(a.code, STERNA_EUNREACHABLE);
    closed(x);
}

/* An answer that comes twice is a stray the second time. */
static void test_calls_answered_twice(void **state) {
    struct fixture *x = opened();
    struct asked a;
    (void)state;
    ask(x, &a, 1);
    release(x, 0, 1);
    release(x, 0, 1);
    while (x->client.n_strays == 0) client_run(&x->client);
    assert_int_equal(a.n_done, 1);
    assert_int_equal(x->client.stray_stream, x->held[0].stream);
    closed(x);
}

/* ---- events, tablets ---- */

static void send_events(void *arg) {
    struct fixture *x = arg;
    struct peer_conn *conn = peer_find(x->peer, x->number);
    static const char unknown[] = "\0\x0bNEW_FEATURE\0\2on";
    peer_send_event(conn, "UP", 0);
    peer_send_frame(conn, 0, -1, STN_CQL_EVENT, unknown, sizeof unknown - 1);
    peer_send_event(conn, "NEW_NODE", 0);
}

static void test_calls_events(void **state) {
    struct fixture *x = opened();
    (void)state;
    x->number = 1;
    peer_run(x->peer, send_events, x);
    while (x->client.n_events < 3) client_run(&x->client);
    assert_int_equal(x->client.event.address_bytes, 4);
    assert_int_equal(x->client.event.address[0], 127);
    assert_int_equal(x->client.event.port, peer_port(x->peer));
    assert_int_equal(x->client.n_strays, 0);
    closed(x);
}

static void test_calls_tablets(void **state) {
    struct fixture *x = opened();
    struct asked a;
    uint8_t body[64];
    struct stn_writer w = {.to = body, .cap = sizeof body};
    (void)state;
    stn_put_be16(&w, 1);
    stn_put_string(&w, "tablets-routing-v1");
    stn_put_value(&w, stn_value_of("payload", 7));
    stn_put_be32(&w, STN_CQL_VOID);
    asked_message(&a, &x->client);
    assert_ok(client_execute(&x->client, &a, 1));
    peer_await(x->peer, STN_CQL_EXECUTE, 1);
    uint8_t head[9] = {0x84, STN_CQL_PAYLOAD, 0, (uint8_t)x->held[0].stream, STN_CQL_RESULT, 0, 0,
                       0,    (uint8_t)w.used};
    say(x, head, sizeof head);
    say(x, body, w.used);
    client_until_done(&x->client, &a);
    assert_int_equal(a.code, STERNA_OK);
    assert_int_equal(a.kind, STN_CQL_VOID);
    assert_int_equal(x->client.n_tablets, 1);
    closed(x);
}

/* ---- what is due ---- */

static void test_calls_orphans_close(void **state) {
    struct fixture *x = opened();
    static struct asked all[66];
    (void)state;
    x->client.config.progress_floor_ns = 60 * STN_NS_PER_S; /* another rule */
    for (unsigned i = 0; i < 66; i++) ask(x, &all[i], (uint8_t)i);
    for (unsigned i = 0; i < 64; i++) stn_conn_give_up(x->client.conn, &all[i].call);
    client_later(&x->client, STN_NS_PER_S);
    stn_conn_give_up(x->client.conn, &all[64].call);
    assert_int_equal(stn_conn_tick(x->client.conn, x->client.now_ns),
                     x->client.now_ns + 4 * STN_NS_PER_S);
    client_later(&x->client, 4 * STN_NS_PER_S - 1);
    stn_poll_wait(x->client.poll, 0);
    assert_non_null(x->client.conn);
    client_later(&x->client, 1);
    client_until_closed(&x->client);
    assert_contains(x->client.end.message, "65 requests that were given up are not answered");
    assert_int_equal(all[65].code, STERNA_EUNREACHABLE);
    assert_int_equal(all[0].n_done, 0);
    closed(x);
}

/* No byte for five seconds, counted from the later of the last byte and the oldest call. */
static void test_calls_progress(void **state) {
    struct fixture *x = opened();
    struct asked a, b;
    (void)state;
    peer_run(x->peer, silence, x);
    client_later(&x->client, 4 * STN_NS_PER_S);
    ask(x, &a, 1);
    client_later(&x->client, 4 * STN_NS_PER_S);
    ask(x, &b, 2);
    release(x, 0, 1);
    client_until_done(&x->client, &a);
    client_later(&x->client, 5 * STN_NS_PER_S - 1);
    stn_poll_wait(x->client.poll, 0);
    assert_non_null(x->client.conn);
    assert_int_equal(stn_conn_tick(x->client.conn, x->client.now_ns), x->client.now_ns + 1);
    client_later(&x->client, 1);
    assert_int_equal(x->client.n_closed, 0); /* not from within tick */
    client_until_closed(&x->client);
    assert_int_equal(b.code, STERNA_EUNREACHABLE);
    assert_contains(b.why, "no byte for 5.0 s, with 1 requests on the way");
    closed(x);
}

/* On a long path eight round trips are more. */
static void test_calls_progress_on_a_long_path(void **state) {
    struct fixture *x = opened();
    struct asked a;
    (void)state;
    stn_conn_close(&x->client.conn);
    assert_ok(client_open(&x->client, NULL));
    x->client.now_ns += STN_NS_PER_S;
    client_until_ready(&x->client);
    assert_int_equal(stats_of(x).min_rtt_ns, STN_NS_PER_S);
    peer_run(x->peer, silence, x);
    ask(x, &a, 1);
    client_later(&x->client, 8 * STN_NS_PER_S - 1);
    stn_poll_wait(x->client.poll, 0);
    assert_non_null(x->client.conn);
    client_later(&x->client, 1);
    client_until_closed(&x->client);
    assert_contains(a.why, "no byte for 8.0 s");
    closed(x);
}

static void test_calls_heartbeat(void **state) {
    struct fixture *x = opened();
    (void)state;
    assert_int_equal(stn_conn_tick(x->client.conn, x->client.now_ns),
                     x->client.now_ns + 5 * STN_NS_PER_S);
    client_later(&x->client, 5 * STN_NS_PER_S - 1);
    uint64_t before = stats_of(x).sent_bytes;
    client_later(&x->client, 1);
    assert_int_equal(stats_of(x).sent_bytes, before + STN_CQL_HEADER_BYTES);
    client_later(&x->client, 1); /* only one at a time */
    assert_int_equal(stats_of(x).sent_bytes, before + STN_CQL_HEADER_BYTES);
    uint64_t received = stats_of(x).received_bytes;
    until_received(x, received + 1);
    assert_int_equal(stats_of(x).last_byte_ns, x->client.now_ns);
    assert_int_equal(x->client.n_strays, 0);
    peer_run(x->peer, silence,
             x); /* and one that is not answered is the end of an idle connection */
    client_later(&x->client, 5 * STN_NS_PER_S);
    client_later(&x->client, 5 * STN_NS_PER_S);
    client_until_closed(&x->client);
    assert_contains(x->client.end.message, "no byte for 5.0 s, with 0 requests");
    closed(x);
}

/* A server that only takes its time for one request is alive. */
static void test_calls_heartbeat_of_a_slow_server(void **state) {
    struct fixture *x = opened();
    struct asked a;
    (void)state;
    ask(x, &a, 1);
    for (unsigned i = 0; i < 10; i++) {
        client_later(&x->client, 5 * STN_NS_PER_S / 2);
        uint64_t received = stats_of(x).received_bytes;
        until_received(x, received + 1);
    }
    assert_int_equal(a.n_done, 0);
    assert_int_equal(peer_requests(x->peer, STN_CQL_OPTIONS), 10);
    release(x, 0, 1);
    client_until_done(&x->client, &a);
    assert_int_equal(a.code, STERNA_OK);
    closed(x);
}

/* ---- limits ---- */

static void test_calls_without_end(void **state) {
    enum { ALL = STN_CQL_STREAMS_MAX - 2 };
    struct fixture *x = opened();
    struct asked *all = calloc(ALL + 1, sizeof *all);
    static const uint8_t frame_bytes[9] = {4, 0, 0, 0, STN_CQL_OPTIONS};
    (void)state;
    assert_non_null(all);
    for (unsigned i = 0; i < ALL; i++) {
        asked_message(&all[i], &x->client);
        assert_ok(stn_conn_send(x->client.conn, &all[i].call, frame_bytes, 9, x->client.now_ns));
        assert_true(all[i].call.stream >= 2);
    }
    asked_message(&all[ALL], &x->client);
    assert_int_equal(
        stn_conn_send(x->client.conn, &all[ALL].call, frame_bytes, 9, x->client.now_ns),
        STERNA_AGAIN);
    stn_conn_flush(x->client.conn, x->client.now_ns);
    for (unsigned i = 0; i < ALL; i++) {
        client_until_done(&x->client, &all[i]);
        assert_int_equal(all[i].code, STERNA_OK);
        assert_false(all[i].has_head);
        assert_true(all[i].has_body);
    }
    assert_int_equal(x->client.n_strays, 0);
    closed(x);
    free(all);
}

static void set_deaf(void *arg) {
    struct fixture *x = arg;
    peer_stop_reading(peer_find(x->peer, 1), 1);
}
static void set_hearing(void *arg) {
    struct fixture *x = arg;
    peer_stop_reading(peer_find(x->peer, 1), 0);
}

/* What the socket does not take waits, and goes when it can. */
static void test_calls_to_a_server_that_does_not_read(void **state) {
    enum { N = 64, TEXT_BYTES = 1 << 18 };
    struct fixture *x = opened();
    static struct asked all[N];
    char *text = malloc(TEXT_BYTES + 1);
    (void)state;
    assert_non_null(text);
    memset(text, 'x', TEXT_BYTES);
    text[TEXT_BYTES] = 0;
    peer_run(x->peer, set_deaf, x);
    for (unsigned i = 0; i < N; i++) {
        asked_message(&all[i], &x->client);
        assert_ok(client_query(&x->client, &all[i], text));
    }
    uint64_t sent = stats_of(x).sent_bytes;
    assert_true(sent < (uint64_t)N * TEXT_BYTES);
    stn_conn_flush(x->client.conn, x->client.now_ns); /* of no use now */
    assert_int_equal(stats_of(x).sent_bytes, sent);
    peer_run(x->peer, set_hearing, x);
    for (unsigned i = 0; i < N; i++) {
        client_until_done(&x->client, &all[i]);
        assert_int_equal(all[i].failure_code, STN_CQL_E_INVALID);
    }
    assert_true(stats_of(x).sent_bytes > (uint64_t)N * TEXT_BYTES);
    free(text);
    closed(x);
}

/* A long request on a slow way out: bytes that the socket takes are progress, too. */
static void test_calls_progress_of_a_long_request(void **state) {
    enum { TEXT_BYTES = 32 << 20 };
    struct fixture *x = opened();
    struct asked a;
    char *text = malloc(TEXT_BYTES + 1);
    (void)state;
    assert_non_null(text);
    memset(text, 'x', TEXT_BYTES);
    text[TEXT_BYTES] = 0;
    peer_run(x->peer, silence, x);
    peer_run(x->peer, set_deaf, x);
    asked_message(&a, &x->client);
    assert_ok(client_query(&x->client, &a, text));
    free(text);
    uint64_t sent = stats_of(x).sent_bytes, begun_ns = x->client.now_ns;
    assert_true(sent < TEXT_BYTES);
    client_later(&x->client, 4 * STN_NS_PER_S);
    peer_run(x->peer, set_hearing, x);
    while (stats_of(x).sent_bytes == sent) client_run(&x->client);
    peer_run(x->peer, set_deaf, x);
    assert_int_equal(stats_of(x).last_byte_ns, begun_ns);
    client_later(&x->client, 5 * STN_NS_PER_S - 1);
    stn_poll_wait(x->client.poll, 0);
    assert_non_null(x->client.conn);
    closed(x);
}

/* From one that is taken. */
static void test_calls_source_port(void **state) {
    struct fixture *x = opened();
    struct sterna_error err = {0};
    struct stn_conn *conn;
    const struct stn_conn_ops none = {0};
    (void)state;
    int rc = stn_conn_open(&conn, x->client.poll, &x->client.to, peer_port(x->peer),
                           &x->client.config, &none, NULL, x->client.now_ns, &err);
    assert_int_equal(rc, STERNA_EBUSY); /* the peer listens there */
    assert_contains(err.message, "cannot connect from port");
    assert_null(conn);
    closed(x);
}

int main(void) {
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_calls_given_up_before_the_answer),
        cmocka_unit_test(test_calls_given_up_within_the_answer),
        cmocka_unit_test(test_calls_given_up_within_a_callback),
        cmocka_unit_test(test_calls_given_up_while_gathered),
        cmocka_unit_test(test_calls_error_on_stream_0),
        cmocka_unit_test(test_calls_too_many_strays),
        cmocka_unit_test(test_calls_answered_twice),
        cmocka_unit_test(test_calls_events),
        cmocka_unit_test(test_calls_tablets),
        cmocka_unit_test(test_calls_orphans_close),
        cmocka_unit_test(test_calls_progress),
        cmocka_unit_test(test_calls_progress_on_a_long_path),
        cmocka_unit_test(test_calls_heartbeat),
        cmocka_unit_test(test_calls_heartbeat_of_a_slow_server),
        cmocka_unit_test(test_calls_without_end),
        cmocka_unit_test(test_calls_to_a_server_that_does_not_read),
        cmocka_unit_test(test_calls_progress_of_a_long_request),
        cmocka_unit_test(test_calls_source_port),
    };
    alarm(300);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
