/* A folder, a store, and what an ingest of the one into the other did. */
#ifndef TEST_INGESTED_H
#define TEST_INGESTED_H

#include "sterna/sterna.h"
#include "support/tree.h"

#define REPORTS_MAX 4096

struct ingested {
    struct tree images, home; /* the store is home/store */
    sterna_store *store;
    struct sterna_ingest_options options; /* change them between ingests */
    struct sterna_ingest_result result;
    struct sterna_error err;
    char reports[REPORTS_MAX]; /* "outcome: path: why\n" sorted, of the last ingest */
    int report_stops_at;       /* the k-th report says stop; 0: never */
    int report_kills_at;       /* the k-th report kills the process */
    int n_reports, n_progress;
    int progress_stops_at;
    struct sterna_progress last;
    char text[8192]; /* of the last query */
};

void ingested_open(struct ingested *g);  /* an empty folder, a new store */
void ingested_close(struct ingested *g); /* removes both */
void ingested_reopen(struct ingested *g);

/* A valid picture whose bytes depend on the seed, as JPEG, PNG or WebP by the path's suffix. */
void ingested_picture(const struct ingested *g, const char *path, unsigned seed);

/* sterna_ingest_folder() with g->options; fills result, err and reports. */
int ingested_run(struct ingested *g);

/* Rows as "a|b|c\n" in the order of path; null is "-". columns: separated by spaces. */
const char *ingested_query(struct ingested *g, const char *columns, const char *where);

/* 1 if the field of the sample holds exactly these bytes' sum and length; -1 if it has no value. */
int ingested_holds(const struct ingested *g, const char *path, const char *field, const void *data,
                   size_t bytes);
/* The same against a file of the folder. */
int ingested_holds_file(const struct ingested *g, const char *path, const char *field,
                        const char *file);

#endif
