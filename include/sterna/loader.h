/* The loader: epochs of shuffled batches from a store, read ahead within a byte budget. */
#ifndef STERNA_LOADER_H
#define STERNA_LOADER_H

#include "sterna/batch.h"
#include "sterna/path.h"
#include "sterna/state.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct sterna_loader sterna_loader;

enum sterna_on_error { /* a sample that cannot be had, after all retries */
                       STERNA_ON_ERROR_RAISE =
                           0, /* sterna_loader_next() fails, naming the sample */
                       STERNA_ON_ERROR_SUBSTITUTE =
                           1,                   /* another row of the same batch stands in for it */
                       STERNA_ON_ERROR_MASK = 2 /* the row has no bytes and valid = 0 */
};

/* Where batches' memory comes from, e.g. pinned pages. Called from several threads. */
struct sterna_allocator {
    void *(*alloc)(void *ctx, size_t bytes, size_t align); /* NULL if it cannot */
    void (*free)(void *ctx, void *ptr, size_t bytes);
    void *ctx;
};

struct sterna_loader_options { /* fill with sterna_loader_options_init() first */
    size_t struct_size;
    uint32_t batch_size; /* rows a rank; 256 */
    uint64_t seed;       /* 0 */
    uint64_t epoch;      /* first epoch; 0. Taken from `state` if given */
    uint64_t epochs;     /* how many from there; 0: endless; 1 */
    int shuffle;         /* 1 */
    enum sterna_order order;
    enum sterna_uneven uneven;
    uint32_t rank, world_size; /* 0 of 1 */
    uint64_t memory_bytes;     /* budget; 0: a quarter of the cgroup's or host's memory, divided
                                  by LOCAL_WORLD_SIZE and by the loaders and fetchers with such a
                                  budget that are open in this process, this one included */
    enum sterna_on_error on_error;
    uint64_t max_errors;       /* failed samples allowed in all; UINT64_MAX: any number */
    const char *const *fields; /* NULL: all fields of the store */
    size_t n_fields;
    unsigned threads;            /* reader threads of an embedded store; 0: chosen */
    uint64_t max_rate_bytes_s;   /* asked for a second; 0: no bound. STERNA_MAX_RATE, if it is set,
                                    bounds each loader too: the smaller one counts */
    unsigned request_timeout_ms; /* an unanswered request is asked again after this; 0: chosen */
    unsigned max_attempts;       /* of one sample, at least 1; 0: 5 */
    const void *state;           /* go on from here; NULL: from the start of `epoch` */
    size_t state_bytes;
    const uint8_t *expect_selection; /* STERNA_HASH_BYTES, or NULL: fail if the hash differs */
    const struct sterna_allocator *allocator; /* NULL: ours; must outlive all batches */
};

enum sterna_stall {                           /* what a consumer waited for */
                    STERNA_STALL_CONNECT = 0, /* the first answer, or any node to ask */
                    STERNA_STALL_LATENCY,     /* round trips: the rate is being found out, little is
                                                 left to ask for, or one answer comes later than
                                                 others */
                    STERNA_STALL_BANDWIDTH,   /* bytes, which come about as fast as they ever did */
                    STERNA_STALL_SERVER,      /* errors, retries, back-off, a slow or silent node */
                    STERNA_STALL_DECODE,      /* checksums and decoding */
                    STERNA_STALL_BUDGET,      /* no memory to ask for more: batches are held, or the
                                                 budget is small */
                    STERNA_STALL_RATE,        /* max_rate_bytes_s */
                    STERNA_STALL_COUNT
};

#define STERNA_VERDICT_BYTES 320

struct sterna_stats {                         /* counts since open; `_max` are high-water marks */
    uint64_t batches, samples, bytes, padded; /* handed out; padded rows are not in samples */
    uint64_t errors;                          /* samples given up */
    uint64_t substituted, masked;
    uint64_t duplicates, missing; /* positions handed out twice / skipped: 0 unless we have a bug */
    uint64_t requests, retries;   /* retries: also those of a cluster's client, at other nodes */
    uint64_t late;                /* answers to requests already given up or answered */
    uint64_t misrouted;           /* answers with another sample's key */
    uint64_t corrupt;             /* answers whose checksum was wrong */
    uint64_t dropped; /* landed samples given back for want of memory, asked for again */
    uint64_t copied_bytes;
    uint64_t in_flight, in_flight_bytes, in_flight_bytes_max;
    uint64_t memory_bytes, memory_bytes_max, memory_budget_bytes; /* pool: asked, landed, leased */
    uint64_t leases;                                              /* batches the consumer holds */
    uint64_t buffers_given, buffers_used; /* by the consumer; those that batches came to lie in */
    uint64_t buffers_short; /* given back, for the batch whose turn it was did not fit in */
    uint64_t allocations;   /* of pool memory from the system */
    uint64_t stall_ns[STERNA_STALL_COUNT];
    uint64_t first_batch_ns; /* from open to the first batch ready; 0: not yet */
    uint64_t elapsed_ns;     /* from open to now, or to when next() said that it is the end */
    char verdict[STERNA_VERDICT_BYTES]; /* what all that comes to, in words; "": nothing yet */
};

struct sterna_exception { /* a sample that was given up */
    uint8_t id[STERNA_ID_BYTES];
    uint64_t epoch, index;
    int code;
    char message[160];
};

STERNA_API void sterna_loader_options_init(struct sterna_loader_options *o);

/* Starts reading ahead at once. The loader keeps its own references to store and selection.
 * Returns OK; EINVAL; EMISMATCH (state of another selection, plan or rank); EBUDGET (names the
 * smallest budget that works); EFORMAT (state damaged); ENOTFOUND (no such field); ENOMEM. */
STERNA_API int sterna_loader_open(sterna_loader **out, sterna_store *store,
                                  sterna_selection *selection,
                                  const struct sterna_loader_options *options,
                                  struct sterna_error *err);

/* The next batch: in the plan's order, or composed by arrival.
 *   timeout_ms  0 polls, -1 waits without limit
 *   *out        yours until sterna_batch_release(); NULL unless OK is returned
 *   threads     any, one batch each
 *   returns     OK; AGAIN on timeout; END after the last epoch's last batch; EBUDGET if the
 *               consumer's own leases leave no room; ECANCELED; EFORKED; what a sample failed
 *               with under on_error = raise, and EERRORS: these two are final */
STERNA_API int sterna_loader_next(sterna_loader *loader, sterna_batch **out, int timeout_ms,
                                  struct sterna_error *err);

/* Lends the loader memory for one batch. The oldest buffer is for the next batch that has no memory
 * yet: the runs of all its fields come to lie in it, one after another (sterna_batch_field() says
 * where). If it is too short it is given back at once, and the batch lies in the loader's own
 * memory. Rows that were asked for again, or have other lengths than the catalogue says, lie apart:
 * `base` is NULL then, as ever. Buffers are outside of the loader's budget: the consumer bounds
 * them by giving no more.
 *   data      at a multiple of 64; `bytes` bytes that nobody else uses until release
 *   release   (or NULL) is called once, when nothing can write there any more and the batch was
 *             released; when the loader is closed, if no batch has it. On any thread; it must not
 *             call the loader
 *   returns   OK; EINVAL (nor is it possible in arrival order, or where the selection does not know
 *             all lengths: sterna_batch_copy() is the way there); EFORKED; ENOMEM. After a failure
 *             the buffer was not taken, and release is not called. Any thread */
STERNA_API int sterna_loader_give_buffer(sterna_loader *loader, void *data, uint64_t bytes,
                                         void (*release)(void *ctx), void *ctx,
                                         struct sterna_error *err);

/* A descriptor that polls readable while next(timeout 0) would not return AGAIN. Not to be read. */
STERNA_API int sterna_loader_fd(sterna_loader *loader);

/* State of the last batch handed out (of the start, before the first). As sterna_batch_state. */
STERNA_API int sterna_loader_state(sterna_loader *loader, void *buf, size_t cap, size_t *size);

/* Batches a full epoch has on this rank. */
STERNA_API uint64_t sterna_loader_steps(const sterna_loader *loader);

STERNA_API void sterna_loader_stats(sterna_loader *loader, struct sterna_stats *out);

/* How the way to the store is now; zeros and STERNA_PATH_LOCAL for a store on this machine. */
STERNA_API void sterna_loader_path(sterna_loader *loader, struct sterna_path *out);

/* The newest `cap` at most of the samples given up (at most 1000 are kept), oldest first; returns
 * how many were written. */
STERNA_API size_t sterna_loader_exceptions(sterna_loader *loader, struct sterna_exception *out,
                                           size_t cap);

/* Makes a waiting and every later next() return ECANCELED. Any thread; safe in a signal handler. */
STERNA_API void sterna_loader_cancel(sterna_loader *loader);

/* Stops all reading and sets *loader to NULL. Batches still held stay valid. NULL is fine. */
STERNA_API void sterna_loader_close(sterna_loader **loader);

/* The plan without any data: which samples are in batch `step` of `epoch` (strict order)?
 * From `options` (or, if options->state is given, from that), for a selection of n samples.
 * index[batch_size] gets their indices in the selection, valid[batch_size] 1 or 0 (padding);
 * *n_rows how many rows. EINVAL past the epoch's end. */
STERNA_API int sterna_plan_batch(const struct sterna_loader_options *options, uint64_t n,
                                 uint64_t epoch, uint64_t step, uint64_t *index, uint8_t *valid,
                                 uint32_t *n_rows, struct sterna_error *err);

#ifdef __cplusplus
}
#endif
#endif
