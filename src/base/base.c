#include "base/base.h"

#include <errno.h>
#include <isa-l/crc.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static int record(struct sterna_error *err, int code, int sys_errno, const char *format,
                  va_list args) {
    if (!err || err->code < 0) return code;
    err->code = code;
    err->sys_errno = sys_errno;
    int n = vsnprintf(err->message, sizeof err->message, format, args);
    size_t used = n < 0 ? 0 : STN_MIN((size_t)n, sizeof err->message - 1);
    if (sys_errno) {
        char text[128] = "";
        const char *reason = strerror_r(sys_errno, text, sizeof text); /* GNU: may not use text */
        snprintf(err->message + used, sizeof err->message - used, ": %s", reason);
    }
    return code;
}

int stn_fail(struct sterna_error *err, int code, const char *format, ...) {
    va_list args;
    va_start(args, format);
    record(err, code, 0, format, args);
    va_end(args);
    return code;
}

int stn_fail_sys(struct sterna_error *err, int code, const char *format, ...) {
    int sys_errno = errno;
    va_list args;
    if (code == STERNA_EIO && sys_errno == ENOMEM) code = STERNA_ENOMEM;
    va_start(args, format);
    record(err, code, sys_errno, format, args);
    va_end(args);
    return code;
}

int stn_fail_memory(struct sterna_error *err, const char *what) {
    return stn_fail(err, STERNA_ENOMEM, "out of memory for %s", what);
}

void stn_error_clear(struct sterna_error *err) {
    if (err) *err = (struct sterna_error){0};
}

void *stn_array(size_t n, size_t size) {
    return calloc(n ? n : 1, size ? size : 1); /* calloc checks the product */
}

int stn_grow(void **array, size_t *cap, size_t need, size_t size) {
    if (need <= *cap) return STERNA_OK;
    size_t grown = STN_MAX(need, *cap + *cap / 2 + 16);
    if (grown > SIZE_MAX / size) return STERNA_ENOMEM;
    void *p = realloc(*array, grown * size);
    if (!p) return STERNA_ENOMEM;
    *array = p;
    *cap = grown;
    return STERNA_OK;
}

/* Length of the valid UTF-8 sequence at s, 0 if it is none (overlong and surrogates too). */
static size_t utf8_length(const unsigned char *s) {
    size_t n = s[0] < 0x80                   ? 1
               : s[0] >= 0xC2 && s[0] < 0xE0 ? 2
               : (s[0] & 0xF0) == 0xE0       ? 3
               : s[0] >= 0xF0 && s[0] < 0xF5 ? 4
                                             : 0;
    for (size_t i = 1; i < n; i++)
        if ((s[i] & 0xC0) != 0x80) return 0;
    if (n == 3 && ((s[0] == 0xE0 && s[1] < 0xA0) || (s[0] == 0xED && s[1] > 0x9F))) return 0;
    if (n == 4 && ((s[0] == 0xF0 && s[1] < 0x90) || (s[0] == 0xF4 && s[1] > 0x8F))) return 0;
    return n;
}

int stn_is_utf8(const char *text, size_t bytes) {
    for (size_t i = 0; i < bytes;) {
        unsigned char next[4] = {0}; /* so that a sequence cut at the end is not read past */
        memcpy(next, text + i, STN_MIN(bytes - i, sizeof next));
        size_t n = utf8_length(next);
        if (n == 0) return 0;
        i += n;
    }
    return 1;
}

const char *stn_printable(const char *raw, char *buf, size_t buf_bytes) {
    size_t used = 0;
    for (const unsigned char *s = (const unsigned char *)raw; *s && used + 5 < buf_bytes;) {
        size_t n = *s < 0x20 || *s == 0x7F ? 0 : utf8_length(s);
        if (n == 0) {
            used += (size_t)snprintf(buf + used, 5, "\\x%02x", *s++);
            continue;
        }
        memcpy(buf + used, s, n);
        used += n;
        s += n;
    }
    buf[used] = '\0';
    return buf;
}

static uint64_t monotonic_ns(struct stn_clock *clock) {
    (void)clock;
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * STN_NS_PER_S + (uint64_t)t.tv_nsec;
}

struct stn_clock *stn_clock_monotonic(void) {
    static struct stn_clock clock = {monotonic_ns};
    return &clock;
}

uint32_t stn_crc32c(uint32_t crc, const void *data, size_t bytes) {
    const unsigned char *p = data;
    crc = ~crc;
    while (bytes > 0) { /* ISA-L takes an int, and does not write though its pointer is not const */
        int n = (int)STN_MIN(bytes, (size_t)1 << 30);
        crc = crc32_iscsi((unsigned char *)(uintptr_t)p, n, crc);
        p += n;
        bytes -= (size_t)n;
    }
    return ~crc;
}
