/* Buffers are mapped, not allocated: what is given back is the system's at once, and no heap keeps
 * holes that would add up to more than the budget. */
#include "ingest/buffers.h"

#include <string.h>
#include <sys/mman.h>

#define GRAIN_BYTES ((size_t)64 << 10) /* so that files of much the same size share buffers */

void stn_buffers_init(struct stn_buffers *b, size_t limit_bytes) {
    *b = (struct stn_buffers){.limit_bytes = limit_bytes};
    pthread_mutex_init(&b->lock, NULL);
    pthread_cond_init(&b->changed, NULL);
}

static void unmap_idle(struct stn_buffers *b, size_t i) {
    b->idle_bytes -= b->idle[i].cap;
    munmap(b->idle[i].data, b->idle[i].cap);
    b->n_idle--;
    memmove(&b->idle[i], &b->idle[i + 1], (b->n_idle - i) * sizeof b->idle[0]);
}

void stn_buffers_fini(struct stn_buffers *b) {
    while (b->n_idle > 0) unmap_idle(b, b->n_idle - 1);
    pthread_cond_destroy(&b->changed);
    pthread_mutex_destroy(&b->lock);
}

/* An idle buffer of at least `cap` bytes that is not much too large; 0: there is none. */
static int take_idle(struct stn_buffers *b, size_t cap, struct stn_buffer *out) {
    size_t best = b->n_idle;
    for (size_t i = 0; i < b->n_idle; i++) {
        size_t got = b->idle[i].cap;
        int fits = got >= cap && got / 2 <= cap && b->used_bytes + got <= b->limit_bytes;
        if (fits && (best == b->n_idle || got < b->idle[best].cap)) best = i;
    }
    if (best == b->n_idle) return 0;
    *out = b->idle[best];
    b->idle_bytes -= out->cap;
    b->n_idle--;
    memmove(&b->idle[best], &b->idle[best + 1], (b->n_idle - best) * sizeof b->idle[0]);
    return 1;
}

static int map_new(struct stn_buffers *b, size_t cap, struct stn_buffer *out) {
    while (b->n_idle > 0 && b->used_bytes + b->idle_bytes + cap > b->limit_bytes) unmap_idle(b, 0);
    void *data = mmap(NULL, cap, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (data == MAP_FAILED) return STERNA_ENOMEM;
    *out = (struct stn_buffer){data, cap};
    return STERNA_OK;
}

int stn_buffers_acquire(struct stn_buffers *b, size_t bytes, struct stn_buffer *out) {
    int rc = STERNA_OK;
    *out = (struct stn_buffer){0};
    if (bytes > SIZE_MAX / 2) return STERNA_ENOMEM;
    size_t cap = (STN_MAX(bytes, 1) + GRAIN_BYTES - 1) / GRAIN_BYTES * GRAIN_BYTES;
    pthread_mutex_lock(&b->lock);
    uint64_t mine = b->next_turn++;
    while (!b->stopped &&
           (b->turn != mine || (b->used_bytes > 0 && b->used_bytes + cap > b->limit_bytes)))
        pthread_cond_wait(&b->changed, &b->lock);
    if (b->stopped)
        rc = STERNA_ECANCELED;
    else if (!take_idle(b, cap, out))
        rc = map_new(b, cap, out);
    b->used_bytes += out->cap;
    b->turn++;
    pthread_cond_broadcast(&b->changed);
    pthread_mutex_unlock(&b->lock);
    return rc;
}

void stn_buffers_release(struct stn_buffers *b, struct stn_buffer *buffer) {
    if (!buffer->data) return;
    pthread_mutex_lock(&b->lock);
    b->used_bytes -= buffer->cap;
    if (b->n_idle == STN_IDLE_BUFFERS_MAX) unmap_idle(b, 0);
    b->idle[b->n_idle++] = *buffer;
    b->idle_bytes += buffer->cap;
    pthread_cond_broadcast(&b->changed);
    pthread_mutex_unlock(&b->lock);
    *buffer = (struct stn_buffer){0};
}

void stn_buffers_stop(struct stn_buffers *b) {
    pthread_mutex_lock(&b->lock);
    b->stopped = 1;
    pthread_cond_broadcast(&b->changed);
    pthread_mutex_unlock(&b->lock);
}
