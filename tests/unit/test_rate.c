#include "support/check.h"

#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "request/rate.h"

#define MS STN_NS_PER_MS
#define START (5 * STN_NS_PER_S)

/* Takes whenever it may until the end, waking so much late; returns the bytes taken. */
static uint64_t take_all(struct stn_rate *r, uint64_t from_ns, uint64_t end_ns, uint64_t bytes,
                         uint64_t late_ns, uint64_t *n_wakes, uint64_t *most_at_once) {
    uint64_t sum = 0;
    *n_wakes = *most_at_once = 0;
    for (uint64_t now_ns = from_ns; now_ns < end_ns; now_ns = stn_rate_next_ns(r) + late_ns) {
        uint64_t at_once = 0;
        for (; stn_rate_allows(r, now_ns); at_once += bytes) stn_rate_take(r, bytes, now_ns);
        assert_true(at_once >= bytes); /* or the wake-up was in vain */
        assert_true(stn_rate_next_ns(r) > now_ns);
        sum += at_once;
        *most_at_once = STN_MAX(*most_at_once, at_once);
        ++*n_wakes;
    }
    return sum;
}

static void test_rate_is_exact_over_time(void **state) {
    (void)state;
    static const struct {
        const char *name;
        uint64_t bytes_s, bytes, late_ns;
    } rows[] = {
        {"photographs", 100000000, 110000, 0},
        {"photographs, late wake-ups", 100000000, 110000, 300000},
        {"as late as can be", 100000000, 110000, 8 * MS},
        {"small", 100000000, 700, 0},
        {"a rate that divides nothing", 99999989, 12347, 12345},
        {"samples larger than the bucket", 1000000, 5000000, 0},
        {"slow", 1000, 100, MS},
        {"100 Gb/s", 12500000000, 110000, 0},
        {"beyond 64 bits of bytes times nanoseconds", 40000000000, UINT64_C(4) << 30, 0},
    };
    for (size_t i = 0; i < STN_COUNT(rows); i++) {
        struct stn_rate r;
        uint64_t n_wakes, most, seconds = 60;
        uint64_t quantum = rows[i].bytes_s / 1000, capacity = 10 * quantum;
        stn_rate_init(&r, rows[i].bytes_s, START);
        uint64_t sum = take_all(&r, START, START + seconds * STN_NS_PER_S, rows[i].bytes,
                                rows[i].late_ns, &n_wakes, &most);
        uint64_t want = rows[i].bytes_s * seconds, apart = sum > want ? sum - want : want - sum;
        if (apart > capacity + 2 * rows[i].bytes)
            fail_msg("%s: %llu bytes, not %llu", rows[i].name, (unsigned long long)sum,
                     (unsigned long long)want);
        if (most > capacity + rows[i].bytes)
            fail_msg("%s: %llu at once", rows[i].name, (unsigned long long)most);
        if (rows[i].late_ns == 0 && most > quantum + 1 + rows[i].bytes)
            fail_msg("%s: %llu in a quantum", rows[i].name, (unsigned long long)most);
        if (n_wakes > seconds * 1000 + 1)
            fail_msg("%s: %llu wake-ups", rows[i].name, (unsigned long long)n_wakes);
    }
}

/* Times of rest earn no burst beyond 10 ms' worth. */
static void test_rate_forgets_times_of_rest(void **state) {
    (void)state;
    struct stn_rate r;
    uint64_t n_wakes, most;
    stn_rate_init(&r, 1000000, START);
    take_all(&r, START + 3600 * STN_NS_PER_S, START + 3600 * STN_NS_PER_S + 1, 1000, 0, &n_wakes,
             &most);
    assert_int_equal(n_wakes, 1);
    assert_int_equal(most, 10000);
}

static void test_rate_without_bound(void **state) {
    (void)state;
    struct stn_rate r;
    stn_rate_init(&r, 0, START);
    for (int i = 0; i < 1000; i++) {
        assert_true(stn_rate_allows(&r, START));
        stn_rate_take(&r, UINT64_C(1) << 40, START);
    }
    assert_int_equal(stn_rate_lower(0, 0), 0);
    assert_int_equal(stn_rate_lower(0, 7), 7);
    assert_int_equal(stn_rate_lower(7, 0), 7);
    assert_int_equal(stn_rate_lower(9, 7), 7);
}

static void test_rate_at_the_beginning_of_time(void **state) {
    (void)state;
    struct stn_rate r;
    stn_rate_init(&r, 1000, 0); /* a clock that starts at 0 */
    assert_false(stn_rate_allows(&r, 0));
    assert_true(stn_rate_allows(&r, stn_rate_next_ns(&r)));
}

static void test_rate_of_the_environment(void **state) {
    (void)state;
    static const struct {
        const char *text;
        int rc;
        uint64_t bytes_s;
    } rows[] = {
        {NULL, STERNA_OK, 0},
        {"", STERNA_OK, 0},
        {"0", STERNA_OK, 0},
        {"1000", STERNA_OK, 1000},
        {"100MB", STERNA_OK, 100000000},
        {"100mb/s", STERNA_OK, 100000000},
        {"1.5GiB", STERNA_OK, UINT64_C(3) << 29},
        {"12.5M", STERNA_OK, 12500000},
        {"8k", STERNA_OK, 8000},
        {"-1", STERNA_EINVAL, 0},
        {" 1", STERNA_EINVAL, 0},
        {"fast", STERNA_EINVAL, 0},
        {"100 MB", STERNA_EINVAL, 0},
        {"100Mb/h", STERNA_EINVAL, 0},
        {"1.5.5G", STERNA_EINVAL, 0},
        {"99999999999999999999", STERNA_EINVAL, 0},
        {"99999999999G", STERNA_EINVAL, 0},
    };
    for (size_t i = 0; i < STN_COUNT(rows); i++) {
        struct sterna_error err = {0};
        uint64_t bytes_s = 77;
        if (rows[i].text)
            setenv("STERNA_MAX_RATE", rows[i].text, 1);
        else
            unsetenv("STERNA_MAX_RATE");
        int rc = stn_rate_of_environment(&bytes_s, &err);
        unsetenv("STERNA_MAX_RATE");
        if (rc != rows[i].rc || (rc == STERNA_OK && bytes_s != rows[i].bytes_s))
            fail_msg("'%s': %d, %llu", rows[i].text, rc, (unsigned long long)bytes_s);
        if (rc < 0 && (!strstr(err.message, "STERNA_MAX_RATE") || !strstr(err.message, "100MB")))
            fail_msg("'%s': %s", rows[i].text, err.message);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rate_is_exact_over_time),
        cmocka_unit_test(test_rate_forgets_times_of_rest),
        cmocka_unit_test(test_rate_without_bound),
        cmocka_unit_test(test_rate_at_the_beginning_of_time),
        cmocka_unit_test(test_rate_of_the_environment),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
