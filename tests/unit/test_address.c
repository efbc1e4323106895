#include "support/check.h"

#include <stdlib.h>
#include <string.h>

#include "net/address.h"

static struct stn_address made(const char *raw, size_t bytes, uint16_t port) {
    struct stn_address a;
    assert_ok(stn_address_from_ip(&a, (const uint8_t *)raw, bytes, port));
    return a;
}

static void test_address_text(void **state) {
    static const struct {
        const char *ip;
        size_t bytes;
        uint16_t port;
        const char *text;
    } rows[] = {
        {"\x7f\0\0\1", 4, 9042, "127.0.0.1:9042"},
        {"\xff\xff\xff\xff", 4, 65535, "255.255.255.255:65535"},
        {"\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\1", 16, 9042, "[::1]:9042"},
        {"\xfe\x80\x11\x11\x22\x22\x33\x33\x44\x44\x55\x55\x66\x66\x77\x77", 16, 65535,
         "[fe80:1111:2222:3333:4444:5555:6666:7777]:65535"},
    };
    char buf[STN_ADDRESS_TEXT_BYTES];
    (void)state;
    for (size_t i = 0; i < STN_COUNT(rows); i++) {
        struct stn_address a = made(rows[i].ip, rows[i].bytes, rows[i].port);
        assert_string_equal(stn_address_text(&a, buf), rows[i].text);
        assert_int_equal(stn_address_port(&a), rows[i].port);
    }
}

static void test_address_of_a_wrong_length(void **state) {
    struct stn_address a;
    (void)state;
    for (size_t bytes = 0; bytes < 20; bytes++)
        assert_int_equal(stn_address_from_ip(&a, (const uint8_t *)"01234567890123456789", bytes, 1),
                         bytes == 4 || bytes == 16 ? STERNA_OK : STERNA_EINVAL);
}

static void test_address_equals(void **state) {
    struct stn_address a = made("\x7f\0\0\1", 4, 1), b = a, c = made("\x7f\0\0\2", 4, 1);
    struct stn_address six = made("\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\1", 16, 1), other = six;
    (void)state;
    assert_true(stn_address_equals(&a, &b));
    stn_address_set_port(&b, 2);
    assert_false(stn_address_equals(&a, &b));
    assert_false(stn_address_equals(&a, &c));
    assert_false(stn_address_equals(&a, &six));
    assert_true(stn_address_equals(&six, &other));
    other = made("\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\2", 16, 1);
    assert_false(stn_address_equals(&six, &other));
}

static void test_address_any(void **state) {
    static const char zeros[16] = {0};
    struct stn_address any4 = made(zeros, 4, 1), any6 = made(zeros, 16, 1);
    struct stn_address one = made("\x7f\0\0\1", 4, 1);
    (void)state;
    assert_true(stn_address_is_any(&any4));
    assert_true(stn_address_is_any(&any6));
    assert_false(stn_address_is_any(&one));
}

static void test_address_resolve(void **state) {
    static const struct {
        const char *host, *text;
    } rows[] = {{"127.0.0.1", "127.0.0.1:7"}, {"::1", "[::1]:7"}, {"[::1]", "[::1]:7"}};
    char buf[STN_ADDRESS_TEXT_BYTES];
    struct stn_address *all;
    size_t n;
    (void)state;
    for (size_t i = 0; i < STN_COUNT(rows); i++) {
        assert_ok(stn_address_resolve(rows[i].host, 7, &all, &n, NULL));
        assert_int_equal(n, 1);
        assert_string_equal(stn_address_text(&all[0], buf), rows[i].text);
        free(all);
    }
}

/* The name is in the message, and nothing is left to free. */
static void test_address_resolve_fails(void **state) {
    struct sterna_error err = {0};
    char longest[300];
    struct stn_address *all;
    size_t n;
    (void)state;
    assert_int_equal(stn_address_resolve("[127.0.0.1", 7, &all, &n, &err), STERNA_EUNREACHABLE);
    assert_non_null(strstr(err.message, "'[127.0.0.1'"));
    assert_null(all);
    memset(longest, 'a', sizeof longest);
    longest[sizeof longest - 1] = 0;
    assert_int_equal(stn_address_resolve(longest, 7, &all, &n, NULL), STERNA_EINVAL);
    assert_int_equal(stn_address_resolve("", 7, &all, &n, NULL), STERNA_EINVAL);
}

int main(void) {
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_address_text),    cmocka_unit_test(test_address_of_a_wrong_length),
        cmocka_unit_test(test_address_equals),  cmocka_unit_test(test_address_any),
        cmocka_unit_test(test_address_resolve), cmocka_unit_test(test_address_resolve_fails),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
