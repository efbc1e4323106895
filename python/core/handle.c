/* Handles of the library that several threads use and one may close. The lock is held for a few
 * instructions, and never while Python or the library is called. */
#include <pthread.h>
#include <stdatomic.h>

#include "core.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct core_handle *all; /* that are open, newest first: what next opened is closed first */
static atomic_uint forks;

unsigned core_forks(void) { return atomic_load_explicit(&forks, memory_order_relaxed); }

static void before_fork(void) { pthread_mutex_lock(&lock); }
static void after_fork(void) { pthread_mutex_unlock(&lock); }
static void after_fork_in_child(void) {
    atomic_fetch_add(&forks, 1);
    pthread_mutex_unlock(&lock);
}

/* What nobody has closed when the interpreter is gone: no thread may run while libraries that it
 * uses come to their end. One that a thread is still in goes down with the process. */
static void close_all(void) {
    for (struct core_handle *h = all; h; h = h->next)
        if (h->p && h->users == 0 && h->forks == core_forks()) h->close(h->p);
    all = NULL;
}

static int watch_result;
static void watch(void) {
    watch_result = pthread_atfork(before_fork, after_fork, after_fork_in_child);
    Py_AtExit(close_all);
}

int core_process_watch(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, watch);
    if (watch_result == 0) return 0;
    PyErr_NoMemory();
    return -1;
}

void core_handle_init(struct core_handle *h, void *p, void (*close)(void *p)) {
    *h = (struct core_handle){.p = p, .close = close, .forks = core_forks()};
    pthread_mutex_lock(&lock);
    h->next = all;
    h->before = &all;
    if (all) all->before = &h->next;
    all = h;
    pthread_mutex_unlock(&lock);
}

void *core_handle_enter(struct core_module *m, struct core_handle *h, const char *what) {
    if (h->p && h->forks != core_forks()) {
        core_raise_text(m, STERNA_EFORKED,
                        "this %s was opened before a fork: open it again in the child process",
                        what);
        return NULL;
    }
    pthread_mutex_lock(&lock);
    void *p = h->closed ? NULL : h->p;
    h->users += p != NULL;
    pthread_mutex_unlock(&lock);
    if (!p) core_raise_text(m, STERNA_EINVAL, "this %s is closed", what);
    return p;
}

/* The C handle, if it is to be closed now; by nobody else. */
static void *take(struct core_handle *h) {
    void *p = h->closed && h->users == 0 ? h->p : NULL;
    if (!p) return NULL;
    *h->before = h->next;
    if (h->next) h->next->before = h->before;
    h->p = NULL;
    return p;
}

static void finish(struct core_handle *h, void *p) {
    if (!p || h->forks != core_forks()) return; /* in a child it is the parent's */
    PyThreadState *gil = PyEval_SaveThread();
    h->close(p);
    PyEval_RestoreThread(gil);
}

void core_handle_leave(struct core_handle *h) {
    pthread_mutex_lock(&lock);
    h->users--;
    void *p = take(h);
    pthread_mutex_unlock(&lock);
    finish(h, p);
}

void core_handle_close(struct core_handle *h) {
    pthread_mutex_lock(&lock);
    h->closed = 1;
    void *p = take(h);
    pthread_mutex_unlock(&lock);
    finish(h, p);
}
