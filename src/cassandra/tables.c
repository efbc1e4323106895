#include "cassandra/tables.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define REPLICAS_MAX 1000

char *stn_text_make(const char *format, ...) {
    char *text = NULL;
    va_list args;
    va_start(args, format);
    int n = vasprintf(&text, format, args);
    va_end(args);
    return n < 0 ? NULL : text;
}

/* ---- names ---- */

/* `text` in quotes of the kind `quote`, which is doubled inside. */
static char *quote_with(const char *text, size_t bytes, char quote) {
    char *quoted = malloc(2 * bytes + 3), *to = quoted;
    if (!quoted) return NULL;
    *to++ = quote;
    for (size_t i = 0; i < bytes; i++) {
        if (text[i] == quote) *to++ = quote;
        *to++ = text[i];
    }
    *to++ = quote;
    *to = '\0';
    return quoted;
}

char *stn_tables_quote(const char *name) { return quote_with(name, strlen(name), '"'); }

char *stn_tables_qualify(const char *keyspace, const char *name) {
    const char *dot = strchr(name, '.');
    char *first = dot ? quote_with(name, (size_t)(dot - name), '"') : stn_tables_quote(keyspace);
    char *second = stn_tables_quote(dot ? dot + 1 : name);
    char *both = first && second ? stn_text_make("%s.%s", first, second) : NULL;
    free(first);
    free(second);
    return both;
}

static int check_table_name(const char *what, const char *name, size_t longest,
                            struct sterna_error *err) {
    size_t n = strlen(name);
    int ok = n > 0 && n <= longest;
    for (size_t i = 0; i < n; i++)
        ok = ok && (unsigned char)name[i] < 0x80 &&
             (isalnum((unsigned char)name[i]) || name[i] == '_');
    if (ok) return STERNA_OK;
    return stn_fail(err, STERNA_EINVAL,
                    "'%s' cannot name a %s: letters, digits and _, at most %zu of them", name, what,
                    longest);
}

int stn_tables_name(struct stn_cassandra *c, struct sterna_error *err) {
    const char *keyspace = c->location.keyspace, *dataset = c->location.dataset;
    const struct {
        char **to;
        const char *suffix;
    } tables[] = {{&c->data_table, "data"},
                  {&c->chunk_table, "chunk"},
                  {&c->meta_table, "meta"},
                  {&c->run_table, "run"},
                  {&c->info_table, "info"}};
    int rc = check_table_name("keyspace", keyspace, STN_CQL_NAME_MAX, err);
    if (rc == STERNA_OK)
        rc = check_table_name("data set", dataset, STN_CQL_NAME_MAX - strlen("_chunk"), err);
    for (size_t i = 0; i < STN_COUNT(tables) && rc == STERNA_OK; i++) {
        *tables[i].to = stn_text_make("\"%s\".\"%s_%s\"", keyspace, dataset, tables[i].suffix);
        if (!*tables[i].to) rc = stn_fail_memory(err, "the names of tables");
    }
    snprintf(c->id_column, sizeof c->id_column, "id");
    return rc;
}

int stn_tables_field(struct stn_cassandra_field *out, const char *name, enum sterna_kind kind,
                     uint8_t number, struct sterna_error *err) {
    *out = (struct stn_cassandra_field){.number = number, .kind = kind};
    if (strlen(name) + 2 >= sizeof out->column)
        return stn_fail(err, STERNA_EINVAL, "field '%s': its name is too long", name);
    snprintf(out->name, sizeof out->name, "%s", name);
    snprintf(out->column, sizeof out->column, "%s", name);
    snprintf(out->bytes_column, sizeof out->bytes_column, "%s_bytes", name);
    snprintf(out->crc_column, sizeof out->crc_column, "%s_crc", name);
    return STERNA_OK;
}

/* ---- statements ---- */

struct making {
    const struct stn_cassandra *c;
    const struct stn_tables_options *options;
    int (*each)(void *ctx, const char *statement);
    void *ctx;
    struct sterna_error *err;
};

static int tell(struct making *m, char *statement) {
    if (!statement) return stn_fail_memory(m->err, "a statement");
    int rc = m->each(m->ctx, statement);
    free(statement);
    return STN_MIN(rc, 0);
}

/* A number of replicas at *at, moved behind it; 0: there is none. */
static unsigned get_factor(const char **at) {
    unsigned n = 0;
    while (**at >= '0' && **at <= '9' && n <= REPLICAS_MAX) n = n * 10 + (unsigned)(*(*at)++ - '0');
    return n <= REPLICAS_MAX ? n : 0;
}

static int fail_replication(const char *text, struct sterna_error *err) {
    return stn_fail(err, STERNA_EINVAL,
                    "replication '%s': write DATACENTRE=REPLICAS[,...], such as dc1=3, or REPLICAS "
                    "for a cluster of one rack",
                    text);
}

/* "dc1=3,dc2=2" -> "{'class': 'NetworkTopologyStrategy', 'dc1': 3, 'dc2': 2}" */
static int parse_replication(const char *text, char **out, struct sterna_error *err) {
    const char *at = text;
    unsigned n = get_factor(&at);
    *out = NULL;
    if (n > 0 && !*at) {
        *out = stn_text_make("{'class': 'SimpleStrategy', 'replication_factor': %u}", n);
        return *out ? STERNA_OK : stn_fail_memory(err, text);
    }
    char *map = stn_text_make("{'class': 'NetworkTopologyStrategy'");
    for (at = text; map; at++) {
        const char *name = at, *equals = strchr(at, '=');
        if (!equals || equals == name || memchr(name, ',', (size_t)(equals - name))) break;
        at = equals + 1;
        n = get_factor(&at);
        if (n == 0 || (*at && *at != ',')) break;
        char *dc = quote_with(name, (size_t)(equals - name), '\'');
        char *longer = dc ? stn_text_make("%s, %s: %u", map, dc, n) : NULL;
        free(dc);
        free(map);
        map = longer;
        if (map && !*at) {
            *out = stn_text_make("%s}", map);
            break;
        }
    }
    int had_memory = map != NULL;
    free(map);
    if (*out) return STERNA_OK;
    return had_memory ? fail_replication(text, err) : stn_fail_memory(err, text);
}

static int make_keyspace(struct making *m) {
    char *replication;
    if (!m->options->replication) return STERNA_OK;
    int rc = parse_replication(m->options->replication, &replication, m->err);
    if (rc == STERNA_OK)
        rc = tell(m, stn_text_make("CREATE KEYSPACE IF NOT EXISTS \"%s\" WITH replication = %s"
                                   " AND durable_writes = true",
                                   m->c->location.keyspace, replication));
    free(replication);
    return rc;
}

/* Pictures do not shrink, and are read whole, once an epoch: neither compression nor a cache of
 * rows pays. Written once, they want few rewrites. speculative_retry stays at the server's default.
 */
static char *data_options(const struct stn_tables_options *o) {
    const char *compression = o->is_scylla ? "{}" : "{'enabled': 'false'}";
    const char *compaction =
        !o->is_scylla && o->release_major >= 5
            ? " AND compaction = {'class': 'UnifiedCompactionStrategy', 'scaling_parameters': 'T4'}"
            : "";
    return stn_text_make(" WITH compression = %s"
                         " AND caching = {'keys': 'ALL', 'rows_per_partition': 'NONE'}"
                         " AND bloom_filter_fp_chance = 0.01%s AND default_time_to_live = 0",
                         compression, compaction);
}

static char *data_columns(const struct stn_tables_options *o) {
    char *columns = strdup("id uuid PRIMARY KEY");
    for (size_t i = 0; i < o->n_fields && columns; i++) {
        const struct stn_cassandra_field *f = &o->fields[i];
        char *more = stn_text_make("%s, \"%s\" bigint, \"%s\" int, \"%s\" blob", columns,
                                   f->bytes_column, f->crc_column, f->column);
        free(columns);
        columns = more;
    }
    return columns;
}

static int make_data(struct making *m) {
    char *columns = data_columns(m->options), *options = data_options(m->options);
    int rc = STERNA_OK;
    if (!columns || !options) rc = stn_fail_memory(m->err, "a statement");
    if (rc == STERNA_OK)
        rc = tell(m, stn_text_make("CREATE TABLE IF NOT EXISTS %s (%s)%s", m->c->data_table,
                                   columns, options));
    if (rc == STERNA_OK)
        rc = tell(m, stn_text_make("CREATE TABLE IF NOT EXISTS %s (id uuid, field text, n smallint,"
                                   " crc int, data blob, PRIMARY KEY ((id), field, n))%s",
                                   m->c->chunk_table, options));
    free(columns);
    free(options);
    return rc;
}

int stn_tables_create(const struct stn_cassandra *c, const struct stn_tables_options *options,
                      int (*each)(void *ctx, const char *statement), void *ctx,
                      struct sterna_error *err) {
    struct making m = {c, options, each, ctx, err};
    int rc = make_keyspace(&m);
    if (rc == STERNA_OK) rc = make_data(&m);
    if (rc == STERNA_OK)
        rc = tell(
            &m, stn_text_make("CREATE TABLE IF NOT EXISTS %s (run timeuuid, part int, id uuid,"
                              " added boolean, path text, label bigint, class text, split text,"
                              " width int, height int, channels int, format text,"
                              " bytes map<text, bigint>, more text, PRIMARY KEY ((run, part), id))",
                              c->meta_table));
    if (rc == STERNA_OK)
        rc = tell(&m, stn_text_make("CREATE TABLE IF NOT EXISTS %s (k text, number int,"
                                    " run timeuuid, parts int, samples bigint, source text,"
                                    " finished bigint, state text, PRIMARY KEY (k, number))",
                                    c->run_table));
    if (rc == STERNA_OK) /* the last one: when it is there, all are */
        rc = tell(&m, stn_text_make("CREATE TABLE IF NOT EXISTS %s (k text PRIMARY KEY, v text)",
                                    c->info_table));
    return rc;
}

char *stn_tables_add_field(const struct stn_cassandra *c, const struct stn_cassandra_field *field) {
    return stn_text_make("ALTER TABLE %s ADD (\"%s\" bigint, \"%s\" int, \"%s\" blob)",
                         c->data_table, field->bytes_column, field->crc_column, field->column);
}
