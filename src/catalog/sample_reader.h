/* Samples as selections take them: id, length of each field, label, some columns. */
#ifndef STN_SAMPLE_READER_H
#define STN_SAMPLE_READER_H

#include "catalog/query.h"
#include "catalog/selection.h"

struct stn_sample_reader {
    struct stn_query query;
    uint32_t n_fields, n_columns;
    uint32_t length_of_null; /* STERNA_LENGTH_NULL or _UNKNOWN */
    const char **columns;    /* of the statement: the user's are the last n_columns */
    /* The present sample: */
    uint8_t id[16];
    uint32_t *lengths; /* [n_fields] */
    int64_t label;
    struct sterna_value *values; /* [n_columns], valid until the next step */
    uint64_t row;                /* its rowid: small numbers, each only once */
};

/* spec: as for a query; its columns are those to carry along. EINVAL for an unknown one. */
int stn_sample_reader_open(struct stn_sample_reader *r, const struct stn_snapshot *s,
                           const struct stn_query_spec *spec, struct sterna_error *err);
void stn_sample_reader_close(struct stn_sample_reader *r); /* safe twice */

/* 1: the next sample is there; 0: no more. */
int stn_sample_reader_next(struct stn_sample_reader *r, struct sterna_error *err);

/* Adds the present sample to a selection of the same columns. */
int stn_sample_reader_add_to(const struct stn_sample_reader *r, struct stn_selection_builder *b,
                             struct sterna_error *err);

#endif
