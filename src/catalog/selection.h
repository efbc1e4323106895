/* Selection files: how they are laid out, built and opened. Needs no catalogue, so that tests and
 * other stores can build them too.
 *
 * Layout (version 1, little-endian; every section starts at a multiple of 64):
 *   header   magic "STRNASEL", u32 version, u32 header bytes, data set id, run, n, n_fields,
 *            n_columns, WHERE text, column names and types, SHA-256 over the ids, offset and size
 *            of each section, CRC-32C of the header
 *   sections ids [n][16]; for each field u32 length [n]; i64 label [n]; for each column its values
 *   trailer  CRC-32C over everything before it */
#ifndef STN_SELECTION_H
#define STN_SELECTION_H

#include "sterna/selection.h"

struct stn_selection_builder;

struct stn_selection_spec {
    const uint8_t *dataset_id;
    uint64_t run;
    const char *where; /* NULL: none */
    uint32_t n_fields;
    const char *const *columns;
    uint32_t n_columns;
};

/* Rows are appended one by one to temporary files, so memory does not grow with n. `dir` is where
 * the file is to be (NULL: an unlinked temporary file, for a selection that is used at once). */
int stn_selection_builder_open(struct stn_selection_builder **out, const char *dir,
                               const struct stn_selection_spec *spec, struct sterna_error *err);
/* lengths[n_fields] (STERNA_LENGTH_NULL / _UNKNOWN), values[n_columns]; copied. */
int stn_selection_builder_add(struct stn_selection_builder *b, const uint8_t id[16],
                              const uint32_t *lengths, int64_t label,
                              const struct sterna_value *values, struct sterna_error *err);
/* Writes the file (to `path`, atomically, if the builder has a dir) and opens it. */
int stn_selection_builder_finish(struct stn_selection_builder *b, const char *path,
                                 sterna_selection **out, struct sterna_error *err);
void stn_selection_builder_close(struct stn_selection_builder **b);

/* Maps and checks a selection file: ENOTFOUND, EFORMAT (what is wrong, where), EIO. */
int stn_selection_open(sterna_selection **out, const char *path, struct sterna_error *err);

#endif
