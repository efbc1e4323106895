/* TLS by OpenSSL: one context a cluster, one session a connection. Non-blocking; read_ahead is on,
 * so that a 16 KiB record costs no two system calls. Never falls back to plaintext. */
#ifndef STN_TLS_H
#define STN_TLS_H

#include <sys/uio.h>

#include "net/address.h"

struct stn_tls; /* any thread, once open */

struct stn_tls_options {
    int verify;                       /* the chain, and the name or address */
    const char *ca_file;              /* PEM; NULL: the system's */
    const char *cert_file, *key_file; /* of ours; both or none */
};
/* Names the file that is wrong. EINVAL, ENOTFOUND, EIO, ENOMEM. */
int stn_tls_open(struct stn_tls **out, const struct stn_tls_options *options,
                 struct sterna_error *err);
void stn_tls_close(struct stn_tls **tls);

struct stn_tls_session;
/* `name` is what the certificate must be for: a host name, or an address in text. */
int stn_tls_session_open(struct stn_tls_session **out, struct stn_tls *tls, int fd,
                         const char *name, struct sterna_error *err);
void stn_tls_session_close(struct stn_tls_session **s);

/* OK: done; AGAIN with *events (STN_POLL_*) to wait for; else a code and a message that tells a
 * wrong CA, an expired certificate, a wrong name, a plain server, a missing client certificate
 * apart. */
int stn_tls_handshake(struct stn_tls_session *s, int *events, struct sterna_error *err);
/* As recv and send: bytes; 0: end (of recv); AGAIN is -1 with errno EAGAIN and *events; other
 * failures -1 with errno (EPROTO for TLS's own) and err filled. */
ssize_t stn_tls_recv(struct stn_tls_session *s, void *buf, size_t bytes, int *events,
                     struct sterna_error *err);
ssize_t stn_tls_send(struct stn_tls_session *s, const void *buf, size_t bytes, int *events,
                     struct sterna_error *err);
size_t stn_tls_pending(const struct stn_tls_session *s); /* bytes to be had without the socket */

#endif
