/* Reads one shuffled epoch of a store and counts what it got.
 *   cc read_epoch.c $(pkg-config --cflags --libs sterna) -o read_epoch && ./read_epoch STORE [SQL]
 * for example: ./read_epoch cats.sterna "label = 3 and width > 400" */
#include <inttypes.h>
#include <stdio.h>

#include <sterna/sterna.h>

static uint64_t n_samples, n_bytes, sum_of_labels;

/* Here training would happen: a row is a pointer, a length and a label. */
static int use(const sterna_batch *batch) {
    struct sterna_batch_info info;
    struct sterna_field_view images;
    sterna_batch_info(batch, &info);
    int rc = sterna_batch_field(batch, 0, &images); /* field 0 is the image */
    if (rc < 0) return rc;
    const uint8_t *valid = sterna_batch_valid(batch); /* 0: padding */
    const int64_t *labels = sterna_batch_labels(batch);
    for (uint32_t i = 0; i < info.n_rows; i++) {
        if (!valid[i] || !images.data[i]) continue;
        n_samples++;
        n_bytes += images.bytes[i]; /* the file's bytes are images.data[i][0 .. bytes[i] - 1] */
        if (labels[i] != STERNA_LABEL_NONE) sum_of_labels += (uint64_t)labels[i];
    }
    return STERNA_OK;
}

static int read_epoch(sterna_loader *loader, struct sterna_error *err) {
    for (;;) {
        sterna_batch *batch;
        int rc = sterna_loader_next(loader, &batch, -1, err); /* -1: wait without limit */
        if (rc != STERNA_OK) return rc;                       /* STERNA_END after the last one */
        rc = use(batch);
        sterna_batch_release(&batch); /* its memory goes back to the loader */
        if (rc < 0) return rc;
    }
}

int main(int argc, char **argv) {
    if (argc < 2 || argc > 3) {
        fprintf(stderr, "usage: read_epoch STORE [SQL]\n");
        return 2;
    }
    struct sterna_error err = {0};
    sterna_store *store = NULL;
    sterna_selection *selection = NULL;
    sterna_loader *loader = NULL;
    struct sterna_select_options which = {.struct_size = sizeof which};
    if (argc == 3) which.where = argv[2];
    struct sterna_loader_options how;
    sterna_loader_options_init(&how);
    how.batch_size = 32;
    how.seed = 42; /* the same order at every run and on every machine */

    int rc = sterna_store_open(&store, argv[1], NULL, &err);
    if (rc == STERNA_OK) rc = sterna_select(&selection, store, &which, &err);
    if (rc == STERNA_OK) rc = sterna_loader_open(&loader, store, selection, &how, &err);
    if (rc == STERNA_OK) rc = read_epoch(loader, &err);
    if (rc < 0) /* a message says what went wrong, where, and what to do */
        fprintf(stderr, "read_epoch: %s\n", err.code ? err.message : sterna_strerror(rc));
    else
        printf("%" PRIu64 " samples, %" PRIu64 " bytes, sum of labels %" PRIu64 "\n", n_samples,
               n_bytes, sum_of_labels);

    sterna_loader_close(&loader); /* all of these accept NULL */
    sterna_selection_close(&selection);
    sterna_store_close(&store);
    return rc < 0 ? 1 : 0;
}
