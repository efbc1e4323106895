/* Tables of other tools, read through the mapping that the URL says. All that is known of them
 * comes from PREPARE: nothing is asked of system_schema, and nothing is written. */
#ifndef STN_FOREIGN_H
#define STN_FOREIGN_H

#include "cassandra/cassandra.h"

/* Names the tables, and asks for their types already: stn_foreign_open() takes the answer. */
int stn_foreign_ask(struct stn_cassandra *c, struct sterna_error *err);
/* Finds types, fills c's columns, fields and data set id (the same for the same cluster and
 * mapping). EINVAL: columns of types that cannot be what the mapping says; ENOTFOUND: no such
 * table. */
int stn_foreign_open(struct stn_cassandra *c, struct sterna_error *err);

/* DIR/catalog.sqlite, with the fields and no run, if there is none that can be used. */
int stn_foreign_catalog(struct stn_cassandra *c, const char *dir, struct sterna_error *err);

/* Lists all samples in DIR/catalog.sqlite as a new run, in place of those it had: scans the table
 * `meta` of the mapping, or ids and labels of the data's. `again` 0: only if there is no list yet.
 */
int stn_foreign_list(struct stn_cassandra *c, const char *dir, int again, struct sterna_error *err);

#endif
