/* Tensors as a consumer sees them, who knows their layout from elsewhere. */
#include "support/check.h"

#include <pthread.h>
#include <string.h>

#include "batch/batch.h"
#include "sterna/dlpack.h"

/* ---- the consumer: offsets of a 64-bit machine ---- */

enum {
    DATA = 0,
    DEVICE = 8,
    DEVICE_ID = 12,
    NDIM = 16,
    TYPE = 20,
    SHAPE = 24,
    STRIDES = 32,
    BYTE_OFFSET = 40
};

#define read_at(type, from, offset) (*(type const *)(const void *)((const char *)(from) + (offset)))

/* Both forms: a tensor and a deleter. */
struct consumed {
    void *managed;
    const void *tensor;
    void (*deleter)(void *managed);
};

static struct consumed consume(const struct sterna_dlpack_tensor *t, int versioned) {
    struct consumed c;
    if (versioned) {
        struct DLManagedTensorVersioned *out;
        assert_ok(sterna_dlpack_export_versioned(t, &out, NULL));
        assert_int_equal(read_at(uint32_t, out, 0), 1); /* major version */
        c = (struct consumed){out, (const char *)out + 32, NULL};
        memcpy(&c.deleter, (const char *)out + 16, sizeof c.deleter);
    } else {
        struct DLManagedTensor *out;
        assert_ok(sterna_dlpack_export(t, &out, NULL));
        c = (struct consumed){out, out, NULL};
        memcpy(&c.deleter, (const char *)out + 56, sizeof c.deleter);
    }
    return c;
}

static uint64_t flags_of(const struct consumed *versioned) {
    return read_at(uint64_t, versioned->managed, 24);
}

/* ---- tests ---- */

static int n_released;
static void count_release(void *ctx) { n_released += *(int *)ctx; }

static void test_dlpack_describes_memory(void **state) {
    (void)state;
    static const struct {
        int ndim;
        int64_t shape[3], strides[3];
        int is_empty;
    } rows[] = {
        {0, {0}, {0}, 0},         {1, {7}, {1}, 0},
        {2, {5, 16}, {16, 1}, 0}, {3, {2, 1, 9}, {9, 9, 1}, 0},
        {1, {0}, {1}, 1},         {2, {0, 16}, {16, 1}, 1},
        {2, {3, 0}, {1, 1}, 1},
    };
    static int one = 1, memory[80];
    for (int versioned = 0; versioned < 2; versioned++)
        for (size_t i = 0; i < STN_COUNT(rows); i++) {
            int64_t shape[3];
            memcpy(shape, rows[i].shape, sizeof shape);
            const struct sterna_dlpack_tensor t = {.data = memory,
                                                   .code = STERNA_DLPACK_FLOAT,
                                                   .bits = 32,
                                                   .ndim = rows[i].ndim,
                                                   .shape = shape,
                                                   .release = count_release,
                                                   .ctx = &one};
            n_released = 0;
            struct consumed c = consume(&t, versioned);
            memset(shape, 0xFF, sizeof shape); /* it was copied */
            void *data = read_at(void *, c.tensor, DATA);
            if (rows[i].is_empty && !versioned)
                assert_non_null(data);
            else
                assert_ptr_equal(data, rows[i].is_empty ? NULL : memory);
            assert_int_equal(read_at(int32_t, c.tensor, DEVICE), STERNA_DLPACK_CPU);
            assert_int_equal(read_at(int32_t, c.tensor, DEVICE_ID), 0);
            assert_int_equal(read_at(int32_t, c.tensor, NDIM), rows[i].ndim);
            assert_int_equal(read_at(uint8_t, c.tensor, TYPE), 2);
            assert_int_equal(read_at(uint8_t, c.tensor, TYPE + 1), 32);
            assert_int_equal(read_at(uint16_t, c.tensor, TYPE + 2), 1);
            assert_int_equal(read_at(uint64_t, c.tensor, BYTE_OFFSET), 0);
            const int64_t *sizes = read_at(const int64_t *, c.tensor, SHAPE),
                          *strides = read_at(const int64_t *, c.tensor, STRIDES);
            assert_non_null(strides);
            for (int d = 0; d < rows[i].ndim; d++) {
                assert_int_equal(sizes[d], rows[i].shape[d]);
                assert_int_equal(strides[d], rows[i].strides[d]);
            }
            if (versioned) assert_int_equal(flags_of(&c), 0);
            assert_int_equal(n_released, 0);
            c.deleter(c.managed);
            assert_int_equal(n_released, 1);
        }
}

static void test_dlpack_flags(void **state) {
    (void)state;
    static uint8_t bytes[4];
    const int64_t n = 4;
    struct sterna_dlpack_tensor t = {
        .data = bytes, .code = STERNA_DLPACK_UINT, .bits = 8, .ndim = 1, .shape = &n};
    for (int flags = 0; flags < 4; flags++) { /* nobody keeps the memory: that is fine */
        t.readonly = flags & 1;
        t.copied = flags >> 1;
        struct consumed c = consume(&t, 1);
        assert_int_equal(flags_of(&c), flags);
        c.deleter(c.managed);
    }
}

static void test_dlpack_refuses(void **state) {
    (void)state;
    static const int64_t shape[] = {1, 2}, negative[] = {2, -1}, large[] = {1 << 30, 1 << 30, 16},
                         empty_and_large[] = {0, INT64_MAX, 4};
    static int one = 1;
    const struct {
        const char *says;
        int versioned;
        struct sterna_dlpack_tensor t;
    } rows[] = {
        {"-1", 0, {.bits = 8, .ndim = -1}},
        {"33", 0, {.bits = 8, .ndim = 33, .shape = shape}},
        {"dimensions", 0, {.bits = 8, .ndim = 1}},
        {"size", 0, {.bits = 8, .ndim = 2, .shape = negative}},
        {"size", 1, {.bits = 8, .ndim = 3, .shape = large}},
        {"size", 1, {.bits = 8, .ndim = 3, .shape = empty_and_large}},
        {"type", 0, {.bits = 0, .ndim = 2, .shape = shape}},
        {"type", 0, {.bits = 256, .ndim = 2, .shape = shape}},
        {"read-only", 0, {.bits = 8, .ndim = 2, .shape = shape, .readonly = 1}},
    };
    n_released = 0;
    for (size_t i = 0; i < STN_COUNT(rows); i++) {
        struct sterna_error err = {0};
        struct sterna_dlpack_tensor t = rows[i].t;
        struct DLManagedTensor *plain = (void *)&one;
        struct DLManagedTensorVersioned *versioned = (void *)&one;
        t.release = count_release;
        t.ctx = &one;
        int rc = rows[i].versioned ? sterna_dlpack_export_versioned(&t, &versioned, &err)
                                   : sterna_dlpack_export(&t, &plain, &err);
        if (rc != STERNA_EINVAL || !strstr(err.message, rows[i].says))
            fail_msg("row %zu: %d: %s", i, rc, err.message);
        assert_true(!plain || !versioned);
    }
    assert_int_equal(n_released, 0);
}

/* ---- a batch's memory ---- */

static int n_live;
static void *counted_alloc(void *ctx, size_t bytes, size_t align) {
    (void)ctx;
    void *p = NULL;
    if (posix_memalign(&p, align, bytes)) return NULL;
    n_live++;
    return p;
}
static void counted_free(void *ctx, void *p, size_t bytes) {
    (void)ctx, (void)bytes;
    n_live--;
    free(p);
}

/* As a loader hands it out: leased, its rows in one block. */
static sterna_batch *leased_batch(struct stn_pool *pool) {
    struct stn_schema *schema = calloc(1, sizeof *schema);
    struct stn_block *block;
    atomic_init(&schema->refs, 1);
    schema->n_fields = 1;
    sterna_batch *b = stn_batch_new(pool, schema, 4);
    stn_schema_release(&schema);
    for (int i = 0; i < 4; i++) b->columns[0].bytes[i] = 100;
    assert_ok(stn_pool_acquire(pool, stn_batch_layout(b), 0, &block));
    stn_batch_take_block(b, &block);
    stn_batch_lease(b);
    return b;
}

static void *delete_elsewhere(void *consumed) {
    struct consumed *c = consumed;
    c->deleter(c->managed);
    return NULL;
}

static void test_dlpack_keeps_a_batch_after_all_else(void **state) {
    (void)state;
    static const struct sterna_allocator counted = {counted_alloc, counted_free, NULL};
    for (int versioned = 0; versioned < 2; versioned++) {
        struct stn_pool *pool, *closed;
        struct sterna_field_view view;
        pthread_t thread;
        assert_ok(stn_pool_open(&pool, 1 << 20, &counted, NULL, NULL));
        sterna_batch *b = leased_batch(pool);
        assert_ok(sterna_batch_field(b, 0, &view));
        const int64_t n = (int64_t)view.base_bytes;
        const struct sterna_dlpack_tensor t = {.data = (void *)(uintptr_t)view.base,
                                               .code = STERNA_DLPACK_UINT,
                                               .bits = 8,
                                               .ndim = 1,
                                               .shape = &n,
                                               .batch = b};
        struct consumed c[2] = {consume(&t, versioned), consume(&t, versioned)};
        sterna_batch_release(&b);
        closed = pool;
        stn_pool_close(&pool);
        assert_int_equal(stn_pool_leases(closed), 1);
        memset(read_at(void *, c[0].tensor, DATA), 7, (size_t)n);
        for (int i = 0; i < 2; i++) {
            assert_int_equal(n_live, 1);
            assert_int_equal(pthread_create(&thread, NULL, delete_elsewhere, &c[i]), 0);
            pthread_join(thread, NULL);
        }
        assert_int_equal(n_live, 0);
    }
}

static void test_dlpack_has_one_keeper(void **state) {
    (void)state;
    struct stn_pool *pool;
    struct sterna_error err = {0};
    struct DLManagedTensor *out;
    assert_ok(stn_pool_open(&pool, 1 << 20, NULL, NULL, NULL));
    sterna_batch *b = leased_batch(pool);
    const struct sterna_dlpack_tensor t = {.bits = 8, .batch = b, .release = count_release};
    assert_int_equal(sterna_dlpack_export(&t, &out, &err), STERNA_EINVAL);
    assert_non_null(strstr(err.message, "not both"));
    assert_null(out);
    sterna_batch_release(&b);
    assert_int_equal(stn_pool_leases(pool), 0); /* and nothing was retained */
    stn_pool_close(&pool);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_dlpack_describes_memory),
        cmocka_unit_test(test_dlpack_flags),
        cmocka_unit_test(test_dlpack_refuses),
        cmocka_unit_test(test_dlpack_keeps_a_batch_after_all_else),
        cmocka_unit_test(test_dlpack_has_one_keeper),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
