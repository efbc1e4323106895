/* What the files of the peer share: peer.c (sockets), peer_frames.c (bytes), peer_tables.c
 * (manners). */
#ifndef TEST_PEER_INSIDE_H
#define TEST_PEER_INSIDE_H

#include "support/peer.h"

enum { PEER_NODES_MAX = 16 };

struct peer_conn {
    struct peer *peer;
    struct peer_conn *next;
    unsigned number;
    size_t node;
    int fd;
    SSL *ssl;    /* NULL: plain */
    int shaking; /* the TLS handshake is not through */
    int dead;
    int deaf;
    uint8_t *in, *out;
    size_t in_bytes, in_cap, out_at, out_bytes, out_cap;
    size_t piece; /* 0: no limit */
    enum { CUT_NONE, CUT_RESET, CUT_FINISH } cut;
    size_t cut_after;
    uint8_t payload[512]; /* of the next frame: a [bytes map] */
    size_t payload_bytes;
    char *startup; /* "key\0value\0key\0value\0" of STARTUP */
    size_t startup_bytes;
};

const struct peer_options *peer_options_of(const struct peer *peer);
const struct peer_node *peer_node_at(const struct peer *peer, size_t i); /* defaults filled in */
size_t peer_n_nodes(const struct peer *peer);

/* Takes a request's frame apart. text is malloc'ed. 0 if it is malformed. */
int peer_parse(const uint8_t *frame, size_t bytes, struct peer_frame *out);
/* What the peer does by itself. */
void peer_manners(struct peer_conn *conn, const struct peer_frame *f);

__attribute__((noreturn)) void peer_die(const char *what);

#endif
