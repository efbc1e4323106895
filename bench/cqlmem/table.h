/* A table: columns, and rows in partitions by key; cells with timestamps, the last write wins. */
#ifndef CQLMEM_TABLE_H
#define CQLMEM_TABLE_H

#include "type.h"

#define NEVER_US INT64_MIN

enum column_kind { COLUMN_PARTITION, COLUMN_CLUSTERING, COLUMN_REGULAR };

struct column {
    char *name;
    struct type type;
    enum column_kind kind;
    uint32_t place; /* in its key, or number of the cell */
    int descending;
};

struct cell {
    struct value *value; /* NULL: never written, or deleted */
    int64_t written_us;
};

struct row {
    int64_t live_us;    /* of the last INSERT, NEVER_US: none that counts */
    int64_t deleted_us; /* writes up to then count no more */
    uint32_t n_cells;   /* columns that were added later may be missing */
    struct cell *cells;
    struct value *clustering[];
};

struct partition {
    struct partition *next; /* in the bucket */
    int64_t token;
    int64_t deleted_us;
    struct value *key;    /* as the token is computed of */
    struct value **parts; /* column by column */
    struct row **rows;    /* in the order of their clustering columns */
    size_t n_rows, rows_cap;
};

struct table {
    char *name;
    uint8_t id[16];
    struct column *columns; /* in the order of SELECT *: keys, then the others by name */
    size_t n_columns, columns_cap;
    uint32_t n_partition, n_clustering, n_cells;
    struct partition **buckets;
    size_t n_buckets, n_partitions;
    struct partition **sorted; /* by token and key; NULL: to be made again */
};

struct table *table_new(const char *name);
void table_free(struct table *t);
void table_add_column(struct table *t, const char *name, const struct type *type,
                      enum column_kind kind, int descending);
const struct column *table_column(const struct table *t, const char *name); /* or NULL */
void table_truncate(struct table *t);

/* Partition of these n_partition values; NULL: there is none, and it was not to be made. */
struct partition *table_partition(struct table *t, const struct stn_cql_value *parts, int make);
/* All of them, by token and key. */
struct partition **table_sorted(struct table *t);
/* First in that order whose (token, key) is not before this one. */
size_t table_lower(struct table *t, int64_t token, struct stn_cql_value key);

/* First row that is not before these clustering values; *found: it is theirs. */
size_t partition_lower(const struct table *t, const struct partition *p,
                       const struct stn_cql_value *clustering, int *found);
struct row *partition_row(const struct table *t, struct partition *p,
                          const struct stn_cql_value *clustering, int make);
void partition_delete(struct partition *p, int64_t at_us);

/* value NULL: deletes. Takes its own reference. */
void row_write(const struct table *t, const struct partition *p, struct row *r, uint32_t cell,
               struct value *value, int64_t at_us);
void row_insert_marker(const struct partition *p, struct row *r, int64_t at_us);
void row_delete(struct row *r, int64_t at_us);
int row_is_live(const struct row *r);

static inline struct stn_cql_value value_view(const struct value *v) {
    return v ? stn_value_of(v->data, v->bytes) : stn_value_null();
}
/* Of any column of a row; r may be NULL. */
struct value *row_value(const struct column *c, const struct partition *p, const struct row *r);

#endif
