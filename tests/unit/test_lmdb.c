/* The embedded store's environment and writer. */
#include <fcntl.h>
#include <ftw.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/base.h"
#include "base/bytes.h"
#include "base/file.h"
#include "source/lmdb_env.h"

struct box {
    char dir[256]; /* removed afterwards */
    char store[300];
    char data[320];
};

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw) {
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

static int setup(void **state) {
    struct box *b = stn_array(1, sizeof *b);
    const char *tmp = getenv("TMPDIR");
    snprintf(b->dir, sizeof b->dir, "%s/sterna-test-XXXXXX", tmp ? tmp : "/tmp");
    if (!mkdtemp(b->dir)) return -1;
    chmod(b->dir, 0755);
    snprintf(b->store, sizeof b->store, "%s/store", b->dir);
    snprintf(b->data, sizeof b->data, "%s/data.mdb", b->store);
    *state = b;
    return 0;
}

static int teardown(void **state) {
    struct box *b = *state;
    nftw(b->dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
    free(b);
    return 0;
}

static void ok_at(int line, int rc, const struct sterna_error *err) {
    if (rc < 0) fail_msg("line %d: code %d: %s", line, rc, err->message);
}
#define OK(call) ok_at(__LINE__, (call), &err)

static void number_id(uint8_t id[16], uint32_t n) {
    uint32_t x = n * 2654435761U; /* so that ids are spread, as real ones are */
    memset(id, 0, 16);
    for (int i = 0; i < 4; i++) {
        id[i] = (uint8_t)(x >> (8 * i));
        id[12 + i] = (uint8_t)(n >> (8 * i));
    }
}

static void fill(uint8_t *data, size_t bytes, uint32_t seed) {
    for (size_t i = 0; i < bytes; i++) {
        seed = seed * 1664525U + 1013904223U;
        data[i] = (uint8_t)(seed >> 24);
    }
}

static int put_number(struct stn_lmdb_writer *w, uint32_t n, uint8_t field, size_t bytes,
                      struct sterna_error *err) {
    uint8_t id[16], *data = malloc(bytes + 1);
    number_id(id, n);
    fill(data, bytes, n);
    int rc = stn_lmdb_writer_put(w, id, field, data, bytes, stn_crc32c(0, data, bytes), err);
    free(data);
    return rc;
}

static void check_number(struct stn_lmdb *db, uint32_t n, uint8_t field, size_t bytes) {
    struct sterna_error err = {0};
    struct stn_value_header h;
    uint8_t id[16], *data = malloc(bytes + 1);
    number_id(id, n);
    OK(stn_lmdb_header(db, id, field, &h, &err));
    assert_int_equal(h.bytes, bytes);
    fill(data, bytes, n);
    assert_int_equal(h.crc, stn_crc32c(0, data, bytes));
    free(data);
}

/* A store with values 0..n-1 in field 0. */
static void make_store(struct box *b, uint32_t n, size_t bytes) {
    struct sterna_error err = {0};
    struct stn_lmdb *db;
    struct stn_lmdb_writer *w;
    OK(stn_lmdb_acquire(&db, b->store, STN_LMDB_CREATE, &err));
    OK(stn_lmdb_writer_open(&w, db, &err));
    for (uint32_t i = 0; i < n; i++) OK(put_number(w, i, 0, bytes, &err));
    OK(stn_lmdb_writer_commit(w, &err));
    stn_lmdb_writer_close(&w);
    stn_lmdb_release(&db);
    assert_null(db);
}

static void refused_at(int line, struct box *b, enum stn_lmdb_mode mode, int code,
                       const char *words) {
    struct sterna_error err = {0};
    struct stn_lmdb *db;
    int rc = stn_lmdb_acquire(&db, b->store, mode, &err);
    if (rc != code || err.code != code || !strstr(err.message, words) || db)
        fail_msg("line %d: code %d, not %d; message \"%s\" lacks \"%s\"", line, rc, code,
                 err.message, words);
}
#define REFUSED(b, mode, code, words) refused_at(__LINE__, b, mode, code, words)

/* ---- values ---- */

static void test_lmdb_put_find_remove(void **state) {
    struct box *b = *state;
    struct sterna_error err = {0};
    struct stn_lmdb *db;
    struct stn_lmdb_writer *w;
    struct stn_value_header h;
    static const size_t sizes[] = {0, 1, 100, 2000, 2100, 4064, 4065, 110000, 1 << 20};
    OK(stn_lmdb_acquire(&db, b->store, STN_LMDB_CREATE, &err));
    assert_int_equal(stn_lmdb_read_only(db), 0);
    OK(stn_lmdb_writer_open(&w, db, &err));
    for (uint32_t i = 0; i < STN_COUNT(sizes); i++) {
        uint8_t id[16];
        number_id(id, i);
        assert_int_equal(stn_lmdb_writer_find(w, id, 3, &h, NULL), STERNA_ENOTFOUND);
        OK(put_number(w, i, 3, sizes[i], &err));
        OK(stn_lmdb_writer_find(w, id, 3, &h, &err));
        assert_int_equal(h.bytes, sizes[i]);
    }
    uint8_t id[16];
    number_id(id, 0);
    assert_int_equal(stn_lmdb_header(db, id, 3, &h, NULL), STERNA_ENOTFOUND); /* not committed */
    OK(stn_lmdb_writer_commit(w, &err));
    for (uint32_t i = 0; i < STN_COUNT(sizes); i++) check_number(db, i, 3, sizes[i]);
    assert_int_equal(stn_lmdb_header(db, id, 2, &h, &err), STERNA_ENOTFOUND);
    assert_non_null(strstr(err.message, "field 2"));
    stn_error_clear(&err);
    OK(stn_lmdb_writer_remove(w, id, 3, &err));
    assert_int_equal(stn_lmdb_writer_remove(w, id, 3, NULL), STERNA_ENOTFOUND);
    OK(put_number(w, 1, 3, 5000, &err)); /* replaces one byte by another size */
    stn_lmdb_writer_close(&w);           /* forgets both */
    check_number(db, 0, 3, 0);
    check_number(db, 1, 3, 1);
    uint64_t n;
    OK(stn_lmdb_count(db, &n, &err));
    assert_int_equal(n, STN_COUNT(sizes));
    stn_lmdb_release(&db);
}

static void test_lmdb_values_gather_and_stay(void **state) {
    struct box *b = *state;
    struct sterna_error err = {0};
    make_store(b, 1500, 110000); /* more than one transaction */
    struct stn_lmdb *db;
    OK(stn_lmdb_acquire(&db, b->store, STN_LMDB_READ, &err));
    for (uint32_t i = 0; i < 1500; i += 7) check_number(db, i, 0, 110000);
    stn_lmdb_release(&db);
}

/* ---- the registry ---- */

static void test_lmdb_one_environment_a_file(void **state) {
    struct box *b = *state;
    struct sterna_error err = {0};
    make_store(b, 3, 10);
    char other[400];
    snprintf(other, sizeof other, "%s/link", b->dir);
    assert_int_equal(symlink("store", other), 0);
    struct stn_lmdb *reader, *writer, *linked;
    OK(stn_lmdb_acquire(&reader, b->store, STN_LMDB_READ, &err));
    OK(stn_lmdb_acquire(&writer, b->store, STN_LMDB_WRITE, &err));
    OK(stn_lmdb_acquire(&linked, other, STN_LMDB_READ, &err));
    assert_ptr_equal(reader, writer);
    assert_ptr_equal(reader, linked);
    struct stn_lmdb_writer *w, *second;
    OK(stn_lmdb_writer_open(&w, writer, &err));
    assert_int_equal(stn_lmdb_writer_open(&second, writer, &err), STERNA_EBUSY);
    stn_error_clear(&err);
    OK(put_number(w, 9, 0, 10, &err));
    OK(stn_lmdb_writer_commit(w, &err));
    stn_lmdb_writer_close(&w);
    stn_lmdb_release(&writer);
    check_number(reader, 9, 0, 10);
    stn_lmdb_release(&linked);
    stn_lmdb_release(&reader);
    stn_lmdb_release(&reader); /* NULL is fine */
    OK(stn_lmdb_acquire(&reader, b->store, STN_LMDB_READ, &err));
    check_number(reader, 9, 0, 10);
    stn_lmdb_release(&reader);
}

/* ---- files that are not what they should be ---- */

static void write_file(const char *path, const void *data, size_t bytes) {
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    assert_true(fd >= 0);
    assert_int_equal(stn_write_all(fd, data, bytes), 0);
    close(fd);
}

static void overwrite(const char *path, off_t at, const void *data, size_t bytes) {
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, data, bytes, at), (ssize_t)bytes);
    close(fd);
}

static off_t size_of(const char *path) {
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    return st.st_size;
}

static void test_lmdb_missing(void **state) {
    struct box *b = *state;
    REFUSED(b, STN_LMDB_READ, STERNA_ENOTFOUND, b->store);
    REFUSED(b, STN_LMDB_WRITE, STERNA_ENOTFOUND, b->store);
    mkdir(b->store, 0755);
    REFUSED(b, STN_LMDB_READ, STERNA_ENOTFOUND, "no data.mdb");
    struct box deep = *b;
    snprintf(deep.store, sizeof deep.store, "%s/no/store", b->dir);
    REFUSED(&deep, STN_LMDB_CREATE, STERNA_ENOTFOUND, "parent");
    snprintf(deep.store, sizeof deep.store, "%s/file", b->dir);
    write_file(deep.store, "x", 1);
    REFUSED(&deep, STN_LMDB_CREATE, STERNA_ENOTFOUND, "file");
}

static void test_lmdb_foreign_files(void **state) {
    struct box *b = *state;
    mkdir(b->store, 0755);
    static uint8_t noise[20000];
    fill(noise, sizeof noise, 7);
    static const size_t sizes[] = {1, 17, 151, 152, 4096, 8192, sizeof noise};
    for (size_t i = 0; i < STN_COUNT(sizes); i++) {
        write_file(b->data, noise, sizes[i]);
        REFUSED(b, STN_LMDB_READ, STERNA_EFORMAT, "not a sterna store");
        REFUSED(b, STN_LMDB_CREATE, STERNA_EFORMAT, b->data);
        assert_int_equal(size_of(b->data), sizes[i]); /* left as it is */
    }
    unlink(b->data);
    mkdir(b->data, 0755);
    REFUSED(b, STN_LMDB_READ, STERNA_EFORMAT, b->data);
}

static void test_lmdb_truncated(void **state) {
    struct box *b = *state;
    make_store(b, 300, 5000);
    off_t whole = size_of(b->data);
    const off_t sizes[] = {whole - 1, whole - 4096, whole / 2, 3 * 4096, 8193, 8192,
                           8191,      4300,         4096,      200,      100,  20};
    for (size_t i = 0; i < STN_COUNT(sizes); i++) { /* shorter and shorter */
        assert_int_equal(truncate(b->data, sizes[i]), 0);
        char size[40];
        snprintf(size, sizeof size, "is truncated: %lld bytes", (long long)sizes[i]);
        REFUSED(b, STN_LMDB_READ, STERNA_EFORMAT, size);
        REFUSED(b, STN_LMDB_CREATE, STERNA_EFORMAT, size);
    }
}

/* LMDB does not write pages that one transaction takes and gives back, the last ones included. */
static void test_lmdb_short_but_whole(void **state) {
    struct box *b = *state;
    struct sterna_error err = {0};
    make_store(b, 300, 5000);
    struct stn_lmdb *db;
    struct stn_lmdb_writer *w;
    MDB_envinfo info;
    uint8_t id[16];
    OK(stn_lmdb_acquire(&db, b->store, STN_LMDB_WRITE, &err));
    OK(stn_lmdb_writer_open(&w, db, &err));
    for (uint32_t i = 0; i < 4; i++) { /* makes free pages, which LMDB then looks at */
        OK(put_number(w, i, 0, 5000, &err));
        OK(stn_lmdb_writer_commit(w, &err));
    }
    number_id(id, 300);
    OK(put_number(w, 300, 0, 3000000, &err));
    OK(stn_lmdb_writer_remove(w, id, 0, &err));
    OK(stn_lmdb_writer_commit(w, &err));
    stn_lmdb_writer_close(&w);
    assert_int_equal(mdb_env_info(db->env, &info), 0);
    off_t need = (off_t)((info.me_last_pgno + 1) * db->page_bytes);
    stn_lmdb_release(&db);
    if (size_of(b->data) >= need) fail_msg("this LMDB writes all pages: nothing is tested");
    OK(stn_lmdb_acquire(&db, b->store, STN_LMDB_READ, &err));
    check_number(db, 299, 0, 5000);
    stn_lmdb_release(&db);
    assert_int_equal(truncate(b->data, size_of(b->data) / 2), 0);
    REFUSED(b, STN_LMDB_READ, STERNA_EFORMAT, "is truncated");
}

static void test_lmdb_damaged_meta(void **state) {
    static const struct {
        const char *name;
        off_t at;
        uint8_t bytes[8];
        size_t n;
        const char *words;
    } rows[] = {
        {"newer LMDB", 20, {2}, 1, "data version 2"},
        {"page size 0", 16 + 24, {0, 0, 0, 0}, 4, "not a sterna store"},
        {"page size 5000", 16 + 24, {0x88, 0x13}, 4, "not a sterna store"},
        {"root far away", 16 + 112, {0, 0, 0, 0, 1, 0, 0, 0}, 8, "not a sterna store"},
        {"too many pages", 16 + 120, {255, 255, 255, 255, 255, 255, 255, 255}, 8, "not a sterna"},
        {"more pages", 16 + 120, {0, 0, 0, 1}, 8, ""}, /* none of them in use */
    };
    struct box *b = *state;
    struct sterna_error err = {0};
    make_store(b, 30, 5000);
    uint8_t metas[8192];
    void *whole;
    size_t bytes;
    OK(stn_file_read(b->data, 1 << 30, &whole, &bytes, &err));
    memcpy(metas, whole, sizeof metas);
    free(whole);
    for (size_t i = 0; i < STN_COUNT(rows); i++) {
        overwrite(b->data, 0, metas, sizeof metas);
        overwrite(b->data, rows[i].at, rows[i].bytes, rows[i].n);
        overwrite(b->data, 4096 + rows[i].at, rows[i].bytes, rows[i].n);
        struct stn_lmdb *db;
        int rc = stn_lmdb_acquire(&db, b->store, STN_LMDB_READ, &err);
        int want = rows[i].words[0] ? STERNA_EFORMAT : STERNA_OK;
        if (rc != want || !strstr(err.message, rows[i].words))
            fail_msg("%s: %d %s", rows[i].name, rc, err.message);
        stn_lmdb_release(&db);
        stn_error_clear(&err);
    }
}

static void test_lmdb_value_headers(void **state) {
    static const struct {
        const char *name;
        off_t at;
        uint8_t byte;
        int code;
        const char *words[2];
    } rows[] = {
        {"newer version", 0, 2, STERNA_EFORMAT, {"version 2", "version 1"}},
        {"flags", 1, 1, STERNA_EFORMAT, {"flags 1", "version 1"}},
        {"length", 8, 99, STERNA_ECORRUPT, {"99", "the index 3"}},
    };
    struct box *b = *state;
    struct sterna_error err = {0};
    uint8_t id[16];
    make_store(b, 5, 3);
    number_id(id, 2);
    for (size_t i = 0; i < STN_COUNT(rows); i++) {
        struct stn_lmdb *db;
        struct stn_lmdb_span span;
        struct stn_value_header h;
        MDB_txn *txn = NULL;
        MDB_cursor *cursor;
        OK(stn_lmdb_acquire(&db, b->store, STN_LMDB_READ, &err));
        OK(stn_lmdb_read_begin(db, &txn, &err));
        assert_int_equal(mdb_cursor_open(txn, db->dbi, &cursor), 0);
        OK(stn_lmdb_locate(db, cursor, id, 0, &span, &err));
        mdb_cursor_close(cursor);
        stn_lmdb_read_end(db, txn);
        mdb_txn_abort(txn);
        uint8_t before;
        OK(stn_pread_all(db->fd, &before, 1, span.offset + rows[i].at));
        overwrite(b->data, span.offset + rows[i].at, &rows[i].byte, 1);
        int rc = stn_lmdb_header(db, id, 0, &h, &err);
        if (rc != rows[i].code || !strstr(err.message, rows[i].words[0]) ||
            !strstr(err.message, rows[i].words[1]) || !strstr(err.message, "field 0"))
            fail_msg("%s: %d %s", rows[i].name, rc, err.message);
        stn_error_clear(&err);
        overwrite(b->data, span.offset + rows[i].at, &before, 1);
        check_number(db, 2, 0, 3);
        stn_lmdb_release(&db);
    }
}

/* Creation cut short: by a kill (no bytes) or by a power cut (zeros). */
static void test_lmdb_half_created(void **state) {
    struct box *b = *state;
    struct sterna_error err = {0};
    static const size_t sizes[] = {0, 4096, 8192};
    static const uint8_t zeros[8192];
    mkdir(b->store, 0755);
    for (size_t i = 0; i < STN_COUNT(sizes); i++) {
        write_file(b->data, zeros, sizes[i]);
        REFUSED(b, STN_LMDB_READ, STERNA_EFORMAT, "cut short");
        struct stn_lmdb *db;
        OK(stn_lmdb_acquire(&db, b->store, i % 2 ? STN_LMDB_WRITE : STN_LMDB_CREATE, &err));
        stn_lmdb_release(&db);
        make_store(b, 4, 100);
        OK(stn_lmdb_acquire(&db, b->store, STN_LMDB_READ, &err));
        check_number(db, 3, 0, 100);
        stn_lmdb_release(&db);
    }
}

static void test_lmdb_of_another_program(void **state) {
    struct box *b = *state;
    mkdir(b->store, 0755);
    MDB_env *env;
    MDB_txn *txn;
    MDB_dbi dbi;
    MDB_val key = {3, "abc"}, value = {5, "hello"};
    assert_int_equal(mdb_env_create(&env), 0);
    assert_int_equal(mdb_env_open(env, b->store, 0, 0644), 0);
    assert_int_equal(mdb_txn_begin(env, NULL, 0, &txn), 0);
    assert_int_equal(mdb_dbi_open(txn, NULL, 0, &dbi), 0);
    assert_int_equal(mdb_put(txn, dbi, &key, &value, 0), 0);
    assert_int_equal(mdb_txn_commit(txn), 0);
    mdb_env_close(env);
    REFUSED(b, STN_LMDB_READ, STERNA_EFORMAT, "another program");
    REFUSED(b, STN_LMDB_CREATE, STERNA_EFORMAT, "another program");
}

int main(void) {
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_lmdb_put_find_remove),        TEST(test_lmdb_values_gather_and_stay),
        TEST(test_lmdb_one_environment_a_file), TEST(test_lmdb_missing),
        TEST(test_lmdb_foreign_files),          TEST(test_lmdb_truncated),
        TEST(test_lmdb_short_but_whole),        TEST(test_lmdb_damaged_meta),
        TEST(test_lmdb_value_headers),          TEST(test_lmdb_half_created),
        TEST(test_lmdb_of_another_program),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
