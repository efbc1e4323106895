/* The catalogue's tables: made here, and read back as a list of columns and fields. */
#ifndef STN_SCHEMA_H
#define STN_SCHEMA_H

#include "catalog/sql.h"
#include "sterna/store.h"

#define STN_CATALOG_VERSION 1
#define STN_CATALOG_APPLICATION_ID 0x7374726E /* "strn", in the file's header */

#define STN_COLUMN_NAME_MAX 63
#define STN_FIELD_NAME_MAX (STN_COLUMN_NAME_MAX - 6) /* so that NAME_bytes is a column name */
#define STN_FIELD_NUMBER_MAX 255                     /* one byte in the store's keys */

/* In this order in every list of columns. */
enum stn_column_kind { STN_COLUMN_BUILT_IN, STN_COLUMN_FIELD, STN_COLUMN_USER };

struct stn_column {
    char name[STN_COLUMN_NAME_MAX + 1];
    enum stn_column_kind kind;
    enum sterna_type type; /* what it holds besides null; user columns: STERNA_NULL, anything */
    unsigned types;        /* user columns: 1 << type of every value it ever held */
};

struct stn_schema_field {
    char name[STN_FIELD_NAME_MAX + 1];
    enum sterna_kind kind;
    uint32_t number;
};

/* What a catalogue says of itself, at one moment. */
struct stn_schema {
    uint8_t dataset_id[16];
    uint64_t last_run, n_samples, n_bytes;
    struct stn_column *columns; /* built-in, then NAME_bytes of each field, then the user's */
    size_t n_columns, columns_cap;
    struct stn_schema_field *fields; /* by number */
    size_t n_fields, fields_cap;
};

/* Makes the tables of an empty catalogue, in a transaction of the caller's. */
int stn_schema_create(const struct stn_sql *s, const uint8_t dataset_id[16],
                      struct sterna_error *err);
/* EFORMAT: no SQLite file, not ours, cut short, newer; from the header alone, without locks. */
int stn_schema_check_file(const struct stn_sql *s, struct sterna_error *err);
int stn_schema_is_wal(const struct stn_sql *s); /* 1: the file is in WAL mode */
/* EFORMAT: shorter than its own header says, be it by a byte: SQLite reads the rest as zeros. The
 * connection is in a read transaction on a file that is not in WAL mode (else: OK, unchecked). */
int stn_schema_check_size(const struct stn_sql *s, struct sterna_error *err);
int stn_schema_load(struct stn_schema *out, const struct stn_sql *s, struct sterna_error *err);
void stn_schema_fini(struct stn_schema *schema); /* safe twice */

/* Column of that name, as SQL compares names (case of ASCII letters ignored); or -1. */
long stn_schema_column(const struct stn_schema *schema, const char *name);
long stn_schema_field(const struct stn_schema *schema, const char *name); /* likewise */

/* Adds to the list and to the tables. The caller has looked whether there is one already. */
int stn_schema_add_field(struct stn_schema *schema, const struct stn_sql *s, const char *name,
                         enum sterna_kind kind, uint32_t number, struct sterna_error *err);
uint32_t stn_schema_next_field(const struct stn_schema *schema); /* the number of a new one */
/* EINVAL for a name that no field or column can have. */
int stn_schema_check_field_name(const char *name, struct sterna_error *err);
int stn_schema_check_column_name(const char *name, struct sterna_error *err);
int stn_schema_add_column(struct stn_schema *schema, const struct stn_sql *s, const char *name,
                          struct sterna_error *err);

/* "integer", "real", "text", "mixed" or "null" (no value so far). */
const char *stn_column_type(const struct stn_column *column);

#endif
