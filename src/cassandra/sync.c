#include "cassandra/sync.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "cassandra/cache.h"
#include "cassandra/fetch.h"
#include "cassandra/meta_row.h"
#include "cassandra/runs.h"
#include "cassandra/tables.h"

#define PAGE_ROWS 2000
#define PARTITIONS_AT_ONCE 8

struct sync {
    struct stn_names *names;
    struct stn_cassandra *c;
    const char *dir;
    struct stn_asked *asked; /* the runs, before we were */
    char *path;              /* of the catalogue */
    struct stn_catalog *catalog;
    struct sterna_error *err;
    struct stn_run_row *runs; /* from the catalogue's last one on, which is looked at again */
    size_t n_runs, first_new;
    size_t *first_item; /* of each run, among all partitions; and one more: their number */
    struct stn_names_known known;
    struct stn_meta_reader reader;
};

/* ---- what is there ---- */

static int last_run(void *ctx, const struct sterna_run *run) {
    struct sterna_run *last = ctx;
    *last = *run;
    last->source = NULL;
    return 0;
}

/* Opens the catalogue: 1, or 0: there is none that can be used. */
static int open_catalog(struct sync *s, struct sterna_run *last) {
    struct sterna_error why = {0};
    int rc = stn_catalog_open(&s->catalog, s->path, STN_CATALOG_WRITE, &why);
    *last = (struct sterna_run){0};
    if (rc == STERNA_OK && memcmp(stn_catalog_dataset_id(s->catalog), s->c->dataset_id, 16) != 0)
        rc = STERNA_EMISMATCH;
    if (rc == STERNA_OK) rc = stn_catalog_runs(s->catalog, last_run, last, &why);
    if (rc == STERNA_OK) return 1;
    stn_catalog_close(&s->catalog);
    if (rc == STERNA_ENOTFOUND || rc == STERNA_EFORMAT || rc == STERNA_EMISMATCH) return 0;
    return stn_fail(s->err, rc, "%s", why.message); /* a disk that fails is made no better */
}

static int make_catalog(struct sync *s, struct sterna_run *last) {
    stn_catalog_close(&s->catalog);
    stn_cache_remove_catalog(s->path);
    int rc = stn_catalog_create(s->path, s->c->dataset_id, s->err);
    if (rc == STERNA_OK) rc = open_catalog(s, last);
    if (rc > 0) return STERNA_OK;
    return rc < 0 ? rc : stn_fail(s->err, STERNA_EIO, "%s: cannot be made", s->path);
}

static int list_runs(struct sync *s, const struct sterna_run *last) {
    stn_runs_free(&s->runs, s->n_runs);
    s->n_runs = 0;
    return stn_runs_list(s->c, last->run ? last->run : 1, s->asked, &s->runs, &s->n_runs, s->err);
}

/* The catalogue's last run must be the cluster's of that number. */
static int is_same_run(const struct sync *s, const struct sterna_run *last) {
    if (last->run == 0) return 1;
    return s->n_runs > 0 && s->runs[0].number == last->run &&
           s->runs[0].finished_s == last->finished_s;
}

static int look(struct sync *s) {
    struct sterna_run last;
    int rc = open_catalog(s, &last);
    if (rc == 0) rc = make_catalog(s, &last);
    if (rc >= 0) rc = list_runs(s, &last);
    if (rc == STERNA_OK && !is_same_run(s, &last)) {
        rc = make_catalog(s, &last);
        if (rc == STERNA_OK) rc = list_runs(s, &last);
    }
    s->first_new = last.run > 0;
    return rc;
}

/* ---- rows ---- */

static void partition(void *ctx, size_t item, struct stn_fetch_item *out) {
    struct sync *s = ctx;
    size_t run = s->first_new;
    while (item >= s->first_item[run + 1]) run++;
    memcpy(out->memory, s->runs[run].run, 16);
    out->values[0] = stn_value_of(out->memory, 16);
    out->values[1] = stn_value_from_int((int32_t)(item - s->first_item[run]), out->memory + 16);
    out->n_values = 2;
}

static int apply_row(struct sync *s, const struct stn_cql_value *values) {
    struct stn_row row;
    int belongs = 0, listed = 0;
    const char *why = NULL;
    int rc = stn_meta_read(&s->reader, values, &row, &belongs, &why);
    if (rc == STERNA_EFORMAT)
        return stn_fail(s->err, rc, "%s: table %s: %s", s->c->location.shown, s->c->meta_table,
                        why);
    if (rc < 0) return stn_fail_memory(s->err, "a row");
    rc = stn_catalog_has(s->catalog, row.id, &listed, s->err);
    if (rc < 0) return rc;
    /* Two runs at the same time may add the same sample: the later one's row is what it is. */
    return listed ? stn_catalog_update(s->catalog, &row, belongs, NULL, s->err)
                  : stn_catalog_insert(s->catalog, &row, s->err);
}

static int apply_page(struct sync *s, const struct stn_rows *rows) {
    int rc = STERNA_OK;
    if (rows->n_rows > 0 && rows->n_columns != STN_META_COLUMNS)
        return stn_fail(s->err, STERNA_EPROTO, "%s: %zu columns of table %s, not %d",
                        s->c->location.shown, rows->n_columns, s->c->meta_table, STN_META_COLUMNS);
    for (size_t i = 0; i < rows->n_rows && rc == STERNA_OK; i++)
        rc = apply_row(s, &rows->values[i * STN_META_COLUMNS]);
    return rc;
}

static int apply_run(struct sync *s, struct stn_fetch *fetch, size_t i) {
    const struct stn_run_row *run = &s->runs[i];
    struct stn_rows rows;
    uint64_t n_rows = 0, number;
    size_t item;
    int is_last;
    int rc = stn_catalog_begin_as(s->catalog, run->source, run->number, run->finished_s, s->err);
    if (rc == STERNA_OK && i == s->first_new) /* those of the later runs, too */
        rc = stn_names_declare(s->catalog, s->known.dictionary, s->err);
    while (rc == STERNA_OK) {
        rc = stn_fetch_next(fetch, s->first_item[i + 1], &item, &rows, &is_last, s->err);
        if (rc == STERNA_OK) rc = apply_page(s, &rows);
        if (rc == STERNA_OK) n_rows += rows.n_rows;
    }
    if (rc == STERNA_END && n_rows != run->n_samples)
        rc = stn_fail(s->err, STERNA_EFORMAT,
                      "%s: run %llu has %llu of its %llu rows in table %s: repair the table, or "
                      "ingest its samples again",
                      s->c->location.shown, (unsigned long long)run->number,
                      (unsigned long long)n_rows, (unsigned long long)run->n_samples,
                      s->c->meta_table);
    if (rc == STERNA_END) rc = stn_catalog_commit(s->catalog, &number, s->err);
    stn_catalog_rollback(s->catalog);
    return rc;
}

static int number_partitions(struct sync *s) {
    s->first_item = stn_array(s->n_runs + 1, sizeof *s->first_item);
    if (!s->first_item) return stn_fail_memory(s->err, "the list of runs");
    for (size_t i = s->first_new; i < s->n_runs; i++)
        s->first_item[i + 1] = s->first_item[i] + s->runs[i].n_parts;
    return STERNA_OK;
}

static int open_fetch(struct sync *s, struct stn_fetch **fetch, char *what) {
    struct stn_statement *select = NULL;
    char *text = stn_text_make("SELECT " STN_META_COLUMN_LIST " FROM %s WHERE run = ? AND part = ?",
                               s->c->meta_table);
    int rc = text && what ? STERNA_OK : stn_fail_memory(s->err, "a statement");
    if (rc == STERNA_OK) rc = stn_session_prepare(s->c->session, text, &select, s->err);
    free(text);
    if (rc < 0) return rc;
    return stn_fetch_open(fetch,
                          &(struct stn_fetch_options){.session = s->c->session,
                                                      .statement = select,
                                                      .consistency = STN_CQL_LOCAL_QUORUM,
                                                      .page_rows = PAGE_ROWS,
                                                      .at_once = PARTITIONS_AT_ONCE,
                                                      .n_items = s->first_item[s->n_runs],
                                                      .item = partition,
                                                      .ctx = s,
                                                      .what = what},
                          s->err);
}

/* Names are read after the list of runs, so that all that those runs use are there. */
static int bring(struct sync *s) {
    struct stn_fetch *fetch = NULL;
    if (s->first_new >= s->n_runs) return STERNA_OK;
    char *what = stn_text_make("%s: table %s", s->c->location.shown, s->c->meta_table);
    int rc = stn_names_refresh(s->names, s->err);
    if (rc == STERNA_OK) rc = number_partitions(s);
    pthread_mutex_lock(&s->names->lock); /* the dictionary stays as it is meanwhile */
    stn_names_known_init(&s->known, &s->names->known);
    stn_catalog_share_names(s->catalog, &s->known.base);
    if (rc == STERNA_OK && stn_meta_reader_init(&s->reader, &s->names->known) < 0)
        rc = stn_fail_memory(s->err, "a row");
    if (rc == STERNA_OK) rc = open_fetch(s, &fetch, what);
    for (size_t i = s->first_new; i < s->n_runs && rc == STERNA_OK; i++)
        rc = apply_run(s, fetch, i);
    stn_fetch_close(&fetch);
    stn_meta_reader_fini(&s->reader);
    pthread_mutex_unlock(&s->names->lock);
    free(what);
    return rc;
}

int stn_sync(struct stn_names *names, const char *dir, struct stn_asked *runs,
             struct sterna_error *err) {
    struct sync s = {.names = names, .c = names->c, .dir = dir, .asked = runs, .err = err};
    int lock = -1;
    s.path = stn_path_join(dir, "catalog.sqlite");
    int rc = s.path ? stn_cache_lock(dir, &lock, err) : stn_fail_memory(err, dir);
    if (rc == STERNA_OK) rc = look(&s);
    if (rc == STERNA_OK) rc = bring(&s);
    stn_catalog_close(&s.catalog);
    if (lock >= 0) close(lock);
    stn_runs_free(&s.runs, s.n_runs);
    free(s.first_item);
    free(s.path);
    return rc;
}
