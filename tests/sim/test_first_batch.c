/* How many round trips pass from the opening of a store until a loader asks for its first batch.
 *
 * They are counted, not timed: the server answers nothing of a round before all that belongs to the
 * round has come. A client that waits for one answer before it asks the next thing never gets it.
 * To connect takes a round, too: what a new connection says belongs to the round after the one in
 * which it was opened. */
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cassandra/cache.h"
#include "catalog/catalog.h"
#include "sterna/sterna.h"
#include "support/check.h"
#include "support/peer.h"
#include "support/peer_inside.h"
#include "support/tree.h"

enum { LINKS = 3, ROWS = LINKS, HELD_MAX = 256, ROUNDS_MAX = 6, BLOB_BYTES = 900 };

#define CHECK_OK(call, err)                                                                        \
    do {                                                                                           \
        int rc_ = (call);                                                                          \
        if (rc_ != STERNA_OK) fail_msg("%s: %d (%s)", #call, rc_, (err).message);                  \
    } while (0)

#define DATASET_ID "6ba7b810-9dad-11d1-80b4-00c04fd430c8"
#define FINISHED_S 1700000000

struct round { /* words that requests begin with, see words_of(); each comes once */
    const char *control[12];
    const char *links[3]; /* on each of the first LINKS others */
};

struct held {
    unsigned conn;
    uint8_t *frame;
    size_t bytes;
    int due; /* belongs to the round that is whole */
};

struct lab {
    struct peer *peer;
    struct tree cache;
    const struct round *rounds;
    unsigned n_rounds;
    atomic_uint round; /* under way; the last one is that of EXECUTEs, then all is answered */
    struct held held[HELD_MAX];
    size_t n_held;
    unsigned n_accepted, n_executes, n_rows;
    const char *user, *password;
    size_t n_nodes;
};

/* ---- what the server says ---- */

static const struct peer_column id_column = {"id", STN_CQL_UUID, {0}};

static void sample_id(unsigned k, uint8_t id[16]) {
    memset(id, (int)k + 1, 16);
    id[6] = 0x40;
    id[8] = 0x80;
}

static void answer_prepare(struct peer_conn *conn, const struct peer_frame *f) {
    static const struct peer_column ours[] = {{"id", STN_CQL_UUID, {0}},
                                              {"image_bytes", STN_CQL_BIGINT, {0}},
                                              {"image_crc", STN_CQL_INT, {0}},
                                              {"image", STN_CQL_BLOB, {0}}},
                                    theirs[] = {{"id", STN_CQL_UUID, {0}},
                                                {"crc", STN_CQL_INT, {0}},
                                                {"label", STN_CQL_INT, {0}},
                                                {"data", STN_CQL_BLOB, {0}}},
                                    chunk_params[] = {{"id", STN_CQL_UUID, {0}},
                                                      {"field", STN_CQL_VARCHAR, {0}},
                                                      {"n", STN_CQL_SMALLINT, {0}}},
                                    chunk[] = {{"id", STN_CQL_UUID, {0}},
                                               {"n", STN_CQL_SMALLINT, {0}},
                                               {"crc", STN_CQL_INT, {0}},
                                               {"data", STN_CQL_BLOB, {0}}};
    if (strstr(f->text, "_chunk"))
        peer_send_prepared(conn, f->stream, "chunk-0123456789", chunk_params, 3, 1, chunk, 4);
    else if (strstr(f->text, "photos"))
        peer_send_prepared(conn, f->stream, "their-0123456789", &id_column, 1, 1, theirs, 4);
    else
        peer_send_prepared(conn, f->stream, "ours--0123456789", &id_column, 1, 1, ours, 4);
}

static void answer_facts(struct peer_conn *conn, const struct peer_frame *f) {
    static const struct peer_column columns[] = {{"k", STN_CQL_VARCHAR, {0}},
                                                 {"v", STN_CQL_VARCHAR, {0}}};
    static const char *const facts[] = {
        "format",   "1",     "dataset_id",
        DATASET_ID, "names", "{\"fields\":[\"image:image\"],\"classes\":[],\"columns\":[]}"};
    struct stn_cql_value values[STN_COUNT(facts)];
    for (size_t i = 0; i < STN_COUNT(facts); i++)
        values[i] = stn_value_of(facts[i], strlen(facts[i]));
    peer_send_rows(conn, f, columns, 2, values, 3);
}

static void answer_runs(struct peer_conn *conn, const struct peer_frame *f) {
    static const struct peer_column columns[] = {
        {"number", STN_CQL_INT, {0}},     {"run", STN_CQL_TIMEUUID, {0}},
        {"parts", STN_CQL_INT, {0}},      {"samples", STN_CQL_BIGINT, {0}},
        {"source", STN_CQL_VARCHAR, {0}}, {"finished", STN_CQL_BIGINT, {0}}};
    static const uint8_t run[16] = {1, 2, 3};
    uint8_t be[4][8];
    const struct stn_cql_value values[] = {
        stn_value_from_int(1, be[0]), stn_value_of(run, 16),
        stn_value_from_int(1, be[1]), stn_value_from_bigint(ROWS, be[2]),
        stn_value_of("photos", 6),    stn_value_from_bigint(FINISHED_S, be[3])};
    peer_send_rows(conn, f, columns, STN_COUNT(columns), values, 1);
}

static void answer_execute(struct peer_conn *conn, const struct peer_frame *f) {
    static const struct peer_column unused[4];
    uint8_t blob[BLOB_BYTES], be[3][8];
    int ours = f->id.data[0] == 'o';
    memset(blob, f->values[0].data[0], sizeof blob);
    const struct stn_cql_value crc =
        stn_value_from_int((int32_t)stn_crc32c(0, blob, sizeof blob), be[0]);
    const struct stn_cql_value values[] = {
        f->values[0], ours ? stn_value_from_bigint(sizeof blob, be[1]) : crc,
        ours ? crc : stn_value_from_int(7, be[2]), stn_value_of(blob, sizeof blob)};
    peer_send_rows(conn, f, unused, 4, values, 1);
}

static void answer(struct peer_conn *conn, const struct peer_frame *f) {
    if (f->opcode == STN_CQL_PREPARE)
        answer_prepare(conn, f);
    else if (f->opcode == STN_CQL_EXECUTE)
        answer_execute(conn, f);
    else if (f->opcode == STN_CQL_QUERY && strstr(f->text, "_info"))
        answer_facts(conn, f);
    else if (f->opcode == STN_CQL_QUERY && strstr(f->text, "_run"))
        answer_runs(conn, f);
    else
        peer_manners(conn, f);
}

/* ---- rounds ---- */

static void words_of(const struct peer_frame *f, char words[256]) {
    static const char *const names[256] = {[STN_CQL_OPTIONS] = "OPTIONS",
                                           [STN_CQL_STARTUP] = "STARTUP",
                                           [STN_CQL_AUTH_RESPONSE] = "AUTH_RESPONSE",
                                           [STN_CQL_REGISTER] = "REGISTER",
                                           [STN_CQL_QUERY] = "QUERY ",
                                           [STN_CQL_PREPARE] = "PREPARE ",
                                           [STN_CQL_EXECUTE] = "EXECUTE"};
    snprintf(words, 256, "%s%s", names[f->opcode] ? names[f->opcode] : "?", f->text);
}

/* Marks the request that begins so. */
static int mark(struct lab *lab, unsigned conn, const char *begin) {
    for (size_t i = 0; i < lab->n_held; i++) {
        struct held *h = &lab->held[i];
        struct peer_frame f;
        char words[256];
        if (h->conn != conn || h->due) continue;
        assert_true(peer_parse(h->frame, h->bytes, &f));
        words_of(&f, words);
        free(f.text);
        if (strncmp(words, begin, strlen(begin)) == 0) return h->due = 1;
    }
    return 0;
}

static int is_whole(struct lab *lab) {
    const struct round *r = &lab->rounds[lab->round];
    int whole = 1;
    for (size_t i = 0; i < lab->n_held; i++) lab->held[i].due = 0;
    if (lab->round + 1 == lab->n_rounds) return lab->n_executes == ROWS;
    for (size_t i = 0; i < STN_COUNT(r->control) && r->control[i]; i++)
        whole &= mark(lab, 1, r->control[i]);
    for (unsigned link = 2; link < 2 + LINKS; link++)
        for (size_t i = 0; i < STN_COUNT(r->links) && r->links[i]; i++)
            whole &= mark(lab, link, r->links[i]);
    return whole && lab->n_accepted >= 1 + LINKS;
}

static void release_one(struct lab *lab, size_t i) {
    struct held h = lab->held[i];
    struct peer_conn *conn = peer_find(lab->peer, h.conn);
    struct peer_frame f;
    memmove(&lab->held[i], &lab->held[i + 1], (--lab->n_held - i) * sizeof h);
    assert_true(peer_parse(h.frame, h.bytes, &f));
    if (conn) answer(conn, &f);
    free(f.text);
    free(h.frame);
}

static void go_on(struct lab *lab) {
    while (lab->round < lab->n_rounds && is_whole(lab)) {
        int last = ++lab->round == lab->n_rounds;
        for (size_t i = 0; i < lab->n_held;)
            if (last || lab->held[i].due)
                release_one(lab, i);
            else
                i++;
    }
}

static void hold(struct lab *lab, unsigned conn, const struct peer_frame *f) {
    uint8_t *frame = malloc(STN_CQL_HEADER_BYTES + f->body_bytes);
    assert_non_null(frame);
    assert_true(lab->n_held < HELD_MAX);
    struct stn_writer w = {.to = frame, .cap = STN_CQL_HEADER_BYTES};
    stn_put_u8(&w, STN_CQL_VERSION);
    stn_put_u8(&w, 0);
    stn_put_be16(&w, (uint16_t)f->stream);
    stn_put_u8(&w, f->opcode);
    stn_put_be32(&w, (uint32_t)f->body_bytes);
    if (f->body_bytes) memcpy(frame + STN_CQL_HEADER_BYTES, f->body, f->body_bytes);
    lab->held[lab->n_held++] = (struct held){conn, frame, STN_CQL_HEADER_BYTES + f->body_bytes, 0};
}

static int on_frame(void *ctx, struct peer_conn *conn, const struct peer_frame *f) {
    struct lab *lab = ctx;
    lab->n_executes += f->opcode == STN_CQL_EXECUTE;
    if (lab->round == lab->n_rounds) {
        answer(conn, f);
        return 1;
    }
    hold(lab, peer_number(conn), f);
    go_on(lab);
    return 1;
}

static void on_accepted(void *ctx, struct peer_conn *conn) {
    struct lab *lab = ctx;
    (void)conn;
    lab->n_accepted++;
    go_on(lab);
}

/* ---- the test ---- */

/* A test that waits for what never comes ends the program. */
static int watch(void **state) {
    (void)state;
    sterna_set_log(NULL, NULL);
    alarm(60);
    return 0;
}

/* The catalogue of an earlier opening. */
static void make_catalog(void) {
    struct sterna_error err = {0};
    struct stn_catalog *c;
    uint8_t dataset[16];
    uint32_t number;
    uint64_t made;
    char *dir, path[600], name[16];
    assert_ok(sterna_id_parse(DATASET_ID, dataset));
    CHECK_OK(stn_cache_dir(&dir, "peer cluster", "ks.birds", dataset, &err), err);
    snprintf(path, sizeof path, "%s/catalog.sqlite", dir);
    CHECK_OK(stn_catalog_create(path, dataset, &err), err);
    CHECK_OK(stn_catalog_open(&c, path, STN_CATALOG_WRITE, &err), err);
    CHECK_OK(stn_catalog_begin_as(c, "photos", 1, FINISHED_S, &err), err);
    CHECK_OK(stn_catalog_declare_field(c, "image", STERNA_KIND_IMAGE, &number, &err), err);
    for (unsigned k = 0; k < ROWS; k++) {
        snprintf(name, sizeof name, "%02u.jpg", k);
        const struct stn_cell cells[] = {
            {.column = "path",
             .value = {.type = STERNA_TEXT, .text = name, .text_bytes = strlen(name)}},
            {.column = "image_bytes", .value = {.type = STERNA_INT, .i = BLOB_BYTES}}};
        struct stn_row row = {.cells = cells, .n_cells = STN_COUNT(cells)};
        sample_id(k, row.id);
        CHECK_OK(stn_catalog_insert(c, &row, &err), err);
    }
    CHECK_OK(stn_catalog_commit(c, &made, &err), err);
    stn_catalog_close(&c);
    free(dir);
}

static void open_lab(struct lab *lab) {
    static const struct peer_node nodes[2];
    static const struct peer_keyspace keyspaces[] = {
        {"ks", "class=org.apache.cassandra.locator.SimpleStrategy replication_factor=1"}};
    tree_open(&lab->cache);
    setenv("STERNA_CACHE", lab->cache.path, 1);
    lab->peer = peer_open(&(struct peer_options){.nodes = nodes,
                                                 .n_nodes = lab->n_nodes ? lab->n_nodes : 1,
                                                 .keyspaces = keyspaces,
                                                 .n_keyspaces = 1,
                                                 .user = lab->user,
                                                 .password = lab->password,
                                                 .frame = on_frame,
                                                 .accepted = on_accepted,
                                                 .ctx = lab});
}

static void close_lab(struct lab *lab) {
    peer_close(&lab->peer);
    for (size_t i = 0; i < lab->n_held; i++) free(lab->held[i].frame);
    tree_close(&lab->cache);
}

static void read_batch(sterna_store *store, const struct sterna_select_options *select) {
    struct sterna_error err = {0};
    sterna_selection *selection;
    sterna_loader *loader;
    sterna_batch *batch;
    struct sterna_batch_info info;
    struct sterna_loader_options o;
    CHECK_OK(sterna_select(&selection, store, select, &err), err);
    sterna_loader_options_init(&o);
    o.batch_size = ROWS;
    CHECK_OK(sterna_loader_open(&loader, store, selection, &o, &err), err);
    CHECK_OK(sterna_loader_next(loader, &batch, -1, &err), err);
    sterna_batch_info(batch, &info);
    assert_int_equal(info.n_valid, ROWS);
    sterna_batch_release(&batch);
    sterna_loader_close(&loader);
    sterna_selection_close(&selection);
}

static int password(void *ctx, const char *user, const char *host, char *buf, size_t cap) {
    (void)user, (void)host;
    snprintf(buf, cap, "%s", (const char *)ctx);
    return STERNA_OK;
}

static void run(struct lab *lab, const char *store_and_options,
                const struct sterna_select_options *select) {
    struct sterna_error err = {0};
    sterna_store *store;
    char url[256];
    const struct sterna_store_options o = {.struct_size = sizeof o,
                                           .mode = STERNA_OPEN_READ,
                                           .password = password,
                                           .password_ctx = (void *)(uintptr_t)lab->password};
    unsetenv("STERNA_PASSWORD");
    snprintf(url, sizeof url, "cassandra://%s%s127.0.0.1:%u/ks/%s&connections=%d",
             lab->user ? lab->user : "", lab->user ? "@" : "", peer_port(lab->peer),
             store_and_options, LINKS);
    CHECK_OK(sterna_store_open(&store, url, &o, &err), err);
    read_batch(store, select);
    assert_int_equal(lab->round, lab->n_rounds);
    sterna_store_close(&store);
}

#define LOOK                                                                                       \
    "REGISTER", "QUERY SELECT * FROM system.local", "QUERY SELECT * FROM system.peers_v2",         \
        "QUERY SELECT keyspace_name"
#define OURS                                                                                       \
    LOOK, "QUERY SELECT k, v FROM \"ks\".\"birds_info\"",                                          \
        "QUERY SELECT number, run, parts, samples, source, finished FROM \"ks\".\"birds_run\"",    \
        "PREPARE SELECT \"id\", \"image_bytes\", \"image_crc\", \"image\" FROM",                   \
        "PREPARE SELECT id, n, crc, data FROM \"ks\".\"birds_chunk\""
#define THEIRS LOOK, "PREPARE SELECT \"id\", \"crc\", \"label\", \"data\" FROM \"ks\".\"photos\""

static void read_ours(struct lab *lab) {
    const struct sterna_select_options all = {.struct_size = sizeof all};
    open_lab(lab);
    make_catalog();
    run(lab, "birds?dc=dc1", &all);
    close_lab(lab);
}

/* Connect, handshake, questions: the fourth flight asks for samples. */
static void test_a_data_set_of_ours_takes_three_round_trips(void **state) {
    static const struct round rounds[] = {
        {{"OPTIONS", "STARTUP"}, {NULL}}, {{OURS}, {"OPTIONS", "STARTUP"}}, {{NULL}, {NULL}}};
    struct lab lab = {.rounds = rounds, .n_rounds = STN_COUNT(rounds)};
    (void)state;
    read_ours(&lab);
}

/* Nodes that are known only now are connected meanwhile: those that are there are asked. */
static void test_more_nodes_take_no_more_round_trips(void **state) {
    static const struct round rounds[] = {
        {{"OPTIONS", "STARTUP"}, {NULL}}, {{OURS}, {"OPTIONS", "STARTUP"}}, {{NULL}, {NULL}}};
    struct lab lab = {.rounds = rounds, .n_rounds = STN_COUNT(rounds), .n_nodes = 2};
    (void)state;
    read_ours(&lab);
}

/* The others log in when the first one was let in, and that costs nothing more. */
static void test_a_password_takes_one_more(void **state) {
    static const struct round rounds[] = {{{"OPTIONS", "STARTUP"}, {NULL}},
                                          {{"AUTH_RESPONSE"}, {"OPTIONS", "STARTUP"}},
                                          {{OURS}, {"AUTH_RESPONSE"}},
                                          {{NULL}, {NULL}}};
    struct lab lab = {
        .rounds = rounds, .n_rounds = STN_COUNT(rounds), .user = "ann", .password = "secret"};
    (void)state;
    read_ours(&lab);
}

static void test_tables_of_others_take_three_round_trips(void **state) {
    static const struct round rounds[] = {
        {{"OPTIONS", "STARTUP"}, {NULL}}, {{THEIRS}, {"OPTIONS", "STARTUP"}}, {{NULL}, {NULL}}};
    struct lab lab = {.rounds = rounds, .n_rounds = STN_COUNT(rounds)};
    uint8_t ids[ROWS][STERNA_ID_BYTES];
    const struct sterna_select_options select = {
        .struct_size = sizeof select, .ids = (const uint8_t(*)[STERNA_ID_BYTES])ids, .n_ids = ROWS};
    (void)state;
    for (unsigned k = 0; k < ROWS; k++) sample_id(k, ids[k]);
    open_lab(&lab);
    run(&lab, "photos?table=photos&id=id&image=data&image_crc=crc&label=label", &select);
    close_lab(&lab);
}

#define TEST(f) cmocka_unit_test_setup(f, watch)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_a_data_set_of_ours_takes_three_round_trips),
        TEST(test_more_nodes_take_no_more_round_trips),
        TEST(test_a_password_takes_one_more),
        TEST(test_tables_of_others_take_three_round_trips),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
