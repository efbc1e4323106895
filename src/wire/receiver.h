/* The receive machine of one connection: says where the next bytes go, and is told that they came.
 *
 * Small answers gather in a window (or a growing buffer) and come out whole. A row with blobs is
 * taken apart as it comes: its small columns first, then each blob lands by the socket's own read
 * at the address that the owner names, with nothing copied but what the window already held.
 *
 *     HEADER -> BODY (gathered)                       -> HEADER
 *            -> ROW_HEAD -> BLOB_LENGTH -> BLOB ...   -> DISCARD (what is left, if any) -> HEADER
 *            -> DISCARD                               -> HEADER
 *
 * It knows no socket and no clock. Protocol version 4, without compression. */
#ifndef STN_RECEIVER_H
#define STN_RECEIVER_H

#include <sys/uio.h>

#include "wire/message.h"

#define STN_ROW_SMALL_MAX 72          /* columns before the blobs */
#define STN_ROW_SMALL_BYTES_MAX 65536 /* of all of them together, with prelude and metadata */

enum stn_take {                   /* what the owner wants of an answer */
                STN_TAKE_MESSAGE, /* gathered, then message() */
                STN_TAKE_ROW,     /* row(), blob() ..., row_end(); an answer that is no ROWS result
                                     comes as     message(). More than one row, or other columns: EPROTO
                                   */
                STN_TAKE_NOTHING  /* dropped */
};

struct stn_row_shape {
    uint16_t n_small, n_blobs; /* columns of the SELECT, in this order */
};

/* All called from within stn_receiver_took() or _dropped(); they must not end the receiver, but may
 * call stn_receiver_forget(). EPROTO from took() itself (framing is lost) comes without row_end().
 */
struct stn_receiver_ops {
    /* A frame begins. Negative: the connection is closed with this code. For TAKE_ROW fill *shape.
     */
    int (*begin)(void *ctx, const struct stn_cql_header *h, struct stn_row_shape *shape);
    /* A whole message: body behind the prelude. Negative: the connection is closed. */
    int (*message)(void *ctx, const struct stn_cql_header *h, const struct stn_cql_prelude *prelude,
                   struct stn_cursor body);
    /* The small columns of the row; `prelude` as well. 0: go on; negative: the row's blobs are
     * dropped and row_end() gets this code when they are through. STERNA_EPROTO also closes the
     * connection: then row_end() comes at once. */
    int (*row)(void *ctx, const struct stn_cql_prelude *prelude, const struct stn_cql_value *small);
    /* Blob i has `bytes` bytes, maybe 0 (never called for null ones). *to: where they land, or
     * NULL: dropped. The memory must stay until blob i + 1, row_end() or stn_receiver_forget().
     * Negative as row(). */
    int (*blob)(void *ctx, uint32_t i, uint32_t bytes, uint8_t **to);
    /* The answer is through: OK; ENOTFOUND: it had no row (row() was not called); or what row() or
     * blob() said. Negative: the connection is closed. */
    int (*row_end)(void *ctx, int code);
};

#define STN_RECEIVER_WINDOW_BYTES 4096

struct stn_receiver {
    const struct stn_receiver_ops *ops;
    void *ctx;
    uint32_t body_max; /* longer ones are refused (EPROTO) */
    /* private to receiver.c */
    int state;
    struct stn_cql_header header;
    struct stn_row_shape shape;
    uint32_t body_left; /* of the frame, not taken yet */
    uint32_t blob, blob_left;
    uint8_t *blob_at; /* NULL: dropped */
    int row_code;
    int row_open;      /* row_end() is due */
    int reads_blobs;   /* what is read ahead will mostly be a blob's: little of it */
    uint8_t *gathered; /* a body, or the head of a row, that the window cannot hold */
    size_t gathered_bytes, gathered_cap;
    int gathers;        /* bytes of this frame go there; the window has none of them */
    size_t piece_bytes; /* of the last want(), outside the window */
    size_t from, to;    /* window[from, to) has come and is not taken */
    uint8_t window[STN_RECEIVER_WINDOW_BYTES];
    /* counts */
    uint64_t copied_bytes;  /* of blobs, out of the window */
    uint64_t surplus_bytes; /* behind a row's end: skipped, as the specification allows */
};

void stn_receiver_init(struct stn_receiver *r, const struct stn_receiver_ops *ops, void *ctx,
                       uint32_t body_max);
void stn_receiver_fini(struct stn_receiver *r); /* safe twice */

/* Where the next bytes go: one or two pieces, returned as their number. While bytes are dropped
 * *drop_bytes (else 0) is how many the socket may drop by itself: then tell them by
 * stn_receiver_dropped(); or read into the pieces as ever. */
int stn_receiver_want(struct stn_receiver *r, struct iovec to[2], size_t *drop_bytes);
/* `bytes` came, in the order of the pieces of the last want(). OK; or a negative code: framing is
 * lost or a callback said so, and the connection must be closed (no further calls but forget() and
 * fini()). ENOMEM. */
int stn_receiver_took(struct stn_receiver *r, size_t bytes);
int stn_receiver_dropped(struct stn_receiver *r, size_t bytes);

/* The answer being received is no longer wanted: what is left of it is dropped, and no callback is
 * called for it any more. Nothing is written to the blob's memory after the next want(). */
void stn_receiver_forget(struct stn_receiver *r);
/* The stream of the answer being received (begin() was called, its last callback was not), for
 * which forget() is the way to give it up; STN_CQL_STREAM_EVENT if there is none. */
int16_t stn_receiver_stream(const struct stn_receiver *r);

#endif
