#include "cassandra/ask.h"

#include <string.h>
#include <time.h>

#include "base/digest.h"

#define PAGE_ROWS 1000

static int prepare(struct stn_cassandra *c, enum stn_ask_how how, const char *text,
                   struct stn_query_call *q, struct sterna_error *err) {
    *q = (struct stn_query_call){.text = text,
                                 .lane = STN_LANE_READ,
                                 .consistency = STN_CQL_LOCAL_QUORUM,
                                 .page_size = PAGE_ROWS};
    if (!text) return stn_fail_memory(err, "a statement");
    if (how == STN_ASK_SERIAL) q->consistency = STN_CQL_LOCAL_SERIAL;
    if (how == STN_ASK_IF) {
        q->serial_consistency = STN_CQL_LOCAL_SERIAL;
        q->lane = STN_LANE_WRITE;
        q->is_write = 1;
        q->page_size = 0;
    }
    if (how == STN_ASK_STATEMENT || how == STN_ASK_READ) return STERNA_OK;
    return stn_session_prepare(c->session, text, &q->statement, err);
}

int stn_ask_all(struct stn_cassandra *c, enum stn_ask_how how, char *text,
                const struct stn_cql_value *values, size_t n_values,
                int (*each)(void *ctx, const struct stn_rows *rows), void *ctx,
                struct sterna_error *err) {
    struct stn_query_call q;
    struct stn_rows rows = {0}, next;
    int rc = prepare(c, how, text, &q, err);
    q.values = values;
    q.n_values = n_values;
    while (rc == STERNA_OK) {
        rc = stn_session_query(c->session, &q, &next, err);
        stn_rows_free(&rows); /* held the paging state until now */
        if (rc < 0) break;
        rows = next;
        rc = each(ctx, &rows);
        if (!rows.paging_state.data) break;
        q.paging_state = rows.paging_state;
    }
    stn_rows_free(&rows);
    free(text);
    return rc;
}

int stn_ask(struct stn_cassandra *c, enum stn_ask_how how, char *text,
            const struct stn_cql_value *values, size_t n_values, struct stn_rows *rows,
            struct sterna_error *err) {
    struct stn_query_call q;
    struct stn_rows unused;
    if (!rows) rows = &unused;
    *rows = (struct stn_rows){0};
    int rc = prepare(c, how, text, &q, err);
    q.values = values;
    q.n_values = n_values;
    if (rc == STERNA_OK) rc = stn_session_query(c->session, &q, rows, err);
    if (rows == &unused) stn_rows_free(rows);
    free(text);
    return rc;
}

void stn_ask_ahead(struct stn_cassandra *c, struct stn_asked *asked, char *text,
                   int32_t page_rows) {
    *asked = (struct stn_asked){.text = text};
    if (prepare(c, STN_ASK_READ, text, &asked->question.call, NULL) < 0) return;
    asked->question.call.page_size = page_rows;
    stn_session_ask(c->session, &asked->question);
}

int stn_ask_answer(struct stn_asked *asked, struct stn_rows *rows, struct sterna_error *err) {
    int rc = stn_session_answer(&asked->question, rows, err);
    free(asked->text);
    asked->text = NULL;
    return rc;
}

void stn_ask_drop(struct stn_asked *asked) {
    stn_session_drop(&asked->question);
    free(asked->text);
    asked->text = NULL;
}

int stn_ask_applied(const struct stn_rows *rows) { /* the first column, `[applied]` */
    return rows->n_rows == 1 && rows->n_columns >= 1 && rows->values[0].bytes == 1 &&
           rows->values[0].data[0] != 0;
}

void stn_ask_pause(unsigned attempt) {
    uint8_t random[16] = {0};
    stn_uuid4(random, NULL);
    uint64_t limit_ms = UINT64_C(10) << STN_MIN(attempt, 6U);
    uint64_t ms = limit_ms / 2 + random[0] * limit_ms / 256;
    const struct timespec pause = {.tv_sec = (time_t)(ms / 1000),
                                   .tv_nsec = (long)(ms % 1000 * STN_NS_PER_MS)};
    nanosleep(&pause, NULL);
}
