/* Owns OpenSSL: its contexts, its sessions, and the words for what goes wrong in them.
 *
 * OpenSSL reads and writes the socket through a BIO of ours: its own one may raise SIGPIPE, and
 * ours sees the first byte that the server sends, which tells a server without TLS whatever OpenSSL
 * makes of it. */
#include "net/tls.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "net/poll.h"

enum {
    READ_BUFFER_BYTES = 256 * 1024, /* many records of 16 KiB by one recv() */
    NAME_BYTES = 256,
    REASON_BYTES = STERNA_MESSAGE_BYTES,
    RECORD_ALERT = 0x15, /* types of records that may come first */
    RECORD_HANDSHAKE = 0x16
};

struct stn_tls {
    SSL_CTX *ctx;
    BIO_METHOD *socket; /* ours */
    int verify;
    int has_certificate;
    char ca_file[NAME_BYTES]; /* for messages; empty: the system's */
};

struct stn_tls_session {
    struct stn_tls *tls;
    SSL *ssl;
    int fd;
    int sys_errno;             /* of the socket, since the last call */
    int first_byte;            /* that came; -1: none yet */
    int done;                  /* the handshake is */
    char name[NAME_BYTES];     /* that the certificate must have */
    char reason[REASON_BYTES]; /* why the certificate was refused */
};

/* ---- the socket, as OpenSSL sees it ---- */

static int bio_result(BIO *bio, struct stn_tls_session *s, ssize_t n, void (*retry)(BIO *)) {
    BIO_clear_retry_flags(bio);
    if (n >= 0) return (int)n;
    s->sys_errno = errno;
    if (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR) retry(bio);
    return -1;
}

static void retry_read(BIO *bio) { BIO_set_retry_read(bio); }
static void retry_write(BIO *bio) { BIO_set_retry_write(bio); }

static int socket_read(BIO *bio, char *to, int bytes) {
    struct stn_tls_session *s = BIO_get_data(bio);
    ssize_t n;
    do n = recv(s->fd, to, (size_t)bytes, 0);
    while (n < 0 && errno == EINTR);
    if (n > 0 && s->first_byte < 0) s->first_byte = (uint8_t)to[0];
    if (n == 0) s->sys_errno = 0;
    return bio_result(bio, s, n, retry_read);
}

static int socket_write(BIO *bio, const char *from, int bytes) {
    struct stn_tls_session *s = BIO_get_data(bio);
    ssize_t n;
    do n = send(s->fd, from, (size_t)bytes, MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    return bio_result(bio, s, n, retry_write);
}

static long socket_control(BIO *bio, int what, long number, void *pointer) {
    (void)bio;
    (void)number;
    (void)pointer;
    return what == BIO_CTRL_FLUSH; /* nothing is held back; all else is not for us */
}

static BIO_METHOD *socket_method(void) {
    int type = BIO_get_new_index();
    BIO_METHOD *m = type < 0 ? NULL : BIO_meth_new(type | BIO_TYPE_SOURCE_SINK, "socket");
    if (!m) return NULL;
    BIO_meth_set_read(m, socket_read);
    BIO_meth_set_write(m, socket_write);
    BIO_meth_set_ctrl(m, socket_control);
    return m;
}

/* ---- words ---- */

/* OpenSSL's last words, for what we have none of our own. */
static const char *openssl_words(char *buf, size_t bytes) {
    unsigned long e = ERR_peek_last_error();
    const char *text = e ? ERR_reason_error_string(e) : NULL;
    snprintf(buf, bytes, "%s", text ? text : "no reason given");
    return buf;
}

static void add_name(char *to, size_t bytes, const char *name) {
    char printable[80];
    size_t used = strlen(to);
    stn_printable(name, printable, sizeof printable);
    if (used + strlen(printable) + 3 < bytes)
        snprintf(to + used, bytes - used, "%s%s", used ? ", " : "", printable);
}

static void add_general_name(char *to, size_t bytes, const GENERAL_NAME *name) {
    char text[NAME_BYTES];
    if (name->type == GEN_DNS) {
        snprintf(text, sizeof text, "%.*s", ASN1_STRING_length(name->d.dNSName),
                 (const char *)ASN1_STRING_get0_data(name->d.dNSName));
        add_name(to, bytes, text);
    } else if (name->type == GEN_IPADD) {
        int length = ASN1_STRING_length(name->d.iPAddress);
        int family = length == 4 ? AF_INET : length == 16 ? AF_INET6 : 0;
        const uint8_t *ip = ASN1_STRING_get0_data(name->d.iPAddress);
        if (family && inet_ntop(family, ip, text, sizeof text)) add_name(to, bytes, text);
    }
}

/* Whom the certificate is for: "a.example, 10.0.0.1", or its subject's name. */
static void list_names(X509 *certificate, char *to, size_t bytes) {
    to[0] = 0;
    GENERAL_NAMES *all = X509_get_ext_d2i(certificate, NID_subject_alt_name, NULL, NULL);
    for (int i = 0; i < sk_GENERAL_NAME_num(all); i++)
        add_general_name(to, bytes, sk_GENERAL_NAME_value(all, i));
    GENERAL_NAMES_free(all);
    if (to[0]) return;
    char text[NAME_BYTES] = "";
    X509_NAME *subject = X509_get_subject_name(certificate);
    if (X509_NAME_get_text_by_NID(subject, NID_commonName, text, sizeof text) <= 0)
        snprintf(text, sizeof text, "nobody");
    add_name(to, bytes, text);
}

static void date_text(const ASN1_TIME *time, char *to, size_t bytes) {
    struct tm tm;
    snprintf(to, bytes, "?");
    if (ASN1_TIME_to_tm(time, &tm)) strftime(to, bytes, "%Y-%m-%d %H:%M UTC", &tm);
}

static void describe_certificate(struct stn_tls_session *s, int error, X509 *certificate) {
    char names[160], date[32];
    const char *ca = s->tls->ca_file[0] ? s->tls->ca_file : "the system's list";
    list_names(certificate, names, sizeof names);
    switch (error) {
    case X509_V_ERR_CERT_HAS_EXPIRED:
        date_text(X509_get0_notAfter(certificate), date, sizeof date);
        snprintf(s->reason, sizeof s->reason, "the certificate (for %s) expired on %s", names,
                 date);
        break;
    case X509_V_ERR_CERT_NOT_YET_VALID:
        date_text(X509_get0_notBefore(certificate), date, sizeof date);
        snprintf(s->reason, sizeof s->reason,
                 "the certificate (for %s) is valid from %s on only: is the clock right?", names,
                 date);
        break;
    case X509_V_ERR_HOSTNAME_MISMATCH:
    case X509_V_ERR_IP_ADDRESS_MISMATCH:
        snprintf(s->reason, sizeof s->reason, "the certificate is for %s, not for %s", names,
                 s->name);
        break;
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
    case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
    case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
    case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
    case X509_V_ERR_CERT_SIGNATURE_FAILURE:
        snprintf(s->reason, sizeof s->reason,
                 "the certificate (for %s) is not signed by an authority of %s: is it the right CA "
                 "file?",
                 names, ca);
        break;
    default:
        snprintf(s->reason, sizeof s->reason, "the certificate (for %s) is not accepted: %s", names,
                 X509_verify_cert_error_string(error));
    }
}

static int verified(int ok, X509_STORE_CTX *store) {
    SSL *ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
    struct stn_tls_session *s = SSL_get_app_data(ssl);
    X509 *certificate = X509_STORE_CTX_get_current_cert(store);
    if (!ok && !s->reason[0] && certificate)
        describe_certificate(s, X509_STORE_CTX_get_error(store), certificate);
    return ok;
}

/* What the server's alert or OpenSSL's own complaint means to the user. */
static int describe_reason(struct stn_tls_session *s, struct sterna_error *err) {
    char words[128];
    switch (ERR_GET_REASON(ERR_peek_last_error())) {
    case SSL_R_TLSV13_ALERT_CERTIFICATE_REQUIRED:
    case SSL_R_SSLV3_ALERT_NO_CERTIFICATE:
    case SSL_R_SSLV3_ALERT_BAD_CERTIFICATE:
    case SSL_R_SSLV3_ALERT_UNSUPPORTED_CERTIFICATE:
    case SSL_R_SSLV3_ALERT_CERTIFICATE_REVOKED:
    case SSL_R_SSLV3_ALERT_CERTIFICATE_EXPIRED:
    case SSL_R_SSLV3_ALERT_CERTIFICATE_UNKNOWN:
    case SSL_R_TLSV1_ALERT_UNKNOWN_CA:
    case SSL_R_TLSV1_ALERT_ACCESS_DENIED:
        return stn_fail(err, STERNA_EREFUSED,
                        s->tls->has_certificate
                            ? "TLS: the server does not accept our client certificate (%s)"
                            : "TLS: the server wants a client certificate, none is given (%s)",
                        openssl_words(words, sizeof words));
    case SSL_R_SSLV3_ALERT_HANDSHAKE_FAILURE: /* before TLS 1.3 the server says no more than this */
        return stn_fail(err, STERNA_EREFUSED,
                        "TLS: the server refused the handshake: it wants %s client certificate, or "
                        "there is no cipher that both accept",
                        s->tls->has_certificate ? "another" : "a");
    case SSL_R_TLSV1_ALERT_PROTOCOL_VERSION:
    case SSL_R_UNSUPPORTED_PROTOCOL:
    case SSL_R_NO_PROTOCOLS_AVAILABLE:
    case SSL_R_VERSION_TOO_LOW:
        return stn_fail(err, STERNA_EPROTO,
                        "TLS: no version that both speak: this client needs TLS 1.2 or 1.3");
    case ERR_R_MALLOC_FAILURE:
        return stn_fail_memory(err, "TLS");
    default:
        return stn_fail(err, STERNA_EPROTO, "TLS: %s", openssl_words(words, sizeof words));
    }
}

static int lost(struct stn_tls_session *s, struct sterna_error *err) {
    errno = s->sys_errno;
    if (s->done && !s->sys_errno)
        return stn_fail(err, STERNA_EUNREACHABLE, "TLS: the server closed the connection");
    if (s->done) return stn_fail_sys(err, STERNA_EUNREACHABLE, "TLS: connection lost");
    if (s->sys_errno && s->sys_errno != ECONNRESET && s->sys_errno != EPIPE)
        return stn_fail_sys(err, STERNA_EUNREACHABLE, "TLS: connection lost in the handshake");
    return stn_fail(err, STERNA_EUNREACHABLE,
                    "TLS: the server closed the connection in the handshake: is TLS on at this "
                    "port, and are more connections allowed?");
}

static int describe(struct stn_tls_session *s, int ssl_error, struct sterna_error *err) {
    if (s->reason[0]) return stn_fail(err, STERNA_EREFUSED, "TLS: %s", s->reason);
    if (s->first_byte >= 0 && s->first_byte != RECORD_ALERT && s->first_byte != RECORD_HANDSHAKE)
        return stn_fail(err, STERNA_EPROTO, "TLS: the server at this port speaks without TLS");
    if (ssl_error == SSL_ERROR_SYSCALL || ssl_error == SSL_ERROR_ZERO_RETURN ||
        ERR_GET_REASON(ERR_peek_last_error()) == SSL_R_UNEXPECTED_EOF_WHILE_READING)
        return lost(s, err);
    return describe_reason(s, err);
}

/* ---- the context ---- */

static int no_passphrase(char *buf, int bytes, int writing, void *ctx) {
    (void)buf;
    (void)bytes;
    (void)writing;
    (void)ctx;
    return -1; /* OpenSSL would ask at the terminal */
}

static int readable(const char *path, const char *what, struct sterna_error *err) {
    int fd = stn_open(path, O_RDONLY, 0); /* OpenSSL would not tell absent from unreadable */
    if (fd < 0)
        return stn_fail_sys(err, errno == ENOENT ? STERNA_ENOTFOUND : STERNA_EIO, "%s: the %s",
                            path, what);
    close(fd);
    return STERNA_OK;
}

static int load_authorities(struct stn_tls *tls, const char *path, struct sterna_error *err) {
    char words[128];
    if (!path) {
        if (SSL_CTX_set_default_verify_paths(tls->ctx)) return STERNA_OK;
        return stn_fail(err, STERNA_EIO, "TLS: the system's certificate authorities: %s",
                        openssl_words(words, sizeof words));
    }
    int rc = readable(path, "CA file", err);
    if (rc < 0) return rc;
    snprintf(tls->ca_file, sizeof tls->ca_file, "%s", path);
    if (SSL_CTX_load_verify_file(tls->ctx, path)) return STERNA_OK;
    return stn_fail(err, STERNA_EINVAL, "%s: no certificate authority in PEM format (%s)", path,
                    openssl_words(words, sizeof words));
}

static int load_our_certificate(struct stn_tls *tls, const struct stn_tls_options *o,
                                struct sterna_error *err) {
    char words[128];
    if (!o->cert_file && !o->key_file) return STERNA_OK;
    if (!o->cert_file || !o->key_file)
        return stn_fail(err, STERNA_EINVAL,
                        "a client certificate needs both files, certificate and key: only %s is "
                        "given",
                        o->cert_file ? o->cert_file : o->key_file);
    int rc = readable(o->cert_file, "client certificate", err);
    if (rc == STERNA_OK) rc = readable(o->key_file, "client key", err);
    if (rc < 0) return rc;
    if (!SSL_CTX_use_certificate_chain_file(tls->ctx, o->cert_file))
        return stn_fail(err, STERNA_EINVAL, "%s: no certificate in PEM format (%s)", o->cert_file,
                        openssl_words(words, sizeof words));
    if (!SSL_CTX_use_PrivateKey_file(tls->ctx, o->key_file, SSL_FILETYPE_PEM))
        return stn_fail(err, STERNA_EINVAL,
                        "%s: no key in PEM format without a passphrase, or not the key of %s (%s)",
                        o->key_file, o->cert_file, openssl_words(words, sizeof words));
    if (!SSL_CTX_check_private_key(tls->ctx))
        return stn_fail(err, STERNA_EINVAL, "%s is not the key of %s", o->key_file, o->cert_file);
    tls->has_certificate = 1;
    return STERNA_OK;
}

int stn_tls_open(struct stn_tls **out, const struct stn_tls_options *options,
                 struct sterna_error *err) {
    int rc = STERNA_ENOMEM;
    *out = NULL;
    ERR_clear_error();
    struct stn_tls *tls = calloc(1, sizeof *tls);
    if (!tls) goto fail;
    tls->verify = options->verify;
    tls->socket = socket_method();
    tls->ctx = SSL_CTX_new(TLS_client_method());
    if (!tls->socket || !tls->ctx) goto fail;
    if (!SSL_CTX_set_min_proto_version(tls->ctx, TLS1_2_VERSION)) goto fail;
    SSL_CTX_set_read_ahead(tls->ctx, 1);
    SSL_CTX_set_default_read_buffer_len(tls->ctx, READ_BUFFER_BYTES);
    SSL_CTX_set_mode(tls->ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_options(tls->ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
    SSL_CTX_set_default_passwd_cb(tls->ctx, no_passphrase);
    rc = options->verify ? load_authorities(tls, options->ca_file, err) : STERNA_OK;
    if (rc == STERNA_OK) rc = load_our_certificate(tls, options, err);
    if (rc < 0) goto fail;
    *out = tls;
    return STERNA_OK;
fail:
    stn_tls_close(&tls);
    ERR_clear_error();
    return rc == STERNA_ENOMEM ? stn_fail_memory(err, "TLS") : rc;
}

void stn_tls_close(struct stn_tls **tls) {
    if (!*tls) return;
    SSL_CTX_free((*tls)->ctx);
    BIO_meth_free((*tls)->socket);
    free(*tls);
    *tls = NULL;
}

/* ---- a session ---- */

static int is_ip(const char *name) {
    uint8_t ip[16];
    return inet_pton(AF_INET, name, ip) == 1 || inet_pton(AF_INET6, name, ip) == 1;
}

/* Whom we want to talk to. An address is no name for SNI. */
static int set_name(struct stn_tls_session *s) {
    X509_VERIFY_PARAM *param = SSL_get0_param(s->ssl);
    if (is_ip(s->name)) return X509_VERIFY_PARAM_set1_ip_asc(param, s->name);
    X509_VERIFY_PARAM_set_hostflags(param, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    return X509_VERIFY_PARAM_set1_host(param, s->name, 0) &&
           SSL_set_tlsext_host_name(s->ssl, s->name) == 1;
}

int stn_tls_session_open(struct stn_tls_session **out, struct stn_tls *tls, int fd,
                         const char *name, struct sterna_error *err) {
    BIO *bio = NULL;
    *out = NULL;
    ERR_clear_error();
    struct stn_tls_session *s = calloc(1, sizeof *s);
    if (!s) goto fail;
    *s = (struct stn_tls_session){.tls = tls, .fd = fd, .first_byte = -1};
    size_t length = strlen(name);
    int brackets = name[0] == '[' && name[length - 1] == ']';
    snprintf(s->name, sizeof s->name, "%.*s", (int)(length - 2 * (size_t)brackets),
             name + brackets);
    s->ssl = SSL_new(tls->ctx);
    bio = BIO_new(tls->socket);
    if (!s->ssl || !bio) goto fail;
    BIO_set_data(bio, s);
    BIO_set_init(bio, 1);
    SSL_set_bio(s->ssl, bio, bio);
    bio = NULL; /* the session's now */
    SSL_set_app_data(s->ssl, s);
    if (!set_name(s)) goto fail;
    SSL_set_verify(s->ssl, tls->verify ? SSL_VERIFY_PEER : SSL_VERIFY_NONE,
                   tls->verify ? verified : NULL);
    SSL_set_connect_state(s->ssl);
    *out = s;
    return STERNA_OK;
fail:
    BIO_free(bio);
    stn_tls_session_close(&s);
    ERR_clear_error();
    return stn_fail_memory(err, "a TLS session");
}

/* Without close_notify: nobody waits for it, and the socket may not take it. */
void stn_tls_session_close(struct stn_tls_session **s) {
    if (!*s) return;
    SSL_free((*s)->ssl);
    free(*s);
    *s = NULL;
}

static void begin(struct stn_tls_session *s) {
    ERR_clear_error(); /* what another session left in this thread's queue */
    s->sys_errno = 0;
}

/* 1 if there is something to wait for. */
static int waits(int ssl_error, int *events) {
    *events = ssl_error == SSL_ERROR_WANT_READ    ? STN_POLL_READ
              : ssl_error == SSL_ERROR_WANT_WRITE ? STN_POLL_WRITE
                                                  : 0;
    return *events != 0;
}

int stn_tls_handshake(struct stn_tls_session *s, int *events, struct sterna_error *err) {
    begin(s);
    int n = SSL_connect(s->ssl);
    if (n == 1) {
        s->done = 1;
        return STERNA_OK;
    }
    int ssl_error = SSL_get_error(s->ssl, n);
    return waits(ssl_error, events) ? STERNA_AGAIN : describe(s, ssl_error, err);
}

static ssize_t failed(struct stn_tls_session *s, int n, int *events, struct sterna_error *err) {
    int ssl_error = SSL_get_error(s->ssl, n);
    if (waits(ssl_error, events)) {
        errno = EAGAIN;
        return -1;
    }
    if (ssl_error == SSL_ERROR_ZERO_RETURN) return 0; /* an orderly end */
    int sys_errno = ssl_error == SSL_ERROR_SYSCALL && s->sys_errno ? s->sys_errno : EPROTO;
    describe(s, ssl_error, err);
    errno = sys_errno;
    return -1;
}

ssize_t stn_tls_recv(struct stn_tls_session *s, void *buf, size_t bytes, int *events,
                     struct sterna_error *err) {
    size_t n = 0;
    begin(s);
    int rc = SSL_read_ex(s->ssl, buf, bytes, &n);
    return rc ? (ssize_t)n : failed(s, rc, events, err);
}

ssize_t stn_tls_send(struct stn_tls_session *s, const void *buf, size_t bytes, int *events,
                     struct sterna_error *err) {
    size_t n = 0;
    begin(s);
    int rc = SSL_write_ex(s->ssl, buf, bytes, &n);
    return rc ? (ssize_t)n : failed(s, rc, events, err);
}

size_t stn_tls_pending(const struct stn_tls_session *s) {
    int n = SSL_pending(s->ssl);
    return n > 0 ? (size_t)n : (size_t)SSL_has_pending(s->ssl);
}
