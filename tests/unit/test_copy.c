#include "support/check.h"

#include <stdio.h>
#include <string.h>

#include "embedded.h"
#include "sterna/sterna.h"
#include "support/fake_store.h"
#include "support/pictures.h"
#include "support/temporary.h"

#define SAMPLES 40

/* ---- stores ---- */

struct pair {
    char *dir;
    sterna_store *from, *to;
    struct sterna_copy_options options;
    struct sterna_copy_result result;
    struct sterna_error err;
    char reports[4096]; /* "outcome path: why\n" */
    uint64_t stop_at;   /* progress says stop when so many samples were read; 0: never */
    int stopped;
    uint64_t compared_max, to_read;
};

static void open_store(sterna_store **s, const char *dir, const char *name, const uint8_t *id) {
    struct sterna_error err = {0};
    struct sterna_store_options o = {
        .struct_size = sizeof o, .mode = STERNA_OPEN_CREATE, .dataset_id = id};
    if (sterna_store_open(s, test_path(dir, name), &o, &err) < 0) fail_msg("%s", err.message);
}

static int on_progress(void *ctx, const struct sterna_copy_progress *now) {
    struct pair *p = ctx;
    assert_true(now->compared <= now->samples && now->read <= now->to_read);
    p->compared_max = STN_MAX(p->compared_max, now->compared);
    p->to_read = now->to_read;
    p->stopped = p->stop_at > 0 && now->read >= p->stop_at;
    return p->stopped;
}

static int on_report(void *ctx, enum sterna_outcome outcome, const uint8_t id[16], const char *path,
                     const char *why) {
    struct pair *p = ctx;
    size_t used = strlen(p->reports);
    assert_non_null(id);
    snprintf(p->reports + used, sizeof p->reports - used, "%s %s: %s\n",
             sterna_outcome_name(outcome), path, why);
    return 0;
}

static void pair_open(struct pair *p) {
    struct sterna_store_info info;
    *p = (struct pair){.dir = test_dir_make()};
    open_store(&p->from, p->dir, "from", NULL);
    assert_ok(sterna_store_info(p->from, &info, NULL));
    open_store(&p->to, p->dir, "to", info.dataset_id);
    sterna_copy_options_init(&p->options);
    p->options.progress = on_progress;
    p->options.report = on_report;
    p->options.ctx = p;
}

static void pair_close(struct pair *p) {
    sterna_store_close(&p->from);
    sterna_store_close(&p->to);
    test_dir_remove(&p->dir);
}

static int copy(struct pair *p, const char *where) {
    sterna_selection *selection = NULL;
    struct sterna_select_options o = {.struct_size = sizeof o, .where = where};
    if (where) assert_ok(sterna_select(&selection, p->from, &o, NULL));
    stn_error_clear(&p->err);
    p->reports[0] = 0;
    int rc = sterna_copy(p->from, selection, p->to, &p->options, &p->result, &p->err);
    sterna_selection_close(&selection);
    return rc;
}

static void copy_ok(struct pair *p, const char *where) {
    int rc = copy(p, where);
    if (rc != STERNA_OK) fail_msg("%d: %s", rc, p->err.message);
}

/* ---- samples ---- */

static struct sterna_cell int_cell(const char *column, int64_t i) {
    return (struct sterna_cell){column, {.type = STERNA_INT, .i = i}};
}
static struct sterna_cell text_cell(const char *column, const char *text) {
    return (struct sterna_cell){column,
                                {.type = STERNA_TEXT, .text = text, .text_bytes = strlen(text)}};
}
static struct sterna_cell real_cell(const char *column, double r) {
    return (struct sterna_cell){column, {.type = STERNA_REAL, .r = r}};
}

/* Sample i: an image; masks and captions of some, nulls of others; columns of all types. `seed`
 * makes other bytes of the same length. */
static void add_sample(sterna_ingest *in, unsigned i, unsigned seed) {
    static const char *const classes[] = {"ant", "bee", "cat"};
    char path[32], note[32], caption[32];
    struct picture image = picture_png(16 + i % 5, 12, 3, i);
    struct picture mask = picture_png(16 + i % 5, 12, 1, 500 + i);
    image.data = realloc(image.data, image.bytes + 8); /* readers of PNG stop before */
    assert_non_null(image.data);
    memcpy(image.data + image.bytes, &(uint64_t){seed}, 8);
    snprintf(path, sizeof path, "%s/%03u.png", classes[i % 3], i);
    snprintf(note, sizeof note, "note %u", i);
    snprintf(caption, sizeof caption, "caption of %u", i);
    struct sterna_blob blobs[] = {
        {"image", STERNA_KIND_IMAGE, image.data, image.bytes + 8},
        {"caption", STERNA_KIND_TEXT, i % 2 ? NULL : caption, strlen(caption)},
        {"mask", STERNA_KIND_MASK, i % 3 ? NULL : mask.data, mask.bytes}};
    struct sterna_cell cells[] = {
        text_cell("class", classes[i % 3]), int_cell("count", i),
        real_cell("score", i + 0.5),        text_cell("note", note),
        {"nothing", {.type = STERNA_NULL}}, text_cell("split", i % 2 ? "train" : "val")};
    struct sterna_sample sample = {.path = path,
                                   .blobs = blobs,
                                   .n_blobs = STN_COUNT(blobs),
                                   .cells = cells,
                                   .n_cells = STN_COUNT(cells)};
    if (i % 4 == 3) cells[2].value.type = STERNA_NULL;
    if (i % 5 == 4) sample.n_cells--; /* no split */
    assert_ok(sterna_ingest_add(in, &sample, NULL, NULL));
    free(image.data);
    free(mask.data);
}

static void fill(sterna_store *s, unsigned first, unsigned end, unsigned seed, int replace) {
    sterna_ingest *in;
    uint64_t run;
    assert_ok(sterna_ingest_open(&in, s, "test", replace, NULL));
    for (unsigned i = first; i < end; i++) add_sample(in, i, seed);
    assert_ok(sterna_ingest_commit(in, &run, NULL));
    sterna_ingest_close(&in);
}

/* ---- what a store holds ---- */

struct dump {
    char *text;
    FILE *to;
    const char *columns[32];
    char names[32][64];
    size_t n;
};

static int dump_column(void *ctx, const char *name, const char *type) {
    struct dump *d = ctx;
    (void)type;
    if (strcmp(name, "run") == 0) return 0;
    snprintf(d->names[d->n], sizeof d->names[0], "%s", name);
    d->columns[d->n] = d->names[d->n];
    d->n++;
    return 0;
}

static int dump_row(void *ctx, const char *const *names, const struct sterna_value *v, size_t n) {
    struct dump *d = ctx;
    for (size_t i = 0; i < n; i++) {
        fprintf(d->to, "%s=", names[i]);
        if (v[i].type == STERNA_INT) fprintf(d->to, "%lld|", (long long)v[i].i);
        if (v[i].type == STERNA_REAL) fprintf(d->to, "%g|", v[i].r);
        if (v[i].type == STERNA_TEXT) fprintf(d->to, "'%.*s'|", (int)v[i].text_bytes, v[i].text);
        if (v[i].type == STERNA_NULL) fprintf(d->to, "-|");
    }
    fputc('\n', d->to);
    return 0;
}

static int dump_class(void *ctx, int64_t label, const char *name, uint64_t n) {
    (void)n;
    fprintf(((struct dump *)ctx)->to, "class %s %lld\n", name, (long long)label);
    return 0;
}

/* All rows but their run, in columns of `like`, and all classes. malloc'ed. */
static char *dump(sterna_store *s, sterna_store *like, const char *where) {
    struct dump d = {0};
    size_t bytes;
    d.to = open_memstream(&d.text, &bytes);
    assert_ok(sterna_store_columns(like, dump_column, &d, NULL));
    struct sterna_query_options o = {
        .struct_size = sizeof o, .where = where, .columns = d.columns, .n_columns = d.n};
    assert_ok(sterna_query(s, &o, dump_row, &d, NULL));
    assert_ok(sterna_store_classes(s, dump_class, &d, NULL));
    fclose(d.to);
    return d.text;
}

static int find(sterna_store *s, const uint8_t *id, const char *field,
                struct stn_value_header *out) {
    struct sterna_field f;
    for (uint32_t i = 0; sterna_store_field(s, i, &f) == STERNA_OK; i++)
        if (strcmp(f.name, field) == 0)
            return stn_lmdb_header(stn_embedded_lmdb(s), id, (uint8_t)f.number, out, NULL);
    return STERNA_ENOTFOUND;
}

/* Every sample of `to` has the values that `from` has, and they are what their checksums say. */
static void check_values(struct pair *p, uint64_t n) {
    sterna_selection *all;
    struct sterna_selection_info info;
    struct sterna_select_options o = {.struct_size = sizeof o};
    struct sterna_loader_options lo;
    struct sterna_field f;
    sterna_loader *loader;
    sterna_batch *batch;
    assert_ok(sterna_select(&all, p->to, &o, NULL));
    sterna_selection_info(all, &info);
    assert_int_equal(info.n, n);
    for (uint64_t i = 0; i < info.n; i++)
        for (uint32_t k = 0; sterna_store_field(p->from, k, &f) == STERNA_OK; k++) {
            struct stn_value_header a = {0}, b = {0};
            const uint8_t *id = sterna_selection_ids(all)[i];
            int want = find(p->from, id, f.name, &a), got = find(p->to, id, f.name, &b);
            if (got != want || a.crc != b.crc || a.bytes != b.bytes)
                fail_msg("row %d, field %s: %d, not %d", (int)i, f.name, got, want);
        }
    sterna_loader_options_init(&lo);
    assert_ok(sterna_loader_open(&loader, p->to, all, &lo, NULL));
    int rc;
    while ((rc = sterna_loader_next(loader, &batch, -1, NULL)) == STERNA_OK)
        sterna_batch_release(&batch);
    assert_int_equal(rc, STERNA_END);
    sterna_loader_close(&loader);
    sterna_selection_close(&all);
}

static void check_same(struct pair *p, const char *where, uint64_t n) {
    char *want = dump(p->from, p->from, where), *got = dump(p->to, p->from, NULL);
    if (strcmp(want, got) != 0) fail_msg("want:\n%sgot:\n%s", want, got);
    free(want);
    free(got);
    check_values(p, n);
}

static int count_run(void *ctx, const struct sterna_run *run) {
    (void)run;
    ++*(int *)ctx;
    return 0;
}

static int runs(sterna_store *s) {
    int n = 0;
    assert_ok(sterna_store_runs(s, count_run, &n, NULL));
    return n;
}

/* ---- tests ---- */

static void test_copy_all(void **state) {
    struct pair p;
    (void)state;
    pair_open(&p);
    fill(p.from, 0, SAMPLES, 0, 0);
    copy_ok(&p, NULL);
    assert_int_equal(p.result.samples, SAMPLES);
    assert_int_equal(p.result.counts[STERNA_ADDED], SAMPLES);
    assert_int_equal(p.result.read, SAMPLES);
    assert_int_equal(p.result.run, 1);
    assert_int_equal(p.compared_max, SAMPLES);
    struct sterna_store_info info;
    assert_ok(sterna_store_info(p.from, &info, NULL));
    assert_int_equal(p.result.bytes_read, info.n_bytes);
    check_same(&p, NULL, SAMPLES);

    copy_ok(&p, NULL); /* nothing is new */
    assert_int_equal(p.result.run, 0);
    assert_int_equal(p.result.counts[STERNA_UNCHANGED], SAMPLES);
    assert_int_equal(p.result.bytes_read, 0);
    assert_int_equal(runs(p.to), 1);

    fill(p.from, SAMPLES, SAMPLES + 5, 0, 0); /* more of it */
    copy_ok(&p, NULL);
    assert_int_equal(p.result.counts[STERNA_ADDED], 5);
    assert_int_equal(p.result.read, 5);
    check_same(&p, NULL, SAMPLES + 5);
    pair_close(&p);
}

static void test_copy_nothing(void **state) {
    struct pair p;
    (void)state;
    pair_open(&p);
    copy_ok(&p, NULL); /* not even a field */
    assert_int_equal(p.result.run, 0);
    fill(p.from, 0, 3, 0, 0);
    copy_ok(&p, "label = 99");
    assert_int_equal(p.result.run, 0);
    assert_int_equal(p.result.samples, 0);
    pair_close(&p);
}

static void test_copy_a_slice(void **state) {
    struct pair p;
    (void)state;
    pair_open(&p);
    fill(p.from, 0, SAMPLES, 0, 0);
    copy_ok(&p, "class = 'cat' AND split IS NOT NULL");
    check_same(&p, "class = 'cat' AND split IS NOT NULL", p.result.samples);
    uint64_t cats = p.result.samples;
    assert_in_range(cats, 5, SAMPLES / 2);
    copy_ok(&p, "class = 'bee'");
    assert_int_equal(p.result.counts[STERNA_ADDED], SAMPLES / 3);
    check_same(&p, "(class = 'cat' AND split IS NOT NULL) OR class = 'bee'", cats + SAMPLES / 3);
    pair_close(&p);
}

/* A saved selection is of then; a sample is copied as it is now. */
static void test_copy_of_an_old_selection(void **state) {
    struct pair p;
    sterna_selection *old;
    struct sterna_select_options o = {.struct_size = sizeof o};
    sterna_ingest *in;
    uint64_t run;
    (void)state;
    pair_open(&p);
    fill(p.from, 0, 6, 0, 0);
    assert_ok(sterna_select(&old, p.from, &o, NULL));
    uint8_t id[16];
    memcpy(id, sterna_selection_ids(old)[0], 16);
    struct sterna_blob blob = {"late", STERNA_KIND_BYTES, "late", 4};
    struct sterna_sample sample = {.id = id, .blobs = &blob, .n_blobs = 1};
    assert_ok(sterna_ingest_open(&in, p.from, "test", 0, NULL));
    assert_ok(sterna_ingest_add(in, &sample, NULL, NULL));
    assert_ok(sterna_ingest_commit(in, &run, NULL));
    sterna_ingest_close(&in);
    assert_ok(sterna_copy(p.from, old, p.to, NULL, NULL, NULL));
    check_same(&p, NULL, 6);
    sterna_selection_close(&old);
    pair_close(&p);
}

static void test_copy_stopped_and_gone_on_with(void **state) {
    struct pair p;
    int few = 0;
    (void)state;
    for (uint64_t stop_at = 1; stop_at < SAMPLES; stop_at += 12) {
        pair_open(&p);
        fill(p.from, 0, SAMPLES, 0, 0);
        p.options.memory_bytes = 120000; /* so that batches are small */
        p.stop_at = stop_at;
        assert_int_equal(copy(&p, NULL), STERNA_ECANCELED);
        struct sterna_store_info info;
        assert_ok(sterna_store_info(p.to, &info, NULL));
        assert_int_equal(info.n_samples, 0);
        uint64_t before = p.result.read, bytes = p.result.bytes_read;
        assert_in_range(before, stop_at, SAMPLES);
        few += before < SAMPLES / 2;
        p.stop_at = 0;
        copy_ok(&p, NULL);
        assert_int_equal(p.result.read + before, SAMPLES);
        assert_ok(sterna_store_info(p.from, &info, NULL));
        assert_int_equal(p.result.bytes_read + bytes, info.n_bytes);
        assert_int_equal(p.result.counts[STERNA_ADDED], SAMPLES);
        assert_int_equal(runs(p.to), 1);
        check_same(&p, NULL, SAMPLES);
        pair_close(&p);
    }
    assert_true(few > 0); /* some were stopped in their middle */
}

static void test_copy_conflicts(void **state) {
    struct pair p;
    (void)state;
    pair_open(&p);
    fill(p.from, 0, 9, 0, 0);
    fill(p.to, 0, 4, 7, 0); /* other bytes, as many */
    copy_ok(&p, NULL);
    assert_int_equal(p.result.counts[STERNA_CONFLICT], 4);
    assert_int_equal(p.result.counts[STERNA_ADDED], 5);
    assert_int_equal(p.result.read, 5); /* found without reading */
    assert_non_null(strstr(p.reports, "conflict ant/003.png: stored: "));
    struct stn_value_header kept, want;
    sterna_selection *all;
    struct sterna_select_options o = {.struct_size = sizeof o, .where = "path = 'ant/003.png'"};
    assert_ok(sterna_select(&all, p.to, &o, NULL));
    uint8_t id[16];
    memcpy(id, sterna_selection_ids(all)[0], 16);
    sterna_selection_close(&all);
    assert_ok(find(p.to, id, "image", &kept));
    assert_ok(find(p.from, id, "image", &want));
    assert_int_not_equal(kept.crc, want.crc);

    p.options.replace = 1;
    copy_ok(&p, NULL);
    assert_int_equal(p.result.counts[STERNA_REPLACED], 4);
    assert_int_equal(p.result.counts[STERNA_UNCHANGED], 5);
    assert_int_equal(p.result.read, 4);
    check_same(&p, NULL, 9);
    pair_close(&p);
}

/* A field more, a column changed: taken over. A null, and what only the other has: left alone. */
static void test_copy_over_listed_samples(void **state) {
    struct pair p;
    sterna_ingest *in;
    uint64_t run;
    (void)state;
    pair_open(&p);
    fill(p.from, 0, 6, 0, 0);
    copy_ok(&p, NULL);
    uint8_t id[16];
    sterna_selection *one;
    struct sterna_select_options o = {.struct_size = sizeof o, .where = "path = 'bee/001.png'"};
    assert_ok(sterna_select(&one, p.from, &o, NULL));
    memcpy(id, sterna_selection_ids(one)[0], 16);
    sterna_selection_close(&one);

    struct sterna_blob late = {"late", STERNA_KIND_BYTES, "late", 4};
    struct sterna_cell changed[] = {int_cell("count", 77), {"note", {.type = STERNA_NULL}}};
    struct sterna_sample sample = {
        .id = id, .blobs = &late, .n_blobs = 1, .cells = changed, .n_cells = 2};
    assert_ok(sterna_ingest_open(&in, p.from, "test", 0, NULL));
    assert_ok(sterna_ingest_add(in, &sample, NULL, NULL));
    assert_ok(sterna_ingest_commit(in, &run, NULL));
    sterna_ingest_close(&in);
    struct sterna_cell theirs = text_cell("theirs", "kept");
    sample = (struct sterna_sample){.id = id, .cells = &theirs, .n_cells = 1};
    assert_ok(sterna_ingest_open(&in, p.to, "test", 0, NULL));
    assert_ok(sterna_ingest_add(in, &sample, NULL, NULL));
    assert_ok(sterna_ingest_commit(in, &run, NULL));
    sterna_ingest_close(&in);

    copy_ok(&p, NULL);
    assert_int_equal(p.result.counts[STERNA_ADDED], 1);
    assert_int_equal(p.result.counts[STERNA_UNCHANGED], 5);
    assert_int_equal(p.result.read, 1);
    check_values(&p, 6);
    char *rows = dump(p.to, p.to, "path = 'bee/001.png'");
    assert_non_null(strstr(rows, "count=77|"));
    assert_non_null(strstr(rows, "note='note 1'|"));
    assert_non_null(strstr(rows, "theirs='kept'|"));
    free(rows);
    pair_close(&p);
}

/* ---- classes ---- */

static void add_classes(sterna_store *s, const char *const *names) {
    sterna_ingest *in;
    uint64_t run;
    assert_ok(sterna_ingest_open(&in, s, "test", 0, NULL));
    for (size_t i = 0; names[i]; i++) {
        struct picture image = picture_png(9, 9, 3, (unsigned)(900 + i));
        struct sterna_blob blob = {"image", STERNA_KIND_IMAGE, image.data, image.bytes};
        struct sterna_cell cell = text_cell("class", names[i]);
        struct sterna_sample sample = {
            .path = names[i], .blobs = &blob, .n_blobs = 1, .cells = &cell, .n_cells = 1};
        assert_ok(sterna_ingest_add(in, &sample, NULL, NULL));
        free(image.data);
    }
    assert_ok(sterna_ingest_commit(in, &run, NULL));
    sterna_ingest_close(&in);
}

static void test_copy_keeps_labels(void **state) {
    static const struct {
        const char *from[5], *to[5];
        const char *say; /* NULL: they go together */
    } rows[] = {
        {{"a", "b", "c"}, {"a", "b"}, NULL},
        {{"a", "b"}, {"a", "b", "c"}, NULL},
        {{"a", "b"}, {NULL}, NULL},
        {{"b", "a"}, {NULL}, NULL},
        {{"a", "b"}, {"b", "a"}, "class 'a' has label 0 in "},
        {{"a", "b"}, {"b"}, "class 'a' has label 0 in "},
        {{"a", "b"}, {"a", "c"}, "class 'b' has label 1 in "},
        {{"a", "b", "c"}, {"a", "c"}, "class 'b' has label 1 in "},
    };
    (void)state;
    for (size_t i = 0; i < STN_COUNT(rows); i++) {
        struct pair p;
        pair_open(&p);
        add_classes(p.from, rows[i].from);
        if (rows[i].to[0]) add_classes(p.to, rows[i].to);
        char *before = dump(p.to, p.to, NULL);
        int rc = copy(&p, NULL);
        char *after = dump(p.to, p.to, NULL);
        if (rows[i].say) {
            if (rc != STERNA_EMISMATCH || !strstr(p.err.message, rows[i].say))
                fail_msg("row %zu: %d %s", i, rc, p.err.message);
            assert_non_null(strstr(p.err.message, "/from"));
            assert_non_null(strstr(p.err.message, "/to"));
            assert_string_equal(before, after);
        } else if (rc != STERNA_OK) {
            fail_msg("row %zu: %d %s", i, rc, p.err.message);
        } else {
            char *want = dump(p.from, p.from, NULL);
            for (char *save, *line = strtok_r(want, "\n", &save); line;
                 line = strtok_r(NULL, "\n", &save))
                if (strncmp(line, "class ", 6) == 0 && !strstr(after, line))
                    fail_msg("row %zu: %s is not there", i, line);
            free(want);
        }
        free(before);
        free(after);
        pair_close(&p);
    }
}

/* ---- what does not go together, and what is broken ---- */

static void test_copy_of_another_data_set(void **state) {
    struct pair p;
    (void)state;
    pair_open(&p);
    fill(p.from, 0, 3, 0, 0);
    sterna_store *other;
    sterna_selection *foreign;
    struct sterna_select_options o = {.struct_size = sizeof o};
    open_store(&other, p.dir, "other", NULL);
    fill(other, 0, 3, 0, 0);
    int rc = sterna_copy(p.from, NULL, other, &p.options, &p.result, &p.err);
    assert_int_equal(rc, STERNA_EMISMATCH);
    assert_non_null(strstr(p.err.message, "/from"));
    assert_non_null(strstr(p.err.message, "/other"));
    assert_int_equal(runs(other), 1);
    assert_ok(sterna_select(&foreign, other, &o, NULL));
    rc = sterna_copy(p.from, foreign, p.to, &p.options, &p.result, &p.err);
    assert_int_equal(rc, STERNA_EMISMATCH);
    assert_int_equal(runs(p.to), 0);
    sterna_selection_close(&foreign);
    sterna_store_close(&other);
    pair_close(&p);
}

static void test_copy_of_a_field_of_another_kind(void **state) {
    struct pair p;
    sterna_ingest *in;
    uint64_t run;
    (void)state;
    pair_open(&p);
    fill(p.from, 0, 3, 0, 0);
    struct sterna_blob blob = {"caption", STERNA_KIND_BYTES, "x", 1};
    struct sterna_sample sample = {.path = "x", .blobs = &blob, .n_blobs = 1};
    assert_ok(sterna_ingest_open(&in, p.to, "test", 0, NULL));
    assert_ok(sterna_ingest_add(in, &sample, NULL, NULL));
    assert_ok(sterna_ingest_commit(in, &run, NULL));
    sterna_ingest_close(&in);
    assert_int_equal(copy(&p, NULL), STERNA_EMISMATCH);
    assert_non_null(strstr(p.err.message, "caption"));
    pair_close(&p);
}

static void test_copy_into_a_store_for_reading(void **state) {
    struct pair p;
    (void)state;
    pair_open(&p);
    fill(p.from, 0, 3, 0, 0);
    sterna_store_close(&p.to);
    assert_ok(sterna_store_open(&p.to, test_path(p.dir, "to"), NULL, NULL));
    assert_int_equal(copy(&p, NULL), STERNA_EREADONLY);
    pair_close(&p);
}

static void damage(struct pair *p, const char *path, int mend) {
    sterna_selection *one;
    char where[64];
    struct sterna_select_options o = {.struct_size = sizeof o, .where = where};
    struct stn_lmdb_writer *w;
    struct stn_value_header header;
    static uint8_t id[16];
    snprintf(where, sizeof where, "path = '%s'", path);
    assert_ok(sterna_select(&one, p->from, &o, NULL));
    memcpy(id, sterna_selection_ids(one)[0], 16);
    sterna_selection_close(&one);
    struct sterna_field f = {0};
    for (uint32_t i = 0; !f.name || strcmp(f.name, "caption") != 0; i++)
        assert_ok(sterna_store_field(p->from, i, &f));
    assert_ok(find(p->from, id, "caption", &header));
    assert_ok(stn_lmdb_writer_open(&w, stn_embedded_lmdb(p->from), NULL));
    char text[64];
    snprintf(text, sizeof text, "caption of %d", atoi(path + 4));
    assert_int_equal(strlen(text), header.bytes);
    uint32_t crc = stn_crc32c(0, text, strlen(text));
    if (!mend) text[0] ^= 1;
    assert_ok(stn_lmdb_writer_put(w, id, (uint8_t)f.number, text, strlen(text), crc, NULL));
    assert_ok(stn_lmdb_writer_commit(w, NULL));
    stn_lmdb_writer_close(&w);
}

static void test_copy_leaves_damaged_samples_out(void **state) {
    struct pair p;
    (void)state;
    pair_open(&p);
    fill(p.from, 0, 12, 0, 0);
    damage(&p, "cat/008.png", 0);
    copy_ok(&p, NULL);
    assert_int_equal(p.result.counts[STERNA_UNREADABLE], 1);
    assert_int_equal(p.result.counts[STERNA_ADDED], 11);
    assert_non_null(strstr(p.reports, "unreadable cat/008.png: "));
    check_values(&p, 11);
    damage(&p, "cat/008.png", 1);
    copy_ok(&p, NULL);
    assert_int_equal(p.result.counts[STERNA_ADDED], 1);
    assert_int_equal(p.result.read, 1);
    check_same(&p, NULL, 12);
    pair_close(&p);
}

/* ---- stores that are far away ---- */

static void test_copy_into_a_far_store(void **state) {
    struct pair p;
    static struct fake_store far;
    (void)state;
    pair_open(&p);
    fill(p.from, 0, SAMPLES, 0, 0);
    fill(p.to, 0, 10, 0, 0);
    fake_store_wrap(&far, p.to, 0);
    copy_ok(&p, NULL);
    assert_int_equal(p.result.counts[STERNA_ADDED], SAMPLES - 10);
    assert_int_equal(p.result.counts[STERNA_UNCHANGED], 10);
    assert_int_equal(p.result.read, SAMPLES - 10);
    /* each lookup was asked for before: all to compare, and again those that are written */
    assert_int_equal(far.n_unexpected, 0);
    assert_int_equal(far.n_expected, SAMPLES + SAMPLES - 10);
    assert_int_equal(far.n_found, far.n_expected);
    assert_int_equal(far.most_ahead, SAMPLES);
    sterna_store_close(&p.from);
    sterna_store_close(&p.to);
    open_store(&p.from, p.dir, "from", NULL);
    open_store(&p.to, p.dir, "to", NULL);
    check_same(&p, NULL, SAMPLES);
    pair_close(&p);
}

/* One that cannot tell checksums without the bytes: all is read, and compared then. */
static void test_copy_from_a_store_without_headers(void **state) {
    struct pair p;
    static struct fake_store far;
    (void)state;
    pair_open(&p);
    fill(p.from, 0, 12, 0, 0);
    fill(p.to, 0, 3, 0, 0);
    fill(p.to, 3, 5, 9, 0);
    fake_store_wrap(&far, p.from, 0);
    copy_ok(&p, NULL);
    assert_int_equal(p.result.read, 12);
    assert_int_equal(p.result.counts[STERNA_ADDED], 7);
    assert_int_equal(p.result.counts[STERNA_UNCHANGED], 3);
    assert_int_equal(p.result.counts[STERNA_CONFLICT], 2);
    pair_close(&p);
}

/* Headers of `from` as a far store gives them: each is asked for before it is looked up. */
static struct far_headers {
    struct stn_values base;
    struct stn_values *inner;
    struct stn_backend *backend; /* the embedded one */
    uint8_t expected[FAKE_IDS_MAX][16];
    size_t n_expected, n_finds;
    int n_unexpected;
} headers;

static void expect_header(struct stn_values *v, const uint8_t id[16]) {
    (void)v;
    assert_true(headers.n_expected < FAKE_IDS_MAX);
    memcpy(headers.expected[headers.n_expected++], id, 16);
}

static int find_header(struct stn_values *v, const uint8_t id[16], uint8_t field,
                       struct stn_value_header *out, struct sterna_error *err) {
    size_t i = 0;
    (void)v;
    headers.n_finds++;
    while (i < headers.n_expected && memcmp(headers.expected[i], id, 16) != 0) i++;
    headers.n_unexpected += i == headers.n_expected;
    return headers.inner->ops->find(headers.inner, id, field, out, err);
}

static void close_headers(struct stn_values *v) {
    (void)v;
    headers.inner->ops->close(headers.inner);
}

static int open_headers(struct stn_backend *b, struct stn_values **out, struct sterna_error *err) {
    static const struct stn_values_ops ops = {
        .expect = expect_header, .find = find_header, .close = close_headers};
    (void)b;
    headers.base.ops = &ops;
    *out = &headers.base;
    return headers.backend->ops->headers_open(headers.backend, &headers.inner, err);
}

static void test_copy_from_a_far_store(void **state) {
    struct pair p;
    static struct fake_store far_from, far_to;
    (void)state;
    for (int both = 0; both < 2; both++) {
        pair_open(&p);
        fill(p.from, 0, SAMPLES, 0, 0);
        fill(p.to, 0, 10, 0, 0);
        fake_store_wrap(&far_from, p.from, 0);
        if (both) fake_store_wrap(&far_to, p.to, 0);
        memset(&headers, 0, sizeof headers);
        headers.backend = far_from.inner;
        far_from.ops.headers_open = open_headers;
        copy_ok(&p, NULL);
        assert_int_equal(p.result.counts[STERNA_ADDED], SAMPLES - 10);
        assert_int_equal(p.result.counts[STERNA_UNCHANGED], 10);
        assert_int_equal(p.result.read, SAMPLES - 10);
        assert_int_equal(headers.n_unexpected, 0);
        /* one that is near says at once what it has not: that is not asked for */
        assert_int_equal(headers.n_expected, both ? SAMPLES : 10);
        assert_true(headers.n_finds > 0);
        if (both) assert_int_equal(far_to.n_unexpected, 0);
        pair_close(&p);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_copy_all),
        cmocka_unit_test(test_copy_nothing),
        cmocka_unit_test(test_copy_a_slice),
        cmocka_unit_test(test_copy_of_an_old_selection),
        cmocka_unit_test(test_copy_stopped_and_gone_on_with),
        cmocka_unit_test(test_copy_conflicts),
        cmocka_unit_test(test_copy_over_listed_samples),
        cmocka_unit_test(test_copy_keeps_labels),
        cmocka_unit_test(test_copy_of_another_data_set),
        cmocka_unit_test(test_copy_of_a_field_of_another_kind),
        cmocka_unit_test(test_copy_into_a_store_for_reading),
        cmocka_unit_test(test_copy_leaves_damaged_samples_out),
        cmocka_unit_test(test_copy_into_a_far_store),
        cmocka_unit_test(test_copy_from_a_store_without_headers),
        cmocka_unit_test(test_copy_from_a_far_store),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
