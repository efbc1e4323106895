/* Lines for whoever watches the process; sterna/log.h says where they go. */
#ifndef STN_LOG_H
#define STN_LOG_H

#include "base/base.h"
#include "sterna/log.h"

/* One line, on any thread but not in a signal handler; what is too long is cut. errno stays. Never
 * a secret, never in a loop without a gate. */
__attribute__((format(printf, 2, 3))) void stn_log(int level, const char *format, ...);

/* So that a thing that happens a thousand times a second is told of now and then. Zeroed at first;
 * belongs to one thread, or to a lock. */
struct stn_log_gate {
    uint64_t next_ns;
    uint64_t skipped; /* how often it stayed closed, from one line to the next */
};

/* 1 if a line is due: at first, and when interval_ns have passed since the last one. Then
 * `*skipped` (may be NULL) is how many were not told in between. */
int stn_log_every(struct stn_log_gate *gate, uint64_t now_ns, uint64_t interval_ns,
                  uint64_t *skipped);

#endif
