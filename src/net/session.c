/* The session: its thread, what other threads hand to it, and opening and closing. */
#include "net/session.h"

#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/thread.h"
#include "base/waker.h"
#include "net/parts.h"

#define CONNECT_TIMEOUT_MS 10000
#define REQUEST_TIMEOUT_MS 10000
#define OUTAGE_TIMEOUT_MS 480000
#define IDLE_NS (5 * STN_NS_PER_S)
#define PROGRESS_NS (5 * STN_NS_PER_S)
#define ORPHANS_MAX 64
#define SCHEMA_TIMEOUT_MS 30000
#define TURN_MAX_NS (2 * STN_NS_PER_MS)
#define TURN_MIN_NS STN_NS_PER_MS
#define SCHEMA_PAUSE_NS (200 * STN_NS_PER_MS)

enum { TURNS_A_ROUND_TRIP = 64, CALLS_FOR_BREATH = 8 };

uint64_t stn_session_now(const struct stn_session *s) { return stn_now(s->clock); }

/* xorshift32 (Marsaglia 2003): to spread load and waits, nothing else. */
uint32_t stn_session_random(struct stn_session *s, uint32_t n) {
    s->random ^= s->random << 13;
    s->random ^= s->random >> 17;
    s->random ^= s->random << 5;
    return (uint32_t)((uint64_t)s->random * n >> 32);
}

void stn_session_remember(struct stn_session *s, const char *why) {
    if (why && *why && why != s->last_error)
        snprintf(s->last_error, sizeof s->last_error, "%s", why);
}

/* ---- the loop ---- */

static void take_submitted(struct stn_session *s) {
    pthread_mutex_lock(&s->lock);
    struct stn_call_list calls = s->submitted;
    struct stn_command *commands = s->commands;
    s->submitted = (struct stn_call_list){0};
    s->commands = NULL;
    s->commands_end = &s->commands;
    pthread_mutex_unlock(&s->lock);
    for (struct stn_query_call *q; (q = stn_calls_take(&calls));) stn_query_wait(s, q);
    for (struct stn_command *next; commands; commands = next) {
        next = commands->next; /* its maker may end as soon as it has run */
        commands->run(s, commands);
    }
}

static void tick(struct stn_session *s, uint64_t now_ns) {
    uint64_t at = UINT64_MAX;
    s->tick_ns = UINT64_MAX; /* what follows may want it sooner */
    at = STN_MIN(at, stn_control_tick(s, now_ns));
    for (unsigned i = 0; i < s->n_nodes; i++) at = STN_MIN(at, stn_node_tick(s->nodes[i], now_ns));
    at = STN_MIN(at, stn_queries_tick(s, now_ns));
    s->tick_ns = STN_MIN(s->tick_ns, at);
}

static struct timespec time_of(uint64_t ns) {
    return (struct timespec){(time_t)(ns / STN_NS_PER_S), (long)(ns % STN_NS_PER_S)};
}

static void run_hooks(struct stn_session *s) {
    uint64_t wait_ns = UINT64_MAX;
    for (struct stn_turn_hook *hook = s->hooks; hook; hook = hook->next)
        wait_ns = STN_MIN(wait_ns, hook->run(hook->ctx));
    s->hooks_ns = wait_ns == UINT64_MAX ? UINT64_MAX : stn_session_now(s) + wait_ns;
}

/* A turn takes a small part of the round trip at least; on a short path of the time that windows
 * have in hand for jitter. */
static uint64_t turn_ns(const struct stn_session *s) {
    if (s->clock != stn_clock_monotonic()) return 0; /* a test's: it stands still meanwhile */
    return STN_MAX(STN_MIN(s->rtt_ns / TURNS_A_ROUND_TRIP, TURN_MAX_NS), TURN_MIN_NS);
}

/* What has come since on all connections is taken at once: without this the thread is woken for
 * every few packets. The first turn after a silence comes at once. */
static void take_a_breath(struct stn_session *s) {
    uint64_t wait_ns = s->sent.n >= CALLS_FOR_BREATH ? turn_ns(s) : 0;
    if (wait_ns > 0) {
        const struct timespec due = time_of(s->turn_began_ns + wait_ns);
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &due, NULL);
    }
    s->turn_began_ns = stn_now(stn_clock_monotonic());
}

static void turn(struct stn_session *s) {
    take_a_breath(s);
    take_submitted(s);
    uint64_t now_ns = stn_session_now(s);
    if (now_ns >= s->tick_ns) tick(s, now_ns);
    stn_primes_send(s, now_ns);
    stn_hedges_send(s, now_ns);
    uint64_t lanes_ns = stn_queries_send(s, now_ns);
    /* A call that came back to the later list, or was sent, may be due before the last tick knew.
     */
    uint64_t until_ns = STN_MIN(s->tick_ns, lanes_ns);
    if (s->later.n > 0) until_ns = STN_MIN(until_ns, now_ns + 10 * STN_NS_PER_MS);
    if (s->sent.n + s->waiting[STN_LANE_READ].n + s->waiting[STN_LANE_WRITE].n > 0 || s->primes)
        until_ns = STN_MIN(until_ns, now_ns + 100 * STN_NS_PER_MS);
    if (until_ns < s->tick_ns) s->tick_ns = until_ns;
    stn_path_publish(s, now_ns);
    uint64_t second_ns = stn_hedges_due_ns(s, now_ns);
    stn_poll_wait(s->poll, STN_MIN(until_ns, STN_MIN(second_ns, s->hooks_ns)));
    run_hooks(s);
}

static int is_stopping(struct stn_session *s) {
    pthread_mutex_lock(&s->lock);
    int stopping = s->stopping;
    pthread_mutex_unlock(&s->lock);
    return stopping;
}

static void *run(void *session) {
    struct stn_session *s = session;
    while (!is_stopping(s)) turn(s);
    return NULL;
}

/* ---- what other threads hand over ---- */

void stn_session_submit(struct stn_session *s, struct stn_query_call *const *calls, size_t n) {
    uint64_t now_ns = stn_session_now(s);
    for (size_t i = 0; i < n; i++) {
        struct stn_query_call *q = calls[i];
        q->session = s;
        q->node = q->tries[0].node = q->tries[1].node = NULL;
        q->state = QUERY_IDLE;
        q->n_tries = 0;
        q->was_hedged = 0;
        q->n_replicas = 0;
        q->consistency_now = q->consistency;
        q->tried = q->avoid;
        q->said[0] = 0;
        q->begun_ns = now_ns;
        stn_route_token(q);
    }
    atomic_fetch_add(&s->calls, n);
    pthread_mutex_lock(&s->lock);
    int first = s->submitted.n == 0;
    for (size_t i = 0; i < n; i++) stn_calls_append(&s->submitted, calls[i]);
    pthread_mutex_unlock(&s->lock);
    if (first && n > 0) stn_poll_wake(s->poll);
}

static void command(struct stn_session *s, struct stn_command *c) {
    pthread_mutex_lock(&s->lock);
    c->next = NULL;
    *s->commands_end = c;
    s->commands_end = &c->next;
    stn_poll_wake(s->poll);
    while (!c->done) pthread_cond_wait(&s->changed, &s->lock);
    pthread_mutex_unlock(&s->lock);
}

static void command_done(struct stn_session *s, struct stn_command *c) {
    pthread_mutex_lock(&s->lock);
    c->done = 1;
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->lock);
}

struct abandoning {
    struct stn_command command;
    const void *group;
};

static void abandon_in(struct stn_session *s, const struct stn_call_list *list, const void *group) {
    for (struct stn_query_call *q = list->first, *next; q; q = next) {
        next = q->next;
        if (q->group == group) stn_query_withdraw(s, q);
    }
}

static void abandon(struct stn_session *s, struct stn_command *c) {
    const void *group = STN_OUTER(c, struct abandoning, command)->group;
    for (int lane = 0; lane < STN_LANE_COUNT; lane++) abandon_in(s, &s->waiting[lane], group);
    abandon_in(s, &s->later, group);
    abandon_in(s, &s->sent, group);
    for (unsigned i = 0; i < s->n_nodes; i++)
        for (size_t k = 0; k < s->nodes[i]->prepared_cap; k++)
            abandon_in(s, &s->nodes[i]->prepared[k].parked, group);
    command_done(s, c);
}

void stn_session_abandon(struct stn_session *s, const void *group) {
    struct abandoning a = {.command = {.run = abandon}, .group = group};
    command(s, &a.command);
}

struct hooking {
    struct stn_command command;
    struct stn_turn_hook *hook;
};

static void add_hook(struct stn_session *s, struct stn_command *c) {
    struct stn_turn_hook *hook = STN_OUTER(c, struct hooking, command)->hook;
    hook->next = s->hooks;
    s->hooks = hook;
    command_done(s, c);
}

static void remove_hook(struct stn_session *s, struct stn_command *c) {
    struct stn_turn_hook **at = &s->hooks, *hook = STN_OUTER(c, struct hooking, command)->hook;
    while (*at && *at != hook) at = &(*at)->next;
    if (*at) *at = hook->next;
    command_done(s, c);
}

void stn_session_add_hook(struct stn_session *s, struct stn_turn_hook *hook) {
    struct hooking h = {{.run = add_hook}, hook};
    command(s, &h.command);
}

void stn_session_remove_hook(struct stn_session *s, struct stn_turn_hook *hook) {
    struct hooking h = {{.run = remove_hook}, hook};
    command(s, &h.command);
}

/* ---- one call, waited for ---- */

static void question_done(struct stn_query_call *q, int code,
                          const struct stn_query_answer *answer) {
    struct stn_question *a = STN_OUTER(q, struct stn_question, call);
    struct stn_session *s = a->session;
    if (code < 0)
        stn_fail(&a->why, code, "%s", answer->why ? answer->why : sterna_strerror(code));
    else if (answer->head && answer->head->kind == STN_CQL_ROWS &&
             (code = stn_rows_copy(&a->rows, answer->head, answer->values)) < 0)
        stn_fail(&a->why, code, "an answer cannot be kept: %s", sterna_strerror(code));
    pthread_mutex_lock(&s->lock);
    a->code = code;
    a->ended = 1;
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->lock);
}

void stn_session_ask(struct stn_session *s, struct stn_question *a) {
    static const struct stn_query_call_ops ops = {.done = question_done};
    struct stn_query_call *q = &a->call;
    a->session = s;
    a->rows = (struct stn_rows){0};
    a->why = (struct sterna_error){0};
    a->ended = a->code = 0;
    q->ops = &ops;
    q->group = a;
    if (q->weight_bytes == 0) q->weight_bytes = 1024;
    stn_session_submit(s, &q, 1);
}

int stn_session_answer(struct stn_question *a, struct stn_rows *rows, struct sterna_error *err) {
    struct stn_session *s = a->session;
    pthread_mutex_lock(&s->lock);
    while (!a->ended) pthread_cond_wait(&s->changed, &s->lock);
    pthread_mutex_unlock(&s->lock);
    a->session = NULL;
    if (rows)
        *rows = a->rows;
    else
        stn_rows_free(&a->rows);
    a->rows = (struct stn_rows){0};
    return a->code < 0 ? stn_fail(err, a->code, "%s", a->why.message) : a->code;
}

void stn_session_drop(struct stn_question *a) {
    if (a->session) stn_session_abandon(a->session, a);
    a->session = NULL;
    stn_rows_free(&a->rows);
}

int stn_session_query(struct stn_session *s, struct stn_query_call *q, struct stn_rows *rows,
                      struct sterna_error *err) {
    struct stn_question a = {.call = *q};
    stn_session_ask(s, &a);
    return stn_session_answer(&a, rows, err);
}

/* ---- rows ---- */

int stn_rows_copy(struct stn_rows *out, const struct stn_cql_result_head *head,
                  struct stn_cursor values) {
    const struct stn_cql_value *paging = &head->rows.paging_state;
    size_t paging_bytes = paging->data && paging->bytes > 0 ? (size_t)paging->bytes : 0;
    size_t n = 0, bytes = values.left;
    *out = (struct stn_rows){.n_rows = head->n_rows, .n_columns = head->rows.n_columns};
    if (__builtin_mul_overflow(out->n_rows, out->n_columns, &n) || n > bytes / 4)
        return *out = (struct stn_rows){0}, STERNA_EPROTO;
    out->values = stn_array(n, sizeof *out->values);
    out->memory = malloc(bytes + paging_bytes + 1);
    if (!out->values || !out->memory) return stn_rows_free(out), STERNA_ENOMEM;
    if (bytes > 0) memcpy(out->memory, values.at, bytes);
    struct stn_cursor c = stn_cursor(out->memory, bytes);
    for (size_t i = 0; i < n; i++) out->values[i] = stn_get_value(&c);
    if (c.overrun) return stn_rows_free(out), STERNA_EPROTO;
    out->paging_state = stn_value_null();
    if (paging->data) {
        memcpy(out->memory + bytes, paging->data, paging_bytes);
        out->paging_state = stn_value_of(out->memory + bytes, paging_bytes);
    }
    return STERNA_OK;
}

void stn_rows_free(struct stn_rows *rows) {
    free(rows->values);
    free(rows->memory);
    *rows = (struct stn_rows){0};
}

/* ---- schema agreement ---- */

struct looking {
    struct stn_command command;
    unsigned until; /* n_looks_ended */
};

static void begin_look(struct stn_session *s, struct stn_command *c) {
    STN_OUTER(c, struct looking, command)->until = stn_control_look(s);
    command_done(s, c);
}

/* Waits for the end of a look that begins now; 1 if the nodes agreed in it. */
static int look_agrees(struct stn_session *s, uint64_t end_ns) {
    struct looking l = {.command = {.run = begin_look}};
    struct timespec end = time_of(end_ns);
    int rc = 0;
    command(s, &l.command);
    pthread_mutex_lock(&s->lock);
    while ((int)(s->n_looks_ended - l.until) < 0 && rc == 0)
        rc = pthread_cond_timedwait(&s->changed, &s->lock, &end);
    int agrees = rc == 0 && s->schema_agrees;
    pthread_mutex_unlock(&s->lock);
    return agrees;
}

int stn_session_await_schema(struct stn_session *s, struct sterna_error *err) {
    struct stn_clock *clock = stn_clock_monotonic();
    uint64_t end_ns = stn_now(clock) + s->schema_timeout_ns;
    while (!look_agrees(s, end_ns)) {
        if (stn_now(clock) >= end_ns)
            return stn_fail(
                err, STERNA_ETIMEOUT,
                "the nodes do not agree on the schema after %.1f s: is one of them down? "
                "See 'nodetool describecluster'",
                (double)s->schema_timeout_ns / 1e9);
        struct timespec pause = time_of(SCHEMA_PAUSE_NS);
        clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, NULL);
    }
    return STERNA_OK;
}

/* ---- facts ---- */

void stn_session_info(struct stn_session *s, struct stn_session_info *out) {
    pthread_mutex_lock(&s->lock);
    *out = s->info;
    pthread_mutex_unlock(&s->lock);
}

struct cutting {
    struct stn_command command;
    size_t pieces;
    void (*each)(void *ctx, int64_t after, int64_t to);
    void *ctx;
};

static void cut(struct stn_session *s, struct stn_command *c) {
    const struct cutting *cutting = STN_OUTER(c, struct cutting, command);
    stn_ring_pieces(s->ring, cutting->pieces, cutting->each, cutting->ctx);
    command_done(s, c);
}

void stn_session_pieces(struct stn_session *s, size_t pieces,
                        void (*each)(void *ctx, int64_t after, int64_t to), void *ctx) {
    struct cutting c = {{.run = cut}, pieces, each, ctx};
    command(s, &c.command);
}

struct counting {
    struct stn_command command;
    uint64_t received_bytes, copied_bytes;
};

static void count(struct stn_session *s, struct stn_command *c) {
    struct counting *counting = STN_OUTER(c, struct counting, command);
    counting->received_bytes = s->received_bytes;
    counting->copied_bytes = s->copied_bytes;
    for (unsigned i = 0; i < s->n_nodes; i++)
        for (int lane = 0; lane < STN_LANE_COUNT; lane++)
            for (unsigned k = 0; k < s->nodes[i]->n_links[lane]; k++) {
                struct stn_conn_stats now = {0};
                struct stn_conn *conn = s->nodes[i]->links[lane][k]->conn;
                if (conn) stn_conn_stats(conn, &now);
                counting->received_bytes += now.received_bytes;
                counting->copied_bytes += now.copied_bytes;
            }
    command_done(s, c);
}

void stn_session_stats(struct stn_session *s, struct stn_session_stats *out) {
    struct counting c = {.command = {.run = count}};
    command(s, &c.command);
    *out = (struct stn_session_stats){.calls = atomic_load(&s->calls),
                                      .tries = atomic_load(&s->tries),
                                      .retries = atomic_load(&s->retries),
                                      .overloaded = atomic_load(&s->overloaded),
                                      .unprepared = atomic_load(&s->unprepared),
                                      .prepares = atomic_load(&s->prepares),
                                      .strays = atomic_load(&s->strays),
                                      .hedges = atomic_load(&s->hedges),
                                      .hedged_bytes = atomic_load(&s->hedged_bytes),
                                      .suspects = atomic_load(&s->suspects),
                                      .lost_connections = atomic_load(&s->lost),
                                      .received_bytes = c.received_bytes,
                                      .copied_bytes = c.copied_bytes,
                                      .in_flight = atomic_load(&s->in_flight),
                                      .in_flight_bytes = atomic_load(&s->in_flight_bytes),
                                      .connections = atomic_load(&s->n_connections)};
}

/* ---- opening ---- */

static int copy_text(char **to, const char *from) {
    *to = from ? strdup(from) : NULL;
    return !from || *to ? STERNA_OK : STERNA_ENOMEM;
}

static uint64_t ns_of(unsigned given_ms, unsigned chosen_ms) {
    return (given_ms ? given_ms : chosen_ms) * STN_NS_PER_MS;
}

static int take_options(struct stn_session *s, const struct stn_session_options *o,
                        struct sterna_error *err) {
    s->clock = o->clock ? o->clock : stn_clock_monotonic();
    s->random = (uint32_t)stn_now(s->clock) * 2654435761U | 1; /* a test's clock: always the same */
    s->connections = o->connections;
    s->reads_soon = o->reads_soon;
    s->request_timeout_ns = ns_of(o->request_timeout_ms, REQUEST_TIMEOUT_MS);
    s->outage_ns = ns_of(o->outage_timeout_ms, OUTAGE_TIMEOUT_MS);
    s->schema_timeout_ns = ns_of(o->schema_timeout_ms, SCHEMA_TIMEOUT_MS);
    s->translations = stn_array(o->n_translations, sizeof *s->translations);
    if (!s->translations || copy_text(&s->user, o->user) < 0 ||
        copy_text(&s->keyspace, o->keyspace) < 0 || copy_text(&s->wanted_dc, o->dc) < 0)
        return stn_fail_memory(err, "a session");
    s->n_translations = o->n_translations;
    for (size_t i = 0; i < o->n_translations; i++) s->translations[i] = o->translations[i];
    if (o->tls) {
        int rc = stn_tls_open(&s->tls, o->tls, err);
        if (rc < 0) return rc;
    }
    s->config = (struct stn_conn_config){.user = s->user,
                                         .password = o->password,
                                         .password_ctx = o->password_ctx,
                                         .tls = s->tls,
                                         .connect_timeout_ns =
                                             ns_of(o->connect_timeout_ms, CONNECT_TIMEOUT_MS),
                                         .idle_ns = IDLE_NS,
                                         .progress_floor_ns = PROGRESS_NS,
                                         .orphans_max = ORPHANS_MAX};
    return STERNA_OK;
}

/* An address in text is verified as such, a host name by its name. */
static int add_contacts(struct stn_session *s, const struct stn_host *host,
                        struct sterna_error *err) {
    struct stn_address *found = NULL;
    size_t n = 0, had = s->control.n_contacts;
    int rc = stn_address_resolve(host->name, host->port, &found, &n, err);
    if (rc < 0) return rc;
    struct stn_attempt *grown =
        realloc(s->control.contacts, (had + n) * sizeof *s->control.contacts);
    if (grown) s->control.contacts = grown;
    for (size_t i = 0; grown && i < n; i++) {
        char *name = strdup(host->name);
        if (!name) grown = NULL;
        if (!grown) break;
        grown[s->control.n_contacts++] =
            (struct stn_attempt){.session = s, .address = found[i], .host = name};
    }
    free(found);
    return grown ? STERNA_OK : stn_fail_memory(err, "contact points");
}

/* All names that cannot be resolved are told, but one that can is enough. */
static int resolve(struct stn_session *s, const struct stn_session_options *o,
                   struct sterna_error *err) {
    struct sterna_error all = {0};
    for (size_t i = 0; i < o->n_hosts; i++) {
        struct sterna_error why = {0};
        int rc = add_contacts(s, &o->hosts[i], &why);
        if (rc == STERNA_ENOMEM) return stn_fail(err, rc, "%s", why.message);
        if (rc < 0) stn_fail(&all, rc, "%s", why.message);
    }
    if (s->control.n_contacts > 0) return STERNA_OK;
    return stn_fail(err, all.code < 0 ? all.code : STERNA_EINVAL, "%s",
                    all.code < 0 ? all.message : "no host is named");
}

static int start(struct stn_session *s, struct sterna_error *err) {
    int rc = stn_poll_open(&s->poll, s->clock, err);
    if (rc == STERNA_OK) rc = stn_control_start(s, err);
    if (rc < 0) return rc;
    if (stn_thread_create(&s->thread, run, s) != 0)
        return stn_fail(err, STERNA_ENOMEM, "no thread for a session");
    s->has_thread = 1;
    return STERNA_OK;
}

int stn_session_start(struct stn_session **out, const struct stn_session_options *options,
                      struct sterna_error *err) {
    *out = NULL;
    struct stn_session *s = calloc(1, sizeof *s);
    if (!s) return stn_fail_memory(err, "a session");
    if (stn_cond_init_monotonic(&s->changed)) {
        free(s);
        return stn_fail_memory(err, "a session");
    }
    pthread_mutex_init(&s->lock, NULL);
    s->commands_end = &s->commands;
    s->hooks_ns = UINT64_MAX;
    stn_hedge_budget_init(&s->hedge_budget);
    s->pid = getpid();
    int rc = take_options(s, options, err);
    if (rc == STERNA_OK) rc = resolve(s, options, err);
    if (rc == STERNA_OK) rc = start(s, err);
    if (rc < 0) stn_session_close(&s);
    *out = s;
    return rc;
}

int stn_session_await(struct stn_session *s, struct sterna_error *err) {
    pthread_mutex_lock(&s->lock);
    while (s->opened == 0) pthread_cond_wait(&s->changed, &s->lock);
    int rc = s->opened < 0 ? s->opened : STERNA_OK;
    if (rc < 0 && err && err->code >= 0) *err = s->open_error;
    pthread_mutex_unlock(&s->lock);
    return rc;
}

int stn_session_open(struct stn_session **out, const struct stn_session_options *options,
                     struct sterna_error *err) {
    int rc = stn_session_start(out, options, err);
    if (rc == STERNA_OK) rc = stn_session_await(*out, err);
    if (rc < 0 && *out) stn_session_close(out);
    return rc;
}

void stn_session_close(struct stn_session **session) {
    struct stn_session *s = *session;
    *session = NULL;
    if (!s || s->pid != getpid()) return; /* a forked child has not its thread */
    if (s->has_thread) {
        pthread_mutex_lock(&s->lock);
        s->stopping = 1;
        pthread_mutex_unlock(&s->lock);
        stn_poll_wake(s->poll);
        pthread_join(s->thread, NULL);
    }
    stn_control_close(s);
    for (unsigned i = 0; i < s->n_nodes; i++) stn_node_free(&s->nodes[i]);
    for (struct stn_statement *t = s->statements, *next; t; t = next) {
        next = t->next;
        stn_statement_free(&t);
    }
    stn_statements_drop_ahead(s);
    stn_ring_free(&s->ring);
    stn_poll_close(&s->poll);
    stn_tls_close(&s->tls);
    free(s->translations);
    free(s->user);
    free(s->keyspace);
    free(s->wanted_dc);
    pthread_cond_destroy(&s->changed);
    pthread_mutex_destroy(&s->lock);
    free(s);
}
