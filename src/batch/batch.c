/* Owns a batch's rows and its hold on memory. Knows nothing of plans, sources or retries. */
#include "batch/batch.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

struct stn_schema *stn_schema_new(void) {
    struct stn_schema *schema = calloc(1, sizeof *schema);
    if (schema) atomic_init(&schema->refs, 1);
    return schema;
}

int stn_schema_choose(struct stn_schema *schema, const struct sterna_field *fields,
                      uint32_t n_fields, const char *name, uint32_t *at, struct sterna_error *err) {
    for (uint32_t f = 0; f < schema->n_fields; f++)
        if (strcmp(schema->names[f], name) == 0)
            return stn_fail(err, STERNA_EINVAL, "field '%s' is named twice", name);
    for (*at = 0; *at < n_fields; ++*at) {
        const struct sterna_field *field = &fields[*at];
        if (strcmp(field->name, name) != 0) continue;
        uint32_t f = schema->n_fields++;
        schema->numbers[f] = (uint8_t)field->number;
        schema->kinds[f] = field->kind;
        snprintf(schema->names[f], sizeof schema->names[f], "%s", name);
        return STERNA_OK;
    }
    return stn_fail(err, STERNA_ENOTFOUND, "the store has no field '%s'", name);
}

struct stn_schema *stn_schema_retain(struct stn_schema *schema) {
    atomic_fetch_add_explicit(&schema->refs, 1, memory_order_relaxed);
    return schema;
}

void stn_schema_release(struct stn_schema **schema) {
    if (*schema && atomic_fetch_sub_explicit(&(*schema)->refs, 1, memory_order_acq_rel) == 1)
        free(*schema);
    *schema = NULL;
}

/* Hands out pieces of one allocation; with base NULL it only measures. */
struct carver {
    uint8_t *base;
    size_t used;
};

static void *carve(struct carver *c, size_t n, size_t size) {
    void *piece = c->base ? c->base + c->used : NULL;
    c->used += (n * size + 15) & ~(size_t)15;
    return piece;
}

static void carve_arrays(sterna_batch *b, struct carver *c, uint32_t n_rows, uint32_t n_fields) {
    b->index = carve(c, n_rows, sizeof *b->index);
    b->ids = carve(c, n_rows, sizeof *b->ids);
    b->valid = carve(c, n_rows, sizeof *b->valid);
    b->errors = carve(c, n_rows, sizeof *b->errors);
    b->labels = carve(c, n_rows, sizeof *b->labels);
    b->owns = carve(c, (size_t)n_rows * n_fields, sizeof(struct stn_block *));
    b->columns = carve(c, n_fields, sizeof *b->columns);
    for (uint32_t f = 0; f < n_fields; f++) {
        struct stn_column scratch, *column = c->base ? &b->columns[f] : &scratch;
        column->data = carve(c, n_rows, sizeof(uint8_t *));
        column->bytes = carve(c, n_rows, sizeof(uint64_t));
        column->offsets = carve(c, n_rows, sizeof(uint64_t));
    }
}

sterna_batch *stn_batch_new(struct stn_pool *pool, struct stn_schema *schema, uint32_t n_rows) {
    struct sterna_batch measured;
    struct carver measure = {0};
    carve(&measure, 1, sizeof(sterna_batch));
    carve_arrays(&measured, &measure, n_rows, schema->n_fields);

    struct carver c = {calloc(1, measure.used), 0};
    if (!c.base) return NULL;
    sterna_batch *b = carve(&c, 1, sizeof *b);
    carve_arrays(b, &c, n_rows, schema->n_fields);
    atomic_init(&b->refs, 1);
    b->pool = pool;
    b->schema = stn_schema_retain(schema);
    b->info.n_rows = n_rows;
    b->info.n_fields = schema->n_fields;
    return b;
}

void stn_batch_lease(sterna_batch *b) {
    b->leased = 1;
    stn_pool_lease(b->pool, 1);
}

uint64_t stn_batch_layout(sterna_batch *b) {
    uint64_t total = 0;
    for (uint32_t f = 0; f < b->schema->n_fields; f++) {
        struct stn_column *column = &b->columns[f];
        column->run_bytes = 0;
        for (uint32_t i = 0; i < b->info.n_rows; i++) {
            column->offsets[i] = column->run_bytes;
            column->run_bytes += stn_align_up(column->bytes[i]);
        }
        total += column->run_bytes;
    }
    return total;
}

void stn_batch_take_block(sterna_batch *b, struct stn_block **block) {
    uint8_t *at = (*block)->data;
    b->block = *block;
    *block = NULL;
    for (uint32_t f = 0; f < b->schema->n_fields; f++) {
        b->columns[f].start = at;
        b->columns[f].one_run = 1;
        at += b->columns[f].run_bytes;
    }
}

void stn_batch_set_row(sterna_batch *b, uint32_t row, struct stn_extent *extents) {
    for (uint32_t f = 0; f < b->schema->n_fields; f++) {
        struct stn_column *column = &b->columns[f];
        column->data[row] = extents[f].data;
        column->bytes[row] = extents[f].data ? extents[f].bytes : 0;
        if (extents[f].own) column->one_run = 0;
        b->owns[(size_t)row * b->schema->n_fields + f] = extents[f].own;
        extents[f].own = NULL;
    }
}

void stn_batch_fail_row(sterna_batch *b, uint32_t row, int code, char **why) {
    b->errors[row] = code;
    if (*why && !b->reasons) b->reasons = stn_array(b->info.n_rows, sizeof *b->reasons);
    if (b->reasons)
        b->reasons[row] = *why;
    else
        free(*why);
    *why = NULL;
}

void stn_batch_repeat_row(sterna_batch *b, uint32_t to, uint32_t from) {
    b->index[to] = b->index[from];
    b->labels[to] = b->labels[from];
    memcpy(b->ids[to], b->ids[from], STERNA_ID_BYTES);
    for (uint32_t f = 0; f < b->schema->n_fields; f++) {
        struct stn_column *column = &b->columns[f];
        column->data[to] = column->data[from];
        column->bytes[to] = column->bytes[from];
        column->offsets[to] = column->offsets[from];
    }
}

/* ---- public ---- */

void sterna_batch_info(const sterna_batch *b, struct sterna_batch_info *out) { *out = b->info; }
const uint64_t *sterna_batch_index(const sterna_batch *b) { return b->index; }
const uint8_t (*sterna_batch_ids(const sterna_batch *b))[STERNA_ID_BYTES] {
    return (const uint8_t(*)[STERNA_ID_BYTES])b->ids;
}
const uint8_t *sterna_batch_valid(const sterna_batch *b) { return b->valid; }
const int *sterna_batch_errors(const sterna_batch *b) { return b->errors; }
const char *sterna_batch_reason(const sterna_batch *b, uint32_t row) {
    if (row >= b->info.n_rows || b->errors[row] == STERNA_OK) return "";
    return b->reasons && b->reasons[row] ? b->reasons[row] : sterna_strerror(b->errors[row]);
}
const int64_t *sterna_batch_labels(const sterna_batch *b) { return b->labels; }

int sterna_batch_field(const sterna_batch *b, uint32_t f, struct sterna_field_view *out) {
    *out = (struct sterna_field_view){0};
    if (f >= b->schema->n_fields) return STERNA_EINVAL;
    const struct stn_column *column = &b->columns[f];
    *out = (struct sterna_field_view){
        .name = b->schema->names[f],
        .kind = b->schema->kinds[f],
        .data = column->data,
        .bytes = column->bytes,
        .base = column->one_run ? column->start : NULL,
        .offsets = column->one_run ? column->offsets : NULL,
        .base_bytes = column->one_run ? column->run_bytes : 0,
    };
    return STERNA_OK;
}

int sterna_batch_copy(const sterna_batch *b, uint32_t f, uint8_t *dst, uint64_t cap,
                      uint64_t *offsets, uint64_t *need) {
    if (f >= b->schema->n_fields) return STERNA_EINVAL;
    const struct stn_column *column = &b->columns[f];
    uint64_t total = 0, copied = 0;
    for (uint32_t i = 0; i < b->info.n_rows; i++) total += stn_align_up(column->bytes[i]);
    if (need) *need = total;
    if (!dst || cap < total) return STERNA_EINVAL;
    for (uint32_t i = 0; i < b->info.n_rows; i++) {
        offsets[i] = copied;
        if (column->data[i]) memcpy(dst + copied, column->data[i], column->bytes[i]);
        copied += stn_align_up(column->bytes[i]);
    }
    stn_pool_count_copy(b->pool, total);
    return STERNA_OK;
}

int sterna_batch_state(const sterna_batch *b, void *buf, size_t cap, size_t *size) {
    *size = b->state_bytes;
    if (cap < b->state_bytes) return STERNA_EINVAL;
    if (b->state_bytes) memcpy(buf, b->state, b->state_bytes);
    return STERNA_OK;
}

sterna_batch *sterna_batch_retain(sterna_batch *b) {
    atomic_fetch_add_explicit(&b->refs, 1, memory_order_relaxed);
    return b;
}

void sterna_batch_release(sterna_batch **out) {
    sterna_batch *b = *out;
    *out = NULL;
    if (!b || atomic_fetch_sub_explicit(&b->refs, 1, memory_order_acq_rel) > 1) return;
    struct stn_pool *pool = b->pool;
    if (stn_pool_is_inherited(pool)) return; /* it goes with the process */
    size_t n_owns = (size_t)b->info.n_rows * b->schema->n_fields;
    for (size_t i = 0; i < n_owns; i++) stn_block_release(&b->owns[i]);
    stn_block_release(&b->block);
    stn_schema_release(&b->schema);
    for (uint32_t i = 0; b->reasons && i < b->info.n_rows; i++) free(b->reasons[i]);
    free(b->reasons);
    free(b->state);
    free(b->message);
    int leased = b->leased;
    free(b);
    if (leased) stn_pool_lease(pool, -1);
}
