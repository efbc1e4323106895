/* What tests reach of an embedded store, past its table. */
#ifndef STN_EMBEDDED_H
#define STN_EMBEDDED_H

#include "source/lmdb.h"
#include "sterna/store.h"

struct stn_lmdb *stn_embedded_lmdb(const sterna_store *store); /* the store's own reference */

#endif
