/* Where each value of a store lies in data.mdb, found with LMDB alone. */
#ifndef BENCH_VALUES_H
#define BENCH_VALUES_H

#include <lmdb.h>

#include "common.h"

struct values {
    MDB_env *env;
    MDB_txn *txn;
    MDB_cursor *cursor;
    int fd;
    size_t page_bytes;
};

struct value {
    const uint8_t *data; /* in the map, header first */
    size_t bytes;        /* with the header */
    off_t offset;        /* of the header in the file */
};

/* Nothing else of this process may have the store open: LMDB allows one environment a file. */
void values_open(struct values *v, const char *store);
void values_find(const struct values *v, const uint8_t id[STERNA_ID_BYTES], uint8_t field,
                 struct value *out); /* touches no page of the value itself, if it has its own */
void values_close(struct values *v);

#endif
