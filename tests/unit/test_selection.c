/* Selection files: built, opened, saved, and hostile ones refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <malloc.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/digest.h"
#include "base/file.h"
#include "catalog/layout.h"
#include "catalog/selection.h"
#include "support/temporary.h"

static const uint8_t dataset[16] = "data set 0000001";
static const char *const columns[] = {"age", "class"};

static int setup(void **state) {
    *state = test_dir_make();
    return 0;
}

static int teardown(void **state) {
    char *dir = *state;
    test_dir_remove(&dir);
    return 0;
}

#define ok(call)                                                                                   \
    do {                                                                                           \
        struct sterna_error err = {0};                                                             \
        int ok_rc = (call);                                                                        \
        if (ok_rc != STERNA_OK) fail_msg("%s: %d: %s", #call, ok_rc, err.message);                 \
    } while (0)

static struct sterna_value number(int64_t i) {
    return (struct sterna_value){.type = STERNA_INT, .i = i};
}
static struct sterna_value real(double r) {
    return (struct sterna_value){.type = STERNA_REAL, .r = r};
}
static struct sterna_value text(const char *t, size_t bytes) {
    return (struct sterna_value){.type = STERNA_TEXT, .text = t, .text_bytes = bytes};
}

static void id_of(uint64_t i, uint8_t id[16]) {
    uint64_t words[2] = {i, ~i * 977};
    memcpy(id, words, 16);
}

/* Row i of every selection here: length of field 0 is 100 + i, of field 1 null or unknown. */
static void add_rows(struct stn_selection_builder *b, uint64_t n, uint32_t n_columns) {
    for (uint64_t i = 0; i < n; i++) {
        uint8_t id[16];
        id_of(i, id);
        const uint32_t lengths[] = {100 + (uint32_t)i,
                                    i % 2 ? STERNA_LENGTH_NULL : STERNA_LENGTH_UNKNOWN};
        char class[32];
        int bytes = snprintf(class, sizeof class, "class %u", (unsigned)(i / 4));
        const struct sterna_value kinds[] = {
            {.type = STERNA_NULL}, number(-(int64_t)i), real(0.5 * (double)i), text("\0x\xff", 3)};
        const struct sterna_value values[] = {kinds[i % 4], text(class, (size_t)bytes)};
        ok(stn_selection_builder_add(b, id, lengths, i ? (int64_t)i : STERNA_LABEL_NONE,
                                     n_columns ? values : NULL, &err));
    }
}

static sterna_selection *build(const char *dir, const char *name, uint64_t n, uint32_t n_columns) {
    const struct stn_selection_spec spec = {.dataset_id = dataset,
                                            .run = 7,
                                            .where = "label = 3",
                                            .n_fields = 2,
                                            .columns = columns,
                                            .n_columns = n_columns};
    struct stn_selection_builder *b = NULL;
    sterna_selection *s = NULL;
    ok(stn_selection_builder_open(&b, dir, &spec, &err));
    add_rows(b, n, n_columns);
    ok(stn_selection_builder_finish(b, name ? test_path(dir, name) : NULL, &s, &err));
    stn_selection_builder_close(&b);
    return s;
}

static void check_row(const sterna_selection *s, uint64_t i) {
    uint8_t id[16];
    id_of(i, id);
    assert_memory_equal(sterna_selection_ids(s)[i], id, 16);
    assert_int_equal(sterna_selection_lengths(s, 0)[i], 100 + i);
    assert_int_equal(sterna_selection_lengths(s, 1)[i],
                     i % 2 ? STERNA_LENGTH_NULL : STERNA_LENGTH_UNKNOWN);
    assert_true(sterna_selection_labels(s)[i] == (i ? (int64_t)i : STERNA_LABEL_NONE));
}

static void check_values(const sterna_selection *s, uint64_t i) {
    struct sterna_value v;
    sterna_selection_value(s, 0, i, &v);
    static const enum sterna_type types[] = {STERNA_NULL, STERNA_INT, STERNA_REAL, STERNA_TEXT};
    assert_int_equal(v.type, types[i % 4]);
    if (i % 4 == 1) assert_true(v.i == -(int64_t)i);
    if (i % 4 == 2) assert_true(memcmp(&v.r, &(double){0.5 * (double)i}, 8) == 0);
    if (i % 4 == 3) assert_int_equal(v.text_bytes, 3);
    if (i % 4 == 3) assert_memory_equal(v.text, "\0x\xff", 3);
    char class[32];
    snprintf(class, sizeof class, "class %u", (unsigned)(i / 4));
    sterna_selection_value(s, 1, i, &v);
    assert_int_equal(v.type, STERNA_TEXT);
    assert_int_equal(v.text_bytes, strlen(class));
    assert_memory_equal(v.text, class, v.text_bytes);
}

static void check(const sterna_selection *s, uint64_t n, uint32_t n_columns) {
    struct sterna_selection_info info;
    sterna_selection_info(s, &info);
    assert_memory_equal(info.dataset_id, dataset, 16);
    assert_int_equal(info.n, n);
    assert_int_equal(info.run, 7);
    assert_int_equal(info.n_fields, 2);
    assert_int_equal(info.n_columns, n_columns);
    assert_int_equal(info.n_bytes, n * 100 + (n ? n * (n - 1) / 2 : 0));
    assert_int_equal(info.max_bytes, n ? 100 + n - 1 : 0);
    assert_string_equal(info.where, "label = 3");
    struct stn_sha256 *h = NULL;
    uint8_t hash[32];
    ok(stn_sha256_open(&h));
    stn_sha256_add(h, sterna_selection_ids(s), n * 16);
    ok(stn_sha256_close(&h, hash));
    assert_memory_equal(info.hash, hash, 32);
    for (uint64_t i = 0; i < n; i++) {
        check_row(s, i);
        if (n_columns) check_values(s, i);
    }
    assert_null(sterna_selection_lengths(s, 2));
    assert_null(sterna_selection_column_name(s, n_columns));
    if (n_columns) assert_string_equal(sterna_selection_column_name(s, 1), "class");
    struct sterna_value v = {.type = STERNA_INT};
    sterna_selection_value(s, 0, n, &v);
    assert_int_equal(v.type, STERNA_NULL);
}

static void test_selection_brings_back_what_was_added(void **state) {
    static const struct {
        uint64_t n;
        uint32_t n_columns;
    } rows[] = {{0, 0}, {0, 2}, {1, 0}, {1, 2}, {63, 2}, {1000, 0}, {30000, 2}};
    for (size_t i = 0; i < STN_COUNT(rows); i++) {
        const char *path = test_path(*state, "a.sel");
        sterna_selection *s = build(*state, "a.sel", rows[i].n, rows[i].n_columns);
        check(s, rows[i].n, rows[i].n_columns);
        sterna_selection_close(&s);
        assert_null(s);
        ok(stn_selection_open(&s, path, &err));
        check(s, rows[i].n, rows[i].n_columns);
        sterna_selection_close(&s);
        s = build(NULL, NULL, rows[i].n, rows[i].n_columns);
        check(s, rows[i].n, rows[i].n_columns);
        sterna_selection_close(&s);
    }
    char command[512];
    snprintf(command, sizeof command, "test \"$(ls -A '%s')\" = a.sel", (char *)*state);
    assert_int_equal(system(command), 0); /* nothing temporary is left */
}

static void test_selection_is_saved_as_it_is(void **state) {
    sterna_selection *s = build(NULL, NULL, 5000, 2);
    const char *path = test_path(*state, "saved.sel"), *again = test_path(*state, "again.sel");
    ok(sterna_selection_save(s, path, &err));
    sterna_selection_close(&s);
    ok(stn_selection_open(&s, path, &err));
    check(s, 5000, 2);
    ok(sterna_selection_save(s, again, &err));
    ok(sterna_selection_save(s, path, &err)); /* over itself */
    sterna_selection *kept = sterna_selection_retain(s);
    sterna_selection_close(&s);
    check(kept, 5000, 2);
    sterna_selection_close(&kept);
    char command[1024];
    snprintf(command, sizeof command, "cmp '%s' '%s'", path, again);
    assert_int_equal(system(command), 0);
    s = build(NULL, NULL, 1, 0);
    struct sterna_error err = {0};
    assert_int_equal(sterna_selection_save(s, test_path(*state, "no/such"), &err), STERNA_EIO);
    assert_non_null(strstr(err.message, "no/such"));
    sterna_selection_close(&s);
    sterna_selection_close(&s);
    sterna_selection_close(NULL);
}

static void write_file(const char *path, const void *data, size_t bytes) {
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(stn_write_all(fd, data, bytes), STERNA_OK);
    close(fd);
}

static void must_refuse(const char *path, int want, const char *what, long number) {
    sterna_selection *s = (sterna_selection *)&s;
    struct sterna_error err = {0};
    int rc = stn_selection_open(&s, path, &err);
    if (rc != want) fail_msg("%s %ld: %d: %s", what, number, rc, err.message);
    assert_null(s);
    if (!strstr(err.message, path)) fail_msg("%s %ld: '%s'", what, number, err.message);
}

static void test_selection_open_refuses_what_is_none(void **state) {
    const char *path = test_path(*state, "x.sel");
    must_refuse(path, STERNA_ENOTFOUND, "missing", 0);
    must_refuse(*state, STERNA_EFORMAT, "directory", 0);
    write_file(path, "", 0);
    must_refuse(path, STERNA_EFORMAT, "empty", 0);
    char page[4096];
    memset(page, 'x', sizeof page);
    write_file(path, page, sizeof page);
    must_refuse(path, STERNA_EFORMAT, "foreign", 0);
    assert_int_equal(mkfifo(test_path(*state, "pipe"), 0600), 0);
    must_refuse(test_path(*state, "pipe"), STERNA_EFORMAT, "pipe", 0);
    sterna_selection *s = build(*state, "x.sel", 3, 0);
    sterna_selection_close(&s);
    int fd = open(path, O_RDWR);
    uint8_t two = 2;
    assert_int_equal(pwrite(fd, &two, 1, 8), 1);
    close(fd);
    struct sterna_error err = {0};
    assert_int_equal(stn_selection_open(&s, path, &err), STERNA_EFORMAT);
    assert_non_null(strstr(err.message, "version 2, this program reads version 1"));
}

static void test_selection_open_refuses_cut_and_flipped_files(void **state) {
    const char *path = test_path(*state, "x.sel"), *bad = test_path(*state, "bad.sel");
    sterna_selection *s = build(*state, "x.sel", 40, 2);
    sterna_selection_close(&s);
    void *data;
    size_t bytes;
    ok(stn_file_read(path, 1 << 20, &data, &bytes, &err));
    for (size_t cut = 0; cut < bytes; cut += 97) {
        write_file(bad, data, cut);
        must_refuse(bad, STERNA_EFORMAT, "cut at", (long)cut);
    }
    write_file(bad, data, bytes - 1);
    must_refuse(bad, STERNA_EFORMAT, "cut at", (long)bytes - 1);
    uint8_t *longer = calloc(1, bytes + 64);
    assert_non_null(longer);
    memcpy(longer, data, bytes);
    write_file(bad, longer, bytes + 64);
    must_refuse(bad, STERNA_EFORMAT, "longer by", 64);
    for (size_t at = 0; at < bytes; at++) { /* each byte, one bit */
        longer[at] ^= (uint8_t)(1 << (at % 8));
        write_file(bad, longer, bytes);
        must_refuse(bad, STERNA_EFORMAT, "flipped at", (long)at);
        longer[at] ^= (uint8_t)(1 << (at % 8));
    }
    free(longer);
    free(data);
}

static void put_le(uint8_t *at, uint64_t v, size_t bytes) {
    for (size_t i = 0; i < bytes; i++) at[i] = (uint8_t)(v >> (8 * i));
}

static uint64_t get_le(const uint8_t *at, size_t bytes) {
    struct stn_cursor c = stn_cursor(at, bytes);
    return stn_get_le(&c, bytes);
}

/* Somebody who knows the format and computes right checksums over wrong numbers. */
static void seal(uint8_t *file, size_t bytes) {
    size_t header = get_le(file + 12, 4);
    if (header >= 116 && header <= bytes)
        put_le(file + header - 4, stn_crc32c(0, file, header - 4), 4);
    put_le(file + bytes - 4, stn_crc32c(0, file, bytes - 4), 4);
}

static void touch(const sterna_selection *s) { /* reads all that it says it has */
    struct sterna_selection_info info;
    sterna_selection_info(s, &info);
    uint64_t sum = strlen(info.where);
    for (uint64_t i = 0; i < info.n; i++) {
        sum += sterna_selection_ids(s)[i][15] + (uint64_t)sterna_selection_labels(s)[i];
        for (uint32_t f = 0; f < info.n_fields; f++) sum += sterna_selection_lengths(s, f)[i];
        for (uint32_t c = 0; c < info.n_columns; c++) {
            struct sterna_value v;
            sterna_selection_value(s, c, i, &v);
            for (size_t k = 0; k < v.text_bytes; k++) sum += (uint8_t)v.text[k];
        }
    }
    volatile uint64_t used = sum;
    (void)used;
}

static void test_selection_survives_hostile_numbers(void **state) {
    const char *path = test_path(*state, "x.sel"), *bad = test_path(*state, "bad.sel");
    sterna_selection *s = build(*state, "x.sel", 40, 2);
    sterna_selection_close(&s);
    void *data;
    size_t bytes;
    ok(stn_file_read(path, 1 << 20, &data, &bytes, &err));
    uint8_t *file = data;
    static const uint64_t values[] = {0,          1,
                                      3,          41,
                                      4096,       INT32_MAX,
                                      UINT32_MAX, UINT64_C(1) << 60,
                                      UINT64_MAX, UINT64_MAX - 63,
                                      INT64_MAX};
    size_t header = get_le(file + 12, 4), refused = 0, opened = 0;
    for (size_t at = 12; at + 8 <= header - 4; at += 4) {
        for (size_t k = 0; k < 2 * STN_COUNT(values); k++) {
            uint8_t saved[8];
            memcpy(saved, file + at, 8);
            put_le(file + at, values[k / 2], k % 2 ? 8 : 4);
            seal(file, bytes);
            write_file(bad, file, bytes);
            struct sterna_error err = {0};
            int rc = stn_selection_open(&s, bad, &err);
            if (rc != STERNA_OK && rc != STERNA_EFORMAT)
                fail_msg("at %zu: %d: %s", at, rc, err.message);
            if (rc == STERNA_OK) touch(s);
            opened += rc == STERNA_OK;
            refused += rc != STERNA_OK;
            sterna_selection_close(&s);
            memcpy(file + at, saved, 8);
            put_le(file + 12, header, 4);
        }
    }
    assert_true(refused > 100 && opened > 50); /* ids and the like may be anything */
    seal(file, bytes);
    write_file(bad, file, bytes);
    ok(stn_selection_open(&s, bad, &err));
    check(s, 40, 2);
    sterna_selection_close(&s);
    free(data);
}

static void test_selection_text_offsets_are_checked(void **state) {
    const char *path = test_path(*state, "x.sel");
    sterna_selection *s = build(*state, "x.sel", 8, 2);
    sterna_selection_close(&s);
    void *data;
    size_t bytes;
    ok(stn_file_read(path, 1 << 20, &data, &bytes, &err));
    uint8_t *file = data;
    size_t table = get_le(file + 12, 4) - 4 - 16 * stn_section_count(2, 2);
    size_t payloads = get_le(file + table + 16 * (stn_section_column(2, 1) + 1), 8);
    static const uint64_t offsets[] = {UINT64_MAX, UINT64_MAX - 3, 1 << 20, 3, 11, 12, 22, 23};
    for (size_t i = 0; i < 8; i++) put_le(file + payloads + 8 * i, offsets[i], 8);
    seal(file, bytes);
    write_file(path, file, bytes);
    ok(stn_selection_open(&s, path, &err));
    touch(s);
    struct sterna_value v;
    sterna_selection_value(s, 1, 0, &v);
    assert_int_equal(v.type, STERNA_NULL);
    sterna_selection_close(&s);
    free(data);
}

static long field_of_status(const char *field) {
    FILE *file = fopen("/proc/self/status", "r");
    assert_non_null(file);
    char line[256];
    long kib = -1;
    while (fgets(line, sizeof line, file))
        if (strncmp(line, field, strlen(field)) == 0) kib = atol(line + strlen(field));
    fclose(file);
    return kib;
}

static void test_selection_of_200k_rows_is_built_in_little_memory(void **state) {
    const struct stn_selection_spec spec = {.dataset_id = dataset,
                                            .run = 7,
                                            .where = "label = 3",
                                            .n_fields = 2,
                                            .columns = columns,
                                            .n_columns = 2};
    struct stn_selection_builder *b = NULL;
    sterna_selection *s = NULL;
    size_t before = mallinfo2().uordblks;
    ok(stn_selection_builder_open(&b, *state, &spec, &err));
    add_rows(b, 200000, 2);
    assert_true(mallinfo2().uordblks < before + (1 << 20));
    ok(stn_selection_builder_finish(b, test_path(*state, "big.sel"), &s, &err));
    stn_selection_builder_close(&b);
    assert_true(mallinfo2().uordblks < before + (1 << 16));
    sterna_selection_close(&s);
    long anonymous = field_of_status("RssAnon:");
    ok(stn_selection_open(&s, test_path(*state, "big.sel"), &err));
    check_row(s, 199999);
    if (anonymous >= 0) /* sanitizers keep books of their own */
        assert_true(field_of_status("RssAnon:") < anonymous + 1024);
    check(s, 200000, 2);
    sterna_selection_close(&s);
}

static void test_selection_builder_without_a_directory_to_write(void **state) {
    struct stn_selection_builder *b = NULL;
    struct sterna_error why = {0};
    const struct stn_selection_spec spec = {.dataset_id = dataset};
    assert_int_equal(stn_selection_builder_open(&b, test_path(*state, "missing"), &spec, &why),
                     STERNA_EIO);
    assert_null(b);
    assert_non_null(strstr(why.message, "missing"));
    /* closed before it is finished: nothing is left */
    ok(stn_selection_builder_open(&b, *state, &spec, &err));
    ok(stn_selection_builder_write(b, test_path(*state, "half.sel"), &err));
    stn_selection_builder_close(&b);
    stn_selection_builder_close(&b);
    assert_int_equal(rmdir(*state), 0);
}

#define unit(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        unit(test_selection_brings_back_what_was_added),
        unit(test_selection_is_saved_as_it_is),
        unit(test_selection_open_refuses_what_is_none),
        unit(test_selection_open_refuses_cut_and_flipped_files),
        unit(test_selection_survives_hostile_numbers),
        unit(test_selection_text_offsets_are_checked),
        unit(test_selection_of_200k_rows_is_built_in_little_memory),
        unit(test_selection_builder_without_a_directory_to_write),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
