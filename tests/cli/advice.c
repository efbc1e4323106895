/* What sterna probe makes of its figures: each is as it would be measured over some link. */
#include "support/check.h"

#include <stdlib.h>
#include <string.h>

#include "probe.h"

#define MB 1e6

/* Stock buffers, 150 ms, and a gigabit that 32 connections fill and one does not. */
static struct cli_probe over_150_ms(double one_mb_s) {
    struct cli_probe p = {.is_cluster = 1,
                          .info = {.n = 100000, .n_bytes = UINT64_C(11000000000)},
                          .host = {.tcp_rmem = {4096, 131072, 6291456},
                                   .window_scaling = 1,
                                   .moderate_rcvbuf = 1,
                                   .congestion_control = "cubic"},
                          .many = {.bytes_s = 117 * MB, .samples = 3000, .bytes = 330000000},
                          .one = {.bytes_s = one_mb_s * MB, .samples = 500, .bytes = 55000000}};
    p.many.path = (struct sterna_path){
        .rtt_ns = 150500000, .tcp_rtt_ns = 150000000, .connections_max = 32, .segments = 200000};
    p.one.path = (struct sterna_path){.rtt_ns = 151000000, .connections = 1, .segments = 40000};
    return p;
}

/* The one line that has these words; fails if there is none. */
static const char *line_with(const struct cli_probe *p, const char *words) {
    for (size_t i = 0; i < p->advice.n; i++)
        if (strstr(p->advice.lines[i], words)) return p->advice.lines[i];
    fail_msg("no advice says '%s'; the first of %zu: %s", words, p->advice.n,
             p->advice.n ? p->advice.lines[0] : "none");
    return "";
}

static void assert_says(const char *line, const char *words) {
    if (!strstr(line, words)) fail_msg("'%s' does not say '%s'", line, words);
}

static void test_advice_none_where_one_connection_carries_all(void **state) {
    (void)state;
    struct cli_probe p = over_150_ms(116);
    cli_probe_advise(&p);
    assert_int_equal(p.advice.n, 0);
}

static void test_advice_none_on_a_short_path(void **state) {
    (void)state;
    struct cli_probe p = over_150_ms(20);
    p.many.path.tcp_rtt_ns = 80000;
    p.many.path.holes = 50;
    cli_probe_advise(&p);
    assert_int_equal(p.advice.n, 0);
}

static void test_advice_the_least_round_trip_counts(void **state) {
    (void)state;
    struct cli_probe p = over_150_ms(20);
    assert_true(cli_probe_rtt_s(&p) == 0.15);
    p.many.path = p.one.path = (struct sterna_path){0};
    assert_true(cli_probe_rtt_s(&p) == 0);
}

static void test_advice_a_full_receive_buffer_names_the_sysctl(void **state) {
    (void)state;
    struct cli_probe p = over_150_ms(20); /* 3.0 MB in a round trip, of 3.1 */
    cli_probe_advise(&p);
    assert_int_equal(p.advice.n, 1);
    /* Twice 117 MB/s times 0.15 s is 35.1 MB: 34 MiB hold it. */
    assert_says(line_with(&p, "receive buffer"), "net.ipv4.tcp_rmem=\"4096 131072 35651584\"");
    assert_true(cli_probe_rmem_needed(&p) == 35651584);
}

static void test_advice_buffers_of_all_connections_may_be_too_small(void **state) {
    (void)state;
    struct cli_probe p = over_150_ms(19);
    p.host.tcp_rmem[2] = 1048576;
    cli_probe_advise(&p);
    /* 32 * 0.5 MB for 17.6 MB. Four times 17.55 MB, by 32, is 2.19 MB: 3 MiB. */
    assert_says(line_with(&p, "32 connections can hold"), "tcp_rmem=\"4096 131072 3145728\"");
}

static void test_advice_the_server_may_be_what_bounds_a_connection(void **state) {
    (void)state;
    struct cli_probe p = over_150_ms(8);
    cli_probe_advise(&p);
    assert_says(line_with(&p, "net.ipv4.tcp_wmem there"), "1.20 MB in a round trip");
    for (size_t i = 0; i < p.advice.n; i++) assert_null(strstr(p.advice.lines[i], "sysctl"));
}

static void test_advice_loss_and_a_slow_connection_mean_cubic_perhaps(void **state) {
    (void)state;
    struct cli_probe p = over_150_ms(2);
    p.one.path.holes = 8;
    p.many.path.holes = 40;
    assert_false(cli_probe_sender_ignores_loss(&p));
    cli_probe_advise(&p);
    assert_says(line_with(&p, "if the servers send with cubic"), "tcp_congestion_control=bbr");
}

static void test_advice_loss_and_a_fast_connection_mean_bbr_likely(void **state) {
    (void)state;
    struct cli_probe p = over_150_ms(19);
    p.one.path.holes = 40; /* of 40000: cubic would give 5 MB/s at most */
    assert_true(cli_probe_sender_ignores_loss(&p));
    assert_true(cli_probe_loss(&p) == 40.0 / 240000);
    cli_probe_advise(&p);
    assert_says(line_with(&p, "likely goes by rate"), "bbr");
}

static void test_advice_the_start_of_a_connection_is_not_its_rate(void **state) {
    (void)state;
    struct cli_probe p = over_150_ms(12);
    p.one.path.holes = 4; /* a cubic that has not come down yet */
    assert_false(cli_probe_sender_ignores_loss(&p));
}

static void test_advice_loss_that_a_full_connection_bears_is_none(void **state) {
    (void)state;
    struct cli_probe p = over_150_ms(20);
    p.many.path.holes = 40; /* as where many fill a queue */
    cli_probe_advise(&p);
    assert_int_equal(p.advice.n, 1);
    line_with(&p, "receive buffer");
}

static void test_advice_few_segments_say_nothing_of_loss(void **state) {
    (void)state;
    struct cli_probe p = over_150_ms(116);
    p.one.path.segments = p.many.path.segments = 100;
    p.one.path.holes = 5;
    cli_probe_advise(&p);
    assert_int_equal(p.advice.n, 0);
    assert_false(cli_probe_sender_ignores_loss(&p));
    p.one.path.segments = p.many.path.segments = 0;
    assert_true(cli_probe_loss(&p) < 0);
}

static void test_advice_switches_that_are_off(void **state) {
    (void)state;
    struct cli_probe p = over_150_ms(116);
    p.host.window_scaling = p.host.moderate_rcvbuf = 0;
    cli_probe_advise(&p);
    assert_int_equal(p.advice.n, 2);
    line_with(&p, "net.ipv4.tcp_window_scaling=1");
    line_with(&p, "net.ipv4.tcp_moderate_rcvbuf=1");
}

static void test_advice_what_else_bounds_a_rate(void **state) {
    (void)state;
    struct cli_probe p = over_150_ms(116);
    p.info.n_bytes = 1000000;
    p.many.path.overloaded = 7;
    setenv("STERNA_MAX_RATE", "5M", 1);
    cli_probe_advise(&p);
    unsetenv("STERNA_MAX_RATE");
    assert_int_equal(p.advice.n, 3);
    line_with(&p, "STERNA_MAX_RATE=5M");
    line_with(&p, "only 1.00 MB to read");
    line_with(&p, "7 times");
}

static void test_advice_nothing_measured(void **state) {
    (void)state;
    struct cli_probe p = {.is_cluster = 1, .host = {.window_scaling = -1, .moderate_rcvbuf = -1}};
    cli_probe_advise(&p);
    assert_int_equal(p.advice.n, 0);
    assert_true(cli_probe_rmem_needed(&p) == 0);
    assert_true(cli_probe_loss(&p) < 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_advice_none_where_one_connection_carries_all),
        cmocka_unit_test(test_advice_none_on_a_short_path),
        cmocka_unit_test(test_advice_the_least_round_trip_counts),
        cmocka_unit_test(test_advice_a_full_receive_buffer_names_the_sysctl),
        cmocka_unit_test(test_advice_buffers_of_all_connections_may_be_too_small),
        cmocka_unit_test(test_advice_the_server_may_be_what_bounds_a_connection),
        cmocka_unit_test(test_advice_loss_and_a_slow_connection_mean_cubic_perhaps),
        cmocka_unit_test(test_advice_loss_and_a_fast_connection_mean_bbr_likely),
        cmocka_unit_test(test_advice_the_start_of_a_connection_is_not_its_rate),
        cmocka_unit_test(test_advice_loss_that_a_full_connection_bears_is_none),
        cmocka_unit_test(test_advice_few_segments_say_nothing_of_loss),
        cmocka_unit_test(test_advice_switches_that_are_off),
        cmocka_unit_test(test_advice_what_else_bounds_a_rate),
        cmocka_unit_test(test_advice_nothing_measured),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
