/* What a server sends: frames of the protocol, put into a writer. */
#ifndef TEST_ANSWERS_H
#define TEST_ANSWERS_H

#include "wire/message.h"

/* Header and, as the flags say, tracing id, warnings, payload. Returns where the frame begins. */
size_t answer_begin(struct stn_writer *w, int16_t stream, uint8_t opcode, uint8_t flags);
void answer_end(struct stn_writer *w, size_t at);

#define ANSWER_WARNING "the coordinator is busy"
#define ANSWER_TABLETS "\0\0\0\x08tablets!"
#define ANSWER_TABLETS_BYTES 12

struct answer_rows {
    int16_t stream;
    uint8_t flags;
    int with_metadata;
    int with_paging; /* a paging state */
    uint32_t n_rows;
    uint32_t n_columns;
    const struct stn_cql_value *values; /* n_rows * n_columns; all columns are called blobs */
    size_t surplus_bytes;               /* behind the last value */
};
void answer_rows(struct stn_writer *w, const struct answer_rows *rows);

void answer_error(struct stn_writer *w, int16_t stream, uint32_t code, const char *message);
void answer_void(struct stn_writer *w, int16_t stream);

#endif
