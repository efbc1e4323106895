#include "packet.h"

#include <arpa/inet.h>
#include <linux/virtio_net.h>
#include <netinet/ip.h>
#include <netinet/tcp.h>
#include <string.h>

enum { ETHERNET_BYTES = 38, ETHERNET_PAYLOAD_MIN = 46 };

_Static_assert(sizeof(struct virtio_net_hdr) == WAN_VNET_BYTES, "the header of a TUN device");

static struct wan_shape uncut(size_t bytes) {
    return (struct wan_shape){.payload_bytes = (uint32_t)(bytes - WAN_VNET_BYTES),
                              .segment_bytes = (uint32_t)(bytes - WAN_VNET_BYTES),
                              .n_segments = 1};
}

struct wan_shape wan_packet_shape(const uint8_t *packet, size_t bytes) {
    struct virtio_net_hdr v;
    struct iphdr ip;
    struct tcphdr tcp;
    memcpy(&v, packet, sizeof v);
    if (v.gso_type != VIRTIO_NET_HDR_GSO_TCPV4 || v.gso_size == 0) return uncut(bytes);
    if (bytes < sizeof v + sizeof ip + sizeof tcp) return uncut(bytes);
    memcpy(&ip, packet + sizeof v, sizeof ip);
    size_t ip_bytes = (size_t)ip.ihl * 4;
    if (ip.protocol != IPPROTO_TCP || ip_bytes < sizeof ip) return uncut(bytes);
    if (bytes < sizeof v + ip_bytes + sizeof tcp) return uncut(bytes);
    memcpy(&tcp, packet + sizeof v + ip_bytes, sizeof tcp);
    size_t headers = ip_bytes + (size_t)tcp.doff * 4;
    if (tcp.doff < 5 || bytes <= sizeof v + headers) return uncut(bytes);

    struct wan_shape s = {.header_bytes = (uint32_t)headers,
                          .payload_bytes = (uint32_t)(bytes - sizeof v - headers),
                          .segment_bytes = v.gso_size};
    s.n_segments = (s.payload_bytes + s.segment_bytes - 1) / s.segment_bytes;
    return s.n_segments <= WAN_SEGMENTS_MAX ? s : uncut(bytes);
}

uint32_t wan_packet_segment_bytes(const struct wan_shape *s, uint32_t segment) {
    uint32_t left = s->payload_bytes - segment * s->segment_bytes;
    return s->header_bytes + (left < s->segment_bytes ? left : s->segment_bytes);
}

uint32_t wan_packet_wire_bytes(uint32_t ip_bytes) {
    return (ip_bytes < ETHERNET_PAYLOAD_MIN ? ETHERNET_PAYLOAD_MIN : ip_bytes) + ETHERNET_BYTES;
}

/* ---- cutting ---- */

/* Ones' complement sum, not yet complemented; `bytes` is even, as headers are. */
static uint32_t add16(uint32_t sum, const void *data, size_t bytes) {
    const uint8_t *p = data;
    for (size_t i = 0; i < bytes; i += 2) sum += (uint32_t)(p[i] << 8 | p[i + 1]);
    return sum;
}

static uint16_t folded(uint32_t sum) {
    while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
    return (uint16_t)sum;
}

static void cut_ip(uint8_t *at, uint32_t first, size_t bytes) {
    struct iphdr ip;
    memcpy(&ip, at, sizeof ip);
    ip.tot_len = htons((uint16_t)bytes);
    ip.id = htons((uint16_t)(ntohs(ip.id) + first)); /* each segment would have had its own */
    ip.check = 0;
    memcpy(at, &ip, sizeof ip);
    ip.check = htons((uint16_t)~folded(add16(0, at, (size_t)ip.ihl * 4)));
    memcpy(at, &ip, sizeof ip);
}

/* The checksum is left to the receiver's device: the field holds the sum over the pseudo header,
 * which has the length in it. */
static void cut_tcp(uint8_t *at, const uint8_t *ip_at, uint32_t skipped, int is_first, int is_last,
                    size_t tcp_bytes) {
    struct iphdr ip;
    struct tcphdr tcp;
    memcpy(&ip, ip_at, sizeof ip);
    memcpy(&tcp, at, sizeof tcp);
    tcp.seq = htonl(ntohl(tcp.seq) + skipped);
    if (!is_first) tcp.res2 &= 1; /* CWR (0x80 of the flags) is told once, ECE by each */
    if (!is_last) tcp.fin = tcp.psh = 0;
    uint32_t sum = add16(0, &ip.saddr, 2 * sizeof ip.saddr); /* and daddr behind it */
    tcp.check = htons(folded(sum + IPPROTO_TCP + (uint32_t)tcp_bytes));
    memcpy(at, &tcp, sizeof tcp);
}

size_t wan_packet_cut(const uint8_t *packet, const struct wan_shape *s, uint32_t first, uint32_t n,
                      uint8_t *out) {
    uint32_t skipped = first * s->segment_bytes, payload = n * s->segment_bytes;
    struct virtio_net_hdr v;
    uint8_t *ip = out + sizeof v;
    if (payload > s->payload_bytes - skipped) payload = s->payload_bytes - skipped;
    memcpy(out, packet, sizeof v + s->header_bytes);
    memcpy(ip + s->header_bytes, packet + sizeof v + s->header_bytes + skipped, payload);

    memcpy(&v, out, sizeof v);
    if (n == 1) {
        v.gso_type = VIRTIO_NET_HDR_GSO_NONE;
        v.gso_size = 0;
    }
    memcpy(out, &v, sizeof v);
    size_t bytes = s->header_bytes + payload, ip_bytes = (size_t)(ip[0] & 15) * 4;
    cut_ip(ip, first, bytes);
    cut_tcp(ip + ip_bytes, ip, skipped, first == 0, first + n == s->n_segments, bytes - ip_bytes);
    return sizeof v + bytes;
}
