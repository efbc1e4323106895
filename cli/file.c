/* A file is written under a temporary name and renamed when it is whole. */
#include "file.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli.h"

static int cannot_write(const char *what, const char *path) {
    return cli_fail(CLI_FAILED, "%s: cannot write %s: %s", what, path, strerror(errno));
}

int cli_file_open(struct cli_file *f, const char *what, const char *path) {
    struct stat st;
    *f = (struct cli_file){.path = strdup(path)};
    if (asprintf(&f->temporary, "%s.XXXXXX", path) < 0) f->temporary = NULL;
    if (!f->path || !f->temporary) {
        free(f->temporary);
        f->temporary = NULL;
        cli_file_discard(f);
        return cli_fail(CLI_FAILED, "out of memory for a file name");
    }
    int fd = mkstemp(f->temporary);
    if (fd < 0) {
        int failed = cannot_write(what, path);
        free(f->temporary);
        f->temporary = NULL; /* nothing to unlink */
        cli_file_discard(f);
        return failed;
    }
    f->stream = fdopen(fd, "w");
    if (!f->stream) close(fd);
    if (!f->stream || (stat(path, &st) == 0 && S_ISDIR(st.st_mode) && (errno = EISDIR))) {
        int failed = cannot_write(what, path);
        cli_file_discard(f);
        return failed;
    }
    mode_t mask = umask(0);
    umask(mask);
    fchmod(fd, 0666 & ~mask); /* as any new file; mkstemp makes it private */
    return CLI_DONE;
}

/* A signal that comes meanwhile is no failure. */
static int sync_to_disk(int fd) {
    int rc;
    do rc = fsync(fd);
    while (rc != 0 && errno == EINTR);
    return rc;
}

int cli_file_commit(struct cli_file *f, const char *what) {
    int failed =
        fflush(f->stream) != 0 || ferror(f->stream) || sync_to_disk(fileno(f->stream)) != 0;
    if (!failed) failed = rename(f->temporary, f->path) != 0;
    if (failed) {
        cannot_write(what, f->path);
    } else {
        free(f->temporary);
        f->temporary = NULL;
    }
    cli_file_discard(f);
    return failed ? CLI_FAILED : CLI_DONE;
}

void cli_file_discard(struct cli_file *f) {
    if (f->stream) fclose(f->stream);
    if (f->temporary) unlink(f->temporary);
    free(f->temporary);
    free(f->path);
    *f = (struct cli_file){0};
}

int cli_file_probe(const char *what, const char *path) {
    struct cli_file f;
    int rc = cli_file_open(&f, what, path);
    if (rc == CLI_DONE) cli_file_discard(&f);
    return rc;
}
