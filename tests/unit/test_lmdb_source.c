/* The embedded store's reading side, in front of a sink that only counts and keeps. */
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/check.h"
#include "support/temporary.h"

#include "base/file.h"
#include "source/lmdb_env.h"
#include "sterna/store.h"

enum { TICKETS = 20000, FIELDS = 3 };

struct answer {
    int completed, code;
    char why[STERNA_MESSAGE_BYTES];
    uint8_t id[16];
    uint8_t *data[FIELDS];
    uint64_t bytes[FIELDS];
    uint32_t crc[FIELDS];
    int placed[FIELDS];
};

struct stn_sink {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    struct answer answers[TICKETS];  /* by ticket */
    unsigned n_completed, n_flushed; /* flushed: completions that a flush has told of */
    int place_code;                  /* what place says instead of OK */
    int hold;                        /* place waits while it is set */
    unsigned n_holding;
};

int stn_sink_place(struct stn_sink *sink, uint64_t ticket, uint32_t part, const uint8_t id[16],
                   uint64_t bytes, uint32_t crc, uint8_t **to) {
    pthread_mutex_lock(&sink->mutex);
    sink->n_holding++;
    pthread_cond_broadcast(&sink->changed);
    while (sink->hold) pthread_cond_wait(&sink->changed, &sink->mutex);
    sink->n_holding--;
    struct answer *a = &sink->answers[ticket];
    int rc = a->completed ? STERNA_ECANCELED : sink->place_code;
    if (rc == STERNA_OK) {
        a->placed[part]++;
        a->bytes[part] = bytes;
        a->crc[part] = crc;
        memcpy(a->id, id, 16);
        a->data[part] = *to = bytes ? malloc(bytes) : NULL;
    }
    pthread_mutex_unlock(&sink->mutex);
    return rc;
}

void stn_sink_expect(struct stn_sink *sink, uint64_t ticket, uint32_t part, uint32_t crc) {
    pthread_mutex_lock(&sink->mutex);
    sink->answers[ticket].crc[part] = crc;
    pthread_mutex_unlock(&sink->mutex);
}

void stn_sink_complete(struct stn_sink *sink, uint64_t ticket, int code, const char *why) {
    pthread_mutex_lock(&sink->mutex);
    struct answer *a = &sink->answers[ticket];
    a->completed++;
    a->code = code;
    if (why) snprintf(a->why, sizeof a->why, "%s", why);
    sink->n_completed++;
    pthread_mutex_unlock(&sink->mutex);
}

void stn_sink_flush(struct stn_sink *sink) {
    pthread_mutex_lock(&sink->mutex);
    sink->n_flushed = sink->n_completed;
    pthread_cond_broadcast(&sink->changed);
    pthread_mutex_unlock(&sink->mutex);
}

static void sink_wait(struct stn_sink *sink, unsigned n) {
    pthread_mutex_lock(&sink->mutex);
    while (sink->n_flushed < n) pthread_cond_wait(&sink->changed, &sink->mutex);
    pthread_mutex_unlock(&sink->mutex);
}

static void sink_hold(struct stn_sink *sink, int hold, unsigned until_holding) {
    pthread_mutex_lock(&sink->mutex);
    sink->hold = hold;
    pthread_cond_broadcast(&sink->changed);
    while (sink->n_holding < until_holding) pthread_cond_wait(&sink->changed, &sink->mutex);
    pthread_mutex_unlock(&sink->mutex);
}

static void sink_empty(struct stn_sink *sink) {
    for (size_t i = 0; i < TICKETS; i++)
        for (size_t f = 0; f < FIELDS; f++) free(sink->answers[i].data[f]);
    memset(sink->answers, 0, sizeof sink->answers);
    sink->n_completed = sink->n_flushed = 0;
    sink->place_code = STERNA_OK;
}

struct box {
    char *dir, store[300], data[320];
    struct stn_lmdb *db;
    struct stn_sink *sink;
};

static void ok_at(int line, int rc, const struct sterna_error *err) {
    if (rc < 0) fail_msg("line %d: code %d: %s", line, rc, err->message);
}
#define OK(call) ok_at(__LINE__, (call), &err)

static void number_id(uint8_t id[16], uint32_t n) {
    uint32_t x = n * 2654435761U;
    memset(id, 0, 16);
    for (int i = 0; i < 4; i++) {
        id[i] = (uint8_t)(x >> (8 * i));
        id[12 + i] = (uint8_t)(n >> (8 * i));
    }
}

static size_t bytes_of(uint32_t n, uint8_t field) {
    static const size_t sizes[] = {0, 1, 17, 500, 2500, 4064, 9000, 70000};
    return sizes[(n + field) % STN_COUNT(sizes)];
}

static uint8_t *value_of(uint32_t n, uint8_t field) {
    size_t bytes = bytes_of(n, field);
    uint8_t *data = malloc(bytes + 1);
    uint32_t seed = n * 31 + field;
    for (size_t i = 0; i < bytes; i++) {
        seed = seed * 1664525U + 1013904223U;
        data[i] = (uint8_t)(seed >> 24);
    }
    return data;
}

enum { SAMPLES = 600 }; /* field 1 of every third is missing */
static int is_stored(uint32_t n, uint8_t field) { return n < SAMPLES && (field != 1 || n % 3); }

static int setup(void **state) {
    struct sterna_error err = {0};
    struct box *b = stn_array(1, sizeof *b);
    b->dir = test_dir_make();
    snprintf(b->store, sizeof b->store, "%s/store", b->dir);
    snprintf(b->data, sizeof b->data, "%s/data.mdb", b->store);
    b->sink = stn_array(1, sizeof *b->sink);
    pthread_mutex_init(&b->sink->mutex, NULL);
    pthread_cond_init(&b->sink->changed, NULL);
    OK(stn_lmdb_acquire(&b->db, b->store, STN_LMDB_CREATE, &err));
    struct stn_lmdb_writer *w;
    OK(stn_lmdb_writer_open(&w, b->db, &err));
    for (uint32_t n = 0; n < SAMPLES; n++) {
        for (uint8_t f = 0; f < FIELDS; f++) {
            uint8_t id[16], *data = value_of(n, f);
            number_id(id, n);
            if (is_stored(n, f))
                OK(stn_lmdb_writer_put(w, id, f, data, bytes_of(n, f),
                                       stn_crc32c(0, data, bytes_of(n, f)), &err));
            free(data);
        }
    }
    OK(stn_lmdb_writer_commit(w, &err));
    stn_lmdb_writer_close(&w);
    *state = b;
    return 0;
}

static int teardown(void **state) {
    struct box *b = *state;
    stn_lmdb_release(&b->db);
    sink_empty(b->sink);
    pthread_cond_destroy(&b->sink->changed);
    pthread_mutex_destroy(&b->sink->mutex);
    free(b->sink);
    test_dir_remove(&b->dir);
    free(b);
    return 0;
}

static const uint8_t all_fields[] = {0, 1, 2};

static struct stn_request request_for(uint64_t ticket, uint32_t n, const uint8_t *fields,
                                      uint32_t n_fields) {
    struct stn_request r = {.ticket = ticket, .fields = fields, .n_fields = n_fields};
    number_id(r.id, n);
    return r;
}

/* Submits tickets [0, n) for samples 0, 1, ... in slices of `slice`. */
static void submit_all(struct stn_source *source, uint32_t n, uint32_t slice) {
    struct stn_request r[64];
    for (uint32_t at = 0; at < n;) {
        uint32_t k = 0;
        for (; k < slice && at < n; k++, at++)
            r[k] = request_for(at, at % SAMPLES, all_fields, FIELDS);
        assert_int_equal(source->ops->submit(source, r, k), STERNA_OK);
    }
}

static void check_answer(const struct answer *a, uint32_t n) {
    uint8_t id[16];
    number_id(id, n);
    if (a->completed != 1 || a->code)
        fail_msg("%u: %d times, %d %s", n, a->completed, a->code, a->why);
    assert_memory_equal(a->id, id, 16);
    for (uint8_t f = 0; f < FIELDS; f++) {
        assert_int_equal(a->placed[f], is_stored(n, f));
        if (!a->placed[f]) continue;
        assert_int_equal(a->bytes[f], bytes_of(n, f));
        uint8_t *want = value_of(n, f);
        if (a->bytes[f]) assert_memory_equal(a->data[f], want, a->bytes[f]);
        assert_int_equal(a->crc[f], stn_crc32c(0, want, a->bytes[f]));
        free(want);
    }
}

static void test_lmdb_source_answers_all(void **state) {
    static const struct {
        unsigned threads;
        uint32_t n, slice;
    } rows[] = {{1, 700, 1}, {1, 2000, 64}, {4, 2000, 7}, {0, 5000, 64}, {40, 5000, 33}};
    struct box *b = *state;
    struct sterna_error err = {0};
    for (size_t i = 0; i < STN_COUNT(rows); i++) {
        struct stn_source *source;
        struct stn_source_options options = {.threads = rows[i].threads};
        OK(stn_lmdb_source_open(&source, b->db, b->sink, &options, &err));
        assert_true(source->ahead_bytes > 0);
        submit_all(source, rows[i].n, rows[i].slice);
        sink_wait(b->sink, rows[i].n);
        source->ops->close(source);
        for (uint32_t t = 0; t < rows[i].n; t++) check_answer(&b->sink->answers[t], t % SAMPLES);
        sink_empty(b->sink);
    }
}

/* The way through the disk: with the file out of the page cache, as far as the system obliges. */
static void test_lmdb_source_cold(void **state) {
    struct box *b = *state;
    struct sterna_error err = {0};
    struct stn_source *source;
    OK(stn_lmdb_source_open(&source, b->db, b->sink, NULL, &err));
    for (int round = 0; round < 4; round++) {
        assert_int_equal(fdatasync(b->db->fd), 0);
        assert_int_equal(posix_fadvise(b->db->fd, 0, 0, POSIX_FADV_DONTNEED), 0);
        submit_all(source, 1200, round % 2 ? 64 : 5);
        sink_wait(b->sink, 1200);
        for (uint32_t t = 0; t < 1200; t++) check_answer(&b->sink->answers[t], t % SAMPLES);
        pthread_mutex_lock(&b->sink->mutex); /* the last flush may still be on its way */
        sink_empty(b->sink);
        pthread_mutex_unlock(&b->sink->mutex);
    }
    source->ops->close(source);
}

static struct stn_source *open_source(struct box *b, unsigned threads) {
    struct sterna_error err = {0};
    struct stn_source *source;
    struct stn_source_options options = {.threads = threads};
    OK(stn_lmdb_source_open(&source, b->db, b->sink, &options, &err));
    return source;
}

static void ask(struct stn_source *source, uint64_t ticket, uint32_t n, const uint8_t *fields,
                uint32_t n_fields) {
    struct stn_request r = request_for(ticket, n, fields, n_fields);
    assert_int_equal(source->ops->submit(source, &r, 1), STERNA_OK);
}

static void test_lmdb_source_missing(void **state) {
    struct box *b = *state;
    static const uint8_t one[] = {1}, unknown[] = {31};
    struct stn_source *source = open_source(b, 2);
    struct answer *a = b->sink->answers;
    ask(source, 0, SAMPLES, all_fields, FIELDS); /* no such sample */
    ask(source, 1, 3, one, 1);                   /* the sample is there, the field is not */
    ask(source, 2, 3, unknown, 1);
    ask(source, 3, 3, NULL, 0);
    ask(source, 4, SAMPLES, NULL, 0);
    ask(source, 5, 4, one, 1);
    sink_wait(b->sink, 6);
    source->ops->close(source);
    static const int codes[] = {STERNA_ENOTFOUND, 0, 0, 0, STERNA_ENOTFOUND, 0};
    for (size_t i = 0; i < STN_COUNT(codes); i++) {
        assert_int_equal(a[i].completed, 1);
        assert_int_equal(a[i].code, codes[i]);
        assert_int_equal(a[i].placed[0], i == 5);
        assert_int_equal(a[i].why[0] != 0, codes[i] != 0);
    }
    uint8_t id[16];
    char text[STERNA_ID_TEXT_BYTES];
    number_id(id, SAMPLES);
    sterna_id_format(id, text);
    assert_non_null(strstr(a[0].why, text));
    assert_non_null(strstr(a[0].why, b->data));
}

static void test_lmdb_source_too_many_fields(void **state) {
    struct box *b = *state;
    static const uint8_t many[STN_FIELDS_MAX + 1];
    struct stn_source *source = open_source(b, 1);
    struct stn_request r = request_for(0, 1, many, STN_COUNT(many));
    assert_int_equal(source->ops->submit(source, &r, 1), STERNA_EINVAL);
    source->ops->close(source);
    assert_int_equal(b->sink->n_completed, 0);
}

static void test_lmdb_source_sink_refuses(void **state) {
    static const int codes[] = {STERNA_EPROTO, STERNA_EBUDGET, STERNA_ECANCELED};
    struct box *b = *state;
    for (size_t i = 0; i < STN_COUNT(codes); i++) {
        struct stn_source *source = open_source(b, 2);
        b->sink->place_code = codes[i];
        submit_all(source, 100, 10);
        sink_wait(b->sink, 100);
        source->ops->close(source);
        for (size_t t = 0; t < 100; t++) {
            assert_int_equal(b->sink->answers[t].completed, 1);
            assert_int_equal(b->sink->answers[t].code, codes[i]);
        }
        sink_empty(b->sink);
    }
}

static void test_lmdb_source_cancel_and_close(void **state) {
    struct box *b = *state;
    struct stn_source *source = open_source(b, 1);
    pthread_mutex_lock(&b->sink->mutex);
    b->sink->hold = 1;
    pthread_mutex_unlock(&b->sink->mutex);
    ask(source, 0, 1, all_fields, FIELDS);
    sink_hold(b->sink, 1, 1); /* the only thread is busy with it */
    for (uint32_t t = 1; t < 300; t++) ask(source, t, t, all_fields, FIELDS);
    for (uint32_t t = 2; t < 300; t += 2) source->ops->cancel(source, t);
    source->ops->cancel(source, 0);     /* started: comes as it comes */
    source->ops->cancel(source, 12345); /* unknown */
    sink_hold(b->sink, 0, 0);
    sink_wait(b->sink, 300);
    for (uint32_t t = 0; t < 300; t++) {
        struct answer *a = &b->sink->answers[t];
        assert_int_equal(a->completed, 1);
        assert_int_equal(a->code, t > 0 && t % 2 == 0 ? STERNA_ECANCELED : STERNA_OK);
    }
    submit_all(source, 5000, 64); /* tickets again: the sink finds them all completed */
    source->ops->close(source);   /* with requests still queued */
    unsigned n = b->sink->n_completed;
    assert_true(n <= 5300);
}

struct canceler {
    struct stn_source *source;
    pthread_t thread;
};

static void *cancel_some(void *arg) {
    struct canceler *c = arg;
    for (uint32_t t = 0; t < 3000; t += 3) c->source->ops->cancel(c->source, t);
    return NULL;
}

static void test_lmdb_source_cancel_while_running(void **state) {
    struct box *b = *state;
    struct canceler c = {.source = open_source(b, 4)};
    assert_int_equal(pthread_create(&c.thread, NULL, cancel_some, &c), 0);
    submit_all(c.source, 3000, 64);
    sink_wait(b->sink, 3000);
    pthread_join(c.thread, NULL);
    c.source->ops->close(c.source);
    for (uint32_t t = 0; t < 3000; t++) {
        struct answer *a = &b->sink->answers[t];
        assert_int_equal(a->completed, 1);
        if (a->code != STERNA_ECANCELED) check_answer(a, t % SAMPLES);
    }
}

/* The file shrinks under the open map: an error for the samples that lost their bytes. */
static void test_lmdb_source_truncated_while_open(void **state) {
    struct box *b = *state;
    struct stn_source *source = open_source(b, 3);
    struct sterna_error err = {0};
    MDB_txn *txn = NULL;
    MDB_cursor *cursor;
    off_t last = 0;
    uint32_t victim = 0;
    OK(stn_lmdb_read_begin(b->db, &txn, &err));
    assert_int_equal(mdb_cursor_open(txn, b->db->dbi, &cursor), 0);
    for (uint32_t n = 0; n < SAMPLES; n++) { /* whose field 2 lies last, on pages of its own? */
        uint8_t id[16];
        struct stn_lmdb_span span;
        number_id(id, n);
        OK(stn_lmdb_locate(b->db, cursor, id, 2, &span, &err));
        if (bytes_of(n, 2) == 70000 && span.offset > last) {
            last = span.offset;
            victim = n;
        }
    }
    mdb_cursor_close(cursor);
    stn_lmdb_read_end(b->db, txn);
    mdb_txn_abort(txn);
    static const uint8_t two[] = {2};
    struct stat st;
    assert_int_equal(stat(b->data, &st), 0);
    void *tail = malloc((size_t)(st.st_size - last));
    assert_int_equal(stn_pread_all(b->db->fd, tail, (size_t)(st.st_size - last), last), 0);
    static const off_t kept[] = {30000, 5, -16}; /* in the bytes, in the header, before its page */
    for (uint32_t i = 0; i < STN_COUNT(kept); i++) {
        assert_int_equal(truncate(b->data, last + kept[i]), 0);
        ask(source, i, victim, two, 1);
        sink_wait(b->sink, i + 1);
        struct answer *a = &b->sink->answers[i];
        if (a->code != STERNA_EIO || !strstr(a->why, "truncated") || !strstr(a->why, b->data))
            fail_msg("%u: %d %s", i, a->code, a->why);
    }
    int fd = open(b->data, O_WRONLY | O_CLOEXEC); /* for LMDB, which still maps it */
    assert_true(pwrite(fd, tail, (size_t)(st.st_size - last), last) == st.st_size - last);
    close(fd);
    free(tail);
    source->ops->close(source);
}

static void test_lmdb_source_newer_value(void **state) {
    struct box *b = *state;
    struct stn_source *source = open_source(b, 1);
    MDB_txn *txn;
    MDB_val key, value;
    uint8_t raw[STN_LMDB_KEY_BYTES], id[16], newer[20] = {2};
    number_id(id, 8);
    stn_lmdb_key(raw, id, 0);
    key = (MDB_val){sizeof raw, raw};
    value = (MDB_val){sizeof newer, newer};
    assert_int_equal(mdb_txn_begin(b->db->env, NULL, 0, &txn), 0);
    assert_int_equal(mdb_put(txn, b->db->dbi, &key, &value, 0), 0);
    number_id(id, 9);
    stn_lmdb_key(raw, id, 0);
    value.mv_size = 15;
    assert_int_equal(mdb_put(txn, b->db->dbi, &key, &value, 0), 0);
    assert_int_equal(mdb_txn_commit(txn), 0);
    submit_all(source, 11, 11);
    sink_wait(b->sink, 11);
    source->ops->close(source);
    struct answer *a = b->sink->answers;
    assert_int_equal(a[8].code, STERNA_EFORMAT);
    assert_non_null(strstr(a[8].why, "version 2"));
    assert_int_equal(a[9].code, STERNA_EFORMAT);
    check_answer(&a[7], 7);
    check_answer(&a[10], 10);
}

struct writing {
    struct box *box;
    int code;
};

static void *write_more(void *arg) {
    struct writing *wr = arg;
    struct sterna_error err = {0};
    struct stn_lmdb_writer *w = NULL;
    static uint8_t data[30000];
    int rc = stn_lmdb_writer_open(&w, wr->box->db, &err);
    for (uint32_t n = 0; rc == STERNA_OK && n < 3000; n++) {
        uint8_t id[16];
        number_id(id, 100000 + n);
        rc = stn_lmdb_writer_put(w, id, 0, data, sizeof data, 0, &err);
        if (rc == STERNA_OK && n % 20 == 0) rc = stn_lmdb_writer_commit(w, &err);
    }
    stn_lmdb_writer_close(&w);
    wr->code = rc;
    return NULL;
}

/* Readers go on while a writer of the same process makes the map grow many times. */
static void test_lmdb_source_while_the_map_grows(void **state) {
    struct box *b = *state;
    struct sterna_error err = {0};
    struct stat st;
    size_t whole = stn_lmdb_map_bytes;
    stn_lmdb_release(&b->db);
    assert_int_equal(stat(b->data, &st), 0);
    stn_lmdb_map_bytes = ((size_t)st.st_size >> 16 << 16) + (1 << 16);
    OK(stn_lmdb_acquire(&b->db, b->store, STN_LMDB_WRITE, &err));
    stn_lmdb_map_bytes = whole;
    struct stn_source *source = open_source(b, 4);
    struct writing wr = {.box = b};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, write_more, &wr), 0);
    submit_all(source, TICKETS, 64);
    sink_wait(b->sink, TICKETS);
    pthread_join(thread, NULL);
    source->ops->close(source);
    assert_int_equal(wr.code, STERNA_OK);
    for (uint32_t t = 0; t < TICKETS; t++) check_answer(&b->sink->answers[t], t % SAMPLES);
}

static void test_lmdb_source_closed_in_a_child(void **state) {
    struct box *b = *state;
    struct stn_source *source = open_source(b, 2);
    submit_all(source, 10, 10);
    sink_wait(b->sink, 10);
    pid_t child = fork();
    if (child == 0) {
        source->ops->close(source); /* must not wait for threads that are not there */
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    ask(source, 11, 11, all_fields, FIELDS);
    sink_wait(b->sink, 11);
    check_answer(&b->sink->answers[11], 11);
    source->ops->close(source);
}

int main(void) {
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_lmdb_source_answers_all),
        TEST(test_lmdb_source_cold),
        TEST(test_lmdb_source_missing),
        TEST(test_lmdb_source_too_many_fields),
        TEST(test_lmdb_source_sink_refuses),
        TEST(test_lmdb_source_cancel_and_close),
        TEST(test_lmdb_source_cancel_while_running),
        TEST(test_lmdb_source_truncated_while_open),
        TEST(test_lmdb_source_newer_value),
        TEST(test_lmdb_source_while_the_map_grows),
        TEST(test_lmdb_source_closed_in_a_child),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
