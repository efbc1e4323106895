/* The peer's manners: the handshake, and what the system tables say. */
#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "support/peer_inside.h"

enum { TEXT_BYTES = 2048, COLUMNS_MAX = 32 };

/* ---- columns of the system tables ---- */

struct cell { /* what a value is made in */
    uint8_t bytes[TEXT_BYTES];
};

static struct stn_cql_value text_value(const char *text) {
    return stn_value_of(text, strlen(text));
}

static struct stn_cql_value ip_value(const char *ip, struct cell *cell) {
    if (inet_pton(AF_INET, ip, cell->bytes) != 1) peer_die(ip);
    return stn_value_of(cell->bytes, 4);
}

/* "a b c" as set<text>; with '=' in each word as map<text, text>. */
static struct stn_cql_value words_value(const char *words, int is_map, struct cell *cell) {
    struct stn_writer w = {.to = cell->bytes, .cap = sizeof cell->bytes};
    char copy[TEXT_BYTES], *rest = copy;
    uint32_t n = 0;
    snprintf(copy, sizeof copy, "%s", words);
    stn_put_be32(&w, 0);
    for (char *word; (word = strsep(&rest, " ")) != NULL;) {
        if (!*word) continue;
        n++;
        char *value = is_map ? strchr(word, '=') : NULL;
        if (value) *value++ = 0;
        stn_put_value(&w, text_value(word));
        if (value) stn_put_value(&w, text_value(value));
    }
    if (w.used > w.cap) peer_die("too many words");
    size_t used = w.used;
    w.used = 0;
    stn_put_be32(&w, n);
    return stn_value_of(cell->bytes, used);
}

struct row_of { /* what a row is about */
    const struct peer *peer;
    const struct peer_node *node;
    const struct peer_keyspace *keyspace;
};

enum table { LOCAL, PEERS, KEYSPACES };

struct column {
    struct peer_column is;
    unsigned tables; /* bits 1 << table */
    struct stn_cql_value (*value)(const struct row_of *row, struct cell *cell);
};

#define VALUE(name) static struct stn_cql_value name(const struct row_of *row, struct cell *cell)

VALUE(local_key) { return (void)row, (void)cell, text_value("local"); }
VALUE(cluster) { return (void)row, (void)cell, text_value("peer cluster"); }
VALUE(release) { return (void)row, (void)cell, text_value("4.1.0"); }
VALUE(partitioner) {
    return (void)row, (void)cell, text_value("org.apache.cassandra.dht.Murmur3Partitioner");
}
VALUE(dc) { return (void)cell, text_value(row->node->dc); }
VALUE(rack) { return (void)cell, text_value(row->node->rack); }
VALUE(tokens) { return words_value(row->node->tokens, 0, cell); }
VALUE(host_id) { return (void)cell, stn_value_of(row->node->host_id, 16); }
VALUE(schema_version) { return (void)cell, stn_value_of(row->node->schema_version, 16); }
VALUE(address) { return ip_value(row->node->told_ip, cell); }
VALUE(client_address) {
    return row->node->no_rpc_address ? stn_value_null() : ip_value(row->node->told_ip, cell);
}
VALUE(port) { return stn_value_from_int(peer_port(row->peer), cell->bytes); }
VALUE(no_value) { return (void)row, (void)cell, stn_value_null(); }
VALUE(keyspace_name) { return (void)cell, text_value(row->keyspace->name); }
VALUE(replication) { return words_value(row->keyspace->replication, 1, cell); }
VALUE(yes) { return (void)row, (void)cell, stn_value_of("\1", 1); }

#define TEXT STN_CQL_VARCHAR
static const struct column columns[] = {
    {{"key", TEXT, {0}}, 1 << LOCAL, local_key},
    {{"cluster_name", TEXT, {0}}, 1 << LOCAL, cluster},
    {{"partitioner", TEXT, {0}}, 1 << LOCAL, partitioner},
    {{"listen_address", STN_CQL_INET, {0}}, 1 << LOCAL, address},
    {{"broadcast_address", STN_CQL_INET, {0}}, 1 << LOCAL, address},
    {{"peer", STN_CQL_INET, {0}}, 1 << PEERS, address},
    {{"peer_port", STN_CQL_INT, {0}}, 1 << PEERS, port},
    {{"preferred_ip", STN_CQL_INET, {0}}, 1 << PEERS, no_value},
    {{"release_version", TEXT, {0}}, 1 << LOCAL | 1 << PEERS, release},
    {{"data_center", TEXT, {0}}, 1 << LOCAL | 1 << PEERS, dc},
    {{"rack", TEXT, {0}}, 1 << LOCAL | 1 << PEERS, rack},
    {{"tokens", STN_CQL_SET, {TEXT}}, 1 << LOCAL | 1 << PEERS, tokens},
    {{"host_id", STN_CQL_UUID, {0}}, 1 << LOCAL | 1 << PEERS, host_id},
    {{"schema_version", STN_CQL_UUID, {0}}, 1 << LOCAL | 1 << PEERS, schema_version},
    {{"rpc_address", STN_CQL_INET, {0}}, 1 << LOCAL | 1 << PEERS, client_address},
    {{"rpc_port", STN_CQL_INT, {0}}, 1 << LOCAL, port},
    {{"native_address", STN_CQL_INET, {0}}, 1 << PEERS, client_address},
    {{"native_port", STN_CQL_INT, {0}}, 1 << PEERS, port},
    {{"keyspace_name", TEXT, {0}}, 1 << KEYSPACES, keyspace_name},
    {{"durable_writes", STN_CQL_BOOLEAN, {0}}, 1 << KEYSPACES, yes},
    {{"replication", STN_CQL_MAP, {TEXT, TEXT}}, 1 << KEYSPACES, replication},
};

/* ---- SELECT ... FROM system... ---- */

struct select {
    const struct column *columns[COLUMNS_MAX];
    size_t n_columns;
    enum table table;
};

static const struct column *column_named(const char *name, enum table table) {
    for (size_t i = 0; i < STN_COUNT(columns); i++)
        if (columns[i].tables & 1u << table && strcasecmp(columns[i].is.name, name) == 0)
            return &columns[i];
    return NULL;
}

static void all_columns(struct select *s) {
    for (size_t i = 0; i < STN_COUNT(columns); i++)
        if (columns[i].tables & 1u << s->table) s->columns[s->n_columns++] = &columns[i];
}

/* The columns that are named; 0 and `unknown` if one is not there. */
static int choose_columns(struct select *s, const char *text, const char *from, char unknown[64]) {
    char list[TEXT_BYTES], *rest = list;
    snprintf(list, sizeof list, "%.*s", (int)(from - text), text);
    for (char *name; (name = strsep(&rest, ", ")) != NULL;) {
        if (!*name) continue;
        if (strcmp(name, "*") == 0) {
            all_columns(s);
            continue;
        }
        const struct column *c = column_named(name, s->table);
        if (!c || s->n_columns == COLUMNS_MAX) {
            snprintf(unknown, 64, "%s", name);
            return 0;
        }
        s->columns[s->n_columns++] = c;
    }
    return 1;
}

static void send_selected(struct peer_conn *c, const struct peer_frame *f, const struct select *s,
                          const struct row_of *rows, size_t n_rows) {
    size_t n = s->n_columns * n_rows;
    struct peer_column heads[COLUMNS_MAX];
    struct cell *cells = calloc(n + 1, sizeof *cells);
    struct stn_cql_value *values = calloc(n + 1, sizeof *values);
    if (!cells || !values) peer_die("calloc");
    for (size_t i = 0; i < s->n_columns; i++) heads[i] = s->columns[i]->is;
    for (size_t i = 0; i < n; i++)
        values[i] = s->columns[i % s->n_columns]->value(&rows[i / s->n_columns], &cells[i]);
    peer_send_rows(c, f, heads, s->n_columns, values, n_rows);
    free(values);
    free(cells);
}

/* The keyspace that WHERE asks for, in quotes or as a bound value; "" for all. */
static void wanted_keyspace(const struct peer_frame *f, const char *where, char name[64]) {
    const char *quote = where ? strchr(where, '\'') : NULL;
    name[0] = 0;
    if (quote)
        snprintf(name, 64, "%.*s", (int)strcspn(quote + 1, "'"), quote + 1);
    else if (where && f->n_values && f->values[0].bytes > 0)
        snprintf(name, 64, "%.*s", (int)f->values[0].bytes, (const char *)f->values[0].data);
}

static void send_table(struct peer_conn *c, const struct peer_frame *f, const struct select *s) {
    const struct peer_options *o = peer_options_of(c->peer);
    struct row_of rows[64];
    size_t n = 0;
    char name[64];
    wanted_keyspace(f, strcasestr(f->text, " WHERE "), name);
    if (s->table == LOCAL)
        rows[n++] = (struct row_of){c->peer, peer_node_at(c->peer, c->node), NULL};
    for (size_t i = 0; s->table == PEERS && i < peer_n_nodes(c->peer); i++)
        if (i != c->node && !peer_node_at(c->peer, i)->hidden)
            rows[n++] = (struct row_of){c->peer, peer_node_at(c->peer, i), NULL};
    for (size_t i = 0; s->table == KEYSPACES && i < o->n_keyspaces && n < STN_COUNT(rows); i++)
        if (!name[0] || strcmp(name, o->keyspaces[i].name) == 0)
            rows[n++] = (struct row_of){c->peer, NULL, &o->keyspaces[i]};
    send_selected(c, f, s, rows, n);
}

static int table_named(const char *from, const struct peer_options *o, enum table *table) {
    static const struct {
        const char *name;
        enum table table;
    } tables[] = {{"system.local", LOCAL},
                  {"system.peers", PEERS},
                  {"system.peers_v2", PEERS},
                  {"system_schema.keyspaces", KEYSPACES}};
    size_t length = strcspn(from, " ;");
    for (size_t i = 0; i < STN_COUNT(tables); i++) {
        if (strlen(tables[i].name) != length || strncasecmp(tables[i].name, from, length) != 0)
            continue;
        if (o->without_peers_v2 && strcmp(tables[i].name, "system.peers_v2") == 0) return 0;
        *table = tables[i].table;
        return 1;
    }
    return 0;
}

static void serve_query(struct peer_conn *c, const struct peer_frame *f) {
    static const char select[] = "SELECT ", from[] = " FROM ";
    struct select s = {0};
    char unknown[64], text[128];
    const char *at = strcasestr(f->text, from);
    if (strncasecmp(f->text, select, sizeof select - 1) != 0 || !at ||
        !table_named(at + sizeof from - 1, peer_options_of(c->peer), &s.table)) {
        snprintf(text, sizeof text, "unconfigured table, says the peer: %.80s", f->text);
        peer_send_error(c, f->stream, STN_CQL_E_INVALID, text);
    } else if (!choose_columns(&s, f->text + sizeof select - 1, at, unknown)) {
        snprintf(text, sizeof text, "Undefined column name %s", unknown);
        peer_send_error(c, f->stream, STN_CQL_E_INVALID, text);
    } else {
        send_table(c, f, &s);
    }
}

/* ---- the handshake ---- */

static void keep_startup(struct peer_conn *c, const struct peer_frame *f) {
    struct stn_cursor body = stn_cursor(f->body, f->body_bytes);
    free(c->startup);
    c->startup = calloc(2, f->body_bytes + 2);
    if (!c->startup) peer_die("calloc");
    c->startup_bytes = 0;
    for (unsigned n = stn_get_be16(&body); n-- > 0;)
        for (int k = 0; k < 2; k++) { /* key, value */
            struct stn_text t = stn_get_string(&body);
            if (t.bytes) memcpy(c->startup + c->startup_bytes, t.data, t.bytes);
            c->startup_bytes += t.bytes + 1;
        }
}

static void serve_login(struct peer_conn *c, const struct peer_frame *f) {
    const struct peer_options *o = peer_options_of(c->peer);
    struct stn_cursor body = stn_cursor(f->body, f->body_bytes);
    struct stn_cql_value token = stn_get_value(&body);
    char want[256] = "", text[128];
    snprintf(want + 1, sizeof want - 1, "%s", o->user);
    snprintf(want + strlen(o->user) + 2, sizeof want - strlen(o->user) - 2, "%s", o->password);
    size_t bytes = strlen(o->user) + strlen(o->password) + 2;
    if (stn_value_equals(token, want, bytes)) {
        peer_send_auth_success(c, f->stream);
        return;
    }
    snprintf(text, sizeof text, "Provided username %s and/or password are incorrect", o->user);
    peer_send_error(c, f->stream, STN_CQL_E_CREDENTIALS, text);
}

void peer_manners(struct peer_conn *c, const struct peer_frame *f) {
    const struct peer_options *o = peer_options_of(c->peer);
    switch (f->opcode) {
    case STN_CQL_OPTIONS:
        peer_send_supported(c, f->stream);
        break;
    case STN_CQL_STARTUP:
        keep_startup(c, f);
        if (o->user)
            peer_send_authenticate(c, f->stream,
                                   o->authenticator
                                       ? o->authenticator
                                       : "org.apache.cassandra.auth.PasswordAuthenticator");
        else
            peer_send_ready(c, f->stream);
        break;
    case STN_CQL_AUTH_RESPONSE:
        serve_login(c, f);
        break;
    case STN_CQL_REGISTER:
        peer_send_ready(c, f->stream);
        break;
    case STN_CQL_QUERY:
        serve_query(c, f);
        break;
    default:
        peer_send_error(c, f->stream, STN_CQL_E_INVALID, "the peer was not told what to say");
    }
}
