#include "support/check.h"

#include <string.h>

#include "base/philox.h"
#include "catalog/selection.h"
#include "support/sim.h"

#define BUFFERS_AHEAD 5
#define BUFFER_BYTES ((size_t)100 << 10)

int sim_gives_buffers;

struct sim_event {
    uint64_t at_ns, ticket, index;
    struct sim_answer answer;
    int canceled;
    struct sim_event *next;
};

struct sim_source {
    struct stn_source base;
    struct sim *sim;
    struct stn_sink *sink;
};

static uint64_t sim_now(struct stn_clock *clock) {
    struct sim *sim = STN_OUTER(clock, struct sim, clock);
    uint64_t now_ns = sim->now_ns;
    if (sim->verifying) sim->now_ns += sim->verify_ns;
    return now_ns;
}

uint64_t sim_draw(const struct sim *sim, uint64_t a, uint64_t b, uint64_t n) {
    struct stn_philox r = stn_philox4x32(
        (struct stn_philox){{(uint32_t)a, (uint32_t)(a >> 32), (uint32_t)b, 77}}, sim->seed, 1);
    return stn_bounded((uint64_t)r.v[0] << 32 | r.v[1], n);
}

static struct sim_answer answer_soon(struct sim *sim, uint64_t index, unsigned attempt) {
    (void)sim, (void)index, (void)attempt;
    return (struct sim_answer){SIM_OK, STN_NS_PER_MS, 0};
}
static uint64_t length_1000(uint64_t index) {
    (void)index;
    return 1000;
}

void sim_init(struct sim *sim, uint64_t n) {
    *sim = (struct sim){.clock = {sim_now},
                        .now_ns = STN_NS_PER_S,
                        .answer = answer_soon,
                        .length = length_1000,
                        .ahead_bytes = 1 << 20,
                        .n = n};
    sim->attempts = stn_array(n, sizeof *sim->attempts);
}

/* The id carries the index, so that the source knows what is asked for. */
static void id_of(uint64_t index, uint8_t id[16]) {
    memset(id, 0xC3, 16);
    memcpy(id, &index, sizeof index);
}
static uint8_t byte_of(uint64_t index, uint64_t i) {
    return (uint8_t)(index * 131 + i * 7 + (i >> 8));
}

void sim_make_selection(struct sim *sim) {
    static const uint8_t dataset_id[16] = {1};
    struct stn_selection_spec spec = {.dataset_id = dataset_id, .run = 1, .n_fields = 1};
    struct stn_selection_builder *b;
    assert_ok(stn_selection_builder_open(&b, NULL, &spec, NULL));
    for (uint64_t i = 0; i < sim->n; i++) {
        uint8_t id[16];
        uint32_t length = sim->lengths_unknown ? STERNA_LENGTH_UNKNOWN : (uint32_t)sim->length(i);
        id_of(i, id);
        assert_ok(stn_selection_builder_add(
            b, id, &length, sim->labels_beside ? STERNA_LABEL_NONE : (int64_t)(i % 10), NULL,
            NULL));
    }
    assert_ok(stn_selection_builder_finish(b, NULL, &sim->selection, NULL));
    stn_selection_builder_close(&b);
}

void sim_fini(struct sim *sim) {
    assert_null(sim->source); /* the loader was closed */
    sterna_selection_close(&sim->selection);
    lender_fini(&sim->lender);
    free(sim->attempts);
}

static void add_event(struct sim *sim, struct sim_event event) {
    struct sim_event *e = stn_array(1, sizeof *e), **at = &sim->events;
    *e = event;
    while (*at && (*at)->at_ns <= e->at_ns) at = &(*at)->next;
    e->next = *at;
    *at = e;
}

static int take_requests(struct stn_source *base, const struct stn_request *requests, size_t n) {
    struct sim *sim = ((struct sim_source *)(void *)base)->sim;
    if (sim->n_refusals > 0) {
        sim->n_refusals--;
        return STERNA_ENOMEM;
    }
    for (size_t i = 0; i < n; i++) {
        uint64_t index;
        memcpy(&index, requests[i].id, sizeof index);
        struct sim_answer a = sim->answer(sim, index, ++sim->attempts[index]);
        uint64_t at =
            a.kind == SIM_NEVER || a.kind == SIM_DEAF ? UINT64_MAX : sim->now_ns + a.delay_ns;
        add_event(sim, (struct sim_event){at, requests[i].ticket, index, a, 0, NULL});
        if (a.kind == SIM_TWICE)
            add_event(sim, (struct sim_event){at + 3 * STN_NS_PER_MS, requests[i].ticket, index, a,
                                              0, NULL});
        sim->n_requests++;
    }
    return STERNA_OK;
}

static void sim_cancel(struct stn_source *base, uint64_t ticket) {
    struct sim_source *s = (struct sim_source *)(void *)base;
    for (struct sim_event *e = s->sim->events; e; e = e->next) {
        if (e->ticket != ticket || e->canceled) continue;
        e->canceled = 1;
        if (e->answer.kind != SIM_DEAF && e->answer.kind != SIM_LATE)
            stn_sink_complete(s->sink, ticket, STERNA_ECANCELED, NULL);
    }
    stn_sink_flush(s->sink);
}

static void sim_close(struct stn_source *base) {
    struct sim_source *s = (struct sim_source *)(void *)base;
    for (struct sim_event *e = s->sim->events, *next; e; e = next) {
        next = e->next;
        free(e);
    }
    s->sim->events = NULL;
    s->sim->source = NULL;
    free(s);
}

static void sim_path(struct stn_source *base, struct sterna_path *out) {
    struct sim *sim = ((struct sim_source *)(void *)base)->sim;
    *out = (struct sterna_path){.received_bytes = sim->answered_bytes, .nodes = 1};
    sim->path(sim, out);
}

static const struct sterna_field image = {"image", STERNA_KIND_IMAGE, 0};
static const struct stn_source_ops ops = {take_requests, sim_cancel, sim_close, sim_path};
static const struct stn_source_ops local_ops = {take_requests, sim_cancel, sim_close, NULL};

static int open_source(void *ctx, struct stn_source **out, struct stn_sink *sink,
                       const struct stn_source_options *options, struct sterna_error *err) {
    (void)options;
    struct sim *sim = ctx;
    struct sim_source *s = calloc(1, sizeof *s);
    if (!s) return stn_fail_memory(err, "simulation");
    s->base = (struct stn_source){.ops = sim->path ? &ops : &local_ops,
                                  .ahead_bytes = sim->ahead_bytes,
                                  .timeout_ms = sim->timeout_ms};
    s->sim = sim;
    s->sink = sink;
    sim->source = s;
    *out = &s->base;
    return STERNA_OK;
}

struct sterna_loader_options sim_options(void) {
    struct sterna_loader_options o;
    sterna_loader_options_init(&o);
    o.batch_size = 16;
    o.seed = 7;
    o.memory_bytes = 4 << 20;
    return o;
}

static void give(struct sim *sim, sterna_loader *loader) {
    if (sim_gives_buffers && stn_loader_is_strict(loader) && !sim->lengths_unknown)
        assert_ok(lender_give(&sim->lender, loader, BUFFER_BYTES));
}

int sim_open(struct sim *sim, sterna_loader **out, const struct sterna_loader_options *options,
             struct sterna_error *err) {
    struct stn_loader_env env = {
        .flight = {&sim->clock, open_source, sim}, .stepped = 1, .fields = &image, .n_fields = 1};
    int rc = stn_loader_open(out, &env, sim->selection, options, err);
    for (int i = 0; i < BUFFERS_AHEAD && rc == STERNA_OK; i++) give(sim, *out);
    return rc;
}

static void deliver(struct sim *sim, const struct sim_event *e) {
    struct stn_sink *sink = sim->source->sink;
    uint8_t id[16], *to, *bytes = NULL;
    uint64_t length = sim->length(e->index);
    sim->n_answers++;
    if (e->answer.kind == SIM_FAIL) {
        stn_sink_complete(sink, e->ticket, e->answer.code, "scripted failure");
        return;
    }
    bytes = stn_array(length, 1);
    for (uint64_t i = 0; i < length; i++) bytes[i] = byte_of(e->index, i);
    uint32_t crc = stn_crc32c(0, bytes, length);
    id_of(e->answer.kind == SIM_WRONG_KEY ? e->index + 1 : e->index, id);
    int rc = stn_sink_place(sink, e->ticket, 0, id, length, sim->unchecked ? 0 : crc, &to);
    if (sim->labels_beside) stn_sink_label(sink, e->ticket, (int64_t)(e->index % 10));
    if (rc == STERNA_OK && sim->unchecked) stn_sink_unchecked(sink, e->ticket, 0);
    if (rc == STERNA_OK) {
        memcpy(to, bytes, length);
        if (e->answer.kind == SIM_CORRUPT && length) to[length / 2] ^= 4;
    }
    uint64_t done_ns = sim->now_ns + sim->verify_ns;
    sim->verifying = 1;
    stn_sink_complete(sink, e->ticket, rc, NULL);
    sim->verifying = 0;
    sim->now_ns = done_ns;
    sim->answered_bytes += length;
    free(bytes);
}

void sim_deliver(struct sim *sim) {
    for (struct sim_event *e; (e = sim->events) && e->at_ns <= sim->now_ns;) {
        sim->events = e->next;
        deliver(sim, e);
        free(e);
    }
}

uint64_t sim_next_event_ns(const struct sim *sim) {
    return sim->events ? sim->events->at_ns : UINT64_MAX;
}

int sim_advance(struct sim *sim, sterna_loader *loader) {
    sim_deliver(sim);
    uint64_t wake_ns = stn_loader_step(loader);
    uint64_t next_ns = STN_MIN(wake_ns, sim_next_event_ns(sim));
    if (next_ns == UINT64_MAX) return 0;
    sim->now_ns = STN_MAX(sim->now_ns, next_ns);
    return 1;
}

int sim_next(struct sim *sim, sterna_loader *loader, sterna_batch **out, struct sterna_error *err) {
    for (;;) {
        int rc = sterna_loader_next(loader, out, 0, err);
        if (rc == STERNA_OK) give(sim, loader);
        if (rc != STERNA_AGAIN) return rc;
        if (sim_advance(sim, loader)) continue;
        rc = sterna_loader_next(loader, out, 0, err);
        if (rc == STERNA_AGAIN) fail_msg("the loader hangs: nothing is left to happen");
        return rc;
    }
}

/* ---- a fetcher ---- */

struct sterna_fetcher_options sim_fetcher_options(void) {
    struct sterna_fetcher_options o;
    sterna_fetcher_options_init(&o);
    o.memory_bytes = 4 << 20;
    return o;
}

static int look_up(void *ctx, const uint8_t (*ids)[16], size_t n, int64_t *labels,
                   uint32_t *lengths, struct sterna_error *err) {
    struct sim *sim = ctx;
    if (sim->n_failed_lookups > 0) {
        sim->n_failed_lookups--;
        return stn_fail(err, STERNA_EIO, "scripted catalogue");
    }
    for (size_t i = 0; i < n; i++) {
        uint64_t index;
        memcpy(&index, ids[i], sizeof index);
        labels[i] = sim->labels_beside ? STERNA_LABEL_NONE : (int64_t)(index % 10);
        lengths[i] = sim->lengths_unknown ? STERNA_LENGTH_UNKNOWN : (uint32_t)sim->length(index);
    }
    return STERNA_OK;
}

int sim_fetcher_open(struct sim *sim, sterna_fetcher **out,
                     const struct sterna_fetcher_options *options, struct sterna_error *err) {
    struct stn_fetcher_env env = {.flight = {&sim->clock, open_source, sim},
                                  .stepped = 1,
                                  .fields = &image,
                                  .n_fields = 1,
                                  .look_up = look_up,
                                  .look_up_ctx = sim};
    return stn_fetcher_open(out, &env, options, err);
}

int sim_submit(struct sim *sim, sterna_fetcher *f, const uint64_t *indices, size_t n,
               uint64_t *ticket, struct sterna_error *err) {
    (void)sim;
    uint8_t(*ids)[16] = stn_array(n, sizeof *ids);
    for (size_t i = 0; i < n; i++) id_of(indices[i], ids[i]);
    int rc = sterna_submit(f, (const uint8_t(*)[16])ids, n, ticket, err);
    free(ids);
    return rc;
}

int sim_fetcher_advance(struct sim *sim, sterna_fetcher *f) {
    sim_deliver(sim);
    uint64_t wake_ns = stn_fetcher_step(f);
    uint64_t next_ns = STN_MIN(wake_ns, sim_next_event_ns(sim));
    if (next_ns == UINT64_MAX) return 0;
    sim->now_ns = STN_MAX(sim->now_ns, next_ns);
    return 1;
}

int sim_poll(struct sim *sim, sterna_fetcher *f, uint64_t *ticket, sterna_batch **out,
             struct sterna_error *err) {
    for (;;) {
        int rc = sterna_poll(f, ticket, out, 0, err);
        if (rc != STERNA_AGAIN) return rc;
        if (sim_fetcher_advance(sim, f)) continue;
        rc = sterna_poll(f, ticket, out, 0, err);
        if (rc == STERNA_AGAIN) fail_msg("the fetcher hangs: nothing is left to happen");
        return rc;
    }
}

/* ---- what came ---- */

static void check_row(const struct sim *sim, const struct sterna_field_view *view, uint32_t row,
                      uint64_t index) {
    assert_int_equal(view->bytes[row], sim->length(index));
    assert_int_equal((uintptr_t)view->data[row] % 64, 0);
    for (uint64_t i = 0; i < view->bytes[row]; i++)
        if (view->data[row][i] != byte_of(index, i))
            fail_msg("sample %llu, byte %llu", (unsigned long long)index, (unsigned long long)i);
    if (view->base) assert_ptr_equal(view->data[row], view->base + view->offsets[row]);
}

void sim_check_fetched(const struct sim *sim, const sterna_batch *b, const uint64_t *indices,
                       size_t n) {
    struct sterna_batch_info info;
    struct sterna_field_view view;
    uint64_t n_valid = 0, n_bytes = 0;
    sterna_batch_info(b, &info);
    assert_ok(sterna_batch_field(b, 0, &view));
    assert_int_equal(info.n_rows, n);
    for (uint32_t row = 0; row < n; row++) {
        uint8_t id[16];
        id_of(indices[row], id);
        int valid = sterna_batch_valid(b)[row];
        assert_memory_equal(sterna_batch_ids(b)[row], id, 16);
        assert_int_equal(sterna_batch_index(b)[row], row);
        assert_int_equal(valid, sterna_batch_errors(b)[row] == STERNA_OK);
        if (!valid && sim->labels_beside)
            assert_true(sterna_batch_labels(b)[row] == STERNA_LABEL_NONE);
        else
            assert_int_equal(sterna_batch_labels(b)[row], indices[row] % 10);
        n_valid += (uint64_t)valid;
        n_bytes += view.bytes[row];
        if (valid) {
            check_row(sim, &view, row, indices[row]);
            assert_string_equal(sterna_batch_reason(b, row), "");
        } else {
            assert_null(view.data[row]);
            assert_int_equal(view.bytes[row], 0);
            assert_true(sterna_batch_reason(b, row)[0] != 0);
        }
    }
    assert_int_equal(info.n_valid, n_valid);
    assert_int_equal(info.n_bytes, n_bytes);
}

void sim_check_batch(const struct sim *sim, const sterna_batch *b, unsigned *seen) {
    struct sterna_batch_info info;
    struct sterna_field_view view;
    sterna_batch_info(b, &info);
    assert_ok(sterna_batch_field(b, 0, &view));
    for (uint32_t row = 0; row < info.n_rows; row++) {
        uint64_t index = sterna_batch_index(b)[row];
        assert_true(index < sim->n);
        assert_int_equal(sterna_batch_labels(b)[row], index % 10);
        if (!sterna_batch_valid(b)[row]) continue;
        if (!sterna_batch_errors(b)[row]) seen[index]++;
        check_row(sim, &view, row, index);
    }
}
