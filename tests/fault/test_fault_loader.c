/* Reading epochs while memory, the disk or threads fail: what comes out is right and comes once, or
 * next() fails with one clear error. */
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "batch/dlpack_abi.h"
#include "fault/sweep.h"
#include "support/dataset.h"
#include "support/temporary.h"

enum { PER_CLASS = 8, BATCH = 5 };

static char *base; /* holds the store, which no round changes */
static const char *state_file(const char *round) { return test_path(round, "state"); }

static struct dataset_seen seen;
static int gives_buffers;
static uint8_t copied[256 << 10];

static int open_both(sterna_store **s, sterna_selection **selection, struct sterna_error *err) {
    static const char *const path[] = {"path"};
    const struct sterna_select_options o = {
        .struct_size = sizeof o, .columns = path, .n_columns = 1};
    *selection = NULL;
    int rc = sterna_store_open(s, test_path(base, "store"), NULL, err);
    return rc == STERNA_OK ? sterna_select(selection, *s, &o, err) : rc;
}

static void fill_options(struct sterna_loader_options *o, enum sterna_order order) {
    sterna_loader_options_init(o);
    o->batch_size = BATCH;
    o->order = order;
    o->uneven = STERNA_UNEVEN_EXACT;
    o->seed = 7;
    o->threads = 2;
    o->max_attempts = 2; /* so that nobody waits long for what does not come */
    o->memory_bytes = (uint64_t)1 << 20;
}

/* The copy of a batch's images is what its rows say. */
static void check_copy(const sterna_batch *b) {
    struct sterna_field_view view;
    uint64_t offsets[BATCH], need;
    struct sterna_batch_info info;
    sterna_batch_info(b, &info);
    sterna_batch_field(b, 0, &view);
    if (sterna_batch_copy(b, 0, copied, sizeof copied, offsets, &need) < 0)
        round_fail("a batch cannot be copied");
    for (uint32_t i = 0; i < info.n_rows; i++)
        if (memcmp(copied + offsets[i], view.data[i], view.bytes[i]) != 0)
            round_fail("a copied row has other bytes");
}

/* Its labels as a tensor, which outlives it. */
static int export_labels(sterna_batch *b, struct DLManagedTensorVersioned **out,
                         struct sterna_error *err) {
    struct sterna_batch_info info;
    sterna_batch_info(b, &info);
    const int64_t n = info.n_rows;
    const struct sterna_dlpack_tensor t = {.data = (void *)(uintptr_t)sterna_batch_labels(b),
                                           .code = STERNA_DLPACK_INT,
                                           .bits = 64,
                                           .ndim = 1,
                                           .shape = &n,
                                           .readonly = 1,
                                           .batch = b};
    int rc = sterna_dlpack_export_versioned(&t, out, err);
    if (!*out != (rc < 0)) round_fail("a tensor comes with %d", rc);
    return rc;
}

/* Buffers for batches, each lent once. */
static uint8_t buffers[40][64 << 10] __attribute__((aligned(64)));
static unsigned n_lent;
static atomic_uint n_back;

static void take_back(void *buffer) {
    memset(buffer, 0xEE, sizeof buffers[0]); /* nobody looks at it any more */
    atomic_fetch_add(&n_back, 1);
}

static int lend(sterna_loader *l, struct sterna_error *err) {
    uint8_t *buffer = buffers[n_lent];
    if (n_lent == sizeof buffers / sizeof buffers[0]) round_fail("more batches than buffers");
    int rc = sterna_loader_give_buffer(l, buffer, sizeof buffers[0], take_back, buffer, err);
    if (rc == STERNA_OK) n_lent++;
    return rc;
}

/* At most `batches` of them. */
static int read_batches(sterna_loader *l, const sterna_selection *selection, unsigned batches,
                        struct sterna_error *err) {
    sterna_batch *b;
    int rc = gives_buffers ? lend(l, err) : STERNA_OK;
    while (rc == STERNA_OK && batches-- > 0 &&
           (rc = sterna_loader_next(l, &b, -1, err)) == STERNA_OK) {
        struct DLManagedTensorVersioned *tensor;
        dataset_see(&seen, b, selection);
        check_copy(b);
        rc = export_labels(b, &tensor, err);
        sterna_batch_release(&b);
        if (rc == STERNA_OK) tensor->deleter(tensor);
        if (rc == STERNA_OK && gives_buffers) rc = lend(l, err);
    }
    return rc;
}

static int read_epoch(enum sterna_order order, struct sterna_error *err) {
    struct sterna_loader_options o;
    sterna_store *s = NULL;
    sterna_selection *selection = NULL;
    sterna_loader *l = NULL;
    seen = (struct dataset_seen){0};
    fill_options(&o, order);
    int rc = open_both(&s, &selection, err);
    if (rc == STERNA_OK) rc = sterna_loader_open(&l, s, selection, &o, err);
    if (rc == STERNA_OK) rc = read_batches(l, selection, UINT32_MAX, err);
    sterna_loader_close(&l);
    sterna_selection_close(&selection);
    sterna_store_close(&s);
    return rc == STERNA_END ? STERNA_OK : rc;
}

static int strict(const char *dir, struct sterna_error *err) {
    (void)dir;
    return read_epoch(STERNA_ORDER_STRICT, err);
}
static int in_buffers(const char *dir, struct sterna_error *err) {
    (void)dir;
    gives_buffers = 1;
    int rc = read_epoch(STERNA_ORDER_STRICT, err);
    if (atomic_load(&n_back) != n_lent)
        round_fail("%u of %u buffers came back", atomic_load(&n_back), n_lent);
    return rc;
}
static int arrival(const char *dir, struct sterna_error *err) {
    (void)dir;
    return read_epoch(STERNA_ORDER_ARRIVAL, err);
}

static void check_epoch(const char *dir, int rc) {
    (void)dir;
    const char *problem = rc == STERNA_OK ? dataset_seen_problem(&seen, PER_CLASS, 1) : NULL;
    if (problem) round_fail("%s", problem);
}

/* ---- a state saved half-way, and the rest from there ---- */

static int save_state(sterna_loader *l, sterna_selection *selection, const char *path,
                      struct sterna_error *err) {
    uint8_t state[8192];
    size_t bytes = 0;
    if (sterna_loader_state(l, state, sizeof state, &bytes) < 0)
        round_fail("a state of %zu bytes", bytes);
    return sterna_state_save(state, bytes, selection, path, err);
}

/* From the saved state if there is one, `batches` of them; then saves, or not. */
static int read_some(const char *dir, enum sterna_order order, unsigned batches, int save,
                     struct sterna_error *err) {
    struct sterna_loader_options o;
    sterna_store *s = NULL;
    sterna_selection *selection = NULL, *kept = NULL;
    sterna_loader *l = NULL;
    void *state = NULL;
    size_t bytes;
    fill_options(&o, order);
    int rc = open_both(&s, &selection, err);
    if (rc == STERNA_OK) rc = sterna_state_load(state_file(dir), &state, &bytes, &kept, err);
    if (rc == STERNA_OK) {
        o.state = state;
        o.state_bytes = bytes;
    } else if (rc == STERNA_ENOTFOUND) {
        rc = STERNA_OK;
    }
    if (rc == STERNA_OK) rc = sterna_loader_open(&l, s, selection, &o, err);
    if (rc == STERNA_OK) rc = read_batches(l, selection, batches, err);
    if (rc == STERNA_END) rc = STERNA_OK;
    if (rc == STERNA_OK && save) rc = save_state(l, selection, state_file(dir), err);
    sterna_loader_close(&l);
    sterna_selection_close(&kept);
    sterna_selection_close(&selection);
    sterna_store_close(&s);
    free(state);
    return rc;
}

static struct dataset_seen first_part; /* what the saved state knows */

static void read_first_part(const char *dir, enum sterna_order order) {
    seen = (struct dataset_seen){0};
    ROUND_OK(read_some(dir, order, 2, 1, e_));
    first_part = seen;
}
static void prepare_strict(const char *dir) { read_first_part(dir, STERNA_ORDER_STRICT); }
static void prepare_arrival(const char *dir) { read_first_part(dir, STERNA_ORDER_ARRIVAL); }

static int resume_strict(const char *dir, struct sterna_error *err) {
    return read_some(dir, STERNA_ORDER_STRICT, 1, 1, err);
}
static int resume_arrival(const char *dir, struct sterna_error *err) {
    return read_some(dir, STERNA_ORDER_ARRIVAL, 1, 1, err);
}

/* Old or new state: with what it knows and the rest, each picture came once. After a failure the
 * file may be the new one already, when only making its name durable went wrong. */
static void check_state(const char *dir, int rc) {
    struct dataset_seen new_part = seen;
    const char *problem = NULL;
    for (int is_new = rc == STERNA_OK; is_new < 2; is_new++) {
        seen = is_new ? new_part : first_part;
        ROUND_OK(read_some(dir, STERNA_ORDER_STRICT, UINT32_MAX, 0, e_));
        problem = dataset_seen_problem(&seen, PER_CLASS, 1);
        if (!problem) return;
    }
    round_fail("resumed: %s", problem);
}

static void make_store(const char *dir) {
    struct sterna_error err = {0};
    sterna_store *s;
    sterna_selection *selection;
    int rc = dataset_ingest(test_path(dir, "store"), test_path(dir, "data"), NULL, &err);
    if (rc == STERNA_OK) rc = open_both(&s, &selection, &err);
    if (rc < 0) round_fail("cannot be made: %s", err.message);
    sterna_selection_close(&selection);
    sterna_store_close(&s);
}

int main(void) {
    static const struct work works[] = {
        {"read an epoch", NULL, strict, check_epoch},
        {"read an epoch into buffers", NULL, in_buffers, check_epoch},
        {"read an epoch by arrival", NULL, arrival, check_epoch},
        {"resume", prepare_strict, resume_strict, check_state},
        {"resume by arrival", prepare_arrival, resume_arrival, check_state},
    };
    static const struct sweep sweeps[] = {
        {FAULT_MEMORY, 0, 0}, {FAULT_MEMORY, 1, 0}, {FAULT_EIO, 0, 0},
        {FAULT_EIO, 1, 0},    {FAULT_SIGNAL, 0, 0}, {FAULT_SHORT, 0, 0},
        {FAULT_THREAD, 0, 0}, {FAULT_THREAD, 1, 0}, {FAULT_FULL, 1, 0},
    };
    char *dir = base = sweep_dir();
    dataset_make(test_path(dir, "data"), 0, PER_CLASS);
    int bad = in_child(make_store, dir);
    for (size_t i = 0; i < STN_COUNT(works) && !bad; i++)
        for (size_t k = 0; k < STN_COUNT(sweeps); k++) bad |= sweep_run(&works[i], &sweeps[k], dir);
    test_dir_remove(&dir);
    return bad;
}
