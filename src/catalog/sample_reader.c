#include "catalog/sample_reader.h"

#include <string.h>

enum { AT_ID, AT_ROW, AT_LABEL, AT_LENGTHS };

static int name_columns(struct stn_sample_reader *r, const struct stn_snapshot *s,
                        const struct stn_query_spec *spec, struct sterna_error *err) {
    size_t n = AT_LENGTHS;
    r->columns[AT_ID] = STN_QUERY_ID;
    r->columns[AT_ROW] = STN_QUERY_ROW;
    r->columns[AT_LABEL] = "label";
    for (size_t i = 0; i < s->schema.n_columns; i++)
        if (s->schema.columns[i].kind == STN_COLUMN_FIELD)
            r->columns[n++] = s->schema.columns[i].name; /* in the order of the fields */
    for (size_t i = 0; i < spec->n_columns; i++) {
        int rc = stn_query_check_column(s, spec->columns[i], err);
        if (rc < 0) return rc;
        r->columns[n++] = spec->columns[i];
    }
    return STERNA_OK;
}

int stn_sample_reader_open(struct stn_sample_reader *r, const struct stn_snapshot *s,
                           const struct stn_query_spec *spec, struct sterna_error *err) {
    *r = (struct stn_sample_reader){.n_fields = (uint32_t)s->schema.n_fields,
                                    .n_columns = (uint32_t)spec->n_columns,
                                    .length_of_null = s->lengths_unknown ? STERNA_LENGTH_UNKNOWN
                                                                         : STERNA_LENGTH_NULL};
    struct stn_query_spec mine = *spec;
    mine.n_columns = AT_LENGTHS + s->schema.n_fields + spec->n_columns;
    r->columns = stn_array(mine.n_columns, sizeof *r->columns);
    r->lengths = stn_array(r->n_fields, sizeof *r->lengths);
    r->values = stn_array(r->n_columns, sizeof *r->values);
    int rc = STERNA_OK;
    if (!r->columns || !r->lengths || !r->values) rc = stn_fail_memory(err, "a selection");
    if (rc == STERNA_OK) rc = name_columns(r, s, spec, err);
    mine.columns = r->columns;
    if (rc == STERNA_OK) rc = stn_query_open(&r->query, s, &mine, err);
    if (rc < 0) stn_sample_reader_close(r);
    return rc;
}

void stn_sample_reader_close(struct stn_sample_reader *r) {
    stn_query_close(&r->query);
    free(r->columns);
    free(r->lengths);
    free(r->values);
    *r = (struct stn_sample_reader){0};
}

static int fail_damaged(const struct stn_sample_reader *r, const char *what,
                        struct sterna_error *err) {
    return stn_fail(err, STERNA_EFORMAT, "%s: damaged catalogue: %s", r->query.sql->path, what);
}

static int take_row(struct stn_sample_reader *r, struct sterna_error *err) {
    sqlite3_stmt *row = r->query.statement;
    const void *id = sqlite3_column_blob(row, AT_ID);
    if (!id || sqlite3_column_bytes(row, AT_ID) != 16)
        return fail_damaged(r, "an id is not 16 bytes", err);
    memcpy(r->id, id, 16);
    r->row = (uint64_t)sqlite3_column_int64(row, AT_ROW);
    r->label = sqlite3_column_type(row, AT_LABEL) == SQLITE_NULL
                   ? STERNA_LABEL_NONE
                   : sqlite3_column_int64(row, AT_LABEL);
    for (uint32_t i = 0; i < r->n_fields; i++) {
        int at = AT_LENGTHS + (int)i, null = sqlite3_column_type(row, at) == SQLITE_NULL;
        sqlite3_int64 bytes = sqlite3_column_int64(row, at);
        if (bytes < 0 || bytes >= STERNA_LENGTH_UNKNOWN)
            return fail_damaged(r, "a field's length is out of range", err);
        r->lengths[i] = null ? r->length_of_null : (uint32_t)bytes;
    }
    for (uint32_t i = 0; i < r->n_columns; i++)
        if (stn_sql_value(row, AT_LENGTHS + (int)(r->n_fields + i), &r->values[i]) < 0)
            return stn_fail_memory(err, "a selection");
    return 1;
}

int stn_sample_reader_next(struct stn_sample_reader *r, struct sterna_error *err) {
    int rc = stn_query_step(&r->query, err);
    return rc > 0 ? take_row(r, err) : rc;
}

int stn_sample_reader_add_to(const struct stn_sample_reader *r, struct stn_selection_builder *b,
                             struct sterna_error *err) {
    return stn_selection_builder_add(b, r->id, r->lengths, r->label, r->values, err);
}
