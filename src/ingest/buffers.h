/* Memory for files on their way: a budget in bytes, waited for in order of arrival, and buffers
 * that are used again. Idle buffers count too, so that the process stays within the budget whatever
 * sizes come. */
#ifndef STN_BUFFERS_H
#define STN_BUFFERS_H

#include <pthread.h>

#include "base/base.h"

struct stn_buffer {
    uint8_t *data; /* NULL: none */
    size_t cap;
};

#define STN_IDLE_BUFFERS_MAX 64

struct stn_buffers { /* any thread */
    size_t limit_bytes;
    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t changed;
    size_t used_bytes, idle_bytes; /* lent out, and waiting to be */
    uint64_t next_turn, turn;      /* who asks first is served first: a large file is not starved */
    int stopped;
    struct stn_buffer idle[STN_IDLE_BUFFERS_MAX]; /* oldest first */
    size_t n_idle;
};

void stn_buffers_init(struct stn_buffers *b, size_t limit_bytes);
void stn_buffers_fini(struct stn_buffers *b); /* all buffers must be back */

/* Waits until `bytes` fit the budget; a buffer larger than it is lent when no other is out.
 * OK, ENOMEM, or ECANCELED after stn_buffers_stop(). */
int stn_buffers_acquire(struct stn_buffers *b, size_t bytes, struct stn_buffer *out);
void stn_buffers_release(struct stn_buffers *b, struct stn_buffer *buffer); /* NULL data is fine */

/* Ends all waiting, now and later. */
void stn_buffers_stop(struct stn_buffers *b);

#endif
