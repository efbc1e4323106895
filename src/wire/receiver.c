/* Owns the bytes between the socket and the answers. Each step takes what has come from the window
 * or says that it needs more; want() then asks for it where the state needs it. Nothing is kept of
 * a row's head between two reads: it is small, and read again from its beginning. */
#include "wire/receiver.h"

#include <assert.h>
#include <string.h>

enum state { HEADER, BODY, ROW_HEAD, BLOB_LENGTH, BLOB, DISCARD };

enum {
    WINDOW_BYTES = STN_RECEIVER_WINDOW_BYTES,
    AHEAD_BYTES = 512, /* read beyond a blob: the head of the next row, and few bytes to copy */
    HEAD_PIECE_BYTES = 2048,     /* of a row's head that grows past the window */
    GATHER_BYTES_MIN = 16 << 10, /* first reservation: a header may promise more than will come */
    GATHER_BYTES_KEPT = 256 << 10,
    RESPONSE = 0x80,
    VERSION_MIN = 3 /* since then headers have 9 bytes */
};

void stn_receiver_init(struct stn_receiver *r, const struct stn_receiver_ops *ops, void *ctx,
                       uint32_t body_max) {
    memset(r, 0, offsetof(struct stn_receiver, window));
    r->ops = ops;
    r->ctx = ctx;
    r->body_max = body_max;
    r->copied_bytes = r->surplus_bytes = 0;
}

void stn_receiver_fini(struct stn_receiver *r) {
    free(r->gathered);
    r->gathered = NULL;
    r->gathered_bytes = r->gathered_cap = 0;
}

/* ---- the window and the gathered bytes ---- */

static size_t pending(const struct stn_receiver *r) { return r->to - r->from; }

/* What has come of the frame, at most. */
static size_t pending_of_frame(const struct stn_receiver *r) {
    return STN_MIN(pending(r), (size_t)r->body_left);
}

static void consume(struct stn_receiver *r, size_t bytes) {
    r->from += bytes;
    r->body_left -= (uint32_t)bytes;
}

/* Reserves as bytes come, up to `limit`, which is over gathered_bytes. */
static int reserve(struct stn_receiver *r, size_t limit) {
    if (r->gathered_cap > r->gathered_bytes) return STERNA_OK;
    size_t cap = STN_MIN(limit, STN_MAX(2 * r->gathered_cap, (size_t)GATHER_BYTES_MIN));
    uint8_t *p = realloc(r->gathered, cap);
    if (!p) return STERNA_ENOMEM;
    r->gathered = p;
    r->gathered_cap = cap;
    return STERNA_OK;
}

/* From now on this frame's bytes go to the buffer; those in the window move there. */
static int begin_gathering(struct stn_receiver *r, size_t limit) {
    int rc = reserve(r, limit);
    if (rc < 0) return rc;
    size_t bytes = pending_of_frame(r);
    memcpy(r->gathered, r->window + r->from, bytes);
    r->from += bytes;
    r->gathered_bytes = bytes;
    r->gathers = 1;
    return STERNA_OK;
}

static void end_gathering(struct stn_receiver *r) {
    r->gathers = 0;
    r->gathered_bytes = 0;
    if (r->gathered_cap > GATHER_BYTES_KEPT) stn_receiver_fini(r);
}

/* ---- steps: OK (the state changed), AGAIN (more bytes are needed), or a failure ---- */

static int check_header(const struct stn_receiver *r, const struct stn_cql_header *h) {
    unsigned version = h->version & ~(unsigned)RESPONSE;
    int ours = version == STN_CQL_VERSION;
    /* A server that does not speak our version says so in its own. */
    int foreign_error = h->opcode == STN_CQL_ERROR && version >= VERSION_MIN;
    if (!(h->version & RESPONSE) || !(ours || foreign_error)) return STERNA_EPROTO;
    return h->flags & STN_CQL_COMPRESSED || h->body_bytes > r->body_max ? STERNA_EPROTO : STERNA_OK;
}

static int step_header(struct stn_receiver *r) {
    if (pending(r) < STN_CQL_HEADER_BYTES) return STERNA_AGAIN;
    struct stn_cql_header *h = &r->header;
    stn_cql_header_parse(r->window + r->from, h);
    int rc = check_header(r, h);
    if (rc < 0) return rc;
    r->from += STN_CQL_HEADER_BYTES;
    r->body_left = h->body_bytes;
    r->shape = (struct stn_row_shape){0};
    int take = r->ops->begin(r->ctx, h, &r->shape);
    if (take < 0) return take;
    if (take == STN_TAKE_NOTHING) {
        r->state = DISCARD;
    } else if (take == STN_TAKE_ROW && h->opcode == STN_CQL_RESULT) {
        assert(r->shape.n_small <= STN_ROW_SMALL_MAX && r->shape.n_small + r->shape.n_blobs > 0);
        r->state = ROW_HEAD;
        r->row_open = 1;
        r->row_code = STERNA_OK;
        r->blob = 0;
        if (r->shape.n_blobs) r->reads_blobs = 1;
    } else {
        r->state = BODY;
    }
    return STERNA_OK;
}

/* The state is that of the next frame before the owner is called: it may send, or forget. */
static int deliver(struct stn_receiver *r, const uint8_t *body) {
    struct stn_cursor c = stn_cursor(body, r->header.body_bytes);
    struct stn_cql_header h = r->header;
    struct stn_cql_prelude prelude;
    r->state = HEADER;
    int rc = stn_cql_prelude_parse(&c, h.flags, &prelude);
    return rc < 0 ? rc : r->ops->message(r->ctx, &h, &prelude, c);
}

static int step_body(struct stn_receiver *r) {
    size_t bytes = r->header.body_bytes;
    int rc;
    if (!r->gathers && bytes <= WINDOW_BYTES) {
        if (pending(r) < bytes) return STERNA_AGAIN;
        const uint8_t *body = r->window + r->from;
        consume(r, bytes);
        rc = deliver(r, body);
        return rc < 0 ? rc : STERNA_OK;
    }
    rc = r->gathers ? STERNA_OK : begin_gathering(r, bytes);
    if (rc < 0) return rc;
    if (r->gathered_bytes < bytes) {
        rc = reserve(r, bytes);
        return rc < 0 ? rc : STERNA_AGAIN;
    }
    r->body_left = 0;
    rc = deliver(r, r->gathered);
    if (rc < 0) return rc;
    end_gathering(r);
    return STERNA_OK;
}

/* ---- the head of a row ---- */

struct row_head {
    struct stn_cql_prelude prelude;
    struct stn_cql_value small[STN_ROW_SMALL_MAX];
    uint32_t kind, n_rows;
    size_t bytes; /* of all this */
};

/* Kind, number of columns, metadata that came unasked, number of rows. */
static int parse_result(struct stn_cursor *c, uint32_t n_columns, struct row_head *out) {
    struct stn_cql_metadata m;
    out->kind = stn_get_be32(c);
    if (c->overrun) return STERNA_AGAIN;
    if (out->kind != STN_CQL_ROWS) return STERNA_OK;
    struct stn_cursor ahead = *c;
    (void)stn_get_be32(&ahead); /* flags */
    uint32_t n = stn_get_be32(&ahead);
    if (!ahead.overrun && n != n_columns) return STERNA_EPROTO;
    if (stn_cql_metadata_parse(c, 0, &m) < 0)
        return STERNA_AGAIN; /* or malformed: seen at the end */
    out->n_rows = stn_get_be32(c);
    if (c->overrun) return STERNA_AGAIN;
    return out->n_rows <= 1 ? STERNA_OK : STERNA_EPROTO;
}

/* Small columns, none of which may reach over the body's end. */
static int parse_small(struct stn_cursor *c, const uint8_t *begin, uint32_t body_bytes,
                       uint16_t n_small, struct row_head *out) {
    for (uint16_t i = 0; i < n_small; i++) {
        int32_t bytes = (int32_t)stn_get_be32(c);
        if (c->overrun) return STERNA_AGAIN;
        out->small[i] = stn_value_null();
        if (bytes == STN_CQL_NULL) continue;
        size_t rest = body_bytes - (size_t)(c->at - begin);
        if (bytes < 0 || (size_t)bytes > rest) return STERNA_EPROTO;
        const uint8_t *data = stn_get_bytes(c, (size_t)bytes);
        if (!data) return STERNA_AGAIN;
        out->small[i] = stn_value_of(data, (size_t)bytes);
    }
    return STERNA_OK;
}

/* AGAIN: what has come of the body is too short to say. */
static int parse_row_head(const struct stn_receiver *r, const uint8_t *data, size_t bytes,
                          struct row_head *out) {
    struct stn_cursor c = stn_cursor(data, bytes);
    uint32_t n_columns = (uint32_t)r->shape.n_small + r->shape.n_blobs;
    if (stn_cql_prelude_parse(&c, r->header.flags, &out->prelude) < 0) return STERNA_AGAIN;
    int rc = parse_result(&c, n_columns, out);
    if (rc == STERNA_OK && out->kind == STN_CQL_ROWS && out->n_rows)
        rc = parse_small(&c, data, r->header.body_bytes, r->shape.n_small, out);
    out->bytes = (size_t)(c.at - data);
    return rc;
}

/* The head is through. Bytes gathered beyond it go back to the window, which is empty then, and
 * holds them: each piece was parsed when it came. What the owner is given stays where it is. */
static void leave_head(struct stn_receiver *r, size_t head_bytes) {
    if (!r->gathers) {
        consume(r, head_bytes);
        return;
    }
    size_t beyond = r->gathered_bytes - head_bytes;
    assert(pending(r) == 0 && beyond <= WINDOW_BYTES);
    memcpy(r->window, r->gathered + head_bytes, beyond);
    r->from = 0;
    r->to = beyond;
    r->body_left -= (uint32_t)head_bytes;
    r->gathers = 0;
}

/* What row() or blob() said. */
static int fail_row(struct stn_receiver *r, int code) {
    r->row_code = code;
    r->state = DISCARD;
    if (code != STERNA_EPROTO) return STERNA_OK;
    if (r->row_open) {
        r->row_open = 0;
        (void)r->ops->row_end(r->ctx, code);
    }
    return code;
}

static int next_blob(struct stn_receiver *r) {
    if (r->blob < r->shape.n_blobs) {
        r->state = BLOB_LENGTH;
    } else {
        r->surplus_bytes += r->body_left;
        r->state = DISCARD;
    }
    return STERNA_OK;
}

static int take_row(struct stn_receiver *r, const struct row_head *head) {
    leave_head(r, head->bytes);
    if (head->n_rows == 0) {
        r->row_code = STERNA_ENOTFOUND;
        r->blob = r->shape.n_blobs;
    }
    next_blob(r);
    int rc = head->n_rows ? r->ops->row(r->ctx, &head->prelude, head->small) : STERNA_OK;
    end_gathering(r);
    return rc < 0 ? fail_row(r, rc) : STERNA_OK;
}

static int step_row_head(struct stn_receiver *r) {
    struct row_head head;
    const uint8_t *data = r->gathers ? r->gathered : r->window + r->from;
    size_t bytes = r->gathers ? r->gathered_bytes : pending_of_frame(r);
    int rc = parse_row_head(r, data, bytes, &head);
    if (rc < 0) return rc;
    if (rc == STERNA_OK && head.kind == STN_CQL_ROWS) return take_row(r, &head);
    if (rc == STERNA_OK) {
        r->row_open = 0;
        r->state = BODY;
        return STERNA_OK;
    }
    if (bytes == r->header.body_bytes || bytes >= STN_ROW_SMALL_BYTES_MAX) return STERNA_EPROTO;
    size_t limit = STN_MIN((size_t)r->header.body_bytes, (size_t)STN_ROW_SMALL_BYTES_MAX);
    if (!r->gathers && bytes < WINDOW_BYTES) return STERNA_AGAIN;
    rc = r->gathers ? reserve(r, limit) : begin_gathering(r, limit);
    return rc < 0 ? rc : STERNA_AGAIN;
}

/* ---- blobs ---- */

static int step_blob_length(struct stn_receiver *r) {
    if (r->body_left < 4) return STERNA_EPROTO;
    if (pending(r) < 4) return STERNA_AGAIN;
    struct stn_cursor c = stn_cursor(r->window + r->from, 4);
    int32_t bytes = (int32_t)stn_get_be32(&c);
    consume(r, 4);
    if (bytes == STN_CQL_NULL) {
        r->blob++;
        return next_blob(r);
    }
    if (bytes < 0 || (uint32_t)bytes > r->body_left) return STERNA_EPROTO;
    uint8_t *to = NULL;
    r->state = BLOB;
    r->blob_left = (uint32_t)bytes;
    r->blob_at = NULL;
    int rc = r->ops->blob(r->ctx, r->blob, (uint32_t)bytes, &to);
    if (rc < 0) return fail_row(r, rc);
    if (r->state == BLOB) r->blob_at = to; /* else it was forgotten */
    return STERNA_OK;
}

static int step_blob(struct stn_receiver *r) {
    size_t bytes = STN_MIN(pending(r), (size_t)r->blob_left);
    if (r->blob_at && bytes) {
        memcpy(r->blob_at, r->window + r->from, bytes);
        r->blob_at += bytes;
        r->copied_bytes += bytes;
    }
    consume(r, bytes);
    r->blob_left -= (uint32_t)bytes;
    if (r->blob_left) return STERNA_AGAIN;
    r->blob_at = NULL;
    r->blob++;
    return next_blob(r);
}

static int step_discard(struct stn_receiver *r) {
    consume(r, pending_of_frame(r));
    if (r->body_left) return STERNA_AGAIN;
    r->state = HEADER;
    if (!r->row_open) return STERNA_OK;
    r->row_open = 0;
    int rc = r->ops->row_end(r->ctx, r->row_code);
    return rc < 0 ? rc : STERNA_OK;
}

static int step(struct stn_receiver *r) {
    switch ((enum state)r->state) {
    case HEADER:
        return step_header(r);
    case BODY:
        return step_body(r);
    case ROW_HEAD:
        return step_row_head(r);
    case BLOB_LENGTH:
        return step_blob_length(r);
    case BLOB:
        return step_blob(r);
    case DISCARD:
        return step_discard(r);
    }
    return STERNA_EPROTO;
}

static int run(struct stn_receiver *r) {
    int rc = STERNA_OK;
    while (rc == STERNA_OK) rc = step(r);
    return rc < 0 ? rc : STERNA_OK;
}

/* ---- where bytes go ---- */

/* Room in the window for what is needed and what may be read ahead. */
static struct iovec window_piece(struct stn_receiver *r, size_t need_bytes) {
    size_t ahead = r->reads_blobs ? AHEAD_BYTES : WINDOW_BYTES;
    size_t held = pending(r);
    if (r->from && held) memmove(r->window, r->window + r->from, held);
    r->from = 0;
    r->to = held;
    return (struct iovec){r->window + held, STN_MIN(need_bytes + ahead, WINDOW_BYTES - held)};
}

/* Of a buffer, or of a blob; behind its end the next frame begins in the window. */
static int two_pieces(struct stn_receiver *r, struct iovec to[2], uint8_t *at, size_t bytes,
                      int with_window) {
    r->piece_bytes = bytes;
    to[0] = (struct iovec){at, bytes};
    if (with_window) to[1] = window_piece(r, 0);
    return with_window ? 2 : 1;
}

static int want_gathered(struct stn_receiver *r, struct iovec to[2]) {
    size_t bytes = r->header.body_bytes;
    size_t end = STN_MIN(r->gathered_cap, bytes), left = end - r->gathered_bytes;
    if (r->state == ROW_HEAD) {
        end = STN_MIN(end, (size_t)STN_ROW_SMALL_BYTES_MAX);
        left = STN_MIN(end - r->gathered_bytes, (size_t)HEAD_PIECE_BYTES);
    }
    return two_pieces(r, to, r->gathered + r->gathered_bytes, left,
                      r->state == BODY && end == bytes);
}

/* What of the state is still to come into the window, so far as that is known. */
static size_t needed(const struct stn_receiver *r) {
    switch ((enum state)r->state) {
    case HEADER:
        return STN_CQL_HEADER_BYTES - pending(r);
    case BODY:
        return r->body_left - pending(r);
    case ROW_HEAD:
        return pending(r); /* twice as much each time: most heads are small */
    case BLOB:
        return r->blob_left;
    case DISCARD:
        return r->body_left;
    default:
        return 4;
    }
}

int stn_receiver_want(struct stn_receiver *r, struct iovec to[2], size_t *drop_bytes) {
    *drop_bytes = 0;
    r->piece_bytes = 0;
    if (r->state == BLOB && r->blob_at) return two_pieces(r, to, r->blob_at, r->blob_left, 1);
    if (r->gathers) return want_gathered(r, to);
    if (r->state == BLOB || r->state == DISCARD) *drop_bytes = needed(r);
    to[0] = window_piece(r, needed(r));
    return 1;
}

int stn_receiver_took(struct stn_receiver *r, size_t bytes) {
    size_t piece = STN_MIN(bytes, r->piece_bytes);
    r->piece_bytes = 0;
    if (r->gathers) {
        r->gathered_bytes += piece;
    } else {
        r->body_left -= (uint32_t)piece;
        if (r->state == BLOB && piece) {
            r->blob_at += piece;
            r->blob_left -= (uint32_t)piece;
        }
    }
    assert(bytes - piece <= WINDOW_BYTES - r->to);
    r->to += bytes - piece;
    return run(r);
}

int stn_receiver_dropped(struct stn_receiver *r, size_t bytes) {
    assert((r->state == BLOB || r->state == DISCARD) && bytes <= needed(r) && pending(r) == 0);
    r->body_left -= (uint32_t)bytes;
    if (r->state == BLOB) r->blob_left -= (uint32_t)bytes;
    return run(r);
}

/* ---- giving up ---- */

void stn_receiver_forget(struct stn_receiver *r) {
    r->row_open = 0;
    if (r->state == HEADER) return;
    if (r->gathers) {
        r->body_left -= (uint32_t)r->gathered_bytes;
        end_gathering(r);
    }
    r->blob_at = NULL;
    r->state = DISCARD;
    consume(r, pending_of_frame(r)); /* what the socket is to drop comes after these */
}

int16_t stn_receiver_stream(const struct stn_receiver *r) {
    int wanted = r->state != HEADER && (r->state != DISCARD || r->row_open);
    return wanted ? r->header.stream : STN_CQL_STREAM_EVENT;
}
