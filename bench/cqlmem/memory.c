#include "memory.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"

void die(const char *format, ...) {
    va_list args;
    va_start(args, format);
    fputs("cqlmem: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    exit(2);
}

void *must(void *ptr) {
    if (!ptr) die("out of memory");
    return ptr;
}

void grow(void *array, size_t *cap, size_t need, size_t size) {
    void *at;
    memcpy(&at, array, sizeof at); /* whatever it points to */
    if (stn_grow(&at, cap, need, size) < 0) die("out of memory");
    memcpy(array, &at, sizeof at);
}

/* ---- values ---- */

struct value *value_new(const void *data, size_t bytes) {
    struct value *v = must(malloc(sizeof *v + bytes));
    atomic_init(&v->refs, 1);
    v->bytes = (uint32_t)bytes;
    if (data && bytes) memcpy(v->data, data, bytes);
    return v;
}

struct value *value_ref(struct value *v) {
    if (v) atomic_fetch_add_explicit(&v->refs, 1, memory_order_relaxed);
    return v;
}

void value_unref(struct value *v) {
    if (v && atomic_fetch_sub_explicit(&v->refs, 1, memory_order_acq_rel) == 1) free(v);
}

/* ---- scratch ---- */

struct scratch_block {
    struct scratch_block *next;
    _Alignas(16) uint8_t data[];
};

void *scratch_take(struct scratch *s, size_t bytes) {
    struct scratch_block *b = must(calloc(1, sizeof *b + bytes));
    b->next = s->blocks;
    s->blocks = b;
    return b->data;
}

char *scratch_text(struct scratch *s, const char *text, size_t bytes) {
    char *copy = scratch_take(s, bytes + 1);
    memcpy(copy, text, bytes);
    return copy;
}

void scratch_free(struct scratch *s) {
    for (struct scratch_block *b; (b = s->blocks);) {
        s->blocks = b->next;
        free(b);
    }
}
