/* A scripted CQL server: one thread that listens on one or more loopback addresses, all with the
 * same port, and does what the test says.
 *
 * It has manners of its own, so that a test scripts only what it is about: it answers OPTIONS,
 * STARTUP, AUTH_RESPONSE and REGISTER, and QUERYs of system.local, system.peers, system.peers_v2
 * and system_schema.keyspaces with the nodes and keyspaces it was given (the columns that the
 * SELECT names, or *). All else gets ERROR "invalid". The hook `frame` sees each request first and
 * may answer otherwise, later, twice, wrongly or never.
 *
 *     static int frame(void *ctx, struct peer_conn *conn, const struct peer_frame *f) {
 *         if (f->opcode != STN_CQL_EXECUTE) return 0;            // not ours: the peer's manners
 *         peer_send_blob(conn, f, id, crc, data, bytes);
 *         return 1;
 *     }
 *     struct peer *p = peer_open(&(struct peer_options){.frame = frame});
 *     ... connect to 127.0.0.1:peer_port(p) ...
 *     peer_close(&p);
 *
 * Several nodes: nodes = {{.ip = "127.0.0.1", ...}, {.ip = "127.0.0.2", ...}}; peer_node() says
 * which one was asked, peer_stop_node() is its death.
 *
 * Threads: hooks run on the peer's thread. Functions that take a peer_conn belong to that thread:
 * call them from hooks, or from the test by peer_run(), which waits until it is done. A connection
 * lives until its client or the peer closes it: keep its number, not the pointer, and ask
 * peer_find(). Whatever cannot be done ends the program: it is the test that is broken. */
#ifndef TEST_PEER_H
#define TEST_PEER_H

#include <openssl/ssl.h>

#include "wire/message.h"

struct peer;
struct peer_conn;

/* ---- what it is ---- */

struct peer_node {         /* NULL and 0 get defaults */
    const char *ip;        /* listens here: "127.0.0.1" ...; default 127.0.0.(1 + its number) */
    const char *told_ip;   /* what the system tables say; default: ip */
    const char *dc, *rack; /* "dc1", "rack1" */
    const char *tokens;    /* "-5 100 7": default: one, spread evenly over the ring */
    uint8_t host_id[16];   /* default: fifteen times its number + 1, then 1 */
    uint8_t schema_version[16]; /* default: the same at all */
    int no_rpc_address;         /* null in the system tables: as a node that is half joined */
    int hidden;                 /* listens, but other nodes do not know of it */
};

struct peer_keyspace {
    const char *name;
    const char
        *replication; /* "class=org.apache.cassandra.locator.SimpleStrategy replication_factor=3" */
};

struct peer_pair {
    const char *key, *value;
};

struct peer_frame { /* a request, taken apart; valid during the hook */
    uint8_t opcode;
    int16_t stream;
    const uint8_t *body;
    size_t body_bytes;
    char *text;                      /* of QUERY and PREPARE; "" otherwise */
    struct stn_text id;              /* of EXECUTE */
    struct stn_cql_value values[80]; /* of QUERY and EXECUTE */
    size_t n_values;
    uint16_t consistency;
    int skip_metadata;
    int32_t page_size;
    struct stn_cql_value paging_state; /* data NULL: none */
    int64_t timestamp_us;              /* 0: none */
};

struct peer_options {
    const struct peer_node *nodes; /* NULL: one, 127.0.0.1 */
    size_t n_nodes;
    const struct peer_keyspace *keyspaces;
    size_t n_keyspaces;
    const char *user, *password;       /* NULL: nobody is asked */
    const char *authenticator;         /* NULL: Cassandra's PasswordAuthenticator */
    const struct peer_pair *supported; /* SUPPORTED says this too */
    size_t n_supported;
    int without_peers_v2; /* as Scylla and Cassandra 3 */
    SSL_CTX *tls;         /* NULL: plain; kept by the peer until peer_close() (SSL_CTX_up_ref) */
    int (*frame)(void *ctx, struct peer_conn *conn, const struct peer_frame *f); /* 1: answered */
    void (*accepted)(void *ctx, struct peer_conn *conn);
    void (*raw)(void *ctx,
                struct peer_conn *conn); /* bytes came, whatever they are: nothing is parsed */
    void *ctx;
};

struct peer *
peer_open(const struct peer_options *options); /* copies the pointers, not the strings */
void peer_close(struct peer **peer);
uint16_t peer_port(const struct peer *peer);
/* Runs it on the peer's thread, and waits for its end. */
void peer_run(struct peer *peer, void (*run)(void *arg), void *arg);
/* Its port is closed and its connections are reset; or it listens again. */
void peer_stop_node(struct peer *peer, size_t node);
void peer_start_node(struct peer *peer, size_t node);
/* What the system tables say of it from now on; where it listens stays. Hooks may, too. */
void peer_set_node(struct peer *peer, size_t node, const struct peer_node *is);
/* Connections that were ever accepted, by one node or (SIZE_MAX) by all. Any thread. */
unsigned peer_accepted(struct peer *peer, size_t node);
/* Waits until the peer has read so many requests of that opcode in all. Any thread. */
void peer_await(struct peer *peer, uint8_t opcode, unsigned n);
unsigned peer_requests(struct peer *peer, uint8_t opcode); /* any thread */

/* ---- its connections: on its thread ---- */

unsigned peer_number(const struct peer_conn *conn); /* 1, 2 ... in the order of accept */
struct peer_conn *peer_find(struct peer *peer, unsigned number); /* NULL: it is closed */
size_t peer_node(const struct peer_conn *conn);
uint16_t peer_client_port(const struct peer_conn *conn);                 /* that it came from */
const char *peer_startup(const struct peer_conn *conn, const char *key); /* of STARTUP, or NULL */

void peer_send(struct peer_conn *conn, const void *data, size_t bytes); /* raw */
void peer_send_frame(struct peer_conn *conn, uint8_t flags, int16_t stream, uint8_t opcode,
                     const void *body, size_t bytes);
void peer_send_ready(struct peer_conn *conn, int16_t stream);
void peer_send_supported(struct peer_conn *conn, int16_t stream);
/* With these pairs instead of the options'. */
void peer_send_supported_as(struct peer_conn *conn, int16_t stream, const struct peer_pair *pairs,
                            size_t n);
void peer_send_authenticate(struct peer_conn *conn, int16_t stream, const char *class);
void peer_send_challenge(struct peer_conn *conn, int16_t stream, const char *token);
void peer_send_auth_success(struct peer_conn *conn, int16_t stream);
void peer_send_error(struct peer_conn *conn, int16_t stream, uint32_t code, const char *text);
void peer_send_unprepared(struct peer_conn *conn, const struct peer_frame *f); /* names its id */
void peer_send_void(struct peer_conn *conn, int16_t stream);
/* "UP", "DOWN" (STATUS_CHANGE); "NEW_NODE", ... (TOPOLOGY_CHANGE); of a node's told address */
void peer_send_event(struct peer_conn *conn, const char *change, size_t node);

struct peer_column {
    const char *name;
    uint16_t type;  /* enum stn_cql_type */
    uint16_t of[2]; /* of a list, set or map */
};
/* ROWS: n_rows * n_columns values, with metadata unless the request skips it. */
void peer_send_rows(struct peer_conn *conn, const struct peer_frame *f,
                    const struct peer_column *columns, size_t n_columns,
                    const struct stn_cql_value *values, size_t n_rows);
/* The same with a paging state: there are more. */
void peer_send_page(struct peer_conn *conn, const struct peer_frame *f,
                    const struct peer_column *columns, size_t n_columns,
                    const struct stn_cql_value *values, size_t n_rows,
                    struct stn_cql_value paging_state);
/* One row: id uuid, crc int, data blob. data NULL: null; id NULL: no row. */
void peer_send_blob(struct peer_conn *conn, const struct peer_frame *f, const uint8_t id[16],
                    uint32_t crc, const void *data, size_t bytes);
/* PREPARED. The first n_key parameters are the partition key. */
void peer_send_prepared(struct peer_conn *conn, int16_t stream, const char id[16],
                        const struct peer_column *params, size_t n_params, size_t n_key,
                        const struct peer_column *columns, size_t n_columns);

/* The next frame carries this custom payload before its body (flag 0x04). */
void peer_payload(struct peer_conn *conn, const char *key, const void *data, size_t bytes);

/* How what is sent leaves, from now on. */
void peer_pieces(struct peer_conn *conn, size_t bytes); /* at most so many a send(); 0: no limit */
void peer_reset_after(struct peer_conn *conn, size_t bytes);  /* RST behind so many more bytes */
void peer_finish_after(struct peer_conn *conn, size_t bytes); /* FIN, likewise */
void peer_stop_reading(struct peer_conn *conn, int stop);

#endif
