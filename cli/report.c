/* The report page: HTML with inline SVG, no scripts, readable in light and dark. */
#include "report.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "chart.h"
#include "cli.h"
#include "file.h"
#include "size.h"

#define FIRST_SLICE_S 0.05
#define FIRST_WAIT_S 10e-6

/* ---- collecting ---- */

void cli_report_batch(struct cli_report *r, double at_s, uint64_t bytes, double wait_s) {
    if (r->slice_s <= 0) r->slice_s = FIRST_SLICE_S;
    while (at_s >= r->slice_s * CLI_REPORT_SLICES) {
        for (size_t i = 0; i < CLI_REPORT_SLICES / 2; i++)
            r->slices[i] = r->slices[2 * i] + r->slices[2 * i + 1];
        memset(r->slices + CLI_REPORT_SLICES / 2, 0, sizeof r->slices / 2);
        r->n_slices = (r->n_slices + 1) / 2;
        r->slice_s *= 2;
    }
    size_t slice = (size_t)(at_s / r->slice_s), wait = 0;
    if (slice >= CLI_REPORT_SLICES) slice = CLI_REPORT_SLICES - 1;
    r->slices[slice] += (double)bytes;
    if (slice >= r->n_slices) r->n_slices = slice + 1;
    for (double limit = FIRST_WAIT_S; wait_s > limit && wait + 1 < CLI_REPORT_WAITS; limit *= 2)
        wait++;
    r->waits[wait]++;
}

void cli_report_epoch(struct cli_report *r, double at_s) {
    if (r->n_epochs < CLI_REPORT_EPOCHS) r->epoch_ends_s[r->n_epochs++] = at_s;
}

/* ---- the page ---- */

static const char style[] =
    ":root{color-scheme:light dark;--ink:#1d2330;--dim:#667085;--line:#d5dae3;--page:#fff;"
    "--box:#f5f7fa;--bar:#2f6fde;--bar2:#8fb4f2}"
    "@media(prefers-color-scheme:dark){:root{--ink:#e6e9ef;--dim:#98a2b3;--line:#39414f;"
    "--page:#14171c;--box:#1c2027;--bar:#6ea0f5;--bar2:#33507f}}"
    "body{font:15px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--page);"
    "max-width:860px;margin:2rem auto;padding:0 1rem}"
    "h1{font-size:1.5rem;margin:0 0 .2rem}h2{font-size:1.1rem;margin:2rem 0 .5rem}"
    "p{color:var(--dim);margin:.2rem 0}.tiles{display:flex;flex-wrap:wrap;gap:.7rem;margin:1.2rem "
    "0}"
    ".tile{background:var(--box);border-radius:8px;padding:.6rem 1rem;flex:1 1 9rem}"
    ".tile b{display:block;font-size:1.35rem}.tile span{color:var(--dim);font-size:.85rem}"
    "svg{width:100%;height:auto;display:block}svg text{fill:var(--dim);font-size:12px}"
    ".grid{stroke:var(--line);stroke-width:1}.bar{fill:var(--bar)}"
    ".area{fill:var(--bar2);stroke:var(--bar);stroke-width:1.5}"
    ".line{fill:none;stroke-width:1.5}.verdict{color:var(--ink);font-size:1.05rem}"
    ".s0,.k0,.c0{--k:#2f6fde}.s1,.k1,.c1{--k:#e07b1a}.k2,.c2{--k:#2f9e57}.k3,.c3{--k:#d6403a}"
    ".k4,.c4{--k:#8a56c8}.k5,.c5{--k:#9a6b3f}.k6,.c6{--k:#2aa0a8}"
    ".s0,.s1{stroke:var(--k)}.legend span{color:var(--k)}"
    ".c0,.c1,.c2,.c3,.c4,.c5,.c6{fill:var(--k)}"
    ".mark{stroke:var(--dim);stroke-dasharray:3 4}.scroll{overflow-x:auto}"
    "table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}"
    "td,th{text-align:left;padding:.25rem .6rem .25rem 0;border-bottom:1px solid var(--line);"
    "vertical-align:top;overflow-wrap:anywhere}"
    "th{font-weight:500;color:var(--dim);white-space:nowrap}"
    ".n td,.n th{text-align:right;padding:.25rem 0 .25rem .8rem;overflow-wrap:normal}";

static void escaped(FILE *to, const char *text) {
    size_t bytes = strlen(text);
    for (size_t i = 0; i < bytes;) {
        size_t n = cli_utf8_length(text + i, bytes - i);
        unsigned char c = (unsigned char)text[i];
        if (n == 0 || (n == 1 && (c < 0x20 || c == 0x7F)))
            fputs("&#xFFFD;", to);
        else if (strchr("&<>\"'", text[i]))
            fprintf(to, "&#%d;", text[i]);
        else
            fwrite(text + i, 1, n, to);
        i += n ? n : 1;
    }
}

/* MB/s in a slice. The last one is only as long as the run reaches into it. */
static double slice_rate(const struct cli_report *r, size_t i, double span) {
    double length = fmin(r->slice_s, span - (double)i * r->slice_s);
    return r->slices[i] / 1e6 / fmax(length, r->slice_s / 2);
}

static void throughput(FILE *to, const struct cli_report *r, double seconds) {
    struct cli_chart c;
    double highest = 0, span = seconds > 0 ? seconds : 1;
    fputs("<h2>Throughput</h2><p>MB/s over the seconds of the run; dashed lines end epochs.</p>",
          to);
    for (size_t i = 0; i < r->n_slices; i++) highest = fmax(highest, slice_rate(r, i, span));
    cli_chart_open(&c, to, "throughput over time", 250, span, highest);
    fprintf(to, "<path class=\"area\" d=\"M%d %d", CLI_CHART_LEFT, c.bottom);
    for (size_t i = 0; i < r->n_slices; i++) {
        double from = cli_chart_x(&c, (double)i * r->slice_s);
        double till = cli_chart_x(&c, (double)(i + 1) * r->slice_s);
        double y = cli_chart_y(&c, slice_rate(r, i, span));
        fprintf(to, "L%.1f %.1fL%.1f %.1f", from, y, till, y);
    }
    fprintf(to, "L%d %dZ\"/>", CLI_CHART_RIGHT, c.bottom);
    for (size_t i = 0; i < r->n_epochs; i++)
        fprintf(to, "<line class=\"mark\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%.1f\" y2=\"%d\"/>",
                cli_chart_x(&c, r->epoch_ends_s[i]), cli_chart_x(&c, r->epoch_ends_s[i]),
                cli_chart_y(&c, c.top), c.bottom);
    cli_chart_times(&c);
    cli_chart_close(&c);
}

static const char *wait_text(size_t i, char *text) {
    double limit = FIRST_WAIT_S * pow(2, (double)i);
    if (limit < 1e-3)
        snprintf(text, CLI_NUMBER_TEXT, "%.0f \xC2\xB5s", limit * 1e6);
    else if (limit < 1)
        snprintf(text, CLI_NUMBER_TEXT, "%.0f ms", limit * 1e3);
    else
        snprintf(text, CLI_NUMBER_TEXT, "%.0f s", limit);
    return text;
}

static void waits(FILE *to, const struct cli_report *r) {
    struct cli_chart c;
    char text[CLI_NUMBER_TEXT];
    uint64_t highest = 0;
    double width = (double)CLI_CHART_WIDTH / CLI_REPORT_WAITS;
    fputs("<h2>Batch latency</h2><p>Batches by how long the consumer waited for them.</p>", to);
    for (size_t i = 0; i < CLI_REPORT_WAITS; i++)
        if (r->waits[i] > highest) highest = r->waits[i];
    cli_chart_open(&c, to, "histogram of batch latency", 250, 1, (double)highest);
    for (size_t i = 0; i < CLI_REPORT_WAITS; i++) {
        double x = CLI_CHART_LEFT + width * (double)i, y = cli_chart_y(&c, (double)r->waits[i]);
        if (r->waits[i] > 0)
            fprintf(to,
                    "<rect class=\"bar\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\">"
                    "<title>%llu</title></rect>",
                    x + 2, y, width - 4, c.bottom - y, (unsigned long long)r->waits[i]);
        if (i % 3 == 0 && i + 1 < CLI_REPORT_WAITS)
            fprintf(to, "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">&#8804;%s</text>",
                    x + width / 2, c.bottom + 20, wait_text(i, text));
        if (i + 1 == CLI_REPORT_WAITS)
            fprintf(to, "<text x=\"%.1f\" y=\"%d\" text-anchor=\"end\">longer</text>", x + width,
                    c.bottom + 20);
    }
    cli_chart_close(&c);
}

static void stalls(FILE *to, const struct cli_figures *f) {
    double most = 0, total = cli_stall_total(f);
    fprintf(to, "<h2>Stalls</h2><p>The consumer waited %.2f s of %.2f s (%.1f%%); by cause:</p>",
            total, f->seconds, 100 * cli_per_second(total, f->seconds));
    fprintf(to, "<svg viewBox=\"0 0 800 %d\" role=\"img\" aria-label=\"stalls by cause\">",
            STERNA_STALL_COUNT * 30 + 4);
    for (int c = 0; c < STERNA_STALL_COUNT; c++) most = fmax(most, f->stall_s[c]);
    for (int c = 0; c < STERNA_STALL_COUNT; c++) {
        double width = most > 0 ? f->stall_s[c] / most * 560 : 0;
        fprintf(to,
                "<text x=\"100\" y=\"%d\" text-anchor=\"end\">%s</text>"
                "<rect class=\"bar\" x=\"110\" y=\"%d\" width=\"%.1f\" height=\"18\"/>"
                "<text x=\"%.1f\" y=\"%d\">%.3f s</text>",
                c * 30 + 20, cli_stall_names[c], c * 30 + 6, width, 118 + width, c * 30 + 20,
                f->stall_s[c]);
    }
    fputs("</svg>", to);
}

static void facts(FILE *to, const char *title, const struct cli_fact *list, size_t n) {
    fprintf(to, "<h2>%s</h2><div class=\"scroll\"><table>", title);
    for (size_t i = 0; i < n; i++) {
        fputs("<tr><th scope=\"row\">", to);
        escaped(to, list[i].name);
        fputs("</th><td>", to);
        escaped(to, list[i].value);
        fputs("</td></tr>", to);
    }
    fputs("</table></div>", to);
}

static void epochs(FILE *to, const struct cli_meter *m) {
    if (m->n_epochs == 0) return;
    fputs("<h2>Epochs</h2><div class=\"scroll\"><table class=\"n\"><tr><th>epoch</th>"
          "<th>samples</th><th>MB</th><th>seconds</th><th>samples/s</th><th>MB/s</th>"
          "<th>waited s</th><th>padded</th><th>errors</th></tr>",
          to);
    for (size_t i = 0; i < m->n_epochs; i++) {
        const struct cli_figures *f = &m->epochs[i];
        fprintf(to,
                "<tr><td>%llu</td><td>%llu</td><td>%.1f</td><td>%.2f</td><td>%.0f</td>"
                "<td>%.1f</td><td>%.2f</td><td>%llu</td><td>%llu</td></tr>",
                (unsigned long long)f->epoch, (unsigned long long)f->samples,
                (double)f->bytes / 1e6, f->seconds, cli_per_second((double)f->samples, f->seconds),
                cli_per_second((double)f->bytes / 1e6, f->seconds), cli_stall_total(f),
                (unsigned long long)f->padded, (unsigned long long)f->errors);
    }
    fputs("</table></div>", to);
}

static void tile(FILE *to, const char *value, const char *name) {
    fprintf(to, "<div class=\"tile\"><b>%s</b><span>%s</span></div>", value, name);
}

static void tiles(FILE *to, const struct cli_figures *f) {
    char text[CLI_NUMBER_TEXT];
    fputs("<div class=\"tiles\">", to);
    snprintf(text, sizeof text, "%.0f", cli_per_second((double)f->bytes / 1e6, f->seconds));
    tile(to, text, "MB/s");
    tile(to, cli_count_text((uint64_t)cli_per_second((double)f->samples, f->seconds), text),
         "samples/s");
    tile(to, cli_count_text(f->samples, text), "samples");
    tile(to, cli_size_text((double)f->bytes, text), "read");
    snprintf(text, sizeof text, "%.2f s", f->seconds);
    tile(to, text, "in all");
    snprintf(text, sizeof text, "%.1f%%", 100 * cli_per_second(cli_stall_total(f), f->seconds));
    tile(to, text, "of it waiting");
    fputs("</div>", to);
}

int cli_report_write(const struct cli_report *r, const char *path, const char *title,
                     const char *verdict, const struct cli_fact *configuration,
                     size_t n_configuration, const struct cli_fact *figures, size_t n_figures,
                     const struct cli_meter *m) {
    struct cli_file f;
    int rc = cli_file_open(&f, "--report", path);
    if (rc != CLI_DONE) return rc;
    FILE *to = f.stream;
    fputs("<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
          "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\"><title>",
          to);
    escaped(to, title);
    fprintf(to, "</title><style>%s</style></head><body><h1>", style);
    escaped(to, title);
    fprintf(to, "</h1><p>sterna %s</p>", sterna_version());
    if (verdict[0]) {
        fputs("<p class=\"verdict\">", to);
        escaped(to, verdict);
        fputs("</p>", to);
    }
    tiles(to, &m->total);
    throughput(to, r, m->total.seconds);
    cli_history_draw(&r->over_time, to, m->total.seconds);
    waits(to, r);
    stalls(to, &m->total);
    epochs(to, m);
    facts(to, "Figures", figures, n_figures);
    facts(to, "Configuration", configuration, n_configuration);
    fputs("</body></html>\n", to);
    return cli_file_commit(&f, "--report");
}
