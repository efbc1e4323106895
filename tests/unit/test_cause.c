#include "support/check.h"

#include "base/base.h"
#include "loader/cause.h"

#define MS STN_NS_PER_MS
#define MB UINT64_C(1000000)

/* A way of 150 ms that has carried 237 MB/s, and does now what is said. */
#define WAY(what, mb_s, mb)                                                                        \
    .phase = STERNA_PATH_##what, .nodes = 1, .rtt_ns = 150 * MS, .rtt_far_ns = 150 * MS,           \
    .rate_bytes_s = (mb_s)*MB, .rate_max_bytes_s = 237 * MB, .window_bytes = 71 * MB,              \
    .in_flight_bytes = (mb)*MB
#define STEADY WAY(STEADY, 230, 71) /* nothing is wrong */
#define BUSY .answered = 1, .window_full = 1, .in_flight_bytes = 71 * MB

static void test_cause_of_waiting(void **state) {
    (void)state;
    static const struct {
        const char *name;
        enum sterna_stall want;
        struct stn_stall_facts facts;
    } rows[] = {
        /* at first, and when nobody is there */
        {"nothing sent yet", STERNA_STALL_CONNECT, {0}},
        {"a disk's first answer", STERNA_STALL_CONNECT, {.in_flight_bytes = MB}},
        {"no node yet", STERNA_STALL_CONNECT, {.path = {.phase = STERNA_PATH_CONNECTING}}},
        {"the first answer, under way",
         STERNA_STALL_CONNECT,
         {.in_flight_bytes = MB, .head_age_ns = 200 * MS, .path = {STEADY}}},
        {"the first answer, refused and asked for again",
         STERNA_STALL_SERVER,
         {.in_flight_bytes = MB, .path = {STEADY, .retrying = 8}}},
        {"the first answer, long after it was asked for",
         STERNA_STALL_SERVER,
         {.in_flight_bytes = MB, .head_age_ns = 1600 * MS, .path = {STEADY}}},
        {"all nodes went away",
         STERNA_STALL_CONNECT,
         {BUSY, .trouble = 1, .path = {.phase = STERNA_PATH_CONNECTING, .rtt_far_ns = MS}}},
        /* the way */
        {"steady at the maximum", STERNA_STALL_BANDWIDTH, {BUSY, .path = {STEADY}}},
        {"rate not known",
         STERNA_STALL_BANDWIDTH,
         {BUSY, .path = {.phase = STERNA_PATH_STEADY, .nodes = 1}}},
        {"half the link for another loader",
         STERNA_STALL_BANDWIDTH,
         {BUSY, .path = {WAY(STEADY, 118, 71)}}},
        {"ramping", STERNA_STALL_LATENCY, {BUSY, .path = {WAY(RAMP, 100, 71)}}},
        {"draining", STERNA_STALL_LATENCY, {BUSY, .path = {WAY(DRAIN, 100, 71)}}},
        {"the last samples of the run",
         STERNA_STALL_LATENCY,
         {.answered = 1, .in_flight_bytes = MB, .path = {WAY(STEADY, 20, 1)}}},
        {"everything has come", STERNA_STALL_LATENCY, {.answered = 1, .path = {STEADY}}},
        {"one late, later ones are here",
         STERNA_STALL_LATENCY,
         {BUSY, .late_ns = 100 * MS, .path = {WAY(STEADY, 200, 71)}}},
        {"one late, and the link is full",
         STERNA_STALL_BANDWIDTH,
         {BUSY, .late_ns = 100 * MS, .path = {STEADY}}},
        {"far nodes answer later than near ones",
         STERNA_STALL_BANDWIDTH,
         {BUSY, .late_ns = 110 * MS,
          .path = {.phase = STERNA_PATH_STEADY,
                   .nodes = 2,
                   .rtt_ns = MS,
                   .rtt_far_ns = 100 * MS,
                   .rate_bytes_s = 200 * MB,
                   .rate_max_bytes_s = 237 * MB}}},
        /* servers */
        {"one late, far beyond the queue",
         STERNA_STALL_SERVER,
         {BUSY, .late_ns = 1700 * MS, .head_age_ns = 2000 * MS, .path = {WAY(STEADY, 200, 71)}}},
        {"one late, for it was asked for again",
         STERNA_STALL_SERVER,
         {BUSY, .late_ns = 100 * MS, .asking_again = 1, .path = {WAY(STEADY, 200, 71)}}},
        {"far less than before, though enough is asked for",
         STERNA_STALL_SERVER,
         {BUSY, .path = {WAY(STEADY, 40, 71)}}},
        {"not a byte for two round trips",
         STERNA_STALL_SERVER,
         {BUSY, .silent_ns = 301 * MS, .path = {STEADY}}},
        {"not a byte for less than that",
         STERNA_STALL_BANDWIDTH,
         {BUSY, .silent_ns = 299 * MS, .path = {STEADY}}},
        {"requests wait for their next try",
         STERNA_STALL_SERVER,
         {BUSY, .path = {WAY(STEADY, 0, 71), .retrying = 300}}},
        {"overloaded", STERNA_STALL_SERVER, {BUSY, .path = {WAY(BACK_OFF, 100, 71)}}},
        {"a few failures at full rate",
         STERNA_STALL_BANDWIDTH,
         {BUSY, .trouble = 1, .asking_again = 1, .path = {STEADY}}},
        /* our own limits */
        {"max_rate", STERNA_STALL_RATE, {.answered = 1, .paced = 1, .path = {STEADY}}},
        {"max_rate, and one is late",
         STERNA_STALL_RATE,
         {.answered = 1, .paced = 1, .late_ns = 100 * MS, .path = {WAY(STEADY, 90, 5)}}},
        {"max_rate, and a few failures",
         STERNA_STALL_RATE,
         {.answered = 1, .paced = 1, .trouble = 1, .path = {WAY(STEADY, 90, 5)}}},
        {"max_rate, and not a byte comes",
         STERNA_STALL_SERVER,
         {.answered = 1, .paced = 1, .silent_ns = 400 * MS, .path = {WAY(STEADY, 0, 5)}}},
        {"memory for less than the window",
         STERNA_STALL_BUDGET,
         {.answered = 1, .wants_room = 1, .in_flight_bytes = 20 * MB, .path = {STEADY}}},
        {"memory for the window and no more",
         STERNA_STALL_BANDWIDTH,
         {BUSY, .wants_room = 1, .path = {STEADY}}},
        {"no memory, for one is late",
         STERNA_STALL_LATENCY,
         {.answered = 1, .wants_room = 1, .late_ns = 100 * MS, .path = {WAY(STEADY, 90, 5)}}},
        /* a disk */
        {"disk", STERNA_STALL_BANDWIDTH, {.answered = 1, .in_flight_bytes = MB}},
        {"disk, little memory",
         STERNA_STALL_BANDWIDTH,
         {.answered = 1, .in_flight_bytes = MB, .wants_room = 1}},
        {"disk, all memory held", STERNA_STALL_BUDGET, {.answered = 1, .wants_room = 1}},
        {"disk, errors", STERNA_STALL_SERVER, {.answered = 1, .asking_again = 1}},
    };
    for (size_t i = 0; i < STN_COUNT(rows); i++) {
        enum sterna_stall got = stn_stall_cause(&rows[i].facts);
        if (got != rows[i].want) fail_msg("%s: %d, not %d", rows[i].name, got, rows[i].want);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_cause_of_waiting)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
