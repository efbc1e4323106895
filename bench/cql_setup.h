/* What the CQL benchmarks need before the clock starts: blocking calls, a table, a statement. */
#ifndef BENCH_CQL_SETUP_H
#define BENCH_CQL_SETUP_H

#include "common.h"
#include "wire/message.h"

/* Table bench.sample (id uuid, crc int, data blob), by id with the blob last. */
#define CQL_SELECT "SELECT id, crc, data FROM bench.sample WHERE id = ?"

int cql_connect(const char *host_port); /* started; die() otherwise */
/* The table exists afterwards. */
void cql_make_table(int fd);
/* Prepares a SELECT by id and makes an EXECUTE of it with an empty id: its bytes, into frame. */
size_t cql_make_execute(int fd, const char *select, uint8_t *frame, size_t cap);
/* Stream and id of that frame. */
void cql_set_execute(uint8_t *frame, size_t bytes, int16_t stream,
                     const uint8_t id[STERNA_ID_BYTES]);

#endif
