/* The link by the kernel: a pair of veth devices, and the queueing discipline netem at both ends.
 * Without offloads, so that netem sees packets as they would be on a wire. By ip(8) and tc(8). */
#ifndef WAN_NETEM_H
#define WAN_NETEM_H

#include <stdint.h>
#include <sys/types.h>

#include "options.h"

struct wan_netem_counts {             /* of what this end sent */
    uint64_t packets, bytes, dropped; /* dropped: lost, or for want of room in the queue */
};

/* Does the kernel have it, and tc(8)? Asks in the caller's network namespace. */
int wan_netem_known(void);

/* 0, or -1 with the reason in `why` (WAN_TEXT_BYTES). */
int wan_netem_connect(pid_t peer, char *why); /* devices here and in peer's namespace */
int wan_netem_apply(const struct wan_options *o, char *why);
void wan_netem_counts(struct wan_netem_counts *c);

#endif
