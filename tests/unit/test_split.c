/* Splits: who goes where, and how exactly. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/digest.h"
#include "base/philox.h"
#include "catalog/apportion.h"
#include "catalog/selection.h"
#include "sterna/sterna.h"
#include "store.h"
#include "support/temporary.h"

struct fixture {
    char *dir;
    sterna_store *store;
    struct stn_catalog *c;
    struct sterna_error err;
    struct sterna_split_row rows[200];
    char strata[200][32];
    size_t n_rows;
};

#define ok(f, call)                                                                                \
    do {                                                                                           \
        stn_error_clear(&(f)->err);                                                                \
        int ok_rc = (call);                                                                        \
        if (ok_rc != STERNA_OK) fail_msg("%s: %d: %s", #call, ok_rc, (f)->err.message);            \
    } while (0)

static void id_of(uint32_t i, uint8_t id[16]) { /* any 16 bytes */
    uint64_t words[2] = {(i + 1) * UINT64_C(0x9E3779B97F4A7C15),
                         (i + 7) * UINT64_C(0xD1B54A32D192ED03)};
    memcpy(id, words, 16);
}

/* Sample i: class i % 3, patient i / 7 (the first ten have none), odd paths. */
static void insert(struct fixture *f, uint32_t i) {
    char path[40], class[16];
    snprintf(path, sizeof path, "%s%08x.jpg", i % 50 ? "" : "\xff", i * 2654435761U);
    snprintf(class, sizeof class, "class %u", i % 3);
    const struct stn_cell cells[] = {
        {"path", {.type = STERNA_TEXT, .text = path, .text_bytes = strlen(path)}},
        {"class", {.type = STERNA_TEXT, .text = class, .text_bytes = strlen(class)}},
        {"label", {.type = STERNA_INT, .i = i % 3}},
        {"patient", {.type = i < 10 ? STERNA_NULL : STERNA_INT, .i = i / 7}},
        {"rare", {.type = i % 10 ? STERNA_TEXT : STERNA_NULL, .text = "common", .text_bytes = 6}},
    };
    struct stn_row row = {.cells = cells, .n_cells = STN_COUNT(cells)};
    id_of(i, row.id);
    ok(f, stn_catalog_insert(f->c, &row, &f->err));
}

static void add_run(struct fixture *f, uint32_t first, uint32_t n) {
    uint64_t run;
    ok(f, stn_catalog_begin(f->c, "x", &run, &f->err));
    ok(f, stn_catalog_declare_column(f->c, "patient", &f->err));
    ok(f, stn_catalog_declare_column(f->c, "rare", &f->err));
    for (uint32_t i = first; i < first + n; i++) insert(f, i);
    ok(f, stn_catalog_commit(f->c, &run, &f->err));
}

static int setup(void **state) {
    struct fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    f->dir = test_dir_make();
    const struct sterna_store_options o = {.struct_size = sizeof o, .mode = STERNA_OPEN_CREATE};
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

static void keep_row(void *ctx, const struct sterna_split_row *row) {
    struct fixture *f = ctx;
    assert_true(f->n_rows < STN_COUNT(f->rows));
    f->rows[f->n_rows] = *row;
    if (row->stratum) {
        snprintf(f->strata[f->n_rows], sizeof f->strata[0], "%s", row->stratum);
        f->rows[f->n_rows].stratum = f->strata[f->n_rows];
    }
    f->n_rows++;
}

static const struct sterna_part parts[] = {{"train", 0.8}, {"val", 0.1}, {"test", 0.1}};
static const struct sterna_split_options plain = {
    .struct_size = sizeof plain, .parts = parts, .n_parts = 3, .seed = 42};

static void split(struct fixture *f, const struct sterna_split_options *o) {
    f->n_rows = 0;
    ok(f, sterna_split(f->store, o, keep_row, f, &f->err));
}

/* part[i]: number of the part that sample i is in; each must be in one. */
static void read_parts(struct fixture *f, uint32_t n, int *part) {
    for (uint32_t i = 0; i < n; i++) part[i] = -1;
    uint64_t sum = 0;
    for (int p = 0; p < 3; p++) {
        const struct sterna_select_options o = {.struct_size = sizeof o, .name = parts[p].name};
        sterna_selection *s = NULL;
        struct sterna_selection_info info;
        ok(f, sterna_select(&s, f->store, &o, &f->err));
        sterna_selection_info(s, &info);
        sum += info.n;
        for (uint64_t k = 0; k < info.n; k++) {
            uint32_t i = 0;
            uint8_t id[16];
            uint64_t word;
            memcpy(&word, sterna_selection_ids(s)[k], 8);
            i = (uint32_t)(word * UINT64_C(0xF1DE83E19937733D)) - 1; /* inverse of the factor */
            id_of(i, id);
            assert_memory_equal(sterna_selection_ids(s)[k], id, 16);
            assert_true(i < n && part[i] < 0);
            assert_int_equal(sterna_selection_labels(s)[k], i % 3);
            part[i] = p;
        }
        sterna_selection_close(&s);
    }
    assert_int_equal(sum, n);
}

static const struct sterna_split_row *row_of(const struct fixture *f, int part,
                                             const char *stratum) {
    for (size_t i = 0; i < f->n_rows; i++) {
        const struct sterna_split_row *row = &f->rows[i];
        int same = stratum ? row->stratum && strcmp(row->stratum, stratum) == 0 : !row->stratum;
        if (same && strcmp(row->part, parts[part].name) == 0) return row;
    }
    fail_msg("no row for part %d of %s", part, stratum ? stratum : "all");
    return NULL;
}

/* ---- independent splits ---- */

static void test_split_shares_hold_in_expectation(void **state) {
    struct fixture *f = *state;
    add_run(f, 0, 20000);
    for (uint64_t seed = 1; seed <= 3; seed++) {
        struct sterna_split_options o = plain;
        o.seed = seed;
        o.stratify = "class";
        split(f, &o);
        assert_int_equal(f->n_rows, 12);
        for (int p = 0; p < 3; p++) {
            const struct sterna_split_row *row = row_of(f, p, NULL);
            double sigma = sqrt(20000 * row->share_wanted * (1 - row->share_wanted));
            assert_true(fabs((double)row->n - 20000 * row->share_wanted) < 3.5 * sigma);
            assert_int_equal(row->n_groups, row->n);
            assert_true(fabs(row->share_got - (double)row->n / 20000) < 1e-12);
            uint64_t sum = row_of(f, p, "class 0")->n + row_of(f, p, "class 1")->n +
                           row_of(f, p, "class 2")->n;
            assert_int_equal(sum, row->n);
        }
    }
    assert_string_equal(f->rows[3].stratum, "class 0"); /* totals, then strata in order */
    assert_string_equal(f->rows[11].stratum, "class 2");
}

static void test_split_moves_no_old_sample(void **state) {
    static const char *const by[] = {NULL, "patient"};
    struct fixture *f = *state;
    static int before[3000], after[5000], again[5000];
    for (size_t k = 0; k < STN_COUNT(by); k++) {
        struct sterna_split_options o = plain;
        o.by = by[k];
        if (k == 0) add_run(f, 0, 3000);
        if (k == 1) o.where = "label >= 0 and run = 1";
        split(f, &o);
        read_parts(f, 3000, before);
        if (k == 0) add_run(f, 3000, 2000);
        o.where = NULL;
        split(f, &o);
        read_parts(f, 5000, after);
        assert_memory_equal(before, after, sizeof before);
    }
    struct sterna_split_options o = plain;
    o.seed = 43;
    o.by = "patient";
    split(f, &o);
    read_parts(f, 5000, again);
    assert_true(memcmp(after, again, sizeof after) != 0); /* but another seed does */
}

/* The rule of split.c written down once more, as somebody would who needs it elsewhere. */
static int part_by_rule(uint64_t seed, const uint8_t key[16]) {
    struct stn_philox counter;
    memcpy(counter.v, key, 16);
    struct stn_philox r = stn_philox4x32(counter, (uint32_t)seed, (uint32_t)(seed >> 32));
    double x = ldexp((double)r.v[1], -32) + ldexp((double)r.v[0], -64);
    return x < 0.8 ? 0 : x < 0.9 ? 1 : 2;
}

static void test_split_follows_its_rule(void **state) {
    struct fixture *f = *state;
    static int part[2000];
    static const uint8_t space[16];
    add_run(f, 0, 2000);
    struct sterna_split_options o = plain;
    split(f, &o);
    read_parts(f, 2000, part);
    for (uint32_t i = 0; i < 2000; i++) {
        uint8_t id[16];
        id_of(i, id);
        assert_int_equal(part[i], part_by_rule(42, id));
    }
    o.by = "patient";
    split(f, &o);
    read_parts(f, 2000, part);
    for (uint32_t i = 10; i < 2000; i++) {
        char text[20];
        uint8_t key[16];
        int n = snprintf(text, sizeof text, "%u", i / 7);
        ok(f, stn_uuid5(space, text, (size_t)n, key));
        assert_int_equal(part[i], part_by_rule(42, key));
    }
}

/* ---- groups ---- */

static void test_split_groups_never_straddle(void **state) {
    struct fixture *f = *state;
    static int part[7000];
    add_run(f, 0, 7000);
    for (int exact = 0; exact < 2; exact++) {
        for (int stratify = 0; stratify < 2; stratify++) {
            struct sterna_split_options o = plain;
            o.by = "patient";
            o.exact = exact;
            o.stratify = stratify ? "class" : NULL;
            split(f, &o);
            read_parts(f, 7000, part);
            uint64_t groups = 0;
            for (uint32_t i = 17; i < 7000; i++)
                if (i / 7 == (i - 1) / 7) assert_int_equal(part[i], part[i - 1]);
            for (int p = 0; p < 3; p++) groups += row_of(f, p, NULL)->n_groups;
            assert_int_equal(groups, 10 + 999); /* those without a patient each for itself */
            if (!exact) continue;
            for (int p = 0; p < 3; p++) { /* within a group or so */
                double off = (double)row_of(f, p, NULL)->n - 7000 * parts[p].share;
                assert_true(fabs(off) <= 7);
            }
        }
    }
}

/* ---- exact splits ---- */

static void test_split_exact_counts(void **state) {
    struct fixture *f = *state;
    static int part[1003];
    add_run(f, 0, 1003);
    struct sterna_split_options o = plain;
    o.exact = 1;
    split(f, &o);
    read_parts(f, 1003, part);
    assert_int_equal(row_of(f, 0, NULL)->n, 803); /* 802.4, 100.3, 100.3 */
    assert_int_equal(row_of(f, 1, NULL)->n, 100);
    assert_int_equal(row_of(f, 2, NULL)->n, 100);
    static const char *const strata[] = {"class 0", "class 1", "class 2"};
    o.stratify = "class"; /* 335, 334, 334: thirds of 803, 100, 100 */
    split(f, &o);
    read_parts(f, 1003, part);
    uint64_t sums[3] = {0};
    for (int s = 0; s < 3; s++) {
        uint64_t size = s ? 334 : 335;
        for (int p = 0; p < 3; p++) {
            const struct sterna_split_row *row = row_of(f, p, strata[s]);
            assert_true(fabs((double)row->n - (double)size * parts[p].share) < 1);
            assert_int_equal(row->n_groups, row->n);
            sums[p] += row->n;
        }
    }
    assert_int_equal(sums[0], 803);
    assert_int_equal(sums[1], 100);
    assert_int_equal(sums[2], 100);
    o.stratify = "rare";
    split(f, &o);
    assert_string_equal(f->rows[3].stratum, "null");
    assert_int_equal(row_of(f, 0, "null")->n + row_of(f, 1, "null")->n + row_of(f, 2, "null")->n,
                     101);
}

/* Rows and columns of the table add up, each cell is its share rounded up or down. */
static void test_apportion_rounds_rows_and_columns(void **state) {
    (void)state;
    static const double shares[][4] = {{0.8, 0.1, 0.1, 0},
                                       {0.25, 0.25, 0.25, 0.25},
                                       {0.7, 0.15, 0.1, 0.05},
                                       {1 / 3., 1 / 3., 1 / 3., 0}};
    static const size_t n_parts[] = {3, 4, 4, 3};
    uint64_t random = 7;
    for (int round = 0; round < 2000; round++) {
        const double *share = shares[round % 4];
        size_t n = n_parts[round % 4], n_strata = 1 + (size_t)round % 23;
        uint64_t sizes[23], got[23 * 4], total = 0;
        for (size_t s = 0; s < n_strata; s++) {
            random = random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
            sizes[s] = (random >> 33) % (round % 3 ? 10 : 100000);
            total += sizes[s];
        }
        assert_int_equal(stn_apportion(sizes, n_strata, share, n, got), STERNA_OK);
        double columns[4] = {0};
        for (size_t s = 0; s < n_strata; s++) {
            uint64_t row = 0;
            for (size_t p = 0; p < n; p++) {
                double want = (double)sizes[s] * share[p];
                if (fabs((double)got[s * n + p] - want) >= 1)
                    fail_msg("round %d: %g is no %d", round, want, (int)got[s * n + p]);
                row += got[s * n + p];
                columns[p] += (double)got[s * n + p];
            }
            assert_int_equal(row, sizes[s]);
        }
        for (size_t p = 0; p < n; p++)
            if (fabs(columns[p] - (double)total * share[p]) >= 1)
                fail_msg("round %d: part %zu has %g of %g", round, p, columns[p],
                         (double)total * share[p]);
    }
}

/* ---- what is refused, and what is left then ---- */

static void test_split_refuses(void **state) {
    static const struct sterna_part few[] = {{"a", 0.5}, {"b", 0.4}},
                                    twice[] = {{"a", 0.5}, {"a", 0.5}},
                                    none[] = {{"a", 1}, {"b", 0}}, minus[] = {{"a", 2}, {"b", -1}},
                                    nan_[] = {{"a", NAN}}, path[] = {{"../a", 1}};
    const struct {
        const char *name, *says;
        struct sterna_split_options o;
    } rows[] = {
        {"sum", "0.9", {.parts = few, .n_parts = 2}},
        {"twice", "'a' is named twice", {.parts = twice, .n_parts = 2}},
        {"zero", "'b'", {.parts = none, .n_parts = 2}},
        {"negative", "'b'", {.parts = minus, .n_parts = 2}},
        {"nan", "'a'", {.parts = nan_, .n_parts = 1}},
        {"path", "selection name", {.parts = path, .n_parts = 1}},
        {"no parts", "1 to", {.parts = parts, .n_parts = 0}},
        {"by", "'patiend'", {.parts = parts, .n_parts = 3, .by = "patiend"}},
        {"stratify", "'klass'", {.parts = parts, .n_parts = 3, .stratify = "klass"}},
    };
    struct fixture *f = *state;
    add_run(f, 0, 10);
    for (size_t i = 0; i < STN_COUNT(rows); i++) {
        struct sterna_split_options o = rows[i].o;
        o.struct_size = sizeof o;
        int rc = sterna_split(f->store, &o, keep_row, f, &f->err);
        if (rc != STERNA_EINVAL || !strstr(f->err.message, rows[i].says))
            fail_msg("%s: %d: %s", rows[i].name, rc, f->err.message);
    }
    assert_int_equal(f->n_rows, 0);
    assert_int_equal(access(test_path(f->dir, "selections"), F_OK), -1);
}

static void test_split_that_fails_replaces_nothing(void **state) {
    struct fixture *f = *state;
    static int before[300], after[300];
    add_run(f, 0, 300);
    split(f, &plain);
    read_parts(f, 300, before);
    struct sterna_split_options o = plain;
    o.seed = 1;
    o.where = "case when path like '%f.jpg' then json_extract('{', '$') else 1 end"; /* midway */
    assert_int_equal(sterna_split(f->store, &o, keep_row, f, &f->err), STERNA_EQUERY);
    read_parts(f, 300, after);
    assert_memory_equal(before, after, sizeof before);
    char command[512];
    snprintf(command, sizeof command, "test $(ls -A '%s/selections' | wc -l) = 3", f->dir);
    assert_int_equal(system(command), 0);
}

static void test_split_of_an_empty_store(void **state) {
    struct fixture *f = *state;
    for (int exact = 0; exact < 2; exact++) {
        struct sterna_split_options o = plain;
        o.exact = exact;
        o.by = "path";
        o.stratify = "class";
        split(f, &o);
        assert_int_equal(f->n_rows, 3);
        assert_int_equal(f->rows[0].n, 0);
        read_parts(f, 0, NULL);
    }
}

/* ---- of a selection, without saving ---- */

static void close_all(sterna_selection *selections[3]) {
    for (int i = 0; i < 3; i++) sterna_selection_close(&selections[i]);
}

static sterna_selection *choose(struct fixture *f, const struct sterna_select_options *options) {
    struct sterna_select_options o = *options;
    sterna_selection *s = NULL;
    o.struct_size = sizeof o;
    ok(f, sterna_select(&s, f->store, &o, &f->err));
    return s;
}

static void check_same(const sterna_selection *a, const sterna_selection *b) {
    struct sterna_selection_info one, two;
    sterna_selection_info(a, &one);
    sterna_selection_info(b, &two);
    assert_int_equal(one.n, two.n);
    assert_memory_equal(one.hash, two.hash, sizeof one.hash);
    assert_memory_equal(one.dataset_id, two.dataset_id, sizeof one.dataset_id);
    assert_int_equal(one.run, two.run);
}

static void test_split_in_memory_is_the_saved_one(void **state) {
    static const char where[] = "label = 1 or patient > 100";
    struct fixture *f = *state;
    add_run(f, 0, 2000);
    sterna_selection *some = choose(f, &(struct sterna_select_options){.where = where}),
                     *in_memory[3], *saved;
    for (int way = 0; way < 8; way++) {
        struct sterna_split_options o = plain;
        o.by = way & 1 ? "patient" : NULL;
        o.stratify = way & 2 ? "class" : NULL;
        o.exact = way >> 2;
        o.selection = some;
        o.out = in_memory;
        split(f, &o);
        assert_int_equal(access(test_path(f->dir, "selections"), F_OK), -1);
        size_t n_rows = f->n_rows;
        uint64_t n = f->rows[0].n, n_groups = f->rows[n_rows - 1].n_groups;

        o.selection = NULL;
        o.where = where;
        o.out = NULL;
        split(f, &o);
        assert_int_equal(f->n_rows, n_rows);
        assert_int_equal(f->rows[0].n, n);
        assert_int_equal(f->rows[n_rows - 1].n_groups, n_groups);
        for (int p = 0; p < 3; p++) {
            saved = choose(f, &(struct sterna_select_options){.name = parts[p].name});
            check_same(in_memory[p], saved);
            sterna_selection_close(&saved);
        }
        close_all(in_memory);
        char *selections = strdup(test_path(f->dir, "selections"));
        test_dir_remove(&selections);
    }
    sterna_selection_close(&some);
}

/* Each part has its samples in the selection's order, with the selection's columns. */
static void test_split_keeps_the_order_and_columns_of_a_selection(void **state) {
    enum { N = 500 };
    static const char *const columns[] = {"patient", "path"};
    static uint8_t ids[N][STERNA_ID_BYTES];
    struct fixture *f = *state;
    add_run(f, 0, 600);
    for (uint32_t i = 0; i < N; i++) id_of(N - 1 - i, ids[i]); /* no order of paths */
    sterna_selection *some = choose(f,
                                    &(struct sterna_select_options){
                                        .ids = (const uint8_t(*)[STERNA_ID_BYTES])ids,
                                        .n_ids = N,
                                        .columns = columns,
                                        .n_columns = 2}),
                     *in_memory[3];
    struct sterna_split_options o = plain;
    o.stratify = "class";
    o.selection = some;
    o.out = in_memory;
    for (int by = 0; by < 2; by++) {
        uint64_t at[3] = {0};
        if (by == 0) o.by = NULL;
        if (by == 1) o.by = "patient"; /* and one of them */
        split(f, &o);
        for (uint32_t i = 0; i < N; i++) {
            int p = 0;
            struct sterna_value want, got;
            struct sterna_selection_info info;
            for (; p < 3; p++) { /* the part whose turn is this sample */
                sterna_selection_info(in_memory[p], &info);
                if (at[p] < info.n &&
                    memcmp(sterna_selection_ids(in_memory[p])[at[p]], ids[i], STERNA_ID_BYTES) == 0)
                    break;
            }
            if (p == 3) fail_msg("sample %u is in no part, or not in its place", i);
            if (by == 0) assert_int_equal(p, part_by_rule(42, ids[i]));
            assert_int_equal(info.n_columns, 2);
            assert_string_equal(sterna_selection_column_name(in_memory[p], 1), "path");
            sterna_selection_value(some, 0, i, &want);
            sterna_selection_value(in_memory[p], 0, at[p], &got);
            assert_int_equal(got.type, want.type);
            assert_int_equal(got.i, want.i);
            sterna_selection_value(some, 1, i, &want);
            sterna_selection_value(in_memory[p], 1, at[p]++, &got);
            assert_int_equal(got.text_bytes, want.text_bytes);
            assert_memory_equal(got.text, want.text, want.text_bytes);
        }
        close_all(in_memory);
    }
    sterna_selection_close(&some);
}

static sterna_selection *selection_of(const uint8_t dataset_id[16], const uint8_t id[16]) {
    const struct stn_selection_spec spec = {.dataset_id = dataset_id, .run = 1};
    struct stn_selection_builder *b;
    sterna_selection *s;
    assert_int_equal(stn_selection_builder_open(&b, NULL, &spec, NULL), STERNA_OK);
    assert_int_equal(stn_selection_builder_add(b, id, NULL, 0, NULL, NULL), STERNA_OK);
    assert_int_equal(stn_selection_builder_finish(b, NULL, &s, NULL), STERNA_OK);
    stn_selection_builder_close(&b);
    return s;
}

static void refuse(struct fixture *f, const struct sterna_split_options *o, int code,
                   const char *says) {
    memset(o->out, 0xFF, 3 * sizeof *o->out);
    int rc = sterna_split(f->store, o, keep_row, f, &f->err);
    if (rc != code || !strstr(f->err.message, says)) fail_msg("%d: %s", rc, f->err.message);
    for (int i = 0; i < 3; i++) assert_null(o->out[i]);
}

static void test_split_of_a_selection_refuses(void **state) {
    static const uint8_t other[16] = {7};
    static const struct sterna_part free_names[] = {{"fold 1", 0.5}, {"/", 0.3}, {"", 0.2}},
                                    twice[] = {{"a b", 0.5}, {"a b", 0.3}, {"c", 0.2}},
                                    nameless[] = {{"a", 0.5}, {NULL, 0.3}, {"c", 0.2}};
    struct fixture *f = *state;
    struct sterna_store_info info;
    uint8_t id[16];
    add_run(f, 0, 30);
    id_of(31, id);
    ok(f, sterna_store_info(f->store, &info, &f->err));
    sterna_selection *out[3], *foreign = selection_of(other, id),
                              *gone = selection_of(info.dataset_id, id);
    struct sterna_split_options o = plain;
    o.out = out;
    o.selection = foreign;
    refuse(f, &o, STERNA_EMISMATCH, "of data set 07000000");
    o.selection = gone;
    refuse(f, &o, STERNA_ENOTFOUND, "no sample");
    o.where = "label = 1";
    refuse(f, &o, STERNA_EINVAL, "where");
    o.selection = NULL;
    o.where = "case when path like '%f.jpg' then json_extract('{', '$') else 1 end"; /* midway */
    refuse(f, &o, STERNA_EQUERY, "malformed JSON");
    o.where = NULL;
    o.parts = twice;
    refuse(f, &o, STERNA_EINVAL, "'a b' is named twice");
    o.parts = nameless;
    refuse(f, &o, STERNA_EINVAL, "parts[1]");
    assert_int_equal(f->n_rows, 0);
    o.parts = free_names; /* which are no names of files, if nothing is saved */
    split(f, &o);
    assert_string_equal(f->rows[1].part, "/");
    close_all(out);
    sterna_selection_close(&foreign);
    sterna_selection_close(&gone);
}

#define unit(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        unit(test_split_shares_hold_in_expectation),
        unit(test_split_moves_no_old_sample),
        unit(test_split_follows_its_rule),
        unit(test_split_groups_never_straddle),
        unit(test_split_exact_counts),
        cmocka_unit_test(test_apportion_rounds_rows_and_columns),
        unit(test_split_refuses),
        unit(test_split_that_fails_replaces_nothing),
        unit(test_split_of_an_empty_store),
        unit(test_split_in_memory_is_the_saved_one),
        unit(test_split_keeps_the_order_and_columns_of_a_selection),
        unit(test_split_of_a_selection_refuses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
