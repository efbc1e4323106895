#include "support/pictures.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jpeglib.h>
#include <spng.h>
#include <webp/encode.h>

static uint8_t *pixels(size_t bytes, unsigned seed) {
    uint8_t *p = malloc(bytes);
    if (!p) abort();
    uint32_t x = seed * 2654435761U + 1;
    for (size_t i = 0; i < bytes; i++) {
        x = x * 1664525U + 1013904223U;
        p[i] = (uint8_t)((i / 7 + (x >> 27)) & 0xFF);
    }
    return p;
}

/* A copy that malloc() made to measure, so that a sanitizer sees a read past the end. */
static struct picture owned(const uint8_t *data, size_t bytes) {
    struct picture p = {malloc(bytes), bytes};
    if (!p.data) abort();
    memcpy(p.data, data, bytes);
    return p;
}

struct picture picture_jpeg(unsigned width, unsigned height, int channels, unsigned seed) {
    uint8_t *raw = pixels((size_t)width * height * (size_t)channels, seed), *data = NULL;
    unsigned long bytes = 0;
    struct jpeg_compress_struct jpeg;
    struct jpeg_error_mgr errors;
    jpeg.err = jpeg_std_error(&errors);
    jpeg_create_compress(&jpeg);
    jpeg_mem_dest(&jpeg, &data, &bytes);
    jpeg.image_width = width;
    jpeg.image_height = height;
    jpeg.input_components = channels;
    jpeg.in_color_space = channels == 1 ? JCS_GRAYSCALE : channels == 3 ? JCS_RGB : JCS_CMYK;
    jpeg_set_defaults(&jpeg);
    jpeg_start_compress(&jpeg, TRUE);
    while (jpeg.next_scanline < height) {
        JSAMPROW row = raw + (size_t)jpeg.next_scanline * width * (size_t)channels;
        jpeg_write_scanlines(&jpeg, &row, 1);
    }
    jpeg_finish_compress(&jpeg);
    struct picture p = owned(data, bytes);
    jpeg_destroy_compress(&jpeg);
    free(data);
    free(raw);
    return p;
}

static struct picture png(struct spng_ihdr *ihdr, const uint8_t *raw, size_t raw_bytes) {
    spng_ctx *ctx = spng_ctx_new(SPNG_CTX_ENCODER);
    size_t bytes = 0;
    int error = 0;
    spng_set_option(ctx, SPNG_ENCODE_TO_BUFFER, 1);
    spng_set_ihdr(ctx, ihdr);
    if (ihdr->color_type == SPNG_COLOR_TYPE_INDEXED) {
        struct spng_plte plte = {.n_entries = 256};
        spng_set_plte(ctx, &plte);
    }
    if (spng_encode_image(ctx, raw, raw_bytes, SPNG_FMT_PNG, SPNG_ENCODE_FINALIZE)) abort();
    void *data = spng_get_png_buffer(ctx, &bytes, &error);
    if (!data) abort();
    struct picture p = owned(data, bytes);
    free(data);
    spng_ctx_free(ctx);
    return p;
}

struct picture picture_png(unsigned width, unsigned height, int channels, unsigned seed) {
    static const uint8_t types[] = {0, SPNG_COLOR_TYPE_GRAYSCALE, SPNG_COLOR_TYPE_GRAYSCALE_ALPHA,
                                    SPNG_COLOR_TYPE_TRUECOLOR, SPNG_COLOR_TYPE_TRUECOLOR_ALPHA};
    struct spng_ihdr ihdr = {
        .width = width, .height = height, .bit_depth = 8, .color_type = types[channels]};
    size_t bytes = (size_t)width * height * (size_t)channels;
    uint8_t *raw = pixels(bytes, seed);
    struct picture p = png(&ihdr, raw, bytes);
    free(raw);
    return p;
}

struct picture picture_png_palette(unsigned width, unsigned height) {
    struct spng_ihdr ihdr = {
        .width = width, .height = height, .bit_depth = 8, .color_type = SPNG_COLOR_TYPE_INDEXED};
    uint8_t *raw = pixels((size_t)width * height, 1);
    struct picture p = png(&ihdr, raw, (size_t)width * height);
    free(raw);
    return p;
}

struct picture picture_webp(unsigned width, unsigned height, int channels, unsigned seed) {
    uint8_t *raw = pixels((size_t)width * height * (size_t)channels, seed), *data = NULL;
    int stride = (int)width * channels;
    size_t bytes = channels == 3 ? WebPEncodeRGB(raw, (int)width, (int)height, stride, 75, &data)
                                 : WebPEncodeRGBA(raw, (int)width, (int)height, stride, 75, &data);
    if (bytes == 0) abort();
    struct picture p = owned(data, bytes);
    WebPFree(data);
    free(raw);
    return p;
}
