/* Addresses of servers: text, and what the system's resolver knows. */
#ifndef STN_ADDRESS_H
#define STN_ADDRESS_H

#include <sys/socket.h>

#include "base/base.h"

struct stn_address {
    struct sockaddr_storage ip; /* IPv4 or IPv6, with the port */
    socklen_t bytes;
};

#define STN_ADDRESS_TEXT_BYTES 64 /* "[ip6]:port" with NUL */

/* 4 or 16 raw bytes, as the protocol and the system tables have them. EINVAL for another length. */
int stn_address_from_ip(struct stn_address *out, const uint8_t *ip, size_t ip_bytes, uint16_t port);
uint16_t stn_address_port(const struct stn_address *a);
void stn_address_set_port(struct stn_address *a, uint16_t port);
int stn_address_equals(const struct stn_address *a, const struct stn_address *b); /* port too */
int stn_address_is_any(const struct stn_address *a);                              /* 0.0.0.0, :: */
const char *stn_address_text(const struct stn_address *a, char *buf); /* "ip:port", "[ip6]:port" */

/* All addresses of a host name (or of an address in text, [ ] around IPv6 allowed). Blocks.
 * EUNREACHABLE with the resolver's words. *out: malloc'ed array. */
int stn_address_resolve(const char *host, uint16_t port, struct stn_address **out, size_t *n,
                        struct sterna_error *err);

#endif
