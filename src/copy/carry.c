/* Bytes out of one store into the other. A loader reads, which verifies each checksum; a batch is
 * written while the next ones are on their way. */
#include <string.h>

#include "copy/copy.h"

#define BATCH_ROWS 256
#define BATCH_BYTES ((uint64_t)32 << 20)
#define TELL_EVERY_MS 200

struct carrying { /* the batch that is being written */
    struct stn_copy *copy;
    const sterna_batch *batch;
    struct sterna_field_view views[STN_FIELDS_OF_STORE];
    uint32_t row;
};

/* ---- a sample that could not be read ---- */

/* Of the store, not of one sample: to go on would only list all that follow. */
static int is_final(int code) {
    static const int codes[] = {STERNA_EUNREACHABLE, STERNA_EREFUSED, STERNA_ENOMEM,
                                STERNA_EBUDGET,      STERNA_ETIMEOUT, STERNA_EBUSY};
    for (size_t i = 0; i < STN_COUNT(codes); i++)
        if (codes[i] == code) return 1;
    return 0;
}

static const char *reason(struct stn_copy *c, int code, struct sterna_exception *last,
                          size_t last_cap) {
    size_t n = sterna_loader_exceptions(c->loader, last, last_cap);
    while (n-- > 0)
        if (memcmp(last[n].id, c->id, sizeof last[n].id) == 0) return last[n].message;
    return sterna_strerror(code);
}

static int give_up(struct stn_copy *c, int code) {
    size_t cap = 1000; /* as many as a loader keeps */
    struct sterna_exception *last = stn_array(cap, sizeof *last);
    if (!last) return stn_fail_memory(c->err, "a failed sample");
    const char *why = reason(c, code, last, cap);
    int rc = is_final(code) ? stn_fail(c->err, code, "%s", why)
                            : stn_copy_report(c, STERNA_UNREADABLE, why);
    free(last);
    return rc;
}

/* ---- a batch ---- */

/* The bytes in the place of lengths. What the catalogue said of a length may be older. */
static void take_bytes(struct carrying *k) {
    struct stn_copy *c = k->copy;
    for (uint32_t f = 0; f < c->n_fields; f++) {
        struct stn_item_blob *blob = &c->blobs[f];
        blob->data = k->views[f].data[k->row];
        blob->bytes = blob->data ? (size_t)k->views[f].bytes[k->row] : 0;
        blob->crc = blob->data ? stn_crc32c(0, blob->data, blob->bytes) : 0;
        c->progress.bytes_read += blob->bytes;
    }
}

static int carry_row(void *carrying, const char *const *names, const struct sterna_value *values,
                     size_t n_values) {
    struct carrying *k = carrying;
    struct stn_copy *c = k->copy;
    (void)names, (void)n_values;
    int code = sterna_batch_errors(k->batch)[k->row];
    stn_copy_row(c, sterna_batch_ids(k->batch)[k->row], values);
    if (code == STERNA_OK) take_bytes(k);
    k->row++;
    c->progress.read++;
    return code == STERNA_OK ? stn_copy_write(c) : give_up(c, code);
}

static void expect(struct stn_copy *c, const sterna_batch *b) {
    struct stn_values *to = c->in->values;
    struct sterna_batch_info info;
    sterna_batch_info(b, &info);
    for (uint32_t i = 0; i < info.n_rows && to->ops->expect; i++)
        to->ops->expect(to, sterna_batch_ids(b)[i]);
}

static int write_batch(struct stn_copy *c, sterna_batch **batch) {
    struct carrying k = {.copy = c, .batch = *batch};
    struct sterna_batch_info info;
    int rc = STERNA_OK;
    if (!*batch) return rc;
    sterna_batch_info(*batch, &info);
    for (uint32_t f = 0; f < c->n_fields && rc == STERNA_OK; f++)
        rc = sterna_batch_field(*batch, f, &k.views[f]);
    if (rc == STERNA_OK)
        rc = stn_copy_rows(c, sterna_batch_ids(*batch), info.n_rows, carry_row, &k);
    sterna_batch_release(batch);
    return rc == STERNA_OK ? stn_copy_tell(c) : rc;
}

/* ---- all of them ---- */

static int open_loader(struct stn_copy *c) {
    const char *fields[STN_FIELDS_OF_STORE];
    struct sterna_loader_options o;
    struct sterna_selection_info info;
    sterna_selection_info(c->needed, &info);
    uint64_t memory = c->options->memory_bytes;
    uint64_t bytes = memory ? STN_MIN(BATCH_BYTES, memory / 8) : BATCH_BYTES;
    uint64_t rows = bytes / STN_MAX(info.max_bytes, 1);
    for (uint32_t f = 0; f < c->n_fields; f++) fields[f] = c->fields[f].name;
    sterna_loader_options_init(&o);
    o.batch_size = (uint32_t)STN_MAX(STN_MIN(rows, BATCH_ROWS), 1);
    o.shuffle = 0;
    o.uneven = STERNA_UNEVEN_EXACT;
    o.on_error = STERNA_ON_ERROR_MASK;
    o.max_errors = UINT64_MAX;
    o.memory_bytes = memory;
    o.threads = c->options->threads;
    o.fields = fields;
    o.n_fields = c->n_fields;
    return sterna_loader_open(&c->loader, c->from, c->needed, &o, c->err);
}

/* The batch before is written when the next one is there, so that a far store has had the time to
 * look up its samples. */
static int carry_all(struct stn_copy *c) {
    sterna_batch *next = NULL, *held = NULL;
    int rc = STERNA_OK;
    while (rc >= 0) {
        rc = sterna_loader_next(c->loader, &next, TELL_EVERY_MS, c->err);
        if (rc == STERNA_AGAIN) {
            rc = stn_copy_tell(c);
            continue;
        }
        if (rc < 0) break;
        int ended = rc == STERNA_END;
        if (next) expect(c, next);
        rc = write_batch(c, &held);
        held = next;
        next = NULL;
        if (ended) break;
    }
    sterna_batch_release(&held);
    return rc;
}

int stn_copy_carry(struct stn_copy *c) {
    struct sterna_selection_info info;
    sterna_selection_info(c->needed, &info);
    if (info.n == 0) return STERNA_OK;
    int rc = open_loader(c);
    if (rc == STERNA_OK) rc = carry_all(c);
    sterna_loader_close(&c->loader);
    return rc;
}
