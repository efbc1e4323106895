/* What an image file says of itself: format and size, read from its header, nothing decoded.
 * Safe on hostile bytes; writes nothing to stderr. Any thread. */
#ifndef STN_IMAGE_HEADER_H
#define STN_IMAGE_HEADER_H

#include "base/base.h"

struct stn_image_header {
    const char *format; /* "jpeg", "png" or "webp" */
    uint32_t width, height;
    uint32_t channels; /* as stored: 1 grey, 2 grey + alpha, 3 colour (palettes too), 4 */
};

/* The format is told by the content, never by a name. OK, ENOMEM, or EDECODE with the reason in
 * `why`, a phrase that follows a file's name. */
int stn_image_header_read(const void *data, size_t bytes, struct stn_image_header *out, char *why,
                          size_t why_bytes);

#endif
