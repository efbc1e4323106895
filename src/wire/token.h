/* Murmur3 tokens as Cassandra computes them, and Scylla's shard of a token. */
#ifndef STN_TOKEN_H
#define STN_TOKEN_H

#include <stddef.h>
#include <stdint.h>

/* Of a partition key: a single column's value, or stn_token's caller has joined the parts of a
 * composite key (each: u16 length, bytes, a zero byte). MurmurHash3 x64 128, h1, seed 0, tail bytes
 * signed as Cassandra has them; -2^63 becomes 2^63 - 1. */
int64_t stn_token(const void *key, size_t bytes);

/* biased-token-round-robin of scylladb's protocol-extensions.md. */
uint32_t stn_token_shard(int64_t token, uint32_t n_shards, uint32_t ignore_msb);

#endif
