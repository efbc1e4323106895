/* The catalogue: all columns of all samples, in SQLite (DIR/catalog.sqlite).
 *
 * Tables (format version 1):
 *   info(key TEXT PRIMARY KEY, value)             format, dataset_id (blob), created,
 *                                                 n_samples, n_bytes
 *   field(number INTEGER PRIMARY KEY, name TEXT UNIQUE, kind TEXT)
 *   class(label INTEGER PRIMARY KEY, name TEXT UNIQUE)
 *   user_column(position INTEGER PRIMARY KEY, name TEXT UNIQUE, types)   columns not made by us
 *   run(run INTEGER PRIMARY KEY, n_samples, source TEXT, finished_s)     committed runs only
 *   sample(id BLOB PRIMARY KEY, run, path, label, class, split, width, height, channels, format,
 *          FIELD_bytes ..., user columns ...)
 * A run is one SQLite transaction, so a sample is listed when its run is committed and its bytes,
 * synced before, are there. WAL while writing; back to a single file at the end, best effort.
 * It knows nothing of LMDB. Each call that reads has a connection of its own, so readers wait for
 * nobody and an idle catalogue holds no lock; a run has another. Any thread. */
#ifndef STN_CATALOG_H
#define STN_CATALOG_H

#include "base/base.h"
#include "sterna/selection.h"
#include "sterna/store.h"

struct stn_catalog;

/* READ: also while another process writes. READ_IMMUTABLE: for a directory that this user cannot
 * write; locks are taken where that works, else the file is taken for unchanging. */
enum stn_catalog_mode { STN_CATALOG_READ, STN_CATALOG_READ_IMMUTABLE, STN_CATALOG_WRITE };

/* Makes a new one with format version, data set id and creation time; leaves no half-made file. One
 * that is there already, made by another process just now, stays as it is, and that is OK: the
 * caller opens it and sees whose it is. EREADONLY, EIO. */
int stn_catalog_create(const char *path, const uint8_t dataset_id[16], struct sterna_error *err);

/* ENOTFOUND, EFORMAT (no SQLite file, not ours, newer: names both versions), EIO. */
int stn_catalog_open(struct stn_catalog **out, const char *path, enum stn_catalog_mode mode,
                     struct sterna_error *err);
void stn_catalog_close(struct stn_catalog **c);

/* Who made it knew no value: a length that is NULL is unknown, and not that of a NULL. */
void stn_catalog_lengths_are_unknown(struct stn_catalog *c);

const uint8_t *stn_catalog_dataset_id(const struct stn_catalog *c);
/* n_samples, n_bytes, last_run, counts; leaves read_only alone. */
int stn_catalog_info(struct stn_catalog *c, struct sterna_store_info *out,
                     struct sterna_error *err);

/* Fields by position (order of number); name stays valid as long as the catalogue. */
int stn_catalog_field(struct stn_catalog *c, uint32_t i, struct sterna_field *out);

int stn_catalog_classes(struct stn_catalog *c, int (*each)(void *, int64_t, const char *, uint64_t),
                        void *ctx, struct sterna_error *err);
int stn_catalog_columns(struct stn_catalog *c, int (*each)(void *, const char *, const char *),
                        void *ctx, struct sterna_error *err);
int stn_catalog_runs(struct stn_catalog *c, int (*each)(void *, const struct sterna_run *),
                     void *ctx, struct sterna_error *err);

/* ---- a run being written (one at a time; EBUSY if another process or handle has one) ---- */

struct stn_cell {
    const char *column; /* any of sample's columns but id and run */
    struct sterna_value value;
};

struct stn_row {
    uint8_t id[16];
    const struct stn_cell *cells;
    size_t n_cells;
};

int stn_catalog_begin(struct stn_catalog *c, const char *source, uint64_t *run,
                      struct sterna_error *err);
/* The same for a run that was committed elsewhere: with its number (above all that are listed) and
 * time, and listed though it may add nothing. Run 0: for declarations alone; no run is listed. */
int stn_catalog_begin_as(struct stn_catalog *c, const char *source, uint64_t run,
                         int64_t finished_s, struct sterna_error *err);
/* Number of the field of that name, declared now if it is new. EMISMATCH: known as another kind. */
int stn_catalog_declare_field(struct stn_catalog *c, const char *name, enum sterna_kind kind,
                              uint32_t *number, struct sterna_error *err);
/* A user column, made if it is new. EINVAL for a name that is reserved or no identifier
 * ([A-Za-z_][A-Za-z0-9_]*, at most 63). */
int stn_catalog_declare_column(struct stn_catalog *c, const char *name, struct sterna_error *err);
/* Label of a class, appended if it is new. */
int stn_catalog_declare_class(struct stn_catalog *c, const char *name, int64_t *label,
                              struct sterna_error *err);
/* The same for several at once: in the order given. */
int stn_catalog_declare_classes(struct stn_catalog *c, const char *const *names, size_t n,
                                int64_t *labels, struct sterna_error *err);
/* 1 in *found if the sample is listed (in this run too). */
int stn_catalog_has(struct stn_catalog *c, const uint8_t id[16], int *found,
                    struct sterna_error *err);
/* The same for one field of a sample, while a run is open: 1 in *has if its length is listed. */
int stn_catalog_has_field(struct stn_catalog *c, const uint8_t id[16], const char *field, int *has,
                          struct sterna_error *err);
/* Adds a sample to the run; update sets the given cells of a listed one (with new_run: and moves it
 * to this run, for replaced bytes); *changed (may be NULL): 1 if a value differs now. */
int stn_catalog_insert(struct stn_catalog *c, const struct stn_row *row, struct sterna_error *err);
int stn_catalog_update(struct stn_catalog *c, const struct stn_row *row, int new_run, int *changed,
                       struct sterna_error *err);
/* Commits the run, or (if no sample was added or changed) rolls back and gives *run = 0. */
int stn_catalog_commit(struct stn_catalog *c, uint64_t *run, struct sterna_error *err);
void stn_catalog_rollback(struct stn_catalog *c); /* no run open: does nothing */

/* Calls `each` for every sample that the open run has added or changed, once, with all its columns
 * but `id` and `run` (nulls too), valid during the call; belongs: the sample is of this run, else
 * only columns of an older one were set. Only while names are shared (below): else EINVAL. Stops
 * when it returns a negative code, and returns that. */
int stn_catalog_run_rows(struct stn_catalog *c,
                         int (*each)(void *ctx, const struct stn_row *row, int belongs), void *ctx,
                         struct sterna_error *err);

/* ---- names that several catalogues share ---- */

/* Where several hosts write one data set, numbers of fields and labels of classes are given by one
 * place. It is asked for names that the catalogue does not know, and what it says is declared.
 * Implementers put this struct first in their own. Errors as stn_catalog_declare_*. */
struct stn_shared_names {
    int (*claim_field)(struct stn_shared_names *s, const char *name, enum sterna_kind kind,
                       uint32_t *number, struct sterna_error *err);
    int (*claim_classes)(struct stn_shared_names *s, const char *const *names, size_t n,
                         int64_t *labels, struct sterna_error *err);
    int (*claim_column)(struct stn_shared_names *s, const char *name, struct sterna_error *err);
};
/* Before a run begins; borrowed as long as the catalogue is open. NULL: numbers are its own. */
void stn_catalog_share_names(struct stn_catalog *c, struct stn_shared_names *names);

/* ---- reading rows ---- */

/* sterna_query over this catalogue: read-only, deterministic functions, time limit. */
int stn_catalog_query(struct stn_catalog *c, const struct sterna_query_options *options,
                      int (*row)(void *, const char *const *, const struct sterna_value *, size_t),
                      void *ctx, struct sterna_error *err);

/* sterna_select over this catalogue. `dir` (may be NULL: nothing is cached or named) is the store's
 * directory: DIR/selections/NAME.sel, DIR/cache/. */
int stn_catalog_select(sterna_selection **out, struct stn_catalog *c, const char *dir,
                       const struct sterna_select_options *options, struct sterna_error *err);

/* A selection of ids that are taken as they are, for a catalogue that is not filled yet: lengths
 * unknown, labels none, run 0. `o` has been checked, and has ids or ids_file. EINVAL (an id is
 * listed twice, no UUID), ENOTFOUND (the file), EIO. */
int stn_catalog_select_ids(sterna_selection **out, struct stn_catalog *c,
                           const struct sterna_select_options *o, struct sterna_error *err);

/* sterna_split over this catalogue, into DIR/selections (of which nothing is needed with `out`). */
int stn_catalog_split(struct stn_catalog *c, const char *dir,
                      const struct sterna_split_options *options,
                      void (*report)(void *, const struct sterna_split_row *), void *ctx,
                      struct sterna_error *err);

#endif
