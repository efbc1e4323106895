/* What a user writes as SQL expression over the columns: looked at before SQLite does. */
#ifndef STN_EXPRESSION_H
#define STN_EXPRESSION_H

#include "base/base.h"

/* EQUERY unless `text` is one expression's worth of tokens: put between parentheses, it cannot get
 * out of them. Whether it is a valid one is for SQLite to say. */
int stn_expression_check(const char *text, struct sterna_error *err);

/* `code`, with the start of the expression and what is wrong with it. */
int stn_expression_fail(const char *text, int code, const char *what, struct sterna_error *err);

/* 1 if expressions may call the SQL function of that name: it is deterministic and reads nothing.
 */
int stn_expression_may_call(const char *function);

#endif
