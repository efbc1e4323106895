/* sterna copy: samples of one store into another. */
#include <stdio.h>
#include <string.h>

#include "args.h"
#include "choose.h"
#include "cli.h"
#include "interrupt.h"
#include "json.h"
#include "meter.h"
#include "progress.h"
#include "size.h"

#define LISTED 20 /* samples that could not be read; the rest is counted. Conflicts: all */

struct copy {
    const char *from_url, *to_url, *replication;
    struct cli_which which;
    uint64_t memory_bytes, threads, allow_skipped;
    int create, replace, json, quiet;
    sterna_store *from, *to;
    sterna_selection *selection;
    uint64_t n_shown, n_hidden;
    double last_s, bytes_per_s; /* pace of the progress */
    uint64_t last_bytes;
};

static uint64_t skipped(const struct sterna_copy_result *r) {
    return r->counts[STERNA_CONFLICT] + r->counts[STERNA_UNREADABLE];
}

/* ---- while it runs ---- */

static void show_comparing(const struct sterna_copy_progress *now) {
    struct cli_text label = {0}, details = {0};
    char number[CLI_NUMBER_TEXT];
    cli_text_add(&label, "comparing %s samples", cli_count_text(now->samples, number));
    cli_text_add(&details, "%s to copy", cli_count_text(now->to_read, number));
    cli_progress_show(label.text, (double)now->compared / (double)now->samples, details.text);
}

static void show_copying(struct copy *c, const struct sterna_copy_progress *now) {
    struct cli_text label = {0}, details = {0};
    char number[CLI_NUMBER_TEXT];
    double passed = now->seconds - c->last_s;
    double fraction = cli_per_second((double)now->bytes_read, (double)now->bytes_to_read);
    if (passed >= 0.5) {
        if (c->last_s > 0)
            c->bytes_per_s = cli_per_second((double)(now->bytes_read - c->last_bytes), passed);
        c->last_s = now->seconds;
        c->last_bytes = now->bytes_read;
    }
    cli_text_add(&label, "%s samples", cli_count_text(now->read, number));
    cli_text_add(&details, "%s of %s", cli_size_text((double)now->bytes_read, number),
                 cli_size_text((double)now->bytes_to_read, (char[CLI_NUMBER_TEXT]){0}));
    if (c->bytes_per_s > 0 && now->bytes_read < now->bytes_to_read)
        cli_text_add(
            &details, "  %.0f MB/s  %s left", c->bytes_per_s / 1e6,
            cli_time_text((double)(now->bytes_to_read - now->bytes_read) / c->bytes_per_s, number));
    cli_progress_show(label.text, fraction, details.text);
}

static int on_progress(void *ctx, const struct sterna_copy_progress *now) {
    if (cli_progress_due() && now->samples > 0) {
        if (now->compared < now->samples)
            show_comparing(now);
        else
            show_copying(ctx, now);
    }
    return cli_interrupted();
}

static int on_report(void *ctx, enum sterna_outcome outcome, const uint8_t id[STERNA_ID_BYTES],
                     const char *path, const char *why) {
    struct copy *c = ctx;
    char text[STERNA_ID_TEXT_BYTES];
    if (outcome == STERNA_REPLACED) return cli_interrupted();
    sterna_id_format(id, text);
    if (outcome == STERNA_CONFLICT || c->n_shown++ < LISTED)
        cli_note("%s: %s%s%s: %s", sterna_outcome_name(outcome), text, path[0] ? " " : "", path,
                 why);
    else
        c->n_hidden++;
    return cli_interrupted();
}

/* ---- afterwards ---- */

static void print_json(const struct copy *c, const struct sterna_copy_result *r,
                       const struct sterna_store_info *facts) {
    struct cli_json j = {.to = stdout};
    char id[STERNA_ID_TEXT_BYTES];
    sterna_id_format(facts->dataset_id, id);
    cli_json_open(&j, NULL, '{');
    cli_json_text(&j, "from", c->from_url);
    cli_json_text(&j, "to", c->to_url);
    cli_json_text(&j, "dataset_id", id);
    cli_json_uint(&j, "run", r->run);
    cli_json_uint(&j, "samples", r->samples);
    cli_json_uint(&j, "copied", r->counts[STERNA_ADDED]);
    cli_json_uint(&j, "unchanged", r->counts[STERNA_UNCHANGED]);
    cli_json_uint(&j, "replaced", r->counts[STERNA_REPLACED]);
    cli_json_uint(&j, "conflicts", r->counts[STERNA_CONFLICT]);
    cli_json_uint(&j, "unreadable", r->counts[STERNA_UNREADABLE]);
    cli_json_uint(&j, "samples_read", r->read);
    cli_json_uint(&j, "bytes", r->bytes_read);
    cli_json_real(&j, "seconds", r->seconds);
    cli_json_real(&j, "mb_per_s", cli_per_second((double)r->bytes_read / 1e6, r->seconds));
    cli_json_uint(&j, "samples_in_store", facts->n_samples);
    cli_json_close(&j, '}');
    putchar('\n');
}

static void print_summary(const struct sterna_copy_result *r,
                          const struct sterna_store_info *facts) {
    static const struct {
        enum sterna_outcome outcome;
        const char *name;
    } rows[] = {{STERNA_ADDED, "copied"},
                {STERNA_UNCHANGED, "unchanged"},
                {STERNA_REPLACED, "replaced"},
                {STERNA_CONFLICT, "conflict"},
                {STERNA_UNREADABLE, "unreadable"}};
    char a[CLI_NUMBER_TEXT], b[CLI_NUMBER_TEXT];
    for (size_t i = 0; i < CLI_COUNT(rows); i++)
        if (r->counts[rows[i].outcome] > 0 || i == 0)
            printf("%-14s%s\n", rows[i].name, cli_count_text(r->counts[rows[i].outcome], a));
    printf("%-14s%s in %.2f s: %.0f MB/s\n", "read", cli_size_text((double)r->bytes_read, a),
           r->seconds, cli_per_second((double)r->bytes_read / 1e6, r->seconds));
    if (r->run > 0)
        printf("%-14s%llu\n", "run", (unsigned long long)r->run);
    else
        printf("%-14snone: nothing is new\n", "run");
    printf("%-14s%s samples, %s\n", "store", cli_count_text(facts->n_samples, a),
           cli_size_text((double)facts->n_bytes, b));
}

static int finish(const struct copy *c, const struct sterna_copy_result *r) {
    struct sterna_store_info facts = {0};
    struct sterna_error err = {0};
    int rc = sterna_store_info(c->to, &facts, &err);
    if (rc < 0) return cli_fail_err(rc, &err);
    if (c->json)
        print_json(c, r, &facts);
    else if (!c->quiet)
        print_summary(r, &facts);
    uint64_t n = skipped(r);
    if (n <= c->allow_skipped) return CLI_DONE;
    return cli_fail(CLI_SKIPPED,
                    "%llu samples were not copied (%llu conflicts, which --replace would replace; "
                    "%llu unreadable); --allow-skipped %llu accepts that",
                    (unsigned long long)n, (unsigned long long)r->counts[STERNA_CONFLICT],
                    (unsigned long long)r->counts[STERNA_UNREADABLE], (unsigned long long)n);
}

static int copy(struct copy *c) {
    struct sterna_copy_options o;
    struct sterna_copy_result result = {0};
    struct sterna_error err = {0};
    sterna_copy_options_init(&o);
    o.memory_bytes = c->memory_bytes;
    o.threads = (unsigned)c->threads;
    o.replace = c->replace;
    o.progress = on_progress;
    o.report = on_report;
    o.ctx = c;
    cli_interrupt_gently();
    cli_progress_open(c->quiet, c->json);
    int rc = sterna_copy(c->from, c->selection, c->to, &o, &result, &err);
    cli_progress_hide();
    if (c->n_hidden > 0) cli_note("... and %llu more", (unsigned long long)c->n_hidden);
    if (rc == STERNA_ECANCELED && cli_interrupted())
        return cli_fail(CLI_INTERRUPTED, "interrupted: no sample is listed yet, but bytes that "
                                         "were copied are kept; the same command goes on from "
                                         "there");
    if (rc < 0) return cli_fail_err(rc, &err);
    return finish(c, &result);
}

/* A directory is made as ingest makes it; a cluster's tables only if that is asked for. */
static int open_to(struct copy *c) {
    struct sterna_store_info facts;
    struct sterna_error err = {0};
    int make = c->create || !strstr(c->to_url, "://");
    struct sterna_store_options o = {.struct_size = sizeof o,
                                     .mode = make ? STERNA_OPEN_CREATE : STERNA_OPEN_WRITE,
                                     .replication = c->replication};
    int rc = sterna_store_info(c->from, &facts, &err);
    o.dataset_id = facts.dataset_id;
    if (rc == STERNA_OK) rc = sterna_store_open(&c->to, c->to_url, &o, &err);
    return rc < 0 ? cli_fail_err(rc, &err) : CLI_DONE;
}

static int run(struct copy *c) {
    int rc = cli_open_store(&c->from, c->from_url, STERNA_OPEN_READ);
    if (rc == CLI_DONE) rc = cli_select(&c->selection, c->from, &c->which);
    if (rc == CLI_DONE) rc = open_to(c); /* last: a mistake makes no empty store */
    if (rc == CLI_DONE) rc = copy(c);
    sterna_selection_close(&c->selection);
    sterna_store_close(&c->to);
    sterna_store_close(&c->from);
    return rc;
}

int cmd_copy(int argc, char **argv) {
    struct copy c = {0};
    struct cli_option options[] = {
        CLI_WHICH_OPTIONS(c.which),
        {"create", CLI_FLAG, &c.create, NULL,
         "make DST if it is not there: a directory always is, tables of a cluster only with this",
         0, 0, 0},
        {"replication", CLI_TEXT, &c.replication, "DC=N[,DC=N]",
         "with --create: make the keyspace too, with N replicas in each data centre", 0, 0, 0},
        {"replace", CLI_FLAG, &c.replace, NULL,
         "other bytes under a known id replace those of DST instead of being a conflict", 0, 0, 0},
        {"allow-skipped", CLI_UINT, &c.allow_skipped, "N",
         "exit with 0 if no more than N samples were not copied (0)", 0, 0, 0},
        {"memory", CLI_SIZE, &c.memory_bytes, "SIZE", "read ahead (a quarter of the memory)", 1, 0,
         0},
        {"threads", CLI_UINT, &c.threads, "N", "reader threads (chosen)", 1, 1024, 0},
        {"json", CLI_FLAG, &c.json, NULL, "results as one JSON object, the last line of stdout", 0,
         0, 0},
        {"quiet", CLI_FLAG, &c.quiet, NULL, "no progress and no summary", 0, 0, 0},
    };
    struct cli_spec spec = {
        .name = "copy",
        .operands = "SRC DST",
        .about = "Copies samples of the store SRC, all or some, into the store DST, which gets "
                 "SRC's data set id if it is made, and must have it if not. Samples keep ids, "
                 "fields, columns, classes and labels. What DST holds already is not read again. "
                 "All become visible together at the end; interrupted and run again, it completes "
                 "and doubles nothing.",
        .options = options,
        .n_options = CLI_COUNT(options),
        .min_operands = 2,
        .max_operands = 2,
        .to = {&c.from_url, &c.to_url}};
    int rc = cli_parse(&spec, argc, argv);
    if (rc == CLI_GO_ON) rc = cli_which_check(&spec);
    if (rc == CLI_GO_ON && c.replication && !c.create)
        rc = cli_fail(CLI_USAGE, "--replication is of a keyspace that --create makes");
    return rc == CLI_GO_ON ? run(&c) : rc;
}
