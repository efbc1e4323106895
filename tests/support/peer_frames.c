/* The peer's bytes: requests taken apart, answers put together. */
#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "support/peer_inside.h"

/* ---- requests ---- */

static char *copy_text(struct stn_text t) {
    char *text = calloc(1, t.bytes + 1);
    if (!text) peer_die("calloc");
    if (t.bytes) memcpy(text, t.data, t.bytes);
    return text;
}

static void parse_query(struct stn_cursor *c, struct peer_frame *f) {
    enum { VALUES = 1, SKIP = 2, PAGE_SIZE = 4, PAGING = 8, SERIAL = 0x10, TIMESTAMP = 0x20 };
    f->consistency = stn_get_be16(c);
    unsigned flags = stn_get_u8(c);
    f->skip_metadata = (flags & SKIP) != 0;
    if (flags & VALUES) {
        f->n_values = stn_get_be16(c);
        if (f->n_values > STN_COUNT(f->values)) c->overrun = 1;
        for (size_t i = 0; i < f->n_values && !c->overrun; i++) f->values[i] = stn_get_value(c);
    }
    if (flags & PAGE_SIZE) f->page_size = (int32_t)stn_get_be32(c);
    if (flags & PAGING) f->paging_state = stn_get_value(c);
    if (flags & SERIAL) (void)stn_get_be16(c);
    if (flags & TIMESTAMP) f->timestamp_us = (int64_t)stn_get_be64(c);
}

int peer_parse(const uint8_t *frame, size_t bytes, struct peer_frame *f) {
    struct stn_cql_header h;
    stn_cql_header_parse(frame, &h);
    struct stn_cursor c = stn_cursor(frame + STN_CQL_HEADER_BYTES, bytes - STN_CQL_HEADER_BYTES);
    *f = (struct peer_frame){
        .opcode = h.opcode, .stream = h.stream, .body = c.at, .body_bytes = c.left};
    if (h.opcode == STN_CQL_QUERY || h.opcode == STN_CQL_PREPARE)
        f->text = copy_text(stn_get_long_string(&c));
    else
        f->text = copy_text((struct stn_text){0});
    if (h.opcode == STN_CQL_EXECUTE) f->id = stn_get_short_bytes(&c);
    if (h.opcode == STN_CQL_QUERY || h.opcode == STN_CQL_EXECUTE) parse_query(&c, f);
    return !c.overrun && h.stream >= 0;
}

/* ---- answers ---- */

void peer_send_frame(struct peer_conn *c, uint8_t flags, int16_t stream, uint8_t opcode,
                     const void *body, size_t bytes) {
    uint8_t head[STN_CQL_HEADER_BYTES];
    struct stn_writer w = {.to = head, .cap = sizeof head};
    stn_put_u8(&w, 0x80 | STN_CQL_VERSION);
    stn_put_u8(&w, c->payload_bytes ? flags | STN_CQL_PAYLOAD : flags);
    stn_put_be16(&w, (uint16_t)stream);
    stn_put_u8(&w, opcode);
    stn_put_be32(&w, (uint32_t)(c->payload_bytes + bytes));
    peer_send(c, head, sizeof head);
    peer_send(c, c->payload, c->payload_bytes);
    c->payload_bytes = 0;
    peer_send(c, body, bytes);
}

void peer_payload(struct peer_conn *c, const char *key, const void *data, size_t bytes) {
    struct stn_writer w = {.to = c->payload, .cap = sizeof c->payload};
    stn_put_be16(&w, 1);
    stn_put_string(&w, key);
    stn_put_value(&w, stn_value_of(data, bytes));
    if (w.used > w.cap) peer_die("too much payload");
    c->payload_bytes = w.used;
}

/* A body of unknown length: written twice, measured first. */
struct body {
    struct stn_writer w;
    uint8_t *memory;
};
#define BODY(b, put)                                                                               \
    do {                                                                                           \
        (b)->w = (struct stn_writer){0};                                                           \
        put;                                                                                       \
        (b)->memory = calloc(1, (b)->w.used + 1);                                                  \
        if (!(b)->memory) peer_die("calloc");                                                      \
        (b)->w = (struct stn_writer){.to = (b)->memory, .cap = (b)->w.used};                       \
        put;                                                                                       \
    } while (0)

static void send_body(struct peer_conn *c, int16_t stream, uint8_t opcode, struct body *b) {
    peer_send_frame(c, 0, stream, opcode, b->memory, b->w.used);
    free(b->memory);
}

void peer_send_ready(struct peer_conn *c, int16_t stream) {
    peer_send_frame(c, 0, stream, STN_CQL_READY, NULL, 0);
}

static void put_list(struct stn_writer *w, const char *key, const char *const *values, size_t n) {
    stn_put_string(w, key);
    stn_put_be16(w, (uint16_t)n);
    for (size_t i = 0; i < n; i++) stn_put_string(w, values[i]);
}

static void put_supported(struct stn_writer *w, const struct peer_pair *pairs, size_t n) {
    static const char *const versions[] = {"3/v3", "4/v4", "5/v5", "6/v6-beta"};
    static const char *const cql[] = {"3.4.6"}, *const compression[] = {"snappy", "lz4"};
    stn_put_be16(w, (uint16_t)(3 + n));
    put_list(w, "PROTOCOL_VERSIONS", versions, STN_COUNT(versions));
    put_list(w, "CQL_VERSION", cql, STN_COUNT(cql));
    put_list(w, "COMPRESSION", compression, STN_COUNT(compression));
    for (size_t i = 0; i < n; i++) put_list(w, pairs[i].key, &pairs[i].value, 1);
}

void peer_send_supported_as(struct peer_conn *c, int16_t stream, const struct peer_pair *pairs,
                            size_t n) {
    struct body b;
    BODY(&b, put_supported(&b.w, pairs, n));
    send_body(c, stream, STN_CQL_SUPPORTED, &b);
}

void peer_send_supported(struct peer_conn *c, int16_t stream) {
    const struct peer_options *o = peer_options_of(c->peer);
    peer_send_supported_as(c, stream, o->supported, o->n_supported);
}

void peer_send_authenticate(struct peer_conn *c, int16_t stream, const char *class) {
    struct body b;
    BODY(&b, stn_put_string(&b.w, class));
    send_body(c, stream, STN_CQL_AUTHENTICATE, &b);
}

void peer_send_challenge(struct peer_conn *c, int16_t stream, const char *token) {
    struct body b;
    BODY(&b, stn_put_value(&b.w, stn_value_of(token, strlen(token))));
    send_body(c, stream, STN_CQL_AUTH_CHALLENGE, &b);
}

void peer_send_auth_success(struct peer_conn *c, int16_t stream) {
    struct body b;
    BODY(&b, stn_put_value(&b.w, stn_value_null()));
    send_body(c, stream, STN_CQL_AUTH_SUCCESS, &b);
}

static void put_error(struct stn_writer *w, uint32_t code, const char *text) {
    stn_put_be32(w, code);
    stn_put_string(w, text);
    if (code != STN_CQL_E_UNAVAILABLE) return;
    stn_put_be16(w, STN_CQL_LOCAL_ONE);
    stn_put_be32(w, 1); /* replica wanted */
    stn_put_be32(w, 0); /* alive */
}

void peer_send_error(struct peer_conn *c, int16_t stream, uint32_t code, const char *text) {
    struct body b;
    BODY(&b, put_error(&b.w, code, text));
    send_body(c, stream, STN_CQL_ERROR, &b);
}

static void put_short_bytes(struct stn_writer *w, const void *data, size_t bytes) {
    stn_put_be16(w, (uint16_t)bytes);
    stn_put_bytes(w, data, bytes);
}

static void put_unprepared(struct stn_writer *w, struct stn_text id) {
    put_error(w, STN_CQL_E_UNPREPARED, "Prepared query not found");
    put_short_bytes(w, id.data, id.bytes);
}

void peer_send_unprepared(struct peer_conn *c, const struct peer_frame *f) {
    struct body b;
    BODY(&b, put_unprepared(&b.w, f->id));
    send_body(c, f->stream, STN_CQL_ERROR, &b);
}

void peer_send_void(struct peer_conn *c, int16_t stream) {
    static const uint8_t body[4] = {0, 0, 0, STN_CQL_VOID};
    peer_send_frame(c, 0, stream, STN_CQL_RESULT, body, sizeof body);
}

static void put_event(struct stn_writer *w, const char *change, const char *ip, uint16_t port) {
    int is_status = strcmp(change, "UP") == 0 || strcmp(change, "DOWN") == 0;
    uint8_t raw[4];
    if (inet_pton(AF_INET, ip, raw) != 1) peer_die(ip);
    stn_put_string(w, is_status ? "STATUS_CHANGE" : "TOPOLOGY_CHANGE");
    stn_put_string(w, change);
    stn_put_u8(w, sizeof raw);
    stn_put_bytes(w, raw, sizeof raw);
    stn_put_be32(w, port);
}

void peer_send_event(struct peer_conn *c, const char *change, size_t node) {
    struct body b;
    BODY(&b, put_event(&b.w, change, peer_node_at(c->peer, node)->told_ip, peer_port(c->peer)));
    send_body(c, STN_CQL_STREAM_EVENT, STN_CQL_EVENT, &b);
}

static void put_columns(struct stn_writer *w, const struct peer_column *columns, size_t n) {
    stn_put_string(w, "peer_keyspace");
    stn_put_string(w, "peer_table");
    for (size_t i = 0; i < n; i++) {
        uint16_t type = columns[i].type;
        stn_put_string(w, columns[i].name);
        stn_put_be16(w, type);
        if (type == STN_CQL_LIST || type == STN_CQL_SET || type == STN_CQL_MAP)
            stn_put_be16(w, columns[i].of[0]);
        if (type == STN_CQL_MAP) stn_put_be16(w, columns[i].of[1]);
    }
}

struct rows {
    const struct peer_frame *f;
    const struct peer_column *columns;
    size_t n_columns;
    const struct stn_cql_value *values;
    size_t n_rows;
    struct stn_cql_value paging_state;
};

static void put_rows(struct stn_writer *w, const struct rows *r) {
    uint32_t flags = (r->f->skip_metadata ? STN_CQL_NO_METADATA : STN_CQL_GLOBAL_SPEC) |
                     (r->paging_state.data ? STN_CQL_MORE_PAGES : 0u);
    stn_put_be32(w, STN_CQL_ROWS);
    stn_put_be32(w, flags);
    stn_put_be32(w, (uint32_t)r->n_columns);
    if (r->paging_state.data) stn_put_value(w, r->paging_state);
    if (!r->f->skip_metadata) put_columns(w, r->columns, r->n_columns);
    stn_put_be32(w, (uint32_t)r->n_rows);
    for (size_t i = 0; i < r->n_rows * r->n_columns; i++) stn_put_value(w, r->values[i]);
}

static void send_rows(struct peer_conn *c, const struct rows *r) {
    struct body b;
    BODY(&b, put_rows(&b.w, r));
    send_body(c, r->f->stream, STN_CQL_RESULT, &b);
}

void peer_send_rows(struct peer_conn *c, const struct peer_frame *f,
                    const struct peer_column *columns, size_t n_columns,
                    const struct stn_cql_value *values, size_t n_rows) {
    send_rows(c, &(struct rows){.f = f,
                                .columns = columns,
                                .n_columns = n_columns,
                                .values = values,
                                .n_rows = n_rows});
}

void peer_send_page(struct peer_conn *c, const struct peer_frame *f,
                    const struct peer_column *columns, size_t n_columns,
                    const struct stn_cql_value *values, size_t n_rows,
                    struct stn_cql_value paging_state) {
    send_rows(c, &(struct rows){f, columns, n_columns, values, n_rows, paging_state});
}

void peer_send_blob(struct peer_conn *c, const struct peer_frame *f, const uint8_t id[16],
                    uint32_t crc, const void *data, size_t bytes) {
    static const struct peer_column columns[] = {{.name = "id", .type = STN_CQL_UUID},
                                                 {.name = "crc", .type = STN_CQL_INT},
                                                 {.name = "data", .type = STN_CQL_BLOB}};
    uint8_t raw[4];
    const struct stn_cql_value values[] = {stn_value_of(id, 16),
                                           stn_value_from_int((int32_t)crc, raw),
                                           data ? stn_value_of(data, bytes) : stn_value_null()};
    peer_send_rows(c, f, columns, STN_COUNT(columns), values, id != NULL);
}

struct prepared {
    const char *id;
    const struct peer_column *params, *columns;
    size_t n_params, n_key, n_columns;
};

static void put_prepared(struct stn_writer *w, const struct prepared *p) {
    stn_put_be32(w, STN_CQL_PREPARED);
    put_short_bytes(w, p->id, 16);
    stn_put_be32(w, STN_CQL_GLOBAL_SPEC);
    stn_put_be32(w, (uint32_t)p->n_params);
    stn_put_be32(w, (uint32_t)p->n_key);
    for (size_t i = 0; i < p->n_key; i++) stn_put_be16(w, (uint16_t)i);
    put_columns(w, p->params, p->n_params);
    stn_put_be32(w, p->n_columns ? STN_CQL_GLOBAL_SPEC : STN_CQL_NO_METADATA);
    stn_put_be32(w, (uint32_t)p->n_columns);
    if (p->n_columns) put_columns(w, p->columns, p->n_columns);
}

void peer_send_prepared(struct peer_conn *c, int16_t stream, const char id[16],
                        const struct peer_column *params, size_t n_params, size_t n_key,
                        const struct peer_column *columns, size_t n_columns) {
    struct body b;
    const struct prepared p = {id, params, columns, n_params, n_key, n_columns};
    BODY(&b, put_prepared(&b.w, &p));
    send_body(c, stream, STN_CQL_RESULT, &b);
}
