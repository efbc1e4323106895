/* Ingest: samples into a store, one committed run at a time. */
#ifndef STERNA_INGEST_H
#define STERNA_INGEST_H

#include "sterna/selection.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct sterna_ingest sterna_ingest; /* one thread at a time; one a store */

/* What became of one input. */
enum sterna_outcome {
    STERNA_ADDED = 0,
    STERNA_UNCHANGED, /* there already, same bytes */
    STERNA_REPLACED,  /* there already, other bytes, --replace */
    STERNA_CONFLICT,  /* there already, other bytes: left as it is */
    STERNA_NO_IMAGE,
    STERNA_EMPTY,
    STERNA_UNREADABLE,
    STERNA_TOO_BIG,
    STERNA_BAD_FIELD,
    STERNA_OUTCOME_COUNT
};

struct sterna_ingest_field { /* an extra field, paired with each image */
    const char *name;
    const char *pattern; /* ".txt": image path with that suffix; or "masks/{stem}.png" */
    int kind;            /* enum sterna_kind, or -1: from the pattern's suffix */
};

struct sterna_progress {
    uint64_t files_seen, files_done, bytes_done;
    uint64_t files_total, bytes_total; /* 0 until the folder has been walked */
    double seconds;
    uint64_t counts[STERNA_OUTCOME_COUNT];
};

struct sterna_ingest_options { /* fill with sterna_ingest_options_init() first */
    size_t struct_size;
    const char *prefix;        /* put before each relative path; NULL or "" : none */
    const char *metadata_file; /* CSV, joined on the relative path; NULL: none */
    const struct sterna_ingest_field *fields;
    size_t n_fields;
    uint64_t max_bytes;    /* a larger file is skipped; 64 MiB */
    uint64_t memory_bytes; /* bytes of files in memory at once; 0: 256 MiB */
    unsigned threads;      /* file readers; 0: chosen */
    int stop_on_error;     /* --on-error stop */
    int replace;           /* other bytes under a known id replace it */
    /* Both from the calling thread; a value other than 0 stops with ECANCELED. May be NULL. */
    int (*progress)(void *ctx, const struct sterna_progress *now);
    /* An input that was not simply added or unchanged: path (relative, raw bytes), why in words. */
    int (*report)(void *ctx, enum sterna_outcome outcome, const char *path, const char *why);
    void *ctx;
};

struct sterna_ingest_result {
    uint64_t run; /* 0: nothing new, no run was made */
    uint64_t counts[STERNA_OUTCOME_COUNT];
    uint64_t bytes;              /* read from files and stored */
    uint64_t metadata_unmatched; /* rows of the CSV that matched no file */
    double seconds;
};

STERNA_API void sterna_ingest_options_init(struct sterna_ingest_options *o);

/* Ingests the images below `dir`: class folders, train|val|test/class folders, or flat. All or
 * nothing is visible: the run is committed at the end. Killed and run again it completes.
 *   classes   as torchvision has them: every directory at the top, empty or not, in the order of
 * its bytes; if all of them are named train, val, valid, validation or test, those below.
 *             Directories that only hold fields' files, hidden ones and the store are none.
 *   metadata  its columns label, class and split overrule directories; with a column class, only
 *             directories that hold images without one there are classes besides.
 *   again     a listed sample with the same bytes takes over what the metadata say now, and fields
 *             it had not; a field's file that is gone takes nothing away, unless `replace` is set.
 * Returns OK (also if inputs were skipped: see result), ENOTFOUND, EIO (full disk, ...), EREADONLY,
 * EBUSY, EINVAL, ECANCELED; with stop_on_error the first skipped input is an error. */
STERNA_API int sterna_ingest_folder(sterna_store *store, const char *dir,
                                    const struct sterna_ingest_options *options,
                                    struct sterna_ingest_result *result, struct sterna_error *err);

/* One blob of one sample; data NULL: null. */
struct sterna_blob {
    const char *field;
    enum sterna_kind kind; /* used when the field is new */
    const void *data;
    size_t bytes;
};
struct sterna_cell {
    const char *column;
    struct sterna_value value;
};
struct sterna_sample {
    const char *path;  /* UTF-8 or raw bytes; the id is UUIDv5(data set id, path) */
    const uint8_t *id; /* STERNA_ID_BYTES, or NULL: from path */
    const struct sterna_blob *blobs;
    size_t n_blobs;
    const struct sterna_cell *cells;
    size_t n_cells; /* `class` (text) also sets `label`; EINVAL for another label beside it */
};

/* Samples from anywhere: open, add each, commit; close without commit forgets them.
 * *outcome tells what became of it; CONFLICT is no error. */
STERNA_API int sterna_ingest_open(sterna_ingest **out, sterna_store *store, const char *source,
                                  int replace, struct sterna_error *err);
STERNA_API int sterna_ingest_add(sterna_ingest *in, const struct sterna_sample *sample,
                                 enum sterna_outcome *outcome, struct sterna_error *err);
/* Declares classes before the samples that have them: new ones get the next labels in this order,
 * where a sample's would get them in the order of samples. Their labels into labels[n] (or NULL).
 */
STERNA_API int sterna_ingest_classes(sterna_ingest *in, const char *const *names, size_t n,
                                     int64_t *labels, struct sterna_error *err);
STERNA_API int sterna_ingest_commit(sterna_ingest *in, uint64_t *run, struct sterna_error *err);
STERNA_API void sterna_ingest_close(sterna_ingest **in);

STERNA_API const char *sterna_outcome_name(enum sterna_outcome outcome);

#ifdef __cplusplus
}
#endif
#endif
