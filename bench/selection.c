/* Opening a large selection, and a plan over 100 million samples: time and memory.
 *
 *   selection STORE --file SELECTION      open it, look one sample up
 *   selection --plan 100000000            batches at random places of random epochs
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common.h"

/* Resident bytes of this process, but for mappings of files whose path ends in `apart`. */
static uint64_t resident_bytes(const char *apart) {
    FILE *maps = must(fopen("/proc/self/smaps", "r"));
    char line[4352];
    uint64_t sum = 0, kib;
    int counts = 1;
    while (fgets(line, sizeof line, maps)) {
        size_t n = strcspn(line, "\n"), tail = strlen(apart);
        line[n] = '\0';
        if (sscanf(line, "Rss: %llu kB", (unsigned long long *)&kib) == 1) {
            if (counts) sum += kib * 1024;
        } else if (line[0] < 'A' || line[0] > 'Z') { /* a new mapping: addresses are lower case */
            counts = tail == 0 || n < tail || strcmp(line + n - tail, apart) != 0;
        }
    }
    fclose(maps);
    return sum;
}

static void open_selection(const char *path, const char *file) {
    struct sterna_error err = {0};
    sterna_store *store;
    sterna_selection *selection;
    struct sterna_selection_info info;
    struct sterna_value value = {0};
    const struct sterna_select_options o = {.struct_size = sizeof o, .file = file};
    check(sterna_store_open(&store, path, NULL, &err), &err);
    uint64_t before = resident_bytes(file);
    double start = now_s();
    check(sterna_select(&selection, store, &o, &err), &err);
    double opened = now_s();
    sterna_selection_info(selection, &info);
    uint64_t i = info.n / 3;
    unsigned first = sterna_selection_ids(selection)[i][0];
    uint32_t bytes = sterna_selection_lengths(selection, 0)[i];
    int64_t label = sterna_selection_labels(selection)[i];
    if (info.n_columns > 0) sterna_selection_value(selection, 0, i, &value);
    double looked_up = now_s();
    uint64_t after = resident_bytes(file);
    printf("{\"samples\": %llu, \"open_ms\": %.3f, \"lookup_ms\": %.3f, \"resident_bytes\": %lld, "
           "\"seen\": [%u, %u, %lld]}\n",
           (unsigned long long)info.n, (opened - start) * 1e3, (looked_up - opened) * 1e3,
           (long long)(after - before), first, bytes, (long long)label);
    sterna_selection_close(&selection);
    sterna_store_close(&store);
}

static void plan(uint64_t n) {
    enum { BATCH = 256, CALLS = 4000 };
    struct sterna_error err = {0};
    struct sterna_loader_options o;
    struct random_stream random = {1};
    static uint64_t index[BATCH];
    static uint8_t valid[BATCH];
    uint32_t n_rows;
    uint64_t sum = 0, planned = 0;
    sterna_loader_options_init(&o);
    o.batch_size = BATCH;
    uint64_t before = resident_bytes("");
    double start = now_s();
    for (int i = 0; i < CALLS; i++) {
        uint64_t epoch = random_next(&random) >> 40, step = random_next(&random) % (n / BATCH);
        check(sterna_plan_batch(&o, n, epoch, step, index, valid, &n_rows, &err), &err);
        for (uint32_t row = 0; row < n_rows; row++) sum += index[row];
        planned += n_rows;
    }
    double seconds = now_s() - start;
    uint64_t after = resident_bytes("");
    printf("{\"samples\": %llu, \"ns_per_index\": %.1f, \"resident_bytes\": %lld, \"sum\": %llu}\n",
           (unsigned long long)n, seconds * 1e9 / (double)planned, (long long)(after - before),
           (unsigned long long)sum);
}

int main(int argc, char **argv) {
    const char *file = option(argc, argv, "file", NULL);
    uint64_t n = option_number(argc, argv, "plan", 0);
    if (argc < 3 || (!file && !n)) die("selection STORE --file SELECTION | selection --plan N");
    if (n)
        plan(n);
    else
        open_selection(argv[1], file);
    return 0;
}
