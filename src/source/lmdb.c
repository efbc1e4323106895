/* The embedded store's environment: one LMDB environment a file and process, found again by device
 * and inode. Owns the registry of them and knows when a file may be opened how. Knows nothing of
 * the catalogue. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "source/lmdb_env.h"

#define LOCK_FILE_BYTES ((off_t)128 << 10) /* of lock.mdb with its 1024 readers, and some more */

/* LMDB's locks belong to a process and file, so a second environment of the same file in the same
 * process would break the first. Held while one is opened or closed. */
static struct {
    pthread_mutex_t mutex;
    struct stn_lmdb *first;
    pthread_once_t once;
} registry = {PTHREAD_MUTEX_INITIALIZER, NULL, PTHREAD_ONCE_INIT};

/* A fork waits until nobody has the mutex, so that the child can use it. The child finds the
 * parent's environments still listed, and leaves them alone because of their pid. */
static void before_fork(void) { pthread_mutex_lock(&registry.mutex); }
static void after_fork(void) { pthread_mutex_unlock(&registry.mutex); }
static void watch_forks(void) { pthread_atfork(before_fork, after_fork, after_fork); }

/* ---- opening ---- */

struct opening {
    const char *dir;
    enum stn_lmdb_mode mode;
    struct stat st; /* of data.mdb */
    int blank;      /* nothing was ever stored in it */
};

static int may_not_write(int sys_errno) {
    return sys_errno == EACCES || sys_errno == EPERM || sys_errno == EROFS;
}

static int make_dir(const char *dir, struct sterna_error *err) {
    if (mkdir(dir, 0777) == 0) return stn_sync_directory_of(dir, err);
    if (errno == EEXIST) return STERNA_OK;
    if (errno == ENOENT)
        return stn_fail(err, STERNA_ENOTFOUND,
                        "%s: cannot be made, its parent directory is missing", dir);
    return stn_lmdb_fail_at(dir, errno, "cannot be made", err);
}

/* A descriptor of data.mdb, made (empty) if the mode says so. */
static int open_data(const char *path, const struct opening *o, int *fd, struct sterna_error *err) {
    int create = o->mode == STN_LMDB_CREATE ? O_CREAT : 0;
    *fd = stn_open(path, O_RDONLY, 0);
    if (*fd < 0 && errno == ENOENT && create) *fd = stn_open(path, O_RDONLY | create, 0666);
    if (*fd >= 0) return STERNA_OK;
    if (errno == ENOENT || errno == ENOTDIR)
        return stn_fail(err, STERNA_ENOTFOUND, "%s: no store is there (no data.mdb)", o->dir);
    if (create && may_not_write(errno)) return stn_lmdb_fail_at(path, errno, "cannot be made", err);
    return stn_fail_sys(err, STERNA_EIO, "%s: cannot be opened", path);
}

/* Empties a file of zeros, unless another process has made a store of it meanwhile. */
static int empty_blank(const char *path, struct sterna_error *err) {
    int blank = 0, rc, fd = stn_open(path, O_RDWR, 0);
    if (fd < 0) return stn_lmdb_fail_at(path, errno, "cannot be written", err);
    do rc = flock(fd, LOCK_EX);
    while (rc < 0 && errno == EINTR);
    rc = stn_lmdb_check_file(fd, path, &blank, err);
    if (rc == STERNA_OK && blank && stn_ftruncate(fd, 0) < 0)
        rc = stn_lmdb_fail_at(path, errno, "cannot be written", err);
    close(fd);
    return rc;
}

/* Opens lock.mdb for LMDB's use: 0 or errno. Its blocks are allocated here, because LMDB maps the
 * file with holes, and touching a hole on a full disk kills the process. */
static int prepare_lock(const struct opening *o, int may_create) {
    char *path = stn_path_join(o->dir, "lock.mdb");
    if (!path) return ENOMEM;
    int failed = 0, fd = stn_open(path, O_RDWR | (may_create ? O_CREAT : 0), 0666);
    if (fd < 0) failed = errno;
    free(path);
    if (fd < 0) return failed;
    struct stat st;
    if (fstat(fd, &st) < 0) {
        failed = errno;
    } else {
        /* A store that root reads first must stay usable to its owner. */
        if (st.st_size == 0 && geteuid() == 0 && st.st_uid != o->st.st_uid &&
            fchown(fd, o->st.st_uid, o->st.st_gid) < 0)
            failed = errno;
        if (!failed && st.st_blocks * 512 < LOCK_FILE_BYTES) {
            int rc;
            do rc = fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, LOCK_FILE_BYTES);
            while (rc < 0 && errno == EINTR);
            if (rc < 0 && (errno == ENOSPC || errno == EDQUOT)) failed = errno;
        }
    }
    close(fd);
    return failed;
}

static int is_writable(const char *path) {
    int fd = stn_open(path, O_RDWR, 0);
    if (fd >= 0) close(fd);
    return fd >= 0;
}

/* Reading goes on without lock.mdb where this user may not have it or there is no room for it: then
 * no writer can work beside it either. Without memory, descriptors or a sound disk one could. */
static int may_go_without_lock(int sys_errno) {
    return may_not_write(sys_errno) || sys_errno == ENOENT || sys_errno == ENOSPC ||
           sys_errno == EDQUOT;
}

/* LMDB flags for what this user may do; whether or not a writer is wanted now, one may be later. */
static int choose_flags(struct stn_lmdb *db, const struct opening *o, unsigned *flags,
                        struct sterna_error *err) {
    int writable = is_writable(db->path);
    int refused = writable ? 0 : errno;
    int unlocked = prepare_lock(o, writable);
    *flags = MDB_NOTLS | MDB_NORDAHEAD;
    if (!writable) *flags |= MDB_RDONLY;
    if (unlocked) *flags |= MDB_RDONLY | MDB_NOLOCK;
    int reading = o->mode == STN_LMDB_READ;
    if (refused && !(reading && may_not_write(refused)))
        return stn_lmdb_fail_at(db->path, refused, "cannot be written", err);
    if (unlocked && !(reading && may_go_without_lock(unlocked)))
        return stn_lmdb_fail_at(o->dir, unlocked, "lock.mdb cannot be used", err);
    return STERNA_OK;
}

static int open_env(struct stn_lmdb *db, const struct opening *o, unsigned flags) {
    int code = mdb_env_create(&db->env);
    if (code != MDB_SUCCESS) {
        db->env = NULL;
        return code;
    }
    code = mdb_env_set_maxreaders(db->env, STN_LMDB_READERS_MAX);
    if (code == MDB_SUCCESS)
        code = mdb_env_set_mapsize(db->env, stn_lmdb_map_size_for((size_t)o->st.st_size));
    if (code == MDB_SUCCESS) code = mdb_env_open(db->env, o->dir, flags, 0666);
    if (code == MDB_SUCCESS) return code;
    mdb_env_close(db->env); /* LMDB wants it after a failed open too */
    db->env = NULL;
    return code;
}

/* The environment opened the file by name, after we looked at it. */
static int same_file(struct stn_lmdb *db, struct sterna_error *err) {
    int fd = -1;
    struct stat st;
    if (mdb_env_get_fd(db->env, &fd) != 0 || fstat(fd, &st) < 0)
        return stn_fail_sys(err, STERNA_EIO, "%s", db->path);
    if (st.st_dev == db->dev && st.st_ino == db->ino) return STERNA_OK;
    return stn_fail(err, STERNA_EIO, "%s was replaced while it was being opened; try again",
                    db->path);
}

/* Opens the table and looks at its first key: other programs use LMDB too. */
static int is_ours(struct stn_lmdb *db, MDB_txn *txn, struct sterna_error *err) {
    MDB_cursor *cursor = NULL;
    MDB_val key = {0, NULL}, value = {0, NULL};
    unsigned flags = 0;
    int code = mdb_dbi_open(txn, NULL, 0, &db->dbi);
    if (code == MDB_SUCCESS) code = mdb_dbi_flags(txn, db->dbi, &flags);
    if (code == MDB_SUCCESS) code = mdb_cursor_open(txn, db->dbi, &cursor);
    if (code == MDB_SUCCESS && flags == 0) code = mdb_cursor_get(cursor, &key, &value, MDB_FIRST);
    if (cursor) mdb_cursor_close(cursor);
    if (code == MDB_NOTFOUND) return STERNA_OK;
    if (code != MDB_SUCCESS) return stn_lmdb_fail(db, code, "cannot be read", err);
    if (flags == 0 && key.mv_size == STN_LMDB_KEY_BYTES && value.mv_size >= STN_VALUE_HEADER_BYTES)
        return STERNA_OK;
    return stn_fail(err, STERNA_EFORMAT,
                    "%s is an LMDB file of another program: its first key has %zu bytes, not %d",
                    db->path, key.mv_size, STN_LMDB_KEY_BYTES);
}

static int look_inside(struct stn_lmdb *db, struct sterna_error *err) {
    MDB_stat st;
    MDB_txn *txn = NULL;
    int code = mdb_env_stat(db->env, &st);
    if (code != MDB_SUCCESS) return stn_lmdb_fail(db, code, "cannot be read", err);
    db->page_bytes = st.ms_psize;
    int dead = 0;
    mdb_reader_check(db->env, &dead); /* readers that were killed hold pages back */
    int rc = stn_lmdb_read_begin(db, &txn, err);
    if (rc < 0) return rc;
    rc = is_ours(db, txn, err);
    stn_lmdb_read_end(db, txn);
    mdb_txn_abort(txn);
    return rc;
}

/* A new store is durable from the start, its names included. */
static int make_durable(struct stn_lmdb *db, struct sterna_error *err) {
    int code = mdb_env_sync(db->env, 1);
    if (code != MDB_SUCCESS) return stn_lmdb_fail(db, code, "cannot be synced", err);
    return stn_sync_directory_of(db->path, err);
}

static void destroy(struct stn_lmdb *db) {
    if (db->env) mdb_env_close(db->env);
    if (db->fd >= 0) close(db->fd);
    stn_lmdb_gate_fini(&db->gate);
    free(db->path);
    free(db);
}

static int open_checked(struct stn_lmdb *db, struct opening *o, struct sterna_error *err) {
    unsigned flags = 0;
    int rc = stn_lmdb_check_file(db->fd, db->path, &o->blank, err);
    if (rc == STERNA_OK && o->blank && o->mode != STN_LMDB_CREATE)
        rc = stn_fail(
            err, STERNA_EFORMAT,
            "%s is empty or truncated: %lld bytes; if making the store was cut short, ingest "
            "into it again, else restore it from a copy",
            db->path, (long long)o->st.st_size);
    if (rc == STERNA_OK) rc = choose_flags(db, o, &flags, err);
    if (rc == STERNA_OK && o->blank && o->st.st_size > 0) rc = empty_blank(db->path, err);
    if (rc < 0) return rc;
    int code = open_env(db, o, flags);
    if (may_not_write(code) && o->mode == STN_LMDB_READ && !(flags & MDB_NOLOCK)) {
        flags |= MDB_RDONLY | MDB_NOLOCK; /* allowed by the permissions, refused by the system */
        code = open_env(db, o, flags);
    }
    if (code != MDB_SUCCESS) return stn_lmdb_fail(db, code, "cannot be opened", err);
    db->read_only = (flags & MDB_RDONLY) != 0;
    rc = same_file(db, err);
    if (rc == STERNA_OK) rc = look_inside(db, err);
    if (rc == STERNA_OK && o->blank) rc = make_durable(db, err);
    return rc;
}

/* ---- the registry; its mutex is held ---- */

static struct stn_lmdb *find(dev_t dev, ino_t ino) {
    struct stn_lmdb *db = registry.first;
    while (db && (db->dev != dev || db->ino != ino || db->pid != getpid())) db = db->next;
    return db;
}

/* Takes fd and path in any case. */
static int open_new(struct stn_lmdb **out, struct opening *o, int fd, char *path,
                    struct sterna_error *err) {
    struct stn_lmdb *db = stn_array(1, sizeof *db);
    if (!db) {
        close(fd);
        free(path);
        return stn_fail_memory(err, "the store");
    }
    db->fd = fd;
    db->path = path;
    db->pid = getpid();
    db->dev = o->st.st_dev;
    db->ino = o->st.st_ino;
    db->refs = 1;
    int rc = stn_lmdb_gate_init(&db->gate);
    if (rc < 0) stn_fail_memory(err, path);
    if (rc == STERNA_OK) rc = open_checked(db, o, err);
    if (rc < 0) {
        destroy(db);
        return rc;
    }
    db->next = registry.first;
    registry.first = db;
    *out = db;
    return STERNA_OK;
}

static int find_or_open(struct stn_lmdb **out, struct opening *o, struct sterna_error *err) {
    int fd = -1;
    char *path = stn_path_join(o->dir, "data.mdb");
    if (!path) return stn_fail_memory(err, o->dir);
    int rc = open_data(path, o, &fd, err);
    if (rc == STERNA_OK && fstat(fd, &o->st) < 0) rc = stn_fail_sys(err, STERNA_EIO, "%s", path);
    struct stn_lmdb *db = rc == STERNA_OK ? find(o->st.st_dev, o->st.st_ino) : NULL;
    if (rc == STERNA_OK && !db) return open_new(out, o, fd, path, err);
    if (db && o->mode != STN_LMDB_READ && db->read_only)
        rc = stn_fail(err, STERNA_EREADONLY,
                      "%s: cannot be written; this process has it open "
                      "read-only",
                      path);
    if (rc == STERNA_OK) {
        db->refs++;
        *out = db;
    }
    if (fd >= 0) close(fd);
    free(path);
    return rc;
}

int stn_lmdb_acquire(struct stn_lmdb **out, const char *dir, enum stn_lmdb_mode mode,
                     struct sterna_error *err) {
    struct opening o = {.dir = dir, .mode = mode};
    *out = NULL;
    pthread_once(&registry.once, watch_forks);
    pthread_mutex_lock(&registry.mutex);
    int rc = mode == STN_LMDB_CREATE ? make_dir(dir, err) : STERNA_OK;
    if (rc == STERNA_OK) rc = find_or_open(out, &o, err);
    pthread_mutex_unlock(&registry.mutex);
    return rc;
}

void stn_lmdb_release(struct stn_lmdb **db) {
    struct stn_lmdb *gone = *db;
    *db = NULL;
    if (!gone || gone->pid != getpid()) return; /* a forked child must not close it */
    pthread_mutex_lock(&registry.mutex);
    if (--gone->refs == 0) {
        struct stn_lmdb **at = &registry.first;
        while (*at != gone) at = &(*at)->next;
        *at = gone->next;
        destroy(gone);
    }
    pthread_mutex_unlock(&registry.mutex);
}

int stn_lmdb_read_only(const struct stn_lmdb *db) { return db->read_only; }

/* ---- lookups outside the reading side ---- */

static int header_at(struct stn_lmdb *db, MDB_cursor *cursor, const uint8_t id[16], uint8_t field,
                     struct stn_value_header *out, struct sterna_error *err) {
    struct stn_lmdb_span span;
    uint8_t raw[STN_VALUE_HEADER_BYTES];
    int rc = stn_lmdb_locate(db, cursor, id, field, &span, err);
    if (rc == STERNA_ENOTFOUND)
        return stn_lmdb_fail_value(db, rc, id, field, "there is no such value", err);
    if (rc < 0) return rc;
    if (stn_pread_all(db->fd, raw, sizeof raw, span.offset) < 0)
        return stn_lmdb_fail_value(db, STERNA_EIO, id, field,
                                   errno ? strerror(errno) : "the file is truncated", err);
    return stn_lmdb_header_parse(db, id, field, raw, span.bytes, out, err);
}

int stn_lmdb_header(struct stn_lmdb *db, const uint8_t id[16], uint8_t field,
                    struct stn_value_header *out, struct sterna_error *err) {
    MDB_txn *txn = NULL;
    MDB_cursor *cursor = NULL;
    int rc = stn_lmdb_read_begin(db, &txn, err);
    if (rc < 0) return rc;
    int code = mdb_cursor_open(txn, db->dbi, &cursor);
    if (code == MDB_SUCCESS)
        rc = header_at(db, cursor, id, field, out, err);
    else
        rc = stn_lmdb_fail(db, code, "cannot be read", err);
    if (cursor) mdb_cursor_close(cursor);
    stn_lmdb_read_end(db, txn);
    mdb_txn_abort(txn);
    return rc;
}

int stn_lmdb_count(struct stn_lmdb *db, uint64_t *n_values, struct sterna_error *err) {
    MDB_txn *txn = NULL;
    MDB_stat st;
    int rc = stn_lmdb_read_begin(db, &txn, err);
    if (rc < 0) return rc;
    int code = mdb_stat(txn, db->dbi, &st);
    if (code == MDB_SUCCESS)
        *n_values = st.ms_entries;
    else
        rc = stn_lmdb_fail(db, code, "cannot be read", err);
    stn_lmdb_read_end(db, txn);
    mdb_txn_abort(txn);
    return rc;
}
