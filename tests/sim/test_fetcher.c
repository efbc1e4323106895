/* The fetcher over a simulated store: rows, order of completion, what goes wrong on the way. */
#include "support/check.h"

#include <poll.h>
#include <string.h>

#include "support/sim.h"

static struct sim_answer answer_jittered(struct sim *sim, uint64_t index, unsigned attempt) {
    return (struct sim_answer){SIM_OK, sim_draw(sim, index, attempt, 50 * STN_NS_PER_MS), 0};
}

/* The first answers for a sample, set by the test; later ones are well. */
static struct sim_answer first_answer;
static unsigned n_first;
static struct sim_answer answer_first(struct sim *sim, uint64_t index, unsigned attempt) {
    (void)sim, (void)index;
    return attempt <= n_first ? first_answer : (struct sim_answer){SIM_OK, STN_NS_PER_MS, 0};
}

static uint64_t length_varied(uint64_t index) {
    return index % 11 == 3 ? 0 : 1 + index * 7919 % 5000;
}

static int is_readable(sterna_fetcher *f) {
    struct pollfd fd = {sterna_fetcher_fd(f), POLLIN, 0};
    return poll(&fd, 1, 0) == 1;
}

static void start(struct sim *sim, sterna_fetcher **f) {
    struct sterna_fetcher_options o = sim_fetcher_options();
    assert_ok(sim_fetcher_open(sim, f, &o, NULL));
}

/* ---- rows and batches ---- */

static void test_fetcher_keeps_the_order_of_ids(void **state) {
    (void)state;
    for (int unknown = 0; unknown <= 1; unknown++) {
        struct sim sim;
        sterna_fetcher *f;
        sterna_batch *b;
        uint64_t indices[200], ticket, got;
        sim_init(&sim, 100);
        sim.answer = answer_jittered;
        sim.length = length_varied;
        sim.lengths_unknown = unknown;
        start(&sim, &f);
        for (uint64_t i = 0; i < 200; i++) indices[i] = sim_draw(&sim, i, 9, 100); /* some twice */
        assert_ok(sim_submit(&sim, f, indices, 200, &ticket, NULL));
        assert_ok(sim_poll(&sim, f, &got, &b, NULL));
        assert_true(ticket > 0 && got == ticket);
        sim_check_fetched(&sim, b, indices, 200);
        struct sterna_field_view view;
        struct sterna_batch_info info;
        assert_ok(sterna_batch_field(b, 0, &view));
        assert_int_equal(view.base != NULL, !unknown); /* one after another, if that can be known */
        sterna_batch_info(b, &info);
        assert_int_equal(info.n_valid, 200);
        size_t state_bytes = 77;
        assert_ok(sterna_batch_state(b, NULL, 0, &state_bytes));
        assert_int_equal(state_bytes, 0);
        sterna_batch_release(&b);
        assert_int_equal(sim_poll(&sim, f, &got, &b, NULL), STERNA_END);
        assert_int_equal(got, 0);
        assert_null(b);
        sterna_fetcher_close(&f);
        sim_fini(&sim);
    }
}

/* Samples 0 to 9 take long. */
static struct sim_answer answer_by_tens(struct sim *sim, uint64_t index, unsigned attempt) {
    (void)sim, (void)attempt;
    return (struct sim_answer){SIM_OK, (index < 10 ? 500 : 5) * STN_NS_PER_MS, 0};
}

static void test_fetcher_batches_come_when_they_are_complete(void **state) {
    (void)state;
    struct sim sim;
    sterna_fetcher *f;
    sterna_batch *b;
    uint64_t slow[] = {20, 3, 21}, quick[] = {30, 31}, tickets[3], got;
    sim_init(&sim, 100);
    sim.answer = answer_by_tens;
    start(&sim, &f);
    assert_ok(sim_submit(&sim, f, slow, 3, &tickets[0], NULL));
    assert_ok(sim_submit(&sim, f, quick, 2, &tickets[1], NULL));
    assert_ok(sim_submit(&sim, f, quick, 1, &tickets[2], NULL));
    static const int order[] = {1, 2, 0};
    for (int i = 0; i < 3; i++) {
        assert_ok(sim_poll(&sim, f, &got, &b, NULL));
        assert_int_equal(got, tickets[order[i]]);
        if (order[i] == 0) sim_check_fetched(&sim, b, slow, 3);
        sterna_batch_release(&b);
    }
    sterna_fetcher_close(&f);
    sim_fini(&sim);
}

static void test_fetcher_descriptor_tells_what_poll_would(void **state) {
    (void)state;
    struct sim sim;
    sterna_fetcher *f;
    sterna_batch *b;
    uint64_t index = 4, ticket, got;
    sim_init(&sim, 10);
    start(&sim, &f);
    assert_false(is_readable(f)); /* though there is an end to be told: loops would spin */
    assert_int_equal(sterna_poll(f, &got, &b, 0, NULL), STERNA_END);
    for (int i = 0; i < 2; i++) assert_ok(sim_submit(&sim, f, &index, 1, &ticket, NULL));
    assert_false(is_readable(f));
    assert_int_equal(sterna_poll(f, &got, &b, 0, NULL), STERNA_AGAIN);
    while (sim_fetcher_advance(&sim, f)) {}
    for (int i = 0; i < 2; i++) {
        assert_true(is_readable(f));
        assert_ok(sterna_poll(f, &got, &b, 0, NULL));
        sterna_batch_release(&b);
    }
    assert_false(is_readable(f));
    sterna_fetcher_close(&f);
    sim_fini(&sim);
}

static void test_fetcher_labels_come_with_the_bytes(void **state) {
    (void)state;
    struct sim sim;
    sterna_fetcher *f;
    sterna_batch *b;
    uint64_t indices[] = {14, 3, 25}, got;
    sim_init(&sim, 30);
    sim.labels_beside = sim.lengths_unknown = sim.unchecked = 1; /* another tool's tables */
    start(&sim, &f);
    assert_ok(sim_submit(&sim, f, indices, 3, &got, NULL));
    assert_ok(sim_poll(&sim, f, &got, &b, NULL));
    sim_check_fetched(&sim, b, indices, 3); /* labels too */
    sterna_batch_release(&b);
    sterna_fetcher_close(&f);
    sim_fini(&sim);
}

/* All of them at once, however they were submitted. */
static void test_fetcher_has_thousands_in_flight(void **state) {
    (void)state;
    enum { N = 8192 };
    for (size_t at_once = 1; at_once <= N; at_once *= N) {
        struct sim sim;
        struct sterna_stats stats;
        sterna_fetcher *f;
        sterna_batch *b;
        uint64_t *indices = stn_array(N, sizeof *indices), got, n_rows = 0;
        sim_init(&sim, N);
        sim.answer = answer_jittered;
        sim.ahead_bytes = 64 << 20;
        struct sterna_fetcher_options o = sim_fetcher_options();
        o.memory_bytes = 64 << 20;
        assert_ok(sim_fetcher_open(&sim, &f, &o, NULL));
        for (uint64_t i = 0; i < N; i++) indices[i] = i;
        for (uint64_t i = 0; i < N; i += at_once)
            assert_ok(sim_submit(&sim, f, indices + i, at_once, &got, NULL));
        sterna_fetcher_stats(f, &stats);
        assert_int_equal(stats.in_flight, N);
        while (sim_poll(&sim, f, &got, &b, NULL) == STERNA_OK) {
            sim_check_fetched(&sim, b, indices + (got - 1) * at_once, at_once);
            n_rows += at_once;
            sterna_batch_release(&b);
        }
        assert_int_equal(n_rows, N);
        sterna_fetcher_close(&f);
        free(indices);
        sim_fini(&sim);
    }
}

static void test_fetcher_keeps_to_the_window(void **state) {
    (void)state;
    struct sim sim;
    struct sterna_stats stats;
    sterna_fetcher *f;
    sterna_batch *b;
    uint64_t indices[100], got;
    sim_init(&sim, 100);
    sim.ahead_bytes = 10 * 1024; /* ten of 1000 bytes, aligned */
    start(&sim, &f);
    for (uint64_t i = 0; i < 100; i++) indices[i] = i;
    assert_ok(sim_submit(&sim, f, indices, 60, &got, NULL));
    assert_ok(sim_submit(&sim, f, indices + 60, 40, &got, NULL));
    for (int i = 0; i < 2; i++) {
        assert_ok(sim_poll(&sim, f, &got, &b, NULL));
        sterna_batch_release(&b);
    }
    sterna_fetcher_stats(f, &stats);
    assert_int_equal(stats.in_flight_bytes_max, 10 * 1024);
    assert_int_equal(stats.requests, 100);
    sterna_fetcher_close(&f);
    sim_fini(&sim);
}

static void test_fetcher_keeps_to_max_rate(void **state) {
    (void)state;
    struct sim sim;
    sterna_fetcher *f;
    sterna_batch *b;
    uint64_t indices[100], got;
    sim_init(&sim, 100);
    struct sterna_fetcher_options o = sim_fetcher_options();
    o.max_rate_bytes_s = 100000; /* 100 samples of 1000 bytes: a second */
    assert_ok(sim_fetcher_open(&sim, &f, &o, NULL));
    for (uint64_t i = 0; i < 100; i++) indices[i] = i;
    uint64_t begun_ns = sim.now_ns;
    assert_ok(sim_submit(&sim, f, indices, 100, &got, NULL));
    assert_ok(sim_poll(&sim, f, &got, &b, NULL));
    double passed_s = (double)(sim.now_ns - begun_ns) * 1e-9;
    assert_true(passed_s > 0.95 && passed_s < 1.1); /* of the simulated clock */
    sterna_batch_release(&b);
    sterna_fetcher_close(&f);
    sim_fini(&sim);
}

/* ---- what goes wrong ---- */

static struct sim_answer every_tenth_is_gone(struct sim *sim, uint64_t index, unsigned attempt) {
    (void)sim, (void)attempt;
    if (index % 10 == 4) return (struct sim_answer){SIM_FAIL, STN_NS_PER_MS, STERNA_ENOTFOUND};
    return (struct sim_answer){SIM_OK, STN_NS_PER_MS, 0};
}

static void test_fetcher_masks_rows_that_are_not_there(void **state) {
    (void)state;
    struct sim sim;
    struct sterna_stats stats;
    sterna_fetcher *f;
    sterna_batch *b;
    uint64_t indices[50], got;
    sim_init(&sim, 50);
    sim.answer = every_tenth_is_gone;
    start(&sim, &f);
    for (uint64_t i = 0; i < 50; i++) indices[i] = 49 - i;
    assert_ok(sim_submit(&sim, f, indices, 50, &got, NULL));
    assert_ok(sim_poll(&sim, f, &got, &b, NULL));
    sim_check_fetched(&sim, b, indices, 50);
    for (uint32_t i = 0; i < 50; i++) {
        int gone = indices[i] % 10 == 4;
        assert_int_equal(sterna_batch_errors(b)[i], gone ? STERNA_ENOTFOUND : STERNA_OK);
        assert_string_equal(sterna_batch_reason(b, i), gone ? "scripted failure" : "");
        assert_int_equal(sim.attempts[i], 1); /* it would not be there the next time */
    }
    assert_string_equal(sterna_batch_reason(b, 50), "");
    sterna_batch_release(&b);
    sterna_fetcher_stats(f, &stats);
    assert_int_equal(stats.errors, 5);
    assert_int_equal(stats.masked, 5);
    assert_int_equal(stats.samples, 45);
    assert_int_equal(stats.batches, 1);
    assert_int_equal(stats.bytes, 45 * 1000);
    sterna_fetcher_close(&f);
    sim_fini(&sim);
}

static void test_fetcher_recovers_from_each_kind_of_answer(void **state) {
    (void)state;
    static const struct {
        const char *name;
        struct sim_answer answer;
        int retried;
        size_t counter; /* offset of the counter that must be 100; 0: none */
    } rows[] = {
        {"twice", {SIM_TWICE, STN_NS_PER_MS, 0}, 0, offsetof(struct sterna_stats, late)},
        {"wrong key",
         {SIM_WRONG_KEY, STN_NS_PER_MS, 0},
         1,
         offsetof(struct sterna_stats, misrouted)},
        {"corrupt", {SIM_CORRUPT, STN_NS_PER_MS, 0}, 1, offsetof(struct sterna_stats, corrupt)},
        {"failed", {SIM_FAIL, STN_NS_PER_MS, STERNA_EIO}, 1, 0},
        {"never", {SIM_NEVER, 0, 0}, 1, 0},
        {"never, not even when cancelled", {SIM_DEAF, 0, 0}, 1, 0},
        {"late", {SIM_LATE, 150 * STN_NS_PER_MS, 0}, 1, 0},
        {"very late", {SIM_LATE, 5 * STN_NS_PER_S, 0}, 1, 0},
    };
    for (size_t i = 0; i < STN_COUNT(rows); i++)
        for (int unknown = 0; unknown <= 1; unknown++) {
            struct sim sim;
            struct sterna_stats stats;
            sterna_fetcher *f;
            sterna_batch *b;
            uint64_t indices[100], got;
            sim_init(&sim, 100);
            first_answer = rows[i].answer;
            n_first = 1;
            sim.answer = answer_first;
            sim.timeout_ms = 100;
            sim.lengths_unknown = unknown;
            struct sterna_fetcher_options o = sim_fetcher_options();
            o.memory_bytes = 64 << 20;
            assert_ok(sim_fetcher_open(&sim, &f, &o, NULL));
            for (uint64_t k = 0; k < 100; k++) indices[k] = k;
            assert_ok(sim_submit(&sim, f, indices, 100, &got, NULL));
            assert_ok(sim_poll(&sim, f, &got, &b, NULL));
            sim_check_fetched(&sim, b, indices, 100);
            while (sim_fetcher_advance(&sim, f)) {} /* what is still on its way arrives */
            sim_check_fetched(&sim, b, indices, 100);
            sterna_fetcher_stats(f, &stats);
            uint64_t counted =
                rows[i].counter ? *(uint64_t *)(void *)((char *)&stats + rows[i].counter) : 100;
            if (stats.retries != (rows[i].retried ? 100 : 0) || counted != 100 || stats.errors)
                fail_msg("%s: retries %llu, counted %llu", rows[i].name,
                         (unsigned long long)stats.retries, (unsigned long long)counted);
            sterna_batch_release(&b);
            sterna_fetcher_close(&f);
            sim_fini(&sim);
        }
}

static void test_fetcher_gives_up_after_max_attempts(void **state) {
    (void)state;
    static const struct {
        struct sim_answer answer;
        int code;
        const char *reason;
    } rows[] = {
        {{SIM_CORRUPT, STN_NS_PER_MS, 0}, STERNA_ECORRUPT, "checksum"},
        {{SIM_FAIL, STN_NS_PER_MS, STERNA_EIO}, STERNA_EIO, "scripted failure"},
        {{SIM_WRONG_KEY, STN_NS_PER_MS, 0}, STERNA_EPROTO, ""},
        {{SIM_NEVER, 0, 0}, STERNA_ETIMEOUT, "no answer in time"},
    };
    for (size_t i = 0; i < STN_COUNT(rows); i++) {
        struct sim sim;
        sterna_fetcher *f;
        sterna_batch *b;
        uint64_t indices[] = {5, 5}, got;
        sim_init(&sim, 10);
        first_answer = rows[i].answer;
        n_first = 4; /* three for one row, the fourth for the other */
        sim.answer = answer_first;
        struct sterna_fetcher_options o = sim_fetcher_options();
        o.max_attempts = 3;
        o.request_timeout_ms = 100;
        assert_ok(sim_fetcher_open(&sim, &f, &o, NULL));
        assert_ok(sim_submit(&sim, f, indices, 1, &got, NULL));
        assert_ok(sim_poll(&sim, f, &got, &b, NULL));
        sim_check_fetched(&sim, b, indices, 1);
        assert_int_equal(sterna_batch_errors(b)[0], rows[i].code);
        assert_non_null(strstr(sterna_batch_reason(b, 0), rows[i].reason));
        sterna_batch_release(&b);
        assert_ok(sim_submit(&sim, f, indices, 2, &got, NULL)); /* the fetcher is as good as new */
        assert_ok(sim_poll(&sim, f, &got, &b, NULL));
        sim_check_fetched(&sim, b, indices, 2);
        assert_int_equal(sterna_batch_errors(b)[0], STERNA_OK);
        sterna_batch_release(&b);
        sterna_fetcher_close(&f);
        sim_fini(&sim);
    }
}

static void test_fetcher_recovers_from_refused_requests(void **state) {
    (void)state;
    struct sim sim;
    sterna_fetcher *f;
    sterna_batch *b;
    uint64_t indices[100], got;
    sim_init(&sim, 100);
    sim.n_refusals = 3;
    start(&sim, &f);
    for (uint64_t i = 0; i < 100; i++) indices[i] = i;
    assert_ok(sim_submit(&sim, f, indices, 100, &got, NULL));
    assert_ok(sim_poll(&sim, f, &got, &b, NULL));
    sim_check_fetched(&sim, b, indices, 100);
    assert_int_equal(sim.n_refusals, 0);
    sterna_batch_release(&b);
    sterna_fetcher_close(&f);
    sim_fini(&sim);
}

static void test_fetcher_without_its_catalogue_says_so(void **state) {
    (void)state;
    struct sim sim;
    struct sterna_error err;
    sterna_fetcher *f;
    sterna_batch *b;
    uint64_t index = 1, got;
    sim_init(&sim, 10);
    sim.n_failed_lookups = 1;
    start(&sim, &f);
    assert_int_equal(sim_submit(&sim, f, &index, 1, &got, &err), STERNA_EIO);
    assert_string_equal(err.message, "scripted catalogue");
    assert_int_equal(got, 0);
    assert_int_equal(sterna_poll(f, &got, &b, 0, NULL), STERNA_END);
    assert_ok(sim_submit(&sim, f, &index, 1, &got, &err));
    sterna_fetcher_close(&f);
    sim_fini(&sim);
}

static void test_fetcher_open_verdicts(void **state) {
    (void)state;
    static const char *const none[] = {"sound"}, *const twice[] = {"image", "image"};
    struct sim sim;
    struct sterna_error err;
    sterna_fetcher *f;
    uint64_t index = 1, got;
    sim_init(&sim, 10);
    struct sterna_fetcher_options o = sim_fetcher_options();
    o.fields = none;
    o.n_fields = 1;
    assert_int_equal(sim_fetcher_open(&sim, &f, &o, &err), STERNA_ENOTFOUND);
    assert_null(f);
    o.fields = twice;
    o.n_fields = 2;
    assert_int_equal(sim_fetcher_open(&sim, &f, &o, NULL), STERNA_EINVAL);
    o.n_fields = 0;
    assert_int_equal(sim_fetcher_open(&sim, &f, &o, NULL), STERNA_EINVAL);
    o.struct_size--;
    assert_int_equal(sim_fetcher_open(&sim, &f, &o, NULL), STERNA_EINVAL);
    start(&sim, &f);
    assert_int_equal(sim_submit(&sim, f, &index, 0, &got, NULL), STERNA_EINVAL);
    sterna_fetcher_close(&f);
    sterna_fetcher_close(&f); /* NULL is fine */
    sim_fini(&sim);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fetcher_keeps_the_order_of_ids),
        cmocka_unit_test(test_fetcher_batches_come_when_they_are_complete),
        cmocka_unit_test(test_fetcher_descriptor_tells_what_poll_would),
        cmocka_unit_test(test_fetcher_labels_come_with_the_bytes),
        cmocka_unit_test(test_fetcher_has_thousands_in_flight),
        cmocka_unit_test(test_fetcher_keeps_to_the_window),
        cmocka_unit_test(test_fetcher_keeps_to_max_rate),
        cmocka_unit_test(test_fetcher_masks_rows_that_are_not_there),
        cmocka_unit_test(test_fetcher_recovers_from_each_kind_of_answer),
        cmocka_unit_test(test_fetcher_gives_up_after_max_attempts),
        cmocka_unit_test(test_fetcher_recovers_from_refused_requests),
        cmocka_unit_test(test_fetcher_without_its_catalogue_says_so),
        cmocka_unit_test(test_fetcher_open_verdicts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
