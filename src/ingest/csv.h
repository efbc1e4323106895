/* CSV records (RFC 4180), read in pieces: quotes, doubled quotes, commas and line ends inside
 * quotes, CRLF or LF, a UTF-8 byte order mark. Knows nothing of columns. */
#ifndef STN_CSV_H
#define STN_CSV_H

#include <stdio.h>

#include "base/base.h"

struct stn_csv {
    FILE *file;
    const char *path; /* borrowed, for messages */
    uint64_t line;    /* where the last record began, from 1 */
    char **fields;    /* of the last record: UTF-8, each NUL-terminated */
    size_t n_fields, fields_cap;
    char *text; /* the record's bytes: fields one after another, so that it is one packed value */
    size_t text_bytes, text_cap;
    uint64_t next_line; /* internal */
};

/* ENOTFOUND, EIO. */
int stn_csv_open(struct stn_csv *csv, const char *path, struct sterna_error *err);
/* The next record; empty lines are passed over. OK, END, or EINVAL naming file and line. */
int stn_csv_next(struct stn_csv *csv, struct sterna_error *err);
void stn_csv_close(struct stn_csv *csv); /* safe twice */

#endif
