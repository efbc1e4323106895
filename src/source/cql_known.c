/* Owns the rows' cache. A row goes when it is the oldest of too many and nothing of it is under
 * way: what is asked for anew is then stored already. */
#include "source/cql_known.h"

#include <stdio.h>
#include <string.h>

#include "source/cql_text.h"

#define ROWS_MAX 8192
#define N_BUCKETS 16384 /* a power of two */
#define REQUEST_BYTES 512

/* ---- the table ---- */

static struct stn_known_row **bucket_of(struct stn_cql_known *k, const uint8_t id[16]) {
    uint64_t a, b;
    memcpy(&a, id, sizeof a);
    memcpy(&b, id + sizeof a, sizeof b);
    return &k->buckets[((a ^ b) * UINT64_C(0x9E3779B97F4A7C15)) >> 50];
}
_Static_assert(N_BUCKETS == 1 << (64 - 50), "a bucket for each hash");

static void unlink_row(struct stn_cql_known *k, struct stn_known_row *row) {
    *(row->older ? &row->older->newer : &k->oldest) = row->newer;
    *(row->newer ? &row->newer->older : &k->newest) = row->older;
}

static void link_newest(struct stn_cql_known *k, struct stn_known_row *row) {
    row->older = k->newest;
    row->newer = NULL;
    *(k->newest ? &k->newest->newer : &k->oldest) = row;
    k->newest = row;
}

static void forget(struct stn_cql_known *k, struct stn_known_row *row) {
    struct stn_known_row **at = bucket_of(k, row->id);
    while (*at != row) at = &(*at)->same_hash;
    *at = row->same_hash;
    unlink_row(k, row);
    k->n_rows--;
    free(row);
}

static void make_room(struct stn_cql_known *k) {
    struct stn_known_row *row = k->oldest, *newer;
    for (; row && k->n_rows >= ROWS_MAX; row = newer) {
        newer = row->newer;
        pthread_mutex_lock(&k->lock);
        int busy = row->asked || row->pins > 0;
        pthread_mutex_unlock(&k->lock);
        if (!busy) forget(k, row);
    }
}

static struct stn_known_row *lookup(struct stn_cql_known *k, const uint8_t id[16]) {
    struct stn_known_row *row = *bucket_of(k, id);
    while (row && memcmp(row->id, id, sizeof row->id) != 0) row = row->same_hash;
    if (!row) return NULL;
    unlink_row(k, row);
    link_newest(k, row);
    return row;
}

static struct stn_known_row *add(struct stn_cql_known *k, const uint8_t id[16]) {
    make_room(k);
    struct stn_known_row *row = stn_array(1, sizeof *row), **bucket = bucket_of(k, id);
    if (!row) return NULL;
    row->known = k;
    memcpy(row->id, id, sizeof row->id);
    row->key = stn_value_of(row->id, sizeof row->id);
    row->same_hash = *bucket;
    *bucket = row;
    link_newest(k, row);
    k->n_rows++;
    return row;
}

/* ---- the question ---- */

static char *compose(const struct stn_cql_known *k, struct sterna_error *err) {
    struct stn_cql_text t;
    if (stn_cql_text_open(&t, err) < 0) return NULL;
    stn_cql_text_add(&t, "SELECT id");
    for (uint32_t i = 0; i < k->n_fields; i++) {
        stn_cql_text_add(&t, ", ");
        stn_cql_text_name(&t, k->fields[i].bytes_column);
        stn_cql_text_add(&t, ", ");
        stn_cql_text_name(&t, k->fields[i].crc_column);
    }
    stn_cql_text_add(&t, " FROM %s WHERE id = ?", k->c->data_table);
    return stn_cql_text_take(&t, err);
}

/* The statement of all fields that there are now; they only become more, behind those before. */
static int prepare(struct stn_cql_known *k, struct sterna_error *err) {
    pthread_mutex_lock(&k->c->lock);
    uint32_t n = (uint32_t)STN_MIN(k->c->n_fields, STN_COUNT(k->fields));
    int same = k->statement && n == k->n_fields;
    memcpy(k->fields, k->c->fields, n * sizeof *k->fields);
    pthread_mutex_unlock(&k->c->lock);
    if (same) return STERNA_OK;
    k->n_fields = n;
    char *text = compose(k, err);
    if (!text) return STERNA_ENOMEM;
    int rc = stn_session_prepare(k->c->session, text, &k->statement, err);
    free(text);
    if (rc < 0) k->statement = NULL;
    return rc;
}

/* ---- the answer ---- */

/* What we write from now on is newer than any answer. */
static void note(struct stn_known_row *row, uint32_t i, struct stn_cql_value bytes,
                 struct stn_cql_value crc) {
    uint32_t bit = UINT32_C(1) << i;
    if (row->is_known & bit) return;
    row->is_known |= bit;
    if (bytes.bytes <= 0) return;
    row->is_stored |= bit;
    row->headers[i].bytes =
        bytes.bytes == 8 ? (uint64_t)stn_value_bigint(bytes) : (uint32_t)stn_value_int(bytes);
    row->headers[i].crc = (uint32_t)stn_value_int(crc);
}

static int take_answer(struct stn_known_row *row, const struct stn_query_answer *answer) {
    const struct stn_cql_result_head *head = answer->head;
    struct stn_cursor values = answer->values;
    if (!head || head->kind != STN_CQL_ROWS || head->n_rows > 1) return STERNA_EPROTO;
    if (head->n_rows == 0) { /* nothing of it is stored */
        for (uint32_t i = 0; i < row->n_asked; i++)
            note(row, i, stn_value_null(), stn_value_null());
        return STERNA_OK;
    }
    if (head->rows.n_columns != 1 + 2 * row->n_asked ||
        !stn_value_equals(stn_get_value(&values), row->id, sizeof row->id))
        return STERNA_EPROTO;
    for (uint32_t i = 0; i < row->n_asked; i++) {
        struct stn_cql_value bytes = stn_get_value(&values), crc = stn_get_value(&values);
        if (values.overrun) return STERNA_EPROTO;
        note(row, i, bytes, crc);
    }
    return STERNA_OK;
}

static void on_done(struct stn_query_call *q, int code, const struct stn_query_answer *answer) {
    struct stn_known_row *row = STN_OUTER(q, struct stn_known_row, call);
    struct stn_cql_known *k = row->known;
    pthread_mutex_lock(&k->lock);
    const char *why = answer ? answer->why : NULL;
    row->code = code == STERNA_OK ? take_answer(row, answer) : code;
    if (row->code == STERNA_EPROTO && code == STERNA_OK)
        why = "the answer is not what was asked for";
    snprintf(row->why, sizeof row->why, "%s", why ? why : sterna_strerror(row->code));
    row->asked = 0;
    pthread_cond_signal(&k->answered);
    pthread_mutex_unlock(&k->lock);
}

static void ask(struct stn_cql_known *k, struct stn_known_row *row) {
    static const struct stn_query_call_ops ops = {.done = on_done};
    struct stn_query_call *call = &row->call;
    row->n_asked = k->n_fields;
    row->asked = 1;
    /* Reads that see every write which was acknowledged: both are quorums. */
    row->call = (struct stn_query_call){.ops = &ops,
                                        .statement = k->statement,
                                        .values = &row->key,
                                        .n_values = 1,
                                        .lane = STN_LANE_READ,
                                        .consistency = STN_CQL_LOCAL_QUORUM,
                                        .weight_bytes = REQUEST_BYTES,
                                        .group = k};
    stn_session_submit(k->c->session, &call, 1);
}

/* ---- what the writing side calls ---- */

int stn_cql_known_init(struct stn_cql_known *k, struct stn_cassandra *c, struct sterna_error *err) {
    *k = (struct stn_cql_known){.c = c};
    pthread_mutex_init(&k->lock, NULL);
    pthread_cond_init(&k->answered, NULL);
    k->buckets = stn_array(N_BUCKETS, sizeof *k->buckets);
    if (k->buckets) return STERNA_OK;
    stn_cql_known_fini(k);
    return stn_fail_memory(err, "what is stored");
}

void stn_cql_known_fini(struct stn_cql_known *k) {
    if (!k->c) return;
    stn_session_abandon(k->c->session, k);
    while (k->oldest) forget(k, k->oldest);
    free(k->buckets);
    pthread_cond_destroy(&k->answered);
    pthread_mutex_destroy(&k->lock);
    *k = (struct stn_cql_known){0};
}

void stn_cql_known_expect(struct stn_cql_known *k, const uint8_t id[16]) {
    if (lookup(k, id) || prepare(k, NULL) < 0 || k->n_fields == 0) return;
    struct stn_known_row *row = add(k, id);
    if (row) ask(k, row);
}

/* Waits for what was asked. 1: that field is known now. */
static int is_known(struct stn_cql_known *k, struct stn_known_row *row, uint32_t place) {
    pthread_mutex_lock(&k->lock);
    while (row->asked) pthread_cond_wait(&k->answered, &k->lock);
    int known = row->is_known >> place & 1;
    pthread_mutex_unlock(&k->lock);
    return known;
}

static int place_of(struct stn_cql_known *k, uint8_t field, uint32_t *place,
                    struct sterna_error *err) {
    for (int round = 0; round < 2; round++) {
        for (*place = 0; *place < k->n_fields; ++*place)
            if (k->fields[*place].number == field) return STERNA_OK;
        int rc = prepare(k, err); /* it may be newer than what we know */
        if (rc < 0) return rc;
    }
    return stn_fail(err, STERNA_EINVAL, "%s has no field number %u", k->c->data_table, field);
}

int stn_cql_known_find(struct stn_cql_known *k, const uint8_t id[16], uint8_t field,
                       struct stn_known_row **out, uint32_t *place, struct sterna_error *err) {
    char text[STERNA_ID_TEXT_BYTES];
    int rc = place_of(k, field, place, err);
    if (rc < 0) return rc;
    struct stn_known_row *row = lookup(k, id);
    if (!row) row = add(k, id);
    if (!row) return stn_fail_memory(err, "what is stored");
    *out = row;
    /* A failed answer to a question asked ahead is not the last word: it is asked anew. */
    if (is_known(k, row, *place)) return STERNA_OK;
    ask(k, row);
    if (is_known(k, row, *place)) return STERNA_OK;
    sterna_id_format(id, text);
    return stn_fail(err, row->code, "%s: sample %s cannot be looked up: %s", k->c->data_table, text,
                    row->why);
}

void stn_cql_known_set(struct stn_known_row *row, uint32_t place,
                       const struct stn_value_header *header) {
    uint32_t bit = UINT32_C(1) << place;
    pthread_mutex_lock(&row->known->lock);
    row->pins++;
    row->is_known |= bit;
    row->is_stored = header ? row->is_stored | bit : row->is_stored & ~bit;
    if (header) row->headers[place] = *header;
    pthread_mutex_unlock(&row->known->lock);
}

void stn_cql_known_unpin(struct stn_known_row *row) {
    pthread_mutex_lock(&row->known->lock);
    row->pins--;
    pthread_mutex_unlock(&row->known->lock);
}
