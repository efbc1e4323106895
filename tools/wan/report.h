/* The result of a run as a line of JSON. */
#ifndef WAN_REPORT_H
#define WAN_REPORT_H

#include <stdio.h>

#include "netem.h"
#include "network.h"
#include "options.h"
#include "relay.h"

struct wan_result {
    int by_tun;
    int client_status;
    int server_status; /* -1: ended by us */
    double seconds;    /* that the client took */
    struct wan_facts server, client;
    struct wan_relay_counts relay[2]; /* to the client, to the server */
    struct wan_netem_counts netem[2];
    uint64_t device_drops[2]; /* at the sender of each direction */
};

void wan_report(FILE *to, const struct wan_options *o, const struct wan_result *r);

#endif
