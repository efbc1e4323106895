/* Selection files: opened, and every number in them looked at; as they come, and with checksums
 * that are right. */
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "catalog/layout.h"
#include "catalog/selection.h"
#include "fuzz/fuzz.h"

static void look(const sterna_selection *s) {
    struct sterna_selection_info info;
    sterna_selection_info(s, &info);
    claim(info.where != NULL);
    fuzz_touch(info.where, strlen(info.where));
    fuzz_touch(sterna_selection_ids(s), (size_t)info.n * STERNA_ID_BYTES);
    fuzz_touch(sterna_selection_labels(s), (size_t)info.n * sizeof(int64_t));
    for (uint32_t f = 0; f < info.n_fields; f++)
        fuzz_touch(sterna_selection_lengths(s, f), (size_t)info.n * sizeof(uint32_t));
    claim(sterna_selection_lengths(s, info.n_fields) == NULL);
    for (uint32_t c = 0; c < info.n_columns; c++) {
        const char *name = sterna_selection_column_name(s, c);
        claim(name != NULL);
        fuzz_touch(name, strlen(name));
        for (uint64_t i = 0; i < info.n && i < 100; i++) {
            struct sterna_value v;
            sterna_selection_value(s, c, i, &v);
            if (v.type == STERNA_TEXT) fuzz_touch(v.text, v.text_bytes);
        }
    }
}

static void open_one(const uint8_t *data, size_t size) {
    struct sterna_error err = {0};
    sterna_selection *s = NULL;
    int rc = stn_selection_open_fd(&s, fuzz_file(data, size, NULL), "input", 1, &err);
    claim((rc == STERNA_OK) == (s != NULL));
    claim(rc == STERNA_OK || (err.code == rc && err.message[0]));
    if (s) look(s);
    sterna_selection_close(&s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    open_one(data, size);
    if (size < STN_SELECTION_FIXED_BYTES + 8) return 0;
    uint8_t *fixed = malloc(size);
    if (!fixed) abort();
    memcpy(fixed, data, size);
    struct stn_cursor head = stn_cursor(data + 12, 4);
    uint32_t header_bytes = stn_get_u32(&head);
    struct stn_writer w = {fixed + 104, 8, 0};
    stn_put_u64(&w, size);
    if (header_bytes >= 116 && header_bytes <= size - 4) {
        w = (struct stn_writer){fixed + header_bytes - 4, 4, 0};
        stn_put_u32(&w, stn_crc32c(0, fixed, header_bytes - 4));
    }
    w = (struct stn_writer){fixed + size - 4, 4, 0};
    stn_put_u32(&w, stn_crc32c(0, fixed, size - 4));
    open_one(fixed, size);
    free(fixed);
    return 0;
}
