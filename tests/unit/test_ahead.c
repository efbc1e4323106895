/* Looking ahead: which samples a far store is asked for, and when. */
#include "support/check.h"

#include <stdio.h>
#include <string.h>

#include "ingest/ahead.h"
#include "support/fake_store.h"
#include "support/ingested.h"

#define HOUR_MS 3600000 /* a test that waits for it fails by its time limit */

/* ---- jobs by hand ---- */

static size_t n_expected;
static uint8_t expected[1024];

static void expect(struct stn_values *v, const uint8_t id[16]) {
    (void)v;
    expected[n_expected++] = id[0];
}

static const struct stn_values_ops far_ops = {.expect = expect}, near_ops = {.expect = NULL};

struct line {
    struct stn_jobs jobs;
    struct stn_values values;
    struct stn_ahead ahead;
};

static void line_open(struct line *l, size_t n, const struct stn_values_ops *ops) {
    assert_ok(stn_jobs_init(&l->jobs, n, 1, 1));
    l->values.ops = ops;
    n_expected = 0;
    stn_ahead_init(&l->ahead, &l->jobs, &l->values);
}

/* The reader is done with another file. */
static void read_one(struct line *l, uint8_t id, enum sterna_outcome outcome, int is_sample) {
    struct stn_job *job = stn_jobs_take(&l->jobs);
    assert_non_null(job);
    memset(job->id, 0, sizeof job->id);
    job->id[0] = id;
    job->outcome = outcome;
    job->is_sample = is_sample;
    stn_jobs_done(&l->jobs, job);
}

static void next_is(struct line *l, unsigned timeout_ms, uint8_t id) {
    struct stn_job *job;
    assert_ok(stn_ahead_next(&l->ahead, timeout_ms, &job, NULL));
    assert_int_equal(job->id[0], id);
    stn_jobs_free(&l->jobs, job);
}

static void test_ahead_asks_for_all_that_is_read(void **state) {
    struct line l;
    struct stn_job *job;
    (void)state;
    line_open(&l, 8, &far_ops);
    read_one(&l, 1, STERNA_ADDED, 1);
    read_one(&l, 2, STERNA_UNREADABLE, 1); /* never looked up */
    read_one(&l, 3, STERNA_ADDED, 0);
    read_one(&l, 4, STERNA_ADDED, 1);
    next_is(&l, HOUR_MS, 1);
    assert_int_equal(n_expected, 2);
    assert_memory_equal(expected, "\1\4", 2);
    next_is(&l, HOUR_MS, 2); /* in order, and without waiting for the reader */
    read_one(&l, 5, STERNA_ADDED, 1);
    next_is(&l, HOUR_MS, 3);
    assert_int_equal(n_expected, 3);
    next_is(&l, HOUR_MS, 4);
    next_is(&l, HOUR_MS, 5);
    assert_int_equal(stn_ahead_next(&l.ahead, 0, &job, NULL), STERNA_AGAIN);
    assert_null(job);
    read_one(&l, 6, STERNA_ADDED, 1);
    stn_jobs_reader_ended(&l.jobs);
    next_is(&l, HOUR_MS, 6);
    assert_int_equal(stn_ahead_next(&l.ahead, HOUR_MS, &job, NULL), STERNA_END);
    assert_int_equal(n_expected, 4);
    stn_jobs_fini(&l.jobs);
}

static void test_ahead_asks_for_so_many(void **state) {
    struct line l;
    (void)state;
    line_open(&l, 300, &far_ops);
    for (unsigned i = 0; i < 300; i++) read_one(&l, (uint8_t)i, STERNA_ADDED, 1);
    for (unsigned i = 0; i < 300; i++) {
        next_is(&l, HOUR_MS, (uint8_t)i);
        assert_int_equal(n_expected, STN_MIN(STN_AHEAD_MAX + i, 300));
    }
    stn_jobs_fini(&l.jobs);
    line_open(&l, 3, &far_ops); /* no more than there are jobs */
    assert_int_equal(l.ahead.most, 3);
    stn_jobs_fini(&l.jobs);
}

static void test_ahead_holds_nothing_for_a_near_store(void **state) {
    struct line l;
    (void)state;
    line_open(&l, 4, &near_ops);
    for (unsigned i = 0; i < 3; i++) read_one(&l, (uint8_t)i, STERNA_ADDED, 1);
    for (unsigned i = 0; i < 3; i++) {
        next_is(&l, HOUR_MS, (uint8_t)i);
        assert_int_equal(l.ahead.n, 0);
        assert_true((l.jobs.done.first != NULL) == (i < 2));
    }
    assert_int_equal(n_expected, 0);
    stn_jobs_fini(&l.jobs);
}

static void test_ahead_gives_the_failure_of_a_thread_first(void **state) {
    struct line l;
    struct stn_job *job;
    struct sterna_error why = {0}, err = {0};
    (void)state;
    line_open(&l, 4, &far_ops);
    for (unsigned i = 0; i < 2; i++) read_one(&l, (uint8_t)i, STERNA_ADDED, 1);
    next_is(&l, HOUR_MS, 0);
    stn_fail(&why, STERNA_EIO, "a disk");
    stn_jobs_stop(&l.jobs, &why);
    assert_int_equal(stn_ahead_next(&l.ahead, HOUR_MS, &job, &err), STERNA_EIO);
    assert_string_equal(err.message, "a disk");
    assert_null(job);
    stn_jobs_fini(&l.jobs);
}

/* ---- a whole ingest ---- */

#define N_FILES 700

static void ingest_ahead(struct ingested *g, struct fake_store *f, int lasting) {
    fake_store_wrap(f, g->store, 0);
    assert_ok(ingested_run(g));
    assert_int_equal(g->result.counts[lasting ? STERNA_UNCHANGED : STERNA_ADDED], N_FILES);
    assert_int_equal(f->n_expected, N_FILES);
    assert_int_equal(f->n_found, N_FILES);
    assert_int_equal(f->n_unexpected, 0); /* found in the order in which they were expected */
    assert_memory_equal(f->expected, f->found, sizeof f->found[0] * N_FILES);
    assert_in_range(f->most_ahead, 1, STN_AHEAD_MAX);
    assert_int_equal(f->n_closed, 1);
    ingested_reopen(g); /* f goes */
}

static void test_ahead_ingests_a_folder(void **state) {
    struct ingested g;
    struct fake_store *f = calloc(1, sizeof *f);
    char path[32];
    (void)state;
    assert_non_null(f);
    ingested_open(&g);
    for (unsigned i = 0; i < N_FILES; i++) {
        snprintf(path, sizeof path, "%c/%u.png", "ab"[i % 2], i);
        ingested_picture(&g, path, i);
    }
    tree_text(&g.images, "a/notes.txt", "no image");
    g.options.memory_bytes = (uint64_t)1 << 20; /* a few files: readers wait for the writer */
    ingest_ahead(&g, f, 0);
    assert_int_equal(g.result.counts[STERNA_NO_IMAGE], 1);
    ingest_ahead(&g, f, 1);
    assert_true(strstr(g.reports, "notes.txt") != NULL);
    ingested_close(&g);
    free(f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ahead_asks_for_all_that_is_read),
        cmocka_unit_test(test_ahead_asks_for_so_many),
        cmocka_unit_test(test_ahead_holds_nothing_for_a_near_store),
        cmocka_unit_test(test_ahead_gives_the_failure_of_a_thread_first),
        cmocka_unit_test(test_ahead_ingests_a_folder),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
