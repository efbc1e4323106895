#include "modify.h"

#include <stdlib.h>
#include <string.h>

struct change { /* one statement under way */
    struct table *table;
    const struct statement *s;
    const struct bound *bound;
    struct scratch *scratch;
    struct failure *f;
    int64_t at_us;
    struct stn_cql_value *key; /* n_partition, then n_clustering */
    uint32_t n_key;            /* of them that are given */
};

static int undefined(const struct change *c, const char *column) {
    return refuse(c->f, STN_CQL_E_INVALID, "Undefined column name %s in table %s", column,
                  c->table->name);
}

int equal_value(const struct statement *s, const struct column *c, const struct bound *bound,
                struct scratch *scratch, struct stn_cql_value *out, struct failure *f) {
    for (size_t i = 0; i < s->n_where; i++) {
        const struct relation *r = &s->where[i];
        if (!r->column || r->op != OP_EQUAL || strcmp(r->column, c->name) != 0) continue;
        return term_value(&r->value, &c->type, bound, scratch, out, f) < 0 ? -1 : 1;
    }
    return 0;
}

static const struct term *assigned(const struct statement *s, const char *column) {
    for (size_t i = 0; i < s->n_assignments; i++)
        if (strcmp(s->assignments[i].column, column) == 0) return &s->assignments[i].value;
    return NULL;
}

/* 1, 0: not given, -1 */
static int key_value(const struct change *c, const struct column *column,
                     struct stn_cql_value *out) {
    if (c->s->kind != STATEMENT_INSERT)
        return equal_value(c->s, column, c->bound, c->scratch, out, c->f);
    const struct term *t = assigned(c->s, column->name);
    if (!t) return 0;
    return term_value(t, &column->type, c->bound, c->scratch, out, c->f) < 0 ? -1 : 1;
}

static int take_key(struct change *c) {
    uint32_t n = c->table->n_partition + c->table->n_clustering;
    c->key = scratch_take(c->scratch, n * sizeof *c->key);
    for (uint32_t i = 0; i < n; i++) {
        const struct column *column = &c->table->columns[i];
        int is_partition = i < c->table->n_partition, rc = key_value(c, column, &c->key[i]);
        if (rc < 0) return -1;
        if (rc == 0 && is_partition)
            return refuse(c->f, STN_CQL_E_INVALID, "Some partition key parts are missing: %s",
                          column->name);
        if (rc == 0 && c->s->kind == STATEMENT_DELETE && !c->s->n_assignments) break;
        if (rc == 0)
            return refuse(c->f, STN_CQL_E_INVALID, "Some clustering keys are missing: %s",
                          column->name);
        if (c->key[i].bytes < 0)
            return refuse(c->f, STN_CQL_E_INVALID, "Invalid null value in condition for column %s",
                          column->name);
        if (is_partition && c->key[i].bytes == 0 && c->table->n_partition == 1)
            return refuse(c->f, STN_CQL_E_INVALID, "Key may not be empty");
        c->n_key++;
    }
    return 0;
}

static int take_timestamp(struct change *c, int64_t now_us) {
    const struct type bigint = {.id = STN_CQL_BIGINT, .name = "bigint"};
    struct stn_cql_value v = stn_value_null();
    if (c->s->timestamp.kind &&
        term_value(&c->s->timestamp, &bigint, c->bound, c->scratch, &v, c->f) < 0)
        return -1;
    c->at_us = v.bytes == 8 ? stn_value_bigint(v) : now_us;
    return 0;
}

/* ---- IF ---- */

static int holds(const struct change *c, const struct relation *r, const struct partition *p,
                 const struct row *row) {
    const struct column *column = table_column(c->table, r->column);
    struct stn_cql_value wanted;
    if (!column) return undefined(c, r->column);
    if (term_value(&r->value, &column->type, c->bound, c->scratch, &wanted, c->f) < 0) return -1;
    struct stn_cql_value is = value_view(row ? row_value(column, p, row) : NULL);
    int order = type_compare(column->type.id, is, wanted);
    switch (r->op) {
    case OP_EQUAL:
        return order == 0;
    case OP_NOT_EQUAL:
        return order != 0;
    case OP_LESS:
        return is.bytes >= 0 && order < 0;
    case OP_LESS_EQUAL:
        return is.bytes >= 0 && order <= 0;
    case OP_MORE:
        return order > 0;
    case OP_MORE_EQUAL:
        return is.bytes >= 0 && order >= 0;
    default:
        return refuse(c->f, STN_CQL_E_INVALID, "IN is not served in conditions");
    }
}

static int check_conditions(struct change *c, struct modification *out) {
    struct partition *p = table_partition(c->table, c->key, 0);
    struct row *row = p ? partition_row(c->table, p, c->key + c->table->n_partition, 0) : NULL;
    if (row && !row_is_live(row)) row = NULL;
    out->conditional = c->s->if_exists || c->s->if_not_exists || c->s->n_conditions > 0;
    out->applied = (!c->s->if_exists || row) && (!c->s->if_not_exists || !row);
    for (size_t i = 0; out->applied && i < c->s->n_conditions; i++) {
        out->applied = holds(c, &c->s->conditions[i], p, row);
        if (out->applied < 0) return -1;
    }
    out->partition = row ? p : NULL;
    out->row = row;
    return 0;
}

/* ---- writes ---- */

static int write_cells(const struct change *c, const struct partition *p, struct row *row) {
    for (size_t i = 0; i < c->s->n_assignments; i++) {
        const struct assignment *a = &c->s->assignments[i];
        const struct column *column = table_column(c->table, a->column);
        struct stn_cql_value v = stn_value_null();
        if (column->kind != COLUMN_REGULAR) continue; /* of INSERT: the key */
        if (a->value.kind &&
            term_value(&a->value, &column->type, c->bound, c->scratch, &v, c->f) < 0)
            return -1;
        if (v.bytes == STN_CQL_UNSET) continue;
        struct value *value = v.bytes >= 0 ? value_new(v.data, (size_t)v.bytes) : NULL;
        row_write(c->table, p, row, column->place, value, c->at_us);
        value_unref(value);
    }
    return 0;
}

static int check_columns(const struct change *c) {
    for (size_t i = 0; i < c->s->n_assignments; i++) {
        const char *name = c->s->assignments[i].column;
        const struct column *column = table_column(c->table, name);
        if (!column) return undefined(c, name);
        if (column->kind != COLUMN_REGULAR && c->s->kind != STATEMENT_INSERT)
            return refuse(c->f, STN_CQL_E_INVALID, "PRIMARY KEY part %s found in SET part", name);
    }
    for (size_t i = 0; i < c->s->n_where; i++)
        if (c->s->where[i].column && !table_column(c->table, c->s->where[i].column))
            return undefined(c, c->s->where[i].column);
    return 0;
}

static int apply(struct change *c) {
    int deletes = c->s->kind == STATEMENT_DELETE && !c->s->n_assignments;
    uint32_t n_all = c->table->n_partition + c->table->n_clustering;
    if (deletes && c->n_key > c->table->n_partition && c->n_key < n_all)
        return refuse(c->f, STN_CQL_E_INVALID, "DELETE of a range of rows is not served here");
    struct partition *p = table_partition(c->table, c->key, 1);
    if (deletes && c->n_key == c->table->n_partition) {
        partition_delete(p, c->at_us);
        return 0;
    }
    struct row *row = partition_row(c->table, p, c->key + c->table->n_partition, 1);
    if (deletes) {
        row_delete(row, c->at_us);
        return 0;
    }
    if (c->s->kind == STATEMENT_INSERT) row_insert_marker(p, row, c->at_us);
    return write_cells(c, p, row);
}

int modify(struct table *t, const struct statement *s, const struct bound *bound, int64_t now_us,
           struct scratch *scratch, struct modification *out, struct failure *f) {
    struct change c = {.table = t, .s = s, .bound = bound, .scratch = scratch, .f = f};
    *out = (struct modification){.applied = 1};
    if (check_columns(&c) < 0 || take_key(&c) < 0 || take_timestamp(&c, now_us) < 0) return -1;
    if (check_conditions(&c, out) < 0) return -1;
    return out->applied ? apply(&c) : 0;
}
