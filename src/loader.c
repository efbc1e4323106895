/* The loader: the one file that knows every stage. A turn of its work is the way of a sample.
 *
 * All of it runs under one lock, on the loader's own thread; sources answer from theirs, through
 * the sink, and never take that lock. */
#include <unistd.h>

#include "loader/loader.h"

static void turn(sterna_loader *l) {
    uint64_t now_ns = stn_now(l->env.flight.clock);
    atomic_store(&l->released, 0);
    stn_loader_account_stall(l, now_ns);
    stn_flight_land(&l->flight, now_ns);
    stn_flight_expire(&l->flight, now_ns);
    stn_loader_compose(l, now_ns);
    if (!l->failure.code) {
        stn_flight_feed_starved(&l->flight);
        stn_loader_plan_ahead(l);
        do stn_flight_send(&l->flight, now_ns);
        while (stn_flight_feed_starved(&l->flight) > 0);
    }
    stn_loader_conclude(l);
    /* Memory that came back during this turn may have been looked for in vain before; what was
     * given up when it was to be asked for is not in a batch yet. */
    int found_room = atomic_load(&l->wants_room) && atomic_load(&l->released);
    int again = found_room || l->to_compose;
    l->wake_ns = again ? now_ns : stn_flight_next_ns(&l->flight);
}

/* Tells consumers, once, that next() has something to say. */
static void announce(sterna_loader *l) {
    int readable = l->ready || l->ended || l->no_room || l->failure.code;
    if (!readable || l->announced) return;
    uint64_t one = 1; /* cannot block: the counter is 0 */
    l->announced = write(l->ready_fd, &one, sizeof one) == sizeof one;
    pthread_cond_broadcast(&l->ready_changed);
}

void stn_loader_turn(sterna_loader *l) {
    turn(l);
    announce(l);
}

uint64_t stn_loader_step(sterna_loader *l) {
    pthread_mutex_lock(&l->lock);
    stn_loader_turn(l);
    uint64_t wake_ns = l->wake_ns;
    pthread_mutex_unlock(&l->lock);
    return wake_ns;
}

void *stn_loader_run(void *loader) {
    sterna_loader *l = loader;
    for (;;) {
        uint64_t wake_ns = stn_loader_step(l);
        stn_waker_sleep(&l->waker, wake_ns);
        pthread_mutex_lock(&l->lock);
        int stopping = l->stopping;
        pthread_mutex_unlock(&l->lock);
        if (stopping) return NULL;
    }
}
