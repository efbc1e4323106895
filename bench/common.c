#include "common.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

void die(const char *format, ...) {
    va_list args;
    va_start(args, format);
    fputs("bench: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    exit(1);
}

void *must(void *ptr) {
    if (!ptr) die("out of memory");
    return ptr;
}

void check(int rc, const struct sterna_error *err) {
    if (rc < 0) die("%s", err->message);
}

double now_s(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

double cpu_s(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

uint64_t peak_rss_bytes(void) {
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (uint64_t)usage.ru_maxrss * 1024;
}

/* ---- arguments ---- */

const char *option(int argc, char **argv, const char *name, const char *otherwise) {
    for (int i = 1; i + 1 < argc; i++)
        if (strncmp(argv[i], "--", 2) == 0 && strcmp(argv[i] + 2, name) == 0) return argv[i + 1];
    return otherwise;
}

uint64_t option_number(int argc, char **argv, const char *name, uint64_t otherwise) {
    static const char units[] = "KMG";
    const char *text = option(argc, argv, name, NULL);
    char *end;
    if (!text) return otherwise;
    uint64_t value = strtoull(text, &end, 10);
    const char *unit = *end ? strchr(units, *end) : NULL;
    if (end == text || (*end && (!unit || end[1]))) die("--%s %s is no number", name, text);
    return unit ? value << 10 * (unit - units + 1) : value;
}

double option_real(int argc, char **argv, const char *name, double otherwise) {
    const char *text = option(argc, argv, name, NULL);
    return text ? strtod(text, NULL) : otherwise;
}

/* ---- random numbers: splitmix64 ---- */

uint64_t random_next(struct random_stream *r) {
    uint64_t z = r->state += UINT64_C(0x9E3779B97F4A7C15);
    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return z ^ (z >> 31);
}

double random_unit(struct random_stream *r) {
    return ((double)(random_next(r) >> 11) + 0.5) / 9007199254740992.0;
}

double random_normal(struct random_stream *r) {
    double u = random_unit(r), v = random_unit(r);
    return sqrt(-2 * log(u)) * cos(6.283185307179586 * v);
}

void random_fill(struct random_stream *r, void *to, size_t bytes) {
    unsigned char *at = to;
    for (uint64_t word; bytes > 0;) {
        size_t n = bytes < sizeof word ? bytes : sizeof word;
        word = random_next(r);
        memcpy(at, &word, n);
        at += n;
        bytes -= n;
    }
}

/* ---- a store's samples in order ---- */

void listing_open(struct listing *l, const char *path, int argc, char **argv) {
    struct sterna_error err = {0};
    struct sterna_field field;
    struct sterna_selection_info info;
    sterna_store *store;
    sterna_selection *selection;
    *l = (struct listing){.batch_size = (uint32_t)option_number(argc, argv, "batch-size", 256),
                          .seed = option_number(argc, argv, "seed", 0)};
    const struct sterna_select_options all = {.struct_size = sizeof all};
    check(sterna_store_open(&store, path, NULL, &err), &err);
    check(sterna_select(&selection, store, &all, &err), &err);
    sterna_selection_info(selection, &info);
    if (info.n == 0 || sterna_store_field(store, 0, &field) < 0) die("%s holds nothing", path);
    l->n = info.n;
    l->n_bytes = info.n_bytes;
    l->field = (uint8_t)field.number;
    l->ids = must(malloc(info.n * sizeof *l->ids));
    memcpy(l->ids, sterna_selection_ids(selection), info.n * sizeof *l->ids);
    sterna_selection_close(&selection);
    sterna_store_close(&store);
}

void listing_order(const struct listing *l, uint64_t epoch, uint64_t *index) {
    struct sterna_error err = {0};
    struct sterna_loader_options o;
    uint8_t *valid = must(malloc(l->batch_size));
    uint64_t *rows = must(malloc(l->batch_size * sizeof *rows));
    uint32_t n_rows;
    sterna_loader_options_init(&o);
    o.batch_size = l->batch_size;
    o.seed = l->seed;
    for (uint64_t step = 0, done = 0; done < l->n; step++) {
        check(sterna_plan_batch(&o, l->n, epoch, step, rows, valid, &n_rows, &err), &err);
        for (uint32_t i = 0; i < n_rows; i++)
            if (valid[i]) index[done++] = rows[i];
    }
    free(rows);
    free(valid);
}

void listing_close(struct listing *l) { free(l->ids); }
