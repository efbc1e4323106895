/* How fast samples come: reads for a few seconds, and counts the last part of them, because what
 * comes before is TCP finding its rate. */
#include <string.h>

#include "cli.h"
#include "interrupt.h"
#include "probe.h"

#define BATCH_BYTES 131072 /* small batches: they are counted while they come */
#define BATCH_ROWS_MAX 256
#define AT_LEAST_S 1.5 /* and with the path's round trips: */
#define ROUND_TRIPS 14 /* a sender doubles from 14 kB in each */
#define LONGER_MAX_S 2.0
#define STRETCH_S 1.5
#define LOOK_S 0.02
#define LOOKS_MAX 512
#define GREETING_BYTES 32768 /* more than servers say before they answer requests */
#define ANSWER_BYTES 100     /* of an answer, besides its values */

struct look {
    double at_s;
    uint64_t bytes;
};

struct looks {
    struct look list[LOOKS_MAX];
    size_t n;
};

static void take_look(struct looks *looks, double now_s, uint64_t bytes) {
    if (looks->n > 0 && now_s - looks->list[looks->n - 1].at_s < LOOK_S) return;
    if (looks->n < LOOKS_MAX) looks->list[looks->n++] = (struct look){now_s, bytes};
}

/* The rate of the last so many seconds. Not of the best ones: what a lost segment has held up comes
 * all at once. */
static double last_rate(const struct looks *looks, double stretch_s) {
    if (looks->n < 2) return 0;
    const struct look *to = &looks->list[looks->n - 1], *from = to;
    while (from > looks->list && to->at_s - from->at_s < stretch_s) from--;
    return (double)(to->bytes - from->bytes) / (to->at_s - from->at_s);
}

static double least(double a, double b) { return a < b ? a : b; }

static double mean_bytes(const struct sterna_selection_info *info, const struct cli_rate *rate) {
    if (info->n > 0 && info->n_bytes > 0) return (double)info->n_bytes / (double)info->n;
    return rate->samples ? (double)rate->bytes / (double)rate->samples : 0;
}

double cli_probe_sample_bytes(const struct cli_probe *p) { return mean_bytes(&p->info, &p->many); }

static void fill_options(struct sterna_loader_options *o, const struct sterna_selection_info *info,
                         uint64_t seed) {
    double mean = mean_bytes(info, &(struct cli_rate){0});
    double rows = mean > 0 ? BATCH_BYTES / mean : 1;
    sterna_loader_options_init(o);
    o->batch_size = rows < 1 ? 1 : rows > BATCH_ROWS_MAX ? BATCH_ROWS_MAX : (uint32_t)rows;
    o->seed = seed;
    o->epochs = 0;
    o->order = STERNA_ORDER_ARRIVAL;
}

static void note_stats(struct cli_rate *out, sterna_loader *loader) {
    struct sterna_stats stats;
    sterna_loader_stats(loader, &stats);
    sterna_loader_path(loader, &out->path);
    out->samples = stats.samples;
    out->bytes = stats.bytes;
}

/* 1 as long as it is worth going on. */
static int goes_on(const struct cli_rate *rate, double most_s) {
    double longer_s = least(LONGER_MAX_S, ROUND_TRIPS * (double)rate->path.rtt_ns / 1e9);
    double enough_s = rate->samples > 0 ? least(AT_LEAST_S + longer_s, most_s) : most_s;
    return rate->seconds < enough_s && !cli_interrupted();
}

static int read_on(struct cli_rate *out, struct looks *looks, sterna_loader *loader,
                   double most_s) {
    double start_s = cli_now_s();
    do {
        struct sterna_error err = {0};
        sterna_batch *batch = NULL;
        int rc = sterna_loader_next(loader, &batch, (int)(1000 * LOOK_S), &err);
        sterna_batch_release(&batch);
        if (rc < 0) return cli_interrupted() ? CLI_INTERRUPTED : cli_fail_err(rc, &err);
        note_stats(out, loader);
        out->seconds = cli_now_s() - start_s;
        int by_net = out->path.phase != STERNA_PATH_LOCAL;
        take_look(looks, out->seconds, by_net ? out->path.received_bytes : out->bytes);
    } while (goes_on(out, most_s));
    return cli_interrupted() ? CLI_INTERRUPTED : CLI_DONE;
}

static int no_answer(const struct cli_rate *rate) {
    return cli_fail(CLI_UNREACHABLE, "no sample came within %.1f s%s%s", rate->seconds,
                    rate->path.trouble[0] ? "; last: " : "", rate->path.trouble);
}

int cli_probe_rate(struct cli_rate *out, sterna_store *store, sterna_selection *selection,
                   uint64_t seed, double most_s) {
    static struct looks looks;
    struct sterna_selection_info info;
    struct sterna_loader_options o;
    struct sterna_error err = {0};
    sterna_loader *loader = NULL;
    *out = (struct cli_rate){0};
    looks.n = 0;
    sterna_selection_info(selection, &info);
    fill_options(&o, &info, seed);
    int rc = sterna_loader_open(&loader, store, selection, &o, &err);
    if (rc < 0) return cli_fail_err(rc, &err);
    cli_interrupt_loader(loader);
    rc = read_on(out, &looks, loader, most_s);
    cli_interrupt_loader(NULL);
    sterna_loader_close(&loader);
    if (rc != CLI_DONE) return rc;
    int by_net = out->path.phase != STERNA_PATH_LOCAL;
    out->bytes_s = last_rate(&looks, least(STRETCH_S, out->seconds / 2));
    uint64_t came = by_net ? out->path.received_bytes : out->bytes;
    if (out->samples == 0 && came < GREETING_BYTES) return no_answer(out);
    out->samples_s = out->bytes_s / (mean_bytes(&info, out) + (by_net ? ANSWER_BYTES : 0));
    return CLI_DONE;
}
