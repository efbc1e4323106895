#include "support/path_bench.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define SAMPLE_BYTES 110000

const char *const bench_cc_names[] = {"cubic", "bbr"};

void bench_say(const char *format, ...) {
    va_list args;
    if (!getenv("STERNA_TEST_VERBOSE")) return;
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    fflush(stdout);
}

double bench_product(const struct bench *b) { return b->rate * (double)b->rtt_ns / 1e9; }

void bench_init(struct bench *b, double mbit, double rtt_ms, enum path_cc cc) {
    b->rate = mbit * PATH_MBIT;
    b->rtt_ns = MS(rtt_ms);
    snprintf(b->name, sizeof b->name, "%g Mb/s, %g ms, %s", mbit, rtt_ms, bench_cc_names[cc]);
    path_sim_init(&b->sim, 1);
    path_sim_grain(&b->sim, b->rate, b->rtt_ns);
    b->sim.bin_ns = STN_MIN(STN_MAX(b->rtt_ns / 4, MS(1)), MS(10));
    double queue = STN_MAX(bench_product(b), b->rate * .01);
    path_link_init(&b->link, &b->sim, b->rate, (uint64_t)STN_MAX(queue, 100000));
    path_server_init(&b->server, &b->sim);
    b->server.concurrency = 1024;
    path_loader_init(&b->loader, &b->sim, SAMPLE_BYTES);
    b->t = path_loader_add(&b->loader, &b->server, &b->link, b->rtt_ns, cc);
}

void bench_fini(struct bench *b) {
    path_loader_fini(&b->loader);
    path_sim_fini(&b->sim);
}

void bench_run(struct bench *b, double until_s) {
    if (b->sim.now_ns == 0) path_loader_start(&b->loader);
    path_sim_run(&b->sim, SECONDS(until_s));
}

double bench_share(const struct bench *b, double from_s, double to_s) {
    return path_rate(&b->sim, b->t, SECONDS(from_s), SECONDS(to_s)) / b->rate;
}

double bench_flight_bound(const struct path_target *t, double rate, uint64_t rtt_ns) {
    double sample = STN_MAX(t->window.typical_bytes, (double)t->loader->sample_bytes);
    return 4 * rate * (double)rtt_ns / 1e9 + 2 * t->max_conns * sample + rate * .02;
}

void crowd_init(struct crowd *c, size_t n, double mbit, double rtt_ms, double queue_ms,
                enum path_cc cc) {
    double rate = mbit * PATH_MBIT;
    path_sim_init(&c->sim, 2);
    path_sim_grain(&c->sim, rate, MS(rtt_ms));
    c->n = n;
    c->loaders = stn_array(n, sizeof *c->loaders);
    if (!c->loaders) abort();
    path_link_init(&c->link, &c->sim, rate, (uint64_t)(rate * queue_ms / 1e3));
    path_server_init(&c->server, &c->sim);
    c->server.concurrency = 1024;
    for (size_t i = 0; i < n; i++) {
        path_loader_init(&c->loaders[i], &c->sim, SAMPLE_BYTES);
        path_loader_add(&c->loaders[i], &c->server, &c->link, MS(rtt_ms), cc);
    }
}

void crowd_fini(struct crowd *c) {
    for (size_t i = 0; i < c->n; i++) path_loader_fini(&c->loaders[i]);
    free(c->loaders);
    path_sim_fini(&c->sim);
}

void crowd_run(struct crowd *c, double until_s) {
    for (size_t i = 0; c->sim.now_ns == 0 && i < c->n; i++) path_loader_start(&c->loaders[i]);
    path_sim_run(&c->sim, SECONDS(until_s));
}
