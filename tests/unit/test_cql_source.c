/* A cluster's reading side over tables in memory: what each kind of row, and each wrong answer,
 * becomes at the sink. */
#include "support/check.h"

#include <stdio.h>
#include <string.h>

#include "base/waker.h"
#include "fake/session.h"
#include "slot/sink.h"
#include "source/cql_source.h"
#include "source/values.h"

#define MIB ((size_t)1 << 20)
#define N_SLOTS 2048

static struct fake fake;
static struct stn_cassandra cassandra;
static struct stn_pool *pool;
static struct stn_sink sink;
static struct stn_waker waker;
static struct stn_source *source;
static struct stn_values *values;
static const uint8_t both[] = {0, 3};

static void wake(void *ctx) { stn_waker_wake(ctx); }

static void open_source(uint32_t n_fields) {
    struct stn_source_options o = {.fields = both, .n_fields = n_fields};
    struct sterna_error err = {0};
    assert_ok(stn_sink_init(&sink, N_SLOTS, n_fields, pool, wake, &waker));
    if (stn_cql_source_open(&source, &cassandra, &sink, &o, &err) < 0) fail_msg("%s", err.message);
}

static int begin(void **state) {
    (void)state;
    fake_open(&fake);
    fake_dataset(&fake, &cassandra, 2);
    assert_ok(stn_waker_init(&waker));
    assert_ok(stn_pool_open(&pool, 256 * MIB, NULL, NULL, NULL));
    assert_ok(stn_cql_values_open(&values, &cassandra, 1000, NULL));
    return 0;
}

static int end(void **state) {
    (void)state;
    values->ops->close(values);
    if (source) source->ops->close(source);
    source = NULL;
    stn_sink_fini(&sink);
    stn_pool_close(&pool);
    stn_waker_fini(&waker);
    pthread_mutex_destroy(&cassandra.lock);
    fake_close(&fake);
    return 0;
}

/* ---- samples ---- */

static const uint8_t *id_of(uint32_t n) {
    static uint8_t id[16];
    memset(id, 0xA5, sizeof id);
    memcpy(id, &n, sizeof n);
    return id;
}

static uint8_t byte_of(uint32_t n, size_t i) { return (uint8_t)(n * 37 + i * 11 + (i >> 9)); }

static void store(uint32_t n, uint8_t field, size_t bytes) {
    uint8_t *data = malloc(bytes + 1);
    struct sterna_error err = {0};
    for (size_t i = 0; i < bytes; i++) data[i] = byte_of(n + field, i);
    int rc =
        values->ops->put(values, id_of(n), field, data, bytes, stn_crc32c(0, data, bytes), &err);
    if (rc < 0) fail_msg("%s", err.message);
    free(data);
}

static void commit(void) {
    struct sterna_error err = {0};
    if (values->ops->commit(values, &err) < 0) fail_msg("%s", err.message);
}

static uint64_t ask_expecting(uint32_t n, uint32_t n_fields, uint64_t expected_bytes) {
    struct stn_request r = {.fields = both, .n_fields = n_fields, .expected_bytes = expected_bytes};
    struct stn_slot *slot = stn_sink_open_slot(&sink, &r.ticket);
    assert_non_null(slot);
    memcpy(slot->id, id_of(n), sizeof slot->id);
    memcpy(r.id, slot->id, sizeof r.id);
    assert_ok(source->ops->submit(source, &r, 1));
    return r.ticket;
}

static struct stn_slot *answers(void) {
    struct stn_slot *slot;
    while (!(slot = stn_sink_drain(&sink))) stn_waker_sleep(&waker, UINT64_MAX);
    return slot;
}

/* The one answer there is. */
static struct stn_slot *ask(uint32_t n, uint32_t n_fields) {
    ask_expecting(n, n_fields, 0);
    struct stn_slot *slot = answers();
    assert_null(slot->next);
    return slot;
}

static void check_part(const struct stn_slot *slot, uint32_t p, uint32_t n, uint8_t field,
                       size_t bytes) {
    const struct stn_part *part = &slot->parts[p];
    if (slot->code < 0) fail_msg("%d: %s", slot->code, slot->why ? slot->why : "");
    assert_true(part->placed);
    assert_int_equal(part->bytes, bytes);
    for (size_t i = 0; i < bytes; i++)
        if (part->data[i] != byte_of(n + field, i)) fail_msg("byte %zu of %zu", i, bytes);
}

/* ---- what is right ---- */

static void test_cql_source_brings_values_of_any_length(void **state) {
    (void)state;
    static const size_t lengths[] = {0, 1, 110000, MIB, MIB + 1, 5000000, 3 * MIB / 2};
    open_source(2);
    for (uint32_t i = 0; i < STN_COUNT(lengths); i++) {
        store(i, 0, lengths[i]);
        store(i, 3, lengths[STN_COUNT(lengths) - 1 - i]);
    }
    commit();
    for (uint32_t i = 0; i < STN_COUNT(lengths); i++) {
        struct stn_slot *slot = ask(i, 2);
        check_part(slot, 0, i, 0, lengths[i]);
        check_part(slot, 1, i, 3, lengths[STN_COUNT(lengths) - 1 - i]);
        assert_true(slot->label == STERNA_LABEL_NONE);
        stn_sink_close_slot(&sink, slot);
    }
    assert_int_equal(atomic_load(&sink.misrouted), 0);
    assert_int_equal(atomic_load(&sink.corrupt), 0);
}

static void test_cql_source_fields_may_be_null(void **state) {
    (void)state;
    open_source(2);
    store(1, 3, 500); /* a mask alone */
    store(2, 0, 700);
    store(2, 3, 800);
    commit();
    assert_ok(values->ops->remove(values, id_of(2), 0, NULL));
    assert_ok(values->ops->remove(values, id_of(2), 3, NULL));
    commit();
    struct stn_slot *slot = ask(1, 2);
    check_part(slot, 1, 1, 3, 500);
    assert_false(slot->parts[0].placed);
    stn_sink_close_slot(&sink, slot);
    slot = ask(2, 2);
    assert_int_equal(slot->code, STERNA_OK); /* the sample is there, it only has nothing */
    assert_false(slot->parts[0].placed || slot->parts[1].placed);
    stn_sink_close_slot(&sink, slot);
}

static void test_cql_source_selects_the_blobs_last(void **state) {
    (void)state;
    open_source(2);
    store(1, 0, 10);
    commit();
    stn_sink_close_slot(&sink, ask(1, 2));
    assert_int_equal(fake_count(&fake,
                                "SELECT \"id\", \"image_bytes\", \"image_crc\", \"mask_bytes\", "
                                "\"mask_crc\", \"image\", \"mask\" FROM t_data WHERE \"id\" = ?"),
                     1);
}

static void test_cql_source_refuses_what_it_did_not_prepare(void **state) {
    (void)state;
    static const uint8_t unknown[] = {7};
    struct stn_source_options o = {.fields = unknown, .n_fields = 1};
    struct stn_source *other;
    struct sterna_error err = {0};
    open_source(2);
    struct stn_request r = {.ticket = 1, .fields = both, .n_fields = 1};
    assert_int_equal(source->ops->submit(source, &r, 1), STERNA_EINVAL);
    assert_int_equal(stn_cql_source_open(&other, &cassandra, &sink, &o, &err), STERNA_ENOTFOUND);
    assert_null(other);
    assert_non_null(strstr(err.message, "field number 7"));
}

/* ---- what is wrong ---- */

static struct {           /* the script of edit() */
    const char *text;     /* of statements that begin so */
    uint64_t first, last; /* tries, counted by the statement */
    enum {
        WRONG_KEY,
        SHORT_KEY,
        FLIP,
        CUT,
        NO_BYTES,
        NO_CRC,
        NO_VALUE,
        GONE,
        FAIL,
        REFUSE,
        BREAK
    } what;
    size_t column;    /* of the SELECT */
    uint16_t only_at; /* consistency; 0: any */
} script;

static const struct stn_cql_failure refusal = {.code = STN_CQL_E_SERVER};

static void edit(struct fake *f, struct fake_answer *a) {
    (void)f;
    if (strncmp(a->text, script.text, strlen(script.text)) != 0) return;
    if (a->number < script.first || a->number > script.last) return;
    if (script.only_at && a->call->consistency != script.only_at) return;
    struct stn_cql_value *v = &a->values[script.column];
    switch (script.what) {
    case WRONG_KEY:
    case FLIP:
        a->memory[script.column][v->bytes / 2] ^= 1;
        break;
    case SHORT_KEY:
    case CUT:
        v->bytes--;
        break;
    case NO_BYTES:
    case NO_CRC:
    case NO_VALUE:
        *v = stn_value_null();
        break;
    case GONE:
        a->found = 0;
        break;
    case FAIL:
        a->code = STERNA_ETIMEOUT;
        a->why = "127.0.0.1:9042: read timeout";
        break;
    case REFUSE: /* what a server says of a table that was dropped a moment ago */
        a->code = STERNA_EIO;
        a->why = "127.0.0.1:9042: server error: Unknown CF 3fde6330";
        a->failure = &refusal;
        break;
    case BREAK:
        a->broken_bytes = 100;
        break;
    }
}

#define ROW "SELECT \"id\", \"image_bytes\""
#define CHUNK "SELECT id, n, crc"
#define FOREVER UINT64_MAX

static void test_cql_source_wrong_answers(void **state) {
    (void)state;
    static const struct {
        const char *name, *text;
        uint64_t last;
        int what;
        size_t column;
        uint16_t only_at;
        int code; /* the slot's */
        const char *why;
        uint64_t misrouted, n_rows, n_chunks; /* tries */
    } rows[] = {
        {"another key once", ROW, 1, WRONG_KEY, 0, 0, 0, NULL, 1, 2, 0},
        {"another key always", ROW, FOREVER, WRONG_KEY, 0, 0, STERNA_EPROTO, "another sample's key",
         6, 6, 0},
        {"a key of 15 bytes", ROW, 1, SHORT_KEY, 0, 0, 0, NULL, 1, 2, 0},
        {"a bit at one replica", ROW, 1, FLIP, 5, 0, 0, NULL, 0, 2, 0},
        {"a bit everywhere", ROW, FOREVER, FLIP, 5, 0, STERNA_ECORRUPT, "CRC-32C", 0, 4, 0},
        {"a short blob", ROW, FOREVER, CUT, 5, 0, STERNA_ECORRUPT,
         "field image: has another length", 0, 4, 0},
        {"no length", ROW, FOREVER, NO_BYTES, 1, 0, STERNA_ECORRUPT, "has another length", 0, 4, 0},
        {"no checksum", ROW, FOREVER, NO_CRC, 2, 0, STERNA_ECORRUPT, "has no checksum", 0, 4, 0},
        {"no row at one replica", ROW, FOREVER, GONE, 0, STN_CQL_LOCAL_ONE, 0, NULL, 0, 2, 0},
        {"no row", ROW, FOREVER, GONE, 0, 0, STERNA_ENOTFOUND, NULL, 0, 2, 0},
        {"a failure", ROW, FOREVER, FAIL, 0, 0, STERNA_ETIMEOUT, "127.0.0.1:9042: read timeout", 0,
         1, 0},
        {"the server fails", ROW, FOREVER, REFUSE, 0, 0, STERNA_EIO,
         "t_data: 127.0.0.1:9042: server error: Unknown CF", 0, 1, 0},
        {"a lost connection", ROW, 1, BREAK, 0, 0, 0, NULL, 0, 2, 0},
        {"another sample's chunk", CHUNK, 2, WRONG_KEY, 0, 0, 0, NULL, 2, 1, 12},
        {"another chunk", CHUNK, 1, WRONG_KEY, 1, 0, 0, NULL, 1, 1, 11},
        {"another chunk always", CHUNK, FOREVER, WRONG_KEY, 1, 0, STERNA_EPROTO,
         "chunk 0: the answer is another chunk's", 6, 1, 15},
        {"a bit of a chunk", CHUNK, 1, FLIP, 3, 0, 0, NULL, 0, 1, 11},
        {"a bit of all chunks", CHUNK, FOREVER, FLIP, 3, 0, STERNA_ECORRUPT, "bytes differ", 0, 1,
         40},
        {"a short chunk", CHUNK, 1, CUT, 3, 0, 0, NULL, 0, 1, 11},
        {"a null chunk", CHUNK, 1, NO_VALUE, 3, 0, 0, NULL, 0, 1, 11},
        {"a chunk's checksum", CHUNK, 1, NO_CRC, 2, 0, 0, NULL, 0, 1, 11},
        {"no chunk at one replica", CHUNK, FOREVER, GONE, 0, STN_CQL_LOCAL_ONE, 0, NULL, 0, 1, 20},
        {"a chunk missing", CHUNK, FOREVER, GONE, 0, 0, STERNA_ENOTFOUND, "chunk 0: is missing", 0,
         1, 20},
        {"a chunk fails", CHUNK, 1, FAIL, 0, 0, STERNA_ETIMEOUT, "read timeout", 0, 1, 10},
        {"the server fails at a chunk", CHUNK, 1, REFUSE, 0, 0, STERNA_EIO,
         "t_chunk: 127.0.0.1:9042: server error: Unknown CF", 0, 1, 10},
    };
    open_source(2);
    fake.edit = edit;
    script.text = "nothing";
    store(1, 0, 1000);
    store(2, 0, 5 * MIB);
    commit();
    for (size_t i = 0; i < STN_COUNT(rows); i++) {
        int chunked = strcmp(rows[i].text, CHUNK) == 0;
        uint64_t n_rows = fake_count(&fake, ROW), n_chunks = fake_count(&fake, CHUNK);
        uint64_t misrouted = atomic_load(&sink.misrouted), seen = chunked ? n_chunks : n_rows;
        script.text = rows[i].text;
        script.first = seen + 1;
        script.last = rows[i].last == FOREVER ? FOREVER : seen + rows[i].last;
        memcpy(&script.what, &rows[i].what, sizeof script.what);
        script.column = rows[i].column;
        script.only_at = rows[i].only_at;
        struct stn_slot *slot = ask(chunked ? 2 : 1, 2);
        if (slot->code != rows[i].code)
            fail_msg("%s: %d (%s)", rows[i].name, slot->code, slot->why ? slot->why : "");
        if (rows[i].why && !(slot->why && strstr(slot->why, rows[i].why)))
            fail_msg("%s: '%s'", rows[i].name, slot->why ? slot->why : "");
        if (slot->code == STERNA_OK)
            check_part(slot, 0, chunked ? 2 : 1, 0, chunked ? 5 * MIB : 1000);
        if (atomic_load(&sink.misrouted) != misrouted + rows[i].misrouted &&
            !(chunked && rows[i].last == FOREVER))
            fail_msg("%s: %u misrouted", rows[i].name, (unsigned)atomic_load(&sink.misrouted));
        fake_wait_idle(&fake);
        n_rows = fake_count(&fake, ROW) - n_rows;
        n_chunks = fake_count(&fake, CHUNK) - n_chunks;
        if (n_rows != rows[i].n_rows || n_chunks != rows[i].n_chunks)
            fail_msg("%s: %u tries of the row, %u of chunks", rows[i].name, (unsigned)n_rows,
                     (unsigned)n_chunks);
        stn_sink_close_slot(&sink, slot);
    }
}

/* A field that was null in the answer that counts must not show what an earlier one began. */
static void edit_broken_then_null(struct fake *f, struct fake_answer *a) {
    (void)f;
    if (strncmp(a->text, ROW, strlen(ROW)) != 0) return;
    if (a->number == 1) a->broken_bytes = 10;
    if (a->number == 2) a->values[1] = a->values[2] = a->values[5] = stn_value_null();
}

static void test_cql_source_answers_are_not_mixed(void **state) {
    (void)state;
    open_source(2);
    store(1, 0, 1000);
    store(1, 3, 2000);
    commit();
    fake.edit = edit_broken_then_null;
    struct stn_slot *slot = ask(1, 2);
    assert_false(slot->parts[0].placed);
    check_part(slot, 1, 1, 3, 2000);
    stn_sink_close_slot(&sink, slot);
}

/* A replica that missed the mask's write: the loader knows that there is more. */
static void edit_old_replica(struct fake *f, struct fake_answer *a) {
    (void)f;
    if (strncmp(a->text, ROW, strlen(ROW)) != 0 || a->call->consistency != STN_CQL_LOCAL_ONE)
        return;
    a->values[3] = a->values[4] = a->values[6] = stn_value_null();
}

static void test_cql_source_asks_again_for_missing_fields(void **state) {
    (void)state;
    open_source(2);
    store(1, 0, 1000);
    store(1, 3, 300);
    store(2, 0, 1000);
    commit();
    fake.edit = edit_old_replica;
    ask_expecting(1, 2, stn_align_up(1000) + stn_align_up(300));
    struct stn_slot *slot = answers();
    check_part(slot, 0, 1, 0, 1000);
    check_part(slot, 1, 1, 3, 300);
    stn_sink_close_slot(&sink, slot);
    assert_int_equal(fake_count(&fake, ROW), 2);
    ask_expecting(2, 2, stn_align_up(1000)); /* has no mask, and nobody expects one */
    slot = answers();
    check_part(slot, 0, 2, 0, 1000);
    stn_sink_close_slot(&sink, slot);
    assert_int_equal(fake_count(&fake, ROW), 3);
}

static void test_cql_source_strong_reads_are_not_repeated(void **state) {
    (void)state;
    cassandra.location.read_consistency = STN_CQL_QUORUM;
    open_source(2);
    struct stn_slot *slot = ask(99, 2);
    assert_int_equal(slot->code, STERNA_ENOTFOUND);
    stn_sink_close_slot(&sink, slot);
    assert_int_equal(fake_count(&fake, ROW), 1);
}

/* ---- another tool's table ---- */

static void seed_foreign(struct fake *f, struct fake_answer *a) {
    (void)f;
    if (strncmp(a->text, "SELECT \"id\", \"label\", \"image\"", 29) != 0 || !a->call) return;
    static uint8_t bytes[300], label[4];
    for (size_t i = 0; i < sizeof bytes; i++) bytes[i] = byte_of(1, i);
    a->found = 1;
    a->values[1] = stn_value_from_int(-7, label);
    a->values[2] = stn_value_of(bytes, sizeof bytes);
    if (a->number == 2) a->values[1] = a->values[2] = stn_value_null();
}

static void test_cql_source_foreign_rows(void **state) {
    (void)state;
    cassandra.foreign = 1;
    cassandra.chunk_table = NULL;
    snprintf(cassandra.label_column, sizeof cassandra.label_column, "label");
    cassandra.label_type = STN_CQL_INT;
    for (int i = 0; i < 2; i++)
        cassandra.fields[i].bytes_column[0] = cassandra.fields[i].crc_column[0] = 0;
    open_source(1);
    fake.edit = seed_foreign;
    struct stn_slot *slot = ask(1, 1);
    check_part(slot, 0, 1, 0, 300);
    assert_true(slot->parts[0].unchecked);
    assert_true(slot->label == -7);
    stn_sink_close_slot(&sink, slot);
    slot = ask(1, 1);
    assert_int_equal(slot->code, STERNA_OK);
    assert_false(slot->parts[0].placed);
    assert_true(slot->label == STERNA_LABEL_NONE);
    stn_sink_close_slot(&sink, slot);
}

/* ---- the end of requests ---- */

static void test_cql_source_cancel_completes_at_once(void **state) {
    (void)state;
    open_source(2);
    store(1, 0, 1000);
    commit();
    fake_pause(&fake, 1);
    uint64_t ticket = ask_expecting(1, 2, 0), other = ask_expecting(1, 2, 0);
    source->ops->cancel(source, ticket);
    struct stn_slot *slot = answers();
    assert_int_equal(slot->code, STERNA_ECANCELED);
    assert_true(stn_sink_ticket(&sink, slot) == ticket);
    assert_null(slot->next);
    stn_sink_close_slot(&sink, slot);
    fake_pause(&fake, 0); /* its answer comes now, and lands nowhere */
    slot = answers();
    assert_true(stn_sink_ticket(&sink, slot) == other);
    check_part(slot, 0, 1, 0, 1000);
    assert_null(slot->next);
    stn_sink_close_slot(&sink, slot);
    fake_wait_idle(&fake);
    source->ops->cancel(source, other); /* long done */
    assert_null(stn_sink_drain(&sink));
    assert_int_equal(atomic_load(&sink.late), 0);
}

static void test_cql_source_close_with_a_thousand_in_flight(void **state) {
    (void)state;
    open_source(2);
    store(1, 0, 1000);
    store(2, 0, 3 * MIB);
    commit();
    for (int i = 0; i < 500; i++) ask_expecting(2, 2, 0); /* some land, some have chunks out */
    fake_pause(&fake, 1);
    for (int i = 0; i < 1000; i++) ask_expecting(1, 2, 0);
    assert_true(fake_waiting(&fake) >= 1000);
    source->ops->close(source);
    source = NULL;
    assert_int_equal(fake_waiting(&fake), 0);
    fake_pause(&fake, 0);
}

static void run_200(void) {
    for (uint32_t i = 0; i < 200; i++) ask_expecting(1 + i % 2, 2, 0);
    for (int n = 0; n < 200;)
        for (struct stn_slot *slot = answers(), *next; slot; slot = next, n++) {
            next = slot->next;
            if (slot->code < 0) fail_msg("%s", slot->why);
            stn_sink_close_slot(&sink, slot);
        }
    fake_wait_idle(&fake); /* all records are back */
}

static size_t count_slabs(const struct stn_cql_slab *slab) {
    size_t n = 0;
    for (; slab; slab = stn_cql_slab_next(slab)) n++;
    return n;
}

static void test_cql_source_wakes_the_loader_for_many_at_once(void **state) {
    static const struct {
        size_t completed, under_way;
        uint64_t waited_ns, wait_ns;
    } rows[] = {
        {1, 0, 0, 0},  /* nothing else will come */
        {1, 32, 0, 0}, /* short of few, who waits would wait long */
        {1, 33, 0, 4000000}, {20, 641, 1000000, 3000000}, {20, 640, 0, 0}, {1, 1000000, 4000000, 0},
    };
    (void)state;
    for (size_t i = 0; i < STN_COUNT(rows); i++)
        assert_int_equal(
            stn_cql_wake_in_ns(rows[i].completed, rows[i].under_way, rows[i].waited_ns),
            rows[i].wait_ns);
    for (uint32_t n = 0; n < 500; n++) store(n, 0, 100 + n);
    commit();
    open_source(1);
    fake_pause(&fake, 1);
    for (uint32_t n = 0; n < 500; n++) ask_expecting(n, 1, 100 + n);
    fake_pause(&fake, 0);
    for (size_t came = 0; came < 500;)
        for (struct stn_slot *slot = answers(), *next; slot; slot = next, came++) {
            next = slot->next;
            assert_ok(slot->code);
            stn_sink_close_slot(&sink, slot);
        }
}

static void test_cql_source_allocates_nothing_once_warm(void **state) {
    (void)state;
    open_source(2);
    store(1, 0, 1000);
    store(2, 0, 2 * MIB);
    commit();
    run_200();
    /* Records come in slabs: as many as were in use at once, and never more. */
    struct stn_cql_source *s = STN_OUTER(source, struct stn_cql_source, base);
    size_t reads = count_slabs(s->slabs), chunks = count_slabs(s->chunk_slabs);
    assert_int_equal(reads, 1);
    assert_in_range(chunks, 1, 13); /* of 400 chunks at most */
    for (int round = 0; round < 20; round++) run_200();
    assert_int_equal(count_slabs(s->slabs), reads);
    assert_in_range(count_slabs(s->chunk_slabs), chunks, 13);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_cql_source_brings_values_of_any_length, begin, end),
        cmocka_unit_test_setup_teardown(test_cql_source_fields_may_be_null, begin, end),
        cmocka_unit_test_setup_teardown(test_cql_source_selects_the_blobs_last, begin, end),
        cmocka_unit_test_setup_teardown(test_cql_source_refuses_what_it_did_not_prepare, begin,
                                        end),
        cmocka_unit_test_setup_teardown(test_cql_source_wrong_answers, begin, end),
        cmocka_unit_test_setup_teardown(test_cql_source_answers_are_not_mixed, begin, end),
        cmocka_unit_test_setup_teardown(test_cql_source_asks_again_for_missing_fields, begin, end),
        cmocka_unit_test_setup_teardown(test_cql_source_strong_reads_are_not_repeated, begin, end),
        cmocka_unit_test_setup_teardown(test_cql_source_foreign_rows, begin, end),
        cmocka_unit_test_setup_teardown(test_cql_source_cancel_completes_at_once, begin, end),
        cmocka_unit_test_setup_teardown(test_cql_source_close_with_a_thousand_in_flight, begin,
                                        end),
        cmocka_unit_test_setup_teardown(test_cql_source_wakes_the_loader_for_many_at_once, begin,
                                        end),
        cmocka_unit_test_setup_teardown(test_cql_source_allocates_nothing_once_warm, begin, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
