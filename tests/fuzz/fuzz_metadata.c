/* The metadata CSV: read into its table, and rows looked up in it. */
#include <string.h>
#include <unistd.h>

#include "base/base.h"
#include "fuzz/fuzz.h"
#include "ingest/metadata.h"

static int see_class(void *ctx, const char *name) {
    fuzz_touch(name, strlen(name));
    ++*(unsigned *)ctx;
    return 0;
}

static void look(struct stn_metadata *m, const uint8_t *data, size_t size) {
    struct stn_metadata_row row = {0};
    unsigned n_classes = 0;
    size_t n = stn_metadata_n_columns(m);
    for (size_t i = 0; i < n; i++) {
        struct stn_metadata_column column = stn_metadata_column(m, i);
        claim(column.name && column.type <= STERNA_TEXT);
        fuzz_touch(column.name, strlen(column.name));
        claim(stn_metadata_find_column(m, column.name) >= 0);
    }
    const uint8_t *line = memchr(data, '\n', size); /* the second line's start is often a path */
    const char *path = line ? (const char *)line + 1 : "a";
    size_t bytes = line ? (size_t)(data + size - line - 1) : 1;
    const char *end = memchr(path, ',', bytes);
    if (end) bytes = (size_t)(end - path);
    int found = stn_metadata_find(m, path, bytes, &row, NULL);
    claim(found == 0 || found == 1);
    for (size_t i = 0; found && i < n; i++)
        if (row.values[i].type == STERNA_TEXT)
            fuzz_touch(row.values[i].text, row.values[i].text_bytes);
    claim(!found || stn_metadata_n_rows(m) > 0);
    if (stn_metadata_find_column(m, "class") >= 0)
        claim(stn_metadata_classes(m, see_class, &n_classes, NULL) == STERNA_OK &&
              n_classes <= stn_metadata_n_rows(m));
    stn_metadata_row_fini(&row);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const char *path;
    struct sterna_error err = {0};
    struct stn_metadata *m = NULL;
    int fd = fuzz_file(data, size, &path), rc = stn_metadata_open(&m, path, &err);
    claim((rc == STERNA_OK) == (m != NULL));
    claim(rc == STERNA_OK || (err.code == rc && err.message[0]));
    if (m) look(m, data, size);
    stn_metadata_close(&m);
    close(fd);
    return 0;
}
