/* Kinds of fields and the words for them, as catalogues and the command write them. */
#include <string.h>

#include "base/base.h"
#include "sterna/store.h"

static const char *const names[] = {
    [STERNA_KIND_BYTES] = "bytes", [STERNA_KIND_IMAGE] = "image", [STERNA_KIND_MASK] = "mask",
    [STERNA_KIND_TEXT] = "text",   [STERNA_KIND_JSON] = "json",   [STERNA_KIND_NPY] = "npy",
};

const char *sterna_kind_name(enum sterna_kind kind) {
    return (size_t)kind < STN_COUNT(names) ? names[kind] : "unknown";
}

int sterna_kind_parse(const char *name, enum sterna_kind *out) {
    for (size_t i = 0; i < STN_COUNT(names); i++) {
        if (strcmp(names[i], name) != 0) continue;
        *out = (enum sterna_kind)i;
        return STERNA_OK;
    }
    return STERNA_EINVAL;
}
