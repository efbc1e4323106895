/* From connect to READY: what is said, what is understood, and the words for all that goes wrong.
 */
#include "support/check.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "net/conn_record.h"
#include "support/client.h"
#include "support/peer.h"

#define SECRET "s3cret-Passw0rd"

static void assert_contains(const char *text, const char *part) {
    if (!strstr(text, part)) fail_msg("'%s' does not contain '%s'", text, part);
}

/* What the peer does with one opcode. */
struct script {
    uint8_t on;
    enum { NOTHING, ERROR, CHALLENGE, WRONG_OPCODE, RESET, FINISH, OTHER_VERSION } does;
    unsigned times; /* how often; 0: always */
    uint32_t code;
    const char *text;
    unsigned n;
};

/* An ERROR with a header of another version than ours. */
static void send_other_version(struct peer_conn *conn, const char *text) {
    uint8_t all[256] = {0x85, 0, 0, 0, STN_CQL_ERROR};
    struct stn_writer w = {.to = all + 5, .cap = sizeof all - 5};
    stn_put_be32(&w, (uint32_t)(6 + strlen(text)));
    stn_put_be32(&w, STN_CQL_E_PROTOCOL);
    stn_put_string(&w, text);
    peer_send(conn, all, 5 + w.used);
}

static int frame(void *ctx, struct peer_conn *conn, const struct peer_frame *f) {
    struct script *s = ctx;
    if (f->opcode != s->on || (s->times && s->n >= s->times)) return 0;
    s->n++;
    switch (s->does) {
    case NOTHING:
        break;
    case ERROR:
        peer_send_error(conn, f->stream, s->code, s->text);
        break;
    case CHALLENGE:
        peer_send_challenge(conn, f->stream, "more");
        break;
    case WRONG_OPCODE:
        peer_send_void(conn, f->stream);
        break;
    case RESET:
        peer_reset_after(conn, 0);
        break;
    case FINISH:
        peer_finish_after(conn, 0);
        break;
    case OTHER_VERSION:
        send_other_version(conn, s->text);
    }
    return 1;
}

/* Connects, until it is ready or over. */
static void connect_to(struct client *c, struct peer *peer) {
    c->to.bytes = 0;
    client_init(c, "127.0.0.1", peer_port(peer));
}

static void run(struct client *c) {
    assert_ok(client_open(c, NULL));
    client_until_ready(c);
}

/* ---- what is said ---- */

struct look {
    struct peer *peer;
    const char *key;
    char value[64];
};

static void look_up(void *arg) {
    struct look *l = arg;
    struct peer_conn *conn = peer_find(l->peer, 1);
    const char *value = conn ? peer_startup(conn, l->key) : NULL;
    snprintf(l->value, sizeof l->value, "%s", value ? value : "-");
}

static void assert_startup(struct peer *peer, const char *key, const char *value) {
    struct look l = {peer, key, ""};
    peer_run(peer, look_up, &l);
    assert_string_equal(l.value, value);
}

static void test_handshake_startup(void **state) {
    struct client c;
    struct peer *peer = peer_open(NULL);
    (void)state;
    connect_to(&c, peer);
    c.now_ns = 5;
    run(&c);
    assert_int_equal(c.n_ready, 1);
    assert_startup(peer, "CQL_VERSION", "3.0.0");
    assert_startup(peer, "DRIVER_NAME", "sterna");
    assert_startup(peer, "DRIVER_VERSION", sterna_version());
    assert_startup(peer, "THROW_ON_OVERLOAD", "1");
    assert_startup(peer, "TABLETS_ROUTING_V1", "-");
    assert_startup(peer, "SCYLLA_RATE_LIMIT_ERROR", "-");
    assert_int_equal(peer_requests(peer, STN_CQL_OPTIONS), 0);
    client_fini(&c);
    peer_close(&peer);
}

static const struct peer_pair scylla[] = {
    {"SCYLLA_SHARD", "3"},
    {"SCYLLA_NR_SHARDS", "8"},
    {"SCYLLA_PARTITIONER", "org.apache.cassandra.dht.Murmur3Partitioner"},
    {"SCYLLA_SHARDING_ALGORITHM", "biased-token-round-robin"},
    {"SCYLLA_SHARDING_IGNORE_MSB", "12"},
    {"SCYLLA_SHARD_AWARE_PORT", "19042"},
    {"SCYLLA_SHARD_AWARE_PORT_SSL", "19142"},
    {"TABLETS_ROUTING_V1", ""},
    {"SCYLLA_RATE_LIMIT_ERROR", "ERROR_CODE=61440"},
    {"SOMETHING_NEW", "4/v4"},
};

static void test_handshake_supported_by_scylla(void **state) {
    struct client c;
    struct peer *peer =
        peer_open(&(struct peer_options){.supported = scylla, .n_supported = STN_COUNT(scylla)});
    (void)state;
    connect_to(&c, peer);
    c.config.ask_supported = 1;
    run(&c);
    const struct stn_supported *s = stn_conn_supported(c.conn);
    assert_int_equal(s->cql_v4, 1);
    assert_int_equal(s->n_shards, 8);
    assert_int_equal(s->shard, 3);
    assert_int_equal(s->ignore_msb, 12);
    assert_int_equal(s->shard_port, 19042);
    assert_int_equal(s->shard_port_tls, 19142);
    assert_int_equal(s->tablets, 1);
    assert_int_equal(s->rate_limit_code, 61440);
    assert_startup(peer, "TABLETS_ROUTING_V1", "");
    assert_startup(peer, "SCYLLA_RATE_LIMIT_ERROR", "");
    client_fini(&c);
    peer_close(&peer);
}

/* Numbers that make no sense, or another sharding than ours: no shards are known. */
static void test_handshake_supported_oddly(void **state) {
    static const struct peer_pair rows[][3] = {
        {{"SCYLLA_NR_SHARDS", "8"}, {"SCYLLA_SHARD", "3"}, {"SCYLLA_SHARDING_ALGORITHM", "other"}},
        {{"SCYLLA_NR_SHARDS", "8"}, {"SCYLLA_SHARD", "8"}, {"SCYLLA_SHARD_AWARE_PORT", "70000"}},
        {{"SCYLLA_NR_SHARDS", "99999999999999999999"}, {"SCYLLA_SHARD", "1"}, {"X", ""}},
        {{"SCYLLA_NR_SHARDS", "many"}, {"SCYLLA_SHARD", ""}, {"SCYLLA_RATE_LIMIT_ERROR", "5"}},
    };
    (void)state;
    for (size_t i = 0; i < STN_COUNT(rows); i++) {
        struct client c;
        struct peer *peer =
            peer_open(&(struct peer_options){.supported = rows[i], .n_supported = 3});
        connect_to(&c, peer);
        c.config.ask_supported = 1;
        run(&c);
        assert_non_null(c.conn);
        assert_int_equal(stn_conn_supported(c.conn)->n_shards, 0);
        assert_int_equal(stn_conn_supported(c.conn)->shard_port, 0);
        assert_int_equal(stn_conn_supported(c.conn)->rate_limit_code, 0);
        client_fini(&c);
        peer_close(&peer);
    }
}

static void test_handshake_round_trip(void **state) {
    struct client c;
    struct stn_conn_stats s;
    struct peer *peer = peer_open(NULL);
    (void)state;
    connect_to(&c, peer);
    assert_ok(client_open(&c, NULL));
    c.now_ns += 150 * STN_NS_PER_MS;
    client_until_ready(&c);
    stn_conn_stats(c.conn, &s);
    assert_int_equal(s.min_rtt_ns, 150 * STN_NS_PER_MS);
    client_fini(&c);
    peer_close(&peer);
}

/* ---- who we are ---- */

static void test_handshake_login(void **state) {
    static const struct {
        const char *name, *class, *user, *password; /* of the client */
        struct script script;
        int code;            /* 0: ready */
        const char *said[3]; /* in the message */
    } rows[] = {
        {"right", NULL, "ann", SECRET, {0}, 0, {0}},
        {"right, asked by Scylla",
         "com.scylladb.auth.SaslauthdAuthenticator",
         "ann",
         SECRET,
         {0},
         0,
         {0}},
        {"wrong password",
         NULL,
         "ann",
         "another " SECRET,
         {0},
         STERNA_EREFUSED,
         {"authentication failed for user 'ann': Provided username ann and/or password"}},
        {"wrong password, unknown class",
         "org.example.Odd",
         "ann",
         "another " SECRET,
         {0},
         STERNA_EREFUSED,
         {"authentication failed for user 'ann' (org.example.Odd): Provided"}},
        {"nobody is named",
         "org.example.Odd",
         NULL,
         SECRET,
         {0},
         STERNA_EREFUSED,
         {"org.example.Odd", "STERNA_PASSWORD", "user@"}},
        {"no password", NULL, "ann", NULL, {0}, STERNA_EINVAL, {"'ann'", "STERNA_PASSWORD is not"}},
        {"challenge",
         NULL,
         "ann",
         SECRET,
         {.on = STN_CQL_AUTH_RESPONSE, .does = CHALLENGE, .times = 1},
         0,
         {0}},
        {"challenge for ever",
         "org.example.Kerberos",
         "ann",
         SECRET,
         {.on = STN_CQL_AUTH_RESPONSE, .does = CHALLENGE},
         STERNA_EREFUSED,
         {"org.example.Kerberos is not supported"}},
        {"the server is not able to look",
         NULL,
         "ann",
         SECRET,
         {.on = STN_CQL_AUTH_RESPONSE,
          .does = ERROR,
          .code = STN_CQL_E_UNAVAILABLE,
          .text = "QUORUM"},
         STERNA_EUNREACHABLE,
         {"'ann': QUORUM"}},
        {"hangs up",
         NULL,
         "ann",
         SECRET,
         {.on = STN_CQL_AUTH_RESPONSE, .does = FINISH},
         STERNA_EUNREACHABLE,
         {"closed the connection before it was ready"}},
    };
    (void)state;
    for (size_t i = 0; i < STN_COUNT(rows); i++) {
        struct script script = rows[i].script;
        struct client c;
        struct peer *peer = peer_open(&(struct peer_options){.user = "ann",
                                                             .password = SECRET,
                                                             .authenticator = rows[i].class,
                                                             .frame = frame,
                                                             .ctx = &script});
        connect_to(&c, peer);
        c.config.user = rows[i].user;
        c.password = rows[i].password;
        run(&c);
        if (c.end.code != rows[i].code)
            fail_msg("%s: %d (%s)", rows[i].name, c.end.code, c.end.message);
        for (size_t k = 0; k < 3 && rows[i].said[k]; k++)
            assert_contains(c.end.message, rows[i].said[k]);
        assert_null(strstr(c.end.message, SECRET));
        if (rows[i].code) assert_contains(c.end.message, "127.0.0.1:");
        client_fini(&c);
        peer_close(&peer);
    }
}

/* Nothing of it is left in the send buffer, which lives on. */
static void test_handshake_password_is_not_kept(void **state) {
    struct client c;
    struct peer *peer = peer_open(&(struct peer_options){.user = "ann", .password = SECRET});
    (void)state;
    connect_to(&c, peer);
    c.config.user = "ann";
    c.password = SECRET;
    run(&c);
    assert_int_equal(c.n_passwords, 1);
    assert_true(c.conn->out_cap > 0);
    assert_null(memmem(c.conn->out, c.conn->out_cap, SECRET, strlen(SECRET)));
    client_fini(&c);
    peer_close(&peer);
}

/* ---- what goes wrong ---- */

static void test_handshake_refusals(void **state) {
    static const struct {
        struct script script;
        int code;
        const char *said;
    } rows[] = {
        {{.on = STN_CQL_STARTUP, .does = OTHER_VERSION, .text = "supported versions are (5/v5)"},
         STERNA_EPROTO,
         "needs protocol v4, which this server refuses: supported versions are (5/v5)"},
        {{.on = STN_CQL_OPTIONS, .does = ERROR, .code = STN_CQL_E_PROTOCOL, .text = "only v3"},
         STERNA_EPROTO,
         "needs protocol v4, which this server refuses: only v3"},
        {{.on = STN_CQL_STARTUP, .does = ERROR, .code = STN_CQL_E_BOOTSTRAPPING, .text = "wait"},
         STERNA_EUNREACHABLE,
         "refuses the connection (bootstrapping): wait"},
        {{.on = STN_CQL_STARTUP, .does = ERROR, .code = STN_CQL_E_OVERLOADED, .text = "no\nmore"},
         STERNA_EUNREACHABLE,
         "(overloaded): no\\x0amore"},
        {{.on = STN_CQL_STARTUP, .does = ERROR, .code = STN_CQL_E_CREDENTIALS, .text = "you"},
         STERNA_EREFUSED,
         "you"},
        {{.on = STN_CQL_STARTUP, .does = WRONG_OPCODE},
         STERNA_EPROTO,
         "opcode 0x08 is no answer to STARTUP"},
        {{.on = STN_CQL_OPTIONS, .does = WRONG_OPCODE},
         STERNA_EPROTO,
         "opcode 0x08 is no answer to OPTIONS"},
        {{.on = STN_CQL_STARTUP, .does = RESET},
         STERNA_EUNREACHABLE,
         "closed the connection before it was ready: does this port want TLS, and are more"},
        {{.on = STN_CQL_OPTIONS, .does = FINISH},
         STERNA_EUNREACHABLE,
         "closed the connection before it was ready: does this port want TLS, and are more"},
    };
    (void)state;
    for (size_t i = 0; i < STN_COUNT(rows); i++) {
        struct script script = rows[i].script;
        struct client c;
        struct peer *peer = peer_open(&(struct peer_options){.frame = frame, .ctx = &script});
        connect_to(&c, peer);
        c.config.ask_supported = 1;
        run(&c);
        if (c.end.code != rows[i].code || !strstr(c.end.message, rows[i].said))
            fail_msg("row %zu: %d (%s)", i, c.end.code, c.end.message);
        assert_int_equal(c.n_closed, 1);
        assert_int_equal(c.n_ready, 0);
        client_fini(&c);
        peer_close(&peer);
    }
}

struct bytes {
    const char *data;
    size_t n;
};

static void send_bytes(void *ctx, struct peer_conn *conn) {
    const struct bytes *b = ctx;
    peer_send(conn, b->data, b->n);
}

static void test_handshake_other_protocols(void **state) {
    static const struct {
        struct bytes bytes;
        const char *said;
    } rows[] = {
        {{"\x15\x03\x03\0\2\2\x46", 7}, "this port speaks TLS"},
        {{"HTTP/1.1 400 Bad Request\r\n", 26}, "no CQL server: its answer begins with byte 0x48"},
        {{"\x04\0\0\0\2\0\0\0\0", 9}, "no CQL server: its answer begins with byte 0x04"},
        {{"\x85\0\0\0\2\0\0\0\0", 9}, "does not allow"}, /* READY, but version 5 */
        {{"\x84\0\0\0\2\x7f\0\0\0", 9}, "does not allow"},
    };
    (void)state;
    for (size_t i = 0; i < STN_COUNT(rows); i++) {
        struct client c;
        struct bytes bytes = rows[i].bytes;
        struct peer *peer = peer_open(&(struct peer_options){.raw = send_bytes, .ctx = &bytes});
        connect_to(&c, peer);
        run(&c);
        if (c.end.code != STERNA_EPROTO || !strstr(c.end.message, rows[i].said))
            fail_msg("row %zu: %d (%s)", i, c.end.code, c.end.message);
        client_fini(&c);
        peer_close(&peer);
    }
}

/* Each state has words of its own when nothing comes. */
static void test_handshake_silence(void **state) {
    static const struct {
        uint8_t on;
        const char *said;
    } rows[] = {{STN_CQL_OPTIONS, "no answer to OPTIONS (does this port want TLS?) within 10.0 s"},
                {STN_CQL_STARTUP, "no answer to STARTUP (does this port want TLS?) within 10.0 s"},
                {STN_CQL_AUTH_RESPONSE, "no answer to AUTH_RESPONSE within 10.0 s"}};
    (void)state;
    for (size_t i = 0; i < STN_COUNT(rows); i++) {
        struct script script = {.on = rows[i].on, .does = NOTHING};
        struct client c;
        struct peer *peer = peer_open(&(struct peer_options){
            .user = "ann", .password = SECRET, .frame = frame, .ctx = &script});
        connect_to(&c, peer);
        c.config.user = "ann";
        c.password = SECRET;
        c.config.ask_supported = 1;
        assert_ok(client_open(&c, NULL));
        while (peer_requests(peer, rows[i].on) == 0)
            stn_poll_wait(c.poll, c.now_ns + STN_NS_PER_MS);
        assert_int_equal(stn_conn_tick(c.conn, c.now_ns), c.now_ns + 10 * STN_NS_PER_S);
        client_later(&c, 10 * STN_NS_PER_S - 1);
        stn_poll_wait(c.poll, 0);
        assert_non_null(c.conn);
        client_later(&c, 1);
        client_until_closed(&c);
        assert_int_equal(c.end.code, STERNA_EUNREACHABLE);
        assert_contains(c.end.message, rows[i].said);
        client_fini(&c);
        peer_close(&peer);
    }
}

/* The calls of a connection that is not ready. */
static void test_handshake_takes_no_calls(void **state) {
    struct client c;
    struct asked a;
    struct peer *peer = peer_open(NULL);
    (void)state;
    connect_to(&c, peer);
    assert_ok(client_open(&c, NULL));
    asked_message(&a, &c);
    assert_int_equal(client_query(&c, &a, "SELECT * FROM system.local"), STERNA_AGAIN);
    assert_false(stn_conn_is_ready(c.conn));
    client_fini(&c);
    assert_int_equal(a.n_done, 0);
    peer_close(&peer);
}

int main(void) {
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_handshake_startup),
        cmocka_unit_test(test_handshake_supported_by_scylla),
        cmocka_unit_test(test_handshake_supported_oddly),
        cmocka_unit_test(test_handshake_round_trip),
        cmocka_unit_test(test_handshake_login),
        cmocka_unit_test(test_handshake_password_is_not_kept),
        cmocka_unit_test(test_handshake_refusals),
        cmocka_unit_test(test_handshake_other_protocols),
        cmocka_unit_test(test_handshake_silence),
        cmocka_unit_test(test_handshake_takes_no_calls),
    };
    alarm(300);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
