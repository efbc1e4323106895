/* One thread sleeps until a time or until somebody wakes it. A wake-up is never lost. */
#ifndef STN_WAKER_H
#define STN_WAKER_H

#include <pthread.h>
#include <stdint.h>

struct stn_waker {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int pending;
};

int stn_cond_init_monotonic(pthread_cond_t *cond); /* 0, or an errno */

int stn_waker_init(struct stn_waker *w);
void stn_waker_fini(struct stn_waker *w);
void stn_waker_wake(struct stn_waker *w);                     /* any thread */
void stn_waker_sleep(struct stn_waker *w, uint64_t until_ns); /* UINT64_MAX: no limit */

#endif
