/* Who holds a token: the ring of one keyspace, computed from nodes, their tokens and the
 * replication; and Scylla's tablets, which replace the ring where the server told of them. Pure: no
 * socket, no clock but times given. */
#ifndef STN_RING_H
#define STN_RING_H

#include "wire/types.h"

#define STN_REPLICAS_MAX 16

struct stn_ring_node {     /* as the caller numbers its nodes: 0, 1, 2 ... */
    const char *dc, *rack; /* borrowed during stn_ring_make() */
    const int64_t *tokens;
    size_t n_tokens;
};

struct stn_replication { /* of a keyspace */
    enum {
        STN_REPLICATION_SIMPLE,
        STN_REPLICATION_TOPOLOGY,
        STN_REPLICATION_EVERYWHERE,
        STN_REPLICATION_LOCAL,
        STN_REPLICATION_UNKNOWN
    } kind;
    struct {
        char dc[64];
        unsigned n;
    } factors[32]; /* SIMPLE: one, without a dc */
    size_t n_factors;
};
/* From the value of system_schema.keyspaces.replication, a map<text, text>: "class" by suffix,
 * "3/1" (transient) is 3. What is not understood is UNKNOWN. EPROTO: no map, and UNKNOWN. */
int stn_replication_parse(struct stn_cql_value map, struct stn_replication *out);

struct stn_ring;
/* Replicas of each range in ring order, those of all data centres. ENOMEM; EINVAL for 65,535 nodes.
 */
int stn_ring_make(struct stn_ring **out, const struct stn_ring_node *nodes, size_t n_nodes,
                  const struct stn_replication *replication);
void stn_ring_free(struct stn_ring **ring);
/* Numbers of the nodes that hold `token`: the first token of the ring that is >= it, wrapping.
 * Borrowed from the ring. Returns how many (with many data centres, or with a strategy that puts
 * everything everywhere, more than STN_REPLICAS_MAX); 0: not known, or no node has a token. */
size_t stn_ring_replicas(const struct stn_ring *ring, int64_t token, const uint16_t **nodes);

/* Ranges (after, to] that cover the ring exactly once, at least `pieces` in all, none wrapping
 * around; calls each(). Without tokens: the whole range of int64 is cut evenly. */
void stn_ring_pieces(const struct stn_ring *ring, size_t pieces,
                     void (*each)(void *ctx, int64_t after, int64_t to), void *ctx);

struct stn_tablets; /* of one table */
int stn_tablets_open(struct stn_tablets **out);
void stn_tablets_close(struct stn_tablets **t);
struct stn_tablet_replica {
    uint8_t host_id[16];
    uint32_t shard;
};
/* A payload "tablets-routing-v1": overlapping entries go, this one comes. EPROTO: ignored, as it is
 * with no replicas or with more than STN_REPLICAS_MAX. */
int stn_tablets_learn(struct stn_tablets *t, struct stn_cql_value payload, uint64_t now_ns);
/* Replicas of the token, or 0: not known, or older than ten minutes. Borrowed until the next learn.
 */
size_t stn_tablets_find(const struct stn_tablets *t, int64_t token, uint64_t now_ns,
                        const struct stn_tablet_replica **replicas);
void stn_tablets_clear(struct stn_tablets *t); /* after a change of topology */

#endif
