#include "support/check.h"

#include <math.h>
#include <string.h>

#include "base/philox.h"
#include "request/order.h"

static void test_order_is_a_permutation(void **state) {
    (void)state;
    static const uint64_t sizes[] = {1,   2,   3,    7,    255,  256,   257,   258,
                                     511, 512, 1000, 1024, 1025, 65535, 65537, 100003};
    for (size_t i = 0; i < STN_COUNT(sizes); i++) {
        uint8_t *seen = stn_array(sizes[i], 1);
        struct stn_order o;
        stn_order_init(&o, sizes[i], 42, i, 1);
        for (uint64_t p = 0; p < sizes[i]; p++) {
            uint64_t at = stn_order_at(&o, p);
            if (at >= sizes[i] || seen[at]++)
                fail_msg("n %llu: %llu", (unsigned long long)sizes[i], (unsigned long long)at);
        }
        free(seen);
    }
}

static void test_order_without_shuffle_is_identity(void **state) {
    (void)state;
    struct stn_order o;
    stn_order_init(&o, 1000, 42, 7, 0);
    for (uint64_t p = 0; p < 1000; p++) assert_int_equal(stn_order_at(&o, p), p);
}

/* Published vectors: docs/design.md carries the same, with a reference in Python. A change here is
 * a new plan version. */
static void test_order_published_vectors(void **state) {
    (void)state;
    static const struct {
        uint64_t n, seed, epoch, want[8];
    } rows[] = {
        {10, 0, 0, {3, 4, 8, 9, 1, 0, 6, 5}},
        {1000, 42, 3, {798, 469, 681, 978, 30, 325, 921, 31}},
        {UINT64_C(100000000),
         UINT64_C(0x123456789abcdef0),
         UINT64_C(0x100000001),
         {27234748, 61931817, 20685454, 28341851, 52483805, 97694761, 21546369, 71752069}},
    };
    for (size_t i = 0; i < STN_COUNT(rows); i++) {
        struct stn_order o;
        stn_order_init(&o, rows[i].n, rows[i].seed, rows[i].epoch, 1);
        for (uint64_t p = 0; p < 8; p++) {
            uint64_t got = stn_order_at(&o, p);
            if (got != rows[i].want[p])
                fail_msg("row %zu position %llu: %llu", i, (unsigned long long)p,
                         (unsigned long long)got);
        }
    }
}

static void test_order_far_positions_need_no_memory(void **state) {
    (void)state;
    struct stn_order o; /* the whole state of an epoch of 10^12 samples */
    uint64_t n = UINT64_C(1000000000000);
    stn_order_init(&o, n, 1, 0, 1);
    for (uint64_t p = n - 1000; p < n; p++) assert_true(stn_order_at(&o, p) < n);
}

/* ---- statistics, against the Fisher-Yates shuffle of the same size ---- */

struct figures {
    double displacement, neighbours, first_chi2, pair_chi2;
};

/* Four figures a good shuffle must have: mean |i - p(i)| is n / 3; the share of i with
 * p(i + 1) = p(i) + 1 is 1 / n; where position 0 lands, and the joint place of positions 0 and n /
 * 2, are uniform (chi-squared over 16 and 64 cells). */
static struct figures measure(uint64_t (*at)(void *, uint64_t), void **orders, size_t n_orders,
                              uint64_t n) {
    struct figures f = {0};
    double first[16] = {0}, pair[64] = {0};
    for (size_t k = 0; k < n_orders; k++) {
        uint64_t before = UINT64_MAX;
        for (uint64_t p = 0; p < n; p++) {
            uint64_t v = at(orders[k], p);
            f.displacement += fabs((double)v - (double)p) / (double)n;
            f.neighbours += v == before + 1;
            before = v;
        }
        uint64_t a = at(orders[k], 0), b = at(orders[k], n / 2);
        first[a * 16 / n]++;
        pair[(a * 8 / n) * 8 + b * 8 / n]++;
    }
    f.displacement /= (double)(n_orders * n);
    f.neighbours /= (double)n_orders;
    for (int i = 0; i < 16; i++)
        f.first_chi2 += pow(first[i] - (double)n_orders / 16, 2) * 16 / (double)n_orders;
    for (int i = 0; i < 64; i++)
        f.pair_chi2 += pow(pair[i] - (double)n_orders / 64, 2) * 64 / (double)n_orders;
    return f;
}

static uint64_t at_order(void *o, uint64_t p) { return stn_order_at(o, p); }
static uint64_t at_table(void *t, uint64_t p) { return ((uint32_t *)t)[p]; }

static void *fisher_yates(uint64_t n, uint32_t seed) {
    uint32_t *t = stn_array(n, sizeof *t);
    for (uint32_t i = 0; i < n; i++) t[i] = i;
    for (uint32_t i = (uint32_t)n; i-- > 1;) {
        struct stn_philox r = stn_philox4x32((struct stn_philox){{i, 1, 2, 3}}, seed, 99);
        uint32_t j = (uint32_t)stn_bounded((uint64_t)r.v[0] << 32 | r.v[1], i + 1), swap = t[i];
        t[i] = t[j];
        t[j] = swap;
    }
    return t;
}

static void check_figures(const char *name, struct figures f) {
    /* Wide bounds for fixed seeds: a biased shuffle misses them by far (see the next test). */
    if (fabs(f.displacement - 1.0 / 3) > 0.005)
        fail_msg("%s: displacement %f", name, f.displacement);
    if (fabs(f.neighbours - 1) > 0.25) fail_msg("%s: neighbours %f", name, f.neighbours);
    if (f.first_chi2 > 37.7) fail_msg("%s: first chi2 %f", name, f.first_chi2); /* p = 0.001, 15 */
    if (f.pair_chi2 > 103.4) fail_msg("%s: pair chi2 %f", name, f.pair_chi2);   /* p = 0.001, 63 */
}

#define N_ORDERS 1000

static void test_order_statistics_match_fisher_yates(void **state) {
    (void)state;
    static const uint64_t sizes[] = {200, 300, 1000, 1500};
    for (size_t s = 0; s < STN_COUNT(sizes); s++) {
        void *ours[N_ORDERS], *reference[N_ORDERS];
        for (uint32_t k = 0; k < N_ORDERS; k++) {
            ours[k] = stn_array(1, sizeof(struct stn_order));
            stn_order_init(ours[k], sizes[s], k / 10, k % 10, 1); /* seeds and epochs */
            reference[k] = fisher_yates(sizes[s], k);
        }
        check_figures("ours", measure(at_order, ours, N_ORDERS, sizes[s]));
        check_figures("Fisher-Yates", measure(at_table, reference, N_ORDERS, sizes[s]));
        for (uint32_t k = 0; k < N_ORDERS; k++) free(ours[k]), free(reference[k]);
    }
}

/* The figures can tell: a rotation by a random amount, a permutation too, fails them. */
static uint64_t at_rotation(void *t, uint64_t p) { return (p + *(uint64_t *)t) % 1000; }

static void test_order_statistics_catch_a_rotation(void **state) {
    (void)state;
    uint64_t amounts[N_ORDERS];
    void *orders[N_ORDERS];
    for (uint32_t k = 0; k < N_ORDERS; k++) {
        amounts[k] = stn_philox4x32((struct stn_philox){{k, 0, 0, 0}}, 5, 6).v[0] % 1000;
        orders[k] = &amounts[k];
    }
    struct figures f = measure(at_rotation, orders, N_ORDERS, 1000);
    assert_true(f.neighbours > 900 && f.pair_chi2 > 1000);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order_is_a_permutation),
        cmocka_unit_test(test_order_without_shuffle_is_identity),
        cmocka_unit_test(test_order_published_vectors),
        cmocka_unit_test(test_order_far_positions_need_no_memory),
        cmocka_unit_test(test_order_statistics_match_fisher_yates),
        cmocka_unit_test(test_order_statistics_catch_a_rotation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
