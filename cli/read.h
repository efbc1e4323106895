/* One `sterna read`: its options and all that belongs to the run. */
#ifndef CLI_READ_H
#define CLI_READ_H

#include "choose.h"
#include "meter.h"
#include "read_verify.h"
#include "report.h"

struct cli_read {
    const struct cli_spec *spec;
    /* options */
    const char *url, *state_file, *report_file, *expect_text;
    struct cli_which which;
    struct cli_plan plan;
    struct cli_list fields;
    uint64_t epochs, memory_bytes, max_errors, threads, max_rate_bytes_s;
    int on_error, verify, json, quiet;
    uint8_t expect[STERNA_HASH_BYTES];
    /* the run */
    sterna_store *store;
    sterna_selection *selection;
    struct sterna_selection_info info;
    char hash[2 * STERNA_HASH_BYTES + 1];
    struct cli_state state;
    struct sterna_loader_options o;
    uint64_t first_epoch, epochs_left; /* of the whole run's; epochs_left 0: endless */
    int nothing_left;
    sterna_loader *loader;
    struct cli_meter meter;
    struct cli_verify check;
    void *start; /* the loader's state before the first batch, for `check` */
    struct cli_report history;
    double open_s;          /* store, selection and state */
    struct sterna_path way; /* to the store, in the end */
    char verdict[STERNA_VERDICT_BYTES];
    char failure[STERNA_MESSAGE_BYTES];
};

/* The results: JSON or a summary on stdout. */
void cli_read_print(const struct cli_read *r);
int cli_read_write_report(const struct cli_read *r);

/* Progress while batches come. */
struct cli_read_pace {
    double at_s;
    uint64_t samples, bytes;
    double samples_per_s, bytes_per_s; /* over the last seconds */
    int known;
};
void cli_read_progress(const struct cli_read *r, struct cli_read_pace *pace,
                       const struct sterna_batch_info *last);

#endif
