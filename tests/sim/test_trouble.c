/* What goes wrong with servers and on the way to them, and what the user may see of it: nothing, a
 * line in the log, or one clear error for what could not be had. */
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "support/check.h"
#include "support/servers.h"

enum { LINES_MAX = 64 };

static struct {
    pthread_mutex_t lock;
    unsigned n;
    char lines[LINES_MAX][256]; /* warnings and errors */
} logged = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void keep_line(void *ctx, int level, const char *line) {
    (void)ctx;
    if (level > STERNA_LOG_WARNING) return;
    pthread_mutex_lock(&logged.lock);
    if (logged.n < LINES_MAX) snprintf(logged.lines[logged.n++], 256, "%s", line);
    pthread_mutex_unlock(&logged.lock);
}

static unsigned n_lines(const char *with) {
    unsigned n = 0;
    pthread_mutex_lock(&logged.lock);
    for (unsigned i = 0; i < logged.n; i++) n += strstr(logged.lines[i], with) != NULL;
    pthread_mutex_unlock(&logged.lock);
    return n;
}

static void print_lines(void) {
    for (unsigned i = 0; i < logged.n; i++) print_message("%s\n", logged.lines[i]);
}

/* A test that waits for what never comes ends the program. */
static int watch(void **state) {
    (void)state;
    logged.n = 0;
    sterna_set_log(keep_line, NULL);
    alarm(240);
    return 0;
}

static int unwatch(void **state) {
    (void)state;
    sterna_set_log(NULL, NULL);
    return 0;
}

static void open_frozen(struct servers *c, size_t n_nodes, unsigned outage_ms) {
    struct stn_host host;
    servers_start(c, n_nodes);
    struct stn_session_options o = servers_options(c, &host);
    o.outage_timeout_ms = outage_ms;
    servers_freeze(c, &o);
    servers_open_with(c, &o);
}

static struct stn_session_stats stats_of(struct servers *c) {
    struct stn_session_stats stats;
    stn_session_stats(c->session, &stats);
    return stats;
}

/* ---- connections ---- */

/* Two at a time, as native_transport_max_concurrent_connections_per_ip: 2 has it. */
static void close_the_third(void *ctx, struct peer_conn *conn) {
    struct servers *c = ctx;
    unsigned n = 0;
    for (unsigned number = 1; number < peer_number(conn); number++)
        n += peer_find(c->peer, number) != NULL;
    if (n >= 2) peer_reset_after(conn, 0);
}

static void test_a_limit_of_two_connections_is_enough(void **state) {
    static const struct peer_node node;
    struct servers c = {0};
    struct stn_host host;
    (void)state;
    servers_start_with(
        &c, (struct peer_options){.nodes = &node, .n_nodes = 1, .accepted = close_the_third});
    struct stn_session_options o = servers_options(&c, &host);
    servers_freeze(&c, &o);
    servers_open_with(&c, &o);
    servers_read(&c, 300, STERNA_OK);
    struct batch *writes = batch_submit(&c, 300, 1); /* these have no connection of their own */
    batch_check(writes, STERNA_OK);
    batch_free(writes);
    for (unsigned i = 0; i < 300; i++) { /* a minute */
        servers_later(&c, STN_NS_PER_S / 5);
        servers_read(&c, 5, STERNA_OK);
    }
    /* Five are missing: after 0.25 s, 0.5 s ... 30 s each is tried again, a bit sooner by chance.
     */
    assert_in_range(peer_accepted(c.peer, 0), 7, 2 + 5 * 10);
    assert_int_equal(stats_of(&c).connections, 1); /* and the one for control */
    if (n_lines("node down")) print_lines();
    assert_int_equal(n_lines("not all connections"), 1);
    assert_int_equal(n_lines("node down"), 0);
    servers_close(&c);
}

static void finish_all_but_one(void *arg) {
    struct servers *c = arg;
    unsigned last = peer_accepted(c->peer, SIZE_MAX), n = 0;
    for (unsigned number = last; number >= 1; number--) {
        struct peer_conn *conn = peer_find(c->peer, number);
        if (conn && number != c->control && n++ > 0) peer_finish_after(conn, 0);
    }
}

static void test_idle_connections_that_are_closed_come_back_silently(void **state) {
    struct servers c = {0};
    (void)state;
    open_frozen(&c, 1, 60000);
    while (stats_of(&c).connections < 4) servers_read(&c, 10, STERNA_OK);
    for (unsigned i = 1; i <= 3; i++) {
        peer_run(c.peer, finish_all_but_one, &c);
        while (stats_of(&c).lost_connections < 3 * i) sched_yield();
        servers_read(&c, 100, STERNA_OK);
        servers_later(&c, STN_NS_PER_S / 2);
        while (stats_of(&c).connections < 4) servers_read(&c, 10, STERNA_OK);
    }
    assert_int_equal(logged.n, 0);
    servers_close(&c);
}

static int finish_in_the_middle(struct servers *c, struct peer_conn *conn,
                                const struct peer_frame *f, unsigned k, size_t node) {
    (void)node;
    if (k % 100 != 7 || c->attempts[k] > 1) return 0;
    peer_finish_after(conn, 3); /* of the frame's header */
    if (k % 200 == 7) peer_finish_after(conn, BLOB_BYTES / 2);
    servers_answer(conn, f, k);
    return 1;
}

static void test_an_end_in_mid_frame_is_read_again(void **state) {
    struct servers c = {.script = finish_in_the_middle};
    (void)state;
    servers_open(&c, 2);
    servers_read(&c, 800, STERNA_OK);
    assert_true(stats_of(&c).lost_connections >= 1);
    assert_true(stats_of(&c).retries >= 1);
    servers_close(&c);
}

/* ---- silence, slowness ---- */

/* The first five connections never answer what is asked of them, but live. */
static int silent_connections(struct servers *c, struct peer_conn *conn, const struct peer_frame *f,
                              unsigned k, size_t node) {
    (void)c, (void)f, (void)k, (void)node;
    return peer_number(conn) <= 5;
}

static void test_connections_that_never_answer_are_replaced(void **state) {
    enum { N = 600 };
    struct servers c = {.script = silent_connections};
    struct stn_host host;
    (void)state;
    servers_start(&c, 1);
    struct stn_session_options o = servers_options(&c, &host);
    o.request_timeout_ms = 400; /* many are given up before the connection is: 64, for 5 s */
    servers_freeze(&c, &o);
    servers_open_with(&c, &o);
    while (stats_of(&c).lost_connections < 4) { /* one of them may have little to do at first */
        struct batch *b = batch_submit(&c, N, 0);
        batch_pass(&c, b);
        batch_check(b, STERNA_OK);
        batch_free(b);
    }
    struct stn_session_stats stats = stats_of(&c);
    /* Nobody was asked without measure: what is out is bounded by the window of a node. */
    assert_in_range(stats.tries, stats.calls + 4, 60 * stats.calls);
    assert_int_equal(stats.in_flight, 0);
    assert_int_equal(stats.in_flight_bytes, 0);
    servers_close(&c);
}

enum { SLOW = 1, HELD_MAX = 100 };

struct held { /* requests to the slow node, the peer's thread's */
    unsigned n;
    struct {
        unsigned conn, k;
        int16_t stream;
        struct peer_frame f;
    } all[HELD_MAX];
};

static int hold_at_slow(struct servers *c, struct peer_conn *conn, const struct peer_frame *f,
                        unsigned k, size_t node) {
    struct held *h = c->own;
    if (node != SLOW || !c->extra) return 0;
    assert_true(h->n < HELD_MAX);
    h->all[h->n].conn = peer_number(conn);
    h->all[h->n].k = k;
    h->all[h->n++].f = (struct peer_frame){.stream = f->stream, .skip_metadata = f->skip_metadata};
    return 1;
}

static void count_held(void *arg) {
    struct servers *c = arg;
    c->number = ((struct held *)c->own)->n;
}

static void release_held(void *arg) {
    struct servers *c = arg;
    struct held *h = c->own;
    for (unsigned i = 0; i < h->n; i++) {
        struct peer_conn *conn = peer_find(c->peer, h->all[i].conn);
        assert_non_null(conn);
        servers_answer(conn, &h->all[i].f, h->all[i].k);
    }
    h->n = 0;
}

/* A batch; node SLOW answers 20 ms after the others. */
static void read_slowly(struct servers *c, size_t n) {
    struct batch *b = batch_submit(c, n, 0);
    for (;;) {
        peer_run(c->peer, count_held, c);
        if (batch_done(b) + c->number < n) {
            sched_yield();
            continue;
        }
        servers_later(c, 20 * STN_NS_PER_MS);
        peer_run(c->peer, release_held, c);
        break;
    }
    batch_check(b, STERNA_OK);
    batch_free(b);
}

static void test_a_slow_node_gets_less_to_do(void **state) {
    enum { N = 60, ROUNDS = 10 };
    struct held held = {0};
    struct servers c = {.script = hold_at_slow, .own = &held};
    (void)state;
    open_frozen(&c, 3, 60000);
    while (!c.asked[0] || !c.asked[1] || !c.asked[2]) servers_read(&c, 50, STERNA_OK);
    unsigned before = c.asked[SLOW];
    for (unsigned i = 0; i < ROUNDS; i++) servers_read(&c, N, STERNA_OK);
    unsigned share = c.asked[SLOW] - before; /* about a third, as long as it is as fast as others */
    assert_in_range(share, ROUNDS * N / 6, ROUNDS * N / 2);
    c.extra = 1;
    for (unsigned i = 0; i < 3; i++) read_slowly(&c, N);
    before = c.asked[SLOW];
    for (unsigned i = 0; i < ROUNDS; i++) read_slowly(&c, N);
    assert_in_range(c.asked[SLOW] - before, 0, share / 5);
    c.extra = 0; /* and when it is as fast again, its share comes back */
    for (unsigned i = 0; i < 100; i++) servers_read(&c, N, STERNA_OK);
    before = c.asked[SLOW];
    for (unsigned i = 0; i < ROUNDS; i++) servers_read(&c, N, STERNA_OK);
    assert_true(c.asked[SLOW] - before >= share / 3);
    servers_close(&c);
}

/* ---- rows that cannot be had ---- */

/* Of the only node that is left, for rows of which it has no copy. */
static int no_replica(struct servers *c, struct peer_conn *conn, const struct peer_frame *f,
                      unsigned k, size_t node) {
    (void)c, (void)node;
    if (k % 10 != 3) return 0;
    peer_send_error(conn, f->stream, STN_CQL_E_UNAVAILABLE, "Cannot achieve consistency level");
    return 1;
}

/* Of 100 rows 90 have been read, and ten were asked for in vain and wait. */
static struct batch *read_what_can_be_had(struct servers *c) {
    unsigned n_asked = 0;
    struct batch *b = batch_submit(c, 100, 0);
    while (batch_done(b) < 90 || n_asked < 10 || stats_of(c).in_flight > 0) {
        sched_yield();
        n_asked = 0;
        for (unsigned k = 3; k < 100; k += 10) n_asked += c->attempts[k] > 0;
    }
    return b;
}

static void check_rows_without_a_replica(struct servers *c, struct batch *b) {
    batch_await(b);
    for (unsigned k = 0; k < 100; k++) {
        int want = k % 10 == 3 ? STERNA_EUNREACHABLE : STERNA_OK;
        if (b->calls[k].code != want) fail_msg("%u: %d, %s", k, b->calls[k].code, b->calls[k].why);
        if (want == STERNA_OK) continue;
        if (!strstr(b->calls[k].why, "0 of 1 replicas alive"))
            fail_msg("%u: %s", k, b->calls[k].why);
        assert_true(c->attempts[k] > 1);
    }
    batch_free(b);
}

static void test_only_rows_without_a_replica_fail(void **state) {
    enum { OUTAGE_S = 10 };
    struct servers c = {.script = no_replica};
    (void)state;
    open_frozen(&c, 3, OUTAGE_S * 1000);
    peer_stop_node(c.peer, 1);
    peer_stop_node(c.peer, 2);
    struct batch *b = read_what_can_be_had(&c);
    while (batch_done(b) < 100) {
        servers_later(&c, STN_NS_PER_S / 4);
        servers_read(&c, 3, STERNA_OK); /* the peer has seen what was sent before */
    }
    assert_true(atomic_load(&c.now_ns) >= (1000 + OUTAGE_S) * STN_NS_PER_S);
    check_rows_without_a_replica(&c, b);
    servers_close(&c);
}

struct step {
    struct servers *c;
    _Atomic(struct batch *) fresh; /* to be sent; then NULL */
};

/* On the session's thread: in its next turn time has passed, and there is more to read. */
static uint64_t take_step(void *ctx) {
    struct step *step = ctx;
    struct batch *fresh = atomic_load(&step->fresh);
    if (!fresh) return UINT64_MAX;
    atomic_fetch_add(&step->c->now_ns, STN_NS_PER_S / 20);
    batch_send(step->c, fresh);
    atomic_store(&step->fresh, NULL);
    return 0;
}

/* The last error of all. */
static void ask_for_what_is_not(struct servers *c) {
    struct stn_question q = {
        .call = {.text = "SELECT k FROM ks.absent", .consistency = STN_CQL_LOCAL_ONE}};
    struct sterna_error err = {0};
    stn_session_ask(c->session, &q);
    assert_int_equal(stn_session_answer(&q, NULL, &err), STERNA_ENOTFOUND);
}

/* Rows wait, and nothing else, until their time is over. What is asked for in any moment of it can
 * be had; and what else went wrong with a server is not why these rows cannot. */
static void test_each_row_has_its_own_time_and_reason(void **state) {
    struct servers c = {.script = no_replica};
    struct step step = {.c = &c};
    struct stn_turn_hook hook = {.run = take_step, .ctx = &step};
    (void)state;
    open_frozen(&c, 1, 5000);
    struct batch *b = read_what_can_be_had(&c);
    stn_session_add_hook(c.session, &hook);
    while (batch_done(b) < 100) {
        struct batch *fresh = batch_make(&c, 1, 0);
        ask_for_what_is_not(&c);
        atomic_store(&step.fresh, fresh);
        servers_later(&c, 0);
        batch_check(fresh, STERNA_OK);
        batch_free(fresh);
        while (stats_of(&c).in_flight > 0) sched_yield();
    }
    stn_session_remove_hook(c.session, &hook);
    check_rows_without_a_replica(&c, b);
    servers_close(&c);
}

/* An answer; and later than all patience, an end. */
static int no_replica_then_lost(struct servers *c, struct peer_conn *conn,
                                const struct peer_frame *f, unsigned k, size_t node) {
    if (c->attempts[k] == 1) return no_replica(c, conn, f, 3, node);
    atomic_fetch_add(&c->now_ns, 61 * STN_NS_PER_S);
    peer_reset_after(conn, 0);
    return 1;
}

static void test_what_a_server_said_of_a_row_is_told_first(void **state) {
    struct servers c = {.script = no_replica_then_lost};
    (void)state;
    open_frozen(&c, 1, 60000);
    struct batch *b = batch_submit(&c, 1, 0);
    batch_pass(&c, b);
    batch_check(b, STERNA_EUNREACHABLE);
    const char *said = strstr(b->calls[0].why, "replicas alive");
    if (!said || !strstr(said, "; then 127.0.0.1:")) fail_msg("%s", b->calls[0].why);
    assert_int_equal(c.attempts[0], 2);
    batch_free(b);
    servers_close(&c);
}

static struct {
    int64_t first_us[CALLS_MAX];
    unsigned others;
} times;

static int time_out_twice(struct servers *c, struct peer_conn *conn, const struct peer_frame *f,
                          unsigned k, size_t node) {
    (void)node;
    if (c->attempts[k] == 1) times.first_us[k] = f->timestamp_us;
    times.others += f->timestamp_us != times.first_us[k];
    if (c->attempts[k] > 2) return 0;
    if (k % 3 == 0)
        peer_send_error(conn, f->stream, STN_CQL_E_WRITE_TIMEOUT, "Operation timed out");
    else if (k % 3 == 1)
        peer_send_error(conn, f->stream, STN_CQL_E_OVERLOADED, "Too much");
    else
        peer_reset_after(conn, 0);
    return 1;
}

/* Whatever a write goes through, it is written as of one time: once. */
static void test_a_write_that_is_sent_again_keeps_its_time(void **state) {
    enum { N = 60 };
    struct servers c = {.script = time_out_twice};
    (void)state;
    memset(&times, 0, sizeof times);
    servers_open(&c, 2);
    struct batch *b = batch_submit(&c, N, 1);
    batch_check(b, STERNA_OK);
    for (unsigned k = 0; k < N; k++) {
        assert_true(times.first_us[k] == WRITE_TIME_US + k);
        assert_true(c.attempts[k] >= 3);
    }
    assert_int_equal(times.others, 0);
    batch_free(b);
    servers_close(&c);
}

/* A server under back-pressure: it reads no more of a connection that brings it writes. */
static int deaf_to_writes(struct servers *c, struct peer_conn *conn, const struct peer_frame *f,
                          unsigned k, size_t node) {
    struct held *h = c->own;
    (void)node;
    if (!c->extra || f->id.data[0] != 'I') return 0;
    assert_true(h->n < HELD_MAX);
    h->all[h->n].conn = peer_number(conn);
    h->all[h->n].k = k;
    h->all[h->n++].f = (struct peer_frame){.stream = f->stream};
    peer_stop_reading(conn, 1); /* what this read has brought is served yet */
    return 1;
}

static void hear_again(void *arg) {
    struct servers *c = arg;
    struct held *h = c->own;
    for (unsigned i = 0; i < h->n; i++) {
        struct peer_conn *conn = peer_find(c->peer, h->all[i].conn);
        assert_non_null(conn);
        peer_stop_reading(conn, 0);
        peer_send_void(conn, h->all[i].f.stream);
    }
    h->n = 0;
}

static void test_reads_go_on_while_writes_are_not_read(void **state) {
    struct held held = {0};
    struct servers c = {.script = deaf_to_writes, .own = &held};
    (void)state;
    open_frozen(&c, 2, 60000);
    servers_read(&c, 200, STERNA_OK);
    struct batch *first = batch_submit(&c, 200, 1); /* their connections are open */
    batch_check(first, STERNA_OK);
    batch_free(first);
    c.extra = 1;
    struct batch *b = batch_submit(&c, 80, 1);
    while (batch_done(b) + c.number == 0) peer_run(c.peer, count_held, &c);
    for (unsigned i = 0; i < 20; i++) {
        servers_later(&c, STN_NS_PER_S / 20);
        servers_read(&c, 100, STERNA_OK);
    }
    assert_true(batch_done(b) < 80);
    c.extra = 0;
    peer_run(c.peer, hear_again, &c);
    batch_check(b, STERNA_OK);
    batch_free(b);
    assert_int_equal(stats_of(&c).lost_connections, 0);
    servers_close(&c);
}

/* ---- credentials ---- */

static int password(void *ctx, char *buf, size_t cap, struct sterna_error *err) {
    (void)ctx, (void)err;
    snprintf(buf, cap, "right horse");
    return STERNA_OK;
}

static int refuse_later(struct servers *c, struct peer_conn *conn, const struct peer_frame *f) {
    if (f->opcode != STN_CQL_AUTH_RESPONSE || !c->extra) return 0;
    peer_send_error(conn, f->stream, STN_CQL_E_CREDENTIALS, "Provided username ann is incorrect");
    return 1;
}

static void test_a_password_that_is_wrong_later_makes_no_storm(void **state) {
    static const struct peer_node node;
    struct servers c = {.first = refuse_later};
    struct stn_host host;
    (void)state;
    servers_start_with(&c,
                       (struct peer_options){
                           .nodes = &node, .n_nodes = 1, .user = "ann", .password = "right horse"});
    struct stn_session_options o = servers_options(&c, &host);
    o.user = "ann";
    o.password = password;
    o.outage_timeout_ms = 50000;
    servers_freeze(&c, &o);
    servers_open_with(&c, &o);
    while (stats_of(&c).connections < 4) servers_read(&c, 10, STERNA_OK);
    c.extra = 1; /* from now on it is another */
    peer_stop_node(c.peer, 0);
    peer_start_node(c.peer, 0);
    unsigned before = peer_accepted(c.peer, 0);
    struct batch *b = batch_submit(&c, 10, 0);
    while (batch_done(b) < 10) {
        servers_later(&c, STN_NS_PER_S / 5);
        usleep(2000);
    }
    batch_check(b, STERNA_EUNREACHABLE);
    assert_non_null(strstr(b->calls[0].why, "authentication failed for user 'ann'"));
    assert_int_equal(n_lines("right horse"), 0);
    assert_int_equal(n_lines("node down"), 1);
    assert_true(n_lines("authentication failed") >= 1);
    /* 50 s: four connections that come back after 30 s, and the one for control. */
    assert_in_range(peer_accepted(c.peer, 0) - before, 1, 4 * 3 + 10);
    batch_free(b);
    c.extra = 0;
    b = batch_submit(&c, 10, 0);
    while (batch_done(b) < 10) {
        servers_later(&c, STN_NS_PER_S / 5);
        usleep(2000);
    }
    batch_check(b, STERNA_OK);
    batch_free(b);
    servers_close(&c);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, watch, unwatch)

int main(int argc, char **argv) {
    if (argc > 1) cmocka_set_test_filter(argv[1]);
    const struct CMUnitTest tests[] = {
        TEST(test_a_limit_of_two_connections_is_enough),
        TEST(test_idle_connections_that_are_closed_come_back_silently),
        TEST(test_an_end_in_mid_frame_is_read_again),
        TEST(test_connections_that_never_answer_are_replaced),
        TEST(test_a_slow_node_gets_less_to_do),
        TEST(test_only_rows_without_a_replica_fail),
        TEST(test_each_row_has_its_own_time_and_reason),
        TEST(test_what_a_server_said_of_a_row_is_told_first),
        TEST(test_a_write_that_is_sent_again_keeps_its_time),
        TEST(test_reads_go_on_while_writes_are_not_read),
        TEST(test_a_password_that_is_wrong_later_makes_no_storm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
