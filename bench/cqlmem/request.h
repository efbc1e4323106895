/* One statement to be carried out for a connection, its answer into the frame that is begun. */
#ifndef CQLMEM_REQUEST_H
#define CQLMEM_REQUEST_H

#include "output.h"
#include "store.h"

struct request {
    struct store *store;
    struct node *node;
    const char *keyspace; /* the connection's, NULL: none */
    const struct statement *statement;
    struct bound bound;
    int skip_metadata;
    int32_t page_size; /* 0: no paging */
    struct stn_cql_value paging_state;
    int64_t now_us; /* the request's timestamp, or the clock */
    struct scratch *scratch;
    struct output *out;
};

/* Writes the body of a RESULT; -1: nothing that counts was written, and `f` says why. */
int request_run(struct request *r, struct failure *f);

/* A column of an answer. */
struct answer_column {
    const char *name;
    struct type type;
    enum selector_kind kind;
    const struct column *column; /* of the table; NULL: a function over nothing */
};
/* What SELECT will answer with, in `scratch`. */
int select_columns(const struct statement *s, const struct table *t, struct scratch *scratch,
                   struct answer_column **out, size_t *n, struct failure *f);
int select_run(struct request *r, struct table *t, struct failure *f);

/* Parts of a RESULT: metadata of columns; NULL state: this was the last page. */
void answer_type(struct output *o, const struct type *t);
void answer_metadata(struct output *o, const struct request *r, const char *table,
                     const struct answer_column *columns, size_t n, int skip,
                     struct stn_cql_value paging_state);
static inline const char *request_keyspace(const struct request *r) {
    return r->statement->keyspace ? r->statement->keyspace : r->keyspace;
}

#endif
