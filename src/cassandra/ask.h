/* One statement at once, waited for: for facts, names and runs, of which there are few. */
#ifndef STN_ASK_H
#define STN_ASK_H

#include "cassandra/cassandra.h"

enum stn_ask_how {
    STN_ASK_READ,     /* sees all that was acknowledged; not prepared: it is asked once */
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
/* A STN_ASK_READ without values, in two steps: what is asked while the session is being opened goes
 * out with the session's own questions. The first page only. Takes `text`. */
struct stn_asked {
    struct stn_question question;
    char *text; /* NULL: not asked, or its answer was taken */
};
void stn_ask_ahead(struct stn_cassandra *c, struct stn_asked *asked, char *text, int32_t page_rows);
int stn_ask_answer(struct stn_asked *asked, struct stn_rows *rows, struct sterna_error *err);
void stn_ask_drop(struct stn_asked *asked); /* safe twice */

/* 1 if the condition of a STN_ASK_IF held. */
int stn_ask_applied(const struct stn_rows *rows);

/* Before another try of a conditional write: longer each time, and never the same twice. */
void stn_ask_pause(unsigned attempt);

#endif
