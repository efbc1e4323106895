/* The session against scripted servers: which node is asked, and what each kind of trouble leads
 * to. Every call must be done exactly once, with the right bytes or one clear error. */
#include <stdio.h>
#include <string.h>

#include "support/check.h"
#include "support/servers.h"

/* ---- opening ---- */

static void test_open_knows_the_nodes(void **state) {
    struct servers c = {0};
    struct stn_session_info info;
    (void)state;
    servers_open(&c, 3);
    stn_session_info(c.session, &info);
    assert_int_equal(info.n_nodes, 3);
    assert_string_equal(info.dc, "dc1");
    assert_true(info.murmur3);
    servers_close(&c);
}

static void test_open_takes_the_contact_point_that_answers(void **state) {
    struct servers c = {0};
    (void)state;
    servers_start(&c, 2);
    peer_stop_node(c.peer, 0);
    struct stn_host hosts[] = {{"127.0.0.1", peer_port(c.peer)}, {"127.0.0.2", peer_port(c.peer)}};
    struct stn_session_options o = {.hosts = hosts, .n_hosts = 2, .keyspace = "ks"};
    servers_open_with(&c, &o);
    servers_close(&c);
}

static void test_open_lists_every_address_that_fails(void **state) {
    struct servers c = {0};
    struct sterna_error err = {0};
    (void)state;
    servers_start(&c, 2);
    peer_stop_node(c.peer, 0);
    peer_stop_node(c.peer, 1);
    struct stn_host hosts[] = {{"127.0.0.1", peer_port(c.peer)}, {"127.0.0.2", peer_port(c.peer)}};
    struct stn_session_options o = {.hosts = hosts, .n_hosts = 2};
    assert_int_equal(stn_session_open(&c.session, &o, &err), STERNA_EUNREACHABLE);
    assert_non_null(strstr(err.message, "127.0.0.1:"));
    assert_non_null(strstr(err.message, "127.0.0.2:"));
    assert_null(c.session);
    peer_close(&c.peer);
}

static void test_open_names_the_data_centres_there_are(void **state) {
    struct servers c = {0};
    struct stn_host host;
    struct sterna_error err = {0};
    (void)state;
    servers_start(&c, 2);
    struct stn_session_options o = servers_options(&c, &host);
    o.dc = "nowhere";
    assert_int_equal(stn_session_open(&c.session, &o, &err), STERNA_EINVAL);
    assert_non_null(strstr(err.message, "nowhere"));
    assert_non_null(strstr(err.message, "dc1"));
    peer_close(&c.peer);
}

static void test_open_without_the_right_password_is_refused_at_once(void **state) {
    struct servers c = {0};
    struct stn_host host;
    struct sterna_error err = {0};
    (void)state;
    servers_start_with(&c, (struct peer_options){.user = "ann", .password = "right"});
    struct stn_session_options o = servers_options(&c, &host);
    assert_int_equal(stn_session_open(&c.session, &o, &err), STERNA_EREFUSED);
    assert_int_equal(peer_accepted(c.peer, SIZE_MAX), 1);
    peer_close(&c.peer);
}

/* Connections for reads are there already, and wait with their password for the first one's fate.
 */
static void test_a_wrong_password_is_tried_once(void **state) {
    struct servers c = {0};
    struct stn_host host;
    struct sterna_error err = {0};
    (void)state;
    servers_start_with(&c, (struct peer_options){.user = "ann", .password = "right"});
    struct stn_session_options o = servers_options(&c, &host);
    o.user = "ann";
    o.reads_soon = 1;
    assert_int_equal(stn_session_open(&c.session, &o, &err), STERNA_EREFUSED);
    assert_int_equal(peer_requests(c.peer, STN_CQL_AUTH_RESPONSE), 1);
    peer_close(&c.peer);
}

static int first_node_is_mute(struct servers *c, struct peer_conn *conn,
                              const struct peer_frame *f) {
    (void)c, (void)f;
    return peer_node(conn) == 0;
}

/* The one that TCP connects first need not become ready. */
static void test_reads_move_to_the_contact_point_that_is_ready(void **state) {
    struct servers c = {.first = first_node_is_mute};
    (void)state;
    servers_start(&c, 2);
    struct stn_host hosts[] = {{"127.0.0.1", peer_port(c.peer)}, {"127.0.0.2", peer_port(c.peer)}};
    struct stn_session_options o = {
        .hosts = hosts, .n_hosts = 2, .keyspace = "ks", .reads_soon = 1};
    servers_open_with(&c, &o);
    servers_read(&c, 50, STERNA_OK);
    assert_int_equal(c.asked[1], 50);
    servers_close(&c);
}

static void test_reads_leave_a_contact_point_in_another_data_centre(void **state) {
    static const struct peer_node nodes[] = {{.dc = "far"}, {.dc = "near"}};
    struct servers c = {0};
    struct stn_host host;
    (void)state;
    servers_start_with(&c, (struct peer_options){.nodes = nodes, .n_nodes = 2});
    struct stn_session_options o = servers_options(&c, &host);
    o.dc = "near";
    o.reads_soon = 1;
    servers_open_with(&c, &o);
    servers_read(&c, 50, STERNA_OK);
    assert_int_equal(c.asked[0], 0);
    servers_close(&c);
}

static void test_open_translates_addresses(void **state) {
    static const struct peer_node nodes[] = {{.told_ip = NULL}, {.told_ip = "203.0.113.7"}};
    struct servers c = {0};
    struct stn_host host;
    const uint8_t told[4] = {203, 0, 113, 7}, real[4] = {127, 0, 0, 2};
    struct stn_translation t;
    (void)state;
    servers_start_with(&c, (struct peer_options){.nodes = nodes, .n_nodes = 2});
    stn_address_from_ip(&t.from, told, 4, peer_port(c.peer));
    stn_address_from_ip(&t.to, real, 4, peer_port(c.peer));
    struct stn_session_options o = servers_options(&c, &host);
    o.translations = &t;
    o.n_translations = 1;
    servers_open_with(&c, &o);
    while (c.asked[0] < 20 || c.asked[1] < 20) servers_read(&c, 100, STERNA_OK);
    servers_close(&c);
}

static void test_half_joined_nodes_are_passed_over(void **state) {
    static const struct peer_node nodes[] = {{.rack = NULL}, {.no_rpc_address = 1}};
    struct servers c = {0};
    struct stn_host host;
    struct stn_session_info info;
    (void)state;
    sterna_set_log(NULL, NULL);
    servers_start_with(&c, (struct peer_options){.nodes = nodes, .n_nodes = 2});
    struct stn_session_options o = servers_options(&c, &host);
    servers_open_with(&c, &o);
    stn_session_info(c.session, &info);
    assert_int_equal(info.n_nodes, 1);
    servers_read(&c, 50, STERNA_OK);
    servers_close(&c);
}

/* ---- reading ---- */

/* Time passes by batch_pass() alone. */
static void open_frozen(struct servers *c, size_t n_nodes, unsigned request_ms) {
    struct stn_host host;
    servers_start(c, n_nodes);
    struct stn_session_options o = servers_options(c, &host);
    o.request_timeout_ms = request_ms;
    servers_freeze(c, &o);
    servers_open_with(c, &o);
}

/* However soon the answer is there. */
static void test_who_has_an_answer_knows_the_way(void **state) {
    struct servers c = {0};
    struct sterna_path path;
    (void)state;
    open_frozen(&c, 1, 0);
    servers_read(&c, 1, STERNA_OK);
    stn_session_path(c.session, &path);
    assert_int_equal(path.phase, STERNA_PATH_RAMP);
    assert_int_equal(path.nodes, 1);
    assert_true(path.connections > 0);
    servers_close(&c);
}

static void test_reads_spread_over_replicas(void **state) {
    struct servers c = {0};
    (void)state;
    servers_open(&c, 3);
    while (!c.asked[0] || !c.asked[1] || !c.asked[2])
        servers_read(&c, 50, STERNA_OK); /* connects */
    unsigned before[3] = {c.asked[0], c.asked[1], c.asked[2]}, n_executes = c.n_executes;
    struct stn_session_stats stats;
    stn_session_stats(c.session, &stats);
    uint64_t hedges = stats.hedges;
    servers_read(&c, 600, STERNA_OK);
    stn_session_stats(c.session, &stats); /* on a busy machine some are asked for twice */
    assert_int_equal(c.n_executes, n_executes + 600 + stats.hedges - hedges);
    for (size_t i = 0; i < 3; i++) {
        assert_in_range(c.asked[i] - before[i], 60, 400);
        assert_int_equal(c.n_prepares[i], 1); /* single flight, whatever waits for it */
    }
    assert_int_equal(c.n_strange, 0);
    servers_close(&c);
}

/* A node that has not heard of a new table would call the schema agreed upon. */
static void test_the_schema_is_changed_where_agreement_is_asked(void **state) {
    (void)state;
    for (unsigned i = 0; i < 5; i++) { /* whatever connection is ready first */
        struct servers c = {0};
        servers_open(&c, 3);
        for (unsigned k = 0; k < 10; k++) {
            struct sterna_error err = {0};
            struct stn_rows rows;
            struct stn_query_call q = {.text = "CREATE TABLE t (id uuid PRIMARY KEY)",
                                       .lane = STN_LANE_READ,
                                       .consistency = STN_CQL_LOCAL_QUORUM};
            CHECK_OK(stn_session_query(c.session, &q, &rows, &err), err);
            stn_rows_free(&rows);
            CHECK_OK(stn_session_await_schema(c.session, &err), err);
        }
        assert_int_equal(c.asked[0], 10); /* the contact point, to which control goes */
        servers_close(&c);
    }
}

/* Of three nodes with two copies of each row one can be lost without anybody noticing. */
static void test_a_lost_node_costs_nothing(void **state) {
    struct servers c = {0};
    (void)state;
    sterna_set_log(NULL, NULL);
    servers_open(&c, 3);
    servers_read(&c, 300, STERNA_OK);
    struct batch *b = batch_submit(&c, 1000, 0);
    peer_stop_node(c.peer, 1);
    batch_check(b, STERNA_OK);
    batch_free(b);
    servers_close(&c);
}

static void test_a_node_that_returns_is_used_again(void **state) {
    struct servers c = {0};
    (void)state;
    sterna_set_log(NULL, NULL);
    servers_open(&c, 2);
    servers_read(&c, 100, STERNA_OK);
    peer_stop_node(c.peer, 1);
    servers_read(&c, 100, STERNA_OK);
    unsigned before = c.asked[1];
    peer_start_node(c.peer, 1);
    while (c.asked[1] == before) servers_read(&c, 100, STERNA_OK);
    servers_close(&c);
}

static int reset_in_the_middle(struct servers *c, struct peer_conn *conn,
                               const struct peer_frame *f, unsigned k, size_t node) {
    (void)node;
    if (k % 100 != 7 || c->attempts[k] > 1) return 0;
    peer_reset_after(conn, BLOB_BYTES / 2);
    servers_answer(conn, f, k);
    return 1;
}

static void test_a_reset_in_mid_blob_is_read_again(void **state) {
    struct servers c = {.script = reset_in_the_middle};
    struct stn_session_stats stats;
    (void)state;
    sterna_set_log(NULL, NULL);
    servers_open(&c, 1); /* no other replica: the same node, again */
    servers_read(&c, 800, STERNA_OK);
    stn_session_stats(c.session, &stats);
    assert_true(stats.lost_connections >= 1);
    assert_true(stats.retries >= 1);
    servers_close(&c);
}

static int wrong_key_once(struct servers *c, struct peer_conn *conn, const struct peer_frame *f,
                          unsigned k, size_t node) {
    (void)node;
    if (k != 5 || c->attempts[k] > 1) return 0;
    servers_answer(conn, f, 6);
    return 1;
}

static void test_an_answer_with_another_key_is_asked_again(void **state) {
    struct servers c = {.script = wrong_key_once};
    (void)state;
    sterna_set_log(NULL, NULL);
    servers_open(&c, 2);
    servers_read(&c, 100, STERNA_OK);
    assert_true(c.attempts[5] > 1);
    servers_close(&c);
}

static int not_there(struct servers *c, struct peer_conn *conn, const struct peer_frame *f,
                     unsigned k, size_t node) {
    (void)c, (void)k, (void)node;
    peer_send_blob(conn, f, NULL, 0, NULL, 0);
    return 1;
}

static void test_no_row_is_not_found(void **state) {
    struct servers c = {.script = not_there};
    (void)state;
    servers_open(&c, 2);
    servers_read(&c, 20, STERNA_ENOTFOUND);
    servers_close(&c);
}

/* ---- errors of the server ---- */

static uint32_t error_code;
static unsigned error_times; /* at each call */

static int fail_first(struct servers *c, struct peer_conn *conn, const struct peer_frame *f,
                      unsigned k, size_t node) {
    (void)node;
    if (c->attempts[k] > error_times) return 0;
    peer_send_error(conn, f->stream, error_code, "as the test wants it");
    return 1;
}

static void test_errors_have_their_reactions(void **state) {
    static const struct {
        const char *name;
        uint32_t code;
        int write;
        unsigned times; /* that it fails */
        int want;
        unsigned attempts_max; /* of one call */
    } rows[] = {
        {"overloaded", STN_CQL_E_OVERLOADED, 0, 3, STERNA_OK, 4},
        {"overloaded write", STN_CQL_E_OVERLOADED, 1, 3, STERNA_OK, 4},
        {"read timeout", STN_CQL_E_READ_TIMEOUT, 0, 3, STERNA_OK, 4},
        {"read failure at one replica", STN_CQL_E_READ_FAILURE, 0, 1, STERNA_OK, 2},
        {"read failure everywhere", STN_CQL_E_READ_FAILURE, 0, 99, STERNA_EIO, 3},
        {"unavailable for a while", STN_CQL_E_UNAVAILABLE, 0, 4, STERNA_OK, 5},
        {"write timeout", STN_CQL_E_WRITE_TIMEOUT, 1, 2, STERNA_OK, 3},
        {"write failure once", STN_CQL_E_WRITE_FAILURE, 1, 1, STERNA_OK, 2},
        {"write failure twice", STN_CQL_E_WRITE_FAILURE, 1, 99, STERNA_EIO, 2},
        {"server error once", STN_CQL_E_SERVER, 0, 1, STERNA_OK, 2},
        {"server error in a write", STN_CQL_E_SERVER, 1, 99, STERNA_EIO, 2},
        {"bootstrapping", STN_CQL_E_BOOTSTRAPPING, 0, 1, STERNA_OK, 2},
        {"unauthorized", STN_CQL_E_UNAUTHORIZED, 0, 99, STERNA_EREFUSED, 1},
        {"syntax", STN_CQL_E_SYNTAX, 0, 99, STERNA_EINVAL, 1},
        {"invalid", STN_CQL_E_INVALID, 1, 99, STERNA_EINVAL, 1},
        {"config", STN_CQL_E_CONFIG, 0, 99, STERNA_EINVAL, 1},
        {"truncate", STN_CQL_E_TRUNCATE, 0, 99, STERNA_EIO, 1},
        {"a rate limit of Scylla's", 0x4321, 0, 99, STERNA_EBUSY, 1},
    };
    (void)state;
    sterna_set_log(NULL, NULL);
    for (size_t i = 0; i < STN_COUNT(rows); i++) {
        struct servers c = {.script = fail_first};
        error_code = rows[i].code;
        error_times = rows[i].times;
        open_frozen(&c, 2, 0);
        struct batch *b = batch_submit(&c, 3, rows[i].write);
        batch_pass(&c, b);
        for (size_t k = 0; k < 3; k++) {
            if (b->calls[k].code != rows[i].want || c.attempts[k] > rows[i].attempts_max)
                fail_msg("%s: %d after %u attempts (%s)", rows[i].name, b->calls[k].code,
                         c.attempts[k], b->calls[k].why);
            if (rows[i].want < 0) {
                assert_non_null(strstr(b->calls[k].why, "as the test wants it"));
                assert_non_null(strstr(b->calls[k].why, "127.0.0."));
            }
        }
        batch_free(b);
        servers_close(&c);
    }
}

static void test_a_quorum_is_asked_when_no_replica_alone_will_do(void **state) {
    struct servers c = {.script = fail_first};
    (void)state;
    error_code = STN_CQL_E_READ_FAILURE;
    error_times = 2;
    servers_open(&c, 2);
    servers_read(&c, 1, STERNA_OK);
    assert_int_equal(c.by_consistency[STN_CQL_LOCAL_ONE], 2);
    assert_int_equal(c.by_consistency[STN_CQL_LOCAL_QUORUM], 1);
    servers_close(&c);
}

static int forget_once_a_node(struct servers *c, struct peer_conn *conn, const struct peer_frame *f,
                              unsigned k, size_t node) {
    (void)k;
    if (c->n_prepares[node] > 1) return 0;
    peer_send_unprepared(conn, f);
    return 1;
}

static void test_a_forgotten_statement_is_prepared_once_more(void **state) {
    struct servers c = {.script = forget_once_a_node};
    (void)state;
    servers_open(&c, 2);
    servers_read(&c, 300, STERNA_OK);
    for (size_t i = 0; i < 2; i++) assert_int_equal(c.n_prepares[i], 2);
    servers_close(&c);
}

static int forget_each_seventh(struct servers *c, struct peer_conn *conn,
                               const struct peer_frame *f, unsigned k, size_t node) {
    (void)k, (void)node;
    if (c->n_executes % 7 != 0) return 0;
    peer_send_unprepared(conn, f);
    return 1;
}

static void test_a_statement_that_works_in_between_may_be_forgotten_often(void **state) {
    struct servers c = {.script = forget_each_seventh};
    struct stn_session_stats stats;
    (void)state;
    servers_open(&c, 1);
    servers_read(&c, 500, STERNA_OK);
    stn_session_stats(c.session, &stats);
    assert_true(stats.unprepared >= 10);
    assert_true(stats.received_bytes >= (uint64_t)500 * BLOB_BYTES);
    servers_close(&c);
}

static int forget_for_ever(struct servers *c, struct peer_conn *conn, const struct peer_frame *f,
                           unsigned k, size_t node) {
    (void)c, (void)k, (void)node;
    peer_send_unprepared(conn, f);
    return 1;
}

static void test_a_statement_forgotten_for_ever_is_an_error(void **state) {
    struct servers c = {.script = forget_for_ever};
    (void)state;
    servers_open(&c, 1);
    struct batch *b = batch_submit(&c, 5, 0);
    batch_check(b, STERNA_EIO);
    assert_non_null(strstr(b->calls[0].why, SELECT));
    assert_in_range(c.n_prepares[0], 3, 5);
    batch_free(b);
    servers_close(&c);
}

static void test_a_wrong_statement_is_refused(void **state) {
    struct servers c = {0};
    struct stn_statement *t;
    struct sterna_error err = {0};
    (void)state;
    servers_open(&c, 1);
    assert_int_equal(stn_session_prepare(c.session, "SELECT nonsense", &t, &err), STERNA_EINVAL);
    assert_non_null(strstr(err.message, "SELECT nonsense"));
    servers_close(&c);
}

/* What was prepared ahead is not asked for again, unless it went wrong. */
static void test_a_statement_is_prepared_ahead(void **state) {
    struct servers c = {0};
    struct stn_host host;
    struct stn_statement *t;
    struct sterna_error err = {0};
    (void)state;
    servers_start(&c, 1);
    struct stn_session_options o = servers_options(&c, &host);
    CHECK_OK(stn_session_start(&c.session, &o, &err), err);
    stn_session_prepare_ahead(c.session, SELECT);
    stn_session_prepare_ahead(c.session, SELECT);
    stn_session_prepare_ahead(c.session, "SELECT nonsense");
    CHECK_OK(stn_session_await(c.session, &err), err);
    CHECK_OK(stn_session_prepare(c.session, SELECT, &t, &err), err);
    assert_int_equal(stn_session_prepare(c.session, "SELECT nonsense", &t, &err), STERNA_EINVAL);
    assert_int_equal(c.n_prepares[0], 3);
    servers_read(&c, 10, STERNA_OK);
    assert_int_equal(c.n_prepares[0], 3);
    stn_session_prepare_ahead(c.session, "SELECT more nonsense"); /* nobody waits for it */
    servers_close(&c);
}

/* CASSANDRA-21508: a late request is answered with OVERLOADED on stream 0, and its own stream gets
 * the rows much later. */
static int confess_on_stream_0(struct servers *c, struct peer_conn *conn,
                               const struct peer_frame *f, unsigned k, size_t node) {
    (void)node;
    if (k != 3) return 0;
    if (c->attempts[k] == 1) {
        peer_send_error(conn, 0, STN_CQL_E_OVERLOADED, "Query timed out before it could start");
        c->stream = (uint16_t)f->stream;
        c->number = peer_number(conn);
        return 1;
    }
    struct peer_conn *first = peer_find(c->peer, c->number);
    if (first) { /* another sample's row on the old stream, before the right one on the new */
        struct peer_frame late = *f;
        late.stream = (int16_t)c->stream;
        servers_answer(first, &late, 4);
    }
    return 0;
}

static void test_an_error_on_stream_0_puts_no_foreign_bytes_anywhere(void **state) {
    struct servers c = {.script = confess_on_stream_0};
    struct stn_session_stats stats;
    (void)state;
    sterna_set_log(NULL, NULL);
    open_frozen(&c, 1, 300);
    struct batch *b = batch_submit(&c, 50, 0);
    batch_pass(&c, b);
    batch_check(b, STERNA_OK);
    batch_free(b);
    stn_session_stats(c.session, &stats);
    assert_true(stats.strays >= 1);
    servers_close(&c);
}

/* ---- silence ---- */

static int silent_node(struct servers *c, struct peer_conn *conn, const struct peer_frame *f,
                       unsigned k, size_t node) {
    (void)c, (void)conn, (void)f, (void)k;
    return node == 1;
}

static void test_a_silent_node_is_passed_over(void **state) {
    struct servers c = {.script = silent_node};
    (void)state;
    sterna_set_log(NULL, NULL);
    open_frozen(&c, 3, 200);
    struct batch *b = batch_submit(&c, 500, 0);
    batch_pass(&c, b);
    batch_check(b, STERNA_OK);
    batch_free(b);
    servers_close(&c);
}

static void test_with_no_node_left_calls_fail_in_the_end(void **state) {
    struct servers c = {0};
    struct stn_host host;
    (void)state;
    sterna_set_log(NULL, NULL);
    servers_start(&c, 1);
    struct stn_session_options o = servers_options(&c, &host);
    o.outage_timeout_ms = 700;
    servers_open_with(&c, &o);
    servers_read(&c, 10, STERNA_OK);
    struct stn_statement *t = servers_statement(&c, SELECT);
    assert_non_null(t);
    peer_stop_node(c.peer, 0);
    struct batch *b = batch_submit(&c, 10, 0);
    batch_check(b, STERNA_EUNREACHABLE);
    assert_non_null(strstr(b->calls[0].why, "127.0.0.1"));
    batch_free(b);
    peer_start_node(c.peer, 0); /* and then it works again */
    for (int code = STERNA_EUNREACHABLE; code != STERNA_OK;) {
        struct batch *again = batch_submit(&c, 1, 0);
        batch_await(again);
        code = again->calls[0].code;
        batch_free(again);
    }
    servers_close(&c);
}

/* Never an answer to the first thousand. */
static int silent_at_first(struct servers *c, struct peer_conn *conn, const struct peer_frame *f,
                           unsigned k, size_t node) {
    (void)c, (void)conn, (void)f, (void)node;
    return k < 40;
}

static void test_abandoned_calls_are_their_makers_at_once(void **state) {
    struct servers c = {.script = silent_at_first};
    (void)state;
    servers_open(&c, 2);
    struct batch *b = batch_submit(&c, 40, 0);
    peer_await(c.peer, STN_CQL_EXECUTE, 40);
    stn_session_abandon(c.session, b);
    assert_int_equal(b->n_done, 0);
    batch_free(b); /* ASan sees whatever is written to it from now on */
    struct batch *all = batch_submit(&c, 140, 0); /* the session goes on for others */
    pthread_mutex_lock(&all->lock);
    while (all->n_done < 100) pthread_cond_wait(&all->changed, &all->lock);
    pthread_mutex_unlock(&all->lock);
    stn_session_abandon(c.session, all);
    batch_free(all);
    servers_close(&c);
}

/* ---- Scylla ---- */

static void test_shards_get_connections_of_their_own(void **state) {
    static const struct peer_pair scylla[] = {
        {"SCYLLA_SHARD", "0"}, {"SCYLLA_NR_SHARDS", "6"}, {"SCYLLA_SHARDING_IGNORE_MSB", "12"}};
    struct servers c = {0};
    struct stn_host host;
    struct stn_session_info info;
    (void)state;
    servers_start_with(&c, (struct peer_options){.supported = scylla,
                                                 .n_supported = STN_COUNT(scylla),
                                                 .without_peers_v2 = 1});
    struct stn_session_options o = servers_options(&c, &host);
    servers_open_with(&c, &o);
    stn_session_info(c.session, &info);
    assert_true(info.is_scylla);
    servers_read(&c, 200, STERNA_OK);
    while (peer_accepted(c.peer, SIZE_MAX) < 1 + 6) servers_read(&c, 10, STERNA_OK);
    servers_close(&c);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_open_knows_the_nodes),
        cmocka_unit_test(test_open_takes_the_contact_point_that_answers),
        cmocka_unit_test(test_open_lists_every_address_that_fails),
        cmocka_unit_test(test_open_names_the_data_centres_there_are),
        cmocka_unit_test(test_open_without_the_right_password_is_refused_at_once),
        cmocka_unit_test(test_a_wrong_password_is_tried_once),
        cmocka_unit_test(test_reads_move_to_the_contact_point_that_is_ready),
        cmocka_unit_test(test_reads_leave_a_contact_point_in_another_data_centre),
        cmocka_unit_test(test_open_translates_addresses),
        cmocka_unit_test(test_half_joined_nodes_are_passed_over),
        cmocka_unit_test(test_who_has_an_answer_knows_the_way),
        cmocka_unit_test(test_reads_spread_over_replicas),
        cmocka_unit_test(test_the_schema_is_changed_where_agreement_is_asked),
        cmocka_unit_test(test_a_lost_node_costs_nothing),
        cmocka_unit_test(test_a_node_that_returns_is_used_again),
        cmocka_unit_test(test_a_reset_in_mid_blob_is_read_again),
        cmocka_unit_test(test_an_answer_with_another_key_is_asked_again),
        cmocka_unit_test(test_no_row_is_not_found),
        cmocka_unit_test(test_errors_have_their_reactions),
        cmocka_unit_test(test_a_quorum_is_asked_when_no_replica_alone_will_do),
        cmocka_unit_test(test_a_forgotten_statement_is_prepared_once_more),
        cmocka_unit_test(test_a_statement_that_works_in_between_may_be_forgotten_often),
        cmocka_unit_test(test_a_statement_forgotten_for_ever_is_an_error),
        cmocka_unit_test(test_a_wrong_statement_is_refused),
        cmocka_unit_test(test_a_statement_is_prepared_ahead),
        cmocka_unit_test(test_an_error_on_stream_0_puts_no_foreign_bytes_anywhere),
        cmocka_unit_test(test_a_silent_node_is_passed_over),
        cmocka_unit_test(test_with_no_node_left_calls_fail_in_the_end),
        cmocka_unit_test(test_abandoned_calls_are_their_makers_at_once),
        cmocka_unit_test(test_shards_get_connections_of_their_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
