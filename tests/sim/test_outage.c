/* While no replica answers: calls wait, the log says so now and then, and in the end they fail. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "support/check.h"
#include "support/servers.h"

enum { LINES_MAX = 64 };

static struct {
    pthread_mutex_t lock;
    struct servers *servers;
    unsigned n;
    char lines[LINES_MAX][400]; /* of outages */
    uint64_t at_ns[LINES_MAX];
} logged = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void keep_line(void *ctx, int level, const char *line) {
    (void)ctx;
    if (level > STERNA_LOG_WARNING || !strstr(line, "no answer for ") || !strstr(line, "giving up"))
        return;
    pthread_mutex_lock(&logged.lock);
    if (logged.n < LINES_MAX) {
        logged.at_ns[logged.n] = atomic_load(&logged.servers->now_ns);
        snprintf(logged.lines[logged.n++], sizeof logged.lines[0], "%s", line);
    }
    pthread_mutex_unlock(&logged.lock);
}

static void open_frozen(struct servers *c, unsigned outage_ms) {
    struct stn_host host;
    servers_start(c, 2);
    struct stn_session_options o = servers_options(c, &host);
    o.outage_timeout_ms = outage_ms;
    servers_freeze(c, &o);
    servers_open_with(c, &o);
    servers_read(c, 20, STERNA_OK);
    logged.servers = c;
    logged.n = 0;
    sterna_set_log(keep_line, NULL);
}

static void close_all(struct servers *c) {
    sterna_set_log(NULL, NULL);
    servers_close(c);
}

static void stop_all(struct servers *c) {
    for (size_t node = 0; node < 2; node++) peer_stop_node(c->peer, node);
}

/* Time passes in steps, slowly enough for the loop to see each. */
static void pass(struct servers *c, uint64_t ns, struct batch *until) {
    for (uint64_t passed_ns = 0; passed_ns < ns && !(until && batch_done(until) == until->n);
         passed_ns += STN_NS_PER_S / 4) {
        servers_later(c, STN_NS_PER_S / 4);
        usleep(2000);
    }
}

/* Links are tried again in their time; from then on it stands still. */
static void await_connection(struct servers *c) {
    struct stn_session_stats stats = {.connections = 0};
    while (stats.connections == 0) {
        pass(c, STN_NS_PER_S / 4, NULL);
        stn_session_stats(c->session, &stats);
    }
}

/* Host, cause, what waits and what is in flight; and in time, the steps of the clock apart. */
static void check_line(unsigned i, double want_s, uint64_t since_ns, unsigned n_calls) {
    char waiting[80];
    snprintf(waiting, sizeof waiting, "%u requests wait, 0 are out; last: 127.0.0.", n_calls);
    double at_s = (double)(logged.at_ns[i] - since_ns) / 1e9;
    if (at_s < want_s || at_s > want_s + 5 || !strstr(logged.lines[i], waiting) ||
        !strstr(logged.lines[i], "refused"))
        fail_msg("line %u after %.2f s: %s", i, at_s, logged.lines[i]);
}

static void test_an_outage_is_told_at_10_s_and_each_30_s_after(void **state) {
    (void)state;
    struct servers c = {0};
    open_frozen(&c, 95000);
    stop_all(&c);
    uint64_t since_ns = atomic_load(&c.now_ns);
    struct batch *b = batch_submit(&c, 20, 0);
    pass(&c, 300 * STN_NS_PER_S, b);
    batch_check(b, STERNA_EUNREACHABLE);
    assert_non_null(strstr(b->calls[0].why, "127.0.0."));
    batch_free(b);
    assert_int_equal(logged.n, 3);
    check_line(0, 10, since_ns, 20);
    check_line(1, 40, since_ns, 20);
    check_line(2, 70, since_ns, 20);
    assert_non_null(strstr(logged.lines[0], "giving up after 95 s"));
    close_all(&c);
}

static void test_an_outage_that_ends_is_over(void **state) {
    (void)state;
    struct servers c = {0};
    open_frozen(&c, 3600000);
    for (unsigned round = 0; round < 2; round++) {
        stop_all(&c);
        uint64_t since_ns = atomic_load(&c.now_ns);
        struct batch *b = batch_submit(&c, 20, 0);
        pass(&c, 20 * STN_NS_PER_S, b);
        assert_int_equal(batch_done(b), 0);
        assert_int_equal(logged.n, round + 1); /* the second one has its own time */
        check_line(round, 10, since_ns, 20);
        for (size_t node = 0; node < 2; node++) peer_start_node(c.peer, node);
        await_connection(&c);
        batch_check(b, STERNA_OK);
        batch_free(b);
        pass(&c, STN_NS_PER_S, NULL); /* the session looks ten times a second whether it lasts */
    }
    close_all(&c);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_an_outage_is_told_at_10_s_and_each_30_s_after),
        cmocka_unit_test(test_an_outage_that_ends_is_over),
    };
    alarm(240); /* a test that waits for what never comes ends the program */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
