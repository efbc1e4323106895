#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ingest/csv.h"
#include "ingest/metadata.h"
#include "support/tree.h"

static void test_csv_reads_records(void **state) {
    static const struct {
        const char *text, *want; /* fields in brackets, records ended by ';' */
    } rows[] = {
        {"a,b\nc,d\n", "[a][b];[c][d];"},
        {"a,b\r\nc,d", "[a][b];[c][d];"},
        {"\xef\xbb\xbf"
         "a,b\n",
         "[a][b];"},
        {"\xef\xbb"
         "x",
         "!"},
        {"\"a,b\",\"c\"\"d\"\n", "[a,b][c\"d];"},
        {"\"a\nb\",\"c\r\nd\"\r\n", "[a\nb][c\r\nd];"},
        {"\"\",\n", "[][];"},
        {"\"\"\"\"\n", "[\"];"},
        {"a\n\n\r\nb\n", "[a];[b];"},
        {",\n", "[][];"},
        {"a b, c \n", "[a b][ c ];"},
        {"a\"b,c\n", "[a\"b][c];"},
        {"a\rb,c\r", "[a\rb][c\r];"},
        {"\"a\",\"b\"", "[a][b];"},
        {"", ""},
        {"\n\n", ""},
        {"a\n\"b", "[a];!"},
        {"a\n\"b\"c\n", "[a];!"},
        {"a\n\"b\"\rc\n", "[a];!"},
        {"a\n\xff\n", "[a];!"},
    };
    struct tree t;
    (void)state;
    tree_open(&t);
    for (size_t i = 0; i < STN_COUNT(rows); i++) {
        struct stn_csv csv;
        char got[256] = "";
        int rc;
        tree_text(&t, "a.csv", rows[i].text);
        assert_int_equal(stn_csv_open(&csv, tree_path(&t, "a.csv"), NULL), STERNA_OK);
        while ((rc = stn_csv_next(&csv, NULL)) == STERNA_OK) {
            for (size_t k = 0; k < csv.n_fields; k++)
                snprintf(got + strlen(got), sizeof got - strlen(got), "[%s]", csv.fields[k]);
            strcat(got, ";");
        }
        if (rc < 0) strcat(got, "!");
        if (strcmp(got, rows[i].want) != 0) fail_msg("row %zu: %s", i, got);
        stn_csv_close(&csv);
        stn_csv_close(&csv);
    }
    tree_close(&t);
}

static struct stn_metadata *load(const struct tree *t, const char *text) {
    struct stn_metadata *m;
    struct sterna_error err = {0};
    tree_text(t, "m.csv", text);
    if (stn_metadata_open(&m, tree_path(t, "m.csv"), &err) != STERNA_OK)
        fail_msg("%s", err.message);
    return m;
}

static void test_metadata_infers_types_over_the_whole_file(void **state) {
    static const struct {
        const char *values[4];
        enum sterna_type want;
    } rows[] = {
        {{"1", "-2", "0", "9223372036854775807"}, STERNA_INT},
        {{"1", "", "3", ""}, STERNA_INT},
        {{"", "", "", ""}, STERNA_NULL},
        {{"1", "2.5", "3", ""}, STERNA_REAL},
        {{"1e5", "-.5", "5.", "1E-3"}, STERNA_REAL},
        {{"1", "-0", "", ""}, STERNA_REAL},
        {{"1", "2", "x", "4"}, STERNA_TEXT},
        {{"007", "8", "", ""}, STERNA_TEXT},
        {{"007", "1.5", "", ""}, STERNA_TEXT},
        {{"+5", "", "", ""}, STERNA_TEXT},
        {{" 5", "", "", ""}, STERNA_TEXT},
        {{"9223372036854775808", "1", "", ""}, STERNA_TEXT},
        {{"nan", "1.5", "", ""}, STERNA_TEXT},
        {{"inf", "1", "", ""}, STERNA_TEXT},
        {{"0x10", "1", "", ""}, STERNA_TEXT},
        {{"-", "1", "", ""}, STERNA_TEXT},
        {{".", "1", "", ""}, STERNA_TEXT},
        {{"1e", "1", "", ""}, STERNA_TEXT},
        {{"1_000", "1", "", ""}, STERNA_TEXT},
    };
    struct tree t;
    (void)state;
    tree_open(&t);
    for (size_t i = 0; i < STN_COUNT(rows); i++) {
        char text[256] = "path,v\n";
        for (int k = 0; k < 4; k++)
            snprintf(text + strlen(text), sizeof text - strlen(text), "%d,%s\n", k,
                     rows[i].values[k]);
        struct stn_metadata *m = load(&t, text);
        assert_int_equal(stn_metadata_n_columns(m), 1);
        enum sterna_type got = stn_metadata_column(m, 0).type;
        if (got != rows[i].want) fail_msg("row %zu: %d", i, got);
        stn_metadata_close(&m);
    }
    tree_close(&t);
}

static void test_metadata_finds_rows_by_path(void **state) {
    struct tree t;
    struct stn_metadata_row row = {0};
    (void)state;
    tree_open(&t);
    struct stn_metadata *m = load(&t, "width_cm,file_name,Note,n\r\n"
                                      "1.5,./cat/a.jpg,\"two\nlines, \"\"said\"\"\",7\r\n"
                                      ",dog/\xc3\xa9.jpg,,\r\n"
                                      "3,\"x,y.jpg\",last,-9");
    assert_int_equal(stn_metadata_n_rows(m), 3);
    assert_int_equal(stn_metadata_n_columns(m), 3);
    assert_string_equal(stn_metadata_column(m, 0).name, "width_cm");
    assert_string_equal(stn_metadata_column(m, 1).name, "Note");
    assert_string_equal(stn_metadata_column(m, 2).name, "n");
    assert_int_equal(stn_metadata_find_column(m, "note"), 1);
    assert_int_equal(stn_metadata_find_column(m, "file_name"), -1);

    assert_int_equal(stn_metadata_find(m, "cat/a.jpg", 9, &row, NULL), 1);
    assert_int_equal(row.values[0].type, STERNA_REAL);
    assert_true(row.values[0].r == 1.5);
    assert_int_equal(row.values[1].type, STERNA_TEXT);
    assert_string_equal(row.values[1].text, "two\nlines, \"said\"");
    assert_int_equal(row.values[1].text_bytes, strlen("two\nlines, \"said\""));
    assert_int_equal(row.values[2].type, STERNA_INT);
    assert_int_equal(row.values[2].i, 7);

    assert_int_equal(stn_metadata_find(m, "dog/\xc3\xa9.jpg", 10, &row, NULL), 1);
    for (int i = 0; i < 3; i++) assert_int_equal(row.values[i].type, STERNA_NULL);
    assert_int_equal(stn_metadata_find(m, "x,y.jpg", 7, &row, NULL), 1);
    assert_int_equal(row.values[2].i, -9);
    assert_int_equal(stn_metadata_find(m, "./cat/a.jpg", 11, &row, NULL), 0);
    assert_int_equal(stn_metadata_find(m, "cat/\xff", 5, &row, NULL), 0);
    stn_metadata_row_fini(&row);
    stn_metadata_close(&m);
    tree_close(&t);
}

static void test_metadata_chooses_the_key_column(void **state) {
    static const struct {
        const char *header;
        int key; /* position */
    } rows[] = {{"a,b,c", 0},        {"a,path,file_name", 1}, {"image,file,filename", 2},
                {"a,image,file", 2}, {"x,FILE_NAME,y", 1},    {"image,path,b", 1}};
    struct tree t;
    (void)state;
    tree_open(&t);
    for (size_t i = 0; i < STN_COUNT(rows); i++) {
        char text[128];
        struct stn_metadata_row row = {0};
        snprintf(text, sizeof text, "%s\nv0,v1,v2\n", rows[i].header);
        struct stn_metadata *m = load(&t, text);
        char key[3] = {'v', (char)('0' + rows[i].key), 0};
        if (stn_metadata_find(m, key, 2, &row, NULL) != 1) fail_msg("%s", rows[i].header);
        stn_metadata_row_fini(&row);
        stn_metadata_close(&m);
    }
    tree_close(&t);
}

static int collect(void *ctx, const char *name) {
    strcat(ctx, name);
    strcat(ctx, ";");
    return 0;
}

static void test_metadata_lists_classes_once(void **state) {
    struct tree t;
    char classes[64] = "";
    (void)state;
    tree_open(&t);
    struct stn_metadata *m = load(&t, "path,class\na,dog\nb,cat\nc,dog\nd,\n");
    assert_int_equal(stn_metadata_classes(m, collect, classes, NULL), STERNA_OK);
    assert_true(strcmp(classes, "dog;cat;") == 0 || strcmp(classes, "cat;dog;") == 0);
    stn_metadata_close(&m);
    tree_close(&t);
}

static void test_metadata_refuses(void **state) {
    static const struct {
        const char *text, *says;
    } rows[] = {
        {"", "is empty"},
        {"path,a\nx,1\ny\n", "line 3: 1 values for 2 columns"},
        {"path,a\nx,1,2\n", "line 2: 3 values for 2 columns"},
        {"path,a\nx,1\n\"y\n1,2\n", "line 3: a quote is not closed"},
        {"path,a\n\"x\ny\",1\n\"x\ny\",1\n", "line 4: \"x\ny\" is there twice"},
        {"path,a\nx,1\n./x,1\n", "line 3: \"x\" is there twice"},
        {"path,a,A\nx,1,2\n", "column \"A\" is there twice"},
        {"path,a\n,1\n", "line 2: column \"path\" is empty"},
        {"path,a\nx,\xff\n", "line 2: is not UTF-8"},
    };
    struct tree t;
    (void)state;
    tree_open(&t);
    for (size_t i = 0; i < STN_COUNT(rows); i++) {
        struct stn_metadata *m;
        struct sterna_error err = {0};
        tree_text(&t, "m.csv", rows[i].text);
        assert_int_equal(stn_metadata_open(&m, tree_path(&t, "m.csv"), &err), STERNA_EINVAL);
        assert_null(m);
        if (!strstr(err.message, rows[i].says) || !strstr(err.message, "m.csv"))
            fail_msg("row %zu: %s", i, err.message);
    }
    struct stn_metadata *m;
    struct sterna_error err = {0};
    tree_write(&t, "m.csv", "path,a\nx,\0\n", 11);
    assert_int_equal(stn_metadata_open(&m, tree_path(&t, "m.csv"), &err), STERNA_EINVAL);
    assert_non_null(strstr(err.message, "NUL"));
    err = (struct sterna_error){0};
    assert_int_equal(stn_metadata_open(&m, tree_path(&t, "none.csv"), &err), STERNA_ENOTFOUND);
    err = (struct sterna_error){0};
    assert_int_equal(stn_metadata_open(&m, t.path, &err), STERNA_EIO); /* a directory */
    tree_close(&t);
}

static void test_metadata_holds_many_rows(void **state) {
    enum { ROWS = 20000 };
    struct tree t;
    struct stn_metadata *m;
    struct stn_metadata_row row = {0};
    (void)state;
    tree_open(&t);
    FILE *f = fopen(tree_path(&t, "m.csv"), "w");
    fprintf(f, "path,n,note\n");
    for (int i = 0; i < ROWS; i++) fprintf(f, "c/%d.jpg,%d,text %d\n", i, i, i);
    fclose(f);
    assert_int_equal(stn_metadata_open(&m, tree_path(&t, "m.csv"), NULL), STERNA_OK);
    assert_int_equal(stn_metadata_n_rows(m), ROWS);
    for (int i = 0; i < ROWS; i += 997) {
        char path[32];
        int n = snprintf(path, sizeof path, "c/%d.jpg", i);
        assert_int_equal(stn_metadata_find(m, path, (size_t)n, &row, NULL), 1);
        assert_int_equal(row.values[0].i, i);
    }
    stn_metadata_row_fini(&row);
    stn_metadata_close(&m);
    tree_close(&t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_csv_reads_records),
        cmocka_unit_test(test_metadata_infers_types_over_the_whole_file),
        cmocka_unit_test(test_metadata_finds_rows_by_path),
        cmocka_unit_test(test_metadata_chooses_the_key_column),
        cmocka_unit_test(test_metadata_lists_classes_once),
        cmocka_unit_test(test_metadata_refuses),
        cmocka_unit_test(test_metadata_holds_many_rows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
