/* What all connections share: the data, the nodes we pretend to be, and the faults to be made. One
 * lock over all of it, taken for one turn of a connection. */
#ifndef CQLMEM_STORE_H
#define CQLMEM_STORE_H

#include <pthread.h>
#include <sys/socket.h>

#include "schema.h"

#define NODES_MAX 32

struct prepared {
    uint8_t id[16];
    const char *keyspace; /* of its table */
    struct statement statement;
    struct prepared *next;
};

enum node_state {
    NODE_UP,
    NODE_HUNG, /* as if stopped by SIGSTOP: nothing is answered, connections stay open */
    NODE_DOWN  /* as if killed: connections are reset, its port is closed */
};

struct node {
    struct sockaddr_storage address;
    socklen_t address_bytes;
    char host[46]; /* its address as text */
    uint16_t port;
    char dc[32], rack[32];
    uint8_t host_id[16];
    struct schema system;       /* its own view: system.local, system.peers ... */
    uint64_t system_generation; /* of the definitions that `system` shows, + 1; 0: not made yet */
    struct prepared *prepared[256]; /* by the id's first byte */
    int listener;
};

enum fault {
    FAULT_OVERLOAD,
    FAULT_DROP,
    FAULT_UNPREPARED,
    FAULT_RST,
    FAULT_CORRUPT,
    FAULT_WRONG_KEY,
    FAULT_LATE,
    FAULT_COUNT
};

struct store {
    pthread_mutex_t lock;
    struct schema schema;
    struct node nodes[NODES_MAX];
    size_t n_nodes;
    unsigned vnodes, rf;
    const char *user, *password; /* NULL: anybody */
    struct value *synthetic;     /* blob of all rows that are not there; NULL: they are not there */
    uint8_t synthetic_crc[4];
    uint64_t every[FAULT_COUNT], seen[FAULT_COUNT]; /* one in so many; 0: never */
    uint64_t requests, errors, rows;
};

int store_fault(struct store *s, enum fault fault); /* is it this one's turn? */
/* Definitions have changed: statements of that table are to be prepared again. */
void store_forget_prepared(struct store *s, const char *keyspace, const char *table);
void store_free(struct store *s);

/* The table, of the system's as this node sees it; `keyspace` NULL: none was told. */
struct table *store_table(struct store *s, struct node *node, const char *keyspace,
                          const char *name, struct failure *f);

/* system.c: makes node->system anew if definitions have changed. */
void system_refresh(struct store *s, struct node *node);

#endif
