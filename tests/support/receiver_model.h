/* An owner of a receiver that writes down all it is told, and puts each blob into memory of exactly
 * its size, so that a memory checker sees a byte too many. Two ways of cutting the same bytes must
 * give the same transcript. */
#ifndef TEST_RECEIVER_MODEL_H
#define TEST_RECEIVER_MODEL_H

#include "wire/receiver.h"

struct model_plan { /* what the owner says */
    int take;       /* of all answers; negative: begin() fails with it */
    struct stn_row_shape shape;
    int by_stream; /* take and shape come from the stream's number instead */
    int row_code, message_code, end_code;
    int blob_code;         /* of blob blob_at */
    uint32_t blob_at;      /* ... */
    uint32_t blob_nowhere; /* 1 + number of a blob that is not wanted */
    const char *forget_in; /* "row", "blob", "message", "end": forget from within it */
};

struct model {
    struct stn_receiver receiver;
    struct model_plan plan;
    uint8_t *slot;
    size_t slot_bytes;
    int slot_is_open;
    int rc; /* first negative of took() */
    size_t n_reads, dropped_bytes, gathered_peak, seen_bytes;
    size_t n_blobs, n_ends;
    char *log; /* one line a call; terminated */
    size_t log_bytes, log_cap;
};

void model_init(struct model *m, const struct model_plan *plan, uint32_t body_max);
void model_fini(struct model *m);

/* Feeds data until all is taken or the connection is over: reads of at most `step(i)` bytes for the
 * i-th read, and what can be dropped in the socket is, if `drops`. */
struct model_cuts {
    size_t first;  /* the first piece that the network brings; 0: all */
    size_t second; /* the second; 0: all that is left */
    size_t step;   /* then no read has more; 0: no limit */
    int drops;
};
void model_feed(struct model *m, const uint8_t *data, size_t bytes, const struct model_cuts *cuts);
/* The owner gives up what is being received, and takes its memory away. */
void model_forget(struct model *m);

/* The transcript of data in these cuts; free() it. */
char *model_transcript(const struct model_plan *plan, const uint8_t *data, size_t bytes,
                       const struct model_cuts *cuts, uint32_t body_max);

#endif
