/* Headers of image files; and what is in a field's file by its kind. */
#include <string.h>

#include "fuzz/fuzz.h"
#include "ingest/content.h"
#include "ingest/image_header.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct stn_image_header h;
    struct stn_content content = {NULL, NULL};
    char why[200] = "";
    int rc = stn_image_header_read(data, size, &h, why, sizeof why);
    claim(rc == STERNA_OK || rc == STERNA_EDECODE);
    if (rc == STERNA_OK) claim(h.format && h.width && h.height && h.channels - 1 < 4);
    if (rc == STERNA_EDECODE) claim(why[0] && strlen(why) < sizeof why);
    for (int kind = STERNA_KIND_BYTES; kind <= STERNA_KIND_NPY; kind++) {
        why[0] = '\0';
        rc = stn_content_check(&content, (enum sterna_kind)kind, data, size, why, sizeof why);
        claim(rc == STERNA_OK || (rc == STERNA_EDECODE && why[0]));
    }
    stn_content_fini(&content);
    return 0;
}
