/* Terms of a statement as values of a column. */
#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/digest.h"
#include "statement.h"

static int mismatch(const struct term *t, const struct type *type, struct failure *f) {
    return refuse(f, STN_CQL_E_INVALID, "Invalid constant (%.60s) for a value of type %s",
                  t->text ? t->text : "collection", type->name);
}

static int hex_digit(char c) {
    return c >= '0' && c <= '9'                 ? c - '0'
           : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10
                                                : -1;
}

/* Hex digits, dashes between them skipped. */
static int from_hex(const char *text, struct scratch *scratch, struct stn_cql_value *out) {
    uint8_t *to = scratch_take(scratch, strlen(text) / 2 + 1);
    size_t n = 0;
    for (; *text; text++) {
        if (*text == '-') continue;
        int digit = hex_digit(*text);
        if (digit < 0) return -1;
        to[n / 2] = (uint8_t)(to[n / 2] << 4 | digit);
        n++;
    }
    *out = stn_value_of(to, n / 2);
    return n % 2 ? -1 : 0;
}

static size_t number_bytes(uint16_t id) {
    switch (id) {
    case STN_CQL_BIGINT:
    case STN_CQL_COUNTER:
    case STN_CQL_TIMESTAMP:
    case STN_CQL_TIME:
    case STN_CQL_DOUBLE:
        return 8;
    case STN_CQL_INT:
    case STN_CQL_DATE:
    case STN_CQL_FLOAT:
        return 4;
    case STN_CQL_SMALLINT:
        return 2;
    case STN_CQL_TINYINT:
        return 1;
    default:
        return 0;
    }
}

static int from_number(const char *text, uint16_t id, struct scratch *scratch,
                       struct stn_cql_value *out) {
    size_t bytes = number_bytes(id);
    uint64_t bits;
    char *end;
    errno = 0;
    if (id == STN_CQL_DOUBLE) {
        double d = strtod(text, &end);
        memcpy(&bits, &d, sizeof bits);
    } else if (id == STN_CQL_FLOAT) {
        float single = strtof(text, &end);
        uint32_t half;
        memcpy(&half, &single, sizeof half);
        bits = half;
    } else {
        int64_t n = strtoll(text, &end, 10);
        if (bytes && bytes < 8 && (n >> (8 * bytes - 1)) != 0 && (n >> (8 * bytes - 1)) != -1)
            return -1;
        bits = (uint64_t)n;
    }
    if (!bytes || errno || *end) return -1;
    uint8_t *to = scratch_take(scratch, bytes);
    for (size_t i = 0; i < bytes; i++) to[i] = (uint8_t)(bits >> (8 * (bytes - 1 - i)));
    *out = stn_value_of(to, bytes);
    return 0;
}

static int from_items(const struct term *t, const struct type *type, const struct bound *bound,
                      struct scratch *scratch, struct stn_cql_value *out, struct failure *f) {
    int per_item = type->id == STN_CQL_MAP ? 2 : 1;
    if (type->id != STN_CQL_MAP && type->id != STN_CQL_LIST && type->id != STN_CQL_SET)
        return mismatch(t, type, f);
    if (t->n_items == 0) { /* an empty collection is null */
        *out = stn_value_null();
        return 0;
    }
    struct stn_cql_value *items = scratch_take(scratch, t->n_items * sizeof *items);
    size_t bytes = 4;
    for (size_t i = 0; i < t->n_items; i++) {
        struct type item = {.id = type->items[per_item == 2 ? i % 2 : 0], .name = "item"};
        if (term_value(&t->items[i], &item, bound, scratch, &items[i], f) < 0) return -1;
        bytes += 4 + (items[i].bytes > 0 ? (size_t)items[i].bytes : 0);
    }
    struct stn_writer w = {scratch_take(scratch, bytes), bytes, 0};
    stn_put_be32(&w, (uint32_t)(t->n_items / (size_t)per_item));
    for (size_t i = 0; i < t->n_items; i++) stn_put_value(&w, items[i]);
    *out = stn_value_of(w.to, w.used);
    return 0;
}

static int from_clock(struct scratch *scratch, struct stn_cql_value *out) {
    uint8_t *to = scratch_take(scratch, 16);
    struct timespec now;
    if (stn_uuid4(to, NULL) < 0) return -1;
    clock_gettime(CLOCK_REALTIME, &now);
    uint64_t ticks = (uint64_t)now.tv_sec * 10000000 + (uint64_t)now.tv_nsec / 100;
    ticks += UINT64_C(0x01B21DD213814000); /* 1582-10-15 */
    for (int i = 0; i < 4; i++) to[i] = (uint8_t)(ticks >> (24 - 8 * i));
    to[4] = (uint8_t)(ticks >> 40);
    to[5] = (uint8_t)(ticks >> 32);
    to[6] = (uint8_t)(0x10 | (ticks >> 56 & 15));
    to[7] = (uint8_t)(ticks >> 48);
    *out = stn_value_of(to, 16);
    return 0;
}

static int from_address(const char *text, struct scratch *scratch, struct stn_cql_value *out) {
    uint8_t *to = scratch_take(scratch, 16);
    int is_v6 = strchr(text, ':') != NULL;
    *out = stn_value_of(to, is_v6 ? 16 : 4);
    return inet_pton(is_v6 ? AF_INET6 : AF_INET, text, to) == 1 ? 0 : -1;
}

static int is_text(uint16_t id) { return id == STN_CQL_VARCHAR || id == STN_CQL_ASCII; }

static int from_literal(const struct term *t, uint16_t id, struct scratch *scratch,
                        struct stn_cql_value *out) {
    int is_uuid = id == STN_CQL_UUID || id == STN_CQL_TIMEUUID;
    uint8_t *one;
    switch (t->kind) {
    case TERM_STRING:
        if (id == STN_CQL_INET) return from_address(t->text, scratch, out);
        if (!is_text(id)) return -1;
        *out = stn_value_of(t->text, strlen(t->text));
        return 0;
    case TERM_NUMBER:
        return from_number(t->text, id, scratch, out);
    case TERM_UUID:
        return is_uuid ? from_hex(t->text, scratch, out) : -1;
    case TERM_HEX:
        return id == STN_CQL_BLOB ? from_hex(t->text + 2, scratch, out) : -1;
    case TERM_BOOLEAN:
        if (id != STN_CQL_BOOLEAN) return -1;
        one = scratch_take(scratch, 1);
        *one = (t->text[0] | 32) == 't';
        *out = stn_value_of(one, 1);
        return 0;
    case TERM_NOW:
        return is_uuid ? from_clock(scratch, out) : -1;
    case TERM_RANDOM:
        one = scratch_take(scratch, 16);
        *out = stn_value_of(one, 16);
        return is_uuid ? stn_uuid4(one, NULL) : -1;
    default:
        return -1;
    }
}

int term_value(const struct term *t, const struct type *type, const struct bound *bound,
               struct scratch *scratch, struct stn_cql_value *out, struct failure *f) {
    *out = stn_value_null();
    if (t->kind == TERM_NULL) return 0;
    if (t->kind == TERM_MARKER) {
        if (t->marker >= bound->n)
            return refuse(f, STN_CQL_E_INVALID, "Invalid amount of bind variables");
        *out = bound->values[t->marker];
        return type_check(type, "bound", *out, f);
    }
    if (t->kind == TERM_ITEMS) return from_items(t, type, bound, scratch, out, f);
    return from_literal(t, type->id, scratch, out) < 0 ? mismatch(t, type, f) : 0;
}
