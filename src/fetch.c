/* The fetcher: the one file that knows every stage. A turn of its work is the way of a sample that
 * was asked for by its id.
 *
 * Everything runs under one lock. The fetcher's own thread takes what has come; asking goes on
 * whichever thread submits, so that a request is on its way when submit() returns. Sources answer
 * from their threads, through the sink, and never take that lock. */
#include <unistd.h>

#include "fetch/fetcher.h"

#define ROWS_AT_ONCE 256 /* admitted before they are sent: sources take many at a time */

/* Memory that was asked for in vain comes from what is on its way, or else from who holds batches.
 */
static int is_stuck(const sterna_fetcher *f) {
    const struct stn_flight *fl = &f->flight;
    int nothing_comes = stn_flight_is_idle(fl) && !fl->n_abandoned && !f->ready.first;
    return nothing_comes && (f->queued || fl->starved.n);
}

static size_t admit(sterna_fetcher *f) {
    size_t n = 0;
    while (f->queued && !f->flight.starved.n && f->flight.open.n < ROWS_AT_ONCE) {
        size_t n_rows = stn_submission_admit(f);
        if (n_rows == 0) break; /* those behind it would take what it waits for */
        n += n_rows;
    }
    return n;
}

/* Nobody holds memory but the rows that came before it: it will never find room. */
static void give_up_starved(sterna_fetcher *f, uint64_t now_ns) {
    struct stn_flight *fl = &f->flight;
    struct stn_item *item = stn_list_take(&fl->starved);
    stn_item_give_up(fl, item, STERNA_EBUDGET,
                     "no room in the memory budget beside the other rows of its batch: raise it, "
                     "or ask for fewer samples at once");
    stn_submissions_compose(f, now_ns);
}

static void ask(sterna_fetcher *f, uint64_t now_ns) {
    size_t n;
    do {
        n = admit(f);
        stn_flight_send(&f->flight, now_ns);
        stn_submissions_compose(f, now_ns); /* of rows that could not even be asked for */
        n += stn_flight_feed_starved(&f->flight);
    } while (n > 0);
}

/* Keeps the descriptor readable exactly while poll() has something to say; wakes who waits. */
void stn_fetcher_announce(sterna_fetcher *f) {
    int readable = f->ready.first || f->no_room;
    uint64_t count = 1; /* the descriptor never blocks: it is 0 or 1 */
    if (readable && !f->announced)
        f->announced = write(f->ready_fd, &count, sizeof count) == sizeof count;
    if (!readable && f->announced) f->announced = read(f->ready_fd, &count, sizeof count) < 0;
    if (readable || !f->under_way.first) pthread_cond_broadcast(&f->changed);
}

void stn_fetcher_ask(sterna_fetcher *f, uint64_t now_ns) {
    struct stn_flight *fl = &f->flight;
    atomic_store(&f->released, 0);
    for (;;) {
        ask(f, now_ns);
        f->no_room = is_stuck(f);
        if (!f->no_room || !fl->starved.n || stn_pool_leases(fl->pool) > 0) break;
        give_up_starved(f, now_ns);
    }
    atomic_store(&f->wants_room, f->queued || fl->starved.n);
    /* Memory that came back meanwhile may have been looked for in vain before. */
    int again = atomic_load(&f->wants_room) && atomic_load(&f->released);
    f->wake_ns = again ? now_ns : stn_flight_next_ns(fl);
    if (f->wake_ns < f->sleeps_until_ns) stn_waker_wake(&f->waker);
    stn_fetcher_announce(f);
}

void stn_fetcher_turn(sterna_fetcher *f) {
    uint64_t now_ns = stn_now(f->env.flight.clock);
    stn_flight_land(&f->flight, now_ns);
    stn_flight_expire(&f->flight, now_ns);
    stn_submissions_compose(f, now_ns);
    stn_flight_feed_starved(&f->flight);
    stn_fetcher_ask(f, now_ns);
}

uint64_t stn_fetcher_step(sterna_fetcher *f) {
    pthread_mutex_lock(&f->lock);
    f->sleeps_until_ns = 0; /* it is awake */
    stn_fetcher_turn(f);
    uint64_t wake_ns = f->sleeps_until_ns = f->wake_ns;
    pthread_mutex_unlock(&f->lock);
    return wake_ns;
}

void *stn_fetcher_run(void *fetcher) {
    sterna_fetcher *f = fetcher;
    for (;;) {
        uint64_t wake_ns = stn_fetcher_step(f);
        stn_waker_sleep(&f->waker, wake_ns);
        pthread_mutex_lock(&f->lock);
        int stopping = f->stopping;
        pthread_mutex_unlock(&f->lock);
        if (stopping) return NULL;
    }
}
