/* The sink alone: what an answer that breaks off, has no checksum or brings a label leaves. */
#include "support/check.h"

#include <string.h>

#include "slot/sink.h"

static struct stn_pool *pool;
static struct stn_sink sink;

static void wake(void *ctx) { (void)ctx; }

static int open_sink(void **state) {
    (void)state;
    assert_ok(stn_pool_open(&pool, 1 << 20, NULL, NULL, NULL));
    assert_ok(stn_sink_init(&sink, 4, 2, pool, wake, NULL));
    return 0;
}

static int close_sink(void **state) {
    (void)state;
    stn_sink_fini(&sink);
    stn_pool_close(&pool);
    return 0;
}

static const uint8_t id[16] = {1, 2, 3};

static uint64_t ask(void) {
    uint64_t ticket;
    struct stn_slot *slot = stn_sink_open_slot(&sink, &ticket);
    assert_non_null(slot);
    memcpy(slot->id, id, sizeof id);
    return ticket;
}

static struct stn_slot *answer(uint64_t ticket) {
    stn_sink_complete(&sink, ticket, STERNA_OK, NULL);
    struct stn_slot *slot = stn_sink_drain(&sink);
    assert_non_null(slot);
    assert_null(slot->next);
    return slot;
}

static void put(uint64_t ticket, uint32_t part, const char *text, uint32_t crc) {
    uint8_t *to;
    assert_ok(stn_sink_place(&sink, ticket, part, id, strlen(text), crc, &to));
    memcpy(to, text, strlen(text));
}

static void test_sink_restart_forgets(void **state) {
    (void)state;
    uint64_t ticket = ask();
    put(ticket, 0, "cut sho", 7);
    put(ticket, 1, "first", 7);
    stn_sink_unchecked(&sink, ticket, 1);
    stn_sink_label(&sink, ticket, 5);
    stn_sink_restart(&sink, ticket);
    put(ticket, 1, "second", stn_crc32c(0, "second", 6)); /* the other part is null now */
    struct stn_slot *slot = answer(ticket);
    assert_int_equal(slot->code, STERNA_OK);
    assert_false(slot->parts[0].placed);
    assert_null(slot->parts[0].data);
    assert_int_equal(slot->parts[1].bytes, 6);
    assert_memory_equal(slot->parts[1].data, "second", 6);
    assert_true(slot->label == STERNA_LABEL_NONE);
    stn_sink_close_slot(&sink, slot);
}

static void test_sink_restart_checks_again(void **state) {
    (void)state;
    uint64_t ticket = ask();
    put(ticket, 0, "first", 0);
    stn_sink_unchecked(&sink, ticket, 0);
    stn_sink_restart(&sink, ticket);
    put(ticket, 0, "second", 1);
    struct stn_slot *slot = answer(ticket);
    assert_int_equal(slot->code, STERNA_ECORRUPT);
    stn_sink_close_slot(&sink, slot);
}

static void test_sink_unchecked_is_of_one_part(void **state) {
    (void)state;
    uint64_t ticket = ask();
    put(ticket, 0, "any", 1);
    put(ticket, 1, "checked", 1);
    stn_sink_unchecked(&sink, ticket, 0);
    stn_sink_unchecked(&sink, ticket, 2); /* there is none */
    struct stn_slot *slot = answer(ticket);
    assert_int_equal(slot->code, STERNA_ECORRUPT);
    stn_sink_close_slot(&sink, slot);
    ticket = ask();
    put(ticket, 0, "any", 1);
    stn_sink_unchecked(&sink, ticket, 0);
    slot = answer(ticket);
    assert_int_equal(slot->code, STERNA_OK);
    stn_sink_close_slot(&sink, slot);
}

static void test_sink_stale_tickets_change_nothing(void **state) {
    (void)state;
    uint64_t ticket = ask();
    put(ticket, 0, "bytes", stn_crc32c(0, "bytes", 5));
    stn_sink_label(&sink, ticket, -3);
    struct stn_slot *slot = answer(ticket);
    stn_sink_label(&sink, ticket, 4);
    stn_sink_restart(&sink, ticket);
    assert_true(slot->label == -3);
    assert_true(slot->parts[0].placed);
    stn_sink_close_slot(&sink, slot);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_sink_restart_forgets, open_sink, close_sink),
        cmocka_unit_test_setup_teardown(test_sink_restart_checks_again, open_sink, close_sink),
        cmocka_unit_test_setup_teardown(test_sink_unchecked_is_of_one_part, open_sink, close_sink),
        cmocka_unit_test_setup_teardown(test_sink_stale_tickets_change_nothing, open_sink,
                                        close_sink),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
