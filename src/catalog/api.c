/* The public calls that need a store: checked for a fork, then handed to its catalogue. */
#include "catalog/select.h"
#include "store.h"

int sterna_select(sterna_selection **out, sterna_store *store,
                  const struct sterna_select_options *options, struct sterna_error *err) {
    stn_error_clear(err);
    *out = NULL;
    int rc = stn_store_check(store, err);
    return rc < 0 ? rc : stn_catalog_select(out, store->catalog, store->dir, options, err);
}

int sterna_query(sterna_store *store, const struct sterna_query_options *options,
                 int (*row)(void *ctx, const char *const *names, const struct sterna_value *values,
                            size_t n),
                 void *ctx, struct sterna_error *err) {
    stn_error_clear(err);
    int rc = stn_store_check(store, err);
    return rc < 0 ? rc : stn_catalog_query(store->catalog, options, row, ctx, err);
}

int sterna_split(sterna_store *store, const struct sterna_split_options *options,
                 void (*report)(void *ctx, const struct sterna_split_row *row), void *ctx,
                 struct sterna_error *err) {
    stn_error_clear(err);
    int rc = stn_store_check(store, err);
    if (rc < 0) return rc;
    return stn_catalog_split(store->catalog, store->dir, options, report, ctx, err);
}

int sterna_selection_save_as(sterna_selection *s, sterna_store *store, const char *name,
                             struct sterna_error *err) {
    char *dir = NULL, *path = NULL;
    stn_error_clear(err);
    int rc = stn_store_check(store, err);
    if (rc == STERNA_OK) rc = stn_selection_check_name(name, err);
    if (rc == STERNA_OK)
        rc = stn_selection_check_dataset(s, stn_catalog_dataset_id(store->catalog), name, err);
    if (rc == STERNA_OK) rc = stn_selection_make_dir(store->dir, STN_SELECTIONS_DIR, &dir, err);
    if (rc == STERNA_OK && !(path = stn_selection_named_path(store->dir, name)))
        rc = stn_fail_memory(err, name);
    if (rc == STERNA_OK) rc = sterna_selection_save(s, path, err);
    free(dir);
    free(path);
    return rc;
}
