/* What a cluster has stored of samples, as far as it was asked: lengths and checksums of all their
 * fields. Rows are asked for ahead, many at once, and kept for a while. One thread asks; answers
 * come on the session's loop thread. */
#ifndef STN_CQL_KNOWN_H
#define STN_CQL_KNOWN_H

#include <pthread.h>

#include "cassandra/cassandra.h"
#include "source/values.h"

#define STN_KNOWN_FIELDS_MAX 32

struct stn_known_row { /* one sample */
    struct stn_query_call call;
    struct stn_cql_known *known;
    uint8_t id[16];
    struct stn_cql_value key;
    struct stn_known_row *same_hash, *older, *newer;
    unsigned pins; /* under the lock: writes under way that it alone knows of */
    /* under the lock while it is asked for, else the asking thread's */
    int asked; /* on its way */
    int code;  /* of the last answer */
    char why[200];
    uint32_t n_asked;             /* fields of the last question, the first ones of the list */
    uint32_t is_known, is_stored; /* bits, by place in the list of fields */
    struct stn_value_header headers[STN_KNOWN_FIELDS_MAX];
};

struct stn_cql_known {
    struct stn_cassandra *c;
    /* the asking thread's */
    struct stn_statement *statement;
    struct stn_cassandra_field fields[STN_KNOWN_FIELDS_MAX];
    uint32_t n_fields;
    struct stn_known_row **buckets, *oldest, *newest;
    size_t n_rows;
    /* any thread */
    pthread_mutex_t lock;
    pthread_cond_t answered;
};

int stn_cql_known_init(struct stn_cql_known *k, struct stn_cassandra *c, struct sterna_error *err);
void stn_cql_known_fini(struct stn_cql_known *k); /* safe twice */

/* Asks for the row, unless it is known or asked for. What goes wrong is told by find(). */
void stn_cql_known_expect(struct stn_cql_known *k, const uint8_t id[16]);
/* The row with that field known; waits for it. *place: of the field in k->fields. The row is good
 * until the next call that asks. EINVAL: there is no such field. */
int stn_cql_known_find(struct stn_cql_known *k, const uint8_t id[16], uint8_t field,
                       struct stn_known_row **row, uint32_t *place, struct sterna_error *err);
/* This is what will be stored (NULL: nothing); the row is kept until unpinned, on any thread. */
void stn_cql_known_set(struct stn_known_row *row, uint32_t place,
                       const struct stn_value_header *header);
void stn_cql_known_unpin(struct stn_known_row *row);

#endif
