/* What is behind a sterna_fetcher handle. Only src/fetch.c and src/fetch/ know it. */
#ifndef STN_FETCHER_H
#define STN_FETCHER_H

#include <pthread.h>
#include <stdatomic.h>
#include <sys/types.h>

#include "base/waker.h"
#include "flight/flight.h"
#include "sterna/fetch.h"

struct stn_submission { /* a batch that somebody asked for, until it is handed out */
    uint64_t ticket;
    sterna_batch *batch;
    struct stn_item *items;     /* one a row; NULL once it is composed, like the next two */
    struct stn_extent *extents; /* the items' */
    uint32_t *lengths;  /* row * n_fields + field: bytes, or STERNA_LENGTH_NULL or _UNKNOWN */
    uint64_t run_bytes; /* of all rows one after another; 0: a length is not known, or all are */
    int settled;        /* it is among those to be composed */
    struct stn_submission *prev, *next;
};

struct stn_submissions { /* a list, in order of submission or of completion */
    struct stn_submission *first, *last;
};

struct stn_fetcher_env { /* what a fetcher stands on */
    struct stn_flight_env flight;
    int stepped;                       /* no thread: the owner calls stn_fetcher_step() */
    const struct sterna_field *fields; /* all fields of the store */
    uint32_t n_fields;
    /* As stn_lookup_ids(), for the fields that are fetched, on the submitting thread. NULL: nothing
     * is known of a sample before it is there. */
    int (*look_up)(void *ctx, const uint8_t (*ids)[STERNA_ID_BYTES], size_t n, int64_t *labels,
                   uint32_t *lengths, struct sterna_error *err);
    void *look_up_ctx;
};

struct stn_lookup;

struct sterna_fetcher {
    /* set once */
    struct stn_fetcher_env env; /* env.fields is NULL */
    sterna_store *store;        /* a reference; NULL in tests */
    struct stn_lookup *lookup;  /* into the store's catalogue; NULL: there is none */
    struct stn_schema *schema;
    pid_t pid;
    uint64_t opened_ns;
    struct stn_waker waker; /* the fetcher's thread sleeps here */
    pthread_t thread;
    int has_thread;
    int ready_fd;                    /* eventfd */
    atomic_int wants_room, released; /* released: memory came back during this turn */

    /* guarded by lock */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct stn_flight flight; /* all that is on its way; items are rows of submissions */
    uint64_t last_ticket;
    struct stn_submissions under_way; /* not all of their rows have settled */
    struct stn_submission *queued;    /* the first of those that have no memory yet; NULL: none */
    struct stn_submissions settled;   /* of which all rows have; to be composed at once */
    struct stn_submissions ready;     /* to be handed out */
    int no_room, stopping;
    int announced;            /* ready_fd is readable */
    uint64_t wake_ns;         /* when the next turn is due */
    uint64_t sleeps_until_ns; /* the thread, unless it is woken */
    struct sterna_stats stats;
};

/* Opens a fetcher on an environment of the caller's. */
int stn_fetcher_open(sterna_fetcher **out, const struct stn_fetcher_env *env,
                     const struct sterna_fetcher_options *options, struct sterna_error *err);

/* One turn of the fetcher's work; returns when the next one is due (UINT64_MAX: when woken). */
uint64_t stn_fetcher_step(sterna_fetcher *f);
void *stn_fetcher_run(void *fetcher); /* its thread */

/* EFORKED (with a message) in a child of the process that opened it. */
int stn_fetcher_check(const sterna_fetcher *f, struct sterna_error *err);

/* ---- under the lock ---- */

/* Asks for as much as window and memory allow, and says what it comes to: after anything was
 * submitted, called off or given back. (fetch.c) */
void stn_fetcher_ask(sterna_fetcher *f, uint64_t now_ns);
void stn_fetcher_turn(sterna_fetcher *f); /* that, after what has come was taken */
/* Tells consumers that poll() has something to say, or no longer has. (fetch.c) */
void stn_fetcher_announce(sterna_fetcher *f);

/* ---- submissions (submission.c) ---- */

extern const struct stn_flight_ops stn_fetcher_flight_ops;

void stn_submissions_append(struct stn_submissions *list, struct stn_submission *s);
void stn_submissions_remove(struct stn_submissions *list, struct stn_submission *s);
struct stn_submission *stn_submissions_find(const struct stn_submissions *list, uint64_t ticket);

/* Rows for n ids, of which labels and lengths are looked up; not listed anywhere yet. EBUDGET: it
 * will never find room. No lock is held. */
int stn_submission_new(struct stn_submission **out, sterna_fetcher *f,
                       const uint8_t (*ids)[STERNA_ID_BYTES], size_t n, struct sterna_error *err);
void stn_submission_free(struct stn_submission **s); /* nothing of it is in a list or in flight */

/* Gives the first queued one its memory, and its rows to the flight: how many; 0: not now. */
size_t stn_submission_admit(sterna_fetcher *f);
/* Whose rows have all settled become batches that are ready. */
void stn_submissions_compose(sterna_fetcher *f, uint64_t now_ns);
/* It is under way and shall not be: takes it out of everything, and frees it. */
void stn_submission_call_off(sterna_fetcher *f, struct stn_submission *s);

#endif
