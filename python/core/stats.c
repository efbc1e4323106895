/* Statistics of loaders and fetchers, and of their ways to the store, as dicts. */
#include "core.h"

#define COUNT(s, field)                                                                            \
    { #field, offsetof(struct s, field) }
struct count {
    const char *name;
    size_t offset;
};

static const struct count stats_counts[] = {
    COUNT(sterna_stats, batches),
    COUNT(sterna_stats, samples),
    COUNT(sterna_stats, bytes),
    COUNT(sterna_stats, padded),
    COUNT(sterna_stats, errors),
    COUNT(sterna_stats, substituted),
    COUNT(sterna_stats, masked),
    COUNT(sterna_stats, duplicates),
    COUNT(sterna_stats, missing),
    COUNT(sterna_stats, requests),
    COUNT(sterna_stats, retries),
    COUNT(sterna_stats, late),
    COUNT(sterna_stats, misrouted),
    COUNT(sterna_stats, corrupt),
    COUNT(sterna_stats, dropped),
    COUNT(sterna_stats, copied_bytes),
    COUNT(sterna_stats, in_flight),
    COUNT(sterna_stats, in_flight_bytes),
    COUNT(sterna_stats, in_flight_bytes_max),
    COUNT(sterna_stats, memory_bytes),
    COUNT(sterna_stats, memory_bytes_max),
    COUNT(sterna_stats, memory_budget_bytes),
    COUNT(sterna_stats, leases),
    COUNT(sterna_stats, buffers_given),
    COUNT(sterna_stats, buffers_used),
    COUNT(sterna_stats, buffers_short),
    COUNT(sterna_stats, allocations),
    COUNT(sterna_stats, first_batch_ns),
    COUNT(sterna_stats, elapsed_ns),
};

static const struct count path_counts[] = {
    COUNT(sterna_path, rtt_ns),         COUNT(sterna_path, rtt_far_ns),
    COUNT(sterna_path, rate_bytes_s),   COUNT(sterna_path, rate_max_bytes_s),
    COUNT(sterna_path, window_bytes),   COUNT(sterna_path, in_flight_bytes),
    COUNT(sterna_path, received_bytes), COUNT(sterna_path, hedges),
    COUNT(sterna_path, hedged_bytes),   COUNT(sterna_path, suspects),
    COUNT(sterna_path, overloaded),     COUNT(sterna_path, lost_connections),
    COUNT(sterna_path, retrying),       COUNT(sterna_path, segments),
    COUNT(sterna_path, out_of_order),   COUNT(sterna_path, holes),
    COUNT(sterna_path, retransmitted),  COUNT(sterna_path, tcp_rtt_ns),
};

static PyObject *counts(const void *from, const struct count *table, size_t n) {
    PyObject *d = PyDict_New();
    for (size_t i = 0; d && i < n; i++) {
        uint64_t value = *(const uint64_t *)(const void *)((const char *)from + table[i].offset);
        if (core_set_u64(d, table[i].name, value) < 0) Py_CLEAR(d);
    }
    return d;
}

static PyObject *stalls(const struct sterna_stats *s) {
    static const char *const causes[STERNA_STALL_COUNT] = {
        [STERNA_STALL_CONNECT] = "connect",     [STERNA_STALL_LATENCY] = "latency",
        [STERNA_STALL_BANDWIDTH] = "bandwidth", [STERNA_STALL_SERVER] = "server",
        [STERNA_STALL_DECODE] = "decode",       [STERNA_STALL_BUDGET] = "budget",
        [STERNA_STALL_RATE] = "max-rate",
    };
    PyObject *d = PyDict_New();
    for (int i = 0; d && i < STERNA_STALL_COUNT; i++)
        if (core_set_u64(d, causes[i], s->stall_ns[i]) < 0) Py_CLEAR(d);
    return d;
}

PyObject *core_stats(const struct sterna_stats *s) {
    PyObject *d = counts(s, stats_counts, CORE_COUNT(stats_counts));
    if (d &&
        (core_set(d, "stall_ns", stalls(s)) < 0 || core_set_text(d, "verdict", s->verdict) < 0))
        Py_CLEAR(d);
    return d;
}

PyObject *core_path(const struct sterna_path *p) {
    static const char *const phases[] = {"local",  "connecting", "ramp",
                                         "steady", "drain",      "back-off"};
    PyObject *d = counts(p, path_counts, CORE_COUNT(path_counts));
    if (d &&
        (core_set_text(d, "phase", phases[p->phase]) < 0 ||
         core_set_u64(d, "connections", p->connections) < 0 ||
         core_set_u64(d, "connections_max", p->connections_max) < 0 ||
         core_set_u64(d, "nodes", p->nodes) < 0 || core_set_text(d, "decision", p->decision) < 0 ||
         core_set_text(d, "trouble", p->trouble) < 0))
        Py_CLEAR(d);
    return d;
}
