/* Is a file what its field's kind says? Looked at, never decoded or changed. */
#ifndef STN_CONTENT_H
#define STN_CONTENT_H

#include "base/base.h"
#include "sterna/store.h"

struct sqlite3;
struct sqlite3_stmt;

/* Zero it first. One thread at a time. */
struct stn_content {
    struct sqlite3 *db; /* opened by the first JSON */
    struct sqlite3_stmt *json;
};

/* OK, ENOMEM, or EDECODE with the reason in `why`, a phrase that follows a file's name. */
int stn_content_check(struct stn_content *c, enum sterna_kind kind, const void *data, size_t bytes,
                      char *why, size_t why_bytes);
void stn_content_fini(struct stn_content *c); /* safe twice */

#endif
