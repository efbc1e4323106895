/* All files of a sample are opened before memory for them is asked for, at once: so no reader waits
 * for memory while it holds some. */
#include "ingest/reader.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/digest.h"
#include "base/file.h"

#define FILES_MAX STN_FIELDS_OF_STORE
#define CELLS_OF_OURS 8 /* path, width, height, channels, format, split, class, label */

struct open_file {
    int fd;
    struct stat st;
    size_t at; /* where in the buffer it goes */
};

struct reader {
    const struct stn_read_setup *setup;
    struct stn_job *job;
    struct stn_content content;
    char *path; /* of a field's file */
    size_t path_cap;
    struct open_file files[FILES_MAX]; /* the image, then one a blob */
    size_t n_files;
    struct sterna_error error;
};

/* ---- verdicts ---- */

static int is_fatal(int sys_errno) {
    return sys_errno == EMFILE || sys_errno == ENFILE || sys_errno == ENOMEM;
}

/* Skips the sample: returns END, which the caller passes up. */
static int skip(struct reader *r, enum sterna_outcome outcome, const char *why) {
    r->job->outcome = outcome;
    snprintf(r->job->why, sizeof r->job->why, "%s", why);
    return STERNA_END;
}

/* The same for one of its files, the image (0) or pattern f - 1's. `why` follows the file's name.
 */
static int skip_file(struct reader *r, size_t f, enum sterna_outcome outcome, const char *why) {
    if (f == 0) return skip(r, outcome, why);
    const struct stn_pattern *pattern = &r->setup->patterns[f - 1];
    if (stn_pattern_expand(pattern, &r->job->place, &r->path, &r->path_cap) < 0)
        return stn_fail_memory(&r->error, "a file's name");
    char name[128], text[STN_WHY_BYTES];
    size_t n = strlen(r->path); /* the end of a long path says more than its beginning */
    stn_printable(n > 60 ? r->path + n - 60 : r->path, name, sizeof name);
    snprintf(text, sizeof text, "field %s: %s%s %.80s", pattern->name, n > 60 ? "..." : "", name,
             why);
    return skip(r, STERNA_BAD_FIELD, text);
}

static int skip_errno(struct reader *r, size_t f, const char *why) {
    char text[STN_WHY_BYTES], reason[96];
    if (is_fatal(errno))
        return stn_fail_sys(&r->error, errno == ENOMEM ? STERNA_ENOMEM : STERNA_EIO,
                            "files cannot be opened");
    snprintf(text, sizeof text, "%s: %s", why, strerror_r(errno, reason, sizeof reason));
    return skip_file(r, f, STERNA_UNREADABLE, text);
}

/* ---- files ---- */

/* Opens it as the next file. OK; END: the sample is skipped. A field's file need not be there. */
static int open_one(struct reader *r, const char *path) {
    char text[96];
    size_t f = r->n_files++;
    struct open_file *file = &r->files[f];
    file->fd = stn_walk_open(r->setup->root_fd, path, O_RDONLY | O_NONBLOCK | O_NOCTTY);
    if (file->fd < 0 && f > 0 && (errno == ENOENT || errno == ENOTDIR)) return STERNA_OK;
    if (file->fd < 0) return skip_errno(r, f, "cannot be opened");
    if (fstat(file->fd, &file->st) < 0) return skip_errno(r, f, "cannot be looked at");
    if (!S_ISREG(file->st.st_mode)) return skip_file(r, f, STERNA_UNREADABLE, "is no regular file");
    if (f == 0 && file->st.st_size == 0) return skip(r, STERNA_EMPTY, "is empty");
    if ((uint64_t)file->st.st_size <= r->setup->max_bytes) return STERNA_OK;
    snprintf(text, sizeof text, "has %lld bytes, more than the %llu allowed",
             (long long)file->st.st_size, (unsigned long long)r->setup->max_bytes);
    return skip_file(r, f, STERNA_TOO_BIG, text);
}

/* Opens the field's file; files[f].fd stays -1 if the image has none. */
static int open_field(struct reader *r, size_t pattern) {
    int has =
        stn_pattern_expand(&r->setup->patterns[pattern], &r->job->place, &r->path, &r->path_cap);
    if (has < 0) return stn_fail_memory(&r->error, "a file's name");
    if (has) return open_one(r, r->path);
    r->files[r->n_files++].fd = -1;
    return STERNA_OK;
}

static int is_metadata_file(const struct reader *r, const struct open_file *file) {
    const struct stn_walk_inode *csv = &r->setup->metadata_file;
    return r->setup->metadata && file->fd >= 0 && file->st.st_dev == csv->dev &&
           file->st.st_ino == csv->ino;
}

static int open_files(struct reader *r) {
    struct stn_job *job = r->job;
    const struct stn_read_setup *s = r->setup;
    r->files[0].st = (struct stat){0};
    int rc = open_one(r, job->place.path);
    if (is_metadata_file(r, &r->files[0])) {
        job->is_sample = 0;
        return STERNA_END;
    }
    for (size_t i = 0; i < s->n_patterns && rc == STERNA_OK; i++) rc = open_field(r, i);
    if (rc != STERNA_OK) return rc;
    for (size_t f = 0; f < r->n_files; f++)
        job->blobs[f] = (struct stn_item_blob){.field = f ? s->fields[f - 1] : 0};
    job->n_blobs = r->n_files;
    return STERNA_OK;
}

static int read_one(struct reader *r, size_t f, struct stn_item_blob *blob) {
    struct open_file *file = &r->files[f];
    struct stat now;
    uint8_t *to = r->job->buffer.data + file->at;
    size_t bytes = (size_t)file->st.st_size;
    int rc = stn_pread_all(file->fd, to, bytes, 0);
    if (rc == STERNA_EIO) return skip_errno(r, f, "cannot be read");
    if (rc == STERNA_OK && fstat(file->fd, &now) < 0) return skip_errno(r, f, "cannot be read");
    if (rc < 0 || now.st_size != file->st.st_size ||
        now.st_mtim.tv_sec != file->st.st_mtim.tv_sec ||
        now.st_mtim.tv_nsec != file->st.st_mtim.tv_nsec)
        return skip_file(r, f, STERNA_UNREADABLE, "changed while it was read");
    blob->data = to;
    blob->bytes = bytes;
    blob->crc = stn_crc32c(0, to, bytes);
    r->job->bytes_read += bytes;
    return STERNA_OK;
}

/* Is it what it should be? */
static int check_one(struct reader *r, size_t f, const struct stn_item_blob *blob) {
    char why[STN_WHY_BYTES] = "";
    int rc;
    if (f == 0) {
        rc = stn_image_header_read(blob->data, blob->bytes, &r->job->header, why, sizeof why);
    } else {
        enum sterna_kind kind = r->setup->patterns[f - 1].kind;
        rc = stn_content_check(&r->content, kind, blob->data, blob->bytes, why, sizeof why);
    }
    if (rc == STERNA_ENOMEM) return stn_fail_memory(&r->error, "checking a file");
    return rc < 0 ? skip_file(r, f, STERNA_NO_IMAGE, why) : STERNA_OK;
}

static int read_files(struct reader *r) {
    size_t bytes = 0;
    struct stn_job *job = r->job;
    for (size_t f = 0; f < r->n_files; f++) {
        r->files[f].at = bytes;
        if (r->files[f].fd >= 0) bytes += ((size_t)r->files[f].st.st_size + 64) / 64 * 64;
    }
    int rc = stn_buffers_acquire(r->setup->buffers, bytes, &job->buffer);
    if (rc == STERNA_ECANCELED) return STERNA_END;
    if (rc < 0) return stn_fail_memory(&r->error, "files being read");
    for (size_t f = 0; f < r->n_files && rc == STERNA_OK; f++) {
        if (r->files[f].fd < 0) continue;
        rc = read_one(r, f, &job->blobs[f]);
        if (rc == STERNA_OK) rc = check_one(r, f, &job->blobs[f]);
    }
    return rc;
}

static void close_files(struct reader *r) {
    for (size_t f = 0; f < r->n_files; f++)
        if (r->files[f].fd >= 0) close(r->files[f].fd);
    r->n_files = 0;
}

/* ---- the row ---- */

static void add_cell(struct stn_job *job, const char *column, struct sterna_value value) {
    job->cells[job->n_cells++] = (struct stn_cell){column, value};
}

static struct sterna_value text(const char *s, size_t bytes) {
    return (struct sterna_value){STERNA_TEXT, 0, 0, s, bytes};
}

static struct sterna_value integer(int64_t i) {
    return (struct sterna_value){STERNA_INT, i, 0, NULL, 0};
}

/* The CSV's value in this column, if the sample has a row with one. */
static const struct sterna_value *given(const struct stn_job *job, long column) {
    if (!job->has_row || column < 0) return NULL;
    const struct sterna_value *v = &job->row.values[column];
    return v->type == STERNA_NULL ? NULL : v;
}

static void add_class(struct reader *r, const char *name, size_t bytes, int with_label) {
    long at = stn_layout_class(r->setup->layout, name, bytes);
    add_cell(r->job, "class", text(name, bytes));
    if (with_label && at >= 0) add_cell(r->job, "label", integer(r->setup->labels[at]));
}

static void add_metadata(struct reader *r) {
    const struct stn_read_setup *s = r->setup;
    struct stn_job *job = r->job;
    for (long i = 0; i < (long)stn_metadata_n_columns(s->metadata); i++)
        if (i != s->label_at && i != s->class_at && i != s->split_at)
            add_cell(job, stn_metadata_column(s->metadata, (size_t)i).name, job->row.values[i]);
}

/* What lasts comes first: bytes and CSV may have changed since the sample was listed, while its
 * directories, which are in its path, have not; and a CSV may have overruled them before. */
static void make_row(struct reader *r) {
    const struct stn_read_setup *s = r->setup;
    struct stn_job *job = r->job;
    const struct stn_place *place = &job->place;
    const struct sterna_value *class_name = given(job, s->class_at);
    const struct sterna_value *label = given(job, s->label_at);
    const struct sterna_value *split = given(job, s->split_at);
    job->n_cells = 0;
    add_cell(job, "width", integer(job->header.width));
    add_cell(job, "height", integer(job->header.height));
    add_cell(job, "channels", integer(job->header.channels));
    add_cell(job, "format", text(job->header.format, strlen(job->header.format)));
    if (job->has_row) add_metadata(r);
    if (class_name) add_class(r, class_name->text, class_name->text_bytes, !label);
    if (label) add_cell(job, "label", *label);
    if (split) add_cell(job, "split", *split);
    job->n_lasting = job->n_cells;
    add_cell(job, "path", text(job->path, strlen(job->path)));
    if (!class_name && place->class_name)
        add_class(r, place->class_name, place->class_bytes, !label);
    const char *name = place->split ? stn_split_name(place->split, place->split_bytes) : NULL;
    if (!split && name) add_cell(job, "split", text(name, strlen(name)));
}

size_t stn_read_cells(const struct stn_metadata *metadata) {
    return CELLS_OF_OURS + (metadata ? stn_metadata_n_columns(metadata) : 0);
}

static int find_metadata(struct reader *r) {
    struct stn_job *job = r->job;
    job->has_row = 0;
    if (!r->setup->metadata) return STERNA_OK;
    int rc = stn_metadata_find(r->setup->metadata, job->place.path, job->place.path_bytes,
                               &job->row, &r->error);
    job->has_row = rc > 0;
    return rc < 0 ? rc : STERNA_OK;
}

/* ---- one job after another ---- */

/* OK, or the failure of the whole ingest. */
static int read_job(struct reader *r) {
    struct stn_job *job = r->job;
    job->outcome = STERNA_ADDED;
    job->is_sample = 1;
    job->n_blobs = 0;
    job->bytes_read = 0;
    int rc = find_metadata(r);
    if (rc == STERNA_OK) rc = open_files(r);
    if (rc == STERNA_OK) rc = read_files(r);
    close_files(r);
    if (rc == STERNA_OK && stn_uuid5(r->setup->dataset_id, job->path, strlen(job->path), job->id))
        rc = stn_fail_memory(&r->error, "a sample's id");
    if (rc == STERNA_OK)
        make_row(r);
    else
        stn_buffers_release(r->setup->buffers, &job->buffer);
    return rc < 0 ? rc : STERNA_OK;
}

void stn_read_all(const struct stn_read_setup *setup) {
    struct reader r = {.setup = setup};
    while ((r.job = stn_jobs_next(setup->jobs))) {
        if (read_job(&r) < 0) stn_jobs_stop(setup->jobs, &r.error);
        stn_jobs_done(setup->jobs, r.job);
    }
    stn_content_fini(&r.content);
    free(r.path);
    stn_jobs_reader_ended(setup->jobs);
}
