#include "route.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { TEXT_BYTES_MAX = 64 };

struct request {
    struct nlmsghdr head;
    struct rtmsg route;
    char attributes[4 * RTA_SPACE(TEXT_BYTES_MAX)];
};

static struct rtattr *end_of(struct request *r) {
    return (struct rtattr *)((char *)&r->head + NLMSG_ALIGN(r->head.nlmsg_len));
}

static struct rtattr *add(struct request *r, unsigned short type, const void *data, size_t bytes) {
    struct rtattr *a = end_of(r);
    a->rta_type = type;
    a->rta_len = (unsigned short)RTA_LENGTH(bytes);
    if (bytes > 0) memcpy(RTA_DATA(a), data, bytes);
    r->head.nlmsg_len = NLMSG_ALIGN(r->head.nlmsg_len) + (unsigned)RTA_ALIGN(a->rta_len);
    return a;
}

/* Sends the request and gives the kernel's verdict. */
static int ask(const struct request *r) {
    struct {
        struct nlmsghdr head;
        struct nlmsgerr verdict;
        char more[256];
    } answer;
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
    if (fd < 0) return -1;
    ssize_t got = send(fd, r, r->head.nlmsg_len, 0);
    if (got >= 0) got = recv(fd, &answer, sizeof answer, 0);
    int e = errno;
    close(fd);
    errno = e;
    if (got < 0) return -1;
    size_t least = NLMSG_LENGTH(sizeof answer.verdict);
    errno = (size_t)got < least || answer.head.nlmsg_type != NLMSG_ERROR ? EPROTO
                                                                         : -answer.verdict.error;
    return errno ? -1 : 0;
}

int wan_route_congestion(const char *device, const char *address, const char *congestion) {
    struct request r = {
        .head = {.nlmsg_len = NLMSG_LENGTH(sizeof r.route),
                 .nlmsg_type = RTM_NEWROUTE,
                 .nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE},
        .route = {.rtm_family = AF_INET,
                  .rtm_dst_len = 32,
                  .rtm_table = RT_TABLE_MAIN,
                  .rtm_protocol = RTPROT_STATIC,
                  .rtm_scope = RT_SCOPE_LINK,
                  .rtm_type = RTN_UNICAST}};
    struct in_addr to;
    unsigned index = if_nametoindex(device);
    size_t name_bytes = strlen(congestion) + 1;
    if (index == 0) return -1;
    if (name_bytes > TEXT_BYTES_MAX || inet_pton(AF_INET, address, &to) != 1) {
        errno = EINVAL;
        return -1;
    }
    add(&r, RTA_DST, &to, sizeof to);
    add(&r, RTA_OIF, &index, sizeof index);
    struct rtattr *metrics = add(&r, RTA_METRICS, NULL, 0);
    add(&r, RTAX_CC_ALGO, congestion, name_bytes);
    metrics->rta_len = (unsigned short)((char *)end_of(&r) - (char *)metrics);
    return ask(&r);
}
