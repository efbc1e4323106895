#include "support/receiver_model.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

__attribute__((format(printf, 2, 3))) static void note(struct model *m, const char *format, ...) {
    char line[256];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(line, sizeof line, format, args);
    va_end(args);
    if (n < 0 || (size_t)n >= sizeof line) abort();
    if (stn_grow((void **)&m->log, &m->log_cap, m->log_bytes + (size_t)n + 1, 1) < 0) abort();
    memcpy(m->log + m->log_bytes, line, (size_t)n + 1);
    m->log_bytes += (size_t)n;
}

static void note_prelude(struct model *m, const struct stn_cql_prelude *p) {
    note(m, " warnings %u \"%.*s\" tablets %d", p->n_warnings, (int)STN_MIN(p->warning.bytes, 64u),
         p->warning.bytes ? p->warning.data : "", p->tablets.bytes);
    if (p->tablets.data) note(m, ":%08x", stn_crc32c(0, p->tablets.data, (size_t)p->tablets.bytes));
}

/* The blob is whole: the owner would publish it now. */
static void close_slot(struct model *m) {
    if (m->slot_is_open && m->slot) note(m, "landed %08x\n", stn_crc32c(0, m->slot, m->slot_bytes));
    free(m->slot);
    m->slot = NULL;
    m->slot_is_open = 0;
}

static void forget_in(struct model *m, const char *where) {
    if (m->plan.forget_in && strcmp(m->plan.forget_in, where) == 0) model_forget(m);
}

static int on_begin(void *ctx, const struct stn_cql_header *h, struct stn_row_shape *shape) {
    struct model *m = ctx;
    note(m, "begin %d opcode %u flags %u bytes %u\n", h->stream, h->opcode, h->flags,
         h->body_bytes);
    *shape = m->plan.shape;
    if (!m->plan.by_stream) return m->plan.take;
    unsigned stream = (uint16_t)h->stream;
    *shape = (struct stn_row_shape){(uint16_t)(stream / 4 % 8), (uint16_t)(1 + stream / 32 % 4)};
    if (stream % 4 == 0) return STN_TAKE_MESSAGE;
    return stream % 4 == 3 ? STN_TAKE_NOTHING : STN_TAKE_ROW;
}

static int on_message(void *ctx, const struct stn_cql_header *h,
                      const struct stn_cql_prelude *prelude, struct stn_cursor body) {
    struct model *m = ctx;
    note(m, "message %d bytes %zu:%08x", h->stream, body.left, stn_crc32c(0, body.at, body.left));
    note_prelude(m, prelude);
    note(m, "\n");
    forget_in(m, "message");
    return m->plan.message_code;
}

static int on_row(void *ctx, const struct stn_cql_prelude *prelude,
                  const struct stn_cql_value *small) {
    struct model *m = ctx;
    struct stn_row_shape shape = m->receiver.shape;
    note(m, "row");
    note_prelude(m, prelude);
    for (unsigned i = 0; i < shape.n_small; i++) {
        note(m, " %d", small[i].bytes);
        if (small[i].data) note(m, ":%08x", stn_crc32c(0, small[i].data, (size_t)small[i].bytes));
    }
    note(m, "\n");
    forget_in(m, "row");
    return m->plan.row_code;
}

static int on_blob(void *ctx, uint32_t i, uint32_t bytes, uint8_t **to) {
    struct model *m = ctx;
    close_slot(m);
    note(m, "blob %u bytes %u\n", i, bytes);
    m->n_blobs++;
    if (m->plan.blob_code && i == m->plan.blob_at) return m->plan.blob_code;
    if (bytes > m->receiver.body_max) abort();
    m->slot_is_open = 1;
    m->slot_bytes = bytes;
    if (i + 1 != m->plan.blob_nowhere && !(m->slot = malloc(bytes ? bytes : 1))) abort();
    *to = m->slot;
    forget_in(m, "blob");
    return STERNA_OK;
}

static int on_row_end(void *ctx, int code) {
    struct model *m = ctx;
    if (code < 0) m->slot_is_open = 0; /* nothing of it is to be seen */
    close_slot(m);
    note(m, "end %d\n", code);
    m->n_ends++;
    forget_in(m, "end");
    return m->plan.end_code;
}

static const struct stn_receiver_ops ops = {on_begin, on_message, on_row, on_blob, on_row_end};

void model_init(struct model *m, const struct model_plan *plan, uint32_t body_max) {
    memset(m, 0, sizeof *m);
    m->plan = *plan;
    stn_receiver_init(&m->receiver, &ops, m, body_max);
    note(m, "%s", "");
}

void model_fini(struct model *m) {
    free(m->slot);
    free(m->log);
    stn_receiver_fini(&m->receiver);
    stn_receiver_fini(&m->receiver);
    m->slot = NULL;
    m->log = NULL;
}

void model_forget(struct model *m) {
    stn_receiver_forget(&m->receiver);
    m->slot_is_open = 0;
    close_slot(m);
}

/* One read: what is there, into where it is wanted. */
static size_t read_some(struct model *m, const uint8_t *data, size_t bytes, int drops) {
    struct iovec to[2];
    size_t drop_bytes, used = 0;
    int n = stn_receiver_want(&m->receiver, to, &drop_bytes);
    m->n_reads++;
    if (n < 1 || n > 2) abort();
    if (drop_bytes && drops) {
        used = STN_MIN(drop_bytes, bytes);
        m->dropped_bytes += used;
        m->rc = stn_receiver_dropped(&m->receiver, used);
    } else {
        for (int i = 0; i < n && used < bytes; i++) {
            size_t part = STN_MIN(to[i].iov_len, bytes - used);
            memcpy(to[i].iov_base, data + used, part);
            used += part;
        }
        m->rc = stn_receiver_took(&m->receiver, used);
    }
    m->gathered_peak = STN_MAX(m->gathered_peak, m->receiver.gathered_cap);
    if (bytes && !used) abort(); /* it would never end */
    return used;
}

static void feed_piece(struct model *m, const uint8_t *data, size_t bytes,
                       const struct model_cuts *cuts) {
    while (bytes && m->rc >= 0) {
        size_t most = cuts->step ? STN_MIN(cuts->step, bytes) : bytes;
        size_t used = read_some(m, data, most, cuts->drops);
        data += used;
        bytes -= used;
        m->seen_bytes += used;
    }
}

void model_feed(struct model *m, const uint8_t *data, size_t bytes, const struct model_cuts *cuts) {
    size_t first = cuts->first && cuts->first < bytes ? cuts->first : bytes;
    size_t left = bytes - first;
    size_t second = cuts->second && cuts->second < left ? cuts->second : left;
    feed_piece(m, data, first, cuts);
    feed_piece(m, data + first, second, cuts);
    feed_piece(m, data + first + second, left - second, cuts);
    if (m->rc < 0) note(m, "closed %d\n", m->rc);
}

char *model_transcript(const struct model_plan *plan, const uint8_t *data, size_t bytes,
                       const struct model_cuts *cuts, uint32_t body_max) {
    struct model m;
    model_init(&m, plan, body_max);
    model_feed(&m, data, bytes, cuts);
    char *log = m.log;
    m.log = NULL;
    model_fini(&m);
    return log;
}
