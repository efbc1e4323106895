/* Samples by their ids, in batches of the caller's making, any number of them under way at once. */
#ifndef STERNA_FETCH_H
#define STERNA_FETCH_H

#include "sterna/loader.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct sterna_fetcher sterna_fetcher; /* thread-safe; not usable in a forked child */

struct sterna_fetcher_options { /* fill with sterna_fetcher_options_init() first */
    size_t struct_size;
    const char *const *fields; /* NULL: all fields of the store */
    size_t n_fields;
    uint64_t memory_bytes;     /* budget; 0: a quarter of the cgroup's or host's memory, divided as
                                  a loader's */
    unsigned threads;          /* reader threads of an embedded store; 0: chosen */
    uint64_t max_rate_bytes_s; /* asked for a second; 0: no bound. STERNA_MAX_RATE as in a loader */
    unsigned request_timeout_ms; /* an unanswered request is asked again after this; 0: chosen */
    unsigned max_attempts;       /* of one sample, at least 1; 0: 5 */
    const struct sterna_allocator *allocator; /* NULL: ours; must outlive all batches */
};

STERNA_API void sterna_fetcher_options_init(struct sterna_fetcher_options *o);

/* Keeps its own reference to the store. `options` may be NULL.
 * Returns OK; EINVAL; ENOTFOUND (no such field, or none at all yet); ENOMEM; EIO. */
STERNA_API int sterna_fetcher_open(sterna_fetcher **out, sterna_store *store,
                                   const struct sterna_fetcher_options *options,
                                   struct sterna_error *err);

/* Asks for one batch: the samples `ids`, as its rows in this order; an id may stand there twice.
 * Waits for no answer and no memory: where the store lists the ids, their lengths and labels are
 * looked up in the local catalogue; an id that is not listed is asked of the store all the same.
 * Batches that find no room wait, the first one submitted goes first.
 *   n        1 to 16777216
 *   *ticket  names the batch from now on, never 0
 *   returns  OK; EINVAL; EBUDGET (its known lengths are more than the whole budget); ENOMEM;
 *            EFORKED; what the catalogue fails with: nothing is under way then */
STERNA_API int sterna_submit(sterna_fetcher *fetcher, const uint8_t (*ids)[STERNA_ID_BYTES],
                             size_t n, uint64_t *ticket, struct sterna_error *err);

/* A batch of which all rows are there or given up: the first one that is complete, whenever it was
 * submitted.
 *   timeout_ms  0 polls, -1 waits without limit
 *   *ticket     names it; 0 unless OK is returned
 *   *out        yours until sterna_batch_release(); NULL unless OK is returned. Row i is the i-th
 *               id, sterna_batch_index() counts them. A row that cannot be had has valid = 0, no
 *               bytes, its code in sterna_batch_errors() and words in sterna_batch_reason().
 *               Labels come from the catalogue, or else from beside the bytes. There is no state
 *   threads     any, one batch each
 *   returns     OK; AGAIN on timeout; END if nothing is under way; EBUDGET if batches that the
 *               consumer holds leave no room (not final: release some); EFORKED */
STERNA_API int sterna_poll(sterna_fetcher *fetcher, uint64_t *ticket, sterna_batch **out,
                           int timeout_ms, struct sterna_error *err);

/* A descriptor that polls readable while poll(timeout 0) would return OK or EBUDGET. Not to be
 * read. */
STERNA_API int sterna_fetcher_fd(sterna_fetcher *fetcher);

/* Nobody wants this batch any more: poll() will not return it. Its memory comes back as soon as the
 * source lets go of it. A ticket that is not under way is fine. Any thread. */
STERNA_API void sterna_fetcher_cancel(sterna_fetcher *fetcher, uint64_t ticket);

/* As sterna_loader_stats(), of all batches so far; padded, substituted, duplicates, missing,
 * stall_ns and verdict stay zero. Rows given up count as errors and masked. */
STERNA_API void sterna_fetcher_stats(sterna_fetcher *fetcher, struct sterna_stats *out);

/* How the way to the store is now; zeros and STERNA_PATH_LOCAL for a store on this machine. */
STERNA_API void sterna_fetcher_path(sterna_fetcher *fetcher, struct sterna_path *out);

/* Forgets what is under way and sets *fetcher to NULL. Batches still held stay valid. No other call
 * may be under way. NULL is fine. */
STERNA_API void sterna_fetcher_close(sterna_fetcher **fetcher);

#ifdef __cplusplus
}
#endif
#endif
