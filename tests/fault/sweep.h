/* Sweeps: the same piece of work again and again, each time with another call failing.
 *
 * A round is a process of its own, so that a leak, a crash or a hang is that round's, and memory of
 * an earlier one cannot help. A round holds if the work either went right or returned one clear
 * error of the right kind, and if check() then finds the store whole. */
#ifndef TEST_SWEEP_H
#define TEST_SWEEP_H

#include "fault/fault.h"
#include "sterna/error.h"

struct work {
    const char *name;
    /* In the round's process, faults off: what `run` needs. May be NULL. */
    void (*prepare)(const char *dir);
    /* The work: library calls, and looks at what they gave. Its code, and err filled. Opens and
     * closes all it needs. Fails the round itself (round_fail) if a result is wrong. */
    int (*run)(const char *dir, struct sterna_error *err);
    /* Afterwards, faults off: what must hold, whether run went well or not. May be NULL. */
    void (*check)(const char *dir, int rc);
};

/* Ends the round: it does not hold. Printf-like. */
__attribute__((noreturn, format(printf, 1, 2))) void round_fail(const char *format, ...);
#define ROUND_OK(call)                                                                             \
    do {                                                                                           \
        struct sterna_error *e_ = &(struct sterna_error){0};                                       \
        int rc_ = (call);                                                                          \
        if (rc_ != 0)                                                                              \
            round_fail("%s:%d: %s: %d (%s)", __FILE__, __LINE__, #call, rc_, e_->message);         \
    } while (0)

struct sweep {
    enum fault_kind kind;
    int lasting;         /* all calls from the n-th on fail, not only that one */
    unsigned rounds_max; /* 0: chosen; fewer with a sanitizer. When calls are more, the later rounds
                            are drawn; the environment variable STERNA_FAULT_ALL runs them all */
};

/* Set by a test whose works retry what fails, so that what lasts may end as EUNREACHABLE or
 * ETIMEOUT.
 */
extern int sweep_retries;

/* A directory for sweeps: in memory if that can be had, for their thousands of fsync() cost
 * nothing there; `$TMPDIR` is where it goes otherwise. Removed by test_dir_remove(). */
char *sweep_dir(void);

/* Does it all in directories below `dir`; prints a line; 0 if all rounds held. */
int sweep_run(const struct work *work, const struct sweep *sweep, const char *dir);

/* Runs a function in a process of its own; 0 if it ended well. Keeps the caller's process free of
 * threads and of open stores, which a forked round could not use. */
int in_child(void (*run)(const char *dir), const char *dir);

#endif
