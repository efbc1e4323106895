/* Lends a loader buffers, each a mapping of its own: once it was given back, whoever touches it is
 * killed. Used from one thread, or, with threads of the loader's own, from any. */
#ifndef TEST_LENDER_H
#define TEST_LENDER_H

#include <stdatomic.h>

#include "sterna/loader.h"

#define LENDER_MAX 4096

struct loan {
    struct lender *of;
    uint8_t *data;
    size_t bytes;
    atomic_int n_released;
};

struct lender { /* {0} at first */
    struct loan loans[LENDER_MAX];
    size_t n;
    atomic_size_t n_back;
};

/* sterna_loader_give_buffer() of a new buffer. */
int lender_give(struct lender *l, sterna_loader *loader, size_t bytes);
/* Number of the buffer that `data` lies in; SIZE_MAX: none of those that are lent now. */
size_t lender_find(const struct lender *l, const void *data);
void lender_fini(struct lender *l); /* fails the test unless each was given back once */

#endif
