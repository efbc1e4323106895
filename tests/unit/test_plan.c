#include "support/check.h"

#include <string.h>

#include "request/plan.h"

/* Marks what all ranks of a plan deliver; returns how many rows they have in all. */
static uint64_t deliver_all(const struct stn_plan_spec *spec, uint8_t *seen) {
    uint64_t rows = 0, steps = UINT64_MAX;
    for (uint32_t rank = 0; rank < spec->world_size; rank++) {
        struct stn_plan_spec mine = *spec;
        struct stn_plan plan;
        mine.rank = rank;
        stn_plan_init(&plan, &mine);
        for (uint64_t row = 0; row < plan.n_rows; row++) seen[stn_plan_sample(&plan, row)]++;
        rows += plan.n_rows;
        if (spec->uneven != STERNA_UNEVEN_EXACT && steps != UINT64_MAX)
            assert_int_equal(plan.n_steps, steps); /* all ranks alike */
        steps = plan.n_steps;
    }
    return rows;
}

static void test_plan_ranks_share_the_epoch_exactly(void **state) {
    (void)state;
    static const uint64_t sizes[] = {1, 2, 5, 16, 17, 100, 257, 1000};
    static const uint32_t worlds[] = {1, 2, 3, 7, 8}, batches[] = {1, 2, 5, 64};
    for (size_t s = 0; s < STN_COUNT(sizes); s++)
        for (size_t w = 0; w < STN_COUNT(worlds); w++)
            for (size_t b = 0; b < STN_COUNT(batches); b++)
                for (int uneven = STERNA_UNEVEN_PAD; uneven <= STERNA_UNEVEN_EXACT; uneven++) {
                    struct stn_plan_spec spec = {.n = sizes[s],
                                                 .seed = 9,
                                                 .epoch = 1,
                                                 .shuffle = 1,
                                                 .batch_size = batches[b],
                                                 .world_size = worlds[w],
                                                 .uneven = (enum sterna_uneven)uneven};
                    uint8_t seen[1000] = {0};
                    uint64_t width = (uint64_t)batches[b] * worlds[w],
                             got = deliver_all(&spec, seen);
                    uint64_t want =
                        uneven == STERNA_UNEVEN_DROP ? sizes[s] / width * width : sizes[s];
                    uint64_t distinct = 0;
                    for (uint64_t i = 0; i < sizes[s]; i++) {
                        assert_true(seen[i] <= 1);
                        distinct += seen[i];
                    }
                    assert_int_equal(got, want);
                    assert_int_equal(distinct, want);
                }
}

static void test_plan_global_batch_is_a_run_of_positions(void **state) {
    (void)state;
    struct stn_plan_spec spec = {.n = 100, .batch_size = 4, .world_size = 3, .rank = 1};
    struct stn_plan plan; /* no shuffle: sample = position */
    stn_plan_init(&plan, &spec);
    for (uint64_t batch = 0; batch < 5; batch++)
        for (uint64_t i = 0; i < 4; i++)
            assert_int_equal(stn_plan_sample(&plan, batch * 4 + i), batch * 12 + i * 3 + 1);
}

static void test_plan_padding_repeats_real_samples(void **state) {
    (void)state;
    struct stn_plan_spec spec = {.n = 5, .batch_size = 4, .world_size = 3, .rank = 2};
    struct stn_plan plan;
    stn_plan_init(&plan, &spec);
    assert_int_equal(plan.n_steps, 1);
    assert_int_equal(plan.n_rows, 1); /* position 2 */
    for (uint64_t row = 0; row < 4; row++) assert_true(stn_plan_sample(&plan, row) < 5);
    assert_int_equal(stn_plan_own(&plan, 0), 1);
    assert_int_equal(stn_plan_width(&plan, 1), 4);
}

static void test_plan_holes_are_left_out(void **state) {
    (void)state;
    uint64_t *words = stn_array(3, sizeof *words);
    struct stn_holes holes;
    uint8_t delivered[300] = {0}, seen[300] = {0};
    for (uint64_t i = 0; i < 192; i++) {
        int hole = i % 3 == 0 || (i >= 64 && i < 128); /* one word is full */
        if (hole) words[i / 64] |= UINT64_C(1) << (i % 64);
        delivered[50 + i] = (uint8_t)hole;
    }
    memset(delivered, 1, 50);
    assert_ok(stn_holes_init(&holes, words, 3));
    struct stn_plan_spec spec = {.n = 300,
                                 .batch_size = 7,
                                 .world_size = 4,
                                 .base = 50,
                                 .holes = &holes,
                                 .uneven = STERNA_UNEVEN_EXACT};
    deliver_all(&spec, seen);
    for (int i = 0; i < 300; i++)
        if (seen[i] == delivered[i]) fail_msg("position %d: %d", i, seen[i]);
    stn_holes_fini(&holes);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plan_ranks_share_the_epoch_exactly),
        cmocka_unit_test(test_plan_global_batch_is_a_run_of_positions),
        cmocka_unit_test(test_plan_padding_repeats_real_samples),
        cmocka_unit_test(test_plan_holes_are_left_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
