/* Rows become a batch: bytes, ids, labels, padding, what failed, and the state after it. */
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "loader.h"

static const char *policy_hint = "; --on-error mask or substitute goes on without it";

/* The batch cannot be handed out: the consumer gets this failure in its place. */
static void refuse(sterna_batch *b, int code, const uint8_t *id, const char *why,
                   const char *advice) {
    if (b->code) return; /* the first reason counts */
    char text[STERNA_ID_TEXT_BYTES], message[STERNA_MESSAGE_BYTES];
    sterna_id_format(id, text);
    snprintf(message, sizeof message, "sample %s: %s%s", text, why ? why : sterna_strerror(code),
             advice);
    b->code = code;
    b->message = strdup(message);
}

static void place_row(sterna_loader *l, sterna_batch *b, struct stn_item *item) {
    uint32_t row = item->batch_row;
    b->index[row] = item->index;
    memcpy(b->ids[row], sterna_selection_ids(l->selection)[item->index], STERNA_ID_BYTES);
    b->labels[row] = sterna_selection_labels(l->selection)[item->index];
    stn_batch_set_row(b, row, item->extents);
    b->valid[row] = item->own && item->status == ITEM_LANDED;
    if (item->status != ITEM_FAILED) return;
    b->errors[row] = item->code;
    l->stats.errors++;
    if (l->options.on_error == STERNA_ON_ERROR_RAISE)
        refuse(b, item->code, b->ids[row], item->why, policy_hint);
    else if (l->stats.errors > l->options.max_errors)
        refuse(b, STERNA_EERRORS, b->ids[row], item->why, ": one more than --max-errors allows");
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

void stn_loader_collate(sterna_loader *l, sterna_batch *b, struct stn_item *items, int by_arrival) {
    struct stn_epoch *epoch = items->epoch;
    for (struct stn_item *item = items, *next; item; item = next) {
        next = by_arrival ? item->next : item->sibling;
        if (item->own && !stn_epoch_deliver(epoch, item->row)) l->stats.duplicates++;
        place_row(l, b, item);
        stn_loader_free_item(l, item);
    }
    fill_rows(l, b);
    b->info.epoch = epoch->state.epoch;
    b->info.step = epoch->state.base_step + epoch->state.step;
    epoch->state.step++;
    b->info.last_in_epoch = stn_epoch_steps_left(epoch) == 0;
    keep_state(b, epoch);
}
