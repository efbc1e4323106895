/* Fetching samples by id while memory, the disk or threads fail: what comes out is right, and rows
 * that cannot be had say why; or a call fails with one clear error. */
#include <string.h>

#include "base/base.h"
#include "fault/sweep.h"
#include "support/dataset.h"
#include "support/temporary.h"

enum { PER_CLASS = 8, N = DATASET_CLASSES * PER_CLASS };

static char *base; /* holds the store, which no round changes */
static struct dataset_seen seen;

struct opened {
    sterna_store *store;
    sterna_selection *selection;
    sterna_fetcher *fetcher;
};

static int open_all(struct opened *o, struct sterna_error *err) {
    static const char *const path[] = {"path"};
    const struct sterna_select_options select = {
        .struct_size = sizeof select, .columns = path, .n_columns = 1};
    struct sterna_fetcher_options options;
    sterna_fetcher_options_init(&options);
    options.threads = 2;
    options.max_attempts = 2; /* so that nobody waits long for what does not come */
    options.memory_bytes = (uint64_t)1 << 20;
    *o = (struct opened){0};
    int rc = sterna_store_open(&o->store, test_path(base, "store"), NULL, err);
    if (rc == STERNA_OK) rc = sterna_select(&o->selection, o->store, &select, err);
    if (rc == STERNA_OK) rc = sterna_fetcher_open(&o->fetcher, o->store, &options, err);
    return rc;
}

static void close_all(struct opened *o) {
    sterna_fetcher_close(&o->fetcher);
    sterna_selection_close(&o->selection);
    if (o->store) sterna_store_close(&o->store);
}

/* The first row that has an error counts for the whole. */
static int first_error(const sterna_batch *b, uint32_t n, struct sterna_error *err) {
    for (uint32_t row = 0; row < n; row++) {
        int code = sterna_batch_errors(b)[row];
        if (code == STERNA_OK) continue;
        if (sterna_batch_valid(b)[row]) round_fail("row %u has an error and is valid", row);
        return stn_fail(err, code, "row %u: %s", row, sterna_batch_reason(b, row));
    }
    return STERNA_OK;
}

/* All samples, as they stand in the selection, in one batch. */
static int fetch_all(const char *dir, struct sterna_error *err) {
    struct opened o;
    sterna_batch *b;
    uint64_t ticket, polled;
    (void)dir;
    seen = (struct dataset_seen){0};
    int rc = open_all(&o, err);
    if (rc == STERNA_OK)
        rc = sterna_submit(o.fetcher, sterna_selection_ids(o.selection), N, &ticket, err);
    if (rc == STERNA_OK) rc = sterna_poll(o.fetcher, &polled, &b, -1, err);
    if (rc == STERNA_OK) {
        if (polled != ticket) round_fail("ticket %d, not %d", (int)polled, (int)ticket);
        rc = first_error(b, N, err);
        dataset_see(&seen, b, o.selection);
        sterna_batch_release(&b);
        if (sterna_poll(o.fetcher, &polled, &b, -1, NULL) != STERNA_END)
            round_fail("something is left");
    }
    close_all(&o);
    return rc;
}

static void check_all(const char *dir, int rc) {
    (void)dir;
    const char *problem = rc == STERNA_OK ? dataset_seen_problem(&seen, PER_CLASS, 1) : NULL;
    if (problem) round_fail("%s", problem);
}

/* Each by itself; one is called off, and the others that are polled have one row each. The last
 * ones are on their way when the fetcher is closed. */
static int fetch_each(const char *dir, struct sterna_error *err) {
    struct opened o;
    uint64_t ticket, polled;
    (void)dir;
    int rc = open_all(&o, err);
    for (int i = 0; i < N && rc == STERNA_OK; i++) {
        rc = sterna_submit(o.fetcher, sterna_selection_ids(o.selection) + i, 1, &ticket, err);
        if (i == 5) sterna_fetcher_cancel(o.fetcher, ticket);
    }
    for (int i = 0; i < N / 2 && rc == STERNA_OK; i++) {
        sterna_batch *b;
        rc = sterna_poll(o.fetcher, &polled, &b, -1, err);
        if (rc != STERNA_OK) break;
        rc = first_error(b, 1, err);
        const uint8_t *id = sterna_selection_ids(o.selection)[polled - 1];
        if (memcmp(sterna_batch_ids(b)[0], id, STERNA_ID_BYTES) != 0 || polled == 6)
            round_fail("a batch of something else");
        sterna_batch_release(&b);
    }
    close_all(&o);
    return rc;
}

static void make_store(const char *dir) {
    struct sterna_error err = {0};
    struct opened o;
    int rc = dataset_ingest(test_path(dir, "store"), test_path(dir, "data"), NULL, &err);
    if (rc == STERNA_OK) rc = open_all(&o, &err); /* makes the selection of all, once */
    if (rc < 0) round_fail("cannot be made: %s", err.message);
    close_all(&o);
}

int main(void) {
    static const struct work works[] = {
        {"fetch all in one batch", NULL, fetch_all, check_all},
        {"fetch each by itself", NULL, fetch_each, NULL},
    };
    static const struct sweep sweeps[] = {
        {FAULT_MEMORY, 0, 0},       {FAULT_MEMORY, 1, 0}, {FAULT_SQL_MEMORY, 0, 120},
        {FAULT_SQL_MEMORY, 1, 120}, {FAULT_EIO, 0, 0},    {FAULT_EIO, 1, 0},
        {FAULT_SIGNAL, 0, 0},       {FAULT_SHORT, 0, 0},  {FAULT_THREAD, 0, 0},
        {FAULT_THREAD, 1, 0},
    };
    char *dir = base = sweep_dir();
    dataset_make(test_path(dir, "data"), 0, PER_CLASS);
    int bad = in_child(make_store, dir);
    for (size_t i = 0; i < STN_COUNT(works) && !bad; i++)
        for (size_t k = 0; k < STN_COUNT(sweeps); k++) bad |= sweep_run(&works[i], &sweeps[k], dir);
    test_dir_remove(&dir);
    return bad;
}
