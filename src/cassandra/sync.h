/* The local catalogue of a data set in a cluster, brought up to date: the runs that it does not
 * hold are fetched, partitions at the same time, page by page, and applied in their order, each in
 * one transaction. Nothing is scanned. Who reads an older state meanwhile is not disturbed. */
#ifndef STN_SYNC_H
#define STN_SYNC_H

#include "cassandra/ask.h"
#include "cassandra/names.h"

/* DIR/catalog.sqlite; made if it is not there, made anew if it is damaged or has other runs than
 * the cluster. One process at a time, by DIR/lock. A run with fewer rows than it says is EFORMAT.
 * `runs`: the list that was asked for already, or NULL. */
int stn_sync(struct stn_names *names, const char *dir, struct stn_asked *runs,
             struct sterna_error *err);

#endif
