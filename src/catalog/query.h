/* A statement over the samples of a snapshot: a user's expression in a fence.
 *
 * Expressions and column names see one table, `sample`, of the samples of runs <= as_of_run, where
 * `id` is text and `path` is text whatever bytes it has. Columns for our own use, which no user
 * column can be called like: */
#ifndef STN_QUERY_H
#define STN_QUERY_H

#include "catalog/snapshot.h"

#define STN_QUERY_ID "id.raw"   /* 16 bytes */
#define STN_QUERY_ROW "row.raw" /* rowid: 1, 2, ... */

#define STN_QUERY_LIMIT_MS 60000

struct stn_query_spec {
    const char *where; /* NULL: all. Only this one is fenced and limited in time */
    const char *const *columns;
    size_t n_columns;
    uint64_t as_of_run;
    unsigned time_limit_ms; /* 0: STN_QUERY_LIMIT_MS */
    int by_id;              /* one sample at a time: stn_query_seek() */
};

struct stn_query {
    const struct stn_sql *sql;
    sqlite3_stmt *statement;
    const char *where;
    unsigned limit_ms;
    uint64_t used_ns, began_ns; /* in SQLite only: the consumer may take its time */
    int timed_out;
};

/* The snapshot must not move or be closed before the query. EQUERY, ENOMEM. */
int stn_query_open(struct stn_query *q, const struct stn_snapshot *s,
                   const struct stn_query_spec *spec, struct sterna_error *err);
void stn_query_close(struct stn_query *q); /* safe twice */

/* 1: a row in q->statement; 0: no more. EQUERY (at run time), ETIMEOUT. */
int stn_query_step(struct stn_query *q, struct sterna_error *err);
/* The next step gives this sample. `id` is borrowed until then. */
void stn_query_seek(struct stn_query *q, const uint8_t id[16]);

/* Run that "as of" means: 0 is the newest. EINVAL if it is not there yet. */
int stn_query_as_of(const struct stn_snapshot *s, uint64_t wanted, uint64_t *run,
                    struct sterna_error *err);

/* ENOTFOUND: no such sample. */
int stn_query_fail_unknown(const struct stn_query *q, const uint8_t id[16], uint64_t as_of_run,
                           struct sterna_error *err);

/* EINVAL naming the column, unless there is one of that name. */
int stn_query_check_column(const struct stn_snapshot *s, const char *name,
                           struct sterna_error *err);

/* EINVAL unless an option struct has the size this library knows. */
int stn_query_check_options(size_t struct_size, size_t size, const char *name,
                            struct sterna_error *err);

#endif
