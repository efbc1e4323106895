/* Rows of many partitions or ranges, fetched at the same time and handed out page by page. */
#ifndef STN_FETCH_H
#define STN_FETCH_H

#include "net/session.h"

#define STN_FETCH_VALUES_MAX 4

struct stn_fetch_item { /* what one fetcher asks for, to its last page */
    struct stn_cql_value values[STN_FETCH_VALUES_MAX];
    size_t n_values;
    int has_near; /* see struct stn_query_call */
    int64_t near;
    uint8_t memory[64]; /* for the values to point to; it does not move */
};

struct stn_fetch_options {
    struct stn_session *session;
    struct stn_statement *statement;
    uint16_t consistency;
    int32_t page_rows; /* halved for an item whose page takes too long */
    unsigned at_once;  /* items */
    size_t n_items;    /* taken in order: item i only after all before it */
    void (*item)(void *ctx, size_t i, struct stn_fetch_item *out);
    void *ctx;
    const char *what; /* for messages: "URL: table" */
};

struct stn_fetch;
int stn_fetch_open(struct stn_fetch **out, const struct stn_fetch_options *options,
                   struct sterna_error *err);
/* The next page of any item below `below`; *rows is valid until the next call. *is_last: the item
 * is through. END: nothing is left of them. Blocks. */
int stn_fetch_next(struct stn_fetch *f, size_t below, size_t *item, struct stn_rows *rows,
                   int *is_last, struct sterna_error *err);
void stn_fetch_close(struct stn_fetch **f); /* what is on its way is called off; NULL is fine */

#endif
