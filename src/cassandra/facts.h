/* Facts of a data set (the table DS_info), and the making of all its tables. */
#ifndef STN_FACTS_H
#define STN_FACTS_H

#include "cassandra/ask.h"
#include "cassandra/names.h"

/* Asks for them already. */
void stn_facts_ask(struct stn_cassandra *c, struct stn_asked *asked);
/* Reads format version, data set id and names; in mode CREATE makes what is not there before. What
 * is there must fit: ENOTFOUND: no such data set; EFORMAT: a newer version, or tables that are not
 * ours; EMISMATCH: another data set than the options say. */
int stn_facts_open(struct stn_names *names, const struct sterna_store_options *options,
                   struct stn_asked *asked, struct sterna_error *err);

#endif
