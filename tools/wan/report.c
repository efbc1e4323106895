#include "report.h"

#include <inttypes.h>

static void put_text(FILE *to, const char *text) { /* a name of the kernel's: no control codes */
    putc('"', to);
    for (; *text; text++) {
        if (*text == '"' || *text == '\\') putc('\\', to);
        putc(*text, to);
    }
    putc('"', to);
}

static void put_three(FILE *to, const char *name, const uint64_t three[3]) {
    fprintf(to, ", \"%s\": [%" PRIu64 ", %" PRIu64 ", %" PRIu64 "]", name, three[0], three[1],
            three[2]);
}

static void put_end(FILE *to, const char *name, const char *address, const struct wan_facts *f) {
    fprintf(to, ", \"%s\": {\"address\": \"%s\", \"congestion_control\": ", name, address);
    put_text(to, f->congestion);
    put_three(to, "tcp_wmem", f->wmem);
    put_three(to, "tcp_rmem", f->rmem);
    fprintf(to, ", \"slow_start_after_idle\": %d}", f->slow_start_after_idle);
}

static void put_relay(FILE *to, const struct wan_relay_counts *c, uint64_t device_drops) {
    double mean_us = c->packets ? (double)c->late_ns_sum / (double)c->packets / 1e3 : 0;
    fprintf(to,
            "{\"packets\": %" PRIu64 ", \"bytes\": %" PRIu64 ", \"wire_bytes\": %" PRIu64
            ", \"lost\": %" PRIu64 ", \"queue_drops\": %" PRIu64 ", \"reordered\": %" PRIu64
            ", \"queue_ms_max\": %.3f",
            c->link.segments, c->link.bytes, c->link.wire_bytes, c->link.lost, c->link.queue_drops,
            c->link.reordered, (double)c->link.queue_ns_max / 1e6);
    fprintf(to,
            ", \"memory_drops\": %" PRIu64 ", \"device_drops\": %" PRIu64 ", \"refused\": %" PRIu64
            ", \"late_ms_max\": %.3f, \"late_us_mean\": %.1f}",
            c->memory_drops, device_drops, c->refused, (double)c->late_ns_max / 1e6, mean_us);
}

static void put_netem(FILE *to, const struct wan_netem_counts *c, uint64_t device_drops) {
    fprintf(to,
            "{\"packets\": %" PRIu64 ", \"bytes\": %" PRIu64 ", \"dropped\": %" PRIu64
            ", \"device_drops\": %" PRIu64 "}",
            c->packets, c->bytes, c->dropped, device_drops);
}

void wan_report(FILE *to, const struct wan_options *o, const struct wan_result *r) {
    static const char *const names[] = {"to_client", "to_server"};
    fprintf(to,
            "{\"by\": \"%s\", \"rtt_ms\": %.10g, \"mbit\": %.10g, \"queue_ms\": %.10g, \"loss\": "
            "%.10g, "
            "\"jitter_ms\": %.10g, \"reorder\": %.10g, \"seed\": %" PRId64,
            r->by_tun ? "tun" : "netem", o->rtt_ms, o->mbit, o->queue_ms, o->loss, o->jitter_ms,
            o->reorder, o->seed);
    fprintf(to, ", \"seconds\": %.3f, \"status\": %d", r->seconds, r->client_status);
    if (r->server_status >= 0) fprintf(to, ", \"server_status\": %d", r->server_status);
    put_end(to, "server", WAN_ADDRESS_SERVER, &r->server);
    put_end(to, "client", WAN_ADDRESS_CLIENT, &r->client);
    for (int i = 0; i < 2; i++) {
        fprintf(to, ", \"%s\": ", names[i]);
        if (r->by_tun)
            put_relay(to, &r->relay[i], r->device_drops[i]);
        else
            put_netem(to, &r->netem[i], r->device_drops[i]);
    }
    fputs("}\n", to);
}
