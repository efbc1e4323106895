/* The pool: all memory that batches lie in, under one byte budget.
 *
 * A block is one piece of memory with a reference count. Its size is rounded up to a size class
 * (eight a power of two: at most 12.5 % more), so that blocks given back serve again; blocks that
 * nobody uses are kept until the budget needs their bytes for another size. In use and kept
 * together never exceed the budget. The pool lives until its last block and lease are gone,
 * also after it was closed. Any thread. */
#ifndef STN_POOL_H
#define STN_POOL_H

#include <stdatomic.h>

#include "base/base.h"
#include "sterna/loader.h"

#define STN_ALIGN 64 /* every field of every sample starts at a multiple of this */

static inline uint64_t stn_align_up(uint64_t bytes) {
    return (bytes + STN_ALIGN - 1) & ~(uint64_t)(STN_ALIGN - 1);
}

struct stn_pool;

struct stn_block {
    uint8_t *data;         /* 64-byte aligned */
    uint64_t bytes;        /* of its size class */
    struct stn_pool *pool; /* NULL: somebody else's memory */
    atomic_uint refs;
    struct stn_block *next;     /* pool: in its free list */
    void (*release)(void *ctx); /* somebody else's: gives it back to him; or NULL */
    void *ctx;
};

struct stn_pool_stats {
    uint64_t held_bytes, held_bytes_max; /* in use and kept */
    uint64_t used_bytes;
    uint64_t allocations; /* calls to the allocator */
};

/* on_release (may be NULL) is called after memory came back, on the releasing thread, until close.
 */
int stn_pool_open(struct stn_pool **out, uint64_t budget_bytes,
                  const struct sterna_allocator *allocator, void (*on_release)(void *ctx),
                  void *ctx);
void stn_pool_close(struct stn_pool **pool);
/* 1 in a child of the process that opened it: the memory is there, but its lock may be held by a
 * thread that is not. */
int stn_pool_is_inherited(const struct stn_pool *pool);

/* Rounds up to what a block of `bytes` takes from the budget. */
uint64_t stn_pool_class_bytes(uint64_t bytes);

/* A block of at least `bytes` in *out, leaving `reserve_bytes` of the budget to others. EBUDGET: no
 * room now; ENOMEM: the system has none. Then *out is NULL. */
int stn_pool_acquire(struct stn_pool *pool, uint64_t bytes, uint64_t reserve_bytes,
                     struct stn_block **out);
/* 1 if blocks of whole size classes, `bytes` in all, would find room now. */
int stn_pool_has_room(struct stn_pool *pool, uint64_t bytes);
/* A block that is memory of somebody else's, of which no pool and no budget knows: with its last
 * reference it is given back, on the thread that lets go. NULL without memory. */
struct stn_block *stn_block_around(void *data, uint64_t bytes, void (*release)(void *ctx),
                                   void *ctx);

void stn_block_retain(struct stn_block *block);
void stn_block_release(struct stn_block **block); /* NULL is fine; sets it to NULL */

void stn_pool_stats(struct stn_pool *pool, struct stn_pool_stats *out);

/* Batches that the consumer holds (change is 1 or -1): a leased pool lives on after close. */
void stn_pool_lease(struct stn_pool *pool, int change);
uint64_t stn_pool_leases(struct stn_pool *pool);
void stn_pool_count_copy(struct stn_pool *pool, uint64_t bytes);
uint64_t stn_pool_copied_bytes(struct stn_pool *pool);

#endif
