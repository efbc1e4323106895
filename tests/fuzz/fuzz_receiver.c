/* What a server sends, taken whole, in pieces, with and without dropping in the socket, and given
 * up somewhere. The first 8 bytes say how; what is taken comes from the streams' numbers. */
#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "fuzz/fuzz.h"
#include "support/receiver_model.h"

enum { BODY_MAX = 1 << 17, CONTROL_BYTES = 8 };

static struct model_plan plan_of(uint8_t choice) {
    static const int codes[4] = {STERNA_OK, STERNA_OK, STERNA_EBUDGET, STERNA_EPROTO};
    static const char *const places[4] = {"row", "blob", "message", "end"};
    struct model_plan plan = {.by_stream = 1};
    plan.row_code = codes[choice & 3];
    plan.blob_code = codes[choice >> 2 & 3];
    plan.blob_at = choice >> 4 & 1;
    plan.blob_nowhere = choice >> 5 & 1;
    if (choice & 0x40) plan.forget_in = places[choice >> 4 & 3];
    return plan;
}

/* Given up after `at` bytes: the next thing that is heard is another answer, or the end. */
static void forget(const struct model_plan *plan, const uint8_t *data, size_t size, size_t at) {
    struct model m;
    model_init(&m, plan, BODY_MAX);
    model_feed(&m, data, at, &(struct model_cuts){0});
    if (m.rc == STERNA_OK) {
        int was_open = stn_receiver_stream(&m.receiver) != STN_CQL_STREAM_EVENT;
        size_t heard = m.log_bytes;
        model_forget(&m);
        claim(stn_receiver_stream(&m.receiver) == STN_CQL_STREAM_EVENT);
        claim(m.log_bytes == heard);
        model_feed(&m, data + at, size - at, &(struct model_cuts){.drops = 1});
        const char *next = m.log + heard;
        claim(!was_open || !*next || strncmp(next, "begin", 5) == 0 ||
              strncmp(next, "closed", 6) == 0);
    }
    model_fini(&m);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < CONTROL_BYTES) return 0;
    struct stn_cursor c = stn_cursor(data, CONTROL_BYTES);
    struct model_cuts cuts = {.first = stn_get_u16(&c), .second = stn_get_u16(&c)};
    cuts.step = stn_get_u8(&c);
    uint8_t choice = stn_get_u8(&c);
    cuts.drops = choice >> 7;
    struct model_plan plan = plan_of(choice);
    size_t forget_at = stn_get_u16(&c);
    data += CONTROL_BYTES;
    size -= CONTROL_BYTES;

    struct model m;
    model_init(&m, &plan, BODY_MAX);
    model_feed(&m, data, size, &(struct model_cuts){0});
    claim(m.rc <= 0 && m.seen_bytes <= size);
    claim(m.gathered_peak <= BODY_MAX);
    claim(m.receiver.copied_bytes <= size && m.receiver.surplus_bytes <= (uint64_t)BODY_MAX * size);
    char *parts = model_transcript(&plan, data, size, &cuts, BODY_MAX);
    claim(strcmp(parts, m.log) == 0);
    free(parts);
    model_fini(&m);
    forget(&plan, data, size, STN_MIN(forget_at, size));
    return 0;
}
