#include "cassandra/dictionary.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

void stn_dictionary_fini(struct stn_dictionary *d) {
    for (size_t i = 0; i < d->n_classes; i++) free(d->classes[i]);
    for (size_t i = 0; i < d->n_columns; i++) free(d->columns[i]);
    free(d->classes);
    free(d->columns);
    free(d->by_name);
    *d = (struct stn_dictionary){0};
}

static int append(char ***list, size_t *n, size_t *cap, const char *name) {
    if (stn_grow((void **)list, cap, *n + 1, sizeof **list) < 0) return STERNA_ENOMEM;
    char *copy = strdup(name);
    if (!copy) return STERNA_ENOMEM;
    (*list)[(*n)++] = copy;
    return STERNA_OK;
}

/* ---- places ---- */

long stn_dictionary_field(const struct stn_dictionary *d, const char *name) {
    for (size_t i = 0; i < d->n_fields; i++)
        if (strcasecmp(d->fields[i].name, name) == 0) return (long)i;
    return -1;
}

long stn_dictionary_column(const struct stn_dictionary *d, const char *name) {
    for (size_t i = 0; i < d->n_columns; i++)
        if (strcasecmp(d->columns[i], name) == 0) return (long)i;
    return -1;
}

static int by_class_name(const void *a, const void *b, void *classes) {
    char *const *names = classes;
    size_t x = *(const size_t *)a, y = *(const size_t *)b;
    int order = strcmp(names[x], names[y]);
    return order ? order : (x > y) - (x < y);
}

static int sort_classes(struct stn_dictionary *d) {
    if (stn_grow((void **)&d->by_name, &d->by_name_cap, d->n_classes + 1, sizeof *d->by_name) < 0)
        return STERNA_ENOMEM;
    for (size_t i = 0; i < d->n_classes; i++) d->by_name[i] = i;
    qsort_r(d->by_name, d->n_classes, sizeof *d->by_name, by_class_name, d->classes);
    d->n_sorted = d->n_classes;
    return STERNA_OK;
}

long stn_dictionary_class(const struct stn_dictionary *d, const char *name) {
    size_t low = 0, high = d->n_sorted;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = strcmp(d->classes[d->by_name[middle]], name);
        if (order == 0) return (long)d->by_name[middle];
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return -1;
}

/* ---- adding ---- */

int stn_dictionary_add_field(struct stn_dictionary *d, const char *name, enum sterna_kind kind,
                             struct sterna_error *err) {
    if (d->n_fields == STN_DICTIONARY_FIELDS_MAX || strlen(name) >= sizeof d->fields[0].name)
        return stn_fail(err, STERNA_EINVAL, "no room for field '%s': a data set has at most %d",
                        name, STN_DICTIONARY_FIELDS_MAX);
    struct stn_dictionary_field *f = &d->fields[d->n_fields++];
    snprintf(f->name, sizeof f->name, "%s", name);
    f->kind = kind;
    return STERNA_OK;
}

int stn_dictionary_add_column(struct stn_dictionary *d, const char *name,
                              struct sterna_error *err) {
    int rc = append(&d->columns, &d->n_columns, &d->columns_cap, name);
    return rc < 0 ? stn_fail_memory(err, "the names of a data set") : rc;
}

/* Marks names that stand in the list before. */
static int mark_repeats(const char *const *names, size_t n, unsigned char *repeats) {
    size_t *order = stn_array(n, sizeof *order);
    if (!order) return STERNA_ENOMEM;
    for (size_t i = 0; i < n; i++) order[i] = i;
    qsort_r(order, n, sizeof *order, by_class_name, (void *)(uintptr_t)names);
    for (size_t i = 1; i < n; i++)
        if (strcmp(names[order[i - 1]], names[order[i]]) == 0) repeats[order[i]] = 1;
    free(order);
    return STERNA_OK;
}

int stn_dictionary_add_classes(struct stn_dictionary *d, const char *const *names, size_t n,
                               struct sterna_error *err) {
    size_t had = d->n_classes;
    unsigned char *repeats = stn_array(n, 1);
    int rc = repeats ? mark_repeats(names, n, repeats) : STERNA_ENOMEM;
    for (size_t i = 0; i < n && rc == STERNA_OK; i++)
        if (!repeats[i] && stn_dictionary_class(d, names[i]) < 0)
            rc = append(&d->classes, &d->n_classes, &d->classes_cap, names[i]);
    if (rc == STERNA_OK && d->n_classes > had) rc = sort_classes(d);
    free(repeats);
    return rc < 0 ? stn_fail_memory(err, "the names of a data set") : rc;
}

/* ---- as text ---- */

void stn_dictionary_write(const struct stn_dictionary *d, struct stn_json_out *o) {
    stn_json_put(o, "{\"fields\":[");
    for (size_t i = 0; i < d->n_fields; i++) {
        char field[96];
        int n = snprintf(field, sizeof field, "%s:%s", d->fields[i].name,
                         sterna_kind_name(d->fields[i].kind));
        if (i > 0) stn_json_put(o, ",");
        stn_json_put_text(o, field, (size_t)n);
    }
    stn_json_put(o, "],\"classes\":[");
    for (size_t i = 0; i < d->n_classes; i++) {
        if (i > 0) stn_json_put(o, ",");
        stn_json_put_text(o, d->classes[i], strlen(d->classes[i]));
    }
    stn_json_put(o, "],\"columns\":[");
    for (size_t i = 0; i < d->n_columns; i++) {
        if (i > 0) stn_json_put(o, ",");
        stn_json_put_text(o, d->columns[i], strlen(d->columns[i]));
    }
    stn_json_put(o, "]}");
}

/* "mask:mask" */
static int take_field(struct stn_dictionary *d, char *text) {
    enum sterna_kind kind;
    char *colon = strchr(text, ':');
    if (!colon || sterna_kind_parse(colon + 1, &kind) < 0) return STERNA_EFORMAT;
    *colon = '\0';
    if (!*text || stn_dictionary_field(d, text) >= 0) return STERNA_EFORMAT;
    return stn_dictionary_add_field(d, text, kind, NULL) < 0 ? STERNA_EFORMAT : STERNA_OK;
}

static int take_name(struct stn_dictionary *d, const char *list, char *name) {
    if (strcmp(list, "fields") == 0) return take_field(d, name);
    if (strcmp(list, "classes") == 0)
        return append(&d->classes, &d->n_classes, &d->classes_cap, name);
    if (strcmp(list, "columns") == 0)
        return append(&d->columns, &d->n_columns, &d->columns_cap, name);
    return STERNA_OK;
}

static int take_list(struct stn_dictionary *d, struct stn_json_in *in) {
    char *list, *name;
    size_t bytes;
    int rc = STERNA_OK;
    if (!stn_json_get_text(in, &list, &bytes) || !stn_json_take(in, ':')) return STERNA_EFORMAT;
    if (!stn_json_take(in, '[')) return STERNA_EFORMAT;
    if (stn_json_take(in, ']')) return STERNA_OK;
    do {
        if (!stn_json_get_text(in, &name, &bytes)) return STERNA_EFORMAT;
        rc = strlen(name) == bytes ? take_name(d, list, name) : STERNA_EFORMAT;
    } while (rc == STERNA_OK && stn_json_take(in, ','));
    if (rc == STERNA_OK && !stn_json_take(in, ']')) rc = STERNA_EFORMAT;
    return rc;
}

static int parse(struct stn_dictionary *d, struct stn_json_in *in) {
    int rc = STERNA_OK;
    if (!stn_json_take(in, '{')) return STERNA_EFORMAT;
    if (!stn_json_take(in, '}')) {
        do rc = take_list(d, in);
        while (rc == STERNA_OK && stn_json_take(in, ','));
        if (rc == STERNA_OK && !stn_json_take(in, '}')) rc = STERNA_EFORMAT;
    }
    if (rc == STERNA_OK && !stn_json_at_end(in)) rc = STERNA_EFORMAT;
    if (rc == STERNA_OK) rc = sort_classes(d);
    /* A name that stands twice would have two labels. */
    for (size_t i = 1; i < d->n_sorted && rc == STERNA_OK; i++)
        if (strcmp(d->classes[d->by_name[i - 1]], d->classes[d->by_name[i]]) == 0)
            rc = STERNA_EFORMAT;
    return rc;
}

int stn_dictionary_parse(struct stn_dictionary *out, const char *text, size_t bytes,
                         struct sterna_error *err) {
    *out = (struct stn_dictionary){0};
    char *copy = malloc(bytes + 1);
    if (!copy) return stn_fail_memory(err, "the names of a data set");
    if (bytes) memcpy(copy, text, bytes);
    copy[bytes] = '\0';
    struct stn_json_in in = {copy, copy + bytes};
    int rc = parse(out, &in);
    free(copy);
    if (rc == STERNA_OK) return rc;
    stn_dictionary_fini(out);
    return rc == STERNA_ENOMEM ? stn_fail_memory(err, "the names of a data set")
                               : stn_fail(err, rc, "the names of the data set cannot be read");
}
