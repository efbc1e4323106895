/* Selections of a catalogue: which samples, in which order, from where. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "catalog/catalog.h"
#include "catalog/selection.h"
#include "sterna/sterna.h"
#include "store.h"
#include "support/temporary.h"

struct fixture {
    char *dir;
    sterna_store *store;
    struct stn_catalog *c; /* to write to; the store's own */
    struct sterna_error err;
};

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

static void id_of(uint32_t i, uint8_t id[16]) {
    memset(id, 0xAB, 16);
    id[0] = (uint8_t)(i >> 8);
    id[1] = (uint8_t)i;
}

static const char *id_text(uint32_t i) {
    static char text[37];
    uint8_t id[16];
    id_of(i, id);
    sterna_id_format(id, text);
    return text;
}

/* Sample i: path falls with i, no label for every third, a caption for every second. */
static void insert(struct fixture *f, uint32_t i) {
    char path[32];
    snprintf(path, sizeof path, "%05u.jpg", 50000 - i);
    const struct stn_cell cells[] = {
        {"path", {.type = STERNA_TEXT, .text = path, .text_bytes = strlen(path)}},
        {"image_bytes", {.type = STERNA_INT, .i = 1000 + i}},
        {"age", {.type = i % 5 ? STERNA_INT : STERNA_REAL, .i = i, .r = 0.5}},
        {i % 2 ? "age" : "caption_bytes", {.type = STERNA_INT, .i = i}},
        {i % 3 ? "label" : "width", {.type = STERNA_INT, .i = i}},
    };
    struct stn_row row = {.cells = cells, .n_cells = STN_COUNT(cells)};
    id_of(i, row.id);
    ok(f, stn_catalog_insert(f->c, &row, &f->err));
}

static uint64_t add_run(struct fixture *f, uint32_t first, uint32_t n) {
    uint64_t run;
    uint32_t number;
    ok(f, stn_catalog_begin(f->c, "x", &run, &f->err));
    ok(f, stn_catalog_declare_field(f->c, "image", STERNA_KIND_IMAGE, &number, &f->err));
    ok(f, stn_catalog_declare_field(f->c, "caption", STERNA_KIND_TEXT, &number, &f->err));
    ok(f, stn_catalog_declare_column(f->c, "age", &f->err));
    for (uint32_t i = first; i < first + n; i++) insert(f, i);
    ok(f, stn_catalog_commit(f->c, &run, &f->err));
    return run;
}

static int setup(void **state) {
    struct fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    f->dir = test_dir_make();
    const struct sterna_store_options o = {.struct_size = sizeof o,
                                           .mode = STERNA_OPEN_CREATE,
                                           .dataset_id = (const uint8_t *)"data set 0000001"};
    ok(f, sterna_store_open(&f->store, f->dir, &o, &f->err));
    f->c = f->store->catalog;
    *state = f;
    return 0;
}

static int teardown(void **state) {
    struct fixture *f = *state;
    sterna_store_close(&f->store);
    test_dir_remove(&f->dir);
    free(f);
    return 0;
}

static struct sterna_selection_info info_of(const sterna_selection *s) {
    struct sterna_selection_info info;
    sterna_selection_info(s, &info);
    return info;
}

static const struct sterna_select_options all = {.struct_size = sizeof all};

static int select_where(struct fixture *f, sterna_selection **s, const char *where) {
    struct sterna_select_options o = all;
    o.where = where;
    return sterna_select(s, f->store, &o, &f->err);
}

/* The numbers of the samples, in order. */
static void expect(const sterna_selection *s, const uint32_t *numbers, size_t n) {
    assert_int_equal(info_of(s).n, n);
    for (size_t i = 0; i < n; i++) {
        uint8_t id[16];
        id_of(numbers[i], id);
        assert_memory_equal(sterna_selection_ids(s)[i], id, 16);
    }
}

/* ---- what is selected ---- */

static void test_select_carries_lengths_labels_and_columns(void **state) {
    struct fixture *f = *state;
    add_run(f, 0, 200);
    static const char *const columns[] = {"age", "path"};
    struct sterna_select_options o = all;
    o.columns = columns;
    o.n_columns = 2;
    o.where = "1";
    sterna_selection *s = NULL;
    ok(f, sterna_select(&s, f->store, &o, &f->err));
    struct sterna_selection_info info = info_of(s);
    assert_int_equal(info.n, 200);
    assert_int_equal(info.n_fields, 2);
    assert_int_equal(info.n_columns, 2);
    assert_int_equal(info.run, 1);
    assert_string_equal(info.where, "1");
    assert_memory_equal(info.dataset_id, "data set 0000001", 16);
    for (uint32_t row = 0; row < 200; row++) {
        uint32_t i = 199 - row; /* paths fall */
        uint8_t id[16];
        char path[32];
        struct sterna_value v;
        id_of(i, id);
        snprintf(path, sizeof path, "%05u.jpg", 50000 - i);
        assert_memory_equal(sterna_selection_ids(s)[row], id, 16);
        assert_int_equal(sterna_selection_lengths(s, 0)[row], 1000 + i);
        assert_int_equal(sterna_selection_lengths(s, 1)[row], i % 2 ? STERNA_LENGTH_NULL : i);
        assert_true(sterna_selection_labels(s)[row] == (i % 3 ? (int64_t)i : STERNA_LABEL_NONE));
        sterna_selection_value(s, 0, row, &v);
        assert_int_equal(v.type, i % 5 || i % 2 ? STERNA_INT : STERNA_REAL);
        sterna_selection_value(s, 1, row, &v);
        assert_int_equal(v.text_bytes, strlen(path));
        assert_memory_equal(v.text, path, v.text_bytes);
    }
    sterna_selection_close(&s);
}

static void test_select_verdicts(void **state) {
    struct fixture *f = *state;
    add_run(f, 0, 10);
    add_run(f, 10, 2);
    static const uint32_t by_path[] = {11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0};
    static const struct {
        const char *where;
        uint64_t as_of;
        size_t first, n; /* of by_path */
    } rows[] = {
        {NULL, 0, 0, 12},
        {NULL, 1, 2, 10},
        {NULL, 2, 0, 12},
        {"1", 0, 0, 12},
        {"image_bytes > 1008", 0, 0, 3},
        {"image_bytes > 1008", 1, 2, 1},
        {"0", 0, 0, 0},
    };
    for (size_t i = 0; i < STN_COUNT(rows); i++) {
        struct sterna_select_options o = all;
        o.where = rows[i].where;
        o.as_of_run = rows[i].as_of;
        sterna_selection *s = NULL;
        ok(f, sterna_select(&s, f->store, &o, &f->err));
        expect(s, by_path + rows[i].first, rows[i].n);
        assert_int_equal(info_of(s).run, rows[i].as_of ? rows[i].as_of : 2);
        sterna_selection_close(&s);
    }
}

static void test_select_of_an_empty_store(void **state) {
    struct fixture *f = *state;
    sterna_selection *s = NULL;
    ok(f, sterna_select(&s, f->store, NULL, &f->err));
    assert_int_equal(info_of(s).n, 0);
    assert_int_equal(info_of(s).run, 0);
    sterna_selection_close(&s);
    fails(f, STERNA_EINVAL, "last run is 0",
          sterna_select(&s, f->store,
                        &(struct sterna_select_options){.struct_size = sizeof all, .as_of_run = 1},
                        &f->err));
}

static void test_select_orders_paths_by_their_bytes(void **state) {
    struct fixture *f = *state;
    static const char *const paths[] = {"\xff", "b", "\xc3\xa9", "a\nb", "B", "a", "\x80z", "a"};
    static const uint32_t sorted[] = {4, 5, 7, 3, 1, 6, 2, 0}; /* the two "a" by their ids */
    uint64_t run;
    ok(f, stn_catalog_begin(f->c, "x", &run, &f->err));
    for (uint32_t i = 0; i < STN_COUNT(paths); i++) {
        const struct stn_cell cell = {
            "path", {.type = STERNA_TEXT, .text = paths[i], .text_bytes = strlen(paths[i])}};
        struct stn_row row = {.cells = &cell, .n_cells = 1};
        id_of(i, row.id);
        ok(f, stn_catalog_insert(f->c, &row, &f->err));
    }
    ok(f, stn_catalog_commit(f->c, &run, &f->err));
    sterna_selection *s = NULL;
    ok(f, sterna_select(&s, f->store, NULL, &f->err));
    expect(s, sorted, STN_COUNT(sorted));
    sterna_selection_close(&s);
}

/* ---- lists of ids ---- */

static void test_select_by_ids_keeps_their_order(void **state) {
    struct fixture *f = *state;
    add_run(f, 0, 100);
    static const uint32_t numbers[] = {17, 3, 99, 0, 41};
    uint8_t ids[5][16];
    for (size_t i = 0; i < 5; i++) id_of(numbers[i], ids[i]);
    struct sterna_select_options o = all;
    o.ids = (const uint8_t(*)[16])ids;
    o.n_ids = 5;
    sterna_selection *s = NULL;
    ok(f, sterna_select(&s, f->store, &o, &f->err));
    expect(s, numbers, 5);
    sterna_selection_close(&s);
    o.n_ids = 0;
    ok(f, sterna_select(&s, f->store, &o, &f->err));
    expect(s, NULL, 0);
    sterna_selection_close(&s);
    o.n_ids = 5;
    id_of(3, ids[4]);
    fails(f, STERNA_EINVAL, "ids[4]", sterna_select(&s, f->store, &o, &f->err));
    id_of(1234, ids[4]);
    fails(f, STERNA_ENOTFOUND, id_text(1234), sterna_select(&s, f->store, &o, &f->err));
    assert_null(s);
}

static const char *write_ids(struct fixture *f, const char *text, size_t bytes) {
    const char *path = test_path(f->dir, "ids.txt");
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, bytes, file), bytes);
    fclose(file);
    return path;
}

static void test_select_by_file_of_ids(void **state) {
    struct fixture *f = *state;
    add_run(f, 0, 10);
    struct sterna_select_options o = all;
    sterna_selection *s = NULL;
    char text[2000], a[37], b[37];
    strcpy(a, id_text(7));
    strcpy(b, id_text(2));
    for (char *c = b; *c; c++) *c = (char)(*c >= 'a' ? *c - 32 : *c);
    int n =
        snprintf(text, sizeof text, "# %0300d a long comment\r\n\n  %s\t\r\n\r\n%s # two", 1, a, b);
    o.ids_file = write_ids(f, text, (size_t)n);
    ok(f, sterna_select(&s, f->store, &o, &f->err));
    expect(s, (const uint32_t[]){7, 2}, 2);
    assert_string_equal(info_of(s).where, "");
    sterna_selection_close(&s);
    n = snprintf(text, sizeof text, "%s\n\nnot an id\n", a);
    o.ids_file = write_ids(f, text, (size_t)n);
    fails(f, STERNA_EINVAL, "ids.txt:3: 'not an id'", sterna_select(&s, f->store, &o, &f->err));
    n = snprintf(text, sizeof text, "%s\n%s\n#\n%s\n", a, b, a);
    o.ids_file = write_ids(f, text, (size_t)n);
    fails(f, STERNA_EINVAL, "ids.txt:4: sample 0007", sterna_select(&s, f->store, &o, &f->err));
    n = snprintf(text, sizeof text, "%s\n%s\n", a, id_text(99));
    o.ids_file = write_ids(f, text, (size_t)n);
    fails(f, STERNA_ENOTFOUND, "ids.txt:2: sample 0063", sterna_select(&s, f->store, &o, &f->err));
    o.ids_file = write_ids(f, "a\0b\n", 4);
    fails(f, STERNA_EINVAL, "ids.txt:1: 'a\\x01b'", sterna_select(&s, f->store, &o, &f->err));
    memset(text, 'x', sizeof text); /* longer than any line we keep */
    o.ids_file = write_ids(f, text, sizeof text);
    fails(f, STERNA_EINVAL, "ids.txt:1: 'xxx", sterna_select(&s, f->store, &o, &f->err));
    o.ids_file = test_path(f->dir, "missing.txt");
    fails(f, STERNA_ENOTFOUND, "missing.txt", sterna_select(&s, f->store, &o, &f->err));
    o.ids_file = f->dir;
    fails(f, STERNA_EIO, f->dir, sterna_select(&s, f->store, &o, &f->err));
}

/* ---- saved ones ---- */

static void test_select_by_name_and_file(void **state) {
    struct fixture *f = *state;
    add_run(f, 0, 10);
    sterna_selection *s = NULL;
    ok(f, select_where(f, &s, "image_bytes > 1006"));
    ok(f, sterna_selection_save_as(s, f->store, "big-ones", &f->err));
    ok(f, sterna_selection_save(s, test_path(f->dir, "copy.sel"), &f->err));
    sterna_selection_close(&s);
    struct sterna_select_options o = all;
    o.name = "big-ones";
    ok(f, sterna_select(&s, f->store, &o, &f->err));
    expect(s, (const uint32_t[]){9, 8, 7}, 3);
    assert_string_equal(info_of(s).where, "image_bytes > 1006");
    sterna_selection_close(&s);
    o.as_of_run = 1;
    ok(f, sterna_select(&s, f->store, &o, &f->err));
    sterna_selection_close(&s);
    o.as_of_run = 2;
    fails(f, STERNA_EINVAL, "run 1", sterna_select(&s, f->store, &o, &f->err));
    o.as_of_run = 0;
    static const char *const columns[] = {"age"};
    o.columns = columns;
    o.n_columns = 1;
    fails(f, STERNA_EINVAL, "'age'", sterna_select(&s, f->store, &o, &f->err));
    o = all;
    o.file = test_path(f->dir, "copy.sel");
    ok(f, sterna_select(&s, f->store, &o, &f->err));
    expect(s, (const uint32_t[]){9, 8, 7}, 3);
    sterna_selection_close(&s);
    o = all;
    o.name = "small-ones";
    fails(f, STERNA_ENOTFOUND, "'small-ones'", sterna_select(&s, f->store, &o, &f->err));
    o.where = "1";
    fails(f, STERNA_EINVAL, "one of", sterna_select(&s, f->store, &o, &f->err));
}

static void test_select_refuses_names_that_are_paths(void **state) {
    struct fixture *f = *state;
    static const char *const names[] = {"",     ".",   "..",  ".x",       "-x",  "a/b",
                                        "../x", "a b", "a\n", "\xc3\xa9", "a\\b"};
    sterna_selection *s = NULL, *saved = NULL;
    ok(f, sterna_select(&saved, f->store, NULL, &f->err));
    for (size_t i = 0; i < STN_COUNT(names); i++) {
        struct sterna_select_options o = all;
        o.name = names[i];
        fails(f, STERNA_EINVAL, "selection name", sterna_select(&s, f->store, &o, &f->err));
        fails(f, STERNA_EINVAL, "selection name",
              sterna_selection_save_as(saved, f->store, names[i], &f->err));
    }
    sterna_selection_close(&saved);
}

static void test_select_refuses_another_data_sets(void **state) {
    struct fixture *f = *state;
    const struct stn_selection_spec spec = {.dataset_id = (const uint8_t *)"another data set"};
    struct stn_selection_builder *b = NULL;
    sterna_selection *s = NULL, *foreign = NULL;
    ok(f, stn_selection_builder_open(&b, NULL, &spec, &f->err));
    ok(f, stn_selection_builder_finish(b, NULL, &foreign, &f->err));
    stn_selection_builder_close(&b);
    fails(f, STERNA_EMISMATCH, "616e6f74-6865-7220-6461-746120736574",
          sterna_selection_save_as(foreign, f->store, "x", &f->err));
    struct sterna_select_options o = all;
    o.file = test_path(f->dir, "foreign.sel");
    ok(f, sterna_selection_save(foreign, o.file, &f->err));
    sterna_selection_close(&foreign);
    fails(f, STERNA_EMISMATCH, "616e6f74-6865-7220-6461-746120736574",
          sterna_select(&s, f->store, &o, &f->err));
    assert_non_null(strstr(f->err.message, "64617461-2073-6574-2030-303030303031"));
    assert_null(s);
}

/* ---- the cached one ---- */

static int in_cache(struct fixture *f, const char *name) {
    char path[64];
    snprintf(path, sizeof path, "cache/%s", name);
    return access(test_path(f->dir, path), F_OK) == 0;
}

static void select_all(struct fixture *f, uint64_t n, const char *const *columns,
                       size_t n_columns) {
    struct sterna_select_options o = all;
    o.columns = columns;
    o.n_columns = n_columns;
    sterna_selection *s = NULL;
    ok(f, sterna_select(&s, f->store, &o, &f->err));
    assert_int_equal(info_of(s).n, n);
    assert_int_equal(info_of(s).n_columns, n_columns);
    sterna_selection_close(&s);
}

static void test_select_all_is_cached_for_its_run(void **state) {
    struct fixture *f = *state;
    static const char *const age[] = {"age"}, *const path[] = {"path"};
    add_run(f, 0, 10);
    select_all(f, 10, NULL, 0);
    assert_true(in_cache(f, "all-1-2.sel"));
    struct stat before, after;
    assert_int_equal(stat(test_path(f->dir, "cache/all-1-2.sel"), &before), 0);
    select_all(f, 10, NULL, 0);
    select_all(f, 10, age, 1);
    select_all(f, 10, path, 1);
    assert_int_equal(stat(test_path(f->dir, "cache/all-1-2.sel"), &after), 0);
    assert_int_equal(before.st_ino, after.st_ino);
    add_run(f, 10, 5);
    select_all(f, 15, NULL, 0);
    assert_true(in_cache(f, "all-2-2.sel"));
    assert_false(in_cache(f, "all-1-2.sel"));
    /* An older run's is made anew: later runs may have changed labels. */
    struct sterna_select_options o = all;
    o.as_of_run = 1;
    sterna_selection *s = NULL;
    ok(f, sterna_select(&s, f->store, &o, &f->err));
    assert_int_equal(info_of(s).n, 10);
    sterna_selection_close(&s);
    assert_false(in_cache(f, "all-1-2.sel"));
}

static void test_select_all_does_not_trust_its_cache(void **state) {
    struct fixture *f = *state;
    add_run(f, 0, 10);
    sterna_selection *s = NULL;
    static const char *const names[] = {"foreign bytes", "some of it"};
    for (size_t i = 0; i < STN_COUNT(names); i++) {
        select_all(f, 10, NULL, 0);
        const char *path = test_path(f->dir, "cache/all-1-2.sel");
        assert_int_equal(truncate(path, i ? 300 : 0), 0);
        select_all(f, 10, NULL, 0);
    }
    ok(f, select_where(f, &s, "0")); /* a right file, but not this one */
    ok(f, sterna_selection_save(s, test_path(f->dir, "cache/all-1-2.sel"), &f->err));
    sterna_selection_close(&s);
    select_all(f, 10, NULL, 0);
}

static void test_select_all_does_without_a_cache(void **state) {
    struct fixture *f = *state;
    add_run(f, 0, 10);
    /* a file where the directory would be: what no permission lets anybody write */
    int fd = open(test_path(f->dir, "cache"), O_WRONLY | O_CREAT, 0600);
    assert_true(fd >= 0);
    close(fd);
    select_all(f, 10, NULL, 0);
}

/* As another user, from a directory that cannot be written, and without locks in it. */
static void test_select_from_a_directory_of_somebody_else(void **state) {
    struct fixture *f = *state;
    if (geteuid() != 0) skip(); /* nobody else to be */
    add_run(f, 0, 10);
    assert_int_equal(chmod(f->dir, 0755), 0);
    pid_t child = fork();
    if (child == 0) {
        if (setgid(65534) || setuid(65534)) _exit(1);
        struct stn_catalog *c = NULL;
        sterna_selection *s = NULL;
        struct sterna_error err = {0};
        if (stn_catalog_open(&c, test_path(f->dir, "catalog.sqlite"), STN_CATALOG_READ_IMMUTABLE,
                             &err))
            _exit(2);
        if (stn_catalog_select(&s, c, f->dir, NULL, &err)) _exit(3);
        if (info_of(s).n != 10) _exit(4);
        uint64_t run;
        if (stn_catalog_begin(c, "x", &run, &err) != STERNA_EREADONLY) _exit(5);
        stn_catalog_close(&c);
        if (stn_catalog_open(&c, test_path(f->dir, "catalog.sqlite"), STN_CATALOG_WRITE, &err) !=
            STERNA_EREADONLY)
            _exit(6);
        _exit(0);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_int_equal(access(test_path(f->dir, "cache"), F_OK), -1);
}

static void test_select_large_stays_small(void **state) {
    struct fixture *f = *state;
    add_run(f, 0, 50000);
    sqlite3_memory_highwater(1);
    sterna_selection *s = NULL;
    ok(f, select_where(f, &s, "image_bytes >= 1000"));
    assert_int_equal(info_of(s).n, 50000);
    assert_true(sqlite3_memory_highwater(0) < 40 << 20);
    sterna_selection_close(&s);
}

#define unit(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        unit(test_select_carries_lengths_labels_and_columns),
        unit(test_select_verdicts),
        unit(test_select_of_an_empty_store),
        unit(test_select_orders_paths_by_their_bytes),
        unit(test_select_by_ids_keeps_their_order),
        unit(test_select_by_file_of_ids),
        unit(test_select_by_name_and_file),
        unit(test_select_refuses_names_that_are_paths),
        unit(test_select_refuses_another_data_sets),
        unit(test_select_all_is_cached_for_its_run),
        unit(test_select_all_does_not_trust_its_cache),
        unit(test_select_all_does_without_a_cache),
        unit(test_select_from_a_directory_of_somebody_else),
        unit(test_select_large_stays_small),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
