/* What all targets share. A target is one function over bytes from outside; it must neither crash
 * nor leak, and what it claims of the bytes must hold: claim() ends the process if not. With clang
 * and -DSTERNA_FUZZ=ON each becomes a libFuzzer program; replay.c runs the kept inputs through it
 * in the tests, with any compiler. */
#ifndef TEST_FUZZ_H
#define TEST_FUZZ_H

#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define claim(what)                                                                                \
    do {                                                                                           \
        if (!(what)) fuzz_broken(__FILE__, __LINE__, #what);                                       \
    } while (0)
_Noreturn void fuzz_broken(const char *file, int line, const char *what);

/* A file without a name that holds the bytes; its path, valid until the next call, in *path (may be
 * NULL). Close it. */
int fuzz_file(const void *data, size_t size, const char **path);

/* Reads all `size` bytes, so that a memory checker sees them. */
void fuzz_touch(const void *data, size_t size);

#endif
