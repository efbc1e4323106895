/* How losses are counted from what the kernel tells now and then. */
#include "support/check.h"

#include "net/parts.h"

#define MS STN_NS_PER_MS

static struct stn_tcp_sums sums;
static struct stn_tcp_look look;
static uint64_t now_ns;

static int begin(void **state) {
    (void)state;
    sums = (struct stn_tcp_sums){0};
    look = (struct stn_tcp_look){0};
    now_ns = STN_NS_PER_S;
    return 0;
}

/* 100 ms later there are so many segments, of which so many were behind a hole. */
static void see(uint64_t segments, uint64_t late, uint64_t rtt_ns) {
    struct stn_conn_tcp now = {.segments_in = segments,
                               .out_of_order_segments = late,
                               .tcp_rtt_ns = rtt_ns,
                               .tcp_min_rtt_ns = rtt_ns / 2};
    now_ns += 100 * MS;
    stn_tcp_add(&sums, &look, &now, now_ns);
}

static void test_path_tcp_nothing_lost(void **state) {
    (void)state;
    for (unsigned i = 1; i <= 10; i++) see(1000 * i, 0, 150 * MS);
    see(10000, 0, 200 * MS);
    assert_int_equal(sums.min_rtt_ns, 75 * MS);
    assert_int_equal(sums.segments, 10000);
    assert_int_equal(sums.out_of_order, 0);
    assert_int_equal(sums.holes, 0);
}

static void test_path_tcp_a_hole_is_one_as_long_as_it_may_last(void **state) {
    (void)state;
    see(1000, 0, 150 * MS);
    see(2000, 400, 150 * MS);
    see(3000, 1400, 150 * MS);
    see(4000, 1500, 150 * MS);
    assert_int_equal(sums.out_of_order, 1500);
    assert_int_equal(sums.holes, 1);
}

static void test_path_tcp_another_hole_after_a_quiet_while(void **state) {
    (void)state;
    see(1000, 400, 150 * MS);
    see(2000, 400, 150 * MS);
    see(3000, 500, 150 * MS);
    assert_int_equal(sums.holes, 2);
}

static void test_path_tcp_no_hole_lasts_for_ever(void **state) {
    (void)state;
    for (unsigned i = 1; i <= 20; i++) see(1000 * i, 10 * i, MS);
    assert_in_range(sums.holes, 9, 20); /* each look's on so short a path, or every second's */
}

static void test_path_tcp_nothing_is_counted_twice(void **state) {
    (void)state;
    see(1000, 100, MS);
    see(990, 100, MS);
    see(1100, 100, MS);
    assert_int_equal(sums.segments, 1100);
    assert_int_equal(sums.out_of_order, 100);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_path_tcp_nothing_lost, begin),
        cmocka_unit_test_setup(test_path_tcp_a_hole_is_one_as_long_as_it_may_last, begin),
        cmocka_unit_test_setup(test_path_tcp_another_hole_after_a_quiet_while, begin),
        cmocka_unit_test_setup(test_path_tcp_no_hole_lasts_for_ever, begin),
        cmocka_unit_test_setup(test_path_tcp_nothing_is_counted_twice, begin),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
