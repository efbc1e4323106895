/* When to ask again, and when to give up. Knows no source and no clock: times are arguments. */
#ifndef STN_RETRY_H
#define STN_RETRY_H

#include <stdint.h>

struct stn_retry {
    unsigned max_attempts;  /* of one sample */
    uint64_t first_wait_ns; /* before the second attempt; doubles, up to max_wait_ns */
    uint64_t max_wait_ns;
};

#define STN_RETRY_DEFAULT ((struct stn_retry){5, UINT64_C(20000000), UINT64_C(2000000000)})

/* After attempt number `attempts` (from 1) failed with `code`: nanoseconds to wait before the next,
 * or UINT64_MAX: give up. `salt` spreads the waits of many samples over +-25 %. */
uint64_t stn_retry_wait_ns(const struct stn_retry *r, unsigned attempts, int code, uint64_t salt);

#endif
