/* Tensors for other frameworks. What they hold is let go in plain C, whichever thread they do it
 * on. */
#include "sterna/dlpack.h"

#include <string.h>

#include "base/base.h"
#include "batch/dlpack_abi.h"

struct exported {
    union {
        struct DLManagedTensor plain;
        struct DLManagedTensorVersioned versioned;
    } managed;
    sterna_batch *batch;
    void (*release)(void *ctx);
    void *ctx;
    int64_t sizes[]; /* shape, then strides: never NULL, which not all consumers understand */
};

static void let_go(struct exported *e) {
    sterna_batch_release(&e->batch);
    if (e->release) e->release(e->ctx);
    free(e);
}

static void delete_plain(struct DLManagedTensor *self) { let_go(self->manager_ctx); }
static void delete_versioned(struct DLManagedTensorVersioned *self) { let_go(self->manager_ctx); }

/* Shape and strides into sizes[2 * ndim]. A size of 0 counts as 1 in strides, as everywhere. */
static int lay_out(const struct sterna_dlpack_tensor *t, int64_t *sizes, int *is_empty) {
    int64_t n = 1;
    *is_empty = 0;
    for (int i = t->ndim; i-- > 0;) {
        sizes[i] = t->shape[i];
        sizes[t->ndim + i] = n;
        *is_empty |= t->shape[i] == 0;
        if (t->shape[i] < 0 || __builtin_mul_overflow(n, STN_MAX(t->shape[i], 1), &n))
            return STERNA_EINVAL;
    }
    return STERNA_OK;
}

static int check(const struct sterna_dlpack_tensor *t, int versioned, struct sterna_error *err) {
    if (t->ndim < 0 || t->ndim > STERNA_DLPACK_NDIM_MAX || (t->ndim > 0 && !t->shape))
        return stn_fail(err, STERNA_EINVAL, "a tensor has 0 to %d dimensions, not %d",
                        STERNA_DLPACK_NDIM_MAX, t->ndim);
    if (t->bits == 0 || t->bits > UINT8_MAX || (unsigned)t->code > UINT8_MAX)
        return stn_fail(err, STERNA_EINVAL, "a tensor's type: code %u, %u bits", (unsigned)t->code,
                        t->bits);
    if (t->batch && t->release)
        return stn_fail(err, STERNA_EINVAL,
                        "a tensor is kept by a batch or by `release`, not both");
    if (t->readonly && !versioned)
        return stn_fail(err, STERNA_EINVAL,
                        "read-only memory cannot be told in this form of DLPack: export it "
                        "versioned, or a copy");
    return STERNA_OK;
}

static int export(const struct sterna_dlpack_tensor *t, int versioned, struct exported **out,
                  struct sterna_error *err) {
    int is_empty;
    *out = NULL;
    stn_error_clear(err);
    int rc = check(t, versioned, err);
    if (rc < 0) return rc;
    struct exported *e = malloc(sizeof *e + 2 * (size_t)t->ndim * sizeof *e->sizes);
    if (!e) return stn_fail_memory(err, "a tensor");
    if (lay_out(t, e->sizes, &is_empty) < 0) {
        free(e);
        return stn_fail(err, STERNA_EINVAL, "a tensor's size is negative, or too large");
    }
    e->batch = t->batch ? sterna_batch_retain(t->batch) : NULL;
    e->release = t->release;
    e->ctx = t->ctx;
    /* An empty tensor has no address, says DLPack. But torch 1.13 never calls the deleter of such
     * a one: in the older form, which is what it takes, there is some address. */
    void *nowhere = versioned ? NULL : e;
    const struct stn_dlpack_tensor tensor = {.data = is_empty ? nowhere : t->data,
                                             .device_type = STERNA_DLPACK_CPU,
                                             .ndim = t->ndim,
                                             .code = (uint8_t)t->code,
                                             .bits = (uint8_t)t->bits,
                                             .lanes = 1,
                                             .shape = e->sizes,
                                             .strides = e->sizes + t->ndim};
    uint64_t flags = (t->readonly ? DLPACK_READ_ONLY : 0) | (t->copied ? DLPACK_IS_COPIED : 0);
    if (versioned)
        e->managed.versioned = (struct DLManagedTensorVersioned){.major = 1,
                                                                 .manager_ctx = e,
                                                                 .deleter = delete_versioned,
                                                                 .flags = flags,
                                                                 .dl_tensor = tensor};
    else
        e->managed.plain = (struct DLManagedTensor){tensor, e, delete_plain};
    *out = e;
    return STERNA_OK;
}

int sterna_dlpack_export(const struct sterna_dlpack_tensor *t, struct DLManagedTensor **out,
                         struct sterna_error *err) {
    struct exported *e;
    int rc = export(t, 0, &e, err);
    *out = e ? &e->managed.plain : NULL;
    return rc;
}

int sterna_dlpack_export_versioned(const struct sterna_dlpack_tensor *t,
                                   struct DLManagedTensorVersioned **out,
                                   struct sterna_error *err) {
    struct exported *e;
    int rc = export(t, 1, &e, err);
    *out = e ? &e->managed.versioned : NULL;
    return rc;
}
