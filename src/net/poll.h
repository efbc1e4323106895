/* epoll, and a way to wake it from other threads. */
#ifndef STN_POLL_H
#define STN_POLL_H

#include "base/base.h"

struct stn_poll;

enum { STN_POLL_READ = 1, STN_POLL_WRITE = 2 };

struct stn_poll_fd { /* embedded in what owns the descriptor */
    int fd;
    int events; /* wanted now; private to poll.c */
    void (*ready)(struct stn_poll_fd *fd, int events, uint64_t now_ns); /* errors count as both */
};

int stn_poll_open(struct stn_poll **out, struct stn_clock *clock, struct sterna_error *err);
void stn_poll_close(struct stn_poll **poll);

int stn_poll_add(struct stn_poll *poll, struct stn_poll_fd *fd, int events); /* EIO, ENOMEM */
int stn_poll_change(struct stn_poll *poll, struct stn_poll_fd *fd, int events);
/* From within ready() too: nothing is told of it any more. */
void stn_poll_remove(struct stn_poll *poll, struct stn_poll_fd *fd);

/* Waits until a descriptor is ready, it is woken, or until_ns; tells all that are ready. */
void stn_poll_wait(struct stn_poll *poll, uint64_t until_ns);
void stn_poll_wake(struct stn_poll *poll); /* any thread, a signal handler too */

#endif
