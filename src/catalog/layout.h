/* Where things are in a selection file: what its builder and its reader agree on. */
#ifndef STN_LAYOUT_H
#define STN_LAYOUT_H

#include "base/base.h"
#include "base/bytes.h"
#include "sterna/selection.h"

#define STN_SELECTION_MAGIC "STRNASEL"
#define STN_SELECTION_VERSION 1
#define STN_SELECTION_FIXED_BYTES 112 /* of the header, before the WHERE text */
#define STN_SELECTION_TRAILER_BYTES 4
#define STN_SELECTION_FIELDS_MAX 256
#define STN_SELECTION_COLUMNS_MAX 2000
#define STN_SELECTION_COLUMN_SECTIONS 3 /* types, payloads, texts */

struct stn_section {
    uint64_t offset, bytes;
};

/* The header; pointers are borrowed. */
struct stn_selection_header {
    uint8_t dataset_id[16];
    uint8_t hash[STERNA_HASH_BYTES];
    uint64_t run, n, n_bytes, file_bytes;
    uint32_t max_bytes, n_fields, n_columns;
    const char *where; /* no NUL behind it in a file */
    uint32_t where_bytes;
    const char *const *columns;
    struct stn_section *sections;
};

/* Numbers of sections. */
static inline size_t stn_section_lengths(uint32_t field) { return 1 + (size_t)field; }
static inline size_t stn_section_labels(uint32_t n_fields) { return 1 + (size_t)n_fields; }
static inline size_t stn_section_column(uint32_t n_fields, uint32_t column) {
    return 2 + (size_t)n_fields + STN_SELECTION_COLUMN_SECTIONS * (size_t)column;
}
static inline size_t stn_section_count(uint32_t n_fields, uint32_t n_columns) {
    return stn_section_column(n_fields, n_columns);
}

/* Bytes of one row in a section; 0 for texts, which are as long as they are. */
size_t stn_section_row_bytes(uint32_t n_fields, size_t section);

/* Sizes of all sections but texts (given), offsets of all, and file_bytes. */
void stn_selection_place(struct stn_selection_header *h);

/* Writes the header, or only measures it (w->cap 0). */
void stn_selection_put_header(struct stn_writer *w, const struct stn_selection_header *h);

#endif
