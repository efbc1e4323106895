/* Memory as a DLPack tensor (https://dmlc.github.io/dlpack), which frameworks take without a copy.
 *
 * DLPack's structs are only named here: `dlpack/dlpack.h`, where a caller has it, may be included
 * before or after. */
#ifndef STERNA_DLPACK_H
#define STERNA_DLPACK_H

#include "sterna/batch.h"

#ifdef __cplusplus
extern "C" {
#endif

struct DLManagedTensor;          /* what all consumers take */
struct DLManagedTensorVersioned; /* DLPack 1.0: what newer ones may ask for */

enum sterna_dlpack_code { /* DLPack's type codes */
                          STERNA_DLPACK_INT = 0,
                          STERNA_DLPACK_UINT = 1,
                          STERNA_DLPACK_FLOAT = 2,
                          STERNA_DLPACK_BFLOAT = 4,
                          STERNA_DLPACK_BOOL = 6
};

#define STERNA_DLPACK_CPU 1 /* DLPack's number of the device, which is always this one */
#define STERNA_DLPACK_NDIM_MAX 32

struct sterna_dlpack_tensor { /* zeros first */
    void *data;               /* of the first entry */
    enum sterna_dlpack_code code;
    unsigned bits; /* of an entry: 8, 16, 32, 64 */
    int ndim;
    const int64_t *shape; /* ndim sizes; entries lie in C order, without gaps; copied */
    int readonly;         /* the consumer must not write; only versioned can say so */
    int copied;           /* nobody else has this memory; only versioned says so */
    /* Who keeps the memory: the batch is retained; or release(ctx), which may be NULL, is called
     * once. Either when the consumer is done with the tensor, on any thread, also after the loader
     * was closed. */
    sterna_batch *batch;
    void (*release)(void *ctx);
    void *ctx;
};

/* *out is the consumer's, who calls its deleter. EINVAL, ENOMEM: nothing was retained then, nor is
 * release called. Read-only memory is EINVAL in the older form. Any thread. */
STERNA_API int sterna_dlpack_export(const struct sterna_dlpack_tensor *t,
                                    struct DLManagedTensor **out, struct sterna_error *err);
STERNA_API int sterna_dlpack_export_versioned(const struct sterna_dlpack_tensor *t,
                                              struct DLManagedTensorVersioned **out,
                                              struct sterna_error *err);

#ifdef __cplusplus
}
#endif
#endif
