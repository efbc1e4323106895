/* Owns the frames that we send: header, body, and the length that is known only at the end. */
#include <string.h>

#include "wire/message.h"

enum { STREAM_AT = 2, LENGTH_AT = 5 };

enum { /* of the query parameters */
       QUERY_VALUES = 0x01,
       QUERY_SKIP_METADATA = 0x02,
       QUERY_PAGE_SIZE = 0x04,
       QUERY_PAGING_STATE = 0x08,
       QUERY_SERIAL_CONSISTENCY = 0x10,
       QUERY_TIMESTAMP = 0x20
};

/* Returns where the frame begins, for end_frame(). */
static size_t begin_frame(struct stn_writer *w, int16_t stream, enum stn_cql_opcode opcode) {
    size_t at = w->used;
    stn_put_u8(w, STN_CQL_VERSION);
    stn_put_u8(w, 0);
    stn_put_be16(w, (uint16_t)stream);
    stn_put_u8(w, (uint8_t)opcode);
    stn_put_be32(w, 0);
    return at;
}

static void end_frame(struct stn_writer *w, size_t at) {
    size_t body_bytes = w->used - at - STN_CQL_HEADER_BYTES;
    if (w->used > w->cap) return; /* only measured */
    struct stn_writer length = {w->to + at + LENGTH_AT, 4, 0};
    stn_put_be32(&length, (uint32_t)body_bytes);
}

void stn_cql_set_stream(uint8_t *frame, int16_t stream) {
    struct stn_writer w = {frame + STREAM_AT, 2, 0};
    stn_put_be16(&w, (uint16_t)stream);
}

void stn_cql_put_options(struct stn_writer *w, int16_t stream) {
    end_frame(w, begin_frame(w, stream, STN_CQL_OPTIONS));
}

void stn_cql_put_startup(struct stn_writer *w, int16_t stream, const struct stn_cql_pair *pairs,
                         size_t n) {
    size_t at = begin_frame(w, stream, STN_CQL_STARTUP);
    stn_put_be16(w, (uint16_t)n);
    for (size_t i = 0; i < n; i++) {
        stn_put_string(w, pairs[i].key);
        stn_put_string(w, pairs[i].value);
    }
    end_frame(w, at);
}

void stn_cql_put_auth_response(struct stn_writer *w, int16_t stream, const void *token,
                               size_t bytes) {
    size_t at = begin_frame(w, stream, STN_CQL_AUTH_RESPONSE);
    stn_put_value(w, token ? stn_value_of(token, bytes) : stn_value_null());
    end_frame(w, at);
}

void stn_cql_put_auth_plain(struct stn_writer *w, int16_t stream, const char *user,
                            const char *password) {
    size_t at = begin_frame(w, stream, STN_CQL_AUTH_RESPONSE);
    size_t user_bytes = strlen(user), password_bytes = strlen(password);
    stn_put_be32(w, (uint32_t)(user_bytes + password_bytes + 2));
    stn_put_u8(w, 0);
    stn_put_bytes(w, user, user_bytes);
    stn_put_u8(w, 0);
    stn_put_bytes(w, password, password_bytes);
    end_frame(w, at);
}

void stn_cql_put_register(struct stn_writer *w, int16_t stream, const char *const *events,
                          size_t n) {
    size_t at = begin_frame(w, stream, STN_CQL_REGISTER);
    stn_put_be16(w, (uint16_t)n);
    for (size_t i = 0; i < n; i++) stn_put_string(w, events[i]);
    end_frame(w, at);
}

void stn_cql_put_prepare(struct stn_writer *w, int16_t stream, const char *text) {
    size_t at = begin_frame(w, stream, STN_CQL_PREPARE);
    stn_put_long_string(w, text);
    end_frame(w, at);
}

static uint8_t query_flags(const struct stn_cql_query *q) {
    unsigned flags = 0;
    if (q->n_values) flags |= QUERY_VALUES;
    if (q->skip_metadata) flags |= QUERY_SKIP_METADATA;
    if (q->page_size > 0) flags |= QUERY_PAGE_SIZE;
    if (q->paging_state.data) flags |= QUERY_PAGING_STATE;
    if (q->serial_consistency) flags |= QUERY_SERIAL_CONSISTENCY;
    if (q->timestamp_us) flags |= QUERY_TIMESTAMP;
    return (uint8_t)flags;
}

static void put_query(struct stn_writer *w, const struct stn_cql_query *q) {
    uint8_t flags = query_flags(q);
    stn_put_be16(w, q->consistency);
    stn_put_u8(w, flags);
    if (flags & QUERY_VALUES) stn_put_be16(w, (uint16_t)q->n_values);
    for (size_t i = 0; i < q->n_values; i++) stn_put_value(w, q->values[i]);
    if (flags & QUERY_PAGE_SIZE) stn_put_be32(w, (uint32_t)q->page_size);
    if (flags & QUERY_PAGING_STATE) stn_put_value(w, q->paging_state);
    if (flags & QUERY_SERIAL_CONSISTENCY) stn_put_be16(w, q->serial_consistency);
    if (flags & QUERY_TIMESTAMP) stn_put_be64(w, (uint64_t)q->timestamp_us);
}

void stn_cql_put_query(struct stn_writer *w, int16_t stream, const char *text,
                       const struct stn_cql_query *q) {
    size_t at = begin_frame(w, stream, STN_CQL_QUERY);
    stn_put_long_string(w, text);
    put_query(w, q);
    end_frame(w, at);
}

void stn_cql_put_execute(struct stn_writer *w, int16_t stream, const void *id, size_t id_bytes,
                         const struct stn_cql_query *q) {
    size_t at = begin_frame(w, stream, STN_CQL_EXECUTE);
    stn_put_be16(w, (uint16_t)id_bytes);
    stn_put_bytes(w, id, id_bytes);
    put_query(w, q);
    end_frame(w, at);
}
