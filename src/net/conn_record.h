/* One connection as its own files see it; nobody else includes this.
 *
 *   conn.c            its life: connecting, what is due, its end
 *   conn_io.c         bytes out of the send buffer and into the receiver
 *   conn_handshake.c  what is said before requests are: a table of states
 *   conn_answers.c    which call an answer belongs to
 *   conn_tcp.c        what the kernel tells of it
 *   streams.c         numbers of calls */
#ifndef STN_CONN_RECORD_H
#define STN_CONN_RECORD_H

#include "net/conn.h"
#include "net/streams.h"

enum stn_conn_state { /* in this order */
                      STN_CONN_CONNECT,
                      STN_CONN_TLS,
                      STN_CONN_OPTIONS,
                      STN_CONN_STARTUP,
                      STN_CONN_AUTH,
                      STN_CONN_READY,
                      STN_CONN_OVER
};

struct stn_conn {
    struct stn_poll *poll;
    struct stn_poll_fd fd; /* fd.fd is -1 when it is closed */
    const struct stn_conn_config *config;
    const struct stn_conn_ops *ops;
    void *ctx;
    struct stn_address to;
    char name[STN_ADDRESS_TEXT_BYTES]; /* `to`, for messages */
    enum stn_conn_state state;

    /* its end */
    struct sterna_error end; /* why it is OVER: the first reason */
    unsigned depth;          /* callbacks may be under way below us */
    int told;                /* closed() was called */
    int gone;                /* its owner closed it within a callback: freed when that is through */

    /* handshake */
    struct stn_tls_session *tls;
    int tls_events; /* that it waits for */
    struct stn_supported supported;
    int supported_due;      /* OPTIONS is not answered yet */
    int ready_early;        /* STARTUP was answered first: READY when SUPPORTED has come */
    int login_waits;        /* for may_log_in() */
    char authenticator[96]; /* the server's class */
    unsigned n_challenges;

    /* out: out[out_from, out_to) waits to be sent */
    uint8_t *out;
    size_t out_from, out_to, out_cap;
    int out_waits;  /* for these events (STN_POLL_*): the socket takes no more now */
    int out_secret; /* there is a password in the buffer: wiped as soon as it is sent */
    int out_errno;  /* nothing can be sent any more; what came before is still read */

    /* in */
    struct stn_receiver receiver;
    int in_waits;            /* for these events besides READ: TLS may have to write first */
    struct stn_call *taking; /* whose row is taken apart */
    int in_row;              /* row() or blob() of the owner is running */
    unsigned n_strays;
    char last_words[160]; /* an ERROR that belongs to no call: why the server closes, perhaps */

    struct stn_streams streams;

    /* times */
    uint64_t now_ns; /* the last that we were told */
    uint64_t opened_ns;
    uint64_t sent_ns;      /* the last flush that sent something */
    uint64_t moved_ns;     /* when a full socket took bytes again: progress as well */
    uint64_t answered_ns;  /* when the last answer to a call began */
    uint64_t heartbeat_ns; /* when it was sent; 0: none is on its way */
    int heartbeat_alone;   /* no call was on its way: its round trip is the path's */
    uint64_t last_byte_ns, min_rtt_ns, rtt_ns, n_rtts;
    uint64_t received_bytes, sent_bytes;
};

/* ---- conn.c ---- */

/* Ends it; the first reason counts. "ADDRESS: " is put before the message. It is told from within
 * the next stn_poll_wait() or when the running one is through with us, so that no caller finds its
 * connection freed. Returns code. */
__attribute__((format(printf, 3, 4))) int stn_conn_end(struct stn_conn *conn, int code,
                                                       const char *format, ...);
/* The same with ": strerror(errno)". */
__attribute__((format(printf, 3, 4))) int stn_conn_end_sys(struct stn_conn *conn, int code,
                                                           const char *format, ...);
void stn_conn_rtt(struct stn_conn *conn, uint64_t sent_ns); /* a round trip was measured */

/* ---- conn_io.c ---- */

/* Room for a frame at the end of the send buffer; then stn_conn_wrote(). ENOMEM. */
int stn_conn_room(struct stn_conn *conn, size_t bytes, struct stn_writer *w);
void stn_conn_wrote(struct stn_conn *conn, const struct stn_writer *w);
void stn_conn_write(struct stn_conn *conn); /* all that the socket takes */
void stn_conn_read(struct stn_conn *conn);  /* all that is there, up to a bound */
void stn_conn_io_fini(struct stn_conn *conn);

/* ---- conn_handshake.c ---- */

void stn_conn_begin_handshake(struct stn_conn *conn); /* the socket is connected */
void stn_conn_shake_tls(struct stn_conn *conn);
/* A login that had to wait. */
void stn_conn_log_in(struct stn_conn *conn);
/* An answer before READY. */
int stn_conn_handshake(struct stn_conn *conn, const struct stn_cql_header *h,
                       struct stn_cursor body);
const char *
stn_conn_waits_for(const struct stn_conn *conn); /* "STARTUP": in this state, for messages */

/* ---- conn_answers.c ---- */

extern const struct stn_receiver_ops stn_conn_receiver_ops; /* ctx: the connection */
/* All calls get done(EUNREACHABLE, why). */
void stn_conn_drop_calls(struct stn_conn *conn, const char *why);
/* Printable, shortened. */
const char *stn_conn_text(struct stn_text t, char *buf, size_t bytes);

#endif
