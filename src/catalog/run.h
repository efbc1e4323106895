/* What a run being written holds: shared by run.c (begin, declare, commit) and row.c (samples). */
#ifndef STN_RUN_H
#define STN_RUN_H

#include "catalog/handle.h"

struct stn_run {
    struct stn_sql sql;
    struct stn_schema schema; /* as the run sees it, its own declarations included */
    char *source;
    uint64_t number, n_added, n_changed;
    size_t *hints; /* column of each cell of the last row: the next row's is most likely the same */
    size_t hints_cap;
    sqlite3_stmt *insert, *find, *has, *class_find, *class_add;
    sqlite3_stmt *update; /* for the columns in `updates` */
    size_t *updates, n_updates, updates_cap;
    int update_moves; /* sets `run` too */
};

/* EINVAL without a run, EIO if it was rolled back by a failure. The run's mutex is held. */
int stn_run_check(const struct stn_catalog *c, struct sterna_error *err);

#endif
