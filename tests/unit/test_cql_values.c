/* A cluster's writing side over tables in memory: what is in them after each kind of value, and
 * what failures become. */
#include "support/check.h"

#include <stdio.h>
#include <string.h>

#include "fake/session.h"
#include "source/values.h"

#define MIB ((size_t)1 << 20)
#define STAMP INT64_C(1700000000000000)

static struct fake fake;
static struct stn_cassandra cassandra;
static struct stn_values *values;

static int begin(void **state) {
    (void)state;
    fake_open(&fake);
    fake_dataset(&fake, &cassandra, 2);
    assert_ok(stn_cql_values_open(&values, &cassandra, STAMP, NULL));
    return 0;
}

static int end(void **state) {
    (void)state;
    values->ops->close(values);
    pthread_mutex_destroy(&cassandra.lock);
    fake_close(&fake);
    return 0;
}

static void open_again(int64_t timestamp_us) {
    values->ops->close(values);
    assert_ok(stn_cql_values_open(&values, &cassandra, timestamp_us, NULL));
}

static const uint8_t *id_of(uint32_t n) {
    static uint8_t id[16];
    memset(id, 0x5B, sizeof id);
    memcpy(id, &n, sizeof n);
    return id;
}

/* Bytes of a value; seed tells values apart. */
static uint8_t *bytes_of(uint8_t seed, size_t bytes) {
    uint8_t *data = malloc(bytes + 1);
    for (size_t i = 0; i < bytes; i++) data[i] = (uint8_t)(seed + i * 7 + (i >> 10));
    return data;
}

static int put(uint32_t n, uint8_t field, uint8_t seed, size_t bytes, struct sterna_error *err) {
    uint8_t *data = bytes_of(seed, bytes);
    int rc =
        values->ops->put(values, id_of(n), field, data, bytes, stn_crc32c(0, data, bytes), err);
    memset(data, 0xEE, bytes); /* the caller's again */
    free(data);
    return rc;
}

static void put_ok(uint32_t n, uint8_t field, uint8_t seed, size_t bytes) {
    struct sterna_error err = {0};
    if (put(n, field, seed, bytes, &err) < 0) fail_msg("%s", err.message);
}

static void commit(void) {
    struct sterna_error err = {0};
    if (values->ops->commit(values, &err) < 0) fail_msg("%s", err.message);
    fake_wait_idle(&fake);
}

/* ---- what is in the tables ---- */

static int64_t int_in(struct fake_row *row, const char *column) {
    const struct fake_cell *cell = fake_cell(row, column);
    assert_non_null(cell);
    struct stn_cql_value v = stn_value_of(cell->data, (size_t)cell->bytes);
    return cell->bytes == 8 ? stn_value_bigint(v) : stn_value_int(v);
}

static struct fake_row *chunk_row(uint32_t n, uint32_t number) {
    uint8_t key[16 + 5 + 2];
    memcpy(key, id_of(n), 16);
    memcpy(key + 16, "image", 5);
    key[21] = (uint8_t)(number >> 8);
    key[22] = (uint8_t)number;
    return fake_find(&fake, "t_chunk", key, sizeof key);
}

static uint32_t count_chunks(uint32_t n) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < 64; i++) {
        struct fake_row *row = chunk_row(n, i);
        if (row && fake_cell(row, "data")) {
            assert_int_equal(i, count); /* none is left behind one that is gone */
            count++;
        }
    }
    return count;
}

/* The image of sample n is exactly this value. */
static void check_image(uint32_t n, uint8_t seed, size_t bytes) {
    uint8_t *want = bytes_of(seed, bytes);
    struct fake_row *row = fake_find(&fake, "t_data", id_of(n), 16);
    assert_non_null(row);
    assert_int_equal(int_in(row, "image_bytes"), bytes);
    assert_int_equal((uint32_t)int_in(row, "image_crc"), stn_crc32c(0, want, bytes));
    const struct fake_cell *cell = fake_cell(row, "image");
    size_t n_chunks = bytes > MIB ? (bytes + MIB / 2 - 1) / (MIB / 2) : 0;
    assert_int_equal(count_chunks(n), n_chunks);
    assert_int_equal(cell == NULL, n_chunks > 0);
    if (cell) {
        assert_int_equal(cell->bytes, bytes);
        if (bytes > 0) assert_memory_equal(cell->data, want, bytes);
    }
    for (uint32_t i = 0; i < n_chunks; i++) {
        struct fake_row *chunk = chunk_row(n, i);
        size_t at = i * MIB / 2, length = STN_MIN(bytes - at, MIB / 2);
        cell = fake_cell(chunk, "data");
        assert_int_equal(cell->bytes, length);
        assert_memory_equal(cell->data, want + at, length);
        assert_int_equal((uint32_t)int_in(chunk, "crc"), stn_crc32c(0, want + at, length));
    }
    free(want);
}

/* ---- values ---- */

static void test_cql_values_of_any_length(void **state) {
    (void)state;
    static const size_t lengths[] = {0,       1,       110000,  MIB - 1,    MIB,
                                     MIB + 1, 5000000, 5 * MIB, 5 * MIB + 1};
    for (uint32_t i = 0; i < STN_COUNT(lengths); i++) put_ok(i, 0, (uint8_t)i, lengths[i]);
    commit();
    for (uint32_t i = 0; i < STN_COUNT(lengths); i++) check_image(i, (uint8_t)i, lengths[i]);
    assert_int_equal(fake_count(&fake, "DELETE"), 0);
}

static void test_cql_values_replace_leaves_nothing_behind(void **state) {
    (void)state;
    static const size_t lengths[] = {5 * MIB, 3 * MIB, 700, 2 * MIB, 0, 5 * MIB, MIB, 4 * MIB};
    for (size_t i = 0; i < STN_COUNT(lengths); i++) { /* one run after the other */
        put_ok(1, 0, (uint8_t)i, lengths[i]);
        commit();
        check_image(1, (uint8_t)i, lengths[i]);
        open_again(STAMP + 1000 * (int64_t)(i + 1));
    }
    for (size_t i = 0; i < STN_COUNT(lengths); i++) /* and within one, all on their way together */
        put_ok(1, 0, (uint8_t)(100 + i), lengths[i]);
    commit();
    check_image(1, 107, 4 * MIB);
}

static void test_cql_values_fields_do_not_touch_each_other(void **state) {
    (void)state;
    put_ok(1, 0, 1, 1000);
    put_ok(1, 3, 2, 300);
    commit();
    put_ok(1, 3, 3, 400);
    assert_ok(values->ops->remove(values, id_of(1), 3, NULL));
    commit();
    check_image(1, 1, 1000);
    assert_null(fake_cell(fake_find(&fake, "t_data", id_of(1), 16), "mask"));
    assert_null(fake_cell(fake_find(&fake, "t_data", id_of(1), 16), "mask_bytes"));
}

static void test_cql_values_remove(void **state) {
    (void)state;
    struct sterna_error err = {0};
    assert_int_equal(values->ops->remove(values, id_of(1), 0, &err), STERNA_ENOTFOUND);
    put_ok(1, 0, 1, 3 * MIB);
    commit();
    assert_int_equal(count_chunks(1), 6);
    assert_ok(values->ops->remove(values, id_of(1), 0, NULL));
    commit();
    assert_int_equal(count_chunks(1), 0);
    assert_null(fake_cell(fake_find(&fake, "t_data", id_of(1), 16), "image_bytes"));
    put_ok(1, 0, 2, 2 * MIB); /* a later write is not hidden by it */
    commit();
    check_image(1, 2, 2 * MIB);
}

static void test_cql_values_limits(void **state) {
    (void)state;
    struct sterna_error err = {0};
    uint8_t byte = 1;
    assert_int_equal(values->ops->put(values, id_of(1), 0, &byte, (size_t)4 << 30, 0, &err),
                     STERNA_EINVAL);
    assert_int_equal(values->ops->put(values, id_of(1), 9, &byte, 1, 0, NULL), STERNA_EINVAL);
    put_ok(1, 0, 1, 10); /* neither is the end of the run */
    commit();
}

/* ---- find ---- */

static void expect_header(uint32_t n, uint8_t field, uint8_t seed, size_t bytes) {
    struct stn_value_header header = {0};
    uint8_t *data = bytes_of(seed, bytes);
    assert_ok(values->ops->find(values, id_of(n), field, &header, NULL));
    assert_int_equal(header.bytes, bytes);
    assert_int_equal(header.crc, stn_crc32c(0, data, bytes));
    free(data);
}

static void test_cql_values_find(void **state) {
    (void)state;
    struct stn_value_header header;
    struct sterna_error err = {0};
    assert_int_equal(values->ops->find(values, id_of(1), 0, &header, &err), STERNA_ENOTFOUND);
    fake_pause(&fake, 1); /* its own puts need no answer */
    put_ok(1, 0, 4, 5000);
    expect_header(1, 0, 4, 5000);
    fake_pause(&fake, 0);
    commit();
    open_again(STAMP + 1000);
    expect_header(1, 0, 4, 5000);
    assert_int_equal(values->ops->find(values, id_of(1), 3, &header, NULL), STERNA_ENOTFOUND);
    assert_ok(values->ops->remove(values, id_of(1), 0, NULL));
    assert_int_equal(values->ops->find(values, id_of(1), 0, &header, NULL), STERNA_ENOTFOUND);
}

static void check_reads(struct fake *f, struct fake_answer *a) {
    (void)f;
    if (strncmp(a->text, "SELECT", 6) == 0)
        assert_int_equal(a->call->consistency, STN_CQL_LOCAL_QUORUM);
    else
        assert_int_equal(a->call->lane, STN_LANE_WRITE);
}

static void test_cql_values_expect_asks_once(void **state) {
    (void)state;
    struct stn_value_header header;
    fake.edit = check_reads;
    for (uint32_t i = 0; i < 100; i++) values->ops->expect(values, id_of(i));
    for (uint32_t i = 0; i < 100; i++) values->ops->expect(values, id_of(i));
    for (uint32_t i = 0; i < 100; i++) {
        assert_int_equal(values->ops->find(values, id_of(i), 0, &header, NULL), STERNA_ENOTFOUND);
        put_ok(i, 0, 1, 100);
    }
    commit();
    assert_int_equal(fake_count(&fake, "SELECT"), 100);
    assert_int_equal(fake_count(&fake, "INSERT"), 100);
}

static void test_cql_values_forget_what_is_old(void **state) {
    (void)state;
    for (uint32_t i = 0; i < 20000; i++) put_ok(i, 0, (uint8_t)i, 10);
    for (uint32_t i = 0; i < 20000; i += 97) expect_header(i, 0, (uint8_t)i, 10);
    commit();
}

static void test_cql_values_fields_may_come_later(void **state) {
    (void)state;
    struct stn_value_header header;
    put_ok(1, 0, 1, 100);
    commit();
    cassandra.fields[2] = cassandra.fields[1];
    cassandra.fields[2].number = 9;
    snprintf(cassandra.fields[2].name, 64, "depth");
    snprintf(cassandra.fields[2].column, 64, "depth");
    snprintf(cassandra.fields[2].bytes_column, 64, "depth_bytes");
    snprintf(cassandra.fields[2].crc_column, 64, "depth_crc");
    cassandra.n_fields = 3;
    assert_int_equal(values->ops->find(values, id_of(1), 9, &header, NULL), STERNA_ENOTFOUND);
    put_ok(1, 9, 5, 50);
    expect_header(1, 9, 5, 50);
    expect_header(1, 0, 1, 100);
    commit();
    assert_int_equal(fake_cell(fake_find(&fake, "t_data", id_of(1), 16), "depth")->bytes, 50);
}

/* ---- order and failure ---- */

static uint32_t n_chunks_seen;
static const char *bad_text;
static uint64_t bad_number;

static void edit_order(struct fake *f, struct fake_answer *a) {
    (void)f;
    if (strncmp(a->text, "INSERT INTO t_chunk", 19) == 0) n_chunks_seen++;
    if (strncmp(a->text, "INSERT INTO t_data", 18) == 0) {
        assert_int_equal(n_chunks_seen, 10); /* the row comes when all its chunks are there */
        assert_int_equal(a->call->timestamp_us, STAMP);
    }
}

static void test_cql_values_rows_come_after_their_chunks(void **state) {
    (void)state;
    n_chunks_seen = 0;
    fake.edit = edit_order;
    put_ok(1, 0, 1, 5 * MIB);
    commit();
    check_image(1, 1, 5 * MIB);
}

static void edit_bad(struct fake *f, struct fake_answer *a) {
    (void)f;
    if (strncmp(a->text, bad_text, strlen(bad_text)) != 0 || a->number != bad_number) return;
    a->code = STERNA_EUNREACHABLE;
    a->why = "10.0.0.1:9042: unavailable (1 of 2 replicas alive)";
}

static void test_cql_values_first_failure_is_final(void **state) {
    (void)state;
    static const struct {
        const char *text;
        uint64_t number;
        size_t bytes;
    } rows[] = {
        {"INSERT INTO t_data", 3, 1000},
        {"INSERT INTO t_chunk", 7, 2 * MIB},
        {"INSERT INTO t_data", 2, 2 * MIB},
    };
    fake.edit = edit_bad;
    for (size_t i = 0; i < STN_COUNT(rows); i++) {
        struct sterna_error err = {0}, later = {0};
        bad_text = rows[i].text;
        bad_number = fake_count(&fake, bad_text) + rows[i].number;
        for (uint32_t n = 0; n < 5; n++) put((uint32_t)(10 * i) + n, 0, 1, rows[i].bytes, NULL);
        assert_int_equal(values->ops->commit(values, &err), STERNA_EUNREACHABLE);
        assert_non_null(strstr(err.message, "t_data: sample "));
        assert_non_null(strstr(err.message, "field image cannot be written: 10.0.0.1:9042"));
        assert_int_equal(put(99, 0, 1, 10, &later), STERNA_EUNREACHABLE);
        assert_string_equal(later.message, err.message);
        assert_int_equal(values->ops->commit(values, NULL), STERNA_EUNREACHABLE);
        open_again(STAMP + 1000);
    }
}

static void test_cql_values_failed_chunk_hides_its_row(void **state) {
    (void)state;
    fake.edit = edit_bad;
    bad_text = "INSERT INTO t_chunk";
    bad_number = 2;
    put(1, 0, 1, 2 * MIB, NULL);
    assert_int_equal(values->ops->commit(values, NULL), STERNA_EUNREACHABLE);
    fake_wait_idle(&fake);
    assert_null(fake_find(&fake, "t_data", id_of(1), 16));
}

static void test_cql_values_failed_lookup_is_tried_again(void **state) {
    (void)state;
    struct stn_value_header header;
    struct sterna_error err = {0};
    fake.edit = edit_bad;
    bad_text = "SELECT";
    bad_number = 1;
    values->ops->expect(values, id_of(1)); /* fails; nobody has to know */
    assert_int_equal(values->ops->find(values, id_of(1), 0, &header, &err), STERNA_ENOTFOUND);
    bad_number = 3;
    stn_error_clear(&err);
    assert_int_equal(values->ops->find(values, id_of(2), 0, &header, &err), STERNA_EUNREACHABLE);
    assert_non_null(strstr(err.message, "cannot be looked up: 10.0.0.1:9042"));
    put_ok(2, 0, 1, 10);
    commit();
}

/* More than may be in flight: put() waits for room, and nothing is lost. */
static void test_cql_values_in_flight_is_bounded(void **state) {
    (void)state;
    put_ok(1, 0, 9, 150 * MIB);
    for (uint32_t i = 2; i < 202; i++) put_ok(i, 0, (uint8_t)i, 600000);
    commit();
    assert_true(fake_waiting_bytes_max(&fake) <= 64 * MIB);
    struct fake_row *row = fake_find(&fake, "t_data", id_of(1), 16);
    assert_int_equal(int_in(row, "image_bytes"), 150 * MIB);
    assert_non_null(chunk_row(1, 299));
    for (uint32_t i = 2; i < 202; i++) check_image(i, (uint8_t)i, 600000);
}

static void test_cql_values_close_with_writes_in_flight(void **state) {
    (void)state;
    for (uint32_t i = 0; i < 500; i++) put_ok(i, 0, 1, 10);
    fake_pause(&fake, 1);
    for (uint32_t i = 0; i < 500; i++) put_ok(i, 0, 1, i % 100 ? 1000 : 3 * MIB);
    for (uint32_t i = 500; i < 1500; i++) values->ops->expect(values, id_of(i));
    open_again(STAMP);
    assert_int_equal(fake_waiting(&fake), 0);
    fake_pause(&fake, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_cql_values_of_any_length, begin, end),
        cmocka_unit_test_setup_teardown(test_cql_values_replace_leaves_nothing_behind, begin, end),
        cmocka_unit_test_setup_teardown(test_cql_values_fields_do_not_touch_each_other, begin, end),
        cmocka_unit_test_setup_teardown(test_cql_values_remove, begin, end),
        cmocka_unit_test_setup_teardown(test_cql_values_limits, begin, end),
        cmocka_unit_test_setup_teardown(test_cql_values_find, begin, end),
        cmocka_unit_test_setup_teardown(test_cql_values_expect_asks_once, begin, end),
        cmocka_unit_test_setup_teardown(test_cql_values_forget_what_is_old, begin, end),
        cmocka_unit_test_setup_teardown(test_cql_values_fields_may_come_later, begin, end),
        cmocka_unit_test_setup_teardown(test_cql_values_rows_come_after_their_chunks, begin, end),
        cmocka_unit_test_setup_teardown(test_cql_values_first_failure_is_final, begin, end),
        cmocka_unit_test_setup_teardown(test_cql_values_failed_chunk_hides_its_row, begin, end),
        cmocka_unit_test_setup_teardown(test_cql_values_failed_lookup_is_tried_again, begin, end),
        cmocka_unit_test_setup_teardown(test_cql_values_in_flight_is_bounded, begin, end),
        cmocka_unit_test_setup_teardown(test_cql_values_close_with_writes_in_flight, begin, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
