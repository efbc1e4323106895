/* The link where the kernel has none: a thread for each direction takes packets from one end's TUN
 * device and gives them to the other's when they are due (link.h). */
#ifndef WAN_RELAY_H
#define WAN_RELAY_H

#include "link.h"

struct wan_relay;

struct wan_relay_counts {
    struct wan_link_counts link;
    uint64_t
        memory_drops; /* segments for which the relay had no room: counts in link have them too */
    uint64_t refused; /* packets that the far device did not take */
    uint64_t late_ns_max; /* latest delivery after its due time: this machine was too busy */
    uint64_t late_ns_sum, packets;
};

/* `ends`: the devices (non-blocking) of server and client; they stay the caller's. */
struct wan_relay *wan_relay_start(const int ends[2], const struct wan_link_options *options);

/* Ends the threads. counts[0] is to the client, counts[1] to the server. NULL is fine. */
void wan_relay_stop(struct wan_relay *relay, struct wan_relay_counts counts[2]);

#endif
