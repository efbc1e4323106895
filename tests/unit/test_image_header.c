#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ingest/image_header.h"
#include "support/pictures.h"

static void test_image_header_of_every_format(void **state) {
    const struct {
        struct picture picture;
        const char *format;
        uint32_t width, height, channels;
    } rows[] = {
        {picture_jpeg(13, 7, 1, 1), "jpeg", 13, 7, 1},
        {picture_jpeg(64, 48, 3, 1), "jpeg", 64, 48, 3},
        {picture_jpeg(5, 9, 4, 1), "jpeg", 5, 9, 4},
        {picture_png(4, 3, 1, 1), "png", 4, 3, 1},
        {picture_png(4, 3, 2, 1), "png", 4, 3, 2},
        {picture_png(40, 30, 3, 1), "png", 40, 30, 3},
        {picture_png(4, 3, 4, 1), "png", 4, 3, 4},
        {picture_png_palette(8, 9), "png", 8, 9, 3},
        {picture_webp(17, 6, 3, 1), "webp", 17, 6, 3},
        {picture_webp(17, 6, 4, 1), "webp", 17, 6, 4},
    };
    (void)state;
    for (size_t i = 0; i < STN_COUNT(rows); i++) {
        struct stn_image_header h;
        char why[200] = "";
        int rc =
            stn_image_header_read(rows[i].picture.data, rows[i].picture.bytes, &h, why, sizeof why);
        if (rc != STERNA_OK || strcmp(h.format, rows[i].format) != 0 || h.width != rows[i].width ||
            h.height != rows[i].height || h.channels != rows[i].channels)
            fail_msg("row %zu: %d %s", i, rc, why);
        free(rows[i].picture.data);
    }
}

static void test_image_header_refuses_what_is_no_image(void **state) {
    static const struct {
        size_t bytes;
        const char *data, *says;
    } rows[] = {
        {0, "", "is no JPEG, PNG or WebP file"},
        {2, "\xff\xd8", "is no JPEG, PNG or WebP file"},
        {3, "\xff\xd8\xff", "is a broken JPEG"},
        {4, "\xff\xd8\xff\xd9", "is a broken JPEG"},
        {8, "\x89PNG\r\n\x1a\n", "is a broken PNG"},
        {33, "\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\0\0\0\0\0\x08\2\0\0\0\0\0\0\0",
         "is a broken PNG"},
        {12, "RIFF\0\0\0\0WEBP", "is a broken WebP"},
        {20, "RIFF\x0c\0\0\0WEBPVP8 \0\0\0\0", "is a broken WebP"},
        {12, "RIFF\0\0\0\0WAVE", "is no JPEG, PNG or WebP file"},
        {6, "GIF89a", "is no JPEG, PNG or WebP file"},
    };
    (void)state;
    for (size_t i = 0; i < STN_COUNT(rows); i++) {
        struct stn_image_header h;
        char why[200] = "";
        uint8_t *data = malloc(rows[i].bytes ? rows[i].bytes : 1); /* to measure, for sanitizers */
        memcpy(data, rows[i].data, rows[i].bytes);
        assert_int_equal(stn_image_header_read(data, rows[i].bytes, &h, why, sizeof why),
                         STERNA_EDECODE);
        if (strncmp(why, rows[i].says, strlen(rows[i].says)) != 0) fail_msg("row %zu: %s", i, why);
        free(data);
    }
}

/* Every cut, and every byte of the head set to hostile values: an answer, no crash, no output. */
static void test_image_header_survives_damage(void **state) {
    struct picture pictures[] = {picture_jpeg(33, 20, 3, 2), picture_png(9, 9, 4, 2),
                                 picture_png_palette(3, 3), picture_webp(20, 10, 3, 2),
                                 picture_webp(20, 10, 4, 2)};
    (void)state;
    FILE *err = tmpfile();
    int saved = dup(2);
    dup2(fileno(err), 2);
    unsigned answers[2] = {0};
    for (size_t i = 0; i < STN_COUNT(pictures); i++) {
        struct picture p = pictures[i];
        size_t head = p.bytes < 700 ? p.bytes : 700;
        struct stn_image_header h;
        char why[64];
        for (size_t n = 0; n < head; n++) {
            uint8_t *cut = malloc(n ? n : 1);
            memcpy(cut, p.data, n);
            answers[stn_image_header_read(cut, n, &h, why, sizeof why) == STERNA_OK]++;
            free(cut);
        }
        for (size_t n = 0; n < head; n++) {
            static const uint8_t values[] = {0, 1, 0x7f, 0x80, 0xff};
            uint8_t old = p.data[n];
            for (size_t k = 0; k < sizeof values; k++) {
                p.data[n] = values[k];
                answers[stn_image_header_read(p.data, p.bytes, &h, why, sizeof why) == STERNA_OK]++;
            }
            p.data[n] = old;
        }
        free(p.data);
    }
    dup2(saved, 2);
    close(saved);
    assert_true(answers[0] > 0 && answers[1] > 0);
    fseek(err, 0, SEEK_END);
    assert_int_equal(ftell(err), 0);
    fclose(err);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_image_header_of_every_format),
        cmocka_unit_test(test_image_header_refuses_what_is_no_image),
        cmocka_unit_test(test_image_header_survives_damage),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
