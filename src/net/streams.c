#include "net/streams.h"

enum { STREAMS_AT_FIRST = 128 };

void stn_streams_init(struct stn_streams *s) { *s = (struct stn_streams){.free = -1}; }

void stn_streams_fini(struct stn_streams *s) {
    free(s->all);
    stn_streams_init(s);
}

static void put_free(struct stn_streams *s, size_t stream) {
    s->all[stream] = (struct stn_stream){.next_free = s->free};
    s->free = (int32_t)stream;
}

static int grow(struct stn_streams *s) {
    if (s->n >= STN_CQL_STREAMS_MAX) return STERNA_AGAIN;
    size_t n = s->n ? STN_MIN(s->n * 2, STN_CQL_STREAMS_MAX) : STREAMS_AT_FIRST;
    struct stn_stream *all = realloc(s->all, n * sizeof *all);
    if (!all) return STERNA_ENOMEM;
    s->all = all;
    size_t first = STN_MAX(s->n, STN_STREAM_FIRST);
    for (size_t i = s->n; i < first; i++) s->all[i] = (struct stn_stream){.next_free = -1};
    s->n = n;
    for (size_t i = n; i-- > first;) put_free(s, i);
    return STERNA_OK;
}

static void link_newest(struct stn_streams *s, struct stn_call *call) {
    call->older = s->newest;
    call->newer = NULL;
    if (s->newest) s->newest->newer = call;
    if (!s->oldest) s->oldest = call;
    s->newest = call;
}

static void unlink_call(struct stn_streams *s, struct stn_call *call) {
    if (call->older) call->older->newer = call->newer;
    if (call->newer) call->newer->older = call->older;
    if (s->oldest == call) s->oldest = call->newer;
    if (s->newest == call) s->newest = call->older;
    call->older = call->newer = NULL;
    call->conn = NULL;
    s->calls--;
}

int stn_streams_take(struct stn_streams *s, struct stn_call *call, uint64_t now_ns) {
    if (s->free < 0) {
        int rc = grow(s);
        if (rc != STERNA_OK) return rc;
    }
    int32_t stream = s->free;
    s->free = s->all[stream].next_free;
    s->all[stream] = (struct stn_stream){
        .state = STN_STREAM_CALL, .call = call, .answer_bytes = call->answer_bytes};
    call->stream = (int16_t)stream;
    call->sent_ns = now_ns;
    link_newest(s, call);
    s->calls++;
    s->outstanding_bytes += call->answer_bytes;
    return STERNA_OK;
}

int stn_streams_state(const struct stn_streams *s, int16_t stream) {
    return stream >= 0 && (size_t)stream < s->n ? (int)s->all[stream].state : STN_STREAM_FREE;
}

struct stn_call *stn_streams_call(const struct stn_streams *s, int16_t stream) {
    return stn_streams_state(s, stream) == STN_STREAM_CALL ? s->all[stream].call : NULL;
}

void stn_streams_release(struct stn_streams *s, int16_t stream) {
    struct stn_stream *at = &s->all[stream];
    if (at->state == STN_STREAM_CALL) unlink_call(s, at->call);
    if (at->state == STN_STREAM_ORPHAN) s->orphans--;
    s->outstanding_bytes -= at->answer_bytes;
    put_free(s, (size_t)stream);
}

void stn_streams_orphan(struct stn_streams *s, struct stn_call *call, uint64_t now_ns) {
    struct stn_stream *at = &s->all[call->stream];
    unlink_call(s, call);
    at->state = STN_STREAM_ORPHAN;
    at->call = NULL;
    at->sent_ns = call->sent_ns;
    at->orphan_ns = now_ns;
    s->orphans++;
}

/* Asked only while there are too many, so a list of them would not pay. */
uint64_t stn_streams_oldest_orphan_ns(const struct stn_streams *s) {
    uint64_t oldest_ns = UINT64_MAX;
    for (size_t i = 0; i < s->n; i++)
        if (s->all[i].state == STN_STREAM_ORPHAN)
            oldest_ns = STN_MIN(oldest_ns, s->all[i].orphan_ns);
    return oldest_ns;
}
