/* Rows of system.local and system.peers, as nodes. Pure. */
#ifndef STN_PEERS_H
#define STN_PEERS_H

#include "net/session.h"

struct stn_peer {
    uint8_t host_id[16], schema_version[16];
    struct stn_address address; /* without translation; unset (bytes 0) for the local node */
    char dc[64], rack[64], release[32], cluster[128];
    int murmur3, is_scylla;
    int64_t *tokens; /* malloc'ed */
    size_t n_tokens;
};

/* An answer with its columns' names. */
struct stn_table {
    struct stn_rows rows;
    struct stn_statement_column *columns;
};
int stn_table_copy(struct stn_table *out, const struct stn_cql_result_head *head,
                   struct stn_cursor values); /* ENOMEM, EPROTO; then empty */
void stn_table_free(struct stn_table *t);     /* safe twice */
/* The value, or null if there is no such column. */
struct stn_cql_value stn_table_value(const struct stn_table *t, size_t row, const char *column);

/* OK; EPROTO: a node that has not joined yet, or nonsense: what is missing in *why. ENOMEM. */
int stn_peer_parse(struct stn_peer *out, const struct stn_table *t, size_t row, int is_local,
                   uint16_t default_port, const char **why);
void stn_peer_fini(struct stn_peer *p);

#endif
