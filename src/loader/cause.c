#include "loader/cause.h"

#include "base/base.h"

#define PATIENCE_NS (300 * STN_NS_PER_MS)
#define JITTER_NS (10 * STN_NS_PER_MS)

/* A node that says nothing for so long is not merely far away. */
static int is_silent(const struct stn_stall_facts *f) {
    int local = f->path.phase == STERNA_PATH_LOCAL;
    return !local && f->silent_ns > STN_MAX(2 * f->path.rtt_far_ns, PATIENCE_NS);
}

/* One answer is late, later ones are here; nodes may be far and near, and answers differ a bit. */
static int is_late(const struct stn_stall_facts *f) {
    const struct sterna_path *p = &f->path;
    uint64_t usual_ns = p->rtt_far_ns - p->rtt_ns + p->rtt_far_ns / 4;
    return f->late_ns > STN_MAX(usual_ns, JITTER_NS);
}

/* Is the batch late beyond what the way explains: queued behind all that is in flight, twice? */
static int is_overdue(const struct stn_stall_facts *f) {
    const struct sterna_path *p = &f->path;
    double queue_s =
        p->rate_max_bytes_s ? 2 * (double)f->in_flight_bytes / (double)p->rate_max_bytes_s : 0;
    double usual_ns = 4 * (double)p->rtt_far_ns + (double)PATIENCE_NS + queue_s * 1e9;
    return (double)f->head_age_ns > usual_ns;
}

static int share_of_max(const struct sterna_path *p, double share) {
    return (double)p->rate_bytes_s >= share * (double)p->rate_max_bytes_s;
}

/* Bytes in flight that one round trip at the path's maximum rate would take. */
static double product_bytes(const struct sterna_path *p) {
    return (double)p->rate_max_bytes_s * (double)p->rtt_ns * 1e-9;
}

static int has_too_little_in_flight(const struct stn_stall_facts *f) {
    const struct sterna_path *p = &f->path;
    return !f->window_full && (double)p->in_flight_bytes < 0.9 * product_bytes(p);
}

/* Requests are out, nothing has failed, and no memory is missing: what does the way do? */
static enum sterna_stall cause_on_the_way(const struct stn_stall_facts *f) {
    const struct sterna_path *p = &f->path;
    if (is_silent(f)) return STERNA_STALL_SERVER;
    if (p->phase == STERNA_PATH_RAMP || p->phase == STERNA_PATH_DRAIN) return STERNA_STALL_LATENCY;
    if (share_of_max(p, 0.7)) return STERNA_STALL_BANDWIDTH; /* also if no rate is known */
    if (has_too_little_in_flight(f)) return STERNA_STALL_LATENCY;
    /* Enough is asked for. Another loader on the link may halve the rate; hardly do more. */
    return share_of_max(p, 0.4) ? STERNA_STALL_BANDWIDTH : STERNA_STALL_SERVER;
}

/* Memory keeps requests back that the source would take. A disk needs little in flight: there only
 * counts that nothing is. */
static int is_short_of_memory(const struct stn_stall_facts *f) {
    if (!f->wants_room) return 0;
    return f->path.phase == STERNA_PATH_LOCAL ? f->in_flight_bytes == 0 : !f->window_full;
}

enum sterna_stall stn_stall_cause(const struct stn_stall_facts *f) {
    const struct sterna_path *p = &f->path;
    int local = p->phase == STERNA_PATH_LOCAL;
    int at_full_rate = !local && p->rate_max_bytes_s > 0 && share_of_max(p, 0.9);
    int failing = f->asking_again || f->trouble || p->retrying > 0 ||
                  p->phase == STERNA_PATH_BACK_OFF || is_silent(f);
    if (!local && p->nodes == 0) return STERNA_STALL_CONNECT;
    if (!f->answered) return failing || is_overdue(f) ? STERNA_STALL_SERVER : STERNA_STALL_CONNECT;
    if (f->paced && !is_silent(f)) return STERNA_STALL_RATE; /* nothing else keeps requests back */
    /* Where one late answer does not lower the rate, it is the rate that lacks. */
    if (is_late(f) && !at_full_rate)
        return failing || is_overdue(f) ? STERNA_STALL_SERVER : STERNA_STALL_LATENCY;
    if (is_short_of_memory(f)) return STERNA_STALL_BUDGET;
    if (failing && !at_full_rate) return STERNA_STALL_SERVER;
    if (f->in_flight_bytes == 0) return STERNA_STALL_LATENCY; /* the last ones have come */
    return local ? STERNA_STALL_BANDWIDTH : cause_on_the_way(f);
}
