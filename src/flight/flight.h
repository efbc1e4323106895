/* Samples on their way: asked for within the source's window and a byte budget, waiting for memory
 * or for their next try, landed, or given up.
 *
 * Whose they are, a plan's rows or ids that somebody wants, is their owner's business: it puts
 * items into the open list, and is told by its functions what becomes of them. Knows no plan, no
 * order of batches and no consumer. Everything is under the owner's lock. */
#ifndef STN_FLIGHT_H
#define STN_FLIGHT_H

#include "batch/batch.h"
#include "request/rate.h"
#include "request/retry.h"
#include "slot/sink.h"
#include "sterna/loader.h"

struct stn_item { /* one sample for one row of a batch */
    enum { ITEM_OPEN, ITEM_WAITING, ITEM_STARVED, ITEM_ASKED, ITEM_LANDED, ITEM_FAILED } status;
    uint64_t turn, row; /* the lower are asked for first: by turn (an epoch, a ticket), then row */
    const uint8_t *id;
    sterna_batch *batch; /* it belongs to; NULL: to any */
    uint32_t batch_row;
    uint64_t ahead_bytes; /* what it counts for in the window */
    unsigned attempts;
    uint64_t retry_ns;          /* waiting: when to ask again */
    uint64_t wanted_bytes;      /* starved: of the part that found no room */
    int unprepared;             /* its prepared place was lost to an answer that may still come */
    struct stn_slot *slot;      /* asked */
    struct stn_extent *extents; /* landed; n_fields */
    int64_t label;              /* landed: that came with the bytes, or STERNA_LABEL_NONE */
    int code;                   /* failed */
    char *why;
    struct stn_item *next; /* in one of the lists */
    /* the owner's */
    uint64_t index; /* of the sample, in the selection or in what was asked for */
    void *of;
    int own;                  /* loader: 0: fills a batch that has no row of this rank */
    struct stn_item *sibling; /* next row of its batch */
};

struct stn_list {
    struct stn_item *first, **end;
    size_t n;
};

struct stn_flight;
struct stn_flight_ops { /* the owner's part */
    /* Bytes of a field as far as they are known, or STERNA_LENGTH_NULL or _UNKNOWN. */
    uint32_t (*length)(const struct stn_flight *fl, const struct stn_item *item, uint32_t f);
    /* 1: everything behind it waits for it: it may use the escrow. */
    int (*is_lowest)(const struct stn_flight *fl, const struct stn_item *item);
    /* It has landed or failed: nothing more will happen to it. */
    void (*settled)(struct stn_flight *fl, struct stn_item *item);
    /* A landed item farther ahead than `than`, the farthest, that has memory of its own: it is to
     * be asked for again, and its owner forgets that it had settled. NULL: there is none. */
    struct stn_item *(*take_back)(struct stn_flight *fl, const struct stn_item *than);
};

struct stn_flight_stats { /* counts since open */
    uint64_t requests, retries, dropped;
    uint64_t in_flight, in_flight_bytes, in_flight_bytes_max; /* now, and at most */
};

struct stn_flight {
    /* set once */
    const struct stn_flight_ops *ops;
    struct stn_schema *schema; /* borrowed */
    struct stn_retry retry;
    uint64_t timeout_ns;                      /* of a request; 0: none */
    uint64_t budget_bytes, budget_most_bytes; /* most: what it may be, if less does not work */
    int shares_memory;                        /* the budget is its part of the process's */
    uint64_t escrow_bytes;                    /* of it, for the lowest item alone */
    struct stn_pool *pool;
    struct stn_sink sink;
    struct stn_source *source;
    /* under the owner's lock */
    struct stn_rate rate;                       /* of asking */
    struct stn_list open;                       /* to be asked for, in order */
    struct stn_list waiting;                    /* for their next attempt */
    struct stn_list starved;                    /* for memory */
    struct stn_slot *oldest_slot, *newest_slot; /* in flight, by time of sending */
    uint64_t n_abandoned; /* requests whose answers nobody waits for, but may come */
    double typical_bytes; /* high quantile of lengths, where they are not known */
    int paced;            /* max_rate held a request back */
    uint64_t youngest_sent_ns, youngest_answered_ns; /* of all requests that were answered */
    struct stn_flight_stats stats;
};

/* ---- open and close (flight.c) ---- */

/* Lists and bounds, no memory. max_attempts 0: chosen. */
void stn_flight_init(struct stn_flight *fl, const struct stn_flight_ops *ops,
                     unsigned max_attempts);
/* 0: a quarter of the host's or cgroup's memory, divided by the ranks on this host and by the
 * flights of this process that began so and have not been stopped, this one included. */
void stn_flight_set_budget(struct stn_flight *fl, uint64_t memory_bytes);
/* max_rate and STERNA_MAX_RATE: the smaller one counts. */
int stn_flight_set_rate(struct stn_flight *fl, uint64_t max_rate_bytes_s, uint64_t now_ns,
                        struct sterna_error *err);

struct stn_flight_env { /* what it stands on; tests give their own clock and source */
    struct stn_clock *clock;
    int (*open_source)(void *ctx, struct stn_source **out, struct stn_sink *sink,
                       const struct stn_source_options *options, struct sterna_error *err);
    void *ctx;
};

/* The pool, and the source on it. schema and budgets are set. on_release(owner): memory came back.
 */
int stn_flight_open(struct stn_flight *fl, const struct stn_flight_env *env, unsigned threads,
                    unsigned timeout_ms, const struct sterna_allocator *allocator,
                    void (*on_release)(void *owner), void *owner, struct sterna_error *err);
/* Slots: requests that may be on their way, those given up included. wake(owner): answers came. */
int stn_flight_open_slots(struct stn_flight *fl, uint32_t n, struct stn_clock *clock,
                          void (*wake)(void *owner), void *owner, struct sterna_error *err);
/* Ends all requests: nothing lands any more. The pool stays. Safe after a failed open. */
void stn_flight_stop(struct stn_flight *fl);

/* Fills what is known here: requests, bytes in flight, memory, what went wrong on the way. */
void stn_flight_count(struct stn_flight *fl, struct sterna_stats *out);
void stn_flight_path(const struct stn_flight *fl, struct sterna_path *out);
/* 1: nothing is on its way or will be by itself; what is open waits behind what finds no room. */
int stn_flight_is_idle(const struct stn_flight *fl);
/* When the next turn is due: a time-out, a retry, or the rate allows more; UINT64_MAX: none. */
uint64_t stn_flight_next_ns(const struct stn_flight *fl);

/* ---- stages, in the order of a turn (each in the file of its name) ---- */

void stn_flight_land(struct stn_flight *fl, uint64_t now_ns);   /* answers -> landed items */
void stn_flight_expire(struct stn_flight *fl, uint64_t now_ns); /* land.c: unanswered -> again */
size_t stn_flight_feed_starved(struct stn_flight *fl);          /* starve.c: how many found room */
void stn_flight_send(struct stn_flight *fl, uint64_t now_ns);   /* open items -> requests */

/* An asked item is asked no more: its answer may still come, and be written, until the source says
 * otherwise, so its place stays reserved. (land.c) */
void stn_flight_abandon(struct stn_flight *fl, struct stn_item *item);
void stn_flight_unlink_slot(struct stn_flight *fl,
                            struct stn_slot *slot); /* not in flight (send.c) */

/* ---- items and lists (item.c) ---- */

void stn_list_init(struct stn_list *list);
void stn_list_append(struct stn_list *list, struct stn_item *item);
void stn_list_insert(struct stn_list *list, struct stn_item *item);   /* keeps the order */
void stn_list_prepend(struct stn_list *list, struct stn_list *front); /* which is empty then */
void stn_list_remove(struct stn_list *list, struct stn_item *item);
void stn_list_remove_of(struct stn_list *list, const void *of); /* all that belong to it */
struct stn_item *stn_list_take(struct stn_list *list);          /* the first, or NULL */

/* Bytes to count with for a field of such a length: what is typical if it is not known. */
uint64_t stn_flight_expect_bytes(const struct stn_flight *fl, uint32_t length);

int stn_item_is_farther(const struct stn_item *a, const struct stn_item *b);
/* Bytes it will take of the budget when it is asked for, besides its place in a batch's run. */
uint64_t stn_item_own_bytes(const struct stn_flight *fl, const struct stn_item *item);
/* 1: a field of it has landed in memory of its own. */
int stn_item_owns_memory(const struct stn_flight *fl, const struct stn_item *item);
/* After a failed attempt: waits for the next one, or is given up. */
void stn_item_try_again(struct stn_flight *fl, struct stn_item *item, int code, const char *why,
                        uint64_t now_ns);
void stn_item_give_up(struct stn_flight *fl, struct stn_item *item, int code, const char *why);

#endif
