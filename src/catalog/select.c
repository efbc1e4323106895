/* Selections of a catalogue's samples: by expression, by ids, by name, by file, or all. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "base/file.h"
#include "catalog/catalog.h"
#include "catalog/handle.h"
#include "catalog/id_list.h"
#include "catalog/sample_reader.h"
#include "catalog/select.h"

#define NAME_BYTES_MAX 200 /* with ".sel" and a temporary suffix it is a file name still */

/* ---- the directory's named selections ---- */

int stn_selection_check_name(const char *name, struct sterna_error *err) {
    static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-";
    char shown[128];
    size_t n = strlen(name);
    if (n > 0 && n <= NAME_BYTES_MAX && strspn(name, plain) == n && !strchr(".-", name[0]))
        return STERNA_OK;
    return stn_fail(err, STERNA_EINVAL,
                    "'%s' is no selection name: letters, digits, '_', '.', '-', at most %d, not "
                    "starting with '.' or '-'",
                    stn_printable(name, shown, sizeof shown), NAME_BYTES_MAX);
}

char *stn_selection_named_path(const char *dir, const char *name) {
    size_t bytes = strlen(dir) + strlen(name) + 32;
    char *path = malloc(bytes);
    if (path) snprintf(path, bytes, "%s/selections/%s.sel", dir, name);
    return path;
}

int stn_selection_make_dir(const char *dir, const char *name, char **path,
                           struct sterna_error *err) {
    *path = stn_path_join(dir, name);
    if (!*path) return stn_fail_memory(err, dir);
    if (mkdir(*path, 0755) == 0 || errno == EEXIST) return STERNA_OK;
    int readonly = errno == EACCES || errno == EROFS || errno == EPERM;
    int rc =
        stn_fail_sys(err, readonly ? STERNA_EREADONLY : STERNA_EIO, "%s: cannot be made", *path);
    free(*path);
    *path = NULL;
    return rc;
}

/* ---- a selection that is there already ---- */

int stn_selection_check_dataset(const sterna_selection *s, const uint8_t dataset_id[16],
                                const char *name, struct sterna_error *err) {
    struct sterna_selection_info info;
    sterna_selection_info(s, &info);
    if (memcmp(info.dataset_id, dataset_id, 16) == 0) return STERNA_OK;
    char have[STERNA_ID_TEXT_BYTES], want[STERNA_ID_TEXT_BYTES];
    sterna_id_format(info.dataset_id, have);
    sterna_id_format(dataset_id, want);
    return stn_fail(err, STERNA_EMISMATCH, "%s: a selection of data set %s, not of this one, %s",
                    name, have, want);
}

static int has_column(const sterna_selection *s, const char *name) {
    const char *have;
    for (uint32_t i = 0; (have = sterna_selection_column_name(s, i)); i++)
        if (strcasecmp(have, name) == 0) return 1;
    return 0;
}

static int check_old(const sterna_selection *s, const struct stn_catalog *c, const char *path,
                     const struct sterna_select_options *o, struct sterna_error *err) {
    struct sterna_selection_info info;
    sterna_selection_info(s, &info);
    int rc = stn_selection_check_dataset(s, c->dataset_id, path, err);
    if (rc < 0) return rc;
    if (o->as_of_run && o->as_of_run != info.run)
        return stn_fail(err, STERNA_EINVAL, "%s: made as of run %llu, not %llu", path,
                        (unsigned long long)info.run, (unsigned long long)o->as_of_run);
    for (size_t i = 0; i < o->n_columns; i++)
        if (!has_column(s, o->columns[i]))
            return stn_fail(err, STERNA_EINVAL, "%s: was made without column '%s'", path,
                            o->columns[i]);
    return STERNA_OK;
}

static int open_old(sterna_selection **out, const struct stn_catalog *c, const char *path,
                    const struct sterna_select_options *o, struct sterna_error *err) {
    int rc = stn_selection_open(out, path, err);
    if (rc == STERNA_OK) rc = check_old(*out, c, path, o, err);
    if (rc < 0) sterna_selection_close(out);
    return rc;
}

static int open_named(sterna_selection **out, const struct stn_catalog *c, const char *dir,
                      const struct sterna_select_options *o, struct sterna_error *err) {
    int rc = stn_selection_check_name(o->name, err);
    if (rc < 0) return rc;
    if (!dir) return stn_fail(err, STERNA_EINVAL, "no directory to look for '%s' in", o->name);
    char *path = stn_selection_named_path(dir, o->name);
    if (!path) return stn_fail_memory(err, o->name);
    struct sterna_error why = {0};
    rc = open_old(out, c, path, o, &why);
    if (rc == STERNA_ENOTFOUND)
        stn_fail(err, rc, "%s: no selection is saved under the name '%s'", dir, o->name);
    else if (rc < 0 && err && err->code >= 0)
        *err = why;
    free(path);
    return rc;
}

/* ---- a new one ---- */

/* Which samples were listed already: a bit for each rowid. */
struct seen {
    uint8_t *bits;
    size_t cap;
};

static int see(struct seen *seen, uint64_t row, int *again) {
    size_t byte = (size_t)(row / 8), had = seen->cap;
    if (row >> 40 || stn_grow((void **)&seen->bits, &seen->cap, byte + 1, 1) < 0)
        return STERNA_ENOMEM;
    memset(seen->bits + had, 0, seen->cap - had);
    *again = seen->bits[byte] >> (row % 8) & 1;
    seen->bits[byte] |= (uint8_t)(1U << (row % 8));
    return STERNA_OK;
}

static int add_listed(struct stn_sample_reader *r, struct stn_selection_builder *b,
                      struct stn_id_list *list, struct seen *seen, struct sterna_error *err) {
    int rc, again = 0;
    while ((rc = stn_id_list_next(list, err)) > 0) {
        stn_query_seek(&r->query, list->id);
        rc = stn_sample_reader_next(r, err);
        if (rc == 0) return stn_id_list_fail(list, STERNA_ENOTFOUND, "is not in the store", err);
        if (rc < 0) return rc;
        if (see(seen, r->row, &again) < 0) return stn_fail_memory(err, "a list of ids");
        if (again) return stn_id_list_fail(list, STERNA_EINVAL, "is listed twice", err);
        rc = stn_sample_reader_add_to(r, b, err);
        if (rc < 0) return rc;
    }
    return rc;
}

static int add_all(struct stn_sample_reader *r, struct stn_selection_builder *b,
                   struct sterna_error *err) {
    int rc;
    while ((rc = stn_sample_reader_next(r, err)) > 0)
        if ((rc = stn_sample_reader_add_to(r, b, err)) < 0) return rc;
    return rc;
}

static int add_samples(const struct stn_snapshot *s, const struct sterna_select_options *o,
                       uint64_t run, struct stn_selection_builder *b, struct sterna_error *err) {
    int by_id = o->ids || o->ids_file;
    struct stn_sample_reader reader;
    struct stn_id_list list = {.n = 0};
    struct seen seen = {NULL, 0};
    const struct stn_query_spec spec = {.where = o->where,
                                        .columns = o->columns,
                                        .n_columns = o->n_columns,
                                        .as_of_run = run,
                                        .time_limit_ms = o->time_limit_ms,
                                        .by_id = by_id};
    int rc = stn_sample_reader_open(&reader, s, &spec, err);
    if (rc == STERNA_OK && by_id) rc = stn_id_list_open(&list, o->ids, o->n_ids, o->ids_file, err);
    if (rc == STERNA_OK)
        rc = by_id ? add_listed(&reader, b, &list, &seen, err) : add_all(&reader, b, err);
    stn_id_list_close(&list);
    stn_sample_reader_close(&reader);
    free(seen.bits);
    return rc;
}

/* `path` in `dir`, or both NULL: for use at once. */
static int build(sterna_selection **out, const struct stn_snapshot *s, const char *dir,
                 const char *path, const struct sterna_select_options *o, uint64_t run,
                 struct sterna_error *err) {
    const struct stn_selection_spec spec = {.dataset_id = s->schema.dataset_id,
                                            .run = run,
                                            .where = o->where,
                                            .n_fields = (uint32_t)s->schema.n_fields,
                                            .columns = o->columns,
                                            .n_columns = (uint32_t)o->n_columns};
    struct stn_selection_builder *b = NULL;
    int rc = stn_selection_builder_open(&b, dir, &spec, err);
    if (rc == STERNA_OK) rc = add_samples(s, o, run, b, err);
    if (rc == STERNA_OK) rc = stn_selection_builder_finish(b, path, out, err);
    stn_selection_builder_close(&b);
    return rc;
}

/* All samples: once for each run, kept in the store's directory if it can be written. */
static int open_all(sterna_selection **out, const struct stn_snapshot *s, const char *dir,
                    const struct sterna_select_options *o, struct sterna_error *err) {
    struct stn_cached cached = {.n_fields = (uint32_t)s->schema.n_fields,
                                .dataset_id = s->schema.dataset_id,
                                .run = s->schema.last_run,
                                .columns = o->columns,
                                .n_columns = o->n_columns};
    char *place = NULL, *path = stn_cached_path(dir, &cached);
    if (!path) return stn_fail_memory(err, dir);
    int rc = stn_cached_open(out, path, &cached);
    if (rc < 0 && stn_selection_make_dir(dir, STN_CACHE_DIR, &place, NULL) == STERNA_OK)
        rc = build(out, s, place, path, o, cached.run, NULL);
    if (place && rc == STERNA_OK) stn_cached_remove_older(place, cached.run);
    free(place);
    free(path);
    return rc;
}

static int make_new(sterna_selection **out, struct stn_catalog *c, const char *dir,
                    const struct sterna_select_options *o, struct sterna_error *err) {
    struct stn_snapshot s;
    uint64_t run = 0;
    int rc = stn_catalog_snapshot(c, &s, err);
    if (rc < 0) return rc;
    rc = stn_query_as_of(&s, o->as_of_run, &run, err);
    for (size_t i = 0; i < o->n_columns && rc == STERNA_OK; i++)
        rc = stn_query_check_column(&s, o->columns[i], err);
    int all = !o->where && !o->ids && !o->ids_file && run == s.schema.last_run;
    if (rc == STERNA_OK && all && dir && open_all(out, &s, dir, o, NULL) == STERNA_OK) {
        stn_snapshot_close(&s);
        return STERNA_OK;
    }
    if (rc == STERNA_OK) rc = build(out, &s, NULL, NULL, o, run, err);
    stn_snapshot_close(&s);
    return rc;
}

/* ---- the choice ---- */

int stn_select_check(const struct sterna_select_options *o, struct sterna_error *err) {
    int rc = stn_query_check_options(o->struct_size, sizeof *o, "select", err);
    if (rc < 0) return rc;
    int ways = !!o->where + !!o->name + !!o->file + !!o->ids_file + !!o->ids;
    if (ways > 1)
        return stn_fail(err, STERNA_EINVAL,
                        "a selection is made by one of where, name, file, ids_file and ids, not "
                        "by %d of them",
                        ways);
    if (o->n_columns > 0 && !o->columns)
        return stn_fail(err, STERNA_EINVAL, "select options: columns is NULL, n_columns %zu",
                        o->n_columns);
    for (size_t i = 0; i < o->n_columns; i++)
        if (!o->columns[i])
            return stn_fail(err, STERNA_EINVAL, "select options: columns[%zu] is NULL", i);
    return STERNA_OK;
}

int stn_catalog_select(sterna_selection **out, struct stn_catalog *c, const char *dir,
                       const struct sterna_select_options *options, struct sterna_error *err) {
    static const struct sterna_select_options all = {.struct_size = sizeof all};
    const struct sterna_select_options *o = options ? options : &all;
    *out = NULL;
    int rc = stn_select_check(o, err);
    if (rc < 0) return rc;
    if (o->name) return open_named(out, c, dir, o, err);
    if (o->file) return open_old(out, c, o->file, o, err);
    return make_new(out, c, dir, o, err);
}
