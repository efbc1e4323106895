#include "support/check.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "ingest/buffers.h"

#define MIB ((size_t)1 << 20)

static void test_buffers_are_used_again(void **state) {
    struct stn_buffers b;
    struct stn_buffer one, two;
    (void)state;
    stn_buffers_init(&b, 4 * MIB);
    assert_ok(stn_buffers_acquire(&b, MIB, &one));
    assert_true(one.cap >= MIB);
    uint8_t *data = one.data;
    stn_buffers_release(&b, &one);
    assert_null(one.data);
    assert_ok(stn_buffers_acquire(&b, MIB - 9999, &two));
    assert_ptr_equal(two.data, data);
    stn_buffers_release(&b, &two);
    assert_ok(stn_buffers_acquire(&b, 10, &two)); /* far smaller: not worth that much memory */
    assert_ptr_not_equal(two.data, data);
    stn_buffers_release(&b, &two);
    stn_buffers_release(&b, &two);
    stn_buffers_fini(&b);
}

static void test_buffers_let_idle_ones_go_for_a_large_one(void **state) {
    struct stn_buffers b;
    struct stn_buffer small[8], large;
    (void)state;
    stn_buffers_init(&b, MIB);
    for (int i = 0; i < 8; i++) assert_ok(stn_buffers_acquire(&b, MIB / 8, &small[i]));
    assert_true(b.used_bytes == MIB);
    for (int i = 0; i < 8; i++) stn_buffers_release(&b, &small[i]);
    assert_true(b.idle_bytes == MIB);
    assert_ok(stn_buffers_acquire(&b, MIB, &large));
    assert_true(b.used_bytes == MIB && b.idle_bytes == 0);
    stn_buffers_release(&b, &large);
    assert_ok(stn_buffers_acquire(&b, 5 * MIB, &large)); /* alone, above the budget */
    memset(large.data, 1, 5 * MIB);
    assert_true(b.idle_bytes == 0);
    stn_buffers_release(&b, &large);
    assert_int_equal(stn_buffers_acquire(&b, SIZE_MAX - 1, &large), STERNA_ENOMEM);
    stn_buffers_fini(&b);
}

struct crowd {
    struct stn_buffers buffers;
    atomic_size_t most;
    atomic_uint seed;
};

static void *borrow(void *arg) {
    struct crowd *c = arg;
    uint32_t x = atomic_fetch_add(&c->seed, 1) * 2654435761U;
    for (int i = 0; i < 300; i++) {
        struct stn_buffer b;
        x = x * 1664525U + 1013904223U;
        size_t bytes = (x >> 8) % (x % 16 == 0 ? 3 * MIB : MIB / 4);
        if (stn_buffers_acquire(&c->buffers, bytes, &b) != STERNA_OK) return c;
        pthread_mutex_lock(&c->buffers.lock);
        size_t now = c->buffers.used_bytes + c->buffers.idle_bytes;
        pthread_mutex_unlock(&c->buffers.lock);
        size_t most = atomic_load(&c->most);
        while (now > most && !atomic_compare_exchange_weak(&c->most, &most, now)) {}
        b.data[0] = b.data[b.cap - 1] = 1;
        stn_buffers_release(&c->buffers, &b);
    }
    return NULL;
}

static void test_buffers_never_exceed_the_budget(void **state) {
    struct crowd c = {.most = 0};
    pthread_t threads[6];
    (void)state;
    stn_buffers_init(&c.buffers, 4 * MIB);
    for (size_t i = 0; i < STN_COUNT(threads); i++)
        assert_int_equal(pthread_create(&threads[i], NULL, borrow, &c), 0);
    for (size_t i = 0; i < STN_COUNT(threads); i++) {
        void *failed;
        pthread_join(threads[i], &failed);
        assert_null(failed);
    }
    assert_true(c.most > MIB && c.most <= 4 * MIB);
    assert_true(c.buffers.used_bytes == 0);
    stn_buffers_fini(&c.buffers);
}

static void *wait_for_one(void *arg) {
    struct stn_buffer b;
    int rc = stn_buffers_acquire(arg, MIB, &b);
    return rc == STERNA_ECANCELED ? arg : NULL;
}

static void test_buffers_stop_ends_waiting(void **state) {
    struct stn_buffers b;
    struct stn_buffer all;
    pthread_t thread;
    void *cancelled;
    (void)state;
    stn_buffers_init(&b, MIB);
    assert_ok(stn_buffers_acquire(&b, MIB, &all));
    assert_int_equal(pthread_create(&thread, NULL, wait_for_one, &b), 0);
    stn_buffers_stop(&b); /* before or while it waits: the same */
    pthread_join(thread, &cancelled);
    assert_non_null(cancelled);
    stn_buffers_release(&b, &all);
    stn_buffers_fini(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_buffers_are_used_again),
        cmocka_unit_test(test_buffers_let_idle_ones_go_for_a_large_one),
        cmocka_unit_test(test_buffers_never_exceed_the_budget),
        cmocka_unit_test(test_buffers_stop_ends_waiting),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
