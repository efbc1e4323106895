/* What the session knows of the way to its nodes, gathered now and then for other threads. */
#include <stdio.h>
#include <string.h>

#include "net/parts.h"

#define PUBLISH_EVERY_NS (5 * STN_NS_PER_MS)

#define AHEAD_MIN_BYTES (1 << 20)
#define FIRST_AHEAD_BYTES ((uint64_t)16 << 20) /* before anything is known: about a batch */
/* Until requests of a node that has fallen silent, or of a connection that lost a segment twice,
 * are asked for elsewhere, and their answers here (two round trips more), others' answers must have
 * somewhere to go. */
#define STALL_NS STN_NS_PER_S

static void add_link(struct sterna_path *path, const struct stn_link *link) {
    struct stn_conn_stats now;
    if (!link->conn) return;
    stn_conn_stats(link->conn, &now);
    path->received_bytes += now.received_bytes;
    if (!stn_conn_is_ready(link->conn)) return;
    path->connections++;
    if (now.min_rtt_ns == 0) return;
    path->rtt_ns = path->rtt_ns ? STN_MIN(path->rtt_ns, now.min_rtt_ns) : now.min_rtt_ns;
    path->rtt_far_ns = STN_MAX(path->rtt_far_ns, now.min_rtt_ns);
}

/* What most of the windows that have something to do say; an overload before all. */
static enum sterna_path_phase phase_of(const struct stn_window *w) {
    static const enum sterna_path_phase phases[] = {[STN_WINDOW_RAMP] = STERNA_PATH_RAMP,
                                                    [STN_WINDOW_STEADY] = STERNA_PATH_STEADY,
                                                    [STN_WINDOW_DRAIN] = STERNA_PATH_DRAIN,
                                                    [STN_WINDOW_BACK_OFF] = STERNA_PATH_BACK_OFF};
    return phases[w->phase];
}

static void add_node(struct sterna_path *path, const struct stn_node *node, double *busiest) {
    const struct stn_window *w = &node->control[STN_LANE_READ].window;
    uint32_t connections = path->connections;
    for (unsigned i = 0; i < node->n_links[STN_LANE_READ]; i++)
        add_link(path, node->links[STN_LANE_READ][i]);
    if (path->connections == connections) return;
    path->nodes++;
    path->window_bytes += w->limit_bytes;
    path->in_flight_bytes += stn_window_in_flight(w);
    path->rate_bytes_s += (uint64_t)w->rate;
    path->rate_max_bytes_s += (uint64_t)w->rate_max;
    if (w->rate + 1 <= *busiest) return;
    *busiest = w->rate + 1;
    path->phase = phase_of(w);
    memcpy(path->decision, node->decision, sizeof path->decision);
}

static void gather(struct stn_session *s, struct sterna_path *path) {
    double busiest = 0;
    *path = (struct sterna_path){.phase = STERNA_PATH_CONNECTING,
                                 .received_bytes = s->received_bytes,
                                 .connections_max = s->path.connections_max};
    for (unsigned i = 0; i < s->n_nodes; i++) add_node(path, s->nodes[i], &busiest);
    path->connections_max = STN_MAX(path->connections_max, path->connections);
    path->hedges = atomic_load(&s->hedges);
    path->hedged_bytes = atomic_load(&s->hedged_bytes);
    path->suspects = atomic_load(&s->suspects);
    path->overloaded = atomic_load(&s->overloaded);
    path->lost_connections = atomic_load(&s->lost);
    path->retrying = s->later.n;
    path->segments = s->tcp.segments;
    path->out_of_order = s->tcp.out_of_order;
    path->holes = s->tcp.holes;
    path->retransmitted = s->tcp.retransmitted;
    path->tcp_rtt_ns = s->tcp.min_rtt_ns;
    snprintf(path->trouble, sizeof path->trouble, "%.159s", s->last_error);
}

/* How much a loader should ask us for: what the windows take, and a little to choose from, since a
 * call that waits here can go to whichever node has room first. It counts whole answers, windows
 * only what has not come of them. */
static void publish_ahead(struct stn_session *s, const struct sterna_path *path) {
    uint64_t ahead = path->window_bytes + path->window_bytes / 4 + AHEAD_MIN_BYTES;
    for (unsigned i = 0; i < s->n_nodes; i++) {
        const struct stn_window *w = &s->nodes[i]->control[STN_LANE_READ].window;
        ahead += w->n_connections * (uint64_t)w->typical_bytes;
    }
    uint64_t stalled_ns = 2 * path->rtt_far_ns + STN_MAX(2 * path->rtt_far_ns, STALL_NS);
    double slack = (double)path->rate_max_bytes_s * (double)stalled_ns / 1e9;
    if (path->phase == STERNA_PATH_RAMP) ahead += path->window_bytes / 4 * 3;
    atomic_store(&s->ahead_bytes, STN_MAX(ahead, FIRST_AHEAD_BYTES));
    atomic_store(&s->slack_bytes, (uint64_t)slack);
}

void stn_path_publish(struct stn_session *s, uint64_t now_ns) {
    struct sterna_path path;
    if (now_ns < s->path_ns) return;
    s->path_ns = now_ns + PUBLISH_EVERY_NS;
    stn_path_look_at_tcp(s, now_ns);
    gather(s, &path);
    publish_ahead(s, &path);
    pthread_mutex_lock(&s->lock);
    s->path = path;
    pthread_mutex_unlock(&s->lock);
}

void stn_session_ahead(struct stn_session *s, uint64_t *ahead_bytes, uint64_t *slack_bytes) {
    *ahead_bytes = STN_MAX(atomic_load(&s->ahead_bytes), FIRST_AHEAD_BYTES);
    *slack_bytes = atomic_load(&s->slack_bytes);
}

void stn_session_path(struct stn_session *s, struct sterna_path *out) {
    pthread_mutex_lock(&s->lock);
    *out = s->path;
    pthread_mutex_unlock(&s->lock);
}
