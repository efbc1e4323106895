/* The fetcher over a real embedded store, with its threads: fields, consumers, processes. What
 * needs an erring store or a clock is in tests/sim. */
#include "support/check.h"

#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sterna/sterna.h"
#include "support/dataset.h"
#include "support/temporary.h"

enum { PER_CLASS = 100, N = DATASET_CLASSES * PER_CLASS };

static char *dir;
static sterna_store *store;
static sterna_selection *selection;
static struct { /* by index in the selection, as a loader reads them */
    uint32_t crc[2];
    uint64_t bytes[2];
    int null[2];
} known[N];

static void learn(void) {
    struct sterna_loader_options o;
    sterna_loader *loader;
    sterna_batch *b;
    sterna_loader_options_init(&o);
    o.shuffle = 0;
    o.batch_size = N;
    assert_ok(sterna_loader_open(&loader, store, selection, &o, NULL));
    assert_ok(sterna_loader_next(loader, &b, -1, NULL));
    for (uint32_t f = 0; f < 2; f++) {
        struct sterna_field_view view;
        assert_ok(sterna_batch_field(b, f, &view));
        for (uint32_t i = 0; i < N; i++) {
            known[i].null[f] = view.data[i] == NULL;
            known[i].bytes[f] = view.bytes[i];
            known[i].crc[f] = stn_crc32c(0, view.data[i], view.bytes[i]);
        }
    }
    sterna_batch_release(&b);
    sterna_loader_close(&loader);
}

static int make_store(void **state) {
    (void)state;
    dir = test_dir_make();
    dataset_make(test_path(dir, "data"), 0, PER_CLASS);
    assert_ok(dataset_ingest(test_path(dir, "store"), test_path(dir, "data"), NULL, NULL));
    assert_ok(sterna_store_open(&store, test_path(dir, "store"), NULL, NULL));
    assert_ok(sterna_select(&selection, store, NULL, NULL));
    learn();
    return 0;
}

static int remove_store(void **state) {
    (void)state;
    sterna_selection_close(&selection);
    sterna_store_close(&store);
    test_dir_remove(&dir);
    return 0;
}

static sterna_fetcher *open_fetcher(const struct sterna_fetcher_options *o) {
    sterna_fetcher *f;
    struct sterna_error err = {0};
    if (sterna_fetcher_open(&f, store, o, &err) < 0) fail_msg("%s", err.message);
    return f;
}

static uint64_t submit(sterna_fetcher *f, const uint32_t *indices, size_t n) {
    uint8_t ids[64][STERNA_ID_BYTES];
    uint64_t ticket;
    assert_true(n <= 64);
    for (size_t i = 0; i < n; i++)
        memcpy(ids[i], sterna_selection_ids(selection)[indices[i]], STERNA_ID_BYTES);
    assert_ok(sterna_submit(f, (const uint8_t(*)[STERNA_ID_BYTES])ids, n, &ticket, NULL));
    return ticket;
}

/* Row `row` is sample `index`. */
static int is_right(const sterna_batch *b, uint32_t row, uint32_t index) {
    int same = sterna_batch_valid(b)[row] && sterna_batch_errors(b)[row] == STERNA_OK &&
               sterna_batch_labels(b)[row] == sterna_selection_labels(selection)[index] &&
               memcmp(sterna_batch_ids(b)[row], sterna_selection_ids(selection)[index], 16) == 0;
    for (uint32_t f = 0; f < 2; f++) {
        struct sterna_field_view view;
        if (sterna_batch_field(b, f, &view) < 0) return 0;
        same &= view.bytes[row] == known[index].bytes[f] &&
                (view.data[row] == NULL) == known[index].null[f] &&
                stn_crc32c(0, view.data[row], view.bytes[row]) == known[index].crc[f];
    }
    return same;
}

static void check(const sterna_batch *b, const uint32_t *indices, uint32_t n) {
    struct sterna_batch_info info;
    sterna_batch_info(b, &info);
    assert_int_equal(info.n_rows, n);
    for (uint32_t i = 0; i < n; i++)
        if (!is_right(b, i, indices[i])) fail_msg("row %u is not sample %u", i, indices[i]);
}

static void test_fetch_gives_what_a_loader_gives(void **state) {
    (void)state;
    sterna_fetcher *f = open_fetcher(NULL);
    uint32_t indices[8][64];
    sterna_batch *b;
    uint64_t ticket;
    for (uint32_t k = 0; k < 8; k++) {
        for (uint32_t i = 0; i < 64; i++) indices[k][i] = (k * 37 + i * 101 + i * i) % N;
        assert_int_equal(submit(f, indices[k], 64), k + 1);
    }
    for (int k = 0; k < 8; k++) {
        assert_ok(sterna_poll(f, &ticket, &b, -1, NULL));
        check(b, indices[ticket - 1], 64);
        sterna_batch_release(&b);
    }
    assert_int_equal(sterna_poll(f, &ticket, &b, -1, NULL), STERNA_END);
    struct sterna_stats stats;
    struct sterna_path path;
    sterna_fetcher_stats(f, &stats);
    sterna_fetcher_path(f, &path);
    assert_int_equal(stats.batches, 8);
    assert_int_equal(stats.samples, 512);
    assert_int_equal(path.phase, STERNA_PATH_LOCAL);
    sterna_fetcher_close(&f);
}

static void test_fetch_takes_chosen_fields(void **state) {
    (void)state;
    static const char *const fields[] = {"caption"}, *const none[] = {"sound"};
    struct sterna_fetcher_options o;
    struct sterna_error err = {0};
    sterna_fetcher_options_init(&o);
    o.fields = fields;
    o.n_fields = 1;
    sterna_fetcher *f = open_fetcher(&o);
    const uint32_t indices[] = {1, 0};
    struct sterna_field_view view;
    sterna_batch *b;
    uint64_t ticket;
    submit(f, indices, 2);
    assert_ok(sterna_poll(f, &ticket, &b, -1, NULL));
    assert_ok(sterna_batch_field(b, 0, &view));
    assert_string_equal(view.name, "caption");
    assert_int_equal(sterna_batch_field(b, 1, &view), STERNA_EINVAL);
    for (uint32_t i = 0; i < 2; i++) {
        assert_ok(sterna_batch_field(b, 0, &view));
        assert_int_equal(view.bytes[i], known[indices[i]].bytes[1]);
        assert_int_equal(view.data[i] == NULL, known[indices[i]].null[1]);
        assert_true(sterna_batch_valid(b)[i]); /* null is a value */
    }
    sterna_batch_release(&b);
    sterna_fetcher_close(&f);
    o.fields = none;
    assert_int_equal(sterna_fetcher_open(&f, store, &o, &err), STERNA_ENOTFOUND);
    assert_non_null(strstr(err.message, "sound"));
}

static void test_fetch_masks_an_unknown_id(void **state) {
    (void)state;
    sterna_fetcher *f = open_fetcher(NULL);
    uint8_t ids[3][STERNA_ID_BYTES];
    sterna_batch *b;
    uint64_t ticket;
    memset(ids, 0x11, sizeof ids);
    memcpy(ids[0], sterna_selection_ids(selection)[7], 16);
    memcpy(ids[2], sterna_selection_ids(selection)[8], 16);
    assert_ok(sterna_submit(f, (const uint8_t(*)[STERNA_ID_BYTES])ids, 3, &ticket, NULL));
    assert_ok(sterna_poll(f, &ticket, &b, -1, NULL));
    assert_true(is_right(b, 0, 7) && is_right(b, 2, 8));
    assert_false(sterna_batch_valid(b)[1]);
    assert_int_equal(sterna_batch_errors(b)[1], STERNA_ENOTFOUND);
    assert_true(sterna_batch_labels(b)[1] == STERNA_LABEL_NONE);
    const char *reason = sterna_batch_reason(b, 1); /* where, and which */
    if (!strstr(reason, "data.mdb") || !strstr(reason, "11111111-1111-1111-1111-111111111111"))
        fail_msg("'%s'", reason);
    sterna_batch_release(&b);
    sterna_fetcher_close(&f);
}

static void test_fetch_of_an_empty_store_says_so(void **state) {
    (void)state;
    struct sterna_store_options o = {.struct_size = sizeof o, .mode = STERNA_OPEN_CREATE};
    struct sterna_error err = {0};
    sterna_store *empty;
    sterna_fetcher *f;
    assert_ok(sterna_store_open(&empty, test_path(dir, "empty"), &o, NULL));
    assert_int_equal(sterna_fetcher_open(&f, empty, NULL, &err), STERNA_ENOTFOUND);
    assert_non_null(strstr(err.message, "no fields yet"));
    sterna_store_close(&empty);
}

static void test_fetch_descriptor_wakes_a_loop(void **state) {
    (void)state;
    sterna_fetcher *f = open_fetcher(NULL);
    const uint32_t index = 5;
    struct pollfd fd = {sterna_fetcher_fd(f), POLLIN, 0};
    sterna_batch *b;
    uint64_t ticket;
    for (int i = 0; i < 100; i++) {
        submit(f, &index, 1);
        assert_int_equal(poll(&fd, 1, 10000), 1);
        assert_ok(sterna_poll(f, &ticket, &b, 0, NULL));
        check(b, &index, 1);
        sterna_batch_release(&b);
        assert_int_equal(poll(&fd, 1, 0), 0);
    }
    sterna_fetcher_close(&f);
}

/* ---- threads ---- */

enum { SUBMITTERS = 3, POLLERS = 3, EACH = 400 };

struct shared {
    sterna_fetcher *f;
    atomic_uint n_polled, n_wrong, n_canceled;
    atomic_int submitting;
};

static void *keep_submitting(void *arg) {
    struct shared *s = arg;
    for (unsigned i = 0; i < EACH; i++) {
        uint8_t ids[4][STERNA_ID_BYTES];
        uint64_t ticket;
        for (unsigned k = 0; k < 4; k++)
            memcpy(ids[k], sterna_selection_ids(selection)[(i * 17 + k * 31) % N], STERNA_ID_BYTES);
        if (sterna_submit(s->f, (const uint8_t(*)[STERNA_ID_BYTES])ids, 4, &ticket, NULL) < 0)
            atomic_fetch_add(&s->n_wrong, 1);
        if (i % 16 == 5) sterna_fetcher_cancel(s->f, ticket);
        atomic_fetch_add(&s->n_canceled, i % 16 == 5);
    }
    atomic_fetch_sub(&s->submitting, 1);
    return NULL;
}

/* Rows are told by their ids: which batch it is does not matter. */
static int all_right(const sterna_batch *b) {
    for (uint32_t row = 0; row < 4; row++) {
        uint32_t index = 0;
        while (index < N && memcmp(sterna_batch_ids(b)[row], sterna_selection_ids(selection)[index],
                                   STERNA_ID_BYTES) != 0)
            index++;
        if (index == N || !is_right(b, row, index)) return 0;
    }
    return 1;
}

static void *keep_polling(void *arg) {
    struct shared *s = arg;
    sterna_batch *b;
    uint64_t ticket;
    for (int rc;;) {
        int submitting = atomic_load(&s->submitting); /* before: what is submitted later is seen */
        rc = sterna_poll(s->f, &ticket, &b, 50, NULL);
        if (rc == STERNA_END && !submitting) return NULL;
        if (rc < 0) atomic_fetch_add(&s->n_wrong, 1);
        if (rc != STERNA_OK) continue;
        atomic_fetch_add(&s->n_polled, 1);
        if (!all_right(b)) atomic_fetch_add(&s->n_wrong, 1);
        sterna_batch_release(&b);
    }
}

static void test_fetch_many_threads_share_one(void **state) {
    (void)state;
    pthread_t threads[SUBMITTERS + POLLERS];
    struct sterna_fetcher_options o;
    struct sterna_stats stats;
    sterna_fetcher_options_init(&o);
    o.memory_bytes = 4 << 20; /* so that some have to wait */
    struct shared s = {.f = open_fetcher(&o), .submitting = SUBMITTERS};
    for (int i = 0; i < SUBMITTERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, keep_submitting, &s), 0);
    for (int i = 0; i < POLLERS; i++)
        assert_int_equal(pthread_create(&threads[SUBMITTERS + i], NULL, keep_polling, &s), 0);
    for (int i = 0; i < SUBMITTERS + POLLERS; i++) pthread_join(threads[i], NULL);
    sterna_fetcher_stats(s.f, &stats);
    assert_int_equal(s.n_wrong, 0);
    assert_int_equal(s.n_polled, stats.batches);
    assert_true(s.n_polled + s.n_canceled >= SUBMITTERS * EACH); /* some were too late to cancel */
    assert_true(s.n_polled <= SUBMITTERS * EACH);
    assert_int_equal(stats.leases, 0);
    sterna_fetcher_close(&s.f);
}

static void *release_later(void *batch) {
    sterna_batch *b = batch;
    sterna_batch_release(&b);
    return NULL;
}

/* One that waits for memory gets it when another thread lets go. */
static void test_fetch_release_on_another_thread(void **state) {
    (void)state;
    struct sterna_fetcher_options o;
    sterna_fetcher_options_init(&o);
    uint32_t indices[64];
    uint64_t ticket, bytes = 0;
    for (uint32_t i = 0; i < 64; i++) {
        indices[i] = i;
        bytes += (known[i].bytes[0] + 63) / 64 * 64 + (known[i].bytes[1] + 63) / 64 * 64;
    }
    o.memory_bytes = bytes + bytes / 4;
    sterna_fetcher *f = open_fetcher(&o);
    sterna_batch *b;
    submit(f, indices, 64);
    submit(f, indices, 64);
    assert_ok(sterna_poll(f, &ticket, &b, -1, NULL));
    sterna_batch *second;
    assert_int_equal(sterna_poll(f, &ticket, &second, -1, NULL), STERNA_EBUDGET);
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, release_later, b), 0);
    int rc;
    while ((rc = sterna_poll(f, &ticket, &second, -1, NULL)) == STERNA_EBUDGET) {}
    assert_ok(rc);
    pthread_join(thread, NULL);
    check(second, indices, 64);
    sterna_batch_release(&second);
    sterna_fetcher_close(&f);
}

static void *poll_once(void *arg) {
    struct shared *s = arg;
    sterna_batch *b;
    uint64_t ticket;
    int rc = sterna_poll(s->f, &ticket, &b, -1, NULL);
    atomic_fetch_add(&s->n_polled, rc == STERNA_OK);
    atomic_fetch_add(&s->n_wrong, rc != STERNA_OK && rc != STERNA_END);
    if (rc == STERNA_OK) sterna_batch_release(&b);
    return NULL;
}

/* Of several that wait without limit, those that get nothing are told that nothing will come. */
static void test_fetch_waiting_ends_with_the_last_batch(void **state) {
    (void)state;
    const uint32_t index = 3;
    for (int round = 0; round < 50; round++) {
        pthread_t threads[3];
        struct shared s = {.f = open_fetcher(NULL)};
        submit(s.f, &index, 1);
        uint64_t canceled = submit(s.f, &index, 1);
        for (int i = 0; i < 3; i++)
            assert_int_equal(pthread_create(&threads[i], NULL, poll_once, &s), 0);
        sterna_fetcher_cancel(s.f, canceled);
        for (int i = 0; i < 3; i++) pthread_join(threads[i], NULL);
        assert_true(s.n_polled == 1 || s.n_polled == 2);
        assert_int_equal(s.n_wrong, 0);
        sterna_fetcher_close(&s.f);
    }
}

/* ---- life ---- */

static void test_fetch_close_with_requests_in_flight(void **state) {
    (void)state;
    for (uint32_t round = 0; round < 50; round++) {
        uint32_t indices[64];
        uint64_t ticket;
        sterna_batch *held = NULL;
        sterna_fetcher *f = open_fetcher(NULL);
        for (uint32_t i = 0; i < 64; i++) indices[i] = (round + i) % N;
        for (int i = 0; i < 20; i++) submit(f, indices, 64);
        if (round % 2) assert_ok(sterna_poll(f, &ticket, &held, -1, NULL));
        sterna_fetcher_close(&f);
        if (held) check(held, indices, 64);
        sterna_batch_release(&held);
    }
}

static int in_child(sterna_fetcher *f, uint64_t under_way) {
    struct sterna_error err = {0};
    struct sterna_stats stats;
    const uint8_t ids[1][STERNA_ID_BYTES] = {{1}};
    sterna_batch *b;
    uint64_t ticket;
    if (sterna_submit(f, ids, 1, &ticket, &err) != STERNA_EFORKED) return 1;
    if (!strstr(err.message, "in the child")) return 2;
    if (sterna_poll(f, &ticket, &b, -1, &err) != STERNA_EFORKED) return 3;
    sterna_fetcher_cancel(f, under_way);
    sterna_fetcher_stats(f, &stats);
    sterna_fetcher_close(&f);
    return f ? 4 : 0;
}

static void test_fetch_refuses_a_forked_child(void **state) {
    (void)state;
    sterna_fetcher *f = open_fetcher(NULL);
    const uint32_t index = 9;
    uint64_t ticket = submit(f, &index, 1);
    sterna_batch *b;
    int status;
    pid_t pid = fork();
    if (pid == 0) _exit(in_child(f, ticket));
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    assert_ok(sterna_poll(f, &ticket, &b, -1, NULL)); /* the parent's go on */
    check(b, &index, 1);
    sterna_batch_release(&b);
    sterna_fetcher_close(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fetch_gives_what_a_loader_gives),
        cmocka_unit_test(test_fetch_takes_chosen_fields),
        cmocka_unit_test(test_fetch_masks_an_unknown_id),
        cmocka_unit_test(test_fetch_of_an_empty_store_says_so),
        cmocka_unit_test(test_fetch_descriptor_wakes_a_loop),
        cmocka_unit_test(test_fetch_many_threads_share_one),
        cmocka_unit_test(test_fetch_release_on_another_thread),
        cmocka_unit_test(test_fetch_waiting_ends_with_the_last_batch),
        cmocka_unit_test(test_fetch_close_with_requests_in_flight),
        cmocka_unit_test(test_fetch_refuses_a_forked_child),
    };
    return cmocka_run_group_tests(tests, make_store, remove_store);
}
