/* wan: two commands at the two ends of an emulated long link. This process starts the two sides
 * and the link between them, and says when each thing happens. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#include "report.h"
#include "side.h"

enum { SERVER, CLIENT };

struct run {
    struct wan_options o;
    struct wan_side sides[2];
    struct wan_relay *relay;
    struct wan_result result;
    int signals, signal; /* descriptor; the one that ends us, or 0 */
    int failed;
};

static double clock_s(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

__attribute__((format(printf, 2, 3))) static void fail(struct run *r, const char *format, ...) {
    va_list args;
    if (r->failed) return; /* the first reason is the one */
    r->failed = 1;
    va_start(args, format);
    fputs("wan: ", stderr);
    vfprintf(stderr, format, args);
    fputs("\n", stderr);
    va_end(args);
}

/* ---- both ends and the link ---- */

/* The next message of a side must be this one. */
static void expect(struct run *r, int which, enum wan_side_told told, struct wan_side_message *m) {
    struct wan_side *s = &r->sides[which];
    if (r->failed) return;
    wan_side_receive(s, m);
    if (m->told != told) fail(r, "the %s's end: %s", s->name, m->why);
}

static void start_sides(struct run *r) {
    struct wan_side_options o = {.all = &r->o, .by_tun = r->result.by_tun, .close_fd = -1};
    struct wan_side_message m;
    for (int i = SERVER; i <= CLIENT && !r->failed; i++) {
        o.name = i == SERVER ? "server" : "client";
        o.is_server = i == SERVER;
        if (wan_side_start(&r->sides[i], &o) < 0) fail(r, "no process: %s", strerror(errno));
        expect(r, i, WAN_SIDE_MADE, &m);
        o.peer = r->sides[i].pid;
        o.close_fd = r->sides[i].socket;
    }
}

static void start_link(struct run *r) {
    const struct wan_options *o = &r->o;
    const struct wan_link_options link = {.mbit = o->mbit,
                                          .delay_ms = o->rtt_ms / 2,
                                          .queue_ms = o->queue_ms,
                                          .jitter_ms = o->jitter_ms,
                                          .loss = o->loss,
                                          .reorder = o->reorder,
                                          .seed = (uint64_t)o->seed};
    const int ends[2] = {r->sides[SERVER].tun_fd, r->sides[CLIENT].tun_fd};
    struct wan_side_message m;
    if (r->failed) return;
    if (r->result.by_tun && !(r->relay = wan_relay_start(ends, &link)))
        fail(r, "the relay: %s", strerror(errno));
    for (int i = CLIENT; i >= SERVER && !r->failed; i--) { /* by netem, it makes both devices */
        wan_side_configure(&r->sides[i]);
        expect(r, i, WAN_SIDE_CONFIGURED, &m);
        *(i == SERVER ? &r->result.server : &r->result.client) = m.facts;
    }
}

static void choose_way(struct run *r) {
    char why[WAN_TEXT_BYTES];
    if (wan_network_may(why) < 0)
        fail(r, "%s", why);
    else
        r->result.by_tun =
            r->o.by == WAN_BY_TUN || (r->o.by == WAN_BY_CHOICE && !wan_netem_known());
}

/* ---- the commands ---- */

/* Waits for a message of one of the sides, or a signal; which side, or -1: signal or time out. */
static int next_message(struct run *r, int timeout_ms, struct wan_side_message *m) {
    struct pollfd fds[3] = {{r->sides[SERVER].socket, POLLIN, 0},
                            {r->sides[CLIENT].socket, POLLIN, 0},
                            {r->signals, POLLIN, 0}};
    while (poll(fds, 3, timeout_ms) < 0 && errno == EINTR) continue;
    struct signalfd_siginfo info;
    if (fds[2].revents && read(r->signals, &info, sizeof info) == (ssize_t)sizeof info)
        r->signal = (int)info.ssi_signo;
    for (int i = SERVER; i <= CLIENT && !r->signal; i++) {
        if (!fds[i].revents) continue;
        wan_side_receive(&r->sides[i], m);
        if (m->told == WAN_SIDE_FAILED) fail(r, "the %s's end: %s", r->sides[i].name, m->why);
        return i;
    }
    return -1;
}

static void run_server(struct run *r) {
    struct wan_side_message m;
    if (r->failed || r->signal) return;
    wan_side_run(&r->sides[SERVER]);
    int which = next_message(r, (int)(1000 * r->o.ready_s), &m);
    if (r->failed || r->signal) return;
    if (which < 0)
        fail(r, "the server does not listen after %g s (see --ready-port, --ready-s)",
             r->o.ready_s);
    else if (m.told == WAN_SIDE_ENDED)
        fail(r, "the server ended with status %d before it listened (--ready-port 0: do not wait)",
             m.status);
}

static void run_client(struct run *r) {
    struct wan_side_message m;
    if (r->failed || r->signal) return;
    double start_s = clock_s();
    wan_side_run(&r->sides[CLIENT]);
    for (int over = 0; !over && !r->failed && !r->signal;) {
        int which = next_message(r, -1, &m);
        if (which == SERVER && m.told == WAN_SIDE_ENDED) {
            r->result.server_status = m.status;
            fprintf(stderr, "wan: the server ended with status %d\n", m.status);
        }
        over = which == CLIENT && m.told == WAN_SIDE_ENDED;
    }
    r->result.seconds = clock_s() - start_s;
    r->result.client_status = m.status;
}

/* ---- the end ---- */

static void end_side(struct run *r, int which) {
    struct wan_side *s = &r->sides[which];
    struct wan_side_message m = {.told = WAN_SIDE_FAILED};
    if (s->socket < 0) return;
    wan_side_end(s);
    do wan_side_receive(s, &m);
    while (m.told != WAN_SIDE_DONE && m.told != WAN_SIDE_FAILED);
    r->result.device_drops[which] = m.device_drops;
    r->result.netem[which] = m.netem;
}

static int report(struct run *r) {
    FILE *to = r->o.json_path ? fopen(r->o.json_path, "w") : stderr;
    if (to) wan_report(to, &r->o, &r->result);
    int ok = to && (to == stderr ? fflush(to) : fclose(to)) == 0;
    if (!ok)
        fprintf(stderr, "wan: %s: %s\n", r->o.json_path ? r->o.json_path : "stderr",
                strerror(errno));
    return ok;
}

static int catch_signals(void) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGHUP);
    sigprocmask(SIG_BLOCK, &set, NULL); /* relay's threads have it so, too */
    return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

int main(int argc, char **argv) {
    struct run r = {.sides = {{.socket = -1, .tun_fd = -1}, {.socket = -1, .tun_fd = -1}},
                    .result = {.server_status = -1}};
    wan_options_take(&r.o, argc, argv);
    r.signals = catch_signals();
    choose_way(&r);
    start_sides(&r);
    start_link(&r);
    run_server(&r);
    run_client(&r);
    end_side(&r, CLIENT);
    end_side(&r, SERVER);
    wan_relay_stop(r.relay, r.result.relay);
    int reported = r.failed || r.signal || report(&r);
    wan_side_close(&r.sides[SERVER]);
    wan_side_close(&r.sides[CLIENT]);
    if (r.signal) return 128 + r.signal;
    return r.failed || !reported ? WAN_EXIT_FAILED : r.result.client_status;
}
