/* A sample's row in DS_meta, to and from a row of the catalogue.
 *
 *   path label class split width height channels format     the catalogue's columns of that name
 *   bytes      map: length of each field that the sample has
 *   more       JSON object: the user's columns that are not null; and a built-in column whose value
 *              the table's column cannot hold (text that is no UTF-8, an integer over 32 bits)
 *   added      true: the sample is of this run (new, or its bytes were replaced); false: it is an
 *              older one of which columns changed. A row has all columns, changed or not. */
#ifndef STN_META_ROW_H
#define STN_META_ROW_H

#include "cassandra/dictionary.h"
#include "catalog/catalog.h"
#include "wire/types.h"

enum { /* the columns, in the order of our statements */
       STN_META_ID,
       STN_META_ADDED,
       STN_META_PATH,
       STN_META_LABEL,
       STN_META_CLASS,
       STN_META_SPLIT,
       STN_META_WIDTH,
       STN_META_HEIGHT,
       STN_META_CHANNELS,
       STN_META_FORMAT,
       STN_META_BYTES,
       STN_META_MORE,
       STN_META_COLUMNS
};
#define STN_META_COLUMN_LIST                                                                       \
    "id, added, path, label, class, split, width, height, channels, format, bytes, more"

/* Its own memory, used again by the next row. Empty: zeros. */
struct stn_meta_writer {
    uint8_t *bytes; /* of the values that are no borrowed text */
    size_t cap;
    struct stn_json_out more;
    struct stn_cql_value values[STN_META_COLUMNS]; /* text in them is borrowed from the row */
};
/* ENOMEM; EINVAL: a value is too long. */
int stn_meta_write(struct stn_meta_writer *w, const struct stn_row *row, int belongs);
void stn_meta_writer_fini(struct stn_meta_writer *w); /* safe twice */

/* Empty: zeros. `names` is borrowed; all that a row says is of one of them. */
struct stn_meta_reader {
    const struct stn_dictionary *names;
    char (*lengths)[72];    /* "image_bytes" ... */
    struct stn_cell *cells; /* built-in columns, lengths, the user's columns */
    size_t n_cells, hint;
    char *more; /* what the cells' texts point into, beside the values */
    size_t more_cap;
};
int stn_meta_reader_init(struct stn_meta_reader *r, const struct stn_dictionary *names);
/* *row is valid until the next one, or the end of `values`. 0; ENOMEM; EFORMAT with *why. */
int stn_meta_read(struct stn_meta_reader *r, const struct stn_cql_value *values,
                  struct stn_row *row, int *belongs, const char **why);
void stn_meta_reader_fini(struct stn_meta_reader *r); /* safe twice */

#endif
