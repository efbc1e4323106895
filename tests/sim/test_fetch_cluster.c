/* Fetching by id over clusters in memory, on a good day and on bad ones. */
#include "support/check.h"

#include <stdio.h>
#include <string.h>

#include "cassandra/ask.h"
#include "sterna/sterna.h"
#include "support/cqlmem.h"
#include "support/pictures.h"
#include "support/tree.h"

enum { N = 200 };

#define ok(call)                                                                                   \
    do {                                                                                           \
        struct sterna_error err = {0};                                                             \
        int ok_rc = (call);                                                                        \
        if (ok_rc != STERNA_OK) fail_msg("%s: %d: %s", #call, ok_rc, err.message);                 \
    } while (0)

struct fixture {
    struct cqlmem servers;
    struct tree home, images;
    sterna_store *store;
    sterna_selection *selection; /* with the path */
    sterna_fetcher *fetcher;
    char url[200];
};

static struct picture picture_of(unsigned i) { return picture_png(8 + i % 5, 6, 3, i); }

static void ingest(struct fixture *f) {
    struct sterna_store_options o = {
        .struct_size = sizeof o, .mode = STERNA_OPEN_CREATE, .replication = "2"};
    struct sterna_ingest_options ingest;
    struct sterna_ingest_result result;
    char name[32];
    for (unsigned i = 0; i < N; i++) {
        struct picture p = picture_of(i);
        snprintf(name, sizeof name, "c%u/%u.png", i % 3, i);
        tree_write(&f->images, name, p.data, p.bytes);
        free(p.data);
    }
    sterna_ingest_options_init(&ingest);
    ok(sterna_store_open(&f->store, f->url, &o, &err));
    ok(sterna_ingest_folder(f->store, f->images.path, &ingest, &result, &err));
}

static void open_cluster(struct fixture *f, const char *const *options) {
    static const char *const path[] = {"path"};
    const struct sterna_select_options o = {
        .struct_size = sizeof o, .columns = path, .n_columns = 1};
    *f = (struct fixture){0};
    assert_true(cqlmem_open(&f->servers, options));
    tree_open(&f->home);
    tree_open(&f->images);
    setenv("STERNA_CACHE", f->home.path, 1);
    snprintf(f->url, sizeof f->url, "cassandra://%s/ks/birds?outage_timeout=1", f->servers.address);
    ingest(f);
    ok(sterna_select(&f->selection, f->store, &o, &err));
    ok(sterna_fetcher_open(&f->fetcher, f->store, NULL, &err));
}

static void close_cluster(struct fixture *f) {
    sterna_fetcher_close(&f->fetcher);
    sterna_selection_close(&f->selection);
    sterna_store_close(&f->store);
    cqlmem_close(&f->servers);
    tree_close(&f->home);
    tree_close(&f->images);
}

static const uint8_t (*id_at(const struct fixture *f, uint64_t index))[STERNA_ID_BYTES] {
    return sterna_selection_ids(f->selection) + index;
}

static uint64_t submit(const struct fixture *f, uint64_t first, size_t n) {
    uint64_t ticket;
    ok(sterna_submit(f->fetcher, id_at(f, first), n, &ticket, &err));
    return ticket;
}

/* Row `row` holds the picture that stands at `index` of the selection. */
static void check_row(const struct fixture *f, const sterna_batch *b, uint32_t row,
                      uint64_t index) {
    struct sterna_field_view view;
    struct sterna_value path;
    sterna_selection_value(f->selection, 0, index, &path);
    unsigned i = (unsigned)strtoul(path.text + 3, NULL, 10); /* "c2/17.png" */
    struct picture p = picture_of(i);
    if (!sterna_batch_valid(b)[row])
        fail_msg("%.*s: %s", (int)path.text_bytes, path.text, sterna_batch_reason(b, row));
    assert_ok(sterna_batch_field(b, 0, &view));
    assert_memory_equal(sterna_batch_ids(b)[row], id_at(f, index), STERNA_ID_BYTES);
    assert_int_equal(sterna_batch_labels(b)[row], i % 3);
    assert_int_equal(view.bytes[row], p.bytes);
    assert_memory_equal(view.data[row], p.data, p.bytes);
    free(p.data);
}

static sterna_batch *poll_batch(const struct fixture *f, uint64_t *ticket) {
    sterna_batch *b;
    ok(sterna_poll(f->fetcher, ticket, &b, -1, &err));
    return b;
}

/* All in one batch, and each in one of its own, at the same time. */
static void fetch_all(const struct fixture *f) {
    uint64_t all = submit(f, 0, N), ticket;
    for (uint64_t i = 0; i < N; i++) assert_int_equal(submit(f, i, 1), all + 1 + i);
    for (int k = 0; k <= N; k++) {
        sterna_batch *b = poll_batch(f, &ticket);
        for (uint32_t row = 0; ticket == all && row < N; row++) check_row(f, b, row, row);
        if (ticket > all) check_row(f, b, 0, ticket - all - 1);
        sterna_batch_release(&b);
    }
    sterna_batch *b;
    assert_int_equal(sterna_poll(f->fetcher, &ticket, &b, -1, NULL), STERNA_END);
}

/* ---- tests ---- */

static void test_fetch_over_a_cluster_with_late_answers(void **state) {
    (void)state;
    static const char *const options[] = {
        "--listen", "127.0.0.1",    "--listen", "127.0.0.2", "--listen", "127.0.0.3", "--threads",
        "2",        "--late-every", "100",      "--late-ms", "60",       NULL};
    struct fixture f;
    struct sterna_path path;
    open_cluster(&f, options);
    for (int i = 0; i < 3; i++) fetch_all(&f);
    sterna_fetcher_path(f.fetcher, &path);
    assert_int_equal(path.nodes, 3);
    close_cluster(&f);
}

static void test_fetch_over_a_cluster_that_errs(void **state) {
    (void)state;
    static const char *const options[] = {"--listen",
                                          "127.0.0.1",
                                          "--listen",
                                          "127.0.0.2",
                                          "--rf",
                                          "2",
                                          "--corrupt-every",
                                          "23",
                                          "--wrong-key-every",
                                          "41",
                                          "--overload-every",
                                          "53",
                                          "--unprepared-every",
                                          "31",
                                          NULL};
    struct fixture f;
    struct sterna_stats stats;
    open_cluster(&f, options);
    for (int i = 0; i < 3; i++) fetch_all(&f);
    sterna_fetcher_stats(f.fetcher, &stats);
    assert_true(stats.corrupt > 0 && stats.misrouted > 0 && stats.retries > 0);
    assert_int_equal(stats.errors, 0);
    close_cluster(&f);
}

static void test_fetch_of_what_no_node_has(void **state) {
    (void)state;
    struct fixture f;
    uint8_t ids[3][STERNA_ID_BYTES];
    uint64_t ticket;
    open_cluster(&f, NULL);
    memcpy(ids[0], id_at(&f, 3), 16);
    memset(ids[1], 0x77, 16);
    memcpy(ids[2], id_at(&f, 4), 16);
    ok(sterna_submit(f.fetcher, (const uint8_t(*)[16])ids, 3, &ticket, &err));
    sterna_batch *b = poll_batch(&f, &ticket);
    check_row(&f, b, 0, 3);
    check_row(&f, b, 2, 4);
    assert_false(sterna_batch_valid(b)[1]);
    assert_int_equal(sterna_batch_errors(b)[1], STERNA_ENOTFOUND);
    assert_true(sterna_batch_reason(b, 1)[0] != 0);
    sterna_batch_release(&b);
    close_cluster(&f);
}

static void test_fetch_from_nobody_names_the_host(void **state) {
    (void)state;
    struct fixture f;
    struct sterna_stats stats;
    uint64_t ticket;
    open_cluster(&f, NULL);
    cqlmem_close(&f.servers);
    submit(&f, 0, 2);
    sterna_batch *b = poll_batch(&f, &ticket);
    for (uint32_t row = 0; row < 2; row++) {
        assert_int_equal(sterna_batch_errors(b)[row], STERNA_EUNREACHABLE);
        const char *reason = sterna_batch_reason(b, row);
        if (!strstr(reason, "127.0.0.1")) fail_msg("'%s' names no host", reason);
    }
    sterna_batch_release(&b);
    sterna_fetcher_stats(f.fetcher, &stats);
    assert_int_equal(stats.requests, 2); /* the session has waited for as long as it may take */
    close_cluster(&f);
}

static void test_fetch_calls_off_and_closes(void **state) {
    (void)state;
    static const char *const options[] = {"--delay-ms", "20", NULL};
    struct fixture f;
    uint64_t ticket;
    open_cluster(&f, options);
    for (int round = 0; round < 10; round++) {
        uint64_t off = submit(&f, 0, 50);
        submit(&f, 50, 50);
        sterna_fetcher_cancel(f.fetcher, off);
        sterna_batch *b = poll_batch(&f, &ticket);
        assert_int_equal(ticket, off + 1);
        for (uint32_t row = 0; row < 50; row++) check_row(&f, b, row, 50 + row);
        sterna_batch_release(&b);
    }
    for (uint64_t i = 0; i < N; i++) submit(&f, i, 1); /* and nobody polls */
    close_cluster(&f);
}

/* A table that another tool has made, of which nothing is listed: asked for by its keys alone. */
static void test_fetch_from_a_table_of_another_tool(void **state) {
    (void)state;
    enum { ROWS = 50 };
    struct cqlmem server;
    struct tree home;
    struct stn_cassandra direct = {0};
    sterna_store *store;
    sterna_fetcher *fetcher;
    sterna_batch *b;
    struct sterna_field_view view;
    uint64_t ticket;
    uint8_t ids[ROWS][STERNA_ID_BYTES];
    char text[300], host[64];
    assert_true(cqlmem_open(&server, NULL));
    tree_open(&home);
    setenv("STERNA_CACHE", home.path, 1);
    snprintf(host, sizeof host, "%s", server.address);
    char *colon = strrchr(host, ':');
    *colon = '\0';
    const struct stn_host contact = {host, (uint16_t)atoi(colon + 1)};
    ok(stn_session_open(&direct.session,
                        &(struct stn_session_options){.hosts = &contact, .n_hosts = 1}, &err));
    static const char *const tables[] = {
        "CREATE KEYSPACE lab WITH replication = {'class': 'SimpleStrategy',"
        " 'replication_factor': 1}",
        "CREATE TABLE lab.data (patch uuid PRIMARY KEY, label int, data blob)"};
    for (size_t i = 0; i < STN_COUNT(tables); i++)
        ok(stn_ask(&direct, STN_ASK_STATEMENT, strdup(tables[i]), NULL, 0, NULL, &err));
    for (unsigned i = 0; i < ROWS; i++) {
        snprintf(text, sizeof text,
                 "INSERT INTO lab.data (patch, label, data) VALUES"
                 " (123e4567-e89b-12d3-a456-4266554%05u, %u, 0x00ff%04x)",
                 i, i % 7, i);
        ok(stn_ask(&direct, STN_ASK_STATEMENT, strdup(text), NULL, 0, NULL, &err));
        snprintf(text, sizeof text, "123e4567-e89b-12d3-a456-4266554%05u", i);
        assert_ok(sterna_id_parse(text, ids[i]));
    }
    snprintf(text, sizeof text, "cassandra://%s/lab/any?table=data&id=patch&image=data&label=label",
             server.address);
    ok(sterna_store_open(&store, text, NULL, &err));
    ok(sterna_fetcher_open(&fetcher, store, NULL, &err));
    ok(sterna_submit(fetcher, (const uint8_t(*)[16])ids, ROWS, &ticket, &err));
    ok(sterna_poll(fetcher, &ticket, &b, -1, &err));
    assert_ok(sterna_batch_field(b, 0, &view));
    for (unsigned i = 0; i < ROWS; i++) {
        const uint8_t want[] = {0, 0xFF, 0, (uint8_t)i};
        assert_int_equal(sterna_batch_labels(b)[i], i % 7);
        assert_int_equal(view.bytes[i], sizeof want);
        assert_memory_equal(view.data[i], want, sizeof want);
    }
    sterna_batch_release(&b);
    sterna_fetcher_close(&fetcher);
    sterna_store_close(&store);
    stn_session_close(&direct.session);
    cqlmem_close(&server);
    tree_close(&home);
}

int main(void) {
    struct cqlmem server;
    if (!cqlmem_open(&server, NULL)) return 77; /* there is no program to be had */
    cqlmem_close(&server);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fetch_over_a_cluster_with_late_answers),
        cmocka_unit_test(test_fetch_over_a_cluster_that_errs),
        cmocka_unit_test(test_fetch_of_what_no_node_has),
        cmocka_unit_test(test_fetch_from_nobody_names_the_host),
        cmocka_unit_test(test_fetch_calls_off_and_closes),
        cmocka_unit_test(test_fetch_from_a_table_of_another_tool),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
