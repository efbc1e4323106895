/* sterna plan: which samples are in one batch, without reading any. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "args.h"
#include "choose.h"
#include "cli.h"
#include "table.h"

struct plan {
    const char *url, *state_file;
    struct cli_which which;
    struct cli_plan plan;
    uint64_t epoch, step;
    int format;
    struct cli_spec *spec;
    /* the batch */
    sterna_store *store;
    sterna_selection *selection;
    struct cli_state state;
    uint64_t *index;
    uint8_t *valid;
    uint32_t n_rows;
    /* its samples, sorted by index, each once: padding repeats some */
    struct sample {
        uint64_t index;
        uint8_t id[STERNA_ID_BYTES];
        char *path;
        size_t path_bytes;
    } * samples;
    size_t n_samples, next;
};

static int by_index(const void *a, const void *b) {
    uint64_t x = ((const struct sample *)a)->index, y = ((const struct sample *)b)->index;
    return x < y ? -1 : x > y;
}

static int no_memory(void) { return cli_fail(CLI_FAILED, "out of memory for the batch"); }

static int list_samples(struct plan *p) {
    const uint8_t(*ids)[STERNA_ID_BYTES] = sterna_selection_ids(p->selection);
    p->samples = calloc((size_t)p->n_rows + 1, sizeof *p->samples);
    if (!p->samples) return no_memory();
    for (uint32_t i = 0; i < p->n_rows; i++) p->samples[i].index = p->index[i];
    qsort(p->samples, p->n_rows, sizeof *p->samples, by_index);
    for (uint32_t i = 0; i < p->n_rows; i++) {
        if (i > 0 && p->samples[i].index == p->samples[p->n_samples - 1].index) continue;
        p->samples[p->n_samples].index = p->samples[i].index;
        memcpy(p->samples[p->n_samples].id, ids[p->samples[i].index], STERNA_ID_BYTES);
        p->n_samples++;
    }
    return CLI_DONE;
}

static int each_path(void *ctx, const char *const *names, const struct sterna_value *values,
                     size_t n) {
    struct plan *p = ctx;
    uint8_t id[STERNA_ID_BYTES];
    (void)names;
    if (n != 2 || values[1].type != STERNA_TEXT || sterna_id_parse(values[0].text, id) < 0)
        return 0;
    /* Rows come in the order of the ids asked for. */
    while (p->next < p->n_samples && memcmp(p->samples[p->next].id, id, STERNA_ID_BYTES) != 0)
        p->next++;
    if (p->next == p->n_samples) return 0;
    struct sample *s = &p->samples[p->next++];
    s->path = malloc(values[1].text_bytes + 1);
    if (!s->path) return STERNA_ENOMEM;
    memcpy(s->path, values[1].text, values[1].text_bytes);
    s->path_bytes = values[1].text_bytes;
    return 0;
}

static int find_paths(struct plan *p) {
    static const char *const columns[] = {"id", "path"};
    struct sterna_error err = {0};
    uint8_t(*ids)[STERNA_ID_BYTES] = calloc(p->n_samples + 1, sizeof *ids);
    if (!ids) return no_memory();
    for (size_t i = 0; i < p->n_samples; i++) memcpy(ids[i], p->samples[i].id, STERNA_ID_BYTES);
    struct sterna_query_options o = {.struct_size = sizeof o,
                                     .columns = columns,
                                     .n_columns = CLI_COUNT(columns),
                                     .ids = (const uint8_t(*)[STERNA_ID_BYTES])ids,
                                     .n_ids = p->n_samples};
    int rc = p->n_samples ? sterna_query(p->store, &o, each_path, p, &err) : STERNA_OK;
    free(ids);
    return rc < 0 ? cli_fail_err(rc, &err) : CLI_DONE;
}

static int print_batch(struct plan *p) {
    static const char *const names[] = {"row", "index", "id", "path", "valid"};
    struct cli_table table = {0};
    int rc = cli_table_open(&table, (enum cli_format)p->format, names, CLI_COUNT(names));
    for (uint32_t i = 0; i < p->n_rows && rc == CLI_DONE; i++) {
        struct sample key = {.index = p->index[i]};
        const struct sample *s = bsearch(&key, p->samples, p->n_samples, sizeof key, by_index);
        char id[STERNA_ID_TEXT_BYTES];
        if (!s) continue; /* cannot be: all are listed */
        sterna_id_format(s->id, id);
        struct sterna_value row[] = {cli_int_value(i), cli_int_value((int64_t)s->index),
                                     cli_text_value(id), cli_text_value(NULL),
                                     cli_int_value(p->valid[i])};
        if (s->path)
            row[3] = (struct sterna_value){
                .type = STERNA_TEXT, .text = s->path, .text_bytes = s->path_bytes};
        rc = cli_table_row(&table, row);
    }
    if (rc == CLI_DONE) cli_table_close(&table);
    cli_table_free(&table);
    return rc;
}

/* A state has its own batches: only `read` can deal what remains anew. */
static int check_state(const struct plan *p) {
    const struct sterna_state_info *saved = &p->state.info;
    const struct {
        const char *name;
        uint64_t given, saved;
    } same[] = {
        {"batch-size", p->plan.batch_size, saved->batch_size},
        {"world-size", p->plan.world_size, saved->world_size},
        {"uneven", (uint64_t)p->plan.uneven, (uint64_t)saved->uneven},
    };
    for (size_t i = 0; p->state.bytes && i < CLI_COUNT(same); i++)
        if (cli_given(p->spec, same[i].name) && same[i].given != same[i].saved)
            return cli_fail(CLI_FAILED, "--%s differs from that of the state %s; leave it away",
                            same[i].name, p->state_file);
    return CLI_DONE;
}

static int plan_batch(struct plan *p) {
    struct sterna_loader_options o;
    struct sterna_selection_info info;
    struct sterna_error err = {0};
    sterna_loader_options_init(&o);
    int rc = cli_plan_options(p->spec, &p->plan, &p->state, &o);
    if (rc != CLI_DONE) return rc;
    if (p->state.bytes && !cli_given(p->spec, "epoch")) p->epoch = p->state.info.epoch;
    p->index = calloc(o.batch_size, sizeof *p->index);
    p->valid = calloc(o.batch_size, 1);
    if (!p->index || !p->valid) return no_memory();
    sterna_selection_info(p->selection, &info);
    rc = sterna_plan_batch(&o, info.n, p->epoch, p->step, p->index, p->valid, &p->n_rows, &err);
    if (rc < 0) return cli_fail_err(rc, &err);
    rc = list_samples(p);
    if (rc == CLI_DONE) rc = find_paths(p);
    return rc == CLI_DONE ? print_batch(p) : rc;
}

/* The samples come from the options, or else from the selection that the state was saved with. */
static int open_selection(struct plan *p) {
    int named = p->which.where || p->which.selection || p->which.ids_file || p->which.as_of_run;
    int rc = CLI_DONE;
    if (p->state_file)
        rc = cli_state_load(&p->state, p->state_file, 0, named ? NULL : &p->selection);
    if (rc == CLI_DONE && !p->selection) rc = cli_select(&p->selection, p->store, &p->which);
    return rc == CLI_DONE ? cli_state_matches(&p->state, p->selection, p->state_file) : rc;
}

static int run(struct plan *p) {
    int rc = cli_open_store(&p->store, p->url, STERNA_OPEN_READ);
    if (rc == CLI_DONE) rc = open_selection(p);
    if (rc == CLI_DONE) rc = check_state(p);
    if (rc == CLI_DONE) rc = plan_batch(p);
    for (size_t i = 0; i < p->n_samples; i++) free(p->samples[i].path);
    free(p->samples);
    free(p->index);
    free(p->valid);
    cli_state_free(&p->state);
    sterna_selection_close(&p->selection);
    sterna_store_close(&p->store);
    return rc;
}

int cmd_plan(int argc, char **argv) {
    struct plan p = {.plan = CLI_PLAN_DEFAULTS};
    struct cli_option options[] = {
        {"epoch", CLI_UINT, &p.epoch, "E", "which epoch, from 0 (0, or the state's)", 0, 0, 0},
        {"step", CLI_UINT, &p.step, "S", "which batch of the epoch, from 0", 0, 0, 0},
        {"state", CLI_TEXT, &p.state_file, "FILE",
         "the plan and the samples of this saved state, instead of the options below", 0, 0, 0},
        CLI_PLAN_OPTIONS(p.plan),
        CLI_WHICH_OPTIONS(p.which),
        {"format", CLI_CHOICE, &p.format, CLI_FORMATS, "how rows are printed (table)", 0, 0, 0},
    };
    struct cli_spec spec = {
        .name = "plan",
        .operands = "STORE --step S",
        .about = "Prints ids and paths of the samples in one batch of an epoch, as 'sterna read' "
                 "with the same options delivers it in strict order. Rows with valid 0 are "
                 "padding. No image is read.",
        .options = options,
        .n_options = CLI_COUNT(options),
        .min_operands = 1,
        .max_operands = 1,
        .to = {&p.url}};
    p.spec = &spec;
    int rc = cli_parse(&spec, argc, argv);
    if (rc == CLI_GO_ON) rc = cli_which_check(&spec);
    if (rc == CLI_GO_ON) rc = cli_plan_check(&spec, &p.plan);
    if (rc == CLI_GO_ON && !cli_given(&spec, "step"))
        rc = cli_fail(CLI_USAGE, "--step is missing: which batch of the epoch?");
    return rc == CLI_GO_ON ? run(&p) : rc;
}
