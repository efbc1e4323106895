/* INSERT, UPDATE, DELETE, with or without IF. */
#ifndef CQLMEM_MODIFY_H
#define CQLMEM_MODIFY_H

#include "statement.h"
#include "table.h"

struct modification { /* how it went */
    int conditional;  /* it had an IF: the answer is a row */
    int applied;
    const struct partition *partition; /* of the row that was found, if not applied; or NULL */
    const struct row *row;
};

/* now_us: for statements without a timestamp of their own. */
int modify(struct table *t, const struct statement *s, const struct bound *bound, int64_t now_us,
           struct scratch *scratch, struct modification *out, struct failure *f);

/* Value of the relation `column = term`; 0: there is none. */
int equal_value(const struct statement *s, const struct column *c, const struct bound *bound,
                struct scratch *scratch, struct stn_cql_value *out, struct failure *f);

#endif
