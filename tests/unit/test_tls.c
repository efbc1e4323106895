/* TLS: blobs arrive as ever, and each thing that can go wrong has words of its own. */
#include "support/check.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net/tls.h"
#include "support/certificates.h"
#include "support/client.h"
#include "support/peer.h"
#include "support/temporary.h"

enum { BLOB_BYTES = 500000 };

static char *dir;

static const char *file(const char *name) { return name ? test_path(dir, name) : NULL; }

static int make_all(void **state) {
    (void)state;
    dir = test_dir_make();
    certificates_make(dir);
    return 0;
}

static int remove_all(void **state) {
    (void)state;
    test_dir_remove(&dir);
    return 0;
}

static void assert_contains(const char *text, const char *part) {
    if (!strstr(text, part)) fail_msg("'%s' does not contain '%s'", text, part);
}

/* ---- what a connection makes of a server ---- */

static uint8_t blob[BLOB_BYTES], landed[BLOB_BYTES];
static size_t blob_bytes, piece, reset_after;

static int frame(void *ctx, struct peer_conn *conn, const struct peer_frame *f) {
    (void)ctx;
    if (f->opcode != STN_CQL_EXECUTE) return 0;
    peer_pieces(conn, piece);
    if (reset_after) peer_finish_after(conn, reset_after);
    peer_send_blob(conn, f, f->values[0].data, 7, blob, blob_bytes);
    return 1;
}

/* A client that trusts ca.pem. */
static struct stn_tls *trusting(void) {
    struct stn_tls *tls;
    assert_ok(stn_tls_open(&tls, &(struct stn_tls_options){.verify = 1, .ca_file = file("ca.pem")},
                           NULL));
    return tls;
}

static struct peer *peer_of(const char *certificate, int min, int max, int wants_client) {
    SSL_CTX *ctx =
        certificate ? certificates_server(dir, certificate, min, max, wants_client) : NULL;
    struct peer *peer = peer_open(&(struct peer_options){.tls = ctx, .frame = frame});
    SSL_CTX_free(ctx);
    return peer;
}

static void test_tls_verdicts(void **state) {
    static const struct {
        const char *name;
        const char *server; /* its certificate; NULL: no TLS */
        int min, max, wants_client;
        const char *ca, *cert, *key; /* the client's */
        int unverified;
        const char *host; /* NULL: the address */
        int code;
        const char *said[2];
    } rows[] = {
        {.name = "right address", .server = "server", .ca = "ca.pem"},
        {.name = "right name", .server = "server", .ca = "ca.pem", .host = "localhost"},
        {.name = "TLS 1.2", .server = "server", .max = TLS1_2_VERSION, .ca = "ca.pem"},
        {.name = "TLS 1.3", .server = "server", .min = TLS1_3_VERSION, .ca = "ca.pem"},
        {.name = "another CA",
         .server = "server",
         .ca = "other_ca.pem",
         .code = STERNA_EREFUSED,
         .said = {"is not signed by an authority of", "other_ca.pem"}},
        {.name = "the system's CAs",
         .server = "server",
         .code = STERNA_EREFUSED,
         .said = {"is not signed by an authority of the system's list"}},
        {.name = "expired",
         .server = "expired",
         .ca = "ca.pem",
         .code = STERNA_EREFUSED,
         .said = {"localhost, 127.0.0.1, 127.0.0.2) expired on 20"}},
        {.name = "not yet valid",
         .server = "early",
         .ca = "ca.pem",
         .code = STERNA_EREFUSED,
         .said = {"is valid from 20", "is the clock right?"}},
        {.name = "of another address",
         .server = "other_name",
         .ca = "ca.pem",
         .code = STERNA_EREFUSED,
         .said = {"is for elsewhere.example, 10.1.2.3, not for 127.0.0.1"}},
        {.name = "of another name",
         .server = "server",
         .ca = "ca.pem",
         .host = "db.example",
         .code = STERNA_EREFUSED,
         .said = {"is for localhost, 127.0.0.1, 127.0.0.2, not for db.example"}},
        {.name = "not looked at", .server = "expired", .unverified = 1, .host = "db.example"},
        {.name = "a server without TLS",
         .ca = "ca.pem",
         .code = STERNA_EPROTO,
         .said = {"speaks without TLS"}},
        {.name = "TLS 1.1 only",
         .server = "server",
         .max = TLS1_1_VERSION,
         .ca = "ca.pem",
         .code = STERNA_EPROTO,
         .said = {"no version that both speak"}},
        {.name = "client certificate",
         .server = "server",
         .wants_client = 1,
         .ca = "ca.pem",
         .cert = "client.pem",
         .key = "client.key"},
        {.name = "client certificate missing",
         .server = "server",
         .wants_client = 1,
         .ca = "ca.pem",
         .code = STERNA_EREFUSED,
         .said = {"the server wants a client certificate, none is given"}},
        {.name = "client certificate missing, TLS 1.2",
         .server = "server",
         .max = TLS1_2_VERSION,
         .wants_client = 1,
         .ca = "ca.pem",
         .code = STERNA_EREFUSED,
         .said = {"it wants a client certificate"}},
        {.name = "client certificate of others",
         .server = "server",
         .wants_client = 1,
         .ca = "ca.pem",
         .cert = "foreign.pem",
         .key = "foreign.key",
         .code = STERNA_EREFUSED,
         .said = {"the server does not accept our client certificate"}},
    };
    (void)state;
    for (size_t i = 0; i < STN_COUNT(rows); i++) {
        const struct stn_tls_options o = {.verify = !rows[i].unverified,
                                          .ca_file = file(rows[i].ca),
                                          .cert_file = file(rows[i].cert),
                                          .key_file = file(rows[i].key)};
        struct stn_tls *tls;
        struct client c;
        struct peer *peer = peer_of(rows[i].server, rows[i].min, rows[i].max, rows[i].wants_client);
        assert_ok(stn_tls_open(&tls, &o, NULL));
        client_init(&c, "127.0.0.1", peer_port(peer));
        c.config.tls = tls;
        c.config.host = rows[i].host;
        assert_ok(client_open(&c, NULL));
        client_until_ready(&c);
        if (c.end.code != rows[i].code || !c.n_ready != !!rows[i].code)
            fail_msg("%s: %d (%s)", rows[i].name, c.end.code, c.end.message);
        for (size_t k = 0; k < 2 && rows[i].said[k]; k++)
            if (!strstr(c.end.message, rows[i].said[k]))
                fail_msg("%s: %s", rows[i].name, c.end.message);
        if (rows[i].code) assert_int_equal(peer_requests(peer, STN_CQL_STARTUP), 0);
        client_fini(&c);
        stn_tls_close(&tls);
        peer_close(&peer);
    }
}

static void test_tls_blobs(void **state) {
    static const size_t bytes[] = {0, 1, 16384, 100000, BLOB_BYTES};
    static const size_t pieces[] = {0, 1000, 16384 + 57};
    struct stn_tls *tls = trusting();
    struct peer *peer = peer_of("server", 0, 0, 0);
    struct client c;
    struct stn_conn_stats s;
    (void)state;
    client_init(&c, "127.0.0.1", peer_port(peer));
    c.config.tls = tls;
    assert_ok(client_open(&c, NULL));
    client_until_ready(&c);
    for (size_t p = 0; p < STN_COUNT(pieces); p++)
        for (size_t i = 0; i < STN_COUNT(bytes); i++) {
            struct asked a, dropped, b;
            piece = pieces[p];
            blob_bytes = bytes[i];
            memset(landed, 0xA5, sizeof landed);
            asked_blob(&a, &c, landed, sizeof landed);
            asked_blob(&dropped, &c, NULL, 0);
            asked_blob(&b, &c, NULL, 0);
            assert_ok(client_execute(&c, &a, 1));
            assert_ok(client_execute(&c, &dropped, 2));
            stn_conn_give_up(c.conn, &dropped.call);
            assert_ok(client_execute(&c, &b, 3));
            client_until_done(&c, &a);
            client_until_done(&c, &b);
            assert_int_equal(a.code, STERNA_OK);
            assert_int_equal(b.code, STERNA_OK);
            assert_int_equal(dropped.n_done, 0);
            assert_memory_equal(landed, blob, bytes[i]);
        }
    stn_conn_stats(c.conn, &s);
    assert_int_equal(s.orphans, 0);
    client_fini(&c);
    stn_tls_close(&tls);
    peer_close(&peer);
}

/* A connection cut without close_notify is a lost one, in a blob and between answers. */
static void test_tls_truncated(void **state) {
    struct stn_tls *tls = trusting();
    struct client c;
    struct asked a;
    struct peer *peer = peer_of("server", 0, 0, 0);
    (void)state;
    client_init(&c, "127.0.0.1", peer_port(peer));
    c.config.tls = tls;
    assert_ok(client_open(&c, NULL));
    client_until_ready(&c);
    piece = 0;
    blob_bytes = BLOB_BYTES;
    reset_after = 70000;
    asked_blob(&a, &c, landed, sizeof landed);
    assert_ok(client_execute(&c, &a, 1));
    client_until_closed(&c);
    reset_after = 0;
    assert_int_equal(a.code, STERNA_EUNREACHABLE);
    assert_int_equal(c.end.code, STERNA_EUNREACHABLE);
    assert_contains(c.end.message, "TLS: the server closed the connection");
    client_fini(&c);
    stn_tls_close(&tls);
    peer_close(&peer);
}

/* Many megabytes to a server, in parts that the socket takes. */
static void test_tls_long_requests(void **state) {
    enum { N = 16, TEXT_BYTES = 1 << 20 };
    static struct asked all[N];
    struct stn_tls *tls = trusting();
    struct client c;
    struct peer *peer = peer_of("server", 0, 0, 0);
    char *text = malloc(TEXT_BYTES + 1);
    (void)state;
    assert_non_null(text);
    memset(text, 'x', TEXT_BYTES);
    text[TEXT_BYTES] = 0;
    client_init(&c, "127.0.0.1", peer_port(peer));
    c.config.tls = tls;
    assert_ok(client_open(&c, NULL));
    client_until_ready(&c);
    for (unsigned i = 0; i < N; i++) {
        asked_message(&all[i], &c);
        assert_ok(client_query(&c, &all[i], text));
    }
    for (unsigned i = 0; i < N; i++) {
        client_until_done(&c, &all[i]);
        assert_int_equal(all[i].failure_code, STN_CQL_E_INVALID);
    }
    free(text);
    client_fini(&c);
    stn_tls_close(&tls);
    peer_close(&peer);
}

/* ---- a server that says nothing, or goes away ---- */

static void do_nothing(void *ctx, struct peer_conn *conn) {
    (void)ctx;
    (void)conn;
}

static void hang_up(void *ctx, struct peer_conn *conn) {
    (void)ctx;
    peer_finish_after(conn, 0);
}

static void test_tls_no_handshake(void **state) {
    struct stn_tls *tls = trusting();
    (void)state;
    for (int hangs_up = 0; hangs_up < 2; hangs_up++) {
        struct client c;
        struct peer *peer =
            peer_open(&(struct peer_options){.raw = hangs_up ? hang_up : do_nothing});
        client_init(&c, "127.0.0.1", peer_port(peer));
        c.config.tls = tls;
        assert_ok(client_open(&c, NULL));
        if (!hangs_up) client_run(&c);
        if (!hangs_up) client_later(&c, 10 * STN_NS_PER_S);
        client_until_closed(&c);
        assert_int_equal(c.end.code, STERNA_EUNREACHABLE);
        assert_contains(c.end.message, hangs_up ? "closed the connection in the handshake"
                                                : "no answer to the TLS handshake (does this port "
                                                  "speak TLS?) within 10.0 s");
        client_fini(&c);
        peer_close(&peer);
    }
    stn_tls_close(&tls);
}

/* ---- options ---- */

static void write_file(const char *name, const char *text) {
    FILE *f = fopen(file(name), "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static void test_tls_wrong_files(void **state) {
    static const struct {
        const char *ca, *cert, *key;
        int code;
        const char *said[2];
    } rows[] = {
        {"absent.pem", NULL, NULL, STERNA_ENOTFOUND, {"absent.pem: the CA file", "No such file"}},
        {"text", NULL, NULL, STERNA_EINVAL, {"text: no certificate authority in PEM format"}},
        {"ca.pem", "client.pem", NULL, STERNA_EINVAL, {"needs both files", "client.pem"}},
        {"ca.pem", NULL, "client.key", STERNA_EINVAL, {"needs both files", "client.key"}},
        {"ca.pem", "absent.pem", "client.key", STERNA_ENOTFOUND, {"absent.pem: the client cert"}},
        {"ca.pem", "client.pem", "absent.key", STERNA_ENOTFOUND, {"absent.key: the client key"}},
        {"ca.pem", "text", "client.key", STERNA_EINVAL, {"text: no certificate in PEM format"}},
        {"ca.pem", "client.pem", "server.key", STERNA_EINVAL, {"server.key", "client.pem"}},
        {"ca.pem", "client.pem", "client_locked.key", STERNA_EINVAL, {"without a passphrase"}},
    };
    (void)state;
    write_file("text", "no PEM\n");
    for (size_t i = 0; i < STN_COUNT(rows); i++) {
        const struct stn_tls_options o = {.verify = 1,
                                          .ca_file = file(rows[i].ca),
                                          .cert_file = file(rows[i].cert),
                                          .key_file = file(rows[i].key)};
        struct sterna_error err = {0};
        struct stn_tls *tls;
        int rc = stn_tls_open(&tls, &o, &err);
        if (rc != rows[i].code || err.code != rc) fail_msg("row %zu: %d (%s)", i, rc, err.message);
        for (size_t k = 0; k < 2 && rows[i].said[k]; k++)
            assert_contains(err.message, rows[i].said[k]);
        assert_null(tls);
    }
}

int main(void) {
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tls_verdicts),     cmocka_unit_test(test_tls_blobs),
        cmocka_unit_test(test_tls_truncated),    cmocka_unit_test(test_tls_long_requests),
        cmocka_unit_test(test_tls_no_handshake), cmocka_unit_test(test_tls_wrong_files),
    };
    alarm(300);
    for (size_t i = 0; i < BLOB_BYTES; i++) blob[i] = (uint8_t)(i * 2654435761u >> 13);
    return cmocka_run_group_tests(tests, make_all, remove_all);
}
