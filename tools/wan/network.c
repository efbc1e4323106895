#include "network.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "route.h"

enum { PREFIX_BITS = 24, DEVICE_QUEUE = 10000, LISTENING = 0x0A };

int wan_failed(char *why, const char *format, ...) {
    int e = errno;
    va_list args;
    va_start(args, format);
    int n = vsnprintf(why, WAN_TEXT_BYTES, format, args);
    va_end(args);
    if (n >= 0 && n < WAN_TEXT_BYTES && e)
        snprintf(why + n, WAN_TEXT_BYTES - (size_t)n, ": %s", strerror(e));
    return -1;
}

/* ---- files of a line ---- */

static int write_file(const char *path, const char *text) {
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0) return -1;
    ssize_t put = write(fd, text, strlen(text));
    int e = errno;
    close(fd);
    errno = e;
    return put < 0 ? -1 : 0;
}

static int read_file(const char *path, char *text, size_t cap) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return -1;
    ssize_t got = read(fd, text, cap - 1);
    close(fd);
    text[got > 0 ? got : 0] = '\0';
    text[strcspn(text, "\n")] = '\0';
    return got > 0 ? 0 : -1;
}

/* ---- namespaces ---- */

static int map_to_root(unsigned uid, unsigned gid, char *why) {
    char text[64];
    snprintf(text, sizeof text, "0 %u 1", uid);
    if (write_file("/proc/self/setgroups", "deny") < 0 && errno != ENOENT)
        return wan_failed(why, "/proc/self/setgroups");
    if (write_file("/proc/self/uid_map", text) < 0) return wan_failed(why, "/proc/self/uid_map");
    snprintf(text, sizeof text, "0 %u 1", gid);
    if (write_file("/proc/self/gid_map", text) < 0) return wan_failed(why, "/proc/self/gid_map");
    return 0;
}

int wan_network_may(char *why) {
    unsigned uid = geteuid(), gid = getegid();
    if (unshare(CLONE_NEWNET) == 0) return 0;
    if (errno != EPERM) return wan_failed(why, "no network namespace");
    if (unshare(CLONE_NEWUSER) < 0)
        return wan_failed(why, "no user namespace; run as root, or see the sysctl "
                               "user.max_user_namespaces or kernel.unprivileged_userns_clone");
    if (map_to_root(uid, gid, why) < 0) return -1;
    if (unshare(CLONE_NEWNET) < 0)
        return wan_failed(why, "no network namespace in a user namespace; run as root, or see the "
                               "sysctl kernel.apparmor_restrict_unprivileged_userns");
    return 0;
}

static int device_up(int fd, const char *name, char *why) {
    struct ifreq r = {0};
    snprintf(r.ifr_name, sizeof r.ifr_name, "%s", name);
    if (ioctl(fd, SIOCGIFFLAGS, &r) < 0) return wan_failed(why, "%s: flags", name);
    r.ifr_flags |= IFF_UP;
    if (ioctl(fd, SIOCSIFFLAGS, &r) < 0) return wan_failed(why, "%s: up", name);
    return 0;
}

int wan_network_enter(char *why) {
    if (unshare(CLONE_NEWNET) < 0) return wan_failed(why, "network namespace");
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return wan_failed(why, "socket");
    int rc = device_up(fd, "lo", why);
    close(fd);
    return rc;
}

/* ---- the device ---- */

int wan_network_open_tun(char *why) {
    struct ifreq r = {.ifr_flags = IFF_TUN | IFF_NO_PI | IFF_VNET_HDR};
    int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return wan_failed(why, "/dev/net/tun (modprobe tun; a user needs leave to open it)");
    snprintf(r.ifr_name, sizeof r.ifr_name, "%s", WAN_DEVICE);
    if (ioctl(fd, TUNSETIFF, &r) < 0)
        wan_failed(why, "TUN device");
    else if (ioctl(fd, TUNSETOFFLOAD, TUN_F_CSUM | TUN_F_TSO4) < 0)
        wan_failed(why, "TUN device: offloads");
    else
        return fd;
    close(fd);
    return -1;
}

static int set_address(int fd, const char *name, const char *address, char *why) {
    struct ifreq r = {0};
    struct sockaddr_in in = {.sin_family = AF_INET};
    snprintf(r.ifr_name, sizeof r.ifr_name, "%s", name);
    inet_pton(AF_INET, address, &in.sin_addr);
    memcpy(&r.ifr_addr, &in, sizeof in);
    if (ioctl(fd, SIOCSIFADDR, &r) < 0) return wan_failed(why, "%s: address %s", name, address);
    in.sin_addr.s_addr = htonl(UINT32_MAX << (32 - PREFIX_BITS));
    memcpy(&r.ifr_netmask, &in, sizeof in);
    if (ioctl(fd, SIOCSIFNETMASK, &r) < 0) return wan_failed(why, "%s: netmask", name);
    return 0;
}

static int set_addresses(int fd, const struct wan_end_options *o, char *why) {
    if (set_address(fd, WAN_DEVICE, o->is_server ? WAN_ADDRESS_SERVER : WAN_ADDRESS_CLIENT, why) <
        0)
        return -1;
    for (unsigned i = 1; i < o->addresses; i++) {
        char name[IFNAMSIZ], address[32];
        snprintf(name, sizeof name, "%s:%u", WAN_DEVICE, i);
        snprintf(address, sizeof address, "10.77.0.%u", i + 2);
        if (set_address(fd, name, address, why) < 0) return -1;
    }
    return 0;
}

/* ---- TCP ---- */

#define TCP_SYSCTL "/proc/sys/net/ipv4/tcp_"

static int no_such_congestion(const char *name, char *why) {
    char known[200] = "?";
    read_file(TCP_SYSCTL "available_congestion_control", known, sizeof known);
    errno = 0;
    return wan_failed(why,
                      "congestion control %s: not in this kernel, which has: %s (modprobe tcp_%s)",
                      name, known, name);
}

/* The sysctl takes only what the first namespace allows to everybody; a route may have any. */
static int set_congestion(const struct wan_end_options *o, char *why) {
    const char *to = o->is_server ? WAN_ADDRESS_CLIENT : WAN_ADDRESS_SERVER;
    if (!o->congestion) return 0;
    if (write_file(TCP_SYSCTL "congestion_control", o->congestion) == 0) return 0;
    if (errno == ENOENT) return no_such_congestion(o->congestion, why);
    if (errno != EPERM && errno != EACCES && errno != EROFS)
        return wan_failed(why, TCP_SYSCTL "congestion_control");
    if (wan_route_congestion(WAN_DEVICE, to, o->congestion) == 0) return 0;
    if (errno == EINVAL) return no_such_congestion(o->congestion, why);
    return wan_failed(why, "congestion control %s by a route to %s", o->congestion, to);
}

static void read_three(const char *path, uint64_t three[3]) {
    char text[200];
    if (read_file(path, text, sizeof text) < 0) return;
    sscanf(text, "%" SCNu64 " %" SCNu64 " %" SCNu64, &three[0], &three[1], &three[2]);
}

static int set_buffer_max(const char *path, int64_t most, char *why) {
    uint64_t three[3] = {4096, 16384, 0};
    char text[100];
    if (most == 0) return 0;
    read_three(path, three);
    for (int i = 0; i < 2; i++)
        if (three[i] > (uint64_t)most) three[i] = (uint64_t)most;
    snprintf(text, sizeof text, "%" PRIu64 " %" PRIu64 " %" PRId64, three[0], three[1], most);
    return write_file(path, text) < 0 ? wan_failed(why, "%s", path) : 0;
}

int wan_network_configure(const struct wan_end_options *o, char *why) {
    struct ifreq r = {.ifr_qlen = DEVICE_QUEUE};
    snprintf(r.ifr_name, sizeof r.ifr_name, "%s", WAN_DEVICE);
    /* What the kernel would send of itself, to nobody, is not to be counted. */
    (void)write_file("/proc/sys/net/ipv6/conf/" WAN_DEVICE "/disable_ipv6", "1");
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return wan_failed(why, "socket");
    (void)ioctl(fd, SIOCSIFTXQLEN, &r); /* not for users; 500 packets will do, mostly */
    int rc = set_addresses(fd, o, why);
    if (rc == 0) rc = device_up(fd, WAN_DEVICE, why);
    close(fd);
    if (rc == 0) rc = set_congestion(o, why);
    if (rc == 0) rc = set_buffer_max(TCP_SYSCTL "wmem", o->wmem_max, why);
    if (rc == 0) rc = set_buffer_max(TCP_SYSCTL "rmem", o->rmem_max, why);
    return rc;
}

void wan_network_facts(const char *congestion, struct wan_facts *f) {
    char text[100] = "";
    *f = (struct wan_facts){.slow_start_after_idle = -1};
    if (congestion)
        snprintf(f->congestion, sizeof f->congestion, "%s", congestion);
    else if (read_file(TCP_SYSCTL "congestion_control", text, sizeof text) == 0)
        snprintf(f->congestion, sizeof f->congestion, "%.31s", text);
    read_three(TCP_SYSCTL "wmem", f->wmem);
    read_three(TCP_SYSCTL "rmem", f->rmem);
    if (read_file(TCP_SYSCTL "slow_start_after_idle", text, sizeof text) == 0)
        f->slow_start_after_idle = atoi(text);
}

/* ---- what goes on ---- */

uint64_t wan_network_device_drops(void) {
    FILE *file = fopen("/proc/self/net/dev", "re");
    char line[512];
    uint64_t drops = 0;
    while (file && fgets(line, sizeof line, file)) {
        char *at = strstr(line, WAN_DEVICE ":");
        /* received: bytes packets errs drop fifo frame compressed multicast; then sent */
        if (at)
            sscanf(at + sizeof WAN_DEVICE, "%*u %*u %*u %*u %*u %*u %*u %*u %*u %*u %*u %" SCNu64,
                   &drops);
    }
    if (file) fclose(file);
    return drops;
}

static int listens_in(const char *path, int64_t port) {
    FILE *file = fopen(path, "re");
    char line[512];
    int found = 0;
    while (file && !found && fgets(line, sizeof line, file)) {
        unsigned at, state; /* "  0: 0100007F:0035 00000000:0000 0A ..." */
        if (sscanf(line, " %*u: %*[0-9A-Fa-f]:%x %*[0-9A-Fa-f]:%*x %x", &at, &state) != 2) continue;
        found = state == LISTENING && (port == -1 || at == port);
    }
    if (file) fclose(file);
    return found;
}

int wan_network_listens(int64_t port) {
    return listens_in("/proc/self/net/tcp", port) || listens_in("/proc/self/net/tcp6", port);
}
