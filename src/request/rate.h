/* A bound on bytes a second: a bucket that fills at the rate, and may be overdrawn by what is taken
 * last, so that a sample of any size passes. Knows no clock: times are arguments. */
#ifndef STN_RATE_H
#define STN_RATE_H

#include <stdint.h>

#include "sterna/error.h"

struct stn_rate {      /* zeroed: no bound */
    uint64_t bytes_s;  /* 0: no bound */
    uint64_t empty_ns; /* when the bucket is, or was, empty: it fills from then on */
    uint64_t rest;     /* of that time, below a nanosecond, in 1 / bytes_s of it */
};

/* Full from now on. */
void stn_rate_init(struct stn_rate *r, uint64_t bytes_s, uint64_t now_ns);

/* May anything be taken? */
int stn_rate_allows(const struct stn_rate *r, uint64_t now_ns);
void stn_rate_take(struct stn_rate *r, uint64_t bytes, uint64_t now_ns);

/* After it did not allow: when to look again. Then about a millisecond's worth can be taken at
 * once. */
uint64_t stn_rate_next_ns(const struct stn_rate *r);

/* The smaller of two bounds, of which 0 is none. */
uint64_t stn_rate_lower(uint64_t a, uint64_t b);

/* STERNA_MAX_RATE: bytes a second that each loader of this process may ask for, a number with
 * perhaps k M G (powers of 1000) or Ki Mi Gi (of 1024), perhaps B, perhaps "/s"; not set or 0: no
 * bound. EINVAL names what it is. */
int stn_rate_of_environment(uint64_t *bytes_s, struct sterna_error *err);

#endif
