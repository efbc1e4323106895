/* The writing side of ingest, below the public handle: a sample whose bytes are checked and summed
 * goes into the store and its catalogue, or is found there. Knows nothing of folders and files. */
#ifndef STN_INGEST_H
#define STN_INGEST_H

#include "catalog/catalog.h"
#include "ingest/content.h"
#include "ingest/pattern.h"
#include "source/values.h"
#include "sterna/ingest.h"

#define STN_FIELDS_OF_STORE 32
#define STN_BLOB_BYTES_MAX ((uint64_t)UINT32_MAX - 16) /* what a value of the store can hold */
#define STN_WHY_BYTES 256

struct stn_ingest_field {
    char name[STN_FIELD_NAME_BYTES];
    char length_column[STN_FIELD_NAME_BYTES + 8];
    enum sterna_kind kind;
    uint8_t number; /* in keys */
};

struct sterna_ingest {
    sterna_store *store;
    struct stn_catalog *catalog; /* where this run's rows go */
    struct stn_values *values;   /* and its bytes */
    int replace;
    int failed; /* code of the first failure: nothing may be committed after it */
    int ended;  /* committed */
    struct stn_ingest_field fields[STN_FIELDS_OF_STORE]; /* image is 0 */
    uint32_t n_fields;
    struct stn_cell *cells; /* of the row being written */
    size_t cells_cap;
    /* of sterna_ingest_add() */
    struct stn_content content;
    struct stn_cell *given;
    size_t given_cap;
    char *text;
    size_t text_cap;
};

struct stn_item_blob {
    uint32_t field;   /* from stn_ingest_field() */
    const void *data; /* NULL: null */
    size_t bytes;
    uint32_t crc;
};

/* As `data`: these bytes are not at hand, but length and checksum of them are known. */
extern const uint8_t stn_blob_stored[1];

struct stn_item {
    const uint8_t *id;
    const struct stn_item_blob *blobs;
    size_t n_blobs;
    const struct stn_cell *cells; /* without the lengths of fields */
    size_t n_cells;
    size_t n_lasting; /* the first so many are set in a sample that is listed already, too */
};

struct stn_item_result {
    enum sterna_outcome outcome;
    uint64_t bytes_stored;
    char why[STN_WHY_BYTES]; /* CONFLICT, REPLACED */
};

/* Index of the field `name`, declared if it is new. `image` is 0. EINVAL, EMISMATCH (its kind). */
int stn_ingest_field(sterna_ingest *in, const char *name, enum sterna_kind kind, uint32_t *field,
                     struct sterna_error *err);

/* Writes the sample if it is new, differs and may be replaced, or has fields it had not. AGAIN, and
 * nothing is written: bytes that are not at hand are needed. */
int stn_ingest_write(sterna_ingest *in, const struct stn_item *item, struct stn_item_result *result,
                     struct sterna_error *err);

#endif
