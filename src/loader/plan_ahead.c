/* Reading ahead: rows of the plan become items, and in strict order batches with memory. */
#include <string.h>

#include "loader/loader.h"

static struct stn_item *take_item(sterna_loader *l, struct stn_epoch *epoch, uint64_t row,
                                  uint64_t index, int own) {
    struct stn_item *item = l->free_items;
    struct stn_extent *extents = item->extents;
    l->free_items = item->next;
    *item = (struct stn_item){.turn = epoch->state.epoch,
                              .row = row,
                              .id = sterna_selection_ids(l->selection)[index],
                              .index = index,
                              .own = own,
                              .of = epoch,
                              .extents = extents,
                              .label = STERNA_LABEL_NONE};
    memset(extents, 0, l->schema->n_fields * sizeof *extents);
    item->ahead_bytes = stn_loader_sample_bytes(l, index);
    l->ahead_bytes += item->ahead_bytes;
    return item;
}

uint64_t stn_loader_ahead_max(const sterna_loader *l) {
    return atomic_load_explicit(&l->flight.source->ahead_bytes, memory_order_relaxed) +
           atomic_load_explicit(&l->flight.source->slack_bytes, memory_order_relaxed) +
           l->ready_max_bytes;
}

static int enough_ahead(const sterna_loader *l) {
    const struct stn_flight *fl = &l->flight;
    int idle = !l->ready && !l->building && !fl->open.n && !fl->oldest_slot && !fl->waiting.n;
    return l->ahead_bytes >= stn_loader_ahead_max(l) && !idle;
}

/* The epoch to ask from now; opens the next one when all others were asked for. */
static struct stn_epoch *asking_epoch(sterna_loader *l, uint64_t *row, uint64_t *index, int *own,
                                      int *rc) {
    uint64_t number = l->first_epoch;
    do {
        for (; number < l->first_epoch + l->n_epochs; number++) {
            struct stn_epoch *epoch = stn_loader_epoch(l, number);
            *rc = stn_epoch_ask(epoch, row, index, own);
            if (*rc != STERNA_END) return epoch;
        }
    } while (stn_loader_begin_epoch(l));
    *rc = STERNA_END;
    return NULL;
}

/* Takes the next batch's rows out of the plan and lays them out; it has no memory yet. */
static void plan_batch(sterna_loader *l) {
    uint64_t row, index;
    int own, rc;
    struct stn_epoch *epoch = asking_epoch(l, &row, &index, &own, &rc);
    if (!epoch || rc != STERNA_OK) return;
    uint32_t n_own = (uint32_t)STN_MIN(epoch->n_open + (uint64_t)own, epoch->plan.batch_size);
    sterna_batch *b = stn_batch_new(l->flight.pool, l->schema, stn_plan_width(&epoch->plan, n_own));
    if (!b) {
        stn_loader_fail(l, STERNA_ENOMEM, "out of memory for a batch");
        return;
    }
    b->n_items = own ? n_own : 1; /* a batch without rows of its own shows one filler */
    struct stn_item **end = &b->items;
    for (uint32_t i = 0; i < b->n_items; i++) {
        if (i > 0) stn_epoch_ask(epoch, &row, &index, &own);
        struct stn_item *item = take_item(l, epoch, row, index, own);
        item->batch = b;
        item->batch_row = i;
        *end = item;
        end = &item->sibling;
        b->ahead_bytes += item->ahead_bytes;
        for (uint32_t f = 0; f < l->schema->n_fields; f++) {
            uint32_t bytes = stn_loader_length(l, f, index);
            int known = bytes != STERNA_LENGTH_UNKNOWN && bytes != STERNA_LENGTH_NULL;
            b->columns[f].bytes[i] = known ? bytes : 0;
        }
        stn_list_append(&l->pending_items, item);
    }
    l->pending = b;
}

static int acquire(sterna_loader *l, uint64_t bytes, struct stn_block **block) {
    uint64_t reserve = l->building || l->ready ? l->flight.escrow_bytes : 0;
    int rc = stn_pool_acquire(l->flight.pool, bytes, reserve, block);
    if (rc == STERNA_ENOMEM) stn_loader_fail(l, rc, "out of memory for a batch");
    return rc;
}

/* Gives the planned batch its memory, and its items to the open list; 0 if it cannot now. */
static int admit_batch(sterna_loader *l) {
    sterna_batch *b = l->pending;
    uint64_t bytes = stn_batch_layout(b);
    if (bytes > 0) {
        struct stn_block *block = stn_loader_take_given(l, bytes);
        if (!block && acquire(l, bytes, &block) < 0) return 0;
        stn_batch_take_block(b, &block);
    }
    for (struct stn_item *item; (item = stn_list_take(&l->pending_items));)
        stn_list_append(&l->flight.open, item);
    l->pending = NULL;
    *l->building_end = b;
    l->building_end = &b->next;
    return 1;
}

static uint32_t count_free_items(const sterna_loader *l, uint32_t enough) {
    uint32_t n = 0;
    for (const struct stn_item *item = l->free_items; item && n < enough; item = item->next) n++;
    return n;
}

static void plan_ahead_strict(sterna_loader *l) {
    for (;;) {
        if (!l->pending) {
            if (enough_ahead(l)) return;
            if (count_free_items(l, l->batch_rows) < l->batch_rows) return;
            plan_batch(l);
        }
        if (!l->pending || !admit_batch(l)) return;
    }
}

static void plan_ahead_arrival(sterna_loader *l) {
    while (!enough_ahead(l) && l->free_items) {
        uint64_t row, index;
        int own, rc;
        struct stn_epoch *epoch = asking_epoch(l, &row, &index, &own, &rc);
        if (!epoch || rc != STERNA_OK) return;
        stn_list_append(&l->flight.open, take_item(l, epoch, row, index, own));
    }
}

void stn_loader_plan_ahead(sterna_loader *l) {
    if (stn_loader_is_strict(l))
        plan_ahead_strict(l);
    else
        plan_ahead_arrival(l);
}
