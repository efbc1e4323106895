/* The embedded store's writer as the table that ingest knows. */
#include "source/lmdb.h"

struct lmdb_values {
    struct stn_values base;
    struct stn_lmdb_writer *writer;
};

static struct stn_lmdb_writer *writer(struct stn_values *v) {
    return ((struct lmdb_values *)v)->writer;
}

static int find(struct stn_values *v, const uint8_t id[16], uint8_t field,
                struct stn_value_header *out, struct sterna_error *err) {
    return stn_lmdb_writer_find(writer(v), id, field, out, err);
}

static int put(struct stn_values *v, const uint8_t id[16], uint8_t field, const void *data,
               size_t bytes, uint32_t crc, struct sterna_error *err) {
    return stn_lmdb_writer_put(writer(v), id, field, data, bytes, crc, err);
}

static int erase(struct stn_values *v, const uint8_t id[16], uint8_t field,
                 struct sterna_error *err) {
    return stn_lmdb_writer_remove(writer(v), id, field, err);
}

static int commit(struct stn_values *v, struct sterna_error *err) {
    return stn_lmdb_writer_commit(writer(v), err);
}

static void close_values(struct stn_values *v) {
    struct lmdb_values *gone = (struct lmdb_values *)v;
    stn_lmdb_writer_close(&gone->writer);
    free(gone);
}

int stn_lmdb_values_open(struct stn_values **out, struct stn_lmdb *db, struct sterna_error *err) {
    static const struct stn_values_ops ops = {
        .find = find, .put = put, .remove = erase, .commit = commit, .close = close_values};
    *out = NULL;
    struct lmdb_values *v = stn_array(1, sizeof *v);
    if (!v) return stn_fail_memory(err, "a writer");
    int rc = stn_lmdb_writer_open(&v->writer, db, err);
    if (rc < 0) {
        free(v);
        return rc;
    }
    v->base.ops = &ops;
    *out = &v->base;
    return STERNA_OK;
}

/* ---- headers ---- */

struct lmdb_headers {
    struct stn_values base;
    struct stn_lmdb *db; /* the opener's, which outlives it */
};

static int find_header(struct stn_values *v, const uint8_t id[16], uint8_t field,
                       struct stn_value_header *out, struct sterna_error *err) {
    return stn_lmdb_header(((struct lmdb_headers *)v)->db, id, field, out, err);
}

static void close_headers(struct stn_values *v) { free(v); }

int stn_lmdb_headers_open(struct stn_values **out, struct stn_lmdb *db, struct sterna_error *err) {
    static const struct stn_values_ops ops = {.find = find_header, .close = close_headers};
    struct lmdb_headers *h = stn_array(1, sizeof *h);
    *out = NULL;
    if (!h) return stn_fail_memory(err, "the values of a store");
    *h = (struct lmdb_headers){{&ops}, db};
    *out = &h->base;
    return STERNA_OK;
}
