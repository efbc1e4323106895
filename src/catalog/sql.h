/* One SQLite connection: opened with our settings, its results as our codes, values both ways.
 *
 * It knows SQLite and nothing of samples. A connection is used by one thread at a time. */
#ifndef STN_SQL_H
#define STN_SQL_H

#include <sqlite3.h>

#include "base/base.h"
#include "sterna/selection.h"

struct stn_sql {
    sqlite3 *db;
    const char *path; /* of the file, for messages; borrowed */
};

enum stn_sql_mode {
    STN_SQL_READ,
    STN_SQL_IMMUTABLE, /* no locks: for a file that nobody can change */
    STN_SQL_WRITE,
    STN_SQL_CREATE
};

/* *s is empty after a failure. ENOTFOUND, EIO, ENOMEM. Nothing is read from the file yet. */
int stn_sql_open(struct stn_sql *s, const char *path, enum stn_sql_mode mode, int busy_ms,
                 struct sterna_error *err);
void stn_sql_close(struct stn_sql *s); /* safe twice */

/* First `bytes` bytes of the file, by SQLite's own descriptor: opening and closing another one
 * would drop this process's locks on the file. Short files: the rest is zero. */
int stn_sql_read_header(const struct stn_sql *s, void *buf, int bytes, struct sterna_error *err);
int stn_sql_file_bytes(const struct stn_sql *s, uint64_t *bytes, struct sterna_error *err);

/* Our code for SQLite's `result`, and a message that names file and reason. */
int stn_sql_fail(const struct stn_sql *s, int result, struct sterna_error *err);

int stn_sql_exec(const struct stn_sql *s, const char *text, struct sterna_error *err);
/* A pause before another try while `err` says EBUSY, unless it is `limit_ms` since *began_ns (0 at
 * first): SQLite's own waiting ends at once where it sees that two could wait for each other.
 * 1: try again, and err is empty. */
int stn_sql_try_again(uint64_t *began_ns, unsigned limit_ms, struct sterna_error *err);
int stn_sql_prepare(const struct stn_sql *s, sqlite3_stmt **out, const char *text,
                    struct sterna_error *err);
/* Takes `text` (from sqlite3_str_finish() and the like; NULL: out of memory) and frees it. */
int stn_sql_prepare_take(const struct stn_sql *s, sqlite3_stmt **out, char *text,
                         struct sterna_error *err);

/* 1: a row; 0: no more (and reset); negative: failed (and reset). */
int stn_sql_step(const struct stn_sql *s, sqlite3_stmt *statement, struct sterna_error *err);
/* Runs a statement that gives no rows, and resets it. */
int stn_sql_run(const struct stn_sql *s, sqlite3_stmt *statement, struct sterna_error *err);

/* Text that is no UTF-8 or holds NUL is kept as a blob; both come back as text of the same bytes.
 * Bound values are borrowed until the next bind or finalize. */
int stn_sql_bind(sqlite3_stmt *statement, int i, const struct sterna_value *value);
int stn_sql_bind_text(sqlite3_stmt *statement, int i, const char *text);
/* Valid until the next step. ENOMEM. */
int stn_sql_value(sqlite3_stmt *statement, int i, struct sterna_value *out);

/* Like sqlite3_column_text, but never NULL: "" for NULL and without memory. */
const char *stn_sql_text(sqlite3_stmt *statement, int i);

#endif
