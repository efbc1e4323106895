/* Reads batches as `sterna read` does, and tells when each of them came.
 *
 *   wan_read STORE --ids FILE --batch-size 128 --seconds 20
 *
 * Endless epochs in strict order; all else as it is by default. Prints one JSON line: open_s,
 * start_s (of the system's monotonic clock, when the loader was opened), and for each batch
 * [seconds since then, bytes]. */
#include <stdio.h>
#include <stdlib.h>

#include "common.h"

struct times {
    double start_s;
    struct {
        double at_s;
        uint64_t bytes;
    } * list;
    size_t n, cap;
};

static void note(struct times *t, double at_s, uint64_t bytes) {
    if (t->n == t->cap) {
        t->cap = 2 * t->cap + 64;
        t->list = must(realloc(t->list, t->cap * sizeof *t->list));
    }
    t->list[t->n].at_s = at_s;
    t->list[t->n++].bytes = bytes;
}

static void read_for(sterna_loader *loader, double seconds, struct times *times) {
    for (double left; (left = times->start_s + seconds - now_s()) > 0;) {
        struct sterna_error err = {0};
        struct sterna_batch_info info;
        sterna_batch *batch;
        int rc = sterna_loader_next(loader, &batch, (int)(left * 1000) + 1, &err);
        if (rc == STERNA_AGAIN) continue;
        check(rc, &err);
        sterna_batch_info(batch, &info);
        note(times, now_s() - times->start_s, info.n_bytes);
        sterna_batch_release(&batch);
    }
}

static void print(const struct times *t, double open_s, const struct sterna_stats *s) {
    printf("{\"open_s\": %.6f, \"start_s\": %.6f, \"memory_bytes_max\": %llu, "
           "\"memory_budget_bytes\": %llu, "
           "\"in_flight_bytes_max\": %llu, \"retries\": %llu, \"batches\": [",
           open_s, t->start_s, (unsigned long long)s->memory_bytes_max,
           (unsigned long long)s->memory_budget_bytes, (unsigned long long)s->in_flight_bytes_max,
           (unsigned long long)s->retries);
    for (size_t i = 0; i < t->n; i++)
        printf("%s[%.6f, %llu]", i ? ", " : "", t->list[i].at_s,
               (unsigned long long)t->list[i].bytes);
    printf("]}\n");
}

int main(int argc, char **argv) {
    struct sterna_error err = {0};
    struct sterna_select_options which = {.struct_size = sizeof which};
    struct sterna_loader_options o;
    struct sterna_stats stats;
    struct times times = {0};
    sterna_store *store;
    sterna_selection *selection;
    sterna_loader *loader;
    if (argc < 2) die("wan_read STORE --ids FILE --batch-size N --seconds S");
    which.ids_file = option(argc, argv, "ids", NULL);
    double start = now_s();
    check(sterna_store_open(&store, argv[1], NULL, &err), &err);
    check(sterna_select(&selection, store, &which, &err), &err);
    sterna_loader_options_init(&o);
    o.batch_size = (uint32_t)option_number(argc, argv, "batch-size", 128);
    o.epochs = 0;
    double open_s = now_s() - start;
    times.start_s = now_s();
    check(sterna_loader_open(&loader, store, selection, &o, &err), &err);
    read_for(loader, option_real(argc, argv, "seconds", 20), &times);
    sterna_loader_stats(loader, &stats);
    print(&times, open_s, &stats);
    sterna_loader_close(&loader);
    sterna_selection_close(&selection);
    sterna_store_close(&store);
    free(times.list);
    return 0;
}
