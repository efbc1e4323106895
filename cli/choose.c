/* Opening what the options name, and agreeing with a saved state. */
#include "choose.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cli.h"
#include "prompt.h"
#include "size.h"

const char *const cli_uneven_names[3] = {"pad", "drop", "exact"};
const char *const cli_order_names[2] = {"strict", "arrival"};

int cli_names_file(const char *name_or_file) {
    size_t len = strlen(name_or_file);
    return strchr(name_or_file, '/') || (len > 4 && strcmp(name_or_file + len - 4, ".sel") == 0);
}

int cli_is_cluster(const char *url) { return strncmp(url, "cassandra://", 12) == 0; }

int cli_open_store_with(sterna_store **out, const char *url, struct sterna_store_options options) {
    struct sterna_error err = {0};
    options.struct_size = sizeof options;
    options.password = cli_prompt_password;
    int rc = sterna_store_open(out, url, &options, &err);
    return rc < 0 ? cli_fail_err(rc, &err) : CLI_DONE;
}

int cli_open_store(sterna_store **out, const char *url, enum sterna_open_mode mode) {
    return cli_open_store_with(out, url, (struct sterna_store_options){.mode = mode});
}

int cli_which_check(const struct cli_spec *spec) {
    static const char *const one_of[] = {"where", "selection", "ids", NULL};
    int rc = cli_at_most_one(spec, one_of);
    if (rc == CLI_GO_ON && cli_given(spec, "as-of") && cli_given(spec, "selection"))
        rc = cli_fail(CLI_USAGE, "--as-of and --selection exclude each other: a saved selection "
                                 "stays as it was saved");
    return rc;
}

int cli_select(sterna_selection **out, sterna_store *store, const struct cli_which *which) {
    struct sterna_error err = {0};
    struct sterna_select_options o = {.struct_size = sizeof o,
                                      .where = which->where,
                                      .ids_file = which->ids_file,
                                      .as_of_run = which->as_of_run,
                                      .columns = which->columns,
                                      .n_columns = which->n_columns};
    if (which->selection && cli_names_file(which->selection))
        o.file = which->selection;
    else
        o.name = which->selection;
    int rc = sterna_select(out, store, &o, &err);
    return rc < 0 ? cli_fail_err(rc, &err) : CLI_DONE;
}

int cli_state_load(struct cli_state *s, const char *path, int may_be_new,
                   sterna_selection **want_selection) {
    struct sterna_error err = {0};
    struct stat st;
    /* Only the state itself may be missing: one without its selection is an error. */
    if (may_be_new && stat(path, &st) != 0 && errno == ENOENT) return CLI_DONE;
    int rc = sterna_state_load(path, &s->bytes, &s->n_bytes, want_selection, &err);
    if (rc >= 0) rc = sterna_state_info(s->bytes, s->n_bytes, &s->info, &err);
    return rc < 0 ? cli_fail_err(rc, &err) : CLI_DONE;
}

int cli_state_matches(const struct cli_state *s, const sterna_selection *selection,
                      const char *path) {
    struct sterna_selection_info info;
    char here[2 * STERNA_HASH_BYTES + 1], saved[2 * STERNA_HASH_BYTES + 1];
    if (!s->bytes) return CLI_DONE;
    sterna_selection_info(selection, &info);
    if (memcmp(info.hash, s->info.selection_hash, STERNA_HASH_BYTES) == 0) return CLI_DONE;
    cli_hex_text(info.hash, STERNA_HASH_BYTES, here);
    cli_hex_text(s->info.selection_hash, STERNA_HASH_BYTES, saved);
    return cli_fail(CLI_FAILED,
                    "%s: the state belongs to selection %s (%llu samples), not to %s (%llu "
                    "samples); choose the same samples as then, or leave --where, --selection "
                    "and --ids away",
                    path, saved, (unsigned long long)s->info.n, here, (unsigned long long)info.n);
}

void cli_state_free(struct cli_state *s) {
    free(s->bytes);
    *s = (struct cli_state){0};
}

int cli_plan_check(const struct cli_spec *spec, const struct cli_plan *plan) {
    /* Without a world size a state may still bring one. */
    if (cli_given(spec, "state") && !cli_given(spec, "world-size")) return CLI_GO_ON;
    if (plan->rank < plan->world_size) return CLI_GO_ON;
    return cli_fail(CLI_USAGE,
                    "--rank %llu does not exist with --world-size %llu; ranks count from 0",
                    (unsigned long long)plan->rank, (unsigned long long)plan->world_size);
}

/* A seed or an order of another run would make another epoch of it: that is a mistake. Batch size,
 * uneven, order, rank and world size may change; what was not given stays as it was. */
static int take_from_state(const struct cli_spec *spec, struct cli_plan *plan,
                           const struct sterna_state_info *saved) {
    if (cli_given(spec, "seed") && plan->seed != saved->seed)
        return cli_fail(CLI_FAILED,
                        "--seed %llu contradicts the state, which was saved with seed %llu; leave "
                        "the option away, or start anew without the state",
                        (unsigned long long)plan->seed, (unsigned long long)saved->seed);
    if (plan->no_shuffle && saved->shuffle)
        return cli_fail(CLI_FAILED, "--no-shuffle contradicts the state, which is of a shuffled "
                                    "run; leave the option away, or start anew without the state");
    plan->seed = saved->seed;
    plan->no_shuffle = !saved->shuffle;
    if (!cli_given(spec, "batch-size")) plan->batch_size = saved->batch_size;
    if (!cli_given(spec, "uneven")) plan->uneven = (int)saved->uneven;
    if (!cli_given(spec, "order")) plan->order = (int)saved->order;
    if (!cli_given(spec, "world-size")) {
        if (!cli_given(spec, "rank")) plan->rank = saved->rank;
        plan->world_size = saved->world_size;
    }
    return CLI_DONE;
}

int cli_plan_options(const struct cli_spec *spec, struct cli_plan *plan,
                     const struct cli_state *state, struct sterna_loader_options *o) {
    if (state->bytes) {
        int rc = take_from_state(spec, plan, &state->info);
        if (rc != CLI_DONE) return rc;
        o->state = state->bytes;
        o->state_bytes = state->n_bytes;
    }
    if (plan->rank >= plan->world_size)
        return cli_fail(CLI_USAGE, "--rank %llu does not exist among %llu; ranks count from 0",
                        (unsigned long long)plan->rank, (unsigned long long)plan->world_size);
    o->batch_size = (uint32_t)plan->batch_size;
    o->seed = plan->seed;
    o->shuffle = !plan->no_shuffle;
    o->order = (enum sterna_order)plan->order;
    o->uneven = (enum sterna_uneven)plan->uneven;
    o->rank = (uint32_t)plan->rank;
    o->world_size = (uint32_t)plan->world_size;
    return CLI_DONE;
}
