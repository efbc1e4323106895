/* A store: where the bytes and the catalogue of one data set live. */
#ifndef STERNA_STORE_H
#define STERNA_STORE_H

#include <stddef.h>
#include <stdint.h>

#include "sterna/error.h"

#ifdef __cplusplus
extern "C" {
#endif

#define STERNA_ID_BYTES 16      /* a sample id or data set id: a UUID, big-endian */
#define STERNA_ID_TEXT_BYTES 37 /* its text, 8-4-4-4-12 lower case, with the final NUL */

typedef struct sterna_store sterna_store; /* thread-safe; not usable in a forked child */

enum sterna_kind { /* what a field holds */
                   STERNA_KIND_BYTES = 0,
                   STERNA_KIND_IMAGE = 1,
                   STERNA_KIND_MASK = 2,
                   STERNA_KIND_TEXT = 3,
                   STERNA_KIND_JSON = 4,
                   STERNA_KIND_NPY = 5
};

enum sterna_open_mode {
    STERNA_OPEN_READ = 0,  /* never writes; works in a directory the user cannot write */
    STERNA_OPEN_WRITE = 1, /* must exist */
    STERNA_OPEN_CREATE = 2 /* made if it does not exist */
};

struct sterna_store_options {
    size_t struct_size; /* sizeof(struct sterna_store_options) */
    enum sterna_open_mode mode;
    const uint8_t *dataset_id; /* STERNA_ID_BYTES for a new store, or NULL: a random one */
    /* Of a cluster's keyspace that STERNA_OPEN_CREATE makes: "dc1=3,dc2=2" for each data centre, or
     * a number for SimpleStrategy. NULL: the keyspace must exist. EINVAL for a directory. */
    const char *replication;
    /* Asks for the password of `user` at `host`: writes it into buf[cap], NUL-terminated, and
     * returns OK, or another code. Asked only when neither password_file in the URL nor the
     * environment's STERNA_PASSWORD gives one; at each new connection, on any thread, as long as
     * the store or what was opened from it is. May be NULL. */
    int (*password)(void *ctx, const char *user, const char *host, char *buf, size_t cap);
    void *password_ctx;
};

struct sterna_store_info {
    uint32_t format_version;
    uint8_t dataset_id[STERNA_ID_BYTES];
    uint64_t n_samples;
    uint64_t n_bytes;  /* of all values, without headers */
    uint64_t last_run; /* newest committed run; 0: nothing ingested yet */
    uint32_t n_fields, n_columns, n_classes;
    int read_only; /* this user cannot write it */
};

struct sterna_field {
    const char *name; /* owned by the store */
    enum sterna_kind kind;
    uint32_t number; /* number in the store's keys: names may be reordered, numbers never */
};

struct sterna_run {
    uint64_t run;
    uint64_t n_samples; /* samples it added */
    int64_t finished_s; /* seconds since 1970, UTC */
    const char *source; /* directory or URL it came from; valid during the callback */
};

/* Opens the store that `url` names. `options` may be NULL (read). *out is NULL on failure.
 *
 *   PATH or lmdb:PATH   a directory
 *   cassandra://[user@]host[:port][,host..]/KEYSPACE/DATASET[?option=value[&..]]
 *                       a data set in an Apache Cassandra or ScyllaDB cluster
 *
 *   dc=NAME                data centre to read from (that of the first host)
 *   tls=verify|off         encrypted, the servers' certificates checked (off: plain)
 *   ca=FILE                whom to trust (the system's)
 *   cert=FILE key=FILE     our own certificate and its key (PEM)
 *   consistency=LEVEL      of reads, such as local_quorum (local_one)
 *   connections=N          to each server (chosen)
 *   password_file=FILE     its first line is the password; else STERNA_PASSWORD; else asked for
 *   outage_timeout=SECONDS for which all servers may be silent
 *   translate=FROM>TO[,..] addresses that servers give as FROM are reached as TO
 *
 * and, for tables that another tool has made, which of their columns are what:
 *
 *   table=[KEYSPACE.]NAME id=COLUMN image=COLUMN [image_crc=COLUMN] [mask=COLUMN]
 *   [mask_crc=COLUMN] [label=COLUMN] [meta=[KEYSPACE.]TABLE]
 *
 * Such a store is read only; its samples are listed (the whole table is looked through) only when a
 * call needs more than their ids. A password in a URL is refused.
 *
 * Returns OK, ENOTFOUND, EFORMAT, EIO, EREADONLY, EINVAL, ENOMEM; of a cluster also EUNREACHABLE,
 * EREFUSED, ETIMEOUT, EPROTO. */
STERNA_API int sterna_store_open(sterna_store **out, const char *url,
                                 const struct sterna_store_options *options,
                                 struct sterna_error *err);

/* Calls `each` for every statement that STERNA_OPEN_CREATE runs in a cluster for a data set with
 * these fields (n_fields 0: an image), in order, without asking a server: for who may not make
 * tables. `replication` as in the options. EINVAL: a directory, or another tool's tables. */
STERNA_API int sterna_store_ddl(const char *url, const char *replication,
                                const struct sterna_field *fields, size_t n_fields,
                                void (*each)(void *ctx, const char *statement), void *ctx,
                                struct sterna_error *err);

/* Gives the caller's reference back and sets it to NULL; loaders and selections keep their own. */
STERNA_API void sterna_store_close(sterna_store **store);

/* Facts of the store as last committed by any process. */
STERNA_API int sterna_store_info(sterna_store *store, struct sterna_store_info *out,
                                 struct sterna_error *err);

/* Field `i` of 0..n_fields-1, in the order they were declared. ENOTFOUND past the end. */
STERNA_API int sterna_store_field(sterna_store *store, uint32_t i, struct sterna_field *out);

/* Calls `each` for every class in label order / column by position / committed run in order; stops
 * and returns its value as soon as that is not 0. Strings are valid during the call only. */
STERNA_API int sterna_store_classes(sterna_store *store,
                                    int (*each)(void *ctx, int64_t label, const char *name,
                                                uint64_t n_samples),
                                    void *ctx, struct sterna_error *err);
STERNA_API int sterna_store_columns(sterna_store *store,
                                    int (*each)(void *ctx, const char *name, const char *type),
                                    void *ctx, struct sterna_error *err);
STERNA_API int sterna_store_runs(sterna_store *store,
                                 int (*each)(void *ctx, const struct sterna_run *run), void *ctx,
                                 struct sterna_error *err);

/* Text of an id into text[STERNA_ID_TEXT_BYTES], and back (EINVAL if it is no UUID). */
STERNA_API void sterna_id_format(const uint8_t id[STERNA_ID_BYTES], char *text);
STERNA_API int sterna_id_parse(const char *text, uint8_t id[STERNA_ID_BYTES]);

/* "image" for STERNA_KIND_IMAGE ...; parse returns EINVAL for an unknown word. */
STERNA_API const char *sterna_kind_name(enum sterna_kind kind);
STERNA_API int sterna_kind_parse(const char *name, enum sterna_kind *out);

#ifdef __cplusplus
}
#endif
#endif
