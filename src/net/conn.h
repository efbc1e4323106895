/* One connection: connects, shakes hands, sends frames, takes answers apart. Never blocks.
 *
 * A table of states says which opcodes are accepted in each. Each request is a *call* with a stream
 * number while it is on its way; streams 0 and 1 are never a call's. A call that was
 * given up keeps its number (an *orphan*) until its answer was dropped. The loop thread owns a
 * connection; times are arguments.
 *
 * All callbacks come from within stn_poll_wait(), and from nowhere else: what send(), flush(),
 * tick() or abort() find out is told by the next one, which then does not wait. Only
 * stn_conn_close() calls done() itself. From within any callback calls may be sent or given up, and
 * the connection closed. */
#ifndef STN_CONN_H
#define STN_CONN_H

#include "net/address.h"
#include "net/poll.h"
#include "net/tls.h"
#include "wire/receiver.h"

struct stn_conn;
struct stn_call;

/* How a call's answer is taken. On the loop thread. */
struct stn_call_ops {
    /* Both NULL: the answer is gathered. Else as in struct stn_receiver_ops. */
    int (*row)(struct stn_call *call, const struct stn_cql_value *small);
    int (*blob)(struct stn_call *call, uint32_t i, uint32_t bytes, uint8_t **to);
    /* The answer is there, and the call no longer the connection's:
     *   OK            `head` and `body`: a RESULT, body at the first value of its rows (valid
     * during the call); head is NULL for a row taken apart, or an answer that is no RESULT
     *   ENOTFOUND     a row was expected, there is none
     *   EPROTO, ...   what row() or blob() said
     *   STERNA_EIO    `failure` is the server's ERROR
     *   EUNREACHABLE  the connection was lost; `why` says how */
    void (*done)(struct stn_call *call, int code, const struct stn_cql_result_head *head,
                 struct stn_cursor *body, const struct stn_cql_failure *failure, const char *why);
};

struct stn_call { /* embedded in what belongs to its maker, who keeps it until done() */
    const struct stn_call_ops *ops;
    struct stn_row_shape shape; /* with ops->row */
    uint64_t answer_bytes;      /* expected: counted as outstanding at the connection */
    /* the connection's, while it has the call */
    struct stn_conn *conn;
    int16_t stream;
    uint64_t sent_ns, first_byte_ns; /* of the answer; 0: not yet */
    struct stn_call *older, *newer;  /* in the order of sending */
};

struct stn_conn_config { /* shared by a cluster's connections; outlives them */
    const char *user;    /* NULL: no credentials */
    /* The password now, into buf (at most cap bytes with NUL; the connection wipes it). Read anew
     * for each connection. OK, or a code with a message. */
    int (*password)(void *ctx, char *buf, size_t cap, struct sterna_error *err);
    void *password_ctx;
    struct stn_tls *tls;         /* NULL: plain */
    const char *host;            /* whose certificate is expected; NULL: the address */
    uint64_t connect_timeout_ns; /* to READY */
    uint64_t idle_ns;            /* of silence, before a heartbeat */
    uint64_t progress_floor_ns;  /* no byte for so long (or 8 round trips), with calls out: dead */
    unsigned orphans_max;
    int ask_supported; /* send OPTIONS beside STARTUP, for what the server can do beyond CQL */
};

struct stn_supported { /* of SUPPORTED, 0 where the server says nothing */
    int cql_v4;
    uint32_t n_shards, shard, ignore_msb; /* Scylla */
    uint16_t shard_port, shard_port_tls;
    int tablets; /* TABLETS_ROUTING_V1 */
    uint32_t rate_limit_code;
};

struct stn_conn_ops { /* what the owner is told, on the loop thread */
    void (*ready)(void *ctx, struct stn_conn *conn);
    /* It is over. All calls were given done(EUNREACHABLE) before. The owner may free it from here:
     * stn_conn_close(). `err` names the address, and what to do where there is something. Codes:
     * EUNREACHABLE (connect, lost, timeout), EPROTO, EREFUSED (credentials, certificates: no use in
     * trying again soon). */
    void (*closed)(void *ctx, struct stn_conn *conn, const struct sterna_error *err);
    void (*event)(void *ctx, const struct stn_cql_event *event);
    void (*tablets)(void *ctx, struct stn_call *call, struct stn_cql_value payload);
    /* The answer to a call that was given up has come, or begins; so many bytes were expected. */
    void (*late)(void *ctx, struct stn_conn *conn, uint64_t sent_ns, uint64_t answer_bytes);
    /* An answer that no call waits for: the server may be overloaded (stream 0), or confused. */
    void (*stray)(void *ctx, struct stn_conn *conn, int16_t stream, uint8_t opcode);
    /* TCP has a connection; TLS and the handshake follow. May be NULL. */
    void (*connected)(void *ctx, struct stn_conn *conn);
    /* The server wants a password. 0: not now, it is asked again at each tick. NULL: always. */
    int (*may_log_in)(void *ctx, struct stn_conn *conn);
};

/* Begins to connect. source_port (0: any): bind to it first (Scylla's shard-aware port).
 * ENOMEM; EBUSY: the source port is taken; EUNREACHABLE. */
int stn_conn_open(struct stn_conn **out, struct stn_poll *poll, const struct stn_address *to,
                  uint16_t source_port, const struct stn_conn_config *config,
                  const struct stn_conn_ops *ops, void *ctx, uint64_t now_ns,
                  struct sterna_error *err);
/* Frees it; all its calls get done(EUNREACHABLE, "closed"). NULL is fine. closed() is not called.
 */
void stn_conn_close(struct stn_conn **conn);
/* Ends it as if it had been lost: not READY at once, and from within the next stn_poll_wait() calls
 * get done(), then closed() is called. The first reason counts. */
void stn_conn_abort(struct stn_conn *conn, int code, const char *why);

/* Frame(s) for the call: `frame` is copied into the send buffer, with a stream number of ours.
 * AGAIN: no stream is free, or the connection is not READY. Sent by the next stn_conn_flush(). */
int stn_conn_send(struct stn_conn *conn, struct stn_call *call, const uint8_t *frame, size_t bytes,
                  uint64_t now_ns);
/* One system call for all that was sent since; what the socket does not take goes when it can. */
void stn_conn_flush(struct stn_conn *conn, uint64_t now_ns);
/* The answer is no longer wanted: dropped when it comes; done() is not called, the call is its
 * maker's again at once. Its stream stays taken until then: 1, unless the answer has begun. */
int stn_conn_give_up(struct stn_conn *conn, struct stn_call *call);

/* Deadlines: connect timeout, progress rule, heartbeat, orphans. Returns when it is due again. With
 * calls out a heartbeat is sent in half the time of the progress rule: a server that is only slow
 * at a request answers it, and its connection lives. */
uint64_t stn_conn_tick(struct stn_conn *conn, uint64_t now_ns);

/* A heartbeat now, unless one is on its way: its answer is a round trip (stn_conn_stats()). */
void stn_conn_beat(struct stn_conn *conn, uint64_t now_ns);

int stn_conn_is_ready(const struct stn_conn *conn);
const struct stn_address *stn_conn_address(const struct stn_conn *conn);
const struct stn_supported *stn_conn_supported(const struct stn_conn *conn);
struct stn_call *stn_conn_oldest(const struct stn_conn *conn); /* by time of sending, or NULL */

struct stn_conn_stats {
    uint64_t calls, orphans, outstanding_bytes; /* now */
    uint64_t landed_bytes; /* of outstanding_bytes: of the answer that is coming now */
    uint64_t received_bytes, sent_bytes, copied_bytes;
    uint64_t last_byte_ns;
    uint64_t min_rtt_ns; /* of connect and heartbeats; 0: none yet */
    uint64_t rtt_ns;     /* the last that was measured, with no call on its way here; 0: none yet */
    uint64_t n_rtts;     /* so many were */
};
void stn_conn_stats(const struct stn_conn *conn, struct stn_conn_stats *out);

struct stn_conn_tcp {                    /* as the kernel tells; 0 where it does not */
    uint64_t tcp_rtt_ns, tcp_min_rtt_ns; /* of what we send: small requests */
    uint64_t segments_in;                /* with those that carry nothing */
    uint64_t out_of_order_segments; /* all that came behind a hole, until it was filled: one lost
                                       segment makes many */
    uint64_t retransmitted;         /* segments of ours */
    uint64_t receive_space_bytes;   /* what the buffer is being tuned for */
};
/* One system call. Before it is READY, or after its end, there may be nothing to tell. */
void stn_conn_tcp(const struct stn_conn *conn, struct stn_conn_tcp *out);

#endif
