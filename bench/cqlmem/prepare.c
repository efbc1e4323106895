#include "prepare.h"

#include <stdlib.h>

#include "wire/token.h"

struct params { /* bind variables of a statement */
    const struct statement *s;
    const struct table *table;
    struct answer_column *at; /* n_markers */
};

static const struct type bigint_type = {.id = STN_CQL_BIGINT, .name = "bigint"};
static const struct type int_type = {.id = STN_CQL_INT, .name = "int"};

static void take_param(const struct params *p, const struct term *t, const char *name,
                       const struct type *type) {
    if (t->kind == TERM_MARKER) {
        p->at[t->marker] = (struct answer_column){.name = name, .type = *type};
    } else if (t->kind == TERM_ITEMS) {
        for (size_t i = 0; i < t->n_items; i++) {
            struct type item = *type;
            if (type->items[0])
                item = (struct type){.id = type->items[type->id == STN_CQL_MAP ? i % 2 : 0]};
            take_param(p, &t->items[i], name, &item);
        }
    }
}

static int take_column(const struct params *p, const char *column, const struct term *t,
                       struct failure *f) {
    const struct column *c = table_column(p->table, column);
    if (!c)
        return refuse(f, STN_CQL_E_INVALID, "Undefined column name %s in table %s", column,
                      p->table->name);
    take_param(p, t, c->name, &c->type);
    return 0;
}

static int take_relations(const struct params *p, const struct relation *relations, size_t n,
                          struct failure *f) {
    for (size_t i = 0; i < n; i++) {
        const struct relation *r = &relations[i];
        const struct column *c = r->column ? table_column(p->table, r->column) : NULL;
        if (!r->column) {
            take_param(p, &r->value, "partition key token", &bigint_type);
        } else if (c && r->op == OP_IN && r->value.kind == TERM_MARKER) {
            struct type list;
            type_of_items(STN_CQL_LIST, &c->type, NULL, &list);
            take_param(p, &r->value, "in", &list);
        } else if (take_column(p, r->column, &r->value, f) < 0) {
            return -1;
        }
    }
    return 0;
}

static int take_params(const struct params *p, struct failure *f) {
    const struct statement *s = p->s;
    for (size_t i = 0; i < s->n_assignments; i++)
        if (take_column(p, s->assignments[i].column, &s->assignments[i].value, f) < 0) return -1;
    if (take_relations(p, s->where, s->n_where, f) < 0) return -1;
    if (take_relations(p, s->conditions, s->n_conditions, f) < 0) return -1;
    take_param(p, &s->timestamp, "[timestamp]", &bigint_type);
    take_param(p, &s->ttl, "[ttl]", &int_type);
    take_param(p, &s->limit, "[limit]", &int_type);
    return 0;
}

/* Bind variable that gives a column of the partition key, or -1. */
static int key_marker(const struct params *p, const struct column *c) {
    const struct statement *s = p->s;
    for (size_t i = 0; s->kind == STATEMENT_INSERT && i < s->n_assignments; i++)
        if (strcmp(s->assignments[i].column, c->name) == 0 &&
            s->assignments[i].value.kind == TERM_MARKER)
            return (int)s->assignments[i].value.marker;
    for (size_t i = 0; i < s->n_where; i++)
        if (s->where[i].column && strcmp(s->where[i].column, c->name) == 0 &&
            s->where[i].op == OP_EQUAL && s->where[i].value.kind == TERM_MARKER)
            return (int)s->where[i].value.marker;
    return -1;
}

static void answer_params(struct request *r, const struct params *p) {
    struct output *o = r->out;
    uint32_t n = p->s->n_markers, n_key = p->table ? p->table->n_partition : 0;
    for (uint32_t i = 0; p->table && i < p->table->n_partition; i++)
        if (key_marker(p, &p->table->columns[i]) < 0) n_key = 0;
    output_u32(o, n ? 1 : 0);
    output_u32(o, n);
    output_u32(o, n_key);
    for (uint32_t i = 0; i < n_key; i++)
        output_u16(o, (uint16_t)key_marker(p, &p->table->columns[i]));
    if (!n) return;
    output_string(o, request_keyspace(r));
    output_string(o, p->s->table);
    for (uint32_t i = 0; i < n; i++) {
        output_string(o, p->at[i].name ? p->at[i].name : "");
        answer_type(o, &p->at[i].type);
    }
}

static int answer(struct request *r, const struct prepared *p, struct failure *f) {
    const struct statement *s = r->statement;
    struct params params = {.s = s};
    struct answer_column *columns = NULL;
    size_t n = 0;
    if (s->kind >= STATEMENT_INSERT || s->kind == STATEMENT_TRUNCATE) {
        params.table = store_table(r->store, r->node, request_keyspace(r), s->table, f);
        if (!params.table) return -1;
    }
    params.at = scratch_take(r->scratch, s->n_markers * sizeof *params.at);
    if (params.table && take_params(&params, f) < 0) return -1;
    if (s->kind == STATEMENT_SELECT &&
        select_columns(s, params.table, r->scratch, &columns, &n, f) < 0)
        return -1;
    output_u32(r->out, STN_CQL_PREPARED);
    output_u16(r->out, sizeof p->id);
    output_bytes(r->out, p->id, sizeof p->id);
    answer_params(r, &params);
    answer_metadata(r->out, r, s->table, columns, n, s->kind != STATEMENT_SELECT,
                    (struct stn_cql_value){NULL, 0});
    return 0;
}

/* Of keyspace and text, as in Cassandra: the same text has the same id on all nodes. */
static void make_id(const char *keyspace, const char *text, size_t bytes, uint8_t id[16]) {
    size_t n = strlen(keyspace);
    char *joined = must(malloc(n + bytes + 2));
    memcpy(joined + 1, keyspace, n);
    memcpy(joined + 1 + n, text, bytes);
    for (int half = 0; half < 2; half++) {
        joined[0] = (char)half;
        struct stn_writer w = {id + 8 * half, 8, 0};
        stn_put_be64(&w, (uint64_t)stn_token(joined, n + bytes + 1));
    }
    free(joined);
}

const struct prepared *prepare_find(const struct node *node, const void *id, size_t bytes) {
    if (bytes != 16) return NULL;
    const struct prepared *p = node->prepared[*(const uint8_t *)id];
    while (p && memcmp(p->id, id, bytes) != 0) p = p->next;
    return p;
}

int prepare_run(struct request *r, const char *text, size_t bytes, struct failure *f) {
    struct prepared *p = must(calloc(1, sizeof *p));
    int rc = statement_parse(&p->statement, text, bytes, f);
    if (rc == 0) {
        r->statement = &p->statement;
        const char *keyspace = request_keyspace(r);
        p->keyspace = scratch_text(&p->statement.memory, keyspace ? keyspace : "",
                                   keyspace ? strlen(keyspace) : 0);
        p->statement.keyspace = keyspace ? p->keyspace : NULL; /* wherever it is carried out */
        make_id(p->keyspace, text, bytes, p->id);
        rc = answer(r, p, f);
    }
    if (rc == 0 && !prepare_find(r->node, p->id, sizeof p->id)) {
        p->next = r->node->prepared[p->id[0]];
        r->node->prepared[p->id[0]] = p;
    } else {
        statement_free(&p->statement);
        free(p);
    }
    return rc;
}
