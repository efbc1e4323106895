#include "store.h"

#include <stdlib.h>
#include <string.h>

int store_fault(struct store *s, enum fault fault) {
    return s->every[fault] && ++s->seen[fault] % s->every[fault] == 0;
}

static void prepared_free(struct prepared *p) {
    statement_free(&p->statement);
    free(p);
}

/* A definition is of no table: it may be what is being carried out. */
static int is_of(const struct prepared *p, const char *keyspace, const char *table) {
    if (keyspace && p->statement.kind < STATEMENT_TRUNCATE) return 0;
    return !keyspace || (strcmp(p->keyspace, keyspace) == 0 &&
                         (!table || strcmp(p->statement.table, table) == 0));
}

static void forget_of_node(struct node *node, const char *keyspace, const char *table) {
    for (size_t b = 0; b < STN_COUNT(node->prepared); b++)
        for (struct prepared **at = &node->prepared[b], *p; (p = *at);) {
            if (is_of(p, keyspace, table)) {
                *at = p->next;
                prepared_free(p);
            } else {
                at = &p->next;
            }
        }
}

void store_forget_prepared(struct store *s, const char *keyspace, const char *table) {
    for (size_t i = 0; i < s->n_nodes; i++) forget_of_node(&s->nodes[i], keyspace, table);
}

void store_free(struct store *s) {
    store_forget_prepared(s, NULL, NULL);
    for (size_t i = 0; i < s->n_nodes; i++) schema_free(&s->nodes[i].system);
    schema_free(&s->schema);
    value_unref(s->synthetic);
    pthread_mutex_destroy(&s->lock);
}

struct table *store_table(struct store *s, struct node *node, const char *keyspace,
                          const char *name, struct failure *f) {
    if (!keyspace) {
        refuse(f, STN_CQL_E_INVALID,
               "No keyspace has been specified. USE a keyspace, or "
               "explicitly specify keyspace.tablename");
        return NULL;
    }
    int is_system = strncmp(keyspace, "system", 6) == 0;
    if (is_system) system_refresh(s, node);
    return schema_table(is_system ? &node->system : &s->schema, keyspace, name, f);
}
