/* A lane of a node: how much is asked for, over how many connections, and over which. What
 * request/window.c and request/width.c decide meets the links here. */
#include <inttypes.h>
#include <stdio.h>

#include "base/machine.h"
#include "net/parts.h"

#define LONG_PATH_NS (3 * STN_NS_PER_MS)
#define QUANTUM_NS STN_NS_PER_MS
#define GATHER_NS STN_NS_PER_MS
#define CONFIRM_LINKS 4 /* asked in a round */
#define SCOUT_LINKS_MIN 8
#define SLOW_MAX 32 /* times slower than the others, a link is taken to be at most */
#define SLOW_IDLE 4 /* and one that has nothing to do */

/* Cassandra bounds the request bytes of one client (heap / 40), which writes reach first; and
 * answers not at all, so the window must. */
static const struct {
    uint64_t window_max_bytes;
    unsigned links_short, links_long_part, links_min, links_max_short, links_max_long;
} lanes[] = {
    [STN_LANE_READ] = {UINT64_C(2) << 30, 4, 1, 4, 16, 256},
    [STN_LANE_WRITE] = {64 << 20, 2, 4, 2, 8, 64},
};

/* ---- links ---- */

static unsigned n_local_nodes(const struct stn_session *s) {
    unsigned n = 0;
    for (unsigned i = 0; i < s->n_nodes; i++) n += s->nodes[i]->local && !s->nodes[i]->gone;
    return STN_MAX(n, 1U);
}

/* How many to begin with, as far as the round trip is known. */
static void set_width(struct stn_node *node, enum stn_lane lane, uint64_t rtt_ns) {
    struct stn_session *s = node->session;
    unsigned first = lanes[lane].links_short, min = lanes[lane].links_min;
    unsigned share = lanes[lane].links_long_part * stn_local_ranks(); /* this host's other ranks */
    unsigned max = rtt_ns < LONG_PATH_NS ? lanes[lane].links_max_short : lanes[lane].links_max_long;
    if (rtt_ns >= LONG_PATH_NS) /* and the scout */
        first = stn_width_first(rtt_ns, n_local_nodes(s)) / share + 1;
    if (s->connections) first = min = max = s->connections;
    first = STN_MAX(first, node->control[lane].width.wanted);
    stn_width_init(&node->control[lane].width, first, min, max);
}

static unsigned n_kept(const struct stn_node *node, enum stn_lane lane) {
    unsigned n = 0;
    for (unsigned i = 0; i < node->n_links[lane]; i++) n += !node->links[lane][i]->surplus;
    return n;
}

/* Links as many as are wanted: the newest go first, when they have no calls any more. */
static void fit_links(struct stn_node *node, enum stn_lane lane) {
    unsigned wanted = node->control[lane].width.wanted;
    for (unsigned i = 0; i < node->n_links[lane]; i++)
        node->links[lane][i]->surplus = i >= wanted && node->links[lane][i]->shard == UINT32_MAX;
    for (unsigned n = n_kept(node, lane); n < wanted; n++)
        if (stn_node_add_link(node, lane, UINT32_MAX) < 0) break; /* with those there are */
    node->session->tick_ns = 0;
}

static void close_surplus(struct stn_node *node, enum stn_lane lane) {
    for (unsigned i = node->n_links[lane]; i-- > 0;) {
        struct stn_link *link = node->links[lane][i];
        struct stn_conn_stats now = {0};
        if (!link->surplus) continue;
        if (link->conn) stn_conn_stats(link->conn, &now);
        if (now.calls + now.orphans == 0) stn_node_drop_link(node, lane, i);
    }
}

void stn_lane_init(struct stn_node *node, uint64_t now_ns) {
    for (int lane = 0; lane < STN_LANE_COUNT; lane++) {
        stn_window_init(&node->control[lane].window, lanes[lane].window_max_bytes, now_ns);
        node->control[lane].round_ns = now_ns;
    }
}

void stn_lane_open(struct stn_node *node, enum stn_lane lane) {
    if (node->n_links[lane] > 0 || node->gone || !node->local) return;
    set_width(node, lane, node->session->rtt_ns);
    fit_links(node, lane);
}

void stn_lane_needs(struct stn_node *node, enum stn_lane lane, unsigned n_links) {
    struct stn_width *w = &node->control[lane].width;
    w->min = STN_MAX(w->min, n_links);
    w->max = STN_MAX(w->max, n_links);
    w->wanted = STN_MAX(w->wanted, n_links);
}

/* On a long path the first link of many carries no rows: heartbeats there take the round trip as
 * queues on the way make it, and nothing of our own is in front of them. */
static int is_scout(const struct stn_node *node, enum stn_lane lane, unsigned i) {
    const struct stn_lane_control *c = &node->control[lane];
    return i == 0 && c->window.rtt_ns >= LONG_PATH_NS && c->width.wanted >= SCOUT_LINKS_MIN &&
           !node->session->connections && node->shards.n_shards == 0;
}

static unsigned n_usable(const struct stn_node *node, enum stn_lane lane) {
    unsigned n = 0;
    for (unsigned i = 0; i < node->n_links[lane]; i++)
        n += stn_link_is_usable(node->links[lane][i]) && !node->links[lane][i]->surplus &&
             !is_scout(node, lane, i);
    return n;
}

void stn_lane_ready(struct stn_link *link, uint64_t now_ns) {
    struct stn_node *node = link->node;
    struct stn_session *s = node->session;
    struct stn_lane_control *c = &node->control[link->lane];
    struct stn_conn_stats now;
    stn_conn_stats(link->conn, &now);
    int is_first = c->window.rtt_ns == 0;
    if (now.min_rtt_ns > 0) {
        stn_window_rtt(&c->window, now.min_rtt_ns, now_ns);
        s->rtt_ns = s->rtt_ns ? STN_MIN(s->rtt_ns, now.min_rtt_ns) : now.min_rtt_ns;
    }
    stn_window_connected(&c->window, n_usable(node, link->lane), now_ns);
    if (!is_first) return;
    set_width(node, link->lane, c->window.rtt_ns); /* this node may be farther away than others */
    fit_links(node, link->lane);
}

/* ---- which link ---- */

static int lane_is_ready(const struct stn_node *node, enum stn_lane lane) {
    for (unsigned i = 0; i < node->n_links[lane]; i++)
        if (stn_link_is_usable(node->links[lane][i])) return 1;
    return 0;
}

int stn_node_is_ready(const struct stn_node *node) {
    return lane_is_ready(node, STN_LANE_READ) || lane_is_ready(node, STN_LANE_WRITE);
}

double stn_lane_mean_rate(const struct stn_node *node, enum stn_lane lane) {
    double sum = 0;
    unsigned n = 0;
    for (unsigned i = 0; i < node->n_links[lane]; i++) {
        if (!node->links[lane][i]->is_measured) continue;
        sum += node->links[lane][i]->rate;
        n++;
    }
    return sum / STN_MAX(n, 1U);
}

/* So long until an answer of so many bytes would be here, too. A link that has nothing to do is not
 * taken to be much slower than the others: with losses on the way each is slow at times, and gets
 * over it only while it has something to do. */
static double through_s(const struct stn_link *link, uint64_t bytes, double mean) {
    struct stn_conn_stats now;
    stn_conn_stats(link->conn, &now);
    double least = !link->is_measured ? mean : now.calls > 0 ? mean / SLOW_MAX : mean / SLOW_IDLE;
    return (double)(now.outstanding_bytes - now.landed_bytes + bytes) /
           (STN_MAX(link->rate, least) + 1);
}

int stn_lane_is_wide(const struct stn_node *node, enum stn_lane lane) {
    return is_scout(node, lane, 0);
}

struct stn_link *stn_lane_link(struct stn_node *node, enum stn_lane lane,
                               const struct stn_lane_wish *wish) {
    static const struct stn_lane_wish any = {.shard = UINT32_MAX};
    struct stn_link *best = NULL, *best_of_shard = NULL;
    double least = 0, least_of_shard = 0;
    if (!wish) wish = &any;
    if (!lane_is_ready(node, lane)) lane = lane == STN_LANE_READ ? STN_LANE_WRITE : STN_LANE_READ;
    double mean = stn_lane_mean_rate(node, lane);
    for (unsigned i = node->n_links[lane]; i-- > 0;) { /* the scout last */
        struct stn_link *link = node->links[lane][i];
        int is_spare = link->surplus || is_scout(node, lane, i);
        if (!stn_link_is_usable(link) || link->conn == wish->avoid || (is_spare && best)) continue;
        double busy = through_s(link, wish->bytes, mean);
        if (!best || busy < least || best->surplus) least = busy, best = link;
        if (wish->shard == UINT32_MAX || stn_conn_supported(link->conn)->shard != wish->shard)
            continue;
        if (!best_of_shard || busy < least_of_shard) least_of_shard = busy, best_of_shard = link;
    }
    return best_of_shard ? best_of_shard : best;
}

/* ---- calls ---- */

int stn_lane_has_room(const struct stn_node *node, enum stn_lane lane, uint64_t bytes) {
    return stn_window_allows(&node->control[lane].window, bytes);
}

void stn_lane_sent(struct stn_node *node, struct stn_try *t, uint64_t now_ns) {
    const struct stn_query_call *q = t->query;
    t->measures = stn_window_sent(&node->control[q->lane].window, q->weight_bytes, now_ns);
}

void stn_lane_left(struct stn_node *node, const struct stn_try *t) {
    const struct stn_query_call *q = t->query;
    stn_window_done(&node->control[q->lane].window, q->weight_bytes);
}

void stn_lane_answered(struct stn_node *node, const struct stn_try *t, uint64_t now_ns) {
    const struct stn_query_call *q = t->query;
    struct stn_window *w = &node->control[q->lane].window;
    double delay_ns = (double)(now_ns - t->call.sent_ns);
    node->delay_ns += (delay_ns - node->delay_ns) / 8;
    if (!t->in_window) return;
    if (q->lane == STN_LANE_WRITE) stn_window_received(w, q->weight_bytes); /* by the server */
    if (t->measures && t->call.first_byte_ns)
        stn_window_first_byte(w, t->call.first_byte_ns - t->call.sent_ns, now_ns);
}

/* It must not look faster for not being waited for. */
void stn_node_waited(struct stn_node *node, uint64_t sent_ns, uint64_t now_ns) {
    double delay_ns = (double)(now_ns - sent_ns);
    if (delay_ns > node->delay_ns) node->delay_ns += (delay_ns - node->delay_ns) / 8;
}

void stn_lane_overloaded(struct stn_node *node, enum stn_lane lane, uint64_t now_ns) {
    stn_window_overloaded(&node->control[lane].window, now_ns);
    node->overloaded_ns = now_ns;
    snprintf(node->decision, sizeof node->decision, "%s is overloaded: its window is halved",
             node->text);
}

/* ---- time ---- */

static void gather(struct stn_node *node, enum stn_lane lane) {
    struct stn_window *w = &node->control[lane].window;
    uint64_t landed_bytes = 0;
    for (unsigned i = 0; i < node->n_links[lane]; i++) {
        struct stn_link *link = node->links[lane][i];
        struct stn_conn_stats now;
        if (!link->conn) continue;
        stn_conn_stats(link->conn, &now);
        if (lane == STN_LANE_READ) stn_window_received(w, now.received_bytes - link->seen_bytes);
        link->round_bytes += now.received_bytes - link->seen_bytes;
        link->seen_bytes = now.received_bytes;
        landed_bytes += now.landed_bytes;
        link->was_idle |= now.calls == 0;
    }
    stn_window_landed(w, landed_bytes);
}

/* By the scout, or else by what the kernel says of some of the links in turn. */
static void watch_round_trip(struct stn_node *node, enum stn_lane lane, uint64_t now_ns) {
    struct stn_lane_control *c = &node->control[lane];
    unsigned n = node->n_links[lane];
    if (is_scout(node, lane, 0) && stn_link_is_usable(node->links[lane][0])) {
        struct stn_conn *conn = node->links[lane][0]->conn;
        struct stn_conn_stats now;
        stn_conn_stats(conn, &now);
        if (now.n_rtts != c->n_rtts) stn_window_confirm(&c->window, now.rtt_ns, now_ns);
        c->n_rtts = now.n_rtts;
        stn_conn_beat(conn, now_ns);
        return;
    }
    for (unsigned i = 0; i < STN_MIN(n, (unsigned)CONFIRM_LINKS); i++) {
        const struct stn_link *link = node->links[lane][c->confirm++ % n];
        struct stn_conn_tcp tcp;
        if (!stn_link_is_usable(link)) continue;
        stn_conn_tcp(link->conn, &tcp);
        if (tcp.tcp_rtt_ns) stn_window_confirm(&c->window, tcp.tcp_rtt_ns, now_ns);
    }
}

static void end_links_round(struct stn_node *node, enum stn_lane lane, uint64_t now_ns) {
    struct stn_lane_control *c = &node->control[lane];
    double seconds = (double)STN_MAX(now_ns - c->round_ns, UINT64_C(1)) / 1e9;
    for (unsigned i = 0; i < node->n_links[lane]; i++) {
        struct stn_link *link = node->links[lane][i];
        double rate = (double)link->round_bytes / seconds;
        if (!link->was_idle || rate > link->rate) {
            link->rate += (rate - link->rate) / 2;
            link->is_measured = 1;
        }
        link->was_idle = 0;
        link->round_bytes = 0;
    }
    c->round_ns = now_ns;
}

static void tell_width(struct stn_node *node, unsigned from, const struct stn_width *width) {
    const char *what = width->before           ? "tried"
                       : width->wanted == from ? "kept"
                       : width->wanted > from  ? "opened"
                                               : "back to";
    snprintf(node->decision, sizeof node->decision, "%s: %u connections, %s %u; %.1f MB/s before",
             node->text, from, what, width->wanted, width->rate_before / 1e6);
}

static unsigned n_connected(const struct stn_node *node, enum stn_lane lane) {
    return n_usable(node, lane) +
           (is_scout(node, lane, 0) && stn_link_is_usable(node->links[lane][0]));
}

/* Rounds in which nobody wanted more say nothing about how many connections are of use. */
static void choose_width(struct stn_node *node, enum stn_lane lane, uint64_t now_ns) {
    struct stn_lane_control *c = &node->control[lane];
    unsigned from = c->width.wanted;
    struct stn_width_round round = {.rate = c->window.rate,
                                    .n_ready = n_connected(node, lane),
                                    .steady = c->window.phase == STN_WINDOW_STEADY,
                                    .round_ns = stn_window_round_ns(&c->window),
                                    .queued_ns = stn_window_queued_ns(&c->window),
                                    .limit_bytes = c->window.limit_bytes,
                                    .typical_bytes = (uint64_t)c->window.typical_bytes};
    if (!stn_width_round(&c->width, &round, now_ns)) return;
    tell_width(node, from, &c->width);
    fit_links(node, lane);
}

static void tell_phase(struct stn_node *node, const struct stn_window *w,
                       enum stn_window_phase before) {
    static const char *const words[] = {
        [STN_WINDOW_RAMP] = "the window doubles each round trip",
        [STN_WINDOW_STEADY] = "the window is twice rate and round trip",
        [STN_WINDOW_DRAIN] = "the window is made small to measure the round trip",
        [STN_WINDOW_BACK_OFF] = "overloaded: the window is halved"};
    if (w->phase == before) return;
    snprintf(node->decision, sizeof node->decision, "%s: %s; %.1f MB, %.1f MB/s, %.1f ms",
             node->text, words[w->phase], (double)w->limit_bytes / 1e6, w->rate_max / 1e6,
             (double)w->response_ns / 1e6);
}

uint64_t stn_lane_tick(struct stn_node *node, enum stn_lane lane, int waiting, uint64_t now_ns) {
    struct stn_lane_control *c = &node->control[lane];
    struct stn_window *w = &c->window;
    if (node->n_links[lane] == 0 || (w->n_outstanding == 0 && !waiting)) return UINT64_MAX;
    if (now_ns < c->gather_ns) return c->gather_ns;
    enum stn_window_phase before = w->phase;
    /* All that may go has gone before this; what has come since makes room that is not unwanted. */
    int wanted = waiting && !stn_window_allows(w, (uint64_t)w->typical_bytes);
    gather(node, lane);
    unsigned n_rounds = w->n_rounds;
    stn_window_tick(w, wanted, now_ns);
    if (w->n_slices != c->n_slices) watch_round_trip(node, lane, now_ns);
    c->n_slices = w->n_slices;
    if (w->n_slices / STN_WINDOW_SLICES != c->n_rounds_ended) {
        c->n_rounds_ended = w->n_slices / STN_WINDOW_SLICES;
        end_links_round(node, lane, now_ns);
    }
    if (w->n_rounds != n_rounds) choose_width(node, lane, now_ns);
    stn_window_connected(w, n_usable(node, lane), now_ns);
    close_surplus(node, lane);
    tell_phase(node, w, before);
    c->gather_ns = now_ns + GATHER_NS;
    return c->gather_ns;
}

uint64_t stn_lane_quantum_ns(const struct stn_session *s) {
    if (s->clock != stn_clock_monotonic()) return 0; /* a test's may stand still */
    return s->rtt_ns >= LONG_PATH_NS ? QUANTUM_NS : 0;
}
