/* Items and the lists they wait in; what becomes of an item after an attempt that failed. */
#include <stdio.h>
#include <string.h>

#include "flight/flight.h"

#define WHY_BYTES 160

void stn_list_init(struct stn_list *list) { *list = (struct stn_list){NULL, &list->first, 0}; }

void stn_list_append(struct stn_list *list, struct stn_item *item) {
    item->next = NULL;
    *list->end = item;
    list->end = &item->next;
    list->n++;
}

int stn_item_is_farther(const struct stn_item *a, const struct stn_item *b) {
    if (a->turn != b->turn) return a->turn > b->turn;
    return a->row > b->row;
}

/* Into a list that is in order. Those that come back are low, so the walk is short. */
void stn_list_insert(struct stn_list *list, struct stn_item *item) {
    struct stn_item **at = &list->first;
    while (*at && stn_item_is_farther(item, *at)) at = &(*at)->next;
    item->next = *at;
    *at = item;
    if (!item->next) list->end = &item->next;
    list->n++;
}

void stn_list_prepend(struct stn_list *list, struct stn_list *front) {
    if (!front->first) return;
    *front->end = list->first;
    list->first = front->first;
    if (!*front->end) list->end = front->end;
    list->n += front->n;
    stn_list_init(front);
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

void stn_list_remove_of(struct stn_list *list, const void *of) {
    struct stn_list rest;
    stn_list_init(&rest);
    for (struct stn_item *item; (item = stn_list_take(list));)
        if (item->of != of) stn_list_append(&rest, item);
    *list = rest;
    if (!list->first) list->end = &list->first;
}

uint64_t stn_flight_expect_bytes(const struct stn_flight *fl, uint32_t length) {
    if (length == STERNA_LENGTH_UNKNOWN) return (uint64_t)fl->typical_bytes;
    return length == STERNA_LENGTH_NULL ? 0 : length;
}

int stn_item_owns_memory(const struct stn_flight *fl, const struct stn_item *item) {
    int owns = 0;
    for (uint32_t f = 0; f < fl->schema->n_fields; f++) owns |= item->extents[f].own != NULL;
    return owns;
}

void stn_item_give_up(struct stn_flight *fl, struct stn_item *item, int code, const char *why) {
    item->code = code;
    item->why = strndup(why ? why : sterna_strerror(code), WHY_BYTES); /* without memory: none */
    item->status = ITEM_FAILED;
    fl->ops->settled(fl, item);
}

void stn_item_try_again(struct stn_flight *fl, struct stn_item *item, int code, const char *why,
                        uint64_t now_ns) {
    uint64_t wait_ns = stn_retry_wait_ns(&fl->retry, item->attempts, code, item->index);
    if (wait_ns == UINT64_MAX) {
        stn_item_give_up(fl, item, code, why);
        return;
    }
    fl->stats.retries++;
    item->retry_ns = now_ns + wait_ns;
    item->status = ITEM_WAITING;
    stn_list_append(&fl->waiting, item);
}
