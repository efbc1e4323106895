#include "cassandra/meta_row.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

static const struct {
    const char *name;
    enum sterna_type type;
    size_t bytes; /* of an integer */
} built_in[] = {
    /* in the order of the enum, from STN_META_PATH on */
    {"path", STERNA_TEXT, 0},    {"label", STERNA_INT, 8},   {"class", STERNA_TEXT, 0},
    {"split", STERNA_TEXT, 0},   {"width", STERNA_INT, 4},   {"height", STERNA_INT, 4},
    {"channels", STERNA_INT, 4}, {"format", STERNA_TEXT, 0},
};
#define FIRST_BUILT_IN STN_META_PATH

/* ---- writing ---- */

static int ends_with_bytes(const char *column, size_t *name_bytes) {
    size_t n = strlen(column);
    if (n <= 6 || strcmp(column + n - 6, "_bytes") != 0) return 0;
    *name_bytes = n - 6;
    return 1;
}

static int find_built_in(const char *column) {
    for (size_t i = 0; i < STN_COUNT(built_in); i++)
        if (strcasecmp(built_in[i].name, column) == 0) return (int)i;
    return -1;
}

static int can_hold(size_t i, const struct sterna_value *v) {
    if (v->type != built_in[i].type) return 0;
    if (v->type == STERNA_INT) return built_in[i].bytes == 8 || (v->i == (int32_t)v->i);
    return stn_is_utf8(v->text, v->text_bytes) && v->text_bytes <= INT32_MAX;
}

/* What is made of numbers lies in one piece of memory: id, added, label, three ints, the map. */
#define FIXED_BYTES (16 + 1 + 8 + 3 * 4)

static void put_built_in(struct stn_meta_writer *w, size_t i, const struct sterna_value *v,
                         uint8_t **at) {
    struct stn_cql_value *to = &w->values[FIRST_BUILT_IN + i];
    if (v->type == STERNA_TEXT)
        *to = stn_value_of(v->text_bytes ? v->text : "", v->text_bytes);
    else if (built_in[i].bytes == 8)
        *to = stn_value_from_bigint(v->i, *at);
    else
        *to = stn_value_from_int((int32_t)v->i, *at);
    *at += built_in[i].bytes;
}

static void put_more(struct stn_meta_writer *w, const struct stn_cell *cell) {
    stn_json_put(&w->more, w->more.bytes ? "," : "{");
    stn_json_put_text(&w->more, cell->column, strlen(cell->column));
    stn_json_put(&w->more, ":");
    stn_json_put_value(&w->more, &cell->value);
}

/* One entry of the map. */
static void put_length(uint8_t **at, const char *name, size_t name_bytes, int64_t length) {
    struct stn_writer w = {.to = *at, .cap = name_bytes + 16};
    stn_put_be32(&w, (uint32_t)name_bytes);
    stn_put_bytes(&w, name, name_bytes);
    stn_put_be32(&w, 8);
    stn_put_be64(&w, (uint64_t)length);
    *at += w.used;
}

/* A field's length is a column NAME_bytes of an integer; the user's columns may be called so, too,
 * and then lie in the map just as well: an integer is an integer. */
static int is_length(const struct stn_cell *cell, size_t *name_bytes) {
    return ends_with_bytes(cell->column, name_bytes) && cell->value.type == STERNA_INT;
}

static size_t measure(const struct stn_row *row) {
    size_t bytes = FIXED_BYTES + 4, name_bytes;
    for (size_t i = 0; i < row->n_cells; i++)
        if (is_length(&row->cells[i], &name_bytes)) bytes += name_bytes + 16;
    return bytes;
}

int stn_meta_write(struct stn_meta_writer *w, const struct stn_row *row, int belongs) {
    if (stn_grow((void **)&w->bytes, &w->cap, measure(row), 1) < 0) return STERNA_ENOMEM;
    for (size_t i = 0; i < STN_META_COLUMNS; i++) w->values[i] = stn_value_unset();
    w->more.bytes = 0;
    w->more.failed = 0;
    uint8_t *at = w->bytes, *map = w->bytes + FIXED_BYTES + 4;
    uint32_t n_lengths = 0;
    memcpy(at, row->id, 16);
    w->values[STN_META_ID] = stn_value_of(at, 16);
    at[16] = belongs != 0;
    w->values[STN_META_ADDED] = stn_value_of(at + 16, 1);
    at += 17;
    for (size_t i = 0; i < row->n_cells; i++) {
        const struct stn_cell *cell = &row->cells[i];
        int known = find_built_in(cell->column);
        size_t name_bytes;
        if (cell->value.type == STERNA_NULL) continue;
        if (known >= 0 && can_hold((size_t)known, &cell->value)) {
            put_built_in(w, (size_t)known, &cell->value, &at);
        } else if (is_length(cell, &name_bytes)) {
            put_length(&map, cell->column, name_bytes, cell->value.i);
            n_lengths++;
        } else {
            put_more(w, cell);
        }
    }
    if (n_lengths > 0) {
        uint8_t *head = w->bytes + FIXED_BYTES;
        struct stn_writer count = {.to = head, .cap = 4};
        stn_put_be32(&count, n_lengths);
        w->values[STN_META_BYTES] = stn_value_of(head, (size_t)(map - head));
    }
    if (w->more.bytes > 0) {
        stn_json_put(&w->more, "}");
        if (w->more.bytes > INT32_MAX) return STERNA_EINVAL;
        w->values[STN_META_MORE] = stn_value_of(w->more.text, w->more.bytes);
    }
    return w->more.failed ? STERNA_ENOMEM : STERNA_OK;
}

void stn_meta_writer_fini(struct stn_meta_writer *w) {
    free(w->bytes);
    stn_json_out_fini(&w->more);
    *w = (struct stn_meta_writer){0};
}

/* ---- reading ---- */

int stn_meta_reader_init(struct stn_meta_reader *r, const struct stn_dictionary *names) {
    *r = (struct stn_meta_reader){.names = names};
    r->n_cells = STN_COUNT(built_in) + names->n_fields + names->n_columns;
    r->cells = stn_array(r->n_cells, sizeof *r->cells);
    r->lengths = stn_array(names->n_fields, sizeof *r->lengths);
    if (!r->cells || !r->lengths) {
        stn_meta_reader_fini(r);
        return STERNA_ENOMEM;
    }
    struct stn_cell *cell = r->cells;
    for (size_t i = 0; i < STN_COUNT(built_in); i++) (cell++)->column = built_in[i].name;
    for (size_t i = 0; i < names->n_fields; i++) {
        snprintf(r->lengths[i], sizeof r->lengths[i], "%s_bytes", names->fields[i].name);
        (cell++)->column = r->lengths[i];
    }
    for (size_t i = 0; i < names->n_columns; i++) (cell++)->column = names->columns[i];
    return STERNA_OK;
}

void stn_meta_reader_fini(struct stn_meta_reader *r) {
    free(r->cells);
    free(r->lengths);
    free(r->more);
    *r = (struct stn_meta_reader){0};
}

/* The cell of a column, most likely the one after the last that was looked for. */
static struct stn_cell *find_cell(struct stn_meta_reader *r, const char *column) {
    for (size_t i = 0; i < r->n_cells; i++) {
        size_t at = (r->hint + i) % r->n_cells;
        if (strcasecmp(r->cells[at].column, column) != 0) continue;
        r->hint = at + 1;
        return &r->cells[at];
    }
    return NULL;
}

static int read_lengths(struct stn_meta_reader *r, struct stn_cql_value map) {
    if (map.bytes <= 0) return STERNA_OK;
    struct stn_cursor c = stn_cursor(map.data, (size_t)map.bytes);
    uint32_t n = stn_get_be32(&c);
    for (uint32_t i = 0; i < n && !c.overrun; i++) {
        char column[80];
        struct stn_cql_value name = stn_get_value(&c), length = stn_get_value(&c);
        if (c.overrun || name.bytes < 0 || length.bytes != 8) return STERNA_EFORMAT;
        snprintf(column, sizeof column, "%.*s_bytes", (int)name.bytes, (const char *)name.data);
        struct stn_cell *cell = find_cell(r, column);
        if (!cell) return STERNA_EFORMAT;
        cell->value = (struct sterna_value){.type = STERNA_INT, .i = stn_value_bigint(length)};
    }
    return c.overrun ? STERNA_EFORMAT : STERNA_OK;
}

static int read_more(struct stn_meta_reader *r, struct stn_cql_value more) {
    char *column;
    size_t column_bytes;
    if (more.bytes <= 0) return STERNA_OK;
    if (stn_grow((void **)&r->more, &r->more_cap, (size_t)more.bytes + 1, 1) < 0)
        return STERNA_ENOMEM;
    memcpy(r->more, more.data, (size_t)more.bytes);
    r->more[more.bytes] = '\0';
    struct stn_json_in in = {r->more, r->more + more.bytes};
    if (!stn_json_take(&in, '{')) return STERNA_EFORMAT;
    if (stn_json_take(&in, '}')) return STERNA_OK;
    do {
        if (!stn_json_get_text(&in, &column, &column_bytes) || !stn_json_take(&in, ':'))
            return STERNA_EFORMAT;
        struct stn_cell *cell = find_cell(r, column);
        if (!cell || !stn_json_get_value(&in, &cell->value)) return STERNA_EFORMAT;
    } while (stn_json_take(&in, ','));
    return stn_json_take(&in, '}') && stn_json_at_end(&in) ? STERNA_OK : STERNA_EFORMAT;
}

static void read_built_in(struct stn_cell *cell, size_t i, struct stn_cql_value v) {
    if (v.bytes < 0) return;
    cell->value.type = built_in[i].type;
    if (built_in[i].bytes == 8) cell->value.i = stn_value_bigint(v);
    if (built_in[i].bytes == 4) cell->value.i = stn_value_int(v);
    if (built_in[i].type != STERNA_TEXT) return;
    cell->value.text = (const char *)v.data;
    cell->value.text_bytes = (size_t)v.bytes;
}

int stn_meta_read(struct stn_meta_reader *r, const struct stn_cql_value *values,
                  struct stn_row *row, int *belongs, const char **why) {
    *why = "a row's id is none";
    if (values[STN_META_ID].bytes != 16) return STERNA_EFORMAT;
    for (size_t i = 0; i < r->n_cells; i++) r->cells[i].value = (struct sterna_value){0};
    r->hint = 0;
    for (size_t i = 0; i < STN_COUNT(built_in); i++)
        read_built_in(&r->cells[i], i, values[FIRST_BUILT_IN + i]);
    *why = "a row's column `bytes` names an unknown field";
    int rc = read_lengths(r, values[STN_META_BYTES]);
    if (rc < 0) return rc;
    *why = "a row's column `more` is damaged, or names an unknown column";
    rc = read_more(r, values[STN_META_MORE]);
    if (rc < 0) return rc;
    memcpy(row->id, values[STN_META_ID].data, 16);
    row->cells = r->cells;
    row->n_cells = r->n_cells;
    *belongs = values[STN_META_ADDED].bytes == 1 && values[STN_META_ADDED].data[0] != 0;
    return STERNA_OK;
}
