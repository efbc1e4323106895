/* Items become requests: a place for the bytes first, then the source, within its window. */
#include <string.h>

#include "flight/flight.h"

#define SUBMIT_AT_ONCE 64

static void link_slot(struct stn_flight *fl, struct stn_slot *slot) {
    slot->older = fl->newest_slot;
    slot->newer = NULL;
    if (fl->newest_slot)
        fl->newest_slot->newer = slot;
    else
        fl->oldest_slot = slot;
    fl->newest_slot = slot;
    fl->stats.in_flight++;
    fl->stats.in_flight_bytes += slot->asked_bytes;
    fl->stats.in_flight_bytes_max =
        STN_MAX(fl->stats.in_flight_bytes_max, fl->stats.in_flight_bytes);
}

void stn_flight_unlink_slot(struct stn_flight *fl, struct stn_slot *slot) {
    if (slot->older)
        slot->older->newer = slot->newer;
    else
        fl->oldest_slot = slot->newer;
    if (slot->newer)
        slot->newer->older = slot->older;
    else
        fl->newest_slot = slot->older;
    fl->stats.in_flight--;
    fl->stats.in_flight_bytes -= slot->asked_bytes;
}

/* Where a field of known length has its place in the batch's run; NULL: it needs memory of its own.
 */
static uint8_t *place_in_run(const struct stn_flight *fl, const struct stn_item *item, uint32_t f) {
    const struct stn_column *column = item->batch ? &item->batch->columns[f] : NULL;
    if (!column || !column->start || item->unprepared || item->wanted_bytes) return NULL;
    if (fl->ops->length(fl, item, f) == STERNA_LENGTH_UNKNOWN) return NULL;
    return column->start + column->offsets[item->batch_row];
}

/* Bytes of a block for a field that has no place in a run: at least as many as it needed before. */
static uint64_t own_part_bytes(const struct stn_flight *fl, const struct stn_item *item,
                               uint32_t f) {
    uint32_t length = fl->ops->length(fl, item, f);
    uint64_t bytes = length == STERNA_LENGTH_UNKNOWN ? (uint64_t)fl->typical_bytes : length;
    return STN_MAX(bytes, item->wanted_bytes);
}

/* What the item will take of the budget when it is asked for. */
uint64_t stn_item_own_bytes(const struct stn_flight *fl, const struct stn_item *item) {
    uint64_t sum = 0;
    for (uint32_t f = 0; f < fl->schema->n_fields; f++) {
        int null = fl->ops->length(fl, item, f) == STERNA_LENGTH_NULL;
        if (!null && !place_in_run(fl, item, f))
            sum += stn_pool_class_bytes(own_part_bytes(fl, item, f));
    }
    return sum;
}

/* Sources bring the length with the bytes; if it is another one, the sink corrects the place. */
static int prepare_part(struct stn_flight *fl, struct stn_item *item, struct stn_slot *slot,
                        uint32_t f) {
    struct stn_part *part = &slot->parts[f];
    uint32_t length = fl->ops->length(fl, item, f);
    if (length == STERNA_LENGTH_NULL) return STERNA_OK;
    part->prepared = place_in_run(fl, item, f);
    part->prepared_bytes = length;
    if (part->prepared) return STERNA_OK;
    return stn_pool_acquire(fl->pool, own_part_bytes(fl, item, f), slot->reserve_bytes, &part->own);
}

/* Makes the request for an item; AGAIN: no slot is free or the window is full; EBUDGET, ENOMEM. */
static int prepare(struct stn_flight *fl, struct stn_item *item, struct stn_request *request,
                   uint64_t now_ns) {
    if (fl->oldest_slot && fl->stats.in_flight_bytes + item->ahead_bytes > fl->source->ahead_bytes)
        return STERNA_AGAIN;
    struct stn_slot *slot = stn_sink_open_slot(&fl->sink, &request->ticket);
    if (!slot) return STERNA_AGAIN;
    memcpy(slot->id, item->id, sizeof slot->id);
    slot->reserve_bytes = fl->ops->is_lowest(fl, item) ? 0 : fl->escrow_bytes;
    int rc = STERNA_OK;
    for (uint32_t f = 0; f < fl->schema->n_fields && rc == STERNA_OK; f++)
        rc = prepare_part(fl, item, slot, f);
    if (rc < 0) {
        stn_sink_close_slot(&fl->sink, slot);
        return rc;
    }
    slot->owner = item;
    slot->sent_ns = now_ns;
    slot->asked_bytes = item->ahead_bytes;
    memcpy(request->id, slot->id, sizeof request->id);
    request->fields = fl->schema->numbers;
    request->n_fields = fl->schema->n_fields;
    request->expected_bytes = item->ahead_bytes;
    item->slot = slot;
    item->status = ITEM_ASKED;
    item->attempts++;
    link_slot(fl, slot);
    return STERNA_OK;
}

/* What the answer will bring, as far as it is known. */
static uint64_t payload_bytes(const struct stn_flight *fl, const struct stn_item *item) {
    uint64_t sum = 0;
    for (uint32_t f = 0; f < fl->schema->n_fields; f++)
        sum += stn_flight_expect_bytes(fl, fl->ops->length(fl, item, f));
    return sum;
}

/* Requests made and not submitted yet. */
struct parcel {
    struct stn_request requests[SUBMIT_AT_ONCE];
    struct stn_slot *slots[SUBMIT_AT_ONCE];
    size_t n;
};

/* The source has taken none of them: each has had its attempt. */
static void unsend(struct stn_flight *fl, const struct parcel *p, int code, uint64_t now_ns) {
    for (size_t i = 0; i < p->n; i++) {
        struct stn_item *item = p->slots[i]->owner;
        stn_flight_unlink_slot(fl, p->slots[i]);
        stn_sink_close_slot(&fl->sink, p->slots[i]);
        item->slot = NULL;
        stn_item_try_again(fl, item, code, "the store takes no more requests", now_ns);
    }
}

static void submit(struct stn_flight *fl, struct parcel *p, uint64_t now_ns) {
    int rc = p->n ? fl->source->ops->submit(fl->source, p->requests, p->n) : STERNA_OK;
    if (rc == STERNA_OK)
        fl->stats.requests += p->n;
    else
        unsend(fl, p, rc, now_ns);
    p->n = 0;
}

/* It would take the memory that one nearer than it waits for. */
static int must_wait(const struct stn_flight *fl, const struct stn_item *item) {
    return fl->starved.n && stn_item_is_farther(item, fl->starved.first) &&
           stn_item_own_bytes(fl, item);
}

void stn_flight_send(struct stn_flight *fl, uint64_t now_ns) {
    struct parcel parcel;
    struct stn_list aside;
    int rc = STERNA_OK;
    parcel.n = 0;
    stn_list_init(&aside);
    fl->paced = 0;
    for (struct stn_item *item; rc != STERNA_AGAIN && (item = fl->open.first);) {
        fl->paced = !stn_rate_allows(&fl->rate, now_ns);
        if (fl->paced) break;
        int waits = must_wait(fl, item);
        if (waits && fl->oldest_slot) break;
        stn_list_take(&fl->open);
        if (waits) { /* nothing is on its way: one behind it may have its place already */
            stn_list_append(&aside, item);
            continue;
        }
        rc = prepare(fl, item, &parcel.requests[parcel.n], now_ns);
        if (rc == STERNA_OK) {
            if (fl->rate.bytes_s) stn_rate_take(&fl->rate, payload_bytes(fl, item), now_ns);
            parcel.slots[parcel.n++] = item->slot;
        } else if (rc == STERNA_EBUDGET) {
            item->status = ITEM_STARVED;
            stn_list_insert(&fl->starved, item);
        } else if (rc == STERNA_ENOMEM) {
            item->attempts++;
            stn_item_try_again(fl, item, rc, "out of memory", now_ns);
        } else {
            stn_list_insert(&fl->open, item);
        }
        if (parcel.n == SUBMIT_AT_ONCE) submit(fl, &parcel, now_ns);
    }
    stn_list_prepend(&fl->open, &aside);
    submit(fl, &parcel, now_ns);
}
