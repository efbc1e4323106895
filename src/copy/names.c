/* Fields, columns and classes of one store, declared in the other. Names count: a field's number
 * may differ, a class's label must not, as labels stand in every sample. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "copy/copy.h"
#include "store.h"

/* ---- fields ---- */

static int declare_fields(struct stn_copy *c) {
    int rc = STERNA_OK;
    while (rc == STERNA_OK && c->n_fields < STN_FIELDS_OF_STORE &&
           sterna_store_field(c->from, c->n_fields, &c->fields[c->n_fields]) == STERNA_OK) {
        const struct sterna_field *f = &c->fields[c->n_fields];
        rc = stn_ingest_field(c->in, f->name, f->kind, &c->field_in_to[c->n_fields], c->err);
        c->n_fields++;
    }
    return rc;
}

/* ---- columns ---- */

static int add_column(struct stn_copy *c, const char *name, const char *end) {
    size_t bytes = strlen(name) + strlen(end) + 1;
    void *columns = c->columns;
    char *text = malloc(bytes);
    if (!text || stn_grow(&columns, &c->columns_cap, c->n_columns + 1, sizeof *c->columns) < 0) {
        free(text);
        return stn_fail_memory(c->err, "the names of columns");
    }
    snprintf(text, bytes, "%s%s", name, end);
    c->columns = columns;
    c->columns[c->n_columns++] = text;
    return STERNA_OK;
}

static int is_known(const struct stn_copy *c, const char *name) {
    for (size_t i = 0; i < c->n_columns; i++)
        if (strcasecmp(c->columns[i], name) == 0) return 1;
    return 0;
}

static int take_column(void *copy, const char *name, const char *type) {
    static const char *const ours[] = {"path",  "label",  "class",    "split",
                                       "width", "height", "channels", "format"};
    struct stn_copy *c = copy;
    (void)type;
    if (strcmp(name, "id") == 0 || strcmp(name, "run") == 0 || is_known(c, name)) return STERNA_OK;
    int rc = add_column(c, name, "");
    for (size_t i = 0; i < STN_COUNT(ours); i++)
        if (strcmp(name, ours[i]) == 0) return rc;
    return rc == STERNA_OK ? stn_catalog_declare_column(c->in->catalog, name, c->err) : rc;
}

static int declare_columns(struct stn_copy *c) {
    int rc = STERNA_OK;
    for (uint32_t f = 0; f < c->n_fields && rc == STERNA_OK; f++)
        rc = add_column(c, c->fields[f].name, "_bytes");
    if (rc == STERNA_OK) rc = sterna_store_columns(c->from, take_column, c, c->err);
    c->cells = stn_array(c->n_columns, sizeof *c->cells);
    return rc < 0 || c->cells ? rc : stn_fail_memory(c->err, "a row");
}

/* ---- classes ---- */

struct class {
    char *name;
    int64_t label;
    int missing; /* in the other store */
};

struct classes {
    struct stn_copy *copy;
    struct class *all;
    size_t n, cap;
    int64_t next_in_to; /* the label that its next new class gets */
};

static int keep_class(void *classes, int64_t label, const char *name, uint64_t n_samples) {
    struct classes *k = classes;
    void *all = k->all;
    (void)n_samples;
    if (stn_grow(&all, &k->cap, k->n + 1, sizeof *k->all) < 0)
        return stn_fail_memory(k->copy->err, "the names of classes");
    k->all = all;
    char *text = strdup(name);
    if (!text) return stn_fail_memory(k->copy->err, "the names of classes");
    k->all[k->n++] = (struct class){text, label, 1};
    return STERNA_OK;
}

static int differ(const struct classes *k, const char *name, int64_t label, const char *other,
                  int64_t other_label) {
    const struct stn_copy *c = k->copy;
    char a[80], b[80];
    return stn_fail(c->err, STERNA_EMISMATCH,
                    "class '%s' has label %" PRId64
                    " in %s, but in %s class '%s' has label %" PRId64
                    ": labels cannot be changed; copy into a new store",
                    stn_printable(name, a, sizeof a), label, c->from->shown, c->to->shown,
                    stn_printable(other, b, sizeof b), other_label);
}

static int match_class(void *classes, int64_t label, const char *name, uint64_t n_samples) {
    struct classes *k = classes;
    (void)n_samples;
    for (size_t i = 0; i < k->n; i++) {
        struct class *mine = &k->all[i];
        int same_name = strcmp(mine->name, name) == 0;
        if (same_name != (mine->label == label))
            return differ(k, mine->name, mine->label, name, label);
        if (same_name) mine->missing = 0;
    }
    k->next_in_to = STN_MAX(k->next_in_to, label + 1);
    return STERNA_OK;
}

/* Those that are missing, in the order of their labels, get the next labels: that must be theirs.
 */
static int add_classes(struct classes *k) {
    struct stn_copy *c = k->copy;
    const char **names = stn_array(k->n, sizeof *names);
    int64_t *labels = stn_array(k->n, sizeof *labels), *want = stn_array(k->n, sizeof *want);
    size_t n = 0;
    int rc = names && labels && want ? STERNA_OK : stn_fail_memory(c->err, "the names of classes");
    for (size_t i = 0; i < k->n && rc == STERNA_OK; i++) {
        if (!k->all[i].missing) continue;
        names[n] = k->all[i].name;
        want[n] = k->all[i].label;
        if (want[n] != k->next_in_to + (int64_t)n)
            rc = differ(k, names[n], want[n], names[n], k->next_in_to + (int64_t)n);
        n++;
    }
    if (rc == STERNA_OK && n > 0)
        rc = stn_catalog_declare_classes(c->in->catalog, names, n, labels, c->err);
    for (size_t i = 0; i < n && rc == STERNA_OK; i++) /* another process may have been faster */
        if (labels[i] != want[i]) rc = differ(k, names[i], want[i], names[i], labels[i]);
    free(names);
    free(labels);
    free(want);
    return rc;
}

static int declare_classes(struct stn_copy *c) {
    struct classes k = {.copy = c};
    int rc = sterna_store_classes(c->from, keep_class, &k, c->err);
    if (rc == STERNA_OK) rc = sterna_store_classes(c->to, match_class, &k, c->err);
    if (rc == STERNA_OK) rc = add_classes(&k);
    for (size_t i = 0; i < k.n; i++) free(k.all[i].name);
    free(k.all);
    return rc;
}

int stn_copy_names(struct stn_copy *c) {
    int rc = declare_classes(c); /* first: what it refuses leaves no trace */
    if (rc == STERNA_OK) rc = declare_fields(c);
    return rc == STERNA_OK ? declare_columns(c) : rc;
}

void stn_copy_names_fini(struct stn_copy *c) {
    for (size_t i = 0; i < c->n_columns; i++) free(c->columns[i]);
    free(c->columns);
    c->columns = NULL;
    c->n_columns = 0;
}
