/* Copying samples from one store to another of the same data set: out of a cluster's to a local
 * disk, or the other way. */
#ifndef STERNA_COPY_H
#define STERNA_COPY_H

#include "sterna/ingest.h"

#ifdef __cplusplus
extern "C" {
#endif

struct sterna_copy_progress {
    uint64_t samples, compared;      /* chosen; looked up in both stores so far */
    uint64_t read, bytes_read;       /* samples read so far, and their bytes */
    uint64_t to_read, bytes_to_read; /* in all; final when compared is samples */
    double seconds;
};

struct sterna_copy_options { /* fill with sterna_copy_options_init() first */
    size_t struct_size;
    uint64_t memory_bytes; /* budget of the reader; 0: a quarter of the memory, as a loader's */
    unsigned threads;      /* reader threads of an embedded store; 0: chosen */
    int replace;           /* other bytes under a known id replace it */
    /* Both from the calling thread; a value other than 0 stops with ECANCELED. May be NULL. */
    int (*progress)(void *ctx, const struct sterna_copy_progress *now);
    /* A sample that is a CONFLICT, was REPLACED, or is UNREADABLE in `from`; `path` is "" if it has
     * none; why in words. */
    int (*report)(void *ctx, enum sterna_outcome outcome, const uint8_t id[STERNA_ID_BYTES],
                  const char *path, const char *why);
    void *ctx;
};

struct sterna_copy_result {
    uint64_t run;     /* of `to`; 0: nothing new, no run was made */
    uint64_t samples; /* chosen */
    /* ADDED: copied now, or by an earlier call that did not come to its end, or given fields that
     * they had not. The others as in sterna_ingest_folder(). */
    uint64_t counts[STERNA_OUTCOME_COUNT];
    uint64_t read, bytes_read; /* samples of `from` whose bytes were read, and how many */
    double seconds;
};

STERNA_API void sterna_copy_options_init(struct sterna_copy_options *o);

/* Copies the samples of `selection` (of `from`; NULL: all) into `to`, which is open for writing and
 * is of the same data set: open it with from's dataset_id. They keep ids, fields, columns, classes
 * and labels; their checksums are verified on the way. All become visible together at the end: one
 * run. again      what `to` holds already (found by length and checksum) is not read again, also if
 * an earlier copy was killed or cancelled in its middle; a listed sample takes over what columns
 * say in `from`, and fields it had not; nulls take nothing away. conflicts  the same id with other
 * bytes: reported and left as it is, unless `replace` is set. Returns OK (also with conflicts and
 * unreadable samples: see result); EMISMATCH: another data set, a class that has another label in
 * `to`, a field of another kind; EINVAL, EREADONLY, EBUSY, EIO (full disk, ...), EUNREACHABLE,
 * EBUDGET, ECANCELED, ENOMEM. */
STERNA_API int sterna_copy(sterna_store *from, sterna_selection *selection, sterna_store *to,
                           const struct sterna_copy_options *options,
                           struct sterna_copy_result *result, struct sterna_error *err);

#ifdef __cplusplus
}
#endif
#endif
