#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "ingest/pattern.h"

static void compile(struct stn_pattern *p, const char *name, const char *pattern, int kind) {
    struct sterna_error err = {0};
    struct sterna_ingest_field field = {name, pattern, kind};
    if (stn_pattern_init(p, &field, &err) != STERNA_OK) fail_msg("%s: %s", pattern, err.message);
}

static void test_pattern_expands(void **state) {
    static const struct {
        const char *pattern, *image, *class_name, *split, *want; /* want NULL: no such file */
    } rows[] = {
        {".txt", "cat/a.jpg", NULL, NULL, "cat/a.txt"},
        {".txt", "cat/a.b.jpg", NULL, NULL, "cat/a.b.txt"},
        {".txt", "cat.d/noext", NULL, NULL, "cat.d/noext.txt"},
        {".mask.png", "a.jpg", NULL, NULL, "a.mask.png"},
        {"masks/{stem}.png", "cat/a.jpg", NULL, NULL, "masks/a.png"},
        {"./masks/{stem}.png", "cat/a.jpg", NULL, NULL, "masks/a.png"},
        {"../masks/{name}", "cat/a.jpg", NULL, NULL, "../masks/a.jpg"},
        {"{dir}/m/{stem}.png", "cat/x/a.jpg", NULL, NULL, "cat/x/m/a.png"},
        {"{dir}/m/{stem}.png", "a.jpg", NULL, NULL, "m/a.png"},
        {"m/{dir}/{name}.json", "a.jpg", NULL, NULL, "m/a.jpg.json"},
        {"{dir}_m/{stem}.png", "cat/a.jpg", NULL, NULL, "cat_m/a.png"},
        {"{class}-{split}/{stem}", "train/cat/a.jpg", "cat", "train", "cat-train/a"},
        {"{class}/{stem}.txt", "a.jpg", NULL, NULL, NULL},
        {"{split}/{stem}.txt", "cat/a.jpg", "cat", NULL, NULL},
    };
    (void)state;
    char *path = NULL;
    size_t cap = 0;
    for (size_t i = 0; i < STN_COUNT(rows); i++) {
        struct stn_pattern p;
        compile(&p, "f", rows[i].pattern, -1);
        struct stn_place place = {
            rows[i].image, strlen(rows[i].image), rows[i].class_name, rows[i].split, 0, 0};
        if (place.class_name) place.class_bytes = strlen(place.class_name);
        if (place.split) place.split_bytes = strlen(place.split);
        int got = stn_pattern_expand(&p, &place, &path, &cap);
        if (got != (rows[i].want != NULL) || (got && strcmp(path, rows[i].want) != 0))
            fail_msg("%s of %s: %d %s", rows[i].pattern, rows[i].image, got, got ? path : "");
        stn_pattern_fini(&p);
    }
    free(path);
}

static void test_pattern_matches(void **state) {
    static const struct {
        const char *pattern, *path;
        int want;
    } rows[] = {
        {".txt", "cat/a.txt", 1},
        {".txt", "a.txt", 1},
        {".txt", "a.txt.jpg", 0},
        {".txt", ".txt", 0},
        {"masks/{stem}.png", "masks/a.png", 1},
        {"masks/{stem}.png", "masks/x/a.png", 0},
        {"masks/{stem}.png", "masks/.png", 0},
        {"masks/{stem}.png", "cat/masks/a.png", 0},
        {"./masks/{stem}.png", "masks/a.png", 1},
        {"{dir}/masks/{stem}.png", "masks/a.png", 1},
        {"{dir}/masks/{stem}.png", "cat/dog/masks/a.png", 1},
        {"{dir}/masks/{stem}.png", "catmasks/a.png", 0},
        {"{dir}_m/{stem}.png", "x/cat_m/a.png", 1},
        {"{dir}_m/{stem}.png", "cat/a.png", 0},
        {"{dir}/{stem}_mask.png", "cat/a_mask.png", 1},
        {"{dir}/{stem}_mask.png", "a_mask.png", 1},
        {"{dir}/{stem}_mask.png", "cat/a.png", 0},
        {"{class}/{split}/{name}", "a/b/c", 1},
        {"{class}/{split}/{name}", "a/b", 0},
        {"{stem}{stem}{stem}{stem}{stem}{stem}x", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaax", 1},
        {"{stem}y{stem}y{stem}y{stem}y", "yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyx", 0},
    };
    (void)state;
    for (size_t i = 0; i < STN_COUNT(rows); i++) {
        struct stn_pattern p;
        compile(&p, "f", rows[i].pattern, -1);
        int got = stn_pattern_matches(&p, rows[i].path, strlen(rows[i].path));
        if (got != rows[i].want) fail_msg("%s on %s: %d", rows[i].pattern, rows[i].path, got);
        stn_pattern_fini(&p);
    }
}

static void test_pattern_names_directories(void **state) {
    static const struct {
        const char *pattern, *path;
        int want;
    } rows[] = {
        {"masks/{stem}.png", "masks", 1},
        {"masks/{stem}.png", "mask", 0},
        {"masks/{stem}.png", "cat", 0},
        {"a/masks/{stem}.png", "a", 1},
        {"a/masks/{stem}.png", "a/masks", 1},
        {"a/masks/{stem}.png", "masks", 0},
        {"{class}/{stem}.png", "cat", 0},
        {"{dir}/{stem}.png", "cat", 0},
        {"{class}_masks/{stem}.png", "cat", 0},
        {"{class}_masks/{stem}.png", "cat_masks", 1},
        {"m_{class}/{stem}.png", "m_cat", 1},
        {"{split}/masks/{stem}.png", "train", 0},
        {"{split}/masks/{stem}", "train/masks", 1},
        {"{dir}/masks/{stem}.png", "masks", 1},
        {"{dir}/masks/{stem}.png", "cat", 0},
        {"masks/{dir}/{stem}.png", "masks", 1},
        {".txt", "cat", 0},
    };
    (void)state;
    for (size_t i = 0; i < STN_COUNT(rows); i++) {
        struct stn_pattern p;
        compile(&p, "f", rows[i].pattern, -1);
        int got = stn_pattern_names_directory(&p, rows[i].path, strlen(rows[i].path));
        if (got != rows[i].want) fail_msg("%s on %s: %d", rows[i].pattern, rows[i].path, got);
        stn_pattern_fini(&p);
    }
}

static void test_pattern_tells_the_kind_by_suffix_unless_given(void **state) {
    static const struct {
        const char *name, *pattern;
        int kind;
        enum sterna_kind want;
    } rows[] = {
        {"caption", ".txt", -1, STERNA_KIND_TEXT},
        {"boxes", ".json", -1, STERNA_KIND_JSON},
        {"emb", "e/{stem}.npy", -1, STERNA_KIND_NPY},
        {"mask", "masks/{stem}.png", -1, STERNA_KIND_MASK},
        {"hand_mask", "{dir}/{stem}_h.PNG", -1, STERNA_KIND_MASK},
        {"unmask", "m/{stem}.png", -1, STERNA_KIND_IMAGE},
        {"thumb", ".thumb.jpg", -1, STERNA_KIND_IMAGE},
        {"thumb", ".thumb.webp", -1, STERNA_KIND_IMAGE},
        {"raw", ".bin", -1, STERNA_KIND_BYTES},
        {"raw", ".txt", STERNA_KIND_BYTES, STERNA_KIND_BYTES},
    };
    (void)state;
    for (size_t i = 0; i < STN_COUNT(rows); i++) {
        struct stn_pattern p;
        compile(&p, rows[i].name, rows[i].pattern, rows[i].kind);
        if (p.kind != rows[i].want) fail_msg("%s=%s: %d", rows[i].name, rows[i].pattern, p.kind);
        assert_string_equal(p.name, rows[i].name);
        stn_pattern_fini(&p);
    }
}

static void test_pattern_refuses(void **state) {
    static char long_pattern[1100];
    memset(long_pattern, 'x', sizeof long_pattern - 1);
    memcpy(long_pattern, "{stem}", 6);
    static const struct {
        const char *name, *pattern;
        int kind;
        const char *says;
    } rows[] = {
        {"Caption", ".txt", -1, "\"Caption\""},
        {"9", ".txt", -1, "\"9\""},
        {"", ".txt", -1, "\"\""},
        {"image", ".txt", -1, "image"},
        {"label", ".txt", -1, "label"},
        {"a-b", ".txt", -1, "a-b"},
        {"abcdefghijklmnopqrstuvwxyz_12345", ".txt", -1, "31"},
        {NULL, ".txt", -1, "\"\""},
        {"ok", NULL, -1, "ok"},
        {"ok", "", -1, "ok"},
        {"ok", ".", -1, "ok"},
        {"ok", "masks/a.png", -1, "same file"},
        {"ok", "masks/{what}.png", -1, "{what}.png"},
        {"ok", "masks/{stem.png", -1, "{stem.png"},
        {"ok", ".txt", 6, "kind 6"},
        {"ok", ".txt", -2, "kind -2"},
        {"ok", long_pattern, -1, "1024"},
    };
    (void)state;
    for (size_t i = 0; i < STN_COUNT(rows); i++) {
        struct stn_pattern p;
        struct sterna_error err = {0};
        struct sterna_ingest_field field = {rows[i].name, rows[i].pattern, rows[i].kind};
        assert_int_equal(stn_pattern_init(&p, &field, &err), STERNA_EINVAL);
        if (!strstr(err.message, rows[i].says)) fail_msg("row %zu: %s", i, err.message);
        stn_pattern_fini(&p);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pattern_expands),
        cmocka_unit_test(test_pattern_matches),
        cmocka_unit_test(test_pattern_names_directories),
        cmocka_unit_test(test_pattern_tells_the_kind_by_suffix_unless_given),
        cmocka_unit_test(test_pattern_refuses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
