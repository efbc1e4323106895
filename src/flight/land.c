/* Answers become landed items; those that do not come are asked for again. */
#include <string.h>

#include "flight/flight.h"

/* A field that the catalogue lists must have come. */
static int is_complete(const struct stn_flight *fl, const struct stn_item *item,
                       const struct stn_slot *slot) {
    for (uint32_t f = 0; f < fl->schema->n_fields; f++) {
        uint32_t length = fl->ops->length(fl, item, f);
        if (!slot->parts[f].placed && length != STERNA_LENGTH_NULL &&
            length != STERNA_LENGTH_UNKNOWN)
            return 0;
    }
    return 1;
}

static void land_sample(struct stn_flight *fl, struct stn_item *item, struct stn_slot *slot) {
    for (uint32_t f = 0; f < fl->schema->n_fields; f++) {
        struct stn_part *part = &slot->parts[f];
        item->extents[f] = (struct stn_extent){.data = part->data, .bytes = part->bytes};
        if (part->own && part->data == part->own->data) {
            item->extents[f].own = part->own;
            part->own = NULL;
        }
        /* A high quantile (0.95), followed by small steps: up 19 times as far as down. */
        double step = fl->typical_bytes / 64;
        if (part->placed)
            fl->typical_bytes += (double)part->bytes > fl->typical_bytes ? step : -step / 19;
    }
    item->label = slot->label;
    item->status = ITEM_LANDED;
    fl->ops->settled(fl, item);
}

static void note_answer(struct stn_flight *fl, uint64_t sent_ns, uint64_t now_ns) {
    if (sent_ns < fl->youngest_sent_ns) return;
    fl->youngest_sent_ns = sent_ns;
    fl->youngest_answered_ns = now_ns;
}

void stn_flight_land(struct stn_flight *fl, uint64_t now_ns) {
    for (struct stn_slot *slot = stn_sink_drain(&fl->sink), *next; slot; slot = next) {
        struct stn_item *item = slot->owner;
        next = slot->next;
        if (item) {
            stn_flight_unlink_slot(fl, slot);
            note_answer(fl, slot->sent_ns, now_ns);
            item->slot = NULL;
            if (slot->code == STERNA_EBUDGET) {
                item->wanted_bytes = slot->wanted_bytes;
                item->attempts--; /* the source did its part */
                item->status = ITEM_STARVED;
                stn_list_insert(&fl->starved, item);
            } else if (slot->code < 0) {
                stn_item_try_again(fl, item, slot->code, slot->why, now_ns);
            } else if (!is_complete(fl, item, slot)) {
                stn_item_give_up(fl, item, STERNA_ENOTFOUND,
                                 "the store lacks a field that the catalogue lists");
            } else {
                land_sample(fl, item, slot);
            }
        } else {
            fl->n_abandoned--;
        }
        stn_sink_close_slot(&fl->sink, slot);
    }
}

void stn_flight_abandon(struct stn_flight *fl, struct stn_item *item) {
    struct stn_slot *slot = item->slot;
    stn_flight_unlink_slot(fl, slot);
    slot->owner = NULL;
    if (item->batch && item->batch->block) {
        stn_block_retain(item->batch->block);
        slot->held = item->batch->block;
    }
    item->slot = NULL;
    item->unprepared = 1;
    fl->n_abandoned++;
    fl->source->ops->cancel(fl->source, stn_sink_ticket(&fl->sink, slot));
}

/* The sample gets another place: the first one stays reserved. */
static void ask_again(struct stn_flight *fl, struct stn_item *item, uint64_t now_ns) {
    stn_flight_abandon(fl, item);
    stn_item_try_again(fl, item, STERNA_ETIMEOUT, "no answer in time", now_ns);
}

void stn_flight_expire(struct stn_flight *fl, uint64_t now_ns) {
    while (fl->timeout_ns && fl->oldest_slot && now_ns - fl->oldest_slot->sent_ns >= fl->timeout_ns)
        ask_again(fl, fl->oldest_slot->owner, now_ns);
    for (size_t n = fl->waiting.n; n > 0; n--) {
        struct stn_item *item = stn_list_take(&fl->waiting);
        if (item->retry_ns <= now_ns) {
            item->status = ITEM_OPEN;
            stn_list_insert(&fl->open, item);
        } else {
            stn_list_append(&fl->waiting, item);
        }
    }
}
