/* A cluster, as all above see it: statements that prepare themselves, and calls that find a
 * replica.
 *
 * One thread owns all connections. A call is submitted from any thread, goes to a replica of its
 * token with room in its window, is tried elsewhere as the table in query.c says, and is given
 * done() exactly once on the loop thread; what is on its way to an answer belongs to the session.
 * While no node can be reached calls wait, up to outage_timeout_ms, with a log line now and then.
 *
 *   session.c    the loop, queues, and this interface      node.c     connections of one node,
 * window query.c      the life of a call, and what errors mean  try.c      one request of a call
 *   hedge.c      second requests for stragglers            route.c    which node for a token
 *   statement.c  texts, prepared on each node when needed  control.c  the control connection */
#ifndef STN_SESSION_H
#define STN_SESSION_H

#include "net/conn.h"
#include "net/ring.h"
#include "sterna/path.h"

struct stn_session;
struct stn_statement;

struct stn_host {
    const char *name; /* host name or address */
    uint16_t port;
};

struct stn_translation { /* an address that servers tell -> the one to use */
    struct stn_address from, to;
};

struct stn_session_options {      /* strings are copied */
    const struct stn_host *hosts; /* contact points */
    size_t n_hosts;
    const char *keyspace; /* whose replication the ring follows; NULL or one that does not exist
                             yet: any node will do */
    const char *user;     /* NULL: none */
    int (*password)(void *ctx, char *buf, size_t cap, struct sterna_error *err); /* see conn.h */
    void *password_ctx;                /* must live as long as the session */
    const struct stn_tls_options *tls; /* NULL: plain */
    const char *dc;                    /* local data centre; NULL: the contact node's */
    unsigned connections;              /* a node and lane; 0: chosen */
    int reads_soon; /* connections for reads are opened beside the control connection, not after */
    unsigned connect_timeout_ms, outage_timeout_ms, request_timeout_ms; /* 0: 10 s, 480 s, 10 s */
    unsigned schema_timeout_ms; /* 0: 30 s, see stn_session_await_schema() */
    const struct stn_translation *translations;
    size_t n_translations;
    struct stn_clock *clock; /* NULL: monotonic */
};

/* Begins to connect. What is asked from now on goes out as soon as one contact point is ready,
 * beside the session's own questions. */
int stn_session_start(struct stn_session **out, const struct stn_session_options *options,
                      struct sterna_error *err);
/* Blocks until one contact point has answered and the nodes are known. EUNREACHABLE lists each
 * address and why; EREFUSED: credentials, certificates; EPROTO: no protocol version 4. */
int stn_session_await(struct stn_session *session, struct sterna_error *err);
/* Both; nothing is left open if it fails. */
int stn_session_open(struct stn_session **out, const struct stn_session_options *options,
                     struct sterna_error *err);
/* All calls must be done or abandoned. */
void stn_session_close(struct stn_session **session);

/* ---- statements ---- */

struct stn_statement_column {
    char name[64];
    uint16_t type; /* enum stn_cql_type */
};
struct stn_statement_info {
    const struct stn_statement_column *params, *columns;
    size_t n_params, n_columns;
    size_t n_key; /* of the partition key among params; 0: not known, any node will do */
};
/* Prepares on one node now, so that types are known and a mistake is found; on the others when they
 * are first used. Fully qualified table names only. The session owns it; the same text gives the
 * same statement. Blocks. STERNA_EINVAL: the server's text (syntax, unknown table: ENOTFOUND). */
int stn_session_prepare(struct stn_session *session, const char *text, struct stn_statement **out,
                        struct sterna_error *err);
void stn_statement_info(const struct stn_statement *statement, struct stn_statement_info *out);
/* The same without waiting, for a statement that will most likely be needed: stn_session_prepare()
 * then finds it, or waits for the answer. One that fails is asked for anew when it is needed. */
void stn_session_prepare_ahead(struct stn_session *session, const char *text);

/* ---- requests ---- */

enum stn_lane { /* kept apart, so that a full one does not delay the others */
                STN_LANE_READ,
                STN_LANE_WRITE,
                STN_LANE_COUNT
};

struct stn_query_answer {                   /* valid during done() */
    const struct stn_cql_result_head *head; /* of a gathered RESULT; NULL for a row taken apart */
    struct stn_cursor values;               /* head->n_rows * head->rows.n_columns [value]s */
    struct stn_cql_value paging_state;      /* data NULL: no more pages */
    const struct stn_cql_failure *failure;  /* the server's last ERROR, or NULL */
    const char *why;                        /* in words: host, what happened, when code < 0 */
    const char *from;                       /* host:port that answered, or NULL */
    uint32_t from_bit;                      /* the same for stn_query_call.avoid */
};

struct stn_query_call;
struct stn_query_call_ops {
    /* As in struct stn_receiver_ops: a row with blobs. NULL: the answer is gathered. They are
     * called again from row() on, for another node's answer, after a lost connection and when a
     * second request overtakes the first: whose bytes then land nowhere any more. */
    int (*row)(struct stn_query_call *q, const struct stn_cql_value *small);
    int (*blob)(struct stn_query_call *q, uint32_t i, uint32_t bytes, uint8_t **to);
    /* OK; ENOTFOUND: no row for ops->row; EINVAL, EREFUSED (unauthorized): final at the server;
     * EUNREACHABLE: no replica for outage_timeout; ETIMEOUT, EBUSY (overloaded to the end), EIO:
     * the replicas' last error, after all tries; EPROTO, EBUDGET, ECANCELED ...: what row() or
     * blob() said (EPROTO after tries on other nodes). */
    void (*done)(struct stn_query_call *q, int code, const struct stn_query_answer *answer);
};

struct stn_try { /* the session's: one request of a call, at one node */
    struct stn_call call;
    struct stn_query_call *query;
    struct stn_node *node;         /* NULL: it is not out */
    struct stn_try *older, *newer; /* of all that are out, in the order of sending */
    int in_window;                 /* of its node and lane */
    int measures;  /* it found little in its way: its time to the first byte tells of the path */
    int is_second; /* sent while the other was out */
    int is_begun;  /* its answer has begun; with ops->row: its bytes land */
    int is_late;   /* it had not begun when the quantile said that it should have */
    int was_moved; /* its node had fallen silent: asked elsewhere, once */
};
enum { STN_TRIES = 2 }; /* of one call at a time, at different nodes */

struct stn_query_call { /* embedded in its maker's record, kept until done() or abandon() */
    const struct stn_query_call_ops *ops;
    struct stn_statement *statement;    /* or NULL, and: */
    const char *text;                   /* a QUERY, on any node; borrowed until done */
    const struct stn_cql_value *values; /* borrowed until done, with what they point to */
    size_t n_values;
    enum stn_lane lane;
    uint16_t consistency;
    uint16_t serial_consistency; /* 0: none */
    int is_write;                /* reactions of the table's right column; else its left */
    int32_t page_size;
    struct stn_cql_value paging_state; /* borrowed until done */
    int64_t timestamp_us;              /* writes: set by the maker, once */
    struct stn_row_shape shape;        /* with ops->row */
    uint64_t weight_bytes; /* what it counts for in the window: the larger of request and
                              expected answer */
    int has_near;          /* the statement's key is not whole, as in a scan: */
    int64_t near;          /* a token whose replicas are asked then */
    uint32_t avoid;        /* from_bits of nodes to be asked only if there is no other */
    const void *group;     /* for abandon() */

    /* the session's */
    struct stn_try tries[STN_TRIES];
    struct stn_session *session;
    struct stn_node *node; /* that it went to last */
    struct stn_query_call *next, *prev;
    int state;
    int64_t token;
    int has_token;
    unsigned n_tries, n_replicas; /* tries: one after the other, without those that were second */
    int was_hedged;
    uint16_t consistency_now; /* LOCAL_QUORUM once, when each replica alone has failed */
    uint32_t tried;           /* bits of replicas, in the order of the ring */
    uint64_t begun_ns, due_ns;
    int said_code;  /* of a server's last ERROR to it, */
    char said[160]; /* and in words: host, what; empty: there was none */
};

/* Takes all n (linked by nothing: an array of pointers). Any thread. Never fails: what goes wrong
 * comes by done(). */
void stn_session_submit(struct stn_session *session, struct stn_query_call *const *calls, size_t n);
/* All calls of that group are their maker's again when it returns, without done(); nothing is
 * written to their memory any more. Not from the loop thread. */
void stn_session_abandon(struct stn_session *session, const void *group);

/* Something to be done once for many answers: run() at the end of each turn of the loop, on its
 * thread. It returns in how many nanoseconds it wants to run again if no turn comes before;
 * UINT64_MAX: never. The hook is its maker's, in place until it is taken out. Not from the loop
 * thread. */
struct stn_turn_hook {
    uint64_t (*run)(void *ctx);
    void *ctx;
    struct stn_turn_hook *next; /* the session's */
};
void stn_session_add_hook(struct stn_session *session, struct stn_turn_hook *hook);
void stn_session_remove_hook(struct stn_session *session, struct stn_turn_hook *hook);

/* One call at once, waited for: rows are copied. For few, small answers. */
struct stn_rows {
    size_t n_rows, n_columns;
    struct stn_cql_value *values; /* n_rows * n_columns, pointing into `memory` */
    uint8_t *memory;
    struct stn_cql_value paging_state;
};
/* `q` as for submit, without ops. Codes as done(); a server's ERROR is in err's message. */
int stn_session_query(struct stn_session *session, struct stn_query_call *q, struct stn_rows *rows,
                      struct sterna_error *err);
/* The same in two steps, for several at once. */
struct stn_question {
    struct stn_query_call call;  /* filled as for stn_session_query() */
    struct stn_session *session; /* NULL: it was not asked */
    struct stn_rows rows;
    struct sterna_error why;
    int ended, code;
};
void stn_session_ask(struct stn_session *session, struct stn_question *question);
/* Blocks; once for each question. rows (may be NULL) is the caller's. */
int stn_session_answer(struct stn_question *question, struct stn_rows *rows,
                       struct sterna_error *err);
/* Its answer is not wanted any more. Safe at any time, also if it was never asked. */
void stn_session_drop(struct stn_question *question);
void stn_rows_free(struct stn_rows *rows); /* safe twice */
/* A copy of an answer's rows; ENOMEM, EPROTO (fewer values than rows). */
int stn_rows_copy(struct stn_rows *out, const struct stn_cql_result_head *head,
                  struct stn_cursor values);

/* After DDL: until all nodes that are up have one schema version, or ETIMEOUT. Afterwards
 * the keyspace's replication is read anew. */
int stn_session_await_schema(struct stn_session *session, struct sterna_error *err);

struct stn_session_info {
    char cluster_name[128], release[32], dc[64];
    unsigned n_nodes, n_nodes_up; /* of the local data centre */
    unsigned release_major;       /* of the contact node; Scylla tells 3 */
    int is_scylla, murmur3;
};
void stn_session_info(struct stn_session *session, struct stn_session_info *out);
/* Pieces of the ring for a scan, see stn_ring_pieces(). */
void stn_session_pieces(struct stn_session *session, size_t pieces,
                        void (*each)(void *ctx, int64_t after, int64_t to), void *ctx);

struct stn_session_stats { /* counts since open */
    uint64_t calls, tries, retries, overloaded, unprepared, prepares, strays, lost_connections,
        received_bytes, copied_bytes, in_flight, in_flight_bytes, connections;
    uint64_t hedges, hedged_bytes, suspects; /* as in struct sterna_path */
};
void stn_session_stats(struct stn_session *session, struct stn_session_stats *out);
/* Bytes that it can use in flight, and landed ahead of one that is late; as of a moment ago. Any
 * thread. */
void stn_session_ahead(struct stn_session *session, uint64_t *ahead_bytes, uint64_t *slack_bytes);
/* The way to the nodes of the read lane, as it was a moment ago. Any thread; does not wait. */
void stn_session_path(struct stn_session *session, struct sterna_path *out);

#endif
