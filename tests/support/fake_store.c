#include "support/fake_store.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct fake_values {
    struct stn_values base;
    struct stn_values *inner;
    struct fake_store *store;
};

static struct stn_values *inner(struct stn_values *v) { return ((struct fake_values *)v)->inner; }

static void note(uint8_t (*ids)[16], size_t *n, const uint8_t id[16]) {
    if (*n == FAKE_IDS_MAX) abort();
    memcpy(ids[(*n)++], id, 16);
}

static void expect(struct stn_values *v, const uint8_t id[16]) {
    struct fake_store *f = ((struct fake_values *)v)->store;
    note(f->expected, &f->n_expected, id);
    f->most_ahead = STN_MAX(f->most_ahead, f->n_expected - f->n_found);
}

static int find(struct stn_values *v, const uint8_t id[16], uint8_t field,
                struct stn_value_header *out, struct sterna_error *err) {
    struct fake_store *f = ((struct fake_values *)v)->store;
    if (f->n_found == 0 || memcmp(f->found[f->n_found - 1], id, 16) != 0) {
        f->n_unexpected +=
            f->n_found >= f->n_expected || memcmp(f->expected[f->n_found], id, 16) != 0;
        note(f->found, &f->n_found, id);
    }
    return inner(v)->ops->find(inner(v), id, field, out, err);
}

static int put(struct stn_values *v, const uint8_t id[16], uint8_t field, const void *data,
               size_t bytes, uint32_t crc, struct sterna_error *err) {
    return inner(v)->ops->put(inner(v), id, field, data, bytes, crc, err);
}

static int erase(struct stn_values *v, const uint8_t id[16], uint8_t field,
                 struct sterna_error *err) {
    return inner(v)->ops->remove(inner(v), id, field, err);
}

static int commit(struct stn_values *v, struct sterna_error *err) {
    return inner(v)->ops->commit(inner(v), err);
}

static void close_values(struct stn_values *v) { (void)v; } /* run_close() below closes both */

static int source_open(struct stn_backend *b, struct stn_source **out, struct stn_sink *sink,
                       const struct stn_source_options *options, struct sterna_error *err) {
    struct stn_backend *to = ((struct fake_store *)b)->inner;
    return to->ops->source_open(to, out, sink, options, err);
}

static int run_open(struct stn_backend *b, const char *source, struct stn_catalog **catalog,
                    struct stn_values **values, struct sterna_error *err) {
    struct fake_store *f = (struct fake_store *)b;
    struct stn_values *theirs;
    *values = NULL;
    int rc = f->inner->ops->run_open(f->inner, source, catalog, &theirs, err);
    if (rc < 0) return rc;
    struct fake_values *v = calloc(1, sizeof *v);
    if (!v) abort();
    *v = (struct fake_values){{&f->values_ops}, theirs, f};
    *values = &v->base;
    return STERNA_OK;
}

static int run_commit(struct stn_backend *b, struct stn_catalog *catalog, struct stn_values *values,
                      uint64_t *run, struct sterna_error *err) {
    struct stn_backend *to = ((struct fake_store *)b)->inner;
    return to->ops->run_commit(to, catalog, inner(values), run, err);
}

static void run_close(struct stn_backend *b, struct stn_catalog **catalog,
                      struct stn_values **values) {
    struct fake_store *f = (struct fake_store *)b;
    struct fake_values *v = (struct fake_values *)*values;
    f->inner->ops->run_close(f->inner, catalog, &v->inner);
    f->n_closed++;
    free(v);
    *values = NULL;
}

/* One sample, of a class. */
static int list_samples(struct stn_backend *b, struct sterna_error *err) {
    struct fake_store *f = (struct fake_store *)b;
    uint64_t run;
    int64_t label = 0;
    f->n_lists++;
    if (f->list_fails > 0) {
        f->list_fails--;
        return stn_fail(err, STERNA_EUNREACHABLE, "fake: no server answers");
    }
    int rc = stn_catalog_begin(f->catalog, "fake", &run, err);
    if (rc == STERNA_OK) rc = stn_catalog_declare_class(f->catalog, "bird", &label, err);
    if (rc == STERNA_OK) {
        struct stn_cell cells[] = {{"label", {.type = STERNA_INT, .i = label}},
                                   {"image_bytes", {.type = STERNA_INT, .i = 77}}};
        struct stn_row row = {.cells = cells, .n_cells = STN_COUNT(cells)};
        memcpy(row.id, f->sample, 16);
        rc = stn_catalog_insert(f->catalog, &row, err);
    }
    if (rc == STERNA_OK) return stn_catalog_commit(f->catalog, &run, err);
    stn_catalog_rollback(f->catalog);
    return rc;
}

static int is_read_only(struct stn_backend *b) {
    struct stn_backend *to = ((struct fake_store *)b)->inner;
    return to->ops->is_read_only(to);
}

static void close_fake(struct stn_backend *b) {
    struct stn_backend *to = ((struct fake_store *)b)->inner;
    to->ops->close(to);
}

void fake_store_wrap(struct fake_store *f, sterna_store *store, int lists) {
    *f = (struct fake_store){.inner = store->backend, .catalog = store->catalog};
    f->ops = (struct stn_backend_ops){.source_open = source_open,
                                      .run_open = run_open,
                                      .run_commit = run_commit,
                                      .run_close = run_close,
                                      .list_samples = lists ? list_samples : NULL,
                                      .is_read_only = is_read_only,
                                      .close = close_fake};
    f->values_ops = (struct stn_values_ops){.expect = expect,
                                            .find = find,
                                            .put = put,
                                            .remove = erase,
                                            .commit = commit,
                                            .close = close_values};
    f->base.ops = &f->ops;
    store->backend = &f->base;
}
