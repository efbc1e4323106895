/* What a request is refused with: an ERROR of the protocol, in Cassandra's words. */
#ifndef CQLMEM_FAILURE_H
#define CQLMEM_FAILURE_H

#include <stdint.h>

struct failure {
    uint32_t code; /* enum stn_cql_error_code */
    char message[400];
    char keyspace[64], table[64]; /* already exists */
};

/* Fills it and returns -1. */
__attribute__((format(printf, 3, 4))) int refuse(struct failure *f, uint32_t code,
                                                 const char *format, ...);

#endif
