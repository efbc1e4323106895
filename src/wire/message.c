/* Owns the answers but for RESULT (result.c): header, prelude, ERROR, SUPPORTED, EVENT. */
#include "wire/message.h"

#include <stdio.h>
#include <string.h>

static int verdict(const struct stn_cursor *c) { return c->overrun ? STERNA_EPROTO : STERNA_OK; }

int stn_text_equals(struct stn_text t, const char *text) {
    size_t bytes = strlen(text);
    return t.bytes == bytes && (bytes == 0 || memcmp(t.data, text, bytes) == 0);
}

void stn_cql_header_parse(const uint8_t head[STN_CQL_HEADER_BYTES], struct stn_cql_header *h) {
    struct stn_cursor c = stn_cursor(head, STN_CQL_HEADER_BYTES);
    h->version = stn_get_u8(&c);
    h->flags = stn_get_u8(&c);
    h->stream = (int16_t)stn_get_be16(&c);
    h->opcode = stn_get_u8(&c);
    h->body_bytes = stn_get_be32(&c);
}

/* ---- prelude ---- */

static void get_warnings(struct stn_cursor *c, struct stn_cql_prelude *out) {
    out->n_warnings = stn_get_be16(c);
    for (unsigned i = 0; i < out->n_warnings && !c->overrun; i++) {
        struct stn_text warning = stn_get_string(c);
        if (i == 0) out->warning = warning;
    }
}

static void get_payload(struct stn_cursor *c, struct stn_cql_prelude *out) {
    unsigned n = stn_get_be16(c);
    for (unsigned i = 0; i < n && !c->overrun; i++) {
        struct stn_text key = stn_get_string(c);
        struct stn_cql_value value = stn_get_value(c);
        if (stn_text_equals(key, "tablets-routing-v1")) out->tablets = value;
    }
}

int stn_cql_prelude_parse(struct stn_cursor *c, uint8_t flags, struct stn_cql_prelude *out) {
    *out = (struct stn_cql_prelude){.tablets = stn_value_null()};
    if (flags & STN_CQL_TRACING) (void)stn_get_bytes(c, 16);
    if (flags & STN_CQL_WARNINGS) get_warnings(c, out);
    if (flags & STN_CQL_PAYLOAD) get_payload(c, out);
    if (c->overrun) *out = (struct stn_cql_prelude){.tablets = stn_value_null()};
    return verdict(c);
}

/* ---- ERROR ---- */

/* What stands behind the message of each code. */
static void get_details(struct stn_cursor *c, struct stn_cql_failure *out) {
    switch (out->code) {
    case STN_CQL_E_UNAVAILABLE:
        out->consistency = stn_get_be16(c);
        out->required = (int32_t)stn_get_be32(c);
        out->alive = (int32_t)stn_get_be32(c);
        break;
    case STN_CQL_E_WRITE_TIMEOUT:
    case STN_CQL_E_READ_TIMEOUT:
    case STN_CQL_E_READ_FAILURE:
    case STN_CQL_E_WRITE_FAILURE:
    case STN_CQL_E_CAS_WRITE_UNKNOWN:
        out->consistency = stn_get_be16(c);
        out->received = (int32_t)stn_get_be32(c);
        out->required = (int32_t)stn_get_be32(c);
        if (out->code == STN_CQL_E_READ_FAILURE || out->code == STN_CQL_E_WRITE_FAILURE)
            (void)stn_get_be32(c); /* how many replicas failed */
        if (out->code == STN_CQL_E_READ_TIMEOUT || out->code == STN_CQL_E_READ_FAILURE)
            out->data_present = stn_get_u8(c);
        if (out->code == STN_CQL_E_WRITE_TIMEOUT || out->code == STN_CQL_E_WRITE_FAILURE)
            out->write_type = stn_get_string(c);
        break;
    case STN_CQL_E_ALREADY_EXISTS:
        out->keyspace = stn_get_string(c);
        out->table = stn_get_string(c);
        break;
    case STN_CQL_E_UNPREPARED:
        out->statement_id = stn_get_short_bytes(c);
        break;
    default:
        break;
    }
}

int stn_cql_failure_parse(struct stn_cursor *c, struct stn_cql_failure *out) {
    *out = (struct stn_cql_failure){.code = stn_get_be32(c)};
    out->message = stn_get_string(c);
    if (c->overrun) {
        *out = (struct stn_cql_failure){0};
        return STERNA_EPROTO;
    }
    struct stn_cursor details = *c;
    struct stn_cql_failure full = *out;
    get_details(&details, &full);
    if (!details.overrun) { /* else the server's words have to do */
        *out = full;
        *c = details;
    }
    return STERNA_OK;
}

const char *stn_cql_failure_name(uint32_t code, char *buf, size_t buf_bytes) {
    static const struct {
        uint32_t code;
        const char *name;
    } names[] = {
        {STN_CQL_E_SERVER, "server error"},
        {STN_CQL_E_PROTOCOL, "protocol error"},
        {STN_CQL_E_CREDENTIALS, "bad credentials"},
        {STN_CQL_E_UNAVAILABLE, "unavailable"},
        {STN_CQL_E_OVERLOADED, "overloaded"},
        {STN_CQL_E_BOOTSTRAPPING, "bootstrapping"},
        {STN_CQL_E_TRUNCATE, "truncate error"},
        {STN_CQL_E_WRITE_TIMEOUT, "write timeout"},
        {STN_CQL_E_READ_TIMEOUT, "read timeout"},
        {STN_CQL_E_READ_FAILURE, "read failure"},
        {STN_CQL_E_FUNCTION_FAILURE, "function failure"},
        {STN_CQL_E_WRITE_FAILURE, "write failure"},
        {STN_CQL_E_CDC_WRITE_FAILURE, "change log write failure"},
        {STN_CQL_E_CAS_WRITE_UNKNOWN, "conditional write with unknown outcome"},
        {STN_CQL_E_SYNTAX, "syntax error"},
        {STN_CQL_E_UNAUTHORIZED, "unauthorized"},
        {STN_CQL_E_INVALID, "invalid query"},
        {STN_CQL_E_CONFIG, "configuration error"},
        {STN_CQL_E_ALREADY_EXISTS, "already exists"},
        {STN_CQL_E_UNPREPARED, "unprepared"},
    };
    for (size_t i = 0; i < STN_COUNT(names); i++)
        if (names[i].code == code) return names[i].name;
    snprintf(buf, buf_bytes, "error 0x%04x", (unsigned)code);
    return buf;
}

/* ---- SUPPORTED, EVENT ---- */

int stn_cql_supported_parse(struct stn_cursor *c,
                            void (*each)(void *ctx, struct stn_text key, struct stn_text value),
                            void *ctx) {
    unsigned n_keys = stn_get_be16(c);
    for (unsigned i = 0; i < n_keys && !c->overrun; i++) {
        struct stn_text key = stn_get_string(c);
        unsigned n_values = stn_get_be16(c);
        for (unsigned k = 0; k < n_values && !c->overrun; k++) {
            struct stn_text value = stn_get_string(c);
            if (!c->overrun) each(ctx, key, value);
        }
    }
    return verdict(c);
}

static int get_inet(struct stn_cursor *c, struct stn_cql_event *out) {
    uint8_t bytes = stn_get_u8(c);
    if (bytes != 4 && bytes != 16) return STERNA_EPROTO;
    const uint8_t *address = stn_get_bytes(c, bytes);
    out->port = (int32_t)stn_get_be32(c);
    if (!address || c->overrun) return STERNA_EPROTO;
    memcpy(out->address, address, bytes);
    out->address_bytes = bytes;
    return STERNA_OK;
}

int stn_cql_event_parse(struct stn_cursor *c, struct stn_cql_event *out) {
    *out = (struct stn_cql_event){.type = stn_get_string(c)};
    int rc = verdict(c);
    int of_node = stn_text_equals(out->type, "TOPOLOGY_CHANGE") ||
                  stn_text_equals(out->type, "STATUS_CHANGE");
    if (of_node || stn_text_equals(out->type, "SCHEMA_CHANGE")) {
        out->change = stn_get_string(c);
        rc = verdict(c);
    } /* what a type that we do not know holds is its own business */
    if (rc == STERNA_OK && of_node) rc = get_inet(c, out);
    if (rc < 0) *out = (struct stn_cql_event){0};
    return rc;
}
