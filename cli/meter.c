/* Counting. Epochs overlap inside the loader (it reads ahead), so what it counts while the consumer
 * is in an epoch is put down to that epoch. */
#include "meter.h"

#include <stdlib.h>
#include <string.h>

#include "cli.h"

const char *const cli_stall_names[STERNA_STALL_COUNT] = {
    "connect", "latency", "bandwidth", "server", "decode", "budget", "max-rate"};

double cli_per_second(double amount, double seconds) { return seconds > 0 ? amount / seconds : 0; }

double cli_stall_total(const struct cli_figures *f) {
    double sum = 0;
    for (int c = 0; c < STERNA_STALL_COUNT; c++) sum += f->stall_s[c];
    return sum;
}

void cli_meter_start(struct cli_meter *m) {
    *m = (struct cli_meter){0};
    m->start_s = m->epoch_s = cli_now_s();
    m->start_cpu_s = m->epoch_cpu_s = cli_cpu_s();
}

static void count(struct cli_figures *f, const sterna_batch *batch,
                  const struct sterna_batch_info *info, double since_s) {
    const uint8_t *valid = sterna_batch_valid(batch);
    const int *errors = sterna_batch_errors(batch);
    if (f->batches++ == 0) f->first_batch_s = cli_now_s() - since_s;
    f->bytes += info->n_bytes;
    for (uint32_t i = 0; i < info->n_rows; i++) {
        f->samples += valid[i] && errors[i] == STERNA_OK;
        f->padded += !valid[i] && errors[i] == STERNA_OK;
    }
}

void cli_meter_batch(struct cli_meter *m, const sterna_batch *batch,
                     const struct sterna_batch_info *info) {
    m->in_epoch = 1;
    m->current.epoch = info->epoch;
    count(&m->current, batch, info, m->epoch_s);
    count(&m->total, batch, info, m->start_s);
}

/* What the loader counted between two moments. */
static void take_stats(struct cli_figures *f, const struct sterna_stats *from,
                       const struct sterna_stats *to) {
    f->errors = to->errors - from->errors;
    f->retries = to->retries - from->retries;
    f->duplicates = to->duplicates - from->duplicates;
    f->missing = to->missing - from->missing;
    f->in_flight_bytes_max = to->in_flight_bytes_max; /* so far: marks do not fall */
    f->memory_bytes_max = to->memory_bytes_max;
    for (int c = 0; c < STERNA_STALL_COUNT; c++)
        f->stall_s[c] = (double)(to->stall_ns[c] - from->stall_ns[c]) * 1e-9;
}

int cli_meter_end_epoch(struct cli_meter *m, const struct sterna_stats *now) {
    if (!m->in_epoch) return CLI_DONE;
    if (m->n_epochs == m->cap_epochs) {
        size_t cap = 2 * m->cap_epochs + 8;
        struct cli_figures *grown = realloc(m->epochs, cap * sizeof *grown);
        if (!grown) return cli_fail(CLI_FAILED, "out of memory for the figures");
        m->epochs = grown;
        m->cap_epochs = cap;
    }
    double now_s = cli_now_s(), cpu_s = cli_cpu_s();
    take_stats(&m->current, &m->at_epoch, now);
    m->current.seconds = now_s - m->epoch_s;
    m->current.cpu_s = cpu_s - m->epoch_cpu_s;
    m->epochs[m->n_epochs++] = m->current;
    m->current = (struct cli_figures){0};
    m->at_epoch = *now;
    m->epoch_s = now_s;
    m->epoch_cpu_s = cpu_s;
    m->in_epoch = 0;
    return CLI_DONE;
}

void cli_meter_stop(struct cli_meter *m, const struct sterna_stats *now) {
    static const struct sterna_stats nothing;
    take_stats(&m->total, &nothing, now);
    m->total.seconds = cli_now_s() - m->start_s;
    m->total.cpu_s = cli_cpu_s() - m->start_cpu_s;
    m->memory_budget_bytes = now->memory_budget_bytes;
}

void cli_meter_free(struct cli_meter *m) {
    free(m->epochs);
    *m = (struct cli_meter){0};
}

void cli_figures_json(struct cli_json *j, const struct cli_figures *f) {
    double per_second = cli_per_second((double)f->bytes, f->seconds);
    cli_json_uint(j, "samples", f->samples);
    cli_json_uint(j, "batches", f->batches);
    cli_json_uint(j, "bytes", f->bytes);
    cli_json_real(j, "seconds", f->seconds);
    cli_json_real(j, "samples_per_s", cli_per_second((double)f->samples, f->seconds));
    cli_json_real(j, "bytes_per_s", per_second);
    cli_json_real(j, "mb_per_s", per_second / 1e6);
    cli_json_real(j, "first_batch_s", f->first_batch_s);
    cli_json_real(j, "cpu_s", f->cpu_s);
    cli_json_uint(j, "duplicates", f->duplicates);
    cli_json_uint(j, "missing", f->missing);
    cli_json_uint(j, "padded", f->padded);
    cli_json_uint(j, "errors", f->errors);
    cli_json_uint(j, "retries", f->retries);
    cli_json_uint(j, "in_flight_bytes_max", f->in_flight_bytes_max);
    cli_json_uint(j, "memory_bytes_max", f->memory_bytes_max);
    cli_json_open(j, "stall_s", '{');
    for (int c = 0; c < STERNA_STALL_COUNT; c++)
        cli_json_real(j, cli_stall_names[c], f->stall_s[c]);
    cli_json_real(j, "total", cli_stall_total(f));
    cli_json_close(j, '}');
}

const char *cli_stall_text(const struct cli_figures *f, char *text, size_t bytes) {
    int shown[STERNA_STALL_COUNT] = {0};
    size_t used = 0;
    text[0] = 0;
    for (;;) {
        int most = -1;
        for (int c = 0; c < STERNA_STALL_COUNT; c++)
            if (!shown[c] && f->stall_s[c] >= 0.005 &&
                (most < 0 || f->stall_s[c] > f->stall_s[most]))
                most = c;
        if (most < 0 || used + 32 > bytes) return text;
        shown[most] = 1;
        used += (size_t)snprintf(text + used, bytes - used, "%s%s %.2f s", used ? ", " : "",
                                 cli_stall_names[most], f->stall_s[most]);
    }
}
