#include "base/waker.h"

#include <errno.h>
#include <time.h>

#include "base/base.h"

int stn_cond_init_monotonic(pthread_cond_t *cond) {
    pthread_condattr_t attr;
    int rc = pthread_condattr_init(&attr);
    if (rc) return rc;
    rc = pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    if (!rc) rc = pthread_cond_init(cond, &attr);
    pthread_condattr_destroy(&attr);
    return rc;
}

int stn_waker_init(struct stn_waker *w) {
    w->pending = 0;
    if (stn_cond_init_monotonic(&w->changed)) return STERNA_ENOMEM;
    pthread_mutex_init(&w->lock, NULL);
    return STERNA_OK;
}

void stn_waker_fini(struct stn_waker *w) {
    pthread_cond_destroy(&w->changed);
    pthread_mutex_destroy(&w->lock);
}

void stn_waker_wake(struct stn_waker *w) {
    pthread_mutex_lock(&w->lock);
    int first = !w->pending;
    w->pending = 1;
    pthread_mutex_unlock(&w->lock);
    if (first) pthread_cond_signal(&w->changed);
}

void stn_waker_sleep(struct stn_waker *w, uint64_t until_ns) {
    struct timespec until = {(time_t)(until_ns / STN_NS_PER_S), (long)(until_ns % STN_NS_PER_S)};
    pthread_mutex_lock(&w->lock);
    for (int rc = 0; !w->pending && rc != ETIMEDOUT;)
        rc = until_ns == UINT64_MAX ? pthread_cond_wait(&w->changed, &w->lock)
                                    : pthread_cond_timedwait(&w->changed, &w->lock, &until);
    w->pending = 0;
    pthread_mutex_unlock(&w->lock);
}
