#include "support/ingested.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/digest.h"
#include "base/file.h"
#include "embedded.h"
#include "store.h"
#include "support/pictures.h"

static void die(const char *what, const char *why) {
    fprintf(stderr, "%s: %s\n", what, why);
    abort();
}

static int report(void *ctx, enum sterna_outcome outcome, const char *path, const char *why) {
    struct ingested *g = ctx;
    size_t used = strlen(g->reports);
    snprintf(g->reports + used, sizeof g->reports - used, "%s: %s: %s\n",
             sterna_outcome_name(outcome), path, why);
    g->n_reports++;
    if (g->n_reports == g->report_kills_at) raise(SIGKILL);
    return g->n_reports == g->report_stops_at;
}

static int progress(void *ctx, const struct sterna_progress *now) {
    struct ingested *g = ctx;
    g->last = *now;
    return ++g->n_progress == g->progress_stops_at;
}

static void open_store(struct ingested *g) {
    struct sterna_store_options o = {.struct_size = sizeof o, .mode = STERNA_OPEN_CREATE};
    if (sterna_store_open(&g->store, tree_path(&g->home, "store"), &o, &g->err) < 0)
        die("store", g->err.message);
}

void ingested_open(struct ingested *g) {
    *g = (struct ingested){0};
    tree_open(&g->images);
    tree_open(&g->home);
    sterna_ingest_options_init(&g->options);
    g->options.report = report;
    g->options.progress = progress;
    g->options.ctx = g;
    open_store(g);
}

void ingested_reopen(struct ingested *g) {
    sterna_store_close(&g->store);
    open_store(g);
}

void ingested_close(struct ingested *g) {
    sterna_store_close(&g->store);
    tree_close(&g->images);
    tree_close(&g->home);
}

static int ends_with(const char *s, const char *end) {
    size_t n = strlen(s), m = strlen(end);
    return n >= m && strcmp(s + n - m, end) == 0;
}

void ingested_picture(const struct ingested *g, const char *path, unsigned seed) {
    struct picture p;
    if (ends_with(path, ".png"))
        p = picture_png(20 + seed % 9, 10, 3, seed);
    else if (ends_with(path, ".webp"))
        p = picture_webp(20 + seed % 9, 10, 4, seed);
    else
        p = picture_jpeg(20 + seed % 9, 10, 3, seed);
    tree_write(&g->images, path, p.data, p.bytes);
    free(p.data);
}

static int by_text(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void sort_lines(char *text) {
    char *lines[256], *copy = strdup(text);
    size_t n = 0;
    for (char *s = strtok(copy, "\n"); s && n < 256; s = strtok(NULL, "\n")) lines[n++] = s;
    qsort(lines, n, sizeof *lines, by_text);
    *text = '\0';
    for (size_t i = 0; i < n; i++) strcat(strcat(text, lines[i]), "\n");
    free(copy);
}

int ingested_run(struct ingested *g) {
    g->reports[0] = '\0';
    g->n_reports = g->n_progress = 0;
    int rc = sterna_ingest_folder(g->store, g->images.path, &g->options, &g->result, &g->err);
    sort_lines(g->reports);
    return rc;
}

static int add_row(void *ctx, const char *const *names, const struct sterna_value *v, size_t n) {
    struct ingested *g = ctx;
    (void)names;
    for (size_t i = 0; i < n; i++) {
        size_t used = strlen(g->text), left = sizeof g->text - used;
        const char *end = i + 1 < n ? "|" : "\n";
        if (v[i].type == STERNA_NULL) snprintf(g->text + used, left, "-%s", end);
        if (v[i].type == STERNA_INT) snprintf(g->text + used, left, "%" PRId64 "%s", v[i].i, end);
        if (v[i].type == STERNA_REAL) snprintf(g->text + used, left, "%g%s", v[i].r, end);
        if (v[i].type == STERNA_TEXT)
            snprintf(g->text + used, left, "%.*s%s", (int)v[i].text_bytes, v[i].text, end);
    }
    return 0;
}

const char *ingested_query(struct ingested *g, const char *columns, const char *where) {
    const char *names[32];
    char *copy = strdup(columns);
    struct sterna_query_options o = {.struct_size = sizeof o, .where = where, .columns = names};
    for (char *s = strtok(copy, " "); s; s = strtok(NULL, " ")) names[o.n_columns++] = s;
    g->text[0] = '\0';
    if (sterna_query(g->store, &o, add_row, g, &g->err) < 0) die(columns, g->err.message);
    free(copy);
    return g->text;
}

int ingested_holds(const struct ingested *g, const char *path, const char *field, const void *data,
                   size_t bytes) {
    uint8_t id[16];
    struct sterna_field f;
    struct stn_value_header h;
    uint32_t i = 0;
    if (stn_uuid5(stn_catalog_dataset_id(g->store->catalog), path, strlen(path), id)) abort();
    while (sterna_store_field(g->store, i, &f) == STERNA_OK && strcmp(f.name, field) != 0) i++;
    if (sterna_store_field(g->store, i, &f) != STERNA_OK) return -1;
    if (stn_lmdb_header(stn_embedded_lmdb(g->store), id, (uint8_t)f.number, &h, NULL) < 0)
        return -1;
    return h.bytes == bytes && h.crc == stn_crc32c(0, data, bytes);
}

int ingested_holds_file(const struct ingested *g, const char *path, const char *field,
                        const char *file) {
    void *data;
    size_t bytes;
    if (stn_file_read(tree_path(&g->images, file), 1 << 30, &data, &bytes, NULL)) die(file, "read");
    int holds = ingested_holds(g, path, field, data, bytes);
    free(data);
    return holds;
}
