/* Threads of the library: they take no signals, those are for the program's own threads. */
#ifndef STN_THREAD_H
#define STN_THREAD_H

#include <pthread.h>

/* As pthread_create without attributes; returns 0 or an errno. Signals that a thread raises itself
 * by a fault stay unblocked. */
int stn_thread_create(pthread_t *thread, void *(*run)(void *), void *arg);

#endif
