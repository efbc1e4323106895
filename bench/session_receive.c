/* The client as the loader uses it, without a loader: C * K reads by id are always asked for over C
 * connections, each blob lands in memory of its own and is checked by its CRC-32C.
 *
 *   session_receive HOST:PORT --connections 4 --outstanding 16 --seconds 3 --bytes 110000
 *
 * The same requests as bare_receive's. Calls of malloc and its kin are counted meanwhile
 * (they are wrapped here, over glibc's). Prints one JSON line. */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cql_setup.h"
#include "net/session.h"
#include "wire/message.h"

/* ---- a count of allocations ---- */

static atomic_ullong n_allocations;

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
extern void *__libc_malloc(size_t bytes);
extern void *__libc_calloc(size_t n, size_t bytes);
extern void *__libc_realloc(void *at, size_t bytes);
void *malloc(size_t bytes) {
    atomic_fetch_add_explicit(&n_allocations, 1, memory_order_relaxed);
    return __libc_malloc(bytes);
}
void *calloc(size_t n, size_t bytes) {
    atomic_fetch_add_explicit(&n_allocations, 1, memory_order_relaxed);
    return __libc_calloc(n, bytes);
}
void *realloc(void *at, size_t bytes) {
    atomic_fetch_add_explicit(&n_allocations, 1, memory_order_relaxed);
    return __libc_realloc(at, bytes);
}
#endif

/* ---- reads ---- */

struct run;
struct read {
    struct stn_query_call q;
    struct run *run;
    struct stn_cql_value key;
    uint8_t id[STERNA_ID_BYTES];
    uint32_t crc, bytes;
    uint8_t *blob;
    size_t blob_cap;
};

struct run {
    struct stn_session *session;
    struct random_stream ids;             /* loop thread */
    atomic_ullong samples, bytes, failed; /* any thread */
    atomic_int stops;
    pthread_mutex_t lock;
    pthread_cond_t idle;
    size_t out; /* reads that are asked for */
};

static int read_row(struct stn_query_call *q, const struct stn_cql_value *small) {
    struct read *r = STN_OUTER(q, struct read, q);
    if (!stn_value_equals(small[0], r->id, sizeof r->id)) return STERNA_EPROTO;
    r->crc = (uint32_t)stn_value_int(small[1]);
    return STERNA_OK;
}

static int read_blob(struct stn_query_call *q, uint32_t i, uint32_t bytes, uint8_t **to) {
    struct read *r = STN_OUTER(q, struct read, q);
    (void)i;
    if (bytes > r->blob_cap) die("a blob of %u bytes: say --bytes %u", bytes, bytes);
    r->bytes = bytes;
    *to = r->blob;
    return STERNA_OK;
}

static void ask(struct read *r) {
    struct stn_query_call *q = &r->q;
    random_fill(&r->run->ids, r->id, sizeof r->id);
    stn_session_submit(r->run->session, &q, 1);
}

static void read_done(struct stn_query_call *q, int code, const struct stn_query_answer *answer) {
    struct read *r = STN_OUTER(q, struct read, q);
    struct run *run = r->run;
    if (code < 0) die("a read failed: %s", answer && answer->why ? answer->why : "?");
    if (stn_crc32c(0, r->blob, r->bytes) != r->crc) atomic_fetch_add(&run->failed, 1);
    atomic_fetch_add_explicit(&run->samples, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&run->bytes, r->bytes, memory_order_relaxed);
    if (!atomic_load_explicit(&run->stops, memory_order_relaxed)) {
        ask(r);
        return;
    }
    pthread_mutex_lock(&run->lock);
    if (--run->out == 0) pthread_cond_signal(&run->idle);
    pthread_mutex_unlock(&run->lock);
}

static const struct stn_query_call_ops ops = {read_row, read_blob, read_done};

static struct read *start(struct run *run, size_t n, uint64_t blob_bytes) {
    struct sterna_error err = {0};
    struct stn_statement *statement;
    struct read *reads = must(calloc(n, sizeof *reads));
    check(stn_session_prepare(run->session, CQL_SELECT, &statement, &err), &err);
    run->out = n;
    for (size_t i = 0; i < n; i++) {
        struct read *r = &reads[i];
        r->run = run;
        r->blob = must(malloc(blob_bytes));
        r->blob_cap = blob_bytes;
        memset(r->blob, 1, blob_bytes); /* its pages are there before the clock starts */
        r->key = stn_value_of(r->id, sizeof r->id);
        r->q = (struct stn_query_call){.ops = &ops,
                                       .statement = statement,
                                       .values = &r->key,
                                       .n_values = 1,
                                       .lane = STN_LANE_READ,
                                       .consistency = STN_CQL_LOCAL_ONE,
                                       .shape = {2, 1},
                                       .weight_bytes = blob_bytes};
    }
    for (size_t i = 0; i < n; i++) ask(&reads[i]);
    return reads;
}

static void stop(struct run *run) {
    atomic_store(&run->stops, 1);
    pthread_mutex_lock(&run->lock);
    while (run->out) pthread_cond_wait(&run->idle, &run->lock);
    pthread_mutex_unlock(&run->lock);
}

static void pause_s(double seconds) {
    struct timespec t = {(time_t)seconds, (long)((seconds - (double)(time_t)seconds) * 1e9)};
    while (nanosleep(&t, &t) < 0 && errno == EINTR) {}
}

static struct stn_session *open_session(const char *server, unsigned connections) {
    struct sterna_error err = {0};
    struct stn_session *session;
    char host[256];
    snprintf(host, sizeof host, "%s", server);
    char *port = strrchr(host, ':');
    if (!port) die("%s: not HOST:PORT", server);
    *port++ = '\0';
    const struct stn_host contact = {host, (uint16_t)strtoul(port, NULL, 10)};
    const struct stn_session_options options = {
        .hosts = &contact, .n_hosts = 1, .keyspace = "bench", .connections = connections};
    check(stn_session_open(&session, &options, &err), &err);
    return session;
}

struct counts {
    uint64_t samples, allocations;
    double at_s, cpu_s;
    struct stn_session_stats session;
};

static void take_counts(struct run *run, struct counts *c) {
    stn_session_stats(run->session, &c->session);
    c->samples = atomic_load(&run->samples);
    c->allocations = atomic_load(&n_allocations);
    c->cpu_s = cpu_s();
    c->at_s = now_s();
}

static void print_between(const struct counts *a, const struct counts *b, uint64_t failed) {
    double samples = (double)(b->samples - a->samples), took = b->at_s - a->at_s;
    double received = (double)(b->session.received_bytes - a->session.received_bytes);
    char copied[32] = "null";
    if (received > 0)
        snprintf(copied, sizeof copied, "%.6f",
                 (double)(b->session.copied_bytes - a->session.copied_bytes) / received);
    printf("{\"samples\": %.0f, \"seconds\": %.6f, \"cpu_s\": %.6f, \"samples_per_s\": %.1f, "
           "\"cpu_us\": %.3f, \"mallocs_per_1000\": %.4f, \"copied\": %s, \"connections\": %llu, "
           "\"retries\": %llu, \"corrupt\": %llu}\n",
           samples, took, b->cpu_s - a->cpu_s, samples / took,
           1e6 * (b->cpu_s - a->cpu_s) / samples,
           1000.0 * (double)(b->allocations - a->allocations) / samples, copied,
           (unsigned long long)b->session.connections, (unsigned long long)b->session.retries,
           (unsigned long long)failed);
}

int main(int argc, char **argv) {
    struct run run = {
        .ids = {1}, .lock = PTHREAD_MUTEX_INITIALIZER, .idle = PTHREAD_COND_INITIALIZER};
    struct counts before, after;
    if (argc < 2) die("session_receive HOST:PORT --connections C --outstanding K --seconds S");
    unsigned connections = (unsigned)option_number(argc, argv, "connections", 4);
    size_t n = connections * option_number(argc, argv, "outstanding", 16);
    double seconds = option_real(argc, argv, "seconds", 3);
    int fd = cql_connect(argv[1]);
    cql_make_table(fd);
    close(fd);
    run.session = open_session(argv[1], connections);
    struct read *reads = start(&run, n, option_number(argc, argv, "bytes", 110000));
    pause_s(0.2 * seconds); /* warms up */
    take_counts(&run, &before);
    pause_s(seconds);
    take_counts(&run, &after);
    stop(&run);
    print_between(&before, &after, atomic_load(&run.failed));
    stn_session_close(&run.session);
    for (size_t i = 0; i < n; i++) free(reads[i].blob);
    free(reads);
    return 0;
}
