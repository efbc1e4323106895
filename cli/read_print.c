/* What `sterna read` tells: progress, summary, JSON, report. */
#include <stdio.h>
#include <string.h>

#include "cli.h"
#include "progress.h"
#include "read.h"
#include "size.h"

/* ---- progress ---- */

/* Rates over the last second or so: what happens now is what one wants to see. */
static void update_pace(struct cli_read_pace *pace, const struct cli_figures *total) {
    double now_s = cli_now_s(), passed = now_s - pace->at_s;
    if (passed < 0.5) return;
    double old = pace->known ? 0.5 : 0; /* weight of what was before */
    pace->samples_per_s =
        old * pace->samples_per_s +
        (1 - old) * cli_per_second((double)(total->samples - pace->samples), passed);
    pace->bytes_per_s = old * pace->bytes_per_s +
                        (1 - old) * cli_per_second((double)(total->bytes - pace->bytes), passed);
    pace->samples = total->samples;
    pace->bytes = total->bytes;
    pace->at_s = now_s;
    pace->known = 1;
}

/* "stalled 12%  by bandwidth": the share of the time, and what most of it was for. */
static void add_stalls(const struct cli_read *r, struct cli_text *text) {
    struct sterna_stats now;
    double total_s = 0, elapsed_s = cli_now_s() - r->meter.start_s;
    int worst = 0;
    sterna_loader_stats(r->loader, &now);
    for (int c = 0; c < STERNA_STALL_COUNT; c++) {
        total_s += (double)now.stall_ns[c] * 1e-9;
        if (now.stall_ns[c] > now.stall_ns[worst]) worst = c;
    }
    double share = cli_per_second(total_s, elapsed_s);
    if (share >= 0.01)
        cli_text_add(text, "  stalled %.0f%%  by %s", 100 * share, cli_stall_names[worst]);
}

void cli_read_progress(const struct cli_read *r, struct cli_read_pace *pace,
                       const struct sterna_batch_info *last) {
    struct cli_text label = {0}, details = {0};
    char number[CLI_NUMBER_TEXT];
    uint64_t epoch =
        r->meter.in_epoch ? r->meter.current.epoch : r->first_epoch + r->meter.n_epochs;
    double steps = (double)sterna_loader_steps(r->loader);
    double step = last ? (double)last->step + 1 : (double)r->meter.current.batches;
    double fraction = steps <= 0 ? -1 : step < steps ? step / steps : 1;
    update_pace(pace, &r->meter.total);
    cli_text_add(&label, "epoch %llu", (unsigned long long)epoch + 1);
    if (r->epochs > 0) cli_text_add(&label, "/%llu", (unsigned long long)r->epochs);
    if (pace->known)
        cli_text_add(&details, "%s samples/s  %.0f MB/s",
                     cli_count_text((uint64_t)pace->samples_per_s, number),
                     pace->bytes_per_s / 1e6);
    if (r->epochs > 0 && fraction >= 0 && pace->samples_per_s > 0) {
        /* All epochs of a rank have the same number of samples, the padding apart. */
        double todo = steps * (double)r->o.batch_size * ((double)(r->epochs - epoch) - fraction);
        cli_text_add(&details, "  %s left", cli_time_text(todo / pace->samples_per_s, number));
    }
    add_stalls(r, &details);
    cli_progress_show(label.text, fraction, details.text);
}

/* ---- results ---- */

static const char *const phase_names[] = {"local",  "connecting", "ramp",
                                          "steady", "drain",      "back-off"};

static void way_json(struct cli_json *j, const struct sterna_path *way) {
    cli_json_text(j, "phase", phase_names[way->phase]);
    cli_json_real(j, "rtt_ms", (double)way->rtt_ns / 1e6);
    cli_json_real(j, "rate_mb_s", (double)way->rate_max_bytes_s / 1e6);
    cli_json_uint(j, "window_bytes", way->window_bytes);
    cli_json_uint(j, "connections", way->connections);
    cli_json_uint(j, "connections_max", way->connections_max);
    cli_json_uint(j, "hedges", way->hedges);
    cli_json_uint(j, "hedged_bytes", way->hedged_bytes);
    cli_json_uint(j, "suspects", way->suspects);
    cli_json_uint(j, "overloaded", way->overloaded);
}

/* What is known of a way over a network, for people. */
static void way_text(const struct sterna_path *way, char *text, size_t bytes) {
    char a[CLI_NUMBER_TEXT], b[CLI_NUMBER_TEXT];
    int used = snprintf(text, bytes, "round trip %.3g ms, ", (double)way->rtt_ns / 1e6);
    if (way->rate_max_bytes_s)
        used += snprintf(text + used, bytes - (size_t)used, "%s a second at most, ",
                         cli_size_text((double)way->rate_max_bytes_s, a));
    used += snprintf(text + used, bytes - (size_t)used, "window %s, %u connections",
                     cli_size_text((double)way->window_bytes, b), way->connections_max);
    if (way->hedges)
        snprintf(text + used, bytes - (size_t)used, ", %llu asked for twice (%s)",
                 (unsigned long long)way->hedges, cli_size_text((double)way->hedged_bytes, a));
}

static void print_json(const struct cli_read *r) {
    struct cli_json j = {.to = stdout};
    cli_json_open(&j, NULL, '{');
    cli_figures_json(&j, &r->meter.total);
    cli_json_uint(&j, "memory_budget_bytes", r->meter.memory_budget_bytes);
    cli_json_real(&j, "open_s", r->open_s);
    cli_json_text(&j, "verdict", r->verdict);
    way_json(&j, &r->way);
    cli_json_open(&j, "epochs", '[');
    for (size_t i = 0; i < r->meter.n_epochs; i++) {
        cli_json_open(&j, NULL, '{');
        cli_json_uint(&j, "epoch", r->meter.epochs[i].epoch);
        cli_figures_json(&j, &r->meter.epochs[i]);
        cli_json_close(&j, '}');
    }
    cli_json_close(&j, ']');
    cli_json_uint(&j, "seed", r->plan.seed);
    cli_json_text(&j, "order", cli_order_names[r->plan.order]);
    cli_json_bool(&j, "shuffle", !r->plan.no_shuffle);
    cli_json_uint(&j, "batch_size", r->plan.batch_size);
    cli_json_uint(&j, "rank", r->plan.rank);
    cli_json_uint(&j, "world_size", r->plan.world_size);
    cli_json_text(&j, "uneven", cli_uneven_names[r->plan.uneven]);
    cli_json_text(&j, "selection", r->hash);
    cli_json_uint(&j, "selection_samples", r->info.n);
    cli_json_bool(&j, "resumed", r->state.bytes != NULL);
    cli_json_bool(&j, "verified", r->verify);
    if (r->verify) {
        cli_json_uint(&j, "misplaced", r->check.misplaced);
        cli_json_uint(&j, "mismatched", r->check.mismatched);
        cli_json_uint(&j, "failed_rows", r->check.failed);
    }
    if (r->failure[0]) cli_json_text(&j, "failure", r->failure);
    cli_json_close(&j, '}');
    putchar('\n');
}

#define MAX_FACTS 24

struct facts {
    struct cli_fact list[MAX_FACTS];
    size_t n;
};

/* A new line; its text is to be written. */
static char *fact(struct facts *f, const char *name) {
    struct cli_fact *line = &f->list[f->n < MAX_FACTS - 1 ? f->n++ : MAX_FACTS - 1];
    *line = (struct cli_fact){.name = name};
    return line->value;
}

#define FACT_BYTES sizeof(((struct cli_fact *)0)->value)

static void verification(const struct cli_read *r, char *text) {
    const struct cli_verify *v = &r->check;
    if (!cli_verify_found(v))
        snprintf(text, FACT_BYTES,
                 "each sample exactly once, whole and in its place: missing 0, duplicates 0, "
                 "errors 0");
    else
        snprintf(text, FACT_BYTES,
                 "%llu duplicates, %llu missing, %llu failed, %llu out of place, %llu unlike the "
                 "selection",
                 (unsigned long long)v->duplicates, (unsigned long long)v->missing,
                 (unsigned long long)v->failed, (unsigned long long)v->misplaced,
                 (unsigned long long)v->mismatched);
}

static void figures(const struct cli_read *r, struct facts *f) {
    const struct cli_figures *t = &r->meter.total;
    char a[CLI_NUMBER_TEXT], b[CLI_NUMBER_TEXT], stalls[200];
    snprintf(fact(f, "samples"), FACT_BYTES, "%s in %s batches, %llu %s",
             cli_count_text(t->samples, a), cli_count_text(t->batches, b),
             (unsigned long long)r->meter.n_epochs, r->meter.n_epochs == 1 ? "epoch" : "epochs");
    snprintf(fact(f, "bytes"), FACT_BYTES, "%s", cli_size_text((double)t->bytes, a));
    snprintf(fact(f, "time"), FACT_BYTES, "%.2f s, first batch after %.3f s, CPU %.2f s",
             t->seconds, t->first_batch_s, t->cpu_s);
    snprintf(fact(f, "rate"), FACT_BYTES, "%s samples/s, %.0f MB/s",
             cli_count_text((uint64_t)cli_per_second((double)t->samples, t->seconds), a),
             cli_per_second((double)t->bytes / 1e6, t->seconds));
    cli_stall_text(t, stalls, sizeof stalls);
    snprintf(fact(f, "waited"), FACT_BYTES, "%.2f s%s%s", cli_stall_total(t), stalls[0] ? ": " : "",
             stalls);
    snprintf(fact(f, "memory"), FACT_BYTES, "%s at most, of %s",
             cli_size_text((double)t->memory_bytes_max, a),
             cli_size_text((double)r->meter.memory_budget_bytes, b));
    if (r->way.phase != STERNA_PATH_LOCAL) way_text(&r->way, fact(f, "path"), FACT_BYTES);
    if (t->padded || t->errors || t->retries)
        snprintf(fact(f, "apart"), FACT_BYTES, "%llu padded, %llu errors, %llu retries",
                 (unsigned long long)t->padded, (unsigned long long)t->errors,
                 (unsigned long long)t->retries);
    if (r->verify) verification(r, fact(f, "verified"));
    if (r->failure[0]) snprintf(fact(f, "failed"), FACT_BYTES, "%.300s", r->failure);
    if (r->verdict[0]) snprintf(fact(f, "verdict"), FACT_BYTES, "%s", r->verdict);
}

static void configuration(const struct cli_read *r, struct facts *f) {
    char a[CLI_NUMBER_TEXT], b[CLI_NUMBER_TEXT];
    snprintf(fact(f, "store"), FACT_BYTES, "%s", r->url);
    snprintf(fact(f, "selection"), FACT_BYTES, "%s", r->hash);
    snprintf(fact(f, "chosen by"), FACT_BYTES, "%s",
             r->which.where       ? r->which.where
             : r->which.selection ? r->which.selection
             : r->which.ids_file  ? r->which.ids_file
             : r->state.bytes     ? "the state"
                                  : "all samples");
    snprintf(fact(f, "samples"), FACT_BYTES, "%s, %s", cli_count_text(r->info.n, a),
             cli_size_text((double)r->info.n_bytes, b));
    snprintf(fact(f, "as of run"), FACT_BYTES, "%llu", (unsigned long long)r->info.run);
    snprintf(fact(f, "batch size"), FACT_BYTES, "%llu", (unsigned long long)r->plan.batch_size);
    snprintf(fact(f, "rank"), FACT_BYTES, "%llu of %llu", (unsigned long long)r->plan.rank,
             (unsigned long long)r->plan.world_size);
    snprintf(fact(f, "order"), FACT_BYTES, "%s, %s", cli_order_names[r->plan.order],
             r->plan.no_shuffle ? "not shuffled" : "shuffled");
    snprintf(fact(f, "seed"), FACT_BYTES, "%llu", (unsigned long long)r->plan.seed);
    snprintf(fact(f, "uneven"), FACT_BYTES, "%s", cli_uneven_names[r->plan.uneven]);
    snprintf(fact(f, "memory budget"), FACT_BYTES, "%s",
             cli_size_text((double)r->meter.memory_budget_bytes, a));
    if (r->max_rate_bytes_s > 0)
        snprintf(fact(f, "max rate"), FACT_BYTES, "%s a second",
                 cli_size_text((double)r->max_rate_bytes_s, a));
    if (r->threads > 0)
        snprintf(fact(f, "threads"), FACT_BYTES, "%llu", (unsigned long long)r->threads);
    snprintf(fact(f, "verify"), FACT_BYTES, "%s", r->verify ? "yes" : "no");
    if (r->state_file) snprintf(fact(f, "state"), FACT_BYTES, "%s", r->state_file);
}

void cli_read_print(const struct cli_read *r) {
    if (r->json) {
        print_json(r);
        return;
    }
    if (r->quiet || r->nothing_left) return;
    struct facts f = {0};
    figures(r, &f);
    for (size_t i = 0; i < f.n; i++) {
        char line[4 * FACT_BYTES];
        printf("%-10s%s\n", f.list[i].name,
               cli_printable(f.list[i].value, strlen(f.list[i].value), line, sizeof line));
    }
    if (r->report_file) printf("%-10s%s\n", "report", r->report_file);
}

int cli_read_write_report(const struct cli_read *r) {
    struct facts f = {0}, c = {0};
    char title[400];
    snprintf(title, sizeof title, "sterna read %.300s", r->url);
    figures(r, &f);
    configuration(r, &c);
    return cli_report_write(&r->history, r->report_file, title, r->verdict, c.list, c.n, f.list,
                            f.n, &r->meter);
}
