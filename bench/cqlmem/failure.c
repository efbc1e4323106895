#include "failure.h"

#include <stdarg.h>
#include <stdio.h>

int refuse(struct failure *f, uint32_t code, const char *format, ...) {
    va_list args;
    va_start(args, format);
    f->code = code;
    vsnprintf(f->message, sizeof f->message, format, args);
    va_end(args);
    return -1;
}
