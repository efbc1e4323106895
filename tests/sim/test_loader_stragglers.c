/* A loader over a cluster of three in memory whose answers are now and then late: each sample comes
 * exactly once, in the plan's order where there is one, and a state taken while second requests are
 * on their way leads on to exactly the rest. */
#include "support/check.h"

#include <stdio.h>
#include <string.h>

#include "loader/loader.h"
#include "sterna/sterna.h"
#include "support/cqlmem.h"
#include "support/pictures.h"
#include "support/tree.h"

enum { N = 200, BATCH = 16, STATE_BYTES = 8192, EPOCHS = 4 };

struct fixture {
    struct cqlmem servers;
    struct tree home, images;
    sterna_store *store;
    sterna_selection *selection;
};

#define ok(call)                                                                                   \
    do {                                                                                           \
        struct sterna_error err = {0};                                                             \
        int ok_rc = (call);                                                                        \
        if (ok_rc != STERNA_OK) fail_msg("%s: %d: %s", #call, ok_rc, err.message);                 \
    } while (0)

static void ingest(struct fixture *f) {
    struct sterna_store_options o = {
        .struct_size = sizeof o, .mode = STERNA_OPEN_CREATE, .replication = "2"};
    struct sterna_ingest_options ingest;
    struct sterna_ingest_result result;
    char url[160], name[32];
    for (unsigned i = 0; i < N; i++) {
        struct picture p = picture_png(8 + i % 5, 6, 3, i);
        snprintf(name, sizeof name, "c%u/%u.png", i % 3, i);
        tree_write(&f->images, name, p.data, p.bytes);
        free(p.data);
    }
    snprintf(url, sizeof url, "cassandra://%s/ks/birds", f->servers.address);
    sterna_ingest_options_init(&ingest);
    ok(sterna_store_open(&f->store, url, &o, &err));
    ok(sterna_ingest_folder(f->store, f->images.path, &ingest, &result, &err));
    ok(sterna_select(&f->selection, f->store, NULL, &err));
}

static int setup(void **state) {
    static const char *const options[] = {
        "--listen", "127.0.0.1",    "--listen", "127.0.0.2", "--listen", "127.0.0.3", "--threads",
        "2",        "--late-every", "100",      "--late-ms", "60",       NULL};
    struct fixture *f = calloc(1, sizeof *f);
    if (!cqlmem_open(&f->servers, options)) {
        free(f);
        return -1;
    }
    tree_open(&f->home);
    tree_open(&f->images);
    setenv("STERNA_CACHE", f->home.path, 1);
    ingest(f);
    *state = f;
    return 0;
}

static int teardown(void **state) {
    struct fixture *f = *state;
    sterna_selection_close(&f->selection);
    sterna_store_close(&f->store);
    cqlmem_close(&f->servers);
    tree_close(&f->home);
    tree_close(&f->images);
    free(f);
    return 0;
}

/* ---- reading ---- */

struct reading {
    const struct fixture *f;
    struct sterna_loader_options o;
    unsigned seen[EPOCHS][N]; /* of each sample in each epoch */
    uint8_t states[EPOCHS * (N / BATCH + 1)][STATE_BYTES];
    size_t state_bytes[EPOCHS * (N / BATCH + 1)];
    size_t n_batches;
    struct sterna_path path;
};

static struct sterna_loader_options options_of(enum sterna_order order) {
    struct sterna_loader_options o;
    sterna_loader_options_init(&o);
    o.batch_size = BATCH;
    o.seed = 5;
    o.order = order;
    o.uneven = STERNA_UNEVEN_EXACT;
    o.memory_bytes = 64 << 20;
    return o;
}

static void check_plan(const struct reading *r, const sterna_batch *b,
                       const struct sterna_batch_info *info) {
    uint64_t want[BATCH];
    uint8_t valid[BATCH];
    uint32_t n_rows;
    if (r->o.order != STERNA_ORDER_STRICT) return;
    ok(sterna_plan_batch(&r->o, N, info->epoch, info->step, want, valid, &n_rows, &err));
    assert_int_equal(info->n_rows, n_rows);
    assert_memory_equal(sterna_batch_index(b), want, n_rows * sizeof *want);
}

/* At most so many batches more; then the loader is closed, whatever is on its way. */
static void go_on(struct reading *r, uint64_t epochs, size_t n_batches) {
    sterna_loader *loader;
    struct sterna_loader_options o = r->o;
    int rc = STERNA_OK;
    o.epochs = epochs;
    if (r->n_batches) {
        o.state = r->states[r->n_batches - 1];
        o.state_bytes = r->state_bytes[r->n_batches - 1];
    }
    ok(sterna_loader_open(&loader, r->f->store, r->f->selection, &o, &err));
    for (sterna_batch *b; n_batches > 0; n_batches--) {
        struct sterna_error err = {0};
        rc = sterna_loader_next(loader, &b, -1, &err);
        if (rc == STERNA_END) break;
        if (rc != STERNA_OK) fail_msg("%d: %s", rc, err.message);
        struct sterna_batch_info info;
        sterna_batch_info(b, &info);
        check_plan(r, b, &info);
        for (uint32_t i = 0; i < info.n_rows; i++)
            if (sterna_batch_valid(b)[i]) r->seen[info.epoch][sterna_batch_index(b)[i]]++;
        assert_ok(sterna_batch_state(b, r->states[r->n_batches], STATE_BYTES,
                                     &r->state_bytes[r->n_batches]));
        r->n_batches++;
        sterna_batch_release(&b);
    }
    struct sterna_stats stats;
    sterna_loader_stats(loader, &stats);
    assert_int_equal(stats.duplicates + stats.missing + stats.errors + stats.corrupt, 0);
    stn_flight_path(&loader->flight, &r->path);
    sterna_loader_close(&loader);
}

static void check_seen(const struct reading *r, size_t epochs) {
    for (size_t epoch = 0; epoch < epochs; epoch++)
        for (size_t i = 0; i < N; i++)
            if (r->seen[epoch][i] != 1)
                fail_msg("epoch %zu: sample %zu came %u times", epoch, i, r->seen[epoch][i]);
}

static struct reading *new_reading(const struct fixture *f, enum sterna_order order) {
    struct reading *r = calloc(1, sizeof *r);
    assert_non_null(r);
    r->f = f;
    r->o = options_of(order);
    return r;
}

/* What comes, and each state on the way, does not depend on who answered. */
static void test_late_answers_change_neither_order_nor_states(void **state) {
    const struct fixture *f = *state;
    struct reading *a = new_reading(f, STERNA_ORDER_STRICT),
                   *b = new_reading(f, STERNA_ORDER_STRICT);
    go_on(a, EPOCHS, SIZE_MAX);
    go_on(b, EPOCHS, SIZE_MAX);
    check_seen(a, EPOCHS);
    check_seen(b, EPOCHS);
    assert_int_equal(a->n_batches, EPOCHS * ((N + BATCH - 1) / BATCH));
    assert_int_equal(b->n_batches, a->n_batches);
    for (size_t i = 0; i < a->n_batches; i++) {
        assert_int_equal(a->state_bytes[i], b->state_bytes[i]);
        assert_memory_equal(a->states[i], b->states[i], a->state_bytes[i]);
    }
    for (int i = 0; b->path.hedges == 0; i++) { /* where all is slow, late answers stand out less */
        assert_true(i < 10);
        memset(b, 0, offsetof(struct reading, path));
        b->f = f;
        b->o = options_of(STERNA_ORDER_STRICT);
        go_on(b, EPOCHS, SIZE_MAX);
    }
    assert_true(b->path.hedged_bytes > 0);
    free(a);
    free(b);
}

static void test_late_answers_double_nothing_by_arrival(void **state) {
    struct reading *r = new_reading(*state, STERNA_ORDER_ARRIVAL);
    go_on(r, EPOCHS, SIZE_MAX);
    check_seen(r, EPOCHS);
    free(r);
}

/* Ended after a few batches, again and again, with second requests on their way. */
static void test_reading_goes_on_where_it_was_ended(void **state) {
    for (int order = STERNA_ORDER_STRICT; order <= STERNA_ORDER_ARRIVAL; order++)
        for (size_t at_once = 1; at_once <= 5; at_once += 2) {
            struct reading *r = new_reading(*state, (enum sterna_order)order);
            size_t before;
            do {
                before = r->n_batches;
                go_on(r, 1, at_once);
                struct sterna_state_info info;
                ok(sterna_state_info(r->states[r->n_batches - 1], r->state_bytes[r->n_batches - 1],
                                     &info, &err));
                if (info.epoch > 0 || r->n_batches == (N + BATCH - 1) / BATCH) break;
            } while (r->n_batches > before);
            check_seen(r, 1);
            free(r);
        }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_late_answers_change_neither_order_nor_states),
        cmocka_unit_test(test_late_answers_double_nothing_by_arrival),
        cmocka_unit_test(test_reading_goes_on_where_it_was_ended),
    };
    if (!getenv("CQLMEM")) return 77;
    return cmocka_run_group_tests(tests, setup, teardown);
}
