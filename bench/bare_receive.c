/* The bare receive loop: the least a client can do to get samples out of a CQL server. It keeps K
 * requests on their way on each of C connections, reads into one buffer, finds where frames end,
 * and drops the bytes.
 *
 *   bare_receive HOST:PORT --connections 4 --outstanding 16 --seconds 3 --buffer 256K [--crc 1]
 *
 * --warm SECONDS before the clock starts (a fifth of --seconds).
 * --crc 1: the bytes that came are also run through CRC-32C, in the buffer.
 * --ring BYTES: each call reads into the next part of so much memory, as when samples are kept for
 * as long as batches live; what a buffer that stays in the cache saves is not saved then.
 * --select TEXT --ids FILE: a SELECT by id of a table that is there, and a file with an id in a
 * line, which are asked for in turn; otherwise a table of one's own is made, and ids are random.
 * Prints one JSON line; warm_bytes came before the clock started. */
#include <errno.h>
#include <fcntl.h>
#include <isa-l/crc.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cql_setup.h"

enum { STREAMS_MAX = 1024, FRAME_BYTES_MAX = 128 };

struct link {
    int fd;
    uint8_t head[STN_CQL_HEADER_BYTES]; /* of the frame that comes */
    size_t head_bytes;                  /* of it that are here */
    size_t body_left;
    int16_t answered[STREAMS_MAX]; /* streams to be used again */
    size_t n_answered;
    uint8_t *out;
};

struct connecting { /* a link that another thread connects */
    struct link *link;
    const char *server;
    pthread_t thread;
};

struct run {
    struct link *links;
    size_t n_links, outstanding;
    uint8_t frame[FRAME_BYTES_MAX];
    size_t frame_bytes;
    uint8_t *ring; /* of ring_bytes; a call reads at most buffer_bytes, from `at` on */
    size_t ring_bytes, buffer_bytes, at;
    int with_crc;
    uint32_t crc;
    struct random_stream random_ids;
    uint8_t (*ids)[STERNA_ID_BYTES]; /* NULL: random ones */
    size_t n_ids, next_id;
    uint64_t samples, bytes, calls;
};

static void take_id(struct run *r, uint8_t id[STERNA_ID_BYTES]) {
    if (!r->ids) {
        random_fill(&r->random_ids, id, STERNA_ID_BYTES);
        return;
    }
    memcpy(id, r->ids[r->next_id], STERNA_ID_BYTES);
    r->next_id = (r->next_id + 1) % r->n_ids;
}

static void read_ids(struct run *r, const char *path) {
    FILE *file = fopen(path, "r");
    char line[128];
    size_t cap = 0;
    if (!file) die("%s: %s", path, strerror(errno));
    while (fgets(line, sizeof line, file)) {
        line[strcspn(line, "\r\n")] = 0;
        if (r->n_ids == cap) {
            cap = cap ? 2 * cap : 1024;
            r->ids = must(realloc(r->ids, cap * sizeof *r->ids));
        }
        if (sterna_id_parse(line, r->ids[r->n_ids]) < 0) die("%s: no id: %s", path, line);
        r->n_ids++;
    }
    fclose(file);
    if (r->n_ids == 0) die("%s: no ids", path);
}

/* One request for each stream that is free. */
static void ask(struct run *r, struct link *l) {
    size_t bytes = l->n_answered * r->frame_bytes, sent = 0;
    for (size_t i = 0; i < l->n_answered; i++) {
        uint8_t *frame = l->out + i * r->frame_bytes, id[STERNA_ID_BYTES];
        take_id(r, id);
        memcpy(frame, r->frame, r->frame_bytes);
        cql_set_execute(frame, r->frame_bytes, l->answered[i], id);
    }
    l->n_answered = 0;
    while (sent < bytes) {
        ssize_t got = send(l->fd, l->out + sent, bytes - sent, MSG_NOSIGNAL);
        if (got < 0 && errno != EAGAIN) die("send: %s", strerror(errno));
        if (got > 0) sent += (size_t)got;
    }
}

static void end_frame(struct run *r, struct link *l) {
    if (l->head[4] != STN_CQL_RESULT) die("an answer of opcode %u", l->head[4]);
    l->answered[l->n_answered++] = (int16_t)(l->head[2] << 8 | l->head[3]);
    l->head_bytes = 0;
    r->samples++;
}

static void walk(struct run *r, struct link *l, const uint8_t *at, size_t bytes) {
    while (bytes > 0) {
        if (l->head_bytes < sizeof l->head) {
            struct stn_cql_header h;
            l->head[l->head_bytes++] = *at++;
            bytes--;
            if (l->head_bytes < sizeof l->head) continue;
            stn_cql_header_parse(l->head, &h);
            l->body_left = h.body_bytes;
        }
        size_t n = l->body_left < bytes ? l->body_left : bytes;
        at += n;
        bytes -= n;
        l->body_left -= n;
        if (l->body_left == 0) end_frame(r, l);
    }
}

static void receive(struct run *r, struct link *l) {
    if (r->ring_bytes - r->at < r->buffer_bytes) r->at = 0;
    uint8_t *to = r->ring + r->at;
    ssize_t got = recv(l->fd, to, r->buffer_bytes, MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (got <= 0) die("the server closed the connection");
    r->calls++;
    r->bytes += (uint64_t)got;
    if (r->ring_bytes > r->buffer_bytes) r->at += (size_t)got;
    if (r->with_crc) r->crc = crc32_iscsi(to, (int)got, r->crc);
    walk(r, l, to, (size_t)got);
    if (l->n_answered) ask(r, l);
}

static void go_on(struct run *r, int poll, double seconds) {
    struct epoll_event events[64];
    for (double end = now_s() + seconds; now_s() < end;) {
        int n = epoll_wait(poll, events, 64, 100);
        for (int i = 0; i < n; i++) receive(r, events[i].data.ptr);
    }
}

static void *connect_link(void *arg) {
    struct connecting *c = arg;
    c->link->fd = cql_connect(c->server);
    return NULL;
}

/* All but the first at once: on a long link one after the other would take minutes. */
static void connect_others(struct run *r, const char *server) {
    struct connecting *all = must(calloc(r->n_links, sizeof *all));
    for (size_t i = 1; i < r->n_links; i++) {
        all[i] = (struct connecting){.link = &r->links[i], .server = server};
        if (pthread_create(&all[i].thread, NULL, connect_link, &all[i]) != 0) die("no thread");
    }
    for (size_t i = 1; i < r->n_links; i++) pthread_join(all[i].thread, NULL);
    free(all);
}

static int open_links(struct run *r, const char *server, const char *select) {
    int poll = epoll_create1(EPOLL_CLOEXEC);
    r->links[0].fd = cql_connect(server);
    if (!select) cql_make_table(r->links[0].fd);
    r->frame_bytes =
        cql_make_execute(r->links[0].fd, select ? select : CQL_SELECT, r->frame, sizeof r->frame);
    connect_others(r, server);
    for (size_t i = 0; i < r->n_links; i++) {
        struct link *l = &r->links[i];
        l->out = must(malloc(r->outstanding * r->frame_bytes));
        for (size_t k = 0; k < r->outstanding; k++) l->answered[l->n_answered++] = (int16_t)(k + 2);
        struct epoll_event e = {.events = EPOLLIN, .data.ptr = l};
        if (epoll_ctl(poll, EPOLL_CTL_ADD, l->fd, &e) < 0) die("epoll: %s", strerror(errno));
    }
    for (size_t i = 0; i < r->n_links; i++) ask(r, &r->links[i]);
    return poll;
}

static uint8_t *map_ring(size_t bytes) {
    void *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED) die("no memory for the ring");
    madvise(at, bytes, MADV_HUGEPAGE);
    return at;
}

int main(int argc, char **argv) {
    struct run r = {.random_ids = {1}};
    const char *select, *ids;
    if (argc < 2) die("bare_receive HOST:PORT --connections C --outstanding K --seconds S");
    r.n_links = option_number(argc, argv, "connections", 4);
    r.outstanding = option_number(argc, argv, "outstanding", 16);
    r.buffer_bytes = option_number(argc, argv, "buffer", 256 << 10);
    r.ring_bytes = option_number(argc, argv, "ring", r.buffer_bytes);
    r.with_crc = (int)option_number(argc, argv, "crc", 0);
    double seconds = option_real(argc, argv, "seconds", 3);
    if (!r.outstanding || r.outstanding > STREAMS_MAX) die("--outstanding 1..%d", STREAMS_MAX);
    r.links = must(calloc(r.n_links, sizeof *r.links));
    if (r.ring_bytes < r.buffer_bytes) die("--ring: at least --buffer");
    r.ring = map_ring(r.ring_bytes);
    memset(r.ring, 1, r.ring_bytes); /* its pages are there before the clock starts */
    select = option(argc, argv, "select", NULL);
    ids = option(argc, argv, "ids", NULL);
    if (!select != !ids) die("--select and --ids: both or none");
    if (ids) read_ids(&r, ids);
    int poll = open_links(&r, argv[1], select);
    go_on(&r, poll, option_real(argc, argv, "warm", 0.2 * seconds));
    uint64_t warm_bytes = r.bytes;
    r.samples = r.bytes = r.calls = 0;
    double start = now_s(), cpu = cpu_s();
    go_on(&r, poll, seconds);
    cpu = cpu_s() - cpu;
    double took = now_s() - start;
    printf("{\"samples\": %llu, \"bytes\": %llu, \"seconds\": %.6f, \"cpu_s\": %.6f, "
           "\"samples_per_s\": %.1f, \"cpu_us\": %.3f, \"calls\": %.3f, \"warm_bytes\": %llu}\n",
           (unsigned long long)r.samples, (unsigned long long)r.bytes, took, cpu,
           (double)r.samples / took, 1e6 * cpu / (double)r.samples,
           (double)r.calls / (double)r.samples, (unsigned long long)warm_bytes);
    for (size_t i = 0; i < r.n_links; i++) {
        close(r.links[i].fd);
        free(r.links[i].out);
    }
    close(poll);
    free(r.links);
    free(r.ids);
    munmap(r.ring, r.ring_bytes);
    return 0;
}
