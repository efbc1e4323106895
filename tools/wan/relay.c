#include "relay.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "transit.h"

enum { READS_MAX = 256, NICE = -10 };
#define GRAIN_NS_MAX UINT64_C(100000)
#define GRAINS_IN_DELAY 64 /* so that a grain is no visible part of the delay */

struct direction {
    struct wan_relay *relay;
    int in, out;
    pthread_t thread;
    struct wan_link link;
    struct wan_transit transit;
    struct wan_relay_counts counts;
    uint64_t grain_ns;
    struct wan_part parts[WAN_SEGMENTS_MAX];
    uint8_t scratch[WAN_PACKET_BYTES_MAX]; /* a packet that is cut */
};

struct wan_relay {
    struct direction directions[2];
    uint64_t start_ns; /* all times are since then, so that picoseconds fit */
    int stop_fd;
    _Atomic int stopped;
    size_t n_threads;
};

static uint64_t clock_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static uint64_t now_ns(const struct direction *d) { return clock_ns() - d->relay->start_ns; }

/* ---- in and out ---- */

static void count_no_room(struct direction *d, uint32_t n_segments) {
    d->counts.memory_drops += n_segments;
}

static void send_on(struct direction *d, uint8_t *packet, uint32_t bytes) {
    struct wan_shape shape = wan_packet_shape(packet, bytes);
    size_t n = wan_link_send(&d->link, now_ns(d), &shape, d->parts);
    if (n == 1 && d->parts[0].n == shape.n_segments) {
        wan_transit_put(&d->transit, bytes, d->parts[0].due_ns, d->parts[0].late);
        return;
    }
    if (n == 0) return;
    memcpy(d->scratch, packet, bytes); /* where it lies, its parts will be */
    for (size_t i = 0; i < n; i++) {
        const struct wan_part *part = &d->parts[i];
        uint8_t *to = wan_transit_room(&d->transit);
        if (!to) {
            count_no_room(d, part->n);
            continue;
        }
        size_t cut = wan_packet_cut(d->scratch, &shape, part->first, part->n, to);
        wan_transit_put(&d->transit, (uint32_t)cut, part->due_ns, part->late);
    }
}

/* Returns how many packets came. */
static size_t take_in(struct direction *d) {
    for (size_t i = 0; i < READS_MAX; i++) {
        uint8_t *room = wan_transit_room(&d->transit);
        uint8_t *to = room ? room : d->scratch; /* what finds no room is lost, not left waiting */
        ssize_t got = read(d->in, to, WAN_PACKET_BYTES_MAX);
        if (got <= WAN_VNET_BYTES) return i;
        if (room)
            send_on(d, room, (uint32_t)got);
        else
            count_no_room(d, wan_packet_shape(to, (size_t)got).n_segments);
    }
    return READS_MAX;
}

static size_t deliver(struct direction *d) {
    const struct wan_packet *p;
    uint64_t now = now_ns(d);
    size_t n = 0;
    for (; (p = wan_transit_first(&d->transit)) && p->due_ns <= now; n++) {
        uint64_t late_ns = now - p->due_ns;
        if (late_ns > d->counts.late_ns_max) d->counts.late_ns_max = late_ns;
        d->counts.late_ns_sum += late_ns;
        d->counts.packets++;
        if (write(d->out, p->bytes, p->n_bytes) < 0) d->counts.refused++;
        wan_transit_take(&d->transit);
        now = now_ns(d);
    }
    return n;
}

/* ---- time ---- */

static struct timespec timespec_of(uint64_t ns) {
    return (struct timespec){(time_t)(ns / 1000000000), (long)(ns % 1000000000)};
}

/* Until a packet comes or is due. */
static void wait_for_work(struct direction *d) {
    struct pollfd fds[2] = {{d->in, POLLIN, 0}, {d->relay->stop_fd, POLLIN, 0}};
    const struct wan_packet *first = wan_transit_first(&d->transit);
    struct timespec left;
    if (first) {
        uint64_t now = now_ns(d);
        left = timespec_of(first->due_ns > now ? first->due_ns - now : 0);
    }
    ppoll(fds, 2, first ? &left : NULL, NULL);
}

/* On a long link a packet's time need not be exact to a few microseconds: while there is traffic
 * the thread wakes once a grain and not for each packet, and leaves the CPU to the two ends. */
static void rest(const struct direction *d) {
    struct timespec grain = timespec_of(d->grain_ns);
    if (d->grain_ns > 0) clock_nanosleep(CLOCK_MONOTONIC, 0, &grain, NULL);
}

/* On a machine that client and server keep busy: before them, if we may. It cannot starve them, as
 * it has nothing to do when they do nothing. */
static void hurry(void) {
    const struct sched_param lowest = {.sched_priority = 1};
    prctl(PR_SET_TIMERSLACK, 1000UL);
    if (pthread_setschedparam(pthread_self(), SCHED_RR, &lowest) == 0) return;
    setpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid), NICE);
}

static void *run(void *arg) {
    struct direction *d = arg;
    hurry();
    while (!atomic_load_explicit(&d->relay->stopped, memory_order_relaxed)) {
        size_t worked = deliver(d);
        worked += take_in(d);
        if (worked > 0)
            rest(d);
        else
            wait_for_work(d);
    }
    return NULL;
}

/* ---- from outside ---- */

static int direction_init(struct direction *d, struct wan_relay *r, const int ends[2], size_t which,
                          const struct wan_link_options *options) {
    struct wan_link_options o = *options;
    o.seed = 2 * o.seed + which;
    d->relay = r;
    d->in = ends[which];
    d->out = ends[1 - which];
    wan_link_init(&d->link, &o);
    uint64_t grain_ns = d->link.delay_ns / GRAINS_IN_DELAY;
    d->grain_ns = grain_ns < GRAIN_NS_MAX ? grain_ns : GRAIN_NS_MAX;
    return wan_transit_init(&d->transit, wan_link_bytes_max(&d->link));
}

struct wan_relay *wan_relay_start(const int ends[2], const struct wan_link_options *options) {
    struct wan_relay *r = calloc(1, sizeof *r);
    if (!r) return NULL;
    r->start_ns = clock_ns();
    r->stop_fd = eventfd(0, EFD_CLOEXEC);
    int ok = r->stop_fd >= 0;
    for (size_t i = 0; i < 2; i++)
        if (ok && direction_init(&r->directions[i], r, ends, i, options) < 0) ok = 0;
    for (size_t i = 0; i < 2 && ok; i++) {
        struct direction *d = &r->directions[i];
        ok = pthread_create(&d->thread, NULL, run, d) == 0;
        r->n_threads += (size_t)ok;
    }
    if (ok) return r;
    struct wan_relay_counts counts[2];
    wan_relay_stop(r, counts);
    errno = ENOMEM;
    return NULL;
}

void wan_relay_stop(struct wan_relay *r, struct wan_relay_counts counts[2]) {
    if (!r) return;
    atomic_store(&r->stopped, 1);
    if (r->stop_fd >= 0) eventfd_write(r->stop_fd, 1);
    for (size_t i = 0; i < r->n_threads; i++) pthread_join(r->directions[i].thread, NULL);
    for (size_t i = 0; i < 2; i++) {
        counts[i] = r->directions[i].counts;
        counts[i].link = r->directions[i].link.counts;
        wan_transit_fini(&r->directions[i].transit);
    }
    if (r->stop_fd >= 0) close(r->stop_fd);
    free(r);
}
