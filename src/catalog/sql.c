#include "catalog/sql.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* "file:" URI of a path: only so can SQLite be told `immutable`, and no name is taken for one. */
static char *uri_of(const char *path, int immutable) {
    static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
                                "-._~/";
    size_t bytes = 3 * strlen(path) + 32;
    char *uri = malloc(bytes);
    if (!uri) return NULL;
    size_t used = (size_t)snprintf(uri, bytes, "file:%s", path[0] == '/' ? "//" : "");
    for (const char *p = path; *p; p++)
        used += (size_t)snprintf(uri + used, bytes - used, strchr(plain, *p) ? "%c" : "%%%02X",
                                 (unsigned char)*p);
    snprintf(uri + used, bytes - used, "%s", immutable ? "?immutable=1" : "");
    return uri;
}

/* The schema in the file is not trusted, names in double quotes are names and never text. */
static int configure(const struct stn_sql *s, int busy_ms) {
    static const struct {
        int option, on;
    } rows[] = {
        {SQLITE_DBCONFIG_DEFENSIVE, 1},      {SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0},
        {SQLITE_DBCONFIG_DQS_DML, 0},        {SQLITE_DBCONFIG_DQS_DDL, 0},
        {SQLITE_DBCONFIG_ENABLE_TRIGGER, 0}, {SQLITE_DBCONFIG_ENABLE_VIEW, 0},
    };
    for (size_t i = 0; i < STN_COUNT(rows); i++)
        sqlite3_db_config(s->db, rows[i].option, rows[i].on, NULL);
    sqlite3_extended_result_codes(s->db, 1);
    return sqlite3_busy_timeout(s->db, busy_ms);
}

int stn_sql_open(struct stn_sql *s, const char *path, enum stn_sql_mode mode, int busy_ms,
                 struct sterna_error *err) {
    int flags = SQLITE_OPEN_URI | SQLITE_OPEN_NOMUTEX;
    if (mode == STN_SQL_READ || mode == STN_SQL_IMMUTABLE) flags |= SQLITE_OPEN_READONLY;
    if (mode == STN_SQL_WRITE || mode == STN_SQL_CREATE) flags |= SQLITE_OPEN_READWRITE;
    if (mode == STN_SQL_CREATE) flags |= SQLITE_OPEN_CREATE;
    *s = (struct stn_sql){.path = path};
    char *uri = uri_of(path, mode == STN_SQL_IMMUTABLE);
    if (!uri) return stn_fail_memory(err, path);
    int result = sqlite3_open_v2(uri, &s->db, flags, NULL);
    free(uri);
    if (result == SQLITE_OK) result = configure(s, busy_ms);
    int rc = result == SQLITE_OK ? STERNA_OK : stn_sql_fail(s, result, err);
    if (rc < 0) stn_sql_close(s);
    return rc;
}

void stn_sql_close(struct stn_sql *s) {
    sqlite3_close(s->db);
    s->db = NULL;
}

static int file_of(const struct stn_sql *s, sqlite3_file **file) {
    *file = NULL;
    int result = sqlite3_file_control(s->db, "main", SQLITE_FCNTL_FILE_POINTER, file);
    return result == SQLITE_OK && !(*file && (*file)->pMethods) ? SQLITE_CANTOPEN : result;
}

int stn_sql_read_header(const struct stn_sql *s, void *buf, int bytes, struct sterna_error *err) {
    sqlite3_file *file;
    int result = file_of(s, &file);
    if (result == SQLITE_OK) result = file->pMethods->xRead(file, buf, bytes, 0);
    if (result == SQLITE_OK || result == SQLITE_IOERR_SHORT_READ) return STERNA_OK;
    return stn_sql_fail(s, result, err);
}

int stn_sql_file_bytes(const struct stn_sql *s, uint64_t *bytes, struct sterna_error *err) {
    sqlite3_file *file;
    sqlite3_int64 size = 0;
    int result = file_of(s, &file);
    if (result == SQLITE_OK) result = file->pMethods->xFileSize(file, &size);
    *bytes = (uint64_t)size;
    return result == SQLITE_OK ? STERNA_OK : stn_sql_fail(s, result, err);
}

/* SQLite tries other ways to open a file before it gives up, so errno tells of the last one only:
 * whether the file is there is to be seen. */
static int fail_cannot_open(const struct stn_sql *s, int sys, struct sterna_error *err) {
    if (access(s->path, F_OK) < 0 && (errno == ENOENT || errno == ENOTDIR))
        return stn_fail_sys(err, STERNA_ENOTFOUND, "%s", s->path);
    static const char format[] = "%s: it, or a file beside it (-journal, -wal), cannot be opened";
    errno = sys;
    if (sys && sys != ENOENT) return stn_fail_sys(err, STERNA_EIO, format, s->path);
    return stn_fail(err, STERNA_EIO, format, s->path);
}

/* SQLite takes a page that the disk does not give for a damaged one; the file knows better. */
static int fail_damaged(const struct stn_sql *s, const char *why, struct sterna_error *err) {
    int sys = 0;
    if (s->db) sqlite3_file_control(s->db, "main", SQLITE_FCNTL_LAST_ERRNO, &sys);
    errno = sys;
    if (sys == EIO || sys == ENXIO || sys == ERANGE)
        return stn_fail_sys(err, STERNA_EIO, "%s: cannot be read", s->path);
    return stn_fail(err, STERNA_EFORMAT, "%s: damaged, cut short or no catalogue (SQLite: %s)",
                    s->path, why);
}

int stn_sql_fail(const struct stn_sql *s, int result, struct sterna_error *err) {
    int known = s->db && (sqlite3_errcode(s->db) & 0xFF) == (result & 0xFF);
    const char *why = known ? sqlite3_errmsg(s->db) : sqlite3_errstr(result);
    int sys = known ? sqlite3_system_errno(s->db) : 0;
    switch (result & 0xFF) {
    case SQLITE_NOMEM:
        return stn_fail_memory(err, s->path);
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        return fail_damaged(s, why, err);
    case SQLITE_ERROR: /* of our own statements: the tables are not those we make */
        return stn_fail(err, STERNA_EFORMAT, "%s: not the tables of a catalogue (SQLite: %s)",
                        s->path, why);
    case SQLITE_FULL:
        errno = ENOSPC;
        return stn_fail_sys(err, STERNA_EIO, "%s: disk full", s->path);
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
    case SQLITE_PROTOCOL: /* the same, met while a -wal file is taken over */
        return stn_fail(err, STERNA_EBUSY, "%s: another process is writing to it", s->path);
    case SQLITE_READONLY:
    case SQLITE_PERM:
        return stn_fail(err, STERNA_EREADONLY, "%s: cannot be written by this user (SQLite: %s)",
                        s->path, why);
    case SQLITE_CANTOPEN:
        return fail_cannot_open(s, sys, err);
    case SQLITE_TOOBIG:
        return stn_fail(err, STERNA_EINVAL, "%s: a value is too long (SQLite: %s)", s->path, why);
    default:
        break;
    }
    errno = sys;
    if (sys) return stn_fail_sys(err, STERNA_EIO, "%s: %s", s->path, why);
    return stn_fail(err, STERNA_EIO, "%s: %s", s->path, why);
}

int stn_sql_exec(const struct stn_sql *s, const char *text, struct sterna_error *err) {
    int result = sqlite3_exec(s->db, text, NULL, NULL, NULL);
    return result == SQLITE_OK ? STERNA_OK : stn_sql_fail(s, result, err);
}

int stn_sql_try_again(uint64_t *began_ns, unsigned limit_ms, struct sterna_error *err) {
    uint64_t now = stn_now(stn_clock_monotonic());
    if (*began_ns == 0) *began_ns = now;
    if (err->code != STERNA_EBUSY || now - *began_ns >= limit_ms * STN_NS_PER_MS) return 0;
    const struct timespec pause = {.tv_nsec = 5 * 1000 * 1000};
    nanosleep(&pause, NULL);
    stn_error_clear(err);
    return 1;
}

int stn_sql_prepare(const struct stn_sql *s, sqlite3_stmt **out, const char *text,
                    struct sterna_error *err) {
    int result = sqlite3_prepare_v3(s->db, text, -1, SQLITE_PREPARE_PERSISTENT, out, NULL);
    return result == SQLITE_OK ? STERNA_OK : stn_sql_fail(s, result, err);
}

int stn_sql_prepare_take(const struct stn_sql *s, sqlite3_stmt **out, char *text,
                         struct sterna_error *err) {
    *out = NULL;
    int rc = text ? stn_sql_prepare(s, out, text, err) : stn_fail_memory(err, s->path);
    sqlite3_free(text);
    return rc;
}

int stn_sql_step(const struct stn_sql *s, sqlite3_stmt *statement, struct sterna_error *err) {
    int result = sqlite3_step(statement);
    if (result == SQLITE_ROW) return 1;
    int rc = result == SQLITE_DONE ? 0 : stn_sql_fail(s, result, err);
    sqlite3_reset(statement);
    return rc;
}

int stn_sql_run(const struct stn_sql *s, sqlite3_stmt *statement, struct sterna_error *err) {
    int rc = stn_sql_step(s, statement, err);
    if (rc > 0) sqlite3_reset(statement);
    return rc < 0 ? rc : STERNA_OK;
}

static int bind_bytes(sqlite3_stmt *statement, int i, const char *text, size_t bytes) {
    int plain = stn_is_utf8(text, bytes) && !(bytes && memchr(text, '\0', bytes));
    return plain ? sqlite3_bind_text64(statement, i, text, bytes, SQLITE_STATIC, SQLITE_UTF8)
                 : sqlite3_bind_blob64(statement, i, text, bytes, SQLITE_STATIC);
}

int stn_sql_bind(sqlite3_stmt *statement, int i, const struct sterna_value *value) {
    switch (value->type) {
    case STERNA_INT:
        return sqlite3_bind_int64(statement, i, value->i);
    case STERNA_REAL:
        return sqlite3_bind_double(statement, i, value->r);
    case STERNA_TEXT:
        return bind_bytes(statement, i, value->text ? value->text : "", value->text_bytes);
    case STERNA_NULL:
        break;
    }
    return sqlite3_bind_null(statement, i);
}

int stn_sql_bind_text(sqlite3_stmt *statement, int i, const char *text) {
    return bind_bytes(statement, i, text, strlen(text));
}

int stn_sql_value(sqlite3_stmt *statement, int i, struct sterna_value *out) {
    int type = sqlite3_column_type(statement, i);
    *out = (struct sterna_value){.type = STERNA_NULL};
    if (type == SQLITE_INTEGER) {
        out->type = STERNA_INT;
        out->i = sqlite3_column_int64(statement, i);
    } else if (type == SQLITE_FLOAT) {
        out->type = STERNA_REAL;
        out->r = sqlite3_column_double(statement, i);
    } else if (type != SQLITE_NULL) {
        const void *bytes = type == SQLITE_TEXT ? (const void *)sqlite3_column_text(statement, i)
                                                : sqlite3_column_blob(statement, i);
        out->type = STERNA_TEXT;
        out->text_bytes = (size_t)sqlite3_column_bytes(statement, i);
        out->text = bytes ? bytes : "";
        if (!bytes && (type == SQLITE_TEXT || out->text_bytes > 0)) return STERNA_ENOMEM;
    }
    return STERNA_OK;
}

const char *stn_sql_text(sqlite3_stmt *statement, int i) {
    const unsigned char *text = sqlite3_column_text(statement, i);
    return text ? (const char *)text : "";
}
