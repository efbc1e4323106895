#include "history.h"

#include <math.h>
#include <stddef.h>

#include "chart.h"
#include "meter.h"

#define FIRST_EVERY_S 0.05

int cli_history_due(const struct cli_history *h, double at_s) {
    return h->n == 0 || at_s >= h->moments[h->n - 1].at_s + fmax(h->every_s, FIRST_EVERY_S);
}

/* Every other one stays, and new ones come as far apart. */
static void thin_out(struct cli_history *h) {
    size_t n = 0;
    for (size_t i = 0; i < h->n; i += 2) h->moments[n++] = h->moments[i];
    h->n = n;
    h->every_s = (h->moments[n - 1].at_s - h->moments[0].at_s) / (double)(n - 1);
}

void cli_history_add(struct cli_history *h, double at_s, const struct sterna_stats *stats,
                     const struct sterna_path *path) {
    if (h->n == CLI_HISTORY_MOMENTS) thin_out(h);
    int far = path->phase != STERNA_PATH_LOCAL;
    struct cli_moment *m = &h->moments[h->n++];
    *m = (struct cli_moment){
        .at_s = at_s,
        .in_flight_mb = (double)(far ? path->in_flight_bytes : stats->in_flight_bytes) / 1e6,
        .window_mb = (double)path->window_bytes / 1e6,
        .rtt_ms = (double)path->rtt_ns / 1e6,
        .rate_mb_s = (double)path->rate_bytes_s / 1e6,
        .rate_max_mb_s = (double)path->rate_max_bytes_s / 1e6,
        .connections = path->connections};
    for (int c = 0; c < STERNA_STALL_COUNT; c++) m->stall_s[c] = (double)stats->stall_ns[c] * 1e-9;
    h->far |= far;
}

/* ---- lines ---- */

struct series {
    const char *name;
    size_t offset; /* of a double in struct cli_moment */
};

static double value(const struct cli_moment *m, size_t offset) {
    return *(const double *)(const void *)((const char *)m + offset);
}

/* Names with their colours, above the plot's right end. */
static void legend(FILE *to, const char *const *names, size_t n) {
    fputs("<p class=\"legend\">", to);
    for (size_t i = 0; i < n; i++)
        if (names[i]) fprintf(to, "<span class=\"k%zu\">&#9632;</span> %s ", i, names[i]);
    fputs("</p>", to);
}

static void line(const struct cli_chart *c, const struct cli_history *h, size_t offset, size_t k) {
    fprintf(c->to, "<polyline class=\"line s%zu\" points=\"", k);
    for (size_t i = 0; i < h->n; i++)
        fprintf(c->to, "%s%.1f,%.1f", i ? " " : "", cli_chart_x(c, h->moments[i].at_s),
                cli_chart_y(c, value(&h->moments[i], offset)));
    fputs("\"/>", c->to);
}

static void lines(const struct cli_history *h, FILE *to, double span_s, const char *title,
                  const char *unit, const struct series *series, size_t n) {
    struct cli_chart c;
    const char *names[4];
    double highest = 0;
    for (size_t k = 0; k < n; k++) {
        names[k] = series[k].name;
        for (size_t i = 0; i < h->n; i++)
            highest = fmax(highest, value(&h->moments[i], series[k].offset));
    }
    fprintf(to, "<h2>%s</h2><p>%s</p>", title, unit);
    if (n > 1) legend(to, names, n);
    cli_chart_open(&c, to, title, 170, span_s, highest);
    for (size_t k = 0; k < n; k++) line(&c, h, series[k].offset, k);
    cli_chart_times(&c);
    cli_chart_close(&c);
}

/* ---- waiting ---- */

/* Percent of the time up to moment i (from 1) that the first `n_causes` causes took together. */
static double waited(const struct cli_history *h, size_t i, int n_causes) {
    const struct cli_moment *from = &h->moments[i - 1], *till = &h->moments[i];
    double sum = 0, passed = till->at_s - from->at_s;
    for (int c = 0; c < n_causes; c++) sum += till->stall_s[c] - from->stall_s[c];
    return passed > 0 ? fmin(100 * sum / passed, 100) : 0;
}

/* The area of one cause, on those before it. */
static void area(const struct cli_chart *c, const struct cli_history *h, int cause) {
    fprintf(c->to, "<path class=\"c%d\" d=\"M", cause);
    for (size_t i = 1; i < h->n; i++) {
        double y = cli_chart_y(c, waited(h, i, cause + 1));
        fprintf(c->to, "%s%.1f %.1fL%.1f %.1f", i > 1 ? "L" : "",
                cli_chart_x(c, h->moments[i - 1].at_s), y, cli_chart_x(c, h->moments[i].at_s), y);
    }
    for (size_t i = h->n - 1; i > 0; i--) {
        double y = cli_chart_y(c, waited(h, i, cause));
        fprintf(c->to, "L%.1f %.1fL%.1f %.1f", cli_chart_x(c, h->moments[i].at_s), y,
                cli_chart_x(c, h->moments[i - 1].at_s), y);
    }
    fputs("Z\"/>", c->to);
}

static void waiting(const struct cli_history *h, FILE *to, double span_s) {
    const char *names[STERNA_STALL_COUNT] = {0};
    const struct cli_moment *last = &h->moments[h->n - 1];
    struct cli_chart c;
    fputs("<h2>Waiting</h2><p>Percent of the time that the consumer waited, by cause.</p>", to);
    for (int cause = 0; cause < STERNA_STALL_COUNT; cause++)
        if (last->stall_s[cause] > 0) names[cause] = cli_stall_names[cause];
    legend(to, names, STERNA_STALL_COUNT);
    cli_chart_open(&c, to, "waiting by cause over time", 170, span_s, 100);
    for (int cause = 0; cause < STERNA_STALL_COUNT; cause++)
        if (names[cause]) area(&c, h, cause);
    cli_chart_times(&c);
    cli_chart_close(&c);
}

#define SERIES(what, member)                                                                       \
    { what, offsetof(struct cli_moment, member) }

void cli_history_draw(const struct cli_history *h, FILE *to, double span_s) {
    static const struct series local[] = {SERIES("asked for", in_flight_mb)},
                               flight[] = {SERIES("in flight", in_flight_mb),
                                           SERIES("window", window_mb)},
                               rtt[] = {SERIES("round trip", rtt_ms)},
                               rate[] = {SERIES("rate", rate_mb_s), SERIES("most", rate_max_mb_s)},
                               connections[] = {SERIES("connections", connections)};
    if (h->n < 2) return;
    waiting(h, to, span_s);
    if (!h->far) {
        lines(h, to, span_s, "In flight", "MB asked for, and not there yet.", local, 1);
        return;
    }
    lines(h, to, span_s, "In flight", "MB asked for, and the window that bounds them.", flight, 2);
    lines(h, to, span_s, "Round trip", "Milliseconds: the least seen, without queues.", rtt, 1);
    lines(h, to, span_s, "Rate", "MB/s over the last round trips, and the most that was seen.",
          rate, 2);
    lines(h, to, span_s, "Connections", "Ready for reading, of all nodes.", connections, 1);
}
