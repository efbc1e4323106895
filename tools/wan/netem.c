#include "netem.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/ethtool.h>
#include <linux/if.h>
#include <linux/sockios.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "network.h"

enum {
    WIRE_BYTES = 1538,
    EXTRA_BYTES = 24, /* of these, what netem does not see: checksum, preamble, gap */
    LIMIT_UNLIMITED = 1000000,
    OUTPUT_BYTES = 4096
};

/* ---- programs ---- */

/* Runs it and keeps the beginning of what it says; its exit status, or -1. */
static int run(const char *const *command, char *said) {
    int ends[2], status;
    size_t n = 0;
    said[0] = '\0';
    if (pipe2(ends, O_CLOEXEC) < 0) return -1;
    pid_t pid = fork();
    if (pid == 0) {
        dup2(ends[1], 1);
        dup2(ends[1], 2);
        execvp(command[0], (char *const *)(uintptr_t)command);
        dprintf(2, "%s: %s", command[0], strerror(errno));
        _exit(127);
    }
    close(ends[1]);
    char rest[256];
    for (ssize_t got = 1; pid > 0 && got > 0;
         n += got > 0 && n < OUTPUT_BYTES - 1 ? (size_t)got : 0)
        got = n < OUTPUT_BYTES - 1 ? read(ends[0], said + n, OUTPUT_BYTES - 1 - n)
                                   : read(ends[0], rest, sizeof rest);
    close(ends[0]);
    said[n] = '\0';
    if (pid < 0 || waitpid(pid, &status, 0) != pid) return -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static int must(const char *const *command, const char *advice, char *why) {
    char said[OUTPUT_BYTES];
    if (run(command, said) == 0) return 0;
    said[strcspn(said, "\n")] = '\0';
    errno = 0;
    return wan_failed(why, "%s: %.200s%s", command[0], said, advice);
}

/* ---- setting up ---- */

int wan_netem_known(void) {
    const char *add[] = {"tc", "qdisc", "add", "dev", "lo", "root", "netem", "delay", "1ms", NULL};
    const char *del[] = {"tc", "qdisc", "del", "dev", "lo", "root", NULL};
    char said[OUTPUT_BYTES];
    if (run(add, said) != 0) return 0;
    run(del, said);
    return 1;
}

int wan_netem_connect(pid_t peer, char *why) {
    char pid[16];
    snprintf(pid, sizeof pid, "%d", (int)peer);
    const char *command[] = {"ip",   "link", "add",      WAN_DEVICE, "type", "veth",
                             "peer", "name", WAN_DEVICE, "netns",    pid,    NULL};
    return must(command, "", why);
}

static int offload_off(int fd, uint32_t what, char *why) {
    struct ethtool_value value = {.cmd = what, .data = 0};
    struct ifreq r = {.ifr_data = (void *)&value};
    snprintf(r.ifr_name, sizeof r.ifr_name, "%s", WAN_DEVICE);
    return ioctl(fd, SIOCETHTOOL, &r) < 0 ? wan_failed(why, WAN_DEVICE ": offloads") : 0;
}

static int offloads_off(char *why) {
    static const uint32_t all[] = {ETHTOOL_STSO, ETHTOOL_SGSO, ETHTOOL_SGRO};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), rc = 0;
    if (fd < 0) return wan_failed(why, "socket");
    for (size_t i = 0; i < sizeof all / sizeof *all && rc == 0; i++)
        rc = offload_off(fd, all[i], why);
    close(fd);
    return rc;
}

struct words { /* of a command */
    const char *list[32];
    size_t n;
    char text[16][32];
    size_t n_texts;
};

static void add(struct words *w, const char *word) { w->list[w->n++] = word; }

static void add_number(struct words *w, const char *format, double value) {
    char *text = w->text[w->n_texts++];
    snprintf(text, sizeof w->text[0], format, value);
    add(w, text);
}

/* netem counts its limit in packets, those in the delay and those before the link. */
static double limit(const struct wan_options *o) {
    if (o->mbit <= 0) return LIMIT_UNLIMITED;
    double longest_ms = o->rtt_ms / 2 + o->jitter_ms + o->queue_ms;
    return longest_ms * o->mbit * 1e3 / 8 / WIRE_BYTES + 1;
}

int wan_netem_apply(const struct wan_options *o, char *why) {
    struct words w = {.list = {"tc", "qdisc", "add", "dev", WAN_DEVICE, "root", "netem", "limit"},
                      .n = 8};
    if (offloads_off(why) < 0) return -1;
    add_number(&w, "%.0f", limit(o));
    add(&w, "delay");
    add_number(&w, "%.3fms", o->rtt_ms / 2 + o->jitter_ms / 2);
    if (o->jitter_ms > 0) add_number(&w, "%.3fms", o->jitter_ms / 2);
    if (o->loss > 0) add(&w, "loss");
    if (o->loss > 0) add_number(&w, "%.7f%%", 100 * o->loss);
    if (o->reorder > 0) add(&w, "reorder");
    if (o->reorder > 0) add_number(&w, "%.7f%%", 100 * o->reorder);
    if (o->mbit > 0) add(&w, "rate");
    if (o->mbit > 0) add_number(&w, "%.0fbit", 1e6 * o->mbit);
    if (o->mbit > 0) add_number(&w, "%.0f", EXTRA_BYTES);
    add(&w, NULL);
    return must(w.list, " (modprobe sch_netem, or --by tun)", why);
}

static uint64_t value_of(const char *json, const char *key) {
    const char *at = strstr(json, key);
    uint64_t value = 0;
    if (at) sscanf(at + strlen(key), ": %" SCNu64, &value);
    return value;
}

void wan_netem_counts(struct wan_netem_counts *c) {
    const char *command[] = {"tc", "-s", "-j", "qdisc", "show", "dev", WAN_DEVICE, NULL};
    char said[OUTPUT_BYTES];
    *c = (struct wan_netem_counts){0};
    if (run(command, said) != 0) return;
    c->packets = value_of(said, "\"packets\"");
    c->bytes = value_of(said, "\"bytes\"");
    c->dropped = value_of(said, "\"drops\"");
}
