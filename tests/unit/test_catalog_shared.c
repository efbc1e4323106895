/* A catalogue whose names are given by another place, and whose run is carried on to there. */
#include "support/check.h"

#include <stdio.h>
#include <string.h>

#include "catalog/catalog.h"
#include "support/temporary.h"

static const uint8_t dataset[16] = "data set 0000001";

struct place { /* gives numbers out of order, as one does that others ask, too */
    struct stn_shared_names names;
    unsigned n_asked, n_names_asked;
    int64_t next_label;
    uint32_t next_number;
    int fails;
};

static int claim_field(struct stn_shared_names *s, const char *name, enum sterna_kind kind,
                       uint32_t *number, struct sterna_error *err) {
    struct place *p = STN_OUTER(s, struct place, names);
    (void)kind;
    p->n_asked++;
    if (p->fails) return stn_fail(err, STERNA_EUNREACHABLE, "nobody numbers %s", name);
    *number = p->next_number;
    return STERNA_OK;
}

static int claim_classes(struct stn_shared_names *s, const char *const *names, size_t n,
                         int64_t *labels, struct sterna_error *err) {
    struct place *p = STN_OUTER(s, struct place, names);
    p->n_asked++;
    p->n_names_asked += (unsigned)n;
    if (p->fails) return stn_fail(err, STERNA_EUNREACHABLE, "nobody labels %s", names[0]);
    for (size_t i = 0; i < n; i++) labels[i] = p->next_label++;
    return STERNA_OK;
}

static int claim_column(struct stn_shared_names *s, const char *name, struct sterna_error *err) {
    struct place *p = STN_OUTER(s, struct place, names);
    p->n_asked++;
    return p->fails ? stn_fail(err, STERNA_EUNREACHABLE, "nobody lists %s", name) : STERNA_OK;
}

struct fixture {
    char *dir;
    struct stn_catalog *c;
    struct place place;
    struct sterna_error err;
};

static int setup(void **state) {
    struct fixture *f = calloc(1, sizeof *f);
    f->dir = test_dir_make();
    f->place.names = (struct stn_shared_names){claim_field, claim_classes, claim_column};
    const char *path = test_path(f->dir, "catalog.sqlite");
    assert_ok(stn_catalog_create(path, dataset, &f->err));
    assert_ok(stn_catalog_open(&f->c, path, STN_CATALOG_WRITE, &f->err));
    *state = f;
    return 0;
}

static int teardown(void **state) {
    struct fixture *f = *state;
    stn_catalog_close(&f->c);
    test_dir_remove(&f->dir);
    free(f);
    return 0;
}

static void begin_shared(struct fixture *f) {
    uint64_t run;
    stn_catalog_share_names(f->c, &f->place.names);
    assert_ok(stn_catalog_begin(f->c, "a folder", &run, &f->err));
}

static struct stn_row row_of(uint32_t number, const struct stn_cell *cells, size_t n) {
    struct stn_row row = {.cells = cells, .n_cells = n};
    memcpy(row.id, &number, sizeof number);
    return row;
}

static void insert(struct fixture *f, uint32_t number, const char *class_name, int64_t score) {
    const struct stn_cell cells[] = {
        {"class", {.type = STERNA_TEXT, .text = class_name, .text_bytes = strlen(class_name)}},
        {"score", {.type = STERNA_INT, .i = score}}};
    const struct stn_row row = row_of(number, cells, 2);
    assert_ok(stn_catalog_insert(f->c, &row, &f->err));
}

static int update(struct fixture *f, uint32_t number, int64_t score, int new_run) {
    int changed;
    const struct stn_cell cell = {"score", {.type = STERNA_INT, .i = score}};
    const struct stn_row row = row_of(number, &cell, 1);
    assert_ok(stn_catalog_update(f->c, &row, new_run, &changed, &f->err));
    return changed;
}

static void test_fields_have_the_numbers_given(void **state) {
    struct fixture *f = *state;
    struct sterna_field field;
    uint32_t number;
    uint64_t run;
    begin_shared(f);
    f->place.next_number = 3;
    assert_ok(stn_catalog_declare_field(f->c, "mask", STERNA_KIND_MASK, &number, &f->err));
    assert_int_equal(number, 3);
    f->place.next_number = 1; /* given to another host earlier, and met by this one later */
    assert_ok(stn_catalog_declare_field(f->c, "depth", STERNA_KIND_NPY, &number, &f->err));
    assert_int_equal(number, 1);
    assert_ok(stn_catalog_declare_field(f->c, "mask", STERNA_KIND_MASK, &number, &f->err));
    assert_int_equal(number, 3);
    assert_int_equal(f->place.n_asked, 2);
    assert_ok(stn_catalog_declare_column(f->c, "score", &f->err));
    insert(f, 1, "cat", 5);
    assert_ok(stn_catalog_commit(f->c, &run, &f->err));
    assert_ok(stn_catalog_field(f->c, 0, &field));
    assert_string_equal(field.name, "depth");
    assert_ok(stn_catalog_field(f->c, 1, &field));
    assert_string_equal(field.name, "mask");
    assert_int_equal(field.number, 3);
}

static int same_class(void *ctx, int64_t label, const char *name, uint64_t n) {
    (void)n;
    snprintf((char *)ctx + strlen(ctx), 64, "%s=%d ", name, (int)label);
    return 0;
}

static void test_classes_are_asked_for_together(void **state) {
    struct fixture *f = *state;
    static const char *const first[] = {"dog", "ant", "dog"}, *const second[] = {"ant", "bee"};
    int64_t labels[3];
    uint64_t run;
    char all[256] = "";
    f->place.next_label = 10;
    begin_shared(f);
    assert_ok(stn_catalog_declare_classes(f->c, first, 3, labels, &f->err));
    assert_int_equal(f->place.n_asked, 1);
    assert_int_equal(labels[0], 10);
    assert_int_equal(labels[1], 11);
    assert_int_equal(labels[2], 10);
    f->place.next_label = 40;
    assert_ok(stn_catalog_declare_classes(f->c, second, 2, labels, &f->err));
    assert_int_equal(labels[0], 11);
    assert_int_equal(labels[1], 40);
    assert_int_equal(f->place.n_names_asked, 4);
    assert_ok(stn_catalog_declare_column(f->c, "score", &f->err));
    insert(f, 1, "ant", 0);
    assert_ok(stn_catalog_commit(f->c, &run, &f->err));
    assert_ok(stn_catalog_classes(f->c, same_class, all, &f->err));
    assert_string_equal(all, "dog=10 ant=11 bee=40 ");
}

static void test_a_place_that_fails_declares_nothing(void **state) {
    struct fixture *f = *state;
    static const char *const name[] = {"cat"};
    uint32_t number;
    int64_t label;
    begin_shared(f);
    f->place.fails = 1;
    assert_int_equal(stn_catalog_declare_field(f->c, "mask", STERNA_KIND_MASK, &number, &f->err),
                     STERNA_EUNREACHABLE);
    assert_string_equal(f->err.message, "nobody numbers mask");
    assert_int_equal(stn_catalog_declare_classes(f->c, name, 1, &label, NULL), STERNA_EUNREACHABLE);
    assert_int_equal(stn_catalog_declare_column(f->c, "score", NULL), STERNA_EUNREACHABLE);
    unsigned n_asked = f->place.n_asked;
    /* Names that nobody can have are not told to others. */
    assert_int_equal(stn_catalog_declare_column(f->c, "no name", NULL), STERNA_EINVAL);
    assert_int_equal(stn_catalog_declare_column(f->c, "rowid", NULL), STERNA_EINVAL);
    assert_int_equal(stn_catalog_declare_field(f->c, "9", STERNA_KIND_MASK, &number, NULL),
                     STERNA_EINVAL);
    assert_int_equal(f->place.n_asked, n_asked);
    f->place.fails = 0;
    assert_ok(stn_catalog_declare_column(f->c, "score", &f->err));
}

/* "number:score:belongs " for each row, by number. */
static int tell(void *ctx, const struct stn_row *row, int belongs) {
    char(*seen)[32] = ctx;
    uint32_t number;
    memcpy(&number, row->id, sizeof number);
    for (size_t i = 0; i < row->n_cells; i++) {
        assert_string_not_equal(row->cells[i].column, "id");
        assert_string_not_equal(row->cells[i].column, "run");
        if (strcmp(row->cells[i].column, "score") != 0) continue;
        assert_string_equal(seen[number], "");
        snprintf(seen[number], 32, "%d:%d", (int)row->cells[i].value.i, belongs);
    }
    return STERNA_OK;
}

static void test_rows_of_a_run(void **state) {
    struct fixture *f = *state;
    char seen[8][32] = {""};
    uint64_t run;
    begin_shared(f);
    assert_ok(stn_catalog_declare_column(f->c, "score", &f->err));
    for (uint32_t i = 0; i < 4; i++) insert(f, i, "cat", i);
    assert_ok(stn_catalog_commit(f->c, &run, &f->err));
    begin_shared(f);
    insert(f, 5, "dog", 50);
    insert(f, 6, "dog", 60);
    assert_int_equal(update(f, 1, 11, 0), 1); /* a column */
    assert_int_equal(update(f, 2, 2, 0), 0);  /* nothing */
    assert_int_equal(update(f, 3, 3, 1), 1);  /* replaced */
    assert_int_equal(update(f, 3, 33, 0), 1);
    assert_int_equal(update(f, 6, 66, 0), 1); /* of this run anyway */
    assert_ok(stn_catalog_run_rows(f->c, tell, seen, &f->err));
    static const char *const want[8] = {"", "11:0", "", "33:1", "", "50:1", "66:1", ""};
    for (size_t i = 0; i < 8; i++) assert_string_equal(seen[i], want[i]);
    stn_catalog_rollback(f->c);
    begin_shared(f);
    memset(seen, 0, sizeof seen);
    assert_ok(stn_catalog_run_rows(f->c, tell, seen, &f->err));
    for (size_t i = 0; i < 8; i++) assert_string_equal(seen[i], "");
}

static int refuse(void *ctx, const struct stn_row *row, int belongs) {
    (void)row, (void)belongs;
    ++*(int *)ctx;
    return STERNA_ECANCELED;
}

static void test_rows_end_when_told_to(void **state) {
    struct fixture *f = *state;
    int n = 0;
    uint64_t run;
    begin_shared(f);
    assert_ok(stn_catalog_declare_column(f->c, "score", &f->err));
    for (uint32_t i = 0; i < 3; i++) insert(f, i, "cat", i);
    assert_int_equal(stn_catalog_run_rows(f->c, refuse, &n, &f->err), STERNA_ECANCELED);
    assert_int_equal(n, 1);
    stn_catalog_rollback(f->c);
    stn_catalog_share_names(f->c, NULL);
    assert_ok(stn_catalog_begin(f->c, "a folder", &run, &f->err));
    assert_int_equal(stn_catalog_run_rows(f->c, refuse, &n, &f->err), STERNA_EINVAL);
}

static int last_run(void *ctx, const struct sterna_run *run) {
    struct sterna_run *last = ctx;
    *last = *run;
    last->source = NULL;
    return 0;
}

static void test_a_run_of_another_host(void **state) {
    struct fixture *f = *state;
    struct sterna_run last = {0};
    uint64_t run;
    assert_ok(stn_catalog_begin_as(f->c, "elsewhere", 7, 1234567, &f->err));
    assert_ok(stn_catalog_declare_column(f->c, "score", &f->err));
    insert(f, 1, "cat", 1);
    assert_ok(stn_catalog_commit(f->c, &run, &f->err));
    assert_int_equal(run, 7);
    assert_ok(stn_catalog_begin_as(f->c, "elsewhere", 8, 1234568, &f->err));
    assert_ok(stn_catalog_commit(f->c, &run, &f->err)); /* adds nothing, and is listed */
    assert_int_equal(run, 8);
    assert_ok(stn_catalog_runs(f->c, last_run, &last, &f->err));
    assert_int_equal(last.run, 8);
    assert_int_equal(last.finished_s, 1234568);
    assert_int_equal(last.n_samples, 0);
    assert_int_equal(stn_catalog_begin_as(f->c, "elsewhere", 8, 0, &f->err), STERNA_EINVAL);
    assert_non_null(strstr(f->err.message, "run 8 is listed already"));
    assert_ok(stn_catalog_begin(f->c, "here", &run, NULL));
    assert_int_equal(run, 9);
}

static void test_names_alone(void **state) {
    struct fixture *f = *state;
    struct sterna_store_info info;
    uint32_t number;
    uint64_t run;
    assert_ok(stn_catalog_begin_as(f->c, "", 0, 0, &f->err));
    assert_ok(stn_catalog_declare_field(f->c, "image", STERNA_KIND_IMAGE, &number, &f->err));
    assert_ok(stn_catalog_commit(f->c, &run, &f->err));
    assert_int_equal(run, 0);
    assert_ok(stn_catalog_info(f->c, &info, &f->err));
    assert_int_equal(info.n_fields, 1);
    assert_int_equal(info.last_run, 0);
}

int main(void) {
#define test(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        test(test_fields_have_the_numbers_given),
        test(test_classes_are_asked_for_together),
        test(test_a_place_that_fails_declares_nothing),
        test(test_rows_of_a_run),
        test(test_rows_end_when_told_to),
        test(test_a_run_of_another_host),
        test(test_names_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
