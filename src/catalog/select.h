/* Selections in a store's directory: named ones, and the one of all samples, which is cached. */
#ifndef STN_SELECT_H
#define STN_SELECT_H

#include "catalog/selection.h"

#define STN_SELECTIONS_DIR "selections"
#define STN_CACHE_DIR "cache"

/* EINVAL: options that contradict each other, or of another version of the headers. */
int stn_select_check(const struct sterna_select_options *o, struct sterna_error *err);

/* EINVAL: not [A-Za-z0-9_.-]+, or starting with a dot or dash. */
int stn_selection_check_name(const char *name, struct sterna_error *err);
/* DIR/selections/NAME.sel, malloc'ed; NULL without memory. */
char *stn_selection_named_path(const char *dir, const char *name);
/* *path: DIR/NAME, malloc'ed, made if it is not there. EREADONLY, EIO. */
int stn_selection_make_dir(const char *dir, const char *name, char **path,
                           struct sterna_error *err);
/* EMISMATCH naming both data sets. */
int stn_selection_check_dataset(const sterna_selection *s, const uint8_t dataset_id[16],
                                const char *name, struct sterna_error *err);

/* Which selection of all samples: what it must say of itself. */
struct stn_cached {
    const uint8_t *dataset_id;
    uint64_t run;
    uint32_t n_fields;
    const char *const *columns;
    size_t n_columns;
};

/* DIR/cache/all-RUN-FIELDS[-COLUMNS].sel, malloc'ed; NULL without memory. */
char *stn_cached_path(const char *dir, const struct stn_cached *want);
/* Anything but OK: there is none, or none that is what it should be. */
int stn_cached_open(sterna_selection **out, const char *path, const struct stn_cached *want);
/* Removes those of earlier runs from the cache directory. */
void stn_cached_remove_older(const char *cache_dir, uint64_t run);

#endif
