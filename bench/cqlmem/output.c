#include "output.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "wire/cql.h"

enum { IOVECS = 256 };

static void release_pieces(struct output *o, size_t from) {
    for (size_t i = from; i < o->n_pieces; i++) value_unref(o->pieces[i].value);
}

void output_free(struct output *o) {
    release_pieces(o, o->first);
    free(o->pieces);
    free(o->heads);
    *o = (struct output){0};
}

static struct piece *add_piece(struct output *o) {
    if (o->n_pieces == o->pieces_cap)
        grow(&o->pieces, &o->pieces_cap, o->n_pieces + 1, sizeof *o->pieces);
    return &o->pieces[o->n_pieces++];
}

uint8_t *output_room(struct output *o, size_t bytes) {
    if (o->used + bytes > o->cap) grow(&o->heads, &o->cap, o->used + bytes, 1);
    struct piece *last = o->n_pieces > o->first ? &o->pieces[o->n_pieces - 1] : NULL;
    if (!last || last->value) {
        last = add_piece(o);
        *last = (struct piece){NULL, o->used, 0};
    }
    last->bytes += bytes;
    o->queued_bytes += bytes;
    o->used += bytes;
    return o->heads + o->used - bytes;
}

static void big_endian(uint8_t *to, uint32_t v, size_t bytes) {
    for (size_t i = 0; i < bytes; i++) to[i] = (uint8_t)(v >> (8 * (bytes - 1 - i)));
}

void output_u8(struct output *o, uint8_t v) { *output_room(o, 1) = v; }
void output_u16(struct output *o, uint16_t v) { big_endian(output_room(o, 2), v, 2); }
void output_u32(struct output *o, uint32_t v) { big_endian(output_room(o, 4), v, 4); }

void output_string(struct output *o, const char *text) {
    size_t bytes = strlen(text);
    output_u16(o, (uint16_t)bytes);
    output_bytes(o, text, bytes);
}

void output_view(struct output *o, struct stn_cql_value v) {
    output_u32(o, (uint32_t)v.bytes);
    if (v.bytes > 0) output_bytes(o, v.data, (size_t)v.bytes);
}

void output_value(struct output *o, struct value *v) {
    if (!v || v->bytes <= OUTPUT_COPY_MAX) {
        output_view(o, v ? stn_value_of(v->data, v->bytes) : stn_value_null());
        return;
    }
    output_u32(o, v->bytes);
    *add_piece(o) = (struct piece){value_ref(v), 0, v->bytes};
    o->queued_bytes += v->bytes;
}

/* ---- frames ---- */

void output_begin(struct output *o, int16_t stream, uint8_t opcode) {
    o->frame_at = o->used;
    o->frame_queued = o->queued_bytes;
    o->key_at = 0;
    o->is_sample = 0;
    const uint8_t head[STN_CQL_HEADER_BYTES] = {
        0x80 | STN_CQL_VERSION, 0, (uint8_t)((uint16_t)stream >> 8), (uint8_t)stream, opcode};
    output_bytes(o, head, sizeof head);
    o->frame_piece = o->n_pieces - 1;
}

void output_patch_u32(struct output *o, size_t at, uint32_t v) { big_endian(o->heads + at, v, 4); }

void output_end(struct output *o) {
    size_t bytes = o->queued_bytes - o->frame_queued - STN_CQL_HEADER_BYTES;
    output_patch_u32(o, o->frame_at + 5, (uint32_t)bytes);
}

void output_cancel(struct output *o) {
    struct piece *head = &o->pieces[o->frame_piece];
    release_pieces(o, o->frame_piece + 1);
    o->n_pieces = o->frame_piece + 1;
    head->bytes = o->frame_at - head->at;
    if (head->bytes == 0) o->n_pieces--;
    o->used = o->frame_at;
    o->queued_bytes = o->frame_queued;
}

/* ---- faults ---- */

void output_corrupt(struct output *o) {
    struct piece *last = &o->pieces[o->n_pieces - 1];
    if (last->value) {
        struct value *copy = value_new(last->value->data, last->value->bytes);
        value_unref(last->value);
        last->value = copy;
        copy->data[copy->bytes - 1] ^= 1;
    } else {
        o->heads[o->used - 1] ^= 1;
    }
}

void output_wrong_key(struct output *o) { o->heads[o->key_at] ^= 1; }

void output_cut(struct output *o) {
    size_t keep = (o->queued_bytes - o->frame_queued) / 2, i = o->frame_piece;
    size_t before = o->pieces[i].value ? 0 : o->frame_at - o->pieces[i].at;
    for (keep += before; i < o->n_pieces && keep > 0; i++) {
        struct piece *p = &o->pieces[i];
        p->bytes = STN_MIN(p->bytes, keep);
        keep -= p->bytes;
    }
    release_pieces(o, i);
    o->n_pieces = i;
}

/* ---- sending ---- */

static void empty(struct output *o) {
    o->used = o->n_pieces = o->first = o->first_done = o->queued_bytes = 0;
}

static void sent(struct output *o, size_t bytes) {
    while (bytes > 0) {
        struct piece *p = &o->pieces[o->first];
        size_t left = p->bytes - o->first_done, n = STN_MIN(bytes, left);
        o->first_done += n;
        bytes -= n;
        if (n < left) return;
        value_unref(p->value);
        o->first++;
        o->first_done = 0;
    }
}

int output_send(struct output *o, int fd) {
    while (!output_is_empty(o)) {
        struct iovec to[IOVECS];
        size_t n = 0;
        for (size_t i = o->first; i < o->n_pieces && n < IOVECS; i++, n++) {
            struct piece *p = &o->pieces[i];
            size_t done = i == o->first ? o->first_done : 0;
            to[n].iov_base = (p->value ? p->value->data : o->heads + p->at) + done;
            to[n].iov_len = p->bytes - done;
        }
        struct msghdr message = {.msg_iov = to, .msg_iovlen = n};
        ssize_t got = sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return errno == EAGAIN ? 0 : -1;
        sent(o, (size_t)got);
    }
    empty(o);
    return 1;
}
