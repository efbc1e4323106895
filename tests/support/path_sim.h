/* A simulated network, for what decides how much is asked for (request/window.h) and over how many
 * connections (request/width.h): links with queues, TCP senders, servers, loaders. A discrete-event
 * simulation on one thread with a generator of its own, so that every run is the same.
 *
 * A loader here is what a session is to a window: it tells it of requests, bytes and round trips
 * as they reach the client, and nothing else. Rates are bytes a second of payload. */
#ifndef STN_TEST_PATH_SIM_H
#define STN_TEST_PATH_SIM_H

#include "base/base.h"
#include "request/width.h"
#include "request/window.h"

#define PATH_SEGMENT_BYTES 1448
#define PATH_US UINT64_C(1000)
#define PATH_MBIT (1e6 / 8) /* bytes a second */

struct path_sim;
struct path_conn;
struct path_chunk;
struct path_request;

/* ---- a link, and the queue before it ---- */

struct path_link {
    double rate;
    uint64_t queue_bytes; /* drop-tail */
    double loss;          /* of segments, at random */
    /* state */
    struct path_sim *sim;
    struct path_chunk *head, *tail;
    uint64_t queued_bytes;
    uint64_t segments_to_loss;
    /* what happened */
    uint64_t carried_bytes, dropped_bytes, max_queued_bytes;
};

/* ---- a server ---- */

enum path_service {
    PATH_CONSTANT,    /* always mean_ns */
    PATH_EXPONENTIAL, /* min_ns, and the rest of the mean at random */
    PATH_HEAVY,       /* the same by Pareto's law with exponent 1.5 */
};

struct path_server {
    enum path_service service;
    uint64_t min_ns, mean_ns;
    unsigned concurrency;                   /* requests served at a time */
    double cap;                             /* bytes a second of all answers; 0: none */
    unsigned overload_above;                /* so many requests waiting: OVERLOADED; 0: never */
    uint64_t stall_from_ns, stall_until_ns; /* nothing is served */
    /* state */
    struct path_sim *sim;
    unsigned n_busy, n_waiting;
    struct path_request *head, *tail;
    uint64_t cap_free_ns;
    /* what happened */
    uint64_t n_overloaded;
};

/* ---- a loader: windows to servers ---- */

enum path_cc { PATH_CUBIC, PATH_BBR };

struct path_target { /* a server, as a loader sees it */
    struct path_server *server;
    struct path_link *links[2]; /* on the way of answers; the second may be NULL */
    uint64_t rtt_ns;            /* without queues; half each way */
    double jitter;              /* of the round trip, at most, added at random */
    enum path_cc cc;
    uint64_t buffer_bytes; /* a connection's data on the way: the end systems' buffers */
    unsigned n_nodes;      /* of the cluster, for stn_width_first */
    unsigned width_min, width_max;
    /* state */
    struct path_loader *loader;
    struct stn_window window;
    struct stn_width width;
    struct path_conn **conns;
    size_t n_conns, conns_cap;
    unsigned n_ready;
    uint64_t max_bytes;
    uint64_t next_bytes; /* of the next request */
    uint64_t tick_ns, wake_ns, sent_ns;
    unsigned n_rounds_seen, n_slices_seen;
    uint64_t round_began_ns;
    double mean_rate; /* of connections */
    uint64_t landed_bytes;
    struct path_request *retries;
    /* what happened, in bins of the simulation */
    uint64_t *received;
    size_t n_bins;
    uint64_t received_bytes, n_done;
    uint64_t max_wait_ns; /* a request's */
    uint64_t max_in_flight_bytes;
    uint64_t burst_began_ns, burst_bytes;
    double max_burst; /* bytes sent within a millisecond, of two quanta of the pace and a request,
                         or a first flight of TCP, for each connection */
    unsigned max_conns;
    uint64_t n_overloaded;
};

enum { PATH_TARGETS = 4 };

struct path_loader {
    struct path_target targets[PATH_TARGETS];
    size_t n_targets;
    uint64_t start_ns;
    uint64_t sample_bytes; /* mean */
    int mixed;             /* sizes: from a quarter of it to four times it */
    uint64_t max_bytes;    /* budget of each window */
    double consumer_rate;  /* 0: takes all that comes */
    double consumer_bytes; /* state: may be asked for now */
    uint64_t consumer_ns;
    uint64_t consumer_max_bytes;
    struct path_sim *sim;
};

/* ---- all of it ---- */

struct path_event;

struct path_sim {
    uint64_t now_ns;
    uint64_t bin_ns;      /* of what is recorded; 10 ms unless set before the run */
    uint64_t chunk_bytes; /* most that goes through the queues as one; set before the run */
    /* state */
    uint64_t seed;
    struct path_event *events;
    size_t n_events, events_cap;
    uint32_t n_pushed;
    struct path_chunk *free_chunks;
    struct path_request *free_requests;
    void **memory;
    size_t n_memory, memory_cap;
    uint64_t n_run; /* events */
};

void path_sim_init(struct path_sim *sim, uint64_t seed);
void path_sim_fini(struct path_sim *sim);
/* A chunk size that is small beside the product of rate and round trip, and a segment at least. */
void path_sim_grain(struct path_sim *sim, double rate, uint64_t rtt_ns);

void path_link_init(struct path_link *link, struct path_sim *sim, double rate,
                    uint64_t queue_bytes);
void path_server_init(struct path_server *server, struct path_sim *sim);
void path_loader_init(struct path_loader *loader, struct path_sim *sim, uint64_t sample_bytes);
void path_loader_fini(struct path_loader *loader);
struct path_target *path_loader_add(struct path_loader *loader, struct path_server *server,
                                    struct path_link *link, uint64_t rtt_ns, enum path_cc cc);
void path_loader_start(struct path_loader *loader); /* at start_ns */

void path_sim_run(struct path_sim *sim, uint64_t until_ns);

/* Bytes a second that came in that time. */
double path_rate(const struct path_sim *sim, const struct path_target *t, uint64_t from_ns,
                 uint64_t until_ns);
/* When the rate over `span_ns` was first `rate`; UINT64_MAX: never. */
uint64_t path_reached(const struct path_sim *sim, const struct path_target *t, double rate,
                      uint64_t span_ns);

#endif
