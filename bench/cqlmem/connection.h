/* One client: its frames in, its answers out. A worker owns it. */
#ifndef CQLMEM_CONNECTION_H
#define CQLMEM_CONNECTION_H

#include "output.h"
#include "store.h"

enum connection_stage { STAGE_NEW, STAGE_AUTHENTICATE, STAGE_READY };

struct arrival { /* with --delay-ms: bytes up to `end` count from `due_ns` on */
    uint64_t end, due_ns;
};

struct late { /* a request that is answered when it is due */
    uint64_t due_ns;
    uint8_t *frame;
};

struct connection {
    int kind; /* SOURCE_CONNECTION, for the worker's epoll */
    int fd;
    struct store *store;
    struct node *node;
    enum connection_stage stage;
    char *keyspace; /* of USE; NULL: none */
    /* bytes that came and are not taken: in[from, to) */
    uint8_t *in;
    size_t from, to, cap;
    uint64_t taken_bytes; /* before in[from] */
    size_t skip_bytes;    /* of a request that is too long */
    uint64_t delay_ns;
    struct arrival *arrivals;
    size_t n_arrivals, arrivals_cap;
    uint64_t late_ns;  /* of the requests that FAULT_LATE chooses */
    struct late *late; /* in order */
    size_t n_late, late_cap;
    uint64_t due_bytes; /* of all that came, so many may be taken */
    struct output out;
    struct stn_cql_value *values; /* of a request */
    size_t values_cap;
    int ends, resets;               /* when all is sent: close, reset */
    int wants_status;               /* it has registered for STATUS_CHANGE */
    uint32_t armed;                 /* epoll's interest */
    int is_held;                    /* of a node that hangs: not in epoll */
    struct connection *next, *prev; /* of the worker */
};

struct connection *connection_new(int fd, struct store *store, struct node *node, uint64_t delay_ns,
                                  uint64_t late_ns);
void connection_free(struct connection *c);

/* Reads, answers, sends, until the socket has no more or takes no more. The epoll events to wait
 * for, or 0: it is over. */
uint32_t connection_turn(struct connection *c, uint64_t now_ns);
/* When something that is here already is due; UINT64_MAX: none are. */
uint64_t connection_due_ns(const struct connection *c);

/* frames.c: answers one request into c->out. Under the store's lock. -1: close after sending. */
int frame_answer(struct connection *c, const uint8_t head[STN_CQL_HEADER_BYTES],
                 struct stn_cursor body);
/* Unasked: a node went up or down. */
void frame_status(struct connection *c, const struct node *node, int is_up);
/* The ERROR for a request that is longer than Cassandra takes. */
void frame_too_long(struct connection *c, const uint8_t head[STN_CQL_HEADER_BYTES],
                    uint32_t body_bytes);

#endif
