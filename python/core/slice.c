/* Long waits in short ones, between which signal handlers run. */
#include <time.h>

#include "core.h"

int64_t core_now_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

int core_slice_ms(int64_t until_ms, int timeout_ms) {
    if (timeout_ms < 0) return CORE_SLICE_MS;
    int64_t left_ms = until_ms - core_now_ms();
    if (left_ms > CORE_SLICE_MS) return CORE_SLICE_MS;
    return left_ms < 0 ? 0 : (int)left_ms;
}
