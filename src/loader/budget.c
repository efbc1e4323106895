/* How much memory: lengths of samples, and the smallest budget with which any batch can be
 * composed. */
#include "loader/loader.h"

uint32_t stn_loader_length(const sterna_loader *l, uint32_t field, uint64_t index) {
    return sterna_selection_lengths(l->selection, l->field_at[field])[index];
}

uint64_t stn_loader_sample_bytes(const sterna_loader *l, uint64_t index) {
    uint64_t sum = 0;
    for (uint32_t f = 0; f < l->schema->n_fields; f++) {
        uint32_t bytes = stn_loader_length(l, f, index);
        sum += stn_align_up(stn_flight_expect_bytes(&l->flight, bytes));
    }
    return sum;
}

static int is_known(const sterna_loader *l, uint64_t index) {
    for (uint32_t f = 0; f < l->schema->n_fields; f++)
        if (stn_loader_length(l, f, index) == STERNA_LENGTH_UNKNOWN) return 0;
    return 1;
}

/* What a sample takes of the budget when its fields have blocks of their own. */
static uint64_t blocks_bytes(const sterna_loader *l, uint64_t index) {
    uint64_t sum = 0;
    for (uint32_t f = 0; f < l->schema->n_fields; f++) {
        uint32_t bytes = stn_loader_length(l, f, index);
        if (bytes == STERNA_LENGTH_UNKNOWN)
            sum += stn_pool_class_bytes((uint64_t)l->flight.typical_bytes);
        else if (bytes != STERNA_LENGTH_NULL)
            sum += stn_pool_class_bytes(bytes);
    }
    return sum;
}

/* Sum of the k largest values seen: a heap of k with the smallest on top. */
struct largest {
    uint64_t *heap, sum;
    size_t k, n;
};

static void sift_down(struct largest *t, size_t i) {
    for (size_t child; (child = 2 * i + 1) < t->n; i = child) {
        if (child + 1 < t->n && t->heap[child + 1] < t->heap[child]) child++;
        if (t->heap[i] <= t->heap[child]) return;
        uint64_t swap = t->heap[i];
        t->heap[i] = t->heap[child];
        t->heap[child] = swap;
    }
}

static void add_value(struct largest *t, uint64_t value) {
    if (t->n < t->k) {
        t->heap[t->n++] = value;
        t->sum += value;
        if (t->n == t->k)
            for (size_t i = t->n / 2; i-- > 0;) sift_down(t, i);
    } else if (value > t->heap[0]) {
        t->sum += value - t->heap[0];
        t->heap[0] = value;
        sift_down(t, 0);
    }
}

/* The smallest budget with which any batch of the plan can be composed: the worst batch and, as
 * escrow, the largest sample. */
static int smallest_budget(sterna_loader *l, uint64_t *bytes, struct sterna_error *err) {
    struct largest t = {.k = l->batch_rows};
    t.heap = stn_array(t.k, sizeof *t.heap);
    if (!t.heap) return stn_fail_memory(err, "lengths");
    int in_run = l->options.order == STERNA_ORDER_STRICT;
    for (uint64_t i = 0; t.k > 0 && i < l->info.n; i++)
        add_value(&t, in_run ? stn_loader_sample_bytes(l, i) : blocks_bytes(l, i));
    *bytes = (in_run ? stn_pool_class_bytes(t.sum) : t.sum) + l->flight.escrow_bytes;
    free(t.heap);
    return STERNA_OK;
}

int stn_loader_set_budget(sterna_loader *l, struct sterna_error *err) {
    uint64_t max_sample = 0, smallest = 0;
    l->lengths_known = 1;
    for (uint64_t i = 0; i < l->info.n; i++) {
        max_sample = STN_MAX(max_sample, blocks_bytes(l, i));
        l->lengths_known &= is_known(l, i);
    }
    l->flight.escrow_bytes = max_sample;
    stn_flight_set_budget(&l->flight, l->options.memory_bytes);
    /* The cheap bound first: it nearly always suffices. */
    uint64_t bound;
    if (!__builtin_mul_overflow(max_sample, (uint64_t)l->batch_rows + 2, &bound) &&
        bound <= l->flight.budget_bytes)
        return STERNA_OK;
    int rc = smallest_budget(l, &smallest, err);
    if (smallest > l->flight.budget_bytes && smallest <= l->flight.budget_most_bytes)
        l->flight.budget_bytes = smallest;
    if (rc == STERNA_OK && smallest > l->flight.budget_bytes)
        rc = stn_fail(
            err, STERNA_EBUDGET,
            "a memory budget of %llu bytes is too small for batches of %u: the smallest that "
            "works is %llu",
            (unsigned long long)l->flight.budget_bytes, l->options.batch_size,
            (unsigned long long)smallest);
    return rc;
}
