/* How many connections simulated paths get: as many as they need, and no more. */
#include "support/path_bench.h"

/* A sender that takes loss for congestion has a bounded rate a connection. */
static void test_width_grows_where_loss_bounds_connections(void **state) {
    (void)state;
    static const struct {
        enum path_cc cc;
        double loss, share;
        unsigned max;
    } rows[] = {
        {PATH_CUBIC, 1e-4, .95, 128},
        {PATH_CUBIC, 1e-3, .75, 256},
        {PATH_BBR, 1e-4, .97, 128},
        {PATH_BBR, 1e-3, .97, 128},
    };
    for (size_t i = 0; i < STN_COUNT(rows); i++) {
        double mean = 0;
        for (uint64_t seed = 1; seed <= 3; seed++) { /* when losses fall matters */
            struct bench b;
            bench_init(&b, 1000, 150, rows[i].cc);
            b.sim.seed = seed;
            b.link.loss = rows[i].loss;
            b.t->width_max = rows[i].max;
            bench_run(&b, 120);
            bench_say("loss %g, %s: share %.3f in 20 s, %.3f after 60 s, %u connections, %u at "
                      "most\n",
                      rows[i].loss, b.name, bench_share(&b, 2, 20), bench_share(&b, 60, 120),
                      b.t->width.wanted, b.t->max_conns);
            mean += bench_share(&b, 60, 120) / 3;
            if (rows[i].cc == PATH_BBR) at_most(b.name, b.t->width.wanted, 128); /* of no use */
            bench_fini(&b);
        }
        at_least(bench_cc_names[rows[i].cc], mean, rows[i].share);
    }
}

static void test_width_grows_where_buffers_bound_connections(void **state) {
    (void)state;
    struct bench b;
    bench_init(&b, 10000, 150, PATH_CUBIC);
    bench_run(&b, 30);
    bench_say("buffers, %s: share %.3f, %u connections\n", b.name, bench_share(&b, 20, 30),
              b.t->width.wanted);
    at_least(b.name, bench_share(&b, 20, 30), .95);
    at_least(b.name, b.t->width.wanted, 60);
    bench_fini(&b);
}

static void test_width_stays_where_the_path_is_full(void **state) {
    (void)state;
    for (int cc = PATH_CUBIC; cc <= PATH_BBR; cc++) {
        struct bench b;
        bench_init(&b, 300, 50, (enum path_cc)cc);
        bench_run(&b, 120);
        bench_say("full path, %s: share %.3f, %u connections, %u at most\n", b.name,
                  bench_share(&b, 10, 120), b.t->width.wanted, b.t->max_conns);
        at_least(b.name, bench_share(&b, 10, 120), .97);
        at_most(b.name, b.t->width.wanted, 42);
        bench_fini(&b);
    }
}

/* Losses that end: what was needed against them is closed again, in time. */
static void test_width_shrinks_when_fewer_do(void **state) {
    (void)state;
    struct bench b;
    bench_init(&b, 600, 75, PATH_CUBIC);
    b.link.loss = 2e-3;
    bench_run(&b, 60);
    unsigned lossy = b.t->width.wanted;
    b.link.loss = 0;
    bench_run(&b, 1200);
    bench_say("losses end, %s: %u connections, then %u; share %.3f\n", b.name, lossy,
              b.t->width.wanted, bench_share(&b, 1000, 1200));
    assert_true(b.t->width.wanted < lossy);
    at_least(b.name, bench_share(&b, 1000, 1200), .95);
    bench_fini(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_width_grows_where_loss_bounds_connections),
        cmocka_unit_test(test_width_grows_where_buffers_bound_connections),
        cmocka_unit_test(test_width_stays_where_the_path_is_full),
        cmocka_unit_test(test_width_shrinks_when_fewer_do),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
