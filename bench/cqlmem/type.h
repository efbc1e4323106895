/* Types of columns: their numbers on the wire, how values compare, what literals become. */
#ifndef CQLMEM_TYPE_H
#define CQLMEM_TYPE_H

#include "failure.h"
#include "memory.h"
#include "wire/types.h"

struct type {
    uint16_t id;       /* enum stn_cql_type */
    uint16_t items[2]; /* of list and set; key and value of map */
    char name[64];     /* as CQL writes it */
};

/* The bare type of that name (lower case). 0, or -1: there is none. */
int type_by_name(const char *name, struct type *out);
/* list<..>, set<..>, map<..> of bare types; b is NULL but for a map. */
void type_of_items(uint16_t id, const struct type *a, const struct type *b, struct type *out);

/* Order of two values as Cassandra has it: <0, 0, >0. */
int type_compare(uint16_t id, struct stn_cql_value a, struct stn_cql_value b);
/* -1 and a failure if no value of the type has that many bytes. */
int type_check(const struct type *t, const char *column, struct stn_cql_value v, struct failure *f);

#endif
