#include "support/check.h"

#include "request/retry.h"

static void test_retry_waits_double_and_end(void **state) {
    (void)state;
    struct stn_retry r = {4, 100, 300};
    static const uint64_t middle[] = {100, 200, 300};
    for (unsigned attempt = 1; attempt <= 3; attempt++)
        for (uint64_t salt = 0; salt < 100; salt++) {
            uint64_t wait = stn_retry_wait_ns(&r, attempt, STERNA_EIO, salt);
            assert_true(wait >= middle[attempt - 1] * 3 / 4 && wait <= middle[attempt - 1] * 5 / 4);
        }
    assert_true(stn_retry_wait_ns(&r, 4, STERNA_EIO, 1) == UINT64_MAX);
    assert_int_not_equal(stn_retry_wait_ns(&r, 1, STERNA_EIO, 1),
                         stn_retry_wait_ns(&r, 1, STERNA_EIO, 2));
}

static void test_retry_only_what_may_pass(void **state) {
    (void)state;
    static const struct {
        int code, again;
    } rows[] = {
        {STERNA_EIO, 1},          {STERNA_ETIMEOUT, 1},  {STERNA_EPROTO, 1},  {STERNA_ECORRUPT, 1},
        {STERNA_EUNREACHABLE, 0}, {STERNA_ENOTFOUND, 0}, {STERNA_EFORMAT, 0}, {STERNA_EDECODE, 0},
    };
    for (size_t i = 0; i < STN_COUNT(rows); i++) {
        uint64_t wait = stn_retry_wait_ns(&STN_RETRY_DEFAULT, 1, rows[i].code, 0);
        if ((wait != UINT64_MAX) != rows[i].again) fail_msg("%s", sterna_strerror(rows[i].code));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_retry_waits_double_and_end),
        cmocka_unit_test(test_retry_only_what_may_pass),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
