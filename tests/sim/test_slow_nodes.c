/* Requests that are always on their way to servers that take their time, while the session's time
 * is the test's: what a node that becomes slow, all that become slow, or one that hangs does to who
 * is asked and to how long an answer takes. */
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "support/check.h"
#include "support/peer_inside.h"
#include "support/servers.h"

#define MS STN_NS_PER_MS

enum { LOOPS = 120, HELD_MAX = 4 * LOOPS, SLOW = 1, TIMES_MAX = 60000 };

/* ---- servers that take their time ---- */

struct held {
    unsigned conn, k;
    struct peer_frame f;
    uint64_t due_ns;
};

static struct {
    atomic_uint_least64_t delay_ns[SERVERS_MAX]; /* UINT64_MAX: it hangs */
    atomic_int overloaded[SERVERS_MAX];
    atomic_int is_dumb; /* a node that hangs does not even answer heartbeats */
    /* peer's thread */
    unsigned n_held;
    struct held held[HELD_MAX];
    uint64_t sent_bytes; /* in answers */
} slow;

static int take_time(struct servers *c, struct peer_conn *conn, const struct peer_frame *f,
                     unsigned k, size_t node) {
    uint64_t delay_ns = slow.delay_ns[node];
    if (slow.overloaded[node]) {
        peer_send_error(conn, f->stream, STN_CQL_E_OVERLOADED, "Too much");
        return 1;
    }
    if (delay_ns == 0) return 0;
    assert_true(slow.n_held < HELD_MAX);
    slow.held[slow.n_held++] =
        (struct held){.conn = peer_number(conn),
                      .k = k,
                      .f = {.stream = f->stream, .skip_metadata = f->skip_metadata},
                      .due_ns = delay_ns == UINT64_MAX ? UINT64_MAX : c->now_ns + delay_ns};
    return 1;
}

static int be_dumb(struct servers *c, struct peer_conn *conn, const struct peer_frame *f) {
    (void)c, (void)f;
    return slow.is_dumb && slow.delay_ns[peer_node(conn)] == UINT64_MAX;
}

static void release_due(void *arg) {
    struct servers *c = arg;
    unsigned left = 0;
    for (unsigned i = 0; i < slow.n_held; i++) {
        struct held *h = &slow.held[i];
        struct peer_conn *conn = peer_find(c->peer, h->conn);
        if (!conn) continue;
        if (h->due_ns > c->now_ns) {
            slow.held[left++] = *h;
            continue;
        }
        size_t before = conn->out_bytes;
        servers_answer(conn, &h->f, h->k);
        slow.sent_bytes += conn->out_bytes - before;
    }
    slow.n_held = left;
}

/* A node that hung goes on. */
static void resume(void *arg) {
    struct servers *c = arg;
    for (unsigned i = 0; i < slow.n_held; i++)
        slow.held[i].due_ns = STN_MIN(slow.held[i].due_ns, (uint64_t)c->now_ns);
}

/* ---- requests, each again as soon as it was answered ---- */

struct loop {
    struct stn_query_call q;
    uint8_t id[16];
    struct stn_cql_value key;
    uint8_t blob[BLOB_BYTES];
    unsigned k;
    uint64_t sent_ns;
    struct loop *next; /* of those that are done */
};

static struct {
    struct servers c;
    struct stn_statement *statement;
    struct loop all[LOOPS];
    unsigned next_k, n_failed;
    pthread_mutex_t lock; /* of all below */
    struct loop *done;
    unsigned n_times;
    uint64_t times_ns[TIMES_MAX];
} loops = {.lock = PTHREAD_MUTEX_INITIALIZER};

static int on_row(struct stn_query_call *q, const struct stn_cql_value *small) {
    struct loop *l = STN_OUTER(q, struct loop, q);
    return stn_value_equals(small[0], l->id, sizeof l->id) ? STERNA_OK : STERNA_EPROTO;
}

static int on_blob(struct stn_query_call *q, uint32_t i, uint32_t bytes, uint8_t **to) {
    (void)i;
    assert_int_equal(bytes, BLOB_BYTES);
    *to = STN_OUTER(q, struct loop, q)->blob;
    return STERNA_OK;
}

static void on_done(struct stn_query_call *q, int code, const struct stn_query_answer *answer) {
    struct loop *l = STN_OUTER(q, struct loop, q);
    (void)answer;
    pthread_mutex_lock(&loops.lock);
    if (loops.n_times < TIMES_MAX) loops.times_ns[loops.n_times++] = loops.c.now_ns - l->sent_ns;
    loops.n_failed += code != STERNA_OK;
    l->next = loops.done;
    loops.done = l;
    pthread_mutex_unlock(&loops.lock);
}

static void check_blob(const struct loop *l) {
    uint8_t blob[BLOB_BYTES];
    sample_blob(l->k, blob);
    assert_memory_equal(l->blob, blob, sizeof blob);
}

static void ask(struct loop *l) {
    static const struct stn_query_call_ops ops = {on_row, on_blob, on_done};
    struct stn_query_call *q = &l->q;
    l->k = loops.next_k++ % CALLS_MAX;
    sample_id(l->k, l->id);
    memset(l->blob, 0, sizeof l->blob);
    l->key = stn_value_of(l->id, sizeof l->id);
    l->sent_ns = loops.c.now_ns;
    *q = (struct stn_query_call){.ops = &ops,
                                 .statement = loops.statement,
                                 .values = &l->key,
                                 .n_values = 1,
                                 .lane = STN_LANE_READ,
                                 .consistency = STN_CQL_LOCAL_ONE,
                                 .shape = {2, 1},
                                 .weight_bytes = BLOB_BYTES,
                                 .group = &loops};
    stn_session_submit(loops.c.session, &q, 1);
}

/* Those that are done are checked, and asked again. Returns how many. */
static unsigned turn_over(int again) {
    unsigned n = 0;
    pthread_mutex_lock(&loops.lock);
    struct loop *done = loops.done;
    loops.done = NULL;
    pthread_mutex_unlock(&loops.lock);
    for (struct loop *l = done, *next; l; l = next, n++) {
        next = l->next;
        check_blob(l);
        if (again) ask(l);
    }
    assert_int_equal(loops.n_failed, 0);
    return n;
}

static struct stn_session_stats stats_now(void) {
    struct stn_session_stats stats;
    stn_session_stats(loops.c.session, &stats);
    return stats;
}

static void count_sent(void *arg) { *(uint64_t *)arg = slow.sent_bytes; }

/* A step of a millisecond, in which everything that was answered is taken. */
static void step(uint64_t *received_before) {
    uint64_t sent = 0, sent_before = 0;
    peer_run(loops.c.peer, count_sent, &sent_before);
    servers_later(&loops.c, MS);
    peer_run(loops.c.peer, release_due, &loops.c);
    peer_run(loops.c.peer, count_sent, &sent);
    while (stats_now().received_bytes - *received_before < sent - sent_before) sched_yield();
    *received_before = stats_now().received_bytes;
    (void)turn_over(1);
}

static void pass(uint64_t ms) {
    uint64_t received = stats_now().received_bytes;
    for (uint64_t i = 0; i < ms; i++) step(&received);
}

static void open_loops(void) {
    struct stn_host host;
    struct servers *c = &loops.c;
    *c = (struct servers){.script = take_time, .first = be_dumb};
    slow.is_dumb = 0;
    slow.n_held = 0;
    loops.next_k = loops.n_failed = loops.n_times = 0;
    for (size_t i = 0; i < SERVERS_MAX; i++) {
        slow.delay_ns[i] = 0;
        slow.overloaded[i] = 0;
    }
    servers_start(c, SERVERS_MAX);
    struct stn_session_options o = servers_options(c, &host);
    o.outage_timeout_ms = 1000000;
    servers_freeze(c, &o);
    servers_open_with(c, &o);
    loops.statement = servers_statement(c, SELECT);
    while (!c->asked[0] || !c->asked[1] || !c->asked[2]) servers_read(c, 50, STERNA_OK);
    for (size_t i = 0; i < SERVERS_MAX; i++) slow.delay_ns[i] = 10 * MS;
    for (size_t i = 0; i < LOOPS; i++) ask(&loops.all[i]);
}

static void close_loops(void) {
    stn_session_abandon(loops.c.session, &loops);
    loops.done = NULL;
    struct stn_session_stats stats = stats_now();
    assert_int_equal(stats.in_flight, 0);
    assert_int_equal(stats.in_flight_bytes, 0);
    servers_close(&loops.c);
}

/* ---- how it goes ---- */

static int by_size(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

/* What 99 % of the answers in the next so many milliseconds take at most. */
static uint64_t p99_of(uint64_t ms) {
    loops.n_times = 0;
    pass(ms);
    pthread_mutex_lock(&loops.lock);
    unsigned n = loops.n_times;
    qsort(loops.times_ns, n, sizeof *loops.times_ns, by_size);
    uint64_t p99_ns = loops.times_ns[(size_t)n * 99 / 100];
    pthread_mutex_unlock(&loops.lock);
    assert_true(n > 100);
    return p99_ns;
}

static double share_of(const unsigned before[SERVERS_MAX], size_t node) {
    unsigned n = 0;
    for (size_t i = 0; i < SERVERS_MAX; i++) n += loops.c.asked[i] - before[i];
    return (double)(loops.c.asked[node] - before[node]) / n;
}

static void count_asked(unsigned before[SERVERS_MAX]) {
    for (size_t i = 0; i < SERVERS_MAX; i++) before[i] = loops.c.asked[i];
}

/* Twenty times as slow as the others. */
static void test_a_node_that_becomes_slow_is_asked_less(void **state) {
    unsigned before[SERVERS_MAX];
    (void)state;
    open_loops();
    pass(500);
    count_asked(before);
    uint64_t p99_ns = p99_of(500);
    double share = share_of(before, SLOW);
    assert_true(share > 0.15 && share < 0.5);
    slow.delay_ns[SLOW] = 200 * MS;
    struct stn_session_stats stats = stats_now();
    pass(2000);
    count_asked(before);
    uint64_t slow_p99_ns = p99_of(3000);
    if (share_of(before, SLOW) > share / 5)
        fail_msg("its share is %.3f, and was %.3f", share_of(before, SLOW), share);
    if (slow_p99_ns >= 3 * p99_ns) /* mostly less than twice */
        fail_msg("99 %% take up to %.0f ms, and took %.0f", (double)slow_p99_ns / 1e6,
                 (double)p99_ns / 1e6);
    struct stn_session_stats now = stats_now();
    assert_true(now.hedges - stats.hedges <= 33 + (now.calls - stats.calls) * 2 / 100);
    slow.delay_ns[SLOW] = 10 * MS; /* and as fast as ever */
    pass(2000);
    count_asked(before);
    pass(500);
    assert_true(share_of(before, SLOW) > share / 3);
    close_loops();
}

/* The whole path becomes slow: a second request would only be one more. */
static void test_when_all_become_slow_little_is_asked_twice(void **state) {
    (void)state;
    open_loops();
    pass(1000);
    struct stn_session_stats stats = stats_now();
    for (size_t i = 0; i < SERVERS_MAX; i++) slow.delay_ns[i] = 200 * MS;
    pass(3000);
    struct stn_session_stats now = stats_now();
    assert_true(now.hedges - stats.hedges <= 33);
    assert_int_equal(now.suspects, 0);
    assert_int_equal(now.overloaded + now.lost_connections, 0);
    close_loops();
}

/* One node hangs for two seconds: what it owed is asked of others in less than half of one. */
static void test_a_node_that_hangs_for_a_while_is_done_without(void **state) {
    unsigned before[SERVERS_MAX];
    (void)state;
    open_loops();
    pass(1000);
    loops.n_times = 0;
    slow.delay_ns[SLOW] = UINT64_MAX;
    pass(800);
    count_asked(before);
    pass(1200);
    assert_int_equal(loops.c.asked[SLOW], before[SLOW]); /* nothing new goes there */
    pthread_mutex_lock(&loops.lock);
    for (unsigned i = 0; i < loops.n_times; i++) assert_true(loops.times_ns[i] < 400 * MS);
    pthread_mutex_unlock(&loops.lock);
    slow.delay_ns[SLOW] = 10 * MS;
    peer_run(loops.c.peer, resume, &loops.c);
    pass(1000);
    assert_true(loops.c.asked[SLOW] > before[SLOW] + 100);
    assert_int_equal(stats_now().lost_connections, 0);
    close_loops();
}

struct old { /* connections to SLOW up to that number */
    unsigned last, n;
};

static void count_old(void *arg) {
    struct old *old = arg;
    old->n = 0;
    for (unsigned number = 1; number <= old->last; number++) {
        struct peer_conn *conn = peer_find(loops.c.peer, number);
        old->n += conn && peer_node(conn) == SLOW;
    }
}

/* One that hangs for good: its connections end, and the samples come from others. */
static void test_the_connections_of_a_hung_node_are_closed(void **state) {
    struct old old;
    (void)state;
    open_loops();
    slow.is_dumb = 1;
    pass(1000);
    sterna_set_log(NULL, NULL);
    slow.delay_ns[SLOW] = UINT64_MAX;
    old.last = peer_accepted(loops.c.peer, SIZE_MAX);
    peer_run(loops.c.peer, count_old, &old);
    assert_true(old.n > 0);
    for (unsigned ms = 0; old.n > 0; ms += 100) {
        assert_true(ms <= 15000); /* idle ones are asked after five seconds, and given as many */
        pass(100);
        peer_run(loops.c.peer, count_old, &old);
    }
    close_loops();
}

/* An overloaded node is not helped by asking another, nor may another be asked at it. */
static void test_overload_leads_to_no_second_requests(void **state) {
    (void)state;
    sterna_set_log(NULL, NULL);
    open_loops();
    pass(1000);
    uint64_t hedges = stats_now().hedges;
    for (size_t i = 0; i < SERVERS_MAX; i++) slow.overloaded[i] = 1;
    pass(20);
    for (size_t i = 0; i < SERVERS_MAX; i++) slow.overloaded[i] = 0;
    for (size_t i = 0; i < SERVERS_MAX; i++) slow.delay_ns[i] = 100 * MS;
    pass(300);
    assert_true(stats_now().overloaded > 0);
    assert_int_equal(stats_now().hedges, hedges);
    for (size_t i = 0; i < SERVERS_MAX; i++) slow.delay_ns[i] = 10 * MS;
    pass(2000); /* everything comes after all */
    assert_int_equal(loops.n_failed, 0);
    close_loops();
}

static int watch(void **state) { /* a test that waits for what never comes ends the program */
    (void)state;
    alarm(240);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_a_node_that_becomes_slow_is_asked_less, watch),
        cmocka_unit_test_setup(test_when_all_become_slow_little_is_asked_twice, watch),
        cmocka_unit_test_setup(test_a_node_that_hangs_for_a_while_is_done_without, watch),
        cmocka_unit_test_setup(test_the_connections_of_a_hung_node_are_closed, watch),
        cmocka_unit_test_setup(test_overload_leads_to_no_second_requests, watch),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
