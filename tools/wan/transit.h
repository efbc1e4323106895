/* The packets on their way in one direction: their bytes and when they are due. Bounded; memory
 * that was used last is used next, so that as much of it is touched as was ever on its way. */
#ifndef WAN_TRANSIT_H
#define WAN_TRANSIT_H

#include <stddef.h>
#include <stdint.h>

struct wan_packet {
    uint64_t due_ns;
    uint8_t *bytes;
    uint32_t n_bytes;
};

struct wan_transit {
    uint8_t *memory; /* blocks, filled one after the other */
    uint32_t n_blocks, n_free;
    uint32_t *free_blocks; /* a stack */
    uint32_t *users;       /* packets in each block, and one for being filled */
    uint32_t current;      /* the block that is filled, from `used` on */
    uint32_t used;
    struct wan_packet *queue; /* a ring, in order of due times */
    uint64_t head, tail;
    struct wan_packet *late; /* those that may be overtaken: a heap */
    uint32_t n_late;
};

/* bytes_max: of all packets together, roughly. 0, or -1 without memory. */
int wan_transit_init(struct wan_transit *t, uint64_t bytes_max);
void wan_transit_fini(struct wan_transit *t);

/* Where the next packet's bytes go: WAN_PACKET_BYTES_MAX, until put. NULL if there is no room. */
uint8_t *wan_transit_room(struct wan_transit *t);

/* The packet is in the first n_bytes of the room. Unless late, due_ns never goes back. */
void wan_transit_put(struct wan_transit *t, uint32_t n_bytes, uint64_t due_ns, int late);

/* The packet that is due first, or NULL; it stays in its place until taken. */
const struct wan_packet *wan_transit_first(const struct wan_transit *t);
void wan_transit_take(struct wan_transit *t);

#endif
