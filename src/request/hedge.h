/* When a request that waits is worth a second one elsewhere. Pure: knows no socket and no clock.
 *
 * Two things bound it. The *wait* is a quantile of answer times that adapts, so that no more than
 * the share STN_HEDGE_LATE of requests is late; one that is late by a quarter more is asked for
 * again, so that times which differ little lead to nothing. And a *budget* of 2 % of requests and
 * 3 % of their bytes holds even while the times change faster than the wait can follow. */
#ifndef STN_HEDGE_H
#define STN_HEDGE_H

#include <stdint.h>

#define STN_HEDGE_LATE 0.015 /* share of requests that the wait settles at */
#define STN_HEDGE_REQUESTS 0.02
#define STN_HEDGE_BYTES 0.03

struct stn_hedge_wait { /* of requests of one kind; zeroed at first */
    unsigned n;         /* answers it was learnt from */
    double late_ns;     /* of the first ones the mean */
};

/* How long a request waits for the first byte of its answer until it is late; UINT64_MAX: not known
 * yet. */
uint64_t stn_hedge_late_ns(const struct stn_hedge_wait *w);
uint64_t stn_hedge_after_ns(const struct stn_hedge_wait *w); /* and until it is asked for again */
/* Each request is told of once: its answer began after so long, in time; or it is late now. */
void stn_hedge_in_time(struct stn_hedge_wait *w, uint64_t waited_ns);
void stn_hedge_late(struct stn_hedge_wait *w);

struct stn_hedge_budget {
    double requests, bytes; /* that may be asked for a second time now */
    double mean_bytes;      /* of a request */
};

void stn_hedge_budget_init(struct stn_hedge_budget *b);
/* A request was sent for the first time; `bytes` is what it and its answer count for. */
void stn_hedge_asked(struct stn_hedge_budget *b, uint64_t bytes);
int stn_hedge_may(const struct stn_hedge_budget *b, uint64_t bytes);
void stn_hedge_spend(struct stn_hedge_budget *b, uint64_t bytes);

/* For how long a node that owes answers may send no byte, while others do, before its requests are
 * asked of others. */
uint64_t stn_hedge_silence_ns(uint64_t rtt_ns);

#endif
