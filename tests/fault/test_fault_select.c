/* Selections, queries and splits while memory or the disk fail: the right samples or one clear
 * error; a file that is replaced is the old or the new one, whole. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/base.h"
#include "fault/sweep.h"
#include "support/dataset.h"
#include "support/temporary.h"

enum { PER_CLASS = 6, ALL = DATASET_CLASSES * PER_CLASS };

static char *base; /* holds the store; rounds only add selections to it, and take them away again */
static uint8_t ids[ALL][STERNA_ID_BYTES]; /* in the order of path */

static const char *store(void) { return test_path(base, "store"); }

static const char *const columns[] = {"path", "score", "note"};

static struct sterna_select_options select_options(void) {
    return (struct sterna_select_options){.struct_size = sizeof(struct sterna_select_options),
                                          .columns = columns,
                                          .n_columns = STN_COUNT(columns)};
}

/* ---- what must come out ---- */

/* The samples first, first + step ... of all, in this order. */
static void check_samples(const sterna_selection *s, unsigned first, int step, unsigned n) {
    struct sterna_selection_info info;
    struct sterna_value v;
    sterna_selection_info(s, &info);
    if (info.n != n) round_fail("%u samples, not %u", (unsigned)info.n, n);
    for (unsigned k = 0; k < n; k++) {
        unsigned at = first + (unsigned)step * k, c = at / PER_CLASS, i = at % PER_CLASS;
        if (memcmp(sterna_selection_ids(s)[k], ids[at], STERNA_ID_BYTES) != 0)
            round_fail("sample %u is another one", k);
        if (sterna_selection_labels(s)[k] != c) round_fail("sample %u has another label", k);
        if ((sterna_selection_lengths(s, 1)[k] == STERNA_LENGTH_NULL) != (i % 2 == 1))
            round_fail("sample %u has another caption", k);
        sterna_selection_value(s, 1, k, &v);
        int right = i % 4 == 3 ? v.type == STERNA_NULL : v.type == STERNA_REAL && v.r == i + 0.5;
        sterna_selection_value(s, 2, k, &v);
        right = right &&
                (i % 4 == 3 ? v.type == STERNA_NULL : v.type == STERNA_TEXT && v.text_bytes == 6);
        if (!right) round_fail("sample %u has other values", k);
    }
}

static int select_and_check(const struct sterna_select_options *o, unsigned first, int step,
                            unsigned n, struct sterna_error *err) {
    sterna_store *s;
    sterna_selection *selection = NULL;
    int rc = sterna_store_open(&s, store(), NULL, err);
    if (rc < 0) return rc;
    rc = sterna_select(&selection, s, o, err);
    if (rc == STERNA_OK) check_samples(selection, first, step, n);
    sterna_selection_close(&selection);
    sterna_store_close(&s);
    return rc;
}

/* ---- choosing ---- */

static void forget(const char *dir) {
    char *gone[] = {NULL, NULL};
    (void)dir;
    for (int i = 0; i < 2; i++) {
        gone[i] = strdup(test_path(store(), i ? "selections" : "cache"));
        test_dir_remove(&gone[i]);
    }
}

static int all(const char *dir, struct sterna_error *err) {
    struct sterna_select_options o = select_options();
    (void)dir;
    int rc = select_and_check(&o, 0, 1, ALL, err);
    return rc == STERNA_OK ? select_and_check(&o, 0, 1, ALL, err) : rc; /* from the cache */
}

/* Whatever was left in the cache does no harm. */
static void check_all(const char *dir, int rc) {
    struct sterna_error err = {0};
    (void)rc;
    if (all(dir, &err) < 0) round_fail("again: %s", err.message);
}

static int where(const char *dir, struct sterna_error *err) {
    struct sterna_select_options o = select_options();
    (void)dir;
    o.where = "label >= 1 AND class LIKE 'b%' AND (score >= 0 OR note IS NULL)";
    return select_and_check(&o, PER_CLASS, 1, PER_CLASS, err);
}

static int by_ids(const char *dir, struct sterna_error *err) {
    struct sterna_select_options o = select_options();
    uint8_t backwards[ALL][STERNA_ID_BYTES];
    (void)dir;
    for (unsigned i = 0; i < ALL; i++) memcpy(backwards[i], ids[ALL - 1 - i], STERNA_ID_BYTES);
    o.ids = (const uint8_t(*)[STERNA_ID_BYTES])backwards;
    o.n_ids = ALL;
    return select_and_check(&o, ALL - 1, -1, ALL, err);
}

static void write_ids(const char *dir) {
    char text[STERNA_ID_TEXT_BYTES];
    FILE *f = fopen(test_path(dir, "ids"), "w");
    for (unsigned i = 0; f && i < ALL; i += 2) {
        sterna_id_format(ids[i], text);
        fprintf(f, "%s # %u\n", text, i);
    }
    if (!f || fclose(f) != 0) round_fail("no file of ids");
}

static int by_ids_file(const char *dir, struct sterna_error *err) {
    struct sterna_select_options o = select_options();
    o.ids_file = test_path(dir, "ids");
    return select_and_check(&o, 0, 2, ALL / 2, err);
}

/* ---- saving ---- */

static int save_class(const char *dir, const char *expression, struct sterna_error *err) {
    struct sterna_select_options o = select_options();
    sterna_store *s;
    sterna_selection *selection = NULL;
    o.where = expression;
    int rc = sterna_store_open(&s, store(), NULL, err);
    if (rc < 0) return rc;
    rc = sterna_select(&selection, s, &o, err);
    if (rc == STERNA_OK) rc = sterna_selection_save(selection, test_path(dir, "file.sel"), err);
    if (rc == STERNA_OK) rc = sterna_selection_save_as(selection, s, "some", err);
    sterna_selection_close(&selection);
    sterna_store_close(&s);
    return rc;
}

static void save_first(const char *dir) {
    forget(dir);
    ROUND_OK(save_class(dir, "label = 0", e_));
}
static int save_second(const char *dir, struct sterna_error *err) {
    return save_class(dir, "label = 1", err);
}

static void check_saved(const char *dir, int rc) {
    struct sterna_select_options o = select_options();
    struct sterna_error err = {0};
    for (int by_name = 0; by_name < 2; by_name++) {
        sterna_store *s;
        sterna_selection *selection = NULL;
        struct sterna_selection_info info;
        o.file = by_name ? NULL : test_path(dir, "file.sel");
        o.name = by_name ? "some" : NULL;
        ROUND_OK(sterna_store_open(&s, store(), NULL, e_));
        if (sterna_select(&selection, s, &o, &err) < 0) round_fail("saved: %s", err.message);
        sterna_selection_info(selection, &info);
        int is_new = strcmp(info.where, "label = 1") == 0;
        if (!is_new && rc == STERNA_OK) round_fail("the old selection is still there");
        check_samples(selection, is_new ? PER_CLASS : 0, 1, PER_CLASS);
        sterna_selection_close(&selection);
        sterna_store_close(&s);
    }
}

static int open_saved(const char *dir, struct sterna_error *err) {
    struct sterna_select_options o = select_options();
    o.name = "some";
    int rc = select_and_check(&o, 0, 1, PER_CLASS, err);
    if (rc < 0) return rc;
    o.name = NULL;
    o.file = test_path(dir, "file.sel");
    return select_and_check(&o, 0, 1, PER_CLASS, err);
}

/* ---- asking ---- */

static int see_row(void *ctx, const char *const *names, const struct sterna_value *v, size_t n) {
    unsigned at = *(unsigned *)ctx, i = at % PER_CLASS;
    int right =
        n == 3 && strcmp(names[1], "score") == 0 && v[0].type == STERNA_TEXT &&
        (i % 4 == 3 ? v[1].type == STERNA_NULL : v[1].type == STERNA_REAL && v[1].r == i + 0.5);
    if (!right) round_fail("row %u has other values", at);
    ++*(unsigned *)ctx;
    return 0;
}

static int query(const char *dir, struct sterna_error *err) {
    const struct sterna_query_options o = {.struct_size = sizeof o,
                                           .where = "length(path) > 3 AND label < 5",
                                           .columns = columns,
                                           .n_columns = STN_COUNT(columns)};
    sterna_store *s;
    unsigned rows = 0;
    (void)dir;
    int rc = sterna_store_open(&s, store(), NULL, err);
    if (rc < 0) return rc;
    rc = sterna_query(s, &o, see_row, &rows, err);
    if (rc == STERNA_OK && rows != ALL) round_fail("%u rows", rows);
    sterna_store_close(&s);
    return rc;
}

/* ---- splitting ---- */

static const char *const part_names[] = {"train", "val"};

static int split_by(uint64_t seed, int exact, struct sterna_error *err) {
    static const struct sterna_part parts[] = {{"train", 0.5}, {"val", 0.5}};
    const struct sterna_split_options o = {.struct_size = sizeof o,
                                           .parts = parts,
                                           .n_parts = STN_COUNT(parts),
                                           .by = "note",
                                           .stratify = "class",
                                           .seed = seed,
                                           .exact = exact};
    sterna_store *s;
    int rc = sterna_store_open(&s, store(), NULL, err);
    if (rc < 0) return rc;
    rc = sterna_split(s, &o, NULL, NULL, err);
    sterna_store_close(&s);
    return rc;
}

static void split_first(const char *dir) {
    forget(dir);
    ROUND_OK(split_by(1, 0, e_));
}
static int split_again(const char *dir, struct sterna_error *err) {
    (void)dir;
    return split_by(2, 0, err);
}
static int split_exactly(const char *dir, struct sterna_error *err) {
    (void)dir;
    return split_by(2, 1, err);
}

/* Each part is a whole selection; if the split went well, each sample is in one of them. */
static void check_split(const char *dir, int rc) {
    unsigned n = 0;
    (void)dir;
    for (size_t i = 0; i < STN_COUNT(part_names); i++) {
        struct sterna_select_options o = {.struct_size = sizeof o, .name = part_names[i]};
        struct sterna_selection_info info;
        sterna_selection *selection;
        sterna_store *s;
        ROUND_OK(sterna_store_open(&s, store(), NULL, e_));
        ROUND_OK(sterna_select(&selection, s, &o, e_));
        sterna_selection_info(selection, &info);
        n += (unsigned)info.n;
        sterna_selection_close(&selection);
        sterna_store_close(&s);
    }
    if (rc == STERNA_OK && n != ALL) round_fail("%u samples in all parts", n);
}

/* The samples of a selection, into selections that are not saved. */
static int split_in_memory(const char *dir, struct sterna_error *err) {
    static const struct sterna_part parts[] = {{"one", 0.5}, {"two", 0.3}, {"three", 0.2}};
    struct sterna_select_options chosen = select_options();
    sterna_selection *all_samples = NULL, *out[3] = {NULL};
    const struct sterna_selection_info none = {.n = 0};
    struct sterna_selection_info info = none;
    sterna_store *s;
    unsigned n = 0;
    (void)dir;
    chosen.where = "label <> 1";
    int rc = sterna_store_open(&s, store(), NULL, err);
    if (rc < 0) return rc;
    rc = sterna_select(&all_samples, s, &chosen, err);
    const struct sterna_split_options o = {.struct_size = sizeof o,
                                           .parts = parts,
                                           .n_parts = STN_COUNT(parts),
                                           .by = "note",
                                           .stratify = "class",
                                           .selection = all_samples,
                                           .exact = 1,
                                           .out = out};
    if (rc == STERNA_OK) rc = sterna_split(s, &o, NULL, NULL, err);
    for (size_t i = 0; i < STN_COUNT(parts); i++) {
        if (!out[i] != (rc < 0)) round_fail("part %zu of a split that gave %d", i, rc);
        if (out[i]) sterna_selection_info(out[i], &info);
        n += (unsigned)info.n;
        if (out[i] && info.n_columns != STN_COUNT(columns)) round_fail("no columns");
        sterna_selection_close(&out[i]);
        info = none;
    }
    if (rc == STERNA_OK && n != ALL - PER_CLASS) round_fail("%u samples in all parts", n);
    sterna_selection_close(&all_samples);
    sterna_store_close(&s);
    return rc;
}

/* ---- all of it ---- */

static void make_store(const char *dir) {
    struct sterna_error err = {0};
    if (dataset_ingest(store(), test_path(dir, "data"), NULL, &err) < 0)
        round_fail("cannot be made: %s", err.message);
    if (dataset_problem(store(), PER_CLASS)) round_fail("%s", dataset_problem(store(), PER_CLASS));
}

/* The ids of all samples, through a file: this process must not open the store itself. */
static void list_ids(const char *dir) {
    struct sterna_select_options o = select_options();
    sterna_store *s;
    sterna_selection *all_samples;
    ROUND_OK(sterna_store_open(&s, store(), NULL, e_));
    ROUND_OK(sterna_select(&all_samples, s, &o, e_));
    FILE *f = fopen(test_path(dir, "all"), "w");
    if (!f || fwrite(sterna_selection_ids(all_samples), 1, sizeof ids, f) != sizeof ids)
        round_fail("no file");
    fclose(f);
    sterna_selection_close(&all_samples);
    sterna_store_close(&s);
}

static int take_ids(const char *dir) {
    FILE *f = fopen(test_path(dir, "all"), "r");
    int ok = f && fread(ids, 1, sizeof ids, f) == sizeof ids;
    if (f) fclose(f);
    return ok ? 0 : 1;
}

int main(void) {
    static const struct work works[] = {
        {"select all", forget, all, check_all},
        {"select by expression", NULL, where, NULL},
        {"select by ids", NULL, by_ids, NULL},
        {"select by a file of ids", write_ids, by_ids_file, NULL},
        {"save a selection", save_first, save_second, check_saved},
        {"open a saved one", save_first, open_saved, NULL},
        {"query", NULL, query, NULL},
        {"split", split_first, split_again, check_split},
        {"split exactly", split_first, split_exactly, check_split},
        {"split in memory", NULL, split_in_memory, NULL},
    };
    static const struct sweep sweeps[] = {
        {FAULT_MEMORY, 0, 0},  {FAULT_MEMORY, 1, 0},   {FAULT_SQL_MEMORY, 0, 120},
        {FAULT_EIO, 0, 0},     {FAULT_EIO, 1, 0},      {FAULT_FULL, 1, 0},
        {FAULT_SIGNAL, 0, 0},  {FAULT_SHORT, 0, 0},    {FAULT_LOW_EIO, 0, 0},
        {FAULT_LOW_EIO, 1, 0}, {FAULT_LOW_FULL, 0, 0}, {FAULT_LOW_FULL, 1, 0},
    };
    base = sweep_dir();
    dataset_make(test_path(base, "data"), 0, PER_CLASS);
    int bad = in_child(make_store, base) || in_child(list_ids, base) || take_ids(base);
    for (size_t i = 0; i < STN_COUNT(works); i++)
        for (size_t k = 0; k < STN_COUNT(sweeps); k++)
            bad |= sweep_run(&works[i], &sweeps[k], base);
    test_dir_remove(&base);
    return bad;
}
