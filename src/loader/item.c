/* Items and the lists they wait in. An item is a row of the plan on its way from being asked for to
 * being composed into a batch; what becomes of one is decided here. */
#include <stdio.h>
#include <string.h>

#include "loader/loader.h"

void stn_list_init(struct stn_list *list) { *list = (struct stn_list){NULL, &list->first, 0}; }

void stn_list_append(struct stn_list *list, struct stn_item *item) {
    item->next = NULL;
    *list->end = item;
    list->end = &item->next;
    list->n++;
}

int stn_item_is_farther(const struct stn_item *a, const struct stn_item *b) {
    if (a->epoch != b->epoch) return a->epoch->state.epoch > b->epoch->state.epoch;
    return a->row > b->row;
}

/* Into a list that is in the plan's order. Those that come back are low, so the walk is short. */
void stn_list_insert(struct stn_list *list, struct stn_item *item) {
    struct stn_item **at = &list->first;
    while (*at && stn_item_is_farther(item, *at)) at = &(*at)->next;
    item->next = *at;
    *at = item;
    if (!item->next) list->end = &item->next;
    list->n++;
}

struct stn_item *stn_list_take(struct stn_list *list) {
    struct stn_item *item = list->first;
    if (!item) return NULL;
    list->first = item->next;
    if (!list->first) list->end = &list->first;
    list->n--;
    item->next = NULL;
    return item;
}

void stn_list_remove(struct stn_list *list, struct stn_item *gone) {
    struct stn_list rest;
    stn_list_init(&rest);
    for (struct stn_item *item; (item = stn_list_take(list));)
        if (item != gone) stn_list_append(&rest, item);
    *list = rest;
    if (!list->first) list->end = &list->first;
}

struct stn_list *stn_loader_arrived(sterna_loader *l, const struct stn_epoch *epoch) {
    return &l->arrived[epoch - l->epochs];
}

int stn_loader_is_strict(const sterna_loader *l) { return l->options.order == STERNA_ORDER_STRICT; }

/* The item that everything behind it waits for may use the escrow. */
int stn_item_is_lowest(const sterna_loader *l, const struct stn_item *item) {
    if (stn_loader_is_strict(l)) return item->batch == l->building;
    return item->epoch->state.epoch == l->first_epoch &&
           item->row == item->epoch->state.delivered.watermark;
}

struct stn_epoch *stn_loader_epoch(sterna_loader *l, uint64_t number) {
    return &l->epochs[number % STN_EPOCHS_AHEAD];
}

void stn_item_settle(sterna_loader *l, struct stn_item *item, int status) {
    item->status = status;
    l->to_compose = 1;
    if (item->batch)
        item->batch->n_settled++;
    else
        stn_list_append(stn_loader_arrived(l, item->epoch), item);
}

void stn_item_give_up(sterna_loader *l, struct stn_item *item, int code, const char *why) {
    struct sterna_exception *e = &l->exceptions[l->n_exceptions++ % STN_EXCEPTIONS_MAX];
    *e = (struct sterna_exception){
        .epoch = item->epoch->state.epoch, .index = item->index, .code = code};
    memcpy(e->id, sterna_selection_ids(l->selection)[item->index], sizeof e->id);
    snprintf(e->message, sizeof e->message, "%s", why ? why : sterna_strerror(code));
    item->code = code;
    item->why = strdup(e->message); /* without memory: without words */
    stn_item_settle(l, item, ITEM_FAILED);
}

void stn_item_try_again(sterna_loader *l, struct stn_item *item, int code, const char *why,
                        uint64_t now_ns) {
    uint64_t wait_ns = stn_retry_wait_ns(&l->retry, item->attempts, code, item->index);
    if (wait_ns == UINT64_MAX) {
        stn_item_give_up(l, item, code, why);
        return;
    }
    l->stats.retries++;
    item->retry_ns = now_ns + wait_ns;
    item->status = ITEM_WAITING;
    stn_list_append(&l->waiting, item);
}

void stn_item_free(sterna_loader *l, struct stn_item *item) {
    free(item->why);
    item->why = NULL;
    item->status = ITEM_OPEN;
    item->epoch = NULL;
    item->next = l->free_items;
    l->free_items = item;
}
