#include "fault/sweep.h"

#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <openssl/evp.h>
#include <openssl/rand.h>

#include "base/philox.h"
#include "support/temporary.h"

/* A round with a sanitizer costs as much as three to five without: there are half as many, and
 * other ones are drawn, so that both together meet more places than either. */
enum { PLAIN_ROUNDS = 300 };
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { DRAWN_ROUNDS = 40, ALL_ROUNDS = 160, ROUND_SECONDS = 120, SEED = 2025 };
#else
enum { DRAWN_ROUNDS = 100, ALL_ROUNDS = PLAIN_ROUNDS, ROUND_SECONDS = 60, SEED = 2024 };
#endif

int sweep_retries;

char *sweep_dir(void) {
    if (access("/dev/shm", R_OK | W_OK | X_OK) == 0) setenv("TMPDIR", "/dev/shm", 0);
    return test_dir_make();
}

/* What a round tells its parent: shared memory. */
struct verdict {
    uint64_t calls, failed;
    int rc;
    int held;
    char why[1024], place[1024];
};

static struct verdict *verdict; /* of the round that this process is; NULL: no round */

static struct verdict *shared(void) {
    void *p = mmap(NULL, sizeof(struct verdict), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
                   -1, 0);
    if (p == MAP_FAILED) abort();
    return p;
}

void round_fail(const char *format, ...) {
    char why[sizeof verdict->why];
    va_list args;
    fault_disarm(NULL);
    va_start(args, format);
    vsnprintf(why, sizeof why, format, args);
    va_end(args);
    if (verdict) {
        memcpy(verdict->why, why, sizeof why);
        snprintf(verdict->place, sizeof verdict->place, "%s", fault_place());
    } else {
        fprintf(stderr, "%s\n", why);
    }
    _exit(1); /* leaks do not matter any more */
}

/* What an error may be called, by what went wrong. */
static int right_code(enum fault_kind kind, int rc) {
    switch (kind) {
    case FAULT_MEMORY:
    case FAULT_SQL_MEMORY:
    case FAULT_THREAD:
        return rc == STERNA_ENOMEM;
    case FAULT_SOCKET:
        return rc == STERNA_EUNREACHABLE;
    default:
        return rc == STERNA_EIO;
    }
}

static void judge(const struct sweep *sweep, int rc, const struct sterna_error *err) {
    if (rc == STERNA_OK) return;
    if (verdict->failed == 0) round_fail("failed though no call did: %d, %s", rc, err->message);
    if (sweep->kind == FAULT_SIGNAL || sweep->kind == FAULT_SHORT)
        round_fail("an interrupted or short call was not made good: %d, %s", rc, err->message);
    if (!err->message[0]) round_fail("error %d has no message", rc);
    if (err->code != rc)
        round_fail("error %d, but the record says %d: %s", rc, err->code, err->message);
    int in_vain = rc == STERNA_EUNREACHABLE || rc == STERNA_ETIMEOUT;
    if (sweep_retries && sweep->lasting && in_vain) return;
    if (!right_code(sweep->kind, rc)) round_fail("error of another kind: %d, %s", rc, err->message);
}

static void run_round(const struct work *work, const struct sweep *sweep, uint64_t n,
                      const char *dir) {
    struct sterna_error err = {0};
    alarm(ROUND_SECONDS);
    if (sweep->kind == FAULT_SQL_MEMORY) fault_watch_sqlite();
    if (work->prepare) work->prepare(dir);
    fault_arm(sweep->kind, n, sweep->lasting);
    int rc = work->run(dir, &err);
    verdict->calls = fault_disarm(&verdict->failed);
    verdict->rc = rc;
    snprintf(verdict->place, sizeof verdict->place, "%s", fault_place());
    judge(sweep, rc, &err);
    if (work->check) work->check(dir, rc);
    verdict->held = 1;
    exit(0); /* the leak check runs now */
}

static const char *name_of(const struct sweep *sweep) {
    switch (sweep->kind) {
    case FAULT_NONE:
        break;
    case FAULT_MEMORY:
        return sweep->lasting ? "no memory from here on" : "one allocation";
    case FAULT_SQL_MEMORY:
        return sweep->lasting ? "no memory from here on (SQLite)" : "one allocation of SQLite";
    case FAULT_EIO:
        return sweep->lasting ? "a dead disk" : "one system call";
    case FAULT_FULL:
        return sweep->lasting ? "a full disk" : "no space once";
    case FAULT_SIGNAL:
        return "interrupted calls";
    case FAULT_SHORT:
        return "a short read or write";
    case FAULT_LOW_EIO:
        return sweep->lasting ? "a dead disk (all libraries)" : "one read or write (all libraries)";
    case FAULT_LOW_FULL:
        return sweep->lasting ? "a full disk (all libraries)" : "no space once (all libraries)";
    case FAULT_SOCKET:
        return sweep->lasting ? "a dead network" : "one call on a socket";
    case FAULT_THREAD:
        return sweep->lasting ? "no threads from here on" : "one thread";
    }
    return "nothing";
}

/* One round in a child; 1 if it held. */
static int round_in_child(const struct work *work, const struct sweep *sweep, uint64_t n,
                          const char *base) {
    char *dir = NULL;
    if (asprintf(&dir, "%s/round", base) < 0 || mkdir(dir, 0700) < 0) abort();
    *verdict = (struct verdict){0};
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) run_round(work, sweep, n, dir);
    int status = 0;
    if (pid < 0 || waitpid(pid, &status, 0) != pid) abort();
    test_dir_remove(&dir);
    int held = verdict->held && WIFEXITED(status) && WEXITSTATUS(status) == 0;
    if (held) return 1;
    const char *why = verdict->why[0]                                      ? verdict->why
                      : WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM ? "it hangs"
                      : WIFSIGNALED(status) ? strsignal(WTERMSIG(status))
                      : verdict->held       ? "a leak, or a sanitizer's complaint"
                                            : "it ended early";
    printf("FAILED  %s, %s, round %llu: %s\n        failed: %s\n", work->name, name_of(sweep),
           (unsigned long long)n, why, verdict->place);
    return 0;
}

/* The round after n of `all`: the next one at first, later one drawn at about equal steps. */
static uint64_t next_round(uint64_t n, uint64_t all, unsigned rounds_max) {
    uint64_t first = rounds_max > DRAWN_ROUNDS ? rounds_max - DRAWN_ROUNDS : rounds_max / 2;
    if (all <= rounds_max || n < first) return n + 1;
    uint64_t step = (all - first) / (rounds_max - first) + 1;
    struct stn_philox draw = stn_philox4x32((struct stn_philox){{(uint32_t)n}}, SEED, 0);
    return n + 1 + stn_bounded((uint64_t)draw.v[0] << 32 | draw.v[1], 2 * step - 1);
}

/* OpenSSL takes longer to set itself up than most rounds take: it is inherited. */
static void warm_up(void) {
    unsigned char bytes[1];
    if (RAND_bytes(bytes, sizeof bytes) != 1) abort();
    EVP_MD_free(EVP_MD_fetch(NULL, "SHA256", NULL));
}

int sweep_run(const struct work *work, const struct sweep *sweep, const char *dir) {
    unsigned rounds_max = getenv("STERNA_FAULT_ALL") ? UINT_MAX
                          : sweep->rounds_max        ? sweep->rounds_max * ALL_ROUNDS / PLAIN_ROUNDS
                                                     : ALL_ROUNDS;
    unsigned rounds = 0, bad = 0, errors = 0;
    verdict = shared();
    warm_up();
    struct sweep whole = *sweep;
    bad += !round_in_child(work, &whole, 0, dir); /* with nothing failing */
    uint64_t all = verdict->calls;
    for (uint64_t n = 1; bad < 5; n = next_round(n, all, rounds_max)) {
        rounds++;
        bad += !round_in_child(work, sweep, n, dir);
        errors += verdict->rc != STERNA_OK;
        if (verdict->held && verdict->failed == 0) break; /* passed untouched */
    }
    printf("%-7s %-28s %-34s %5llu calls %5u rounds %5u errors\n", bad ? "FAILED" : "ok",
           work->name, name_of(sweep), (unsigned long long)all, rounds, errors);
    munmap(verdict, sizeof *verdict);
    verdict = NULL;
    return bad > 0;
}

int in_child(void (*run)(const char *dir), const char *dir) {
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        run(dir);
        exit(0);
    }
    int status = 0;
    if (pid < 0 || waitpid(pid, &status, 0) != pid) abort();
    return !(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}
