/* Owns one run: where its values go, and its rows. Values are durable before the run is committed:
 * a listed sample always has its bytes. What a killed run left behind (values that no committed run
 * lists) is found again, used if equal, else overwritten. */
#include "ingest/ingest.h"

#include <stdio.h>
#include <string.h>

#include "store.h"

static int add_field(sterna_ingest *in, const char *name, enum sterna_kind kind, uint32_t number,
                     struct sterna_error *err) {
    if (in->n_fields == STN_FIELDS_OF_STORE || number > UINT8_MAX ||
        strlen(name) >= sizeof in->fields[0].name)
        return stn_fail(err, STERNA_EINVAL,
                        "field %s: a store has at most %d fields, names up to %d bytes", name,
                        STN_FIELDS_OF_STORE, STN_FIELD_NAME_BYTES - 1);
    struct stn_ingest_field *f = &in->fields[in->n_fields++];
    *f = (struct stn_ingest_field){.kind = kind, .number = (uint8_t)number};
    snprintf(f->name, sizeof f->name, "%s", name);
    snprintf(f->length_column, sizeof f->length_column, "%s_bytes", name);
    return STERNA_OK;
}

static int begin(sterna_ingest *in, const char *source, struct sterna_error *err) {
    struct stn_backend *backend = in->store->backend;
    struct sterna_field known;
    uint32_t image;
    int rc = backend->ops->run_open(backend, source, &in->catalog, &in->values, err);
    if (rc == STERNA_OK)
        rc = stn_catalog_declare_field(in->catalog, "image", STERNA_KIND_IMAGE, &image, err);
    if (rc == STERNA_OK) rc = add_field(in, "image", STERNA_KIND_IMAGE, image, err);
    for (uint32_t i = 0; rc == STERNA_OK; i++) {
        if (stn_catalog_field(in->catalog, i, &known) != STERNA_OK) break;
        if (strcmp(known.name, "image") != 0)
            rc = add_field(in, known.name, known.kind, known.number, err);
    }
    return rc;
}

int sterna_ingest_open(sterna_ingest **out, sterna_store *store, const char *source, int replace,
                       struct sterna_error *err) {
    *out = NULL;
    stn_error_clear(err);
    if (!store) return stn_fail(err, STERNA_EINVAL, "ingest: no store");
    int rc = stn_store_check(store, err);
    if (rc < 0) return rc;
    if (store->read_only)
        return stn_fail(err, STERNA_EREADONLY, "%s: is open for reading only", store->shown);
    sterna_ingest *in = calloc(1, sizeof *in);
    if (!in) return stn_fail_memory(err, "an ingest");
    in->store = stn_store_retain(store);
    in->replace = replace;
    rc = begin(in, source, err);
    if (rc < 0) sterna_ingest_close(&in);
    *out = in;
    return rc;
}

int sterna_ingest_commit(sterna_ingest *in, uint64_t *run, struct sterna_error *err) {
    stn_error_clear(err);
    *run = 0;
    if (in->failed || in->ended)
        return stn_fail(err, in->failed ? in->failed : STERNA_EINVAL,
                        "%s: nothing is committed: %s", in->store->shown,
                        in->failed ? "a sample could not be written" : "the run has ended");
    struct stn_backend *backend = in->store->backend;
    int rc = backend->ops->run_commit(backend, in->catalog, in->values, run, err);
    in->ended = 1;
    if (rc < 0) in->failed = rc;
    return rc;
}

void sterna_ingest_close(sterna_ingest **ingest) {
    sterna_ingest *in = *ingest;
    if (!in) return;
    *ingest = NULL;
    struct stn_backend *backend = in->store->backend;
    if (in->values) backend->ops->run_close(backend, &in->catalog, &in->values);
    stn_content_fini(&in->content);
    free(in->cells);
    free(in->given);
    free(in->text);
    sterna_store_close(&in->store);
    free(in);
}

int stn_ingest_field(sterna_ingest *in, const char *name, enum sterna_kind kind, uint32_t *field,
                     struct sterna_error *err) {
    uint32_t number;
    for (*field = 0; *field < in->n_fields; ++*field)
        if (strcmp(in->fields[*field].name, name) == 0) break;
    if (*field < in->n_fields) {
        if (in->fields[*field].kind == kind) return STERNA_OK;
        return stn_fail(err, STERNA_EMISMATCH, "%s: field %s holds %s, not %s", in->store->shown,
                        name, sterna_kind_name(in->fields[*field].kind), sterna_kind_name(kind));
    }
    if (!stn_field_name_ok(name))
        return stn_fail(err, STERNA_EINVAL, "\"%s\" cannot name a field", name);
    int rc = stn_catalog_declare_field(in->catalog, name, kind, &number, err);
    return rc == STERNA_OK ? add_field(in, name, kind, number, err) : rc;
}
