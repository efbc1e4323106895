/* Losses on the way, as far as a receiver's kernel shows them: segments that came behind a hole.
 * One that is lost keeps all behind it out of order until it comes again, a round trip later; so
 * holes are counted, by looking now and then, and of several in one look or one round trip only
 * one. */
#include "net/parts.h"

#define LOOK_EVERY_NS (100 * STN_NS_PER_MS)

/* Counts since the last look. What is worked out may go back a little: it is not counted twice. */
static uint64_t since(uint64_t now, uint64_t *last) {
    uint64_t more = now > *last ? now - *last : 0;
    *last += more;
    return more;
}

void stn_tcp_add(struct stn_tcp_sums *sums, struct stn_tcp_look *look,
                 const struct stn_conn_tcp *now, uint64_t now_ns) {
    uint64_t late = since(now->out_of_order_segments, &look->out_of_order);
    sums->segments += since(now->segments_in, &look->segments);
    sums->retransmitted += since(now->retransmitted, &look->retransmitted);
    sums->out_of_order += late;
    if (now->tcp_min_rtt_ns > 0 && (!sums->min_rtt_ns || now->tcp_min_rtt_ns < sums->min_rtt_ns))
        sums->min_rtt_ns = now->tcp_min_rtt_ns;
    /* In the two round trips after its beginning a hole looks like itself. */
    uint64_t known_ns = look->hole_ns ? look->hole_ns + 2 * now->tcp_rtt_ns + LOOK_EVERY_NS : 0;
    int same = look->was_late && now_ns < known_ns;
    if (late > 0 && !same) {
        sums->holes++;
        look->hole_ns = now_ns;
    }
    look->was_late = late > 0;
}

static void look_at_link(struct stn_tcp_sums *sums, struct stn_link *link, uint64_t now_ns) {
    struct stn_conn_tcp now;
    if (!link->conn || !stn_conn_is_ready(link->conn)) return;
    stn_conn_tcp(link->conn, &now);
    stn_tcp_add(sums, &link->tcp, &now, now_ns);
}

void stn_path_look_at_tcp(struct stn_session *s, uint64_t now_ns) {
    if (now_ns < s->tcp.due_ns) return;
    s->tcp.due_ns = now_ns + LOOK_EVERY_NS;
    for (unsigned i = 0; i < s->n_nodes; i++)
        for (unsigned k = 0; k < s->nodes[i]->n_links[STN_LANE_READ]; k++)
            look_at_link(&s->tcp, s->nodes[i]->links[STN_LANE_READ][k], now_ns);
}
