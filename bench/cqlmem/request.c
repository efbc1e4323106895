#include "request.h"

#include "modify.h"

static const struct type boolean_type = {.id = STN_CQL_BOOLEAN, .name = "boolean"};

static void answer_change(struct output *o, const struct schema_change *c) {
    if (!*c->change) {
        output_u32(o, STN_CQL_VOID);
        return;
    }
    output_u32(o, STN_CQL_SCHEMA_CHANGE);
    output_string(o, c->change);
    output_string(o, c->target);
    output_string(o, c->keyspace);
    if (strcmp(c->target, "TABLE") == 0) output_string(o, c->table);
}

static int define(struct request *r, struct failure *f) {
    struct schema_change change;
    const char *keyspace = request_keyspace(r);
    if (keyspace && strncmp(keyspace, "system", 6) == 0)
        return refuse(f, STN_CQL_E_UNAUTHORIZED, "%s keyspace is not user-modifiable.", keyspace);
    if (schema_define(&r->store->schema, r->statement, r->keyspace, &change, f) < 0) return -1;
    if (strcmp(change.change, "CREATED") != 0 && *change.change)
        store_forget_prepared(r->store, change.keyspace, change.table);
    answer_change(r->out, &change);
    return 0;
}

/* The row [applied], and what stood in the way: all of it, or the columns of the conditions. */
static void answer_condition(struct request *r, const struct table *t,
                             const struct modification *m) {
    const struct statement *s = r->statement;
    size_t n = 1, most = 1 + (m->row ? t->n_columns : 0);
    struct answer_column *columns = scratch_take(r->scratch, most * sizeof *columns);
    columns[0] = (struct answer_column){"[applied]", boolean_type, SELECT_COLUMN, NULL};
    for (size_t i = 0; !m->applied && m->row && i < t->n_columns; i++) {
        const struct column *c = &t->columns[i];
        int is_shown = s->if_not_exists;
        for (size_t k = 0; k < s->n_conditions; k++)
            is_shown |= strcmp(s->conditions[k].column, c->name) == 0;
        if (is_shown) columns[n++] = (struct answer_column){c->name, c->type, SELECT_COLUMN, c};
    }
    output_u32(r->out, STN_CQL_ROWS);
    answer_metadata(r->out, r, t->name, columns, n, 0, (struct stn_cql_value){NULL, 0});
    output_u32(r->out, 1);
    output_u32(r->out, 1);
    output_u8(r->out, (uint8_t)m->applied);
    for (size_t i = 1; i < n; i++)
        output_value(r->out, row_value(columns[i].column, m->partition, m->row));
}

static int run_modify(struct request *r, struct table *t, struct failure *f) {
    struct modification m;
    if (modify(t, r->statement, &r->bound, r->now_us, r->scratch, &m, f) < 0) return -1;
    if (m.conditional)
        answer_condition(r, t, &m);
    else
        output_u32(r->out, STN_CQL_VOID);
    return 0;
}

static int use(struct request *r, struct failure *f) {
    const char *keyspace = r->statement->keyspace;
    system_refresh(r->store, r->node);
    if (!schema_keyspace(&r->store->schema, keyspace) &&
        !schema_keyspace(&r->node->system, keyspace))
        return refuse(f, STN_CQL_E_INVALID, "Keyspace '%s' does not exist", keyspace);
    output_u32(r->out, STN_CQL_SET_KEYSPACE);
    output_string(r->out, keyspace);
    return 0;
}

int request_run(struct request *r, struct failure *f) {
    const struct statement *s = r->statement;
    if (s->kind == STATEMENT_USE) return use(r, f);
    if (s->kind < STATEMENT_TRUNCATE) return define(r, f);
    const char *keyspace = request_keyspace(r);
    struct table *t = store_table(r->store, r->node, keyspace, s->table, f);
    if (!t) return -1;
    if (r->bound.n < s->n_markers)
        return refuse(f, STN_CQL_E_INVALID, "Invalid amount of bind variables");
    if (s->kind == STATEMENT_SELECT) return select_run(r, t, f);
    if (strncmp(keyspace, "system", 6) == 0)
        return refuse(f, STN_CQL_E_UNAUTHORIZED, "%s keyspace is not user-modifiable.", keyspace);
    if (s->kind != STATEMENT_TRUNCATE) return run_modify(r, t, f);
    table_truncate(t);
    output_u32(r->out, STN_CQL_VOID);
    return 0;
}
