/* Known answers: Random123's kat_vectors for philox4x32 with 10 rounds. */
#include "support/check.h"

#include "base/philox.h"

static void test_philox_known_answers(void **state) {
    (void)state;
    static const struct {
        struct stn_philox counter;
        uint32_t k0, k1;
        struct stn_philox want;
    } rows[] = {
        {{{0, 0, 0, 0}}, 0, 0, {{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}}},
        {{{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}},
         0xffffffff,
         0xffffffff,
         {{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}}},
        {{{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}},
         0xa4093822,
         0x299f31d0,
         {{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}}},
    };
    for (size_t i = 0; i < STN_COUNT(rows); i++) {
        struct stn_philox got = stn_philox4x32(rows[i].counter, rows[i].k0, rows[i].k1);
        for (int k = 0; k < 4; k++) assert_int_equal(got.v[k], rows[i].want.v[k]);
    }
}

static void test_philox_bounded_stays_below(void **state) {
    (void)state;
    assert_int_equal(stn_bounded(0, 10), 0);
    assert_int_equal(stn_bounded(UINT64_MAX, 10), 9);
    assert_int_equal(stn_bounded(UINT64_MAX, 1), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_philox_known_answers),
        cmocka_unit_test(test_philox_bounded_stays_below),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
