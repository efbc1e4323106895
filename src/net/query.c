/* The life of one call: waits, is sent to a node, and is answered, tried again or given up.
 *
 *     WAITING -> (PARKED: the node does not know the statement) -> SENT -> done()
 *        ^------------------- LATER (back-off) <------------------+
 *
 * What a server's ERROR means is one table, `reactions`. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "net/parts.h"

#define BACK_OFF_FIRST_NS (50 * STN_NS_PER_MS)
#define BACK_OFF_MAX_NS STN_NS_PER_S
#define UNAVAILABLE_WAIT_NS (100 * STN_NS_PER_MS)
#define OUTAGE_FIRST_LINE_NS (10 * STN_NS_PER_S)
#define OUTAGE_LINE_NS (30 * STN_NS_PER_S)
#define COMING_NS STN_NS_PER_S
#define PATIENCE 4 /* request timeouts, at most, while other answers come over its connection */
#define CONFUSED_LINE_NS (10 * STN_NS_PER_S)

/* ---- lists ---- */

void stn_calls_append(struct stn_call_list *list, struct stn_query_call *q) {
    q->next = NULL;
    q->prev = list->last;
    if (list->last)
        list->last->next = q;
    else
        list->first = q;
    list->last = q;
    list->n++;
}

void stn_calls_remove(struct stn_call_list *list, struct stn_query_call *q) {
    if (q->prev)
        q->prev->next = q->next;
    else
        list->first = q->next;
    if (q->next)
        q->next->prev = q->prev;
    else
        list->last = q->prev;
    q->next = q->prev = NULL;
    list->n--;
}

void stn_calls_prepend(struct stn_call_list *list, struct stn_query_call *q) {
    q->prev = NULL;
    q->next = list->first;
    if (list->first)
        list->first->prev = q;
    else
        list->last = q;
    list->first = q;
    list->n++;
}

struct stn_query_call *stn_calls_take(struct stn_call_list *list) {
    struct stn_query_call *q = list->first;
    if (q) stn_calls_remove(list, q);
    return q;
}

/* ---- the end of a call ---- */

void stn_query_finish(struct stn_query_call *q, int code, const struct stn_query_answer *answer) {
    struct stn_session *s = q->session;
    q->state = QUERY_IDLE;
    q->node = NULL;
    if (code < 0 && code != STERNA_ENOTFOUND && answer->why) stn_session_remember(s, answer->why);
    q->ops->done(q, code, answer); /* from here on it may not exist any more */
}

static void fail(struct stn_query_call *q, int code, const char *why,
                 const struct stn_cql_failure *failure) {
    stn_query_finish(q, code, &(struct stn_query_answer){.why = why, .failure = failure});
}

void stn_query_wait(struct stn_session *s, struct stn_query_call *q) {
    q->state = QUERY_WAITING;
    /* In front: it has waited longer than those that were never sent. */
    if (q->n_tries > 0)
        stn_calls_prepend(&s->waiting[q->lane], q);
    else
        stn_calls_append(&s->waiting[q->lane], q);
}

static uint64_t back_off_ns(struct stn_session *s, const struct stn_query_call *q) {
    unsigned doublings = STN_MIN(q->n_tries, 5U);
    uint64_t wait_ns = STN_MIN((uint64_t)BACK_OFF_FIRST_NS << doublings, BACK_OFF_MAX_NS);
    return wait_ns / 2 + stn_session_random(s, (uint32_t)wait_ns);
}

static void try_again(struct stn_query_call *q, uint64_t now_ns, uint64_t wait_ns) {
    struct stn_session *s = q->session;
    atomic_fetch_add(&s->retries, 1);
    if (wait_ns == 0) {
        stn_query_wait(s, q);
        return;
    }
    q->state = QUERY_LATER;
    q->due_ns = now_ns + wait_ns;
    stn_calls_append(&s->later, q);
}

/* ---- two at once ---- */

static struct stn_try *out_of(struct stn_query_call *q) {
    return q->tries[0].node ? &q->tries[0] : q->tries[1].node ? &q->tries[1] : NULL;
}

/* One of two has failed: the other is what is left of the call; as its second try, if it was the
 * first that failed. */
static int has_another(struct stn_query_call *q, const struct stn_try *failed) {
    if (!stn_query_is_out(q)) return 0;
    if (failed->is_second) return 1;
    q->n_tries++;
    atomic_fetch_add(&q->session->retries, 1);
    return 1;
}

/* ---- what an ERROR means ---- */

enum reaction {
    REPORT,    /* the same everywhere and always */
    ELSEWHERE, /* at once to another replica; fails after a few rounds */
    REPLICAS,  /* each replica once, then one try that asks several of them; then it fails */
    PATIENTLY, /* elsewhere at once, then with back-off, as long as an outage may last */
    SLOWER,    /* with back-off, and the node gets less to do */
    PREPARE,   /* the node has forgotten the statement */
    ONCE_MORE  /* one try, then report */
};

static const struct {
    uint32_t code;
    enum reaction read, write;
    int our_code; /* when it is reported */
} reactions[] = {
    {STN_CQL_E_OVERLOADED, SLOWER, SLOWER, STERNA_EBUSY},
    {STN_CQL_E_READ_TIMEOUT, PATIENTLY, PATIENTLY, STERNA_ETIMEOUT},
    {STN_CQL_E_READ_FAILURE, REPLICAS, REPLICAS, STERNA_EIO},
    {STN_CQL_E_UNAVAILABLE, PATIENTLY, PATIENTLY, STERNA_EUNREACHABLE},
    {STN_CQL_E_WRITE_TIMEOUT, PATIENTLY, PATIENTLY, STERNA_ETIMEOUT},
    {STN_CQL_E_WRITE_FAILURE, REPORT, ONCE_MORE, STERNA_EIO},
    {STN_CQL_E_CAS_WRITE_UNKNOWN, REPORT, PATIENTLY, STERNA_ETIMEOUT},
    {STN_CQL_E_SERVER, ELSEWHERE, ONCE_MORE, STERNA_EIO},
    {STN_CQL_E_BOOTSTRAPPING, PATIENTLY, PATIENTLY, STERNA_EUNREACHABLE},
    {STN_CQL_E_TRUNCATE, REPORT, REPORT, STERNA_EIO},
    {STN_CQL_E_FUNCTION_FAILURE, REPORT, REPORT, STERNA_EIO},
    {STN_CQL_E_CDC_WRITE_FAILURE, REPORT, ONCE_MORE, STERNA_EIO},
    {STN_CQL_E_UNPREPARED, PREPARE, PREPARE, STERNA_EIO},
    {STN_CQL_E_CREDENTIALS, REPORT, REPORT, STERNA_EREFUSED},
    {STN_CQL_E_UNAUTHORIZED, REPORT, REPORT, STERNA_EREFUSED},
    {STN_CQL_E_SYNTAX, REPORT, REPORT, STERNA_EINVAL},
    {STN_CQL_E_INVALID, REPORT, REPORT, STERNA_EINVAL},
    {STN_CQL_E_CONFIG, REPORT, REPORT, STERNA_EINVAL},
    {STN_CQL_E_ALREADY_EXISTS, REPORT, REPORT, STERNA_ECONFLICT},
    {STN_CQL_E_PROTOCOL, REPORT, REPORT, STERNA_EPROTO},
};
#define ELSEWHERE_TRIES 6 /* two rounds at a replication factor of three */

static size_t reaction_to(const struct stn_cql_failure *failure) {
    size_t i = 0;
    while (i < STN_COUNT(reactions) && reactions[i].code != failure->code) i++;
    return i;
}

static int says(const struct stn_cql_failure *failure, const char *words) {
    return memmem(failure->message.data, failure->message.bytes, words, strlen(words)) != NULL;
}

int stn_query_code_of(const struct stn_cql_failure *failure) {
    size_t i = reaction_to(failure);
    if (i == STN_COUNT(reactions))
        return STERNA_EBUSY; /* Scylla's rate limit, whose code it chose */
    int no_table = failure->code == STN_CQL_E_INVALID &&
                   (says(failure, "unconfigured table") || says(failure, "does not exist") ||
                    says(failure, "unconfigured columnfamily"));
    return no_table ? STERNA_ENOTFOUND : reactions[i].our_code;
}

static void describe(const struct stn_node *node, const struct stn_cql_failure *failure,
                     char *words, size_t bytes) {
    char name[32];
    char replicas[48] = "";
    if (failure->code == STN_CQL_E_UNAVAILABLE)
        snprintf(replicas, sizeof replicas, " (%" PRId32 " of %" PRId32 " replicas alive)",
                 failure->alive, failure->required);
    snprintf(words, bytes, "%s: %s%s: %.*s", node->text,
             stn_cql_failure_name(failure->code, name, sizeof name), replicas,
             (int)STN_MIN(failure->message.bytes, (size_t)300), failure->message.data);
}

/* One replica's answer was not enough n times: the next try asks a quorum, which also repairs. */
static int all_replicas_failed(const struct stn_query_call *q) {
    return q->n_tries >= STN_MAX(q->n_replicas, 1U);
}

static int is_read_trouble(uint32_t code) {
    return code == STN_CQL_E_READ_TIMEOUT || code == STN_CQL_E_READ_FAILURE;
}

static void forgotten(struct stn_query_call *q, const struct stn_try *t, struct stn_node *node,
                      uint64_t now_ns) {
    char words[400];
    int may_ask = stn_statement_forgotten(node, t, now_ns);
    if (stn_query_is_out(q)) return;
    if (may_ask) {
        stn_query_wait(q->session, q);
        return;
    }
    snprintf(words, sizeof words, "%s: the server forgets this statement again and again: %.200s",
             node->text, q->statement->text);
    fail(q, STERNA_EIO, words, NULL);
}

/* 0: it is to be reported. */
static int retry(struct stn_query_call *q, enum reaction what, uint32_t code, uint64_t now_ns) {
    struct stn_session *s = q->session;
    int late = now_ns - q->begun_ns > s->outage_ns;
    int had_quorum = q->consistency_now != q->consistency;
    uint64_t wait_ns = back_off_ns(s, q);
    q->consistency_now = q->consistency;
    if (is_read_trouble(code) && !q->is_write && q->consistency == STN_CQL_LOCAL_ONE &&
        !had_quorum && all_replicas_failed(q))
        q->consistency_now = STN_CQL_LOCAL_QUORUM;
    switch (what) {
    case REPORT:
    case PREPARE:
        return 0;
    case ELSEWHERE:
        if (q->n_tries >= ELSEWHERE_TRIES) return 0;
        if (q->n_tries % 3 != 0) wait_ns = 0;
        break;
    case REPLICAS:
        if (had_quorum || q->n_tries >= ELSEWHERE_TRIES) return 0;
        wait_ns = 0;
        break;
    case ONCE_MORE:
        if (q->n_tries > 1) return 0;
        break;
    case PATIENTLY:
        if (late) return 0;
        if (q->n_tries == 1 && code != STN_CQL_E_UNAVAILABLE) wait_ns = 0;
        if (code == STN_CQL_E_UNAVAILABLE) wait_ns = UNAVAILABLE_WAIT_NS + wait_ns / 4;
        break;
    case SLOWER:
        if (late) return 0;
        break;
    }
    try_again(q, now_ns, wait_ns);
    return 1;
}

static void react(struct stn_query_call *q, const struct stn_try *t, struct stn_node *node,
                  const struct stn_cql_failure *failure, uint64_t now_ns) {
    struct stn_session *s = q->session;
    size_t i = reaction_to(failure);
    enum reaction what = i == STN_COUNT(reactions) ? REPORT
                         : q->is_write             ? reactions[i].write
                                                   : reactions[i].read;
    char words[512];
    describe(node, failure, words, sizeof words);
    stn_session_remember(s, words);
    q->said_code = stn_query_code_of(failure);
    describe(node, failure, q->said, sizeof q->said);
    if (failure->code == STN_CQL_E_SERVER) stn_node_server_error(node, now_ns);
    if (what == SLOWER) {
        stn_lane_overloaded(node, q->lane, now_ns);
        atomic_fetch_add(&s->overloaded, 1);
    }
    if (what == PREPARE && q->statement) {
        forgotten(q, t, node, now_ns);
        return;
    }
    if (has_another(q, t)) return;
    if (!retry(q, what, failure->code, now_ns)) fail(q, q->said_code, words, failure);
}

/* ---- answers ---- */

static uint32_t bit_of(const struct stn_node *node) {
    return node->index < 32 ? UINT32_C(1) << node->index : 0;
}

static void mark_tried(struct stn_query_call *q, const struct stn_node *node) {
    q->tried |= bit_of(node);
}

/* Somebody changed the table: what is read by position needs the statement anew. */
static int has_other_columns(const struct stn_query_call *q,
                             const struct stn_cql_result_head *head) {
    return q->statement && q->statement->n_columns > 0 && head && head->kind == STN_CQL_ROWS &&
           head->rows.n_columns != q->statement->n_columns;
}

static void tell_confusion(struct stn_session *s, const char *why, uint64_t now_ns) {
    uint64_t skipped = 0;
    if (!stn_log_every(&s->confused, now_ns, CONFUSED_LINE_NS, &skipped)) return;
    stn_log(STERNA_LOG_ERROR, "%s; asked again over another connection (%" PRIu64 " more like it)",
            why ? why : "an answer that cannot be", skipped);
}

static void succeed(struct stn_query_call *q, struct stn_try *t, struct stn_node *node, int code,
                    const struct stn_cql_result_head *head, struct stn_cursor *body,
                    const char *why) {
    struct stn_query_answer answer = {
        .head = head, .why = why, .from = node->text, .from_bit = bit_of(node)};
    struct stn_try *other = out_of(q);
    uint64_t now_ns = stn_session_now(q->session);
    stn_lane_answered(node, t, now_ns);
    if (q->statement) stn_statement_known(node, t);
    if (other && other->is_begun && code == STERNA_ENOTFOUND) return; /* it has the row */
    if (other) stn_try_lose(other, now_ns);
    if (body) answer.values = *body;
    if (head && head->kind == STN_CQL_ROWS) answer.paging_state = head->rows.paging_state;
    stn_query_finish(q, code, &answer);
}

/* Its time is over without an answer now. What a server has said of the row before tells more than
 * a lost connection or silence, perhaps of a node where it does not even live. */
static void fail_unanswered(struct stn_query_call *q, int code, const char *why) {
    char words[512];
    snprintf(words, sizeof words, "%s; then %s", q->said, why);
    if (q->said[0])
        fail(q, q->said_code, words, NULL);
    else
        fail(q, code, why, NULL);
}

/* Lost, confused, or what the maker said of it. */
static void end_otherwise(struct stn_query_call *q, const struct stn_try *t,
                          const struct stn_node *node, int code, const char *why, uint64_t now_ns) {
    struct stn_session *s = q->session;
    int lost = code == STERNA_EUNREACHABLE, confused = code == STERNA_EPROTO;
    struct stn_try *other = out_of(q);
    if (confused && (other || q->n_tries < ELSEWHERE_TRIES)) tell_confusion(s, why, now_ns);
    if ((lost || confused) && has_another(q, t)) return;
    if ((confused && q->n_tries < ELSEWHERE_TRIES) ||
        (lost && now_ns - q->begun_ns <= s->outage_ns)) {
        try_again(q, now_ns, q->n_tries < 3 ? 0 : back_off_ns(s, q));
        return;
    }
    if (lost) {
        fail_unanswered(q, code, why);
        return;
    }
    if (other) stn_try_lose(other, now_ns);
    stn_query_finish(
        q, code,
        &(struct stn_query_answer){.why = why, .from = node->text, .from_bit = bit_of(node)});
}

void stn_query_answered(struct stn_query_call *q, struct stn_try *t, struct stn_node *node,
                        int code, const struct stn_cql_result_head *head, struct stn_cursor *body,
                        const struct stn_cql_failure *failure, const char *why) {
    uint64_t now_ns = stn_session_now(q->session);
    if (code == STERNA_OK && has_other_columns(q, head)) {
        forgotten(q, t, node, now_ns);
        return;
    }
    if (code == STERNA_OK || code == STERNA_ENOTFOUND) {
        succeed(q, t, node, code, head, body, why);
        return;
    }
    mark_tried(q, node);
    if (failure)
        react(q, t, node, failure, now_ns);
    else
        end_otherwise(q, t, node, code, why, now_ns);
}

/* ---- sending ---- */

/* The call is in no list. It is sent, parked, finished, or waits again: 1 unless the last. */
static int send_to(struct stn_node *node, struct stn_query_call *q, uint64_t now_ns) {
    struct stn_session *s = q->session;
    enum stn_readiness ready =
        q->statement ? stn_statement_ready(node, q, now_ns) : STATEMENT_READY;
    if (ready != STATEMENT_READY) return ready == STATEMENT_TAKEN;
    int rc = stn_try_send(q, node, now_ns);
    if (rc == STERNA_AGAIN) return stn_query_wait(s, q), 0;
    if (rc < 0) return fail(q, rc, "out of memory for a request", NULL), 1;
    q->state = QUERY_SENT;
    q->node = node;
    q->n_tries++;
    return 1;
}

static int lane_has_room(struct stn_session *s, enum stn_lane lane) {
    for (unsigned i = 0; i < s->n_nodes; i++)
        if (s->nodes[i]->local && stn_node_is_ready(s->nodes[i]) &&
            stn_lane_has_room(s->nodes[i], lane, 1))
            return 1;
    return 0;
}

/* Once around the queue; those that fit nowhere stay, in their order. */
static void send_lane(struct stn_session *s, enum stn_lane lane, uint64_t now_ns) {
    struct stn_call_list *waiting = &s->waiting[lane], left = {0};
    int stuck = 0;
    if (waiting->n == 0) return;
    for (unsigned i = 0; i < s->n_nodes; i++) stn_lane_open(s->nodes[i], lane);
    for (struct stn_query_call *q; !stuck && (q = stn_calls_take(waiting));) {
        struct stn_node *node = stn_route(s, q, now_ns, NULL);
        if (node) {
            stuck = !send_to(node, q, now_ns);
        } else {
            stn_calls_append(&left, q);
            stuck = !lane_has_room(s, lane);
        }
    }
    while (left.last) { /* back to the front */
        struct stn_query_call *q = left.last;
        stn_calls_remove(&left, q);
        stn_calls_prepend(waiting, q);
    }
}

/* When one of them has something to do, or may send again what waits now. */
static uint64_t tick_lanes(struct stn_session *s, uint64_t now_ns) {
    uint64_t at = UINT64_MAX;
    for (int lane = 0; lane < STN_LANE_COUNT; lane++)
        for (unsigned i = 0; i < s->n_nodes; i++) {
            int waiting = s->waiting[lane].n > 0;
            at = STN_MIN(at, stn_lane_tick(s->nodes[i], (enum stn_lane)lane, waiting, now_ns));
        }
    return at;
}

/* On a long path all that came free within a quantum goes out together: one system call for each
 * connection. */
uint64_t stn_queries_send(struct stn_session *s, uint64_t now_ns) {
    if (now_ns < s->send_ns) return s->send_ns;
    s->send_ns = now_ns + stn_lane_quantum_ns(s);
    for (int lane = 0; lane < STN_LANE_COUNT; lane++) send_lane(s, (enum stn_lane)lane, now_ns);
    for (unsigned i = 0; i < s->n_nodes; i++) stn_node_flush(s->nodes[i], now_ns);
    return tick_lanes(s, now_ns);
}

/* ---- time ---- */

void stn_query_withdraw(struct stn_session *s, struct stn_query_call *q) {
    switch (q->state) {
    case QUERY_WAITING:
        stn_calls_remove(&s->waiting[q->lane], q);
        break;
    case QUERY_PARKED:
        stn_calls_remove(&stn_prepared_at(q->node, q->statement)->parked, q);
        break;
    case QUERY_SENT:
        for (struct stn_try *t; (t = out_of(q));) stn_try_give_up(t);
        break;
    case QUERY_LATER:
        stn_calls_remove(&s->later, q);
        break;
    default:
        break;
    }
    q->state = QUERY_IDLE;
}

/* A connection that brings bytes is behind with its answers, which a retry would not bring sooner.
 */
static int is_coming(const struct stn_try *t, uint64_t now_ns) {
    struct stn_conn_stats conn;
    stn_conn_stats(t->call.conn, &conn);
    return now_ns - conn.last_byte_ns < COMING_NS &&
           now_ns - t->call.sent_ns < PATIENCE * t->query->session->request_timeout_ns;
}

static void give_up_waiting(struct stn_try *t, uint64_t now_ns) {
    struct stn_query_call *q = t->query;
    struct stn_session *s = q->session;
    struct stn_node *node = t->node;
    char words[160];
    snprintf(words, sizeof words, "%s: no answer for %.1f s", node->text,
             (double)(now_ns - t->call.sent_ns) / 1e9);
    stn_session_remember(s, words);
    stn_lane_overloaded(node, q->lane, now_ns);
    stn_node_waited(node, t->call.sent_ns, now_ns);
    mark_tried(q, node);
    stn_try_give_up(t);
    if (has_another(q, t)) return;
    if (now_ns - q->begun_ns > s->outage_ns)
        fail_unanswered(q, STERNA_ETIMEOUT, words);
    else
        try_again(q, now_ns, 0);
}

/* Requests without an answer for too long: their nodes are passed over, their streams stay taken.
 */
static uint64_t expire(struct stn_session *s, uint64_t now_ns) {
    for (struct stn_try *t = s->oldest, *next; t; t = next) {
        next = t->newer;
        uint64_t due_ns = t->call.sent_ns + s->request_timeout_ns;
        if (now_ns < due_ns) return due_ns;
        if (is_coming(t, now_ns)) continue;
        give_up_waiting(t, now_ns);
        next = s->oldest; /* done() may have taken others away */
    }
    return s->oldest ? now_ns + COMING_NS : UINT64_MAX;
}

static uint64_t wake_later(struct stn_session *s, uint64_t now_ns) {
    uint64_t at = UINT64_MAX;
    for (struct stn_query_call *q = s->later.first, *next; q; q = next) {
        next = q->next;
        if (q->due_ns > now_ns) {
            at = STN_MIN(at, q->due_ns);
            continue;
        }
        stn_calls_remove(&s->later, q);
        stn_query_wait(s, q);
    }
    return at;
}

static void tell_outage(struct stn_session *s, size_t n_waiting, uint64_t now_ns) {
    if (now_ns - s->outage_told_ns < OUTAGE_LINE_NS) return;
    s->outage_told_ns = now_ns;
    stn_log(
        STERNA_LOG_WARNING,
        "no answer for %.0f s, giving up after %.0f s: %zu requests wait, %zu are out; last: %s",
        (double)(now_ns - s->outage_since_ns) / 1e9, (double)s->outage_ns / 1e9, n_waiting,
        s->sent.n, s->last_error);
}

static void fail_waiting(struct stn_session *s) {
    for (int lane = 0; lane < STN_LANE_COUNT; lane++)
        for (struct stn_query_call *q; (q = stn_calls_take(&s->waiting[lane]));)
            fail(q, STERNA_EUNREACHABLE, s->last_error[0] ? s->last_error : "no node answers",
                 NULL);
    s->outage_since_ns = s->unreachable_since_ns = 0; /* what comes now has its own time */
}

/* Nobody answers: it is told now and then, and all that waits fails when no node could be reached
 * for so long. While one can each call has its own time, see retry(). */
static uint64_t watch_outage(struct stn_session *s, uint64_t now_ns) {
    size_t n = s->later.n;
    int reachable = 0;
    if (s->opened == 0) return UINT64_MAX; /* that has its own time */
    for (int lane = 0; lane < STN_LANE_COUNT; lane++) n += s->waiting[lane].n;
    for (unsigned i = 0; i < s->n_nodes && !reachable; i++)
        reachable = s->nodes[i]->local && stn_node_is_ready(s->nodes[i]);
    if (reachable || n == 0)
        s->unreachable_since_ns = 0;
    else if (s->unreachable_since_ns == 0)
        s->unreachable_since_ns = now_ns;
    if (n == 0 || (reachable && (s->later.n == 0 || s->sent.n > 0))) {
        s->outage_since_ns = 0;
        return UINT64_MAX;
    }
    if (s->outage_since_ns == 0) {
        s->outage_since_ns = now_ns;
        s->outage_told_ns = now_ns + OUTAGE_FIRST_LINE_NS - OUTAGE_LINE_NS;
    }
    tell_outage(s, n, now_ns);
    if (reachable || now_ns - s->unreachable_since_ns < s->outage_ns) return now_ns + STN_NS_PER_S;
    fail_waiting(s);
    return UINT64_MAX;
}

uint64_t stn_queries_tick(struct stn_session *s, uint64_t now_ns) {
    uint64_t expire_ns = expire(s, now_ns), later_ns = wake_later(s, now_ns);
    uint64_t outage_ns = watch_outage(s, now_ns);
    return STN_MIN(STN_MIN(expire_ns, later_ns), outage_ns);
}
