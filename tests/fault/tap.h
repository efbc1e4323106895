/* The n-th system call that changes a file, whoever makes it: our own objects, LMDB or SQLite. It
 * can be where this process ends, pauses or fails.
 *
 * The program itself defines these calls, so that shared libraries find them here first. Calls are
 * counted from tap_arm() on, on any thread. Production code knows nothing of this. */
#ifndef TEST_TAP_H
#define TEST_TAP_H

#include <stdint.h>

enum tap_action {
    TAP_PASS,
    TAP_KILL,         /* SIGKILL before the call */
    TAP_KILL_HALFWAY, /* a write is done by half, then SIGKILL */
    TAP_PAUSE,        /* SIGSTOP before the call: whoever watches goes on */
    TAP_FAIL,         /* this call, or (lasting) all from this one on, fail with an errno */
};

/* n = 0: nothing happens, calls are only counted. reads_too: pread() and its like count as well. */
void tap_arm(enum tap_action action, uint64_t n, int reads_too);
void tap_arm_failure(int sys_errno, uint64_t n, int lasting, int reads_too);
uint64_t tap_disarm(uint64_t *failed); /* how many calls there were; failed may be NULL */
const char *tap_name(void);            /* of the call that failed first */

#endif
