/* The client's end of a connection: its handshake, and bytes put in order. */
#include "support/path_inside.h"

#include <string.h>

#define HANDSHAKE_BYTES 60
#define HANDSHAKE_MESSAGES 3 /* TCP's, STARTUP's, PREPARE's: a round trip each */

void path_client_handshake(struct path_conn *conn) {
    struct path_chunk *c = path_chunk_new(conn->sim);
    c->conn = conn;
    c->is_handshake = 1;
    c->bytes = HANDSHAKE_BYTES;
    path_link_enter(conn->target->links[0], c);
}

static void shake(struct path_conn *conn) {
    if (conn->state == PATH_READY) {
        path_target_beaten(conn);
        return;
    }
    if (++conn->handshake == 1) path_target_connected(conn);
    if (conn->handshake < HANDSHAKE_MESSAGES) {
        path_push(conn->sim, path_up_ns(conn), PATH_HANDSHAKE, conn);
    } else {
        path_tcp_init(conn);
        path_target_ready(conn);
    }
}

/* Behind a gap: kept as ranges in order, which mostly grow at the end. */
static void keep(struct path_conn *conn, uint64_t from, uint64_t to) {
    size_t i = conn->n_ranges;
    while (i > 0 && conn->ranges[i - 1].from > from) i--;
    struct path_range *r = conn->ranges;
    if (i > 0 && r[i - 1].to == from) {
        r[i - 1].to = to;
        if (i < conn->n_ranges && r[i].from == to) {
            r[i - 1].to = r[i].to;
            memmove(&r[i], &r[i + 1], (--conn->n_ranges - i) * sizeof *r);
        }
        return;
    }
    if (i < conn->n_ranges && r[i].from == to) {
        r[i].from = from;
        return;
    }
    if (stn_grow((void **)&conn->ranges, &conn->ranges_cap, conn->n_ranges + 1, sizeof *r)) abort();
    r = conn->ranges;
    memmove(&r[i + 1], &r[i], (conn->n_ranges++ - i) * sizeof *r);
    r[i] = (struct path_range){from, to};
}

static uint64_t put_in_order(struct path_conn *conn, uint64_t from, uint64_t to) {
    uint64_t had = conn->received;
    if (from > had) {
        keep(conn, from, to);
        return 0;
    }
    conn->received = to;
    if (conn->n_ranges > 0 && conn->ranges[0].from == to) {
        conn->received = conn->ranges[0].to;
        memmove(&conn->ranges[0], &conn->ranges[1], --conn->n_ranges * sizeof conn->ranges[0]);
    }
    return conn->received - had;
}

void path_client_chunk(struct path_chunk *c) {
    struct path_conn *conn = c->conn;
    if (c->is_handshake) {
        path_chunk_free(conn->sim, c);
        shake(conn);
        return;
    }
    uint64_t bytes = put_in_order(conn, c->seq, c->seq + c->bytes);
    c->cumulative = conn->received;
    path_push(conn->sim, path_up_ns(conn), PATH_ACK, c);
    if (bytes > 0) path_target_received(conn, bytes);
}

/* The round trip of TCP: the acknowledgement of a request waits in the queues of the way back. */
void path_client_round_trip(struct path_request *r) {
    struct path_conn *conn = r->conn;
    uint64_t ns = 2 * (conn->sim->now_ns - r->sent_ns);
    for (int i = 0; i < 2; i++)
        if (r->target->links[i]) ns += path_link_delay_ns(r->target->links[i]);
    conn->srtt_ns = conn->srtt_ns ? conn->srtt_ns - conn->srtt_ns / 8 + ns / 8 : ns;
    conn->srtt_is_new = 1;
}
