/* The command's memory of a run: bounded, and still from the first moment to the last. */
#include "support/check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "history.h"

static struct cli_history history;

static void note(double at_s, int far) {
    struct sterna_stats stats = {.in_flight_bytes = 1000000};
    struct sterna_path path = {.phase = far ? STERNA_PATH_STEADY : STERNA_PATH_LOCAL,
                               .in_flight_bytes = 2000000,
                               .connections = 4};
    stats.stall_ns[STERNA_STALL_LATENCY] = (uint64_t)(at_s * 5e8);
    if (cli_history_due(&history, at_s)) cli_history_add(&history, at_s, &stats, &path);
}

static void test_history_is_bounded(void **state) {
    (void)state;
    static const double lengths_s[] = {10, 100, 3600, 86400};
    for (size_t i = 0; i < sizeof lengths_s / sizeof *lengths_s; i++) {
        double length_s = lengths_s[i], step_s = length_s / 20000, widest_s = 0;
        memset(&history, 0, sizeof history);
        for (double at_s = 0; at_s <= length_s; at_s += step_s) note(at_s, 1);
        assert_true(history.n <= CLI_HISTORY_MOMENTS);
        assert_true(history.n >= (length_s < 20 ? 100 : CLI_HISTORY_MOMENTS / 2));
        assert_true(history.moments[0].at_s == 0);
        for (size_t k = 1; k < history.n; k++) {
            double apart_s = history.moments[k].at_s - history.moments[k - 1].at_s;
            assert_true(apart_s > 0);
            if (apart_s > widest_s) widest_s = apart_s;
            assert_true(history.moments[k].in_flight_mb == 2);
        }
        double last_s = history.moments[history.n - 1].at_s;
        assert_true(length_s - last_s <= widest_s + step_s);
        assert_true(widest_s <= length_s / CLI_HISTORY_MOMENTS * 4 + 0.1);
    }
}

static char *draw(double span_s) {
    char *text = NULL;
    size_t bytes = 0;
    FILE *to = open_memstream(&text, &bytes);
    assert_non_null(to);
    cli_history_draw(&history, to, span_s);
    fclose(to);
    return text;
}

static size_t count(const char *text, const char *word) {
    size_t n = 0;
    for (const char *at = text; (at = strstr(at, word)); at++) n++;
    return n;
}

static void test_history_is_drawn(void **state) {
    (void)state;
    static const struct {
        size_t n_moments;
        int far;
        double step_s, span_s;
        size_t n_charts;
    } rows[] = {
        {0, 1, 1, 1, 0},     {1, 1, 1, 1, 0},    {2, 1, 1, 2, 5},    {2, 0, 1, 2, 2},
        {300, 1, 1, 300, 5}, {2, 1, 0.06, 0, 5}, {3, 0, 0.06, 0, 2},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        memset(&history, 0, sizeof history);
        for (size_t k = 0; k < rows[i].n_moments; k++)
            note((double)k * rows[i].step_s, rows[i].far);
        char *text = draw(rows[i].span_s);
        if (count(text, "<svg") != rows[i].n_charts || count(text, "</svg>") != rows[i].n_charts)
            fail_msg("row %zu: %zu charts", i, count(text, "<svg"));
        assert_null(strstr(text, "nan"));
        assert_null(strstr(text, "inf"));
        free(text);
    }
}

/* Half of the time waited, all for one cause: one area, of half the height. */
static void test_waiting_is_drawn_by_cause(void **state) {
    (void)state;
    memset(&history, 0, sizeof history);
    for (int k = 0; k <= 10; k++) note(k, 0);
    char *text = draw(10);
    assert_int_equal(count(text, "<path class=\"c"), 1);
    assert_non_null(strstr(text, "<path class=\"c1\" d=\"M70.0 76.0L141.0 76.0"));
    assert_non_null(strstr(text, "latency"));
    assert_null(strstr(text, "bandwidth"));
    free(text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_history_is_bounded),
        cmocka_unit_test(test_history_is_drawn),
        cmocka_unit_test(test_waiting_is_drawn_by_cause),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
