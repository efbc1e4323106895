#include "table.h"

#include <stdlib.h>
#include <string.h>

#include "base/digest.h"
#include "wire/token.h"

struct table *table_new(const char *name) {
    struct table *t = must(calloc(1, sizeof *t));
    t->name = must(strdup(name));
    t->n_buckets = 64;
    t->buckets = must(calloc(t->n_buckets, sizeof(struct partition *)));
    if (stn_uuid4(t->id, NULL) < 0) die("no random numbers");
    return t;
}

static void row_free(const struct table *t, struct row *r) {
    for (uint32_t i = 0; i < r->n_cells; i++) value_unref(r->cells[i].value);
    for (uint32_t i = 0; i < t->n_clustering; i++) value_unref(r->clustering[i]);
    free(r->cells);
    free(r);
}

static void partition_free(const struct table *t, struct partition *p) {
    for (size_t i = 0; i < p->n_rows; i++) row_free(t, p->rows[i]);
    for (uint32_t i = 0; i < t->n_partition; i++) value_unref(p->parts[i]);
    value_unref(p->key);
    free(p->parts);
    free(p->rows);
    free(p);
}

static void forget_order(struct table *t) {
    free(t->sorted);
    t->sorted = NULL;
}

void table_truncate(struct table *t) {
    for (size_t i = 0; i < t->n_buckets; i++)
        for (struct partition *p; (p = t->buckets[i]);) {
            t->buckets[i] = p->next;
            partition_free(t, p);
        }
    t->n_partitions = 0;
    forget_order(t);
}

void table_free(struct table *t) {
    table_truncate(t);
    for (size_t i = 0; i < t->n_columns; i++) free(t->columns[i].name);
    free(t->columns);
    free(t->buckets);
    free(t->name);
    free(t);
}

/* ---- columns ---- */

void table_add_column(struct table *t, const char *name, const struct type *type,
                      enum column_kind kind, int descending) {
    uint32_t *count = kind == COLUMN_PARTITION    ? &t->n_partition
                      : kind == COLUMN_CLUSTERING ? &t->n_clustering
                                                  : &t->n_cells;
    size_t at = t->n_columns;
    grow(&t->columns, &t->columns_cap, t->n_columns + 1, sizeof *t->columns);
    if (kind == COLUMN_REGULAR)
        while (at > 0 && t->columns[at - 1].kind == COLUMN_REGULAR &&
               strcmp(t->columns[at - 1].name, name) > 0)
            at--;
    memmove(t->columns + at + 1, t->columns + at, (t->n_columns - at) * sizeof *t->columns);
    t->columns[at] = (struct column){must(strdup(name)), *type, kind, (*count)++, descending};
    t->n_columns++;
}

const struct column *table_column(const struct table *t, const char *name) {
    for (size_t i = 0; i < t->n_columns; i++)
        if (strcmp(t->columns[i].name, name) == 0) return &t->columns[i];
    return NULL;
}

/* ---- partitions ---- */

/* The bytes a token is computed of: one column as it is, several each with length and a zero. */
static size_t join_key(const struct table *t, const struct stn_cql_value *parts,
                       struct stn_writer *w) {
    for (uint32_t i = 0; i < t->n_partition; i++) {
        size_t bytes = parts[i].bytes > 0 ? (size_t)parts[i].bytes : 0;
        if (t->n_partition > 1) stn_put_be16(w, (uint16_t)bytes);
        stn_put_bytes(w, parts[i].data, bytes);
        if (t->n_partition > 1) stn_put_u8(w, 0);
    }
    return w->used;
}

static void rehash(struct table *t) {
    size_t n = t->n_buckets * 2;
    struct partition **buckets = must(calloc(n, sizeof(struct partition *)));
    for (size_t i = 0; i < t->n_buckets; i++)
        for (struct partition *p; (p = t->buckets[i]);) {
            t->buckets[i] = p->next;
            p->next = buckets[(uint64_t)p->token & (n - 1)];
            buckets[(uint64_t)p->token & (n - 1)] = p;
        }
    free(t->buckets);
    t->buckets = buckets;
    t->n_buckets = n;
}

static struct partition *make_partition(struct table *t, int64_t token, const void *key,
                                        size_t bytes, const struct stn_cql_value *parts) {
    struct partition *p = must(calloc(1, sizeof *p));
    if (t->n_partitions >= t->n_buckets) rehash(t);
    p->token = token;
    p->deleted_us = NEVER_US;
    p->key = value_new(key, bytes);
    p->parts = must(calloc(t->n_partition, sizeof(struct value *)));
    for (uint32_t i = 0; i < t->n_partition; i++)
        p->parts[i] = value_new(parts[i].data, (size_t)STN_MAX(parts[i].bytes, 0));
    p->next = t->buckets[(uint64_t)token & (t->n_buckets - 1)];
    t->buckets[(uint64_t)token & (t->n_buckets - 1)] = p;
    t->n_partitions++;
    forget_order(t);
    return p;
}

struct partition *table_partition(struct table *t, const struct stn_cql_value *parts, int make) {
    uint8_t small[512], *key = small;
    struct stn_writer w = {NULL, 0, 0};
    size_t bytes = join_key(t, parts, &w);
    if (bytes > sizeof small) key = must(malloc(bytes));
    w = (struct stn_writer){key, bytes, 0};
    join_key(t, parts, &w);
    int64_t token = stn_token(key, bytes);
    struct partition *p = t->buckets[(uint64_t)token & (t->n_buckets - 1)];
    while (p && (p->token != token || p->key->bytes != bytes || memcmp(p->key->data, key, bytes)))
        p = p->next;
    if (!p && make) p = make_partition(t, token, key, bytes, parts);
    if (key != small) free(key);
    return p;
}

static int compare_keys(int64_t a_token, struct stn_cql_value a, int64_t b_token,
                        struct stn_cql_value b) {
    if (a_token != b_token) return a_token < b_token ? -1 : 1;
    return type_compare(STN_CQL_BLOB, a, b);
}

static int compare_partitions(const void *a, const void *b) {
    const struct partition *p, *q;
    memcpy(&p, a, sizeof p);
    memcpy(&q, b, sizeof q);
    return compare_keys(p->token, value_view(p->key), q->token, value_view(q->key));
}

struct partition **table_sorted(struct table *t) {
    size_t n = 0;
    if (t->sorted) return t->sorted;
    t->sorted = must(malloc((t->n_partitions + 1) * sizeof(struct partition *)));
    for (size_t i = 0; i < t->n_buckets; i++)
        for (struct partition *p = t->buckets[i]; p; p = p->next) t->sorted[n++] = p;
    qsort(t->sorted, n, sizeof(struct partition *), compare_partitions);
    return t->sorted;
}

size_t table_lower(struct table *t, int64_t token, struct stn_cql_value key) {
    struct partition **sorted = table_sorted(t);
    size_t from = 0, to = t->n_partitions;
    while (from < to) {
        size_t middle = from + (to - from) / 2;
        const struct partition *p = sorted[middle];
        if (compare_keys(p->token, value_view(p->key), token, key) < 0)
            from = middle + 1;
        else
            to = middle;
    }
    return from;
}

/* ---- rows ---- */

static int compare_clustering(const struct table *t, const struct row *r,
                              const struct stn_cql_value *clustering) {
    const struct column *columns = t->columns + t->n_partition;
    for (uint32_t i = 0; i < t->n_clustering; i++) {
        int order = type_compare(columns[i].type.id, value_view(r->clustering[i]), clustering[i]);
        if (order) return columns[i].descending ? -order : order;
    }
    return 0;
}

size_t partition_lower(const struct table *t, const struct partition *p,
                       const struct stn_cql_value *clustering, int *found) {
    size_t from = 0, to = p->n_rows;
    while (from < to) {
        size_t middle = from + (to - from) / 2;
        if (compare_clustering(t, p->rows[middle], clustering) < 0)
            from = middle + 1;
        else
            to = middle;
    }
    *found = from < p->n_rows && compare_clustering(t, p->rows[from], clustering) == 0;
    return from;
}

static struct row *make_row(const struct table *t, const struct stn_cql_value *clustering) {
    struct row *r = must(calloc(1, sizeof *r + t->n_clustering * sizeof(struct value *)));
    r->live_us = r->deleted_us = NEVER_US;
    for (uint32_t i = 0; i < t->n_clustering; i++)
        r->clustering[i] = value_new(clustering[i].data, (size_t)STN_MAX(clustering[i].bytes, 0));
    return r;
}

struct row *partition_row(const struct table *t, struct partition *p,
                          const struct stn_cql_value *clustering, int make) {
    int found;
    size_t at = partition_lower(t, p, clustering, &found);
    if (found) return p->rows[at];
    if (!make) return NULL;
    grow(&p->rows, &p->rows_cap, p->n_rows + 1, sizeof(struct row *));
    memmove(p->rows + at + 1, p->rows + at, (p->n_rows - at) * sizeof(struct row *));
    p->n_rows++;
    return p->rows[at] = make_row(t, clustering);
}

/* ---- writes ---- */

/* Of two writes at one time the deletion wins, then the larger value, as in Cassandra. */
static int is_later(const struct cell *c, const struct value *value, int64_t at_us) {
    if (at_us != c->written_us) return at_us > c->written_us;
    if (!c->value || !value) return !value;
    return type_compare(STN_CQL_BLOB, value_view(value), value_view(c->value)) > 0;
}

void row_write(const struct table *t, const struct partition *p, struct row *r, uint32_t cell,
               struct value *value, int64_t at_us) {
    if (at_us <= r->deleted_us || at_us <= p->deleted_us) return;
    if (cell >= r->n_cells) {
        r->cells = must(realloc(r->cells, t->n_cells * sizeof *r->cells));
        for (uint32_t i = r->n_cells; i < t->n_cells; i++)
            r->cells[i] = (struct cell){NULL, NEVER_US};
        r->n_cells = t->n_cells;
    }
    struct cell *c = &r->cells[cell];
    if (!is_later(c, value, at_us)) return;
    value_unref(c->value);
    *c = (struct cell){value_ref(value), at_us};
}

void row_insert_marker(const struct partition *p, struct row *r, int64_t at_us) {
    if (at_us > r->deleted_us && at_us > p->deleted_us) r->live_us = STN_MAX(r->live_us, at_us);
}

void row_delete(struct row *r, int64_t at_us) {
    r->deleted_us = STN_MAX(r->deleted_us, at_us);
    if (r->live_us <= at_us) r->live_us = NEVER_US;
    for (uint32_t i = 0; i < r->n_cells; i++) {
        if (r->cells[i].written_us > at_us) continue;
        value_unref(r->cells[i].value);
        r->cells[i] = (struct cell){NULL, NEVER_US};
    }
}

void partition_delete(struct partition *p, int64_t at_us) {
    p->deleted_us = STN_MAX(p->deleted_us, at_us);
    for (size_t i = 0; i < p->n_rows; i++) row_delete(p->rows[i], at_us);
}

int row_is_live(const struct row *r) {
    if (r->live_us != NEVER_US) return 1;
    for (uint32_t i = 0; i < r->n_cells; i++)
        if (r->cells[i].value) return 1;
    return 0;
}

struct value *row_value(const struct column *c, const struct partition *p, const struct row *r) {
    if (c->kind == COLUMN_PARTITION) return p->parts[c->place];
    if (!r) return NULL;
    if (c->kind == COLUMN_CLUSTERING) return r->clustering[c->place];
    return c->place < r->n_cells ? r->cells[c->place].value : NULL;
}
