/* Where a pool's blocks come from, unless the caller has an allocator of his own.
 *
 * Memory is asked of the system in pieces that can be huge pages, which saves a page fault for each
 * 4 KiB that arrives and most misses of the TLB later: large blocks are mappings of their own,
 * those from 32 KiB on are cut from slabs. What is given back leaves the process. One thread at a
 * time. */
#ifndef STN_PAGES_H
#define STN_PAGES_H

#include "base/base.h"

struct stn_slab;

struct stn_pages {
    struct stn_slab *slab; /* the one that blocks are cut from; NULL: none */
    int closing;           /* everything will be given back soon: slabs go as wholes */
};

void *stn_pages_alloc(struct stn_pages *pages, size_t bytes); /* NULL: there is none to be had */
void stn_pages_free(struct stn_pages *pages, void *ptr, size_t bytes);
void stn_pages_fini(struct stn_pages *pages); /* everything was given back */

#endif
