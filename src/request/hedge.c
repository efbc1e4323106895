/* The wait is a quantile by stochastic approximation (Robbins and Monro 1951) on a logarithmic
 * scale: each late request lengthens it, each one in time shortens it by so much less that both
 * are in balance at the share wanted. So it grows at once when everything becomes slower, and its
 * memory is one number. */
#include "request/hedge.h"

#include "base/base.h"

#define FIRST_ANSWERS 32 /* until the wait is known: then twice their mean */
#define STEP 0.03        /* of the wait, for one that is late */
#define MARGIN 1.25
#define WAIT_MIN_NS (5 * STN_NS_PER_MS) /* under which it is our own host that is busy */
#define WAIT_MAX_NS (60 * STN_NS_PER_S)

#define SAVED_REQUESTS 32 /* what the budget holds at most: no saving up for a storm */
#define MEAN_SHARE (1.0 / 64)

#define SILENCE_MIN_NS (300 * STN_NS_PER_MS)
#define SILENCE_ROUND_TRIPS 2

/* ---- the wait ---- */

uint64_t stn_hedge_late_ns(const struct stn_hedge_wait *w) {
    return w->n < FIRST_ANSWERS ? UINT64_MAX : (uint64_t)w->late_ns;
}

uint64_t stn_hedge_after_ns(const struct stn_hedge_wait *w) {
    return w->n < FIRST_ANSWERS ? UINT64_MAX : (uint64_t)(w->late_ns * MARGIN);
}

static void change(struct stn_hedge_wait *w, double factor) {
    double late_ns = w->late_ns * factor;
    w->late_ns = STN_MAX(STN_MIN(late_ns, (double)WAIT_MAX_NS), (double)WAIT_MIN_NS);
}

void stn_hedge_in_time(struct stn_hedge_wait *w, uint64_t waited_ns) {
    if (w->n >= FIRST_ANSWERS) {
        change(w, 1 - STEP * STN_HEDGE_LATE);
        return;
    }
    w->n++;
    w->late_ns += ((double)waited_ns - w->late_ns) / w->n;
    if (w->n == FIRST_ANSWERS) change(w, 2);
}

void stn_hedge_late(struct stn_hedge_wait *w) {
    if (w->n >= FIRST_ANSWERS) change(w, 1 + STEP * (1 - STN_HEDGE_LATE));
}

/* ---- the budget ---- */

void stn_hedge_budget_init(struct stn_hedge_budget *b) {
    *b = (struct stn_hedge_budget){.requests = 1};
}

/* A second request of more than the budget can ever hold is never sent: with lengths that differ by
 * orders of magnitude one long one may be all that 3 % are. */
void stn_hedge_asked(struct stn_hedge_budget *b, uint64_t bytes) {
    if (b->mean_bytes <= 0) b->bytes = b->mean_bytes = (double)bytes;
    b->mean_bytes += ((double)bytes - b->mean_bytes) * MEAN_SHARE;
    b->requests = STN_MIN(b->requests + STN_HEDGE_REQUESTS, (double)SAVED_REQUESTS);
    b->bytes = STN_MIN(b->bytes + (double)bytes * STN_HEDGE_BYTES, SAVED_REQUESTS * b->mean_bytes);
}

int stn_hedge_may(const struct stn_hedge_budget *b, uint64_t bytes) {
    return b->requests >= 1 && b->bytes >= (double)bytes;
}

void stn_hedge_spend(struct stn_hedge_budget *b, uint64_t bytes) {
    b->requests -= 1;
    b->bytes -= (double)bytes;
}

/* ---- silence ---- */

uint64_t stn_hedge_silence_ns(uint64_t rtt_ns) {
    return STN_MAX(SILENCE_ROUND_TRIPS * rtt_ns, SILENCE_MIN_NS);
}
