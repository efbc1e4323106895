/* A connection while memory or the network fail: right answers or one clear error, each call told
 * once, nothing left behind. The peer is a process of its own, whose calls do not fail. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fault/sweep.h"
#include "support/certificates.h"
#include "support/client.h"
#include "support/peer.h"
#include "support/temporary.h"

enum { BLOB_BYTES = 60000, N_CALLS = 4 };

static char *base; /* holds the certificates */
static uint8_t blob[BLOB_BYTES];
static uint16_t ports[2]; /* of the plain peer, and of the one with TLS */

/* ---- the peer ---- */

static int frame(void *ctx, struct peer_conn *conn, const struct peer_frame *f) {
    (void)ctx;
    if (f->opcode != STN_CQL_EXECUTE) return 0;
    peer_send_blob(conn, f, f->values[0].data, 7, blob, sizeof blob);
    return 1;
}

/* Until nobody holds the other end of `until` any more. */
static void serve(int tell, int until) {
    struct peer_options o = {.user = "ann", .password = "secret", .frame = frame};
    struct peer *plain = peer_open(&o), *tls;
    char byte;
    certificates_make(base);
    o.tls = certificates_server(base, "server", 0, 0, 0);
    tls = peer_open(&o);
    SSL_CTX_free(o.tls);
    ports[0] = peer_port(plain);
    ports[1] = peer_port(tls);
    if (write(tell, ports, sizeof ports) != sizeof ports) abort();
    while (read(until, &byte, 1) > 0) {}
    peer_close(&plain);
    peer_close(&tls);
}

static pid_t start_peer(int *until) {
    int tell[2], end[2];
    if (pipe(tell) < 0 || pipe(end) < 0) abort();
    pid_t pid = fork();
    if (pid < 0) abort();
    if (pid == 0) {
        close(tell[0]);
        close(end[1]);
        serve(tell[1], end[0]);
        exit(0);
    }
    close(tell[1]);
    close(end[0]);
    if (read(tell[0], ports, sizeof ports) != sizeof ports) abort();
    close(tell[0]);
    *until = end[1];
    return pid;
}

/* ---- the work ---- */

/* Time goes on with each turn, so that a deadline ends what nothing else ends. */
static void turn(struct client *c) {
    client_run(c);
    client_later(c, 50 * STN_NS_PER_MS);
}

/* The second call is given up. */
static int ask_all(struct client *c, struct asked *all, uint8_t *landed) {
    int rc = STERNA_OK;
    for (unsigned i = 0; i < N_CALLS && rc == STERNA_OK; i++) {
        if (i == 0) {
            asked_message(&all[i], c);
            rc = client_query(c, &all[i], "SELECT * FROM system.local");
        } else {
            asked_blob(&all[i], c, landed, BLOB_BYTES);
            rc = client_execute(c, &all[i], (uint8_t)i);
        }
    }
    if (rc == STERNA_OK) stn_conn_give_up(c->conn, &all[1].call);
    return rc;
}

static int is_done(const struct asked *all) {
    return all[0].n_done && all[2].n_done && all[3].n_done;
}

static void check_all(const struct client *c, const struct asked *all, const uint8_t *landed,
                      int sent) {
    for (unsigned i = 0; i < N_CALLS && sent; i++)
        if (all[i].n_done != (i == 1 ? 0 : 1))
            round_fail("call %u: done %u times", i, all[i].n_done);
    if (c->n_closed) return;
    for (unsigned i = 0; i < N_CALLS && sent; i++)
        if (i != 1 && all[i].code != STERNA_OK) round_fail("call %u: %s", i, all[i].why);
    if (sent && all[3].id[0] != 3) round_fail("the answer of another call");
    if (sent && memcmp(landed, blob, BLOB_BYTES) != 0) round_fail("another blob");
}

static int exchange(struct client *c, struct sterna_error *err) {
    struct asked all[N_CALLS] = {0};
    uint8_t *landed = malloc(BLOB_BYTES);
    int rc = landed ? client_open(c, err) : stn_fail_memory(err, "a blob");
    while (rc == STERNA_OK && c->conn && !stn_conn_is_ready(c->conn)) turn(c);
    int sent = 0;
    if (rc == STERNA_OK && c->conn) {
        rc = ask_all(c, all, landed);
        sent = rc == STERNA_OK;
        if (rc == STERNA_AGAIN) rc = STERNA_OK; /* it is over: closed() says why */
        if (rc < 0) stn_fail(err, rc, "a call cannot be sent");
        if (rc == STERNA_OK && !sent) client_until_closed(c);
    }
    while (sent && c->conn && !is_done(all)) turn(c);
    check_all(c, all, landed, sent);
    if (c->n_closed > 1) round_fail("closed %u times", c->n_closed);
    if (c->n_closed) {
        *err = c->end;
        rc = c->end.code;
    }
    client_fini(c);
    free(landed);
    return rc;
}

static int plain(const char *dir, struct sterna_error *err) {
    struct client c;
    (void)dir;
    client_init(&c, "127.0.0.1", ports[0]);
    c.config.user = "ann";
    c.password = "secret";
    c.config.ask_supported = 1;
    return exchange(&c, err);
}

static int with_tls(const char *dir, struct sterna_error *err) {
    const struct stn_tls_options o = {.verify = 1, .ca_file = test_path(base, "ca.pem")};
    struct stn_tls *tls;
    struct client c;
    (void)dir;
    int rc = stn_tls_open(&tls, &o, err);
    if (rc < 0) return rc;
    client_init(&c, "127.0.0.1", ports[1]);
    c.config.user = "ann";
    c.password = "secret";
    c.config.tls = tls;
    rc = exchange(&c, err);
    stn_tls_close(&tls);
    return rc;
}

static int resolve(const char *dir, struct sterna_error *err) {
    struct stn_address *all;
    size_t n;
    (void)dir;
    int rc = stn_address_resolve("127.0.0.1", 1, &all, &n, err);
    if (rc == STERNA_OK && n != 1) round_fail("%zu addresses", n);
    free(all);
    return rc;
}

int main(void) {
    static const struct work works[] = {
        {"a connection", NULL, plain, NULL},
        {"a connection with TLS", NULL, with_tls, NULL},
        {"the addresses of a host", NULL, resolve, NULL},
    };
    static const struct sweep sweeps[] = {
        {FAULT_MEMORY, 0, 0}, {FAULT_MEMORY, 1, 0}, {FAULT_EIO, 0, 0},    {FAULT_EIO, 1, 0},
        {FAULT_SOCKET, 0, 0}, {FAULT_SOCKET, 1, 0}, {FAULT_SIGNAL, 0, 0}, {FAULT_SHORT, 0, 0},
    };
    int until, bad = 0;
    for (size_t i = 0; i < BLOB_BYTES; i++) blob[i] = (uint8_t)(i * 2654435761u >> 13);
    base = sweep_dir();
    pid_t pid = start_peer(&until);
    for (size_t i = 0; i < STN_COUNT(works); i++)
        for (size_t k = 0; k < STN_COUNT(sweeps); k++)
            bad |= sweep_run(&works[i], &sweeps[k], base);
    close(until);
    if (waitpid(pid, NULL, 0) != pid) bad = 1;
    test_dir_remove(&base);
    return bad;
}
