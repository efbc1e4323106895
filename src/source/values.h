/* The table that every store's writing side is: values of samples, one run at a time.
 *
 * put() may return before the value is stored; what goes wrong then comes from a later call, at the
 * latest from commit(), after which all values are durable. One thread at a time. */
#ifndef STN_VALUES_H
#define STN_VALUES_H

#include "base/base.h"

struct stn_value_header {
    uint32_t crc; /* CRC-32C of the bytes */
    uint64_t bytes;
};

struct stn_values;
struct stn_values_ops {
    /* The sample will be looked up by find() soon: a store that is far away asks now. May be NULL.
     */
    void (*expect)(struct stn_values *v, const uint8_t id[16]);
    /* Header of what is stored now, this run's own puts included; ENOTFOUND. */
    int (*find)(struct stn_values *v, const uint8_t id[16], uint8_t field,
                struct stn_value_header *out, struct sterna_error *err);
    /* Stores (or replaces); `data` is the caller's again on return. EIO with ENOSPC in err when a
     * disk is full; EINVAL for a value that the store cannot hold. */
    int (*put)(struct stn_values *v, const uint8_t id[16], uint8_t field, const void *data,
               size_t bytes, uint32_t crc, struct sterna_error *err);
    int (*remove)(struct stn_values *v, const uint8_t id[16], uint8_t field,
                  struct sterna_error *err);
    int (*commit)(struct stn_values *v, struct sterna_error *err); /* durable */
    void (*close)(struct stn_values *v); /* what is not committed may be forgotten */
};

struct stn_values {
    const struct stn_values_ops *ops; /* implementers put this struct first in their own */
};

#endif
