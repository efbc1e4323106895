/* Certificates for tests of TLS, made anew: PEM files in a directory of the test.
 *
 *   ca.pem            the authority              other_ca.pem   another one
 *   server.pem/.key   for localhost, 127.0.0.1, 127.0.0.2, by ca
 *   expired.pem       the same, but it was valid until yesterday
 *   early.pem         the same, but it is valid from tomorrow on
 *   other_name.pem    for elsewhere.example, 10.1.2.3
 *   client.pem/.key   by ca                      foreign.pem    a client's, by other_ca
 * Each NAME.pem has NAME.key. client_locked.key is client.key under a passphrase. */
#ifndef TEST_CERTIFICATES_H
#define TEST_CERTIFICATES_H

#include <openssl/ssl.h>

void certificates_make(const char *dir);

/* A server that shows `name`.pem. min, max: TLS1_2_VERSION ..., 0: any. wants_client: a certificate
 * by ca.pem, or it refuses. Ends the program if it cannot be made. */
SSL_CTX *certificates_server(const char *dir, const char *name, int min, int max, int wants_client);

#endif
