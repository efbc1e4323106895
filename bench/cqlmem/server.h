/* Listeners of all nodes, and threads that serve their connections in turn. */
#ifndef CQLMEM_SERVER_H
#define CQLMEM_SERVER_H

#include "store.h"

struct server;
struct server_options {
    unsigned threads;
    uint64_t delay_ms;
    uint64_t late_ms;       /* of the requests that FAULT_LATE chooses */
    const char *congestion; /* TCP_CONGESTION; NULL: the system's */
};

/* Binds and listens on the addresses of all nodes; port 0 becomes the one that was chosen. */
void server_listen(struct store *store, const struct server_options *options);
struct server *server_start(struct store *store, const struct server_options *options);
/* Returns when all threads have acted on it; clients that asked for it are told of UP and DOWN. */
void server_set_node(struct server *server, size_t node, enum node_state state);
void server_stop(struct server *server); /* all connections are closed */

#endif
