/* Walking a folder: every file below a directory, streamed, symbolic links followed.
 *
 * However deep or wide the tree is, two descriptors are open and memory holds the names of the
 * subdirectories along one path. It knows nothing of images, classes or stores. */
#ifndef STN_WALK_H
#define STN_WALK_H

#include <sys/stat.h>
#include <sys/types.h>

#include "base/base.h"

struct stn_walk_entry {  /* valid during the callback */
    const char *path;    /* relative to the root, '/' between names, raw bytes */
    size_t path_bytes;   /* without the NUL */
    const char *problem; /* NULL: a regular file; else why this one cannot be read, in words */
    int sys_errno;       /* errno behind the problem, or 0 */
    int dir_fd;          /* directory that holds it; -1 with a problem */
    const char *name;    /* last component of path */
};

/* Names a directory whichever way it is reached. */
struct stn_walk_inode {
    dev_t dev;
    ino_t ino;
};

struct stn_walk_options {
    const char *start;                 /* where to begin, relative to the root; NULL or "": there */
    const struct stn_walk_inode *skip; /* a directory to pass over (the store itself); or NULL */
};

/* Calls `each` for every file below, and for whatever cannot be read: an unreadable directory, a
 * symbolic link to nothing or back up (a loop), a socket, pipe or device (never opened). Names that
 * begin with a dot are passed over. A value other than 0 from `each` stops and is returned.
 * OK, ENOMEM, EIO (out of descriptors). */
int stn_walk(int root_fd, const struct stn_walk_options *options,
             int (*each)(void *ctx, const struct stn_walk_entry *entry), void *ctx,
             struct sterna_error *err);

/* 1 if errno says that this user may not have a file, or that it is gone: to be reported, and
 * passed over. Anything else is the disk's: the same walk would find it another time. */
int stn_walk_is_closed(int sys_errno);

/* openat() for a path that may be longer than PATH_MAX. -1 with errno. O_CLOEXEC is added. */
int stn_walk_open(int root_fd, const char *path, int flags);

#endif
