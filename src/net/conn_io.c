/* Bytes of a connection: out of the send buffer, and to where the receiver wants them. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "net/conn_record.h"

enum { TURN_BYTES = 1 << 20 }; /* read at a stretch: many connections share the thread */
#ifdef __SANITIZE_THREAD__     /* which takes dropping for writing to address 0, and for a race */
enum { DROP_BYTES_MIN = INT32_MAX };
#else
enum { DROP_BYTES_MIN = 4096 }; /* fewer are read: they come with what is behind them */
#endif

/* ---- out ---- */

void stn_conn_io_fini(struct stn_conn *conn) {
    if (conn->out && conn->out_secret) explicit_bzero(conn->out, conn->out_cap);
    free(conn->out);
    conn->out = NULL;
}

/* realloc() would leave a password behind in the old memory. */
static int grow(struct stn_conn *conn, size_t need) {
    size_t cap = STN_MAX(need, conn->out_cap * 2);
    if (!conn->out_secret) {
        uint8_t *out = realloc(conn->out, cap);
        if (!out) return STERNA_ENOMEM;
        conn->out = out;
    } else {
        uint8_t *out = malloc(cap);
        if (!out) return STERNA_ENOMEM;
        memcpy(out, conn->out, conn->out_to);
        explicit_bzero(conn->out, conn->out_cap);
        free(conn->out);
        conn->out = out;
    }
    conn->out_cap = cap;
    return STERNA_OK;
}

int stn_conn_room(struct stn_conn *conn, size_t bytes, struct stn_writer *w) {
    size_t waiting = conn->out_to - conn->out_from;
    if (conn->out_cap - conn->out_to < bytes && conn->out_from >= waiting && waiting) {
        memmove(conn->out, conn->out + conn->out_from, waiting);
        conn->out_from = 0;
        conn->out_to = waiting;
    }
    if (conn->out_cap - conn->out_to < bytes) {
        int rc = grow(conn, conn->out_to + STN_MAX(bytes, 4096));
        if (rc < 0) return rc;
    }
    *w = (struct stn_writer){.to = conn->out + conn->out_to, .cap = conn->out_cap - conn->out_to};
    return STERNA_OK;
}

void stn_conn_wrote(struct stn_conn *conn, const struct stn_writer *w) { conn->out_to += w->used; }

static ssize_t send_some(struct stn_conn *conn, int *events, struct sterna_error *err) {
    const uint8_t *from = conn->out + conn->out_from;
    size_t bytes = conn->out_to - conn->out_from;
    *events = STN_POLL_WRITE;
    if (conn->config->tls) return stn_tls_send(conn->tls, from, bytes, events, err);
    return send(conn->fd.fd, from, bytes, MSG_NOSIGNAL);
}

static void sent(struct stn_conn *conn, size_t bytes) {
    conn->out_from += bytes;
    conn->sent_bytes += bytes;
    conn->sent_ns = conn->now_ns;
    if (conn->out_from < conn->out_to) return;
    if (conn->out_secret) explicit_bzero(conn->out, conn->out_cap);
    conn->out_secret = 0;
    conn->out_from = conn->out_to = 0;
}

/* The server has closed. Why, it may have said before: what it sent is still read. */
static void cannot_send(struct stn_conn *conn, const struct sterna_error *err) {
    if (errno == EPIPE || errno == ECONNRESET || err->code) {
        conn->out_errno = errno;
        stn_poll_again(conn->poll, &conn->fd);
    } else {
        stn_conn_end_sys(conn, STERNA_EUNREACHABLE, "connection lost while sending");
    }
}

void stn_conn_write(struct stn_conn *conn) {
    while (conn->out_from < conn->out_to && !conn->out_errno) {
        struct sterna_error err = {0};
        int events;
        ssize_t n = send_some(conn, &events, &err);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
            conn->out_waits = events;
            return;
        }
        if (n < 0) {
            cannot_send(conn, &err);
            return;
        }
        sent(conn, (size_t)n);
    }
}

/* ---- in ---- */

static const char *hint(const struct stn_conn *conn) {
    return conn->state >= STN_CONN_READY ? ""
           : conn->config->tls           ? " before it was ready: are more connections allowed?"
                                         : " before it was ready: does this port want TLS, and are "
                                           "more connections allowed?";
}

static const char *last_words(const struct stn_conn *conn, char *buf, size_t bytes) {
    snprintf(buf, bytes, conn->last_words[0] ? " (it said: %s)" : "%s", conn->last_words);
    return buf;
}

static void hung_up(struct stn_conn *conn) {
    char words[sizeof conn->last_words + 16];
    stn_conn_end(conn, STERNA_EUNREACHABLE, "the server closed the connection%s%s", hint(conn),
                 last_words(conn, words, sizeof words));
}

static void lost(struct stn_conn *conn, const struct sterna_error *err) {
    if (err->code) { /* TLS has words of its own */
        stn_conn_end(conn, err->code, "%s", err->message);
    } else if (errno == ECONNRESET || errno == EPIPE) {
        char words[sizeof conn->last_words + 16];
        stn_conn_end_sys(conn, STERNA_EUNREACHABLE, "the server closed the connection%s%s",
                         hint(conn), last_words(conn, words, sizeof words));
    } else {
        stn_conn_end_sys(conn, STERNA_EUNREACHABLE, "connection lost");
    }
}

/* Nothing to be read now. A server that takes nothing any more has closed, though. */
static void drained(struct stn_conn *conn, int events) {
    conn->in_waits = events & ~STN_POLL_READ;
    if (!conn->out_errno) return;
    errno = conn->out_errno;
    lost(conn, &(struct sterna_error){0});
}

/* Of the very first byte: is it CQL at all? */
static void check_first_byte(struct stn_conn *conn, uint8_t byte) {
    enum { TLS_ALERT = 0x15, TLS_HANDSHAKE = 0x16, RESPONSE = 0x80, VERSION_MAX = 6 };
    if (byte == TLS_ALERT || byte == TLS_HANDSHAKE)
        stn_conn_end(conn, STERNA_EPROTO, "this port speaks TLS, and TLS is not asked for");
    else if (!(byte & RESPONSE) || (byte & ~RESPONSE) == 0 || (byte & ~RESPONSE) > VERSION_MAX)
        stn_conn_end(conn, STERNA_EPROTO,
                     "no CQL server: its answer begins with byte 0x%02x. Is it the port of CQL "
                     "clients (9042)?",
                     byte);
}

struct piece {
    struct iovec to[2];
    int n;
    size_t bytes;   /* of both */
    size_t to_drop; /* not 0: only so many are dropped */
};

static struct piece next_piece(struct stn_conn *conn) {
    struct piece p = {0};
    p.n = stn_receiver_want(&conn->receiver, p.to, &p.to_drop);
    for (int i = 0; i < p.n; i++) p.bytes += p.to[i].iov_len;
    if (conn->config->tls || p.to_drop < DROP_BYTES_MIN) p.to_drop = 0;
    if (p.to_drop) p.bytes = p.to_drop;
    return p;
}

static ssize_t receive_piece(struct stn_conn *conn, struct piece *p, int *events,
                             struct sterna_error *err) {
    *events = STN_POLL_READ;
    if (conn->config->tls)
        return stn_tls_recv(conn->tls, p->to[0].iov_base, p->to[0].iov_len, events, err);
    if (p->to_drop) /* the kernel drops them itself, without a copy: tcp(7) */
        return recv(conn->fd.fd, NULL, p->to_drop, MSG_TRUNC);
    struct msghdr message = {.msg_iov = p->to, .msg_iovlen = (size_t)p->n};
    return recvmsg(conn->fd.fd, &message, 0);
}

static void took(struct stn_conn *conn, const struct piece *p, size_t bytes) {
    if (conn->received_bytes == 0) check_first_byte(conn, *(const uint8_t *)p->to[0].iov_base);
    if (conn->state == STN_CONN_OVER) return;
    conn->received_bytes += bytes;
    conn->last_byte_ns = conn->now_ns;
    int rc = p->to_drop ? stn_receiver_dropped(&conn->receiver, bytes)
                        : stn_receiver_took(&conn->receiver, bytes);
    if (rc == STERNA_ENOMEM)
        stn_conn_end(conn, rc, "out of memory for an answer");
    else if (rc < 0) /* unless a callback has said it better */
        stn_conn_end(conn, STERNA_EPROTO, "an answer that CQL 4 does not allow");
}

void stn_conn_read(struct stn_conn *conn) {
    size_t turn_bytes = 0;
    while (conn->state != STN_CONN_OVER) {
        struct sterna_error err = {0};
        struct piece p = next_piece(conn);
        int events;
        ssize_t n = receive_piece(conn, &p, &events, &err);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
            drained(conn, events);
            return;
        }
        if (n <= 0) {
            if (n == 0)
                hung_up(conn);
            else
                lost(conn, &err);
            return;
        }
        took(conn, &p, (size_t)n);
        turn_bytes += (size_t)n;
        if (!conn->config->tls && (size_t)n < p.bytes && !conn->out_errno)
            return; /* that was all */
        if (turn_bytes < TURN_BYTES) continue;
        stn_poll_again(conn->poll, &conn->fd); /* what TLS holds, no descriptor tells */
        return;
    }
}
