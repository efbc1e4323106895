/* One sample against what the store has of it: looked up, compared, written. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "ingest/ingest.h"
#include "store.h"

enum stored { NOTHING, ORPHAN, SAME, OTHER }; /* an orphan: no row lists it */

const uint8_t stn_blob_stored[1] = {0};

struct found { /* what the store holds under one key */
    enum stored stored;
    struct stn_value_header header;
};

/* What is stored for this blob. An orphan that is equal is as good as listed. */
static int look(sterna_ingest *in, const struct stn_item *item, const struct stn_item_blob *blob,
                int listed, struct found *found, struct sterna_error *err) {
    struct sterna_error why = {0};
    const struct stn_ingest_field *f = &in->fields[blob->field];
    int rc = in->values->ops->find(in->values, item->id, f->number, &found->header, &why);
    found->stored = NOTHING;
    if (rc == STERNA_ENOTFOUND) return STERNA_OK;
    if (rc < 0) {
        if (err) *err = why;
        return rc;
    }
    int same = blob->data && found->header.bytes == blob->bytes && found->header.crc == blob->crc;
    found->stored = same ? SAME : ORPHAN;
    if (same || !listed) return STERNA_OK;
    int has = 0;
    rc = stn_catalog_has_field(in->catalog, item->id, f->name, &has, err);
    if (has) found->stored = OTHER;
    return rc;
}

static void tell_difference(const sterna_ingest *in, const struct stn_item_blob *blob,
                            const struct found *found, char *why) {
    const char *name = blob->field ? in->fields[blob->field].name : "";
    int n = snprintf(why, STN_WHY_BYTES, "%s%s%sstored: %" PRIu64 " bytes, crc %08" PRIx32,
                     *name ? "field " : "", name, *name ? ": " : "", found->header.bytes,
                     found->header.crc);
    if (!blob->data)
        snprintf(why + n, STN_WHY_BYTES - (size_t)n, "; file: none");
    else
        snprintf(why + n, STN_WHY_BYTES - (size_t)n, "; file: %zu bytes, crc %08" PRIx32,
                 blob->bytes, blob->crc);
}

static int put(sterna_ingest *in, const struct stn_item *item, const struct stn_item_blob *blob,
               struct stn_item_result *result, struct sterna_error *err) {
    int rc = in->values->ops->put(in->values, item->id, in->fields[blob->field].number, blob->data,
                                  blob->bytes, blob->crc, err);
    if (rc == STERNA_OK) result->bytes_stored += blob->bytes;
    return rc;
}

static int erase(sterna_ingest *in, const struct stn_item *item, uint32_t field,
                 struct sterna_error *err) {
    struct stn_value_header header;
    struct sterna_error why = {0};
    uint8_t number = in->fields[field].number;
    int rc = in->values->ops->find(in->values, item->id, number, &header, &why);
    if (rc == STERNA_OK) return in->values->ops->remove(in->values, item->id, number, err);
    if (rc == STERNA_ENOTFOUND) return STERNA_OK;
    if (err) *err = why;
    return rc;
}

/* A sample that is not listed has null fields: nothing may be left of an earlier, killed run. */
static int erase_absent(sterna_ingest *in, const struct stn_item *item, struct sterna_error *err) {
    int rc = STERNA_OK;
    for (uint32_t f = 0; f < in->n_fields && rc == STERNA_OK; f++) {
        size_t i = 0;
        while (i < item->n_blobs && !(item->blobs[i].field == f && item->blobs[i].data)) i++;
        if (i == item->n_blobs) rc = erase(in, item, f, err);
    }
    return rc;
}

/* in->cells: the first n of the item's, then the lengths of its fields. */
static int make_row(sterna_ingest *in, const struct stn_item *item, size_t n, int with_nulls,
                    struct stn_row *row, struct sterna_error *err) {
    if (stn_grow((void **)&in->cells, &in->cells_cap, n + item->n_blobs, sizeof *in->cells) < 0)
        return stn_fail_memory(err, "a row");
    memcpy(row->id, item->id, 16);
    for (size_t i = 0; i < n; i++) in->cells[i] = item->cells[i];
    for (size_t i = 0; i < item->n_blobs; i++) {
        const struct stn_item_blob *blob = &item->blobs[i];
        if (!blob->data && !with_nulls) continue;
        struct sterna_value length = {.type = blob->data ? STERNA_INT : STERNA_NULL,
                                      .i = (int64_t)blob->bytes};
        in->cells[n++] = (struct stn_cell){in->fields[blob->field].length_column, length};
    }
    row->cells = in->cells;
    row->n_cells = n;
    return STERNA_OK;
}

static int write_new(sterna_ingest *in, const struct stn_item *item, const struct found *found,
                     struct stn_item_result *result, struct sterna_error *err) {
    struct stn_row row;
    int rc = STERNA_OK;
    for (size_t i = 0; i < item->n_blobs && rc == STERNA_OK; i++)
        if (item->blobs[i].data && found[i].stored != SAME)
            rc = put(in, item, &item->blobs[i], result, err);
    if (rc == STERNA_OK) rc = erase_absent(in, item, err);
    if (rc == STERNA_OK) rc = make_row(in, item, item->n_cells, 0, &row, err);
    return rc == STERNA_OK ? stn_catalog_insert(in->catalog, &row, err) : rc;
}

static int write_listed(sterna_ingest *in, const struct stn_item *item, const struct found *found,
                        struct stn_item_result *result, struct sterna_error *err) {
    struct stn_row row;
    int rc = STERNA_OK, replaced = result->outcome == STERNA_REPLACED;
    for (size_t i = 0; i < item->n_blobs && rc == STERNA_OK; i++) {
        const struct stn_item_blob *blob = &item->blobs[i];
        if (blob->data && found[i].stored != SAME) rc = put(in, item, blob, result, err);
        /* A null leaves a listed value alone unless the sample is replaced; an unlisted one goes.
         */
        if (!blob->data && (found[i].stored == ORPHAN || (found[i].stored == OTHER && replaced)))
            rc = erase(in, item, blob->field, err);
    }
    if (rc == STERNA_OK) rc = make_row(in, item, item->n_lasting, replaced, &row, err);
    return rc == STERNA_OK ? stn_catalog_update(in->catalog, &row, replaced, NULL, err) : rc;
}

static int write_item(sterna_ingest *in, const struct stn_item *item,
                      struct stn_item_result *result, struct sterna_error *err) {
    struct found found[STN_FIELDS_OF_STORE];
    int listed = 0, lacking = 0;
    int rc = stn_catalog_has(in->catalog, item->id, &listed, err);
    result->outcome = listed ? STERNA_UNCHANGED : STERNA_ADDED;
    for (size_t i = 0; i < item->n_blobs && rc == STERNA_OK; i++) {
        const struct stn_item_blob *blob = &item->blobs[i];
        rc = look(in, item, blob, listed, &found[i], err);
        lacking |= blob->data == stn_blob_stored && found[i].stored != SAME;
        int differs = found[i].stored == OTHER && (blob->data || in->replace);
        if (rc < 0 || !differs || result->outcome != STERNA_UNCHANGED) continue;
        result->outcome = in->replace ? STERNA_REPLACED : STERNA_CONFLICT;
        tell_difference(in, blob, &found[i], result->why);
    }
    if (rc < 0 || result->outcome == STERNA_CONFLICT) return rc;
    if (lacking) return STERNA_AGAIN;
    return listed ? write_listed(in, item, found, result, err)
                  : write_new(in, item, found, result, err);
}

int stn_ingest_write(sterna_ingest *in, const struct stn_item *item, struct stn_item_result *result,
                     struct sterna_error *err) {
    result->bytes_stored = 0;
    result->why[0] = '\0';
    int rc = in->failed;
    if (rc < 0) return stn_fail(err, rc, "%s: an earlier sample failed", in->store->shown);
    rc = write_item(in, item, result, err);
    if (rc < 0) in->failed = rc;
    return rc;
}
