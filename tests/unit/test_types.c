#include "support/check.h"

#include <string.h>

#include "wire/types.h"

static void test_types_come_back_equal(void **state) {
    uint8_t buf[128], number[8];
    struct stn_writer w = {buf, sizeof buf, 0};
    (void)state;
    stn_put_be16(&w, 0x1234);
    stn_put_be32(&w, 0x89abcdef);
    stn_put_be64(&w, UINT64_C(0xfedcba9876543210));
    stn_put_string(&w, "ab");
    stn_put_string(&w, "");
    stn_put_long_string(&w, "cde");
    stn_put_value(&w, stn_value_null());
    stn_put_value(&w, stn_value_unset());
    stn_put_value(&w, stn_value_of("", 0));
    stn_put_value(&w, stn_value_from_int(-2, number));
    struct stn_cursor c = stn_cursor(buf, w.used);
    assert_int_equal(stn_get_be16(&c), 0x1234);
    assert_int_equal(stn_get_be32(&c), 0x89abcdef);
    assert_true(stn_get_be64(&c) == UINT64_C(0xfedcba9876543210));
    struct stn_text t = stn_get_string(&c);
    assert_true(t.bytes == 2 && memcmp(t.data, "ab", 2) == 0);
    assert_int_equal(stn_get_short_bytes(&c).bytes, 0);
    t = stn_get_long_string(&c);
    assert_true(t.bytes == 3 && memcmp(t.data, "cde", 3) == 0);
    struct stn_cql_value v = stn_get_value(&c);
    assert_true(!v.data && v.bytes == STN_CQL_NULL);
    v = stn_get_value(&c);
    assert_true(!v.data && v.bytes == STN_CQL_UNSET);
    v = stn_get_value(&c);
    assert_true(v.data && v.bytes == 0);
    assert_int_equal(stn_value_int(stn_get_value(&c)), -2);
    assert_true(c.left == 0 && !c.overrun);
}

static void test_types_are_big_endian(void **state) {
    static const uint8_t want[] = {1, 2, 0, 1, 'x', 0, 0, 0, 1, 'y', 0xff, 0xff, 0xff, 0xfe};
    uint8_t buf[sizeof want];
    struct stn_writer w = {buf, sizeof buf, 0};
    (void)state;
    stn_put_be16(&w, 0x0102);
    stn_put_string(&w, "x");
    stn_put_long_string(&w, "y");
    stn_put_value(&w, stn_value_unset());
    assert_int_equal(w.used, sizeof want);
    assert_memory_equal(buf, want, sizeof want);
}

/* Each notation, cut at each byte: empty and overrun, never a read past the end. */
static void test_types_cut_short(void **state) {
    static const struct {
        const char *name;
        uint8_t in[8];
        size_t bytes;
        int kind;
    } rows[] = {
        {"string", {0, 3, 'a', 'b', 'c'}, 5, 0}, {"long string", {0, 0, 0, 2, 'a', 'b'}, 6, 1},
        {"value", {0, 0, 0, 2, 'a', 'b'}, 6, 2}, {"null", {0xff, 0xff, 0xff, 0xff}, 4, 2},
        {"u64", {1, 2, 3, 4, 5, 6, 7, 8}, 8, 3},
    };
    (void)state;
    for (size_t i = 0; i < STN_COUNT(rows); i++) {
        for (size_t n = 0; n <= rows[i].bytes; n++) {
            uint8_t *exact = malloc(n ? n : 1); /* its end is where a checker looks */
            assert_non_null(exact);
            memcpy(exact, rows[i].in, n);
            struct stn_cursor c = stn_cursor(exact, n);
            size_t got = 0;
            if (rows[i].kind == 0) got = stn_get_string(&c).bytes;
            if (rows[i].kind == 1) got = stn_get_long_string(&c).bytes;
            if (rows[i].kind == 2) got = stn_get_value(&c).data != NULL;
            if (rows[i].kind == 3) got = stn_get_be64(&c) != 0;
            if (n < rows[i].bytes && (!c.overrun || got != 0))
                fail_msg("%s of %zu bytes", rows[i].name, n);
            if (n == rows[i].bytes && (c.overrun || c.left != 0)) fail_msg("%s", rows[i].name);
            free(exact);
        }
    }
}

static void test_types_refuse_negative_lengths(void **state) {
    static const uint8_t minus_three[8] = {0xff, 0xff, 0xff, 0xfd, 1, 2, 3, 4};
    struct stn_cursor c = stn_cursor(minus_three, 8);
    (void)state;
    assert_true(!stn_get_value(&c).data && c.overrun && c.left == 0);
    c = stn_cursor(minus_three, 8);
    assert_int_equal(stn_get_long_string(&c).bytes, 0);
    assert_true(c.overrun && c.left == 0);
}

static void test_types_values(void **state) {
    uint8_t b[8];
    (void)state;
    assert_int_equal(stn_value_int(stn_value_from_int(INT32_MIN, b)), INT32_MIN);
    assert_true(stn_value_bigint(stn_value_from_bigint(INT64_MIN + 5, b)) == INT64_MIN + 5);
    struct stn_cql_value v = stn_value_from_smallint(-3, b);
    assert_true(stn_value_equals(v, "\xff\xfd", 2));
    assert_false(stn_value_equals(v, "\xff\xfd", 1));
    assert_false(stn_value_equals(v, "\xff\xfe", 2));
    assert_int_equal(stn_value_int(v), 0); /* of another type */
    assert_int_equal(stn_value_bigint(stn_value_null()), 0);
    assert_int_equal(stn_value_string(stn_value_null()).bytes, 0);
    assert_int_equal(stn_value_string(stn_value_of("abc", 3)).bytes, 3);
    assert_true(stn_value_equals(stn_value_of("", 0), NULL, 0));
    assert_false(stn_value_equals(stn_value_null(), NULL, 0));
}

/* Without room nothing is written, but what it would take is counted. */
static void test_types_are_measured_first(void **state) {
    struct stn_writer w = {NULL, 0, 0};
    (void)state;
    stn_put_be64(&w, 1);
    stn_put_string(&w, "abc");
    stn_put_value(&w, stn_value_of("xy", 2));
    assert_int_equal(w.used, 8 + 5 + 6);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_types_come_back_equal),
        cmocka_unit_test(test_types_are_big_endian),
        cmocka_unit_test(test_types_cut_short),
        cmocka_unit_test(test_types_refuse_negative_lengths),
        cmocka_unit_test(test_types_values),
        cmocka_unit_test(test_types_are_measured_first),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
