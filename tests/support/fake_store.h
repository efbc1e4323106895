/* An embedded store behind a table of the test's own: as far away as a test wants it to be. */
#ifndef TEST_FAKE_STORE_H
#define TEST_FAKE_STORE_H

#include "store.h"

#define FAKE_IDS_MAX 4096

struct fake_store {
    struct stn_backend base;
    struct stn_backend_ops ops;
    struct stn_backend *inner;
    struct stn_values_ops values_ops;
    struct stn_catalog *catalog;
    /* what its writing side was asked for, in order; finds of one sample count once */
    uint8_t expected[FAKE_IDS_MAX][16], found[FAKE_IDS_MAX][16];
    size_t n_expected, n_found, most_ahead;
    int n_unexpected; /* finds of samples that were not expected before */
    int n_closed;     /* writing sides */
    /* samples that are listed when asked for */
    int n_lists, list_fails; /* the next list_fails calls fail */
    uint8_t sample[16];      /* the one that list_samples lists */
};

/* Puts `f` between the handle and the store, which must be open for writing; f outlives it. The
 * store is far away: values are expected. lists: its samples are listed when they are asked for. */
void fake_store_wrap(struct fake_store *f, sterna_store *store, int lists);

#endif
