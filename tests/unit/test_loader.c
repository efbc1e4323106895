/* The loader over a real embedded store, with its threads: fields, consumers, processes. What needs
 * an erring store or a clock is in tests/sim. */
#include "support/check.h"

#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "embedded.h"
#include "slot/pool.h"
#include "sterna/loader.h"
#include "store.h"
#include "support/lender.h"
#include "support/temporary.h"

#define N_SAMPLES 700

static char *dir;
static sterna_store *store;
static sterna_selection *selection;

/* Two fields: image always there (0 to 40,000 bytes), note for every third sample. */
static size_t image_bytes(unsigned i) { return i % 50 == 7 ? 0 : 100 + i * 7919 % 40000; }
static uint8_t image_byte(unsigned i, size_t k) { return (uint8_t)(i * 31 + k * 7); }

static void add_sample(struct stn_lmdb_writer *w, uint32_t note, unsigned i) {
    static uint8_t bytes[40100];
    struct stn_row row = {.n_cells = 0};
    char path[32], text[32];
    snprintf(path, sizeof path, "%04u.jpg", i);
    int text_bytes = snprintf(text, sizeof text, "note %u", i);
    memset(row.id, 0x5A, 16);
    memcpy(row.id, &i, sizeof i);
    for (size_t k = 0; k < image_bytes(i); k++) bytes[k] = image_byte(i, k);
    assert_ok(stn_lmdb_writer_put(w, row.id, 0, bytes, image_bytes(i),
                                  stn_crc32c(0, bytes, image_bytes(i)), NULL));
    if (i % 3 == 0)
        assert_ok(stn_lmdb_writer_put(w, row.id, (uint8_t)note, text, (size_t)text_bytes,
                                      stn_crc32c(0, text, (size_t)text_bytes), NULL));
    struct stn_cell cells[] = {
        {"path", {.type = STERNA_TEXT, .text = path, .text_bytes = strlen(path)}},
        {"label", {.type = STERNA_INT, .i = i % 10}},
        {"image_bytes", {.type = STERNA_INT, .i = (int64_t)image_bytes(i)}},
        {"note_bytes", {.type = i % 3 == 0 ? STERNA_INT : STERNA_NULL, .i = text_bytes}},
    };
    row.cells = cells;
    row.n_cells = STN_COUNT(cells);
    assert_ok(stn_catalog_insert(store->catalog, &row, NULL));
}

static int make_store(void **state) {
    (void)state;
    dir = test_dir_make();
    struct sterna_store_options o = {.struct_size = sizeof o, .mode = STERNA_OPEN_CREATE};
    struct stn_lmdb_writer *w;
    uint64_t run;
    uint32_t image, note;
    assert_ok(sterna_store_open(&store, test_path(dir, "store"), &o, NULL));
    assert_ok(stn_catalog_begin(store->catalog, "test", &run, NULL));
    assert_ok(stn_catalog_declare_field(store->catalog, "image", STERNA_KIND_IMAGE, &image, NULL));
    assert_ok(stn_catalog_declare_field(store->catalog, "note", STERNA_KIND_TEXT, &note, NULL));
    assert_ok(stn_lmdb_writer_open(&w, stn_embedded_lmdb(store), NULL));
    for (unsigned i = 0; i < N_SAMPLES; i++) add_sample(w, note, i);
    assert_ok(stn_lmdb_writer_commit(w, NULL));
    stn_lmdb_writer_close(&w);
    assert_ok(stn_catalog_commit(store->catalog, &run, NULL));
    struct sterna_select_options all = {.struct_size = sizeof all};
    assert_ok(sterna_select(&selection, store, &all, NULL));
    return 0;
}

static int remove_store(void **state) {
    (void)state;
    sterna_selection_close(&selection);
    sterna_store_close(&store);
    test_dir_remove(&dir);
    return 0;
}

static sterna_loader *open_loader(const struct sterna_loader_options *o) {
    sterna_loader *loader;
    struct sterna_error err = {0};
    if (sterna_loader_open(&loader, store, selection, o, &err) < 0) fail_msg("%s", err.message);
    return loader;
}

static struct sterna_loader_options options(uint32_t batch_size) {
    struct sterna_loader_options o;
    sterna_loader_options_init(&o);
    o.batch_size = batch_size;
    return o;
}

/* All rows of a batch as they were stored; counts them in seen (may be shared: atomic). */
static void check_batch(const sterna_batch *b, atomic_uint *seen) {
    struct sterna_batch_info info;
    struct sterna_field_view image, note;
    char text[32];
    sterna_batch_info(b, &info);
    assert_int_equal(info.n_fields, 2);
    assert_ok(sterna_batch_field(b, 0, &image));
    assert_ok(sterna_batch_field(b, 1, &note));
    assert_int_equal(sterna_batch_field(b, 2, &note), STERNA_EINVAL);
    assert_ok(sterna_batch_field(b, 1, &note));
    assert_string_equal(image.name, "image");
    assert_int_equal(note.kind, STERNA_KIND_TEXT);
    for (uint32_t r = 0; r < info.n_rows; r++) {
        unsigned i = (unsigned)sterna_batch_index(b)[r]; /* the order of path is that of i */
        unsigned in_id;
        memcpy(&in_id, sterna_batch_ids(b)[r], sizeof in_id);
        assert_int_equal(in_id, i);
        assert_int_equal(image.bytes[r], image_bytes(i));
        for (size_t k = 0; k < image.bytes[r]; k += 97)
            assert_int_equal(image.data[r][k], image_byte(i, k));
        if (i % 3 == 0) {
            int n = snprintf(text, sizeof text, "note %u", i);
            assert_int_equal(note.bytes[r], n);
            assert_memory_equal(note.data[r], text, (size_t)n);
        } else {
            assert_null(note.data[r]);
        }
        if (sterna_batch_valid(b)[r]) atomic_fetch_add(&seen[i], 1);
    }
}

static void check_seen(atomic_uint *seen, unsigned want) {
    for (unsigned i = 0; i < N_SAMPLES; i++)
        if (atomic_load(&seen[i]) != want) fail_msg("sample %u: %u", i, atomic_load(&seen[i]));
}

static void test_loader_reads_what_was_stored(void **state) {
    (void)state;
    for (int order = STERNA_ORDER_STRICT; order <= STERNA_ORDER_ARRIVAL; order++) {
        struct sterna_loader_options o = options(64);
        atomic_uint seen[N_SAMPLES] = {0};
        o.order = (enum sterna_order)order;
        o.epochs = 3;
        sterna_loader *loader = open_loader(&o);
        sterna_batch *b;
        int rc;
        while ((rc = sterna_loader_next(loader, &b, -1, NULL)) == STERNA_OK) {
            check_batch(b, seen);
            sterna_batch_release(&b);
        }
        assert_int_equal(rc, STERNA_END);
        check_seen(seen, 3);
        struct sterna_stats stats;
        sterna_loader_stats(loader, &stats);
        assert_int_equal(stats.samples, 3 * N_SAMPLES);
        assert_int_equal(stats.errors + stats.retries + stats.duplicates + stats.missing, 0);
        sterna_loader_close(&loader);
    }
}

static void test_loader_reads_the_fields_it_was_asked_for(void **state) {
    (void)state;
    static const char *const names[] = {"note"}, *const unknown[] = {"nothing"},
                             *const twice[] = {"note", "note"};
    struct sterna_loader_options o = options(100);
    struct sterna_error err = {0};
    struct sterna_field_view view;
    sterna_loader *loader;
    sterna_batch *b;
    o.fields = names;
    o.n_fields = 1;
    loader = open_loader(&o);
    assert_ok(sterna_loader_next(loader, &b, -1, NULL));
    assert_ok(sterna_batch_field(b, 0, &view));
    assert_string_equal(view.name, "note");
    assert_int_equal(sterna_batch_field(b, 1, &view), STERNA_EINVAL);
    sterna_batch_release(&b);
    sterna_loader_close(&loader);
    o.fields = unknown;
    assert_int_equal(sterna_loader_open(&loader, store, selection, &o, &err), STERNA_ENOTFOUND);
    assert_non_null(strstr(err.message, "nothing"));
    o.fields = twice;
    o.n_fields = 2;
    assert_int_equal(sterna_loader_open(&loader, store, selection, &o, NULL), STERNA_EINVAL);
}

/* ---- many consumers, cancel, descriptor ---- */

struct consumer {
    sterna_loader *loader;
    atomic_uint *seen;
    int last_rc;
};

static void *consume(void *ctx) {
    struct consumer *c = ctx;
    sterna_batch *b, *held = NULL;
    while ((c->last_rc = sterna_loader_next(c->loader, &b, -1, NULL)) == STERNA_OK) {
        check_batch(b, c->seen);
        sterna_batch_release(&held); /* one batch late, so that leases overlap */
        held = b;
    }
    sterna_batch_release(&held);
    return NULL;
}

static void test_loader_serves_many_consumers(void **state) {
    (void)state;
    struct sterna_loader_options o = options(16);
    atomic_uint seen[N_SAMPLES] = {0};
    pthread_t threads[4];
    struct consumer consumers[4];
    o.epochs = 4;
    o.uneven = STERNA_UNEVEN_EXACT;
    sterna_loader *loader = open_loader(&o);
    for (int i = 0; i < 4; i++) {
        consumers[i] = (struct consumer){loader, seen, 0};
        assert_int_equal(pthread_create(&threads[i], NULL, consume, &consumers[i]), 0);
    }
    for (int i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(consumers[i].last_rc, STERNA_END);
    }
    check_seen(seen, 4);
    sterna_loader_close(&loader);
}

static void *wait_and_cancel(void *loader) {
    sterna_loader_cancel(loader);
    return NULL;
}

static void test_loader_cancel_from_another_thread(void **state) {
    (void)state;
    struct sterna_loader_options o = options(16);
    o.epochs = 0; /* endless */
    sterna_loader *loader = open_loader(&o);
    pthread_t thread;
    sterna_batch *b;
    assert_ok(sterna_loader_next(loader, &b, -1, NULL));
    sterna_batch_release(&b);
    assert_int_equal(pthread_create(&thread, NULL, wait_and_cancel, loader), 0);
    int rc;
    while ((rc = sterna_loader_next(loader, &b, -1, NULL)) == STERNA_OK) sterna_batch_release(&b);
    assert_int_equal(rc, STERNA_ECANCELED);
    pthread_join(thread, NULL);
    sterna_loader_close(&loader);
}

static void test_loader_descriptor_tells_readiness(void **state) {
    (void)state;
    struct sterna_loader_options o = options(100);
    atomic_uint seen[N_SAMPLES] = {0};
    sterna_loader *loader = open_loader(&o);
    struct pollfd p = {.fd = sterna_loader_fd(loader), .events = POLLIN};
    sterna_batch *b;
    for (int rc = STERNA_OK; rc != STERNA_END;) {
        assert_int_equal(poll(&p, 1, 60000), 1); /* else it would never come */
        rc = sterna_loader_next(loader, &b, 0, NULL);
        assert_true(rc == STERNA_OK || rc == STERNA_END || rc == STERNA_AGAIN);
        if (rc != STERNA_OK) continue;
        check_batch(b, seen);
        sterna_batch_release(&b);
    }
    check_seen(seen, 1);
    sterna_loader_close(&loader);
}

/* ---- lifetime ---- */

static void test_loader_batches_outlive_everything(void **state) {
    (void)state;
    struct sterna_loader_options o = options(64);
    atomic_uint seen[N_SAMPLES] = {0};
    sterna_loader *loader = open_loader(&o);
    sterna_batch *kept[3], *again;
    for (int i = 0; i < 3; i++) assert_ok(sterna_loader_next(loader, &kept[i], -1, NULL));
    sterna_loader_close(&loader);
    assert_null(loader);
    again = sterna_batch_retain(kept[0]);
    for (int i = 0; i < 3; i++) sterna_batch_release(&kept[i]);
    check_batch(again, seen);
    sterna_batch_release(&again);
    sterna_loader_close(&loader); /* NULL is fine */
}

static int n_allocated;
static void *count_alloc(void *ctx, size_t bytes, size_t align) {
    (void)ctx;
    void *p = NULL;
    if (posix_memalign(&p, align, bytes)) return NULL;
    __atomic_add_fetch(&n_allocated, 1, __ATOMIC_RELAXED);
    return p;
}
static void count_free(void *ctx, void *p, size_t bytes) {
    (void)ctx, (void)bytes;
    __atomic_sub_fetch(&n_allocated, 1, __ATOMIC_RELAXED);
    free(p);
}

static void test_loader_uses_the_callers_memory(void **state) {
    (void)state;
    static const struct sterna_allocator mine = {count_alloc, count_free, NULL};
    struct sterna_loader_options o = options(64);
    o.allocator = &mine;
    sterna_loader *loader = open_loader(&o);
    sterna_batch *b;
    assert_ok(sterna_loader_next(loader, &b, -1, NULL));
    assert_true(__atomic_load_n(&n_allocated, __ATOMIC_RELAXED) > 0);
    sterna_loader_close(&loader);
    sterna_batch_release(&b);
    assert_int_equal(n_allocated, 0);
}

/* Both fields' runs lie in the batch's buffer, one after the other. */
static int lies_in_buffer(const struct lender *lender, const sterna_batch *b) {
    struct sterna_field_view image, note;
    assert_ok(sterna_batch_field(b, 0, &image));
    assert_ok(sterna_batch_field(b, 1, &note));
    size_t i = lender_find(lender, image.base);
    if (i == SIZE_MAX) return 0;
    assert_ptr_equal(image.base, lender->loans[i].data);
    assert_ptr_equal(note.base, image.base + image.base_bytes);
    assert_true(image.base_bytes + note.base_bytes <= lender->loans[i].bytes);
    return 1;
}

/* Given and released by the consumer while the loader's thread, which began before the first was
 * there, takes them. */
static void test_loader_reads_into_the_consumers_buffers(void **state) {
    (void)state;
    static struct lender lender;
    static atomic_uint seen[N_SAMPLES];
    struct sterna_loader_options o = options(32);
    sterna_batch *b, *held[4] = {NULL};
    int n_inside = 0;
    o.epochs = 0;
    sterna_loader *loader = open_loader(&o);
    for (int i = 0; i < 2; i++) assert_ok(lender_give(&lender, loader, 1 << 21));
    for (int i = 0; n_inside < 200; i++) {
        assert_true(i < LENDER_MAX - 10);
        assert_ok(sterna_loader_next(loader, &b, -1, NULL));
        assert_ok(lender_give(&lender, loader, 1 << 21));
        check_batch(b, seen);
        n_inside += lies_in_buffer(&lender, b);
        sterna_batch_release(&held[i % 4]);
        held[i % 4] = b;
    }
    sterna_loader_close(&loader);
    for (int i = 0; i < 4; i++) {
        check_batch(held[i], seen);
        sterna_batch_release(&held[i]);
    }
    lender_fini(&lender);
}

static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int forked, inside;
} gate = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0, 0};

/* Stands in the pool, which calls it with its lock held, until there is a child. */
static void free_after_fork(void *ctx, void *p, size_t bytes) {
    pthread_mutex_lock(&gate.lock);
    gate.inside = 1;
    pthread_cond_broadcast(&gate.changed);
    while (!gate.forked) pthread_cond_wait(&gate.changed, &gate.lock);
    pthread_mutex_unlock(&gate.lock);
    count_free(ctx, p, bytes);
}

static void *release_elsewhere(void *b) {
    sterna_batch_release((sterna_batch **)b);
    return NULL;
}

/* Whatever the parent's threads were at when it forked. */
static void test_loader_batches_are_let_go_in_a_forked_child(void **state) {
    (void)state;
    static const struct sterna_allocator mine = {count_alloc, free_after_fork, NULL};
    struct sterna_loader_options o = options(64);
    sterna_batch *held[2];
    pthread_t thread;
    int status;
    o.allocator = &mine;
    o.epochs = 0;
    sterna_loader *loader = open_loader(&o);
    for (int i = 0; i < 2; i++) assert_ok(sterna_loader_next(loader, &held[i], -1, NULL));
    gate.forked = 1; /* the blocks that are not held */
    sterna_loader_close(&loader);
    gate.forked = gate.inside = 0;
    assert_int_equal(pthread_create(&thread, NULL, release_elsewhere, &held[0]), 0);
    pthread_mutex_lock(&gate.lock);
    while (!gate.inside) pthread_cond_wait(&gate.changed, &gate.lock);
    pthread_mutex_unlock(&gate.lock);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        alarm(60); /* it would wait for ever */
        sterna_batch_release(&held[1]);
        _exit(held[1] ? 1 : 0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    pthread_mutex_lock(&gate.lock);
    gate.forked = 1;
    pthread_cond_broadcast(&gate.changed);
    pthread_mutex_unlock(&gate.lock);
    pthread_join(thread, NULL);
    sterna_batch_release(&held[1]);
    assert_int_equal(n_allocated, 0);
}

static void test_loader_refuses_a_forked_child(void **state) {
    (void)state;
    struct sterna_loader_options o = options(64);
    sterna_loader *loader = open_loader(&o);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        struct sterna_error err = {0};
        sterna_batch *b;
        int good = sterna_loader_next(loader, &b, -1, &err) == STERNA_EFORKED &&
                   strstr(err.message, "fork");
        sterna_loader *mine;
        good = good && sterna_loader_open(&mine, store, selection, &o, &err) == STERNA_EFORKED;
        static char page[4096] __attribute__((aligned(64)));
        good = good && sterna_loader_give_buffer(loader, page, sizeof page, NULL, NULL, &err) ==
                           STERNA_EFORKED;
        sterna_loader_close(&loader); /* lets go, touches nothing */
        _exit(good ? 0 : 1);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    sterna_batch *b;
    assert_ok(sterna_loader_next(loader, &b, -1, NULL)); /* the parent goes on */
    sterna_batch_release(&b);
    sterna_loader_close(&loader);
}

static uint64_t budget_of(sterna_loader *loader) {
    struct sterna_stats stats;
    sterna_loader_stats(loader, &stats);
    return stats.memory_budget_bytes;
}

/* The first gets the most and keeps it; those with a budget of their own do not count. */
static void test_loader_shares_the_memory_of_the_process(void **state) {
    (void)state;
    struct sterna_loader_options o = options(4), own = options(4), bad = options(4);
    static const char *const unknown[] = {"nothing"};
    sterna_loader *loaders[4], *none;
    own.memory_bytes = 1 << 24;
    bad.fields = unknown;
    bad.n_fields = 1;
    loaders[0] = open_loader(&o);
    uint64_t all = budget_of(loaders[0]);
    loaders[1] = open_loader(&own);
    assert_int_equal(budget_of(loaders[1]), 1 << 24);
    assert_int_equal(sterna_loader_open(&none, store, selection, &bad, NULL), STERNA_ENOTFOUND);
    loaders[2] = open_loader(&o);
    assert_int_equal(budget_of(loaders[2]), all / 2);
    loaders[3] = open_loader(&o);
    assert_int_equal(budget_of(loaders[3]), all / 3);
    assert_int_equal(budget_of(loaders[0]), all);
    sterna_loader_close(&loaders[0]);
    sterna_loader_close(&loaders[2]);
    loaders[0] = open_loader(&o);
    assert_int_equal(budget_of(loaders[0]), all / 2);
    sterna_loader_close(&loaders[0]);
    sterna_loader_close(&loaders[1]);
    sterna_loader_close(&loaders[3]);
    loaders[0] = open_loader(&o);
    assert_int_equal(budget_of(loaders[0]), all);
    sterna_loader_close(&loaders[0]);
}

static void test_loader_options_are_checked(void **state) {
    (void)state;
    static const struct {
        size_t offset;
        uint32_t value;
        const char *word;
    } rows[] = {
        {offsetof(struct sterna_loader_options, batch_size), 0, "batch size"},
        {offsetof(struct sterna_loader_options, world_size), 0, "rank"},
        {offsetof(struct sterna_loader_options, rank), 1, "rank"},
        {offsetof(struct sterna_loader_options, order), 9, "order"},
        {offsetof(struct sterna_loader_options, struct_size), 3, "struct_size"},
    };
    for (size_t i = 0; i < STN_COUNT(rows); i++) {
        struct sterna_loader_options o = options(4);
        struct sterna_error err = {0};
        sterna_loader *loader;
        memcpy((char *)&o + rows[i].offset, &rows[i].value, sizeof rows[i].value);
        assert_int_equal(sterna_loader_open(&loader, store, selection, &o, &err), STERNA_EINVAL);
        if (!strstr(err.message, rows[i].word)) fail_msg("row %zu: %s", i, err.message);
        assert_null(loader);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_loader_reads_what_was_stored),
        cmocka_unit_test(test_loader_reads_the_fields_it_was_asked_for),
        cmocka_unit_test(test_loader_serves_many_consumers),
        cmocka_unit_test(test_loader_cancel_from_another_thread),
        cmocka_unit_test(test_loader_descriptor_tells_readiness),
        cmocka_unit_test(test_loader_batches_outlive_everything),
        cmocka_unit_test(test_loader_uses_the_callers_memory),
        cmocka_unit_test(test_loader_reads_into_the_consumers_buffers),
        cmocka_unit_test(test_loader_batches_are_let_go_in_a_forked_child),
        cmocka_unit_test(test_loader_refuses_a_forked_child),
        cmocka_unit_test(test_loader_shares_the_memory_of_the_process),
        cmocka_unit_test(test_loader_options_are_checked),
    };
    return cmocka_run_group_tests(tests, make_store, remove_store);
}
