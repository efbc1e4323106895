/* What is behind a catalogue handle: shared by the files that open, list and write it. */
#ifndef STN_HANDLE_H
#define STN_HANDLE_H

#include <pthread.h>

#include "catalog/snapshot.h"

struct stn_run;

struct stn_catalog {
    char *path; /* absolute, so that the working directory may change */
    enum stn_catalog_mode mode;
    uint8_t dataset_id[16];
    /* Held while a run begins, which may wait for readers: never wait for it with a snapshot. */
    pthread_mutex_t run_mutex;
    struct stn_run *run;            /* being written, or NULL */
    struct stn_shared_names *names; /* who numbers fields and classes; NULL: this catalogue */
    int lengths_unknown;            /* see catalog.h */
    pthread_mutex_t fields_mutex;
    struct sterna_field *fields;
    size_t n_fields, fields_cap;
};

int stn_catalog_snapshot(struct stn_catalog *c, struct stn_snapshot *out, struct sterna_error *err);

/* Takes over fields that the list does not have yet. */
int stn_catalog_learn(struct stn_catalog *c, const struct stn_schema *schema,
                      struct sterna_error *err);

#endif
