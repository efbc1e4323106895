/* sterna probe: what is measured (probe_rate.c), what this host allows (probe_host.c), what follows
 * from both (probe_advice.c), and the command itself with what it prints (cmd_probe.c). */
#ifndef CLI_PROBE_H
#define CLI_PROBE_H

#include "choose.h"
#include "sterna/sterna.h"

struct cli_rate { /* of one way of reading; 0: not measured */
    double bytes_s;
    double samples_s;
    double seconds;
    uint64_t samples, bytes; /* handed out, all in all */
    struct sterna_path path; /* at its end */
};

struct cli_host {                        /* what Linux allows here */
    uint64_t tcp_rmem[3], rmem_max;      /* bytes; 0: not known */
    int window_scaling, moderate_rcvbuf; /* 1 on, 0 off, -1 not known */
    char congestion_control[32];         /* "": not known */
};

#define CLI_ADVICE_MAX 8
struct cli_advice {
    size_t n;
    char lines[CLI_ADVICE_MAX][400];
};

struct cli_probe {
    const char *url;
    char *open_url; /* what is opened for it: less patient */
    struct cli_which which;
    int json;
    double start_s; /* of the command */
    int is_cluster;
    sterna_store *store;
    sterna_selection *selection;
    struct sterna_selection_info info;
    struct cli_host host;
    struct cli_rate many, one; /* of a directory only `many` */
    double disk_bytes;         /* that came from a disk while `many` was measured; < 0: not known */
    struct cli_advice advice;
};

/* ---- probe_rate.c ---- */

/* Reads random samples for a while: longer on a long path, and no longer than most_s. An exit code,
 * after a message. */
int cli_probe_rate(struct cli_rate *out, sterna_store *store, sterna_selection *selection,
                   uint64_t seed, double most_s);
/* Mean of a sample, also of those whose lengths nobody has listed; 0: not known. */
double cli_probe_sample_bytes(const struct cli_probe *p);

/* ---- probe_host.c ---- */

void cli_probe_host(struct cli_host *host);
/* Bytes this process had from disks so far; < 0: not known. */
double cli_probe_disk_bytes(void);

/* ---- probe_advice.c ---- */

double cli_probe_rtt_s(const struct cli_probe *p); /* 0: not known */
/* Share of lost segments, at least; < 0: not known. */
double cli_probe_loss(const struct cli_probe *p);
/* Bytes that are on their way at the measured rate: what all connections together must hold. */
double cli_probe_product(const struct cli_probe *p);
/* tcp_rmem's third number with which one connection alone could hold that; 0: not known. */
uint64_t cli_probe_rmem_needed(const struct cli_probe *p);
/* 1: a sender that slows down at each loss would be slower than what one connection gave. */
int cli_probe_sender_ignores_loss(const struct cli_probe *p);
void cli_probe_advise(struct cli_probe *p);

#endif
