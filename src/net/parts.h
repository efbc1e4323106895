/* What the files of the session share, and nobody else may see. All of it is the loop thread's,
 * except where said. */
#ifndef STN_NET_PARTS_H
#define STN_NET_PARTS_H

#include <pthread.h>
#include <stdatomic.h>
#include <sys/types.h>

#include "base/log.h"
#include "net/peers.h"
#include "request/hedge.h"
#include "request/width.h"
#include "request/window.h"

#define STN_NODES_MAX 4096

/* ---- statements (statement.c) ---- */

struct stn_call_list {
    struct stn_query_call *first, *last;
    size_t n;
};

struct stn_statement {
    unsigned number; /* index into every node's `prepared` */
    char *text;
    /* set by the first answer to PREPARE, then fixed: any thread */
    struct stn_statement_column *params, *columns;
    size_t n_params, n_columns, n_key;
    uint16_t key[8]; /* params that make the partition key */
    struct stn_tablets *tablets;
    struct stn_statement *next;
};

struct stn_prepared { /* one statement at one node */
    enum { PREPARED_NOT, PREPARED_ASKED, PREPARED_READY } state;
    uint8_t id[64];
    uint16_t id_bytes;
    uint64_t ready_ns; /* since when */
    unsigned rounds;   /* times that the node had forgotten it, since rounds_ns */
    uint64_t rounds_ns;
    struct stn_call_list parked; /* calls that wait for it */
};

/* ---- nodes (node.c) ---- */

struct stn_tcp_look { /* what the last look at a connection's TCP found */
    uint64_t segments, out_of_order, retransmitted;
    uint64_t hole_ns; /* when the last hole began; 0: none yet */
    int was_late;     /* something was out of order */
};

struct stn_tcp_sums { /* of all connections of the read lane, since open */
    uint64_t segments, out_of_order, holes, retransmitted;
    uint64_t min_rtt_ns; /* of any; 0: not known */
    uint64_t due_ns;     /* the next look */
};

struct stn_link { /* a connection to a node, or the place for one */
    struct stn_node *node;
    enum stn_lane lane;
    struct stn_conn *conn; /* NULL: none now */
    unsigned failures;     /* connects in a row */
    uint64_t retry_ns;     /* when to connect again */
    int was_ready;         /* this connection */
    int logs_in;           /* its password is on the way */
    int renewed;           /* closed by ourselves, to be opened at once */
    uint32_t shard;        /* wanted; UINT32_MAX: any */
    int dirty;             /* has frames to be flushed */
    int surplus;           /* gets no more calls, and is closed when it has none */
    uint64_t seen_bytes;   /* of this connection's received ones */
    uint64_t round_bytes;  /* of them in this round of the window */
    double rate;           /* bytes a second over the last rounds, smoothed */
    int is_measured;       /* it had something to do since it is connected */
    int was_idle;          /* in this round it had no calls for a while */
    struct stn_tcp_look tcp;
};

struct stn_lane_control {     /* how much is asked for over how many links (lane.c) */
    struct stn_window window; /* bytes that may be outstanding */
    struct stn_width width;   /* connections */
    uint64_t gather_ns;       /* when the links are looked at again */
    uint64_t round_ns;        /* when the round began that links' bytes are counted in */
    unsigned n_rounds_ended;  /* of the window's slices, by fours */
    unsigned n_slices;        /* of the window's, seen */
    unsigned confirm;         /* link whose transport is asked next for its round trip */
    uint64_t n_rtts;          /* of the scout's, seen */
};

struct stn_node {
    struct stn_session *session;
    unsigned index; /* in session->nodes: the ring's number */
    uint8_t host_id[16];
    struct stn_address address;
    char text[STN_ADDRESS_TEXT_BYTES]; /* of the address: each answer says from where it is */
    struct stn_conn_config config;
    char *host; /* name of the contact point, for its certificate; NULL: the address */
    char dc[64], rack[64];
    uint8_t schema_version[16];
    int64_t *tokens;
    size_t n_tokens;
    int local;      /* in the local data centre */
    int seen;       /* in the last look at the peers */
    int unnamed;    /* the contact point, before the first look: it has no host id yet */
    int gone;       /* not any more: no links are opened */
    int is_down;    /* as an event said, or as connecting showed */
    int was_told;   /* that it is down, in the log */
    int is_limited; /* told, too: it closes connections before they are ready */
    struct stn_log_gate told;
    struct stn_link **links[STN_LANE_COUNT];
    unsigned n_links[STN_LANE_COUNT];
    struct stn_lane_control control[STN_LANE_COUNT];
    unsigned n_logins;      /* passwords on their way */
    uint64_t shard_port_ns; /* the shard-aware port is not used before */
    struct stn_supported shards;
    char last_error[256];
    char decision[160]; /* the last on window or connections, in words */
    double delay_ns;    /* smoothed, from sending to the answer's end */
    /* stragglers (hedge.c): of the read lane */
    unsigned n_out, n_late; /* requests; those that wait for their first byte too long */
    uint64_t owed_bytes;    /* of answers to calls that were given up: it works for them yet */
    uint64_t owed_ns;       /* since when there are any */
    uint64_t overloaded_ns; /* when it said so last, or did not answer in time */
    uint64_t suspect_ns;    /* silent while others answer, since; 0: it is not */
    unsigned n_server_errors;
    uint64_t server_errors_ns;
    struct stn_prepared *prepared;
    size_t prepared_cap;
};

int stn_node_is_ready(const struct stn_node *node);
/* One that was given up has taken at least so long. */
void stn_node_waited(struct stn_node *node, uint64_t sent_ns, uint64_t now_ns);
/* It failed inside; its connections are renewed when that happens too often. */
void stn_node_server_error(struct stn_node *node, uint64_t now_ns);
void stn_node_come_up(struct stn_node *node, uint64_t now_ns); /* connect now */
uint64_t stn_node_tick(struct stn_node *node, uint64_t now_ns);
void stn_node_flush(struct stn_node *node, uint64_t now_ns);
void stn_node_close(struct stn_node *node); /* its links; calls come back */
void stn_node_cut(struct stn_node *node);   /* and there are none any more, until they are opened */
void stn_node_free(struct stn_node **node);
int stn_link_is_usable(const struct stn_link *link);
int stn_node_add_link(struct stn_node *node, enum stn_lane lane, uint32_t shard); /* ENOMEM */
/* Of a closed one. */
void stn_node_drop_link(struct stn_node *node, enum stn_lane lane, unsigned at);

/* ---- a lane of a node: window and links (lane.c) ---- */

void stn_lane_init(struct stn_node *node, uint64_t now_ns);
/* A node's links of a lane, opened if need be. */
void stn_lane_open(struct stn_node *node, enum stn_lane lane);
struct stn_lane_wish {            /* for a link */
    uint32_t shard;               /* preferred; UINT32_MAX: any */
    uint64_t bytes;               /* of the answer */
    const struct stn_conn *avoid; /* not this one; or NULL */
};
/* The ready link over which the answer will be here first; or NULL. A lane that has none uses
 * another's: a server may allow us but one. `wish` NULL: any. */
struct stn_link *stn_lane_link(struct stn_node *node, enum stn_lane lane,
                               const struct stn_lane_wish *wish);
double stn_lane_mean_rate(const struct stn_node *node, enum stn_lane lane); /* of a link, bytes/s */
/* It has so many links that one of them says nothing about the others. */
int stn_lane_is_wide(const struct stn_node *node, enum stn_lane lane);
int stn_lane_has_room(const struct stn_node *node, enum stn_lane lane, uint64_t bytes);
void stn_lane_sent(struct stn_node *node, struct stn_try *t, uint64_t now_ns);
/* It is not on its way any more: answered, or given up. */
void stn_lane_left(struct stn_node *node, const struct stn_try *t);
void stn_lane_answered(struct stn_node *node, const struct stn_try *t, uint64_t now_ns);
void stn_lane_overloaded(struct stn_node *node, enum stn_lane lane, uint64_t now_ns);
void stn_lane_ready(struct stn_link *link, uint64_t now_ns); /* it is connected */
/* A server of so many shards wants a link for each. */
void stn_lane_needs(struct stn_node *node, enum stn_lane lane, unsigned n_links);
/* Bytes that came, windows, connections. `waiting`: calls wait in this lane. Returns when it is due
 * again. */
uint64_t stn_lane_tick(struct stn_node *node, enum stn_lane lane, int waiting, uint64_t now_ns);
/* Requests go in quanta on a path so long that answers need not be followed at once. */
uint64_t stn_lane_quantum_ns(const struct stn_session *s);

/* ---- the control connection (control.c) ---- */

struct stn_attempt { /* one address that may become the control connection */
    struct stn_session *session;
    struct stn_conn_config config;
    struct stn_address address;
    const char *host;
    struct stn_conn *conn;
    struct sterna_error why; /* code 0: not failed yet */
};

struct stn_look { /* one look at the system tables, on the control connection */
    struct stn_session *session;
    struct stn_call local_call, peers_call, keyspace_call;
    struct stn_table local, peers, keyspace;
    unsigned n_waiting;
    struct sterna_error why; /* the first failure; code 0: none */
    int old_peers;           /* the server has no peers_v2 */
};

struct stn_control {
    struct stn_attempt *contacts; /* as given and resolved */
    size_t n_contacts;
    struct stn_attempt again;   /* connecting anew, to one address after the other */
    struct stn_attempt *active; /* the one whose connection it is; NULL: there is none */
    size_t next_address;
    unsigned failures;             /* in a row */
    uint64_t retry_ns, refresh_ns; /* when to connect, to look again; UINT64_MAX: not planned */
    struct stn_look look;
    int looking, look_again;
    int let_in; /* a server has taken our password, or wants none */
    struct stn_call registering;
};

/* All contact points at once; the first one that is ready becomes the control connection. */
int stn_control_start(struct stn_session *s, struct sterna_error *err);
uint64_t stn_control_tick(struct stn_session *s, uint64_t now_ns);
void stn_control_close(struct stn_session *s);
/* Its connection if it is ready, and where that goes; or NULL. */
struct stn_conn *stn_control_conn(struct stn_session *s, const struct stn_address **address);
/* The same if it goes to that node; or NULL. */
struct stn_conn *stn_control_conn_of(const struct stn_node *node);
/* Looks at the system tables anew; n_looks_ended when a look that begins now will have ended. */
unsigned stn_control_look(struct stn_session *s);
/* In a second, unless one is due before. */
void stn_control_look_soon(struct stn_session *s);

/* ---- the session ---- */

/* SENT: one of its tries is out, or both are. */
enum stn_query_state { QUERY_IDLE, QUERY_WAITING, QUERY_PARKED, QUERY_SENT, QUERY_LATER };

struct stn_command { /* from another thread, done by the loop */
    void (*run)(struct stn_session *s, struct stn_command *c);
    int done;
    struct stn_command *next;
};

struct stn_prime { /* a statement's first PREPARE, which a thread waits for */
    struct stn_command command;
    struct stn_statement *statement;
    struct stn_prime *next;
    struct stn_call call;
    struct stn_session *session;
    struct stn_node *node;
    int sent, ended, code;
    uint64_t begun_ns;
    struct sterna_error *err;
    int ahead;               /* nobody waits: the session's own, see stn_session_prepare_ahead() */
    struct stn_prime *newer; /* of those */
};

struct stn_session {
    /* set once */
    struct stn_clock *clock;
    struct stn_poll *poll;
    struct stn_tls *tls;
    struct stn_tls_options tls_options;
    char *user, *keyspace, *wanted_dc;
    struct stn_conn_config config; /* what all connections share */
    struct stn_translation *translations;
    size_t n_translations;
    unsigned connections;
    int reads_soon;
    uint64_t request_timeout_ns, outage_ns, schema_timeout_ns;
    pid_t pid;
    pthread_t thread;
    int has_thread;

    /* guarded by lock */
    pthread_mutex_t lock;
    pthread_cond_t changed; /* commands done, opened */
    struct stn_call_list submitted;
    struct stn_command *commands, **commands_end;
    int stopping;
    int opened; /* 1: yes; negative: failed with open_error */
    struct sterna_error open_error;
    struct stn_session_info info;
    struct stn_statement *statements; /* newest first */
    struct stn_prime *ahead; /* statements that are being prepared before they are needed */
    unsigned n_statements;
    unsigned n_looks, n_looks_ended; /* at the system tables: that went well; and any */
    int schema_agrees;               /* in the last one */
    struct sterna_path path;         /* written by the loop thread */

    /* loop thread */
    struct stn_control control;
    struct stn_node *nodes[STN_NODES_MAX];
    unsigned n_nodes;
    struct stn_ring *ring; /* NULL: no token awareness */
    char dc[64];
    int is_scylla;
    struct stn_call_list waiting[STN_LANE_COUNT]; /* for a node with room */
    struct stn_call_list later, sent;
    struct stn_try *oldest, *newest; /* tries that are out */
    struct stn_stragglers {
        struct stn_hedge_wait wait;
        struct stn_try *unchecked; /* from here on not looked at whether they are late */
    } stragglers[2];               /* of rows, and of answers that are gathered */
    struct stn_hedge_budget hedge_budget;
    uint64_t hedge_ns; /* when tries were looked at last */
    uint64_t hedge_due_ns;
    uint64_t awake_ns;  /* since when this thread runs without a pause: silence before is its own */
    uint64_t silent_ns; /* when nodes are to be looked at again */
    int has_suspects;
    unsigned n_late; /* of all nodes */
    struct stn_log_gate suspected;
    struct stn_prime *primes;
    struct stn_turn_hook *hooks;
    uint64_t hooks_ns;      /* when one of them wants to run again */
    uint64_t turn_began_ns; /* see take_a_breath() */
    struct stn_log_gate confused;
    struct stn_tcp_sums tcp;
    uint64_t path_ns;                      /* when it is gathered again */
    uint64_t rtt_ns;                       /* least of any connection so far; 0: none */
    uint64_t send_ns;                      /* the next quantum of requests */
    uint64_t received_bytes, copied_bytes; /* by connections that are closed */
    uint64_t tick_ns;
    uint64_t outage_since_ns, outage_told_ns; /* no answer to what waits; 0: none */
    uint64_t unreachable_since_ns;            /* and no node is connected; 0: one is */
    uint32_t random;
    char last_error[320];

    /* any thread, atomic */
    atomic_uint_least64_t calls, tries, retries, overloaded, unprepared, prepares, strays, lost,
        in_flight, in_flight_bytes, n_connections, ahead_bytes, slack_bytes, hedges, hedged_bytes,
        suspects;
};

void stn_calls_append(struct stn_call_list *list, struct stn_query_call *q);
void stn_calls_prepend(struct stn_call_list *list, struct stn_query_call *q);
void stn_calls_remove(struct stn_call_list *list, struct stn_query_call *q);
struct stn_query_call *stn_calls_take(struct stn_call_list *list);

uint32_t stn_session_random(struct stn_session *s, uint32_t n); /* in [0, n) */
uint64_t stn_session_now(const struct stn_session *s);
void stn_session_remember(struct stn_session *s, const char *why); /* as the last error */

/* ---- the way to the nodes (path.c) ---- */

void stn_path_publish(struct stn_session *s, uint64_t now_ns);

/* ---- losses on it (path_tcp.c) ---- */

/* What a look at one connection adds. */
void stn_tcp_add(struct stn_tcp_sums *sums, struct stn_tcp_look *look,
                 const struct stn_conn_tcp *now, uint64_t now_ns);
void stn_path_look_at_tcp(struct stn_session *s, uint64_t now_ns);

/* ---- one call (query.c) ---- */

/* Sends what waits and can be sent, and keeps windows; returns when it is due again. */
uint64_t stn_queries_send(struct stn_session *s, uint64_t now_ns);
/* Those whose time has come wait again; deadlines; returns when it is due again. */
uint64_t stn_queries_tick(struct stn_session *s, uint64_t now_ns);
/* Out of whatever it is in; it is its maker's again. */
void stn_query_withdraw(struct stn_session *s, struct stn_query_call *q);
void stn_query_wait(struct stn_session *s, struct stn_query_call *q);
void stn_query_finish(struct stn_query_call *q, int code, const struct stn_query_answer *answer);
int stn_query_code_of(const struct stn_cql_failure *failure);
/* One of its tries, which was at that node, has ended as stn_call_ops.done() says. */
void stn_query_answered(struct stn_query_call *q, struct stn_try *t, struct stn_node *node,
                        int code, const struct stn_cql_result_head *head, struct stn_cursor *body,
                        const struct stn_cql_failure *failure, const char *why);

/* ---- one request of a call (try.c) ---- */

/* Sends the call there, beside the one that is out already or as the only one. AGAIN: it cannot be
 * sent now; ENOMEM. */
int stn_try_send(struct stn_query_call *q, struct stn_node *node, uint64_t now_ns);
/* The one that is out beside it, or NULL. */
struct stn_try *stn_try_other(const struct stn_try *t);
int stn_query_is_out(const struct stn_query_call *q);
/* Its answer is no longer wanted; what comes of it lands nowhere. */
void stn_try_give_up(struct stn_try *t);
/* The same because the call's other one was faster. */
void stn_try_lose(struct stn_try *t, uint64_t now_ns);
/* The query that a connection's call belongs to, or NULL: it is one of our own. */
struct stn_query_call *stn_query_of(struct stn_call *call);

/* ---- stragglers (hedge.c) ---- */

/* Sends second requests where that pays; before others take the room. */
void stn_hedges_send(struct stn_session *s, uint64_t now_ns);
uint64_t stn_hedges_due_ns(struct stn_session *s, uint64_t now_ns);
int stn_hedge_may_go_to(const struct stn_query_call *q, const struct stn_node *node,
                        uint64_t now_ns);
void stn_hedge_sent(struct stn_try *t);
void stn_hedge_begun(struct stn_try *t, uint64_t now_ns); /* once */
void stn_hedge_left(struct stn_try *t);

/* ---- which node (route.c) ---- */

/* The best node for the call with a ready connection and room, not tried yet: its replicas, else
 * any local node if no replica is connected. NULL: none now; *hopeless (may be NULL): no node at
 * all is connected in this lane. */
struct stn_node *stn_route(struct stn_session *s, struct stn_query_call *q, uint64_t now_ns,
                           int *hopeless);
/* Its answer comes, but so much more slowly than over other links that it will take long. */
int stn_try_is_slow(const struct stn_try *t, uint64_t now_ns);
/* Another replica that may be asked besides (stn_hedge_may_go_to()) and has not failed the call.
 * NULL: none now. */
struct stn_node *stn_route_second(struct stn_session *s, const struct stn_query_call *q,
                                  uint64_t now_ns);
void stn_route_token(struct stn_query_call *q); /* sets q->token, if the statement has a key */
struct stn_node *stn_route_host(const struct stn_session *s,
                                const uint8_t host_id[16]); /* or NULL */
/* The node's shard that has the call's row; UINT32_MAX: not known. */
uint32_t stn_route_shard(const struct stn_node *node, const struct stn_query_call *q,
                         uint64_t now_ns);

/* ---- statements ---- */

/* The node's record of it; asks the node if need be. NULL without memory. */
struct stn_prepared *stn_prepared_at(struct stn_node *node, const struct stn_statement *statement);
enum stn_readiness {
    STATEMENT_READY,
    STATEMENT_TAKEN, /* the call is parked, or done() was called */
    STATEMENT_LATER  /* the node cannot be asked now: the call waits again */
};
enum stn_readiness stn_statement_ready(struct stn_node *node, struct stn_query_call *q,
                                       uint64_t now_ns);
/* Whether the node can be asked with it now; if not it is prepared there, and no call waits. */
int stn_statement_is_ready(struct stn_node *node, struct stn_statement *t, enum stn_lane lane,
                           uint64_t now_ns);
/* The node has forgotten the statement of a try: it is asked anew as soon as a call needs it there.
 * 0: it forgets it again and again. */
int stn_statement_forgotten(struct stn_node *node, const struct stn_try *t, uint64_t now_ns);
/* The node has answered a try with it. */
void stn_statement_known(struct stn_node *node, const struct stn_try *t);
void stn_statements_unpark(struct stn_node *node);     /* its connections are gone */
void stn_statements_drop_ahead(struct stn_session *s); /* the loop has ended */
void stn_primes_send(struct stn_session *s, uint64_t now_ns);
void stn_statement_free(struct stn_statement **statement);

#endif
