/* The loader over a simulated store that errs: retries, policies, memory, late answers. */
#include "support/check.h"

#include <stdio.h>
#include <string.h>

#include "support/sim.h"

/* Kind of the first answer of every sample, set by the test; later ones are well. */
static struct sim_answer first_answer;
static struct sim_answer answer_first(struct sim *sim, uint64_t index, unsigned attempt) {
    (void)sim, (void)index;
    return attempt == 1 ? first_answer : (struct sim_answer){SIM_OK, STN_NS_PER_MS, 0};
}

static void read_all(struct sim *sim, const struct sterna_loader_options *o,
                     struct sterna_stats *stats, unsigned *seen) {
    sterna_loader *loader;
    sterna_batch *b;
    int rc;
    assert_ok(sim_open(sim, &loader, o, NULL));
    while ((rc = sim_next(sim, loader, &b, NULL)) == STERNA_OK) {
        sim_check_batch(sim, b, seen);
        sterna_batch_release(&b);
    }
    assert_int_equal(rc, STERNA_END);
    while (sim_advance(sim, loader)) {} /* what is still on its way arrives */
    sterna_loader_stats(loader, stats);
    sterna_loader_close(&loader);
    for (uint64_t i = 0; i < sim->n; i++) assert_int_equal(seen[i], o->epochs);
}

static void test_loader_recovers_from_each_kind_of_answer(void **state) {
    (void)state;
    static const struct {
        const char *name;
        struct sim_answer answer;
        int retried;    /* all 100 samples */
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
        for (int order = STERNA_ORDER_STRICT; order <= STERNA_ORDER_ARRIVAL; order++) {
            struct sim sim;
            struct sterna_stats stats;
            unsigned seen[100] = {0};
            sim_init(&sim, 100);
            first_answer = rows[i].answer;
            sim.answer = answer_first;
            sim.timeout_ms = 100;
            sim_make_selection(&sim);
            struct sterna_loader_options o = sim_options();
            o.order = (enum sterna_order)order;
            read_all(&sim, &o, &stats, seen);
            uint64_t counted =
                rows[i].counter ? *(uint64_t *)(void *)((char *)&stats + rows[i].counter) : 100;
            if (stats.retries != (rows[i].retried ? 100 : 0) || counted != 100 || stats.errors)
                fail_msg("%s: retries %llu, counted %llu", rows[i].name,
                         (unsigned long long)stats.retries, (unsigned long long)counted);
            sim_fini(&sim);
        }
}

/* A source without memory for a while costs attempts, and not the run. */
static void test_loader_recovers_from_refused_requests(void **state) {
    (void)state;
    for (int order = STERNA_ORDER_STRICT; order <= STERNA_ORDER_ARRIVAL; order++) {
        struct sim sim;
        struct sterna_stats stats;
        unsigned seen[100] = {0};
        sim_init(&sim, 100);
        sim.n_refusals = 3;
        sim_make_selection(&sim);
        struct sterna_loader_options o = sim_options();
        o.order = (enum sterna_order)order;
        read_all(&sim, &o, &stats, seen);
        assert_int_equal(sim.n_refusals, 0);
        assert_true(stats.retries >= 100 && stats.errors == 0);
        sim_fini(&sim);
    }
}

/* An answer that comes after its batch was handed out, and the next request uses its slot, must not
 * change a byte: all batches are kept and checked again at the end. */
static void test_loader_late_answers_change_nothing(void **state) {
    (void)state;
    struct sim sim;
    unsigned seen[200] = {0};
    sim_init(&sim, 200);
    first_answer = (struct sim_answer){SIM_LATE, 300 * STN_NS_PER_MS, 0};
    sim.answer = answer_first;
    sim.timeout_ms = 20;
    sim_make_selection(&sim);
    struct sterna_loader_options o = sim_options();
    sterna_loader *loader;
    sterna_batch *kept[13];
    assert_ok(sim_open(&sim, &loader, &o, NULL));
    for (int i = 0; i < 13; i++) assert_ok(sim_next(&sim, loader, &kept[i], NULL));
    while (sim_advance(&sim, loader)) {}
    struct sterna_stats stats;
    sterna_loader_stats(loader, &stats);
    assert_int_equal(stats.retries, 200);
    for (int i = 0; i < 13; i++) sim_check_batch(&sim, kept[i], seen);
    sterna_loader_close(&loader);
    for (int i = 0; i < 13; i++) {
        sim_check_batch(&sim, kept[i], seen); /* batches outlive the loader */
        sterna_batch_release(&kept[i]);
    }
    sim_fini(&sim);
}

/* ---- samples that cannot be had ---- */

static struct sim_answer every_tenth_is_gone(struct sim *sim, uint64_t index, unsigned attempt) {
    (void)sim, (void)attempt;
    if (index % 10 == 4) return (struct sim_answer){SIM_FAIL, STN_NS_PER_MS, STERNA_ENOTFOUND};
    return (struct sim_answer){SIM_OK, STN_NS_PER_MS, 0};
}

static void test_loader_policies_for_lost_samples(void **state) {
    (void)state;
    for (int policy = STERNA_ON_ERROR_SUBSTITUTE; policy <= STERNA_ON_ERROR_MASK; policy++) {
        struct sim sim;
        unsigned seen[100] = {0};
        sim_init(&sim, 100);
        sim.answer = every_tenth_is_gone;
        sim_make_selection(&sim);
        struct sterna_loader_options o = sim_options();
        o.on_error = (enum sterna_on_error)policy;
        sterna_loader *loader;
        sterna_batch *b;
        int rc, n_batches = 0, n_failed = 0;
        assert_ok(sim_open(&sim, &loader, &o, NULL));
        for (; (rc = sim_next(&sim, loader, &b, NULL)) == STERNA_OK; n_batches++) {
            struct sterna_batch_info info;
            struct sterna_field_view view;
            sterna_batch_info(b, &info);
            assert_int_equal(info.n_rows, 16); /* the shape never changes */
            sim_check_batch(&sim, b, seen);
            assert_ok(sterna_batch_field(b, 0, &view));
            for (uint32_t r = 0; r < 16 && n_batches < 6; r++) {
                if (!sterna_batch_errors(b)[r]) continue;
                n_failed++;
                assert_int_equal(sterna_batch_errors(b)[r], STERNA_ENOTFOUND);
                assert_int_equal(sterna_batch_valid(b)[r], policy == STERNA_ON_ERROR_SUBSTITUTE);
                if (policy == STERNA_ON_ERROR_MASK)
                    assert_null(view.data[r]);
                else
                    assert_int_not_equal(sterna_batch_index(b)[r] % 10, 4);
            }
            sterna_batch_release(&b);
        }
        assert_int_equal(rc, STERNA_END);
        assert_int_equal(n_batches, 7);
        struct sterna_stats stats;
        struct sterna_exception exceptions[20];
        sterna_loader_stats(loader, &stats);
        assert_int_equal(stats.errors, 10);
        assert_int_equal(stats.samples, 90);
        assert_int_equal(stats.substituted + stats.masked, 10);
        assert_int_equal(sterna_loader_exceptions(loader, exceptions, 20), 10);
        for (int i = 0; i < 10; i++) {
            assert_int_equal(exceptions[i].index % 10, 4);
            assert_string_equal(exceptions[i].message, "scripted failure");
        }
        sterna_loader_close(&loader);
        sim_fini(&sim);
    }
}

static void test_loader_raise_names_the_sample_in_its_turn(void **state) {
    (void)state;
    struct sim sim;
    struct sterna_error err;
    sim_init(&sim, 100);
    sim.answer = every_tenth_is_gone;
    sim_make_selection(&sim);
    struct sterna_loader_options o = sim_options();
    o.shuffle = 0;
    o.batch_size = 4; /* sample 4 is in the second batch: the first one must still come */
    sterna_loader *loader;
    sterna_batch *b;
    assert_ok(sim_open(&sim, &loader, &o, NULL));
    assert_ok(sim_next(&sim, loader, &b, NULL));
    sterna_batch_release(&b);
    assert_int_equal(sim_next(&sim, loader, &b, &err), STERNA_ENOTFOUND);
    assert_non_null(strstr(err.message, "04000000-0000-0000-c3c3")); /* its id */
    assert_non_null(strstr(err.message, "scripted failure"));
    assert_int_equal(sterna_loader_next(loader, &b, 0, NULL), STERNA_ENOTFOUND); /* final */
    sterna_loader_close(&loader);
    sim_fini(&sim);
}

static void test_loader_max_errors_ends_the_run(void **state) {
    (void)state;
    struct sim sim;
    struct sterna_error err;
    sim_init(&sim, 100);
    sim.answer = every_tenth_is_gone;
    sim_make_selection(&sim);
    struct sterna_loader_options o = sim_options();
    o.shuffle = 0;
    o.on_error = STERNA_ON_ERROR_MASK;
    o.max_errors = 3; /* 4, 14, 24 are allowed; 34 is in the third batch */
    sterna_loader *loader;
    sterna_batch *b;
    assert_ok(sim_open(&sim, &loader, &o, NULL));
    for (int i = 0; i < 2; i++) {
        assert_ok(sim_next(&sim, loader, &b, NULL));
        sterna_batch_release(&b);
    }
    assert_int_equal(sim_next(&sim, loader, &b, &err), STERNA_EERRORS);
    sterna_loader_close(&loader);
    sim_fini(&sim);
}

/* ---- memory ---- */

static uint64_t length_wild(uint64_t index) {
    return index % 17 == 5 ? 200000 : 100 + index * 37 % 3000;
}
static struct sim_answer answer_jittered(struct sim *sim, uint64_t index, unsigned attempt) {
    return (struct sim_answer){SIM_OK, sim_draw(sim, index, attempt, 50 * STN_NS_PER_MS), 0};
}

/* The smallest budget that a loader says would work does work; one byte less is refused again. */
static void test_loader_smallest_budget_is_true(void **state) {
    (void)state;
    for (int order = STERNA_ORDER_STRICT; order <= STERNA_ORDER_ARRIVAL; order++) {
        struct sim sim;
        struct sterna_stats stats;
        struct sterna_error err;
        unsigned seen[300] = {0};
        sterna_loader *loader;
        sim_init(&sim, 300);
        sim.length = length_wild;
        sim.answer = answer_jittered;
        sim_make_selection(&sim);
        struct sterna_loader_options o = sim_options();
        o.order = (enum sterna_order)order;
        o.memory_bytes = 1000;
        stn_error_clear(&err);
        assert_int_equal(sim_open(&sim, &loader, &o, &err), STERNA_EBUDGET);
        const char *number = strstr(err.message, "works is ");
        assert_non_null(number);
        uint64_t smallest = strtoull(number + strlen("works is "), NULL, 10);
        o.memory_bytes = smallest - 1;
        assert_int_equal(sim_open(&sim, &loader, &o, NULL), STERNA_EBUDGET);
        o.memory_bytes = smallest;
        read_all(&sim, &o, &stats, seen);
        assert_true(stats.memory_bytes_max <= smallest);
        sim_fini(&sim);
    }
}

/* By default a second loader has half of the memory that the first has, unless it needs more. */
static uint64_t length_of_a_share;
static uint64_t length_shared(uint64_t index) {
    (void)index;
    return length_of_a_share;
}

static void test_loader_default_budget_works_if_any_does(void **state) {
    (void)state;
    struct sterna_loader_options o = sim_options();
    uint64_t all = 0, budgets[2] = {0};
    o.batch_size = 1024;
    o.memory_bytes = 0;
    for (int round = 0; round < 2; round++) {
        struct sim sims[2];
        struct sterna_stats stats;
        sterna_loader *loaders[2];
        length_of_a_share = all * 7 / 10 / 1025; /* a batch and an escrow take 0.7 of it */
        for (int i = 0; i < 2; i++) {
            sim_init(&sims[i], 1024);
            sims[i].length = length_shared;
            sim_make_selection(&sims[i]);
            assert_ok(sim_open(&sims[i], &loaders[i], &o, NULL));
            sterna_loader_stats(loaders[i], &stats);
            budgets[i] = stats.memory_budget_bytes;
        }
        all = budgets[0];
        if (round == 0) assert_int_equal(budgets[1], all / 2);
        if (round == 1) assert_true(budgets[1] > all / 2 && budgets[1] < all);
        for (int i = 0; i < 2; i++) {
            sterna_loader_close(&loaders[i]);
            sim_fini(&sims[i]);
        }
    }
}

/* Lengths are not known and turn out far larger than expected, in a budget that holds few of them:
 * landed samples that are far ahead make room for the one that all wait for. */
static uint64_t length_growing(uint64_t index) { return index < 64 ? 500 : 300000; }

static void test_loader_unknown_lengths_never_deadlock(void **state) {
    (void)state;
    for (int order = STERNA_ORDER_STRICT; order <= STERNA_ORDER_ARRIVAL; order++)
        for (uint32_t seed = 0; seed < 20; seed++) {
            struct sim sim;
            struct sterna_stats stats;
            unsigned seen[200] = {0};
            sim_init(&sim, 200);
            sim.seed = seed;
            sim.length = seed % 2 ? length_growing : length_wild;
            sim.answer = answer_jittered;
            sim.lengths_unknown = 1;
            sim.ahead_bytes = 100 << 20;
            sim_make_selection(&sim);
            struct sterna_loader_options o = sim_options();
            o.order = (enum sterna_order)order;
            o.batch_size = 8;
            o.memory_bytes = 9 * 327680; /* eight samples of 300,000 bytes, and one */
            read_all(&sim, &o, &stats, seen);
            assert_true(stats.memory_bytes_max <= o.memory_bytes);
            sim_fini(&sim);
        }
}

/* The system has no memory for samples: they are given up when they are about to be asked for, and
 * no answer is on its way that would bring the loader back to them. */
static void *no_memory(void *ctx, size_t bytes, size_t align) {
    (void)ctx, (void)bytes, (void)align;
    return NULL;
}
static void free_nothing(void *ctx, void *p, size_t bytes) { (void)ctx, (void)p, (void)bytes; }

static void test_loader_gives_up_what_it_has_no_memory_for(void **state) {
    (void)state;
    static const struct sterna_allocator none = {no_memory, free_nothing, NULL};
    for (int order = STERNA_ORDER_STRICT; order <= STERNA_ORDER_ARRIVAL; order++) {
        struct sim sim;
        sterna_loader *loader;
        sterna_batch *b;
        int rc, n_batches = 0;
        sim_init(&sim, 20);
        sim.lengths_unknown = 1; /* so that each has memory of its own */
        sim_make_selection(&sim);
        struct sterna_loader_options o = sim_options();
        o.order = (enum sterna_order)order;
        o.on_error = STERNA_ON_ERROR_MASK;
        o.allocator = &none;
        assert_ok(sim_open(&sim, &loader, &o, NULL));
        for (; (rc = sim_next(&sim, loader, &b, NULL)) == STERNA_OK; n_batches++) {
            assert_int_equal(sterna_batch_errors(b)[0], STERNA_ENOMEM);
            assert_int_equal(sterna_batch_valid(b)[0], 0);
            sterna_batch_release(&b);
        }
        assert_int_equal(rc, STERNA_END);
        assert_int_equal(n_batches, 2);
        sterna_loader_close(&loader);
        sim_fini(&sim);
    }
}

static uint64_t large_bytes;
static uint64_t length_large(uint64_t index) {
    (void)index;
    return large_bytes;
}

static void test_loader_leases_are_named_instead_of_a_hang(void **state) {
    (void)state;
    struct sim sim;
    struct sterna_error err;
    sim_init(&sim, 1000);
    sim_make_selection(&sim);
    struct sterna_loader_options o = sim_options();
    o.memory_bytes = 80000; /* four batches of 16 KB */
    sterna_loader *loader;
    sterna_batch *held[64];
    size_t n = 0;
    assert_ok(sim_open(&sim, &loader, &o, NULL));
    int rc;
    while ((rc = sim_next(&sim, loader, &held[n], &err)) == STERNA_OK) n++;
    assert_int_equal(rc, STERNA_EBUDGET);
    assert_true(n >= 3);
    char wanted[48];
    snprintf(wanted, sizeof wanted, "%zu batches held", n);
    assert_non_null(strstr(err.message, wanted));
    sterna_batch_release(&held[0]);
    assert_ok(sim_next(&sim, loader, &held[0], &err)); /* goes on */
    for (size_t i = 0; i < n; i++) sterna_batch_release(&held[i]);
    while ((rc = sim_next(&sim, loader, &held[0], NULL)) == STERNA_OK)
        sterna_batch_release(&held[0]);
    assert_int_equal(rc, STERNA_END);
    sterna_loader_close(&loader);
    sim_fini(&sim);
}

static void test_loader_leases_are_named_whatever_waits(void **state) {
    (void)state;
    for (int order = STERNA_ORDER_STRICT; order <= STERNA_ORDER_ARRIVAL; order++)
        for (uint64_t bytes = 1000; bytes <= 300000; bytes *= 17)
            for (uint32_t seed = 0; seed < 3; seed++) {
                struct sim sim;
                struct sterna_error err;
                sim_init(&sim, 200);
                large_bytes = bytes;
                sim.length = length_large;
                sim.lengths_unknown = 1;
                sim.answer = answer_jittered;
                sim.seed = seed;
                sim_make_selection(&sim);
                struct sterna_loader_options o = sim_options();
                o.order = (enum sterna_order)order;
                o.batch_size = 4;
                o.memory_bytes = 22 * 327680;
                sterna_loader *loader;
                sterna_batch *held[51]; /* and one for the end */
                size_t n = 0;
                assert_ok(sim_open(&sim, &loader, &o, NULL));
                int rc;
                while ((rc = sim_next(&sim, loader, &held[n], &err)) == STERNA_OK) n++;
                if (rc == STERNA_EBUDGET) assert_non_null(strstr(err.message, "batches held"));
                for (size_t i = 0; i < n; i++) sterna_batch_release(&held[i]);
                sterna_loader_close(&loader);
                sim_fini(&sim);
            }
}

static void test_loader_allocates_nothing_once_warm(void **state) {
    (void)state;
    struct sim sim;
    struct sterna_stats warm, end;
    sim_init(&sim, 5000);
    sim_make_selection(&sim);
    struct sterna_loader_options o = sim_options();
    sterna_loader *loader;
    sterna_batch *b;
    assert_ok(sim_open(&sim, &loader, &o, NULL));
    for (int i = 0; i < 200; i++) {
        assert_ok(sim_next(&sim, loader, &b, NULL));
        sterna_batch_release(&b);
        if (i == 100) sterna_loader_stats(loader, &warm);
    }
    sterna_loader_stats(loader, &end);
    assert_int_equal(end.allocations, warm.allocations);
    sterna_loader_close(&loader);
    sim_fini(&sim);
}

static void test_loader_copy_is_the_contiguous_form(void **state) {
    (void)state;
    struct sim sim;
    struct sterna_field_view view;
    sim_init(&sim, 16);
    sim.length = length_wild;
    sim.lengths_unknown = 1; /* so that rows lie apart */
    sim_make_selection(&sim);
    struct sterna_loader_options o = sim_options();
    sterna_loader *loader;
    sterna_batch *b;
    uint64_t need = 0, offsets[16];
    assert_ok(sim_open(&sim, &loader, &o, NULL));
    assert_ok(sim_next(&sim, loader, &b, NULL));
    assert_ok(sterna_batch_field(b, 0, &view));
    assert_null(view.base);
    assert_int_equal(sterna_batch_copy(b, 0, NULL, 0, NULL, &need), STERNA_EINVAL);
    uint8_t *copy = stn_array(need, 1);
    assert_ok(sterna_batch_copy(b, 0, copy, need, offsets, NULL));
    for (int r = 0; r < 16; r++)
        assert_memory_equal(copy + offsets[r], view.data[r], view.bytes[r]);
    struct sterna_stats stats;
    sterna_loader_stats(loader, &stats);
    assert_int_equal(stats.copied_bytes, need);
    free(copy);
    sterna_batch_release(&b);
    sterna_loader_close(&loader);
    sim_fini(&sim);
}

static void test_loader_cancel_is_final(void **state) {
    (void)state;
    struct sim sim;
    sim_init(&sim, 100);
    sim_make_selection(&sim);
    struct sterna_loader_options o = sim_options();
    sterna_loader *loader;
    sterna_batch *b;
    assert_ok(sim_open(&sim, &loader, &o, NULL));
    assert_ok(sim_next(&sim, loader, &b, NULL));
    sterna_batch_release(&b);
    sterna_loader_cancel(loader);
    assert_int_equal(sterna_loader_next(loader, &b, -1, NULL), STERNA_ECANCELED);
    sterna_loader_close(&loader);
    sim_fini(&sim);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_loader_recovers_from_each_kind_of_answer),
        cmocka_unit_test(test_loader_recovers_from_refused_requests),
        cmocka_unit_test(test_loader_late_answers_change_nothing),
        cmocka_unit_test(test_loader_policies_for_lost_samples),
        cmocka_unit_test(test_loader_raise_names_the_sample_in_its_turn),
        cmocka_unit_test(test_loader_max_errors_ends_the_run),
        cmocka_unit_test(test_loader_smallest_budget_is_true),
        cmocka_unit_test(test_loader_default_budget_works_if_any_does),
        cmocka_unit_test(test_loader_unknown_lengths_never_deadlock),
        cmocka_unit_test(test_loader_gives_up_what_it_has_no_memory_for),
        cmocka_unit_test(test_loader_leases_are_named_instead_of_a_hang),
        cmocka_unit_test(test_loader_leases_are_named_whatever_waits),
        cmocka_unit_test(test_loader_allocates_nothing_once_warm),
        cmocka_unit_test(test_loader_copy_is_the_contiguous_form),
        cmocka_unit_test(test_loader_cancel_is_final),
    };
    const struct CMUnitTest with_buffers[] = {
        cmocka_unit_test(test_loader_recovers_from_each_kind_of_answer),
        cmocka_unit_test(test_loader_late_answers_change_nothing),
        cmocka_unit_test(test_loader_policies_for_lost_samples),
        cmocka_unit_test(test_loader_raise_names_the_sample_in_its_turn),
        cmocka_unit_test(test_loader_max_errors_ends_the_run),
        cmocka_unit_test(test_loader_allocates_nothing_once_warm),
        cmocka_unit_test(test_loader_cancel_is_final),
    };
    int bad = cmocka_run_group_tests(tests, NULL, NULL);
    sim_gives_buffers = 1;
    return bad + cmocka_run_group_tests(with_buffers, NULL, NULL);
}
