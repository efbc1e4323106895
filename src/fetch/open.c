/* Opening and closing a fetcher: fields, memory, the source, the look into the catalogue. */
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/thread.h"
#include "catalog/lookup.h"
#include "fetch/fetcher.h"
#include "store.h"

#define SLOTS_MAX 16384   /* requests at once: small samples over a long way need thousands */
#define SLOT_PARTS 131072 /* fields of all of them together */

void sterna_fetcher_options_init(struct sterna_fetcher_options *o) {
    *o = (struct sterna_fetcher_options){.struct_size = sizeof *o};
}

static int take_options(const struct sterna_fetcher_options *from,
                        struct sterna_fetcher_options *to, struct sterna_error *err) {
    sterna_fetcher_options_init(to);
    if (from && from->struct_size != sizeof *to)
        return stn_fail(err, STERNA_EINVAL,
                        "fetcher options: struct_size is %zu, not %zu: call "
                        "sterna_fetcher_options_init() first",
                        from->struct_size, sizeof *to);
    if (from) *to = *from;
    return STERNA_OK;
}

static int set_fields(sterna_fetcher *f, const struct sterna_fetcher_options *o,
                      struct sterna_error *err) {
    size_t n = o->fields ? o->n_fields : f->env.n_fields;
    if (f->env.n_fields == 0)
        return stn_fail(err, STERNA_ENOTFOUND,
                        "the store has no fields yet, so there are no samples to fetch");
    if (n == 0 || n > STN_FIELDS_MAX)
        return stn_fail(err, STERNA_EINVAL, "%zu fields: 1 to %d can be read", n, STN_FIELDS_MAX);
    int rc = STERNA_OK;
    for (size_t i = 0; i < n && rc == STERNA_OK; i++) {
        uint32_t at;
        const char *name = o->fields ? o->fields[i] : f->env.fields[i].name;
        rc = stn_schema_choose(f->schema, f->env.fields, f->env.n_fields, name, &at, err);
    }
    return rc;
}

/* ---- open ---- */

static void wake_fetcher(void *fetcher) { stn_waker_wake(&((sterna_fetcher *)fetcher)->waker); }

static void on_release(void *fetcher) {
    sterna_fetcher *f = fetcher;
    atomic_store(&f->released, 1);
    if (atomic_load(&f->wants_room)) stn_waker_wake(&f->waker);
}

static int open_flight(sterna_fetcher *f, const struct sterna_fetcher_options *o,
                       struct sterna_error *err) {
    struct stn_flight *fl = &f->flight;
    fl->schema = f->schema;
    stn_flight_set_budget(fl, o->memory_bytes);
    int rc = stn_flight_set_rate(fl, o->max_rate_bytes_s, f->opened_ns, err);
    if (rc == STERNA_OK)
        rc = stn_flight_open(fl, &f->env.flight, o->threads, o->request_timeout_ms, o->allocator,
                             on_release, f, err);
    if (rc < 0) return rc;
    uint32_t n_slots = STN_MIN((uint32_t)SLOTS_MAX, SLOT_PARTS / f->schema->n_fields);
    return stn_flight_open_slots(fl, n_slots, f->env.flight.clock, wake_fetcher, f, err);
}

static int init_locks(sterna_fetcher *f, struct sterna_error *err) {
    f->ready_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (f->ready_fd < 0) return stn_fail_sys(err, STERNA_EIO, "no event descriptor");
    if (stn_waker_init(&f->waker) < 0 || stn_cond_init_monotonic(&f->changed)) {
        close(f->ready_fd);
        return stn_fail_memory(err, "locks");
    }
    pthread_mutex_init(&f->lock, NULL);
    return STERNA_OK;
}

static int start(sterna_fetcher *f, struct sterna_error *err) {
    if (f->env.stepped) return STERNA_OK;
    if (stn_thread_create(&f->thread, stn_fetcher_run, f) != 0)
        return stn_fail(err, STERNA_ENOMEM, "no thread for the fetcher");
    f->has_thread = 1;
    return STERNA_OK;
}

int stn_fetcher_open(sterna_fetcher **out, const struct stn_fetcher_env *env,
                     const struct sterna_fetcher_options *options, struct sterna_error *err) {
    struct sterna_fetcher_options o;
    *out = NULL;
    int rc = take_options(options, &o, err);
    if (rc < 0) return rc;
    sterna_fetcher *f = stn_array(1, sizeof *f);
    if (!f) return stn_fail_memory(err, "the fetcher");
    rc = init_locks(f, err);
    if (rc < 0) { /* nothing else is open yet */
        free(f);
        return rc;
    }
    f->env = *env;
    f->pid = getpid();
    f->opened_ns = stn_now(env->flight.clock);
    f->wake_ns = f->sleeps_until_ns = UINT64_MAX;
    stn_flight_init(&f->flight, &stn_fetcher_flight_ops, o.max_attempts);
    f->schema = stn_schema_new();
    rc = f->schema ? set_fields(f, &o, err) : stn_fail_memory(err, "fields");
    if (rc == STERNA_OK) rc = open_flight(f, &o, err);
    if (rc == STERNA_OK) rc = start(f, err);
    f->env.fields = NULL;
    if (rc < 0) sterna_fetcher_close(&f);
    *out = f;
    return rc;
}

/* ---- on a store ---- */

static int look_up(void *fetcher, const uint8_t (*ids)[STERNA_ID_BYTES], size_t n, int64_t *labels,
                   uint32_t *lengths, struct sterna_error *err) {
    sterna_fetcher *f = fetcher;
    return stn_lookup_ids(f->lookup, ids, n, labels, lengths, err);
}

/* Samples that are not listed, of another tool's tables, have neither label nor length here. */
static int open_lookup(sterna_fetcher *f, struct sterna_error *err) {
    const char *names[STN_FIELDS_MAX];
    int listed, rc = stn_store_is_listed(f->store, &listed, err);
    if (rc < 0 || !listed) return rc;
    for (uint32_t i = 0; i < f->schema->n_fields; i++) names[i] = f->schema->names[i];
    rc = stn_lookup_open(&f->lookup, f->store->catalog, names, f->schema->n_fields, err);
    if (rc < 0) return rc;
    f->env.look_up = look_up;
    f->env.look_up_ctx = f;
    return STERNA_OK;
}

int sterna_fetcher_open(sterna_fetcher **out, sterna_store *store,
                        const struct sterna_fetcher_options *options, struct sterna_error *err) {
    struct sterna_store_info info;
    struct sterna_field fields[STN_FIELDS_MAX];
    struct stn_fetcher_env env = {.flight = {stn_clock_monotonic(), stn_store_source_open, store},
                                  .fields = fields};
    stn_error_clear(err);
    *out = NULL;
    int rc = stn_store_facts(store, &info, err);
    if (rc < 0) return rc;
    env.n_fields = STN_MIN(info.n_fields, (uint32_t)STN_FIELDS_MAX);
    for (uint32_t i = 0; i < env.n_fields; i++) sterna_store_field(store, i, &fields[i]);
    rc = stn_fetcher_open(out, &env, options, err);
    if (rc < 0) return rc;
    (*out)->store = stn_store_retain(store);
    rc = open_lookup(*out, err);
    if (rc < 0) sterna_fetcher_close(out);
    return rc;
}

/* ---- close ---- */

static void free_submissions(struct stn_submissions *list) {
    for (struct stn_submission *s; (s = list->first);) {
        stn_submissions_remove(list, s);
        stn_submission_free(&s);
    }
}

/* A child of the process that opened it has neither its threads nor their locks: it only lets go.
 */
void sterna_fetcher_close(sterna_fetcher **out) {
    sterna_fetcher *f = *out;
    *out = NULL;
    if (!f || f->pid != getpid()) return;
    if (f->has_thread) {
        pthread_mutex_lock(&f->lock);
        f->stopping = 1;
        pthread_mutex_unlock(&f->lock);
        stn_waker_wake(&f->waker);
        pthread_join(f->thread, NULL);
    }
    stn_flight_stop(&f->flight);
    free_submissions(&f->under_way);
    free_submissions(&f->settled);
    free_submissions(&f->ready);
    stn_pool_close(&f->flight.pool);
    stn_lookup_close(&f->lookup);
    stn_schema_release(&f->schema);
    sterna_store_close(&f->store);
    pthread_cond_destroy(&f->changed);
    pthread_mutex_destroy(&f->lock);
    stn_waker_fini(&f->waker);
    close(f->ready_fd);
    free(f);
}
