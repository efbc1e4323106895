/* An unnamed file that is written once, then read once, in order. */
#ifndef STN_SPOOL_H
#define STN_SPOOL_H

#include "base/base.h"

/* A file without a name in `dir`, or (NULL) where there is room for temporary files; -1 and errno
 * if there is none. It is gone when the descriptor is closed. */
int stn_temporary_fd(const char *dir);

struct stn_spool {
    int fd; /* -1: not open */
    uint8_t *buf;
    size_t at, used; /* bytes of buf that are read; that hold something */
    uint64_t offset; /* in the file: behind buf when reading */
};

int stn_spool_open(struct stn_spool *s, const char *dir, struct sterna_error *err);
void stn_spool_close(struct stn_spool *s); /* safe twice, and on {.fd = -1} */

/* EIO; errno says why. */
int stn_spool_put(struct stn_spool *s, const void *data, size_t bytes);
int stn_spool_rewind(struct stn_spool *s); /* ends writing */
int stn_spool_get(struct stn_spool *s, void *data, size_t bytes);

#endif
