/* The public calls that need a store: checked for a fork, its samples listed if they are not yet,
 * then handed to its catalogue. */
#include "catalog/select.h"
#include "store.h"

int sterna_select(sterna_selection **out, sterna_store *store,
                  const struct sterna_select_options *options, struct sterna_error *err) {
    stn_error_clear(err);
    *out = NULL;
    int rc = stn_store_check(store, err), listed = 1;
    const struct sterna_select_options *o = options;
    if (rc == STERNA_OK && o) rc = stn_select_check(o, err);
    if (rc < 0) return rc;
    int by_id = o && (o->ids || o->ids_file), by_file = o && (o->name || o->file);
    int alone = by_id && o->n_columns == 0 && o->as_of_run == 0; /* nothing but ids is needed */
    if (alone) rc = stn_store_is_listed(store, &listed, err);
    if (rc == STERNA_OK && !listed) return stn_catalog_select_ids(out, store->catalog, o, err);
    if (rc == STERNA_OK && !alone && !by_file) rc = stn_store_list(store, err);
    return rc < 0 ? rc : stn_catalog_select(out, store->catalog, store->dir, options, err);
}

int sterna_query(sterna_store *store, const struct sterna_query_options *options,
                 int (*row)(void *ctx, const char *const *names, const struct sterna_value *values,
                            size_t n),
                 void *ctx, struct sterna_error *err) {
    stn_error_clear(err);
    int rc = stn_store_check(store, err);
    if (rc == STERNA_OK) rc = stn_store_list(store, err);
    return rc < 0 ? rc : stn_catalog_query(store->catalog, options, row, ctx, err);
}

static void clear_parts(const struct sterna_split_options *o) {
    if (!o || o->struct_size != sizeof *o || !o->out) return;
    for (size_t i = 0; i < o->n_parts; i++) o->out[i] = NULL;
}

int sterna_split(sterna_store *store, const struct sterna_split_options *options,
                 void (*report)(void *ctx, const struct sterna_split_row *row), void *ctx,
                 struct sterna_error *err) {
    stn_error_clear(err);
    clear_parts(options);
    int rc = stn_store_check(store, err);
    if (rc == STERNA_OK) rc = stn_store_list(store, err);
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
