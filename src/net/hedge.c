/* Stragglers: when a call is asked of a second replica while the first still owes its answer.
 *
 * A *hedge* is for one request that waits longer than nearly all others do, as src/request/hedge.h
 * has it, within its budget. A *suspect* is a node that sends nothing while others do: all that it
 * owes is asked elsewhere, once, outside the budget, and nothing new goes there until it speaks
 * again. Which answer lands is try.c's. Only reads with another replica; never because the whole
 * path is slow: then the others are late as well. */
#include <string.h>

#include "net/parts.h"

#define PAUSE_NS (250 * STN_NS_PER_MS) /* so long between two turns: this thread did not run */
#define LOOK_NS (25 * STN_NS_PER_MS)   /* between two looks at who is silent */
#define OVERLOADED_NS STN_NS_PER_S     /* nothing more is asked because of such a node */
#define SUSPECTED_LINE_NS (10 * STN_NS_PER_S)
enum { LOOKED_AT_MAX = 256 }; /* in one turn, of those that may be hedged */

/* ---- what is counted ---- */

static int is_counted(const struct stn_try *t) {
    return t->in_window && t->query->lane == STN_LANE_READ;
}

static int is_read(const struct stn_query_call *q) {
    return q->lane == STN_LANE_READ && !q->is_write && q->statement;
}

/* By another replica, or over another one of many connections: on a long path it is mostly one of
 * them that has lost a segment. */
static int may_be_second(const struct stn_try *t) {
    return is_read(t->query) &&
           (t->query->n_replicas > 1 || stn_lane_is_wide(t->node, STN_LANE_READ));
}

static struct stn_stragglers *kind_of(const struct stn_try *t) {
    return &t->query->session->stragglers[t->query->ops->row == NULL];
}

static struct stn_hedge_wait *wait_of(const struct stn_try *t) { return &kind_of(t)->wait; }

/* Its answer begins, or it is out no more. */
static void end_waiting(struct stn_try *t) {
    if (!t->is_late || t->is_begun) return;
    t->node->n_late--;
    t->query->session->n_late--;
}

void stn_hedge_sent(struct stn_try *t) {
    const struct stn_query_call *q = t->query;
    if (!is_counted(t)) return;
    t->node->n_out++;
    if (!t->is_second) stn_hedge_asked(&q->session->hedge_budget, q->weight_bytes);
}

void stn_hedge_begun(struct stn_try *t, uint64_t now_ns) {
    if (t->is_begun) return;
    end_waiting(t);
    t->is_begun = 1;
    if (may_be_second(t) && !t->is_second && !t->is_late)
        stn_hedge_in_time(wait_of(t), now_ns - t->call.sent_ns);
}

void stn_hedge_left(struct stn_try *t) {
    if (!is_counted(t)) return;
    t->node->n_out--;
    end_waiting(t);
}

/* ---- a second request ---- */

static int is_out_at(const struct stn_query_call *q, const struct stn_node *node) {
    return q->tries[0].node == node || q->tries[1].node == node;
}

static int was_overloaded(const struct stn_node *node, uint64_t now_ns) {
    return node->overloaded_ns && now_ns - node->overloaded_ns < OVERLOADED_NS;
}

/* Whether what it is given comes soon: it neither has many that are late, nor too much to do. */
static int is_fit(const struct stn_node *node, uint64_t now_ns) {
    return node->local && stn_node_is_ready(node) && !node->suspect_ns &&
           !was_overloaded(node, now_ns) && (node->n_late <= 1 || node->n_late <= node->n_out / 8);
}

int stn_hedge_may_go_to(const struct stn_query_call *q, const struct stn_node *node,
                        uint64_t now_ns) {
    return is_fit(node, now_ns) && !is_out_at(q, node) &&
           stn_lane_has_room(node, q->lane, q->weight_bytes);
}

/* Of the same node: that many answers are late there says nothing, all that is left may be so. */
static int may_ask_again(const struct stn_try *t, uint64_t now_ns) {
    const struct stn_query_call *q = t->query;
    return stn_lane_is_wide(t->node, q->lane) && !t->node->suspect_ns &&
           !was_overloaded(t->node, now_ns) && stn_lane_has_room(t->node, q->lane, q->weight_bytes);
}

/* 1: it is on its way. */
static int send_second(struct stn_try *t, uint64_t now_ns) {
    struct stn_query_call *q = t->query;
    if (stn_try_other(t)) return 0;
    struct stn_node *node = stn_route_second(q->session, q, now_ns);
    if (!node && may_ask_again(t, now_ns)) node = t->node;
    if (!node || !stn_statement_is_ready(node, q->statement, q->lane, now_ns)) return 0;
    return stn_try_send(q, node, now_ns) == STERNA_OK;
}

/* ---- hedges ---- */

static uint64_t waits_since_ns(const struct stn_try *t) {
    return STN_MAX(t->call.sent_ns, t->query->session->awake_ns);
}

/* Those that have waited longer than nearly all others do. Returns when the next one will have. */
static uint64_t mark_late_of(struct stn_stragglers *kind, uint64_t now_ns) {
    for (struct stn_try *t; (t = kind->unchecked); kind->unchecked = t->newer) {
        if (kind_of(t) != kind || t->is_begun || t->is_second || !may_be_second(t)) continue;
        uint64_t late_ns = stn_hedge_late_ns(&kind->wait), since_ns = waits_since_ns(t);
        if (late_ns == UINT64_MAX) return UINT64_MAX;
        if (now_ns < since_ns + late_ns) return since_ns + late_ns;
        t->is_late = 1;
        t->node->n_late++;
        t->query->session->n_late++;
        stn_hedge_late(&kind->wait);
    }
    return UINT64_MAX;
}

static uint64_t mark_late(struct stn_session *s, uint64_t now_ns) {
    uint64_t at_ns = mark_late_of(&s->stragglers[0], now_ns);
    return STN_MIN(at_ns, mark_late_of(&s->stragglers[1], now_ns));
}

/* An answer that has begun and got stuck: nothing came over its connection for as long as it takes
 * a node to become suspect. */
static int is_stuck(const struct stn_try *t, uint64_t now_ns) {
    struct stn_conn_stats conn;
    stn_conn_stats(t->call.conn, &conn);
    uint64_t since_ns = STN_MAX(conn.last_byte_ns, t->query->session->awake_ns);
    return now_ns >= since_ns + stn_hedge_silence_ns(conn.min_rtt_ns);
}

static int may_be_hedged(const struct stn_try *t, uint64_t now_ns) {
    const struct stn_query_call *q = t->query;
    return may_be_second(t) && !q->was_hedged && !t->is_second && !stn_try_other(t) &&
           !t->node->suspect_ns && !was_overloaded(t->node, now_ns) &&
           stn_hedge_may(&q->session->hedge_budget, q->weight_bytes);
}

/* Oldest first. Returns when the next one that is late will have been so for long enough. */
static uint64_t hedge(struct stn_session *s, uint64_t now_ns) {
    struct stn_try *t = s->oldest;
    uint64_t at_ns = UINT64_MAX;
    if (!stn_hedge_may(&s->hedge_budget, 0)) return UINT64_MAX;
    for (int i = 0; t && i < LOOKED_AT_MAX; i++, t = t->newer) {
        struct stn_query_call *q = t->query;
        if (!(t->is_late || t->is_begun) || !may_be_hedged(t, now_ns)) continue;
        if (!t->is_begun) {
            uint64_t due_ns = waits_since_ns(t) + stn_hedge_after_ns(wait_of(t));
            at_ns = STN_MIN(at_ns, due_ns > now_ns ? due_ns : UINT64_MAX);
            if (now_ns < due_ns) continue;
        } else if (!is_stuck(t, now_ns) && !stn_try_is_slow(t, now_ns)) {
            continue;
        }
        if (!send_second(t, now_ns)) continue;
        q->was_hedged = 1;
        stn_hedge_spend(&s->hedge_budget, q->weight_bytes);
        atomic_fetch_add(&s->hedges, 1);
    }
    return at_ns;
}

/* ---- suspects ---- */

struct standing {          /* of a node's connections together; 0: none is ready */
    uint64_t last_byte_ns; /* over those that owe answers, if any do: others have heartbeats */
    uint64_t rtt_ns;
};

static struct standing look_at(const struct stn_node *node) {
    struct standing is = {0};
    uint64_t idle_byte_ns = 0;
    for (int lane = 0; lane < STN_LANE_COUNT; lane++)
        for (unsigned i = 0; i < node->n_links[lane]; i++) {
            struct stn_conn *conn = node->links[lane][i]->conn;
            struct stn_conn_stats now;
            if (!conn || !stn_conn_is_ready(conn)) continue;
            stn_conn_stats(conn, &now);
            uint64_t *last_ns = now.calls + now.orphans ? &is.last_byte_ns : &idle_byte_ns;
            *last_ns = STN_MAX(*last_ns, now.last_byte_ns);
            if (now.min_rtt_ns && (!is.rtt_ns || now.min_rtt_ns < is.rtt_ns))
                is.rtt_ns = now.min_rtt_ns;
        }
    if (is.last_byte_ns == 0) is.last_byte_ns = idle_byte_ns;
    return is;
}

/* Somebody else answers, long enough after this one fell silent that it is no pause of the whole
 * path; or has answered all that it was asked for. */
static int others_progress(struct stn_session *s, const struct stn_node *silent, uint64_t since_ns,
                           uint64_t limit_ns) {
    for (unsigned i = 0; i < s->n_nodes; i++) {
        const struct stn_node *node = s->nodes[i];
        if (node == silent || !node->local || node->suspect_ns) continue;
        uint64_t least_ns = node->n_out ? since_ns + limit_ns / 3 : since_ns;
        if (look_at(node).last_byte_ns > least_ns) return 1;
    }
    return 0;
}

static void suspect(struct stn_session *s, struct stn_node *node, uint64_t silence_ns,
                    uint64_t now_ns) {
    uint64_t skipped = 0;
    node->suspect_ns = now_ns;
    if (!stn_log_every(&s->suspected, now_ns, SUSPECTED_LINE_NS, &skipped)) return;
    stn_log(STERNA_LOG_INFO,
            "node %s: no byte for %.2f s while others answer: its %u requests are asked of other "
            "replicas (%llu such lines left out)",
            node->text, (double)silence_ns / 1e9, node->n_out, (unsigned long long)skipped);
}

static struct stn_try *oldest_at(struct stn_session *s, const struct stn_node *node) {
    struct stn_try *t = s->oldest;
    while (t && !(t->node == node && is_counted(t))) t = t->newer;
    return t;
}

/* Whether the oldest answer that it owes should have begun. Those that were given up count, too:
 * a node may owe nothing else any more. *since_ns: when it was asked for. */
static int is_overdue(struct stn_session *s, const struct stn_node *node, uint64_t *since_ns) {
    const struct stn_try *t = node->n_out ? oldest_at(s, node) : NULL;
    *since_ns = t ? t->call.sent_ns : node->owed_ns;
    if (!t) return node->owed_bytes > 0;
    int may_be_late = may_be_second(t) && !t->is_second;
    return t->is_begun || t->is_late || !may_be_late || stn_hedge_late_ns(wait_of(t)) == UINT64_MAX;
}

static void judge(struct stn_session *s, struct stn_node *node, uint64_t now_ns) {
    struct standing is = look_at(node);
    uint64_t since_ns;
    if (node->suspect_ns && (is.last_byte_ns == 0 || is.last_byte_ns > node->suspect_ns))
        node->suspect_ns = 0;
    if (node->suspect_ns || is.last_byte_ns == 0 || !is_overdue(s, node, &since_ns)) return;
    since_ns = STN_MAX(STN_MAX(is.last_byte_ns, since_ns), s->awake_ns);
    uint64_t limit_ns = stn_hedge_silence_ns(is.rtt_ns);
    if (now_ns < since_ns + limit_ns || !others_progress(s, node, since_ns, limit_ns)) return;
    suspect(s, node, now_ns - since_ns, now_ns);
}

static void judge_all(struct stn_session *s, uint64_t now_ns) {
    s->has_suspects = 0;
    for (unsigned i = 0; i < s->n_nodes; i++) {
        judge(s, s->nodes[i], now_ns);
        s->has_suspects |= s->nodes[i]->suspect_ns != 0;
    }
}

/* All that suspects owe, oldest first, as there is room elsewhere. */
static void move(struct stn_session *s, uint64_t now_ns) {
    int failed = 0;
    for (struct stn_try *t = s->oldest; t && failed < LOOKED_AT_MAX; t = t->newer) {
        if (!t->node->suspect_ns || t->was_moved || !is_read(t->query)) continue;
        if (t->query->n_replicas < 2) continue;
        if (stn_try_other(t)) continue; /* it is elsewhere already */
        if (!send_second(t, now_ns)) {
            failed++;
            continue;
        }
        t->was_moved = 1;
        atomic_fetch_add(&s->suspects, 1);
    }
}

/* ---- each turn ---- */

void stn_hedges_send(struct stn_session *s, uint64_t now_ns) {
    if (now_ns - s->hedge_ns > PAUSE_NS) s->awake_ns = now_ns;
    s->hedge_ns = now_ns;
    s->hedge_due_ns = UINT64_MAX;
    if (!s->oldest) return;
    (void)mark_late(s, now_ns);
    int looks = now_ns >= s->silent_ns;
    if (s->n_late > 0 || looks) s->hedge_due_ns = hedge(s, now_ns);
    if (looks) {
        judge_all(s, now_ns);
        s->silent_ns = now_ns + LOOK_NS;
    }
    if (s->has_suspects) move(s, now_ns);
}

uint64_t stn_hedges_due_ns(struct stn_session *s, uint64_t now_ns) {
    if (!s->oldest) return UINT64_MAX;
    return STN_MIN(STN_MIN(mark_late(s, now_ns), s->hedge_due_ns), s->silent_ns);
}
