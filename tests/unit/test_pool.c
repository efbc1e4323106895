#include "support/check.h"

#include <pthread.h>
#include <string.h>

#include "slot/pool.h"

static int n_calls, n_live;
static void *counted_alloc(void *ctx, size_t bytes, size_t align) {
    (void)ctx;
    void *p = NULL;
    n_calls++;
    if (posix_memalign(&p, align, bytes) != 0) return NULL;
    n_live++;
    return p;
}
static void counted_free(void *ctx, void *p, size_t bytes) {
    (void)ctx, (void)bytes;
    n_live--;
    free(p);
}
static const struct sterna_allocator counted = {counted_alloc, counted_free, NULL};

static struct stn_block *acquire(struct stn_pool *pool, uint64_t bytes, uint64_t reserve) {
    struct stn_block *block;
    stn_pool_acquire(pool, bytes, reserve, &block);
    return block;
}

static void test_pool_classes_waste_little(void **state) {
    (void)state;
    uint64_t before = 0;
    for (uint64_t bytes = 1; bytes < (UINT64_C(1) << 40); bytes += 1 + bytes / 37) {
        uint64_t class = stn_pool_class_bytes(bytes);
        assert_true(class >= bytes && class >= before);
        if (bytes > 4096) assert_true(class - bytes <= bytes / 8);
        assert_int_equal(stn_pool_class_bytes(class), class);
        before = class;
    }
}

static void test_pool_never_passes_its_budget(void **state) {
    (void)state;
    struct stn_pool *pool;
    struct stn_block *blocks[10], *none;
    struct stn_pool_stats stats;
    assert_ok(stn_pool_open(&pool, 10 * 4096, &counted, NULL, NULL));
    for (int i = 0; i < 10; i++) assert_non_null(blocks[i] = acquire(pool, 4000, 0));
    assert_int_equal(stn_pool_acquire(pool, 1, 0, &none), STERNA_EBUDGET);
    assert_null(none);
    for (int i = 0; i < 10; i++) {
        assert_int_equal((uintptr_t)blocks[i]->data % 64, 0);
        memset(blocks[i]->data, i, 4096);
    }
    stn_block_release(&blocks[3]);
    assert_null(acquire(pool, 1, 4096)); /* all that is free is reserved */
    assert_non_null(blocks[3] = acquire(pool, 1, 0));
    for (int i = 0; i < 10; i++) stn_block_release(&blocks[i]);
    /* What is kept for its class makes room for another class. */
    assert_non_null(blocks[0] = acquire(pool, 9 * 4096, 0));
    stn_pool_stats(pool, &stats);
    assert_true(stats.held_bytes_max <= 10 * 4096);
    stn_block_release(&blocks[0]);
    stn_pool_close(&pool);
    assert_int_equal(n_live, 0);
}

static void test_pool_uses_blocks_again(void **state) {
    (void)state;
    struct stn_pool *pool;
    assert_ok(stn_pool_open(&pool, 1 << 20, &counted, NULL, NULL));
    n_calls = 0;
    for (uint64_t i = 0; i < 100; i++) { /* sizes that differ a little, as batches do */
        struct stn_block *block = acquire(pool, 60000 - i * 77, 0);
        stn_block_release(&block);
    }
    assert_int_equal(n_calls, 1);
    struct stn_block *small = acquire(pool, 1000, 0); /* but not for far smaller ones */
    assert_int_equal(n_calls, 2);
    stn_block_release(&small);
    stn_pool_close(&pool);
}

static void test_pool_outlives_close_while_blocks_are_held(void **state) {
    (void)state;
    struct stn_pool *pool;
    assert_ok(stn_pool_open(&pool, 1 << 20, &counted, NULL, NULL));
    struct stn_block *block = acquire(pool, 100000, 0);
    stn_block_retain(block);
    stn_pool_lease(pool, 1);
    struct stn_pool *leased = pool;
    stn_pool_close(&pool);
    assert_null(pool);
    memset(block->data, 1, 100000);
    struct stn_block *again = block;
    stn_block_release(&block);
    stn_block_release(&again);
    assert_int_equal(n_live, 0);
    stn_pool_lease(leased, -1);
}

static void test_pool_tells_lack_of_memory_from_lack_of_budget(void **state) {
    (void)state;
    struct stn_pool *pool;
    struct stn_block *block;
    assert_ok(stn_pool_open(&pool, UINT64_C(1) << 60, NULL, NULL, NULL));
    assert_int_equal(stn_pool_acquire(pool, UINT64_C(1) << 55, 0, &block), STERNA_ENOMEM);
    stn_pool_close(&pool);
}

static void count_release(void *n) { ++*(int *)n; }

static void test_pool_knows_nothing_of_others_memory(void **state) {
    (void)state;
    static uint8_t bytes[100];
    int n = 0;
    struct stn_block *block = stn_block_around(bytes, sizeof bytes, count_release, &n),
                     *again = block;
    assert_ptr_equal(block->data, bytes);
    assert_int_equal(block->bytes, sizeof bytes);
    stn_block_retain(block);
    stn_block_release(&again);
    assert_int_equal(n, 0);
    stn_block_release(&block);
    assert_int_equal(n, 1);
    block = stn_block_around(bytes, sizeof bytes, NULL, NULL);
    stn_block_release(&block);
}

/* ---- threads ---- */

static atomic_int n_released;
static void on_release(void *ctx) {
    (void)ctx;
    atomic_fetch_add(&n_released, 1);
}

static void *churn(void *ctx) {
    struct stn_pool *pool = ctx;
    for (uint64_t i = 0; i < 2000; i++) {
        struct stn_block *block = acquire(pool, 3000 + i * 7 % 20000, 0);
        if (!block) continue;
        memset(block->data, (int)i, 100);
        stn_block_release(&block);
    }
    return NULL;
}

static void test_pool_is_used_by_many_threads(void **state) {
    (void)state;
    struct stn_pool *pool;
    pthread_t threads[4];
    struct stn_pool_stats stats;
    assert_ok(stn_pool_open(&pool, 60000, NULL, on_release, NULL));
    for (int i = 0; i < 4; i++) assert_int_equal(pthread_create(&threads[i], NULL, churn, pool), 0);
    for (int i = 0; i < 4; i++) pthread_join(threads[i], NULL);
    stn_pool_stats(pool, &stats);
    assert_int_equal(stats.used_bytes, 0);
    assert_true(stats.held_bytes_max <= 60000);
    assert_true(atomic_load(&n_released) > 0);
    stn_pool_close(&pool);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pool_classes_waste_little),
        cmocka_unit_test(test_pool_never_passes_its_budget),
        cmocka_unit_test(test_pool_uses_blocks_again),
        cmocka_unit_test(test_pool_outlives_close_while_blocks_are_held),
        cmocka_unit_test(test_pool_tells_lack_of_memory_from_lack_of_budget),
        cmocka_unit_test(test_pool_knows_nothing_of_others_memory),
        cmocka_unit_test(test_pool_is_used_by_many_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
