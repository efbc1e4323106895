/* A CQL statement, taken apart. */
#ifndef CQLMEM_STATEMENT_H
#define CQLMEM_STATEMENT_H

#include "lexer.h"
#include "type.h"

enum statement_kind {
    STATEMENT_CREATE_KEYSPACE,
    STATEMENT_DROP_KEYSPACE,
    STATEMENT_ALTER_KEYSPACE,
    STATEMENT_CREATE_TABLE,
    STATEMENT_ALTER_TABLE,
    STATEMENT_DROP_TABLE,
    STATEMENT_TRUNCATE,
    STATEMENT_USE,
    STATEMENT_INSERT,
    STATEMENT_UPDATE,
    STATEMENT_DELETE,
    STATEMENT_SELECT
};

enum term_kind {
    TERM_NONE,
    TERM_MARKER,
    TERM_NULL,
    TERM_STRING,
    TERM_NUMBER,
    TERM_UUID,
    TERM_HEX,
    TERM_BOOLEAN,
    TERM_ITEMS, /* list, set, map (keys and values in turn), or the right side of IN */
    TERM_NOW,   /* now(): a timeuuid */
    TERM_RANDOM /* uuid() */
};

struct term {
    enum term_kind kind;
    const char *text; /* unescaped */
    uint32_t marker;  /* number of the bind variable */
    struct term *items;
    size_t n_items;
};

enum relation_op { OP_EQUAL, OP_LESS, OP_LESS_EQUAL, OP_MORE, OP_MORE_EQUAL, OP_IN, OP_NOT_EQUAL };

struct relation {
    const char *column; /* NULL: token(partition key) */
    enum relation_op op;
    struct term value;
};

struct assignment {
    const char *column;
    struct term value;
};

enum selector_kind { SELECT_COLUMN, SELECT_TOKEN, SELECT_COUNT, SELECT_WRITETIME, SELECT_NOW };

struct selector {
    enum selector_kind kind;
    const char *column;
    const char *name; /* in the answer */
};

struct definition {
    const char *name;
    struct type type;
};

struct key_part { /* of PRIMARY KEY */
    const char *name;
    int descending;
};

struct statement {
    enum statement_kind kind;
    const char *keyspace; /* NULL: the connection's */
    const char *table;
    int if_exists, if_not_exists;

    /* definitions */
    struct definition *definitions;
    size_t n_definitions, definitions_cap;
    struct key_part *key; /* partition columns, then clustering */
    size_t n_key, key_cap, n_partition;
    struct term replication;

    /* data */
    struct assignment *assignments; /* columns of DELETE: without values */
    size_t n_assignments, assignments_cap;
    struct relation *where;
    size_t n_where, where_cap;
    struct relation *conditions;
    size_t n_conditions, conditions_cap;
    struct term timestamp, ttl, limit;

    /* SELECT */
    int everything, distinct, allow_filtering;
    struct selector *selectors;
    size_t n_selectors, selectors_cap;

    uint32_t n_markers;
    struct scratch memory; /* of names and terms */
};

/* -1 and a failure (syntax); statement_free() is needed either way. */
int statement_parse(struct statement *s, const char *text, size_t bytes, struct failure *f);
void statement_free(struct statement *s);

/* Value of a term for a column of that type: a marker's out of `bound`, or a literal's encoding in
 * `scratch`. */
struct bound {
    const struct stn_cql_value *values;
    size_t n;
};
int term_value(const struct term *t, const struct type *type, const struct bound *bound,
               struct scratch *scratch, struct stn_cql_value *out, struct failure *f);

#endif
