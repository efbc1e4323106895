/* Fills a store with samples that look like images: the head of a PNG file, then random bytes.
 *
 *   fill STORE --samples 10000 --median 110K --sigma 0.5 --min 1K --max 32M --seed 1
 *
 * Sizes are log-normal: exp(N(log median, sigma)); sigma 0 makes all of them equal. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common.h"

/* Signature and IHDR chunk of a PNG file of 500 x 375 pixels of 3 x 8 bits. */
static const uint8_t head[] = {0x89, 0x50, 0x4E, 0x47, 0x0D, 0x0A, 0x1A, 0x0A, 0x00, 0x00, 0x00,
                               0x0D, 0x49, 0x48, 0x44, 0x52, 0x00, 0x00, 0x01, 0xF4, 0x00, 0x00,
                               0x01, 0x77, 0x08, 0x02, 0x00, 0x00, 0x00, 0xDC, 0x90, 0x2E, 0xAB};

int main(int argc, char **argv) {
    if (argc < 2) die("fill STORE --samples N --median BYTES --sigma S");
    uint64_t n = option_number(argc, argv, "samples", 10000);
    uint64_t min = option_number(argc, argv, "min", 256);
    uint64_t max = option_number(argc, argv, "max", (uint64_t)32 << 20);
    double median = (double)option_number(argc, argv, "median", 110 << 10);
    double sigma = option_real(argc, argv, "sigma", 0.5);
    struct random_stream sizes = {option_number(argc, argv, "seed", 1)}, content = {~sizes.state};
    struct sterna_error err = {0};
    const struct sterna_store_options create = {.struct_size = sizeof create,
                                                .mode = STERNA_OPEN_CREATE};
    sterna_store *store;
    sterna_ingest *ingest;
    uint64_t run, n_bytes = 0;

    /* Values are windows of one random buffer, each with its own number. */
    size_t pool_bytes = max + 4096;
    uint8_t *pool = must(malloc(pool_bytes));
    random_fill(&content, pool, pool_bytes);
    check(sterna_store_open(&store, argv[1], &create, &err), &err);
    check(sterna_ingest_open(&ingest, store, "bench", 0, &err), &err);
    for (uint64_t i = 0; i < n; i++) {
        double wanted = exp(log(median) + sigma * random_normal(&sizes));
        size_t bytes = wanted < (double)min ? min : wanted > (double)max ? max : (size_t)wanted;
        uint8_t *data = pool + random_next(&content) % 4096;
        memcpy(data, head, sizeof head);
        memcpy(data + sizeof head, &i, sizeof i);
        char path[32];
        snprintf(path, sizeof path, "%08llu.png", (unsigned long long)i);
        struct sterna_blob blob = {"image", STERNA_KIND_IMAGE, data, bytes};
        struct sterna_sample sample = {.path = path, .blobs = &blob, .n_blobs = 1};
        enum sterna_outcome outcome;
        check(sterna_ingest_add(ingest, &sample, &outcome, &err), &err);
        if (outcome != STERNA_ADDED) die("%s: %s", path, sterna_outcome_name(outcome));
        n_bytes += bytes;
    }
    check(sterna_ingest_commit(ingest, &run, &err), &err);
    sterna_ingest_close(&ingest);
    sterna_store_close(&store);
    free(pool);
    printf("{\"samples\": %llu, \"bytes\": %llu}\n", (unsigned long long)n,
           (unsigned long long)n_bytes);
    return 0;
}
