#include "transit.h"

#include <stdlib.h>
#include <sys/mman.h>

#include "packet.h"

enum {
    BLOCK_BYTES = 1 << 20,
    BLOCKS_MIN = 8,
    BLOCKS_MAX = 2048,
    QUEUE_MAX = 1 << 20, /* a power of two */
    LATE_MAX = 1 << 12
};
#define NO_BLOCK UINT32_MAX

static void *map(size_t bytes) {
    void *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return at == MAP_FAILED ? NULL : at;
}

static void unmap(void *at, size_t bytes) {
    if (at) munmap(at, bytes);
}

int wan_transit_init(struct wan_transit *t, uint64_t bytes_max) {
    uint64_t blocks = bytes_max + bytes_max / 8; /* a block's end is seldom used */
    blocks = blocks / BLOCK_BYTES + BLOCKS_MIN;
    *t = (struct wan_transit){.n_blocks = blocks < BLOCKS_MAX ? (uint32_t)blocks : BLOCKS_MAX,
                              .current = NO_BLOCK};
    t->memory = map((size_t)t->n_blocks * BLOCK_BYTES);
    t->queue = map(QUEUE_MAX * sizeof *t->queue);
    t->late = malloc(LATE_MAX * sizeof *t->late);
    t->free_blocks = malloc(t->n_blocks * sizeof *t->free_blocks);
    t->users = calloc(t->n_blocks, sizeof *t->users);
    if (!t->memory || !t->queue || !t->late || !t->free_blocks || !t->users) {
        wan_transit_fini(t);
        return -1;
    }
    madvise(t->memory, (size_t)t->n_blocks * BLOCK_BYTES, MADV_HUGEPAGE);
    for (uint32_t i = t->n_blocks; i > 0; i--) t->free_blocks[t->n_free++] = i - 1;
    return 0;
}

void wan_transit_fini(struct wan_transit *t) {
    unmap(t->memory, (size_t)t->n_blocks * BLOCK_BYTES);
    unmap(t->queue, QUEUE_MAX * sizeof *t->queue);
    free(t->late);
    free(t->free_blocks);
    free(t->users);
    *t = (struct wan_transit){.current = NO_BLOCK};
}

static void leave_block(struct wan_transit *t, uint32_t block) {
    if (--t->users[block] == 0) t->free_blocks[t->n_free++] = block;
}

uint8_t *wan_transit_room(struct wan_transit *t) {
    if (t->tail - t->head == QUEUE_MAX) return NULL;
    if (t->current != NO_BLOCK && t->used + WAN_PACKET_BYTES_MAX > BLOCK_BYTES) {
        leave_block(t, t->current);
        t->current = NO_BLOCK;
    }
    if (t->current == NO_BLOCK) {
        if (t->n_free == 0) return NULL;
        t->current = t->free_blocks[--t->n_free];
        t->users[t->current] = 1;
        t->used = 0;
    }
    return t->memory + (size_t)t->current * BLOCK_BYTES + t->used;
}

/* ---- the late ones ---- */

static void swap(struct wan_packet *a, struct wan_packet *b) {
    struct wan_packet was = *a;
    *a = *b;
    *b = was;
}

static void put_late(struct wan_transit *t, struct wan_packet packet) {
    uint32_t i = t->n_late++;
    for (t->late[i] = packet; i > 0; i = (i - 1) / 2) {
        if (t->late[i].due_ns >= t->late[(i - 1) / 2].due_ns) return;
        swap(&t->late[i], &t->late[(i - 1) / 2]);
    }
}

static struct wan_packet take_late(struct wan_transit *t) {
    struct wan_packet first = t->late[0];
    t->late[0] = t->late[--t->n_late];
    for (uint32_t i = 0, child; (child = 2 * i + 1) < t->n_late; i = child) {
        if (child + 1 < t->n_late && t->late[child + 1].due_ns < t->late[child].due_ns) child++;
        if (t->late[i].due_ns <= t->late[child].due_ns) break;
        swap(&t->late[i], &t->late[child]);
    }
    return first;
}

/* ---- all ---- */

void wan_transit_put(struct wan_transit *t, uint32_t n_bytes, uint64_t due_ns, int late) {
    struct wan_packet packet = {.due_ns = due_ns,
                                .bytes = t->memory + (size_t)t->current * BLOCK_BYTES + t->used,
                                .n_bytes = n_bytes};
    t->users[t->current]++;
    t->used += (n_bytes + 7) & ~UINT32_C(7);
    if (late && t->n_late < LATE_MAX) {
        put_late(t, packet);
        return;
    }
    /* A late one without a place of its own comes in order after all. */
    if (t->tail != t->head) {
        uint64_t last_ns = t->queue[(t->tail - 1) % QUEUE_MAX].due_ns;
        if (packet.due_ns < last_ns || late) packet.due_ns = last_ns;
    }
    t->queue[t->tail++ % QUEUE_MAX] = packet;
}

static int late_is_first(const struct wan_transit *t) {
    if (t->n_late == 0) return 0;
    return t->head == t->tail || t->late[0].due_ns < t->queue[t->head % QUEUE_MAX].due_ns;
}

const struct wan_packet *wan_transit_first(const struct wan_transit *t) {
    if (late_is_first(t)) return &t->late[0];
    return t->head == t->tail ? NULL : &t->queue[t->head % QUEUE_MAX];
}

void wan_transit_take(struct wan_transit *t) {
    struct wan_packet packet = late_is_first(t) ? take_late(t) : t->queue[t->head++ % QUEUE_MAX];
    leave_block(t, (uint32_t)((size_t)(packet.bytes - t->memory) / BLOCK_BYTES));
}
