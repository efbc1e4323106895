/* Small pictures in every format that ingest knows, made by the formats' own libraries. */
#ifndef TEST_PICTURES_H
#define TEST_PICTURES_H

#include <stddef.h>
#include <stdint.h>

struct picture {
    uint8_t *data; /* free() it */
    size_t bytes;
};

/* The same pixels for the same seed. channels: JPEG 1, 3, 4 (CMYK); PNG 1, 2, 3, 4; WebP 3, 4. */
struct picture picture_jpeg(unsigned width, unsigned height, int channels, unsigned seed);
struct picture picture_png(unsigned width, unsigned height, int channels, unsigned seed);
struct picture picture_png_palette(unsigned width, unsigned height);
struct picture picture_webp(unsigned width, unsigned height, int channels, unsigned seed);

#endif
