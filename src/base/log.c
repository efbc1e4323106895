/* The process has one sink, and one lock around it: so a sink need not be thread-safe, and is known
 * to be out of use once it was replaced. */
#include "base/log.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#define LINE_BYTES 1024

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t forks_watched = PTHREAD_ONCE_INIT;
static void (*sink)(void *ctx, int level, const char *message) = sterna_log_to_stderr;
static void *sink_ctx;

/* This thread is in the sink, and has the lock: a line of its own would wait for itself. */
static _Thread_local int inside;

/* A child of a fork begins outside of the sink, whichever other thread was in it. */
static void before_fork(void) {
    if (!inside) pthread_mutex_lock(&lock);
}
static void after_fork(void) {
    if (!inside) pthread_mutex_unlock(&lock);
}
static void watch_forks(void) { pthread_atfork(before_fork, after_fork, after_fork); }

void sterna_set_log(void (*line)(void *ctx, int level, const char *message), void *ctx) {
    if (!inside) pthread_mutex_lock(&lock);
    sink = line;
    sink_ctx = ctx;
    if (!inside) pthread_mutex_unlock(&lock);
}

void sterna_log_to_stderr(void *ctx, int level, const char *message) {
    char line[4 * LINE_BYTES];
    (void)ctx;
    if (level > STERNA_LOG_WARNING) return;
    int n = snprintf(line, sizeof line, "sterna: %s\n", message);
    if (n < 0) return;
    size_t bytes = STN_MIN((size_t)n, sizeof line - 1), done = 0;
    while (done < bytes) { /* one write for one line, so that those of other processes stay whole */
        ssize_t w = write(STDERR_FILENO, line + done, bytes - done);
        if (w < 0 && errno != EINTR) return;
        if (w > 0) done += (size_t)w;
    }
}

void stn_log(int level, const char *format, ...) {
    if (inside) return;
    int saved = errno;
    char text[LINE_BYTES], line[4 * LINE_BYTES]; /* an escape is four characters */
    va_list args;
    va_start(args, format);
    int n = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (n >= 0) {
        stn_printable(text, line, sizeof line);
        pthread_once(&forks_watched, watch_forks);
        pthread_mutex_lock(&lock);
        inside = 1;
        if (sink) sink(sink_ctx, level, line);
        inside = 0;
        pthread_mutex_unlock(&lock);
    }
    errno = saved;
}

int stn_log_every(struct stn_log_gate *gate, uint64_t now_ns, uint64_t interval_ns,
                  uint64_t *skipped) {
    if (now_ns < gate->next_ns) {
        gate->skipped++;
        return 0;
    }
    if (skipped) *skipped = gate->skipped;
    gate->skipped = 0;
    gate->next_ns = now_ns + interval_ns;
    return 1;
}
