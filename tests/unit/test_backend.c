/* A store whose samples are listed only when they are asked for: what asks for them. */
#include "support/check.h"

#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "catalog/id_set.h"
#include "sterna/sterna.h"
#include "support/fake_store.h"
#include "support/temporary.h"

static const uint8_t ids[3][16] = {"id of sample  1", "id of sample  2", "id of sample  3"};

struct fixture {
    char *dir;
    sterna_store *store;
    struct fake_store fake;
    sterna_selection *s;
    struct sterna_error err;
};

static int setup(void **state) {
    struct fixture *f = calloc(1, sizeof *f);
    const struct sterna_store_options o = {.struct_size = sizeof o, .mode = STERNA_OPEN_CREATE};
    uint64_t run;
    uint32_t number;
    assert_non_null(f);
    f->dir = test_dir_make();
    assert_ok(sterna_store_open(&f->store, test_path(f->dir, "store"), &o, NULL));
    fake_store_wrap(&f->fake, f->store, 1);
    memcpy(f->fake.sample, ids[1], 16);
    struct stn_catalog *c = f->store->catalog;
    assert_ok(stn_catalog_begin_as(c, "", 0, 0, NULL));
    assert_ok(stn_catalog_declare_field(c, "image", STERNA_KIND_IMAGE, &number, NULL));
    assert_ok(stn_catalog_declare_field(c, "mask", STERNA_KIND_MASK, &number, NULL));
    assert_ok(stn_catalog_commit(c, &run, NULL));
    *state = f;
    return 0;
}

static int teardown(void **state) {
    struct fixture *f = *state;
    sterna_selection_close(&f->s);
    sterna_store_close(&f->store);
    test_dir_remove(&f->dir);
    free(f);
    return 0;
}

static int choose(struct fixture *f, const struct sterna_select_options *o) {
    sterna_selection_close(&f->s);
    return sterna_select(&f->s, f->store, o, &f->err);
}

static struct sterna_select_options by_ids(size_t n) {
    return (struct sterna_select_options){
        .struct_size = sizeof(struct sterna_select_options), .ids = ids, .n_ids = n};
}

static void test_backend_ids_alone_need_no_catalogue(void **state) {
    struct fixture *f = *state;
    struct sterna_select_options o = by_ids(3);
    struct sterna_selection_info info;
    assert_ok(choose(f, &o));
    sterna_selection_info(f->s, &info);
    assert_int_equal(info.n, 3);
    assert_int_equal(info.run, 0);
    assert_int_equal(info.n_fields, 2);
    assert_int_equal(info.n_columns, 0);
    assert_int_equal(info.n_bytes, 0);
    assert_memory_equal(info.dataset_id, stn_catalog_dataset_id(f->store->catalog), 16);
    for (int i = 0; i < 3; i++) {
        assert_memory_equal(sterna_selection_ids(f->s)[i], ids[i], 16);
        assert_int_equal(sterna_selection_labels(f->s)[i], STERNA_LABEL_NONE);
        for (uint32_t k = 0; k < 2; k++)
            assert_int_equal(sterna_selection_lengths(f->s, k)[i], STERNA_LENGTH_UNKNOWN);
    }
    struct sterna_loader_options loading;
    sterna_loader *loader;
    sterna_loader_options_init(&loading);
    assert_ok(sterna_loader_open(&loader, f->store, f->s, &loading, &f->err));
    sterna_loader_close(&loader);
    assert_int_equal(f->fake.n_lists, 0);
}

static void test_backend_ids_of_a_file(void **state) {
    struct fixture *f = *state;
    const char *path = test_path(f->dir, "ids");
    char text[STERNA_ID_TEXT_BYTES];
    struct sterna_select_options o = {.struct_size = sizeof o, .ids_file = path};
    FILE *file = fopen(path, "w");
    for (int i = 0; i < 3; i++) {
        sterna_id_format(ids[2 - i], text);
        fprintf(file, "%s # %d\n", text, i);
    }
    fclose(file);
    assert_ok(choose(f, &o));
    for (int i = 0; i < 3; i++) assert_memory_equal(sterna_selection_ids(f->s)[i], ids[2 - i], 16);
    file = fopen(path, "a");
    fprintf(file, "%s\n", text);
    fclose(file);
    assert_int_equal(choose(f, &o), STERNA_EINVAL);
    assert_non_null(strstr(f->err.message, "ids:4: sample"));
    assert_non_null(strstr(f->err.message, "listed twice"));
    file = fopen(path, "w");
    fprintf(file, "no id\n");
    fclose(file);
    assert_int_equal(choose(f, &o), STERNA_EINVAL);
    unlink(path);
    assert_int_equal(choose(f, &o), STERNA_ENOTFOUND);
    assert_null(f->s);
    assert_int_equal(f->fake.n_lists, 0);
}

static void test_backend_ids_are_looked_up_once_there_is_a_catalogue(void **state) {
    struct fixture *f = *state;
    struct sterna_select_options o = by_ids(3);
    struct sterna_store_info info;
    assert_ok(sterna_store_info(f->store, &info, &f->err));
    assert_int_equal(info.n_samples, 1);
    assert_int_equal(f->fake.n_lists, 1);
    assert_int_equal(choose(f, &o), STERNA_ENOTFOUND);
    o.ids = &ids[1];
    o.n_ids = 1;
    assert_ok(choose(f, &o));
    assert_int_equal(sterna_selection_lengths(f->s, 0)[0], 77);
    assert_int_equal(sterna_selection_labels(f->s)[0], 0);
    /* and so by a handle that has not listed them itself */
    f->store->listed = 0;
    o.ids = ids;
    assert_int_equal(choose(f, &o), STERNA_ENOTFOUND);
    assert_int_equal(f->fake.n_lists, 1);
}

static int count_row(void *ctx, const char *const *names, const struct sterna_value *values,
                     size_t n) {
    (void)names, (void)values, (void)n;
    ++*(int *)ctx;
    return 0;
}

static int count_class(void *ctx, int64_t label, const char *name, uint64_t n_samples) {
    (void)label, (void)name;
    *(int *)ctx += (int)n_samples;
    return 0;
}

/* Each in a store of its own. */
static int ask(struct fixture *f, int way, int *n) {
    static const char *const columns[] = {"label"};
    static const struct sterna_part parts[] = {{"all", 1}};
    struct sterna_select_options all = {.struct_size = sizeof all}, some = by_ids(1);
    struct sterna_query_options query = {.struct_size = sizeof query};
    struct sterna_split_options split = {.struct_size = sizeof split, .parts = parts, .n_parts = 1};
    struct sterna_store_info info;
    *n = 1;
    switch (way) {
    case 0:
        return choose(f, NULL);
    case 1:
        all.where = "label = 0";
        return choose(f, &all);
    case 2: /* values of columns are not known without */
        some.ids = &ids[1];
        some.columns = columns;
        some.n_columns = 1;
        return choose(f, &some);
    case 3:
        some.ids = &ids[1];
        some.as_of_run = 1;
        return choose(f, &some);
    case 4:
        *n = 0;
        return sterna_query(f->store, &query, count_row, n, &f->err);
    case 5:
        return sterna_split(f->store, &split, NULL, NULL, &f->err);
    case 6:
        *n = 0;
        return sterna_store_classes(f->store, count_class, n, &f->err);
    default:
        return sterna_store_info(f->store, &info, &f->err);
    }
}

static void test_backend_what_lists_the_samples(void **state) {
    (void)state;
    for (int way = 0; way < 8; way++) {
        void *fresh;
        int n;
        setup(&fresh);
        struct fixture *f = fresh;
        f->fake.list_fails = 1;
        assert_int_equal(ask(f, way, &n), STERNA_EUNREACHABLE);
        assert_string_equal(f->err.message, "fake: no server answers");
        for (int again = 0; again < 2; again++) {
            stn_error_clear(&f->err);
            if (ask(f, way, &n) != STERNA_OK) fail_msg("way %d: %s", way, f->err.message);
            assert_int_equal(n, 1);
        }
        assert_int_equal(f->fake.n_lists, 2); /* the failed one, and once more */
        teardown(&fresh);
    }
}

static void test_backend_what_does_not(void **state) {
    struct fixture *f = *state;
    struct sterna_select_options two_ways = by_ids(1), named = {.struct_size = sizeof named};
    struct sterna_field field;
    named.name = "nobody";
    two_ways.where = "1";
    assert_int_equal(choose(f, &two_ways), STERNA_EINVAL);
    assert_int_equal(choose(f, &named), STERNA_ENOTFOUND);
    assert_ok(sterna_store_field(f->store, 1, &field));
    pid_t child = fork();
    if (child == 0) _exit(choose(f, NULL) == STERNA_EFORKED && f->fake.n_lists == 0 ? 0 : 1);
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_int_equal(f->fake.n_lists, 0);
}

static void test_backend_finds_ids_listed_twice(void **state) {
    struct stn_id_set set = {0};
    uint8_t id[16] = {0};
    int again;
    (void)state;
    for (int round = 0; round < 2; round++)
        for (uint32_t i = 0; i < 100000; i++) { /* in order, as nobody draws them; zeros too */
            memset(id, 0, sizeof id);
            memcpy(id + (i % 2 ? 12 : 0), &i, sizeof i);
            assert_ok(stn_id_set_add(&set, id, &again));
            assert_int_equal(again, round);
        }
    assert_int_equal(set.n, 99999);
    stn_id_set_fini(&set);
    stn_id_set_fini(&set);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_backend_ids_alone_need_no_catalogue, setup, teardown),
        cmocka_unit_test_setup_teardown(test_backend_ids_of_a_file, setup, teardown),
        cmocka_unit_test_setup_teardown(test_backend_ids_are_looked_up_once_there_is_a_catalogue,
                                        setup, teardown),
        cmocka_unit_test(test_backend_what_lists_the_samples),
        cmocka_unit_test_setup_teardown(test_backend_what_does_not, setup, teardown),
        cmocka_unit_test(test_backend_finds_ids_listed_twice),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
