/* Owns the sorted names of classes. A directory that a field's pattern names is walked until an
 * image of its own turns up, so that a caption file in a class folder does not take the class away.
 */
#include "ingest/layout.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

const char *stn_split_name(const char *name, size_t bytes) {
    static const char *const rows[][2] = {{"train", "train"},
                                          {"val", "val"},
                                          {"valid", "val"},
                                          {"validation", "val"},
                                          {"test", "test"}};
    for (size_t i = 0; i < STN_COUNT(rows); i++)
        if (strlen(rows[i][0]) == bytes && memcmp(rows[i][0], name, bytes) == 0) return rows[i][1];
    return NULL;
}

int stn_has_image_suffix(const char *name, size_t bytes) {
    static const char *const suffixes[] = {".jpg", ".jpeg", ".png", ".webp"};
    for (size_t i = 0; i < STN_COUNT(suffixes); i++) {
        size_t n = strlen(suffixes[i]);
        if (bytes > n && strncasecmp(name + bytes - n, suffixes[i], n) == 0) return 1;
    }
    return 0;
}

/* ---- classes ---- */

int stn_layout_add_class(struct stn_layout *layout, const char *name) {
    size_t n = layout->n_classes;
    if (stn_grow((void **)&layout->classes, &layout->classes_cap, n + 1, sizeof *layout->classes) <
        0)
        return STERNA_ENOMEM;
    layout->classes[n] = strdup(name);
    return layout->classes[n] ? (layout->n_classes++, STERNA_OK) : STERNA_ENOMEM;
}

static int by_bytes(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

void stn_layout_keep_classes(struct stn_layout *layout, const unsigned char *keep) {
    size_t kept = 0;
    for (size_t i = 0; i < layout->n_classes; i++) {
        if (keep[i])
            layout->classes[kept++] = layout->classes[i];
        else
            free(layout->classes[i]);
    }
    layout->n_classes = kept;
}

void stn_layout_sort_classes(struct stn_layout *layout) {
    size_t kept = 0;
    char **names = layout->classes;
    if (layout->n_classes > 1) qsort(names, layout->n_classes, sizeof *names, by_bytes);
    for (size_t i = 0; i < layout->n_classes; i++) {
        if (kept > 0 && strcmp(names[kept - 1], names[i]) == 0)
            free(names[i]);
        else
            names[kept++] = names[i];
    }
    layout->n_classes = kept;
}

void stn_layout_fini(struct stn_layout *layout) {
    while (layout->n_classes > 0) free(layout->classes[--layout->n_classes]);
    free(layout->classes);
    *layout = (struct stn_layout){0};
}

/* ---- reading ---- */

struct reading {
    int root_fd;
    const struct stn_layout_options *options;
    struct sterna_error *err;
};

static int matches_any(const struct stn_layout_options *o, const char *path, size_t bytes) {
    for (size_t i = 0; i < o->n_patterns; i++)
        if (stn_pattern_matches(&o->patterns[i], path, bytes)) return 1;
    return 0;
}

/* A directory that is closed is reported by the walk that reads. A disk that fails ends all:
 * classes that are missing now would number the others wrongly for ever. */
static int fail_to_read(const char *path, struct sterna_error *err) {
    char shown[256];
    return stn_fail_sys(err, STERNA_EIO, "directory '%s' cannot be read",
                        stn_printable(*path ? path : ".", shown, sizeof shown));
}

int stn_layout_check(const struct stn_walk_entry *e, struct sterna_error *err) {
    if (!e->problem || e->sys_errno == 0 || stn_walk_is_closed(e->sys_errno)) return STERNA_OK;
    errno = e->sys_errno;
    return fail_to_read(e->path, err);
}

#define FOUND_IMAGE 1 /* any value above 0 ends the walk */

static int look_for_image(void *ctx, const struct stn_walk_entry *e) {
    const struct reading *r = ctx;
    if (e->problem) return stn_layout_check(e, r->err);
    if (!stn_has_image_suffix(e->path, e->path_bytes)) return 0;
    return matches_any(r->options, e->path, e->path_bytes) ? 0 : FOUND_IMAGE;
}

/* 1 if a pattern names this directory and no image of its own lies anywhere below; or an error. */
static int only_for_fields(const struct reading *r, const char *path) {
    int named = 0;
    for (size_t i = 0; i < r->options->n_patterns && !named; i++)
        named = stn_pattern_names_directory(&r->options->patterns[i], path, strlen(path));
    if (!named) return 0;
    struct stn_walk_options walk = {.start = path, .skip = r->options->skip};
    int rc = stn_walk(r->root_fd, &walk, look_for_image, (void *)(uintptr_t)r, r->err);
    return rc < 0 ? rc : rc != FOUND_IMAGE;
}

/* 1 if `name` in the directory is a directory that counts; negative: it cannot be told. */
static int is_directory(const struct reading *r, int dir_fd, const struct dirent *d) {
    if (d->d_name[0] == '.') return 0;
    if (d->d_type != DT_DIR && d->d_type != DT_LNK && d->d_type != DT_UNKNOWN) return 0;
    struct stat st;
    if (fstatat(dir_fd, d->d_name, &st, 0) < 0)
        return stn_walk_is_closed(errno) ? 0 : fail_to_read(d->d_name, r->err);
    if (!S_ISDIR(st.st_mode)) return 0;
    const struct stn_walk_inode *skip = r->options->skip;
    return !(skip && skip->dev == st.st_dev && skip->ino == st.st_ino);
}

/* Adds d to names unless it only holds fields' files; `above` is the path to it or "". */
static int consider(const struct reading *r, const char *above, const char *name,
                    struct stn_layout *names) {
    size_t bytes = strlen(above) + strlen(name) + 2;
    char *path = malloc(bytes);
    int rc = STERNA_ENOMEM;
    if (path) {
        strcpy(path, above);
        if (*above) strcat(path, "/");
        strcat(path, name);
        rc = only_for_fields(r, path);
        if (rc == 0)
            rc = stn_layout_add_class(names, name);
        else if (rc > 0)
            rc = STERNA_OK;
    }
    free(path);
    return rc == STERNA_ENOMEM ? stn_fail_memory(r->err, "the names of classes") : rc;
}

/* Adds the directories in `path` to names. */
static int list(const struct reading *r, const char *path, struct stn_layout *names) {
    int fd = stn_walk_open(r->root_fd, path, O_RDONLY | O_DIRECTORY | O_NONBLOCK);
    if (fd < 0) return stn_walk_is_closed(errno) ? STERNA_OK : fail_to_read(path, r->err);
    DIR *dir = fdopendir(fd);
    if (!dir) {
        int rc = fail_to_read(path, r->err);
        close(fd);
        return rc;
    }
    int rc = STERNA_OK;
    while (rc == STERNA_OK) {
        errno = 0;
        const struct dirent *d = readdir(dir);
        if (!d) {
            if (errno != 0) rc = fail_to_read(path, r->err);
            break;
        }
        rc = is_directory(r, fd, d);
        if (rc > 0) rc = consider(r, path, d->d_name, names);
    }
    closedir(dir);
    return rc;
}

static int all_are_splits(const struct stn_layout *top) {
    for (size_t i = 0; i < top->n_classes; i++)
        if (!stn_split_name(top->classes[i], strlen(top->classes[i]))) return 0;
    return top->n_classes > 0;
}

int stn_layout_read(struct stn_layout *layout, int root_fd,
                    const struct stn_layout_options *options, struct sterna_error *err) {
    struct reading r = {root_fd, options, err};
    struct stn_layout top = {0};
    *layout = (struct stn_layout){0};
    int rc = list(&r, "", layout);
    if (rc == STERNA_OK && all_are_splits(layout)) {
        top = *layout;
        *layout = (struct stn_layout){.has_splits = 1};
        for (size_t i = 0; i < top.n_classes && rc == STERNA_OK; i++)
            rc = list(&r, top.classes[i], layout);
    }
    stn_layout_fini(&top);
    stn_layout_sort_classes(layout);
    if (rc < 0) stn_layout_fini(layout);
    return rc;
}

/* ---- one file ---- */

long stn_layout_class(const struct stn_layout *layout, const char *name, size_t bytes) {
    size_t low = 0, high = layout->n_classes;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        int order = strncmp(layout->classes[mid], name, bytes);
        if (order == 0) order = layout->classes[mid][bytes] != '\0';
        if (order == 0) return (long)mid;
        if (order < 0)
            low = mid + 1;
        else
            high = mid;
    }
    return -1;
}

void stn_layout_place(const struct stn_layout *layout, const char *path, size_t path_bytes,
                      struct stn_place *place) {
    *place = (struct stn_place){.path = path, .path_bytes = path_bytes};
    const char *slash = memchr(path, '/', path_bytes);
    if (layout->has_splits && slash && stn_split_name(path, (size_t)(slash - path))) {
        place->split = path;
        place->split_bytes = (size_t)(slash - path);
        path_bytes -= (size_t)(slash + 1 - path);
        path = slash + 1;
        slash = memchr(path, '/', path_bytes);
    }
    if (!slash || (layout->has_splits && !place->split)) return;
    if (stn_layout_class(layout, path, (size_t)(slash - path)) < 0) return;
    place->class_name = path;
    place->class_bytes = (size_t)(slash - path);
}
