#include "type.h"

#include <stdio.h>
#include <string.h>

static const struct {
    const char *name;
    uint16_t id;
    int8_t bytes; /* 0: any */
} bare[] = {
    {"ascii", STN_CQL_ASCII, 0},
    {"bigint", STN_CQL_BIGINT, 8},
    {"blob", STN_CQL_BLOB, 0},
    {"boolean", STN_CQL_BOOLEAN, 1},
    {"counter", STN_CQL_COUNTER, 8},
    {"decimal", STN_CQL_DECIMAL, 0},
    {"double", STN_CQL_DOUBLE, 8},
    {"float", STN_CQL_FLOAT, 4},
    {"int", STN_CQL_INT, 4},
    {"timestamp", STN_CQL_TIMESTAMP, 8},
    {"uuid", STN_CQL_UUID, 16},
    {"text", STN_CQL_VARCHAR, 0},
    {"varchar", STN_CQL_VARCHAR, 0},
    {"varint", STN_CQL_VARINT, 0},
    {"timeuuid", STN_CQL_TIMEUUID, 16},
    {"inet", STN_CQL_INET, 0},
    {"date", STN_CQL_DATE, 4},
    {"time", STN_CQL_TIME, 8},
    {"smallint", STN_CQL_SMALLINT, 2},
    {"tinyint", STN_CQL_TINYINT, 1},
};

int type_by_name(const char *name, struct type *out) {
    for (size_t i = 0; i < STN_COUNT(bare); i++)
        if (strcmp(bare[i].name, name) == 0) {
            *out = (struct type){.id = bare[i].id};
            snprintf(out->name, sizeof out->name, "%s",
                     strcmp(name, "varchar") == 0 ? "text" : name);
            return 0;
        }
    return -1;
}

void type_of_items(uint16_t id, const struct type *a, const struct type *b, struct type *out) {
    struct type t = {.id = id, .items = {a->id, b ? b->id : 0}};
    const char *what = id == STN_CQL_LIST ? "list" : id == STN_CQL_SET ? "set" : "map";
    snprintf(t.name, sizeof t.name, "%s<%.20s%s%.20s>", what, a->name, b ? ", " : "",
             b ? b->name : "");
    *out = t;
}

/* ---- order ---- */

static int sign(int64_t a, int64_t b) { return (a > b) - (a < b); }

static int compare_bytes(struct stn_cql_value a, struct stn_cql_value b) {
    size_t n = (size_t)STN_MIN(a.bytes, b.bytes);
    int order = n ? memcmp(a.data, b.data, n) : 0;
    return order ? order : sign(a.bytes, b.bytes);
}

static int64_t number(struct stn_cql_value v) {
    uint64_t n = v.bytes > 0 && (v.data[0] & 0x80) ? UINT64_MAX : 0;
    for (int32_t i = 0; i < v.bytes; i++) n = n << 8 | v.data[i];
    return (int64_t)n;
}

static uint64_t uuid_time(const uint8_t *u) {
    uint64_t high = (uint64_t)(u[6] & 15) << 8 | u[7], middle = (uint64_t)u[4] << 8 | u[5];
    uint64_t low = (uint64_t)u[0] << 24 | (uint64_t)u[1] << 16 | (uint64_t)u[2] << 8 | u[3];
    return high << 48 | middle << 32 | low;
}

/* UUIDType: by version, version 1 by its time, the rest by bytes. */
static int compare_uuids(struct stn_cql_value a, struct stn_cql_value b) {
    if (a.bytes != 16 || b.bytes != 16) return sign(a.bytes, b.bytes);
    int version = a.data[6] >> 4;
    if (version != b.data[6] >> 4) return sign(version, b.data[6] >> 4);
    if (version == 1) {
        uint64_t at = uuid_time(a.data), bt = uuid_time(b.data);
        if (at != bt) return at < bt ? -1 : 1;
    }
    return compare_bytes(a, b);
}

static int compare_doubles(struct stn_cql_value a, struct stn_cql_value b) {
    uint64_t bits[2] = {(uint64_t)number(a), (uint64_t)number(b)};
    double d[2];
    memcpy(d, bits, sizeof d);
    return (d[0] > d[1]) - (d[0] < d[1]);
}

int type_compare(uint16_t id, struct stn_cql_value a, struct stn_cql_value b) {
    if (a.bytes < 0 || b.bytes < 0) return sign(a.bytes, b.bytes);
    switch (id) {
    case STN_CQL_BIGINT:
    case STN_CQL_COUNTER:
    case STN_CQL_INT:
    case STN_CQL_SMALLINT:
    case STN_CQL_TINYINT:
    case STN_CQL_TIMESTAMP:
    case STN_CQL_TIME:
        return sign(number(a), number(b));
    case STN_CQL_DOUBLE:
        return compare_doubles(a, b);
    case STN_CQL_UUID:
    case STN_CQL_TIMEUUID:
        return compare_uuids(a, b);
    default:
        return compare_bytes(a, b);
    }
}

int type_check(const struct type *t, const char *column, struct stn_cql_value v,
               struct failure *f) {
    for (size_t i = 0; i < STN_COUNT(bare); i++) {
        int8_t bytes = bare[i].bytes;
        if (bare[i].id == t->id && bytes && v.bytes > 0 && v.bytes != bytes)
            return refuse(f, STN_CQL_E_INVALID, "Invalid %s value for column %s: %d bytes, not %d",
                          t->name, column, v.bytes, bytes);
    }
    return 0;
}
