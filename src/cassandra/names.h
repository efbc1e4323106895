/* The shared names of a data set, as this process knows them, and claims of new ones: the row
 * `names` of DS_info is replaced on the condition that it is what was read, so that of several
 * ingests that declare names at once each sees the others', and no label is given twice. */
#ifndef STN_NAMES_H
#define STN_NAMES_H

#include "cassandra/cassandra.h"
#include "cassandra/dictionary.h"
#include "catalog/catalog.h"

struct stn_names {
    struct stn_shared_names base; /* what a catalogue with a run of ours is given */
    struct stn_cassandra *c;
    pthread_mutex_t lock;        /* guards what follows */
    struct stn_dictionary known; /* only grows */
    char *text;                  /* as it was read, for the condition */
    size_t text_bytes;
};
int stn_names_init(struct stn_names *n, struct stn_cassandra *c);
void stn_names_fini(struct stn_names *n); /* safe twice */

/* Takes over what the row says; c->fields, too. EFORMAT, ENOMEM. */
int stn_names_learn(struct stn_names *n, const char *text, size_t bytes, struct sterna_error *err);
/* Reads the row anew. */
int stn_names_refresh(struct stn_names *n, struct sterna_error *err);

/* Answers a catalogue out of a dictionary, asking nobody: for runs that others have committed. */
struct stn_names_known {
    struct stn_shared_names base;
    const struct stn_dictionary *dictionary;
};
void stn_names_known_init(struct stn_names_known *k, const struct stn_dictionary *dictionary);
/* Declares all of it in the run that is open. */
int stn_names_declare(struct stn_catalog *catalog, const struct stn_dictionary *dictionary,
                      struct sterna_error *err);

#endif
