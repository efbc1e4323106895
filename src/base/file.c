#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

char *stn_path_join(const char *dir, const char *name) {
    size_t n = strlen(dir), bytes = n + strlen(name) + 2;
    char *path = malloc(bytes);
    if (path) snprintf(path, bytes, "%s%s%s", dir, n && dir[n - 1] == '/' ? "" : "/", name);
    return path;
}

int stn_open(const char *path, int flags, mode_t mode) {
    int fd;
    do fd = open(path, flags | O_CLOEXEC, mode);
    while (fd < 0 && errno == EINTR);
    return fd;
}

int stn_fsync(int fd) {
    int rc;
    do rc = fsync(fd);
    while (rc < 0 && errno == EINTR);
    return rc;
}

int stn_ftruncate(int fd, off_t bytes) {
    int rc;
    do rc = ftruncate(fd, bytes);
    while (rc < 0 && errno == EINTR);
    return rc;
}

int stn_file_exists(const char *path) {
    struct stat st;
    if (stat(path, &st) == 0) return 1;
    return errno == ENOENT || errno == ENOTDIR ? 0 : -1;
}

int stn_pread_all(int fd, void *buf, size_t bytes, off_t offset) {
    for (size_t done = 0; done < bytes;) {
        ssize_t n = pread(fd, (char *)buf + done, bytes - done, offset + (off_t)done);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return STERNA_EIO;
        if (n == 0) {
            errno = 0;
            return STERNA_EFORMAT; /* the file ends early */
        }
        done += (size_t)n;
    }
    return STERNA_OK;
}

int stn_write_all(int fd, const void *buf, size_t bytes) {
    for (size_t done = 0; done < bytes;) {
        ssize_t n = write(fd, (const char *)buf + done, bytes - done);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return STERNA_EIO;
        done += (size_t)n;
    }
    return STERNA_OK;
}

int stn_file_read(const char *path, size_t max_bytes, void **data, size_t *bytes,
                  struct sterna_error *err) {
    int rc;
    *data = NULL;
    *bytes = 0;
    int fd = stn_open(path, O_RDONLY, 0);
    if (fd < 0)
        return stn_fail_sys(err, errno == ENOENT ? STERNA_ENOTFOUND : STERNA_EIO, "%s", path);
    struct stat st;
    if (fstat(fd, &st) < 0) {
        rc = stn_fail_sys(err, STERNA_EIO, "%s", path);
    } else if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size > max_bytes) {
        rc = stn_fail(err, STERNA_EFORMAT, "%s: not a file of at most %zu bytes", path, max_bytes);
    } else if (!(*data = malloc((size_t)st.st_size + 1))) {
        rc = stn_fail_memory(err, path);
    } else {
        *bytes = (size_t)st.st_size;
        ((char *)*data)[*bytes] = '\0';
        rc = stn_pread_all(fd, *data, *bytes, 0);
        if (rc < 0) stn_fail_sys(err, rc, "%s: cannot be read", path);
    }
    close(fd);
    if (rc < 0) {
        free(*data);
        *data = NULL;
    }
    return rc;
}

int stn_new_file_open(struct stn_new_file *f, const char *path, struct sterna_error *err) {
    size_t bytes = strlen(path) + 16;
    *f = (struct stn_new_file){.fd = -1, .path = strdup(path), .temporary = malloc(bytes)};
    if (!f->path || !f->temporary) {
        stn_new_file_close(f);
        return stn_fail_memory(err, path);
    }
    snprintf(f->temporary, bytes, "%s.tmp-XXXXXX", path);
    f->fd = mkostemp(f->temporary, O_CLOEXEC);
    if (f->fd >= 0 && fchmod(f->fd, 0644) == 0) return STERNA_OK;
    int rc = stn_fail_sys(err, STERNA_EIO, "%s: cannot be written", path);
    stn_new_file_close(f);
    return rc;
}

int stn_sync_directory_of(const char *path, struct sterna_error *err) {
    char dir[PATH_MAX]; /* no allocation: the name is changed already, and this must not fail */
    if (snprintf(dir, sizeof dir, "%s", path) >= (int)sizeof dir) {
        errno = ENAMETOOLONG;
        return stn_fail_sys(err, STERNA_EIO, "%s", path);
    }
    char *slash = strrchr(dir, '/');
    if (slash == dir) slash++;
    if (slash) *slash = '\0';
    int fd = stn_open(slash ? dir : ".", O_RDONLY | O_DIRECTORY, 0);
    int failed = fd < 0 || (stn_fsync(fd) < 0 && errno != EINVAL); /* EINVAL: cannot, as on NFS */
    int rc = failed ? stn_fail_sys(err, STERNA_EIO, "%s: its directory cannot be synced", path)
                    : STERNA_OK;
    if (fd >= 0) close(fd);
    return rc;
}

int stn_new_file_commit(struct stn_new_file *f, struct sterna_error *err) {
    int rc = STERNA_OK;
    if (stn_fsync(f->fd) < 0 || rename(f->temporary, f->path) < 0) {
        rc = stn_fail_sys(err, STERNA_EIO, "%s: cannot be written", f->path);
    } else {
        f->temporary[0] = '\0'; /* it is `path` now: nothing to remove */
        rc = stn_sync_directory_of(f->path, err);
    }
    stn_new_file_close(f);
    return rc;
}

void stn_new_file_close(struct stn_new_file *f) {
    if (f->fd >= 0) {
        close(f->fd);
        if (f->temporary[0]) unlink(f->temporary);
    }
    free(f->path);
    free(f->temporary);
    *f = (struct stn_new_file){.fd = -1};
}
