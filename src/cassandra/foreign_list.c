/* The samples of another tool's tables, listed: one table, looked through in ranges of tokens at
 * the same time, into a new catalogue that replaces the older one when it is whole. Pictures are
 * never asked for. */
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include <unistd.h>

#include "base/file.h"
#include "cassandra/cache.h"
#include "cassandra/fetch.h"
#include "cassandra/foreign.h"
#include "cassandra/tables.h"
#include "catalog/catalog.h"

#define PAGE_ROWS 2000
#define RANGES_AT_ONCE 16
#define RANGES_A_NODE                                                                              \
    (4 * RANGES_AT_ONCE) /* so that the longest one is no long wait at the end                     \
                          */

struct listed {      /* a column of the scan */
    char column[64]; /* in the table */
    char name[64];   /* in the catalogue; "": the id */
    uint16_t type;
    char text[STERNA_ID_TEXT_BYTES]; /* of a UUID of the row at hand */
};

struct list {
    struct stn_cassandra *c;
    struct sterna_error *err;
    const char *dir, *table;
    char *path, *new_path;
    struct stn_catalog *catalog; /* the new one */
    struct listed *columns;
    struct stn_cell *cells;
    size_t n_columns, columns_cap;
    int64_t (*ranges)[2]; /* (after, to] */
    size_t n_ranges, ranges_cap;
};

/* ---- values ---- */

static enum sterna_type type_of(uint16_t type) {
    switch (type) {
    case STN_CQL_ASCII:
    case STN_CQL_VARCHAR:
    case STN_CQL_UUID:
    case STN_CQL_TIMEUUID:
        return STERNA_TEXT;
    case STN_CQL_BIGINT:
    case STN_CQL_COUNTER:
    case STN_CQL_INT:
    case STN_CQL_SMALLINT:
    case STN_CQL_TINYINT:
    case STN_CQL_BOOLEAN:
    case STN_CQL_TIMESTAMP: /* milliseconds since 1970 */
        return STERNA_INT;
    case STN_CQL_DOUBLE:
    case STN_CQL_FLOAT:
        return STERNA_REAL;
    default: /* no scalar that SQLite has */
        return STERNA_NULL;
    }
}

/* A number of 1, 2, 4 or 8 bytes. */
static int64_t integer_of(struct stn_cql_value v) {
    uint64_t bits = v.bytes > 0 && (v.data[0] & 0x80) && v.bytes > 1 ? UINT64_MAX : 0;
    for (int32_t i = 0; i < v.bytes && i < 8; i++) bits = bits << 8 | v.data[i];
    return v.bytes == 1 ? (int8_t)bits : (int64_t)bits;
}

static double real_of(struct stn_cql_value v) {
    double wide = 0;
    float narrow = 0;
    uint64_t bits = (uint64_t)integer_of(v);
    uint32_t low = (uint32_t)bits;
    if (v.bytes == 8) memcpy(&wide, &bits, sizeof wide);
    if (v.bytes == 4) memcpy(&narrow, &low, sizeof narrow);
    return v.bytes == 4 ? (double)narrow : wide;
}

static struct sterna_value value_of(struct listed *l, struct stn_cql_value v) {
    struct sterna_value out = {.type = v.bytes < 0 ? STERNA_NULL : type_of(l->type)};
    if (out.type == STERNA_INT && v.bytes == 0) out.type = STERNA_NULL;
    if (out.type == STERNA_INT) out.i = integer_of(v);
    if (out.type == STERNA_REAL) out.r = real_of(v);
    if (out.type != STERNA_TEXT) return out;
    out.text = (const char *)v.data;
    out.text_bytes = (size_t)v.bytes;
    if ((l->type == STN_CQL_UUID || l->type == STN_CQL_TIMEUUID) && v.bytes == 16) {
        sterna_id_format(v.data, l->text);
        out.text = l->text;
        out.text_bytes = strlen(l->text);
    }
    return out;
}

/* ---- columns ---- */

static int add_column(struct list *l, const char *column, const char *name, uint16_t type) {
    if (stn_grow((void **)&l->columns, &l->columns_cap, l->n_columns + 1, sizeof *l->columns) < 0)
        return stn_fail_memory(l->err, "the columns of a table");
    struct listed *to = &l->columns[l->n_columns++];
    *to = (struct listed){.type = type};
    snprintf(to->column, sizeof to->column, "%s", column);
    snprintf(to->name, sizeof to->name, "%s", name);
    return STERNA_OK;
}

static int is_taken(const struct list *l, const char *name) {
    for (size_t i = 0; i < l->n_columns; i++)
        if (strcasecmp(l->columns[i].name, name) == 0) return 1;
    return 0;
}

static int is_built_in(const char *name, enum sterna_type type, int *fits) {
    static const struct {
        const char *name;
        enum sterna_type type;
    } all[] = {{"path", STERNA_TEXT},   {"label", STERNA_INT},   {"class", STERNA_TEXT},
               {"split", STERNA_TEXT},  {"width", STERNA_INT},   {"height", STERNA_INT},
               {"format", STERNA_TEXT}, {"channels", STERNA_INT}};
    for (size_t i = 0; i < STN_COUNT(all); i++)
        if (strcasecmp(all[i].name, name) == 0) {
            *fits = all[i].type == type;
            return 1;
        }
    return 0;
}

/* A column that no catalogue can have, by its name or its type, is left out. */
static int take_column(struct list *l, const struct stn_statement_column *column) {
    const char *label = l->c->location.map.label, *name = column->name;
    enum sterna_type type = type_of(column->type);
    int fits = 0;
    if (type == STERNA_NULL || strcmp(name, l->c->location.map.id) == 0) return STERNA_OK;
    if (label && strcmp(name, label) == 0 && type == STERNA_INT) name = "label";
    if (is_taken(l, name)) return STERNA_OK;
    if (!is_built_in(name, type, &fits)) {
        struct sterna_error why = {0};
        int rc = stn_catalog_declare_column(l->catalog, name, &why);
        if (rc < 0 && rc != STERNA_EINVAL) return stn_fail(l->err, rc, "%s", why.message);
        fits = rc == STERNA_OK;
    }
    return fits ? add_column(l, column->name, name, column->type) : STERNA_OK;
}

static int prepare(struct list *l, struct stn_statement **out, char *text) {
    struct sterna_error why = {0};
    int rc = text ? stn_session_prepare(l->c->session, text, out, &why)
                  : stn_fail_memory(&why, "a statement");
    free(text);
    if (rc < 0)
        stn_fail(l->err, rc, "%s: table %s: %s", l->c->location.shown, l->table, why.message);
    return rc;
}

/* All columns of the table of metadata; the id first. */
static int take_meta(struct list *l) {
    struct stn_statement *all = NULL;
    struct stn_statement_info info = {0};
    const char *id = l->c->location.map.id;
    int rc = prepare(l, &all, stn_text_make("SELECT * FROM %s", l->table));
    if (rc < 0) return rc;
    stn_statement_info(all, &info);
    size_t i = 0;
    while (i < info.n_columns && strcmp(info.columns[i].name, id) != 0) i++;
    if (i == info.n_columns ||
        (info.columns[i].type != STN_CQL_UUID && info.columns[i].type != STN_CQL_TIMEUUID))
        return stn_fail(l->err, STERNA_EINVAL, "%s: table %s has no column %s of type uuid",
                        l->c->location.shown, l->table, id);
    rc = add_column(l, id, "", info.columns[i].type);
    for (i = 0; i < info.n_columns && rc == STERNA_OK; i++) rc = take_column(l, &info.columns[i]);
    return rc;
}

static int take_data(struct list *l) {
    const struct stn_cassandra *c = l->c;
    int rc = add_column(l, c->id_column, "", STN_CQL_UUID);
    if (rc == STERNA_OK && c->label_column[0])
        rc = add_column(l, c->label_column, "label", c->label_type);
    return rc;
}

static int declare_fields(struct stn_cassandra *c, struct stn_catalog *catalog,
                          struct sterna_error *err) {
    uint32_t number;
    int rc = STERNA_OK;
    for (size_t i = 0; i < c->n_fields && rc == STERNA_OK; i++)
        rc = stn_catalog_declare_field(catalog, c->fields[i].name, c->fields[i].kind, &number, err);
    return rc;
}

/* The lengths of fields are columns, too: not known before a value is read. */
static int make_cells(struct list *l) {
    l->cells = stn_array(l->n_columns + l->c->n_fields, sizeof *l->cells);
    if (!l->cells) return stn_fail_memory(l->err, "a row");
    for (size_t i = 1; i < l->n_columns; i++) l->cells[i - 1].column = l->columns[i].name;
    return STERNA_OK;
}

/* ---- the scan ---- */

static void add_range(void *ctx, int64_t after, int64_t to) {
    struct list *l = ctx;
    if (stn_grow((void **)&l->ranges, &l->ranges_cap, l->n_ranges + 1, sizeof *l->ranges) < 0)
        return; /* seen below: the ranges end too early */
    l->ranges[l->n_ranges][0] = after;
    l->ranges[l->n_ranges++][1] = to;
}

static int cut_ring(struct list *l) {
    struct stn_session_info info;
    stn_session_info(l->c->session, &info);
    size_t nodes = STN_MAX(info.n_nodes, 1U);
    stn_session_pieces(l->c->session, nodes * RANGES_A_NODE, add_range, l);
    int whole = l->n_ranges > 0 && l->ranges[0][0] == INT64_MIN &&
                l->ranges[l->n_ranges - 1][1] == INT64_MAX;
    for (size_t i = 1; i < l->n_ranges && whole; i++)
        whole = l->ranges[i - 1][1] == l->ranges[i][0];
    if (whole) return STERNA_OK;
    /* One range is the ring, too. */
    l->n_ranges = 0;
    add_range(l, INT64_MIN, INT64_MAX);
    return l->n_ranges == 1 ? STERNA_OK : stn_fail_memory(l->err, "the ranges of a table");
}

static void range(void *ctx, size_t i, struct stn_fetch_item *out) {
    struct list *l = ctx;
    out->values[0] = stn_value_from_bigint(l->ranges[i][0], out->memory);
    out->values[1] = stn_value_from_bigint(l->ranges[i][1], out->memory + 8);
    out->n_values = 2;
    out->has_near = 1;
    out->near = l->ranges[i][1];
}

static void everything(void *ctx, size_t i, struct stn_fetch_item *out) {
    (void)ctx, (void)i;
    out->n_values = 0;
}

static char *column_list(const struct list *l) {
    char *text = strdup("");
    for (size_t i = 0; i < l->n_columns && text; i++) {
        char *name = stn_tables_quote(l->columns[i].column);
        char *longer = name ? stn_text_make("%s%s%s", text, i ? ", " : "", name) : NULL;
        free(name);
        free(text);
        text = longer;
    }
    return text;
}

/* Where the id is the partition key the table is read in ranges, else from one end to the other. */
static int open_scan(struct list *l, struct stn_fetch **fetch, const char *what) {
    struct stn_statement *scan = NULL;
    char *columns = column_list(l), *id = stn_tables_quote(l->columns[0].column);
    struct stn_fetch_options o = {.session = l->c->session,
                                  .consistency = STN_CQL_LOCAL_ONE,
                                  .page_rows = PAGE_ROWS,
                                  .at_once = RANGES_AT_ONCE,
                                  .n_items = l->n_ranges,
                                  .item = range,
                                  .ctx = l,
                                  .what = what};
    if (l->c->location.read_consistency) o.consistency = l->c->location.read_consistency;
    char *text = columns && id ? stn_text_make("SELECT %s FROM %s WHERE token(%s) > ?"
                                               " AND token(%s) <= ?",
                                               columns, l->table, id, id)
                               : NULL;
    int rc = text ? stn_session_prepare(l->c->session, text, &scan, NULL)
                  : stn_fail_memory(l->err, "a statement");
    free(text);
    if (rc == STERNA_EINVAL) {
        o.n_items = 1;
        o.item = everything;
        rc = prepare(l, &scan,
                     columns ? stn_text_make("SELECT %s FROM %s", columns, l->table) : NULL);
    } else if (rc < 0) {
        stn_fail(l->err, rc, "%s cannot be read", what);
    }
    o.statement = scan;
    free(columns);
    free(id);
    return rc == STERNA_OK ? stn_fetch_open(fetch, &o, l->err) : rc;
}

static int add_sample(struct list *l, const struct stn_cql_value *values) {
    struct stn_row row = {.cells = l->cells, .n_cells = l->n_columns - 1};
    if (values[0].bytes != 16)
        return stn_fail(l->err, STERNA_EFORMAT, "%s: table %s: an id is no uuid",
                        l->c->location.shown, l->table);
    memcpy(row.id, values[0].data, 16);
    for (size_t i = 1; i < l->n_columns; i++)
        l->cells[i - 1].value = value_of(&l->columns[i], values[i]);
    struct sterna_error why = {0};
    int rc = stn_catalog_insert(l->catalog, &row, &why);
    if (rc == STERNA_ECONFLICT) {
        char id[STERNA_ID_TEXT_BYTES];
        sterna_id_format(row.id, id);
        return stn_fail(l->err, rc, "%s: table %s has several rows for %s: a sample has one",
                        l->c->location.shown, l->table, id);
    }
    return rc < 0 ? stn_fail(l->err, rc, "%s", why.message) : rc;
}

static int scan_table(struct list *l) {
    struct stn_fetch *fetch = NULL;
    struct stn_rows rows;
    size_t item;
    int is_last;
    char *what = stn_text_make("%s: table %s", l->c->location.shown, l->table);
    int rc = what ? cut_ring(l) : stn_fail_memory(l->err, "a statement");
    if (rc == STERNA_OK) rc = open_scan(l, &fetch, what);
    while (rc == STERNA_OK) {
        rc = stn_fetch_next(fetch, SIZE_MAX, &item, &rows, &is_last, l->err);
        if (rc == STERNA_OK && rows.n_rows > 0 && rows.n_columns != l->n_columns)
            rc = stn_fail(l->err, STERNA_EPROTO, "%s has other columns now: list it again", what);
        for (size_t i = 0; rc == STERNA_OK && i < rows.n_rows; i++)
            rc = add_sample(l, &rows.values[i * rows.n_columns]);
    }
    stn_fetch_close(&fetch);
    free(what);
    return rc == STERNA_END ? STERNA_OK : rc;
}

/* ---- the catalogue ---- */

static int fill(struct list *l, uint64_t run) {
    uint64_t number;
    int rc = stn_catalog_create(l->new_path, l->c->dataset_id, l->err);
    if (rc == STERNA_OK) rc = stn_catalog_open(&l->catalog, l->new_path, STN_CATALOG_WRITE, l->err);
    if (rc == STERNA_OK)
        rc = stn_catalog_begin_as(l->catalog, l->c->location.shown, run, (int64_t)time(NULL),
                                  l->err);
    if (rc == STERNA_OK) rc = declare_fields(l->c, l->catalog, l->err);
    if (rc == STERNA_OK) rc = l->c->meta_table ? take_meta(l) : take_data(l);
    if (rc == STERNA_OK) rc = make_cells(l);
    if (rc == STERNA_OK) rc = scan_table(l);
    if (rc == STERNA_OK) rc = stn_catalog_commit(l->catalog, &number, l->err);
    stn_catalog_close(&l->catalog);
    return rc;
}

static int list_anew(struct list *l, uint64_t run) {
    stn_cache_remove_catalog(l->new_path);
    int rc = fill(l, run);
    if (rc == STERNA_OK && rename(l->new_path, l->path) < 0)
        rc = stn_fail_sys(l->err, STERNA_EIO, "%s: cannot be replaced", l->path);
    if (rc == STERNA_OK) rc = stn_sync_directory_of(l->path, l->err);
    if (rc < 0) stn_cache_remove_catalog(l->new_path);
    return rc;
}

/* 1 and its last run, or 0: there is none that can be used. */
static int look(struct list *l, uint64_t *last_run) {
    struct stn_catalog *catalog = NULL;
    struct sterna_store_info info = {0};
    struct sterna_error why = {0};
    int rc = stn_catalog_open(&catalog, l->path, STN_CATALOG_WRITE, &why);
    if (rc == STERNA_OK && memcmp(stn_catalog_dataset_id(catalog), l->c->dataset_id, 16) != 0)
        rc = STERNA_EMISMATCH;
    if (rc == STERNA_OK) rc = stn_catalog_info(catalog, &info, &why);
    stn_catalog_close(&catalog);
    *last_run = info.last_run;
    if (rc == STERNA_OK) return 1;
    if (rc == STERNA_ENOTFOUND || rc == STERNA_EFORMAT || rc == STERNA_EMISMATCH) return 0;
    return stn_fail(l->err, rc, "%s", why.message);
}

static int make_empty(struct list *l) {
    struct stn_catalog *catalog = NULL;
    uint64_t number;
    stn_cache_remove_catalog(l->path);
    int rc = stn_catalog_create(l->path, l->c->dataset_id, l->err);
    if (rc == STERNA_OK) rc = stn_catalog_open(&catalog, l->path, STN_CATALOG_WRITE, l->err);
    if (rc == STERNA_OK) rc = stn_catalog_begin_as(catalog, "", 0, 0, l->err);
    if (rc == STERNA_OK) rc = declare_fields(l->c, catalog, l->err);
    if (rc == STERNA_OK) rc = stn_catalog_commit(catalog, &number, l->err);
    stn_catalog_close(&catalog);
    return rc;
}

static int work(struct stn_cassandra *c, const char *dir, int list, int again,
                struct sterna_error *err) {
    struct list l = {.c = c,
                     .err = err,
                     .dir = dir,
                     .table = c->meta_table ? c->meta_table : c->data_table,
                     .path = stn_path_join(dir, "catalog.sqlite"),
                     .new_path = stn_path_join(dir, "listing.sqlite")};
    int lock = -1;
    uint64_t last = 0;
    int rc = l.path && l.new_path ? stn_cache_lock(dir, &lock, err) : stn_fail_memory(err, dir);
    if (rc == STERNA_OK) rc = look(&l, &last);
    if (rc == 0) rc = make_empty(&l);
    if (rc >= 0 && list && (again || last == 0)) rc = list_anew(&l, last + 1);
    if (lock >= 0) close(lock);
    free(l.path);
    free(l.new_path);
    free(l.columns);
    free(l.cells);
    free(l.ranges);
    return STN_MIN(rc, 0);
}

int stn_foreign_catalog(struct stn_cassandra *c, const char *dir, struct sterna_error *err) {
    return work(c, dir, 0, 0, err);
}

int stn_foreign_list(struct stn_cassandra *c, const char *dir, int again,
                     struct sterna_error *err) {
    return work(c, dir, 1, again, err);
}
