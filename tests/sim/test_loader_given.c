/* Batches in buffers that the consumer gives: which lie where, and when a buffer comes back. The
 * tests of order and of faults run with buffers, too. */
#include "support/check.h"

#include <string.h>

#include "support/sim.h"

#define BATCH_BYTES (16 * 1024) /* of 16 samples of 1000 bytes */

static int late_kind; /* how sample 5 is answered at first */
static struct sim_answer answer_late(struct sim *sim, uint64_t index, unsigned attempt) {
    (void)sim;
    if (attempt > 1 || index != 5 || late_kind == SIM_OK)
        return (struct sim_answer){SIM_OK, STN_NS_PER_MS, 0};
    return (struct sim_answer){(enum sim_kind)late_kind, 500 * STN_NS_PER_MS, 0};
}

static const uint8_t *base_of(const sterna_batch *b) {
    struct sterna_field_view view;
    assert_ok(sterna_batch_field(b, 0, &view));
    return view.base;
}

/* The buffer that the batch's run lies at the start of; SIZE_MAX: none. */
static size_t buffer_of(const struct sim *sim, const sterna_batch *b) {
    size_t i = lender_find(&sim->lender, base_of(b));
    if (i < SIZE_MAX) assert_ptr_equal(base_of(b), sim->lender.loans[i].data);
    return i;
}

static size_t n_back(struct sim *sim) { return atomic_load(&sim->lender.n_back); }

static void open_sim(struct sim *sim, uint64_t n, sterna_loader **loader,
                     const struct sterna_loader_options *o) {
    sim_init(sim, n);
    sim->answer = answer_late;
    sim->timeout_ms = 100;
    late_kind = SIM_OK;
    sim_make_selection(sim);
    assert_ok(sim_open(sim, loader, o, NULL));
}

static void end(struct sim *sim, sterna_loader **loader) {
    sterna_loader_close(loader);
    sim_fini(sim); /* all came back, once */
}

static void test_loader_buffers_are_used_in_order(void **state) {
    (void)state;
    struct sim sim;
    struct sterna_stats stats;
    struct sterna_loader_options o = sim_options();
    unsigned seen[400] = {0};
    sterna_loader *loader;
    sterna_batch *b, *kept = NULL;
    o.epochs = 2; /* of 25 batches */
    open_sim(&sim, 400, &loader, &o);
    for (int i = 0; i < 60; i++) assert_ok(lender_give(&sim.lender, loader, BATCH_BYTES));
    for (size_t i = 0; i < 50; i++) {
        assert_ok(sim_next(&sim, loader, &b, NULL));
        sim_check_batch(&sim, b, seen);
        assert_int_equal(buffer_of(&sim, b), i);
        assert_int_equal(n_back(&sim), i ? i - 1 : 0); /* one batch late, as each is kept so long */
        sterna_batch_release(&kept);
        kept = b;
    }
    sterna_loader_stats(loader, &stats);
    assert_int_equal(stats.buffers_given, 60);
    assert_int_equal(stats.buffers_used, 50);
    assert_int_equal(stats.buffers_short, 0);
    assert_int_equal(stats.allocations, 0); /* the pool was not needed */
    sterna_batch_release(&kept);
    assert_int_equal(n_back(&sim), 50);
    sterna_loader_close(&loader);
    assert_int_equal(n_back(&sim), 60);
    end(&sim, &loader);
}

static void test_loader_buffers_come_back_after_the_batch(void **state) {
    (void)state;
    struct sim sim;
    struct sterna_loader_options o = sim_options();
    unsigned seen[64] = {0};
    sterna_loader *loader;
    sterna_batch *b;
    open_sim(&sim, 64, &loader, &o);
    for (int i = 0; i < 4; i++) assert_ok(lender_give(&sim.lender, loader, BATCH_BYTES + 64));
    assert_ok(sim_next(&sim, loader, &b, NULL));
    sterna_loader_close(&loader); /* with three batches landed */
    assert_int_equal(n_back(&sim), 3);
    sterna_batch *again = sterna_batch_retain(b);
    sterna_batch_release(&b);
    sim_check_batch(&sim, again, seen);
    assert_int_equal(n_back(&sim), 3);
    sterna_batch_release(&again);
    assert_int_equal(n_back(&sim), 4);
    end(&sim, &loader);
}

/* Each buffer is for one batch: one that is too short comes back, and the next is for the next. */
static void test_loader_buffers_that_are_too_short(void **state) {
    (void)state;
    struct sim sim;
    struct sterna_stats stats;
    struct sterna_loader_options o = sim_options();
    unsigned seen[96] = {0};
    sterna_loader *loader;
    sterna_batch *b;
    open_sim(&sim, 96, &loader, &o);
    for (int i = 0; i < 5; i++)
        assert_ok(lender_give(&sim.lender, loader, i % 2 ? BATCH_BYTES - 1 : BATCH_BYTES));
    for (size_t i = 0; i < 6; i++) {
        assert_ok(sim_next(&sim, loader, &b, NULL));
        sim_check_batch(&sim, b, seen);
        assert_non_null(base_of(b));
        assert_int_equal(buffer_of(&sim, b), i % 2 || i == 5 ? SIZE_MAX : i);
        sterna_batch_release(&b);
    }
    sterna_loader_stats(loader, &stats);
    assert_int_equal(stats.buffers_used, 3);
    assert_int_equal(stats.buffers_short, 2);
    assert_int_equal(n_back(&sim), 5);
    end(&sim, &loader);
}

/* An answer that was given up may still be landing when the batch is long gone. */
static void test_loader_buffers_wait_for_late_answers(void **state) {
    (void)state;
    static const struct {
        enum sim_kind kind;
        int until_close;
    } rows[] = {{SIM_NEVER, 0}, {SIM_LATE, 0}, {SIM_DEAF, 1}};
    for (size_t i = 0; i < STN_COUNT(rows); i++) {
        struct sim sim;
        struct sterna_loader_options o = sim_options();
        unsigned seen[16] = {0};
        sterna_loader *loader;
        sterna_batch *b;
        open_sim(&sim, 16, &loader, &o);
        late_kind = (int)rows[i].kind;
        assert_ok(lender_give(&sim.lender, loader, BATCH_BYTES));
        assert_ok(sim_next(&sim, loader, &b, NULL));
        assert_null(base_of(b)); /* sample 5 has another place now */
        sim_check_batch(&sim, b, seen);
        struct sterna_field_view view;
        assert_ok(sterna_batch_field(b, 0, &view));
        for (int r = 0; r < 16; r++)
            assert_int_equal(lender_find(&sim.lender, view.data[r]),
                             sterna_batch_index(b)[r] == 5 ? SIZE_MAX : 0);
        sterna_batch_release(&b);
        if (rows[i].kind != SIM_NEVER) assert_int_equal(n_back(&sim), 0);
        while (sim_advance(&sim, loader)) {} /* it lands, and is drained */
        assert_int_equal(n_back(&sim), !rows[i].until_close);
        end(&sim, &loader);
    }
}

static int grown;
static uint64_t length_that_grows(uint64_t index) { return grown && index == 5 ? 3000 : 1000; }

/* The catalogue was wrong about one sample. */
static void test_loader_buffers_and_other_lengths(void **state) {
    (void)state;
    struct sim sim;
    struct sterna_loader_options o = sim_options();
    unsigned seen[16] = {0};
    sterna_loader *loader;
    sterna_batch *b;
    grown = 0;
    open_sim(&sim, 16, &loader, &o);
    sim.length = length_that_grows;
    grown = 1;
    assert_ok(lender_give(&sim.lender, loader, BATCH_BYTES));
    assert_ok(sim_next(&sim, loader, &b, NULL));
    sim_check_batch(&sim, b, seen);
    assert_null(base_of(b));
    assert_int_equal(n_back(&sim), 0);
    sterna_batch_release(&b);
    assert_int_equal(n_back(&sim), 1);
    end(&sim, &loader);
}

/* All of the budget is held by the consumer, who gives a buffer instead of releasing a batch. */
static void test_loader_buffers_are_outside_of_the_budget(void **state) {
    (void)state;
    struct sim sim;
    struct sterna_stats stats;
    struct sterna_loader_options o = sim_options();
    sterna_loader *loader;
    sterna_batch *held[16];
    size_t n = 0;
    int rc;
    o.memory_bytes = 80000; /* four batches of 16 KB */
    open_sim(&sim, 1000, &loader, &o);
    while ((rc = sim_next(&sim, loader, &held[n], NULL)) == STERNA_OK) n++;
    assert_int_equal(rc, STERNA_EBUDGET);
    for (int i = 0; i < 5; i++) {
        assert_ok(lender_give(&sim.lender, loader, BATCH_BYTES));
        assert_ok(sim_next(&sim, loader, &held[n], NULL));
        assert_int_equal(buffer_of(&sim, held[n++]), i);
        assert_int_equal(sim_next(&sim, loader, &held[n], NULL), STERNA_EBUDGET);
    }
    sterna_loader_stats(loader, &stats);
    assert_true(stats.memory_bytes_max <= o.memory_bytes);
    assert_int_equal(stats.leases, n);
    while (n-- > 0) sterna_batch_release(&held[n]);
    end(&sim, &loader);
}

static void refuse(sterna_loader *loader, void *data, uint64_t bytes, const char *says) {
    struct sterna_error err;
    int rc = sterna_loader_give_buffer(loader, data, bytes, (void (*)(void *))abort, NULL, &err);
    if (rc != STERNA_EINVAL || !strstr(err.message, says)) fail_msg("%d: %s", rc, err.message);
    struct sterna_stats stats;
    sterna_loader_stats(loader, &stats);
    assert_int_equal(stats.buffers_given, 0);
}

static void test_loader_buffers_are_refused(void **state) {
    (void)state;
    static uint8_t bytes[256] __attribute__((aligned(64)));
    struct sim sim;
    struct sterna_loader_options o = sim_options();
    sterna_loader *loader;
    open_sim(&sim, 16, &loader, &o);
    refuse(loader, bytes + 32, 64, "multiple of 64");
    refuse(loader, bytes, 0, "0 bytes");
    refuse(loader, NULL, 64, "multiple of 64");
    end(&sim, &loader);
    o.order = STERNA_ORDER_ARRIVAL;
    open_sim(&sim, 16, &loader, &o);
    refuse(loader, bytes, 64, "arrival");
    end(&sim, &loader);
    o = sim_options();
    sim_init(&sim, 16);
    sim.lengths_unknown = 1;
    sim_make_selection(&sim);
    assert_ok(sim_open(&sim, &loader, &o, NULL));
    refuse(loader, bytes, 64, "lengths");
    end(&sim, &loader);
}

/* Without release: memory that lasts. A batch without a byte needs none. */
static uint64_t length_0(uint64_t index) {
    (void)index;
    return 0;
}

static void test_loader_buffers_without_release(void **state) {
    (void)state;
    static uint8_t bytes[BATCH_BYTES] __attribute__((aligned(64)));
    struct sterna_loader_options o = sim_options();
    sterna_loader *loader;
    sterna_batch *b;
    for (int empty = 0; empty < 2; empty++) {
        struct sim sim;
        struct sterna_stats stats;
        sim_init(&sim, 16);
        if (empty) sim.length = length_0;
        sim_make_selection(&sim);
        assert_ok(sim_open(&sim, &loader, &o, NULL));
        assert_ok(sterna_loader_give_buffer(loader, bytes, sizeof bytes, NULL, NULL, NULL));
        assert_ok(sim_next(&sim, loader, &b, NULL));
        assert_ptr_equal(base_of(b), empty ? NULL : bytes);
        sterna_loader_stats(loader, &stats);
        assert_int_equal(stats.buffers_used, !empty);
        sterna_batch_release(&b);
        end(&sim, &loader);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_loader_buffers_are_used_in_order),
        cmocka_unit_test(test_loader_buffers_come_back_after_the_batch),
        cmocka_unit_test(test_loader_buffers_that_are_too_short),
        cmocka_unit_test(test_loader_buffers_wait_for_late_answers),
        cmocka_unit_test(test_loader_buffers_and_other_lengths),
        cmocka_unit_test(test_loader_buffers_are_outside_of_the_budget),
        cmocka_unit_test(test_loader_buffers_are_refused),
        cmocka_unit_test(test_loader_buffers_without_release),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
