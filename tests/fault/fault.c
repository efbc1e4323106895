#include "fault/fault.h"

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <lmdb.h>
#include <locale.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/uio.h>
#include <unistd.h>

#include "fault/tap.h"

#define FRAMES_MAX 16

static struct {
    atomic_uint kind;
    uint64_t first, end; /* calls that fail: [first, end) */
    atomic_uint_least64_t calls, failed;
    const char *name; /* of the first call that failed */
    void *frames[FRAMES_MAX];
    int n_frames;
} armed;

void fault_arm(enum fault_kind kind, uint64_t n, int lasting) {
    void *frame;
    backtrace(&frame, 1); /* loads what it needs now */
    armed.first = n;
    armed.end = n == 0 ? 0 : lasting ? UINT64_MAX : n + (kind == FAULT_SIGNAL ? 3 : 1);
    armed.name = NULL;
    armed.n_frames = 0;
    atomic_store(&armed.calls, 0);
    atomic_store(&armed.failed, 0);
    atomic_store(&armed.kind, kind);
    if (kind & (FAULT_LOW_EIO | FAULT_LOW_FULL))
        tap_arm_failure(kind == FAULT_LOW_FULL ? ENOSPC : EIO, n, lasting, kind == FAULT_LOW_EIO);
}

uint64_t fault_failed(void) { return atomic_load(&armed.failed); }

uint64_t fault_disarm(uint64_t *failed) {
    if (atomic_load(&armed.kind) & (FAULT_LOW_EIO | FAULT_LOW_FULL)) {
        armed.name = tap_name();
        atomic_store(&armed.calls, tap_disarm(failed));
        if (failed) atomic_store(&armed.failed, *failed);
    }
    atomic_store(&armed.kind, FAULT_NONE);
    if (failed) *failed = atomic_load(&armed.failed);
    return atomic_load(&armed.calls);
}

const char *fault_place(void) {
    static char text[1024];
    int used = snprintf(text, sizeof text, "%s, called from", armed.name ? armed.name : "nothing");
    for (int i = 2; i < armed.n_frames && used < (int)sizeof text; i++) {
        Dl_info in = {0};
        const char *at = armed.frames[i];
        if (dladdr(at, &in)) /* as addr2line -e wants it */
            used += snprintf(text + used, sizeof text - (size_t)used, " 0x%tx",
                             at - 1 - (const char *)in.dli_fbase);
    }
    return text;
}

/* 1 if this call, which belongs to `kinds`, is to fail. */
static int due(unsigned kinds, const char *name) {
    if (!(atomic_load(&armed.kind) & kinds)) return 0;
    uint64_t n = atomic_fetch_add(&armed.calls, 1) + 1;
    if (n < armed.first || n >= armed.end) return 0;
    if (atomic_fetch_add(&armed.failed, 1) == 0) {
        armed.name = name;
        armed.n_frames = backtrace(armed.frames, FRAMES_MAX);
    }
    return 1;
}

/* The same, with errno set. */
static int fails(unsigned kinds, const char *name) {
    unsigned kind = atomic_load(&armed.kind);
    if (!due(kinds & ~(unsigned)FAULT_SHORT, name)) return 0;
    errno = kind == FAULT_MEMORY   ? ENOMEM
            : kind == FAULT_FULL   ? ENOSPC
            : kind == FAULT_SIGNAL ? EINTR
            : kind == FAULT_THREAD ? EAGAIN
            : kind == FAULT_SOCKET ? ECONNRESET
                                   : EIO;
    return 1;
}

static size_t shorter(size_t bytes, const char *name) {
    return bytes > 1 && due(FAULT_SHORT, name) ? bytes / 2 : bytes;
}

/* ---- memory ---- */

// clang-format off
#define WRAP(type, name, arguments) \
    type __real_##name arguments;   \
    type __wrap_##name arguments;   \
    type __wrap_##name arguments
// clang-format on

WRAP(void *, malloc, (size_t bytes)) {
    return fails(FAULT_MEMORY, "malloc") ? NULL : __real_malloc(bytes);
}
WRAP(void *, calloc, (size_t n, size_t bytes)) {
    return fails(FAULT_MEMORY, "calloc") ? NULL : __real_calloc(n, bytes);
}
WRAP(void *, realloc, (void *old, size_t bytes)) {
    return fails(FAULT_MEMORY, "realloc") ? NULL : __real_realloc(old, bytes);
}
WRAP(int, posix_memalign, (void **out, size_t align, size_t bytes)) {
    return fails(FAULT_MEMORY, "posix_memalign") ? ENOMEM
                                                 : __real_posix_memalign(out, align, bytes);
}
WRAP(char *, strdup, (const char *text)) {
    return fails(FAULT_MEMORY, "strdup") ? NULL : __real_strdup(text);
}
int __real_asprintf(char **out, const char *format, ...);
int __wrap_asprintf(char **out, const char *format, ...);
int __wrap_asprintf(char **out, const char *format, ...) {
    va_list args;
    if (fails(FAULT_MEMORY, "asprintf")) return -1;
    va_start(args, format);
    int n = vasprintf(out, format, args);
    va_end(args);
    return n;
}
WRAP(void *, mmap, (void *at, size_t bytes, int prot, int flags, int fd, off_t offset)) {
    return fails(FAULT_MEMORY, "mmap") ? MAP_FAILED
                                       : __real_mmap(at, bytes, prot, flags, fd, offset);
}
WRAP(char *, realpath, (const char *path, char *out)) {
    return fails(FAULT_MEMORY | FAULT_EIO, "realpath") ? NULL : __real_realpath(path, out);
}
WRAP(locale_t, newlocale, (int mask, const char *name, locale_t base)) {
    return fails(FAULT_MEMORY, "newlocale") ? (locale_t)0 : __real_newlocale(mask, name, base);
}
WRAP(void *, EVP_MD_CTX_new, (void)) {
    return fails(FAULT_MEMORY, "EVP_MD_CTX_new") ? NULL : __real_EVP_MD_CTX_new();
}

static sqlite3_mem_methods sqlite;

static void *sqlite_malloc(int bytes) {
    return due(FAULT_SQL_MEMORY, "SQLite's malloc") ? NULL : sqlite.xMalloc(bytes);
}
static void *sqlite_realloc(void *old, int bytes) {
    return due(FAULT_SQL_MEMORY, "SQLite's realloc") ? NULL : sqlite.xRealloc(old, bytes);
}

void fault_watch_sqlite(void) {
    sqlite3_config(SQLITE_CONFIG_GETMALLOC, &sqlite);
    sqlite3_mem_methods watched = sqlite;
    watched.xMalloc = sqlite_malloc;
    watched.xRealloc = sqlite_realloc;
    sqlite3_config(SQLITE_CONFIG_MALLOC, &watched);
    sqlite3_config(SQLITE_CONFIG_LOOKASIDE, 0, 0); /* no allocation passes us by */
}

/* ---- files ---- */

enum {
    IO = FAULT_EIO,
    SLOW_IO = FAULT_EIO | FAULT_SIGNAL,
    NEW_IO = FAULT_EIO | FAULT_FULL,
    SLOW_NEW_IO = FAULT_EIO | FAULT_SIGNAL | FAULT_FULL
};

int __real_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...) {
    va_list args;
    va_start(args, flags);
    mode_t mode = flags & (O_CREAT | __O_TMPFILE) ? va_arg(args, mode_t) : 0;
    va_end(args);
    return fails(flags & O_CREAT ? SLOW_NEW_IO : SLOW_IO, "open") ? -1
                                                                  : __real_open(path, flags, mode);
}
int __real_openat(int dir, const char *path, int flags, ...);
int __wrap_openat(int dir, const char *path, int flags, ...);
int __wrap_openat(int dir, const char *path, int flags, ...) {
    va_list args;
    va_start(args, flags);
    mode_t mode = flags & (O_CREAT | __O_TMPFILE) ? va_arg(args, mode_t) : 0;
    va_end(args);
    return fails(SLOW_IO, "openat") ? -1 : __real_openat(dir, path, flags, mode);
}
WRAP(ssize_t, read, (int fd, void *to, size_t bytes)) {
    if (fails(SLOW_IO, "read")) return -1;
    return __real_read(fd, to, shorter(bytes, "read"));
}
WRAP(ssize_t, pread, (int fd, void *to, size_t bytes, off_t offset)) {
    if (fails(SLOW_IO, "pread")) return -1;
    return __real_pread(fd, to, shorter(bytes, "pread"), offset);
}
WRAP(ssize_t, preadv2, (int fd, const struct iovec *to, int n, off_t offset, int flags)) {
    if (fails(SLOW_IO, "preadv2")) return -1;
    struct iovec one = to[0];
    if (n == 1) one.iov_len = shorter(one.iov_len, "preadv2");
    return __real_preadv2(fd, n == 1 ? &one : to, n, offset, flags);
}
WRAP(ssize_t, write, (int fd, const void *from, size_t bytes)) {
    if (fails(SLOW_NEW_IO, "write")) return -1;
    return __real_write(fd, from, bytes == 8 ? bytes : shorter(bytes, "write")); /* 8: an eventfd */
}
WRAP(ssize_t, pwrite, (int fd, const void *from, size_t bytes, off_t offset)) {
    if (fails(SLOW_NEW_IO, "pwrite")) return -1;
    return __real_pwrite(fd, from, shorter(bytes, "pwrite"), offset);
}
WRAP(int, fsync, (int fd)) { return fails(SLOW_NEW_IO, "fsync") ? -1 : __real_fsync(fd); }
WRAP(int, fdatasync, (int fd)) {
    return fails(SLOW_NEW_IO, "fdatasync") ? -1 : __real_fdatasync(fd);
}
WRAP(int, ftruncate, (int fd, off_t bytes)) {
    return fails(SLOW_NEW_IO, "ftruncate") ? -1 : __real_ftruncate(fd, bytes);
}
WRAP(int, fallocate, (int fd, int mode, off_t at, off_t bytes)) {
    return fails(SLOW_NEW_IO, "fallocate") ? -1 : __real_fallocate(fd, mode, at, bytes);
}
WRAP(int, stat, (const char *path, struct stat *st)) {
    return fails(IO, "stat") ? -1 : __real_stat(path, st);
}
WRAP(int, fstat, (int fd, struct stat *st)) {
    return fails(IO, "fstat") ? -1 : __real_fstat(fd, st);
}
WRAP(int, fstatat, (int dir, const char *path, struct stat *st, int flags)) {
    return fails(IO, "fstatat") ? -1 : __real_fstatat(dir, path, st, flags);
}
WRAP(int, fchmod, (int fd, mode_t mode)) {
    return fails(IO, "fchmod") ? -1 : __real_fchmod(fd, mode);
}
WRAP(int, mkdir, (const char *path, mode_t mode)) {
    return fails(NEW_IO, "mkdir") ? -1 : __real_mkdir(path, mode);
}
WRAP(int, rename, (const char *from, const char *to)) {
    return fails(NEW_IO, "rename") ? -1 : __real_rename(from, to);
}
WRAP(int, renameat2, (int from_dir, const char *from, int to_dir, const char *to, unsigned flags)) {
    return fails(NEW_IO, "renameat2") ? -1 : __real_renameat2(from_dir, from, to_dir, to, flags);
}
WRAP(int, link, (const char *from, const char *to)) {
    return fails(NEW_IO, "link") ? -1 : __real_link(from, to);
}
WRAP(int, mkostemp, (char *path, int flags)) {
    return fails(NEW_IO, "mkostemp") ? -1 : __real_mkostemp(path, flags);
}
WRAP(int, mkstemp, (char *path)) { return fails(NEW_IO, "mkstemp") ? -1 : __real_mkstemp(path); }
WRAP(FILE *, fdopen, (int fd, const char *mode)) {
    return fails(FAULT_MEMORY, "fdopen") ? NULL : __real_fdopen(fd, mode);
}
WRAP(int, flock, (int fd, int how)) { return fails(SLOW_IO, "flock") ? -1 : __real_flock(fd, how); }
WRAP(int, statvfs, (const char *path, struct statvfs *out)) {
    return fails(IO, "statvfs") ? -1 : __real_statvfs(path, out);
}
WRAP(int, eventfd, (unsigned value, int flags)) {
    return fails(IO, "eventfd") ? -1 : __real_eventfd(value, flags);
}
WRAP(DIR *, fdopendir, (int fd)) {
    return fails(IO | FAULT_MEMORY, "fdopendir") ? NULL : __real_fdopendir(fd);
}
WRAP(struct dirent *, readdir, (DIR * dir)) {
    return fails(IO, "readdir") ? NULL : __real_readdir(dir);
}

/* A stream whose reads come past us: stdio's own do not. */
static ssize_t cookie_read(void *cookie, char *to, size_t bytes) {
    return fails(IO, "read of a stream") ? -1 : __real_read((int)(intptr_t)cookie, to, bytes);
}
static int cookie_close(void *cookie) { return close((int)(intptr_t)cookie); }

WRAP(FILE *, fopen, (const char *path, const char *mode)) {
    if (fails(IO | FAULT_MEMORY, "fopen")) return NULL;
    if (mode[0] != 'r' || strchr(mode, '+')) return __real_fopen(path, mode);
    int fd = __real_open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return NULL;
    cookie_io_functions_t calls = {.read = cookie_read, .close = cookie_close};
    FILE *file = fopencookie((void *)(intptr_t)fd, "r", calls);
    if (!file) close(fd);
    return file;
}

WRAP(int, pthread_create,
     (pthread_t * out, const pthread_attr_t *attr, void *(*run)(void *), void *arg)) {
    return fails(FAULT_THREAD, "pthread_create") ? EAGAIN
                                                 : __real_pthread_create(out, attr, run, arg);
}
WRAP(int, RAND_bytes, (unsigned char *to, int n)) {
    return fails(FAULT_EIO, "RAND_bytes") ? 0 : __real_RAND_bytes(to, n);
}

/* ---- sockets ---- */

enum { SLOW_SOCKET = FAULT_SOCKET | FAULT_SIGNAL };

WRAP(int, socket, (int family, int type, int protocol)) {
    return fails(FAULT_SOCKET, "socket") ? -1 : __real_socket(family, type, protocol);
}
WRAP(int, bind, (int fd, const struct sockaddr *at, socklen_t bytes)) {
    return fails(FAULT_SOCKET, "bind") ? -1 : __real_bind(fd, at, bytes);
}
WRAP(int, connect, (int fd, const struct sockaddr *to, socklen_t bytes)) {
    return fails(FAULT_SOCKET, "connect") ? -1 : __real_connect(fd, to, bytes);
}
WRAP(int, getsockopt, (int fd, int level, int name, void *to, socklen_t *bytes)) {
    return fails(FAULT_SOCKET, "getsockopt") ? -1 : __real_getsockopt(fd, level, name, to, bytes);
}
WRAP(int, setsockopt, (int fd, int level, int name, const void *from, socklen_t bytes)) {
    return fails(FAULT_SOCKET, "setsockopt") ? -1 : __real_setsockopt(fd, level, name, from, bytes);
}
WRAP(ssize_t, recv, (int fd, void *to, size_t bytes, int flags)) {
    if (fails(SLOW_SOCKET, "recv")) return -1;
    return __real_recv(fd, to, shorter(bytes, "recv"), flags);
}
WRAP(ssize_t, recvmsg, (int fd, struct msghdr *message, int flags)) {
    if (fails(SLOW_SOCKET, "recvmsg")) return -1;
    struct iovec first = message->msg_iov[0];
    struct msghdr copy = *message;
    first.iov_len = shorter(first.iov_len, "recvmsg");
    if (first.iov_len < message->msg_iov[0].iov_len) {
        copy.msg_iov = &first;
        copy.msg_iovlen = 1;
    }
    return __real_recvmsg(fd, &copy, flags);
}
WRAP(ssize_t, send, (int fd, const void *from, size_t bytes, int flags)) {
    if (fails(SLOW_SOCKET, "send")) return -1;
    return __real_send(fd, from, shorter(bytes, "send"), flags);
}
WRAP(int, epoll_create1, (int flags)) {
    return fails(IO, "epoll_create1") ? -1 : __real_epoll_create1(flags);
}
WRAP(int, epoll_ctl, (int epoll, int what, int fd, struct epoll_event *event)) {
    return fails(IO, "epoll_ctl") ? -1 : __real_epoll_ctl(epoll, what, fd, event);
}
WRAP(int, epoll_wait, (int epoll, struct epoll_event *events, int n, int timeout_ms)) {
    return fails(SLOW_SOCKET, "epoll_wait") ? -1 : __real_epoll_wait(epoll, events, n, timeout_ms);
}

/* ---- LMDB, at its door ---- */

static int fails_with(unsigned kinds, const char *name) { return fails(kinds, name) ? errno : 0; }

WRAP(int, mdb_env_create, (MDB_env * *out)) {
    int failed = fails_with(FAULT_MEMORY, "mdb_env_create");
    return failed ? failed : __real_mdb_env_create(out);
}
WRAP(int, mdb_env_open, (MDB_env * env, const char *path, unsigned flags, mdb_mode_t mode)) {
    int failed = fails_with(NEW_IO | FAULT_MEMORY, "mdb_env_open");
    return failed ? failed : __real_mdb_env_open(env, path, flags, mode);
}
WRAP(int, mdb_env_sync, (MDB_env * env, int force)) {
    int failed = fails_with(NEW_IO, "mdb_env_sync");
    return failed ? failed : __real_mdb_env_sync(env, force);
}
WRAP(int, mdb_dbi_open, (MDB_txn * txn, const char *name, unsigned flags, MDB_dbi *out)) {
    int failed = fails_with(FAULT_MEMORY, "mdb_dbi_open");
    return failed ? failed : __real_mdb_dbi_open(txn, name, flags, out);
}
WRAP(int, mdb_txn_begin, (MDB_env * env, MDB_txn *parent, unsigned flags, MDB_txn **out)) {
    int failed = fails_with(IO | FAULT_MEMORY, "mdb_txn_begin");
    return failed ? failed : __real_mdb_txn_begin(env, parent, flags, out);
}
WRAP(int, mdb_txn_renew, (MDB_txn * txn)) {
    int failed = fails_with(IO, "mdb_txn_renew");
    return failed ? failed : __real_mdb_txn_renew(txn);
}
WRAP(int, mdb_txn_commit, (MDB_txn * txn)) {
    int failed = fails_with(NEW_IO | FAULT_MEMORY, "mdb_txn_commit");
    if (failed) mdb_txn_abort(txn);
    return failed ? failed : __real_mdb_txn_commit(txn);
}
WRAP(int, mdb_cursor_open, (MDB_txn * txn, MDB_dbi dbi, MDB_cursor **out)) {
    int failed = fails_with(FAULT_MEMORY, "mdb_cursor_open");
    return failed ? failed : __real_mdb_cursor_open(txn, dbi, out);
}
WRAP(int, mdb_put, (MDB_txn * txn, MDB_dbi dbi, MDB_val *key, MDB_val *value, unsigned flags)) {
    int failed = fails_with(NEW_IO | FAULT_MEMORY, "mdb_put");
    return failed ? failed : __real_mdb_put(txn, dbi, key, value, flags);
}
