/* Items are rows of the plan: what the flight asks about them, and what becomes of them. */
#include <stdio.h>
#include <string.h>

#include "loader/loader.h"

static sterna_loader *loader_of(const struct stn_flight *fl) {
    return STN_OUTER(fl, sterna_loader, flight);
}

struct stn_epoch *stn_item_epoch(const struct stn_item *item) {
    return item->of;
}

struct stn_list *stn_loader_arrived(sterna_loader *l, const struct stn_epoch *epoch) {
    return &l->arrived[epoch - l->epochs];
}

int stn_loader_is_strict(const sterna_loader *l) { return l->options.order == STERNA_ORDER_STRICT; }

struct stn_epoch *stn_loader_epoch(sterna_loader *l, uint64_t number) {
    return &l->epochs[number % STN_EPOCHS_AHEAD];
}

static uint32_t length(const struct stn_flight *fl, const struct stn_item *item, uint32_t f) {
    return stn_loader_length(loader_of(fl), f, item->index);
}

static int is_lowest(const struct stn_flight *fl, const struct stn_item *item) {
    const sterna_loader *l = loader_of(fl);
    if (stn_loader_is_strict(l)) return item->batch == l->building;
    return item->turn == l->first_epoch &&
           item->row == stn_item_epoch(item)->state.delivered.watermark;
}

static void note_exception(sterna_loader *l, const struct stn_item *item) {
    struct sterna_exception *e = &l->exceptions[l->n_exceptions++ % STN_EXCEPTIONS_MAX];
    *e = (struct sterna_exception){.epoch = item->turn, .index = item->index, .code = item->code};
    memcpy(e->id, item->id, sizeof e->id);
    snprintf(e->message, sizeof e->message, "%s",
             item->why ? item->why : sterna_strerror(item->code));
}

static void settled(struct stn_flight *fl, struct stn_item *item) {
    sterna_loader *l = loader_of(fl);
    l->to_compose = 1;
    if (item->status == ITEM_FAILED) note_exception(l, item);
    if (item->batch)
        item->batch->n_settled++;
    else
        stn_list_append(stn_loader_arrived(l, stn_item_epoch(item)), item);
}

static struct stn_item *farthest_landed(sterna_loader *l, const struct stn_item *than) {
    struct stn_item *found = NULL;
    for (uint32_t i = 0; i < l->n_items; i++) {
        struct stn_item *item = &l->items[i];
        if (item->status != ITEM_LANDED || !stn_item_is_farther(item, than)) continue;
        if (stn_item_owns_memory(&l->flight, item) && (!found || stn_item_is_farther(item, found)))
            found = item;
    }
    return found;
}

static struct stn_item *take_back(struct stn_flight *fl, const struct stn_item *than) {
    sterna_loader *l = loader_of(fl);
    struct stn_item *item = farthest_landed(l, than);
    if (item && item->batch)
        item->batch->n_settled--;
    else if (item)
        stn_list_remove(stn_loader_arrived(l, stn_item_epoch(item)), item);
    return item;
}

const struct stn_flight_ops stn_loader_flight_ops = {
    .length = length, .is_lowest = is_lowest, .settled = settled, .take_back = take_back};

void stn_item_free(sterna_loader *l, struct stn_item *item) {
    free(item->why);
    item->why = NULL;
    item->status = ITEM_OPEN;
    item->of = NULL;
    item->next = l->free_items;
    l->free_items = item;
}
