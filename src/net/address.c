#include "net/address.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#define IP4_BYTES 4
#define IP6_BYTES 16
#define HOST_BYTES 256

/* Views of the one record. */
static struct sockaddr_in *ip4_of(const struct stn_address *a) {
    return a->ip.ss_family == AF_INET ? (struct sockaddr_in *)(void *)&a->ip : NULL;
}
static struct sockaddr_in6 *ip6_of(const struct stn_address *a) {
    return a->ip.ss_family == AF_INET6 ? (struct sockaddr_in6 *)(void *)&a->ip : NULL;
}

int stn_address_from_ip(struct stn_address *out, const uint8_t *ip, size_t ip_bytes,
                        uint16_t port) {
    *out = (struct stn_address){0};
    if (ip_bytes == IP4_BYTES) {
        out->ip.ss_family = AF_INET;
        out->bytes = sizeof(struct sockaddr_in);
        memcpy(&ip4_of(out)->sin_addr, ip, IP4_BYTES);
    } else if (ip_bytes == IP6_BYTES) {
        out->ip.ss_family = AF_INET6;
        out->bytes = sizeof(struct sockaddr_in6);
        memcpy(&ip6_of(out)->sin6_addr, ip, IP6_BYTES);
    } else {
        return STERNA_EINVAL;
    }
    stn_address_set_port(out, port);
    return STERNA_OK;
}

uint16_t stn_address_port(const struct stn_address *a) {
    if (ip4_of(a)) return ntohs(ip4_of(a)->sin_port);
    return ip6_of(a) ? ntohs(ip6_of(a)->sin6_port) : 0;
}

void stn_address_set_port(struct stn_address *a, uint16_t port) {
    if (ip4_of(a)) ip4_of(a)->sin_port = htons(port);
    if (ip6_of(a)) ip6_of(a)->sin6_port = htons(port);
}

int stn_address_equals(const struct stn_address *a, const struct stn_address *b) {
    if (a->ip.ss_family != b->ip.ss_family || stn_address_port(a) != stn_address_port(b)) return 0;
    if (ip4_of(a)) return ip4_of(a)->sin_addr.s_addr == ip4_of(b)->sin_addr.s_addr;
    return ip6_of(a) && ip6_of(a)->sin6_scope_id == ip6_of(b)->sin6_scope_id &&
           memcmp(&ip6_of(a)->sin6_addr, &ip6_of(b)->sin6_addr, IP6_BYTES) == 0;
}

int stn_address_is_any(const struct stn_address *a) {
    if (ip4_of(a)) return ip4_of(a)->sin_addr.s_addr == htonl(INADDR_ANY);
    return ip6_of(a) && IN6_IS_ADDR_UNSPECIFIED(&ip6_of(a)->sin6_addr);
}

const char *stn_address_text(const struct stn_address *a, char *buf) {
    char ip[INET6_ADDRSTRLEN] = "?";
    if (ip4_of(a)) inet_ntop(AF_INET, &ip4_of(a)->sin_addr, ip, sizeof ip);
    if (ip6_of(a)) inet_ntop(AF_INET6, &ip6_of(a)->sin6_addr, ip, sizeof ip);
    snprintf(buf, STN_ADDRESS_TEXT_BYTES, ip6_of(a) ? "[%s]:%u" : "%s:%u", ip,
             (unsigned)stn_address_port(a));
    return buf;
}

/* ---- the resolver ---- */

static int resolver_failure(struct sterna_error *err, const char *host, int rc) {
    if (rc == EAI_MEMORY) return stn_fail_memory(err, "the addresses of a host");
    if (rc == EAI_SYSTEM)
        return stn_fail_sys(err, STERNA_EUNREACHABLE, "the address of host '%s' cannot be found",
                            host);
    return stn_fail(err, STERNA_EUNREACHABLE, "the address of host '%s' cannot be found: %s", host,
                    gai_strerror(rc));
}

static int copy_all(const struct addrinfo *found, uint16_t port, struct stn_address **out,
                    size_t *n) {
    size_t all = 0;
    for (const struct addrinfo *a = found; a; a = a->ai_next) all++;
    *out = stn_array(all, sizeof **out);
    if (!*out) return STERNA_ENOMEM;
    for (const struct addrinfo *a = found; a; a = a->ai_next) {
        struct stn_address *to = &(*out)[*n];
        if (a->ai_addrlen > sizeof to->ip) continue;
        memcpy(&to->ip, a->ai_addr, a->ai_addrlen);
        to->bytes = a->ai_addrlen;
        stn_address_set_port(to, port);
        size_t same = 0;
        while (same < *n && !stn_address_equals(&(*out)[same], to)) same++;
        *n += same == *n; /* a host file may name one twice */
    }
    return STERNA_OK;
}

int stn_address_resolve(const char *host, uint16_t port, struct stn_address **out, size_t *n,
                        struct sterna_error *err) {
    const struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;
    char bare[HOST_BYTES];
    *out = NULL;
    *n = 0;
    size_t length = strlen(host);
    int brackets = length >= 2 && host[0] == '[' && host[length - 1] == ']';
    if (length == 0 || length >= sizeof bare)
        return stn_fail(err, STERNA_EINVAL, "a host name of %zu bytes: it must have 1 to %zu",
                        length, sizeof bare - 1);
    snprintf(bare, sizeof bare, "%.*s", (int)(length - 2 * (size_t)brackets), host + brackets);
    int rc = getaddrinfo(bare, NULL, &hints, &found);
    if (rc) return resolver_failure(err, host, rc);
    rc = copy_all(found, port, out, n);
    freeaddrinfo(found);
    return rc < 0 ? stn_fail_memory(err, "the addresses of a host") : STERNA_OK;
}
