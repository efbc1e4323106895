/* Owns the stack of directories that are still to be read. A directory is read whole before its
 * subdirectories are entered: so its descriptor can be closed, and files stream out as they come.
 */
#include "ingest/walk.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

struct frame { /* one directory of the current path */
    struct stn_walk_inode inode;
    size_t path_bytes; /* of this directory, in walk.path */
    char *names;       /* its subdirectories: NUL-terminated, one after another */
    size_t names_bytes, names_cap;
    size_t next; /* offset of the one to enter next */
};

struct walk {
    int root_fd;
    const struct stn_walk_inode *skip;
    int (*each)(void *, const struct stn_walk_entry *);
    void *ctx;
    struct sterna_error *err;
    char *path; /* path_bytes of it are the current directory's */
    size_t path_bytes, path_cap;
    struct frame *frames;
    size_t n_frames, frames_cap;
};

int stn_walk_is_closed(int sys_errno) {
    return sys_errno == EACCES || sys_errno == EPERM || sys_errno == ENOENT ||
           sys_errno == ENOTDIR || sys_errno == ELOOP || sys_errno == ENAMETOOLONG;
}

int stn_walk_open(int root_fd, const char *path, int flags) {
    int at = root_fd;
    while (strlen(path) >= PATH_MAX) {
        size_t n = PATH_MAX - 1;
        while (n > 0 && path[n] != '/') n--;
        char part[PATH_MAX];
        memcpy(part, path, n);
        part[n] = '\0';
        int fd = -1;
        if (n > 0) do
                fd = openat(at, part, O_PATH | O_DIRECTORY | O_CLOEXEC);
            while (fd < 0 && errno == EINTR);
        else
            errno = ENAMETOOLONG; /* a single name that long */
        int sys_errno = errno;
        if (at != root_fd) close(at);
        errno = sys_errno;
        if (fd < 0) return -1;
        at = fd;
        path += n + 1;
    }
    int fd, sys_errno;
    do fd = openat(at, *path ? path : ".", flags | O_CLOEXEC);
    while (fd < 0 && errno == EINTR);
    sys_errno = errno;
    if (at != root_fd) close(at);
    errno = sys_errno;
    return fd;
}

static int fail_memory(struct walk *w) { return stn_fail_memory(w->err, "walking a folder"); }

/* Makes w->path the current directory's path, a slash, and `name`; *bytes its length. */
static int path_set(struct walk *w, const char *name, size_t *bytes) {
    size_t n = w->path_bytes, name_bytes = strlen(name);
    if (stn_grow((void **)&w->path, &w->path_cap, n + name_bytes + 2, 1) < 0) return fail_memory(w);
    if (n > 0 && name_bytes > 0) w->path[n++] = '/';
    memcpy(w->path + n, name, name_bytes + 1);
    *bytes = n + name_bytes;
    return STERNA_OK;
}

static int tell(struct walk *w, size_t path_bytes, const char *problem, int sys_errno, int dir_fd) {
    const char *slash = strrchr(w->path, '/');
    struct stn_walk_entry e = {w->path,   path_bytes, problem,
                               sys_errno, dir_fd,     slash ? slash + 1 : w->path};
    return w->each(w->ctx, &e);
}

static int remember_subdirectory(struct walk *w, struct frame *f, const char *name) {
    size_t bytes = strlen(name) + 1;
    if (stn_grow((void **)&f->names, &f->names_cap, f->names_bytes + bytes, 1) < 0)
        return fail_memory(w);
    memcpy(f->names + f->names_bytes, name, bytes);
    f->names_bytes += bytes;
    return STERNA_OK;
}

/* File type in readdir's terms, links followed; DT_UNKNOWN with errno if it cannot be told. */
static int type_of(int dir_fd, const struct dirent *d) {
    if (d->d_type != DT_LNK && d->d_type != DT_UNKNOWN) return d->d_type;
    struct stat st;
    if (fstatat(dir_fd, d->d_name, &st, 0) < 0) return DT_UNKNOWN;
    if (S_ISREG(st.st_mode)) return DT_REG;
    return S_ISDIR(st.st_mode) ? DT_DIR : DT_CHR;
}

static int visit(struct walk *w, struct frame *f, int dir_fd, const struct dirent *d) {
    size_t path_bytes;
    int type = type_of(dir_fd, d), sys_errno = errno;
    if (type == DT_DIR) return remember_subdirectory(w, f, d->d_name);
    int rc = path_set(w, d->d_name, &path_bytes);
    if (rc < 0) return rc;
    if (type == DT_REG) return tell(w, path_bytes, NULL, 0, dir_fd);
    if (type != DT_UNKNOWN) return tell(w, path_bytes, "is no regular file", 0, -1);
    return tell(w, path_bytes, sys_errno == ENOENT ? "is a link to nothing" : "cannot be looked at",
                sys_errno, -1);
}

/* Reads the directory of frame f through fd, which it closes. */
static int read_directory(struct walk *w, struct frame *f, int fd) {
    DIR *dir = fdopendir(fd);
    if (!dir) {
        int failed = stn_fail_sys(w->err, STERNA_EIO, "a folder cannot be walked");
        close(fd);
        return failed;
    }
    int rc = STERNA_OK;
    while (rc == STERNA_OK) {
        errno = 0;
        const struct dirent *d = readdir(dir);
        if (!d) break;
        if (d->d_name[0] != '.') rc = visit(w, f, fd, d);
    }
    int sys_errno = errno;
    size_t path_bytes;
    if (rc == STERNA_OK && sys_errno != 0 && (rc = path_set(w, "", &path_bytes)) == STERNA_OK)
        rc = tell(w, path_bytes, "directory cannot be read to its end", sys_errno, -1);
    closedir(dir);
    return rc;
}

static int same(const struct stn_walk_inode *a, const struct stat *st) {
    return a->dev == st->st_dev && a->ino == st->st_ino;
}

/* Why the directory behind fd is not entered; "" for silently, NULL: enter it. */
static const char *refuse(const struct walk *w, const struct stat *st) {
    if (w->skip && same(w->skip, st)) return "";
    for (size_t i = 0; i < w->n_frames; i++)
        if (same(&w->frames[i].inode, st)) return "directory is a link back to one it lies in";
    return NULL;
}

/* Enters the directory whose path is w->path[0, path_bytes): reads it and pushes its frame. */
static int enter(struct walk *w, size_t path_bytes) {
    int fd = stn_walk_open(w->root_fd, w->path, O_RDONLY | O_DIRECTORY | O_NONBLOCK);
    if (fd < 0 && (errno == EMFILE || errno == ENFILE || errno == ENOMEM))
        return stn_fail_sys(w->err, STERNA_EIO, "a folder cannot be walked");
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0) {
        int sys_errno = errno;
        if (fd >= 0) close(fd);
        return tell(w, path_bytes, "directory cannot be read", sys_errno, -1);
    }
    const char *why = refuse(w, &st);
    if (why) {
        close(fd);
        return *why ? tell(w, path_bytes, why, 0, -1) : STERNA_OK;
    }
    if (stn_grow((void **)&w->frames, &w->frames_cap, w->n_frames + 1, sizeof *w->frames) < 0) {
        close(fd);
        return fail_memory(w);
    }
    struct frame *f = &w->frames[w->n_frames++];
    *f = (struct frame){.inode = {st.st_dev, st.st_ino}, .path_bytes = path_bytes};
    w->path_bytes = path_bytes;
    return read_directory(w, f, fd);
}

int stn_walk(int root_fd, const struct stn_walk_options *options,
             int (*each)(void *ctx, const struct stn_walk_entry *entry), void *ctx,
             struct sterna_error *err) {
    struct walk w = {
        .root_fd = root_fd, .skip = options->skip, .each = each, .ctx = ctx, .err = err};
    size_t path_bytes;
    int rc = path_set(&w, options->start ? options->start : "", &path_bytes);
    if (rc == STERNA_OK) rc = enter(&w, path_bytes);
    while (rc == STERNA_OK && w.n_frames > 0) {
        struct frame *f = &w.frames[w.n_frames - 1];
        w.path_bytes = f->path_bytes;
        if (f->next == f->names_bytes) {
            free(f->names);
            w.n_frames--;
            continue;
        }
        const char *name = f->names + f->next;
        f->next += strlen(name) + 1;
        rc = path_set(&w, name, &path_bytes);
        if (rc == STERNA_OK) rc = enter(&w, path_bytes);
    }
    while (w.n_frames > 0) free(w.frames[--w.n_frames].names);
    free(w.frames);
    free(w.path);
    return rc;
}
