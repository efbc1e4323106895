/* Statements: a text, its shape as the first node told it, and for each node the id it goes by
 * there. A node that does not know it is asked once, while the calls that need it wait. */
#include <stdio.h>
#include <string.h>

#include "net/parts.h"

#define ROUNDS_MAX 3 /* times in a row that a node may forget a statement within */
#define ROUNDS_NS (10 * STN_NS_PER_S)

/* ---- the shape ---- */

static int take_columns(struct stn_cql_metadata *m, struct stn_statement_column **out, size_t *n) {
    struct stn_cql_column column;
    struct stn_statement_column *list = stn_array(m->n_columns, sizeof *list);
    if (!list) return STERNA_ENOMEM;
    for (*n = 0; *n < m->n_columns && stn_cql_column_next(m, &column); ++*n) {
        snprintf(list[*n].name, sizeof list[*n].name, "%.*s", (int)column.name.bytes,
                 column.name.data);
        list[*n].type = column.type;
    }
    *out = list;
    return STERNA_OK;
}

static int take_shape(struct stn_statement *t, const struct stn_cql_result_head *head) {
    struct stn_cql_metadata params = head->params, columns = head->columns;
    struct stn_cursor key = params.key;
    int rc = take_columns(&params, &t->params, &t->n_params);
    if (rc == STERNA_OK) rc = take_columns(&columns, &t->columns, &t->n_columns);
    if (rc == STERNA_OK) rc = stn_tablets_open(&t->tablets);
    if (rc < 0) return rc;
    if (params.n_key > STN_COUNT(t->key)) return STERNA_OK; /* then without token awareness */
    for (t->n_key = 0; t->n_key < params.n_key; t->n_key++) {
        t->key[t->n_key] = stn_get_be16(&key);
        if (t->key[t->n_key] >= t->n_params) return t->n_key = 0, STERNA_EPROTO;
    }
    return STERNA_OK;
}

/* Rows are read by position: another shape under the same text would be read wrongly. */
static int same_shape(const struct stn_statement *t, const struct stn_cql_result_head *head) {
    struct stn_cql_metadata columns = head->columns;
    struct stn_cql_column column;
    if (columns.n_columns != t->n_columns || head->params.n_columns != t->n_params) return 0;
    for (size_t i = 0; i < t->n_columns && stn_cql_column_next(&columns, &column); i++)
        if (column.type != t->columns[i].type) return 0;
    return 1;
}

void stn_statement_free(struct stn_statement **statement) {
    struct stn_statement *t = *statement;
    *statement = NULL;
    if (!t) return;
    stn_tablets_close(&t->tablets);
    free(t->params);
    free(t->columns);
    free(t->text);
    free(t);
}

void stn_statement_info(const struct stn_statement *t, struct stn_statement_info *out) {
    *out = (struct stn_statement_info){.params = t->params,
                                       .columns = t->columns,
                                       .n_params = t->n_params,
                                       .n_columns = t->n_columns,
                                       .n_key = t->n_key};
}

/* ---- asking a node ---- */

struct stn_prepared *stn_prepared_at(struct stn_node *node, const struct stn_statement *t) {
    size_t had = node->prepared_cap;
    if (stn_grow((void **)&node->prepared, &node->prepared_cap, t->number + 1,
                 sizeof *node->prepared) < 0)
        return NULL;
    for (size_t i = had; i < node->prepared_cap; i++)
        node->prepared[i] = (struct stn_prepared){.state = PREPARED_NOT};
    return &node->prepared[t->number];
}

static int put_prepare(struct stn_conn *conn, struct stn_call *call, const char *text,
                       uint64_t now_ns) {
    struct stn_writer w = {0};
    stn_cql_put_prepare(&w, 0, text);
    uint8_t *frame = malloc(w.used);
    if (!frame) return STERNA_ENOMEM;
    w = (struct stn_writer){.to = frame, .cap = w.used};
    stn_cql_put_prepare(&w, 0, text);
    int rc = stn_conn_send(conn, call, frame, w.used, now_ns);
    if (rc == STERNA_OK) stn_conn_flush(conn, now_ns);
    free(frame);
    return rc;
}

static int keep_id(struct stn_prepared *p, const struct stn_cql_result_head *head,
                   uint64_t now_ns) {
    if (head->kind != STN_CQL_PREPARED || head->id.bytes == 0 || head->id.bytes > sizeof p->id)
        return STERNA_EPROTO;
    memcpy(p->id, head->id.data, head->id.bytes);
    p->id_bytes = (uint16_t)head->id.bytes;
    p->state = PREPARED_READY;
    p->ready_ns = now_ns;
    return STERNA_OK;
}

struct asking { /* one PREPARE on its way; its own owner */
    struct stn_call call;
    struct stn_node *node;
    struct stn_statement *statement;
};

static void give_back(struct stn_node *node, struct stn_query_call *q) {
    stn_query_wait(node->session, q);
}

static void release_parked(struct stn_node *node, struct stn_prepared *p, int code, const char *why,
                           const struct stn_cql_failure *failure) {
    struct stn_query_answer answer = {.why = why, .failure = failure};
    for (struct stn_query_call *q; (q = stn_calls_take(&p->parked));) {
        q->node = NULL;
        if (code < 0)
            stn_query_finish(q, code, &answer);
        else
            give_back(node, q);
    }
}

/* A refusal by the server is final, and the same everywhere: the table is gone, or its columns. */
static void asking_done(struct stn_call *call, int code, const struct stn_cql_result_head *head,
                        struct stn_cursor *body, const struct stn_cql_failure *failure,
                        const char *why) {
    struct asking *a = STN_OUTER(call, struct asking, call);
    struct stn_prepared *p = &a->node->prepared[a->statement->number];
    char words[400];
    (void)body;
    p->state = PREPARED_NOT;
    int final = STERNA_OK;
    const char *where = a->node->text;
    if (failure) {
        code = stn_query_code_of(failure);
        /* The cause first: the text may be cut. */
        snprintf(words, sizeof words, "%s: %.*s: %s", where,
                 (int)STN_MIN(failure->message.bytes, (size_t)200), failure->message.data,
                 a->statement->text);
        if (code == STERNA_EINVAL || code == STERNA_EREFUSED || code == STERNA_ENOTFOUND)
            final = code;
    } else if (code == STERNA_OK && head && !same_shape(a->statement, head)) {
        final = STERNA_EIO;
        snprintf(words, sizeof words, "%s: %.200s: its columns are of other types now: start anew",
                 where, a->statement->text);
    } else if (code == STERNA_OK &&
               (!head || keep_id(p, head, stn_session_now(a->node->session)) < 0)) {
        snprintf(words, sizeof words, "%s: a wrong answer to PREPARE", where);
    } else {
        snprintf(words, sizeof words, "%s", why ? why : "");
    }
    if (p->state != PREPARED_READY) stn_session_remember(a->node->session, words);
    release_parked(a->node, p, final, words, failure);
    free(a);
}

static const struct stn_call_ops asking_ops = {.done = asking_done};

/* AGAIN: it could not be asked now. ENOMEM. */
static int ask(struct stn_node *node, struct stn_statement *t, struct stn_prepared *p,
               enum stn_lane lane, uint64_t now_ns) {
    struct stn_link *link = stn_lane_link(node, lane, NULL);
    struct asking *a = link ? calloc(1, sizeof *a) : NULL;
    if (!a) return link ? STERNA_ENOMEM : STERNA_AGAIN;
    *a = (struct asking){.call = {.ops = &asking_ops}, .node = node, .statement = t};
    int rc = put_prepare(link->conn, &a->call, t->text, now_ns);
    if (rc != STERNA_OK) {
        free(a);
        return rc;
    }
    p->state = PREPARED_ASKED;
    atomic_fetch_add(&node->session->prepares, 1);
    return STERNA_OK;
}

static void park(struct stn_node *node, struct stn_prepared *p, struct stn_query_call *q) {
    q->state = QUERY_PARKED;
    q->node = node;
    stn_calls_append(&p->parked, q);
}

enum stn_readiness stn_statement_ready(struct stn_node *node, struct stn_query_call *q,
                                       uint64_t now_ns) {
    struct stn_prepared *p = stn_prepared_at(node, q->statement);
    if (p && p->state == PREPARED_READY) return STATEMENT_READY;
    int rc = !p                         ? STERNA_ENOMEM
             : p->state == PREPARED_NOT ? ask(node, q->statement, p, q->lane, now_ns)
                                        : STERNA_OK;
    if (rc == STERNA_AGAIN) {
        give_back(node, q);
        return STATEMENT_LATER;
    }
    if (rc < 0) {
        stn_query_finish(q, rc, &(struct stn_query_answer){.why = "out of memory"});
        return STATEMENT_TAKEN;
    }
    park(node, p, q);
    return STATEMENT_TAKEN;
}

int stn_statement_is_ready(struct stn_node *node, struct stn_statement *t, enum stn_lane lane,
                           uint64_t now_ns) {
    struct stn_prepared *p = stn_prepared_at(node, t);
    if (p && p->state == PREPARED_NOT) (void)ask(node, t, p, lane, now_ns); /* or another time */
    return p && p->state == PREPARED_READY;
}

int stn_statement_forgotten(struct stn_node *node, const struct stn_try *t, uint64_t now_ns) {
    struct stn_prepared *p = stn_prepared_at(node, t->query->statement);
    atomic_fetch_add(&node->session->unprepared, 1);
    /* The first of many calls to say so; those that were sent before it was prepared anew are late.
     */
    if (p && p->state == PREPARED_READY && t->call.sent_ns >= p->ready_ns) {
        if (now_ns - p->rounds_ns > ROUNDS_NS) p->rounds = 0;
        if (p->rounds++ == 0) p->rounds_ns = now_ns;
        p->state = PREPARED_NOT;
    }
    return p && p->rounds <= ROUNDS_MAX;
}

void stn_statement_known(struct stn_node *node, const struct stn_try *t) {
    struct stn_prepared *p = &node->prepared[t->query->statement->number];
    if (t->call.sent_ns >= p->ready_ns) p->rounds = 0;
}

void stn_statements_unpark(struct stn_node *node) {
    for (size_t i = 0; i < node->prepared_cap; i++)
        if (node->prepared[i].state == PREPARED_NOT)
            release_parked(node, &node->prepared[i], STERNA_OK, NULL, NULL);
}

/* ---- the first time ---- */

static struct stn_statement *find(struct stn_session *s, const char *text) {
    struct stn_statement *t = s->statements;
    while (t && strcmp(t->text, text) != 0) t = t->next;
    return t;
}

static struct stn_prime **find_ahead(struct stn_session *s, const char *text) {
    struct stn_prime **at = &s->ahead;
    while (*at && strcmp((*at)->statement->text, text) != 0) at = &(*at)->newer;
    return at;
}

/* Adds it to the list, unless it is there. The lock is held. */
static void publish(struct stn_session *s, struct stn_statement **t) {
    if (find(s, (*t)->text)) return;
    (*t)->next = s->statements;
    s->statements = *t;
    *t = NULL;
}

static void free_ahead(struct stn_prime *p) {
    stn_statement_free(&p->statement);
    free(p);
}

static void end_ahead(struct stn_session *s, struct stn_prime *p) {
    *find_ahead(s, p->statement->text) = p->newer;
    if (p->code == STERNA_OK) publish(s, &p->statement);
    free_ahead(p);
}

void stn_statements_drop_ahead(struct stn_session *s) {
    for (struct stn_prime *p = s->ahead, *newer; p; p = newer) {
        newer = p->newer;
        free_ahead(p);
    }
    s->ahead = NULL;
}

static void prime_end(struct stn_prime *p, int code) {
    struct stn_session *s = p->session;
    struct stn_prime **at = &s->primes;
    while (*at != p) at = &(*at)->next;
    *at = p->next;
    pthread_mutex_lock(&s->lock);
    p->code = code;
    p->ended = 1;
    if (p->ahead) end_ahead(s, p);
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->lock);
}

static void prime_done(struct stn_call *call, int code, const struct stn_cql_result_head *head,
                       struct stn_cursor *body, const struct stn_cql_failure *failure,
                       const char *why) {
    struct stn_prime *p = STN_OUTER(call, struct stn_prime, call);
    (void)body;
    if (code == STERNA_EUNREACHABLE) { /* another connection may do */
        stn_session_remember(p->session, why);
        p->sent = 0;
        return;
    }
    if (failure) {
        code = stn_query_code_of(failure);
        stn_fail(p->err, code, "the server refuses %.200s: %.*s", p->statement->text,
                 (int)failure->message.bytes, failure->message.data);
    } else if (code == STERNA_OK) {
        struct stn_prepared *at =
            p->node ? stn_prepared_at(p->node, p->statement) : &(struct stn_prepared){0};
        code = !at     ? STERNA_ENOMEM
               : !head ? STERNA_EPROTO
                       : keep_id(at, head, stn_session_now(p->session));
        if (code == STERNA_OK) code = take_shape(p->statement, head);
        if (code < 0)
            stn_fail(p->err, code, "a wrong answer to PREPARE %.200s", p->statement->text);
    } else {
        stn_fail(p->err, code, "%s", why ? why : "PREPARE failed");
    }
    prime_end(p, code);
}

static const struct stn_call_ops prime_ops = {.done = prime_done};

/* The control connection is there already; else any one. *node is NULL if it goes to none we know.
 */
static struct stn_conn *conn_for_prime(struct stn_session *s, struct stn_node **node) {
    const struct stn_address *address;
    struct stn_conn *control = stn_control_conn(s, &address);
    *node = NULL;
    for (unsigned i = 0; control && i < s->n_nodes; i++)
        if (stn_address_equals(&s->nodes[i]->address, address)) *node = s->nodes[i];
    if (control) return control;
    for (unsigned i = 0; i < s->n_nodes; i++) {
        struct stn_link *link = stn_lane_link(s->nodes[i], STN_LANE_READ, NULL);
        if (link) return *node = s->nodes[i], link->conn;
    }
    return NULL;
}

void stn_primes_send(struct stn_session *s, uint64_t now_ns) {
    for (struct stn_prime *p = s->primes, *next; p; p = next) {
        next = p->next;
        if (p->sent) continue;
        struct stn_conn *conn = conn_for_prime(s, &p->node);
        p->call = (struct stn_call){.ops = &prime_ops};
        if (conn && put_prepare(conn, &p->call, p->statement->text, now_ns) == STERNA_OK) {
            p->sent = 1;
            atomic_fetch_add(&s->prepares, 1);
        } else if (now_ns - p->begun_ns > s->outage_ns) {
            stn_fail(p->err, STERNA_EUNREACHABLE, "no server answers; last: %s", s->last_error);
            prime_end(p, STERNA_EUNREACHABLE);
        }
    }
}

static void prime_begin(struct stn_session *s, struct stn_command *c) {
    struct stn_prime *p = STN_OUTER(c, struct stn_prime, command);
    p->begun_ns = stn_session_now(s);
    p->next = s->primes;
    s->primes = p;
}

static struct stn_statement *make(struct stn_session *s, const char *text) {
    struct stn_statement *t = calloc(1, sizeof *t);
    if (t && (t->text = strdup(text))) return t->number = s->n_statements++, t;
    free(t);
    return NULL;
}

/* To the loop. The lock is held. */
static void hand_over(struct stn_session *s, struct stn_prime *p) {
    *s->commands_end = &p->command;
    s->commands_end = &p->command.next;
    stn_poll_wake(s->poll);
}

/* Hands it over, and waits until a node has answered. The lock is given up meanwhile. */
static int prime(struct stn_session *s, struct stn_statement *t, struct sterna_error *err) {
    struct stn_prime p = {
        .command = {.run = prime_begin}, .statement = t, .session = s, .err = err};
    hand_over(s, &p);
    while (!p.ended) pthread_cond_wait(&s->changed, &s->lock);
    return p.code;
}

void stn_session_prepare_ahead(struct stn_session *s, const char *text) {
    pthread_mutex_lock(&s->lock);
    int known = find(s, text) || *find_ahead(s, text);
    struct stn_prime *p = known ? NULL : calloc(1, sizeof *p);
    struct stn_statement *t = p ? make(s, text) : NULL;
    if (t) {
        *p = (struct stn_prime){.command = {.run = prime_begin},
                                .statement = t,
                                .session = s,
                                .ahead = 1,
                                .newer = s->ahead};
        s->ahead = p;
        hand_over(s, p);
    } else {
        free(p); /* without memory it is asked for later, and told then */
    }
    pthread_mutex_unlock(&s->lock);
}

int stn_session_prepare(struct stn_session *s, const char *text, struct stn_statement **out,
                        struct sterna_error *err) {
    int rc = STERNA_OK;
    pthread_mutex_lock(&s->lock);
    while (*find_ahead(s, text)) pthread_cond_wait(&s->changed, &s->lock);
    *out = find(s, text);
    struct stn_statement *t = *out ? NULL : make(s, text);
    if (!*out) rc = t ? prime(s, t, err) : stn_fail_memory(err, "a statement");
    if (rc == STERNA_OK && t) {
        publish(s, &t); /* or somebody else was as fast */
        *out = find(s, text);
    }
    pthread_mutex_unlock(&s->lock);
    stn_statement_free(&t);
    return rc;
}
