/* Files between being read and being written. A store that is far away needs a round trip to say
 * what it holds of a sample, so it is asked for many samples ahead of the one that is written. */
#ifndef STN_AHEAD_H
#define STN_AHEAD_H

#include "ingest/jobs.h"

#define STN_AHEAD_MAX 256 /* samples asked for */

struct stn_ahead {
    struct stn_jobs *jobs;
    struct stn_values *values;
    struct stn_job_list held; /* read and asked for, in the order of reading */
    size_t n, most;
};

/* `most` is 1 for a store that answers at once. */
void stn_ahead_init(struct stn_ahead *a, struct stn_jobs *jobs, struct stn_values *values);

/* As stn_jobs_result(): the next file to write. Nothing is waited for while one is held: readers
 * may be waiting for its memory. What is held when the ingest stops stays in jobs->all. */
int stn_ahead_next(struct stn_ahead *a, unsigned timeout_ms, struct stn_job **job,
                   struct sterna_error *err);

#endif
