#include "base/base.h"

const char *sterna_strerror(int code) {
    static const struct {
        int code;
        const char *text;
    } rows[] = {
        {STERNA_OK, "done"},
        {STERNA_AGAIN, "nothing ready yet"},
        {STERNA_END, "no more batches"},
        {STERNA_EINVAL, "wrong argument"},
        {STERNA_ENOMEM, "out of memory"},
        {STERNA_EIO, "input or output failed"},
        {STERNA_ENOTFOUND, "not found"},
        {STERNA_EFORMAT, "wrong or newer format"},
        {STERNA_ECORRUPT, "checksum differs"},
        {STERNA_ECONFLICT, "same id, other bytes"},
        {STERNA_EBUDGET, "memory budget exhausted"},
        {STERNA_ETIMEOUT, "timed out"},
        {STERNA_ECANCELED, "cancelled"},
        {STERNA_EUNREACHABLE, "unreachable"},
        {STERNA_EBUSY, "another process is writing"},
        {STERNA_EMISMATCH, "belongs to other data"},
        {STERNA_EQUERY, "wrong query"},
        {STERNA_EFORKED, "opened before a fork"},
        {STERNA_EERRORS, "too many samples failed"},
        {STERNA_EDECODE, "no valid image"},
        {STERNA_EPROTO, "protocol violated"},
        {STERNA_EREADONLY, "store is read-only"},
        {STERNA_EREFUSED, "refused by the server"},
    };
    for (size_t i = 0; i < STN_COUNT(rows); i++)
        if (rows[i].code == code) return rows[i].text;
    return "unknown error";
}

const char *sterna_version(void) { return STERNA_VERSION; }
