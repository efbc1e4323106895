/* What a run of the loader did, in all and epoch by epoch: counts, rates, waiting. */
#ifndef CLI_METER_H
#define CLI_METER_H

#include "json.h"
#include "sterna/loader.h"

struct cli_figures {
    uint64_t epoch;
    uint64_t batches, samples, bytes, padded, errors, retries;
    uint64_t duplicates, missing;
    uint64_t in_flight_bytes_max, memory_bytes_max;
    double seconds, first_batch_s, cpu_s;
    double stall_s[STERNA_STALL_COUNT];
};

struct cli_meter {
    struct cli_figures total, current;
    struct cli_figures *epochs; /* finished ones */
    size_t n_epochs, cap_epochs;
    uint64_t memory_budget_bytes;
    double start_s, start_cpu_s, epoch_s, epoch_cpu_s;
    struct sterna_stats at_epoch; /* the loader's counts when the current epoch began */
    int in_epoch;
};

extern const char *const cli_stall_names[STERNA_STALL_COUNT];

void cli_meter_start(struct cli_meter *m);
void cli_meter_batch(struct cli_meter *m, const sterna_batch *batch,
                     const struct sterna_batch_info *info);
/* The current epoch is over (or the run is: then it becomes the last epoch). 0 or an exit code. */
int cli_meter_end_epoch(struct cli_meter *m, const struct sterna_stats *now);
void cli_meter_stop(struct cli_meter *m, const struct sterna_stats *now);
void cli_meter_free(struct cli_meter *m);

double cli_per_second(double amount, double seconds); /* 0 for no time */
double cli_stall_total(const struct cli_figures *f);

/* The keys of f into the object that is open. */
void cli_figures_json(struct cli_json *j, const struct cli_figures *f);

/* "bandwidth 1.20 s, latency 0.31 s": causes that took anything, the longest first. */
const char *cli_stall_text(const struct cli_figures *f, char *text, size_t bytes);

#endif
