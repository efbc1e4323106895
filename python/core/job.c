/* Calls of the library that may wait for a server or the disk, and cannot be stopped: on a thread
 * of their own, while the main thread looks for signals. What a handler raises ends the waiting;
 * the call goes on unseen, and what it holds is let go by a later call that has the GIL.
 *
 * Only the main thread runs signal handlers: on others the call is made directly. */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "core.h"

struct core_thread { /* of one job */
    pthread_t id;
    pthread_mutex_t lock; /* all below */
    pthread_cond_t changed;
    int ended;
    struct core_rows *full; /* waits for Python to take its rows; */
    int stop_rows;          /* which could not, or will not */
};

static struct core_job *left_alone; /* jobs that went on, newest first. Guarded by the GIL */

void *core_job_new(size_t bytes, int (*run)(struct core_job *job),
                   void (*drop)(struct core_job *job)) {
    struct core_job *job = calloc(1, bytes); /* a job is the first member of what it belongs to */
    if (!job) return PyErr_NoMemory();
    job->run = run;
    job->drop = drop;
    return job;
}

/* ---- its thread ---- */

static void *run_job(void *arg) {
    struct core_job *job = arg;
    job->rc = job->run(job);
    pthread_mutex_lock(&job->thread->lock);
    job->thread->ended = 1;
    pthread_cond_broadcast(&job->thread->changed);
    pthread_mutex_unlock(&job->thread->lock);
    return NULL;
}

static int has_ended(struct core_job *job) {
    pthread_mutex_lock(&job->thread->lock);
    int ended = job->thread->ended;
    pthread_mutex_unlock(&job->thread->lock);
    return ended;
}

static void free_thread(struct core_job *job) {
    pthread_cond_destroy(&job->thread->changed);
    pthread_mutex_destroy(&job->thread->lock);
    free(job->thread);
    job->thread = NULL;
}

/* 0, or the system has no thread for us. */
static int start(struct core_job *job) {
    pthread_condattr_t monotonic;
    sigset_t all, before;
    struct core_thread *t = job->thread = calloc(1, sizeof *t);
    if (!t) return -1;
    pthread_mutex_init(&t->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&t->changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    sigfillset(&all); /* signals are the main thread's */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int rc = pthread_create(&t->id, NULL, run_job, job);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (rc != 0) free_thread(job);
    return rc;
}

static void drop(struct core_job *job) {
    if (job->thread) {
        pthread_join(job->thread->id, NULL); /* it has only to return */
        free_thread(job);
    }
    job->drop(job);
}

/* ---- rows on their way ---- */

int core_job_give_rows(struct core_job *job, struct core_rows *rows) {
    struct core_thread *t = job->thread;
    if (!t) { /* on the caller's own thread */
        PyEval_RestoreThread(job->caller);
        int rc = core_rows_flush(rows) < 0 || PyErr_CheckSignals() < 0;
        job->caller = PyEval_SaveThread();
        return rc;
    }
    pthread_mutex_lock(&t->lock);
    t->full = rows;
    pthread_cond_broadcast(&t->changed);
    while (t->full && !t->stop_rows) pthread_cond_wait(&t->changed, &t->lock);
    int rc = t->stop_rows;
    pthread_mutex_unlock(&t->lock);
    return rc;
}

/* While the job waits for it the rows are the caller's. */
static int take_rows(struct core_job *job) {
    struct core_thread *t = job->thread;
    pthread_mutex_lock(&t->lock);
    struct core_rows *rows = t->full;
    pthread_mutex_unlock(&t->lock);
    if (!rows) return 0;
    int rc = core_rows_flush(rows);
    pthread_mutex_lock(&t->lock);
    t->full = NULL;
    t->stop_rows = rc < 0;
    pthread_cond_broadcast(&t->changed);
    pthread_mutex_unlock(&t->lock);
    return rc;
}

/* ---- the thread that waits ---- */

static struct timespec in_a_slice(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    t.tv_nsec += CORE_SLICE_MS * 1000000L;
    if (t.tv_nsec >= 1000000000) t.tv_sec++, t.tv_nsec -= 1000000000;
    return t;
}

static void wait_a_slice(struct core_job *job) {
    struct core_thread *t = job->thread;
    struct timespec until = in_a_slice();
    int rc = 0;
    pthread_mutex_lock(&t->lock);
    while (!t->ended && !t->full && rc != ETIMEDOUT)
        rc = pthread_cond_timedwait(&t->changed, &t->lock, &until);
    pthread_mutex_unlock(&t->lock);
}

/* -1 with an exception: of a handler, or of the rows. */
static int run_watched(struct core_job *job) {
    int failed = 0;
    while (!has_ended(job)) {
        PyThreadState *gil = PyEval_SaveThread();
        wait_a_slice(job);
        PyEval_RestoreThread(gil);
        if (failed) continue; /* the rows' error: the library is about to return */
        failed = take_rows(job) < 0;
        if (!failed && PyErr_CheckSignals() < 0) return -1;
    }
    return failed ? -1 : 0;
}

static void run_here(struct core_job *job) {
    job->caller = PyEval_SaveThread();
    job->rc = job->run(job);
    PyEval_RestoreThread(job->caller);
}

/* Those left alone that have come to their end meanwhile. */
static void drop_ended(void) {
    struct core_job **at = &left_alone;
    while (*at) {
        struct core_job *job = *at;
        if (job->forks != core_forks() || !has_ended(job)) {
            at = &job->next;
            continue;
        }
        *at = job->next;
        drop(job);
        at = &left_alone; /* which dropping may have changed */
    }
}

int core_job_run(struct core_module *m, struct core_job *job) {
    int watched = !job->is_short && gettid() == getpid();
    drop_ended();
    job->forks = core_forks();
    if (!watched || start(job) != 0)
        run_here(job);
    else if (run_watched(job) < 0)
        return -1;
    if (PyErr_Occurred()) return -1; /* in the rows */
    if (job->rc < 0) core_raise(m, job->rc, &job->err);
    return job->rc;
}

void core_job_end(struct core_job *job) {
    struct core_thread *t = job->thread;
    if (!t || has_ended(job)) {
        drop(job);
        return;
    }
    pthread_mutex_lock(&t->lock);
    t->stop_rows = 1;
    pthread_cond_broadcast(&t->changed);
    pthread_mutex_unlock(&t->lock);
    job->next = left_alone;
    left_alone = job;
}
