/* Three lists under one lock; each hand-over is a pointer, so the lock is held for moments. */
#include "ingest/jobs.h"

#include <errno.h>
#include <time.h>

void stn_job_push(struct stn_job_list *list, struct stn_job *job) {
    job->next = NULL;
    if (list->last)
        list->last->next = job;
    else
        list->first = job;
    list->last = job;
}

struct stn_job *stn_job_pop(struct stn_job_list *list) {
    struct stn_job *job = list->first;
    if (job) list->first = job->next;
    if (!list->first) list->last = NULL;
    return job;
}

int stn_jobs_init(struct stn_jobs *q, size_t n, size_t n_cells, unsigned n_readers) {
    pthread_condattr_t monotonic;
    *q = (struct stn_jobs){.all = stn_array(n, sizeof *q->all), .n_readers = n_readers};
    if (!q->all) return STERNA_ENOMEM;
    q->n = n;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_mutex_init(&q->lock, NULL);
    pthread_cond_init(&q->a_free, NULL);
    pthread_cond_init(&q->a_todo, NULL);
    pthread_cond_init(&q->a_done, &monotonic);
    pthread_condattr_destroy(&monotonic);
    for (size_t i = 0; i < n; i++) {
        q->all[i].cells = stn_array(n_cells, sizeof *q->all[i].cells);
        if (!q->all[i].cells) {
            stn_jobs_fini(q);
            return STERNA_ENOMEM;
        }
        stn_job_push(&q->free, &q->all[i]);
    }
    return STERNA_OK;
}

void stn_jobs_fini(struct stn_jobs *q) {
    if (!q->all) return;
    for (size_t i = 0; i < q->n; i++) {
        free(q->all[i].path);
        free(q->all[i].cells);
        stn_metadata_row_fini(&q->all[i].row);
    }
    free(q->all);
    pthread_cond_destroy(&q->a_free);
    pthread_cond_destroy(&q->a_todo);
    pthread_cond_destroy(&q->a_done);
    pthread_mutex_destroy(&q->lock);
    *q = (struct stn_jobs){0};
}

static void hand_over(struct stn_jobs *q, struct stn_job_list *list, pthread_cond_t *who,
                      struct stn_job *job) {
    pthread_mutex_lock(&q->lock);
    stn_job_push(list, job);
    pthread_cond_signal(who);
    pthread_mutex_unlock(&q->lock);
}

void stn_jobs_todo(struct stn_jobs *q, struct stn_job *job) {
    hand_over(q, &q->todo, &q->a_todo, job);
}

void stn_jobs_done(struct stn_jobs *q, struct stn_job *job) {
    hand_over(q, &q->done, &q->a_done, job);
}

void stn_jobs_free(struct stn_jobs *q, struct stn_job *job) {
    hand_over(q, &q->free, &q->a_free, job);
}

struct stn_job *stn_jobs_take(struct stn_jobs *q) {
    pthread_mutex_lock(&q->lock);
    while (!q->free.first && !q->stopped) pthread_cond_wait(&q->a_free, &q->lock);
    struct stn_job *job = q->stopped ? NULL : stn_job_pop(&q->free);
    pthread_mutex_unlock(&q->lock);
    return job;
}

struct stn_job *stn_jobs_next(struct stn_jobs *q) {
    pthread_mutex_lock(&q->lock);
    while (!q->todo.first && !q->walk_ended && !q->stopped) pthread_cond_wait(&q->a_todo, &q->lock);
    struct stn_job *job = q->stopped ? NULL : stn_job_pop(&q->todo);
    pthread_mutex_unlock(&q->lock);
    return job;
}

void stn_jobs_walk_ended(struct stn_jobs *q) {
    pthread_mutex_lock(&q->lock);
    q->walk_ended = 1;
    pthread_cond_broadcast(&q->a_todo);
    pthread_mutex_unlock(&q->lock);
}

void stn_jobs_reader_ended(struct stn_jobs *q) {
    pthread_mutex_lock(&q->lock);
    q->n_readers--;
    pthread_cond_signal(&q->a_done);
    pthread_mutex_unlock(&q->lock);
}

static struct timespec deadline_in(unsigned ms) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    t.tv_sec += ms / 1000;
    t.tv_nsec += (long)(ms % 1000) * 1000000;
    if (t.tv_nsec >= 1000000000) t.tv_sec++, t.tv_nsec -= 1000000000;
    return t;
}

int stn_jobs_result(struct stn_jobs *q, unsigned timeout_ms, struct stn_job **job,
                    struct sterna_error *err) {
    struct timespec deadline = deadline_in(timeout_ms);
    int rc = STERNA_OK, waited = timeout_ms ? 0 : ETIMEDOUT;
    pthread_mutex_lock(&q->lock);
    while (!q->done.first && q->n_readers > 0 && !q->stopped && waited != ETIMEDOUT)
        waited = pthread_cond_timedwait(&q->a_done, &q->lock, &deadline);
    *job = q->stopped ? NULL : stn_job_pop(&q->done);
    if (q->error.code < 0) {
        rc = q->error.code;
        if (err) *err = q->error;
    } else if (!*job) {
        rc = q->n_readers > 0 && !q->stopped ? STERNA_AGAIN : STERNA_END;
    }
    pthread_mutex_unlock(&q->lock);
    return rc;
}

void stn_jobs_stop(struct stn_jobs *q, const struct sterna_error *why) {
    pthread_mutex_lock(&q->lock);
    q->stopped = 1;
    if (why && q->error.code == 0) q->error = *why;
    pthread_cond_broadcast(&q->a_free);
    pthread_cond_broadcast(&q->a_todo);
    pthread_cond_broadcast(&q->a_done);
    pthread_mutex_unlock(&q->lock);
}
