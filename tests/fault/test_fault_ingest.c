/* Ingest while memory, the disk or threads fail: one clear error, nothing half-listed, and the same
 * ingest run again completes it: nothing lost, nothing twice. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/base.h"
#include "fault/sweep.h"
#include "support/dataset.h"
#include "support/pictures.h"
#include "support/temporary.h"
#include "support/tree.h"

enum { FIRST = 6, SECOND = 4 }; /* pictures a class */

static const char *source(const char *round) { return test_path(round, "../data"); }
static const char *store(const char *round) { return test_path(round, "store"); }

/* ---- a folder into a new store ---- */

/* Each picture is accounted for: listed, or named as one that could not be read. */
static void check_counts(const char *dir, const struct sterna_ingest_result *r) {
    uint64_t n = 0, skipped = 0;
    for (int i = 0; i < STERNA_OUTCOME_COUNT; i++) {
        n += r->counts[i];
        if (i != STERNA_ADDED && i != STERNA_UNCHANGED) skipped += r->counts[i];
    }
    const char *problem = skipped == 0 ? dataset_problem(store(dir), FIRST) : NULL;
    if (problem) round_fail("it went well, but: %s", problem);
    if (skipped == 0 && n != DATASET_CLASSES * FIRST) round_fail("%d pictures", (int)n);
}

static struct sterna_ingest_result result;

static int ingest(const char *dir, struct sterna_error *err) {
    return dataset_ingest(store(dir), source(dir), &result, err);
}

static void check_complete(const char *dir, unsigned n_per_class, int runs_min, int runs_max) {
    struct sterna_error err = {0};
    int runs;
    if (dataset_ingest(store(dir), source(dir), &result, &err) < 0)
        round_fail("run again, it fails: %s", err.message);
    const char *problem = dataset_problem_exact(store(dir), n_per_class, &runs);
    if (problem) round_fail("run again: %s", problem);
    if (runs < runs_min || runs > runs_max) round_fail("%d runs", runs);
}

/* What failed when SQLite synced its commit may be committed or not: then it is so as a whole. */
static void check_undecided(const char *dir, int rc, int runs, int runs_before) {
    const char *problem = NULL;
    if (rc < 0 && runs > runs_before) problem = dataset_problem(store(dir), FIRST);
    if (problem) round_fail("it failed, and a part of it is listed: %s", problem);
}

/* A failed ingest lists nothing; one that skipped an unreadable file lists the others. */
static void check(const char *dir, int rc) {
    check_undecided(dir, rc, dataset_runs(store(dir)), 0);
    if (rc == STERNA_OK) check_counts(dir, &result);
    check_complete(dir, FIRST, 1, 2);
}

/* ---- more of it into one that has some ---- */

static void prepare_second(const char *dir) {
    ROUND_OK(dataset_ingest(store(dir), test_path(dir, "../less"), NULL, e_));
}

static void check_second(const char *dir, int rc) {
    int runs = dataset_runs(store(dir));
    check_undecided(dir, rc, runs, 1);
    const char *problem = rc < 0 && runs < 2 ? dataset_problem(store(dir), FIRST - SECOND) : NULL;
    if (problem) round_fail("what was there is no more: %s", problem);
    if (rc == STERNA_OK) check_counts(dir, &result);
    check_complete(dir, FIRST, 2, 3);
}

/* ---- samples from anywhere ---- */

static int add(const char *dir, struct sterna_error *err) {
    return dataset_add(store(dir), FIRST, err);
}

static void check_added(const char *dir, int rc) {
    struct sterna_error err = {0};
    int runs;
    check_undecided(dir, rc, dataset_runs(store(dir)), 0);
    if (add(dir, &err) < 0) round_fail("added again, it fails: %s", err.message);
    const char *problem = dataset_problem_exact(store(dir), FIRST, &runs);
    if (problem) round_fail("added again: %s", problem);
    if (runs != 1) round_fail("%d runs", runs);
}

/* ---- classes out of a CSV, masks in a folder of their own ---- */

enum { WITH_MASKS = 6, WITH_CLASS = 4 }; /* the first ones have a class in the CSV */

static void make_masked(const char *dir) {
    char name[32];
    struct tree t = {.fd = -1};
    mkdir(dir, 0777);
    snprintf(t.path, sizeof t.path, "%s", dir);
    t.fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    for (unsigned i = 0; i < WITH_MASKS; i++) {
        struct picture p = picture_png(10 + i, 10, 3, i);
        snprintf(name, sizeof name, "images/pics/%u.png", i);
        tree_write(&t, name, p.data, p.bytes);
        snprintf(name, sizeof name, "images/masks/%u.png", i);
        tree_write(&t, name, p.data, p.bytes);
        free(p.data);
    }
    tree_text(&t, "classes.csv",
              "path,class\npics/0.png,x\npics/1.png,y\npics/2.png,x\npics/3.png,y\n");
    close(t.fd);
}

static int ingest_masked(const char *dir, struct sterna_error *err) {
    static const struct sterna_ingest_field mask = {"mask", "masks/{stem}.png", STERNA_KIND_MASK};
    struct sterna_store_options create = {.struct_size = sizeof create, .mode = STERNA_OPEN_CREATE};
    struct sterna_ingest_options o;
    sterna_store *s;
    sterna_ingest_options_init(&o);
    o.fields = &mask;
    o.n_fields = 1;
    o.metadata_file = test_path(dir, "../masked/classes.csv");
    o.threads = 2;
    int rc = sterna_store_open(&s, store(dir), &create, err);
    if (rc < 0) return rc;
    rc = sterna_ingest_folder(s, test_path(dir, "../masked/images"), &o, &result, err);
    sterna_store_close(&s);
    return rc;
}

static int look_at_masked(void *ctx, const char *const *names, const struct sterna_value *v,
                          size_t n) {
    unsigned i = (*(unsigned *)ctx)++;
    int64_t label = i >= WITH_CLASS ? 0 : i % 2 + 1; /* pics, x, y */
    char path[32];
    (void)names, (void)n;
    snprintf(path, sizeof path, "pics/%u.png", i);
    if (v[0].type != STERNA_TEXT || v[0].text_bytes != strlen(path) ||
        memcmp(v[0].text, path, strlen(path)) != 0)
        round_fail("row %u: path '%.*s'", i, (int)v[0].text_bytes, v[0].text);
    if (v[1].type != STERNA_INT || v[1].i != label)
        round_fail("%s: label %lld of type %d", path, (long long)v[1].i, (int)v[1].type);
    if (v[2].type != STERNA_INT || v[2].i < 50) round_fail("%s has no mask", path);
    return 0;
}

static void check_masked(const char *dir, int rc) {
    static const char *const columns[] = {"path", "label", "mask_bytes"};
    const struct sterna_query_options o = {
        .struct_size = sizeof o, .columns = columns, .n_columns = STN_COUNT(columns)};
    sterna_store *s;
    unsigned n = 0;
    (void)rc;
    ROUND_OK(ingest_masked(dir, e_));
    ROUND_OK(sterna_store_open(&s, store(dir), NULL, e_));
    ROUND_OK(sterna_query(s, &o, look_at_masked, &n, e_));
    if (n != WITH_MASKS) round_fail("%u rows", n);
    sterna_store_close(&s);
}

/* All works, or (PART PARTS) every PARTS-th: they can run side by side. */
int main(int argc, char **argv) {
    static const struct work works[] = {
        {"ingest a folder", NULL, ingest, check},
        {"ingest more of it", prepare_second, ingest, check_second},
        {"add samples", NULL, add, check_added},
        {"ingest masks and CSV classes", NULL, ingest_masked, check_masked},
    };
    static const unsigned rounds[] = {0, 50, 120, 90}; /* the first work meets most of the code */
    static const struct sweep sweeps[] = {
        {FAULT_MEMORY, 0, 0},    {FAULT_MEMORY, 1, 100}, {FAULT_SQL_MEMORY, 0, 100},
        {FAULT_EIO, 0, 0},       {FAULT_EIO, 1, 100},    {FAULT_FULL, 0, 0},
        {FAULT_FULL, 1, 0},      {FAULT_SIGNAL, 0, 0},   {FAULT_SHORT, 0, 0},
        {FAULT_THREAD, 0, 0},    {FAULT_THREAD, 1, 0},   {FAULT_LOW_EIO, 0, 0},
        {FAULT_LOW_EIO, 1, 100}, {FAULT_LOW_FULL, 0, 0}, {FAULT_LOW_FULL, 1, 0},
    };
    char *dir = sweep_dir();
    dataset_make(test_path(dir, "data"), 0, FIRST);
    dataset_make(test_path(dir, "less"), 0, FIRST - SECOND);
    dataset_add_make(FIRST);
    make_masked(test_path(dir, "masked"));
    int bad = 0;
    size_t part = argc > 2 ? strtoul(argv[1], NULL, 10) : 0;
    size_t parts = argc > 2 ? strtoul(argv[2], NULL, 10) : 1;
    for (size_t i = part; i < STN_COUNT(works); i += parts)
        for (size_t k = 0; k < STN_COUNT(sweeps); k++) {
            struct sweep sweep = sweeps[k];
            if (rounds[i]) sweep.rounds_max = rounds[i];
            bad |= sweep_run(&works[i], &sweep, dir);
        }
    test_dir_remove(&dir);
    return bad;
}
