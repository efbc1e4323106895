/* What consumers waited for: each nanosecond of it under one cause, and the right one. */
#include "support/check.h"

#include <stdio.h>
#include <string.h>

#include "support/sim.h"

#define MS STN_NS_PER_MS
#define MB UINT64_C(1000000)
#define RTT_NS (150 * MS)
#define N_SAMPLES 640 /* 40 batches */

/* ---- ways ---- */

static void way(struct sterna_path *out, enum sterna_path_phase phase, uint64_t rate) {
    out->phase = phase;
    out->rtt_ns = out->rtt_far_ns = RTT_NS;
    out->rate_bytes_s = rate;
    out->rate_max_bytes_s = MB;
    out->window_bytes = out->in_flight_bytes = 2 * MB * RTT_NS / STN_NS_PER_S;
    out->connections = 1;
}

static uint64_t since_start(const struct sim *sim) { return sim->now_ns - STN_NS_PER_S; }

static void steady(struct sim *sim, struct sterna_path *out) {
    (void)sim;
    way(out, STERNA_PATH_STEADY, MB);
}

static void half_full(struct sim *sim, struct sterna_path *out) {
    (void)sim;
    way(out, STERNA_PATH_STEADY, MB / 2);
}

static void ramping(struct sim *sim, struct sterna_path *out) {
    (void)sim;
    way(out, STERNA_PATH_RAMP, MB / 2);
}

static void away_for_3_s(struct sim *sim, struct sterna_path *out) {
    way(out, STERNA_PATH_STEADY, MB);
    if (since_start(sim) >= 3000 * MS) return;
    out->phase = STERNA_PATH_CONNECTING;
    out->nodes = out->connections = 0;
}

static void failing_till_6_s(struct sim *sim, struct sterna_path *out) {
    int fails = since_start(sim) > 300 * MS && since_start(sim) < 6000 * MS;
    way(out, STERNA_PATH_STEADY, fails ? 0 : MB);
    out->retrying = fails ? 10 : 0;
}

static void silent_till_6_s(struct sim *sim, struct sterna_path *out) {
    int silent = since_start(sim) > 300 * MS && since_start(sim) < 6000 * MS;
    way(out, STERNA_PATH_STEADY, silent ? 0 : MB);
}

/* ---- answers ---- */

static struct sim_answer after(uint64_t delay_ns) {
    return (struct sim_answer){SIM_OK, delay_ns, 0};
}

static uint64_t free_ns; /* the link carries one answer after the other */

/* A round trip, and one millisecond an answer of 1000 bytes: 1 MB/s. */
static struct sim_answer by_link(struct sim *sim, uint64_t index, unsigned attempt) {
    (void)index, (void)attempt;
    free_ns = STN_MAX(free_ns, sim->now_ns + RTT_NS - MS) + MS;
    return after(free_ns - sim->now_ns);
}

static struct sim_answer by_distance(struct sim *sim, uint64_t index, unsigned attempt) {
    (void)sim, (void)index, (void)attempt;
    return after(RTT_NS);
}

static struct sim_answer some_late(struct sim *sim, uint64_t index, unsigned attempt) {
    (void)sim, (void)attempt;
    return after(index % 16 == 3 ? 600 * MS : RTT_NS);
}

static struct sim_answer at_3_s(struct sim *sim, uint64_t index, unsigned attempt) {
    (void)attempt, (void)index;
    return after(since_start(sim) < 3000 * MS ? 3000 * MS - since_start(sim) : MS);
}

/* Between 0.3 s and 6 s nothing comes. */
static struct sim_answer at_6_s(struct sim *sim, uint64_t index, unsigned attempt) {
    struct sim_answer a = by_link(sim, index, attempt);
    uint64_t at_ns = since_start(sim) + a.delay_ns;
    if (at_ns > 300 * MS && at_ns < 6000 * MS) a.delay_ns = 6000 * MS - since_start(sim);
    return a;
}

static struct sim_answer failed_twice(struct sim *sim, uint64_t index, unsigned attempt) {
    (void)sim, (void)index;
    return attempt <= 2 ? (struct sim_answer){SIM_FAIL, MS, STERNA_EIO} : after(MS);
}

static struct sim_answer by_disk(struct sim *sim, uint64_t index, unsigned attempt) {
    (void)sim, (void)index, (void)attempt;
    return after(5 * MS);
}

static struct sim_answer at_once(struct sim *sim, uint64_t index, unsigned attempt) {
    (void)sim, (void)index, (void)attempt;
    return after(0);
}

/* ---- a consumer ---- */

/* Time passes, and answers come; as a thread that waits looks up now and then, so does this. */
static void pass(struct sim *sim, sterna_loader *loader, uint64_t until_ns) {
    until_ns = STN_MIN(until_ns, sim->now_ns + 50 * MS);
    sim->now_ns = STN_MAX(sim->now_ns, STN_MIN(sim_next_event_ns(sim), until_ns));
    sim_deliver(sim);
    stn_loader_step(loader);
}

/* Reads all, working think_ns on each batch; returns how long it waited, by the simulation's clock.
 */
static uint64_t consume(struct sim *sim, sterna_loader *loader, uint64_t think_ns) {
    uint64_t waited_ns = 0;
    stn_loader_step(loader); /* asks */
    for (;;) {
        sterna_batch *b;
        uint64_t asked_ns = sim->now_ns;
        int rc;
        while ((rc = sterna_loader_next(loader, &b, 0, NULL)) == STERNA_AGAIN)
            pass(sim, loader, asked_ns + 60 * STN_NS_PER_S);
        waited_ns += sim->now_ns - asked_ns;
        if (rc == STERNA_END) return waited_ns;
        assert_ok(rc);
        for (uint64_t until_ns = sim->now_ns + think_ns; sim->now_ns < until_ns;)
            pass(sim, loader, until_ns);
        sterna_batch_release(&b);
    }
}

struct scene {
    const char *name;
    enum sterna_stall want; /* takes most of the time waited */
    void (*path)(struct sim *sim, struct sterna_path *out);
    struct sim_answer (*answer)(struct sim *sim, uint64_t index, unsigned attempt);
    uint64_t ahead_bytes, memory_bytes, verify_ns, think_ns, max_rate_bytes_s;
};

static void play(const struct scene *s, enum sterna_order order) {
    struct sim sim;
    struct sterna_stats stats;
    struct sterna_loader_options o = sim_options();
    sterna_loader *loader;
    sim_init(&sim, N_SAMPLES);
    sim.answer = s->answer;
    sim.path = s->path;
    sim.verify_ns = s->verify_ns;
    sim.ahead_bytes = s->ahead_bytes;
    sim_make_selection(&sim);
    o.order = order;
    if (s->memory_bytes) o.memory_bytes = s->memory_bytes;
    o.max_rate_bytes_s = s->max_rate_bytes_s;
    free_ns = 0;
    assert_ok(sim_open(&sim, &loader, &o, NULL));
    uint64_t waited_ns = consume(&sim, loader, s->think_ns), sum_ns = 0;
    sterna_loader_stats(loader, &stats);
    for (int c = 0; c < STERNA_STALL_COUNT; c++) sum_ns += stats.stall_ns[c];
    if (sum_ns != waited_ns)
        fail_msg("%s: waited %.6f s, put down %.6f s", s->name, (double)waited_ns / 1e9,
                 (double)sum_ns / 1e9);
    if (waited_ns == 0 || stats.stall_ns[s->want] < waited_ns * 7 / 10) {
        for (int c = 0; c < STERNA_STALL_COUNT; c++)
            printf("cause %d: %.3f s\n", c, (double)stats.stall_ns[c] / 1e9);
        fail_msg("%s: less than 0.7 of %.3f s under cause %d", s->name, (double)waited_ns / 1e9,
                 (int)s->want);
    }
    sterna_loader_close(&loader);
    sim_fini(&sim);
}

static void test_waiting_has_its_cause(void **state) {
    (void)state;
    static const struct scene scenes[] = {
        {"no node for 3 s", STERNA_STALL_CONNECT, away_for_3_s, at_3_s, MB, 0, 0, 0, 0},
        {"a link at its rate", STERNA_STALL_BANDWIDTH, steady, by_link, 300000, 0, 0, 0, 0},
        {"a slow consumer", STERNA_STALL_CONNECT, steady, by_link, 300000, 0, 0, 20 * MS, 0},
        {"finding out the rate", STERNA_STALL_LATENCY, ramping, by_distance, 100000, 0, 0, 0, 0},
        {"refusals for 6 s", STERNA_STALL_SERVER, failing_till_6_s, at_6_s, 300000, 0, 0, 0, 0},
        {"silence for 6 s", STERNA_STALL_SERVER, silent_till_6_s, at_6_s, 300000, 0, 0, 0, 0},
        {"failures of a disk", STERNA_STALL_SERVER, NULL, failed_twice, 300000, 0, 0, 0, 0},
        {"memory for two batches", STERNA_STALL_BUDGET, steady, by_distance, MB, 80000, 0, 0, 0},
        {"checksums", STERNA_STALL_DECODE, NULL, at_once, MB, 0, 2 * MS, 0, 0},
        {"max_rate", STERNA_STALL_RATE, steady, by_distance, MB, 0, 0, 0, 200000},
        {"max_rate of a disk", STERNA_STALL_RATE, NULL, by_disk, MB, 0, 0, 0, 200000},
        {"a disk", STERNA_STALL_BANDWIDTH, NULL, by_disk, 20000, 0, 0, 0, 0},
    };
    for (size_t i = 0; i < STN_COUNT(scenes); i++)
        for (int order = STERNA_ORDER_STRICT; order <= STERNA_ORDER_ARRIVAL; order++)
            play(&scenes[i], (enum sterna_order)order);
}

/* In the plan's order one late answer keeps whole batches back. */
static void test_a_late_answer_is_latency(void **state) {
    (void)state;
    static const struct scene scene = {
        "late answers", STERNA_STALL_LATENCY, half_full, some_late, 100000, 0, 0, 0, 0};
    play(&scene, STERNA_ORDER_STRICT);
}

/* ---- max_rate ---- */

#define SAMPLE 1000
#define RATE 4000000

static struct { uint64_t now_ns, n; } burst;

/* A disk that looks at how fast it is asked: a quantum's worth and one sample ahead at most. */
static struct sim_answer bounded(struct sim *sim, uint64_t index, unsigned attempt) {
    double seconds = (double)since_start(sim) * 1e-9, asked = (double)sim->n_requests * SAMPLE;
    if (sim->now_ns != burst.now_ns) burst.n = 0;
    burst.now_ns = sim->now_ns;
    burst.n++;
    if (burst.n > 5 || asked > RATE * seconds + 0.001 * RATE + SAMPLE)
        fail_msg("%.0f bytes after %.6f s, %llu requests at once", asked, seconds,
                 (unsigned long long)burst.n);
    return by_disk(sim, index, attempt);
}

static void test_max_rate_bounds_what_is_asked_for(void **state) {
    (void)state;
    for (int order = STERNA_ORDER_STRICT; order <= STERNA_ORDER_ARRIVAL; order++) {
        struct sim sim;
        struct sterna_loader_options o = sim_options();
        sterna_loader *loader;
        sterna_batch *b;
        sim_init(&sim, N_SAMPLES);
        sim.answer = bounded;
        sim_make_selection(&sim);
        o.order = (enum sterna_order)order;
        o.max_rate_bytes_s = RATE;
        assert_ok(sim_open(&sim, &loader, &o, NULL));
        while (sim_next(&sim, loader, &b, NULL) == STERNA_OK) sterna_batch_release(&b);
        double seconds = (double)since_start(&sim) * 1e-9, want = (double)N_SAMPLES * SAMPLE / RATE;
        assert_true(seconds < want + 0.008); /* a quantum, and the disk's 5 ms */
        sterna_loader_close(&loader);
        sim_fini(&sim);
    }
}

static void test_the_environment_bounds_each_loader(void **state) {
    (void)state;
    static const struct {
        const char *text;
        uint64_t option, want;
    } rows[] = {{"1MB", 0, 1000000}, {"1MB", 2000, 2000}, {"1MB", 2000000, 1000000}, {"", 7, 7}};
    struct sterna_error err = {0};
    sterna_loader *loader;
    struct sim sim;
    sim_init(&sim, 16);
    sim_make_selection(&sim);
    for (size_t i = 0; i < STN_COUNT(rows); i++) {
        struct sterna_loader_options o = sim_options();
        setenv("STERNA_MAX_RATE", rows[i].text, 1);
        o.max_rate_bytes_s = rows[i].option;
        assert_ok(sim_open(&sim, &loader, &o, NULL));
        assert_int_equal(loader->flight.rate.bytes_s, rows[i].want);
        sterna_loader_close(&loader);
    }
    struct sterna_loader_options o = sim_options();
    setenv("STERNA_MAX_RATE", "very fast", 1);
    assert_int_equal(sim_open(&sim, &loader, &o, &err), STERNA_EINVAL);
    assert_non_null(strstr(err.message, "'very fast'"));
    assert_null(loader);
    unsetenv("STERNA_MAX_RATE");
    sim_fini(&sim);
}

/* ---- the way ---- */

static void test_loader_tells_the_way(void **state) {
    (void)state;
    struct sterna_loader_options o = sim_options();
    for (int far = 0; far <= 1; far++) {
        struct sim sim;
        struct sterna_path path;
        sterna_loader *loader;
        sim_init(&sim, 16);
        sim.path = far ? steady : NULL;
        sim_make_selection(&sim);
        assert_ok(sim_open(&sim, &loader, &o, NULL));
        memset(&path, 0xA5, sizeof path);
        sterna_loader_path(loader, &path);
        assert_int_equal(path.phase, far ? STERNA_PATH_STEADY : STERNA_PATH_LOCAL);
        assert_int_equal(path.rtt_ns, far ? RTT_NS : 0);
        assert_int_equal(path.hedges, 0);
        assert_string_equal(path.decision, "");
        sterna_loader_close(&loader);
        sim_fini(&sim);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_waiting_has_its_cause),
        cmocka_unit_test(test_a_late_answer_is_latency),
        cmocka_unit_test(test_max_rate_bounds_what_is_asked_for),
        cmocka_unit_test(test_the_environment_bounds_each_loader),
        cmocka_unit_test(test_loader_tells_the_way),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
