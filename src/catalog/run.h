/* What a run being written holds: shared by run.c (begin, declare, commit) and row.c (samples). */
#ifndef STN_RUN_H
#define STN_RUN_H

#include "catalog/handle.h"

struct stn_run {
    struct stn_sql sql;
    struct stn_schema schema; /* as the run sees it, its own declarations included */
    char *source;
    uint64_t number, n_added, n_changed;
    int is_given;       /* the run was committed elsewhere: its number and time are not ours */
    int64_t finished_s; /* of a given one */
    /* With shared names, the samples of the run can be told: those above this row id were added,
     * those in the temporary table `touched` were changed. */
    int64_t first_rowid; /* -1: it is not noted which */
    size_t *hints; /* column of each cell of the last row: the next row's is most likely the same */
    size_t hints_cap;
    sqlite3_stmt *insert, *find, *has, *class_find, *class_add, *touch;
    sqlite3_stmt *update; /* for the columns in `updates` */
    size_t *updates, n_updates, updates_cap;
    int update_moves; /* sets `run` too */
};

/* EINVAL without a run, EIO if it was rolled back by a failure. The run's mutex is held. */
int stn_run_check(const struct stn_catalog *c, struct sterna_error *err);

/* run_rows.c: notes from now on which samples the run changes; and that it has changed this one. */
int stn_run_note_rows(struct stn_run *run, struct sterna_error *err);
int stn_run_touch(struct stn_run *run, const uint8_t id[16], struct sterna_error *err);

#endif
