/* Samples from anywhere: checks what the caller gives, as a folder's readers check files. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/digest.h"
#include "ingest/image_header.h"
#include "ingest/ingest.h"
#include "store.h"

const char *sterna_outcome_name(enum sterna_outcome outcome) {
    static const char *const names[] = {"added", "unchanged",  "replaced", "conflict", "no image",
                                        "empty", "unreadable", "too big",  "bad field"};
    return (size_t)outcome < STN_COUNT(names) ? names[outcome] : "unknown";
}

struct adding { /* one sample on its way */
    sterna_ingest *in;
    const struct sterna_sample *sample;
    struct sterna_error *err;
    enum sterna_outcome outcome; /* ADDED: fine so far */
    struct stn_image_header header;
    uint8_t id[16];
    struct stn_item_blob blobs[STN_FIELDS_OF_STORE];
    size_t n_blobs, n_cells;
};

static int take_blob(struct adding *a, const struct sterna_blob *given) {
    struct sterna_error *err = a->err;
    struct stn_item_blob *blob = &a->blobs[a->n_blobs];
    char why[STN_WHY_BYTES];
    sterna_ingest *in = a->in;
    if (!given->field) return stn_fail(err, STERNA_EINVAL, "ingest: a blob without a field's name");
    uint32_t known = 0;
    while (known < in->n_fields && strcmp(in->fields[known].name, given->field) != 0) known++;
    enum sterna_kind kind = known < in->n_fields ? in->fields[known].kind : given->kind;
    int rc = stn_ingest_field(in, given->field, kind, &known, err);
    if (rc < 0) return rc;
    for (size_t i = 0; i < a->n_blobs; i++)
        if (a->blobs[i].field == known)
            return stn_fail(err, STERNA_EINVAL, "ingest: field %s is given twice", given->field);
    *blob = (struct stn_item_blob){known, given->data, given->data ? given->bytes : 0, 0};
    a->n_blobs++;
    if (!blob->data || a->outcome != STERNA_ADDED) return STERNA_OK;
    if (blob->bytes > STN_BLOB_BYTES_MAX) return a->outcome = STERNA_TOO_BIG, STERNA_OK;
    if (known == 0 && blob->bytes == 0) return a->outcome = STERNA_EMPTY, STERNA_OK;
    rc = known == 0
             ? stn_image_header_read(blob->data, blob->bytes, &a->header, why, sizeof why)
             : stn_content_check(&in->content, kind, blob->data, blob->bytes, why, sizeof why);
    if (rc == STERNA_ENOMEM) return stn_fail_memory(err, "checking a sample");
    if (rc < 0) a->outcome = known == 0 ? STERNA_NO_IMAGE : STERNA_BAD_FIELD;
    blob->crc = stn_crc32c(0, blob->data, blob->bytes);
    return STERNA_OK;
}

static int has_cell(const struct adding *a, const char *column) {
    for (size_t i = 0; i < a->sample->n_cells; i++)
        if (a->sample->cells[i].column && strcasecmp(a->sample->cells[i].column, column) == 0)
            return 1;
    return 0;
}

static void add_cell(struct adding *a, const char *column, struct sterna_value value) {
    a->in->given[a->n_cells++] = (struct stn_cell){column, value};
}

static void add_integer(struct adding *a, const char *column, int64_t i) {
    if (!has_cell(a, column)) add_cell(a, column, (struct sterna_value){STERNA_INT, i, 0, NULL, 0});
}

static void add_text(struct adding *a, const char *column, const char *text) {
    struct sterna_value value = {STERNA_TEXT, 0, 0, text, strlen(text)};
    if (!has_cell(a, column)) add_cell(a, column, value);
}

/* The label that the caller gives, if it is one. */
static const struct sterna_value *given_label(const struct adding *a) {
    for (size_t i = 0; i < a->sample->n_cells; i++) {
        const struct sterna_cell *cell = &a->sample->cells[i];
        if (cell->column && strcmp(cell->column, "label") == 0 && cell->value.type == STERNA_INT)
            return &cell->value;
    }
    return NULL;
}

/* Declares the class, and adds its label unless the caller gives it, too. */
static int add_label(struct adding *a, const struct sterna_value *name) {
    sterna_ingest *in = a->in;
    const struct sterna_value *given = given_label(a);
    char shown[128];
    int64_t label;
    if (memchr(name->text, '\0', name->text_bytes))
        return stn_fail(a->err, STERNA_EINVAL, "ingest: a class is a text without NUL bytes");
    if (stn_grow((void **)&in->text, &in->text_cap, name->text_bytes + 1, 1) < 0)
        return stn_fail_memory(a->err, "a class's name");
    memcpy(in->text, name->text, name->text_bytes);
    in->text[name->text_bytes] = '\0';
    int rc = stn_catalog_declare_class(in->catalog, in->text, &label, a->err);
    if (rc < 0) return rc;
    if (given && given->i != label)
        return stn_fail(a->err, STERNA_EINVAL,
                        "ingest: class '%s' has label %" PRId64 " in this store, not %" PRId64
                        "; leave the label away, or declare all classes first, in their order",
                        stn_printable(in->text, shown, sizeof shown), label, given->i);
    add_integer(a, "label", label);
    return STERNA_OK;
}

/* What is wrong is told before anything is written: the caller can go on. */
static int take_cell(struct adding *a, const struct sterna_cell *cell) {
    static const struct {
        const char *name;
        enum sterna_type type;
    } ours[] = {{"label", STERNA_INT},  {"class", STERNA_TEXT}, {"split", STERNA_TEXT},
                {"width", STERNA_INT},  {"height", STERNA_INT}, {"channels", STERNA_INT},
                {"format", STERNA_TEXT}};
    size_t i = 0;
    enum sterna_type type = cell->value.type;
    if (!cell->column) return stn_fail(a->err, STERNA_EINVAL, "ingest: a cell without a column");
    while (i < STN_COUNT(ours) && strcmp(cell->column, ours[i].name) != 0) i++;
    int rc = STERNA_OK;
    if (i == STN_COUNT(ours)) /* refuses id, run, path and lengths, which are not the caller's */
        rc = stn_catalog_declare_column(a->in->catalog, cell->column, a->err);
    else if (type != STERNA_NULL && type != ours[i].type)
        rc = stn_fail(a->err, STERNA_EINVAL, "ingest: column '%s' holds %s values only",
                      cell->column, ours[i].type == STERNA_INT ? "integer" : "text");
    else if (strcmp(cell->column, "class") == 0 && type != STERNA_NULL)
        rc = add_label(a, &cell->value);
    if (rc == STERNA_OK) add_cell(a, cell->column, cell->value);
    return rc;
}

static int take_cells(struct adding *a) {
    const struct sterna_sample *s = a->sample;
    size_t most = s->n_cells + 6; /* label, path, and four of the header */
    if (stn_grow((void **)&a->in->given, &a->in->given_cap, most, sizeof *a->in->given) < 0)
        return stn_fail_memory(a->err, "a row");
    int rc = STERNA_OK;
    for (size_t i = 0; i < s->n_cells && rc == STERNA_OK; i++) rc = take_cell(a, &s->cells[i]);
    if (rc < 0) return rc;
    if (s->path) add_text(a, "path", s->path);
    if (!a->header.format) return STERNA_OK;
    add_integer(a, "width", a->header.width);
    add_integer(a, "height", a->header.height);
    add_integer(a, "channels", a->header.channels);
    add_text(a, "format", a->header.format);
    return STERNA_OK;
}

static int take_id(struct adding *a) {
    const struct sterna_sample *s = a->sample;
    const uint8_t *space = stn_catalog_dataset_id(a->in->catalog);
    if (s->id) return memcpy(a->id, s->id, sizeof a->id), STERNA_OK;
    if (!s->path || !*s->path)
        return stn_fail(a->err, STERNA_EINVAL, "ingest: a sample needs a path or an id");
    int rc = stn_uuid5(space, s->path, strlen(s->path), a->id);
    return rc < 0 ? stn_fail_memory(a->err, "a sample's id") : rc;
}

int sterna_ingest_add(sterna_ingest *in, const struct sterna_sample *sample,
                      enum sterna_outcome *outcome, struct sterna_error *err) {
    enum sterna_outcome unused;
    if (!outcome) outcome = &unused;
    *outcome = STERNA_UNREADABLE;
    stn_error_clear(err);
    if (!in || !sample) return stn_fail(err, STERNA_EINVAL, "ingest: no ingest or no sample");
    int rc = stn_store_check(in->store, err);
    if (rc < 0) return rc;
    struct adding a = {.in = in, .sample = sample, .err = err};
    struct stn_item_result result = {0};
    rc = take_id(&a);
    for (size_t i = 0; i < sample->n_blobs && rc == STERNA_OK; i++)
        rc = take_blob(&a, &sample->blobs[i]);
    if (rc == STERNA_OK && a.outcome == STERNA_ADDED) rc = take_cells(&a);
    if (rc < 0) return rc;
    *outcome = a.outcome;
    if (a.outcome != STERNA_ADDED) return STERNA_OK;
    struct stn_item item = {a.id, a.blobs, a.n_blobs, in->given, a.n_cells, a.n_cells};
    rc = stn_ingest_write(in, &item, &result, err);
    if (rc == STERNA_OK) *outcome = result.outcome;
    return rc;
}

int sterna_ingest_classes(sterna_ingest *in, const char *const *names, size_t n, int64_t *labels,
                          struct sterna_error *err) {
    stn_error_clear(err);
    if (!in || (n > 0 && !names))
        return stn_fail(err, STERNA_EINVAL, "ingest: no ingest or no classes");
    int rc = stn_store_check(in->store, err);
    if (rc < 0) return rc;
    int64_t *got = stn_array(n, sizeof *got);
    if (!got) return stn_fail_memory(err, "labels of classes");
    rc = stn_catalog_declare_classes(in->catalog, names, n, got, err);
    for (size_t i = 0; i < n && labels && rc == STERNA_OK; i++) labels[i] = got[i];
    free(got);
    return rc;
}
