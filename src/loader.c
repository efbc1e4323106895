/* The loader: the one file that knows every stage. A turn of its work reads like the way of a
 * sample:
 *
 *   plan_ahead   selection + seed + epoch + rank -> items        request/
 *   send         items -> requests, within window and budget     source/
 *   land         answers, in any order -> extents                slot/
 *   expire       what was not answered is asked for again        request/retry
 *   compose      items -> batches, in plan or arrival order      batch/
 *   explain      what the consumer waits for
 *
 * All of it runs under one lock, on the loader's own thread; sources answer from theirs, through
 * the sink, and never take that lock. */
#include "loader.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define SUBMIT_AT_ONCE 64

/* ---- lists of items ---- */

void stn_list_init(struct stn_list *list) { *list = (struct stn_list){NULL, &list->first, 0}; }

void stn_list_append(struct stn_list *list, struct stn_item *item) {
    item->next = NULL;
    *list->end = item;
    list->end = &item->next;
    list->n++;
}

static int is_farther(const struct stn_item *a, const struct stn_item *b) {
    if (a->epoch != b->epoch) return a->epoch->state.epoch > b->epoch->state.epoch;
    return a->row > b->row;
}

/* Into a list that is in the plan's order. Those that come back are low, so the walk is short. */
static void list_insert(struct stn_list *list, struct stn_item *item) {
    struct stn_item **at = &list->first;
    while (*at && is_farther(item, *at)) at = &(*at)->next;
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

static void list_remove(struct stn_list *list, struct stn_item *gone) {
    struct stn_list rest;
    stn_list_init(&rest);
    for (struct stn_item *item; (item = stn_list_take(list));)
        if (item != gone) stn_list_append(&rest, item);
    *list = rest;
    if (!list->first) list->end = &list->first;
}

static struct stn_list *arrived_of(sterna_loader *l, const struct stn_epoch *epoch) {
    return &l->arrived[epoch - l->epochs];
}

static int is_strict(const sterna_loader *l) { return l->options.order == STERNA_ORDER_STRICT; }

/* The item that everything behind it waits for may use the escrow. */
static int is_lowest(const sterna_loader *l, const struct stn_item *item) {
    if (is_strict(l)) return item->batch == l->building;
    return item->epoch->state.epoch == l->first_epoch &&
           item->row == item->epoch->state.delivered.watermark;
}

/* ---- plan_ahead ---- */

static struct stn_epoch *epoch_number(sterna_loader *l, uint64_t number) {
    return &l->epochs[number % STN_EPOCHS_AHEAD];
}

static struct stn_item *take_item(sterna_loader *l, struct stn_epoch *epoch, uint64_t row,
                                  uint64_t index, int own) {
    struct stn_item *item = l->free_items;
    struct stn_extent *extents = item->extents;
    l->free_items = item->next;
    *item = (struct stn_item){
        .row = row, .index = index, .own = own, .epoch = epoch, .extents = extents};
    memset(extents, 0, l->schema->n_fields * sizeof *extents);
    item->ahead_bytes = stn_loader_sample_bytes(l, index);
    l->ahead_bytes += item->ahead_bytes;
    return item;
}

static int enough_ahead(const sterna_loader *l) {
    int idle = !l->ready && !l->building && !l->open.n && !l->oldest_slot && !l->waiting.n;
    return l->ahead_bytes >= l->ahead_max_bytes && !idle;
}

/* The epoch to ask from now; opens the next one when all others were asked for. */
static struct stn_epoch *asking_epoch(sterna_loader *l, uint64_t *row, uint64_t *index, int *own,
                                      int *rc) {
    uint64_t number = l->first_epoch;
    do {
        for (; number < l->first_epoch + l->n_epochs; number++) {
            struct stn_epoch *epoch = epoch_number(l, number);
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
    sterna_batch *b = stn_batch_new(l->pool, l->schema, stn_plan_width(&epoch->plan, n_own));
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

/* Gives the planned batch its memory, and its items to the open list; 0 if it cannot now. */
static int admit_batch(sterna_loader *l) {
    sterna_batch *b = l->pending;
    uint64_t bytes = stn_batch_layout(b);
    if (bytes > 0) {
        uint64_t reserve = l->building || l->ready ? l->escrow_bytes : 0;
        struct stn_block *block;
        int rc = stn_pool_acquire(l->pool, bytes, reserve, &block);
        if (rc == STERNA_ENOMEM) stn_loader_fail(l, rc, "out of memory for a batch");
        if (rc < 0) return 0;
        stn_batch_take_block(b, &block);
    }
    for (struct stn_item *item; (item = stn_list_take(&l->pending_items));)
        stn_list_append(&l->open, item);
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
            if (count_free_items(l, l->options.batch_size) < l->options.batch_size) return;
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
        stn_list_append(&l->open, take_item(l, epoch, row, index, own));
    }
}

static void plan_ahead(sterna_loader *l) {
    if (is_strict(l))
        plan_ahead_strict(l);
    else
        plan_ahead_arrival(l);
}

/* ---- what becomes of an item ---- */

static void settle(sterna_loader *l, struct stn_item *item, int status) {
    item->status = status;
    if (item->batch)
        item->batch->n_settled++;
    else
        stn_list_append(arrived_of(l, item->epoch), item);
}

static void give_up(sterna_loader *l, struct stn_item *item, int code, const char *why) {
    struct sterna_exception *e = &l->exceptions[l->n_exceptions++ % STN_EXCEPTIONS_MAX];
    *e = (struct sterna_exception){
        .epoch = item->epoch->state.epoch, .index = item->index, .code = code};
    memcpy(e->id, sterna_selection_ids(l->selection)[item->index], sizeof e->id);
    snprintf(e->message, sizeof e->message, "%s", why ? why : sterna_strerror(code));
    item->code = code;
    item->why = strdup(e->message); /* without memory: without words */
    settle(l, item, ITEM_FAILED);
}

static void try_again(sterna_loader *l, struct stn_item *item, int code, const char *why,
                      uint64_t now_ns) {
    uint64_t wait_ns = stn_retry_wait_ns(&l->retry, item->attempts, code, item->index);
    if (wait_ns == UINT64_MAX) {
        give_up(l, item, code, why);
        return;
    }
    l->stats.retries++;
    item->retry_ns = now_ns + wait_ns;
    item->status = ITEM_WAITING;
    stn_list_append(&l->waiting, item);
}

/* ---- send ---- */

static void link_slot(sterna_loader *l, struct stn_slot *slot) {
    slot->older = l->newest_slot;
    slot->newer = NULL;
    if (l->newest_slot)
        l->newest_slot->newer = slot;
    else
        l->oldest_slot = slot;
    l->newest_slot = slot;
    l->stats.in_flight++;
    l->stats.in_flight_bytes += slot->asked_bytes;
    l->stats.in_flight_bytes_max = STN_MAX(l->stats.in_flight_bytes_max, l->stats.in_flight_bytes);
}

static void unlink_slot(sterna_loader *l, struct stn_slot *slot) {
    if (slot->older)
        slot->older->newer = slot->newer;
    else
        l->oldest_slot = slot->newer;
    if (slot->newer)
        slot->newer->older = slot->older;
    else
        l->newest_slot = slot->older;
    l->stats.in_flight--;
    l->stats.in_flight_bytes -= slot->asked_bytes;
}

/* Where a field of known length has its place in the batch's run; NULL: it needs memory of its own.
 */
static uint8_t *place_in_run(const sterna_loader *l, const struct stn_item *item, uint32_t f) {
    const struct stn_column *column = item->batch ? &item->batch->columns[f] : NULL;
    if (!column || !column->start || item->unprepared || item->wanted_bytes) return NULL;
    if (stn_loader_length(l, f, item->index) == STERNA_LENGTH_UNKNOWN) return NULL;
    return column->start + column->offsets[item->batch_row];
}

/* Bytes of a block for a field that has no place in a run: at least as many as it needed before. */
static uint64_t own_part_bytes(const sterna_loader *l, const struct stn_item *item, uint32_t f) {
    uint32_t length = stn_loader_length(l, f, item->index);
    uint64_t bytes = length == STERNA_LENGTH_UNKNOWN ? (uint64_t)l->typical_bytes : length;
    return STN_MAX(bytes, item->wanted_bytes);
}

/* What the item will take of the budget when it is asked for. */
static uint64_t own_bytes(const sterna_loader *l, const struct stn_item *item) {
    uint64_t sum = 0;
    for (uint32_t f = 0; f < l->schema->n_fields; f++) {
        int null = stn_loader_length(l, f, item->index) == STERNA_LENGTH_NULL;
        if (!null && !place_in_run(l, item, f))
            sum += stn_pool_class_bytes(own_part_bytes(l, item, f));
    }
    return sum;
}

/* Sources bring the length with the bytes; if it is another one, the sink corrects the place. */
static int prepare_part(sterna_loader *l, struct stn_item *item, struct stn_slot *slot,
                        uint32_t f) {
    struct stn_part *part = &slot->parts[f];
    uint32_t length = stn_loader_length(l, f, item->index);
    if (length == STERNA_LENGTH_NULL) return STERNA_OK;
    part->prepared = place_in_run(l, item, f);
    part->prepared_bytes = length;
    if (part->prepared) return STERNA_OK;
    return stn_pool_acquire(l->pool, own_part_bytes(l, item, f), slot->reserve_bytes, &part->own);
}

/* Makes the request for an item; AGAIN: no slot is free or the window is full; EBUDGET, ENOMEM. */
static int prepare(sterna_loader *l, struct stn_item *item, struct stn_request *request,
                   uint64_t now_ns) {
    if (l->oldest_slot && l->stats.in_flight_bytes + item->ahead_bytes > l->source->ahead_bytes)
        return STERNA_AGAIN;
    struct stn_slot *slot = stn_sink_open_slot(&l->sink, &request->ticket);
    if (!slot) return STERNA_AGAIN;
    memcpy(slot->id, sterna_selection_ids(l->selection)[item->index], sizeof slot->id);
    slot->reserve_bytes = is_lowest(l, item) ? 0 : l->escrow_bytes;
    int rc = STERNA_OK;
    for (uint32_t f = 0; f < l->schema->n_fields && rc == STERNA_OK; f++)
        rc = prepare_part(l, item, slot, f);
    if (rc < 0) {
        stn_sink_close_slot(&l->sink, slot);
        return rc;
    }
    slot->owner = item;
    slot->sent_ns = now_ns;
    slot->asked_bytes = item->ahead_bytes;
    memcpy(request->id, slot->id, sizeof request->id);
    request->fields = l->schema->numbers;
    request->n_fields = l->schema->n_fields;
    request->expected_bytes = item->ahead_bytes;
    item->slot = slot;
    item->status = ITEM_ASKED;
    item->attempts++;
    link_slot(l, slot);
    return STERNA_OK;
}

static void submit(sterna_loader *l, const struct stn_request *requests, size_t n) {
    int rc = n ? l->source->ops->submit(l->source, requests, n) : STERNA_OK;
    if (rc < 0) stn_loader_fail(l, rc, "the store takes no more requests");
    l->stats.requests += n;
}

static void send_open(sterna_loader *l, uint64_t now_ns) {
    struct stn_request requests[SUBMIT_AT_ONCE];
    size_t n = 0;
    int rc = STERNA_OK;
    for (struct stn_item *item; rc != STERNA_AGAIN && (item = l->open.first);) {
        if (l->starved.n && is_farther(item, l->starved.first) && own_bytes(l, item)) break;
        stn_list_take(&l->open);
        rc = prepare(l, item, &requests[n], now_ns);
        if (rc == STERNA_OK) {
            n++;
        } else if (rc == STERNA_EBUDGET) {
            item->status = ITEM_STARVED;
            list_insert(&l->starved, item);
            rc = STERNA_AGAIN; /* those farther ahead would take what it waits for */
        } else if (rc == STERNA_ENOMEM) {
            item->attempts++;
            try_again(l, item, rc, "out of memory", now_ns);
        } else {
            list_insert(&l->open, item);
        }
        if (n == STN_COUNT(requests)) {
            submit(l, requests, n);
            n = 0;
        }
    }
    submit(l, requests, n);
}

/* ---- land ---- */

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
    settle(l, item, ITEM_LANDED);
}

static void land(sterna_loader *l, uint64_t now_ns) {
    for (struct stn_slot *slot = stn_sink_drain(&l->sink), *next; slot; slot = next) {
        struct stn_item *item = slot->owner;
        next = slot->next;
        if (item) {
            unlink_slot(l, slot);
            item->slot = NULL;
            if (slot->code == STERNA_EBUDGET) {
                item->wanted_bytes = slot->wanted_bytes;
                item->attempts--; /* the source did its part */
                item->status = ITEM_STARVED;
                list_insert(&l->starved, item);
            } else if (slot->code < 0) {
                try_again(l, item, slot->code, slot->why, now_ns);
            } else if (!is_complete(l, item, slot)) {
                give_up(l, item, STERNA_ENOTFOUND,
                        "the store lacks a field that the catalogue lists");
            } else {
                land_sample(l, item, slot);
            }
        }
        stn_sink_close_slot(&l->sink, slot);
    }
}

/* ---- expire ---- */

/* The answer may still come, and be written, until the source says otherwise: the place stays
 * reserved for it, and the sample gets another one. */
static void orphan(sterna_loader *l, struct stn_slot *slot, uint64_t now_ns) {
    struct stn_item *item = slot->owner;
    unlink_slot(l, slot);
    slot->owner = NULL;
    if (item->batch && item->batch->block) {
        stn_block_retain(item->batch->block);
        slot->held = item->batch->block;
    }
    item->slot = NULL;
    item->unprepared = 1;
    l->source->ops->cancel(l->source, stn_sink_ticket(&l->sink, slot));
    try_again(l, item, STERNA_ETIMEOUT, "no answer in time", now_ns);
}

static void expire(sterna_loader *l, uint64_t now_ns) {
    while (l->timeout_ns && l->oldest_slot && now_ns - l->oldest_slot->sent_ns >= l->timeout_ns)
        orphan(l, l->oldest_slot, now_ns);
    for (size_t n = l->waiting.n; n > 0; n--) {
        struct stn_item *item = stn_list_take(&l->waiting);
        if (item->retry_ns <= now_ns) {
            item->status = ITEM_OPEN;
            list_insert(&l->open, item);
        } else {
            stn_list_append(&l->waiting, item);
        }
    }
}

/* ---- memory is short ---- */

/* The landed sample farthest ahead whose memory is its own, beyond `than`. */
static struct stn_item *farthest_landed(sterna_loader *l, const struct stn_item *than) {
    struct stn_item *found = NULL;
    for (uint32_t i = 0; i < l->n_items; i++) {
        struct stn_item *item = &l->items[i];
        int owns = 0;
        if (item->status != ITEM_LANDED || !is_farther(item, than)) continue;
        for (uint32_t f = 0; f < l->schema->n_fields; f++) owns |= item->extents[f].own != NULL;
        if (owns && (!found || is_farther(item, found))) found = item;
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
        list_remove(arrived_of(l, item->epoch), item);
    item->status = ITEM_OPEN;
    item->attempts = 0;
    list_insert(&l->open, item);
    l->stats.dropped++;
}

static int has_room(sterna_loader *l, const struct stn_item *item) {
    uint64_t reserve = is_lowest(l, item) ? 0 : l->escrow_bytes;
    return stn_pool_has_room(l->pool, own_bytes(l, item) + reserve);
}

/* Starved items are asked for again as soon as there is room, the lowest first; for it, or when
 * nothing else is on its way, room is made. Returns how many can be asked for. */
static size_t feed_starved(sterna_loader *l) {
    size_t n_fed = 0;
    while (l->starved.n > 0) {
        struct stn_item *item = l->starved.first, *victim;
        int may_drop = is_lowest(l, item) || !l->oldest_slot;
        while (!has_room(l, item) && may_drop && (victim = farthest_landed(l, item)))
            drop(l, victim);
        if (!has_room(l, item)) break;
        stn_list_take(&l->starved);
        item->status = ITEM_OPEN;
        list_insert(&l->open, item);
        n_fed++;
        if (may_drop) break; /* room was made for this one */
    }
    return n_fed;
}

/* ---- compose ---- */

static void push_ready(sterna_loader *l, sterna_batch *b, uint64_t now_ns) {
    if (!l->stats.first_batch_ns) l->stats.first_batch_ns = STN_MAX(now_ns - l->opened_ns, 1);
    b->next = NULL;
    *l->ready_end = b;
    l->ready_end = &b->next;
}

static void compose_strict(sterna_loader *l, uint64_t now_ns) {
    for (sterna_batch *b; (b = l->building) && b->n_settled == b->n_items;) {
        l->building = b->next;
        if (!l->building) l->building_end = &l->building;
        stn_loader_collate(l, b, b->items, 0);
        push_ready(l, b, now_ns);
    }
}

/* The next batch takes the first samples that arrived, as soon as they are enough. */
static void compose_arrival(sterna_loader *l, uint64_t now_ns) {
    for (uint64_t i = 0; i < l->n_epochs; i++) {
        struct stn_epoch *epoch = epoch_number(l, l->first_epoch + i);
        struct stn_list *arrived = arrived_of(l, epoch), row;
        while (stn_epoch_steps_left(epoch) > 0 && !l->failure.code) {
            uint32_t own = stn_epoch_own(epoch), want = own ? own : 1;
            if (arrived->n < want) return; /* later epochs wait: batches come in order of epochs */
            stn_list_init(&row);
            uint64_t ahead_bytes = 0;
            sterna_batch *b = stn_batch_new(l->pool, l->schema, stn_plan_width(&epoch->plan, own));
            if (!b) {
                stn_loader_fail(l, STERNA_ENOMEM, "out of memory for a batch");
                return;
            }
            while (row.n < want) {
                struct stn_item *item = stn_list_take(arrived);
                item->batch_row = (uint32_t)row.n;
                ahead_bytes += item->ahead_bytes;
                stn_list_append(&row, item);
            }
            b->n_items = want;
            b->ahead_bytes = ahead_bytes;
            stn_loader_collate(l, b, row.first, 1);
            push_ready(l, b, now_ns);
        }
    }
}

static void retire_epochs(sterna_loader *l) {
    while (l->n_epochs > 0 && stn_epoch_steps_left(epoch_number(l, l->first_epoch)) == 0) {
        struct stn_epoch *epoch = epoch_number(l, l->first_epoch);
        l->stats.missing += epoch->n_undelivered;
        stn_epoch_fini(epoch);
        l->first_epoch++;
        l->n_epochs--;
    }
}

static void compose(sterna_loader *l, uint64_t now_ns) {
    if (is_strict(l))
        compose_strict(l, now_ns);
    else
        compose_arrival(l, now_ns);
    retire_epochs(l);
}

/* ---- explain ---- */

/* Time that consumers have waited since the last look goes to the cause found then. */
void stn_loader_account_stall(sterna_loader *l, uint64_t now_ns) {
    if (l->n_consumers_waiting > 0) l->stats.stall_ns[l->cause] += now_ns - l->stall_mark_ns;
    l->stall_mark_ns = now_ns;
}

static enum sterna_stall find_cause(const sterna_loader *l) {
    const sterna_batch *head = l->building;
    if (l->pending || l->starved.n) {
        if (!l->oldest_slot) return STERNA_STALL_BUDGET;
    }
    if (l->waiting.n) return STERNA_STALL_SERVER;
    if (!l->stats.first_batch_ns) return STERNA_STALL_CONNECT;
    if (head && head->next && head->next->n_settled == head->next->n_items)
        return STERNA_STALL_LATENCY; /* a whole later batch has come before */
    return STERNA_STALL_BANDWIDTH;
}

static void explain(sterna_loader *l, uint64_t now_ns) {
    int idle = !l->oldest_slot && !l->waiting.n && !l->open.n;
    stn_loader_account_stall(l, now_ns);
    l->cause = find_cause(l);
    l->ended = l->n_epochs == 0 && l->first_epoch >= l->end_epoch;
    l->no_room = idle && !l->ready && (l->pending || l->starved.n);
    atomic_store(&l->wants_room, l->pending || l->starved.n);
}

/* ---- a turn ---- */

static uint64_t next_turn_ns(const sterna_loader *l) {
    uint64_t at = UINT64_MAX;
    if (l->timeout_ns && l->oldest_slot) at = l->oldest_slot->sent_ns + l->timeout_ns;
    for (const struct stn_item *item = l->waiting.first; item; item = item->next)
        at = STN_MIN(at, item->retry_ns);
    return at;
}

static void turn(sterna_loader *l) {
    uint64_t now_ns = stn_now(l->env.clock);
    atomic_store(&l->released, 0);
    land(l, now_ns);
    expire(l, now_ns);
    compose(l, now_ns);
    if (!l->failure.code) {
        feed_starved(l);
        plan_ahead(l);
        do send_open(l, now_ns);
        while (feed_starved(l) > 0);
    }
    explain(l, now_ns);
    /* Memory that came back during this turn may have been looked for in vain before. */
    int again = atomic_load(&l->wants_room) && atomic_load(&l->released);
    l->wake_ns = again ? now_ns : next_turn_ns(l);
}

/* Tells consumers, once, that next() has something to say. */
static void announce(sterna_loader *l) {
    int readable = l->ready || l->ended || l->no_room || l->failure.code;
    if (!readable || l->announced) return;
    uint64_t one = 1; /* cannot block: the counter is 0 */
    l->announced = write(l->ready_fd, &one, sizeof one) == sizeof one;
    pthread_cond_broadcast(&l->ready_changed);
}

void stn_loader_turn(sterna_loader *l) {
    turn(l);
    announce(l);
}

uint64_t stn_loader_step(sterna_loader *l) {
    pthread_mutex_lock(&l->lock);
    stn_loader_turn(l);
    uint64_t wake_ns = l->wake_ns;
    pthread_mutex_unlock(&l->lock);
    return wake_ns;
}

void *stn_loader_run(void *loader) {
    sterna_loader *l = loader;
    for (;;) {
        uint64_t wake_ns = stn_loader_step(l);
        stn_waker_sleep(&l->waker, wake_ns);
        pthread_mutex_lock(&l->lock);
        int stopping = l->stopping;
        pthread_mutex_unlock(&l->lock);
        if (stopping) return NULL;
    }
}
