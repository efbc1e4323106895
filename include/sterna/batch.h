/* A batch: what a loader hands out, and a lease on the memory it lies in. */
#ifndef STERNA_BATCH_H
#define STERNA_BATCH_H

#include "sterna/selection.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct sterna_batch sterna_batch; /* immutable once handed out; any thread may read it */

struct sterna_batch_info {
    uint64_t epoch;
    uint64_t step;    /* batches of this epoch before it */
    uint32_t n_rows;  /* rows, padding included */
    uint32_t n_valid; /* rows with valid = 1 */
    uint64_t n_bytes; /* of the valid rows' fields */
    int last_in_epoch;
    uint32_t n_fields;
};

/* One field of all rows. Arrays have n_rows entries and live as long as the lease. */
struct sterna_field_view {
    const char *name;
    enum sterna_kind kind;
    const uint8_t *const *data; /* first byte of each row, 64-byte aligned; NULL: null or masked */
    const uint64_t *bytes;      /* length of each row; 0 where data is NULL */
    /* If the rows lie one after another: row i is base[offsets[i]] .. + bytes[i]. Else NULL. */
    const uint8_t *base;
    const uint64_t *offsets;
    uint64_t base_bytes;
};

STERNA_API void sterna_batch_info(const sterna_batch *b, struct sterna_batch_info *out);

/* Index of each row in the selection; its id; 1 or, for padded and masked rows, 0; STERNA_OK or
 * the code that the row's sample failed with (masked and substituted rows). n_rows entries each.
 * A padded row repeats a real one and has valid = 0. */
STERNA_API const uint64_t *sterna_batch_index(const sterna_batch *b);
STERNA_API const uint8_t (*sterna_batch_ids(const sterna_batch *b))[STERNA_ID_BYTES];
STERNA_API const uint8_t *sterna_batch_valid(const sterna_batch *b);
STERNA_API const int *sterna_batch_errors(const sterna_batch *b);

/* Why row `row` has an error: what failed, and where (file, host), in words; "" for a row that has
 * none. Lives as long as the lease. */
STERNA_API const char *sterna_batch_reason(const sterna_batch *b, uint32_t row);

/* Labels (STERNA_LABEL_NONE where there is none). */
STERNA_API const int64_t *sterna_batch_labels(const sterna_batch *b);

/* Field f of 0..n_fields-1, in the order the loader was asked for them. EINVAL past the end. */
STERNA_API int sterna_batch_field(const sterna_batch *b, uint32_t f, struct sterna_field_view *out);

/* Copies field f into one run of `cap` bytes: row i at dst + offsets[i] (multiples of 64). The way
 * to a contiguous form when `base` is NULL; counted in the statistics as copied bytes.
 * EINVAL names the size that is needed in *need (which may be asked for with dst = NULL). */
STERNA_API int sterna_batch_copy(const sterna_batch *b, uint32_t f, uint8_t *dst, uint64_t cap,
                                 uint64_t *offsets, uint64_t *need);

/* The loader's state after this batch: what to save when this batch has been used. Writes at most
 * `cap` bytes and the size to *size; EINVAL (with *size) if cap is too small. */
STERNA_API int sterna_batch_state(const sterna_batch *b, void *buf, size_t cap, size_t *size);

/* One more holder; and one less: with the last one the memory goes back to the loader's pool.
 * Any thread, also after the loader is closed. release sets *b to NULL. A child of the process that
 * read the batch may use and release it; its memory is then a copy, which goes with the child. */
STERNA_API sterna_batch *sterna_batch_retain(sterna_batch *b);
STERNA_API void sterna_batch_release(sterna_batch **b);

#ifdef __cplusplus
}
#endif
#endif
