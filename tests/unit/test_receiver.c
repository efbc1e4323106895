#include "support/check.h"

#include <stdio.h>
#include <string.h>

#include "base/philox.h"
#include "support/answers.h"
#include "support/receiver_model.h"

enum { BODY_MAX = 1 << 20, BLOB_BYTES = 100000 };

static const struct model_plan read_plan = {.take = STN_TAKE_ROW, .shape = {2, 1}};
static const struct model_cuts whole = {0};
static const uint8_t some_id[16] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16};
static uint8_t blob[1 << 20]; /* distinct bytes, so that a slip by one is seen */
static uint8_t bytes_buf[2 << 20];

static uint32_t draw(uint32_t i) {
    return stn_philox4x32((struct stn_philox){{i, 3, 3, 3}}, 1, 2).v[0];
}

static int fill_blob(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof blob; i++) blob[i] = (uint8_t)draw((uint32_t)(i / 7));
    return 0;
}

static struct stn_writer writer(void) {
    return (struct stn_writer){bytes_buf, sizeof bytes_buf, 0};
}

/* id, crc, data: the read of one image. blob_bytes -1: null. */
static void put_read(struct stn_writer *w, int16_t stream, uint8_t flags, int with_metadata,
                     int32_t blob_bytes, size_t surplus_bytes) {
    struct stn_cql_value values[3] = {
        stn_value_of(some_id, 16), stn_value_of("\x12\x34\x56\x78", 4), {blob, blob_bytes}};
    if (blob_bytes < 0) values[2] = stn_value_null();
    answer_rows(w, &(struct answer_rows){.stream = stream,
                                         .flags = flags,
                                         .with_metadata = with_metadata,
                                         .n_rows = 1,
                                         .n_columns = 3,
                                         .values = values,
                                         .surplus_bytes = surplus_bytes});
}

static void expect_text(const char *name, char *got, const char *want) {
    if (strcmp(got, want) != 0) fail_msg("%s: got\n%sand not\n%s", name, got, want);
    free(got);
}

/* What the model writes of a read, as said once more by hand. */
static size_t say_read(char *to, size_t cap, int16_t stream, uint8_t flags, uint32_t body_bytes,
                       int32_t blob_bytes) {
    size_t n = (size_t)snprintf(to, cap, "begin %d opcode 8 flags %u bytes %u\nrow", stream, flags,
                                body_bytes);
    int warned = flags & STN_CQL_WARNINGS;
    n += (size_t)snprintf(to + n, cap - n, " warnings %d \"%s\" tablets %d", warned ? 2 : 0,
                          warned ? ANSWER_WARNING : "",
                          flags & STN_CQL_PAYLOAD ? ANSWER_TABLETS_BYTES : -1);
    if (flags & STN_CQL_PAYLOAD)
        n += (size_t)snprintf(to + n, cap - n, ":%08x",
                              stn_crc32c(0, ANSWER_TABLETS, ANSWER_TABLETS_BYTES));
    n += (size_t)snprintf(to + n, cap - n, " 16:%08x 4:%08x\n", stn_crc32c(0, some_id, 16),
                          stn_crc32c(0, "\x12\x34\x56\x78", 4));
    if (blob_bytes >= 0)
        n += (size_t)snprintf(to + n, cap - n, "blob 0 bytes %d\nlanded %08x\n", blob_bytes,
                              stn_crc32c(0, blob, (size_t)blob_bytes));
    return n + (size_t)snprintf(to + n, cap - n, "end 0\n");
}

/* ---- rows, however they are cut ---- */

/* The bytes as a server sends them: 57 of them decide everything. */
static void test_receiver_takes_the_known_frame(void **state) {
    static const uint8_t head[57] = {0x84, 0, 0,    5,    8,    0,    0,  0,  54, /* header */
                                     0,    0, 0,    2,    0,    0,    0,  4,  0,  0, 0,
                                     3,    0, 0,    0,    1, /* ROWS, no metadata, 3 x 1 */
                                     0,    0, 0,    16,   1,    2,    3,  4,  5,  6, 7,
                                     8,    9, 10,   11,   12,   13,   14, 15, 16, 0, 0,
                                     0,    4, 0x12, 0x34, 0x56, 0x78, 0,  0,  0,  6};
    uint8_t frame[63];
    char want[1024];
    (void)state;
    memcpy(frame, head, 57);
    memcpy(frame + 57, blob, 6);
    struct stn_writer w = writer();
    put_read(&w, 5, 0, 0, 6, 0);
    assert_int_equal(w.used, sizeof frame);
    assert_memory_equal(bytes_buf, frame, sizeof frame);
    say_read(want, sizeof want, 5, 0, 54, 6);
    for (size_t step = 1; step <= sizeof frame; step++)
        expect_text("known frame",
                    model_transcript(&read_plan, frame, sizeof frame,
                                     &(struct model_cuts){.step = step}, BODY_MAX),
                    want);
}

static void expect_same(const char *name, const uint8_t *data, size_t bytes,
                        const struct model_plan *plan, const struct model_cuts *cuts,
                        const char *want) {
    char *got = model_transcript(plan, data, bytes, cuts, BODY_MAX);
    if (strcmp(got, want) != 0)
        fail_msg("%s cut at %zu, %zu, by %zu: got\n%sand not\n%s", name, cuts->first, cuts->second,
                 cuts->step, got, want);
    free(got);
}

/* Cuts around the head, around the end of the blob, around the next header, and in small steps. */
static void expect_same_in_all_cuts(const char *name, size_t first_frame_bytes, size_t bytes,
                                    const struct model_plan *plan, const char *want) {
    for (size_t at = 0; at <= STN_MIN(bytes, (size_t)120); at++)
        expect_same(name, bytes_buf, bytes, plan, &(struct model_cuts){.first = at}, want);
    size_t from = first_frame_bytes > 20 ? first_frame_bytes - 20 : 1;
    for (size_t at = from; at <= STN_MIN(bytes, first_frame_bytes + 80); at++) {
        expect_same(name, bytes_buf, bytes, plan, &(struct model_cuts){.first = at}, want);
        expect_same(name, bytes_buf, bytes, plan, &(struct model_cuts){.first = at, .second = 1},
                    want);
    }
    static const size_t steps[] = {1, 2, 3, 7, 57, 61, 511, 512, 513, 4095, 4096, 4097, 65536};
    for (size_t i = 0; i < STN_COUNT(steps); i++) {
        if (bytes / steps[i] > 20000) continue;
        for (int drops = 0; drops < 2; drops++)
            expect_same(name, bytes_buf, bytes, plan,
                        &(struct model_cuts){.step = steps[i], .drops = drops}, want);
    }
}

static void test_receiver_gives_the_same_for_any_cut(void **state) {
    static const int32_t sizes[] = {-1, 0, 1, 300, 4000, 5000, BLOB_BYTES};
    char name[64], want[2048];
    (void)state;
    for (unsigned f = 0; f < 8; f++) {
        uint8_t flags = (uint8_t)(f << 1); /* tracing, payload, warnings */
        for (int with_metadata = 0; with_metadata < 2; with_metadata++) {
            for (size_t s = 0; s < STN_COUNT(sizes); s++) {
                struct stn_writer w = writer();
                put_read(&w, 5, flags, with_metadata, sizes[s], 0);
                size_t first = w.used;
                put_read(&w, 6, 0, 0, 100, 0);
                size_t n = say_read(want, sizeof want, 5, flags, (uint32_t)first - 9, sizes[s]);
                say_read(want + n, sizeof want - n, 6, 0, (uint32_t)(w.used - first) - 9, 100);
                snprintf(name, sizeof name, "flags %u, metadata %d, blob of %d", flags,
                         with_metadata, sizes[s]);
                expect_same_in_all_cuts(name, first, w.used, &read_plan, want);
            }
        }
    }
}

/* Every pair of cuts of a row, a message, a dropped answer, a row. */
static void test_receiver_gives_the_same_for_any_two_cuts(void **state) {
    struct model_plan plan = {.by_stream = 1};
    struct stn_writer w = writer();
    (void)state;
    put_read(&w, 1 + 4 * 2, STN_CQL_WARNINGS, 0, 30, 5); /* a row of 2 and 1 */
    answer_error(&w, 4, STN_CQL_E_OVERLOADED, "busy");
    put_read(&w, 3, 0, 0, 10, 0); /* nobody's */
    put_read(&w, 2 + 4 * 2, 0, 0, 20, 0);
    char *want = model_transcript(&plan, bytes_buf, w.used, &whole, BODY_MAX);
    assert_non_null(strstr(want, "end 0\nbegin 4"));
    for (size_t a = 1; a < w.used; a++)
        for (size_t b = 1; a + b < w.used; b++)
            expect_same("two cuts", bytes_buf, w.used, &plan,
                        &(struct model_cuts){.first = a, .second = b, .drops = (a + b) % 2}, want);
    free(want);
}

static void test_receiver_takes_several_blobs(void **state) {
    struct model_plan plan = {.take = STN_TAKE_ROW, .shape = {1, 5}};
    struct stn_cql_value values[6] = {stn_value_of(some_id, 16), stn_value_of(blob, 3000),
                                      stn_value_null(),          stn_value_of(blob + 1, 0),
                                      stn_value_of(blob, 9000),  stn_value_null()};
    struct answer_rows rows = {.stream = 5, .n_rows = 1, .n_columns = 6, .values = values};
    struct stn_writer w = writer();
    char want[1024];
    (void)state;
    answer_rows(&w, &rows);
    snprintf(want, sizeof want,
             "begin 5 opcode 8 flags 0 bytes %zu\nrow warnings 0 \"\" tablets -1 16:%08x\n"
             "blob 0 bytes 3000\nlanded %08x\nblob 2 bytes 0\nlanded 00000000\n"
             "blob 3 bytes 9000\nlanded %08x\nend 0\n",
             w.used - 9, stn_crc32c(0, some_id, 16), stn_crc32c(0, blob, 3000),
             stn_crc32c(0, blob, 9000));
    expect_same_in_all_cuts("several", w.used, w.used, &plan, want);
    plan.blob_nowhere = 1; /* the first is not wanted: the others still land */
    char *got = model_transcript(&plan, bytes_buf, w.used, &whole, BODY_MAX);
    assert_non_null(strstr(got, "blob 0 bytes 3000\nblob 2 bytes 0\n"));
    assert_non_null(strstr(got, "blob 3 bytes 9000\nlanded "));
    expect_same_in_all_cuts("one dropped", w.used, w.used, &plan, got);
    free(got);
}

static void test_receiver_takes_a_row_without_blobs(void **state) {
    struct model_plan plan = {.take = STN_TAKE_ROW, .shape = {2, 0}};
    struct stn_cql_value values[2] = {stn_value_null(), stn_value_of("", 0)};
    struct answer_rows rows = {.stream = 5, .n_rows = 1, .n_columns = 2, .values = values};
    struct stn_writer w = writer();
    (void)state;
    answer_rows(&w, &rows);
    expect_same_in_all_cuts("no blob", w.used, w.used, &plan,
                            "begin 5 opcode 8 flags 0 bytes 24\n"
                            "row warnings 0 \"\" tablets -1 -1 0:00000000\nend 0\n");
}

static void test_receiver_says_that_there_is_no_row(void **state) {
    struct stn_writer w = writer();
    (void)state;
    for (int with_metadata = 0; with_metadata < 2; with_metadata++) {
        char want[128];
        w = writer();
        answer_rows(
            &w, &(struct answer_rows){
                    .stream = 5, .n_columns = 3, .with_metadata = with_metadata, .with_paging = 1});
        snprintf(want, sizeof want, "begin 5 opcode 8 flags 0 bytes %zu\nend %d\n", w.used - 9,
                 STERNA_ENOTFOUND);
        expect_same_in_all_cuts("no row", w.used, w.used, &read_plan, want);
    }
}

static void test_receiver_skips_and_counts_a_surplus(void **state) {
    struct model m;
    struct stn_writer w = writer();
    (void)state;
    put_read(&w, 5, 0, 0, 5000, 11);
    put_read(&w, 5, 0, 0, -1, 6000);
    answer_rows(&w, &(struct answer_rows){.stream = 5, .n_columns = 3, .surplus_bytes = 3});
    for (size_t step = 1; step < 70; step++) {
        model_init(&m, &read_plan, BODY_MAX);
        model_feed(&m, bytes_buf, w.used, &(struct model_cuts){.step = step});
        assert_ok(m.rc);
        assert_int_equal(m.n_ends, 3);
        assert_int_equal(m.receiver.surplus_bytes, 11 + 6000 + 3);
        model_fini(&m);
    }
}

/* ---- heads of unusual size ---- */

static void test_receiver_takes_a_head_longer_than_its_window(void **state) {
    static const size_t sizes[] = {3900, 4039, 4040, 4041, 4100, 9000, 20000, 60000};
    (void)state;
    for (size_t i = 0; i < STN_COUNT(sizes); i++) {
        struct stn_cql_value values[3] = {
            stn_value_of(some_id, 16), stn_value_of(blob + 5, sizes[i]), stn_value_of(blob, 30000)};
        struct stn_writer w = writer();
        char want[512];
        answer_rows(
            &w, &(struct answer_rows){.stream = 5, .n_rows = 1, .n_columns = 3, .values = values});
        put_read(&w, 6, 0, 0, 10, 0);
        char *got = model_transcript(&read_plan, bytes_buf, w.used, &whole, BODY_MAX);
        snprintf(want, sizeof want, " 16:%08x %zu:%08x\nblob 0 bytes 30000\nlanded %08x\nend 0\n",
                 stn_crc32c(0, some_id, 16), sizes[i], stn_crc32c(0, blob + 5, sizes[i]),
                 stn_crc32c(0, blob, 30000));
        assert_non_null(strstr(got, want));
        assert_non_null(strstr(got, "blob 0 bytes 10\n"));
        static const size_t steps[] = {11, 512, 1000, 2048, 4096, 5000};
        for (size_t k = 0; k < STN_COUNT(steps); k++)
            expect_same("long head", bytes_buf, w.used, &read_plan,
                        &(struct model_cuts){.first = 4096 + k, .step = steps[k]}, got);
        free(got);
    }
}

static void put_many_warnings(struct stn_writer *w, unsigned n, int with_row) {
    size_t at = answer_begin(w, 5, STN_CQL_RESULT, 0);
    bytes_buf[at + 1] = STN_CQL_WARNINGS;
    stn_put_be16(w, (uint16_t)n);
    for (unsigned i = 0; i < n; i++) stn_put_string(w, "");
    if (with_row) {
        struct stn_writer row = {bytes_buf + (1 << 20), 1 << 20, 0};
        put_read(&row, 5, 0, 0, 5000, 0);
        stn_put_bytes(w, bytes_buf + (1 << 20) + 9, row.used - 9);
    }
    answer_end(w, at);
}

static void test_receiver_bounds_the_head(void **state) {
    struct model m;
    struct stn_writer w = writer();
    (void)state;
    put_many_warnings(&w, 20000, 1); /* 40 kB of them */
    model_init(&m, &read_plan, BODY_MAX);
    model_feed(&m, bytes_buf, w.used, &whole);
    assert_ok(m.rc);
    assert_int_equal(m.n_ends, 1);
    assert_true(m.gathered_peak <= STN_ROW_SMALL_BYTES_MAX);
    model_fini(&m);

    w = writer();
    put_many_warnings(&w, 40000, 1); /* 80 kB */
    model_init(&m, &read_plan, BODY_MAX);
    model_feed(&m, bytes_buf, w.used, &whole);
    assert_int_equal(m.rc, STERNA_EPROTO);
    assert_int_equal(m.seen_bytes, STN_CQL_HEADER_BYTES + STN_ROW_SMALL_BYTES_MAX);
    assert_true(m.gathered_peak <= STN_ROW_SMALL_BYTES_MAX);
    model_fini(&m);
}

/* ---- what closes the connection ---- */

struct patch {
    const char *name;
    size_t at;
    uint8_t bytes[4];
    size_t n;
    uint8_t flags;
};

static void expect_closed(const char *name, const uint8_t *data, size_t bytes, uint32_t body_max) {
    for (size_t step = 1; step <= 64; step *= 2) {
        struct model m;
        model_init(&m, &read_plan, body_max);
        model_feed(&m, data, bytes, &(struct model_cuts){.step = step});
        if (m.rc != STERNA_EPROTO || m.n_blobs || m.n_ends)
            fail_msg("%s by %zu: %d\n%s", name, step, m.rc, m.log);
        model_fini(&m);
    }
}

static void test_receiver_refuses_what_is_no_answer(void **state) {
    /* Offsets as in the known frame. */
    static const struct patch rows[] = {
        {"request", 0, {0x04}, 1, 0},
        {"version 3", 0, {0x83}, 1, 0},
        {"version 5", 0, {0x85}, 1, 0},
        {"nonsense", 0, {0xff}, 1, 0},
        {"compressed", 1, {0x01}, 1, 0},
        {"over the limit", 5, {0, 1, 0, 1}, 4, 0},
        {"four gigabytes", 5, {255, 255, 255, 255}, 4, 0},
        {"two columns", 17, {0, 0, 0, 2}, 4, 0},
        {"four columns", 17, {0, 0, 0, 4}, 4, 0},
        {"negative columns", 17, {255, 255, 255, 255}, 4, 0},
        {"metadata of version 5", 13, {0, 0, 0, 12}, 4, 0},
        {"two rows", 21, {0, 0, 0, 2}, 4, 0},
        {"negative rows", 21, {255, 255, 255, 255}, 4, 0},
        {"id of -2 bytes", 25, {255, 255, 255, 254}, 4, 0},
        {"id over the end", 25, {0, 0, 0, 200}, 4, 0},
        {"crc over the end", 45, {0, 1, 0, 0}, 4, 0},
        {"blob of -2 bytes", 53, {255, 255, 255, 254}, 4, 0},
        {"blob over the end", 53, {0, 0, 0, 101}, 4, 0},
        {"blob of 2 GB", 53, {0x7f, 255, 255, 255}, 4, 0},
        {"empty body", 5, {0, 0, 0, 0}, 4, 0},
        {"body ends in the kind", 5, {0, 0, 0, 3}, 4, 0},
        {"body ends in the number of rows", 5, {0, 0, 0, 15}, 4, 0},
        {"body ends in the id", 5, {0, 0, 0, 30}, 4, 0},
        {"body ends in the length of the crc", 5, {0, 0, 0, 38}, 4, 0},
        {"body ends before the blob", 5, {0, 0, 0, 44}, 4, 0},
        {"body ends in the blob's length", 5, {0, 0, 0, 47}, 4, 0},
        {"body ends in the blob", 5, {0, 0, 0, 50}, 4, 0},
        {"warnings that are not there", 9, {255, 255}, 2, STN_CQL_WARNINGS},
        {"a warning over the end", 11, {255, 255}, 2, STN_CQL_WARNINGS},
        {"payload that is not there", 9, {255, 255}, 2, STN_CQL_PAYLOAD},
        {"payload of -3 bytes", 18, {255, 255, 255, 253}, 4, STN_CQL_PAYLOAD},
        {"specs that are not there", 13, {0, 0, 0, 0}, 4, 0},
        {"paging state that is not there", 13, {0, 0, 0, 6}, 4, 0},
    };
    (void)state;
    for (size_t i = 0; i < STN_COUNT(rows); i++) {
        struct stn_writer w = writer();
        put_read(&w, 5, rows[i].flags, 0, 100, 0);
        memcpy(bytes_buf + rows[i].at, rows[i].bytes, rows[i].n);
        expect_closed(rows[i].name, bytes_buf, w.used, 65536);
    }
}

static void test_receiver_takes_a_body_at_the_limit(void **state) {
    struct model m;
    struct stn_writer w = writer();
    (void)state;
    put_read(&w, 5, 0, 0, 5000, 0);
    for (uint32_t less = 0; less < 2; less++) {
        model_init(&m, &read_plan, (uint32_t)w.used - 9 - less);
        model_feed(&m, bytes_buf, w.used, &whole);
        assert_int_equal(m.rc, less ? STERNA_EPROTO : STERNA_OK);
        model_fini(&m);
    }
}

/* Before READY a server may answer in a version of its own, to say that it has not ours. */
static void test_receiver_takes_an_error_in_another_version(void **state) {
    static const struct {
        uint8_t version;
        int rc;
    } rows[] = {{0x83, 0},
                {0x84, 0},
                {0x85, 0},
                {0xC2, 0},
                {0x05, STERNA_EPROTO},
                {0x81, STERNA_EPROTO},
                {0x82, STERNA_EPROTO}};
    struct model_plan plan = {.take = STN_TAKE_MESSAGE};
    (void)state;
    for (size_t i = 0; i < STN_COUNT(rows); i++) {
        struct stn_writer w = writer();
        struct model m;
        answer_error(&w, 0, STN_CQL_E_PROTOCOL, "no");
        bytes_buf[0] = rows[i].version;
        bytes_buf[1] = 0x10; /* "beta": nothing to parse */
        model_init(&m, &plan, BODY_MAX);
        model_feed(&m, bytes_buf, w.used, &whole);
        assert_int_equal(m.rc, rows[i].rc);
        assert_int_equal(strstr(m.log, "message 0 bytes 8") != NULL, rows[i].rc == 0);
        model_fini(&m);
    }
}

static void test_receiver_closes_when_the_owner_says_so(void **state) {
    static const struct {
        const char *name;
        struct model_plan plan;
        const char *last;
    } rows[] = {
        {"begin", {.take = STERNA_ECANCELED}, "bytes 148\nclosed -10\n"},
        {"message", {.take = STN_TAKE_MESSAGE, .message_code = -10}, "tablets -1\nclosed -10\n"},
        {"row",
         {.take = STN_TAKE_ROW, .shape = {2, 1}, .row_code = STERNA_EPROTO},
         "\nend -18\nclosed -18\n"},
        {"blob",
         {.take = STN_TAKE_ROW, .shape = {2, 1}, .blob_code = STERNA_EPROTO},
         "blob 0 bytes 100\nend -18\nclosed -18\n"},
        {"end", {.take = STN_TAKE_ROW, .shape = {2, 1}, .end_code = -10}, "end 0\nclosed -10\n"},
    };
    (void)state;
    for (size_t i = 0; i < STN_COUNT(rows); i++) {
        struct stn_writer w = writer();
        put_read(&w, 5, 0, 0, 100, 0);
        put_read(&w, 6, 0, 0, 100, 0);
        char *got = model_transcript(&rows[i].plan, bytes_buf, w.used, &whole, BODY_MAX);
        const char *tail = got + strlen(got) - STN_MIN(strlen(got), strlen(rows[i].last));
        if (strcmp(tail, rows[i].last) != 0) fail_msg("%s:\n%s", rows[i].name, got);
        assert_null(strstr(got, "begin 6"));
        for (size_t step = 1; step < 70; step++)
            expect_same(rows[i].name, bytes_buf, w.used, &rows[i].plan,
                        &(struct model_cuts){.step = step}, got);
        free(got);
    }
}

/* No memory for the blob: the rest of this answer is dropped, the next one is taken. */
static void test_receiver_goes_on_after_an_answer_that_had_no_room(void **state) {
    static const struct {
        const char *name;
        struct model_plan plan;
    } rows[] = {
        {"row", {.take = STN_TAKE_ROW, .shape = {1, 2}, .row_code = STERNA_EBUDGET}},
        {"first blob",
         {.take = STN_TAKE_ROW, .shape = {1, 2}, .blob_code = STERNA_EBUDGET, .blob_at = 0}},
        {"second blob",
         {.take = STN_TAKE_ROW, .shape = {1, 2}, .blob_code = STERNA_EBUDGET, .blob_at = 1}},
    };
    struct stn_cql_value values[3] = {stn_value_of(some_id, 16), stn_value_of(blob, 6000),
                                      stn_value_of(blob, 7000)};
    (void)state;
    for (size_t i = 0; i < STN_COUNT(rows); i++) {
        struct stn_writer w = writer();
        struct model m;
        answer_rows(
            &w, &(struct answer_rows){.stream = 5, .n_rows = 1, .n_columns = 3, .values = values});
        size_t first = w.used;
        answer_rows(
            &w, &(struct answer_rows){.stream = 6, .n_rows = 1, .n_columns = 3, .values = values});
        char *got = model_transcript(&rows[i].plan, bytes_buf, w.used, &whole, BODY_MAX);
        assert_non_null(strstr(got, "end -8\nbegin 6"));
        assert_null(strstr(got, "end 0"));
        expect_same_in_all_cuts(rows[i].name, first, w.used, &rows[i].plan, got);
        free(got);
        model_init(&m, &rows[i].plan, BODY_MAX);
        model_feed(&m, bytes_buf, w.used, &(struct model_cuts){.drops = 1, .step = 600});
        assert_true(m.dropped_bytes > 2 * 5000); /* in the socket, unread */
        assert_int_equal(m.receiver.surplus_bytes, 0);
        model_fini(&m);
    }
}

/* ---- messages ---- */

static void put_message(struct stn_writer *w, int16_t stream, size_t bytes) {
    size_t at = answer_begin(w, stream, STN_CQL_SUPPORTED, 0);
    stn_put_bytes(w, blob, bytes);
    answer_end(w, at);
}

static void test_receiver_gathers_messages(void **state) {
    static const size_t sizes[] = {0, 1, 100, 4086, 4087, 4088, 4095, 4096, 4097, 20000, 500000};
    struct model_plan plan = {.take = STN_TAKE_MESSAGE};
    (void)state;
    for (size_t i = 0; i < STN_COUNT(sizes); i++) {
        struct stn_writer w = writer();
        char want[512];
        put_message(&w, -1, sizes[i]);
        size_t first = w.used;
        put_message(&w, 7, 33);
        snprintf(want, sizeof want,
                 "begin -1 opcode 6 flags 0 bytes %zu\n"
                 "message -1 bytes %zu:%08x warnings 0 \"\" tablets -1\n"
                 "begin 7 opcode 6 flags 0 bytes 33\n"
                 "message 7 bytes 33:%08x warnings 0 \"\" tablets -1\n",
                 sizes[i], sizes[i], stn_crc32c(0, blob, sizes[i]), stn_crc32c(0, blob, 33));
        expect_same_in_all_cuts("message", first, w.used, &plan, want);
    }
}

/* What is no row comes whole, though a row was asked for. */
static void test_receiver_gives_other_answers_as_messages(void **state) {
    struct stn_writer w = writer();
    (void)state;
    answer_error(&w, 5, STN_CQL_E_READ_TIMEOUT, "late");
    answer_void(&w, 6);
    size_t at = answer_begin(&w, 7, STN_CQL_RESULT, STN_CQL_WARNINGS);
    stn_put_be32(&w, STN_CQL_PREPARED);
    stn_put_bytes(&w, blob, 9000);
    answer_end(&w, at);
    size_t prepared_bytes = w.used - at;
    at = answer_begin(&w, 8, STN_CQL_RESULT, 0); /* the kind is seen only in the growing buffer */
    bytes_buf[at + 1] = STN_CQL_WARNINGS;
    stn_put_be16(&w, 3000);
    for (unsigned i = 0; i < 3000; i++) stn_put_string(&w, "");
    stn_put_be32(&w, STN_CQL_VOID);
    stn_put_bytes(&w, blob, 30000);
    answer_end(&w, at);
    put_read(&w, 9, 0, 0, 50, 0);
    char *got = model_transcript(&read_plan, bytes_buf, w.used, &whole, BODY_MAX);
    assert_non_null(strstr(got, "message 5 bytes 10:"));
    assert_non_null(strstr(got, "message 6 bytes 4:"));
    assert_non_null(strstr(got, "message 7 bytes 9004:"));
    assert_non_null(strstr(got, "warnings 2 \"" ANSWER_WARNING "\""));
    assert_non_null(strstr(got, "message 8 bytes 30004:"));
    assert_non_null(strstr(got, "warnings 3000"));
    assert_non_null(strstr(got, "blob 0 bytes 50\nlanded"));
    assert_int_equal(strstr(strstr(got, "end") + 1, "end") != NULL, 0);
    expect_same_in_all_cuts("no rows", prepared_bytes, w.used, &read_plan, got);
    free(got);
}

static void test_receiver_drops_what_nobody_wants(void **state) {
    struct model_plan plan = {.take = STN_TAKE_NOTHING};
    struct model m;
    struct stn_writer w = writer();
    (void)state;
    put_read(&w, 5, 0, 0, BLOB_BYTES, 0);
    put_message(&w, 6, 0);
    put_read(&w, 7, STN_CQL_WARNINGS, 0, BLOB_BYTES, 0);
    size_t all_bytes = w.used;
    for (int drops = 0; drops < 2; drops++) {
        model_init(&m, &plan, BODY_MAX);
        model_feed(&m, bytes_buf, all_bytes, &(struct model_cuts){.drops = drops});
        assert_ok(m.rc);
        assert_int_equal(m.dropped_bytes > 190000, drops);
        assert_int_equal(m.receiver.copied_bytes + m.receiver.surplus_bytes, 0);
        assert_null(m.receiver.gathered);
        assert_non_null(strstr(m.log, "begin 7"));
        assert_null(strstr(m.log, "row"));
        assert_int_equal(stn_receiver_stream(&m.receiver), STN_CQL_STREAM_EVENT);
        model_fini(&m);
    }
}

/* ---- giving up ---- */

/* At each byte: from there on nothing is heard of that answer, its memory is not touched, and the
 * next answer comes as ever. */
static void forget_at_each_byte(const char *name, size_t first, size_t all, int drops,
                                const struct model_plan *plan) {
    for (size_t at = 0; at <= first; at++) {
        struct model m;
        model_init(&m, plan, BODY_MAX);
        struct model_cuts cuts = {.drops = drops};
        model_feed(&m, bytes_buf, at, &cuts);
        int in_progress = at >= STN_CQL_HEADER_BYTES && at < first;
        if ((stn_receiver_stream(&m.receiver) == 5) != in_progress)
            fail_msg("%s: stream at %zu is %d", name, at, stn_receiver_stream(&m.receiver));
        model_forget(&m);
        assert_int_equal(stn_receiver_stream(&m.receiver), STN_CQL_STREAM_EVENT);
        size_t heard_bytes = m.log_bytes;
        model_feed(&m, bytes_buf + at, all - at, &cuts);
        assert_ok(m.rc);
        const char *heard = m.log + heard_bytes;
        if (at >= STN_CQL_HEADER_BYTES && strncmp(heard, "begin 6", 7) != 0)
            fail_msg("%s: heard after %zu bytes: %s", name, at, heard);
        heard = strstr(heard, "begin 6");
        if (!heard || (!strstr(heard, "end 0\n") && !strstr(heard, "message 6")))
            fail_msg("%s: next one after %zu: %s", name, at, m.log + heard_bytes);
        model_fini(&m);
    }
}

static void test_receiver_forgets_at_each_byte(void **state) {
    struct model_plan plans[] = {read_plan, {.take = STN_TAKE_MESSAGE}};
    (void)state;
    for (size_t i = 0; i < STN_COUNT(plans); i++) {
        for (int drops = 0; drops < 2; drops++) {
            struct stn_writer w = writer();
            put_read(&w, 5, STN_CQL_WARNINGS | STN_CQL_PAYLOAD, 1, 6000, 7);
            size_t first = w.used;
            put_read(&w, 6, 0, 0, 100, 0);
            forget_at_each_byte("small", first, w.used, drops, &plans[i]);
        }
    }
    struct stn_writer w = writer();
    put_many_warnings(&w, 3000, 1); /* the head in the growing buffer */
    size_t first = w.used;
    put_read(&w, 6, 0, 0, 100, 0);
    forget_at_each_byte("long head", first, w.used, 0, &read_plan);
}

static void test_receiver_forgets_from_within(void **state) {
    static const struct {
        const char *where;
        int n_ends;
    } rows[] = {{"row", 0}, {"blob", 0}, {"end", 2}, {"message", 2}};
    (void)state;
    for (size_t i = 0; i < STN_COUNT(rows); i++) {
        struct model_plan plan = read_plan;
        struct model m;
        struct stn_writer w = writer();
        plan.forget_in = rows[i].where;
        put_read(&w, 5, 0, 0, 6000, 7);
        answer_void(&w, 7);
        put_message(&w, 8, 6000);
        put_read(&w, 6, 0, 0, 100, 0);
        for (size_t step = 1; step < 8000; step += step < 100 ? 1 : 997) {
            model_init(&m, &plan, BODY_MAX);
            model_feed(&m, bytes_buf, w.used, &(struct model_cuts){.step = step});
            assert_ok(m.rc);
            assert_int_equal(m.n_ends, rows[i].n_ends);
            assert_non_null(strstr(m.log, "message 8 bytes 6000"));
            assert_non_null(strstr(m.log, "begin 6"));
            model_fini(&m);
        }
    }
}

/* ---- cost ---- */

static void test_receiver_reads_a_large_blob_at_once(void **state) {
    struct model m;
    struct stn_writer w = writer();
    (void)state;
    for (int i = 0; i < 10; i++) put_read(&w, 5, 0, 0, BLOB_BYTES, 0);
    model_init(&m, &read_plan, BODY_MAX);
    model_feed(&m, bytes_buf, w.used, &whole);
    assert_int_equal(m.n_ends, 10);
    assert_int_equal(m.n_reads, 11); /* the first reads ahead, each other one ends a blob */
    assert_null(m.receiver.gathered);
    model_fini(&m);
}

static void test_receiver_allocates_nothing_for_small_columns(void **state) {
    struct stn_cql_value values[STN_ROW_SMALL_MAX + 1];
    struct model_plan plan = {.take = STN_TAKE_ROW, .shape = {STN_ROW_SMALL_MAX, 1}};
    struct model m;
    struct stn_writer w = writer();
    (void)state;
    for (size_t i = 0; i < STN_COUNT(values); i++) values[i] = stn_value_of(blob, 50);
    for (int i = 0; i < 20; i++)
        answer_rows(
            &w, &(struct answer_rows){
                    .stream = 5, .n_rows = 1, .n_columns = STN_COUNT(values), .values = values});
    for (size_t step = 1; step < 5000; step += 101) {
        model_init(&m, &plan, BODY_MAX);
        model_feed(&m, bytes_buf, w.used, &(struct model_cuts){.step = step});
        assert_int_equal(m.n_ends, 20);
        assert_int_equal(m.gathered_peak, 0);
        model_fini(&m);
    }
}

/* A header that promises much reserves little until the bytes come; large bodies are not kept. */
static void test_receiver_bounds_its_memory(void **state) {
    struct model_plan plan = {.take = STN_TAKE_MESSAGE};
    struct model m;
    struct stn_writer w = writer();
    (void)state;
    put_message(&w, 5, 1000000);
    model_init(&m, &plan, 1 << 20);
    model_feed(&m, bytes_buf, 5000, &whole);
    assert_true(m.gathered_peak <= 16 << 10);
    model_feed(&m, bytes_buf + 5000, w.used - 5000, &whole);
    assert_ok(m.rc);
    assert_true(m.gathered_peak <= 1000000);
    assert_null(m.receiver.gathered);
    size_t reads = m.n_reads;
    put_message(&w, 5, 20000);
    for (int i = 0; i < 4; i++) {
        model_feed(&m, bytes_buf + 1000009, w.used - 1000009, &whole);
        assert_non_null(m.receiver.gathered); /* the next one needs none */
    }
    assert_true(m.n_reads - reads <= 12);
    model_fini(&m);
}

/* The share of what is copied on its way to the blob's memory, whatever the network brings. */
static void test_receiver_copies_hardly_anything(void **state) {
    enum { N = 1000, IMAGE_BYTES = 110000 };
    struct model m;
    struct stn_writer w = writer();
    size_t have = 0, frame_bytes;
    uint32_t n = 0;
    (void)state;
    put_read(&w, 5, STN_CQL_PAYLOAD, 0, IMAGE_BYTES, 0);
    frame_bytes = w.used;
    for (size_t i = 1; i < 8; i++) memcpy(bytes_buf + i * frame_bytes, bytes_buf, frame_bytes);
    model_init(&m, &read_plan, BODY_MAX);
    for (size_t at = 0; at < N * frame_bytes; at += have) { /* as an endless stream of the frame */
        have = STN_MIN(draw(n++) % (256 << 10) + 1, N * frame_bytes - at);
        m.log_bytes = 0;
        model_feed(&m, bytes_buf + at % frame_bytes, have, &whole);
        assert_ok(m.rc);
    }
    assert_int_equal(m.n_ends, N);
    assert_int_equal(m.n_blobs, N);
    assert_true(m.receiver.copied_bytes * 100 <= (uint64_t)N * IMAGE_BYTES);
    assert_int_equal(m.gathered_peak, 0);
    model_fini(&m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_receiver_takes_the_known_frame),
        cmocka_unit_test(test_receiver_gives_the_same_for_any_cut),
        cmocka_unit_test(test_receiver_gives_the_same_for_any_two_cuts),
        cmocka_unit_test(test_receiver_takes_several_blobs),
        cmocka_unit_test(test_receiver_takes_a_row_without_blobs),
        cmocka_unit_test(test_receiver_says_that_there_is_no_row),
        cmocka_unit_test(test_receiver_skips_and_counts_a_surplus),
        cmocka_unit_test(test_receiver_takes_a_head_longer_than_its_window),
        cmocka_unit_test(test_receiver_bounds_the_head),
        cmocka_unit_test(test_receiver_refuses_what_is_no_answer),
        cmocka_unit_test(test_receiver_takes_a_body_at_the_limit),
        cmocka_unit_test(test_receiver_takes_an_error_in_another_version),
        cmocka_unit_test(test_receiver_closes_when_the_owner_says_so),
        cmocka_unit_test(test_receiver_goes_on_after_an_answer_that_had_no_room),
        cmocka_unit_test(test_receiver_gathers_messages),
        cmocka_unit_test(test_receiver_gives_other_answers_as_messages),
        cmocka_unit_test(test_receiver_drops_what_nobody_wants),
        cmocka_unit_test(test_receiver_forgets_at_each_byte),
        cmocka_unit_test(test_receiver_forgets_from_within),
        cmocka_unit_test(test_receiver_reads_a_large_blob_at_once),
        cmocka_unit_test(test_receiver_allocates_nothing_for_small_columns),
        cmocka_unit_test(test_receiver_bounds_its_memory),
        cmocka_unit_test(test_receiver_copies_hardly_anything),
    };
    return cmocka_run_group_tests(tests, fill_blob, NULL);
}
