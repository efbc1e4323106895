#include "request/width.h"

#include <string.h>

#include "base/base.h"

#define LONG_PATH_NS (3 * STN_NS_PER_MS)
/* Over all nodes. In a path's first round trips each connection brings 14 kB, 29 kB ...: twice as
 * many save one of them, which is worth it where they are long. */
#define FIRST_LONG 32
#define FIRST_LONGEST 128
#define LONGEST_NS (150 * STN_NS_PER_MS)
#define FIRST_LONG_MIN 8
#define FIRST_SHORT 4

/* Handshake and slow start of a connection to all that TCP's buffers let it have. */
#define SETTLE_ROUNDS 14
#define SETTLE_MIN_NS STN_NS_PER_S
#define MEASURE_ROUNDS 8
#define MEASURE_MIN_NS STN_NS_PER_S

#define KEEP_SHARE 0.5 /* of the growth in number, that the rate must have grown by */
#define FULL 0.1       /* of a round: bytes that wait so long on the way fill the path */
#define FAILED_RATE 0.85
#define PEAK_LASTS 0.98 /* of it, from one measurement to the next */
#define STEP_FIRST 0.5  /* of their number */
#define STEP_MIN 0.25
#define STEP_MAX 3
#define FEWER_KEEP 0.97 /* of the rate, that fewer must have kept */
#define PAUSE_FIRST_NS (3 * STN_NS_PER_S)
#define PAUSE_MAX_NS (300 * STN_NS_PER_S)
#define FEWER_EVERY_NS (300 * STN_NS_PER_S)

unsigned stn_width_first(uint64_t rtt_ns, unsigned n_nodes) {
    if (rtt_ns < LONG_PATH_NS) return FIRST_SHORT;
    uint64_t all = FIRST_LONGEST * STN_MIN(rtt_ns, LONGEST_NS) / LONGEST_NS;
    all = STN_MAX(all, (uint64_t)FIRST_LONG);
    return STN_MAX((unsigned)all / STN_MAX(n_nodes, 1U), (unsigned)FIRST_LONG_MIN);
}

void stn_width_init(struct stn_width *w, unsigned first, unsigned min, unsigned max) {
    memset(w, 0, sizeof *w);
    w->min = min;
    w->max = max;
    w->wanted = w->first = STN_MIN(STN_MAX(first, min), max);
    w->pause_ns = PAUSE_FIRST_NS;
    w->step = STEP_FIRST;
}

static void measure_anew(struct stn_width *w, uint64_t from_ns) {
    w->sum = 0;
    w->n_rounds = w->n_full = 0;
    w->began_ns = from_ns;
}

/* Never fewer than at first: beside a loader with more they would have less of the path. */
static unsigned third_fewer(unsigned n) { return n - STN_MAX(n / 3, 1U); }

static unsigned more(const struct stn_width *w, double rate) {
    double step = rate > 0 ? w->peak / rate - 1 : 0;
    step = STN_MIN(STN_MAX(step, w->step), STEP_MAX);
    return STN_MAX((unsigned)(w->wanted * (1 + step)), w->wanted + 1);
}

/* What failed at a higher rate says nothing about this one. */
static int is_paused(const struct stn_width *w, double rate, uint64_t now_ns) {
    return now_ns < w->settled_ns && rate > FAILED_RATE * w->failed_rate;
}

static int begin_trial(struct stn_width *w, const struct stn_width_round *r, uint64_t now_ns) {
    double rate = w->sum / w->n_rounds;
    int is_full = w->n_full > 0;
    measure_anew(w, now_ns);
    if (w->fewer_ns == 0) w->fewer_ns = now_ns + FEWER_EVERY_NS;
    w->fewer = now_ns >= w->fewer_ns && w->wanted > w->first;
    if (!w->fewer && (is_full || w->wanted == w->max || is_paused(w, rate, now_ns))) return 0;
    w->before = w->wanted;
    w->wanted =
        w->fewer ? STN_MAX(third_fewer(w->wanted), w->first) : STN_MIN(more(w, rate), w->max);
    w->rate_before = rate;
    w->settled_ns = now_ns + STN_MAX(SETTLE_ROUNDS * r->round_ns, SETTLE_MIN_NS);
    measure_anew(w, w->settled_ns);
    return 1;
}

static int is_better(const struct stn_width *w) {
    double rate = w->sum / w->n_rounds;
    if (w->fewer) return rate >= FEWER_KEEP * w->rate_before;
    double growth = (double)w->wanted / w->before - 1;
    return rate >= w->rate_before * (1 + KEEP_SHARE * growth);
}

static void pause_trials(struct stn_width *w, uint64_t now_ns) {
    /* Too many, or of no use at all: not so many are tried, later and later. */
    w->settled_ns = now_ns + w->pause_ns;
    w->failed_rate = w->rate_before;
    w->pause_ns = STN_MIN(2 * w->pause_ns, PAUSE_MAX_NS);
    w->step = STN_MAX(w->step / 2, STEP_MIN);
}

static int end_trial(struct stn_width *w, int keep, uint64_t now_ns) {
    w->settled_ns = now_ns;
    if (w->fewer) {
        w->fewer_ns = keep ? now_ns : now_ns + FEWER_EVERY_NS;
    } else if (keep) {
        w->pause_ns = PAUSE_FIRST_NS;
        w->step = STEP_FIRST;
        w->fewer_ns = now_ns + FEWER_EVERY_NS;
    } else {
        pause_trials(w, now_ns);
    }
    if (!keep) w->wanted = w->before;
    w->before = 0;
    measure_anew(w, now_ns);
    return !keep;
}

/* The window has no work for so many. */
static int shrink_idle(struct stn_width *w, const struct stn_width_round *r, uint64_t now_ns) {
    if (r->typical_bytes == 0) return 0;
    uint64_t enough = STN_MAX(r->limit_bytes / r->typical_bytes + 1, (uint64_t)w->first);
    if (2 * enough > w->wanted) return 0;
    w->wanted = (unsigned)enough;
    w->before = 0;
    w->settled_ns = now_ns + w->pause_ns;
    measure_anew(w, now_ns);
    return 1;
}

int stn_width_round(struct stn_width *w, const struct stn_width_round *r, uint64_t now_ns) {
    if (w->min == w->max) return 0;
    if (!r->steady || r->n_ready < w->wanted) { /* says nothing, or not yet */
        measure_anew(w, now_ns);
        return 0;
    }
    if (!w->before && shrink_idle(w, r, now_ns)) return 1;
    if (now_ns < w->began_ns || (w->before && now_ns < w->settled_ns)) return 0;
    w->sum += r->rate;
    if ((double)r->queued_ns > FULL * (double)r->round_ns) w->n_full++;
    if (++w->n_rounds < MEASURE_ROUNDS || now_ns - w->began_ns < MEASURE_MIN_NS) return 0;
    w->peak = STN_MAX(w->peak * PEAK_LASTS, w->sum / w->n_rounds);
    if (w->before) return end_trial(w, is_better(w), now_ns);
    return begin_trial(w, r, now_ns);
}
