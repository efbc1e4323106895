/* Memory of a test server: running out of it ends the program. */
#ifndef CQLMEM_MEMORY_H
#define CQLMEM_MEMORY_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

/* "cqlmem: ..." on stderr, exit status 2. */
_Noreturn __attribute__((format(printf, 1, 2))) void die(const char *format, ...);

void *must(void *ptr); /* dies of NULL */
/* *array (of elements of `size` bytes, *cap long) holds `need` elements. */
void grow(void *array, size_t *cap, size_t need, size_t size);

/* Bytes of one cell: never changed, shared by the table and by answers on their way. */
struct value {
    atomic_uint refs;
    uint32_t bytes;
    uint8_t data[];
};
struct value *value_new(const void *data, size_t bytes); /* one reference; data NULL: left open */
struct value *value_ref(struct value *v);                /* NULL is fine in both */
void value_unref(struct value *v);

/* Small pieces that live until the end of one request, or of one statement. */
struct scratch {
    struct scratch_block *blocks;
};
void *scratch_take(struct scratch *s, size_t bytes); /* zeroed */
char *scratch_text(struct scratch *s, const char *text, size_t bytes);
void scratch_free(struct scratch *s);

#endif
