/* The way between a loader and its store, as the loader's source sees it. */
#ifndef STERNA_PATH_H
#define STERNA_PATH_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum sterna_path_phase {                             /* what the window does now */
                         STERNA_PATH_LOCAL = 0,      /* there is no network */
                         STERNA_PATH_CONNECTING = 1, /* no answer yet */
                         STERNA_PATH_RAMP = 2,       /* doubles each round trip: rate not known */
                         STERNA_PATH_STEADY = 3,     /* twice rate times round trip */
                         STERNA_PATH_DRAIN = 4,   /* a moment's pause to measure the round trip */
                         STERNA_PATH_BACK_OFF = 5 /* a node was overloaded */
};

struct sterna_path { /* sums over all nodes that are read from; 0: not known */
    enum sterna_path_phase phase;
    uint64_t rtt_ns;                       /* least round trip, of the nearest node */
    uint64_t rtt_far_ns;                   /* and of the farthest */
    uint64_t rate_bytes_s;                 /* delivered in the last round trips */
    uint64_t rate_max_bytes_s;             /* the windowed maximum that windows follow */
    uint64_t window_bytes;                 /* that may be asked for and not answered */
    uint64_t in_flight_bytes;              /* that are */
    uint64_t received_bytes;               /* since open, with everything that is no payload */
    uint32_t connections, connections_max; /* now, and at most so far */
    uint32_t nodes;                        /* connected */
    uint64_t hedges, hedged_bytes;         /* second requests for stragglers; bytes of the losers */
    uint64_t suspects;   /* requests moved away from a node that had fallen silent */
    uint64_t overloaded; /* answers that said so */
    uint64_t lost_connections;
    char decision[160]; /* the window's last, in words; "": none yet */

    uint64_t retrying; /* requests that failed and wait for their next try, now */
    char trouble[160]; /* the last failure, in words; "": none yet */

    /* TCP, since open, as far as the kernel tells. Segments come behind a hole when one was lost or
     * overtaken; holes are found by looking now and then, so there were at least so many. */
    uint64_t segments, out_of_order, holes;
    uint64_t retransmitted; /* of ours */
    uint64_t tcp_rtt_ns;    /* the kernel's least round trip, to any node */
};

#ifdef __cplusplus
}
#endif
#endif
