/* Values that are too long for one cell: rows of the chunk table, each asked for by its key, all at
 * once, each landing at its offset. */
#include <stdio.h>
#include <string.h>

#include "source/cql_source.h"

#define SUBMIT_AT_ONCE 64
#define REQUEST_BYTES 128 /* what a request and the head of its answer count for in the window */

enum { COLUMN_ID, COLUMN_NUMBER, COLUMN_CRC, N_COLUMNS };

int stn_cql_chunks_prepare(struct stn_cql_source *s, const char *table, struct sterna_error *err) {
    char *text = stn_cql_select_chunk(table, err);
    if (!text) return STERNA_ENOMEM;
    int rc = stn_session_prepare(s->session, text, &s->chunks, err);
    free(text);
    return rc;
}

static int wrong(struct stn_cql_chunk *chunk, int code, const char *what) {
    chunk->what = what;
    return code;
}

static void fail(struct stn_cql_chunk *chunk, int code, const struct stn_query_answer *answer) {
    struct stn_cql_read *read = chunk->read;
    if (read->code < 0) return; /* it is told of already */
    read->why[0] = 0;
    if (chunk->what)
        snprintf(read->why, sizeof read->why, "field %s, chunk %u: %s",
                 read->source->places[chunk->field].name, chunk->number, chunk->what);
    stn_cql_read_fail(read, code, read->source->chunk_table, answer);
}

static int chunk_row(struct stn_query_call *q, const struct stn_cql_value *small) {
    struct stn_cql_chunk *chunk = STN_OUTER(q, struct stn_cql_chunk, call);
    struct stn_cql_read *read = chunk->read;
    chunk->landed = 0;
    chunk->what = NULL;
    if (read->code < 0 || atomic_load(&read->canceled)) return STERNA_ECANCELED;
    if (!stn_value_equals(small[COLUMN_ID], read->id, sizeof read->id) ||
        !stn_value_equals(small[COLUMN_NUMBER], chunk->number_be, sizeof chunk->number_be))
        return wrong(chunk, stn_cql_read_misrouted(read), "the answer is another chunk's");
    if (small[COLUMN_CRC].bytes != 4) return wrong(chunk, STERNA_ECORRUPT, "has no checksum");
    chunk->crc = (uint32_t)stn_value_int(small[COLUMN_CRC]);
    return STERNA_OK;
}

static int chunk_blob(struct stn_query_call *q, uint32_t i, uint32_t bytes, uint8_t **to) {
    struct stn_cql_chunk *chunk = STN_OUTER(q, struct stn_cql_chunk, call);
    (void)i;
    if (bytes != chunk->bytes) return wrong(chunk, STERNA_ECORRUPT, "has another length");
    chunk->landed = 1;
    *to = chunk->to;
    return STERNA_OK;
}

static int check(struct stn_cql_chunk *chunk) {
    if (!chunk->landed) return wrong(chunk, STERNA_ECORRUPT, "is null");
    if (stn_crc32c(0, chunk->to, chunk->bytes) != chunk->crc)
        return wrong(chunk, STERNA_ECORRUPT, "bytes differ from their checksum (CRC-32C)");
    return STERNA_OK;
}

static int ask_elsewhere(struct stn_cql_chunk *chunk, const struct stn_query_answer *answer) {
    char what[120];
    snprintf(what, sizeof what, "field %s, chunk %u: %s",
             chunk->read->source->places[chunk->field].name, chunk->number, chunk->what);
    int asked = stn_cql_ask_elsewhere(chunk->read, &chunk->call, &chunk->n_corrupt, answer->from,
                                      answer->from_bit, what);
    chunk->read->chunks_failed |= !asked;
    return asked;
}

static void chunk_done(struct stn_query_call *q, int code, const struct stn_query_answer *answer) {
    struct stn_cql_chunk *chunk = STN_OUTER(q, struct stn_cql_chunk, call);
    struct stn_cql_read *read = chunk->read;
    stn_cql_count_tries(read->source, q);
    if (code == STERNA_ENOTFOUND && read->code == STERNA_OK &&
        stn_cql_may_ask_again(q->consistency, &chunk->asked_again)) {
        q->consistency = STN_CQL_LOCAL_QUORUM;
        stn_session_submit(read->source->session, &q, 1);
        return;
    }
    if (code == STERNA_ENOTFOUND) wrong(chunk, code, "is missing");
    if (code == STERNA_OK) code = check(chunk);
    if (code == STERNA_ECORRUPT && read->code == STERNA_OK && ask_elsewhere(chunk, answer)) return;
    if (code < 0) fail(chunk, code, answer);
    stn_cql_chunk_give(chunk);
    stn_cql_read_release(read);
}

static void begin(struct stn_cql_chunk *chunk, struct stn_cql_read *read, uint32_t field,
                  uint32_t number, uint8_t *to) {
    static const struct stn_query_call_ops ops = {chunk_row, chunk_blob, chunk_done};
    struct stn_cql_source *s = read->source;
    const char *name = s->places[field].name;
    uint64_t left = read->fields[field].bytes - number * STN_CHUNK_BYTES;
    *chunk = (struct stn_cql_chunk){.read = read,
                                    .field = field,
                                    .number = number,
                                    .bytes = (uint32_t)STN_MIN(left, STN_CHUNK_BYTES),
                                    .to = to + number * STN_CHUNK_BYTES};
    chunk->values[0] = stn_value_of(read->id, sizeof read->id);
    chunk->values[1] = stn_value_of(name, strlen(name));
    chunk->values[2] = stn_value_from_smallint((int16_t)number, chunk->number_be);
    chunk->call = (struct stn_query_call){.ops = &ops,
                                          .statement = s->chunks,
                                          .values = chunk->values,
                                          .n_values = STN_COUNT(chunk->values),
                                          .lane = STN_LANE_READ,
                                          .consistency = s->consistency,
                                          .shape = {N_COLUMNS, 1},
                                          .weight_bytes = chunk->bytes + REQUEST_BYTES,
                                          .group = s};
}

int stn_cql_chunks_ask(struct stn_cql_read *read, uint32_t field) {
    struct stn_cql_source *s = read->source;
    uint64_t bytes = read->fields[field].bytes;
    uint32_t n = (uint32_t)((bytes + STN_CHUNK_BYTES - 1) / STN_CHUNK_BYTES), n_calls = 0;
    struct stn_query_call *calls[SUBMIT_AT_ONCE];
    uint8_t *to;
    int rc = stn_cql_read_place(read, field, bytes, &to);
    if (rc < 0) return rc;
    struct stn_cql_chunk *chunk = stn_cql_chunks_take(s, n);
    if (!chunk) return STERNA_ENOMEM;
    read->n_out += n;
    for (uint32_t i = 0; i < n; i++) {
        struct stn_cql_chunk *next = chunk->next;
        begin(chunk, read, field, i, to);
        calls[n_calls++] = &chunk->call;
        chunk = next;
        if (n_calls < SUBMIT_AT_ONCE && i + 1 < n) continue;
        stn_session_submit(s->session, calls, n_calls);
        n_calls = 0;
    }
    return STERNA_OK;
}
