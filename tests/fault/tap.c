#include "fault/tap.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static struct {
    atomic_int action;
    uint64_t first;
    int lasting, sys_errno, reads_too;
    atomic_uint_least64_t calls, failed;
    const char *name;
} armed;

void tap_arm(enum tap_action action, uint64_t n, int reads_too) {
    armed.first = n;
    armed.lasting = 0;
    armed.reads_too = reads_too;
    armed.name = NULL;
    atomic_store(&armed.calls, 0);
    atomic_store(&armed.failed, 0);
    atomic_store(&armed.action, action);
}

void tap_arm_failure(int sys_errno, uint64_t n, int lasting, int reads_too) {
    tap_arm(TAP_PASS, n, reads_too);
    armed.sys_errno = sys_errno;
    armed.lasting = lasting;
    atomic_store(&armed.action, TAP_FAIL);
}

uint64_t tap_disarm(uint64_t *failed) {
    uint64_t calls = atomic_load(&armed.calls);
    atomic_store(&armed.action, TAP_PASS);
    if (failed) *failed = atomic_load(&armed.failed);
    return calls;
}

const char *tap_name(void) { return armed.name ? armed.name : "nothing"; }

/* What happens at this call: 0: let it be done; TAP_KILL_HALFWAY, TAP_FAIL: for the caller to do.
 */
static enum tap_action at_call(const char *name) {
    enum tap_action action = (enum tap_action)atomic_load(&armed.action);
    uint64_t n = atomic_fetch_add(&armed.calls, 1) + 1;
    if (action == TAP_PASS || armed.first == 0) return TAP_PASS;
    if (n != armed.first && !(armed.lasting && n > armed.first)) return TAP_PASS;
    if (action == TAP_KILL) raise(SIGKILL);
    if (action == TAP_PAUSE) {
        raise(SIGSTOP);
        return TAP_PASS;
    }
    if (action == TAP_FAIL) {
        if (atomic_fetch_add(&armed.failed, 1) == 0) armed.name = name;
        errno = armed.sys_errno;
    }
    return action;
}

/* The call behind the one that this program defines. */
#define NEXT(name) (__extension__(__typeof__(&name)) next(#name))
static void *next(const char *name) {
    void *found = dlsym(RTLD_NEXT, name);
    if (!found) _exit(127);
    return found;
}

/* Bytes that a write of `bytes` at `at` gets done when it is killed half-way: the kernel looks for
 * signals between pages. */
static size_t half(size_t bytes, off_t at) {
    off_t end = (at + (off_t)(bytes / 2)) / 4096 * 4096;
    return end > at ? (size_t)(end - at) : 0;
}

/* A call without a half-way. */
#define TAP(type, name, arguments, values)                                                         \
    type name arguments {                                                                          \
        enum tap_action action = at_call(#name);                                                   \
        if (action == TAP_FAIL) return -1;                                                         \
        if (action == TAP_KILL_HALFWAY) raise(SIGKILL);                                            \
        return NEXT(name) values;                                                                  \
    }

/* One that writes `bytes` bytes. */
#define TAP_WRITE(name, arguments, values, values_of_half)                                         \
    ssize_t name arguments {                                                                       \
        enum tap_action action = at_call(#name);                                                   \
        if (action == TAP_FAIL) return -1;                                                         \
        if (action == TAP_KILL_HALFWAY) {                                                          \
            if (NEXT(name) values_of_half < 0) raise(SIGABRT);                                     \
            raise(SIGKILL);                                                                        \
        }                                                                                          \
        return NEXT(name) values;                                                                  \
    }

#define TAP_READ(name, arguments, values)                                                          \
    ssize_t name arguments {                                                                       \
        if (armed.reads_too && at_call(#name) == TAP_FAIL) return -1;                              \
        return NEXT(name) values;                                                                  \
    }

TAP_WRITE(write, (int fd, const void *from, size_t bytes), (fd, from, bytes),
          (fd, from, half(bytes, lseek(fd, 0, SEEK_CUR))))
TAP_WRITE(pwrite, (int fd, const void *from, size_t bytes, off_t at), (fd, from, bytes, at),
          (fd, from, half(bytes, at), at))
TAP_WRITE(pwrite64, (int fd, const void *from, size_t bytes, off_t at), (fd, from, bytes, at),
          (fd, from, half(bytes, at), at))
TAP_WRITE(writev, (int fd, const struct iovec *from, int n), (fd, from, n), (fd, from, n / 2))
TAP_WRITE(pwritev, (int fd, const struct iovec *from, int n, off_t at), (fd, from, n, at),
          (fd, from, n / 2, at))
TAP_READ(pread, (int fd, void *to, size_t bytes, off_t at), (fd, to, bytes, at))
TAP_READ(preadv2, (int fd, const struct iovec *to, int n, off_t at, int flags),
         (fd, to, n, at, flags))
TAP_READ(pread64, (int fd, void *to, size_t bytes, off_t at), (fd, to, bytes, at))
TAP(int, fsync, (int fd), (fd))
TAP(int, fdatasync, (int fd), (fd))
TAP(int, ftruncate, (int fd, off_t bytes), (fd, bytes))
TAP(int, ftruncate64, (int fd, off_t bytes), (fd, bytes))
TAP(int, fallocate, (int fd, int mode, off_t at, off_t bytes), (fd, mode, at, bytes))
TAP(int, rename, (const char *from, const char *to), (from, to))
TAP(int, link, (const char *from, const char *to), (from, to))
TAP(int, unlink, (const char *path), (path))
TAP(int, mkdir, (const char *path, mode_t mode), (path, mode))
