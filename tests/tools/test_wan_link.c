/* tools/wan without its namespaces: cutting packets, the link's arithmetic, packets on their way.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "link.h"
#include "packet.h"
#include "transit.h"

enum { IP_BYTES = 20, TCP_BYTES = 32, HEADERS = IP_BYTES + TCP_BYTES, MSS = 1448 };
enum { FIN = 1, PSH = 8, ACK = 16, ECE = 64, CWR = 128 };
#define MS UINT64_C(1000000)

/* ---- packets ---- */

static void put16(uint8_t *at, unsigned v) {
    at[0] = (uint8_t)(v >> 8);
    at[1] = (uint8_t)v;
}
static unsigned get16(const uint8_t *at) { return (unsigned)(at[0] << 8 | at[1]); }
static uint32_t get32(const uint8_t *at) { return (uint32_t)get16(at) << 16 | get16(at + 2); }

/* RFC 1071, over any number of bytes. */
static unsigned sum_of(const uint8_t *at, size_t n, uint32_t sum) {
    for (size_t i = 0; i < n; i++) sum += i % 2 ? at[i] : (uint32_t)at[i] << 8;
    while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
    return sum;
}

/* A super-packet of TCP data as a TUN device gives it; its bytes. */
static size_t make_super(uint8_t *p, size_t payload, unsigned mss, unsigned flags) {
    static const uint8_t ip[IP_BYTES] = {0x45, 0, 0,  0,  0xff, 0xfe, 0x40, 0,  64, 6,
                                         0,    0, 10, 77, 0,    1,    10,   77, 0,  2};
    memset(p, 0, WAN_VNET_BYTES + HEADERS);
    p[0] = 1;       /* checksum to be done */
    p[1] = 1;       /* TCP over IPv4, little-endian from here on */
    p[2] = HEADERS; /* headers */
    p[4] = (uint8_t)mss;
    p[5] = (uint8_t)(mss >> 8);
    p[6] = IP_BYTES; /* checksum from there on */
    p[8] = 16;       /* to there */
    uint8_t *at = p + WAN_VNET_BYTES, *tcp = at + IP_BYTES;
    memcpy(at, ip, sizeof ip);
    put16(at + 2, (unsigned)(HEADERS + payload));
    put16(at + 10, ~sum_of(at, IP_BYTES, 0) & 0xffff);
    put16(tcp, 9042);
    put16(tcp + 2, 40000);
    put16(tcp + 4, 0xffff); /* sequence 0xfffff000: runs over */
    put16(tcp + 6, 0xf000);
    tcp[12] = TCP_BYTES / 4 << 4;
    tcp[13] = (uint8_t)flags;
    put16(tcp + 16, sum_of(at + 12, 8, (uint32_t)(6 + TCP_BYTES + payload)));
    for (size_t i = 0; i < payload; i++) tcp[TCP_BYTES + i] = (uint8_t)(i * 7 + i / 251);
    return WAN_VNET_BYTES + HEADERS + payload;
}

static uint8_t super[WAN_PACKET_BYTES_MAX], part[WAN_PACKET_BYTES_MAX];

static void test_packet_shapes(void **state) {
    (void)state;
    size_t n = make_super(super, 3 * MSS + 100, MSS, ACK);
    struct wan_shape s = wan_packet_shape(super, n);
    assert_int_equal(s.n_segments, 4);
    assert_int_equal(wan_packet_segment_bytes(&s, 0), 1500);
    assert_int_equal(wan_packet_segment_bytes(&s, 3), HEADERS + 100);
    assert_int_equal(wan_packet_wire_bytes(1500), 1538);
    assert_int_equal(wan_packet_wire_bytes(40), 84); /* Ethernet's smallest frame */

    s = wan_packet_shape(super, make_super(super, 3 * MSS, MSS, ACK));
    assert_int_equal(s.n_segments, 3);
    assert_int_equal(wan_packet_segment_bytes(&s, 2), 1500);
}

static void test_packet_that_makes_no_sense_is_one(void **state) {
    (void)state;
    static const struct {
        const char *name;
        size_t at;
        uint8_t value;
    } rows[] = {{"no super-packet", 1, 0},
                {"not TCP", WAN_VNET_BYTES + 9, 17},
                {"an IP header of nothing", WAN_VNET_BYTES, 0x40},
                {"an IP header over all", WAN_VNET_BYTES, 0x4f},
                {"a TCP header of nothing", WAN_VNET_BYTES + IP_BYTES + 12, 0},
                {"a TCP header over all", WAN_VNET_BYTES + IP_BYTES + 12, 0xf0}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        size_t n = make_super(super, 20, 8, ACK);
        super[rows[i].at] = rows[i].value;
        struct wan_shape s = wan_packet_shape(super, n);
        if (s.n_segments != 1 || wan_packet_segment_bytes(&s, 0) != HEADERS + 20)
            fail_msg("%s: %u segments", rows[i].name, s.n_segments);
    }
    for (size_t n = WAN_VNET_BYTES + 1; n <= WAN_VNET_BYTES + HEADERS; n++) { /* cut short */
        make_super(super, 3000, 1000, ACK);
        assert_int_equal(wan_packet_shape(super, n).n_segments, 1);
    }
}

static void check_part(const struct wan_shape *s, uint32_t first, uint32_t n, unsigned flags) {
    size_t from = (size_t)first * MSS, payload = (size_t)n * MSS;
    if (payload > s->payload_bytes - from) payload = s->payload_bytes - from;
    size_t bytes = wan_packet_cut(super, s, first, n, part);
    const uint8_t *ip = part + WAN_VNET_BYTES, *tcp = ip + IP_BYTES;
    assert_int_equal(bytes, WAN_VNET_BYTES + HEADERS + payload);
    assert_int_equal(part[0], 1);
    assert_int_equal(part[1], n > 1);
    assert_int_equal(part[4] | part[5] << 8, n > 1 ? MSS : 0);
    assert_int_equal(get16(ip + 2), HEADERS + payload);
    assert_int_equal(get16(ip + 4), (0xfffe + first) & 0xffff);
    assert_int_equal(sum_of(ip, IP_BYTES, 0), 0xffff);
    assert_int_equal(get32(tcp + 4), (uint32_t)(0xfffff000 + from));
    assert_int_equal(tcp[13], flags);
    assert_memory_equal(tcp + TCP_BYTES, super + WAN_VNET_BYTES + HEADERS + from, payload);
    /* What the device makes of the field must be the checksum that the RFC asks for. */
    unsigned made = ~sum_of(tcp, TCP_BYTES + payload, 0) & 0xffff;
    put16(part + WAN_VNET_BYTES + IP_BYTES + 16, 0);
    uint32_t pseudo = sum_of(ip + 12, 8, (uint32_t)(6 + TCP_BYTES + payload));
    assert_int_equal(made, ~sum_of(tcp, TCP_BYTES + payload, pseudo) & 0xffff);
}

static void test_packet_parts_are_as_if_sent_alone(void **state) {
    (void)state;
    size_t bytes = make_super(super, 4 * MSS + 701, MSS, FIN | PSH | ACK | ECE | CWR);
    struct wan_shape s = wan_packet_shape(super, bytes);
    check_part(&s, 0, 2, ACK | ECE | CWR);
    check_part(&s, 1, 3, ACK | ECE);
    check_part(&s, 2, 1, ACK | ECE);
    check_part(&s, 3, 2, FIN | PSH | ACK | ECE);
    check_part(&s, 4, 1, FIN | PSH | ACK | ECE);
    check_part(&s, 0, 5, FIN | PSH | ACK | ECE | CWR);
}

/* ---- the link ---- */

static struct wan_part parts[WAN_SEGMENTS_MAX];
static const struct wan_shape one = {.payload_bytes = 1500, .segment_bytes = 1500, .n_segments = 1};

static struct wan_shape many(uint32_t n) {
    return (struct wan_shape){
        .header_bytes = HEADERS, .payload_bytes = n * MSS, .segment_bytes = MSS, .n_segments = n};
}

static void test_link_rate_counts_ethernet_and_the_queue_ends(void **state) {
    (void)state;
    const struct wan_link_options o = {.mbit = 100, .delay_ms = 75, .queue_ms = 1, .seed = 1};
    const uint64_t each_ns = 1538 * 80; /* 100 Mb/s: 80 ns a byte */
    struct wan_link l;
    wan_link_init(&l, &o);
    for (uint64_t i = 0; i < 20; i++) {
        size_t n = wan_link_send(&l, 5 * MS, &one, parts);
        assert_int_equal(n, i * each_ns <= MS); /* who would wait longer than 1 ms is dropped */
        if (n) assert_int_equal(parts[0].due_ns, 5 * MS + (i + 1) * each_ns + 75 * MS);
    }
    assert_int_equal(l.counts.segments, 9);
    assert_int_equal(l.counts.queue_drops, 11);
    assert_int_equal(l.counts.wire_bytes, 9 * 1538);
    assert_int_equal(l.counts.queue_ns_max, 8 * each_ns);
    assert_int_equal(wan_link_send(&l, 8 * MS, &one, parts), 1); /* the link was idle */
    assert_int_equal(parts[0].due_ns, 8 * MS + each_ns + 75 * MS);
}

static void test_link_drops_the_tail_of_a_super_packet_only(void **state) {
    (void)state;
    const struct wan_link_options o = {.mbit = 1000, .queue_ms = 0.1, .seed = 1};
    const struct wan_shape s = many(40);
    struct wan_link l;
    wan_link_init(&l, &o);
    assert_int_equal(wan_link_send(&l, 0, &s, parts), 1);
    assert_int_equal(parts[0].first, 0);
    assert_int_equal(parts[0].n, 9); /* 12.304 us each; the tenth would wait 110 us */
    assert_int_equal(l.counts.queue_drops, 31);
}

static void test_link_loses_single_segments(void **state) {
    (void)state;
    const struct wan_link_options o = {.loss = 0.01, .seed = 7};
    const struct wan_shape s = many(45);
    struct wan_link l;
    uint64_t gaps = 0;
    wan_link_init(&l, &o);
    for (int i = 0; i < 20000; i++) {
        size_t n = wan_link_send(&l, (uint64_t)i, &s, parts);
        uint32_t next = 0;
        for (size_t k = 0; k < n; k++) {
            assert_true(parts[k].n > 0 && parts[k].first >= next + (k > 0));
            gaps += parts[k].first - next;
            next = parts[k].first + parts[k].n;
        }
        gaps += s.n_segments - next;
    }
    assert_int_equal(gaps, l.counts.lost);
    assert_int_equal(l.counts.lost + l.counts.segments, 20000 * 45);
    assert_in_range(l.counts.lost, 9000 - 500, 9000 + 500); /* 5 deviations of 94 */
}

static void test_link_loss_of_all_and_of_nothing(void **state) {
    (void)state;
    struct wan_link l;
    wan_link_init(&l, &(struct wan_link_options){.loss = 1});
    for (int i = 0; i < 100; i++) assert_int_equal(wan_link_send(&l, 0, &one, parts), 0);
    assert_int_equal(l.counts.lost, 100);
    wan_link_init(&l, &(struct wan_link_options){.loss = 0});
    for (int i = 0; i < 100; i++) assert_int_equal(wan_link_send(&l, 0, &one, parts), 1);
}

static void test_link_cuts_what_would_be_a_long_burst(void **state) {
    (void)state;
    const struct wan_shape s = many(45);
    struct wan_link l;
    wan_link_init(&l, &(struct wan_link_options){.mbit = 100, .queue_ms = 100});
    size_t n = wan_link_send(&l, 0, &s, parts);
    assert_int_equal(n, 6); /* 8 segments, 0.98 ms, each */
    assert_int_equal(parts[0].n, 8);
    assert_int_equal(parts[5].first, 40);
    assert_int_equal(parts[5].n, 5);
}

static void test_link_jitter_keeps_the_order(void **state) {
    (void)state;
    static const double jitters_ms[] = {1, 40};
    for (size_t k = 0; k < 2; k++) {
        const struct wan_link_options o = {.delay_ms = 10, .jitter_ms = jitters_ms[k], .seed = 3};
        uint64_t last_ns = 0, least_ns = UINT64_MAX, most_ns = 0;
        struct wan_link l;
        wan_link_init(&l, &o);
        for (uint64_t now = 0; now < 4000 * MS; now += MS / 10) {
            assert_int_equal(wan_link_send(&l, now, &one, parts), 1);
            uint64_t took_ns = parts[0].due_ns - now;
            assert_true(parts[0].due_ns >= last_ns);
            last_ns = parts[0].due_ns;
            if (took_ns < least_ns) least_ns = took_ns;
            if (took_ns > most_ns) most_ns = took_ns;
        }
        assert_true(least_ns >= 10 * MS && (double)most_ns <= (10 + o.jitter_ms) * 1e6);
        assert_true((double)(most_ns - least_ns) > 0.6 * o.jitter_ms * 1e6);
    }
}

static void test_link_reorders_single_segments(void **state) {
    (void)state;
    const struct wan_link_options o = {.delay_ms = 40, .reorder = 0.02, .seed = 5};
    const struct wan_shape s = many(45);
    struct wan_link l;
    uint64_t late = 0;
    wan_link_init(&l, &o);
    for (int i = 0; i < 2000; i++) {
        size_t n = wan_link_send(&l, (uint64_t)i, &s, parts);
        uint32_t next = 0;
        for (size_t k = 0; k < n; k++) {
            assert_int_equal(parts[k].first, next);
            next += parts[k].n;
            if (parts[k].late) {
                assert_int_equal(parts[k].n, 1);
                assert_in_range(parts[k].due_ns, 40 * MS, 50 * MS + 2000);
                late++;
            } else {
                assert_int_equal(parts[k].due_ns, 40 * MS + (uint64_t)i);
            }
        }
        assert_int_equal(next, 45);
    }
    assert_int_equal(late, l.counts.reordered);
    assert_in_range(late, 1800 - 215, 1800 + 215); /* 5 deviations of 42 */
}

/* ---- on their way ---- */

static void put(struct wan_transit *t, uint64_t due_ns, int late, uint8_t mark, uint32_t bytes) {
    uint8_t *room = wan_transit_room(t);
    assert_non_null(room);
    memset(room, mark, bytes);
    wan_transit_put(t, bytes, due_ns, late);
}

static void take(struct wan_transit *t, uint64_t due_ns, uint8_t mark) {
    const struct wan_packet *p = wan_transit_first(t);
    assert_non_null(p);
    assert_int_equal(p->due_ns, due_ns);
    assert_int_equal(p->bytes[0], mark);
    assert_int_equal(p->bytes[p->n_bytes - 1], mark);
    wan_transit_take(t);
}

static void test_transit_late_ones_come_between(void **state) {
    (void)state;
    struct wan_transit t;
    assert_int_equal(wan_transit_init(&t, 1 << 20), 0);
    assert_null(wan_transit_first(&t));
    put(&t, 10, 0, 1, 1500);
    put(&t, 35, 1, 2, 60);
    put(&t, 20, 0, 3, 65000);
    put(&t, 25, 1, 4, 1500);
    put(&t, 30, 0, 5, 1);
    put(&t, 15, 1, 6, 1500);
    put(&t, 30, 0, 7, 1500);
    take(&t, 10, 1);
    take(&t, 15, 6);
    take(&t, 20, 3);
    take(&t, 25, 4);
    take(&t, 30, 5);
    take(&t, 30, 7);
    take(&t, 35, 2);
    assert_null(wan_transit_first(&t));
    wan_transit_fini(&t);
}

static void test_transit_uses_what_it_used_before(void **state) {
    (void)state;
    struct wan_transit t;
    uint64_t in = 0, out = 0;
    const uint8_t *highest = NULL;
    assert_int_equal(wan_transit_init(&t, UINT64_C(256) << 20), 0);
    const uint8_t *lowest = t.memory;
    for (; in < 100000; in++) { /* 40 on their way, 40 kB each */
        put(&t, in, 0, (uint8_t)in, 40000);
        if (wan_transit_first(&t)->bytes > highest) highest = wan_transit_first(&t)->bytes;
        for (; in - out >= 40; out++) take(&t, out, (uint8_t)out);
    }
    assert_true(highest - lowest < 5 << 20);
    wan_transit_fini(&t);
}

static void test_transit_is_bounded(void **state) {
    (void)state;
    struct wan_transit t;
    uint64_t n = 0, bytes_max = 4 << 20;
    assert_int_equal(wan_transit_init(&t, bytes_max), 0);
    for (; wan_transit_room(&t); n++) put(&t, n, n % 2 == 0, (uint8_t)n, 60000);
    assert_true(n * 60000 >= bytes_max && n * 60000 < 16 * bytes_max);
    for (uint64_t i = 0; i < n; i++) take(&t, i, (uint8_t)i); /* which makes room for as many */
    for (uint64_t i = 0; i + 20 < n; i++) put(&t, i, 0, (uint8_t)i, 60000);
    wan_transit_fini(&t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_packet_shapes),
        cmocka_unit_test(test_packet_that_makes_no_sense_is_one),
        cmocka_unit_test(test_packet_parts_are_as_if_sent_alone),
        cmocka_unit_test(test_link_rate_counts_ethernet_and_the_queue_ends),
        cmocka_unit_test(test_link_drops_the_tail_of_a_super_packet_only),
        cmocka_unit_test(test_link_loses_single_segments),
        cmocka_unit_test(test_link_loss_of_all_and_of_nothing),
        cmocka_unit_test(test_link_cuts_what_would_be_a_long_burst),
        cmocka_unit_test(test_link_jitter_keeps_the_order),
        cmocka_unit_test(test_link_reorders_single_segments),
        cmocka_unit_test(test_transit_late_ones_come_between),
        cmocka_unit_test(test_transit_uses_what_it_used_before),
        cmocka_unit_test(test_transit_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
