/* sterna read: epochs of batches through the loader, counted, timed, and checked if asked to. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "args.h"
#include "cli.h"
#include "file.h"
#include "interrupt.h"
#include "progress.h"
#include "read.h"
#include "size.h"

#define REPORT_TICK_MS 100

/* ---- opening ---- */

/* --epochs counts the whole run's epochs, from 0; the loader wants those that are left. */
static void count_epochs(struct cli_read *r) {
    if (r->state.bytes) r->first_epoch = r->state.info.epoch + (r->state.info.finished ? 1 : 0);
    r->nothing_left = r->epochs > 0 && r->first_epoch >= r->epochs;
    r->epochs_left = r->epochs > 0 && !r->nothing_left ? r->epochs - r->first_epoch : 0;
    r->o.epochs = r->epochs_left;
}

static int open_selection(struct cli_read *r) {
    const struct cli_which *w = &r->which;
    int named = w->where || w->selection || w->ids_file || w->as_of_run, rc = CLI_DONE;
    if (r->state_file)
        rc = cli_state_load(&r->state, r->state_file, 1, named ? NULL : &r->selection);
    if (rc == CLI_DONE && !r->selection) rc = cli_select(&r->selection, r->store, w);
    if (rc != CLI_DONE) return rc;
    sterna_selection_info(r->selection, &r->info);
    cli_hex_text(r->info.hash, STERNA_HASH_BYTES, r->hash);
    return cli_state_matches(&r->state, r->selection, r->state_file);
}

static int fill_options(struct cli_read *r) {
    struct sterna_loader_options *o = &r->o;
    sterna_loader_options_init(o);
    o->memory_bytes = r->memory_bytes;
    o->on_error = (enum sterna_on_error)r->on_error;
    o->threads = (unsigned)r->threads;
    o->max_rate_bytes_s = r->max_rate_bytes_s;
    if (cli_given(r->spec, "max-errors")) o->max_errors = r->max_errors;
    if (r->fields.n > 0) {
        o->fields = r->fields.items;
        o->n_fields = r->fields.n;
    }
    if (r->expect_text) o->expect_selection = r->expect;
    return cli_plan_options(r->spec, &r->plan, &r->state, o);
}

/* What is to be written in the end must be found out now, not after hours of reading. */
static int probe_outputs(const struct cli_read *r) {
    int rc = r->state_file ? cli_file_probe("--state", r->state_file) : CLI_DONE;
    if (rc == CLI_DONE && r->report_file) rc = cli_file_probe("--report", r->report_file);
    return rc;
}

static int open_all(struct cli_read *r) {
    double start_s = cli_now_s();
    int rc = probe_outputs(r);
    if (rc == CLI_DONE) rc = cli_open_store(&r->store, r->url, STERNA_OPEN_READ);
    if (rc == CLI_DONE) rc = open_selection(r);
    if (rc == CLI_DONE) rc = fill_options(r);
    if (rc != CLI_DONE) return rc;
    count_epochs(r);
    r->open_s = cli_now_s() - start_s;
    return CLI_DONE;
}

/* ---- reading ---- */

static int end_epoch(struct cli_read *r) {
    struct sterna_stats now;
    sterna_loader_stats(r->loader, &now);
    cli_report_epoch(&r->history, cli_now_s() - r->meter.start_s);
    if (r->verify) cli_verify_end_epoch(&r->check);
    int rc = cli_meter_end_epoch(&r->meter, &now);
    if (rc == CLI_DONE && r->verify && r->meter.n_epochs > 0) {
        struct cli_figures *f = &r->meter.epochs[r->meter.n_epochs - 1];
        f->duplicates = r->check.epoch_duplicates;
        f->missing = r->check.epoch_missing;
    }
    return rc;
}

/* A moment for the report; `last`: the run's last one, whenever it is. */
static void note_moment(struct cli_read *r, int last) {
    double at_s = cli_now_s() - r->meter.start_s;
    struct sterna_stats stats;
    struct sterna_path path;
    if (!r->report_file || (!last && !cli_history_due(&r->history.over_time, at_s))) return;
    sterna_loader_stats(r->loader, &stats);
    sterna_loader_path(r->loader, &path);
    cli_history_add(&r->history.over_time, at_s, &stats, &path);
}

/* Milliseconds that a wait may last without something growing stale; -1: any number. */
static int tick_ms(const struct cli_read *r) {
    return r->report_file ? REPORT_TICK_MS : cli_progress_tick_ms();
}

static int take_batch(struct cli_read *r, const sterna_batch *batch, double waited_s,
                      struct cli_read_pace *pace) {
    struct sterna_batch_info info;
    sterna_batch_info(batch, &info);
    cli_meter_batch(&r->meter, batch, &info);
    cli_report_batch(&r->history, cli_now_s() - r->meter.start_s, info.n_bytes, waited_s);
    int rc = r->verify ? cli_verify_batch(&r->check, batch, &info) : CLI_DONE;
    if (cli_progress_due()) cli_read_progress(r, pace, &info);
    if (rc == CLI_DONE && info.last_in_epoch) rc = end_epoch(r);
    return rc;
}

/* The loader's verdict as an exit code. */
static int failed(struct cli_read *r, int code, const struct sterna_error *err) {
    if (code == STERNA_ECANCELED && cli_interrupted()) return CLI_INTERRUPTED;
    snprintf(r->failure, sizeof r->failure, "%s",
             err->message[0] ? err->message : sterna_strerror(code));
    int rc = cli_fail_err(code, err);
    int data = code == STERNA_ECORRUPT || code == STERNA_EDECODE || code == STERNA_EERRORS ||
               code == STERNA_ENOTFOUND;
    return r->verify && data ? CLI_DIFFER : rc;
}

static int read_batches(struct cli_read *r) {
    struct cli_read_pace pace = {.at_s = r->meter.start_s};
    double asked_s = cli_now_s();
    note_moment(r, 0);
    for (;;) {
        struct sterna_error err = {0};
        sterna_batch *batch = NULL;
        int rc = sterna_loader_next(r->loader, &batch, tick_ms(r), &err);
        note_moment(r, 0);
        if (rc == STERNA_AGAIN) {
            if (cli_progress_wait_due()) cli_read_progress(r, &pace, NULL);
            continue;
        }
        if (rc == STERNA_END) return CLI_DONE;
        if (rc < 0) return failed(r, rc, &err);
        rc = take_batch(r, batch, cli_now_s() - asked_s, &pace);
        sterna_batch_release(&batch);
        if (rc != CLI_DONE) return rc;
        if (cli_interrupted()) return CLI_INTERRUPTED;
        asked_s = cli_now_s();
    }
}

/* The loader's state into *bytes, to be freed: after the last batch it handed out. */
static int get_state(const struct cli_read *r, void **state, size_t *bytes) {
    sterna_loader_state(r->loader, NULL, 0, bytes); /* asks for the size */
    *state = malloc(*bytes + 1);
    if (!*state) return cli_fail(CLI_FAILED, "out of memory for the state");
    int code = sterna_loader_state(r->loader, *state, *bytes, bytes);
    return code < 0 ? cli_fail_err(code, NULL) : CLI_DONE;
}

/* Batches are used as they come, so the last one handed out has been used. */
static int save_state(struct cli_read *r) {
    struct sterna_error err = {0};
    void *state = NULL;
    size_t bytes = 0;
    int rc = get_state(r, &state, &bytes);
    if (rc == CLI_DONE) {
        int code = sterna_state_save(state, bytes, r->selection, r->state_file, &err);
        if (code < 0) rc = cli_fail_err(code, &err);
    }
    free(state);
    return rc;
}

/* Epochs that should have come and did not. */
static int check_epochs(struct cli_read *r) {
    int rc = CLI_DONE;
    for (uint64_t e = r->meter.n_epochs; e < r->epochs_left && rc == CLI_DONE; e++)
        rc = cli_verify_lost_epoch(&r->check, r->first_epoch + e);
    return rc;
}

static int open_loader(struct cli_read *r) {
    struct sterna_error err = {0};
    size_t bytes = 0;
    int code = sterna_loader_open(&r->loader, r->store, r->selection, &r->o, &err);
    if (code < 0) return cli_fail_err(code, &err);
    if (!r->verify) return CLI_DONE;
    int rc = get_state(r, &r->start, &bytes);
    if (rc == CLI_DONE)
        rc = cli_verify_open(&r->check, r->store, r->selection, &r->o, r->start, bytes);
    return rc;
}

/* Closes the accounts. An epoch still open was cut short, or, at the regular end, lost its tail. */
static int settle(struct cli_read *r, int rc) {
    struct sterna_stats now;
    sterna_loader_stats(r->loader, &now);
    cli_meter_stop(&r->meter, &now);
    sterna_loader_path(r->loader, &r->way);
    note_moment(r, 1);
    snprintf(r->verdict, sizeof r->verdict, "%s", now.verdict);
    if (r->meter.in_epoch && rc == CLI_DONE) {
        rc = end_epoch(r);
    } else if (r->meter.in_epoch && cli_meter_end_epoch(&r->meter, &now) == CLI_DONE) {
        struct cli_figures *f = &r->meter.epochs[r->meter.n_epochs - 1];
        if (r->verify) f->duplicates = r->check.epoch_duplicates;
        f->missing = 0; /* what has not come yet is no loss */
    }
    return rc == CLI_DONE && r->verify ? check_epochs(r) : rc;
}

static int read_epochs(struct cli_read *r) {
    cli_interrupt_gently();
    cli_meter_start(&r->meter);
    int rc = open_loader(r);
    if (rc != CLI_DONE) {
        sterna_loader_close(&r->loader);
        return rc;
    }
    cli_interrupt_loader(r->loader);
    cli_progress_open(r->quiet, r->json);
    rc = settle(r, read_batches(r));
    cli_interrupt_loader(NULL);
    cli_progress_hide();
    int saved = r->state_file ? save_state(r) : CLI_DONE;
    if (rc == CLI_INTERRUPTED && saved == CLI_DONE)
        cli_note(r->state_file ? "interrupted; the same command goes on from the state in %s"
                               : "interrupted",
                 r->state_file);
    return saved != CLI_DONE && (rc == CLI_DONE || rc == CLI_INTERRUPTED) ? saved : rc;
}

static int check_verdict(const struct cli_read *r, int rc) {
    const struct cli_verify *v = &r->check;
    if (!cli_verify_found(v) || (rc != CLI_DONE && rc != CLI_INTERRUPTED)) return rc;
    return cli_fail(CLI_DIFFER,
                    "--verify: %llu duplicates, %llu missing, %llu failed, %llu out of place, "
                    "%llu unlike the selection; first: %s",
                    (unsigned long long)v->duplicates, (unsigned long long)v->missing,
                    (unsigned long long)v->failed, (unsigned long long)v->misplaced,
                    (unsigned long long)v->mismatched, v->first);
}

static int run(struct cli_read *r) {
    int rc = open_all(r);
    if (rc != CLI_DONE) return rc;
    if (r->nothing_left) {
        if (!r->quiet)
            cli_note("nothing left to read: all of --epochs %llu are done, says the state in %s",
                     (unsigned long long)r->epochs, r->state_file);
    } else {
        rc = read_epochs(r);
        if (!r->loader) return rc;
    }
    if (r->verify) {
        r->meter.total.duplicates = r->check.duplicates;
        r->meter.total.missing = r->check.missing;
        rc = check_verdict(r, rc);
    }
    if (rc == CLI_DONE && r->meter.total.batches == 0 && !r->nothing_left && !r->quiet)
        cli_note("nothing was read: %llu samples are chosen, which make no batch",
                 (unsigned long long)r->info.n);
    if (r->report_file && cli_read_write_report(r) != CLI_DONE && rc == CLI_DONE) rc = CLI_FAILED;
    cli_read_print(r);
    return rc;
}

static void fini(struct cli_read *r) {
    sterna_loader_close(&r->loader);
    cli_verify_close(&r->check);
    free(r->start);
    cli_meter_free(&r->meter);
    cli_state_free(&r->state);
    sterna_selection_close(&r->selection);
    sterna_store_close(&r->store);
    cli_list_free(&r->fields);
}

static int check_options(struct cli_read *r) {
    int rc = cli_which_check(r->spec);
    if (rc == CLI_GO_ON) rc = cli_plan_check(r->spec, &r->plan);
    if (rc == CLI_GO_ON && r->expect_text &&
        cli_parse_hex(r->expect_text, r->expect, STERNA_HASH_BYTES) < 0)
        rc = cli_fail(CLI_USAGE, "--expect-selection: '%s' is not a hash of %d hex digits",
                      r->expect_text, 2 * STERNA_HASH_BYTES);
    if (rc == CLI_GO_ON && cli_given(r->spec, "max-errors") && r->on_error == 0)
        rc = cli_fail(CLI_USAGE, "--max-errors needs --on-error substitute or mask: with raise the "
                                 "first failure ends the run");
    return rc;
}

int cmd_read(int argc, char **argv) {
    struct cli_read r = {.plan = CLI_PLAN_DEFAULTS, .epochs = 1};
    struct cli_option options[] = {
        {.help = "Which samples (all):"},
        CLI_WHICH_OPTIONS(r.which),
        {"expect-selection", CLI_TEXT, &r.expect_text, "HASH",
         "fail if the samples are not the ones with this hash", 0, 0, 0},
        {.help = "In which order:"},
        CLI_PLAN_OPTIONS(r.plan),
        {"epochs", CLI_UINT, &r.epochs, "N", "epochs of the whole run; 0: endless (1)", 0, 0, 0},
        {"order", CLI_CHOICE, &r.plan.order, "strict|arrival",
         "batches exactly as planned, or made of what arrived first (strict)", 0, 0, 0},
        {"state", CLI_TEXT, &r.state_file, "FILE",
         "go on from this state if it exists; save it at the end and on Ctrl-C", 0, 0, 0},
        {.help = "How:"},
        {"fields", CLI_COMMAS, &r.fields, "A,B", "only these fields (all)", 0, 0, 0},
        {"memory", CLI_SIZE, &r.memory_bytes, "SIZE",
         "budget for all data on their way, e.g. 4G (a quarter of the machine's memory)", 1, 0, 0},
        {"threads", CLI_UINT, &r.threads, "N", "reader threads (chosen)", 1, 1024, 0},
        {"max-rate", CLI_SIZE, &r.max_rate_bytes_s, "SIZE",
         "ask for no more than this a second, e.g. 100MB; 0: no bound, but that of STERNA_MAX_RATE "
         "(0)",
         0, 0, 0},
        {"on-error", CLI_CHOICE, &r.on_error, "raise|substitute|mask",
         "a sample that cannot be had: stop, put another one in its place, or leave its row empty "
         "(raise)",
         0, 0, 0},
        {"max-errors", CLI_UINT, &r.max_errors, "N", "stop after more failures than this", 0, 0, 0},
        {.help = "What comes out:"},
        {"verify", CLI_FLAG, &r.verify, NULL,
         "check that each sample comes exactly once, whole and in its place; exit code 4 if not", 0,
         0, 0},
        {"json", CLI_FLAG, &r.json, NULL, "results as one JSON object, the last line of stdout", 0,
         0, 0},
        {"report", CLI_TEXT, &r.report_file, "FILE.html", "write a page with charts", 0, 0, 0},
        {"quiet", CLI_FLAG, &r.quiet, NULL, "no progress and no summary", 0, 0, 0},
    };
    struct cli_spec spec = {.name = "read",
                            .operands = "STORE",
                            .about = "Reads epochs of batches as a training job would, and tells "
                                     "how fast that was and what it waited for.",
                            .options = options,
                            .n_options = CLI_COUNT(options),
                            .min_operands = 1,
                            .max_operands = 1,
                            .to = {&r.url}};
    r.spec = &spec;
    int rc = cli_parse(&spec, argc, argv);
    if (rc == CLI_GO_ON) rc = check_options(&r);
    if (rc == CLI_GO_ON) rc = run(&r);
    fini(&r);
    return rc;
}
