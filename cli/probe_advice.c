/* What the figures mean, and what a user could change. Only what follows from them is said; what a
 * server does is not to be seen from here. */
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "cli.h"
#include "probe.h"
#include "size.h"

#define LONG_PATH_S 0.005       /* shorter ones are no trouble for any buffer */
#define EPOCHS_AT_ONCE 4        /* that a loader reads across */
#define SEGMENTS_FOR_LOSS 10000 /* fewer say nothing about it */
#define HOLES_FOR_LOSS 3
#define HOLES_FOR_SENDER 7 /* fewer, and it may still live on its start, before the first */
#define SEGMENT_BYTES 1448.0
#define MIB 1048576.0

__attribute__((format(printf, 2, 3))) static void add(struct cli_advice *a, const char *format,
                                                      ...) {
    va_list args;
    if (a->n == CLI_ADVICE_MAX) return;
    va_start(args, format);
    vsnprintf(a->lines[a->n++], sizeof a->lines[0], format, args);
    va_end(args);
}

/* The least: what is more was spent waiting in queues, or for this process. */
double cli_probe_rtt_s(const struct cli_probe *p) {
    const uint64_t all[] = {p->many.path.rtt_ns, p->many.path.tcp_rtt_ns, p->one.path.rtt_ns,
                            p->one.path.tcp_rtt_ns};
    uint64_t least_ns = 0;
    for (size_t i = 0; i < CLI_COUNT(all); i++)
        if (all[i] > 0 && (least_ns == 0 || all[i] < least_ns)) least_ns = all[i];
    return (double)least_ns / 1e9;
}

static double segments(const struct cli_probe *p) {
    return (double)(p->many.path.segments + p->one.path.segments);
}

double cli_probe_loss(const struct cli_probe *p) {
    if (segments(p) <= 0) return -1;
    return (double)(p->many.path.holes + p->one.path.holes) / segments(p);
}

double cli_probe_product(const struct cli_probe *p) { return p->many.bytes_s * cli_probe_rtt_s(p); }

/* Linux gives about half of the buffer to what lies in it, the rest to what that costs. */
static double window_of(double rmem) { return rmem / 2; }

uint64_t cli_probe_rmem_needed(const struct cli_probe *p) {
    double product = cli_probe_product(p);
    return product > 0 ? (uint64_t)(ceil(2 * product / MIB) * MIB) : 0;
}

/* One connection's rate; several servers have one each. */
static double one_rate(const struct cli_probe *p) {
    uint32_t n = p->one.path.connections;
    return n > 0 ? p->one.bytes_s / n : p->one.bytes_s;
}

/* Of a sender that takes each loss for congestion: what TCP's published formulas for Reno and CUBIC
 * give, whichever is more. */
int cli_probe_sender_ignores_loss(const struct cli_probe *p) {
    const struct sterna_path *path = &p->one.path;
    double rtt_s = cli_probe_rtt_s(p);
    if (rtt_s < LONG_PATH_S || path->segments < SEGMENTS_FOR_LOSS || path->holes < HOLES_FOR_SENDER)
        return 0;
    double loss = (double)path->holes / (double)path->segments;
    double reno = 1.22 / sqrt(loss), cubic = 1.17 * pow(rtt_s / loss, 0.75);
    return one_rate(p) > 3 * fmax(reno, cubic) * SEGMENT_BYTES / rtt_s;
}

/* ---- what holds a rate down ---- */

static void on_switches(struct cli_probe *p) {
    if (p->host.window_scaling == 0)
        add(&p->advice, "TCP window scaling is off here: no connection can have more than 64 kB on "
                        "its way. sysctl -w net.ipv4.tcp_window_scaling=1");
    if (p->host.moderate_rcvbuf == 0)
        add(&p->advice, "receive buffers do not grow by themselves here. sysctl -w "
                        "net.ipv4.tcp_moderate_rcvbuf=1");
}

static void rmem_line(struct cli_probe *p, const char *why, double bytes) {
    const uint64_t *r = p->host.tcp_rmem;
    add(&p->advice, "%s: sysctl -w net.ipv4.tcp_rmem=\"%llu %llu %.0f\"", why,
        (unsigned long long)r[0], (unsigned long long)r[1], ceil(bytes / MIB) * MIB);
}

static void on_buffers(struct cli_probe *p) {
    double rtt_s = cli_probe_rtt_s(p), rmem = (double)p->host.tcp_rmem[2];
    double one = one_rate(p), window = window_of(rmem), product = cli_probe_product(p);
    uint32_t n = p->many.path.connections_max;
    char why[200], a[CLI_NUMBER_TEXT], b[CLI_NUMBER_TEXT];
    if (rtt_s < LONG_PATH_S || rmem <= 0) return;
    if (n > 0 && n * window < 1.25 * product) {
        snprintf(why, sizeof why,
                 "%u connections can hold %s with this host's receive buffers, and "
                 "%s are on their way: more may come with larger ones",
                 n, cli_size_text(n * window, a), cli_size_text(product, b));
        rmem_line(p, why, 4 * product / n);
    } else if (one > 0 && p->many.bytes_s > 1.2 * p->one.bytes_s && one * rtt_s > 0.8 * window) {
        snprintf(why, sizeof why,
                 "one connection fills this host's receive buffer (%s in a round trip), and more "
                 "connections make up for that; so that one could carry all",
                 cli_size_text(one * rtt_s, a));
        rmem_line(p, why, 2 * product);
    } else if (one > 0 && p->many.bytes_s > 1.5 * p->one.bytes_s && cli_probe_loss(p) == 0) {
        add(&p->advice,
            "one connection carries %s in a round trip, less than this host's buffers "
            "hold: the servers' send buffers (net.ipv4.tcp_wmem there) or their "
            "congestion control bound it; more connections make up for that",
            cli_size_text(one * rtt_s, a));
    }
}

static void on_loss(struct cli_probe *p) {
    if (cli_probe_rtt_s(p) < LONG_PATH_S || segments(p) < SEGMENTS_FOR_LOSS) return;
    if (p->many.path.holes + p->one.path.holes < HOLES_FOR_LOSS) return;
    double window = window_of((double)p->host.tcp_rmem[2]);
    int harmless = window > 0 && one_rate(p) * cli_probe_rtt_s(p) > 0.75 * window;
    if (cli_probe_sender_ignores_loss(p))
        add(&p->advice, "with so much loss a sender that slows down at each (cubic, reno) would be "
                        "slower: the servers' congestion control likely goes by rate, such as bbr");
    else if (!harmless)
        add(&p->advice, "segments are lost or overtaken on the way: if the servers send with cubic "
                        "or reno (Linux's default), each connection slows down at each loss. On "
                        "the servers: sysctl -w net.core.default_qdisc=fq "
                        "net.ipv4.tcp_congestion_control=bbr");
}

static void on_data(struct cli_probe *p) {
    const char *limit = getenv("STERNA_MAX_RATE");
    char a[CLI_NUMBER_TEXT];
    if (limit && *limit)
        add(&p->advice, "STERNA_MAX_RATE=%.40s bounds each rate measured here", limit);
    if (p->is_cluster && p->info.n > 0 && p->info.n_bytes > 0 &&
        EPOCHS_AT_ONCE * (double)p->info.n_bytes < 2 * fmax(cli_probe_product(p), 8 * MIB))
        add(&p->advice,
            "only %s to read: too little to fill a fast link, the rates are what so few "
            "samples allow",
            cli_size_text((double)p->info.n_bytes, a));
    if (p->many.path.overloaded + p->one.path.overloaded > 0)
        add(&p->advice,
            "the servers said %llu times that they were overloaded: they bound the rate",
            (unsigned long long)(p->many.path.overloaded + p->one.path.overloaded));
}

void cli_probe_advise(struct cli_probe *p) {
    if (p->is_cluster) on_switches(p);
    if (p->is_cluster && p->many.bytes_s > 0) {
        on_buffers(p);
        on_loss(p);
    }
    on_data(p);
}
