/* Runs of a data set in a cluster: a run's rows are written under a key that nobody knows yet, and
 * then the run gets the next number, on the condition that nobody else got it: from that moment on
 * it is there, whole, for everybody and under the same number. */
#ifndef STN_RUNS_H
#define STN_RUNS_H

#include "cassandra/ask.h"
#include "catalog/catalog.h"

#define STN_RUN_PART_ROWS 5000

struct stn_run_row { /* of DS_run */
    uint64_t number, n_samples;
    uint8_t run[16];
    uint32_t n_parts;
    int64_t finished_s;
    char *source;
};

/* Publishes what the run that is open in `catalog` has added or changed. *number: 0 if that is
 * nothing. After a failure the run may yet be there only if the message says so. */
int stn_run_publish(struct stn_cassandra *c, struct stn_catalog *catalog, const char *source,
                    int64_t timestamp_us, uint64_t *number, struct sterna_error *err);

/* Asks for the list already. */
void stn_runs_ask(struct stn_cassandra *c, struct stn_asked *asked);
/* All runs with a number of at least `from`, by number; *out is malloc'ed. `asked` (may be NULL) is
 * taken if it has them all. */
int stn_runs_list(struct stn_cassandra *c, uint64_t from, struct stn_asked *asked,
                  struct stn_run_row **out, size_t *n, struct sterna_error *err);
void stn_runs_free(struct stn_run_row **runs, size_t n);

/* A time-based UUID of now (RFC 9562, version 1), of a random node. */
int stn_uuid1(uint8_t out[16], struct sterna_error *err);

#endif
