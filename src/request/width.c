#include "request/width.h"

#include <string.h>

#include "base/base.h"

#define LONG_PATH_NS (3 * STN_NS_PER_MS)
#define FIRST_LONG 65 /* over all nodes, one of them a scout (net/lane.c) */
#define FIRST_LONG_MIN 8
#define FIRST_SHORT 4

/* Slow start of a connection to what its share is, on any path: some ten round trips. */
#define SETTLE_ROUNDS 10
#define SETTLE_MIN_NS STN_NS_PER_S
#define MEASURE_ROUNDS 8
#define MEASURE_MIN_NS STN_NS_PER_S

#define KEEP_SHARE 0.5  /* of the growth in number, that the rate must have grown by */
#define OLD_KEEP 0.8    /* of their rate, that the old ones must have kept */
#define FEWER_KEEP 0.97 /* of the rate, that fewer must have kept */
#define PAUSE_FIRST_NS (10 * STN_NS_PER_S)
#define PAUSE_MAX_NS (300 * STN_NS_PER_S)

unsigned stn_width_first(uint64_t rtt_ns, unsigned n_nodes) {
    if (rtt_ns < LONG_PATH_NS) return FIRST_SHORT;
    return STN_MAX(FIRST_LONG / STN_MAX(n_nodes, 1U), (unsigned)FIRST_LONG_MIN);
}

void stn_width_init(struct stn_width *w, unsigned first, unsigned min, unsigned max) {
    memset(w, 0, sizeof *w);
    w->min = min;
    w->max = max;
    w->wanted = STN_MIN(STN_MAX(first, min), max);
    w->pause_ns = PAUSE_FIRST_NS;
}

static void measure_anew(struct stn_width *w, uint64_t from_ns) {
    w->sum = w->old_sum = 0;
    w->n_rounds = 0;
    w->began_ns = from_ns;
}

static unsigned third_fewer(unsigned n) { return n - STN_MAX(n / 3, 1U); }
static unsigned half_more(unsigned n) { return n + STN_MAX(n / 2, 1U); }

static int begin_trial(struct stn_width *w, const struct stn_width_round *r, uint64_t now_ns) {
    unsigned to =
        w->fewer ? STN_MAX(third_fewer(w->wanted), w->min) : STN_MIN(half_more(w->wanted), w->max);
    if (to == w->wanted) {
        w->fewer = !w->fewer;
        w->settled_ns = now_ns + w->pause_ns;
        measure_anew(w, now_ns);
        return 0;
    }
    w->before = w->wanted;
    w->wanted = to;
    w->rate_before = w->sum / w->n_rounds;
    w->old_before = w->rate_before / w->before;
    w->settled_ns = now_ns + STN_MAX(SETTLE_ROUNDS * r->round_ns, SETTLE_MIN_NS);
    measure_anew(w, w->settled_ns);
    return 1;
}

static int is_better(const struct stn_width *w) {
    double rate = w->sum / w->n_rounds, old = w->old_sum / w->n_rounds;
    if (w->fewer) return rate >= FEWER_KEEP * w->rate_before;
    double growth = (double)w->wanted / w->before - 1;
    return rate >= w->rate_before * (1 + KEEP_SHARE * growth) &&
           old >= OLD_KEEP * w->old_before * w->before;
}

static int end_trial(struct stn_width *w, int keep, uint64_t now_ns) {
    if (keep) {
        w->settled_ns = now_ns;
        if (!w->fewer) w->pause_ns = PAUSE_FIRST_NS;
    } else {
        w->wanted = w->before;
        /* More were of no use, nor were fewer: both are tried again, later and later. */
        w->settled_ns = now_ns + w->pause_ns;
        w->pause_ns = STN_MIN(2 * w->pause_ns, PAUSE_MAX_NS);
        w->fewer = !w->fewer && w->pause_ns == PAUSE_MAX_NS;
    }
    w->before = 0;
    measure_anew(w, now_ns);
    return !keep;
}

/* The window has no work for so many. */
static int shrink_idle(struct stn_width *w, const struct stn_width_round *r, uint64_t now_ns) {
    if (r->typical_bytes == 0 || w->wanted <= w->min) return 0;
    uint64_t enough = STN_MAX(r->limit_bytes / r->typical_bytes + 1, (uint64_t)w->min);
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
        if (w->before && !r->steady) return end_trial(w, 0, now_ns);
        measure_anew(w, now_ns);
        return 0;
    }
    if (!w->before && shrink_idle(w, r, now_ns)) return 1;
    if (now_ns < w->began_ns || (w->before && now_ns < w->settled_ns)) return 0;
    w->sum += r->rate;
    w->old_sum += r->old_rate;
    if (++w->n_rounds < MEASURE_ROUNDS || now_ns - w->began_ns < MEASURE_MIN_NS) return 0;
    if (w->before) return end_trial(w, is_better(w), now_ns);
    if (now_ns >= w->settled_ns) return begin_trial(w, r, now_ns);
    measure_anew(w, now_ns); /* the newest rounds are the ones to compare with */
    return 0;
}
