/* Selection files: how they are laid out, built and opened. Needs no catalogue, so that tests and
 * other stores can build them too.
 *
 * Layout (version 1, little-endian, mapped as it is; every section starts at a multiple of 64):
 *   header   0 magic "STRNASEL"   8 u32 version   12 u32 header bytes   16 data set id
 *            32 u64 run   40 u64 n   48 u64 sum of known lengths   56 u32 longest sample
 *            60 u32 n_fields   64 u32 n_columns   68 u32 bytes of the WHERE text
 *            72 SHA-256 over the ids   104 u64 bytes of the file
 *            112 the WHERE text; each column's u32 length and name; each section's u64 offset and
 *            u64 size, in their order; u32 CRC-32C of the header up to here
 *   sections ids [n][16]; for each field u32 length [n]; i64 label [n]; for each column three:
 *            u8 type [n] (enum sterna_type), u64 payload [n] (integer; bits of a real; offset of a
 *            text in the third), texts (u32 length and bytes each)
 *   trailer  u32 CRC-32C over everything before it: the last four bytes of the file */
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
/* The same in two steps, for several files that are to be replaced together: write puts the whole
 * file beside `path`, commit gives it its name. */
int stn_selection_builder_write(struct stn_selection_builder *b, const char *path,
                                struct sterna_error *err);
int stn_selection_builder_commit(struct stn_selection_builder *b, struct sterna_error *err);
void stn_selection_builder_close(struct stn_selection_builder **b);

/* Maps and checks a selection file: ENOTFOUND, EFORMAT (what is wrong, where), EIO. */
int stn_selection_open(sterna_selection **out, const char *path, struct sterna_error *err);
/* The same of a descriptor, which is taken and closed in any case; `name` is for messages. Without
 * `verify` the checksum over the file is not computed: for a file that was written just now. */
int stn_selection_open_fd(sterna_selection **out, int fd, const char *name, int verify,
                          struct sterna_error *err);

#endif
