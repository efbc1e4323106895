#include "base/digest.h"

#include <ctype.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <string.h>

#include "sterna/store.h"

struct stn_sha256 {
    EVP_MD_CTX *evp;
    int ok;
};

int stn_sha256_open(struct stn_sha256 **out) {
    struct stn_sha256 *h = calloc(1, sizeof *h);
    *out = h;
    if (!h) return STERNA_ENOMEM;
    h->evp = EVP_MD_CTX_new();
    h->ok = h->evp && EVP_DigestInit_ex(h->evp, EVP_sha256(), NULL);
    if (h->ok) return STERNA_OK;
    EVP_MD_CTX_free(h->evp);
    free(h);
    *out = NULL;
    return STERNA_ENOMEM;
}

void stn_sha256_add(struct stn_sha256 *h, const void *data, size_t bytes) {
    h->ok = h->ok && EVP_DigestUpdate(h->evp, data, bytes);
}

int stn_sha256_close(struct stn_sha256 **h, uint8_t out[32]) {
    if (!*h) return STERNA_OK;
    int ok = (*h)->ok && EVP_DigestFinal_ex((*h)->evp, out, NULL);
    EVP_MD_CTX_free((*h)->evp);
    free(*h);
    *h = NULL;
    return ok ? STERNA_OK : STERNA_EIO;
}

static void stamp(uint8_t id[16], unsigned version) {
    id[6] = (uint8_t)((id[6] & 0x0F) | (version << 4));
    id[8] = (uint8_t)((id[8] & 0x3F) | 0x80);
}

int stn_uuid4(uint8_t out[16], struct sterna_error *err) {
    if (RAND_bytes(out, 16) != 1)
        return stn_fail(err, STERNA_EIO, "no random bytes for a new data set id");
    stamp(out, 4);
    return STERNA_OK;
}

int stn_uuid5(const uint8_t space[16], const void *name, size_t name_bytes, uint8_t out[16]) {
    uint8_t sum[EVP_MAX_MD_SIZE];
    EVP_MD_CTX *evp = EVP_MD_CTX_new();
    int ok = evp && EVP_DigestInit_ex(evp, EVP_sha1(), NULL) && EVP_DigestUpdate(evp, space, 16) &&
             EVP_DigestUpdate(evp, name, name_bytes) && EVP_DigestFinal_ex(evp, sum, NULL);
    EVP_MD_CTX_free(evp);
    if (!ok) return STERNA_ENOMEM;
    memcpy(out, sum, 16);
    stamp(out, 5);
    return STERNA_OK;
}

void stn_digest_warm_up(void) {
    static const uint8_t space[16] = {0};
    uint8_t unused[16];
    (void)stn_uuid5(space, "", 0, unused);
}

void sterna_id_format(const uint8_t id[16], char *text) {
    static const char digits[] = "0123456789abcdef";
    for (int i = 0; i < 16; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10) *text++ = '-';
        *text++ = digits[id[i] >> 4];
        *text++ = digits[id[i] & 15];
    }
    *text = '\0';
}

int sterna_id_parse(const char *text, uint8_t id[16]) {
    for (int i = 0; i < 16; i++) {
        if ((i == 4 || i == 6 || i == 8 || i == 10) && *text++ != '-') return STERNA_EINVAL;
        unsigned byte = 0;
        for (int k = 0; k < 2; k++, text++) {
            if (!isxdigit((unsigned char)*text)) return STERNA_EINVAL;
            unsigned c = (unsigned)tolower((unsigned char)*text);
            byte = byte << 4 | (c <= '9' ? c - '0' : c - 'a' + 10);
        }
        id[i] = (uint8_t)byte;
    }
    return *text ? STERNA_EINVAL : STERNA_OK;
}
