/* Over how many connections a node is asked.
 *
 * A sender that takes loss for congestion (cubic: the default of nearly every server) gives each
 * connection a bounded rate on a long, lossy path; more connections carry more. So their number is
 * tried: half as many more, or as many as it takes to have the highest rate again that there was of
 * late, and after they had time to get going the rate over a few rounds is compared with that
 * before. They are kept if the sum rose at least half as much as the number did, else closed again,
 * and not so many are tried, later and later. None are tried while bytes wait in queues on the way:
 * the path is full, and more connections would only take it from others. Fewer are tried in the
 * same way, now and then, and when the window has no work for all.
 *
 * No socket and no clock. Not thread-safe. */
#ifndef STN_WIDTH_H
#define STN_WIDTH_H

#include <stdint.h>

struct stn_width {
    unsigned wanted;     /* connections */
    unsigned first;      /* to begin with */
    unsigned min, max;   /* equal: the number is fixed */
    unsigned before;     /* a trial: the number to go back to; 0: none runs */
    double rate_before;  /* of all, bytes a second */
    double peak;         /* highest of late */
    double failed_rate;  /* rate_before of the last one that failed */
    double step;         /* more to try, of their number */
    uint64_t settled_ns; /* a trial: measured from then on; else: the next one begins then */
    uint64_t pause_ns;   /* after the next one that fails */
    double sum;          /* over the rounds of a measurement */
    unsigned n_rounds, n_full;
    uint64_t began_ns; /* the measurement */
    int fewer;         /* the trial that runs is with fewer */
    uint64_t fewer_ns; /* the next one of these; 0: not known yet */
};

struct stn_width_round { /* a round of the window (window.h) */
    double rate;         /* bytes a second, of all connections */
    unsigned n_ready;    /* connections */
    int steady;          /* the window has left its ramp, and requests waited all the time */
    uint64_t round_ns;   /* its length */
    uint64_t queued_ns;  /* stn_window_queued_ns() */
    uint64_t limit_bytes, typical_bytes; /* window; an answer */
};

void stn_width_init(struct stn_width *w, unsigned first, unsigned min, unsigned max);
/* At the end of each round. 1: `wanted` has changed. */
int stn_width_round(struct stn_width *w, const struct stn_width_round *round, uint64_t now_ns);

/* How many connections to begin with: enough that TCP's slow starts together bring the first batch
 * in time on a long path, few on a short one. */
unsigned stn_width_first(uint64_t rtt_ns, unsigned n_nodes);

#endif
