/* The network of one end: what is set up in its namespace, and what TCP does there. Works on the
 * calling process's own namespace, by system calls only: no ip(8) is needed. */
#ifndef WAN_NETWORK_H
#define WAN_NETWORK_H

#include <stddef.h>
#include <stdint.h>

#define WAN_DEVICE "wan0"
#define WAN_ADDRESS_SERVER "10.77.0.1"
#define WAN_ADDRESS_CLIENT "10.77.0.2"

enum { WAN_TEXT_BYTES = 400 };

struct wan_end_options {
    int is_server;
    const char *congestion;     /* NULL: as it is */
    int64_t wmem_max, rmem_max; /* 0: as they are */
    int64_t addresses;
};

struct wan_facts { /* TCP's settings at one end */
    char congestion[32];
    uint64_t wmem[3], rmem[3];
    int slow_start_after_idle;
};

/* All return 0, or -1 with the reason in `why` (WAN_TEXT_BYTES). */

/* Makes the process one that may have network namespaces, if need be as root of a user namespace;
 * it must have one thread. */
int wan_network_may(char *why);

/* A network namespace of the calling process's own, with loopback. */
int wan_network_enter(char *why);

/* Makes the TUN device; returns its descriptor, non-blocking. */
int wan_network_open_tun(char *why);

/* The device, which is there, gets its addresses and goes up; TCP gets its settings. */
int wan_network_configure(const struct wan_end_options *o, char *why);

void wan_network_facts(const char *congestion, struct wan_facts *f);

/* Packets that the device gave up before the link saw them: the relay was too slow. */
uint64_t wan_network_device_drops(void);

/* Does a TCP socket listen, at this port or any (-1)? */
int wan_network_listens(int64_t port);

/* "what: why", for a system call that failed; returns -1. */
__attribute__((format(printf, 2, 3))) int wan_failed(char *why, const char *format, ...);

#endif
