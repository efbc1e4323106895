/* Opening and closing, and what is counted. */
#include "flight/flight.h"

#include "base/machine.h"

#define TYPICAL_BYTES 131072 /* until lengths have been seen */

void stn_flight_init(struct stn_flight *fl, const struct stn_flight_ops *ops,
                     unsigned max_attempts) {
    *fl =
        (struct stn_flight){.ops = ops, .retry = STN_RETRY_DEFAULT, .typical_bytes = TYPICAL_BYTES};
    if (max_attempts) fl->retry.max_attempts = max_attempts;
    stn_list_init(&fl->open);
    stn_list_init(&fl->waiting);
    stn_list_init(&fl->starved);
}

static atomic_uint n_sharing; /* open ones of this process that have no budget of their own */

void stn_flight_set_budget(struct stn_flight *fl, uint64_t memory_bytes) {
    fl->budget_bytes = fl->budget_most_bytes = memory_bytes;
    if (memory_bytes) return;
    fl->shares_memory = 1;
    fl->budget_most_bytes = stn_memory_limit() / 4 / stn_local_ranks();
    fl->budget_bytes = fl->budget_most_bytes / (atomic_fetch_add(&n_sharing, 1) + 1);
}

int stn_flight_set_rate(struct stn_flight *fl, uint64_t max_rate_bytes_s, uint64_t now_ns,
                        struct sterna_error *err) {
    uint64_t bytes_s;
    int rc = stn_rate_of_environment(&bytes_s, err);
    stn_rate_init(&fl->rate, stn_rate_lower(bytes_s, max_rate_bytes_s), now_ns);
    return rc;
}

int stn_flight_open(struct stn_flight *fl, const struct stn_flight_env *env, unsigned threads,
                    unsigned timeout_ms, const struct sterna_allocator *allocator,
                    void (*on_release)(void *owner), void *owner, struct sterna_error *err) {
    if (stn_pool_open(&fl->pool, fl->budget_bytes, allocator, on_release, owner) < 0)
        return stn_fail_memory(err, "the pool");
    struct stn_source_options options = {
        .threads = threads, .fields = fl->schema->numbers, .n_fields = fl->schema->n_fields};
    int rc = env->open_source(env->ctx, &fl->source, &fl->sink, &options, err);
    if (rc < 0) return rc;
    fl->timeout_ns = (timeout_ms ? timeout_ms : fl->source->timeout_ms) * STN_NS_PER_MS;
    return STERNA_OK;
}

int stn_flight_open_slots(struct stn_flight *fl, uint32_t n, struct stn_clock *clock,
                          void (*wake)(void *owner), void *owner, struct sterna_error *err) {
    if (stn_sink_init(&fl->sink, n, fl->schema->n_fields, fl->pool, wake, owner) < 0)
        return stn_fail_memory(err, "requests");
    fl->sink.clock = clock;
    return STERNA_OK;
}

void stn_flight_stop(struct stn_flight *fl) {
    if (fl->source) fl->source->ops->close(fl->source);
    fl->source = NULL;
    stn_sink_fini(&fl->sink);
    if (fl->shares_memory) atomic_fetch_sub(&n_sharing, 1);
    fl->shares_memory = 0;
}

void stn_flight_count(struct stn_flight *fl, struct sterna_stats *out) {
    struct stn_pool_stats pool;
    stn_pool_stats(fl->pool, &pool);
    out->requests = fl->stats.requests;
    out->retries = fl->stats.retries + atomic_load(&fl->sink.retries);
    out->late = atomic_load(&fl->sink.late);
    out->misrouted = atomic_load(&fl->sink.misrouted);
    out->corrupt = atomic_load(&fl->sink.corrupt);
    out->dropped = fl->stats.dropped;
    out->copied_bytes = stn_pool_copied_bytes(fl->pool);
    out->in_flight = fl->stats.in_flight;
    out->in_flight_bytes = fl->stats.in_flight_bytes;
    out->in_flight_bytes_max = fl->stats.in_flight_bytes_max;
    out->memory_bytes = pool.held_bytes;
    out->memory_bytes_max = pool.held_bytes_max;
    out->memory_budget_bytes = fl->budget_bytes;
    out->leases = stn_pool_leases(fl->pool);
    out->allocations = pool.allocations;
}

void stn_flight_path(const struct stn_flight *fl, struct sterna_path *out) {
    *out = (struct sterna_path){.phase = STERNA_PATH_LOCAL};
    if (fl->source->ops->path) fl->source->ops->path(fl->source, out);
}

int stn_flight_is_idle(const struct stn_flight *fl) {
    int asks = fl->paced || (fl->open.n && !fl->starved.n);
    return !fl->oldest_slot && !fl->waiting.n && !asks;
}

uint64_t stn_flight_next_ns(const struct stn_flight *fl) {
    uint64_t at = UINT64_MAX;
    if (fl->timeout_ns && fl->oldest_slot) at = fl->oldest_slot->sent_ns + fl->timeout_ns;
    if (fl->paced) at = STN_MIN(at, stn_rate_next_ns(&fl->rate));
    for (const struct stn_item *item = fl->waiting.first; item; item = item->next)
        at = STN_MIN(at, item->retry_ns);
    return at;
}
