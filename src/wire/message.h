/* Messages of the protocol's section 4: requests into a writer (a whole frame each, the length in
 * its header patched), answers out of a body. Views point into the body. Knows no socket, no clock,
 * no table of ours. */
#ifndef STN_MESSAGE_H
#define STN_MESSAGE_H

#include "wire/types.h"

/* ---- requests ---- */

/* Each puts one whole frame. With w->cap too small only w->used is right: measure, then write. */
void stn_cql_put_options(struct stn_writer *w, int16_t stream);
struct stn_cql_pair {
    const char *key, *value;
};
void stn_cql_put_startup(struct stn_writer *w, int16_t stream, const struct stn_cql_pair *pairs,
                         size_t n);
void stn_cql_put_auth_response(struct stn_writer *w, int16_t stream, const void *token,
                               size_t bytes);
/* SASL PLAIN: 0 user 0 password. */
void stn_cql_put_auth_plain(struct stn_writer *w, int16_t stream, const char *user,
                            const char *password);
void stn_cql_put_register(struct stn_writer *w, int16_t stream, const char *const *events,
                          size_t n);
void stn_cql_put_prepare(struct stn_writer *w, int16_t stream, const char *text);

struct stn_cql_query { /* what QUERY and EXECUTE share */
    uint16_t consistency;
    uint16_t serial_consistency; /* 0: not sent */
    int skip_metadata;
    const struct stn_cql_value *values;
    size_t n_values;
    int32_t page_size;                 /* 0: no paging */
    struct stn_cql_value paging_state; /* data NULL: from the beginning */
    int64_t timestamp_us;              /* 0: the server's */
};
void stn_cql_put_query(struct stn_writer *w, int16_t stream, const char *text,
                       const struct stn_cql_query *q);
void stn_cql_put_execute(struct stn_writer *w, int16_t stream, const void *id, size_t id_bytes,
                         const struct stn_cql_query *q);

/* The stream of a frame that is written already. */
void stn_cql_set_stream(uint8_t *frame, int16_t stream);

/* ---- answers ---- */

struct stn_cql_header {
    uint8_t version, flags, opcode;
    int16_t stream;
    uint32_t body_bytes;
};
void stn_cql_header_parse(const uint8_t head[STN_CQL_HEADER_BYTES], struct stn_cql_header *h);

/* What may stand before every answer's message (section 2.2 and 4.2). */
struct stn_cql_prelude {
    uint16_t n_warnings;
    struct stn_text warning;      /* the first one */
    struct stn_cql_value tablets; /* payload "tablets-routing-v1"; data NULL: none */
};
/* Moves the cursor behind it. EPROTO if it is cut short. */
int stn_cql_prelude_parse(struct stn_cursor *c, uint8_t flags, struct stn_cql_prelude *out);

struct stn_cql_failure { /* ERROR */
    uint32_t code;       /* enum stn_cql_error_code, or one that the server advertised */
    struct stn_text message;
    /* details, 0 where the code has none or the body is too short for them */
    uint16_t consistency;
    int32_t received, required, alive;
    uint8_t data_present;
    struct stn_text write_type;      /* write timeout and failure */
    struct stn_text statement_id;    /* unprepared */
    struct stn_text keyspace, table; /* already exists */
};
int stn_cql_failure_parse(struct stn_cursor *c, struct stn_cql_failure *out); /* EPROTO */
/* "read timeout", "overloaded" ...; "error 0x1234" is made in buf. */
const char *stn_cql_failure_name(uint32_t code, char *buf, size_t buf_bytes);

/* SUPPORTED: calls each(key, value) for every pair of the multimap; EPROTO. */
int stn_cql_supported_parse(struct stn_cursor *c,
                            void (*each)(void *ctx, struct stn_text key, struct stn_text value),
                            void *ctx);

struct stn_cql_column {
    struct stn_text keyspace, table, name; /* keyspace and table are empty when asked for none */
    uint16_t type;                         /* enum stn_cql_type of the outermost */
    struct stn_text custom;                /* class name of a custom type */
};

/* A list of columns at the head of ROWS and twice in PREPARED. `columns_at` is where the specs
 * begin, to be walked with stn_cql_column_next(). */
struct stn_cql_metadata {
    uint32_t flags, n_columns;
    struct stn_cql_value paging_state; /* data NULL: this was the last page */
    uint32_t n_key;                    /* PREPARED: columns of the partition key */
    struct stn_cursor key;             /* n_key u16s: index of the bind variable of each */
    struct stn_text keyspace, table;   /* when global */
    struct stn_cursor columns;
};
enum { STN_CQL_GLOBAL_SPEC = 1, STN_CQL_MORE_PAGES = 2, STN_CQL_NO_METADATA = 4 };
/* Checks every spec; bounds nesting at 16. EPROTO. */
int stn_cql_metadata_parse(struct stn_cursor *c, int of_prepared, struct stn_cql_metadata *out);
int stn_cql_column_next(struct stn_cql_metadata *m, struct stn_cql_column *out); /* 1, or 0 */

struct stn_cql_result_head {
    uint32_t kind; /* enum stn_cql_result */
    /* ROWS */
    struct stn_cql_metadata rows;
    uint32_t n_rows; /* then n_rows * rows.n_columns values: stn_get_value() */
    /* PREPARED */
    struct stn_text id;
    struct stn_cql_metadata params, columns;
    /* SET_KEYSPACE */
    struct stn_text keyspace;
};
/* Head of a RESULT's body (after the prelude); the cursor stands at the first value of ROWS.
 * EPROTO. */
int stn_cql_result_parse(struct stn_cursor *c, struct stn_cql_result_head *out);

struct stn_cql_event {
    struct stn_text type, change; /* TOPOLOGY_CHANGE, STATUS_CHANGE: change and address */
    uint8_t address[16];
    uint8_t address_bytes; /* 4 or 16; 0: none */
    int32_t port;
};
int stn_cql_event_parse(struct stn_cursor *c, struct stn_cql_event *out); /* EPROTO */

int stn_text_equals(struct stn_text t, const char *text);

#endif
