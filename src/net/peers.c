#include "net/peers.h"

#include <stdio.h>
#include <string.h>

/* ---- tables ---- */

static int copy_columns(struct stn_table *out, const struct stn_cql_result_head *head) {
    struct stn_cql_metadata m = head->rows;
    struct stn_cql_column column;
    out->columns = stn_array(m.n_columns, sizeof *out->columns);
    if (!out->columns) return STERNA_ENOMEM;
    for (size_t i = 0; i < m.n_columns && stn_cql_column_next(&m, &column); i++) {
        snprintf(out->columns[i].name, sizeof out->columns[i].name, "%.*s", (int)column.name.bytes,
                 column.name.data);
        out->columns[i].type = column.type;
    }
    return STERNA_OK;
}

int stn_table_copy(struct stn_table *out, const struct stn_cql_result_head *head,
                   struct stn_cursor values) {
    *out = (struct stn_table){0};
    if (head->kind != STN_CQL_ROWS) return STERNA_OK;
    int rc = stn_rows_copy(&out->rows, head, values);
    if (rc == STERNA_OK && !(head->rows.flags & STN_CQL_NO_METADATA)) rc = copy_columns(out, head);
    if (rc < 0) stn_table_free(out);
    return rc;
}

void stn_table_free(struct stn_table *t) {
    stn_rows_free(&t->rows);
    free(t->columns);
    t->columns = NULL;
}

struct stn_cql_value stn_table_value(const struct stn_table *t, size_t row, const char *column) {
    for (size_t i = 0; t->columns && i < t->rows.n_columns; i++)
        if (strcmp(t->columns[i].name, column) == 0)
            return t->rows.values[row * t->rows.n_columns + i];
    return stn_value_null();
}

/* ---- nodes ---- */

static void take_text(const struct stn_table *t, size_t row, const char *column, char *to,
                      size_t bytes) {
    struct stn_text text = stn_value_string(stn_table_value(t, row, column));
    snprintf(to, bytes, "%.*s", (int)text.bytes, text.data ? text.data : "");
}

static int take_uuid(const struct stn_table *t, size_t row, const char *column, uint8_t to[16]) {
    struct stn_cql_value v = stn_table_value(t, row, column);
    if (v.bytes != 16) return 0;
    memcpy(to, v.data, 16);
    return 1;
}

/* set<text> of decimal numbers; other partitioners' tokens are none, and left out. */
static int take_tokens(struct stn_peer *p, struct stn_cql_value set) {
    struct stn_cursor c = stn_cursor(set.data, set.bytes > 0 ? (size_t)set.bytes : 0);
    uint32_t n = stn_get_be32(&c);
    if (c.overrun || n > c.left / 4) return STERNA_EPROTO;
    p->tokens = stn_array(n, sizeof *p->tokens);
    if (!p->tokens) return STERNA_ENOMEM;
    for (uint32_t i = 0; i < n; i++) {
        char digits[32];
        struct stn_text text = stn_value_string(stn_get_value(&c));
        snprintf(digits, sizeof digits, "%.*s", (int)text.bytes, text.data ? text.data : "");
        char *end;
        int64_t token = strtoll(digits, &end, 10);
        if (*digits && !*end) p->tokens[p->n_tokens++] = token;
    }
    return c.overrun ? STERNA_EPROTO : STERNA_OK;
}

/* peers_v2 has native_address and native_port, peers has rpc_address; 0.0.0.0 there means `peer`.
 */
static int take_address(struct stn_peer *p, const struct stn_table *t, size_t row,
                        uint16_t default_port) {
    struct stn_cql_value ip = stn_table_value(t, row, "native_address");
    struct stn_cql_value port = stn_table_value(t, row, "native_port");
    struct stn_cql_value peer = stn_table_value(t, row, "peer");
    uint16_t number = port.bytes == 4 ? (uint16_t)stn_value_int(port) : default_port;
    if (ip.bytes <= 0) ip = stn_table_value(t, row, "rpc_address");
    if (ip.bytes <= 0 || stn_address_from_ip(&p->address, ip.data, (size_t)ip.bytes, number) < 0)
        return 0;
    if (!stn_address_is_any(&p->address)) return 1;
    return peer.bytes > 0 &&
           stn_address_from_ip(&p->address, peer.data, (size_t)peer.bytes, number) == STERNA_OK;
}

int stn_peer_parse(struct stn_peer *out, const struct stn_table *t, size_t row, int is_local,
                   uint16_t default_port, const char **why) {
    char partitioner[96];
    *out = (struct stn_peer){0};
    *why = NULL;
    take_text(t, row, "data_center", out->dc, sizeof out->dc);
    take_text(t, row, "rack", out->rack, sizeof out->rack);
    take_text(t, row, "release_version", out->release, sizeof out->release);
    take_text(t, row, "cluster_name", out->cluster, sizeof out->cluster);
    take_text(t, row, "partitioner", partitioner, sizeof partitioner);
    take_uuid(t, row, "schema_version", out->schema_version);
    const char *end = strrchr(partitioner, '.');
    out->murmur3 = strcmp(end ? end + 1 : partitioner, "Murmur3Partitioner") == 0;
    if (!take_uuid(t, row, "host_id", out->host_id)) *why = "no host_id";
    if (!out->dc[0]) *why = "no data_center";
    if (!is_local && !take_address(out, t, row, default_port)) *why = "no address";
    int rc = take_tokens(out, stn_table_value(t, row, "tokens"));
    if (rc == STERNA_EPROTO || (rc == STERNA_OK && out->n_tokens == 0 && out->murmur3 && is_local))
        *why = "no tokens";
    if (rc == STERNA_OK && !is_local && out->n_tokens == 0) *why = "no tokens";
    if (rc != STERNA_ENOMEM && *why) rc = STERNA_EPROTO;
    if (rc < 0) stn_peer_fini(out);
    return rc;
}

void stn_peer_fini(struct stn_peer *p) {
    free(p->tokens);
    *p = (struct stn_peer){0};
}
