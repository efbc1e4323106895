/* sterna ingest: a folder of images into a store. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "args.h"
#include "choose.h"
#include "cli.h"
#include "interrupt.h"
#include "json.h"
#include "meter.h"
#include "progress.h"
#include "size.h"

#define SKIPPED_SHOWN 20 /* the rest is counted; --verbose shows all */

struct ingest {
    const char *url, *dir, *prefix, *metadata, *dataset_id, *replication;
    struct cli_list fields;
    uint64_t max_bytes, memory_bytes, threads, allow_skipped;
    int on_error, replace, create, print_ddl, json, quiet, verbose;
    uint8_t id[STERNA_ID_BYTES];
    struct sterna_ingest_field *pairs;
    char *names; /* memory of the pairs' texts */
    /* the run */
    uint64_t n_shown, n_hidden;
    double cpu_s;
    double last_s, files_per_s, bytes_per_s; /* pace of the progress */
    uint64_t last_files, last_bytes;
};

/* Inputs that are not in the store as they are on disk. */
static uint64_t skipped(const uint64_t *counts) {
    return counts[STERNA_CONFLICT] + counts[STERNA_NO_IMAGE] + counts[STERNA_EMPTY] +
           counts[STERNA_UNREADABLE] + counts[STERNA_TOO_BIG] + counts[STERNA_BAD_FIELD];
}

/* NAME=PATTERN[:KIND]; what follows the last colon is a kind only if it is the name of one. */
static int parse_fields(struct ingest *in) {
    size_t bytes = 0;
    for (size_t i = 0; i < in->fields.n; i++) bytes += strlen(in->fields.items[i]) + 1;
    in->pairs = calloc(in->fields.n + 1, sizeof *in->pairs);
    in->names = malloc(bytes + 1);
    if (!in->pairs || !in->names) return cli_fail(CLI_FAILED, "out of memory for the fields");
    char *at = in->names;
    for (size_t i = 0; i < in->fields.n; i++) {
        const char *text = in->fields.items[i];
        size_t len = strlen(text);
        memcpy(at, text, len + 1);
        char *equals = strchr(at, '='), *colon = strrchr(at, ':');
        enum sterna_kind kind;
        if (!equals || equals == at || equals[1] == 0)
            return cli_fail(CLI_USAGE,
                            "--field: '%s' is not NAME=PATTERN, such as caption=.txt or "
                            "mask=masks/{stem}.png",
                            text);
        *equals = 0;
        in->pairs[i] = (struct sterna_ingest_field){.name = at, .pattern = equals + 1, .kind = -1};
        if (colon > equals + 1 && sterna_kind_parse(colon + 1, &kind) == STERNA_OK) {
            *colon = 0;
            in->pairs[i].kind = (int)kind;
        }
        for (size_t k = 0; k < i; k++)
            if (strcmp(in->pairs[k].name, at) == 0)
                return cli_fail(CLI_USAGE, "--field: there are two fields named '%s'", at);
        at += len + 1;
    }
    return CLI_GO_ON;
}

static void show_progress(struct ingest *in, const struct sterna_progress *now) {
    struct cli_text label = {0}, details = {0};
    char number[CLI_NUMBER_TEXT];
    double passed = now->seconds - in->last_s, fraction = -1;
    uint64_t n_skipped = skipped(now->counts);
    if (passed >= 0.5) {
        in->files_per_s = cli_per_second((double)(now->files_done - in->last_files), passed);
        in->bytes_per_s = cli_per_second((double)(now->bytes_done - in->last_bytes), passed);
        in->last_s = now->seconds;
        in->last_files = now->files_done;
        in->last_bytes = now->bytes_done;
    }
    if (now->files_total > 0) fraction = (double)now->files_done / (double)now->files_total;
    cli_text_add(&label, "%s files", cli_count_text(now->files_done, number));
    if (in->last_s > 0) {
        double rate = cli_per_second((double)now->files_done, now->seconds);
        cli_text_add(&details, "%.0f files/s  %.0f MB/s", in->files_per_s, in->bytes_per_s / 1e6);
        if (now->files_total > 0 && rate > 0)
            cli_text_add(
                &details, "  %s left",
                cli_time_text((double)(now->files_total - now->files_done) / rate, number));
    }
    if (n_skipped > 0) cli_text_add(&details, "  %llu skipped", (unsigned long long)n_skipped);
    cli_progress_show(label.text, fraction, details.text);
}

static int on_progress(void *ctx, const struct sterna_progress *now) {
    if (cli_progress_due()) show_progress(ctx, now);
    return cli_interrupted();
}

static int on_report(void *ctx, enum sterna_outcome outcome, const char *path, const char *why) {
    struct ingest *in = ctx;
    int always = in->verbose || outcome == STERNA_CONFLICT;
    if (outcome == STERNA_REPLACED && !in->verbose) return cli_interrupted();
    if (always || in->n_shown < SKIPPED_SHOWN) {
        cli_note("%s: %s: %s", sterna_outcome_name(outcome), path, why ? why : "");
        in->n_shown += !always;
    } else {
        in->n_hidden++;
    }
    return cli_interrupted();
}

static void print_json(const struct ingest *in, const struct sterna_ingest_result *r,
                       const struct sterna_store_info *facts) {
    struct cli_json j = {.to = stdout};
    char id[STERNA_ID_TEXT_BYTES];
    uint64_t files = 0;
    for (int o = 0; o < STERNA_OUTCOME_COUNT; o++) files += r->counts[o];
    sterna_id_format(facts->dataset_id, id);
    cli_json_open(&j, NULL, '{');
    cli_json_text(&j, "store", in->url);
    cli_json_text(&j, "dataset_id", id);
    cli_json_uint(&j, "run", r->run);
    cli_json_uint(&j, "added", r->counts[STERNA_ADDED]);
    cli_json_uint(&j, "unchanged", r->counts[STERNA_UNCHANGED]);
    cli_json_uint(&j, "replaced", r->counts[STERNA_REPLACED]);
    cli_json_uint(&j, "conflicts", r->counts[STERNA_CONFLICT]);
    cli_json_uint(&j, "skipped", skipped(r->counts));
    cli_json_open(&j, "skipped_by_reason", '{');
    for (int o = STERNA_CONFLICT; o < STERNA_OUTCOME_COUNT; o++)
        cli_json_uint(&j, sterna_outcome_name((enum sterna_outcome)o), r->counts[o]);
    cli_json_close(&j, '}');
    cli_json_uint(&j, "metadata_unmatched", r->metadata_unmatched);
    cli_json_uint(&j, "bytes", r->bytes);
    cli_json_real(&j, "seconds", r->seconds);
    cli_json_real(&j, "files_per_s", cli_per_second((double)files, r->seconds));
    cli_json_real(&j, "mb_per_s", cli_per_second((double)r->bytes / 1e6, r->seconds));
    cli_json_real(&j, "cpu_s", in->cpu_s);
    cli_json_uint(&j, "samples", facts->n_samples);
    cli_json_close(&j, '}');
    putchar('\n');
}

static void print_summary(const struct sterna_ingest_result *r,
                          const struct sterna_store_info *facts) {
    char a[CLI_NUMBER_TEXT], b[CLI_NUMBER_TEXT];
    uint64_t files = 0;
    for (int o = 0; o < STERNA_OUTCOME_COUNT; o++) {
        files += r->counts[o];
        if (r->counts[o] > 0 || o == STERNA_ADDED)
            printf("%-14s%s\n", sterna_outcome_name((enum sterna_outcome)o),
                   cli_count_text(r->counts[o], a));
    }
    if (r->metadata_unmatched > 0)
        printf("%-14s%s rows of the metadata match no file\n", "unmatched",
               cli_count_text(r->metadata_unmatched, a));
    printf("%-14s%s in %.2f s: %.0f files/s, %.0f MB/s\n", "bytes",
           cli_size_text((double)r->bytes, a), r->seconds,
           cli_per_second((double)files, r->seconds),
           cli_per_second((double)r->bytes / 1e6, r->seconds));
    if (r->run > 0)
        printf("%-14s%llu\n", "run", (unsigned long long)r->run);
    else
        printf("%-14snone: nothing is new\n", "run");
    printf("%-14s%s samples, %s\n", "store", cli_count_text(facts->n_samples, a),
           cli_size_text((double)facts->n_bytes, b));
}

static int finish(struct ingest *in, sterna_store *store, const struct sterna_ingest_result *r) {
    struct sterna_store_info facts = {0};
    struct sterna_error err = {0};
    int rc = sterna_store_info(store, &facts, &err);
    if (rc < 0) return cli_fail_err(rc, &err);
    if (in->json)
        print_json(in, r, &facts);
    else if (!in->quiet)
        print_summary(r, &facts);
    uint64_t n = skipped(r->counts);
    if (n <= in->allow_skipped) return CLI_DONE;
    return cli_fail(CLI_SKIPPED, "%llu inputs were skipped; --allow-skipped %llu accepts that",
                    (unsigned long long)n, (unsigned long long)n);
}

static int ingest(struct ingest *in, sterna_store *store) {
    struct sterna_ingest_options o;
    struct sterna_ingest_result result = {0};
    struct sterna_error err = {0};
    sterna_ingest_options_init(&o);
    o.prefix = in->prefix;
    o.metadata_file = in->metadata;
    o.fields = in->pairs;
    o.n_fields = in->fields.n;
    if (in->max_bytes) o.max_bytes = in->max_bytes;
    o.memory_bytes = in->memory_bytes;
    o.threads = (unsigned)in->threads;
    o.stop_on_error = in->on_error == 1;
    o.replace = in->replace;
    o.progress = on_progress;
    o.report = on_report;
    o.ctx = in;
    double cpu_s = cli_cpu_s();
    cli_interrupt_gently();
    cli_progress_open(in->quiet, in->json);
    int rc = sterna_ingest_folder(store, in->dir, &o, &result, &err);
    cli_progress_hide();
    in->cpu_s = cli_cpu_s() - cpu_s;
    if (in->n_hidden > 0)
        cli_note("... and %llu more; --verbose lists all", (unsigned long long)in->n_hidden);
    if (rc == STERNA_ECANCELED && cli_interrupted())
        return cli_fail(CLI_INTERRUPTED, "interrupted: the store is as it was; the same command "
                                         "does it again");
    if (rc < 0) return cli_fail_err(rc, &err);
    return finish(in, store, &result);
}

/* A directory is made when it is not there; tables in a cluster that others use are not. */
static int open_store(const struct ingest *in, sterna_store **store) {
    int may_make = in->create || !cli_is_cluster(in->url);
    const struct sterna_store_options o = {.mode =
                                               may_make ? STERNA_OPEN_CREATE : STERNA_OPEN_WRITE,
                                           .dataset_id = in->dataset_id ? in->id : NULL,
                                           .replication = in->replication};
    return cli_open_store_with(store, in->url, o);
}

static int run(struct ingest *in) {
    sterna_store *store = NULL;
    int rc = open_store(in, &store);
    if (rc == CLI_DONE) rc = ingest(in, store);
    sterna_store_close(&store);
    return rc;
}

static void print_statement(void *ctx, const char *statement) {
    (void)ctx;
    printf("%s;\n", statement);
}

static int print_ddl(const struct ingest *in) {
    struct sterna_error err = {0};
    size_t n = in->fields.n + 1;
    struct sterna_field *fields = calloc(n, sizeof *fields);
    if (!fields) return cli_fail(CLI_FAILED, "out of memory for the fields");
    fields[0] = (struct sterna_field){.name = "image", .kind = STERNA_KIND_IMAGE};
    for (size_t i = 1; i < n; i++) { /* tables do not depend on kinds */
        int kind = in->pairs[i - 1].kind;
        fields[i].name = in->pairs[i - 1].name;
        fields[i].kind = kind < 0 ? STERNA_KIND_BYTES : (enum sterna_kind)kind;
        fields[i].number = (uint32_t)i;
    }
    int rc = sterna_store_ddl(in->url, in->replication, fields, n, print_statement, NULL, &err);
    free(fields);
    return rc < 0 ? cli_fail_err(rc, &err) : CLI_DONE;
}

int cmd_ingest(int argc, char **argv) {
    struct ingest in = {0};
    struct cli_option options[] = {
        {"prefix", CLI_TEXT, &in.prefix, "P", "put P/ before each sample's path", 0, 0, 0},
        {"metadata", CLI_TEXT, &in.metadata, "FILE.csv",
         "columns for the catalogue: a row for each image, joined on its relative path", 0, 0, 0},
        {"field", CLI_LIST, &in.fields, "NAME=PATTERN[:KIND]",
         "a further file of each image, by suffix (caption=.txt) or path (mask=masks/{stem}.png); "
         "KIND is bytes, image, mask, text, json or npy; can be repeated",
         0, 0, 0},
        {"max-bytes", CLI_SIZE, &in.max_bytes, "SIZE", "skip larger files (64MiB)", 1, 0, 0},
        {"on-error", CLI_CHOICE, &in.on_error, "skip|stop",
         "a file that is no image, empty or unreadable: list it and go on, or stop (skip)", 0, 0,
         0},
        {"replace", CLI_FLAG, &in.replace, NULL,
         "other bytes under a known path replace the old ones instead of being a conflict", 0, 0,
         0},
        {"allow-skipped", CLI_UINT, &in.allow_skipped, "N",
         "exit with 0 if no more than N inputs were skipped (0)", 0, 0, 0},
        {"dataset-id", CLI_TEXT, &in.dataset_id, "UUID", "of a new store (a random one)", 0, 0, 0},
        {"create", CLI_FLAG, &in.create, NULL,
         "make the data set's tables in a cluster if they are not there; a directory always is", 0,
         0, 0},
        {"replication", CLI_TEXT, &in.replication, "DC=N[,..]|N",
         "with --create: make the keyspace too, with so many copies in each data centre", 0, 0, 0},
        {"print-ddl", CLI_FLAG, &in.print_ddl, NULL,
         "print the statements that --create would run, and do nothing", 0, 0, 0},
        {"threads", CLI_UINT, &in.threads, "N", "files read at once (chosen)", 1, 1024, 0},
        {"memory", CLI_SIZE, &in.memory_bytes, "SIZE", "files in memory at once (256MiB)", 1, 0, 0},
        {"json", CLI_FLAG, &in.json, NULL, "results as one JSON object, the last line of stdout", 0,
         0, 0},
        {"quiet", CLI_FLAG, &in.quiet, NULL, "no progress and no summary", 0, 0, 0},
        {"verbose", CLI_FLAG, &in.verbose, NULL, "list all skipped and replaced files", 0, 0, 0},
    };
    struct cli_spec spec = {
        .name = "ingest",
        .operands = "STORE DIR",
        .about = "Puts the images below DIR into STORE, a directory that is made if it does not "
                 "exist, or cassandra://HOST/KEYSPACE/DATASET. DIR "
                 "holds a folder for each class, or train, val and test folders with those in "
                 "them, or just images. All become visible together at the end; interrupted and "
                 "run again, it completes and doubles nothing.",
        .options = options,
        .n_options = CLI_COUNT(options),
        .min_operands = 2,
        .max_operands = 2,
        .to = {&in.url, &in.dir}};
    int rc = cli_parse(&spec, argc, argv);
    if (rc == CLI_GO_ON && in.dataset_id && sterna_id_parse(in.dataset_id, in.id) < 0)
        rc = cli_fail(CLI_USAGE, "--dataset-id: '%s' is no UUID", in.dataset_id);
    if (rc == CLI_GO_ON && in.print_ddl && !cli_is_cluster(in.url))
        rc =
            cli_fail(CLI_USAGE, "--print-ddl: %s is a directory, where no tables are made", in.url);
    if (rc == CLI_GO_ON && in.replication && !in.create && !in.print_ddl)
        rc = cli_fail(CLI_USAGE, "--replication is of a keyspace that is made: give --create too");
    if (rc == CLI_GO_ON) rc = parse_fields(&in);
    if (rc == CLI_GO_ON) rc = in.print_ddl ? print_ddl(&in) : run(&in);
    free(in.pairs);
    free(in.names);
    cli_list_free(&in.fields);
    return rc;
}
