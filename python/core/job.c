/* Calls of the library that may wait for a server or the disk, and cannot be stopped: on a thread
 * of their own, while the main thread looks for signals. What a handler raises ends the waiting;
 * the call goes on unseen (one that has callbacks is told to stop), and what it holds is let go by
 * a later call that has the GIL.
 *
 * Only the main thread runs signal handlers: on others the call is made directly. */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "core.h"

struct core_thread { /* serves one job after the other */
    pthread_t id;
    pthread_mutex_t lock; /* all below */
    pthread_cond_t changed;
    struct core_job *job; /* that it is running, or is to run next */
    int quit;
    int (*ask)(void *arg); /* what the job wants to be done with the GIL, or NULL; */
    void *arg;
    int answer; /* not 0: nothing is done for this job any more */
    int alone;  /* nobody answers any more */
};

/* Guarded by the GIL. */
static struct core_job *left_alone; /* jobs that went on, newest first */
static struct core_thread *idle;    /* the last one that had nothing more to do */
static unsigned idle_forks;

void *core_job_new(size_t bytes, int (*run)(struct core_job *job),
                   void (*drop)(struct core_job *job)) {
    struct core_job *job = calloc(1, bytes); /* a job is the first member of what it belongs to */
    if (!job) return PyErr_NoMemory();
    job->run = run;
    job->drop = drop;
    return job;
}

/* ---- threads ---- */

static void *run_jobs(void *arg) {
    struct core_thread *t = arg;
    pthread_mutex_lock(&t->lock);
    for (;;) {
        while (!t->job && !t->quit) pthread_cond_wait(&t->changed, &t->lock);
        struct core_job *job = t->job;
        if (!job) break;
        pthread_mutex_unlock(&t->lock);
        int rc = job->run(job);
        pthread_mutex_lock(&t->lock);
        job->rc = rc;
        t->job = NULL;
        pthread_cond_broadcast(&t->changed);
    }
    pthread_mutex_unlock(&t->lock);
    return NULL;
}

static void fini_thread(struct core_thread *t) {
    pthread_cond_destroy(&t->changed);
    pthread_mutex_destroy(&t->lock);
    free(t);
}

static struct core_thread *open_thread(void) {
    pthread_condattr_t monotonic;
    sigset_t all, before;
    struct core_thread *t = calloc(1, sizeof *t);
    if (!t) return NULL;
    pthread_mutex_init(&t->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&t->changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    sigfillset(&all); /* signals are the main thread's */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int rc = pthread_create(&t->id, NULL, run_jobs, t);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (rc == 0) return t;
    fini_thread(t);
    return NULL;
}

static void close_thread(struct core_thread *t) {
    pthread_mutex_lock(&t->lock);
    t->quit = 1;
    pthread_cond_broadcast(&t->changed);
    pthread_mutex_unlock(&t->lock);
    pthread_join(t->id, NULL); /* at once: it has no job */
    fini_thread(t);
}

static struct core_thread *take_thread(void) {
    struct core_thread *t = idle_forks == core_forks() ? idle : NULL; /* a child has none of them */
    idle = NULL;
    return t ? t : open_thread();
}

static void give_thread(struct core_thread *t) {
    if (idle && idle_forks == core_forks()) {
        close_thread(t);
        return;
    }
    idle = t;
    idle_forks = core_forks();
}

static int has_ended(struct core_job *job) {
    struct core_thread *t = job->thread;
    pthread_mutex_lock(&t->lock);
    int ended = t->job != job;
    pthread_mutex_unlock(&t->lock);
    return ended;
}

/* ---- what a job asks for ---- */

int core_job_ask(struct core_job *job, int (*with_gil)(void *arg), void *arg) {
    struct core_thread *t = job->thread;
    if (!t) { /* on the caller's own thread */
        PyEval_RestoreThread(job->caller);
        int rc = PyErr_Occurred() || with_gil(arg) || PyErr_CheckSignals() < 0;
        job->caller = PyEval_SaveThread();
        return rc;
    }
    pthread_mutex_lock(&t->lock);
    if (t->answer == 0 && !t->alone) {
        t->ask = with_gil;
        t->arg = arg;
        pthread_cond_broadcast(&t->changed);
    }
    while (t->ask && !t->alone) pthread_cond_wait(&t->changed, &t->lock);
    int rc = t->answer != 0 || t->alone;
    pthread_mutex_unlock(&t->lock);
    return rc;
}

/* Does what it asks for, if it does; not 0 with an exception. */
static int answer(struct core_thread *t) {
    pthread_mutex_lock(&t->lock);
    int (*ask)(void *arg) = t->ask;
    void *arg = t->arg;
    pthread_mutex_unlock(&t->lock);
    if (!ask) return 0;
    int rc = ask(arg); /* the job waits: nothing of it changes meanwhile */
    pthread_mutex_lock(&t->lock);
    t->answer = rc;
    t->ask = NULL;
    pthread_cond_broadcast(&t->changed);
    pthread_mutex_unlock(&t->lock);
    return rc;
}

/* ---- the thread that waits ---- */

static void wait_a_slice(struct core_job *job) {
    struct core_thread *t = job->thread;
    struct timespec until;
    int rc = 0;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += CORE_SLICE_MS * 1000000L;
    if (until.tv_nsec >= 1000000000) until.tv_sec++, until.tv_nsec -= 1000000000;
    pthread_mutex_lock(&t->lock);
    while (t->job == job && !t->ask && rc != ETIMEDOUT)
        rc = pthread_cond_timedwait(&t->changed, &t->lock, &until);
    pthread_mutex_unlock(&t->lock);
}

/* -1 with an exception: of what it asked for, when it has ended; or of a signal's handler. */
static int run_watched(struct core_job *job) {
    PyObject *type = NULL, *value = NULL, *traceback = NULL; /* of what it asked for */
    while (!has_ended(job)) {
        PyThreadState *gil = PyEval_SaveThread();
        wait_a_slice(job);
        PyEval_RestoreThread(gil);
        if (!type && answer(job->thread) != 0) PyErr_Fetch(&type, &value, &traceback);
        if (PyErr_CheckSignals() < 0) break;
    }
    if (PyErr_Occurred()) { /* in place of the other */
        Py_XDECREF(type);
        Py_XDECREF(value);
        Py_XDECREF(traceback);
        return -1;
    }
    PyErr_Restore(type, value, traceback);
    return type ? -1 : 0;
}

static void run_here(struct core_job *job) {
    job->caller = PyEval_SaveThread();
    job->rc = job->run(job);
    PyEval_RestoreThread(job->caller);
}

static void drop(struct core_job *job) {
    if (job->thread) give_thread(job->thread);
    job->drop(job);
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

static void start(struct core_job *job) {
    struct core_thread *t = job->thread;
    pthread_mutex_lock(&t->lock);
    t->job = job;
    t->ask = NULL;
    t->answer = 0;
    t->alone = 0;
    pthread_cond_broadcast(&t->changed);
    pthread_mutex_unlock(&t->lock);
}

int core_job_run(struct core_module *m, struct core_job *job) {
    drop_ended();
    job->forks = core_forks();
    if (!job->is_short && gettid() == getpid()) job->thread = take_thread();
    if (job->thread) {
        start(job);
        if (run_watched(job) < 0) return -1;
    } else {
        run_here(job);
        if (PyErr_Occurred()) return -1; /* in what it asked for */
    }
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
    t->alone = 1;
    pthread_cond_broadcast(&t->changed);
    pthread_mutex_unlock(&t->lock);
    job->next = left_alone;
    left_alone = job;
}
