/* What the disk takes: --bytes bytes written one after another to a new FILE, then synced. FILE is
 * removed again.
 *
 *   disk_writes FILE --bytes 512M --block 1M --sync-every 0 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "common.h"

int main(int argc, char **argv) {
    if (argc < 2) die("disk_writes FILE --bytes N --block N --sync-every N");
    uint64_t bytes = option_number(argc, argv, "bytes", (uint64_t)512 << 20), since_sync = 0;
    size_t block = option_number(argc, argv, "block", 1 << 20);
    uint64_t sync_every = option_number(argc, argv, "sync-every", 0); /* 0: once, at the end */
    struct random_stream random = {1};
    uint8_t *buffer = must(malloc(block));
    random_fill(&random, buffer, block);
    int fd = open(argv[1], O_WRONLY | O_CREAT | O_EXCL, 0666);
    if (fd < 0) die("%s cannot be made", argv[1]);
    double start = now_s();
    for (uint64_t done = 0; done < bytes; done += block) {
        if (write(fd, buffer, block) != (ssize_t)block) die("%s: a write failed", argv[1]);
        since_sync += block;
        if (sync_every && since_sync >= sync_every) {
            if (fdatasync(fd) < 0) die("%s: cannot be synced", argv[1]);
            since_sync = 0;
        }
    }
    if (fdatasync(fd) < 0) die("%s: cannot be synced", argv[1]);
    double seconds = now_s() - start;
    close(fd);
    unlink(argv[1]);
    printf("{\"bytes\": %llu, \"seconds\": %.6f, \"mb_per_s\": %.1f}\n", (unsigned long long)bytes,
           seconds, (double)bytes / seconds / 1e6);
    free(buffer);
    return 0;
}
