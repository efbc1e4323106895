/* Splits samples into selections: saved under the parts' names, or handed to the caller.
 *
 * A group stands at a place on a line from 0 to 1 that depends on itself and the seed only:
 *   key    the sample's id; with `by`: UUIDv5 of the value's text, in the all-zero name space
 *   place  Philox4x32-10, key (seed low, seed high), counter the four little-endian words of the
 *          key: (v0 + v1 * 2^32) / 2^64
 * and goes to the first part whose cumulated share lies above its place. With `exact` the groups
 * of a stratum are cut in this order instead. */
#include <math.h>
#include <string.h>

#include "base/bytes.h"
#include "base/digest.h"
#include "base/philox.h"
#include "catalog/apportion.h"
#include "catalog/catalog.h"
#include "catalog/handle.h"
#include "catalog/sample_reader.h"
#include "catalog/select.h"
#include "catalog/split_report.h"

#define PARTS_MAX 100 /* each has two files open */

struct split {
    const struct sterna_split_options *o;
    const char *dir;
    size_t n_parts;
    double *shares, *ends; /* of each part; cumulated */
    uint64_t n_chosen;     /* of the selection that is split, if it is one */
    const char **columns;  /* that are read: those the parts carry, `by`, `stratify` */
    size_t n_carried, n_columns;
    struct stn_snapshot snapshot;
    struct stn_sample_reader reader;
    struct stn_selection_builder **builders;
    struct stn_groups groups;
    struct stn_strata strata;
    struct stn_tally tally;
    struct stn_split_counts counts;
    uint64_t n_rows; /* read in this pass */
};

/* ---- options ---- */

static int check_parts(const struct sterna_split_options *o, struct sterna_error *err) {
    double sum = 0;
    if (o->n_parts == 0 || o->n_parts > PARTS_MAX || !o->parts)
        return stn_fail(err, STERNA_EINVAL, "a split has 1 to %d parts, not %zu", PARTS_MAX,
                        o->n_parts);
    for (size_t i = 0; i < o->n_parts; i++) {
        if (!o->parts[i].name) return stn_fail(err, STERNA_EINVAL, "parts[%zu] has no name", i);
        int rc = o->out ? STERNA_OK : stn_selection_check_name(o->parts[i].name, err);
        if (rc < 0) return rc;
        for (size_t k = 0; k < i; k++)
            if (strcmp(o->parts[i].name, o->parts[k].name) == 0)
                return stn_fail(err, STERNA_EINVAL, "part '%s' is named twice", o->parts[i].name);
        if (!(o->parts[i].share > 0) || !isfinite(o->parts[i].share))
            return stn_fail(err, STERNA_EINVAL, "part '%s': a share must be above 0, not %g",
                            o->parts[i].name, o->parts[i].share);
        sum += o->parts[i].share;
    }
    if (fabs(sum - 1) > 1e-6)
        return stn_fail(err, STERNA_EINVAL, "the shares of the parts add up to %.9g, not to 1",
                        sum);
    return STERNA_OK;
}

static int check_selection(const struct split *s, struct sterna_error *err) {
    if (!s->o->selection) return STERNA_OK;
    if (s->o->where)
        return stn_fail(err, STERNA_EINVAL, "a split is of `where` or of a selection, not of both");
    return stn_selection_check_dataset(s->o->selection, s->snapshot.schema.dataset_id,
                                       "what is to be split", err);
}

static int take_columns(struct split *s, struct sterna_error *err) {
    struct sterna_selection_info info = {.n = 0};
    if (s->o->selection) sterna_selection_info(s->o->selection, &info);
    s->n_chosen = info.n;
    s->columns = stn_array((size_t)info.n_columns + 2, sizeof *s->columns);
    if (!s->columns) return stn_fail_memory(err, "a split");
    for (; s->n_carried < info.n_columns; s->n_carried++)
        s->columns[s->n_carried] =
            sterna_selection_column_name(s->o->selection, (uint32_t)s->n_carried);
    s->n_columns = s->n_carried;
    if (s->o->by) s->columns[s->n_columns++] = s->o->by;
    if (s->o->stratify) s->columns[s->n_columns++] = s->o->stratify;
    return STERNA_OK;
}

static int take_shares(struct split *s, struct sterna_error *err) {
    double sum = 0, end = 0;
    s->n_parts = s->o->n_parts;
    s->counts.n_parts = s->n_parts;
    s->shares = stn_array(s->n_parts, sizeof *s->shares);
    s->ends = stn_array(s->n_parts, sizeof *s->ends);
    s->builders = stn_array(s->n_parts, sizeof *s->builders);
    if (!s->shares || !s->ends || !s->builders) return stn_fail_memory(err, "a split");
    for (size_t i = 0; i < s->n_parts; i++) sum += s->o->parts[i].share;
    for (size_t i = 0; i < s->n_parts; i++) {
        s->shares[i] = s->o->parts[i].share / sum;
        s->ends[i] = end += s->shares[i];
    }
    return STERNA_OK;
}

/* ---- one sample ---- */

static uint64_t place_of(uint64_t seed, const uint8_t key[16]) {
    struct stn_cursor c = stn_cursor(key, 16);
    struct stn_philox counter = {{0}};
    for (int i = 0; i < 4; i++) counter.v[i] = stn_get_u32(&c);
    struct stn_philox random = stn_philox4x32(counter, (uint32_t)seed, (uint32_t)(seed >> 32));
    return (uint64_t)random.v[1] << 32 | random.v[0];
}

static uint32_t part_at(const struct split *s, uint64_t place) {
    double x = (double)(place >> 11) * 0x1p-53;
    uint32_t part = 0;
    while (part + 1 < s->n_parts && x >= s->ends[part]) part++;
    return part;
}

static int key_of(const struct split *s, uint8_t key[16]) {
    static const uint8_t space[16];
    const struct sterna_value *by = s->reader.values + s->n_carried;
    if (!s->o->by || by->type == STERNA_NULL) { /* a group of its own */
        memcpy(key, s->reader.id, 16);
        return STERNA_OK;
    }
    char buf[STN_VALUE_TEXT_BYTES];
    size_t bytes;
    const char *text = stn_value_text(by, buf, &bytes);
    return stn_uuid5(space, text, bytes, key);
}

static int stratum_of(struct split *s, uint32_t *stratum) {
    *stratum = 0;
    if (!s->o->stratify) return STERNA_OK;
    return stn_strata_meet(&s->strata, &s->reader.values[s->n_columns - 1], stratum);
}

/* Counts the sample in its group, which is made if it is new. */
static int join_group(struct split *s, uint32_t stratum, uint32_t *number) {
    uint8_t key[16];
    int rc = key_of(s, key);
    if (rc < 0) return rc;
    uint64_t place = place_of(s->o->seed, key);
    rc = stn_groups_meet(&s->groups, key, place, s->o->by != NULL, number);
    if (rc < 0) return rc;
    struct stn_group *group = &s->groups.all[*number];
    if (group->n++ == 0) {
        group->stratum = stratum;
        group->part = part_at(s, place);
    }
    return s->o->by && s->o->stratify ? stn_tally_add(&s->tally, *number, stratum) : STERNA_OK;
}

/* exact: the first pass has met all groups. */
static int find_group(struct split *s, uint32_t *number) {
    uint8_t key[16];
    *number = (uint32_t)s->n_rows;
    if (!s->o->by) return STERNA_OK; /* each row its own, in the order of the first pass */
    int rc = key_of(s, key);
    if (rc < 0) return rc;
    return stn_groups_meet(&s->groups, key, place_of(s->o->seed, key), 1, number);
}

static int count_sample(struct split *s) {
    uint32_t stratum, group;
    int rc = stratum_of(s, &stratum);
    return rc < 0 ? rc : join_group(s, stratum, &group);
}

static int place_sample(struct split *s, struct sterna_error *err) {
    uint32_t stratum, group, part = 0;
    int rc = stratum_of(s, &stratum);
    if (rc == STERNA_OK && !s->o->by && !s->o->exact) {
        part = part_at(s, place_of(s->o->seed, s->reader.id));
    } else if (rc == STERNA_OK) {
        rc = s->o->exact ? find_group(s, &group) : join_group(s, stratum, &group);
        if (rc == STERNA_OK) part = s->groups.all[group].part;
    }
    struct stn_split_count *count =
        rc == STERNA_OK ? stn_split_count_at(&s->counts, stratum, part) : NULL;
    if (!count) return STERNA_ENOMEM;
    count->n++;
    if (!s->o->by) count->n_groups++;
    return stn_sample_reader_add_to(&s->reader, s->builders[part], err);
}

/* ---- passes ---- */

/* 1: the next of the samples that are split; 0: no more. */
static int next_sample(struct split *s, struct sterna_error *err) {
    if (!s->o->selection) return stn_sample_reader_next(&s->reader, err);
    if (s->n_rows == s->n_chosen) return 0;
    const uint8_t *id = sterna_selection_ids(s->o->selection)[s->n_rows];
    stn_query_seek(&s->reader.query, id);
    int rc = stn_sample_reader_next(&s->reader, err);
    if (rc != 0) return rc;
    return stn_query_fail_unknown(&s->reader.query, id, s->snapshot.schema.last_run, err);
}

static int pass(struct split *s, int placing, struct sterna_error *err) {
    const struct stn_query_spec spec = {.where = s->o->where,
                                        .columns = s->columns,
                                        .n_columns = s->n_columns,
                                        .as_of_run = s->snapshot.schema.last_run,
                                        .by_id = s->o->selection != NULL};
    int rc = stn_sample_reader_open(&s->reader, &s->snapshot, &spec, err);
    s->n_rows = 0;
    while (rc == STERNA_OK && (rc = next_sample(s, err)) > 0) {
        rc = placing ? place_sample(s, err) : count_sample(s);
        if (rc == STERNA_ENOMEM) stn_fail_memory(err, "the groups of a split");
        s->n_rows++;
    }
    stn_sample_reader_close(&s->reader);
    return rc;
}

/* A group with samples of several strata counts for that of most. */
static int settle_strata(struct split *s) {
    if (!s->o->by || !s->o->stratify) return STERNA_OK;
    uint32_t *sorted = stn_strata_sorted(&s->strata);
    int rc = sorted ? stn_groups_take_majority(&s->groups, &s->tally, &s->strata, sorted)
                    : STERNA_ENOMEM;
    free(sorted);
    return rc;
}

static int assign_exactly(struct split *s, struct sterna_error *err) {
    int rc = pass(s, 0, err);
    if (rc < 0) return rc;
    size_t n_strata = s->o->stratify ? s->strata.n : 1;
    rc = settle_strata(s);
    if (rc == STERNA_OK) rc = stn_groups_cut(&s->groups, n_strata, s->shares, s->n_parts);
    return rc < 0 ? stn_fail_memory(err, "the groups of a split") : STERNA_OK;
}

/* ---- files and report ---- */

static int open_builders(struct split *s, struct sterna_error *err) {
    const struct stn_selection_spec spec = {.dataset_id = s->snapshot.schema.dataset_id,
                                            .run = s->snapshot.schema.last_run,
                                            .n_fields = (uint32_t)s->snapshot.schema.n_fields,
                                            .columns = s->columns,
                                            .n_columns = (uint32_t)s->n_carried};
    char *place = NULL;
    int rc =
        s->o->out ? STERNA_OK : stn_selection_make_dir(s->dir, STN_SELECTIONS_DIR, &place, err);
    for (size_t i = 0; i < s->n_parts && rc == STERNA_OK; i++)
        rc = stn_selection_builder_open(&s->builders[i], place, &spec, err);
    free(place);
    return rc;
}

static int save(struct split *s, struct sterna_error *err) {
    int rc = STERNA_OK;
    for (size_t i = 0; i < s->n_parts && rc == STERNA_OK; i++) {
        char *path = stn_selection_named_path(s->dir, s->o->parts[i].name);
        rc = path ? stn_selection_builder_write(s->builders[i], path, err)
                  : stn_fail_memory(err, "a split");
        free(path);
    }
    for (size_t i = 0; i < s->n_parts && rc == STERNA_OK; i++)
        rc = stn_selection_builder_commit(s->builders[i], err);
    return rc;
}

static int hand_over(struct split *s, struct sterna_error *err) {
    int rc = STERNA_OK;
    for (size_t i = 0; i < s->n_parts && rc == STERNA_OK; i++)
        rc = stn_selection_builder_finish(s->builders[i], NULL, &s->o->out[i], err);
    for (size_t i = 0; i < s->n_parts && rc < 0; i++) sterna_selection_close(&s->o->out[i]);
    return rc;
}

static int count_groups(struct split *s) {
    int rc = s->o->exact ? STERNA_OK : settle_strata(s);
    for (size_t i = 0; s->o->by && i < s->groups.n && rc == STERNA_OK; i++) {
        const struct stn_group *g = &s->groups.all[i];
        struct stn_split_count *count = stn_split_count_at(&s->counts, g->stratum, g->part);
        if (count) count->n_groups++;
        rc = count ? STERNA_OK : STERNA_ENOMEM;
    }
    return rc;
}

static int split(struct split *s, void (*report)(void *, const struct sterna_split_row *),
                 void *ctx, struct sterna_error *err) {
    int rc = open_builders(s, err);
    if (rc == STERNA_OK && s->o->exact) rc = assign_exactly(s, err);
    if (rc == STERNA_OK) rc = pass(s, 1, err);
    if (rc < 0) return rc;
    uint32_t *sorted = s->o->stratify ? stn_strata_sorted(&s->strata) : NULL;
    if ((s->o->stratify && !sorted) || count_groups(s) < 0) rc = stn_fail_memory(err, "a split");
    if (rc == STERNA_OK) rc = s->o->out ? hand_over(s, err) : save(s, err);
    if (rc == STERNA_OK && report)
        stn_split_report(&s->counts, s->o->parts, &s->strata, sorted, report, ctx);
    free(sorted);
    return rc;
}

static void fini(struct split *s) {
    for (size_t i = 0; s->builders && i < s->n_parts; i++)
        stn_selection_builder_close(&s->builders[i]);
    free(s->builders);
    free(s->columns);
    free(s->shares);
    free(s->ends);
    stn_groups_fini(&s->groups);
    stn_strata_fini(&s->strata);
    stn_tally_fini(&s->tally);
    stn_split_counts_fini(&s->counts);
    stn_snapshot_close(&s->snapshot);
}

int stn_catalog_split(struct stn_catalog *c, const char *dir,
                      const struct sterna_split_options *options,
                      void (*report)(void *, const struct sterna_split_row *), void *ctx,
                      struct sterna_error *err) {
    struct split s = {.o = options, .dir = dir};
    if (!options) return stn_fail(err, STERNA_EINVAL, "a split needs options: its parts");
    int rc = stn_query_check_options(options->struct_size, sizeof *options, "split", err);
    if (rc == STERNA_OK) rc = check_parts(options, err);
    if (rc == STERNA_OK) rc = take_shares(&s, err);
    if (rc == STERNA_OK) rc = take_columns(&s, err);
    if (rc == STERNA_OK) rc = stn_catalog_snapshot(c, &s.snapshot, err);
    if (rc == STERNA_OK) rc = check_selection(&s, err);
    if (rc == STERNA_OK && options->by) rc = stn_query_check_column(&s.snapshot, options->by, err);
    if (rc == STERNA_OK && options->stratify)
        rc = stn_query_check_column(&s.snapshot, options->stratify, err);
    if (rc == STERNA_OK) rc = split(&s, report, ctx, err);
    fini(&s);
    return rc;
}
