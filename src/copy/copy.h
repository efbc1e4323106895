/* One copy on its way, and its stages in the order of src/copy.c. */
#ifndef STN_COPY_H
#define STN_COPY_H

#include "catalog/selection.h"
#include "ingest/ingest.h"
#include "sterna/copy.h"
#include "sterna/loader.h"

struct stn_copy {
    /* the caller's */
    sterna_store *from, *to;
    sterna_selection *selection;
    const struct sterna_copy_options *options;
    struct sterna_copy_result *result;
    struct sterna_error *err;
    struct stn_clock *clock;
    uint64_t began_ns;
    struct sterna_copy_progress progress;

    sterna_ingest *in;          /* into `to` */
    struct stn_values *headers; /* of `from`, only to be looked up; NULL: it has no checksums */

    /* What `from` has (names.c). The first n_fields columns are the fields' lengths. */
    uint32_t n_fields;
    struct sterna_field fields[STN_FIELDS_OF_STORE];
    uint32_t field_in_to[STN_FIELDS_OF_STORE]; /* index in `in` */
    char **columns;
    size_t n_columns, columns_cap;

    /* of the sample at hand (row.c) */
    const uint8_t *id;
    struct stn_item_blob blobs[STN_FIELDS_OF_STORE];
    struct stn_cell *cells; /* n_columns */
    struct stn_item item;
    char *path;
    size_t path_cap;

    struct stn_selection_builder *building; /* samples to be read */
    sterna_selection *needed;
    sterna_loader *loader;
};

/* names.c: fields, columns and classes of `from`, declared in `to`: EMISMATCH. */
int stn_copy_names(struct stn_copy *c);
void stn_copy_names_fini(struct stn_copy *c);

/* row.c: c->item of a row of c->columns; blobs have a length, and no data (null) or
 * stn_blob_stored. */
void stn_copy_row(struct stn_copy *c, const uint8_t id[16], const struct sterna_value *values);
/* Calls each(ctx, ...) for the rows of n ids, in their order. What it returns, if not 0, is
 * returned. */
int stn_copy_rows(struct stn_copy *c, const uint8_t (*ids)[16], size_t n,
                  int (*each)(void *ctx, const char *const *names,
                              const struct sterna_value *values, size_t n_values),
                  void *ctx);
/* Writes c->item if its bytes are at hand or stored already, counts it and reports it: OK, or AGAIN
 * if it must be read. */
int stn_copy_write(struct stn_copy *c);
int stn_copy_report(struct stn_copy *c, enum sterna_outcome outcome, const char *why);
int stn_copy_tell(struct stn_copy *c); /* progress: OK or ECANCELED */

/* compare.c: writes what needs no bytes; c->needed is what must be read. */
int stn_copy_compare(struct stn_copy *c);

/* carry.c: reads and writes it. */
int stn_copy_carry(struct stn_copy *c);

#endif
