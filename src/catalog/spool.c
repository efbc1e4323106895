#include "catalog/spool.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/file.h"

#define SPOOL_BYTES ((size_t)256 << 10)

static int unnamed_in(const char *dir) {
    int fd = stn_open(dir, O_TMPFILE | O_RDWR, 0600);
    if (fd >= 0 || (errno != EOPNOTSUPP && errno != EISDIR && errno != EINVAL)) return fd;
    char *name = stn_path_join(dir, ".sterna-XXXXXX"); /* a file system without such files */
    if (!name) return -1;
    fd = mkostemp(name, O_CLOEXEC);
    if (fd >= 0) unlink(name);
    free(name);
    return fd;
}

int stn_temporary_fd(const char *dir) {
    if (dir) return unnamed_in(dir);
    const char *given = getenv("TMPDIR");
    const char *const places[] = {given && *given ? given : "/tmp", "/var/tmp", "/tmp"};
    for (size_t i = 0; i < STN_COUNT(places); i++) {
        int fd = unnamed_in(places[i]);
        if (fd >= 0) return fd;
    }
    return memfd_create("sterna", MFD_CLOEXEC); /* a container without any writable directory */
}

int stn_spool_open(struct stn_spool *s, const char *dir, struct sterna_error *err) {
    *s = (struct stn_spool){.fd = -1, .buf = malloc(SPOOL_BYTES)};
    if (!s->buf) return stn_fail_memory(err, "a temporary file");
    s->fd = stn_temporary_fd(dir);
    if (s->fd >= 0) return STERNA_OK;
    int readonly = errno == EACCES || errno == EROFS || errno == EPERM;
    stn_fail_sys(err, readonly ? STERNA_EREADONLY : STERNA_EIO, "%s: no temporary file can be made",
                 dir ? dir : "TMPDIR, /tmp, /var/tmp");
    stn_spool_close(s);
    return readonly ? STERNA_EREADONLY : STERNA_EIO;
}

void stn_spool_close(struct stn_spool *s) {
    if (s->fd >= 0) close(s->fd);
    free(s->buf);
    *s = (struct stn_spool){.fd = -1};
}

static int flush(struct stn_spool *s) {
    int rc = stn_write_all(s->fd, s->buf, s->used);
    s->used = 0;
    return rc;
}

int stn_spool_put(struct stn_spool *s, const void *data, size_t bytes) {
    if (bytes > SPOOL_BYTES - s->used) {
        int rc = flush(s);
        if (rc < 0) return rc;
        if (bytes >= SPOOL_BYTES) return stn_write_all(s->fd, data, bytes);
    }
    if (bytes) memcpy(s->buf + s->used, data, bytes);
    s->used += bytes;
    return STERNA_OK;
}

int stn_spool_rewind(struct stn_spool *s) {
    int rc = flush(s);
    s->at = s->used = 0;
    s->offset = 0;
    return rc;
}

static int fill(struct stn_spool *s) {
    ssize_t n;
    do {
        n = pread(s->fd, s->buf, SPOOL_BYTES, (off_t)s->offset);
    } while (n < 0 && errno == EINTR);
    if (n == 0) errno = 0; /* fewer bytes than were written */
    if (n <= 0) return STERNA_EIO;
    s->offset += (uint64_t)n;
    s->at = 0;
    s->used = (size_t)n;
    return STERNA_OK;
}

int stn_spool_get(struct stn_spool *s, void *data, size_t bytes) {
    for (uint8_t *to = data; bytes > 0;) {
        if (s->at == s->used) {
            int rc = fill(s);
            if (rc < 0) return rc;
        }
        size_t now = STN_MIN(bytes, s->used - s->at);
        memcpy(to, s->buf + s->at, now);
        s->at += now;
        to += now;
        bytes -= now;
    }
    return STERNA_OK;
}
