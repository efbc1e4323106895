/* Which samples must be read at all. Both stores are asked for headers only: lengths and checksums.
 * One that is far away is asked for a whole chunk ahead of the one that is being compared. */
#include "copy/copy.h"
#include "store.h"

#define CHUNK ((size_t)2048) /* ids asked for at once */

/* ---- asking ahead ---- */

static int is_far(const struct stn_values *v) { return v && v->ops->expect; }

/* 1 if some value of the sample is in `to`, which answers at once. */
static int is_in_to(const struct stn_copy *c, const uint8_t id[16]) {
    struct stn_values *v = c->in->values;
    struct stn_value_header header;
    for (uint32_t f = 0; f < c->n_fields; f++) {
        uint8_t number = c->in->fields[c->field_in_to[f]].number;
        if (v->ops->find(v, id, number, &header, NULL) == STERNA_OK) return 1;
    }
    return 0;
}

static void expect(struct stn_copy *c, const uint8_t (*ids)[16], size_t n) {
    struct stn_values *to = c->in->values;
    for (size_t i = 0; i < n && c->headers; i++) { /* without them nothing is compared */
        if (is_far(to)) to->ops->expect(to, ids[i]);
        if (is_far(c->headers) && (is_far(to) || is_in_to(c, ids[i])))
            c->headers->ops->expect(c->headers, ids[i]);
    }
}

/* ---- one sample ---- */

static int must_be_read(struct stn_copy *c) {
    uint32_t lengths[STN_FIELDS_OF_STORE];
    uint64_t bytes = 0;
    for (uint32_t f = 0; f < c->n_fields; f++) {
        lengths[f] = c->blobs[f].data ? (uint32_t)c->blobs[f].bytes : STERNA_LENGTH_NULL;
        bytes += c->blobs[f].bytes;
    }
    c->progress.to_read++;
    c->progress.bytes_to_read += bytes;
    return stn_selection_builder_add(c->building, c->id, lengths, STERNA_LABEL_NONE, NULL, c->err);
}

/* 1 and the checksums of its values, as `from` has them; 0 if it does not tell: what is wrong there
 * comes out when it is read. */
static int take_checksums(struct stn_copy *c) {
    if (!c->headers) return 0;
    for (uint32_t f = 0; f < c->n_fields; f++) {
        struct stn_item_blob *blob = &c->blobs[f];
        struct stn_value_header header;
        struct sterna_error why = {0};
        if (!blob->data) continue;
        int rc =
            c->headers->ops->find(c->headers, c->id, (uint8_t)c->fields[f].number, &header, &why);
        if (rc == STERNA_ENOMEM || rc == STERNA_EUNREACHABLE || rc == STERNA_EREFUSED)
            return stn_fail(c->err, rc, "%s", why.message);
        if (rc < 0 || header.bytes != blob->bytes) return 0;
        blob->crc = header.crc;
    }
    return 1;
}

static int compare_row(void *copy, const char *const *names, const struct sterna_value *values,
                       size_t n_values) {
    struct stn_copy *c = copy;
    (void)names, (void)n_values;
    stn_copy_row(c, sterna_selection_ids(c->selection)[c->progress.compared++], values);
    /* Not asked ahead: it is not there, so the other store need not be asked for checksums. */
    int is_new = is_far(c->headers) && !is_far(c->in->values) && !is_in_to(c, c->id);
    int rc = is_new ? 0 : take_checksums(c);
    if (rc < 0) return rc;
    rc = rc > 0 ? stn_copy_write(c) : STERNA_AGAIN;
    return rc == STERNA_AGAIN ? must_be_read(c) : rc;
}

/* ---- all of them ---- */

static int compare_all(struct stn_copy *c) {
    const uint8_t(*ids)[16] = sterna_selection_ids(c->selection);
    uint64_t n = c->progress.samples;
    int rc = STERNA_OK;
    expect(c, ids, STN_MIN(n, CHUNK));
    for (uint64_t at = 0; at < n && rc == STERNA_OK; at += CHUNK) {
        uint64_t next = STN_MIN(at + CHUNK, n);
        expect(c, ids + next, STN_MIN(n - next, CHUNK));
        rc = stn_copy_rows(c, ids + at, next - at, compare_row, c);
        if (rc == STERNA_OK) rc = stn_copy_tell(c);
    }
    return rc;
}

int stn_copy_compare(struct stn_copy *c) {
    struct stn_selection_spec spec = {.dataset_id = stn_catalog_dataset_id(c->from->catalog),
                                      .n_fields = c->n_fields};
    int rc = stn_selection_builder_open(&c->building, NULL, &spec, c->err);
    if (rc == STERNA_OK) rc = compare_all(c);
    if (rc == STERNA_OK) rc = stn_selection_builder_finish(c->building, NULL, &c->needed, c->err);
    return rc;
}
