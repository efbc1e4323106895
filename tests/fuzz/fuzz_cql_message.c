/* Bodies of answers: each decoder over the same bytes, behind a prelude whose flags are the first
 * byte. All views must lie in the body, all counts must be kept. */
#include "fuzz/fuzz.h"
#include "wire/message.h"

static const uint8_t *body;
static size_t body_bytes;

static void touch(const void *data, size_t bytes) {
    if (!bytes) return;
    const uint8_t *p = data;
    claim(p >= body && bytes <= body_bytes && (size_t)(p - body) <= body_bytes - bytes);
    fuzz_touch(data, bytes);
}
static void touch_text(struct stn_text t) { touch(t.data, t.bytes); }
static void touch_value(struct stn_cql_value v) {
    claim(v.bytes >= STN_CQL_UNSET && (v.data != NULL) == (v.bytes >= 0));
    if (v.bytes > 0) touch(v.data, (size_t)v.bytes);
}
static void touch_pair(void *ctx, struct stn_text key, struct stn_text value) {
    size_t *n = ctx;
    touch_text(key);
    touch_text(value);
    claim(++*n <= body_bytes / 2);
}

static void failure(struct stn_cursor c) {
    struct stn_cql_failure f;
    char name[32];
    int rc = stn_cql_failure_parse(&c, &f);
    claim(rc == STERNA_OK || rc == STERNA_EPROTO);
    touch_text(f.message);
    touch_text(f.write_type);
    touch_text(f.statement_id);
    touch_text(f.keyspace);
    touch_text(f.table);
    claim(stn_cql_failure_name(f.code, name, sizeof name)[0]);
}

static void event(struct stn_cursor c) {
    struct stn_cql_event e;
    int rc = stn_cql_event_parse(&c, &e);
    claim(rc == STERNA_OK || rc == STERNA_EPROTO);
    claim(e.address_bytes == 0 || e.address_bytes == 4 || e.address_bytes == 16);
    touch_text(e.type);
    touch_text(e.change);
}

static void metadata(struct stn_cql_metadata m) {
    struct stn_cql_column column;
    uint32_t n = 0;
    touch_value(m.paging_state);
    for (uint32_t i = 0; i < m.n_key; i++) claim(stn_get_be16(&m.key) < m.n_columns);
    claim(m.key.left == 0 && !m.key.overrun);
    for (; stn_cql_column_next(&m, &column); n++) {
        touch_text(column.keyspace);
        touch_text(column.table);
        touch_text(column.name);
        touch_text(column.custom);
    }
    claim(n == (m.flags & STN_CQL_NO_METADATA ? 0 : m.n_columns));
    claim(!m.columns.overrun);
}

static void result(struct stn_cursor c) {
    struct stn_cql_result_head head;
    int rc = stn_cql_result_parse(&c, &head);
    claim(rc == STERNA_OK || rc == STERNA_EPROTO);
    touch_text(head.id);
    touch_text(head.keyspace);
    if (rc < 0) return;
    if (head.kind == STN_CQL_PREPARED) {
        metadata(head.params);
        metadata(head.columns);
    }
    if (head.kind != STN_CQL_ROWS) return;
    metadata(head.rows);
    uint64_t n_values = (uint64_t)head.n_rows * head.rows.n_columns;
    claim(n_values <= body_bytes / 4);
    for (uint64_t i = 0; i < n_values; i++) touch_value(stn_get_value(&c));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct stn_cql_prelude prelude;
    size_t n_pairs = 0;
    if (size < 1) return 0;
    body = data + 1;
    body_bytes = size - 1;
    struct stn_cursor c = stn_cursor(body, body_bytes);
    int rc = stn_cql_prelude_parse(&c, data[0], &prelude);
    claim(rc == STERNA_OK || rc == STERNA_EPROTO);
    touch_text(prelude.warning);
    touch_value(prelude.tablets);
    if (rc < 0) return 0;
    failure(c);
    event(c);
    result(c);
    struct stn_cursor supported = c;
    rc = stn_cql_supported_parse(&supported, touch_pair, &n_pairs);
    claim(rc == STERNA_OK || rc == STERNA_EPROTO);
    return 0;
}
