/* Owns the epoll descriptor, the eventfd that wakes it, and the list of those to be called again.
 */
#include "net/poll.h"

#include <errno.h>
#include <limits.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

enum { BATCH = 64 };

struct stn_poll {
    struct stn_clock *clock;
    int epoll_fd, wake_fd;
    struct stn_poll_fd *again; /* to be called at the next wait, in no order that matters */
    struct stn_poll_fd *due;   /* of one wait: not called yet */
    /* of one wait: batch[at, n) are not told yet */
    struct epoll_event batch[BATCH];
    int at, n;
};

static uint32_t epoll_events(int events) {
    return (events & STN_POLL_READ ? (uint32_t)EPOLLIN : 0) |
           (events & STN_POLL_WRITE ? (uint32_t)EPOLLOUT : 0);
}

static int our_events(uint32_t events) {
    if (events & (EPOLLERR | EPOLLHUP)) return STN_POLL_READ | STN_POLL_WRITE;
    return (events & EPOLLIN ? STN_POLL_READ : 0) | (events & EPOLLOUT ? STN_POLL_WRITE : 0);
}

static int control(struct stn_poll *poll, int what, int fd, uint32_t events, void *data) {
    struct epoll_event event = {.events = events, .data.ptr = data};
    if (epoll_ctl(poll->epoll_fd, what, fd, &event) == 0) return STERNA_OK;
    return errno == ENOMEM || errno == ENOSPC ? STERNA_ENOMEM : STERNA_EIO;
}

int stn_poll_open(struct stn_poll **out, struct stn_clock *clock, struct sterna_error *err) {
    int rc = STERNA_EIO;
    *out = NULL;
    struct stn_poll *poll = calloc(1, sizeof *poll);
    if (!poll) return stn_fail_memory(err, "a network loop");
    *poll = (struct stn_poll){.clock = clock, .epoll_fd = -1, .wake_fd = -1};
    poll->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (poll->epoll_fd < 0) {
        rc = stn_fail_sys(err, STERNA_EIO, "epoll_create1");
        goto fail;
    }
    poll->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (poll->wake_fd < 0) {
        rc = stn_fail_sys(err, STERNA_EIO, "eventfd");
        goto fail;
    }
    rc = control(poll, EPOLL_CTL_ADD, poll->wake_fd, EPOLLIN, NULL);
    if (rc < 0) {
        rc = stn_fail_sys(err, rc, "epoll_ctl");
        goto fail;
    }
    *out = poll;
    return STERNA_OK;
fail:
    stn_poll_close(&poll);
    return rc;
}

void stn_poll_close(struct stn_poll **poll) {
    struct stn_poll *p = *poll;
    if (!p) return;
    if (p->wake_fd >= 0) close(p->wake_fd);
    if (p->epoll_fd >= 0) close(p->epoll_fd);
    free(p);
    *poll = NULL;
}

int stn_poll_add(struct stn_poll *poll, struct stn_poll_fd *fd, int events) {
    fd->events = events;
    fd->again = 0;
    return control(poll, EPOLL_CTL_ADD, fd->fd, epoll_events(events), fd);
}

int stn_poll_change(struct stn_poll *poll, struct stn_poll_fd *fd, int events) {
    if (fd->events == events) return STERNA_OK;
    int rc = control(poll, EPOLL_CTL_MOD, fd->fd, epoll_events(events), fd);
    if (rc == STERNA_OK) fd->events = events;
    return rc;
}

static void drop_from(struct stn_poll_fd **list, struct stn_poll_fd *fd) {
    while (*list && *list != fd) list = &(*list)->next_again;
    if (*list) *list = fd->next_again;
}

void stn_poll_remove(struct stn_poll *poll, struct stn_poll_fd *fd) {
    control(poll, EPOLL_CTL_DEL, fd->fd, 0, NULL);
    if (fd->again) {
        drop_from(&poll->again, fd);
        drop_from(&poll->due, fd);
        fd->again = 0;
    }
    for (int i = poll->at; i < poll->n; i++) /* events that were fetched before */
        if (poll->batch[i].data.ptr == fd) poll->batch[i].data.ptr = NULL;
}

void stn_poll_again(struct stn_poll *poll, struct stn_poll_fd *fd) {
    if (fd->again) return;
    fd->again = 1;
    fd->next_again = poll->again;
    poll->again = fd;
}

/* Milliseconds as epoll wants them, rounded up: woken a little early, the caller would spin. */
static int wait_ms(struct stn_poll *poll, uint64_t until_ns) {
    if (poll->again) return 0;
    if (until_ns == UINT64_MAX) return -1;
    uint64_t now = stn_now(poll->clock);
    if (until_ns <= now) return 0;
    uint64_t ms = (until_ns - now - 1) / STN_NS_PER_MS + 1;
    return ms > INT_MAX ? INT_MAX : (int)ms;
}

static void take_wake_ups(struct stn_poll *poll) {
    uint64_t count;
    while (read(poll->wake_fd, &count, sizeof count) < 0 && errno == EINTR) {}
}

static void tell(struct stn_poll *poll, uint64_t now_ns) {
    while (poll->at < poll->n) {
        struct epoll_event event = poll->batch[poll->at++];
        struct stn_poll_fd *fd = event.data.ptr;
        if (fd) fd->ready(fd, our_events(event.events), now_ns);
    }
    while (poll->due) {
        struct stn_poll_fd *fd = poll->due;
        poll->due = fd->next_again;
        fd->again = 0;
        fd->ready(fd, 0, now_ns);
    }
}

static void pause_a_little(void) {
    nanosleep(&(struct timespec){.tv_nsec = (long)STN_NS_PER_MS}, NULL);
}

void stn_poll_wait(struct stn_poll *poll, uint64_t until_ns) {
    int timeout_ms = wait_ms(poll, until_ns);
    int n = epoll_wait(poll->epoll_fd, poll->batch, BATCH, timeout_ms);
    if (n < 0 && errno != EINTR) pause_a_little(); /* there is nobody to tell: deadlines will */
    poll->at = 0;
    poll->n = STN_MAX(n, 0); /* interrupted: the caller looks at its clock and comes back */
    for (int i = 0; i < poll->n; i++)
        if (!poll->batch[i].data.ptr) take_wake_ups(poll);
    poll->due = poll->again; /* who is put there from now on has its turn at the next wait */
    poll->again = NULL;
    tell(poll, stn_now(poll->clock));
}

void stn_poll_wake(struct stn_poll *poll) {
    int sys_errno = errno; /* a signal handler must not change it */
    const uint64_t one = 1;
    while (write(poll->wake_fd, &one, sizeof one) < 0 && errno == EINTR) {}
    errno = sys_errno;
}
