/* The protocol's requests, version 4, answered as Cassandra answers them. */
#include <inttypes.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "connection.h"
#include "prepare.h"

#define AUTHENTICATOR "org.apache.cassandra.auth.PasswordAuthenticator"

static int16_t stream_of(const uint8_t *head) { return (int16_t)(head[2] << 8 | head[3]); }

/* ---- short answers ---- */

static void answer_failure(struct connection *c, int16_t stream, const struct failure *f) {
    struct output *o = &c->out;
    c->store->errors++;
    output_begin(o, stream, STN_CQL_ERROR);
    output_u32(o, f->code);
    output_string(o, f->message);
    if (f->code == STN_CQL_E_ALREADY_EXISTS) {
        output_string(o, f->keyspace);
        output_string(o, f->table);
    }
    output_end(o);
}

static void answer_error(struct connection *c, int16_t stream, uint32_t code, const char *message) {
    struct failure f = {.code = code};
    snprintf(f.message, sizeof f.message, "%s", message);
    answer_failure(c, stream, &f);
}

static void answer_unprepared(struct connection *c, int16_t stream, struct stn_text id) {
    char hex[33] = "";
    for (size_t i = 0; i < id.bytes && i < 16; i++)
        snprintf(hex + 2 * i, 3, "%02x", (unsigned)(uint8_t)id.data[i]);
    struct output *o = &c->out;
    struct failure f;
    refuse(&f, STN_CQL_E_UNPREPARED,
           "Prepared query with ID %s not found (either the query was not prepared on this host "
           "(maybe the host has been restarted?) or you have prepared too many queries and it has "
           "been evicted from the internal cache)",
           hex);
    c->store->errors++;
    output_begin(o, stream, STN_CQL_ERROR);
    output_u32(o, f.code);
    output_string(o, f.message);
    output_u16(o, (uint16_t)id.bytes);
    output_bytes(o, id.data, id.bytes);
    output_end(o);
}

static void answer_empty(struct connection *c, int16_t stream, uint8_t opcode) {
    output_begin(&c->out, stream, opcode);
    output_end(&c->out);
}

void frame_too_long(struct connection *c, const uint8_t head[STN_CQL_HEADER_BYTES],
                    uint32_t body_bytes) {
    struct failure f;
    refuse(&f, STN_CQL_E_INVALID,
           "Request is too big: length %" PRIu32 " exceeds maximum allowed length 16777216.",
           body_bytes);
    answer_failure(c, stream_of(head), &f);
}

void frame_status(struct connection *c, const struct node *node, int is_up) {
    const struct sockaddr_in *v4 = (const struct sockaddr_in *)&node->address;
    const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)&node->address;
    int is_v6 = node->address.ss_family == AF_INET6;
    uint8_t bytes = is_v6 ? 16 : 4;
    struct output *o = &c->out;
    output_begin(o, STN_CQL_STREAM_EVENT, STN_CQL_EVENT);
    output_string(o, "STATUS_CHANGE");
    output_string(o, is_up ? "UP" : "DOWN");
    output_u8(o, bytes);
    output_bytes(o, is_v6 ? (const void *)&v6->sin6_addr : (const void *)&v4->sin_addr, bytes);
    output_u32(o, node->port);
    output_end(o);
}

static void take_events(struct connection *c, struct stn_cursor *body) {
    uint16_t n = stn_get_be16(body);
    for (uint16_t i = 0; i < n && !body->overrun; i++) {
        struct stn_text type = stn_get_string(body);
        c->wants_status |= type.bytes == 13 && memcmp(type.data, "STATUS_CHANGE", 13) == 0;
    }
}

/* ---- the handshake ---- */

static int supported(struct connection *c, int16_t stream) {
    static const struct {
        const char *key, *value;
    } pairs[] = {{"CQL_VERSION", "3.4.7"}, {"PROTOCOL_VERSIONS", "4/v4"}, {"COMPRESSION", NULL}};
    struct output *o = &c->out;
    output_begin(o, stream, STN_CQL_SUPPORTED);
    output_u16(o, STN_COUNT(pairs));
    for (size_t i = 0; i < STN_COUNT(pairs); i++) {
        output_string(o, pairs[i].key);
        output_u16(o, pairs[i].value ? 1 : 0);
        if (pairs[i].value) output_string(o, pairs[i].value);
    }
    output_end(o);
    return 0;
}

static int startup(struct connection *c, int16_t stream, struct stn_cursor *body) {
    uint16_t n = stn_get_be16(body);
    int has_version = 0;
    for (uint16_t i = 0; i < n && !body->overrun; i++) {
        struct stn_text key = stn_get_string(body);
        stn_get_string(body);
        has_version |= key.bytes == 11 && memcmp(key.data, "CQL_VERSION", 11) == 0;
        if (key.bytes == 11 && memcmp(key.data, "COMPRESSION", 11) == 0) {
            answer_error(c, stream, STN_CQL_E_PROTOCOL, "Unknown compression algorithm");
            return -1;
        }
    }
    if (!has_version) {
        answer_error(c, stream, STN_CQL_E_PROTOCOL, "Missing value CQL_VERSION in STARTUP message");
        return -1;
    }
    if (!c->store->user) {
        c->stage = STAGE_READY;
        answer_empty(c, stream, STN_CQL_READY);
        return 0;
    }
    c->stage = STAGE_AUTHENTICATE;
    output_begin(&c->out, stream, STN_CQL_AUTHENTICATE);
    output_string(&c->out, AUTHENTICATOR);
    output_end(&c->out);
    return 0;
}

/* [bytes] of SASL PLAIN: 0 user 0 password */
static int authenticate(struct connection *c, int16_t stream, struct stn_cursor *body) {
    struct stn_cql_value token = stn_get_value(body);
    const char *user = c->store->user, *password = c->store->password;
    size_t n = strlen(user), m = strlen(password);
    const uint8_t *at = token.data;
    if ((size_t)STN_MAX(token.bytes, 0) == n + m + 2 && !at[0] && !at[n + 1] &&
        memcmp(at + 1, user, n) == 0 && memcmp(at + n + 2, password, m) == 0) {
        c->stage = STAGE_READY;
        output_begin(&c->out, stream, STN_CQL_AUTH_SUCCESS);
        output_view(&c->out, stn_value_null());
        output_end(&c->out);
        return 0;
    }
    struct failure f;
    int shown = token.bytes > 1 ? (int)strnlen((const char *)at + 1, (size_t)token.bytes - 1) : 0;
    refuse(&f, STN_CQL_E_CREDENTIALS, "Provided username %.*s and/or password are incorrect", shown,
           shown ? (const char *)at + 1 : "");
    answer_failure(c, stream, &f);
    return 0;
}

/* ---- statements ---- */

/* What QUERY and EXECUTE share. */
static int take_options(struct connection *c, struct request *r, struct stn_cursor *body,
                        struct failure *f) {
    enum { VALUES = 1, SKIP = 2, PAGE = 4, STATE = 8, SERIAL = 16, TIMESTAMP = 32, NAMES = 64 };
    stn_get_be16(body); /* consistency: all the same to us */
    uint8_t flags = stn_get_u8(body);
    if (flags & NAMES) return refuse(f, STN_CQL_E_PROTOCOL, "named values are not served here");
    if (flags & VALUES) {
        uint16_t n = stn_get_be16(body);
        grow(&c->values, &c->values_cap, n, sizeof *c->values);
        for (uint16_t i = 0; i < n; i++) c->values[i] = stn_get_value(body);
        r->bound = (struct bound){c->values, n};
    }
    r->skip_metadata = (flags & SKIP) != 0;
    if (flags & PAGE) r->page_size = (int32_t)stn_get_be32(body);
    if (flags & STATE) r->paging_state = stn_get_value(body);
    if (flags & SERIAL) stn_get_be16(body);
    if (flags & TIMESTAMP) r->now_us = (int64_t)stn_get_be64(body);
    return body->overrun ? refuse(f, STN_CQL_E_PROTOCOL, "the message is cut short") : 0;
}

static void use_keyspace(struct connection *c, const struct statement *s) {
    if (s->kind != STATEMENT_USE) return;
    free(c->keyspace);
    c->keyspace = must(strdup(s->keyspace));
}

static void end_request(struct connection *c, struct request *r, int16_t stream, int rc,
                        const struct failure *f) {
    if (rc == 0) {
        if (r->statement) use_keyspace(c, r->statement);
        output_end(&c->out);
    } else {
        output_cancel(&c->out);
        answer_failure(c, stream, f);
    }
    scratch_free(r->scratch);
}

static void query(struct connection *c, struct request *r, int16_t stream,
                  struct stn_cursor *body) {
    struct stn_text text = stn_get_long_string(body);
    struct statement s = {0};
    struct failure f = {0};
    output_begin(&c->out, stream, STN_CQL_RESULT);
    r->statement = &s;
    int rc = take_options(c, r, body, &f);
    if (rc == 0) rc = statement_parse(&s, text.data, text.bytes, &f);
    if (rc == 0) rc = request_run(r, &f);
    end_request(c, r, stream, rc, &f);
    statement_free(&s);
}

static void prepare(struct connection *c, struct request *r, int16_t stream,
                    struct stn_cursor *body) {
    struct stn_text text = stn_get_long_string(body);
    struct failure f = {0};
    output_begin(&c->out, stream, STN_CQL_RESULT);
    int rc = prepare_run(r, text.data, text.bytes, &f);
    r->statement = NULL;
    end_request(c, r, stream, rc, &f);
}

/* Faults of an answer that is ready. -1: the connection is reset behind what is queued. */
static int spoil(struct connection *c) {
    if (!c->out.is_sample) return 0;
    if (store_fault(c->store, FAULT_CORRUPT)) output_corrupt(&c->out);
    if (store_fault(c->store, FAULT_WRONG_KEY)) output_wrong_key(&c->out);
    if (!store_fault(c->store, FAULT_RST)) return 0;
    output_cut(&c->out);
    c->resets = 1;
    return -1;
}

static int execute(struct connection *c, struct request *r, int16_t stream,
                   struct stn_cursor *body) {
    struct stn_text id = stn_get_short_bytes(body);
    struct failure f = {0};
    if (store_fault(c->store, FAULT_DROP)) return 0;
    if (store_fault(c->store, FAULT_OVERLOAD)) {
        answer_error(c, stream, STN_CQL_E_OVERLOADED, "Too many requests are queued");
        return 0;
    }
    const struct prepared *p = prepare_find(c->node, id.data, id.bytes);
    if (!p || store_fault(c->store, FAULT_UNPREPARED)) {
        answer_unprepared(c, stream, id);
        return 0;
    }
    output_begin(&c->out, stream, STN_CQL_RESULT);
    r->statement = &p->statement;
    int rc = take_options(c, r, body, &f);
    if (rc == 0) rc = request_run(r, &f);
    end_request(c, r, stream, rc, &f);
    return rc == 0 ? spoil(c) : 0;
}

static int64_t clock_us(void) {
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static int statement_frame(struct connection *c, int16_t stream, uint8_t opcode,
                           struct stn_cursor *body) {
    struct scratch scratch = {NULL};
    struct request r = {.store = c->store,
                        .node = c->node,
                        .keyspace = c->keyspace,
                        .now_us = clock_us(),
                        .scratch = &scratch,
                        .out = &c->out};
    c->store->requests++;
    switch (opcode) {
    case STN_CQL_QUERY:
        query(c, &r, stream, body);
        return 0;
    case STN_CQL_PREPARE:
        prepare(c, &r, stream, body);
        return 0;
    case STN_CQL_EXECUTE:
        return execute(c, &r, stream, body);
    default:
        answer_error(c, stream, STN_CQL_E_INVALID, "BATCH is not served here");
        return 0;
    }
}

/* ---- any frame ---- */

static int wrong_version(struct connection *c, const uint8_t *head) {
    struct failure f;
    refuse(&f, STN_CQL_E_PROTOCOL,
           "Invalid or unsupported protocol version (%u); supported versions are (4/v4)",
           head[0] & 0x7Fu);
    answer_failure(c, stream_of(head), &f);
    return -1;
}

static int unexpected(struct connection *c, int16_t stream, uint8_t opcode) {
    struct failure f;
    refuse(&f, STN_CQL_E_PROTOCOL, "Unexpected message of opcode 0x%02X, expecting %s", opcode,
           c->stage == STAGE_NEW ? "STARTUP or OPTIONS" : "SASL_RESPONSE");
    answer_failure(c, stream, &f);
    return -1;
}

static void skip_payload(struct stn_cursor *body) {
    uint16_t n = stn_get_be16(body);
    for (uint16_t i = 0; i < n && !body->overrun; i++) {
        stn_get_string(body);
        stn_get_value(body);
    }
}

int frame_answer(struct connection *c, const uint8_t head[STN_CQL_HEADER_BYTES],
                 struct stn_cursor body) {
    int16_t stream = stream_of(head);
    uint8_t opcode = head[4];
    if (head[0] != STN_CQL_VERSION) return wrong_version(c, head);
    if (head[1] & STN_CQL_PAYLOAD) skip_payload(&body);
    if (opcode == STN_CQL_OPTIONS) return supported(c, stream);
    if (c->stage == STAGE_NEW)
        return opcode == STN_CQL_STARTUP ? startup(c, stream, &body)
                                         : unexpected(c, stream, opcode);
    if (c->stage == STAGE_AUTHENTICATE)
        return opcode == STN_CQL_AUTH_RESPONSE ? authenticate(c, stream, &body)
                                               : unexpected(c, stream, opcode);
    switch (opcode) {
    case STN_CQL_REGISTER:
        take_events(c, &body);
        answer_empty(c, stream, STN_CQL_READY);
        return 0;
    case STN_CQL_QUERY:
    case STN_CQL_PREPARE:
    case STN_CQL_EXECUTE:
    case STN_CQL_BATCH:
        return statement_frame(c, stream, opcode, &body);
    default:
        return unexpected(c, stream, opcode);
    }
}
