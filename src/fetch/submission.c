/* A submission: rows for ids, from the look into the catalogue to the batch that is handed out, or
 * to its being called off. */
#include <string.h>

#include "fetch/fetcher.h"

/* ---- lists ---- */

void stn_submissions_append(struct stn_submissions *list, struct stn_submission *s) {
    s->prev = list->last;
    s->next = NULL;
    if (list->last)
        list->last->next = s;
    else
        list->first = s;
    list->last = s;
}

void stn_submissions_remove(struct stn_submissions *list, struct stn_submission *s) {
    if (s->prev)
        s->prev->next = s->next;
    else
        list->first = s->next;
    if (s->next)
        s->next->prev = s->prev;
    else
        list->last = s->prev;
    s->prev = s->next = NULL;
}

struct stn_submission *stn_submissions_find(const struct stn_submissions *list, uint64_t ticket) {
    struct stn_submission *s = list->first;
    while (s && s->ticket != ticket) s = s->next;
    return s;
}

/* ---- what the flight asks ---- */

static sterna_fetcher *fetcher_of(const struct stn_flight *fl) {
    return STN_OUTER(fl, sterna_fetcher, flight);
}

static uint32_t length(const struct stn_flight *fl, const struct stn_item *item, uint32_t f) {
    const struct stn_submission *s = item->of;
    return s->lengths[item->index * fl->schema->n_fields + f];
}

static int is_lowest(const struct stn_flight *fl, const struct stn_item *item) {
    return item->of == fetcher_of(fl)->under_way.first;
}

static void settled(struct stn_flight *fl, struct stn_item *item) {
    struct stn_submission *s = item->of;
    sterna_fetcher *f = fetcher_of(fl);
    if (++item->batch->n_settled < item->batch->n_items) return;
    stn_submissions_remove(&f->under_way, s);
    stn_submissions_append(&f->settled, s);
}

/* Rows that lie in a run have no memory of their own, and theirs is whole from the beginning. */
static struct stn_item *take_back(struct stn_flight *fl, const struct stn_item *than) {
    sterna_fetcher *f = fetcher_of(fl);
    for (struct stn_submission *s = f->under_way.last; s; s = s->prev) {
        for (uint32_t i = s->batch->n_items; i-- > 0;) {
            struct stn_item *item = &s->items[i];
            if (!stn_item_is_farther(item, than)) return NULL;
            if (item->status != ITEM_LANDED || !stn_item_owns_memory(fl, item)) continue;
            s->batch->n_settled--;
            return item;
        }
    }
    return NULL;
}

const struct stn_flight_ops stn_fetcher_flight_ops = {
    .length = length, .is_lowest = is_lowest, .settled = settled, .take_back = take_back};

/* ---- made ---- */

static int look_up(sterna_fetcher *f, struct stn_submission *s, size_t n,
                   struct sterna_error *err) {
    sterna_batch *b = s->batch;
    const struct stn_fetcher_env *env = &f->env;
    if (env->look_up)
        return env->look_up(env->look_up_ctx, (const uint8_t(*)[STERNA_ID_BYTES])b->ids, n,
                            b->labels, s->lengths, err);
    for (size_t i = 0; i < n; i++) b->labels[i] = STERNA_LABEL_NONE;
    for (size_t i = 0; i < n * f->schema->n_fields; i++) s->lengths[i] = STERNA_LENGTH_UNKNOWN;
    return STERNA_OK;
}

/* One run if all lengths are known, else a block for each field; the least that it takes of the
 * budget. */
static uint64_t lay_out(sterna_fetcher *f, struct stn_submission *s) {
    sterna_batch *b = s->batch;
    uint32_t n_fields = f->schema->n_fields;
    uint64_t blocks_bytes = 0;
    int all_known = 1;
    for (uint32_t i = 0; i < b->n_items; i++)
        for (uint32_t k = 0; k < n_fields; k++) {
            uint32_t bytes = s->lengths[(size_t)i * n_fields + k];
            int known = bytes != STERNA_LENGTH_UNKNOWN && bytes != STERNA_LENGTH_NULL;
            all_known &= bytes != STERNA_LENGTH_UNKNOWN;
            b->columns[k].bytes[i] = known ? bytes : 0;
            if (known) blocks_bytes += stn_pool_class_bytes(bytes);
        }
    s->run_bytes = all_known ? stn_batch_layout(b) : 0;
    if (!all_known) return blocks_bytes;
    return s->run_bytes ? stn_pool_class_bytes(s->run_bytes) : 0;
}

static int make_rows(sterna_fetcher *f, struct stn_submission *s, size_t n) {
    uint32_t n_fields = f->schema->n_fields;
    s->items = stn_array(n, sizeof *s->items);
    s->extents = stn_array(n * n_fields, sizeof *s->extents);
    s->lengths = stn_array(n * n_fields, sizeof *s->lengths);
    s->batch = stn_batch_new(f->flight.pool, f->schema, (uint32_t)n);
    return s->items && s->extents && s->lengths && s->batch ? STERNA_OK : STERNA_ENOMEM;
}

int stn_submission_new(struct stn_submission **out, sterna_fetcher *f,
                       const uint8_t (*ids)[STERNA_ID_BYTES], size_t n, struct sterna_error *err) {
    struct stn_submission *s = *out = stn_array(1, sizeof *s);
    if (!s || make_rows(f, s, n) < 0) {
        stn_submission_free(out);
        return stn_fail_memory(err, "a batch");
    }
    sterna_batch *b = s->batch;
    b->n_items = (uint32_t)n;
    memcpy(b->ids, ids, n * sizeof *b->ids);
    for (size_t i = 0; i < n; i++) b->index[i] = i;
    int rc = look_up(f, s, n, err);
    uint64_t least_bytes = rc == STERNA_OK ? lay_out(f, s) : 0;
    if (least_bytes > f->flight.budget_bytes)
        rc = stn_fail(err, STERNA_EBUDGET,
                      "the %zu samples take %llu bytes at least, the memory budget has %llu: ask "
                      "for fewer at once, or raise it",
                      n, (unsigned long long)least_bytes,
                      (unsigned long long)f->flight.budget_bytes);
    if (rc < 0) stn_submission_free(out);
    return rc;
}

static void free_rows(struct stn_submission *s) {
    const sterna_batch *b = s->batch;
    for (size_t i = 0; s->extents && b && i < (size_t)b->n_items * b->schema->n_fields; i++)
        stn_block_release(&s->extents[i].own);
    for (uint32_t i = 0; s->items && b && i < b->n_items; i++) free(s->items[i].why);
    free(s->items);
    free(s->extents);
    free(s->lengths);
    s->items = NULL;
    s->extents = NULL;
    s->lengths = NULL;
}

void stn_submission_free(struct stn_submission **submission) {
    struct stn_submission *s = *submission;
    *submission = NULL;
    if (!s) return;
    free_rows(s);
    sterna_batch_release(&s->batch);
    free(s);
}

/* ---- admitted ---- */

static uint64_t expected_bytes(const struct stn_flight *fl, const struct stn_item *item) {
    uint64_t sum = 0;
    for (uint32_t k = 0; k < fl->schema->n_fields; k++)
        sum += stn_align_up(stn_flight_expect_bytes(fl, length(fl, item, k)));
    return sum;
}

size_t stn_submission_admit(sterna_fetcher *f) {
    struct stn_flight *fl = &f->flight;
    struct stn_submission *s = f->queued;
    sterna_batch *b = s->batch;
    struct stn_block *block = NULL;
    if (s->run_bytes > 0) {
        if (stn_pool_acquire(fl->pool, s->run_bytes, 0, &block) == STERNA_EBUDGET) return 0;
        if (block) stn_batch_take_block(b, &block); /* else each row tries to find its own */
    }
    for (uint32_t i = 0; i < b->n_items; i++) {
        struct stn_item *item = &s->items[i];
        *item = (struct stn_item){.turn = s->ticket,
                                  .row = i,
                                  .id = b->ids[i],
                                  .batch = b,
                                  .batch_row = i,
                                  .extents = s->extents + (size_t)i * fl->schema->n_fields,
                                  .label = STERNA_LABEL_NONE,
                                  .index = i,
                                  .of = s};
        item->ahead_bytes = expected_bytes(fl, item);
        stn_list_append(&fl->open, item);
    }
    f->queued = s->next;
    return b->n_items;
}

/* ---- composed ---- */

static void place_row(sterna_batch *b, struct stn_item *item) {
    uint32_t row = item->batch_row;
    stn_batch_set_row(b, row, item->extents);
    if (item->status == ITEM_FAILED) {
        stn_batch_fail_row(b, row, item->code, &item->why);
        return;
    }
    if (b->labels[row] == STERNA_LABEL_NONE) b->labels[row] = item->label;
    b->valid[row] = 1;
    b->info.n_valid++;
    for (uint32_t k = 0; k < b->schema->n_fields; k++) b->info.n_bytes += b->columns[k].bytes[row];
}

void stn_submissions_compose(sterna_fetcher *f, uint64_t now_ns) {
    for (struct stn_submission *s; (s = f->settled.first);) {
        sterna_batch *b = s->batch;
        for (uint32_t i = 0; i < b->n_items; i++) place_row(b, &s->items[i]);
        free_rows(s);
        f->stats.errors += b->n_items - b->info.n_valid;
        if (!f->stats.first_batch_ns) f->stats.first_batch_ns = STN_MAX(now_ns - f->opened_ns, 1);
        stn_submissions_remove(&f->settled, s);
        stn_submissions_append(&f->ready, s);
    }
}

/* ---- called off ---- */

void stn_submission_call_off(sterna_fetcher *f, struct stn_submission *s) {
    struct stn_flight *fl = &f->flight;
    stn_list_remove_of(&fl->open, s);
    stn_list_remove_of(&fl->waiting, s);
    stn_list_remove_of(&fl->starved, s);
    for (uint32_t i = 0; i < s->batch->n_items; i++)
        if (s->items[i].status == ITEM_ASKED) stn_flight_abandon(fl, &s->items[i]);
    if (f->queued == s) f->queued = s->next;
    stn_submissions_remove(&f->under_way, s);
    stn_submission_free(&s);
}
