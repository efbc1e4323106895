#include "support/answers.h"

#include <stdio.h>
#include <string.h>

static void put_prelude(struct stn_writer *w, uint8_t flags) {
    if (flags & STN_CQL_TRACING) stn_put_bytes(w, "tracing-id-of-16", 16);
    if (flags & STN_CQL_WARNINGS) {
        stn_put_be16(w, 2);
        stn_put_string(w, ANSWER_WARNING);
        stn_put_string(w, "");
    }
    if (flags & STN_CQL_PAYLOAD) {
        stn_put_be16(w, 3);
        stn_put_string(w, "other");
        stn_put_value(w, stn_value_null());
        stn_put_string(w, "tablets-routing-v1");
        stn_put_value(w, stn_value_of(ANSWER_TABLETS, ANSWER_TABLETS_BYTES));
        stn_put_string(w, "last");
        stn_put_value(w, stn_value_of("x", 1));
    }
}

size_t answer_begin(struct stn_writer *w, int16_t stream, uint8_t opcode, uint8_t flags) {
    size_t at = w->used;
    stn_put_u8(w, 0x84);
    stn_put_u8(w, flags);
    stn_put_be16(w, (uint16_t)stream);
    stn_put_u8(w, opcode);
    stn_put_be32(w, 0);
    put_prelude(w, flags);
    return at;
}

void answer_end(struct stn_writer *w, size_t at) {
    struct stn_writer length = {w->to + at + 5, 4, 0};
    if (w->used <= w->cap) stn_put_be32(&length, (uint32_t)(w->used - at - STN_CQL_HEADER_BYTES));
}

static void put_columns(struct stn_writer *w, uint32_t n) {
    stn_put_string(w, "imgs");
    stn_put_string(w, "ds_data");
    for (uint32_t i = 0; i < n; i++) {
        char name[24];
        snprintf(name, sizeof name, "column_%u", i);
        stn_put_string(w, name);
        stn_put_be16(w, STN_CQL_BLOB);
    }
}

void answer_rows(struct stn_writer *w, const struct answer_rows *rows) {
    size_t at = answer_begin(w, rows->stream, STN_CQL_RESULT, rows->flags);
    stn_put_be32(w, STN_CQL_ROWS);
    stn_put_be32(w, (rows->with_metadata ? STN_CQL_GLOBAL_SPEC : STN_CQL_NO_METADATA) |
                        (rows->with_paging ? STN_CQL_MORE_PAGES : 0u));
    stn_put_be32(w, rows->n_columns);
    if (rows->with_paging) stn_put_value(w, stn_value_of("page", 4));
    if (rows->with_metadata) put_columns(w, rows->n_columns);
    stn_put_be32(w, rows->n_rows);
    for (size_t i = 0; i < (size_t)rows->n_rows * rows->n_columns; i++)
        stn_put_value(w, rows->values[i]);
    for (size_t i = 0; i < rows->surplus_bytes; i++) stn_put_u8(w, 0xEE);
    answer_end(w, at);
}

void answer_error(struct stn_writer *w, int16_t stream, uint32_t code, const char *message) {
    size_t at = answer_begin(w, stream, STN_CQL_ERROR, 0);
    stn_put_be32(w, code);
    stn_put_string(w, message);
    answer_end(w, at);
}

void answer_void(struct stn_writer *w, int16_t stream) {
    size_t at = answer_begin(w, stream, STN_CQL_RESULT, 0);
    stn_put_be32(w, STN_CQL_VOID);
    answer_end(w, at);
}
