/* One end of the link: a process that lives in a network namespace of its own, runs the end's
 * command there and ends all that comes of it. The namespace has no name: it is gone when the
 * last process in it is. If wan itself is killed, the side sees its socket close, kills what it
 * has started, and goes. */
#ifndef WAN_SIDE_H
#define WAN_SIDE_H

#include <sys/types.h>

#include "netem.h"
#include "network.h"
#include "options.h"

enum wan_side_told {
    WAN_SIDE_MADE,       /* the namespace; by TUN, tun_fd is here */
    WAN_SIDE_CONFIGURED, /* `facts` */
    WAN_SIDE_LISTENS,    /* the command has a listening socket */
    WAN_SIDE_ENDED,      /* the command: `status` as a shell gives it */
    WAN_SIDE_DONE,       /* nothing runs any more: `device_drops`, `netem` */
    WAN_SIDE_FAILED      /* `why`; also if the process has gone */
};

struct wan_side_message {
    enum wan_side_told told;
    int status;
    uint64_t device_drops;
    struct wan_netem_counts netem;
    struct wan_facts facts;
    char why[WAN_TEXT_BYTES];
};

struct wan_side {
    const char *name; /* "server" or "client" */
    pid_t pid;        /* 0: not started */
    int socket;       /* -1: none */
    int tun_fd;       /* -1: none */
};

struct wan_side_options {
    const char *name;
    int is_server, by_tun;
    const struct wan_options *all;
    pid_t peer;   /* the process that has the other namespace, if it is there already */
    int close_fd; /* the parent's end of its socket, or -1 */
};

/* Starts the process, which makes its namespace. 0, or -1 and errno. */
int wan_side_start(struct wan_side *s, const struct wan_side_options *o);

/* The next thing that it tells; waits. */
void wan_side_receive(struct wan_side *s, struct wan_side_message *m);

void wan_side_configure(struct wan_side *s); /* by netem: the client's end, started last, first */
void wan_side_run(struct wan_side *s);       /* the command */
void wan_side_end(struct wan_side *s);       /* it: TERM, and KILL if that is not enough */
void wan_side_close(struct wan_side *s);

#endif
