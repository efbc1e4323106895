/* A folder into a store: one thread walks, some read, the calling one writes. This file knows every
 * stage, and reads like a table of contents from the bottom up. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/machine.h"
#include "base/thread.h"
#include "ingest/ahead.h"
#include "ingest/classes.h"
#include "ingest/reader.h"
#include "store.h"

#define READERS_MIN 2
#define READERS_MAX 16
#define MEMORY_BYTES_DEFAULT ((uint64_t)256 << 20)
#define OTHERS_BYTES_MAX ((uint64_t)160 << 20) /* of the budget: pages of LMDB and SQLite */
#define JOBS_MAX 1024                          /* so that readers go on while the writer syncs */
#define CELLS_MAX ((size_t)256 << 10)          /* of all jobs together */
#define TELL_EVERY_MS 100

struct folder {
    struct sterna_ingest_options options;
    struct sterna_ingest_result *result;
    struct sterna_error *err;
    const char *dir;
    int root_fd;
    struct stn_walk_inode store_dir; /* a store inside the folder is no part of it */
    size_t prefix_bytes;             /* of options.prefix, without slashes at the end */

    struct stn_pattern patterns[STN_FIELDS_OF_STORE - 1];
    uint32_t fields[STN_FIELDS_OF_STORE - 1];
    size_t n_patterns;
    struct stn_metadata *metadata;
    struct stn_layout layout;
    int64_t *labels; /* of layout.classes */
    sterna_ingest *ingest;

    struct stn_jobs jobs;
    struct stn_buffers buffers;
    struct stn_read_setup setup;
    pthread_t threads[READERS_MAX + 2];
    unsigned n_threads, n_readers;
    atomic_int stopping;
    _Atomic uint64_t files_seen, files_total, bytes_total;

    struct sterna_progress now;
    uint64_t started_ns, told_ns, rows_matched;
};

void sterna_ingest_options_init(struct sterna_ingest_options *o) {
    *o = (struct sterna_ingest_options){.struct_size = sizeof *o,
                                        .max_bytes = (uint64_t)64 << 20,
                                        .memory_bytes = MEMORY_BYTES_DEFAULT};
}

/* ---- the walk ---- */

static int is_field_file(const struct folder *f, const struct stn_walk_entry *e) {
    for (size_t i = 0; i < f->n_patterns; i++)
        if (stn_pattern_matches(&f->patterns[i], e->path, e->path_bytes)) return 1;
    return 0;
}

static int fill_job(const struct folder *f, struct stn_job *job, const struct stn_walk_entry *e) {
    size_t skip = f->prefix_bytes ? f->prefix_bytes + 1 : 0;
    if (stn_grow((void **)&job->path, &job->path_cap, skip + e->path_bytes + 1, 1) < 0)
        return STERNA_ENOMEM;
    if (skip > 0) {
        memcpy(job->path, f->options.prefix, f->prefix_bytes);
        job->path[f->prefix_bytes] = '/';
    }
    memcpy(job->path + skip, e->path, e->path_bytes + 1);
    stn_layout_place(&f->layout, job->path + skip, e->path_bytes, &job->place);
    return STERNA_OK;
}

static void fill_problem(struct stn_job *job, const struct stn_walk_entry *e) {
    char reason[96];
    job->outcome = STERNA_UNREADABLE;
    job->is_sample = 1;
    job->has_row = 0;
    job->bytes_read = 0;
    snprintf(job->why, sizeof job->why, "%s%s%s", e->problem, e->sys_errno ? ": " : "",
             e->sys_errno ? strerror_r(e->sys_errno, reason, sizeof reason) : "");
}

static int send_to_readers(void *ctx, const struct stn_walk_entry *e) {
    struct folder *f = ctx;
    if (!e->problem && is_field_file(f, e)) return STERNA_OK;
    struct stn_job *job = stn_jobs_take(&f->jobs);
    if (!job) return STERNA_ECANCELED;
    atomic_fetch_add(&f->files_seen, 1);
    if (fill_job(f, job, e) < 0) {
        stn_jobs_free(&f->jobs, job);
        return STERNA_ENOMEM;
    }
    if (!e->problem) return stn_jobs_todo(&f->jobs, job), STERNA_OK;
    fill_problem(job, e);
    stn_jobs_done(&f->jobs, job);
    return STERNA_OK;
}

static void *walk_thread(void *arg) {
    struct folder *f = arg;
    struct sterna_error error = {0};
    struct stn_walk_options options = {.skip = &f->store_dir};
    int rc = stn_walk(f->root_fd, &options, send_to_readers, f, &error);
    if (rc == STERNA_ENOMEM) stn_fail_memory(&error, "walking a folder");
    if (rc < 0 && rc != STERNA_ECANCELED) stn_jobs_stop(&f->jobs, &error);
    stn_jobs_walk_ended(&f->jobs);
    return NULL;
}

/* ---- the walk ahead, which only counts: for the time that is left ---- */

struct count {
    struct folder *folder;
    uint64_t files, bytes;
};

static int count_one(void *ctx, const struct stn_walk_entry *e) {
    struct count *c = ctx;
    struct stat st;
    if (atomic_load(&c->folder->stopping)) return STERNA_ECANCELED;
    int known = !e->problem && fstatat(e->dir_fd, e->name, &st, 0) == 0;
    const struct stn_walk_inode *csv = &c->folder->setup.metadata_file;
    if (known && c->folder->metadata && st.st_dev == csv->dev && st.st_ino == csv->ino)
        return STERNA_OK;
    if (e->problem || !is_field_file(c->folder, e)) c->files++;
    if (known && (uint64_t)st.st_size <= c->folder->options.max_bytes)
        c->bytes += (uint64_t)st.st_size;
    return STERNA_OK;
}

static void *count_thread(void *arg) {
    struct count c = {.folder = arg};
    struct stn_walk_options options = {.skip = &c.folder->store_dir};
    if (stn_walk(c.folder->root_fd, &options, count_one, &c, NULL) == STERNA_OK) {
        atomic_store(&c.folder->bytes_total, c.bytes);
        atomic_store(&c.folder->files_total, c.files);
    }
    return NULL;
}

static void *read_thread(void *arg) {
    struct folder *f = arg;
    stn_read_all(&f->setup);
    return NULL;
}

/* ---- threads ---- */

static int start_one(struct folder *f, void *(*body)(void *)) {
    errno = stn_thread_create(&f->threads[f->n_threads], body, f);
    if (errno) return stn_fail_sys(f->err, STERNA_ENOMEM, "a thread cannot be started");
    f->n_threads++;
    return STERNA_OK;
}

static int start(struct folder *f) {
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &old); /* signals are the caller's */
    int rc = start_one(f, walk_thread);
    for (unsigned i = 0; i < f->n_readers && rc == STERNA_OK; i++) rc = start_one(f, read_thread);
    if (rc == STERNA_OK && f->options.progress) rc = start_one(f, count_thread);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return rc;
}

static void stop(struct folder *f) {
    if (!f->jobs.all) return;
    atomic_store(&f->stopping, 1);
    stn_jobs_stop(&f->jobs, NULL);
    stn_buffers_stop(&f->buffers);
    while (f->n_threads > 0) pthread_join(f->threads[--f->n_threads], NULL);
    for (size_t i = 0; i < f->jobs.n; i++) stn_buffers_release(&f->buffers, &f->jobs.all[i].buffer);
    stn_buffers_fini(&f->buffers);
    stn_jobs_fini(&f->jobs);
}

/* ---- writing ---- */

static int tell_progress(struct folder *f, int now) {
    uint64_t now_ns = stn_now(stn_clock_monotonic());
    if (!f->options.progress) return STERNA_OK;
    if (!now && now_ns - f->told_ns < TELL_EVERY_MS * STN_NS_PER_MS) return STERNA_OK;
    f->told_ns = now_ns;
    f->now.seconds = (double)(now_ns - f->started_ns) / (double)STN_NS_PER_S;
    f->now.files_seen = atomic_load(&f->files_seen);
    f->now.files_total = atomic_load(&f->files_total);
    f->now.bytes_total = atomic_load(&f->bytes_total);
    memcpy(f->now.counts, f->result->counts, sizeof f->now.counts);
    if (f->options.progress(f->options.ctx, &f->now) == 0) return STERNA_OK;
    return stn_fail(f->err, STERNA_ECANCELED, "%s: ingest was stopped; nothing of it is listed",
                    f->dir);
}

static int code_of(enum sterna_outcome outcome) {
    switch (outcome) {
    case STERNA_CONFLICT:
        return STERNA_ECONFLICT;
    case STERNA_UNREADABLE:
        return STERNA_EIO;
    case STERNA_TOO_BIG:
        return STERNA_EINVAL;
    default:
        return STERNA_EDECODE;
    }
}

/* Reports what was not simply stored; with stop_on_error it is the end. */
static int tell_outcome(struct folder *f, const struct stn_job *job) {
    enum sterna_outcome outcome = job->outcome;
    const char *path = job->place.path;
    char name[256];
    if (outcome == STERNA_ADDED || outcome == STERNA_UNCHANGED) return STERNA_OK;
    if (f->options.report && f->options.report(f->options.ctx, outcome, path, job->why) != 0)
        return stn_fail(f->err, STERNA_ECANCELED, "%s: ingest was stopped; nothing of it is listed",
                        f->dir);
    if (!f->options.stop_on_error || outcome == STERNA_REPLACED) return STERNA_OK;
    return stn_fail(f->err, code_of(outcome), "%s: %s: %s", f->dir,
                    stn_printable(path, name, sizeof name), job->why);
}

static int settle(struct folder *f, struct stn_job *job) {
    struct stn_item item = {job->id,    job->blobs,   job->n_blobs,
                            job->cells, job->n_cells, job->n_lasting};
    struct stn_item_result written = {0};
    f->rows_matched += (uint64_t)job->has_row;
    if (job->outcome == STERNA_ADDED) {
        int rc = stn_ingest_write(f->ingest, &item, &written, f->err);
        if (rc < 0) return rc;
        job->outcome = written.outcome;
        memcpy(job->why, written.why, sizeof job->why);
    }
    f->result->counts[job->outcome]++;
    f->result->bytes += written.bytes_stored;
    f->now.files_done++;
    f->now.bytes_done += job->bytes_read;
    return tell_outcome(f, job);
}

static int write_all(struct folder *f) {
    struct stn_job *job;
    struct stn_ahead ahead;
    int rc;
    stn_ahead_init(&ahead, &f->jobs, f->ingest->values);
    while ((rc = stn_ahead_next(&ahead, TELL_EVERY_MS, &job, f->err)) >= 0) {
        if (rc == STERNA_END) return tell_progress(f, 1);
        if (rc == STERNA_OK) {
            if (job->is_sample)
                rc = settle(f, job);
            else
                atomic_fetch_sub(&f->files_seen, 1);
            stn_buffers_release(&f->buffers, &job->buffer);
            stn_jobs_free(&f->jobs, job);
        }
        if (rc >= 0) rc = tell_progress(f, 0);
        if (rc < 0) break;
    }
    return rc;
}

/* ---- before ---- */

static int copy_options(struct folder *f, const struct sterna_ingest_options *given) {
    struct sterna_ingest_options *o = &f->options;
    sterna_ingest_options_init(o);
    if (given && given->struct_size != sizeof *o)
        return stn_fail(f->err, STERNA_EINVAL,
                        "ingest options: struct_size is %zu, not %zu: use "
                        "sterna_ingest_options_init(), and the headers of version %s",
                        given->struct_size, sizeof *o, sterna_version());
    if (given) *o = *given;
    if (o->memory_bytes == 0) o->memory_bytes = MEMORY_BYTES_DEFAULT;
    o->max_bytes = STN_MIN(o->max_bytes, STN_BLOB_BYTES_MAX);
    f->prefix_bytes = o->prefix ? strlen(o->prefix) : 0;
    while (f->prefix_bytes > 0 && o->prefix[f->prefix_bytes - 1] == '/') f->prefix_bytes--;
    unsigned wanted = o->threads ? o->threads : STN_MAX(stn_usable_cpus(), READERS_MIN);
    f->n_readers = STN_MIN(wanted, READERS_MAX);
    if (o->n_fields <= STN_COUNT(f->patterns)) return STERNA_OK;
    return stn_fail(f->err, STERNA_EINVAL, "ingest: %zu fields; %zu besides the image is the most",
                    o->n_fields, STN_COUNT(f->patterns));
}

static int open_folder(struct folder *f, const sterna_store *store) {
    struct stat root, st;
    f->root_fd = stn_open(f->dir, O_RDONLY | O_DIRECTORY, 0);
    if (f->root_fd < 0 && errno == ENOENT)
        return stn_fail(f->err, STERNA_ENOTFOUND, "%s: there is no such folder", f->dir);
    if (f->root_fd < 0)
        return stn_fail_sys(f->err, errno == ENOTDIR ? STERNA_EINVAL : STERNA_EIO,
                            "%s: cannot be opened as a folder", f->dir);
    if (fstat(f->root_fd, &root) < 0 || stat(store->dir, &st) < 0)
        return stn_fail_sys(f->err, STERNA_EIO, "%s or %s cannot be looked at", f->dir, store->dir);
    if (root.st_dev == st.st_dev && root.st_ino == st.st_ino)
        return stn_fail(f->err, STERNA_EINVAL, "%s: is the store itself, not a folder of images",
                        f->dir);
    f->store_dir = (struct stn_walk_inode){st.st_dev, st.st_ino};
    return STERNA_OK;
}

static int read_patterns(struct folder *f) {
    for (size_t i = 0; i < f->options.n_fields; i++) {
        const struct sterna_ingest_field *field = &f->options.fields[i];
        int rc = stn_pattern_init(&f->patterns[i], field, f->err);
        if (rc < 0) return rc;
        f->n_patterns++;
        for (size_t k = 0; k < i; k++)
            if (strcmp(f->patterns[k].name, f->patterns[i].name) == 0)
                return stn_fail(f->err, STERNA_EINVAL, "field %s: is given twice",
                                f->patterns[i].name);
    }
    return STERNA_OK;
}

static int read_metadata(struct folder *f) {
    struct stat st;
    const char *file = f->options.metadata_file;
    f->setup.label_at = f->setup.class_at = f->setup.split_at = -1;
    if (!file) return STERNA_OK;
    int rc = stn_metadata_open(&f->metadata, file, f->err);
    if (rc < 0) return rc;
    if (stat(file, &st) == 0)
        f->setup.metadata_file = (struct stn_walk_inode){st.st_dev, st.st_ino};
    f->setup.label_at = stn_metadata_find_column(f->metadata, "label");
    f->setup.class_at = stn_metadata_find_column(f->metadata, "class");
    f->setup.split_at = stn_metadata_find_column(f->metadata, "split");
    if (f->setup.label_at < 0) return STERNA_OK;
    enum sterna_type type = stn_metadata_column(f->metadata, (size_t)f->setup.label_at).type;
    if (type == STERNA_INT || type == STERNA_NULL) return STERNA_OK;
    return stn_fail(f->err, STERNA_EINVAL,
                    "%s: column \"label\" must hold integers; call it \"class\" if these are names",
                    file);
}

static int read_layout(struct folder *f) {
    struct stn_layout_options options = {f->patterns, f->n_patterns, &f->store_dir};
    int rc = stn_layout_read(&f->layout, f->root_fd, &options, f->err);
    if (rc < 0 || f->setup.class_at < 0) return rc;
    return stn_classes_join(&f->layout, f->metadata, f->root_fd, &f->store_dir, f->err);
}

static int declare_column(struct folder *f, size_t i) {
    struct sterna_error why = {0};
    const char *name = stn_metadata_column(f->metadata, i).name;
    int rc = stn_catalog_declare_column(f->ingest->catalog, name, &why);
    if (rc == STERNA_EINVAL)
        return stn_fail(f->err, rc, "%s: column \"%s\": %s", f->options.metadata_file, name,
                        why.message);
    if (rc < 0 && f->err) *f->err = why;
    return rc;
}

/* Fields, columns and classes, before any sample: labels are given in the order of names. */
static int declare(struct folder *f) {
    int rc = STERNA_OK;
    for (size_t i = 0; i < f->n_patterns && rc == STERNA_OK; i++)
        rc = stn_ingest_field(f->ingest, f->patterns[i].name, f->patterns[i].kind, &f->fields[i],
                              f->err);
    size_t n_columns = f->metadata ? stn_metadata_n_columns(f->metadata) : 0;
    for (size_t i = 0; i < n_columns && rc == STERNA_OK; i++)
        if ((long)i != f->setup.label_at && (long)i != f->setup.class_at &&
            (long)i != f->setup.split_at)
            rc = declare_column(f, i);
    f->labels = stn_array(f->layout.n_classes, sizeof *f->labels);
    if (rc == STERNA_OK && !f->labels) rc = stn_fail_memory(f->err, "classes");
    if (rc == STERNA_OK)
        rc = stn_catalog_declare_classes(f->ingest->catalog, (const char *const *)f->layout.classes,
                                         f->layout.n_classes, f->labels, f->err);
    return rc;
}

static int prepare_pipeline(struct folder *f) {
    struct stn_read_setup *s = &f->setup;
    uint64_t others = STN_MIN(f->options.memory_bytes / 8 * 5, OTHERS_BYTES_MAX);
    size_t n_cells = stn_read_cells(f->metadata);
    size_t n_jobs = STN_MIN(JOBS_MAX, CELLS_MAX / n_cells);
    if (stn_jobs_init(&f->jobs, n_jobs, n_cells, f->n_readers) < 0)
        return stn_fail_memory(f->err, "files being read");
    stn_buffers_init(&f->buffers, (size_t)(f->options.memory_bytes - others));
    s->jobs = &f->jobs;
    s->buffers = &f->buffers;
    s->root_fd = f->root_fd;
    s->dataset_id = stn_catalog_dataset_id(f->ingest->catalog);
    s->layout = &f->layout;
    s->labels = f->labels;
    s->patterns = f->patterns;
    s->fields = f->fields;
    s->n_patterns = f->n_patterns;
    s->metadata = f->metadata;
    s->max_bytes = f->options.max_bytes;
    return STERNA_OK;
}

/* ---- the whole ---- */

static void folder_fini(struct folder *f) {
    stop(f);
    sterna_ingest_close(&f->ingest);
    free(f->labels);
    stn_layout_fini(&f->layout);
    stn_metadata_close(&f->metadata);
    for (size_t i = 0; i < f->n_patterns; i++) stn_pattern_fini(&f->patterns[i]);
    if (f->root_fd >= 0) close(f->root_fd);
}

/* "disk full" is what a user looks for, and that nothing is lost. */
static void explain_full_disk(struct sterna_error *err) {
    if (!err || err->sys_errno != ENOSPC) return;
    size_t n = strlen(err->message);
    snprintf(err->message + n, sizeof err->message - n,
             ": disk full; make room and run the same ingest again");
}

static int ingest(struct folder *f, sterna_store *store) {
    int rc = open_folder(f, store);
    if (rc == STERNA_OK) rc = read_patterns(f);
    if (rc == STERNA_OK) rc = read_metadata(f);
    if (rc == STERNA_OK) rc = read_layout(f);
    if (rc == STERNA_OK)
        rc = sterna_ingest_open(&f->ingest, store, f->dir, f->options.replace, f->err);
    if (rc == STERNA_OK) rc = declare(f);
    if (rc == STERNA_OK) rc = prepare_pipeline(f);
    if (rc == STERNA_OK) rc = start(f);
    if (rc == STERNA_OK) rc = write_all(f);
    stop(f);
    if (rc == STERNA_OK) rc = sterna_ingest_commit(f->ingest, &f->result->run, f->err);
    return rc;
}

int sterna_ingest_folder(sterna_store *store, const char *dir,
                         const struct sterna_ingest_options *options,
                         struct sterna_ingest_result *result, struct sterna_error *err) {
    struct sterna_ingest_result unused;
    struct sterna_error local = {0};
    struct stn_clock *clock = stn_clock_monotonic();
    stn_error_clear(err);
    if (!store || !dir) return stn_fail(err, STERNA_EINVAL, "ingest: no store or no folder");
    int rc = stn_store_check(store, err);
    if (rc < 0) return rc;
    struct folder *f = calloc(1, sizeof *f);
    if (!f) return stn_fail_memory(err, "an ingest");
    f->result = result ? result : &unused;
    *f->result = (struct sterna_ingest_result){0};
    f->err = err ? err : &local;
    f->dir = dir;
    f->root_fd = -1;
    f->started_ns = stn_now(clock);
    rc = copy_options(f, options);
    if (rc == STERNA_OK) rc = ingest(f, store);
    if (rc < 0) explain_full_disk(f->err);
    if (f->metadata)
        f->result->metadata_unmatched = stn_metadata_n_rows(f->metadata) - f->rows_matched;
    folder_fini(f);
    f->result->seconds = (double)(stn_now(clock) - f->started_ns) / (double)STN_NS_PER_S;
    free(f);
    return rc;
}
