/* Owns RESULT: lists of columns and what stands before the first value. All that is counted is held
 * against the bytes that are left, so that no number of a server's makes us loop or reserve. */
#include "wire/message.h"

enum { NESTING_MAX = 16 };
enum { METADATA_CHANGED = 8 }; /* version 5's; brings a field that version 4 has no place for */

static void mark_malformed(struct stn_cursor *c) {
    c->overrun = 1;
    c->left = 0;
}

/* ---- types ---- */

static void skip_type(struct stn_cursor *c, unsigned depth);

static void skip_fields(struct stn_cursor *c, unsigned depth, int with_names) {
    unsigned n = stn_get_be16(c);
    for (unsigned i = 0; i < n && !c->overrun; i++) {
        if (with_names) (void)stn_get_string(c);
        skip_type(c, depth);
    }
}

/* What stands behind the number of a type. */
static void skip_type_details(struct stn_cursor *c, uint16_t type, unsigned depth) {
    switch (type) {
    case STN_CQL_CUSTOM:
        (void)stn_get_string(c);
        break;
    case STN_CQL_MAP:
        skip_type(c, depth + 1); /* fall through */
    case STN_CQL_LIST:
    case STN_CQL_SET:
        skip_type(c, depth + 1);
        break;
    case STN_CQL_UDT:
        (void)stn_get_string(c); /* keyspace */
        (void)stn_get_string(c); /* name */
        skip_fields(c, depth + 1, 1);
        break;
    case STN_CQL_TUPLE:
        skip_fields(c, depth + 1, 0);
        break;
    default:
        break;
    }
}

static void skip_type(struct stn_cursor *c, unsigned depth) {
    if (depth >= NESTING_MAX) mark_malformed(c);
    if (!c->overrun) skip_type_details(c, stn_get_be16(c), depth);
}

/* ---- columns ---- */

static void get_column(struct stn_cursor *c, const struct stn_cql_metadata *m,
                       struct stn_cql_column *out) {
    int global = (m->flags & STN_CQL_GLOBAL_SPEC) != 0;
    *out = (struct stn_cql_column){0};
    out->keyspace = global ? m->keyspace : stn_get_string(c);
    out->table = global ? m->table : stn_get_string(c);
    out->name = stn_get_string(c);
    out->type = stn_get_be16(c);
    struct stn_cursor details = *c;
    skip_type_details(c, out->type, 0);
    if (out->type == STN_CQL_CUSTOM) out->custom = stn_get_string(&details);
}

int stn_cql_column_next(struct stn_cql_metadata *m, struct stn_cql_column *out) {
    *out = (struct stn_cql_column){0};
    if (m->columns.left == 0) return 0;
    get_column(&m->columns, m, out);
    return !m->columns.overrun;
}

static struct stn_cursor between(const uint8_t *from, const struct stn_cursor *to) {
    return stn_cursor(from, to->overrun ? 0 : (size_t)(to->at - from));
}

/* Columns of the partition key, as numbers of bind variables. */
static void get_key(struct stn_cursor *c, struct stn_cql_metadata *out) {
    out->n_key = stn_get_be32(c);
    if (out->n_key > c->left / 2) {
        mark_malformed(c);
        return;
    }
    const uint8_t *from = c->at;
    for (uint32_t i = 0; i < out->n_key; i++)
        if (stn_get_be16(c) >= out->n_columns) mark_malformed(c);
    out->key = between(from, c);
}

static void get_columns(struct stn_cursor *c, struct stn_cql_metadata *out) {
    enum { SPEC_BYTES_MIN = 4 };
    struct stn_cql_column column;
    if (out->flags & STN_CQL_GLOBAL_SPEC) {
        out->keyspace = stn_get_string(c);
        out->table = stn_get_string(c);
    }
    if (out->n_columns > c->left / SPEC_BYTES_MIN) mark_malformed(c);
    const uint8_t *from = c->at;
    for (uint32_t i = 0; i < out->n_columns && !c->overrun; i++) get_column(c, out, &column);
    out->columns = between(from, c);
}

int stn_cql_metadata_parse(struct stn_cursor *c, int of_prepared, struct stn_cql_metadata *out) {
    *out = (struct stn_cql_metadata){.paging_state = stn_value_null()};
    out->flags = stn_get_be32(c);
    out->n_columns = stn_get_be32(c);
    if (out->flags & METADATA_CHANGED || out->n_columns > INT32_MAX) mark_malformed(c);
    if (of_prepared) get_key(c, out);
    if (!of_prepared && (out->flags & STN_CQL_MORE_PAGES)) {
        out->paging_state = stn_get_value(c);
        if (!out->paging_state.data) mark_malformed(c); /* more, but nowhere: rows would be lost */
    }
    if (!(out->flags & STN_CQL_NO_METADATA)) get_columns(c, out);
    if (!c->overrun) return STERNA_OK;
    *out = (struct stn_cql_metadata){.paging_state = stn_value_null()};
    return STERNA_EPROTO;
}

/* ---- RESULT ---- */

static int get_rows(struct stn_cursor *c, struct stn_cql_result_head *out) {
    enum { VALUE_BYTES_MIN = 4 };
    int rc = stn_cql_metadata_parse(c, 0, &out->rows);
    if (rc < 0) return rc;
    out->n_rows = stn_get_be32(c);
    if (c->overrun || out->n_rows > INT32_MAX) return STERNA_EPROTO;
    if (out->n_rows && out->rows.n_columns == 0) return STERNA_EPROTO; /* rows of nothing */
    uint64_t n_values = (uint64_t)out->n_rows * out->rows.n_columns;
    return n_values <= c->left / VALUE_BYTES_MIN ? STERNA_OK : STERNA_EPROTO;
}

static int get_prepared(struct stn_cursor *c, struct stn_cql_result_head *out) {
    out->id = stn_get_short_bytes(c);
    int rc = stn_cql_metadata_parse(c, 1, &out->params);
    return rc < 0 ? rc : stn_cql_metadata_parse(c, 0, &out->columns);
}

static int get_kind(struct stn_cursor *c, struct stn_cql_result_head *out) {
    switch (out->kind) {
    case STN_CQL_VOID:
    case STN_CQL_SCHEMA_CHANGE:
        return STERNA_OK;
    case STN_CQL_ROWS:
        return get_rows(c, out);
    case STN_CQL_SET_KEYSPACE:
        out->keyspace = stn_get_string(c);
        return STERNA_OK;
    case STN_CQL_PREPARED:
        return get_prepared(c, out);
    default:
        return STERNA_EPROTO;
    }
}

int stn_cql_result_parse(struct stn_cursor *c, struct stn_cql_result_head *out) {
    *out = (struct stn_cql_result_head){.kind = stn_get_be32(c)};
    int rc = get_kind(c, out);
    if (rc == STERNA_OK && c->overrun) rc = STERNA_EPROTO;
    if (rc < 0) *out = (struct stn_cql_result_head){0};
    return rc;
}
