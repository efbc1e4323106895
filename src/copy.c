/* Copying: the one file that knows every stage of it.
 *
 *   names      fields, columns, classes of the one store are declared in the other
 *   compare    each sample is looked up in both by its columns and the headers of its values:
 *              written at once if all its bytes are there (an earlier copy was cut short), a
 *              conflict, or put on the list of those to be read
 *   carry      those are read by a loader, checksums verified, and written
 *   commit     one run, listed when all its values are durable
 *
 * Nothing is remembered between two calls but what the stores hold. */
#include <string.h>

#include "copy/copy.h"
#include "store.h"

void sterna_copy_options_init(struct sterna_copy_options *o) {
    *o = (struct sterna_copy_options){.struct_size = sizeof *o};
}

static int check(struct stn_copy *c, size_t struct_size) {
    struct sterna_store_info from, to;
    char a[STERNA_ID_TEXT_BYTES], b[STERNA_ID_TEXT_BYTES];
    if (struct_size != sizeof *c->options)
        return stn_fail(c->err, STERNA_EINVAL,
                        "copy options: struct_size is %zu, not %zu: use "
                        "sterna_copy_options_init(), and headers of version %s",
                        struct_size, sizeof *c->options, sterna_version());
    int rc = sterna_store_info(c->from, &from, c->err);
    if (rc == STERNA_OK) rc = sterna_store_info(c->to, &to, c->err);
    if (rc < 0 || memcmp(from.dataset_id, to.dataset_id, STERNA_ID_BYTES) == 0) return rc;
    sterna_id_format(from.dataset_id, a);
    sterna_id_format(to.dataset_id, b);
    return stn_fail(
        c->err, STERNA_EMISMATCH,
        "%s holds data set %s, but %s holds %s: copy into a store of the same data set, "
        "or into a new one",
        c->from->shown, a, c->to->shown, b);
}

static int check_selection(struct stn_copy *c) {
    struct sterna_selection_info info;
    sterna_selection_info(c->selection, &info);
    c->result->samples = c->progress.samples = info.n;
    if (memcmp(info.dataset_id, stn_catalog_dataset_id(c->from->catalog), STERNA_ID_BYTES) == 0)
        return STERNA_OK;
    return stn_fail(c->err, STERNA_EMISMATCH, "the selection is of another data set than %s",
                    c->from->shown);
}

static int select_all(sterna_store *from, sterna_selection **out, struct sterna_error *err) {
    struct sterna_select_options o = {.struct_size = sizeof o};
    return sterna_select(out, from, &o, err);
}

static int open_all(struct stn_copy *c) {
    struct stn_backend *backend = c->from->backend;
    int rc = STERNA_OK;
    if (backend->ops->headers_open) rc = backend->ops->headers_open(backend, &c->headers, c->err);
    if (rc == STERNA_OK)
        rc = sterna_ingest_open(&c->in, c->to, c->from->shown, c->options->replace, c->err);
    return rc;
}

/* What was written is kept for the next call, which would find it missing and read it again. */
static void keep_what_is_written(struct stn_copy *c) {
    if (c->in && !c->in->failed) (void)c->in->values->ops->commit(c->in->values, NULL);
}

static void close_all(struct stn_copy *c) {
    sterna_loader_close(&c->loader);
    sterna_selection_close(&c->needed);
    stn_selection_builder_close(&c->building);
    sterna_ingest_close(&c->in);
    if (c->headers) c->headers->ops->close(c->headers);
    stn_copy_names_fini(c);
    free(c->cells);
    free(c->path);
}

static int copy(struct stn_copy *c) {
    int rc = open_all(c);
    if (rc == STERNA_OK) rc = stn_copy_names(c);
    if (rc == STERNA_OK) rc = stn_copy_compare(c);
    if (rc == STERNA_OK) rc = stn_copy_carry(c);
    if (rc == STERNA_OK) return sterna_ingest_commit(c->in, &c->result->run, c->err);
    keep_what_is_written(c);
    return rc;
}

int sterna_copy(sterna_store *from, sterna_selection *selection, sterna_store *to,
                const struct sterna_copy_options *options, struct sterna_copy_result *result,
                struct sterna_error *err) {
    struct sterna_copy_options o;
    struct sterna_copy_result unused;
    sterna_copy_options_init(&o);
    stn_error_clear(err);
    struct stn_copy c = {.from = from,
                         .to = to,
                         .options = options ? options : &o,
                         .result = result ? result : &unused,
                         .err = err,
                         .clock = stn_clock_monotonic()};
    *c.result = (struct sterna_copy_result){0};
    if (!from || !to) return stn_fail(err, STERNA_EINVAL, "copy: two stores are needed");
    c.began_ns = stn_now(c.clock);
    int rc = check(&c, c.options->struct_size);
    if (rc == STERNA_OK && selection) c.selection = sterna_selection_retain(selection);
    if (rc == STERNA_OK && !selection) rc = select_all(from, &c.selection, err);
    if (rc == STERNA_OK) rc = check_selection(&c);
    if (rc == STERNA_OK) rc = copy(&c);
    close_all(&c);
    sterna_selection_close(&c.selection);
    c.result->read = c.progress.read;
    c.result->bytes_read = c.progress.bytes_read;
    c.result->seconds = (double)(stn_now(c.clock) - c.began_ns) / (double)STN_NS_PER_S;
    return rc;
}
