/* Memory of blocks: every size, apart from each other, and the system's again when it is given
 * back.
 */
#include "support/check.h"

#include <string.h>
#include <sys/mman.h>

#include "slot/pages.h"

#define KIB ((size_t)1 << 10)
#define MIB ((size_t)1 << 20)

static int is_resident(void *at) {
    unsigned char page = 0;
    assert_int_equal(mincore(at, 4096, &page), 0);
    return page & 1;
}

static void test_pages_blocks_of_all_sizes(void **state) {
    static const size_t sizes[] = {1,         4096,        32 * KIB - 1, 32 * KIB,
                                   112 * KIB, 2 * MIB - 1, 2 * MIB,      40 * MIB};
    enum { ROUNDS = 40 };
    struct stn_pages pages = {.slab = NULL};
    uint8_t *blocks[ROUNDS][STN_COUNT(sizes)];
    (void)state;
    for (size_t r = 0; r < ROUNDS; r++)
        for (size_t i = 0; i < STN_COUNT(sizes); i++) {
            uint8_t *p = blocks[r][i] = stn_pages_alloc(&pages, sizes[i]);
            assert_non_null(p);
            assert_int_equal((uintptr_t)p % 64, 0);
            p[0] = (uint8_t)(r * 31 + i);
            p[sizes[i] - 1] = (uint8_t)(r * 31 + i);
        }
    for (size_t r = 0; r < ROUNDS; r++) /* across the slabs */
        for (size_t i = r % 2; i < STN_COUNT(sizes); i += 2) {
            stn_pages_free(&pages, blocks[r][i], sizes[i]);
            blocks[r][i] = NULL;
        }
    for (size_t r = 0; r < ROUNDS; r++)
        for (size_t i = 0; i < STN_COUNT(sizes); i++) {
            if (!blocks[r][i]) continue;
            assert_int_equal(blocks[r][i][0], (uint8_t)(r * 31 + i));
            assert_int_equal(blocks[r][i][sizes[i] - 1], (uint8_t)(r * 31 + i));
            stn_pages_free(&pages, blocks[r][i], sizes[i]);
        }
    stn_pages_fini(&pages);
    stn_pages_fini(&pages);
}

static void test_pages_go_back_to_the_system(void **state) {
    struct stn_pages pages = {.slab = NULL};
    uint8_t *a = stn_pages_alloc(&pages, 64 * KIB), *b = stn_pages_alloc(&pages, 64 * KIB);
    (void)state;
    assert_non_null(a);
    assert_non_null(b);
    memset(a, 1, 64 * KIB);
    memset(b, 2, 64 * KIB);
    stn_pages_free(&pages, a, 64 * KIB);
    assert_false(is_resident(a));
    assert_true(is_resident(b));
    assert_int_equal(b[64 * KIB - 1], 2);
    pages.closing = 1; /* its slab goes as a whole */
    stn_pages_free(&pages, b, 64 * KIB);
    stn_pages_fini(&pages);
    assert_int_not_equal(mincore(b, 4096, &(unsigned char){0}), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pages_blocks_of_all_sizes),
        cmocka_unit_test(test_pages_go_back_to_the_system),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
