/* When a second request pays: the quantile that adapts, and the budget that always holds. */
#include "request/hedge.h"

#include <math.h>

#include "base/base.h"
#include "base/philox.h"
#include "support/check.h"

#define MS STN_NS_PER_MS

struct counts {
    unsigned n, late, hedges;
    double bytes, hedged_bytes;
};

static double draw(uint32_t i, uint32_t of) { /* in (0, 1) */
    struct stn_philox r = stn_philox4x32((struct stn_philox){{i, of, 0, 0}}, 7, 0);
    return ((double)r.v[0] + 0.5) / 4294967296.0;
}

/* One request after the other that takes so long: what the session would do. */
static void ask(struct stn_hedge_wait *w, struct stn_hedge_budget *b, uint64_t takes_ns,
                uint64_t bytes, struct counts *c) {
    stn_hedge_asked(b, bytes);
    c->n++;
    c->bytes += (double)bytes;
    uint64_t after_ns = stn_hedge_after_ns(w);
    if (takes_ns <= stn_hedge_late_ns(w)) {
        stn_hedge_in_time(w, takes_ns);
        return;
    }
    stn_hedge_late(w);
    c->late++;
    if (takes_ns <= after_ns || !stn_hedge_may(b, bytes)) return;
    stn_hedge_spend(b, bytes);
    c->hedges++;
    c->hedged_bytes += (double)bytes;
}

static void check_budget(const struct counts *c) {
    assert_true(c->hedges <= 1 + STN_HEDGE_REQUESTS * c->n);
    assert_true(c->hedged_bytes <= STN_HEDGE_BYTES * c->bytes + c->bytes / c->n);
}

static void test_hedge_waits_for_answers_first(void **state) {
    struct stn_hedge_wait w = {0};
    (void)state;
    for (int i = 0; i < 31; i++) stn_hedge_in_time(&w, 100 * MS);
    stn_hedge_late(&w); /* nothing is late yet */
    assert_true(stn_hedge_late_ns(&w) == UINT64_MAX && stn_hedge_after_ns(&w) == UINT64_MAX);
    stn_hedge_in_time(&w, 100 * MS);
    assert_in_range(stn_hedge_late_ns(&w), 199 * MS, 201 * MS);
    assert_in_range(stn_hedge_after_ns(&w), 249 * MS, 251 * MS);
}

/* 1 % of answers are 500 ms late on a path of 150 ms: those are asked for again, and few others. */
static void test_hedge_finds_the_late_ones(void **state) {
    struct stn_hedge_wait w = {0};
    struct stn_hedge_budget b;
    struct counts all = {0};
    unsigned n_late = 0, found = 0;
    (void)state;
    stn_hedge_budget_init(&b);
    for (uint32_t i = 0; i < 40000; i++) {
        unsigned is_late = draw(i, 0) < 0.01;
        unsigned before = all.hedges;
        uint64_t ns = (uint64_t)((150 + 30 * draw(i, 1) + (is_late ? 500 : 0)) * (double)MS);
        ask(&w, &b, ns, 110000, &all);
        if (i < 10000) continue; /* it has settled */
        n_late += is_late;
        found += is_late && all.hedges > before;
        assert_in_range(stn_hedge_late_ns(&w), 150 * MS, 210 * MS);
    }
    check_budget(&all);
    assert_true(found * 100 >= n_late * 99);
    assert_true(all.hedges <= 600); /* 400 are late */
}

/* Times that differ little lead to no second request, though 1.5 % of them are the longest. */
static void test_hedge_leaves_alone_what_differs_little(void **state) {
    struct stn_hedge_wait w = {0};
    struct stn_hedge_budget b;
    struct counts all = {0};
    (void)state;
    stn_hedge_budget_init(&b);
    for (uint32_t i = 0; i < 40000; i++)
        ask(&w, &b, (uint64_t)((280 + 40 * draw(i, 0)) * (double)MS), 110000, &all);
    assert_in_range(all.late, 100, 40000 * 2 / 100);
    assert_int_equal(all.hedges, 0);
}

static void test_hedge_budget_holds_for_any_times(void **state) {
    static const struct {
        const char *name;
        double shape; /* of a Pareto distribution; 0: what `walk` says */
        double walk;  /* all times grow by this factor a request, up to a minute */
    } rows[] = {{"heavy tail", 1.1, 1},     {"heavier", 0.7, 1},
                {"no mean at all", 0.5, 1}, {"all slower", 0, 1.001},
                {"all at once", 0, 1.05},   {"tail that grows", 0.9, 1.0005}};
    (void)state;
    for (size_t row = 0; row < STN_COUNT(rows); row++) {
        struct stn_hedge_wait w = {0};
        struct stn_hedge_budget b;
        struct counts all = {0};
        double scale_ms = 10;
        unsigned late = 0; /* until it has settled */
        stn_hedge_budget_init(&b);
        for (uint32_t i = 0; i < 20000; i++) {
            double tail = rows[row].shape > 0 ? pow(draw(i, 2), -1 / rows[row].shape) : 1;
            uint64_t bytes = 1000 + (uint64_t)(100000 * draw(i, 3));
            double ms = STN_MIN(scale_ms * tail, 600000.0);
            ask(&w, &b, (uint64_t)(ms * (double)MS), bytes, &all);
            check_budget(&all); /* at any moment, not only in the end */
            if (i == 5000) late = all.late;
            scale_ms = STN_MIN(scale_ms * rows[row].walk, 60000.0);
        }
        if (rows[row].walk <= 1 && all.late - late > 15000 * 2 / 100)
            fail_msg("%s: %u are late", rows[row].name, all.late - late);
        if (rows[row].shape > 0.8 && all.hedges < 20)
            fail_msg("%s: only %u hedges", rows[row].name, all.hedges);
    }
}

/* When everything takes ten times as long, the wait follows within some dozens of requests. */
static void test_hedge_follows_a_slower_path(void **state) {
    struct stn_hedge_wait w = {0};
    struct stn_hedge_budget b;
    struct counts all = {0};
    (void)state;
    stn_hedge_budget_init(&b);
    for (uint32_t i = 0; i < 3000; i++) ask(&w, &b, 20 * MS, 1000, &all);
    unsigned before = all.hedges, late = all.late;
    for (uint32_t i = 0; i < 1000; i++) ask(&w, &b, 200 * MS, 1000, &all);
    assert_in_range(all.late - late, 1, 150);
    assert_true(all.hedges - before <= 52); /* what was saved, and 2 % */
}

/* What is saved up is bounded: a second request of 30 MB among ones of 1 kB is never sent. */
static void test_hedge_budget_knows_sizes(void **state) {
    struct stn_hedge_budget b;
    (void)state;
    stn_hedge_budget_init(&b);
    for (int i = 0; i < 1000000; i++) stn_hedge_asked(&b, 1000);
    assert_true(stn_hedge_may(&b, 1000));
    assert_true(stn_hedge_may(&b, 30000));
    assert_false(stn_hedge_may(&b, 30000000));
    for (int i = 0; i < 32; i++) stn_hedge_spend(&b, 1000);
    assert_false(stn_hedge_may(&b, 1000));
    for (int i = 0; i < 51; i++) stn_hedge_asked(&b, 1000);
    assert_true(stn_hedge_may(&b, 1000));
}

static void test_hedge_silence_is_two_round_trips(void **state) {
    (void)state;
    assert_int_equal(stn_hedge_silence_ns(0), 300 * MS);
    assert_int_equal(stn_hedge_silence_ns(100 * MS), 300 * MS);
    assert_int_equal(stn_hedge_silence_ns(600 * MS), 1200 * MS);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hedge_waits_for_answers_first),
        cmocka_unit_test(test_hedge_finds_the_late_ones),
        cmocka_unit_test(test_hedge_leaves_alone_what_differs_little),
        cmocka_unit_test(test_hedge_budget_holds_for_any_times),
        cmocka_unit_test(test_hedge_follows_a_slower_path),
        cmocka_unit_test(test_hedge_budget_knows_sizes),
        cmocka_unit_test(test_hedge_silence_is_two_round_trips),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
