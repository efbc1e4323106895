#include "cassandra/names.h"

#include <stdio.h>
#include <string.h>

#include "cassandra/ask.h"
#include "cassandra/tables.h"

#define ATTEMPTS_MAX 200

/* ---- what is known ---- */

/* Fields that c->fields has not yet. n->lock is held. */
static int learn_fields(struct stn_names *n, struct sterna_error *err) {
    struct stn_cassandra *c = n->c;
    int rc = STERNA_OK;
    pthread_mutex_lock(&c->lock);
    while (rc == STERNA_OK && c->n_fields < n->known.n_fields) {
        const struct stn_dictionary_field *f = &n->known.fields[c->n_fields];
        rc = stn_tables_field(&c->fields[c->n_fields], f->name, f->kind, (uint8_t)c->n_fields, err);
        if (rc == STERNA_OK) c->n_fields++;
    }
    pthread_mutex_unlock(&c->lock);
    return rc;
}

int stn_cassandra_field(struct stn_cassandra *c, uint8_t number, struct stn_cassandra_field *out) {
    pthread_mutex_lock(&c->lock);
    int known = number < c->n_fields; /* a field's number is its place */
    if (known) *out = c->fields[number];
    pthread_mutex_unlock(&c->lock);
    return known;
}

static int learn(struct stn_names *n, const char *text, size_t bytes, struct sterna_error *err) {
    struct stn_dictionary now;
    char *copy = malloc(bytes + 1);
    if (!copy) return stn_fail_memory(err, "the names of a data set");
    if (bytes) memcpy(copy, text, bytes);
    int rc = stn_dictionary_parse(&now, text, bytes, err);
    if (rc < 0) {
        free(copy);
        return rc;
    }
    stn_dictionary_fini(&n->known);
    free(n->text);
    n->known = now;
    n->text = copy;
    n->text_bytes = bytes;
    return learn_fields(n, err);
}

int stn_names_learn(struct stn_names *n, const char *text, size_t bytes, struct sterna_error *err) {
    pthread_mutex_lock(&n->lock);
    int rc = learn(n, text, bytes, err);
    pthread_mutex_unlock(&n->lock);
    return rc;
}

static int refresh(struct stn_names *n, enum stn_ask_how how, struct sterna_error *err) {
    struct stn_rows rows;
    struct stn_cql_value key = stn_value_of("names", 5);
    int rc = stn_ask(n->c, how, stn_text_make("SELECT v FROM %s WHERE k = ?", n->c->info_table),
                     &key, 1, &rows, err);
    if (rc < 0) return rc;
    if (rows.n_rows != 1 || rows.n_columns != 1 || rows.values[0].bytes < 0)
        rc = stn_fail(err, STERNA_EFORMAT, "%s: table %s has no names", n->c->location.shown,
                      n->c->info_table);
    else
        rc = learn(n, (const char *)rows.values[0].data, (size_t)rows.values[0].bytes, err);
    stn_rows_free(&rows);
    return rc;
}

int stn_names_refresh(struct stn_names *n, struct sterna_error *err) {
    pthread_mutex_lock(&n->lock);
    int rc = refresh(n, STN_ASK_READ, err);
    pthread_mutex_unlock(&n->lock);
    return rc;
}

/* ---- claims ---- */

struct claim {
    const char *const *names;
    size_t n;
    enum { CLASSES, COLUMN, FIELD } what;
    enum sterna_kind kind;
};

static int is_known(const struct stn_dictionary *d, const struct claim *claim) {
    if (claim->what == FIELD) return stn_dictionary_field(d, claim->names[0]) >= 0;
    if (claim->what == COLUMN) return stn_dictionary_column(d, claim->names[0]) >= 0;
    for (size_t i = 0; i < claim->n; i++)
        if (stn_dictionary_class(d, claim->names[i]) < 0) return 0;
    return 1;
}

/* Replaces the row by what is known and what is claimed: 1, or 0: somebody was faster. */
static int replace(struct stn_names *n, const struct claim *claim, struct sterna_error *err) {
    struct stn_dictionary *d = &n->known;
    struct stn_json_out o = {0};
    struct stn_rows rows = {0};
    int rc = STERNA_OK;
    if (claim->what == FIELD) rc = stn_dictionary_add_field(d, claim->names[0], claim->kind, err);
    if (claim->what == COLUMN) rc = stn_dictionary_add_column(d, claim->names[0], err);
    if (claim->what == CLASSES) rc = stn_dictionary_add_classes(d, claim->names, claim->n, err);
    stn_dictionary_write(d, &o);
    if (rc == STERNA_OK && (o.failed || o.bytes > INT32_MAX))
        rc = stn_fail_memory(err, "the names of a data set");
    if (rc == STERNA_OK) {
        const struct stn_cql_value values[] = {stn_value_of(o.text, o.bytes),
                                               stn_value_of("names", 5),
                                               stn_value_of(n->text, n->text_bytes)};
        rc = stn_ask(n->c, STN_ASK_IF,
                     stn_text_make("UPDATE %s SET v = ? WHERE k = ? IF v = ?", n->c->info_table),
                     values, STN_COUNT(values), &rows, err);
    }
    int applied = rc == STERNA_OK && stn_ask_applied(&rows);
    stn_rows_free(&rows);
    if (applied)
        rc = learn(n, o.text, o.bytes, err);
    else /* back to what is really there */
        learn(n, n->text, n->text_bytes, rc < 0 ? NULL : err);
    stn_json_out_fini(&o);
    return rc < 0 ? rc : applied;
}

/* A write whose outcome nobody knows is found out by reading: names that are there are there. */
static int claim_names(struct stn_names *n, const struct claim *claim, struct sterna_error *err) {
    for (unsigned attempt = 0; attempt < ATTEMPTS_MAX; attempt++) {
        struct sterna_error why = {0};
        int rc = refresh(n, STN_ASK_SERIAL, err);
        if (rc < 0 || is_known(&n->known, claim)) return rc;
        rc = replace(n, claim, &why);
        if (rc > 0) return STERNA_OK;
        if (rc < 0 && (rc != STERNA_ETIMEOUT || attempt >= 8)) {
            if (err && err->code >= 0) *err = why;
            return rc;
        }
        stn_ask_pause(attempt);
    }
    return stn_fail(err, STERNA_EBUSY,
                    "%s: too many others declare names at the same time: try again later",
                    n->c->location.shown);
}

/* ---- columns of the data table ---- */

static int probe_field(struct stn_cassandra *c, const struct stn_cassandra_field *f,
                       struct sterna_error *err) {
    return stn_ask(c, STN_ASK_STATEMENT,
                   stn_text_make("SELECT \"%s\", \"%s\", \"%s\" FROM %s WHERE id ="
                                 " 00000000-0000-0000-0000-000000000000",
                                 f->bytes_column, f->crc_column, f->column, c->data_table),
                   NULL, 0, NULL, err);
}

/* The columns come before the name, so that whoever knows the name finds the columns. Another
 * ingest may add them at the same moment: what counts is that they are there. */
static int make_columns(struct stn_cassandra *c, const char *name, enum sterna_kind kind,
                        struct sterna_error *err) {
    struct stn_cassandra_field f;
    struct sterna_error why = {0};
    int rc = stn_tables_field(&f, name, kind, 0, err);
    if (rc < 0 || probe_field(c, &f, NULL) == STERNA_OK) return rc;
    int added = stn_ask(c, STN_ASK_STATEMENT, stn_tables_add_field(c, &f), NULL, 0, NULL, &why);
    rc = stn_session_await_schema(c->session, err);
    if (rc < 0 || probe_field(c, &f, added < 0 ? NULL : err) == STERNA_OK) return rc;
    return stn_fail(err, added < 0 ? added : STERNA_EFORMAT,
                    "%s: the columns of field '%s' cannot be added to table %s%s%s",
                    c->location.shown, name, c->data_table, added < 0 ? ": " : "", why.message);
}

/* ---- what a catalogue asks ---- */

static int claim_field(struct stn_shared_names *base, const char *name, enum sterna_kind kind,
                       uint32_t *number, struct sterna_error *err) {
    struct stn_names *n = STN_OUTER(base, struct stn_names, base);
    const struct claim claim = {&name, 1, FIELD, kind};
    int rc = STERNA_OK;
    pthread_mutex_lock(&n->lock);
    if (!is_known(&n->known, &claim)) rc = make_columns(n->c, name, kind, err);
    if (rc == STERNA_OK && !is_known(&n->known, &claim)) rc = claim_names(n, &claim, err);
    if (rc == STERNA_OK) {
        long at = stn_dictionary_field(&n->known, name);
        const struct stn_dictionary_field *f = &n->known.fields[at];
        *number = (uint32_t)at;
        if (strcmp(f->name, name) != 0)
            rc = stn_fail(err, STERNA_EINVAL, "field '%s' is there already, written '%s'", name,
                          f->name);
        else if (f->kind != kind)
            rc = stn_fail(err, STERNA_EMISMATCH, "%s: field '%s' holds %s, not %s",
                          n->c->location.shown, name, sterna_kind_name(f->kind),
                          sterna_kind_name(kind));
    }
    pthread_mutex_unlock(&n->lock);
    return rc;
}

static int claim_classes(struct stn_shared_names *base, const char *const *names, size_t count,
                         int64_t *labels, struct sterna_error *err) {
    struct stn_names *n = STN_OUTER(base, struct stn_names, base);
    const struct claim claim = {.names = names, .n = count, .what = CLASSES};
    int rc = STERNA_OK;
    pthread_mutex_lock(&n->lock);
    if (!is_known(&n->known, &claim)) rc = claim_names(n, &claim, err);
    for (size_t i = 0; i < count && rc == STERNA_OK; i++)
        labels[i] = stn_dictionary_class(&n->known, names[i]);
    pthread_mutex_unlock(&n->lock);
    return rc;
}

static int claim_column(struct stn_shared_names *base, const char *name, struct sterna_error *err) {
    struct stn_names *n = STN_OUTER(base, struct stn_names, base);
    const struct claim claim = {.names = &name, .n = 1, .what = COLUMN};
    int rc = STERNA_OK;
    pthread_mutex_lock(&n->lock);
    if (!is_known(&n->known, &claim)) rc = claim_names(n, &claim, err);
    if (rc == STERNA_OK) {
        const char *is = n->known.columns[stn_dictionary_column(&n->known, name)];
        if (strcmp(is, name) != 0)
            rc = stn_fail(err, STERNA_EINVAL, "column '%s' is there already, written '%s'", name,
                          is);
    }
    pthread_mutex_unlock(&n->lock);
    return rc;
}

int stn_names_init(struct stn_names *n, struct stn_cassandra *c) {
    *n = (struct stn_names){.base = {claim_field, claim_classes, claim_column}, .c = c};
    return pthread_mutex_init(&n->lock, NULL) ? STERNA_ENOMEM : STERNA_OK;
}

void stn_names_fini(struct stn_names *n) {
    if (!n->c) return;
    pthread_mutex_destroy(&n->lock);
    stn_dictionary_fini(&n->known);
    free(n->text);
    *n = (struct stn_names){0};
}

/* ---- out of a dictionary ---- */

static int unknown(const char *what, const char *name, struct sterna_error *err) {
    return stn_fail(err, STERNA_EFORMAT, "%s '%s' is not among the names of the data set", what,
                    name);
}

static int known_field(struct stn_shared_names *base, const char *name, enum sterna_kind kind,
                       uint32_t *number, struct sterna_error *err) {
    const struct stn_names_known *k = STN_OUTER(base, struct stn_names_known, base);
    long at = stn_dictionary_field(k->dictionary, name);
    (void)kind;
    *number = (uint32_t)at;
    return at < 0 ? unknown("field", name, err) : STERNA_OK;
}

static int known_classes(struct stn_shared_names *base, const char *const *names, size_t n,
                         int64_t *labels, struct sterna_error *err) {
    const struct stn_names_known *k = STN_OUTER(base, struct stn_names_known, base);
    for (size_t i = 0; i < n; i++) {
        labels[i] = stn_dictionary_class(k->dictionary, names[i]);
        if (labels[i] < 0) return unknown("class", names[i], err);
    }
    return STERNA_OK;
}

static int known_column(struct stn_shared_names *base, const char *name, struct sterna_error *err) {
    const struct stn_names_known *k = STN_OUTER(base, struct stn_names_known, base);
    int known = stn_dictionary_column(k->dictionary, name) >= 0;
    return known ? STERNA_OK : unknown("column", name, err);
}

void stn_names_known_init(struct stn_names_known *k, const struct stn_dictionary *dictionary) {
    *k = (struct stn_names_known){{known_field, known_classes, known_column}, dictionary};
}

int stn_names_declare(struct stn_catalog *catalog, const struct stn_dictionary *d,
                      struct sterna_error *err) {
    uint32_t number;
    int64_t *labels = stn_array(d->n_classes, sizeof *labels);
    int rc = labels ? STERNA_OK : stn_fail_memory(err, "the names of a data set");
    for (size_t i = 0; i < d->n_fields && rc == STERNA_OK; i++)
        rc = stn_catalog_declare_field(catalog, d->fields[i].name, d->fields[i].kind, &number, err);
    for (size_t i = 0; i < d->n_columns && rc == STERNA_OK; i++)
        rc = stn_catalog_declare_column(catalog, d->columns[i], err);
    if (rc == STERNA_OK)
        rc = stn_catalog_declare_classes(catalog, (const char *const *)d->classes, d->n_classes,
                                         labels, err);
    free(labels);
    return rc;
}
