/* When memory is short: who waits for it, and who gives it back. */
#include "flight/flight.h"

/* Gives a landed sample's memory back; it will be asked for again. */
static void drop(struct stn_flight *fl, struct stn_item *item) {
    for (uint32_t f = 0; f < fl->schema->n_fields; f++) {
        stn_block_release(&item->extents[f].own);
        item->extents[f] = (struct stn_extent){0};
    }
    item->status = ITEM_OPEN;
    item->attempts = 0;
    stn_list_insert(&fl->open, item);
    fl->stats.dropped++;
}

static int has_room(struct stn_flight *fl, const struct stn_item *item) {
    uint64_t reserve = fl->ops->is_lowest(fl, item) ? 0 : fl->escrow_bytes;
    return stn_pool_has_room(fl->pool, stn_item_own_bytes(fl, item) + reserve);
}

/* Starved items are asked for again as soon as there is room, the lowest first; for it, or when
 * nothing else is on its way, room is made. Returns how many can be asked for. */
size_t stn_flight_feed_starved(struct stn_flight *fl) {
    size_t n_fed = 0;
    while (fl->starved.n > 0) {
        struct stn_item *item = fl->starved.first, *victim;
        int may_drop = fl->ops->is_lowest(fl, item) || !fl->oldest_slot;
        while (!has_room(fl, item) && may_drop && (victim = fl->ops->take_back(fl, item)))
            drop(fl, victim);
        if (!has_room(fl, item)) break;
        stn_list_take(&fl->starved);
        item->status = ITEM_OPEN;
        stn_list_insert(&fl->open, item);
        n_fed++;
        if (may_drop) break; /* room was made for this one */
    }
    return n_fed;
}
