/* Notations of the protocol's section 3: big-endian integers, strings, [bytes], over the bounded
 * cursor and the measuring writer of base/bytes.h. Reading past the end gives 0 or an empty view
 * and sets `overrun`. Knows no message. */
#ifndef STN_TYPES_H
#define STN_TYPES_H

#include "base/base.h"
#include "base/bytes.h"
#include "wire/cql.h"

struct stn_text { /* borrowed bytes; not terminated */
    const char *data;
    size_t bytes;
};

#define STN_CQL_NULL (-1)
#define STN_CQL_UNSET (-2)

struct stn_cql_value { /* [value]: borrowed */
    const uint8_t *data;
    int32_t bytes; /* or STN_CQL_NULL, STN_CQL_UNSET */
};

uint16_t stn_get_be16(struct stn_cursor *c);
uint32_t stn_get_be32(struct stn_cursor *c);
uint64_t stn_get_be64(struct stn_cursor *c);
struct stn_text stn_get_string(struct stn_cursor *c);      /* u16 length */
struct stn_text stn_get_long_string(struct stn_cursor *c); /* i32 length */
struct stn_cql_value stn_get_value(struct stn_cursor *c);  /* [bytes] and [value]: i32 length */
struct stn_text stn_get_short_bytes(struct stn_cursor *c); /* u16 length */

void stn_put_be16(struct stn_writer *w, uint16_t v);
void stn_put_be32(struct stn_writer *w, uint32_t v);
void stn_put_be64(struct stn_writer *w, uint64_t v);
void stn_put_string(struct stn_writer *w, const char *text); /* u16 length */
void stn_put_long_string(struct stn_writer *w, const char *text);
void stn_put_value(struct stn_writer *w, struct stn_cql_value v);

/* Values of a column, out of and into [value]s. The getters return 0 for null and for a value of
 * another length than the type has. */
int32_t stn_value_int(struct stn_cql_value v);
int64_t stn_value_bigint(struct stn_cql_value v);
struct stn_text stn_value_string(struct stn_cql_value v);
int stn_value_equals(struct stn_cql_value v, const void *data, size_t bytes);

static inline struct stn_cql_value stn_value_of(const void *data, size_t bytes) {
    return (struct stn_cql_value){(const uint8_t *)data, (int32_t)bytes};
}
static inline struct stn_cql_value stn_value_null(void) {
    return (struct stn_cql_value){NULL, STN_CQL_NULL};
}
static inline struct stn_cql_value stn_value_unset(void) {
    return (struct stn_cql_value){NULL, STN_CQL_UNSET};
}
/* Big-endian bytes of a number in the caller's memory, as a value. */
struct stn_cql_value stn_value_from_int(int32_t v, uint8_t to[4]);
struct stn_cql_value stn_value_from_smallint(int16_t v, uint8_t to[2]);
struct stn_cql_value stn_value_from_bigint(int64_t v, uint8_t to[8]);

#endif
