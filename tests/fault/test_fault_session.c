/* A session with a cluster of two nodes while memory or the network fail: it opens, prepares, reads
 * rows with blobs, writes some, and closes. Right bytes or one clear error, each call told once,
 * nothing left behind, no hang. The servers are a process of their own, whose calls do not fail. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fault/sweep.h"
#include "net/session.h"
#include "sterna/log.h"
#include "support/peer.h"
#include "support/temporary.h"

enum { BLOB_BYTES = 60000, N_READS = 8, N_WRITES = 3, FLIGHT = 20 };
#define SELECT "SELECT id, crc, data FROM ks.t WHERE id = ?"
#define INSERT "INSERT INTO ks.t (id, crc, data) VALUES (?, ?, ?)"

static uint8_t blob[BLOB_BYTES];
static uint16_t port;

/* ---- the servers ---- */

static int prepared(struct peer_conn *conn, const struct peer_frame *f) {
    static const struct peer_column all[] = {
        {"id", STN_CQL_UUID, {0, 0}}, {"crc", STN_CQL_INT, {0, 0}}, {"data", STN_CQL_BLOB, {0, 0}}};
    if (strcmp(f->text, SELECT) == 0)
        peer_send_prepared(conn, f->stream, "SELECT 012345678", all, 1, 1, all, 3);
    else
        peer_send_prepared(conn, f->stream, "INSERT 012345678", all, 3, 1, NULL, 0);
    return 1;
}

static int frame(void *ctx, struct peer_conn *conn, const struct peer_frame *f) {
    (void)ctx;
    if (f->opcode == STN_CQL_PREPARE) return prepared(conn, f);
    if (f->opcode != STN_CQL_EXECUTE) return 0;
    if (f->id.data[0] == 'S')
        peer_send_blob(conn, f, f->values[0].data, f->values[0].data[0], blob, sizeof blob);
    else
        peer_send_void(conn, f->stream);
    return 1;
}

/* Until nobody holds the other end of `until` any more. */
static void serve(int tell, int until) {
    static const struct peer_keyspace keyspaces[] = {
        {"ks", "class=org.apache.cassandra.locator.SimpleStrategy replication_factor=2"}};
    struct peer *peer = peer_open(&(struct peer_options){
        .n_nodes = 2, .keyspaces = keyspaces, .n_keyspaces = 1, .frame = frame});
    char byte;
    port = peer_port(peer);
    if (write(tell, &port, sizeof port) != sizeof port) abort();
    while (read(until, &byte, 1) > 0) {}
    peer_close(&peer);
}

static pid_t start_servers(int *until) {
    int tell[2], end[2];
    if (pipe(tell) < 0 || pipe(end) < 0) abort();
    pid_t pid = fork();
    if (pid < 0) abort();
    if (pid == 0) {
        close(tell[0]);
        close(end[1]);
        serve(tell[1], end[0]);
        exit(0);
    }
    close(tell[1]);
    close(end[0]);
    if (read(tell[0], &port, sizeof port) != sizeof port) abort();
    close(tell[0]);
    *until = end[1];
    return pid;
}

/* ---- the work ---- */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static unsigned n_done;

struct asked {
    struct stn_query_call q;
    uint8_t id[16], crc[4];
    struct stn_cql_value values[3];
    uint8_t landed[BLOB_BYTES];
    int told, code;
    char why[256];
};

static struct asked reads[N_READS], writes[N_WRITES];

static int on_row(struct stn_query_call *q, const struct stn_cql_value *small) {
    struct asked *a = STN_OUTER(q, struct asked, q);
    if (!stn_value_equals(small[0], a->id, sizeof a->id)) round_fail("the row of another key");
    return STERNA_OK;
}

static int on_blob(struct stn_query_call *q, uint32_t i, uint32_t bytes, uint8_t **to) {
    (void)i;
    if (bytes != BLOB_BYTES) round_fail("a blob of %u bytes", bytes);
    *to = STN_OUTER(q, struct asked, q)->landed;
    return STERNA_OK;
}

static void on_done(struct stn_query_call *q, int code, const struct stn_query_answer *answer) {
    struct asked *a = STN_OUTER(q, struct asked, q);
    pthread_mutex_lock(&lock);
    a->told++;
    a->code = code;
    snprintf(a->why, sizeof a->why, "%s", answer->why ? answer->why : "");
    n_done++;
    pthread_cond_signal(&changed);
    pthread_mutex_unlock(&lock);
}

static void make(struct asked *a, unsigned number, struct stn_statement *t, int write) {
    static const struct stn_query_call_ops read_ops = {on_row, on_blob, on_done},
                                           write_ops = {.done = on_done};
    memset(a->id, (int)number + 1, sizeof a->id);
    a->values[0] = stn_value_of(a->id, sizeof a->id);
    a->values[1] = stn_value_from_int(7, a->crc);
    a->values[2] = stn_value_of(blob, sizeof blob);
    a->q = (struct stn_query_call){.ops = write ? &write_ops : &read_ops,
                                   .statement = t,
                                   .values = a->values,
                                   .n_values = write ? 3 : 1,
                                   .lane = write ? STN_LANE_WRITE : STN_LANE_READ,
                                   .is_write = write,
                                   .consistency = STN_CQL_LOCAL_ONE,
                                   .timestamp_us = write ? 1700000000000000 : 0,
                                   .shape = {2, 1},
                                   .weight_bytes = BLOB_BYTES,
                                   .group = reads};
}

static int check(const struct asked *a, size_t n, int write, struct sterna_error *err) {
    int rc = STERNA_OK;
    for (size_t i = 0; i < n; i++) {
        if (a[i].told != 1) round_fail("call %zu: told %d times", i, a[i].told);
        if (a[i].code == STERNA_OK && !write && memcmp(a[i].landed, blob, BLOB_BYTES) != 0)
            round_fail("call %zu: another blob", i);
        if (a[i].code < 0 && rc == STERNA_OK) rc = stn_fail(err, a[i].code, "%s", a[i].why);
    }
    return rc;
}

static int exchange(struct stn_session *s, struct stn_statement *select,
                    struct stn_statement *insert, struct sterna_error *err) {
    struct stn_query_call *all[N_READS + N_WRITES];
    for (unsigned i = 0; i < N_READS; i++) make(&reads[i], i, select, 0), all[i] = &reads[i].q;
    for (unsigned i = 0; i < N_WRITES; i++)
        make(&writes[i], i, insert, 1), all[N_READS + i] = &writes[i].q;
    stn_session_submit(s, all, STN_COUNT(all));
    pthread_mutex_lock(&lock);
    while (n_done < STN_COUNT(all)) pthread_cond_wait(&changed, &lock);
    pthread_mutex_unlock(&lock);
    int rc = check(reads, N_READS, 0, err), rc_writes = check(writes, N_WRITES, 1, err);
    return rc < 0 ? rc : rc_writes;
}

/* The session's time flies once what lasts has begun to fail, so that its patience is over soon,
 * and on a slow machine not before. What fails once is made good in time. */
static struct {
    struct stn_clock clock;
    int lasting;
    atomic_uint_least64_t failed_ns; /* 0: nothing yet */
} session_time;

static uint64_t session_now(struct stn_clock *clock) {
    uint64_t now_ns = stn_now(stn_clock_monotonic()), none = 0;
    (void)clock;
    if (!session_time.lasting || fault_failed() == 0) return now_ns;
    (void)atomic_compare_exchange_strong(&session_time.failed_ns, &none, now_ns);
    uint64_t failed_ns = atomic_load(&session_time.failed_ns);
    return now_ns > failed_ns ? failed_ns + (now_ns - failed_ns) * FLIGHT : now_ns;
}

static int work(const char *dir, struct sterna_error *err) {
    const struct stn_host host = {"127.0.0.1", port};
    const struct stn_session_options o = {.hosts = &host,
                                          .n_hosts = 1,
                                          .keyspace = "ks",
                                          .connections = 2,
                                          .outage_timeout_ms = session_time.lasting ? 2000 : 30000,
                                          .clock = &session_time.clock};
    struct stn_session *s;
    struct stn_statement *select, *insert;
    struct stn_session_stats stats;
    (void)dir;
    int rc = stn_session_open(&s, &o, err);
    if (rc < 0) return rc;
    rc = stn_session_prepare(s, SELECT, &select, err);
    if (rc == STERNA_OK) rc = stn_session_prepare(s, INSERT, &insert, err);
    if (rc == STERNA_OK) rc = exchange(s, select, insert, err);
    stn_session_stats(s, &stats);
    if (stats.in_flight || stats.in_flight_bytes) round_fail("calls are said to be out still");
    stn_session_close(&s);
    return rc;
}

int main(void) {
    static const struct work works[] = {{"a session", NULL, work, NULL}};
    static const struct sweep sweeps[] = {
        {FAULT_MEMORY, 0, 120}, {FAULT_MEMORY, 1, 40},  {FAULT_EIO, 0, 40},
        {FAULT_EIO, 1, 30},     {FAULT_SOCKET, 0, 120}, {FAULT_SOCKET, 1, 40},
        {FAULT_SIGNAL, 0, 40},  {FAULT_SHORT, 0, 40},   {FAULT_THREAD, 0, 0},
    };
    int until, bad = 0;
    for (size_t i = 0; i < BLOB_BYTES; i++) blob[i] = (uint8_t)(i * 2654435761u >> 13);
    session_time.clock.now_ns = session_now;
    sterna_set_log(NULL, NULL);
    sweep_retries = 1;
    char *base = sweep_dir();
    pid_t pid = start_servers(&until);
    for (size_t i = 0; i < STN_COUNT(works); i++)
        for (size_t k = 0; k < STN_COUNT(sweeps); k++) {
            session_time.lasting = sweeps[k].lasting;
            bad |= sweep_run(&works[i], &sweeps[k], base);
        }
    close(until);
    if (waitpid(pid, NULL, 0) != pid) bad = 1;
    test_dir_remove(&base);
    return bad;
}
