/* What the command line asks for. */
#ifndef WAN_OPTIONS_H
#define WAN_OPTIONS_H

#include <stdint.h>

enum wan_by { WAN_BY_CHOICE, WAN_BY_TUN, WAN_BY_NETEM };

enum { WAN_ANY_PORT = -1, WAN_EXIT_FAILED = 125 }; /* as env(1) and timeout(1): our own failures */

struct wan_options {
    enum wan_by by;
    double rtt_ms, mbit, loss, jitter_ms, queue_ms, reorder;
    int64_t seed;
    const char *server_cc, *client_cc;        /* NULL: the system's */
    int64_t server_wmem_max, client_rmem_max; /* 0: the system's */
    int64_t addresses;                        /* of the server */
    int64_t ready_port;                       /* 0: do not wait */
    double ready_s;
    const char *json_path;   /* NULL: stderr */
    char **server, **client; /* commands, NULL at their ends */
};

/* Ends the process at --help, and with words and WAN_EXIT_FAILED at a mistake. */
void wan_options_take(struct wan_options *o, int argc, char **argv);

#endif
