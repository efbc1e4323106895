/* SIGKILL at every stage: while a store is made and filled, while others read it, while a state, a
 * selection or a split is saved. What is listed always has its bytes; what was there before is
 * there still; the same work done again completes it, and nothing is there twice. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/base.h"
#include "base/philox.h"
#include "fault/sweep.h"
#include "fault/tap.h"
#include "support/dataset.h"
#include "support/temporary.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { ROUNDS_MAX = 60 };
#else
enum { ROUNDS_MAX = 120 };
#endif
enum { PER_CLASS = 6, CHILD_SECONDS = 120 };

static char *base;
static uint64_t *calls; /* of the child that ended last; shared */
static unsigned rounds_in_all;
static int reads_count; /* a reader is killed when it reads */

static const char *data(void) { return test_path(base, "data"); }
static const char *store(const char *dir) { return test_path(dir, "store"); }

static uint64_t drawn(uint64_t salt, uint64_t n) {
    struct stn_philox r = stn_philox4x32((struct stn_philox){{(uint32_t)salt, 77}}, 2024, 3);
    return stn_bounded((uint64_t)r.v[0] << 32 | r.v[1], n);
}

/* ---- children ---- */

typedef void (*body)(const char *dir);

static pid_t start(body run, const char *dir, enum tap_action action, uint64_t n) {
    fflush(NULL);
    pid_t pid = fork();
    if (pid < 0) abort();
    if (pid > 0) return pid;
    alarm(CHILD_SECONDS);
    tap_arm(action, n, reads_count);
    run(dir);
    *calls = tap_disarm(NULL);
    exit(0);
}

static int end_of(pid_t pid) {
    int status = 0;
    if (waitpid(pid, &status, 0) != pid) abort();
    return status;
}

static int well(int status) { return WIFEXITED(status) && WEXITSTATUS(status) == 0; }
static int killed(int status) { return WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL; }

struct killing {
    const char *name;
    body prepare; /* or NULL */
    body run;     /* is killed */
    body check;   /* after that */
    unsigned rounds_max;
};

static char *fresh_round(void) {
    char *dir = strdup(test_path(base, "round"));
    if (!dir || mkdir(dir, 0700) < 0) abort();
    return dir;
}

/* One round; 1 if all went as it should. n: the call at which it is killed. */
static int round_at(const struct killing *k, uint64_t n, uint64_t all) {
    char *dir = fresh_round();
    enum tap_action action = n % 2 ? TAP_KILL_HALFWAY : TAP_KILL;
    int ok = !k->prepare || well(end_of(start(k->prepare, dir, TAP_PASS, 0)));
    int status = end_of(start(k->run, dir, action, n));
    ok = ok && (killed(status) || well(status)); /* a run may have fewer calls than the first had */
    for (uint64_t again = 0; ok && again < n % 3; again++) {
        status = end_of(start(k->run, dir, action, 1 + drawn(n * 2 + again, all)));
        ok = killed(status) || well(status);
    }
    if (!ok) printf("FAILED  %s, killed at call %d: it ends with %x\n", k->name, (int)n, status);
    if (ok && !well(end_of(start(k->check, dir, TAP_PASS, 0)))) {
        printf("FAILED  %s, killed at call %d of %d\n", k->name, (int)n, (int)all);
        ok = 0;
    }
    rounds_in_all++;
    test_dir_remove(&dir);
    return ok;
}

/* Kills at each call, or at drawn ones if they are many; the last fifteen in any case. */
static int kill_everywhere(const struct killing *k) {
    char *dir = fresh_round();
    unsigned rounds = 0, bad = 0;
    if (k->prepare) end_of(start(k->prepare, dir, TAP_PASS, 0));
    if (!well(end_of(start(k->run, dir, TAP_PASS, 0)))) bad = 1;
    uint64_t all = *calls, step = all / STN_MIN(k->rounds_max, ROUNDS_MAX) + 1;
    test_dir_remove(&dir);
    for (uint64_t n = 1; n <= all && bad < 3;) {
        bad += !round_at(k, n, all);
        rounds++;
        int at_end = n + 15 >= all && k->rounds_max > 15;
        n += at_end ? 1 : 1 + drawn(n, 2 * step - 1);
    }
    printf("%-7s killed: %-40s %4d calls %4u rounds\n", bad ? "FAILED" : "ok", k->name, (int)all,
           rounds);
    return bad > 0;
}

/* ---- ingest ---- */

static void ingest(const char *dir) { ROUND_OK(dataset_ingest(store(dir), data(), NULL, e_)); }

/* What there is before the ingest runs again: nothing, an empty store, or all of it. */
static void check_listed(const char *dir) {
    struct sterna_store_info info;
    struct sterna_error err = {0};
    sterna_store *s;
    int rc = sterna_store_open(&s, store(dir), NULL, &err);
    if (rc < 0) { /* its making was cut short: that is told, and made good by the next ingest */
        if (rc != STERNA_ENOTFOUND && rc != STERNA_EFORMAT) round_fail("open: %s", err.message);
        return;
    }
    ROUND_OK(sterna_store_info(s, &info, e_));
    sterna_store_close(&s);
    if (info.last_run > 1) round_fail("%d runs", (int)info.last_run);
    if (info.last_run == 0 && info.n_samples != 0) round_fail("samples of no run are listed");
    const char *problem = info.last_run ? dataset_problem(store(dir), PER_CLASS) : NULL;
    if (problem) round_fail("listed: %s", problem);
}

static void check_ingest(const char *dir) {
    check_listed(dir);
    ingest(dir);
    int runs;
    const char *problem = dataset_problem_exact(store(dir), PER_CLASS, &runs);
    if (problem) round_fail("ingested again: %s", problem);
    if (runs != 1) round_fail("%d runs", runs);
}

static void ingest_less(const char *dir) {
    ROUND_OK(dataset_ingest(store(dir), test_path(base, "less"), NULL, e_));
}

static void check_more(const char *dir) {
    int runs = dataset_runs(store(dir));
    if (runs != 1 && runs != 2) round_fail("%d runs", runs);
    const char *problem = dataset_problem(store(dir), runs == 1 ? 2 : PER_CLASS);
    if (problem) round_fail("listed: %s", problem);
    ingest(dir);
    problem = dataset_problem_exact(store(dir), PER_CLASS, &runs);
    if (problem) round_fail("ingested again: %s", problem);
    if (runs != 2) round_fail("%d runs", runs);
}

/* ---- states, selections, splits ---- */

static void open_all(const char *dir, sterna_store **s, sterna_selection **selection) {
    static const char *const path[] = {"path"};
    const struct sterna_select_options o = {
        .struct_size = sizeof o, .columns = path, .n_columns = 1};
    ROUND_OK(sterna_store_open(s, store(dir), NULL, e_));
    ROUND_OK(sterna_select(selection, *s, &o, e_));
}

/* Goes on from the saved state, if there is one; saves after each of `batches` batches. */
static void read_and_save(const char *dir, unsigned batches, struct dataset_seen *seen) {
    struct sterna_loader_options o;
    struct sterna_error err = {0};
    sterna_store *s;
    sterna_selection *selection;
    sterna_loader *l;
    sterna_batch *b;
    void *state = NULL;
    size_t bytes = 0;
    uint8_t buf[8192];
    open_all(dir, &s, &selection);
    int rc = sterna_state_load(test_path(dir, "state"), &state, &bytes, NULL, &err);
    if (rc < 0 && rc != STERNA_ENOTFOUND) round_fail("state: %s", err.message);
    sterna_loader_options_init(&o);
    o.batch_size = 4;
    o.uneven = STERNA_UNEVEN_EXACT;
    o.threads = 2;
    o.memory_bytes = (uint64_t)1 << 20;
    o.state = state;
    o.state_bytes = bytes;
    ROUND_OK(sterna_loader_open(&l, s, selection, &o, e_));
    while (batches-- > 0 && (rc = sterna_loader_next(l, &b, -1, &err)) == STERNA_OK) {
        if (seen) dataset_see(seen, b, selection);
        ROUND_OK(sterna_batch_state(b, buf, sizeof buf, &bytes));
        if (!seen) ROUND_OK(sterna_state_save(buf, bytes, selection, test_path(dir, "state"), e_));
        sterna_batch_release(&b);
    }
    if (rc < 0) round_fail("reading: %s", err.message);
    free(state);
    sterna_loader_close(&l);
    sterna_selection_close(&selection);
    sterna_store_close(&s);
}

static void save_states(const char *dir) { read_and_save(dir, 3, NULL); }

/* Each picture is either behind the saved state or comes after it: once. */
static void check_state(const char *dir) {
    static struct dataset_seen rest, none;
    struct sterna_state_info info = {0};
    struct sterna_error err = {0};
    void *state = NULL;
    size_t bytes;
    unsigned n = 0;
    int rc = sterna_state_load(test_path(dir, "state"), &state, &bytes, NULL, &err);
    if (rc < 0 && rc != STERNA_ENOTFOUND) round_fail("state: %s", err.message);
    if (rc == STERNA_OK) ROUND_OK(sterna_state_info(state, bytes, &info, e_));
    free(state);
    rest = none;
    read_and_save(dir, UINT32_MAX, &rest);
    for (unsigned c = 0; c < DATASET_CLASSES; c++)
        for (unsigned i = 0; i < PER_CLASS; i++) {
            if (rest.times[c][i] > 1) round_fail("a picture came twice");
            n += rest.times[c][i];
        }
    uint64_t before = info.finished ? 0 : info.delivered; /* finished: the next epoch follows */
    if (n + before != DATASET_CLASSES * PER_CLASS)
        round_fail("%u pictures after a state of %d", n, (int)info.delivered);
}

static void save_selections(const char *dir) {
    static const struct sterna_part parts[] = {{"train", 0.7}, {"val", 0.3}};
    const struct sterna_split_options split = {
        .struct_size = sizeof split, .parts = parts, .n_parts = 2, .seed = (uint64_t)getpid()};
    sterna_store *s;
    sterna_selection *selection;
    open_all(dir, &s, &selection);
    ROUND_OK(sterna_selection_save_as(selection, s, "all", e_));
    ROUND_OK(sterna_selection_save(selection, test_path(dir, "all.sel"), e_));
    ROUND_OK(sterna_split(s, &split, NULL, NULL, e_));
    sterna_selection_close(&selection);
    sterna_store_close(&s);
}

static void prepare_selections(const char *dir) {
    ingest(dir);
    save_selections(dir);
}

static void check_selections(const char *dir) {
    static const char *const names[] = {"all", "train", "val", NULL};
    for (int i = 0; i < 4; i++) {
        struct sterna_select_options o = {.struct_size = sizeof o, .name = names[i]};
        struct sterna_selection_info info;
        sterna_selection *selection;
        sterna_store *s;
        if (!names[i]) o.file = test_path(dir, "all.sel");
        ROUND_OK(sterna_store_open(&s, store(dir), NULL, e_));
        ROUND_OK(sterna_select(&selection, s, &o, e_));
        sterna_selection_info(selection, &info);
        if (i % 3 == 0 && info.n != DATASET_CLASSES * PER_CLASS) round_fail("%d ids", (int)info.n);
        sterna_selection_close(&selection);
        sterna_store_close(&s);
    }
    save_selections(dir);
}

/* ---- a reader and a writer, one of which is killed ---- */

/* Stands still after its first batch, until it is told to go on; epochs = 0: it reads for ever. */
static void read_epochs(const char *dir, uint64_t epochs) {
    static struct dataset_seen seen;
    struct sterna_loader_options o;
    struct sterna_error err = {0};
    sterna_store *s;
    sterna_selection *selection;
    sterna_loader *l;
    sterna_batch *b;
    int rc, n = 0;
    open_all(dir, &s, &selection);
    sterna_loader_options_init(&o);
    o.batch_size = 2;
    o.epochs = epochs;
    o.uneven = STERNA_UNEVEN_EXACT;
    o.threads = 2;
    o.memory_bytes = (uint64_t)256 << 10; /* so that it does not have all of it at once */
    ROUND_OK(sterna_loader_open(&l, s, selection, &o, e_));
    while ((rc = sterna_loader_next(l, &b, -1, &err)) == STERNA_OK) {
        dataset_see(&seen, b, selection);
        sterna_batch_release(&b);
        if (++n == 1) raise(SIGSTOP);
    }
    if (rc != STERNA_END) round_fail("reading: %s", err.message);
    const char *problem = dataset_seen_problem(&seen, 2, 1);
    if (problem) round_fail("%s", problem);
    sterna_loader_close(&l);
    sterna_selection_close(&selection);
    sterna_store_close(&s);
}

static void read_one(const char *dir) { read_epochs(dir, 1); }
static void read_endlessly(const char *dir) { read_epochs(dir, 0); }

/* Until it stands still, or has ended: the status then. */
static int still(pid_t pid) {
    int status = 0;
    if (waitpid(pid, &status, WUNTRACED) != pid) abort();
    return status;
}
static int ends_well(pid_t pid) {
    kill(pid, SIGCONT);
    return well(end_of(pid));
}

/* The writer dies at call n while the reader is in the middle of its epoch. */
static int writer_dies(const char *dir, uint64_t n) {
    pid_t reader = start(read_one, dir, TAP_PASS, 0);
    if (!WIFSTOPPED(still(reader))) return 0;
    int status = end_of(start(ingest, dir, TAP_KILL, n));
    return ends_well(reader) && (killed(status) || well(status));
}

/* A reader dies while the writer stands still at its n-th call; then the writer goes on. */
static int reader_dies(const char *dir, uint64_t n) {
    pid_t whole = start(read_one, dir, TAP_PASS, 0);
    reads_count = 1;
    pid_t dying = start(read_endlessly, dir, TAP_KILL, 1 + drawn(n, 200));
    reads_count = 0;
    int ok = WIFSTOPPED(still(whole)), status = still(dying);
    pid_t writer = start(ingest, dir, TAP_PAUSE, n);
    int paused = still(writer);
    if (WIFSTOPPED(status)) {
        kill(dying, SIGCONT);
        status = end_of(dying);
    }
    ok = killed(status) && ok;
    ok = (WIFSTOPPED(paused) ? ends_well(writer) : well(paused)) && ok;
    return ends_well(whole) && ok;
}

static int kill_beside(const char *name, int (*round)(const char *dir, uint64_t n)) {
    unsigned rounds = 0, bad = 0;
    char *first = fresh_round();
    end_of(start(ingest_less, first, TAP_PASS, 0));
    end_of(start(ingest, first, TAP_PASS, 0));
    uint64_t all = *calls;
    test_dir_remove(&first);
    for (uint64_t n = 1; n <= all && bad < 3; n += 1 + drawn(n, all / 12 + 1)) {
        char *dir = fresh_round();
        int ok = well(end_of(start(ingest_less, dir, TAP_PASS, 0))) && round(dir, n) &&
                 well(end_of(start(check_more, dir, TAP_PASS, 0)));
        if (!ok) printf("FAILED  %s, call %d of %d\n", name, (int)n, (int)all);
        bad += !ok;
        rounds++;
        rounds_in_all++;
        test_dir_remove(&dir);
    }
    printf("%-7s killed: %-40s %4d calls %4u rounds\n", bad ? "FAILED" : "ok", name, (int)all,
           rounds);
    return bad > 0;
}

/* Ingest in more than one step: the store commits values whenever 64 MiB have gathered. */
static int kill_between_steps(void) {
    static const struct killing steps = {"ingest in several steps", NULL, ingest, check_ingest, 12};
    enum { LARGE_BYTES = 12 << 20 }; /* of six pictures */
    struct statvfs fs;
    if (statvfs(base, &fs) != 0 || (uint64_t)fs.f_bavail * fs.f_frsize < (uint64_t)400 << 20) {
        printf("skipped killed: %s: less than 400 MB are free in %s\n", steps.name, base);
        return 0;
    }
    dataset_padding_bytes = LARGE_BYTES;
    dataset_make(data(), 0, PER_CLASS);
    return kill_everywhere(&steps);
}

int main(void) {
    static const struct killing all[] = {
        {"ingest into a new store", NULL, ingest, check_ingest, 120},
        {"ingest more", ingest_less, ingest, check_more, 60},
        {"saving a state", ingest, save_states, check_state, 60},
        {"saving selections and splits", prepare_selections, save_selections, check_selections, 60},
    };
    base = sweep_dir();
    calls = mmap(NULL, sizeof *calls, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (calls == MAP_FAILED) abort();
    dataset_make(data(), 0, PER_CLASS);
    dataset_make(test_path(base, "less"), 0, 2);
    int bad = 0;
    for (size_t i = 0; i < STN_COUNT(all); i++) bad |= kill_everywhere(&all[i]);
    bad |= kill_beside("a writer beside a reader", writer_dies);
    bad |= kill_beside("a reader beside a writer", reader_dies);
    bad |= kill_between_steps();
    printf("%u rounds\n", rounds_in_all);
    test_dir_remove(&base);
    return bad;
}
