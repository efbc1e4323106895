/* A sample as it goes from a row of one catalogue to an item for the other store. */
#include <string.h>

#include "copy/copy.h"

void stn_copy_row(struct stn_copy *c, const uint8_t id[16], const struct sterna_value *values) {
    size_t n_cells = 0;
    c->id = id;
    for (uint32_t f = 0; f < c->n_fields; f++) {
        int has = values[f].type == STERNA_INT && values[f].i >= 0;
        c->blobs[f] = (struct stn_item_blob){.field = c->field_in_to[f],
                                             .data = has ? stn_blob_stored : NULL,
                                             .bytes = has ? (size_t)values[f].i : 0};
    }
    /* A null is what a new sample has anyway, and takes nothing away from a listed one. */
    for (size_t i = c->n_fields; i < c->n_columns; i++)
        if (values[i].type != STERNA_NULL)
            c->cells[n_cells++] = (struct stn_cell){c->columns[i], values[i]};
    c->item = (struct stn_item){.id = id,
                                .blobs = c->blobs,
                                .n_blobs = c->n_fields,
                                .cells = c->cells,
                                .n_cells = n_cells,
                                .n_lasting = n_cells};
}

int stn_copy_rows(struct stn_copy *c, const uint8_t (*ids)[16], size_t n,
                  int (*each)(void *ctx, const char *const *names,
                              const struct sterna_value *values, size_t n_values),
                  void *ctx) {
    struct sterna_query_options o = {.struct_size = sizeof o,
                                     .columns = (const char *const *)c->columns,
                                     .n_columns = c->n_columns,
                                     .ids = ids,
                                     .n_ids = n};
    return n == 0 ? STERNA_OK : sterna_query(c->from, &o, each, ctx, c->err);
}

/* ---- what the caller is told ---- */

static const char *path_of(struct stn_copy *c) {
    for (size_t i = 0; i < c->item.n_cells; i++) {
        const struct sterna_value *v = &c->cells[i].value;
        if (strcmp(c->cells[i].column, "path") != 0 || v->type != STERNA_TEXT) continue;
        void *path = c->path;
        if (stn_grow(&path, &c->path_cap, v->text_bytes + 1, 1) < 0) return "";
        c->path = path;
        memcpy(c->path, v->text, v->text_bytes);
        c->path[v->text_bytes] = 0;
        return c->path;
    }
    return "";
}

static int canceled(struct stn_copy *c) {
    return stn_fail(c->err, STERNA_ECANCELED, "the copy was stopped by its caller");
}

int stn_copy_report(struct stn_copy *c, enum sterna_outcome outcome, const char *why) {
    const struct sterna_copy_options *o = c->options;
    c->result->counts[outcome]++;
    if (outcome == STERNA_ADDED || outcome == STERNA_UNCHANGED || !o->report) return STERNA_OK;
    return o->report(o->ctx, outcome, c->id, path_of(c), why) ? canceled(c) : STERNA_OK;
}

int stn_copy_tell(struct stn_copy *c) {
    const struct sterna_copy_options *o = c->options;
    if (!o->progress) return STERNA_OK;
    c->progress.seconds = (double)(stn_now(c->clock) - c->began_ns) / (double)STN_NS_PER_S;
    return o->progress(o->ctx, &c->progress) ? canceled(c) : STERNA_OK;
}

/* ---- writing ---- */

int stn_copy_write(struct stn_copy *c) {
    struct stn_item_result result = {0};
    int rc = stn_ingest_write(c->in, &c->item, &result, c->err);
    if (rc != STERNA_OK) return rc;
    if (result.outcome == STERNA_UNCHANGED && result.bytes_stored > 0)
        result.outcome = STERNA_ADDED; /* a field it had not */
    return stn_copy_report(c, result.outcome, result.why);
}
