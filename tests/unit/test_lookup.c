/* Labels and lengths by id: what is listed, what is not, and a catalogue that others write. */
#include "support/check.h"

#include <stdio.h>
#include <string.h>

#include "catalog/lookup.h"
#include "support/temporary.h"

static const uint8_t dataset[16] = "data set 0000002";
static const char *const fields[] = {"image", "mask"};

struct fixture {
    char *dir, *path;
    struct stn_catalog *writer, *c;
    struct stn_lookup *lookup;
    int64_t labels[4];
    uint32_t lengths[8];
};

static void id_of(unsigned i, uint8_t id[16]) {
    memset(id, 7, 16);
    id[0] = (uint8_t)i;
}

/* Sample i: label i, an image of 100 * i bytes, a mask only if i is even. */
static void add(struct fixture *f, unsigned first, unsigned end) {
    uint64_t run;
    uint32_t number;
    int64_t label;
    assert_ok(stn_catalog_begin(f->writer, "test", &run, NULL));
    for (size_t i = 0; i < STN_COUNT(fields); i++)
        assert_ok(
            stn_catalog_declare_field(f->writer, fields[i], STERNA_KIND_IMAGE, &number, NULL));
    for (unsigned i = first; i < end; i++) {
        char name[] = "class a";
        name[6] = (char)('a' + i);
        assert_ok(stn_catalog_declare_class(f->writer, name, &label, NULL));
        struct stn_cell cells[] = {
            {"image_bytes", {.type = STERNA_INT, .i = 100 * i}},
            {"mask_bytes", {.type = i % 2 ? STERNA_NULL : STERNA_INT, .i = i}},
            {"label", {.type = STERNA_INT, .i = i}}};
        struct stn_row row = {.cells = cells, .n_cells = STN_COUNT(cells)};
        id_of(i, row.id);
        assert_ok(stn_catalog_insert(f->writer, &row, NULL));
    }
    assert_ok(stn_catalog_commit(f->writer, &run, NULL));
}

static int setup(void **state) {
    struct fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    f->dir = test_dir_make();
    f->path = strdup(test_path(f->dir, "catalog.sqlite"));
    assert_ok(stn_catalog_create(f->path, dataset, NULL));
    assert_ok(stn_catalog_open(&f->writer, f->path, STN_CATALOG_WRITE, NULL));
    add(f, 0, 3);
    assert_ok(stn_catalog_open(&f->c, f->path, STN_CATALOG_READ, NULL));
    *state = f;
    return 0;
}

static int teardown(void **state) {
    struct fixture *f = *state;
    stn_lookup_close(&f->lookup);
    stn_catalog_close(&f->c);
    stn_catalog_close(&f->writer);
    test_dir_remove(&f->dir);
    free(f->path);
    free(f);
    return 0;
}

static void open_lookup(struct fixture *f) {
    assert_ok(stn_lookup_open(&f->lookup, f->c, fields, 2, NULL));
}

static int look_up(struct fixture *f, const unsigned *samples, size_t n) {
    uint8_t ids[4][16];
    for (size_t i = 0; i < n; i++) id_of(samples[i], ids[i]);
    return stn_lookup_ids(f->lookup, (const uint8_t(*)[16])ids, n, f->labels, f->lengths, NULL);
}

static void test_lookup_keeps_the_order_of_the_ids(void **state) {
    struct fixture *f = *state;
    open_lookup(f);
    for (int again = 0; again < 2; again++) {
        const unsigned samples[] = {2, 0, 9, 2};
        const int64_t labels[] = {2, 0, STERNA_LABEL_NONE, 2};
        const uint32_t lengths[] = {200, 2, 0, 0, STERNA_LENGTH_UNKNOWN, STERNA_LENGTH_UNKNOWN,
                                    200, 2};
        assert_ok(look_up(f, samples, 4));
        assert_memory_equal(f->labels, labels, sizeof labels);
        assert_memory_equal(f->lengths, lengths, sizeof lengths);
    }
}

static void test_lookup_tells_null_from_unknown(void **state) {
    struct fixture *f = *state;
    const unsigned one = 1;
    open_lookup(f);
    assert_ok(look_up(f, &one, 1));
    assert_int_equal(f->lengths[1], STERNA_LENGTH_NULL);
    stn_lookup_close(&f->lookup);
    stn_catalog_lengths_are_unknown(f->c);
    open_lookup(f);
    assert_ok(look_up(f, &one, 1));
    assert_int_equal(f->lengths[0], 100);
    assert_int_equal(f->lengths[1], STERNA_LENGTH_UNKNOWN);
}

/* Not in WAL mode, which needs files beside it. */
static int is_single_file(const char *path) {
    unsigned char header[100] = {0};
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    assert_int_equal(fread(header, 1, sizeof header, file), sizeof header);
    fclose(file);
    return header[18] == 1;
}

/* A run that others commit is seen by the next look-up, and the look-up, though it stays open, does
 * not keep them from leaving a single file behind. */
static void test_lookup_is_in_nobodys_way(void **state) {
    struct fixture *f = *state;
    const unsigned three = 3, four = 4;
    uint64_t run;
    open_lookup(f);
    assert_ok(look_up(f, &three, 1));
    assert_int_equal(f->labels[0], STERNA_LABEL_NONE);
    assert_ok(stn_catalog_begin(f->writer, "in between", &run, NULL)); /* a -wal file is there */
    assert_ok(look_up(f, &three, 1));
    stn_catalog_rollback(f->writer);
    add(f, 3, 4);
    assert_true(is_single_file(f->path));
    assert_ok(look_up(f, &three, 1));
    assert_int_equal(f->labels[0], 3);
    add(f, 4, 5);
    assert_ok(look_up(f, &four, 1));
    assert_int_equal(f->lengths[0], 400);
}

static void test_lookup_of_a_lost_field_fails(void **state) {
    struct fixture *f = *state;
    const char *const none[] = {"sound"};
    const uint8_t ids[1][16] = {{0}};
    struct sterna_error err = {0};
    assert_ok(stn_lookup_open(&f->lookup, f->c, none, 1, NULL));
    for (int again = 0; again < 2; again++) {
        stn_error_clear(&err);
        assert_int_equal(stn_lookup_ids(f->lookup, ids, 1, f->labels, f->lengths, &err),
                         STERNA_EFORMAT);
        assert_non_null(strstr(err.message, "sound_bytes"));
    }
}

/* A file that is damaged later, and mended: one error in between, and it goes on. */
static void test_lookup_goes_on_after_an_error(void **state) {
    struct fixture *f = *state;
    const unsigned two = 2;
    char *aside = strdup(test_path(f->dir, "aside"));
    open_lookup(f);
    assert_int_equal(rename(f->path, aside), 0);
    assert_int_equal(look_up(f, &two, 1), STERNA_ENOTFOUND);
    assert_int_equal(rename(aside, f->path), 0);
    assert_ok(look_up(f, &two, 1));
    assert_int_equal(f->labels[0], 2);
    free(aside);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_lookup_keeps_the_order_of_the_ids, setup, teardown),
        cmocka_unit_test_setup_teardown(test_lookup_tells_null_from_unknown, setup, teardown),
        cmocka_unit_test_setup_teardown(test_lookup_is_in_nobodys_way, setup, teardown),
        cmocka_unit_test_setup_teardown(test_lookup_of_a_lost_field_fails, setup, teardown),
        cmocka_unit_test_setup_teardown(test_lookup_goes_on_after_an_error, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
