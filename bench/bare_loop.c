/* The bare loop: what one thread reaches that does nothing but look a value up, bring it into a
 * ring of --ring bytes and compute its CRC-32C, in the order of `sterna read`.
 *
 *   bare_loop STORE --how pread|map --ring 128M --epochs 3 --seed 0 --batch-size 256
 *
 * pread: value bytes by pread from their place in the file. map: memcpy out of LMDB's map. Order
 * and ids are computed before the clock starts, so that the loop owes nothing to the library. */
#include <isa-l/crc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "values.h"

struct ring {
    uint8_t *base;
    size_t bytes, at;
};

static void ring_open(struct ring *r, size_t bytes) {
    *r = (struct ring){.bytes = bytes};
    r->base = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (r->base == MAP_FAILED) die("no memory for the ring");
    madvise(r->base, bytes, MADV_HUGEPAGE);
}

static uint8_t *ring_next(struct ring *r, size_t bytes) {
    size_t padded = (bytes + 63) & ~(size_t)63;
    if (padded > r->bytes) die("the ring is smaller than a value of %zu bytes", bytes);
    if (r->at + padded > r->bytes) r->at = 0;
    uint8_t *place = r->base + r->at;
    r->at += padded;
    return place;
}

static size_t bring(const struct values *v, struct ring *ring, const struct value *value,
                    int by_map) {
    size_t bytes = value->bytes - HEADER_BYTES;
    uint8_t *to = ring_next(ring, bytes);
    uint32_t crc;
    if (by_map)
        memcpy(to, value->data + HEADER_BYTES, bytes);
    else if (pread(v->fd, to, bytes, value->offset + HEADER_BYTES) != (ssize_t)bytes)
        die("a short read");
    memcpy(&crc, value->data + 4, sizeof crc);
    if (~crc32_iscsi(to, (int)bytes, ~0U) != crc) die("a value differs from its checksum");
    return bytes;
}

int main(int argc, char **argv) {
    if (argc < 2) die("bare_loop STORE --how pread|map --ring BYTES --epochs K");
    struct listing list;
    struct values values;
    struct ring ring;
    const char *how = option(argc, argv, "how", "pread");
    int by_map = strcmp(how, "map") == 0;
    uint64_t n_epochs = option_number(argc, argv, "epochs", 3);
    listing_open(&list, argv[1], argc, argv);
    values_open(&values, argv[1]);
    ring_open(&ring, option_number(argc, argv, "ring", (uint64_t)128 << 20));
    uint64_t *index = must(malloc(list.n * sizeof *index));

    printf("{\"how\": \"%s\", \"ring_bytes\": %zu, \"samples\": %llu, \"epochs\": [", how,
           ring.bytes, (unsigned long long)list.n);
    for (uint64_t epoch = 0; epoch < n_epochs; epoch++) {
        listing_order(&list, epoch, index);
        uint64_t bytes = 0;
        double cpu = cpu_s(), start = now_s();
        for (uint64_t i = 0; i < list.n; i++) {
            struct value value;
            values_find(&values, list.ids[index[i]], list.field, &value);
            bytes += bring(&values, &ring, &value, by_map);
        }
        double seconds = now_s() - start;
        printf("%s{\"seconds\": %.6f, \"cpu_s\": %.6f, \"bytes\": %llu, \"samples_per_s\": %.1f}",
               epoch ? ", " : "", seconds, cpu_s() - cpu, (unsigned long long)bytes,
               (double)list.n / seconds);
    }
    printf("]}\n");
    munmap(ring.base, ring.bytes);
    values_close(&values);
    listing_close(&list);
    free(index);
    return 0;
}
