/* Hashes and UUIDs (RFC 9562), over OpenSSL. */
#ifndef STN_DIGEST_H
#define STN_DIGEST_H

#include <stddef.h>
#include <stdint.h>

#include "base/base.h"

struct stn_sha256; /* incremental SHA-256 */
int stn_sha256_open(struct stn_sha256 **out);
void stn_sha256_add(struct stn_sha256 *h, const void *data, size_t bytes);
/* Ends and frees it; out[32]. STERNA_EIO if the library failed at any step. */
int stn_sha256_close(struct stn_sha256 **h, uint8_t out[32]);

/* OpenSSL reads its configuration at the first use, which takes milliseconds. */
void stn_digest_warm_up(void);

/* Random (version 4), and name-based (version 5: SHA-1 of space, then name). */
int stn_uuid4(uint8_t out[16], struct sterna_error *err);
int stn_uuid5(const uint8_t space[16], const void *name, size_t name_bytes, uint8_t out[16]);

#endif
