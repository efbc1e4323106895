/* Copying while memory, the disk or threads fail: one clear error, nothing half-listed, the store
 * that is copied from as it was; and the same copy again completes it: nothing lost, nothing twice.
 */
#include <stdio.h>
#include <string.h>

#include "base/base.h"
#include "fault/sweep.h"
#include "sterna/sterna.h"
#include "support/dataset.h"
#include "support/temporary.h"

enum { PICTURES = 4 }; /* a class */

static const char *from(const char *round) { return test_path(round, "../from"); }
static const char *to(const char *round) { return test_path(round, "to"); }

static struct sterna_copy_result result;

static int copy_stores(sterna_store *a, sterna_store *b, struct sterna_error *err) {
    struct sterna_copy_options o;
    sterna_copy_options_init(&o);
    o.threads = 2;
    o.memory_bytes = 2000000;
    return sterna_copy(a, NULL, b, &o, &result, err);
}

static int copy(const char *dir, struct sterna_error *err) {
    struct sterna_store_options create = {.struct_size = sizeof create, .mode = STERNA_OPEN_CREATE};
    struct sterna_store_info facts;
    sterna_store *a = NULL, *b = NULL;
    result = (struct sterna_copy_result){0};
    int rc = sterna_store_open(&a, from(dir), NULL, err);
    if (rc == STERNA_OK) rc = sterna_store_info(a, &facts, err);
    create.dataset_id = facts.dataset_id;
    if (rc == STERNA_OK) rc = sterna_store_open(&b, to(dir), &create, err);
    if (rc == STERNA_OK) rc = copy_stores(a, b, err);
    sterna_store_close(&b);
    sterna_store_close(&a);
    return rc;
}

/* Another run in it, that the copy adds to. */
static void prepare_second(const char *dir) {
    struct sterna_error err = {0};
    struct sterna_select_options o = {.struct_size = sizeof o, .where = "class = 'bee'"};
    struct sterna_store_options create = {.struct_size = sizeof create, .mode = STERNA_OPEN_CREATE};
    struct sterna_store_info facts;
    sterna_selection *some;
    sterna_store *a, *b;
    ROUND_OK(sterna_store_open(&a, from(dir), NULL, e_));
    ROUND_OK(sterna_store_info(a, &facts, e_));
    create.dataset_id = facts.dataset_id;
    ROUND_OK(sterna_store_open(&b, to(dir), &create, e_));
    ROUND_OK(sterna_select(&some, a, &o, e_));
    if (sterna_copy(a, some, b, NULL, &result, &err) < 0) round_fail("%s", err.message);
    sterna_selection_close(&some);
    sterna_store_close(&a);
    sterna_store_close(&b);
}

static void check_whole(const char *dir, const char *when) {
    const char *problem = dataset_problem_exact(to(dir), PICTURES, NULL);
    if (problem) round_fail("%s: %s", when, problem);
}

static void check_runs(const char *dir, int rc, int before) {
    int runs = dataset_runs(to(dir)); /* -1: not even made */
    if (runs > before) {              /* it may be committed though it could not be told so */
        const char *problem = dataset_problem(to(dir), PICTURES);
        if (problem && result.counts[STERNA_UNREADABLE] == 0)
            round_fail("%d, and a part of it is listed: %s", rc, problem);
    } else if (rc == STERNA_OK && result.run > 0) {
        round_fail("run %d is not there", (int)result.run);
    }
    ROUND_OK(copy(dir, e_));
    if (result.counts[STERNA_CONFLICT] + result.counts[STERNA_UNREADABLE] > 0)
        round_fail("again: conflicts, or what cannot be read");
    check_whole(dir, "copied again");
    const char *problem = dataset_problem(from(dir), PICTURES);
    if (problem) round_fail("what was copied from is no more: %s", problem);
}

static void check(const char *dir, int rc) { check_runs(dir, rc, 0); }
static void check_second(const char *dir, int rc) { check_runs(dir, rc, 1); }

static void make(const char *dir) {
    dataset_make(test_path(dir, "data"), 0, PICTURES);
    ROUND_OK(dataset_ingest(test_path(dir, "from"), test_path(dir, "data"), NULL, e_));
}

int main(void) {
    static const struct work works[] = {
        {"copy into a new store", NULL, copy, check},
        {"copy more into one", prepare_second, copy, check_second},
    };
    static const struct sweep sweeps[] = {
        {FAULT_MEMORY, 0, 120}, {FAULT_MEMORY, 1, 30},   {FAULT_SQL_MEMORY, 0, 30},
        {FAULT_EIO, 0, 80},     {FAULT_EIO, 1, 30},      {FAULT_FULL, 0, 40},
        {FAULT_FULL, 1, 30},    {FAULT_SIGNAL, 0, 30},   {FAULT_SHORT, 0, 30},
        {FAULT_THREAD, 0, 0},   {FAULT_THREAD, 1, 0},    {FAULT_LOW_EIO, 0, 60},
        {FAULT_LOW_EIO, 1, 30}, {FAULT_LOW_FULL, 0, 40}, {FAULT_LOW_FULL, 1, 30},
    };
    char *dir = sweep_dir();
    int bad = in_child(make, dir); /* SQLite is still to be set up in those of the rounds */
    for (size_t i = 0; i < STN_COUNT(works); i++)
        for (size_t k = 0; k < STN_COUNT(sweeps); k++) bad |= sweep_run(&works[i], &sweeps[k], dir);
    test_dir_remove(&dir);
    return bad;
}
