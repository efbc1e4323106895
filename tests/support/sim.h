/* A simulated store: a clock that only moves when told, and a source whose every answer is
 * scripted. A loader on top of it is driven turn by turn, on one thread, so that a test is
 * deterministic. */
#ifndef STN_TEST_SIM_H
#define STN_TEST_SIM_H

#include "fetch/fetcher.h"
#include "loader/loader.h"
#include "support/lender.h"

enum sim_kind {
    SIM_OK,
    SIM_TWICE,     /* answers, and answers again later */
    SIM_WRONG_KEY, /* another sample's id */
    SIM_CORRUPT,   /* one bit of the bytes is wrong */
    SIM_FAIL,      /* completes with `code` */
    SIM_NEVER,     /* no answer, until it is cancelled */
    SIM_DEAF,      /* no answer even then, until the source is closed */
    SIM_LATE,      /* answers after `delay_ns`, though it was cancelled before */
};

struct sim_answer {
    enum sim_kind kind;
    uint64_t delay_ns;
    int code;
};

struct sim_event; /* an answer on its way */

struct sim {
    struct stn_clock clock; /* first: stn_clock_now gets it */
    uint64_t now_ns;
    /* the script: how the attempt-th request (from 1) for sample `index` goes */
    struct sim_answer (*answer)(struct sim *sim, uint64_t index, unsigned attempt);
    uint64_t (*length)(uint64_t index); /* bytes of sample `index` */
    int lengths_unknown;                /* the selection does not tell them */
    int labels_beside;                  /* the selection has none: they come with the bytes */
    int unchecked;                      /* the source has no checksums */
    unsigned n_refusals;                /* so many calls of submit() take nothing */
    unsigned n_failed_lookups;          /* of a fetcher's looks into the catalogue */
    uint64_t ahead_bytes;
    unsigned timeout_ms;
    void (*path)(struct sim *sim, struct sterna_path *out); /* the way to it; NULL: there is none */
    uint64_t verify_ns; /* that the checksum of an answer takes */
    uint64_t n;
    uint32_t seed; /* for scripts that draw */
    /* what happened */
    uint64_t n_requests, n_answers, answered_bytes;
    unsigned *attempts; /* n */
    sterna_selection *selection;
    struct sim_source *source; /* the open loader's or fetcher's */
    struct sim_event *events;  /* by time */
    int verifying;
    struct lender lender;
};

/* Loaders are given buffers that their batches find room in, as far as they take them: set it to
 * run a test once more. */
extern int sim_gives_buffers;

/* n samples of length(index) bytes; defaults: 1000 bytes, every answer after 1 ms. */
void sim_init(struct sim *sim, uint64_t n);
void sim_make_selection(struct sim *sim); /* after length and lengths_unknown are set */
void sim_fini(struct sim *sim);

/* Batches of 16, seed 7, 4 MiB of memory, one epoch. */
struct sterna_loader_options sim_options(void);

int sim_open(struct sim *sim, sterna_loader **out, const struct sterna_loader_options *options,
             struct sterna_error *err);

/* Lets the loader take turns and time pass until next() has something to say; returns that. It
 * fails the test when nothing is left that could ever happen. */
int sim_next(struct sim *sim, sterna_loader *loader, sterna_batch **out, struct sterna_error *err);

/* Delivers all answers due, lets the loader take one turn, and moves time to what comes next;
 * 0 if nothing is left to happen. */
int sim_advance(struct sim *sim, sterna_loader *loader);

/* The same for a fetcher: 4 MiB of memory; of lengths and labels it knows what the selection would.
 */
struct sterna_fetcher_options sim_fetcher_options(void);
int sim_fetcher_open(struct sim *sim, sterna_fetcher **out,
                     const struct sterna_fetcher_options *options, struct sterna_error *err);
int sim_submit(struct sim *sim, sterna_fetcher *f, const uint64_t *indices, size_t n,
               uint64_t *ticket, struct sterna_error *err);
int sim_poll(struct sim *sim, sterna_fetcher *f, uint64_t *ticket, sterna_batch **out,
             struct sterna_error *err);
int sim_fetcher_advance(struct sim *sim, sterna_fetcher *f);

void sim_deliver(struct sim *sim);                 /* only the answers due */
uint64_t sim_next_event_ns(const struct sim *sim); /* of the next answer; UINT64_MAX: none */

/* A number in [0, n) that depends on seed, a and b only. */
uint64_t sim_draw(const struct sim *sim, uint64_t a, uint64_t b, uint64_t n);

/* Fails the test unless the batch's valid rows hold the right bytes; counts them in seen[n]. */
void sim_check_batch(const struct sim *sim, const sterna_batch *b, unsigned *seen);
/* Fails the test unless row i is sample indices[i], with the right bytes if it is valid and none if
 * it is not. */
void sim_check_fetched(const struct sim *sim, const sterna_batch *b, const uint64_t *indices,
                       size_t n);

#endif
