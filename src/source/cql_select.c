/* Texts of the statements that a source reads by. They are made in one place, so that who opens a
 * data set can have them prepared before the source asks for them. */
#include "source/cql_select.h"

#include <stdio.h>

#include "source/cql_text.h"

/* Small columns first: key, lengths and checksums, label; then the values, in the fields' order. */
int stn_cql_select_make(struct stn_cql_select *out, const struct stn_cassandra *c,
                        const struct stn_cassandra_field *fields, uint32_t n_fields, int with_label,
                        struct sterna_error *err) {
    struct stn_cql_text t;
    uint16_t at = 1;
    *out = (struct stn_cql_select){.text = NULL};
    if (stn_cql_text_open(&t, err) < 0) return STERNA_ENOMEM;
    stn_cql_text_add(&t, "SELECT ");
    stn_cql_text_name(&t, c->id_column);
    for (uint32_t i = 0; i < n_fields; i++) {
        struct stn_cql_place *place = &out->places[i];
        const char *columns[] = {fields[i].bytes_column, fields[i].crc_column};
        uint16_t *places[] = {&place->bytes_at, &place->crc_at};
        snprintf(place->name, sizeof place->name, "%s", fields[i].name);
        for (size_t k = 0; k < STN_COUNT(columns); k++) {
            if (!columns[k][0]) continue;
            stn_cql_text_add(&t, ", ");
            stn_cql_text_name(&t, columns[k]);
            *places[k] = at++;
        }
    }
    if (with_label) {
        stn_cql_text_add(&t, ", ");
        stn_cql_text_name(&t, c->label_column);
        out->label_at = at++;
    }
    for (uint32_t i = 0; i < n_fields; i++) {
        stn_cql_text_add(&t, ", ");
        stn_cql_text_name(&t, fields[i].column);
    }
    stn_cql_text_add(&t, " FROM %s WHERE ", c->data_table);
    stn_cql_text_name(&t, c->id_column);
    stn_cql_text_add(&t, " = ?");
    out->shape = (struct stn_row_shape){at, (uint16_t)n_fields};
    out->text = stn_cql_text_take(&t, err);
    return out->text ? STERNA_OK : STERNA_ENOMEM;
}

char *stn_cql_select_chunk(const char *table, struct sterna_error *err) {
    struct stn_cql_text t;
    if (stn_cql_text_open(&t, err) < 0) return NULL;
    stn_cql_text_add(&t, "SELECT id, n, crc, data FROM %s WHERE id = ? AND field = ? AND n = ?",
                     table);
    return stn_cql_text_take(&t, err);
}
