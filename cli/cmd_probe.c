/* sterna probe: what the way to a store can carry, within ten seconds. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "args.h"
#include "cli.h"
#include "interrupt.h"
#include "json.h"
#include "probe.h"
#include "size.h"

#define TOTAL_S 9.3   /* opening, measuring and closing */
#define RATE_S 3.6    /* one measurement, at most */
#define OPENING_S 0.3 /* of the second store, besides its round trips */
#define WORTH_S 1.0   /* a shorter measurement tells nothing */
#define SILENCE_S "7"
#define MB 1e6

/* ---- measuring ---- */

/* The text behind NAME= in the URL's options, or NULL. */
static const char *option_of(const char *url, const char *name) {
    size_t bytes = strlen(name);
    const char *at = strchr(url, '?');
    while (at && !(strncmp(at + 1, name, bytes) == 0 && at[1 + bytes] == '='))
        at = strchr(at + 1, '&');
    return at ? at + 1 + bytes + 1 : NULL;
}

/* The URL with this option, whatever it says of it. NULL without memory. */
static char *with_option(const char *url, const char *name, const char *value) {
    char *out = malloc(strlen(url) + strlen(name) + strlen(value) + 3);
    const char *old = option_of(url, name);
    if (!out) return NULL;
    if (old)
        sprintf(out, "%.*s%s%s", (int)(old - url), url, value, old + strcspn(old, "&"));
    else
        sprintf(out, "%s%c%s=%s", url, strchr(url, '?') ? '&' : '?', name, value);
    return out;
}

/* What is silent for so long would not be measured in time either. */
static int open_store(struct cli_probe *p) {
    int patient = !p->is_cluster || option_of(p->url, "outage_timeout");
    p->open_url = patient ? strdup(p->url) : with_option(p->url, "outage_timeout", SILENCE_S);
    if (!p->open_url) return cli_fail(CLI_FAILED, "out of memory");
    return cli_open_store(&p->store, p->open_url, STERNA_OPEN_READ);
}

static double left_s(const struct cli_probe *p) { return TOTAL_S - (cli_now_s() - p->start_s); }
static double least(double a, double b) { return a < b ? a : b; }

/* Another store over one connection to each server; the selection is good for both. */
static int measure_one(struct cli_probe *p) {
    double opening_s = OPENING_S + 10 * cli_probe_rtt_s(p);
    if (left_s(p) - opening_s < WORTH_S) return CLI_DONE;
    sterna_store *store = NULL;
    char *url = with_option(p->open_url, "connections", "1");
    if (!url) return cli_fail(CLI_FAILED, "out of memory");
    int rc = cli_open_store(&store, url, STERNA_OPEN_READ);
    free(url);
    if (rc == CLI_DONE && left_s(p) >= WORTH_S)
        rc = cli_probe_rate(&p->one, store, p->selection, 2, least(RATE_S, left_s(p)));
    sterna_store_close(&store);
    return rc;
}

static int measure(struct cli_probe *p) {
    double before = cli_probe_disk_bytes();
    double most_s = p->is_cluster ? least(RATE_S, left_s(p) / 2) : RATE_S;
    int rc =
        cli_probe_rate(&p->many, p->store, p->selection, 1, most_s < WORTH_S ? WORTH_S : most_s);
    p->disk_bytes = before < 0 ? -1 : cli_probe_disk_bytes() - before;
    if (rc == CLI_DONE && p->is_cluster) rc = measure_one(p);
    return rc;
}

static int run(struct cli_probe *p) {
    cli_probe_host(&p->host);
    int rc = open_store(p);
    if (rc == CLI_DONE) rc = cli_select(&p->selection, p->store, &p->which);
    if (rc != CLI_DONE) return rc;
    sterna_selection_info(p->selection, &p->info);
    if (p->info.n > 0) rc = measure(p);
    if (rc == CLI_DONE) cli_probe_advise(p);
    return rc;
}

/* ---- printing ---- */

static void real_or_null(struct cli_json *j, const char *key, double value, int known) {
    if (known)
        cli_json_real(j, key, value);
    else
        cli_json_null(j, key);
}

static void uint_or_null(struct cli_json *j, const char *key, uint64_t value, int known) {
    if (known)
        cli_json_uint(j, key, value);
    else
        cli_json_null(j, key);
}

static double epoch_s(const struct cli_probe *p) {
    return p->many.samples_s > 0 ? (double)p->info.n / p->many.samples_s : 0;
}

static void json_network(struct cli_json *j, const struct cli_probe *p) {
    const struct sterna_path *many = &p->many.path, *one = &p->one.path;
    double loss = cli_probe_loss(p), rtt_s = cli_probe_rtt_s(p);
    int counted = loss >= 0, has_one = p->one.bytes_s > 0 && one->connections > 0;
    real_or_null(j, "rtt_ms", rtt_s * 1e3, rtt_s > 0);
    uint_or_null(j, "nodes", many->nodes, many->nodes > 0);
    real_or_null(j, "one_connection_mb_s", has_one ? p->one.bytes_s / one->connections / MB : 0,
                 has_one);
    real_or_null(j, "many_connections_mb_s", p->many.bytes_s / MB,
                 p->is_cluster && p->many.bytes_s > 0);
    uint_or_null(j, "connections", many->connections_max, many->connections_max > 0);
    real_or_null(j, "loss", loss, counted);
    uint_or_null(j, "segments", many->segments + one->segments, counted);
    uint_or_null(j, "out_of_order_segments", many->out_of_order + one->out_of_order, counted);
    uint_or_null(j, "retransmitted_segments", many->retransmitted + one->retransmitted, counted);
    if (cli_probe_sender_ignores_loss(p))
        cli_json_text(j, "sender", "likely rate-based");
    else
        cli_json_null(j, "sender");
}

static void json_host(struct cli_json *j, const struct cli_probe *p) {
    const struct cli_host *h = &p->host;
    uint64_t needed = cli_probe_rmem_needed(p);
    uint_or_null(j, "tcp_rmem_max", h->tcp_rmem[2], h->tcp_rmem[2] > 0);
    uint_or_null(j, "tcp_rmem_max_for_one_connection", needed, needed > 0);
    uint_or_null(j, "rmem_max", h->rmem_max, h->rmem_max > 0);
    if (h->congestion_control[0])
        cli_json_text(j, "congestion_control", h->congestion_control);
    else
        cli_json_null(j, "congestion_control");
}

static void print_json(const struct cli_probe *p) {
    struct cli_json j = {.to = stdout};
    double mean = cli_probe_sample_bytes(p);
    int measured = p->many.samples_s > 0;
    cli_json_open(&j, NULL, '{');
    cli_json_text(&j, "store", p->url);
    cli_json_text(&j, "kind", p->is_cluster ? "cluster" : "directory");
    cli_json_uint(&j, "samples", p->info.n);
    real_or_null(&j, "mean_sample_bytes", mean, mean > 0);
    json_network(&j, p);
    real_or_null(&j, "read_mb_s", p->many.bytes_s / MB, !p->is_cluster && measured);
    real_or_null(&j, "from_disk_mb", p->disk_bytes / MB,
                 !p->is_cluster && measured && p->disk_bytes >= 0);
    real_or_null(&j, "samples_per_s", p->many.samples_s, measured);
    real_or_null(&j, "epoch_s", epoch_s(p), measured);
    json_host(&j, p);
    cli_json_open(&j, "advice", '[');
    for (size_t i = 0; i < p->advice.n; i++) cli_json_text(&j, NULL, p->advice.lines[i]);
    cli_json_close(&j, ']');
    cli_json_real(&j, "seconds", cli_now_s() - p->start_s);
    cli_json_close(&j, '}');
    putchar('\n');
}

static void print_samples(const struct cli_probe *p) {
    char a[CLI_NUMBER_TEXT], b[CLI_NUMBER_TEXT];
    double mean = cli_probe_sample_bytes(p);
    printf("samples          %s", cli_count_text(p->info.n, a));
    if (mean > 0) printf(" of %s", cli_size_text(mean, b));
    putchar('\n');
    if (p->info.n == 0) printf("rates            there is nothing to read, so none was measured\n");
}

static void print_loss(const struct cli_probe *p) {
    char a[CLI_NUMBER_TEXT], b[CLI_NUMBER_TEXT];
    const struct sterna_path *many = &p->many.path, *one = &p->one.path;
    uint64_t segments = many->segments + one->segments, holes = many->holes + one->holes;
    printf("loss             ");
    if (cli_probe_loss(p) < 0)
        printf("this host's kernel does not tell\n");
    else if (holes == 0)
        printf("none seen in %s segments\n", cli_count_text(segments, a));
    else
        printf("at least %s of %s segments lost or overtaken (%.1e)\n", cli_count_text(holes, a),
               cli_count_text(segments, b), cli_probe_loss(p));
}

static void print_network(const struct cli_probe *p) {
    char a[CLI_NUMBER_TEXT];
    const struct sterna_path *many = &p->many.path;
    uint32_t n = p->one.path.connections;
    printf("round trip       %.3g ms, %u %s\n", cli_probe_rtt_s(p) * 1e3, many->nodes,
           many->nodes == 1 ? "node" : "nodes");
    if (p->one.bytes_s > 0 && n > 1)
        printf("one connection   %s/s, as one to each of %u nodes\n",
               cli_size_text(p->one.bytes_s / n, a), n);
    else if (p->one.bytes_s > 0)
        printf("one connection   %s/s\n", cli_size_text(p->one.bytes_s, a));
    else
        printf("one connection   not measured: no time was left\n");
    printf("%-4u connections %s/s", many->connections_max, cli_size_text(p->many.bytes_s, a));
    printf(" (%s on their way in a round trip)\n", cli_size_text(cli_probe_product(p), a));
    print_loss(p);
}

static void print_host(const struct cli_probe *p) {
    char a[CLI_NUMBER_TEXT], b[CLI_NUMBER_TEXT];
    const struct cli_host *h = &p->host;
    if (h->tcp_rmem[2] > 0)
        printf("receive buffer   up to %s a connection, of which about %s hold data "
               "(net.ipv4.tcp_rmem)\n",
               cli_size_text((double)h->tcp_rmem[2], a),
               cli_size_text((double)h->tcp_rmem[2] / 2, b));
    if (h->rmem_max > 0)
        printf("                 net.core.rmem_max (%s) is only for programs that set a size; "
               "sterna sets none\n",
               cli_size_text((double)h->rmem_max, a));
    printf("congestion       %s here, for what this host sends; the server sends the data, and its "
           "own counts\n",
           h->congestion_control[0] ? h->congestion_control : "not known");
}

static void print_directory(const struct cli_probe *p) {
    char a[CLI_NUMBER_TEXT], b[CLI_NUMBER_TEXT];
    printf("read rate        %s/s", cli_size_text(p->many.bytes_s, a));
    if (p->disk_bytes >= 0)
        printf(" (%s read, %s of it from a disk)", cli_size_text((double)p->many.bytes, a),
               cli_size_text(p->disk_bytes, b));
    putchar('\n');
}

static const char *short_time(double s, char *text) {
    if (s >= 60) return cli_time_text(s, text);
    snprintf(text, CLI_NUMBER_TEXT, "%.2g s", s);
    return text;
}

static void print_text(const struct cli_probe *p) {
    char a[CLI_NUMBER_TEXT], b[CLI_NUMBER_TEXT];
    int measured = p->many.samples_s > 0;
    printf("store            %.*s\n", (int)strcspn(p->url, "?"), p->url);
    print_samples(p);
    if (measured && p->is_cluster) print_network(p);
    if (measured && !p->is_cluster) print_directory(p);
    if (p->is_cluster) print_host(p);
    if (measured)
        printf("expected         %s samples/s, one epoch in %s\n",
               cli_count_text((uint64_t)p->many.samples_s, a), short_time(epoch_s(p), b));
    for (size_t i = 0; i < p->advice.n; i++)
        printf("%s%s\n", i ? "- " : "\n- ", p->advice.lines[i]);
}

int cmd_probe(int argc, char **argv) {
    struct cli_probe p = {.start_s = cli_now_s(), .disk_bytes = -1};
    struct cli_option options[] = {
        {.help = "Which samples (all):"},
        CLI_WHICH_OPTIONS(p.which),
        {.help = "What comes out:"},
        {"json", CLI_FLAG, &p.json, NULL, "one JSON object", 0, 0, 0},
    };
    struct cli_spec spec = {.name = "probe",
                            .operands = "STORE",
                            .about =
                                "Measures for a few seconds what the way to a store can carry: "
                                "round trip, rate of one connection and of many, loss, this "
                                "host's TCP limits; and tells what can be expected and changed.",
                            .options = options,
                            .n_options = CLI_COUNT(options),
                            .min_operands = 1,
                            .max_operands = 1,
                            .to = {&p.url}};
    int rc = cli_parse(&spec, argc, argv);
    if (rc == CLI_GO_ON) rc = cli_which_check(&spec);
    if (rc != CLI_GO_ON) return rc;
    p.is_cluster = cli_is_cluster(p.url);
    cli_interrupt_gently();
    rc = run(&p);
    if (rc == CLI_DONE && p.json) print_json(&p);
    if (rc == CLI_DONE && !p.json) print_text(&p);
    sterna_selection_close(&p.selection);
    sterna_store_close(&p.store);
    free(p.open_url);
    return rc;
}
