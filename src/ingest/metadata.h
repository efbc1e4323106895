/* The metadata file: a CSV whose rows are joined to images by relative path.
 *
 * The column that holds the path is the first of path, file_name, filename, file, image that
 * exists, else the first one. A column whose values are all integers is INTEGER, all numbers REAL,
 * else TEXT; a value that would not print back the same (007, +5, more digits than fit) makes it
 * TEXT. Empty is null. Rows lie in a temporary SQLite database, so memory does not grow with the
 * file. It knows nothing of images or stores. */
#ifndef STN_METADATA_H
#define STN_METADATA_H

#include "base/base.h"
#include "sterna/selection.h"

struct stn_metadata; /* any thread, once open */

struct stn_metadata_column {
    const char *name;      /* owned by the metadata */
    enum sterna_type type; /* INT, REAL or TEXT; NULL if no row has a value */
};

/* ENOTFOUND, EIO, ENOMEM; EINVAL names file and line: ragged row, path or column twice, ... */
int stn_metadata_open(struct stn_metadata **out, const char *file, struct sterna_error *err);
void stn_metadata_close(struct stn_metadata **m); /* NULL is fine */

/* Columns without the path's, in the order of the file. */
size_t stn_metadata_n_columns(const struct stn_metadata *m);
struct stn_metadata_column stn_metadata_column(const struct stn_metadata *m, size_t i);
/* Index of the column with this name (ASCII letters of either case), or -1. */
long stn_metadata_find_column(const struct stn_metadata *m, const char *name);

uint64_t stn_metadata_n_rows(const struct stn_metadata *m);

/* One row; zero it first, give it back to free it, use it again for other rows. */
struct stn_metadata_row {
    struct sterna_value *values; /* one a column; texts point into `text` */
    char *text;
    size_t text_cap;
};
/* 1 if there is a row for this path, 0 if not; ENOMEM, EIO. */
int stn_metadata_find(struct stn_metadata *m, const char *path, size_t path_bytes,
                      struct stn_metadata_row *row, struct sterna_error *err);
void stn_metadata_row_fini(struct stn_metadata_row *row);

/* Calls `each` for every value the column `class` has, each once; a value other than 0 stops. */
int stn_metadata_classes(struct stn_metadata *m, int (*each)(void *ctx, const char *name),
                         void *ctx, struct sterna_error *err);

#endif
