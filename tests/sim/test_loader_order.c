/* The loader over a simulated store: order, exactly once, epochs, ranks, resuming. */
#include "support/check.h"

#include <string.h>

#include "support/sim.h"

static struct sim_answer answer_jittered(struct sim *sim, uint64_t index, unsigned attempt) {
    return (struct sim_answer){SIM_OK, sim_draw(sim, index, attempt, 50 * STN_NS_PER_MS), 0};
}

/* A network on a bad day: of ten answers two are wrong, two fail, one comes twice, one never. */
static struct sim_answer answer_badly(struct sim *sim, uint64_t index, unsigned attempt) {
    static const enum sim_kind kinds[10] = {SIM_OK,      SIM_OK,    SIM_OK,   SIM_OK,
                                            SIM_TWICE,   SIM_NEVER, SIM_FAIL, SIM_WRONG_KEY,
                                            SIM_CORRUPT, SIM_LATE};
    struct sim_answer a = {kinds[sim_draw(sim, index, attempt, 10)],
                           sim_draw(sim, index, attempt + 100, 30 * STN_NS_PER_MS), STERNA_EIO};
    if (attempt >= 4) a.kind = SIM_OK;
    if (a.kind == SIM_LATE) a.delay_ns += 400 * STN_NS_PER_MS; /* after the time-out */
    return a;
}

static uint64_t length_varied(uint64_t index) {
    return index % 11 == 3 ? 0 : 1 + index * 7919 % 5000;
}

static void check_seen(const unsigned *seen, uint64_t n, unsigned want) {
    for (uint64_t i = 0; i < n; i++)
        if (seen[i] != want)
            fail_msg("sample %llu came %u times, not %u", (unsigned long long)i, seen[i], want);
}

/* Reads all, checking each batch against the plan; returns how many came. */
static uint64_t read_planned(struct sim *sim, const struct sterna_loader_options *o,
                             unsigned *seen) {
    sterna_loader *loader;
    sterna_batch *b;
    uint64_t n_batches = 0, want[16];
    uint8_t valid[16];
    uint32_t n_rows;
    int rc;
    assert_ok(sim_open(sim, &loader, o, NULL));
    while ((rc = sim_next(sim, loader, &b, NULL)) == STERNA_OK) {
        struct sterna_batch_info info;
        sterna_batch_info(b, &info);
        assert_ok(sterna_plan_batch(o, sim->n, info.epoch, info.step, want, valid, &n_rows, NULL));
        assert_int_equal(info.n_rows, n_rows);
        assert_memory_equal(sterna_batch_index(b), want, n_rows * sizeof *want);
        assert_memory_equal(sterna_batch_valid(b), valid, n_rows);
        sim_check_batch(sim, b, seen);
        sterna_batch_release(&b);
        n_batches++;
    }
    assert_int_equal(rc, STERNA_END);
    assert_int_equal(sterna_loader_next(loader, &b, 0, NULL), STERNA_END); /* and stays so */
    struct sterna_stats stats;
    sterna_loader_stats(loader, &stats);
    assert_int_equal(stats.duplicates + stats.missing + stats.errors, 0);
    assert_int_equal(stats.batches, n_batches);
    assert_true(stats.memory_bytes_max <= stats.memory_budget_bytes);
    sterna_loader_close(&loader);
    return n_batches;
}

static void test_loader_strict_is_the_plan(void **state) {
    (void)state;
    static const struct {
        const char *name;
        struct sim_answer (*answer)(struct sim *, uint64_t, unsigned);
        int unknown;
    } rows[] = {
        {"all at once", NULL, 0},
        {"out of order", answer_jittered, 0},
        {"out of order, lengths unknown", answer_jittered, 1},
        {"badly", answer_badly, 0},
        {"badly, lengths unknown", answer_badly, 1},
    };
    for (size_t i = 0; i < STN_COUNT(rows); i++) {
        struct sim sim;
        unsigned seen[1000] = {0};
        sim_init(&sim, 1000);
        if (rows[i].answer) sim.answer = rows[i].answer;
        sim.length = length_varied;
        sim.lengths_unknown = rows[i].unknown;
        sim.timeout_ms = 100;
        sim_make_selection(&sim);
        struct sterna_loader_options o = sim_options();
        o.epochs = 3;
        assert_int_equal(read_planned(&sim, &o, seen), 3 * 63);
        check_seen(seen, 1000, 3);
        sim_fini(&sim);
    }
}

static void test_loader_uneven_ends_on_all_ranks(void **state) {
    (void)state;
    static const uint64_t sizes[] = {0, 1, 5, 16, 33, 64, 100};
    for (size_t s = 0; s < STN_COUNT(sizes); s++)
        for (uint32_t world = 1; world <= 4; world++)
            for (int uneven = STERNA_UNEVEN_PAD; uneven <= STERNA_UNEVEN_EXACT; uneven++) {
                struct sim sim;
                unsigned seen[100] = {0}, total = 0;
                sim_init(&sim, sizes[s]);
                sim_make_selection(&sim);
                uint64_t first_steps = 0;
                for (uint32_t rank = 0; rank < world; rank++) {
                    struct sterna_loader_options o = sim_options();
                    o.world_size = world;
                    o.rank = rank;
                    o.uneven = (enum sterna_uneven)uneven;
                    o.epochs = 2;
                    uint64_t steps = read_planned(&sim, &o, seen);
                    if (rank == 0) first_steps = steps;
                    if (uneven != STERNA_UNEVEN_EXACT) assert_int_equal(steps, first_steps);
                }
                for (uint64_t i = 0; i < sizes[s]; i++) total += seen[i];
                uint64_t width = 16 * world, whole = sizes[s] / width * width;
                assert_int_equal(total, 2 * (uneven == STERNA_UNEVEN_DROP ? whole : sizes[s]));
                if (uneven != STERNA_UNEVEN_DROP) check_seen(seen, sizes[s], 2);
                sim_fini(&sim);
            }
}

static void test_loader_arrival_is_exactly_once(void **state) {
    (void)state;
    for (int unknown = 0; unknown <= 1; unknown++) {
        struct sim sim;
        unsigned seen[3000] = {0};
        sim_init(&sim, 3000);
        sim.answer = answer_badly;
        sim.length = length_varied;
        sim.lengths_unknown = unknown;
        sim.timeout_ms = 100;
        sim_make_selection(&sim);
        struct sterna_loader_options o = sim_options();
        o.order = STERNA_ORDER_ARRIVAL;
        o.epochs = 2;
        sterna_loader *loader;
        sterna_batch *b;
        uint64_t planned[16], out_of_plan = 0, epoch = 0;
        uint8_t valid[16];
        uint32_t n_rows;
        assert_ok(sim_open(&sim, &loader, &o, NULL));
        int rc;
        while ((rc = sim_next(&sim, loader, &b, NULL)) == STERNA_OK) {
            struct sterna_batch_info info;
            sterna_batch_info(b, &info);
            if (info.epoch != epoch) check_seen(seen, 3000, 1); /* batches never cross the border */
            epoch = info.epoch;
            struct sterna_loader_options strict = o;
            assert_ok(sterna_plan_batch(&strict, 3000, info.epoch, info.step, planned, valid,
                                        &n_rows, NULL));
            out_of_plan += memcmp(planned, sterna_batch_index(b), sizeof planned) != 0;
            assert_int_equal(info.n_rows, 16);
            sim_check_batch(&sim, b, seen);
            sterna_batch_release(&b);
        }
        assert_int_equal(rc, STERNA_END);
        check_seen(seen, 3000, 2);
        assert_true(out_of_plan > 100);
        sterna_loader_close(&loader);
        sim_fini(&sim);
    }
}

/* Requests cross an epoch's border: while the last answer of epoch 0 is missing, epoch 1 is asked.
 */
static struct sim_answer last_one_late(struct sim *sim, uint64_t index, unsigned attempt) {
    (void)sim;
    return (struct sim_answer){SIM_OK, index == 63 && attempt == 1 ? STN_NS_PER_S : STN_NS_PER_MS,
                               0};
}

static void test_loader_requests_cross_the_border(void **state) {
    (void)state;
    struct sim sim;
    sim_init(&sim, 64);
    sim.answer = last_one_late;
    sim_make_selection(&sim);
    struct sterna_loader_options o = sim_options();
    o.shuffle = 0;
    o.epochs = 3;
    sterna_loader *loader;
    sterna_batch *b;
    assert_ok(sim_open(&sim, &loader, &o, NULL));
    for (int i = 0; i < 3; i++) {
        assert_ok(sim_next(&sim, loader, &b, NULL));
        sterna_batch_release(&b);
    }
    while (sim.now_ns < STN_NS_PER_S + 500 * STN_NS_PER_MS && sim_advance(&sim, loader)) {}
    assert_int_equal(sim.attempts[0], 3); /* all three epochs have been asked for */
    assert_ok(sim_next(&sim, loader, &b, NULL));
    struct sterna_batch_info info;
    sterna_batch_info(b, &info);
    assert_int_equal(info.epoch, 0);
    assert_int_equal(info.last_in_epoch, 1);
    assert_int_equal(sterna_batch_index(b)[15], 63);
    sterna_batch_release(&b);
    sterna_loader_close(&loader);
    sim_fini(&sim);
}

/* ---- resuming ---- */

struct saved {
    uint8_t bytes[8192];
    size_t size;
};

/* Reads at most `n_batches` more batches from where `state` stands, and leaves it there. */
static int go_on(struct sim *sim, struct sterna_loader_options o, struct saved *state,
                 uint64_t n_batches, uint64_t epochs_left, unsigned *seen, uint64_t *trace,
                 size_t *n_trace) {
    sterna_loader *loader;
    sterna_batch *b;
    struct saved before = *state;
    o.epochs = epochs_left;
    if (before.size) {
        o.state = before.bytes;
        o.state_bytes = before.size;
    }
    assert_ok(sim_open(sim, &loader, &o, NULL));
    int rc = STERNA_OK;
    for (uint64_t i = 0; i < n_batches && (rc = sim_next(sim, loader, &b, NULL)) == STERNA_OK;
         i++) {
        struct sterna_batch_info info;
        sterna_batch_info(b, &info);
        sim_check_batch(sim, b, seen);
        for (uint32_t r = 0; trace && r < info.n_rows; r++)
            if (sterna_batch_valid(b)[r])
                trace[(*n_trace)++] = info.epoch << 32 | sterna_batch_index(b)[r];
        assert_ok(sterna_batch_state(b, state->bytes, sizeof state->bytes, &state->size));
        sterna_batch_release(&b);
    }
    if (!state->size)
        assert_ok(sterna_loader_state(loader, state->bytes, sizeof state->bytes, &state->size));
    sterna_loader_close(&loader);
    return rc;
}

static void test_loader_resume_at_every_batch_strict(void **state) {
    (void)state;
    struct sim sim;
    sim_init(&sim, 150);
    sim.answer = answer_badly;
    sim.timeout_ms = 100;
    sim_make_selection(&sim);
    uint64_t whole[400], parts[400];
    for (uint64_t k = 1; k <= 21; k++) { /* two epochs of 10 batches, and past the border */
        size_t n_whole = 0, n_parts = 0;
        unsigned seen[150] = {0};
        struct saved s = {.size = 0};
        memset(sim.attempts, 0, 150 * sizeof *sim.attempts);
        go_on(&sim, sim_options(), &s, UINT64_MAX, 2, seen, whole, &n_whole);
        s.size = 0;
        int rc = go_on(&sim, sim_options(), &s, k, 2, seen, parts, &n_parts);
        struct sterna_state_info info;
        assert_ok(sterna_state_info(s.bytes, s.size, &info, NULL));
        uint64_t epochs_left = info.epoch == 0 ? 2 : 1;
        if (k == 10) epochs_left = 1; /* a finished epoch counts as the next one */
        if (rc == STERNA_OK && k < 20)
            go_on(&sim, sim_options(), &s, UINT64_MAX, epochs_left, seen, parts, &n_parts);
        assert_int_equal(n_parts, n_whole);
        assert_memory_equal(parts, whole, n_whole * sizeof *whole);
        check_seen(seen, 150, 4);
    }
    sim_fini(&sim);
}

static void test_loader_resume_at_every_batch_arrival(void **state) {
    (void)state;
    struct sim sim;
    sim_init(&sim, 150);
    sim.answer = answer_badly;
    sim.timeout_ms = 100;
    sim_make_selection(&sim);
    for (uint64_t k = 1; k < 10; k++) {
        unsigned seen[150] = {0};
        struct saved s = {.size = 0};
        struct sterna_loader_options o = sim_options();
        o.order = STERNA_ORDER_ARRIVAL;
        memset(sim.attempts, 0, 150 * sizeof *sim.attempts);
        go_on(&sim, o, &s, k, 1, seen, NULL, NULL);
        assert_int_equal(go_on(&sim, o, &s, UINT64_MAX, 1, seen, NULL, NULL), STERNA_END);
        check_seen(seen, 150, 1);
    }
    sim_fini(&sim);
}

/* World 1 -> 2 -> 3 -> 1, each part a few batches, states merged in between. */
static void test_loader_resume_on_other_worlds(void **state) {
    (void)state;
    static const uint32_t worlds[] = {1, 2, 3, 1};
    for (int order = STERNA_ORDER_STRICT; order <= STERNA_ORDER_ARRIVAL; order++)
        for (int uneven = STERNA_UNEVEN_PAD; uneven <= STERNA_UNEVEN_EXACT; uneven += 2) {
            struct sim sim;
            unsigned seen[500] = {0};
            struct saved merged = {.size = 0};
            sim_init(&sim, 500);
            sim.answer = answer_badly;
            sim.timeout_ms = 100;
            sim_make_selection(&sim);
            for (size_t part = 0; part < STN_COUNT(worlds); part++) {
                struct saved ranks[3];
                const void *states[3];
                size_t sizes[3];
                for (uint32_t rank = 0; rank < worlds[part]; rank++) {
                    struct sterna_loader_options o = sim_options();
                    o.order = (enum sterna_order)order;
                    o.uneven = (enum sterna_uneven)uneven;
                    o.world_size = worlds[part];
                    o.rank = rank;
                    ranks[rank] = merged;
                    memset(sim.attempts, 0, 500 * sizeof *sim.attempts);
                    uint64_t n = part + 1 == STN_COUNT(worlds) ? UINT64_MAX : 3;
                    go_on(&sim, o, &ranks[rank], n, 1, seen, NULL, NULL);
                    states[rank] = ranks[rank].bytes;
                    sizes[rank] = ranks[rank].size;
                }
                assert_ok(sterna_states_merge(states, sizes, worlds[part], merged.bytes,
                                              sizeof merged.bytes, &merged.size, NULL));
            }
            check_seen(seen, 500, 1);
            struct sterna_state_info info;
            assert_ok(sterna_state_info(merged.bytes, merged.size, &info, NULL));
            assert_int_equal(info.epoch, 1);
            sim_fini(&sim);
        }
}

/* States after each batch of what is left of the epoch, and before the first: all[0 .. n]. */
static size_t read_states(struct sim *sim, const struct sterna_loader_options *o,
                          struct saved *all) {
    sterna_loader *loader;
    sterna_batch *b;
    size_t n = 0;
    assert_ok(sim_open(sim, &loader, o, NULL));
    assert_ok(sterna_loader_state(loader, all[0].bytes, sizeof all[0].bytes, &all[0].size));
    while (sim_next(sim, loader, &b, NULL) == STERNA_OK) {
        n++;
        assert_ok(sterna_batch_state(b, all[n].bytes, sizeof all[n].bytes, &all[n].size));
        sterna_batch_release(&b);
    }
    sterna_loader_close(&loader);
    return n;
}

/* Each of them tells all others; the first one has step `base` of the epoch. */
static void check_at_step(const struct saved *all, size_t n, uint64_t base) {
    uint8_t got[sizeof all->bytes];
    size_t size;
    struct sterna_error err;
    for (size_t from = 0; from <= n; from++)
        for (size_t to = 0; to <= n; to++) {
            int rc = sterna_state_at_step(all[from].bytes, all[from].size, base + to, got,
                                          sizeof got, &size, &err);
            if (rc < 0) fail_msg("from %zu to %zu of %zu: %s", from, to, n, err.message);
            assert_int_equal(size, all[to].size);
            assert_memory_equal(got, all[to].bytes, size);
        }
    assert_int_equal(
        sterna_state_at_step(all[0].bytes, all[0].size, base + n + 1, got, sizeof got, &size, NULL),
        STERNA_EINVAL);
}

static void test_loader_state_at_step_is_that_of_the_batch(void **state) {
    (void)state;
    static const uint64_t sizes[] = {0, 1, 5, 33, 100};
    static struct saved all[12], rest[12];
    for (size_t s = 0; s < STN_COUNT(sizes); s++)
        for (uint32_t world = 1; world <= 4; world++)
            for (uint32_t rank = 0; rank < world; rank++)
                for (int uneven = STERNA_UNEVEN_PAD; uneven <= STERNA_UNEVEN_EXACT; uneven++) {
                    struct sim sim;
                    sim_init(&sim, sizes[s]);
                    sim_make_selection(&sim);
                    struct sterna_loader_options o = sim_options();
                    o.world_size = world;
                    o.rank = rank;
                    o.uneven = (enum sterna_uneven)uneven;
                    size_t n = read_states(&sim, &o, all);
                    check_at_step(all, n, 0);
                    if (n > 1) { /* what is left after a batch, on another world */
                        o.state = all[1].bytes;
                        o.state_bytes = all[1].size;
                        o.world_size = world + 1;
                        o.batch_size = 9;
                        check_at_step(rest, read_states(&sim, &o, rest), 1);
                    }
                    sim_fini(&sim);
                }
}

static void test_loader_state_is_refused_for_other_data(void **state) {
    (void)state;
    struct sim sim, other;
    unsigned seen[64] = {0};
    struct saved s = {.size = 0};
    struct sterna_error err = {0};
    sterna_loader *loader;
    sim_init(&sim, 64);
    sim_make_selection(&sim);
    sim_init(&other, 63);
    sim_make_selection(&other);
    struct sterna_loader_options o = sim_options();
    go_on(&sim, o, &s, 2, 1, seen, NULL, NULL);
    o.state = s.bytes;
    o.state_bytes = s.size;
    assert_int_equal(sim_open(&other, &loader, &o, &err), STERNA_EMISMATCH);
    assert_null(loader);
    assert_non_null(strstr(err.message, "selection"));
    o.state_bytes = s.size - 1;
    assert_int_equal(sim_open(&sim, &loader, &o, NULL), STERNA_EFORMAT);
    uint8_t hash[STERNA_HASH_BYTES] = {1};
    o = sim_options();
    o.expect_selection = hash;
    assert_int_equal(sim_open(&sim, &loader, &o, NULL), STERNA_EMISMATCH);
    sim_fini(&sim);
    sim_fini(&other);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_loader_strict_is_the_plan),
        cmocka_unit_test(test_loader_uneven_ends_on_all_ranks),
        cmocka_unit_test(test_loader_arrival_is_exactly_once),
        cmocka_unit_test(test_loader_requests_cross_the_border),
        cmocka_unit_test(test_loader_resume_at_every_batch_strict),
        cmocka_unit_test(test_loader_resume_at_every_batch_arrival),
        cmocka_unit_test(test_loader_resume_on_other_worlds),
        cmocka_unit_test(test_loader_state_at_step_is_that_of_the_batch),
        cmocka_unit_test(test_loader_state_is_refused_for_other_data),
    };
    const struct CMUnitTest with_buffers[] = {
        cmocka_unit_test(test_loader_strict_is_the_plan),
        cmocka_unit_test(test_loader_uneven_ends_on_all_ranks),
        cmocka_unit_test(test_loader_requests_cross_the_border),
        cmocka_unit_test(test_loader_resume_at_every_batch_strict),
        cmocka_unit_test(test_loader_resume_on_other_worlds),
    };
    int bad = cmocka_run_group_tests(tests, NULL, NULL);
    sim_gives_buffers = 1;
    return bad + cmocka_run_group_tests(with_buffers, NULL, NULL);
}
