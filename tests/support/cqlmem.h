/* A CQL server in memory, in a process of its own, for one test. */
#ifndef TEST_CQLMEM_H
#define TEST_CQLMEM_H

#include <sys/types.h>

struct cqlmem {
    pid_t pid;
    int stdin_fd;     /* it ends with this */
    char address[64]; /* host:port of its (first) node */
};

/* The program that the environment's CQLMEM names. 0: there is none, and the test must be skipped.
 */
int cqlmem_open(struct cqlmem *m, const char *const *options); /* NULL at the end; or NULL */
void cqlmem_close(struct cqlmem *m);                           /* safe twice */

#endif
