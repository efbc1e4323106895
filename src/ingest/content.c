/* SQLite judges JSON: it is linked already, and its verdict is the one queries will meet. */
#include "ingest/content.h"

#include <sqlite3.h>
#include <stdio.h>
#include <string.h>

#include "base/bytes.h"
#include "ingest/image_header.h"

static int check_text(const void *data, size_t bytes) { return stn_is_utf8(data, bytes); }

static int prepare_json(struct stn_content *c) {
    if (c->json) return SQLITE_OK;
    int rc = c->db ? SQLITE_OK : sqlite3_open(":memory:", &c->db);
    return rc ? rc : sqlite3_prepare_v2(c->db, "SELECT json_valid(?1)", -1, &c->json, NULL);
}

/* 1 valid, 0 not, or ENOMEM. */
static int check_json(struct stn_content *c, const void *data, size_t bytes) {
    if (!stn_is_utf8(data, bytes) || (bytes > 0 && memchr(data, 0, bytes))) return 0;
    int valid = 0, rc = prepare_json(c);
    if (rc == SQLITE_OK)
        rc = sqlite3_bind_text64(c->json, 1, bytes ? data : "", bytes, SQLITE_STATIC, SQLITE_UTF8);
    if (rc == SQLITE_OK) rc = sqlite3_step(c->json);
    if (rc == SQLITE_ROW) valid = sqlite3_column_int(c->json, 0);
    if (c->json) {
        sqlite3_reset(c->json);
        sqlite3_clear_bindings(c->json);
    }
    return rc == SQLITE_NOMEM ? STERNA_ENOMEM : valid; /* too big for SQLite: not valid either */
}

/* Magic, version, and a header that is a Python dict and fits into the file. */
static int check_npy(const void *data, size_t bytes) {
    struct stn_cursor c = stn_cursor(data, bytes);
    const uint8_t *magic = stn_get_bytes(&c, 6);
    unsigned major = stn_get_u8(&c);
    stn_get_u8(&c);
    size_t header_bytes = (size_t)stn_get_le(&c, major == 1 ? 2 : 4);
    const uint8_t *header = stn_get_bytes(&c, header_bytes);
    return !c.overrun && memcmp(magic, "\x93NUMPY", 6) == 0 && major >= 1 && major <= 3 &&
           header_bytes > 0 && header[0] == '{';
}

int stn_content_check(struct stn_content *c, enum sterna_kind kind, const void *data, size_t bytes,
                      char *why, size_t why_bytes) {
    struct stn_image_header header;
    const char *reason = NULL;
    int ok = 1;
    switch (kind) {
    case STERNA_KIND_BYTES:
        return STERNA_OK;
    case STERNA_KIND_IMAGE:
    case STERNA_KIND_MASK:
        return stn_image_header_read(data, bytes, &header, why, why_bytes);
    case STERNA_KIND_TEXT:
        ok = check_text(data, bytes);
        reason = "is not UTF-8 text";
        break;
    case STERNA_KIND_JSON:
        ok = check_json(c, data, bytes);
        reason = "is not valid JSON";
        break;
    case STERNA_KIND_NPY:
        ok = check_npy(data, bytes);
        reason = "is not a NumPy file";
        break;
    }
    if (ok < 0) return ok;
    if (ok) return STERNA_OK;
    snprintf(why, why_bytes, "%s", reason);
    return STERNA_EDECODE;
}

void stn_content_fini(struct stn_content *c) {
    sqlite3_finalize(c->json);
    sqlite3_close(c->db);
    *c = (struct stn_content){0};
}
