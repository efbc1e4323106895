/* SELECT: finds rows, page by page, and writes them. */
#include <stdlib.h>
#include <time.h>

#include "modify.h"
#include "request.h"

struct hit {
    const struct partition *partition;
    const struct row *row;
};

struct search {
    struct request *r;
    struct table *table;
    const struct statement *s;
    struct failure *f;
    struct stn_cql_value *wanted; /* values of s->where */
    int whole_key;                /* all columns of the partition key are given */
    struct stn_cql_value *key;
    int64_t above, to; /* tokens (above, to]; the lowest one is no key's */
    /* where the last page ended; has_last 0: this is the first one */
    int has_last;
    int64_t last_token;
    struct stn_cql_value last_key, *last_clustering;
    int64_t left; /* of LIMIT; INT64_MAX: no limit */
    /* found */
    struct hit *hits;
    size_t n_hits, hits_cap, page_rows;
    int more;
};

static const struct type bigint_type = {.id = STN_CQL_BIGINT, .name = "bigint"};
static const struct type int_type = {.id = STN_CQL_INT, .name = "int"};
static const struct type timestamp_type = {.id = STN_CQL_TIMESTAMP, .name = "timestamp"};

/* ---- what is asked for ---- */

static int take_selector(const struct selector *sel, const struct table *t,
                         struct answer_column *out, struct failure *f) {
    *out = (struct answer_column){.name = sel->name, .kind = sel->kind, .type = bigint_type};
    if (sel->kind == SELECT_NOW) out->type = timestamp_type;
    if (sel->kind == SELECT_NOW || sel->kind == SELECT_COUNT) return 0;
    out->column = table_column(t, sel->column);
    if (!out->column)
        return refuse(f, STN_CQL_E_INVALID, "Undefined column name %s in table %s", sel->column,
                      t->name);
    if (sel->kind == SELECT_COLUMN) out->type = out->column->type;
    return 0;
}

int select_columns(const struct statement *s, const struct table *t, struct scratch *scratch,
                   struct answer_column **out, size_t *n, struct failure *f) {
    *n = s->everything ? t->n_columns : s->n_selectors;
    *out = scratch_take(scratch, *n * sizeof **out);
    for (size_t i = 0; i < *n; i++) {
        if (!s->everything) {
            if (take_selector(&s->selectors[i], t, &(*out)[i], f) < 0) return -1;
        } else {
            const struct column *c = &t->columns[i];
            (*out)[i] = (struct answer_column){c->name, c->type, SELECT_COLUMN, c};
        }
    }
    return 0;
}

static int take_token_bound(struct search *q, const struct relation *r, struct stn_cql_value v) {
    if (v.bytes != 8) return refuse(q->f, STN_CQL_E_INVALID, "Invalid null value for token()");
    int64_t token = stn_value_bigint(v);
    int is_lower = r->op == OP_MORE || r->op == OP_MORE_EQUAL || r->op == OP_EQUAL;
    int is_upper = r->op == OP_LESS || r->op == OP_LESS_EQUAL || r->op == OP_EQUAL;
    if (is_lower) {
        q->above = r->op == OP_MORE || token == INT64_MIN ? token : token - 1;
    }
    if (is_upper) {
        if (r->op == OP_LESS && token == INT64_MIN) q->left = 0;
        q->to = r->op == OP_LESS && token > INT64_MIN ? token - 1 : token;
        /* Cassandra takes the lowest token as an upper bound for the ring's end. */
        if (r->op == OP_LESS_EQUAL && token == INT64_MIN) q->to = INT64_MAX;
    }
    return 0;
}

static int filtering(struct search *q) {
    return refuse(q->f, STN_CQL_E_INVALID,
                  "Cannot execute this query as it might involve data filtering and thus may have "
                  "unpredictable performance. If you want to execute this query despite the "
                  "performance unpredictability, use ALLOW FILTERING");
}

static int take_relations(struct search *q) {
    q->wanted = scratch_take(q->r->scratch, q->s->n_where * sizeof *q->wanted);
    for (size_t i = 0; i < q->s->n_where; i++) {
        const struct relation *r = &q->s->where[i];
        const struct column *c = r->column ? table_column(q->table, r->column) : NULL;
        if (r->column && !c)
            return refuse(q->f, STN_CQL_E_INVALID, "Undefined column name %s in table %s",
                          r->column, q->table->name);
        int is_list = r->op == OP_IN && r->value.kind == TERM_ITEMS;
        struct type type = c ? c->type : bigint_type;
        if (r->op == OP_IN) type_of_items(STN_CQL_LIST, &type, NULL, &type);
        if (term_value(&r->value, &type, &q->r->bound, q->r->scratch, &q->wanted[i], q->f) < 0)
            return -1;
        if (!c && take_token_bound(q, r, q->wanted[i]) < 0) return -1;
        if (q->wanted[i].bytes < 0 && !is_list)
            return refuse(q->f, STN_CQL_E_INVALID, "Invalid null value in condition for column %s",
                          c->name);
        if (c && !q->s->allow_filtering &&
            (c->kind == COLUMN_REGULAR || (c->kind == COLUMN_CLUSTERING && !q->whole_key)))
            return filtering(q);
    }
    return 0;
}

static int take_key(struct search *q) {
    uint32_t n = q->table->n_partition, given = 0;
    q->key = scratch_take(q->r->scratch, n * sizeof *q->key);
    for (uint32_t i = 0; i < n; i++) {
        int rc =
            equal_value(q->s, &q->table->columns[i], &q->r->bound, q->r->scratch, &q->key[i], q->f);
        if (rc < 0) return -1;
        given += (uint32_t)rc;
    }
    q->whole_key = given == n;
    if (given && given < n && !q->s->allow_filtering) return filtering(q);
    return 0;
}

static int take_limit(struct search *q) {
    struct stn_cql_value v;
    q->left = INT64_MAX;
    if (!q->s->limit.kind) return 0;
    if (term_value(&q->s->limit, &int_type, &q->r->bound, q->r->scratch, &v, q->f) < 0) return -1;
    if (v.bytes == STN_CQL_UNSET) return 0;
    q->left = stn_value_int(v);
    return q->left > 0 ? 0 : refuse(q->f, STN_CQL_E_INVALID, "LIMIT must be strictly positive");
}

/* ---- paging state: rows left, token, key, clustering values of the last row ---- */

static int take_state(struct search *q) {
    struct stn_cql_value state = q->r->paging_state;
    if (!state.data) return 0;
    struct stn_cursor c = stn_cursor(state.data, (size_t)STN_MAX(state.bytes, 0));
    q->left = (int64_t)stn_get_be64(&c);
    q->last_token = (int64_t)stn_get_be64(&c);
    q->last_key = stn_get_value(&c);
    q->last_clustering = scratch_take(q->r->scratch, q->table->n_clustering * sizeof *q->key);
    for (uint32_t i = 0; i < q->table->n_clustering; i++) q->last_clustering[i] = stn_get_value(&c);
    q->has_last = 1;
    return c.overrun || c.left
               ? refuse(q->f, STN_CQL_E_PROTOCOL, "Invalid value for the paging state")
               : 0;
}

static struct stn_cql_value make_state(const struct search *q) {
    const struct hit *last = &q->hits[q->n_hits - 1];
    struct stn_writer w = {NULL, 0, 0};
    for (int pass = 0; pass < 2; pass++) {
        size_t bytes = w.used;
        if (pass) w = (struct stn_writer){scratch_take(q->r->scratch, bytes), bytes, 0};
        stn_put_be64(&w, (uint64_t)q->left);
        stn_put_be64(&w, (uint64_t)last->partition->token);
        stn_put_value(&w, value_view(last->partition->key));
        for (uint32_t i = 0; i < q->table->n_clustering; i++)
            stn_put_value(&w, value_view(last->row->clustering[i]));
    }
    return stn_value_of(w.to, w.used);
}

/* ---- search ---- */

static int is_in(const struct column *c, struct stn_cql_value is, struct stn_cql_value list) {
    struct stn_cursor at = stn_cursor(list.data, (size_t)STN_MAX(list.bytes, 0));
    uint32_t n = stn_get_be32(&at);
    for (uint32_t i = 0; i < n && !at.overrun; i++)
        if (type_compare(c->type.id, is, stn_get_value(&at)) == 0) return 1;
    return 0;
}

static int matches(const struct search *q, const struct partition *p, const struct row *row) {
    for (size_t i = 0; i < q->s->n_where; i++) {
        const struct relation *r = &q->s->where[i];
        if (!r->column) continue;
        const struct column *c = table_column(q->table, r->column);
        if (q->whole_key && c->kind == COLUMN_PARTITION) continue;
        struct stn_cql_value is = value_view(row_value(c, p, row));
        int order = is.bytes < 0 || r->op == OP_IN ? 0 : type_compare(c->type.id, is, q->wanted[i]);
        int holds =
            is.bytes >= 0 &&
            ((r->op == OP_EQUAL && order == 0) || (r->op == OP_LESS && order < 0) ||
             (r->op == OP_LESS_EQUAL && order <= 0) || (r->op == OP_MORE && order > 0) ||
             (r->op == OP_MORE_EQUAL && order >= 0) || (r->op == OP_NOT_EQUAL && order != 0) ||
             (r->op == OP_IN && is_in(c, is, q->wanted[i])));
        if (!holds) return 0;
    }
    return 1;
}

/* 0: the page is full, and there is more. */
static int add_hit(struct search *q, const struct partition *p, const struct row *row) {
    if (q->n_hits == q->page_rows) {
        q->more = 1;
        return 0;
    }
    grow(&q->hits, &q->hits_cap, q->n_hits + 1, sizeof *q->hits);
    q->hits[q->n_hits++] = (struct hit){p, row};
    return 1;
}

static int search_partition(struct search *q, const struct partition *p) {
    size_t i = 0;
    int found;
    if (q->has_last && p->token == q->last_token &&
        type_compare(STN_CQL_BLOB, value_view(p->key), q->last_key) == 0) {
        i = partition_lower(q->table, p, q->last_clustering, &found);
        i = q->s->distinct ? p->n_rows : i + (size_t)found;
    }
    for (; i < p->n_rows && (int64_t)q->n_hits < q->left; i++) {
        const struct row *row = p->rows[i];
        if (!row_is_live(row) || !matches(q, p, row)) continue;
        if (!add_hit(q, p, row)) return 0;
        if (q->s->distinct) break;
    }
    return (int64_t)q->n_hits < q->left;
}

static void search_ring(struct search *q) {
    struct partition **sorted = table_sorted(q->table);
    size_t i = 0;
    if (q->has_last)
        i = table_lower(q->table, q->last_token, q->last_key);
    else if (q->above == INT64_MAX)
        return;
    else if (q->above > INT64_MIN)
        i = table_lower(q->table, q->above + 1, stn_value_null());
    for (; i < q->table->n_partitions && sorted[i]->token <= q->to; i++)
        if (!search_partition(q, sorted[i])) return;
}

static void search(struct search *q) {
    int counts = q->s->n_selectors == 1 && q->s->selectors[0].kind == SELECT_COUNT;
    q->page_rows = q->r->page_size > 0 && !counts ? (size_t)q->r->page_size : SIZE_MAX;
    if (!q->whole_key) {
        search_ring(q);
        return;
    }
    struct partition *p = table_partition(q->table, q->key, 0);
    if (p && p->token > q->above && p->token <= q->to) search_partition(q, p);
}

/* ---- answer ---- */

void answer_type(struct output *o, const struct type *t) {
    output_u16(o, t->id);
    if (t->id == STN_CQL_LIST || t->id == STN_CQL_SET || t->id == STN_CQL_MAP)
        output_u16(o, t->items[0]);
    if (t->id == STN_CQL_MAP) output_u16(o, t->items[1]);
}

void answer_metadata(struct output *o, const struct request *r, const char *table,
                     const struct answer_column *columns, size_t n, int skip,
                     struct stn_cql_value paging_state) {
    enum { GLOBAL = 1, MORE = 2, NONE = 4 };
    output_u32(o, (skip ? NONE : GLOBAL) | (paging_state.data ? MORE : 0));
    output_u32(o, (uint32_t)n);
    if (paging_state.data) output_view(o, paging_state);
    if (skip) return;
    output_string(o, request_keyspace(r));
    output_string(o, table);
    for (size_t i = 0; i < n; i++) {
        output_string(o, columns[i].name);
        answer_type(o, &columns[i].type);
    }
}

static void put_bigint(struct output *o, int64_t v) {
    output_u32(o, 8);
    output_u32(o, (uint32_t)((uint64_t)v >> 32));
    output_u32(o, (uint32_t)v);
}

static void put_column(struct output *o, const struct answer_column *c, const struct hit *hit) {
    struct timespec now;
    switch (c->kind) {
    case SELECT_TOKEN:
        put_bigint(o, hit->partition->token);
        return;
    case SELECT_NOW:
        clock_gettime(CLOCK_REALTIME, &now);
        put_bigint(o, (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000);
        return;
    case SELECT_WRITETIME:
        if (c->column->kind == COLUMN_REGULAR && row_value(c->column, hit->partition, hit->row))
            put_bigint(o, hit->row->cells[c->column->place].written_us);
        else
            output_u32(o, UINT32_MAX);
        return;
    default:
        output_value(o, row_value(c->column, hit->partition, hit->row));
    }
}

static int is_sample(const struct answer_column *columns, size_t n) {
    return columns[0].kind == SELECT_COLUMN && columns[0].type.id == STN_CQL_UUID &&
           columns[n - 1].kind == SELECT_COLUMN && columns[n - 1].type.id == STN_CQL_BLOB;
}

static void put_rows(struct search *q, const struct answer_column *columns, size_t n) {
    struct output *o = q->r->out;
    int counts = n == 1 && columns[0].kind == SELECT_COUNT;
    q->r->store->rows += q->n_hits;
    output_u32(o, counts ? 1 : (uint32_t)q->n_hits);
    if (counts) {
        put_bigint(o, (int64_t)q->n_hits);
        return;
    }
    if (q->n_hits == 1 && is_sample(columns, n)) {
        const struct value *last =
            row_value(columns[n - 1].column, q->hits->partition, q->hits->row);
        o->is_sample = last && last->bytes > 0;
        o->key_at = o->used + 4;
    }
    for (size_t h = 0; h < q->n_hits; h++)
        for (size_t i = 0; i < n; i++) put_column(o, &columns[i], &q->hits[h]);
}

/* ---- rows that are made up ---- */

static int ends_with(const char *name, const char *end) {
    size_t n = strlen(name), m = strlen(end);
    return n >= m && strcmp(name + n - m, end) == 0;
}

static int is_synthetic(const struct search *q) {
    return q->r->store->synthetic && q->whole_key && q->n_hits == 0 && !q->has_last &&
           q->table->n_partition == 1 && q->table->n_clustering == 0 &&
           q->table->columns[0].type.id == STN_CQL_UUID;
}

static void put_synthetic(struct search *q, const struct answer_column *columns, size_t n) {
    struct output *o = q->r->out;
    struct value *blob = q->r->store->synthetic;
    q->r->store->rows++;
    output_u32(o, 1);
    o->is_sample = is_sample(columns, n);
    o->key_at = o->used + 4;
    for (size_t i = 0; i < n; i++) {
        const struct answer_column *c = &columns[i];
        uint16_t id = c->type.id;
        if (c->kind != SELECT_COLUMN) {
            output_u32(o, UINT32_MAX);
        } else if (c->column->kind == COLUMN_PARTITION) {
            output_view(o, q->key[0]);
        } else if (id == STN_CQL_BLOB) {
            output_value(o, blob);
        } else if (ends_with(c->name, "crc") && id == STN_CQL_INT) {
            output_view(o, stn_value_of(q->r->store->synthetic_crc, 4));
        } else if (ends_with(c->name, "bytes") && id == STN_CQL_BIGINT) {
            put_bigint(o, blob->bytes);
        } else if (ends_with(c->name, "bytes") && id == STN_CQL_INT) {
            output_u32(o, 4);
            output_u32(o, blob->bytes);
        } else {
            output_u32(o, UINT32_MAX);
        }
    }
}

int select_run(struct request *r, struct table *t, struct failure *f) {
    struct search q = {
        .r = r, .table = t, .s = r->statement, .f = f, .above = INT64_MIN, .to = INT64_MAX};
    struct answer_column *columns;
    size_t n;
    if (select_columns(r->statement, t, r->scratch, &columns, &n, f) < 0 || take_limit(&q) < 0 ||
        take_key(&q) < 0 || take_relations(&q) < 0 || take_state(&q) < 0)
        return -1;
    if (q.left > 0) search(&q);
    if (q.left != INT64_MAX) q.left -= (int64_t)q.n_hits;
    struct stn_cql_value state = q.more ? make_state(&q) : (struct stn_cql_value){NULL, 0};
    output_u32(r->out, STN_CQL_ROWS);
    answer_metadata(r->out, r, t->name, columns, n, r->skip_metadata, state);
    if (is_synthetic(&q))
        put_synthetic(&q, columns, n);
    else
        put_rows(&q, columns, n);
    free(q.hits);
    return 0;
}
