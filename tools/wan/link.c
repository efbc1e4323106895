#include "link.h"

#include <stddef.h>

#define MS UINT64_C(1000000)
#define PART_NS MS                 /* a super-packet that takes longer on the link is cut */
#define JITTER_PERIOD_NS (10 * MS) /* at least */
#define LATE_NS_MIN MS
#define BYTES_UNLIMITED (UINT64_C(512) << 20) /* without a rate */

static uint64_t ns(double ms) { return (uint64_t)(ms * (double)MS + 0.5); }

void wan_link_init(struct wan_link *l, const struct wan_link_options *o) {
    *l = (struct wan_link){.delay_ns = ns(o->delay_ms),
                           .queue_ns = ns(o->queue_ms),
                           .jitter_ns = ns(o->jitter_ms),
                           .loss = o->loss,
                           .reorder = o->reorder,
                           .chance = {o->seed}};
    l->ps_per_byte = o->mbit > 0 ? (uint64_t)(8e6 / o->mbit + 0.5) : 0;
    /* A segment that takes another way comes so much later, up to a quarter of the delay. */
    l->late_ns = l->delay_ns / 4 > LATE_NS_MIN ? l->delay_ns / 4 : LATE_NS_MIN;
    l->until_loss = wan_chance_skip(&l->chance, l->loss);
    l->until_late = wan_chance_skip(&l->chance, l->reorder);
    l->jitter.period_ns = 2 * l->jitter_ns > JITTER_PERIOD_NS ? 2 * l->jitter_ns : JITTER_PERIOD_NS;
    uint64_t most = l->ps_per_byte ? 1000 * PART_NS / l->ps_per_byte : UINT32_MAX;
    l->part_wire_bytes_max = most < UINT32_MAX ? (uint32_t)most : UINT32_MAX;
}

/* The delay on top at this time: it goes in straight lines from one random value to the next, and
 * falls by less than time goes on, so that no packet overtakes another one. Independent draws
 * would, in a full link that keeps the order, only make a longer delay: all wait for the slowest.
 */
static uint64_t jitter_at(struct wan_link *l, uint64_t at_ns) {
    if (l->jitter_ns == 0) return 0;
    while (at_ns >= l->jitter.start_ns + l->jitter.period_ns) {
        uint64_t behind = (at_ns - l->jitter.start_ns) / l->jitter.period_ns;
        l->jitter.start_ns += behind * l->jitter.period_ns;
        l->jitter.from = behind == 1 ? l->jitter.to : wan_chance_unit(&l->chance);
        l->jitter.to = wan_chance_unit(&l->chance);
    }
    double along = (double)(at_ns - l->jitter.start_ns) / (double)l->jitter.period_ns;
    return (uint64_t)((l->jitter.from + along * (l->jitter.to - l->jitter.from)) *
                      (double)l->jitter_ns);
}

static int happens(struct wan_link *l, uint64_t *until, double p) {
    if (*until > 0) {
        --*until;
        return 0;
    }
    *until = wan_chance_skip(&l->chance, p);
    return 1;
}

/* Puts a segment on the link; 0 if it does not get there. */
static int send_segment(struct wan_link *l, uint64_t now_ns, uint32_t ip_bytes) {
    uint32_t wire_bytes = wan_packet_wire_bytes(ip_bytes);
    if (happens(l, &l->until_loss, l->loss)) {
        l->counts.lost++;
        return 0;
    }
    if (l->free_ps < now_ns * 1000) l->free_ps = now_ns * 1000;
    uint64_t wait_ns = l->free_ps / 1000 - now_ns;
    if (wait_ns > l->queue_ns) {
        l->counts.queue_drops++;
        return 0;
    }
    if (wait_ns > l->counts.queue_ns_max) l->counts.queue_ns_max = wait_ns;
    l->free_ps += wire_bytes * l->ps_per_byte;
    l->counts.segments++;
    l->counts.bytes += ip_bytes;
    l->counts.wire_bytes += wire_bytes;
    return 1;
}

size_t wan_link_send(struct wan_link *l, uint64_t now_ns, const struct wan_shape *shape,
                     struct wan_part *parts) {
    size_t n_parts = 0;
    struct wan_part *open = NULL; /* the last part, as long as the next segment may join it */
    uint32_t wire_bytes = 0;      /* of it */
    for (uint32_t i = 0; i < shape->n_segments; i++) {
        uint32_t ip_bytes = wan_packet_segment_bytes(shape, i);
        uint32_t wire = wan_packet_wire_bytes(ip_bytes);
        if (!send_segment(l, now_ns, ip_bytes)) {
            open = NULL;
            continue;
        }
        int late = happens(l, &l->until_late, l->reorder);
        if (!open || late || wire_bytes + wire > l->part_wire_bytes_max) {
            open = &parts[n_parts++];
            *open = (struct wan_part){.first = i, .late = late};
            wire_bytes = 0;
        }
        open->n++;
        wire_bytes += wire;
        uint64_t sent_ns = l->free_ps / 1000;
        open->due_ns = sent_ns + l->delay_ns + jitter_at(l, sent_ns);
        if (late) {
            open->due_ns += (uint64_t)(wan_chance_unit(&l->chance) * (double)l->late_ns);
            l->counts.reordered++;
            open = NULL;
        }
    }
    return n_parts;
}

uint64_t wan_link_bytes_max(const struct wan_link *l) {
    if (!l->ps_per_byte) return BYTES_UNLIMITED;
    uint64_t longest_ns = l->delay_ns + l->queue_ns + l->jitter_ns + l->late_ns + 10 * MS;
    return longest_ns * 1000 / l->ps_per_byte;
}
