/* The loader over a store of another tool's making: no checksums, labels beside the bytes. */
#include "support/check.h"

#include <string.h>

#include "support/sim.h"

static struct sim_answer answer_corrupt(struct sim *sim, uint64_t index, unsigned attempt) {
    (void)sim, (void)index, (void)attempt;
    return (struct sim_answer){SIM_CORRUPT, STN_NS_PER_MS, 0};
}

static void test_loader_labels_come_with_the_bytes(void **state) {
    (void)state;
    for (int order = STERNA_ORDER_STRICT; order <= STERNA_ORDER_ARRIVAL; order++) {
        struct sim sim;
        unsigned seen[100] = {0};
        sterna_loader *loader;
        sterna_batch *b;
        sim_init(&sim, 100);
        sim.labels_beside = 1;
        sim_make_selection(&sim);
        struct sterna_loader_options o = sim_options();
        o.order = (enum sterna_order)order;
        assert_ok(sim_open(&sim, &loader, &o, NULL));
        while (sim_next(&sim, loader, &b, NULL) == STERNA_OK) {
            sim_check_batch(&sim, b, seen); /* labels too */
            sterna_batch_release(&b);
        }
        for (uint64_t i = 0; i < sim.n; i++) assert_int_equal(seen[i], 1);
        sterna_loader_close(&loader);
        sim_fini(&sim);
    }
}

static struct sim_answer answer_gone(struct sim *sim, uint64_t index, unsigned attempt) {
    (void)sim, (void)index, (void)attempt;
    return (struct sim_answer){SIM_FAIL, STN_NS_PER_MS, STERNA_ENOTFOUND};
}

static void test_loader_lost_sample_has_no_label(void **state) {
    (void)state;
    struct sim sim;
    sterna_loader *loader;
    sterna_batch *b;
    sim_init(&sim, 16);
    sim.labels_beside = 1;
    sim.answer = answer_gone;
    sim_make_selection(&sim);
    struct sterna_loader_options o = sim_options();
    o.on_error = STERNA_ON_ERROR_MASK;
    assert_ok(sim_open(&sim, &loader, &o, NULL));
    assert_ok(sim_next(&sim, loader, &b, NULL));
    for (int row = 0; row < 16; row++)
        assert_true(sterna_batch_labels(b)[row] == STERNA_LABEL_NONE);
    sterna_batch_release(&b);
    sterna_loader_close(&loader);
    sim_fini(&sim);
}

static void test_loader_takes_bytes_without_checksum(void **state) {
    (void)state;
    struct sim sim;
    struct sterna_stats stats;
    sterna_loader *loader;
    sterna_batch *b;
    uint64_t n_rows = 0;
    sim_init(&sim, 64);
    sim.unchecked = 1;
    sim.answer = answer_corrupt; /* nobody can know */
    sim_make_selection(&sim);
    struct sterna_loader_options o = sim_options();
    assert_ok(sim_open(&sim, &loader, &o, NULL));
    while (sim_next(&sim, loader, &b, NULL) == STERNA_OK) {
        struct sterna_batch_info info;
        sterna_batch_info(b, &info);
        n_rows += info.n_valid;
        sterna_batch_release(&b);
    }
    sterna_loader_stats(loader, &stats);
    assert_int_equal(n_rows, 64);
    assert_int_equal(stats.corrupt, 0);
    assert_int_equal(stats.retries, 0);
    sterna_loader_close(&loader);
    sim_fini(&sim);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_loader_labels_come_with_the_bytes),
        cmocka_unit_test(test_loader_lost_sample_has_no_label),
        cmocka_unit_test(test_loader_takes_bytes_without_checksum),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
