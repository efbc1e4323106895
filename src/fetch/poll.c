/* The consumer's side of a fetcher: submit, poll, cancel, statistics. */
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "fetch/fetcher.h"

#define ROWS_MAX ((size_t)1 << 24)

int stn_fetcher_check(const sterna_fetcher *f, struct sterna_error *err) {
    if (f->pid == getpid()) return STERNA_OK;
    return stn_fail(err, STERNA_EFORKED,
                    "this fetcher was opened by process %ld, before a fork: open store and fetcher "
                    "again in the child",
                    (long)f->pid);
}

int sterna_submit(sterna_fetcher *f, const uint8_t (*ids)[STERNA_ID_BYTES], size_t n,
                  uint64_t *ticket, struct sterna_error *err) {
    struct stn_submission *s;
    stn_error_clear(err);
    *ticket = 0;
    int rc = stn_fetcher_check(f, err);
    if (rc < 0) return rc;
    if (n == 0 || n > ROWS_MAX)
        return stn_fail(err, STERNA_EINVAL, "%zu ids: 1 to %zu can be asked for at once", n,
                        ROWS_MAX);
    rc = stn_submission_new(&s, f, ids, n, err);
    if (rc < 0) return rc;
    pthread_mutex_lock(&f->lock);
    s->ticket = *ticket = ++f->last_ticket;
    stn_submissions_append(&f->under_way, s);
    if (!f->queued) f->queued = s;
    stn_fetcher_ask(f, stn_now(f->env.flight.clock));
    pthread_mutex_unlock(&f->lock);
    return STERNA_OK;
}

/* ---- poll ---- */

static void hand_out(sterna_fetcher *f, uint64_t *ticket, sterna_batch **out) {
    struct stn_submission *s = f->ready.first;
    sterna_batch *b = s->batch;
    s->batch = NULL;
    *ticket = s->ticket;
    *out = b;
    stn_submissions_remove(&f->ready, s);
    stn_submission_free(&s);
    stn_batch_lease(b);
    f->stats.batches++;
    f->stats.samples += b->info.n_valid;
    f->stats.masked += b->info.n_rows - b->info.n_valid;
    f->stats.bytes += b->info.n_bytes;
}

static int fail_no_room(sterna_fetcher *f, struct sterna_error *err) {
    struct stn_pool_stats pool;
    stn_pool_stats(f->flight.pool, &pool);
    return stn_fail(err, STERNA_EBUDGET,
                    "%llu batches held: they take %llu of the budget of %llu bytes; release some, "
                    "or raise the memory budget",
                    (unsigned long long)stn_pool_leases(f->flight.pool),
                    (unsigned long long)pool.used_bytes,
                    (unsigned long long)f->flight.budget_bytes);
}

/* What can be said at once: a batch, that there is none, that there is no room; AGAIN: nothing. */
static int take_ready(sterna_fetcher *f, uint64_t *ticket, sterna_batch **out,
                      struct sterna_error *err) {
    if (f->no_room) stn_fetcher_turn(f); /* look again: memory may have come back since */
    if (f->ready.first) {
        hand_out(f, ticket, out);
        return STERNA_OK;
    }
    if (!f->under_way.first) return STERNA_END;
    return f->no_room ? fail_no_room(f, err) : STERNA_AGAIN;
}

static void wait_changed(sterna_fetcher *f, uint64_t until_ns) {
    struct timespec until = {(time_t)(until_ns / STN_NS_PER_S), (long)(until_ns % STN_NS_PER_S)};
    if (until_ns == UINT64_MAX)
        pthread_cond_wait(&f->changed, &f->lock);
    else
        pthread_cond_timedwait(&f->changed, &f->lock, &until);
}

int sterna_poll(sterna_fetcher *f, uint64_t *ticket, sterna_batch **out, int timeout_ms,
                struct sterna_error *err) {
    stn_error_clear(err);
    *ticket = 0;
    *out = NULL;
    int rc = stn_fetcher_check(f, err);
    if (rc < 0) return rc;
    uint64_t until_ns = UINT64_MAX;
    if (timeout_ms >= 0)
        until_ns = stn_now(f->env.flight.clock) + (uint64_t)timeout_ms * STN_NS_PER_MS;
    pthread_mutex_lock(&f->lock);
    while ((rc = take_ready(f, ticket, out, err)) == STERNA_AGAIN &&
           (timeout_ms < 0 || (timeout_ms > 0 && stn_now(f->env.flight.clock) < until_ns)))
        wait_changed(f, until_ns);
    if (rc == STERNA_OK) stn_fetcher_announce(f);
    int look = rc == STERNA_OK && atomic_load(&f->wants_room); /* is there room without this one? */
    pthread_mutex_unlock(&f->lock);
    if (look) stn_waker_wake(&f->waker);
    return rc;
}

int sterna_fetcher_fd(sterna_fetcher *f) { return f->ready_fd; }

/* ---- what else there is to say ---- */

void sterna_fetcher_cancel(sterna_fetcher *f, uint64_t ticket) {
    struct stn_submission *s;
    if (stn_fetcher_check(f, NULL) < 0) return;
    pthread_mutex_lock(&f->lock);
    if ((s = stn_submissions_find(&f->ready, ticket))) {
        stn_submissions_remove(&f->ready, s);
        stn_submission_free(&s);
    } else if ((s = stn_submissions_find(&f->under_way, ticket))) {
        stn_submission_call_off(f, s);
    }
    stn_fetcher_ask(f, stn_now(f->env.flight.clock));
    pthread_mutex_unlock(&f->lock);
}

void sterna_fetcher_stats(sterna_fetcher *f, struct sterna_stats *out) {
    *out = (struct sterna_stats){0};
    if (stn_fetcher_check(f, NULL) < 0) return;
    pthread_mutex_lock(&f->lock);
    *out = f->stats;
    out->elapsed_ns = stn_now(f->env.flight.clock) - f->opened_ns;
    stn_flight_count(&f->flight, out);
    pthread_mutex_unlock(&f->lock);
}

void sterna_fetcher_path(sterna_fetcher *f, struct sterna_path *out) {
    stn_flight_path(&f->flight, out);
}
