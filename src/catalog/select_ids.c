/* Ids taken as they are: of a store that lists its samples only when it must. */
#include "catalog/catalog.h"
#include "catalog/handle.h"
#include "catalog/id_list.h"
#include "catalog/id_set.h"
#include "catalog/layout.h"
#include "catalog/select.h"

static int add_ids(struct stn_selection_builder *b, struct stn_id_list *list,
                   const uint32_t *lengths, struct stn_id_set *seen, struct sterna_error *err) {
    int rc, again = 0;
    while ((rc = stn_id_list_next(list, err)) > 0) {
        if (stn_id_set_add(seen, list->id, &again) < 0)
            return stn_fail_memory(err, "a list of ids");
        if (again) return stn_id_list_fail(list, STERNA_EINVAL, "is listed twice", err);
        rc = stn_selection_builder_add(b, list->id, lengths, STERNA_LABEL_NONE, NULL, err);
        if (rc < 0) return rc;
    }
    return rc;
}

static int build(sterna_selection **out, const struct stn_selection_spec *spec,
                 struct stn_id_list *list, struct sterna_error *err) {
    uint32_t lengths[STN_SELECTION_FIELDS_MAX];
    for (size_t f = 0; f < STN_COUNT(lengths); f++) lengths[f] = STERNA_LENGTH_UNKNOWN;
    struct stn_id_set seen = {0};
    struct stn_selection_builder *b = NULL;
    int rc = stn_selection_builder_open(&b, NULL, spec, err);
    if (rc == STERNA_OK) rc = add_ids(b, list, lengths, &seen, err);
    if (rc == STERNA_OK) rc = stn_selection_builder_finish(b, NULL, out, err);
    stn_selection_builder_close(&b);
    stn_id_set_fini(&seen);
    return rc;
}

int stn_catalog_select_ids(sterna_selection **out, struct stn_catalog *c,
                           const struct sterna_select_options *o, struct sterna_error *err) {
    struct stn_snapshot s;
    struct stn_id_list list;
    *out = NULL;
    int rc = stn_catalog_snapshot(c, &s, err);
    if (rc < 0) return rc;
    const struct stn_selection_spec spec = {.dataset_id = c->dataset_id,
                                            .n_fields = (uint32_t)s.schema.n_fields};
    stn_snapshot_close(&s); /* a long list keeps no writer waiting */
    rc = stn_id_list_open(&list, o->ids, o->n_ids, o->ids_file, err);
    if (rc == STERNA_OK) rc = build(out, &spec, &list, err);
    stn_id_list_close(&list);
    return rc;
}
