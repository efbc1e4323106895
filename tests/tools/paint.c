/* Paints one large picture, so that tests which need photographs need no package of them.
 *   paint FILE.jpg WIDTH HEIGHT SEED */
#include <stdio.h>
#include <stdlib.h>

#include <jpeglib.h> /* after stdio.h */

#include "base/philox.h"

/* Waves of two lengths with grain on them: every crop is another one, none compresses to nothing.
 */
static JSAMPLE shade(unsigned x, unsigned y, unsigned channel, unsigned seed) {
    struct stn_philox r = stn_philox4x32((struct stn_philox){{x, y, channel, 0}}, seed, 0);
    unsigned wave = (x * (channel + 2) / 3 + y * (seed % 5 + 1)) % 256;
    unsigned wide = (x / 7 + y / 5 * (channel + 1)) % 256;
    return (JSAMPLE)((wave + wide + r.v[0] % 96) / 3);
}

int main(int argc, char **argv) {
    if (argc != 5) return 2;
    struct jpeg_error_mgr errors; /* exits with a message: right for a test's helper */
    struct jpeg_compress_struct e = {.err = jpeg_std_error(&errors)};
    unsigned width = (unsigned)atoi(argv[2]), height = (unsigned)atoi(argv[3]);
    unsigned seed = (unsigned)atoi(argv[4]);
    JSAMPROW row = calloc(width, 3);
    FILE *file = fopen(argv[1], "wb");
    if (!file || !row) {
        perror(argv[1]);
        free(row);
        return 1;
    }
    jpeg_create_compress(&e);
    jpeg_stdio_dest(&e, file);
    e.image_width = width;
    e.image_height = height;
    e.input_components = 3;
    e.in_color_space = JCS_RGB;
    jpeg_set_defaults(&e);
    jpeg_start_compress(&e, TRUE);
    for (unsigned y = 0; y < height; y++) {
        for (unsigned i = 0; i < width * 3; i++) row[i] = shade(i / 3, y, i % 3, seed);
        jpeg_write_scanlines(&e, &row, 1);
    }
    jpeg_finish_compress(&e);
    jpeg_destroy_compress(&e);
    free(row);
    return fclose(file) == 0 ? 0 : 1;
}
