/* Names of a data set's tables, and the statements that make them.
 *
 * Format version 1, in keyspace KS for the data set DS (F: each field's name):
 *
 *   DS_data   (id uuid PRIMARY KEY, F_bytes bigint, F_crc int, F blob, ...)   values up to 1 MiB
 *   DS_chunk  (id, field, n, crc, data), partition id                        longer ones, in pieces
 *   DS_meta   (run, part, id, added, path, ..., bytes, more), partition (run, part)
 *             all columns of the samples that a run added or changed: see meta_row.h
 *   DS_run    (k, number, run, parts, samples, source, finished, state), partition k = 'run'
 *             a run is visible when it has its number here
 *   DS_info   (k, v): `format`, `dataset_id`, and `names` (see dictionary.h) */
#ifndef STN_TABLES_H
#define STN_TABLES_H

#include "cassandra/cassandra.h"

#define STN_TABLES_VERSION 1

/* A name as CQL takes it whatever its letters: in double quotes. NULL without memory; free() it. */
char *stn_tables_quote(const char *name);
/* "keyspace"."name" of KS and NAME, or of "other.name". */
char *stn_tables_qualify(const char *keyspace, const char *name);

/* Fills c->data_table ... of a data set of ours. EINVAL: a name that Cassandra has no room for. */
int stn_tables_name(struct stn_cassandra *c, struct sterna_error *err);

/* Columns of a field of that name and number; EINVAL. */
int stn_tables_field(struct stn_cassandra_field *out, const char *name, enum sterna_kind kind,
                     uint8_t number, struct sterna_error *err);

struct stn_tables_options {
    const char
        *replication; /* "dc1=3,dc2=2", or "3" for SimpleStrategy; NULL: no keyspace is made */
    unsigned release_major; /* of the server; 0: not known */
    int is_scylla;
    const struct stn_cassandra_field *fields; /* columns of the data table */
    size_t n_fields;
};
/* Calls `each` for every statement that makes what is not there, in order; stops when it returns a
 * negative code. EINVAL: the replication says nothing. */
int stn_tables_create(const struct stn_cassandra *c, const struct stn_tables_options *options,
                      int (*each)(void *ctx, const char *statement), void *ctx,
                      struct sterna_error *err);
/* The statement that adds the columns of a field; free() it. NULL without memory. */
char *stn_tables_add_field(const struct stn_cassandra *c, const struct stn_cassandra_field *field);

/* asprintf() that gives NULL when it fails. */
__attribute__((format(printf, 1, 2))) char *stn_text_make(const char *format, ...);

#endif
