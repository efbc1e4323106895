/* The names that all hosts share: fields, classes and users' columns of a data set, as the row
 * `names` of its table of facts has them:
 *
 *   {"fields":["image:image","mask:mask"],"classes":["cat","dog"],"columns":["score"]}
 *
 * A field's number is its place, and so is a class's label: names are appended, never moved. A
 * later version may add members, which this one keeps away from by the table's format version. */
#ifndef STN_DICTIONARY_H
#define STN_DICTIONARY_H

#include "cassandra/json.h"
#include "sterna/store.h"

#define STN_DICTIONARY_FIELDS_MAX 32

struct stn_dictionary { /* empty: zeros */
    struct stn_dictionary_field {
        char name[64];
        enum sterna_kind kind;
    } fields[STN_DICTIONARY_FIELDS_MAX];
    size_t n_fields;
    char **classes, **columns;
    size_t n_classes, classes_cap, n_columns, columns_cap;
    /* Places of the classes in the order of their names; the first n_sorted are in there. */
    size_t *by_name, by_name_cap, n_sorted;
};

/* EFORMAT, ENOMEM; *out is empty then. */
int stn_dictionary_parse(struct stn_dictionary *out, const char *text, size_t bytes,
                         struct sterna_error *err);
void stn_dictionary_write(const struct stn_dictionary *d, struct stn_json_out *o);
void stn_dictionary_fini(struct stn_dictionary *d); /* safe twice */

/* Place of a name, or -1. Names of fields and columns: whatever the case of letters. */
long stn_dictionary_field(const struct stn_dictionary *d, const char *name);
long stn_dictionary_column(const struct stn_dictionary *d, const char *name);
long stn_dictionary_class(const struct stn_dictionary *d, const char *name);

/* Appended; the caller has looked that it is not there. EINVAL: no room; ENOMEM. */
int stn_dictionary_add_field(struct stn_dictionary *d, const char *name, enum sterna_kind kind,
                             struct sterna_error *err);
int stn_dictionary_add_column(struct stn_dictionary *d, const char *name, struct sterna_error *err);
/* Those that are not there are appended, in the order given. */
int stn_dictionary_add_classes(struct stn_dictionary *d, const char *const *names, size_t n,
                               struct sterna_error *err);

#endif
