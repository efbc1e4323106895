/* Stream numbers of one connection: which call has which, and who waits longest. Pure. */
#ifndef STN_STREAMS_H
#define STN_STREAMS_H

#include "net/conn.h"

enum {
    STN_STREAM_HANDSHAKE = 0, /* servers answer on it by mistake: never a call's */
    STN_STREAM_HEARTBEAT = 1,
    STN_STREAM_FIRST = 2 /* of the calls' */
};

struct stn_stream {
    enum { STN_STREAM_FREE, STN_STREAM_CALL, STN_STREAM_ORPHAN } state;
    int32_t next_free;
    struct stn_call *call;
    uint64_t answer_bytes;       /* expected; an orphan's answer is on its way all the same */
    uint64_t sent_ns, orphan_ns; /* of an orphan: when it was sent, and became one */
};

struct stn_streams {
    struct stn_stream *all;
    size_t n;     /* that `all` holds; the free ones are all in the list */
    int32_t free; /* the one that was given back last is used first; -1: none */
    struct stn_call *oldest, *newest;
    uint64_t calls, orphans, outstanding_bytes;
};

void stn_streams_init(struct stn_streams *s);
void stn_streams_fini(
    struct stn_streams *s); /* safe twice; of calls that are left nothing is told */

/* Gives the call a number and the newest place. AGAIN: all are taken; ENOMEM. */
int stn_streams_take(struct stn_streams *s, struct stn_call *call, uint64_t now_ns);
/* FREE for a number that is none of ours. */
int stn_streams_state(const struct stn_streams *s, int16_t stream);
struct stn_call *stn_streams_call(const struct stn_streams *s, int16_t stream); /* or NULL */
/* Its answer came, or will not be waited for: the number is free, and the call its maker's. */
void stn_streams_release(struct stn_streams *s, int16_t stream);
void stn_streams_orphan(struct stn_streams *s, struct stn_call *call, uint64_t now_ns);
uint64_t stn_streams_oldest_orphan_ns(const struct stn_streams *s); /* UINT64_MAX: none */

#endif
