/* What a loader's run was bound by, in one sentence, and what to do. From facts alone. */
#ifndef STN_VERDICT_H
#define STN_VERDICT_H

#include <stddef.h>

#include "sterna/loader.h"

struct stn_verdict_facts {
    uint64_t elapsed_ns; /* since it was open */
    uint64_t stall_ns[STERNA_STALL_COUNT];
    uint64_t batches;
    uint64_t rate_bytes_s; /* handed out a second, from the first batch on; 0: not known */
    uint64_t retries;      /* and what else went wrong is in path */
    uint64_t leases;       /* batches that the consumer holds */
    uint64_t memory_bytes; /* the budget */
    uint64_t wanted_bytes; /* what the way could make use of */
    uint64_t max_rate_bytes_s;
    struct sterna_path path;
};

/* Writes "" if there is nothing to say yet. */
void stn_verdict(const struct stn_verdict_facts *f, char *text, size_t bytes);

/* Payload that a link of a usual speed carries, if `rate` is about that; its name in *name. 0: none
 * is. Full segments over Ethernet: 1448 bytes of 1538. */
uint64_t stn_link_of(uint64_t rate_bytes_s, const char **name);

#endif
