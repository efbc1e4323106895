/* What the disk gives: --threads threads read the values of a store, in the order of `sterna read`,
 * each by one pread, and do nothing with them.
 *
 *   disk_reads STORE --threads 16 --direct 0|1 --seed 0 --epoch 0
 *
 * Places are looked up first; then the file's pages are dropped from the page cache, and the clock
 * starts. With --direct the reads go round the page cache, as fio's usually do. */
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "values.h"

#define PAGE_BYTES 4096

struct place {
    off_t offset;
    size_t bytes;
};

struct reading {
    struct place *places;
    uint64_t n;
    int fd;
    size_t buffer_bytes;
    atomic_uint_least64_t next;
};

static void *read_values(void *arg) {
    struct reading *r = arg;
    uint8_t *buffer = must(aligned_alloc(PAGE_BYTES, r->buffer_bytes));
    for (uint64_t i; (i = atomic_fetch_add(&r->next, 1)) < r->n;) {
        const struct place *p = &r->places[i];
        for (size_t got = 0; got < p->bytes;) {
            ssize_t n = pread(r->fd, buffer + got, p->bytes - got, p->offset + (off_t)got);
            if (n <= 0) die("a read of %zu bytes at %lld failed", p->bytes, (long long)p->offset);
            got += (size_t)n;
        }
    }
    free(buffer);
    return NULL;
}

static void find_places(struct reading *r, const char *store, const struct listing *list,
                        uint64_t epoch, int direct) {
    struct values values;
    uint64_t *index = must(malloc(list->n * sizeof *index));
    r->places = must(malloc(list->n * sizeof *r->places));
    r->n = list->n;
    listing_order(list, epoch, index);
    values_open(&values, store);
    for (uint64_t i = 0; i < list->n; i++) {
        struct value value;
        values_find(&values, list->ids[index[i]], list->field, &value);
        struct place p = {value.offset, value.bytes};
        if (direct) { /* whole pages */
            size_t front = (size_t)(p.offset % PAGE_BYTES);
            p.offset -= (off_t)front;
            p.bytes = (p.bytes + front + PAGE_BYTES - 1) / PAGE_BYTES * PAGE_BYTES;
        }
        r->places[i] = p;
        if (p.bytes > r->buffer_bytes)
            r->buffer_bytes = (p.bytes + PAGE_BYTES - 1) / PAGE_BYTES * PAGE_BYTES;
    }
    values_close(&values);
    free(index);
}

int main(int argc, char **argv) {
    if (argc < 2) die("disk_reads STORE --threads N --direct 0|1");
    struct listing list;
    struct reading reading = {0};
    int direct = option_number(argc, argv, "direct", 0) != 0;
    size_t n_threads = option_number(argc, argv, "threads", 16);
    pthread_t *threads = must(calloc(n_threads, sizeof *threads));
    char path[4096];
    listing_open(&list, argv[1], argc, argv);
    find_places(&reading, argv[1], &list, option_number(argc, argv, "epoch", 0), direct);
    snprintf(path, sizeof path, "%s/data.mdb", argv[1]);
    reading.fd = open(path, O_RDONLY | (direct ? O_DIRECT : 0));
    if (reading.fd < 0) die("%s cannot be opened", path);
    posix_fadvise(reading.fd, 0, 0, POSIX_FADV_RANDOM);
    posix_fadvise(reading.fd, 0, 0, POSIX_FADV_DONTNEED);

    double start = now_s();
    for (size_t i = 0; i < n_threads; i++)
        if (pthread_create(&threads[i], NULL, read_values, &reading)) die("no thread");
    for (size_t i = 0; i < n_threads; i++) pthread_join(threads[i], NULL);
    double seconds = now_s() - start;
    printf("{\"threads\": %zu, \"direct\": %d, \"samples\": %llu, \"bytes\": %llu, "
           "\"seconds\": %.6f, \"samples_per_s\": %.1f, \"mb_per_s\": %.1f}\n",
           n_threads, direct, (unsigned long long)list.n, (unsigned long long)list.n_bytes, seconds,
           (double)list.n / seconds, (double)list.n_bytes / seconds / 1e6);
    close(reading.fd);
    free(reading.places);
    free(threads);
    listing_close(&list);
    return 0;
}
