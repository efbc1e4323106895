/* The fetcher under anything that a caller may do, in any order, over a network on a bad day: each
 * batch comes once, with its own rows, and nothing hangs. */
#include "support/check.h"

#include <string.h>

#include "support/sim.h"

enum { SAMPLES = 500, TICKETS = 400, ROWS = 9, HELD = 6, STEPS = 600 };

struct caller {
    struct sim *sim;
    sterna_fetcher *f;
    uint32_t n_draws;
    struct { /* by ticket */
        uint64_t indices[ROWS];
        size_t n;
        enum { NEVER, UNDER_WAY, HANDED_OUT, CALLED_OFF } status;
    } of[TICKETS];
    uint64_t n_tickets, n_under_way, n_too_large, n_no_room;
    struct {
        sterna_batch *batch;
        uint64_t ticket;
    } held[HELD];
    size_t n_held;
};

static uint64_t draw(struct caller *c, uint64_t n) { return sim_draw(c->sim, c->n_draws++, 5, n); }

static struct sim_answer answer_badly(struct sim *sim, uint64_t index, unsigned attempt) {
    static const enum sim_kind kinds[10] = {SIM_OK,      SIM_OK,    SIM_OK,   SIM_OK,
                                            SIM_TWICE,   SIM_NEVER, SIM_FAIL, SIM_WRONG_KEY,
                                            SIM_CORRUPT, SIM_LATE};
    struct sim_answer a = {kinds[sim_draw(sim, index, attempt, 10)],
                           sim_draw(sim, index, attempt + 100, 30 * STN_NS_PER_MS), STERNA_EIO};
    if (attempt % 4 == 3) a.kind = SIM_OK;
    if (a.kind == SIM_LATE) a.delay_ns += 400 * STN_NS_PER_MS; /* after the time-out */
    return a;
}

static uint64_t length_varied(uint64_t index) {
    return index % 11 == 3 ? 0 : index % 13 == 7 ? 40000 : 1 + index * 7919 % 5000;
}

static void submit(struct caller *c) {
    uint64_t ticket, indices[ROWS];
    size_t n = 1 + draw(c, ROWS);
    if (c->n_tickets + 1 == TICKETS) return;
    for (size_t i = 0; i < n; i++) indices[i] = draw(c, SAMPLES);
    int rc = sim_submit(c->sim, c->f, indices, n, &ticket, NULL);
    if (rc == STERNA_EBUDGET) {
        c->n_too_large++;
        return;
    }
    assert_ok(rc);
    assert_int_equal(ticket, ++c->n_tickets);
    c->of[ticket].n = n;
    memcpy(c->of[ticket].indices, indices, sizeof indices);
    c->of[ticket].status = UNDER_WAY;
    c->n_under_way++;
}

static void check(struct caller *c, const sterna_batch *b, uint64_t ticket) {
    sim_check_fetched(c->sim, b, c->of[ticket].indices, c->of[ticket].n);
    for (size_t i = 0; i < c->of[ticket].n; i++) {
        int code = sterna_batch_errors(b)[i];
        if (code != STERNA_OK && code != STERNA_EBUDGET) fail_msg("a row failed with %d", code);
    }
}

static void release(struct caller *c, size_t i) {
    check(c, c->held[i].batch, c->held[i].ticket); /* nothing has written to it since */
    sterna_batch_release(&c->held[i].batch);
    c->held[i] = c->held[--c->n_held];
}

static void take(struct caller *c, sterna_batch *b, uint64_t ticket) {
    assert_int_equal(c->of[ticket].status, UNDER_WAY);
    c->of[ticket].status = HANDED_OUT;
    c->n_under_way--;
    check(c, b, ticket);
    if (c->n_held == HELD) release(c, draw(c, HELD));
    c->held[c->n_held].batch = b;
    c->held[c->n_held++].ticket = ticket;
}

static void look(struct caller *c) {
    uint64_t ticket;
    sterna_batch *b;
    int rc = sterna_poll(c->f, &ticket, &b, 0, NULL);
    if (rc == STERNA_OK)
        take(c, b, ticket);
    else if (rc == STERNA_END)
        assert_int_equal(c->n_under_way, 0);
    else if (rc == STERNA_EBUDGET)
        assert_true(c->n_held > 0);
    else
        assert_int_equal(rc, STERNA_AGAIN);
    c->n_no_room += rc == STERNA_EBUDGET;
}

static void cancel(struct caller *c) {
    uint64_t ticket = 1 + draw(c, c->n_tickets + 1);
    sterna_fetcher_cancel(c->f, ticket);
    if (ticket > c->n_tickets || c->of[ticket].status != UNDER_WAY) return;
    c->of[ticket].status = CALLED_OFF;
    c->n_under_way--;
}

static void do_anything(struct caller *c) {
    uint64_t what = draw(c, 100);
    if (what < 30)
        submit(c);
    else if (what < 55)
        look(c);
    else if (what < 65 && c->n_held > 0)
        release(c, draw(c, c->n_held));
    else if (what < 72)
        cancel(c);
    else
        sim_fetcher_advance(c->sim, c->f);
}

/* Whoever lets go of what it holds gets the rest. */
static void finish(struct caller *c) {
    uint64_t ticket;
    sterna_batch *b;
    int rc;
    while ((rc = sim_poll(c->sim, c->f, &ticket, &b, NULL)) != STERNA_END) {
        if (rc == STERNA_OK)
            take(c, b, ticket);
        else
            assert_int_equal(rc, STERNA_EBUDGET);
        while (rc == STERNA_EBUDGET && c->n_held > 0) release(c, 0);
    }
    while (c->n_held > 0) release(c, 0);
    assert_int_equal(c->n_under_way, 0);
}

static void test_fetcher_survives_anything(void **state) {
    (void)state;
    uint64_t n_too_large = 0, n_no_room = 0, n_dropped = 0;
    for (uint32_t seed = 0; seed < 300; seed++) {
        struct sim sim;
        struct caller c = {.sim = &sim};
        struct sterna_stats stats;
        sim_init(&sim, SAMPLES);
        sim.seed = seed;
        sim.answer = answer_badly;
        sim.length = length_varied;
        sim.lengths_unknown = seed % 3 == 0;
        sim.timeout_ms = 100;
        sim.ahead_bytes = seed % 5 ? 1 << 20 : 1 << 14;
        struct sterna_fetcher_options o = sim_fetcher_options();
        o.max_attempts = 50; /* several rows share a sample's bad luck */
        o.memory_bytes = (uint64_t)1 << (17 + seed % 4 * 2); /* 128 KiB to 8 MiB */
        assert_ok(sim_fetcher_open(&sim, &c.f, &o, NULL));
        for (int i = 0; i < STEPS; i++) do_anything(&c);
        finish(&c);
        while (sim_fetcher_advance(&sim, c.f)) {}
        sterna_fetcher_stats(c.f, &stats);
        assert_true(stats.memory_bytes_max <= o.memory_bytes);
        assert_int_equal(stats.leases, 0);
        assert_int_equal(stats.in_flight, 0);
        n_too_large += c.n_too_large;
        n_no_room += c.n_no_room;
        n_dropped += stats.dropped;
        sterna_fetcher_close(&c.f);
        sim_fini(&sim);
    }
    assert_true(n_too_large > 0 && n_no_room > 0 && n_dropped > 0); /* it was no easy day */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fetcher_survives_anything),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
