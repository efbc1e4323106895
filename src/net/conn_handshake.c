/* What is said before a connection is READY: a table of states, and what each answer leads to.
 *
 * A password is fetched when the server asks for it, lives in this file's stack and in the send
 * buffer, and is wiped from both. All sending goes through TLS if TLS is configured, so it cannot
 * get out in the open. */
#include <stdio.h>
#include <string.h>

#include "net/conn_record.h"

enum { PASSWORD_BYTES = 1024, FRAME_BYTES = 1024 /* of all but the password */ };

#define SHARDING "biased-token-round-robin" /* the only one that token.c knows */

/* ---- sending ---- */

static void no_memory(struct stn_conn *conn) {
    stn_conn_end(conn, STERNA_ENOMEM, "out of memory for a request");
}

/* OPTIONS, if it is wanted, and STARTUP in one flight: a server takes them in turn, and the answer
 * to one changes nothing in the other. So Scylla's extensions are asked for before it is known
 * whether it has them; who does not know an option passes over it. */
static void send_startup(struct stn_conn *conn) {
    struct stn_cql_pair pairs[6] = {{"CQL_VERSION", "3.0.0"},
                                    {"DRIVER_NAME", "sterna"},
                                    {"DRIVER_VERSION", sterna_version()},
                                    /* an overloaded server says so, and does not stop reading */
                                    {"THROW_ON_OVERLOAD", "1"}};
    struct stn_writer w;
    size_t n = 4;
    conn->supported_due = conn->config->ask_supported;
    if (conn->supported_due) {
        pairs[n++] = (struct stn_cql_pair){"TABLETS_ROUTING_V1", ""};
        pairs[n++] = (struct stn_cql_pair){"SCYLLA_RATE_LIMIT_ERROR", ""};
    }
    if (stn_conn_room(conn, 2 * FRAME_BYTES, &w) < 0) {
        no_memory(conn);
        return;
    }
    if (conn->supported_due) stn_cql_put_options(&w, STN_STREAM_HEARTBEAT);
    stn_cql_put_startup(&w, STN_STREAM_HANDSHAKE, pairs, n);
    stn_conn_wrote(conn, &w);
    conn->state = conn->supported_due ? STN_CONN_OPTIONS : STN_CONN_STARTUP;
    stn_conn_write(conn);
}

static void put_password(struct stn_conn *conn, const char *password) {
    const char *user = conn->config->user;
    struct stn_writer w;
    if (stn_conn_room(conn, FRAME_BYTES + strlen(user) + strlen(password), &w) < 0) {
        no_memory(conn);
        return;
    }
    conn->out_secret = 1;
    stn_cql_put_auth_plain(&w, STN_STREAM_HANDSHAKE, user, password);
    stn_conn_wrote(conn, &w);
    conn->state = STN_CONN_AUTH;
    stn_conn_write(conn);
}

static void send_password(struct stn_conn *conn) {
    char password[PASSWORD_BYTES] = "";
    struct sterna_error err = {0};
    int rc = conn->config->password ? conn->config->password(conn->config->password_ctx, password,
                                                             sizeof password, &err)
                                    : STERNA_OK;
    if (rc < 0)
        stn_conn_end(conn, rc, "no password for user '%s': %s", conn->config->user,
                     err.message[0] ? err.message : sterna_strerror(rc));
    else
        put_password(conn, password);
    explicit_bzero(password, sizeof password);
}

/* ---- SUPPORTED ---- */

static uint32_t number_in(struct stn_text t) {
    char text[16];
    snprintf(text, sizeof text, "%.*s", (int)STN_MIN(t.bytes, sizeof text - 1), t.data);
    unsigned long v = strtoul(text, NULL, 10);
    return v > UINT32_MAX ? 0 : (uint32_t)v;
}

static uint16_t port_in(struct stn_text t) {
    uint32_t v = number_in(t);
    return v > UINT16_MAX ? 0 : (uint16_t)v;
}

static uint32_t error_code_in(struct stn_text t) { /* "ERROR_CODE=61440" */
    static const char key[] = "ERROR_CODE=";
    if (t.bytes < sizeof key || memcmp(t.data, key, sizeof key - 1) != 0) return 0;
    return number_in((struct stn_text){t.data + sizeof key - 1, t.bytes - (sizeof key - 1)});
}

static void see_supported(void *ctx, struct stn_text key, struct stn_text value) {
    struct stn_supported *s = ctx;
    if (stn_text_equals(key, "PROTOCOL_VERSIONS"))
        s->cql_v4 |= value.bytes >= 4 && memcmp(value.data, "4/v4", 4) == 0;
    else if (stn_text_equals(key, "SCYLLA_NR_SHARDS"))
        s->n_shards = number_in(value);
    else if (stn_text_equals(key, "SCYLLA_SHARD"))
        s->shard = number_in(value);
    else if (stn_text_equals(key, "SCYLLA_SHARDING_IGNORE_MSB"))
        s->ignore_msb = number_in(value);
    else if (stn_text_equals(key, "SCYLLA_SHARD_AWARE_PORT"))
        s->shard_port = port_in(value);
    else if (stn_text_equals(key, "SCYLLA_SHARD_AWARE_PORT_SSL"))
        s->shard_port_tls = port_in(value);
    else if (stn_text_equals(key, "TABLETS_ROUTING_V1"))
        s->tablets = 1;
    else if (stn_text_equals(key, "SCYLLA_RATE_LIMIT_ERROR"))
        s->rate_limit_code = error_code_in(value);
}

static void see_sharding(void *ctx, struct stn_text key, struct stn_text value) {
    int *unknown = ctx;
    if (stn_text_equals(key, "SCYLLA_SHARDING_ALGORITHM") && !stn_text_equals(value, SHARDING))
        *unknown = 1;
}

/* ---- what an answer leads to ---- */

static int broken(struct stn_conn *conn, const char *what) {
    return stn_conn_end(conn, STERNA_EPROTO, "%s that CQL 4 does not allow", what);
}

static int be_ready(struct stn_conn *conn, struct stn_cursor body) {
    (void)body;
    if (conn->supported_due) {
        conn->ready_early = 1;
        return STERNA_OK;
    }
    conn->state = STN_CONN_READY;
    conn->ops->ready(conn->ctx, conn);
    return STERNA_OK;
}

static int supported(struct stn_conn *conn, struct stn_cursor body) {
    struct stn_cursor again = body;
    int unknown = 0;
    if (stn_cql_supported_parse(&body, see_supported, &conn->supported) < 0 ||
        stn_cql_supported_parse(&again, see_sharding, &unknown) < 0)
        return broken(conn, "an answer to OPTIONS");
    if (unknown || conn->supported.shard >= conn->supported.n_shards)
        conn->supported.n_shards = conn->supported.shard = 0;
    conn->supported_due = 0;
    if (conn->state == STN_CONN_OPTIONS) conn->state = STN_CONN_STARTUP;
    return conn->ready_early ? be_ready(conn, body) : STERNA_OK;
}

static int authenticate(struct stn_conn *conn, struct stn_cursor body) {
    struct stn_text class = stn_get_string(&body);
    if (body.overrun) return broken(conn, "an AUTHENTICATE");
    stn_conn_text(class, conn->authenticator, sizeof conn->authenticator);
    if (!conn->config->user)
        return stn_conn_end(conn, STERNA_EREFUSED,
                            "the server requires authentication (%s), and no user is given: name "
                            "one (user@ before the host) and set STERNA_PASSWORD",
                            conn->authenticator);
    conn->state = STN_CONN_AUTH;
    conn->login_waits = 1;
    stn_conn_log_in(conn);
    return STERNA_OK;
}

void stn_conn_log_in(struct stn_conn *conn) {
    if (conn->ops->may_log_in && !conn->ops->may_log_in(conn->ctx, conn)) return;
    conn->login_waits = 0;
    send_password(conn);
}

/* Some servers ask for the first token only now. Another mechanism than PLAIN goes on asking. */
static int challenge(struct stn_conn *conn, struct stn_cursor body) {
    (void)body;
    if (conn->n_challenges++)
        return stn_conn_end(conn, STERNA_EREFUSED,
                            "authentication by %s is not supported: it is not satisfied with user "
                            "and password (SASL PLAIN)",
                            conn->authenticator);
    send_password(conn);
    return STERNA_OK;
}

/* Whether it is of use to come again soon. */
static int code_of(uint32_t cql_code) {
    switch (cql_code) {
    case STN_CQL_E_PROTOCOL:
        return STERNA_EPROTO;
    case STN_CQL_E_CREDENTIALS:
    case STN_CQL_E_UNAUTHORIZED:
        return STERNA_EREFUSED;
    default:
        return STERNA_EUNREACHABLE;
    }
}

static int refused(struct stn_conn *conn, struct stn_cursor body) {
    struct stn_cql_failure f;
    char text[256], name[32];
    if (stn_cql_failure_parse(&body, &f) < 0) return broken(conn, "an ERROR");
    stn_conn_text(f.message, text, sizeof text);
    if (f.code == STN_CQL_E_PROTOCOL && conn->state != STN_CONN_AUTH)
        return stn_conn_end(conn, STERNA_EPROTO,
                            "sterna needs protocol v4, which this server refuses: %s", text);
    return stn_conn_end(conn, code_of(f.code), "the server refuses the connection (%s): %s",
                        stn_cql_failure_name(f.code, name, sizeof name), text);
}

static int login_refused(struct stn_conn *conn, struct stn_cursor body) {
    struct stn_cql_failure f;
    char text[256];
    if (stn_cql_failure_parse(&body, &f) < 0) return broken(conn, "an ERROR");
    stn_conn_text(f.message, text, sizeof text);
    int plain = strstr(conn->authenticator, "PasswordAuthenticator") != NULL;
    stn_error_clear(&conn->end);
    return stn_conn_end(conn, code_of(f.code), "authentication failed for user '%s'%s%s%s: %s",
                        conn->config->user, plain ? "" : " (", plain ? "" : conn->authenticator,
                        plain ? "" : ")", text);
}

/* All that is accepted, and what it leads to; anything else is EPROTO. */
static const struct {
    enum stn_conn_state in;
    uint8_t opcode;
    int (*then)(struct stn_conn *conn, struct stn_cursor body);
} accepts[] = {
    {STN_CONN_OPTIONS, STN_CQL_SUPPORTED, supported},
    {STN_CONN_OPTIONS, STN_CQL_ERROR, refused},
    {STN_CONN_OPTIONS, STN_CQL_READY, be_ready}, /* a server need not answer in order */
    {STN_CONN_OPTIONS, STN_CQL_AUTHENTICATE, authenticate},
    {STN_CONN_STARTUP, STN_CQL_READY, be_ready},
    {STN_CONN_STARTUP, STN_CQL_AUTHENTICATE, authenticate},
    {STN_CONN_STARTUP, STN_CQL_ERROR, refused}, /* no common version, or not now */
    {STN_CONN_AUTH, STN_CQL_SUPPORTED, supported},
    {STN_CONN_AUTH, STN_CQL_AUTH_CHALLENGE, challenge},
    {STN_CONN_AUTH, STN_CQL_AUTH_SUCCESS, be_ready},
    {STN_CONN_AUTH, STN_CQL_ERROR, login_refused},
};

const char *stn_conn_waits_for(const struct stn_conn *conn) {
    static const char *const names[] = {[STN_CONN_CONNECT] = "connect",
                                        [STN_CONN_TLS] = "the TLS handshake (does this port speak "
                                                         "TLS?)",
                                        [STN_CONN_OPTIONS] = "OPTIONS (does this port want TLS?)",
                                        [STN_CONN_STARTUP] = "STARTUP (does this port want TLS?)",
                                        [STN_CONN_AUTH] = "AUTH_RESPONSE",
                                        [STN_CONN_READY] = "requests",
                                        [STN_CONN_OVER] = "nothing"};
    /* What was asked first is what is missed. */
    enum stn_conn_state state = conn->supported_due ? STN_CONN_OPTIONS : conn->state;
    if (conn->tls && state == STN_CONN_OPTIONS) return "OPTIONS";
    if (conn->tls && state == STN_CONN_STARTUP) return "STARTUP";
    return names[state];
}

int stn_conn_handshake(struct stn_conn *conn, const struct stn_cql_header *h,
                       struct stn_cursor body) {
    for (size_t i = 0; i < STN_COUNT(accepts); i++)
        if (accepts[i].in == conn->state && accepts[i].opcode == h->opcode)
            return accepts[i].then(conn, body);
    return stn_conn_end(conn, STERNA_EPROTO, "opcode 0x%02x is no answer to %s", h->opcode,
                        stn_conn_waits_for(conn));
}

/* ---- its begin ---- */

/* "ip:port" or "[ip]:port" without the port. */
static void ip_of(const struct stn_conn *conn, char *to, size_t bytes) {
    snprintf(to, bytes, "%.*s", (int)(strrchr(conn->name, ':') - conn->name), conn->name);
}

void stn_conn_begin_handshake(struct stn_conn *conn) {
    struct sterna_error err = {0};
    char ip[STN_ADDRESS_TEXT_BYTES];
    if (!conn->config->tls) {
        send_startup(conn);
        return;
    }
    ip_of(conn, ip, sizeof ip);
    const char *name = conn->config->host ? conn->config->host : ip;
    int rc = stn_tls_session_open(&conn->tls, conn->config->tls, conn->fd.fd, name, &err);
    conn->state = STN_CONN_TLS;
    if (rc < 0) stn_conn_end(conn, rc, "%s", err.message);
}

void stn_conn_shake_tls(struct stn_conn *conn) {
    struct sterna_error err = {0};
    int rc = stn_tls_handshake(conn->tls, &conn->tls_events, &err);
    if (rc == STERNA_AGAIN) return;
    if (rc < 0)
        stn_conn_end(conn, rc, "%s", err.message);
    else
        send_startup(conn);
}
