/* Owns the notations: every length is checked against the bytes that are left before it is used. */
#include "wire/types.h"

#include <assert.h>
#include <string.h>

static uint64_t load_be(const uint8_t *p, size_t bytes) {
    uint64_t v = 0;
    for (size_t i = 0; i < bytes; i++) v = v << 8 | p[i];
    return v;
}

static void store_be(uint8_t *to, uint64_t v, size_t bytes) {
    for (size_t i = bytes; i-- > 0; v >>= 8) to[i] = (uint8_t)v;
}

static uint64_t get_be(struct stn_cursor *c, size_t bytes) {
    const uint8_t *p = stn_get_bytes(c, bytes);
    return p ? load_be(p, bytes) : 0;
}

uint16_t stn_get_be16(struct stn_cursor *c) { return (uint16_t)get_be(c, 2); }
uint32_t stn_get_be32(struct stn_cursor *c) { return (uint32_t)get_be(c, 4); }
uint64_t stn_get_be64(struct stn_cursor *c) { return get_be(c, 8); }

static void mark_overrun(struct stn_cursor *c) {
    c->overrun = 1;
    c->left = 0;
}

static struct stn_text get_text(struct stn_cursor *c, size_t bytes) {
    const uint8_t *p = stn_get_bytes(c, bytes);
    return (struct stn_text){(const char *)p, p ? bytes : 0};
}

struct stn_text stn_get_string(struct stn_cursor *c) {
    return get_text(c, stn_get_be16(c));
}
struct stn_text stn_get_short_bytes(struct stn_cursor *c) {
    return get_text(c, stn_get_be16(c));
}

struct stn_text stn_get_long_string(struct stn_cursor *c) {
    int32_t bytes = (int32_t)stn_get_be32(c);
    if (bytes < 0) mark_overrun(c);
    return get_text(c, bytes < 0 ? 0 : (size_t)bytes);
}

struct stn_cql_value stn_get_value(struct stn_cursor *c) {
    int32_t bytes = (int32_t)stn_get_be32(c);
    if (c->overrun) return stn_value_null();
    if (bytes == STN_CQL_NULL || bytes == STN_CQL_UNSET) return (struct stn_cql_value){NULL, bytes};
    if (bytes < 0) mark_overrun(c);
    const uint8_t *p = bytes < 0 ? NULL : stn_get_bytes(c, (size_t)bytes);
    return p ? (struct stn_cql_value){p, bytes} : stn_value_null();
}

static void put_be(struct stn_writer *w, uint64_t v, size_t bytes) {
    uint8_t be[8];
    store_be(be, v, bytes);
    stn_put_bytes(w, be, bytes);
}

void stn_put_be16(struct stn_writer *w, uint16_t v) { put_be(w, v, 2); }
void stn_put_be32(struct stn_writer *w, uint32_t v) { put_be(w, v, 4); }
void stn_put_be64(struct stn_writer *w, uint64_t v) { put_be(w, v, 8); }

void stn_put_string(struct stn_writer *w, const char *text) {
    size_t bytes = strlen(text);
    assert(bytes <= UINT16_MAX);
    stn_put_be16(w, (uint16_t)bytes);
    stn_put_bytes(w, text, bytes);
}

void stn_put_long_string(struct stn_writer *w, const char *text) {
    size_t bytes = strlen(text);
    assert(bytes <= INT32_MAX);
    stn_put_be32(w, (uint32_t)bytes);
    stn_put_bytes(w, text, bytes);
}

void stn_put_value(struct stn_writer *w, struct stn_cql_value v) {
    stn_put_be32(w, (uint32_t)v.bytes);
    if (v.bytes > 0) stn_put_bytes(w, v.data, (size_t)v.bytes);
}

int32_t stn_value_int(struct stn_cql_value v) {
    return v.bytes == 4 ? (int32_t)load_be(v.data, 4) : 0;
}

int64_t stn_value_bigint(struct stn_cql_value v) {
    return v.bytes == 8 ? (int64_t)load_be(v.data, 8) : 0;
}

struct stn_text stn_value_string(struct stn_cql_value v) {
    return (struct stn_text){(const char *)v.data, v.bytes > 0 ? (size_t)v.bytes : 0};
}

int stn_value_equals(struct stn_cql_value v, const void *data, size_t bytes) {
    return v.bytes >= 0 && (size_t)v.bytes == bytes &&
           (bytes == 0 || memcmp(v.data, data, bytes) == 0);
}

struct stn_cql_value stn_value_from_int(int32_t v, uint8_t to[4]) {
    store_be(to, (uint32_t)v, 4);
    return stn_value_of(to, 4);
}

struct stn_cql_value stn_value_from_smallint(int16_t v, uint8_t to[2]) {
    store_be(to, (uint16_t)v, 2);
    return stn_value_of(to, 2);
}

struct stn_cql_value stn_value_from_bigint(int64_t v, uint8_t to[8]) {
    store_be(to, (uint64_t)v, 8);
    return stn_value_of(to, 8);
}
