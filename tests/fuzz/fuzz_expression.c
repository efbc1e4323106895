/* SQL expressions of users: what the fence lets through is one expression to SQLite, or none. */
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "catalog/expression.h"
#include "fuzz/fuzz.h"

/* SQLite sees no second statement behind "SELECT (...)", and nothing but a SELECT in front. */
static int deny(void *ctx, int action, const char *a, const char *b, const char *c, const char *d) {
    (void)ctx, (void)b, (void)c, (void)d;
    claim(action == SQLITE_SELECT || action == SQLITE_FUNCTION || action == SQLITE_RECURSIVE ||
          action == SQLITE_READ);
    (void)a;
    return SQLITE_DENY;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static sqlite3 *db;
    struct sterna_error err = {0};
    char *text = strndup((const char *)data, STN_MIN(size, (size_t)2000)), *sql;
    if (!text || (!db && sqlite3_open(":memory:", &db) != SQLITE_OK)) abort();
    int rc = stn_expression_check(text, &err);
    claim(rc == STERNA_OK || (rc == STERNA_EQUERY && err.message[0]));
    if (rc == STERNA_OK) {
        const char *tail = NULL;
        sqlite3_stmt *statement = NULL;
        sqlite3_set_authorizer(db, deny, NULL);
        sql = sqlite3_mprintf("SELECT 1 WHERE (%s\n)", text);
        if (!sql) abort();
        if (sqlite3_prepare_v2(db, sql, -1, &statement, &tail) == SQLITE_OK) claim(tail[0] == '\0');
        sqlite3_finalize(statement);
        sqlite3_free(sql);
    }
    free(text);
    return 0;
}
