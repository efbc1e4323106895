/* Charts as inline SVG: a plot with a grid, time from left to right. Knows not what is drawn. */
#ifndef CLI_CHART_H
#define CLI_CHART_H

#include <stddef.h>
#include <stdio.h>

#define CLI_CHART_LEFT 70
#define CLI_CHART_RIGHT 780
#define CLI_CHART_WIDTH (CLI_CHART_RIGHT - CLI_CHART_LEFT)

struct cli_chart {
    FILE *to;
    double span_s, top; /* what width and height stand for; both above 0 */
    int bottom;         /* y of 0 */
};

/* An <svg> of `height` whose grid reaches from 0 to `highest` or a bit more. */
void cli_chart_open(struct cli_chart *c, FILE *to, const char *label, int height, double span_s,
                    double highest);
void cli_chart_close(struct cli_chart *c);

double cli_chart_x(const struct cli_chart *c, double at_s); /* within the plot */
double cli_chart_y(const struct cli_chart *c, double value);

/* Seconds below the plot. */
void cli_chart_times(const struct cli_chart *c);

#endif
