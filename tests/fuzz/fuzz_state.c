/* States: decoded, encoded again, asked, merged; as they come, and with a checksum that is right,
 * so that the numbers behind it are reached. */
#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "base/bytes.h"
#include "fuzz/fuzz.h"
#include "request/state.h"
#include "sterna/state.h"

static void merge(const struct stn_state *s) {
    struct stn_state out, pair[2] = {*s, *s};
    if (stn_state_merge(&out, s, 1, NULL) == STERNA_OK) {
        claim(out.world_size == 1 && out.base <= out.n);
        size_t bytes = stn_state_encode(&out, NULL, 0);
        uint8_t *buf = malloc(bytes);
        struct stn_state again;
        if (!buf) abort();
        stn_state_encode(&out, buf, bytes);
        claim(stn_state_decode(&again, buf, bytes, NULL) == STERNA_OK);
        stn_state_fini(&again);
        free(buf);
    }
    stn_state_fini(&out);
    if ((s->rank ^ 1) < s->world_size) pair[1].rank = s->rank ^ 1;
    (void)stn_state_merge(&out, pair, 2, NULL);
    stn_state_fini(&out);
}

/* To an earlier step, and back to the very bytes: unless it is the epoch's end, where a state may
 * say anything of its rows. */
static void step(const struct sterna_state_info *info, const uint8_t *bytes, size_t n) {
    uint8_t *there = malloc(n), *back = malloc(n);
    uint64_t steps = info->step - info->base_step;
    size_t size;
    if (!there || !back) abort();
    int rc = sterna_state_at_step(bytes, n, info->base_step + steps / 2, there, n, &size, NULL);
    claim(rc == STERNA_OK || rc == STERNA_EINVAL);
    if (rc == STERNA_OK && !info->finished && info->step >= info->base_step) {
        claim(size == n);
        claim(sterna_state_at_step(there, n, info->step, back, n, &size, NULL) == STERNA_OK);
        claim(size == n && memcmp(back, bytes, n) == 0);
    }
    free(there);
    free(back);
}

static void decode(const uint8_t *data, size_t size) {
    struct stn_state s;
    struct sterna_state_info info;
    struct sterna_error err = {0};
    int rc = stn_state_decode(&s, data, size, &err);
    claim(rc == STERNA_OK || (err.code == rc && err.message[0]));
    claim(sterna_state_info(data, size, &info, NULL) == rc);
    if (rc < 0) return;
    size_t bytes = stn_state_encode(&s, NULL, 0);
    uint8_t *buf = malloc(bytes);
    if (!buf) abort();
    stn_state_encode(&s, buf, bytes);
    struct stn_state again;
    claim(stn_state_decode(&again, buf, bytes, NULL) == STERNA_OK);
    claim(again.n == s.n && again.step == s.step && again.holes.n_set == s.holes.n_set &&
          memcmp(&again.delivered, &s.delivered, sizeof s.delivered) == 0);
    stn_state_fini(&again);
    step(&info, buf, bytes);
    free(buf);
    merge(&s);
    stn_state_fini(&s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    decode(data, size);
    if (size < 4) return 0;
    uint8_t *fixed = malloc(size);
    if (!fixed) abort();
    memcpy(fixed, data, size);
    struct stn_writer w = {fixed + size - 4, 4, 0};
    stn_put_u32(&w, stn_crc32c(0, data, size - 4));
    decode(fixed, size);
    free(fixed);
    return 0;
}
