/* What consumers wait for: every nanosecond goes to one cause. It is found looking back, from what
 * a turn left behind and what came since, so that an interval is not put down to what ended it. */
#include "loader/cause.h"
#include "loader/loader.h"

#define LOOK_WAITING_NS (5 * STN_NS_PER_MS) /* causes do not change faster */
#define LOOK_IDLE_NS (100 * STN_NS_PER_MS)  /* so that troubles have a time */

static int is_waiting(const sterna_loader *l) {
    int polls = l->watch.polled && !l->ready && !l->ended && !l->failure.code;
    return l->n_consumers_waiting > 0 || polls;
}

/* Everything that went wrong so far, whoever saw it. */
static uint64_t count_troubles(sterna_loader *l, const struct sterna_path *path) {
    const struct stn_flight *fl = &l->flight;
    return fl->stats.retries + atomic_load(&fl->sink.retries) + atomic_load(&fl->sink.corrupt) +
           atomic_load(&fl->sink.misrouted) + path->overloaded + path->suspects +
           path->lost_connections;
}

/* When was the last trouble, and when did the last byte come? */
static void look(sterna_loader *l, const struct sterna_path *path, uint64_t now_ns) {
    struct stn_watch *w = &l->watch;
    uint64_t n_troubles = count_troubles(l, path);
    if (n_troubles > w->n_troubles) w->trouble_ns = now_ns;
    w->n_troubles = n_troubles;
    if (path->received_bytes != w->received_bytes) w->byte_ns = now_ns;
    w->received_bytes = path->received_bytes;
}

static int has_trouble(const sterna_loader *l, const struct sterna_path *path, uint64_t now_ns) {
    uint64_t lasts_ns = STN_MAX(2 * path->rtt_far_ns, 100 * STN_NS_PER_MS);
    return l->watch.n_troubles > 0 && now_ns - l->watch.trouble_ns < lasts_ns;
}

/* Of the batch that is handed out next, strict order. */
static void look_at_head(const sterna_loader *l, struct stn_stall_facts *f, uint64_t now_ns) {
    const sterna_batch *head = l->building;
    uint64_t oldest_ns = UINT64_MAX;
    if (!head) return;
    for (const struct stn_item *item = head->items; item; item = item->sibling) {
        if (item->status == ITEM_ASKED) oldest_ns = STN_MIN(oldest_ns, item->slot->sent_ns);
        f->asking_again |=
            item->status == ITEM_WAITING || (item->status == ITEM_ASKED && item->attempts > 1);
    }
    if (oldest_ns == UINT64_MAX) return;
    f->head_age_ns = now_ns - oldest_ns;
    /* Those of the same age or younger took so much less time. */
    const struct stn_flight *fl = &l->flight;
    if (fl->youngest_sent_ns >= oldest_ns)
        f->late_ns = f->head_age_ns - (fl->youngest_answered_ns - fl->youngest_sent_ns);
}

static struct stn_stall_facts gather(sterna_loader *l, const struct sterna_path *path,
                                     uint64_t now_ns) {
    const struct stn_flight *fl = &l->flight;
    const struct stn_slot *oldest = fl->oldest_slot;
    uint64_t in_flight = fl->stats.in_flight_bytes;
    struct stn_stall_facts f = {.answered = fl->stats.requests > fl->stats.in_flight,
                                .trouble = has_trouble(l, path, now_ns),
                                .wants_room = l->pending || l->flight.starved.n,
                                .window_full = in_flight >= fl->source->ahead_bytes / 10 * 9,
                                .paced = fl->paced,
                                .in_flight_bytes = in_flight,
                                .path = *path};
    if (oldest) f.silent_ns = now_ns - STN_MAX(l->watch.byte_ns, oldest->sent_ns);
    if (stn_loader_is_strict(l)) {
        look_at_head(l, &f, now_ns);
    } else {
        f.asking_again = fl->waiting.n > 0;
        if (!f.answered && oldest) f.head_age_ns = now_ns - oldest->sent_ns;
    }
    return f;
}

static void find_cause(sterna_loader *l, uint64_t now_ns) {
    struct stn_watch *w = &l->watch;
    struct sterna_path path;
    int waiting = is_waiting(l);
    if (w->looked_ns && now_ns - w->looked_ns < (waiting ? LOOK_WAITING_NS : LOOK_IDLE_NS)) return;
    w->looked_ns = now_ns;
    sterna_loader_path(l, &path);
    look(l, &path, now_ns);
    if (!waiting) return;
    struct stn_stall_facts f = gather(l, &path, now_ns);
    w->cause = stn_stall_cause(&f);
}

/* The part of the time that the source's threads spent on checksums. */
static uint64_t verifying_ns(sterna_loader *l, uint64_t passed_ns) {
    uint64_t sum_ns = atomic_load(&l->flight.sink.verify_ns),
             since_ns = sum_ns - l->watch.verify_ns;
    unsigned n_threads = l->flight.source->n_threads ? l->flight.source->n_threads : 1;
    l->watch.verify_ns = sum_ns;
    return STN_MIN(since_ns / n_threads, passed_ns);
}

void stn_loader_account_stall(sterna_loader *l, uint64_t now_ns) {
    struct stn_watch *w = &l->watch;
    uint64_t passed_ns = now_ns - w->mark_ns, decode_ns = verifying_ns(l, passed_ns);
    if (passed_ns > 0) find_cause(l, now_ns);
    w->mark_ns = now_ns;
    if (!is_waiting(l)) return;
    l->stats.stall_ns[STERNA_STALL_DECODE] += decode_ns;
    l->stats.stall_ns[w->cause] += passed_ns - decode_ns;
}

void stn_loader_conclude(sterna_loader *l) {
    const struct stn_flight *fl = &l->flight;
    l->ended = l->n_epochs == 0 && l->first_epoch >= l->end_epoch;
    l->no_room = stn_flight_is_idle(fl) && !l->ready && (l->pending || fl->starved.n);
    if (l->ready || l->ended) l->watch.polled = 0;
    atomic_store(&l->wants_room, l->pending || fl->starved.n);
}
