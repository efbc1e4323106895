/* Scripted servers (see peer.h) that hold samples, a session with them, and batches of calls.
 *
 *     struct servers c = {.script = script};
 *     servers_open(&c, 3);
 *     servers_read(&c, 100, STERNA_OK);
 *     servers_close(&c);
 *
 * Sample k has the id sample_id(k) and the bytes sample_blob(k) at every node; the servers know
 * SELECT and INSERT. */
#ifndef TEST_SERVERS_H
#define TEST_SERVERS_H

#include <pthread.h>
#include <stdatomic.h>

#include "net/session.h"
#include "sterna/log.h"
#include "support/check.h"
#include "support/peer.h"

enum { SERVERS_MAX = 3, CALLS_MAX = 2000, BLOB_BYTES = 5000 };
#define SELECT "SELECT id, crc, data FROM ks.t WHERE id = ?"
#define INSERT "INSERT INTO ks.t (id, crc, data) VALUES (?, ?, ?)"
#define CHECK_OK(call, err)                                                                        \
    do {                                                                                           \
        int rc_ = (call);                                                                          \
        if (rc_ != STERNA_OK) fail_msg("%s: %d (%s)", #call, rc_, (err).message);                  \
    } while (0)

/* ---- the servers ---- */

struct servers {
    struct peer *peer;
    struct stn_session *session;
    /* the script: how EXECUTE number `n` (from 1, of all nodes) for sample `k` at `node` goes; 1:
     * it was answered. peer's thread */
    int (*script)(struct servers *c, struct peer_conn *conn, const struct peer_frame *f, unsigned k,
                  size_t node);
    /* Sees each request before anything else; 1: it was answered. Peer's thread. */
    int (*first)(struct servers *c, struct peer_conn *conn, const struct peer_frame *f);
    void *own;           /* the script's */
    atomic_uint control; /* number of the connection that asked for events last */
    struct stn_clock clock;
    atomic_uint_least64_t now_ns; /* the clock's; only servers_later() moves it */
    atomic_uint n_looks;          /* at the other nodes, in the system tables */
    atomic_uint n_strange;        /* EXECUTEs of statements that another node prepared */
    atomic_uint n_executes, n_prepares[SERVERS_MAX], asked[SERVERS_MAX], by_consistency[16];
    atomic_uint attempts[CALLS_MAX];
    uint16_t stream; /* kept by a script */
    unsigned number;
    atomic_int extra;
};

void sample_id(unsigned k, uint8_t id[16]);
void sample_blob(unsigned k, uint8_t *blob); /* BLOB_BYTES */
void servers_answer(struct peer_conn *conn, const struct peer_frame *f, unsigned k);

/* The peer alone: with these options (keyspace "ks", two copies of each row); or so many nodes. */
void servers_start_with(struct servers *c, struct peer_options o);
void servers_start(struct servers *c, size_t n_nodes);
/* The session: options that go to the first node; opened with such; and all of it at once. */
struct stn_session_options servers_options(const struct servers *c, struct stn_host *host);
/* The session's time stands still, but for servers_later(); to connect may take as long as it does.
 * Before it is opened. Whoever lets time pass faster than servers answer loses connections. */
void servers_freeze(struct servers *c, struct stn_session_options *o);
void servers_later(struct servers *c, uint64_t ns);
/* What was sent until now has been answered, but for what a script keeps back; a node must be there
 * to be asked. */
void servers_settle(struct servers *c);
void servers_open_with(struct servers *c, const struct stn_session_options *o);
void servers_open(struct servers *c, size_t n_nodes);
void servers_close(struct servers *c);
void servers_event(struct servers *c, const char *change, size_t node);
struct stn_statement *servers_statement(struct servers *c, const char *text);

/* ---- calls ---- */

struct read_call {
    struct stn_query_call q;
    struct batch *batch;
    unsigned k;
    uint8_t id[16];
    struct stn_cql_value value;
    uint8_t *blob;
    int code, done;
    char why[256];
    uint32_t crc;
};

struct batch { /* of reads, waited for */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    size_t n, n_done;
    struct read_call calls[CALLS_MAX];
};

/* Reads (or writes, as of WRITE_TIME_US + k) of the samples 0 .. n - 1. */
#define WRITE_TIME_US 1700000000000000
struct batch *batch_submit(struct servers *c, size_t n, int writes);
/* The same in two steps, of which the second may be done on the session's thread. */
struct batch *batch_make(struct servers *c, size_t n, int writes);
void batch_send(struct servers *c, struct batch *b);
void batch_await(struct batch *b);
size_t batch_done(struct batch *b); /* how many have ended */
/* Awaits all while time passes, a tenth of a second at a time and no faster than servers answer. */
void batch_pass(struct servers *c, struct batch *b);
/* Awaits all. They have ended, each once, with `code`; those that went well with the right bytes.
 */
void batch_check(struct batch *b, int code);
void batch_free(struct batch *b);
void servers_read(struct servers *c, size_t n, int code); /* submit, check, free */

#endif
