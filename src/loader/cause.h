/* What a consumer waits for, decided from facts alone: no loader, no clock. */
#ifndef STN_CAUSE_H
#define STN_CAUSE_H

#include "sterna/loader.h"

struct stn_stall_facts {
    /* the loader */
    int answered;     /* any request has been, so far */
    int asking_again; /* the batch waited for lacks samples whose requests failed */
    int trouble;      /* something failed within the last round trips */
    int wants_room;   /* samples or a batch wait for memory */
    int window_full;  /* the source takes no more */
    int paced;        /* max_rate holds the next request back */
    uint64_t in_flight_bytes;
    uint64_t head_age_ns; /* of the oldest request of the batch waited for; 0: none is out */
    uint64_t late_ns;     /* that one takes so much longer than requests of its age or younger */
    uint64_t silent_ns;   /* no byte came for so long though requests are out */
    /* the way; LOCAL: there is none */
    struct sterna_path path;
};

enum sterna_stall stn_stall_cause(const struct stn_stall_facts *f);

#endif
