#include "cassandra/foreign.h"

#include <stdio.h>
#include <string.h>

#include "base/digest.h"
#include "cassandra/tables.h"
#include "source/cql_text.h"

/* ---- types ---- */

static int is_integer(uint16_t type) {
    return type == STN_CQL_INT || type == STN_CQL_BIGINT || type == STN_CQL_SMALLINT ||
           type == STN_CQL_TINYINT;
}
static int is_uuid(uint16_t type) { return type == STN_CQL_UUID || type == STN_CQL_TIMEUUID; }

static int fail_type(const struct stn_cassandra *c, const char *option, const char *column,
                     const char *wanted, struct sterna_error *err) {
    return stn_fail(err, STERNA_EINVAL, "%s: %s=%s: this column of table %s is no %s",
                    c->location.shown, option, column, c->data_table, wanted);
}

/* ---- the data table ---- */

/* The columns of the mapping in the order in which a source reads them (see cql_select.c), so that
 * it finds its statement prepared. A label that is a picture comes behind the image. */
static char *select_mapped(const struct stn_cassandra *c, int label_last,
                           struct sterna_error *err) {
    const char *label = c->location.map.label;
    const char *columns[] = {c->location.map.image_crc, c->location.map.mask_crc,
                             label_last ? NULL : label, c->location.map.image,
                             c->location.map.mask,      label_last ? label : NULL};
    struct stn_cql_text t;
    if (stn_cql_text_open(&t, err) < 0) return NULL;
    stn_cql_text_add(&t, "SELECT ");
    stn_cql_text_name(&t, c->location.map.id);
    for (size_t i = 0; i < STN_COUNT(columns); i++) {
        if (!columns[i]) continue;
        stn_cql_text_add(&t, ", ");
        stn_cql_text_name(&t, columns[i]);
    }
    stn_cql_text_add(&t, " FROM %s WHERE ", c->data_table);
    stn_cql_text_name(&t, c->location.map.id);
    stn_cql_text_add(&t, " = ?");
    return stn_cql_text_take(&t, err);
}

static int prepare_mapped(struct stn_cassandra *c, struct stn_statement_info *info,
                          struct sterna_error *err) {
    struct stn_statement *statement = NULL;
    struct sterna_error why = {0};
    char *text = select_mapped(c, 0, err);
    if (!text) return STERNA_ENOMEM;
    int rc = stn_session_prepare(c->session, text, &statement, &why);
    free(text);
    if (rc == STERNA_EINVAL || rc == STERNA_ENOTFOUND)
        return stn_fail(err, rc, "%s: table %s cannot be read as the URL says: %s",
                        c->location.shown, c->data_table, why.message);
    if (rc < 0) return stn_fail(err, rc, "%s", why.message);
    stn_statement_info(statement, info);
    return STERNA_OK;
}

static int type_of(const struct stn_statement_info *info, const char *column) {
    for (size_t i = 0; column && i < info->n_columns; i++)
        if (strcmp(info->columns[i].name, column) == 0) return info->columns[i].type;
    return -1;
}

static int add_field(struct stn_cassandra *c, const char *name, enum sterna_kind kind,
                     const char *column, const char *crc, struct sterna_error *err) {
    struct stn_cassandra_field *f = &c->fields[c->n_fields];
    if (strlen(column) >= sizeof f->column || (crc && strlen(crc) >= sizeof f->crc_column))
        return stn_fail(err, STERNA_EINVAL, "%s: the name of column %s is too long",
                        c->location.shown, column);
    *f = (struct stn_cassandra_field){.number = (uint8_t)c->n_fields, .kind = kind};
    snprintf(f->name, sizeof f->name, "%s", name);
    snprintf(f->column, sizeof f->column, "%s", column);
    snprintf(f->crc_column, sizeof f->crc_column, "%s", crc ? crc : "");
    c->n_fields++;
    return STERNA_OK;
}

static int check_crc(struct stn_cassandra *c, const struct stn_statement_info *info,
                     const char *option, const char *column, struct sterna_error *err) {
    if (!column || type_of(info, column) == STN_CQL_INT) return STERNA_OK;
    return fail_type(c, option, column, "int", err);
}

/* A label may be a number, or a picture of its own: then it is a mask. */
static int map_label(struct stn_cassandra *c, const struct stn_statement_info *info,
                     struct sterna_error *err) {
    const char *label = c->location.map.label, *mask = c->location.map.mask;
    int type = type_of(info, label);
    if (!label) return STERNA_OK;
    if (type == STN_CQL_BLOB && !mask)
        return add_field(c, "mask", STERNA_KIND_MASK, label, c->location.map.mask_crc, err);
    if (type < 0 || !is_integer((uint16_t)type))
        return fail_type(c, "label", label, mask ? "integer" : "integer and no blob", err);
    if (strlen(label) >= sizeof c->label_column)
        return stn_fail(err, STERNA_EINVAL, "%s: the name of column %s is too long",
                        c->location.shown, label);
    snprintf(c->label_column, sizeof c->label_column, "%s", label);
    c->label_type = (uint16_t)type;
    return STERNA_OK;
}

static int map_columns(struct stn_cassandra *c, const struct stn_statement_info *info,
                       struct sterna_error *err) {
    const char *id = c->location.map.id, *image = c->location.map.image,
               *mask = c->location.map.mask;
    int id_type = type_of(info, id);
    if (id_type < 0 || !is_uuid((uint16_t)id_type) || strlen(id) >= sizeof c->id_column)
        return fail_type(c, "id", id, "uuid", err);
    if (info->n_key > 1)
        return stn_fail(err, STERNA_EINVAL,
                        "%s: id=%s: the partition key of table %s has other columns, too",
                        c->location.shown, id, c->data_table);
    snprintf(c->id_column, sizeof c->id_column, "%s", id);
    if (image && type_of(info, image) != STN_CQL_BLOB)
        return fail_type(c, "image", image, "blob", err);
    if (mask && type_of(info, mask) != STN_CQL_BLOB) return fail_type(c, "mask", mask, "blob", err);
    int rc = check_crc(c, info, "image_crc", c->location.map.image_crc, err);
    if (rc == STERNA_OK) rc = check_crc(c, info, "mask_crc", c->location.map.mask_crc, err);
    if (rc == STERNA_OK && image)
        rc = add_field(c, "image", STERNA_KIND_IMAGE, image, c->location.map.image_crc, err);
    if (rc == STERNA_OK && mask)
        rc = add_field(c, "mask", STERNA_KIND_MASK, mask, c->location.map.mask_crc, err);
    return rc == STERNA_OK ? map_label(c, info, err) : rc;
}

/* The same mapping of the same tables is the same data set, on every host. */
static int name_dataset(struct stn_cassandra *c, struct sterna_error *err) {
    static const uint8_t space[16] = {0};
    const struct stn_location *l = &c->location;
    const char *parts[] = {c->data_table, l->map.id,       l->map.image, l->map.image_crc,
                           l->map.mask,   l->map.mask_crc, l->map.label, l->map.meta};
    struct stn_session_info info;
    stn_session_info(c->session, &info);
    char *name = stn_text_make("%s", info.cluster_name);
    for (size_t i = 0; i < STN_COUNT(parts) && name; i++) {
        char *longer = stn_text_make("%s\n%s", name, parts[i] ? parts[i] : "");
        free(name);
        name = longer;
    }
    int rc = name ? stn_uuid5(space, name, strlen(name), c->dataset_id) : STERNA_ENOMEM;
    free(name);
    return rc < 0 ? stn_fail_memory(err, "the name of a data set") : rc;
}

int stn_foreign_ask(struct stn_cassandra *c, struct sterna_error *err) {
    int picture = c->location.map.label && !c->location.map.mask; /* perhaps */
    c->data_table = stn_tables_qualify(c->location.keyspace, c->location.map.table);
    if (c->location.map.meta)
        c->meta_table = stn_tables_qualify(c->location.keyspace, c->location.map.meta);
    if (!c->data_table || (c->location.map.meta && !c->meta_table))
        return stn_fail_memory(err, "the names of tables");
    for (int label_last = 0; label_last <= picture; label_last++) {
        char *text = select_mapped(c, label_last, err);
        if (!text) return STERNA_ENOMEM;
        stn_session_prepare_ahead(c->session, text);
        free(text);
    }
    return STERNA_OK;
}

int stn_foreign_open(struct stn_cassandra *c, struct sterna_error *err) {
    struct stn_statement_info info = {0};
    int rc = prepare_mapped(c, &info, err);
    if (rc == STERNA_OK) rc = map_columns(c, &info, err);
    return rc == STERNA_OK ? name_dataset(c, err) : rc;
}
