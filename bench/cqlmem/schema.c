#include "schema.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- keyspaces ---- */

static void free_texts(char **texts, size_t n) {
    for (size_t i = 0; i < n; i++) free(texts[i]);
    free(texts);
}

static void keyspace_free(struct keyspace *k) {
    for (size_t i = 0; i < k->n_tables; i++) table_free(k->tables[i]);
    free_texts(k->replication, k->n_replication);
    free(k->tables);
    free(k->name);
    free(k);
}

void schema_free(struct schema *s) {
    for (size_t i = 0; i < s->n_keyspaces; i++) keyspace_free(s->keyspaces[i]);
    free(s->keyspaces);
    *s = (struct schema){0};
}

static size_t find_keyspace(const struct schema *s, const char *name) {
    size_t i = 0;
    while (i < s->n_keyspaces && strcmp(s->keyspaces[i]->name, name) != 0) i++;
    return i;
}

struct keyspace *schema_keyspace(const struct schema *s, const char *name) {
    size_t i = find_keyspace(s, name);
    return i < s->n_keyspaces ? s->keyspaces[i] : NULL;
}

static size_t find_table(const struct keyspace *k, const char *name) {
    size_t i = 0;
    while (i < k->n_tables && strcmp(k->tables[i]->name, name) != 0) i++;
    return i;
}

struct table *schema_table(const struct schema *s, const char *keyspace, const char *name,
                           struct failure *f) {
    struct keyspace *k = schema_keyspace(s, keyspace);
    size_t i = k ? find_table(k, name) : 0;
    if (!k)
        refuse(f, STN_CQL_E_INVALID, "keyspace %s does not exist", keyspace);
    else if (i == k->n_tables)
        refuse(f, STN_CQL_E_INVALID, "table %s does not exist", name);
    else
        return k->tables[i];
    return NULL;
}

static int set_replication(struct keyspace *k, const struct term *map, struct failure *f) {
    if (map->kind != TERM_ITEMS || map->n_items % 2 || !map->n_items)
        return refuse(f, STN_CQL_E_CONFIG, "Missing mandatory replication strategy class");
    free_texts(k->replication, k->n_replication);
    k->n_replication = map->n_items;
    k->replication = must(calloc(map->n_items, sizeof(char *)));
    for (size_t i = 0; i < map->n_items; i++)
        k->replication[i] = must(strdup(map->items[i].text ? map->items[i].text : ""));
    return 0;
}

static int create_keyspace(struct schema *s, const struct statement *st, struct schema_change *out,
                           struct failure *f) {
    if (schema_keyspace(s, st->keyspace)) {
        if (st->if_not_exists) return 0;
        return refuse(f, STN_CQL_E_ALREADY_EXISTS, "Cannot add existing keyspace \"%s\"",
                      st->keyspace);
    }
    struct keyspace *k = must(calloc(1, sizeof *k));
    k->name = must(strdup(st->keyspace));
    if (set_replication(k, &st->replication, f) < 0) {
        keyspace_free(k);
        return -1;
    }
    grow(&s->keyspaces, &s->keyspaces_cap, s->n_keyspaces + 1, sizeof(struct keyspace *));
    s->keyspaces[s->n_keyspaces++] = k;
    out->change = "CREATED";
    return 0;
}

static int change_keyspace(struct schema *s, const struct statement *st, struct schema_change *out,
                           struct failure *f) {
    size_t i = find_keyspace(s, st->keyspace);
    if (i == s->n_keyspaces) {
        if (st->if_exists) return 0;
        return refuse(f, STN_CQL_E_INVALID, "Keyspace '%s' doesn't exist", st->keyspace);
    }
    if (st->kind == STATEMENT_ALTER_KEYSPACE) {
        out->change = "UPDATED";
        return st->replication.kind ? set_replication(s->keyspaces[i], &st->replication, f) : 0;
    }
    keyspace_free(s->keyspaces[i]);
    s->keyspaces[i] = s->keyspaces[--s->n_keyspaces];
    out->change = "DROPPED";
    return 0;
}

/* ---- tables ---- */

static const struct definition *definition_of(const struct statement *st, const char *name) {
    for (size_t i = 0; i < st->n_definitions; i++)
        if (strcmp(st->definitions[i].name, name) == 0) return &st->definitions[i];
    return NULL;
}

static int add_columns(struct table *t, const struct statement *st, struct failure *f) {
    if (!st->n_key)
        return refuse(f, STN_CQL_E_INVALID,
                      "No PRIMARY KEY specified for table '%s' (exactly one required)", st->table);
    for (size_t i = 0; i < st->n_key; i++) {
        const struct definition *d = definition_of(st, st->key[i].name);
        if (!d)
            return refuse(f, STN_CQL_E_INVALID,
                          "Unknown column '%s' referenced in PRIMARY KEY for table '%s'",
                          st->key[i].name, st->table);
        if (table_column(t, d->name))
            return refuse(f, STN_CQL_E_INVALID,
                          "Duplicate column '%s' in PRIMARY KEY clause for table '%s'", d->name,
                          st->table);
        table_add_column(t, d->name, &d->type,
                         i < st->n_partition ? COLUMN_PARTITION : COLUMN_CLUSTERING,
                         st->key[i].descending);
    }
    for (size_t i = 0; i < st->n_definitions; i++) {
        const struct definition *d = &st->definitions[i];
        if (definition_of(st, d->name) != d)
            return refuse(f, STN_CQL_E_SYNTAX, "Duplicate column '%s' declaration for table '%s'",
                          d->name, st->table);
        if (!table_column(t, d->name)) table_add_column(t, d->name, &d->type, COLUMN_REGULAR, 0);
    }
    return 0;
}

static int create_table(struct keyspace *k, const struct statement *st, struct schema_change *out,
                        struct failure *f) {
    if (find_table(k, st->table) < k->n_tables) {
        if (st->if_not_exists) return 0;
        snprintf(f->keyspace, sizeof f->keyspace, "%s", k->name);
        snprintf(f->table, sizeof f->table, "%s", st->table);
        return refuse(f, STN_CQL_E_ALREADY_EXISTS,
                      "Cannot add already existing table \"%s\" to keyspace \"%s\"", st->table,
                      k->name);
    }
    struct table *t = table_new(st->table);
    if (add_columns(t, st, f) < 0) {
        table_free(t);
        return -1;
    }
    grow(&k->tables, &k->tables_cap, k->n_tables + 1, sizeof(struct table *));
    k->tables[k->n_tables++] = t;
    out->change = "CREATED";
    return 0;
}

static int change_table(struct keyspace *k, const struct statement *st, struct schema_change *out,
                        struct failure *f) {
    size_t at = find_table(k, st->table);
    if (at == k->n_tables) {
        if (st->if_exists) return 0;
        return refuse(f, STN_CQL_E_INVALID, "Table '%s.%s' doesn't exist", k->name, st->table);
    }
    struct table *t = k->tables[at];
    for (size_t i = 0; i < st->n_definitions; i++) {
        const struct definition *d = &st->definitions[i];
        if (!table_column(t, d->name))
            table_add_column(t, d->name, &d->type, COLUMN_REGULAR, 0);
        else if (!st->if_not_exists)
            return refuse(f, STN_CQL_E_INVALID, "Column with name '%s' already exists", d->name);
    }
    out->change = "UPDATED";
    if (st->kind == STATEMENT_ALTER_TABLE) return 0;
    table_free(t);
    k->tables[at] = k->tables[--k->n_tables];
    out->change = "DROPPED";
    return 0;
}

static int define_table(struct schema *s, const struct statement *st, const char *keyspace,
                        struct schema_change *out, struct failure *f) {
    struct keyspace *k = schema_keyspace(s, keyspace);
    if (!k) {
        if (st->if_exists) return 0;
        return refuse(f, STN_CQL_E_INVALID, "Keyspace '%s' doesn't exist", keyspace);
    }
    return st->kind == STATEMENT_CREATE_TABLE ? create_table(k, st, out, f)
                                              : change_table(k, st, out, f);
}

int schema_define(struct schema *s, const struct statement *st, const char *keyspace,
                  struct schema_change *out, struct failure *f) {
    int of_table = st->kind == STATEMENT_CREATE_TABLE || st->kind == STATEMENT_ALTER_TABLE ||
                   st->kind == STATEMENT_DROP_TABLE;
    const char *where = st->keyspace ? st->keyspace : keyspace;
    int rc;
    *out = (struct schema_change){"", of_table ? "TABLE" : "KEYSPACE", where, st->table};
    if (!where)
        return refuse(f, STN_CQL_E_INVALID,
                      "No keyspace has been specified. USE a keyspace, or "
                      "explicitly specify keyspace.tablename");
    if (of_table)
        rc = define_table(s, st, where, out, f);
    else if (st->kind == STATEMENT_CREATE_KEYSPACE)
        rc = create_keyspace(s, st, out, f);
    else
        rc = change_keyspace(s, st, out, f);
    if (rc == 0 && *out->change) s->generation++;
    return rc;
}
