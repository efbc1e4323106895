/* What the directories of a folder mean: class folders, train|val|test above them, or neither.
 *
 * If every directory at the top is named train, val, valid, validation or test, that level is the
 * split ("val" for the longer names) and the classes are the directories below. Else the top
 * directories are the classes, as torchvision's ImageFolder has it: every one of them, empty or
 * not, sorted by bytes, whatever lies deeper belongs to it. Directories that only hold the files of
 * extra fields are no classes. It reads directories, and knows nothing of stores. */
#ifndef STN_LAYOUT_H
#define STN_LAYOUT_H

#include "ingest/pattern.h"
#include "ingest/walk.h"

struct stn_layout {
    int has_splits;
    char **classes; /* sorted, each once */
    size_t n_classes, classes_cap;
};

struct stn_layout_options {
    const struct stn_pattern *patterns;
    size_t n_patterns;
    const struct stn_walk_inode *skip; /* as in stn_walk_options */
};

/* Directories that cannot be read have no classes below; the walk reports them. ENOMEM, EIO. */
int stn_layout_read(struct stn_layout *layout, int root_fd,
                    const struct stn_layout_options *options, struct sterna_error *err);
void stn_layout_fini(struct stn_layout *layout);

/* For walks that look for classes: EIO if the entry is a problem of the disk's, not of permissions.
 */
int stn_layout_check(const struct stn_walk_entry *e, struct sterna_error *err);

/* Index into classes of this name, or -1. */
long stn_layout_class(const struct stn_layout *layout, const char *name, size_t bytes);

/* Keeps those whose byte in `keep` is not 0. Adds one (ENOMEM): then sort them again. */
void stn_layout_keep_classes(struct stn_layout *layout, const unsigned char *keep);
int stn_layout_add_class(struct stn_layout *layout, const char *name);
void stn_layout_sort_classes(struct stn_layout *layout);

/* Where the file stands, by its path alone. place->path is `path`. */
void stn_layout_place(const struct stn_layout *layout, const char *path, size_t path_bytes,
                      struct stn_place *place);

/* "train", "val" or "test" for the name of a split directory; NULL if it is none. */
const char *stn_split_name(const char *name, size_t bytes);

/* 1 if the name ends as JPEG, PNG and WebP files do. */
int stn_has_image_suffix(const char *name, size_t bytes);

#endif
