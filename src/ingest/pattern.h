/* File names of extra fields, paired with an image's.
 *
 * ".txt" is the image's path with its last suffix replaced. Anything else is a path relative to the
 * folder, with {stem} (file name without suffix), {name} (file name), {dir} (relative directory, ""
 * at the root: its slash goes too), {class} and {split} (directory names). It opens no file. */
#ifndef STN_PATTERN_H
#define STN_PATTERN_H

#include "base/base.h"
#include "sterna/ingest.h"

#define STN_FIELD_NAME_BYTES 32 /* with the NUL */

struct stn_pattern_part;

struct stn_pattern {
    char name[STN_FIELD_NAME_BYTES];
    enum sterna_kind kind;
    struct stn_pattern_part *parts; /* one a byte or placeholder */
    size_t n_parts, tail;           /* parts[tail...] are plain bytes */
};

/* Where an image stands. Pointers are borrowed; class and split are NULL if it has none. */
struct stn_place {
    const char *path;
    size_t path_bytes;
    const char *class_name, *split; /* directory names, within path */
    size_t class_bytes, split_bytes;
};

/* 1 if `name` can name a field: [a-z_][a-z0-9_]*, not too long, no built-in column. */
int stn_field_name_ok(const char *name);

/* EINVAL names the field and what is wrong with its name, pattern or kind. */
int stn_pattern_init(struct stn_pattern *p, const struct sterna_ingest_field *field,
                     struct sterna_error *err);
void stn_pattern_fini(struct stn_pattern *p);

/* The field's file for the image at `place` into *path (grown as needed). 1; 0: it has none, for
 * the image has no class or split; ENOMEM. */
int stn_pattern_expand(const struct stn_pattern *p, const struct stn_place *place, char **path,
                       size_t *path_cap);

/* 1 if the file could belong to this field, whatever the image. */
int stn_pattern_matches(const struct stn_pattern *p, const char *path, size_t path_bytes);

/* 1 if the pattern names this directory (not only by placeholders): "masks" in "masks/{stem}.png".
 */
int stn_pattern_names_directory(const struct stn_pattern *p, const char *path, size_t path_bytes);

#endif
