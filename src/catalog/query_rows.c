/* sterna_query over a catalogue: rows of chosen columns, handed to the caller one by one. */
#include "catalog/catalog.h"
#include "catalog/handle.h"
#include "catalog/query.h"

struct rows {
    struct stn_snapshot snapshot;
    struct stn_query query;
    const char **names;
    struct sterna_value *values;
    size_t n;
    uint64_t as_of_run;
};

static int choose_columns(struct rows *r, const struct sterna_query_options *o,
                          struct sterna_error *err) {
    const struct stn_schema *schema = &r->snapshot.schema;
    int all = !o->columns || o->n_columns == 0;
    r->n = all ? schema->n_columns : o->n_columns;
    r->names = stn_array(r->n, sizeof *r->names);
    r->values = stn_array(r->n, sizeof *r->values);
    if (!r->names || !r->values) return stn_fail_memory(err, "a query");
    int rc = STERNA_OK;
    for (size_t i = 0; i < r->n && rc == STERNA_OK; i++) {
        r->names[i] = all ? schema->columns[i].name : o->columns[i];
        rc = all ? STERNA_OK : stn_query_check_column(&r->snapshot, r->names[i], err);
    }
    return rc;
}

static int rows_open(struct rows *r, struct stn_catalog *c, const struct sterna_query_options *o,
                     struct sterna_error *err) {
    if (o->where && o->ids)
        return stn_fail(err, STERNA_EINVAL, "a query is by `where` or by `ids`, not both");
    int rc = stn_catalog_snapshot(c, &r->snapshot, err);
    if (rc == STERNA_OK) rc = stn_query_as_of(&r->snapshot, o->as_of_run, &r->as_of_run, err);
    if (rc == STERNA_OK) rc = choose_columns(r, o, err);
    const struct stn_query_spec spec = {.where = o->where,
                                        .columns = r->names,
                                        .n_columns = r->n,
                                        .as_of_run = r->as_of_run,
                                        .time_limit_ms = o->time_limit_ms,
                                        .by_id = o->ids != NULL};
    return rc < 0 ? rc : stn_query_open(&r->query, &r->snapshot, &spec, err);
}

static void rows_close(struct rows *r) {
    stn_query_close(&r->query);
    stn_snapshot_close(&r->snapshot);
    free(r->names);
    free(r->values);
}

typedef int (*row_fn)(void *, const char *const *, const struct sterna_value *, size_t);

static int hand_over(struct rows *r, row_fn row, void *ctx, struct sterna_error *err) {
    for (size_t i = 0; i < r->n; i++)
        if (stn_sql_value(r->query.statement, (int)i, &r->values[i]) < 0)
            return stn_fail_memory(err, "a query");
    return row(ctx, r->names, r->values, r->n);
}

int stn_catalog_query(struct stn_catalog *c, const struct sterna_query_options *options, row_fn row,
                      void *ctx, struct sterna_error *err) {
    static const struct sterna_query_options all = {.struct_size = sizeof all};
    const struct sterna_query_options *o = options ? options : &all;
    struct rows r = {.n = 0};
    int rc = stn_query_check_options(o->struct_size, sizeof *o, "query", err);
    if (rc == STERNA_OK) rc = rows_open(&r, c, o, err);
    if (o->ids) {
        for (size_t i = 0; i < o->n_ids && rc == STERNA_OK; i++) {
            stn_query_seek(&r.query, o->ids[i]);
            rc = stn_query_step(&r.query, err);
            if (rc > 0)
                rc = hand_over(&r, row, ctx, err);
            else if (rc == 0)
                rc = stn_query_fail_unknown(&r.query, o->ids[i], r.as_of_run, err);
        }
    } else {
        while (rc == STERNA_OK && (rc = stn_query_step(&r.query, err)) > 0)
            rc = hand_over(&r, row, ctx, err);
    }
    rows_close(&r);
    return rc;
}
