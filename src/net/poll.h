/* epoll, and a way to wake it from other threads. */
#ifndef STN_POLL_H
#define STN_POLL_H

#include "base/base.h"

struct stn_poll;

enum { STN_POLL_READ = 1, STN_POLL_WRITE = 2 };

struct stn_poll_fd { /* embedded in what owns the descriptor */
    int fd;
    void (*ready)(struct stn_poll_fd *fd, int events, uint64_t now_ns); /* errors count as both */
    /* private to poll.c */
    int events; /* wanted now */
    int again;  /* is in the list of those to be called again */
    struct stn_poll_fd *next_again;
};

int stn_poll_open(struct stn_poll **out, struct stn_clock *clock, struct sterna_error *err);
void stn_poll_close(struct stn_poll **poll);

int stn_poll_add(struct stn_poll *poll, struct stn_poll_fd *fd, int events); /* EIO, ENOMEM */
int stn_poll_change(struct stn_poll *poll, struct stn_poll_fd *fd, int events);
/* From within ready() too: nothing is told of it any more. */
void stn_poll_remove(struct stn_poll *poll, struct stn_poll_fd *fd);

/* ready() with no events (0) is called by the next stn_poll_wait(), which does not wait, whatever
 * the descriptor says: for what cannot be done now, and for bytes that are no longer in the socket.
 * Of an added descriptor, on the loop thread. */
void stn_poll_again(struct stn_poll *poll, struct stn_poll_fd *fd);

/* Waits until a descriptor is ready, it is woken, or until_ns; tells all that are ready. */
void stn_poll_wait(struct stn_poll *poll, uint64_t until_ns);
void stn_poll_wake(struct stn_poll *poll); /* any thread, a signal handler too */

#endif
