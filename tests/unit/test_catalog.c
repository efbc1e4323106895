/* The catalogue at the level of stn_catalog_*: files, runs, rows. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "catalog/catalog.h"
#include "support/temporary.h"

static const uint8_t dataset[16] = "data set 0000001";

struct fixture {
    char *dir;
    const char *path;
    struct stn_catalog *c;
    struct sterna_error err;
};

static int setup(void **state) {
    struct fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    f->dir = test_dir_make();
    f->path = strdup(test_path(f->dir, "catalog.sqlite"));
    *state = f;
    return 0;
}

static int teardown(void **state) {
    struct fixture *f = *state;
    stn_catalog_close(&f->c);
    test_dir_remove(&f->dir);
    free((char *)(uintptr_t)f->path);
    free(f);
    return 0;
}

#define ok(f, call)                                                                                \
    do {                                                                                           \
        stn_error_clear(&(f)->err);                                                                \
        int ok_rc = (call);                                                                        \
        if (ok_rc != STERNA_OK) fail_msg("%s: %d: %s", #call, ok_rc, (f)->err.message);            \
    } while (0)

#define fails(f, code_, text, call)                                                                \
    do {                                                                                           \
        stn_error_clear(&(f)->err);                                                                \
        int fails_rc = (call);                                                                     \
        if (fails_rc != (code_)) fail_msg("%s: %d: %s", #call, fails_rc, (f)->err.message);        \
        if (!strstr((f)->err.message, text))                                                       \
            fail_msg("%s: '%s' says nothing of '%s'", #call, (f)->err.message, text);              \
    } while (0)

static void open_new(struct fixture *f) {
    ok(f, stn_catalog_create(f->path, dataset, &f->err));
    ok(f, stn_catalog_open(&f->c, f->path, STN_CATALOG_WRITE, &f->err));
}

static struct stn_cell cell_int(const char *column, int64_t i) {
    return (struct stn_cell){column, {.type = STERNA_INT, .i = i}};
}
static struct stn_cell cell_real(const char *column, double r) {
    return (struct stn_cell){column, {.type = STERNA_REAL, .r = r}};
}
static struct stn_cell cell_text(const char *column, const char *text) {
    return (struct stn_cell){column,
                             {.type = STERNA_TEXT, .text = text, .text_bytes = strlen(text)}};
}
static struct stn_cell cell_null(const char *column) { return (struct stn_cell){.column = column}; }

static struct stn_row row_of(uint32_t number, const struct stn_cell *cells, size_t n) {
    struct stn_row row = {.cells = cells, .n_cells = n};
    memcpy(row.id, &number, sizeof number);
    return row;
}

static int insert(struct fixture *f, uint32_t number, const char *path, int64_t label) {
    const struct stn_cell cells[] = {cell_text("path", path), cell_int("label", label)};
    const struct stn_row row = row_of(number, cells, 2);
    return stn_catalog_insert(f->c, &row, &f->err);
}

/* One run with samples first .. first + n - 1. */
static uint64_t add_run(struct fixture *f, uint32_t first, uint32_t n) {
    uint64_t begun = 0, run = 0;
    ok(f, stn_catalog_begin(f->c, "a folder", &begun, &f->err));
    for (uint32_t i = 0; i < n; i++) {
        char path[32];
        snprintf(path, sizeof path, "%05u.jpg", first + i);
        ok(f, insert(f, first + i, path, i % 3));
    }
    ok(f, stn_catalog_commit(f->c, &run, &f->err));
    assert_int_equal(run, begun);
    return run;
}

static struct sterna_store_info info_of(struct fixture *f) {
    struct sterna_store_info info = {0};
    ok(f, stn_catalog_info(f->c, &info, &f->err));
    return info;
}

/* The sqlite library's own view, for what no function tells. */
static void sql(struct fixture *f, const char *text) {
    sqlite3 *db = NULL;
    assert_int_equal(sqlite3_open(f->path, &db), SQLITE_OK);
    char *message = NULL;
    if (sqlite3_exec(db, text, NULL, NULL, &message)) fail_msg("%s: %s", text, message);
    sqlite3_close(db);
}

/* ---- files ---- */

static void test_catalog_is_made_and_opened(void **state) {
    struct fixture *f = *state;
    open_new(f);
    assert_memory_equal(stn_catalog_dataset_id(f->c), dataset, 16);
    struct sterna_store_info info = info_of(f);
    assert_int_equal(info.format_version, 1);
    assert_memory_equal(info.dataset_id, dataset, 16);
    assert_int_equal(info.n_samples, 0);
    assert_int_equal(info.last_run, 0);
    assert_int_equal(info.n_fields, 0);
    assert_int_equal(info.n_classes, 0);
}

static void test_catalog_create_leaves_an_older_one(void **state) {
    struct fixture *f = *state;
    open_new(f);
    add_run(f, 0, 3);
    ok(f, stn_catalog_create(f->path, (const uint8_t *)"another data set", &f->err));
    assert_int_equal(info_of(f).n_samples, 3);
    struct stat st;
    (void)st;
    char command[512];
    snprintf(command, sizeof command, "test $(ls '%s' | wc -l) = 1", f->dir);
    assert_int_equal(system(command), 0); /* no temporary file, no -wal, no -journal */
}

static void write_file(const char *path, const void *data, size_t bytes) {
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(data, 1, bytes, file), bytes);
    fclose(file);
}

static void test_catalog_open_refuses_what_is_none(void **state) {
    struct fixture *f = *state;
    fails(f, STERNA_ENOTFOUND, "catalog.sqlite",
          stn_catalog_open(&f->c, f->path, STN_CATALOG_READ, &f->err));
    static const char text[] = "this is a text file that somebody has put here by mistake, and "
                               "it is longer than the header of a SQLite file would be, surely";
    write_file(f->path, text, sizeof text);
    fails(f, STERNA_EFORMAT, "no SQLite file",
          stn_catalog_open(&f->c, f->path, STN_CATALOG_READ, &f->err));
    write_file(f->path, "", 0);
    fails(f, STERNA_EFORMAT, "empty", stn_catalog_open(&f->c, f->path, STN_CATALOG_READ, &f->err));
    unlink(f->path);
    sql(f, "CREATE TABLE recipe (cake)");
    fails(f, STERNA_EFORMAT, "no catalogue",
          stn_catalog_open(&f->c, f->path, STN_CATALOG_READ, &f->err));
    unlink(f->path);
    ok(f, stn_catalog_create(f->path, dataset, &f->err));
    sql(f, "PRAGMA user_version = 7");
    fails(f, STERNA_EFORMAT, "version 7, this program reads version 1",
          stn_catalog_open(&f->c, f->path, STN_CATALOG_READ, &f->err));
    sql(f, "PRAGMA user_version = 1; UPDATE info SET value = 9 WHERE key = 'format'");
    fails(f, STERNA_EFORMAT, "version 9, this program reads version 1",
          stn_catalog_open(&f->c, f->path, STN_CATALOG_READ, &f->err));
    sql(f, "UPDATE info SET value = 1 WHERE key = 'format'; DROP TABLE run");
    fails(f, STERNA_EFORMAT, "run", stn_catalog_open(&f->c, f->path, STN_CATALOG_READ, &f->err));
    assert_null(f->c);
}

/* Names in the file are used as names of files and columns by others. */
static void test_catalog_open_refuses_hostile_content(void **state) {
    static const char *const changes[] = {
        "UPDATE field SET name = '../x'",
        "UPDATE field SET name = ''",
        "UPDATE field SET name = x'00'",
        "UPDATE field SET number = 256",
        "UPDATE field SET kind = 'tune'",
        "UPDATE user_column SET name = 'a\"; --'",
        "UPDATE info SET value = x'0102' WHERE key = 'dataset_id'",
        "DELETE FROM info WHERE key = 'dataset_id'",
        "DELETE FROM info",
        "INSERT INTO run VALUES (9223372036854775807, 0, '', 0)",
        "INSERT INTO run VALUES (-5, 0, '', 0)",
        "DROP TABLE field",
        "DROP TABLE info; CREATE VIEW info AS SELECT 'format' AS key, 1 AS value",
    };
    struct fixture *f = *state;
    for (size_t i = 0; i < STN_COUNT(changes); i++) {
        uint64_t run;
        uint32_t number;
        unlink(f->path);
        open_new(f);
        ok(f, stn_catalog_begin(f->c, "x", &run, &f->err));
        ok(f, stn_catalog_declare_field(f->c, "image", STERNA_KIND_IMAGE, &number, &f->err));
        ok(f, stn_catalog_declare_column(f->c, "age", &f->err));
        if (strstr(changes[i], "-5") == NULL) ok(f, insert(f, 1, "one", 1));
        if (strstr(changes[i], "-5") == NULL) ok(f, stn_catalog_commit(f->c, &run, &f->err));
        stn_catalog_close(&f->c);
        sql(f, changes[i]);
        struct sterna_error err = {0};
        int rc = stn_catalog_open(&f->c, f->path, STN_CATALOG_READ, &err);
        if (rc != STERNA_EFORMAT) fail_msg("%s: %d: %s", changes[i], rc, err.message);
    }
}

static void test_catalog_open_refuses_a_truncated_file(void **state) {
    struct fixture *f = *state;
    open_new(f);
    add_run(f, 0, 500);
    stn_catalog_close(&f->c);
    struct stat st;
    assert_int_equal(stat(f->path, &st), 0);
    for (off_t size = st.st_size - 1; size >= 0; size -= 4099) {
        assert_int_equal(truncate(f->path, size), 0);
        struct sterna_error err = {0};
        int rc = stn_catalog_open(&f->c, f->path, STN_CATALOG_READ, &err);
        if (rc != STERNA_EFORMAT) fail_msg("%ld bytes: %d: %s", (long)size, rc, err.message);
        assert_non_null(strstr(err.message, "catalog.sqlite"));
    }
}

static void test_catalog_names_odd_to_uris_are_plain(void **state) {
    struct fixture *f = *state;
    static const char *const names[] = {"a b?c=d&e#f%41.sqlite", "file:x", "\xff\n.sqlite"};
    for (size_t i = 0; i < STN_COUNT(names); i++) {
        const char *path = test_path(f->dir, names[i]);
        ok(f, stn_catalog_create(path, dataset, &f->err));
        assert_int_equal(access(path, F_OK), 0);
        ok(f, stn_catalog_open(&f->c, path, STN_CATALOG_READ, &f->err));
        stn_catalog_close(&f->c);
    }
}

/* ---- runs ---- */

static int count_runs(void *ctx, const struct sterna_run *run) {
    uint64_t *n = ctx;
    assert_string_equal(run->source, "a folder");
    assert_int_equal(run->run, ++*n);
    assert_true(run->finished_s > 1500000000);
    return 0;
}

static int stop_at_once(void *ctx, const struct sterna_run *run) {
    (void)ctx;
    return (int)run->run + 40;
}

static void test_run_commits_and_counts(void **state) {
    struct fixture *f = *state;
    open_new(f);
    assert_int_equal(add_run(f, 0, 5), 1);
    assert_int_equal(add_run(f, 5, 7), 2);
    uint64_t run = 99, n = 0;
    ok(f, stn_catalog_begin(f->c, "nothing new", &run, &f->err));
    assert_int_equal(run, 3);
    ok(f, stn_catalog_commit(f->c, &run, &f->err));
    assert_int_equal(run, 0);
    struct sterna_store_info info = info_of(f);
    assert_int_equal(info.n_samples, 12);
    assert_int_equal(info.last_run, 2);
    ok(f, stn_catalog_runs(f->c, count_runs, &n, &f->err));
    assert_int_equal(n, 2);
    assert_int_equal(stn_catalog_runs(f->c, stop_at_once, NULL, &f->err), 41);
}

static void test_run_rolled_back_leaves_nothing(void **state) {
    struct fixture *f = *state;
    open_new(f);
    add_run(f, 0, 2);
    uint64_t run;
    uint32_t number;
    ok(f, stn_catalog_begin(f->c, "x", &run, &f->err));
    ok(f, insert(f, 7, "seven", 1));
    ok(f, stn_catalog_declare_field(f->c, "mask", STERNA_KIND_MASK, &number, &f->err));
    ok(f, stn_catalog_declare_column(f->c, "age", &f->err));
    stn_catalog_rollback(f->c);
    stn_catalog_rollback(f->c);
    struct sterna_store_info info = info_of(f);
    assert_int_equal(info.n_samples, 2);
    assert_int_equal(info.n_fields, 0);
    int found = 1;
    uint8_t id[16] = {7};
    ok(f, stn_catalog_has(f->c, id, &found, &f->err));
    assert_int_equal(found, 0);
    fails(f, STERNA_EINVAL, "no run", insert(f, 8, "eight", 1));
    fails(f, STERNA_EINVAL, "no run", stn_catalog_commit(f->c, &run, &f->err));
}

static void test_run_needs_a_catalogue_opened_for_writing(void **state) {
    struct fixture *f = *state;
    open_new(f);
    stn_catalog_close(&f->c);
    ok(f, stn_catalog_open(&f->c, f->path, STN_CATALOG_READ, &f->err));
    uint64_t run;
    fails(f, STERNA_EREADONLY, "reading", stn_catalog_begin(f->c, "x", &run, &f->err));
}

/* What others see while a run is open: the last committed state, without waiting. */
static void test_run_is_invisible_until_committed(void **state) {
    struct fixture *f = *state;
    open_new(f);
    add_run(f, 0, 2);
    uint64_t run;
    ok(f, stn_catalog_begin(f->c, "x", &run, &f->err));
    ok(f, insert(f, 7, "seven", 1));
    int found = 0;
    uint8_t id[16] = {7};
    ok(f, stn_catalog_has(f->c, id, &found, &f->err));
    assert_int_equal(found, 1); /* to its own run */
    assert_int_equal(info_of(f).n_samples, 2);
    struct stn_catalog *reader = NULL;
    ok(f, stn_catalog_open(&reader, f->path, STN_CATALOG_READ, &f->err));
    ok(f, stn_catalog_has(reader, id, &found, &f->err));
    assert_int_equal(found, 0);
    ok(f, stn_catalog_commit(f->c, &run, &f->err));
    ok(f, stn_catalog_has(reader, id, &found, &f->err));
    assert_int_equal(found, 1);
    stn_catalog_close(&reader);
}

static void test_run_second_writer_is_told_to_wait(void **state) {
    struct fixture *f = *state;
    open_new(f);
    uint64_t run;
    ok(f, stn_catalog_begin(f->c, "x", &run, &f->err));
    fails(f, STERNA_EBUSY, "this process", stn_catalog_begin(f->c, "x", &run, &f->err));
    ok(f, insert(f, 1, "one", 1));
    pid_t child = fork();
    if (child == 0) { /* a process of its own opens the catalogue afresh */
        struct stn_catalog *c = NULL;
        struct sterna_error err = {0};
        if (stn_catalog_open(&c, f->path, STN_CATALOG_WRITE, &err) != STERNA_OK) _exit(1);
        if (stn_catalog_begin(c, "y", &run, &err) != STERNA_EBUSY) _exit(2);
        if (!strstr(err.message, "another ingest") || !strstr(err.message, f->path)) _exit(3);
        _exit(0);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    ok(f, stn_catalog_commit(f->c, &run, &f->err));
    assert_int_equal(info_of(f).n_samples, 1);
}

static void test_run_killed_leaves_the_last_committed_state(void **state) {
    struct fixture *f = *state;
    open_new(f);
    add_run(f, 0, 10);
    stn_catalog_close(&f->c);
    static const uint32_t rows[] = {0, 1, 1000, 60000}; /* the last spills into the -wal file */
    for (size_t i = 0; i < STN_COUNT(rows); i++) {
        pid_t child = fork();
        if (child == 0) {
            uint64_t run;
            if (stn_catalog_open(&f->c, f->path, STN_CATALOG_WRITE, NULL)) _exit(1);
            if (stn_catalog_begin(f->c, "x", &run, NULL)) _exit(2);
            char long_path[4000];
            memset(long_path, 'p', sizeof long_path);
            long_path[rows[i] > 1000 ? 3000 : 10] = '\0';
            for (uint32_t k = 0; k < rows[i]; k++)
                if (insert(f, 1000 + k, long_path, 1)) _exit(3);
            kill(getpid(), SIGKILL);
        }
        int status = 0;
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFSIGNALED(status));
        ok(f,
           stn_catalog_open(&f->c, f->path, i % 2 ? STN_CATALOG_READ : STN_CATALOG_WRITE, &f->err));
        assert_int_equal(info_of(f).n_samples, 10);
        assert_int_equal(info_of(f).last_run, 1);
        stn_catalog_close(&f->c);
    }
    ok(f, stn_catalog_open(&f->c, f->path, STN_CATALOG_WRITE, &f->err));
    assert_int_equal(add_run(f, 100, 1), 2);
}

/* ---- declarations ---- */

static void test_field_numbers_stay(void **state) {
    struct fixture *f = *state;
    open_new(f);
    uint64_t run;
    uint32_t image = 9, caption = 9, again = 9;
    ok(f, stn_catalog_begin(f->c, "x", &run, &f->err));
    ok(f, stn_catalog_declare_field(f->c, "image", STERNA_KIND_IMAGE, &image, &f->err));
    ok(f, stn_catalog_declare_field(f->c, "caption", STERNA_KIND_TEXT, &caption, &f->err));
    ok(f, stn_catalog_declare_field(f->c, "image", STERNA_KIND_IMAGE, &again, &f->err));
    assert_int_equal(image, 0);
    assert_int_equal(caption, 1);
    assert_int_equal(again, 0);
    fails(f, STERNA_EMISMATCH, "image, not npy",
          stn_catalog_declare_field(f->c, "image", STERNA_KIND_NPY, &again, &f->err));
    fails(f, STERNA_EINVAL, "written 'image'",
          stn_catalog_declare_field(f->c, "Image", STERNA_KIND_IMAGE, &again, &f->err));
    ok(f, insert(f, 1, "one", 1));
    ok(f, stn_catalog_commit(f->c, &run, &f->err));
    struct sterna_field field;
    assert_int_equal(stn_catalog_field(f->c, 1, &field), STERNA_OK);
    assert_string_equal(field.name, "caption");
    assert_int_equal(field.kind, STERNA_KIND_TEXT);
    assert_int_equal(field.number, 1);
    assert_int_equal(stn_catalog_field(f->c, 2, &field), STERNA_ENOTFOUND);
    stn_catalog_close(&f->c);
    ok(f, stn_catalog_open(&f->c, f->path, STN_CATALOG_READ, &f->err));
    assert_int_equal(stn_catalog_field(f->c, 0, &field), STERNA_OK);
    assert_string_equal(field.name, "image");
}

static void test_names_that_are_refused(void **state) {
    struct fixture *f = *state;
    open_new(f);
    uint64_t run;
    uint32_t number;
    static const char *const names[] = {
        "id",      "ID",
        "run",     "path",
        "Label",   "class",
        "format",  "rowid",
        "_ROWID_", "oid",
        "a b",     "",
        "1a",      "a-b",
        "a\"b",    "\xc3\xa9",
        "x;--",    "image_bytes",
        "Known",   "a.b",
        "ab[",     "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijkl"};
    ok(f, stn_catalog_begin(f->c, "x", &run, &f->err));
    ok(f, stn_catalog_declare_field(f->c, "image", STERNA_KIND_IMAGE, &number, &f->err));
    ok(f, stn_catalog_declare_column(f->c, "known", &f->err));
    ok(f, stn_catalog_declare_column(f->c, "known", &f->err));
    for (size_t i = 0; i < STN_COUNT(names); i++) {
        struct sterna_error err = {0};
        int rc = stn_catalog_declare_column(f->c, names[i], &err);
        if (rc != STERNA_EINVAL) fail_msg("'%s': %d", names[i], rc);
        assert_true(err.message[0]);
    }
    ok(f, stn_catalog_declare_column(f->c, "order", &f->err)); /* SQL's words are fine */
    ok(f, stn_catalog_declare_column(f->c, "emb_bytes", &f->err));
    fails(f, STERNA_EINVAL, "emb_bytes",
          stn_catalog_declare_field(f->c, "emb", STERNA_KIND_NPY, &number, &f->err));
    fails(f, STERNA_EINVAL, "field name",
          stn_catalog_declare_field(f->c, "a/b", STERNA_KIND_NPY, &number, &f->err));
}

static int collect_classes(void *ctx, int64_t label, const char *name, uint64_t n) {
    char *text = ctx;
    sprintf(text + strlen(text), "%lld=%s:%llu ", (long long)label, name, (unsigned long long)n);
    return 0;
}

static void test_classes_append_and_keep_their_labels(void **state) {
    struct fixture *f = *state;
    open_new(f);
    uint64_t run;
    int64_t label = -1;
    ok(f, stn_catalog_begin(f->c, "x", &run, &f->err));
    static const char *const names[] = {"cat", "dog", "cat", "\xff odd", "dog", "\xff odd"};
    static const int64_t labels[] = {0, 1, 0, 2, 1, 2};
    for (size_t i = 0; i < STN_COUNT(names); i++) {
        ok(f, stn_catalog_declare_class(f->c, names[i], &label, &f->err));
        assert_int_equal(label, labels[i]);
        ok(f, insert(f, (uint32_t)i, names[i], label));
    }
    ok(f, stn_catalog_commit(f->c, &run, &f->err));
    ok(f, stn_catalog_begin(f->c, "x", &run, &f->err));
    ok(f, stn_catalog_declare_class(f->c, "ant", &label, &f->err));
    assert_int_equal(label, 3);
    ok(f, insert(f, 77, "ant", label));
    ok(f, stn_catalog_commit(f->c, &run, &f->err));
    char text[200] = "";
    ok(f, stn_catalog_classes(f->c, collect_classes, text, &f->err));
    assert_string_equal(text, "0=cat:2 1=dog:2 2=\xff odd:2 3=ant:1 ");
    assert_int_equal(info_of(f).n_classes, 4);
}

static int collect_columns(void *ctx, const char *name, const char *type) {
    char *text = ctx;
    sprintf(text + strlen(text), "%s %s,", name, type);
    return 0;
}

static void test_columns_are_listed_with_types(void **state) {
    struct fixture *f = *state;
    open_new(f);
    uint64_t run;
    uint32_t number;
    ok(f, stn_catalog_begin(f->c, "x", &run, &f->err));
    static const char *const names[] = {"age", "mood", "weight", "mix", "none"};
    for (size_t i = 0; i < STN_COUNT(names); i++)
        ok(f, stn_catalog_declare_column(f->c, names[i], &f->err));
    ok(f, stn_catalog_declare_field(f->c, "image", STERNA_KIND_IMAGE, &number, &f->err));
    const struct stn_cell one[] = {cell_int("age", 3), cell_text("mood", "good"),
                                   cell_int("weight", 1), cell_int("mix", 1)};
    const struct stn_cell two[] = {cell_null("none"), cell_real("weight", 1.5),
                                   cell_text("mix", "one"), cell_int("image_bytes", 44)};
    struct stn_row row = row_of(1, one, 4);
    ok(f, stn_catalog_insert(f->c, &row, &f->err));
    row = row_of(2, two, 4);
    ok(f, stn_catalog_insert(f->c, &row, &f->err));
    ok(f, stn_catalog_commit(f->c, &run, &f->err));
    char text[400] = "";
    ok(f, stn_catalog_columns(f->c, collect_columns, text, &f->err));
    assert_string_equal(text, "id text,path text,label integer,class text,split text,"
                              "width integer,height integer,channels integer,format text,"
                              "run integer,image_bytes integer,age integer,mood text,"
                              "weight real,mix mixed,none null,");
    assert_int_equal(info_of(f).n_columns, 16);
    assert_int_equal(info_of(f).n_bytes, 44);
}

/* ---- rows ---- */

static void test_insert_verdicts(void **state) {
    struct fixture *f = *state;
    open_new(f);
    uint64_t run;
    uint32_t number;
    ok(f, stn_catalog_begin(f->c, "x", &run, &f->err));
    ok(f, stn_catalog_declare_field(f->c, "image", STERNA_KIND_IMAGE, &number, &f->err));
    const struct {
        const char *name;
        struct stn_cell cell;
        int want;
    } rows[] = {
        {"plain", cell_text("path", "a"), STERNA_OK},
        {"other case", cell_int("LABEL", 1), STERNA_OK},
        {"null", cell_null("label"), STERNA_OK},
        {"text as label", cell_text("label", "cat"), STERNA_EINVAL},
        {"number as class", cell_int("class", 4), STERNA_EINVAL},
        {"real as width", cell_real("width", 4), STERNA_EINVAL},
        {"unknown column", cell_int("speed", 4), STERNA_EINVAL},
        {"id", cell_text("id", "x"), STERNA_EINVAL},
        {"run", cell_int("run", 7), STERNA_EINVAL},
        {"length", cell_int("image_bytes", 7), STERNA_OK},
        {"longest length", cell_int("image_bytes", UINT32_MAX - 2), STERNA_OK},
        {"length too long", cell_int("image_bytes", UINT32_MAX - 1), STERNA_EINVAL},
        {"negative length", cell_int("image_bytes", -1), STERNA_EINVAL},
    };
    for (size_t i = 0; i < STN_COUNT(rows); i++) {
        const struct stn_row row = row_of((uint32_t)i, &rows[i].cell, 1);
        struct sterna_error err = {0};
        int rc = stn_catalog_insert(f->c, &row, &err);
        if (rc != rows[i].want) fail_msg("%s: %d: %s", rows[i].name, rc, err.message);
    }
    fails(f, STERNA_ECONFLICT, "00000000-0000", insert(f, 0, "again", 1));
    ok(f, stn_catalog_commit(f->c, &run, &f->err));
    assert_int_equal(info_of(f).n_samples, 5);
    assert_int_equal(info_of(f).n_bytes, (uint64_t)UINT32_MAX - 2 + 7);
}

static void test_update_sees_what_differs(void **state) {
    struct fixture *f = *state;
    open_new(f);
    uint64_t run;
    uint32_t number;
    ok(f, stn_catalog_begin(f->c, "x", &run, &f->err));
    ok(f, stn_catalog_declare_field(f->c, "image", STERNA_KIND_IMAGE, &number, &f->err));
    ok(f, stn_catalog_declare_column(f->c, "u", &f->err));
    const struct stn_cell first[] = {cell_text("path", "\xff\n"), cell_int("image_bytes", 100),
                                     cell_int("u", 1)};
    struct stn_row row = row_of(1, first, 3);
    ok(f, stn_catalog_insert(f->c, &row, &f->err));
    const struct {
        const char *name;
        struct stn_cell cell;
        int changed;
        uint64_t n_bytes;
    } rows[] = {
        {"same path", cell_text("path", "\xff\n"), 0, 100},
        {"same length", cell_int("image_bytes", 100), 0, 100},
        {"other length", cell_int("image_bytes", 30), 1, 30},
        {"null label", cell_null("label"), 0, 30},
        {"a label", cell_int("label", 2), 1, 30},
        {"same label", cell_int("label", 2), 0, 30},
        {"no length", cell_null("image_bytes"), 1, 0},
        {"length again", cell_int("image_bytes", 7), 1, 7},
        {"1 becomes 1.0", cell_real("u", 1), 1, 7},
        {"1.0 stays", cell_real("u", 1), 0, 7},
        {"1.0 becomes '1'", cell_text("u", "1"), 1, 7},
        {"empty text", cell_text("u", ""), 1, 7},
        {"empty text again", cell_text("u", ""), 0, 7},
        {"empty is not null", cell_null("u"), 1, 7},
    };
    ok(f, stn_catalog_commit(f->c, &run, &f->err));
    for (size_t i = 0; i < STN_COUNT(rows); i++) {
        int changed = 9;
        row = row_of(1, &rows[i].cell, 1);
        ok(f, stn_catalog_begin(f->c, "x", &run, &f->err));
        ok(f, stn_catalog_update(f->c, &row, 0, &changed, &f->err));
        ok(f, stn_catalog_commit(f->c, &run, &f->err));
        if (changed != rows[i].changed) fail_msg("%s: %d", rows[i].name, changed);
        if ((run > 0) != rows[i].changed) fail_msg("%s: run %d", rows[i].name, (int)run);
        if (info_of(f).n_bytes != rows[i].n_bytes) fail_msg("%s: bytes", rows[i].name);
    }
    ok(f, stn_catalog_begin(f->c, "x", &run, &f->err));
    row = row_of(9, first, 3);
    fails(f, STERNA_ENOTFOUND, "no sample", stn_catalog_update(f->c, &row, 0, NULL, &f->err));
}

static void test_insert_memory_stays_bounded(void **state) {
    struct fixture *f = *state;
    open_new(f);
    uint64_t run;
    ok(f, stn_catalog_begin(f->c, "x", &run, &f->err));
    sqlite3_memory_highwater(1);
    for (uint32_t i = 0; i < 60000; i++) {
        char path[2000];
        memset(path, 'a', sizeof path);
        snprintf(path + 1900, 90, "%u", i);
        ok(f, insert(f, i, path, 1));
    }
    ok(f, stn_catalog_commit(f->c, &run, &f->err));
    assert_true(sqlite3_memory_highwater(0) < 90 << 20); /* 120 MB of rows */
    assert_int_equal(info_of(f).n_samples, 60000);
}

#define unit(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        unit(test_catalog_is_made_and_opened),
        unit(test_catalog_create_leaves_an_older_one),
        unit(test_catalog_open_refuses_what_is_none),
        unit(test_catalog_open_refuses_hostile_content),
        unit(test_catalog_open_refuses_a_truncated_file),
        unit(test_catalog_names_odd_to_uris_are_plain),
        unit(test_run_commits_and_counts),
        unit(test_run_rolled_back_leaves_nothing),
        unit(test_run_needs_a_catalogue_opened_for_writing),
        unit(test_run_is_invisible_until_committed),
        unit(test_run_second_writer_is_told_to_wait),
        unit(test_run_killed_leaves_the_last_committed_state),
        unit(test_field_numbers_stay),
        unit(test_names_that_are_refused),
        unit(test_classes_append_and_keep_their_labels),
        unit(test_columns_are_listed_with_types),
        unit(test_insert_verdicts),
        unit(test_update_sees_what_differs),
        unit(test_insert_memory_stays_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
