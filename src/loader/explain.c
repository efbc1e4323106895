/* What the consumer waits for: every nanosecond goes to one cause. */
#include "loader/loader.h"

/* Time that consumers have waited since the last look goes to the cause found then. */
void stn_loader_account_stall(sterna_loader *l, uint64_t now_ns) {
    if (l->n_consumers_waiting > 0) l->stats.stall_ns[l->cause] += now_ns - l->stall_mark_ns;
    l->stall_mark_ns = now_ns;
}

static enum sterna_stall find_cause(const sterna_loader *l) {
    const sterna_batch *head = l->building;
    if (l->pending || l->starved.n) {
        if (!l->oldest_slot) return STERNA_STALL_BUDGET;
    }
    if (l->waiting.n) return STERNA_STALL_SERVER;
    if (!l->stats.first_batch_ns) return STERNA_STALL_CONNECT;
    if (head && head->next && head->next->n_settled == head->next->n_items)
        return STERNA_STALL_LATENCY; /* a whole later batch has come before */
    return STERNA_STALL_BANDWIDTH;
}

void stn_loader_explain(sterna_loader *l, uint64_t now_ns) {
    int idle = !l->oldest_slot && !l->waiting.n && !l->open.n;
    stn_loader_account_stall(l, now_ns);
    l->cause = find_cause(l);
    l->ended = l->n_epochs == 0 && l->first_epoch >= l->end_epoch;
    l->no_room = idle && !l->ready && (l->pending || l->starved.n);
    atomic_store(&l->wants_room, l->pending || l->starved.n);
}
