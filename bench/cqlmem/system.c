/* The system's tables as one node shows them, written in CQL and carried out by our own parser. */
#include <arpa/inet.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "modify.h"
#include "store.h"

#define SCHEMA_VERSION_FORMAT "c0000000-0000-4000-8000-%012llx"

/* What drivers ask for and is empty here. */
static const char *const empty_tables[] = {
    "system_virtual_schema.keyspaces (keyspace_name text PRIMARY KEY)",
    "system_virtual_schema.tables (keyspace_name text, table_name text, comment text, "
    "PRIMARY KEY (keyspace_name, table_name))",
    "system_virtual_schema.columns (keyspace_name text, table_name text, column_name text, "
    "PRIMARY KEY (keyspace_name, table_name, column_name))",
    "system_schema.types (keyspace_name text, type_name text, field_names list<text>, field_types "
    "list<text>, "
    "PRIMARY KEY (keyspace_name, type_name))",
    "system_schema.functions (keyspace_name text, function_name text, PRIMARY KEY (keyspace_name, "
    "function_name))",
    "system_schema.aggregates (keyspace_name text, aggregate_name text, "
    "PRIMARY KEY (keyspace_name, aggregate_name))",
    "system_schema.triggers (keyspace_name text, table_name text, trigger_name text, "
    "PRIMARY KEY (keyspace_name, table_name, trigger_name))",
    "system_schema.indexes (keyspace_name text, table_name text, index_name text, kind text, "
    "options map<text, text>, PRIMARY KEY (keyspace_name, table_name, index_name))",
    "system_schema.views (keyspace_name text, view_name text, base_table_name text, "
    "PRIMARY KEY (keyspace_name, view_name))",
};

struct text { /* grows */
    char *at;
    size_t bytes, cap;
};

__attribute__((format(printf, 2, 3))) static void put(struct text *t, const char *format, ...) {
    va_list args;
    va_start(args, format);
    int n = vsnprintf(NULL, 0, format, args);
    va_end(args);
    grow(&t->at, &t->cap, t->bytes + (size_t)n + 1, 1);
    va_start(args, format);
    vsnprintf(t->at + t->bytes, (size_t)n + 1, format, args);
    va_end(args);
    t->bytes += (size_t)n;
}

static void run(struct schema *schema, struct text *t) {
    struct statement s;
    struct failure f = {0};
    struct schema_change ignored;
    struct modification m;
    struct scratch scratch = {NULL};
    const struct bound none = {NULL, 0};
    int rc = statement_parse(&s, t->at, t->bytes, &f);
    if (rc == 0 && s.kind == STATEMENT_INSERT) {
        struct table *table = schema_table(schema, s.keyspace, s.table, &f);
        rc = table ? modify(table, &s, &none, 1, &scratch, &m, &f) : -1;
    } else if (rc == 0) {
        rc = schema_define(schema, &s, NULL, &ignored, &f);
    }
    if (rc < 0) die("%s: %s", f.message, t->at);
    scratch_free(&scratch);
    statement_free(&s);
    t->bytes = 0;
}

static void put_uuid(struct text *t, const uint8_t id[16]) {
    for (int i = 0; i < 16; i++)
        put(t, "%s%02x", i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "", id[i]);
}

/* ---- system.local and its peers ---- */

static void put_tokens(struct text *t, const struct store *s, size_t node) {
    uint64_t n = (uint64_t)s->n_nodes * s->vnodes, step = UINT64_MAX / n;
    put(t, "{");
    for (unsigned v = 0; v < s->vnodes; v++) {
        uint64_t from_lowest = step * (v * s->n_nodes + node) + step / 2;
        put(t, "%s'%lld'", v ? ", " : "", (long long)(from_lowest - ((uint64_t)1 << 63)));
    }
    put(t, "}");
}

static void put_local(struct text *t, const struct store *s, size_t i) {
    const struct node *n = &s->nodes[i];
    put(t,
        "INSERT INTO system.local (key, bootstrapped, cluster_name, cql_version, "
        "native_protocol_version, partitioner, release_version, data_center, rack, "
        "broadcast_address, broadcast_port, listen_address, listen_port, rpc_address, rpc_port, "
        "schema_version, host_id, tokens) VALUES ('local', 'COMPLETED', 'cqlmem', '3.4.7', '4', "
        "'org.apache.cassandra.dht.Murmur3Partitioner', '5.0.0', '%s', '%s', '%s', %u, '%s', %u, "
        "'%s', %u, " SCHEMA_VERSION_FORMAT ", ",
        n->dc, n->rack, n->host, n->port, n->host, n->port, n->host, n->port,
        (unsigned long long)s->schema.generation);
    put_uuid(t, n->host_id);
    put(t, ", ");
    put_tokens(t, s, i);
    put(t, ")");
}

static void put_peer(struct text *t, const struct store *s, size_t i, int v2) {
    const struct node *n = &s->nodes[i];
    put(t,
        "INSERT INTO system.%s (peer, data_center, rack, release_version, schema_version, %s, "
        "host_id, tokens) VALUES ('%s', '%s', '%s', '5.0.0', " SCHEMA_VERSION_FORMAT ", ",
        v2 ? "peers_v2" : "peers",
        v2 ? "peer_port, native_port, native_address" : "preferred_ip, rpc_address", n->host, n->dc,
        n->rack, (unsigned long long)s->schema.generation);
    if (v2)
        put(t, "%u, %u, '%s', ", n->port, n->port, n->host);
    else
        put(t, "'%s', '%s', ", n->host, n->host);
    put_uuid(t, n->host_id);
    put(t, ", ");
    put_tokens(t, s, i);
    put(t, ")");
}

static void make_nodes(struct store *s, struct node *self, struct text *t) {
    put(t, "CREATE TABLE system.local (key text PRIMARY KEY, bootstrapped text, cluster_name text, "
           "cql_version text, native_protocol_version text, partitioner text, release_version "
           "text, data_center text, rack text, broadcast_address inet, broadcast_port int, "
           "listen_address inet, listen_port int, rpc_address inet, rpc_port int, schema_version "
           "uuid, host_id uuid, tokens set<text>)");
    run(&self->system, t);
    put(t, "CREATE TABLE system.peers (peer inet PRIMARY KEY, data_center text, rack text, "
           "release_version text, schema_version uuid, preferred_ip inet, rpc_address inet, "
           "host_id uuid, tokens set<text>)");
    run(&self->system, t);
    put(t, "CREATE TABLE system.peers_v2 (peer inet, peer_port int, data_center text, rack text, "
           "release_version text, schema_version uuid, native_address inet, native_port int, "
           "host_id uuid, tokens set<text>, PRIMARY KEY (peer, peer_port))");
    run(&self->system, t);
    for (size_t i = 0; i < s->n_nodes; i++) {
        int is_self = &s->nodes[i] == self;
        for (int v2 = 0; v2 < (is_self ? 1 : 2); v2++) {
            if (is_self)
                put_local(t, s, i);
            else
                put_peer(t, s, i, v2);
            run(&self->system, t);
        }
    }
}

/* ---- system_schema ---- */

static void put_keyspace(struct text *t, const struct keyspace *k) {
    put(t,
        "INSERT INTO system_schema.keyspaces (keyspace_name, durable_writes, replication) "
        "VALUES ('%s', true, {",
        k->name);
    for (size_t i = 0; i < k->n_replication; i += 2) {
        const char *value = k->replication[i + 1];
        int is_class = strcmp(k->replication[i], "class") == 0 && !strchr(value, '.');
        put(t, "%s'%s': '%s%s'", i ? ", " : "", k->replication[i],
            is_class ? "org.apache.cassandra.locator." : "", value);
    }
    put(t, "})");
}

static void put_column(struct text *t, const struct keyspace *k, const struct table *table,
                       const struct column *c) {
    static const char *const kinds[] = {"partition_key", "clustering", "regular"};
    put(t,
        "INSERT INTO system_schema.columns (keyspace_name, table_name, column_name, "
        "clustering_order, kind, position, type) VALUES ('%s', '%s', '%s', '%s', '%s', %d, '%s')",
        k->name, table->name, c->name,
        c->kind != COLUMN_CLUSTERING ? "none"
        : c->descending              ? "desc"
                                     : "asc",
        kinds[c->kind], c->kind == COLUMN_REGULAR ? -1 : (int)c->place, c->type.name);
}

static void put_keyspace_rows(struct schema *to, const struct keyspace *k, struct text *t) {
    put_keyspace(t, k);
    run(to, t);
    for (size_t i = 0; i < k->n_tables; i++) {
        const struct table *table = k->tables[i];
        put(t,
            "INSERT INTO system_schema.tables (keyspace_name, table_name, flags, id) VALUES "
            "('%s', '%s', {'compound'}, ",
            k->name, table->name);
        put_uuid(t, table->id);
        put(t, ")");
        run(to, t);
        for (size_t c = 0; c < table->n_columns; c++) {
            put_column(t, k, table, &table->columns[c]);
            run(to, t);
        }
    }
}

static void make_schema(const struct store *s, struct schema *to, struct text *t) {
    put(t, "CREATE TABLE system_schema.keyspaces (keyspace_name text PRIMARY KEY, durable_writes "
           "boolean, replication map<text, text>)");
    run(to, t);
    put(t,
        "CREATE TABLE system_schema.tables (keyspace_name text, table_name text, flags set<text>, "
        "id uuid, default_time_to_live int, PRIMARY KEY (keyspace_name, table_name))");
    run(to, t);
    put(t, "CREATE TABLE system_schema.columns (keyspace_name text, table_name text, column_name "
           "text, clustering_order text, kind text, position int, type text, "
           "PRIMARY KEY (keyspace_name, table_name, column_name))");
    run(to, t);
    for (size_t i = 0; i < STN_COUNT(empty_tables); i++) {
        put(t, "CREATE TABLE %s", empty_tables[i]);
        run(to, t);
    }
    for (size_t i = 0; i < s->schema.n_keyspaces; i++)
        put_keyspace_rows(to, s->schema.keyspaces[i], t);
    for (size_t i = 0; i < to->n_keyspaces; i++) {
        put_keyspace(t, to->keyspaces[i]);
        run(to, t);
    }
}

void system_refresh(struct store *s, struct node *node) {
    static const char *const keyspaces[] = {"system", "system_schema", "system_virtual_schema"};
    struct text t = {0};
    if (node->system_generation == s->schema.generation + 1) return;
    schema_free(&node->system);
    for (size_t i = 0; i < STN_COUNT(keyspaces); i++) {
        put(&t, "CREATE KEYSPACE %s WITH replication = {'class': 'LocalStrategy'}", keyspaces[i]);
        run(&node->system, &t);
    }
    make_nodes(s, node, &t);
    make_schema(s, &node->system, &t);
    node->system_generation = s->schema.generation + 1;
    free(t.at);
}
