#include "support/check.h"

#include <errno.h>
#include <string.h>

#include "base/bytes.h"
#include "base/digest.h"
#include "sterna/store.h"

static void test_crc32c_known_answers(void **state) {
    (void)state; /* RFC 3720, B.4 */
    uint8_t bytes[32];
    memset(bytes, 0, 32);
    assert_int_equal(stn_crc32c(0, bytes, 32), 0x8A9136AA);
    memset(bytes, 0xFF, 32);
    assert_int_equal(stn_crc32c(0, bytes, 32), 0x62A8AB43);
    for (int i = 0; i < 32; i++) bytes[i] = (uint8_t)i;
    assert_int_equal(stn_crc32c(0, bytes, 32), 0x46DD794E);
    assert_int_equal(stn_crc32c(stn_crc32c(0, bytes, 11), bytes + 11, 21), 0x46DD794E);
    assert_int_equal(stn_crc32c(0, NULL, 0), 0);
}

static void test_uuid5_known_answer(void **state) {
    (void)state; /* RFC 9562, A.4: www.example.com in the DNS name space */
    uint8_t dns[16], id[16];
    char text[STERNA_ID_TEXT_BYTES];
    assert_ok(sterna_id_parse("6ba7b810-9dad-11d1-80b4-00c04fd430c8", dns));
    assert_ok(stn_uuid5(dns, "www.example.com", 15, id));
    sterna_id_format(id, text);
    assert_string_equal(text, "2ed6657d-e927-568b-95e1-2665a8aea6a2");
}

static void test_id_parse_takes_uuids_only(void **state) {
    (void)state;
    uint8_t id[16];
    static const char *const bad[] = {"",
                                      "x",
                                      "6ba7b810-9dad-11d1-80b4-00c04fd430c",
                                      "6ba7b8109dad11d180b400c04fd430c8",
                                      "6ba7b810-9dad-11d1-80b4-00c04fd430c8 ",
                                      "6ba7b810-9dad-11d1-80b4-00c04fd430cg"};
    for (size_t i = 0; i < STN_COUNT(bad); i++)
        assert_int_equal(sterna_id_parse(bad[i], id), STERNA_EINVAL);
    assert_ok(sterna_id_parse("6BA7B810-9DAD-11D1-80B4-00C04FD430C8", id));
    assert_int_equal(id[0], 0x6b);
}

static void test_utf8_is_told_from_other_bytes(void **state) {
    (void)state;
    static const struct {
        const char *text;
        int good;
    } rows[] = {
        {"plain", 1},
        {"\xc3\xa9", 1},
        {"\xe2\x82\xac", 1},
        {"\xf0\x9f\x90\xa6", 1},
        {"", 1},
        {"\xff", 0},
        {"\xc3", 0},
        {"\xc0\x80", 0},
        {"\xe0\x80\x80", 0},
        {"\xed\xa0\x80", 0},
        {"\xf4\x90\x80\x80", 0},
        {"\xe2\x82", 0},
        {"ok\x80", 0},
    };
    for (size_t i = 0; i < STN_COUNT(rows); i++)
        if (stn_is_utf8(rows[i].text, strlen(rows[i].text)) != rows[i].good) fail_msg("row %zu", i);
    char buf[64];
    assert_string_equal(stn_printable("a\nb\xff\xc3\xa9", buf, sizeof buf), "a\\x0ab\\xff\xc3\xa9");
    assert_true(strlen(stn_printable("\n\n\n\n\n\n\n\n", buf, 16)) < 16);
}

static void test_error_keeps_the_first_message(void **state) {
    (void)state;
    struct sterna_error err = {0};
    errno = ENOENT;
    assert_int_equal(stn_fail_sys(&err, STERNA_EIO, "%s", "file"), STERNA_EIO);
    stn_fail(&err, STERNA_EINVAL, "second");
    assert_string_equal(err.message, "file: No such file or directory");
    assert_int_equal(err.sys_errno, ENOENT);
    assert_int_equal(stn_fail(NULL, STERNA_EINVAL, "nobody reads this"), STERNA_EINVAL);
}

static void test_cursor_overruns_once_and_for_all(void **state) {
    (void)state;
    const uint8_t bytes[] = {1, 2, 3, 4, 5};
    struct stn_cursor c = stn_cursor(bytes, sizeof bytes);
    assert_int_equal(stn_get_u32(&c), 0x04030201);
    assert_int_equal(stn_get_u16(&c), 0);
    assert_true(c.overrun);
    assert_int_equal(stn_get_u8(&c), 0); /* nothing after an overrun */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_crc32c_known_answers),
        cmocka_unit_test(test_uuid5_known_answer),
        cmocka_unit_test(test_id_parse_takes_uuids_only),
        cmocka_unit_test(test_utf8_is_told_from_other_bytes),
        cmocka_unit_test(test_error_keeps_the_first_message),
        cmocka_unit_test(test_cursor_overruns_once_and_for_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
