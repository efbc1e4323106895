/* One direction of the emulated link, as arithmetic: what happens to each segment of a packet that
 * arrives now. A rate with a finite drop-tail queue before it, a delay, loss, jitter, reordering.
 * It has no socket and no clock, and moves no bytes. */
#ifndef WAN_LINK_H
#define WAN_LINK_H

#include "chance.h"
#include "packet.h"

struct wan_link_options {
    double mbit; /* 0: no limit */
    double delay_ms, queue_ms, jitter_ms;
    double loss, reorder; /* probabilities, of each segment */
    uint64_t seed;
};

struct wan_link_counts {
    uint64_t segments, bytes, wire_bytes; /* that were sent on; bytes of IP, bytes with Ethernet */
    uint64_t lost, queue_drops, reordered;
    uint64_t queue_ns_max; /* longest wait for the link */
};

struct wan_link {
    uint64_t ps_per_byte, delay_ns, queue_ns, jitter_ns, late_ns;
    double loss, reorder;
    struct wan_chance chance;
    uint64_t free_ps;                /* when the link will have sent what it was given */
    uint64_t until_loss, until_late; /* segments that go by before the next such one */
    struct {
        uint64_t start_ns, period_ns;
        double from, to;
    } jitter;
    uint32_t part_wire_bytes_max; /* what a part may be, so that none hides a longer burst */
    struct wan_link_counts counts;
};

struct wan_part { /* segments that go on as one packet */
    uint32_t first, n;
    uint64_t due_ns;
    int late; /* may be overtaken */
};

void wan_link_init(struct wan_link *l, const struct wan_link_options *o);

/* Sends a packet of this shape at now_ns, which never goes back. Returns how many parts of it
 * arrive, in order of their segments: parts[WAN_SEGMENTS_MAX]. Unless late, none is due before one
 * that was sent earlier. */
size_t wan_link_send(struct wan_link *l, uint64_t now_ns, const struct wan_shape *shape,
                     struct wan_part *parts);

/* How many bytes of packets can be on their way at once, roughly. */
uint64_t wan_link_bytes_max(const struct wan_link *l);

#endif
