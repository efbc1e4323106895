#include "slot/pages.h"

#include <sys/mman.h>

#define PAGE_BYTES ((size_t)4096)
#define HUGE_PAGE_BYTES ((size_t)2 << 20)
#define SLAB_BYTES ((size_t)16 << 20) /* a slab stands at a multiple of it */
#define CUT_BYTES_MIN ((size_t)32 << 10)

struct stn_slab { /* in its first page */
    size_t used_bytes;
    size_t n_blocks; /* that were not given back */
};

static void *map(size_t bytes) {
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return p == MAP_FAILED ? NULL : p;
}

static void want_huge_pages(void *at, size_t bytes) {
    (void)madvise(at, bytes, MADV_HUGEPAGE); /* refusing it costs only speed */
}

/* Twice as much is mapped, so that an aligned piece is in it. */
static struct stn_slab *map_slab(void) {
    uint8_t *p = map(2 * SLAB_BYTES);
    if (!p) return NULL;
    size_t before = (SLAB_BYTES - ((uintptr_t)p & (SLAB_BYTES - 1))) & (SLAB_BYTES - 1);
    if (before) munmap(p, before);
    munmap(p + before + SLAB_BYTES, SLAB_BYTES - before);
    want_huge_pages(p + before, SLAB_BYTES);
    struct stn_slab *slab = (struct stn_slab *)(void *)(p + before);
    *slab = (struct stn_slab){.used_bytes = PAGE_BYTES};
    return slab;
}

static void drop_if_empty(struct stn_slab *slab) {
    if (slab && slab->n_blocks == 0) munmap(slab, SLAB_BYTES);
}

static void *cut(struct stn_pages *pages, size_t bytes) {
    struct stn_slab *slab = pages->slab;
    bytes = (bytes + PAGE_BYTES - 1) & ~(PAGE_BYTES - 1);
    if (!slab || SLAB_BYTES - slab->used_bytes < bytes) {
        if (!(slab = map_slab())) return NULL;
        drop_if_empty(pages->slab);
        pages->slab = slab;
    }
    void *p = (uint8_t *)slab + slab->used_bytes;
    slab->used_bytes += bytes;
    slab->n_blocks++;
    return p;
}

void *stn_pages_alloc(struct stn_pages *pages, size_t bytes) {
    void *p = NULL;
    if (bytes < CUT_BYTES_MIN) return posix_memalign(&p, PAGE_BYTES, bytes) == 0 ? p : NULL;
    if (bytes < HUGE_PAGE_BYTES) return cut(pages, bytes);
    if ((p = map(bytes))) want_huge_pages(p, bytes);
    return p;
}

/* The place of a block is not used again, its memory is the system's at once; the slab follows with
 * its last block. */
static void give_back(struct stn_pages *pages, void *ptr, size_t bytes) {
    struct stn_slab *slab = (struct stn_slab *)((uintptr_t)ptr & ~(uintptr_t)(SLAB_BYTES - 1));
    if (--slab->n_blocks == 0 && slab != pages->slab)
        munmap(slab, SLAB_BYTES);
    else if (!pages->closing)
        (void)madvise(ptr, bytes, MADV_DONTNEED);
}

void stn_pages_free(struct stn_pages *pages, void *ptr, size_t bytes) {
    if (bytes < CUT_BYTES_MIN)
        free(ptr);
    else if (bytes < HUGE_PAGE_BYTES)
        give_back(pages, ptr, bytes);
    else
        munmap(ptr, bytes);
}

void stn_pages_fini(struct stn_pages *pages) {
    drop_if_empty(pages->slab);
    pages->slab = NULL;
}
