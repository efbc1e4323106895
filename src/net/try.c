/* One request of a call: its frame, its place among those that are out, and, where two are out for
 * one call, whose bytes may land. Never both: the maker's memory is one extent. */
#include <stdio.h>
#include <string.h>

#include "net/parts.h"

/* A transfer goes on if it got bytes within the last round trip, or this. */
#define STALL_MIN_NS (20 * STN_NS_PER_MS)
#define SLOW 4 /* times, than over another link */

/* ---- those that are out ---- */

int stn_query_is_out(const struct stn_query_call *q) {
    return q->tries[0].node || q->tries[1].node;
}

struct stn_try *stn_try_other(const struct stn_try *t) {
    struct stn_try *other = &t->query->tries[t == &t->query->tries[0]];
    return other->node ? other : NULL;
}

static void enter(struct stn_session *s, struct stn_try *t, uint64_t now_ns) {
    struct stn_query_call *q = t->query;
    if (!stn_try_other(t)) stn_calls_append(&s->sent, q);
    t->older = s->newest;
    t->newer = NULL;
    *(s->newest ? &s->newest->newer : &s->oldest) = t;
    s->newest = t;
    for (size_t i = 0; i < STN_COUNT(s->stragglers); i++)
        if (!s->stragglers[i].unchecked) s->stragglers[i].unchecked = t;
    if (t->in_window) stn_lane_sent(t->node, t, now_ns);
    atomic_fetch_add(&s->in_flight, 1);
    atomic_fetch_add(&s->in_flight_bytes, q->weight_bytes);
    stn_hedge_sent(t);
}

/* It is no longer its connection's. */
static void leave(struct stn_try *t) {
    struct stn_query_call *q = t->query;
    struct stn_session *s = q->session;
    stn_hedge_left(t);
    if (t->in_window) stn_lane_left(t->node, t);
    atomic_fetch_sub(&s->in_flight, 1);
    atomic_fetch_sub(&s->in_flight_bytes, q->weight_bytes);
    for (size_t i = 0; i < STN_COUNT(s->stragglers); i++)
        if (s->stragglers[i].unchecked == t) s->stragglers[i].unchecked = t->newer;
    *(t->older ? &t->older->newer : &s->oldest) = t->newer;
    *(t->newer ? &t->newer->older : &s->newest) = t->older;
    t->node = NULL;
    if (!stn_query_is_out(q)) stn_calls_remove(&s->sent, q);
}

void stn_try_give_up(struct stn_try *t) {
    struct stn_conn *conn = t->call.conn;
    struct stn_node *node = t->node;
    leave(t);
    if (!stn_conn_give_up(conn, &t->call) || !t->in_window) return;
    if (node->owed_bytes == 0) node->owed_ns = stn_session_now(node->session);
    node->owed_bytes += t->call.answer_bytes;
}

void stn_try_lose(struct stn_try *t, uint64_t now_ns) {
    stn_node_waited(t->node, t->call.sent_ns, now_ns);
    atomic_fetch_add(&t->query->session->hedged_bytes, t->query->weight_bytes);
    stn_try_give_up(t);
}

/* ---- answers ---- */

static int is_moving(const struct stn_try *t, uint64_t now_ns) {
    struct stn_conn_stats conn;
    stn_conn_stats(t->call.conn, &conn);
    return now_ns < conn.last_byte_ns + STN_MAX(conn.min_rtt_ns, STALL_MIN_NS);
}

int stn_try_is_slow(const struct stn_try *t, uint64_t now_ns) {
    struct stn_conn_stats conn;
    if (!t->is_begun || !stn_lane_is_wide(t->node, t->query->lane)) return 0;
    stn_conn_stats(t->call.conn, &conn);
    uint64_t silence_ns = stn_hedge_silence_ns(conn.min_rtt_ns);
    double since_s = (double)(now_ns - t->call.first_byte_ns) / 1e9;
    double left = (double)t->query->weight_bytes - (double)conn.landed_bytes;
    double rate = ((double)conn.landed_bytes + 1) / (since_s + 1e-9);
    return since_s * 1e9 > (double)silence_ns && left / rate * 1e9 > (double)silence_ns &&
           rate < stn_lane_mean_rate(t->node, t->query->lane) / SLOW;
}

/* The first row of a call that begins is the one that lands, unless it got stuck on its way. */
static int on_row(struct stn_call *call, const struct stn_cql_value *small) {
    struct stn_try *t = STN_OUTER(call, struct stn_try, call), *other = stn_try_other(t);
    struct stn_query_call *q = t->query;
    uint64_t now_ns = stn_session_now(q->session);
    stn_hedge_begun(t, now_ns);
    if (other && other->is_begun) {
        int goes_on = is_moving(other, now_ns) && !stn_try_is_slow(other, now_ns);
        struct stn_try *loser = goes_on ? t : other;
        stn_try_lose(loser, now_ns);
        if (loser == t) return STERNA_ECANCELED;
    }
    return q->ops->row(q, small);
}

static int on_blob(struct stn_call *call, uint32_t i, uint32_t bytes, uint8_t **to) {
    struct stn_query_call *q = STN_OUTER(call, struct stn_try, call)->query;
    return q->ops->blob(q, i, bytes, to);
}

static void on_done(struct stn_call *call, int code, const struct stn_cql_result_head *head,
                    struct stn_cursor *body, const struct stn_cql_failure *failure,
                    const char *why) {
    struct stn_try *t = STN_OUTER(call, struct stn_try, call);
    struct stn_node *node = t->node;
    if (code == STERNA_OK || code == STERNA_ENOTFOUND)
        stn_hedge_begun(t, stn_session_now(t->query->session)); /* if no row has told it */
    leave(t);
    stn_query_answered(t->query, t, node, code, head, body, failure, why);
}

static const struct stn_call_ops gathered_ops = {.done = on_done};
static const struct stn_call_ops row_ops = {.row = on_row, .blob = on_blob, .done = on_done};

struct stn_query_call *stn_query_of(struct stn_call *call) {
    int ours = call && (call->ops == &gathered_ops || call->ops == &row_ops);
    return ours ? STN_OUTER(call, struct stn_try, call)->query : NULL;
}

/* ---- sending ---- */

static void put_frame(struct stn_writer *w, const struct stn_query_call *q,
                      const struct stn_prepared *p) {
    const struct stn_cql_query query = {.consistency = q->consistency_now,
                                        .serial_consistency = q->serial_consistency,
                                        /* Conditional writes tell their columns only in answers. */
                                        .skip_metadata = p && q->statement->n_columns > 0,
                                        .values = q->values,
                                        .n_values = q->n_values,
                                        .page_size = q->page_size,
                                        .paging_state = q->paging_state,
                                        .timestamp_us = q->timestamp_us};
    if (p)
        stn_cql_put_execute(w, 0, p->id, p->id_bytes, &query);
    else
        stn_cql_put_query(w, 0, q->text, &query);
}

static int send_frame(struct stn_conn *conn, struct stn_try *t, const struct stn_prepared *p,
                      uint64_t now_ns) {
    uint8_t small[512], *frame = small;
    struct stn_writer w = {.to = small, .cap = sizeof small};
    put_frame(&w, t->query, p);
    size_t bytes = w.used;
    if (bytes > sizeof small) {
        frame = malloc(bytes);
        if (!frame) return STERNA_ENOMEM;
        w = (struct stn_writer){.to = frame, .cap = bytes};
        put_frame(&w, t->query, p);
    }
    int rc = stn_conn_send(conn, &t->call, frame, bytes, now_ns);
    if (frame != small) free(frame);
    return rc;
}

int stn_try_send(struct stn_query_call *q, struct stn_node *node, uint64_t now_ns) {
    struct stn_try *t = &q->tries[q->tries[0].node != NULL];
    struct stn_conn *control = q->statement ? NULL : stn_control_conn_of(node);
    const struct stn_try *first = q->tries[0].node == node ? &q->tries[0] : NULL;
    const struct stn_lane_wish wish = {.shard = stn_route_shard(node, q, now_ns),
                                       .bytes = q->weight_bytes,
                                       .avoid = first ? first->call.conn : NULL};
    struct stn_link *link = control ? NULL : stn_lane_link(node, q->lane, &wish);
    struct stn_conn *conn = link ? link->conn : control;
    const struct stn_prepared *p = q->statement ? stn_prepared_at(node, q->statement) : NULL;
    if (!conn) return STERNA_AGAIN;
    *t = (struct stn_try){.call = {.ops = q->ops->row ? &row_ops : &gathered_ops,
                                   .shape = q->shape,
                                   .answer_bytes = q->weight_bytes},
                          .query = q,
                          .in_window = link != NULL};
    int rc = send_frame(conn, t, p, now_ns);
    if (rc != STERNA_OK) return rc;
    t->node = node;
    t->is_second = stn_try_other(t) != NULL;
    enter(q->session, t, now_ns);
    if (link)
        link->dirty = 1;
    else
        stn_conn_flush(conn, now_ns);
    atomic_fetch_add(&q->session->tries, 1);
    return STERNA_OK;
}
