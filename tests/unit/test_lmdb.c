/* The embedded store's environment and writer. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/check.h"
#include "support/temporary.h"

#include "base/bytes.h"
#include "base/file.h"
#include "source/lmdb_env.h"

struct box {
    char *dir; /* removed afterwards */
    char store[300];
    char data[320];
};

static int setup(void **state) {
    struct box *b = stn_array(1, sizeof *b);
    b->dir = test_dir_make();
    chmod(b->dir, 0755);
    snprintf(b->store, sizeof b->store, "%s/store", b->dir);
    snprintf(b->data, sizeof b->data, "%s/data.mdb", b->store);
    *state = b;
    return 0;
}

static int teardown(void **state) {
    struct box *b = *state;
    umount2(b->dir, MNT_DETACH); /* test_lmdb_full_disk failed half-way */
    test_dir_remove(&b->dir);
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
        snprintf(size, sizeof size, "truncated: %lld bytes", (long long)sizes[i]);
        REFUSED(b, STN_LMDB_READ, STERNA_EFORMAT, size);
        REFUSED(b, STN_LMDB_WRITE, STERNA_EFORMAT, size);
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

static void put_le(uint8_t *to, uint64_t v, int bytes) {
    for (int i = 0; i < bytes; i++) to[i] = (uint8_t)(v >> (8 * i));
}

/* Thirty levels of pages, each of which names the next one 200 times: no walk of all of it ends. */
static void test_lmdb_endless_tree(void **state) {
    struct box *b = *state;
    enum { PAGE = 4096, LEVELS = 30, NODES = 200 };
    static uint8_t file[(2 + LEVELS) * PAGE];
    for (int i = 0; i < 2; i++) {
        uint8_t *page = file + i * PAGE, *meta = page + 16;
        put_le(page + 10, 8, 2); /* flags of a meta page */
        put_le(meta, 0xBEEFC0DE, 4);
        put_le(meta + 4, 1, 4);
        put_le(meta + 24, PAGE, 4);
        put_le(meta + 24 + 40, UINT64_MAX, 8); /* no free list */
        put_le(meta + 72 + 6, LEVELS, 2);
        put_le(meta + 72 + 40, 2, 8);             /* root */
        put_le(meta + 120, UINT64_C(1) << 40, 8); /* last page */
        put_le(meta + 128, 1, 8);
    }
    for (unsigned level = 0; level < LEVELS; level++) {
        uint8_t *page = file + (2 + level) * PAGE;
        int leaf = level == LEVELS - 1;
        put_le(page, 2 + level, 8);
        put_le(page + 10, leaf ? 2 : 1, 2);
        put_le(page + 12, leaf ? 16 : 16 + 2 * NODES, 2);
        for (int i = 0; !leaf && i < NODES; i++) {
            put_le(page + 16 + 2 * i, 2000, 2);
            put_le(page + 2000, 3 + level, 4);
        }
    }
    mkdir(b->store, 0755);
    write_file(b->data, file, sizeof file);
    REFUSED(b, STN_LMDB_READ, STERNA_EFORMAT, "is damaged");
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

/* Creation cut short in its first write: one meta page of the two, or zeros for the other. */
static void test_lmdb_half_written_meta(void **state) {
    struct box *b = *state;
    struct sterna_error err = {0};
    static const off_t sizes[][2] = {{4096, 4096}, {4096, 8192}, {6000, 6000}, {4096, 20000}};
    for (size_t i = 0; i < STN_COUNT(sizes); i++) {
        struct stn_lmdb *db;
        OK(stn_lmdb_acquire(&db, b->store, STN_LMDB_CREATE, &err));
        stn_lmdb_release(&db);
        if (sizes[i][0] % 4096 == 0) assert_int_equal(truncate(b->data, sizes[i][0]), 0);
        assert_int_equal(truncate(b->data, sizes[i][1]), 0);
        if (sizes[i][0] % 4096 != 0) { /* half a meta page is none */
            REFUSED(b, STN_LMDB_CREATE, STERNA_EFORMAT, "truncated");
            assert_int_equal(unlink(b->data), 0);
            continue;
        }
        REFUSED(b, STN_LMDB_READ, STERNA_EFORMAT, "cut short");
        make_store(b, 4, 100);
        OK(stn_lmdb_acquire(&db, b->store, STN_LMDB_READ, &err));
        check_number(db, 3, 0, 100);
        stn_lmdb_release(&db);
        assert_int_equal(unlink(b->data), 0);
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
        REFUSED(b, STN_LMDB_WRITE, STERNA_EFORMAT, "cut short");
        struct stn_lmdb *db;
        OK(stn_lmdb_acquire(&db, b->store, STN_LMDB_CREATE, &err));
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

/* ---- other processes ---- */

static void child_at(int line, pid_t child, int signal_wanted) {
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    if (signal_wanted ? !WIFSIGNALED(status) || WTERMSIG(status) != signal_wanted
                      : !WIFEXITED(status) || WEXITSTATUS(status) != 0)
        fail_msg("line %d: child ended with status 0x%x", line, (unsigned)status);
}
#define CHILD(pid, signal_wanted) child_at(__LINE__, pid, signal_wanted)

static int forked(struct box *b, struct stn_lmdb *inherited, struct stn_lmdb_writer *w) {
    struct sterna_error err = {0};
    struct stn_lmdb *own, *copy = inherited;
    struct stn_value_header h;
    uint8_t id[16];
    number_id(id, 2);
    stn_lmdb_writer_close(&w);
    stn_lmdb_release(&copy);
    if (stn_lmdb_acquire(&own, b->store, STN_LMDB_READ, &err) < 0 || own == inherited) return 1;
    if (stn_lmdb_header(own, id, 0, &h, &err) < 0 || h.bytes != 500) return 2;
    stn_lmdb_release(&own);
    if (stn_lmdb_acquire(&own, b->store, STN_LMDB_READ, &err) < 0) return 3;
    stn_lmdb_release(&own);
    return 0;
}

static void test_lmdb_fork(void **state) {
    struct box *b = *state;
    struct sterna_error err = {0};
    struct stn_lmdb *db;
    struct stn_lmdb_writer *w;
    make_store(b, 3, 500);
    OK(stn_lmdb_acquire(&db, b->store, STN_LMDB_WRITE, &err));
    OK(stn_lmdb_writer_open(&w, db, &err));
    OK(put_number(w, 3, 0, 500, &err)); /* its transaction is open across the fork */
    pid_t child = fork();
    if (child == 0) _exit(forked(b, db, w));
    CHILD(child, 0);
    OK(stn_lmdb_writer_commit(w, &err));
    stn_lmdb_writer_close(&w);
    check_number(db, 3, 0, 500);
    stn_lmdb_release(&db);
}

static int write_and_die(struct box *b, uint32_t from, uint32_t committed) {
    struct sterna_error err = {0};
    struct stn_lmdb *db;
    struct stn_lmdb_writer *w;
    if (stn_lmdb_acquire(&db, b->store, STN_LMDB_CREATE, &err) < 0) return 1;
    if (stn_lmdb_writer_open(&w, db, &err) < 0) return 2;
    for (uint32_t i = 0; i < committed; i++)
        if (put_number(w, from + i, 0, 9000, &err) < 0) return 3;
    if (stn_lmdb_writer_commit(w, &err) < 0) return 4;
    for (uint32_t i = 0; i < 50; i++)
        if (put_number(w, from + committed + i, 0, 9000, &err) < 0) return 5;
    return kill(getpid(), SIGKILL); /* holding the writer's lock */
}

static void test_lmdb_killed_writer(void **state) {
    struct box *b = *state;
    struct sterna_error err = {0};
    struct stn_lmdb *db = NULL;
    struct stn_value_header h;
    uint8_t id[16];
    for (uint32_t round = 0; round < 4; round++) { /* in the second half somebody has it open */
        if (round == 2) OK(stn_lmdb_acquire(&db, b->store, STN_LMDB_WRITE, &err));
        pid_t child = fork();
        if (child == 0) _exit(write_and_die(b, round * 1000, 20));
        CHILD(child, SIGKILL);
        struct stn_lmdb *now;
        struct stn_lmdb_writer *w;
        OK(stn_lmdb_acquire(&now, b->store, STN_LMDB_WRITE, &err));
        check_number(now, round * 1000 + 19, 0, 9000);
        number_id(id, round * 1000 + 20);
        assert_int_equal(stn_lmdb_header(now, id, 0, &h, NULL), STERNA_ENOTFOUND);
        OK(stn_lmdb_writer_open(&w, now, &err)); /* not blocked by the dead one */
        OK(put_number(w, round * 1000 + 20, 0, 9000, &err));
        OK(stn_lmdb_writer_commit(w, &err));
        stn_lmdb_writer_close(&w);
        check_number(now, round * 1000 + 20, 0, 9000);
        stn_lmdb_release(&now);
    }
    for (uint32_t round = 0; round < 4; round++) check_number(db, round * 1000 + 20, 0, 9000);
    stn_lmdb_release(&db);
}

/* Readers that are killed leave their slots behind; 1024 of them would block everybody. */
static int read_and_die(struct box *b, int n_readers) {
    struct sterna_error err = {0};
    struct stn_lmdb *db;
    if (stn_lmdb_acquire(&db, b->store, STN_LMDB_READ, &err) < 0) return 1;
    for (int i = 0; i < n_readers; i++) {
        MDB_txn *txn = NULL;
        int rc = stn_lmdb_read_begin(db, &txn, &err);
        if (rc < 0) return rc == STERNA_EBUSY ? 2 : 3;
    }
    return kill(getpid(), SIGKILL);
}

static void test_lmdb_killed_readers(void **state) {
    struct box *b = *state;
    struct sterna_error err = {0};
    struct stn_lmdb *db;
    make_store(b, 3, 100);
    OK(stn_lmdb_acquire(&db, b->store, STN_LMDB_READ, &err));
    for (int round = 0; round < 2; round++) {
        pid_t child = fork();
        if (child == 0) _exit(read_and_die(b, 1023));
        CHILD(child, SIGKILL);
        MDB_txn *txn[2] = {NULL, NULL}; /* more than there are slots left */
        OK(stn_lmdb_read_begin(db, &txn[0], &err));
        OK(stn_lmdb_read_begin(db, &txn[1], &err));
        for (int i = 0; i < 2; i++) {
            stn_lmdb_read_end(db, txn[i]);
            mdb_txn_abort(txn[i]);
        }
    }
    MDB_txn *txn[1025] = {NULL};
    int n = 0, rc = STERNA_OK;
    while (n < 1025 && (rc = stn_lmdb_read_begin(db, &txn[n], &err)) == STERNA_OK) n++;
    assert_int_equal(rc, STERNA_EBUSY); /* all alive: said so */
    while (n-- > 0) {
        stn_lmdb_read_end(db, txn[n]);
        mdb_txn_abort(txn[n]);
    }
    stn_lmdb_release(&db);
}

static int create_and_write(struct box *b, uint32_t from, int gate_fd) {
    struct sterna_error err = {0};
    struct stn_lmdb *db;
    struct stn_lmdb_writer *w;
    char go;
    if (read(gate_fd, &go, 1) != 0) return 1; /* until the parent lets all go at once */
    if (stn_lmdb_acquire(&db, b->store, STN_LMDB_CREATE, &err) < 0) return 2;
    for (uint32_t i = 0; i < 5; i++) {
        if (stn_lmdb_writer_open(&w, db, &err) < 0) return 3;
        if (put_number(w, from + i, 0, 3000, &err) < 0) return 4;
        if (stn_lmdb_writer_commit(w, &err) < 0) return 5;
        stn_lmdb_writer_close(&w);
    }
    stn_lmdb_release(&db);
    return 0;
}

static void test_lmdb_many_creators(void **state) {
    struct box *b = *state;
    struct sterna_error err = {0};
    enum { CHILDREN = 6 };
    pid_t children[CHILDREN];
    int gate[2];
    assert_int_equal(pipe(gate), 0);
    for (uint32_t i = 0; i < CHILDREN; i++) {
        children[i] = fork();
        if (children[i] == 0) {
            close(gate[1]);
            _exit(create_and_write(b, i * 100, gate[0]));
        }
    }
    close(gate[1]);
    close(gate[0]);
    for (int i = 0; i < CHILDREN; i++) CHILD(children[i], 0);
    struct stn_lmdb *db;
    OK(stn_lmdb_acquire(&db, b->store, STN_LMDB_READ, &err));
    for (uint32_t i = 0; i < CHILDREN * 5; i++) check_number(db, i / 5 * 100 + i % 5, 0, 3000);
    stn_lmdb_release(&db);
}

/* ---- growth ---- */

static void test_lmdb_grows(void **state) {
    struct box *b = *state;
    struct sterna_error err = {0};
    struct stn_lmdb *db;
    struct stn_lmdb_writer *w;
    MDB_envinfo info;
    size_t whole = stn_lmdb_map_bytes;
    stn_lmdb_map_bytes = 1 << 17;
    OK(stn_lmdb_acquire(&db, b->store, STN_LMDB_CREATE, &err));
    OK(stn_lmdb_writer_open(&w, db, &err));
    static const size_t sizes[] = {100, 5000, 3000000, 30, 0, 90000000, 200};
    uint32_t n = 0;
    for (int round = 0; round < 40; round++)
        for (size_t i = 0; i < STN_COUNT(sizes); i++)
            if (sizes[i] < 10000 || round % 20 == 0) {
                OK(put_number(w, n, (uint8_t)i, sizes[i], &err));
                n++;
            }
    OK(stn_lmdb_writer_commit(w, &err));
    stn_lmdb_writer_close(&w);
    stn_lmdb_map_bytes = whole;
    assert_int_equal(mdb_env_info(db->env, &info), 0);
    assert_true(info.me_mapsize > 180000000);
    stn_lmdb_release(&db);
    OK(stn_lmdb_acquire(&db, b->store, STN_LMDB_READ, &err));
    n = 0;
    for (int round = 0; round < 40; round++)
        for (size_t i = 0; i < STN_COUNT(sizes); i++)
            if (sizes[i] < 10000 || round % 20 == 0) {
                check_number(db, n, (uint8_t)i, sizes[i]);
                n++;
            }
    stn_lmdb_release(&db);
}

struct growing {
    struct stn_lmdb *db;
    size_t need;
    int rc;
};

static void *grow(void *arg) {
    struct growing *g = arg;
    g->rc = stn_lmdb_grow(g->db, g->need, NULL);
    return NULL;
}

static size_t map_size(struct stn_lmdb *db) {
    MDB_envinfo info;
    assert_int_equal(mdb_env_info(db->env, &info), 0);
    return info.me_mapsize;
}

/* LMDB would pull the map away from under them. */
static void test_lmdb_growth_waits_for_transactions(void **state) {
    struct box *b = *state;
    struct sterna_error err = {0};
    struct growing g = {0};
    size_t whole = stn_lmdb_map_bytes;
    stn_lmdb_map_bytes = 1 << 20;
    make_store(b, 3, 100);
    OK(stn_lmdb_acquire(&g.db, b->store, STN_LMDB_WRITE, &err));
    stn_lmdb_map_bytes = whole;
    for (int writing = 0; writing < 2; writing++) {
        MDB_txn *txn = NULL;
        struct stn_lmdb_writer *w = NULL;
        pthread_t thread;
        size_t before = map_size(g.db);
        unsigned waiting = 0;
        if (writing) {
            OK(stn_lmdb_writer_open(&w, g.db, &err));
            OK(put_number(w, 7, 0, 100, &err));
        } else {
            OK(stn_lmdb_read_begin(g.db, &txn, &err));
        }
        g.need = before * 2;
        assert_int_equal(pthread_create(&thread, NULL, grow, &g), 0);
        while (waiting == 0 && map_size(g.db) == before) {
            pthread_mutex_lock(&g.db->gate.mutex);
            waiting = g.db->gate.remappers;
            assert_int_equal(g.db->gate.remapping, 0);
            pthread_mutex_unlock(&g.db->gate.mutex);
            sched_yield();
        }
        assert_int_equal(map_size(g.db), before);
        if (writing) {
            check_number(g.db, 1, 0, 100); /* the writer's thread may read meanwhile */
            OK(stn_lmdb_writer_commit(w, &err));
            stn_lmdb_writer_close(&w);
        } else {
            stn_lmdb_read_end(g.db, txn);
        }
        pthread_join(thread, NULL);
        if (txn) mdb_txn_abort(txn);
        assert_int_equal(g.rc, STERNA_OK);
        assert_true(map_size(g.db) >= g.need);
        check_number(g.db, 2, 0, 100);
    }
    stn_lmdb_release(&g.db);
}

static int write_numbers(struct box *b, uint32_t from, uint32_t n, size_t bytes) {
    struct sterna_error err = {0};
    struct stn_lmdb *db;
    struct stn_lmdb_writer *w;
    if (stn_lmdb_acquire(&db, b->store, STN_LMDB_WRITE, &err) < 0) return 1;
    if (stn_lmdb_writer_open(&w, db, &err) < 0) return 2;
    for (uint32_t i = 0; i < n; i++)
        if (put_number(w, from + i, 0, bytes, &err) < 0) return 3;
    if (stn_lmdb_writer_commit(w, &err) < 0) return 4;
    stn_lmdb_writer_close(&w);
    stn_lmdb_release(&db);
    return 0;
}

static void test_lmdb_another_process_grows_it(void **state) {
    struct box *b = *state;
    struct sterna_error err = {0};
    struct stn_lmdb *db;
    make_store(b, 3, 100);
    size_t whole = stn_lmdb_map_bytes;
    stn_lmdb_map_bytes = 1 << 17;
    OK(stn_lmdb_acquire(&db, b->store, STN_LMDB_WRITE, &err));
    stn_lmdb_map_bytes = whole;
    check_number(db, 1, 0, 100);
    for (uint32_t round = 0; round < 2; round++) {
        pid_t child = fork();
        if (child == 0) _exit(write_numbers(b, 1000 * round, 200, (size_t)100000 << (3 * round)));
        CHILD(child, 0);
        if (round == 0) check_number(db, 199, 0, 100000); /* the reader finds it grown */
    }
    struct stn_lmdb_writer *w; /* the writer does */
    OK(stn_lmdb_writer_open(&w, db, &err));
    OK(put_number(w, 5000, 0, 100, &err));
    OK(stn_lmdb_writer_commit(w, &err));
    stn_lmdb_writer_close(&w);
    check_number(db, 5000, 0, 100);
    check_number(db, 1199, 0, 800000);
    stn_lmdb_release(&db);
}

/* Without address space for 1 TiB (ulimit -v) it works all the same, up to the limit. */
static int little_address_space(struct box *b) {
    struct sterna_error err = {0};
    struct stn_lmdb *db;
    struct stn_lmdb_writer *w;
    struct rlimit limit = {(rlim_t)600 << 20, (rlim_t)600 << 20};
    if (setrlimit(RLIMIT_AS, &limit) < 0) return 1;
    if (stn_lmdb_acquire(&db, b->store, STN_LMDB_CREATE, &err) < 0) return 2;
    if (stn_lmdb_writer_open(&w, db, &err) < 0) return 3;
    uint32_t n = 0;
    int rc = STERNA_OK;
    while (n < 1000 && rc == STERNA_OK) rc = put_number(w, n++, 0, 1 << 20, &err);
    if (n < 150 || rc != STERNA_ENOMEM || !strstr(err.message, "ulimit")) return 4;
    stn_error_clear(&err);
    if (put_number(w, 1, 0, 10, &err) != STERNA_ENOMEM) return 5; /* stays failed */
    stn_lmdb_writer_close(&w);
    struct stn_value_header h;
    uint8_t id[16];
    number_id(id, 60); /* of an earlier transaction */
    if (stn_lmdb_header(db, id, 0, &h, &err) < 0) return 6;
    stn_lmdb_release(&db);
    return 0;
}

#if defined __SANITIZE_ADDRESS__ || defined __SANITIZE_THREAD__
enum { SANITIZED = 1 };
#else
enum { SANITIZED = 0 };
#endif

static void test_lmdb_little_address_space(void **state) {
    if (SANITIZED) {
        print_message("sanitizers need terabytes of address space themselves\n");
        skip();
    }
    pid_t child = fork();
    if (child == 0) _exit(little_address_space(*state));
    CHILD(child, 0);
}

/* ---- a full disk ---- */

static void fill_disk(const char *dir) {
    char path[400];
    static const uint8_t zeros[4096];
    snprintf(path, sizeof path, "%s/filler", dir);
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    assert_true(fd >= 0);
    while (write(fd, zeros, sizeof zeros) > 0) {}
    close(fd);
}

static void on_full_disk(struct box *b) {
    struct sterna_error err = {0};
    struct stn_lmdb *db;
    struct stn_lmdb_writer *w;
    make_store(b, 20, 20000);
    OK(stn_lmdb_acquire(&db, b->store, STN_LMDB_WRITE, &err));
    OK(stn_lmdb_writer_open(&w, db, &err));
    int rc = STERNA_OK;
    for (uint32_t n = 20; n < 4000 && rc == STERNA_OK; n++) {
        rc = put_number(w, n, 0, 20000, &err);
        if (rc == STERNA_OK && n % 100 == 99) rc = stn_lmdb_writer_commit(w, &err);
    }
    if (rc != STERNA_EIO || err.sys_errno != ENOSPC || !strstr(err.message, "disk is full") ||
        !strstr(err.message, b->data))
        fail_msg("%d %d %s", rc, err.sys_errno, err.message);
    stn_error_clear(&err);
    assert_int_equal(stn_lmdb_writer_commit(w, NULL), STERNA_EIO);
    stn_lmdb_writer_close(&w);
    check_number(db, 99, 0, 20000); /* committed before */
    stn_lmdb_release(&db);
    fill_disk(b->dir);
    OK(stn_lmdb_acquire(&db, b->store, STN_LMDB_READ, &err)); /* to read needs no space */
    check_number(db, 99, 0, 20000);
    stn_lmdb_release(&db);
    char lock[330];
    snprintf(lock, sizeof lock, "%s/lock.mdb", b->store);
    assert_int_equal(unlink(lock), 0);
    fill_disk(b->dir);
    OK(stn_lmdb_acquire(&db, b->store, STN_LMDB_READ, &err)); /* not even for the lock file */
    check_number(db, 19, 0, 20000);
    stn_lmdb_release(&db);
    REFUSED(b, STN_LMDB_WRITE, STERNA_EIO, "disk is full");
    char filler[400];
    snprintf(filler, sizeof filler, "%s/filler", b->dir);
    assert_int_equal(unlink(filler), 0);
    assert_int_equal(write_numbers(b, 50000, 10, 20000), 0);
    OK(stn_lmdb_acquire(&db, b->store, STN_LMDB_READ, &err));
    check_number(db, 50009, 0, 20000);
    stn_lmdb_release(&db);
}

static void test_lmdb_full_disk(void **state) {
    struct box *b = *state;
    if (mount("tmpfs", b->dir, "tmpfs", 0, "size=24m") < 0) {
        print_message("no small file system can be mounted here: %s\n", strerror(errno));
        skip();
    }
    on_full_disk(b);
    assert_int_equal(umount2(b->dir, MNT_DETACH), 0);
}

/* ---- limits ---- */

static void test_lmdb_large_values(void **state) {
    struct box *b = *state;
    struct sterna_error err = {0};
    struct stn_lmdb *db;
    struct stn_lmdb_writer *w;
    OK(stn_lmdb_acquire(&db, b->store, STN_LMDB_CREATE, &err));
    OK(stn_lmdb_writer_open(&w, db, &err));
    for (uint32_t n = 0; n < 5; n++) OK(put_number(w, n, 0, 30000000, &err));
    uint8_t id[16] = {0};
    assert_int_equal(stn_lmdb_writer_put(w, id, 0, id, STN_LMDB_VALUE_MAX + 1, 0, &err),
                     STERNA_EINVAL);
    assert_non_null(strstr(err.message, "2147418080"));
    stn_error_clear(&err);
    OK(stn_lmdb_writer_commit(w, &err)); /* a refused value spoils nothing */
    stn_lmdb_writer_close(&w);
    for (uint32_t n = 0; n < 5; n++) check_number(db, n, 0, 30000000);
    stn_lmdb_release(&db);
}

/* ---- permissions: as another user, because they do not hold root back ---- */

static int read_as_nobody(struct box *b, int read_only) {
    struct sterna_error err = {0};
    struct stn_lmdb *db;
    struct stn_lmdb_writer *w;
    struct stn_value_header h;
    uint8_t id[16];
    number_id(id, 1);
    if (geteuid() == 0 && (setgid(65534) < 0 || setuid(65534) < 0)) return 1;
    if (stn_lmdb_acquire(&db, b->store, STN_LMDB_READ, &err) < 0) return 2;
    if (stn_lmdb_read_only(db) != read_only) return 3;
    if (stn_lmdb_header(db, id, 0, &h, &err) < 0 || h.bytes != 100) return 4;
    int rc = stn_lmdb_writer_open(&w, db, &err);
    if (rc != (read_only ? STERNA_EREADONLY : STERNA_OK)) return 5;
    stn_error_clear(&err);
    stn_lmdb_writer_close(&w);
    struct stn_lmdb *writer;
    rc = stn_lmdb_acquire(&writer, b->store, STN_LMDB_WRITE, &err); /* shared */
    if (rc != (read_only ? STERNA_EREADONLY : STERNA_OK)) return 6;
    stn_lmdb_release(&writer);
    stn_lmdb_release(&db);
    stn_error_clear(&err);
    rc = stn_lmdb_acquire(&writer, b->store, STN_LMDB_CREATE, &err); /* its own */
    if (rc != (read_only ? STERNA_EREADONLY : STERNA_OK)) return 7;
    stn_lmdb_release(&writer);
    return 0;
}

static void test_lmdb_permissions(void **state) {
    static const struct {
        const char *name;
        mode_t dir, data, lock; /* lock 0: there is none */
        int read_only;
    } rows[] = {
        {"all of it", 0777, 0666, 0666, 0},
        {"data only to read", 0777, 0444, 0666, 1},
        {"lock only to read", 0777, 0666, 0444, 1},
        {"nothing", 0555, 0444, 0444, 1},
        {"no lock, may make one", 0777, 0666, 0, 0},
        {"no lock, may not", 0555, 0444, 0, 1},
        {"files but not the directory", 0555, 0666, 0666, 0},
    };
    struct box *b = *state;
    make_store(b, 3, 100);
    char lock[330];
    snprintf(lock, sizeof lock, "%s/lock.mdb", b->store);
    for (size_t i = 0; i < STN_COUNT(rows); i++) {
        close(open(lock, O_RDONLY | O_CREAT | O_CLOEXEC, 0666));
        assert_int_equal(rows[i].lock ? chmod(lock, rows[i].lock) : unlink(lock), 0);
        assert_int_equal(chmod(b->data, rows[i].data), 0);
        assert_int_equal(chmod(b->store, rows[i].dir), 0);
        pid_t child = fork();
        if (child == 0) _exit(read_as_nobody(b, rows[i].read_only));
        int status;
        waitpid(child, &status, 0);
        chmod(b->store, 0755);
        if (status) fail_msg("%s: 0x%x", rows[i].name, (unsigned)status);
    }
    if (geteuid() != 0) return;
    struct sterna_error err = {0};
    struct stn_lmdb *db;
    struct stat st;
    assert_int_equal(unlink(lock), 0);
    assert_int_equal(chown(b->data, 65534, 65534), 0);
    OK(stn_lmdb_acquire(&db, b->store, STN_LMDB_READ, &err)); /* root makes the lock file */
    stn_lmdb_release(&db);
    assert_int_equal(stat(lock, &st), 0);
    assert_int_equal(st.st_uid, 65534); /* and leaves it to the owner */
}

/* ---- threads ---- */

struct elsewhere { /* one step of a writer's work, on a thread of its own */
    struct stn_lmdb_writer *w;
    uint32_t n;
    enum { PUT, COMMIT, CLOSE } step;
    int rc;
    struct sterna_error err;
};

static void *work_elsewhere(void *arg) {
    struct elsewhere *e = arg;
    if (e->step == PUT) e->rc = put_number(e->w, e->n, 0, 100, &e->err);
    if (e->step == COMMIT) e->rc = stn_lmdb_writer_commit(e->w, &e->err);
    if (e->step == CLOSE) stn_lmdb_writer_close(&e->w);
    return NULL;
}

static void elsewhere(struct stn_lmdb_writer *w, int step, uint32_t n) {
    struct elsewhere e = {.w = w, .step = step, .n = n};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, work_elsewhere, &e), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    if (e.rc < 0) fail_msg("step %d of value %u: code %d: %s", step, n, e.rc, e.err.message);
}

/* LMDB's lock is the thread's that took it; a writer is whoever's calls it. */
static void test_lmdb_writer_changes_threads(void **state) {
    struct box *b = *state;
    struct sterna_error err = {0};
    for (uint32_t round = 0; round < 3; round++) {
        struct stn_lmdb *db;
        struct stn_lmdb_writer *w;
        OK(stn_lmdb_acquire(&db, b->store, STN_LMDB_CREATE, &err));
        OK(stn_lmdb_writer_open(&w, db, &err));
        OK(put_number(w, 10 * round, 0, 100, &err));
        elsewhere(w, COMMIT, 0);
        elsewhere(w, PUT, 10 * round + 1);
        OK(put_number(w, 10 * round + 2, 0, 100, &err));
        OK(stn_lmdb_writer_commit(w, &err));
        OK(put_number(w, 10 * round + 3, 0, 100, &err));
        elsewhere(w, CLOSE, 0); /* forgets the last one */
        for (uint32_t i = 0; i < 3; i++) check_number(db, 10 * round + i, 0, 100);
        struct stn_value_header h;
        uint8_t id[16];
        number_id(id, 10 * round + 3);
        assert_int_equal(stn_lmdb_header(db, id, 0, &h, NULL), STERNA_ENOTFOUND);
        stn_lmdb_release(&db);
    }
}

int main(void) {
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_lmdb_writer_changes_threads),
        TEST(test_lmdb_put_find_remove),
        TEST(test_lmdb_values_gather_and_stay),
        TEST(test_lmdb_one_environment_a_file),
        TEST(test_lmdb_missing),
        TEST(test_lmdb_foreign_files),
        TEST(test_lmdb_truncated),
        TEST(test_lmdb_short_but_whole),
        TEST(test_lmdb_damaged_meta),
        TEST(test_lmdb_value_headers),
        TEST(test_lmdb_endless_tree),
        TEST(test_lmdb_half_written_meta),
        TEST(test_lmdb_half_created),
        TEST(test_lmdb_of_another_program),
        TEST(test_lmdb_fork),
        TEST(test_lmdb_killed_writer),
        TEST(test_lmdb_killed_readers),
        TEST(test_lmdb_many_creators),
        TEST(test_lmdb_grows),
        TEST(test_lmdb_growth_waits_for_transactions),
        TEST(test_lmdb_another_process_grows_it),
        TEST(test_lmdb_little_address_space),
        TEST(test_lmdb_full_disk),
        TEST(test_lmdb_large_values),
        TEST(test_lmdb_permissions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
