#include "support/check.h"

#include <string.h>

#include "net/ring.h"

#define MINUTE (60 * STN_NS_PER_S)

struct payload {
    uint8_t bytes[1024];
    size_t used;
};

static void put(struct payload *p, uint64_t v, size_t bytes) { /* big-endian */
    for (size_t i = 0; i < bytes; i++) p->bytes[p->used++] = (uint8_t)(v >> 8 * (bytes - 1 - i));
}

/* A tablet of n replicas: host ids 16 times h, shards 10 + h, for h = host, host + 1 ... */
static struct stn_cql_value make(struct payload *p, int64_t first, int64_t last, uint8_t host,
                                 uint32_t n) {
    p->used = 0;
    put(p, 8, 4);
    put(p, (uint64_t)first, 8);
    put(p, 8, 4);
    put(p, (uint64_t)last, 8);
    put(p, 4 + n * 32, 4);
    put(p, n, 4);
    for (uint32_t i = 0; i < n; i++) {
        put(p, 28, 4);
        put(p, 16, 4);
        memset(p->bytes + p->used, host + (int)i, 16);
        p->used += 16;
        put(p, 4, 4);
        put(p, (uint64_t)(10 + host) + i, 4);
    }
    return (struct stn_cql_value){p->bytes, (int32_t)p->used};
}

static void learn(struct stn_tablets *t, int64_t first, int64_t last, uint8_t host, uint64_t now) {
    struct payload p;
    assert_ok(stn_tablets_learn(t, make(&p, first, last, host, 2), now));
}

/* First byte of the first replica's host id, 0 if there is none. */
static int host_of(const struct stn_tablets *t, int64_t token, uint64_t now) {
    const struct stn_tablet_replica *r;
    size_t n = stn_tablets_find(t, token, now, &r);
    if (n == 0) return 0;
    assert_int_equal(n, 2);
    assert_int_equal(r[0].shard, 10 + r[0].host_id[0]);
    assert_int_equal(r[1].host_id[15], r[0].host_id[0] + 1);
    return r[0].host_id[0];
}

static void test_tablets_find(void **state) {
    struct stn_tablets *t;
    (void)state;
    assert_ok(stn_tablets_open(&t));
    assert_int_equal(host_of(t, 0, 0), 0);
    learn(t, 100, 200, 1, 0);
    learn(t, -100, 0, 2, 0);
    learn(t, 300, INT64_MAX, 3, 0);
    learn(t, INT64_MIN, -100, 4, 0);
    static const struct {
        int64_t token;
        int host;
    } rows[] = {{100, 0},  {101, 1}, {200, 1},       {201, 0}, {-100, 4},      {-99, 2}, {0, 2},
                {1, 0},    {300, 0}, {INT64_MAX, 3}, {301, 3}, {INT64_MIN, 0}, /* no key has it */
                {-5000, 4}};
    for (size_t i = 0; i < STN_COUNT(rows); i++)
        if (host_of(t, rows[i].token, 0) != rows[i].host)
            fail_msg("token %lld: host %d", (long long)rows[i].token, host_of(t, rows[i].token, 0));
    stn_tablets_clear(t);
    assert_int_equal(host_of(t, 150, 0), 0);
    learn(t, 100, 200, 7, 0);
    assert_int_equal(host_of(t, 150, 0), 7);
    stn_tablets_close(&t);
    assert_null(t);
    stn_tablets_close(&t);
}

/* What is learnt replaces all that it overlaps, and nothing beside it. */
static void test_tablets_learn_overlaps(void **state) {
    static const struct {
        int64_t first, last;
        int want[6]; /* hosts of 50, 150, 250, 350, 450, 550 */
    } rows[] = {
        {200, 300, {1, 2, 9, 4, 5, 0}},
        {200, 250, {1, 2, 9, 4, 5, 0}}, /* split: its left half */
        {250, 300, {1, 2, 0, 4, 5, 0}}, /* its right half */
        {220, 280, {1, 2, 9, 4, 5, 0}},
        {100, 300, {1, 9, 9, 4, 5, 0}}, /* two merged */
        {150, 350, {1, 0, 9, 9, 5, 0}},
        {0, 500, {9, 9, 9, 9, 9, 0}},
        {-50, 600, {9, 9, 9, 9, 9, 9}},
        {500, 600, {1, 2, 3, 4, 5, 9}},
        {-100, 0, {1, 2, 3, 4, 5, 0}},
        {INT64_MIN, INT64_MAX, {9, 9, 9, 9, 9, 9}},
        {INT64_MIN, 1, {0, 2, 3, 4, 5, 0}},
        {499, INT64_MAX, {1, 2, 3, 4, 0, 9}},
    };
    (void)state;
    for (size_t i = 0; i < STN_COUNT(rows); i++) {
        struct stn_tablets *t;
        assert_ok(stn_tablets_open(&t));
        for (int k = 0; k < 5; k++) learn(t, k * 100, k * 100 + 100, (uint8_t)(1 + k), 0);
        learn(t, rows[i].first, rows[i].last, 9, 0);
        for (int k = 0; k < 6; k++)
            if (host_of(t, 50 + 100 * k, 0) != rows[i].want[k])
                fail_msg("row %zu: host of %d is %d, not %d", i, 50 + 100 * k,
                         host_of(t, 50 + 100 * k, 0), rows[i].want[k]);
        stn_tablets_close(&t);
    }
}

static void test_tablets_expire(void **state) {
    struct stn_tablets *t;
    (void)state;
    assert_ok(stn_tablets_open(&t));
    learn(t, 0, 100, 1, 5 * MINUTE);
    learn(t, 100, 200, 2, 9 * MINUTE);
    assert_int_equal(host_of(t, 50, 15 * MINUTE), 1);
    assert_int_equal(host_of(t, 50, 15 * MINUTE + 1), 0);
    assert_int_equal(host_of(t, 150, 15 * MINUTE + 1), 2);
    learn(t, 0, 100, 3, 16 * MINUTE);
    assert_int_equal(host_of(t, 50, 20 * MINUTE), 3);
    assert_int_equal(host_of(t, 150, 20 * MINUTE), 0);
    stn_tablets_close(&t);
}

/* Offsets: first at 4, last at 16, bytes of the list at 24, n at 28, then 32 bytes a replica. */
static void test_tablets_learn_refuses(void **state) {
    static const struct {
        const char *name;
        size_t at;
        uint8_t value;
    } rows[] = {
        {"first is no bigint", 3, 4},         {"last is null", 12, 0xff},
        {"last before first", 16, 0x80},      {"list longer than the payload", 26, 1},
        {"list is null", 24, 0xff},           {"no replicas", 31, 0},
        {"more replicas than bytes", 31, 3},  {"a great many replicas", 28, 0x7f},
        {"host id of 15 bytes", 39, 15},      {"shard of 5 bytes", 59, 5},
        {"negative shard", 60, 0x80},         {"replica longer than the list", 34, 1},
        {"second replica is null", 64, 0xff},
    };
    struct stn_tablets *t;
    struct payload p;
    (void)state;
    assert_ok(stn_tablets_open(&t));
    learn(t, 100, 200, 5, 0);
    for (size_t i = 0; i < STN_COUNT(rows); i++) {
        struct stn_cql_value v = make(&p, 100, 200, 1, 2);
        p.bytes[rows[i].at] = rows[i].value;
        int rc = stn_tablets_learn(t, v, 0);
        if (rc != STERNA_EPROTO) fail_msg("%s: %d", rows[i].name, rc);
        if (host_of(t, 150, 0) != 5) fail_msg("%s: changed", rows[i].name);
    }
    assert_int_equal(stn_tablets_learn(t, make(&p, 100, 100, 1, 2), 0), STERNA_EPROTO);
    assert_int_equal(stn_tablets_learn(t, make(&p, 0, 300, 1, STN_REPLICAS_MAX + 1), 0),
                     STERNA_EPROTO);
    assert_int_equal(stn_tablets_learn(t, stn_value_null(), 0), STERNA_EPROTO);
    for (int32_t n = 0; n < make(&p, 100, 200, 1, 2).bytes; n++) {
        uint8_t *exact = malloc((size_t)n + 1);
        assert_non_null(exact);
        memcpy(exact, p.bytes, (size_t)n);
        assert_int_equal(stn_tablets_learn(t, (struct stn_cql_value){exact, n}, 0), STERNA_EPROTO);
        free(exact);
    }
    assert_int_equal(host_of(t, 150, 0), 5);
    stn_tablets_close(&t);
}

static void test_tablets_learn_reads_no_further(void **state) {
    struct stn_tablets *t;
    struct payload p;
    (void)state;
    assert_ok(stn_tablets_open(&t));
    struct stn_cql_value v = make(&p, 0, 100, 1, 2);
    memset(p.bytes + p.used, 0xff, 9); /* a later version's fourth element */
    v.bytes += 9;
    assert_ok(stn_tablets_learn(t, v, 0));
    assert_int_equal(host_of(t, 50, 0), 1);
    stn_tablets_close(&t);
}

/* Against an array of the whole, small range: many random tablets. */
static void test_tablets_learn_is_a_map(void **state) {
    int want[64] = {0}, ends[64][2];
    uint64_t seed = 7;
    struct stn_tablets *t;
    (void)state;
    assert_ok(stn_tablets_open(&t));
    for (int round = 0; round < 5000; round++) {
        seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407u;
        int first = (int)(seed >> 33) % 60, last = first + 1 + (int)(seed >> 50) % 4;
        uint8_t host = (uint8_t)(1 + round % 200);
        learn(t, first, last, host, 0);
        for (int i = 0; i < 64; i++) /* (first, last] of what is gone is known no more */
            if (want[i] && ends[i][1] > first && ends[i][0] < last) want[i] = 0;
        for (int i = first + 1; i <= last; i++) {
            want[i] = host;
            ends[i][0] = first;
            ends[i][1] = last;
        }
        for (int i = 0; i < 64; i++)
            if (host_of(t, i, 0) != want[i])
                fail_msg("round %d: token %d: %d, not %d", round, i, host_of(t, i, 0), want[i]);
    }
    stn_tablets_close(&t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tablets_find),
        cmocka_unit_test(test_tablets_learn_overlaps),
        cmocka_unit_test(test_tablets_expire),
        cmocka_unit_test(test_tablets_learn_refuses),
        cmocka_unit_test(test_tablets_learn_reads_no_further),
        cmocka_unit_test(test_tablets_learn_is_a_map),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
