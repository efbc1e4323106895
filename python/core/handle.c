/* Handles of the library that several threads use and one may close. The lock is held for a few
 * instructions, and never while Python or the library is called. */
#include <pthread.h>
#include <stdatomic.h>

#include "core.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static atomic_uint forks;

unsigned core_forks(void) { return atomic_load_explicit(&forks, memory_order_relaxed); }

static void before_fork(void) { pthread_mutex_lock(&lock); }
static void after_fork(void) { pthread_mutex_unlock(&lock); }
static void after_fork_in_child(void) {
    atomic_fetch_add(&forks, 1);
    pthread_mutex_unlock(&lock);
}
static int watch_result;
static void watch(void) {
    watch_result = pthread_atfork(before_fork, after_fork, after_fork_in_child);
}

int core_fork_watch(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, watch);
    if (watch_result == 0) return 0;
    PyErr_NoMemory();
    return -1;
}

void core_handle_init(struct core_handle *h, void *p, void (*close)(void *p)) {
    *h = (struct core_handle){.p = p, .close = close, .forks = core_forks()};
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
    if (p) h->p = NULL;
    return p;
}

static void finish(struct core_handle *h, void *p) {
    if (!p || h->forks != core_forks()) return; /* in a child it is the parent's */
    Py_BEGIN_ALLOW_THREADS h->close(p);
    Py_END_ALLOW_THREADS
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
