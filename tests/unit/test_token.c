#include "support/check.h"

#include <string.h>

#include "base/bytes.h"
#include "wire/token.h"
#include "wire/types.h"

static const uint8_t some_uuid[16] = {0x55, 0x0e, 0x84, 0x00, 0xe2, 0x9b, 0x41, 0xd4,
                                      0xa7, 0x16, 0x44, 0x66, 0x55, 0x44, 0x00, 0x00};

static void test_token_of_texts(void **state) {
    static const struct {
        const char *key;
        int64_t token;
    } rows[] = {
        {"test", -6017608668500074083},
        {"xd", 4507812186440344727},
        {"primary_key", -1632642444691073360},
        {"kremówki", 4354931215268080151}, /* bytes over 0x7f in the tail */
        {"", INT64_MIN},
    };
    (void)state;
    for (size_t i = 0; i < STN_COUNT(rows); i++) {
        int64_t got = stn_token(rows[i].key, strlen(rows[i].key));
        if (got != rows[i].token) fail_msg("%s: %lld", rows[i].key, (long long)got);
    }
}

static void test_token_of_uuids(void **state) {
    static const struct {
        uint8_t uuid[16];
        int64_t token;
    } rows[] = {
        {{0}, 5457549051747178710},
        {{255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255},
         -2824192546314762522},
        {{0x55, 0x0e, 0x84, 0x00, 0xe2, 0x9b, 0x41, 0xd4, 0xa7, 0x16, 0x44, 0x66, 0x55, 0x44, 0, 0},
         4277286421682315655},
        {{0x12, 0x34, 0x56, 0x78, 0x9a, 0xbc, 0xde, 0xf0, 0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd,
          0xef},
         -6110410978198096974},
    };
    (void)state;
    for (size_t i = 0; i < STN_COUNT(rows); i++) {
        int64_t got = stn_token(rows[i].uuid, 16);
        if (got != rows[i].token) fail_msg("uuid %zu: %lld", i, (long long)got);
    }
}

/* A key of several columns is joined of u16 length, bytes, a zero byte each. */
static void put_part(struct stn_writer *w, const void *data, size_t bytes) {
    stn_put_be16(w, (uint16_t)bytes);
    stn_put_bytes(w, data, bytes);
    stn_put_u8(w, 0);
}

static void test_token_of_a_key_of_two_columns(void **state) {
    uint8_t key[64], seven[4];
    struct stn_writer w = {key, sizeof key, 0};
    (void)state;
    put_part(&w, some_uuid, 16);
    put_part(&w, stn_value_from_int(7, seven).data, 4);
    assert_int_equal(w.used, 26);
    assert_true(stn_token(key, w.used) == -333440711263894868);
}

static void test_token_reads_a_key_at_any_address(void **state) {
    uint8_t buf[32];
    (void)state;
    for (size_t i = 0; i < 16; i++) {
        memcpy(buf + i, some_uuid, 16);
        assert_true(stn_token(buf + i, 16) == 4277286421682315655);
    }
}

static void test_token_shards(void **state) {
    static const uint32_t n_shards[5] = {1, 4, 7, 16, 96};
    static const struct {
        int64_t token;
        uint32_t shard[5];
    } rows[] = {
        {-6017608668500074083, {0, 3, 5, 13, 78}},
        {4354931215268080151, {0, 3, 6, 15, 94}},
        {0, {0, 0, 0, 0, 0}},
    };
    (void)state;
    for (size_t i = 0; i < STN_COUNT(rows); i++)
        for (size_t k = 0; k < 5; k++)
            assert_int_equal(stn_token_shard(rows[i].token, n_shards[k], 12), rows[i].shard[k]);
    assert_int_equal(stn_token_shard(INT64_MIN, 7, 0), 0); /* the ends of the ring, none ignored */
    assert_int_equal(stn_token_shard(INT64_MAX, 7, 0), 6);
    assert_int_equal(stn_token_shard(INT64_MAX, UINT32_MAX, 0), UINT32_MAX - 1);
    assert_int_equal(stn_token_shard(-1, 7, 64), 0); /* nonsense from a server */
    assert_int_equal(stn_token_shard(-1, 0, 12), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_token_of_texts),
        cmocka_unit_test(test_token_of_uuids),
        cmocka_unit_test(test_token_of_a_key_of_two_columns),
        cmocka_unit_test(test_token_reads_a_key_at_any_address),
        cmocka_unit_test(test_token_shards),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
