/* Whole small files: read at once, replaced atomically. */
#ifndef STN_FILE_H
#define STN_FILE_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/base.h"

/* "DIR/NAME", malloc'ed; NULL without memory. */
char *stn_path_join(const char *dir, const char *name);

/* Reads all of fd at offset; retries short reads and signals. EIO (with "cut short") at the end. */
int stn_pread_all(int fd, void *buf, size_t bytes, off_t offset);
int stn_write_all(int fd, const void *buf, size_t bytes);

/* open() that no signal interrupts; O_CLOEXEC is added. `mode` counts for a new file only. */
int stn_open(const char *path, int flags, mode_t mode);
/* fsync() and ftruncate(), likewise. */
int stn_fsync(int fd);
int stn_ftruncate(int fd, off_t bytes);

/* 1 if there is a file of that name, 0 if not; negative and errno if it cannot be told. */
int stn_file_exists(const char *path);

/* Makes a new, renamed or removed name durable: syncs the directory that `path` is in. */
int stn_sync_directory_of(const char *path, struct sterna_error *err);

/* Reads a file of at most max_bytes; *data is malloc'ed. ENOTFOUND, EFORMAT (too large), EIO. */
int stn_file_read(const char *path, size_t max_bytes, void **data, size_t *bytes,
                  struct sterna_error *err);

/* A file that replaces `path` when it is committed and leaves nothing behind when not:
 * written under a temporary name beside it, synced, renamed, directory synced. */
struct stn_new_file {
    int fd; /* write here; -1: not open */
    char *path, *temporary;
};
int stn_new_file_open(struct stn_new_file *f, const char *path, struct sterna_error *err);
int stn_new_file_commit(struct stn_new_file *f, struct sterna_error *err); /* then as closed */
void stn_new_file_close(struct stn_new_file *f); /* uncommitted: removed. Safe twice. */

#endif
