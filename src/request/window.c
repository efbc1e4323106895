#include "request/window.h"

#include <math.h>
#include <string.h>

#include "base/base.h"

#define ROUND_MIN_NS (20 * STN_NS_PER_MS) /* shorter ones measure bursts */
#define ROUND_MAX_NS STN_NS_PER_S
#define RTT_UNKNOWN_NS (20 * STN_NS_PER_MS)

#define RAMP_GAIN 3  /* TCP doubles each round trip, and we know of it one round later */
#define GAIN_MAX 2.0 /* see window.h */
#define GAIN_MIN 1.0
#define GAIN_LESS 0.9   /* times, for a round with a queue */
#define GAIN_MORE 0.05  /* plus, for one without */
#define GAIN_SHARED 3.0 /* where others share the queue */
#define SHARED_RATE 0.9 /* of the peak; it falls by so much a second: */
#define PEAK_DECAY 0.005
#define MEAN_ROUNDS 20
#define QUEUE_MIN_NS (5 * STN_NS_PER_MS)
#define SPARE_REQUESTS 2.0
#define SPARE_ROOT 4
#define TCP_FLIGHT_BYTES 2e6 /* of a connection, that the usual buffers allow */
#define JITTER_NS (5 * STN_NS_PER_MS)
#define FIRST_FLIGHT_BYTES UINT64_C(57920) /* of TCP: 10 segments (RFC 6928), times the gain */
#define FIRST_REQUEST_BYTES_MAX ((double)(256 << 10))
#define PLATEAU_GROWTH 1.25
#define PLATEAU_ROUNDS 3
#define PROOF_ROUNDS STN_WINDOW_PROOF /* a rate that lasted so long */

/* A round trip is believed for so long. Loaders that share a queue see it short at the same moment,
 * hence drain at the same moment, and then it is as short as it can be. */
#define MEASURED_NS (20 * STN_NS_PER_S)
#define MEASURED_ROUNDS 100             /* but a drain costs about one */
#define DRAIN_ROUNDS 4                  /* at most ... */
#define DRAIN_MAX_NS (2 * STN_NS_PER_S) /* ... and so long more, if nothing came */
#define DRAIN_SAMPLES 8
#define ANSWERS_FIRST 8
#define CHANGE_ROUNDS 10 /* not more often */
#define CONFIRM_SLACK_NS STN_NS_PER_MS
#define LONG_PATH_NS (3 * STN_NS_PER_MS) /* where queues take longer than servers */
#define SERVICE_MAX_NS STN_NS_PER_S /* a proxy may end TCP nearby, and the path begin behind it */

#define HOLD_NS STN_NS_PER_S
#define QUANTUM_NS STN_NS_PER_MS

/* ---- what is known of the path ---- */

static double seconds(uint64_t ns) { return (double)ns / 1e9; }

static uint64_t response_ns(const struct stn_window *w) {
    uint64_t least_ns = w->rtt_ns ? w->rtt_ns : RTT_UNKNOWN_NS;
    return STN_MAX(w->response_ns, least_ns);
}

uint64_t stn_window_round_ns(const struct stn_window *w) {
    return STN_MIN(STN_MAX(response_ns(w), (uint64_t)ROUND_MIN_NS), (uint64_t)ROUND_MAX_NS);
}

static double product(const struct stn_window *w) { return w->rate_max * seconds(response_ns(w)); }

uint64_t stn_window_queued_ns(const struct stn_window *w) {
    uint64_t least_ns = w->rtt_ns + CONFIRM_SLACK_NS;
    return w->rtt_ns && w->transport_ns > least_ns ? w->transport_ns - least_ns : 0;
}

uint64_t stn_window_in_flight(const struct stn_window *w) {
    return w->outstanding_bytes - STN_MIN(w->landed_bytes, w->outstanding_bytes);
}

/* ---- the window ---- */

/* Each connection's first answer, until anything is known: more than TCP sends in a round trip. */
static double first_bytes(const struct stn_window *w) {
    double request = STN_MIN(w->typical_bytes, FIRST_REQUEST_BYTES_MAX);
    return w->n_connections * STN_MAX(request, (double)FIRST_FLIGHT_BYTES);
}

/* What is under way fluctuates by its root, and a few times that lets no connection run dry; of
 * large samples, as many at a time as TCP's buffers make necessary. Growing more slowly than the
 * rate, it also is what draws the shares of loaders on one path together. */
static double spare_bytes(const struct stn_window *w) {
    if (w->typical_bytes <= 0) return 0;
    double n = STN_MAX(SPARE_REQUESTS, SPARE_ROOT * sqrt(product(w) / w->typical_bytes));
    n = STN_MAX(n, product(w) / TCP_FLIGHT_BYTES);
    return n * w->typical_bytes;
}

/* Where the rate has fallen others share the queue, and would fill the room that we leave. */
static double gain(const struct stn_window *w) {
    int is_shared = w->long_rate < SHARED_RATE * w->peak && stn_window_queued_ns(w) > w->rtt_ns / 8;
    return is_shared ? GAIN_SHARED : w->gain;
}

static double steady_bytes(const struct stn_window *w) {
    return gain(w) * product(w) + w->rate_max * seconds(JITTER_NS) + spare_bytes(w);
}

static double newest_rate(const struct stn_window *w) {
    return w->maxima[(w->n_rounds + STN_WINDOW_ROUNDS - 1) % STN_WINDOW_ROUNDS];
}

/* Half of what is under way in the network, so that neither it nor the server has a queue of ours.
 * By the newest rate: where it has fallen, the queue of the higher one has to go first. */
static double drained_bytes(const struct stn_window *w) {
    return newest_rate(w) * seconds(w->rtt_ns) / 2;
}

static double target_bytes(const struct stn_window *w) {
    double path = w->rate * seconds(response_ns(w) + JITTER_NS);
    switch (w->phase) {
    case STN_WINDOW_RAMP:
        return STN_MAX(RAMP_GAIN * path + first_bytes(w), (double)w->limit_bytes);
    case STN_WINDOW_DRAIN:
        return drained_bytes(w);
    default:
        return steady_bytes(w);
    }
}

static void move(struct stn_window *w) {
    double target = target_bytes(w);
    uint64_t most = STN_MIN(w->max_bytes, w->cap_bytes);
    w->limit_bytes = target < (double)most ? (uint64_t)target : most;
}

static void enter(struct stn_window *w, enum stn_window_phase phase) {
    w->phase = phase;
    move(w);
}

/* ---- slices and rounds ---- */

static unsigned ring_place(unsigned n) { return n % STN_WINDOW_RING; }

static void begin_slice(struct stn_window *w, uint64_t now_ns) {
    w->slice_bytes[ring_place(w->n_slices)] = 0;
    w->slice_began_ns[ring_place(w->n_slices)] = now_ns;
}

/* Of the last n slices, of which the one that runs ends now. */
static double rate_over(const struct stn_window *w, unsigned n, uint64_t now_ns) {
    uint64_t bytes = 0;
    n = STN_MIN(n, w->n_slices + 1);
    for (unsigned i = 0; i < n; i++) bytes += w->slice_bytes[ring_place(w->n_slices - i)];
    uint64_t began_ns = w->slice_began_ns[ring_place(w->n_slices + 1 - n)];
    return (double)bytes / seconds(now_ns - began_ns);
}

/* On the way up a round is all there is. Later a rate must have lasted: after a loss TCP holds back
 * what came behind it, on a busy host bytes wait in sockets until the process runs again, and then
 * more comes at a stretch than any path carries. So it is the mean of many rounds, or what each of
 * the last few had, if that is more. */
static double lasting_rate(struct stn_window *w) {
    double least = w->rate;
    w->rounds[w->n_rounds % PROOF_ROUNDS] = w->rate;
    if (w->phase == STN_WINDOW_RAMP) return w->rate;
    for (unsigned i = 0; i < PROOF_ROUNDS; i++) least = STN_MIN(least, w->rounds[i]);
    return STN_MAX(w->rate_mean, least);
}

static void keep_maximum(struct stn_window *w) {
    w->maxima[w->n_rounds % STN_WINDOW_ROUNDS] = lasting_rate(w);
    w->n_rounds++;
    w->rate_max = 0;
    for (unsigned i = 0; i < STN_WINDOW_ROUNDS; i++)
        w->rate_max = STN_MAX(w->rate_max, w->maxima[i]);
    w->long_rate += (w->rate - w->long_rate) / STN_MIN(w->n_rounds, (unsigned)MEAN_ROUNDS);
    w->peak *= 1 - PEAK_DECAY * seconds(stn_window_round_ns(w));
    w->peak = STN_MAX(w->peak, w->long_rate);
}

static void watch_plateau(struct stn_window *w) {
    if (w->rate >= w->plateau * PLATEAU_GROWTH) {
        w->plateau = w->rate;
        w->n_plateau = 0;
    } else if (++w->n_plateau >= PLATEAU_ROUNDS) {
        w->phase = STN_WINDOW_STEADY;
    }
}

static void note_measured(struct stn_window *w, uint64_t now_ns) {
    w->measured_ns = now_ns;
    w->measured_rate = w->rate_max;
}

/* Since the round trip was last seen as it is taken for, the rate has fallen to a fraction; and on
 * a long path bytes take more than twice as long: it may be another one. On a short one it may be
 * the server that takes longer. */
static int has_changed(const struct stn_window *w, uint64_t now_ns) {
    if (newest_rate(w) >= w->measured_rate / 4 ||
        now_ns - w->measured_ns < CHANGE_ROUNDS * stn_window_round_ns(w))
        return 0;
    return w->rtt_ns < LONG_PATH_NS || stn_window_queued_ns(w) > response_ns(w);
}

/* On a long path the round trip is seen to be as it was; what a server takes on a short one is not,
 * least of all in the first answers. */
static int wants_drain(const struct stn_window *w, uint64_t now_ns) {
    uint64_t believed_ns = STN_MAX((uint64_t)MEASURED_NS, MEASURED_ROUNDS * response_ns(w));
    uint64_t since_ns = w->rtt_ns < LONG_PATH_NS ? w->drained_ns : w->measured_ns;
    if (w->phase != STN_WINDOW_STEADY) return 0;
    if (w->rtt_ns < LONG_PATH_NS && !w->has_drained)
        believed_ns = CHANGE_ROUNDS * stn_window_round_ns(w);
    return now_ns - since_ns > believed_ns || has_changed(w, now_ns);
}

static void begin_drain(struct stn_window *w, uint64_t now_ns) {
    w->drained_min_ns = w->drained_sum_ns = 0;
    w->n_drained = 0;
    w->drain_ns = now_ns + DRAIN_ROUNDS * stn_window_round_ns(w);
    w->has_changed = has_changed(w, now_ns);
    w->phase = STN_WINDOW_DRAIN;
}

/* A path that has become longer gives no answer for a while. */
static int has_drained(const struct stn_window *w, uint64_t now_ns) {
    if (w->n_drained >= DRAIN_SAMPLES) return 1;
    return now_ns >= w->drain_ns + (w->n_drained > 0 ? 0 : DRAIN_MAX_NS);
}

/* A longer round trip counts only where the rate has fallen with it. Else it is the queue of
 * others, and who took it for the path's would lengthen it. */
static void end_drain(struct stn_window *w, uint64_t now_ns) {
    if (w->n_drained > 0) {
        uint64_t had_ns = w->response_ns - STN_MIN(w->rtt_ns, w->response_ns);
        uint64_t service_ns = w->drained_sum_ns / w->n_drained;
        if (w->has_drained) service_ns = (service_ns + had_ns) / 2; /* few answers say little */
        if (w->has_changed || w->drained_min_ns < w->rtt_ns) w->rtt_ns = w->drained_min_ns;
        w->response_ns = w->rtt_ns + service_ns;
    }
    note_measured(w, now_ns);
    w->drained_ns = now_ns;
    w->has_drained = 1;
    w->phase = STN_WINDOW_STEADY;
}

static void grow_cap(struct stn_window *w, uint64_t now_ns) {
    if (now_ns < w->hold_ns) return;
    w->cap_bytes += (uint64_t)STN_MAX((double)w->cap_bytes / 8, w->typical_bytes / 4);
    if ((double)w->cap_bytes < steady_bytes(w)) return;
    w->cap_bytes = UINT64_MAX;
    w->phase = STN_WINDOW_STEADY;
}

/* One of a quarter of the round trip is too long, one of an eighth is as it should be: the link
 * never runs dry. */
static void watch_queue(struct stn_window *w) {
    uint64_t least_ns = w->rtt_ns, now_ns = w->round_rtt_ns;
    if (now_ns) w->transport_ns = now_ns;
    w->round_rtt_ns = 0;
    if (least_ns == 0 || now_ns == 0) return;
    uint64_t queue_ns = now_ns - STN_MIN(now_ns, least_ns);
    if (queue_ns > STN_MAX(least_ns / 4, 2 * (uint64_t)QUEUE_MIN_NS)) {
        w->gain = STN_MAX(w->gain * GAIN_LESS, GAIN_MIN);
        if (w->phase == STN_WINDOW_RAMP) w->phase = STN_WINDOW_STEADY; /* it is full */
    } else if (queue_ns < STN_MAX(least_ns / 8, (uint64_t)QUEUE_MIN_NS)) {
        w->gain = STN_MIN(w->gain + GAIN_MORE, GAIN_MAX);
    }
}

static int says_something(const struct stn_window *w) {
    if (w->phase == STN_WINDOW_DRAIN || (w->n_rounds == 0 && w->rate == 0)) return 0;
    return w->n_limited == 0 || w->rate_mean > w->rate_max;
}

static void end_round(struct stn_window *w, uint64_t now_ns) {
    if (says_something(w)) {
        keep_maximum(w);
        if (w->phase == STN_WINDOW_RAMP) watch_plateau(w);
    }
    watch_queue(w);
    if (w->phase == STN_WINDOW_BACK_OFF) grow_cap(w, now_ns);
    if (wants_drain(w, now_ns)) begin_drain(w, now_ns);
}

static void end_slice(struct stn_window *w, uint64_t now_ns) {
    w->rate = rate_over(w, STN_WINDOW_SLICES, now_ns);
    w->rate_mean = rate_over(w, STN_WINDOW_RING, now_ns);
    if (w->n_limited > 0) w->n_limited--;
    w->n_slices++;
    begin_slice(w, now_ns);
    if (w->n_slices % STN_WINDOW_SLICES == 0) end_round(w, now_ns);
    if (w->phase == STN_WINDOW_DRAIN && has_drained(w, now_ns)) end_drain(w, now_ns);
    move(w);
}

/* ---- pacing ---- */

/* What answers let in goes at once (done()), what a wider window lets in is spread: the whole of it
 * over one round trip. */
static double pace(const struct stn_window *w) {
    uint64_t over_ns = STN_MAX(response_ns(w), (uint64_t)QUANTUM_NS);
    return (double)w->limit_bytes / seconds(over_ns);
}

static void give_credit(struct stn_window *w, uint64_t now_ns) {
    double most = STN_MAX(pace(w) * seconds(2 * QUANTUM_NS), 1.0);
    if (now_ns > w->credit_ns) w->credit_bytes += pace(w) * seconds(now_ns - w->credit_ns);
    w->credit_bytes = STN_MIN(w->credit_bytes, most);
    w->credit_ns = now_ns;
}

static int has_room(const struct stn_window *w, uint64_t bytes) {
    return w->n_outstanding == 0 || stn_window_in_flight(w) + bytes <= w->limit_bytes ||
           /* nothing is known yet of what samples are like */
           (w->typical_bytes == 0 && w->n_outstanding < w->n_connections);
}

static int has_credit(const struct stn_window *w) {
    return w->free_bytes > 0 || w->credit_bytes > 0 || w->n_outstanding == 0;
}

int stn_window_allows(const struct stn_window *w, uint64_t bytes) {
    return has_room(w, bytes) && has_credit(w);
}

uint64_t stn_window_due(const struct stn_window *w, uint64_t bytes, uint64_t now_ns) {
    if (!has_room(w, bytes)) return UINT64_MAX;
    if (has_credit(w)) return now_ns;
    return w->credit_ns + QUANTUM_NS + (uint64_t)(-w->credit_bytes / pace(w) * 1e9);
}

/* ---- what is told ---- */

void stn_window_init(struct stn_window *w, uint64_t max_bytes, uint64_t now_ns) {
    memset(w, 0, sizeof *w);
    w->max_bytes = max_bytes;
    w->cap_bytes = UINT64_MAX;
    w->gain = GAIN_MAX;
    w->measured_ns = w->drained_ns = w->credit_ns = now_ns;
    begin_slice(w, now_ns);
}

void stn_window_rtt(struct stn_window *w, uint64_t rtt_ns, uint64_t now_ns) {
    if (w->rtt_ns && rtt_ns > w->rtt_ns + w->rtt_ns / 16 + CONFIRM_SLACK_NS) return;
    if (w->rtt_ns > rtt_ns) {
        w->response_ns -= STN_MIN(w->rtt_ns - rtt_ns, w->response_ns);
        w->rtt_ns = rtt_ns;
    }
    if (w->rtt_ns == 0) w->rtt_ns = rtt_ns;
    note_measured(w, now_ns);
}

void stn_window_confirm(struct stn_window *w, uint64_t rtt_ns, uint64_t now_ns) {
    w->round_rtt_ns = w->round_rtt_ns ? STN_MIN(w->round_rtt_ns, rtt_ns) : rtt_ns;
    if (w->rtt_ns) stn_window_rtt(w, rtt_ns, now_ns);
}

void stn_window_connected(struct stn_window *w, unsigned n_connections, uint64_t now_ns) {
    if (n_connections > w->n_connections)
        w->free_bytes += (n_connections - w->n_connections) * FIRST_FLIGHT_BYTES;
    w->n_connections = n_connections;
    w->free_bytes = STN_MIN(w->free_bytes, n_connections * FIRST_FLIGHT_BYTES);
    give_credit(w, now_ns);
    move(w);
}

int stn_window_sent(struct stn_window *w, uint64_t bytes, uint64_t now_ns) {
    int alone = (double)stn_window_in_flight(w) <= drained_bytes(w);
    give_credit(w, now_ns);
    if (w->free_bytes > 0)
        w->free_bytes -= STN_MIN(w->free_bytes, STN_MIN(bytes, FIRST_FLIGHT_BYTES));
    else
        w->credit_bytes -= (double)bytes;
    w->outstanding_bytes += bytes;
    w->n_outstanding++;
    if (w->typical_bytes == 0) w->typical_bytes = (double)bytes;
    w->typical_bytes += ((double)bytes - w->typical_bytes) / 16;
    if (w->n_outstanding <= w->n_connections) move(w);
    return alone;
}

/* Of a delay, what the server took: the rest is the network, with the queues in it, and some noise
 * of that. */
static uint64_t service_ns(const struct stn_window *w, uint64_t delay_ns) {
    int is_long = w->rtt_ns >= LONG_PATH_NS;
    uint64_t network_ns = is_long ? STN_MAX(w->rtt_ns, w->transport_ns) + w->rtt_ns / 8 : w->rtt_ns;
    uint64_t service_ns = delay_ns > network_ns ? delay_ns - network_ns : 0;
    return STN_MIN(service_ns, is_long ? w->rtt_ns : SERVICE_MAX_NS);
}

void stn_window_first_byte(struct stn_window *w, uint64_t delay_ns, uint64_t now_ns) {
    if (w->phase == STN_WINDOW_DRAIN) {
        w->drained_min_ns = w->n_drained ? STN_MIN(w->drained_min_ns, delay_ns) : delay_ns;
        w->drained_sum_ns += service_ns(w, delay_ns);
        w->n_drained++;
        return;
    }
    if (w->rtt_ns == 0 || delay_ns < w->rtt_ns) stn_window_rtt(w, delay_ns, now_ns);
    if (w->n_answers >= ANSWERS_FIRST) return;
    uint64_t mean_ns = w->response_ns - STN_MIN(w->rtt_ns, w->response_ns);
    mean_ns = (mean_ns * w->n_answers + service_ns(w, delay_ns)) / (w->n_answers + 1);
    w->response_ns = w->rtt_ns + mean_ns;
    w->n_answers++;
}

void stn_window_received(struct stn_window *w, uint64_t bytes) {
    w->slice_bytes[ring_place(w->n_slices)] += bytes;
}

void stn_window_landed(struct stn_window *w, uint64_t bytes) { w->landed_bytes = bytes; }

void stn_window_done(struct stn_window *w, uint64_t bytes) {
    w->outstanding_bytes -= bytes;
    w->n_outstanding--;
    w->credit_bytes += (double)bytes;
}

void stn_window_overloaded(struct stn_window *w, uint64_t now_ns) {
    if (now_ns < w->hold_ns) return; /* one congestion counts once, however many requests it hits */
    uint64_t had = STN_MIN(stn_window_in_flight(w), w->limit_bytes);
    w->cap_bytes = STN_MAX(had / 2, (uint64_t)w->typical_bytes);
    w->hold_ns = now_ns + HOLD_NS;
    enter(w, STN_WINDOW_BACK_OFF);
}

uint64_t stn_window_tick(struct stn_window *w, int wanted, uint64_t now_ns) {
    uint64_t slice_ns = stn_window_round_ns(w) / STN_WINDOW_SLICES;
    uint64_t began_ns = w->slice_began_ns[ring_place(w->n_slices)];
    int has_space = (double)stn_window_in_flight(w) + w->typical_bytes < (double)w->limit_bytes;
    if (!wanted && has_space) w->n_limited = STN_WINDOW_SLICES + 1;
    if (now_ns - began_ns >= slice_ns) {
        end_slice(w, now_ns);
        began_ns = now_ns;
    }
    give_credit(w, now_ns);
    return began_ns + slice_ns;
}
