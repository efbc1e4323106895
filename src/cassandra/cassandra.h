/* A data set in a Cassandra or Scylla cluster: its tables, and what the parts in this folder share.
 *
 *   store.c       the backend of a sterna_store: opens it all     location.c    its URL, taken
 * apart tables.c      names and DDL                                   names.c       fields and
 * classes runs.c        a run: published, listed                        sync.c        runs -> local
 * SQLite foreign.c     other tools' tables, by a mapping
 *   ../source/cql.c         the reading side                      ../source/cql_values.c  the
 * writing side
 */
#ifndef STN_CASSANDRA_H
#define STN_CASSANDRA_H

#include <pthread.h>

#include "net/session.h"
#include "sterna/store.h"

#define STN_CQL_NAME_MAX 48                    /* Cassandra's longest table name */
#define STN_CHUNK_AT_BYTES ((uint64_t)1 << 20) /* longer values lie in chunks */
#define STN_CHUNK_BYTES ((uint64_t)512 << 10)

/* ---- cassandra://[user@]host[:port][,host..]/KEYSPACE/DATASET?option=value ---- */

struct stn_location {
    struct stn_host *hosts;
    size_t n_hosts;
    char *user; /* NULL: none */
    char *keyspace, *dataset;
    char *dc;
    int tls; /* 0: no option: plain; 1: verify; -1: off */
    char *ca, *cert, *key;
    char *password_file;
    /* consistency=      reads         writes
     *   LOCAL_ONE, ONE  as it says    LOCAL_QUORUM   (LOCAL_ONE without the option)
     *   LOCAL_QUORUM    LOCAL_QUORUM  LOCAL_QUORUM
     *   QUORUM, ALL     as it says    as it says
     *   EACH_QUORUM     LOCAL_QUORUM  EACH_QUORUM    (so that every data centre can read it so) */
    uint16_t read_consistency, write_consistency;
    unsigned connections;                 /* 0: chosen by the session, as is: */
    unsigned outage_timeout_ms;           /* outage_timeout=0 is 1 ms */
    struct stn_translation *translations; /* translate=FROM>TO[,..] */
    size_t n_translations;
    /* a mapping of tables that are not ours; table NULL: it is ours */
    struct {
        char *table, *id, *image, *image_crc, *mask, *mask_crc, *label, *meta; /* [keyspace.]name */
    } map;
    int refresh; /* list its samples anew, though they were listed before */
    char *shown; /* the URL for messages */
};
/* EINVAL naming the part that is wrong; a password in the URL is refused (and not shown). */
int stn_location_parse(struct stn_location *out, const char *url, struct sterna_error *err);
void stn_location_fini(struct stn_location *l); /* safe twice */

/* The password for l->user, newly looked for: password_file (its first line), STERNA_PASSWORD, then
 * `ask` (may be NULL; its answer is kept by the asker). EREFUSED, with all three ways in the
 * message. For stn_conn_config.password: ctx is a struct stn_secret. */
struct stn_secret {
    const struct stn_location *location;
    int (*ask)(void *ctx, const char *user, const char *host, char *buf, size_t cap,
               struct sterna_error *err);
    void *ask_ctx;
};
int stn_secret_password(void *secret, char *buf, size_t cap, struct sterna_error *err);

/* ---- an open data set ---- */

struct stn_cassandra_field {
    uint8_t number;
    enum sterna_kind kind;
    char name[64]; /* ours */
    /* Columns in the data table. `bytes_column` is "" where there is none (a foreign table): then
     * values are never in chunks; `crc_column` likewise: then they come unchecked. */
    char column[64], bytes_column[72], crc_column[72];
};

struct stn_cassandra {
    struct stn_location location;
    struct stn_secret secret;
    struct stn_session *session; /* shared by all of the store's parts */
    uint8_t dataset_id[16];
    /* fully qualified, quoted where need be */
    char *data_table, *chunk_table, *meta_table, *run_table, *info_table;
    char id_column[64];    /* of the data table */
    char label_column[64]; /* of a foreign data table, read beside the data; "": none */
    uint16_t label_type;   /* enum stn_cql_type */
    int foreign;
    /* Fields as of the last refresh; guarded by `lock` (they only grow). */
    pthread_mutex_t lock;
    struct stn_cassandra_field fields[32];
    size_t n_fields;
};
/* 1 and *out, or 0: no field of that number. */
int stn_cassandra_field(struct stn_cassandra *c, uint8_t number, struct stn_cassandra_field *out);

/* ---- reading and writing side (../source) ---- */

struct stn_source;
struct stn_sink;
struct stn_source_options;
struct stn_values;

int stn_cql_source_open(struct stn_source **out, struct stn_cassandra *c, struct stn_sink *sink,
                        const struct stn_source_options *options, struct sterna_error *err);
/* timestamp_us: of all writes of this run. */
int stn_cql_values_open(struct stn_values **out, struct stn_cassandra *c, int64_t timestamp_us,
                        struct sterna_error *err);

#endif
