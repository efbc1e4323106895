/* A cluster's reading side: each request is one row, asked for by its key. The session finds a
 * replica and tries again; here is what a row means: whether it is the one asked for, where its
 * values land, and what follows when they lie in chunks.
 *
 * Everything that the session calls runs on its loop thread. Nothing is allocated per sample. */
#include "source/cql_source.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define SUBMIT_AT_ONCE 64
#define REQUEST_BYTES 128 /* what a request and the head of its answer count for in the window */
#define VALUE_MAX (UINT64_C(4) << 30)
#define CORRUPT_TRIES 3 /* more than there are replicas, mostly */
#define WAKES_A_ROUND_TRIP 32
#define WAKE_WITHIN_NS (4 * STN_NS_PER_MS)
#define TELL_EVERY_NS (10 * STN_NS_PER_S)

enum { /* of a read */
       READ_FREE,
       READ_WAITING,
       READ_LANDING, /* from its first row on: bytes may be landing */
       READ_GIVEN_UP /* completed by cancel() already */
};

/* ---- the end of a read ---- */

int stn_cql_may_ask_again(uint16_t consistency, int *asked_again) {
    int weak = consistency == STN_CQL_LOCAL_ONE || consistency == STN_CQL_ONE;
    if (!weak || *asked_again) return 0;
    *asked_again = 1;
    return 1;
}

/* What we found wrong, and where, or else what the session says: of what a server refuses also the
 * table, since by itself it may tell no more than "Unknown CF" and an id of its own. */
void stn_cql_read_fail(struct stn_cql_read *read, int code, const char *table,
                       const struct stn_query_answer *answer) {
    const char *where = answer->why;
    if (read->code < 0) return;
    read->code = code;
    size_t used = strlen(read->why);
    const char *of = answer->failure ? table : "";
    if (where)
        snprintf(read->why + used, sizeof read->why - used, used ? " (%s%s%s)" : "%s%s%s", of,
                 *of ? ": " : "", where);
}

int stn_cql_read_misrouted(struct stn_cql_read *read) {
    uint8_t other[16], *to; /* the sink counts what does not fit its ticket */
    memcpy(other, read->id, sizeof other);
    other[0] = (uint8_t)~other[0];
    snprintf(read->why, sizeof read->why, "the answer has another sample's key");
    stn_sink_place(read->source->sink, read->ticket, 0, other, 0, 0, &to);
    return STERNA_EPROTO;
}

int stn_cql_ask_elsewhere(struct stn_cql_read *read, struct stn_query_call *q, unsigned *n_corrupt,
                          const char *from, uint32_t from_bit, const char *what) {
    struct stn_cql_source *s = read->source;
    char id[STERNA_ID_TEXT_BYTES];
    uint64_t skipped = 0;
    sterna_id_format(read->id, id);
    if (stn_log_every(&s->told, stn_now(stn_clock_monotonic()), TELL_EVERY_NS, &skipped))
        stn_log(STERNA_LOG_WARNING,
                "sample %s from node %s: %s; another replica is asked (%llu such lines left out)",
                id, from && *from ? from : "?", what, (unsigned long long)skipped);
    if (*n_corrupt >= CORRUPT_TRIES || atomic_load(&read->canceled)) return 0;
    ++*n_corrupt;
    stn_sink_count_retries(s->sink, 1);
    q->avoid |= from_bit;
    stn_session_submit(s->session, &q, 1);
    return 1;
}

/* All its bytes have landed, or it has failed. 1: the row is on its way once more. */
static int try_once_more(struct stn_cql_read *read) {
    struct stn_cql_source *s = read->source;
    if (read->code == STERNA_OK && stn_sink_verify(s->sink, read->ticket) < 0) {
        read->code = STERNA_ECORRUPT;
        snprintf(read->why, sizeof read->why, "bytes differ from their checksum (CRC-32C)");
    }
    if (read->code != STERNA_ECORRUPT || read->chunks_failed) return 0;
    if (!stn_cql_ask_elsewhere(read, &read->call, &read->n_corrupt, read->from, read->from_bit,
                               read->why))
        return 0;
    read->code = STERNA_OK;
    return 1;
}

/* 1: it may ask for markedly more now, and has asked before. */
static int follow_windows(struct stn_cql_source *s) {
    uint64_t ahead_bytes, slack_bytes;
    stn_session_ahead(s->session, &ahead_bytes, &slack_bytes);
    int grown = ahead_bytes > s->base.ahead_bytes + s->base.ahead_bytes / 16;
    atomic_store_explicit(&s->base.ahead_bytes, ahead_bytes, memory_order_relaxed);
    atomic_store_explicit(&s->base.slack_bytes, slack_bytes, memory_order_relaxed);
    return grown && atomic_load(&s->was_asked);
}

uint64_t stn_cql_wake_in_ns(size_t n_completed, size_t n_under_way, uint64_t waited_ns) {
    if (n_completed * WAKES_A_ROUND_TRIP >= n_under_way) return 0;
    return waited_ns < WAKE_WITHIN_NS ? WAKE_WITHIN_NS - waited_ns : 0;
}

static uint64_t wake_loader(void *source) {
    struct stn_cql_source *s = source;
    int grown = follow_windows(s);
    if (s->n_completed == 0 && !grown) return UINT64_MAX;
    uint64_t waited_ns = stn_now(stn_clock_monotonic()) - s->completed_ns;
    uint64_t wait_ns = stn_cql_wake_in_ns(s->n_completed, s->n_under_way, waited_ns);
    if (wait_ns > 0 && !grown) return wait_ns;
    s->n_completed = 0;
    stn_sink_flush(s->sink);
    return UINT64_MAX;
}

static void count_completed(struct stn_cql_source *s) {
    if (s->n_completed++ == 0) s->completed_ns = stn_now(stn_clock_monotonic());
}

static void finish(struct stn_cql_read *read) {
    struct stn_cql_source *s = read->source;
    if (try_once_more(read)) return;
    if (atomic_exchange(&read->state, READ_FREE) != READ_GIVEN_UP) {
        const char *why = read->code < 0 && read->why[0] ? read->why : NULL;
        stn_sink_complete(s->sink, read->ticket, read->code, why);
        count_completed(s);
    }
    s->n_under_way = stn_cql_read_give(read);
}

void stn_cql_read_release(struct stn_cql_read *read) {
    if (--read->n_out == 0) finish(read);
}

/* ---- a row ---- */

static int wrong(struct stn_cql_read *read, uint32_t field, const char *what) {
    snprintf(read->why, sizeof read->why, "field %s: %s", read->source->places[field].name, what);
    return STERNA_ECORRUPT;
}

int stn_cql_read_place(struct stn_cql_read *read, uint32_t field, uint64_t bytes, uint8_t **to) {
    struct stn_cql_source *s = read->source;
    struct stn_cql_landing *f = &read->fields[field];
    if (!f->has_crc && !s->foreign) return wrong(read, field, "has no checksum");
    int rc = stn_sink_place(s->sink, read->ticket, field, read->id, bytes, f->crc, to);
    if (rc < 0) return rc;
    if (!f->has_crc) stn_sink_unchecked(s->sink, read->ticket, field);
    f->bytes = bytes;
    f->placed = 1;
    return STERNA_OK;
}

/* An integer of any width; 0 for what is none. */
static int64_t integer_of(struct stn_cql_value v) {
    uint64_t bits = v.bytes > 0 && v.data[0] >= 0x80 ? UINT64_MAX : 0;
    if (v.bytes > 8) return 0;
    for (int32_t i = 0; i < v.bytes; i++) bits = bits << 8 | v.data[i];
    return (int64_t)bits;
}

static void note_field(struct stn_cql_read *read, uint32_t i, const struct stn_cql_value *small) {
    const struct stn_cql_place *place = &read->source->places[i];
    struct stn_cql_landing *f = &read->fields[i];
    *f = (struct stn_cql_landing){0};
    if (place->bytes_at && small[place->bytes_at].bytes > 0) {
        struct stn_cql_value v = small[place->bytes_at];
        f->has_bytes = 1;
        /* Lengths up to 4 GiB in an int: it is read as unsigned. */
        f->bytes = v.bytes == 4 ? (uint32_t)stn_value_int(v) : (uint64_t)integer_of(v);
    }
    if (place->crc_at && small[place->crc_at].bytes > 0) {
        f->has_crc = 1;
        f->crc = (uint32_t)integer_of(small[place->crc_at]);
    }
}

static int may_land(struct stn_cql_read *read) {
    int waiting = READ_WAITING;
    return (atomic_compare_exchange_strong(&read->state, &waiting, READ_LANDING) ||
            waiting == READ_LANDING) &&
           !atomic_load(&read->canceled);
}

static int on_row(struct stn_query_call *q, const struct stn_cql_value *small) {
    struct stn_cql_read *read = STN_OUTER(q, struct stn_cql_read, call);
    struct stn_cql_source *s = read->source;
    if (!may_land(read)) return STERNA_ECANCELED;
    read->why[0] = 0;
    if (!stn_value_equals(small[0], read->id, sizeof read->id)) return stn_cql_read_misrouted(read);
    stn_sink_restart(s->sink, read->ticket);
    for (uint32_t i = 0; i < s->n_fields; i++) note_field(read, i, small);
    if (s->label_at && small[s->label_at].bytes > 0)
        stn_sink_label(s->sink, read->ticket, integer_of(small[s->label_at]));
    return STERNA_OK;
}

static int on_blob(struct stn_query_call *q, uint32_t i, uint32_t bytes, uint8_t **to) {
    struct stn_cql_read *read = STN_OUTER(q, struct stn_cql_read, call);
    struct stn_cql_landing *f = &read->fields[i];
    int told = read->source->places[i].bytes_at != 0;
    if (told && !(f->has_bytes && f->bytes == bytes))
        return wrong(read, i, "has another length than its row says");
    return stn_cql_read_place(read, i, bytes, to);
}

/* A replica that missed a later write has the row without a field that the loader knows of. */
static int lacks_bytes(const struct stn_cql_read *read) {
    const struct stn_cql_source *s = read->source;
    uint64_t sum = 0;
    uint32_t n = 0;
    for (uint32_t i = 0; i < s->n_fields; i++) {
        const struct stn_cql_landing *f = &read->fields[i];
        if (!f->placed && !f->has_bytes) continue;
        sum += stn_align_up(f->bytes);
        n++;
    }
    return n < s->n_fields && !s->foreign && sum < read->expected_bytes;
}

/* What the row has not brought itself: nothing, or chunks. */
static int land_rest(struct stn_cql_read *read) {
    struct stn_cql_source *s = read->source;
    int rc = STERNA_OK;
    for (uint32_t i = 0; i < s->n_fields && rc == STERNA_OK; i++) {
        struct stn_cql_landing *f = &read->fields[i];
        uint8_t *to;
        if (f->placed || !f->has_bytes) continue;
        if (f->bytes == 0)
            rc = stn_cql_read_place(read, i, 0, &to);
        else if (!s->chunks || f->bytes > VALUE_MAX)
            rc = wrong(read, i, "has a length but no bytes");
        else
            rc = stn_cql_chunks_ask(read, i);
    }
    return rc;
}

void stn_cql_count_tries(struct stn_cql_source *s, const struct stn_query_call *q) {
    if (q->n_tries > 1) stn_sink_count_retries(s->sink, q->n_tries - 1);
}

static void on_done(struct stn_query_call *q, int code, const struct stn_query_answer *answer) {
    struct stn_cql_read *read = STN_OUTER(q, struct stn_cql_read, call);
    stn_cql_count_tries(read->source, q);
    int incomplete = code == STERNA_ENOTFOUND || (code == STERNA_OK && lacks_bytes(read));
    if (incomplete && !atomic_load(&read->canceled) &&
        stn_cql_may_ask_again(q->consistency, &read->asked_again)) {
        q->consistency = STN_CQL_LOCAL_QUORUM;
        stn_session_submit(read->source->session, &q, 1);
        return;
    }
    read->n_out = 1; /* itself */
    read->from_bit = answer->from_bit;
    /* Once a sample: no formatting. Its last byte is always 0. */
    memccpy(read->from, answer->from ? answer->from : "", 0, sizeof read->from - 1);
    if (code == STERNA_OK) code = land_rest(read);
    if (code < 0) stn_cql_read_fail(read, code, read->source->table, answer);
    stn_cql_read_release(read);
}

/* ---- what the loader calls ---- */

static void begin(struct stn_cql_read *read, const struct stn_request *r) {
    static const struct stn_query_call_ops ops = {on_row, on_blob, on_done};
    struct stn_cql_source *s = read->source;
    uint64_t most = s->n_fields * STN_CHUNK_AT_BYTES; /* longer values are not in the row */
    memcpy(read->id, r->id, sizeof read->id);
    read->key = stn_value_of(read->id, sizeof read->id);
    read->expected_bytes = r->expected_bytes;
    read->asked_again = 0;
    read->n_corrupt = 0;
    read->chunks_failed = 0;
    read->code = STERNA_OK;
    read->why[0] = 0;
    read->n_out = 0;
    atomic_store(&read->canceled, 0);
    atomic_store(&read->state, READ_WAITING);
    read->call = (struct stn_query_call){
        .ops = &ops,
        .statement = s->rows,
        .values = &read->key,
        .n_values = 1,
        .lane = STN_LANE_READ,
        .consistency = s->consistency,
        .shape = s->shape,
        .weight_bytes =
            (s->foreign ? r->expected_bytes : STN_MIN(r->expected_bytes, most)) + REQUEST_BYTES,
        .group = s};
}

static int cql_submit(struct stn_source *source, const struct stn_request *requests, size_t n) {
    struct stn_cql_source *s = STN_OUTER(source, struct stn_cql_source, base);
    struct stn_query_call *calls[SUBMIT_AT_ONCE];
    size_t n_calls = 0;
    for (size_t i = 0; i < n; i++)
        if (requests[i].n_fields != s->n_fields) return STERNA_EINVAL;
    struct stn_cql_read *read = stn_cql_reads_take(s, n);
    if (!read && n > 0) return STERNA_ENOMEM;
    atomic_store(&s->was_asked, 1);
    for (size_t i = 0; i < n; i++) {
        struct stn_cql_read *next = read->next;
        begin(read, &requests[i]);
        pthread_mutex_lock(&s->lock);
        read->ticket = requests[i].ticket;
        pthread_mutex_unlock(&s->lock);
        calls[n_calls++] = &read->call;
        read = next;
        if (n_calls < SUBMIT_AT_ONCE && i + 1 < n) continue;
        stn_session_submit(s->session, calls, n_calls);
        n_calls = 0;
    }
    return STERNA_OK;
}

static void give_up(struct stn_cql_read *read, void *ticket) {
    int waiting = READ_WAITING;
    if (read->ticket != *(uint64_t *)ticket) return;
    atomic_store(&read->canceled, 1); /* its next row lands nowhere */
    if (atomic_compare_exchange_strong(&read->state, &waiting, READ_GIVEN_UP))
        stn_sink_complete(read->source->sink, read->ticket, STERNA_ECANCELED, NULL);
}

static void cql_cancel(struct stn_source *source, uint64_t ticket) {
    struct stn_cql_source *s = STN_OUTER(source, struct stn_cql_source, base);
    stn_cql_reads_visit(s, give_up, &ticket);
    stn_sink_flush(s->sink);
}

static void destroy(struct stn_cql_source *s) {
    stn_cql_records_free(s);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

static void cql_close(struct stn_source *source) {
    struct stn_cql_source *s = STN_OUTER(source, struct stn_cql_source, base);
    if (s->pid != getpid()) return; /* a forked child has no loop thread */
    stn_session_remove_hook(s->session, &s->hook);
    stn_session_abandon(s->session, s);
    destroy(s);
}

static void cql_path(struct stn_source *source, struct sterna_path *out) {
    stn_session_path(STN_OUTER(source, struct stn_cql_source, base)->session, out);
}

/* ---- open ---- */

static int is_integer(uint16_t type) {
    return type == STN_CQL_INT || type == STN_CQL_BIGINT || type == STN_CQL_SMALLINT ||
           type == STN_CQL_TINYINT;
}

/* Answers are taken without metadata: the columns must be what they are taken for. */
static int check_columns(const struct stn_cql_source *s, const struct stn_cassandra *c,
                         struct sterna_error *err) {
    struct stn_statement_info info;
    stn_statement_info(s->rows, &info);
    size_t n = (size_t)s->shape.n_small + s->shape.n_blobs;
    if (info.n_columns != n || info.n_params != 1)
        return stn_fail(err, STERNA_EPROTO, "%s: the server prepared %zu columns, not %zu",
                        c->data_table, info.n_columns, n);
    for (size_t i = 0; i < n; i++) {
        uint16_t type = info.columns[i].type;
        int fits = i == 0                 ? type == STN_CQL_UUID || type == STN_CQL_TIMEUUID
                   : i < s->shape.n_small ? is_integer(type)
                                          : type == STN_CQL_BLOB;
        if (!fits)
            return stn_fail(err, STERNA_EFORMAT, "%s: column %s is no %s (its type is 0x%02x)",
                            c->data_table, info.columns[i].name,
                            i == 0                 ? "uuid"
                            : i < s->shape.n_small ? "integer"
                                                   : "blob",
                            type);
    }
    return STERNA_OK;
}

static int prepare(struct stn_cql_source *s, struct stn_cassandra *c,
                   const struct stn_source_options *o, struct sterna_error *err) {
    struct stn_cassandra_field fields[STN_FIELDS_MAX];
    int in_chunks = 0;
    if (o->n_fields > STN_FIELDS_MAX)
        return stn_fail(err, STERNA_EINVAL, "%u fields: at most %d can be read", o->n_fields,
                        STN_FIELDS_MAX);
    s->n_fields = o->n_fields;
    for (uint32_t i = 0; i < s->n_fields; i++) {
        if (!stn_cassandra_field(c, o->fields[i], &fields[i]))
            return stn_fail(err, STERNA_ENOTFOUND, "%s has no field number %u", c->data_table,
                            o->fields[i]);
        in_chunks |= fields[i].bytes_column[0] != 0;
    }
    if (s->n_fields == 0) return STERNA_OK; /* of an empty data set: nothing will be asked for */
    int with_label = c->label_column[0] && is_integer(c->label_type);
    struct stn_cql_select select;
    int rc = stn_cql_select_make(&select, c, fields, s->n_fields, with_label, err);
    if (rc < 0) return rc;
    memcpy(s->places, select.places, sizeof s->places);
    s->label_at = select.label_at;
    s->shape = select.shape;
    rc = stn_session_prepare(s->session, select.text, &s->rows, err);
    free(select.text);
    if (rc == STERNA_OK) rc = check_columns(s, c, err);
    if (rc == STERNA_OK && in_chunks && c->chunk_table)
        rc = stn_cql_chunks_prepare(s, c->chunk_table, err);
    return rc;
}

int stn_cql_source_open(struct stn_source **out, struct stn_cassandra *c, struct stn_sink *sink,
                        const struct stn_source_options *options, struct sterna_error *err) {
    static const struct stn_source_ops ops = {cql_submit, cql_cancel, cql_close, cql_path};
    *out = NULL;
    struct stn_cql_source *s = stn_array(1, sizeof *s);
    if (!s) return stn_fail_memory(err, "a source");
    /* Deadlines and tries on other replicas are the session's. */
    s->base = (struct stn_source){.ops = &ops, .timeout_ms = 0};
    s->session = c->session;
    s->table = c->data_table;
    s->chunk_table = c->chunk_table;
    s->sink = sink;
    s->pid = getpid();
    s->consistency = c->location.read_consistency;
    s->foreign = c->foreign;
    pthread_mutex_init(&s->lock, NULL);
    int rc = prepare(s, c, options, err);
    if (rc < 0) {
        destroy(s);
        return rc;
    }
    s->hook = (struct stn_turn_hook){.run = wake_loader, .ctx = s};
    stn_session_add_hook(s->session, &s->hook);
    *out = &s->base;
    return STERNA_OK;
}
