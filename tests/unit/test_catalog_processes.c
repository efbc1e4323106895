/* One catalogue and many: processes, users, threads; killed ones too. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "catalog/catalog.h"
#include "support/temporary.h"

#define RUN_ROWS 50

struct fixture {
    char *dir, *path;
    struct stn_catalog *c;
    struct sterna_error err;
};

#define ok(f, call)                                                                                \
    do {                                                                                           \
        stn_error_clear(&(f)->err);                                                                \
        int ok_rc = (call);                                                                        \
        if (ok_rc != STERNA_OK) fail_msg("%s: %d: %s", #call, ok_rc, (f)->err.message);            \
    } while (0)

static int setup(void **state) {
    struct fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    f->dir = test_dir_make();
    f->path = strdup(test_path(f->dir, "catalog.sqlite"));
    assert_int_equal(chmod(f->dir, 0755), 0);
    *state = f;
    return 0;
}

static int teardown(void **state) {
    struct fixture *f = *state;
    stn_catalog_close(&f->c);
    test_dir_remove(&f->dir);
    free(f->path);
    free(f);
    return 0;
}

static int insert(struct stn_catalog *c, uint64_t number, struct sterna_error *err) {
    char path[32];
    int n = snprintf(path, sizeof path, "%08llu", (unsigned long long)number);
    const struct stn_cell cells[] = {
        {"path", {.type = STERNA_TEXT, .text = path, .text_bytes = (size_t)n}},
        {"label", {.type = STERNA_INT, .i = (int64_t)number % 5}}};
    struct stn_row row = {.cells = cells, .n_cells = 2};
    memcpy(row.id, &number, sizeof number);
    return stn_catalog_insert(c, &row, err);
}

/* A run of RUN_ROWS samples that no run before has; tells of each step through `pipe_fd`. */
static int add_run(struct stn_catalog *c, int pipe_fd, struct sterna_error *err) {
    uint64_t run = 0;
    int rc = stn_catalog_begin(c, "x", &run, err);
    for (uint64_t i = 0; i < RUN_ROWS && rc == STERNA_OK; i++) {
        rc = insert(c, run * 1000 + i, err);
        if (pipe_fd >= 0 && write(pipe_fd, "i", 1) != 1) return STERNA_EIO;
    }
    if (rc == STERNA_OK) rc = stn_catalog_commit(c, &run, err);
    if (pipe_fd >= 0 && write(pipe_fd, "c", 1) != 1) return STERNA_EIO;
    return rc;
}

static int count_row(void *ctx, const char *const *names, const struct sterna_value *values,
                     size_t n) {
    (void)names;
    (void)values;
    (void)n;
    ++*(uint64_t *)ctx;
    return 0;
}

/* Whole runs, and as many rows as the catalogue says it has; *n gets them. */
static int look(struct stn_catalog *c, uint64_t *n, struct sterna_error *err) {
    struct sterna_store_info info = {0};
    uint64_t rows = 0;
    int rc = stn_catalog_info(c, &info, err);
    const struct sterna_query_options o = {
        .struct_size = sizeof o, .where = "label >= 0", .as_of_run = info.last_run};
    *n = info.n_samples;
    if (info.last_run == 0)
        return rc; /* "as of run 0" would mean the newest, which may be there by now */
    if (rc == STERNA_OK) rc = stn_catalog_query(c, &o, count_row, &rows, err);
    if (rc < 0) return rc;
    if (info.n_samples != info.last_run * RUN_ROWS || rows != info.n_samples)
        return stn_fail(err, STERNA_EFORMAT, "run %d: %d samples, %d rows", (int)info.last_run,
                        (int)info.n_samples, (int)rows);
    return STERNA_OK;
}

static void wait_for(pid_t child, int want) {
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    if (status != want) fail_msg("child ended with %x", status);
}

/* ---- processes ---- */

static void expect_single_file(const struct fixture *f) {
    char command[512];
    snprintf(command, sizeof command, "test \"$(ls -A '%s')\" = catalog.sqlite", f->dir);
    assert_int_equal(system(command), 0);
}

static void test_create_by_many_has_one_winner(void **state) {
    struct fixture *f = *state;
    pid_t children[6];
    for (uint8_t i = 0; i < 6; i++) {
        children[i] = fork();
        if (children[i] != 0) continue;
        const uint8_t id[16] = {i, 1};
        _exit(stn_catalog_create(f->path, id, NULL) == STERNA_OK ? 0 : 1);
    }
    for (int i = 0; i < 6; i++) wait_for(children[i], 0);
    ok(f, stn_catalog_open(&f->c, f->path, STN_CATALOG_READ, &f->err));
    assert_int_equal(stn_catalog_dataset_id(f->c)[1], 1);
    expect_single_file(f);
}

static void read_often(const char *path) {
    struct stn_catalog *c = NULL;
    struct sterna_error err = {0};
    uint64_t n = 0, before = 0;
    if (stn_catalog_open(&c, path, STN_CATALOG_READ, &err)) _exit(1);
    for (int i = 0; i < 40; i++, before = n) {
        int rc = look(c, &n, &err);
        if (rc < 0) fprintf(stderr, "reader: %s\n", err.message);
        if (rc < 0 || n < before) _exit(2);
    }
    stn_catalog_close(&c);
    _exit(0);
}

static void test_many_read_while_one_writes(void **state) {
    struct fixture *f = *state;
    pid_t children[3];
    ok(f, stn_catalog_create(f->path, (const uint8_t *)"data set 0000001", &f->err));
    for (int i = 0; i < 3; i++)
        if ((children[i] = fork()) == 0) read_often(f->path);
    ok(f, stn_catalog_open(&f->c, f->path, STN_CATALOG_WRITE, &f->err));
    for (int i = 0; i < 15; i++) ok(f, add_run(f->c, -1, &f->err));
    for (int i = 0; i < 3; i++) wait_for(children[i], 0);
    uint64_t n = 0;
    ok(f, look(f->c, &n, &f->err));
    assert_int_equal(n, 15 * RUN_ROWS);
    stn_catalog_close(&f->c);
    ok(f, stn_catalog_open(&f->c, f->path, STN_CATALOG_READ, &f->err)); /* nobody else is there */
    expect_single_file(f);
}

static void test_killed_anywhere_it_has_whole_runs(void **state) {
    struct fixture *f = *state;
    ok(f, stn_catalog_create(f->path, (const uint8_t *)"data set 0000001", &f->err));
    uint64_t n = 0, before = 0, random = 5;
    for (int round = 0; round < 40; round++, before = n) {
        int ends[2];
        assert_int_equal(pipe(ends), 0);
        pid_t child = fork();
        if (child == 0) {
            if (stn_catalog_open(&f->c, f->path, STN_CATALOG_WRITE, NULL)) _exit(1);
            while (add_run(f->c, ends[1], NULL) == STERNA_OK) {}
            _exit(2);
        }
        close(ends[1]);
        random = random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        char step;
        for (uint64_t k = (random >> 33) % (3 * RUN_ROWS); k > 0; k--)
            assert_int_equal(read(ends[0], &step, 1), 1);
        kill(child, SIGKILL);
        wait_for(child, SIGKILL);
        close(ends[0]);
        ok(f, stn_catalog_open(&f->c, f->path, round % 2 ? STN_CATALOG_READ : STN_CATALOG_WRITE,
                               &f->err));
        ok(f, look(f->c, &n, &f->err));
        assert_true(n >= before);
        stn_catalog_close(&f->c);
    }
    assert_true(n > 0);
}

/* ---- users ---- */

/* As nobody: opens a catalogue in a directory that only its owner can write, and looks. */
static pid_t look_as_nobody(const struct fixture *f, int code, const char *says, uint64_t want) {
    pid_t child = fork();
    if (child != 0) return child;
    struct stn_catalog *c = NULL;
    struct sterna_error err = {0};
    uint64_t n = 0;
    if (setgid(65534) || setuid(65534)) _exit(1);
    int rc = stn_catalog_open(&c, f->path, STN_CATALOG_READ_IMMUTABLE, &err);
    if (rc == STERNA_OK) rc = look(c, &n, &err);
    if (rc != code) fprintf(stderr, "nobody: %d: %s\n", rc, err.message);
    if (rc != code || n != want || (says && !strstr(err.message, says))) _exit(2);
    stn_catalog_close(&c);
    _exit(0);
}

static void test_another_user_reads_what_is_committed(void **state) {
    struct fixture *f = *state;
    if (geteuid() != 0) skip(); /* nobody else to be */
    ok(f, stn_catalog_create(f->path, (const uint8_t *)"data set 0000001", &f->err));
    wait_for(look_as_nobody(f, STERNA_OK, NULL, 0), 0);
    ok(f, stn_catalog_open(&f->c, f->path, STN_CATALOG_WRITE, &f->err));
    ok(f, add_run(f->c, -1, &f->err));
    wait_for(look_as_nobody(f, STERNA_OK, NULL, RUN_ROWS), 0);
    uint64_t run;
    ok(f, stn_catalog_begin(f->c, "x", &run, &f->err)); /* now in WAL mode, with a writer alive */
    ok(f, insert(f->c, 7, &f->err));
    wait_for(look_as_nobody(f, STERNA_OK, NULL, RUN_ROWS), 0);
    stn_catalog_rollback(f->c);
    wait_for(look_as_nobody(f, STERNA_OK, NULL, RUN_ROWS), 0);
}

/* What a killed writer leaves in the -wal file cannot be had without writing: says so. */
static void test_another_user_is_told_of_a_half_write(void **state) {
    struct fixture *f = *state;
    if (geteuid() != 0) skip();
    ok(f, stn_catalog_create(f->path, (const uint8_t *)"data set 0000001", &f->err));
    pid_t child = fork();
    if (child == 0) {
        struct stn_catalog *c = NULL;
        uint64_t run;
        char path[1001];
        memset(path, 'p', sizeof path);
        if (stn_catalog_open(&c, f->path, STN_CATALOG_WRITE, NULL)) _exit(1);
        if (stn_catalog_begin(c, "x", &run, NULL)) _exit(2);
        for (uint64_t i = 0; i < 90000; i++) { /* past the page cache, into the file */
            const struct stn_cell cell = {"path",
                                          {.type = STERNA_TEXT, .text = path, .text_bytes = 1000}};
            struct stn_row row = {.cells = &cell, .n_cells = 1};
            memcpy(row.id, &i, sizeof i);
            if (stn_catalog_insert(c, &row, NULL)) _exit(3);
        }
        kill(getpid(), SIGKILL);
    }
    wait_for(child, SIGKILL);
    char index[4096];
    snprintf(index, sizeof index, "%s-shm", f->path);
    unlink(index); /* as on another machine, or after a restart */
    wait_for(look_as_nobody(f, STERNA_EIO, "in the middle of a write", 0), 0);
    ok(f, stn_catalog_open(&f->c, f->path, STN_CATALOG_READ, &f->err)); /* the owner comes by */
    wait_for(look_as_nobody(f, STERNA_OK, NULL, 0), 0);
}

/* ---- threads ---- */

static void *read_in_thread(void *ctx) {
    struct fixture *f = ctx;
    struct sterna_error err = {0};
    uint64_t n = 0;
    for (int i = 0; i < 15; i++) {
        sterna_selection *s = NULL;
        struct sterna_field field;
        int rc = look(f->c, &n, &err);
        if (rc == STERNA_OK) rc = stn_catalog_select(&s, f->c, f->dir, NULL, &err);
        sterna_selection *kept = s ? sterna_selection_retain(s) : NULL;
        sterna_selection_close(&s);
        sterna_selection_close(&kept);
        stn_catalog_field(f->c, 0, &field);
        if (rc < 0) {
            fprintf(stderr, "thread: %s\n", err.message);
            return f;
        }
    }
    return NULL;
}

static void test_threads_share_one_catalogue(void **state) {
    struct fixture *f = *state;
    pthread_t threads[3];
    ok(f, stn_catalog_create(f->path, (const uint8_t *)"data set 0000001", &f->err));
    ok(f, stn_catalog_open(&f->c, f->path, STN_CATALOG_WRITE, &f->err));
    for (int i = 0; i < 3; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, read_in_thread, f), 0);
    for (int i = 0; i < 8; i++) ok(f, add_run(f->c, -1, &f->err));
    for (int i = 0; i < 3; i++) {
        void *failed = NULL;
        assert_int_equal(pthread_join(threads[i], &failed), 0);
        assert_null(failed);
    }
}

#define unit(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        unit(test_create_by_many_has_one_winner),
        unit(test_many_read_while_one_writes),
        unit(test_killed_anywhere_it_has_whole_runs),
        unit(test_another_user_reads_what_is_committed),
        unit(test_another_user_is_told_of_a_half_write),
        unit(test_threads_share_one_catalogue),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
