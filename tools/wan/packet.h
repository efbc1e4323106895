/* What the relay must know of a packet that a TUN device gives: how long it is on the wire, of how
 * many segments it is made, and how a run of these segments becomes a packet of its own.
 *
 * With offloads a device gives TCP data in "super-packets" of up to 64 KiB, behind a header that
 * says how to cut them; what would be on a wire are the pieces. IPv4 only: that is all that the
 * devices are asked to hand over uncut. */
#ifndef WAN_PACKET_H
#define WAN_PACKET_H

#include <stddef.h>
#include <stdint.h>

enum {
    WAN_VNET_BYTES = 10, /* struct virtio_net_hdr, in front of each packet */
    WAN_PACKET_BYTES_MAX = WAN_VNET_BYTES + 65536 + 256,
    WAN_SEGMENTS_MAX = 2048 /* more than the smallest MSS makes of 64 KiB */
};

struct wan_shape {
    uint32_t header_bytes;  /* IP and TCP, which each segment has; 0 if it cannot be cut */
    uint32_t payload_bytes; /* of all segments together */
    uint32_t segment_bytes; /* payload of each but the last */
    uint32_t n_segments;
};

/* `packet` starts with its virtio_net_hdr. A packet that makes no sense has one segment. */
struct wan_shape wan_packet_shape(const uint8_t *packet, size_t bytes);

/* Bytes of IP of the segment. */
uint32_t wan_packet_segment_bytes(const struct wan_shape *s, uint32_t segment);

/* The same with all of Ethernet around it: 38 bytes of header, checksum, preamble and gap. */
uint32_t wan_packet_wire_bytes(uint32_t ip_bytes);

/* Writes segments [first, first + n) of `packet` to `out` (WAN_PACKET_BYTES_MAX), as the sender
 * would have if these had been all; returns their bytes. */
size_t wan_packet_cut(const uint8_t *packet, const struct wan_shape *s, uint32_t first, uint32_t n,
                      uint8_t *out);

#endif
