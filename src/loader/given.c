/* Memory that the consumer gives: a batch's run comes to lie in it instead of in the pool's. Each
 * buffer is for one batch, in the order given, and is given back when nothing can write to it and
 * nobody reads it any more. */
#include <unistd.h>

#include "loader/loader.h"

static int check(const sterna_loader *l, const void *data, uint64_t bytes,
                 struct sterna_error *err) {
    if (l->pid != getpid())
        return stn_fail(err, STERNA_EFORKED, "this loader was opened before a fork: open it again");
    if (!data || (uintptr_t)data % STN_ALIGN != 0 || bytes == 0)
        return stn_fail(err, STERNA_EINVAL,
                        "a buffer of %llu bytes at %p: it must start at a multiple of %d",
                        (unsigned long long)bytes, data, STN_ALIGN);
    if (!stn_loader_is_strict(l) || !l->lengths_known)
        return stn_fail(err, STERNA_EINVAL,
                        "%s: batches have no run that could lie in a buffer; copy them into it",
                        l->lengths_known ? "in arrival order" : "lengths are not known before");
    return STERNA_OK;
}

int sterna_loader_give_buffer(sterna_loader *l, void *data, uint64_t bytes,
                              void (*release)(void *ctx), void *ctx, struct sterna_error *err) {
    stn_error_clear(err);
    int rc = check(l, data, bytes, err);
    if (rc < 0) return rc;
    struct stn_block *block = stn_block_around(data, bytes, release, ctx);
    if (!block) return stn_fail_memory(err, "a buffer");
    pthread_mutex_lock(&l->lock);
    *l->given_end = block;
    l->given_end = &block->next;
    l->stats.buffers_given++;
    pthread_mutex_unlock(&l->lock);
    if (atomic_load(&l->wants_room)) stn_waker_wake(&l->waker);
    return STERNA_OK;
}

static struct stn_block *take(sterna_loader *l) {
    struct stn_block *block = l->given;
    if (!block) return NULL;
    l->given = block->next;
    if (!l->given) l->given_end = &l->given;
    block->next = NULL;
    return block;
}

struct stn_block *stn_loader_take_given(sterna_loader *l, uint64_t bytes) {
    struct stn_block *block = take(l);
    if (!block) return NULL;
    if (block->bytes >= bytes) {
        l->stats.buffers_used++;
    } else {
        l->stats.buffers_short++;
        stn_block_release(&block);
    }
    return block;
}

void stn_loader_return_given(sterna_loader *l) {
    for (struct stn_block *block; (block = take(l));) stn_block_release(&block);
}
