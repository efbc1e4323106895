/* Owns nothing but the marks of directories that have an image of their own. */
#include "ingest/classes.h"

struct joining {
    struct stn_layout *layout;
    struct stn_metadata *metadata;
    size_t class_at; /* the column */
    struct stn_metadata_row row;
    unsigned char *used; /* of layout->classes: has an image of its own */
    struct sterna_error *err;
};

static int look_at(void *ctx, const struct stn_walk_entry *e) {
    struct joining *j = ctx;
    struct stn_place place;
    if (e->problem) return stn_layout_check(e, j->err);
    if (!stn_has_image_suffix(e->path, e->path_bytes)) return STERNA_OK;
    stn_layout_place(j->layout, e->path, e->path_bytes, &place);
    if (!place.class_name) return STERNA_OK;
    long at = stn_layout_class(j->layout, place.class_name, place.class_bytes);
    if (j->used[at]) return STERNA_OK;
    int rc = stn_metadata_find(j->metadata, e->path, e->path_bytes, &j->row, j->err);
    if (rc < 0) return rc;
    j->used[at] = rc == 0 || j->row.values[j->class_at].type == STERNA_NULL;
    return STERNA_OK;
}

static int add_class(void *ctx, const char *name) {
    struct joining *j = ctx;
    int rc = stn_layout_add_class(j->layout, name);
    return rc < 0 ? stn_fail_memory(j->err, "the names of classes") : rc;
}

int stn_classes_join(struct stn_layout *layout, struct stn_metadata *metadata, int root_fd,
                     const struct stn_walk_inode *skip, struct sterna_error *err) {
    struct stn_walk_options options = {.skip = skip};
    struct joining j = {.layout = layout,
                        .metadata = metadata,
                        .class_at = (size_t)stn_metadata_find_column(metadata, "class"),
                        .used = stn_array(layout->n_classes, 1),
                        .err = err};
    int rc = j.used ? STERNA_OK : stn_fail_memory(err, "the names of classes");
    if (rc == STERNA_OK) rc = stn_walk(root_fd, &options, look_at, &j, err);
    if (rc == STERNA_OK) {
        stn_layout_keep_classes(layout, j.used);
        rc = stn_metadata_classes(metadata, add_class, &j, err);
        stn_layout_sort_classes(layout);
    }
    stn_metadata_row_fini(&j.row);
    free(j.used);
    return rc;
}
