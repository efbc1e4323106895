#include "chart.h"

#include <math.h>
#include <stdint.h>

#include "size.h"

#define TOP 12
#define BELOW 30 /* for the words under the plot */

/* 1, 2 or 5 times a power of ten, so that about five of them make up `range`. */
static double nice_step(double range) {
    double raw = range / 5, power = pow(10, floor(log10(raw))), x = raw / power;
    return (x < 1.5 ? 1 : x < 3.5 ? 2 : x < 7.5 ? 5 : 10) * power;
}

double cli_chart_x(const struct cli_chart *c, double at_s) {
    return CLI_CHART_LEFT + fmin(fmax(at_s, 0) / c->span_s, 1) * CLI_CHART_WIDTH;
}

double cli_chart_y(const struct cli_chart *c, double value) {
    return c->bottom - value / c->top * (c->bottom - TOP);
}

/* Horizontal lines with their values. */
static void grid(const struct cli_chart *c, double step) {
    for (double v = 0; v <= c->top * 1.0001; v += step) {
        char text[CLI_NUMBER_TEXT];
        if (v >= 1000)
            cli_count_text((uint64_t)(v + 0.5), text);
        else
            snprintf(text, sizeof text, "%g", v);
        fprintf(c->to,
                "<line class=\"grid\" x1=\"%d\" x2=\"%d\" y1=\"%.1f\" y2=\"%.1f\"/>"
                "<text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%s</text>",
                CLI_CHART_LEFT, CLI_CHART_RIGHT, cli_chart_y(c, v), cli_chart_y(c, v),
                CLI_CHART_LEFT - 8, cli_chart_y(c, v) + 4, text);
    }
}

void cli_chart_open(struct cli_chart *c, FILE *to, const char *label, int height, double span_s,
                    double highest) {
    double step = nice_step(highest > 0 ? highest : 1);
    *c = (struct cli_chart){
        .to = to, .span_s = span_s > 0 ? span_s : 1, .top = step, .bottom = height - BELOW};
    while (c->top < highest) c->top += step;
    fprintf(to, "<svg viewBox=\"0 0 800 %d\" role=\"img\" aria-label=\"%s\">", height, label);
    grid(c, step);
}

void cli_chart_close(struct cli_chart *c) { fputs("</svg>", c->to); }

void cli_chart_times(const struct cli_chart *c) {
    double step = nice_step(c->span_s);
    for (double t = 0; t <= c->span_s * 1.0001; t += step)
        fprintf(c->to, "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%g s</text>",
                cli_chart_x(c, t), c->bottom + 20, t);
}
