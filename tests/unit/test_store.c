/* The store handle: what it opens, makes and refuses. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/check.h"
#include "support/temporary.h"

#include "base/digest.h"
#include "embedded.h"
#include "store.h"

struct box {
    char *dir, store[300], data[320], catalog[330];
};

static int setup(void **state) {
    struct box *b = stn_array(1, sizeof *b);
    b->dir = test_dir_make();
    snprintf(b->store, sizeof b->store, "%s/store", b->dir);
    snprintf(b->data, sizeof b->data, "%s/data.mdb", b->store);
    snprintf(b->catalog, sizeof b->catalog, "%s/catalog.sqlite", b->store);
    *state = b;
    return 0;
}

static int teardown(void **state) {
    struct box *b = *state;
    test_dir_remove(&b->dir);
    free(b);
    return 0;
}

static void ok_at(int line, int rc, const struct sterna_error *err) {
    if (rc < 0) fail_msg("line %d: code %d: %s", line, rc, err->message);
}
#define OK(call) ok_at(__LINE__, (call), &err)

static const uint8_t id_one[16] = {1, 2, 3}, id_two[16] = {7, 7};

static int open_as(sterna_store **s, const char *url, enum sterna_open_mode mode,
                   const uint8_t *dataset_id, struct sterna_error *err) {
    const struct sterna_store_options o = {
        .struct_size = sizeof o, .mode = mode, .dataset_id = dataset_id};
    return sterna_store_open(s, url, &o, err);
}

static void refused_at(int line, const char *url, enum sterna_open_mode mode, int code,
                       const char *words) {
    struct sterna_error err = {0};
    sterna_store *s = NULL;
    int rc = open_as(&s, url, mode, NULL, &err);
    if (rc != code || err.code != code || !strstr(err.message, words) || s)
        fail_msg("line %d: code %d, not %d; message \"%s\" lacks \"%s\"", line, rc, code,
                 err.message, words);
}
#define REFUSED(url, mode, code, words) refused_at(__LINE__, url, mode, code, words)

static void make(const char *url, const uint8_t *dataset_id) {
    struct sterna_error err = {0};
    sterna_store *s;
    OK(open_as(&s, url, STERNA_OPEN_CREATE, dataset_id, &err));
    sterna_store_close(&s);
    assert_null(s);
}

static void test_store_urls(void **state) {
    struct box *b = *state;
    struct sterna_error err = {0};
    sterna_store *s = NULL;
    char url[400];
    snprintf(url, sizeof url, "lmdb:%s", b->store);
    make(url, NULL);
    OK(sterna_store_open(&s, b->store, NULL, &err));
    sterna_store_close(&s);
    OK(sterna_store_open(&s, url, NULL, &err));
    sterna_store_close(&s);
    sterna_store_close(&s);
    snprintf(url, sizeof url, "%s/with:colon", b->dir);
    make(url, NULL);
    assert_int_equal(sterna_store_open(&s, NULL, NULL, &err), STERNA_EINVAL);
    REFUSED("", STERNA_OPEN_READ, STERNA_EINVAL, "directory");
    REFUSED("lmdb:", STERNA_OPEN_READ, STERNA_EINVAL, "lmdb:");
    REFUSED("lmdb:///data", STERNA_OPEN_READ, STERNA_EINVAL, "lmdb:PATH");
    REFUSED("cassandra://me:secret@host/k/d", STERNA_OPEN_CREATE, STERNA_EINVAL, "cassandra");
    assert_int_equal(open_as(&s, "cassandra://me:secret@host/k/d", 0, NULL, &err), STERNA_EINVAL);
    assert_null(strstr(err.message, "secret"));
}

static void test_store_options(void **state) {
    struct box *b = *state;
    struct sterna_error err = {0};
    sterna_store *s;
    struct sterna_store_options o = {.struct_size = 0, .mode = STERNA_OPEN_CREATE};
    assert_int_equal(sterna_store_open(&s, b->store, &o, &err), STERNA_EINVAL);
    assert_non_null(strstr(err.message, "struct_size"));
    o.struct_size = sizeof o;
    OK(sterna_store_open(&s, b->store, &o, &err));
    assert_int_equal(err.code, 0); /* cleared */
    sterna_store_close(&s);
    REFUSED(b->store, (enum sterna_open_mode)3, STERNA_EINVAL, "mode 3");
}

static void test_store_dataset_id(void **state) {
    struct box *b = *state;
    struct sterna_error err = {0};
    sterna_store *s;
    struct sterna_store_info info;
    make(b->store, id_one);
    OK(open_as(&s, b->store, STERNA_OPEN_READ, id_one, &err));
    OK(sterna_store_info(s, &info, &err));
    assert_memory_equal(info.dataset_id, id_one, 16);
    assert_int_equal(info.format_version, 1);
    assert_int_equal(info.n_samples, 0);
    assert_int_equal(info.read_only, 0);
    sterna_store_close(&s);
    assert_int_equal(open_as(&s, b->store, STERNA_OPEN_CREATE, id_two, &err), STERNA_EMISMATCH);
    assert_non_null(strstr(err.message, "01020300-0000-0000-0000-000000000000"));
    assert_non_null(strstr(err.message, "07070000-0000-0000-0000-000000000000"));
    OK(open_as(&s, b->store, STERNA_OPEN_CREATE, NULL, &err)); /* keeps the one it has */
    OK(sterna_store_info(s, &info, &err));
    assert_memory_equal(info.dataset_id, id_one, 16);
    sterna_store_close(&s);
    char other[400];
    snprintf(other, sizeof other, "%s-2", b->store);
    make(other, NULL);
    OK(sterna_store_open(&s, other, NULL, &err));
    OK(sterna_store_info(s, &info, &err));
    assert_int_equal(info.dataset_id[6] >> 4, 4); /* random */
    sterna_store_close(&s);
}

static void test_store_missing(void **state) {
    struct box *b = *state;
    REFUSED(b->store, STERNA_OPEN_READ, STERNA_ENOTFOUND, b->store);
    REFUSED(b->store, STERNA_OPEN_WRITE, STERNA_ENOTFOUND, b->store);
    struct stat st;
    assert_int_equal(stat(b->store, &st), -1);
}

static void test_store_half_created(void **state) {
    struct box *b = *state;
    make(b->store, NULL);
    assert_int_equal(unlink(b->catalog), 0); /* killed before the catalogue had its name */
    REFUSED(b->store, STERNA_OPEN_READ, STERNA_EFORMAT, "catalog.sqlite is missing");
    REFUSED(b->store, STERNA_OPEN_WRITE, STERNA_EFORMAT, "ingest into it again");
    make(b->store, NULL);
    assert_int_equal(unlink(b->catalog), 0);
    assert_int_equal(truncate(b->data, 0), 0); /* killed earlier */
    REFUSED(b->store, STERNA_OPEN_READ, STERNA_EFORMAT, "cut short");
    make(b->store, NULL);
    assert_int_equal(unlink(b->catalog), 0);
    assert_int_equal(unlink(b->data), 0);
    REFUSED(b->store, STERNA_OPEN_READ, STERNA_ENOTFOUND, "data.mdb");
    make(b->store, NULL);
    struct sterna_error err = {0};
    sterna_store *s;
    OK(sterna_store_open(&s, b->store, NULL, &err));
    sterna_store_close(&s);
}

static void test_store_lost_its_half(void **state) {
    struct box *b = *state;
    struct sterna_error err = {0};
    sterna_store *s;
    struct stn_lmdb_writer *w;
    OK(open_as(&s, b->store, STERNA_OPEN_CREATE, NULL, &err));
    OK(stn_lmdb_writer_open(&w, stn_embedded_lmdb(s), &err));
    OK(stn_lmdb_writer_put(w, id_one, 0, "abc", 3, 0, &err));
    OK(stn_lmdb_writer_commit(w, &err));
    stn_lmdb_writer_close(&w);
    sterna_store_close(&s);
    char aside[400];
    snprintf(aside, sizeof aside, "%s/aside", b->dir);
    assert_int_equal(rename(b->catalog, aside), 0);
    REFUSED(b->store, STERNA_OPEN_CREATE, STERNA_EFORMAT, "holds 1 values");
    assert_int_equal(rename(aside, b->catalog), 0);
    assert_int_equal(rename(b->data, aside), 0);
    REFUSED(b->store, STERNA_OPEN_CREATE, STERNA_EFORMAT, "data.mdb is missing");
    REFUSED(b->store, STERNA_OPEN_READ, STERNA_EFORMAT, "data.mdb is missing");
    assert_int_equal(rename(aside, b->data), 0);
    OK(sterna_store_open(&s, b->store, NULL, &err));
    sterna_store_close(&s);
}

static void test_store_foreign(void **state) {
    struct box *b = *state;
    make(b->store, NULL);
    assert_int_equal(unlink(b->catalog), 0);
    FILE *f = fopen(b->catalog, "w");
    fputs("not a database, but long enough to look like one; not a database, not a database, no",
          f);
    fclose(f);
    REFUSED(b->store, STERNA_OPEN_READ, STERNA_EFORMAT, "catalog.sqlite");
    REFUSED(b->store, STERNA_OPEN_CREATE, STERNA_EFORMAT, "catalog.sqlite");
    REFUSED(b->catalog, STERNA_OPEN_READ, STERNA_ENOTFOUND, "no store");
}

static int stop_at_one(void *ctx, const char *name, const char *type) {
    (void)name;
    (void)type;
    return ++*(int *)ctx;
}
static int no_class(void *ctx, int64_t label, const char *name, uint64_t n) {
    (void)label;
    (void)name;
    (void)n;
    return ++*(int *)ctx;
}
static int no_run(void *ctx, const struct sterna_run *run) {
    (void)run;
    return ++*(int *)ctx;
}

static void test_store_facts_of_an_empty_one(void **state) {
    struct box *b = *state;
    struct sterna_error err = {0};
    sterna_store *s;
    struct sterna_field field;
    int n = 0;
    make(b->store, NULL);
    OK(sterna_store_open(&s, b->store, NULL, &err));
    assert_int_equal(sterna_store_field(s, 0, &field), STERNA_ENOTFOUND);
    assert_int_equal(sterna_store_classes(s, no_class, &n, &err), 0);
    assert_int_equal(sterna_store_runs(s, no_run, &n, &err), 0);
    assert_int_equal(n, 0);
    assert_int_equal(sterna_store_columns(s, stop_at_one, &n, &err), 1);
    assert_int_equal(n, 1);
    sterna_store_close(&s);
}

static void test_store_kept_by_others(void **state) {
    struct box *b = *state;
    struct sterna_error err = {0};
    sterna_store *s, *kept;
    struct sterna_store_info info;
    make(b->store, id_two);
    OK(sterna_store_open(&s, b->store, NULL, &err));
    kept = stn_store_retain(s);
    sterna_store_close(&s);
    OK(sterna_store_info(kept, &info, &err));
    assert_memory_equal(info.dataset_id, id_two, 16);
    sterna_store_close(&kept);
}

static int in_child(const struct box *b, sterna_store *s) {
    struct sterna_error err = {0};
    struct sterna_store_info info;
    struct stn_source *source;
    struct sterna_field field;
    if (sterna_store_info(s, &info, &err) != STERNA_EFORKED || !strstr(err.message, "fork"))
        return 1;
    if (sterna_store_field(s, 0, &field) != STERNA_EFORKED) return 2;
    if (stn_store_source_open(s, &source, NULL, NULL, NULL) != STERNA_EFORKED) return 3;
    sterna_store *own;
    if (sterna_store_open(&own, b->store, NULL, &err) != STERNA_OK) return 4;
    if (stn_embedded_lmdb(own) == stn_embedded_lmdb(s)) return 5;
    if (sterna_store_info(own, &info, &err) != STERNA_OK) return 6;
    sterna_store_close(&own);
    sterna_store_close(&s);
    return s ? 7 : 0;
}

static void test_store_in_a_forked_child(void **state) {
    struct box *b = *state;
    struct sterna_error err = {0};
    sterna_store *s;
    struct sterna_store_info info;
    OK(open_as(&s, b->store, STERNA_OPEN_CREATE, NULL, &err));
    pid_t child = fork();
    if (child == 0) _exit(in_child(b, s));
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    OK(sterna_store_info(s, &info, &err));
    sterna_store_close(&s);
}

/* As a user who may only read; the file permissions do not hold root back. */
static int read_as_nobody(const struct box *b) {
    struct sterna_error err = {0};
    struct sterna_store_info info;
    sterna_store *s;
    if (geteuid() == 0 && (setgid(65534) < 0 || setuid(65534) < 0)) return 1;
    if (open_as(&s, b->store, STERNA_OPEN_WRITE, NULL, &err) != STERNA_EREADONLY) return 2;
    if (open_as(&s, b->store, STERNA_OPEN_CREATE, NULL, &err) != STERNA_EREADONLY) return 3;
    if (sterna_store_open(&s, b->store, NULL, &err) != STERNA_OK) return 4;
    if (sterna_store_info(s, &info, &err) != STERNA_OK || !info.read_only) return 5;
    if (memcmp(info.dataset_id, id_one, 16) != 0) return 6;
    sterna_store_close(&s);
    return 0;
}

static void test_store_that_cannot_be_written(void **state) {
    struct box *b = *state;
    make(b->store, id_one);
    chmod(b->dir, 0755);
    char lock[330];
    snprintf(lock, sizeof lock, "%s/lock.mdb", b->store);
    for (int without_lock = 0; without_lock < 2; without_lock++) {
        if (without_lock)
            assert_int_equal(unlink(lock), 0);
        else
            chmod(lock, 0444);
        chmod(b->data, 0444);
        chmod(b->catalog, 0444);
        chmod(b->store, 0555);
        pid_t child = fork();
        if (child == 0) _exit(read_as_nobody(b));
        int status;
        assert_int_equal(waitpid(child, &status, 0), child);
        chmod(b->store, 0755);
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), 0);
    }
}

int main(void) {
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_store_urls),
        TEST(test_store_options),
        TEST(test_store_dataset_id),
        TEST(test_store_missing),
        TEST(test_store_half_created),
        TEST(test_store_lost_its_half),
        TEST(test_store_foreign),
        TEST(test_store_facts_of_an_empty_one),
        TEST(test_store_kept_by_others),
        TEST(test_store_in_a_forked_child),
        TEST(test_store_that_cannot_be_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
