/* A link: a queue with an end, then a wire that carries one chunk after the other and now and then
 * loses a segment. */
#include "support/path_inside.h"

#include <math.h>
#include <string.h>

static uint64_t next_loss(struct path_link *link) { /* geometric: losses are independent */
    if (link->loss <= 0) return UINT64_MAX;
    return (uint64_t)(log(1 - path_random(link->sim)) / log(1 - link->loss));
}

void path_link_init(struct path_link *link, struct path_sim *sim, double rate,
                    uint64_t queue_bytes) {
    memset(link, 0, sizeof *link);
    link->sim = sim;
    link->rate = rate;
    link->queue_bytes = queue_bytes;
    link->segments_to_loss = UINT64_MAX - 1; /* drawn once `loss` is set */
}

uint64_t path_link_delay_ns(const struct path_link *link) {
    return (uint64_t)((double)link->queued_bytes / link->rate * 1e9);
}

static void transmit(struct path_link *link) {
    double takes = link->head->bytes / link->rate * 1e9;
    path_push(link->sim, link->sim->now_ns + (uint64_t)ceil(takes), PATH_DEPART, link);
}

static void drop(struct path_link *link, struct path_chunk *c) {
    link->dropped_bytes += c->bytes;
    c->lost = 1;
}

void path_link_enter(struct path_link *link, struct path_chunk *c) {
    uint64_t room = link->queue_bytes - STN_MIN(link->queued_bytes, link->queue_bytes);
    if (link->queued_bytes > 0 && c->bytes > room && !c->is_handshake) {
        uint32_t fits = (uint32_t)(room / PATH_SEGMENT_BYTES * PATH_SEGMENT_BYTES);
        drop(link, fits > 0 ? path_chunk_split(link->sim, c, fits) : c);
        if (fits == 0) return;
    }
    c->next_queued = NULL;
    link->queued_bytes += c->bytes;
    link->max_queued_bytes = STN_MAX(link->max_queued_bytes, link->queued_bytes);
    if (link->head) {
        link->tail->next_queued = c;
        link->tail = c;
    } else {
        link->head = link->tail = c;
        transmit(link);
    }
}

static void leave(struct path_chunk *c) {
    struct path_link *next = c->hop == 0 ? c->conn->target->links[1] : NULL;
    if (!next) {
        path_to_client(c);
        return;
    }
    c->hop++;
    path_link_enter(next, c);
}

/* Some segments of it are lost: these become chunks of their own. */
static void leave_lossy(struct path_link *link, struct path_chunk *c) {
    if (link->segments_to_loss >= UINT64_MAX - 1) link->segments_to_loss = next_loss(link);
    for (;;) {
        uint64_t n = (c->bytes + PATH_SEGMENT_BYTES - 1) / PATH_SEGMENT_BYTES;
        if (link->segments_to_loss >= n) {
            link->segments_to_loss -= n;
            leave(c);
            return;
        }
        if (link->segments_to_loss > 0) {
            struct path_chunk *whole = c;
            c = path_chunk_split(link->sim, c,
                                 (uint32_t)link->segments_to_loss * PATH_SEGMENT_BYTES);
            leave(whole);
        }
        struct path_chunk *rest = c->bytes > PATH_SEGMENT_BYTES
                                      ? path_chunk_split(link->sim, c, PATH_SEGMENT_BYTES)
                                      : NULL;
        drop(link, c);
        link->segments_to_loss = next_loss(link);
        if (!rest) return;
        c = rest;
    }
}

void path_link_depart(struct path_link *link) {
    struct path_chunk *c = link->head;
    link->head = c->next_queued;
    link->queued_bytes -= c->bytes;
    link->carried_bytes += c->bytes;
    if (link->head) transmit(link);
    if (link->loss > 0 && !c->is_handshake)
        leave_lossy(link, c);
    else
        leave(c);
}

/* ---- the rest of the way ---- */

/* Half of the round trip, and half of the jitter. It comes and goes in waves of a fifth of a round
 * trip; nothing overtakes on a connection. */
static uint64_t way_ns(const struct path_conn *conn, uint64_t key) {
    const struct path_target *t = conn->target;
    double half = (double)t->rtt_ns / 2;
    if (t->jitter > 0)
        half *= 1 + t->jitter * path_noise(key, (double)conn->sim->now_ns * 5 / (double)t->rtt_ns);
    return (uint64_t)half;
}

uint64_t path_up_ns(struct path_conn *conn) {
    uint64_t at_ns = conn->sim->now_ns + way_ns(conn, 1);
    return conn->to_server_ns = STN_MAX(conn->to_server_ns, at_ns);
}

void path_to_client(struct path_chunk *c) {
    struct path_conn *conn = c->conn;
    uint64_t at_ns = conn->sim->now_ns + way_ns(conn, 2);
    conn->to_client_ns = STN_MAX(conn->to_client_ns, at_ns);
    path_push(conn->sim, conn->to_client_ns, PATH_ARRIVE, c);
}
