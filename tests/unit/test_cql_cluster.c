/* Writing and reading a cluster of servers in memory, by the real session: also one whose servers
 * err in every way they can. */
#include "support/check.h"

#include <stdio.h>
#include <string.h>

#include "base/waker.h"
#include "cassandra/cassandra.h"
#include "slot/sink.h"
#include "source/values.h"
#include "support/cluster.h"

#define MIB ((size_t)1 << 20)
#define N_SAMPLES 300
#define TRIES_MAX 10

static struct cluster cluster;
static struct stn_cassandra cassandra;
static struct stn_values *values;
static struct stn_source *source;
static struct stn_pool *pool;
static struct stn_sink sink;
static struct stn_waker waker;
static const uint8_t fields[] = {0, 1};

static void wake(void *ctx) { stn_waker_wake(ctx); }

static void tell(const char *text) {
    struct stn_query_call q = {.text = text, .consistency = STN_CQL_ONE, .is_write = 1};
    struct sterna_error err = {0};
    if (stn_session_query(cassandra.session, &q, NULL, &err) < 0) fail_msg("%s", err.message);
}

static void add_field(const char *name) {
    struct stn_cassandra_field *f = &cassandra.fields[cassandra.n_fields];
    f->number = (uint8_t)cassandra.n_fields++;
    snprintf(f->name, sizeof f->name, "%s", name);
    snprintf(f->column, sizeof f->column, "%s", name);
    snprintf(f->bytes_column, sizeof f->bytes_column, "%s_bytes", name);
    snprintf(f->crc_column, sizeof f->crc_column, "%s_crc", name);
}

static void open_all(const char *const *faults) {
    struct sterna_error err = {0};
    cluster_start(&cluster, CQLMEM_PATH, 3, faults);
    const struct stn_session_options o = {.hosts = cluster.hosts,
                                          .n_hosts = cluster.n_hosts,
                                          .keyspace = "imgs",
                                          .request_timeout_ms = 500};
    cassandra = (struct stn_cassandra){
        .data_table = "imgs.t_data", .chunk_table = "imgs.t_chunk", .id_column = "id"};
    cassandra.location.read_consistency = STN_CQL_LOCAL_ONE;
    cassandra.location.write_consistency = STN_CQL_LOCAL_QUORUM;
    pthread_mutex_init(&cassandra.lock, NULL);
    if (stn_session_open(&cassandra.session, &o, &err) < 0) fail_msg("%s", err.message);
    tell("CREATE TABLE imgs.t_data (id uuid PRIMARY KEY, image_bytes bigint, image_crc int, "
         "image blob, mask_bytes bigint, mask_crc int, mask blob)");
    tell("CREATE TABLE imgs.t_chunk (id uuid, field text, n smallint, crc int, data blob, "
         "PRIMARY KEY ((id), field, n))");
    add_field("image");
    add_field("mask");
    const struct stn_source_options so = {.fields = fields, .n_fields = 2};
    assert_ok(stn_waker_init(&waker));
    assert_ok(stn_pool_open(&pool, 256 * MIB, NULL, NULL, NULL));
    assert_ok(stn_sink_init(&sink, 2 * N_SAMPLES, 2, pool, wake, &waker));
    if (stn_cql_source_open(&source, &cassandra, &sink, &so, &err) < 0) fail_msg("%s", err.message);
    if (stn_cql_values_open(&values, &cassandra, 1700000000000000, &err) < 0)
        fail_msg("%s", err.message);
}

static void close_all(void) {
    if (values) values->ops->close(values);
    if (source) source->ops->close(source);
    values = NULL;
    source = NULL;
    stn_sink_fini(&sink);
    stn_pool_close(&pool);
    stn_waker_fini(&waker);
    stn_session_close(&cassandra.session);
    pthread_mutex_destroy(&cassandra.lock);
    cluster_stop(&cluster);
}

/* ---- samples: any length, some in chunks, a mask for every third ---- */

static void id_of(uint32_t n, uint8_t id[16]) {
    memset(id, 0x77, 16);
    memcpy(id + 6, &n, sizeof n);
}

static size_t length_of(uint32_t n, uint8_t field) {
    if (field == 1) return n % 3 ? SIZE_MAX : n * 5; /* null, or small */
    if (n % 50 == 49) return 5 * MIB / 2 + n;
    return n % 50 == 48 ? MIB : n * 977 % 110000;
}

static uint8_t byte_of(uint32_t n, uint8_t field, size_t i) {
    return (uint8_t)(n * 13 + field * 101 + i * 3 + (i >> 9));
}

static void put_all(void) {
    struct sterna_error err = {0};
    uint8_t id[16], *data = malloc(4 * MIB);
    for (uint32_t n = 0; n < N_SAMPLES; n++) {
        id_of(n, id);
        values->ops->expect(values, id);
    }
    for (uint32_t n = 0; n < N_SAMPLES; n++)
        for (uint8_t field = 0; field < 2; field++) {
            size_t bytes = length_of(n, field);
            if (bytes == SIZE_MAX) continue;
            id_of(n, id);
            for (size_t i = 0; i < bytes; i++) data[i] = byte_of(n, field, i);
            uint32_t crc = stn_crc32c(0, data, bytes);
            if (values->ops->put(values, id, field, data, bytes, crc, &err) < 0)
                fail_msg("%s", err.message);
        }
    free(data);
    if (values->ops->commit(values, &err) < 0) fail_msg("%s", err.message);
}

static void ask(uint32_t n) {
    struct stn_request r = {.fields = fields, .n_fields = 2};
    struct stn_slot *slot = stn_sink_open_slot(&sink, &r.ticket);
    assert_non_null(slot);
    id_of(n, r.id);
    memcpy(slot->id, r.id, sizeof r.id);
    for (uint8_t field = 0; field < 2; field++)
        if (length_of(n, field) != SIZE_MAX) r.expected_bytes += stn_align_up(length_of(n, field));
    assert_ok(source->ops->submit(source, &r, 1));
}

static void check(const struct stn_slot *slot, uint32_t n) {
    for (uint8_t field = 0; field < 2; field++) {
        const struct stn_part *part = &slot->parts[field];
        size_t bytes = length_of(n, field);
        assert_int_equal(part->placed, bytes != SIZE_MAX);
        if (!part->placed) continue;
        assert_int_equal(part->bytes, bytes);
        for (size_t i = 0; i < bytes; i++)
            if (part->data[i] != byte_of(n, field, i))
                fail_msg("sample %u, field %u, byte %zu", n, field, i);
    }
}

/* Asks for all, and again for what failed, as the loader does. */
static void read_all(unsigned *n_failures) {
    unsigned tries[N_SAMPLES] = {0};
    for (uint32_t n = 0; n < N_SAMPLES; n++) ask(n);
    for (uint32_t left = N_SAMPLES; left > 0;) {
        struct stn_slot *slot = stn_sink_drain(&sink), *next;
        if (!slot) stn_waker_sleep(&waker, UINT64_MAX);
        for (; slot; slot = next) {
            uint32_t n;
            memcpy(&n, slot->id + 6, sizeof n);
            next = slot->next;
            if (slot->code == STERNA_OK) {
                check(slot, n);
                left--;
            } else {
                *n_failures += 1;
                if (++tries[n] == TRIES_MAX)
                    fail_msg("sample %u: %d: %s", n, slot->code, slot->why ? slot->why : "");
            }
            int again = slot->code < 0;
            stn_sink_close_slot(&sink, slot);
            if (again) ask(n);
        }
    }
}

static void test_cql_cluster_what_is_written_is_read(void **state) {
    (void)state;
    static const char *const args[] = {"--keyspace", "imgs", "--rf", "3", NULL};
    unsigned n_failures = 0;
    open_all(args);
    put_all();
    read_all(&n_failures);
    assert_int_equal(n_failures, 0);
    assert_int_equal(atomic_load(&sink.misrouted) + atomic_load(&sink.corrupt), 0);
    close_all();
}

static void test_cql_cluster_that_errs(void **state) {
    (void)state;
    static const char *const args[] = {"--keyspace",
                                       "imgs",
                                       "--rf",
                                       "3",
                                       "--overload-every",
                                       "61",
                                       "--rst-every",
                                       "97",
                                       "--unprepared-every",
                                       "53",
                                       "--wrong-key-every",
                                       "43",
                                       "--corrupt-every",
                                       "37",
                                       "--drop-every",
                                       "211",
                                       NULL};
    unsigned n_failures = 0;
    open_all(args);
    put_all();
    for (int round = 0; round < 3; round++) read_all(&n_failures);
    assert_true(atomic_load(&sink.misrouted) > 0);
    assert_true(atomic_load(&sink.corrupt) > 0);
    assert_true(atomic_load(&sink.retries) > atomic_load(&sink.corrupt));
    assert_int_equal(n_failures, 0); /* other replicas have them whole */
    close_all();
}

/* Nothing is written to a sample's memory once the source is closed. */
static void test_cql_cluster_close_with_a_thousand_in_flight(void **state) {
    (void)state;
    static const char *const args[] = {"--keyspace", "imgs", "--rf", "3", "--delay-ms", "3", NULL};
    open_all(args);
    put_all();
    for (int round = 0; round < 20; round++) {
        const struct stn_source_options so = {.fields = fields, .n_fields = 2};
        for (uint32_t n = 0; n < 600; n++) ask(n * 7 % N_SAMPLES);
        stn_waker_sleep(&waker, UINT64_MAX); /* the first answer is there */
        source->ops->close(source);
        source = NULL;
        stn_sink_fini(&sink);
        stn_pool_close(&pool);
        assert_ok(stn_pool_open(&pool, 256 * MIB, NULL, NULL, NULL));
        assert_ok(stn_sink_init(&sink, 2 * N_SAMPLES, 2, pool, wake, &waker));
        assert_ok(stn_cql_source_open(&source, &cassandra, &sink, &so, NULL));
    }
    unsigned n_failures = 0;
    read_all(&n_failures);
    close_all();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cql_cluster_what_is_written_is_read),
        cmocka_unit_test(test_cql_cluster_that_errs),
        cmocka_unit_test(test_cql_cluster_close_with_a_thousand_in_flight),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
