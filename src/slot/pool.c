/* Owns the blocks and the budget. Knows nothing of samples, batches or time. */
#include "slot/pool.h"

#include <assert.h>
#include <pthread.h>
#include <unistd.h>

#include "slot/pages.h"

#define CLASSES_PER_DOUBLING 8
#define CLASS_COUNT (64 * CLASSES_PER_DOUBLING)

struct stn_pool {
    pid_t pid; /* of the process that opened it */
    pthread_mutex_t lock;
    uint64_t budget_bytes;
    struct sterna_allocator allocator;
    struct stn_pages pages;              /* the allocator, if the caller has none */
    struct stn_block *kept[CLASS_COUNT]; /* free lists */
    struct stn_pool_stats stats;
    uint64_t n_used; /* blocks with references */
    int closed;
    void (*on_release)(void *ctx);
    void *ctx;
    uint64_t leases;
    atomic_uint_least64_t copied_bytes;
};

static void *alloc_pages(void *pages, size_t bytes, size_t align) {
    (void)align; /* whole pages */
    return stn_pages_alloc(pages, bytes);
}

static void free_pages(void *pages, void *ptr, size_t bytes) { stn_pages_free(pages, ptr, bytes); }

/* Class number of a size, and the size of a class: the top bits after the leading one count. */
static unsigned class_of(uint64_t bytes) {
    if (bytes <= 4096) return 0;
    unsigned top = 63 - (unsigned)__builtin_clzll(bytes - 1); /* 2^top <= bytes - 1 < 2^(top + 1) */
    unsigned step = (unsigned)((bytes - 1 - (UINT64_C(1) << top)) >> (top - 3));
    return (top - 12) * CLASSES_PER_DOUBLING + step + 1;
}

static uint64_t class_bytes(unsigned class) {
    if (class == 0) return 4096;
    unsigned top = (class - 1) / CLASSES_PER_DOUBLING + 12,
             step = (class - 1) % CLASSES_PER_DOUBLING;
    return (UINT64_C(1) << top) + (uint64_t)(step + 1) * (UINT64_C(1) << (top - 3));
}

uint64_t stn_pool_class_bytes(uint64_t bytes) { return class_bytes(class_of(bytes)); }

int stn_pool_open(struct stn_pool **out, uint64_t budget_bytes,
                  const struct sterna_allocator *allocator, void (*on_release)(void *ctx),
                  void *ctx) {
    struct stn_pool *pool = *out = calloc(1, sizeof *pool);
    if (!pool) return STERNA_ENOMEM;
    pthread_mutex_init(&pool->lock, NULL);
    pool->pid = getpid();
    pool->budget_bytes = budget_bytes;
    pool->allocator =
        allocator ? *allocator : (struct sterna_allocator){alloc_pages, free_pages, &pool->pages};
    pool->on_release = on_release;
    pool->ctx = ctx;
    return STERNA_OK;
}

static void destroy_block(struct stn_pool *pool, struct stn_block *block) {
    pool->stats.held_bytes -= block->bytes;
    pool->allocator.free(pool->allocator.ctx, block->data, block->bytes);
    free(block);
}

/* Gives kept blocks back to the system until `bytes` fit, or none is left. */
static void evict(struct stn_pool *pool, uint64_t bytes, uint64_t limit_bytes) {
    for (unsigned class = CLASS_COUNT;
         class -- > 0 && pool->stats.held_bytes + bytes > limit_bytes;) {
        while (pool->kept[class] && pool->stats.held_bytes + bytes > limit_bytes) {
            struct stn_block *block = pool->kept[class];
            pool->kept[class] = block->next;
            destroy_block(pool, block);
        }
    }
}

static void destroy_pool(struct stn_pool *pool) {
    evict(pool, 1, 0);
    stn_pages_fini(&pool->pages);
    pthread_mutex_destroy(&pool->lock);
    free(pool);
}

void stn_pool_close(struct stn_pool **out) {
    struct stn_pool *pool = *out;
    *out = NULL;
    if (!pool) return;
    pthread_mutex_lock(&pool->lock);
    pool->closed = 1;
    pool->on_release = NULL;
    pool->pages.closing = 1;
    evict(pool, 1, 0);
    int last = pool->n_used + pool->leases == 0;
    pthread_mutex_unlock(&pool->lock);
    if (last) destroy_pool(pool);
}

static struct stn_block *new_block(struct stn_pool *pool, uint64_t bytes) {
    struct stn_block *block = calloc(1, sizeof *block);
    if (!block) return NULL;
    block->data = pool->allocator.alloc(pool->allocator.ctx, bytes, STN_ALIGN);
    if (!block->data) {
        free(block);
        return NULL;
    }
    block->bytes = bytes;
    block->pool = pool;
    pool->stats.allocations++;
    pool->stats.held_bytes += bytes;
    pool->stats.held_bytes_max = STN_MAX(pool->stats.held_bytes_max, pool->stats.held_bytes);
    return block;
}

/* A kept block of this class or, as batches differ a little in size, of one of the next two (at
 * most 25 % more): memory that was touched before costs no page faults. Larger ones only while half
 * the budget is free, so that what is said to fit into a small budget does. Taken out of its list.
 */
static struct stn_block *take_kept(struct stn_pool *pool, unsigned class) {
    for (unsigned larger = class; larger <= class + 2 && larger < CLASS_COUNT; larger++) {
        struct stn_block *block = pool->kept[larger];
        if (!block) continue;
        if (larger > class && pool->stats.used_bytes + block->bytes > pool->budget_bytes / 2) break;
        pool->kept[larger] = block->next;
        block->next = NULL;
        return block;
    }
    return NULL;
}

int stn_pool_acquire(struct stn_pool *pool, uint64_t bytes, uint64_t reserve_bytes,
                     struct stn_block **out) {
    unsigned class = class_of(bytes);
    uint64_t size = class_bytes(class);
    struct stn_block *block = NULL;
    pthread_mutex_lock(&pool->lock);
    int fits = pool->stats.used_bytes + size + reserve_bytes <= pool->budget_bytes;
    if (fits) block = take_kept(pool, class);
    if (fits && !block) {
        evict(pool, size, pool->budget_bytes);
        block = new_block(pool, size);
    }
    if (block) {
        atomic_store_explicit(&block->refs, 1, memory_order_relaxed);
        pool->stats.used_bytes += block->bytes;
        pool->n_used++;
    }
    pthread_mutex_unlock(&pool->lock);
    *out = block;
    return block ? STERNA_OK : fits ? STERNA_ENOMEM : STERNA_EBUDGET;
}

int stn_pool_is_inherited(const struct stn_pool *pool) { return pool->pid != getpid(); }

int stn_pool_has_room(struct stn_pool *pool, uint64_t bytes) {
    pthread_mutex_lock(&pool->lock);
    uint64_t used_bytes = pool->stats.used_bytes;
    pthread_mutex_unlock(&pool->lock);
    return used_bytes + bytes <= pool->budget_bytes;
}

struct stn_block *stn_block_around(void *data, uint64_t bytes, void (*release)(void *ctx),
                                   void *ctx) {
    struct stn_block *block = calloc(1, sizeof *block);
    if (!block) return NULL;
    *block = (struct stn_block){.data = data, .bytes = bytes, .release = release, .ctx = ctx};
    atomic_init(&block->refs, 1);
    return block;
}

static void give_back(struct stn_block *block) {
    if (block->release) block->release(block->ctx);
    free(block);
}

void stn_block_retain(struct stn_block *block) {
    atomic_fetch_add_explicit(&block->refs, 1, memory_order_relaxed);
}

void stn_block_release(struct stn_block **out) {
    struct stn_block *block = *out;
    *out = NULL;
    if (!block || atomic_fetch_sub_explicit(&block->refs, 1, memory_order_acq_rel) > 1) return;
    struct stn_pool *pool = block->pool;
    if (!pool) {
        give_back(block);
        return;
    }
    pthread_mutex_lock(&pool->lock);
    pool->stats.used_bytes -= block->bytes;
    pool->n_used--;
    if (pool->closed) {
        destroy_block(pool, block);
    } else {
        unsigned class = class_of(block->bytes);
        block->next = pool->kept[class];
        pool->kept[class] = block;
    }
    int last = pool->closed && pool->n_used + pool->leases == 0;
    /* Under the lock: close() must not return while a callback into its owner runs. */
    if (pool->on_release) pool->on_release(pool->ctx);
    pthread_mutex_unlock(&pool->lock);
    if (last) destroy_pool(pool);
}

void stn_pool_stats(struct stn_pool *pool, struct stn_pool_stats *out) {
    pthread_mutex_lock(&pool->lock);
    *out = pool->stats;
    pthread_mutex_unlock(&pool->lock);
}

void stn_pool_lease(struct stn_pool *pool, int change) {
    pthread_mutex_lock(&pool->lock);
    pool->leases += (uint64_t)change;
    int last = pool->closed && pool->n_used + pool->leases == 0;
    pthread_mutex_unlock(&pool->lock);
    if (last) destroy_pool(pool);
}

uint64_t stn_pool_leases(struct stn_pool *pool) {
    pthread_mutex_lock(&pool->lock);
    uint64_t leases = pool->leases;
    pthread_mutex_unlock(&pool->lock);
    return leases;
}

void stn_pool_count_copy(struct stn_pool *pool, uint64_t bytes) {
    atomic_fetch_add_explicit(&pool->copied_bytes, bytes, memory_order_relaxed);
}

uint64_t stn_pool_copied_bytes(struct stn_pool *pool) {
    return atomic_load_explicit(&pool->copied_bytes, memory_order_relaxed);
}
