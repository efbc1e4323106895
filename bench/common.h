/* What the benchmark programs share: fail with words, clocks, arguments, one JSON line as result.
 */
#ifndef BENCH_COMMON_H
#define BENCH_COMMON_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "sterna/sterna.h"

#define HEADER_BYTES 16 /* before each value: see docs/design.md */

__attribute__((noreturn, format(printf, 1, 2))) void die(const char *format, ...);
void *must(void *ptr);                              /* dies without memory */
void check(int rc, const struct sterna_error *err); /* dies of a code below 0 */
double now_s(void);                                 /* monotonic */
double cpu_s(void);                                 /* user + system of this process */
uint64_t peak_rss_bytes(void);                      /* VmHWM */

/* Value of `--name VALUE` among the arguments, or the default. Numbers may end in K, M, G (1024).
 */
const char *option(int argc, char **argv, const char *name, const char *otherwise);
uint64_t option_number(int argc, char **argv, const char *name, uint64_t otherwise);
double option_real(int argc, char **argv, const char *name, double otherwise);

/* A stream of random numbers that depends on the seed alone. */
struct random_stream {
    uint64_t state;
};
uint64_t random_next(struct random_stream *r);
double random_unit(struct random_stream *r); /* in (0, 1) */
double random_normal(struct random_stream *r);
void random_fill(struct random_stream *r, void *to, size_t bytes);

/* The samples of a store, and the order in which `sterna read` with this seed reads them. */
struct listing {
    uint64_t n, n_bytes;
    uint8_t (*ids)[STERNA_ID_BYTES];
    uint8_t field; /* number of the first field */
    uint32_t batch_size;
    uint64_t seed;
};
void listing_open(struct listing *l, const char *store, int argc, char **argv);
void listing_order(const struct listing *l, uint64_t epoch, uint64_t *index); /* index[n] */
void listing_close(struct listing *l);

#endif
