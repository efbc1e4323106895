/* Labels and lengths of samples by their ids, for who asks again and again: the catalogue stays
 * open in between, without a lock on its file. Any thread. */
#ifndef STN_LOOKUP_H
#define STN_LOOKUP_H

#include "catalog/catalog.h"

struct stn_lookup;

/* fields: names, in the order of the lengths. Nothing is read yet. The catalogue must outlive it.
 */
int stn_lookup_open(struct stn_lookup **out, struct stn_catalog *c, const char *const *fields,
                    uint32_t n_fields, struct sterna_error *err);
void stn_lookup_close(struct stn_lookup **lookup); /* NULL is fine */

/* Of each of n ids, as last committed: labels[n] (STERNA_LABEL_NONE: none), lengths[n * n_fields],
 * one sample's after the other. A sample that is not listed has no label and unknown lengths. */
int stn_lookup_ids(struct stn_lookup *lookup, const uint8_t (*ids)[16], size_t n, int64_t *labels,
                   uint32_t *lengths, struct sterna_error *err);

#endif
