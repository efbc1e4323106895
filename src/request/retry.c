#include "request/retry.h"

#include "base/base.h"
#include "base/philox.h"

/* An answer that will be the same next time is final: the sample is not there, or the file is of
 * another format. A wrong checksum is not: the next copy may be whole. That nobody can be reached a
 * source says when it has tried for as long as an outage may last: once is enough. */
static int may_pass(int code) {
    switch (code) {
    case STERNA_EIO:
    case STERNA_ETIMEOUT:
    case STERNA_EPROTO:
    case STERNA_ECORRUPT:
    case STERNA_EBUSY:
    case STERNA_ECANCELED:
    case STERNA_ENOMEM:
        return 1;
    default:
        return 0;
    }
}

uint64_t stn_retry_wait_ns(const struct stn_retry *r, unsigned attempts, int code, uint64_t salt) {
    if (!may_pass(code) || attempts >= r->max_attempts) return UINT64_MAX;
    unsigned doublings = STN_MIN(attempts - 1, 30U);
    uint64_t wait = STN_MIN(r->first_wait_ns << doublings, r->max_wait_ns);
    struct stn_philox random = stn_philox4x32((struct stn_philox){{attempts, 0, 0, 0}},
                                              (uint32_t)salt, (uint32_t)(salt >> 32));
    return wait - wait / 4 + stn_bounded((uint64_t)random.v[0] << 32, wait / 2 + 1);
}
