/* `read --report`: what happened over time, collected in little memory, and the page made of it. */
#ifndef CLI_REPORT_H
#define CLI_REPORT_H

#include <stddef.h>
#include <stdint.h>

#include "history.h"
#include "meter.h"

#define CLI_REPORT_SLICES 240
#define CLI_REPORT_WAITS 22
#define CLI_REPORT_EPOCHS 200

struct cli_report {
    double slice_s;                   /* doubles when the run outgrows the slices */
    double slices[CLI_REPORT_SLICES]; /* bytes */
    size_t n_slices;
    uint64_t waits[CLI_REPORT_WAITS]; /* batches waited for <= 10 us * 2^i; the last: longer */
    double epoch_ends_s[CLI_REPORT_EPOCHS];
    size_t n_epochs;
    struct cli_history over_time;
};

struct cli_fact { /* a line of a table in the page */
    const char *name;
    char value[STERNA_VERDICT_BYTES];
};

/* A batch came `at_s` seconds after the start, and was waited for `wait_s` seconds. */
void cli_report_batch(struct cli_report *r, double at_s, uint64_t bytes, double wait_s);
void cli_report_epoch(struct cli_report *r, double at_s);

/* One HTML file that needs nothing else. 0 or an exit code after a message. */
int cli_report_write(const struct cli_report *r, const char *path, const char *title,
                     const char *verdict, const struct cli_fact *configuration,
                     size_t n_configuration, const struct cli_fact *figures, size_t n_figures,
                     const struct cli_meter *m);

#endif
