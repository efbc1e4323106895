/* Expressions and queries: what is answered, what is refused, what takes too long. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "base/bytes.h"
#include "catalog/catalog.h"
#include "catalog/expression.h"
#include "support/temporary.h"

static const uint8_t dataset[16] = "data set 0000001";

struct fixture {
    char *dir;
    struct stn_catalog *c;
    struct sterna_error err;
    char out[8192];
};

#define ok(f, call)                                                                                \
    do {                                                                                           \
        stn_error_clear(&(f)->err);                                                                \
        int ok_rc = (call);                                                                        \
        if (ok_rc != STERNA_OK) fail_msg("%s: %d: %s", #call, ok_rc, (f)->err.message);            \
    } while (0)

static struct stn_cell cell_int(const char *column, int64_t i) {
    return (struct stn_cell){column, {.type = STERNA_INT, .i = i}};
}
static struct stn_cell cell_text(const char *column, const char *text) {
    return (struct stn_cell){column,
                             {.type = STERNA_TEXT, .text = text, .text_bytes = strlen(text)}};
}

static void id_of(uint32_t i, uint8_t id[16]) {
    memset(id, 0xAB, 16);
    id[0] = (uint8_t)(i >> 8);
    id[1] = (uint8_t)i;
}

static void insert(struct fixture *f, uint32_t i, const char *path, int64_t label,
                   const char *class, int64_t width) {
    struct stn_cell cells[] = {cell_text("path", path),    cell_int("label", label),
                               cell_text("class", class),  cell_int("width", width),
                               cell_int("image_bytes", i), cell_text("meta", "{\"a\": [1, 2]}")};
    struct stn_row row = {.cells = cells, .n_cells = STN_COUNT(cells)};
    id_of(i, row.id);
    ok(f, stn_catalog_insert(f->c, &row, &f->err));
}

/* Two runs: 0..5 and 6..7; paths fall while numbers rise; 4 and 5 have odd paths. */
static int setup(void **state) {
    struct fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    f->dir = test_dir_make();
    *state = f;
    const char *path = test_path(f->dir, "catalog.sqlite");
    uint64_t run;
    uint32_t number;
    ok(f, stn_catalog_create(path, dataset, &f->err));
    ok(f, stn_catalog_open(&f->c, path, STN_CATALOG_WRITE, &f->err));
    ok(f, stn_catalog_begin(f->c, "one", &run, &f->err));
    ok(f, stn_catalog_declare_field(f->c, "image", STERNA_KIND_IMAGE, &number, &f->err));
    ok(f, stn_catalog_declare_column(f->c, "meta", &f->err));
    static const char *const paths[] = {"d/3.jpg", "d/2.jpg",  "d/1.jpg",
                                        "c/0.jpg", "b\nb.jpg", "\xff\xfe/a.jpg"};
    for (uint32_t i = 0; i < 6; i++) insert(f, i, paths[i], i % 2, i % 2 ? "dog" : "cat", 100 * i);
    ok(f, stn_catalog_commit(f->c, &run, &f->err));
    ok(f, stn_catalog_begin(f->c, "two", &run, &f->err));
    insert(f, 6, "a/a.jpg", 2, "elk", 640);
    insert(f, 7, "A/a.jpg", 2, "elk", 650);
    ok(f, stn_catalog_commit(f->c, &run, &f->err));
    return 0;
}

static int teardown(void **state) {
    struct fixture *f = *state;
    stn_catalog_close(&f->c);
    test_dir_remove(&f->dir);
    free(f);
    return 0;
}

static int print_row(void *ctx, const char *const *names, const struct sterna_value *values,
                     size_t n) {
    struct fixture *f = ctx;
    (void)names;
    for (size_t i = 0; i < n; i++) {
        char *at = f->out + strlen(f->out);
        size_t room = sizeof f->out - strlen(f->out);
        if (values[i].type == STERNA_NULL) snprintf(at, room, "null ");
        if (values[i].type == STERNA_INT) snprintf(at, room, "%lld ", (long long)values[i].i);
        if (values[i].type == STERNA_REAL) snprintf(at, room, "%g ", values[i].r);
        if (values[i].type == STERNA_TEXT)
            snprintf(at, room, "%.*s ", (int)values[i].text_bytes, values[i].text);
    }
    return 0;
}

static const char *const width_only[] = {"width"};

static int query(struct fixture *f, const char *where, uint64_t as_of) {
    const struct sterna_query_options o = {.struct_size = sizeof o,
                                           .where = where,
                                           .columns = width_only,
                                           .n_columns = 1,
                                           .as_of_run = as_of};
    f->out[0] = '\0';
    stn_error_clear(&f->err);
    return stn_catalog_query(f->c, &o, print_row, f, &f->err);
}

/* ---- what is answered ---- */

static void test_query_answers_in_order_of_path(void **state) {
    static const struct {
        const char *where, *want;
        uint64_t as_of;
    } rows[] = {
        {NULL, "650 640 400 300 200 100 0 500 ", 0},
        {NULL, "400 300 200 100 0 500 ", 1},
        {NULL, "650 640 400 300 200 100 0 500 ", 2},
        {"label = 2", "650 640 ", 0},
        {"label = 2", "", 1},
        {"class = 'dog' and width > 100", "300 500 ", 0},
        {"width in (0, 300)", "300 0 ", 0},
        {"id = '0003abab-abab-abab-abab-abababababab'", "300 ", 0},
        {"id like '0003%'", "300 ", 0},
        {"path like 'd/%'", "200 100 0 ", 0},
        {"path glob '*/a.jpg'", "650 640 500 ", 0},
        {"typeof(path) <> 'text'", "", 0},
        {"length(path) = 7", "650 640 400 300 200 100 0 ", 0},
        {"width = (select max(width) from sample)", "650 ", 0},
        {"width = (select max(width) from sample)", "500 ", 1}, /* as of run 1 all through */
        {"label in (select label from class)", "", 0},
        {"json_extract(meta, '$.a[1]') = 2 and width < 101", "100 0 ", 0},
        {"sqrt(width) = 10", "100 ", 0},
        {"exists (select 1 from json_each(meta, '$.a') where value = width)", "", 0},
        {"image_bytes >= 7", "650 ", 0},
        {"run = 2", "650 640 ", 0},
        {"1 -- a comment at the end", "650 640 400 300 200 100 0 500 ", 0},
        {"/* ( ; */ width = 0", "0 ", 0},
        {"class <> ') or (1' and class <> 'it''s;' and label = 2", "650 640 ", 0},
        {"\"width\" = 0 or [width] = 100 or `width` = 200", "200 100 0 ", 0},
        {"WIDTH = 0", "0 ", 0},
        {"(with recursive n(i) as (select 1 union all select i + 1 from n where i < 100) "
         "select sum(i) from n) = 5050 and width = 0",
         "0 ", 0},
        {"0", "", 0},
        {"null", "", 0},
    };
    struct fixture *f = *state;
    for (size_t i = 0; i < STN_COUNT(rows); i++) {
        int rc = query(f, rows[i].where, rows[i].as_of);
        if (rc != STERNA_OK) fail_msg("%s: %d: %s", rows[i].where, rc, f->err.message);
        if (strcmp(f->out, rows[i].want) != 0)
            fail_msg("%s: '%s', not '%s'", rows[i].where, f->out, rows[i].want);
    }
}

static void test_query_gives_all_columns_by_default(void **state) {
    struct fixture *f = *state;
    const struct sterna_query_options o = {.struct_size = sizeof o, .where = "width in (0, 500)"};
    ok(f, stn_catalog_query(f->c, &o, print_row, f, &f->err));
    assert_string_equal(
        f->out, "0000abab-abab-abab-abab-abababababab d/3.jpg 0 cat null 0 null null null 1 0 "
                "{\"a\": [1, 2]} "
                "0005abab-abab-abab-abab-abababababab \xff\xfe/a.jpg 1 dog null 500 null null null "
                "1 5 {\"a\": [1, 2]} ");
    f->out[0] = '\0';
    ok(f, stn_catalog_query(f->c, NULL, print_row, f, &f->err));
    assert_non_null(strstr(f->out, "b\nb.jpg"));
}

static void test_query_by_ids_keeps_their_order(void **state) {
    struct fixture *f = *state;
    uint8_t ids[4][16];
    static const uint32_t numbers[] = {3, 7, 0, 3};
    for (size_t i = 0; i < 4; i++) id_of(numbers[i], ids[i]);
    struct sterna_query_options o = {.struct_size = sizeof o,
                                     .columns = width_only,
                                     .n_columns = 1,
                                     .ids = (const uint8_t(*)[16])ids,
                                     .n_ids = 4};
    ok(f, stn_catalog_query(f->c, &o, print_row, f, &f->err));
    assert_string_equal(f->out, "300 650 0 300 ");
    o.as_of_run = 1;
    assert_int_equal(stn_catalog_query(f->c, &o, print_row, f, &f->err), STERNA_ENOTFOUND);
    assert_non_null(strstr(f->err.message, "0007abab-abab-abab-abab-abababababab as of run 1"));
    stn_error_clear(&f->err);
    o.where = "1";
    assert_int_equal(stn_catalog_query(f->c, &o, print_row, f, &f->err), STERNA_EINVAL);
}

static int stop_after_two(void *ctx, const char *const *names, const struct sterna_value *values,
                          size_t n) {
    (void)names;
    (void)values;
    (void)n;
    return ++*(int *)ctx == 2 ? 77 : 0;
}

static int ask_again(void *ctx, const char *const *names, const struct sterna_value *values,
                     size_t n) {
    struct fixture *f = ctx;
    (void)names;
    (void)values;
    (void)n;
    struct sterna_store_info info;
    ok(f, stn_catalog_info(f->c, &info, &f->err));
    assert_int_equal(info.n_samples, 8);
    return 0;
}

static void test_query_row_function_may_stop_and_may_ask(void **state) {
    struct fixture *f = *state;
    int count = 0;
    assert_int_equal(stn_catalog_query(f->c, NULL, stop_after_two, &count, &f->err), 77);
    assert_int_equal(count, 2);
    ok(f, stn_catalog_query(f->c, NULL, ask_again, f, &f->err));
}

/* ---- what is refused ---- */

static void test_query_refuses(void **state) {
    static const struct {
        const char *where, *says;
    } rows[] = {
        {"", "is empty"},
        {" \n\t", "is empty"},
        {"-- nothing", "is empty"},
        {"/* nothing */ ", "is empty"},
        {"()", "syntax error"},
        {"1; drop table sample", "';'"},
        {"1;", "';'"},
        {"1) or (1", "a ')' without a '('"},
        {"1)", "a ')' without a '('"},
        {"((1)", "a '(' without a ')'"},
        {"1 /* not closed", "a comment that does not end"},
        {"class = 'x", "a quote that does not end"},
        {"\"width", "a quote that does not end"},
        {"[width", "a quote that does not end"},
        {"width = ?", "parameters"},
        {"width = ?1", "parameters"},
        {"width = :a", "parameters"},
        {"width = @a", "parameters"},
        {"width = $a", "parameters"},
        {"1 union select 2", "syntax error"},
        {"1 order by 2", "syntax error"},
        {"1, 2", "row value"},
        {"widht = 3", "no such column: widht"},
        {"class = \"cat\"", "single quotes"},
        {"nosuch(3)", "no such function"},
        {"count(*) > 1", "misuse of aggregate"},
        {"random() > 0", "function random"},
        {"abs(random()) > 0", "function random"},
        {"randomblob(4) > 0", "function randomblob"},
        {"width > datetime('now')", "function datetime"},
        {"width > current_timestamp", "function current_timestamp"},
        {"strftime('%s', 'now') > 0", "function strftime"},
        {"load_extension('x')", "function load_extension"},
        {"sqlite_version() > ''", "function sqlite_version"},
        {"last_insert_rowid() > 0", "function last_insert_rowid"},
        {"changes() > 0", "function changes"},
        {"zeroblob(100000000) > 0", "function zeroblob"},
        {"exists (select 1 from info)", "table info"},
        {"exists (select 1 from run)", "table run"},
        {"(select count(*) from main.run) = 2", "table run"},
        {"(select source from run) = 'one'", "table run"},
        {"exists (select 1 from sqlite_master)", "table sqlite_master"},
        {"exists (select 1 from sqlite_temp_master)", "table sqlite_temp_master"},
        {"exists (select 1 from pragma_database_list)", "not allowed"},
        {"exists (select 1 from pragma_table_info('run'))", "not allowed"},
        {"exists (select 1 from dbstat)", "not allowed"},
        {"exists (select 1 from sqlite_stmt)", "not allowed"},
        {"(pragma user_version)", "syntax error"},
        {"(delete from sample)", "syntax error"},
        {"(attach 'x' as y)", "syntax error"},
        {"raise(abort, 'x')", "RAISE"},
        {"json_extract('{', '$.a')", "malformed JSON"},
        {"abs(-9223372036854775807 - 1) > 0", "integer overflow"},
        {"length(replace(replace(printf('%.5000c', 'x'), 'x', printf('%.5000c', 'y')), 'y', 'yy'))",
         "too big"},
    };
    struct fixture *f = *state;
    for (size_t i = 0; i < STN_COUNT(rows); i++) {
        int rc = query(f, rows[i].where, 0);
        if (rc != STERNA_EQUERY) fail_msg("%s: %d: %s", rows[i].where, rc, f->err.message);
        if (!strstr(f->err.message, rows[i].says))
            fail_msg("%s: '%s' says nothing of '%s'", rows[i].where, f->err.message, rows[i].says);
    }
    assert_int_equal(query(f, NULL, 0), STERNA_OK); /* and nothing happened */
    assert_string_equal(f->out, "650 640 400 300 200 100 0 500 ");
}

static void test_query_refuses_long_and_deep_expressions(void **state) {
    struct fixture *f = *state;
    size_t bytes = (5 << 20) + 1;
    char *where = malloc(bytes);
    assert_non_null(where);
    memset(where, ' ', bytes);
    where[0] = '1';
    where[bytes - 1] = '\0';
    assert_int_equal(query(f, where, 0), STERNA_EQUERY);
    assert_non_null(strstr(f->err.message, "too long"));
    memset(where, '(', 20000);
    where[20000] = '1';
    memset(where + 20001, ')', 20000);
    where[40001] = '\0';
    assert_int_equal(query(f, where, 0), STERNA_EQUERY);
    free(where);
}

static void test_query_arguments_that_are_refused(void **state) {
    struct fixture *f = *state;
    static const char *const unknown[] = {"width", "wdith"};
    const struct {
        struct sterna_query_options o;
        const char *says;
    } rows[] = {
        {{.struct_size = 8}, "struct_size is 8"},
        {{.struct_size = sizeof rows[0].o, .as_of_run = 3}, "last run is 2"},
        {{.struct_size = sizeof rows[0].o, .columns = unknown, .n_columns = 2}, "'wdith'; there"},
    };
    for (size_t i = 0; i < STN_COUNT(rows); i++) {
        stn_error_clear(&f->err);
        assert_int_equal(stn_catalog_query(f->c, &rows[i].o, print_row, f, &f->err), STERNA_EINVAL);
        if (!strstr(f->err.message, rows[i].says)) fail_msg("%s", f->err.message);
    }
}

/* ---- what takes too long ---- */

static void test_query_is_stopped_at_its_time_limit(void **state) {
    struct fixture *f = *state;
    const struct sterna_query_options o = {
        .struct_size = sizeof o,
        .where = "(with recursive n(i) as (select 1 union all select i + 1 from n) "
                 "select count(*) from n) > 0",
        .time_limit_ms = 50};
    int rc = stn_catalog_query(f->c, &o, print_row, f, &f->err);
    if (rc != STERNA_ETIMEOUT) fail_msg("%d: %s", rc, f->err.message);
    assert_int_equal(f->err.code, STERNA_ETIMEOUT);
    assert_non_null(strstr(f->err.message, "50 ms"));
    assert_non_null(strstr(f->err.message, "time_limit_ms"));
    assert_int_equal(query(f, "label = 2", 0), STERNA_OK); /* and all is well again */
}

/* ---- the look before ---- */

static void test_expression_stays_between_its_parentheses(void **state) {
    (void)state;
    static const char alphabet[] = "()'\"`[]-/*;\n 1x";
    uint64_t random = 1;
    unsigned accepted = 0;
    for (int i = 0; i < 200000; i++) {
        char text[9] = "";
        for (int k = 0; k < 8; k++) {
            random = random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
            text[k] = alphabet[(random >> 33) % (sizeof alphabet - 1)];
        }
        if (stn_expression_check(text, NULL) != STERNA_OK) continue;
        accepted++;
        /* What is put behind must still be code: an unmatched ')' is seen there. */
        char around[32];
        snprintf(around, sizeof around, "(%s\n)", text);
        assert_int_equal(stn_expression_check(around, NULL), STERNA_OK);
        snprintf(around, sizeof around, "(%s\n))", text);
        assert_int_equal(stn_expression_check(around, NULL), STERNA_EQUERY);
    }
    assert_true(accepted > 1000);
}

#define unit(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        unit(test_query_answers_in_order_of_path),
        unit(test_query_gives_all_columns_by_default),
        unit(test_query_by_ids_keeps_their_order),
        unit(test_query_row_function_may_stop_and_may_ask),
        unit(test_query_refuses),
        unit(test_query_refuses_long_and_deep_expressions),
        unit(test_query_arguments_that_are_refused),
        unit(test_query_is_stopped_at_its_time_limit),
        cmocka_unit_test(test_expression_stays_between_its_parentheses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
