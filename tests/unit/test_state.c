#include "support/check.h"

#include <string.h>

#include "base/philox.h"
#include "request/state.h"

static uint32_t draw(uint32_t i) {
    return stn_philox4x32((struct stn_philox){{i, 7, 7, 7}}, 1, 2).v[0];
}

static struct stn_state example(uint32_t rank, uint32_t world, enum sterna_order order) {
    struct stn_state s = {.seed = 5,
                          .epoch = 2,
                          .n = 1000,
                          .shuffle = 1,
                          .order = order,
                          .batch_size = 8,
                          .rank = rank,
                          .world_size = world};
    memset(s.selection_hash, 0xAB, sizeof s.selection_hash);
    return s;
}

static void test_state_bytes_come_back_equal(void **state) {
    (void)state;
    struct stn_state s = example(1, 3, STERNA_ORDER_ARRIVAL), back;
    uint64_t *words = stn_array(2, sizeof *words);
    words[0] = 5, words[1] = 1;
    assert_ok(stn_holes_init(&s.holes, words, 2));
    s.base = 100, s.base_step = 12, s.step = 3;
    for (uint64_t row = 0; row < 90; row++)
        if (row < 20 || row % 4 == 1) stn_delivered_add(&s.delivered, row);
    uint8_t buf[4096], again[4096];
    size_t n = stn_state_encode(&s, buf, sizeof buf);
    assert_true(n < 300);
    assert_int_equal(stn_state_encode(&s, NULL, 0), n);
    assert_ok(stn_state_decode(&back, buf, n, NULL));
    assert_int_equal(stn_state_encode(&back, again, sizeof again), n);
    assert_memory_equal(buf, again, n);
    assert_int_equal(back.delivered.watermark, 20);
    assert_true(stn_delivered_has(&back.delivered, 21) && !stn_delivered_has(&back.delivered, 22));
    stn_state_fini(&s);
    stn_state_fini(&back);
}

static void test_state_full_window_stays_small(void **state) {
    (void)state;
    struct stn_state s = example(0, 1, STERNA_ORDER_ARRIVAL);
    s.n = 1000000;
    for (uint64_t row = 1; row < STN_WINDOW_ROWS; row += 2) stn_delivered_add(&s.delivered, row);
    assert_true(stn_state_encode(&s, NULL, 0) <= 2048 + 300);
}

static void test_state_info_says_when_an_epoch_is_finished(void **state) {
    (void)state;
    struct stn_state s = example(1, 3, STERNA_ORDER_ARRIVAL);
    for (s.step = 41; s.step <= 42; s.step++) { /* 1000 samples are 41 batches of 8 * 3 and a bit */
        uint8_t buf[512];
        struct sterna_state_info info;
        size_t n = stn_state_encode(&s, buf, sizeof buf);
        assert_ok(sterna_state_info(buf, n, &info, NULL));
        assert_int_equal(info.finished, s.step == 42);
        assert_int_equal(info.steps, 42);
    }
}

/* Another world took over at step 5: 880 samples are left, 55 batches for each of two ranks. */
static void test_state_info_counts_the_steps_of_all_parts(void **state) {
    (void)state;
    struct stn_state s = example(1, 2, STERNA_ORDER_STRICT);
    s.base = 120, s.base_step = 5, s.step = 7;
    uint8_t buf[512];
    struct sterna_state_info info;
    size_t n = stn_state_encode(&s, buf, sizeof buf);
    assert_ok(sterna_state_info(buf, n, &info, NULL));
    assert_int_equal(info.step, 12);
    assert_int_equal(info.steps, 60);
}

static void test_state_damage_is_refused(void **state) {
    (void)state;
    struct stn_state s = example(0, 1, STERNA_ORDER_STRICT), back;
    uint8_t buf[512], bad[512];
    size_t n = stn_state_encode(&s, buf, sizeof buf);
    for (size_t cut = 0; cut < n; cut++) {
        struct sterna_error err = {0};
        assert_int_equal(stn_state_decode(&back, buf, cut, &err), STERNA_EFORMAT);
        assert_true(err.message[0]);
    }
    for (size_t bit = 0; bit < n * 8; bit++) {
        memcpy(bad, buf, n);
        bad[bit / 8] ^= (uint8_t)(1 << (bit % 8));
        assert_int_equal(stn_state_decode(&back, bad, n, NULL), STERNA_EFORMAT);
    }
}

/* Delivers the same rows by simulation: each rank takes `taken` batches of a world, then the merged
 * state goes on with another world, and so on; every position must come exactly once. */
static void play(enum sterna_order order, const uint32_t *worlds, size_t n_worlds) {
    uint8_t seen[1000] = {0};
    struct stn_state merged = example(0, 1, order);
    for (size_t part = 0; part < n_worlds; part++) {
        uint32_t world = worlds[part];
        struct stn_state ranks[8];
        for (uint32_t r = 0; r < world; r++) {
            ranks[r] = example(r, world, order);
            ranks[r].uneven = STERNA_UNEVEN_EXACT;
            ranks[r].base = merged.base;
            ranks[r].base_step = merged.base_step;
            if (merged.holes.n_words) {
                uint64_t *copy = stn_array(merged.holes.n_words, sizeof *copy);
                memcpy(copy, merged.holes.words, merged.holes.n_words * sizeof *copy);
                assert_ok(stn_holes_init(&ranks[r].holes, copy, merged.holes.n_words));
            }
            struct stn_plan plan;
            stn_state_plan(&ranks[r], &plan);
            int last = part + 1 == n_worlds;
            uint64_t steps = last ? plan.n_steps : STN_MIN(plan.n_steps, UINT64_C(5));
            for (uint64_t k = 0; k < steps; k++) {
                uint64_t row = 0;
                for (uint32_t i = 0; i < 8 && row < plan.n_rows; row++) {
                    int skip = order == STERNA_ORDER_ARRIVAL && !last &&
                               draw((uint32_t)(row + k * 31 + r * 97)) % 3 == 0;
                    if (skip || !stn_delivered_add(&ranks[r].delivered, row)) continue;
                    seen[stn_plan_sample(&plan, row)]++;
                    i++;
                }
                ranks[r].step++;
            }
        }
        stn_state_fini(&merged);
        assert_ok(stn_state_merge(&merged, ranks, world, NULL));
        for (uint32_t r = 0; r < world; r++) stn_state_fini(&ranks[r]);
    }
    for (int i = 0; i < 1000; i++)
        if (seen[i] != 1) fail_msg("sample %d came %d times", i, seen[i]);
    assert_int_equal(merged.epoch, 3); /* all delivered: the next epoch begins */
    assert_int_equal(merged.base, 0);
    stn_state_fini(&merged);
}

static void test_state_any_world_goes_on_strict(void **state) {
    (void)state;
    play(STERNA_ORDER_STRICT, (const uint32_t[]){1, 2, 3, 1}, 4);
    play(STERNA_ORDER_STRICT, (const uint32_t[]){4, 7, 2}, 3);
}

static void test_state_any_world_goes_on_arrival(void **state) {
    (void)state;
    play(STERNA_ORDER_ARRIVAL, (const uint32_t[]){1, 2, 3, 1}, 4);
    play(STERNA_ORDER_ARRIVAL, (const uint32_t[]){4, 7, 2}, 3);
}

static void test_state_one_strict_rank_speaks_for_all(void **state) {
    (void)state;
    struct stn_state s = example(2, 4, STERNA_ORDER_STRICT), merged;
    for (uint64_t row = 0; row < 24; row++) stn_delivered_add(&s.delivered, row);
    s.step = 3;
    assert_ok(stn_state_merge(&merged, &s, 1, NULL));
    assert_int_equal(merged.base, 3 * 8 * 4);
    assert_int_equal(merged.base_step, 3);
    assert_int_equal(merged.holes.n_words, 0);
    stn_state_fini(&merged);
}

static void test_state_merge_refuses_what_does_not_fit(void **state) {
    (void)state;
    struct stn_state good = example(0, 2, STERNA_ORDER_ARRIVAL), merged;
    struct sterna_error err = {0};
    assert_int_equal(stn_state_merge(&merged, &good, 1, &err),
                     STERNA_EMISMATCH); /* rank 1 missing */
    assert_non_null(strstr(err.message, "1 of 2"));
    struct stn_state pair[2] = {good, good};
    assert_int_equal(stn_state_merge(&merged, pair, 2, NULL), STERNA_EMISMATCH); /* rank 0 twice */
    struct stn_state other = example(1, 2, STERNA_ORDER_ARRIVAL);
    pair[1] = other;
    assert_ok(stn_state_merge(&merged, pair, 2, NULL));
    pair[1].epoch++;
    assert_int_equal(stn_state_merge(&merged, pair, 2, NULL), STERNA_EMISMATCH);
    pair[1] = other, pair[1].selection_hash[3] ^= 1;
    assert_int_equal(stn_state_merge(&merged, pair, 2, NULL), STERNA_EMISMATCH);
    pair[1] = other, pair[1].world_size = 3;
    assert_int_equal(stn_state_merge(&merged, pair, 2, NULL), STERNA_EMISMATCH);
}

/* What it gives of batches is looked at in tests/sim. */
static void test_state_at_step_refuses(void **state) {
    (void)state;
    const struct stn_state strict = example(1, 3, STERNA_ORDER_STRICT);
    struct stn_state arrival = example(1, 3, STERNA_ORDER_ARRIVAL), switched = strict,
                     part = strict;
    stn_delivered_add(&switched.delivered, 5); /* by arrival, then resumed in strict order */
    part.base = 600, part.base_step = 25;      /* 400 positions: 17 steps */
    const struct {
        const struct stn_state *state;
        uint64_t step;
        size_t cap;
        const char *says; /* NULL: it is fine */
    } rows[] = {
        {&strict, 0, 512, NULL},
        {&strict, 42, 512, NULL},
        {&strict, 43, 512, "steps 0 to 42 of epoch 2"},
        {&strict, UINT64_MAX, 512, "steps 0 to 42"},
        {&strict, 7, 127, "128 bytes"},
        {&part, 24, 512, "steps 25 to 42"},
        {&part, 25, 512, NULL},
        {&part, 42, 512, NULL},
        {&part, 43, 512, "steps 25 to 42"},
        {&arrival, 0, 512, "arrival"},
        {&switched, 0, 512, "arrival"},
    };
    for (size_t i = 0; i < STN_COUNT(rows); i++) {
        struct sterna_error err = {0};
        struct sterna_state_info info;
        uint8_t buf[512];
        size_t n = stn_state_encode(rows[i].state, buf, sizeof buf), size;
        int rc = sterna_state_at_step(buf, n, rows[i].step, buf, rows[i].cap, &size, &err);
        if (rc != (rows[i].says ? STERNA_EINVAL : STERNA_OK) ||
            (rows[i].says && !strstr(err.message, rows[i].says)))
            fail_msg("row %zu: %d: %s", i, rc, err.message);
        if (rc < 0) continue;
        assert_ok(sterna_state_info(buf, size, &info, NULL));
        assert_int_equal(info.step, rows[i].step);
    }
    size_t size;
    assert_int_equal(sterna_state_at_step("", 0, 0, NULL, 0, &size, NULL), STERNA_EFORMAT);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_state_bytes_come_back_equal),
        cmocka_unit_test(test_state_full_window_stays_small),
        cmocka_unit_test(test_state_info_says_when_an_epoch_is_finished),
        cmocka_unit_test(test_state_info_counts_the_steps_of_all_parts),
        cmocka_unit_test(test_state_damage_is_refused),
        cmocka_unit_test(test_state_any_world_goes_on_strict),
        cmocka_unit_test(test_state_any_world_goes_on_arrival),
        cmocka_unit_test(test_state_one_strict_rank_speaks_for_all),
        cmocka_unit_test(test_state_merge_refuses_what_does_not_fit),
        cmocka_unit_test(test_state_at_step_refuses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
