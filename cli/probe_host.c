/* What this host allows a TCP connection, out of /proc. */
#include <stdio.h>
#include <string.h>

#include "probe.h"

/* The file's first line without its end; 0 if there is none, as in some sandboxes. */
static int read_line(const char *path, char *line, size_t bytes) {
    FILE *file = fopen(path, "re");
    int there = file && fgets(line, (int)bytes, file);
    if (file) fclose(file);
    if (there) line[strcspn(line, "\n")] = 0;
    return there;
}

static int read_switch(const char *path) {
    char line[32];
    int on;
    return read_line(path, line, sizeof line) && sscanf(line, "%d", &on) == 1 ? on != 0 : -1;
}

void cli_probe_host(struct cli_host *host) {
    char line[128];
    unsigned long long n[3];
    *host = (struct cli_host){0};
    if (read_line("/proc/sys/net/ipv4/tcp_rmem", line, sizeof line) &&
        sscanf(line, "%llu %llu %llu", &n[0], &n[1], &n[2]) == 3)
        for (int i = 0; i < 3; i++) host->tcp_rmem[i] = n[i];
    if (read_line("/proc/sys/net/core/rmem_max", line, sizeof line) &&
        sscanf(line, "%llu", &n[0]) == 1)
        host->rmem_max = n[0];
    host->window_scaling = read_switch("/proc/sys/net/ipv4/tcp_window_scaling");
    host->moderate_rcvbuf = read_switch("/proc/sys/net/ipv4/tcp_moderate_rcvbuf");
    if (read_line("/proc/sys/net/ipv4/tcp_congestion_control", line, sizeof line))
        snprintf(host->congestion_control, sizeof host->congestion_control, "%.31s", line);
}

double cli_probe_disk_bytes(void) {
    char line[128];
    unsigned long long bytes;
    double found = -1;
    FILE *file = fopen("/proc/self/io", "re");
    while (file && found < 0 && fgets(line, sizeof line, file))
        if (sscanf(line, "read_bytes: %llu", &bytes) == 1) found = (double)bytes;
    if (file) fclose(file);
    return found;
}
