/* When memory is short: who waits for it, and who gives it back. */
#include "loader/loader.h"

/* The landed sample farthest ahead whose memory is its own, beyond `than`. */
static struct stn_item *farthest_landed(sterna_loader *l, const struct stn_item *than) {
    struct stn_item *found = NULL;
    for (uint32_t i = 0; i < l->n_items; i++) {
        struct stn_item *item = &l->items[i];
        int owns = 0;
        if (item->status != ITEM_LANDED || !stn_item_is_farther(item, than)) continue;
        for (uint32_t f = 0; f < l->schema->n_fields; f++) owns |= item->extents[f].own != NULL;
        if (owns && (!found || stn_item_is_farther(item, found))) found = item;
    }
    return found;
}

/* Gives a landed sample's memory back; it will be asked for again. */
static void drop(sterna_loader *l, struct stn_item *item) {
    for (uint32_t f = 0; f < l->schema->n_fields; f++) {
        stn_block_release(&item->extents[f].own);
        item->extents[f] = (struct stn_extent){0};
    }
    if (item->batch)
        item->batch->n_settled--;
    else
        stn_list_remove(stn_loader_arrived(l, item->epoch), item);
    item->status = ITEM_OPEN;
    item->attempts = 0;
    stn_list_insert(&l->open, item);
    l->stats.dropped++;
}

static int has_room(sterna_loader *l, const struct stn_item *item) {
    uint64_t reserve = stn_item_is_lowest(l, item) ? 0 : l->escrow_bytes;
    return stn_pool_has_room(l->pool, stn_item_own_bytes(l, item) + reserve);
}

/* Starved items are asked for again as soon as there is room, the lowest first; for it, or when
 * nothing else is on its way, room is made. Returns how many can be asked for. */
size_t stn_loader_feed_starved(sterna_loader *l) {
    size_t n_fed = 0;
    while (l->starved.n > 0) {
        struct stn_item *item = l->starved.first, *victim;
        int may_drop = stn_item_is_lowest(l, item) || !l->oldest_slot;
        while (!has_room(l, item) && may_drop && (victim = farthest_landed(l, item)))
            drop(l, victim);
        if (!has_room(l, item)) break;
        stn_list_take(&l->starved);
        item->status = ITEM_OPEN;
        stn_list_insert(&l->open, item);
        n_fed++;
        if (may_drop) break; /* room was made for this one */
    }
    return n_fed;
}
