/* Two requests for one row: which of them lands, what becomes of the other, and when there are two
 * at all. The session's time stands still, so that a request is late when the test says so. */
#include <math.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/philox.h"
#include "support/check.h"
#include "support/peer_inside.h"
#include "support/servers.h"

#define MS STN_NS_PER_MS
#define STEP_NS (5 * MS)

/* ---- what the servers do with each EXECUTE of a scene ---- */

enum action {
    ANSWER,
    HOLD, /* nothing, until the test lets it go */
    HALF, /* the first half of the answer; the rest when the test lets it go */
};

enum { HELD_MAX = 2000 };

struct held {
    unsigned conn, k;
    size_t node;
    struct peer_frame f;
    uint64_t due_ns;
    uint8_t rest[BLOB_BYTES]; /* of one that is sent in halves */
    size_t rest_bytes;
};

static struct {
    atomic_int active;
    atomic_uint n; /* EXECUTEs so far */
    enum action actions[4];
    /* peer's thread */
    unsigned n_held;
    struct held held[HELD_MAX];
} scene;

static struct held *hold(struct peer_conn *conn, const struct peer_frame *f, unsigned k,
                         size_t node) {
    assert_true(scene.n_held < HELD_MAX);
    struct held *h = &scene.held[scene.n_held++];
    *h = (struct held){.conn = peer_number(conn),
                       .k = k,
                       .node = node,
                       .f = {.stream = f->stream, .skip_metadata = f->skip_metadata}};
    return h;
}

static void answer_half(struct held *h, struct peer_conn *conn) {
    servers_answer(conn, &h->f, h->k);
    h->rest_bytes = BLOB_BYTES / 2;
    conn->out_bytes -= h->rest_bytes;
    memcpy(h->rest, conn->out + conn->out_bytes, h->rest_bytes);
}

static int play(struct servers *c, struct peer_conn *conn, const struct peer_frame *f, unsigned k,
                size_t node) {
    (void)c;
    if (!scene.active) return 0;
    unsigned i = scene.n;
    enum action what = i < STN_COUNT(scene.actions) ? scene.actions[i] : ANSWER;
    struct held *h = what == ANSWER ? NULL : hold(conn, f, k, node);
    if (what == HALF) answer_half(h, conn);
    scene.n = i + 1; /* from now on the test may look at it */
    return h != NULL;
}

/* How a held request goes on. */
struct release {
    struct servers *c;
    unsigned i;
    enum { RIGHT, WRONG, FIRST_HALF, REFUSED, FAILED, RESET } how; /* WRONG: other bytes */
};

static void run_release(void *arg) {
    const struct release *r = arg;
    struct held *h = &scene.held[r->i];
    struct peer_conn *conn = peer_find(r->c->peer, h->conn);
    uint8_t id[16], blob[BLOB_BYTES];
    assert_true(r->i < scene.n_held);
    if (!conn) return; /* closed by the client */
    sample_id(h->k, id);
    memset(blob, 0xee, sizeof blob);
    switch (r->how) {
    case RIGHT:
        if (h->rest_bytes)
            peer_send(conn, h->rest, h->rest_bytes);
        else
            servers_answer(conn, &h->f, h->k);
        break;
    case WRONG:
        if (h->rest_bytes)
            peer_send(conn, blob, h->rest_bytes);
        else
            peer_send_blob(conn, &h->f, id, h->k, blob, sizeof blob);
        break;
    case FIRST_HALF:
        answer_half(h, conn);
        break;
    case REFUSED:
        peer_send_error(conn, h->f.stream, STN_CQL_E_OVERLOADED, "Too much");
        break;
    case FAILED:
        peer_send_error(conn, h->f.stream, STN_CQL_E_SERVER, "Broken");
        break;
    case RESET:
        peer_reset_after(conn, 0);
        break;
    }
}

static void release(struct servers *c, unsigned i, int how) {
    peer_run(c->peer, run_release, &(struct release){c, i, how});
}

static void begin_scene(const enum action actions[4]) {
    memcpy(scene.actions, actions, sizeof scene.actions);
    scene.n = 0;
    scene.n_held = 0;
    scene.active = 1;
}

/* ---- the session ---- */

static struct stn_session_stats stats_of(struct servers *c) {
    struct stn_session_stats stats;
    stn_session_stats(c->session, &stats);
    return stats;
}

/* In steps that no pause of the session's thread would explain. */
static void pass(struct servers *c, uint64_t ns) {
    for (uint64_t past = 0; past < ns; past += STEP_NS) servers_later(c, STEP_NS);
    servers_later(c, 0); /* the last turn has ended */
}

/* Time passes only while nothing is on its way: no answer takes any. */
static void read_in_no_time(struct servers *c, size_t n) {
    struct batch *b = batch_submit(c, n, 0);
    while (batch_done(b) < n)
        if (stats_of(c).in_flight == 0) servers_later(c, MS);
    batch_check(b, STERNA_OK);
    batch_free(b);
}

/* All nodes are connected, windows are wide, and how long answers take is known: no time at all. */
static void open_warm(struct servers *c, size_t n_nodes) {
    struct stn_host host;
    c->script = play;
    scene.active = 0;
    scene.n_held = 0;
    servers_start(c, n_nodes);
    struct stn_session_options o = servers_options(c, &host);
    o.outage_timeout_ms = 1000000;
    servers_freeze(c, &o);
    servers_open_with(c, &o);
    for (int missing = 1; missing;) {
        read_in_no_time(c, 100);
        missing = 0;
        for (size_t i = 0; i < n_nodes; i++) missing |= !c->asked[i];
    }
    for (int i = 0; i < 10; i++) read_in_no_time(c, 300);
    assert_int_equal(stats_of(c).hedges, 0);
}

static void check_idle(struct servers *c) {
    struct stn_session_stats stats = stats_of(c);
    assert_int_equal(stats.in_flight, 0);
    assert_int_equal(stats.in_flight_bytes, 0);
}

/* Until the peer has got so many EXECUTEs in this scene, or the session has so many bytes. */
static void await_asked(unsigned n) {
    while (scene.n < n) sched_yield();
}

static void await_received(struct servers *c, uint64_t bytes) {
    while (stats_of(c).received_bytes < bytes) sched_yield();
}

static void close_checked(struct servers *c) {
    check_idle(c);
    servers_close(c);
}

/* ---- which of two answers lands ---- */

static void test_a_late_answer_is_overtaken(void **state) {
    struct servers c = {0};
    (void)state;
    open_warm(&c, 3);
    begin_scene((const enum action[4]){HOLD, ANSWER});
    struct batch *b = batch_submit(&c, 1, 0);
    await_asked(1);
    assert_int_equal(stats_of(&c).hedges, 0);
    pass(&c, 10 * MS);
    batch_check(b, STERNA_OK);
    assert_int_equal(stats_of(&c).hedges, 1);
    assert_int_equal(stats_of(&c).hedged_bytes, BLOB_BYTES);
    assert_int_equal(stats_of(&c).retries, 0);
    uint64_t received = stats_of(&c).received_bytes;
    release(&c, 0, WRONG); /* it comes all the same */
    await_received(&c, received + BLOB_BYTES);
    batch_check(b, STERNA_OK);
    batch_free(b);
    assert_int_equal(stats_of(&c).hedged_bytes, BLOB_BYTES);
    close_checked(&c);
}

static void test_a_second_request_may_lose(void **state) {
    struct servers c = {0};
    (void)state;
    open_warm(&c, 3);
    begin_scene((const enum action[4]){HOLD, HOLD});
    struct batch *b = batch_submit(&c, 1, 0);
    await_asked(1);
    pass(&c, 10 * MS);
    await_asked(2);
    pass(&c, 100 * MS); /* never a third one */
    assert_int_equal(scene.n, 2);
    assert_int_not_equal(scene.held[0].node, scene.held[1].node);
    assert_int_equal(stats_of(&c).in_flight, 2);
    assert_int_equal(stats_of(&c).hedged_bytes, 0);
    release(&c, 0, RIGHT);
    batch_check(b, STERNA_OK);
    check_idle(&c);
    assert_int_equal(stats_of(&c).hedged_bytes, BLOB_BYTES);
    uint64_t received = stats_of(&c).received_bytes;
    release(&c, 1, WRONG);
    await_received(&c, received + BLOB_BYTES);
    batch_check(b, STERNA_OK);
    batch_free(b);
    close_checked(&c);
}

static void test_an_answer_that_gets_stuck_is_taken_over(void **state) {
    struct servers c = {0};
    (void)state;
    open_warm(&c, 3);
    uint64_t received = stats_of(&c).received_bytes;
    begin_scene((const enum action[4]){HALF, ANSWER});
    struct batch *b = batch_submit(&c, 1, 0);
    await_received(&c, received + BLOB_BYTES / 2);
    pass(&c, 200 * MS); /* it may go on yet */
    assert_int_equal(scene.n, 1);
    pass(&c, 150 * MS);
    batch_check(b, STERNA_OK);
    assert_int_equal(stats_of(&c).hedges, 1);
    assert_int_equal(stats_of(&c).hedged_bytes, BLOB_BYTES);
    received = stats_of(&c).received_bytes;
    release(&c, 0, WRONG); /* the rest of it lands nowhere */
    await_received(&c, received + BLOB_BYTES / 2);
    batch_check(b, STERNA_OK);
    batch_free(b);
    servers_read(&c, 300, STERNA_OK); /* and the connection is in step */
    close_checked(&c);
}

static void test_an_answer_that_goes_on_is_let_go_on(void **state) {
    struct servers c = {0};
    (void)state;
    open_warm(&c, 3);
    begin_scene((const enum action[4]){HOLD, HOLD});
    struct batch *b = batch_submit(&c, 1, 0);
    await_asked(1);
    pass(&c, 10 * MS);
    await_asked(2);
    uint64_t received = stats_of(&c).received_bytes;
    release(&c, 0, FIRST_HALF);
    await_received(&c, received + BLOB_BYTES / 2);
    release(&c, 1, WRONG);
    while (stats_of(&c).hedged_bytes == 0) sched_yield(); /* it was dropped when its row began */
    await_received(&c, received + BLOB_BYTES / 2 + BLOB_BYTES);
    assert_int_equal(batch_done(b), 0);
    release(&c, 0, RIGHT);
    batch_check(b, STERNA_OK);
    assert_int_equal(stats_of(&c).hedged_bytes, BLOB_BYTES);
    batch_free(b);
    close_checked(&c);
}

/* ---- two that fail ---- */

static void test_one_of_two_that_fails_does_not_end_the_call(void **state) {
    static const struct {
        const char *name;
        unsigned first_fails;
        int how;
    } rows[] = {
        {"the first is refused", 1, REFUSED}, {"the second is refused", 0, REFUSED},
        {"the first fails", 1, FAILED},       {"the second fails", 0, FAILED},
        {"the first is lost", 1, RESET},      {"the second is lost", 0, RESET},
    };
    (void)state;
    sterna_set_log(NULL, NULL);
    for (size_t row = 0; row < STN_COUNT(rows); row++) {
        struct servers c = {0};
        open_warm(&c, 3);
        begin_scene((const enum action[4]){HOLD, HOLD});
        struct batch *b = batch_submit(&c, 1, 0);
        await_asked(1);
        pass(&c, 10 * MS);
        await_asked(2);
        release(&c, !rows[row].first_fails, rows[row].how);
        while (stats_of(&c).in_flight > 1) sched_yield();
        assert_int_equal(batch_done(b), 0);
        release(&c, rows[row].first_fails, RIGHT);
        batch_check(b, STERNA_OK);
        if (scene.n != 2) fail_msg("%s: asked %u times", rows[row].name, (unsigned)scene.n);
        batch_free(b);
        close_checked(&c);
    }
}

static void test_when_both_fail_it_is_tried_again(void **state) {
    static const int hows[] = {FAILED, RESET, REFUSED};
    (void)state;
    sterna_set_log(NULL, NULL);
    for (size_t row = 0; row < STN_COUNT(hows); row++) {
        struct servers c = {0};
        open_warm(&c, 3);
        begin_scene((const enum action[4]){HOLD, HOLD});
        struct batch *b = batch_submit(&c, 1, 0);
        await_asked(1);
        pass(&c, 10 * MS);
        await_asked(2);
        release(&c, 0, hows[row]);
        release(&c, 1, hows[row]);
        while (scene.n < 3) pass(&c, 100 * MS); /* there may be a wait before it */
        batch_check(b, STERNA_OK);
        assert_true(stats_of(&c).retries >= 1);
        assert_int_equal(stats_of(&c).hedges, 1);
        batch_free(b);
        close_checked(&c);
    }
}

/* Neither answers within its deadline: each is given up in its time, and the call goes on. */
static void test_two_that_are_never_answered_expire(void **state) {
    struct servers c = {0};
    (void)state;
    sterna_set_log(NULL, NULL);
    open_warm(&c, 3);
    begin_scene((const enum action[4]){HOLD, HOLD});
    struct batch *b = batch_submit(&c, 1, 0);
    await_asked(1);
    pass(&c, 10 * MS);
    await_asked(2);
    while (scene.n < 3) pass(&c, 500 * MS); /* by the progress rule, or the deadline */
    batch_check(b, STERNA_OK);
    batch_free(b);
    close_checked(&c);
}

static void test_abandoned_with_two_on_their_way(void **state) {
    struct servers c = {0};
    (void)state;
    open_warm(&c, 3);
    begin_scene((const enum action[4]){HOLD, HOLD});
    struct batch *b = batch_submit(&c, 1, 0);
    await_asked(1);
    pass(&c, 10 * MS);
    await_asked(2);
    uint64_t received = stats_of(&c).received_bytes;
    release(&c, 1, FIRST_HALF); /* and it has begun to land */
    await_received(&c, received + BLOB_BYTES / 2);
    stn_session_abandon(c.session, b);
    assert_int_equal(batch_done(b), 0);
    batch_free(b); /* ASan sees whatever is written to it from now on */
    check_idle(&c);
    received = stats_of(&c).received_bytes;
    release(&c, 0, WRONG);
    release(&c, 1, WRONG);
    await_received(&c, received + BLOB_BYTES + BLOB_BYTES / 2);
    servers_read(&c, 300, STERNA_OK);
    close_checked(&c);
}

/* ---- who is asked twice, and how often ---- */

static void test_writes_and_single_copies_are_never_asked_twice(void **state) {
    static const struct {
        const char *name;
        size_t n_nodes;
        int write;
    } rows[] = {{"a write", 3, 1}, {"one copy", 1, 0}};
    (void)state;
    for (size_t row = 0; row < STN_COUNT(rows); row++) {
        struct servers c = {0};
        open_warm(&c, rows[row].n_nodes);
        begin_scene((const enum action[4]){HOLD, HOLD, HOLD, HOLD});
        struct batch *b = batch_submit(&c, 4, rows[row].write);
        await_asked(4);
        pass(&c, 2000 * MS);
        if (scene.n != 4) fail_msg("%s: asked %u times", rows[row].name, (unsigned)scene.n - 3);
        assert_int_equal(stats_of(&c).hedges + stats_of(&c).suspects, 0);
        stn_session_abandon(c.session, b);
        batch_free(b);
        close_checked(&c);
    }
}

/* Each answer takes as long as a Pareto distribution with this shape says. */
static uint64_t drawn_ns(uint32_t k, uint32_t attempt) {
    struct stn_philox r = stn_philox4x32((struct stn_philox){{k, attempt, 0, 0}}, 3, 0);
    double u = ((double)r.v[0] + 0.5) / 4294967296.0;
    return (uint64_t)(STN_MIN(10 * pow(u, -1 / 0.9), 4000.0) * (double)MS);
}

static int hold_for_a_time(struct servers *c, struct peer_conn *conn, const struct peer_frame *f,
                           unsigned k, size_t node) {
    if (!scene.active) return 0;
    struct held *h = hold(conn, f, k, node);
    h->due_ns = atomic_load(&c->now_ns) + drawn_ns(k, c->attempts[k]);
    scene.n++;
    return 1;
}

static void release_due(void *arg) {
    struct servers *c = arg;
    unsigned left = 0;
    for (unsigned i = 0; i < scene.n_held; i++) {
        struct held *h = &scene.held[i];
        struct peer_conn *conn = peer_find(c->peer, h->conn);
        if (h->due_ns <= atomic_load(&c->now_ns)) {
            if (conn) servers_answer(conn, &h->f, h->k);
        } else if (conn) {
            scene.held[left++] = *h;
        }
    }
    scene.n_held = left;
}

/* Thousands of requests whose times have a heavy tail: some of them are asked for twice, and never
 * more than the budget allows. */
static void test_the_budget_holds_under_a_heavy_tail(void **state) {
    enum { N = 1000, ROUNDS = 6 };
    struct servers c = {0};
    (void)state;
    open_warm(&c, 3);
    c.script = hold_for_a_time;
    begin_scene((const enum action[4]){ANSWER});
    for (int round = 0; round < ROUNDS; round++) {
        struct batch *b = batch_submit(&c, N, 0);
        while (batch_done(b) < N) {
            servers_later(&c, MS);
            peer_run(c.peer, release_due, &c);
        }
        batch_check(b, STERNA_OK);
        batch_free(b);
        check_idle(&c);
        struct stn_session_stats stats = stats_of(&c);
        assert_true(stats.hedges <= 1 + stats.calls * 2 / 100);
        /* At the end of a round a node may be silent for so long that it is passed over. */
        assert_true(stats.hedged_bytes <= (stats.hedges + stats.suspects) * BLOB_BYTES);
    }
    assert_true(stats_of(&c).hedges > 0);
    servers_close(&c);
}

/* ---- a node that falls silent ---- */

enum { SILENT = 1 };

static int silent_node(struct servers *c, struct peer_conn *conn, const struct peer_frame *f,
                       unsigned k, size_t node) {
    if (node != SILENT || !c->extra) return 0;
    hold(conn, f, k, node);
    scene.n++;
    return 1;
}

static void release_all(void *arg) {
    struct servers *c = arg;
    for (unsigned i = 0; i < scene.n_held; i++)
        run_release(&(struct release){c, i, WRONG}); /* too late: none of it may land */
}

static void test_a_silent_nodes_requests_are_moved(void **state) {
    enum { N = 300 };
    struct servers c = {0};
    (void)state;
    open_warm(&c, 3);
    c.script = silent_node;
    scene.n = 0;
    c.extra = 1;
    struct batch *b = batch_submit(&c, N, 0);
    while (batch_done(b) + scene.n < N) sched_yield();
    unsigned n_held = scene.n;
    assert_in_range(n_held, N / 6, N / 2);
    pass(&c, 100 * MS);
    struct batch *more = batch_submit(&c, 50, 0); /* the others go on */
    while (batch_done(more) + scene.n < 50 + n_held) sched_yield();
    pass(&c, 150 * MS);
    assert_int_equal(stats_of(&c).suspects, 0); /* a quarter of a second is not long enough */
    uint64_t hedges = stats_of(&c).hedges;
    pass(&c, 100 * MS);
    batch_check(b, STERNA_OK);
    batch_check(more, STERNA_OK);
    assert_int_equal(stats_of(&c).suspects + hedges, scene.n);
    assert_int_equal(stats_of(&c).hedges, hedges);
    assert_int_equal(stats_of(&c).hedged_bytes, (uint64_t)scene.n * BLOB_BYTES);
    n_held = scene.n;
    servers_read(&c, 300, STERNA_OK); /* nothing new goes there */
    assert_int_equal(scene.n, n_held);
    c.extra = 0;
    peer_run(c.peer, release_all, &c); /* it speaks again, and what it says lands nowhere */
    batch_check(b, STERNA_OK);
    batch_check(more, STERNA_OK);
    batch_free(b);
    batch_free(more);
    pass(&c, 50 * MS);
    unsigned before = c.asked[SILENT];
    while (c.asked[SILENT] == before) {
        pass(&c, 25 * MS);
        servers_read(&c, 100, STERNA_OK);
    }
    close_checked(&c);
}

/* Nobody answers: it is the path, not a node, and nothing is asked twice on its account. */
static void test_a_pause_of_all_suspects_nobody(void **state) {
    static const enum action held[4] = {HOLD, HOLD, HOLD, HOLD};
    struct servers c = {0};
    (void)state;
    open_warm(&c, 3);
    begin_scene(held);
    struct batch *b = batch_submit(&c, 4, 0);
    await_asked(4);
    pass(&c, 1000 * MS);
    assert_int_equal(stats_of(&c).suspects, 0);
    scene.active = 0;
    for (unsigned i = 0; i < 4; i++) release(&c, i, RIGHT);
    batch_check(b, STERNA_OK);
    batch_free(b);
    close_checked(&c);
}

/* The session's own thread did not run: what came meanwhile is read before anybody is judged. */
static void test_a_pause_of_our_own_suspects_nobody(void **state) {
    struct servers c = {0};
    (void)state;
    open_warm(&c, 3);
    c.script = silent_node;
    scene.n = 0;
    c.extra = 1;
    struct batch *b = batch_submit(&c, 300, 0);
    while (batch_done(b) + scene.n < 300) sched_yield();
    servers_later(&c, 2000 * MS);
    servers_later(&c, 0);
    assert_int_equal(stats_of(&c).suspects + stats_of(&c).hedges, 0);
    c.extra = 0;
    for (unsigned i = 0; i < scene.n; i++) release(&c, i, RIGHT);
    batch_check(b, STERNA_OK);
    batch_free(b);
    close_checked(&c);
}

static int watch(void **state) { /* a test that waits for what never comes ends the program */
    (void)state;
    alarm(240);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_a_late_answer_is_overtaken, watch),
        cmocka_unit_test_setup(test_a_second_request_may_lose, watch),
        cmocka_unit_test_setup(test_an_answer_that_gets_stuck_is_taken_over, watch),
        cmocka_unit_test_setup(test_an_answer_that_goes_on_is_let_go_on, watch),
        cmocka_unit_test_setup(test_one_of_two_that_fails_does_not_end_the_call, watch),
        cmocka_unit_test_setup(test_when_both_fail_it_is_tried_again, watch),
        cmocka_unit_test_setup(test_two_that_are_never_answered_expire, watch),
        cmocka_unit_test_setup(test_abandoned_with_two_on_their_way, watch),
        cmocka_unit_test_setup(test_writes_and_single_copies_are_never_asked_twice, watch),
        cmocka_unit_test_setup(test_the_budget_holds_under_a_heavy_tail, watch),
        cmocka_unit_test_setup(test_a_silent_nodes_requests_are_moved, watch),
        cmocka_unit_test_setup(test_a_pause_of_all_suspects_nobody, watch),
        cmocka_unit_test_setup(test_a_pause_of_our_own_suspects_nobody, watch),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
