/* Where the password comes from. It is looked for anew at each connection, as it may have been
 * changed meanwhile; no copy stays here, and no message has it. */
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "cassandra/cassandra.h"

#define FILE_BYTES_MAX ((size_t)64 << 10) /* its first line counts; what follows may be notes */

/* Copies `bytes` of text; EREFUSED for none and for too many. */
static int keep(const char *text, size_t bytes, const char *from, char *buf, size_t cap,
                struct sterna_error *err) {
    if (bytes == 0) return stn_fail(err, STERNA_EREFUSED, "the password in %s is empty", from);
    if (bytes >= cap)
        return stn_fail(err, STERNA_EREFUSED, "the password in %s has %zu bytes; it can have %zu",
                        from, bytes, cap - 1);
    if (memchr(text, 0, bytes))
        return stn_fail(err, STERNA_EREFUSED, "the password in %s has a zero byte in it", from);
    memcpy(buf, text, bytes);
    buf[bytes] = 0;
    return STERNA_OK;
}

static int from_file(const char *path, char *buf, size_t cap, struct sterna_error *err) {
    struct sterna_error why = {0};
    char shown[200];
    void *data = NULL;
    size_t bytes = 0;
    int rc = stn_file_read(path, FILE_BYTES_MAX, &data, &bytes, &why);
    if (rc == STERNA_ENOMEM) return stn_fail_memory(err, "the password file");
    if (rc < 0) return stn_fail(err, STERNA_EREFUSED, "password_file: %s", why.message);
    const char *text = data, *end = bytes ? memchr(text, '\n', bytes) : NULL;
    size_t n = end ? (size_t)(end - text) : bytes;
    if (n > 0 && text[n - 1] == '\r') n--;
    rc = keep(text, n, stn_printable(path, shown, sizeof shown), buf, cap, err);
    if (bytes) explicit_bzero(data, bytes);
    free(data);
    return rc;
}

int stn_secret_password(void *secret, char *buf, size_t cap, struct sterna_error *err) {
    const struct stn_secret *s = secret;
    const struct stn_location *l = s->location;
    int rc = STERNA_EREFUSED;
    if (cap > 0) buf[0] = 0;
    if (l->password_file) return from_file(l->password_file, buf, cap, err);
    const char *set = getenv("STERNA_PASSWORD");
    if (set) return keep(set, strlen(set), "STERNA_PASSWORD", buf, cap, err);
    if (s->ask)
        rc = s->ask(s->ask_ctx, l->user ? l->user : "", l->n_hosts ? l->hosts[0].name : "", buf,
                    cap, err);
    if (rc == STERNA_OK) return rc;
    return stn_fail(err, rc, /* unless it has said more */
                    "give it by password_file=FILE in the store's URL, by STERNA_PASSWORD in the "
                    "environment, or run the command on a terminal, where it asks");
}
