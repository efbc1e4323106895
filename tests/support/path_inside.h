/* What the parts of the simulated network (path_sim.h) know of each other. */
#ifndef STN_TEST_PATH_INSIDE_H
#define STN_TEST_PATH_INSIDE_H

#include "support/path_sim.h"

enum path_kind {
    PATH_DEPART,    /* link: its first chunk has been sent */
    PATH_ARRIVE,    /* chunk: at the client */
    PATH_ACK,       /* chunk: its acknowledgement at the server */
    PATH_PACE,      /* conn: its pacing lets it send */
    PATH_TIMER,     /* conn: nothing was acknowledged for long */
    PATH_REQUEST,   /* request: at the server */
    PATH_SERVED,    /* request */
    PATH_ANSWER,    /* request: its answer is written to the connection */
    PATH_HANDSHAKE, /* conn: the client's next message is at the server */
    PATH_TICK,      /* target */
    PATH_WAKE,      /* target: may send */
    PATH_START,     /* loader */
    PATH_RESUME,    /* server: its stall is over */
};

struct path_event {
    uint64_t at_ns;
    uint32_t n; /* of those at one time, first in, first out */
    enum path_kind kind;
    void *what;
};

void path_push(struct path_sim *sim, uint64_t at_ns, enum path_kind kind, void *what);
double path_random(struct path_sim *sim);   /* [0, 1) */
double path_noise(uint64_t key, double at); /* [0, 1), continuous in `at` */

/* Some segments of a connection, or a part of its handshake. */
struct path_chunk {
    struct path_conn *conn;
    struct path_chunk *next;        /* of the sender's, in the order of sending */
    struct path_chunk *next_queued; /* in a link */
    uint64_t seq;
    uint32_t bytes;
    uint8_t hop;
    uint8_t lost;
    uint8_t is_handshake;
    uint8_t app_limited;
    uint64_t sent_ns;
    uint64_t cumulative; /* acknowledged with it */
    /* as of sending, for a rate-based sender's samples */
    uint64_t delivered, delivered_ns, first_sent_ns;
};

struct path_chunk *path_chunk_new(struct path_sim *sim);
void path_chunk_free(struct path_sim *sim, struct path_chunk *c);
/* Cuts all but `bytes` off into a new chunk, which follows in the sender's list. */
struct path_chunk *path_chunk_split(struct path_sim *sim, struct path_chunk *c, uint32_t bytes);

struct path_request {
    struct path_request *next; /* in the server, or the connection's answers */
    struct path_target *target;
    struct path_conn *conn;
    uint64_t bytes;
    uint64_t wanted_ns, sent_ns;
    uint64_t answer_bytes, landed_bytes; /* on the wire */
    int measures;                        /* the window wants to know of its first byte */
    int overloaded;
};

struct path_request *path_request_new(struct path_sim *sim);
void path_request_free(struct path_sim *sim, struct path_request *r);

struct path_cubic {
    double w_max, origin, k, w_est; /* segments, seconds */
    uint64_t epoch_ns;              /* 0: none */
    uint64_t hystart_end, hystart_min_ns, hystart_base_ns;
    unsigned hystart_samples;
};

enum path_bbr_state { PATH_BBR_STARTUP, PATH_BBR_DRAIN, PATH_BBR_PROBE, PATH_BBR_RTT };

struct path_bbr {
    enum path_bbr_state state;
    double rates[10];    /* highest of a round */
    uint64_t rounds[10]; /* which one */
    double rate;         /* highest of the last ten */
    uint64_t n_rounds;
    uint64_t round_end; /* delivered */
    double full_rate;
    unsigned n_full;
    int is_full;
    unsigned phase;
    uint64_t phase_ns, min_rtt_ns, min_rtt_at_ns, probe_until_ns;
    double window_before;  /* the recovery; 0: none */
    uint64_t conserve_end; /* delivered */
};

struct path_tcp { /* the server's end of a connection */
    uint64_t written, next_seq, acknowledged;
    uint64_t in_flight;
    double window, threshold;                 /* bytes */
    struct path_chunk *head, *tail;           /* on the way, as sent */
    struct path_chunk *lost_head, *lost_tail; /* to be sent again */
    int recovering;
    uint64_t recover_seq;
    uint64_t srtt_ns, min_rtt_ns;
    uint64_t progress_ns, timer_ns; /* 0: none runs */
    unsigned n_timeouts;            /* in a row */
    uint64_t last_sent_ns;
    uint64_t used_max, used_end, used_ns; /* most in flight, in the round to used_end */
    int was_full;                         /* the window bound it in that round */
    uint64_t pace_ns, paced_ns;           /* may send from then; event at */
    uint64_t delivered, delivered_ns, first_sent_ns, app_limited_until;
    union {
        struct path_cubic cubic;
        struct path_bbr bbr;
    };
};

struct path_range {
    uint64_t from, to;
};

enum path_conn_state { PATH_CONNECTING, PATH_READY, PATH_CLOSING, PATH_CLOSED };

struct path_conn {
    struct path_sim *sim;
    struct path_target *target;
    enum path_conn_state state;
    unsigned handshake; /* messages that came */
    uint64_t opened_ns;
    uint64_t to_server_ns, to_client_ns; /* latest arrivals: nothing overtakes */
    struct path_tcp tcp;
    /* the client's end */
    uint64_t received;         /* in order */
    struct path_range *ranges; /* behind a gap */
    size_t n_ranges, ranges_cap;
    struct path_request *head, *tail; /* answers in the stream */
    uint64_t srtt_ns;                 /* of requests' acknowledgements */
    uint64_t beat_ns;                 /* a heartbeat is on its way, sent then */
    int srtt_is_new;                  /* in this round */
    /* the loader's */
    uint64_t outstanding_bytes;
    unsigned n_outstanding;
    uint64_t round_bytes;
    double rate;
    int was_idle, is_measured; /* in this round; ever, while it was not */
};

void path_link_enter(struct path_link *link, struct path_chunk *c);
void path_link_depart(struct path_link *link);
uint64_t path_link_delay_ns(const struct path_link *link); /* of its queue, now */

uint64_t path_up_ns(struct path_conn *conn); /* when what is sent now is at the server */
void path_to_client(struct path_chunk *c);   /* is through its links */

void path_tcp_init(struct path_conn *conn);
void path_tcp_write(struct path_conn *conn, uint64_t bytes);
void path_tcp_send(struct path_conn *conn);
void path_tcp_ack(struct path_chunk *c);
void path_tcp_timer(struct path_conn *conn);
uint64_t path_tcp_rto_ns(const struct path_conn *conn);

void path_cubic_init(struct path_conn *conn);
void path_cubic_ack(struct path_conn *conn, uint64_t bytes, uint64_t rtt_ns);
void path_cubic_loss(struct path_conn *conn);
void path_cubic_timeout(struct path_conn *conn);
void path_cubic_idle(struct path_conn *conn, uint64_t idle_ns);
void path_cubic_unused(struct path_conn *conn);
void path_bbr_init(struct path_conn *conn);
void path_bbr_lost(struct path_conn *conn, uint64_t bytes);
void path_bbr_recover(struct path_conn *conn);
void path_bbr_ack(struct path_conn *conn, const struct path_chunk *c, uint64_t rtt_ns);
double path_bbr_pace(const struct path_conn *conn);

void path_server_request(struct path_request *r);
void path_server_served(struct path_request *r);
void path_server_answer(struct path_request *r);
void path_server_resume(struct path_server *server);

void path_client_chunk(struct path_chunk *c);
void path_client_handshake(struct path_conn *conn);  /* at the server */
void path_client_round_trip(struct path_request *r); /* it is at the server: its ack is sent */
void path_loader_begin(struct path_loader *loader);
void path_target_tick(struct path_target *t);
void path_target_wake(struct path_target *t);
void path_target_received(struct path_conn *conn, uint64_t bytes);
void path_target_connected(struct path_conn *conn);
void path_target_ready(struct path_conn *conn);
void path_target_beaten(struct path_conn *conn); /* its heartbeat */

#endif
