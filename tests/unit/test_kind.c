#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "sterna/store.h"

static void test_kind_words_go_both_ways(void **state) {
    (void)state;
    static const char *const words[] = {"bytes", "image", "mask", "text", "json", "npy"};
    for (int i = 0; i < 6; i++) {
        enum sterna_kind kind = STERNA_KIND_BYTES;
        assert_string_equal(sterna_kind_name((enum sterna_kind)i), words[i]);
        assert_int_equal(sterna_kind_parse(words[i], &kind), STERNA_OK);
        assert_int_equal(kind, i);
    }
}

static void test_kind_refuses_other_words(void **state) {
    (void)state;
    static const char *const words[] = {"", "Image", "images", "jpeg"};
    enum sterna_kind kind;
    for (int i = 0; i < 4; i++) assert_int_equal(sterna_kind_parse(words[i], &kind), STERNA_EINVAL);
    assert_string_equal(sterna_kind_name((enum sterna_kind)99), "unknown");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kind_words_go_both_ways),
        cmocka_unit_test(test_kind_refuses_other_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
