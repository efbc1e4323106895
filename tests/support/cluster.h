/* The CQL server in memory (bench/cqlmem) as a cluster of several nodes. */
#ifndef STN_TEST_CLUSTER_H
#define STN_TEST_CLUSTER_H

#include <sys/types.h>

#include "net/session.h"

struct cluster {
    pid_t pid;
    int stdin_fd; /* it ends when this is closed */
    char names[8][80];
    struct stn_host hosts[8];
    size_t n_hosts;
};

/* Starts the program with n_nodes nodes on ports of their own, and these arguments
 * (NULL-terminated) besides. */
void cluster_start(struct cluster *m, const char *program, size_t n_nodes, const char *const *args);
void cluster_stop(struct cluster *m);

#endif
