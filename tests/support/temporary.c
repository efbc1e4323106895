#include "support/temporary.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

char *test_dir_make(void) {
    const char *base = getenv("TMPDIR");
    char *dir = NULL;
    if (asprintf(&dir, "%s/sterna-test-XXXXXX", base && *base ? base : "/tmp") < 0 ||
        !mkdtemp(dir)) {
        perror("no temporary directory");
        exit(1);
    }
    return dir;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw) {
    (void)st;
    (void)ftw;
    if (type == FTW_DNR) chmod(path, 0700);
    remove(path);
    return 0;
}

void test_dir_remove(char **dir) {
    if (!*dir) return;
    nftw(*dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    free(*dir);
    *dir = NULL;
}

const char *test_path(const char *dir, const char *name) {
    static char paths[8][4096];
    static unsigned turn;
    char *path = paths[turn++ % 8];
    snprintf(path, sizeof paths[0], "%s/%s", dir, name);
    return path;
}
