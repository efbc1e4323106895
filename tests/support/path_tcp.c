/* A TCP sender, by chunks of segments: what is on the way and what was lost of it. As in Linux:
 * selective acknowledgements, a loss known from later ones (RACK), a probe at the tail, then the
 * time-out; the receiver's and the sender's buffers as one bound. */
#include "support/path_inside.h"

#include <string.h>

#define RTO_MIN_NS (200 * STN_NS_PER_MS)

void path_tcp_init(struct path_conn *conn) {
    struct path_tcp *tcp = &conn->tcp;
    memset(tcp, 0, sizeof *tcp);
    tcp->window = 10 * PATH_SEGMENT_BYTES;
    tcp->threshold = 1e18;
    tcp->srtt_ns = conn->target->rtt_ns; /* of the handshake */
    tcp->used_ns = conn->sim->now_ns;
    if (conn->target->cc == PATH_BBR)
        path_bbr_init(conn);
    else
        path_cubic_init(conn);
}

uint64_t path_tcp_rto_ns(const struct path_conn *conn) { return conn->tcp.srtt_ns + RTO_MIN_NS; }

/* ---- lists ---- */

static void append(struct path_chunk **head, struct path_chunk **tail, struct path_chunk *c) {
    c->next = NULL;
    if (*head)
        (*tail)->next = c;
    else
        *head = c;
    *tail = c;
}

static struct path_chunk *take(struct path_chunk **head) {
    struct path_chunk *c = *head;
    *head = c->next;
    return c;
}

/* ---- sending ---- */

static struct path_chunk *next_new(struct path_conn *conn, uint64_t most) {
    struct path_tcp *tcp = &conn->tcp;
    uint64_t end = STN_MIN(tcp->written, tcp->acknowledged + conn->target->buffer_bytes);
    if (end <= tcp->next_seq) return NULL;
    struct path_chunk *c = path_chunk_new(conn->sim);
    c->conn = conn;
    c->seq = tcp->next_seq;
    c->bytes = (uint32_t)STN_MIN(end - tcp->next_seq, most);
    tcp->next_seq += c->bytes;
    return c;
}

static struct path_chunk *next_lost(struct path_conn *conn, uint64_t most) {
    struct path_tcp *tcp = &conn->tcp;
    if (tcp->lost_head->bytes > most) path_chunk_split(conn->sim, tcp->lost_head, (uint32_t)most);
    return take(&tcp->lost_head);
}

static void start_timer(struct path_conn *conn) {
    struct path_tcp *tcp = &conn->tcp;
    if (tcp->timer_ns) return;
    tcp->timer_ns = conn->sim->now_ns + 3 * tcp->srtt_ns + 10 * STN_NS_PER_MS;
    path_push(conn->sim, tcp->timer_ns, PATH_TIMER, conn);
}

static void put(struct path_conn *conn, struct path_chunk *c) {
    struct path_tcp *tcp = &conn->tcp;
    uint64_t now_ns = conn->sim->now_ns;
    if (tcp->in_flight == 0) tcp->first_sent_ns = tcp->delivered_ns = tcp->progress_ns = now_ns;
    c->lost = c->hop = 0;
    c->sent_ns = tcp->last_sent_ns = now_ns;
    c->delivered = tcp->delivered;
    c->delivered_ns = tcp->delivered_ns;
    c->first_sent_ns = tcp->first_sent_ns;
    c->app_limited = tcp->app_limited_until > tcp->delivered;
    tcp->in_flight += c->bytes;
    append(&tcp->head, &tcp->tail, c);
    if (conn->target->cc == PATH_BBR) {
        double takes = c->bytes / path_bbr_pace(conn) * 1e9;
        tcp->pace_ns = STN_MAX(tcp->pace_ns, now_ns) + (uint64_t)takes;
    }
    start_timer(conn);
    path_link_enter(conn->target->links[0], c);
}

/* 0: all is sent, or the buffers are full; else bytes that may go, at least a segment. */
static uint64_t quantum(struct path_conn *conn) {
    uint64_t most = conn->sim->chunk_bytes;
    if (conn->target->cc == PATH_BBR) {
        uint64_t over_ns = STN_MAX(STN_NS_PER_MS, conn->target->rtt_ns / 64);
        uint64_t paced = (uint64_t)(path_bbr_pace(conn) * (double)over_ns / 1e9);
        most = STN_MIN(most, STN_MAX(paced, (uint64_t)PATH_SEGMENT_BYTES));
    }
    double room = conn->tcp.window - (double)conn->tcp.in_flight;
    if (room < most) most = room < PATH_SEGMENT_BYTES ? 0 : (uint64_t)room;
    return most / PATH_SEGMENT_BYTES * PATH_SEGMENT_BYTES;
}

static void note_use(struct path_conn *conn, int is_full) {
    struct path_tcp *tcp = &conn->tcp;
    uint64_t now_ns = conn->sim->now_ns;
    if (is_full || tcp->acknowledged > tcp->used_end || tcp->in_flight > tcp->used_max) {
        tcp->was_full = is_full;
        tcp->used_max = tcp->in_flight;
        tcp->used_end = tcp->next_seq;
    }
    if (is_full) {
        tcp->used_ns = now_ns;
    } else if (conn->target->cc == PATH_CUBIC && tcp->written == tcp->next_seq &&
               now_ns - tcp->used_ns >= path_tcp_rto_ns(conn)) {
        path_cubic_unused(conn);
        tcp->used_ns = now_ns;
    }
}

void path_tcp_send(struct path_conn *conn) {
    struct path_tcp *tcp = &conn->tcp;
    uint64_t now_ns = conn->sim->now_ns;
    int is_full = 0, has_sent = 0;
    if (tcp->paced_ns == now_ns) tcp->paced_ns = 0;
    if (conn->state == PATH_CLOSED) return;
    if (tcp->in_flight == 0 && tcp->last_sent_ns && conn->target->cc == PATH_CUBIC)
        path_cubic_idle(conn, now_ns - tcp->last_sent_ns);
    while (tcp->lost_head || tcp->next_seq < tcp->written) {
        if (conn->target->cc == PATH_BBR && tcp->pace_ns > now_ns) {
            if (!tcp->paced_ns) path_push(conn->sim, tcp->paced_ns = tcp->pace_ns, PATH_PACE, conn);
            break;
        }
        uint64_t most = quantum(conn);
        if (most == 0 && tcp->in_flight == 0) most = PATH_SEGMENT_BYTES;
        if ((is_full = most == 0)) break;
        struct path_chunk *c = tcp->lost_head ? next_lost(conn, most) : next_new(conn, most);
        if (!c) break;
        put(conn, c);
        has_sent = 1;
    }
    if (has_sent || is_full) note_use(conn, is_full);
    if (!tcp->lost_head && tcp->next_seq == tcp->written && (double)tcp->in_flight < tcp->window)
        tcp->app_limited_until = STN_MAX(tcp->delivered + tcp->in_flight, 1);
}

void path_tcp_write(struct path_conn *conn, uint64_t bytes) {
    conn->tcp.written += bytes;
    path_tcp_send(conn);
}

/* ---- acknowledgements ---- */

static void lose_head(struct path_conn *conn) {
    struct path_tcp *tcp = &conn->tcp;
    struct path_chunk *c = take(&tcp->head);
    if (conn->target->cc == PATH_BBR) path_bbr_lost(conn, c->bytes);
    tcp->in_flight -= c->bytes;
    append(&tcp->lost_head, &tcp->lost_tail, c);
}

static void recover(struct path_conn *conn) {
    if (conn->tcp.recovering) return;
    conn->tcp.recovering = 1;
    conn->tcp.recover_seq = conn->tcp.next_seq;
    if (conn->target->cc == PATH_CUBIC)
        path_cubic_loss(conn);
    else
        path_bbr_recover(conn);
}

static void measure(struct path_tcp *tcp, uint64_t rtt_ns) {
    tcp->srtt_ns = tcp->srtt_ns ? tcp->srtt_ns - tcp->srtt_ns / 8 + rtt_ns / 8 : rtt_ns;
    tcp->min_rtt_ns = tcp->min_rtt_ns ? STN_MIN(tcp->min_rtt_ns, rtt_ns) : rtt_ns;
}

void path_tcp_ack(struct path_chunk *c) {
    struct path_conn *conn = c->conn;
    struct path_tcp *tcp = &conn->tcp;
    uint64_t now_ns = conn->sim->now_ns, rtt_ns = now_ns - c->sent_ns;
    tcp->acknowledged = STN_MAX(tcp->acknowledged, c->cumulative);
    int has_lost = 0;
    while (tcp->head != c) { /* nothing overtakes */
        lose_head(conn);
        has_lost = 1;
    }
    take(&tcp->head);
    tcp->in_flight -= c->bytes;
    tcp->delivered += c->bytes;
    tcp->delivered_ns = tcp->progress_ns = now_ns;
    tcp->first_sent_ns = c->sent_ns;
    tcp->n_timeouts = 0;
    measure(tcp, rtt_ns);
    if (has_lost) recover(conn);
    if (tcp->recovering && tcp->acknowledged >= tcp->recover_seq) tcp->recovering = 0;
    if (conn->target->cc == PATH_BBR)
        path_bbr_ack(conn, c, rtt_ns);
    else if (!tcp->recovering)
        path_cubic_ack(conn, c->bytes, rtt_ns);
    path_chunk_free(conn->sim, c);
    path_tcp_send(conn);
}

static int all_lost(const struct path_tcp *tcp) {
    for (const struct path_chunk *c = tcp->head; c; c = c->next)
        if (!c->lost) return 0;
    return 1;
}

/* First a probe of the tail, which tells the losses; then the time-out. */
static void give_up(struct path_conn *conn) {
    struct path_tcp *tcp = &conn->tcp;
    while (tcp->head) lose_head(conn);
    recover(conn);
    if (tcp->n_timeouts++ > 0 && conn->target->cc == PATH_CUBIC) path_cubic_timeout(conn);
    tcp->progress_ns = conn->sim->now_ns;
}

void path_tcp_timer(struct path_conn *conn) {
    struct path_tcp *tcp = &conn->tcp;
    tcp->timer_ns = 0;
    if (conn->state == PATH_CLOSED || !tcp->head) return;
    uint64_t wait_ns = tcp->n_timeouts == 0
                           ? 3 * tcp->srtt_ns + 10 * STN_NS_PER_MS
                           : path_tcp_rto_ns(conn) << STN_MIN(tcp->n_timeouts - 1, 6U);
    if (conn->sim->now_ns >= tcp->progress_ns + wait_ns) {
        if (all_lost(tcp)) {
            give_up(conn);
            path_tcp_send(conn);
            return;
        }
        tcp->progress_ns = conn->sim->now_ns;
    }
    tcp->timer_ns = tcp->progress_ns + wait_ns;
    path_push(conn->sim, tcp->timer_ns, PATH_TIMER, conn);
}
