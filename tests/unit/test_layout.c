#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "ingest/layout.h"
#include "support/tree.h"

#define FILES_MAX 10

static void test_layout_tells_classes_and_splits(void **state) {
    static const struct {
        const char *name, *pattern;
        const char *files[FILES_MAX]; /* a name that ends in '/' is an empty directory */
        int has_splits;
        const char *classes; /* joined by spaces */
    } rows[] = {
        {"class folders, sorted by bytes",
         NULL,
         {"dog/a.jpg", "Zebra/a.jpg", "cat/a.jpg"},
         0,
         "Zebra cat dog"},
        {"flat", NULL, {"a.jpg", "b.jpg"}, 0, ""},
        {"an empty folder is a class too", NULL, {"dog/a.jpg", "ant/"}, 0, "ant dog"},
        {"hidden folders are none", NULL, {"dog/a.jpg", ".git/a.jpg"}, 0, "dog"},
        {"deeper levels belong to their class", NULL, {"dog/big/old/a.jpg"}, 0, "dog"},
        {"splits", NULL, {"train/dog/a.jpg", "val/cat/a.jpg", "test/dog/b.jpg"}, 1, "cat dog"},
        {"longer names of splits", NULL, {"validation/dog/a.jpg", "valid/cat/a.jpg"}, 1, "cat dog"},
        {"splits with files beside", NULL, {"train/dog/a.jpg", "labels.csv"}, 1, "dog"},
        {"one other folder: no splits",
         NULL,
         {"train/a.jpg", "val/a.jpg", "dog/a.jpg"},
         0,
         "dog train val"},
        {"splits without classes", NULL, {"train/a.jpg", "test/b.jpg"}, 1, ""},
        {"a field's folder", "masks/{stem}.png", {"dog/a.jpg", "masks/a.png"}, 0, "dog"},
        {"a field's folder beside splits",
         "masks/{stem}.png",
         {"train/dog/a.jpg", "masks/a.png"},
         1,
         "dog"},
        {"a field's folder in splits",
         "{split}/masks/{stem}.png",
         {"train/dog/a.jpg", "train/masks/a.png"},
         1,
         "dog"},
        {"a field's folder with other rubbish",
         "masks/{stem}.png",
         {"dog/a.jpg", "masks/a.png", "masks/Thumbs.db"},
         0,
         "dog"},
        {"a folder with images besides", "dog/{stem}.txt", {"dog/a.jpg", "dog/a.txt"}, 0, "dog"},
        {"images deep in it",
         "data/masks/{stem}.png",
         {"data/masks/a.png", "data/images/a.jpg"},
         0,
         "data"},
        {"suffix fields need no folder", ".txt", {"dog/a.jpg", "dog/a.txt"}, 0, "dog"},
    };
    (void)state;
    for (size_t i = 0; i < STN_COUNT(rows); i++) {
        struct tree t;
        struct stn_layout layout;
        struct stn_pattern pattern = {0};
        struct stn_layout_options options = {0};
        char classes[256] = "";
        tree_open(&t);
        for (size_t k = 0; k < FILES_MAX && rows[i].files[k]; k++) {
            size_t n = strlen(rows[i].files[k]);
            char name[64];
            strcpy(name, rows[i].files[k]);
            if (name[n - 1] == '/')
                name[n - 1] = '\0', tree_mkdir(&t, name);
            else
                tree_text(&t, name, "");
        }
        if (rows[i].pattern) {
            struct sterna_ingest_field field = {"mask", rows[i].pattern, -1};
            assert_int_equal(stn_pattern_init(&pattern, &field, NULL), STERNA_OK);
            options = (struct stn_layout_options){&pattern, 1, NULL};
        }
        assert_int_equal(stn_layout_read(&layout, t.fd, &options, NULL), STERNA_OK);
        for (size_t k = 0; k < layout.n_classes; k++) {
            if (k > 0) strcat(classes, " ");
            strcat(classes, layout.classes[k]);
        }
        if (layout.has_splits != rows[i].has_splits || strcmp(classes, rows[i].classes) != 0)
            fail_msg("%s: splits %d, classes \"%s\"", rows[i].name, layout.has_splits, classes);
        stn_layout_fini(&layout);
        stn_pattern_fini(&pattern);
        tree_close(&t);
    }
}

static void test_layout_counts_linked_directories_but_not_the_store(void **state) {
    struct tree t;
    struct stat st;
    struct stn_layout layout;
    (void)state;
    tree_open(&t);
    tree_text(&t, ".real/a.jpg", "");
    tree_link(&t, ".real", "cat");
    tree_link(&t, "nothing", "dangling");
    tree_text(&t, "store/data.mdb", "");
    assert_int_equal(fstatat(t.fd, "store", &st, 0), 0);
    struct stn_walk_inode skip = {st.st_dev, st.st_ino};
    struct stn_layout_options options = {.skip = &skip};
    assert_int_equal(stn_layout_read(&layout, t.fd, &options, NULL), STERNA_OK);
    assert_int_equal(layout.n_classes, 1);
    assert_string_equal(layout.classes[0], "cat");
    stn_layout_fini(&layout);
    tree_close(&t);
}

static int is(const char *at, size_t bytes, const char *want) {
    if (!at || !want) return !at && !want;
    return strlen(want) == bytes && memcmp(at, want, bytes) == 0;
}

static void test_layout_places_files(void **state) {
    static const struct {
        int has_splits;
        const char *path, *class_name, *split;
    } rows[] = {
        {0, "a.jpg", NULL, NULL},
        {0, "cat/a.jpg", "cat", NULL},
        {0, "cat/dog/a.jpg", "cat", NULL},
        {0, "cats/a.jpg", NULL, NULL},
        {0, "ca/a.jpg", NULL, NULL},
        {0, "train/cat/a.jpg", NULL, NULL},
        {1, "train/cat/a.jpg", "cat", "train"},
        {1, "validation/dog/x/a.jpg", "dog", "validation"},
        {1, "train/a.jpg", NULL, "train"},
        {1, "train/masks/a.jpg", NULL, "train"},
        {1, "a.jpg", NULL, NULL},
        {1, "cat/a.jpg", NULL, NULL},
    };
    char cat[] = "cat", dog[] = "dog";
    char *classes[] = {cat, dog};
    (void)state;
    for (size_t i = 0; i < STN_COUNT(rows); i++) {
        struct stn_layout layout = {rows[i].has_splits, classes, 2, 2};
        struct stn_place place;
        stn_layout_place(&layout, rows[i].path, strlen(rows[i].path), &place);
        if (!is(place.class_name, place.class_bytes, rows[i].class_name) ||
            !is(place.split, place.split_bytes, rows[i].split) || place.path != rows[i].path)
            fail_msg("row %zu, %s", i, rows[i].path);
    }
}

static void test_layout_finds_classes_by_name(void **state) {
    char a[] = "a", ab[] = "ab", b[] = "b", high[] = "\xff";
    char *classes[] = {a, ab, b, high};
    struct stn_layout layout = {0, classes, 4, 4};
    (void)state;
    assert_int_equal(stn_layout_class(&layout, "a", 1), 0);
    assert_int_equal(stn_layout_class(&layout, "ab", 2), 1);
    assert_int_equal(stn_layout_class(&layout, "b", 1), 2);
    assert_int_equal(stn_layout_class(&layout, "\xff", 1), 3);
    assert_int_equal(stn_layout_class(&layout, "abc", 3), -1);
    assert_int_equal(stn_layout_class(&layout, "", 0), -1);
}

static void test_layout_names_splits(void **state) {
    (void)state;
    assert_string_equal(stn_split_name("train", 5), "train");
    assert_string_equal(stn_split_name("valid", 5), "val");
    assert_string_equal(stn_split_name("validation", 10), "val");
    assert_string_equal(stn_split_name("val", 3), "val");
    assert_string_equal(stn_split_name("test", 4), "test");
    assert_null(stn_split_name("tes", 3));
    assert_null(stn_split_name("Train", 5));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_layout_tells_classes_and_splits),
        cmocka_unit_test(test_layout_counts_linked_directories_but_not_the_store),
        cmocka_unit_test(test_layout_places_files),
        cmocka_unit_test(test_layout_finds_classes_by_name),
        cmocka_unit_test(test_layout_names_splits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
