/* The consumer's side of a loader: next, state, statistics, cancel. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "loader/loader.h"
#include "loader/verdict.h"

#define CANCEL_POLL_NS                                                                             \
    (100 * STN_NS_PER_MS) /* a signal handler cannot wake a condition variable                     \
                           */

static int check_process(const sterna_loader *l, struct sterna_error *err) {
    if (l->pid == getpid()) return STERNA_OK;
    return stn_fail(
        err, STERNA_EFORKED,
        "this loader was opened by process %ld, before a fork: open store and loader again "
        "in the child",
        (long)l->pid);
}

static int fail_no_room(sterna_loader *l, struct sterna_error *err) {
    struct stn_pool_stats pool;
    stn_pool_stats(l->flight.pool, &pool);
    uint64_t leases = stn_pool_leases(l->flight.pool);
    if (leases > 0)
        return stn_fail(
            err, STERNA_EBUDGET,
            "%llu batches held: they take %llu of the budget of %llu bytes; release some, or "
            "raise the memory budget",
            (unsigned long long)leases, (unsigned long long)pool.used_bytes,
            (unsigned long long)l->flight.budget_bytes);
    return stn_fail(
        err, STERNA_EBUDGET,
        "no room for the next batch in the budget of %llu bytes: raise the memory budget",
        (unsigned long long)l->flight.budget_bytes);
}

/* The first ready batch becomes the consumer's. */
static int hand_out(sterna_loader *l, sterna_batch **out, struct sterna_error *err) {
    sterna_batch *b = l->ready;
    if (b->code) {
        stn_loader_fail(l, b->code, b->message ? b->message : sterna_strerror(b->code));
        return stn_fail(err, l->failure.code, "%s", l->failure.message);
    }
    uint8_t *state = realloc(l->state, b->state_bytes);
    if (!state) return stn_fail_memory(err, "a state");
    l->state = memcpy(state, b->state, b->state_bytes);
    l->state_bytes = b->state_bytes;
    l->ready = b->next;
    if (!l->ready) l->ready_end = &l->ready;
    l->ahead_bytes -= b->ahead_bytes;
    if (l->stats.batches++ == 0) l->first_bytes = b->info.n_bytes;
    for (uint32_t i = 0; i < b->info.n_rows; i++) l->stats.samples += b->valid[i] && !b->errors[i];
    l->stats.padded += b->info.n_rows - b->n_items;
    l->stats.bytes += b->info.n_bytes;
    stn_batch_lease(b);
    *out = b;
    return STERNA_OK;
}

/* What can be said at once: a batch, the end, a failure; AGAIN: nothing yet. */
static int take_ready(sterna_loader *l, sterna_batch **out, struct sterna_error *err) {
    if (atomic_load(&l->canceled)) return stn_fail(err, STERNA_ECANCELED, "cancelled");
    if (l->failure.code) return stn_fail(err, l->failure.code, "%s", l->failure.message);
    if (l->ready) return hand_out(l, out, err);
    if (l->ended) return STERNA_END;
    if (l->no_room) { /* look again: memory may have come back since */
        stn_loader_turn(l);
        if (l->no_room) return fail_no_room(l, err);
        if (l->ready) return hand_out(l, out, err);
    }
    return STERNA_AGAIN;
}

static void wait_ready(sterna_loader *l, uint64_t until_ns) {
    uint64_t now_ns = stn_now(l->env.flight.clock);
    until_ns = STN_MIN(until_ns, now_ns + CANCEL_POLL_NS);
    struct timespec until = {(time_t)(until_ns / STN_NS_PER_S), (long)(until_ns % STN_NS_PER_S)};
    stn_loader_account_stall(l, now_ns);
    l->n_consumers_waiting++;
    pthread_cond_timedwait(&l->ready_changed, &l->lock, &until);
    stn_loader_account_stall(l, stn_now(l->env.flight.clock));
    l->n_consumers_waiting--;
}

/* A consumer that asked and got nothing waits for it, wherever it does. */
static void set_polled(sterna_loader *l, int polled) {
    if (l->watch.polled == polled) return;
    stn_loader_account_stall(l, stn_now(l->env.flight.clock));
    l->watch.polled = polled;
}

/* Keeps the descriptor readable exactly while there is something to say. */
static void quiet(sterna_loader *l) {
    uint64_t count;
    int readable = l->ready || l->ended || l->no_room || l->failure.code;
    if (l->announced && !readable) l->announced = read(l->ready_fd, &count, sizeof count) < 0;
}

int sterna_loader_next(sterna_loader *l, sterna_batch **out, int timeout_ms,
                       struct sterna_error *err) {
    stn_error_clear(err);
    *out = NULL;
    int rc = check_process(l, err);
    if (rc < 0) return rc;
    uint64_t now_ns = stn_now(l->env.flight.clock);
    uint64_t until_ns = timeout_ms < 0 ? UINT64_MAX : now_ns + (uint64_t)timeout_ms * STN_NS_PER_MS;
    pthread_mutex_lock(&l->lock);
    set_polled(l, 0);
    while ((rc = take_ready(l, out, err)) == STERNA_AGAIN &&
           stn_now(l->env.flight.clock) < until_ns)
        wait_ready(l, until_ns);
    if (rc == STERNA_AGAIN) set_polled(l, 1);
    if (rc == STERNA_END && !l->end_ns) l->end_ns = stn_now(l->env.flight.clock);
    quiet(l);
    pthread_mutex_unlock(&l->lock);
    if (rc == STERNA_OK) stn_waker_wake(&l->waker); /* there is room to read further ahead */
    return rc;
}

int sterna_loader_fd(sterna_loader *l) { return l->ready_fd; }

int sterna_loader_state(sterna_loader *l, void *buf, size_t cap, size_t *size) {
    int rc = STERNA_EINVAL;
    pthread_mutex_lock(&l->lock);
    *size = l->state_bytes;
    if (cap >= l->state_bytes) {
        memcpy(buf, l->state, l->state_bytes);
        rc = STERNA_OK;
    }
    pthread_mutex_unlock(&l->lock);
    return rc;
}

uint64_t sterna_loader_steps(const sterna_loader *l) { return l->steps_per_epoch; }

/* Bytes a second; the first batch and what came before it are left out where there are more. */
static uint64_t steady_rate(const struct sterna_stats *s, uint64_t first_bytes) {
    int more = s->batches > 1;
    uint64_t passed_ns = s->elapsed_ns - (more ? s->first_batch_ns : 0);
    double bytes = (double)(s->bytes - (more ? first_bytes : 0));
    return passed_ns ? (uint64_t)(bytes * 1e9 / (double)passed_ns) : 0;
}

static void judge(sterna_loader *l, struct sterna_stats *s, uint64_t wanted_bytes) {
    struct stn_verdict_facts f = {.elapsed_ns = s->elapsed_ns - (l->begun_ns - l->opened_ns),
                                  .batches = s->batches,
                                  .rate_bytes_s = steady_rate(s, l->first_bytes),
                                  .retries = s->retries,
                                  .leases = s->leases,
                                  .memory_bytes = s->memory_budget_bytes,
                                  .wanted_bytes = wanted_bytes,
                                  .max_rate_bytes_s = l->flight.rate.bytes_s};
    memcpy(f.stall_ns, s->stall_ns, sizeof f.stall_ns);
    sterna_loader_path(l, &f.path);
    stn_verdict(&f, s->verdict, sizeof s->verdict);
}

void sterna_loader_stats(sterna_loader *l, struct sterna_stats *out) {
    pthread_mutex_lock(&l->lock);
    uint64_t now_ns = stn_now(l->env.flight.clock);
    uint64_t wanted_bytes = stn_loader_ahead_max(l) + l->flight.escrow_bytes;
    stn_loader_account_stall(l, now_ns);
    *out = l->stats;
    out->elapsed_ns = (l->end_ns ? l->end_ns : now_ns) - l->opened_ns;
    stn_flight_count(&l->flight, out);
    pthread_mutex_unlock(&l->lock);
    judge(l, out, wanted_bytes);
}

void sterna_loader_path(sterna_loader *l, struct sterna_path *out) {
    stn_flight_path(&l->flight, out);
}

size_t sterna_loader_exceptions(sterna_loader *l, struct sterna_exception *out, size_t cap) {
    pthread_mutex_lock(&l->lock);
    uint64_t n = STN_MIN(l->n_exceptions, (uint64_t)STN_MIN(cap, (size_t)STN_EXCEPTIONS_MAX));
    for (uint64_t i = 0; i < n; i++)
        out[i] = l->exceptions[(l->n_exceptions - n + i) % STN_EXCEPTIONS_MAX];
    pthread_mutex_unlock(&l->lock);
    return (size_t)n;
}

void sterna_loader_cancel(sterna_loader *l) {
    uint64_t one = 1;
    int saved = errno; /* this may run in a signal handler */
    atomic_store(&l->canceled, 1);
    if (write(l->ready_fd, &one, sizeof one) < 0) errno = saved;
}
