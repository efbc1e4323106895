#include "support/client.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

static uint64_t client_now(struct stn_clock *clock) {
    return STN_OUTER(clock, struct client, clock)->now_ns;
}

static int give_password(void *ctx, char *buf, size_t cap, struct sterna_error *err) {
    struct client *c = ctx;
    c->n_passwords++;
    if (!c->password) return stn_fail(err, STERNA_EINVAL, "STERNA_PASSWORD is not set");
    snprintf(buf, cap, "%s", c->password);
    return STERNA_OK;
}

void client_init(struct client *c, const char *ip, uint16_t port) {
    uint8_t raw[16];
    *c = (struct client){.clock = {client_now}, .now_ns = 1000 * STN_NS_PER_S};
    int six = inet_pton(AF_INET6, ip, raw) == 1;
    if (!six && inet_pton(AF_INET, ip, raw) != 1) abort();
    if (stn_address_from_ip(&c->to, raw, six ? 16 : 4, port) < 0) abort();
    c->config = (struct stn_conn_config){.password = give_password,
                                         .password_ctx = c,
                                         .connect_timeout_ns = 10 * STN_NS_PER_S,
                                         .idle_ns = 5 * STN_NS_PER_S,
                                         .progress_floor_ns = 5 * STN_NS_PER_S,
                                         .orphans_max = 64};
}

void client_fini(struct client *c) {
    stn_conn_close(&c->conn);
    stn_poll_close(&c->poll);
}

/* ---- what the connection tells ---- */

static void ready(void *ctx, struct stn_conn *conn) {
    struct client *c = ctx;
    (void)conn;
    c->n_ready++;
    if (c->on_ready) c->on_ready(c);
}

static void closed(void *ctx, struct stn_conn *conn, const struct sterna_error *err) {
    struct client *c = ctx;
    (void)conn;
    c->n_closed++;
    c->end = *err;
    stn_conn_close(&c->conn);
}

static void event(void *ctx, const struct stn_cql_event *e) {
    struct client *c = ctx;
    c->n_events++;
    c->event = *e;
}

static void tablets(void *ctx, struct stn_call *call, struct stn_cql_value payload) {
    struct client *c = ctx;
    (void)call;
    c->n_tablets += payload.bytes > 0;
}

static void stray(void *ctx, struct stn_conn *conn, int16_t stream, uint8_t opcode) {
    struct client *c = ctx;
    (void)conn;
    c->n_strays++;
    c->stray_stream = stream;
    c->stray_opcode = opcode;
}

static const struct stn_conn_ops ops = {
    .ready = ready, .closed = closed, .event = event, .tablets = tablets, .stray = stray};

int client_open(struct client *c, struct sterna_error *err) {
    int rc = c->poll ? STERNA_OK : stn_poll_open(&c->poll, &c->clock, err);
    if (rc < 0) return rc;
    return stn_conn_open(&c->conn, c->poll, &c->to, 0, &c->config, &ops, c, c->now_ns, err);
}

void client_run(struct client *c) { stn_poll_wait(c->poll, UINT64_MAX); }

void client_until_ready(struct client *c) {
    while (c->conn && !stn_conn_is_ready(c->conn)) client_run(c);
}

void client_until_closed(struct client *c) {
    while (c->conn) client_run(c);
}

void client_later(struct client *c, uint64_t ns) {
    c->now_ns += ns;
    if (c->conn) stn_conn_tick(c->conn, c->now_ns);
}

/* ---- calls ---- */

static int row(struct stn_call *call, const struct stn_cql_value *small) {
    struct asked *a = STN_OUTER(call, struct asked, call);
    a->n_rows++;
    if (small[0].bytes == 16) memcpy(a->id, small[0].data, 16);
    a->crc = (uint32_t)stn_value_int(small[1]);
    if (a->on_row) a->on_row(a);
    return a->row_says;
}

static int blob(struct stn_call *call, uint32_t i, uint32_t bytes, uint8_t **to) {
    struct asked *a = STN_OUTER(call, struct asked, call);
    (void)i;
    a->n_blobs++;
    a->blob_bytes = bytes;
    *to = bytes <= a->memory_bytes ? a->memory : NULL;
    if (a->on_blob) a->on_blob(a);
    return a->blob_says;
}

static void done(struct stn_call *call, int code, const struct stn_cql_result_head *head,
                 struct stn_cursor *body, const struct stn_cql_failure *failure, const char *why) {
    struct asked *a = STN_OUTER(call, struct asked, call);
    a->n_done++;
    a->code = code;
    a->has_head = head != NULL;
    a->has_body = body != NULL;
    if (head) a->kind = head->kind;
    if (head && head->kind == STN_CQL_ROWS) a->result_rows = head->n_rows;
    a->failure_code = failure ? failure->code : 0;
    snprintf(a->why, sizeof a->why, "%s", why ? why : "");
    if (a->on_done) a->on_done(a);
}

static const struct stn_call_ops blob_ops = {row, blob, done};
static const struct stn_call_ops message_ops = {NULL, NULL, done};

void asked_blob(struct asked *a, struct client *c, void *memory, size_t bytes) {
    *a = (struct asked){
        .call = {.ops = &blob_ops, .shape = {.n_small = 2, .n_blobs = 1}, .answer_bytes = bytes},
        .client = c,
        .memory = memory,
        .memory_bytes = bytes};
}

void asked_message(struct asked *a, struct client *c) {
    *a = (struct asked){.call = {.ops = &message_ops}, .client = c};
}

static int send_frame(struct client *c, struct asked *a, const uint8_t *frame, size_t bytes) {
    int rc = c->conn ? stn_conn_send(c->conn, &a->call, frame, bytes, c->now_ns) : STERNA_AGAIN;
    if (rc == STERNA_OK) stn_conn_flush(c->conn, c->now_ns);
    return rc;
}

int client_execute(struct client *c, struct asked *a, uint8_t n) {
    uint8_t frame[128], key[16];
    struct stn_writer w = {.to = frame, .cap = sizeof frame};
    memset(key, n, sizeof key);
    struct stn_cql_value value = stn_value_of(key, sizeof key);
    const struct stn_cql_query q = {
        .consistency = STN_CQL_LOCAL_ONE, .skip_metadata = 1, .values = &value, .n_values = 1};
    stn_cql_put_execute(&w, 7, "0123456789abcdef", 16, &q);
    return send_frame(c, a, frame, w.used);
}

int client_query(struct client *c, struct asked *a, const char *text) {
    const struct stn_cql_query q = {.consistency = STN_CQL_LOCAL_ONE};
    struct stn_writer w = {0};
    stn_cql_put_query(&w, 7, text, &q);
    uint8_t *frame = malloc(w.used);
    if (!frame) return STERNA_ENOMEM;
    w = (struct stn_writer){.to = frame, .cap = w.used};
    stn_cql_put_query(&w, 7, text, &q);
    int rc = send_frame(c, a, frame, w.used);
    free(frame);
    return rc;
}

void client_until_done(struct client *c, const struct asked *a) {
    while (!a->n_done && c->conn) client_run(c);
}
