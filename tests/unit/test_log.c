#include "support/check.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"
/* The command's own sink, and the bar that it must not spoil. */
#include "../../cli/message.c"
#include "../../cli/progress.c"

struct lines {
    char last[4096];
    int n, level, again;
};

static void keep(void *ctx, int level, const char *message) {
    struct lines *l = ctx;
    l->n++;
    l->level = level;
    snprintf(l->last, sizeof l->last, "%s", message);
    if (l->again) stn_log(STERNA_LOG_ERROR, "from within"); /* would wait for itself */
}

static void test_log_goes_to_the_sink(void **state) {
    struct lines a = {0}, b = {0};
    (void)state;
    sterna_set_log(keep, &a);
    errno = EDOM;
    stn_log(STERNA_LOG_INFO, "node %s is up, %d of %d", "10.0.0.1", 2, 3);
    assert_int_equal(errno, EDOM);
    assert_string_equal(a.last, "node 10.0.0.1 is up, 2 of 3");
    assert_int_equal(a.level, STERNA_LOG_INFO);
    sterna_set_log(keep, &b);
    stn_log(STERNA_LOG_ERROR, "%s", "other");
    assert_int_equal(a.n, 1);
    assert_int_equal(b.n, 1);
    assert_int_equal(b.level, STERNA_LOG_ERROR);
    sterna_set_log(NULL, NULL);
    stn_log(STERNA_LOG_ERROR, "nobody");
    assert_int_equal(b.n, 1);
}

static void test_log_is_one_line(void **state) {
    struct lines l = {0};
    char all[2000];
    (void)state;
    sterna_set_log(keep, &l);
    stn_log(STERNA_LOG_WARNING, "server: %s", "a\nb\r\033[31mc\x7f\xff\xC3\xB6");
    assert_string_equal(l.last, "server: a\\x0ab\\x0d\\x1b[31mc\\x7f\\xff\xC3\xB6");
    memset(all, '\n', sizeof all);
    all[sizeof all - 1] = 0;
    stn_log(STERNA_LOG_WARNING, "%s", all);
    assert_true(strlen(l.last) > 3900);
    assert_null(strchr(l.last, '\n'));
    sterna_set_log(NULL, NULL);
}

static void test_log_from_within_a_sink(void **state) {
    struct lines l = {.again = 1};
    (void)state;
    sterna_set_log(keep, &l);
    stn_log(STERNA_LOG_WARNING, "outer");
    assert_int_equal(l.n, 1);
    assert_string_equal(l.last, "outer");
    stn_log(STERNA_LOG_WARNING, "next");
    assert_int_equal(l.n, 2);
    sterna_set_log(NULL, NULL);
}

static void *log_many(void *unused) {
    (void)unused;
    for (int i = 0; i < 500; i++) stn_log(STERNA_LOG_WARNING, "line %d", i);
    return NULL;
}

/* The sink is not thread-safe: its count is right all the same. */
static void test_log_from_many_threads(void **state) {
    struct lines l = {0};
    pthread_t threads[4];
    (void)state;
    sterna_set_log(keep, &l);
    for (size_t i = 0; i < STN_COUNT(threads); i++)
        assert_int_equal(pthread_create(&threads[i], NULL, log_many, NULL), 0);
    for (size_t i = 0; i < STN_COUNT(threads); i++) pthread_join(threads[i], NULL);
    assert_int_equal(l.n, 2000);
    sterna_set_log(NULL, NULL);
}

static void linger(void *ctx, int level, const char *message) {
    (void)ctx;
    (void)level;
    (void)message;
    for (int i = 0; i < 100; i++) sched_yield();
}

static void *log_until_told(void *stop) {
    while (!atomic_load((atomic_int *)stop)) stn_log(STERNA_LOG_INFO, "busy");
    return NULL;
}

/* A thread that the child has not is nearly always in the sink. */
static void test_log_in_a_forked_child(void **state) {
    atomic_int stop = 0;
    pthread_t thread;
    int status = 0;
    (void)state;
    sterna_set_log(linger, NULL);
    assert_int_equal(pthread_create(&thread, NULL, log_until_told, &stop), 0);
    for (int i = 0; i < 20 && status == 0; i++) {
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) {
            alarm(60); /* instead of hanging */
            stn_log(STERNA_LOG_INFO, "from a child");
            _exit(0);
        }
        assert_int_equal(waitpid(child, &status, 0), child);
    }
    atomic_store(&stop, 1);
    pthread_join(thread, NULL);
    sterna_set_log(NULL, NULL);
    assert_int_equal(status, 0);
}

static void test_log_every(void **state) {
    static const struct {
        uint64_t now;
        int due;
        uint64_t skipped;
    } rows[] = {{100, 1, 0}, {100, 0, 0}, {105, 0, 0}, {109, 0, 0},
                {110, 1, 3}, {120, 1, 0}, {129, 0, 0}, {500, 1, 1}};
    struct stn_log_gate gate = {0};
    (void)state;
    for (size_t i = 0; i < STN_COUNT(rows); i++) {
        uint64_t skipped = 0;
        int due = stn_log_every(&gate, rows[i].now, 10, &skipped);
        if (due != rows[i].due || skipped != rows[i].skipped)
            fail_msg("row %zu: %d, %llu", i, due, (unsigned long long)skipped);
    }
    assert_int_equal(stn_log_every(&gate, 510, 10, NULL), 1);
}

/* ---- stderr ---- */

/* What `act` writes to stderr. */
static const char *stderr_of(void (*act)(void)) {
    static char text[256 << 10];
    FILE *file = tmpfile();
    int saved = dup(STDERR_FILENO);
    assert_non_null(file);
    assert_true(saved >= 0 && dup2(fileno(file), STDERR_FILENO) >= 0);
    act();
    fflush(stderr);
    assert_true(dup2(saved, STDERR_FILENO) >= 0);
    close(saved);
    rewind(file);
    text[fread(text, 1, sizeof text - 1, file)] = 0;
    fclose(file);
    return text;
}

static void log_each_level(void) {
    stn_log(STERNA_LOG_INFO, "info");
    stn_log(STERNA_LOG_WARNING, "warning\n");
    stn_log(STERNA_LOG_ERROR, "error");
}

static void test_log_to_stderr(void **state) {
    (void)state;
    sterna_set_log(sterna_log_to_stderr, NULL);
    assert_string_equal(stderr_of(log_each_level), "sterna: warning\\x0a\nsterna: error\n");
    sterna_set_log(NULL, NULL);
    assert_string_equal(stderr_of(log_each_level), "");
}

static void log_over_a_bar(void) {
    cli_progress_open(0, 0);
    cli_progress_show("reading", -1, "12 MB/s");
    log_each_level();
    cli_progress_show("reading", -1, "13 MB/s");
    cli_note("a note");
    cli_progress_hide();
}

static void test_log_does_not_spoil_the_bar(void **state) {
    (void)state;
    setenv("STERNA_PROGRESS", "tty", 1);
    cli_log_setup();
    assert_string_equal(stderr_of(log_over_a_bar), "\rreading  12 MB/s\033[K"
                                                   "\r\033[Ksterna: warning\\x0a\nsterna: error\n"
                                                   "\rreading  13 MB/s\033[K"
                                                   "\r\033[Ka note\n");
    sterna_set_log(NULL, NULL);
}

static void log_while_drawing(void) {
    pthread_t thread;
    cli_progress_open(0, 0);
    assert_int_equal(pthread_create(&thread, NULL, log_many, NULL), 0);
    for (int i = 0; i < 500; i++) cli_progress_show("reading", -1, "x");
    pthread_join(thread, NULL);
    cli_progress_hide();
}

static void test_log_from_another_thread_over_the_bar(void **state) {
    static const char bar[] = "\rreading  x\033[K", erase[] = "\r\033[K";
    (void)state;
    cli_log_setup();
    const char *at = stderr_of(log_while_drawing);
    int drawn = 0, n = 0;
    while (*at) { /* bars, each erased before a line, and lines that are whole */
        char line[64];
        if (strncmp(at, bar, sizeof bar - 1) == 0) {
            at += sizeof bar - 1;
            drawn = 1;
        } else if (strncmp(at, erase, sizeof erase - 1) == 0) {
            at += sizeof erase - 1;
            assert_true(drawn);
            drawn = 0;
        } else {
            int bytes = snprintf(line, sizeof line, "sterna: line %d\n", n++);
            if (drawn || strncmp(at, line, (size_t)bytes) != 0) fail_msg("at %.40s", at);
            at += bytes;
        }
    }
    assert_int_equal(n, 500);
    sterna_set_log(NULL, NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_log_goes_to_the_sink),
        cmocka_unit_test(test_log_is_one_line),
        cmocka_unit_test(test_log_from_within_a_sink),
        cmocka_unit_test(test_log_from_many_threads),
        cmocka_unit_test(test_log_in_a_forked_child),
        cmocka_unit_test(test_log_every),
        cmocka_unit_test(test_log_to_stderr),
        cmocka_unit_test(test_log_does_not_spoil_the_bar),
        cmocka_unit_test(test_log_from_another_thread_over_the_bar),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
