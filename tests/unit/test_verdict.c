#include "support/check.h"

#include <string.h>

#include "base/base.h"
#include "loader/verdict.h"

#define MS STN_NS_PER_MS
#define S STN_NS_PER_S
#define MB UINT64_C(1000000)

static void test_links_of_usual_speed(void **state) {
    (void)state;
    static const struct {
        uint64_t rate;
        const char *name;
        uint64_t payload_mb;
    } rows[] = {
        {237 * MB, "2 Gb/s", 235},
        {235 * MB, "2 Gb/s", 235},
        {226 * MB, "2 Gb/s", 235},
        {241 * MB, "2 Gb/s", 235},
        {118 * MB, "1 Gb/s", 117},
        {117 * MB, "1 Gb/s", 117},
        {294 * MB, "2.5 Gb/s", 294},
        {1170 * MB, "10 Gb/s", 1176},
        {1176800, "10 Mb/s", 1},
        {220 * MB, NULL, 0},
        {180 * MB, NULL, 0},
        {250 * MB, NULL, 0},
        {0, NULL, 0},
    };
    for (size_t i = 0; i < STN_COUNT(rows); i++) {
        const char *name;
        uint64_t payload = stn_link_of(rows[i].rate, &name);
        if (payload / MB != rows[i].payload_mb || (name == NULL) != (rows[i].name == NULL) ||
            (name && strcmp(name, rows[i].name) != 0))
            fail_msg("row %zu: %s, %llu", i, name ? name : "none", (unsigned long long)payload);
    }
}

static void test_verdicts(void **state) {
    (void)state;
    static const struct {
        const char *want;
        struct stn_verdict_facts facts;
    } rows[] = {
        {"", {.elapsed_ns = S}},
        {"consumer-bound: the loader waited for you 92 % of the time; the store is not what limits",
         {.elapsed_ns = 100 * S,
          .batches = 50,
          .stall_ns = {0, S, 5 * S, S, 0, S, 0},
          .rate_bytes_s = 20 * MB}},
        {"consumer-bound: the loader waited for you 95 % of the time; the store is not what limits",
         {.elapsed_ns = 12 * S, .batches = 50, .stall_ns = {2 * S, S / 2, 0}}},
        {"consumer-bound: the loader waited for you 100 % of the time; the store is not what "
         "limits",
         {.elapsed_ns = 10 * S, .batches = 50}},
        {"bandwidth-bound: 234 of 236 MB/s that 2 Gb/s can carry",
         {.elapsed_ns = 10 * S,
          .batches = 50,
          .stall_ns = {S / 2, S, 8 * S},
          .rate_bytes_s = 234 * MB,
          .path = {.phase = STERNA_PATH_STEADY, .rate_max_bytes_s = 236 * MB}}},
        {"bandwidth-bound: 180 of 190 MB/s, the most that this path has carried; sterna probe "
         "STORE "
         "tells what limits it",
         {.elapsed_ns = 10 * S,
          .batches = 50,
          .stall_ns = {S / 2, S, 8 * S},
          .rate_bytes_s = 180 * MB,
          .path = {.phase = STERNA_PATH_STEADY, .rate_max_bytes_s = 190 * MB}}},
        {"bandwidth-bound: 1.2 MB/s; sterna probe STORE tells what limits it",
         {.elapsed_ns = 10 * S,
          .batches = 50,
          .stall_ns = {0, 0, 8 * S},
          .rate_bytes_s = 1200000,
          .path = {.phase = STERNA_PATH_STEADY}}},
        {"disk-bound: 812 MB/s from disk and page cache; a disk that can do more may want more "
         "--threads",
         {.elapsed_ns = 10 * S,
          .batches = 50,
          .stall_ns = {0, 0, 8 * S},
          .rate_bytes_s = 812 * MB}},
        {"latency-bound: 40 of 118 MB/s that 1 Gb/s can carry, round trip 150 ms; single answers "
         "come late: sterna probe STORE shows loss and buffers",
         {.elapsed_ns = 60 * S,
          .batches = 50,
          .stall_ns = {S, 50 * S, 8 * S},
          .rate_bytes_s = 40 * MB,
          .path = {.phase = STERNA_PATH_STEADY, .rtt_ns = 150 * MS, .rate_max_bytes_s = 117 * MB}}},
        {"latency-bound: 20 of 60 MB/s, the most that this path has carried, round trip 1.5 ms; "
         "most of this run was its start, which a longer one hides",
         {.elapsed_ns = 40 * MS,
          .batches = 2,
          .stall_ns = {10 * MS, 20 * MS},
          .rate_bytes_s = 20 * MB,
          .path = {.phase = STERNA_PATH_STEADY, .rtt_ns = 1500000, .rate_max_bytes_s = 60 * MB}}},
        {"latency-bound: 2.0 MB/s; single reads take long, or the run is too short to read ahead",
         {.elapsed_ns = S, .batches = 2, .stall_ns = {0, S}, .rate_bytes_s = 2 * MB}},
        {"connect-bound: 2.0 of 2.5 s without a node or its first answer; a longer run hides it",
         {.elapsed_ns = 2500 * MS,
          .batches = 3,
          .stall_ns = {2 * S, 300 * MS},
          .path = {.phase = STERNA_PATH_RAMP}}},
        {"connect-bound: 12.0 of 12.0 s without a node or its first answer; last: a:9042: refused",
         {.elapsed_ns = 12 * S,
          .stall_ns = {12 * S},
          .path = {.phase = STERNA_PATH_CONNECTING, .trouble = "a:9042: refused"}}},
        {"server-bound: 31 retries, 1 overloaded answer, 4 requests moved from silent nodes, 2 "
         "lost "
         "connections; last: a:9042: no answer for 10.0 s",
         {.elapsed_ns = 10 * S,
          .batches = 50,
          .stall_ns = {0, S, S, 8 * S},
          .retries = 31,
          .path = {.phase = STERNA_PATH_STEADY,
                   .overloaded = 1,
                   .suspects = 4,
                   .lost_connections = 2,
                   .trouble = "a:9042: no answer for 10.0 s"}}},
        {"server-bound: 20 of 118 MB/s that 1 Gb/s can carry, and nothing fails: look at the "
         "servers' load and disks",
         {.elapsed_ns = 10 * S,
          .batches = 50,
          .stall_ns = {0, S, S, 8 * S},
          .rate_bytes_s = 20 * MB,
          .path = {.phase = STERNA_PATH_STEADY, .rate_max_bytes_s = 117 * MB}}},
        {"store-bound: 1 retry; sterna verify lists what is damaged",
         {.elapsed_ns = 10 * S, .batches = 50, .stall_ns = {0, S, S, 8 * S}, .retries = 1}},
        {"decode-bound: 900 MB/s; checksums take 80 % of the time: the CPU is slow or busy",
         {.elapsed_ns = 10 * S,
          .batches = 50,
          .stall_ns = {0, S, S, 0, 8 * S},
          .rate_bytes_s = 900 * MB}},
        {"budget-bound: 96 MB of memory hold 0.4 of what the path needs; try --memory 256MiB",
         {.elapsed_ns = 10 * S,
          .batches = 50,
          .stall_ns = {0, S, S, 0, 0, 8 * S},
          .memory_bytes = 96 * MB,
          .wanted_bytes = 240 * MB,
          .path = {.phase = STERNA_PATH_STEADY}}},
        {"budget-bound: 700 MB of memory hold 0.5 of what the store needs; try --memory 2GiB",
         {.elapsed_ns = 10 * S,
          .batches = 50,
          .stall_ns = {0, S, S, 0, 0, 8 * S},
          .memory_bytes = 700 * MB,
          .wanted_bytes = 90 * MB}},
        {"budget-bound: 96 MB of memory hold 5 batches of yours; release them sooner, or give "
         "--memory 256MiB",
         {.elapsed_ns = 10 * S,
          .batches = 50,
          .stall_ns = {0, S, S, 0, 0, 8 * S},
          .leases = 5,
          .memory_bytes = 96 * MB}},
        {"rate-bound: 99 of 100 MB/s that --max-rate or STERNA_MAX_RATE allows",
         {.elapsed_ns = 10 * S,
          .batches = 50,
          .stall_ns = {0, S, S, 0, 0, 0, 8 * S},
          .rate_bytes_s = 99 * MB,
          .max_rate_bytes_s = 100 * MB}},
    };
    for (size_t i = 0; i < STN_COUNT(rows); i++) {
        char text[STERNA_VERDICT_BYTES];
        stn_verdict(&rows[i].facts, text, sizeof text);
        if (strcmp(text, rows[i].want) != 0)
            fail_msg("row %zu:\n%s\nnot\n%s", i, text, rows[i].want);
    }
}

static void test_a_verdict_that_does_not_fit_is_cut(void **state) {
    (void)state;
    struct stn_verdict_facts f = {.elapsed_ns = S, .stall_ns = {S}};
    char text[STERNA_VERDICT_BYTES];
    memset(f.path.trouble, 'x', sizeof f.path.trouble - 1);
    for (size_t bytes = 1; bytes <= sizeof text; bytes++) {
        memset(text, '!', sizeof text);
        stn_verdict(&f, text, bytes);
        assert_true(strlen(text) < bytes);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_links_of_usual_speed),
        cmocka_unit_test(test_verdicts),
        cmocka_unit_test(test_a_verdict_that_does_not_fit_is_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
