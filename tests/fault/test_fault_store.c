/* Making, opening and asking a store while memory or the disk fails. */
#include <stdio.h>
#include <string.h>

#include "base/base.h"
#include "fault/sweep.h"
#include "sterna/store.h"
#include "support/temporary.h"

static int open_as(sterna_store **out, const char *dir, enum sterna_open_mode mode,
                   struct sterna_error *err) {
    struct sterna_store_options o = {.struct_size = sizeof o, .mode = mode};
    return sterna_store_open(out, test_path(dir, "store"), &o, err);
}

static int any_class(void *ctx, int64_t label, const char *name, uint64_t n) {
    (void)ctx, (void)label, (void)n;
    return name ? 0 : -1;
}
static int any_column(void *ctx, const char *name, const char *type) {
    (void)type;
    *(int *)ctx += name[0] != '\0';
    return 0;
}
static int any_run(void *ctx, const struct sterna_run *run) {
    (void)ctx, (void)run;
    return 0;
}

static int ask(sterna_store *s, struct sterna_error *err) {
    struct sterna_store_info info;
    int columns = 0, rc = sterna_store_info(s, &info, err);
    if (rc == STERNA_OK) rc = sterna_store_classes(s, any_class, NULL, err);
    if (rc == STERNA_OK) rc = sterna_store_columns(s, any_column, &columns, err);
    if (rc == STERNA_OK) rc = sterna_store_runs(s, any_run, NULL, err);
    if (rc != STERNA_OK) return rc;
    if (info.n_samples != 0 || info.last_run != 0) round_fail("the new store has samples");
    if (columns != (int)info.n_columns) round_fail("%d of %u columns", columns, info.n_columns);
    return rc;
}

static int create(const char *dir, struct sterna_error *err) {
    sterna_store *s;
    int rc = open_as(&s, dir, STERNA_OPEN_CREATE, err);
    if (rc < 0) return rc;
    rc = ask(s, err);
    sterna_store_close(&s);
    return rc;
}

static void make(const char *dir) {
    struct sterna_error err = {0};
    if (create(dir, &err) < 0) round_fail("cannot be made: %s", err.message);
}

/* Whatever went wrong: making it again makes it. */
static void check(const char *dir, int rc) {
    struct sterna_error err = {0};
    sterna_store *s;
    if (rc == STERNA_OK && open_as(&s, dir, STERNA_OPEN_READ, &err) < 0)
        round_fail("made, but cannot be opened: %s", err.message);
    if (rc == STERNA_OK) sterna_store_close(&s);
    make(dir);
    if (open_as(&s, dir, STERNA_OPEN_READ, &err) < 0)
        round_fail("made again, but cannot be opened: %s", err.message);
    sterna_store_close(&s);
}

static int open_and_ask(const char *dir, enum sterna_open_mode mode, struct sterna_error *err) {
    sterna_store *s;
    int rc = open_as(&s, dir, mode, err);
    if (rc < 0) return rc;
    rc = ask(s, err);
    sterna_store_close(&s);
    return rc;
}
static int read_it(const char *dir, struct sterna_error *err) {
    return open_and_ask(dir, STERNA_OPEN_READ, err);
}
static int write_it(const char *dir, struct sterna_error *err) {
    return open_and_ask(dir, STERNA_OPEN_WRITE, err);
}

int main(void) {
    static const struct work works[] = {
        {"make a store", NULL, create, check},
        {"open it for reading", make, read_it, check},
        {"open it for writing", make, write_it, check},
    };
    static const struct sweep sweeps[] = {
        {FAULT_MEMORY, 0, 0},  {FAULT_MEMORY, 1, 0},   {FAULT_SQL_MEMORY, 0, 0},
        {FAULT_EIO, 0, 0},     {FAULT_EIO, 1, 0},      {FAULT_FULL, 0, 0},
        {FAULT_SIGNAL, 0, 0},  {FAULT_SHORT, 0, 0},    {FAULT_LOW_EIO, 0, 0},
        {FAULT_LOW_EIO, 1, 0}, {FAULT_LOW_FULL, 0, 0}, {FAULT_LOW_FULL, 1, 0},
    };
    char *dir = sweep_dir();
    int bad = 0;
    for (size_t i = 0; i < STN_COUNT(works); i++)
        for (size_t k = 0; k < STN_COUNT(sweeps); k++) bad |= sweep_run(&works[i], &sweeps[k], dir);
    test_dir_remove(&dir);
    return bad;
}
