/* Preloaded into a program (LD_PRELOAD), counts its calls of malloc and its kin, and writes how
 * many they were into the file ALLOCATIONS when it ends. */
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

extern void *__libc_malloc(size_t bytes);
extern void *__libc_calloc(size_t n, size_t bytes);
extern void *__libc_realloc(void *at, size_t bytes);
extern void *__libc_memalign(size_t align, size_t bytes);

static atomic_ullong n_allocations;

static void count(void) { atomic_fetch_add_explicit(&n_allocations, 1, memory_order_relaxed); }

void *malloc(size_t bytes) {
    count();
    return __libc_malloc(bytes);
}

void *calloc(size_t n, size_t bytes) {
    count();
    return __libc_calloc(n, bytes);
}

void *realloc(void *at, size_t bytes) {
    count();
    return __libc_realloc(at, bytes);
}

int posix_memalign(void **out, size_t align, size_t bytes) {
    count();
    *out = __libc_memalign(align, bytes);
    return *out ? 0 : ENOMEM;
}

__attribute__((destructor)) static void tell(void) {
    const char *path = getenv("ALLOCATIONS");
    FILE *file = path ? fopen(path, "w") : NULL;
    if (!file) return;
    fprintf(file, "%llu\n", (unsigned long long)atomic_load(&n_allocations));
    fclose(file);
}
