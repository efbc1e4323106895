#include "cassandra/cache.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "cassandra/tables.h"
#include "catalog/sql.h"
#include "sterna/store.h"

#define COPY_PREFIX "copy-"
#define CLUSTER_NAME_MAX 64

/* ---- the directory ---- */

static char *base_dir(void) {
    const char *own = getenv("STERNA_CACHE"), *xdg = getenv("XDG_CACHE_HOME"),
               *home = getenv("HOME");
    if (own && own[0]) return strdup(own);
    if (xdg && xdg[0] == '/') return stn_path_join(xdg, "sterna");
    if (home && home[0] == '/') return stn_path_join(home, ".cache/sterna");
    return NULL;
}

/* As a name of a directory, whatever operators call their clusters. */
static void safe_name(const char *cluster, char out[CLUSTER_NAME_MAX + 1]) {
    size_t n = 0;
    for (; cluster[n] && n < CLUSTER_NAME_MAX; n++) {
        unsigned char c = (unsigned char)cluster[n];
        out[n] = (char)(c < 0x80 && (isalnum(c) || c == '_') ? c : '_');
    }
    out[n] = '\0';
}

/* All directories on the way to `path`, which others need not look into. */
static int make_dirs(char *path, struct sterna_error *err) {
    for (char *slash = strchr(path + 1, '/');; slash = strchr(slash + 1, '/')) {
        if (slash) *slash = '\0';
        int failed = mkdir(path, 0700) < 0 && errno != EEXIST && access(path, F_OK) < 0;
        if (failed) {
            int code = errno == EACCES || errno == EROFS ? STERNA_EREADONLY : STERNA_EIO;
            return stn_fail_sys(err, code,
                                "%s: cannot be made, and the catalogue needs a place on this host: "
                                "set STERNA_CACHE to a directory that you can write",
                                path);
        }
        if (!slash) return STERNA_OK;
        *slash = '/';
    }
}

int stn_cache_dir(char **dir, const char *cluster, const char *tables, const uint8_t dataset_id[16],
                  struct sterna_error *err) {
    char name[CLUSTER_NAME_MAX + 1], id[STERNA_ID_TEXT_BYTES];
    *dir = NULL;
    char *base = base_dir();
    if (!base)
        return stn_fail(err, STERNA_EINVAL,
                        "the catalogue needs a place on this host, and there is no home directory: "
                        "set STERNA_CACHE to a directory that you can write");
    safe_name(cluster, name);
    sterna_id_format(dataset_id, id);
    *dir = tables ? stn_text_make("%s/%s-%s-%s", base, name, tables, id)
                  : stn_text_make("%s/%s-%s", base, name, id);
    free(base);
    int rc = *dir ? make_dirs(*dir, err) : stn_fail_memory(err, "the name of a directory");
    if (rc < 0) {
        free(*dir);
        *dir = NULL;
    }
    return rc;
}

/* ---- locks ---- */

static int lock_file(const char *dir, int operation, int *fd, struct sterna_error *err) {
    char *path = stn_path_join(dir, "lock");
    if (!path) return stn_fail_memory(err, dir);
    int rc = STERNA_OK;
    *fd = stn_open(path, O_RDWR | O_CREAT, 0600);
    if (*fd < 0) {
        int code = errno == EACCES || errno == EROFS ? STERNA_EREADONLY : STERNA_EIO;
        rc = stn_fail_sys(err, code, "%s: cannot be opened", path);
    }
    int failed = 0;
    while (rc == STERNA_OK && (failed = flock(*fd, operation) < 0) && errno == EINTR) continue;
    if (failed)
        rc = errno == EWOULDBLOCK ? STERNA_EBUSY
                                  : stn_fail_sys(err, STERNA_EIO, "%s: cannot be locked", path);
    if (rc < 0 && *fd >= 0) {
        close(*fd);
        *fd = -1;
    }
    free(path);
    return rc;
}

int stn_cache_lock(const char *dir, int *fd, struct sterna_error *err) {
    return lock_file(dir, LOCK_EX, fd, err);
}

/* ---- copies ---- */

void stn_cache_remove_catalog(const char *path) {
    static const char *const beside[] = {"", "-wal", "-shm", "-journal"};
    for (size_t i = 0; i < STN_COUNT(beside); i++) {
        char *file = stn_text_make("%s%s", path, beside[i]);
        if (file) unlink(file);
        free(file);
    }
}

static void remove_copy(const char *dir) {
    char *catalog = stn_path_join(dir, "catalog.sqlite"), *lock = stn_path_join(dir, "lock");
    if (catalog) stn_cache_remove_catalog(catalog);
    if (lock) unlink(lock);
    rmdir(dir);
    free(catalog);
    free(lock);
}

/* Those whose lock can be had: their makers are gone. The directory's lock is held, so that none is
 * just being made. */
static void remove_abandoned(const char *dir) {
    DIR *all = opendir(dir);
    struct dirent *entry;
    while (all && (entry = readdir(all))) {
        int fd;
        if (strncmp(entry->d_name, COPY_PREFIX, strlen(COPY_PREFIX)) != 0) continue;
        char *copy = stn_path_join(dir, entry->d_name);
        if (copy && lock_file(copy, LOCK_EX | LOCK_NB, &fd, NULL) == STERNA_OK) {
            remove_copy(copy);
            close(fd);
        }
        free(copy);
    }
    if (all) closedir(all);
}

/* By SQLite's own hand: consistent, whatever state the file is in. */
static int copy_catalog(const char *from, const char *to, struct sterna_error *err) {
    struct stn_sql source, copy = {0};
    int rc = stn_sql_open(&source, from, STN_SQL_READ, 10000, err);
    if (rc == STERNA_OK) rc = stn_sql_open(&copy, to, STN_SQL_CREATE, 0, err);
    if (rc == STERNA_OK) rc = stn_sql_exec(&copy, "PRAGMA synchronous=OFF", err);
    if (rc == STERNA_OK) {
        sqlite3_backup *backup = sqlite3_backup_init(copy.db, "main", source.db, "main");
        int result = backup ? sqlite3_backup_step(backup, -1) : sqlite3_errcode(copy.db);
        if (backup) sqlite3_backup_finish(backup);
        if (result != SQLITE_DONE) rc = stn_sql_fail(&copy, result, err);
    }
    stn_sql_close(&copy);
    stn_sql_close(&source);
    return rc;
}

static int make_copy(struct stn_cache_copy *copy, const char *dir, struct sterna_error *err) {
    char *from = stn_path_join(dir, "catalog.sqlite");
    int rc = from ? STERNA_OK : stn_fail_memory(err, dir);
    if (rc == STERNA_OK && !mkdtemp(copy->dir))
        rc = stn_fail_sys(err, STERNA_EIO, "%s: cannot be made", copy->dir);
    copy->open = rc == STERNA_OK;
    if (rc == STERNA_OK) rc = lock_file(copy->dir, LOCK_EX, &copy->lock_fd, err);
    if (rc == STERNA_OK && !(copy->catalog = stn_path_join(copy->dir, "catalog.sqlite")))
        rc = stn_fail_memory(err, dir);
    if (rc == STERNA_OK) rc = copy_catalog(from, copy->catalog, err);
    free(from);
    return rc;
}

int stn_cache_copy_open(struct stn_cache_copy *copy, const char *dir, struct sterna_error *err) {
    int lock = -1;
    *copy = (struct stn_cache_copy){.lock_fd = -1, .dir = stn_path_join(dir, COPY_PREFIX "XXXXXX")};
    int rc = copy->dir ? stn_cache_lock(dir, &lock, err) : stn_fail_memory(err, dir);
    if (rc == STERNA_OK) {
        remove_abandoned(dir);
        rc = make_copy(copy, dir, err);
        close(lock);
    }
    if (rc < 0) stn_cache_copy_close(copy);
    return rc;
}

void stn_cache_copy_close(struct stn_cache_copy *copy) {
    if (copy->open) {
        remove_copy(copy->dir);
        if (copy->lock_fd >= 0) close(copy->lock_fd);
    }
    free(copy->dir);
    free(copy->catalog);
    *copy = (struct stn_cache_copy){.lock_fd = -1};
}
