/* Owns the state record, its bytes, and the merging of ranks. Files are in state_file.c. */
#include "request/state.h"

#include <string.h>

#include "base/base.h"
#include "base/bytes.h"

static const char magic[8] = {'S', 'T', 'R', 'N', 'S', 'T', 'A', 'T'};

static uint64_t *word_of(struct stn_delivered *d, uint64_t row) {
    return &d->words[row / 64 % STN_WINDOW_WORDS];
}

int stn_delivered_has(const struct stn_delivered *d, uint64_t row) {
    if (row < d->watermark) return 1;
    if (row - d->watermark >= STN_WINDOW_ROWS) return 0;
    return (int)(d->words[row / 64 % STN_WINDOW_WORDS] >> (row % 64) & 1);
}

int stn_delivered_add(struct stn_delivered *d, uint64_t row) {
    if (stn_delivered_has(d, row)) return 0;
    *word_of(d, row) |= UINT64_C(1) << (row % 64);
    while (*word_of(d, d->watermark) >> (d->watermark % 64) & 1) {
        *word_of(d, d->watermark) &= ~(UINT64_C(1) << (d->watermark % 64));
        d->watermark++;
    }
    return 1;
}

void stn_state_fini(struct stn_state *s) { stn_holes_fini(&s->holes); }

/* Words from the watermark's word on, up to the last that is not zero. */
static uint32_t used_words(const struct stn_delivered *d) {
    uint64_t first = d->watermark / 64;
    uint32_t used = 0;
    for (uint32_t i = 0; i < STN_WINDOW_WORDS; i++)
        if (d->words[(first + i) % STN_WINDOW_WORDS]) used = i + 1;
    return used;
}

size_t stn_state_encode(const struct stn_state *s, void *buf, size_t cap) {
    struct stn_writer w = {buf, cap, 0};
    uint32_t row_words = used_words(&s->delivered);
    stn_put_bytes(&w, magic, sizeof magic);
    stn_put_u16(&w, STN_STATE_VERSION);
    stn_put_u16(&w, STN_PLAN_VERSION);
    stn_put_u8(&w, (uint8_t)s->order);
    stn_put_u8(&w, (uint8_t)s->uneven);
    stn_put_u8(&w, s->shuffle ? 1 : 0);
    stn_put_u8(&w, 0);
    stn_put_u64(&w, s->seed);
    stn_put_u64(&w, s->epoch);
    stn_put_u64(&w, s->n);
    stn_put_bytes(&w, s->selection_hash, sizeof s->selection_hash);
    stn_put_u32(&w, s->batch_size);
    stn_put_u32(&w, s->rank);
    stn_put_u32(&w, s->world_size);
    stn_put_u64(&w, s->base);
    stn_put_u64(&w, s->base_step);
    stn_put_u64(&w, s->step);
    stn_put_u64(&w, s->delivered.watermark);
    stn_put_u32(&w, (uint32_t)s->holes.n_words);
    stn_put_u32(&w, row_words);
    for (uint64_t i = 0; i < s->holes.n_words; i++) stn_put_u64(&w, s->holes.words[i]);
    for (uint64_t i = 0; i < row_words; i++)
        stn_put_u64(&w, s->delivered.words[(s->delivered.watermark / 64 + i) % STN_WINDOW_WORDS]);
    if (w.used + 4 <= cap)
        stn_put_u32(&w, stn_crc32c(0, buf, w.used));
    else
        w.used += 4;
    return w.used;
}

/* No hole may lie past the epoch's end: positions are computed from them. */
static int holes_inside(const struct stn_state *s) {
    uint64_t last = s->holes.n_words;
    while (last > 0 && s->holes.words[last - 1] == 0) last--;
    if (last == 0) return 1;
    uint64_t bits = last * 64 - (uint64_t)__builtin_clzll(s->holes.words[last - 1]);
    return bits <= s->n - s->base;
}

/* Numbers that a damaged or foreign state could carry past the checksum are checked here once. */
static int plausible(const struct stn_state *s) {
    uint64_t row_bits = 0;
    for (size_t i = 0; i < STN_WINDOW_WORDS; i++) row_bits |= s->delivered.words[i];
    return s->order <= STERNA_ORDER_ARRIVAL && s->uneven <= STERNA_UNEVEN_EXACT &&
           s->batch_size > 0 && s->world_size > 0 && s->rank < s->world_size && s->base <= s->n &&
           holes_inside(s) && s->delivered.watermark <= s->n &&
           (row_bits == 0 || s->order == STERNA_ORDER_ARRIVAL || s->world_size > 1);
}

static int decode_words(struct stn_state *s, struct stn_cursor *c, uint32_t hole_words,
                        uint32_t row_words, struct sterna_error *err) {
    if (hole_words) {
        uint64_t *words = stn_array(hole_words, sizeof *words);
        if (!words) return stn_fail_memory(err, "state");
        for (uint32_t i = 0; i < hole_words; i++) words[i] = stn_get_u64(c);
        if (stn_holes_init(&s->holes, words, hole_words) < 0) return stn_fail_memory(err, "state");
    }
    for (uint64_t i = 0; i < row_words; i++)
        s->delivered.words[(s->delivered.watermark / 64 + i) % STN_WINDOW_WORDS] = stn_get_u64(c);
    return STERNA_OK;
}

int stn_state_decode(struct stn_state *s, const void *buf, size_t bytes, struct sterna_error *err) {
    struct stn_cursor c = stn_cursor(buf, bytes);
    *s = (struct stn_state){0};
    const uint8_t *found = stn_get_bytes(&c, sizeof magic);
    if (!found || memcmp(found, magic, sizeof magic) != 0)
        return stn_fail(err, STERNA_EFORMAT, "this is no sterna state (%zu bytes)", bytes);
    unsigned version = stn_get_u16(&c), plan_version = stn_get_u16(&c);
    if (!c.overrun && (version != STN_STATE_VERSION || plan_version != STN_PLAN_VERSION))
        return stn_fail(err, STERNA_EFORMAT,
                        "state has version %u with plan version %u, this program reads %d with %d: "
                        "use the version that wrote it",
                        version, plan_version, STN_STATE_VERSION, STN_PLAN_VERSION);
    if (bytes < 4 || c.overrun) return stn_fail(err, STERNA_EFORMAT, "state is cut short");
    struct stn_cursor tail = stn_cursor((const uint8_t *)buf + bytes - 4, 4);
    if (stn_get_u32(&tail) != stn_crc32c(0, buf, bytes - 4))
        return stn_fail(err, STERNA_EFORMAT, "state is damaged or cut short: its checksum differs");
    s->order = stn_get_u8(&c);
    s->uneven = stn_get_u8(&c);
    s->shuffle = stn_get_u8(&c);
    stn_get_u8(&c);
    s->seed = stn_get_u64(&c);
    s->epoch = stn_get_u64(&c);
    s->n = stn_get_u64(&c);
    const uint8_t *hash = stn_get_bytes(&c, sizeof s->selection_hash);
    if (hash) memcpy(s->selection_hash, hash, sizeof s->selection_hash);
    s->batch_size = stn_get_u32(&c);
    s->rank = stn_get_u32(&c);
    s->world_size = stn_get_u32(&c);
    s->base = stn_get_u64(&c);
    s->base_step = stn_get_u64(&c);
    s->step = stn_get_u64(&c);
    s->delivered.watermark = stn_get_u64(&c);
    uint32_t hole_words = stn_get_u32(&c), row_words = stn_get_u32(&c);
    int fits = !c.overrun && row_words <= STN_WINDOW_WORDS &&
               c.left == ((uint64_t)hole_words + row_words) * 8 + 4;
    int rc = fits ? decode_words(s, &c, hole_words, row_words, err) : STERNA_EFORMAT;
    if (rc == STERNA_OK && !plausible(s)) rc = STERNA_EFORMAT;
    if (rc == STERNA_EFORMAT) stn_fail(err, rc, "state contradicts itself");
    if (rc < 0) stn_state_fini(s);
    return rc;
}

void stn_state_plan(const struct stn_state *s, struct stn_plan *plan) {
    stn_plan_init(plan, &(struct stn_plan_spec){.n = s->n,
                                                .seed = s->seed,
                                                .epoch = s->epoch,
                                                .shuffle = s->shuffle,
                                                .batch_size = s->batch_size,
                                                .rank = s->rank,
                                                .world_size = s->world_size,
                                                .uneven = s->uneven,
                                                .base = s->base,
                                                .holes = &s->holes});
}

int stn_state_finished(const struct stn_state *s) {
    struct stn_plan plan;
    stn_state_plan(s, &plan);
    return s->step >= plan.n_steps;
}

/* ---- merging ---- */

static int same_part(const struct stn_state *a, const struct stn_state *b) {
    return a->seed == b->seed && a->epoch == b->epoch && a->n == b->n &&
           memcmp(a->selection_hash, b->selection_hash, sizeof a->selection_hash) == 0 &&
           a->shuffle == b->shuffle && a->uneven == b->uneven && a->batch_size == b->batch_size &&
           a->world_size == b->world_size && a->base == b->base && a->base_step == b->base_step &&
           a->holes.n_words == b->holes.n_words &&
           (a->holes.n_words == 0 ||
            memcmp(a->holes.words, b->holes.words, a->holes.n_words * sizeof *a->holes.words) == 0);
}

/* Nothing here may take memory by the world's size: a state can claim any. */
static int check_ranks(const struct stn_state *states, size_t n, struct sterna_error *err) {
    const struct stn_state *first = &states[0];
    for (size_t i = 0; i < n; i++) {
        const struct stn_state *s = &states[i];
        if (!same_part(first, s))
            return stn_fail(
                err, STERNA_EMISMATCH,
                "states of ranks %u and %u are not of one run: epochs %llu and %llu, world "
                "sizes %u and %u; save all ranks at the same step",
                first->rank, s->rank, (unsigned long long)first->epoch,
                (unsigned long long)s->epoch, first->world_size, s->world_size);
        for (size_t k = 0; k < i; k++)
            if (states[k].rank == s->rank)
                return stn_fail(err, STERNA_EMISMATCH, "two states of rank %u of %u", s->rank,
                                s->world_size);
    }
    return STERNA_OK;
}

/* Does the step alone say which rows were delivered? Not where arrival order went before. */
static int is_in_step(const struct stn_state *s) {
    return s->order == STERNA_ORDER_STRICT && used_words(&s->delivered) == 0 &&
           (stn_state_finished(s) || s->delivered.watermark == s->step * s->batch_size);
}

/* In strict order all ranks are at the same step, so that one of them knows for all. */
static int speaks_for_all(const struct stn_state *s) { return s->world_size == 1 || is_in_step(s); }

static int turn_delivered(const struct stn_state *const *by_rank, const struct stn_state *only,
                          uint64_t turn) {
    if (only) return turn < only->delivered.watermark * only->world_size;
    const struct stn_state *s = by_rank[turn % by_rank[0]->world_size];
    return stn_delivered_has(&s->delivered, turn / s->world_size);
}

static void set_bit(uint64_t *words, uint64_t bit) { words[bit / 64] |= UINT64_C(1) << (bit % 64); }

/* Fills out->base and out->holes from the union of old holes and delivered turns; turns below
 * `from` are all delivered, those from `to` on are not. */
static int collect(struct stn_state *out, const struct stn_state *s, const struct stn_plan *plan,
                   const struct stn_state *const *by_rank, const struct stn_state *only,
                   uint64_t from, uint64_t to) {
    while (from < to && turn_delivered(by_rank, only, from)) from++;
    if (from == plan->n_turns) {
        out->base = s->n;
        return STERNA_OK;
    }
    out->base = stn_plan_position(plan, from);
    uint64_t end = to > from ? stn_plan_position(plan, to - 1) + 1 : out->base;
    end = STN_MAX(end, STN_MIN(s->base + s->holes.n_words * 64, s->n));
    if (end <= out->base) return STERNA_OK;
    uint64_t n_words = (end - out->base + 63) / 64;
    uint64_t *words = stn_array(n_words, sizeof *words);
    if (!words) return STERNA_ENOMEM;
    for (uint64_t i = 0; i < s->holes.n_words * 64; i++)
        if ((s->holes.words[i / 64] >> (i % 64) & 1) && s->base + i >= out->base)
            set_bit(words, s->base + i - out->base);
    for (uint64_t turn = from; turn < to; turn++)
        if (turn_delivered(by_rank, only, turn))
            set_bit(words, stn_plan_position(plan, turn) - out->base);
    while (n_words > 0 && words[n_words - 1] == 0) n_words--;
    if (n_words > 0) return stn_holes_init(&out->holes, words, n_words);
    free(words);
    return STERNA_OK;
}

int stn_state_merge(struct stn_state *out, const struct stn_state *states, size_t n,
                    struct sterna_error *err) {
    *out = (struct stn_state){0};
    if (n == 0) return stn_fail(err, STERNA_EINVAL, "no states to merge");
    const struct stn_state *s = &states[0];
    int rc = check_ranks(states, n, err);
    if (rc < 0) return rc;
    const struct stn_state *only = n == 1 && s->world_size > 1 && speaks_for_all(s) ? s : NULL;
    if (n != s->world_size && !only)
        return stn_fail(err, STERNA_EMISMATCH,
                        "%zu of %u ranks' states: merge the states of all ranks first", n,
                        s->world_size);
    *out = (struct stn_state){.seed = s->seed,
                              .epoch = s->epoch,
                              .n = s->n,
                              .shuffle = s->shuffle,
                              .order = s->order,
                              .uneven = s->uneven,
                              .batch_size = s->batch_size,
                              .world_size = 1};
    memcpy(out->selection_hash, s->selection_hash, sizeof out->selection_hash);

    const struct stn_state **by_rank = stn_array(n, sizeof *by_rank); /* all ranks, or `only` */
    if (!by_rank) return stn_fail_memory(err, "ranks");
    struct stn_plan plan;
    stn_state_plan(s, &plan);
    uint64_t from = UINT64_MAX, to = 0, step = 0;
    int finished = 1;
    for (size_t i = 0; i < n; i++) {
        const struct stn_delivered *d = &states[i].delivered;
        if (!only) by_rank[states[i].rank] = &states[i];
        from = STN_MIN(from, d->watermark);
        to = STN_MAX(to, d->watermark + (uint64_t)used_words(d) * 64);
        step = STN_MAX(step, states[i].step);
        finished = finished && stn_state_finished(&states[i]);
    }
    from = STN_MIN(from * s->world_size, plan.n_turns);
    to = STN_MIN(to * s->world_size, plan.n_turns);
    out->base_step = s->base_step + step;
    if (!finished) rc = collect(out, s, &plan, by_rank, only, from, to);
    free(by_rank);
    if (finished || out->base == s->n) {
        out->epoch++;
        out->base = out->base_step = 0;
    }
    return rc < 0 ? stn_fail_memory(err, "merged state") : STERNA_OK;
}

int stn_state_set_step(struct stn_state *s, uint64_t step, struct sterna_error *err) {
    struct stn_plan plan;
    stn_state_plan(s, &plan);
    if (!is_in_step(s))
        return stn_fail(err, STERNA_EINVAL,
                        "a state of arrival order knows no other steps than its own: save the "
                        "state of the batch");
    if (step < s->base_step || step - s->base_step > plan.n_steps)
        return stn_fail(err, STERNA_EINVAL,
                        "step %llu: this state can tell of steps %llu to %llu of epoch %llu",
                        (unsigned long long)step, (unsigned long long)s->base_step,
                        (unsigned long long)(s->base_step + plan.n_steps),
                        (unsigned long long)s->epoch);
    s->step = step - s->base_step;
    s->delivered.watermark = STN_MIN(s->step * s->batch_size, plan.n_rows);
    return STERNA_OK;
}

/* ---- public ---- */

int sterna_state_info(const void *state, size_t bytes, struct sterna_state_info *out,
                      struct sterna_error *err) {
    struct stn_state s;
    stn_error_clear(err);
    *out = (struct sterna_state_info){0};
    int rc = stn_state_decode(&s, state, bytes, err);
    if (rc < 0) return rc;
    struct stn_plan plan;
    stn_state_plan(&s, &plan);
    *out = (struct sterna_state_info){.plan_version = STN_PLAN_VERSION,
                                      .seed = s.seed,
                                      .epoch = s.epoch,
                                      .n = s.n,
                                      .batch_size = s.batch_size,
                                      .rank = s.rank,
                                      .world_size = s.world_size,
                                      .order = s.order,
                                      .uneven = s.uneven,
                                      .shuffle = s.shuffle,
                                      .step = s.base_step + s.step,
                                      .base_step = s.base_step,
                                      .steps = s.base_step + plan.n_steps,
                                      .finished = s.step >= plan.n_steps};
    memcpy(out->selection_hash, s.selection_hash, sizeof out->selection_hash);
    out->delivered = s.base + s.holes.n_set + s.delivered.watermark;
    for (size_t i = 0; i < STN_WINDOW_WORDS; i++)
        out->delivered += (uint64_t)__builtin_popcountll(s.delivered.words[i]);
    stn_state_fini(&s);
    return STERNA_OK;
}

static int hand_out(const struct stn_state *s, void *out, size_t cap, size_t *size,
                    struct sterna_error *err) {
    *size = stn_state_encode(s, out, cap);
    if (*size <= cap) return STERNA_OK;
    return stn_fail(err, STERNA_EINVAL, "the state needs %zu bytes, there is room for %zu", *size,
                    cap);
}

int sterna_state_at_step(const void *state, size_t bytes, uint64_t step, void *out, size_t cap,
                         size_t *size, struct sterna_error *err) {
    struct stn_state s;
    stn_error_clear(err);
    *size = 0;
    int rc = stn_state_decode(&s, state, bytes, err);
    if (rc < 0) return rc;
    rc = stn_state_set_step(&s, step, err);
    if (rc == STERNA_OK) rc = hand_out(&s, out, cap, size, err);
    stn_state_fini(&s);
    return rc;
}

int sterna_states_merge(const void *const *states, const size_t *bytes, size_t n, void *out,
                        size_t cap, size_t *size, struct sterna_error *err) {
    stn_error_clear(err);
    *size = 0;
    struct stn_state merged = {0}, *all = stn_array(n, sizeof *all);
    if (!all) return stn_fail_memory(err, "states");
    int rc = STERNA_OK;
    for (size_t i = 0; i < n && rc == STERNA_OK; i++)
        rc = stn_state_decode(&all[i], states[i], bytes[i], err);
    if (rc == STERNA_OK) rc = stn_state_merge(&merged, all, n, err);
    if (rc == STERNA_OK) rc = hand_out(&merged, out, cap, size, err);
    stn_state_fini(&merged);
    for (size_t i = 0; i < n; i++) stn_state_fini(&all[i]);
    free(all);
    return rc;
}
