/* A connection and a peer that answers: rightly, in pieces, by errors, late, never, or by closing.
 */
#include "support/check.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "support/client.h"
#include "support/peer.h"

enum { BLOB_BYTES = 300000 };

struct fixture {
    struct peer *peer;
    struct client client;
    uint8_t blob[BLOB_BYTES], landed[BLOB_BYTES + 64];
    /* what the peer does with an EXECUTE */
    size_t blob_bytes, piece, cut_after;
    enum { ANSWER, NO_ROW, NULL_BLOB, RESET, FINISH, SILENT } does;
    int16_t streams[64]; /* of EXECUTEs that are not answered */
    unsigned n_streams;
};

static int frame(void *ctx, struct peer_conn *conn, const struct peer_frame *f) {
    struct fixture *x = ctx;
    if (f->opcode != STN_CQL_EXECUTE) return 0;
    const uint8_t *id = f->values[0].data;
    if (x->piece) peer_pieces(conn, x->piece);
    if (x->does == RESET) peer_reset_after(conn, x->cut_after);
    if (x->does == FINISH) peer_finish_after(conn, x->cut_after);
    if (x->does == SILENT)
        x->streams[x->n_streams++ % STN_COUNT(x->streams)] = f->stream;
    else
        peer_send_blob(conn, f, x->does == NO_ROW ? NULL : id, 7,
                       x->does == NULL_BLOB ? NULL : x->blob, x->blob_bytes);
    return 1;
}

static struct fixture *opened(void) {
    struct fixture *x = calloc(1, sizeof *x);
    assert_non_null(x);
    for (size_t i = 0; i < BLOB_BYTES; i++) x->blob[i] = (uint8_t)(i * 2654435761u >> 13);
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

static void test_conn_tcp(void **state) {
    struct fixture *x = opened();
    struct stn_conn_tcp before, now;
    struct asked a;
    (void)state;
    stn_conn_tcp(x->client.conn, &before);
    if (before.segments_in == 0) { /* some sandboxes' networks do not count */
        closed(x);
        skip();
    }
    assert_true(before.tcp_rtt_ns > 0 && before.tcp_rtt_ns < 10 * STN_NS_PER_S);
    assert_true(before.tcp_min_rtt_ns > 0 && before.tcp_min_rtt_ns <= before.tcp_rtt_ns);
    x->blob_bytes = BLOB_BYTES;
    asked_blob(&a, &x->client, x->landed, BLOB_BYTES);
    assert_ok(client_execute(&x->client, &a, 9));
    client_until_done(&x->client, &a);
    stn_conn_tcp(x->client.conn, &now);
    assert_true(now.segments_in >= before.segments_in + BLOB_BYTES / 65536);
    assert_true(now.out_of_order_segments <= now.segments_in);
    assert_true(now.receive_space_bytes > 0);
    closed(x);
}

/* ---- answers ---- */

static void test_conn_blob(void **state) {
    static const size_t bytes[] = {0, 1, 4, 511, 4039, 4096, 4097, 100000, BLOB_BYTES};
    static const size_t pieces[] = {0, 1, 57, 1000, 4096};
    struct fixture *x = opened();
    uint64_t outstanding = 0;
    (void)state;
    for (size_t p = 0; p < STN_COUNT(pieces); p++)
        for (size_t i = 0; i < STN_COUNT(bytes); i++) {
            struct asked a;
            if (pieces[p] == 1 && bytes[i] > 5000) continue; /* takes long */
            x->blob_bytes = bytes[i];
            x->piece = pieces[p];
            memset(x->landed, 0xA5, sizeof x->landed);
            asked_blob(&a, &x->client, x->landed, BLOB_BYTES);
            assert_ok(client_execute(&x->client, &a, 9));
            assert_int_equal(stats_of(x).calls, 1);
            assert_int_equal(stats_of(x).outstanding_bytes, BLOB_BYTES);
            client_until_done(&x->client, &a);
            assert_int_equal(a.n_done, 1);
            assert_int_equal(a.code, STERNA_OK);
            assert_int_equal(a.blob_bytes, bytes[i]);
            assert_int_equal(a.crc, 7);
            assert_int_equal(a.id[15], 9);
            assert_memory_equal(x->landed, x->blob, bytes[i]);
            assert_int_equal(x->landed[bytes[i]], 0xA5);
            assert_false(a.has_head);
            outstanding += stats_of(x).outstanding_bytes;
        }
    assert_int_equal(outstanding, 0);
    closed(x);
}

static void test_conn_many_calls_at_once(void **state) {
    enum { N = 300 };
    struct fixture *x = opened();
    static struct asked all[N];
    (void)state;
    x->blob_bytes = 5000;
    for (unsigned i = 0; i < N; i++) {
        asked_blob(&all[i], &x->client, x->landed, BLOB_BYTES);
        assert_ok(client_execute(&x->client, &all[i], (uint8_t)i));
    }
    assert_ptr_equal(stn_conn_oldest(x->client.conn), &all[0].call);
    for (unsigned i = 0; i < N; i++) {
        client_until_done(&x->client, &all[i]);
        assert_int_equal(all[i].code, STERNA_OK);
        assert_int_equal(all[i].id[0], (uint8_t)i);
    }
    assert_null(stn_conn_oldest(x->client.conn));
    closed(x);
}

static void test_conn_no_row(void **state) {
    struct fixture *x = opened();
    struct asked a;
    (void)state;
    x->does = NO_ROW;
    asked_blob(&a, &x->client, x->landed, BLOB_BYTES);
    assert_ok(client_execute(&x->client, &a, 1));
    client_until_done(&x->client, &a);
    assert_int_equal(a.code, STERNA_ENOTFOUND);
    assert_int_equal(a.n_rows, 0);
    closed(x);
}

static void test_conn_null_blob(void **state) {
    struct fixture *x = opened();
    struct asked a;
    (void)state;
    x->does = NULL_BLOB;
    asked_blob(&a, &x->client, x->landed, BLOB_BYTES);
    assert_ok(client_execute(&x->client, &a, 1));
    client_until_done(&x->client, &a);
    assert_int_equal(a.code, STERNA_OK);
    assert_int_equal(a.n_rows, 1);
    assert_int_equal(a.n_blobs, 0);
    closed(x);
}

/* What row() or blob() refuses is dropped, and the connection goes on; but for EPROTO. */
static void test_conn_refused_row(void **state) {
    struct fixture *x = opened();
    (void)state;
    x->blob_bytes = BLOB_BYTES;
    for (int in_blob = 0; in_blob < 2; in_blob++) {
        struct asked a;
        asked_blob(&a, &x->client, x->landed, BLOB_BYTES);
        if (in_blob)
            a.blob_says = STERNA_EBUDGET;
        else
            a.row_says = STERNA_EBUDGET;
        memset(x->landed, 0xA5, sizeof x->landed);
        assert_ok(client_execute(&x->client, &a, 1));
        client_until_done(&x->client, &a);
        assert_int_equal(a.code, STERNA_EBUDGET);
        assert_int_equal(x->landed[0], 0xA5);
    }
    struct asked a;
    asked_blob(&a, &x->client, x->landed, BLOB_BYTES);
    a.row_says = STERNA_EPROTO;
    assert_ok(client_execute(&x->client, &a, 1));
    client_until_closed(&x->client);
    assert_int_equal(a.n_done, 1);
    assert_int_equal(a.code, STERNA_EPROTO);
    assert_contains(a.why, "127.0.0.1:");
    assert_int_equal(x->client.end.code, STERNA_EPROTO);
    closed(x);
}

static void test_conn_gathered_answers(void **state) {
    struct fixture *x = opened();
    struct asked a;
    (void)state;
    asked_message(&a, &x->client);
    assert_ok(client_query(&x->client, &a, "SELECT * FROM system.local"));
    client_until_done(&x->client, &a);
    assert_int_equal(a.code, STERNA_OK);
    assert_int_equal(a.kind, STN_CQL_ROWS);
    assert_int_equal(a.result_rows, 1);
    x->blob_bytes = BLOB_BYTES; /* more than the window holds */
    asked_message(&a, &x->client);
    assert_ok(client_execute(&x->client, &a, 1));
    client_until_done(&x->client, &a);
    assert_int_equal(a.code, STERNA_OK);
    assert_int_equal(a.result_rows, 1);
    closed(x);
}

static void test_conn_error_answer(void **state) {
    struct fixture *x = opened();
    struct asked a, blob;
    (void)state;
    for (int i = 0; i < 2; i++) {
        asked_message(&a, &x->client);
        asked_blob(&blob, &x->client, x->landed, BLOB_BYTES);
        struct asked *asked = i ? &blob : &a;
        assert_ok(client_query(&x->client, asked, "SELECT nothing FROM system.local"));
        client_until_done(&x->client, asked);
        assert_int_equal(asked->code, STERNA_EIO);
        assert_int_equal(asked->failure_code, STN_CQL_E_INVALID);
        assert_contains(asked->why, "Undefined column name nothing");
        assert_contains(asked->why, "127.0.0.1:");
    }
    assert_int_equal(stats_of(x).calls, 0);
    closed(x);
}

/* ---- connections that are lost ---- */

static void test_conn_lost_in_a_blob(void **state) {
    static const size_t cuts[] = {0, 1, 9, 56, 57, 58, 4096, 200000};
    (void)state;
    for (int finish = 0; finish < 2; finish++)
        for (size_t i = 0; i < STN_COUNT(cuts); i++) {
            struct fixture *x = opened();
            struct asked a, b;
            x->does = finish ? FINISH : RESET;
            x->blob_bytes = BLOB_BYTES;
            x->cut_after = cuts[i];
            asked_blob(&a, &x->client, x->landed, BLOB_BYTES);
            asked_blob(&b, &x->client, NULL, 0);
            assert_ok(client_execute(&x->client, &a, 1));
            assert_ok(client_execute(&x->client, &b, 2));
            client_until_closed(&x->client);
            assert_int_equal(a.n_done, 1);
            assert_int_equal(a.code, STERNA_EUNREACHABLE);
            assert_int_equal(b.code, STERNA_EUNREACHABLE);
            assert_contains(a.why, "closed the connection");
            assert_int_equal(x->client.n_closed, 1);
            assert_int_equal(x->client.end.code, STERNA_EUNREACHABLE);
            closed(x);
        }
}

static void test_conn_refused_connection(void **state) {
    struct fixture *x = opened();
    struct sterna_error err = {0};
    struct client c;
    (void)state;
    client_init(&c, "127.0.0.1", peer_port(x->peer));
    peer_stop_node(x->peer, 0);
    int rc = client_open(&c, &err);
    if (rc == STERNA_OK) {
        client_until_closed(&c);
        err = c.end;
    }
    assert_int_equal(err.code, STERNA_EUNREACHABLE);
    assert_contains(err.message, "cannot connect: Connection refused");
    client_fini(&c);
    client_until_closed(&x->client); /* reset, too */
    assert_int_equal(x->client.end.code, STERNA_EUNREACHABLE);
    closed(x);
}

/* The peer does not listen there, whether or not this machine has IPv6. */
static void test_conn_refused_by_ipv6(void **state) {
    struct fixture *x = opened();
    struct sterna_error err = {0};
    struct client c;
    (void)state;
    client_init(&c, "::1", peer_port(x->peer));
    if (client_open(&c, &err) == STERNA_OK) {
        client_until_closed(&c);
        err = c.end;
    }
    assert_int_equal(err.code, STERNA_EUNREACHABLE);
    assert_int_equal(strncmp(err.message, "[::1]:", 6), 0);
    client_fini(&c);
    closed(x);
}

/* Sending to a server that has closed: no signal, and not told from within the flush. */
static void test_conn_send_after_a_reset(void **state) {
    struct fixture *x = opened();
    struct asked all[5];
    (void)state;
    peer_stop_node(x->peer, 0);
    for (unsigned i = 0; i < STN_COUNT(all); i++) {
        asked_blob(&all[i], &x->client, NULL, 0);
        assert_ok(client_execute(&x->client, &all[i], 1));
    }
    assert_int_equal(x->client.n_closed, 0);
    client_until_closed(&x->client);
    for (unsigned i = 0; i < STN_COUNT(all); i++) {
        assert_int_equal(all[i].code, STERNA_EUNREACHABLE);
        assert_contains(all[i].why, "the server closed the connection");
    }
    closed(x);
}

/* done() and closed() come from the next wait, not from within abort(). */
static void test_conn_abort(void **state) {
    struct fixture *x = opened();
    struct asked a;
    (void)state;
    x->does = SILENT;
    asked_blob(&a, &x->client, x->landed, BLOB_BYTES);
    assert_ok(client_execute(&x->client, &a, 1));
    stn_conn_abort(x->client.conn, STERNA_EPROTO, "wrong key");
    stn_conn_abort(x->client.conn, STERNA_EIO, "another reason");
    assert_int_equal(x->client.n_closed, 0);
    assert_false(stn_conn_is_ready(x->client.conn));
    client_run(&x->client);
    assert_int_equal(a.code, STERNA_EUNREACHABLE);
    assert_contains(a.why, "wrong key");
    assert_int_equal(x->client.n_closed, 1);
    assert_int_equal(x->client.end.code, STERNA_EPROTO);
    closed(x);
}

static void close_within_done(struct asked *a) { stn_conn_close(&a->client->conn); }
static void close_within_ready(struct client *c) { stn_conn_close(&c->conn); }

/* The owner may close it from within any callback; the other calls are told. */
static void test_conn_close_within_callbacks(void **state) {
    (void)state;
    for (int where = 0; where < 3; where++) {
        struct fixture *x = opened();
        struct asked a, b;
        x->blob_bytes = 1000;
        asked_blob(&a, &x->client, x->landed, BLOB_BYTES);
        asked_blob(&b, &x->client, NULL, 0);
        if (where == 0) a.on_row = close_within_done;
        if (where == 1) a.on_blob = close_within_done;
        if (where == 2) a.on_done = close_within_done;
        assert_ok(client_execute(&x->client, &a, 1));
        assert_ok(client_execute(&x->client, &b, 2));
        client_until_closed(&x->client);
        assert_int_equal(a.n_done, 1);
        assert_int_equal(a.code, where == 2 ? STERNA_OK : STERNA_EUNREACHABLE);
        assert_int_equal(b.n_done, 1);
        assert_int_equal(b.code, STERNA_EUNREACHABLE);
        assert_int_equal(x->client.n_closed, 0);
        x->client.on_ready = close_within_ready;
        assert_ok(client_open(&x->client, NULL));
        client_until_closed(&x->client);
        assert_int_equal(x->client.n_ready, 2);
        closed(x);
    }
}

static void ask_again(struct asked *a) {
    if (a->n_done < 3) assert_ok(client_execute(a->client, a, (uint8_t)a->n_done));
}

static void test_conn_send_within_done(void **state) {
    struct fixture *x = opened();
    struct asked a;
    (void)state;
    x->blob_bytes = 1000;
    asked_blob(&a, &x->client, x->landed, BLOB_BYTES);
    a.on_done = ask_again;
    assert_ok(client_execute(&x->client, &a, 0));
    while (a.n_done < 3) client_run(&x->client);
    assert_int_equal(a.id[0], 2);
    closed(x);
}

int main(void) {
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_conn_tcp),
        cmocka_unit_test(test_conn_blob),
        cmocka_unit_test(test_conn_many_calls_at_once),
        cmocka_unit_test(test_conn_no_row),
        cmocka_unit_test(test_conn_null_blob),
        cmocka_unit_test(test_conn_refused_row),
        cmocka_unit_test(test_conn_gathered_answers),
        cmocka_unit_test(test_conn_error_answer),
        cmocka_unit_test(test_conn_lost_in_a_blob),
        cmocka_unit_test(test_conn_refused_connection),
        cmocka_unit_test(test_conn_refused_by_ipv6),
        cmocka_unit_test(test_conn_send_after_a_reset),
        cmocka_unit_test(test_conn_abort),
        cmocka_unit_test(test_conn_close_within_callbacks),
        cmocka_unit_test(test_conn_send_within_done),
    };
    alarm(300); /* a hang is a failure */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
