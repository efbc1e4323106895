#include "options.h"

#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char usage[] =
    "wan run [OPTION]... -- SERVER-COMMAND --- CLIENT-COMMAND\n"
    "\n"
    "Runs two commands at the two ends of an emulated long link: each in a network namespace of\n"
    "its own, which ends with it. Needs no root where users may make user namespaces. The client\n"
    "starts when the server listens; when it has ended the server is ended. Commands are no shell\n"
    "lines: use sh -c. Both find the addresses in STERNA_WAN_SERVER (10.77.0.1) and\n"
    "STERNA_WAN_CLIENT (10.77.0.2). What the server prints goes to stderr.\n"
    "\n"
    "The link, the same in both directions:\n"
    "  --rtt-ms N          round trip, half of it each way (0)\n"
    "  --mbit N            rate in Mb/s of Ethernet: 1538 bytes for a packet of 1500; 0: no limit "
    "(0)\n"
    "  --queue-ms N        longest wait for the link; what comes then is dropped (100)\n"
    "  --loss P            probability that a packet (of at most 1500 bytes) is lost (0)\n"
    "  --jitter-ms N       up to so much more delay each way, which comes and goes; keeps the "
    "order (0)\n"
    "  --reorder P         probability that a packet comes late, behind others (0)\n"
    "  --seed N            of what is random (1)\n"
    "  --by tun|netem      relay in user space, or the kernel's netem (netem if the kernel has "
    "it)\n"
    "\n"
    "The two ends:\n"
    "  --cc NAME           TCP congestion control of the server: cubic, bbr ...\n"
    "  --client-cc NAME    of the client\n"
    "  --server-wmem-max N largest send buffer of the server's connections in bytes (tcp_wmem)\n"
    "  --client-rmem-max N largest receive buffer of the client's (tcp_rmem)\n"
    "  --addresses N       of the server: also 10.77.0.3, 10.77.0.4 ... (1)\n"
    "  --ready-port N      the client waits for this TCP port; 0: it does not wait (any port)\n"
    "  --ready-s N         for how long, at most (60)\n"
    "  --json FILE         the result goes there, not to stderr\n"
    "\n"
    "The result is a line of JSON: the link, TCP's settings at both ends, and what was sent, lost\n"
    "and dropped in each direction, in packets as they would be on a wire.\n"
    "Exit: the client's status (128 + N if signal N ended it); 126, 127 as a shell's; 125: wan\n"
    "itself failed.\n";

__attribute__((noreturn, format(printf, 1, 2))) static void refuse(const char *format, ...) {
    va_list args;
    va_start(args, format);
    fputs("wan: ", stderr);
    vfprintf(stderr, format, args);
    fputs(" (see wan --help)\n", stderr);
    va_end(args);
    exit(WAN_EXIT_FAILED);
}

enum kind { REAL, WHOLE, TEXT, BY, HELP };

#define AT(field) offsetof(struct wan_options, field)

static const struct row {
    const char *name;
    enum kind kind;
    size_t at; /* in struct wan_options */
    double least, most;
} rows[] = {{"rtt-ms", REAL, AT(rtt_ms), 0, 10000},
            {"mbit", REAL, AT(mbit), 0, 100000},
            {"queue-ms", REAL, AT(queue_ms), 0, 10000},
            {"loss", REAL, AT(loss), 0, 1},
            {"jitter-ms", REAL, AT(jitter_ms), 0, 10000},
            {"reorder", REAL, AT(reorder), 0, 1},
            {"seed", WHOLE, AT(seed), 0, 0x1p53},
            {"by", BY, 0, 0, 0},
            {"cc", TEXT, AT(server_cc), 0, 0},
            {"client-cc", TEXT, AT(client_cc), 0, 0},
            {"server-wmem-max", WHOLE, AT(server_wmem_max), 4096, 0x1p31 - 1},
            {"client-rmem-max", WHOLE, AT(client_rmem_max), 4096, 0x1p31 - 1},
            {"addresses", WHOLE, AT(addresses), 1, 200},
            {"ready-port", WHOLE, AT(ready_port), 0, 65535},
            {"ready-s", REAL, AT(ready_s), 0, 86400},
            {"json", TEXT, AT(json_path), 0, 0},
            {"help", HELP, 0, 0, 0}};

enum { N_ROWS = sizeof rows / sizeof *rows, FIRST = 256 };

static double number(const struct row *row, const char *text) {
    char *end;
    errno = 0;
    double v = strtod(text, &end);
    if (errno || end == text || *end || !(v >= row->least && v <= row->most))
        refuse("--%s %s: not a number from %g to %g", row->name, text, row->least, row->most);
    if (row->kind == WHOLE && v != floor(v)) refuse("--%s %s: not a whole number", row->name, text);
    return v;
}

static enum wan_by by(const char *text) {
    if (strcmp(text, "tun") == 0) return WAN_BY_TUN;
    if (strcmp(text, "netem") == 0) return WAN_BY_NETEM;
    refuse("--by %s: tun or netem", text);
}

static void take(struct wan_options *o, const struct row *row, const char *text) {
    void *to = (char *)o + row->at;
    switch (row->kind) {
    case REAL:
        *(double *)to = number(row, text);
        break;
    case WHOLE:
        *(int64_t *)to = (int64_t)number(row, text);
        break;
    case TEXT:
        *(const char **)to = text;
        break;
    case BY:
        o->by = by(text);
        break;
    case HELP:
        fputs(usage, stdout);
        exit(0);
    }
}

/* Up to the first word that is no option; getopt itself says what is wrong with one. */
static void take_options(struct wan_options *o, int argc, char **argv) {
    struct option longs[N_ROWS + 1] = {{0}};
    for (int i = 0; i < N_ROWS; i++)
        longs[i] = (struct option){rows[i].name, rows[i].kind != HELP, NULL, FIRST + i};
    for (int option; (option = getopt_long(argc, argv, "+", longs, NULL)) != -1;) {
        if (option < FIRST) exit(WAN_EXIT_FAILED);
        take(o, &rows[option - FIRST], optarg);
    }
}

void wan_options_take(struct wan_options *o, int argc, char **argv) {
    *o = (struct wan_options){
        .queue_ms = 100, .seed = 1, .addresses = 1, .ready_port = WAN_ANY_PORT, .ready_s = 60};
    take_options(o, argc, argv);
    if (optind >= argc || strcmp(argv[optind], "run") != 0) refuse("no command `run`");
    optind++;
    take_options(o, argc, argv);
    if (strcmp(argv[optind - 1], "--") != 0) refuse("no -- before the server's command");
    o->server = argv + optind;
    int at = optind;
    while (at < argc && strcmp(argv[at], "---") != 0) at++;
    if (at == optind) refuse("no server's command behind --");
    if (at + 1 >= argc) refuse("no client's command behind ---");
    argv[at] = NULL;
    o->client = argv + at + 1;
}
