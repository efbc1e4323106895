/* Opening and closing a loader: options, budget, where to begin, memory. */
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/thread.h"
#include "loader/loader.h"
#include "store.h"

#define ITEMS_MAX 65536
#define LONG_PATH_BYTES ((uint64_t)1 << 30) /* more than 10 Gb/s and 300 ms have on their way */
#define BATCHES_AHEAD 2 /* composed or landed, besides what the source has in flight */

void sterna_loader_options_init(struct sterna_loader_options *o) {
    *o = (struct sterna_loader_options){.struct_size = sizeof *o,
                                        .batch_size = 256,
                                        .epochs = 1,
                                        .shuffle = 1,
                                        .world_size = 1,
                                        .max_errors = 100};
}

static int check_options(const struct sterna_loader_options *o, struct sterna_error *err) {
    if (o->struct_size != sizeof *o)
        return stn_fail(err, STERNA_EINVAL,
                        "loader options: struct_size is %zu, not %zu: call "
                        "sterna_loader_options_init() first",
                        o->struct_size, sizeof *o);
    if (o->batch_size == 0) return stn_fail(err, STERNA_EINVAL, "batch size must be at least 1");
    if (o->batch_size > (1U << 24))
        return stn_fail(err, STERNA_EINVAL, "batch size %u is over 16777216", o->batch_size);
    if (o->world_size == 0 || o->rank >= o->world_size)
        return stn_fail(err, STERNA_EINVAL, "rank %u of %u: ranks count from 0 to world size - 1",
                        o->rank, o->world_size);
    if (o->order > STERNA_ORDER_ARRIVAL || o->uneven > STERNA_UNEVEN_EXACT ||
        o->on_error > STERNA_ON_ERROR_MASK)
        return stn_fail(err, STERNA_EINVAL, "order, uneven or on_error has an unknown value");
    if (o->order == STERNA_ORDER_ARRIVAL && o->batch_size > STN_WINDOW_ROWS)
        return stn_fail(err, STERNA_EINVAL,
                        "batch size %u is over the window of %d in arrival order", o->batch_size,
                        STN_WINDOW_ROWS);
    return STERNA_OK;
}

/* ---- fields ---- */

static int set_fields(sterna_loader *l, const struct sterna_loader_options *o,
                      struct sterna_error *err) {
    size_t n = o->fields ? o->n_fields : l->env.n_fields;
    l->schema = stn_schema_new();
    if (!l->schema) return stn_fail_memory(err, "fields");
    if (l->info.n > 0 && l->env.n_fields != l->info.n_fields &&
        l->info.n_fields < l->env.n_fields && !o->fields)
        n = l->info.n_fields; /* the selection is older than the newest fields */
    if (n > STN_FIELDS_MAX || (n == 0 && l->info.n > 0)) /* an empty store has no fields yet */
        return stn_fail(err, STERNA_EINVAL, "%zu fields: 1 to %d can be read", n, STN_FIELDS_MAX);
    int rc = STERNA_OK;
    for (size_t i = 0; i < n && rc == STERNA_OK; i++)
        rc = stn_schema_choose(l->schema, l->env.fields, l->env.n_fields,
                               o->fields ? o->fields[i] : l->env.fields[i].name, &l->field_at[i],
                               err);
    for (uint32_t f = 0; f < l->schema->n_fields && rc == STERNA_OK; f++)
        if (l->field_at[f] >= l->info.n_fields)
            rc = stn_fail(err, STERNA_EMISMATCH,
                          "field '%s' is newer than the selection: make the selection again",
                          l->schema->names[f]);
    return rc;
}

static int same_dataset(const uint8_t *selection, const uint8_t *store, struct sterna_error *err) {
    char selected[STERNA_ID_TEXT_BYTES], stored[STERNA_ID_TEXT_BYTES];
    if (memcmp(selection, store, STERNA_ID_BYTES) == 0) return STERNA_OK;
    sterna_id_format(selection, selected);
    sterna_id_format(store, stored);
    return stn_fail(err, STERNA_EMISMATCH, "the selection is of data set %s, the store has %s",
                    selected, stored);
}

/* ---- memory ---- */

static void wake_loader(void *loader) { stn_waker_wake(&((sterna_loader *)loader)->waker); }

static void on_release(void *loader) {
    sterna_loader *l = loader;
    atomic_store(&l->released, 1);
    if (atomic_load(&l->wants_room)) stn_waker_wake(&l->waker);
}

static int make_items(sterna_loader *l, struct sterna_error *err) {
    uint64_t mean = l->info.n && l->info.n_bytes ? l->info.n_bytes / l->info.n : 65536;
    mean = STN_MAX(mean, 512);
    uint64_t rows = STN_MAX(l->batch_rows, 1);
    l->ready_max_bytes = BATCHES_AHEAD * mean * rows;
    /* A source that has a path to learn may want more later than it does now. */
    struct stn_flight *fl = &l->flight;
    uint64_t most = fl->source->ops->path ? STN_MIN(fl->budget_bytes, LONG_PATH_BYTES) : 0;
    most = STN_MAX(most, stn_loader_ahead_max(l));
    uint64_t n = STN_MIN(most / mean + rows, STN_MAX((uint64_t)ITEMS_MAX, 2 * rows));
    /* And no more than all epochs that may be begun have: a small data set opens at once. */
    n = STN_MIN(n, (STN_EPOCHS_AHEAD + 1) * l->info.n);
    l->n_items = (uint32_t)STN_MAX(n, 2 * rows);
    l->items = stn_array(l->n_items, sizeof *l->items);
    l->item_extents = stn_array((size_t)l->n_items * l->schema->n_fields, sizeof *l->item_extents);
    l->exceptions = stn_array(STN_EXCEPTIONS_MAX, sizeof *l->exceptions);
    if (!l->items || !l->item_extents || !l->exceptions) return stn_fail_memory(err, "the loader");
    /* Requests on their way, and as many again whose answers nobody waits for any more. */
    int rc = stn_flight_open_slots(fl, 2 * l->n_items, l->env.flight.clock, wake_loader, l, err);
    if (rc < 0) return rc;
    for (uint32_t i = l->n_items; i-- > 0;) {
        l->items[i].extents = l->item_extents + (size_t)i * l->schema->n_fields;
        l->items[i].next = l->free_items;
        l->free_items = &l->items[i];
    }
    return STERNA_OK;
}

static int init_locks(sterna_loader *l, struct sterna_error *err) {
    l->ready_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (l->ready_fd < 0) return stn_fail_sys(err, STERNA_EIO, "no event descriptor");
    if (stn_waker_init(&l->waker) < 0 || stn_cond_init_monotonic(&l->ready_changed))
        return stn_fail_memory(err, "locks");
    pthread_mutex_init(&l->lock, NULL);
    return STERNA_OK;
}

static void init_lists(sterna_loader *l) {
    stn_list_init(&l->pending_items);
    for (size_t i = 0; i < STN_EPOCHS_AHEAD; i++) stn_list_init(&l->arrived[i]);
    l->building_end = &l->building;
    l->given_end = &l->given;
    l->ready_end = &l->ready;
}

static int start(sterna_loader *l, struct sterna_error *err) {
    if (l->env.stepped) return STERNA_OK;
    if (stn_thread_create(&l->thread, stn_loader_run, l) != 0)
        return stn_fail(err, STERNA_ENOMEM, "no thread for the loader");
    l->has_thread = 1;
    return STERNA_OK;
}

int stn_loader_open(sterna_loader **out, const struct stn_loader_env *env,
                    sterna_selection *selection, const struct sterna_loader_options *options,
                    struct sterna_error *err) {
    *out = NULL;
    int rc = check_options(options, err);
    if (rc < 0) return rc;
    sterna_loader *l = calloc(1, sizeof *l);
    if (!l) return stn_fail_memory(err, "the loader");
    l->env = *env; /* env.fields is needed only here */
    l->options = *options;
    l->selection = sterna_selection_retain(selection);
    sterna_selection_info(selection, &l->info);
    l->batch_rows = (uint32_t)STN_MIN((uint64_t)options->batch_size, l->info.n);
    l->pid = getpid();
    l->opened_ns = l->watch.mark_ns = stn_now(env->flight.clock);
    stn_flight_init(&l->flight, &stn_loader_flight_ops, options->max_attempts);
    init_lists(l);
    rc = init_locks(l, err);
    if (rc < 0) { /* nothing else is open yet */
        if (l->ready_fd >= 0) close(l->ready_fd);
        sterna_selection_close(&l->selection);
        free(l);
        return rc;
    }
    rc = set_fields(l, options, err);
    l->flight.schema = l->schema;
    if (rc == STERNA_OK && options->expect_selection)
        rc = stn_loader_check_hash(options->expect_selection, l->info.hash, "what was expected",
                                   err);
    if (rc == STERNA_OK)
        rc = stn_flight_set_rate(&l->flight, options->max_rate_bytes_s, l->opened_ns, err);
    if (rc == STERNA_OK) rc = stn_loader_set_budget(l, err);
    if (rc == STERNA_OK) rc = stn_loader_begin(l, options, err);
    if (rc == STERNA_OK)
        rc = stn_flight_open(&l->flight, &env->flight, options->threads,
                             options->request_timeout_ms, options->allocator, on_release, l, err);
    if (rc == STERNA_OK) rc = make_items(l, err);
    l->begun_ns = stn_now(env->flight.clock);
    if (rc == STERNA_OK) rc = start(l, err);
    if (rc < 0) sterna_loader_close(&l);
    *out = l;
    return rc;
}

int sterna_loader_open(sterna_loader **out, sterna_store *store, sterna_selection *selection,
                       const struct sterna_loader_options *options, struct sterna_error *err) {
    struct sterna_store_info store_info;
    struct sterna_selection_info info;
    struct sterna_field fields[STN_FIELDS_MAX];
    struct stn_loader_env env = {.flight = {stn_clock_monotonic(), stn_store_source_open, store},
                                 .fields = fields};
    stn_error_clear(err);
    *out = NULL;
    int rc = stn_store_facts(store, &store_info, err);
    if (rc < 0) return rc;
    sterna_selection_info(selection, &info);
    rc = same_dataset(info.dataset_id, store_info.dataset_id, err);
    if (rc < 0) return rc;
    env.n_fields = STN_MIN(store_info.n_fields, (uint32_t)STN_FIELDS_MAX);
    for (uint32_t i = 0; i < env.n_fields; i++) sterna_store_field(store, i, &fields[i]);
    rc = stn_loader_open(out, &env, selection, options, err);
    if (rc < 0) return rc;
    (*out)->store = stn_store_retain(store);
    return STERNA_OK;
}

static void release_batches(sterna_batch *first) {
    for (sterna_batch *b = first, *next; b; b = next) {
        next = b->next;
        sterna_batch_release(&b);
    }
}

void stn_loader_fail(sterna_loader *l, int code, const char *message) {
    stn_fail(&l->failure, code, "%s", message); /* the first one counts */
}

/* A child of the process that opened it has neither its threads nor their locks: it only lets go.
 */
void sterna_loader_close(sterna_loader **out) {
    sterna_loader *l = *out;
    *out = NULL;
    if (!l || l->pid != getpid()) return;
    if (l->has_thread) {
        pthread_mutex_lock(&l->lock);
        l->stopping = 1;
        pthread_mutex_unlock(&l->lock);
        stn_waker_wake(&l->waker);
        pthread_join(l->thread, NULL);
    }
    stn_flight_stop(&l->flight);
    for (uint32_t i = 0; l->item_extents && i < l->n_items * l->schema->n_fields; i++)
        stn_block_release(&l->item_extents[i].own);
    for (uint32_t i = 0; l->items && i < l->n_items; i++) free(l->items[i].why);
    release_batches(l->building);
    release_batches(l->ready);
    release_batches(l->pending);
    stn_loader_return_given(l);
    stn_pool_close(&l->flight.pool);
    for (uint64_t i = 0; i < l->n_epochs; i++)
        stn_epoch_fini(&l->epochs[(l->first_epoch + i) % STN_EPOCHS_AHEAD]);
    free(l->items);
    free(l->item_extents);
    free(l->exceptions);
    free(l->state);
    stn_schema_release(&l->schema);
    sterna_selection_close(&l->selection);
    sterna_store_close(&l->store);
    pthread_cond_destroy(&l->ready_changed);
    pthread_mutex_destroy(&l->lock);
    stn_waker_fini(&l->waker);
    close(l->ready_fd);
    free(l);
}
