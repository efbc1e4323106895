/* Landed items become batches, in the plan's order or in that of arrival: bytes, ids, labels,
 * padding, what failed, and the state after it. */
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "loader/loader.h"

static const char *policy_hint = "; --on-error mask or substitute goes on without it";

/* The batch cannot be handed out: the consumer gets this failure in its place. */
static void refuse(sterna_batch *b, int code, const uint8_t *id, const char *why,
                   const char *advice) {
    if (b->code) return; /* the first reason counts */
    char text[STERNA_ID_TEXT_BYTES], message[STERNA_MESSAGE_BYTES];
    sterna_id_format(id, text);
    snprintf(message, sizeof message, "sample %s: %s%s", text, why, advice);
    b->code = code;
    b->message = strdup(message);
}

static void place_row(sterna_loader *l, sterna_batch *b, struct stn_item *item) {
    uint32_t row = item->batch_row;
    b->index[row] = item->index;
    memcpy(b->ids[row], item->id, STERNA_ID_BYTES);
    b->labels[row] = sterna_selection_labels(l->selection)[item->index];
    if (b->labels[row] == STERNA_LABEL_NONE) b->labels[row] = item->label;
    stn_batch_set_row(b, row, item->extents);
    b->valid[row] = item->own && item->status == ITEM_LANDED;
    if (item->status != ITEM_FAILED) return;
    stn_batch_fail_row(b, row, item->code, &item->why);
    l->stats.errors++;
    const char *why = sterna_batch_reason(b, row);
    if (l->options.on_error == STERNA_ON_ERROR_RAISE)
        refuse(b, item->code, b->ids[row], why, policy_hint);
    else if (l->stats.errors > l->options.max_errors)
        refuse(b, STERNA_EERRORS, b->ids[row], why, ": one more than --max-errors allows");
}

/* The nearest whole row before it, or else after it; UINT32_MAX if all failed. */
static uint32_t substitute_for(const sterna_batch *b, uint32_t row) {
    for (uint32_t i = row; i-- > 0;)
        if (b->valid[i]) return i;
    for (uint32_t i = row + 1; i < b->n_items; i++)
        if (b->valid[i] && !b->errors[i]) return i;
    return UINT32_MAX;
}

static void handle_failed_row(sterna_loader *l, sterna_batch *b, uint32_t row) {
    uint32_t from =
        l->options.on_error == STERNA_ON_ERROR_SUBSTITUTE ? substitute_for(b, row) : UINT32_MAX;
    if (from == UINT32_MAX) {
        l->stats.masked++;
        return;
    }
    stn_batch_repeat_row(b, row, from);
    b->valid[row] = 1;
    l->stats.substituted++;
}

static void fill_rows(sterna_loader *l, sterna_batch *b) {
    for (uint32_t row = 0; row < b->n_items; row++)
        if (b->errors[row] && !b->valid[row]) handle_failed_row(l, b, row);
    for (uint32_t row = b->n_items; row < b->info.n_rows; row++)
        stn_batch_repeat_row(b, row, row % b->n_items);
    for (uint32_t row = 0; row < b->info.n_rows; row++) {
        b->info.n_valid += b->valid[row];
        for (uint32_t f = 0; b->valid[row] && f < b->schema->n_fields; f++)
            b->info.n_bytes += b->columns[f].bytes[row];
    }
}

static void keep_state(sterna_batch *b, const struct stn_epoch *epoch) {
    b->state_bytes = stn_state_encode(&epoch->state, NULL, 0);
    b->state = malloc(b->state_bytes);
    if (b->state) {
        stn_state_encode(&epoch->state, b->state, b->state_bytes);
    } else {
        b->state_bytes = 0;
        b->code = STERNA_ENOMEM;
    }
}

static void collate(sterna_loader *l, sterna_batch *b, struct stn_item *items, int by_arrival) {
    struct stn_epoch *epoch = stn_item_epoch(items);
    for (struct stn_item *item = items, *next; item; item = next) {
        next = by_arrival ? item->next : item->sibling;
        if (item->own && !stn_epoch_deliver(epoch, item->row)) l->stats.duplicates++;
        place_row(l, b, item);
        stn_item_free(l, item);
    }
    fill_rows(l, b);
    b->info.epoch = epoch->state.epoch;
    b->info.step = epoch->state.base_step + epoch->state.step;
    epoch->state.step++;
    b->info.last_in_epoch = stn_epoch_steps_left(epoch) == 0;
    keep_state(b, epoch);
}

/* ---- which items make the next batch ---- */

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
        collate(l, b, b->items, 0);
        push_ready(l, b, now_ns);
    }
}

/* The next batch takes the first samples that arrived, as soon as they are enough. */
static void compose_arrival(sterna_loader *l, uint64_t now_ns) {
    for (uint64_t i = 0; i < l->n_epochs; i++) {
        struct stn_epoch *epoch = stn_loader_epoch(l, l->first_epoch + i);
        struct stn_list *arrived = stn_loader_arrived(l, epoch), row;
        while (stn_epoch_steps_left(epoch) > 0 && !l->failure.code) {
            uint32_t own = stn_epoch_own(epoch), want = own ? own : 1;
            if (arrived->n < want) return; /* later epochs wait: batches come in order of epochs */
            stn_list_init(&row);
            uint64_t ahead_bytes = 0;
            sterna_batch *b =
                stn_batch_new(l->flight.pool, l->schema, stn_plan_width(&epoch->plan, own));
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
            collate(l, b, row.first, 1);
            push_ready(l, b, now_ns);
        }
    }
}

static void retire_epochs(sterna_loader *l) {
    while (l->n_epochs > 0 && stn_epoch_steps_left(stn_loader_epoch(l, l->first_epoch)) == 0) {
        struct stn_epoch *epoch = stn_loader_epoch(l, l->first_epoch);
        l->stats.missing += epoch->n_undelivered;
        stn_epoch_fini(epoch);
        l->first_epoch++;
        l->n_epochs--;
    }
}

void stn_loader_compose(sterna_loader *l, uint64_t now_ns) {
    l->to_compose = 0;
    if (stn_loader_is_strict(l))
        compose_strict(l, now_ns);
    else
        compose_arrival(l, now_ns);
    retire_epochs(l);
}
