/* Three libraries behind one question. libjpeg reports errors by a jump: nothing between setjmp and
 * the jump owns anything but the decoder, which is destroyed on both ways out. */
#include "ingest/image_header.h"

#include <setjmp.h>
#include <stdio.h>
#include <string.h>

#include <jerror.h>
#include <jpeglib.h>
#include <spng.h>
#include <webp/decode.h>

/* ---- JPEG ---- */

struct jpeg_errors { /* first member: libjpeg hands back a pointer to it */
    struct jpeg_error_mgr mgr;
    jmp_buf failed;
};

static void jpeg_failed(j_common_ptr jpeg) {
    struct jpeg_errors *e = STN_OUTER(jpeg->err, struct jpeg_errors, mgr);
    longjmp(e->failed, 1);
}

static void jpeg_silent(j_common_ptr jpeg) { (void)jpeg; }

static void jpeg_no_trace(j_common_ptr jpeg, int level) {
    (void)jpeg;
    (void)level;
}

static int read_jpeg(const void *data, size_t bytes, struct stn_image_header *out, char *why,
                     size_t why_bytes) {
    struct jpeg_decompress_struct jpeg;
    struct jpeg_errors errors;
    memset(&jpeg, 0, sizeof jpeg); /* so that destroying is safe if creating fails */
    jpeg.err = jpeg_std_error(&errors.mgr);
    errors.mgr.error_exit = jpeg_failed;
    errors.mgr.output_message = jpeg_silent;
    errors.mgr.emit_message = jpeg_no_trace;
    if (setjmp(errors.failed)) {
        char text[JMSG_LENGTH_MAX];
        errors.mgr.format_message((j_common_ptr)&jpeg, text);
        int code = errors.mgr.msg_code;
        jpeg_destroy_decompress(&jpeg);
        snprintf(why, why_bytes, "is a broken JPEG: %s", text);
        return code == JERR_OUT_OF_MEMORY ? STERNA_ENOMEM : STERNA_EDECODE;
    }
    jpeg_create_decompress(&jpeg);
    jpeg_mem_src(&jpeg, data, (unsigned long)bytes);
    jpeg_read_header(&jpeg, TRUE);
    *out = (struct stn_image_header){"jpeg", jpeg.image_width, jpeg.image_height,
                                     (uint32_t)jpeg.num_components};
    jpeg_destroy_decompress(&jpeg);
    return STERNA_OK;
}

/* ---- PNG ---- */

static uint32_t png_channels(uint8_t color_type) {
    switch (color_type) {
    case SPNG_COLOR_TYPE_GRAYSCALE:
        return 1;
    case SPNG_COLOR_TYPE_GRAYSCALE_ALPHA:
        return 2;
    case SPNG_COLOR_TYPE_TRUECOLOR_ALPHA:
        return 4;
    default:
        return 3;
    }
}

static int read_png(const void *data, size_t bytes, struct stn_image_header *out, char *why,
                    size_t why_bytes) {
    struct spng_ihdr ihdr;
    spng_ctx *png = spng_ctx_new(0);
    int failed = png ? spng_set_png_buffer(png, data, bytes) : SPNG_EMEM;
    if (!failed) failed = spng_get_ihdr(png, &ihdr);
    spng_ctx_free(png);
    if (failed) {
        snprintf(why, why_bytes, "is a broken PNG: %s", spng_strerror(failed));
        return failed == SPNG_EMEM ? STERNA_ENOMEM : STERNA_EDECODE;
    }
    *out = (struct stn_image_header){"png", ihdr.width, ihdr.height, png_channels(ihdr.color_type)};
    return STERNA_OK;
}

/* ---- WebP ---- */

static int read_webp(const void *data, size_t bytes, struct stn_image_header *out, char *why,
                     size_t why_bytes) {
    WebPBitstreamFeatures features;
    VP8StatusCode status = WebPGetFeatures(data, bytes, &features);
    if (status == VP8_STATUS_OUT_OF_MEMORY) return STERNA_ENOMEM;
    if (status != VP8_STATUS_OK) {
        snprintf(why, why_bytes, "is a broken WebP: %s",
                 status == VP8_STATUS_NOT_ENOUGH_DATA ? "it ends early" : "its header is invalid");
        return STERNA_EDECODE;
    }
    *out = (struct stn_image_header){"webp", (uint32_t)features.width, (uint32_t)features.height,
                                     features.has_alpha ? 4 : 3};
    return STERNA_OK;
}

int stn_image_header_read(const void *data, size_t bytes, struct stn_image_header *out, char *why,
                          size_t why_bytes) {
    static const uint8_t png[8] = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1A, '\n'};
    const uint8_t *p = data;
    *out = (struct stn_image_header){0};
    if (bytes >= 3 && memcmp(p, "\xFF\xD8\xFF", 3) == 0)
        return read_jpeg(data, bytes, out, why, why_bytes);
    if (bytes >= sizeof png && memcmp(p, png, sizeof png) == 0)
        return read_png(data, bytes, out, why, why_bytes);
    if (bytes >= 12 && memcmp(p, "RIFF", 4) == 0 && memcmp(p + 8, "WEBP", 4) == 0)
        return read_webp(data, bytes, out, why, why_bytes);
    snprintf(why, why_bytes, "is no JPEG, PNG or WebP file");
    return STERNA_EDECODE;
}
