/* Little-endian integers in files (states, selections, value headers) and a bounded reader.
 *
 * Reading past the end gives 0 and sets `overrun`; one check after a whole record is enough. */
#ifndef STN_BYTES_H
#define STN_BYTES_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct stn_cursor {
    const uint8_t *at;
    size_t left;
    int overrun;
};

static inline struct stn_cursor stn_cursor(const void *data, size_t bytes) {
    return (struct stn_cursor){data, bytes, 0};
}

/* The next `bytes` bytes, or NULL (and overrun) if there are fewer. */
static inline const uint8_t *stn_get_bytes(struct stn_cursor *c, size_t bytes) {
    if (bytes > c->left) {
        c->overrun = 1;
        c->left = 0;
        return NULL;
    }
    const uint8_t *p = c->at;
    c->at += bytes;
    c->left -= bytes;
    return p;
}

static inline uint64_t stn_get_le(struct stn_cursor *c, size_t bytes) {
    const uint8_t *p = stn_get_bytes(c, bytes);
    uint64_t v = 0;
    for (size_t i = 0; p && i < bytes; i++) v |= (uint64_t)p[i] << (8 * i);
    return v;
}
static inline uint8_t stn_get_u8(struct stn_cursor *c) { return (uint8_t)stn_get_le(c, 1); }
static inline uint16_t stn_get_u16(struct stn_cursor *c) { return (uint16_t)stn_get_le(c, 2); }
static inline uint32_t stn_get_u32(struct stn_cursor *c) { return (uint32_t)stn_get_le(c, 4); }
static inline uint64_t stn_get_u64(struct stn_cursor *c) { return stn_get_le(c, 8); }

/* The writer: stores if there is room, counts always, so that a first pass can measure. */
struct stn_writer {
    uint8_t *to; /* may be NULL when cap is 0 */
    size_t cap, used;
};

static inline void stn_put_bytes(struct stn_writer *w, const void *data, size_t bytes) {
    if (bytes && w->used <= w->cap && bytes <= w->cap - w->used)
        memcpy(w->to + w->used, data, bytes);
    w->used += bytes;
}
static inline void stn_put_le(struct stn_writer *w, uint64_t v, size_t bytes) {
    uint8_t le[8];
    for (size_t i = 0; i < bytes; i++) le[i] = (uint8_t)(v >> (8 * i));
    stn_put_bytes(w, le, bytes);
}
static inline void stn_put_u8(struct stn_writer *w, uint8_t v) { stn_put_le(w, v, 1); }
static inline void stn_put_u16(struct stn_writer *w, uint16_t v) { stn_put_le(w, v, 2); }
static inline void stn_put_u32(struct stn_writer *w, uint32_t v) { stn_put_le(w, v, 4); }
static inline void stn_put_u64(struct stn_writer *w, uint64_t v) { stn_put_le(w, v, 8); }

#endif
