/* One statement at once, waited for: for facts, names and runs, of which there are few. */
#ifndef STN_ASK_H
#define STN_ASK_H

#include "cassandra/cassandra.h"

enum stn_ask_how {
    STN_ASK_READ,     /* sees all that was acknowledged */
    STN_ASK_SERIAL,   /* and ends what a writer that died has begun */
    STN_ASK_IF,       /* a write on a condition */
    STN_ASK_STATEMENT /* no values, not prepared: DDL, and questions that may well fail */
};

/* *rows (may be NULL) is empty after a failure. Takes `text` (NULL: out of memory) and frees it.
 * ENOTFOUND: no such table. */
int stn_ask(struct stn_cassandra *c, enum stn_ask_how how, char *text,
            const struct stn_cql_value *values, size_t n_values, struct stn_rows *rows,
            struct sterna_error *err);
/* The same, page after page, each given to `each`. */
int stn_ask_all(struct stn_cassandra *c, enum stn_ask_how how, char *text,
                const struct stn_cql_value *values, size_t n_values,
                int (*each)(void *ctx, const struct stn_rows *rows), void *ctx,
                struct sterna_error *err);
/* 1 if the condition of a STN_ASK_IF held. */
int stn_ask_applied(const struct stn_rows *rows);

/* Before another try of a conditional write: longer each time, and never the same twice. */
void stn_ask_pause(unsigned attempt);

#endif
