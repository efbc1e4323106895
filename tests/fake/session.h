/* A session without a network: statements run on tables in memory, on a loop thread of its own, one
 * call after the other. A test edits answers before they are given, holds them back, and counts. It
 * takes the place of the real one (and of the fields' list) in a program that is linked with it. */
#ifndef STN_TEST_FAKE_SESSION_H
#define STN_TEST_FAKE_SESSION_H

#include "cassandra/cassandra.h"

struct fake_cell {
    char column[72];
    int64_t timestamp_us;
    int32_t bytes; /* or STN_CQL_NULL */
    uint8_t *data;
};

struct fake_row {
    char table[72];
    uint8_t key[128];
    size_t key_bytes;
    struct fake_cell cells[16];
    size_t n_cells;
    int deleted;
    int64_t deleted_us;
    struct fake_row *next;
};

struct fake_answer { /* as it is about to be given; the test may change it */
    const char *text;
    const struct stn_query_call *call;
    uint64_t number; /* of calls with this text, from 1; tries count */
    int code;        /* negative: done() with it */
    const char *why;
    const struct stn_cql_failure *failure; /* the server's, if it is one */
    int found;                             /* SELECT: there is a row */
    struct stn_cql_value values[80];       /* columns of the SELECT */
    size_t n_values;
    uint8_t *memory[80];   /* of the values, to be changed in place */
    uint32_t broken_bytes; /* > 0: after so many bytes of the first blob the connection is lost, and
                              the call is answered once more */
};

struct fake {
    struct stn_session *session;
    /* Edits answers, on the loop thread. May be NULL. */
    void (*edit)(struct fake *f, struct fake_answer *a);
    void *ctx;
};

void fake_open(struct fake *f);
void fake_close(struct fake *f);
/* While it is paused, calls wait. */
void fake_pause(struct fake *f, int paused);
void fake_wait_idle(struct fake *f); /* until no call waits or runs */
/* Calls that wait now. */
size_t fake_waiting(struct fake *f);
/* The most that ever waited at once, by their weights. */
uint64_t fake_waiting_bytes_max(struct fake *f);
/* Tries of statements whose text begins so, since open. */
uint64_t fake_count(struct fake *f, const char *text);
/* A row of a table by its key: values of the key's columns one after another. NULL: there is none.
 * The session must be idle. */
struct fake_row *fake_find(struct fake *f, const char *table, const void *key, size_t bytes);
const struct fake_cell *fake_cell(struct fake_row *row, const char *column); /* NULL: null */

/* A data set with the tables t_data and t_chunk and n fields named image, mask, f2, f3 ... */
void fake_dataset(struct fake *f, struct stn_cassandra *c, uint32_t n_fields);

#endif
