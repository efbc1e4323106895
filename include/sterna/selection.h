/* Selections: ordered lists of sample ids chosen by SQL over the catalogue, and SQL itself.
 *
 * A selection is one immutable file, mapped into memory: ids, the length of each field, labels and
 * chosen columns. Loaders take lengths and labels from here, never from SQLite. */
#ifndef STERNA_SELECTION_H
#define STERNA_SELECTION_H

#include "sterna/store.h"

#ifdef __cplusplus
extern "C" {
#endif

#define STERNA_HASH_BYTES 32 /* SHA-256 over the ids in order */
#define STERNA_LABEL_NONE INT64_MIN
#define STERNA_LENGTH_NULL UINT32_MAX          /* the sample has no such field */
#define STERNA_LENGTH_UNKNOWN (UINT32_MAX - 1) /* known only when it arrives */

typedef struct sterna_selection sterna_selection; /* immutable, reference-counted, any thread */

enum sterna_type { STERNA_NULL = 0, STERNA_INT = 1, STERNA_REAL = 2, STERNA_TEXT = 3 };

struct sterna_value { /* borrowed; valid during the callback or as long as its owner */
    enum sterna_type type;
    int64_t i;
    double r;
    const char *text; /* text_bytes bytes, may hold NUL or non-UTF-8 */
    size_t text_bytes;
};

struct sterna_select_options {
    size_t struct_size;
    /* At most one of the next five; none means all samples. */
    const char *where;                     /* SQL expression over the columns */
    const char *name;                      /* a selection saved in the store */
    const char *file;                      /* a selection file */
    const char *ids_file;                  /* text, one UUID a line, '#' comments */
    const uint8_t (*ids)[STERNA_ID_BYTES]; /* n_ids ids */
    size_t n_ids;
    uint64_t as_of_run;         /* 0: newest; else samples of runs <= this */
    const char *const *columns; /* columns to carry along besides label */
    size_t n_columns;
    unsigned time_limit_ms; /* of the query; 0: 60 s */
};

struct sterna_selection_info {
    uint8_t dataset_id[STERNA_ID_BYTES];
    uint8_t hash[STERNA_HASH_BYTES];
    uint64_t n;         /* samples */
    uint64_t n_bytes;   /* sum of known lengths */
    uint64_t run;       /* "as of" */
    uint32_t max_bytes; /* longest sample, all its fields together */
    uint32_t n_fields, n_columns;
    const char *where; /* "" if not made by SQL; owned by the selection */
};

/* Makes or opens a selection. Samples stand in the order of path, then id; with ids or ids_file in
 * the given order (an unknown id is ENOTFOUND, a repeated one EINVAL). Of tables of another tool
 * whose samples have not been listed yet, ids alone make a selection: taken as they are, with
 * unknown lengths, without labels. Returns OK, EQUERY, ETIMEOUT, ENOTFOUND, EFORMAT, EMISMATCH (of
 * another data set), EINVAL, EIO.
 */
STERNA_API int sterna_select(sterna_selection **out, sterna_store *store,
                             const struct sterna_select_options *options, struct sterna_error *err);

/* Writes it to `path` (replaced atomically), or into the store under a name
 * ([A-Za-z0-9_.-], not starting with a dot or dash). */
STERNA_API int sterna_selection_save(sterna_selection *s, const char *path,
                                     struct sterna_error *err);
STERNA_API int sterna_selection_save_as(sterna_selection *s, sterna_store *store, const char *name,
                                        struct sterna_error *err);

STERNA_API sterna_selection *sterna_selection_retain(sterna_selection *s);
STERNA_API void sterna_selection_close(sterna_selection **s); /* NULL is fine */

STERNA_API void sterna_selection_info(const sterna_selection *s, struct sterna_selection_info *out);

/* Arrays of n entries, owned by the selection. `f` counts 0..n_fields-1 as in sterna_store_field.
 */
STERNA_API const uint8_t (*sterna_selection_ids(const sterna_selection *s))[STERNA_ID_BYTES];
STERNA_API const uint32_t *sterna_selection_lengths(const sterna_selection *s, uint32_t f);
STERNA_API const int64_t *sterna_selection_labels(const sterna_selection *s);

/* Name of carried column c of 0..n_columns-1, and its value at row i of 0..n-1. */
STERNA_API const char *sterna_selection_column_name(const sterna_selection *s, uint32_t c);
STERNA_API void sterna_selection_value(const sterna_selection *s, uint32_t c, uint64_t i,
                                       struct sterna_value *out);

struct sterna_query_options {
    size_t struct_size;
    const char *where;          /* NULL: all */
    const char *const *columns; /* NULL: all columns; "id" and "path" are columns too */
    size_t n_columns;
    uint64_t as_of_run;
    unsigned time_limit_ms;                /* 0: 60 s */
    const uint8_t (*ids)[STERNA_ID_BYTES]; /* instead of `where`: these, in this order */
    size_t n_ids;
};

/* Calls `row` with n values for each row, in the order of path; `id` comes as text. A value other
 * than 0 stops and is returned. names[n] is the same at each call. Errors as sterna_select. */
STERNA_API int sterna_query(sterna_store *store, const struct sterna_query_options *options,
                            int (*row)(void *ctx, const char *const *names,
                                       const struct sterna_value *values, size_t n),
                            void *ctx, struct sterna_error *err);

struct sterna_part {
    const char *name;
    double share; /* > 0; shares of all parts add up to 1 */
};

struct sterna_split_options {
    size_t struct_size;
    const struct sterna_part *parts;
    size_t n_parts;
    const char *by; /* column: samples of one value never straddle parts; NULL: each its own */
    const char *stratify; /* column: shares are reported (with exact: held) per value; or NULL */
    const char *where;    /* only these samples; NULL: all */
    sterna_selection *selection; /* or only these, in its order, carrying its columns; NULL: all */
    uint64_t seed;
    int exact; /* exact shares, at the price that adding samples may move old ones */
    /* NULL: each part is saved in the store under its name. Else nothing is: out[n_parts] gets the
     * selections, to be closed by the caller; all NULL after a failure. */
    sterna_selection **out;
};

/* One line of the report: stratum is NULL for the total. */
struct sterna_split_row {
    const char *part;
    const char *stratum;
    uint64_t n, n_groups;
    double share_wanted, share_got;
};

/* Splits the store's samples, or some, into selections: one for each part, saved (replacing older
 * ones of that name) or handed over, which is possible where the store cannot be written. A group's
 * part is Philox(seed, group) against the cumulated shares, so that it depends neither on other
 * samples nor on order. Groups win over strata. Errors as sterna_select; EREADONLY. */
STERNA_API int sterna_split(sterna_store *store, const struct sterna_split_options *options,
                            void (*report)(void *ctx, const struct sterna_split_row *row),
                            void *ctx, struct sterna_error *err);

#ifdef __cplusplus
}
#endif
#endif
