/* What is behind a sterna_loader handle. Only src/loader.c and src/loader/ know it. */
#ifndef STN_LOADER_H
#define STN_LOADER_H

#include <pthread.h>
#include <stdatomic.h>
#include <sys/types.h>

#include "base/waker.h"
#include "flight/flight.h"
#include "request/epoch.h"

#define STN_EPOCHS_AHEAD 4 /* epochs under way at once: small data sets are read over borders */
#define STN_EXCEPTIONS_MAX 1000

struct stn_loader_env { /* what a loader stands on */
    struct stn_flight_env flight;
    int stepped;                       /* no thread: the owner calls stn_loader_step() */
    const struct sterna_field *fields; /* all fields of the store, as in its selections */
    uint32_t n_fields;
};

struct stn_watch { /* what consumers wait for, and since when */
    int polled;    /* one asked, got nothing, and will ask again */
    enum sterna_stall cause;
    uint64_t mark_ns;                 /* waiting is accounted for up to here */
    uint64_t verify_ns;               /* the sink's, then */
    uint64_t looked_ns;               /* when the cause was found */
    uint64_t trouble_ns, n_troubles;  /* when anything failed last, and how often in all */
    uint64_t byte_ns, received_bytes; /* when bytes came last, and how many in all */
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
    int lengths_known;        /* of all samples */
    uint64_t ready_max_bytes; /* composed, not handed out, besides what the source wants */
    uint64_t steps_per_epoch;
    pid_t pid;
    uint64_t opened_ns, begun_ns; /* when opening began, and when it was done */
    struct stn_waker waker;       /* the loader thread sleeps here */
    pthread_t thread;
    int has_thread;
    int ready_fd;                              /* eventfd */
    atomic_int canceled, wants_room, released; /* released: memory came back during this turn */

    /* guarded by lock */
    pthread_mutex_t lock;
    struct stn_flight flight; /* all that is on its way; items are rows of the plan */
    pthread_cond_t ready_changed;
    struct stn_epoch epochs[STN_EPOCHS_AHEAD]; /* a ring */
    uint64_t first_epoch, n_epochs;            /* numbers under way: first .. first + n - 1 */
    uint64_t end_epoch;                        /* UINT64_MAX: endless */
    struct stn_item *items, *free_items;
    struct stn_extent *item_extents;
    uint32_t n_items;
    struct stn_list
        arrived[STN_EPOCHS_AHEAD]; /* arrival order: landed, by ring place of the epoch */
    sterna_batch *pending;         /* strict: planned, has no memory yet */
    struct stn_list pending_items;
    struct stn_block *given, **given_end;   /* memory of the consumer's that no batch has yet */
    sterna_batch *building, **building_end; /* strict: asked for, not complete */
    sterna_batch *ready, **ready_end;
    uint64_t ahead_bytes;
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

/* ---- stages, in the order of a turn, between those of the flight (each in the file of its name);
 * all under the lock ---- */

void stn_loader_compose(sterna_loader *l, uint64_t now_ns); /* landed items -> ready batches */
void stn_loader_plan_ahead(sterna_loader *l);               /* plan -> open items */
void stn_loader_conclude(sterna_loader *l); /* explain.c: is it the end, or is there no room? */

/* All stages once; consumers are told of what is ready. */
void stn_loader_turn(sterna_loader *l);
void *stn_loader_run(void *loader); /* the loader thread */

/* The last failure there can be: every later next() returns it. */
void stn_loader_fail(sterna_loader *l, int code, const char *message);
/* Time that consumers waited since the last call goes to its cause. Before anything changes that
 * says why they waited, and whenever one begins or ends to wait. */
void stn_loader_account_stall(sterna_loader *l, uint64_t now_ns);

/* ---- items: rows of the plan (item.c) ---- */

extern const struct stn_flight_ops stn_loader_flight_ops;
struct stn_epoch *stn_item_epoch(const struct stn_item *item);
void stn_item_free(sterna_loader *l, struct stn_item *item);

/* Look-ahead: how many bytes may be in flight, landed and composed, and not handed out, now. */
uint64_t stn_loader_ahead_max(const sterna_loader *l);

int stn_loader_is_strict(const sterna_loader *l);
struct stn_epoch *stn_loader_epoch(sterna_loader *l, uint64_t number);
struct stn_list *stn_loader_arrived(sterna_loader *l, const struct stn_epoch *epoch);

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
