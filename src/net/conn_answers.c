/* Answers of a connection: which call each belongs to, and those that belong to none. */
#include <stdio.h>
#include <string.h>

#include "net/conn_record.h"

enum { STRAYS_MAX = 16 };

const char *stn_conn_text(struct stn_text t, char *buf, size_t bytes) {
    char raw[256];
    size_t n = STN_MIN(t.bytes, sizeof raw - 1);
    memcpy(raw, t.data ? t.data : "", t.data ? n : 0);
    raw[t.data ? n : 0] = 0;
    for (char *zero; (zero = memchr(raw, 0, n)) && zero < raw + n;) *zero = '?';
    return stn_printable(raw, buf, bytes);
}

/* ---- the end of a call ---- */

struct answer { /* what done() is given; all but the code may be missing */
    int code;
    const struct stn_cql_result_head *head;
    struct stn_cursor *body;
    const struct stn_cql_failure *failure;
    const char *why;
};

/* The call may be sent again from within done(), here or elsewhere. */
static void done(struct stn_conn *conn, struct stn_call *call, const struct answer *a) {
    stn_streams_release(&conn->streams, call->stream);
    call->ops->done(call, a->code, a->head, a->body, a->failure, a->why);
}

void stn_conn_drop_calls(struct stn_conn *conn, const char *why) {
    const struct answer lost = {.code = STERNA_EUNREACHABLE, .why = why};
    conn->taking = NULL;
    while (conn->streams.oldest) done(conn, conn->streams.oldest, &lost);
}

static int broken(struct stn_conn *conn, struct stn_call *call, const char *what) {
    char why[STERNA_MESSAGE_BYTES];
    snprintf(why, sizeof why, "%s: %s", conn->name, what);
    done(conn, call, &(struct answer){.code = STERNA_EPROTO, .why = why});
    return stn_conn_end(conn, STERNA_EPROTO, "%s", what);
}

/* ---- answers that no call waits for ---- */

static int stray(struct stn_conn *conn, const struct stn_cql_header *h) {
    if (conn->ops->stray) conn->ops->stray(conn->ctx, conn, h->stream, h->opcode);
    if (++conn->n_strays < STRAYS_MAX || conn->state == STN_CONN_OVER) return STERNA_OK;
    return stn_conn_end(conn, STERNA_EPROTO, "%d answers that nothing had been asked for",
                        STRAYS_MAX);
}

/* Servers report on stream 0 what concerns the whole connection (Scylla closes it then), and, by
 * mistake, that they are overloaded (CASSANDRA-21508). */
static int stray_error(struct stn_conn *conn, const struct stn_cql_header *h,
                       struct stn_cursor body) {
    struct stn_cql_failure f;
    if (stn_cql_failure_parse(&body, &f) == STERNA_OK)
        stn_conn_text(f.message, conn->last_words, sizeof conn->last_words);
    return stray(conn, h);
}

static int heartbeat_came(struct stn_conn *conn) {
    if (conn->heartbeat_alone) stn_conn_rtt(conn, conn->heartbeat_ns);
    conn->heartbeat_ns = 0;
    return STN_TAKE_NOTHING;
}

/* ---- the receiver's callbacks ---- */

static int begin_call(struct stn_conn *conn, const struct stn_cql_header *h,
                      struct stn_row_shape *shape) {
    struct stn_call *call = stn_streams_call(&conn->streams, h->stream);
    call->first_byte_ns = conn->answered_ns = conn->now_ns;
    if (!call->ops->row) return STN_TAKE_MESSAGE;
    conn->taking = call;
    *shape = call->shape;
    return STN_TAKE_ROW;
}

static void release_orphan(struct stn_conn *conn, int16_t stream) {
    const struct stn_stream orphan = conn->streams.all[stream];
    stn_streams_release(&conn->streams, stream);
    if (conn->ops->late) conn->ops->late(conn->ctx, conn, orphan.sent_ns, orphan.answer_bytes);
}

static int begin(void *ctx, const struct stn_cql_header *h, struct stn_row_shape *shape) {
    struct stn_conn *conn = ctx;
    if (conn->state == STN_CONN_OVER) return STERNA_ECANCELED;
    if (conn->state < STN_CONN_READY) return STN_TAKE_MESSAGE;
    if (h->stream == STN_STREAM_HEARTBEAT && conn->heartbeat_ns) return heartbeat_came(conn);
    if (h->stream == STN_CQL_STREAM_EVENT && h->opcode == STN_CQL_EVENT) return STN_TAKE_MESSAGE;
    switch (stn_streams_state(&conn->streams, h->stream)) {
    case STN_STREAM_CALL:
        return begin_call(conn, h, shape);
    case STN_STREAM_ORPHAN:
        release_orphan(conn, h->stream);
        return STN_TAKE_NOTHING;
    default:
        if (h->opcode == STN_CQL_ERROR) return STN_TAKE_MESSAGE; /* its text is of interest */
        int rc = stray(conn, h);
        return rc < 0 ? rc : STN_TAKE_NOTHING;
    }
}

static int event(struct stn_conn *conn, struct stn_cursor body) {
    struct stn_cql_event e;
    if (stn_cql_event_parse(&body, &e) < 0)
        return stn_conn_end(conn, STERNA_EPROTO, "an EVENT that CQL 4 does not allow");
    if (conn->ops->event) conn->ops->event(conn->ctx, &e);
    return STERNA_OK;
}

static int failure(struct stn_conn *conn, struct stn_call *call, struct stn_cursor body) {
    struct stn_cql_failure f;
    char why[STERNA_MESSAGE_BYTES], text[256], name[32];
    if (stn_cql_failure_parse(&body, &f) < 0)
        return broken(conn, call, "an ERROR that CQL 4 does not allow");
    snprintf(why, sizeof why, "%s: %s: %s", conn->name,
             stn_cql_failure_name(f.code, name, sizeof name),
             stn_conn_text(f.message, text, sizeof text));
    done(conn, call, &(struct answer){.code = STERNA_EIO, .failure = &f, .why = why});
    return STERNA_OK;
}

static int result(struct stn_conn *conn, struct stn_call *call, struct stn_cursor body) {
    struct stn_cql_result_head head;
    if (stn_cql_result_parse(&body, &head) < 0)
        return broken(conn, call, "a RESULT that CQL 4 does not allow");
    done(conn, call, &(struct answer){.code = STERNA_OK, .head = &head, .body = &body});
    return STERNA_OK;
}

static void tell_tablets(struct stn_conn *conn, struct stn_call *call,
                         const struct stn_cql_prelude *prelude) {
    if (prelude->tablets.data && conn->ops->tablets)
        conn->ops->tablets(conn->ctx, call, prelude->tablets);
}

static int answer(struct stn_conn *conn, struct stn_call *call, const struct stn_cql_header *h,
                  const struct stn_cql_prelude *prelude, struct stn_cursor body) {
    tell_tablets(conn, call, prelude);
    if (h->opcode == STN_CQL_ERROR) return failure(conn, call, body);
    if (h->opcode == STN_CQL_RESULT) return result(conn, call, body);
    done(conn, call, &(struct answer){.code = STERNA_OK, .body = &body});
    return STERNA_OK;
}

static int message(void *ctx, const struct stn_cql_header *h, const struct stn_cql_prelude *prelude,
                   struct stn_cursor body) {
    struct stn_conn *conn = ctx;
    conn->taking = NULL;
    if (conn->state == STN_CONN_OVER) return STERNA_ECANCELED;
    if (conn->state < STN_CONN_READY) return stn_conn_handshake(conn, h, body);
    if (h->stream == STN_CQL_STREAM_EVENT && h->opcode == STN_CQL_EVENT) return event(conn, body);
    switch (stn_streams_state(&conn->streams, h->stream)) {
    case STN_STREAM_CALL:
        return answer(conn, stn_streams_call(&conn->streams, h->stream), h, prelude, body);
    case STN_STREAM_ORPHAN: /* given up while it was gathered */
        release_orphan(conn, h->stream);
        return STERNA_OK;
    default:
        return stray_error(conn, h, body);
    }
}

/* What the owner's row() or blob() said, unless it has given the call up or ended the connection.
 */
static int owners(const struct stn_conn *conn, const struct stn_call *call, int rc) {
    return conn->taking == call && conn->state != STN_CONN_OVER ? rc : STERNA_ECANCELED;
}

static int row(void *ctx, const struct stn_cql_prelude *prelude,
               const struct stn_cql_value *small) {
    struct stn_conn *conn = ctx;
    struct stn_call *call = conn->taking;
    if (!call || conn->state == STN_CONN_OVER) return STERNA_ECANCELED;
    conn->in_row = 1;
    tell_tablets(conn, call, prelude);
    int rc = owners(conn, call, STERNA_OK);
    if (rc == STERNA_OK) rc = owners(conn, call, call->ops->row(call, small));
    conn->in_row = 0;
    return rc;
}

static int blob(void *ctx, uint32_t i, uint32_t bytes, uint8_t **to) {
    struct stn_conn *conn = ctx;
    struct stn_call *call = conn->taking;
    *to = NULL;
    if (!call || conn->state == STN_CONN_OVER) return STERNA_ECANCELED;
    conn->in_row = 1;
    int rc = owners(conn, call, call->ops->blob(call, i, bytes, to));
    conn->in_row = 0;
    if (rc < 0) *to = NULL;
    return rc;
}

static int row_end(void *ctx, int code) {
    struct stn_conn *conn = ctx;
    struct stn_call *call = conn->taking;
    conn->taking = NULL;
    if (conn->state == STN_CONN_OVER) return STERNA_ECANCELED;
    if (!call) return STERNA_OK; /* given up */
    if (code == STERNA_EPROTO)
        return broken(conn, call, "an answer that is not what was asked for");
    done(conn, call, &(struct answer){.code = code});
    return STERNA_OK;
}

const struct stn_receiver_ops stn_conn_receiver_ops = {
    .begin = begin, .message = message, .row = row, .blob = blob, .row_end = row_end};
