/* Answers become landed items; those that do not come are asked for again. */
#include <string.h>

#include "loader/loader.h"

/* A field that the catalogue lists must have come. */
static int is_complete(const sterna_loader *l, const struct stn_item *item,
                       const struct stn_slot *slot) {
    for (uint32_t f = 0; f < l->schema->n_fields; f++) {
        uint32_t length = stn_loader_length(l, f, item->index);
        if (!slot->parts[f].placed && length != STERNA_LENGTH_NULL &&
            length != STERNA_LENGTH_UNKNOWN)
            return 0;
    }
    return 1;
}

static void land_sample(sterna_loader *l, struct stn_item *item, struct stn_slot *slot) {
    for (uint32_t f = 0; f < l->schema->n_fields; f++) {
        struct stn_part *part = &slot->parts[f];
        item->extents[f] = (struct stn_extent){.data = part->data, .bytes = part->bytes};
        if (part->own && part->data == part->own->data) {
            item->extents[f].own = part->own;
            part->own = NULL;
        }
        /* A high quantile (0.95), followed by small steps: up 19 times as far as down. */
        double step = l->typical_bytes / 64;
        if (part->placed)
            l->typical_bytes += (double)part->bytes > l->typical_bytes ? step : -step / 19;
    }
    item->label = slot->label;
    stn_item_settle(l, item, ITEM_LANDED);
}

void stn_loader_land(sterna_loader *l, uint64_t now_ns) {
    for (struct stn_slot *slot = stn_sink_drain(&l->sink), *next; slot; slot = next) {
        struct stn_item *item = slot->owner;
        next = slot->next;
        if (item) {
            stn_loader_unlink_slot(l, slot);
            stn_loader_note_answer(l, slot->sent_ns, now_ns);
            item->slot = NULL;
            if (slot->code == STERNA_EBUDGET) {
                item->wanted_bytes = slot->wanted_bytes;
                item->attempts--; /* the source did its part */
                item->status = ITEM_STARVED;
                stn_list_insert(&l->starved, item);
            } else if (slot->code < 0) {
                stn_item_try_again(l, item, slot->code, slot->why, now_ns);
            } else if (!is_complete(l, item, slot)) {
                stn_item_give_up(l, item, STERNA_ENOTFOUND,
                                 "the store lacks a field that the catalogue lists");
            } else {
                land_sample(l, item, slot);
            }
        }
        stn_sink_close_slot(&l->sink, slot);
    }
}

/* The answer may still come, and be written, until the source says otherwise: the place stays
 * reserved for it, and the sample gets another one. */
static void orphan(sterna_loader *l, struct stn_slot *slot, uint64_t now_ns) {
    struct stn_item *item = slot->owner;
    stn_loader_unlink_slot(l, slot);
    slot->owner = NULL;
    if (item->batch && item->batch->block) {
        stn_block_retain(item->batch->block);
        slot->held = item->batch->block;
    }
    item->slot = NULL;
    item->unprepared = 1;
    l->source->ops->cancel(l->source, stn_sink_ticket(&l->sink, slot));
    stn_item_try_again(l, item, STERNA_ETIMEOUT, "no answer in time", now_ns);
}

void stn_loader_expire(sterna_loader *l, uint64_t now_ns) {
    while (l->timeout_ns && l->oldest_slot && now_ns - l->oldest_slot->sent_ns >= l->timeout_ns)
        orphan(l, l->oldest_slot, now_ns);
    for (size_t n = l->waiting.n; n > 0; n--) {
        struct stn_item *item = stn_list_take(&l->waiting);
        if (item->retry_ns <= now_ns) {
            item->status = ITEM_OPEN;
            stn_list_insert(&l->open, item);
        } else {
            stn_list_append(&l->waiting, item);
        }
    }
}
