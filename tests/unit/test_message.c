#include "support/check.h"

#include <stdio.h>
#include <string.h>

#include "support/answers.h"
#include "wire/message.h"

static uint8_t buf[70000];

static struct stn_writer writer(void) { return (struct stn_writer){buf, sizeof buf, 0}; }

static struct stn_cursor written(const struct stn_writer *w) { return stn_cursor(buf, w->used); }

static void expect_text(struct stn_text got, const char *want) {
    if (!stn_text_equals(got, want))
        fail_msg("\"%.*s\" and not \"%s\"", (int)got.bytes, got.data, want);
}

/* ---- requests ---- */

static const uint8_t id_aa[16] = {0xaa, 0xaa, 0xaa, 0xaa, 0xaa, 0xaa, 0xaa, 0xaa,
                                  0xaa, 0xaa, 0xaa, 0xaa, 0xaa, 0xaa, 0xaa, 0xaa};
static const uint8_t key_bb[16] = {0xbb, 0xbb, 0xbb, 0xbb, 0xbb, 0xbb, 0xbb, 0xbb,
                                   0xbb, 0xbb, 0xbb, 0xbb, 0xbb, 0xbb, 0xbb, 0xbb};

static void put_options(struct stn_writer *w) { stn_cql_put_options(w, 0); }

static void put_startup(struct stn_writer *w) {
    static const struct stn_cql_pair pairs[] = {{"CQL_VERSION", "3.0.0"}, {"A", ""}};
    stn_cql_put_startup(w, 1, pairs, 2);
}

static void put_auth(struct stn_writer *w) { stn_cql_put_auth_response(w, 2, "tok", 3); }
static void put_auth_null(struct stn_writer *w) { stn_cql_put_auth_response(w, 2, NULL, 0); }
static void put_plain(struct stn_writer *w) { stn_cql_put_auth_plain(w, 2, "me", "pass"); }

static void put_register(struct stn_writer *w) {
    static const char *const events[] = {"STATUS_CHANGE", "X"};
    stn_cql_put_register(w, 0x0102, events, 2);
}

static void put_prepare(struct stn_writer *w) { stn_cql_put_prepare(w, 3, "SELECT"); }

static void put_read(struct stn_writer *w) {
    struct stn_cql_value key = stn_value_of(key_bb, 16);
    struct stn_cql_query q = {
        .consistency = STN_CQL_LOCAL_ONE, .skip_metadata = 1, .values = &key, .n_values = 1};
    stn_cql_put_execute(w, 0x1234, id_aa, 16, &q);
}

static void put_write(struct stn_writer *w) {
    struct stn_cql_value values[4] = {stn_value_of("k", 1), stn_value_unset(), stn_value_null(),
                                      stn_value_of("", 0)};
    struct stn_cql_query q = {.consistency = STN_CQL_LOCAL_QUORUM,
                              .values = values,
                              .n_values = 4,
                              .timestamp_us = 0x0102030405060708};
    stn_cql_put_execute(w, 5, "I", 1, &q);
}

static void put_page(struct stn_writer *w) {
    struct stn_cql_query q = {
        .consistency = 1, .page_size = 2000, .paging_state = {(const uint8_t *)"PS", 2}};
    stn_cql_put_execute(w, 5, "I", 1, &q);
}

static void put_all(struct stn_writer *w) {
    struct stn_cql_value value = stn_value_of("v", 1);
    struct stn_cql_query q = {.consistency = STN_CQL_QUORUM,
                              .serial_consistency = STN_CQL_LOCAL_SERIAL,
                              .skip_metadata = 1,
                              .values = &value,
                              .n_values = 1,
                              .page_size = 1,
                              .paging_state = {(const uint8_t *)"", 0},
                              .timestamp_us = -1};
    stn_cql_put_query(w, -1, "Q", &q);
}

static void put_plain_query(struct stn_writer *w) {
    stn_cql_put_query(w, 6, "SELECT", &(struct stn_cql_query){.consistency = STN_CQL_ONE});
}

#define SIXTEEN(b) b b b b b b b b b b b b b b b b

static void test_message_frames_are_the_known_ones(void **state) {
    static const struct {
        const char *name;
        void (*put)(struct stn_writer *w);
        size_t bytes;
        const char *want;
    } rows[] = {
        {"options", put_options, 9, "\x04\0\0\0\x05\0\0\0\0"},
        {"startup", put_startup, 9 + 27,
         "\x04\0\0\x01\x01\0\0\0\x1b"
         "\0\x02\0\x0b"
         "CQL_VERSION\0\x05"
         "3.0.0\0\x01"
         "A\0\0"},
        {"auth", put_auth, 9 + 7, "\x04\0\0\x02\x0f\0\0\0\x07\0\0\0\x03tok"},
        {"auth without", put_auth_null, 9 + 4, "\x04\0\0\x02\x0f\0\0\0\x04\xff\xff\xff\xff"},
        {"plain", put_plain, 9 + 12, "\x04\0\0\x02\x0f\0\0\0\x0c\0\0\0\x08\0me\0pass"},
        {"register", put_register, 9 + 20,
         "\x04\0\x01\x02\x0b\0\0\0\x14\0\x02\0\x0dSTATUS_CHANGE\0\x01X"},
        {"prepare", put_prepare, 9 + 10, "\x04\0\0\x03\x09\0\0\0\x0a\0\0\0\x06SELECT"},
        {"read", put_read, 52,
         "\x04\0\x12\x34\x0a\0\0\0\x2b\0\x10" SIXTEEN("\xaa") "\0\x0a\x03\0\x01\0\0\0\x10" SIXTEEN(
             "\xbb")},
        {"write", put_write, 9 + 33,
         "\x04\0\0\x05\x0a\0\0\0\x21\0\x01I\0\x06\x21\0\x04"
         "\0\0\0\x01k\xff\xff\xff\xfe\xff\xff\xff\xff\0\0\0\0"
         "\x01\x02\x03\x04\x05\x06\x07\x08"},
        {"page", put_page, 9 + 16,
         "\x04\0\0\x05\x0a\0\0\0\x10\0\x01I\0\x01\x0c\0\0\x07\xd0\0\0\0\x02PS"},
        {"all", put_all, 9 + 33,
         "\x04\0\xff\xff\x07\0\0\0\x21\0\0\0\x01Q\0\x04\x3f\0\x01\0\0\0\x01v\0\0\0\x01\0\0\0\0"
         "\0\x09\xff\xff\xff\xff\xff\xff\xff\xff"},
        {"query", put_plain_query, 9 + 13, "\x04\0\0\x06\x07\0\0\0\x0d\0\0\0\x06SELECT\0\x01\0"},
    };
    (void)state;
    for (size_t i = 0; i < STN_COUNT(rows); i++) {
        struct stn_writer measure = {NULL, 0, 0}, w = writer();
        rows[i].put(&measure);
        rows[i].put(&w);
        if (w.used != rows[i].bytes || measure.used != w.used)
            fail_msg("%s: %zu bytes, measured %zu", rows[i].name, w.used, measure.used);
        for (size_t k = 0; k < w.used; k++)
            if (buf[k] != (uint8_t)rows[i].want[k]) fail_msg("%s at %zu", rows[i].name, k);
        rows[i].put(&w); /* behind another frame: the length is its own */
        assert_memory_equal(buf + rows[i].bytes, rows[i].want, rows[i].bytes);
    }
}

/* A buffer that is too short by any number of bytes is never written past its end. */
static void test_message_is_only_measured_without_room(void **state) {
    (void)state;
    for (size_t cap = 0; cap < 52; cap++) {
        uint8_t *exact = malloc(cap ? cap : 1);
        assert_non_null(exact);
        struct stn_writer w = {exact, cap, 0};
        put_read(&w);
        assert_int_equal(w.used, 52);
        free(exact);
    }
}

static void test_message_stream_is_set_later(void **state) {
    struct stn_writer w = writer();
    struct stn_cql_header h;
    (void)state;
    put_read(&w);
    stn_cql_set_stream(buf, 32767);
    stn_cql_header_parse(buf, &h);
    assert_int_equal(h.stream, 32767);
    assert_int_equal(h.version, 4);
    assert_int_equal(h.opcode, STN_CQL_EXECUTE);
    assert_int_equal(h.body_bytes, 43);
    stn_cql_set_stream(buf, -1);
    stn_cql_header_parse(buf, &h);
    assert_int_equal(h.stream, -1);
}

/* ---- answers ---- */

/* Calls parse() on each cut of the body, in memory of exactly that size. */
static void cut(const struct stn_writer *w, void (*parse)(struct stn_cursor c, int is_whole)) {
    for (size_t n = 0; n <= w->used; n++) {
        uint8_t *exact = malloc(n ? n : 1);
        assert_non_null(exact);
        memcpy(exact, buf, n);
        parse(stn_cursor(exact, n), n == w->used);
        free(exact);
    }
}

static uint8_t prelude_flags;

static void parse_prelude(struct stn_cursor c, int is_whole) {
    struct stn_cql_prelude p;
    int rc = stn_cql_prelude_parse(&c, prelude_flags, &p);
    assert_int_equal(rc, is_whole ? STERNA_OK : STERNA_EPROTO);
    int warned = is_whole && prelude_flags & STN_CQL_WARNINGS;
    int routed = is_whole && prelude_flags & STN_CQL_PAYLOAD;
    assert_int_equal(p.n_warnings, warned ? 2 : 0);
    expect_text(p.warning, warned ? ANSWER_WARNING : "");
    assert_int_equal(p.tablets.bytes, routed ? ANSWER_TABLETS_BYTES : STN_CQL_NULL);
    if (routed) assert_memory_equal(p.tablets.data, ANSWER_TABLETS, ANSWER_TABLETS_BYTES);
    assert_int_equal(p.tablets.data != NULL, routed);
    if (is_whole) assert_int_equal(c.left, 0);
}

static void test_message_prelude_in_all_combinations(void **state) {
    (void)state;
    for (unsigned f = 0; f < 8; f++) {
        struct stn_writer w = writer();
        prelude_flags = (uint8_t)(f << 1);
        answer_begin(&w, 0, 0, prelude_flags);
        memmove(buf, buf + 9, w.used -= 9);
        cut(&w, parse_prelude);
    }
}

static const struct error_row {
    uint32_t code;
    const char *name, *details;
    size_t details_bytes;
    struct stn_cql_failure want; /* its details */
} error_rows[] = {
    {0x0000, "server error", "", 0, {0}},
    {0x000A, "protocol error", "", 0, {0}},
    {0x0100, "bad credentials", "", 0, {0}},
    {0x1000,
     "unavailable",
     "\0\x06\0\0\0\x02\0\0\0\x01",
     10,
     {.consistency = 6, .required = 2, .alive = 1}},
    {0x1001, "overloaded", "", 0, {0}},
    {0x1002, "bootstrapping", "", 0, {0}},
    {0x1003, "truncate error", "", 0, {0}},
    {0x1100,
     "write timeout",
     "\0\x06\0\0\0\x01\0\0\0\x02\0\x06SIMPLE",
     18,
     {.consistency = 6, .received = 1, .required = 2, .write_type = {"SIMPLE", 6}}},
    {0x1200,
     "read timeout",
     "\0\x01\0\0\0\0\0\0\0\x01\x01",
     11,
     {.consistency = 1, .required = 1, .data_present = 1}},
    {0x1300,
     "read failure",
     "\0\x01\0\0\0\x03\0\0\0\x04\0\0\0\x02\x01",
     15,
     {.consistency = 1, .received = 3, .required = 4, .data_present = 1}},
    {0x1400, "function failure", "", 0, {0}},
    {0x1500,
     "write failure",
     "\0\x04\0\0\0\x01\0\0\0\x02\0\0\0\x01\0\x03"
     "CAS",
     19,
     {.consistency = 4, .received = 1, .required = 2, .write_type = {"CAS", 3}}},
    {0x1600, "change log write failure", "", 0, {0}},
    {0x1700,
     "conditional write with unknown outcome",
     "\0\x08\0\0\0\x01\0\0\0\x02",
     10,
     {.consistency = 8, .received = 1, .required = 2}},
    {0x2000, "syntax error", "", 0, {0}},
    {0x2100, "unauthorized", "", 0, {0}},
    {0x2200, "invalid query", "", 0, {0}},
    {0x2300, "configuration error", "", 0, {0}},
    {0x2400,
     "already exists",
     "\0\x04imgs\0\x02"
     "ds",
     10,
     {.keyspace = {"imgs", 4}, .table = {"ds", 2}}},
    {0x2500, "unprepared", "\0\x03\x01\x02\x03", 5, {.statement_id = {"\x01\x02\x03", 3}}},
    {0xF000, "error 0xf000", "\x01\x01", 2, {0}}, /* what a server advertised: details unknown */
};

static void expect_bytes(struct stn_text got, struct stn_text want) {
    assert_int_equal(got.bytes, want.bytes);
    if (want.bytes) assert_memory_equal(got.data, want.data, want.bytes);
}

static void expect_details(const struct stn_cql_failure *f, const struct stn_cql_failure *want) {
    assert_int_equal(f->consistency, want->consistency);
    assert_int_equal(f->received, want->received);
    assert_int_equal(f->required, want->required);
    assert_int_equal(f->alive, want->alive);
    assert_int_equal(f->data_present, want->data_present);
    expect_bytes(f->write_type, want->write_type);
    expect_bytes(f->statement_id, want->statement_id);
    expect_bytes(f->keyspace, want->keyspace);
    expect_bytes(f->table, want->table);
}

/* Without code and message it is none; with less than all details it has none. */
static void test_message_errors_cut_at_each_byte(void **state) {
    (void)state;
    for (size_t i = 0; i < STN_COUNT(error_rows); i++) {
        const struct error_row *row = &error_rows[i];
        struct stn_writer w = writer();
        stn_put_be32(&w, row->code);
        stn_put_string(&w, "why");
        size_t needed = w.used;
        stn_put_bytes(&w, row->details, row->details_bytes);
        for (size_t n = 0; n <= w.used; n++) {
            uint8_t *exact = malloc(n ? n : 1);
            assert_non_null(exact);
            memcpy(exact, buf, n);
            struct stn_cursor c = stn_cursor(exact, n);
            struct stn_cql_failure f, none = {0};
            char name[32];
            int rc = stn_cql_failure_parse(&c, &f);
            if (rc != (n < needed ? STERNA_EPROTO : STERNA_OK))
                fail_msg("%s of %zu bytes: %d", row->name, n, rc);
            expect_text(f.message, n < needed ? "" : "why");
            expect_details(&f, n < w.used ? &none : &row->want);
            assert_string_equal(stn_cql_failure_name(row->code, name, sizeof name), row->name);
            free(exact);
        }
    }
}

static char pairs[512];

static void note_pair(void *ctx, struct stn_text key, struct stn_text value) {
    size_t used = strlen(pairs);
    (void)ctx;
    snprintf(pairs + used, sizeof pairs - used, "%.*s=%.*s;", (int)key.bytes, key.data,
             (int)value.bytes, value.data);
}

static void parse_supported(struct stn_cursor c, int is_whole) {
    pairs[0] = 0;
    int rc = stn_cql_supported_parse(&c, note_pair, NULL);
    assert_int_equal(rc, is_whole ? STERNA_OK : STERNA_EPROTO);
    if (is_whole)
        assert_string_equal(pairs, "CQL_VERSION=3.4.5;CQL_VERSION=3.4.6;SCYLLA_SHARD=3;LAST=;");
}

static void test_message_supported(void **state) {
    struct stn_writer w = writer();
    (void)state;
    stn_put_be16(&w, 4);
    stn_put_string(&w, "CQL_VERSION");
    stn_put_be16(&w, 2);
    stn_put_string(&w, "3.4.5");
    stn_put_string(&w, "3.4.6");
    stn_put_string(&w, "COMPRESSION");
    stn_put_be16(&w, 0);
    stn_put_string(&w, "SCYLLA_SHARD");
    stn_put_be16(&w, 1);
    stn_put_string(&w, "3");
    stn_put_string(&w, "LAST");
    stn_put_be16(&w, 1);
    stn_put_string(&w, "");
    cut(&w, parse_supported);
}

static int event_address_bytes;

static void parse_event(struct stn_cursor c, int is_whole) {
    struct stn_cql_event e;
    assert_int_equal(stn_cql_event_parse(&c, &e), is_whole ? STERNA_OK : STERNA_EPROTO);
    expect_text(e.change, is_whole ? "NEW_NODE" : "");
    assert_int_equal(e.address_bytes, is_whole ? event_address_bytes : 0);
    assert_int_equal(e.port, is_whole ? 9042 : 0);
    if (is_whole) assert_memory_equal(e.address, "0123456789abcdef", e.address_bytes);
}

static void test_message_events_of_nodes(void **state) {
    static const struct {
        const char *type;
        int address_bytes;
    } rows[] = {{"TOPOLOGY_CHANGE", 4}, {"TOPOLOGY_CHANGE", 16}, {"STATUS_CHANGE", 4}};
    (void)state;
    for (size_t i = 0; i < STN_COUNT(rows); i++) {
        struct stn_writer w = writer();
        event_address_bytes = rows[i].address_bytes;
        stn_put_string(&w, rows[i].type);
        stn_put_string(&w, "NEW_NODE");
        stn_put_u8(&w, (uint8_t)rows[i].address_bytes);
        stn_put_bytes(&w, "0123456789abcdef", (size_t)rows[i].address_bytes);
        stn_put_be32(&w, 9042);
        cut(&w, parse_event);
        struct stn_cursor c = written(&w);
        struct stn_cql_event e;
        assert_ok(stn_cql_event_parse(&c, &e));
        expect_text(e.type, rows[i].type);
        buf[2 + strlen(rows[i].type) + 2 + 8] = 5; /* an address of 5 bytes */
        c = written(&w);
        assert_int_equal(stn_cql_event_parse(&c, &e), STERNA_EPROTO);
    }
}

static void test_message_events_of_other_kinds(void **state) {
    struct stn_writer w = writer();
    struct stn_cql_event e;
    (void)state;
    stn_put_string(&w, "SCHEMA_CHANGE");
    stn_put_string(&w, "DROPPED");
    stn_put_string(&w, "TABLE");
    struct stn_cursor c = written(&w);
    assert_ok(stn_cql_event_parse(&c, &e));
    expect_text(e.change, "DROPPED");
    assert_int_equal(e.address_bytes, 0);
    w = writer();
    stn_put_string(&w, "CLIENT_ROUTES_CHANGE"); /* of a newer server */
    stn_put_u8(&w, 0xff);
    c = written(&w);
    assert_ok(stn_cql_event_parse(&c, &e));
    expect_text(e.type, "CLIENT_ROUTES_CHANGE");
    assert_int_equal(e.change.bytes, 0);
}

/* ---- RESULT ---- */

static void put_type(struct stn_writer *w, uint16_t type) { stn_put_be16(w, type); }

/* One column of each build of type. Each is one list entry for test_message_prepared(). */
static void put_type_of(struct stn_writer *w, unsigned kind) {
    switch (kind) {
    case 0:
        put_type(w, STN_CQL_BLOB);
        break;
    case 1:
        put_type(w, STN_CQL_UUID);
        break;
    case 2:
        put_type(w, STN_CQL_LIST);
        put_type(w, STN_CQL_INT);
        break;
    case 3:
        put_type(w, STN_CQL_MAP);
        put_type(w, STN_CQL_VARCHAR);
        put_type(w, STN_CQL_SET);
        put_type(w, STN_CQL_BIGINT);
        break;
    case 4:
        put_type(w, STN_CQL_UDT);
        stn_put_string(w, "imgs");
        stn_put_string(w, "point");
        stn_put_be16(w, 2);
        stn_put_string(w, "x");
        put_type(w, STN_CQL_INT);
        stn_put_string(w, "y");
        put_type(w, STN_CQL_LIST);
        put_type(w, STN_CQL_INT);
        break;
    case 5:
        put_type(w, STN_CQL_TUPLE);
        stn_put_be16(w, 2);
        put_type(w, STN_CQL_INT);
        put_type(w, STN_CQL_CUSTOM);
        stn_put_string(w, "inner");
        break;
    default:
        put_type(w, STN_CQL_CUSTOM);
        stn_put_string(w, "VectorType");
        break;
    }
}

enum { N_KINDS = 7 };
static const uint16_t outermost[N_KINDS] = {STN_CQL_BLOB, STN_CQL_UUID,  STN_CQL_LIST,  STN_CQL_MAP,
                                            STN_CQL_UDT,  STN_CQL_TUPLE, STN_CQL_CUSTOM};

static void put_metadata(struct stn_writer *w, int global, uint32_t n, int n_key) {
    stn_put_be32(w, global ? STN_CQL_GLOBAL_SPEC : 0);
    stn_put_be32(w, n);
    if (n_key >= 0) stn_put_be32(w, (uint32_t)n_key);
    for (int i = 0; i < n_key; i++) stn_put_be16(w, (uint16_t)(n - 1 - (unsigned)i));
    if (global) stn_put_string(w, "imgs"), stn_put_string(w, "ds");
    for (uint32_t i = 0; i < n; i++) {
        char name[16];
        snprintf(name, sizeof name, "c%u", i % 1000);
        if (!global) stn_put_string(w, "imgs"), stn_put_string(w, "ds");
        stn_put_string(w, name);
        put_type_of(w, i % N_KINDS);
    }
}

static void expect_columns(struct stn_cql_metadata m, uint32_t n) {
    struct stn_cql_column column;
    assert_int_equal(m.n_columns, n);
    for (uint32_t i = 0; i < n; i++) {
        char name[16];
        snprintf(name, sizeof name, "c%u", i % 1000);
        assert_int_equal(stn_cql_column_next(&m, &column), 1);
        expect_text(column.keyspace, "imgs");
        expect_text(column.table, "ds");
        expect_text(column.name, name);
        assert_int_equal(column.type, outermost[i % N_KINDS]);
        expect_text(column.custom, column.type == STN_CQL_CUSTOM ? "VectorType" : "");
    }
    assert_int_equal(stn_cql_column_next(&m, &column), 0);
}

static void parse_result(struct stn_cursor c, int is_whole) {
    struct stn_cql_result_head head;
    assert_int_equal(stn_cql_result_parse(&c, &head), is_whole ? STERNA_OK : STERNA_EPROTO);
    if (!is_whole) assert_int_equal(head.kind, 0);
}

static void test_message_prepared(void **state) {
    static const struct {
        uint32_t n_params, n_columns;
        int n_key;
    } rows[] = {{1, 3, 1}, {2, 0, 2}, {0, 1, 0}, {7, 7, 0}, {21, 1, 3}, {1, 500, 1}};
    (void)state;
    for (int global = 0; global < 2; global++) {
        for (size_t i = 0; i < STN_COUNT(rows); i++) {
            struct stn_writer w = writer();
            struct stn_cql_result_head head;
            stn_put_be32(&w, STN_CQL_PREPARED);
            stn_put_string(&w, "sixteen bytes id");
            put_metadata(&w, global, rows[i].n_params, rows[i].n_key);
            if (rows[i].n_columns) {
                put_metadata(&w, global, rows[i].n_columns, -1);
            } else { /* no SELECT */
                stn_put_be32(&w, STN_CQL_NO_METADATA);
                stn_put_be32(&w, 0);
            }
            struct stn_cursor c = written(&w);
            assert_ok(stn_cql_result_parse(&c, &head));
            assert_int_equal(head.kind, STN_CQL_PREPARED);
            expect_text(head.id, "sixteen bytes id");
            expect_columns(head.params, rows[i].n_params);
            expect_columns(head.columns, rows[i].n_columns);
            assert_int_equal(head.params.n_key, rows[i].n_key);
            for (int k = 0; k < rows[i].n_key; k++)
                assert_int_equal(stn_get_be16(&head.params.key),
                                 rows[i].n_params - 1 - (unsigned)k);
            assert_true(head.params.key.left == 0 && c.left == 0);
            cut(&w, parse_result);
        }
    }
}

static int parse_nested(unsigned depth, uint16_t type) {
    struct stn_writer w = writer();
    struct stn_cql_result_head head;
    stn_put_be32(&w, STN_CQL_ROWS);
    stn_put_be32(&w, 0);
    stn_put_be32(&w, 1);
    stn_put_string(&w, "");
    stn_put_string(&w, "");
    stn_put_string(&w, "c");
    for (unsigned i = 1; i < depth; i++) {
        put_type(&w, type);
        if (type == STN_CQL_TUPLE) stn_put_be16(&w, 1);
    }
    put_type(&w, STN_CQL_INT);
    stn_put_be32(&w, 0);
    struct stn_cursor c = written(&w);
    return stn_cql_result_parse(&c, &head);
}

static void test_message_bounds_the_nesting_of_types(void **state) {
    static const uint16_t types[] = {STN_CQL_LIST, STN_CQL_SET, STN_CQL_TUPLE};
    (void)state;
    for (size_t i = 0; i < STN_COUNT(types); i++) {
        assert_ok(parse_nested(1, types[i]));
        assert_ok(parse_nested(16, types[i]));
        assert_int_equal(parse_nested(17, types[i]), STERNA_EPROTO);
        assert_int_equal(parse_nested(10000, types[i]), STERNA_EPROTO);
    }
}

static void test_message_rows(void **state) {
    struct stn_cql_value values[6] = {stn_value_of("a", 1),  stn_value_null(),
                                      stn_value_of("", 0),   stn_value_of("b", 1),
                                      stn_value_of("cc", 2), stn_value_null()};
    (void)state;
    for (int with = 0; with < 4; with++) {
        struct stn_writer w = writer();
        struct stn_cql_result_head head;
        answer_rows(&w, &(struct answer_rows){.n_rows = 2,
                                              .n_columns = 3,
                                              .values = values,
                                              .with_metadata = with & 1,
                                              .with_paging = with >> 1});
        memmove(buf, buf + 9, w.used -= 9);
        struct stn_cursor c = written(&w);
        assert_ok(stn_cql_result_parse(&c, &head));
        assert_int_equal(head.n_rows, 2);
        assert_int_equal(head.rows.n_columns, 3);
        assert_int_equal(head.rows.paging_state.data != NULL, with >> 1);
        if (with >> 1) assert_true(stn_value_equals(head.rows.paging_state, "page", 4));
        struct stn_cql_column column;
        assert_int_equal(stn_cql_column_next(&head.rows, &column), with & 1);
        for (size_t i = 0; i < 6; i++) {
            struct stn_cql_value v = stn_get_value(&c);
            assert_int_equal(v.bytes, values[i].bytes);
            assert_int_equal(v.data != NULL, values[i].bytes >= 0);
        }
        assert_true(c.left == 0 && !c.overrun);
    }
}

static void test_message_other_results(void **state) {
    struct stn_writer w = writer();
    struct stn_cql_result_head head;
    (void)state;
    stn_put_be32(&w, STN_CQL_VOID);
    cut(&w, parse_result);
    w = writer();
    stn_put_be32(&w, STN_CQL_SET_KEYSPACE);
    stn_put_string(&w, "imgs");
    cut(&w, parse_result);
    struct stn_cursor c = written(&w);
    assert_ok(stn_cql_result_parse(&c, &head));
    expect_text(head.keyspace, "imgs");
    w = writer();
    stn_put_be32(&w, STN_CQL_SCHEMA_CHANGE);
    stn_put_string(&w, "CREATED");
    c = written(&w);
    assert_ok(stn_cql_result_parse(&c, &head));
    assert_int_equal(head.kind, STN_CQL_SCHEMA_CHANGE);
}

/* Numbers that a damaged answer could make us count to. */
static void test_message_refuses_impossible_numbers(void **state) {
    static const struct {
        const char *name;
        size_t bytes;
        const char *body;
    } rows[] = {
        {"kind 0", 4, "\0\0\0\0"},
        {"kind 6", 8, "\0\0\0\x06\0\0\0\0"},
        {"rows of nothing", 16, "\0\0\0\x02\0\0\0\x04\0\0\0\0\x7f\xff\xff\xff"},
        {"more rows than bytes", 20, "\0\0\0\x02\0\0\0\x04\0\0\0\x01\0\0\0\x02\0\0\0\0"},
        {"rows times columns", 20, "\0\0\0\x02\0\0\0\x04\x7f\xff\xff\xff\x7f\xff\xff\xff\0\0\0\0"},
        {"negative rows", 20, "\0\0\0\x02\0\0\0\x04\0\0\0\x01\xff\xff\xff\xff\0\0\0\0"},
        {"negative columns", 20, "\0\0\0\x02\0\0\0\x04\xff\xff\xff\xff\0\0\0\0\0\0\0\0"},
        {"columns without specs", 20, "\0\0\0\x02\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0\0"},
        {"two billion columns", 20, "\0\0\0\x02\0\0\0\x01\x7f\xff\xff\xff\0\0\0\0\0\0\0\0"},
        {"metadata of version 5", 16, "\0\0\0\x02\0\0\0\x0c\0\0\0\x01\0\0\0\0"},
        {"more pages, but no state", 20, "\0\0\0\x02\0\0\0\x06\0\0\0\x01\xff\xff\xff\xff\0\0\0\0"},
        {"paging state of -5 bytes", 20, "\0\0\0\x02\0\0\0\x06\0\0\0\x01\xff\xff\xff\xfb\0\0\0\0"},
        {"id over the end", 10, "\0\0\0\x04\xff\xff\0\0\0\0"},
        {"key of two billion", 26,
         "\0\0\0\x04\0\x01I\0\0\0\x01\0\0\0\0\x7f\xff\xff\xff\0\0\0\0\0\0\0\0"},
        {"key that is no variable", 40,
         "\0\0\0\x04\0\x01I\0\0\0\x01\0\0\0\x01\0\0\0\x01\0\x01\0\0\0\0\0\x01"
         "c\0\x03\0\0\0\x04\0\0\0\0"},
    };
    (void)state;
    for (size_t i = 0; i < STN_COUNT(rows); i++) {
        struct stn_cursor c = stn_cursor(rows[i].body, rows[i].bytes);
        struct stn_cql_result_head head;
        int rc = stn_cql_result_parse(&c, &head);
        if (rc != STERNA_EPROTO) fail_msg("%s: %d", rows[i].name, rc);
        assert_int_equal(head.kind, 0);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_message_frames_are_the_known_ones),
        cmocka_unit_test(test_message_is_only_measured_without_room),
        cmocka_unit_test(test_message_stream_is_set_later),
        cmocka_unit_test(test_message_prelude_in_all_combinations),
        cmocka_unit_test(test_message_errors_cut_at_each_byte),
        cmocka_unit_test(test_message_supported),
        cmocka_unit_test(test_message_events_of_nodes),
        cmocka_unit_test(test_message_events_of_other_kinds),
        cmocka_unit_test(test_message_prepared),
        cmocka_unit_test(test_message_bounds_the_nesting_of_types),
        cmocka_unit_test(test_message_rows),
        cmocka_unit_test(test_message_other_results),
        cmocka_unit_test(test_message_refuses_impossible_numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
