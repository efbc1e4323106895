/* Two bitmaps over the selection for each epoch: what this rank should get, and what it got. */
#include "read_verify.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"

#define WORD_BITS 64

static size_t words(uint64_t n) { return (size_t)(n / WORD_BITS + 1); }
static int get(const uint64_t *bits, uint64_t i) {
    return bits[i / WORD_BITS] >> i % WORD_BITS & 1;
}
static void put(uint64_t *bits, uint64_t i) { bits[i / WORD_BITS] |= UINT64_C(1) << i % WORD_BITS; }

__attribute__((format(printf, 2, 3))) static void note(struct cli_verify *v, const char *format,
                                                       ...) {
    if (v->first[0]) return;
    va_list args;
    va_start(args, format);
    vsnprintf(v->first, sizeof v->first, format, args);
    va_end(args);
}

int cli_verify_open(struct cli_verify *v, sterna_store *store, sterna_selection *selection,
                    const struct sterna_loader_options *plan, const void *start,
                    size_t start_bytes) {
    struct sterna_selection_info info;
    struct sterna_error err = {0};
    sterna_selection_info(selection, &info);
    *v = (struct cli_verify){.plan = *plan, .selection = selection, .store = store, .n = info.n};
    int rc = sterna_state_info(start, start_bytes, &v->start, &err);
    if (rc < 0) return cli_fail_err(rc, &err);
    v->resumed = v->start.delivered > 0;
    v->plan.state = start;
    v->plan.state_bytes = start_bytes;
    v->expected = calloc(words(v->n), sizeof *v->expected);
    v->seen = calloc(words(v->n), sizeof *v->seen);
    v->index = calloc(plan->batch_size, sizeof *v->index);
    v->valid = calloc(plan->batch_size, 1);
    if (v->expected && v->seen && v->index && v->valid) return CLI_DONE;
    cli_verify_close(v);
    return cli_fail(CLI_FAILED, "out of memory for --verify");
}

/* The plan's batch into index and valid; whole: of the epoch as if it had not been resumed. */
static int plan_batch(struct cli_verify *v, int whole, uint64_t step, uint32_t *n_rows,
                      struct sterna_error *err) {
    struct sterna_loader_options o = v->plan;
    if (whole || !v->resumed || v->epoch != v->start.epoch) {
        o.state = NULL;
        o.state_bytes = 0;
    }
    return sterna_plan_batch(&o, v->n, v->epoch, step, v->index, v->valid, n_rows, err);
}

/* Adds what the plan gives this rank from `step` on to what is expected. */
static int expect_plan(struct cli_verify *v, int whole, uint64_t step) {
    for (;; step++) {
        struct sterna_error err = {0};
        uint32_t n_rows;
        int rc = plan_batch(v, whole, step, &n_rows, &err);
        if (rc == STERNA_EINVAL) return CLI_DONE; /* past the epoch's end */
        if (rc < 0) return cli_fail_err(rc, &err);
        for (uint32_t i = 0; i < n_rows; i++) {
            if (!v->valid[i] || get(v->expected, v->index[i])) continue;
            put(v->expected, v->index[i]);
            v->n_expected++;
        }
    }
}

static void expect_all(struct cli_verify *v) {
    for (uint64_t i = 0; i < v->n; i++) put(v->expected, i);
    v->n_expected = v->n;
}

/* In arrival order no plan tells which samples were delivered before; their number is known, unless
 * the ranks' shares were dealt anew in the middle of the epoch: then nothing is called missing. */
static int expect_arrival(struct cli_verify *v) {
    int rc = CLI_DONE;
    if (v->start.base_step == 0)
        rc = expect_plan(v, 1, 0);
    else
        expect_all(v);
    if (v->start.base_step > 0 && (v->plan.world_size > 1 || v->plan.uneven == STERNA_UNEVEN_DROP))
        v->n_expected = 0;
    else
        v->n_expected -= v->start.delivered < v->n_expected ? v->start.delivered : v->n_expected;
    return rc;
}

static int begin_epoch(struct cli_verify *v, uint64_t epoch) {
    v->epoch = epoch;
    v->in_epoch = 1;
    v->epoch_duplicates = v->epoch_missing = 0;
    v->n_expected = v->n_seen = 0;
    memset(v->seen, 0, words(v->n) * sizeof *v->seen);
    memset(v->expected, 0, words(v->n) * sizeof *v->expected);
    if (v->resumed && epoch == v->start.epoch)
        return v->plan.order == STERNA_ORDER_ARRIVAL ? expect_arrival(v)
                                                     : expect_plan(v, 0, v->start.step);
    if (v->plan.world_size > 1 || v->plan.uneven == STERNA_UNEVEN_DROP) return expect_plan(v, 1, 0);
    expect_all(v); /* whatever the plan says */
    return CLI_DONE;
}

/* In strict order a batch holds exactly what the plan says. */
static int check_order(struct cli_verify *v, const sterna_batch *batch,
                       const struct sterna_batch_info *info) {
    const uint64_t *index = sterna_batch_index(batch);
    const uint8_t *valid = sterna_batch_valid(batch);
    const int *errors = sterna_batch_errors(batch);
    struct sterna_error err = {0};
    uint32_t n_rows;
    int rc = plan_batch(v, 0, info->step, &n_rows, &err);
    if (rc == STERNA_EINVAL)
        n_rows = 0; /* no such step: the whole batch is out of place */
    else if (rc < 0)
        return cli_fail_err(rc, &err);
    uint64_t before = v->misplaced;
    if (n_rows != info->n_rows) v->misplaced++;
    for (uint32_t i = 0; i < n_rows && i < info->n_rows; i++)
        v->misplaced +=
            errors[i] == STERNA_OK && (index[i] != v->index[i] || valid[i] != v->valid[i]);
    if (v->misplaced > before)
        note(v, "epoch %llu, step %llu: the batch is not what the plan says",
             (unsigned long long)info->epoch, (unsigned long long)info->step);
    return CLI_DONE;
}

/* The number that a field has in the selection, or UINT32_MAX. */
static uint32_t field_number(const struct cli_verify *v, const char *name) {
    struct sterna_selection_info info;
    struct sterna_field f;
    sterna_selection_info(v->selection, &info);
    for (uint32_t i = 0; i < info.n_fields && sterna_store_field(v->store, i, &f) == 0; i++)
        if (strcmp(f.name, name) == 0) return i;
    return UINT32_MAX;
}

static void check_lengths(struct cli_verify *v, const sterna_batch *batch,
                          const struct sterna_batch_info *info) {
    const uint64_t *index = sterna_batch_index(batch);
    const int *errors = sterna_batch_errors(batch);
    for (uint32_t f = 0; f < info->n_fields; f++) {
        struct sterna_field_view view;
        if (sterna_batch_field(batch, f, &view) < 0) continue;
        uint32_t number = field_number(v, view.name);
        const uint32_t *lengths =
            number != UINT32_MAX ? sterna_selection_lengths(v->selection, number) : NULL;
        for (uint32_t i = 0; lengths && i < info->n_rows; i++) {
            if (errors[i] != STERNA_OK || index[i] >= v->n) continue;
            uint32_t want = lengths[index[i]];
            if (want == STERNA_LENGTH_UNKNOWN) continue;
            int null = view.data[i] == NULL;
            if (want == STERNA_LENGTH_NULL ? null : !null && view.bytes[i] == want) continue;
            v->mismatched++;
            note(v, "index %llu: field %s has %llu bytes, and not what the selection says",
                 (unsigned long long)index[i], view.name, (unsigned long long)view.bytes[i]);
        }
    }
}

static void saw(struct cli_verify *v, uint64_t index) {
    if (!get(v->seen, index) && get(v->expected, index)) v->n_seen++;
    put(v->seen, index);
}

static void check_row(struct cli_verify *v, uint64_t index, const uint8_t id[STERNA_ID_BYTES],
                      int valid, int error) {
    if (error != STERNA_OK) {
        v->failed++;
        note(v, "index %llu: %s", (unsigned long long)index, sterna_strerror(error));
        /* It is a failure, not missing as well. A substituted row has the stand-in's index. */
        if (valid)
            v->n_seen++;
        else if (index < v->n)
            saw(v, index);
        return;
    }
    if (index >= v->n ||
        memcmp(sterna_selection_ids(v->selection)[index], id, STERNA_ID_BYTES) != 0) {
        v->mismatched++;
        note(v, "index %llu: the id is not the selection's", (unsigned long long)index);
        return;
    }
    if (!valid) return; /* padding */
    if (get(v->seen, index) || !get(v->expected, index)) {
        v->epoch_duplicates++;
        v->duplicates++;
        note(v, "index %llu: %s in epoch %llu", (unsigned long long)index,
             get(v->seen, index) ? "twice" : "delivered before, or another rank's",
             (unsigned long long)v->epoch);
    }
    saw(v, index);
}

int cli_verify_batch(struct cli_verify *v, const sterna_batch *batch,
                     const struct sterna_batch_info *info) {
    const uint8_t(*ids)[STERNA_ID_BYTES] = sterna_batch_ids(batch);
    const uint64_t *index = sterna_batch_index(batch);
    const uint8_t *valid = sterna_batch_valid(batch);
    const int *errors = sterna_batch_errors(batch);
    int rc = CLI_DONE;
    if (v->in_epoch && info->epoch != v->epoch) cli_verify_end_epoch(v);
    if (!v->in_epoch) rc = begin_epoch(v, info->epoch);
    if (rc != CLI_DONE) return rc;
    for (uint32_t i = 0; i < info->n_rows; i++) check_row(v, index[i], ids[i], valid[i], errors[i]);
    check_lengths(v, batch, info);
    return v->plan.order == STERNA_ORDER_STRICT ? check_order(v, batch, info) : CLI_DONE;
}

void cli_verify_end_epoch(struct cli_verify *v) {
    if (!v->in_epoch) return;
    v->in_epoch = 0;
    if (v->n_seen >= v->n_expected) return;
    v->epoch_missing = v->n_expected - v->n_seen;
    v->missing += v->epoch_missing;
    uint64_t i = 0;
    while (i < v->n && (!get(v->expected, i) || get(v->seen, i))) i++;
    note(v, "epoch %llu lacks index %llu", (unsigned long long)v->epoch, (unsigned long long)i);
}

int cli_verify_lost_epoch(struct cli_verify *v, uint64_t epoch) {
    int rc = begin_epoch(v, epoch);
    if (rc == CLI_DONE) cli_verify_end_epoch(v);
    return rc;
}

int cli_verify_found(const struct cli_verify *v) {
    return v->duplicates || v->missing || v->misplaced || v->mismatched || v->failed;
}

void cli_verify_close(struct cli_verify *v) {
    free(v->expected);
    free(v->seen);
    free(v->index);
    free(v->valid);
    v->expected = v->seen = v->index = NULL;
    v->valid = NULL;
}
