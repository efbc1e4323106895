#include "support/tree.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void must(int ok, const char *what) {
    if (ok) return;
    perror(what);
    abort();
}

void tree_open(struct tree *t) {
    const char *tmp = getenv("TMPDIR");
    snprintf(t->path, sizeof t->path, "%s/sterna-test-XXXXXX", tmp && *tmp ? tmp : "/tmp");
    must(mkdtemp(t->path) != NULL, t->path);
    t->fd = open(t->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    must(t->fd >= 0, t->path);
}

/* Moves directories that lie in others up to the top before removing them: then no path is long,
 * and one descriptor a step is enough. */
static void empty(int top, int fd, unsigned *counter) {
    DIR *dir = fdopendir(fd);
    must(dir != NULL, "fdopendir");
    for (struct dirent *d; (d = readdir(dir));) {
        if (strcmp(d->d_name, ".") == 0 || strcmp(d->d_name, "..") == 0) continue;
        if (unlinkat(fd, d->d_name, 0) == 0) continue;
        fchmodat(fd, d->d_name, 0700, 0);
        if (unlinkat(fd, d->d_name, AT_REMOVEDIR) == 0) continue;
        char name[32];
        snprintf(name, sizeof name, ".remove-%u", (*counter)++);
        must(renameat(fd, d->d_name, top, name) == 0, d->d_name);
    }
    closedir(dir);
}

void tree_close(struct tree *t) {
    unsigned made = 0, done = 0;
    empty(t->fd, openat(t->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), &made);
    while (done < made) {
        char name[32];
        snprintf(name, sizeof name, ".remove-%u", done++);
        int fd = openat(t->fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0) continue; /* removed meanwhile under this name */
        empty(t->fd, fd, &made);
        unlinkat(t->fd, name, AT_REMOVEDIR);
    }
    close(t->fd);
    must(rmdir(t->path) == 0, t->path);
}

static void make_directories(const struct tree *t, const char *path) {
    char *copy = strdup(path);
    must(copy != NULL, path);
    for (char *s = copy; (s = strchr(s, '/')); *s++ = '/') {
        *s = '\0';
        must(mkdirat(t->fd, copy, 0755) == 0 || errno == EEXIST, copy);
    }
    free(copy);
}

void tree_write(const struct tree *t, const char *path, const void *data, size_t bytes) {
    make_directories(t, path);
    int fd = openat(t->fd, path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    must(fd >= 0, path);
    must(write(fd, data, bytes) == (ssize_t)bytes, path);
    must(close(fd) == 0, path);
}

void tree_text(const struct tree *t, const char *path, const char *text) {
    tree_write(t, path, text, strlen(text));
}

void tree_mkdir(const struct tree *t, const char *path) {
    make_directories(t, path);
    must(mkdirat(t->fd, path, 0755) == 0 || errno == EEXIST, path);
}

void tree_link(const struct tree *t, const char *target, const char *path) {
    make_directories(t, path);
    must(symlinkat(target, t->fd, path) == 0, path);
}

const char *tree_path(const struct tree *t, const char *path) {
    static char buffers[4][1024];
    static unsigned next;
    char *buffer = buffers[next++ % 4];
    snprintf(buffer, sizeof buffers[0], "%s/%s", t->path, path);
    return buffer;
}
