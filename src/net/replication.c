/* The replication of a keyspace, as system_schema tells it. What this client does not know is
 * STN_REPLICATION_UNKNOWN: then any node will do, and only bytes that are no map are an error. */
#include <string.h>

#include "net/ring.h"

static int ends_with(struct stn_text t, const char *suffix) {
    size_t n = strlen(suffix);
    return t.bytes >= n && memcmp(t.data + t.bytes - n, suffix, n) == 0;
}

static int kind_of(struct stn_text class_name) {
    if (ends_with(class_name, "NetworkTopologyStrategy")) return STN_REPLICATION_TOPOLOGY;
    if (ends_with(class_name, "SimpleStrategy")) return STN_REPLICATION_SIMPLE;
    if (ends_with(class_name, "EverywhereStrategy")) return STN_REPLICATION_EVERYWHERE;
    if (ends_with(class_name, "LocalStrategy")) return STN_REPLICATION_LOCAL;
    return STN_REPLICATION_UNKNOWN;
}

/* "3", and "3/1" of transient replication: three in all. 0 if it is no number. */
static int get_count(struct stn_text t, unsigned *n) {
    size_t i = 0;
    for (*n = 0; i < t.bytes && t.data[i] >= '0' && t.data[i] <= '9'; i++) {
        *n = *n * 10 + (unsigned)(t.data[i] - '0');
        if (*n > UINT16_MAX) *n = UINT16_MAX; /* more than there can be nodes */
    }
    return i > 0 && (i == t.bytes || t.data[i] == '/');
}

static int is(struct stn_text t, const char *text) {
    return t.bytes == strlen(text) && memcmp(t.data, text, t.bytes) == 0;
}

/* A pair that is not the class: the factor of a data centre. 0 if it is none that we understand. */
static int add_factor(struct stn_replication *r, struct stn_text key, struct stn_text value) {
    unsigned n;
    if (r->n_factors == STN_COUNT(r->factors) || key.bytes >= sizeof r->factors[0].dc) return 0;
    if (!get_count(value, &n)) return 0;
    if (key.bytes) memcpy(r->factors[r->n_factors].dc, key.data, key.bytes);
    r->factors[r->n_factors++].n = n;
    return 1;
}

int stn_replication_parse(struct stn_cql_value map, struct stn_replication *out) {
    *out = (struct stn_replication){.kind = STN_REPLICATION_UNKNOWN};
    if (map.bytes < 4) return STERNA_EPROTO;
    struct stn_cursor c = stn_cursor(map.data, (size_t)map.bytes);
    uint32_t pairs = stn_get_be32(&c);
    int kind = STN_REPLICATION_UNKNOWN, understood = 1;
    for (uint32_t i = 0; i < pairs; i++) {
        struct stn_cql_value k = stn_get_value(&c), v = stn_get_value(&c);
        if (c.overrun || k.bytes < 0 || v.bytes < 0) return STERNA_EPROTO;
        struct stn_text key = {(const char *)k.data, (size_t)k.bytes};
        struct stn_text value = {(const char *)v.data, (size_t)v.bytes};
        if (is(key, "class"))
            kind = kind_of(value);
        else if (!add_factor(out, key, value))
            understood = 0;
    }
    if (kind == STN_REPLICATION_SIMPLE) { /* its factor has a name that is no data centre's */
        if (out->n_factors != 1 || strcmp(out->factors[0].dc, "replication_factor") != 0)
            understood = 0;
        out->factors[0].dc[0] = 0;
    }
    if (!understood && kind != STN_REPLICATION_EVERYWHERE && kind != STN_REPLICATION_LOCAL)
        kind = STN_REPLICATION_UNKNOWN;
    if (kind != STN_REPLICATION_SIMPLE && kind != STN_REPLICATION_TOPOLOGY) out->n_factors = 0;
    out->kind = kind;
    return STERNA_OK;
}
