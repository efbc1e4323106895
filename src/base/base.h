/* What every file may use: result helpers, checked arrays, clock. Knows nothing of stores. */
#ifndef STN_BASE_H
#define STN_BASE_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "sterna/error.h"

#define STN_COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define STN_OUTER(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))
#define STN_MIN(a, b) ((a) < (b) ? (a) : (b))
#define STN_MAX(a, b) ((a) > (b) ? (a) : (b))

#define STN_NS_PER_S UINT64_C(1000000000)
#define STN_NS_PER_MS UINT64_C(1000000)

/* Writes code and message into err (unless it is NULL or already holds a failure) and returns
 * `code`: `return stn_fail(err, STERNA_EFORMAT, "%s: ...", path);`. The first message wins. */
__attribute__((format(printf, 3, 4))) int stn_fail(struct sterna_error *err, int code,
                                                   const char *format, ...);

/* The same with ": strerror(errno)" behind the message and errno in err->sys_errno. A call that
 * failed for want of memory is ENOMEM, though the caller says EIO. */
__attribute__((format(printf, 3, 4))) int stn_fail_sys(struct sterna_error *err, int code,
                                                       const char *format, ...);

/* "out of memory" with what it was for. */
int stn_fail_memory(struct sterna_error *err, const char *what);

/* Empties err, so that a later failure can be recorded. NULL is fine. */
void stn_error_clear(struct sterna_error *err);

/* Zeroed array; NULL if n * size overflows or there is no memory. free() it. */
void *stn_array(size_t n, size_t size);

/* Grows *array (of elements of `size` bytes, *cap long) so that it holds `need` elements. */
int stn_grow(void **array, size_t *cap, size_t need, size_t size);

/* A printable copy of a raw file name: control and non-ASCII-non-UTF-8 bytes as \xNN. */
const char *stn_printable(const char *raw, char *buf, size_t buf_bytes);

/* 1 if all `bytes` are well-formed UTF-8 (RFC 3629). */
int stn_is_utf8(const char *text, size_t bytes);

struct stn_clock {                               /* a test gives its own */
    uint64_t (*now_ns)(struct stn_clock *clock); /* monotonic */
};
struct stn_clock *stn_clock_monotonic(void);
static inline uint64_t stn_now(struct stn_clock *clock) { return clock->now_ns(clock); }

/* CRC-32C (Castagnoli, RFC 3720), as iSCSI and ext4 use it. Start with crc = 0; can be continued.
 */
uint32_t stn_crc32c(uint32_t crc, const void *data, size_t bytes);

#endif
