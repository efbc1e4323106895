#include "fake/session.h"

#include <sched.h>
#include <stdio.h>
#include <string.h>

#include "support/check.h"

#define AHEAD_BYTES ((uint64_t)64 << 20)

struct stn_statement {
    char *text;
    enum { SELECT, INSERT, DELETE } verb;
    char table[72];
    struct stn_statement_column params[80], columns[80];
    size_t n_params, n_columns;
    uint64_t n_tries;
    struct stn_statement *next;
};

#define N_BUCKETS 4096

struct stn_session {
    struct fake *fake;
    pthread_t thread;
    pthread_mutex_t turn; /* held while a call runs */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct stn_query_call *first, **end;
    size_t n;
    int paused, stop, running;
    struct stn_statement *statements;
    uint64_t waiting_bytes, waiting_bytes_max;
    struct stn_turn_hook *hooks;
    struct fake_row *rows[N_BUCKETS]; /* the loop thread's, or an idle session's owner's */
};

/* ---- statements ---- */

static uint16_t type_of(const char *name) {
    size_t n = strlen(name);
    if (strcmp(name, "id") == 0) return STN_CQL_UUID;
    if (strcmp(name, "n") == 0) return STN_CQL_SMALLINT;
    if (strcmp(name, "field") == 0) return STN_CQL_VARCHAR;
    if (strcmp(name, "label") == 0 || strcmp(name, "crc") == 0) return STN_CQL_INT;
    if (strcmp(name, "mask_bytes") == 0) return STN_CQL_INT; /* both will do */
    if (n > 6 && strcmp(name + n - 6, "_bytes") == 0) return STN_CQL_BIGINT;
    if (n > 4 && strcmp(name + n - 4, "_crc") == 0) return STN_CQL_INT;
    return STN_CQL_BLOB;
}

/* The next word: without quotes and commas; parentheses are words of their own. */
static int next_word(const char **at, char word[72]) {
    size_t n = 0;
    while (**at == ' ' || **at == ',' || **at == '(' || **at == ')') ++*at;
    if (!**at) return 0;
    for (; **at && !strchr(" ,()", **at); ++*at)
        if (**at != '"' && n < 71) word[n++] = **at;
    word[n] = 0;
    return 1;
}

static void add_column(struct stn_statement_column *list, size_t *n, const char *name) {
    snprintf(list[*n].name, sizeof list[*n].name, "%s", name);
    list[*n].type = type_of(name);
    ++*n;
}

static void parse_where(struct stn_statement *s, const char *at) {
    char word[72];
    while (next_word(&at, word))
        if (strcmp(word, "AND") != 0 && strcmp(word, "=") != 0 && strcmp(word, "?") != 0)
            add_column(s->params, &s->n_params, word);
}

static void parse(struct stn_statement *s) {
    const char *at = s->text;
    char word[72];
    assert_true(next_word(&at, word));
    s->verb = strcmp(word, "SELECT") == 0 ? SELECT : strcmp(word, "INSERT") == 0 ? INSERT : DELETE;
    if (s->verb == INSERT) {
        next_word(&at, word); /* INTO */
        assert_true(next_word(&at, s->table));
        while (next_word(&at, word) && strcmp(word, "VALUES") != 0)
            add_column(s->params, &s->n_params, word);
        return;
    }
    while (next_word(&at, word) && strcmp(word, "FROM") != 0)
        add_column(s->columns, &s->n_columns, word);
    assert_true(next_word(&at, s->table));
    assert_true(next_word(&at, word)); /* WHERE */
    parse_where(s, at);
}

int stn_session_prepare(struct stn_session *session, const char *text, struct stn_statement **out,
                        struct sterna_error *err) {
    (void)err;
    pthread_mutex_lock(&session->lock);
    struct stn_statement *s = session->statements;
    while (s && strcmp(s->text, text) != 0) s = s->next;
    if (!s) {
        s = stn_array(1, sizeof *s);
        s->text = strdup(text);
        parse(s);
        s->next = session->statements;
        session->statements = s;
    }
    pthread_mutex_unlock(&session->lock);
    *out = s;
    return STERNA_OK;
}

void stn_statement_info(const struct stn_statement *s, struct stn_statement_info *out) {
    *out = (struct stn_statement_info){s->params, s->columns, s->n_params, s->n_columns, 1};
}

/* ---- tables ---- */

static struct fake_row **bucket_of(struct stn_session *session, const void *key, size_t bytes) {
    return &session->rows[stn_crc32c(0, key, bytes) % N_BUCKETS];
}

struct fake_row *fake_find(struct fake *f, const char *table, const void *key, size_t bytes) {
    struct fake_row *row = *bucket_of(f->session, key, bytes);
    while (row && (strcmp(row->table, table) != 0 || row->key_bytes != bytes ||
                   memcmp(row->key, key, bytes) != 0))
        row = row->next;
    return row;
}

const struct fake_cell *fake_cell(struct fake_row *row, const char *column) {
    for (size_t i = 0; i < row->n_cells; i++) {
        const struct fake_cell *cell = &row->cells[i];
        int shadowed = row->deleted && cell->timestamp_us <= row->deleted_us;
        if (strcmp(cell->column, column) == 0) return cell->bytes >= 0 && !shadowed ? cell : NULL;
    }
    return NULL;
}

static int has_any(struct fake_row *row) {
    if (!row->deleted) return 1;
    for (size_t i = 0; i < row->n_cells; i++)
        if (fake_cell(row, row->cells[i].column)) return 1;
    return 0;
}

static int is_key(const char *column) {
    return strcmp(column, "id") == 0 || strcmp(column, "field") == 0 || strcmp(column, "n") == 0;
}

static size_t key_of(const struct stn_query_call *q, const struct stn_statement *s, uint8_t *key) {
    size_t bytes = 0;
    for (size_t i = 0; i < q->n_values; i++) {
        if (!is_key(s->params[i].name)) continue;
        memcpy(key + bytes, q->values[i].data, (size_t)q->values[i].bytes);
        bytes += (size_t)q->values[i].bytes;
    }
    return bytes;
}

/* The later one wins; of two at once the null. */
static void set_cell(struct fake_row *row, const char *column, struct stn_cql_value v, int64_t at) {
    struct fake_cell *cell = row->cells;
    while (cell < row->cells + row->n_cells && strcmp(cell->column, column) != 0) cell++;
    if (cell == row->cells + row->n_cells) {
        assert_true(row->n_cells < STN_COUNT(row->cells));
        row->n_cells++;
        snprintf(cell->column, sizeof cell->column, "%s", column);
        cell->timestamp_us = INT64_MIN;
    }
    if (at < cell->timestamp_us || (at == cell->timestamp_us && v.bytes >= 0)) return;
    free(cell->data);
    cell->data = v.bytes > 0 ? malloc((size_t)v.bytes) : NULL;
    if (v.bytes > 0) memcpy(cell->data, v.data, (size_t)v.bytes);
    cell->bytes = v.bytes;
    cell->timestamp_us = at;
}

static void write_row(struct stn_session *session, const struct stn_query_call *q,
                      const struct stn_statement *s) {
    uint8_t key[128];
    size_t bytes = key_of(q, s, key);
    struct fake_row *row = fake_find(session->fake, s->table, key, bytes);
    assert_int_equal(q->n_values, s->n_params);
    assert_true(q->is_write && q->timestamp_us > 0);
    if (!row) {
        row = stn_array(1, sizeof *row);
        snprintf(row->table, sizeof row->table, "%s", s->table);
        memcpy(row->key, key, bytes);
        row->key_bytes = bytes;
        struct fake_row **bucket = bucket_of(session, key, bytes);
        row->next = *bucket;
        *bucket = row;
    }
    for (size_t i = 0; s->verb == INSERT && i < q->n_values; i++)
        if (!is_key(s->params[i].name) && q->values[i].bytes != STN_CQL_UNSET)
            set_cell(row, s->params[i].name, q->values[i], q->timestamp_us);
    if (s->verb == INSERT) return;
    for (size_t i = 0; i < s->n_columns; i++)
        set_cell(row, s->columns[i].name, stn_value_null(), q->timestamp_us);
    if (s->n_columns > 0) return;
    row->deleted_us = row->deleted ? STN_MAX(row->deleted_us, q->timestamp_us) : q->timestamp_us;
    row->deleted = 1;
}

/* ---- answers ---- */

static void put_value(struct fake_answer *a, size_t i, const void *data, int32_t bytes) {
    a->memory[i] = bytes >= 0 ? malloc((size_t)bytes + 1) : NULL;
    if (bytes > 0) memcpy(a->memory[i], data, (size_t)bytes);
    a->values[i] = (struct stn_cql_value){a->memory[i], bytes};
}

static void read_row(struct stn_session *session, struct fake_answer *a,
                     const struct stn_statement *s) {
    uint8_t key[128];
    size_t bytes = key_of(a->call, s, key);
    struct fake_row *row = fake_find(session->fake, s->table, key, bytes);
    a->n_values = s->n_columns;
    a->found = row && has_any(row);
    for (size_t i = 0; i < s->n_columns; i++) {
        const char *name = s->columns[i].name;
        const struct fake_cell *cell = a->found && !is_key(name) ? fake_cell(row, name) : NULL;
        a->values[i] = stn_value_null();
        if (cell) put_value(a, i, cell->data, cell->bytes);
        for (size_t k = 0; k < a->call->n_values && is_key(name); k++)
            if (strcmp(s->params[k].name, name) == 0)
                put_value(a, i, a->call->values[k].data, a->call->values[k].bytes);
    }
}

static void free_answer(struct fake_answer *a) {
    for (size_t i = 0; i < STN_COUNT(a->memory); i++) free(a->memory[i]);
}

static int give_row(struct stn_query_call *q, const struct fake_answer *a) {
    if (!a->found) return STERNA_ENOTFOUND;
    int rc = q->ops->row(q, a->values);
    assert_int_equal(q->shape.n_small + q->shape.n_blobs, a->n_values);
    for (uint32_t i = 0; rc == STERNA_OK && i < q->shape.n_blobs; i++) {
        struct stn_cql_value v = a->values[q->shape.n_small + i];
        uint8_t *to = NULL;
        if (v.bytes < 0) continue;
        rc = q->ops->blob(q, i, (uint32_t)v.bytes, &to);
        size_t bytes = a->broken_bytes ? a->broken_bytes : (size_t)v.bytes;
        if (rc == STERNA_OK && to && bytes > 0) memcpy(to, v.data, bytes);
        if (a->broken_bytes) return STERNA_EUNREACHABLE;
    }
    return rc;
}

static void give_gathered(struct stn_query_call *q, const struct fake_answer *a) {
    uint8_t body[8192];
    struct stn_writer w = {.to = body, .cap = sizeof body};
    struct stn_cql_result_head head = {.kind = STN_CQL_VOID};
    if (a->n_values > 0) {
        head.kind = STN_CQL_ROWS;
        head.n_rows = a->found ? 1 : 0;
        head.rows.n_columns = (uint32_t)a->n_values;
        for (size_t i = 0; a->found && i < a->n_values; i++) stn_put_value(&w, a->values[i]);
    }
    struct stn_query_answer answer = {.head = &head, .values = stn_cursor(body, w.used)};
    q->ops->done(q, a->code, &answer);
}

/* One try. 1: it is done. */
static int try(struct stn_session *session, struct stn_query_call *q, unsigned tries) {
    struct stn_statement *s = q->statement;
    pthread_mutex_lock(&session->lock);
    struct fake_answer a = {.text = s->text, .call = q, .number = ++s->n_tries};
    pthread_mutex_unlock(&session->lock);
    if (s->verb == SELECT) read_row(session, &a, s);
    if (session->fake->edit) session->fake->edit(session->fake, &a);
    int over = 1, code = a.code;
    if (code == STERNA_OK && s->verb != SELECT) write_row(session, q, s);
    if (code == STERNA_OK && !q->ops->row) {
        give_gathered(q, &a);
    } else {
        if (code == STERNA_OK) code = give_row(q, &a);
        over = code != STERNA_EUNREACHABLE && (code != STERNA_EPROTO || tries == 6);
        over |= a.code < 0;
        struct stn_query_answer answer = {.why = a.why, .failure = a.failure};
        if (over) q->ops->done(q, code, &answer);
    }
    free_answer(&a);
    return over;
}

/* Who wants to run again does so at once, if no other call comes first. */
static void run_hooks(struct stn_session *s) {
    pthread_mutex_lock(&s->lock);
    int idle = s->paused || !s->first;
    pthread_mutex_unlock(&s->lock);
    for (struct stn_turn_hook *hook = s->hooks; hook; hook = hook->next)
        while (hook->run(hook->ctx) != UINT64_MAX && idle) sched_yield();
}

static void *run(void *arg) {
    struct stn_session *s = arg;
    for (;;) {
        pthread_mutex_lock(&s->lock);
        s->running = 0;
        pthread_cond_broadcast(&s->changed);
        while (!s->stop && (s->paused || !s->first)) pthread_cond_wait(&s->changed, &s->lock);
        int stop = s->stop;
        pthread_mutex_unlock(&s->lock);
        if (stop) return NULL;
        pthread_mutex_lock(&s->turn);
        pthread_mutex_lock(&s->lock);
        struct stn_query_call *q = s->paused ? NULL : s->first;
        if (q) {
            s->first = q->next;
            if (!s->first) s->end = &s->first;
            s->n--;
            s->waiting_bytes -= q->weight_bytes;
            s->running = 1;
        }
        pthread_mutex_unlock(&s->lock);
        for (unsigned tries = 1; q && !try(s, q, tries); tries++) {}
        run_hooks(s);
        pthread_mutex_unlock(&s->turn);
    }
}

/* ---- what stands in for the session ---- */

void stn_session_submit(struct stn_session *s, struct stn_query_call *const *calls, size_t n) {
    pthread_mutex_lock(&s->lock);
    for (size_t i = 0; i < n; i++) {
        calls[i]->next = NULL;
        *s->end = calls[i];
        s->end = &calls[i]->next;
        s->waiting_bytes += calls[i]->weight_bytes;
    }
    s->waiting_bytes_max = STN_MAX(s->waiting_bytes_max, s->waiting_bytes);
    s->n += n;
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->lock);
}

/* Answers come one by one here: each is a turn. */
void stn_session_add_hook(struct stn_session *s, struct stn_turn_hook *hook) {
    pthread_mutex_lock(&s->turn);
    hook->next = s->hooks;
    s->hooks = hook;
    pthread_mutex_unlock(&s->turn);
}

void stn_session_remove_hook(struct stn_session *s, struct stn_turn_hook *hook) {
    pthread_mutex_lock(&s->turn);
    struct stn_turn_hook **at = &s->hooks;
    while (*at && *at != hook) at = &(*at)->next;
    if (*at) *at = hook->next;
    pthread_mutex_unlock(&s->turn);
}

void stn_session_abandon(struct stn_session *s, const void *group) {
    pthread_mutex_lock(&s->turn);
    pthread_mutex_lock(&s->lock);
    for (struct stn_query_call **at = &s->first; *at;) {
        if ((*at)->group != group) {
            at = &(*at)->next;
            continue;
        }
        s->waiting_bytes -= (*at)->weight_bytes;
        *at = (*at)->next;
        s->n--;
    }
    s->end = &s->first;
    while (*s->end) s->end = &(*s->end)->next;
    pthread_mutex_unlock(&s->lock);
    pthread_mutex_unlock(&s->turn);
}

void fake_open(struct fake *f) {
    struct stn_session *s = stn_array(1, sizeof *s);
    *f = (struct fake){.session = s};
    s->fake = f;
    s->end = &s->first;
    pthread_mutex_init(&s->turn, NULL);
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->changed, NULL);
    assert_int_equal(pthread_create(&s->thread, NULL, run, s), 0);
}

static void free_rows(struct fake_row *first) {
    for (struct fake_row *row = first, *next; row; row = next) {
        next = row->next;
        for (size_t i = 0; i < row->n_cells; i++) free(row->cells[i].data);
        free(row);
    }
}

void fake_close(struct fake *f) {
    struct stn_session *s = f->session;
    pthread_mutex_lock(&s->lock);
    assert_int_equal(s->n, 0); /* all were done, or abandoned */
    s->stop = 1;
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->lock);
    pthread_join(s->thread, NULL);
    for (size_t i = 0; i < N_BUCKETS; i++) free_rows(s->rows[i]);
    for (struct stn_statement *t = s->statements, *next; t; t = next) {
        next = t->next;
        free(t->text);
        free(t);
    }
    pthread_cond_destroy(&s->changed);
    pthread_mutex_destroy(&s->lock);
    pthread_mutex_destroy(&s->turn);
    free(s);
    f->session = NULL;
}

void fake_pause(struct fake *f, int paused) {
    struct stn_session *s = f->session;
    pthread_mutex_lock(&s->turn);
    pthread_mutex_lock(&s->lock);
    s->paused = paused;
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->lock);
    pthread_mutex_unlock(&s->turn);
}

void fake_wait_idle(struct fake *f) {
    struct stn_session *s = f->session;
    pthread_mutex_lock(&s->lock);
    while (s->n > 0 || s->running) pthread_cond_wait(&s->changed, &s->lock);
    pthread_mutex_unlock(&s->lock);
}

size_t fake_waiting(struct fake *f) {
    pthread_mutex_lock(&f->session->lock);
    size_t n = f->session->n;
    pthread_mutex_unlock(&f->session->lock);
    return n;
}

uint64_t fake_waiting_bytes_max(struct fake *f) {
    pthread_mutex_lock(&f->session->lock);
    uint64_t bytes = f->session->waiting_bytes_max;
    pthread_mutex_unlock(&f->session->lock);
    return bytes;
}

uint64_t fake_count(struct fake *f, const char *text) {
    uint64_t n = 0;
    pthread_mutex_lock(&f->session->lock);
    for (struct stn_statement *s = f->session->statements; s; s = s->next)
        if (strncmp(s->text, text, strlen(text)) == 0) n += s->n_tries;
    pthread_mutex_unlock(&f->session->lock);
    return n;
}

/* ---- a data set ---- */

void fake_dataset(struct fake *f, struct stn_cassandra *c, uint32_t n_fields) {
    *c = (struct stn_cassandra){.session = f->session,
                                .data_table = "t_data",
                                .chunk_table = "t_chunk",
                                .id_column = "id",
                                .n_fields = n_fields};
    c->location.read_consistency = STN_CQL_LOCAL_ONE;
    c->location.write_consistency = STN_CQL_LOCAL_QUORUM;
    pthread_mutex_init(&c->lock, NULL);
    for (uint32_t i = 0; i < n_fields; i++) {
        struct stn_cassandra_field *field = &c->fields[i];
        char name[16];
        snprintf(name, sizeof name, "f%u", i);
        field->number = (uint8_t)(3 * i);
        snprintf(field->name, sizeof field->name, "%s", i == 0 ? "image" : i == 1 ? "mask" : name);
        snprintf(field->column, sizeof field->column, "%s", field->name);
        snprintf(field->bytes_column, sizeof field->bytes_column, "%s_bytes", field->name);
        snprintf(field->crc_column, sizeof field->crc_column, "%s_crc", field->name);
    }
}

int stn_cassandra_field(struct stn_cassandra *c, uint8_t number, struct stn_cassandra_field *out) {
    for (size_t i = 0; i < c->n_fields; i++)
        if (c->fields[i].number == number) return *out = c->fields[i], 1;
    return 0;
}

void stn_session_ahead(struct stn_session *s, uint64_t *ahead_bytes, uint64_t *slack_bytes) {
    (void)s;
    *ahead_bytes = AHEAD_BYTES;
    *slack_bytes = 0;
}

void stn_session_path(struct stn_session *s, struct sterna_path *out) {
    (void)s;
    *out = (struct sterna_path){.phase = STERNA_PATH_STEADY};
}
