/* What is behind a sterna_loader handle. Only src/loader.c and src/loader/ know it. */
#ifndef STN_LOADER_H
#define STN_LOADER_H

#include <pthread.h>
#include <stdatomic.h>
#include <sys/types.h>

#include "base/waker.h"
#include "batch/batch.h"
#include "request/epoch.h"
#include "request/rate.h"
#include "request/retry.h"
#include "slot/sink.h"
#include "sterna/loader.h"

#define STN_EPOCHS_AHEAD 4 /* epochs under way at once: small data sets are read over borders */
#define STN_EXCEPTIONS_MAX 1000

/* A row of the plan on its way from being asked for to being composed into a batch. */
struct stn_item {
    enum { ITEM_OPEN, ITEM_WAITING, ITEM_STARVED, ITEM_ASKED, ITEM_LANDED, ITEM_FAILED } status;
    uint64_t row, index; /* of the plan; of the selection */
    int own;             /* 0: fills a batch that has no row of this rank */
    struct stn_epoch *epoch;
    sterna_batch *batch; /* strict: the batch it belongs to; NULL in arrival order */
    uint32_t batch_row;
    uint64_t ahead_bytes; /* what it counts for in the look-ahead */
    unsigned attempts;
    uint64_t retry_ns;          /* waiting: when to ask again */
    uint64_t wanted_bytes;      /* starved: of the part that found no room */
    int unprepared;             /* its prepared place was lost to an answer that may still come */
    struct stn_slot *slot;      /* asked */
    struct stn_extent *extents; /* landed; n_fields */
    int64_t label;              /* landed: that came with the bytes, or STERNA_LABEL_NONE */
    int code;                   /* failed */
    char *why;
    struct stn_item *next;    /* in one of the lists */
    struct stn_item *sibling; /* strict: next row of its batch */
};

struct stn_list {
    struct stn_item *first, **end;
    size_t n;
};

struct stn_loader_env { /* what a loader stands on; tests give their own clock and source */
    struct stn_clock *clock;
    int stepped; /* no thread: the owner calls stn_loader_step() */
    int (*open_source)(void *ctx, struct stn_source **out, struct stn_sink *sink,
                       const struct stn_source_options *options, struct sterna_error *err);
    void *ctx;
    const struct sterna_field *fields; /* all fields of the store, as in its selections */
    uint32_t n_fields;
};

struct stn_watch { /* what consumers wait for, and since when */
    int polled;    /* one asked, got nothing, and will ask again */
    int paced;     /* max_rate held a request back */
    enum sterna_stall cause;
    uint64_t mark_ns;                 /* waiting is accounted for up to here */
    uint64_t verify_ns;               /* the sink's, then */
    uint64_t looked_ns;               /* when the cause was found */
    uint64_t trouble_ns, n_troubles;  /* when anything failed last, and how often in all */
    uint64_t byte_ns, received_bytes; /* when bytes came last, and how many in all */
    uint64_t youngest_sent_ns, youngest_answered_ns; /* of all requests that were answered */
};

struct sterna_loader {
    /* set once */
    struct stn_loader_env env;
    sterna_store *store; /* a reference; NULL in tests */
    sterna_selection *selection;
    struct sterna_selection_info info;
    struct stn_schema *schema;
    uint32_t field_at[32];                /* field f of the schema is this one in the selection */
    struct sterna_loader_options options; /* pointers in it are not kept */
    uint32_t
        batch_rows; /* samples a batch can ask for: the batch size, or fewer if there are fewer */
    struct stn_retry retry;
    uint64_t budget_bytes, escrow_bytes;
    int lengths_known;        /* of all samples */
    uint64_t timeout_ns;      /* of a request; 0: none */
    uint64_t ready_max_bytes; /* composed, not handed out, besides what the source wants */
    uint64_t steps_per_epoch;
    pid_t pid;
    uint64_t opened_ns, begun_ns; /* when opening began, and when it was done */
    struct stn_pool *pool;
    struct stn_sink sink;
    struct stn_source *source;
    struct stn_waker waker; /* the loader thread sleeps here */
    pthread_t thread;
    int has_thread;
    int ready_fd;                              /* eventfd */
    atomic_int canceled, wants_room, released; /* released: memory came back during this turn */

    /* guarded by lock */
    pthread_mutex_t lock;
    pthread_cond_t ready_changed;
    struct stn_epoch epochs[STN_EPOCHS_AHEAD]; /* a ring */
    uint64_t first_epoch, n_epochs;            /* numbers under way: first .. first + n - 1 */
    uint64_t end_epoch;                        /* UINT64_MAX: endless */
    struct stn_item *items, *free_items;
    struct stn_extent *item_extents;
    uint32_t n_items;
    struct stn_rate rate;    /* of asking */
    struct stn_list open;    /* to be asked for, in order */
    struct stn_list waiting; /* for their next attempt */
    struct stn_list starved; /* for memory */
    struct stn_list
        arrived[STN_EPOCHS_AHEAD]; /* arrival order: landed, by ring place of the epoch */
    struct stn_slot *oldest_slot, *newest_slot; /* in flight, by time of sending */
    sterna_batch *pending;                      /* strict: planned, has no memory yet */
    struct stn_list pending_items;
    struct stn_block *given, **given_end;   /* memory of the consumer's that no batch has yet */
    sterna_batch *building, **building_end; /* strict: asked for, not complete */
    sterna_batch *ready, **ready_end;
    uint64_t ahead_bytes;
    double typical_bytes; /* high quantile of lengths, where they are not known */
    int ended, no_room, stopping;
    int to_compose;              /* rows were settled since batches were composed */
    int announced;               /* ready_fd is readable */
    struct sterna_error failure; /* final */
    uint8_t *state;              /* of the last batch handed out */
    size_t state_bytes;
    struct sterna_stats stats;
    uint64_t first_bytes;                /* of the first batch */
    uint64_t end_ns;                     /* when next() first said that it is the end; 0: not yet */
    struct sterna_exception *exceptions; /* a ring */
    uint64_t n_exceptions;
    int n_consumers_waiting;
    struct stn_watch watch;
    uint64_t wake_ns;
};

/* Opens a loader on an environment of the caller's. */
int stn_loader_open(sterna_loader **out, const struct stn_loader_env *env,
                    sterna_selection *selection, const struct sterna_loader_options *options,
                    struct sterna_error *err);

/* One turn of the loader's work; returns when the next one is due (UINT64_MAX: when woken). */
uint64_t stn_loader_step(sterna_loader *loader);

/* ---- stages, in the order of a turn (each in the file of its name); all under the lock ---- */

void stn_loader_land(sterna_loader *l, uint64_t now_ns);    /* answers -> landed items */
void stn_loader_expire(sterna_loader *l, uint64_t now_ns);  /* land.c: unanswered -> asked again */
void stn_loader_compose(sterna_loader *l, uint64_t now_ns); /* landed items -> ready batches */
size_t stn_loader_feed_starved(sterna_loader *l);           /* starve.c: how many found room */
void stn_loader_plan_ahead(sterna_loader *l);               /* plan -> open items */
void stn_loader_send(sterna_loader *l, uint64_t now_ns);    /* open items -> requests */
void stn_loader_conclude(sterna_loader *l); /* explain.c: is it the end, or is there no room? */

/* All stages once; consumers are told of what is ready. */
void stn_loader_turn(sterna_loader *l);
void *stn_loader_run(void *loader); /* the loader thread */

/* The last failure there can be: every later next() returns it. */
void stn_loader_fail(sterna_loader *l, int code, const char *message);
/* Time that consumers waited since the last call goes to its cause. Before anything changes that
 * says why they waited, and whenever one begins or ends to wait. */
void stn_loader_account_stall(sterna_loader *l, uint64_t now_ns);
void stn_loader_note_answer(sterna_loader *l, uint64_t sent_ns, uint64_t now_ns);

/* ---- items and lists (item.c) ---- */

void stn_list_init(struct stn_list *list);
void stn_list_append(struct stn_list *list, struct stn_item *item);
void stn_list_insert(struct stn_list *list, struct stn_item *item); /* keeps the plan's order */
void stn_list_remove(struct stn_list *list, struct stn_item *item);
struct stn_item *stn_list_take(struct stn_list *list); /* the first, or NULL */

int stn_item_is_farther(const struct stn_item *a, const struct stn_item *b); /* in the plan */
/* The one that everything behind it waits for: it may use the escrow. */
int stn_item_is_lowest(const sterna_loader *l, const struct stn_item *item);
/* Bytes it will take of the budget when it is asked for, besides its place in a batch's run. */
uint64_t stn_item_own_bytes(const sterna_loader *l, const struct stn_item *item);
void stn_item_settle(sterna_loader *l, struct stn_item *item, int status);
/* After a failed attempt: waits for the next one, or is given up. */
void stn_item_try_again(sterna_loader *l, struct stn_item *item, int code, const char *why,
                        uint64_t now_ns);
void stn_item_give_up(sterna_loader *l, struct stn_item *item, int code, const char *why);
void stn_item_free(sterna_loader *l, struct stn_item *item);

/* Look-ahead: how many bytes may be in flight, landed and composed, and not handed out, now. */
uint64_t stn_loader_ahead_max(const sterna_loader *l);

int stn_loader_is_strict(const sterna_loader *l);
struct stn_epoch *stn_loader_epoch(sterna_loader *l, uint64_t number);
struct stn_list *stn_loader_arrived(sterna_loader *l, const struct stn_epoch *epoch);
void stn_loader_unlink_slot(sterna_loader *l, struct stn_slot *slot); /* no longer in flight */

/* ---- memory that the consumer gives (given.c) ---- */

/* The oldest buffer, for a batch of so many bytes. NULL: there is none, or it was too short and is
 * given back. */
struct stn_block *stn_loader_take_given(sterna_loader *l, uint64_t bytes);
void stn_loader_return_given(sterna_loader *l); /* all that no batch has */

/* ---- where it begins (begin.c), what memory it needs (budget.c) ---- */

/* The first epoch, from the options or the state in them. */
int stn_loader_begin(sterna_loader *l, const struct sterna_loader_options *o,
                     struct sterna_error *err);
int stn_loader_begin_epoch(sterna_loader *l); /* 0: none is left, or the ring is full */
int stn_loader_check_hash(const uint8_t *want, const uint8_t *have, const char *whose,
                          struct sterna_error *err);

/* Budget and escrow; EBUDGET names the smallest budget that works. */
int stn_loader_set_budget(sterna_loader *l, struct sterna_error *err);
/* Bytes of one field of a sample as the selection knows them, STERNA_LENGTH_NULL or _UNKNOWN. */
uint32_t stn_loader_length(const sterna_loader *l, uint32_t field, uint64_t index);
/* Bytes all its fields take, each aligned; what is typical for those not known. */
uint64_t stn_loader_sample_bytes(const sterna_loader *l, uint64_t index);

#endif
