/* What a loader and the way to its store did over time, in little memory: moments that lie closer
 * at first, and twice as far apart whenever there are too many. */
#ifndef CLI_HISTORY_H
#define CLI_HISTORY_H

#include <stddef.h>
#include <stdio.h>

#include "sterna/loader.h"

#define CLI_HISTORY_MOMENTS 600

struct cli_moment {
    double at_s;
    double in_flight_mb, window_mb, rtt_ms, rate_mb_s, rate_max_mb_s, connections;
    double stall_s[STERNA_STALL_COUNT]; /* so far */
};

struct cli_history {
    double every_s; /* the least time between two moments */
    struct cli_moment moments[CLI_HISTORY_MOMENTS];
    size_t n;
    int far; /* there is a network */
};

/* Is it time for another moment? */
int cli_history_due(const struct cli_history *h, double at_s);
/* Times must not fall. */
void cli_history_add(struct cli_history *h, double at_s, const struct sterna_stats *stats,
                     const struct sterna_path *path);

/* Charts of it all, for the report; nothing for fewer than two moments. */
void cli_history_draw(const struct cli_history *h, FILE *to, double span_s);

#endif
