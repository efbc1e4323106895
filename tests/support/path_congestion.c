/* How fast a sender sends: cubic as in Linux (RFC 9438, HyStart by delay), and BBR's first version
 * (Cardwell et al. 2016). */
#include "support/path_inside.h"

#include <math.h>
#include <string.h>

#define INITIAL_WINDOW (10.0 * PATH_SEGMENT_BYTES)

/* ---- cubic ---- */

#define C 0.4
#define BETA 0.7

static double segments(double bytes) { return bytes / PATH_SEGMENT_BYTES; }

void path_cubic_init(struct path_conn *conn) { conn->tcp.cubic.hystart_base_ns = UINT64_MAX; }

static void hystart(struct path_tcp *tcp, uint64_t rtt_ns) {
    struct path_cubic *cubic = &tcp->cubic;
    cubic->hystart_base_ns = STN_MIN(cubic->hystart_base_ns, rtt_ns);
    if (tcp->acknowledged >= cubic->hystart_end) {
        cubic->hystart_end = tcp->next_seq;
        cubic->hystart_samples = 0;
        cubic->hystart_min_ns = UINT64_MAX;
    }
    cubic->hystart_min_ns = STN_MIN(cubic->hystart_min_ns, rtt_ns);
    if (++cubic->hystart_samples < 8 || segments(tcp->window) < 16) return;
    uint64_t slack_ns =
        STN_MIN(STN_MAX(cubic->hystart_base_ns / 8, 4 * STN_NS_PER_MS), 16 * STN_NS_PER_MS);
    if (cubic->hystart_min_ns > cubic->hystart_base_ns + slack_ns) tcp->threshold = tcp->window;
}

static void begin_epoch(struct path_conn *conn) {
    struct path_cubic *cubic = &conn->tcp.cubic;
    double window = segments(conn->tcp.window);
    cubic->epoch_ns = conn->sim->now_ns;
    cubic->w_est = window;
    cubic->k = window < cubic->w_max ? cbrt((cubic->w_max - window) / C) : 0;
    cubic->origin = STN_MAX(window, cubic->w_max);
}

static void avoid_congestion(struct path_conn *conn, double acked) {
    struct path_tcp *tcp = &conn->tcp;
    struct path_cubic *cubic = &tcp->cubic;
    double window = segments(tcp->window);
    if (!cubic->epoch_ns) begin_epoch(conn);
    double t = (double)(conn->sim->now_ns - cubic->epoch_ns + tcp->min_rtt_ns) / 1e9;
    double target = cubic->origin + C * pow(t - cubic->k, 3);
    cubic->w_est += acked * 3 * (1 - BETA) / (1 + BETA) / window;
    double step = target > window ? (target - window) / window : 0.01 / window;
    if (cubic->w_est > window) step = STN_MAX(step, (cubic->w_est - window) / window);
    tcp->window += STN_MIN(step, 0.5) * acked * PATH_SEGMENT_BYTES;
}

void path_cubic_ack(struct path_conn *conn, uint64_t bytes, uint64_t rtt_ns) {
    struct path_tcp *tcp = &conn->tcp;
    if (tcp->window < tcp->threshold) {
        hystart(tcp, rtt_ns);
        if (tcp->window < 2.0 * (double)tcp->used_max) tcp->window += (double)bytes;
    } else if (tcp->was_full) {
        avoid_congestion(conn, segments((double)bytes));
    }
}

void path_cubic_loss(struct path_conn *conn) {
    struct path_tcp *tcp = &conn->tcp;
    double window = segments(tcp->window);
    tcp->cubic.w_max = window < tcp->cubic.w_max ? window * (1 + BETA) / 2 : window;
    tcp->cubic.epoch_ns = 0;
    tcp->window = STN_MAX(tcp->window * BETA, 2.0 * PATH_SEGMENT_BYTES);
    tcp->threshold = tcp->window;
}

void path_cubic_timeout(struct path_conn *conn) {
    conn->tcp.window = PATH_SEGMENT_BYTES;
    conn->tcp.cubic.epoch_ns = 0;
}

void path_cubic_idle(struct path_conn *conn, uint64_t idle_ns) {
    struct path_tcp *tcp = &conn->tcp;
    uint64_t rto_ns = path_tcp_rto_ns(conn);
    if (tcp->cubic.epoch_ns) tcp->cubic.epoch_ns += idle_ns;
    if (idle_ns <= rto_ns || tcp->window <= INITIAL_WINDOW) return;
    tcp->threshold = STN_MIN(1e18, STN_MAX(tcp->threshold, tcp->window * 3 / 4));
    for (; idle_ns > rto_ns && tcp->window > INITIAL_WINDOW; idle_ns -= rto_ns) tcp->window /= 2;
    tcp->window = STN_MAX(tcp->window, INITIAL_WINDOW);
}

/* A window that is not used is not known to be right any more (RFC 2861). */
void path_cubic_unused(struct path_conn *conn) {
    struct path_tcp *tcp = &conn->tcp;
    double used = STN_MAX((double)tcp->used_max, INITIAL_WINDOW);
    if (used >= tcp->window) return;
    tcp->threshold = STN_MAX(tcp->threshold, tcp->window * 3 / 4);
    tcp->window = (tcp->window + used) / 2;
}

/* ---- BBR ---- */

#define HIGH_GAIN 2.885
#define MIN_RTT_LASTS_NS (10 * STN_NS_PER_S)
#define PROBE_RTT_NS (200 * STN_NS_PER_MS)
#define N_PHASES 8

static double product(const struct path_bbr *bbr) {
    return bbr->rate * (double)bbr->min_rtt_ns / 1e9;
}

static double pace_gain(const struct path_bbr *bbr) {
    if (bbr->state == PATH_BBR_STARTUP) return HIGH_GAIN;
    if (bbr->state == PATH_BBR_DRAIN) return 1 / HIGH_GAIN;
    if (bbr->state == PATH_BBR_RTT) return 1;
    return bbr->phase == 0 ? 1.25 : bbr->phase == 1 ? 0.75 : 1;
}

double path_bbr_pace(const struct path_conn *conn) {
    const struct path_bbr *bbr = &conn->tcp.bbr;
    double rtt = (double)STN_MAX(conn->tcp.srtt_ns, 10 * PATH_US) / 1e9;
    return pace_gain(bbr) * (bbr->rate > 0 ? bbr->rate : INITIAL_WINDOW / rtt);
}

void path_bbr_init(struct path_conn *conn) {
    struct path_bbr *bbr = &conn->tcp.bbr;
    memset(bbr, 0, sizeof *bbr);
    bbr->min_rtt_ns = UINT64_MAX;
}

/* A sample counts unless it was for want of data, or at rest, that it is low. */
static void keep_rate(struct path_bbr *bbr, double rate, int is_limited) {
    unsigned place = (unsigned)(bbr->n_rounds % 10);
    if (is_limited && rate < bbr->rate) return;
    if (bbr->rounds[place] != bbr->n_rounds) bbr->rates[place] = 0;
    bbr->rounds[place] = bbr->n_rounds;
    bbr->rates[place] = STN_MAX(bbr->rates[place], rate);
    bbr->rate = 0;
    for (int i = 0; i < 10; i++)
        if (bbr->rounds[i] + 10 > bbr->n_rounds) bbr->rate = STN_MAX(bbr->rate, bbr->rates[i]);
}

static void measure_rate(struct path_conn *conn, const struct path_chunk *c) {
    struct path_bbr *bbr = &conn->tcp.bbr;
    uint64_t now_ns = conn->sim->now_ns;
    int is_new_round = c->delivered >= bbr->round_end;
    if (is_new_round) {
        bbr->round_end = conn->tcp.delivered;
        bbr->n_rounds++;
    }
    uint64_t took_ns = STN_MAX(now_ns - c->delivered_ns, c->sent_ns - c->first_sent_ns);
    if (took_ns < bbr->min_rtt_ns) return; /* too short to be one */
    double rate = (double)(conn->tcp.delivered - c->delivered) / (double)took_ns * 1e9;
    keep_rate(bbr, rate, c->app_limited || bbr->state == PATH_BBR_RTT);
    if (!is_new_round || c->app_limited || bbr->is_full) return;
    if (bbr->rate >= bbr->full_rate * 1.25) {
        bbr->full_rate = bbr->rate;
        bbr->n_full = 0;
    } else if (++bbr->n_full >= 3) {
        bbr->is_full = 1;
    }
}

static void enter_probe(struct path_conn *conn) {
    struct path_bbr *bbr = &conn->tcp.bbr;
    bbr->state = PATH_BBR_PROBE;
    bbr->phase = 2 + (unsigned)(path_random(conn->sim) * (N_PHASES - 2));
    bbr->phase_ns = conn->sim->now_ns;
}

static void cycle(struct path_conn *conn) {
    struct path_bbr *bbr = &conn->tcp.bbr;
    double in_flight = (double)conn->tcp.in_flight;
    int is_over = conn->sim->now_ns - bbr->phase_ns > bbr->min_rtt_ns;
    if (bbr->phase == 0)
        is_over = is_over &&
                  (conn->tcp.recovering || in_flight >= 1.25 * product(bbr) - PATH_SEGMENT_BYTES ||
                   conn->tcp.app_limited_until > conn->tcp.delivered);
    if (bbr->phase == 1) is_over = is_over || in_flight <= product(bbr);
    if (!is_over) return;
    bbr->phase = (bbr->phase + 1) % N_PHASES;
    bbr->phase_ns = conn->sim->now_ns;
}

static void measure_rtt(struct path_conn *conn, uint64_t rtt_ns) {
    struct path_bbr *bbr = &conn->tcp.bbr;
    uint64_t now_ns = conn->sim->now_ns;
    int has_expired = now_ns > bbr->min_rtt_at_ns + MIN_RTT_LASTS_NS;
    if (rtt_ns <= bbr->min_rtt_ns || has_expired) {
        bbr->min_rtt_ns = rtt_ns;
        bbr->min_rtt_at_ns = now_ns;
    }
    if (has_expired && bbr->state == PATH_BBR_PROBE) {
        bbr->state = PATH_BBR_RTT;
        bbr->probe_until_ns = now_ns + STN_MAX(PROBE_RTT_NS, rtt_ns);
    } else if (bbr->state == PATH_BBR_RTT && now_ns >= bbr->probe_until_ns) {
        bbr->min_rtt_at_ns = now_ns;
        enter_probe(conn);
    }
}

void path_bbr_lost(struct path_conn *conn, uint64_t bytes) {
    conn->tcp.window = STN_MAX(conn->tcp.window - (double)bytes, 4.0 * PATH_SEGMENT_BYTES);
}

/* A round of it sends as much as arrives. */
void path_bbr_recover(struct path_conn *conn) {
    struct path_tcp *tcp = &conn->tcp;
    tcp->bbr.window_before = STN_MAX(tcp->window, tcp->bbr.window_before);
    tcp->bbr.conserve_end = tcp->delivered + tcp->in_flight;
    tcp->window = (double)tcp->in_flight;
}

static void move_window(struct path_conn *conn, double acked) {
    struct path_tcp *tcp = &conn->tcp;
    struct path_bbr *bbr = &tcp->bbr;
    if (bbr->window_before > 0 && !tcp->recovering) {
        tcp->window = STN_MAX(tcp->window, bbr->window_before);
        bbr->window_before = 0;
    } else if (bbr->window_before > 0 && tcp->delivered < bbr->conserve_end) {
        tcp->window = STN_MAX(tcp->window, (double)tcp->in_flight + acked);
        return;
    }
    if (bbr->state == PATH_BBR_RTT) {
        bbr->window_before = STN_MAX(bbr->window_before, tcp->window);
        tcp->app_limited_until = tcp->delivered + tcp->in_flight + 1;
        tcp->window = 4 * PATH_SEGMENT_BYTES;
        return;
    }
    double gain = bbr->is_full && bbr->state == PATH_BBR_PROBE ? 2 : HIGH_GAIN;
    double target = gain * product(bbr) + 3.0 * PATH_SEGMENT_BYTES;
    if (bbr->is_full)
        tcp->window = STN_MIN(tcp->window + acked, target);
    else if (tcp->window < target || (double)tcp->delivered < INITIAL_WINDOW)
        tcp->window += acked;
    tcp->window = STN_MAX(tcp->window, 4.0 * PATH_SEGMENT_BYTES);
}

void path_bbr_ack(struct path_conn *conn, const struct path_chunk *c, uint64_t rtt_ns) {
    struct path_bbr *bbr = &conn->tcp.bbr;
    measure_rtt(conn, rtt_ns);
    measure_rate(conn, c);
    if (bbr->state == PATH_BBR_STARTUP && bbr->is_full) bbr->state = PATH_BBR_DRAIN;
    if (bbr->state == PATH_BBR_DRAIN && (double)conn->tcp.in_flight <= product(bbr))
        enter_probe(conn);
    if (bbr->state == PATH_BBR_PROBE) cycle(conn);
    move_window(conn, c->bytes);
}
