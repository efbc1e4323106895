/* Result codes and the error record that every fallible call can fill.
 *
 * A function that can fail returns one of these codes. 0 is success, positive codes are no errors
 * ("not yet", "no more"), negative codes are failures. The optional last argument `err` (may be
 * NULL) receives the first message: what went wrong, where (file, id, host) and what to do. */
#ifndef STERNA_ERROR_H
#define STERNA_ERROR_H

#include "sterna/version.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    STERNA_OK = 0,
    STERNA_AGAIN = 1, /* nothing ready yet: the time limit passed */
    STERNA_END = 2,   /* no more batches */

    STERNA_EINVAL = -1,        /* an argument is wrong, or two contradict each other */
    STERNA_ENOMEM = -2,        /* the system has no memory left */
    STERNA_EIO = -3,           /* a read or write failed; sys_errno says why */
    STERNA_ENOTFOUND = -4,     /* no such store, selection, sample or field */
    STERNA_EFORMAT = -5,       /* not ours, truncated, or written by a newer version */
    STERNA_ECORRUPT = -6,      /* bytes differ from their checksum */
    STERNA_ECONFLICT = -7,     /* same id, other bytes */
    STERNA_EBUDGET = -8,       /* the memory budget is too small, or the consumer holds all of it */
    STERNA_ETIMEOUT = -9,      /* no answer in time, or a query took too long */
    STERNA_ECANCELED = -10,    /* sterna_loader_cancel() or a progress callback said stop */
    STERNA_EUNREACHABLE = -11, /* no server answers */
    STERNA_EBUSY = -12,        /* another process is writing */
    STERNA_EMISMATCH = -13,    /* state or selection of another data set, plan or rank */
    STERNA_EQUERY = -14,       /* the SQL is wrong or not allowed */
    STERNA_EFORKED = -15,      /* handle used in a child of the process that opened it */
    STERNA_EERRORS = -16,      /* more samples failed than max_errors allows */
    STERNA_EDECODE = -17,      /* bytes are intact but no valid image */
    STERNA_EPROTO = -18,       /* the other side answered something it must not */
    STERNA_EREADONLY = -19,    /* the store cannot be written by this user */
    STERNA_EREFUSED = -20      /* the server refused us: credentials, certificate, rights */
};

#define STERNA_MESSAGE_BYTES 512

/* Owned by the caller; filled only when a call fails. `message` is always terminated. */
struct sterna_error {
    int code;      /* one of the codes above */
    int sys_errno; /* errno of the system call that failed, or 0 */
    char message[STERNA_MESSAGE_BYTES];
};

/* A constant English phrase for `code`, never NULL. Any thread. */
STERNA_API const char *sterna_strerror(int code);

#ifdef __cplusplus
}
#endif
#endif
