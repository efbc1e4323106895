/* sterna verify: every sample against its checksum, its length, and the file it came from. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "args.h"
#include "choose.h"
#include "cli.h"
#include "interrupt.h"
#include "json.h"
#include "meter.h"
#include "progress.h"
#include "size.h"

#define ROWS 64 /* of a batch: as many source files are open at once */
#define CHUNK (1 << 20)

struct verify {
    const char *url, *source, *prefix;
    struct cli_which which;
    uint64_t memory_bytes, threads;
    int json, quiet;
    sterna_store *store;
    sterna_selection *selection; /* carries the column path */
    sterna_loader *loader;
    uint64_t n;
    struct cli_meter meter;
    struct cli_json out;
    uint8_t *chunk;
    uint64_t n_checked, n_bad;                              /* samples */
    uint64_t n_compared, n_missing, n_different, n_outside; /* with the source */
    uint64_t n_reads_failed, n_lengths;
};

/* ---- listing ---- */

static void differs(struct verify *v, uint64_t index, const char *why) {
    char id[STERNA_ID_TEXT_BYTES] = "", line[2 * 4096], reason[1024];
    struct sterna_value path = {0};
    if (index < v->n) {
        sterna_id_format(sterna_selection_ids(v->selection)[index], id);
        sterna_selection_value(v->selection, 0, index, &path);
    }
    if (v->json) {
        cli_json_open(&v->out, NULL, '{');
        cli_json_text(&v->out, "id", id);
        cli_json_bytes(&v->out, "path", path.text ? path.text : "", path.text_bytes);
        cli_json_text(&v->out, "why", why);
        cli_json_close(&v->out, '}');
        return;
    }
    cli_progress_hide();
    cli_printable(why, strlen(why), reason, sizeof reason);
    printf("%s %s: %s\n", id,
           cli_printable(path.text ? path.text : "", path.text_bytes, line, sizeof line), reason);
}

/* ---- against the store ---- */

/* Why a sample failed, in the loader's words if it still has them. */
static void read_failed(struct verify *v, uint64_t index, int code) {
    struct sterna_exception *list = malloc(1000 * sizeof *list);
    size_t n = list ? sterna_loader_exceptions(v->loader, list, 1000) : 0;
    const char *why = sterna_strerror(code);
    for (size_t i = n; i > 0; i--) {
        if (list[i - 1].index != index || list[i - 1].message[0] == 0) continue;
        why = list[i - 1].message;
        break;
    }
    v->n_reads_failed++;
    differs(v, index, why);
    free(list);
}

/* 1 if all fields are as long as the catalogue says. */
static int lengths_agree(struct verify *v, const sterna_batch *batch, uint32_t n_fields,
                         uint32_t row, uint64_t index) {
    struct sterna_selection_info info;
    sterna_selection_info(v->selection, &info);
    for (uint32_t f = 0; f < n_fields && f < info.n_fields; f++) {
        struct sterna_field_view view; /* all fields were asked for: their order is the store's */
        if (sterna_batch_field(batch, f, &view) < 0) continue;
        uint32_t want = sterna_selection_lengths(v->selection, f)[index];
        if (want == STERNA_LENGTH_UNKNOWN) continue;
        int null = view.data[row] == NULL;
        if (want == STERNA_LENGTH_NULL ? null : !null && view.bytes[row] == want) continue;
        char why[200];
        if (want == STERNA_LENGTH_NULL)
            snprintf(why, sizeof why, "field %s has %llu bytes, the catalogue says there is none",
                     view.name, (unsigned long long)view.bytes[row]);
        else
            snprintf(why, sizeof why, "field %s has %llu bytes, the catalogue says %u", view.name,
                     (unsigned long long)view.bytes[row], want);
        v->n_lengths++;
        differs(v, index, why);
        return 0;
    }
    return 1;
}

/* ---- against the source ---- */

/* Path of the file that a sample came from, to be freed; NULL with *outside set: its path does not
 * begin with the prefix. */
static char *source_path(const struct verify *v, uint64_t index, int *outside) {
    struct sterna_value path = {0};
    size_t skip = v->prefix ? strlen(v->prefix) : 0;
    char *full = NULL;
    sterna_selection_value(v->selection, 0, index, &path);
    while (skip > 0 && v->prefix[skip - 1] == '/') skip--;
    *outside = path.type != STERNA_TEXT || path.text_bytes < skip + 1 ||
               (skip > 0 && (memcmp(path.text, v->prefix, skip) != 0 || path.text[skip] != '/'));
    if (*outside) return NULL;
    if (skip > 0) skip++;
    if (asprintf(&full, "%s/%.*s", v->source, (int)(path.text_bytes - skip), path.text + skip) < 0)
        return NULL;
    return full;
}

/* NULL if the file holds exactly these bytes, else why not. */
static const char *compare(struct verify *v, int fd, const uint8_t *data, uint64_t bytes,
                           char *why) {
    struct stat st;
    if (fstat(fd, &st) != 0) return strerror(errno);
    if (!S_ISREG(st.st_mode)) return "the source is no regular file";
    if ((uint64_t)st.st_size != bytes) {
        snprintf(why, 120, "the source has %lld bytes, the store %llu", (long long)st.st_size,
                 (unsigned long long)bytes);
        return why;
    }
    for (uint64_t at = 0; at < bytes;) {
        size_t want = bytes - at < CHUNK ? (size_t)(bytes - at) : CHUNK;
        ssize_t got = pread(fd, v->chunk, want, (off_t)at);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return strerror(errno);
        if (got == 0) return "the source grew shorter while it was read";
        if (memcmp(v->chunk, data + at, (size_t)got) != 0) {
            size_t i = 0;
            while (v->chunk[i] == data[at + i]) i++;
            snprintf(why, 120, "differs from the source at byte %llu",
                     (unsigned long long)(at + i));
            return why;
        }
        at += (uint64_t)got;
    }
    return NULL;
}

struct source_file {
    int fd, error; /* of open */
    int outside;
};

/* All files of a batch are opened first, so that the disk can fetch them side by side. */
static int open_sources(struct verify *v, const uint64_t *index, uint32_t n_rows,
                        struct source_file *files) {
    for (uint32_t i = 0; i < n_rows; i++) {
        char *path = source_path(v, index[i], &files[i].outside);
        files[i].fd = -1;
        if (files[i].outside) continue;
        if (!path) return cli_fail(CLI_FAILED, "out of memory for a path");
        files[i].fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
        files[i].error = errno;
        if (files[i].fd >= 0) posix_fadvise(files[i].fd, 0, 0, POSIX_FADV_WILLNEED);
        free(path);
    }
    return CLI_DONE;
}

static int source_agrees(struct verify *v, const struct sterna_field_view *image, uint32_t row,
                         uint64_t index, const struct source_file *file) {
    char why[128];
    const char *what;
    if (file->outside) {
        v->n_outside++;
        return 1;
    }
    if (file->fd < 0) {
        v->n_missing++;
        snprintf(why, sizeof why, "%s",
                 file->error == ENOENT || file->error == ENOTDIR ? "missing from the source"
                                                                 : strerror(file->error));
        differs(v, index, why);
        return 0;
    }
    v->n_compared++;
    what = compare(v, file->fd, image->data[row], image->bytes[row], why);
    if (!what) return 1;
    v->n_different++;
    differs(v, index, what);
    return 0;
}

/* ---- the run ---- */

static int image_field(const sterna_batch *batch, uint32_t n_fields,
                       struct sterna_field_view *image) {
    for (uint32_t f = 0; f < n_fields; f++)
        if (sterna_batch_field(batch, f, image) == STERNA_OK && image->kind == STERNA_KIND_IMAGE)
            return 1;
    return 0;
}

static int check_batch(struct verify *v, const sterna_batch *batch) {
    struct sterna_batch_info info;
    struct sterna_field_view image;
    struct source_file files[ROWS];
    sterna_batch_info(batch, &info);
    cli_meter_batch(&v->meter, batch, &info);
    const uint64_t *index = sterna_batch_index(batch);
    const int *errors = sterna_batch_errors(batch);
    for (uint32_t i = 0; i < ROWS; i++) files[i] = (struct source_file){.fd = -1};
    int compare_too = v->source && image_field(batch, info.n_fields, &image);
    int rc = compare_too ? open_sources(v, index, info.n_rows, files) : CLI_DONE;
    for (uint32_t i = 0; i < info.n_rows && rc == CLI_DONE; i++) {
        int good = 0;
        v->n_checked++;
        if (errors[i] != STERNA_OK) {
            read_failed(v, index[i], errors[i]);
        } else {
            good = lengths_agree(v, batch, info.n_fields, i, index[i]);
            if (compare_too && image.data[i])
                good &= source_agrees(v, &image, i, index[i], &files[i]);
        }
        v->n_bad += !good;
    }
    for (uint32_t i = 0; i < ROWS; i++)
        if (files[i].fd >= 0) close(files[i].fd);
    return rc;
}

static void show_progress(const struct verify *v) {
    struct cli_text label = {0}, details = {0};
    char number[CLI_NUMBER_TEXT];
    double elapsed_s = cli_now_s() - v->meter.start_s;
    double per_s = cli_per_second((double)v->n_checked, elapsed_s);
    cli_text_add(&label, "%s checked", cli_count_text(v->n_checked, number));
    if (elapsed_s >= 0.5 && per_s > 0)
        cli_text_add(&details, "%.0f samples/s  %.0f MB/s  %s left", per_s,
                     cli_per_second((double)v->meter.total.bytes / 1e6, elapsed_s),
                     cli_time_text((double)(v->n - v->n_checked) / per_s, number));
    if (v->n_bad > 0) cli_text_add(&details, "  %llu differ", (unsigned long long)v->n_bad);
    cli_progress_show(label.text, v->n > 0 ? (double)v->n_checked / (double)v->n : 1, details.text);
}

static int check_all(struct verify *v) {
    for (;;) {
        struct sterna_error err = {0};
        sterna_batch *batch = NULL;
        int rc = sterna_loader_next(v->loader, &batch, cli_progress_tick_ms(), &err);
        if (rc == STERNA_AGAIN) continue;
        if (rc == STERNA_END) break;
        if (rc == STERNA_ECANCELED && cli_interrupted()) return CLI_INTERRUPTED;
        if (rc < 0) return cli_fail_err(rc, &err);
        rc = check_batch(v, batch);
        sterna_batch_release(&batch);
        if (rc != CLI_DONE) return rc;
        if (cli_progress_due()) show_progress(v);
        if (cli_interrupted()) return CLI_INTERRUPTED;
    }
    if (v->n_checked == v->n) return v->n_bad > 0 ? CLI_DIFFER : CLI_DONE;
    return cli_fail(CLI_DIFFER, "%llu of %llu samples did not come at all",
                    (unsigned long long)(v->n - v->n_checked), (unsigned long long)v->n);
}

/* A selection of the same samples that carries their paths. */
static int open_selection(struct verify *v) {
    static const char *const columns[] = {"path"};
    sterna_selection *chosen = NULL;
    struct sterna_error err = {0};
    struct sterna_selection_info info;
    v->which.columns = columns;
    v->which.n_columns = 1;
    if (!v->which.selection) return cli_select(&v->selection, v->store, &v->which);
    v->which.n_columns = 0;
    int rc = cli_select(&chosen, v->store, &v->which);
    if (rc != CLI_DONE) return rc;
    sterna_selection_info(chosen, &info);
    struct sterna_select_options o = {.struct_size = sizeof o,
                                      .ids = sterna_selection_ids(chosen),
                                      .n_ids = (size_t)info.n,
                                      .columns = columns,
                                      .n_columns = 1};
    int got = sterna_select(&v->selection, v->store, &o, &err);
    sterna_selection_close(&chosen);
    return got < 0 ? cli_fail_err(got, &err) : CLI_DONE;
}

static void print_results(const struct verify *v, struct cli_json *j, int rc) {
    const struct cli_figures *t = &v->meter.total;
    char a[CLI_NUMBER_TEXT];
    if (v->json) {
        cli_json_close(j, ']');
        cli_json_uint(j, "samples", v->n);
        cli_json_uint(j, "checked", v->n_checked);
        cli_json_uint(j, "bad", v->n_bad);
        cli_json_uint(j, "failed", v->n_reads_failed);
        cli_json_uint(j, "wrong_length", v->n_lengths);
        cli_json_uint(j, "compared", v->n_compared);
        cli_json_uint(j, "missing_in_source", v->n_missing);
        cli_json_uint(j, "different_from_source", v->n_different);
        cli_json_uint(j, "outside_prefix", v->n_outside);
        cli_json_uint(j, "bytes", t->bytes);
        cli_json_real(j, "seconds", t->seconds);
        cli_json_real(j, "mb_per_s", cli_per_second((double)t->bytes / 1e6, t->seconds));
        cli_json_bool(j, "complete", rc == CLI_DONE || rc == CLI_DIFFER);
        cli_json_close(j, '}');
        putchar('\n');
        return;
    }
    if (v->quiet) return;
    printf("checked   %s of", cli_count_text(v->n_checked, a));
    printf(" %s samples, ", cli_count_text(v->n, a));
    printf("%s in %.2f s (%.0f MB/s)\n", cli_size_text((double)t->bytes, a), t->seconds,
           cli_per_second((double)t->bytes / 1e6, t->seconds));
    if (v->source) {
        printf("compared  %s with their source", cli_count_text(v->n_compared, a));
        if (v->n_outside > 0)
            printf("; %s have paths outside the prefix", cli_count_text(v->n_outside, a));
        putchar('\n');
    }
    printf("differ    %s\n", cli_count_text(v->n_bad, a));
}

static int open_loader(struct verify *v) {
    struct sterna_loader_options o;
    struct sterna_error err = {0};
    sterna_loader_options_init(&o);
    o.batch_size = ROWS;
    o.shuffle = 0;
    o.uneven = STERNA_UNEVEN_EXACT;
    o.on_error = STERNA_ON_ERROR_MASK;
    o.max_errors = UINT64_MAX;
    o.memory_bytes = v->memory_bytes;
    o.threads = (unsigned)v->threads;
    int rc = sterna_loader_open(&v->loader, v->store, v->selection, &o, &err);
    return rc < 0 ? cli_fail_err(rc, &err) : CLI_DONE;
}

static int check_source(const struct verify *v) {
    struct stat st;
    if (!v->source) return CLI_DONE;
    if (stat(v->source, &st) != 0)
        return cli_fail(CLI_FAILED, "--source %s: %s", v->source, strerror(errno));
    return S_ISDIR(st.st_mode) ? CLI_DONE
                               : cli_fail(CLI_FAILED, "--source %s: no directory", v->source);
}

static int verify(struct verify *v) {
    struct sterna_selection_info info;
    struct sterna_stats now;
    int rc = check_source(v);
    if (rc == CLI_DONE) rc = cli_open_store(&v->store, v->url, STERNA_OPEN_READ);
    if (rc == CLI_DONE) rc = open_selection(v);
    if (rc != CLI_DONE) return rc;
    sterna_selection_info(v->selection, &info);
    v->n = info.n;
    v->chunk = malloc(CHUNK);
    if (!v->chunk) return cli_fail(CLI_FAILED, "out of memory for comparing");
    cli_interrupt_gently();
    cli_meter_start(&v->meter);
    rc = open_loader(v);
    if (rc != CLI_DONE) return rc;
    cli_interrupt_loader(v->loader);
    cli_progress_open(v->quiet, v->json);
    if (v->json) {
        cli_json_open(&v->out, NULL, '{');
        cli_json_open(&v->out, "differences", '[');
    }
    rc = check_all(v);
    cli_interrupt_loader(NULL);
    cli_progress_hide();
    sterna_loader_stats(v->loader, &now);
    cli_meter_stop(&v->meter, &now);
    print_results(v, &v->out, rc);
    if (rc == CLI_INTERRUPTED) cli_note("interrupted");
    return rc;
}

int cmd_verify(int argc, char **argv) {
    struct verify v = {.out = {.to = stdout}};
    struct cli_option options[] = {
        {"source", CLI_TEXT, &v.source, "DIR", "also compare each image with its file below DIR", 0,
         0, 0},
        {"prefix", CLI_TEXT, &v.prefix, "P",
         "the prefix that DIR was ingested with; other samples are not compared", 0, 0, 0},
        CLI_WHICH_OPTIONS(v.which),
        {"memory", CLI_SIZE, &v.memory_bytes, "SIZE", "budget for data on their way", 1, 0, 0},
        {"threads", CLI_UINT, &v.threads, "N", "reader threads (chosen)", 1, 1024, 0},
        {"json", CLI_FLAG, &v.json, NULL, "results as one JSON object on one line", 0, 0, 0},
        {"quiet", CLI_FLAG, &v.quiet, NULL, "differences only, no progress and no summary", 0, 0,
         0},
    };
    struct cli_spec spec = {
        .name = "verify",
        .operands = "STORE",
        .about = "Reads every sample and checks its checksum and length, and its bytes against "
                 "the source folder if that is given. Lists what differs, one a line: id, path, "
                 "why. Exit code 4 if anything does.",
        .options = options,
        .n_options = CLI_COUNT(options),
        .min_operands = 1,
        .max_operands = 1,
        .to = {&v.url}};
    int rc = cli_parse(&spec, argc, argv);
    if (rc == CLI_GO_ON) rc = cli_which_check(&spec);
    if (rc == CLI_GO_ON && v.prefix && !v.source)
        rc = cli_fail(CLI_USAGE, "--prefix means nothing without --source");
    if (rc == CLI_GO_ON) rc = verify(&v);
    sterna_loader_close(&v.loader);
    cli_meter_free(&v.meter);
    sterna_selection_close(&v.selection);
    sterna_store_close(&v.store);
    free(v.chunk);
    return rc;
}
