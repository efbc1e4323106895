/* One connection of ours for tests, with a clock that the test sets, and calls that remember what
 * came. Everything runs on the test's thread, within client_run(). */
#ifndef TEST_CLIENT_H
#define TEST_CLIENT_H

#include "net/conn.h"

struct client {
    struct stn_clock clock; /* the fake one */
    uint64_t now_ns;        /* what it says; starts at 1000 s */
    struct stn_poll *poll;
    struct stn_conn_config config; /* filled by client_init(); the test may change it */
    struct stn_address to;
    struct stn_conn *conn; /* NULL: closed */
    const char *password;
    unsigned n_passwords; /* asked for */
    /* what it was told */
    unsigned n_ready, n_closed, n_events, n_strays, n_tablets;
    int16_t stray_stream;
    uint8_t stray_opcode;
    struct stn_cql_event event; /* without its texts */
    struct sterna_error end;    /* of closed() */
    void (*on_ready)(struct client *c);
};

void client_init(struct client *c, const char *ip, uint16_t port);
void client_fini(struct client *c);
int client_open(struct client *c, struct sterna_error *err); /* begins to connect */
void client_until_ready(struct client *c);                   /* or it was closed */
void client_until_closed(struct client *c);
void client_run(struct client *c);                /* one wait */
void client_later(struct client *c, uint64_t ns); /* the clock goes on; tick */

struct asked { /* a call, and what came of it */
    struct stn_call call;
    struct client *client;
    unsigned n_done, n_rows, n_blobs;
    int code;
    char why[512];
    uint32_t failure_code;
    int has_head, has_body;
    uint32_t kind, result_rows;
    uint8_t id[16];
    uint32_t crc;
    uint8_t *memory; /* where the blob lands; NULL: dropped */
    size_t memory_bytes;
    size_t blob_bytes;
    int row_says, blob_says; /* their results */
    void (*on_row)(struct asked *a);
    void (*on_blob)(struct asked *a);
    void (*on_done)(struct asked *a);
};

void asked_blob(struct asked *a, struct client *c, void *memory,
                size_t bytes);                         /* row with a blob */
void asked_message(struct asked *a, struct client *c); /* gathered */
/* EXECUTE of a statement "0123456789abcdef" with one 16-byte value of `n` in each byte. Flushed. */
int client_execute(struct client *c, struct asked *a, uint8_t n);
/* QUERY of that text. */
int client_query(struct client *c, struct asked *a, const char *text);
void client_until_done(struct client *c, const struct asked *a);

#endif
