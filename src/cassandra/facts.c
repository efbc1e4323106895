#include "cassandra/facts.h"

#include <stdio.h>
#include <string.h>

#include "base/digest.h"
#include "cassandra/tables.h"
#include "source/cql_select.h"

struct facts {
    struct stn_names *names;
    struct stn_cassandra *c;
    const struct sterna_store_options *options;
    struct stn_asked *asked; /* the facts, before we were */
    struct sterna_error *err;
    int has_tables; /* made by us or, from the printed statements, by who has the right to */
};

/* ---- reading ---- */

static int fail_missing(const struct facts *f) {
    const struct stn_location *l = &f->c->location;
    struct stn_session_info info;
    stn_session_info(f->c->session, &info);
    return stn_fail(f->err, STERNA_ENOTFOUND,
                    "%s: no data set %s in keyspace %s: to make it, ingest with --create"
                    " --replication %s=REPLICAS",
                    l->shown, l->dataset, l->keyspace, info.dc[0] ? info.dc : "DATACENTRE");
}

static int take_format(const struct facts *f, struct stn_text v) {
    char text[24];
    snprintf(text, sizeof text, "%.*s", (int)STN_MIN(v.bytes, sizeof text - 1), v.data);
    unsigned long long version = strtoull(text, NULL, 10);
    if (version == STN_TABLES_VERSION) return STERNA_OK;
    return stn_fail(f->err, STERNA_EFORMAT,
                    "%s: tables of format version %s, this program reads version %d: use a newer "
                    "sterna",
                    f->c->location.shown, text, STN_TABLES_VERSION);
}

static int take_id(const struct facts *f, struct stn_text v) {
    char text[STERNA_ID_TEXT_BYTES];
    snprintf(text, sizeof text, "%.*s", (int)STN_MIN(v.bytes, sizeof text - 1), v.data);
    if (v.bytes == sizeof text - 1 && sterna_id_parse(text, f->c->dataset_id) == STERNA_OK)
        return STERNA_OK;
    return stn_fail(f->err, STERNA_EFORMAT, "%s: the data set id in table %s is none",
                    f->c->location.shown, f->c->info_table);
}

/* The version first: a newer one may write all else in another way. */
static int take_all(const struct facts *f, const struct stn_rows *rows, int *whole) {
    struct stn_text v[3] = {{0}};
    static const char *const keys[] = {"format", "dataset_id", "names"};
    for (size_t i = 0; i < rows->n_rows && rows->n_columns == 2; i++)
        for (size_t k = 0; k < STN_COUNT(keys); k++)
            if (stn_value_equals(rows->values[2 * i], keys[k], strlen(keys[k])))
                v[k] = stn_value_string(rows->values[2 * i + 1]);
    *whole = v[0].bytes && v[1].bytes && v[2].bytes;
    int rc = v[0].bytes ? take_format(f, v[0]) : STERNA_OK;
    if (rc < 0 || !*whole) return rc;
    rc = take_id(f, v[1]);
    return rc == STERNA_OK ? stn_names_learn(f->names, v[2].data, v[2].bytes, f->err) : rc;
}

static char *question(const struct stn_cassandra *c) {
    return stn_text_make("SELECT k, v FROM %s WHERE k IN ('format', 'dataset_id', 'names')",
                         c->info_table);
}

void stn_facts_ask(struct stn_cassandra *c, struct stn_asked *asked) {
    stn_ask_ahead(c, asked, question(c), 0);
}

/* *whole: 0 if there is none, or its making was cut short. */
static int read_facts(struct facts *f, int *whole) {
    struct sterna_error why = {0};
    struct stn_rows rows;
    *whole = 0;
    int rc = f->asked->text ? stn_ask_answer(f->asked, &rows, &why)
                            : stn_ask(f->c, STN_ASK_READ, question(f->c), NULL, 0, &rows, &why);
    if (rc == STERNA_ENOTFOUND) return STERNA_OK;
    if (rc < 0) {
        if (f->err && f->err->code >= 0) *f->err = why;
        return rc;
    }
    f->has_tables = 1;
    rc = take_all(f, &rows, whole);
    stn_rows_free(&rows);
    return rc;
}

/* ---- making ---- */

/* All nodes must know a table before the next statement may come to any of them. */
static int run_statement(void *ctx, const char *statement) {
    const struct facts *f = ctx;
    struct sterna_error why = {0};
    int rc = stn_ask(f->c, STN_ASK_STATEMENT, strdup(statement), NULL, 0, NULL, &why);
    int no_keyspace = rc == STERNA_ENOTFOUND || (rc < 0 && strstr(why.message, "doesn't exist"));
    if (no_keyspace && !f->options->replication)
        return stn_fail(f->err, STERNA_ENOTFOUND,
                        "%s: no keyspace %s: give its replication to make it, such as"
                        " --replication dc1=3 (the server: %s)",
                        f->c->location.shown, f->c->location.keyspace, why.message);
    if (rc < 0) return stn_fail(f->err, rc, "%s: %s", f->c->location.shown, why.message);
    return stn_session_await_schema(f->c->session, f->err);
}

static int make_tables(struct facts *f) {
    struct stn_session_info info;
    struct stn_cassandra_field image; /* every data set has it */
    stn_session_info(f->c->session, &info);
    const struct stn_tables_options o = {.replication = f->options->replication,
                                         .release_major = info.release_major,
                                         .is_scylla = info.is_scylla,
                                         .fields = &image,
                                         .n_fields = 1};
    int rc = stn_tables_field(&image, "image", STERNA_KIND_IMAGE, 0, f->err);
    return rc < 0 ? rc : stn_tables_create(f->c, &o, run_statement, f, f->err);
}

/* Whoever makes a data set at the same time: the first one's facts are what it has. */
static int make_fact(const struct facts *f, const char *key, const char *value) {
    const struct stn_cql_value values[] = {stn_value_of(key, strlen(key)),
                                           stn_value_of(value, strlen(value))};
    return stn_ask(
        f->c, STN_ASK_IF,
        stn_text_make("INSERT INTO %s (k, v) VALUES (?, ?) IF NOT EXISTS", f->c->info_table),
        values, 2, NULL, f->err);
}

static int make(struct facts *f) {
    uint8_t id[16];
    char text[STERNA_ID_TEXT_BYTES], version[16];
    int whole, rc = STERNA_OK;
    if (f->options->dataset_id)
        memcpy(id, f->options->dataset_id, 16);
    else
        rc = stn_uuid4(id, f->err);
    sterna_id_format(id, text);
    snprintf(version, sizeof version, "%d", STN_TABLES_VERSION);
    if (rc == STERNA_OK && !f->has_tables) rc = make_tables(f);
    if (rc == STERNA_OK) rc = make_fact(f, "dataset_id", text);
    if (rc == STERNA_OK)
        rc = make_fact(f, "names", "{\"fields\":[],\"classes\":[],\"columns\":[]}");
    if (rc == STERNA_OK) rc = make_fact(f, "format", version);
    if (rc == STERNA_OK) rc = read_facts(f, &whole);
    if (rc == STERNA_OK && !whole)
        rc = stn_fail(f->err, STERNA_EFORMAT, "%s: table %s does not keep what is written",
                      f->c->location.shown, f->c->info_table);
    return rc;
}

/* ---- what is there must fit ---- */

static int check_id(const struct facts *f) {
    const uint8_t *wanted = f->options->dataset_id;
    if (!wanted || memcmp(f->c->dataset_id, wanted, 16) == 0) return STERNA_OK;
    char has[STERNA_ID_TEXT_BYTES], asked[STERNA_ID_TEXT_BYTES];
    sterna_id_format(f->c->dataset_id, has);
    sterna_id_format(wanted, asked);
    return stn_fail(f->err, STERNA_EMISMATCH, "%s holds data set %s, not %s", f->c->location.shown,
                    has, asked);
}

/* The server tells which column it does not know. Takes the text. */
static int check_columns(const struct facts *f, char *text, const char *table) {
    struct sterna_error why = {0};
    struct stn_statement *statement;
    if (!text) return stn_fail_memory(f->err, "a statement");
    int rc = stn_session_prepare(f->c->session, text, &statement, &why);
    free(text);
    if (rc == STERNA_EINVAL || rc == STERNA_ENOTFOUND)
        return stn_fail(f->err, STERNA_EFORMAT, "%s: table %s is not as sterna makes it: %s",
                        f->c->location.shown, table, why.message);
    return rc < 0 ? stn_fail(f->err, rc, "%s", why.message) : rc;
}

/* By the statement that a loader of all fields reads with: it is most likely the next one. */
static int check_fields(const struct facts *f) {
    struct stn_cql_select select;
    uint32_t n = (uint32_t)STN_MIN(f->c->n_fields, (size_t)STN_FIELDS_MAX);
    int rc = stn_cql_select_make(&select, f->c, f->c->fields, n, 0, f->err);
    return rc == STERNA_OK ? check_columns(f, select.text, f->c->data_table) : rc;
}

/* Values that expire would leave samples that are listed and not there. Not everybody may read how
 * tables are made: then it stays unknown. */
static int check_no_expiry(const struct facts *f, const char *suffix) {
    const struct stn_location *l = &f->c->location;
    char table[STN_CQL_NAME_MAX + 8];
    struct stn_rows rows;
    snprintf(table, sizeof table, "%s_%s", l->dataset, suffix);
    const struct stn_cql_value values[] = {stn_value_of(l->keyspace, strlen(l->keyspace)),
                                           stn_value_of(table, strlen(table))};
    int rc = stn_ask(f->c, STN_ASK_READ,
                     strdup("SELECT default_time_to_live FROM system_schema.tables"
                            " WHERE keyspace_name = ? AND table_name = ?"),
                     values, 2, &rows, NULL);
    int seconds = rc == STERNA_OK && rows.n_rows == 1 && rows.n_columns == 1
                      ? stn_value_int(rows.values[0])
                      : 0;
    stn_rows_free(&rows);
    if (seconds <= 0) return STERNA_OK;
    return stn_fail(f->err, STERNA_EINVAL,
                    "%s: values in table %s.%s expire after %d s (default_time_to_live): samples "
                    "would be listed and not be there; set it to 0",
                    l->shown, l->keyspace, table, seconds);
}

static int check_writable(const struct facts *f) {
    static const char *const suffixes[] = {"data", "chunk", "meta", "run", "info"};
    int rc =
        check_columns(f, stn_text_make("SELECT id, field, n, crc, data FROM %s", f->c->chunk_table),
                      f->c->chunk_table);
    for (size_t i = 0; i < STN_COUNT(suffixes) && rc == STERNA_OK; i++)
        rc = check_no_expiry(f, suffixes[i]);
    return rc;
}

int stn_facts_open(struct stn_names *names, const struct sterna_store_options *options,
                   struct stn_asked *asked, struct sterna_error *err) {
    struct facts f = {names, names->c, options, asked, err, 0};
    int whole = 0;
    int rc = read_facts(&f, &whole);
    if (rc == STERNA_OK && !whole)
        rc = options->mode == STERNA_OPEN_CREATE ? make(&f) : fail_missing(&f);
    if (rc == STERNA_OK) rc = check_id(&f);
    if (rc == STERNA_OK) rc = check_fields(&f);
    if (rc == STERNA_OK && options->mode != STERNA_OPEN_READ) rc = check_writable(&f);
    return rc;
}
