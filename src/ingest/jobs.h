/* Files on their way from the walk over the readers to the writer. A job is owned by one thread at
 * a time and handed over whole; there is a fixed number of them, so a walk waits for the readers,
 * and readers for the writer. */
#ifndef STN_JOBS_H
#define STN_JOBS_H

#include <pthread.h>

#include "ingest/buffers.h"
#include "ingest/image_header.h"
#include "ingest/ingest.h"
#include "ingest/layout.h"
#include "ingest/metadata.h"

struct stn_job {
    struct stn_job *next; /* in its list */

    /* the walk */
    char *path; /* as in the catalogue: [prefix/]relative path */
    size_t path_cap;
    struct stn_place place; /* of the relative path, which lies in `path` */

    /* a reader */
    enum sterna_outcome outcome; /* ADDED: ready to be written */
    int is_sample;               /* 0: passed over after all, and counted nowhere */
    char why[STN_WHY_BYTES];
    uint8_t id[16];
    struct stn_image_header header;
    struct stn_buffer buffer; /* all its files, one after another */
    struct stn_item_blob blobs[STN_FIELDS_OF_STORE];
    size_t n_blobs;
    struct stn_metadata_row row;
    int has_row;
    struct stn_cell *cells;
    size_t n_cells, n_lasting;
    uint64_t bytes_read;
};

struct stn_job_list {
    struct stn_job *first, *last;
};
void stn_job_push(struct stn_job_list *list, struct stn_job *job); /* at its end */
struct stn_job *stn_job_pop(struct stn_job_list *list);            /* the first, or NULL */

struct stn_jobs {
    struct stn_job *all;
    size_t n;
    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t a_free, a_todo, a_done;
    struct stn_job_list free, todo, done;
    int walk_ended, stopped;
    unsigned n_readers;        /* still running */
    struct sterna_error error; /* first failure of a thread; code 0: none */
};

/* n_cells: room in each job's row. ENOMEM. */
int stn_jobs_init(struct stn_jobs *q, size_t n, size_t n_cells, unsigned n_readers);
void stn_jobs_fini(struct stn_jobs *q); /* threads must be gone; safe twice */

/* The walk: a free job, or NULL after stn_jobs_stop(). */
struct stn_job *stn_jobs_take(struct stn_jobs *q);
void stn_jobs_todo(struct stn_jobs *q, struct stn_job *job);
void stn_jobs_walk_ended(struct stn_jobs *q);

/* A reader: the next file, or NULL when there are no more. Then it says so by reader_ended. */
struct stn_job *stn_jobs_next(struct stn_jobs *q);
void stn_jobs_done(struct stn_jobs *q, struct stn_job *job);
void stn_jobs_reader_ended(struct stn_jobs *q);

/* The writer: a read file: OK; AGAIN after timeout_ms (0: at once); END when all are through; or
 * the failure of a thread. */
int stn_jobs_result(struct stn_jobs *q, unsigned timeout_ms, struct stn_job **job,
                    struct sterna_error *err);
void stn_jobs_free(struct stn_jobs *q, struct stn_job *job);

/* Any thread: ends all waiting; `why` (may be NULL) is what the writer gets. */
void stn_jobs_stop(struct stn_jobs *q, const struct sterna_error *why);

#endif
