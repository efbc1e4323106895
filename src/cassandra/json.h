/* The little JSON that lies in text columns of a data set's tables: objects and arrays of strings
 * and numbers, written and read so that every value comes back with its type and all its bits:
 *
 *   integer   digits without a point       real   17 digits, with a point or an exponent; 9e999:
 * infinity text      a string; bytes that JSON cannot hold (no UTF-8, or NUL): {"bytes":"HEX"}
 *
 * Any JSON reader can read it. Knows no table. */
#ifndef STN_JSON_H
#define STN_JSON_H

#include "base/base.h"
#include "sterna/selection.h"

struct stn_json_out { /* empty: zeros */
    char *text;       /* not terminated */
    size_t bytes, cap;
    int failed; /* no memory: what is there is not whole */
};
void stn_json_put(struct stn_json_out *o, const char *plain); /* as it is */
void stn_json_put_bytes(struct stn_json_out *o, const void *data, size_t bytes);
void stn_json_put_text(struct stn_json_out *o, const char *text, size_t bytes);
void stn_json_put_value(struct stn_json_out *o, const struct sterna_value *v);
void stn_json_out_fini(struct stn_json_out *o); /* safe twice */

/* Reads in place: strings are decoded where they lie, and end with a NUL. */
struct stn_json_in {
    char *at, *end; /* of the caller's copy; *end is '\0' */
};
/* 1 if `c` is the next character but white space, and takes it. */
int stn_json_take(struct stn_json_in *in, char c);
/* Each: 1, or 0: something else stands there. */
int stn_json_get_text(struct stn_json_in *in, char **text, size_t *bytes);
int stn_json_get_value(struct stn_json_in *in, struct sterna_value *v);
int stn_json_skip(struct stn_json_in *in); /* a value of any kind */
int stn_json_at_end(struct stn_json_in *in);

#endif
