/* How DLPack's structs lie in memory (version 1, and the form before it, which has none). Names and
 * layout are theirs, as any two libraries that exchange tensors must agree on them. */
#ifndef STN_DLPACK_ABI_H
#define STN_DLPACK_ABI_H

#include <stdint.h>

struct stn_dlpack_tensor {
    void *data; /* NULL: no entries */
    int32_t device_type, device_id;
    int32_t ndim;
    uint8_t code, bits;
    uint16_t lanes;
    int64_t *shape, *strides; /* strides in entries */
    uint64_t byte_offset;
};

struct DLManagedTensor {
    struct stn_dlpack_tensor dl_tensor;
    void *manager_ctx;
    void (*deleter)(struct DLManagedTensor *self);
};

enum { DLPACK_READ_ONLY = 1, DLPACK_IS_COPIED = 2 };

struct DLManagedTensorVersioned {
    uint32_t major, minor;
    void *manager_ctx;
    void (*deleter)(struct DLManagedTensorVersioned *self);
    uint64_t flags;
    struct stn_dlpack_tensor dl_tensor;
};

#endif
