/* Answers on their way out of one connection: small bytes gathered, cells by reference. */
#ifndef CQLMEM_OUTPUT_H
#define CQLMEM_OUTPUT_H

#include <string.h>

#include "memory.h"
#include "wire/types.h"

#define OUTPUT_COPY_MAX 2048 /* longer cells are sent from where they lie */

struct piece {
    struct value *value; /* NULL: bytes of `heads` from `at` on */
    size_t at, bytes;
};

struct output {
    uint8_t *heads;
    size_t used, cap;
    struct piece *pieces;
    size_t n_pieces, pieces_cap;
    size_t first, first_done; /* pieces, and bytes of the first one, that are sent */
    size_t queued_bytes;      /* in all pieces since it was empty */
    /* the frame being written */
    size_t frame_at, frame_piece, frame_queued;
    size_t key_at; /* in heads: first cell of its first row; 0: none */
    int is_sample; /* one row from an id to a blob that is not empty: what faults are for */
};

void output_free(struct output *o);
static inline int output_is_empty(const struct output *o) { return o->first == o->n_pieces; }

/* Room for `bytes` more small bytes, which the caller fills. */
uint8_t *output_room(struct output *o, size_t bytes);
static inline void output_bytes(struct output *o, const void *data, size_t bytes) {
    if (bytes) memcpy(output_room(o, bytes), data, bytes);
}
void output_u8(struct output *o, uint8_t v);
void output_u16(struct output *o, uint16_t v);
void output_u32(struct output *o, uint32_t v);
void output_string(struct output *o, const char *text);     /* u16 length */
void output_view(struct output *o, struct stn_cql_value v); /* [bytes], copied */
void output_value(struct output *o, struct value *v);       /* [bytes]; NULL: null */

void output_begin(struct output *o, int16_t stream, uint8_t opcode);
void output_end(struct output *o);    /* puts the length into its head */
void output_cancel(struct output *o); /* the frame was never begun */
/* Writes to an earlier place. */
void output_patch_u32(struct output *o, size_t at, uint32_t v);

/* Sends what the socket takes. 1: all is sent; 0: the socket is full; -1: it is broken. */
int output_send(struct output *o, int fd);

/* Faults of the frame that was ended last, a sample: a flipped bit in its last byte, in its id;
 * nothing behind its middle. */
void output_corrupt(struct output *o);
void output_wrong_key(struct output *o);
void output_cut(struct output *o);

#endif
