/* What the session knows of the way to its nodes, gathered now and then for other threads. */
#include <stdio.h>

#include "net/parts.h"

#define PUBLISH_EVERY_NS (10 * STN_NS_PER_MS)

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

static void add_node(struct sterna_path *path, const struct stn_node *node) {
    const struct stn_window *w = &node->window[STN_LANE_READ];
    uint32_t connections = path->connections;
    for (unsigned i = 0; i < node->n_links[STN_LANE_READ]; i++)
        add_link(path, node->links[STN_LANE_READ][i]);
    if (path->connections == connections) return;
    path->nodes++;
    path->window_bytes += w->limit_bytes;
    path->in_flight_bytes += w->outstanding_bytes;
}

static void gather(struct stn_session *s, struct sterna_path *path) {
    *path = (struct sterna_path){.received_bytes = s->received_bytes,
                                 .connections_max = s->path.connections_max};
    for (unsigned i = 0; i < s->n_nodes; i++) add_node(path, s->nodes[i]);
    path->connections_max = STN_MAX(path->connections_max, path->connections);
    path->phase = path->nodes ? STERNA_PATH_STEADY : STERNA_PATH_CONNECTING;
    path->overloaded = atomic_load(&s->overloaded);
    path->lost_connections = atomic_load(&s->lost);
    path->retrying = s->later.n;
    snprintf(path->trouble, sizeof path->trouble, "%.159s", s->last_error);
}

void stn_path_publish(struct stn_session *s, uint64_t now_ns) {
    struct sterna_path path;
    if (now_ns < s->path_ns) return;
    s->path_ns = now_ns + PUBLISH_EVERY_NS;
    gather(s, &path);
    pthread_mutex_lock(&s->lock);
    s->path = path;
    pthread_mutex_unlock(&s->lock);
}

void stn_session_path(struct stn_session *s, struct sterna_path *out) {
    pthread_mutex_lock(&s->lock);
    *out = s->path;
    pthread_mutex_unlock(&s->lock);
}
