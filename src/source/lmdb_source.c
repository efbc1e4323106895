/* The embedded store's reading side: threads that take requests from a queue in chunks.
 *
 * A chunk is looked up in one read transaction, and what the page cache has comes at once, straight
 * to where the sink wants it: one system call a value, and none for a value so small that it lies
 * in the leaf page where it was found. What the page cache lacks is asked of the disk for the whole
 * chunk before the first byte is waited for, so the disk sees threads x chunk reads at once. Then
 * those bytes are read too, and the sink is flushed once.
 *
 * Owns the queue and the threads. Knows nothing of what the bytes are for. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/file.h"
#include "base/machine.h"
#include "base/thread.h"
#include "source/lmdb_env.h"
#include "sterna/store.h"

enum {
    CHUNK_MAX = 64,        /* requests; their cost is shared by so many */
    CHUNK_MAX_COLD = 16,   /* the first ones are not told of before the disk has brought all */
    CHUNK_PARTS = 128,     /* fields of a chunk's requests, at least STN_FIELDS_MAX */
    CHUNK_BYTES = 2 << 20, /* more would keep the consumer waiting for the first ones */
    THREADS_DEFAULT = 8,
    THREADS_MAX = 256,
    COLD_CHUNKS = 4 /* a thread's, after the last that needed the disk */
};

/* Two disks' worth: 3 GB/s at a few milliseconds of latency is about 20 MB in flight; more only
 * delays the samples that the consumer waits for. */
#define AHEAD_BYTES ((uint64_t)64 << 20)

struct part;

struct job {
    struct stn_request request;
    int canceled;
    struct part *parts; /* of a job in a chunk: one a field */
};

struct part { /* one field of one request of a chunk */
    struct stn_lmdb_span span;
    int absent;
    size_t got; /* bytes of the span that have come */
    uint8_t header[STN_VALUE_HEADER_BYTES];
    uint8_t *to; /* where those behind the header land */
};

struct lmdb_source;
_Static_assert(CHUNK_PARTS >= STN_FIELDS_MAX, "any request fits");

struct worker {
    struct lmdb_source *source;
    pthread_t thread;
    MDB_txn *txn;
    MDB_cursor *cursor;
    struct job jobs[CHUNK_MAX];
    struct part *parts; /* [CHUNK_PARTS] */
};

struct lmdb_source {
    struct stn_source base;
    struct stn_lmdb *db;
    struct stn_sink *sink;
    pid_t pid;
    int ready; /* mutex and condition exist */
    pthread_mutex_t mutex;
    pthread_cond_t work;
    /* under the mutex */
    struct job *ring; /* cap is a power of two; count jobs from head on */
    size_t cap, head, count;
    unsigned n_running, sleeping, called; /* threads; called: may wake, no longer sleeping */
    unsigned cold_chunks;                 /* to come, for which the disk is taken to be needed */
    int stop;
    /* fixed once open */
    struct worker *workers;
    unsigned n_workers; /* slots */
    unsigned n_cpus;
    /* any thread */
    atomic_int no_nowait; /* the file system cannot tell what is in the page cache */
};

/* ---- the queue ---- */

/* While everything comes from the page cache, more threads than CPUs only get in each other's way;
 * a disk wants them all. The mutex is held, here and below. */
static unsigned useful_threads(const struct lmdb_source *s) {
    return s->cold_chunks > 0 ? s->n_running : STN_MIN(s->n_running, s->n_cpus);
}

/* Calls as many sleeping threads as there is work for; returns how many to signal. */
static unsigned call_threads(struct lmdb_source *s) {
    unsigned awake = s->n_running - s->sleeping, useful = useful_threads(s);
    unsigned n = useful > awake ? useful - awake : 0;
    n = (unsigned)STN_MIN(STN_MIN(n, s->sleeping), s->count);
    s->sleeping -= n;
    s->called += n;
    return n;
}

static void signal_threads(struct lmdb_source *s, unsigned n) {
    while (n-- > 0) pthread_cond_signal(&s->work);
}

/* Sleeps until called; a thread that wakes without a call sleeps on. */
static void sleep_until_called(struct lmdb_source *s) {
    s->sleeping++;
    while (s->called == 0 && !s->stop) pthread_cond_wait(&s->work, &s->mutex);
    if (s->called > 0) s->called--;
}

/* Takes up to a useful thread's share of what is queued, but at least one job. */
static size_t take_chunk(struct worker *w) {
    struct lmdb_source *s = w->source;
    size_t share = STN_MAX(s->count / useful_threads(s), 1);
    size_t most = STN_MIN(share, s->cold_chunks > 0 ? CHUNK_MAX_COLD : CHUNK_MAX);
    size_t n = 0, n_parts = 0;
    uint64_t bytes = 0;
    for (; n < most; n++) {
        struct job *job = &s->ring[(s->head + n) & (s->cap - 1)];
        uint64_t expected = job->request.expected_bytes;
        bytes += expected ? STN_MIN(expected, CHUNK_BYTES) : CHUNK_BYTES / CHUNK_MAX_COLD;
        if (n > 0 && (bytes > CHUNK_BYTES || n_parts + job->request.n_fields > CHUNK_PARTS)) break;
        w->jobs[n] = *job;
        w->jobs[n].parts = w->parts + n_parts;
        n_parts += job->request.n_fields;
    }
    s->head += n;
    s->count -= n;
    if (s->cold_chunks > 0) s->cold_chunks--;
    return n;
}

/* Waits for work; 0: stop. */
static size_t take(struct worker *w) {
    struct lmdb_source *s = w->source;
    pthread_mutex_lock(&s->mutex);
    while (!s->stop && (s->count == 0 || s->n_running - s->sleeping > useful_threads(s)))
        sleep_until_called(s);
    size_t n = s->stop ? 0 : take_chunk(w);
    pthread_mutex_unlock(&s->mutex);
    return n;
}

/* Something was not in the page cache: all threads are useful for a while. */
static void turn_cold(struct lmdb_source *s) {
    pthread_mutex_lock(&s->mutex);
    s->cold_chunks = COLD_CHUNKS * s->n_running;
    unsigned n = call_threads(s);
    pthread_mutex_unlock(&s->mutex);
    signal_threads(s, n);
}

/* ---- one chunk ---- */

/* Brings what needs no disk; the rest the disk shall fetch meanwhile. */
static void fetch_cached(struct lmdb_source *s, struct part *p) {
    size_t bytes = p->span.bytes - STN_VALUE_HEADER_BYTES;
    if (p->span.in_leaf) {
        memcpy(p->header, p->span.in_leaf, STN_VALUE_HEADER_BYTES);
        if (bytes > 0) memcpy(p->to, p->span.in_leaf + STN_VALUE_HEADER_BYTES, bytes);
        p->got = p->span.bytes;
    } else if (!atomic_load_explicit(&s->no_nowait, memory_order_relaxed)) {
        struct iovec to[] = {{p->header, STN_VALUE_HEADER_BYTES}, {p->to, bytes}};
        ssize_t n = preadv2(s->db->fd, to, STN_COUNT(to), p->span.offset, RWF_NOWAIT);
        if (n > 0) p->got = (size_t)n;
        if (n < 0 && (errno == EOPNOTSUPP || errno == ENOSYS || errno == EINVAL))
            atomic_store_explicit(&s->no_nowait, 1, memory_order_relaxed);
    }
    if (p->got < p->span.bytes)
        posix_fadvise(s->db->fd, p->span.offset + (off_t)p->got, (off_t)(p->span.bytes - p->got),
                      POSIX_FADV_WILLNEED);
}

static int read_bytes(struct lmdb_source *s, const struct stn_request *r, uint32_t i, void *to,
                      size_t bytes, off_t offset, struct sterna_error *err) {
    int rc = stn_pread_all(s->db->fd, to, bytes, offset);
    if (rc == STERNA_OK) return rc;
    char what[160], text[64];
    const char *reason =
        rc == STERNA_EIO ? strerror_r(errno, text, sizeof text) : "the file is truncated";
    snprintf(what, sizeof what, "%zu bytes at offset %lld cannot be read: %s", bytes,
             (long long)offset, reason);
    return stn_lmdb_fail_value(s->db, STERNA_EIO, r->id, r->fields[i], what, err);
}

static int fetch_rest(struct lmdb_source *s, const struct stn_request *r, uint32_t i,
                      struct part *p, struct sterna_error *err) {
    int rc = STERNA_OK;
    if (p->got < STN_VALUE_HEADER_BYTES) {
        rc = read_bytes(s, r, i, p->header, STN_VALUE_HEADER_BYTES, p->span.offset, err);
        p->got = STN_VALUE_HEADER_BYTES;
    }
    if (rc == STERNA_OK && p->got < p->span.bytes)
        rc = read_bytes(s, r, i, p->to + (p->got - STN_VALUE_HEADER_BYTES), p->span.bytes - p->got,
                        p->span.offset + (off_t)p->got, err);
    p->got = p->span.bytes;
    return rc;
}

/* Looks a request up and begins to bring it; *whole: nothing of it has to be waited for. */
static int begin_request(struct worker *w, const struct stn_request *r, struct part *parts,
                         int *whole, struct sterna_error *err) {
    struct lmdb_source *s = w->source;
    uint32_t n_present = 0;
    *whole = 1;
    for (uint32_t i = 0; i < r->n_fields; i++) {
        struct part *p = &parts[i];
        p->got = 0;
        int rc = stn_lmdb_locate(s->db, w->cursor, r->id, r->fields[i], &p->span, err);
        p->absent = rc == STERNA_ENOTFOUND;
        if (p->absent) continue;
        if (rc == STERNA_OK)
            rc = stn_sink_place(s->sink, r->ticket, i, r->id,
                                p->span.bytes - STN_VALUE_HEADER_BYTES, 0, &p->to);
        if (rc < 0) return rc;
        n_present++;
        fetch_cached(s, p);
        *whole &= p->got == p->span.bytes;
    }
    return n_present > 0 ? STERNA_OK : stn_lmdb_has_sample(s->db, w->cursor, r->id, err);
}

static int finish_request(struct lmdb_source *s, const struct stn_request *r, struct part *parts,
                          struct sterna_error *err) {
    for (uint32_t i = 0; i < r->n_fields; i++) {
        struct part *p = &parts[i];
        struct stn_value_header header;
        if (p->absent) continue;
        int rc = fetch_rest(s, r, i, p, err);
        if (rc == STERNA_OK)
            rc = stn_lmdb_header_parse(s->db, r->id, r->fields[i], p->header, p->span.bytes,
                                       &header, err);
        if (rc < 0) return rc;
        stn_sink_expect(s->sink, r->ticket, i, header.crc);
    }
    return STERNA_OK;
}

static int begin(struct worker *w, struct sterna_error *err) {
    struct stn_lmdb *db = w->source->db;
    int rc = stn_lmdb_read_begin(db, &w->txn, err);
    if (rc < 0) return rc;
    int code = w->cursor ? mdb_cursor_renew(w->txn, w->cursor)
                         : mdb_cursor_open(w->txn, db->dbi, &w->cursor);
    if (code == MDB_SUCCESS) return STERNA_OK;
    stn_lmdb_read_end(db, w->txn);
    return stn_lmdb_fail(db, code, "cannot be read", err);
}

static void finish(struct lmdb_source *s, const struct stn_request *r, struct part *parts, int rc,
                   struct sterna_error *err) { /* err may tell of an earlier request */
    if (rc == STERNA_OK) {
        stn_error_clear(err);
        rc = finish_request(s, r, parts, err);
    }
    stn_sink_complete(s->sink, r->ticket, rc, rc < 0 && err->code == rc ? err->message : NULL);
}

static void serve(struct worker *w, size_t n) {
    struct lmdb_source *s = w->source;
    size_t waiting[CHUNK_MAX], n_waiting = 0;
    struct sterna_error err = {0};
    int begun = begin(w, &err);
    for (size_t i = 0; i < n; i++) {
        const struct stn_request *r = &w->jobs[i].request;
        struct part *parts = w->jobs[i].parts;
        int whole = 1, rc = w->jobs[i].canceled ? STERNA_ECANCELED : begun;
        if (rc == STERNA_OK) {
            stn_error_clear(&err);
            rc = begin_request(w, r, parts, &whole, &err);
        }
        if (rc == STERNA_OK && !whole)
            waiting[n_waiting++] = i;
        else
            finish(s, r, parts, rc, &err);
    }
    if (n_waiting > 0) {
        turn_cold(s);
        if (n_waiting < n) stn_sink_flush(s->sink);
    }
    for (size_t i = 0; i < n_waiting; i++)
        finish(s, &w->jobs[waiting[i]].request, w->jobs[waiting[i]].parts, STERNA_OK, &err);
    if (begun == STERNA_OK) stn_lmdb_read_end(s->db, w->txn);
    stn_sink_flush(s->sink);
}

/* ---- what the loader calls ---- */

static void *work(void *arg) {
    struct worker *w = arg;
    size_t n;
    while ((n = take(w)) > 0) serve(w, n);
    return NULL;
}

static int reserve(struct lmdb_source *s, size_t need) {
    size_t cap = s->cap ? s->cap : 256;
    while (cap < need) {
        if (cap > SIZE_MAX / 2) return STERNA_ENOMEM;
        cap *= 2;
    }
    if (cap == s->cap) return STERNA_OK;
    struct job *ring = stn_array(cap, sizeof *ring);
    if (!ring) return STERNA_ENOMEM;
    for (size_t i = 0; i < s->count; i++) ring[i] = s->ring[(s->head + i) & (s->cap - 1)];
    free(s->ring);
    s->ring = ring;
    s->cap = cap;
    s->head = 0;
    return STERNA_OK;
}

static int lmdb_submit(struct stn_source *source, const struct stn_request *requests, size_t n) {
    struct lmdb_source *s = STN_OUTER(source, struct lmdb_source, base);
    for (size_t i = 0; i < n; i++)
        if (requests[i].n_fields > STN_FIELDS_MAX) return STERNA_EINVAL;
    pthread_mutex_lock(&s->mutex);
    int rc = reserve(s, s->count + n);
    for (size_t i = 0; rc == STERNA_OK && i < n; i++)
        s->ring[(s->head + s->count++) & (s->cap - 1)] = (struct job){.request = requests[i]};
    unsigned n_called = call_threads(s);
    pthread_mutex_unlock(&s->mutex);
    signal_threads(s, n_called);
    return rc;
}

static void lmdb_cancel(struct stn_source *source, uint64_t ticket) {
    struct lmdb_source *s = STN_OUTER(source, struct lmdb_source, base);
    pthread_mutex_lock(&s->mutex);
    for (size_t i = 0; i < s->count; i++) {
        struct job *job = &s->ring[(s->head + i) & (s->cap - 1)];
        if (job->request.ticket != ticket) continue;
        job->canceled = 1;
        break;
    }
    pthread_mutex_unlock(&s->mutex);
}

/* ---- open and close ---- */

static void stop_workers(struct lmdb_source *s) {
    pthread_mutex_lock(&s->mutex);
    s->stop = 1;
    pthread_cond_broadcast(&s->work);
    pthread_mutex_unlock(&s->mutex);
    for (unsigned i = 0; i < s->n_running; i++) pthread_join(s->workers[i].thread, NULL);
}

static void destroy(struct lmdb_source *s) {
    if (s->ready) {
        stop_workers(s);
        pthread_cond_destroy(&s->work);
        pthread_mutex_destroy(&s->mutex);
    }
    for (unsigned i = 0; s->workers && i < s->n_workers; i++) {
        struct worker *w = &s->workers[i];
        if (w->cursor) mdb_cursor_close(w->cursor);
        if (w->txn) mdb_txn_abort(w->txn);
        free(w->parts);
    }
    free(s->workers);
    free(s->ring);
    free(s);
}

static void lmdb_close(struct stn_source *source) {
    struct lmdb_source *s = STN_OUTER(source, struct lmdb_source, base);
    if (s->pid == getpid()) destroy(s); /* a forked child has none of the threads */
}

static int init_lock(struct lmdb_source *s) {
    if (pthread_mutex_init(&s->mutex, NULL) != 0) return STERNA_ENOMEM;
    if (pthread_cond_init(&s->work, NULL) != 0) {
        pthread_mutex_destroy(&s->mutex);
        return STERNA_ENOMEM;
    }
    s->ready = 1;
    return STERNA_OK;
}

/* Starts as many threads as the system gives, at least one. */
static int start_workers(struct lmdb_source *s, struct sterna_error *err) {
    int failed = 0;
    pthread_mutex_lock(&s->mutex);
    while (!failed && s->n_running < s->n_workers) {
        struct worker *w = &s->workers[s->n_running];
        failed = stn_thread_create(&w->thread, work, w);
        if (!failed) s->n_running++;
    }
    int started = s->n_running > 0;
    pthread_mutex_unlock(&s->mutex);
    if (started) return STERNA_OK;
    errno = failed;
    return stn_fail_sys(err, STERNA_ENOMEM, "no thread can be started to read %s", s->db->path);
}

int stn_lmdb_source_open(struct stn_source **out, struct stn_lmdb *db, struct stn_sink *sink,
                         const struct stn_source_options *options, struct sterna_error *err) {
    static const struct stn_source_ops ops = {lmdb_submit, lmdb_cancel, lmdb_close, NULL};
    *out = NULL;
    unsigned n = options && options->threads ? options->threads : THREADS_DEFAULT;
    struct lmdb_source *s = stn_array(1, sizeof *s);
    if (!s) return stn_fail_memory(err, "a source");
    s->base = (struct stn_source){.ops = &ops, .ahead_bytes = AHEAD_BYTES, .timeout_ms = 0};
    s->db = db;
    s->sink = sink;
    s->pid = getpid();
    s->n_workers = STN_MIN(n, THREADS_MAX);
    s->n_cpus = stn_usable_cpus();
    s->base.n_threads = STN_MIN(s->n_workers, s->n_cpus);
    s->workers = stn_array(s->n_workers, sizeof *s->workers);
    int rc = s->workers ? reserve(s, 1) : STERNA_ENOMEM;
    for (unsigned i = 0; rc == STERNA_OK && i < s->n_workers; i++) {
        struct worker *w = &s->workers[i];
        w->source = s;
        w->parts = stn_array(CHUNK_PARTS, sizeof *w->parts);
        if (!w->parts) rc = STERNA_ENOMEM;
    }
    if (rc == STERNA_OK) rc = init_lock(s);
    if (rc < 0) stn_fail_memory(err, "a source's threads");
    if (rc == STERNA_OK) rc = start_workers(s, err);
    if (rc < 0) {
        destroy(s);
        return rc;
    }
    *out = &s->base;
    return STERNA_OK;
}
