/* Which store, samples and plan a command works on: the options that read, plan and verify share.
 */
#ifndef CLI_CHOOSE_H
#define CLI_CHOOSE_H

#include "args.h"
#include "sterna/sterna.h"

struct cli_which { /* samples */
    const char *where, *selection, *ids_file;
    uint64_t as_of_run;
    const char *const *columns; /* to carry along */
    size_t n_columns;
};

/* 1 if the URL names a data set in a cluster. */
int cli_is_cluster(const char *url);

/* 1 if NAME_OR_FILE names a file: it has a '/' or ends in ".sel". */
int cli_names_file(const char *name_or_file);

/* All return 0 or an exit code, after a message. */
int cli_open_store(sterna_store **out, const char *url, enum sterna_open_mode mode);
/* The same with further options. Every store is opened through here: passwords are asked for. */
int cli_open_store_with(sterna_store **out, const char *url, struct sterna_store_options options);
int cli_select(sterna_selection **out, sterna_store *store, const struct cli_which *which);

struct cli_plan { /* options that name a plan, as the command line gives them */
    uint64_t batch_size, seed, rank, world_size;
    int order, uneven, no_shuffle;
};
#define CLI_PLAN_DEFAULTS                                                                          \
    { .batch_size = 256, .world_size = 1 }

struct cli_state { /* read from --state FILE */
    void *bytes;   /* NULL: there is no such file yet */
    size_t n_bytes;
    struct sterna_state_info info;
};

/* Reads FILE. With want_selection the selection kept beside it comes too. A missing file is fine
 * if `may_be_new`. */
int cli_state_load(struct cli_state *s, const char *path, int may_be_new,
                   sterna_selection **want_selection);
/* Fails if the state is of other samples. */
int cli_state_matches(const struct cli_state *s, const sterna_selection *selection,
                      const char *path);
void cli_state_free(struct cli_state *s);

/* What was not given on the command line comes from the state; seed and shuffling must agree with
 * it. Then fills *o from both. */
int cli_plan_options(const struct cli_spec *spec, struct cli_plan *plan,
                     const struct cli_state *state, struct sterna_loader_options *o);

#define CLI_BATCH_SIZE_MAX 16777216

/* Rows of an option table: which samples, and which plan. */
// clang-format off
#define CLI_WHICH_OPTIONS(w) \
    {"where", CLI_TEXT, &(w).where, "SQL", "samples for which this SQL expression is true", 0, 0, 0}, \
    {"selection", CLI_TEXT, &(w).selection, "S", \
     "a saved selection: a name in the store, or a file (with a '/' or ending in .sel)", 0, 0, 0}, \
    {"ids", CLI_TEXT, &(w).ids_file, "FILE", "these samples, in this order: one UUID a line", 0, 0, 0}, \
    {"as-of", CLI_UINT, &(w).as_of_run, "RUN", "only what was there after this run", 1, 0, 0}

#define CLI_PLAN_OPTIONS(p) \
    {"seed", CLI_UINT, &(p).seed, "N", "of the order of samples (0)", 0, 0, 0}, \
    {"no-shuffle", CLI_FLAG, &(p).no_shuffle, NULL, "keep the selection's own order", 0, 0, 0}, \
    {"batch-size", CLI_UINT, &(p).batch_size, "N", "samples in a batch of one rank (256)", 1, \
     CLI_BATCH_SIZE_MAX, 0}, \
    {"rank", CLI_UINT, &(p).rank, "R", "this process's rank, from 0 (0)", 0, UINT32_MAX - 1, 0}, \
    {"world-size", CLI_UINT, &(p).world_size, "W", "ranks that share an epoch (1)", 1, UINT32_MAX, 0}, \
    {"uneven", CLI_CHOICE, &(p).uneven, "pad|drop|exact", \
     "at the epoch's end: fill the last batches with repeated samples, drop what fills none, or " \
     "let them be short (pad)", 0, 0, 0}
// clang-format on

/* CLI_GO_ON, or 2: the options of CLI_WHICH_OPTIONS contradict each other. */
int cli_which_check(const struct cli_spec *spec);

/* The same for CLI_PLAN_OPTIONS. */
int cli_plan_check(const struct cli_spec *spec, const struct cli_plan *plan);

extern const char *const cli_uneven_names[3], *const cli_order_names[2];

#endif
