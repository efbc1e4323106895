#include "support/lender.h"

#include <sys/mman.h>

#include "support/check.h"

static void take_back(void *loan) {
    struct loan *of = loan;
    atomic_fetch_add(&of->n_released, 1);
    madvise(of->data, of->bytes, MADV_DONTNEED);
    mprotect(of->data, of->bytes, PROT_NONE);
    atomic_fetch_add(&of->of->n_back, 1);
}

int lender_give(struct lender *l, sterna_loader *loader, size_t bytes) {
    struct sterna_error err;
    assert_true(l->n < LENDER_MAX);
    struct loan *loan = &l->loans[l->n];
    *loan = (struct loan){.of = l, .bytes = bytes};
    loan->data = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(loan->data != MAP_FAILED);
    int rc = sterna_loader_give_buffer(loader, loan->data, bytes, take_back, loan, &err);
    if (rc == STERNA_OK)
        l->n++;
    else
        munmap(loan->data, bytes);
    return rc;
}

size_t lender_find(const struct lender *l, const void *data) {
    for (size_t i = 0; i < l->n; i++) {
        const struct loan *loan = &l->loans[i];
        int inside = (uintptr_t)data - (uintptr_t)loan->data < loan->bytes;
        if (inside && atomic_load(&loan->n_released) == 0) return i;
    }
    return SIZE_MAX;
}

void lender_fini(struct lender *l) {
    for (size_t i = 0; i < l->n; i++) {
        int n_released = atomic_load(&l->loans[i].n_released);
        if (n_released != 1)
            fail_msg("buffer %zu of %zu was released %d times", i, l->n, n_released);
        munmap(l->loans[i].data, l->loans[i].bytes);
    }
    l->n = 0;
}
