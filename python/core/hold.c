/* Who keeps the memory of arrays alive. Knows nothing of Python: what it holds is released on any
 * thread, without the GIL, and after the interpreter is gone. */
#include <stdatomic.h>
#include <stdlib.h>

#include "core.h"

struct core_memory {
    atomic_uint refs;
    char data[] __attribute__((aligned(CORE_ALIGN)));
};

struct core_hold core_hold_memory(size_t bytes, void **at) {
    struct core_hold hold = {CORE_HOLDS_NOTHING};
    if (bytes > SIZE_MAX / 2) return hold;
    size_t whole =
        (sizeof(struct core_memory) + bytes + CORE_ALIGN - 1) & ~(size_t)(CORE_ALIGN - 1);
    struct core_memory *memory = aligned_alloc(CORE_ALIGN, whole);
    if (!memory) return hold;
    atomic_init(&memory->refs, 1);
    *at = memory->data;
    hold.kind = CORE_HOLDS_MEMORY;
    hold.what.memory = memory;
    return hold;
}

struct core_hold core_hold_batch(sterna_batch *taken) {
    return (struct core_hold){.kind = CORE_HOLDS_BATCH, .what.batch = taken};
}

struct core_hold core_hold_selection(sterna_selection *taken) {
    return (struct core_hold){.kind = CORE_HOLDS_SELECTION, .what.selection = taken};
}

struct core_hold core_hold_retain(const struct core_hold *hold) {
    switch (hold->kind) {
    case CORE_HOLDS_MEMORY:
        atomic_fetch_add_explicit(&hold->what.memory->refs, 1, memory_order_relaxed);
        break;
    case CORE_HOLDS_BATCH:
        sterna_batch_retain(hold->what.batch);
        break;
    case CORE_HOLDS_SELECTION:
        sterna_selection_retain(hold->what.selection);
        break;
    case CORE_HOLDS_NOTHING:
        break;
    }
    return *hold;
}

static void release_memory(void *p) {
    struct core_memory *memory = p;
    if (atomic_fetch_sub_explicit(&memory->refs, 1, memory_order_acq_rel) == 1) free(memory);
}

void core_hold_release(struct core_hold *hold) {
    struct core_hold was = *hold;
    hold->kind = CORE_HOLDS_NOTHING;
    switch (was.kind) {
    case CORE_HOLDS_MEMORY:
        release_memory(was.what.memory);
        break;
    case CORE_HOLDS_BATCH:
        sterna_batch_release(&was.what.batch);
        break;
    case CORE_HOLDS_SELECTION:
        sterna_selection_close(&was.what.selection);
        break;
    case CORE_HOLDS_NOTHING:
        break;
    }
}

static void close_selection(void *p) {
    sterna_selection *s = p;
    sterna_selection_close(&s);
}

struct core_hold core_hold_lend(const struct core_hold *hold, struct sterna_dlpack_tensor *tensor) {
    struct core_hold kept = {CORE_HOLDS_NOTHING};
    switch (hold->kind) {
    case CORE_HOLDS_MEMORY:
        kept = core_hold_retain(hold);
        tensor->release = release_memory;
        tensor->ctx = hold->what.memory;
        break;
    case CORE_HOLDS_BATCH: /* which the tensor itself retains */
        tensor->batch = hold->what.batch;
        break;
    case CORE_HOLDS_SELECTION:
        kept = core_hold_retain(hold);
        tensor->release = close_selection;
        tensor->ctx = hold->what.selection;
        break;
    case CORE_HOLDS_NOTHING:
        break;
    }
    return kept;
}
