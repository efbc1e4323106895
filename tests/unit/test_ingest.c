/* Folders into stores, end to end. */
#include "support/check.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/digest.h"
#include "embedded.h"
#include "store.h"
#include "support/ingested.h"
#include "support/pictures.h"

#define RUN_OK(g)                                                                                  \
    do {                                                                                           \
        if (ingested_run(g) != STERNA_OK) fail_msg("%s", (g)->err.message);                        \
    } while (0)

static int count_of(const struct ingested *g, enum sterna_outcome outcome) {
    return (int)g->result.counts[outcome];
}

/* ---- layouts ---- */

static void test_ingest_class_folders(void **state) {
    struct ingested g;
    (void)state;
    ingested_open(&g);
    ingested_picture(&g, "dog/b.jpg", 1);
    ingested_picture(&g, "cat/deep/a.png", 2);
    ingested_picture(&g, "cat/c.webp", 3);
    ingested_picture(&g, "root.jpg", 4);
    tree_mkdir(&g.images, "bird");
    RUN_OK(&g);
    assert_int_equal(count_of(&g, STERNA_ADDED), 4);
    assert_true(g.result.run == 1);
    assert_true(g.result.bytes > 0);
    assert_string_equal(g.reports, "");
    /* torchvision's class_to_idx: bird 0, cat 1, dog 2 */
    assert_string_equal(
        ingested_query(&g, "path label class split width height channels format", 0),
        "cat/c.webp|1|cat|-|23|10|4|webp\n"
        "cat/deep/a.png|1|cat|-|22|10|3|png\n"
        "dog/b.jpg|2|dog|-|21|10|3|jpeg\n"
        "root.jpg|-|-|-|24|10|3|jpeg\n");
    assert_int_equal(ingested_holds_file(&g, "dog/b.jpg", "image", "dog/b.jpg"), 1);
    assert_int_equal(ingested_holds_file(&g, "cat/c.webp", "image", "cat/c.webp"), 1);
    assert_int_equal(ingested_holds_file(&g, "cat/c.webp", "image", "dog/b.jpg"), 0);
    ingested_close(&g);
}

static void test_ingest_splits(void **state) {
    struct ingested g;
    (void)state;
    ingested_open(&g);
    ingested_picture(&g, "train/dog/a.jpg", 1);
    ingested_picture(&g, "valid/cat/a.jpg", 2);
    ingested_picture(&g, "test/a.jpg", 3);
    ingested_picture(&g, "a.jpg", 4);
    RUN_OK(&g);
    assert_string_equal(ingested_query(&g, "path label class split", 0),
                        "a.jpg|-|-|-\n"
                        "test/a.jpg|-|-|test\n"
                        "train/dog/a.jpg|1|dog|train\n"
                        "valid/cat/a.jpg|0|cat|val\n");
    ingested_close(&g);
}

static void test_ingest_prefix_is_part_of_path_and_id(void **state) {
    static const struct {
        const char *prefix, *path;
    } rows[] = {{"a/b", "a/b/x.jpg"}, {"c/", "c/x.jpg"}, {"", "x.jpg"}, {NULL, "x.jpg"}};
    struct ingested g;
    (void)state;
    ingested_open(&g);
    ingested_picture(&g, "x.jpg", 1);
    for (size_t i = 0; i < STN_COUNT(rows); i++) {
        g.options.prefix = rows[i].prefix;
        RUN_OK(&g);
        assert_int_equal(ingested_holds_file(&g, rows[i].path, "image", "x.jpg"), 1);
    }
    assert_string_equal(ingested_query(&g, "path", 0), "a/b/x.jpg\nc/x.jpg\nx.jpg\n");
    ingested_close(&g);
}

static void test_ingest_later_classes_append(void **state) {
    struct ingested g;
    (void)state;
    ingested_open(&g);
    ingested_picture(&g, "cat/a.jpg", 1);
    ingested_picture(&g, "dog/a.jpg", 2);
    RUN_OK(&g);
    ingested_picture(&g, "ant/a.jpg", 3);
    RUN_OK(&g);
    assert_true(g.result.run == 2);
    assert_string_equal(ingested_query(&g, "class label run", 0), "ant|2|2\ncat|0|1\ndog|1|1\n");
    ingested_close(&g);
}

static void test_ingest_odd_names(void **state) {
    static const char *const names[] = {"new\nline", "quo\"te'",        "back\\slash", " ",
                                        "ü",         "not\xff\xfeutf8", "percent%s",   "-dash"};
    struct ingested g;
    char path[1200];
    (void)state;
    ingested_open(&g);
    for (size_t i = 0; i < STN_COUNT(names); i++) {
        snprintf(path, sizeof path, "%s/%s.jpg", names[i], names[i]);
        ingested_picture(&g, path, (unsigned)i);
    }
    memset(path, 0, sizeof path); /* a path of some 1000 bytes */
    for (int i = 0; i < 5; i++) {
        if (i > 0) strcat(path, "/");
        memset(path + strlen(path), 'a' + i, 190);
    }
    strcat(path, "/x.jpg");
    ingested_picture(&g, path, 99);
    RUN_OK(&g);
    assert_int_equal(count_of(&g, STERNA_ADDED), (int)STN_COUNT(names) + 1);
    assert_int_equal(ingested_holds_file(&g, path, "image", path), 1);
    for (size_t i = 0; i < STN_COUNT(names); i++) {
        snprintf(path, sizeof path, "%s/%s.jpg", names[i], names[i]);
        assert_int_equal(ingested_holds_file(&g, path, "image", path), 1);
    }
    RUN_OK(&g);
    assert_true(g.result.run == 0);
    ingested_close(&g);
}

static void test_ingest_paths_longer_than_the_system_takes(void **state) {
    enum { DEPTH = 40 };
    struct ingested g;
    struct picture p = picture_jpeg(8, 8, 3, 1);
    char level[121], *path = calloc(1, DEPTH * sizeof level + 16);
    (void)state;
    ingested_open(&g);
    memset(level, 'x', sizeof level - 1);
    level[sizeof level - 1] = '\0';
    int at = dup(g.images.fd);
    for (int i = 0; i < DEPTH; i++) {
        assert_int_equal(mkdirat(at, level, 0755), 0);
        int next = openat(at, level, O_RDONLY | O_DIRECTORY);
        close(at);
        at = next;
        strcat(strcat(path, level), "/");
    }
    int fd = openat(at, "a.jpg", O_WRONLY | O_CREAT, 0644);
    assert_int_equal(write(fd, p.data, p.bytes), p.bytes);
    close(fd);
    close(at);
    strcat(path, "a.jpg");
    RUN_OK(&g);
    assert_int_equal(count_of(&g, STERNA_ADDED), 1);
    assert_int_equal(ingested_holds(&g, path, "image", p.data, p.bytes), 1);
    free(path);
    free(p.data);
    ingested_close(&g);
}

static void test_ingest_passes_over_the_store_in_its_folder(void **state) {
    struct ingested g;
    struct sterna_store_options o = {.struct_size = sizeof o, .mode = STERNA_OPEN_CREATE};
    (void)state;
    ingested_open(&g);
    sterna_store_close(&g.store);
    assert_ok(sterna_store_open(&g.store, tree_path(&g.images, "store"), &o, &g.err));
    ingested_picture(&g, "cat/a.jpg", 1);
    RUN_OK(&g);
    RUN_OK(&g);
    assert_int_equal(count_of(&g, STERNA_UNCHANGED), 1);
    assert_string_equal(g.reports, "");
    assert_string_equal(ingested_query(&g, "class label", 0), "cat|0\n");
    int rc = sterna_ingest_folder(g.store, tree_path(&g.images, "store"), NULL, NULL, &g.err);
    assert_int_equal(rc, STERNA_EINVAL);
    ingested_close(&g);
}

/* ---- what is skipped ---- */

static void test_ingest_reports_what_it_skips(void **state) {
    struct ingested g;
    struct picture big = picture_png(200, 200, 3, 1);
    (void)state;
    ingested_open(&g);
    ingested_picture(&g, "cat/good.jpg", 1);
    tree_text(&g.images, "cat/notes.txt", "hello");
    tree_text(&g.images, "cat/empty.jpg", "");
    tree_text(&g.images, "cat/broken.jpg", "\xff\xd8\xff");
    tree_write(&g.images, "cat/big.png", big.data, big.bytes);
    tree_link(&g.images, "nowhere", "cat/gone.jpg");
    tree_link(&g.images, "..", "cat/loop");
    assert_int_equal(mkfifoat(g.images.fd, "cat/pipe.jpg", 0600), 0);
    tree_text(&g.images, "cat/.hidden", "hello");
    g.options.max_bytes = 20000;
    RUN_OK(&g);
    char want[512];
    snprintf(want, sizeof want,
             "empty: cat/empty.jpg: is empty\n"
             "no image: cat/notes.txt: is no JPEG, PNG or WebP file\n"
             "too big: cat/big.png: has %zu bytes, more than the 20000 allowed\n"
             "unreadable: cat/gone.jpg: is a link to nothing: No such file or directory\n"
             "unreadable: cat/loop: directory is a link back to one it lies in\n"
             "unreadable: cat/pipe.jpg: is no regular file\n",
             big.bytes);
    char *broken = strstr(g.reports, "no image: cat/broken.jpg: is a broken JPEG: ");
    assert_non_null(broken);
    char *next = strchr(broken, '\n') + 1;
    memmove(broken, next, strlen(next) + 1);
    assert_string_equal(g.reports, want);
    assert_int_equal(count_of(&g, STERNA_ADDED), 1);
    assert_int_equal(count_of(&g, STERNA_NO_IMAGE), 2);
    assert_int_equal(count_of(&g, STERNA_EMPTY), 1);
    assert_int_equal(count_of(&g, STERNA_TOO_BIG), 1);
    assert_int_equal(count_of(&g, STERNA_UNREADABLE), 3);
    assert_string_equal(ingested_query(&g, "path", 0), "cat/good.jpg\n");
    free(big.data);
    ingested_close(&g);
}

static void test_ingest_stop_on_error_lists_nothing(void **state) {
    static const struct {
        const char *name, *data;
        int code;
    } rows[] = {{"x.txt", "hello", STERNA_EDECODE},
                {"x.jpg", "", STERNA_EDECODE},
                {"x.png", "0123456789", STERNA_EINVAL}};
    struct ingested g;
    (void)state;
    ingested_open(&g);
    g.options.stop_on_error = 1;
    g.options.max_bytes = 6;
    for (size_t i = 0; i < STN_COUNT(rows); i++) {
        tree_text(&g.images, rows[i].name, rows[i].data);
        assert_int_equal(ingested_run(&g), rows[i].code);
        assert_int_equal(g.err.code, rows[i].code);
        assert_non_null(strstr(g.err.message, rows[i].name));
        unlinkat(g.images.fd, rows[i].name, 0);
    }
    assert_string_equal(ingested_query(&g, "path", 0), "");
    ingested_close(&g);
}

/* As a user whom permissions bind. */
static void test_ingest_reports_files_it_may_not_read(void **state) {
    struct ingested g;
    (void)state;
    ingested_open(&g);
    ingested_picture(&g, "cat/a.jpg", 1);
    ingested_picture(&g, "cat/b.jpg", 2);
    sterna_store_close(&g.store);
    assert_int_equal(fchmodat(g.images.fd, "cat/b.jpg", 0, 0), 0);
    assert_int_equal(chmod(g.images.path, 0755), 0);
    assert_int_equal(chmod(g.home.path, 0777), 0);
    pid_t pid = fork();
    if (pid == 0) {
        struct sterna_store_options o = {.struct_size = sizeof o, .mode = STERNA_OPEN_CREATE};
        if (geteuid() == 0 && setuid(65534) != 0) _exit(2);
        if (sterna_store_open(&g.store, tree_path(&g.home, "other"), &o, &g.err) < 0) _exit(3);
        if (ingested_run(&g) < 0) _exit(4);
        if (strcmp(g.reports, "unreadable: cat/b.jpg: cannot be opened: Permission denied\n") != 0)
            _exit(5);
        sterna_store_close(&g.store);
        _exit(g.result.counts[STERNA_ADDED] == 1 ? 0 : 6);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    ingested_close(&g);
}

/* ---- again ---- */

static void test_ingest_again_changes_nothing(void **state) {
    struct ingested g;
    (void)state;
    ingested_open(&g);
    for (unsigned i = 0; i < 20; i++) {
        char path[32];
        snprintf(path, sizeof path, "c%u/%u.jpg", i % 3, i);
        ingested_picture(&g, path, i);
    }
    RUN_OK(&g);
    char *before = strdup(ingested_query(&g, "id path run label image_bytes", 0));
    for (int i = 0; i < 2; i++) {
        ingested_reopen(&g);
        RUN_OK(&g);
        assert_true(g.result.run == 0);
        assert_int_equal(count_of(&g, STERNA_UNCHANGED), 20);
        assert_int_equal(count_of(&g, STERNA_ADDED), 0);
        assert_true(g.result.bytes == 0);
        assert_string_equal(ingested_query(&g, "id path run label image_bytes", 0), before);
    }
    free(before);
    ingested_close(&g);
}

static void test_ingest_lists_conflicts_and_replaces_only_when_told(void **state) {
    struct ingested g;
    (void)state;
    ingested_open(&g);
    ingested_picture(&g, "a.jpg", 1);
    ingested_picture(&g, "b.jpg", 2);
    RUN_OK(&g);
    struct picture old = picture_jpeg(21, 10, 3, 1);
    ingested_picture(&g, "a.jpg", 7);
    RUN_OK(&g);
    assert_true(g.result.run == 0);
    assert_int_equal(count_of(&g, STERNA_CONFLICT), 1);
    assert_int_equal(count_of(&g, STERNA_UNCHANGED), 1);
    char want[128];
    snprintf(want, sizeof want, "conflict: a.jpg: stored: %zu bytes, crc %08x; file: ", old.bytes,
             stn_crc32c(0, old.data, old.bytes));
    assert_memory_equal(g.reports, want, strlen(want));
    assert_int_equal(ingested_holds(&g, "a.jpg", "image", old.data, old.bytes), 1);
    assert_string_equal(ingested_query(&g, "path width run", 0), "a.jpg|21|1\nb.jpg|22|1\n");

    g.options.stop_on_error = 1;
    assert_int_equal(ingested_run(&g), STERNA_ECONFLICT);
    g.options.replace = 1; /* a replacement is no error */
    RUN_OK(&g);
    assert_true(g.result.run == 2);
    assert_int_equal(count_of(&g, STERNA_REPLACED), 1);
    assert_int_equal(ingested_holds_file(&g, "a.jpg", "image", "a.jpg"), 1);
    assert_string_equal(ingested_query(&g, "path width run", 0), "a.jpg|27|2\nb.jpg|22|1\n");
    RUN_OK(&g);
    assert_true(g.result.run == 0);
    free(old.data);
    ingested_close(&g);
}

/* Values that a killed run has left behind: no row lists them. */
static void leave_orphan(const struct ingested *g, const char *path, uint8_t field,
                         const void *data, size_t bytes) {
    struct stn_lmdb_writer *w;
    uint8_t id[16];
    assert_ok(stn_uuid5(stn_catalog_dataset_id(g->store->catalog), path, strlen(path), id));
    assert_ok(stn_lmdb_writer_open(&w, stn_embedded_lmdb(g->store), NULL));
    assert_ok(stn_lmdb_writer_put(w, id, field, data, bytes, stn_crc32c(0, data, bytes), NULL));
    assert_ok(stn_lmdb_writer_commit(w, NULL));
    stn_lmdb_writer_close(&w);
}

static void test_ingest_takes_over_what_a_killed_run_left(void **state) {
    struct ingested g;
    struct sterna_ingest_field fields[] = {{"caption", ".txt", -1}};
    struct picture same = picture_jpeg(21, 10, 3, 1);
    (void)state;
    ingested_open(&g);
    ingested_picture(&g, "same.jpg", 1);
    ingested_picture(&g, "other.jpg", 2);
    ingested_picture(&g, "null.jpg", 3);
    tree_text(&g.images, "other.txt", "new");
    leave_orphan(&g, "same.jpg", 0, same.data, same.bytes);
    leave_orphan(&g, "other.jpg", 0, "old bytes", 9);
    leave_orphan(&g, "other.jpg", 1, "old", 3);
    leave_orphan(&g, "null.jpg", 1, "left", 4);
    g.options.fields = fields;
    g.options.n_fields = 1;
    RUN_OK(&g);
    assert_int_equal(count_of(&g, STERNA_ADDED), 3);
    assert_string_equal(g.reports, "");
    struct stat other, null;
    assert_int_equal(fstatat(g.images.fd, "other.jpg", &other, 0), 0);
    assert_int_equal(fstatat(g.images.fd, "null.jpg", &null, 0), 0);
    assert_int_equal(g.result.bytes, other.st_size + null.st_size + 3); /* same.jpg was there */
    assert_int_equal(ingested_holds_file(&g, "same.jpg", "image", "same.jpg"), 1);
    assert_int_equal(ingested_holds_file(&g, "other.jpg", "image", "other.jpg"), 1);
    assert_int_equal(ingested_holds(&g, "other.jpg", "caption", "new", 3), 1);
    assert_int_equal(ingested_holds(&g, "null.jpg", "caption", "left", 4), -1);
    free(same.data);
    ingested_close(&g);
}

static void test_ingest_orphan_fields_of_listed_samples_are_no_conflict(void **state) {
    struct ingested g;
    struct sterna_ingest_field fields[] = {{"caption", ".txt", -1}};
    (void)state;
    ingested_open(&g);
    ingested_picture(&g, "a.jpg", 1);
    ingested_picture(&g, "b.jpg", 2);
    RUN_OK(&g);
    leave_orphan(&g, "a.jpg", 1, "of another field, once", 22);
    leave_orphan(&g, "b.jpg", 1, "of another field, once", 22);
    tree_text(&g.images, "a.txt", "a caption");
    g.options.fields = fields;
    g.options.n_fields = 1;
    RUN_OK(&g);
    assert_int_equal(count_of(&g, STERNA_UNCHANGED), 2);
    assert_int_equal(ingested_holds(&g, "a.jpg", "caption", "a caption", 9), 1);
    assert_int_equal(ingested_holds(&g, "b.jpg", "caption", "", 0), -1);
    assert_string_equal(ingested_query(&g, "path caption_bytes", 0), "a.jpg|9\nb.jpg|-\n");
    ingested_close(&g);
}

/* ---- fields ---- */

static void test_ingest_fields_of_every_kind(void **state) {
    static const uint8_t npy[] = "\x93NUMPY\x01\x00\x02\x00{}abc";
    static const struct sterna_ingest_field fields[] = {
        {"caption", ".txt", -1},         {"boxes", ".json", -1},
        {"emb", "emb/{stem}.npy", -1},   {"mask", "masks/{class}/{stem}.png", -1},
        {"raw", "{dir}/{name}.raw", -1},
    };
    struct ingested g;
    (void)state;
    ingested_open(&g);
    ingested_picture(&g, "cat/a.jpg", 1);
    tree_text(&g.images, "cat/a.txt", "a cat \xc3\xa9");
    tree_text(&g.images, "cat/a.json", "{\"box\": [1, 2.5, null]}");
    tree_write(&g.images, "emb/a.npy", npy, sizeof npy - 1);
    ingested_picture(&g, "masks/cat/a.png", 5);
    tree_text(&g.images, "cat/a.jpg.raw", "");
    ingested_picture(&g, "dog/b.jpg", 2); /* has none of them */
    ingested_picture(&g, "masks/cat/unused.png", 6);
    g.options.fields = fields;
    g.options.n_fields = STN_COUNT(fields);
    RUN_OK(&g);
    assert_string_equal(g.reports, "");
    assert_int_equal(count_of(&g, STERNA_ADDED), 2);
    assert_string_equal(
        ingested_query(&g, "path label caption_bytes boxes_bytes emb_bytes raw_bytes", 0),
        "cat/a.jpg|0|8|23|15|0\ndog/b.jpg|1|-|-|-|-\n");
    assert_int_equal(ingested_holds_file(&g, "cat/a.jpg", "caption", "cat/a.txt"), 1);
    assert_int_equal(ingested_holds_file(&g, "cat/a.jpg", "boxes", "cat/a.json"), 1);
    assert_int_equal(ingested_holds_file(&g, "cat/a.jpg", "emb", "emb/a.npy"), 1);
    assert_int_equal(ingested_holds_file(&g, "cat/a.jpg", "mask", "masks/cat/a.png"), 1);
    assert_int_equal(ingested_holds_file(&g, "cat/a.jpg", "raw", "cat/a.jpg.raw"), 1);
    assert_int_equal(ingested_holds(&g, "dog/b.jpg", "mask", "", 0), -1);
    struct sterna_field f;
    static const enum sterna_kind kinds[] = {STERNA_KIND_IMAGE, STERNA_KIND_TEXT,
                                             STERNA_KIND_JSON,  STERNA_KIND_NPY,
                                             STERNA_KIND_MASK,  STERNA_KIND_BYTES};
    for (uint32_t i = 0; i < STN_COUNT(kinds); i++) {
        assert_ok(sterna_store_field(g.store, i, &f));
        assert_int_equal(f.kind, kinds[i]);
    }
    RUN_OK(&g);
    assert_true(g.result.run == 0);
    assert_int_equal(count_of(&g, STERNA_UNCHANGED), 2);
    ingested_close(&g);
}

static void test_ingest_refuses_bad_field_files(void **state) {
    static const char big[1000] = {0};
    static const struct {
        const char *pattern, *file, *data;
        size_t bytes;
        const char *says;
    } rows[] = {
        {".txt", "a.txt", "\xff", 1, "field f: a.txt is not UTF-8 text"},
        {".json", "a.json", "{", 1, "field f: a.json is not valid JSON"},
        {".json", "a.json", "", 0, "field f: a.json is not valid JSON"},
        {".json", "a.json", "{}\0x", 4, "field f: a.json is not valid JSON"},
        {".json", "a.json", "\"\xff\"", 3, "field f: a.json is not valid JSON"},
        {".npy", "a.npy", "NUMPY", 5, "field f: a.npy is not a NumPy file"},
        {".npy", "a.npy", "\x93NUMPY\1\0\xff\xff{", 11, "field f: a.npy is not a NumPy file"},
        {".m.png", "a.m.png", "hello", 5, "field f: a.m.png is no JPEG, PNG or WebP file"},
        {".m.png", "a.m.png", "", 0, "field f: a.m.png is no JPEG, PNG or WebP file"},
        {"{dir}/d/{stem}.bin", "d/a.bin/x", "", 0, "field f: d/a.bin is no regular file"},
        {".bin", "a.bin", big, sizeof big, "field f: a.bin has 1000 bytes, more than"},
    };
    (void)state;
    struct ingested g;
    struct picture p = picture_jpeg(1, 1, 1, 1);
    ingested_open(&g);
    tree_write(&g.images, "a.jpg", p.data, p.bytes);
    for (size_t i = 0; i < STN_COUNT(rows); i++) {
        struct sterna_ingest_field field = {"f", rows[i].pattern, -1};
        tree_write(&g.images, rows[i].file, rows[i].data, rows[i].bytes);
        g.options.fields = &field;
        g.options.n_fields = 1;
        g.options.max_bytes = p.bytes;
        RUN_OK(&g);
        assert_int_equal(count_of(&g, STERNA_BAD_FIELD), 1);
        if (!strstr(g.reports, rows[i].says)) fail_msg("row %zu: %s", i, g.reports);
        unlinkat(g.images.fd, rows[i].file, 0);
    }
    assert_string_equal(ingested_query(&g, "path", 0), "");
    ingested_close(&g);
    free(p.data);
}

static void test_ingest_adds_new_fields_to_listed_samples(void **state) {
    struct ingested g;
    struct sterna_ingest_field fields[] = {{"caption", ".txt", -1}};
    (void)state;
    ingested_open(&g);
    ingested_picture(&g, "a.jpg", 1);
    ingested_picture(&g, "b.jpg", 2);
    RUN_OK(&g);
    tree_text(&g.images, "a.txt", "one");
    g.options.fields = fields;
    g.options.n_fields = 1;
    RUN_OK(&g);
    assert_true(g.result.run == 2);
    assert_int_equal(count_of(&g, STERNA_UNCHANGED), 2);
    assert_string_equal(ingested_query(&g, "path run caption_bytes", 0), "a.jpg|1|3\nb.jpg|1|-\n");
    assert_int_equal(ingested_holds(&g, "a.jpg", "caption", "one", 3), 1);

    tree_text(&g.images, "a.txt", "other");
    RUN_OK(&g);
    assert_int_equal(count_of(&g, STERNA_CONFLICT), 1);
    assert_non_null(strstr(g.reports, "conflict: a.jpg: field caption: stored: 3 bytes, crc"));
    assert_int_equal(ingested_holds(&g, "a.jpg", "caption", "one", 3), 1);

    assert_int_equal(unlinkat(g.images.fd, "a.txt", 0), 0); /* gone is no conflict */
    RUN_OK(&g);
    assert_int_equal(count_of(&g, STERNA_UNCHANGED), 2);
    assert_int_equal(ingested_holds(&g, "a.jpg", "caption", "one", 3), 1);
    g.options.replace = 1; /* unless the folder is to rule */
    RUN_OK(&g);
    assert_int_equal(count_of(&g, STERNA_REPLACED), 1);
    assert_int_equal(ingested_holds(&g, "a.jpg", "caption", "", 0), -1);
    assert_string_equal(ingested_query(&g, "path caption_bytes", 0), "a.jpg|-\nb.jpg|-\n");
    ingested_close(&g);
}

static void test_ingest_refuses_fields_that_cannot_be(void **state) {
    static const struct {
        struct sterna_ingest_field fields[2];
        int code;
        const char *says;
    } rows[] = {
        {{{"image", ".txt", -1}, {"x", ".x", -1}}, STERNA_EINVAL, "image"},
        {{{"a", ".txt", -1}, {"a", ".x", -1}}, STERNA_EINVAL, "twice"},
        {{{"a", "same.txt", -1}, {"b", ".x", -1}}, STERNA_EINVAL, "same file"},
        {{{"caption", ".txt", STERNA_KIND_JSON}, {"b", ".x", -1}}, STERNA_EMISMATCH, "caption"},
    };
    struct ingested g;
    struct sterna_ingest_field caption = {"caption", ".txt", -1};
    (void)state;
    ingested_open(&g);
    ingested_picture(&g, "a.jpg", 1);
    g.options.fields = &caption;
    g.options.n_fields = 1;
    RUN_OK(&g);
    for (size_t i = 0; i < STN_COUNT(rows); i++) {
        g.options.fields = rows[i].fields;
        g.options.n_fields = 2;
        int rc = ingested_run(&g);
        if (rc != rows[i].code || !strstr(g.err.message, rows[i].says))
            fail_msg("row %zu: %d %s", i, rc, g.err.message);
    }
    struct sterna_ingest_field many[32] = {{0}};
    g.options.fields = many;
    g.options.n_fields = 32;
    assert_int_equal(ingested_run(&g), STERNA_EINVAL);
    ingested_close(&g);
}

/* ---- metadata ---- */

static void use_metadata(struct ingested *g, const char *text) {
    tree_text(&g->images, "metadata.csv", text);
    g->options.metadata_file = tree_path(&g->images, "metadata.csv");
}

static void test_ingest_metadata_adds_columns(void **state) {
    struct ingested g;
    (void)state;
    ingested_open(&g);
    ingested_picture(&g, "cat/a.jpg", 1);
    ingested_picture(&g, "cat/b.jpg", 2);
    ingested_picture(&g, "dog/c.jpg", 3);
    use_metadata(&g, "file_name,score,n,zip,note\n"
                     "cat/a.jpg,0.5,7,007,\"two\nlines\"\n"
                     "./cat/b.jpg,,8,,x\n"
                     "gone.jpg,1,9,1,y\n");
    RUN_OK(&g);
    assert_string_equal(g.reports, ""); /* the CSV itself is no image that failed */
    assert_true(g.result.metadata_unmatched == 1);
    assert_true(g.last.files_seen == 3 && g.last.files_done == 3);
    assert_true(g.last.files_total == 0 || g.last.files_total == 3); /* counted in time or not */
    assert_string_equal(ingested_query(&g, "path class score n zip note", 0),
                        "cat/a.jpg|cat|0.5|7|007|two\nlines\n"
                        "cat/b.jpg|cat|-|8|-|x\n"
                        "dog/c.jpg|dog|-|-|-|-\n");
    assert_string_equal(ingested_query(&g, "path", "n > 7"), "cat/b.jpg\n");
    RUN_OK(&g);
    assert_true(g.result.run == 0);

    use_metadata(&g, "file_name,score,new\ncat/a.jpg,0.75,1\ncat/b.jpg,0.5,\n");
    RUN_OK(&g);
    assert_true(g.result.run == 2);
    assert_int_equal(count_of(&g, STERNA_UNCHANGED), 3);
    assert_string_equal(ingested_query(&g, "path run score n new", 0), "cat/a.jpg|1|0.75|7|1\n"
                                                                       "cat/b.jpg|1|0.5|8|-\n"
                                                                       "dog/c.jpg|1|-|-|-\n");
    ingested_close(&g);
}

static void test_ingest_metadata_overrules_folders(void **state) {
    struct ingested g;
    (void)state;
    ingested_open(&g);
    ingested_picture(&g, "images/a.jpg", 1);
    ingested_picture(&g, "images/b.jpg", 2);
    ingested_picture(&g, "owl/c.jpg", 3);
    ingested_picture(&g, "owl/d.jpg", 4);
    use_metadata(&g, "path,class,split\n"
                     "images/a.jpg,zebra,train\n"
                     "images/b.jpg,ant,\n"
                     "owl/c.jpg,bee,test\n"
                     "owl/d.jpg,,val\n");
    RUN_OK(&g);
    /* images/ is a container: all it holds has a class elsewhere. owl/ is a class. */
    assert_string_equal(ingested_query(&g, "path class label split", 0),
                        "images/a.jpg|zebra|3|train\n"
                        "images/b.jpg|ant|0|-\n"
                        "owl/c.jpg|bee|1|test\n"
                        "owl/d.jpg|owl|2|val\n");
    g.options.metadata_file = NULL; /* folders do not take back what a CSV has said */
    RUN_OK(&g);
    assert_string_equal(ingested_query(&g, "path class split", "split = 'train'"),
                        "images/a.jpg|zebra|train\n");
    ingested_close(&g);
}

static void test_ingest_metadata_gives_labels(void **state) {
    struct ingested g;
    (void)state;
    ingested_open(&g);
    ingested_picture(&g, "cat/a.jpg", 1);
    ingested_picture(&g, "cat/b.jpg", 2);
    use_metadata(&g, "path,label\ncat/a.jpg,42\ncat/b.jpg,\n");
    RUN_OK(&g);
    assert_string_equal(ingested_query(&g, "path class label", 0),
                        "cat/a.jpg|cat|42\ncat/b.jpg|cat|0\n");
    ingested_close(&g);
}

static void test_ingest_refuses_bad_metadata(void **state) {
    static const struct {
        const char *text, *says;
    } rows[] = {
        {"path,width\na.jpg,1\n", "column \"width\""},
        {"path,id\na.jpg,1\n", "column \"id\""},
        {"path,image_bytes\na.jpg,1\n", "column \"image_bytes\""},
        {"path,two words\na.jpg,1\n", "column \"two words\""},
        {"path,label\na.jpg,dog\n", "must hold integers"},
        {"path,x\na.jpg\n", "line 2"},
    };
    struct ingested g;
    (void)state;
    ingested_open(&g);
    ingested_picture(&g, "a.jpg", 1);
    for (size_t i = 0; i < STN_COUNT(rows); i++) {
        use_metadata(&g, rows[i].text);
        assert_int_equal(ingested_run(&g), STERNA_EINVAL);
        if (!strstr(g.err.message, rows[i].says) || !strstr(g.err.message, "metadata.csv"))
            fail_msg("row %zu: %s", i, g.err.message);
    }
    g.options.metadata_file = tree_path(&g.images, "none.csv");
    assert_int_equal(ingested_run(&g), STERNA_ENOTFOUND);
    g.options.metadata_file = NULL;
    RUN_OK(&g); /* nothing of it has stayed */
    assert_true(g.result.run == 1);
    ingested_close(&g);
}

/* ---- stopping, failing ---- */

static void test_ingest_progress_counts_and_cancels(void **state) {
    struct ingested g;
    (void)state;
    ingested_open(&g);
    for (unsigned i = 0; i < 10; i++) {
        char path[16];
        snprintf(path, sizeof path, "%u.jpg", i);
        ingested_picture(&g, path, i);
    }
    RUN_OK(&g);
    assert_true(g.n_progress >= 1);
    assert_true(g.last.files_seen == 10 && g.last.files_done == 10);
    assert_true(g.last.bytes_done == g.result.bytes);
    assert_true(g.last.counts[STERNA_ADDED] == 10);
    ingested_picture(&g, "new.jpg", 11);
    g.progress_stops_at = 1;
    assert_int_equal(ingested_run(&g), STERNA_ECANCELED);
    assert_string_equal(ingested_query(&g, "path", "path = 'new.jpg'"), "");
    g.progress_stops_at = 0;
    RUN_OK(&g);
    assert_int_equal(count_of(&g, STERNA_ADDED), 1);
    ingested_close(&g);
}

enum { BAD_FILES = 12 };

static void mixed_folder(const struct ingested *g) {
    char path[32];
    for (unsigned i = 0; i < 5 * BAD_FILES; i++) {
        snprintf(path, sizeof path, "c%u/%u.jpg", i % 4, i);
        if (i % 5 == 0)
            tree_text(&g->images, path, "no image");
        else
            ingested_picture(g, path, i);
    }
}

static void check_complete(struct ingested *g) {
    RUN_OK(g);
    assert_int_equal(count_of(g, STERNA_ADDED) + count_of(g, STERNA_UNCHANGED), 4 * BAD_FILES);
    assert_int_equal(count_of(g, STERNA_CONFLICT), 0);
    for (unsigned i = 0; i < 5 * BAD_FILES; i++) {
        char path[32];
        snprintf(path, sizeof path, "c%u/%u.jpg", i % 4, i);
        assert_int_equal(ingested_holds_file(g, path, "image", path), i % 5 ? 1 : -1);
    }
    struct sterna_store_info info;
    assert_ok(sterna_store_info(g->store, &info, NULL));
    assert_int_equal(info.n_samples, 4 * BAD_FILES);
}

static void test_ingest_cancelled_anywhere_completes_later(void **state) {
    struct ingested g;
    (void)state;
    ingested_open(&g);
    mixed_folder(&g);
    for (int k = 1; k <= BAD_FILES; k++) {
        g.report_stops_at = k;
        assert_int_equal(ingested_run(&g), STERNA_ECANCELED);
        assert_int_equal(g.n_reports, k);
        assert_string_equal(ingested_query(&g, "path", 0), "");
    }
    g.report_stops_at = 0;
    check_complete(&g);
    ingested_close(&g);
}

static void test_ingest_killed_anywhere_completes_later(void **state) {
    struct ingested g;
    (void)state;
    ingested_open(&g);
    mixed_folder(&g);
    sterna_store_close(&g.store);
    for (int k = 1; k <= BAD_FILES; k++) {
        pid_t pid = fork();
        if (pid == 0) {
            g.report_kills_at = k;
            ingested_reopen(&g);
            ingested_run(&g);
            _exit(0);
        }
        int status;
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFSIGNALED(status));
    }
    ingested_reopen(&g);
    assert_string_equal(ingested_query(&g, "path", 0), "");
    check_complete(&g);
    ingested_close(&g);
}

static void test_ingest_two_at_once_is_busy(void **state) {
    struct ingested g;
    sterna_ingest *in;
    uint64_t run;
    (void)state;
    ingested_open(&g);
    ingested_picture(&g, "a.jpg", 1);
    assert_ok(sterna_ingest_open(&in, g.store, "here", 0, &g.err));
    assert_int_equal(ingested_run(&g), STERNA_EBUSY);
    assert_ok(sterna_ingest_commit(in, &run, &g.err));
    assert_true(run == 0);
    sterna_ingest_close(&in);
    RUN_OK(&g);
    ingested_close(&g);
}

static void test_ingest_refuses_what_is_no_folder(void **state) {
    struct ingested g;
    (void)state;
    ingested_open(&g);
    tree_text(&g.images, "file", "x");
    assert_int_equal(
        sterna_ingest_folder(g.store, tree_path(&g.images, "none"), NULL, NULL, &g.err),
        STERNA_ENOTFOUND);
    assert_non_null(strstr(g.err.message, "none"));
    assert_int_equal(
        sterna_ingest_folder(g.store, tree_path(&g.images, "file"), NULL, NULL, &g.err),
        STERNA_EINVAL);
    assert_int_equal(sterna_ingest_folder(g.store, NULL, NULL, NULL, NULL), STERNA_EINVAL);
    g.options.struct_size = 3;
    assert_int_equal(ingested_run(&g), STERNA_EINVAL);
    g.options.struct_size = sizeof g.options;
    sterna_store_close(&g.store);
    struct sterna_store_options o = {.struct_size = sizeof o, .mode = STERNA_OPEN_READ};
    assert_ok(sterna_store_open(&g.store, tree_path(&g.home, "store"), &o, &g.err));
    assert_int_equal(ingested_run(&g), STERNA_EREADONLY);
    ingested_close(&g);
}

static void test_ingest_empty_folder_makes_no_run(void **state) {
    struct ingested g;
    (void)state;
    ingested_open(&g);
    RUN_OK(&g);
    assert_true(g.result.run == 0);
    ingested_close(&g);
}

/* On a file system of 3 MiB, where the machine lets a test mount one. */
static void test_ingest_on_a_full_disk_loses_nothing(void **state) {
    struct ingested g;
    (void)state;
    ingested_open(&g);
    struct picture p = picture_png(150, 150, 4, 1);
    for (int i = 0; i < 80; i++) { /* some 90 kB each: 7 MB */
        char path[16];
        snprintf(path, sizeof path, "%d.png", i);
        tree_write(&g.images, path, p.data, p.bytes);
    }
    free(p.data);
    sterna_store_close(&g.store);
    pid_t pid = fork();
    if (pid == 0) {
        struct sterna_store_options o = {.struct_size = sizeof o, .mode = STERNA_OPEN_CREATE};
        if (unshare(CLONE_NEWNS) != 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
            mount("tmpfs", g.home.path, "tmpfs", 0, "size=3m") != 0)
            _exit(77);
        const char *store = tree_path(&g.home, "small");
        if (sterna_store_open(&g.store, store, &o, &g.err) < 0) _exit(2);
        if (ingested_run(&g) != STERNA_EIO || g.err.sys_errno != ENOSPC) _exit(3);
        if (!strstr(g.err.message, "disk full") || !strstr(g.err.message, "small")) _exit(4);
        if (strcmp(ingested_query(&g, "path", 0), "") != 0) _exit(5);
        sterna_store_close(&g.store);
        if (mount("tmpfs", g.home.path, "tmpfs", MS_REMOUNT, "size=64m") != 0) _exit(6);
        if (sterna_store_open(&g.store, store, &o, &g.err) < 0) _exit(7);
        if (ingested_run(&g) != STERNA_OK) _exit(8);
        _exit(g.result.counts[STERNA_ADDED] == 80 ? 0 : 9);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    ingested_close(&g);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) == 77) skip();
    assert_int_equal(WEXITSTATUS(status), 0);
}

/* ---- memory ---- */

static long resident_kib(void) {
    long pages = 0, unused;
    FILE *f = fopen("/proc/self/statm", "r");
    if (!f || fscanf(f, "%ld %ld", &unused, &pages) != 2) pages = 0;
    if (f) fclose(f);
    return pages * (sysconf(_SC_PAGESIZE) / 1024);
}

static void test_ingest_stays_within_its_memory(void **state) {
    enum { FILES = 800, KIB = 256 };
    (void)state;
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    skip(); /* a sanitizer keeps memory of its own */
#endif
    struct ingested g;
    ingested_open(&g);
    struct picture p = picture_jpeg(8, 8, 3, 1);
    uint8_t *data = calloc(1, KIB << 10);
    memcpy(data, p.data, p.bytes);
    tree_write(&g.images, "0.jpg", data, KIB << 10);
    free(p.data);
    free(data);
    for (int i = 1; i < FILES; i++) { /* 200 MiB in all */
        char path[16];
        snprintf(path, sizeof path, "%d.jpg", i);
        tree_link(&g.images, "0.jpg", path);
    }
    sterna_store_close(&g.store);
    pid_t pid = fork();
    if (pid == 0) {
        ingested_reopen(&g);
        long before_kib = resident_kib();
        g.options.memory_bytes = 16 << 20;
        if (ingested_run(&g) != STERNA_OK || g.result.counts[STERNA_ADDED] != FILES) _exit(2);
        if (ingested_run(&g) != STERNA_OK || g.result.counts[STERNA_UNCHANGED] != FILES) _exit(3);
        struct rusage usage;
        getrusage(RUSAGE_SELF, &usage);
        _exit(usage.ru_maxrss - before_kib < (150 << 10) ? 0 : 4);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    ingested_close(&g);
}

static void test_ingest_takes_a_file_larger_than_its_memory(void **state) {
    struct ingested g;
    (void)state;
    ingested_open(&g);
    struct picture p = picture_png(600, 600, 3, 1);
    for (int i = 0; i < 6; i++) {
        char path[16];
        snprintf(path, sizeof path, "%d.png", i);
        tree_write(&g.images, path, p.data, p.bytes);
    }
    g.options.memory_bytes = 4096;
    RUN_OK(&g);
    assert_int_equal(count_of(&g, STERNA_ADDED), 6);
    free(p.data);
    ingested_close(&g);
}

/* ---- samples from anywhere ---- */

static void test_ingest_add(void **state) {
    struct ingested g;
    sterna_ingest *in;
    enum sterna_outcome outcome;
    uint64_t run;
    struct picture p = picture_jpeg(30, 20, 3, 1), q = picture_jpeg(31, 20, 3, 2);
    struct sterna_value dog = {STERNA_TEXT, 0, 0, "dogma", 3}; /* text need not end in NUL */
    struct sterna_value five = {STERNA_INT, 5, 0, NULL, 0};
    struct sterna_cell cells[] = {{"class", dog}, {"score", five}};
    struct sterna_blob blobs[] = {{"caption", STERNA_KIND_TEXT, "hi", 2},
                                  {"image", STERNA_KIND_IMAGE, p.data, p.bytes}};
    struct sterna_sample s = {
        .path = "x/a", .blobs = blobs, .n_blobs = 2, .cells = cells, .n_cells = 2};
    (void)state;
    ingested_open(&g);
    assert_ok(sterna_ingest_open(&in, g.store, "a test", 0, &g.err));
    assert_ok(sterna_ingest_add(in, &s, &outcome, &g.err));
    assert_int_equal(outcome, STERNA_ADDED);
    assert_ok(sterna_ingest_add(in, &s, &outcome, &g.err)); /* twice in a run */
    assert_int_equal(outcome, STERNA_UNCHANGED);
    blobs[1].data = q.data;
    blobs[1].bytes = q.bytes;
    assert_ok(sterna_ingest_add(in, &s, &outcome, &g.err));
    assert_int_equal(outcome, STERNA_CONFLICT);
    s.path = "x/b";
    uint8_t id[16] = {1, 2, 3};
    s.id = id;
    s.n_cells = 0;
    assert_ok(sterna_ingest_add(in, &s, &outcome, &g.err));
    assert_int_equal(outcome, STERNA_ADDED);
    assert_ok(sterna_ingest_commit(in, &run, &g.err));
    assert_true(run == 1);
    assert_int_equal(sterna_ingest_commit(in, &run, &g.err), STERNA_EINVAL);
    sterna_ingest_close(&in);
    sterna_ingest_close(&in);
    assert_string_equal(ingested_query(&g, "path class label score width format caption_bytes", 0),
                        "x/a|dog|0|5|30|jpeg|2\nx/b|-|-|-|31|jpeg|2\n");
    assert_string_equal(ingested_query(&g, "id", "path = 'x/b'"),
                        "01020300-0000-0000-0000-000000000000\n");
    assert_int_equal(ingested_holds(&g, "x/a", "image", p.data, p.bytes), 1);
    free(p.data);
    free(q.data);
    ingested_close(&g);
}

static void test_ingest_add_verdicts(void **state) {
    struct picture p = picture_jpeg(3, 2, 3, 1);
    const struct {
        const char *name;
        const char *path;
        struct sterna_blob blobs[2];
        size_t n_blobs;
        struct sterna_cell cell;
        int code;
        enum sterna_outcome outcome;
    } rows[] = {
        {"no image", "a", {{"image", 1, "hello", 5}}, 1, {0}, STERNA_OK, STERNA_NO_IMAGE},
        {"empty", "a", {{"image", 1, "", 0}}, 1, {0}, STERNA_OK, STERNA_EMPTY},
        {"bad text",
         "a",
         {{"t", STERNA_KIND_TEXT, "\xff", 1}},
         1,
         {0},
         STERNA_OK,
         STERNA_BAD_FIELD},
        {"no path", NULL, {{"image", 1, p.data, p.bytes}}, 1, {0}, STERNA_EINVAL, 0},
        {"twice", "a", {{"t", 0, "x", 1}, {"t", 0, "x", 1}}, 2, {0}, STERNA_EINVAL, 0},
        {"bad name", "a", {{"A B", 0, "x", 1}}, 1, {0}, STERNA_EINVAL, 0},
        {"no name", "a", {{NULL, 0, "x", 1}}, 1, {0}, STERNA_EINVAL, 0},
        {"reserved",
         "a",
         {{"t", 0, "x", 1}},
         1,
         {"run", {STERNA_INT, 1, 0, 0, 0}},
         STERNA_EINVAL,
         0},
        {"path is ours",
         "a",
         {{"t", 0, "x", 1}},
         1,
         {"path", {STERNA_INT, 1, 0, 0, 0}},
         STERNA_EINVAL,
         0},
        {"label is a number",
         "a",
         {{"t", 0, "x", 1}},
         1,
         {"label", {STERNA_TEXT, 0, 0, "x", 1}},
         STERNA_EINVAL,
         0},
        {"class is a name",
         "a",
         {{"t", 0, "x", 1}},
         1,
         {"class", {STERNA_INT, 1, 0, 0, 0}},
         STERNA_EINVAL,
         0},
    };
    struct ingested g;
    struct sterna_blob good = {"image", STERNA_KIND_IMAGE, p.data, p.bytes};
    (void)state;
    ingested_open(&g);
    for (size_t i = 0; i < STN_COUNT(rows); i++) {
        sterna_ingest *in;
        enum sterna_outcome outcome;
        struct sterna_sample s = {.path = rows[i].path,
                                  .blobs = rows[i].blobs,
                                  .n_blobs = rows[i].n_blobs,
                                  .cells = &rows[i].cell,
                                  .n_cells = rows[i].cell.column ? 1 : 0};
        assert_ok(sterna_ingest_open(&in, g.store, NULL, 0, &g.err));
        int rc = sterna_ingest_add(in, &s, &outcome, &g.err);
        if (rc != rows[i].code || (rc == STERNA_OK && outcome != rows[i].outcome))
            fail_msg("%s: %d, %s (%s)", rows[i].name, rc, sterna_outcome_name(outcome),
                     g.err.message);
        s = (struct sterna_sample){.path = "good", .blobs = &good, .n_blobs = 1};
        assert_ok(sterna_ingest_add(in, &s, &outcome, &g.err)); /* and it goes on */
        assert_int_equal(outcome, STERNA_ADDED);
        sterna_ingest_close(&in);
    }
    assert_string_equal(ingested_query(&g, "path", 0), "");
    ingested_close(&g);
    free(p.data);
}

/* Labels are in the order of the list, also of classes that no sample has or that come last. */
static void test_ingest_classes_in_a_given_order(void **state) {
    struct ingested g;
    sterna_ingest *in;
    uint64_t run;
    int64_t labels[3];
    const char *const names[] = {"wolf", "dog", "ant"}, *const more[] = {"bee", "dog", "cow"};
    struct sterna_blob blob = {"raw", STERNA_KIND_BYTES, "x", 1};
    struct sterna_cell ant = {"class", {STERNA_TEXT, 0, 0, "ant", 3}};
    struct sterna_sample s = {
        .path = "a", .blobs = &blob, .n_blobs = 1, .cells = &ant, .n_cells = 1};
    (void)state;
    ingested_open(&g);
    assert_ok(sterna_ingest_open(&in, g.store, NULL, 0, &g.err));
    assert_ok(sterna_ingest_classes(in, names, 3, labels, &g.err));
    assert_true(labels[0] == 0 && labels[1] == 1 && labels[2] == 2);
    assert_ok(sterna_ingest_classes(in, names, 0, NULL, &g.err));
    assert_ok(sterna_ingest_add(in, &s, NULL, &g.err));
    assert_ok(sterna_ingest_commit(in, &run, &g.err));
    sterna_ingest_close(&in);
    assert_string_equal(ingested_query(&g, "path class label", 0), "a|ant|2\n");

    assert_ok(sterna_ingest_open(&in, g.store, NULL, 0, &g.err));
    assert_ok(sterna_ingest_classes(in, more, 3, labels, &g.err));
    assert_true(labels[0] == 3 && labels[1] == 1 && labels[2] == 4);
    assert_int_equal(sterna_ingest_classes(in, NULL, 1, labels, &g.err), STERNA_EINVAL);
    struct sterna_cell both[] = {{"class", {STERNA_TEXT, 0, 0, "bee", 3}},
                                 {"label", {STERNA_INT, 3, 0, NULL, 0}}};
    s = (struct sterna_sample){
        .path = "b", .blobs = &blob, .n_blobs = 1, .cells = both, .n_cells = 2};
    assert_ok(sterna_ingest_add(in, &s, NULL, &g.err));
    s.path = "c";
    both[1].value.i =
        0; /* a wolf's: what the data set says would contradict what its classes say */
    assert_int_equal(sterna_ingest_add(in, &s, NULL, &g.err), STERNA_EINVAL);
    assert_non_null(strstr(g.err.message, "class 'bee' has label 3 in this store, not 0"));
    sterna_ingest_close(&in);
    ingested_close(&g);
}

static void test_ingest_closed_without_commit_is_forgotten(void **state) {
    struct ingested g;
    sterna_ingest *in;
    enum sterna_outcome outcome;
    struct sterna_blob blob = {"raw", STERNA_KIND_BYTES, "x", 1};
    struct sterna_sample s = {.path = "a", .blobs = &blob, .n_blobs = 1};
    (void)state;
    ingested_open(&g);
    assert_ok(sterna_ingest_open(&in, g.store, NULL, 0, &g.err));
    assert_ok(sterna_ingest_add(in, &s, &outcome, &g.err));
    sterna_ingest_close(&in);
    assert_string_equal(ingested_query(&g, "path", 0), "");
    assert_ok(sterna_ingest_open(&in, g.store, NULL, 0, &g.err));
    assert_ok(sterna_ingest_add(in, &s, &outcome, &g.err));
    assert_int_equal(outcome, STERNA_ADDED);
    sterna_ingest_close(&in);
    ingested_close(&g);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ingest_class_folders),
        cmocka_unit_test(test_ingest_splits),
        cmocka_unit_test(test_ingest_prefix_is_part_of_path_and_id),
        cmocka_unit_test(test_ingest_later_classes_append),
        cmocka_unit_test(test_ingest_odd_names),
        cmocka_unit_test(test_ingest_paths_longer_than_the_system_takes),
        cmocka_unit_test(test_ingest_passes_over_the_store_in_its_folder),
        cmocka_unit_test(test_ingest_reports_what_it_skips),
        cmocka_unit_test(test_ingest_stop_on_error_lists_nothing),
        cmocka_unit_test(test_ingest_reports_files_it_may_not_read),
        cmocka_unit_test(test_ingest_again_changes_nothing),
        cmocka_unit_test(test_ingest_lists_conflicts_and_replaces_only_when_told),
        cmocka_unit_test(test_ingest_takes_over_what_a_killed_run_left),
        cmocka_unit_test(test_ingest_orphan_fields_of_listed_samples_are_no_conflict),
        cmocka_unit_test(test_ingest_fields_of_every_kind),
        cmocka_unit_test(test_ingest_refuses_bad_field_files),
        cmocka_unit_test(test_ingest_adds_new_fields_to_listed_samples),
        cmocka_unit_test(test_ingest_refuses_fields_that_cannot_be),
        cmocka_unit_test(test_ingest_metadata_adds_columns),
        cmocka_unit_test(test_ingest_metadata_overrules_folders),
        cmocka_unit_test(test_ingest_metadata_gives_labels),
        cmocka_unit_test(test_ingest_refuses_bad_metadata),
        cmocka_unit_test(test_ingest_progress_counts_and_cancels),
        cmocka_unit_test(test_ingest_cancelled_anywhere_completes_later),
        cmocka_unit_test(test_ingest_killed_anywhere_completes_later),
        cmocka_unit_test(test_ingest_two_at_once_is_busy),
        cmocka_unit_test(test_ingest_refuses_what_is_no_folder),
        cmocka_unit_test(test_ingest_empty_folder_makes_no_run),
        cmocka_unit_test(test_ingest_on_a_full_disk_loses_nothing),
        cmocka_unit_test(test_ingest_stays_within_its_memory),
        cmocka_unit_test(test_ingest_takes_a_file_larger_than_its_memory),
        cmocka_unit_test(test_ingest_add),
        cmocka_unit_test(test_ingest_add_verdicts),
        cmocka_unit_test(test_ingest_classes_in_a_given_order),
        cmocka_unit_test(test_ingest_closed_without_commit_is_forgotten),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
