/* Events in the order of time, and the memory of what moves. */
#include "support/path_inside.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static void *must(void *memory) {
    if (!memory) abort();
    return memory;
}

/* ---- random numbers ---- */

static uint64_t mix(uint64_t z) { /* SplitMix64 */
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

static double unit(uint64_t bits) { return (double)(bits >> 11) * 0x1p-53; }

double path_random(struct path_sim *sim) {
    sim->seed += UINT64_C(0x9e3779b97f4a7c15);
    return unit(mix(sim->seed));
}

double path_noise(uint64_t key, double at) {
    double whole = floor(at);
    uint64_t n = (uint64_t)whole;
    double a = unit(mix(key + n * UINT64_C(0x9e3779b97f4a7c15)));
    double b = unit(mix(key + (n + 1) * UINT64_C(0x9e3779b97f4a7c15)));
    return a + (b - a) * (at - whole);
}

/* ---- events: a heap of four children each ---- */

static int before(const struct path_event *a, const struct path_event *b) {
    return a->at_ns != b->at_ns ? a->at_ns < b->at_ns : (int32_t)(a->n - b->n) < 0;
}

void path_push(struct path_sim *sim, uint64_t at_ns, enum path_kind kind, void *what) {
    if (stn_grow((void **)&sim->events, &sim->events_cap, sim->n_events + 1, sizeof *sim->events))
        abort();
    struct path_event e = {STN_MAX(at_ns, sim->now_ns), sim->n_pushed++, kind, what};
    size_t i = sim->n_events++;
    while (i > 0 && before(&e, &sim->events[(i - 1) / 4])) {
        sim->events[i] = sim->events[(i - 1) / 4];
        i = (i - 1) / 4;
    }
    sim->events[i] = e;
}

static struct path_event pop(struct path_sim *sim) {
    struct path_event *h = sim->events, first = h[0], e = h[--sim->n_events];
    size_t n = sim->n_events, i = 0;
    for (;;) {
        size_t child = 4 * i + 1, least = child;
        if (child >= n) break;
        for (size_t k = child + 1; k < child + 4 && k < n; k++)
            if (before(&h[k], &h[least])) least = k;
        if (!before(&h[least], &e)) break;
        h[i] = h[least];
        i = least;
    }
    h[i] = e;
    return first;
}

static void run(const struct path_event *e) {
    switch (e->kind) {
    case PATH_DEPART:
        path_link_depart(e->what);
        break;
    case PATH_ARRIVE:
        path_client_chunk(e->what);
        break;
    case PATH_ACK:
        path_tcp_ack(e->what);
        break;
    case PATH_PACE:
        path_tcp_send(e->what);
        break;
    case PATH_TIMER:
        path_tcp_timer(e->what);
        break;
    case PATH_REQUEST:
        path_server_request(e->what);
        break;
    case PATH_SERVED:
        path_server_served(e->what);
        break;
    case PATH_ANSWER:
        path_server_answer(e->what);
        break;
    case PATH_HANDSHAKE:
        path_client_handshake(e->what);
        break;
    case PATH_TICK:
        path_target_tick(e->what);
        break;
    case PATH_WAKE:
        path_target_wake(e->what);
        break;
    case PATH_START:
        path_loader_begin(e->what);
        break;
    case PATH_RESUME:
        path_server_resume(e->what);
        break;
    }
}

void path_sim_run(struct path_sim *sim, uint64_t until_ns) {
    while (sim->n_events > 0 && sim->events[0].at_ns <= until_ns) {
        struct path_event e = pop(sim);
        sim->now_ns = e.at_ns;
        sim->n_run++;
        run(&e);
    }
    sim->now_ns = until_ns;
}

/* ---- memory: freed with the simulation, used again before ---- */

static void *more(struct path_sim *sim, size_t n, size_t size) {
    if (stn_grow((void **)&sim->memory, &sim->memory_cap, sim->n_memory + 1, sizeof *sim->memory))
        abort();
    return sim->memory[sim->n_memory++] = must(stn_array(n, size));
}

enum { BLOCK = 256 };

struct path_chunk *path_chunk_new(struct path_sim *sim) {
    if (!sim->free_chunks) {
        struct path_chunk *block = more(sim, BLOCK, sizeof *block);
        for (int i = 0; i < BLOCK; i++) path_chunk_free(sim, &block[i]);
    }
    struct path_chunk *c = sim->free_chunks;
    sim->free_chunks = c->next;
    memset(c, 0, sizeof *c);
    return c;
}

void path_chunk_free(struct path_sim *sim, struct path_chunk *c) {
    c->next = sim->free_chunks;
    sim->free_chunks = c;
}

struct path_chunk *path_chunk_split(struct path_sim *sim, struct path_chunk *c, uint32_t bytes) {
    struct path_chunk *rest = path_chunk_new(sim);
    struct path_tcp *tcp = &c->conn->tcp;
    *rest = *c;
    rest->seq += bytes;
    rest->bytes -= bytes;
    c->bytes = bytes;
    c->next = rest;
    if (tcp->tail == c) tcp->tail = rest;
    if (tcp->lost_tail == c) tcp->lost_tail = rest;
    return rest;
}

struct path_request *path_request_new(struct path_sim *sim) {
    if (!sim->free_requests) {
        struct path_request *block = more(sim, BLOCK, sizeof *block);
        for (int i = 0; i < BLOCK; i++) path_request_free(sim, &block[i]);
    }
    struct path_request *r = sim->free_requests;
    sim->free_requests = r->next;
    memset(r, 0, sizeof *r);
    return r;
}

void path_request_free(struct path_sim *sim, struct path_request *r) {
    r->next = sim->free_requests;
    sim->free_requests = r;
}

void path_sim_init(struct path_sim *sim, uint64_t seed) {
    memset(sim, 0, sizeof *sim);
    sim->seed = seed * UINT64_C(0x9e3779b97f4a7c15);
    sim->bin_ns = 10 * STN_NS_PER_MS;
    sim->chunk_bytes = PATH_SEGMENT_BYTES;
}

void path_sim_fini(struct path_sim *sim) {
    for (size_t i = 0; i < sim->n_memory; i++) free(sim->memory[i]);
    free(sim->memory);
    free(sim->events);
}

void path_sim_grain(struct path_sim *sim, double rate, uint64_t rtt_ns) {
    double part = rate * (double)STN_MAX(rtt_ns, STN_NS_PER_MS) / 1e9 / 256;
    double segments = STN_MIN(STN_MAX(part / PATH_SEGMENT_BYTES, 1), 128);
    sim->chunk_bytes = (uint64_t)segments * PATH_SEGMENT_BYTES;
}
