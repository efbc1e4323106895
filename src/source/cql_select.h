/* The statement by which a source reads rows, and where each field stands in its answer. */
#ifndef STN_CQL_SELECT_H
#define STN_CQL_SELECT_H

#include "cassandra/cassandra.h"
#include "source/source.h"

struct stn_cql_place {         /* where a field is in the SELECT */
    uint16_t bytes_at, crc_at; /* small columns; 0: it has none */
    char name[64];
};

struct stn_cql_select {
    char *text; /* malloc'ed */
    struct stn_row_shape shape;
    uint16_t label_at; /* small column; 0: none */
    struct stn_cql_place places[STN_FIELDS_MAX];
};

/* n_fields: at most STN_FIELDS_MAX; with_label: c->label_column, too. ENOMEM. */
int stn_cql_select_make(struct stn_cql_select *out, const struct stn_cassandra *c,
                        const struct stn_cassandra_field *fields, uint32_t n_fields, int with_label,
                        struct sterna_error *err);
/* That of a chunk; NULL without memory. */
char *stn_cql_select_chunk(const char *table, struct sterna_error *err);

#endif
