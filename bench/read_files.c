/* What ingest cannot do without: --threads threads read all files below a folder and compute their
 * CRC-32C.
 *
 *   read_files DIR --threads 2 */
#include <fcntl.h>
#include <ftw.h>
#include <isa-l/crc.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common.h"

static struct {
    char **paths;
    size_t n, cap;
    atomic_size_t next;
    atomic_uint_least64_t bytes, crcs;
} files;

static int add_file(const char *path, const struct stat *st, int type, struct FTW *ftw) {
    (void)st, (void)ftw;
    if (type != FTW_F) return 0;
    if (files.n == files.cap) {
        files.cap = files.cap ? 2 * files.cap : 1024;
        files.paths = must(realloc(files.paths, files.cap * sizeof *files.paths));
    }
    files.paths[files.n++] = must(strdup(path));
    return 0;
}

static void *read_all(void *arg) {
    (void)arg;
    size_t cap = 0;
    unsigned char *buffer = NULL;
    for (size_t i; (i = atomic_fetch_add(&files.next, 1)) < files.n;) {
        struct stat st;
        size_t got = 0;
        ssize_t n = 1;
        int fd = open(files.paths[i], O_RDONLY);
        if (fd < 0 || fstat(fd, &st) < 0) die("%s cannot be read", files.paths[i]);
        if ((size_t)st.st_size > cap) {
            cap = (size_t)st.st_size * 2;
            free(buffer);
            buffer = must(malloc(cap));
        }
        while (got < (size_t)st.st_size && n > 0)
            if ((n = read(fd, buffer + got, (size_t)st.st_size - got)) > 0) got += (size_t)n;
        close(fd);
        atomic_fetch_add(&files.crcs, ~crc32_iscsi(buffer, (int)got, ~0U)); /* so that it is used */
        atomic_fetch_add(&files.bytes, got);
    }
    free(buffer);
    return NULL;
}

int main(int argc, char **argv) {
    if (argc < 2) die("read_files DIR --threads N");
    size_t n_threads =
        option_number(argc, argv, "threads", (uint64_t)sysconf(_SC_NPROCESSORS_ONLN));
    pthread_t *threads = must(calloc(n_threads, sizeof *threads));
    double start = now_s();
    if (nftw(argv[1], add_file, 16, FTW_PHYS) < 0) die("%s cannot be walked", argv[1]);
    for (size_t i = 0; i < n_threads; i++)
        if (pthread_create(&threads[i], NULL, read_all, NULL)) die("no thread");
    for (size_t i = 0; i < n_threads; i++) pthread_join(threads[i], NULL);
    double seconds = now_s() - start;
    printf("{\"threads\": %zu, \"files\": %zu, \"bytes\": %llu, \"seconds\": %.6f, "
           "\"mb_per_s\": %.1f, \"files_per_s\": %.1f, \"crcs\": %llu}\n",
           n_threads, files.n, (unsigned long long)files.bytes, seconds,
           (double)files.bytes / seconds / 1e6, (double)files.n / seconds,
           (unsigned long long)files.crcs);
    for (size_t i = 0; i < files.n; i++) free(files.paths[i]);
    free(files.paths);
    free(threads);
    return 0;
}
