/* A loader: tells its windows what came, asks for as much as they allow, on the connection that
 * will be through first, and opens and closes connections as the widths want. */
#include "support/path_inside.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define PACED_ABOVE_NS (3 * STN_NS_PER_MS)
#define QUANTUM_NS STN_NS_PER_MS
#define SCOUT_CONNS_MIN 8
#define SLOW_MAX 32 /* times slower than the others, at most */

void path_loader_init(struct path_loader *loader, struct path_sim *sim, uint64_t sample_bytes) {
    memset(loader, 0, sizeof *loader);
    loader->sim = sim;
    loader->sample_bytes = sample_bytes;
    loader->max_bytes = UINT64_C(1) << 40;
}

struct path_target *path_loader_add(struct path_loader *loader, struct path_server *server,
                                    struct path_link *link, uint64_t rtt_ns, enum path_cc cc) {
    if (loader->n_targets == PATH_TARGETS) abort();
    struct path_target *t = &loader->targets[loader->n_targets++];
    t->loader = loader;
    t->server = server;
    t->links[0] = link;
    t->rtt_ns = rtt_ns;
    t->cc = cc;
    t->buffer_bytes = 2900000; /* of 4 MiB tcp_wmem: measured */
    t->n_nodes = 1;
    t->width_min = 1;
    t->width_max = 128;
    return t;
}

void path_loader_fini(struct path_loader *loader) {
    for (size_t i = 0; i < loader->n_targets; i++) {
        struct path_target *t = &loader->targets[i];
        for (size_t k = 0; k < t->n_conns; k++) {
            free(t->conns[k]->ranges);
            free(t->conns[k]);
        }
        free(t->conns);
        free(t->received);
    }
}

/* ---- connections: closed ones stay in memory, for what is still on its way to them ---- */

/* On a long path the first connection of many carries no requests: what its heartbeats take is the
 * round trip, with the queues on the way. */
static int is_scout(const struct path_target *t, const struct path_conn *conn) {
    return conn == t->conns[0] && t->window.rtt_ns >= PACED_ABOVE_NS &&
           t->width.wanted >= SCOUT_CONNS_MIN && t->width.max > t->width.min;
}

static void count_ready(struct path_target *t) {
    t->n_ready = 0;
    for (size_t i = 0; i < t->n_conns; i++)
        if (t->conns[i]->state == PATH_READY && !is_scout(t, t->conns[i])) t->n_ready++;
    stn_window_connected(&t->window, t->n_ready, t->loader->sim->now_ns);
}

static void open_conn(struct path_target *t) {
    struct path_conn *conn = stn_array(1, sizeof *conn);
    if (!conn || stn_grow((void **)&t->conns, &t->conns_cap, t->n_conns + 1, sizeof *t->conns))
        abort();
    t->conns[t->n_conns++] = conn;
    conn->sim = t->loader->sim;
    conn->target = t;
    conn->opened_ns = conn->sim->now_ns;
    conn->was_idle = 1;
    path_push(conn->sim, path_up_ns(conn), PATH_HANDSHAKE, conn);
}

static void close_conn(struct path_conn *conn) {
    conn->state = conn->n_outstanding > 0 ? PATH_CLOSING : PATH_CLOSED;
}

static void set_width(struct path_target *t) {
    unsigned n = 0;
    for (size_t i = 0; i < t->n_conns; i++)
        if (t->conns[i]->state <= PATH_READY) n++;
    for (size_t i = t->n_conns; i-- > 0 && n > t->width.wanted;)
        if (t->conns[i]->state <= PATH_READY) {
            close_conn(t->conns[i]);
            n--;
        }
    for (; n < t->width.wanted; n++) open_conn(t);
    t->max_conns = STN_MAX(t->max_conns, n);
    count_ready(t);
}

void path_target_connected(struct path_conn *conn) {
    struct path_target *t = conn->target;
    uint64_t now_ns = conn->sim->now_ns, rtt_ns = now_ns - conn->opened_ns;
    stn_window_rtt(&t->window, rtt_ns, now_ns);
    if (t->width.wanted > 0) return;
    stn_width_init(&t->width, stn_width_first(rtt_ns, t->n_nodes), t->width_min, t->width_max);
    set_width(t);
}

/* ---- what is wanted ---- */

static uint64_t draw_bytes(struct path_loader *loader) {
    if (!loader->mixed) return loader->sample_bytes;
    double factor = exp2(4 * path_random(loader->sim) - 2) / 1.3525; /* of mean 1 */
    return (uint64_t)((double)loader->sample_bytes * factor) + 1;
}

static uint64_t next_bytes(struct path_target *t) {
    if (t->retries) return t->retries->bytes;
    if (t->next_bytes == 0) t->next_bytes = draw_bytes(t->loader);
    return t->next_bytes;
}

static int is_wanted(struct path_target *t) {
    struct path_loader *loader = t->loader;
    if (t->retries || loader->consumer_rate <= 0) return 1;
    double passed = (double)(loader->sim->now_ns - loader->consumer_ns) / 1e9;
    loader->consumer_ns = loader->sim->now_ns;
    loader->consumer_bytes = STN_MIN(loader->consumer_bytes + passed * loader->consumer_rate,
                                     (double)loader->consumer_max_bytes);
    return loader->consumer_bytes >= (double)next_bytes(t);
}

/* ---- sending ---- */

static void beat(struct path_target *t) {
    struct path_conn *scout = t->conns[0];
    if (scout->state != PATH_READY || scout->beat_ns || !is_scout(t, scout)) return;
    scout->beat_ns = scout->sim->now_ns;
    path_push(scout->sim, path_up_ns(scout), PATH_HANDSHAKE, scout);
}

void path_target_beaten(struct path_conn *conn) {
    uint64_t now_ns = conn->sim->now_ns;
    stn_window_confirm(&conn->target->window, now_ns - conn->beat_ns, now_ns);
    conn->beat_ns = 0;
}

/* One that has nothing to do is taken to be like the others. */
static double through_s(const struct path_target *t, const struct path_conn *conn) {
    int is_known = conn->n_outstanding > 0 && conn->is_measured;
    double rate = is_known ? conn->rate : STN_MAX(conn->rate, t->mean_rate);
    double bytes = (double)(conn->outstanding_bytes + t->next_bytes);
    return bytes / (STN_MAX(rate, t->mean_rate / SLOW_MAX) + 1);
}

static struct path_conn *choose(const struct path_target *t) {
    struct path_conn *best = NULL;
    double least_s = 0;
    for (size_t i = 0; i < t->n_conns; i++) {
        struct path_conn *conn = t->conns[i];
        if (conn->state != PATH_READY || is_scout(t, conn)) continue;
        double s = through_s(t, conn);
        if (best && s >= least_s) continue;
        best = conn;
        least_s = s;
    }
    return best;
}

static void note_burst(struct path_target *t, uint64_t bytes) {
    const struct stn_window *w = &t->window;
    uint64_t now_ns = t->loader->sim->now_ns;
    if (now_ns - t->burst_began_ns >= QUANTUM_NS) {
        t->burst_began_ns = now_ns;
        t->burst_bytes = 0;
    }
    t->burst_bytes += bytes;
    double pace = (double)w->limit_bytes / (double)STN_MAX(w->rtt_ns, QUANTUM_NS);
    double first = STN_MAX(w->typical_bytes, 4 * 10 * PATH_SEGMENT_BYTES);
    double most = 2 * pace * (double)QUANTUM_NS + t->n_ready * first;
    t->max_burst = STN_MAX(t->max_burst, (double)t->burst_bytes / most);
}

static void send_one(struct path_target *t) {
    struct path_sim *sim = t->loader->sim;
    struct path_conn *conn = choose(t);
    struct path_request *r = t->retries;
    if (r) {
        t->retries = r->next;
    } else {
        r = path_request_new(sim);
        r->target = t;
        r->bytes = next_bytes(t);
        r->wanted_ns = sim->now_ns;
        t->next_bytes = 0;
        if (t->loader->consumer_rate > 0) t->loader->consumer_bytes -= (double)r->bytes;
    }
    r->conn = conn;
    r->sent_ns = sim->now_ns;
    r->overloaded = 0;
    r->landed_bytes = 0;
    r->measures = stn_window_sent(&t->window, r->bytes, sim->now_ns);
    conn->outstanding_bytes += r->bytes;
    conn->n_outstanding++;
    note_burst(t, r->bytes);
    t->max_in_flight_bytes = STN_MAX(t->max_in_flight_bytes, stn_window_in_flight(&t->window));
    path_push(sim, path_up_ns(conn), PATH_REQUEST, r);
}

/* ---- rounds ---- */

static void end_round(struct path_target *t) {
    struct stn_window *w = &t->window;
    uint64_t now_ns = t->loader->sim->now_ns, least_ns = UINT64_MAX;
    double took = (double)(now_ns - t->round_began_ns) / 1e9;
    unsigned n_measured = 0;
    t->mean_rate = 0;
    for (size_t i = 0; i < t->n_conns; i++) {
        struct path_conn *conn = t->conns[i];
        if (conn->state >= PATH_CLOSED) continue;
        double rate = (double)conn->round_bytes / took;
        if (!conn->was_idle || rate > conn->rate) {
            conn->rate += (rate - conn->rate) / 2;
            conn->is_measured = 1;
        }
        conn->was_idle = conn->n_outstanding == 0;
        conn->round_bytes = 0;
        if (conn->is_measured) t->mean_rate += (conn->rate - t->mean_rate) / ++n_measured;
        if (conn->srtt_is_new) least_ns = STN_MIN(least_ns, conn->srtt_ns);
        conn->srtt_is_new = 0;
    }
    t->round_began_ns = now_ns;
    if (least_ns != UINT64_MAX && !is_scout(t, t->conns[0]))
        stn_window_confirm(w, least_ns, now_ns);
    struct stn_width_round round = {
        .rate = w->rate,
        .n_ready = t->n_ready + (is_scout(t, t->conns[0]) ? 1 : 0),
        .steady = w->phase == STN_WINDOW_STEADY && w->n_limited == 0,
        .round_ns = stn_window_round_ns(w),
        .queued_ns = stn_window_queued_ns(w),
        .limit_bytes = w->limit_bytes,
        .typical_bytes = (uint64_t)w->typical_bytes,
    };
    if (stn_width_round(&t->width, &round, now_ns)) set_width(t);
}

static void tick(struct path_target *t) {
    struct path_sim *sim = t->loader->sim;
    uint64_t next_ns = stn_window_tick(&t->window, is_wanted(t), sim->now_ns);
    if (t->tick_ns != next_ns) path_push(sim, t->tick_ns = next_ns, PATH_TICK, t);
    if (t->window.n_slices != t->n_slices_seen) beat(t);
    t->n_slices_seen = t->window.n_slices;
    unsigned n_rounds = t->window.n_slices / STN_WINDOW_SLICES;
    if (n_rounds != t->n_rounds_seen && t->width.wanted > 0) {
        t->n_rounds_seen = n_rounds;
        end_round(t);
    }
}

static void wake_at(struct path_target *t, uint64_t at_ns) {
    uint64_t now_ns = t->loader->sim->now_ns;
    if (t->wake_ns > now_ns && t->wake_ns <= at_ns) return;
    path_push(t->loader->sim, t->wake_ns = at_ns, PATH_WAKE, t);
}

static void send_allowed(struct path_target *t) {
    uint64_t now_ns = t->loader->sim->now_ns, earliest_ns = now_ns + 1;
    if (t->n_ready == 0) return;
    tick(t);
    if (t->window.rtt_ns > PACED_ABOVE_NS) earliest_ns = t->sent_ns + QUANTUM_NS;
    if (now_ns >= earliest_ns || t->window.rtt_ns <= PACED_ABOVE_NS) {
        while (is_wanted(t) && stn_window_allows(&t->window, next_bytes(t))) {
            send_one(t);
            t->sent_ns = now_ns;
            if (t->window.rtt_ns > PACED_ABOVE_NS) earliest_ns = now_ns + QUANTUM_NS;
        }
    }
    if (!is_wanted(t)) {
        double lacks = (double)next_bytes(t) - t->loader->consumer_bytes;
        wake_at(t, now_ns + 1 + (uint64_t)(lacks / t->loader->consumer_rate * 1e9));
        return;
    }
    uint64_t due_ns = stn_window_due(&t->window, next_bytes(t), now_ns);
    if (due_ns != UINT64_MAX) wake_at(t, STN_MAX(STN_MAX(due_ns, earliest_ns), now_ns + PATH_US));
}

void path_target_wake(struct path_target *t) {
    if (t->wake_ns == t->loader->sim->now_ns) send_allowed(t);
}

void path_target_tick(struct path_target *t) {
    if (t->tick_ns != t->loader->sim->now_ns) return;
    tick(t);
    send_allowed(t);
}

void path_target_ready(struct path_conn *conn) {
    struct path_target *t = conn->target;
    if (conn->state != PATH_CONNECTING) return;
    conn->state = PATH_READY;
    count_ready(t);
    send_allowed(t);
}

/* ---- what comes ---- */

static void note_received(struct path_target *t, uint64_t bytes) {
    struct path_sim *sim = t->loader->sim;
    size_t bin = (size_t)(sim->now_ns / sim->bin_ns), had = t->n_bins;
    if (stn_grow((void **)&t->received, &had, bin + 1, sizeof *t->received)) abort();
    if (had > t->n_bins)
        memset(t->received + t->n_bins, 0, (had - t->n_bins) * sizeof *t->received);
    t->n_bins = had;
    t->received[bin] += bytes;
    t->received_bytes += bytes;
}

static void end_request(struct path_request *r) {
    struct path_target *t = r->target;
    struct path_conn *conn = r->conn;
    uint64_t now_ns = conn->sim->now_ns;
    conn->head = r->next;
    conn->outstanding_bytes -= r->bytes;
    if (--conn->n_outstanding == 0) conn->was_idle = 1;
    if (conn->n_outstanding == 0 && conn->state == PATH_CLOSING) conn->state = PATH_CLOSED;
    stn_window_done(&t->window, r->bytes);
    if (r->overloaded) {
        t->n_overloaded++;
        stn_window_overloaded(&t->window, now_ns);
        r->next = t->retries;
        t->retries = r;
        return;
    }
    t->landed_bytes -= r->bytes;
    stn_window_landed(&t->window, t->landed_bytes);
    t->max_wait_ns = STN_MAX(t->max_wait_ns, now_ns - r->wanted_ns);
    t->n_done++;
    path_request_free(conn->sim, r);
}

static void land(struct path_request *r, uint64_t bytes) {
    struct path_target *t = r->target;
    uint64_t now_ns = r->conn->sim->now_ns;
    if (r->landed_bytes == 0 && r->measures && !r->overloaded)
        stn_window_first_byte(&t->window, now_ns - r->sent_ns, now_ns);
    r->landed_bytes += bytes;
    if (r->overloaded) return;
    stn_window_received(&t->window, bytes);
    t->landed_bytes += bytes;
    stn_window_landed(&t->window, t->landed_bytes);
    r->conn->round_bytes += bytes;
    note_received(t, bytes);
}

void path_target_received(struct path_conn *conn, uint64_t bytes) {
    struct path_target *t = conn->target;
    while (bytes > 0) {
        struct path_request *r = conn->head;
        uint64_t n = STN_MIN(bytes, r->answer_bytes - r->landed_bytes);
        bytes -= n;
        land(r, n);
        if (r->landed_bytes == r->answer_bytes) end_request(r);
    }
    send_allowed(t);
}

/* ---- the run ---- */

void path_loader_begin(struct path_loader *loader) {
    for (size_t i = 0; i < loader->n_targets; i++) {
        stn_window_init(&loader->targets[i].window, loader->max_bytes, loader->sim->now_ns);
        loader->targets[i].round_began_ns = loader->sim->now_ns;
        open_conn(&loader->targets[i]);
    }
}

void path_loader_start(struct path_loader *loader) {
    path_push(loader->sim, loader->start_ns, PATH_START, loader);
}

static uint64_t between(const struct path_sim *sim, const struct path_target *t, uint64_t from_ns,
                        uint64_t until_ns) {
    uint64_t bytes = 0;
    for (size_t i = (size_t)(from_ns / sim->bin_ns); i < until_ns / sim->bin_ns && i < t->n_bins;
         i++)
        bytes += t->received[i];
    return bytes;
}

double path_rate(const struct path_sim *sim, const struct path_target *t, uint64_t from_ns,
                 uint64_t until_ns) {
    from_ns -= from_ns % sim->bin_ns;
    until_ns -= until_ns % sim->bin_ns;
    return (double)between(sim, t, from_ns, until_ns) / ((double)(until_ns - from_ns) / 1e9);
}

uint64_t path_reached(const struct path_sim *sim, const struct path_target *t, double rate,
                      uint64_t span_ns) {
    span_ns = STN_MAX(span_ns - span_ns % sim->bin_ns, sim->bin_ns);
    for (uint64_t at_ns = span_ns; at_ns <= t->n_bins * sim->bin_ns; at_ns += sim->bin_ns)
        if (path_rate(sim, t, at_ns - span_ns, at_ns) >= rate) return at_ns;
    return UINT64_MAX;
}
