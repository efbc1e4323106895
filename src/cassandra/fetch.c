/* A fetcher has one item and at most one page: asked for, or here and not handed out yet. So memory
 * is bounded by the number of fetchers, and an item that must wait for others holds a page only. */
#include "cassandra/fetch.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#define PAGE_WEIGHT_BYTES ((uint64_t)64 << 10)

enum fetcher_state {
    FETCHER_IDLE,  /* no item */
    FETCHER_ASKED, /* the session has its call */
    FETCHER_HERE   /* a page, or a failure */
};

struct fetcher {
    struct stn_query_call call;
    struct stn_fetch *fetch;
    enum fetcher_state state; /* under the lock */
    size_t item;
    struct stn_fetch_item values;
    struct stn_rows page, held; /* `held` has the paging state of the call */
    int32_t page_rows;
    int code;
    char why[300];
};

struct stn_fetch {
    struct stn_fetch_options o;
    struct fetcher *fetchers;
    size_t next_item;
    struct fetcher *out; /* whose page is handed out */
    pthread_mutex_t lock;
    pthread_cond_t changed;
};

static void page_done(struct stn_query_call *q, int code, const struct stn_query_answer *answer) {
    struct fetcher *f = STN_OUTER(q, struct fetcher, call);
    struct stn_fetch *fetch = f->fetch;
    struct stn_rows page = {0};
    if (code == STERNA_OK && !answer->head) code = STERNA_EPROTO;
    if (code == STERNA_OK) code = stn_rows_copy(&page, answer->head, answer->values);
    pthread_mutex_lock(&fetch->lock);
    f->code = code;
    f->page = page;
    if (code < 0)
        snprintf(f->why, sizeof f->why, "%s", answer->why ? answer->why : sterna_strerror(code));
    f->state = FETCHER_HERE;
    pthread_cond_signal(&fetch->changed);
    pthread_mutex_unlock(&fetch->lock);
}

/* The lock is not held. */
static void ask(struct fetcher *f) {
    static const struct stn_query_call_ops ops = {.done = page_done};
    const struct stn_fetch_options *o = &f->fetch->o;
    f->call = (struct stn_query_call){.ops = &ops,
                                      .statement = o->statement,
                                      .values = f->values.values,
                                      .n_values = f->values.n_values,
                                      .has_near = f->values.has_near,
                                      .near = f->values.near,
                                      .lane = STN_LANE_READ,
                                      .consistency = o->consistency,
                                      .page_size = f->page_rows,
                                      .paging_state = f->held.paging_state,
                                      .weight_bytes = PAGE_WEIGHT_BYTES,
                                      .group = f->fetch};
    f->state = FETCHER_ASKED;
    struct stn_query_call *one = &f->call;
    stn_session_submit(o->session, &one, 1);
}

static void begin_item(struct fetcher *f, size_t item) {
    f->item = item;
    f->values = (struct stn_fetch_item){.n_values = 0};
    f->fetch->o.item(f->fetch->o.ctx, item, &f->values);
    f->page_rows = f->fetch->o.page_rows;
    ask(f);
}

static int is_idle(struct stn_fetch *fetch, unsigned i) {
    pthread_mutex_lock(&fetch->lock);
    int idle = fetch->fetchers[i].state == FETCHER_IDLE;
    pthread_mutex_unlock(&fetch->lock);
    return idle;
}

static void feed(struct stn_fetch *fetch) {
    for (unsigned i = 0; i < fetch->o.at_once && fetch->next_item < fetch->o.n_items; i++)
        if (is_idle(fetch, i)) begin_item(&fetch->fetchers[i], fetch->next_item++);
}

/* What was handed out is used up: the item's next page is asked for, or the next item. */
static void go_on(struct stn_fetch *fetch) {
    struct fetcher *f = fetch->out;
    fetch->out = NULL;
    if (!f) return;
    stn_rows_free(&f->held);
    f->held = f->page;
    f->page = (struct stn_rows){0};
    if (f->held.paging_state.data) {
        ask(f);
        return;
    }
    stn_rows_free(&f->held);
    f->state = FETCHER_IDLE;
}

/* A page that the servers cannot gather in their time is asked for in halves. */
static int halve(struct fetcher *f) {
    if (f->code != STERNA_ETIMEOUT || f->page_rows <= 1) return 0;
    f->page_rows /= 2;
    ask(f);
    return 1;
}

/* 1: *out has something of an item below `below`; 0: nothing of them is left. */
static int wait_for_page(struct stn_fetch *fetch, size_t below, struct fetcher **out) {
    int pending = 1;
    *out = NULL;
    pthread_mutex_lock(&fetch->lock);
    while (pending && !*out) {
        pending = 0;
        for (unsigned i = 0; i < fetch->o.at_once && !*out; i++) {
            struct fetcher *f = &fetch->fetchers[i];
            if (f->state == FETCHER_IDLE || f->item >= below) continue;
            pending = 1;
            if (f->state == FETCHER_HERE) *out = f;
        }
        if (pending && !*out) pthread_cond_wait(&fetch->changed, &fetch->lock);
    }
    pthread_mutex_unlock(&fetch->lock);
    return *out != NULL;
}

int stn_fetch_next(struct stn_fetch *fetch, size_t below, size_t *item, struct stn_rows *rows,
                   int *is_last, struct sterna_error *err) {
    struct fetcher *f;
    go_on(fetch);
    do {
        feed(fetch);
        if (!wait_for_page(fetch, below, &f)) return STERNA_END;
    } while (f->code < 0 && halve(f));
    if (f->code < 0) return stn_fail(err, f->code, "%s cannot be read: %s", fetch->o.what, f->why);
    fetch->out = f;
    *item = f->item;
    *rows = f->page;
    *is_last = f->page.paging_state.data == NULL;
    return STERNA_OK;
}

int stn_fetch_open(struct stn_fetch **out, const struct stn_fetch_options *options,
                   struct sterna_error *err) {
    struct stn_fetch *fetch = *out = calloc(1, sizeof *fetch);
    if (!fetch) return stn_fail_memory(err, options->what);
    fetch->o = *options;
    pthread_mutex_init(&fetch->lock, NULL);
    pthread_cond_init(&fetch->changed, NULL);
    fetch->fetchers = stn_array(options->at_once, sizeof *fetch->fetchers);
    if (!fetch->fetchers) {
        stn_fetch_close(out);
        return stn_fail_memory(err, options->what);
    }
    for (unsigned i = 0; i < options->at_once; i++) fetch->fetchers[i].fetch = fetch;
    return STERNA_OK;
}

void stn_fetch_close(struct stn_fetch **out) {
    struct stn_fetch *fetch = *out;
    *out = NULL;
    if (!fetch) return;
    if (fetch->fetchers) stn_session_abandon(fetch->o.session, fetch);
    for (unsigned i = 0; i < fetch->o.at_once && fetch->fetchers; i++) {
        stn_rows_free(&fetch->fetchers[i].page);
        stn_rows_free(&fetch->fetchers[i].held);
    }
    free(fetch->fetchers);
    pthread_mutex_destroy(&fetch->lock);
    pthread_cond_destroy(&fetch->changed);
    free(fetch);
}
