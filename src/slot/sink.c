/* Owns the slots: key checked before a byte lands, CRC-32C after, each ticket answered once. */
#include "slot/sink.h"

#include <string.h>

enum {
    TAG_FREE = 0,
    TAG_SENT = 1,
    TAG_DONE = 2,
    TAG_STATES = 4
}; /* tag = generation * 4 + state */

/* ticket = generation << 32 | slot number */
static uint64_t ticket_of(uint64_t tag, uint64_t number) {
    return (tag / TAG_STATES) << 32 | number;
}

int stn_sink_init(struct stn_sink *sink, uint32_t n_slots, uint32_t n_parts, struct stn_pool *pool,
                  void (*wake)(void *ctx), void *ctx) {
    *sink = (struct stn_sink){
        .n_slots = n_slots, .n_parts = n_parts, .pool = pool, .wake = wake, .ctx = ctx};
    sink->inbox_end = &sink->inbox;
    pthread_mutex_init(&sink->lock, NULL);
    sink->slots = stn_array(n_slots, sizeof *sink->slots);
    sink->parts = stn_array((size_t)n_slots * n_parts, sizeof *sink->parts);
    if (!sink->slots || !sink->parts) {
        stn_sink_fini(sink);
        return STERNA_ENOMEM;
    }
    for (uint32_t i = n_slots; i-- > 0;) {
        sink->slots[i].parts = sink->parts + (size_t)i * n_parts;
        sink->slots[i].next = sink->free;
        sink->free = &sink->slots[i];
        atomic_init(&sink->slots[i].tag, TAG_STATES); /* generation 1: no ticket is 0 */
    }
    return STERNA_OK;
}

static void empty_slot(struct stn_sink *sink, struct stn_slot *slot) {
    for (uint32_t p = 0; p < sink->n_parts; p++) stn_block_release(&slot->parts[p].own);
    memset(slot->parts, 0, sink->n_parts * sizeof *slot->parts);
    stn_block_release(&slot->held);
    free(slot->why);
    slot->why = NULL;
}

void stn_sink_fini(struct stn_sink *sink) {
    if (!sink->inbox_end) return;
    for (uint32_t i = 0; sink->slots && sink->parts && i < sink->n_slots; i++)
        empty_slot(sink, &sink->slots[i]);
    free(sink->slots);
    free(sink->parts);
    pthread_mutex_destroy(&sink->lock);
    *sink = (struct stn_sink){0};
}

struct stn_slot *stn_sink_open_slot(struct stn_sink *sink, uint64_t *ticket) {
    struct stn_slot *slot = sink->free;
    if (!slot) return NULL;
    sink->free = slot->next;
    slot->next = NULL;
    slot->owner = NULL;
    slot->label = STERNA_LABEL_NONE;
    slot->code = STERNA_OK;
    slot->wanted_bytes = 0;
    /* Published to the source's threads by the hand-over of the request itself. */
    uint64_t tag = atomic_fetch_add_explicit(&slot->tag, TAG_SENT, memory_order_release) + TAG_SENT;
    *ticket = ticket_of(tag, (uint64_t)(slot - sink->slots));
    return slot;
}

uint64_t stn_sink_ticket(const struct stn_sink *sink, const struct stn_slot *slot) {
    uint64_t tag = atomic_load_explicit(&slot->tag, memory_order_relaxed);
    return ticket_of(tag, (uint64_t)(slot - sink->slots));
}

void stn_sink_close_slot(struct stn_sink *sink, struct stn_slot *slot) {
    empty_slot(sink, slot);
    uint64_t tag = atomic_load_explicit(&slot->tag, memory_order_relaxed);
    uint64_t next = (tag / TAG_STATES + 1) % (UINT64_C(1) << 32);
    atomic_store_explicit(&slot->tag, (next ? next : 1) * TAG_STATES, memory_order_relaxed);
    slot->next = sink->free;
    sink->free = slot;
}

/* The slot a ticket names, if it is still waiting for its answer. */
static struct stn_slot *sent_slot(struct stn_sink *sink, uint64_t ticket, uint64_t *tag) {
    uint64_t number = ticket & UINT32_MAX;
    if (number >= sink->n_slots) return NULL;
    struct stn_slot *slot = &sink->slots[number];
    *tag = (ticket >> 32) * TAG_STATES + TAG_SENT;
    return atomic_load_explicit(&slot->tag, memory_order_acquire) == *tag ? slot : NULL;
}

/* A block taken for a typical length is exchanged when the true one needs more, or far less. */
static int fit_own_block(struct stn_sink *sink, const struct stn_slot *slot, struct stn_part *part,
                         uint64_t bytes) {
    uint64_t needed = stn_pool_class_bytes(bytes);
    struct stn_block *fitting;
    if (part->own && part->own->bytes >= needed && part->own->bytes <= 2 * needed) return STERNA_OK;
    if (part->own && part->own->bytes < needed) stn_block_release(&part->own);
    int rc = stn_pool_acquire(sink->pool, bytes, slot->reserve_bytes, &fitting);
    if (rc < 0) return part->own ? STERNA_OK : rc; /* a far larger one still serves */
    stn_block_release(&part->own);
    part->own = fitting;
    return STERNA_OK;
}

int stn_sink_place(struct stn_sink *sink, uint64_t ticket, uint32_t part_number,
                   const uint8_t id[16], uint64_t bytes, uint32_t crc, uint8_t **to) {
    uint64_t tag;
    struct stn_slot *slot = sent_slot(sink, ticket, &tag);
    *to = NULL;
    if (!slot) return STERNA_ECANCELED;
    if (part_number >= sink->n_parts || memcmp(slot->id, id, sizeof slot->id) != 0) {
        atomic_fetch_add_explicit(&sink->misrouted, 1, memory_order_relaxed);
        return STERNA_EPROTO;
    }
    struct stn_part *part = &slot->parts[part_number];
    if (part->prepared && part->prepared_bytes == bytes) {
        part->data = part->prepared;
    } else {
        int rc = fit_own_block(sink, slot, part, bytes);
        if (rc < 0) {
            slot->wanted_bytes = bytes;
            return rc;
        }
        part->data = part->own->data;
    }
    part->bytes = bytes;
    part->crc = crc;
    part->placed = 1;
    *to = part->data;
    return STERNA_OK;
}

void stn_sink_expect(struct stn_sink *sink, uint64_t ticket, uint32_t part, uint32_t crc) {
    uint64_t tag;
    struct stn_slot *slot = sent_slot(sink, ticket, &tag);
    if (slot && part < sink->n_parts) slot->parts[part].crc = crc;
}

void stn_sink_unchecked(struct stn_sink *sink, uint64_t ticket, uint32_t part) {
    uint64_t tag;
    struct stn_slot *slot = sent_slot(sink, ticket, &tag);
    if (slot && part < sink->n_parts) slot->parts[part].unchecked = 1;
}

void stn_sink_label(struct stn_sink *sink, uint64_t ticket, int64_t label) {
    uint64_t tag;
    struct stn_slot *slot = sent_slot(sink, ticket, &tag);
    if (slot) slot->label = label;
}

void stn_sink_restart(struct stn_sink *sink, uint64_t ticket) {
    uint64_t tag;
    struct stn_slot *slot = sent_slot(sink, ticket, &tag);
    if (!slot) return;
    slot->label = STERNA_LABEL_NONE;
    for (uint32_t p = 0; p < sink->n_parts; p++) {
        struct stn_part *part = &slot->parts[p];
        part->data = NULL;
        part->bytes = 0;
        part->placed = part->unchecked = 0;
    }
}

/* Parts that are whole are not looked at again. */
static int verify_parts(struct stn_sink *sink, const struct stn_slot *slot) {
    for (uint32_t p = 0; p < sink->n_parts; p++) {
        struct stn_part *part = &slot->parts[p];
        if (!part->placed || part->unchecked) continue;
        if (stn_crc32c(0, part->data, part->bytes) != part->crc) {
            atomic_fetch_add_explicit(&sink->corrupt, 1, memory_order_relaxed);
            return STERNA_ECORRUPT;
        }
        part->unchecked = 1;
    }
    return STERNA_OK;
}

static int verify(struct stn_sink *sink, const struct stn_slot *slot) {
    if (!sink->clock) return verify_parts(sink, slot);
    uint64_t begun_ns = stn_now(sink->clock);
    int rc = verify_parts(sink, slot);
    atomic_fetch_add_explicit(&sink->verify_ns, stn_now(sink->clock) - begun_ns,
                              memory_order_relaxed);
    return rc;
}

int stn_sink_verify(struct stn_sink *sink, uint64_t ticket) {
    uint64_t tag;
    struct stn_slot *slot = sent_slot(sink, ticket, &tag);
    return slot ? verify(sink, slot) : STERNA_OK; /* nobody will look at it */
}

void stn_sink_complete(struct stn_sink *sink, uint64_t ticket, int code, const char *why) {
    uint64_t tag;
    struct stn_slot *slot = sent_slot(sink, ticket, &tag);
    if (!slot ||
        !atomic_compare_exchange_strong_explicit(&slot->tag, &tag, tag - TAG_SENT + TAG_DONE,
                                                 memory_order_acq_rel, memory_order_relaxed)) {
        atomic_fetch_add_explicit(&sink->late, 1, memory_order_relaxed);
        return;
    }
    if (code == STERNA_OK && (code = verify(sink, slot)) < 0) {
        why = "bytes differ from their checksum (CRC-32C)";
    }
    slot->code = code;
    slot->why = code < 0 && why ? strdup(why) : NULL; /* without memory: without words */
    pthread_mutex_lock(&sink->lock);
    *sink->inbox_end = slot;
    sink->inbox_end = &slot->next;
    pthread_mutex_unlock(&sink->lock);
}

void stn_sink_count_retries(struct stn_sink *sink, unsigned n) {
    if (n > 0) atomic_fetch_add_explicit(&sink->retries, n, memory_order_relaxed);
}

void stn_sink_flush(struct stn_sink *sink) { sink->wake(sink->ctx); }

struct stn_slot *stn_sink_drain(struct stn_sink *sink) {
    pthread_mutex_lock(&sink->lock);
    struct stn_slot *first = sink->inbox;
    sink->inbox = NULL;
    sink->inbox_end = &sink->inbox;
    pthread_mutex_unlock(&sink->lock);
    return first;
}
