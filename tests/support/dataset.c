#include "support/dataset.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/base.h"
#include "embedded.h"
#include "store.h"
#include "support/pictures.h"

size_t dataset_padding_bytes = 20000;

static const char *const classes[DATASET_CLASSES] = {"ant", "bee", "cat"};

/* Of the pictures that were made, so that a look at a store need not make them once more. */
static struct {
    int known;
    uint32_t crc;
} made[DATASET_CLASSES][DATASET_PER_CLASS_MAX];

/* ---- making it ---- */

static void write_file(const char *path, const void *data, size_t bytes, const char *mode) {
    FILE *f = fopen(path, mode);
    if (!f || fwrite(data, 1, bytes, f) != bytes || fclose(f) != 0) {
        perror(path);
        exit(1);
    }
}

static int is_jpeg(unsigned i) { return i % 2 == 0; }
static int has_caption(unsigned i) { return i % 2 == 0; }
static int has_row(unsigned i) { return i % 4 != 3; }

/* The bytes that picture i of class c is: the same in each call. */
static struct picture picture_of(unsigned c, unsigned i) {
    unsigned seed = 1000 * c + i, width = 16 + i % 8, height = 12 + c;
    struct picture p =
        is_jpeg(i) ? picture_jpeg(width, height, 3, seed) : picture_png(width, height, 3, seed);
    if (i % 3 == 0) { /* readers of both formats stop at the end that the format has */
        p.data = realloc(p.data, p.bytes + dataset_padding_bytes);
        if (!p.data) abort();
        for (size_t k = 0; k < dataset_padding_bytes; k++)
            p.data[p.bytes + k] = (uint8_t)(k * 7 + i);
        p.bytes += dataset_padding_bytes;
    }
    return p;
}

static void caption_of(unsigned c, unsigned i, char text[64]) {
    snprintf(text, 64, "picture %u of class %s", i, classes[c]);
}

static void path_of(unsigned c, unsigned i, char path[32]) {
    snprintf(path, 32, "%s/%04u.%s", classes[c], i, is_jpeg(i) ? "jpg" : "png");
}

void dataset_make(const char *dir, unsigned first, unsigned n_per_class) {
    char path[4096], name[32], text[64];
    snprintf(path, sizeof path, "%s/images", dir);
    mkdir(dir, 0777);
    mkdir(path, 0777);
    snprintf(path, sizeof path, "%s/meta.csv", dir);
    if (first == 0) write_file(path, "path,score,note\n", 16, "w");
    for (unsigned c = 0; c < DATASET_CLASSES; c++) {
        snprintf(path, sizeof path, "%s/images/%s", dir, classes[c]);
        mkdir(path, 0777);
        for (unsigned i = first; i < first + n_per_class; i++) {
            path_of(c, i, name);
            struct picture p = picture_of(c, i);
            snprintf(path, sizeof path, "%s/images/%s", dir, name);
            write_file(path, p.data, p.bytes, "w");
            made[c][i].crc = stn_crc32c(0, p.data, p.bytes);
            made[c][i].known = 1;
            free(p.data);
            caption_of(c, i, text);
            snprintf(path, sizeof path, "%s/images/%s/%04u.txt", dir, classes[c], i);
            if (has_caption(i)) write_file(path, text, strlen(text), "w");
            char row[128];
            int n = snprintf(row, sizeof row, "%s,%u.5,note %u\n", name, i, i);
            snprintf(path, sizeof path, "%s/meta.csv", dir);
            if (has_row(i)) write_file(path, row, (size_t)n, "a");
        }
    }
}

const struct sterna_ingest_options *dataset_options(const char *dir) {
    static struct sterna_ingest_options o;
    static const struct sterna_ingest_field fields[] = {{"caption", ".txt", -1}};
    static char csv[4096];
    snprintf(csv, sizeof csv, "%s/meta.csv", dir);
    sterna_ingest_options_init(&o);
    o.metadata_file = csv;
    o.fields = fields;
    o.n_fields = STN_COUNT(fields);
    o.threads = 2;
    return &o;
}

int dataset_ingest(const char *store, const char *dir, struct sterna_ingest_result *result,
                   struct sterna_error *err) {
    struct sterna_store_options o = {.struct_size = sizeof o, .mode = STERNA_OPEN_CREATE};
    struct sterna_ingest_result unused;
    sterna_store *s;
    char images[4096];
    snprintf(images, sizeof images, "%s/images", dir);
    int rc = sterna_store_open(&s, store, &o, err);
    if (rc < 0) return rc;
    rc = sterna_ingest_folder(s, images, dataset_options(dir), result ? result : &unused, err);
    sterna_store_close(&s);
    return rc;
}

/* ---- one by one ---- */

static struct picture prepared[DATASET_CLASSES][DATASET_PER_CLASS_MAX];

void dataset_add_make(unsigned n_per_class) {
    for (unsigned c = 0; c < DATASET_CLASSES; c++)
        for (unsigned i = 0; i < n_per_class; i++) {
            free(prepared[c][i].data);
            prepared[c][i] = picture_of(c, i);
        }
}

static struct sterna_value text_value(const char *text) {
    return (struct sterna_value){STERNA_TEXT, 0, 0, text, strlen(text)};
}

static int add_one(sterna_ingest *in, unsigned c, unsigned i, struct sterna_error *err) {
    char path[32], caption[64], note[32];
    enum sterna_outcome outcome;
    path_of(c, i, path);
    caption_of(c, i, caption);
    snprintf(note, sizeof note, "note %u", i);
    const struct sterna_blob blobs[] = {
        {"image", STERNA_KIND_IMAGE, prepared[c][i].data, prepared[c][i].bytes},
        {"caption", STERNA_KIND_TEXT, has_caption(i) ? caption : NULL, strlen(caption)},
    };
    const struct sterna_cell cells[] = {
        {"class", text_value(classes[c])},
        {"score", {STERNA_REAL, 0, i + 0.5, NULL, 0}},
        {"note", text_value(note)},
    };
    const struct sterna_sample sample = {.path = path,
                                         .blobs = blobs,
                                         .n_blobs = STN_COUNT(blobs),
                                         .cells = cells,
                                         .n_cells = has_row(i) ? 3 : 1};
    int rc = sterna_ingest_add(in, &sample, &outcome, err);
    if (rc < 0 || outcome == STERNA_ADDED || outcome == STERNA_UNCHANGED) return rc;
    return stn_fail(err, STERNA_EINVAL, "%s: %s", path, sterna_outcome_name(outcome));
}

int dataset_add(const char *store, unsigned n_per_class, struct sterna_error *err) {
    struct sterna_store_options o = {.struct_size = sizeof o, .mode = STERNA_OPEN_CREATE};
    sterna_store *s = NULL;
    sterna_ingest *in = NULL;
    uint64_t run;
    int rc = sterna_store_open(&s, store, &o, err);
    if (rc == STERNA_OK) rc = sterna_ingest_open(&in, s, "one by one", 0, err);
    for (unsigned c = 0; c < DATASET_CLASSES; c++)
        for (unsigned i = 0; i < n_per_class && rc == STERNA_OK; i++) rc = add_one(in, c, i, err);
    if (rc == STERNA_OK) rc = sterna_ingest_commit(in, &run, err);
    sterna_ingest_close(&in);
    sterna_store_close(&s);
    return rc;
}

/* ---- looking at it ---- */

static char problem[1200];

static const char *wrong(const char *format, ...) __attribute__((format(printf, 1, 2)));
static const char *wrong(const char *format, ...) {
    va_list args;
    va_start(args, format);
    vsnprintf(problem, sizeof problem, format, args);
    va_end(args);
    return problem;
}

struct looking {
    unsigned n_per_class, seen;
    const char *problem;
};

static int parse_path(const struct sterna_value *v, unsigned n_per_class, unsigned *c,
                      unsigned *i) {
    char text[64], again[32];
    int n = snprintf(text, sizeof text, "%.*s", (int)STN_MIN(v->text_bytes, sizeof text),
                     v->type == STERNA_TEXT ? v->text : "");
    for (*c = 0; *c < DATASET_CLASSES; ++*c) {
        if (n < 8 || strncmp(text, classes[*c], 3) != 0) continue;
        *i = (unsigned)strtoul(text + 4, NULL, 10);
        path_of(*c, *i, again);
        return *i < n_per_class && strcmp(text, again) == 0;
    }
    return 0;
}

static int is_text(const struct sterna_value *v, const char *want) {
    return v->type == STERNA_TEXT && v->text_bytes == strlen(want) &&
           memcmp(v->text, want, v->text_bytes) == 0;
}

static const char *const columns[] = {"path",  "label", "class", "width", "format",
                                      "score", "note",  "run",   "id"};

/* One row, which stands in the order of path: so each comes once. */
static int look_at_row(void *ctx, const char *const *names, const struct sterna_value *v,
                       size_t n) {
    struct looking *l = ctx;
    unsigned c = 0, i = 0;
    char note[32];
    (void)names, (void)n;
    if (!parse_path(&v[0], l->n_per_class, &c, &i)) {
        l->problem = wrong("a row of path '%.*s'", (int)v[0].text_bytes, v[0].text);
        return 1;
    }
    snprintf(note, sizeof note, "note %u", i);
    int right = l->seen == c * l->n_per_class + i && v[1].type == STERNA_INT && v[1].i == c &&
                is_text(&v[2], classes[c]) && v[3].i == 16 + i % 8 &&
                is_text(&v[4], is_jpeg(i) ? "jpeg" : "png") &&
                (has_row(i) ? v[5].type == STERNA_REAL && v[5].r == i + 0.5 && is_text(&v[6], note)
                            : v[5].type == STERNA_NULL && v[6].type == STERNA_NULL);
    if (!right)
        l->problem = wrong("row %u: '%.*s', label %lld, class '%.*s', width %lld, score %g",
                           l->seen, (int)v[0].text_bytes, v[0].text, (long long)v[1].i,
                           (int)v[2].text_bytes, v[2].text, (long long)v[3].i, v[5].r);
    l->seen++;
    return !right;
}

static const char *problem_of_rows(sterna_store *s, unsigned n_per_class) {
    struct looking l = {.n_per_class = n_per_class};
    struct sterna_error err = {0};
    const struct sterna_query_options o = {
        .struct_size = sizeof o, .columns = columns, .n_columns = STN_COUNT(columns)};
    int rc = sterna_query(s, &o, look_at_row, &l, &err);
    if (l.problem) return l.problem;
    if (rc != 0) return wrong("query: %d, %s", rc, err.message);
    if (l.seen == DATASET_CLASSES * n_per_class) return NULL;
    return wrong("%u rows, not %u", l.seen, DATASET_CLASSES * n_per_class);
}

void dataset_see(struct dataset_seen *seen, const sterna_batch *b,
                 const sterna_selection *selection) {
    struct sterna_batch_info info;
    sterna_batch_info(b, &info);
    for (uint32_t row = 0; row < info.n_rows; row++) {
        struct sterna_value path;
        unsigned c = 0, i = 0;
        if (!sterna_batch_valid(b)[row]) continue;
        sterna_selection_value(selection, 0, sterna_batch_index(b)[row], &path);
        if (!parse_path(&path, DATASET_PER_CLASS_MAX, &c, &i)) {
            seen->strange++;
            continue;
        }
        seen->times[c][i]++;
        for (uint32_t f = 0; f < 2; f++) {
            struct sterna_field_view field;
            if (sterna_batch_field(b, f, &field) < 0) seen->strange++;
            seen->null[c][i][f] = !field.data[row];
            seen->crc[c][i][f] =
                field.data[row] ? stn_crc32c(0, field.data[row], field.bytes[row]) : 0;
        }
    }
}

static uint32_t crc_of(unsigned c, unsigned i) {
    if (made[c][i].known) return made[c][i].crc;
    struct picture p = picture_of(c, i);
    uint32_t crc = stn_crc32c(0, p.data, p.bytes);
    free(p.data);
    return crc;
}

static const char *problem_of_sample(const struct dataset_seen *seen, unsigned c, unsigned i) {
    char caption[64];
    if (seen->null[c][i][0] || seen->crc[c][i][0] != crc_of(c, i))
        return wrong("%s/%04u: other bytes", classes[c], i);
    caption_of(c, i, caption);
    int same = has_caption(i) ? !seen->null[c][i][1] &&
                                    seen->crc[c][i][1] == stn_crc32c(0, caption, strlen(caption))
                              : seen->null[c][i][1];
    return same ? NULL : wrong("%s/%04u: another caption", classes[c], i);
}

const char *dataset_seen_problem(const struct dataset_seen *seen, unsigned n_per_class,
                                 unsigned times) {
    if (seen->strange) return wrong("%u strange rows", seen->strange);
    for (unsigned c = 0; c < DATASET_CLASSES; c++)
        for (unsigned i = 0; i < DATASET_PER_CLASS_MAX; i++) {
            unsigned want = i < n_per_class ? times : 0;
            if (seen->times[c][i] != want)
                return wrong("%s/%04u came %u times", classes[c], i, seen->times[c][i]);
            const char *found = want ? problem_of_sample(seen, c, i) : NULL;
            if (found) return found;
        }
    return NULL;
}

static const char *problem_of_bytes(sterna_store *s, unsigned n_per_class) {
    static const char *const path[] = {"path"};
    const struct sterna_select_options so = {
        .struct_size = sizeof so, .columns = path, .n_columns = 1};
    struct sterna_loader_options lo;
    struct sterna_error err = {0};
    sterna_selection *selection = NULL;
    sterna_loader *loader = NULL;
    sterna_batch *b;
    struct dataset_seen seen = {0};
    sterna_loader_options_init(&lo);
    lo.batch_size = 16;
    lo.shuffle = 0;
    lo.uneven = STERNA_UNEVEN_EXACT;
    lo.threads = 2;
    lo.memory_bytes = ((uint64_t)16 << 20) + 12 * dataset_padding_bytes;
    int rc = sterna_select(&selection, s, &so, &err);
    if (rc == STERNA_OK) rc = sterna_loader_open(&loader, s, selection, &lo, &err);
    while (rc == STERNA_OK && (rc = sterna_loader_next(loader, &b, -1, &err)) == STERNA_OK) {
        dataset_see(&seen, b, selection);
        sterna_batch_release(&b);
    }
    sterna_loader_close(&loader);
    sterna_selection_close(&selection);
    if (rc != STERNA_END) return wrong("reading: %d, %s", rc, err.message);
    return dataset_seen_problem(&seen, n_per_class, 1);
}

static const char *problem_of_info(sterna_store *s, unsigned n_per_class) {
    struct sterna_store_info info;
    struct sterna_error err = {0};
    if (sterna_store_info(s, &info, &err) < 0) return wrong("info: %s", err.message);
    if (info.n_samples != (uint64_t)DATASET_CLASSES * n_per_class)
        return wrong("info says %llu samples", (unsigned long long)info.n_samples);
    if (info.n_classes != DATASET_CLASSES) return wrong("%u classes", info.n_classes);
    return NULL;
}

static int count_run(void *ctx, const struct sterna_run *run) {
    (void)run;
    ++*(int *)ctx;
    return 0;
}

static const char *problem_of_store(sterna_store *s, unsigned n_per_class) {
    const char *found = problem_of_info(s, n_per_class);
    if (!found) found = problem_of_rows(s, n_per_class);
    if (!found) found = problem_of_bytes(s, n_per_class);
    return found;
}

static const char *problem_of_values(sterna_store *s, unsigned n_per_class) {
    struct sterna_error err = {0};
    uint64_t n_values = 0, want = (uint64_t)DATASET_CLASSES * (n_per_class + (n_per_class + 1) / 2);
    if (stn_lmdb_count(stn_embedded_lmdb(s), &n_values, &err) < 0)
        return wrong("count: %s", err.message);
    if (n_values == want) return NULL;
    return wrong("%llu values, not %llu", (unsigned long long)n_values, (unsigned long long)want);
}

const char *dataset_problem(const char *store, unsigned n_per_class) {
    struct sterna_error err = {0};
    sterna_store *s;
    if (sterna_store_open(&s, store, NULL, &err) < 0) return wrong("open: %s", err.message);
    const char *found = problem_of_store(s, n_per_class);
    sterna_store_close(&s);
    return found;
}

const char *dataset_problem_exact(const char *store, unsigned n_per_class, int *runs) {
    struct sterna_error err = {0};
    sterna_store *s;
    if (sterna_store_open(&s, store, NULL, &err) < 0) return wrong("open: %s", err.message);
    const char *found = problem_of_store(s, n_per_class);
    if (!found) found = problem_of_values(s, n_per_class);
    if (runs) *runs = 0;
    if (runs && sterna_store_runs(s, count_run, runs, &err) < 0) *runs = -1;
    sterna_store_close(&s);
    return found;
}

int dataset_runs(const char *store) {
    struct sterna_error err = {0};
    sterna_store *s;
    int n = 0;
    if (sterna_store_open(&s, store, NULL, &err) < 0) return -1;
    if (sterna_store_runs(s, count_run, &n, &err) < 0) n = -1;
    sterna_store_close(&s);
    return n;
}
