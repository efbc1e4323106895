/* What the scenarios over simulated paths (path_sim.h) share: one loader, one server, one link; and
 * loaders that share them. STERNA_TEST_VERBOSE=1 prints what each gave. */
#ifndef STN_TEST_PATH_BENCH_H
#define STN_TEST_PATH_BENCH_H

#include "support/check.h"

#include "support/path_sim.h"

#define MS(ms) ((uint64_t)((ms)*1e6))
#define SECONDS(s) ((uint64_t)((s)*1e9))
#define MB 1e6

struct bench {
    struct path_sim sim;
    struct path_link link;
    struct path_server server;
    struct path_loader loader;
    struct path_target *t;
    double rate; /* of the link */
    uint64_t rtt_ns;
    char name[80];
};

/* Samples of 110 kB; the queue holds what the path does, and 10 ms at least. */
void bench_init(struct bench *b, double mbit, double rtt_ms, enum path_cc cc);
void bench_fini(struct bench *b);
void bench_run(struct bench *b, double until_s);                       /* from the first time on */
double bench_share(const struct bench *b, double from_s, double to_s); /* of the link */
double bench_product(const struct bench *b);

/* What a window may have at most: four times what the path holds, two requests for each connection,
 * and 20 ms of the rate, which covers servers and clocks on a short path. */
double bench_flight_bound(const struct path_target *t, double rate, uint64_t rtt_ns);

struct crowd { /* loaders on one link, to one server */
    struct path_sim sim;
    struct path_link link;
    struct path_server server;
    struct path_loader *loaders;
    size_t n;
};

void crowd_init(struct crowd *c, size_t n, double mbit, double rtt_ms, double queue_ms,
                enum path_cc cc);
void crowd_fini(struct crowd *c);
void crowd_run(struct crowd *c, double until_s);

extern const char *const bench_cc_names[];
__attribute__((format(printf, 1, 2))) void bench_say(const char *format, ...);

#define at_least(what, value, bound)                                                               \
    do {                                                                                           \
        double v_ = (value), b_ = (bound);                                                         \
        if (!(v_ >= b_)) fail_msg("%s: %s is %g, less than %g", (what), #value, v_, b_);           \
    } while (0)
#define at_most(what, value, bound)                                                                \
    do {                                                                                           \
        double v_ = (value), b_ = (bound);                                                         \
        if (!(v_ <= b_)) fail_msg("%s: %s is %g, more than %g", (what), #value, v_, b_);           \
    } while (0)

#endif
