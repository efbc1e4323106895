#include "cassandra/runs.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/digest.h"
#include "cassandra/meta_row.h"
#include "cassandra/tables.h"

#define IN_FLIGHT 256 /* rows on their way */
#define ROW_WEIGHT_BYTES 512
#define ATTEMPTS_MAX 200
#define ASKED_ROWS 100 /* of the list of runs, before it is known how many are new */
#define RUN_COLUMNS "number, run, parts, samples, source, finished"

int stn_uuid1(uint8_t out[16], struct sterna_error *err) {
    struct timespec now;
    int rc = stn_uuid4(out, err); /* clock sequence and node */
    if (rc < 0) return rc;
    clock_gettime(CLOCK_REALTIME, &now);
    /* 100 ns since 1582-10-15 */
    uint64_t t = (uint64_t)now.tv_sec * 10000000 + (uint64_t)now.tv_nsec / 100 +
                 UINT64_C(0x01B21DD213814000);
    for (int i = 0; i < 4; i++) out[i] = (uint8_t)(t >> (24 - 8 * i));
    out[4] = (uint8_t)(t >> 40);
    out[5] = (uint8_t)(t >> 32);
    out[6] = (uint8_t)(0x10 | (t >> 56 & 0x0F));
    out[7] = (uint8_t)(t >> 48);
    out[10] |= 1; /* no network card's address */
    return STERNA_OK;
}

/* ---- rows on their way ---- */

struct publishing;
struct row_call {
    struct stn_query_call call;
    struct publishing *publishing;
    struct stn_meta_writer writer;
    uint8_t part[4];
    struct stn_cql_value values[2 + STN_META_COLUMNS];
    uint8_t *text; /* what the values borrow from the row, kept until the answer */
    size_t text_cap;
    struct row_call *next_free;
};

struct publishing {
    struct stn_cassandra *c;
    struct stn_statement *insert;
    struct row_call *calls;
    uint8_t run[16];
    int64_t timestamp_us;
    uint64_t n_rows;
    struct sterna_error *err;
    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t changed;
    struct row_call *free;
    size_t n_free;
    int code;
    char why[300];
};

static void row_done(struct stn_query_call *q, int code, const struct stn_query_answer *answer) {
    struct row_call *call = STN_OUTER(q, struct row_call, call);
    struct publishing *p = call->publishing;
    pthread_mutex_lock(&p->lock);
    if (code < 0 && p->code == 0) {
        p->code = code;
        snprintf(p->why, sizeof p->why, "%s", answer->why ? answer->why : sterna_strerror(code));
    }
    call->next_free = p->free;
    p->free = call;
    p->n_free++;
    pthread_cond_signal(&p->changed);
    pthread_mutex_unlock(&p->lock);
}

/* NULL after a failure. */
static struct row_call *take_call(struct publishing *p) {
    pthread_mutex_lock(&p->lock);
    while (!p->free && p->code == 0) pthread_cond_wait(&p->changed, &p->lock);
    struct row_call *call = p->code == 0 ? p->free : NULL;
    if (call) {
        p->free = call->next_free;
        p->n_free--;
    }
    pthread_mutex_unlock(&p->lock);
    return call;
}

static void give_call(struct publishing *p, struct row_call *call) {
    pthread_mutex_lock(&p->lock);
    call->next_free = p->free;
    p->free = call;
    p->n_free++;
    pthread_mutex_unlock(&p->lock);
}

static int fail_rows(const struct publishing *p, struct sterna_error *err) {
    return stn_fail(err, p->code, "%s: the run's rows cannot be written to %s: %s",
                    p->c->location.shown, p->c->meta_table, p->why);
}

/* Texts of the row are the catalogue's until its next row only. */
static int keep_texts(struct row_call *call) {
    struct stn_cql_value *all = call->writer.values;
    static const int texts[] = {STN_META_PATH, STN_META_CLASS, STN_META_SPLIT, STN_META_FORMAT};
    size_t bytes = 1, at = 0;
    for (size_t i = 0; i < STN_COUNT(texts); i++)
        if (all[texts[i]].bytes > 0) bytes += (size_t)all[texts[i]].bytes;
    if (stn_grow((void **)&call->text, &call->text_cap, bytes, 1) < 0) return STERNA_ENOMEM;
    for (size_t i = 0; i < STN_COUNT(texts); i++) {
        struct stn_cql_value *v = &all[texts[i]];
        if (v->bytes < 0) continue;
        if (v->bytes > 0) memcpy(call->text + at, v->data, (size_t)v->bytes);
        v->data = call->text + at;
        at += (size_t)v->bytes;
    }
    return STERNA_OK;
}

static int fill_call(struct publishing *p, struct row_call *call, const struct stn_row *row,
                     int belongs) {
    int rc = stn_meta_write(&call->writer, row, belongs);
    if (rc == STERNA_OK) rc = keep_texts(call);
    if (rc < 0) return rc;
    call->values[0] = stn_value_of(p->run, 16);
    call->values[1] = stn_value_from_int((int32_t)(p->n_rows / STN_RUN_PART_ROWS), call->part);
    memcpy(&call->values[2], call->writer.values, sizeof call->writer.values);
    return STERNA_OK;
}

static int send_row(void *ctx, const struct stn_row *row, int belongs) {
    static const struct stn_query_call_ops ops = {.done = row_done};
    struct publishing *p = ctx;
    struct row_call *call = take_call(p);
    if (!call) return fail_rows(p, p->err);
    int rc = fill_call(p, call, row, belongs);
    if (rc < 0) {
        char id[STERNA_ID_TEXT_BYTES];
        give_call(p, call);
        sterna_id_format(row->id, id);
        if (rc == STERNA_ENOMEM) return stn_fail_memory(p->err, "the rows of a run");
        return stn_fail(p->err, rc, "sample %s: its columns are too long", id);
    }
    call->call = (struct stn_query_call){.ops = &ops,
                                         .statement = p->insert,
                                         .values = call->values,
                                         .n_values = STN_COUNT(call->values),
                                         .lane = STN_LANE_WRITE,
                                         .consistency = p->c->location.write_consistency,
                                         .is_write = 1,
                                         .timestamp_us = p->timestamp_us,
                                         .weight_bytes = ROW_WEIGHT_BYTES,
                                         .group = p};
    struct stn_query_call *one = &call->call;
    stn_session_submit(p->c->session, &one, 1);
    p->n_rows++;
    return STERNA_OK;
}

static int publishing_init(struct publishing *p, struct stn_cassandra *c,
                           struct sterna_error *err) {
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->changed, NULL);
    p->calls = stn_array(IN_FLIGHT, sizeof *p->calls);
    if (!p->calls) return stn_fail_memory(err, "the rows of a run");
    for (size_t i = 0; i < IN_FLIGHT; i++) {
        p->calls[i].publishing = p;
        p->calls[i].next_free = p->free;
        p->free = &p->calls[i];
    }
    p->n_free = IN_FLIGHT;
    int rc = stn_uuid1(p->run, err);
    char *text = stn_text_make("INSERT INTO %s (run, part, " STN_META_COLUMN_LIST ") VALUES"
                               " (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                               c->meta_table);
    if (!text) rc = stn_fail_memory(err, "a statement");
    if (rc == STERNA_OK) rc = stn_session_prepare(c->session, text, &p->insert, err);
    free(text);
    return rc;
}

/* Until all rows are answered, or one has failed: then the others are called off. */
static int wait_for_rows(struct publishing *p) {
    pthread_mutex_lock(&p->lock);
    while (p->n_free < IN_FLIGHT && p->code == 0) pthread_cond_wait(&p->changed, &p->lock);
    int rc = p->code;
    pthread_mutex_unlock(&p->lock);
    return rc;
}

static void publishing_fini(struct publishing *p) {
    if (p->calls) stn_session_abandon(p->c->session, p);
    for (size_t i = 0; i < IN_FLIGHT && p->calls; i++) {
        stn_meta_writer_fini(&p->calls[i].writer);
        free(p->calls[i].text);
    }
    free(p->calls);
    pthread_mutex_destroy(&p->lock);
    pthread_cond_destroy(&p->changed);
}

/* ---- the number ---- */

struct numbers {         /* as DS_run has them, from `from` on */
    uint64_t from, last; /* the highest that is taken */
    const uint8_t *run;
    uint64_t ours; /* of `run`; 0: it has none */
};

static int look_at_numbers(void *ctx, const struct stn_rows *rows) {
    struct numbers *n = ctx;
    for (size_t i = 0; i < rows->n_rows && rows->n_columns == 2; i++) {
        const struct stn_cql_value *v = &rows->values[2 * i];
        n->last = STN_MAX(n->last, (uint64_t)stn_value_int(v[0]));
        if (stn_value_equals(v[1], n->run, 16)) n->ours = (uint64_t)stn_value_int(v[0]);
    }
    return STERNA_OK;
}

static int read_numbers(struct stn_cassandra *c, struct numbers *n, struct sterna_error *err) {
    uint8_t be[4];
    const struct stn_cql_value values[] = {stn_value_of("run", 3),
                                           stn_value_from_int((int32_t)n->from, be)};
    n->last = n->from - 1;
    return stn_ask_all(
        c, STN_ASK_SERIAL,
        stn_text_make("SELECT number, run FROM %s WHERE k = ? AND number >= ?", c->run_table),
        values, STN_COUNT(values), look_at_numbers, n, err);
}

/* 1: the number is ours; 0: somebody else's. */
static int claim_number(struct publishing *p, uint64_t number, const char *source,
                        struct sterna_error *err) {
    uint8_t be[4][8];
    struct stn_rows rows;
    uint64_t n_parts = (p->n_rows + STN_RUN_PART_ROWS - 1) / STN_RUN_PART_ROWS;
    /* A source may be any path; text must be UTF-8. */
    char shown[1024];
    stn_printable(source, shown, sizeof shown);
    const struct stn_cql_value values[] = {stn_value_of("run", 3),
                                           stn_value_from_int((int32_t)number, be[0]),
                                           stn_value_of(p->run, 16),
                                           stn_value_from_int((int32_t)n_parts, be[1]),
                                           stn_value_from_bigint((int64_t)p->n_rows, be[2]),
                                           stn_is_utf8(source, strlen(source))
                                               ? stn_value_of(source, strlen(source))
                                               : stn_value_of(shown, strlen(shown)),
                                           stn_value_from_bigint((int64_t)time(NULL), be[3]),
                                           stn_value_of("committed", 9)};
    int rc = stn_ask(p->c, STN_ASK_IF,
                     stn_text_make("INSERT INTO %s (k, number, run, parts, samples, source,"
                                   " finished, state) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
                                   " IF NOT EXISTS",
                                   p->c->run_table),
                     values, STN_COUNT(values), &rows, err);
    int applied = rc == STERNA_OK && stn_ask_applied(&rows);
    stn_rows_free(&rows);
    return rc < 0 ? rc : applied;
}

/* Whether a claim without an answer has come through is found out by reading: none of the numbers
 * from the first that was asked for is ours. */
static int claim(struct publishing *p, const char *source, uint64_t *number,
                 struct sterna_error *err) {
    struct numbers known = {.from = 1, .run = p->run};
    int unsure = 0;
    for (unsigned attempt = 0; attempt < ATTEMPTS_MAX; attempt++) {
        struct sterna_error why = {0};
        int rc = read_numbers(p->c, &known, &why);
        if (rc == STERNA_OK && known.ours > 0) {
            *number = known.ours;
            return STERNA_OK;
        }
        if (rc == STERNA_OK) {
            if (attempt == 0) known.from = known.last + 1;
            rc = claim_number(p, known.last + 1, source, &why);
            if (rc < 0) unsure = 1;
        }
        if (rc > 0) {
            *number = known.last + 1;
            return STERNA_OK;
        }
        if (rc < 0 && (rc != STERNA_ETIMEOUT || attempt >= 8))
            return stn_fail(err, rc, "%s: %s: %s", p->c->location.shown,
                            unsure ? "it is not known whether the run was committed (see `info`): "
                                     "ingest again if it is not there"
                                   : "the run cannot be committed",
                            why.message);
        stn_ask_pause(attempt);
    }
    return stn_fail(err, STERNA_EBUSY,
                    "%s: too many others commit runs at the same time: ingest again",
                    p->c->location.shown);
}

int stn_run_publish(struct stn_cassandra *c, struct stn_catalog *catalog, const char *source,
                    int64_t timestamp_us, uint64_t *number, struct sterna_error *err) {
    struct publishing p = {.c = c, .timestamp_us = timestamp_us, .err = err};
    *number = 0;
    int rc = publishing_init(&p, c, err);
    if (rc == STERNA_OK) rc = stn_catalog_run_rows(catalog, send_row, &p, err);
    if (rc == STERNA_OK && wait_for_rows(&p) < 0) rc = fail_rows(&p, err);
    if (rc == STERNA_OK && p.n_rows > 0) rc = claim(&p, source, number, err);
    publishing_fini(&p);
    return rc;
}

/* ---- the list ---- */

struct listing {
    uint64_t from;
    struct stn_run_row *runs;
    size_t n, cap;
    struct stn_cassandra *c;
    struct sterna_error *err;
};

static int take_run(struct listing *l, const struct stn_cql_value *v) {
    struct stn_text source = stn_value_string(v[4]);
    if (stn_value_int(v[0]) > 0 && (uint64_t)stn_value_int(v[0]) < l->from) return STERNA_OK;
    if (v[1].bytes != 16 || stn_value_int(v[0]) <= 0)
        return stn_fail(l->err, STERNA_EFORMAT, "%s: a row of table %s is no run's",
                        l->c->location.shown, l->c->run_table);
    if (stn_grow((void **)&l->runs, &l->cap, l->n + 1, sizeof *l->runs) < 0)
        return stn_fail_memory(l->err, "the list of runs");
    struct stn_run_row *run = &l->runs[l->n];
    *run = (struct stn_run_row){.number = (uint64_t)stn_value_int(v[0]),
                                .n_parts = (uint32_t)stn_value_int(v[2]),
                                .n_samples = (uint64_t)stn_value_bigint(v[3]),
                                .finished_s = stn_value_bigint(v[5]),
                                .source = strndup(source.data ? source.data : "", source.bytes)};
    memcpy(run->run, v[1].data, 16);
    if (!run->source) return stn_fail_memory(l->err, "the list of runs");
    l->n++;
    return STERNA_OK;
}

static int take_runs(void *ctx, const struct stn_rows *rows) {
    int rc = STERNA_OK;
    for (size_t i = 0; i < rows->n_rows && rc == STERNA_OK; i++)
        rc = take_run(ctx, &rows->values[i * rows->n_columns]);
    return rc;
}

void stn_runs_ask(struct stn_cassandra *c, struct stn_asked *asked) {
    stn_ask_ahead(c, asked,
                  stn_text_make("SELECT " RUN_COLUMNS " FROM %s WHERE k = 'run' AND number >= 1",
                                c->run_table),
                  ASKED_ROWS);
}

/* 1: the list is whole, 0: it must be asked for. */
static int take_asked(struct listing *l, struct stn_asked *asked) {
    struct stn_rows rows = {0};
    if (!asked || !asked->text) return 0;
    int rc = stn_ask_answer(asked, &rows, NULL);
    int whole = rc == STERNA_OK && !rows.paging_state.data;
    if (whole) rc = take_runs(l, &rows);
    stn_rows_free(&rows);
    return whole ? rc < 0 ? rc : 1 : 0;
}

int stn_runs_list(struct stn_cassandra *c, uint64_t from, struct stn_asked *asked,
                  struct stn_run_row **out, size_t *n, struct sterna_error *err) {
    struct listing l = {.from = from, .c = c, .err = err};
    uint8_t be[4];
    const struct stn_cql_value values[] = {stn_value_of("run", 3),
                                           stn_value_from_int((int32_t)from, be)};
    int rc = take_asked(&l, asked);
    if (rc == 0)
        rc = stn_ask_all(c, STN_ASK_READ,
                         stn_text_make("SELECT " RUN_COLUMNS " FROM %s WHERE k = ? AND number >= ?",
                                       c->run_table),
                         values, STN_COUNT(values), take_runs, &l, err);
    if (rc < 0) stn_runs_free(&l.runs, l.n);
    *out = l.runs;
    *n = rc < 0 ? 0 : l.n;
    return rc < 0 ? rc : STERNA_OK;
}

void stn_runs_free(struct stn_run_row **runs, size_t n) {
    for (size_t i = 0; i < n; i++) free((*runs)[i].source);
    free(*runs);
    *runs = NULL;
}
