/* Routes, by netlink. */
#ifndef WAN_ROUTE_H
#define WAN_ROUTE_H

/* Connections to this IPv4 address, which is behind the device, use this congestion control.
 * 0, or -1 and errno; EINVAL: the kernel has no such one. */
int wan_route_congestion(const char *device, const char *address, const char *congestion);

#endif
