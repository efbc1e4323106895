/* Texts of statements, put together: names of columns are quoted, so that any name will do. */
#ifndef STN_CQL_TEXT_H
#define STN_CQL_TEXT_H

#include <stdio.h>

#include "base/base.h"

struct stn_cql_text { /* grows as it is written to; what fails shows at the end */
    FILE *out;
    char *data;
    size_t bytes;
};
int stn_cql_text_open(struct stn_cql_text *t, struct sterna_error *err); /* ENOMEM */
__attribute__((format(printf, 2, 3))) void stn_cql_text_add(struct stn_cql_text *t,
                                                            const char *format, ...);
void stn_cql_text_name(struct stn_cql_text *t, const char *column);
/* Ends it. The text, malloc'ed, or NULL without memory. */
char *stn_cql_text_take(struct stn_cql_text *t, struct sterna_error *err);

#endif
