/* The fetcher's memory over a simulated store: its budget, batches that are held or called off. */
#include "support/check.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "support/sim.h"

#define BLOCK_BYTES 16384 /* what sixteen samples of 1000 bytes take, each at a multiple of 64 */

static int is_readable(sterna_fetcher *f) {
    struct pollfd fd = {sterna_fetcher_fd(f), POLLIN, 0};
    return poll(&fd, 1, 0) == 1;
}

static const uint64_t *count_up(uint64_t first) { /* sixteen numbers */
    static uint64_t indices[16];
    for (uint64_t i = 0; i < 16; i++) indices[i] = first + i;
    return indices;
}

static void open_with(struct sim *sim, sterna_fetcher **f, uint64_t memory_bytes) {
    struct sterna_fetcher_options o = sim_fetcher_options();
    o.memory_bytes = memory_bytes;
    assert_ok(sim_fetcher_open(sim, f, &o, NULL));
}

static struct sterna_stats stats_of(sterna_fetcher *f) {
    struct sterna_stats stats;
    sterna_fetcher_stats(f, &stats);
    return stats;
}

static uint64_t submit(struct sim *sim, sterna_fetcher *f, uint64_t first) {
    uint64_t ticket;
    assert_ok(sim_submit(sim, f, count_up(first), 16, &ticket, NULL));
    return ticket;
}

/* ---- the budget ---- */

static void test_fetcher_refuses_what_can_never_fit(void **state) {
    (void)state;
    struct sim sim;
    struct sterna_error err;
    sterna_fetcher *f;
    sterna_batch *b;
    uint64_t got, indices[17] = {0};
    sim_init(&sim, 100);
    open_with(&sim, &f, BLOCK_BYTES);
    assert_int_equal(sim_submit(&sim, f, indices, 17, &got, &err), STERNA_EBUDGET);
    assert_non_null(strstr(err.message, "18432")); /* the next size that blocks have */
    assert_non_null(strstr(err.message, "16384"));
    assert_int_equal(sterna_poll(f, &got, &b, 0, NULL), STERNA_END);
    submit(&sim, f, 0); /* exactly as much as there is */
    assert_ok(sim_poll(&sim, f, &got, &b, NULL));
    sim_check_fetched(&sim, b, count_up(0), 16);
    sterna_batch_release(&b);
    assert_int_equal(stats_of(f).memory_bytes_max, BLOCK_BYTES);
    sterna_fetcher_close(&f);
    sim_fini(&sim);
}

/* What does not fit waits, and what was submitted later does not get its memory, though it would
 * fit. */
static void test_fetcher_memory_goes_to_the_first_submitted(void **state) {
    (void)state;
    struct sim sim;
    sterna_fetcher *f;
    sterna_batch *b;
    uint64_t tickets[5], got, one = 90;
    sim_init(&sim, 100);
    open_with(&sim, &f, BLOCK_BYTES + 8192); /* one and a half */
    for (int i = 0; i < 4; i++) tickets[i] = submit(&sim, f, 16 * (uint64_t)i);
    assert_ok(sim_submit(&sim, f, &one, 1, &tickets[4], NULL));
    assert_int_equal(stats_of(f).in_flight, 16);
    for (int i = 0; i < 5; i++) {
        assert_ok(sim_poll(&sim, f, &got, &b, NULL));
        assert_int_equal(got, tickets[i]);
        sterna_batch_release(&b);
    }
    assert_int_equal(sim_poll(&sim, f, &got, &b, NULL), STERNA_END);
    assert_true(stats_of(f).memory_bytes_max <= BLOCK_BYTES + 8192);
    sterna_fetcher_close(&f);
    sim_fini(&sim);
}

static void test_fetcher_names_leases_instead_of_a_hang(void **state) {
    (void)state;
    struct sim sim;
    struct sterna_error err;
    sterna_fetcher *f;
    sterna_batch *held[3], *b;
    uint64_t got;
    sim_init(&sim, 100);
    open_with(&sim, &f, 3 * BLOCK_BYTES);
    for (int i = 0; i < 5; i++) submit(&sim, f, 16 * (uint64_t)i);
    for (int i = 0; i < 3; i++) assert_ok(sim_poll(&sim, f, &got, &held[i], NULL));
    for (int again = 0; again < 2; again++) {
        assert_int_equal(sim_poll(&sim, f, &got, &b, &err), STERNA_EBUDGET);
        assert_non_null(strstr(err.message, "3 batches held"));
        assert_int_equal(got, 0);
        assert_null(b);
        assert_true(is_readable(f));
    }
    sterna_batch_release(&held[1]);
    assert_ok(sim_poll(&sim, f, &got, &held[1], NULL)); /* goes on */
    assert_int_equal(got, 4);
    sim_check_fetched(&sim, held[1], count_up(48), 16);
    assert_int_equal(sim_poll(&sim, f, &got, &b, NULL), STERNA_EBUDGET);
    for (int i = 0; i < 3; i++) sterna_batch_release(&held[i]);
    assert_ok(sim_poll(&sim, f, &got, &b, NULL));
    sterna_batch_release(&b);
    assert_int_equal(sim_poll(&sim, f, &got, &b, NULL), STERNA_END);
    assert_false(is_readable(f));
    sterna_fetcher_close(&f);
    sim_fini(&sim);
}

static void test_fetcher_allocates_nothing_once_warm(void **state) {
    (void)state;
    struct sim sim;
    sterna_fetcher *f;
    sterna_batch *b;
    uint64_t got, warm = 0;
    sim_init(&sim, 100);
    open_with(&sim, &f, 4 << 20);
    for (uint64_t i = 0; i < 500; i++) {
        for (int k = 0; k < 4; k++) submit(&sim, f, i % 80);
        for (int k = 0; k < 4; k++) {
            assert_ok(sim_poll(&sim, f, &got, &b, NULL));
            sterna_batch_release(&b);
        }
        if (i == 10) warm = stats_of(f).allocations;
    }
    assert_int_equal(stats_of(f).allocations, warm);
    sterna_fetcher_close(&f);
    sim_fini(&sim);
}

/* ---- lengths that are not known ---- */

static struct sim_answer answer_jittered(struct sim *sim, uint64_t index, unsigned attempt) {
    return (struct sim_answer){SIM_OK, sim_draw(sim, index, attempt, 50 * STN_NS_PER_MS), 0};
}
static uint64_t length_wild(uint64_t index) {
    return index % 17 == 5 ? 200000 : 100 + index * 37 % 3000;
}
static uint64_t length_growing(uint64_t index) { return index < 64 ? 500 : 300000; }

/* They turn out far larger than expected, in a budget that holds few of them: rows that have landed
 * make room for the batch that was submitted first. */
static void test_fetcher_unknown_lengths_never_deadlock(void **state) {
    (void)state;
    for (uint32_t seed = 0; seed < 40; seed++) {
        struct sim sim;
        sterna_fetcher *f;
        sterna_batch *b;
        uint64_t got, indices[256], n = 0;
        sim_init(&sim, 256);
        sim.seed = seed;
        sim.length = seed % 2 ? length_growing : length_wild;
        sim.answer = answer_jittered;
        sim.lengths_unknown = 1;
        sim.ahead_bytes = 100 << 20;
        open_with(&sim, &f, 9 * 327680); /* eight samples of 300,000 bytes, and one */
        for (uint64_t i = 0; i < 256; i++) indices[i] = i;
        for (uint64_t i = 0; i < 256; i += 8)
            assert_ok(sim_submit(&sim, f, indices + i, 8, &got, NULL));
        for (; sim_poll(&sim, f, &got, &b, NULL) == STERNA_OK; n++) {
            struct sterna_batch_info info;
            sterna_batch_info(b, &info);
            assert_int_equal(info.n_valid, 8);
            sim_check_fetched(&sim, b, indices + (got - 1) * 8, 8);
            sterna_batch_release(&b);
        }
        assert_int_equal(n, 32);
        assert_true(stats_of(f).memory_bytes_max <= 9 * 327680);
        sterna_fetcher_close(&f);
        sim_fini(&sim);
    }
}

static uint64_t length_large(uint64_t index) {
    (void)index;
    return 300000;
}

/* A batch whose rows turn out larger together than all memory: those that fit, and an error for the
 * others. The next one is not harmed. */
static void test_fetcher_rows_that_never_fit_are_masked(void **state) {
    (void)state;
    struct sim sim;
    sterna_fetcher *f;
    sterna_batch *b;
    uint64_t got, tickets[2], n_given_up = 0;
    sim_init(&sim, 100);
    sim.length = length_large;
    sim.lengths_unknown = 1;
    open_with(&sim, &f, 4 * 327680);
    tickets[0] = submit(&sim, f, 0);
    assert_ok(sim_submit(&sim, f, count_up(40), 4, &tickets[1], NULL));
    assert_ok(sim_poll(&sim, f, &got, &b, NULL));
    assert_int_equal(got, tickets[0]);
    sim_check_fetched(&sim, b, count_up(0), 16);
    for (uint32_t i = 0; i < 16; i++) {
        if (sterna_batch_errors(b)[i] == STERNA_OK) continue;
        assert_int_equal(sterna_batch_errors(b)[i], STERNA_EBUDGET);
        assert_non_null(strstr(sterna_batch_reason(b, i), "memory budget"));
        n_given_up++;
    }
    assert_int_equal(n_given_up, 12);
    sterna_batch_release(&b);
    assert_ok(sim_poll(&sim, f, &got, &b, NULL));
    sim_check_fetched(&sim, b, count_up(40), 4);
    struct sterna_batch_info info;
    sterna_batch_info(b, &info);
    assert_int_equal(info.n_valid, 4);
    sterna_batch_release(&b);
    sterna_fetcher_close(&f);
    sim_fini(&sim);
}

/* The catalogue is older than the bytes: a row does not fit its place in the batch's run. */
static int older_lookup(void *ctx, const uint8_t (*ids)[16], size_t n, int64_t *labels,
                        uint32_t *lengths, struct sterna_error *err) {
    (void)ctx, (void)ids, (void)err;
    for (size_t i = 0; i < n; i++) {
        labels[i] = STERNA_LABEL_NONE;
        lengths[i] = 1000;
    }
    return STERNA_OK;
}
static uint64_t length_mostly_1000(uint64_t index) { return index % 5 == 2 ? 3000 : 1000; }

static void test_fetcher_takes_other_lengths_than_listed(void **state) {
    (void)state;
    struct sim sim;
    sterna_fetcher *f;
    sterna_batch *b;
    uint64_t got;
    sim_init(&sim, 100);
    sim.length = length_mostly_1000;
    sim.labels_beside = 1;
    open_with(&sim, &f, 1 << 20);
    f->env.look_up = older_lookup;
    submit(&sim, f, 0);
    assert_ok(sim_poll(&sim, f, &got, &b, NULL));
    for (uint32_t i = 0; i < 16; i++) assert_int_equal(sterna_batch_errors(b)[i], STERNA_OK);
    struct sterna_field_view view;
    assert_ok(sterna_batch_field(b, 0, &view));
    assert_null(view.base);
    for (uint32_t i = 0; i < 16; i++) assert_int_equal(view.bytes[i], sim.length(i));
    sterna_batch_release(&b);
    sterna_fetcher_close(&f);
    sim_fini(&sim);
}

/* ---- called off ---- */

static struct sim_answer answer_slowly(struct sim *sim, uint64_t index, unsigned attempt) {
    (void)sim, (void)index, (void)attempt;
    return (struct sim_answer){SIM_OK, (1 + index) * STN_NS_PER_MS, 0};
}

/* At every moment of its way. */
static void test_fetcher_cancel_at_any_time(void **state) {
    (void)state;
    for (int unknown = 0; unknown <= 1; unknown++)
        for (int moment = 0; moment < 40; moment++) {
            struct sim sim;
            sterna_fetcher *f;
            sterna_batch *b;
            uint64_t got, tickets[3];
            sim_init(&sim, 100);
            sim.answer = answer_slowly;
            sim.lengths_unknown = unknown;
            open_with(&sim, &f, unknown ? 16 * 131072 * 2 : 2 * BLOCK_BYTES); /* one has to wait */
            for (int i = 0; i < 3; i++) tickets[i] = submit(&sim, f, 0);
            for (int i = 0; i < moment; i++) sim_fetcher_advance(&sim, f);
            int off = moment % 3;
            sterna_fetcher_cancel(f, tickets[off]);
            sterna_fetcher_cancel(f, tickets[off]); /* is gone */
            sterna_fetcher_cancel(f, 12345);        /* never was */
            for (int i = 0; i < 2; i++) {
                assert_ok(sim_poll(&sim, f, &got, &b, NULL));
                assert_int_not_equal(got, tickets[off]);
                sim_check_fetched(&sim, b, count_up(0), 16);
                sterna_batch_release(&b);
            }
            assert_int_equal(sim_poll(&sim, f, &got, &b, NULL), STERNA_END);
            while (sim_fetcher_advance(&sim, f)) {}
            assert_int_equal(stats_of(f).in_flight, 0);
            assert_int_equal(stats_of(f).leases, 0);
            sterna_fetcher_close(&f);
            sim_fini(&sim);
        }
}

static struct sim_answer answer_deaf(struct sim *sim, uint64_t index, unsigned attempt) {
    (void)sim, (void)attempt;
    if (index < 16) return (struct sim_answer){SIM_LATE, STN_NS_PER_S, 0};
    return (struct sim_answer){SIM_OK, STN_NS_PER_MS, 0};
}

/* The source still writes to the places of a batch that was called off: they are not given to
 * others before it is done. */
static void test_fetcher_memory_comes_back_when_the_source_lets_go(void **state) {
    (void)state;
    struct sim sim;
    sterna_fetcher *f;
    sterna_batch *b;
    uint64_t got;
    sim_init(&sim, 100);
    sim.answer = answer_deaf;
    open_with(&sim, &f, BLOCK_BYTES);
    sterna_fetcher_cancel(f, submit(&sim, f, 0));
    assert_int_equal(sterna_poll(f, &got, &b, 0, NULL), STERNA_END);
    uint64_t begun_ns = sim.now_ns;
    submit(&sim, f, 32);
    assert_int_equal(stats_of(f).in_flight, 0); /* it has to wait */
    assert_int_equal(sterna_poll(f, &got, &b, 0, NULL),
                     STERNA_AGAIN); /* and nobody holds a thing */
    assert_ok(sim_poll(&sim, f, &got, &b, NULL));
    assert_true(sim.now_ns - begun_ns >= STN_NS_PER_S);
    sim_check_fetched(&sim, b, count_up(32), 16);
    sterna_batch_release(&b);
    assert_int_equal(stats_of(f).late, 0);
    sterna_fetcher_close(&f);
    sim_fini(&sim);
}

/* ---- closed ---- */

static void test_fetcher_close_at_any_time(void **state) {
    (void)state;
    for (int unknown = 0; unknown <= 1; unknown++)
        for (int moment = 0; moment < 40; moment++) {
            struct sim sim;
            sterna_fetcher *f;
            sterna_batch *held = NULL;
            uint64_t got;
            sim_init(&sim, 100);
            sim.answer = answer_slowly;
            sim.lengths_unknown = unknown;
            open_with(&sim, &f, unknown ? 16 * 131072 * 2 : 2 * BLOCK_BYTES);
            submit(&sim, f, 0);
            submit(&sim, f, 16);
            for (int i = 0; i < moment; i++) sim_fetcher_advance(&sim, f);
            sterna_poll(f, &got, &held, 0, NULL);
            submit(&sim, f, 32);
            sterna_fetcher_close(&f);
            assert_null(f);
            if (held) sim_check_fetched(&sim, held, count_up(0), 16); /* it outlives the fetcher */
            sterna_batch_release(&held);
            sim_fini(&sim);
        }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fetcher_refuses_what_can_never_fit),
        cmocka_unit_test(test_fetcher_memory_goes_to_the_first_submitted),
        cmocka_unit_test(test_fetcher_names_leases_instead_of_a_hang),
        cmocka_unit_test(test_fetcher_allocates_nothing_once_warm),
        cmocka_unit_test(test_fetcher_unknown_lengths_never_deadlock),
        cmocka_unit_test(test_fetcher_rows_that_never_fit_are_masked),
        cmocka_unit_test(test_fetcher_takes_other_lengths_than_listed),
        cmocka_unit_test(test_fetcher_cancel_at_any_time),
        cmocka_unit_test(test_fetcher_memory_comes_back_when_the_source_lets_go),
        cmocka_unit_test(test_fetcher_close_at_any_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
