/* Keyspaces and their tables. */
#ifndef CQLMEM_SCHEMA_H
#define CQLMEM_SCHEMA_H

#include "statement.h"
#include "table.h"

struct keyspace {
    char *name;
    char **replication; /* keys and values in turn */
    size_t n_replication;
    struct table **tables;
    size_t n_tables, tables_cap;
};

struct schema {
    struct keyspace **keyspaces;
    size_t n_keyspaces, keyspaces_cap;
    uint64_t generation; /* of definitions */
};

struct schema_change { /* what DDL did; change "": nothing (IF NOT EXISTS) */
    const char *change, *target;
    const char *keyspace, *table; /* of the statement */
};

void schema_free(struct schema *s);
struct keyspace *schema_keyspace(const struct schema *s, const char *name); /* or NULL */
/* -1 and a failure in the words of a SELECT. */
struct table *schema_table(const struct schema *s, const char *keyspace, const char *name,
                           struct failure *f);
/* CREATE, ALTER, DROP. `keyspace` is the connection's, or NULL. */
int schema_define(struct schema *s, const struct statement *st, const char *keyspace,
                  struct schema_change *out, struct failure *f);

#endif
