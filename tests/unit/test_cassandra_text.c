/* What lies in a data set's tables as text, and the statements that make them. */
#include "support/check.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "cassandra/meta_row.h"
#include "cassandra/tables.h"

/* ---- values ---- */

static struct sterna_value text_value(const char *text, size_t bytes) {
    return (struct sterna_value){.type = STERNA_TEXT, .text = text, .text_bytes = bytes};
}
static struct sterna_value int_value(int64_t i) {
    return (struct sterna_value){.type = STERNA_INT, .i = i};
}
static struct sterna_value real_value(double r) {
    return (struct sterna_value){.type = STERNA_REAL, .r = r};
}

static void assert_same(const struct sterna_value *a, const struct sterna_value *b) {
    assert_int_equal(a->type, b->type);
    if (a->type == STERNA_INT) assert_true(a->i == b->i);
    if (a->type == STERNA_REAL) assert_memory_equal(&a->r, &b->r, sizeof a->r);
    if (a->type != STERNA_TEXT) return;
    assert_int_equal(a->text_bytes, b->text_bytes);
    assert_memory_equal(a->text, b->text, a->text_bytes);
}

static char *text_of(const struct stn_json_out *o) {
    char *text = calloc(o->bytes + 1, 1);
    if (o->bytes) memcpy(text, o->text, o->bytes);
    return text;
}

static void test_values_come_back_as_they_were(void **state) {
    (void)state;
    const struct {
        struct sterna_value value;
        const char *json; /* NULL: not looked at */
    } rows[] = {
        {int_value(0), "0"},
        {int_value(INT64_MIN), "-9223372036854775808"},
        {int_value(INT64_MAX), "9223372036854775807"},
        {real_value(1), "1.0"},
        {real_value(-0.0), "-0.0"},
        {real_value(0.1), "0.10000000000000001"},
        {real_value(5e-324), NULL},
        {real_value(1.7976931348623157e308), NULL},
        {real_value(1e22), NULL},
        {real_value(INFINITY), "9e999"},
        {real_value(-INFINITY), "-9e999"},
        {{.type = STERNA_NULL}, "null"},
        {text_value("", 0), "\"\""},
        {text_value("a \"b\" \\ \n", 9), "\"a \\\"b\\\" \\\\ \\u000a\""},
        {text_value("gr\xc3\xbc\xc3\x9f \xf0\x9f\x90\x88", 11), NULL},
        {text_value("\xff\xfe", 2), "{\"bytes\":\"fffe\"}"},
        {text_value("a\0b", 3), "{\"bytes\":\"610062\"}"},
        {text_value("{\"bytes\":\"00\"}", 14), "\"{\\\"bytes\\\":\\\"00\\\"}\""},
    };
    for (size_t i = 0; i < STN_COUNT(rows); i++) {
        struct stn_json_out o = {0};
        struct sterna_value back;
        stn_json_put_value(&o, &rows[i].value);
        assert_false(o.failed);
        char *text = text_of(&o);
        if (rows[i].json) assert_string_equal(text, rows[i].json);
        struct stn_json_in in = {text, text + o.bytes};
        assert_true(stn_json_get_value(&in, &back));
        assert_true(stn_json_at_end(&in));
        assert_same(&back, &rows[i].value);
        free(text);
        stn_json_out_fini(&o);
    }
}

static void test_text_of_others_is_read_too(void **state) {
    (void)state;
    char text[] =
        " { \"a\\u00e9\\ud83d\\udc08\\/\" : [1, {\"x\": [true, null]}, \"s\"] , \"b\":2.5e1}";
    struct stn_json_in in = {text, text + strlen(text)};
    struct sterna_value v;
    char *name;
    size_t bytes;
    assert_true(stn_json_take(&in, '{'));
    assert_true(stn_json_get_text(&in, &name, &bytes));
    assert_string_equal(name, "a\xc3\xa9\xf0\x9f\x90\x88/");
    assert_true(stn_json_take(&in, ':'));
    assert_true(stn_json_skip(&in));
    assert_true(stn_json_take(&in, ','));
    assert_true(stn_json_get_text(&in, &name, &bytes));
    assert_true(stn_json_take(&in, ':'));
    assert_true(stn_json_get_value(&in, &v));
    assert_int_equal(v.type, STERNA_REAL);
    assert_true(v.r == 25);
    assert_true(stn_json_take(&in, '}'));
    assert_true(stn_json_at_end(&in));
}

static void test_broken_text_is_refused(void **state) {
    (void)state;
    static const char *const rows[] = {
        "",          "\"",         "\"\\",     "\"\\u12\"",         "\"\\ud83d\"",
        "\"\\q\"",   "-",          "nul",      "{\"bytes\":\"0\"}", "{\"bytes\":\"0g\"}",
        "{\"x\":1}", "{\"bytes\"", "\"a\nb\"", "{\"bytes\":\"00\"", "\"\\u0000\"",
    };
    for (size_t i = 0; i < STN_COUNT(rows); i++) {
        size_t bytes = strlen(rows[i]);
        char *text = strdup(rows[i]); /* of its exact size, so that reading past it is seen */
        struct stn_json_in in = {text, text + bytes};
        struct sterna_value v;
        if (stn_json_get_value(&in, &v)) fail_msg("taken: %s", rows[i]);
        free(text);
    }
}

/* ---- names ---- */

static void test_names_keep_their_places(void **state) {
    (void)state;
    struct stn_dictionary d = {0}, back;
    struct stn_json_out o = {0};
    static const char *const first[] = {"dog", "ant", "dog", "\xff"}, *const more[] = {"bee",
                                                                                       "ant"};
    assert_ok(stn_dictionary_add_field(&d, "image", STERNA_KIND_IMAGE, NULL));
    assert_ok(stn_dictionary_add_field(&d, "Mask", STERNA_KIND_MASK, NULL));
    assert_ok(stn_dictionary_add_classes(&d, first, 4, NULL));
    assert_ok(stn_dictionary_add_classes(&d, more, 2, NULL));
    assert_ok(stn_dictionary_add_column(&d, "score", NULL));
    stn_dictionary_write(&d, &o);
    char *text = text_of(&o);
    assert_string_equal(text,
                        "{\"fields\":[\"image:image\",\"Mask:mask\"],\"classes\":[\"dog\",\"ant\","
                        "{\"bytes\":\"ff\"},\"bee\"],\"columns\":[\"score\"]}");
    assert_ok(stn_dictionary_parse(&back, text, strlen(text), NULL));
    assert_int_equal(stn_dictionary_class(&back, "dog"), 0);
    assert_int_equal(stn_dictionary_class(&back, "ant"), 1);
    assert_int_equal(stn_dictionary_class(&back, "\xff"), 2);
    assert_int_equal(stn_dictionary_class(&back, "bee"), 3);
    assert_int_equal(stn_dictionary_class(&back, "cat"), -1);
    assert_int_equal(stn_dictionary_field(&back, "mask"), 1);
    assert_int_equal(back.fields[1].kind, STERNA_KIND_MASK);
    assert_int_equal(stn_dictionary_column(&back, "SCORE"), 0);
    free(text);
    stn_json_out_fini(&o);
    stn_dictionary_fini(&d);
    stn_dictionary_fini(&back);
}

static void test_names_that_make_no_sense(void **state) {
    (void)state;
    static const char *const rows[] = {
        "",
        "[]",
        "{\"fields\":[\"image\"]}",
        "{\"fields\":[\"image:picture\"]}",
        "{\"fields\":[\"a:image\",\"A:mask\"]}",
        "{\"classes\":[\"a\",\"b\",\"a\"]}",
        "{\"classes\":[\"a\"}",
        "{\"classes\":[1]}",
        "{\"classes\":[\"a\"]} x",
        "{\"classes\":[{\"bytes\":\"00\"}]}",
    };
    struct sterna_error err = {0};
    for (size_t i = 0; i < STN_COUNT(rows); i++) {
        struct stn_dictionary d;
        if (stn_dictionary_parse(&d, rows[i], strlen(rows[i]), &err) != STERNA_EFORMAT)
            fail_msg("taken: %s", rows[i]);
    }
}

static void test_room_for_fields_ends(void **state) {
    (void)state;
    struct stn_dictionary d = {0};
    struct sterna_error err = {0};
    char name[16];
    for (int i = 0; i < 32; i++) {
        snprintf(name, sizeof name, "f%d", i);
        assert_ok(stn_dictionary_add_field(&d, name, STERNA_KIND_BYTES, &err));
    }
    assert_int_equal(stn_dictionary_add_field(&d, "g", STERNA_KIND_BYTES, &err), STERNA_EINVAL);
    assert_non_null(strstr(err.message, "no room for field 'g'"));
    stn_dictionary_fini(&d);
}

/* ---- statements ---- */

struct statements {
    char text[8][1024];
    size_t n, stop_at;
};

static int keep(void *ctx, const char *statement) {
    struct statements *s = ctx;
    assert_true(s->n < 8);
    snprintf(s->text[s->n++], sizeof s->text[0], "%s", statement);
    return s->n == s->stop_at ? STERNA_ECANCELED : STERNA_OK;
}

static void name_all(struct stn_cassandra *c, char *keyspace, char *dataset) {
    *c = (struct stn_cassandra){.location = {.keyspace = keyspace, .dataset = dataset}};
}

static void free_names(struct stn_cassandra *c) {
    free(c->data_table);
    free(c->chunk_table);
    free(c->meta_table);
    free(c->run_table);
    free(c->info_table);
}

static void test_statements_make_all_tables(void **state) {
    (void)state;
    struct stn_cassandra c;
    struct stn_cassandra_field fields[2];
    struct statements s = {.n = 0};
    name_all(&c, (char[]){"Lab"}, (char[]){"birds"});
    assert_ok(stn_tables_name(&c, NULL));
    assert_ok(stn_tables_field(&fields[0], "image", STERNA_KIND_IMAGE, 0, NULL));
    assert_ok(stn_tables_field(&fields[1], "order", STERNA_KIND_MASK, 1, NULL));
    struct stn_tables_options o = {
        .replication = "dc1=3,Dc'2=2", .release_major = 5, .fields = fields, .n_fields = 2};
    assert_ok(stn_tables_create(&c, &o, keep, &s, NULL));
    assert_int_equal(s.n, 6);
    assert_string_equal(
        s.text[0], "CREATE KEYSPACE IF NOT EXISTS \"Lab\" WITH replication = {'class': "
                   "'NetworkTopologyStrategy', 'dc1': 3, 'Dc''2': 2} AND durable_writes = true");
    assert_string_equal(
        s.text[1],
        "CREATE TABLE IF NOT EXISTS \"Lab\".\"birds_data\" (id uuid PRIMARY KEY, \"image_bytes\" "
        "bigint, \"image_crc\" int, \"image\" blob, \"order_bytes\" bigint, \"order_crc\" int, "
        "\"order\" blob) WITH compression = {'enabled': 'false'} AND caching = {'keys': 'ALL', "
        "'rows_per_partition': 'NONE'} AND bloom_filter_fp_chance = 0.01 AND compaction = "
        "{'class': 'UnifiedCompactionStrategy', 'scaling_parameters': 'T4'} AND "
        "default_time_to_live = 0");
    assert_non_null(strstr(s.text[2], "\"birds_chunk\" (id uuid, field text, n smallint"));
    assert_non_null(strstr(s.text[3], "\"birds_meta\" (run timeuuid, part int, id uuid"));
    assert_non_null(strstr(s.text[5], "\"birds_info\" (k text PRIMARY KEY, v text)"));
    char *add = stn_tables_add_field(&c, &fields[1]);
    assert_string_equal(add, "ALTER TABLE \"Lab\".\"birds_data\" ADD (\"order_bytes\" bigint, "
                             "\"order_crc\" int, \"order\" blob)");
    free(add);

    /* Other servers, no keyspace, and an end when told to. */
    memset(&s, 0, sizeof s);
    o = (struct stn_tables_options){.release_major = 5, .is_scylla = 1};
    assert_ok(stn_tables_create(&c, &o, keep, &s, NULL));
    assert_int_equal(s.n, 5);
    assert_non_null(strstr(s.text[0], "(id uuid PRIMARY KEY) WITH compression = {} AND"));
    assert_null(strstr(s.text[0], "compaction"));
    memset(&s, 0, sizeof s);
    s.stop_at = 2;
    o.is_scylla = 0;
    o.release_major = 4;
    assert_int_equal(stn_tables_create(&c, &o, keep, &s, NULL), STERNA_ECANCELED);
    assert_int_equal(s.n, 2);
    assert_null(strstr(s.text[0], "compaction"));
    free_names(&c);
}

static void test_replication_is_checked(void **state) {
    (void)state;
    static const struct {
        const char *text, *want; /* NULL: refused */
    } rows[] = {
        {"1", "{'class': 'SimpleStrategy', 'replication_factor': 1}"},
        {"dc1=3", "{'class': 'NetworkTopologyStrategy', 'dc1': 3}"},
        {"3,dc1=3", NULL},
        {"dc1", NULL},
        {"dc1=", NULL},
        {"=3", NULL},
        {"dc1=3,", NULL},
        {"dc1=0", NULL},
        {"dc1=-1", NULL},
        {"dc1=1x", NULL},
        {"", NULL},
        {"0", NULL},
        {"dc1=1001", NULL},
        {"dc1=99999999999999999999", NULL},
        {"dc1=3 dc2=3", NULL},
    };
    struct stn_cassandra c;
    name_all(&c, (char[]){"k"}, (char[]){"d"});
    assert_ok(stn_tables_name(&c, NULL));
    for (size_t i = 0; i < STN_COUNT(rows); i++) {
        struct statements s = {.n = 0};
        struct sterna_error err = {0};
        struct stn_tables_options o = {.replication = rows[i].text};
        int rc = stn_tables_create(&c, &o, keep, &s, &err);
        if (rc != (rows[i].want ? STERNA_OK : STERNA_EINVAL)) fail_msg("%s: %d", rows[i].text, rc);
        if (rows[i].want) assert_non_null(strstr(s.text[0], rows[i].want));
        if (!rows[i].want) assert_non_null(strstr(err.message, "DATACENTRE=REPLICAS"));
    }
    free_names(&c);
}

static void test_names_of_tables_are_checked(void **state) {
    (void)state;
    char longest[64];
    struct stn_cassandra c;
    memset(longest, 'a', sizeof longest);
    longest[42] = '\0';
    name_all(&c, (char[]){"k"}, longest);
    assert_ok(stn_tables_name(&c, NULL));
    free_names(&c);
    longest[42] = 'a', longest[43] = '\0';
    name_all(&c, (char[]){"k"}, longest);
    assert_int_equal(stn_tables_name(&c, NULL), STERNA_EINVAL);
    name_all(&c, (char[]){"k"}, (char[]){"bad\"name"});
    assert_int_equal(stn_tables_name(&c, NULL), STERNA_EINVAL);
    name_all(&c, (char[]){""}, (char[]){"d"});
    assert_int_equal(stn_tables_name(&c, NULL), STERNA_EINVAL);
    char *full = stn_tables_qualify("lab", "other.da\"ta");
    assert_string_equal(full, "\"other\".\"da\"\"ta\"");
    free(full);
    full = stn_tables_qualify("lab", "data");
    assert_string_equal(full, "\"lab\".\"data\"");
    free(full);
}

/* ---- rows ---- */

static struct stn_cell cell(const char *column, struct sterna_value value) {
    return (struct stn_cell){column, value};
}

static struct sterna_value value_in(const struct stn_row *row, const char *column) {
    for (size_t i = 0; i < row->n_cells; i++)
        if (strcmp(row->cells[i].column, column) == 0) return row->cells[i].value;
    fail_msg("no column %s", column);
    return (struct sterna_value){0};
}

static void fill_names(struct stn_dictionary *names) {
    static const char *const columns[] = {"score", "note", "odd_bytes", "raw"};
    *names = (struct stn_dictionary){0};
    assert_ok(stn_dictionary_add_field(names, "image", STERNA_KIND_IMAGE, NULL));
    assert_ok(stn_dictionary_add_field(names, "mask", STERNA_KIND_MASK, NULL));
    for (size_t i = 0; i < STN_COUNT(columns); i++)
        assert_ok(stn_dictionary_add_column(names, columns[i], NULL));
}

static void test_a_row_comes_back_whole(void **state) {
    (void)state;
    static const struct sterna_value none = {0};
    const struct stn_cell first[] = {
        cell("path", text_value("a/b.jpg", 7)),
        cell("label", int_value(INT64_MIN)),
        cell("class", text_value("\xff"
                                 "cat",
                                 4)),
        cell("split", text_value("", 0)),
        cell("width", int_value(640)),
        cell("height", int_value((int64_t)1 << 40)),
        cell("channels", none),
        cell("format", none),
        cell("image_bytes", int_value(12345)),
        cell("mask_bytes", none),
        cell("score", real_value(0.1)),
        cell("note", text_value("x\"y", 3)),
        cell("odd_bytes", int_value(-7)),
        cell("raw", none),
    };
    const struct stn_cell second[] = {cell("path", text_value("\xfe", 1)),
                                      cell("odd_bytes", text_value("t", 1)),
                                      cell("image_bytes", int_value(0))};
    struct stn_dictionary names;
    fill_names(&names);
    struct stn_meta_writer w = {0};
    struct stn_meta_reader r;
    assert_ok(stn_meta_reader_init(&r, &names));
    struct stn_row row = {.id = "0123456789abcdef", .cells = first, .n_cells = 14}, back;
    int belongs = 0;
    const char *why;
    assert_ok(stn_meta_write(&w, &row, 1));
    assert_int_equal(w.values[STN_META_CHANNELS].bytes, STN_CQL_UNSET); /* null makes a tombstone */
    assert_int_equal(w.values[STN_META_CLASS].bytes, STN_CQL_UNSET);
    assert_ok(stn_meta_read(&r, w.values, &back, &belongs, &why));
    assert_memory_equal(back.id, row.id, 16);
    assert_int_equal(belongs, 1);
    for (size_t i = 0; i < STN_COUNT(first); i++) {
        struct sterna_value v = value_in(&back, first[i].column);
        assert_same(&v, &first[i].value);
    }
    row = (struct stn_row){.id = "fedcba9876543210", .cells = second, .n_cells = 3};
    assert_ok(stn_meta_write(&w, &row, 0));
    assert_ok(stn_meta_read(&r, w.values, &back, &belongs, &why));
    assert_int_equal(belongs, 0);
    for (size_t i = 0; i < back.n_cells; i++) {
        const struct sterna_value *want = &none;
        for (size_t k = 0; k < 3; k++)
            if (strcmp(second[k].column, back.cells[i].column) == 0) want = &second[k].value;
        assert_same(&back.cells[i].value, want);
    }
    stn_meta_reader_fini(&r);
    stn_meta_writer_fini(&w);
    stn_dictionary_fini(&names);
}

static void test_a_damaged_row_is_refused(void **state) {
    (void)state;
    static const struct {
        const char *name, *bytes, *more;
        int32_t n;
    } rows[] = {
        {"map cut short", "\0\0\0\1\0\0\0\5image\0\0\0\x08\0\0\0", NULL, 20},
        {"map of an unknown field", "\0\0\0\1\0\0\0\1x\0\0\0\x08\0\0\0\0\0\0\0\0", NULL, 21},
        {"many entries", "\x7f\xff\xff\xff", NULL, 4},
        {"more is no object", NULL, "[]", 0},
        {"unknown column", NULL, "{\"other\":1}", 0},
        {"more cut short", NULL, "{\"score\":1", 0},
        {"more goes on", NULL, "{\"score\":1}}", 0},
    };
    struct stn_dictionary names;
    fill_names(&names);
    struct stn_meta_reader r;
    assert_ok(stn_meta_reader_init(&r, &names));
    for (size_t i = 0; i < STN_COUNT(rows); i++) {
        struct stn_cql_value values[STN_META_COLUMNS];
        struct stn_row row;
        int belongs;
        const char *why = NULL;
        for (size_t k = 0; k < STN_META_COLUMNS; k++) values[k] = stn_value_null();
        values[STN_META_ID] = stn_value_of("0123456789abcdef", 16);
        if (rows[i].bytes) values[STN_META_BYTES] = stn_value_of(rows[i].bytes, (size_t)rows[i].n);
        if (rows[i].more) values[STN_META_MORE] = stn_value_of(rows[i].more, strlen(rows[i].more));
        if (stn_meta_read(&r, values, &row, &belongs, &why) != STERNA_EFORMAT)
            fail_msg("taken: %s", rows[i].name);
        assert_non_null(why);
    }
    stn_meta_reader_fini(&r);
    stn_dictionary_fini(&names);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values_come_back_as_they_were),
        cmocka_unit_test(test_text_of_others_is_read_too),
        cmocka_unit_test(test_broken_text_is_refused),
        cmocka_unit_test(test_names_keep_their_places),
        cmocka_unit_test(test_names_that_make_no_sense),
        cmocka_unit_test(test_room_for_fields_ends),
        cmocka_unit_test(test_statements_make_all_tables),
        cmocka_unit_test(test_replication_is_checked),
        cmocka_unit_test(test_names_of_tables_are_checked),
        cmocka_unit_test(test_a_row_comes_back_whole),
        cmocka_unit_test(test_a_damaged_row_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
