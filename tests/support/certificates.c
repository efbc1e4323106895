#include "support/certificates.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>

#include "support/temporary.h"

enum { DAY_S = 24 * 3600 };

struct identity {
    X509 *certificate;
    EVP_PKEY *key;
};

static void must(int ok, const char *what) {
    if (ok) return;
    fprintf(stderr, "certificates: %s\n", what);
    ERR_print_errors_fp(stderr);
    abort();
}

static void add_extension(X509 *to, X509 *issuer, int nid, const char *value) {
    X509V3_CTX ctx;
    X509V3_set_ctx(&ctx, issuer, to, NULL, NULL, 0);
    X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
    must(e && X509_add_ext(to, e, -1), value);
    X509_EXTENSION_free(e);
}

static void set_name(X509 *certificate, const char *name) {
    X509_NAME *subject = X509_get_subject_name(certificate);
    must(X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC, (const unsigned char *)name, -1,
                                    -1, 0),
         name);
}

/* by: NULL, an authority of its own. names: subjectAltName. Valid for [from, to) days from now. */
static struct identity make(const char *name, const struct identity *by, const char *names,
                            long from, long to) {
    static long serial;
    struct identity id = {.certificate = X509_new(), .key = EVP_EC_gen("P-256")};
    const struct identity *issuer = by ? by : &id;
    must(id.certificate && id.key, name);
    X509_set_version(id.certificate, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(id.certificate), ++serial);
    X509_gmtime_adj(X509_getm_notBefore(id.certificate), from * DAY_S);
    X509_gmtime_adj(X509_getm_notAfter(id.certificate), to * DAY_S);
    X509_set_pubkey(id.certificate, id.key);
    set_name(id.certificate, name);
    X509_set_issuer_name(id.certificate, X509_get_subject_name(issuer->certificate));
    if (!by)
        add_extension(id.certificate, id.certificate, NID_basic_constraints, "critical,CA:TRUE");
    if (names) add_extension(id.certificate, issuer->certificate, NID_subject_alt_name, names);
    must(X509_sign(id.certificate, issuer->key, EVP_sha256()), name);
    return id;
}

static FILE *file(const char *dir, const char *name, const char *ending) {
    char whole[64];
    snprintf(whole, sizeof whole, "%s.%s", name, ending);
    FILE *f = fopen(test_path(dir, whole), "w");
    must(f != NULL, whole);
    return f;
}

static void save(const char *dir, const char *name, const struct identity *id) {
    FILE *f = file(dir, name, "pem");
    must(PEM_write_X509(f, id->certificate), name);
    fclose(f);
    f = file(dir, name, "key");
    must(PEM_write_PrivateKey(f, id->key, NULL, NULL, 0, NULL, NULL), name);
    fclose(f);
}

static void forget(struct identity *id) {
    X509_free(id->certificate);
    EVP_PKEY_free(id->key);
}

void certificates_make(const char *dir) {
    static const char here[] = "DNS:localhost,IP:127.0.0.1,IP:127.0.0.2";
    struct identity ca = make("test authority", NULL, NULL, -2, 2);
    struct identity other = make("other authority", NULL, NULL, -2, 2);
    const struct {
        const char *name, *names;
        const struct identity *by;
        long from, to;
    } rows[] = {
        {"server", here, &ca, -1, 1},
        {"expired", here, &ca, -2, -1},
        {"early", here, &ca, 1, 2},
        {"other_name", "DNS:elsewhere.example,IP:10.1.2.3", &ca, -1, 1},
        {"client", NULL, &ca, -1, 1},
        {"foreign", NULL, &other, -1, 1},
    };
    save(dir, "ca", &ca);
    save(dir, "other_ca", &other);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct identity id =
            make(rows[i].name, rows[i].by, rows[i].names, rows[i].from, rows[i].to);
        save(dir, rows[i].name, &id);
        if (rows[i].by == &ca && !rows[i].names) {
            FILE *f = file(dir, "client_locked", "key");
            must(PEM_write_PrivateKey(f, id.key, EVP_aes_128_cbc(), NULL, 0, NULL, "open it"),
                 "client_locked.key");
            fclose(f);
        }
        forget(&id);
    }
    forget(&ca);
    forget(&other);
}

SSL_CTX *certificates_server(const char *dir, const char *name, int min, int max,
                             int wants_client) {
    char pem[64], key[64];
    snprintf(pem, sizeof pem, "%s.pem", name);
    snprintf(key, sizeof key, "%s.key", name);
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
    must(ctx != NULL, "server");
    SSL_CTX_set_security_level(ctx, 0); /* so that TLS 1.1 can be offered at all */
    SSL_CTX_set_min_proto_version(ctx, min);
    SSL_CTX_set_max_proto_version(ctx, max);
    must(SSL_CTX_use_certificate_file(ctx, test_path(dir, pem), SSL_FILETYPE_PEM), pem);
    must(SSL_CTX_use_PrivateKey_file(ctx, test_path(dir, key), SSL_FILETYPE_PEM), key);
    if (wants_client) {
        must(SSL_CTX_load_verify_file(ctx, test_path(dir, "ca.pem")), "ca.pem");
        SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    }
    return ctx;
}
