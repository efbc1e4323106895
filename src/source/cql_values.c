/* A cluster's writing side: each value is one INSERT of its field's columns, copied and sent
 * without waiting, so many are under way at once. A long value's chunks go first, then its row, so
 * that a row never tells of bytes that are not there; chunks that a shorter value leaves behind go
 * last.
 *
 * Every value has a timestamp of its own, a microsecond after the one before: tried again it is the
 * same write, and of two values for one field the later one wins, in whatever order they arrive. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "source/cql_known.h"
#include "source/cql_text.h"

#define IN_FLIGHT_MAX_BYTES (UINT64_C(64) << 20) /* copies of values */
#define REQUEST_BYTES 128
#define VALUE_MAX ((UINT64_C(4) << 30) - 16)

struct put;

struct write { /* one statement under way */
    struct stn_query_call call;
    struct put *put;
    struct stn_cql_value values[5];
    uint8_t number_be[2], crc_be[4], bytes_be[8];
};

struct chunk { /* of a long value */
    struct write write;
    struct chunk *next;
    uint64_t held_bytes;
    uint8_t data[];
};

struct put { /* one value on its way: its chunks, then its row, then what it leaves behind */
    struct cql_values *v;
    struct stn_known_row *known; /* pinned */
    uint8_t id[16];
    char field[64];
    int64_t timestamp_us;
    uint64_t held_bytes;
    struct write row, *cleanings;
    uint32_t n_cleanings;
    /* under the lock */
    enum { PUT_CHUNKS, PUT_ROW, PUT_CLEANING } stage;
    uint32_t n_out; /* writes of this stage, and put() itself while it makes them */
    struct chunk *chunks;
    struct put *older, *newer;
    uint8_t data[]; /* of a short value */
};

struct statements { /* of one field, prepared when first needed */
    struct stn_statement *insert, *remove;
    uint16_t bytes_type;
};

struct cql_values {
    struct stn_values base;
    struct stn_cassandra *c;
    pid_t pid;
    /* the writing thread's */
    struct stn_cql_known known;
    int64_t timestamp_us; /* of the last value */
    struct statements statements[STN_KNOWN_FIELDS_MAX];
    struct stn_statement *chunk_insert, *chunk_remove;
    /* any thread, under the lock */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    uint64_t in_flight_bytes;
    struct put *oldest, *newest;
    struct sterna_error failure; /* the first one: nothing is written after it */
};

/* ---- statements ---- */

static int prepare(struct cql_values *v, struct stn_statement **out, struct stn_cql_text *t,
                   struct sterna_error *err) {
    char *text = stn_cql_text_take(t, err);
    if (!text) return STERNA_ENOMEM;
    int rc = stn_session_prepare(v->c->session, text, out, err);
    free(text);
    if (rc < 0) *out = NULL;
    return rc;
}

static void add_columns(struct stn_cql_text *t, const struct stn_cassandra_field *f) {
    const char *columns[] = {f->bytes_column, f->crc_column, f->column};
    for (size_t i = 0; i < STN_COUNT(columns); i++) {
        if (i > 0) stn_cql_text_add(t, ", ");
        stn_cql_text_name(t, columns[i]);
    }
}

static int prepare_insert(struct cql_values *v, uint32_t place, struct sterna_error *err) {
    struct statements *s = &v->statements[place];
    struct stn_statement_info info;
    struct stn_cql_text t;
    if (s->insert) return STERNA_OK;
    int rc = stn_cql_text_open(&t, err);
    if (rc < 0) return rc;
    stn_cql_text_add(&t, "INSERT INTO %s (id, ", v->c->data_table);
    add_columns(&t, &v->known.fields[place]);
    stn_cql_text_add(&t, ") VALUES (?, ?, ?, ?)");
    rc = prepare(v, &s->insert, &t, err);
    if (rc < 0) return rc;
    stn_statement_info(s->insert, &info);
    s->bytes_type = info.n_params == 4 ? info.params[1].type : STN_CQL_CUSTOM;
    if (s->bytes_type == STN_CQL_INT || s->bytes_type == STN_CQL_BIGINT) return STERNA_OK;
    s->insert = NULL;
    return stn_fail(err, STERNA_EFORMAT, "%s: column %s is no integer", v->c->data_table,
                    v->known.fields[place].bytes_column);
}

static int prepare_remove(struct cql_values *v, uint32_t place, struct sterna_error *err) {
    struct statements *s = &v->statements[place];
    struct stn_cql_text t;
    if (s->remove) return STERNA_OK;
    int rc = stn_cql_text_open(&t, err);
    if (rc < 0) return rc;
    stn_cql_text_add(&t, "DELETE ");
    add_columns(&t, &v->known.fields[place]);
    stn_cql_text_add(&t, " FROM %s WHERE id = ?", v->c->data_table);
    return prepare(v, &s->remove, &t, err);
}

static int prepare_chunk(struct cql_values *v, struct stn_statement **out, const char *format,
                         struct sterna_error *err) {
    struct stn_cql_text t;
    if (*out) return STERNA_OK;
    int rc = stn_cql_text_open(&t, err);
    if (rc < 0) return rc;
    stn_cql_text_add(&t, format, v->c->chunk_table);
    return prepare(v, out, &t, err);
}

/* ---- a value's way ---- */

static uint32_t chunks_of(uint64_t bytes) {
    uint64_t n = (bytes + STN_CHUNK_BYTES - 1) / STN_CHUNK_BYTES;
    return bytes > STN_CHUNK_AT_BYTES ? (uint32_t)n : 0;
}

static void submit(struct cql_values *v, struct write *writes, uint32_t n) {
    struct stn_query_call *calls[64];
    for (uint32_t i = 0, n_calls = 0; i < n;) {
        calls[n_calls++] = &writes[i++].call;
        if (n_calls < STN_COUNT(calls) && i < n) continue;
        stn_session_submit(v->c->session, calls, n_calls); /* the last one may end the put */
        n_calls = 0;
    }
}

static void free_put(struct put *put) {
    for (struct chunk *chunk = put->chunks, *next; chunk; chunk = next) {
        next = chunk->next;
        free(chunk);
    }
    free(put->cleanings);
    free(put);
}

/* The lock is held. */
static void give_back(struct cql_values *v, uint64_t bytes) {
    v->in_flight_bytes -= bytes;
    pthread_cond_signal(&v->changed);
}

static void link_put(struct cql_values *v, struct put *put) {
    put->older = v->newest;
    *(v->newest ? &v->newest->newer : &v->oldest) = put;
    v->newest = put;
}

static void unlink_put(struct cql_values *v, struct put *put) {
    *(put->older ? &put->older->newer : &v->oldest) = put->newer;
    *(put->newer ? &put->newer->older : &v->newest) = put->older;
}

/* One that was out is back; the last one of a stage begins the next. Any thread, without the lock.
 */
static void release(struct put *put) {
    struct cql_values *v = put->v;
    struct write *writes = NULL;
    uint32_t n = 0;
    pthread_mutex_lock(&v->lock);
    if (--put->n_out > 0) {
        pthread_mutex_unlock(&v->lock);
        return;
    }
    if (put->stage == PUT_CHUNKS) {
        put->stage = PUT_ROW;
        writes = &put->row;
        n = 1;
    } else if (put->stage == PUT_ROW) {
        put->stage = PUT_CLEANING;
        writes = put->cleanings;
        n = put->n_cleanings;
    }
    if (v->failure.code) n = 0; /* a row must not tell of chunks that are not there */
    put->n_out = n;
    if (n == 0) {
        stn_cql_known_unpin(put->known);
        unlink_put(v, put);
        give_back(v, put->held_bytes);
    }
    pthread_mutex_unlock(&v->lock);
    if (n > 0)
        submit(v, writes, n);
    else
        free_put(put);
}

static void note_failure(struct put *put, int code, const char *why) {
    struct cql_values *v = put->v;
    char id[STERNA_ID_TEXT_BYTES];
    sterna_id_format(put->id, id);
    stn_fail(&v->failure, code, "%s: sample %s, field %s cannot be written: %s", v->c->data_table,
             id, put->field, why ? why : sterna_strerror(code));
    pthread_cond_signal(&v->changed);
}

static void write_done(struct stn_query_call *q, int code, const struct stn_query_answer *answer) {
    struct put *put = STN_OUTER(q, struct write, call)->put;
    if (code < 0) {
        pthread_mutex_lock(&put->v->lock);
        note_failure(put, code, answer ? answer->why : NULL);
        pthread_mutex_unlock(&put->v->lock);
    }
    release(put);
}

static void chunk_done(struct stn_query_call *q, int code, const struct stn_query_answer *answer) {
    struct chunk *chunk = STN_OUTER(STN_OUTER(q, struct write, call), struct chunk, write);
    struct put *put = chunk->write.put;
    struct cql_values *v = put->v;
    pthread_mutex_lock(&v->lock);
    struct chunk **at = &put->chunks;
    while (*at != chunk) at = &(*at)->next;
    *at = chunk->next;
    give_back(v, chunk->held_bytes);
    pthread_mutex_unlock(&v->lock);
    write_done(q, code, answer);
    free(chunk);
}

/* ---- making one ---- */

static void begin_write(struct write *w, struct put *put, struct stn_statement *statement,
                        size_t n_values, uint64_t data_bytes) {
    static const struct stn_query_call_ops ops = {.done = write_done};
    struct cql_values *v = put->v;
    w->put = put;
    w->call = (struct stn_query_call){.ops = &ops,
                                      .statement = statement,
                                      .values = w->values,
                                      .n_values = n_values,
                                      .lane = STN_LANE_WRITE,
                                      .consistency = v->c->location.write_consistency,
                                      .is_write = 1,
                                      .timestamp_us = put->timestamp_us,
                                      .weight_bytes = data_bytes + REQUEST_BYTES,
                                      .group = v};
    w->values[0] = stn_value_of(put->id, sizeof put->id);
}

/* id, field, n */
static void set_chunk_key(struct write *w, uint32_t number) {
    w->values[1] = stn_value_of(w->put->field, strlen(w->put->field));
    w->values[2] = stn_value_from_smallint((int16_t)number, w->number_be);
}

static int failed(struct cql_values *v, struct sterna_error *err) {
    return stn_fail(err, v->failure.code, "%s", v->failure.message);
}

/* Waits until a copy of `bytes` may be held; takes them. */
static int wait_for_room(struct cql_values *v, uint64_t bytes, struct sterna_error *err) {
    pthread_mutex_lock(&v->lock);
    while (!v->failure.code && v->in_flight_bytes > 0 &&
           v->in_flight_bytes + bytes > IN_FLIGHT_MAX_BYTES)
        pthread_cond_wait(&v->changed, &v->lock);
    int rc = v->failure.code ? failed(v, err) : STERNA_OK;
    if (rc == STERNA_OK) v->in_flight_bytes += bytes;
    pthread_mutex_unlock(&v->lock);
    return rc;
}

static void return_room(struct cql_values *v, uint64_t bytes) {
    pthread_mutex_lock(&v->lock);
    give_back(v, bytes);
    pthread_mutex_unlock(&v->lock);
}

/* A put with the old value's chunks from `n_chunks` on to be cleaned away, and room for a copy. */
static int new_put(struct cql_values *v, struct put **out, struct stn_known_row *known,
                   uint32_t place, uint32_t n_chunks, size_t copy_bytes, struct sterna_error *err) {
    const int is_stored = known->is_stored >> place & 1;
    uint32_t n_old = is_stored ? chunks_of(known->headers[place].bytes) : 0;
    uint32_t n_cleanings = n_old > n_chunks ? n_old - n_chunks : 0;
    uint64_t held_bytes = sizeof **out + copy_bytes + n_cleanings * sizeof(struct write);
    int rc = STERNA_OK;
    if (n_cleanings > 0)
        rc = prepare_chunk(v, &v->chunk_remove,
                           "DELETE FROM %s WHERE id = ? AND field = ? AND n = ?", err);
    if (rc == STERNA_OK) rc = wait_for_room(v, held_bytes, err);
    if (rc < 0) return rc;
    struct put *put = malloc(sizeof *put + copy_bytes);
    struct write *cleanings = stn_array(STN_MAX(n_cleanings, 1), sizeof *cleanings);
    if (!put || !cleanings) {
        free(put);
        free(cleanings);
        return_room(v, held_bytes);
        return stn_fail_memory(err, "a value to be written");
    }
    *put = (struct put){.v = v,
                        .known = known,
                        .timestamp_us = v->timestamp_us++,
                        .held_bytes = held_bytes,
                        .cleanings = cleanings,
                        .n_cleanings = n_cleanings,
                        .n_out = 1};
    memcpy(put->id, known->id, sizeof put->id);
    snprintf(put->field, sizeof put->field, "%s", v->known.fields[place].name);
    for (uint32_t i = 0; i < n_cleanings; i++) {
        begin_write(&cleanings[i], put, v->chunk_remove, 3, 0);
        set_chunk_key(&cleanings[i], n_chunks + i);
    }
    *out = put;
    return STERNA_OK;
}

static int send_chunk(struct put *put, uint32_t number, const uint8_t *data, size_t bytes,
                      struct sterna_error *err) {
    static const struct stn_query_call_ops ops = {.done = chunk_done};
    struct cql_values *v = put->v;
    uint64_t held_bytes = sizeof(struct chunk) + bytes;
    int rc = wait_for_room(v, held_bytes, err);
    if (rc < 0) return rc;
    struct chunk *chunk = malloc(held_bytes);
    if (!chunk) {
        return_room(v, held_bytes);
        return stn_fail_memory(err, "a value to be written");
    }
    struct write *w = &chunk->write;
    memcpy(chunk->data, data, bytes);
    chunk->held_bytes = held_bytes;
    begin_write(w, put, v->chunk_insert, 5, bytes);
    w->call.ops = &ops;
    set_chunk_key(w, number);
    w->values[3] = stn_value_from_int((int32_t)stn_crc32c(0, data, bytes), w->crc_be);
    w->values[4] = stn_value_of(chunk->data, bytes);
    pthread_mutex_lock(&v->lock);
    chunk->next = put->chunks;
    put->chunks = chunk;
    put->n_out++;
    pthread_mutex_unlock(&v->lock);
    submit(v, w, 1);
    return STERNA_OK;
}

/* From here on it ends by itself. */
static void start(struct put *put, uint32_t place, const struct stn_value_header *header) {
    struct cql_values *v = put->v;
    stn_cql_known_set(put->known, place, header);
    pthread_mutex_lock(&v->lock);
    link_put(v, put);
    pthread_mutex_unlock(&v->lock);
}

static void set_row(struct put *put, const struct statements *s, const void *data, size_t bytes,
                    uint32_t crc, int in_row) {
    struct write *w = &put->row;
    begin_write(w, put, s->insert, 4, in_row ? bytes : 0);
    w->values[1] = s->bytes_type == STN_CQL_BIGINT
                       ? stn_value_from_bigint((int64_t)bytes, w->bytes_be)
                       : stn_value_from_int((int32_t)(uint32_t)bytes, w->bytes_be);
    w->values[2] = stn_value_from_int((int32_t)crc, w->crc_be);
    /* Null, though unset would leave no tombstone: an older value may lie in the row. */
    w->values[3] = stn_value_null();
    if (!in_row) return;
    if (bytes > 0) memcpy(put->data, data, bytes);
    w->values[3] = stn_value_of(put->data, bytes);
}

/* ---- what ingest calls ---- */

static int cql_put(struct stn_values *base, const uint8_t id[16], uint8_t field, const void *data,
                   size_t bytes, uint32_t crc, struct sterna_error *err) {
    struct cql_values *v = STN_OUTER(base, struct cql_values, base);
    struct stn_known_row *known;
    struct put *put;
    uint32_t place, n_chunks = chunks_of(bytes);
    if (bytes > VALUE_MAX)
        return stn_fail(err, STERNA_EINVAL, "a value of %zu bytes is over the limit of %llu", bytes,
                        (unsigned long long)VALUE_MAX);
    int rc = stn_cql_known_find(&v->known, id, field, &known, &place, err);
    if (rc == STERNA_OK) rc = prepare_insert(v, place, err);
    if (rc == STERNA_OK && n_chunks > 0)
        rc = prepare_chunk(v, &v->chunk_insert,
                           "INSERT INTO %s (id, field, n, crc, data) VALUES (?, ?, ?, ?, ?)", err);
    if (rc == STERNA_OK) rc = new_put(v, &put, known, place, n_chunks, n_chunks ? 0 : bytes, err);
    if (rc < 0) return rc;
    set_row(put, &v->statements[place], data, bytes, crc, n_chunks == 0);
    start(put, place, &(struct stn_value_header){crc, bytes});
    for (uint32_t i = 0; i < n_chunks && rc == STERNA_OK; i++) {
        size_t at = (size_t)i * STN_CHUNK_BYTES;
        rc = send_chunk(put, i, (const uint8_t *)data + at, STN_MIN(bytes - at, STN_CHUNK_BYTES),
                        err);
    }
    if (rc < 0) { /* some of its chunks may be stored: only a new run can go on from here */
        pthread_mutex_lock(&v->lock);
        note_failure(put, rc, NULL);
        pthread_mutex_unlock(&v->lock);
    }
    release(put);
    return rc;
}

static int cql_remove(struct stn_values *base, const uint8_t id[16], uint8_t field,
                      struct sterna_error *err) {
    struct cql_values *v = STN_OUTER(base, struct cql_values, base);
    struct stn_known_row *known;
    struct put *put;
    uint32_t place;
    int rc = stn_cql_known_find(&v->known, id, field, &known, &place, err);
    if (rc == STERNA_OK && !(known->is_stored >> place & 1))
        rc = stn_fail(err, STERNA_ENOTFOUND, "%s: there is no such value", v->c->data_table);
    if (rc == STERNA_OK) rc = prepare_remove(v, place, err);
    if (rc == STERNA_OK) rc = new_put(v, &put, known, place, 0, 0, err);
    if (rc < 0) return rc;
    begin_write(&put->row, put, v->statements[place].remove, 1, 0);
    start(put, place, NULL);
    release(put);
    return STERNA_OK;
}

static void cql_expect(struct stn_values *base, const uint8_t id[16]) {
    stn_cql_known_expect(&STN_OUTER(base, struct cql_values, base)->known, id);
}

static int cql_find(struct stn_values *base, const uint8_t id[16], uint8_t field,
                    struct stn_value_header *out, struct sterna_error *err) {
    struct cql_values *v = STN_OUTER(base, struct cql_values, base);
    struct stn_known_row *known;
    uint32_t place;
    int rc = stn_cql_known_find(&v->known, id, field, &known, &place, err);
    if (rc < 0) return rc;
    if (!(known->is_stored >> place & 1))
        return stn_fail(err, STERNA_ENOTFOUND, "%s: there is no such value", v->c->data_table);
    *out = known->headers[place];
    return STERNA_OK;
}

static int cql_commit(struct stn_values *base, struct sterna_error *err) {
    struct cql_values *v = STN_OUTER(base, struct cql_values, base);
    pthread_mutex_lock(&v->lock);
    while (v->oldest && !v->failure.code) pthread_cond_wait(&v->changed, &v->lock);
    int rc = v->failure.code ? failed(v, err) : STERNA_OK;
    pthread_mutex_unlock(&v->lock);
    return rc;
}

static void destroy(struct cql_values *v) {
    stn_cql_known_fini(&v->known);
    for (struct put *put = v->oldest, *newer; put; put = newer) {
        newer = put->newer;
        free_put(put);
    }
    pthread_cond_destroy(&v->changed);
    pthread_mutex_destroy(&v->lock);
    free(v);
}

static void cql_close(struct stn_values *base) {
    struct cql_values *v = STN_OUTER(base, struct cql_values, base);
    if (v->pid != getpid()) return; /* a forked child has no loop thread */
    stn_session_abandon(v->c->session, v);
    destroy(v);
}

int stn_cql_values_open(struct stn_values **out, struct stn_cassandra *c, int64_t timestamp_us,
                        struct sterna_error *err) {
    static const struct stn_values_ops ops = {cql_expect, cql_find,   cql_put,
                                              cql_remove, cql_commit, cql_close};
    *out = NULL;
    struct cql_values *v = stn_array(1, sizeof *v);
    if (!v) return stn_fail_memory(err, "values");
    v->base.ops = &ops;
    v->c = c;
    v->pid = getpid();
    v->timestamp_us = timestamp_us;
    pthread_mutex_init(&v->lock, NULL);
    pthread_cond_init(&v->changed, NULL);
    int rc = stn_cql_known_init(&v->known, c, err);
    if (rc < 0) {
        destroy(v);
        return rc;
    }
    *out = &v->base;
    return STERNA_OK;
}
