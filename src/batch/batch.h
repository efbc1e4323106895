/* What is behind a sterna_batch handle: rows, where their bytes lie, and the memory they hold. */
#ifndef STN_BATCH_H
#define STN_BATCH_H

#include <stdatomic.h>

#include "slot/pool.h"
#include "sterna/batch.h"

struct stn_schema { /* the fields a loader reads; shared by its batches, which may outlive it */
    atomic_uint refs;
    uint32_t n_fields;
    uint8_t numbers[32];
    enum sterna_kind kinds[32];
    char names[32][64];
};
struct stn_schema *stn_schema_new(void); /* without fields; NULL without memory */
/* Adds the field of that name, *at of the store's fields. ENOTFOUND; EINVAL: it is there twice. */
int stn_schema_choose(struct stn_schema *schema, const struct sterna_field *fields,
                      uint32_t n_fields, const char *name, uint32_t *at, struct sterna_error *err);
struct stn_schema *stn_schema_retain(struct stn_schema *schema);
void stn_schema_release(struct stn_schema **schema);

struct stn_extent {      /* where one field of one sample lies */
    const uint8_t *data; /* NULL: null */
    uint64_t bytes;
    struct stn_block *own; /* memory of its own, or NULL: in the batch's block */
};

struct stn_column { /* one field of all rows */
    const uint8_t **data;
    uint64_t *bytes, *offsets;
    uint8_t *start; /* of the run that the rows were laid out in, or NULL */
    uint64_t run_bytes;
    int one_run; /* all rows lie there */
};

struct stn_item; /* the loader's */

struct sterna_batch {
    atomic_uint refs;
    struct stn_pool *pool;
    struct stn_schema *schema;
    struct sterna_batch_info info;
    uint64_t *index;
    uint8_t (*ids)[STERNA_ID_BYTES];
    uint8_t *valid;
    int *errors;
    char **reasons; /* why, in words, malloc'ed like the array; NULL: none, or no memory for them */
    int64_t *labels;
    struct stn_column *columns; /* n_fields */
    struct stn_block *block;    /* all rows one after another, or NULL */
    struct stn_block **owns;    /* row * n_fields + field: memory of single rows */
    uint8_t *state;
    size_t state_bytes;

    int leased; /* the consumer has it, and the pool counts it */

    /* loader, until it is handed out */
    struct stn_item *items;      /* strict: its rows on their way */
    uint32_t n_items, n_settled; /* samples asked for, and those landed or given up */
    uint64_t ahead_bytes;        /* what it counts for in the loader's look-ahead */
    int code;                    /* why it cannot be handed out */
    char *message;
    struct sterna_batch *next;
};

/* A batch of n_rows empty rows; NULL without memory. */
sterna_batch *stn_batch_new(struct stn_pool *pool, struct stn_schema *schema, uint32_t n_rows);

/* Lays the rows' fields out one after another (all rows of field 0, then of field 1 ...), every row
 * at a multiple of 64: sets columns[].offsets and run_bytes from columns[].bytes, returns the sum.
 */
uint64_t stn_batch_layout(sterna_batch *b);
/* Gives it the block (taken over) that it was laid out for. */
void stn_batch_take_block(sterna_batch *b, struct stn_block **block);

/* From now on the consumer holds it, and the pool lives as long as it does. */
void stn_batch_lease(sterna_batch *b);

/* Row i holds this sample now; the extents' own blocks are taken over. */
void stn_batch_set_row(sterna_batch *b, uint32_t row, struct stn_extent *extents);
/* Row i has nothing, and why; the words (may be NULL) are taken over. */
void stn_batch_fail_row(sterna_batch *b, uint32_t row, int code, char **why);
/* Row `to` shows what row `from` shows (padding, substitution). */
void stn_batch_repeat_row(sterna_batch *b, uint32_t to, uint32_t from);

#endif
